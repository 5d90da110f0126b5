//! The hot path of the incremental stage, without a server: walk a row image and keep the last one per key
//! (`Batch::add`), then write what is left as CSV (`TableBatch::encode`). Rows have sysbench's layout.
//!
//! `cargo bench --bench hot_path`. The counter is rows; compare ratios within one run, machines are noisy.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::Bytes;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use towpath::apply::batch::Batch;
use towpath::apply::encode::{BinaryText, Encoder};
use towpath::mysql::binlog::{ColumnBits, EventPlan, ImageColumns, RowPlan, RowsEvent, RowsKind, TableMap};
use towpath::mysql::value::ValueOptions;
use towpath::ring::Budget;
use towpath::schema::{Column, ColumnType, IntegerSize, Mapping, MappingOptions, Table, TableName, map_table};

const EVENTS: usize = 1_000;
/// About what fits an event of 8 KB.
const ROWS_AN_EVENT: usize = 40;
const ROWS: usize = EVENTS * ROWS_AN_EVENT;

fn main() {
    divan::main();
}

/// `distinct`: how many keys the rows share.
#[divan::bench(args = [ROWS, ROWS / 10, ROWS / 1000])]
fn keep_the_last_image_per_key(bencher: Bencher<'_, '_>, distinct: usize) {
    let scene = Scene::new(distinct);
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| scene.batch());
}

/// `binlog_row_image=MINIMAL`: updates that set `k`, over a whole row or not.
#[divan::bench(args = [ROWS, ROWS / 10])]
fn merge_and_write_minimal_images(bencher: Bencher<'_, '_>, distinct: usize) {
    let scene = Scene::new(distinct);
    let columns =
        Arc::new(ImageColumns { before: ColumnBits::new(&[1]), after: ColumnBits::new(&[2]), mariadb: false });
    let events: Vec<RowsEvent> = (0..EVENTS)
        .map(|event| {
            let rows = (0..ROWS_AN_EVENT).flat_map(|row| {
                let id = ((event * ROWS_AN_EVENT + row) % distinct) as u32;
                [&[0][..], &id.to_le_bytes(), &[0], &row.to_le_bytes()[..4]].concat()
            });
            RowsEvent {
                table: Arc::clone(&scene.map),
                kind: RowsKind::Update,
                columns: Some(Arc::clone(&columns)),
                images: Bytes::from(rows.collect::<Vec<u8>>()),
                file: "binlog.000001".into(),
                offset: 4,
            }
        })
        .collect();
    let plan = EventPlan::new(&scene.mapping, &events[0], &ValueOptions::default()).unwrap();
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        let mut batch = Batch::default();
        for event in &events {
            batch.add(&scene.mapping, &plan, event, scene.budget.hold(event.images.len())).unwrap();
        }
        let mut encoder = Encoder::new(&scene.mapping.target, BinaryText::Base64, 64 << 20);
        for table in batch.into_tables() {
            table.encode(&mut encoder).unwrap();
        }
        black_box(encoder.finish())
    });
}

#[divan::bench]
fn write_csv(bencher: Bencher<'_, '_>) {
    let scene = Scene::new(ROWS);
    let tables = scene.batch().into_tables();
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        let mut encoder = Encoder::new(&scene.mapping.target, BinaryText::Base64, 64 << 20);
        for table in &tables {
            table.encode(&mut encoder).unwrap();
        }
        black_box(encoder.finish())
    });
}

struct Scene {
    mapping: Arc<Mapping>,
    map: Arc<TableMap>,
    plan: EventPlan,
    events: Vec<Bytes>,
    budget: Budget,
}

impl Scene {
    fn new(distinct: usize) -> Scene {
        let mapping = map_table(&table(), &MappingOptions::for_version(3, 5)).unwrap();
        let map = TableMap::parse(&table_map()).unwrap();
        let plan = RowPlan::new(&mapping, &map, &ValueOptions::default()).unwrap();
        let events = (0..EVENTS).map(|event| {
            let rows = (0..ROWS_AN_EVENT).flat_map(|row| image((event * ROWS_AN_EVENT + row) % distinct));
            Bytes::from(rows.collect::<Vec<u8>>())
        });
        Scene {
            events: events.collect(),
            mapping: Arc::new(mapping),
            map: Arc::new(map),
            plan: EventPlan::whole(Arc::new(plan)),
            budget: Budget::new(1 << 30),
        }
    }

    fn batch(&self) -> Batch {
        let mut batch = Batch::default();
        for images in &self.events {
            let event = RowsEvent {
                table: Arc::clone(&self.map),
                kind: RowsKind::Insert,
                columns: None,
                images: images.clone(),
                file: "binlog.000001".into(),
                offset: 4,
            };
            batch.add(&self.mapping, &self.plan, &event, self.budget.hold(images.len())).unwrap();
        }
        batch
    }
}

/// `CREATE TABLE sbtest1 (id INT PRIMARY KEY, k INT, c CHAR(120), pad CHAR(60))`
fn table() -> Table {
    let int = || ColumnType::Integer { size: IntegerSize::Int, unsigned: false };
    let char = |chars| ColumnType::Char { chars, charset: "utf8mb4".into() };
    Table {
        primary: true,
        charset: None,
        indexes: Vec::new(),
        name: TableName::new("sbtest", "sbtest1"),
        columns: vec![
            Column::new("id", int()),
            Column::new("k", int()),
            Column::new("c", char(120)),
            Column::new("pad", char(60)),
        ],
        key: vec![0],
        comment: String::new(),
    }
}

/// That table's TABLE_MAP event body, as MySQL writes it.
fn table_map() -> Vec<u8> {
    const LONG: u8 = 3;
    const STRING: u8 = 254;
    let mut body = vec![108, 0, 0, 0, 0, 0, 1, 0];
    for name in ["sbtest", "sbtest1"] {
        body.push(name.len() as u8);
        body.extend_from_slice(name.as_bytes());
        body.push(0);
    }
    body.extend_from_slice(&[4, LONG, LONG, STRING, STRING]);
    // CHAR(120) and CHAR(60) of utf8mb4: 480 and 240 bytes, the high bits folded into the type.
    body.extend_from_slice(&[4, 0xee, 0xe0, 0xfe, 0xf0, 0]);
    body
}

fn image(id: usize) -> Vec<u8> {
    let number = id as u32;
    let mut row = vec![0];
    row.extend_from_slice(&number.to_le_bytes());
    row.extend_from_slice(&(number ^ 0x5555).to_le_bytes());
    row.extend_from_slice(&119_u16.to_le_bytes());
    row.extend((0..119).map(|at| b'0' + ((id + at) % 10) as u8));
    row.push(59);
    row.extend((0..59).map(|at| b'0' + ((id * 7 + at) % 10) as u8));
    row
}
