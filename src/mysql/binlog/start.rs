//! Where a job without a checkpoint begins: `startup` of the job file as a position.
//!
//! A point in time is found in two steps. The first event of each log file says when the file was begun, so
//! the file is found by bisection; then that file is read up to the first transaction that was committed at or
//! after the time. What is read is not kept, so a log of a gigabyte takes seconds.

use super::Slot;
use super::event::kind;
use super::follower::{Event, Follower, Stop, Wanted};
use super::stream::{self, Request, Stream};
use crate::config::Startup;
use crate::mysql::connect::{Connect, Flavor, Patience};
use crate::mysql::position::{self, GtidSet, Position};
use crate::{Error, Result};

/// The position that `startup` means now. For `initial` and `full` it is the present end of the log.
/// A position that the server no longer has is a definite error.
pub async fn resolve(startup: &Startup, connect: &Connect, flavor: Flavor, server_id: u32) -> Result<Position> {
    let mut conn = connect.sql(None).await?;
    let position = match startup {
        Startup::Initial | Startup::Full | Startup::Latest => return position::current(&mut conn, flavor).await,
        Startup::Earliest => return position::oldest(&mut conn, flavor).await,
        Startup::Position { file, position } => Position { file: file.clone(), offset: *position, gtids: None },
        Startup::Gtid(text) => {
            let gtids: GtidSet = text.parse()?;
            let fits = match &gtids {
                GtidSet::Mysql(_) => flavor == Flavor::Mysql,
                GtidSet::Mariadb(_) => flavor == Flavor::Mariadb,
            };
            if !fits && !gtids.is_empty() {
                return Err(Error::usage(format!("startup.gtid '{text}' is not in this server's notation"))
                    .hint("MySQL: uuid:1-5,…  MariaDB: domain-server-sequence,…"));
            }
            Position { file: String::new(), offset: 4, gtids: Some(gtids) }
        }
        Startup::Timestamp(seconds) => {
            let logs = position::logs(&mut conn).await?;
            let files: Vec<String> = logs.into_iter().map(|log| log.file).collect();
            let file = file_at(connect, flavor, server_id, &files, *seconds).await?;
            let begin = position::at_start_of(&mut conn, flavor, file).await?;
            drop(conn);
            return place_at(connect, flavor, server_id, begin, *seconds).await;
        }
    };
    position::check(&mut conn, flavor, &position).await?;
    Ok(position)
}

/// The last file that was begun before `seconds`, or the first one. One that was begun within that second may have
/// transactions of the same second in the file before it.
async fn file_at<'a>(
    connect: &Connect,
    flavor: Flavor,
    server_id: u32,
    files: &'a [String],
    seconds: i64,
) -> Result<&'a str> {
    let (mut begun_before, mut begun_after) = (0, files.len());
    while begun_after - begun_before > 1 {
        let middle = begun_before.midpoint(begun_after);
        if i64::from(begun(connect, flavor, server_id, &files[middle]).await?) < seconds {
            begun_before = middle;
        } else {
            begun_after = middle;
        }
    }
    files
        .get(begun_before)
        .map(String::as_str)
        .ok_or_else(|| Error::definite("the source has no binlog").hint("start the server with log_bin"))
}

pub(super) fn to_end(flavor: Flavor, server_id: u32, from: &Position) -> Request<'_> {
    let heartbeat = Patience::default().heartbeat();
    Request { flavor, server_id, replica_host: "", from, by_gtid: false, to_end: true, heartbeat, budget: None }
}

/// When a file was begun, in seconds since 1970.
async fn begun(connect: &Connect, flavor: Flavor, server_id: u32, file: &str) -> Result<u32> {
    let from = Position { file: file.to_owned(), offset: 4, gtids: None };
    let mut stream = Stream::open(connect.dump(None).await?, &to_end(flavor, server_id, &from)).await?;
    while let Some(event) = stream.next(|| format!("binlog {file}")).await? {
        if event.kind == kind::FORMAT_DESCRIPTION {
            return Ok(event.timestamp);
        }
    }
    Err(Error::transient(format!("binlog {file} has no first event yet")))
}

