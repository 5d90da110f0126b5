//! Changes the SQLite table under a table whose columns change.

use rusqlite::{Connection, Transaction, functions::FunctionFlags, types::Value};

use super::answer::{SqlError, SqlResult};
use crate::embedded::catalog::{ColumnDef, DefaultValue, TableDef};
use crate::embedded::store::{create_storage, quote, quote_text, storage_name};
use crate::embedded::types::ColumnType;
use crate::embedded::value::{self, Cell};

/// Writes all rows anew in `new`'s shape: columns are matched by their id, values converted where the type
/// differs, and a new column is filled with its default (CURRENT_TIMESTAMP frozen at this moment).
///
/// # Errors
/// A value that cannot be converted; nothing is changed then, since the transaction rolls back.
pub(super) fn rebuild(tx: &Transaction<'_>, old: &TableDef, new: &TableDef) -> SqlResult<()> {
    let name = storage_name(old);
    let scratch = format!("{name}_new");
    create_storage(tx, new, &scratch)?;
    let mut targets = Vec::new();
    let mut sources = Vec::new();
    for column in &new.columns {
        targets.push(quote(&column.name));
        sources.push(match old.columns.iter().find(|other| other.id == column.id) {
            Some(other) if other.ty == column.ty => quote(&other.name),
            Some(other) => {
                let ty = serde_json::to_string(&column.ty)
                    .map_err(|error| SqlError::ddl(format!("column {}: {error}", column.name)))?;
                format!("alter_cast({}, {}, {})", quote(&other.name), quote_text(&column.name), quote_text(&ty))
            }
            None => match &column.default {
                Some(DefaultValue::Literal(_)) => default_value(column)?,
                Some(DefaultValue::CurrentTimestamp) => "CURRENT_TIMESTAMP".into(),
                None => "NULL".into(),
            },
        });
    }
    tx.execute_batch(&format!(
        "INSERT INTO {scratch} ({}) SELECT {} FROM {name}; DROP TABLE {name}; ALTER TABLE {scratch} RENAME TO {name};",
        targets.join(", "),
        sources.join(", "),
    ))?;
    Ok(())
}

fn default_value(column: &ColumnDef) -> SqlResult<String> {
    match &column.default {
        Some(DefaultValue::Literal(text)) => Ok(match &column.ty {
            ty if ty.integer_range().is_some() => text
                .parse::<i64>()
                .map(|number| number.to_string())
                .map_err(|_| SqlError::ddl(format!("the default '{text}' of column {} is no number", column.name)))?,
            ColumnType::Float | ColumnType::Double => format!("CAST({} AS REAL)", quote_text(text)),
            ColumnType::Varbinary(_) => "X''".into(),
            _ => quote_text(text),
        }),
        _ => Ok("NULL".into()),
    }
}

/// Renames a column in the SQLite table.
pub(super) fn rename_column(tx: &Transaction<'_>, table: &TableDef, from: &str, to: &str) -> SqlResult<()> {
    tx.execute_batch(&format!("ALTER TABLE {} RENAME COLUMN {} TO {}", storage_name(table), quote(from), quote(to)))?;
    Ok(())
}

/// `alter_cast(value, column, type as JSON)`.
pub(super) fn register(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("alter_cast", 3, flags, |context| {
        let fail = |text: String| rusqlite::Error::UserFunctionError(text.into());
        let name: String = context.get(1)?;
        let ty: ColumnType =
            serde_json::from_str(&context.get::<String>(2)?).map_err(|error| fail(error.to_string()))?;
        let text = match context.get::<Value>(0)? {
            Value::Null => return Ok(Value::Null),
            Value::Integer(number) => number.to_string(),
            Value::Real(number) => number.to_string(),
            Value::Text(text) => text,
            Value::Blob(bytes) => return Ok(Value::Blob(bytes)),
        };
        let cell = value::from_text(&ty, &name, text.as_bytes())
            .map_err(|_| fail(format!("column {name}: '{text}' cannot be converted to {ty}")))?;
        value::check(&ty, &name, true, &cell).map_err(fail)?;
        owned(&cell).map_err(fail)
    })
}

/// A cell as a value of its own.
pub(super) fn owned(cell: &Cell<'_>) -> Result<Value, String> {
    Ok(match cell {
        Cell::Null => Value::Null,
        Cell::Int(number) => Value::Integer(*number),
        Cell::Real(number) => Value::Real(*number),
        Cell::Text(bytes) => {
            Value::Text(String::from_utf8(bytes.to_vec()).map_err(|_| "the text is not UTF-8".to_owned())?)
        }
        Cell::Blob(bytes) => Value::Blob(bytes.to_vec()),
    })
}
