//! Reading one chunk: one SELECT, whose rows are handed over page by page as they arrive.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row, Value};

use super::key::range;
use super::table::read_error;
use super::{Chunk, SnapshotTable};
use crate::Result;

/// When a page is full. One row more than `bytes` may be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit {
    pub rows: usize,
    pub bytes: usize,
}

/// Reads `chunk` and gives `on_page` each page's rows and their size in bytes; it waits for `on_page` before it reads on,
/// and the server waits in TCP. A row has all of the table's columns in its order ([`select_expression`] of each), then the key's.
/// Returns the number of rows.
///
/// The connection must be prepared by [`prepare_session`]. The chunk is one statement and so one consistent
/// picture; reading it again gives the rows as they are then.
///
/// # Errors
/// Those of the connection and of `on_page`. The connection must not be used again after one: the rest of
/// the rows may still be on their way.
///
/// [`select_expression`]: super::select_expression
/// [`prepare_session`]: super::prepare_session
pub async fn read_chunk(
    conn: &mut Conn,
    table: &SnapshotTable,
    chunk: &Chunk,
    limit: PageLimit,
    on_page: impl AsyncFnMut(Vec<Row>, usize) -> Result<()>,
) -> Result<u64> {
    let clause = range(&table.key, chunk.lower.as_ref(), chunk.upper.as_ref())?;
    read_rows(conn, table, &clause, limit, on_page).await
}

/// Like [`read_chunk`], for the rows that a WHERE clause selects.
pub(crate) async fn read_rows(
    conn: &mut Conn,
    table: &SnapshotTable,
    clause: &str,
    limit: PageLimit,
    mut on_page: impl AsyncFnMut(Vec<Row>, usize) -> Result<()>,
) -> Result<u64> {
    let failed = |error| read_error(&table.name, error);
    // No order is asked for: none is needed, the index gives its own, and nothing is ever sorted.
    let statement = format!("SELECT {} FROM {}{clause}{}", table.select, table.source(), table.lock);
    let prepared = conn.prep(statement).await.map_err(failed)?;
    let mut total = 0;
    {
        let mut result = conn.exec_iter(&prepared, ()).await.map_err(failed)?;
        let (mut page, mut bytes) = (Vec::new(), 0);
        while let Some(row) = result.next().await.map_err(failed)? {
            total += 1;
            bytes += row_bytes(&row);
            page.push(row);
            if page.len() >= limit.rows.max(1) || bytes >= limit.bytes {
                on_page(std::mem::take(&mut page), std::mem::take(&mut bytes)).await?;
            }
        }
        if !page.is_empty() {
            on_page(page, bytes).await?;
        }
    }
    conn.close(prepared).await.map_err(failed)?;
    Ok(total)
}

/// What a row takes in memory.
fn row_bytes(row: &Row) -> usize {
    let values = (0..row.len()).filter_map(|index| row.as_ref(index));
    values.map(|value| size_of::<Value>() + if let Value::Bytes(bytes) = value { bytes.len() } else { 0 }).sum()
}
