//! StarRocks: tables over the FE's MySQL port, rows over Stream Load.
//!
//! [`StarRocks`] only joins the parts: [`sql`] speaks to the FE, [`ddl`] words the CREATE statements,
//! [`existing`] judges a table that is there already, [`alter`] names the next statement that brings it to another shape
//! and [`change`] sends it and waits, [`check`] is the pre-flight, and [`stream_load`] with
//! [`http`] and [`answer`] brings rows in exactly once; [`transaction`] does so for several tables at one moment.

mod addresses;
mod alter;
mod answer;
mod change;
mod check;
mod ddl;
mod existing;
mod http;
mod privileges;
mod read;
mod refused;
mod rows;
#[cfg(test)]
mod script;
mod sql;
mod stream_load;
mod transaction;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::OnceLock;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tracing::{info, warn};

pub(crate) use self::read::{RowReader, Selected, StoredColumn};
pub(crate) use self::sql::quote_text;
use self::sql::{SIDE_BY_SIDE, Sql};
use self::stream_load::{Asked, StreamLoad};
use super::{LabelState, Load, Loaded, NameTry, OP_COLUMN, Pressure, Target, Version};
use crate::config;
use crate::progress::Retries;
use crate::schema::{TableName, TargetTable, quote};
use crate::{Error, Result, step};

/// A StarRocks cluster (or the embedded server). Cheap calls, no connection until the first one needs it.
pub struct StarRocks {
    sql: Sql,
    load: StreamLoad,
    username: String,
    /// For one call that alters a table.
    alter_timeout: Duration,
    table_properties: BTreeMap<String, String>,
    facts: OnceLock<Facts>,
    /// The columns of tables that have had partial updates, as the tables spell them.
    spelled: tokio::sync::Mutex<HashMap<TableName, Vec<String>>>,
}

/// What the server is; asked once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Facts {
    version: Version,
    /// BEs, or CNs of a shared-data cluster, that are alive; `None` when the user may not see them.
    live_backends: Option<u32>,
    shared_data: bool,
}

impl StarRocks {
    /// Connects to nothing yet. Usage errors: an address, a load property or a table property that cannot be
    /// used; the message names its key in the job file.
    pub fn new(target: &config::Target, params: &config::Params) -> Result<Self> {
        let buckets = target.table_properties.iter().find(|(name, _)| name.eq_ignore_ascii_case(ddl::BUCKETS));
        if let Some((name, value)) = buckets
            && !value.parse::<u32>().is_ok_and(|buckets| buckets > 0)
        {
            return Err(Error::usage(format!("target.tableProperties.{name}: {value:?} is not a number of buckets")));
        }
        Ok(StarRocks {
            sql: Sql::new(target, Duration::from_secs(params.so_timeout_sec.max(1)))?,
            load: StreamLoad::new(target, params)?,
            username: target.username.clone(),
            alter_timeout: Duration::from_secs(params.alter_timeout_sec.max(1)),
            table_properties: target.table_properties.clone(),
            facts: OnceLock::new(),
            spelled: tokio::sync::Mutex::default(),
        })
    }

    async fn facts(&self) -> Result<Facts> {
        if let Some(facts) = self.facts.get() {
            return Ok(*facts);
        }
        let version = self.ask_version().await?;
        let backends = self.count_alive("SHOW BACKENDS").await?;
        let computes = self.count_alive("SHOW COMPUTE NODES").await?;
        let shared_data = backends.unwrap_or(0) == 0 && computes.unwrap_or(0) > 0;
        let live_backends = if shared_data { computes } else { backends };
        let facts = Facts { version, live_backends, shared_data };
        // A cluster that has no BE yet may have one at the next question.
        if live_backends != Some(0) {
            let _ = self.facts.set(facts);
        }
        Ok(facts)
    }

