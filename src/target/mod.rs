//! What a target must do. StarRocks is one.
//!
//! # Contract
//! `load` is the only call that carries rows, and it decides a load's fate: it returns `Ok` when the rows
//! are known to be in (committed, whether or not already visible), `Err` when they are known **not** to be
//! in. It does not return while the fate is unknown: it asks for the label's state until that is decided. The one
//! exception is a target that refuses to tell (its password was changed): after a bounded time that is a definite error
//! that says so, and the caller must stop and keep the label, as after a crash.
//! A label that is already finished counts as in. Two loads that write the same key never run at once; loads of
//! different tables, or of different chunks of the full copy, do.
//!
//! A load whose rows are at fault is an error whose cause is [`RefusedRows`]: none of its rows is in, and without some of
//! them the others would be.
//!
//! `load_together` does the same for several loads of one database: all of them become visible at one moment, or
//! none ever does.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::progress::Retries;
use crate::schema::{MappingOptions, TableName, TargetTable};
use crate::{Result, config};

pub mod starrocks;

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Format {
    /// `\x01` between cells, `\x02` after rows, `\N` for NULL, base64 for VARBINARY.
    Csv,
    /// One object a row, one row a line.
    JsonLines,
}

/// One Stream Load.
#[derive(Debug, Clone)]
pub struct Load {
    pub table: TableName,
    /// Unique per content; `[A-Za-z0-9_-]{1,128}`.
    pub label: String,
    /// The body's columns in order, `__op` (0 upsert, 1 delete) the last.
    pub columns: Vec<LoadColumn>,
    /// The columns are not all of the table's: rows that are there keep the others. A row that is not there gets their
    /// defaults; the load must not fail for it.
    pub partial: bool,
    pub format: Format,
    pub body: Bytes,
    pub rows: u64,
}

/// The pseudo column that tells upsert from delete.
pub const OP_COLUMN: &str = "__op";

/// A column of a load's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadColumn {
    /// The table's column.
    pub name: String,
    pub carried: Carried,
}

/// How a body carries a column's values: some have to be decoded by the load's `columns` header. Only in JSON bodies;
/// CSV cells of all types are what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Carried {
    Plain,
    /// VARBINARY as base64 text.
    Base64,
    /// A JSON document as text. Standing in the body by itself the document `null` would be read as NULL.
    JsonText,
}

impl LoadColumn {
    pub fn plain(name: impl Into<String>) -> Self {
        LoadColumn { name: name.into(), carried: Carried::Plain }
    }

    /// The name of the body's field: the column's own, or a temporary one to be decoded.
    pub fn field(&self) -> Cow<'_, str> {
        match self.carried {
            Carried::Plain => self.name.as_str().into(),
            Carried::Base64 => format!("__base64_{}", self.name).into(),
            Carried::JsonText => format!("__json_{}", self.name).into(),
        }
    }
}

/// What a label is known to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelState {
    /// Never seen, or forgotten.
    Unknown,
    /// Under way.
    Running,
    /// Committed, or visible: it is in.
    Finished,
    /// Rolled back; the label may be used again.
    Aborted { reason: String },
}

/// The cause of a load's error when some of its rows are at fault.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RefusedRows {
    /// How many of them the target has found; there may be more. `None`: it does not say.
    pub found: Option<u64>,
    /// What it says of the first ones.
    pub reasons: Vec<Reason>,
}

/// Why a row is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    pub text: String,
    pub column: Option<String>,
    /// The row as the target shows it, perhaps cut; empty: it does not.
    pub row: String,
}

impl fmt::Display for RefusedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3;
        if self.reasons.is_empty() {
            return f.write_str("the server's log does not say why");
        }
        f.write_str("the server's log says")?;
        self.reasons.iter().take(SHOWN).try_for_each(|reason| write!(f, "\n  {}", reason.text))
    }
}

impl std::error::Error for RefusedRows {}

/// Names the tries of [`Target::load_together`]: called with 0, 1, … before a try begins. When it returns, the label is
/// written down where the next run finds it, so that no try's fate is ever forgotten.
pub type NameTry<'a> = &'a mut (dyn FnMut(u32) -> Result<String> + Send);

/// What a finished load cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Tries that failed before this one.
    pub retries: u32,
    /// It was in already, from an earlier try or run.
    pub already: bool,
    /// How long the target took to commit it and make it visible; `None`: it does not tell, or was not heard.
    pub publish: Option<Duration>,
}

/// How often the target had no room for a load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Tries that it has refused so far: too many versions, too many transactions, too little memory.
    pub refusals: u64,
    /// Which of them it was the last time, in words.
    pub reason: &'static str,
}

