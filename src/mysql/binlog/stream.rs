//! One connection that receives the binlog: what is said to the server before, how the stream is asked for, and
//! each event checked and brought into the follower's form.
//!
//! A log file's first event says whether its events end with a checksum. The events of a compressed transaction, which
//! follow the event that has them, do not.

use std::time::Duration;

use bytes::{Buf as _, Bytes};
use mysql_async::{DriverError, ServerError};
use mysql_common::binlog::BinlogCtx;
use mysql_common::binlog::consts::BinlogVersion;
use mysql_common::binlog::events::{FormatDescriptionEvent, GtidEvent};
use mysql_common::io::ParseBuf;
use mysql_common::packets::BinlogDumpFlags;
use mysql_common::packets::binlog_request::BinlogRequest;

use super::event::{self, HEADER, kind};
use super::follower::{Event, MysqlGtid};
use super::payload::Payload;
use crate::mysql::connect::{Flavor, Session as _};
use crate::mysql::position::{Gtid, GtidSet, Position, WAYS_ON};
use crate::mysql::wire::Connection;
use crate::ring::Budget;
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
    /// What a compressed transaction counts against.
    pub(super) budget: Option<&'a Budget>,
}

pub(super) struct Stream {
    connection: Connection,
    server_id: u32,
    budget: Option<Budget>,
    /// The present file's events end with a checksum.
    checksums: bool,
    /// A compressed transaction whose events come next.
    payload: Option<Payload>,
}

impl Stream {
    /// Turns a connection into a stream of events.
    pub(super) async fn open(mut connection: Connection, request: &Request<'_>) -> Result<Stream> {
        let failed = |error| server_error(error, request.server_id);
        for statement in preparation(request) {
            connection.rows(&statement).await.map_err(failed)?;
        }
        connection.register(request.server_id, request.replica_host).await.map_err(failed)?;
        let mut dump = BinlogRequest::new(request.server_id);
        if request.to_end {
            dump = dump.with_flags(BinlogDumpFlags::BINLOG_DUMP_NON_BLOCK);
        }
        if request.by_gtid {
            // MariaDB was told by `@slave_connect_state`.
            if request.flavor == Flavor::Mysql {
                dump = dump.with_use_gtid(true);
                if let Some(GtidSet::Mysql(gtids)) = &request.from.gtids {
                    dump = dump.with_sids(gtids.sids()?);
                }
            }
        } else {
            dump = dump.with_filename(request.from.file.as_bytes()).with_pos(first_offset(request.from));
        }
        connection.dump(&dump).await.map_err(failed)?;
        let budget = request.budget.cloned();
        Ok(Stream { connection, server_id: request.server_id, budget, checksums: false, payload: None })
    }

    /// The next event; `None` at the end of a stream `to_end`, or when the server ended it. `here` says where it is, for
    /// errors. A call that is dropped loses nothing.
    pub(super) async fn next(&mut self, here: impl Fn() -> String) -> Result<Option<Event>> {
        if let Some(event) = self.next_ahead(&here)? {
            return Ok(Some(event));
        }
        let packet = self.connection.event().await.map_err(|error| server_error(error, self.server_id))?;
        packet.map_or(Ok(None), |packet| self.take(packet, &here))
    }

    /// The next event, if nothing has to be read for it.
    pub(super) fn next_ahead(&mut self, here: &impl Fn() -> String) -> Result<Option<Event>> {
        if let Some(payload) = &mut self.payload {
            let event = payload.take().map_err(|_| cannot_expand(&here()))?;
            if payload.is_done() {
                self.payload = None;
            }
            return parse(event, Origin::Payload, here).map(Some);
        }
        let packet = self.connection.event_ahead().map_err(|error| server_error(error, self.server_id))?;
        packet.map_or(Ok(None), |packet| self.take(packet, here))
    }

    fn take(&mut self, packet: Bytes, here: &impl Fn() -> String) -> Result<Option<Event>> {
        let event = parse(packet, Origin::Log { checksums: &mut self.checksums }, here)?;
        if event.kind == kind::TRANSACTION_PAYLOAD {
            let payload = Payload::open(&event.body, self.budget.as_ref()).map_err(|_| cannot_expand(&here()))?;
            self.payload = (!payload.is_done()).then_some(payload);
        }
        Ok(Some(event))
    }
}

/// The offset that is asked for. The request has 32 bits for it; for one that needs more, the file is read from
/// its start.
pub(super) fn first_offset(from: &Position) -> u64 {
    if from.offset > u64::from(u32::MAX) { 4 } else { from.offset.max(4) }
}

