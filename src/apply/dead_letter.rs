//! What becomes of rows that the target refuses (`strategyOnError`).
//!
//! StarRocks refuses a load as a whole: with `max_filter_ratio: 0` one bad row keeps all rows of its part out, and that is
//! how it should be. [`isolate`] then halves the part until the bad rows are alone. With `exit` the first of them stops
//! the job. With `batchDirtyData` each becomes a dead letter, and the others are in.
//!
//! # A later change wins
//! A letter is the newest change of its key until another one comes. So while letters exist, the keys of every load of
//! their tables are looked up, and those that are found are *superseded*, in the transaction that ends the epoch. A
//! retry thus never writes over something newer: it sends live letters only, between two epochs, from the one thread
//! that sends epochs.
//!
//! A change that does not tell the whole row (`binlog_row_image` NOBLOB or MINIMAL) cannot replace a letter unless it
//! tells all the letter's columns. It is set aside *behind* it, to be sent after it: alone it would make a row of which
//! the rest is missing.
//!
//! # Cost
//! A job without letters asks one empty map a load. With letters, loads of tables that have some are read once more for
//! their keys; other tables' are not.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::BytesMut;
use foldhash::fast::FixedState;

use super::body;
use super::commit::{name, observed};
use super::encode::{BinaryText, Encoder, Op};
use super::isolate::{self, RefusedRow};
use super::key_only::{KeyOnly, Texts};
use super::label::{Content, piece_label};
use crate::config::OnError;
use crate::mysql::position::Position;
use crate::progress::Progress;
use crate::schema::{Mapping, TableName};
use crate::state::{ChunkDone, LetterChanges, LetterKey, LetterShape, LoadName, NewLetter, Store};
use crate::target::{Load, RefusedRows, Target};
use crate::{Error, Result};

/// What the job file says.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    pub on_error: OnError,
    /// Live letters that stop the job when there are more; 0 = no limit.
    pub max_letters: u64,
    /// Refused loads may be halved. Not where an epoch becomes visible whole or not at all: there a refused load is an
    /// error with the target's own words.
    pub halve: bool,
}

/// A job's dead letters.
pub struct DeadLetters {
    pub(super) store: Arc<Store>,
    policy: Policy,
    /// By the table's name at the target.
    tables: RwLock<HashMap<TableName, Arc<Mapping>>>,
    live: Mutex<Live>,
    /// Found since `live` was read.
    found: AtomicU64,
}

/// Live letters, as of the last change. Only this job makes new ones, so none is missing here.
#[derive(Default)]
struct Live {
    /// Hashes of the letters' keys.
    keys: HashMap<TableName, HashSet<u64>>,
    letters: u64,
}

