use super::*;
use crate::schema::TargetDefault;

fn table(columns: Vec<Column>, key: &[usize]) -> Table {
    Table {
        name: TableName::new("shop", "t"),
        columns,
        key: key.to_vec(),
        primary: true,
        comment: "orders".into(),
        charset: None,
        indexes: Vec::new(),
    }
}

fn big() -> ColumnType {
    ColumnType::Integer { size: IntegerSize::Big, unsigned: false }
}

fn options() -> MappingOptions {
    MappingOptions::for_version(3, 5)
}

fn text(size: LobSize, charset: &str) -> ColumnType {
    ColumnType::Text { size, charset: charset.into() }
}

fn chars(chars: u32, charset: &str) -> ColumnType {
    ColumnType::Varchar { chars, charset: charset.into() }
}

fn members(members: &[&str]) -> Vec<String> {
    members.iter().map(|member| (*member).to_owned()).collect()
}

/// The type of a value column.
fn value(ty: ColumnType) -> TargetType {
    value_with(ty, &options())
}

fn value_with(ty: ColumnType, options: &MappingOptions) -> TargetType {
    let mapping = map_table(&table(vec![Column::new("id", big()), Column::new("v", ty)], &[0]), options).unwrap();
    mapping.target.columns[1].ty
}

/// The type of a key column.
fn key(ty: ColumnType) -> TargetType {
    map_table(&table(vec![Column::new("id", ty)], &[0]), &options()).unwrap().target.columns[0].ty
}

const fn bytes(bytes: u32) -> TargetType {
    TargetType::Varchar { bytes }
}

#[test]
fn integers_keep_every_value() {
    let of = |size, unsigned| value(ColumnType::Integer { size, unsigned });
    assert_eq!(of(IntegerSize::Tiny, false), TargetType::TinyInt);
    assert_eq!(of(IntegerSize::Tiny, true), TargetType::SmallInt);
    assert_eq!(of(IntegerSize::Small, false), TargetType::SmallInt);
    assert_eq!(of(IntegerSize::Small, true), TargetType::Int);
    assert_eq!(of(IntegerSize::Medium, false), TargetType::Int);
    assert_eq!(of(IntegerSize::Medium, true), TargetType::Int);
    assert_eq!(of(IntegerSize::Int, false), TargetType::Int);
    assert_eq!(of(IntegerSize::Int, true), TargetType::BigInt);
    assert_eq!(of(IntegerSize::Big, false), TargetType::BigInt);
    assert_eq!(of(IntegerSize::Big, true), TargetType::LargeInt);
}

#[test]
fn other_numbers() {
    let decimal = |precision, scale| ColumnType::Decimal { precision, scale };
    assert_eq!(value(decimal(38, 10)), TargetType::Decimal { precision: 38, scale: 10 });
    assert_eq!(value(decimal(39, 10)), bytes(41));
    assert_eq!(value(decimal(65, 30)), bytes(67));
    let v4 = MappingOptions::for_version(4, 0);
    assert_eq!(value_with(decimal(65, 30), &v4), TargetType::Decimal { precision: 65, scale: 30 });
    assert_eq!(value(ColumnType::Float), TargetType::Float);
    assert_eq!(value(ColumnType::Double), TargetType::Double);
    assert_eq!(value(ColumnType::Bit { bits: 1 }), TargetType::Boolean);
    assert_eq!(value(ColumnType::Bit { bits: 63 }), TargetType::BigInt);
    assert_eq!(value(ColumnType::Bit { bits: 64 }), TargetType::LargeInt);
    assert_eq!(value(ColumnType::Year), TargetType::SmallInt);
}

#[test]
fn texts_are_counted_in_utf8_bytes() {
    assert_eq!(value(chars(255, "utf8mb4")), bytes(1020));
    assert_eq!(value(chars(255, "utf8mb3")), bytes(765));
    assert_eq!(value(chars(255, "latin1")), bytes(765));
    assert_eq!(value(chars(255, "latin2")), bytes(510));
    assert_eq!(value(chars(255, "ascii")), bytes(255));
    assert_eq!(value(ColumnType::Char { chars: 10, charset: "gbk".into() }), bytes(30));
    assert_eq!(value(chars(0, "utf8mb4")), bytes(1));
    assert_eq!(value(text(LobSize::Tiny, "utf8mb4")), bytes(1020));
    assert_eq!(value(text(LobSize::Plain, "utf8mb4")), bytes(65_535));
    assert_eq!(value(text(LobSize::Plain, "latin1")), bytes(196_605));
    assert_eq!(value(text(LobSize::Medium, "utf8mb4")), bytes(1_048_576));
    assert_eq!(value(text(LobSize::Long, "utf8mb4")), bytes(1_048_576));
    assert_eq!(value_with(text(LobSize::Plain, "utf8mb4"), &MappingOptions::for_version(2, 0)), bytes(65_533));
}

