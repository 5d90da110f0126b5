use std::sync::Arc;

use bytes::Bytes;

use super::super::event::{FLAG_ARTIFICIAL, FLAG_IGNORABLE, kind};
use super::super::{RowsKind, Slot};
use super::{Event, Follower, MOST_TABLES, MysqlGtid, Stop, widen};
use crate::mysql::position::{Gtid, GtidSet, Position};
use crate::schema::TableName;

const SERVER: [u8; 16] = [7; 16];

/// A log being written: events get sizes and offsets as in a file.
struct Log {
    follower: Follower,
    offset: u64,
    slots: Vec<Slot>,
}

impl Log {
    fn at(offset: u64) -> Log {
        let start = Position { file: "binlog.000001".into(), offset, gtids: Some(GtidSet::default()) };
        let wanted = Arc::new(|table: &TableName| table.table.starts_with("our"));
        let mut follower = Follower::new(start, wanted);
        follower.restart(false);
        Log { follower, offset, slots: Vec::new() }
    }

    fn write(&mut self, event: &Event) -> Result<(), String> {
        let slots = &mut self.slots;
        self.follower
            .event(event, &mut |slot, _| {
                slots.push(slot);
                Ok(())
            })
            .map_err(|stop| match stop {
                Stop::Failed(error) => error.to_string(),
                Stop::Closed => "closed".into(),
            })
    }

    fn event(&mut self, kind: u8, body: &[u8]) -> Event {
        let size = 19 + body.len() as u32 + 4;
        self.offset += u64::from(size);
        Event {
            kind,
            flags: 0,
            timestamp: 1_700_000_000,
            server_id: 1,
            log_pos: self.offset as u32,
            size,
            body: Bytes::copy_from_slice(body),
            inner: false,
            gtid: None,
        }
    }

    fn put(&mut self, kind: u8, body: &[u8]) -> Result<(), String> {
        let event = self.event(kind, body);
        self.write(&event)
    }

    fn gtid(&mut self, number: u64) {
        let mut event = self.event(kind::GTID, &[0; 42]);
        event.gtid = Some(MysqlGtid {
            gtid: Some(Gtid::Mysql { server: SERVER, tag: String::new(), number }),
            committed_at: 1_700_000_000_123_456,
        });
        self.write(&event).unwrap();
    }

    fn query(&mut self, sql: &str) -> Result<(), String> {
        self.put(kind::QUERY, &query(sql))
    }

    fn rows(&mut self, table: &str) -> Result<(), String> {
        self.put(kind::TABLE_MAP, &table_map(table)).unwrap();
        self.put(kind::WRITE_ROWS_V1, &[9, 0, 0, 0, 0, 0, 1, 0, 1, 1, 0, 5, 0, 0, 0])
    }

    /// The slots so far, in short, held-back places included.
    fn told(&mut self) -> Vec<String> {
        let slots = &mut self.slots;
        let idle = self.follower.idle(&mut |slot, _| {
            slots.push(slot);
            Ok(())
        });
        assert!(idle.is_ok());
        self.slots.drain(..).map(|slot| short(&slot)).collect()
    }
}

fn short(slot: &Slot) -> String {
    match slot {
        Slot::Rows(rows) => {
            format!("{} {}", if rows.kind == RowsKind::Insert { "insert" } else { "change" }, rows.table.name)
        }
        Slot::CutOff(gtid) => format!("cut off {}", gtid.as_ref().map(ToString::to_string).unwrap_or_default()),
        Slot::Commit(place) => format!("commit {}", place.offset),
        Slot::Passed(place, gtids) => format!("passed {} {gtids}", place.offset),
        Slot::Statement(statement) => format!("statement {} {}", statement.place.offset, statement.sql),
    }
}

fn query(sql: &str) -> Vec<u8> {
    let mut body = vec![0; 8];
    body.extend_from_slice(&[4, 0, 0, 0, 0]);
    body.extend_from_slice(b"shop\0");
    body.extend_from_slice(sql.as_bytes());
    body
}

