//! CREATE TABLE: from what is written to a table definition, by the rules of G33 and G34.

use opensrv_mysql::ErrorKind;

use super::answer::{SqlError, SqlResult};
use super::statement::{ColumnSpec, CreateTable, DefaultSpec, KeyKind, TypeSpec};
use crate::embedded::catalog::{ColumnDef, DefaultValue, Model, TableDef, same_name};
use crate::embedded::types::ColumnType;
use crate::embedded::value;
use crate::target::Version;

/// Backends this server pretends to have.
pub(super) const BACKENDS: u64 = 1;

/// What CREATE TABLE takes when `replication_num` is not given.
const DEFAULT_REPLICATION: u64 = 3;

/// Checks the statement and gives the definition, still without an id.
pub(super) fn table(create: &CreateTable, database: &str, version: Version) -> SqlResult<TableDef> {
    let name = &create.table.1;
    check_table_name(name)?;
    if let Some(engine) = &create.engine
        && !engine.eq_ignore_ascii_case("OLAP")
    {
        return Err(SqlError::analyzing(format!("Unknown engine name: {engine}")));
    }
    for (index, column) in create.columns.iter().enumerate() {
        check_column_name(&column.name)?;
        if create.columns[..index].iter().any(|other| same_name(&other.name, &column.name)) {
            return Err(SqlError::new(ErrorKind::ER_DUP_FIELDNAME, format!("Duplicate column name '{}'", column.name)));
        }
    }
    let (model, keys) = key(create)?;
    let mut columns = Vec::with_capacity(create.columns.len());
    for (index, spec) in create.columns.iter().enumerate() {
        let is_key = index < keys.len();
        columns.push(column(spec, index as u32 + 1, is_key, model == Model::Primary, version)?);
    }
    check_key(&columns, &keys, model)?;
    let distribution = distribution(create, &columns, model)?;
    check_order_by(&create.order_by, &columns)?;
    let properties = create.properties.iter().map(|(key, value)| (key.to_lowercase(), value.clone())).collect();
    let mut table = TableDef {
        id: 0,
        database: database.to_owned(),
        name: name.clone(),
        model,
        key_columns: keys.len(),
        next_column_id: columns.len() as u32 + 1,
        columns,
        comment: create.comment.clone(),
        distribution,
        buckets: create.distribution.as_ref().and_then(|found| found.buckets).map(|n| n as u32),
        order_by: create.order_by.clone(),
        properties,
        schema_version: 0,
        created: super::builtin::now_text(),
    };
    check_properties(&mut table, version)?;
    Ok(table)
}

pub(super) fn check_database_name(name: &str) -> SqlResult<()> {
    let mut chars = name.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let others = chars.all(|c| c.is_alphanumeric() || "_-~!@#$%^&<>=+".contains(c));
    if first && others && name.len() <= 256 {
        return Ok(());
    }
    Err(SqlError::new(ErrorKind::ER_WRONG_DB_NAME, format!("Incorrect database name '{name}'")))
}

pub(super) fn check_table_name(name: &str) -> SqlResult<()> {
    if !name.is_empty() && name.chars().count() <= 1024 && !name.contains('\0') {
        return Ok(());
    }
    Err(SqlError::new(ErrorKind::ER_WRONG_TABLE_NAME, format!("Incorrect table name '{name}'")))
}

pub(super) fn check_column_name(name: &str) -> SqlResult<()> {
    let lower = name.to_lowercase();
    if lower == "__op" || lower == "__row" || lower.starts_with("__starrocks_shadow_") {
        return Err(SqlError::analyzing(format!(
            "Column name [{name}] is a system reserved name. Please choose a different one"
        )));
    }
    if name.is_empty() || name.chars().count() > 1024 || name.contains(['\0', '=', '<', '>', '!', '*']) {
        return Err(SqlError::new(ErrorKind::ER_WRONG_COLUMN_NAME, format!("Incorrect column name '{name}'")));
    }
    Ok(())
}

