use proptest::prelude::*;

use super::super::table_map::tests::body;
use super::*;
use crate::mysql::value::tests::Cells;
use crate::schema::{Column, ColumnType, Generated, IntegerSize, MappingOptions, Table, TableName, map_table};

fn column(name: &str, ty: ColumnType, nullable: bool) -> Column {
    let name = name.to_owned();
    Column { name, ty, nullable, default: None, comment: String::new(), generated: Generated::No, invisible: false }
}

fn integer(size: IntegerSize) -> ColumnType {
    ColumnType::Integer { size, unsigned: false }
}

fn varchar(chars: u32) -> ColumnType {
    ColumnType::Varchar { chars, charset: "utf8mb4".into() }
}

/// (id INT, a VARCHAR(100) NULL, b SMALLINT, c INT, d BIGINT NULL), and its key.
fn table(key: &[usize]) -> Mapping {
    let columns = vec![
        column("id", integer(IntegerSize::Int), false),
        column("a", varchar(100), !key.contains(&1)),
        column("b", integer(IntegerSize::Small), false),
        column("c", integer(IntegerSize::Int), false),
        column("d", integer(IntegerSize::Big), true),
    ];
    let name = TableName::new("shop", "t");
    let table = Table {
        name,
        columns,
        key: key.to_vec(),
        primary: true,
        comment: String::new(),
        charset: None,
        indexes: Vec::new(),
    };
    map_table(&table, &MappingOptions::for_version(3, 5)).unwrap()
}

fn logged() -> Vec<(u8, Vec<u8>, bool)> {
    vec![(3, vec![], false), (15, vec![0x90, 0x01], true), (2, vec![], false), (3, vec![], false), (8, vec![], true)]
}

fn plan(key: &[usize]) -> RowPlan {
    let map = TableMap::parse(&body(&logged(), &[])).unwrap();
    RowPlan::new(&table(key), &map, &ValueOptions::default()).unwrap()
}

const FULL: &[u8] = b"\xe0\x07\0\0\0\x02\0hi\xff\xff\x05\0\0\0\x09\0\0\0\0\0\0\0";
const WITH_NULLS: &[u8] = b"\xf2\x07\0\0\0\xff\xff\x05\0\0\0";

#[test]
fn a_walk_finds_the_end_and_the_key() {
    let plan = plan(&[0]);
    for row in [FULL, WITH_NULLS] {
        let mut key = b"kept".to_vec();
        let followed = [row, b"next"].concat();
        assert_eq!(plan.walk(&followed, &mut key).unwrap(), row.len());
        assert_eq!(key, b"kept\x07\0\0\0");
    }
}

#[test]
fn key_parts_come_in_key_order_with_their_lengths() {
    let mut key = Vec::new();
    plan(&[3, 1]).walk(FULL, &mut key).unwrap();
    assert_eq!(key, b"\x05\0\0\0\x02\0hi");
    key.clear();
    plan(&[0, 1]).walk(FULL, &mut key).unwrap();
    assert_eq!(key, b"\x07\0\0\0\x02\0hi");
    for parts in [[0, 1], [1, 0]] {
        assert_eq!(plan(&parts).walk(WITH_NULLS, &mut key).unwrap_err().reason, "a NULL in the key");
    }
}

#[test]
fn neighbours_of_fixed_width_are_one_step() {
    let plan = plan(&[0]);
    assert_eq!(plan.dense.len(), 3);
    assert_eq!(plan.sparse.len(), 4);
}

#[test]
fn cells_come_in_the_targets_order() {
    let mut cells = Cells::default();
    plan(&[3, 1]).write(FULL, &mut cells).unwrap();
    assert_eq!(cells.0, ["5", "hi", "7", "-1", "9"]);
    let mut cells = Cells::default();
    plan(&[3]).write(WITH_NULLS, &mut cells).unwrap();
    assert_eq!(cells.0, ["5", "7", "NULL", "-1", "NULL"]);
}

#[test]
fn a_row_in_the_targets_order_is_written_as_it_is_met() {
    let plan = plan(&[0]);
    assert!(plan.in_order);
    for (row, expected) in [(FULL, ["7", "hi", "-1", "5", "9"]), (WITH_NULLS, ["7", "NULL", "-1", "5", "NULL"])] {
        let mut cells = Cells::default();
        plan.write(&[row, b"next"].concat(), &mut cells).unwrap();
        assert_eq!(cells.0, expected);
    }
}

#[test]
fn a_row_that_ends_early_is_an_error() {
    for key in [&[0][..], &[3, 1]] {
        let plan = plan(key);
        for end in 0..FULL.len() {
            assert!(plan.walk(&FULL[..end], &mut Vec::new()).is_err(), "{end}");
            assert!(plan.write(&FULL[..end], &mut Cells::default()).is_err(), "{end}");
        }
    }
}

#[test]
fn a_bad_value_names_its_column() {
    let row = b"\xe0\x07\0\0\0\x02\0\xff\xff\xff\xff\x05\0\0\0\x09\0\0\0\0\0\0\0";
    let error = plan(&[0]).write(row, &mut Cells::default()).unwrap_err();
    assert_eq!(error.column.as_deref(), Some("a"));
    assert!(error.to_string().starts_with("column a: the bytes ffff at offset 0 are no text"), "{error}");
}

