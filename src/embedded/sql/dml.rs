//! INSERT, UPDATE and DELETE: each its own transaction (G43).

use rusqlite::Connection;
use rusqlite::types::Value;
use sqlparser::ast::{self, AssignmentTarget, Expr, FromTable, SetExpr, TableFactor, TableObject};

use super::answer::{SqlError, SqlResult};
use super::query::{Binder, name_parts};
use super::rebuild::owned;
use super::session::{Session, parse_statement, with_virtuals};
use crate::embedded::catalog::{ColumnDef, DefaultValue, Model, TableDef};
use crate::embedded::store::{quote, quote_text, upsert_rows};
use crate::embedded::types::ColumnType;
use crate::embedded::users::Privilege;
use crate::embedded::value::{self, Cell};

/// A primary key's encoded length may be this many bytes.
const KEY_LIMIT: usize = 128;

impl Session {
    /// Runs a statement that changes rows; gives how many.
    pub(super) fn change(&self, sql: &str) -> SqlResult<u64> {
        match parse_statement(sql)? {
            ast::Statement::Insert(insert) => self.insert(&insert),
            ast::Statement::Update(update) => self.update(&update),
            ast::Statement::Delete(delete) => self.delete(&delete),
            _ => Err(SqlError::syntax(1, 1, "INSERT, UPDATE or DELETE is expected")),
        }
    }

    fn insert(&self, insert: &ast::Insert) -> SqlResult<u64> {
        if insert.overwrite || insert.on.is_some() || insert.replace_into || insert.ignore {
            return Err(SqlError::syntax(1, 1, "Only plain INSERT INTO is supported by this server"));
        }
        let TableObject::TableName(name) = &insert.table else {
            return Err(SqlError::syntax(1, 1, "a table name is expected"));
        };
        let table = self.existing(&qualified(name))?;
        self.require(Privilege::Insert, &table.database, Some(&table.name))?;
        let mut columns = Vec::new();
        for name in &insert.columns {
            let name = name_parts(name).pop().unwrap_or_default();
            columns.push(table.column(&name).ok_or_else(|| SqlError::unknown_column(&name))?);
        }
        if columns.is_empty() {
            columns = table.columns.iter().collect();
        }
        for column in &table.columns {
            let listed = columns.iter().any(|other| other.id == column.id);
            if !listed && !column.nullable && column.default.is_none() {
                return Err(SqlError::analyzing(format!(
                    "'{}' must be explicitly mentioned in column permutation",
                    column.name
                )));
            }
        }
        let Some(source) = &insert.source else { return Err(SqlError::syntax(1, 1, "VALUES or SELECT is expected")) };
        let mut source = (**source).clone();
        if let SetExpr::Values(values) = &mut *source.body {
            for row in &mut values.rows {
                if row.content.len() != columns.len() {
                    return Err(SqlError::analyzing("Column count doesn't match value count"));
                }
                for (cell, column) in row.content.iter_mut().zip(&columns) {
                    fill_default(cell, column);
                }
            }
        }
        let mut binder = Binder::new(self);
        let bound = binder.query(&source)?;
        if bound.columns.len() != columns.len() {
            return Err(SqlError::analyzing("Column count doesn't match value count"));
        }
        let virtuals = binder.virtuals;
        self.engine.labels.wait_published(&self.engine, &[table.id]);
        self.engine.store.write(|tx| {
            let rows = with_virtuals(tx, &virtuals, || collect(tx, &bound.sql, &table, &columns))?;
            let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            Ok(upsert_rows(tx, &table, &names, false, rows)?)
        })
    }

    fn delete(&self, delete: &ast::Delete) -> SqlResult<u64> {
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
        let (table, alias) = self.target(from.first(), from.len() == 1 && delete.using.is_none())?;
        self.require(Privilege::Delete, &table.database, Some(&table.name))?;
        let Some(condition) = &delete.selection else {
            return Err(SqlError::analyzing("Delete must specify where clause to prevent full table delete"));
        };
        let mut binder = Binder::new(self);
        let (from, _, condition) = binder.single(&table, alias.as_deref(), &[], Some(condition))?;
        let virtuals = binder.virtuals;
        self.engine.labels.wait_published(&self.engine, &[table.id]);
        self.engine.store.write(|tx| {
            with_virtuals(
                tx,
                &virtuals,
                || Ok(tx.execute(&format!("DELETE FROM {from} WHERE {condition}"), [])? as u64),
            )
        })
    }

