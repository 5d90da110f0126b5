//! A job that begins in the past: which of today's tables had their definitions then.
//!
//! The statements between the start and the log's present end say so. A table that none of them touches is as the
//! catalogue has it. One that was made since is not there yet; the statement that makes it comes. One that was changed
//! since had another definition, which neither the catalogue nor a statement tells, but the log does where it is
//! written with `binlog_row_metadata=FULL`:
//!
//! ```text
//! start │ rows … ALTER …     the first rows' table map tells it: the job begins with that
//! start │ ALTER … rows …     `Lost`: the table is the job's from its first rows on, whose map tells it then
//! ```
//!
//! Without FULL the job does not begin.
//!
//! `CREATE TABLE IF NOT EXISTS` makes a table, unless rows of it came before; if it was there all the same, its definition
//! is held against the table map of its next rows, as every definition is.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::super::binlog::statement::{Change, Effect, classify};
use super::super::binlog::{RowsEvent, Slot, Statement, TableMap};
use super::super::ddl::{self, Ddl, TableChange};
use super::known::Known;
use super::told::told;
use super::{History, described};
use crate::schema::{Index, Table, TableName};
use crate::{Error, Result};

#[derive(Default)]
struct Fate {
    /// That of the first rows, if they come before anything was done to it.
    map: Option<Arc<TableMap>>,
    /// Images that leave columns out.
    partial: bool,
    first: Option<First>,
    /// Keys came or went, in whatever way.
    keys: bool,
    /// The table's default character set was perhaps another.
    charset: bool,
}

impl Fate {
    fn rows(&mut self, event: &RowsEvent) {
        if self.first.is_none() && self.map.is_none() {
            self.map = Some(Arc::clone(&event.table));
        }
        self.partial |= event.columns.is_some();
    }
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
                self.fates.entry(event.table.name.clone()).or_default().rows(event);
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
        for (name, fate) in std::mem::take(&mut self.fates) {
            let today = match self.history.state.tables.get(&name) {
                Some(Known::Sure(table)) => Some(Arc::clone(table)),
                _ => None,
            };
            let then = match &fate.first {
                None => today.map(|today| Known::Sure(unchanged(today, &fate))),
                Some(First::Made) => None,
                Some(First::Changed(statement)) => self.changed_since(&name, today, &fate, statement)?,
            };
            match then {
                Some(known) => self.history.state.tables.insert(name, known),
                None => self.history.state.tables.remove(&name),
            };
        }
        let databases = &self.databases;
        self.history.state.databases.retain(|name, _| !databases.contains(name));
        Ok(self.history)
    }

    /// A table that was there and was another then.
    fn changed_since(
        &self,
        name: &TableName,
        today: Option<Arc<Table>>,
        fate: &Fate,
        statement: &str,
    ) -> Result<Option<Known>> {
        let surroundings = &self.history.surroundings;
        let unknown = |why: &str| {
            Error::definite(format!(
                "table {name} has been changed since the place where the job is to begin, and its definition then is not \
                 known ({why}): {statement}"
            ))
            .hint(
                "begin behind that statement (`startup`), or with startup: initial, or leave the table out with \
                 source.excludeTables; a log that is written with binlog_row_metadata=FULL and binlog_row_image=FULL tells \
                 definitions by itself",
            )
        };
        let lost = || Known::Lost { statement: statement.to_owned() };
        match &fate.map {
            Some(_) if fate.partial => {
                Err(unknown("row images leave out columns whose defaults the log does not tell"))
            }
            Some(map) => {
                let table = told(map, today.as_deref(), surroundings).map_err(|why| unknown(&why))?;
                let charset = today.filter(|_| !fate.charset).and_then(|today| today.charset.clone());
                Ok(Some(Known::Sure(Arc::new(Table { charset, ..table }))))
            }
            None if today.is_some() && !surroundings.full_metadata => {
                Err(unknown("the log tells no names of columns: binlog_row_metadata is not FULL"))
            }
            None if today.is_some() || (surroundings.wanted)(name) => Ok(Some(lost())),
            None => Ok(None),
        }
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
                        let name = self.history.fold(table.clone());
                        self.fates.entry(name).or_default().charset = true;
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
                let there =
                    self.fates.get(&self.history.fold(create.table.clone())).is_some_and(|fate| fate.map.is_some());
                if !(there && create.if_not_exists) {
                    self.made(create.table, statement);
                }
            }
            Ddl::AlterTable(alter) => {
                let name = self.history.fold(alter.table.clone());
                let known = self.history.state.tables.get(&name).and_then(Known::present);
                // Rows that came or went without the log change no definition.
                let rows_only = alter.changes.iter().all(|change| {
                    matches!(change, TableChange::RowsUnlogged(_) | TableChange::Discard(_) | TableChange::Nothing)
                });
                let harmless = rows_only || known.is_some_and(|table| alter.is_harmless(table));
                let fate = self.fates.entry(name).or_default();
                fate.keys |= alter.changes.iter().any(|change| !matches!(change, TableChange::Nothing));
                let sets = |change: &TableChange| {
                    matches!(change, TableChange::DefaultCharset(_) | TableChange::ConvertCharset(_))
                };
                fate.charset |= alter.changes.iter().any(sets);
                if !harmless {
                    let renamed = alter.changes.iter().find_map(|change| match change {
                        TableChange::RenameTo(to) => Some(to.clone()),
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
        // What it is today says nothing of what it was.
        fate.charset = true;
        let there = fate.map.is_some();
        fate.first.get_or_insert_with(|| if there { First::Changed(described(statement)) } else { First::Made });
    }

    fn changed(&mut self, table: TableName, statement: &Statement) {
        let fate = self.fates.entry(self.history.fold(table)).or_default();
        fate.first.get_or_insert_with(|| First::Changed(described(statement)));
    }
}

/// A table that has its definition of then, but for keys that tell no rows apart and the default character set.
fn unchanged(today: Arc<Table>, fate: &Fate) -> Arc<Table> {
    if !fate.keys && !fate.charset {
        return today;
    }
    let mut then = Table::clone(&today);
    if fate.keys {
        then.indexes = vec![Index::unknown(false)];
    }
    if fate.charset {
        then.charset = None;
    }
    Arc::new(then)
}
