//! The copy of a table without a key: one SELECT of a transaction that sees it as it was at one place of the log.
//!
//! ```text
//! stream   ───S  stands still  S──────────P───────────────────────▶
//!             │   picture of P │ left out │ parked …   all in ─▶ numbered, sent
//! copier      └────────────────┘ rows 0, 1, 2, … go in ──┘
//! ```
//! See [`crate::apply::join`] for why that is exact.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{Came, Copier, MOST_ROWS, gone};
use crate::apply::join::{Errand, Finish, PartRead, Stands, Still, Watched, Watching, Whole, WholeRows};
use crate::mysql::catalog;
use crate::mysql::position::Position;
use crate::mysql::preflight;
use crate::mysql::snapshot::{self, ChunkPlanner, SnapshotPlan, SnapshotTable};
use crate::mysql::wire::{Connection, KeptRow, Page};
use crate::schema::{ColumnType, Table, TableName};
use crate::{Error, Result, step};

/// So long the stream stands still at most while the picture is taken.
const STILL: Duration = Duration::from_secs(10);

/// What a transaction sees.
struct Picture {
    connection: Connection,
    place: Position,
    table: Arc<SnapshotTable>,
}

impl Copier {
    /// Copies a table without a key to its end.
    pub(super) async fn copy_whole(&self, table: &TableName, watched: &Watched) -> Result<Came> {
        let mut number = watched.number;
        let mut pauses = self.patience.pauses();
        loop {
            // Of this run or an earlier one.
            if let Some(until) = self.store.copied_at()?.remove(table) {
                let name = table.clone();
                if self.ask(|reply| Errand::Finish(Finish { table: name, number, until, reply })).await? {
                    return Ok(Came::ToItsEnd);
                }
            }
            let name = table.clone();
            let begun = match self.ask(|reply| Errand::Anew { table: name, reply }).await? {
                Watching::Begun(begun) => begun,
                Watching::Gone => return Ok(Came::ToItsEnd),
                Watching::Waits(number) => {
                    self.waits(table, number);
                    return Ok(Came::Nowhere);
                }
            };
            number = begun.number;
            let read = async {
                let picture = self.picture(&begun).await?;
                self.read_picture(picture, &begun).await
            };
            match read.await {
                Ok(true) => pauses.reset(),
                // There is another copy, or none.
                Ok(false) => return Ok(Came::ToItsEnd),
                Err(error) => {
                    if !error.is_transient() {
                        // A transaction that waits for this copy goes on: the stream may have to come to a statement behind it.
                        let name = table.clone();
                        self.ask(|reply| Errand::Anew { table: name, reply }).await?;
                    }
                    self.failed(table, number, error, &mut pauses).await?;
                }
            }
        }
    }

