use std::sync::Arc;

use super::*;
use crate::schema::{Table, TableName};

fn table(columns: Vec<Column>) -> Arc<Table> {
    let name = TableName::new("shop", "t");
    Arc::new(Table {
        name,
        columns,
        key: vec![0],
        primary: true,
        comment: String::new(),
        charset: None,
        indexes: Vec::new(),
    })
}

fn altered(before: Vec<Column>, after: Vec<Column>, was: Vec<Option<usize>>) -> Altered {
    Altered { before: table(before), after: table(after), was }
}

fn changed(before: ColumnType, after: ColumnType, strict: bool) -> bool {
    let (before, after) = (vec![Column::new("c", before)], vec![Column::new("c", after)]);
    !rewrites_rows(&altered(before, after, vec![Some(0)]), strict).is_empty()
}

fn int(size: IntegerSize) -> ColumnType {
    ColumnType::Integer { size, unsigned: false }
}

fn unsigned(size: IntegerSize) -> ColumnType {
    ColumnType::Integer { size, unsigned: true }
}

fn decimal(precision: u8, scale: u8) -> ColumnType {
    ColumnType::Decimal { precision, scale }
}

fn of(charset: &str, chars: u32) -> ColumnType {
    ColumnType::Varchar { chars, charset: charset.into() }
}

fn varchar(chars: u32) -> ColumnType {
    of("utf8mb4", chars)
}

fn char_of(chars: u32) -> ColumnType {
    ColumnType::Char { chars, charset: "utf8mb4".into() }
}

fn text(size: LobSize, charset: &str) -> ColumnType {
    ColumnType::Text { size, charset: charset.into() }
}

fn members(names: &str) -> Vec<String> {
    names.split(',').map(str::to_owned).collect()
}

fn enumeration(names: &str) -> ColumnType {
    ColumnType::Enum { members: members(names) }
}

fn set(names: &str) -> ColumnType {
    ColumnType::Set { members: members(names) }
}

/// Every pair of types, in three kinds: the values stay; they stay if the statement was strict; they change.
#[test]
fn values_stay_only_where_every_one_of_them_reads_the_same() {
    use ColumnType::*;
    use IntegerSize::*;
    let utf8_text = |size| text(size, "utf8mb4");
    let stay = [
        (int(Tiny), int(Small)),
        (int(Int), int(Big)),
        (unsigned(Medium), int(Int)),
        (unsigned(Small), unsigned(Big)),
        (int(Int), decimal(10, 0)),
        (int(Int), decimal(14, 2)),
        (int(Int), Double),
        (decimal(10, 2), decimal(12, 4)),
        (decimal(50, 2), decimal(60, 2)),
        (Bit { bits: 3 }, Bit { bits: 9 }),
        (varchar(10), varchar(11)),
        (char_of(10), varchar(10)),
        (char_of(9), char_of(10)),
        (of("latin1", 10), varchar(10)),
        (of("utf8mb3", 10), of("utf16", 10)),
        (varchar(63), utf8_text(LobSize::Tiny)),
        (varchar(9000), utf8_text(LobSize::Plain)),
        (utf8_text(LobSize::Plain), utf8_text(LobSize::Medium)),
        (text(LobSize::Plain, "latin1"), utf8_text(LobSize::Medium)),
        (utf8_text(LobSize::Tiny), varchar(255)),
        (Varbinary { bytes: 4 }, Varbinary { bytes: 5 }),
        (Varbinary { bytes: 255 }, Blob { size: LobSize::Tiny }),
        (Blob { size: LobSize::Plain }, Blob { size: LobSize::Long }),
        (Date, DateTime { digits: 0 }),
        (DateTime { digits: 0 }, DateTime { digits: 6 }),
        (Timestamp { digits: 3 }, Timestamp { digits: 6 }),
        (enumeration("a,b"), enumeration("a,b,c")),
        (enumeration("a,b"), enumeration("c,b,a")),
        (enumeration("a,bb"), varchar(2)),
        (set("a,b"), set("x,a,b")),
        (set("a,b"), varchar(3)),
        (Json, Json),
    ];
    let if_strict = [
        (int(Big), int(Int)),
        (int(Int), unsigned(Int)),
        (int(Int), unsigned(Big)),
        (unsigned(Int), int(Int)),
        (int(Int), decimal(10, 2)),
        (decimal(10, 2), decimal(9, 2)),
        (Bit { bits: 9 }, Bit { bits: 3 }),
        (enumeration("a,b"), enumeration("a,c")),
    ];
    let change = [
        (int(Big), Double),
        (int(Int), Float),
        (int(Int), varchar(20)),
        (varchar(20), int(Int)),
        (decimal(10, 2), decimal(12, 1)),
        (decimal(50, 2), decimal(60, 4)),
        (decimal(10, 2), Double),
        (Float, Double),
        (Double, Float),
        (Float, varchar(40)),
        (varchar(10), varchar(9)),
        (varchar(10), char_of(10)),
        (varchar(10), of("latin1", 10)),
        (of("latin1", 10), of("latin2", 10)),
        (varchar(64), utf8_text(LobSize::Tiny)),
        (text(LobSize::Plain, "latin1"), utf8_text(LobSize::Plain)),
        (utf8_text(LobSize::Medium), utf8_text(LobSize::Plain)),
        (utf8_text(LobSize::Plain), varchar(9000)),
        (varchar(10), Varbinary { bytes: 40 }),
        (Binary { bytes: 4 }, Binary { bytes: 5 }),
        (Binary { bytes: 4 }, Varbinary { bytes: 4 }),
        (Varbinary { bytes: 256 }, Blob { size: LobSize::Tiny }),
        (Blob { size: LobSize::Plain }, Blob { size: LobSize::Tiny }),
        (DateTime { digits: 6 }, DateTime { digits: 0 }),
        (DateTime { digits: 0 }, Date),
        (DateTime { digits: 0 }, Timestamp { digits: 0 }),
        (Timestamp { digits: 0 }, DateTime { digits: 0 }),
        (Time { digits: 0 }, Time { digits: 3 }),
        (Year, int(Int)),
        (set("a,b"), set("b,a")),
        (enumeration("a,bb"), varchar(1)),
        (enumeration("a,b"), of("latin1", 9)),
        (varchar(9), enumeration("a,b")),
        (Json, utf8_text(LobSize::Long)),
        (utf8_text(LobSize::Long), Json),
        (Vector { dimensions: 2 }, Vector { dimensions: 3 }),
    ];
    for (pairs, loose, strict) in [(&stay[..], false, false), (&if_strict, true, false), (&change, true, true)] {
        for (before, after) in pairs {
            assert_eq!(changed(before.clone(), after.clone(), false), loose, "{before:?} to {after:?}");
            assert_eq!(changed(before.clone(), after.clone(), true), strict, "{before:?} to {after:?}, strict");
        }
    }
}

