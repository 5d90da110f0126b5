//! One connection that receives the binlog: what is said to the server before, how the stream is asked for, and
//! each event checked and brought into the follower's form.
//!
//! The driver joins packets, expands compressed transactions and takes the checksum off; it does not compare
//! it, so that is done here.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use mysql_async::binlog::BinlogChecksumAlg;
use mysql_async::binlog::events::{Event as DriverEvent, GtidEvent};
use mysql_async::prelude::Queryable as _;
use mysql_async::{BinlogStream, BinlogStreamRequest, Conn};

use super::event::kind;
use super::follower::{Event, MysqlGtid};
use crate::mysql::connect::Flavor;
use crate::mysql::position::{Gtid, GtidSet, Position, WAYS_ON};
use crate::{Error, Result};

/// What is asked of the server.
pub(super) struct Request<'a> {
    pub(super) flavor: Flavor,
    pub(super) server_id: u32,
    pub(super) replica_host: &'a str,
    pub(super) from: &'a Position,
    /// By the position's GTID set, else by its file and offset.
    pub(super) by_gtid: bool,
    /// Ends the stream at the end of the log.
    pub(super) to_end: bool,
    /// After how long a server with nothing to send sends a heartbeat.
    pub(super) heartbeat: Duration,
}

/// Turns a connection into a stream of events.
pub(super) async fn open(mut conn: Conn, request: &Request<'_>) -> Result<BinlogStream> {
    let failed = |error| server_error(error, request.server_id);
    for statement in preparation(request) {
        conn.query_drop(statement).await.map_err(failed)?;
    }
    let mut dump = BinlogStreamRequest::new(request.server_id).with_hostname(request.replica_host.as_bytes());
    if request.to_end {
        dump = dump.with_non_blocking();
    }
    if request.by_gtid {
        // MariaDB was told by `@slave_connect_state`.
        if request.flavor == Flavor::Mysql {
            dump = dump.with_gtid();
            if let Some(GtidSet::Mysql(gtids)) = &request.from.gtids {
                dump = dump.with_gtid_set(gtids.sids()?);
            }
        }
    } else {
        dump = dump.with_filename(request.from.file.as_bytes()).with_pos(first_offset(request.from));
    }
    conn.get_binlog_stream(dump).await.map_err(failed)
}

/// The offset that is asked for. The request has 32 bits for it; for one that needs more, the file is read from
/// its start.
pub(super) fn first_offset(from: &Position) -> u64 {
    if from.offset > u64::from(u32::MAX) { 4 } else { from.offset.max(4) }
}

fn preparation(request: &Request<'_>) -> Vec<String> {
    let period = request.heartbeat.as_nanos();
    let mut statements = vec![
        // The older name is read by every server, the newer wins where it is known.
        format!("SET @master_heartbeat_period = {period}, @source_heartbeat_period = {period}"),
        // A full ring makes us stop reading for as long as the target is away.
        "SET SESSION net_write_timeout = 3600".to_owned(),
    ];
    if request.flavor == Flavor::Mariadb {
        statements.push("SET @mariadb_slave_capability = 4".to_owned());
        if request.by_gtid {
            let gtids = request.from.gtids.as_ref().map(ToString::to_string).unwrap_or_default();
            statements.push(format!("SET @slave_connect_state = '{gtids}'"));
            statements.push("SET @slave_gtid_strict_mode = 0".to_owned());
            statements.push("SET @slave_gtid_ignore_duplicates = 0".to_owned());
        }
    }
    statements
}

/// The next event as the driver gives it; `None` at the end of a stream `to_end`, or when the server ended it.
pub(super) async fn next(stream: &mut BinlogStream, server_id: u32) -> Result<Option<DriverEvent>> {
    stream.next().await.transpose().map_err(|error| server_error(error, server_id))
}

/// Checks an event and takes it over without a copy. `here` says where it is, for errors.
pub(super) fn take(event: DriverEvent, here: impl Fn() -> String) -> Result<Event> {
    let header = event.header();
    let footer = event.footer();
    // Events out of a compressed transaction have no checksum of their own.
    let inner = !footer.get_checksum_enabled();
    let checked = matches!(footer.get_checksum_alg(), Ok(Some(BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_CRC32)));
    if let (true, false, Some(stored)) = (checked, inner, event.checksum()) {
        let computed = event.calc_checksum(BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_CRC32);
        if computed != u32::from_le_bytes(stored) {
            return Err(Error::definite(format!(
                "{}: the checksum of the event of type {} is wrong",
                here(),
                header.event_type_raw()
            ))
            .hint("the log is damaged on the server's disk or on its way: compare with mysqlbinlog --verify-binlog-checksum"));
        }
    }
    let gtid =
        match header.event_type_raw() {
            kind::GTID | kind::ANONYMOUS_GTID | kind::GTID_TAGGED => Some(gtid(&event).map_err(|error| {
                Error::definite(format!("{}: the GTID event is malformed", here())).caused_by(error)
            })?),
            _ => None,
        };
    let mut length = event.data().len();
    if header.event_type_raw() == kind::ROTATE && !checked && ends_with_checksum(&event) {
        length -= 4;
    }
    Ok(Event {
        kind: header.event_type_raw(),
        flags: header.flags_raw(),
        timestamp: header.timestamp(),
        server_id: header.server_id(),
        log_pos: header.log_pos(),
        size: header.event_size(),
        body: Bytes::from_owner(Body(event)).slice(..length),
        inner,
        gtid,
    })
}