    async fn ask_version(&self) -> Result<Version> {
        let asked = self.sql.rows("SELECT current_version()").await;
        let text = match asked {
            Ok(rows) => rows.single().unwrap_or_default().to_owned(),
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                // A wrong password says so here too; only a server that lacks the function goes on.
                let rows = self.sql.rows("SELECT @@version_comment").await.map_err(|_| error)?;
                let comment = rows.single().unwrap_or_default().to_owned();
                if !comment.to_lowercase().contains("starrocks") {
                    return Err(Error::definite(format!("{} is no StarRocks server: {comment:?}", self.sql.address()))
                        .hint("target.clientAddress must be the MySQL port of a StarRocks FE (9030 by default)"));
                }
                comment
            }
        };
        Ok(Version::parse(&text).unwrap_or_else(|| {
            warn!("{}: version {text:?} is not understood; taken as {}", self.sql.address(), Version::OLDEST_COMMON);
            Version::OLDEST_COMMON
        }))
    }

    /// Live nodes in a SHOW statement's answer; `None` when the user may not run it or the version has it not. A passing
    /// failure is neither: what is found out once is kept for the whole run.
    async fn count_alive(&self, statement: &str) -> Result<Option<u32>> {
        let rows = match self.sql.rows(statement).await {
            Ok(rows) => rows,
            Err(error) if error.is_transient() => return Err(error),
            Err(_) => return Ok(None),
        };
        let alive = rows.iter().filter(|row| row.get("Alive").is_some_and(|alive| alive.eq_ignore_ascii_case("true")));
        Ok(u32::try_from(alive.count()).ok())
    }

    async fn database_exists(&self, name: &str) -> Result<bool> {
        let statement =
            format!("SELECT SCHEMA_NAME FROM information_schema.schemata WHERE SCHEMA_NAME = {}", quote_text(name));
        Ok(!self.sql.rows(&statement).await?.is_empty())
    }

    /// StarRocks finds the columns of a partial update by their exact spelling (its `getPartialUpateColumns`) and passes
    /// over the others in silence, while everywhere else a column's case does not matter.
    async fn check_spelling(&self, load: &Load) -> Result<()> {
        let names = || load.columns.iter().map(|column| &column.name).filter(|name| *name != OP_COLUMN);
        let is_known = |known: &Vec<String>| names().all(|name| known.contains(name));
        let mut spelled = self.spelled.lock().await;
        if spelled.get(&load.table).is_some_and(is_known) {
            return Ok(());
        }
        let at = format!("the columns of {} before a partial update", load.table);
        let mut asked = Asked::default();
        let existing = loop {
            match existing::read(&self.sql, &load.table).await {
                Ok(existing) => break existing,
                Err(error) => self.load.patience(&mut asked, &at, error).await?,
            }
        };
        let known: Vec<String> = existing.iter().map(|column| column.name().to_owned()).collect();
        if let Some(name) = names().find(|name| !known.contains(name)) {
            let there = known.iter().find(|other| other.eq_ignore_ascii_case(name));
            let (table, what) = (&load.table, there.map_or("not there".to_owned(), |there| format!("spelled {there}")));
            let rename = there.map_or_else(String::new, |there| {
                format!("ALTER TABLE {} RENAME COLUMN {} TO {}; or ", table.quoted(), quote(there), quote(name))
            });
            return Err(Error::definite(format!(
                "table {table}: column {name} is {what} at the target, which a partial update does not find"
            ))
            .hint(format!("{rename}SET GLOBAL binlog_row_image = 'FULL' at the source and start a new job")));
        }
        spelled.insert(load.table.clone(), known);
        Ok(())
    }

    /// Its database is there.
    async fn create(&self, table: &TargetTable) -> Result<()> {
        let facts = self.facts().await?;
        let created = self.sql.run(&ddl::create_table(table, &self.table_properties, Some(facts))).await;
        created.map_err(|error| {
            let error = error.context(format!("target table {}", table.name));
            if error.to_string().to_lowercase().contains("replication num") {
                return error.hint("say how many replicas: target.tableProperties: {replication_num: '1'}");
            }
            error
        })?;
        info!("created table {}", table.name);
        Ok(())
    }

    async fn ensure_database(&self, name: &str) -> Result<()> {
        // Asked first: a user without CREATE DATABASE may still create tables in a database that is there.
        if self.database_exists(name).await? {
            return Ok(());
        }
        let created = self.sql.run(&ddl::create_database(name)).await;
        created.map_err(|error| error.context(format!("target database {name}")))
    }
}

impl Target for StarRocks {
    async fn check(&self, databases: &[String]) -> Vec<Error> {
        check::check(self, databases).await
    }

    async fn version(&self) -> Result<Version> {
        self.facts().await.map(|facts| facts.version)
    }

    /// What depends on the server (replicas, fast schema evolution) is in it once [`Target::version`] or
    /// another call has reached the server.
    fn ddl(&self, table: &TargetTable) -> Vec<String> {
        let facts = self.facts.get().copied();
        vec![ddl::create_database(&table.name.database), ddl::create_table(table, &self.table_properties, facts)]
    }

