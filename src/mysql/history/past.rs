//! A job that begins in the past: which of today's tables had their definitions then.
//!
//! The statements between the start and the log's present end say so. A table that none of them touches is as the
//! catalogue has it. One that was made since is not there yet; the statement that makes it comes. One that was changed
//! since had another definition, which neither the catalogue nor a statement tells: the job does not begin.
//!
//! `CREATE TABLE IF NOT EXISTS` makes a table, unless rows of it came before; if it was there all the same, its definition
//! is held against the table map of its next rows, as every definition is.

use std::collections::{BTreeMap, HashSet};

use super::super::binlog::statement::{Change, Effect, classify};
use super::super::binlog::{Slot, Statement};
use super::super::ddl::{self, Ddl};
use super::{History, described};
use crate::schema::TableName;
use crate::{Error, Result};

#[derive(Default)]
struct Fate {
    /// Rows of it are in the log before anything was done to it.
    rows: bool,
    first: Option<First>,
}

enum First {
    /// Made, dropped, or put in the place of another: it was not there, or no row of it needs a definition.
    Made,
    /// By this statement.
    Changed(String),
}

/// What becomes of the tables behind a place.
pub struct Past {
    history: History,
    fates: BTreeMap<TableName, Fate>,
    /// Databases whose default character set was another.
    databases: HashSet<String>,
}

impl Past {
    /// `history` has the tables as they are today.
    pub fn new(history: History) -> Self {
        Past { history, fates: BTreeMap::new(), databases: HashSet::new() }
    }

    /// Takes the slots behind the place in their order.
    pub fn see(&mut self, slot: &Slot) {
        match slot {
            Slot::Rows(event) | Slot::XaRows { event, .. } => {
                let fate = self.fates.entry(event.table.name.clone()).or_default();
                fate.rows |= fate.first.is_none();
            }
            Slot::Statement(statement) => self.statement(statement),
            _ => {}
        }
    }

    /// The history at the place.
    ///
    /// # Errors
    /// Definite: a table's definition then is not known.
    pub fn history(mut self) -> Result<History> {
        for (name, fate) in &self.fates {
            match &fate.first {
                Some(First::Changed(statement)) if fate.rows || self.history.state.tables.contains_key(name) => {
                    return Err(Error::definite(format!(
                        "table {name} has been changed since the place where the job is to begin, and its definition then is not \
                         known: {statement}"
                    ))
                    .hint(
                        "begin behind that statement (`startup`), or with startup: initial, or leave the table out with \
                         source.excludeTables",
                    ));
                }
                Some(_) => {
                    self.history.state.tables.remove(name);
                }
                None => {}
            }
        }
        let databases = &self.databases;
        self.history.state.databases.retain(|name, _| !databases.contains(name));
        Ok(self.history)
    }

    fn statement(&mut self, statement: &Statement) {
        let session = ddl::Session {
            database: &statement.database,
            ansi_quotes: statement.session.ansi_quotes(),
            no_backslash_escapes: statement.session.no_backslash_escapes(),
        };
        match ddl::parse(&statement.sql, session) {
            Ok(Some(ddl)) => self.ddl(ddl, statement),
            Ok(None) => {}
            Err(_) => {
                if let Effect::Tables(change, tables) = classify(&statement.sql, &statement.database) {
                    for table in tables {
                        match change {
                            Change::Create | Change::Drop => self.made(table, statement),
                            _ => self.changed(table, statement),
                        }
                    }
                }
            }
        }
    }

    fn ddl(&mut self, ddl: Ddl, statement: &Statement) {
        match ddl {
            Ddl::CreateTable(create) => {
                let there = self.fates.get(&self.history.fold(create.table.clone())).is_some_and(|fate| fate.rows);
                if !(there && create.if_not_exists) {
                    self.made(create.table, statement);
                }
            }
            Ddl::AlterTable(alter) => {
                let known = self.history.state.tables.get(&self.history.fold(alter.table.clone()));
                let harmless = known.and_then(super::Known::present).is_some_and(|table| alter.is_harmless(table));
                if !harmless {
                    let renamed = alter.changes.iter().find_map(|change| match change {
                        ddl::TableChange::RenameTo(to) => Some(to.clone()),
                        _ => None,
                    });
                    self.changed(alter.table, statement);
                    renamed.into_iter().for_each(|to| self.made(to, statement));
                }
            }
            Ddl::DropTables { tables, .. } => tables.into_iter().for_each(|table| self.made(table, statement)),
            Ddl::RenameTables(pairs) => {
                for (from, to) in pairs {
                    self.changed(from, statement);
                    self.made(to, statement);
                }
            }
            Ddl::TruncateTable(_) => {}
            Ddl::CreateDatabase { name, .. } | Ddl::AlterDatabase { name: Some(name), .. } => {
                self.databases.insert(self.history.fold_database(name));
            }
            Ddl::AlterDatabase { name: None, .. } => {
                self.databases.insert(self.history.fold_database(statement.database.clone()));
            }
            Ddl::DropDatabase(name) => {
                let name = self.history.fold_database(name);
                let inside: Vec<TableName> =
                    self.fates.keys().filter(|table| table.database == name).cloned().collect();
                inside.into_iter().for_each(|table| self.made(table, statement));
            }
        }
    }

    /// It was not there; unless rows of it were before.
    fn made(&mut self, table: TableName, statement: &Statement) {
        let fate = self.fates.entry(self.history.fold(table)).or_default();
        let first = || if fate.rows { First::Changed(described(statement)) } else { First::Made };
        if fate.first.is_none() {
            fate.first = Some(first());
        }
    }

    fn changed(&mut self, table: TableName, statement: &Statement) {
        let fate = self.fates.entry(self.history.fold(table)).or_default();
        fate.first.get_or_insert_with(|| First::Changed(described(statement)));
    }
}