/// MariaDB puts a checksum on a stream's first event, a rotation, before the event that announces checksums:
/// to the driver it is a part of the file's name.
fn ends_with_checksum(event: &DriverEvent) -> bool {
    let (header, data) = (event.header(), event.data());
    let Some((body, stored)) = data.split_last_chunk::<4>() else { return false };
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header.timestamp().to_le_bytes());
    hasher.update(&[header.event_type_raw()]);
    hasher.update(&header.server_id().to_le_bytes());
    hasher.update(&header.event_size().to_le_bytes());
    hasher.update(&header.log_pos().to_le_bytes());
    hasher.update(&header.flags_raw().to_le_bytes());
    hasher.update(body);
    hasher.finalize() == u32::from_le_bytes(*stored)
}

fn gtid(event: &DriverEvent) -> std::io::Result<MysqlGtid> {
    let parsed = event.read_event::<GtidEvent>()?;
    let named = event.header().event_type_raw() != kind::ANONYMOUS_GTID;
    let gtid = named.then(|| Gtid::Mysql {
        server: parsed.sid(),
        tag: parsed.tag().map(ToString::to_string).unwrap_or_default(),
        number: parsed.gno(),
    });
    Ok(MysqlGtid { gtid, committed_at: parsed.immediate_commit_timestamp() })
}

/// The driver's event as the owner of its own bytes.
struct Body(DriverEvent);

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        self.0.data()
    }
}

/// Says what a failure on the way to the binlog means: the network's are transient, the server's refusals not.
pub(super) fn server_error(error: mysql_async::Error, server_id: u32) -> Error {
    use std::io::ErrorKind;
    match &error {
        mysql_async::Error::Server(server) => match server.code {
            // The second is MariaDB's for a server_id in use.
            1236 | 4052 => refused(server, server_id),
            // Shut down, killed, too many connections, lost.
            1040 | 1053 | 1152 | 1158..=1161 | 1203 | 1205 | 1317 | 1927 | 2006 | 2013 | 3169 | 4031 => {
                Error::transient("the source ended the binlog connection").caused_by(error)
            }
            1044 | 1045 | 1142 | 1227 => Error::definite("the source does not let us read its binlog")
                .caused_by(error)
                .hint("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO the job's user"),
            _ => Error::definite("the source refused to send its binlog").caused_by(error),
        },
        // A connection cut inside a packet is of kind Other too.
        mysql_async::Error::Io(mysql_async::IoError::Io(io))
            if io.kind() == ErrorKind::InvalidData
                || (io.kind() == ErrorKind::Other && io.to_string().contains("while reading")) =>
        {
            Error::definite("the driver cannot read an event of the binlog").caused_by(error)
        }
        _ => Error::transient("the binlog connection failed").caused_by(error),
    }
}

/// Error 1236 is the dump thread's for everything; its text tells what it is.
fn refused(server: &mysql_async::ServerError, server_id: u32) -> Error {
    let text = &server.message;
    let lower = text.to_lowercase();
    let error = |what: &str| Error::definite(format!("{what} (the server says: {text})"));
    if lower.contains("same server_uuid") || lower.contains("same server_id") {
        error(&format!("another replica of the source uses server_id {server_id} and took our connection over")).hint(
            "give each job and each replica an id of its own: set source.serverId, and see SHOW REPLICAS at the source",
        )
    } else if lower.contains("purged") || lower.contains("could not find first log") || lower.contains("not found in") {
        error("the source no longer has the binlog from the job's position on").hint(WAYS_ON)
    } else if lower.contains("max_allowed_packet") {
        error("the source cannot send the next event: it is larger than max_allowed_packet, or the position is inside an event")
            .hint("SET GLOBAL max_allowed_packet = 1073741824 at the source; a start position must be one that the server reported")
    } else {
        error("the source refused to send its binlog from the job's position")
            .hint("check the position against SHOW BINARY LOGS and, with GTIDs, against @@gtid_executed at the source")
    }
}