impl DeadLetters {
    pub fn new<'a>(
        store: &Arc<Store>,
        policy: Policy,
        mappings: impl IntoIterator<Item = &'a Arc<Mapping>>,
    ) -> Result<DeadLetters> {
        let letters = DeadLetters {
            store: Arc::clone(store),
            policy,
            tables: RwLock::new(by_target(mappings)),
            live: Mutex::default(),
            found: AtomicU64::new(0),
        };
        letters.read_live()?;
        Ok(letters)
    }

    /// A schema change is done: from here on the tables are these, and letters have followed it.
    pub(crate) fn follow<'a>(&self, mappings: impl IntoIterator<Item = &'a Arc<Mapping>>) -> Result<()> {
        *self.tables.write().unwrap_or_else(PoisonError::into_inner) = by_target(mappings);
        if self.any() { self.read_live() } else { Ok(()) }
    }

    fn mapping(&self, table: &TableName) -> Option<Arc<Mapping>> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner).get(table).cloned()
    }

    pub(crate) fn on_error(&self) -> OnError {
        self.policy.on_error
    }

    /// Whether any letter may be asked for.
    pub(super) fn any(&self) -> bool {
        self.live().letters > 0
    }

    /// What letters say of an epoch before it goes out: rows that cannot be written are letters, and rows that only add
    /// to a letter are taken out of their loads and set aside behind it.
    ///
    /// # Errors
    /// There are too many letters.
    pub(crate) fn prepare(&self, loads: &mut Vec<Vec<Load>>, unwritable: Vec<NewLetter>) -> Result<LetterChanges> {
        let mut changes = LetterChanges::default();
        for letter in unwritable {
            changes.new.push(self.placed(letter)?);
            self.count(&changes.new)?;
        }
        for load in loads.iter_mut().flatten().filter(|load| load.partial && self.has_letters(&load.table)) {
            let rows = body::rows(load)?;
            let (mut kept, mut kept_rows) = (BytesMut::new(), 0);
            for row in &rows {
                let cells = body::cells(load.format, &load.columns, &load.body[row.clone()])?;
                let letter = self.placed(NewLetter {
                    reason: "it adds to an earlier dead letter of its key".to_owned(),
                    ..self.letter(load, &cells, load.body.slice(row.clone()))
                })?;
                if letter.behind {
                    changes.new.push(letter);
                    self.count(&changes.new)?;
                } else {
                    kept.extend_from_slice(&load.body[row.clone()]);
                    kept_rows += 1;
                }
            }
            if kept.len() < load.body.len() {
                load.body = kept.freeze();
                load.rows = kept_rows;
                let content = Content { columns: &load.columns, format: load.format, body: &load.body };
                load.label = piece_label(&load.label, &content);
            }
        }
        loads.iter_mut().for_each(|table| table.retain(|load| load.rows > 0));
        loads.retain(|table| !table.is_empty());
        Ok(changes)
    }

    /// Sends one load. With `batchDirtyData` its bad rows are returned as letters, and everything else is in. The
    /// changes belong into the state store in one transaction with what says that the load is done.
    ///
    /// # Errors
    /// As [`Target::load`]; a refused row, if that stops the job; too many letters.
    pub(crate) async fn send<T: Target>(&self, target: &T, load: &Load, progress: &Progress) -> Result<LetterChanges> {
        let mut changes = LetterChanges { superseded: self.keys_with_letters(load)?, ..LetterChanges::default() };
        let mut deletes = Vec::new();
        self.send_rows(target, load, progress, &mut |row| {
            let cells = body::cells(load.format, &load.columns, &row.body)?;
            if body::deletes(&cells) {
                deletes.push((cells, row));
                return Ok(());
            }
            changes.new.push(self.refused(load, row)?);
            self.count(&changes.new)
        })
        .await?;
        for row in self.delete_by_key(target, load, deletes, progress).await? {
            changes.new.push(self.refused(load, row)?);
            self.count(&changes.new)?;
        }
        Ok(changes)
    }

    /// Sends refused deletes once more, with nothing but their keys. Returns those that are refused again.
    async fn delete_by_key<T: Target>(
        &self,
        target: &T,
        load: &Load,
        deletes: Vec<(Vec<Option<String>>, RefusedRow)>,
        progress: &Progress,
    ) -> Result<Vec<RefusedRow>> {
        let Some(mapping) = self.mapping(&load.table).filter(|_| !deletes.is_empty()) else {
            return Ok(deletes.into_iter().map(|(_, row)| row).collect());
        };
        let table = &mapping.target;
        let mut encoder = Encoder::new(table, BinaryText::Base64, usize::MAX);
        let mut rows: HashMap<String, RefusedRow> = HashMap::new();
        for (cells, row) in deletes {
            let key_only = KeyOnly { row: Texts(&cells), table };
            encoder
                .row(Op::Delete, key_only)
                .map_err(|error| Error::definite(format!("{}: a refused delete: {error}", load.table)))?;
            rows.insert(body::key(&cells, table.key_columns), row);
        }
        let mut refused = Vec::new();
        for part in encoder.finish() {
            let columns = encoder.columns(&part).to_vec();
            let content = Content { columns: &columns, format: part.format, body: &part.body };
            let label = piece_label(&load.label, &content);
            let load = Load { label, format: part.format, body: part.body, rows: part.rows, columns, ..load.clone() };
            self.store.open_more_loads(&[name(&load)])?;
            self.send_rows(target, &load, progress, &mut |again| {
                let cells = body::cells(load.format, &load.columns, &again.body)?;
                refused.extend(rows.remove(&body::key(&cells, table.key_columns)));
                Ok(())
            })
            .await?;
            self.store.forget_loads(&[name(&load)])?;
        }
        Ok(refused)
    }

    /// Sends a load and what is left of it without the rows that are refused, which are given to `refused` one by one.
    pub(super) async fn send_rows<T: Target>(
        &self,
        target: &T,
        load: &Load,
        progress: &Progress,
        refused: &mut (impl FnMut(RefusedRow) -> Result<()> + Send),
    ) -> Result<()> {
        let Err(error) = observed(target, load, progress).await else { return Ok(()) };
        let error = error.context(&load.table);
        let Some(answer) = error.cause::<RefusedRows>() else { return Err(error) };
        if !self.policy.halve && load.rows > 1 {
            return Err(error);
        }
        if load.rows > 1 {
            tracing::warn!("{error}; looking for the rows");
        }
        // A job that stops at the first bad row should know that row's own reason.
        let believe = self.policy.on_error == OnError::BatchDirtyData;
        isolate::isolate(target, &self.store, load, answer.clone(), believe, progress, refused).await
    }

    /// A refused row as a letter.
    ///
    /// # Errors
    /// Definite, with table, key, column and reason, when a refused row stops the job.
    fn refused(&self, load: &Load, row: RefusedRow) -> Result<NewLetter> {
        let cells = body::cells(load.format, &load.columns, &row.body)?;
        let letter = NewLetter { column: row.column, reason: row.reason, ..self.letter(load, &cells, row.body) };
        if self.policy.on_error == OnError::BatchDirtyData {
            return Ok(letter);
        }
        let column = letter.column.map(|column| format!("column {column}: ")).unwrap_or_default();
        Err(Error::definite(format!(
            "{}: the target refuses the row with key {}: {column}{}",
            load.table, letter.key, letter.reason
        ))
        .hint(
            "change the row at the source or the column at the target, and start again; with `strategyOnError: \
             batchDirtyData` such rows are set aside as dead letters",
        ))
    }

    fn letter(&self, load: &Load, cells: &[Option<String>], body: bytes::Bytes) -> NewLetter {
        NewLetter {
            table: load.table.clone(),
            key: body::key(cells, self.key_columns(&load.table)),
            delete: body::deletes(cells),
            column: None,
            reason: String::new(),
            shape: LetterShape { format: Some(load.format), columns: load.columns.clone(), partial: load.partial },
            body,
            behind: false,
        }
    }

    pub(super) fn key_columns(&self, table: &TableName) -> usize {
        self.mapping(table).map_or(usize::MAX, |mapping| mapping.target.key_columns)
    }

    /// The letter, behind another one if it only adds to it.
    fn placed(&self, mut letter: NewLetter) -> Result<NewLetter> {
        if letter.shape.partial && !letter.delete && self.has_letters(&letter.table) {
            let key = LetterKey { table: letter.table.clone(), key: letter.key.clone() };
            let tells = |name: &str| letter.shape.columns.iter().any(|column| column.name == name);
            let live = self.store.live_letters_of(&key)?;
            letter.behind = live.iter().flat_map(|shape| &shape.columns).any(|column| !tells(&column.name));
        }
        Ok(letter)
    }

    /// The keys of a load that have letters.
    fn keys_with_letters(&self, load: &Load) -> Result<Vec<LetterKey>> {
        if !self.has_letters(&load.table) {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for row in body::rows(load)? {
            let cells = body::cells(load.format, &load.columns, &load.body[row])?;
            let key = body::key(&cells, self.key_columns(&load.table));
            if self.live().keys.get(&load.table).is_some_and(|keys| keys.contains(&hash(&key))) {
                found.push(LetterKey { table: load.table.clone(), key });
            }
        }
        Ok(found)
    }

    /// Counts one more letter, the last of `new`.
    ///
    /// # Errors
    /// Definite, when there are too many.
    fn count(&self, new: &[NewLetter]) -> Result<()> {
        let found = self.found.fetch_add(1, Ordering::Relaxed) + 1;
        let limit = self.policy.max_letters;
        let Some(letter) = new.last().filter(|_| limit > 0 && self.live().letters + found > limit) else {
            return Ok(());
        };
        let column = letter.column.as_ref().map(|column| format!("column {column}: ")).unwrap_or_default();
        Err(Error::definite(format!(
            "more than {limit} rows are refused (maxDeadLetters); the last: {}, key {}: {column}{}",
            letter.table, letter.key, letter.reason
        ))
        .hint(
            "see what is wrong with them: `towpath dead-letters list JOB`; when it is mended, `retry` and `drop` make room. \
             Nothing is lost: the job goes on from its checkpoint",
        ))
    }

    /// Completes changes that are about to be written: where their rows are in the log, and what is kept.
    pub(crate) fn complete(&self, changes: &mut LetterChanges, begin: &Position, end: &Position) {
        changes.origin = Some((begin.clone(), end.clone()));
        changes.keep = Some(self.policy.max_letters).filter(|limit| *limit > 0);
        for letter in &changes.new {
            tracing::warn!(
                "{}: the row with key {} is a dead letter: {}{}",
                letter.table,
                letter.key,
                letter.column.as_ref().map(|column| format!("column {column}: ")).unwrap_or_default(),
                letter.reason
            );
        }
    }

    /// To be called when changes have been written.
    pub(crate) fn written(&self, changes: &LetterChanges) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let counts = self.store.letter_counts()?;
        let mut live = self.live();
        live.letters = counts.open + counts.retry;
        self.found.store(0, Ordering::Relaxed);
        if live.letters == 0 {
            live.keys.clear();
        }
        // Keys whose letters are settled may stay: one too many costs a look, one too few a newer row.
        for letter in &changes.new {
            live.keys.entry(letter.table.clone()).or_default().insert(hash(&letter.key));
        }
        Ok(())
    }

    /// Writes changes by themselves, and forgets the loads that made them.
    pub(crate) fn record(&self, loads: &[LoadName], mut changes: LetterChanges, at: &Position) -> Result<()> {
        if loads.is_empty() && changes.is_empty() {
            return Ok(());
        }
        self.complete(&mut changes, at, at);
        self.store.forget_loads_with(loads, &changes)?;
        self.written(&changes)
    }

    /// As [`DeadLetters::record`], for loads of the full copy, with the chunk that they have completed.
    pub(crate) fn record_copy(
        &self,
        loads: &[LoadName],
        mut changes: LetterChanges,
        at: &Position,
        done: Option<&ChunkDone<'_>>,
    ) -> Result<()> {
        self.complete(&mut changes, at, at);
        self.store.load_of_copy_is_in(loads, &changes, done)?;
        self.written(&changes)
    }

    /// The numbers of rows that are letters, by their hash, of a table without a key.
    pub(super) fn copies(&self, table: &TableName) -> Result<HashMap<i128, Vec<i64>>> {
        let mut copies: HashMap<i128, Vec<i64>> = HashMap::new();
        if self.has_letters(table) {
            for key in self.store.live_letter_rows(table)? {
                let cells: Vec<String> = serde_json::from_str(&key).unwrap_or_default();
                if let [hash, copy] = cells.as_slice()
                    && let (Ok(hash), Ok(copy)) = (hash.parse(), copy.parse())
                {
                    copies.entry(hash).or_default().push(copy);
                }
            }
        }
        Ok(copies)
    }

    fn read_live(&self) -> Result<()> {
        let mut live = self.live();
        *live = Live::default();
        for LetterKey { table, key } in self.store.live_letter_keys()? {
            live.letters += 1;
            live.keys.entry(table).or_default().insert(hash(&key));
        }
        Ok(())
    }

    fn has_letters(&self, table: &TableName) -> bool {
        self.live().keys.contains_key(table)
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn by_target<'a>(mappings: impl IntoIterator<Item = &'a Arc<Mapping>>) -> HashMap<TableName, Arc<Mapping>> {
    let names = |mapping: &'a Arc<Mapping>| std::iter::once(&mapping.target.name).chain(&mapping.twin);
    mappings
        .into_iter()
        .flat_map(|mapping| names(mapping).map(move |name| (name.clone(), Arc::clone(mapping))))
        .collect()
}

fn hash(key: &str) -> u64 {
    FixedState::default().hash_one(key)
}

#[cfg(test)]
mod tests;
