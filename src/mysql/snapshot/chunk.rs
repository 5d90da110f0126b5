//! Chunks of a table, and the walk along the key that finds their bounds.

use std::sync::Arc;

use mysql_async::Row;
use serde::{Deserialize, Serialize};

use super::SnapshotTable;
use super::key::{Key, range};
use super::spread::{Bound, Spread, WALKED};
use super::table::read_error;
use crate::mysql::connect::Session;
use crate::schema::TableName;
use crate::{Error, Result};

/// A range of a table's key: `lower < key <= upper`, open where there is no bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    pub table: TableName,
    /// From 0, in key order, without gaps.
    pub number: u64,
    pub lower: Option<Key>,
    pub upper: Option<Key>,
}

impl Chunk {
    /// No chunk comes behind it.
    pub fn is_last(&self) -> bool {
        self.upper.is_none()
    }

    /// The chunk's rows as a WHERE clause with a blank in front; nothing for a whole table.
    ///
    /// # Errors
    /// Definite when its bounds are not of `table`'s key.
    pub(crate) fn condition(&self, table: &SnapshotTable) -> Result<String> {
        range(&table.key, self.lower.as_ref(), self.upper.as_ref())
    }
}

/// Walks a table's key and cuts it into chunks, each when it is asked for: a bounded queue behind it bounds the
/// number of chunks in memory.
#[derive(Debug, Clone)]
pub struct ChunkPlanner {
    table: Arc<SnapshotTable>,
    next: Option<(u64, Option<Key>)>,
    /// `None`: nobody has looked yet.
    spread: Option<Option<Spread>>,
}

impl ChunkPlanner {
    /// Begins at the table's first row.
    pub fn new(table: Arc<SnapshotTable>) -> Self {
        ChunkPlanner { table, next: Some((0, None)), spread: None }
    }

    /// Goes on behind `last`, the last chunk that was planned before.
    #[must_use]
    pub fn resume(mut self, last: &Chunk) -> Self {
        self.next = last.upper.clone().map(|upper| (last.number + 1, Some(upper)));
        self
    }

    /// The next chunk, of `chunk_rows` rows (at least 1); `None` when the last one was given. The walk reads `chunk_rows` entries of the index at
    /// the server and brings one key. More than 10,000 rows of a table whose key is one whole number are not walked; then
    /// the chunk may have from a quarter to one and a half times as many, as far as the server's estimates are right. After an error the same call may be made again. A table always has at least one
    /// chunk, and the last may be empty.
    pub async fn next(&mut self, conn: &mut impl Session, chunk_rows: u64) -> Result<Option<Chunk>> {
        let Some((number, lower)) = self.next.clone() else { return Ok(None) };
        let upper =
            if self.table.key.is_empty() { None } else { self.upper(conn, lower.as_ref(), chunk_rows.max(1)).await? };
        self.next = upper.clone().map(|upper| (number + 1, Some(upper)));
        Ok(Some(Chunk { table: self.table.name.clone(), number, lower, upper }))
    }

    async fn upper(&mut self, conn: &mut impl Session, lower: Option<&Key>, chunk_rows: u64) -> Result<Option<Key>> {
        if chunk_rows > WALKED {
            let table = Arc::clone(&self.table);
            let spread = match &mut self.spread {
                Some(spread) => spread,
                unknown => unknown.insert(Spread::of(conn, &table).await?),
            };
            if let Some(spread) = spread {
                match spread.bound(conn, &table, lower, chunk_rows).await? {
                    Bound::At(bound) => return Ok(Some(bound)),
                    Bound::Nowhere => return Ok(None),
                    Bound::Unknown => {}
                }
            }
        }
        self.bound(conn, lower, chunk_rows).await
    }

    /// The key `chunk_rows` rows behind `lower`, if there are so many.
    async fn bound(&self, conn: &mut impl Session, lower: Option<&Key>, chunk_rows: u64) -> Result<Option<Key>> {
        let table = &self.table;
        let expressions: Vec<String> = table.key.iter().map(|column| column.expression()).collect();
        let statement = format!(
            "SELECT {} FROM {}{}{} LIMIT 1 OFFSET {}",
            expressions.join(", "),
            table.source(),
            range(&table.key, lower, None)?,
            table.order(),
            chunk_rows - 1
        );
        let failed = |error| read_error(&table.name, error);
        let row = conn.first(&statement).await.map_err(failed)?;
        row.map(|row| self.key_of(&row)).transpose()
    }

    fn key_of(&self, row: &Row) -> Result<Key> {
        let values = self.table.key.iter().enumerate().map(|(index, column)| match row.as_ref(index) {
            Some(value) => column.value(value),
            None => Err(Error::definite("a row without a key column")),
        });
        let key = values.collect::<Result<_>>().map_err(|error| error.context(format!("table {}", self.table.name)))?;
        Ok(Key(key))
    }
}
