use super::*;
use crate::mysql::binlog::table_map::tests::body;
use crate::schema::{Index, IntegerSize, LobSize, TableName};

/// What both sides of the tests begin with: id INT UNSIGNED, v VARCHAR(10) latin1, e ENUM('x','é') utf8mb4, b BLOB,
/// vec VECTOR(3), and a primary key over id and v.
fn map(replaced: &[(u8, &[u8])]) -> TableMap {
    let columns = [
        (3, vec![], false),
        (15, vec![10, 0], false),
        (254, vec![247, 1], true),
        (252, vec![2], true),
        (242, vec![4], true),
    ];
    let usual: [(u8, &[u8]); 7] = [
        (1, &[0b1000_0000]),
        // latin1, binary, binary
        (3, &[8, 63, 63]),
        (4, b"\x02id\x01v\x01e\x01b\x03vec"),
        (6, b"\x02\x01x\x02\xc3\xa9"),
        (9, &[0, 0, 1, 5]),
        (11, &[252, 255, 0]),
        (13, &[3]),
    ];
    let field = |(kind, content): (u8, &[u8])| {
        let content = replaced.iter().find(|(replaced, _)| *replaced == kind).map_or(content, |(_, content)| content);
        (kind, content.to_vec())
    };
    let optional: Vec<(u8, Vec<u8>)> =
        usual.into_iter().map(field).filter(|(_, content)| !content.is_empty()).collect();
    TableMap::parse(&body(&columns, &optional)).unwrap()
}

fn table() -> Table {
    let columns = vec![
        Column::new("id", ColumnType::Integer { size: IntegerSize::Int, unsigned: true }),
        Column::new("v", ColumnType::Varchar { chars: 10, charset: "latin1".into() }),
        Column::new("e", ColumnType::Enum { members: vec!["x".into(), "é".into()] }),
        Column::new("b", ColumnType::Blob { size: LobSize::Plain }),
        Column::new("vec", ColumnType::Vector { dimensions: 3 }),
    ];
    Table {
        name: TableName::new("shop", "t"),
        columns,
        key: vec![0, 1],
        primary: true,
        comment: String::new(),
        charset: Some("utf8mb4".into()),
        indexes: Vec::new(),
    }
}

fn refused(table: &Table, map: &TableMap) -> String {
    check(table, map).unwrap_err().message().to_owned()
}

#[test]
fn a_definition_that_is_the_logs_agrees() {
    check(&table(), &map(&[])).unwrap();
    // And where the log tells less.
    check(&table(), &map(&[(3, &[]), (4, &[]), (6, &[]), (9, &[]), (11, &[]), (13, &[])])).unwrap();
    let unique = |columns: &[usize]| {
        let columns = columns.iter().copied().map(Some).collect();
        vec![Index { name: "u".into(), unique: true, columns }]
    };
    // The servers' own choice among unique keys need not be ours.
    let other = Table { primary: false, key: vec![3], indexes: unique(&[0, 1]), ..table() };
    check(&other, &map(&[])).unwrap();
    check(&Table { indexes: unique(&[3]), ..other.clone() }, &map(&[(9, &[])])).unwrap();
    assert!(
        refused(&Table { indexes: unique(&[1, 0]), ..other }, &map(&[]))
            .contains("the log has the key (id, v), the definition no such key")
    );
}

#[test]
fn each_kind_of_difference_is_told() {
    for (replaced, message) in [
        ((1, &[0][..]), "column id: the log has a signed integer, the definition an unsigned integer"),
        ((3, &[33, 63, 63]), "column v: the log has the character set utf8mb3, the definition latin1"),
        ((3, &[8, 8, 63]), "column b: the log has the character set latin1, the definition binary"),
        ((4, b"\x02id\x01w\x01e\x01b\x03vec"), "column v: the log has the name w, the definition the name v"),
        ((6, b"\x01\x01x"), "column e: the log has 1 members, the definition 2 members"),
        ((6, b"\x02\x01y\x02\xc3\xa9"), "column e: the log has the member \"y\", the definition the member \"x\""),
        ((6, b"\x02\x01x\x02\xc3\xa8"), "column e: the log has the member \"è\", the definition the member \"é\""),
        // The same bytes in another character set are another text.
        ((11, &[8]), "column e: the log has the member \"Ã©\", the definition the member \"é\""),
        ((9, &[0, 0]), "the log has the key (id), the definition the key (id, v)"),
        ((9, &[1, 5, 0, 0]), "the log has the key (v, id), the definition the key (id, v)"),
        ((9, &[]), "the log has no key, the definition the key (id, v)"),
        ((13, &[4]), "column vec: the log has 4 dimensions, the definition 3"),
    ] {
        let told = refused(&table(), &map(&[replaced]));
        assert!(told.contains(message), "{told}");
    }
}

#[test]
fn geometries_are_numbered_or_not() {
    let columns = [(255, vec![4], true), (15, vec![40, 0], true), (255, vec![4], true), (252, vec![2], true)];
    let sets = |kind: u8, content: &[u8]| -> Vec<Option<&'static str>> {
        let map = TableMap::parse(&body(&columns, &[(kind, content.to_vec())])).unwrap();
        map.columns().iter().map(|column| column.charset).collect()
    };
    let (latin1, binary) = (Some("latin1"), Some("binary"));
    // MariaDB's, then MySQL's: each column's, and a default with exceptions.
    assert_eq!(sets(3, &[63, 8, 63, 28]), [binary, latin1, binary, Some("gbk")]);
    assert_eq!(sets(3, &[8, 28]), [None, latin1, None, Some("gbk")]);
    assert_eq!(sets(2, &[8, 0, 63, 2, 63]), [binary, latin1, binary, latin1]);
    assert_eq!(sets(2, &[8, 1, 63]), [None, latin1, None, binary]);
    assert_eq!(sets(2, &[63, 0, 8]), [None, latin1, None, binary]);
    // Nobody's.
    assert_eq!(sets(3, &[8, 63, 8]), [None; 4]);
    // Either's, which would be different.
    assert_eq!(sets(2, &[63, 1, 8]), [binary, None, binary, None]);
}
