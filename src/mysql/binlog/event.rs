//! Event bodies: what the reader needs of each, read from the bytes behind the common header and before the
//! checksum. Formats: MySQL's `libs/mysql/binlog/event`, MariaDB's `sql/log_event.cc`.
//!
//! Nothing here copies a body or trusts a length in it: `None` means that the body is not of its event's form.

use std::io::Read as _;

use bytes::Bytes;

use super::Xid;
use super::follower::Event;
use crate::mysql::position::Gtid;

/// Event type numbers, as they stand in the header.
pub(super) mod kind {
    pub(in super::super) const QUERY: u8 = 2;
    pub(in super::super) const STOP: u8 = 3;
    pub(in super::super) const ROTATE: u8 = 4;
    pub(in super::super) const INTVAR: u8 = 5;
    pub(in super::super) const APPEND_BLOCK: u8 = 9;
    pub(in super::super) const DELETE_FILE: u8 = 11;
    pub(in super::super) const RAND: u8 = 13;
    pub(in super::super) const USER_VAR: u8 = 14;
    pub(in super::super) const FORMAT_DESCRIPTION: u8 = 15;
    pub(in super::super) const XID: u8 = 16;
    pub(in super::super) const BEGIN_LOAD_QUERY: u8 = 17;
    pub(in super::super) const EXECUTE_LOAD_QUERY: u8 = 18;
    pub(in super::super) const TABLE_MAP: u8 = 19;
    pub(in super::super) const WRITE_ROWS_V1: u8 = 23;
    pub(in super::super) const UPDATE_ROWS_V1: u8 = 24;
    pub(in super::super) const DELETE_ROWS_V1: u8 = 25;
    pub(in super::super) const INCIDENT: u8 = 26;
    pub(in super::super) const HEARTBEAT: u8 = 27;
    pub(in super::super) const IGNORABLE: u8 = 28;
    pub(in super::super) const ROWS_QUERY: u8 = 29;
    pub(in super::super) const WRITE_ROWS: u8 = 30;
    pub(in super::super) const UPDATE_ROWS: u8 = 31;
    pub(in super::super) const DELETE_ROWS: u8 = 32;
    pub(in super::super) const GTID: u8 = 33;
    pub(in super::super) const ANONYMOUS_GTID: u8 = 34;
    pub(in super::super) const PREVIOUS_GTIDS: u8 = 35;
    pub(in super::super) const TRANSACTION_CONTEXT: u8 = 36;
    pub(in super::super) const VIEW_CHANGE: u8 = 37;
    pub(in super::super) const XA_PREPARE: u8 = 38;
    pub(in super::super) const PARTIAL_UPDATE_ROWS: u8 = 39;
    pub(in super::super) const TRANSACTION_PAYLOAD: u8 = 40;
    pub(in super::super) const HEARTBEAT_V2: u8 = 41;
    pub(in super::super) const GTID_TAGGED: u8 = 42;
    pub(in super::super) const MARIADB_ANNOTATE_ROWS: u8 = 160;
    pub(in super::super) const MARIADB_BINLOG_CHECKPOINT: u8 = 161;
    pub(in super::super) const MARIADB_GTID: u8 = 162;
    pub(in super::super) const MARIADB_GTID_LIST: u8 = 163;
    pub(in super::super) const MARIADB_START_ENCRYPTION: u8 = 164;
    pub(in super::super) const MARIADB_QUERY_COMPRESSED: u8 = 165;
    pub(in super::super) const MARIADB_WRITE_ROWS_COMPRESSED_V1: u8 = 166;
    pub(in super::super) const MARIADB_UPDATE_ROWS_COMPRESSED_V1: u8 = 167;
    pub(in super::super) const MARIADB_DELETE_ROWS_COMPRESSED_V1: u8 = 168;
    pub(in super::super) const MARIADB_WRITE_ROWS_COMPRESSED: u8 = 169;
    pub(in super::super) const MARIADB_UPDATE_ROWS_COMPRESSED: u8 = 170;
    pub(in super::super) const MARIADB_DELETE_ROWS_COMPRESSED: u8 = 171;
}

/// `LOG_EVENT_ARTIFICIAL_F`: made by the dump thread, not in the file.
pub(super) const FLAG_ARTIFICIAL: u16 = 0x20;
/// `LOG_EVENT_IGNORABLE_F`: who does not know the type may pass over it.
pub(super) const FLAG_IGNORABLE: u16 = 0x80;