fn preparation(request: &Request<'_>) -> Vec<String> {
    let period = request.heartbeat.as_nanos();
    let mut statements = vec![
        // The older names are read by every server, the newer win where they are known.
        format!("SET @master_heartbeat_period = {period}, @source_heartbeat_period = {period}"),
        // We read checksums: a server that is not told so refuses to send a log that has them.
        "SET @master_binlog_checksum = @@GLOBAL.binlog_checksum, @source_binlog_checksum = @@GLOBAL.binlog_checksum"
            .to_owned(),
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

/// Where an event was found.
pub(super) enum Origin<'a> {
    Log { checksums: &'a mut bool },
    Payload,
}

/// Checks an event and takes it apart, without a copy.
pub(super) fn parse(mut bytes: Bytes, origin: Origin<'_>, here: &impl Fn() -> String) -> Result<Event> {
    let damaged = |what: &str| {
        Error::definite(format!("{}: {what}", here())).hint(
            "the log is damaged on the server's disk or on its way: compare with mysqlbinlog --verify-binlog-checksum",
        )
    };
    let Some(header) = bytes.first_chunk::<HEADER>().copied() else {
        return Err(damaged("an event is shorter than its header"));
    };
    let mut event = event::header(&header);
    if event.size as usize != bytes.len() {
        return Err(damaged(&format!(
            "the event of type {} has {} bytes and should have {}",
            event.kind,
            bytes.len(),
            event.size
        )));
    }
    let wrong = |kind: u8| damaged(&format!("the checksum of the event of type {kind} is wrong"));
    match origin {
        Origin::Payload => event.inner = true,
        Origin::Log { checksums } if event.kind == kind::FORMAT_DESCRIPTION => {
            *checksums = false;
            // An algorithm, and room for a checksum that is there whatever the algorithm.
            if event::tells_checksums(&bytes[HEADER..]) && bytes.len() >= HEADER + 5 {
                *checksums = bytes[bytes.len() - 5] == event::CRC32;
                if *checksums && !ends_with_checksum(&bytes) {
                    return Err(wrong(event.kind));
                }
                bytes.truncate(bytes.len() - 5);
            }
        }
        Origin::Log { checksums } => {
            // MariaDB puts one on a stream's first event, a rotation, before the event that announces checksums.
            let maybe = event.kind == kind::ROTATE && !*checksums;
            let right = (*checksums || maybe) && ends_with_checksum(&bytes);
            if *checksums && !right {
                return Err(wrong(event.kind));
            }
            if right {
                bytes.truncate(bytes.len() - 4);
            }
        }
    }
    bytes.advance(HEADER);
    event.body = bytes;
    if matches!(event.kind, kind::GTID | kind::ANONYMOUS_GTID | kind::GTID_TAGGED) {
        let gtid = gtid(event.kind, &event.body);
        event.gtid =
            Some(gtid.map_err(|error| {
                Error::definite(format!("{}: the GTID event is malformed", here())).caused_by(error)
            })?);
    }
    Ok(event)
}

fn ends_with_checksum(event: &[u8]) -> bool {
    event.split_last_chunk::<4>().is_some_and(|(event, stored)| crc32fast::hash(event) == u32::from_le_bytes(*stored))
}

fn gtid(kind: u8, body: &[u8]) -> std::io::Result<MysqlGtid> {
    // What the form depends on is the kind alone.
    let format = FormatDescriptionEvent::new(BinlogVersion::Version4);
    let parsed: GtidEvent = ParseBuf(body).parse(BinlogCtx::new(body.len(), &format, kind))?;
    let named = kind != kind::ANONYMOUS_GTID;
    let gtid = named.then(|| Gtid::Mysql {
        server: parsed.sid(),
        tag: parsed.tag().map(ToString::to_string).unwrap_or_default(),
        number: parsed.gno(),
    });
    Ok(MysqlGtid { gtid, committed_at: parsed.immediate_commit_timestamp() })
}

pub(super) fn cannot_expand(place: &str) -> Error {
    Error::definite(format!("{place}: a compressed transaction cannot be expanded"))
        .hint("the log may be damaged: compare with mysqlbinlog at the source")
}

/// Says what a failure on the way to the binlog means: the network's are transient, the server's refusals not.
fn server_error(error: mysql_async::Error, server_id: u32) -> Error {
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
        mysql_async::Error::Driver(DriverError::PacketTooLarge) => {
            Error::definite("the source sent an event that is larger than the protocol allows").caused_by(error)
        }
        _ => Error::transient("the binlog connection failed").caused_by(error),
    }
}

/// Error 1236 is the dump thread's for everything; its text tells what it is.
fn refused(server: &ServerError, server_id: u32) -> Error {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// An event of a file, with its checksum.
    fn event(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut event = vec![0; HEADER];
        event[4] = kind;
        event.extend_from_slice(body);
        let size = event.len() as u32 + 4;
        event[9..13].copy_from_slice(&size.to_le_bytes());
        let checksum = crc32fast::hash(&event);
        event.extend_from_slice(&checksum.to_le_bytes());
        event
    }

    fn read(event: &[u8], checksums: &mut bool) -> Result<Event, String> {
        let parsed = parse(Bytes::copy_from_slice(event), Origin::Log { checksums }, &|| "binlog b.1:4".to_owned());
        parsed.map_err(|error| error.to_string())
    }

    fn description(version: &str, algorithm: &[u8]) -> Vec<u8> {
        let mut body = vec![4, 0];
        body.extend_from_slice(version.as_bytes());
        body.resize(57 + 40, 0);
        body.extend_from_slice(algorithm);
        event(kind::FORMAT_DESCRIPTION, &body)
    }

    #[test]
    fn a_files_first_event_tells_whether_events_end_with_a_checksum() {
        let mut checksums = false;
        let xid = event(kind::XID, b"12345678");
        for (algorithm, length) in [(1, 8), (0, 12), (1, 8)] {
            let body = read(&description("9.7.0", &[algorithm]), &mut checksums).unwrap().body;
            assert_eq!(body.len(), 57 + 40);
            assert_eq!(read(&xid, &mut checksums).unwrap().body.len(), length);
        }
        // One of a server that knows none has neither algorithm nor checksum.
        let mut old = description("5.5.62", &[]);
        old.truncate(old.len() - 4);
        let size = old.len() as u32;
        old[9..13].copy_from_slice(&size.to_le_bytes());
        assert_eq!(read(&old, &mut checksums).unwrap().body.len(), 57 + 40);
        assert!(!checksums);
    }

    #[test]
    fn a_byte_that_changed_on_the_way_is_found() {
        let mut checksums = true;
        for whole in [event(kind::XID, b"12345678"), description("10.11.19-MariaDB", &[1])] {
            read(&whole, &mut checksums).unwrap();
            for at in (0..whole.len()).filter(|at| ![4, 9, 10, 11, 12].contains(at)) {
                let mut damaged = whole.clone();
                damaged[at] ^= 1;
                // A description whose algorithm or version was hit may tell that there is no checksum.
                if whole[4] == kind::FORMAT_DESCRIPTION && (at == whole.len() - 5 || (21..71).contains(&at)) {
                    continue;
                }
                let error = read(&damaged, &mut true).unwrap_err();
                assert!(error.starts_with("binlog b.1:4: the checksum of the event of type"), "{at}: {error}");
            }
        }
        let error = read(&event(kind::XID, b"12345678")[..20], &mut checksums).unwrap_err();
        assert!(error.contains("has 20 bytes and should have 31"), "{error}");
    }

    #[test]
    fn a_rotation_before_all_others_may_have_a_checksum() {
        let with = event(kind::ROTATE, b"\x04\0\0\0\0\0\0\0binlog.000002");
        let mut without = with[..with.len() - 4].to_vec();
        let size = without.len() as u32;
        without[9..13].copy_from_slice(&size.to_le_bytes());
        for bytes in [with, without] {
            let rotate = read(&bytes, &mut false).unwrap();
            assert_eq!(event::rotate(&rotate.body), Some(("binlog.000002", 4)));
        }
    }

    #[test]
    fn the_dump_threads_refusals_are_told_apart() {
        let error = |code, message: &str| {
            let error = ServerError { code, message: message.to_owned(), state: "HY000".into() };
            server_error(error.into(), 77)
        };
        for (code, message, said) in [
            (1236, "Could not find first log file name in binary log index file", "no longer has the binlog"),
            (1236, "Cannot replicate because the source purged required binary logs.", "no longer has the binlog"),
            (1236, "A replica with the same server_uuid/server_id as this replica has connected", "server_id 77"),
            (4052, "A slave with the same server_uuid/server_id as this slave has connected", "server_id 77"),
            (1236, "log event entry exceeded max_allowed_packet; Increase max_allowed_packet on source", "SET GLOBAL"),
            (1236, "Replica has more GTIDs than the source has", "check the position"),
            (1227, "Access denied; you need (at least one of) the REPLICATION SLAVE privilege(s)", "GRANT REPLICATION"),
        ] {
            let error = error(code, message);
            assert!(!error.is_transient() && error.to_string().contains(said), "{error}");
        }
        assert!(error(1053, "Server shutdown in progress").is_transient());
        assert!(server_error(DriverError::PacketOutOfOrder.into(), 1).is_transient());
        assert!(!server_error(DriverError::PacketTooLarge.into(), 1).is_transient());
    }
}