/// One INT column.
fn table_map(table: &str) -> Vec<u8> {
    let mut body = vec![9, 0, 0, 0, 0, 0, 1, 0, 4];
    body.extend_from_slice(b"shop\0");
    body.push(table.len() as u8);
    body.extend_from_slice(table.as_bytes());
    body.extend_from_slice(&[0, 1, 3, 0, 0]);
    body
}

fn uuid() -> String {
    Gtid::Mysql { server: SERVER, tag: String::new(), number: 1 }.to_string().trim_end_matches(":1").to_owned()
}

#[test]
fn a_transaction_of_ours_is_rows_and_a_commit() {
    let mut log = Log::at(4);
    log.gtid(1);
    log.query("BEGIN").unwrap();
    log.rows("theirs").unwrap();
    log.rows("ours").unwrap();
    log.put(kind::XID, &[0; 8]).unwrap();
    assert_eq!(log.told(), ["insert shop.ours".to_owned(), format!("commit {}", log.offset)]);
    assert_eq!(log.follower.boundary().offset, log.offset);
    assert_eq!(log.follower.boundary().gtids.as_ref().unwrap().to_string(), format!("{}:1", uuid()));
}

#[test]
fn transactions_of_others_are_told_together_and_before_the_next_of_ours() {
    let mut log = Log::at(4);
    for number in 1..=3 {
        log.gtid(number);
        log.query("BEGIN").unwrap();
        log.rows("theirs").unwrap();
        log.put(kind::XID, &[0; 8]).unwrap();
    }
    let passed = log.offset;
    log.gtid(4);
    log.query("BEGIN").unwrap();
    log.rows("ours").unwrap();
    log.put(kind::XID, &[0; 8]).unwrap();
    let commit = format!("commit {}", log.offset);
    let passed = format!("passed {passed} {}:1-3", uuid());
    assert_eq!(log.told(), [passed.as_str(), "insert shop.ours", commit.as_str()]);
}

#[test]
fn a_statement_stands_behind_itself_or_at_its_transactions_begin() {
    let mut log = Log::at(4);
    log.gtid(1);
    log.query("ALTER TABLE ours ADD a INT").unwrap();
    assert_eq!(log.told(), [format!("statement {} ALTER TABLE ours ADD a INT", log.offset)]);
    let begin = log.offset;
    log.gtid(2);
    log.query("BEGIN").unwrap();
    log.query("CREATE TABLE ours2 (id INT) START TRANSACTION").unwrap();
    log.put(kind::XID, &[0; 8]).unwrap();
    let commit = format!("commit {}", log.offset);
    let statement = format!("statement {begin} CREATE TABLE ours2 (id INT) START TRANSACTION");
    assert_eq!(log.told(), [statement, commit]);
}

#[test]
fn offsets_go_on_behind_four_gigabytes() {
    assert_eq!(widen(5, 5), 5);
    assert_eq!(widen(6, 5), (1 << 32) + 5);
    assert_eq!(widen((3 << 32) + 7, 7), (3 << 32) + 7);
    let mut log = Log::at(u64::from(u32::MAX) - 40);
    log.gtid(1);
    log.query("ALTER TABLE ours ADD a INT").unwrap();
    assert!(log.offset > u64::from(u32::MAX));
    assert_eq!(log.told(), [format!("statement {} ALTER TABLE ours ADD a INT", log.offset)]);
}

#[test]
fn a_file_read_from_its_start_is_silent_up_to_the_boundary() {
    let mut log = Log::at(4);
    let write = |log: &mut Log| {
        for number in 1..=2 {
            log.gtid(number);
            log.query("BEGIN").unwrap();
            log.rows("ours").unwrap();
            log.put(kind::XID, &[0; 8]).unwrap();
        }
    };
    log.gtid(1);
    log.query("BEGIN").unwrap();
    log.rows("ours").unwrap();
    log.put(kind::XID, &[0; 8]).unwrap();
    assert_eq!(log.told().len(), 2);
    log.follower.restart(true);
    log.offset = 4;
    write(&mut log);
    assert_eq!(log.told(), ["insert shop.ours".to_owned(), format!("commit {}", log.offset)]);
}

