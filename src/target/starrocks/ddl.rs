//! CREATE statements. Every name is back-quoted, so no keyword list is needed.

use std::collections::BTreeMap;

use super::Facts;
use super::sql::quote_text;
use crate::schema::{TargetColumn, TargetDefault, TargetTable, quote};
use crate::target::Version;

/// `tableProperties.buckets` becomes the BUCKETS clause; it is no property of StarRocks.
pub(super) const BUCKETS: &str = "buckets";
const REPLICATION: &str = "replication_num";
const FAST_EVOLUTION: &str = "fast_schema_evolution";
/// StarRocks' own default; fewer only where fewer BEs live.
const MAX_REPLICAS: u32 = 3;

pub(super) fn create_database(name: &str) -> String {
    format!("CREATE DATABASE IF NOT EXISTS {}", quote(name))
}

/// `facts`: what is known about the server; without them nothing that depends on it is written.
pub(super) fn create_table(table: &TargetTable, properties: &BTreeMap<String, String>, facts: Option<Facts>) -> String {
    let columns: Vec<String> = table.columns.iter().map(|column| format!("  {}", define(column))).collect();
    let key: Vec<String> = table.key().iter().map(|column| quote(&column.name)).collect();
    let key = key.join(", ");
    let mut sql = format!("CREATE TABLE IF NOT EXISTS {} (\n{}\n)", table.name.quoted(), columns.join(",\n"));
    sql.push_str(&format!("\nENGINE=OLAP\nPRIMARY KEY ({key})"));
    if !table.comment.is_empty() {
        sql.push_str(&format!("\nCOMMENT {}", quote_text(&table.comment)));
    }
    sql.push_str(&format!("\nDISTRIBUTED BY HASH ({key})"));
    if let Some(buckets) = properties.iter().find(|(name, _)| name.eq_ignore_ascii_case(BUCKETS)) {
        sql.push_str(&format!(" BUCKETS {}", buckets.1));
    }
    let properties = all_properties(properties, facts);
    if !properties.is_empty() {
        let lines: Vec<String> =
            properties.iter().map(|(name, value)| format!("  {} = {}", quote_text(name), quote_text(value))).collect();
        sql.push_str(&format!("\nPROPERTIES (\n{}\n)", lines.join(",\n")));
    }
    sql
}

/// A column as CREATE TABLE and ALTER TABLE define it.
pub(super) fn define(column: &TargetColumn) -> String {
    let null = if column.nullable { "NULL" } else { "NOT NULL" };
    let mut sql = format!("{} {} {null}", quote(&column.name), column.ty);
    match &column.default {
        Some(TargetDefault::Literal(literal)) => sql.push_str(&format!(" DEFAULT {}", quote_text(literal))),
        Some(TargetDefault::CurrentTimestamp) => sql.push_str(" DEFAULT CURRENT_TIMESTAMP"),
        None => {}
    }
    if !column.comment.is_empty() {
        sql.push_str(&format!(" COMMENT {}", quote_text(&column.comment)));
    }
    sql
}

/// The user's properties, and where the user says nothing: as many replicas as there are BEs to hold them, and
/// schema changes that are metadata only.
fn all_properties(user: &BTreeMap<String, String>, facts: Option<Facts>) -> BTreeMap<String, String> {
    let mut all = user.clone();
    all.retain(|name, _| !name.eq_ignore_ascii_case(BUCKETS));
    if let Some(facts) = facts {
        if let Some(live) = facts.live_backends.filter(|live| *live > 0) {
            all.entry(REPLICATION.to_owned()).or_insert_with(|| live.min(MAX_REPLICAS).to_string());
        }
        if has_fast_evolution(facts) {
            all.entry(FAST_EVOLUTION.to_owned()).or_insert_with(|| "true".to_owned());
        }
    }
    all
}