#[test]
fn nulls_become_values_unless_the_statement_was_strict() {
    let nullable = |nullable| vec![Column { nullable, ..Column::new("c", ColumnType::Year) }];
    let tightened = altered(nullable(true), nullable(false), vec![Some(0)]);
    assert_eq!(
        rewrites_rows(&tightened, false),
        ["column c: it is NOT NULL now, and outside strict SQL mode its NULLs have become other values"]
    );
    assert!(rewrites_rows(&tightened, true).is_empty());
    assert!(rewrites_rows(&altered(nullable(false), nullable(true), vec![Some(0)]), false).is_empty());
}

#[test]
fn new_columns_with_values_of_their_own_are_named() {
    let with =
        |name, default| Column { default: Some(default), ..Column::new(name, ColumnType::DateTime { digits: 0 }) };
    let id = Column::new("id", int(IntegerSize::Int));
    let after = vec![
        id.clone(),
        with("at", DefaultValue::CurrentTimestamp),
        with("x", DefaultValue::Expression("now()".into())),
        with("fixed", DefaultValue::Literal("2020-01-01 00:00:00".into())),
        Column { generated: Generated::Virtual, ..Column::new("sum", int(IntegerSize::Int)) },
    ];
    let found = rewrites_rows(&altered(vec![id], after, vec![Some(0), None, None, None, None]), true);
    let named: Vec<&str> = found.iter().map(|text| text.split(':').next().unwrap()).collect();
    assert_eq!(named, ["column at", "column x", "column sum"]);
}

#[test]
fn a_column_that_becomes_generated_has_new_values_and_one_that_was_keeps_them() {
    let column = |generated| vec![Column { generated, ..Column::new("c", int(IntegerSize::Int)) }];
    let change = |from, to| rewrites_rows(&altered(column(from), column(to), vec![Some(0)]), true);
    assert_eq!(change(Generated::No, Generated::Stored).len(), 1);
    assert!(change(Generated::Stored, Generated::No).is_empty());
}

#[test]
fn names_places_defaults_and_comments_are_no_rows() {
    let mut renamed = Column::new("b", varchar(9));
    renamed.default = Some(DefaultValue::Literal("x".into()));
    renamed.comment = "new".into();
    let before = vec![Column::new("id", int(IntegerSize::Int)), Column::new("a", varchar(9))];
    let after = vec![renamed, before[0].clone()];
    assert!(rewrites_rows(&altered(before, after, vec![Some(1), Some(0)]), false).is_empty());
}
