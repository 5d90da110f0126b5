//! Mutated real events into everything that reads a binlog. The corpus are whole files as MySQL 9.7 and MariaDB 10.11
//! wrote them, a table for each family of types. Nothing may panic, nor write much more than it read.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use rand::Rng as _;
use rand::rngs::StdRng;

use super::follower::{Event, Follower, MysqlGtid};
use super::payload::{self, Payload};
use super::stream::{self, Origin};
use super::table_map::Wire;
use super::{ColumnBits, RowPlan, TableMap, event, partial_json, statement, text};
use crate::fuzz_machine::{FileEvent, file_events, images, mutate, run};
use crate::mysql::position::{Gtid, Position};
use crate::mysql::value::{ValueOptions, ValueWriter, apply_json_changes, charset_max_bytes};
use crate::schema::{Column, ColumnType, IntegerSize, LobSize, Mapping, MappingOptions, Table, TableName, map_table};

fn corpus() -> [Vec<FileEvent>; 2] {
    [
        file_events(include_bytes!("../../../tests/fuzz/mysql.binlog")),
        file_events(include_bytes!("../../../tests/fuzz/mariadb.binlog")),
    ]
}

fn any<'a>(random: &mut StdRng, events: &'a [FileEvent]) -> &'a FileEvent {
    &events[random.random_range(0..events.len())]
}

#[test]
fn fuzz_event_bodies() {
    let events: Vec<FileEvent> = corpus().into_iter().flatten().collect();
    run("event bodies", 30_000, |random| {
        let (one, other) = (any(random, &events), any(random, &events));
        let body = mutate(random, &one.body, &other.body);
        let _ = event::rotate(&body);
        for load in [false, true] {
            if let Some(query) = event::query(&body, load) {
                let collation = event::query_status(query.status_vars).client;
                if let Ok(sql) = text::decode(query.sql, collation) {
                    let _ = statement::classify(&sql, &String::from_utf8_lossy(query.database));
                }
            }
        }
        for (version, bitmaps) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            assert!(event::rows(&body, version, bitmaps).is_none_or(|header| header.images <= body.len()));
        }
        let _ = (event::table_id(&body), event::mariadb_gtid(&body, 1), event::xa_prepare(&body));
        let _ = (event::payload(&body), event::mariadb_uncompress(&body), event::query_status(&body));
        let _ = (TableMap::peek(&body), TableMap::parse(&body));
    });
}

#[test]
fn fuzz_events_of_the_stream() {
    let files: [&[u8]; 2] =
        [include_bytes!("../../../tests/fuzz/mysql.binlog"), include_bytes!("../../../tests/fuzz/mariadb.binlog")];
    let events: Vec<Vec<u8>> = files.iter().flat_map(|file| raw_events(file)).collect();
    run("events of the stream", 30_000, |random| {
        let (one, other) =
            (&events[random.random_range(0..events.len())], &events[random.random_range(0..events.len())]);
        let mut event = mutate(random, one, other);
        if random.random_range(0..4) != 0 && event.len() > 12 {
            let size = event.len() as u32;
            event[9..13].copy_from_slice(&size.to_le_bytes());
        }
        let length = event.len();
        let mut checksums = random.random();
        let origin = if random.random() { Origin::Payload } else { Origin::Log { checksums: &mut checksums } };
        if let Ok(event) = stream::parse(event.into(), origin, &|| "here".to_owned()) {
            assert!(event.body.len() + event::HEADER <= length);
        }
    });
}

/// The events of a whole binlog file as they stand there.
fn raw_events(file: &[u8]) -> Vec<Vec<u8>> {
    let mut events = Vec::new();
    let mut at = 4;
    while let Some(header) = file.get(at..).and_then(|rest| rest.first_chunk()) {
        let size = event::size(header) as usize;
        events.push(file[at..at + size].to_vec());
        at += size;
    }
    events
}