pub trait Target: Send + Sync + 'static {
    /// Pre-flight: reachable on every port, password right, privileges there, version known. `databases` are
    /// named as at the target.
    /// Each problem is one error; an empty list means ready.
    fn check(&self, databases: &[String]) -> impl Future<Output = Vec<crate::Error>> + Send;

    /// The server's version, `3.5.0`.
    fn version(&self) -> impl Future<Output = Result<Version>> + Send;

    /// The CREATE statements for a table (database first), as `towpath ddl` prints them.
    fn ddl(&self, table: &TargetTable) -> Vec<String>;

    /// Creates databases and tables that are not there; of the others it checks that each can take every value of its
    /// `table`, before anything is created. Calling it again is harmless. `true`: it was created by this call.
    fn ensure_tables(&self, tables: &[&TargetTable]) -> impl Future<Output = Result<Vec<bool>>> + Send;

    /// Checks that each table can take every value of its `table`; `false`: it is not there. Creates nothing.
    fn check_tables(&self, tables: &[&TargetTable]) -> impl Future<Output = Result<Vec<Result<bool>>>> + Send;

    /// [`Target::ensure_tables`] for one.
    fn ensure_table(&self, table: &TargetTable) -> impl Future<Output = Result<bool>> + Send {
        async move { Ok(self.ensure_tables(&[table]).await?.contains(&true)) }
    }

    /// [`Target::check_tables`] for one.
    fn check_table(&self, table: &TargetTable) -> impl Future<Output = Result<bool>> + Send {
        async move { self.check_tables(&[table]).await?.pop().unwrap_or(Ok(false)) }
    }

    /// Brings a table that is there from `before`'s shape to `after`'s, which have one name, by comparison with what the
    /// target has: what is so already is left, and so are columns that are in neither. `was[i]`: index in
    /// `before.columns` of what `after.columns[i]` was. Returns when the target shows it. No load of the table may be under
    /// way, and with StarRocks no transaction of its database open.
    ///
    /// Calling it again, or after a crash in between, is harmless, as long as no load has brought rows of the new shape
    /// since: a column that was dropped and made again under its name is made once more.
    ///
    /// # Errors
    /// Definite: what [`Target::cannot_alter`] tells; the target has cancelled the change, or was not done within
    /// `params.alterTimeoutSec`; the table is in no state between the two.
    fn alter_table(
        &self,
        _before: &TargetTable,
        after: &TargetTable,
        _was: &[Option<usize>],
    ) -> impl Future<Output = Result<()>> + Send {
        let error = no_changes(&after.name);
        async { Err(error) }
    }

    /// What of the change the target cannot do in place (empty: it can): each with the column and why, in words for an
    /// error message. Beside it ask [`crate::schema::rewrites_rows`], which knows what the source did to the rows.
    fn cannot_alter(&self, _before: &TargetTable, after: &TargetTable, _was: &[Option<usize>]) -> Vec<String> {
        vec![no_changes(&after.name).message().to_owned()]
    }

    /// Removes all rows of a table that is there. No load of it may be under way.
    fn truncate_table(&self, table: &TableName) -> impl Future<Output = Result<()>> + Send {
        let error = no_changes(table);
        async { Err(error) }
    }

    /// Harmless when the table is not there. The target may keep it for a while to be brought back.
    fn drop_table(&self, table: &TableName) -> impl Future<Output = Result<()>> + Send {
        let error = no_changes(table);
        async { Err(error) }
    }

    /// Harmless when it is done already, that is, when only `to` is there. Both and neither are definite errors.
    fn rename_table(&self, from: &TableName, _to: &TableName) -> impl Future<Output = Result<()>> + Send {
        let error = no_changes(from);
        async { Err(error) }
    }

    /// Lets two tables that are there exchange their names at one moment. A second call exchanges them back: who may crash
    /// between it and writing down that it is done needs a mark that tells the two apart.
    fn swap_tables(&self, table: &TableName, _with: &TableName) -> impl Future<Output = Result<()>> + Send {
        let error = no_changes(table);
        async { Err(error) }
    }

    /// What tells a table that is there from all others that are or were, whatever it is called; `None`: there is none of
    /// this name.
    fn table_id(&self, table: &TableName) -> impl Future<Output = Result<Option<String>>> + Send {
        let error = no_changes(table);
        async { Err(error) }
    }

    /// See the module's contract.
    fn load(&self, load: &Load) -> impl Future<Output = Result<Loaded>> + Send;

    fn label_state(&self, database: &str, label: &str) -> impl Future<Output = Result<LabelState>> + Send;

    /// What the target has refused for want of room up to now; [`crate::apply::pace`] answers it with fewer and larger
    /// loads.
    fn pressure(&self) -> Pressure {
        Pressure::default()
    }

    /// A target that does not count has this answer.
    fn retries(&self) -> Retries {
        Retries::default()
    }

    /// Pre-flight of `load_together` for these tables, each problem one error. A target without transactions over
    /// several tables has this answer.
    fn check_together(&self, _tables: &[&TargetTable]) -> impl Future<Output = Vec<crate::Error>> + Send {
        async { vec![no_transactions()] }
    }

    /// Brings in all the loads or none of them. `Ok`: all are in, and no reader ever saw some of them without the
    /// others. `Err`: none is in, and none will come in later. It never returns between the two.
    ///
    /// Each try has a label of its own, from `name`; the labels of the loads are not used. A try whose label an earlier
    /// run has used is asked for first: when it is in, so are the loads; otherwise it is out for good and the next is
    /// begun. Hence equal names must mean equal loads.
    ///
    /// All loads are of one database; those of one table have the same columns and format.
    fn load_together(&self, _loads: &[Load], _name: NameTry<'_>) -> impl Future<Output = Result<Loaded>> + Send {
        async { Err(no_transactions()) }
    }

    /// Whether the table has any row, of those that are visible.
    fn has_rows(&self, _table: &TableName) -> impl Future<Output = Result<bool>> + Send {
        async { Err(no_row_hashes()) }
    }

    /// Of a table whose key is a row hash and a copy number: the numbers below `below` of the rows with each of these hashes,
    /// at most as many as are said beside it. All loads of the table that have returned are seen; none may be under way.
    fn copies(
        &self,
        _table: &TableName,
        _below: i64,
        _wanted: &[(i128, usize)],
    ) -> impl Future<Output = Result<Vec<Vec<i64>>>> + Send {
        async { Err(no_row_hashes()) }
    }

    /// Ends the doubt about a try of `load_together` that an earlier run has left: when this returns `Ok` it is in, or
    /// it is out and stays out, whatever that run still had on its way.
    fn end_transaction(&self, _database: &str, _label: &str) -> impl Future<Output = Result<()>> + Send {
        async { Err(no_transactions()) }
    }
}

