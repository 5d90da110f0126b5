//! Reading rows of one table at either side: a chunk, the rows of a list of keys.
//!
//! Every statement is short: a range of the key or a list of keys. No transaction outlives it, and a connection that
//! fails is opened again at the next call.

use std::collections::{HashMap, HashSet};

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Value};
use twox_hash::XxHash3_128;

use super::canonical::Cell;
use super::checksum::Sum;
use super::layout::{Layout, RawRow, Row, Side};
use super::pace::Pace;
use super::report::shown;
use crate::mysql::connect::{Connect, Flavor, Patience, Pauses, source_error};
use crate::mysql::position::{self, Position};
use crate::mysql::snapshot::{SnapshotTable, prepare_session};
use crate::target::starrocks::{RowReader, Selected, StarRocks};
use crate::{Error, Result};

/// Keys that one statement looks up.
pub(crate) const LOOKUP: usize = 200;

/// Rows between two looks at the clock, where a rate is to be kept.
const PACED: u64 = 100;

/// Stands for a row's cells; two of the same 128 bits are taken for equal.
pub(crate) type Digest = u128;

/// Rows by key, with their cells' digest.
pub(crate) type Digests = HashMap<Vec<u8>, Digest>;

pub(crate) fn digest(cells: &[Cell]) -> Digest {
    let mut bytes = Vec::new();
    cells.iter().for_each(|cell| cell.write(&mut bytes));
    XxHash3_128::oneshot(&bytes)
}

/// How often a read is begun again after a failure that may pass.
const TRIES: u32 = 8;

/// The tries of one read.
pub(crate) struct Tries {
    left: u32,
    pauses: Pauses,
}

impl Tries {
    pub(crate) fn new(patience: Patience) -> Self {
        Tries { left: TRIES, pauses: patience.pauses() }
    }

    /// Waits, if another try may help.
    pub(crate) async fn again(&mut self, error: Error) -> Result<()> {
        if !error.is_transient() || self.left == 0 {
            return Err(error);
        }
        self.left -= 1;
        let pause = self.pauses.take();
        tracing::warn!(%error, ?pause, "reading it again");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// A cell of which no more is kept than it takes to compare and to show it.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    pub(crate) digest: Digest,
    pub(crate) shown: serde_json::Value,
}

pub(crate) fn marks(cells: &[Cell]) -> Vec<Mark> {
    let mark = |cell: &Cell| Mark { digest: digest(std::slice::from_ref(cell)), shown: shown(cell) };
    cells.iter().map(mark).collect()
}

/// A connection to the source.
pub(crate) struct SourceReader {
    connect: Connect,
    patience: Patience,
    conn: Option<Conn>,
}

impl SourceReader {
    pub(crate) fn new(connect: &Connect, patience: Patience) -> Self {
        SourceReader { connect: Connect::clone(connect), patience, conn: None }
    }

    pub(crate) fn tries(&self) -> Tries {
        Tries::new(self.patience)
    }

    /// The session's text is UTF-8, its times are UTC.
    pub(super) async fn open(&mut self) -> Result<Conn> {
        if let Some(conn) = self.conn.take() {
            return Ok(conn);
        }
        let mut conn = self.connect.sql(None).await?;
        prepare_session(&mut conn).await?;
        let set = conn.query_drop("SET NAMES utf8mb4").await;
        set.map_err(|error| source_error("preparing a session", error))?;
        Ok(conn)
    }

    /// For the next statement.
    pub(super) fn keep(&mut self, conn: Conn) {
        self.conn = Some(conn);
    }

    /// Everything that was read before this call lies before the position.
    pub(crate) async fn position(&mut self, flavor: Flavor) -> Result<Position> {
        let mut conn = self.open().await?;
        let position = position::current(&mut conn, flavor).await?;
        self.conn = Some(conn);
        Ok(position)
    }

    async fn each(&mut self, layout: &Layout, statement: String, take: &mut (dyn FnMut(RawRow) + Send)) -> Result<()> {
        let take = &mut |row| {
            take(row);
            Ok(())
        };
        self.scan(layout, statement, &mut Pace::new(None), take).await
    }

