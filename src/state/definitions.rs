//! The definitions that hold at the checkpoint, and the schema change that is under way.
//!
//! They change in the transaction that moves the checkpoint behind the statement ([`Store::close_epoch_with`]), so what is
//! read here after a crash is what the rows behind the checkpoint were written with.
//!
//! A change is several steps at the target (`RENAME TABLE a TO b, c TO a`), none of which is part of that transaction.
//! Most may be done twice, for they compare first, but not all in any order: renames of a whole statement, taken again
//! from the start, would meet the names as the first try has left them. So each step that is done is written down,
//! and a restart goes on with the first that is not ([`RunningChange`]).

use std::sync::Arc;

use rusqlite::OptionalExtension as _;
use rusqlite::Transaction;
use serde::{Deserialize, Serialize};

use super::join::{self, Asked, Join};
use super::lag::{self, Lag};
use super::store::json;
use super::{Store, row_hash, snapshot};
use crate::Result;
use crate::mysql::position::Position;
use crate::schema::{Mapping, Table, TableName, TargetColumn, TargetTable};

/// A table as it is at the target; with a policy that is not `apply` it differs from what the source's would be mapped to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtTarget {
    pub target: TargetTable,
    pub unfed: Vec<TargetColumn>,
}

/// The job file's patterns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    pub tables: Vec<String>,
    pub exclude: Vec<String>,
}

/// What holds at the checkpoint.
#[derive(Debug, Clone)]
pub struct Definitions {
    /// Behind the last statement that changed tables; the job's start if there was none.
    pub since: Option<Position>,
    /// `None` at the target: written by a version that did not follow schema changes.
    pub tables: Vec<(Table, Option<AtTarget>)>,
    /// Tables of the source that match the patterns and whose rows are not replicated.
    pub passed: Vec<TableName>,
    /// Tables of the target whose source is gone.
    pub left: Vec<TableName>,
    pub selection: Option<Selection>,
    /// What the history remembers besides the tables, in its own words.
    pub history: Option<String>,
}

/// How the definitions at one checkpoint differ from those at the one before.
#[derive(Debug, Clone, Default)]
pub struct DefinitionChanges {
    /// By the source's name; `None`: the job follows it no more.
    pub tables: Vec<(TableName, Option<Arc<Mapping>>)>,
    /// Now there, or no more.
    pub passed: Vec<(TableName, bool)>,
    pub left: Vec<(TableName, bool)>,
    /// `None`: as before. So for the next one.
    pub selection: Option<Selection>,
    pub history: Option<String>,
    /// Kinds of changes, by the words of the job file, and what became of them.
    pub counts: Vec<(&'static str, Outcome)>,
    /// What becomes of tables' dead letters, in order.
    pub letters: Vec<LetterMove>,
    /// Tables without a key that have another name at the source, in order.
    pub renumbered: Vec<(TableName, TableName)>,
    /// Copies that begin, by the source's name, and those that are no more.
    pub joins: Vec<(TableName, Option<Join>)>,
    /// Copies that are asked for.
    pub asked: Vec<(TableName, Asked)>,
    /// Tables that lag from here on, by the source's name, and those that no longer do.
    pub lags: Vec<(TableName, Option<Lag>)>,
    /// Tables of which it no longer matters what the full copy has read ([`super::snapshot`]).
    pub settled: Vec<TableName>,
    /// A statement's changes are made: the one that was under way no longer is.
    pub ends_change: bool,
}

/// What a schema change does to the dead letters of a table of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LetterMove {
    Renamed {
        from: TableName,
        to: TableName,
    },
    /// Its rows are gone, or come no more.
    Emptied(TableName),
    /// Its columns have other names, or none any more.
    Altered {
        table: TableName,
        renamed: Vec<(String, String)>,
        dropped: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Applied,
    Ignored,
    Warned,
}

impl Outcome {
    pub const ALL: [Outcome; 3] = [Outcome::Applied, Outcome::Ignored, Outcome::Warned];

    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Applied => "applied",
            Outcome::Ignored => "ignored",
            Outcome::Warned => "warned",
        }
    }
}

/// How often a kind of change had an outcome, since the job began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeCount {
    pub kind: String,
    pub outcome: String,
    pub number: u64,
}

/// A schema change that the target may be half-way through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningChange {
    /// Behind the statement.
    pub position: Position,
    pub statement: String,
    /// As JSON. What was begun may go on only if the same is to be done.
    pub steps: String,
    /// The target's tables that it works on.
    pub tables: Vec<TableName>,
    /// Steps that are done.
    pub done: u64,
    /// When it was begun, microseconds since 1970 by this machine's clock.
    pub since: u64,
}

