//! The job's tables as they are at the place of the log that is being read.
//!
//! Rows carry no names: a row is read with the definition that was true where it was written. So the definitions begin
//! as the state store has them for the place where reading begins, and every statement moves them on.

use std::collections::HashMap;
use std::sync::Arc;

use super::binlog::Statement;
use super::binlog::statement::{Effect, classify};
use super::ddl::{self, Ddl};
use crate::schema::{SchemaChange, Table, TableName};
use crate::{Error, Result};

#[derive(Debug, Default, Clone)]
pub struct History {
    tables: HashMap<TableName, Arc<Table>>,
}

impl History {
    /// As at the place where reading begins.
    pub fn new(tables: impl IntoIterator<Item = Arc<Table>>) -> Self {
        History { tables: tables.into_iter().map(|table| (table.name.clone(), table)).collect() }
    }

    /// From here on a table is the job's that it did not know.
    pub(crate) fn arrive(&mut self, table: Arc<Table>) {
        self.tables.insert(table.name.clone(), table);
    }

    /// What a restart needs besides the tables, for the state store.
    pub fn state(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// What a statement did to the job's tables; nothing, if it leaves their rows and definitions as they are.
    ///
    /// # Errors
    /// Definite: it may have done something, and what that is cannot be known.
    pub fn read(&mut self, statement: &Statement) -> Result<Vec<SchemaChange>> {
        if self.is_unmoved_by(statement) {
            return Ok(Vec::new());
        }
        Err(Error::definite(format!(
            "{}:{}: a statement changes a replicated table: {}",
            statement.place.file,
            statement.place.offset,
            shortened(&statement.sql)
        ))
        .hint(
            "the job follows rows, not yet statements: schema changes need a new job (another `name`) that copies the \
             tables again; statement-format changes of rows need `binlog_format=ROW`",
        ))
    }

    /// It adds an index, say, or drops another database.
    fn is_unmoved_by(&self, statement: &Statement) -> bool {
        if let Effect::DropDatabase(database) = classify(&statement.sql, &statement.database) {
            return !self.tables.keys().any(|table| table.database.eq_ignore_ascii_case(&database));
        }
        let session = ddl::Session { database: &statement.database, ..ddl::Session::default() };
        let Ok(Some(Ddl::AlterTable(alter))) = ddl::parse(&statement.sql, session) else { return false };
        self.tables.get(&alter.table).is_some_and(|table| alter.is_harmless(table))
    }
}

/// The first 300 characters of a statement.
fn shortened(sql: &str) -> String {
    match sql.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &sql[..end]),
        None => sql.to_owned(),
    }
}