#[test]
fn made_up_events_take_no_space() {
    let mut log = Log::at(500);
    let rotate = |file: &str, offset: u64| [&offset.to_le_bytes()[..], file.as_bytes()].concat();
    let mut event = log.event(kind::ROTATE, &rotate("binlog.000001", 500));
    (event.log_pos, event.flags) = (0, FLAG_ARTIFICIAL);
    log.write(&event).unwrap();
    log.offset = 500;
    log.gtid(1);
    log.query("ALTER TABLE ours ADD a INT").unwrap();
    assert_eq!(log.told(), [format!("statement {} ALTER TABLE ours ADD a INT", log.offset)]);
    log.put(kind::ROTATE, &rotate("binlog.000002", 4)).unwrap();
    assert_eq!(log.told(), ["passed 4 "]);
    assert_eq!(log.follower.boundary().file, "binlog.000002");
}

#[test]
fn prepared_xa_rows_and_rolled_back_rows_are_refused() {
    for (end, hint) in
        [(None, "one phase"), (Some("ROLLBACK"), "rolled back"), (Some("ROLLBACK TO `s`"), "rolled back")]
    {
        let mut log = Log::at(4);
        log.gtid(1);
        log.query(if end.is_none() { "XA START X'01',X'',1" } else { "BEGIN" }).unwrap();
        log.rows("ours").unwrap();
        let error = match end {
            Some(sql) => log.query(sql).unwrap_err(),
            None => log.put(kind::XA_PREPARE, &[0, 1, 0, 0, 0]).unwrap_err(),
        };
        assert!(error.contains(hint) && error.contains("binlog.000001:"), "{error}");
    }
    let mut log = Log::at(4);
    log.gtid(1);
    log.query("XA START X'01',X'',1").unwrap();
    log.rows("ours").unwrap();
    log.put(kind::XA_PREPARE, &[1, 1, 0, 0, 0]).unwrap();
    assert_eq!(log.told().len(), 2);
}

#[test]
fn a_transaction_cut_off_by_a_crash_is_refused_if_it_had_rows_of_ours() {
    let mut log = Log::at(4);
    log.gtid(1);
    log.query("BEGIN").unwrap();
    log.rows("theirs").unwrap();
    log.put(kind::FORMAT_DESCRIPTION, &[0; 80]).unwrap();
    log.gtid(1);
    log.query("BEGIN").unwrap();
    log.rows("ours").unwrap();
    let error = log.put(kind::FORMAT_DESCRIPTION, &[0; 80]).unwrap_err();
    assert!(error.contains("cut off"), "{error}");
}

#[test]
fn nothing_unknown_is_skipped() {
    for (kind, part) in [
        (200, "event type 200"),
        (kind::INCIDENT, "incident"),
        (kind::MARIADB_START_ENCRYPTION, "encrypted"),
        (kind::WRITE_ROWS, "which no table map"),
        (kind::TABLE_MAP, "malformed"),
        (kind::GTID, "malformed"),
        (kind::MARIADB_GTID, "malformed"),
    ] {
        let mut log = Log::at(4);
        let body: &[u8] = if kind == kind::WRITE_ROWS { &[9; 20] } else { &[1] };
        let error = log.put(kind, body).unwrap_err();
        assert!(error.contains(part) && error.contains("binlog.000001:4"), "{error}");
    }
    let mut log = Log::at(4);
    let mut event = log.event(200, &[]);
    event.flags = FLAG_IGNORABLE;
    log.write(&event).unwrap();
}