#[test]
fn enums_and_sets_hold_their_longest_text() {
    assert_eq!(value(ColumnType::Enum { members: members(&["a", "größer"]) }), bytes(8));
    assert_eq!(value(ColumnType::Enum { members: members(&[""]) }), bytes(1));
    assert_eq!(value(ColumnType::Set { members: members(&["a", "bb", "ccc"]) }), bytes(8));
}

#[test]
fn bytes_times_and_the_rest() {
    assert_eq!(value(ColumnType::Binary { bytes: 0 }), TargetType::Varbinary { bytes: 1 });
    assert_eq!(value(ColumnType::Varbinary { bytes: 16 }), TargetType::Varbinary { bytes: 16 });
    assert_eq!(value(ColumnType::Blob { size: LobSize::Tiny }), TargetType::Varbinary { bytes: 255 });
    assert_eq!(value(ColumnType::Blob { size: LobSize::Plain }), TargetType::Varbinary { bytes: 65_535 });
    assert_eq!(value(ColumnType::Blob { size: LobSize::Long }), TargetType::Varbinary { bytes: 1_048_576 });
    assert_eq!(value(ColumnType::Date), TargetType::Date);
    assert_eq!(value(ColumnType::DateTime { digits: 6 }), TargetType::DateTime);
    assert_eq!(value(ColumnType::Timestamp { digits: 0 }), TargetType::DateTime);
    assert_eq!(value(ColumnType::Time { digits: 6 }), bytes(17));
    assert_eq!(value(ColumnType::Json), TargetType::Json);
    assert_eq!(value(ColumnType::Geometry), bytes(1_048_576));
    assert_eq!(value(ColumnType::Vector { dimensions: 3 }), TargetType::FloatArray);
    assert_eq!(value(ColumnType::Uuid), bytes(36));
    assert_eq!(value(ColumnType::Inet4), bytes(15));
    assert_eq!(value(ColumnType::Inet6), bytes(39));
}

#[test]
fn a_key_of_a_type_that_cannot_be_one_becomes_its_text() {
    assert_eq!(key(ColumnType::Decimal { precision: 10, scale: 2 }), bytes(12));
    assert_eq!(key(ColumnType::Decimal { precision: 2, scale: 2 }), bytes("-0.99".len() as u32));
    assert_eq!(key(ColumnType::Float), bytes(26));
    assert_eq!(key(ColumnType::Double), bytes("-0.0000000000000012345678901234567".len() as u32));
    assert_eq!(key(ColumnType::Binary { bytes: 16 }), bytes(32));
    assert_eq!(key(ColumnType::Bit { bits: 1 }), TargetType::Boolean);
    assert_eq!(key(ColumnType::Date), TargetType::Date);
    assert_eq!(key(ColumnType::Uuid), bytes(36));
    assert_eq!(key(ColumnType::Time { digits: 0 }), bytes(17));
}

#[test]
fn key_columns_come_first_in_key_order() {
    let mut note = Column::new("note", text(LobSize::Plain, "utf8mb4"));
    note.nullable = true;
    let source = table(vec![note, Column::new("line", big()), Column::new("id", big())], &[2, 1]);
    let target = map_table(&source, &options()).unwrap().target;
    let names: Vec<_> = target.columns.iter().map(|column| (column.name.as_str(), column.source)).collect();
    assert_eq!(names, [("id", 2), ("line", 1), ("note", 0)]);
    assert_eq!(target.key_columns, 2);
    assert!(target.columns[2].nullable);
    assert!(!target.columns[0].nullable);
    assert_eq!(target.comment, "orders");
}

#[test]
fn the_database_may_get_another_name() {
    let mut options = options();
    options.databases.insert("shop".into(), "ods_shop".into());
    let target = map_table(&table(vec![Column::new("id", big())], &[0]), &options).unwrap().target;
    assert_eq!(target.name, TableName::new("ods_shop", "t"));
}

