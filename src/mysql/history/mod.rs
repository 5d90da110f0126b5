//! The job's tables as they are at the place of the log that is being read.
//!
//! Rows carry no names: a row is read with the definition that was true where it was written. So the definitions begin
//! as the state store has them for the place where reading begins, and every statement moves them on (`evolve`).
//!
//! # What cannot be read
//! A statement may be one that the parser does not understand, or need what the log does not tell: the default character
//! set of a database that was never seen, a model table outside the job. Then today's catalogue is asked, which may already
//! be further than the log. So what it says is only a proposal, and rows are its test: the table map in front of the
//! table's next rows has to agree with it in every type and, because types alone prove little, in every column's name,
//! which the server writes with `binlog_row_metadata=FULL`. Where it does not agree, the map is the definition, as far as it
//! tells one (`told`). Where that leaves something open or the map has no names, the job stops.
//!
//! ```text
//! CREATE, not understood   -> Create at once (the table is empty), `Provisional` until the first table map
//! ALTER, not understood    -> nothing, `Unread` until the next table map; what has changed is found by comparison then
//! ```
//!
//! A table may get no rows for long. So the catalogue is asked once more, with a place of the log at which its answer holds;
//! when reading comes there without having met a row of the table, the answer is the definition ([`History::settle`]).
//!
//! A comparison shows what columns there are, and not whose values they have: two that have exchanged their names look as if
//! they had exchanged their places. So where the statement may have renamed columns, and where it moved rows as well, the
//! table is to be copied anew, whatever its definition says (`Unread::doubt`).
//!
//! # Names
//! With `lower_case_table_names` the statements' names are those of the log's rows in small letters (1), or a table's name
//! in whatever letters (2).

use std::fmt;
use std::sync::Arc;

use super::binlog::statement::{Change, Effect, classify};
use super::binlog::{Place, Statement, TableMap};
use super::ddl::{self, Content, CreateTable, Ddl, TableChange};
use crate::config::NoKeyTables;
use crate::schema::{SchemaChange, Table, TableName};
use crate::{Error, Result};

mod alter;
mod charset;
mod evolve;
mod known;
mod literal;
mod past;
mod rename;
mod sequence;
mod shadow;
mod surroundings;
mod told;

use evolve::{Evolved, Rules};
use known::{HistoryState, Known, Shadow, Unread};
pub use past::Past;
pub use surroundings::{Catalogue, Surroundings};

#[derive(Clone, Default)]
pub struct History {
    surroundings: Surroundings,
    state: HistoryState,
    /// Grows with every change of `state`.
    revision: u64,
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("state", &self.state).finish_non_exhaustive()
    }
}

impl History {
    /// As at the place where reading begins.
    pub fn new(tables: impl IntoIterator<Item = Arc<Table>>) -> Self {
        let known = tables.into_iter().map(|table| (table.name.clone(), Known::Sure(table)));
        let state = HistoryState { tables: known.collect(), ..HistoryState::default() };
        History { state, ..History::default() }
    }

    /// As it was when `state` was taken.
    ///
    /// # Errors
    /// Definite: the text is not one that `state` gave.
    pub fn restore(state: &str, surroundings: Surroundings) -> Result<Self> {
        let mut state: HistoryState = serde_json::from_str(state).map_err(|error| {
            Error::definite("the state store's history of the tables cannot be read")
                .caused_by(error)
                .hint("the state store was written by a later version of Towpath, or is damaged")
        })?;
        // The job file may select other tables by now.
        state.tables.retain(|name, _| (surroundings.wanted)(name));
        Ok(History { surroundings, state, revision: 0 })
    }

    #[must_use]
    pub fn with(mut self, surroundings: Surroundings) -> Self {
        self.surroundings = surroundings;
        self
    }

    /// The default character sets of databases, by name.
    #[must_use]
    pub fn with_databases(mut self, databases: impl IntoIterator<Item = (String, String)>) -> Self {
        self.state.databases = databases.into_iter().map(|(name, set)| (name, charset::canonical(&set))).collect();
        self
    }

    /// Everything that a restart needs at the place that has been read to, for the state store.
    ///
    /// # Errors
    /// None that is known of.
    pub fn state(&self) -> Result<Option<String>> {
        let state = serde_json::to_string(&self.state);
        state.map(Some).map_err(|error| Error::definite("the history of the tables cannot be written").caused_by(error))
    }

    /// From here on a table is the job's that it did not know.
    pub(crate) fn arrive(&mut self, table: Arc<Table>) {
        self.state.tables.insert(table.name.clone(), Known::Sure(table));
        self.revision += 1;
    }