fn key(create: &CreateTable) -> SqlResult<(Model, Vec<String>)> {
    let (model, keys) = match &create.key {
        Some((KeyKind::Primary, keys)) => (Model::Primary, keys.clone()),
        Some((KeyKind::Duplicate, keys)) => (Model::Duplicate, keys.clone()),
        Some((KeyKind::Unique | KeyKind::Aggregate, _)) => {
            return Err(SqlError::analyzing("This server has PRIMARY KEY and DUPLICATE KEY tables only"));
        }
        // Without a key it is a duplicate table sorted by its first columns.
        None => (Model::Duplicate, create.columns.iter().take(1).map(|column| column.name.clone()).collect()),
    };
    for (index, name) in keys.iter().enumerate() {
        if !create.columns.iter().any(|column| same_name(&column.name, name)) {
            return Err(SqlError::analyzing(format!("Key column({name}) doesn't exist")));
        }
        if !create.columns.get(index).is_some_and(|column| same_name(&column.name, name)) {
            return Err(SqlError::analyzing(
                "Key columns must be the first few columns of the schema and the order of the key columns must be \
                 consistent with the order of the schema",
            ));
        }
    }
    Ok((model, keys))
}

/// Reads a type; what its text says is a syntax error when the grammar has no such type.
pub(super) fn column_type(spec: &TypeSpec, version: Version) -> SqlResult<ColumnType> {
    if let Some(element) = &spec.element {
        return Ok(ColumnType::Array(Box::new(column_type(element, version)?)));
    }
    ColumnType::parse(&spec.name, &spec.arguments, version).map_err(|detail| {
        if detail.starts_with("Unexpected input") {
            SqlError::syntax(1, 1, detail)
        } else {
            SqlError::analyzing(detail)
        }
    })
}

/// A column's definition from its full text; what is not written has its default, not what was there before.
pub(super) fn column(
    spec: &ColumnSpec,
    id: u32,
    is_key: bool,
    primary: bool,
    version: Version,
) -> SqlResult<ColumnDef> {
    let ty = column_type(&spec.ty, version)?;
    if spec.auto_increment {
        return Err(SqlError::analyzing("AUTO_INCREMENT columns are not supported by this server"));
    }
    if is_key && primary && spec.nullable == Some(true) {
        return Err(SqlError::analyzing(format!("Primary key column[{}] cannot be nullable", spec.name)));
    }
    let nullable = spec.nullable.unwrap_or(!(is_key && primary));
    let default = match &spec.default {
        None => None,
        Some(DefaultSpec::Null) if nullable => None,
        Some(DefaultSpec::Null) => {
            return Err(SqlError::analyzing(format!(
                "Can not set null default value to non nullable column: {}",
                spec.name
            )));
        }
        Some(DefaultSpec::CurrentTimestamp) if ty == ColumnType::DateTime => Some(DefaultValue::CurrentTimestamp),
        Some(DefaultSpec::CurrentTimestamp) => {
            return Err(SqlError::analyzing(format!(
                "Invalid default value for '{}': only DATETIME can have CURRENT_TIMESTAMP",
                spec.name
            )));
        }
        Some(DefaultSpec::Literal(text)) => Some(DefaultValue::Literal(literal(&ty, &spec.name, text)?)),
        Some(DefaultSpec::Expression(text)) => {
            return Err(SqlError::analyzing(format!("unsupported default expr:{text}")));
        }
    };
    let comment = spec.comment.clone().unwrap_or_default();
    Ok(ColumnDef { name: spec.name.clone(), ty, nullable, default, comment, id, is_key, first_name: None })
}

