//! Corrections: rows that go out in order with the stream although they were read beside it.
//!
//! Such a row was read at the source at some moment `S`, and the log was at `until` after that. Everything before a
//! checkpoint is in the target, so a row may be sent between two epochs if
//!
//! 1. the checkpoint has reached `until`: whatever happened to the row before `S` is in, and does not come again, and
//! 2. no epoch since before `S` has had a row with its key: what such an epoch brought may be newer.
//!
//! For the second a table is *watched* from before the first read until the rows are sent: the keys of its loads are kept.
//! An epoch that is on its way when the watch begins was read from the log before `S`, so it need not be looked at.
//! Rows that were overtaken are given back: the stream has written them, or somebody has to read them anew.
//!
//! Only a watched table's loads are read for their keys. The set of keys lives for as long as the correction, some seconds.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use foldhash::fast::FixedState;
use tokio::sync::oneshot;

use super::body;
use super::encode::{BinaryText, EncodeRow, Encoder, Op, Part};
use super::key_only::{KeyOnly, Texts};
use super::unwritable::Unwritable;
use crate::config::OnError;
use crate::mysql::position::Position;
use crate::mysql::value::RowError;
use crate::schema::{TableName, TargetTable};
use crate::target::Load;
use crate::{Error, Result};

/// Loads that write these rows, still without labels.
///
/// # Errors
/// Definite: a row cannot be written for the target.
pub(crate) fn upserts<R>(
    table: &TargetTable,
    (binary, part_bytes): (BinaryText, usize),
    rows: impl Iterator<Item = R>,
) -> Result<Vec<Load>>
where
    R: EncodeRow<Error = RowError> + Copy,
{
    let mut encoder = Encoder::new(table, binary, part_bytes);
    // A row that cannot be written is told, whatever becomes of those of the stream.
    let mut unwritable = Unwritable::new(table, OnError::Exit);
    for row in rows {
        unwritable.encode(&mut encoder, None, Op::Upsert, row)?;
    }
    Ok(loads(table, encoder))
}

/// Loads that delete the rows with these keys, given as the target shows their cells.
///
/// # Errors
/// Definite: a key that is none of the table's.
pub(crate) fn deletes(
    table: &TargetTable,
    (binary, part_bytes): (BinaryText, usize),
    keys: &[Vec<Option<String>>],
) -> Result<Vec<Load>> {
    let mut encoder = Encoder::new(table, binary, part_bytes);
    for key in keys {
        let row = KeyOnly { row: Texts(key), table };
        encoder.row(Op::Delete, row).map_err(|error| Error::definite(format!("{}: a delete: {error}", table.name)))?;
    }
    Ok(loads(table, encoder))
}

fn loads(table: &TargetTable, mut encoder: Encoder) -> Vec<Load> {
    let parts = encoder.finish();
    let load = |part: Part| Load {
        table: table.name.clone(),
        label: String::new(),
        columns: encoder.columns(&part).to_vec(),
        partial: part.is_partial(),
        format: part.format,
        body: part.body,
        rows: part.rows,
    };
    parts.into_iter().map(load).collect()
}

/// What has become of a correction.
#[derive(Debug, Default)]
pub struct Done {
    pub sent: u64,
    /// Rows that were not sent because the stream had brought their key since.
    pub overtaken: u64,
    /// Why the target refused the rows that were to be sent.
    pub refused: Option<String>,
}

/// Rows on their way to the committer, as loads without labels.
pub(super) struct Correction {
    pub(super) loads: Vec<Load>,
    /// How many of the columns, from the first, are the key.
    key_columns: usize,
    pub(super) until: Position,
    watch: Watch,
    done: oneshot::Sender<Done>,
}

/// What the committer and whoever has rows to send share.
#[derive(Debug, Clone, Default)]
pub struct Corrections(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    next: u64,
    watches: HashMap<u64, Watched>,
    waiting: Vec<Correction>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} watches, {} corrections", self.watches.len(), self.waiting.len())
    }
}

/// The keys that epochs have had since the watch began, by their hash. Two keys with one hash cost a row that is read anew.
struct Watched {
    table: TableName,
    keys: HashSet<u64>,
}

/// The table is watched until this is dropped.
pub struct Watch {
    id: u64,
    corrections: Corrections,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.corrections.lock().watches.remove(&self.id);
    }
}

impl Corrections {
    /// To be called before the first row is read. `table` is named as at the target.
    pub fn watch(&self, table: &TableName) -> Watch {
        let mut state = self.lock();
        state.next += 1;
        let id = state.next;
        state.watches.insert(id, Watched { table: table.clone(), keys: HashSet::new() });
        Watch { id, corrections: self.clone() }
    }

    /// Sends loads of the watched table, whole rows with `key_columns` of the key first, once the checkpoint has reached
    /// `until`: a place of the log behind the moment at which they were read. They get their labels when they are sent. The
    /// answer does not come when the job ends before.
    pub fn give(&self, watch: Watch, loads: Vec<Load>, key_columns: usize, until: Position) -> oneshot::Receiver<Done> {
        let (done, answer) = oneshot::channel();
        self.lock().waiting.push(Correction { loads, key_columns, until, watch, done });
        answer
    }