/// MariaDB's GTID event: nothing follows that ends the group but its one statement.
const MARIADB_STANDALONE: u8 = 1;
/// The group ends with XA_PREPARE.
const MARIADB_PREPARED_XA: u8 = 64;

/// Bytes of the header that every event begins with.
pub(super) const HEADER: usize = 19;
/// The algorithm of checksums that a FORMAT_DESCRIPTION tells.
pub(super) const CRC32: u8 = 1;

/// `timestamp 4 | kind 1 | server id 4 | size 4 | offset behind it 4 | flags 2`, as an event whose body is still to come.
pub(super) fn header(bytes: &[u8; HEADER]) -> Event {
    let [a, b, c, d, kind, e, f, g, h, .., k, l, m, n, o, p] = *bytes;
    Event {
        kind,
        flags: u16::from_le_bytes([o, p]),
        timestamp: u32::from_le_bytes([a, b, c, d]),
        server_id: u32::from_le_bytes([e, f, g, h]),
        log_pos: u32::from_le_bytes([k, l, m, n]),
        size: size(bytes),
        body: Bytes::new(),
        inner: false,
        gtid: None,
    }
}

/// An event's length with its header, out of the header.
pub(super) fn size(header: &[u8; HEADER]) -> u32 {
    let [.., a, b, c, d, _, _, _, _, _, _] = *header;
    u32::from_le_bytes([a, b, c, d])
}

/// Reads little-endian fields from the front of a body.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    /// An unsigned integer of `count` bytes, at most 8.
    fn integer(&mut self, count: usize) -> Option<u64> {
        Some(self.bytes(count)?.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    /// MySQL's length-encoded integer.
    fn length(&mut self) -> Option<u64> {
        match self.integer(1)? {
            short @ 0..=250 => Some(short),
            252 => self.integer(2),
            253 => self.integer(3),
            254 => self.integer(8),
            _ => None,
        }
    }
}

/// ROTATE: the next file's name and the offset in it.
pub(super) fn rotate(body: &[u8]) -> Option<(&str, u64)> {
    let mut fields = Fields(body);
    // A file's size is a signed number, and offsets are counted on from this one.
    let offset = fields.integer(8).filter(|&offset| offset <= i64::MAX as u64)?;
    Some((std::str::from_utf8(fields.0).ok()?, offset))
}

/// QUERY and EXECUTE_LOAD_QUERY.
pub(super) struct Query<'a> {
    pub(super) status_vars: &'a [u8],
    pub(super) database: &'a [u8],
    pub(super) sql: &'a [u8],
}

/// `load`: an EXECUTE_LOAD_QUERY, which has 13 bytes more of fixed fields.
pub(super) fn query(body: &[u8], load: bool) -> Option<Query<'_>> {
    let mut fields = Fields(body);
    fields.bytes(8)?;
    let database_length = fields.integer(1)? as usize;
    fields.bytes(2)?;
    let vars_length = fields.integer(2)? as usize;
    if load {
        fields.bytes(13)?;
    }
    let status_vars = fields.bytes(vars_length)?;
    let database = fields.bytes(database_length)?;
    fields.bytes(1)?;
    Some(Query { status_vars, database, sql: fields.0 })
}

/// What a QUERY's status variables tell of the session that ran it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueryStatus {
    pub(super) sql_mode: u64,
    /// Numbers of collations: of the statement's text, and the session's `collation_server`.
    pub(super) client: Option<u16>,
    pub(super) server: Option<u16>,
    /// MySQL tells it of statements that depend on it.
    pub(super) explicit_timestamps: Option<bool>,
}

/// Status variables are one-byte codes with values of fixed or prefixed length. What stands behind a code that is not
/// known is not read, as the servers themselves do.
pub(super) fn query_status(status_vars: &[u8]) -> QueryStatus {
    let mut status = QueryStatus::default();
    let _ = read_status(&mut Fields(status_vars), &mut status);
    status
}

