//! Random transactions.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use towpath::demo::server::Product;

use super::schema::{Column, Kind, Table};

/// The statements of one transaction, its settings first.
pub(super) fn transaction(random: &mut StdRng, product: Product, tables: &[Table]) -> Vec<String> {
    let mut statements = settings(random, product);
    // Its place is found once the statements are known.
    let image_at = statements.len();
    let count = *[1, 1, 2, 3, 5, 8].choose(random).unwrap();
    let open = count > 1 || random.random();
    if open {
        statements.push("BEGIN".to_owned());
    }
    for _ in 0..count {
        statements.push(statement(random, tables));
    }
    if open && random.random_bool(0.15) {
        statements.push("SAVEPOINT s".to_owned());
        statements.push(statement(random, tables));
        statements.push(statement(random, tables));
        statements.push("ROLLBACK TO SAVEPOINT s".to_owned());
        statements.push(statement(random, tables));
    }
    if open {
        statements.push(if random.random_bool(0.12) { "ROLLBACK" } else { "COMMIT" }.to_owned());
    }
    statements.insert(
        image_at,
        format!("SET SESSION binlog_row_image = {}", row_image(random, product, tables, &statements)),
    );
    statements
}

/// One under which the job can follow the statements: a new key needs whole rows, and MariaDB's REPLACE logs less than
/// it does.
fn row_image(random: &mut StdRng, product: Product, tables: &[Table], statements: &[String]) -> &'static str {
    let changes_key = |statement: &String| {
        tables.iter().any(|table| statement.starts_with(&format!("UPDATE {} SET {} =", table.name, table.key[0].name)))
    };
    let untold = |statement: &String| product == Product::Mariadb && statement.starts_with("REPLACE");
    if statements.iter().any(|statement| changes_key(statement) || untold(statement)) {
        return "FULL";
    }
    let fewest = tables.iter().map(|table| table.images).min_by_key(|images| images.len());
    fewest.and_then(|images| images.choose(random)).unwrap_or(&"FULL")
}

