//! What a server says of its log: where it ends, where it begins, whether a position can still be read.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};

use super::{GtidSet, Position, order_places};
use crate::mysql::connect::{Flavor, is_transient_code};
use crate::{Error, Result};

/// A binlog file that the server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    pub file: String,
    /// In bytes; the last file grows.
    pub size: u64,
}

fn failed(what: &str, error: mysql_async::Error) -> Error {
    let error_of = match &error {
        mysql_async::Error::Server(server) if !is_transient_code(server.code) => Error::definite,
        _ => Error::transient,
    };
    let privileges = matches!(&error, mysql_async::Error::Server(server) if matches!(server.code, 1044 | 1142 | 1227));
    let made = error_of(what.to_owned()).caused_by(error);
    if privileges { made.hint("GRANT REPLICATION CLIENT ON *.* TO the job's user") } else { made }
}

fn text(row: &Row, column: usize) -> Option<String> {
    row.get_opt::<Option<String>, _>(column).and_then(std::result::Result::ok).flatten()
}

fn number(row: &Row, column: usize) -> Option<u64> {
    row.get_opt::<Option<u64>, _>(column).and_then(std::result::Result::ok).flatten()
}

/// The log's present end: everything committed before the call lies before it.
pub async fn current(conn: &mut Conn, flavor: Flavor) -> Result<Position> {
    // Renamed in 8.2, the old name gone in 8.4.
    let new_name = flavor == Flavor::Mysql && conn.server_version() >= (8, 2, 0);
    let statement = if new_name { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" };
    let row: Option<Row> =
        conn.query_first(statement).await.map_err(|error| failed("cannot ask for the binlog's position", error))?;
    let mut place = row.as_ref().and_then(|row| Some((text(row, 0)?, number(row, 1)?)));
    if flavor == Flavor::Mariadb && place.is_some() {
        place = mariadb_committed(conn).await?.or(place);
    }
    let (Some((file, offset)), Some(row)) = (place, row) else {
        return Err(Error::definite("the source writes no binlog").hint("start the server with log_bin"));
    };
    let gtids = match flavor {
        // The same row, so it is the set of exactly this place.
        Flavor::Mysql if mysql_has_gtids(conn).await? => Some(text(&row, 4).unwrap_or_default().parse()?),
        Flavor::Mysql => None,
        Flavor::Mariadb => mariadb_gtids_at(conn, &file, offset).await?,
    };
    Ok(Position { file, offset, gtids })
}

/// MariaDB's place behind the last transaction that its engines show. The end that `SHOW MASTER STATUS` tells may lie
/// behind one that is written to the log and not yet to be seen: a copy begun there would miss its rows for ever.
/// (MySQL's GTID set holds only what can be seen.)
async fn mariadb_committed(conn: &mut Conn) -> Result<Option<(String, u64)>> {
    let failed = |error| failed("cannot ask for the position of a consistent snapshot", error);
    conn.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT").await.map_err(failed)?;
    let place = mariadb_snapshot(conn).await?;
    conn.query_drop("ROLLBACK").await.map_err(failed)?;
    Ok(place)
}

/// The place between the transactions that MariaDB's open snapshot shows and those that it does not.
///
/// # Errors
/// Definite: the server writes no log.
pub(crate) async fn of_mariadb_snapshot(conn: &mut Conn) -> Result<Position> {
    let (file, offset) = mariadb_snapshot(conn).await?.ok_or_else(|| {
        Error::definite("the source tells no binlog position of a consistent snapshot")
            .hint("start the server with log_bin")
    })?;
    let gtids = mariadb_gtids_at(conn, &file, offset).await?;
    Ok(Position { file, offset, gtids })
}

async fn mariadb_snapshot(conn: &mut Conn) -> Result<Option<(String, u64)>> {
    let failed = |error| failed("cannot ask for the position of a consistent snapshot", error);
    let rows: Vec<Row> = conn.query("SHOW STATUS LIKE 'binlog\\_snapshot\\_%'").await.map_err(failed)?;
    let value = |name: &str| {
        rows.iter()
            .find(|row| text(row, 0).is_some_and(|found| found.eq_ignore_ascii_case(name)))
            .and_then(|row| text(row, 1))
            .filter(|value| !value.is_empty())
    };
    let offset = value("binlog_snapshot_position").and_then(|offset| offset.parse().ok());
    Ok(value("binlog_snapshot_file").zip(offset))
}

/// The first place that the server still has.
pub async fn oldest(conn: &mut Conn, flavor: Flavor) -> Result<Position> {
    let logs = logs(conn).await?;
    let Some(first) = logs.first() else {
        return Err(Error::definite("the source has no binlog").hint("start the server with log_bin"));
    };
    at_start_of(conn, flavor, &first.file).await
}

/// The files the server has, oldest first.
pub async fn logs(conn: &mut Conn) -> Result<Vec<Log>> {
    let rows: Vec<Row> =
        conn.query("SHOW BINARY LOGS").await.map_err(|error| failed("cannot list the source's binlogs", error))?;
    Ok(rows.iter().filter_map(|row| Some(Log { file: text(row, 0)?, size: number(row, 1)? })).collect())
}

/// The place before a file's first transaction, with the GTIDs of all that came before the file.
pub(crate) async fn at_start_of(conn: &mut Conn, flavor: Flavor, file: &str) -> Result<Position> {
    let gtids = match flavor {
        Flavor::Mysql if mysql_has_gtids(conn).await? => {
            // The file's second event lists them.
            let statement = format!("SHOW BINLOG EVENTS IN '{}' LIMIT 2", file.replace('\'', "''"));
            let rows: Vec<Row> = conn
                .query(statement)
                .await
                .map_err(|error| failed(&format!("cannot read the first events of binlog {file}"), error))?;
            let previous = rows.iter().find(|row| text(row, 2).as_deref() == Some("Previous_gtids"));
            Some(previous.and_then(|row| text(row, 5)).unwrap_or_default().parse()?)
        }
        Flavor::Mysql => None,
        Flavor::Mariadb => mariadb_gtids_at(conn, file, 4).await?,
    };
    Ok(Position { file: file.to_owned(), offset: 4, gtids })
}

async fn mysql_has_gtids(conn: &mut Conn) -> Result<bool> {
    let mode: Option<Option<String>> = conn
        .query_first("SELECT @@GLOBAL.gtid_mode")
        .await
        .map_err(|error| failed("cannot ask for gtid_mode", error))?;
    Ok(mode.flatten().is_some_and(|mode| mode.to_uppercase().starts_with("ON")))
}

async fn mariadb_gtids_at(conn: &mut Conn, file: &str, offset: u64) -> Result<Option<GtidSet>> {
    let set: Option<Option<String>> = conn
        .exec_first("SELECT BINLOG_GTID_POS(?, ?)", (file, offset))
        .await
        .map_err(|error| failed("cannot ask for the GTID position", error))?;
    set.flatten().map(|text| text.parse()).transpose()
}

/// Whether a server can be read from a position on.
#[derive(Debug)]
pub(crate) enum Serves {
    Yes,
    /// It does not have all that lies before the position.
    Lacks(Lack),
}

/// What a server lacks of that which lies before a position.
#[derive(Debug)]
pub(crate) struct Lack {
    pub(crate) missing: GtidSet,
    read: GtidSet,
    executed: GtidSet,
}

impl Lack {
    pub(crate) fn error(&self) -> Error {
        let Lack { missing, read, executed } = self;
        Error::definite(format!(
            "the source lacks transactions that the job has read: {missing}. The job has read {read}, the source has executed {executed}"
        ))
        .hint(
            "it is a replica that lags behind, or another server than before, or one that lost transactions in a failover. \
             If they will not come: compare both sides and start a new job with startup: initial",
        )
    }
}

/// Whether everything before `position` is in the server and everything behind it still in its log. If not, the error
/// says what is missing, or names the first position that the server still has.
pub async fn check(conn: &mut Conn, flavor: Flavor, position: &Position) -> Result<()> {
    match serves(conn, flavor, position).await? {
        Serves::Yes => Ok(()),
        Serves::Lacks(lack) => Err(lack.error()),
    }
}

/// The same, with what is missing told apart.
///
/// # Errors
/// Definite: the log behind the position is gone, or the position cannot be one of this server's.
pub(crate) async fn serves(conn: &mut Conn, flavor: Flavor, position: &Position) -> Result<Serves> {
    match (&position.gtids, flavor) {
        (Some(gtids), Flavor::Mysql) if mysql_has_gtids(conn).await? => mysql_serves(conn, gtids).await,
        (Some(gtids), Flavor::Mariadb) => mariadb_serves(conn, gtids).await,
        _ if position.file.is_empty() => Ok(Serves::Yes),
        _ => check_file(conn, position).await.map(|()| Serves::Yes),
    }
}

fn lacks(read: &GtidSet, executed: GtidSet) -> Serves {
    let missing = read.subtract(&executed);
    if missing.is_empty() { Serves::Yes } else { Serves::Lacks(Lack { missing, read: read.clone(), executed }) }
}

async fn mysql_serves(conn: &mut Conn, gtids: &GtidSet) -> Result<Serves> {
    let sets: Option<(String, String)> = conn
        .query_first("SELECT @@GLOBAL.gtid_purged, @@GLOBAL.gtid_executed")
        .await
        .map_err(|error| failed("cannot ask for gtid_purged", error))?;
    let (purged, executed) = sets.unwrap_or_default();
    let unread = purged.parse::<GtidSet>()?.subtract(gtids);
    if !unread.is_empty() {
        let first = oldest(conn, Flavor::Mysql).await?;
        let what = format!("transactions {unread}, which the job has not read (it has read {gtids}),");
        return Err(gone(&what, &first));
    }
    Ok(lacks(gtids, executed.parse()?))
}

async fn mariadb_serves(conn: &mut Conn, gtids: &GtidSet) -> Result<Serves> {
    let first = oldest(conn, Flavor::Mariadb).await?;
    if let Some(before) = &first.gtids {
        // A domain that is further at the log's beginning than we are.
        let unread = before.subtract(gtids);
        if !unread.is_empty() {
            return Err(gone(&format!("transactions up to {unread}, and the job has read {gtids},"), &first));
        }
    }
    let executed: Option<String> = conn
        .query_first("SELECT @@GLOBAL.gtid_binlog_pos")
        .await
        .map_err(|error| failed("cannot ask for gtid_binlog_pos", error))?;
    Ok(lacks(gtids, executed.unwrap_or_default().parse()?))
}

async fn check_file(conn: &mut Conn, position: &Position) -> Result<()> {
    let logs = logs(conn).await?;
    let Some(log) = logs.iter().find(|log| log.file == position.file) else {
        let Some(first) = logs.first() else {
            return Err(Error::definite("the source has no binlog").hint("start the server with log_bin"));
        };
        let first = Position { file: first.file.clone(), offset: 4, gtids: None };
        if order_places((&position.file, 0), (&first.file, 0)) == Some(std::cmp::Ordering::Less) {
            return Err(gone(&format!("binlog {}", position.file), &first));
        }
        return Err(Error::definite(format!("the source has no binlog {}", position.file))
            .hint(format!("see SHOW BINARY LOGS at the source; its first is {}", first.file)));
    };
    if position.offset > log.size {
        return Err(Error::definite(format!(
            "binlog {} ends at {}, before the job's position {}",
            log.file, log.size, position.offset
        ))
        .hint("the source was reset or lost the end of its log: start a new job with startup: initial"));
    }
    Ok(())
}

fn gone(what: &str, first: &Position) -> Error {
    Error::definite(format!("the source has purged {what}; the first position it has is {first}")).hint(WAYS_ON)
}

/// What can be done when the log behind a job's position is gone.
pub(crate) const WAYS_ON: &str = "to copy the tables again, start a new job (another `name`, startup: initial) with empty target tables; or, if what was \
     missed does not matter, move this one: `towpath reposition JOB earliest --accept-loss`. Keep binlogs longer with \
     binlog_expire_logs_seconds";