#[test]
fn fuzz_compressed_transactions() {
    let plain: Vec<u8> = corpus()[0]
        .iter()
        .zip((0..=255).cycle())
        .flat_map(|(found, number)| payload::tests::inner(number, 19 + found.body.len()))
        .collect();
    let bodies = [payload::tests::packed(&plain, true), payload::tests::packed(&plain, false)];
    run("compressed transactions", 5_000, |random| {
        let [one, other] = if random.random() { [&bodies[0], &bodies[1]] } else { [&bodies[1], &bodies[0]] };
        let body = Bytes::from(mutate(random, one, other));
        let budget = crate::ring::Budget::new(1000);
        let announced = event::payload(&body).map_or(0, |header| header.plain);
        if let Ok(mut payload) = Payload::open(&body, Some(&budget)) {
            let mut taken = 0;
            while !payload.is_done() {
                let Ok(event) = payload.take() else { break };
                taken += event.len() as u64;
            }
            assert!(taken <= announced && (taken == announced || !payload.is_done()));
        }
        assert_eq!(budget.used(), 0);
    });
}

#[test]
fn fuzz_the_follower() {
    let files = corpus();
    run("follower", 3_000, |random| {
        let events = &files[random.random_range(0..files.len())];
        let start = Position { file: "binlog.000001".into(), offset: 4, gtids: Some("".parse().unwrap()) };
        let mut follower = Follower::new(start, Arc::new(|table| table.table != "theirs"));
        follower.restart(random.random());
        let from = random.random_range(0..events.len());
        for found in events[from..].iter().take(60) {
            // Also what a server would not send there.
            let found = if random.random_range(0..16) == 0 { any(random, events) } else { found };
            let mut event = Event {
                kind: found.kind,
                flags: 0,
                timestamp: 1_700_000_000,
                server_id: found.server_id,
                log_pos: found.log_pos,
                size: found.size,
                body: Bytes::copy_from_slice(&found.body),
                inner: false,
                gtid: Some(MysqlGtid {
                    gtid: Some(Gtid::Mysql { server: [7; 16], tag: String::new(), number: random.random() }),
                    committed_at: random.random(),
                }),
            };
            if random.random_range(0..8) == 0 {
                let other = any(random, events);
                event.body = mutate(random, &found.body, &other.body).into();
            }
            match random.random_range(0..60) {
                0 => event.kind = random.random(),
                1 => event.kind = any(random, events).kind,
                2 => event.log_pos = random.random(),
                3 => event.size = random.random(),
                4 => event.inner = true,
                5 => event.flags = random.random(),
                6 => event.gtid = None,
                7 => continue,
                _ => {}
            }
            let _ = follower.event(&event, &mut |_, _| Ok(()));
            let _ = follower.here();
        }
        let _ = follower.idle(&mut |_, _| Ok(()));
    });
}

#[test]
fn fuzz_changes_of_json_values() {
    // Documents and changes as a server logged them: of each update, what its before image had.
    let logged: Vec<(Vec<u8>, Vec<u8>)> =
        JSON_CHANGES.iter().map(|(document, changes)| (hexadecimal(document), hexadecimal(changes))).collect();
    for (document, changes) in &logged {
        assert!(apply_json_changes(document, changes).is_ok());
    }
    run("changes of JSON values", 60_000, |random| {
        let (document, changes) = &logged[random.random_range(0..logged.len())];
        let (other_document, other_changes) = &logged[random.random_range(0..logged.len())];
        let document = if random.random() { mutate(random, document, other_document) } else { document.clone() };
        let changes = mutate(random, changes, other_changes);
        if let Ok(changed) = apply_json_changes(&document, &changes) {
            assert!(changed.len() <= 64 + 8 * (document.len() + changes.len()));
        }
        let map = TableMap::parse(&PARTIAL_MAP).unwrap();
        let (before, after) = (ColumnBits::new(&[random.random()]), ColumnBits::new(&[random.random()]));
        let mut images = vec![0, 9, 0, 0, 0];
        images.extend_from_slice(&(document.len() as u32).to_le_bytes());
        images.extend_from_slice(&document);
        images.extend_from_slice(&[1, 1, 0, 9, 0, 0, 0]);
        images.extend_from_slice(&(changes.len() as u32).to_le_bytes());
        images.extend_from_slice(&changes);
        let _ = partial_json::whole(&map, &ColumnBits::new(&[3]), &ColumnBits::new(&[3]), &images);
        let images = mutate(random, &images, &changes);
        if let Ok(whole) = partial_json::whole(&map, &before, &after, &images) {
            assert!(whole.len() <= 64 + 16 * images.len());
        }
    });
}

/// `id INT, j JSON`
const PARTIAL_MAP: [u8; 23] = *b"\x01\0\0\0\0\0\x01\0\x04shop\0\x01t\0\x02\x03\xf5\x01\x04\x02";