impl Store {
    pub fn definitions(&self) -> Result<Definitions> {
        let texts: Vec<(String, Option<String>)> = self.with(|connection| {
            connection
                .prepare("SELECT definition, at_target FROM source_table ORDER BY database, name")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })?;
        let table = |(definition, at_target): &(String, Option<String>)| {
            let table = self.parse("source_table.definition", definition)?;
            let at_target = at_target.as_ref().map(|text| self.parse("source_table.at_target", text)).transpose()?;
            Ok((table, at_target))
        };
        let others = |kind: &str| {
            self.with(|connection| {
                connection
                    .prepare("SELECT database, name FROM other_table WHERE kind = ?1 ORDER BY database, name")?
                    .query_map([kind], |row| Ok(TableName { database: row.get(0)?, table: row.get(1)? }))?
                    .collect::<rusqlite::Result<Vec<_>>>()
            })
        };
        type Row = (String, Option<String>, Option<String>);
        let row: Option<Row> = self.with(|connection| {
            let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            connection.query_row("SELECT since, selection, history FROM job_definitions", [], read).optional()
        })?;
        let (since, selection, history) = match row {
            Some((since, selection, history)) => (Some(since), selection, history),
            None => (None, None, None),
        };
        Ok(Definitions {
            since: since.map(|since| self.parse("job_definitions.since", &since)).transpose()?,
            tables: texts.iter().map(table).collect::<Result<_>>()?,
            passed: others(PASSED)?,
            left: others(LEFT)?,
            selection: selection.map(|text| self.parse("job_definitions.selection", &text)).transpose()?,
            history,
        })
    }

    /// Changes definitions without a checkpoint: the job file selects other tables than before.
    pub fn change_definitions(&self, changes: &DefinitionChanges, since: &Position) -> Result<()> {
        self.transaction(|transaction| change(transaction, since, changes))
    }

    /// The schema change that the target may be half-way through.
    pub fn running_change(&self) -> Result<Option<RunningChange>> {
        type Row = (String, String, String, String, i64, i64);
        let row: Option<Row> = self.with(|connection| {
            let read = |row: &rusqlite::Row<'_>| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
            };
            let sql = "SELECT position, statement, steps, tables, done, since FROM schema_change";
            connection.query_row(sql, [], read).optional()
        })?;
        row.map(|(position, statement, steps, tables, done, since)| {
            Ok(RunningChange {
                position: self.parse("schema_change.position", &position)?,
                statement,
                steps,
                tables: self.parse("schema_change.tables", &tables)?,
                done: done as u64,
                since: since as u64,
            })
        })
        .transpose()
    }

    /// Writes down that a change begins, before its first step.
    pub fn begin_change(&self, change: &RunningChange) -> Result<()> {
        self.transaction(|transaction| {
            transaction.execute(
                "INSERT OR REPLACE INTO schema_change (id, position, statement, steps, tables, done, since)
                 VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)",
                (
                    json(&change.position)?,
                    &change.statement,
                    &change.steps,
                    json(&change.tables)?,
                    change.done as i64,
                    change.since as i64,
                ),
            )?;
            Ok(())
        })
    }

    /// So many steps of the change are done.
    pub fn change_goes_on(&self, done: u64) -> Result<()> {
        self.transaction(|transaction| {
            transaction.execute("UPDATE schema_change SET done = ?1", [done as i64]).map(drop)
        })
    }

    /// Of all kinds of schema changes that there were.
    pub fn change_counts(&self) -> Result<Vec<ChangeCount>> {
        self.with(|connection| {
            connection
                .prepare("SELECT kind, outcome, number FROM schema_change_count ORDER BY kind, outcome")?
                .query_map([], |row| {
                    let number = row.get::<_, i64>(2)? as u64;
                    Ok(ChangeCount { kind: row.get(0)?, outcome: row.get(1)?, number })
                })?
                .collect()
        })
    }
}

const PASSED: &str = "passed";
const LEFT: &str = "left";