    /// Another number than before: `state` has changed, be it that no table of the job has: a shadow, the default
    /// character set of a database, an index. It has to be stored before the checkpoint moves behind the statement.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The job's tables with their definitions, as far as these are known.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.state.tables.values().filter_map(Known::present)
    }

    /// What a statement did to the job's tables; nothing, if it leaves their rows and definitions as they are.
    ///
    /// # Errors
    /// Definite: it may have done something, and what that is cannot be known.
    pub fn read(&mut self, statement: &Statement) -> Result<Vec<SchemaChange>> {
        let session = ddl::Session {
            database: &statement.database,
            ansi_quotes: statement.session.ansi_quotes(),
            no_backslash_escapes: statement.session.no_backslash_escapes(),
        };
        let before = self.state.clone();
        let parsed = match ddl::parse(&statement.sql, session) {
            Ok(Some(_)) if statement.session.oracle() => {
                Err(ddl::Unread { reason: "sql_mode is ORACLE, in which types have other meanings".to_owned() })
            }
            parsed => parsed,
        };
        let changes = match parsed {
            Ok(Some(ddl)) => self.apply(ddl, statement),
            Ok(None) => self.not_ddl(statement),
            Err(unread) => self.unread(statement, &unread.reason),
        };
        if changes.is_err() {
            self.state = before;
        } else if self.state != before {
            self.revision += 1;
        }
        changes
    }

    /// The tables that [`History::settle`] is waited for.
    pub fn unsettled(&self) -> impl Iterator<Item = &TableName> {
        let waits = |known: &Known| matches!(known, Known::Unread(_) | Known::Provisional { .. });
        self.state.tables.iter().filter(move |(_, known)| waits(known)).map(|(name, _)| name)
    }

    /// The catalogue's definition of a table at the place that has been read to. `None`: the source has no such table there,
    /// and then a statement has told so already.
    pub fn settle(&mut self, name: &TableName, found: Option<Table>) -> Vec<SchemaChange> {
        let waits = matches!(self.state.tables.get(name), Some(Known::Unread(_) | Known::Provisional { .. }));
        match found.filter(|_| waits) {
            Some(found) => self.now_is(name, found),
            None => Vec::new(),
        }
    }

    /// A table's definition is certain again.
    fn now_is(&mut self, name: &TableName, table: Table) -> Vec<SchemaChange> {
        let table = Arc::new(table);
        let before = self.state.tables.insert(name.clone(), Known::Sure(Arc::clone(&table)));
        self.revision += 1;
        match before {
            Some(Known::Unread(Unread { doubt: Some(reason), .. })) => vec![SchemaChange::Refill { table, reason }],
            Some(Known::Unread(Unread { before, .. }) | Known::Provisional { table: before, .. }) => {
                match before.columns == table.columns && before.key == table.key {
                    true => Vec::new(),
                    false => shadow::by_names(before, table, shadow::Lineage::Unknown),
                }
            }
            _ => vec![SchemaChange::Create(table)],
        }
    }

    /// Whether [`History::map`] has something to say of the table's next rows.
    pub fn awaits_rows(&self, table: &TableName) -> bool {
        !matches!(self.state.tables.get(table), None | Some(Known::Sure(_) | Known::Parked { .. }))
    }

    /// Whether [`History::awaits_rows`] of any table. It changes with the revision only.
    pub fn awaits_any_rows(&self) -> bool {
        self.state.tables.keys().any(|table| self.awaits_rows(table))
    }

    /// A table map is the test of what the catalogue proposed. Every new one of the job's tables has to be shown before its
    /// rows are read.
    ///
    /// # Errors
    /// Definite: the definition that was true for the rows cannot be known.
    pub fn map(&mut self, map: &TableMap, place: &str) -> Result<Vec<SchemaChange>> {
        let name = &map.name;
        let Some(known) = self.state.tables.get(name) else { return Ok(Vec::new()) };
        let (proposed, statement) = match known {
            Known::Sure(_) | Known::Parked { .. } => return Ok(Vec::new()),
            Known::Provisional { table, statement } => (Some(Table::clone(table)), statement.clone()),
            Known::Unread(Unread { statement, .. }) | Known::Lost { statement } => (None, statement.clone()),
        };
        let unknown = |why: &str, hint: &str| {
            Error::definite(format!("{place}: rows of {name} whose definition is not known: {why}, after {statement}"))
                .hint(hint.to_owned())
        };
        if !map.has_names() {
            return Err(unknown(
                "the statement could not be read, and the log tells no names of columns",
                "SET GLOBAL binlog_row_metadata = 'FULL' at the source, then begin a new job (another `name`); with it the job \
                 finds out by itself what such a statement did",
            ));
        }
        let proposed = match proposed {
            Some(table) => Some(table),
            None => self.catalogue(name)?,
        };
        let agreed = match &proposed {
            Some(table) => super::binlog::agrees(table, map)
                .map_err(|error| format!("the source's catalogue has another one by now ({})", error.message())),
            None => Err("the statement could not be read, and the source no longer has the table".to_owned()),
        };
        let table = match (proposed, agreed) {
            (Some(table), Ok(())) => table,
            (proposed, Err(why)) => told::told(map, proposed.as_ref(), &self.surroundings).map_err(|untold| {
                unknown(
                    &format!("{why}, and the log does not tell it all: {untold}"),
                    "begin a new job (another `name`) behind this place, or with startup: initial, or leave the table out with \
                     source.excludeTables",
                )
            })?,
            (None, Ok(())) => return Ok(Vec::new()),
        };
        Ok(self.now_is(&map.name, table))
    }

    fn catalogue(&self, name: &TableName) -> Result<Option<Table>> {
        match &self.surroundings.catalogue {
            Some(read) => read(name),
            None => Ok(None),
        }
    }

    fn apply(&mut self, ddl: Ddl, statement: &Statement) -> Result<Vec<SchemaChange>> {
        match ddl {
            Ddl::CreateTable(create) => self.create(create, statement),
            Ddl::AlterTable(alter) => self.alter(alter, statement),
            Ddl::DropTables { tables, .. } => {
                Ok(tables.into_iter().flat_map(|table| self.drop_table(&self.fold(table))).collect())
            }
            Ddl::RenameTables(pairs) => self.rename(pairs, statement),
            Ddl::TruncateTable(table) => {
                let table = self.fold(table);
                Ok(match self.state.tables.get(&table) {
                    Some(Known::Parked { .. } | Known::Lost { .. }) | None => Vec::new(),
                    Some(_) => vec![SchemaChange::Truncate(table)],
                })
            }
            Ddl::CreateDatabase { name, if_not_exists, charset } => {
                let name = self.fold_database(name);
                if if_not_exists && self.state.databases.contains_key(&name) {
                    return Ok(Vec::new());
                }
                let set = match charset.map(|charset| charset::of(&charset)) {
                    Some(Some(set)) => Some(set),
                    // Not said, or DEFAULT: the session's collation_server.
                    _ => statement.session.server_charset.map(charset::canonical),
                };
                match set {
                    Some(set) => self.state.databases.insert(name, set),
                    None => self.state.databases.remove(&name),
                };
                Ok(Vec::new())
            }
            Ddl::AlterDatabase { name, charset } => {
                let name = self.fold_database(name.unwrap_or_else(|| statement.database.clone()));
                if let Some(charset) = charset {
                    match charset::of(&charset).or_else(|| statement.session.server_charset.map(charset::canonical)) {
                        Some(set) => self.state.databases.insert(name, set),
                        None => self.state.databases.remove(&name),
                    };
                }
                Ok(Vec::new())
            }
            Ddl::DropDatabase(name) => Ok(self.drop_database(&self.fold_database(name))),
        }
    }

    fn create(&mut self, create: CreateTable, statement: &Statement) -> Result<Vec<SchemaChange>> {
        let name = self.fold(create.table);
        let shadow = self.is_shadow(&name);
        if !shadow && !self.is_ours(&name) {
            return Ok(Vec::new());
        }
        let exists = match shadow {
            true => self.state.shadows.contains_key(&name),
            false => self.state.tables.get(&name).is_some_and(|known| !matches!(known, Known::Parked { .. })),
        };
        if exists && create.if_not_exists && !create.or_replace {
            return Ok(Vec::new());
        }
        let made = match create.content {
            Content::Definition(changes) if !shadow && changes.contains(&TableChange::SystemVersioning) => {
                return Err(versioned(statement, &name));
            }
            Content::Definition(changes) => {
                evolve::create(name.clone(), &changes, self.rules(&name, statement)).map(Some)
            }
            Content::Like(model) => Ok(self.like(&self.fold(model), &name)),
            Content::Query if shadow => Ok(None),
            Content::Query => {
                return Err(stops(statement, "its rows are in the log as a query only").hint(
                    "set binlog_format=ROW at the source: then the log has the rows; begin a new job (another `name`) behind \
                     this place, or with startup: initial",
                ));
            }
        };
        if shadow {
            let table = made.ok().flatten().map(|evolved| Arc::new(evolved.table));
            self.state.shadows.insert(name, Shadow { table, altered: false, renames: false });
            return Ok(Vec::new());
        }
        // It took the place of what was there.
        let mut changes = self.drop_table(&name);
        match made {
            Ok(Some(evolved)) => {
                let table = Arc::new(self.with_key(evolved, statement)?.table);
                self.state.tables.insert(name, Known::Sure(Arc::clone(&table)));
                changes.push(SchemaChange::Create(table));
            }
            Ok(None) => changes.extend(self.propose(&name, statement, "its model is not known")?),
            Err(reason) => changes.extend(self.propose(&name, statement, &reason)?),
        }
        Ok(changes)
    }

    /// A new table made like another one. `None`: the model is not known.
    fn like(&self, model: &TableName, name: &TableName) -> Option<Evolved> {
        let known = self.state.tables.get(model).and_then(|known| match known {
            Known::Sure(table) => Some(table),
            _ => None,
        });
        let parked = || self.state.parked_at(model).map(|(_, table)| table);
        let shadow = || self.state.shadows.get(model).and_then(|shadow| shadow.table.as_ref());
        let table = known.or_else(parked).or_else(shadow)?;
        Some(Evolved::unchanged(Table { name: name.clone(), ..Table::clone(table) }))
    }

    /// The catalogue's definition of a new table that the statement does not tell.
    fn propose(&mut self, name: &TableName, statement: &Statement, reason: &str) -> Result<Vec<SchemaChange>> {
        if self.surroundings.catalogue.is_none() {
            return Err(stops(statement, reason).hint(NOT_READ));
        }
        let text = described(statement);
        tracing::warn!(table = %name, reason, "a statement cannot be read, the catalogue is asked: {text}");
        let Some(table) = self.catalogue(name)? else {
            self.state.tables.insert(name.clone(), Known::Lost { statement: text });
            return Ok(Vec::new());
        };
        let table = Arc::new(self.with_key(Evolved::unchanged(table), statement)?.table);
        let known = Known::Provisional { table: Arc::clone(&table), statement: text };
        self.state.tables.insert(name.clone(), known);
        Ok(vec![SchemaChange::Create(table)])
    }

    fn drop_table(&mut self, name: &TableName) -> Vec<SchemaChange> {
        if self.state.shadows.remove(name).is_some() {
            return Vec::new();
        }
        if let Some(parked) = self.state.parked_at(name).map(|(real, _)| real.clone()) {
            // What stood aside is gone, and nothing came in its place.
            self.state.tables.remove(&parked);
            return vec![SchemaChange::Leave { table: parked, to: None }];
        }
        match self.state.tables.remove(name) {
            None | Some(Known::Lost { .. }) => Vec::new(),
            Some(Known::Parked { at, .. }) => vec![SchemaChange::Leave { table: name.clone(), to: Some(at) }],
            Some(_) => vec![SchemaChange::Leave { table: name.clone(), to: None }],
        }
    }

    fn drop_database(&mut self, name: &str) -> Vec<SchemaChange> {
        let same = |database: &str| match self.surroundings.lower_case_table_names {
            0 => database == name,
            _ => database.eq_ignore_ascii_case(name),
        };
        let tables: Vec<TableName> = self.state.names().filter(|table| same(&table.database)).cloned().collect();
        self.state.databases.retain(|database, _| !same(database));
        tables.iter().flat_map(|table| self.drop_table(table)).collect()
    }

    /// What is no DDL on tables is either of no importance, or rows as text.
    fn not_ddl(&self, statement: &Statement) -> Result<Vec<SchemaChange>> {
        match classify(&statement.sql, &statement.database) {
            // Also of one that is left out though it matches: a view of that name would change another table's rows.
            Effect::Tables(Change::Rows, _) if self.named(statement).iter().any(|name| self.is_ours(name)) => {
                Err(stops(statement, "it may change rows of a replicated table, which the log does not have").hint(
                    "set binlog_format=ROW at the source, for all sessions; begin a new job (another `name`) behind this place, or \
                     with startup: initial",
                ))
            }
            Effect::Unknown => Err(stops(statement, "it is not known what this statement does").hint(NOT_READ)),
            _ => Ok(Vec::new()),
        }
    }

    fn unread(&mut self, statement: &Statement, reason: &str) -> Result<Vec<SchemaChange>> {
        let Effect::Tables(change, _) = classify(&statement.sql, &statement.database) else {
            return Err(stops(statement, reason).hint(NOT_READ));
        };
        let mut changes = Vec::new();
        for name in self.named(statement) {
            if self.is_shadow(&name) {
                if !matches!(change, Change::Drop | Change::Truncate | Change::Rename) {
                    self.state.shadows.insert(name, Shadow { table: None, altered: true, renames: true });
                }
            } else if self.is_ours(&name) {
                match change {
                    Change::Create => {
                        changes.extend(self.drop_table(&name));
                        changes.extend(self.propose(&name, statement, reason)?);
                    }
                    Change::Alter | Change::Index => {
                        self.unclear(&name, statement, reason, alter::may_rename_columns(&statement.sql))?;
                    }
                    _ => return Err(stops(statement, reason).hint(NOT_READ)),
                }
            }
        }
        Ok(changes)
    }

    /// The tables that a statement may be about.
    fn named(&self, statement: &Statement) -> Vec<TableName> {
        match classify(&statement.sql, &statement.database) {
            Effect::Tables(_, tables) => tables.into_iter().map(|table| self.fold(table)).collect(),
            _ => Vec::new(),
        }
    }

    /// A definition with something to tell rows apart by; or one without, if the job does something about such tables.
    fn with_key(&self, evolved: Evolved, statement: &Statement) -> Result<Evolved> {
        if evolved.has_key || !matches!(self.surroundings.no_key, NoKeyTables::UniqueKey | NoKeyTables::Error) {
            return Ok(evolved);
        }
        let name = &evolved.table.name;
        Err(stops(statement, &format!("{name} has no key to tell its rows apart by")).hint(
            "leave it out with source.excludeTables, or give it a primary key and copy it anew with a new job (another `name`); \
             noKeyTables: skip leaves out all such tables",
        ))
    }

    fn rules<'a>(&'a self, name: &TableName, statement: &Statement) -> Rules<'a> {
        Rules {
            mariadb: self.surroundings.mariadb,
            no_key: self.surroundings.no_key,
            explicit_timestamps: statement.session.explicit_timestamps.unwrap_or(self.surroundings.explicit_timestamps),
            real_as_float: statement.session.real_as_float(),
            database_charset: self.state.databases.get(&name.database).map(String::as_str),
        }
    }

    /// It is one of the job's, or would be.
    fn is_ours(&self, name: &TableName) -> bool {
        self.state.tables.contains_key(name) || (self.surroundings.wanted)(name)
    }

    fn is_shadow(&self, name: &TableName) -> bool {
        self.state.shadows.contains_key(name) || self.surroundings.shadows.may_be(&name.table) && !self.is_ours(name)
    }

    /// A statement's name as the log's rows have it.
    fn fold(&self, name: TableName) -> TableName {
        match self.surroundings.lower_case_table_names {
            0 => name,
            1 => TableName::new(name.database.to_lowercase(), name.table.to_lowercase()),
            _ => {
                let same = |known: &&TableName| {
                    known.database.eq_ignore_ascii_case(&name.database) && known.table.eq_ignore_ascii_case(&name.table)
                };
                let known = self.state.names().find(same).cloned();
                known.unwrap_or(name)
            }
        }
    }

    fn fold_database(&self, name: String) -> String {
        match self.surroundings.lower_case_table_names {
            0 => name,
            1 => name.to_lowercase(),
            _ => {
                let known = self.state.databases.keys().find(|known| known.eq_ignore_ascii_case(&name)).cloned();
                known.unwrap_or(name)
            }
        }
    }
}

const NOT_READ: &str = "exclude the table with `source.excludeTables`, or begin a new job (another `name`) behind this place, or \
                        with startup: initial";

fn stops(statement: &Statement, reason: &str) -> Error {
    Error::definite(format!("{}: {reason}", described(statement)))
}

/// Every UPDATE and DELETE would bring the row that was there back.
fn versioned(statement: &Statement, table: &TableName) -> Error {
    stops(statement, &format!("{table} is system-versioned from here on: it keeps old rows beside the present ones"))
        .hint("leave it out with source.excludeTables")
}

/// Where it stands and the first 300 characters of it.
fn described(statement: &Statement) -> String {
    let Statement { place: Place { file, offset, .. }, sql, .. } = statement;
    match sql.char_indices().nth(300) {
        Some((end, _)) => format!("{file}:{offset}: {}…", &sql[..end]),
        None => format!("{file}:{offset}: {sql}"),
    }
}

#[cfg(test)]
mod tests;
