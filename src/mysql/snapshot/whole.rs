//! A transaction that sees one table as it was at a known place of the log.
//!
//! MariaDB tells the place of a consistent snapshot (`binlog_snapshot_position`), without a lock.
//!
//! MySQL does not. There the table is held still for the moment in which both are taken:
//!
//! ```text
//! one connection   LOCK TABLES t READ ── the log's end ──────────────────────────────── UNLOCK TABLES
//! another                                                START TRANSACTION WITH
//!                                                        CONSISTENT SNAPSHOT ── SELECT … ───────────▶
//! ```
//! The lock is granted when no transaction that has written to the table is open any more: each keeps its metadata lock on the
//! table until its commit is over, in the log, in the engine and in `gtid_executed`. So all of the table's transactions up
//! to then lie before the place and are seen, and while the lock is held there are no others. Other tables' transactions
//! may fall on either side; they do not matter here.
//!
//! The lock waits for long transactions, and writers of this table wait behind it. So it is given up after
//! [`LOCK_PATIENCE`] and tried again later.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use super::table::read_error;
use super::{SnapshotTable, prepare_session};
use crate::mysql::connect::{Connect, Flavor, Session, optional};
use crate::mysql::position::{self, Position};
use crate::mysql::wire::Connection;
use crate::schema::quote;
use crate::{Error, Result};

/// How long writers of a table may wait because the lock waits for one of them.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Opens a connection, to a server that can be read from `needs` on, whose transaction sees the table as it was at the
/// position beside it.
///
/// # Errors
/// Transient: the connection's; the lock was not granted in time. Definite: the user may not lock the table.
pub async fn at_one_place(
    connect: &Connect,
    needs: &Position,
    flavor: Flavor,
    table: &SnapshotTable,
) -> Result<(Connection, Position)> {
    let name = table.name();
    let mut reader = connect.tables(Some(needs)).await?;
    prepare_session(&mut reader).await?;
    if flavor == Flavor::Mariadb {
        open(&mut reader, table).await?;
        let place = position::of_mariadb_snapshot(&mut reader).await?;
        return Ok((reader, place));
    }
    // The same server, not another one of `hosts`.
    let id = server_of(&mut reader, table).await?;
    let mut keeper = connect.tables(Some(needs)).await?;
    if server_of(&mut keeper, table).await? != id {
        return Err(Error::transient(format!("copying table {name}: two connections came to different servers")));
    }
    keeper
        .rows(&format!("SET SESSION lock_wait_timeout = {}", LOCK_PATIENCE.as_secs()))
        .await
        .map_err(|error| read_error(name, error))?;
    keeper.rows(&format!("LOCK TABLES {} READ", name.quoted())).await.map_err(|error| match error {
        mysql_async::Error::Server(server) if matches!(server.code, 1044 | 1142) => {
            Error::definite(format!("the user may not lock table {name}: {}", server.message)).hint(grant(&name.database))
        }
        mysql_async::Error::Server(server) if server.code == 1205 => Error::transient(format!(
            "table {name} is copied as it is at one moment, and for {} s there was none without an open transaction that has \
             written to it",
            LOCK_PATIENCE.as_secs()
        ))
        .hint("end long transactions on it, or copy while there are none"),
        other => read_error(name, other),
    })?;
    let place = position::current(&mut keeper, flavor).await?;
    open(&mut reader, table).await?;
    // A lock that was lost meanwhile, with its connection, shows here.
    keeper.rows("UNLOCK TABLES").await.map_err(|error| read_error(name, error))?;
    keeper.quit().await;
    Ok((reader, place))
}

async fn open(conn: &mut Connection, table: &SnapshotTable) -> Result<()> {
    // The last one has the transaction keep the table's definition as it is until its end.
    let touch = format!("SELECT 1 FROM {} LIMIT 0", table.name().quoted());
    for statement in [
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT",
        &touch,
    ] {
        conn.rows(statement).await.map_err(|error| read_error(table.name(), error))?;
    }
    Ok(())
}

async fn server_of(conn: &mut Connection, table: &SnapshotTable) -> Result<Option<String>> {
    let rows = conn.rows("SELECT @@GLOBAL.server_uuid").await.map_err(|error| read_error(table.name(), error))?;
    Ok(rows.first().and_then(|row| optional(row, 0)))
}

fn grant(database: &str) -> String {
    format!(
        "GRANT LOCK TABLES ON {}.* TO the job's user; tables without a key are locked for a moment when their copy begins",
        quote(database)
    )
}

/// Whether the user may lock tables of the database, without locking any.
///
/// # Errors
/// The connection's.
pub(crate) async fn may_lock(conn: &mut Conn, database: &str) -> Result<bool> {
    // The privilege is looked at before the table is looked for.
    let statement = format!("LOCK TABLES {}.`__towpath_no_such_table` READ", quote(database));
    match conn.query_drop(statement).await {
        Err(mysql_async::Error::Server(server)) => Ok(server.code != 1044),
        Err(error) => Err(Error::transient("asking whether tables may be locked").caused_by(error)),
        Ok(()) => {
            let unlocked = conn.query_drop("UNLOCK TABLES").await;
            unlocked.map(|()| true).map_err(|error| Error::transient("unlocking tables").caused_by(error))
        }
    }
}