/// Makes the changes, which hold from `since` on.
pub(super) fn change(
    transaction: &Transaction<'_>,
    since: &Position,
    changes: &DefinitionChanges,
) -> rusqlite::Result<()> {
    let position = json(since)?;
    for (name, mapping) in &changes.tables {
        transaction
            .prepare_cached("DELETE FROM source_table WHERE database = ?1 AND name = ?2")?
            .execute((&name.database, &name.table))?;
        if let Some(mapping) = mapping {
            let at_target = AtTarget { target: mapping.target.clone(), unfed: mapping.unfed.clone() };
            transaction
                .prepare_cached(
                    "INSERT INTO source_table (database, name, since, definition, at_target)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute((&name.database, &name.table, &position, json(&mapping.source)?, json(&at_target)?))?;
        }
    }
    for (kind, others) in [(PASSED, &changes.passed), (LEFT, &changes.left)] {
        for (name, there) in others {
            let sql = match there {
                true => "INSERT OR IGNORE INTO other_table (database, name, kind) VALUES (?1, ?2, ?3)",
                false => "DELETE FROM other_table WHERE database = ?1 AND name = ?2 AND kind = ?3",
            };
            transaction.prepare_cached(sql)?.execute((&name.database, &name.table, kind))?;
        }
    }
    // One that has come in has a key now.
    for (name, _) in changes.passed.iter().filter(|(_, there)| !there) {
        let sql = "DELETE FROM left_out WHERE database = ?1 AND name = ?2";
        transaction.prepare_cached(sql)?.execute((&name.database, &name.table))?;
    }
    let selection = changes.selection.as_ref().map(json).transpose()?;
    transaction
        .prepare_cached(
            "INSERT INTO job_definitions (id, since, selection, history) VALUES (1, ?1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET since = iif(?4, excluded.since, since),
                 selection = coalesce(excluded.selection, selection), history = coalesce(excluded.history, history)",
        )?
        .execute((&position, selection, &changes.history, changes.ends_change))?;
    for (kind, outcome) in &changes.counts {
        transaction
            .prepare_cached(
                "INSERT INTO schema_change_count (kind, outcome, number) VALUES (?1, ?2, 1)
                 ON CONFLICT (kind, outcome) DO UPDATE SET number = number + 1",
            )?
            .execute((kind, outcome.as_str()))?;
    }
    for letters in &changes.letters {
        super::dead_letter::follow(transaction, letters)?;
    }
    for (from, to) in &changes.renumbered {
        row_hash::rename(transaction, from, to)?;
    }
    snapshot::settle(transaction, &changes.settled)?;
    join::change(transaction, &changes.joins, &changes.asked)?;
    lag::change(transaction, &changes.lags)?;
    if changes.ends_change {
        transaction.execute("DELETE FROM schema_change", [])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Column, ColumnType, IntegerSize, MappingOptions, map_table};
    use crate::state::{Checkpoint, Identity, LetterChanges, ParkedChanges, PreparedChanges, Stage};

    fn position(offset: u64) -> Position {
        Position { file: "binlog.000001".into(), offset, gtids: None }
    }

    fn mapping(table: &str) -> Arc<Mapping> {
        let id = Column::new("id", ColumnType::Integer { size: IntegerSize::Int, unsigned: false });
        let table = Table {
            name: TableName::new("shop", table),
            columns: vec![id],
            key: vec![0],
            primary: true,
            comment: String::new(),
            charset: None,
            indexes: Vec::new(),
        };
        Arc::new(map_table(&table, &MappingOptions::for_version(3, 5)).unwrap())
    }

    #[test]
    fn a_change_is_there_with_its_checkpoint_and_the_step_it_has_come_to_before_that() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), "shop").unwrap();
        let identity = Identity {
            name: "shop".into(),
            run_id: "00c0ffee".into(),
            server: "uuid".into(),
            stage: Stage::Incremental,
            start: position(4),
        };
        let selection = Selection { tables: vec!["shop.*".into()], exclude: Vec::new() };
        let (old, new) = (mapping("old"), mapping("new"));
        let begun = DefinitionChanges {
            tables: vec![(old.source.name.clone(), Some(Arc::clone(&old)))],
            selection: Some(selection.clone()),
            history: Some("{}".into()),
            ..DefinitionChanges::default()
        };
        store.begin(&identity, &begun).unwrap();
        let change = RunningChange {
            position: position(100),
            statement: "RENAME TABLE old TO new".into(),
            steps: "[]".into(),
            tables: vec![old.target.name.clone(), new.target.name.clone()],
            done: 0,
            since: 7,
        };
        store.begin_change(&change).unwrap();
        store.change_goes_on(1).unwrap();
        assert_eq!(store.running_change().unwrap(), Some(RunningChange { done: 1, ..change }));
        let close = |definitions: DefinitionChanges| {
            let (letters, prepared) = (LetterChanges::default(), PreparedChanges::default());
            let (checkpoint, parked) = (Checkpoint::at(position(100)), ParkedChanges::default());
            store.close_epoch_with(&checkpoint, &letters, &prepared, &parked, Some(&definitions)).unwrap();
        };
        close(DefinitionChanges { history: Some("[]".into()), ..DefinitionChanges::default() });
        assert!(store.running_change().unwrap().is_some(), "an epoch of rows ends no change");
        assert_eq!(store.definitions().unwrap().since, Some(position(4)));
        close(DefinitionChanges {
            tables: vec![(old.source.name.clone(), None), (new.source.name.clone(), Some(Arc::clone(&new)))],
            passed: vec![(TableName::new("shop", "p"), true)],
            left: vec![(TableName::new("shop", "l"), true)],
            counts: vec![("renameTable", Outcome::Applied), ("renameTable", Outcome::Applied)],
            ends_change: true,
            ..DefinitionChanges::default()
        });
        let now = store.definitions().unwrap();
        assert_eq!((now.since, now.selection, now.history), (Some(position(100)), Some(selection), Some("[]".into())));
        let at_target = AtTarget { target: new.target.clone(), unfed: Vec::new() };
        assert_eq!(now.tables, [(new.source.clone(), Some(at_target))]);
        assert_eq!((now.passed.len(), now.left.len(), store.running_change().unwrap()), (1, 1, None));
        assert_eq!(
            store.change_counts().unwrap(),
            [ChangeCount { kind: "renameTable".into(), outcome: "applied".into(), number: 2 }]
        );
    }

    #[test]
    fn dead_letters_go_with_their_tables() {
        use crate::state::{LetterShape, LetterState, NewLetter};
        use crate::target::{Format, LoadColumn};
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), "shop").unwrap();
        let columns = ["id", "v", "__op"].map(LoadColumn::plain);
        let letter = |table: &str, key: &str| NewLetter {
            table: TableName::new("shop", table),
            key: format!("[\"{key}\"]"),
            delete: false,
            column: None,
            reason: "refused".into(),
            shape: LetterShape { format: Some(Format::Csv), columns: columns.to_vec(), partial: false },
            body: format!("{key}\u{1}text\u{1}0\u{2}").into(),
            behind: false,
        };
        let close = |at: u64, new: Vec<NewLetter>, moves: Vec<LetterMove>| {
            let letters = LetterChanges { new, origin: Some((position(at), position(at))), ..LetterChanges::default() };
            let definitions = DefinitionChanges { letters: moves, ..DefinitionChanges::default() };
            let (prepared, parked) = (PreparedChanges::default(), ParkedChanges::default());
            let checkpoint = Checkpoint::at(position(at));
            store.close_epoch_with(&checkpoint, &letters, &prepared, &parked, Some(&definitions)).unwrap();
        };
        close(10, vec![letter("a", "1"), letter("b", "2"), letter("c", "3")], Vec::new());
        let name = |table: &str| TableName::new("shop", table);
        let renamed = |from: &str, to: &str| LetterMove::Renamed { from: name(from), to: name(to) };
        // Two tables change their names, through a third one.
        let swap = vec![renamed("a", "tmp"), renamed("b", "a"), renamed("tmp", "b"), LetterMove::Emptied(name("c"))];
        close(20, Vec::new(), swap);
        let altered =
            LetterMove::Altered { table: name("a"), renamed: vec![("v".into(), "w".into())], dropped: Vec::new() };
        let lost = LetterMove::Altered { table: name("b"), renamed: Vec::new(), dropped: vec!["v".into()] };
        close(30, Vec::new(), vec![altered, lost]);
        let mut found: Vec<(String, String, LetterState, Option<Format>, String)> = store
            .letters(&Default::default(), 0, 1 << 20)
            .unwrap()
            .into_iter()
            .map(|letter| {
                let names: Vec<&str> = letter.shape.columns.iter().map(|column| column.name.as_str()).collect();
                (letter.table.table, letter.key, letter.state, letter.shape.format, names.join(" "))
            })
            .collect();
        found.sort_by(|left, right| left.0.cmp(&right.0));
        let of = |table: &str, key: &str, state, format, columns: &str| {
            (table.to_owned(), format!("[\"{key}\"]"), state, format, columns.to_owned())
        };
        assert_eq!(
            found,
            [
                of("a", "2", LetterState::Open, Some(Format::Csv), "id w __op"),
                // It can only be looked at.
                of("b", "1", LetterState::Open, None, "id v __op"),
                of("c", "3", LetterState::Superseded, Some(Format::Csv), "id v __op"),
            ]
        );
    }
}