#[test]
fn a_wide_table_is_written_too() {
    let count = 300;
    let mut columns = vec![column("id", integer(IntegerSize::Int), false)];
    columns.extend((1..count).map(|index| column(&format!("c{index}"), integer(IntegerSize::Tiny), true)));
    let table = Table {
        name: TableName::new("shop", "t"),
        columns,
        key: vec![0],
        primary: true,
        comment: String::new(),
        charset: None,
        indexes: Vec::new(),
    };
    let mapping = map_table(&table, &MappingOptions::for_version(3, 5)).unwrap();
    let mut logged = vec![(3, vec![], false)];
    logged.resize(count, (1, vec![], true));
    let map = TableMap::parse(&body(&logged, &[])).unwrap();
    let plan = RowPlan::new(&mapping, &map, &ValueOptions::default()).unwrap();
    let mut row = vec![0; count.div_ceil(8)];
    row.extend_from_slice(&[1, 0, 0, 0]);
    row.extend((1..count).map(|index| index as u8));
    let mut cells = Cells::default();
    assert_eq!(plan.walk(&row, &mut Vec::new()).unwrap(), row.len());
    plan.write(&row, &mut cells).unwrap();
    assert_eq!((cells.0[0].as_str(), cells.0[299].as_str()), ("1", "43"));
}

#[test]
fn another_table_in_the_log_is_refused_with_both_sides() {
    type Change = fn(&mut Vec<(u8, Vec<u8>, bool)>);
    let refuse = |change: Change, optional: &[(u8, Vec<u8>)]| {
        let mut logged = logged();
        change(&mut logged);
        let map = TableMap::parse(&body(&logged, optional)).unwrap();
        RowPlan::new(&table(&[0]), &map, &ValueOptions::default()).unwrap_err().to_string()
    };
    let fewer = refuse(|logged| drop(logged.pop()), &[]);
    assert!(fewer.contains("table shop.t: the log has 4 columns, the definition 5"), "{fewer}");
    let other = refuse(|logged| logged[1].1 = vec![0x2c, 0x01], &[]);
    assert!(other.contains("column a: the log has a VARCHAR or VARBINARY of 300 bytes"), "{other}");
    assert!(other.contains("hint: ") && other.contains("400 bytes"), "{other}");
    let unsigned = refuse(|_| {}, &[(1, vec![0b0100_0000])]);
    assert!(unsigned.contains("column b: the log has an unsigned integer"), "{unsigned}");
    let renamed = refuse(|_| {}, &[(4, b"\x02id\x01x\x01b\x01c\x01d".to_vec())]);
    assert!(renamed.contains("column a: the log has the name x, the definition the name a"), "{renamed}");
    let compressed = refuse(|logged| logged[1] = (141, vec![0x90, 0x01], true), &[]);
    assert!(compressed.contains("remove COMPRESSED"), "{compressed}");
}

proptest! {
    #[test]
    fn any_bytes_are_a_row_or_an_error(row: Vec<u8>) {
        for key in [&[0][..], &[3, 1]] {
            let plan = plan(key);
            let mut key = Vec::new();
            let walked = plan.walk(&row, &mut key);
            let _ = plan.write(&row, &mut Cells::default());
            prop_assert!(key.len() <= row.len());
            if let Ok(end) = walked {
                prop_assert!(end <= row.len());
            }
        }
    }

    #[test]
    fn any_bytes_are_a_row_with_fewer_columns_or_an_error(row: Vec<u8>, bits: u8, mariadb: bool) {
        let map = TableMap::parse(&body(&logged(), &[])).unwrap();
        for absent in [Absent::Untold, Absent::Default { mariadb }] {
            let present = (&ColumnBits::new(&[bits]), absent);
            let plan = RowPlan::with_columns(&table(&[3, 1]), &map, &ValueOptions::default(), Some(present)).unwrap();
            let (mut cells, mut found) = (Cells::default(), Vec::new());
            if let Ok(end) = plan.walk(&row, &mut Vec::new()) {
                prop_assert!(end <= row.len());
            }
            let written = plan.write(&row, &mut cells);
            let laid = plan.lay(&row, &mut Vec::new(), |column, _| found.push(column));
            prop_assert!(written.is_err() || laid.is_ok());
            prop_assert!(written.is_err() || cells.0.len() == 5);
            let told = 5 - plan.untold().count();
            prop_assert!(laid.is_err() || found.len() == told);
            prop_assert_eq!(plan.tells_all(), told == 5);
            if matches!(absent, Absent::Default { .. }) {
                prop_assert!(plan.tells_all());
            }
        }
    }

    #[test]
    fn any_change_of_a_row_is_read_or_refused(at in 0..FULL.len(), byte: u8) {
        let mut row = FULL.to_vec();
        row[at] = byte;
        let walked = plan(&[0]).walk(&row, &mut Vec::new());
        let written = plan(&[0]).write(&row, &mut Cells::default());
        prop_assert!(walked.is_ok() || written.is_err());
    }
}
