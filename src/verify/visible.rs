//! Transactions that are in the source's log and that nobody can see yet.
//!
//! A MySQL without GTIDs names its log's end for a place. It writes a transaction there before the engine commits it, and under
//! semi-synchronous replication a replica's word is waited for in between, for long if none comes. The job reads the log, so the
//! target may have what a SELECT at the source does not show.
//!
//! ```text
//! source's log ── T ── P ──────▶
//!                 │    └ its end, as it was asked for
//!                 └ in the log, at the target, and not to be seen
//! ```
//! Until its commit is over such a transaction keeps the locks of the rows that it has written, and its lock on their tables'
//! definitions. A reading with `LOCK IN SHARE MODE`, or a `LOCK TABLES … READ`, that is asked for behind P is granted when
//! nobody has these any more: what is read then shows everything before P. So no row of such a source is called different by
//! a reading without them ([`super::settle`], [`super::multiset`]). They are given up after [`PATIENCE`] and tried again in the next
//! round; whoever writes is held up for no longer.
//!
//! With GTIDs, and on MariaDB, the place tells what is committed, and none of this is needed.

use std::collections::HashMap;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;

use super::canonical::Cell;
use super::layout::{Layout, Row, Side};
use super::servers::{SourceReader, bytes, only};
use crate::Result;
use crate::mysql::connect::source_error;
use crate::mysql::position::Position;
use crate::mysql::snapshot::SnapshotTable;

/// How long a lock is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// A lock was not granted in time.
const LOCK_WAIT_TIMEOUT: u16 = 1205;
/// The user may not ask for it: in the database, for the table.
const DENIED: [u16; 2] = [1044, 1142];

/// Whether what is before this place, the log's end, may still be unseen.
pub(super) fn may_hide(position: &Position) -> bool {
    position.gtids.is_none()
}

/// What a lock was asked for in order to see.
pub(super) enum Look<T> {
    All(T),
    /// Why not, in words.
    Not(&'static str),
}

const HELD: &str = "transactions that have written to the table were not over";
const FORBIDDEN: &str = "the source runs without GTIDs and does not let this user lock the table for a moment (GRANT LOCK TABLES), \
                         so nobody can tell what in its log is not to be seen yet";

impl SourceReader {
    /// As `lookup`, and everything is seen that was in the log before this call.
    pub(super) async fn lookup_all<T>(
        &mut self,
        layout: &Layout,
        table: &SnapshotTable,
        keys: &[Vec<u8>],
        make: fn(&[Cell]) -> T,
    ) -> Result<Look<HashMap<Vec<u8>, T>>> {
        let Some(condition) = layout.lookup(Side::Source, keys) else { return Ok(Look::All(HashMap::new())) };
        let expressions = layout.expressions(Side::Source);
        let statement = format!("SELECT {expressions} FROM {} WHERE {condition} LOCK IN SHARE MODE", table.source());
        let patience = format!("SET SESSION innodb_lock_wait_timeout = {}", PATIENCE.as_secs());
        let mut tries = self.tries();
        loop {
            let mut conn = self.open().await?;
            let read = async {
                conn.query_drop(&patience).await?;
                conn.query::<mysql_async::Row, _>(&statement).await
            };
            match read.await {
                Ok(rows) => {
                    self.keep(conn);
                    let rows = rows.into_iter().map(|row| row.unwrap_raw().into_iter().map(bytes).collect());
                    let found = rows.map(|row| layout.read(row, Side::Source));
                    return Ok(Look::All(only(found.map(|Row { key, cells }| (key, make(&cells))).collect(), keys)));
                }
                Err(mysql_async::Error::Server(error)) if error.code == LOCK_WAIT_TIMEOUT => {
                    return Ok(Look::Not(HELD));
                }
                Err(mysql_async::Error::Server(error)) if DENIED.contains(&error.code) => {
                    return Ok(Look::Not(FORBIDDEN));
                }
                Err(error) => {
                    tries.again(source_error(format_args!("reading table {}", layout.source), error)).await?;
                }
            }
        }
    }

    /// Waits until all that has been written to the table, and is in the log, can be seen by whatever is read afterwards.
    pub(super) async fn all_is_seen(&mut self, layout: &Layout, table: &SnapshotTable) -> Result<Look<()>> {
        let mut tries = self.tries();
        loop {
            let mut conn = self.open().await?;
            let locked = async {
                conn.query_drop(format!("SET SESSION lock_wait_timeout = {}", PATIENCE.as_secs())).await?;
                conn.query_drop(format!("LOCK TABLES {} READ", table.name().quoted())).await?;
                conn.query_drop("UNLOCK TABLES").await
            };
            match locked.await {
                Ok(()) => {
                    self.keep(conn);
                    return Ok(Look::All(()));
                }
                Err(mysql_async::Error::Server(error)) if error.code == LOCK_WAIT_TIMEOUT => {
                    return Ok(Look::Not(HELD));
                }
                Err(mysql_async::Error::Server(error)) if DENIED.contains(&error.code) => {
                    return Ok(Look::Not(FORBIDDEN));
                }
                Err(error) => {
                    tries.again(source_error(format_args!("locking table {}", layout.source), error)).await?;
                }
            }
        }
    }
}
