//! `information_schema`, made up from the catalogue for each query that asks.

use rusqlite::types::Value;

use super::answer::{SqlError, SqlResult};
use super::query::Kind;
use super::session::{Session, text_value as text, variables};
use crate::embedded::catalog::{ColumnDef, DefaultValue, Model, TableDef};
use crate::embedded::store::storage_name;
use crate::embedded::types::ColumnType;
use crate::embedded::users::Privilege;

/// A table that exists for one query only.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct VirtualTable {
    pub(super) columns: Vec<(String, Kind)>,
    pub(super) rows: Vec<Vec<Value>>,
}

impl VirtualTable {
    /// Columns by name; a name that ends in `#` holds integers.
    pub(super) fn new(columns: &[&str]) -> VirtualTable {
        let columns = columns
            .iter()
            .map(|name| match name.strip_suffix('#') {
                Some(name) => (name.to_owned(), Kind::Int(8)),
                None => ((*name).to_owned(), Kind::Text),
            })
            .collect();
        VirtualTable { columns, rows: Vec::new() }
    }

    pub(super) fn push(&mut self, row: Vec<Value>) {
        self.rows.push(row);
    }
}

/// Databases that every server has.
pub(super) fn is_system(database: &str) -> bool {
    matches!(database, "information_schema" | "sys" | "_statistics_")
}

pub(super) const SYSTEM_DATABASES: [&str; 3] = ["_statistics_", "information_schema", "sys"];

const TABLES: [&str; 11] = [
    "columns",
    "engines",
    "key_column_usage",
    "referential_constraints",
    "routines",
    "schemata",
    "session_variables",
    "statistics",
    "tables",
    "tables_config",
    "views",
];

pub(super) fn table(session: &Session, database: &str, name: &str) -> SqlResult<VirtualTable> {
    let lower = name.to_lowercase();
    Ok(match (database, lower.as_str()) {
        ("information_schema", "schemata") => schemata(session),
        ("information_schema", "tables") => tables(session)?,
        ("information_schema", "columns") => columns(session),
        ("information_schema", "tables_config") => tables_config(session),
        ("information_schema", "session_variables" | "global_variables") => {
            let mut made = VirtualTable::new(&["VARIABLE_NAME", "VARIABLE_VALUE"]);
            for (name, value) in variables(session) {
                made.push(vec![text(name), text(value)]);
            }
            made
        }
        ("information_schema", "engines") => engines(),
        ("information_schema", "views") => {
            VirtualTable::new(&["TABLE_CATALOG", "TABLE_SCHEMA", "TABLE_NAME", "VIEW_DEFINITION"])
        }
        ("information_schema", "routines") => VirtualTable::new(&["ROUTINE_SCHEMA", "ROUTINE_NAME", "ROUTINE_TYPE"]),
        ("information_schema", "statistics") => VirtualTable::new(&[
            "TABLE_SCHEMA",
            "TABLE_NAME",
            "NON_UNIQUE#",
            "INDEX_NAME",
            "SEQ_IN_INDEX#",
            "COLUMN_NAME",
        ]),
        ("information_schema", "key_column_usage") => VirtualTable::new(&[
            "CONSTRAINT_SCHEMA",
            "CONSTRAINT_NAME",
            "TABLE_SCHEMA",
            "TABLE_NAME",
            "COLUMN_NAME",
            "ORDINAL_POSITION#",
            "REFERENCED_TABLE_SCHEMA",
            "REFERENCED_TABLE_NAME",
            "REFERENCED_COLUMN_NAME",
        ]),
        ("information_schema", "referential_constraints") => {
            VirtualTable::new(&["CONSTRAINT_SCHEMA", "CONSTRAINT_NAME", "TABLE_NAME", "REFERENCED_TABLE_NAME"])
        }
        _ => return Err(SqlError::unknown_table(database, name)),
    })
}

pub(super) fn engines() -> VirtualTable {
    let mut made = VirtualTable::new(&["ENGINE", "SUPPORT", "COMMENT", "TRANSACTIONS", "XA", "SAVEPOINTS"]);
    made.push(["OLAP", "YES", "Default storage engine of StarRocks", "NO", "NO", "NO"].map(text).to_vec());
    made
}

/// Tables the session's user may see: those on which it has any privilege.
fn visible(session: &Session) -> Vec<std::sync::Arc<TableDef>> {
    let users = &session.engine.users;
    session
        .engine
        .catalog
        .now()
        .all_tables()
        .filter(|table| {
            Privilege::ALL
                .into_iter()
                .any(|privilege| users.may(&session.user, privilege, &table.database, Some(&table.name)))
        })
        .cloned()
        .collect()
}

fn schemata(session: &Session) -> VirtualTable {
    let mut made = VirtualTable::new(&[
        "CATALOG_NAME",
        "SCHEMA_NAME",
        "DEFAULT_CHARACTER_SET_NAME",
        "DEFAULT_COLLATION_NAME",
        "SQL_PATH",
    ]);
    for name in database_names(session) {
        made.push(vec![text("def"), text(name), text("utf8"), text("utf8_general_ci"), Value::Null]);
    }
    made
}

pub(super) fn database_names(session: &Session) -> Vec<String> {
    let state = session.engine.catalog.now();
    let mut names: Vec<String> = state.names().map(str::to_owned).chain(SYSTEM_DATABASES.map(str::to_owned)).collect();
    names.sort_unstable();
    names
}