    /// An epoch with these loads goes out.
    pub(super) fn note(&self, loads: &[Vec<Load>], key_columns: impl Fn(&TableName) -> usize) -> Result<()> {
        let watched: HashSet<TableName> = self.lock().watches.values().map(|watch| watch.table.clone()).collect();
        for load in loads.iter().flatten().filter(|load| watched.contains(&load.table)) {
            let keys = keys(load, key_columns(&load.table))?;
            for watch in self.lock().watches.values_mut().filter(|watch| watch.table == load.table) {
                watch.keys.extend(&keys);
            }
        }
        Ok(())
    }

    /// What may be sent at this checkpoint; nothing for tables that lag behind it.
    pub(super) fn due(&self, checkpoint: &Position, lags: impl Fn(&TableName) -> bool) -> Vec<Correction> {
        let is_due = |correction: &mut Correction| {
            checkpoint.reached(&correction.until) && !correction.loads.iter().any(|load| lags(&load.table))
        };
        self.lock().waiting.extract_if(.., is_due).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Correction {
    /// Takes out the rows that were overtaken; how many they are.
    pub(super) fn drop_overtaken(&mut self) -> Result<u64> {
        let state = self.watch.corrections.lock();
        let Some(watched) = state.watches.get(&self.watch.id).filter(|watched| !watched.keys.is_empty()) else {
            return Ok(0);
        };
        let mut overtaken = 0;
        for load in &mut self.loads {
            let mut kept = BytesMut::new();
            let mut rows = 0;
            for row in body::rows(load)? {
                let text = &load.body[row];
                let key = hash(load, text, self.key_columns)?;
                if watched.keys.contains(&key) {
                    overtaken += 1;
                } else {
                    kept.extend_from_slice(text);
                    rows += 1;
                }
            }
            (load.body, load.rows) = (kept.freeze(), rows);
        }
        drop(state);
        self.loads.retain(|load| load.rows > 0);
        Ok(overtaken)
    }

    pub(super) fn finish(self, done: Done) {
        // Nobody may be waiting any more.
        let _ = self.done.send(done);
    }
}

fn keys(load: &Load, key_columns: usize) -> Result<Vec<u64>> {
    body::rows(load)?.into_iter().map(|row| hash(load, &load.body[row], key_columns)).collect()
}

fn hash(load: &Load, row: &[u8], key_columns: usize) -> Result<u64> {
    let cells = body::cells(load.format, &load.columns, row)?;
    Ok(FixedState::default().hash_one(body::key(&cells, key_columns)))
}

#[cfg(test)]
mod tests {
    use super::super::sample::position;
    use super::*;
    use crate::target::{Format, LoadColumn, OP_COLUMN};

    fn load(rows: &[(i32, &str)]) -> Load {
        let body: String = rows.iter().map(|(id, text)| format!("{id}\x01{text}\x010\x02")).collect();
        Load {
            table: TableName::new("shop", "t"),
            label: String::new(),
            columns: ["id", "v", OP_COLUMN].map(LoadColumn::plain).to_vec(),
            partial: false,
            format: Format::Csv,
            body: body.into(),
            rows: rows.len() as u64,
        }
    }

    fn note(corrections: &Corrections, rows: &[(i32, &str)]) {
        corrections.note(&[vec![load(rows)]], |_| 1).unwrap();
    }

    #[test]
    fn rows_wait_for_their_place_and_those_that_were_overtaken_are_left_out() {
        let corrections = Corrections::default();
        note(&corrections, &[(1, "before the watch")]);
        let watch = corrections.watch(&TableName::new("shop", "t"));
        note(&corrections, &[(2, "since"), (3, "since")]);
        let rows = [(1, "a"), (2, "b"), (4, "d")];
        let mut answer = corrections.give(watch, vec![load(&rows)], 1, position(100));
        assert!(corrections.due(&position(99), |_| false).is_empty());
        assert!(corrections.due(&position(100), |table| table.table == "t").is_empty(), "its table lags");
        note(&corrections, &[(4, "later")]);
        let mut due = corrections.due(&position(100), |_| false);
        assert!(due.len() == 1 && corrections.lock().waiting.is_empty());
        let mut correction = due.remove(0);
        assert_eq!(correction.drop_overtaken().unwrap(), 2);
        assert_eq!((correction.loads[0].rows, &correction.loads[0].body[..]), (1, &b"1\x01a\x010\x02"[..]));
        correction.finish(Done { sent: 1, overtaken: 2, refused: None });
        assert_eq!(answer.try_recv().unwrap().overtaken, 2);
        assert!(corrections.lock().watches.is_empty(), "the watch ends with the correction");
    }

    #[test]
    fn another_tables_rows_overtake_nothing() {
        let corrections = Corrections::default();
        let watch = corrections.watch(&TableName::new("shop", "other"));
        note(&corrections, &[(1, "x")]);
        let _answer = corrections.give(watch, vec![load(&[(1, "a")])], 1, position(5));
        assert_eq!(corrections.due(&position(5), |_| false)[0].drop_overtaken().unwrap(), 0);
    }
}
