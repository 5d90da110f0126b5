//! Table maps and rows events: only the replicated tables' are looked into, and their images are left as they are.

use std::sync::Arc;

use bytes::Bytes;

use super::super::event::{self, kind};
use super::super::{ImageColumns, RowsEvent, RowsKind, Slot, TableMap};
use super::{Event, Follower, KnownTable, Out, SLOT_BYTES, Stop};
use crate::schema::TableName;
use crate::{Error, Result};

/// "No rows, the statement ends here."
const DUMMY_TABLE_ID: u64 = 0x00ff_ffff;

/// Sets of columns that are remembered of one table.
const MOST_COLUMN_SETS: usize = 64;

impl Follower {
    pub(super) fn table_map(&mut self, event: &Event, at: u64) -> Result<()> {
        let (table_id, database, table) = TableMap::peek(&event.body).ok_or_else(|| self.malformed(event, at))?;
        if self.tables.get(&table_id).is_some_and(|known| known.body == event.body) {
            return Ok(());
        }
        let name = TableName::new(database, table);
        let map = if (self.wanted)(&name) {
            let map = TableMap::parse(&event.body).map_err(|error| error.context(self.place(at)))?;
            Some(Arc::new(map))
        } else {
            None
        };
        // A copy: the event's buffer may be a part of something larger.
        self.tables
            .insert(table_id, KnownTable { body: Bytes::copy_from_slice(&event.body), map, columns: Vec::new() });
        Ok(())
    }

    pub(super) fn rows(&mut self, event: &Event, at: u64, out: Out<'_>) -> Result<(), Stop> {
        let (row_kind, version, compressed) = match event.kind {
            kind::WRITE_ROWS_V1 => (RowsKind::Insert, 1, false),
            kind::UPDATE_ROWS_V1 => (RowsKind::Update, 1, false),
            kind::DELETE_ROWS_V1 => (RowsKind::Delete, 1, false),
            kind::WRITE_ROWS => (RowsKind::Insert, 2, false),
            kind::UPDATE_ROWS => (RowsKind::Update, 2, false),
            kind::DELETE_ROWS => (RowsKind::Delete, 2, false),
            kind::MARIADB_WRITE_ROWS_COMPRESSED_V1 => (RowsKind::Insert, 1, true),
            kind::MARIADB_UPDATE_ROWS_COMPRESSED_V1 => (RowsKind::Update, 1, true),
            kind::MARIADB_DELETE_ROWS_COMPRESSED_V1 => (RowsKind::Delete, 1, true),
            kind::MARIADB_WRITE_ROWS_COMPRESSED => (RowsKind::Insert, 2, true),
            kind::MARIADB_UPDATE_ROWS_COMPRESSED => (RowsKind::Update, 2, true),
            _ => (RowsKind::Delete, 2, true),
        };
        let Some(table) = self.replicated(event, at)? else { return Ok(()) };
        let bitmaps = if row_kind == RowsKind::Update { 2 } else { 1 };
        let header = event::rows(&event.body, version, bitmaps).ok_or_else(|| self.malformed(event, at))?;
        if header.columns != table.columns().len() {
            return Err(self.malformed(event, at).into());
        }
        if self.skipping() {
            return Ok(());
        }
        let columns = if header.full { None } else { self.image_columns(event, header.bitmaps, header.columns) };
        let images = event.body.slice(header.images..);
        let images = if compressed {
            Bytes::from(event::mariadb_uncompress(&images).ok_or_else(|| self.malformed(event, at))?)
        } else {
            images
        };
        match &mut self.transaction {
            Some(transaction) => transaction.rows = true,
            None => {
                self.begin(at, None, 0, true)?;
                if let Some(transaction) = &mut self.transaction {
                    transaction.rows = true;
                }
            }
        }
        self.clear_passed(out)?;
        let bytes = images.len() + SLOT_BYTES;
        let rows = RowsEvent { table, kind: row_kind, columns, images, file: Arc::clone(&self.file), offset: at };
        out(Slot::Rows(rows), bytes)?;
        Ok(())
    }

    /// The same `Arc` for the same columns, so that those downstream know them again by it.
    fn image_columns(&mut self, event: &Event, bitmaps: &[u8], columns: usize) -> Option<Arc<ImageColumns>> {
        let mariadb = self.mariadb;
        let known = &mut self.tables.get_mut(&event::table_id(&event.body)?)?.columns;
        if let Some(index) = known.iter().rposition(|known| known.is(bitmaps, mariadb)) {
            return known.get(index).cloned();
        }
        if known.len() >= MOST_COLUMN_SETS {
            known.clear();
        }
        let columns = Arc::new(ImageColumns::read(bitmaps, columns, mariadb));
        known.push(Arc::clone(&columns));
        Some(columns)
    }

    /// The map of a rows event's table; `None` when it is none of ours.
    fn replicated(&self, event: &Event, at: u64) -> Result<Option<Arc<TableMap>>> {
        let table_id = event::table_id(&event.body).ok_or_else(|| self.malformed(event, at))?;
        match self.tables.get(&table_id) {
            Some(known) => Ok(known.map.clone()),
            None if table_id == DUMMY_TABLE_ID => Ok(None),
            None => Err(Error::definite(format!(
                "{}: rows of table number {table_id}, which no table map before them describes",
                self.place(at)
            ))
            .hint("the start position may be inside a transaction: use one that SHOW BINARY LOG STATUS reported")),
        }
    }

    pub(super) fn partial_update(&self, event: &Event, at: u64) -> Result<()> {
        match self.replicated(event, at)? {
            None => Ok(()),
            Some(table) => Err(Error::definite(format!(
                "{}: an update of table {} holds only parts of its JSON values",
                self.place(at),
                table.name
            ))
            .hint("SET GLOBAL binlog_row_value_options = '' at the source, reconnect its clients, then start a new job with startup: initial")),
        }
    }
}
