//! Reading one chunk: one SELECT, whose rows are handed over as they arrive.

use super::table::read_error;
use super::{Chunk, SnapshotTable};
use crate::Result;
use crate::mysql::wire::{Connection, Page};

/// Reads `chunk` and gives `on_page` its rows, some at a time: what has come together, up to 128 KB, or one longer row. It
/// waits for `on_page` before it reads on, and the server waits in TCP. A row has the columns of `select`, the SELECT's list
/// ([`SnapshotPlan::select`]). Returns the number of rows.
///
/// The connection must be prepared by [`prepare_session`]. The chunk is one statement and so one consistent
/// picture; reading it again gives the rows as they are then.
///
/// # Errors
/// Those of the connection and of `on_page`. The connection must not be used again after one: the rest of
/// the rows may still be on their way.
///
/// [`SnapshotPlan::select`]: super::SnapshotPlan::select
/// [`prepare_session`]: super::prepare_session
pub async fn read_chunk(
    conn: &mut Connection,
    table: &SnapshotTable,
    chunk: &Chunk,
    select: &str,
    on_page: impl AsyncFnMut(Page) -> Result<()>,
) -> Result<u64> {
    read_rows(conn, table, &chunk.condition(table)?, select, on_page).await
}

/// Like [`read_chunk`], for the rows that a WHERE clause selects.
pub(crate) async fn read_rows(
    conn: &mut Connection,
    table: &SnapshotTable,
    clause: &str,
    select: &str,
    mut on_page: impl AsyncFnMut(Page) -> Result<()>,
) -> Result<u64> {
    let failed = |error| read_error(&table.name, error);
    // No order is asked for: none is needed, the index gives its own, and nothing is ever sorted.
    let statement = format!("SELECT {select} FROM {}{clause}{}", table.source(), table.lock);
    let mut selecting = conn.select(&statement).await.map_err(failed)?;
    let mut total = 0;
    while let Some(page) = selecting.next().await.map_err(failed)? {
        total += page.count() as u64;
        on_page(page).await?;
    }
    Ok(total)
}