fn tables(session: &Session) -> SqlResult<VirtualTable> {
    let mut made = VirtualTable::new(&[
        "TABLE_CATALOG",
        "TABLE_SCHEMA",
        "TABLE_NAME",
        "TABLE_TYPE",
        "ENGINE",
        "VERSION#",
        "ROW_FORMAT",
        "TABLE_ROWS#",
        "AVG_ROW_LENGTH#",
        "DATA_LENGTH#",
        "MAX_DATA_LENGTH#",
        "INDEX_LENGTH#",
        "DATA_FREE#",
        "AUTO_INCREMENT#",
        "CREATE_TIME",
        "UPDATE_TIME",
        "CHECK_TIME",
        "TABLE_COLLATION",
        "CHECKSUM#",
        "CREATE_OPTIONS",
        "TABLE_COMMENT",
    ]);
    for table in visible(session) {
        let rows = row_count(session, &table)?;
        let mut row =
            vec![text("def"), text(&table.database), text(&table.name), text("BASE TABLE"), text("StarRocks")];
        row.extend([Value::Null, Value::Null, Value::Integer(rows), Value::Null, Value::Integer(0)]);
        row.extend([const { Value::Null }; 4]);
        row.extend([text(&table.created), Value::Null, Value::Null, text("utf8_general_ci"), Value::Null, Value::Null]);
        row.push(text(&table.comment));
        made.push(row);
    }
    for name in TABLES {
        let mut row = vec![text("def"), text("information_schema"), text(name), text("SYSTEM VIEW"), text("MEMORY")];
        row.extend([const { Value::Null }; 15]);
        row.push(text(""));
        made.push(row);
    }
    Ok(made)
}

fn row_count(session: &Session, table: &TableDef) -> SqlResult<i64> {
    session.engine.store.read(|connection| {
        Ok(connection.query_row(&format!("SELECT count(*) FROM {}", storage_name(table)), [], |row| row.get(0))?)
    })
}

pub(super) fn default_value(column: &ColumnDef) -> Value {
    match &column.default {
        None => Value::Null,
        Some(DefaultValue::Literal(value)) => text(value),
        Some(DefaultValue::CurrentTimestamp) => text("CURRENT_TIMESTAMP"),
    }
}

fn columns(session: &Session) -> VirtualTable {
    let mut made = VirtualTable::new(&[
        "TABLE_CATALOG",
        "TABLE_SCHEMA",
        "TABLE_NAME",
        "COLUMN_NAME",
        "ORDINAL_POSITION#",
        "COLUMN_DEFAULT",
        "IS_NULLABLE",
        "DATA_TYPE",
        "CHARACTER_MAXIMUM_LENGTH#",
        "CHARACTER_OCTET_LENGTH#",
        "NUMERIC_PRECISION#",
        "NUMERIC_SCALE#",
        "DATETIME_PRECISION#",
        "CHARACTER_SET_NAME",
        "COLLATION_NAME",
        "COLUMN_TYPE",
        "COLUMN_KEY",
        "EXTRA",
        "PRIVILEGES",
        "COLUMN_COMMENT",
        "COLUMN_SIZE#",
        "DECIMAL_DIGITS#",
        "GENERATION_EXPRESSION",
        "SRS_ID#",
    ]);
    let optional = |number: Option<u32>| number.map_or(Value::Null, |number| Value::Integer(number.into()));
    for table in visible(session) {
        for (index, column) in table.columns.iter().enumerate() {
            let length = match column.ty {
                ColumnType::Char(n) | ColumnType::Varchar(n) | ColumnType::Varbinary(n) => Some(n),
                _ => None,
            };
            let number = column.ty.column_size().filter(|_| length.is_none());
            // Only primary keys say PRI here.
            let key = match (column.is_key, table.model) {
                (true, Model::Primary) => "PRI",
                (true, Model::Duplicate) => "DUP",
                (false, _) => "",
            };
            made.push(vec![
                text("def"),
                text(&table.database),
                text(&table.name),
                text(&column.name),
                Value::Integer(index as i64 + 1),
                default_value(column),
                text(if column.nullable { "YES" } else { "NO" }),
                text(column.ty.data_type()),
                optional(length),
                optional(length),
                optional(number),
                optional(column.ty.decimal_digits()),
                Value::Null,
                Value::Null,
                Value::Null,
                text(column.ty.column_type()),
                text(key),
                text(""),
                text(""),
                text(&column.comment),
                optional(column.ty.column_size()),
                optional(column.ty.decimal_digits()),
                Value::Null,
                Value::Null,
            ]);
        }
    }
    made
}

fn tables_config(session: &Session) -> VirtualTable {
    let mut made = VirtualTable::new(&[
        "TABLE_SCHEMA",
        "TABLE_NAME",
        "TABLE_ENGINE",
        "TABLE_MODEL",
        "PRIMARY_KEY",
        "PARTITION_KEY",
        "DISTRIBUTE_KEY",
        "DISTRIBUTE_TYPE",
        "DISTRIBUTE_BUCKET#",
        "SORT_KEY",
        "PROPERTIES",
        "TABLE_ID#",
    ]);
    let names = |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    for table in visible(session) {
        let keys: Vec<String> = table.keys().iter().map(|column| column.name.clone()).collect();
        let sort = if table.order_by.is_empty() { &keys } else { &table.order_by };
        let properties = serde_json::to_string(&table.properties).unwrap_or_default();
        made.push(vec![
            text(&table.database),
            text(&table.name),
            text("OLAP"),
            text(if table.model == Model::Primary { "PRI_KEYS" } else { "DUP_KEYS" }),
            text(if table.model == Model::Primary { names(&keys) } else { String::new() }),
            text(""),
            text(names(&table.distribution)),
            text(if table.distribution.is_empty() { "RANDOM" } else { "HASH" }),
            Value::Integer(table.buckets.unwrap_or(1).into()),
            text(names(sort)),
            text(properties),
            Value::Integer(table.id as i64),
        ]);
    }
    made
}
