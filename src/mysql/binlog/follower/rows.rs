//! Table maps and rows events: only the replicated tables' are looked into, and their images are left as they are.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::super::event::{self, kind};
use super::super::partial_json::{self, Problem};
use super::super::{ColumnBits, ImageColumns, RowsEvent, RowsKind, Slot, TableMap};
use super::{Event, Follower, KnownTable, Out, SLOT_BYTES, Stop};
use crate::mysql::wire::SLICED;
use crate::schema::TableName;
use crate::{Error, Result};

/// "No rows, the statement ends here."
const DUMMY_TABLE_ID: u64 = 0x00ff_ffff;

/// Sets of columns that are remembered of one table.
const MOST_COLUMN_SETS: usize = 64;

/// Images of this size fill most of the buffer that they came in, out of a compressed transaction too.
const OWN_BUFFER: usize = 256 << 10;
/// Size of the pieces of memory that small events' images share.
const KEPT_TOGETHER: usize = 128 << 10;

/// How a rows event's images are written.
#[derive(Clone, Copy)]
enum Form {
    Plain,
    Compressed,
    PartialJson,
}

impl Follower {
    pub(super) fn table_map(&mut self, event: &Event, at: u64) -> Result<()> {
        // Almost all of them were seen before, and those are not looked into again.
        let known = event::table_id(&event.body).and_then(|table_id| self.tables.get(&table_id));
        if known.is_some_and(|known| known.body == event.body) {
            return Ok(());
        }
        let (table_id, database, table) = TableMap::peek(&event.body).ok_or_else(|| self.malformed(event, at))?;
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
        let (row_kind, version, form) = match event.kind {
            kind::WRITE_ROWS_V1 => (RowsKind::Insert, 1, Form::Plain),
            kind::UPDATE_ROWS_V1 => (RowsKind::Update, 1, Form::Plain),
            kind::DELETE_ROWS_V1 => (RowsKind::Delete, 1, Form::Plain),
            kind::WRITE_ROWS => (RowsKind::Insert, 2, Form::Plain),
            kind::UPDATE_ROWS => (RowsKind::Update, 2, Form::Plain),
            kind::DELETE_ROWS => (RowsKind::Delete, 2, Form::Plain),
            kind::PARTIAL_UPDATE_ROWS => (RowsKind::Update, 2, Form::PartialJson),
            kind::MARIADB_WRITE_ROWS_COMPRESSED_V1 => (RowsKind::Insert, 1, Form::Compressed),
            kind::MARIADB_UPDATE_ROWS_COMPRESSED_V1 => (RowsKind::Update, 1, Form::Compressed),
            kind::MARIADB_DELETE_ROWS_COMPRESSED_V1 => (RowsKind::Delete, 1, Form::Compressed),
            kind::MARIADB_WRITE_ROWS_COMPRESSED => (RowsKind::Insert, 2, Form::Compressed),
            kind::MARIADB_UPDATE_ROWS_COMPRESSED => (RowsKind::Update, 2, Form::Compressed),
            _ => (RowsKind::Delete, 2, Form::Compressed),
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
        let images = match form {
            Form::Plain if !event.inner && event.size as usize > SLICED => images,
            Form::Plain => self.keep(images),
            Form::Compressed => {
                Bytes::from(event::mariadb_uncompress(&images).ok_or_else(|| self.malformed(event, at))?)
            }
            Form::PartialJson => {
                let (before, after) = header.bitmaps.split_at(header.bitmaps.len() / 2);
                let whole = partial_json::whole(&table, &ColumnBits::new(before), &ColumnBits::new(after), &images);
                Bytes::from(whole.map_err(|problem| self.not_whole(event, at, &table, problem))?)
            }
        };
        let transaction = match &mut self.transaction {
            Some(transaction) => transaction,
            None => self.begin(at, None, 0, true)?,
        };
        let first = !std::mem::replace(&mut transaction.rows, true);
        let (xa, gtid) = (transaction.xa, transaction.gtid.clone());
        self.clear_passed(out)?;
        let bytes = images.len() + SLOT_BYTES;
        let event =
            RowsEvent { table, kind: row_kind, columns, images, file: Arc::clone(&self.file), offset: at, gtid };
        out(if xa { Slot::XaRows { first, event } } else { Slot::Rows(event) }, bytes)?;
        Ok(())
    }

    /// The images of an event that may be a slice, in memory that holds nothing else for long. They came as a slice of a buffer that may be many times as
    /// large, most of it not ours; the budget counts only the images. Those of small events lie together, for an
    /// allocation each would cost more than the copy.
    fn keep(&mut self, images: Bytes) -> Bytes {
        if images.len() >= OWN_BUFFER {
            return images;
        }
        if images.len() > KEPT_TOGETHER / 8 {
            return Bytes::copy_from_slice(&images);
        }
        if self.kept.capacity() - self.kept.len() < images.len() {
            self.kept = BytesMut::with_capacity(KEPT_TOGETHER);
        }
        self.kept.extend_from_slice(&images);
        self.kept.split().freeze()
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

    /// What keeps changes of JSON values from being applied.
    fn not_whole(&self, event: &Event, at: u64, table: &TableMap, problem: Problem) -> Error {
        let column = |index: usize| match table.columns().get(index).and_then(|column| column.name.as_deref()) {
            Some(name) => format!("column {name}"),
            None => format!("column number {}", index + 1),
        };
        match problem {
            Problem::Malformed => self.malformed(event, at),
            Problem::NoDocument(index) => Error::definite(format!(
                "{}: an update of table {}, {}, holds only changes of a JSON value, and its row image lacks the value before them",
                self.place(at),
                table.name,
                column(index)
            ))
            .hint(
                "SET GLOBAL binlog_row_value_options = '', or SET GLOBAL binlog_row_image = 'FULL', at the source, connect its \
                 clients anew, then start a new job (another `name`) with startup: initial",
            ),
            Problem::Unfit(index, reason) => {
                Error::definite(format!("{}: table {}, {}: {reason}", self.place(at), table.name, column(index)))
                    .hint("the log may be damaged: compare with mysqlbinlog at the source")
            }
        }
    }
}