/// Since 3.2 where BEs hold the data, since 3.3 where the data is shared.
fn has_fast_evolution(facts: Facts) -> bool {
    let since = if facts.shared_data { (3, 3) } else { (3, 2) };
    let Version { major, minor, .. } = facts.version;
    (major, minor) >= since
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Fill, TableName, TargetType};

    fn column(name: &str, ty: TargetType) -> TargetColumn {
        let comment = String::new();
        TargetColumn { name: name.into(), ty, nullable: false, default: None, comment, fill: Fill::Unknown, source: 0 }
    }

    fn table() -> TargetTable {
        let id = column("id", TargetType::BigInt);
        let line = column("li`ne", TargetType::Varchar { bytes: 40 });
        let mut name = column("name", TargetType::Varchar { bytes: 1020 });
        name.nullable = true;
        name.default = Some(TargetDefault::Literal(r#"a"b\c"#.into()));
        name.comment = "the 'name'\nof it".into();
        let mut at = column("at", TargetType::DateTime);
        at.default = Some(TargetDefault::CurrentTimestamp);
        let price = column("price", TargetType::Decimal { precision: 10, scale: 2 });
        TargetTable {
            name: TableName::new("shop", "orders"),
            columns: vec![id, line, name, at, price],
            key_columns: 2,
            comment: "all orders".into(),
        }
    }

    fn facts(major: u16, minor: u16, live: Option<u32>) -> Facts {
        Facts { version: Version { major, minor, patch: 0 }, live_backends: live, shared_data: false }
    }

    #[test]
    fn the_whole_statement() {
        let properties =
            BTreeMap::from([("buckets".to_owned(), "4".to_owned()), ("compression".to_owned(), "ZSTD".to_owned())]);
        let expected = r#"CREATE TABLE IF NOT EXISTS `shop`.`orders` (
  `id` BIGINT NOT NULL,
  `li``ne` VARCHAR(40) NOT NULL,
  `name` VARCHAR(1020) NULL DEFAULT 'a"b\\c' COMMENT 'the \'name\'\nof it',
  `at` DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
  `price` DECIMAL(10, 2) NOT NULL
)
ENGINE=OLAP
PRIMARY KEY (`id`, `li``ne`)
COMMENT 'all orders'
DISTRIBUTED BY HASH (`id`, `li``ne`) BUCKETS 4
PROPERTIES (
  'compression' = 'ZSTD',
  'fast_schema_evolution' = 'true',
  'replication_num' = '1'
)"#;
        assert_eq!(create_table(&table(), &properties, Some(facts(3, 5, Some(1)))), expected);
    }

    #[test]
    fn replicas_follow_the_backends_unless_the_user_decides() {
        let replicas = |properties: &BTreeMap<_, _>, facts| all_properties(properties, facts).get(REPLICATION).cloned();
        let none = BTreeMap::new();
        assert_eq!(replicas(&none, Some(facts(3, 1, Some(2)))).as_deref(), Some("2"));
        assert_eq!(replicas(&none, Some(facts(3, 1, Some(9)))).as_deref(), Some("3"));
        assert_eq!(replicas(&none, Some(facts(3, 1, None))), None);
        assert_eq!(replicas(&none, None), None);
        let user = BTreeMap::from([(REPLICATION.to_owned(), "1".to_owned())]);
        assert_eq!(replicas(&user, Some(facts(3, 1, Some(3)))).as_deref(), Some("1"));
    }

    #[test]
    fn fast_schema_evolution_needs_its_version() {
        assert!(!has_fast_evolution(facts(3, 1, None)));
        assert!(has_fast_evolution(facts(3, 2, None)));
        assert!(!has_fast_evolution(Facts { shared_data: true, ..facts(3, 2, None) }));
        assert!(has_fast_evolution(Facts { shared_data: true, ..facts(3, 3, None) }));
    }

    #[test]
    fn no_facts_and_no_properties_leave_the_clause_out() {
        assert!(!create_table(&table(), &BTreeMap::new(), None).contains("PROPERTIES"));
        assert_eq!(create_database("sh`op"), "CREATE DATABASE IF NOT EXISTS `sh``op`");
    }
}