fn no_changes(table: &TableName) -> crate::Error {
    crate::Error::definite(format!("table {table}: this target does not change tables"))
}

fn no_row_hashes() -> crate::Error {
    crate::Error::definite("this target cannot be asked for the rows of tables without a key")
        .hint("leave `noKeyTables: rowHash` out of the job file")
}

fn no_transactions() -> crate::Error {
    crate::Error::definite("this target has no transactions over several tables")
        .hint("leave `atomicTransactions` out of the job file")
}

/// A StarRocks version; vendors' builds may carry other numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u16,
    pub minor: u16,
    pub patch: u16,
}

impl Version {
    /// Taken for a build whose number cannot be read: nothing newer than it is relied on.
    pub(crate) const OLDEST_COMMON: Version = Version { major: 3, minor: 1, patch: 0 };

    /// The first `major.minor[.patch]` in a text: `3.3.5 6d81f75`, `v2.5.13`, `StarRocks version 3.1.0`.
    pub fn parse(text: &str) -> Option<Version> {
        text.split(|char: char| !char.is_ascii_digit() && char != '.').find_map(|word| {
            let mut numbers = word.split('.').map(str::parse);
            let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
            let patch = numbers.next().and_then(Result::ok).unwrap_or(0);
            Some(Version { major, minor, patch })
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// What the mapping must know about this target.
pub fn mapping_options(target: &config::Target, zero_date: &config::ZeroDate, version: Version) -> MappingOptions {
    MappingOptions {
        databases: target.databases.clone(),
        zero_date_is_null: *zero_date == config::ZeroDate::Null,
        ..MappingOptions::for_version(version.major, version.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_servers_say() {
        let version = |major, minor, patch| Some(Version { major, minor, patch });
        assert_eq!(Version::parse("3.3.5 6d81f75"), version(3, 3, 5));
        assert_eq!(Version::parse("StarRocks version v2.5.13"), version(2, 5, 13));
        assert_eq!(Version::parse("4.0.0-rc01 abc"), version(4, 0, 0));
        assert_eq!(Version::parse("branch-3.4 1a2b"), version(3, 4, 0));
        assert_eq!(Version::parse("main-d41d8cd"), None);
        assert_eq!(Version { major: 3, minor: 5, patch: 1 }.to_string(), "3.5.1");
    }
}