/// A document and what JSON_SET, JSON_REMOVE and JSON_REPLACE made of it, out of a log of MySQL 9.7.
const JSON_CHANGES: [(&str, &str); 3] = [
    (
        "0002002c0012000100130001000214000c2100616203000d000501000502000503000a78787878787878787878",
        "0006242e615b315d020401 010724 2e226b207922030c0176",
    ),
    ("0002002c0012000100130001000214000c2100616203000d000501000502000503000a78787878787878787878", "0203242e62"),
    (
        "0002002c0012000100130001000214000c2100616203000d000501000502000503000a78787878787878787878",
        "0003242e611700010016000b000100 0f0c00780a080000000000 42a519",
    ),
];

fn hexadecimal(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// Counts what is written.
#[derive(Default)]
struct Counter(usize);

impl ValueWriter for Counter {
    fn null(&mut self) {}
    fn integer(&mut self, _: i64) {}
    fn unsigned(&mut self, _: u64) {}
    fn number(&mut self, digits: &[u8]) {
        assert!(digits.is_ascii());
        self.0 += digits.len();
    }
    fn plain(&mut self, text: &[u8]) {
        assert!(text.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' '));
        self.0 += text.len();
    }
    fn text(&mut self, text: &[u8]) {
        assert!(std::str::from_utf8(text).is_ok());
        self.0 += text.len();
    }
    fn binary(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
    fn json(&mut self, document: &[u8]) {
        assert!(serde_json::from_slice::<serde::de::IgnoredAny>(document).is_ok());
        self.0 += document.len();
    }
}

/// A definition that agrees with the map, as far as one exists; `variant` chooses among types of the same form.
fn definition(map: &TableMap, variant: usize) -> Option<Mapping> {
    let columns = map.columns().iter().enumerate().map(|(index, column)| {
        let any = ["utf8mb4", "latin1", "utf16", "gbk"][(variant / 2) % 4];
        let charset = || column.charset.unwrap_or(any).to_owned();
        let chars = |bytes: u16| Some(u32::from(bytes) / charset_max_bytes(&charset())?);
        let binary = column.charset.map_or(variant.is_multiple_of(2), |charset| charset == "binary");
        let own = variant / 2 % 3;
        let size = |length_bytes| match length_bytes {
            1 => LobSize::Tiny,
            2 => LobSize::Plain,
            3 => LobSize::Medium,
            _ => LobSize::Long,
        };
        let name = |member: usize| format!("m{member}");
        let ty = match column.wire {
            Wire::Integer { bytes } => {
                let sizes =
                    [IntegerSize::Tiny, IntegerSize::Small, IntegerSize::Medium, IntegerSize::Int, IntegerSize::Big];
                let size = sizes.into_iter().find(|size| size.bytes() == usize::from(bytes))?;
                ColumnType::Integer { size, unsigned: column.unsigned.unwrap_or_default() }
            }
            Wire::Float => ColumnType::Float,
            Wire::Double => ColumnType::Double,
            Wire::Decimal { precision, scale } => ColumnType::Decimal { precision, scale },
            Wire::Bit { bits } => ColumnType::Bit { bits: u8::try_from(bits).ok()? },
            Wire::Varchar { bytes } if binary => ColumnType::Varbinary { bytes: bytes.into() },
            Wire::Varchar { bytes } => ColumnType::Varchar { chars: chars(bytes)?, charset: charset() },
            Wire::Text { bytes: 16 } if binary && own == 0 => ColumnType::Uuid,
            Wire::Text { bytes: 16 } if binary && own == 1 => ColumnType::Inet6,
            Wire::Text { bytes: 4 } if binary && own == 0 => ColumnType::Inet4,
            Wire::Text { bytes } if binary => ColumnType::Binary { bytes: bytes.into() },
            Wire::Text { bytes } => ColumnType::Char { chars: chars(bytes)?, charset: charset() },
            Wire::Enum { bytes } => {
                ColumnType::Enum { members: (0..if bytes > 1 { 300 } else { 3 }).map(name).collect() }
            }
            Wire::Set { bytes } => ColumnType::Set { members: (0..usize::from(bytes) * 8).map(name).collect() },
            Wire::Blob { length_bytes } if binary => ColumnType::Blob { size: size(length_bytes) },
            Wire::Blob { length_bytes } => ColumnType::Text { size: size(length_bytes), charset: charset() },
            Wire::Json { .. } => ColumnType::Json,
            Wire::Geometry { .. } => ColumnType::Geometry,
            Wire::Vector { .. } => ColumnType::Vector { dimensions: column.dimensions.unwrap_or(4) },
            Wire::Year => ColumnType::Year,
            Wire::Date => ColumnType::Date,
            Wire::Time { digits } => ColumnType::Time { digits },
            Wire::DateTime { digits } => ColumnType::DateTime { digits },
            Wire::Timestamp { digits } => ColumnType::Timestamp { digits },
            // Only the definition has the digits.
            Wire::OldTime => ColumnType::Time { digits: (variant % 7) as u8 },
            Wire::OldDateTime => ColumnType::DateTime { digits: (variant % 7) as u8 },
            Wire::OldTimestamp => ColumnType::Timestamp { digits: (variant % 7) as u8 },
            Wire::Unreadable { .. } => return None,
        };
        let mut made = Column::new(column.name.clone().unwrap_or_else(|| format!("c{index}")), ty);
        made.nullable = column.nullable && index > 0;
        Some(made)
    });
    let columns: Vec<Column> = columns.collect::<Option<_>>()?;
    let table = Table {
        name: TableName::new("d", "t"),
        columns,
        key: vec![0],
        primary: true,
        comment: String::new(),
        charset: None,
        indexes: Vec::new(),
    };
    map_table(&table, &MappingOptions::for_version(4, 0)).ok()
}

const VARIANTS: usize = 8;

fn row_plan(map: &TableMap, variant: usize) -> Option<RowPlan> {
    let mut map = map.clone();
    map.name = TableName::new("d", "t");
    RowPlan::new(&definition(&map, variant)?, &map, &ValueOptions::default()).ok()
}

#[test]
fn fuzz_table_maps_and_row_images() {
    // Each rows event with the map before it.
    let mut inputs = Vec::new();
    for events in corpus() {
        let mut maps = HashMap::new();
        for event in &events {
            if event.kind == event::kind::TABLE_MAP {
                maps.insert(event::table_id(&event.body), event.body.clone());
            } else if let Some((_, images)) = images(event) {
                inputs.push((maps[&event::table_id(&event.body)].clone(), images.to_vec()));
            }
        }
    }
    let plans_of = |(map, _): &(Vec<u8>, Vec<u8>)| -> Vec<RowPlan> {
        let map = TableMap::parse(map).unwrap();
        (0..VARIANTS).filter_map(|variant| row_plan(&map, variant)).collect()
    };
    let plans: Vec<Vec<RowPlan>> = inputs.iter().map(plans_of).collect();
    let unread = inputs.iter().zip(&plans).find(|(_, plans)| plans.is_empty());
    assert_eq!(unread.map(|((map, _), _)| TableMap::parse(map)).map(Result::unwrap), None, "not read of the corpus");
    let (mut walked, mut written) = (0u64, 0u64);
    run("table maps and row images", 60_000, |random| {
        let index = random.random_range(0..inputs.len());
        let (body, images) = &inputs[index];
        let (other_body, other_images) = &inputs[random.random_range(0..inputs.len())];
        let mutated = if random.random_range(0..4) == 0 {
            TableMap::parse(&mutate(random, body, other_body))
                .ok()
                .and_then(|map| row_plan(&map, random.random_range(0..VARIANTS)))
        } else {
            let plans = &plans[index];
            Some(plans[random.random_range(0..plans.len())].clone())
        };
        let Some(plan) = mutated else { return };
        let images =
            if random.random_range(0..16) == 0 { images.clone() } else { mutate(random, images, other_images) };
        let mut rest = images.as_slice();
        while !rest.is_empty() {
            let mut key = Vec::new();
            let mut counter = Counter::default();
            let wrote = plan.write(rest, &mut counter);
            written += u64::from(wrote.is_ok());
            assert!(counter.0 <= 40_000 + 16 * rest.len(), "{} bytes out of {}", counter.0, rest.len());
            let Ok(end) = plan.walk(rest, &mut key) else { break };
            walked += 1;
            assert!(end <= rest.len() && key.len() <= end);
            if end == 0 {
                break;
            }
            rest = &rest[end..];
        }
    });
    println!("rows walked: {walked}, written: {written}");
}