    /// Sees the table as it is at one place, which the flusher knows from then on.
    async fn picture(&self, begun: &Watched) -> Result<Option<Picture>> {
        let source = &begun.mapping.source;
        let mut connection = self.connection().await?;
        preflight::check_engine(&mut connection, &source.name).await?;
        let described = SnapshotTable::describe(&mut connection, source).await?;
        let mut pauses = self.patience.pauses();
        loop {
            let (table, number) = (source.name.clone(), begun.number);
            let stands = self.ask(|reply| Errand::Still(Still { table, number, reply })).await?;
            let Some(Stands { at, tell }) = stands else { return Ok(None) };
            let taken = async {
                self.until_visible(&mut connection, &at).await?;
                let taken = snapshot::at_one_place(&self.connect, &at, self.server.flavor, &described).await?;
                if !taken.1.reached(&at) {
                    return Err(Error::transient(format!(
                        "table {} can be read as it is at {}, and the log has been read up to {at}",
                        source.name, taken.1
                    )));
                }
                tell.send(taken.1.clone()).map_err(|_| gone())?;
                Ok(taken)
            };
            let too_slow =
                || Error::transient(format!("table {}: the source takes too long for a picture", source.name));
            let taken = timeout(STILL, taken).await.unwrap_or_else(|_| Err(too_slow()));
            // It goes on reading, if it was not told.
            drop(tell);
            match taken {
                Ok((connection, place)) => {
                    self.holds(begun).await?;
                    self.begins(&described)?;
                    return Ok(Some(Picture { connection, place, table: described.into() }));
                }
                Err(error) if error.is_transient() => self.pause(&error, pauses.take()).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// What is read is what the stream's definition says. No statement changes the table while the picture's transaction is
    /// open, so this is said of what the picture shows; where it is not so, the stream has not come to the statement.
    async fn holds(&self, begun: &Watched) -> Result<()> {
        let source = &begun.mapping.source;
        let mut connection = self.connect.sql(None).await?;
        let now = catalog::table(&mut connection, &self.server, &source.name, self.no_key).await?;
        let shape = |table: &Table| -> Vec<(String, ColumnType)> {
            table.columns.iter().map(|column| (column.name.clone(), column.ty.clone())).collect()
        };
        if now.is_some_and(|now| shape(&now) == shape(source)) {
            return Ok(());
        }
        Err(Error::definite(format!(
            "table {} has another definition at the source than the log tells",
            source.name
        ))
        .hint("leave it out with source.excludeTables, start the job, and select it again: then its definition is read anew"))
    }

    /// Sends the rows as they come. `false`: there is no such copy any more, or it has to begin anew.
    async fn read_picture(&self, picture: Option<Picture>, begun: &Watched) -> Result<bool> {
        let Some(Picture { mut connection, place, table }) = picture else { return Ok(false) };
        let mapping = &begun.mapping;
        let plan = SnapshotPlan::new(mapping, &self.values)?;
        let Some(chunk) = ChunkPlanner::new(Arc::clone(&table)).next(&mut connection, u64::MAX).await? else {
            return Err(Error::definite("a table without a chunk"));
        };
        let mut parts = Parts { copier: self, begun, part: 0, copy: 0, rows: Vec::new(), bytes: 0, goes_on: true };
        let reading = snapshot::read_chunk(&mut connection, &table, &chunk, plan.select(), async |page: Page| {
            self.limiter.pass().await;
            self.limiter.took(page.count() as u64, page.size() as u64);
            for row in page.kept_rows() {
                parts.add(row).await?;
            }
            Ok(())
        });
        let read = reading.await;
        if !parts.goes_on {
            return Ok(false);
        }
        read?;
        parts.send().await?;
        step::reached("copy-read");
        connection.quit().await;
        let (table, number, rows) = (mapping.source.name.clone(), begun.number, parts.copy);
        let whole = |reply| Errand::Whole(Whole { table, number, at: place, rows, reply });
        Ok(parts.goes_on && self.ask(whole).await?)
    }
}

/// Rows on their way, some at a time.
struct Parts<'a> {
    copier: &'a Copier,
    begun: &'a Watched,
    part: u64,
    /// Rows that have been sent.
    copy: i64,
    rows: Vec<KeptRow>,
    bytes: usize,
    goes_on: bool,
}

impl Parts<'_> {
    async fn add(&mut self, row: KeptRow) -> Result<()> {
        self.bytes += row.size();
        self.rows.push(row);
        if self.rows.len() as u64 >= MOST_ROWS || self.bytes >= self.copier.budget.total() / 6 {
            self.send().await?;
        }
        Ok(())
    }

    /// # Errors
    /// Transient, when there is no such copy any more.
    async fn send(&mut self) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        let count = rows.len() as i64;
        let rows = WholeRows {
            mapping: Arc::clone(&self.begun.mapping),
            number: self.begun.number,
            attempt: self.begun.attempt,
            part: self.part,
            copy: self.copy,
            rows,
            held: self.copier.budget.hold_at_once(std::mem::take(&mut self.bytes)),
        };
        self.goes_on = self.copier.ask(|reply| Errand::Part(PartRead { rows, reply })).await?;
        self.part += 1;
        self.copy += count;
        if self.goes_on { Ok(()) } else { Err(Error::transient("the copy is given up")) }
    }
}