fn read_status(fields: &mut Fields<'_>, status: &mut QueryStatus) -> Option<()> {
    loop {
        let skip = match fields.integer(1)? {
            1 => {
                status.sql_mode = fields.integer(8)?;
                0
            }
            4 => {
                let (client, _connection) = (fields.integer(2)?, fields.integer(2)?);
                (status.client, status.server) = (Some(client as u16), Some(fields.integer(2)? as u16));
                0
            }
            16 => {
                status.explicit_timestamps = Some(fields.integer(1)? != 0);
                0
            }
            0 | 3 | 10 => 4,
            9 | 14 | 15 | 17 => 8,
            7 | 8 | 18 => 2,
            13 => 3,
            19 | 20 => 1,
            // The catalogue with a closing zero, from before 5.0.4.
            2 => fields.integer(1)? as usize + 1,
            5 | 6 => fields.integer(1)? as usize,
            11 => {
                let user = fields.integer(1)? as usize;
                fields.bytes(user)?;
                fields.integer(1)? as usize
            }
            // The databases that it works on; 254: too many to be listed.
            12 => {
                let databases = fields.integer(1)?;
                for _ in 0..if databases == 254 { 0 } else { databases } {
                    let end = memchr::memchr(0, fields.0)?;
                    fields.bytes(end + 1)?;
                }
                0
            }
            _ => return None,
        };
        fields.bytes(skip)?;
    }
}

/// A rows event up to its images.
pub(super) struct RowsHeader<'a> {
    pub(super) columns: usize,
    /// Every bit of every column bitmap is set.
    pub(super) full: bool,
    /// One bit a column, the lowest first; an UPDATE's after image has a second one behind it.
    pub(super) bitmaps: &'a [u8],
    /// Where the images begin in the body.
    pub(super) images: usize,
}

/// `version` 1 or 2; `bitmaps` is 2 for an UPDATE, else 1.
pub(super) fn rows(body: &[u8], version: u8, bitmaps: usize) -> Option<RowsHeader<'_>> {
    let mut fields = Fields(body);
    fields.bytes(8)?;
    if version == 2 {
        let extra = fields.integer(2)? as usize;
        fields.bytes(extra.checked_sub(2)?)?;
    }
    let columns = usize::try_from(fields.length()?).ok()?;
    let bytes = columns.div_ceil(8);
    let bitmaps = fields.bytes(bytes.checked_mul(bitmaps)?)?;
    let full = bitmaps
        .chunks(bytes.max(1))
        .all(|bitmap| (0..columns).all(|column| bitmap[column / 8] >> (column % 8) & 1 == 1));
    Some(RowsHeader { columns, full, bitmaps, images: body.len() - fields.0.len() })
}

/// The table number that every rows event and table map begins with.
pub(super) fn table_id(body: &[u8]) -> Option<u64> {
    Fields(body).integer(6)
}

/// FORMAT_DESCRIPTION: whether MariaDB wrote the file.
pub(super) fn is_mariadb(body: &[u8]) -> bool {
    // Two bytes of the format's version, then the server's in 50.
    let version = body.get(2..52).unwrap_or_default();
    version.windows(7).any(|word| word.eq_ignore_ascii_case(b"mariadb"))
}

/// FORMAT_DESCRIPTION: whether it ends with the algorithm of checksums, as MySQL 5.6.1 and MariaDB 5.3 began to do.
pub(super) fn tells_checksums(body: &[u8]) -> bool {
    let version = String::from_utf8_lossy(body.get(2..52).unwrap_or_default());
    let mut numbers = version.split(|sign: char| !sign.is_ascii_digit()).map(|number| number.parse().unwrap_or(0_u32));
    let mut next = || numbers.next().unwrap_or_default();
    let version = (next(), next(), next());
    version >= (5, 6, 1) || is_mariadb(body) && version >= (5, 3, 0)
}

/// MariaDB's GTID event.
pub(super) struct MariadbGtid {
    pub(super) gtid: Gtid,
    /// One statement follows that is the whole group; else the event stands for a BEGIN.
    pub(super) standalone: bool,
    /// The event stands for an XA START.
    pub(super) xa: bool,
}

/// `server` stands in the common header.
pub(super) fn mariadb_gtid(body: &[u8], server: u32) -> Option<MariadbGtid> {
    let mut fields = Fields(body);
    let sequence = fields.integer(8)?;
    let domain = fields.integer(4)? as u32;
    let flags = fields.integer(1)? as u8;
    Some(MariadbGtid {
        gtid: Gtid::Mariadb { domain, server, sequence },
        standalone: flags & MARIADB_STANDALONE != 0,
        xa: flags & MARIADB_PREPARED_XA != 0,
    })
}