/// A default in canonical form.
fn literal(ty: &ColumnType, name: &str, text: &str) -> SqlResult<String> {
    let invalid = |why: &str| SqlError::analyzing(format!("Invalid default value for '{name}': {why}"));
    match ty {
        ColumnType::Json | ColumnType::Array(_) => return Err(invalid("this type cannot have a default")),
        ColumnType::Varbinary(_) if !text.is_empty() => return Err(invalid("VARBINARY can only have ''")),
        _ => {}
    }
    let cell = value::from_text(ty, name, text.as_bytes()).map_err(|_| invalid(&format!("'{text}' is no {ty}")))?;
    value::check(ty, name, false, &cell).map_err(|why| invalid(&why))?;
    Ok(match cell {
        value::Cell::Null => return Err(invalid(&format!("'{text}' is no {ty}"))),
        value::Cell::Int(number) => number.to_string(),
        value::Cell::Real(_) | value::Cell::Blob(_) => text.to_owned(),
        value::Cell::Text(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
    })
}

fn check_key(columns: &[ColumnDef], keys: &[String], model: Model) -> SqlResult<()> {
    for column in &columns[..keys.len()] {
        let allowed = match model {
            Model::Primary => column.ty.may_be_primary_key(),
            Model::Duplicate => column.ty.may_be_sorted(),
        };
        if !allowed {
            let kind = if model == Model::Primary { "primary key" } else { "key" };
            return Err(SqlError::analyzing(format!(
                "Invalid data type of {kind} column '{}': '{}'",
                column.name, column.ty
            )));
        }
    }
    Ok(())
}

fn distribution(create: &CreateTable, columns: &[ColumnDef], model: Model) -> SqlResult<Vec<String>> {
    let Some(found) = &create.distribution else {
        if model == Model::Primary {
            return Err(SqlError::analyzing("Currently not support default distribution in PRIMARY_KEYS"));
        }
        return Ok(Vec::new());
    };
    if found.columns.is_empty() && model == Model::Primary {
        return Err(SqlError::analyzing("PRIMARY_KEYS table does not support random distribution"));
    }
    if found.buckets == Some(0) {
        return Err(SqlError::analyzing("Number of hash distribution is zero"));
    }
    for name in &found.columns {
        let Some(column) = columns.iter().find(|column| column.is_named(name)) else {
            return Err(SqlError::analyzing(format!("Distribution column({name}) doesn't exist")));
        };
        if model == Model::Primary && !column.is_key {
            return Err(SqlError::analyzing(format!("Distribution column[{name}] is not key column")));
        }
        if !column.ty.may_be_sorted() {
            return Err(SqlError::analyzing(format!("{} column can not be distribution column", column.ty)));
        }
    }
    Ok(found.columns.clone())
}

pub(super) fn check_order_by(names: &[String], columns: &[ColumnDef]) -> SqlResult<()> {
    for name in names {
        match columns.iter().find(|column| column.is_named(name)) {
            None => return Err(SqlError::analyzing(format!("Sort column({name}) doesn't exist"))),
            Some(column) if !column.ty.may_be_primary_key() => {
                return Err(SqlError::analyzing(format!("Type of sort column({name}) is not supported")));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn check_properties(table: &mut TableDef, version: Version) -> SqlResult<()> {
    const KNOWN: [&str; 22] = [
        "replication_num",
        "enable_persistent_index",
        "compression",
        "fast_schema_evolution",
        "replicated_storage",
        "write_quorum",
        "storage_medium",
        "storage_cooldown_time",
        "storage_volume",
        "datacache.enable",
        "datacache.partition_duration",
        "enable_async_write_back",
        "bucket_size",
        "colocate_with",
        "bloom_filter_columns",
        "in_memory",
        "storage_format",
        "persistent_index_type",
        "primary_index_cache_expire_sec",
        "labels.location",
        "light_schema_change",
        "dynamic_partition.enable",
    ];
    for key in table.properties.keys() {
        if !KNOWN.contains(&key.as_str()) && !key.starts_with("dynamic_partition.") {
            return Err(SqlError::analyzing(format!("Unknown properties: {{{key}={}}}", table.properties[key])));
        }
    }
    let replication = match table.properties.get("replication_num") {
        None => DEFAULT_REPLICATION,
        Some(text) => match text.parse() {
            Ok(number) if number > 0 => number,
            _ => return Err(SqlError::analyzing(format!("Replication num should larger than 0, but was {text}"))),
        },
    };
    if replication > BACKENDS {
        return Err(SqlError::ddl(format!(
            "Unexpected exception: Table replication num should be less than or equal to the number of available BE nodes. \
             You can change this default by setting the replication_num table properties. Current alive backend is [10001]. \
             , table={}, default_replication_num={DEFAULT_REPLICATION}",
            table.name
        )));
    }
    if let Some(text) = table.properties.get("fast_schema_evolution") {
        if !matches!(text.to_lowercase().as_str(), "true" | "false") {
            return Err(SqlError::analyzing(format!("fast_schema_evolution must be true or false, but was {text}")));
        }
        if (version.major, version.minor) < (3, 2) {
            return Err(SqlError::analyzing("Unknown properties: {fast_schema_evolution}"));
        }
    } else if (version.major, version.minor) >= (3, 3) {
        table.properties.insert("fast_schema_evolution".into(), "true".into());
    }
    table.properties.entry("compression".into()).or_insert_with(|| "LZ4".into());
    table.properties.entry("replicated_storage".into()).or_insert_with(|| "true".into());
    Ok(())
}
