//! A definition, and a place of the log at which it holds.
//!
//! Where two looks at the catalogue show the same, nothing has happened to the table between them, so the definition holds at
//! every place that the log came to in between. One thing is in the way, on a MySQL without GTIDs: a statement is in the log
//! before the catalogue shows it (a semi-synchronous source waits for its replicas in between), and the log's end lies behind
//! it. But it holds its lock on the table until everybody can see what it did. So whoever gets a lock, behind the place,
//! is shown by the second look what all statements before the place did ([`shows`]). MySQL's set of GTIDs has only what can
//! be seen, and MariaDB's catalogue waits for the lock by itself.

use mysql_async::Conn;

use super::table;
use crate::Result;
use crate::config::NoKeyTables;
use crate::mysql::connect::{Flavor, ServerInfo, Session as _, source_error};
use crate::mysql::position::{self, Position};
use crate::schema::{Table, TableName};

/// Tables that are looked at by one statement.
const AT_ONCE: usize = 50;
/// Seconds that a statement's end is waited for.
const PATIENCE: u32 = 60;
/// There is no such table.
const NO_TABLE: u16 = 1146;

/// Reads one table's definition with a place at which it holds. `None`: there was no such table.
///
/// # Errors
/// As [`table`].
pub async fn table_at(
    conn: &mut Conn,
    info: &ServerInfo,
    name: &TableName,
    no_key: NoKeyTables,
) -> Result<(Option<Table>, Position)> {
    loop {
        let first = table(conn, info, name, no_key).await?;
        let at = position::current(conn, info.flavor).await?;
        if first.is_some() && !shows(conn, info, &[name]).await? {
            continue;
        }
        let second = table(conn, info, name, no_key).await?;
        if first == second {
            return Ok((second, at));
        }
    }
}

/// Returns when the catalogue shows all that statements in the log have done to the tables. `false`: one of them is gone.
///
/// # Errors
/// Transient: the connection; a statement that does not end.
pub async fn shows(conn: &mut Conn, info: &ServerInfo, tables: &[&TableName]) -> Result<bool> {
    if info.flavor != Flavor::Mysql || info.gtids {
        return Ok(true);
    }
    let what = "waiting for the end of a statement that changes a table";
    let limit = format!("SET SESSION lock_wait_timeout = {PATIENCE}");
    conn.rows(&limit).await.map_err(|error| source_error(what, error))?;
    for some in tables.chunks(AT_ONCE) {
        let looks: Vec<String> = some.iter().map(|name| format!("(SELECT 1 FROM {} LIMIT 0)", name.quoted())).collect();
        match conn.rows(&looks.join(" UNION ALL ")).await {
            Ok(_) => {}
            Err(mysql_async::Error::Server(error)) if error.code == NO_TABLE => return Ok(false),
            Err(error) => return Err(source_error(what, error)),
        }
    }
    Ok(true)
}
