//! The same binlog files through two decoders that share no code: ours, and the crate `mysql_cdc`. Every cell is
//! compared whose type both can read; what `mysql_cdc` 0.2 cannot read, or reads as something else, is listed here.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts};
use mysql_cdc::binlog_reader::BinlogReader;
use mysql_cdc::events::binlog_event::BinlogEvent;
use mysql_cdc::events::row_events::mysql_value::MySqlValue;
use mysql_cdc::events::row_events::row_data::RowData;
use towpath::config::{NoKeyTables, TableFilter};
use towpath::demo::server::{Options, Product, ScratchServer};
use towpath::demo::shop::{self, Size};
use towpath::demo::writer::{self, Writer};
use towpath::mysql::binlog::{RowPlan, TableMap};
use towpath::mysql::value::{ValueOptions, ValueWriter};
use towpath::mysql::{catalog, connect};
use towpath::schema::{ColumnType, Mapping, MappingOptions, TableName, map_table};

use crate::fuzz::machine::{file_events, images};

/// Types and values that both read. Both families of servers have them.
const COMPARED: &[(&str, &str)] = &[
    ("TINYINT", "-128, -1, 0, 127, NULL"),
    ("TINYINT UNSIGNED", "0, 128, 255"),
    ("SMALLINT", "-32768, -1, 32767"),
    ("SMALLINT UNSIGNED", "0, 65535"),
    ("MEDIUMINT", "-8388608, -1, 8388607"),
    ("MEDIUMINT UNSIGNED", "0, 16777215"),
    ("INT", "-2147483648, -1, 2147483647, NULL"),
    ("INT UNSIGNED", "0, 4294967295"),
    ("BIGINT", "-9223372036854775808, -1, 9223372036854775807"),
    ("BIGINT UNSIGNED", "0, 18446744073709551615"),
    ("DECIMAL(10,2)", "0, -0.01, 99999999.99, -99999999.99, 1.5, NULL"),
    ("DECIMAL(65,30)", "99999999999999999999999999999999999.999999999999999999999999999999, -1e-30, 0"),
    ("DECIMAL(65,0)", "-99999999999999999999999999999999999999999999999999999999999999999, 7"),
    ("DECIMAL(30,30)", "0.999999999999999999999999999999, -0.1, 0"),
    ("DECIMAL(20,10)", "1234567890.0987654321, -1000000000.0000000001"),
    ("FLOAT", "0, 0.1, -1.5, 3.4028234e38, 1.17549435e-38, 123456.789, 1e-7"),
    ("DOUBLE", "0, 0.1, 1e15, 1.7976931348623157e308, 5e-324, -2.2250738585072014e-308"),
    ("BIT(1)", "b'0', b'1', NULL"),
    ("BIT(9)", "b'0', b'111111111', b'100000001'"),
    ("BIT(64)", "0, 18446744073709551615, 1"),
    ("YEAR", "1901, 2155, 2024, NULL"),
    ("DATE", "'1000-01-01', '9999-12-31', '2024-02-29', '0000-00-00', '2020-00-10', NULL"),
    ("DATETIME", "'1000-01-01 00:00:00', '9999-12-31 23:59:59', '0000-00-00', NULL"),
    ("DATETIME(1)", "'2024-01-02 03:04:05.6'"),
    ("DATETIME(3)", "'2024-01-02 03:04:05.678', '1969-12-31 23:59:59.999'"),
    // Of six digits they keep three.
    ("DATETIME(6)", "'9999-12-31 23:59:59.999999', '2024-01-02 03:04:05.000001'"),
    ("TIMESTAMP NULL", "'1970-01-01 00:00:01', '2038-01-19 03:14:07', '0000-00-00 00:00:00', NULL"),
    ("TIMESTAMP(2) NULL", "'2001-09-09 01:46:40.55'"),
    ("TIMESTAMP(6) NULL", "'1970-01-01 00:00:01.000001', '2038-01-19 03:14:07.499999'"),
    ("TIME", "'838:59:59', '00:00:00', '100:00:00', NULL"),
    ("TIME(1)", "'01:02:03.9'"),
    ("TIME(4)", "'23:59:59.9999'"),
    ("TIME(6)", "'838:59:58.999999', '00:00:00.000001'"),
    ("CHAR(10)", "'', 'abc', 'abc  ', 'é😀', NULL"),
    ("CHAR(255)", "REPEAT('é', 255), 'x'"),
    ("VARCHAR(10)", "'', 'a ', 'tab\\tnew\\nnul\\0', '\\\\N', NULL"),
    ("VARCHAR(256)", "REPEAT('😀', 256), ''"),
    ("TINYTEXT", "'', REPEAT('x', 255)"),
    ("TEXT", "'', REPEAT('é', 30000), NULL"),
    ("MEDIUMTEXT", "REPEAT('x', 70000)"),
    ("LONGTEXT", "'é'"),
    ("BINARY(5)", "'a', '', 'a  ', UNHEX('0000000000')"),
    ("VARBINARY(300)", "'', UNHEX('0041'), REPEAT('x', 300)"),
    ("TINYBLOB", "'', UNHEX('00FF')"),
    ("BLOB", "REPEAT(UNHEX('00FF'), 3000), NULL"),
    ("MEDIUMBLOB", "REPEAT(UNHEX('0A'), 70000)"),
    ("LONGBLOB", "UNHEX('5C4E')"),
    ("ENUM('a','b','é,x')", "'a', 'é,x', 0, NULL"),
    ("SET('a','b','é')", "'', 'a', 'a,é', 7, NULL"),
    ("SET('1','2','3','4','5','6','7','8','9','10','11','12','13','14','15','16','17')", "'17', '1,9'"),
];