/// XA_PREPARE: the transaction's name; with `true` it is an XA COMMIT … ONE PHASE, which is a commit.
pub(super) fn xa_prepare(body: &[u8]) -> Option<(Xid, bool)> {
    let mut fields = Fields(body);
    let one_phase = fields.integer(1)? != 0;
    let format = fields.integer(4)?;
    let (global, branch) = (fields.integer(4)? as usize, fields.integer(4)? as usize);
    let (global, branch) = (fields.bytes(global)?, fields.bytes(branch)?);
    Some((Xid::new(format, global, branch)?, one_phase))
}

/// TRANSACTION_PAYLOAD up to its contents.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PayloadHeader {
    /// Bytes of the events in it.
    pub(super) plain: u64,
    /// Bytes that they are packed in.
    pub(super) packed: u64,
    /// Else they are not compressed.
    pub(super) zstd: bool,
    /// Where they begin in the body.
    pub(super) start: usize,
}

pub(super) fn payload(body: &[u8]) -> Option<PayloadHeader> {
    let mut fields = Fields(body);
    let (mut packed, mut plain, mut algorithm) = (None, None, None);
    loop {
        let field = fields.length()?;
        if field == 0 {
            break;
        }
        let length = fields.length()? as usize;
        let mut value = Fields(fields.bytes(length)?);
        match field {
            1 => packed = value.length(),
            2 => algorithm = value.length(),
            3 => plain = value.length(),
            _ => {}
        }
    }
    let packed = packed?;
    let (zstd, plain) = match algorithm? {
        0 => (true, plain?),
        255 => (false, packed),
        _ => return None,
    };
    Some(PayloadHeader { plain, packed, zstd, start: body.len() - fields.0.len() })
}