    fn update(&self, update: &ast::Update) -> SqlResult<u64> {
        let (table, alias) = self.target(Some(&update.table), update.from.is_none())?;
        self.require(Privilege::Update, &table.database, Some(&table.name))?;
        if table.model != Model::Primary {
            return Err(SqlError::analyzing("only support updating primary key table"));
        }
        let mut targets = Vec::new();
        let mut values = Vec::new();
        for assignment in &update.assignments {
            let AssignmentTarget::ColumnName(name) = &assignment.target else {
                return Err(SqlError::syntax(1, 1, "a column name is expected"));
            };
            let name = name_parts(name).pop().unwrap_or_default();
            let column = table.column(&name).ok_or_else(|| SqlError::unknown_column(&name))?;
            if column.is_key {
                return Err(SqlError::analyzing(format!("primary key column cannot be updated: {name}")));
            }
            let mut value = assignment.value.clone();
            fill_default(&mut value, column);
            targets.push(column);
            values.push(value);
        }
        let Some(condition) = &update.selection else {
            return Err(SqlError::analyzing("must specify where clause to prevent full table update"));
        };
        let mut binder = Binder::new(self);
        let (from, values, condition) = binder.single(&table, alias.as_deref(), &values, Some(condition))?;
        let virtuals = binder.virtuals;
        let mut sets = Vec::new();
        for (column, value) in targets.iter().zip(values) {
            let ty = serde_json::to_string(&column.ty).map_err(|error| SqlError::ddl(error.to_string()))?;
            let cast = format!("alter_cast({value}, {}, {})", quote_text(&column.name), quote_text(&ty));
            sets.push(format!("{} = {cast}", quote(&column.name)));
        }
        let sql = format!("UPDATE {from} SET {} WHERE {condition}", sets.join(", "));
        self.engine.labels.wait_published(&self.engine, &[table.id]);
        self.engine.store.write(|tx| with_virtuals(tx, &virtuals, || Ok(tx.execute(&sql, [])? as u64)))
    }

    fn target(
        &self,
        from: Option<&ast::TableWithJoins>,
        single: bool,
    ) -> SqlResult<(std::sync::Arc<TableDef>, Option<String>)> {
        match from {
            Some(ast::TableWithJoins { relation: TableFactor::Table { name, alias, args: None, .. }, joins })
                if single && joins.is_empty() =>
            {
                let alias = alias.as_ref().map(|alias| alias.name.value.clone());
                Ok((self.existing(&qualified(name))?, alias))
            }
            _ => Err(SqlError::analyzing("DELETE and UPDATE take one table on this server")),
        }
    }
}

fn qualified(name: &ast::ObjectName) -> (Option<String>, String) {
    let mut parts = name_parts(name);
    let table = parts.pop().unwrap_or_default();
    (parts.pop(), table)
}

/// The word DEFAULT as the column's default.
fn fill_default(cell: &mut Expr, column: &ColumnDef) {
    let Expr::Identifier(word) = cell else { return };
    if word.quote_style.is_some() || !word.value.eq_ignore_ascii_case("DEFAULT") {
        return;
    }
    let value = match &column.default {
        Some(DefaultValue::Literal(text)) => ast::Value::SingleQuotedString(text.clone()),
        Some(DefaultValue::CurrentTimestamp) => ast::Value::SingleQuotedString(super::builtin::now_text()),
        None => ast::Value::Null,
    };
    *cell = Expr::Value(value.into());
}

/// The source's rows as canonical values of the target's columns.
fn collect(connection: &Connection, sql: &str, table: &TableDef, columns: &[&ColumnDef]) -> SqlResult<Vec<Vec<Value>>> {
    let mut statement = connection.prepare(sql)?;
    let mut found = statement.query([])?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let mut cells = Vec::with_capacity(columns.len());
        let mut key_length = 0;
        for (index, column) in columns.iter().enumerate() {
            let value: Value = row.get(index)?;
            let cell = store_value(&value, column)
                .map_err(|why| SqlError::ddl(format!("Insert has filtered data in strict mode. Error: {why}")))?;
            if column.is_key && table.model == Model::Primary {
                let last = table.keys().last().is_some_and(|last| last.id == column.id);
                key_length += value::encoded_key_length(&column.ty, &borrowed(&cell), last);
            }
            cells.push(cell);
        }
        if key_length > KEY_LIMIT {
            return Err(SqlError::ddl("primary key size exceed the limit."));
        }
        rows.push(cells);
    }
    Ok(rows)
}

fn borrowed(value: &Value) -> Cell<'_> {
    match value {
        Value::Null => Cell::Null,
        Value::Integer(number) => Cell::Int(*number),
        Value::Real(number) => Cell::Real(*number),
        Value::Text(text) => Cell::Text(text.as_bytes().into()),
        Value::Blob(bytes) => Cell::Blob(bytes.as_slice().into()),
    }
}

fn store_value(value: &Value, column: &ColumnDef) -> Result<Value, String> {
    let text = match value {
        Value::Null => None,
        Value::Integer(number) => Some(number.to_string()),
        Value::Real(number) if column.ty.is_integer() => Some(number.trunc().to_string()),
        Value::Real(number) => Some(super::builtin::double_text(*number)),
        Value::Text(text) => Some(text.clone()),
        Value::Blob(bytes) if matches!(column.ty, ColumnType::Varbinary(_)) => {
            let cell = Cell::Blob(bytes.as_slice().into());
            value::check(&column.ty, &column.name, column.nullable, &cell)?;
            return owned(&cell);
        }
        Value::Blob(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
    };
    let cell = match &text {
        None => Cell::Null,
        Some(text) => value::from_text(&column.ty, &column.name, text.as_bytes())
            .map_err(|_| value::out_of_range(&column.ty, &column.name, text))?,
    };
    value::check(&column.ty, &column.name, column.nullable, &cell)?;
    owned(&cell)
}