/// `mysql_cdc` gives an error for the event, and part of its text.
const REFUSED: &[(&str, &str, &str)] = &[
    // A negative TIME.
    ("TIME", "'-00:00:01'", "negative TIME"),
    ("TIME(6)", "'-838:59:58.999999'", "negative TIME"),
    // Every string is taken for UTF-8, whatever its character set, and so are BINARY and VARBINARY.
    ("VARCHAR(20) CHARACTER SET latin1", "'é'", "Utf8"),
    ("CHAR(20) CHARACTER SET gbk", "'你好'", "Utf8"),
    ("BINARY(4)", "UNHEX('FF')", "Utf8"),
    ("VARBINARY(4)", "UNHEX('FF00')", "Utf8"),
];

const REFUSED_MYSQL: &[(&str, &str, &str)] =
    // The type code is unknown, so no map of a table with such a column is read.
    &[("VECTOR(2)", "STRING_TO_VECTOR('[1,2]')", "TableMapEvent")];

const REFUSED_MARIADB: &[(&str, &str, &str)] = &[
    // Fixed strings of bytes, taken for text.
    ("UUID", "'3e11fa47-71ca-11e1-9e33-c80aa9429562'", "Utf8"),
    ("INET6", "'2001:db8::ff00:42:8329'", "Utf8"),
];

/// Read without an error, but not as the server shows it: not compared but by this text of theirs.
const DIFFERENT: &[(&str, &str, &str)] = &[
    // Stored as 0, which stands for the year 0000, not for 1900.
    ("YEAR", "0", "Year(1900)"),
    // Text in another character set comes as the bytes of that set.
    ("TEXT CHARACTER SET latin1", "'é'", "Blob([233])"),
    ("VARCHAR(9) CHARACTER SET utf16", "'a'", "String(\"\\0a\")"),
    // WKB behind the SRID, undecoded.
    (
        "POINT",
        "ST_GeomFromText('POINT(1 2)')",
        "Blob([0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 240, 63, 0, 0, 0, 0, 0, 0, 0, 64])",
    ),
];

const DIFFERENT_MYSQL: &[(&str, &str, &str)] =
    // MySQL's binary JSON, undecoded.
    &[("JSON", "'[1]'", "Blob([2, 1, 0, 7, 0, 5, 1, 0])")];

/// Ours as text that tells the cell's kind.
#[derive(Default)]
struct Cells(Vec<String>);

impl Cells {
    fn push(&mut self, bytes: &[u8]) {
        self.0.push(std::str::from_utf8(bytes).unwrap().to_owned());
    }
}