/// Behind the last transaction that was committed before `seconds`, reading from `begin` to the log's end.
async fn place_at(
    connect: &Connect,
    flavor: Flavor,
    server_id: u32,
    begin: Position,
    seconds: i64,
) -> Result<Position> {
    let follower = read_until(connect, flavor, server_id, begin, |event, _| {
        if !matches!(event.kind, kind::GTID | kind::ANONYMOUS_GTID | kind::GTID_TAGGED | kind::MARIADB_GTID) {
            return false;
        }
        let micros = event.gtid.as_ref().map_or(0, |gtid| gtid.committed_at);
        let committed = if micros > 0 { (micros / 1_000_000) as i64 } else { i64::from(event.timestamp) };
        committed >= seconds
    })
    .await?;
    Ok(follower.boundary().clone())
}

/// A place of the log together with the GTIDs before it, so that the job can go on at another server later.
pub async fn with_gtids(
    connect: &Connect,
    flavor: Flavor,
    server_id: u32,
    file: &str,
    offset: u64,
) -> Result<Position> {
    let begin = position::at_start_of(&mut connect.sql(None).await?, flavor, file).await?;
    if begin.gtids.is_none() || offset <= begin.offset {
        return Ok(Position { offset, ..begin });
    }
    let reached = |_: &Event, follower: &Follower| {
        let (at_file, at_offset) = follower.behind();
        at_file != file || at_offset >= offset
    };
    let follower = read_until(connect, flavor, server_id, begin, reached).await?;
    let boundary = follower.boundary().clone();
    if follower.is_outside() && follower.behind() == (file, offset) {
        return Ok(Position { file: file.to_owned(), offset, gtids: boundary.gtids });
    }
    Err(Error::definite(format!("{file}:{offset} is not between two transactions; the place before it is {boundary}"))
        .hint("give that place, or one that SHOW BINARY LOG STATUS or `towpath status` has shown"))
}

/// Reads from a place to the log's present end: rows and statements on the tables that are wanted, and statements on those
/// that are to be noticed.
pub async fn scan(
    connect: &Connect,
    flavor: Flavor,
    server_id: u32,
    from: &Position,
    (wanted, noticed): (Wanted, Wanted),
    out: &mut (dyn FnMut(Slot) + Send),
) -> Result<()> {
    let by_gtid = from.file.is_empty();
    let request = Request { by_gtid, ..to_end(flavor, server_id, from) };
    let mut stream = Stream::open(connect.dump(None).await?, &request).await?;
    let mut follower = Follower::new(from.clone(), wanted).noticing(noticed);
    follower.restart(!by_gtid && stream::first_offset(from) < from.offset);
    while let Some(event) = stream.next(|| follower.here()).await? {
        let sent = follower.event(&event, &mut |slot, _| {
            out(slot);
            Ok(())
        });
        match sent {
            Ok(()) | Err(Stop::Closed) => {}
            Err(Stop::Failed(error)) => return Err(error),
        }
    }
    Ok(())
}

/// Reads up to the event at which `enough` says so, or to the log's end.
async fn read_until(
    connect: &Connect,
    flavor: Flavor,
    server_id: u32,
    begin: Position,
    enough: impl Fn(&Event, &Follower) -> bool,
) -> Result<Follower> {
    let mut stream = Stream::open(connect.dump(None).await?, &to_end(flavor, server_id, &begin)).await?;
    let none_wanted = std::sync::Arc::new(|_: &crate::schema::TableName| false);
    let mut follower = Follower::new(begin.clone(), none_wanted);
    follower.restart(false);
    while let Some(event) = stream.next(|| follower.here()).await? {
        if enough(&event, &follower) {
            break;
        }
        match follower.event(&event, &mut |_, _| Ok(())) {
            Ok(()) | Err(Stop::Closed) => {}
            Err(Stop::Failed(error)) => return Err(error),
        }
    }
    Ok(follower)
}