#[test]
fn partial_json_is_refused_for_replicated_tables_only() {
    for (table, refused) in [("ours", true), ("theirs", false)] {
        let mut log = Log::at(4);
        log.gtid(1);
        log.query("BEGIN").unwrap();
        log.put(kind::TABLE_MAP, &table_map(table)).unwrap();
        let json = log.put(kind::PARTIAL_UPDATE_ROWS, &[9, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(json.is_err(), refused);
        if let Err(json) = json {
            assert!(json.contains("binlog_row_value_options") && json.contains("shop.ours"), "{json}");
        }
    }
}

#[test]
fn an_event_says_which_columns_its_images_have() {
    let mut log = Log::at(4);
    log.gtid(1);
    log.query("BEGIN").unwrap();
    log.put(kind::TABLE_MAP, &table_map("ours")).unwrap();
    // One column: present, absent, and absent before but present after.
    log.put(kind::WRITE_ROWS_V1, &[9, 0, 0, 0, 0, 0, 1, 0, 1, 1, 0, 0, 0, 0, 0]).unwrap();
    log.put(kind::WRITE_ROWS_V1, &[9, 0, 0, 0, 0, 0, 1, 0, 1, 0]).unwrap();
    log.put(kind::UPDATE_ROWS_V1, &[9, 0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0]).unwrap();
    log.put(kind::WRITE_ROWS_V1, &[9, 0, 0, 0, 0, 0, 1, 0, 1, 0]).unwrap();
    let columns: Vec<_> = log
        .slots
        .iter()
        .filter_map(|slot| if let Slot::Rows(rows) = slot { Some(rows.columns.clone()) } else { None })
        .collect();
    let has = |index: usize| columns[index].as_ref().map(|columns| (columns.before.has(0), columns.after.has(0)));
    assert_eq!([has(0), has(1), has(2)], [None, Some((false, false)), Some((false, true))]);
    let [Some(first), Some(again)] = [&columns[1], &columns[3]] else { panic!("{columns:?}") };
    assert!(Arc::ptr_eq(first, again));
    // A bitmap of another number of columns than the table has.
    assert!(log.put(kind::WRITE_ROWS_V1, &[9, 0, 0, 0, 0, 0, 1, 0, 9, 255, 1]).is_err());
}

#[test]
fn a_compressed_transaction_that_did_not_come_out_whole_is_refused() {
    let mut log = Log::at(4);
    log.gtid(1);
    log.put(kind::TRANSACTION_PAYLOAD, &[2, 1, 0, 3, 1, 100, 1, 1, 9, 0]).unwrap();
    let behind = log.offset;
    let mut inner = log.event(kind::QUERY, &query("BEGIN"));
    inner.inner = true;
    log.offset = behind;
    log.write(&inner).unwrap();
    let error = log.put(kind::XID, &[0; 8]).unwrap_err();
    assert!(error.contains("cannot be expanded"), "{error}");
}

#[test]
fn a_known_table_map_is_not_parsed_again_and_a_changed_one_is() {
    let mut log = Log::at(4);
    log.gtid(1);
    log.query("BEGIN").unwrap();
    log.rows("ours").unwrap();
    log.rows("ours").unwrap();
    log.rows("ours2").unwrap();
    let maps: Vec<_> = log
        .slots
        .iter()
        .filter_map(|slot| if let Slot::Rows(rows) = slot { Some(Arc::clone(&rows.table)) } else { None })
        .collect();
    assert!(Arc::ptr_eq(&maps[0], &maps[1]));
    assert_eq!(maps[2].name.table, "ours2");
}

#[test]
fn table_maps_are_not_kept_for_ever() {
    let mut log = Log::at(4);
    for id in 0..MOST_TABLES as u32 + 10 {
        let mut map = table_map("others");
        map[..4].copy_from_slice(&id.to_le_bytes());
        log.query("BEGIN").unwrap();
        log.put(kind::TABLE_MAP, &map).unwrap();
        log.put(kind::XID, &[0; 8]).unwrap();
    }
    assert!(log.follower.tables.len() <= MOST_TABLES);
    log.told();
    log.gtid(1);
    log.query("BEGIN").unwrap();
    log.rows("ours").unwrap();
    log.put(kind::XID, &[0; 8]).unwrap();
    assert_eq!(log.told().len(), 2);
}

#[test]
fn a_rotation_to_an_offset_beyond_any_file_is_refused() {
    let mut log = Log::at(4);
    let body = [&u64::MAX.to_le_bytes()[..], b"binlog.000002"].concat();
    let error = log.put(kind::ROTATE, &body).and_then(|()| log.put(kind::STOP, &[])).unwrap_err();
    assert!(error.contains("malformed"), "{error}");
}