/// What a session may set without the job noticing.
fn settings(random: &mut StdRng, product: Product) -> Vec<String> {
    const MODES: &[&str] = &[
        "",
        "STRICT_TRANS_TABLES",
        "STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO",
        "NO_BACKSLASH_ESCAPES",
        "ANSI_QUOTES,STRICT_TRANS_TABLES",
        "PAD_CHAR_TO_FULL_LENGTH,STRICT_TRANS_TABLES",
    ];
    let mut one = |texts: &[&'static str]| *texts.choose(random).unwrap();
    let mut settings = vec![format!("SET SESSION sql_mode = '{}'", one(MODES))];
    settings.push(format!("SET SESSION time_zone = '{}'", one(&["+00:00", "+05:30", "-11:00", "+13:00"])));
    match product {
        Product::Mysql => {
            settings.push(format!("SET SESSION binlog_transaction_compression = {}", one(&["ON", "OFF"])));
            settings.push(format!("SET SESSION binlog_rows_query_log_events = {}", one(&["ON", "OFF"])));
            settings.push(format!("SET GLOBAL binlog_row_metadata = {}", one(&["FULL", "MINIMAL"])));
        }
        Product::Mariadb => {
            settings.push(format!("SET GLOBAL log_bin_compress = {}", one(&["ON", "OFF"])));
            settings.push(format!("SET SESSION binlog_annotate_row_events = {}", one(&["ON", "OFF"])));
            settings.push(format!("SET GLOBAL binlog_row_metadata = {}", one(&["FULL", "MINIMAL", "NO_LOG"])));
        }
    }
    if random.random_bool(0.03) {
        settings.push(format!("SET GLOBAL binlog_checksum = {}", ["NONE", "CRC32"].choose(random).unwrap()));
    }
    // Most settings stay as the last transaction left them.
    settings.retain(|_| random.random_bool(0.3));
    settings
}

fn statement(random: &mut StdRng, tables: &[Table]) -> String {
    let table = tables.choose(random).unwrap();
    let name = &table.name;
    match random.random_range(0..20) {
        0..6 => insert(random, table, "INSERT INTO"),
        6 | 7 => insert(random, table, "REPLACE INTO"),
        8..10 => {
            let insert = insert(random, table, "INSERT INTO");
            match assignments(random, table) {
                Some(assignments) => format!("{insert} ON DUPLICATE KEY UPDATE {assignments}"),
                None => insert,
            }
        }
        10..14 => match assignments(random, table) {
            Some(assignments) => format!("UPDATE {name} SET {assignments}{}", some_rows(random, table)),
            None => format!("DELETE FROM {name}{}", some_rows(random, table)),
        },
        14 | 15 => format!("UPDATE {name} SET {} WHERE {}", key_pairs(random, table, ", "), one_row(random, table)),
        // Every row takes the place of the one before.
        16 if table.key[0].kind.is_integer() => {
            let key = &table.key[0].name;
            match random.random() {
                true => format!("UPDATE {name} SET {key} = {key} + 1 ORDER BY {key} DESC"),
                false => format!("UPDATE {name} SET {key} = {key} - 1 WHERE {key} > 0 ORDER BY {key}"),
            }
        }
        17 if tables.len() > 1 => {
            let other = tables.iter().find(|other| other.name != *name).unwrap();
            format!("DELETE {name}, {0} FROM {name} JOIN {0} WHERE {1}", other.name, one_row_named(random, table))
        }
        18 if random.random_bool(0.2) => format!("DELETE FROM {name}"),
        _ => format!("DELETE FROM {name}{}", some_rows(random, table)),
    }
}

/// `INSERT INTO` or `REPLACE INTO`, of one row or some.
pub(super) fn insert(random: &mut StdRng, table: &Table, verb: &str) -> String {
    let others: Vec<&Column> =
        table.others.iter().filter(|column| !column.nullable || random.random_bool(0.8)).collect();
    let names: Vec<&str> = table.key.iter().chain(others.iter().copied()).map(|column| column.name.as_str()).collect();
    let rows: Vec<String> = (0..*[1, 1, 2, 5, 12].choose(random).unwrap())
        .map(|_| {
            let mut values = table.key_values(random);
            values.extend(others.iter().map(|column| column.value(random)));
            format!("({})", values.join(", "))
        })
        .collect();
    format!("{verb} {} ({}) VALUES {}", table.name, names.join(", "), rows.join(", "))
}

fn assignments(random: &mut StdRng, table: &Table) -> Option<String> {
    let assigned: Vec<String> = table
        .others
        .choose_multiple(random, 3)
        .cloned()
        .collect::<Vec<_>>()
        .iter()
        .map(|column| assignment(random, column))
        .collect();
    (!assigned.is_empty()).then(|| assigned.join(", "))
}

fn assignment(random: &mut StdRng, column: &Column) -> String {
    let name = &column.name;
    let value = match &column.kind {
        Kind::Integer { .. } | Kind::Decimal { .. } if random.random_bool(0.3) => format!("{name} + 1"),
        Kind::Varchar { .. } | Kind::Text { .. } if random.random_bool(0.3) => format!("CONCAT({name}, 'x')"),
        Kind::Json { .. } if random.random_bool(0.4) => format!("JSON_SET({name}, '$.a', 1)"),
        _ => column.value(random),
    };
    format!("{name} = {value}")
}

fn key_pairs(random: &mut StdRng, table: &Table, between: &str) -> String {
    let values = table.key_values(random);
    let pairs: Vec<String> =
        table.key.iter().zip(values).map(|(column, value)| format!("{} = {value}", column.name)).collect();
    pairs.join(between)
}

fn one_row(random: &mut StdRng, table: &Table) -> String {
    key_pairs(random, table, " AND ")
}

fn one_row_named(random: &mut StdRng, table: &Table) -> String {
    let values = table.key_values(random);
    let pairs = table.key.iter().zip(values).map(|(column, value)| format!("{}.{} = {value}", table.name, column.name));
    pairs.collect::<Vec<_>>().join(" AND ")
}

fn some_rows(random: &mut StdRng, table: &Table) -> String {
    match random.random_range(0..5) {
        0 => format!(" LIMIT {}", random.random_range(1..4)),
        1 => match table.others.choose(random) {
            Some(column) => format!(" WHERE {} IS NULL", column.name),
            None => String::new(),
        },
        _ => format!(" WHERE {}", one_row(random, table)),
    }
}