    /// Gives `take` the rows of a SELECT, at this pace.
    pub(crate) async fn scan(
        &mut self,
        layout: &Layout,
        statement: String,
        pace: &mut Pace,
        take: &mut (dyn FnMut(RawRow) -> Result<()> + Send),
    ) -> Result<()> {
        let failed = |error| source_error(format_args!("reading table {}", layout.source), error);
        let mut conn = self.open().await?;
        let mut read = 0;
        let mut result = conn.query_iter(statement).await.map_err(failed)?;
        while let Some(row) = result.next().await.map_err(failed)? {
            take(row.unwrap_raw().into_iter().map(bytes).collect())?;
            read += 1;
            if read == PACED {
                pace.keep(std::mem::take(&mut read)).await;
            }
        }
        drop(result);
        self.conn = Some(conn);
        Ok(())
    }

    /// The rows that a WHERE clause selects.
    pub(crate) async fn rows(&mut self, layout: &Layout, table: &SnapshotTable, clause: &str) -> Result<Digests> {
        let statement = format!("SELECT {} FROM {}{clause}", layout.expressions(Side::Source), table.source());
        let mut tries = self.tries();
        loop {
            let mut rows = Digests::new();
            let mut take = |row| {
                let Row { key, cells } = layout.read(row, Side::Source);
                rows.insert(key, digest(&cells));
            };
            match self.each(layout, statement.clone(), &mut take).await {
                Ok(()) => return Ok(rows),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    /// What the rows that a WHERE clause selects add up to; `list` is the source's [`Layout::checksum`].
    pub(crate) async fn sum(
        &mut self,
        layout: &Layout,
        table: &SnapshotTable,
        list: &str,
        clause: &str,
    ) -> Result<Sum> {
        let statement = format!("SELECT {list} FROM {}{clause}", table.source());
        let mut tries = self.tries();
        loop {
            let mut sum = None;
            match self.each(layout, statement.clone(), &mut |row| sum = read_sum(row)).await {
                Ok(()) => return sum.ok_or_else(|| no_sum(layout)),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    /// What `make` makes of the rows with these keys, those that are there.
    pub(crate) async fn lookup<T: Send>(
        &mut self,
        layout: &Layout,
        table: &SnapshotTable,
        keys: &[Vec<u8>],
        make: fn(&[Cell]) -> T,
    ) -> Result<HashMap<Vec<u8>, T>> {
        let Some(condition) = layout.lookup(Side::Source, keys) else { return Ok(HashMap::new()) };
        let expressions = layout.expressions(Side::Source);
        let statement = format!("SELECT {expressions} FROM {} WHERE {condition}", table.source());
        let mut tries = self.tries();
        loop {
            let mut found = HashMap::new();
            let mut take = |row| {
                let Row { key, cells } = layout.read(row, Side::Source);
                found.insert(key, make(&cells));
            };
            match self.each(layout, statement.clone(), &mut take).await {
                Ok(()) => return Ok(only(found, keys)),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    /// Those of the keys that are there.
    pub(crate) async fn keys(
        &mut self,
        layout: &Layout,
        table: &SnapshotTable,
        keys: &[Vec<u8>],
    ) -> Result<HashSet<Vec<u8>>> {
        let Some(condition) = layout.lookup(Side::Source, keys) else { return Ok(HashSet::new()) };
        let expressions = layout.key_expressions(Side::Source);
        let statement = format!("SELECT {expressions} FROM {} WHERE {condition}", table.source());
        let mut tries = self.tries();
        loop {
            let mut found = HashSet::new();
            let mut take = |row| {
                found.insert(layout.read(row, Side::Source).key);
            };
            match self.each(layout, statement.clone(), &mut take).await {
                Ok(()) => return Ok(found),
                Err(error) => tries.again(error).await?,
            }
        }
    }
}

/// A connection to the target.
pub(crate) struct TargetReader<'a> {
    starrocks: &'a StarRocks,
    patience: Patience,
    reader: Option<RowReader<'a>>,
}

impl<'a> TargetReader<'a> {
    pub(crate) fn new(starrocks: &'a StarRocks, patience: Patience) -> Self {
        TargetReader { starrocks, patience, reader: None }
    }

    /// Gives `take` the rows of a SELECT until it says `false`.
    pub(crate) async fn each(
        &mut self,
        layout: &Layout,
        statement: &str,
        take: &mut (dyn FnMut(RawRow) -> bool + Send),
    ) -> Result<()> {
        let at = |error: crate::Error| error.context(format_args!("reading table {} at the target", layout.target));
        let mut reader = self.open().await.map_err(at)?;
        let mut rows = reader.select(statement).await.map_err(at)?;
        while let Some(row) = rows.next().await.map_err(at)? {
            if !take(row) {
                return Ok(());
            }
        }
        drop(rows);
        self.reader = Some(reader);
        Ok(())
    }

    async fn open(&mut self) -> Result<RowReader<'a>> {
        match self.reader.take() {
            Some(reader) => Ok(reader),
            None => self.starrocks.reader().await,
        }
    }

    /// What the rows that a WHERE clause selects add up to; `list` is the target's [`Layout::checksum`].
    pub(crate) async fn sum(&mut self, layout: &Layout, list: &str, clause: &str) -> Result<Sum> {
        let statement = format!("SELECT {list} FROM {}{clause}", layout.target.quoted());
        let mut tries = Tries::new(self.patience);
        loop {
            let mut sum = None;
            let mut take = |row| {
                sum = read_sum(row);
                true
            };
            match self.each(layout, &statement, &mut take).await {
                Ok(()) => return sum.ok_or_else(|| no_sum(layout)),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    /// What `make` makes of the rows with these keys, those that are there.
    pub(crate) async fn lookup<T: Send>(
        &mut self,
        layout: &Layout,
        keys: &[Vec<u8>],
        make: fn(&[Cell]) -> T,
    ) -> Result<HashMap<Vec<u8>, T>> {
        let Some(condition) = layout.lookup(Side::Target, keys) else { return Ok(HashMap::new()) };
        let expressions = layout.expressions(Side::Target);
        let statement = format!("SELECT {expressions} FROM {} WHERE {condition}", layout.target.quoted());
        let mut tries = Tries::new(self.patience);
        loop {
            let mut found = HashMap::new();
            let mut take = |row| {
                let Row { key, cells } = layout.read(row, Side::Target);
                found.insert(key, make(&cells));
                true
            };
            match self.each(layout, &statement, &mut take).await {
                Ok(()) => return Ok(only(found, keys)),
                Err(error) => tries.again(error).await?,
            }
        }
    }
}

fn read_sum(row: RawRow) -> Option<Sum> {
    let mut texts = row.into_iter().map(|bytes| bytes.and_then(|bytes| String::from_utf8(bytes).ok()));
    let rows = texts.next()??.parse().ok()?;
    Some(Sum { rows, sum: texts.next()? })
}

fn no_sum(layout: &Layout) -> Error {
    Error::definite(format!("table {}: a server gives no checksum", layout.source))
}

/// Without what a literal found that is not the same key.
pub(super) fn only<T>(mut found: HashMap<Vec<u8>, T>, keys: &[Vec<u8>]) -> HashMap<Vec<u8>, T> {
    let wanted: HashSet<&Vec<u8>> = keys.iter().collect();
    found.retain(|key, _| wanted.contains(key));
    found
}

pub(super) fn bytes(value: Option<Value>) -> Option<Vec<u8>> {
    match value? {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(bytes),
        // The text protocol has no other kinds.
        other => Some(other.as_sql(true).into_bytes()),
    }
}

/// A SELECT of all keys that is read batch by batch.
pub(crate) struct Keys<'r> {
    rows: Selected<'r>,
}

impl<'r> Keys<'r> {
    pub(crate) async fn begin(reader: &'r mut RowReader<'_>, layout: &Layout, condition: &str) -> Result<Keys<'r>> {
        let keys = layout.key_expressions(Side::Target);
        let rows = reader.select(&format!("SELECT {keys} FROM {}{condition}", layout.target.quoted())).await?;
        Ok(Keys { rows })
    }

    /// The next keys; none at the end.
    pub(crate) async fn next(&mut self, layout: &Layout) -> Result<Vec<Vec<u8>>> {
        let mut keys = Vec::with_capacity(LOOKUP);
        while keys.len() < LOOKUP
            && let Some(row) = self.rows.next().await?
        {
            keys.push(layout.read(row, Side::Target).key);
        }
        Ok(keys)
    }
}