    async fn ensure_tables(&self, tables: &[&TargetTable]) -> Result<Vec<bool>> {
        let there: Vec<bool> = self.check_tables(tables).await?.into_iter().collect::<Result<_>>()?;
        let mut missing: Vec<&TargetTable> = Vec::new();
        for (table, there) in tables.iter().zip(&there) {
            if !there {
                missing.push(table);
            }
        }
        let databases: BTreeSet<&str> = missing.iter().map(|table| table.name.database.as_str()).collect();
        for database in databases {
            self.ensure_database(database).await?;
        }
        // The FE makes a table when BEs have made its tablets: most of the time it waits for them.
        let creating: Vec<_> = missing.into_iter().map(|table| self.create(table)).collect();
        let mut creating = stream::iter(creating).buffer_unordered(SIDE_BY_SIDE);
        while let Some(created) = creating.next().await {
            created?;
            step::reached("table-made");
        }
        Ok(there.into_iter().map(|there| !there).collect())
    }

    async fn check_tables(&self, tables: &[&TargetTable]) -> Result<Vec<Result<bool>>> {
        let names: Vec<&TableName> = tables.iter().map(|table| &table.name).collect();
        let mut existing = existing::read_all(&self.sql, &names).await.map_err(|error| match names[..] {
            [name] => error.context(format!("target table {name}")),
            _ => error.context("reading the target's tables"),
        })?;
        let check = |table: &&TargetTable| match existing.remove(&table.name) {
            Some(columns) => existing::check(table, &columns).map(|()| true),
            None => Ok(false),
        };
        Ok(tables.iter().map(check).collect())
    }

    async fn load(&self, load: &Load) -> Result<Loaded> {
        if load.partial {
            self.check_spelling(load).await?;
        }
        self.load.load(load).await
    }

    async fn label_state(&self, database: &str, label: &str) -> Result<LabelState> {
        self.load.label_state(database, label).await
    }

    async fn check_together(&self, tables: &[&TargetTable]) -> Vec<Error> {
        transaction::check(self, tables).await
    }

    async fn load_together(&self, loads: &[Load], name: NameTry<'_>) -> Result<Loaded> {
        self.load.load_together(loads, name).await
    }

    async fn has_rows(&self, table: &TableName) -> Result<bool> {
        self.any_row(table).await
    }

    async fn copies(&self, table: &TableName, below: i64, wanted: &[(i128, usize)]) -> Result<Vec<Vec<i64>>> {
        self.copies_of(table, below, wanted).await
    }

    async fn end_transaction(&self, database: &str, label: &str) -> Result<()> {
        self.load.end_transaction(database, label).await
    }

    async fn alter_table(&self, before: &TargetTable, after: &TargetTable, was: &[Option<usize>]) -> Result<()> {
        self.spelled.lock().await.remove(&after.name);
        change::alter_table(self, before, after, was).await
    }

    /// Until the server has told its version it is taken for an old one.
    fn cannot_alter(&self, before: &TargetTable, after: &TargetTable, was: &[Option<usize>]) -> Vec<String> {
        let version = self.facts.get().map_or(Version::OLDEST_COMMON, |facts| facts.version);
        alter::cannot(&alter::Change { before, after, was, version })
    }

    async fn truncate_table(&self, table: &TableName) -> Result<()> {
        change::truncate_table(self, table).await
    }

    async fn drop_table(&self, table: &TableName) -> Result<()> {
        self.spelled.lock().await.remove(table);
        change::drop_table(self, table).await
    }

    async fn rename_table(&self, from: &TableName, to: &TableName) -> Result<()> {
        self.spelled.lock().await.retain(|name, _| name != from && name != to);
        change::rename_table(self, from, to).await
    }

    async fn swap_tables(&self, table: &TableName, with: &TableName) -> Result<()> {
        self.spelled.lock().await.retain(|name, _| name != table && name != with);
        change::swap_tables(self, table, with).await
    }

    async fn table_id(&self, table: &TableName) -> Result<Option<String>> {
        change::table_id(self, table).await
    }

    fn pressure(&self) -> Pressure {
        self.load.pressure()
    }

    fn retries(&self) -> Retries {
        self.load.retries.clone()
    }
}