#[test]
fn a_zero_date_default_makes_the_column_nullable() {
    let mut born = Column::new("born", ColumnType::Date);
    born.default = Some(DefaultValue::Literal("0000-00-00".into()));
    let source = table(vec![Column::new("id", big()), born], &[0]);
    let mapping = map_table(&source, &options()).unwrap();
    assert!(mapping.target.columns[1].nullable);
    assert_eq!(mapping.target.columns[1].default, None);
    assert!(mapping.warnings()[0].contains("table shop.t column born: NULL is allowed"), "{:?}", mapping.warnings());
    let replaced = MappingOptions { zero_date_is_null: false, ..options() };
    assert!(!map_table(&source, &replaced).unwrap().target.columns[1].nullable);
}

#[test]
fn defaults_are_carried_where_starrocks_takes_them() {
    let mut flag = Column::new("flag", ColumnType::Bit { bits: 1 });
    flag.default = Some(DefaultValue::Literal("b'1'".into()));
    let mut at = Column::new("at", ColumnType::Timestamp { digits: 0 });
    at.default = Some(DefaultValue::CurrentTimestamp);
    let mut code = Column::new("code", chars(10, "utf8mb4"));
    code.default = Some(DefaultValue::Expression("uuid()".into()));
    let mut id = Column::new("id", big());
    id.default = Some(DefaultValue::Literal("0".into()));
    let target = map_table(&table(vec![id, flag, at, code], &[0]), &options()).unwrap().target;
    let defaults: Vec<_> = target.columns.iter().map(|column| column.default.clone()).collect();
    assert_eq!(defaults, [None, Some(TargetDefault::Literal("1".into())), Some(TargetDefault::CurrentTimestamp), None]);
}

fn failure(source: &Table, options: &MappingOptions) -> String {
    let error = map_table(source, options).unwrap_err();
    assert_eq!(error.kind(), crate::error::Kind::Definite);
    error.to_string()
}

#[test]
fn what_cannot_be_mapped_says_where_and_what_to_do() {
    let reserved = failure(&table(vec![Column::new("id", big()), Column::new("__OP", big())], &[0]), &options());
    assert!(reserved.starts_with("table shop.t: column __OP: the name is reserved by StarRocks"), "{reserved}");
    assert!(reserved.contains("hint: rename the column"), "{reserved}");

    let keyless = failure(&table(vec![Column::new("id", big())], &[]), &options());
    assert!(keyless.contains("no primary key"), "{keyless}");

    let json_key = failure(&table(vec![Column::new("id", ColumnType::Json)], &[0]), &options());
    assert!(json_key.contains("column id: JSON cannot be in a StarRocks primary key"), "{json_key}");

    for ty in
        [ColumnType::Enum { members: members(&["a", "b", "a"]) }, ColumnType::Set { members: members(&["a", ""]) }]
    {
        assert!(failure(&table(vec![Column::new("id", ty)], &[0]), &options()).contains("two of its values"));
    }
    assert_eq!(key(ColumnType::Enum { members: members(&["a", ""]) }), bytes(1));

    let mut nullable = Column::new("id", big());
    nullable.nullable = true;
    assert!(failure(&table(vec![nullable], &[0]), &options()).contains("may be NULL"));

    let blob = table(vec![Column::new("id", big()), Column::new("b", ColumnType::Blob { size: LobSize::Plain })], &[0]);
    assert!(failure(&blob, &MappingOptions::for_version(2, 5)).contains("VARBINARY only from 3.0"));

    let mut named = table(vec![Column::new("id", big())], &[0]);
    named.name.database = "1st shop".into();
    assert!(failure(&named, &options()).contains("target.databases"));
}

#[test]
fn a_long_key_and_a_long_text_are_warned_about() {
    let source =
        table(vec![Column::new("id", chars(40, "utf8mb4")), Column::new("n", text(LobSize::Long, "utf8mb4"))], &[0]);
    let warnings = map_table(&source, &options()).unwrap().warnings();
    assert!(warnings[0].contains("its key can take 160 bytes"), "{warnings:?}");
    assert!(warnings[1].contains("column n: a value longer than 1048576 bytes"), "{warnings:?}");
    assert_eq!(warnings.len(), 2);
}