/// MariaDB's compressed part of an event: a byte with the algorithm (0 = zlib) and the number of length bytes,
/// the plain length in big-endian order, a zlib stream. The plain length bounds what is read.
pub(super) fn mariadb_uncompress(part: &[u8]) -> Option<Vec<u8>> {
    let mut fields = Fields(part);
    let head = fields.integer(1)?;
    let length_bytes = (head & 7) as usize;
    if head >> 4 & 7 != 0 || !(1..=4).contains(&length_bytes) {
        return None;
    }
    let length = fields.bytes(length_bytes)?.iter().fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
    let mut plain = Vec::with_capacity((length as usize).min(1 << 20));
    flate2::read::ZlibDecoder::new(fields.0).take(length + 1).read_to_end(&mut plain).ok()?;
    (plain.len() as u64 == length).then_some(plain)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn compressed(plain: &[u8]) -> Vec<u8> {
        let mut part = vec![0x82];
        part.extend_from_slice(&(plain.len() as u16).to_be_bytes());
        let mut encoder = flate2::write::ZlibEncoder::new(&mut part, flate2::Compression::default());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap();
        part
    }

    #[test]
    fn a_rotate_names_the_next_file() {
        let mut body = 4_u64.to_le_bytes().to_vec();
        body.extend_from_slice(b"binlog.000042");
        assert_eq!(rotate(&body), Some(("binlog.000042", 4)));
    }

    #[test]
    fn rows_of_both_versions_are_found() {
        let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0];
        body.extend_from_slice(&[9, 0xff, 0x01]);
        body.extend_from_slice(b"images");
        let header = rows(&body, 1, 1).unwrap();
        assert_eq!((header.full, &body[header.images..]), (true, &b"images"[..]));
        body.splice(8..8, [5, 0, 1, 2, 3]);
        let header = rows(&body, 2, 1).unwrap();
        assert_eq!((header.full, &body[header.images..]), (true, &b"images"[..]));
    }

    #[test]
    fn a_missing_column_is_seen_in_either_bitmap() {
        let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0, 3, 0b111, 0b011];
        assert!(!rows(&body, 1, 2).unwrap().full);
        assert_eq!(rows(&body, 1, 2).unwrap().bitmaps, [0b111, 0b011]);
        body[10] = 0b111;
        assert!(rows(&body, 1, 2).unwrap().full);
    }

    #[test]
    fn the_servers_product_is_told_by_the_format_description() {
        let body = |version: &str| [b"\x04\0", version.as_bytes(), &[0; 60][version.len()..]].concat();
        assert!(is_mariadb(&body("10.11.19-MariaDB-0+deb12u1-log")));
        assert!(!is_mariadb(&body("9.7.0")));
        assert!(!is_mariadb(b""));
    }

    #[test]
    fn a_header_is_read_field_by_field() {
        let bytes: Vec<u8> = (1..=19).collect();
        let event = header(bytes.first_chunk().unwrap());
        assert_eq!((event.timestamp, event.kind, event.server_id), (0x0403_0201, 5, 0x0908_0706));
        assert_eq!((event.size, event.log_pos, event.flags), (0x0d0c_0b0a, 0x1110_0f0e, 0x1312));
    }

    #[test]
    fn the_first_event_of_old_servers_tells_no_checksums() {
        let body = |version: &str| [b"\x04\0", version.as_bytes(), &[0; 60][version.len()..]].concat();
        for (version, tells) in [
            ("5.5.62-log", false),
            ("5.6.1", true),
            ("9.7.0", true),
            ("5.3.12-MariaDB", true),
            ("10.11.19-MariaDB-log", true),
        ] {
            assert_eq!(tells_checksums(&body(version)), tells, "{version}");
        }
        assert!(!tells_checksums(b""));
    }

    #[test]
    fn the_sessions_character_sets_are_found_behind_other_variables() {
        let vars = [0, 1, 2, 3, 4, 1, 0, 0, 4, 0, 0, 0, 0, 0, 6, 3, b's', b't', b'd', 4, 28, 0, 33, 0, 255, 0];
        let status = query_status(&vars);
        assert_eq!((status.client, status.server, status.sql_mode), (Some(28), Some(255), 1 << 18));
        assert_eq!(query_status(&vars[..19]).client, None);
    }

    #[test]
    fn the_sessions_settings_are_found_behind_the_names_of_databases() {
        let vars = [12, 2, b'a', 0, b'b', 0, 13, 0, 0, 0, 16, 0, 17, 0, 0, 0, 0, 0, 0, 0, 0, 18, 255, 0];
        assert_eq!(query_status(&vars).explicit_timestamps, Some(false));
        assert_eq!(query_status(&[12, 254, 16, 1]).explicit_timestamps, Some(true));
        assert_eq!(query_status(&[99, 16, 1]).explicit_timestamps, None);
    }

    #[test]
    fn a_prepared_transaction_has_a_name() {
        let body = [&[0, 7, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0][..], b"abc"].concat();
        assert_eq!(xa_prepare(&body), Some((Xid::new(7, b"a", b"bc").unwrap(), false)));
        assert_eq!(xa_prepare(&body[..15]), None);
    }

    #[test]
    fn a_payloads_size_is_the_plain_one() {
        let header = |plain, packed, zstd, start| Some(PayloadHeader { plain, packed, zstd, start });
        assert_eq!(payload(&[2, 1, 0, 3, 3, 252, 0, 4, 1, 1, 99, 0, 1, 2]), header(1024, 99, true, 12));
        assert_eq!(payload(&[2, 3, 252, 255, 0, 1, 1, 99, 0]), header(99, 99, false, 9));
        assert_eq!(payload(&[2, 1, 7, 1, 1, 99, 0]), None);
        assert_eq!(payload(&[2, 1, 0, 3, 1, 99, 0]), None);
    }

    #[test]
    fn a_compressed_part_is_bounded_by_its_own_length() {
        let part = compressed(b"hello hello hello hello");
        assert_eq!(mariadb_uncompress(&part).as_deref(), Some(&b"hello hello hello hello"[..]));
        let mut short = part.clone();
        short[2] -= 1;
        assert_eq!(mariadb_uncompress(&short), None);
        let mut long = part;
        long[2] += 1;
        assert_eq!(mariadb_uncompress(&long), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_parser_panic(body in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = rotate(&body);
            let _ = query(&body, false).map(|query| query_status(query.status_vars));
            let _ = query(&body, true);
            for version in [1, 2] {
                for bitmaps in [1, 2] {
                    let _ = rows(&body, version, bitmaps);
                }
            }
            let _ = (mariadb_gtid(&body, 1), xa_prepare(&body));
            let _ = payload(&body);
            let _ = tells_checksums(&body);
            let _ = mariadb_uncompress(&body);
            let _ = query_status(&body);
        }
    }
}