impl ValueWriter for Cells {
    fn null(&mut self) {
        self.0.push("NULL".into());
    }
    fn integer(&mut self, value: i64) {
        self.0.push(value.to_string());
    }
    fn unsigned(&mut self, value: u64) {
        self.0.push(value.to_string());
    }
    fn number(&mut self, digits: &[u8]) {
        self.push(digits);
    }
    fn plain(&mut self, text: &[u8]) {
        self.push(text);
    }
    fn text(&mut self, text: &[u8]) {
        self.push(text);
    }
    fn binary(&mut self, bytes: &[u8]) {
        self.0.push(hex(bytes));
    }
    fn json(&mut self, document: &[u8]) {
        self.push(document);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Their value as ours would be written; `None` for what is not compared.
fn expected(ty: &ColumnType, theirs: &MySqlValue) -> Option<String> {
    let signed = |value: u64, bits: u32| ((value << (64 - bits)) as i64 >> (64 - bits)).to_string();
    let integer = |value: u64, bits: u32| match ty {
        ColumnType::Integer { unsigned: true, .. } => value.to_string(),
        _ => signed(value, bits),
    };
    let date = |year: u16, month: u8, day: u8| format!("{year:04}-{month:02}-{day:02}");
    Some(match (ty, theirs) {
        (_, MySqlValue::TinyInt(value)) => integer(u64::from(*value), 8),
        (_, MySqlValue::SmallInt(value)) => integer(u64::from(*value), 16),
        (_, MySqlValue::MediumInt(value)) => integer(u64::from(*value), 24),
        (_, MySqlValue::Int(value)) => integer(u64::from(*value), 32),
        (_, MySqlValue::BigInt(value)) => integer(*value, 64),
        (_, MySqlValue::Float(value)) => value.to_string(),
        (_, MySqlValue::Double(value)) => value.to_string(),
        (_, MySqlValue::Decimal(digits)) => digits.clone(),
        (ColumnType::Binary { bytes }, MySqlValue::String(text)) => {
            let mut bytes_of = text.as_bytes().to_vec();
            bytes_of.resize(*bytes as usize, 0);
            hex(&bytes_of)
        }
        (ColumnType::Varbinary { .. }, MySqlValue::String(text)) => hex(text.as_bytes()),
        (_, MySqlValue::String(text)) => text.clone(),
        (_, MySqlValue::Bit(bits)) => bits.iter().fold(0_u64, |value, bit| value << 1 | u64::from(*bit)).to_string(),
        (_, MySqlValue::Enum(0)) => String::new(),
        (ColumnType::Enum { members }, MySqlValue::Enum(index)) => members[*index as usize - 1].clone(),
        (ColumnType::Set { members }, MySqlValue::Set(bits)) => {
            let chosen = members.iter().enumerate().filter(|(index, _)| bits >> index & 1 == 1);
            chosen.map(|(_, member)| member.as_str()).collect::<Vec<_>>().join(",")
        }
        (ColumnType::Text { .. }, MySqlValue::Blob(bytes)) => String::from_utf8(bytes.clone()).ok()?,
        (ColumnType::Blob { .. }, MySqlValue::Blob(bytes)) => hex(bytes),
        (_, MySqlValue::Year(year)) => year.to_string(),
        (_, MySqlValue::Date(at)) if at.month == 0 || at.day == 0 => "NULL".into(),
        (_, MySqlValue::Date(at)) => date(at.year, at.month, at.day),
        (_, MySqlValue::DateTime(at)) if at.month == 0 || at.day == 0 => "NULL".into(),
        (_, MySqlValue::DateTime(at)) => {
            let date = date(at.year, at.month, at.day);
            format!("{date} {:02}:{:02}:{:02}.{:03}", at.hour, at.minute, at.second, at.millis)
        }
        (_, MySqlValue::Time(at)) => format!("{:02}:{:02}:{:02}.{:03}", at.hour, at.minute, at.second, at.millis),
        (_, MySqlValue::Timestamp(0)) => "NULL".into(),
        (_, MySqlValue::Timestamp(millis)) => {
            let at = jiff::Timestamp::from_millisecond(*millis as i64).unwrap();
            at.to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
        }
        _ => return None,
    })
}

fn same(ty: &ColumnType, theirs: &str, ours: &str) -> bool {
    match ty {
        ColumnType::Float => theirs == ours || theirs.parse::<f32>().unwrap() == ours.parse::<f32>().unwrap(),
        ColumnType::Double => theirs == ours || theirs.parse::<f64>().unwrap() == ours.parse::<f64>().unwrap(),
        ColumnType::DateTime { .. } | ColumnType::Timestamp { .. } | ColumnType::Time { .. } => {
            // They always write three digits; ours has the column's.
            let whole = |text: &str| {
                let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
                format!("{seconds}.{:0<3.3}", fraction)
            };
            whole(theirs) == whole(ours)
        }
        _ => theirs == ours,
    }
}

/// What one table gave.
#[derive(Default)]
struct Seen {
    rows: usize,
    compared: usize,
    /// Their values that are not compared.
    theirs: Vec<String>,
    refused: Vec<String>,
}

/// Reads one file with both decoders and compares.
fn compare(path: &Path, tables: &HashMap<TableName, Mapping>, seen: &mut BTreeMap<TableName, Seen>) {
    let events = file_events(&std::fs::read(path).unwrap());
    let mut theirs = BinlogReader::new(File::open(path).unwrap()).unwrap();
    let mut plans: HashMap<u64, (RowPlan, &Mapping)> = HashMap::new();
    for event in &events {
        let their_event = theirs.next().expect("both see as many events");
        if let Ok((header, _)) = &their_event {
            let theirs = (header.server_id, header.event_length, header.next_event_position);
            assert_eq!(theirs, (event.server_id, event.size, event.log_pos));
        }
        let table_id = || u64::from_le_bytes([&event.body[..6], &[0, 0]].concat().try_into().unwrap());
        if event.kind == 19 {
            let map = TableMap::parse(&event.body).unwrap();
            let Some(mapping) = tables.get(&map.name) else { continue };
            let plan = RowPlan::new(mapping, &map, &ValueOptions::default()).unwrap();
            plans.insert(map.table_id, (plan, mapping));
            continue;
        }
        let Some((_, mut rest)) = images(event) else { continue };
        let Some((plan, mapping)) = plans.get(&table_id()) else { continue };
        let seen = seen.entry(mapping.source.name.clone()).or_default();
        let their_rows: Vec<RowData> = match their_event {
            Ok((_, BinlogEvent::WriteRowsEvent(event))) => event.rows,
            Ok((_, BinlogEvent::DeleteRowsEvent(event))) => event.rows,
            Ok((_, BinlogEvent::UpdateRowsEvent(event))) => {
                event.rows.into_iter().flat_map(|row| [row.before_update, row.after_update]).collect()
            }
            Ok((_, other)) => panic!("{other:?}"),
            Err(error) => {
                seen.refused.push(format!("{error:?}"));
                continue;
            }
        };
        for row in their_rows {
            let end = plan.walk(rest, &mut Vec::new()).unwrap();
            let mut ours = Cells::default();
            plan.write(&rest[..end], &mut ours).unwrap();
            rest = &rest[end..];
            seen.rows += 1;
            for (ours, target) in ours.0.iter().zip(&mapping.target.columns) {
                let column = &mapping.source.columns[target.source];
                let Some(their_value) = &row.cells[target.source] else {
                    assert_eq!(ours, "NULL", "{} {}", mapping.source.name, column.name);
                    continue;
                };
                match expected(&column.ty, their_value) {
                    Some(theirs) if same(&column.ty, &theirs, ours) => seen.compared += 1,
                    Some(theirs) if column.name != "different" => {
                        panic!("{} {} {:?}: {ours:?} but {theirs:?}", mapping.source.name, column.name, column.ty)
                    }
                    _ => seen.theirs.push(format!("{their_value:?}")),
                }
            }
        }
        assert!(rest.is_empty(), "as many rows in the event");
    }
}

async fn run(conn: &mut Conn, statement: String) {
    conn.query_drop(&statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// One table a case in database `kinds`; its rows are inserted, changed and deleted.
async fn fill(conn: &mut Conn, prefix: &str, number: usize, ty: &str, column: &str, values: &str) -> TableName {
    let name = TableName::new("kinds", format!("{prefix}{number}"));
    run(conn, format!("CREATE TABLE {name} (id INT PRIMARY KEY AUTO_INCREMENT, `{column}` {ty})")).await;
    let mut rows = Vec::new();
    let (mut depth, mut from, mut quoted) = (0, 0, false);
    for (at, byte) in values.bytes().enumerate() {
        match byte {
            b'\'' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth -= 1,
            b',' if !quoted && depth == 0 => {
                rows.push(&values[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    rows.push(&values[from..]);
    run(conn, format!("INSERT INTO {name} (`{column}`) VALUES ({})", rows.join("),("))).await;
    run(conn, format!("UPDATE {name} SET id = id + 1000 ORDER BY id DESC LIMIT 1")).await;
    run(conn, format!("DELETE FROM {name} ORDER BY id LIMIT 1")).await;
    name
}

async fn both_decoders_agree(product: Product) {
    let server = ScratchServer::start(&Options::new(product)).await.unwrap();
    let mut conn = server.connect().await.unwrap();
    shop::create(&mut conn, "shop", Size { customers: 50, products: 20, orders: 50, types: 20 }).await.unwrap();
    let options = writer::Options { connections: 2, ..writer::Options::default() };
    let writer = Writer::start(&Opts::from_url(&server.url()).unwrap(), "shop", &options).await.unwrap();
    while writer.counts().transactions < 200 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    writer.stop().await.unwrap();

    run(&mut conn, "CREATE DATABASE kinds CHARACTER SET utf8mb4".into()).await;
    run(&mut conn, "SET NAMES utf8mb4, sql_mode = '', time_zone = '+00:00'".into()).await;
    let mysql = product == Product::Mysql;
    let mut compared = Vec::new();
    for (number, (ty, values)) in COMPARED.iter().enumerate() {
        compared.push(fill(&mut conn, "same", number, ty, "c", values).await);
    }
    let mut refused = Vec::new();
    for case in REFUSED.iter().chain(if mysql { REFUSED_MYSQL } else { REFUSED_MARIADB }) {
        refused.push((fill(&mut conn, "refused", refused.len(), case.0, "c", case.1).await, case));
    }
    let mut different = Vec::new();
    for case in DIFFERENT.iter().chain(if mysql { DIFFERENT_MYSQL } else { &[] }) {
        different.push((fill(&mut conn, "different", different.len(), case.0, "different", case.1).await, case));
    }

    let info = connect::server_info(&mut conn).await.unwrap();
    let filter = TableFilter::new(&["shop.*".into(), "kinds.*".into()], &[], false).unwrap();
    let options = MappingOptions::for_version(4, 0);
    let tables = catalog::tables(&mut conn, &info, &filter, NoKeyTables::Error).await.unwrap();
    let tables: HashMap<TableName, Mapping> =
        tables.iter().map(|table| (table.name.clone(), map_table(table, &options).unwrap())).collect();
    let logs: Vec<(String, u64)> = conn
        .query_map("SHOW BINARY LOGS", |mut row: mysql_async::Row| (row.take(0).unwrap(), row.take(1).unwrap()))
        .await
        .unwrap();
    run(&mut conn, "FLUSH BINARY LOGS".into()).await;
    let mut seen = BTreeMap::new();
    for (file, _) in &logs {
        compare(&log_file(server.folder(), file).unwrap(), &tables, &mut seen);
    }

    for (name, (ty, _)) in compared.iter().zip(COMPARED) {
        let seen = &seen[name];
        assert!(seen.refused.is_empty() && seen.theirs.is_empty(), "{ty}: {:?} {:?}", seen.refused, seen.theirs);
        assert!(seen.compared > seen.rows, "{ty}: more than the key was compared");
    }
    for (name, (ty, _, why)) in &refused {
        let seen = &seen[name];
        assert_eq!(seen.rows, 0, "{ty}");
        assert!(seen.refused.iter().all(|error| error.contains(why)), "{ty}: {:?}", seen.refused);
    }
    for (name, (ty, _, theirs)) in &different {
        assert!(seen[name].theirs.iter().all(|value| value == theirs), "{ty}: {:?}", seen[name].theirs);
        assert!(!seen[name].theirs.is_empty(), "{ty}: now the same");
    }
    for table in ["customers", "products", "orders", "order_items"] {
        let seen = &seen[&TableName::new("shop", table)];
        assert!(seen.rows > 0 && seen.refused.is_empty(), "{table}: {:?}", seen.refused);
    }
    // Its rows have negative times and bytes that are no text, and with MySQL 9 a VECTOR.
    assert!(!seen[&TableName::new("shop", "types")].refused.is_empty());
    let (rows, cells) = seen.values().fold((0, 0), |sum, seen| (sum.0 + seen.rows, sum.1 + seen.compared));
    println!("{product:?}: {rows} rows, {cells} cells were the same");
}

fn log_file(folder: &Path, name: &str) -> Option<std::path::PathBuf> {
    std::fs::read_dir(folder).ok()?.flatten().find_map(|entry| match entry.file_type() {
        Ok(ty) if ty.is_dir() => log_file(&entry.path(), name),
        _ => (entry.file_name() == name).then(|| entry.path()),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn mysqls_log_reads_the_same_in_both() {
    both_decoders_agree(Product::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadbs_log_reads_the_same_in_both() {
    both_decoders_agree(Product::Mariadb).await;
}
