//! Fixed input for the hot path: rows events and SELECT rows of two tables, and the loops over them.

use std::sync::Arc;

use bytes::Bytes;
use towpath::apply::batch::Batch;
use towpath::apply::encode::{BinaryText, EncodeRow, Encoder, Op, Part};
use towpath::mysql::binlog::{ColumnBits, EventPlan, ImageColumns, RowPlan, RowsEvent, RowsKind, TableMap};
use towpath::mysql::snapshot::SnapshotPlan;
use towpath::mysql::value::{RowError, ValueOptions, ValueWriter};
use towpath::mysql::wire::{Form, PackedRow};
use towpath::ring::Budget;
use towpath::schema::{Column, ColumnType, IntegerSize, Mapping, MappingOptions, Table, TableName, map_table};

pub(crate) const EVENTS: usize = 1_000;
/// About what fits an event of 8 KB.
pub(crate) const ROWS_AN_EVENT: usize = 40;
pub(crate) const ROWS: usize = EVENTS * ROWS_AN_EVENT;

const BODY_BYTES: usize = 64 << 20;

/// A table and events of it.
pub(crate) struct Scene {
    mapping: Arc<Mapping>,
    plan: EventPlan,
    events: Vec<RowsEvent>,
    budget: Budget,
}

impl Scene {
    /// Inserts into sysbench's table, `rows_an_event` in each event; the rows share `distinct` keys.
    pub(crate) fn inserts(distinct: usize, rows_an_event: usize) -> Scene {
        let image = |row| sysbench_image(row % distinct);
        Scene::new(&sysbench(), &sysbench_map(), RowsKind::Insert, rows_an_event, image)
    }

    /// Updates as `oltp_write_only` makes them: an event has one row, both images whole.
    pub(crate) fn updates(distinct: usize) -> Scene {
        let image = |row| [sysbench_image(row % distinct), sysbench_image(row % distinct)].concat();
        Scene::new(&sysbench(), &sysbench_map(), RowsKind::Update, 1, image)
    }

    /// Inserts into a table of numbers, dates and short texts, some of them NULL.
    pub(crate) fn mixed() -> Scene {
        Scene::new(&mixed(), &mixed_map(), RowsKind::Insert, ROWS_AN_EVENT, mixed_image)
    }

    /// `binlog_row_image=MINIMAL`: updates that set `k`.
    pub(crate) fn minimal(distinct: usize) -> Scene {
        let image = |row: usize| {
            let id = ((row % distinct) as u32).to_le_bytes();
            [&[0][..], &id, &[0], &(row as u32).to_le_bytes()].concat()
        };
        let mut scene = Scene::new(&sysbench(), &sysbench_map(), RowsKind::Insert, ROWS_AN_EVENT, image);
        let columns =
            Arc::new(ImageColumns { before: ColumnBits::new(&[1]), after: ColumnBits::new(&[2]), mariadb: false });
        for event in &mut scene.events {
            event.kind = RowsKind::Update;
            event.columns = Some(Arc::clone(&columns));
        }
        scene.plan = EventPlan::new(&scene.mapping, &scene.events[0], &ValueOptions::default()).unwrap();
        scene
    }

    fn new(table: &Table, map: &[u8], kind: RowsKind, rows_an_event: usize, image: impl Fn(usize) -> Vec<u8>) -> Scene {
        let mapping = map_table(table, &MappingOptions::for_version(3, 5)).unwrap();
        let map = Arc::new(TableMap::parse(map).unwrap());
        let plan = RowPlan::new(&mapping, &map, &ValueOptions::default()).unwrap();
        let events = (0..ROWS / rows_an_event).map(|event| RowsEvent {
            table: Arc::clone(&map),
            kind,
            columns: None,
            images: Bytes::from(
                (0..rows_an_event).flat_map(|row| image(event * rows_an_event + row)).collect::<Vec<u8>>(),
            ),
            file: "binlog.000001".into(),
            offset: 4,
            gtid: None,
        });
        Scene {
            events: events.collect(),
            plan: EventPlan::whole(Arc::new(plan)),
            mapping: Arc::new(mapping),
            budget: Budget::new(1 << 30),
        }
    }

    /// The last image per key.
    pub(crate) fn batch(&self) -> Batch {
        let mut batch = Batch::default();
        for event in &self.events {
            let event = RowsEvent {
                table: Arc::clone(&event.table),
                columns: event.columns.clone(),
                images: event.images.clone(),
                file: Arc::clone(&event.file),
                gtid: None,
                ..*event
            };
            batch.add(&self.mapping, &self.plan, &event, self.budget.hold(event.images.len())).unwrap();
        }
        batch
    }

    /// A batch as bodies.
    pub(crate) fn encode(&self, batch: Batch, json: bool) -> Vec<Part> {
        let encoder = Encoder::new(&self.mapping.target, BinaryText::Base64, BODY_BYTES);
        let mut encoder = if json { encoder.json_only() } else { encoder };
        for table in batch.into_tables() {
            table.encode(&mut encoder).unwrap();
        }
        encoder.finish()
    }
}

/// Rows as a SELECT gives them, over the binary protocol.
pub(crate) struct Selected {
    mapping: Mapping,
    plan: SnapshotPlan,
    forms: Vec<Form>,
    rows: Vec<Vec<u8>>,
}

impl Selected {
    pub(crate) fn sysbench() -> Selected {
        let row = |id| {
            let number = (id as u32).to_le_bytes();
            let [c, pad] = sysbench_texts(id);
            [&[0, 0][..], &number, &number, &[119], &c, &[59], &pad].concat()
        };
        Selected::new(&sysbench(), vec![Form::Long, Form::Long, Form::Bytes, Form::Bytes], row)
    }

    /// Numbers, dates and short texts, some of them NULL.
    pub(crate) fn mixed() -> Selected {
        let forms = vec![Form::LongLong, Form::Long, Form::Bytes, Form::Date, Form::Date, Form::Bytes, Form::Double];
        Selected::new(&mixed(), forms, |id| {
            let null = id.is_multiple_of(4);
            // The bit of the fourth column.
            let mut row = vec![0, if null { 0b10_0000 } else { 0 }, 0];
            row.extend_from_slice(&(id as u64).to_le_bytes());
            row.extend_from_slice(&(id as u32 % 97).to_le_bytes());
            let text = |row: &mut Vec<u8>, text: String| {
                row.push(text.len() as u8);
                row.extend_from_slice(text.as_bytes());
            };
            text(&mut row, format!("{}.{:02}", id & 0xffff, id % 100));
            if !null {
                row.extend_from_slice(&[11, 0xe8, 7, 3, 5, (id % 24) as u8, (id % 60) as u8, (id % 59) as u8]);
                row.extend_from_slice(&(id as u32 % 1000 * 1000).to_le_bytes());
            }
            row.extend_from_slice(&[4, 0xe8, 7, 3, 1 + (id % 28) as u8]);
            text(&mut row, format!("Größe {id}"));
            row.extend_from_slice(&(id as f64 / 8.0).to_le_bytes());
            row
        })
    }

    fn new(table: &Table, forms: Vec<Form>, row: impl Fn(usize) -> Vec<u8>) -> Selected {
        let mapping = map_table(table, &MappingOptions::for_version(3, 5)).unwrap();
        let plan = SnapshotPlan::new(&mapping, &ValueOptions::default()).unwrap();
        Selected { rows: (0..ROWS).map(row).collect(), forms, mapping, plan }
    }

    pub(crate) fn encode(&self) -> Vec<Part> {
        struct One<'a>(&'a SnapshotPlan, PackedRow<'a>);
        impl EncodeRow for One<'_> {
            type Error = RowError;
            fn write(&mut self, out: &mut impl ValueWriter) -> Result<(), RowError> {
                self.0.write(self.1, out)
            }
        }
        let mut encoder = Encoder::new(&self.mapping.target, BinaryText::Base64, BODY_BYTES);
        for row in &self.rows {
            encoder.row(Op::Upsert, One(&self.plan, PackedRow::new(&self.forms, row))).unwrap();
        }
        encoder.finish()
    }
}

/// `CREATE TABLE sbtest1 (id INT PRIMARY KEY, k INT, c CHAR(120), pad CHAR(60))`
fn sysbench() -> Table {
    let int = || ColumnType::Integer { size: IntegerSize::Int, unsigned: false };
    let char = |chars| ColumnType::Char { chars, charset: "utf8mb4".into() };
    table(vec![
        Column::new("id", int()),
        Column::new("k", int()),
        Column::new("c", char(120)),
        Column::new("pad", char(60)),
    ])
}

fn sysbench_map() -> Vec<u8> {
    const LONG: u8 = 3;
    const STRING: u8 = 254;
    // CHAR(120) and CHAR(60) of utf8mb4: 480 and 240 bytes, the high bits folded into the type.
    map(&[LONG, LONG, STRING, STRING], &[0xee, 0xe0, 0xfe, 0xf0], 0)
}

fn sysbench_texts(id: usize) -> [Vec<u8>; 2] {
    [
        (0..119).map(|at| b'0' + ((id + at) % 10) as u8).collect(),
        (0..59).map(|at| b'0' + ((id * 7 + at) % 10) as u8).collect(),
    ]
}

fn sysbench_image(id: usize) -> Vec<u8> {
    let number = id as u32;
    let mut row = vec![0];
    row.extend_from_slice(&number.to_le_bytes());
    row.extend_from_slice(&(number ^ 0x5555).to_le_bytes());
    let [c, pad] = sysbench_texts(id);
    row.extend_from_slice(&119_u16.to_le_bytes());
    row.extend(c);
    row.push(59);
    row.extend(pad);
    row
}

/// `id BIGINT, shop INT, price DECIMAL(12,2), ordered DATETIME(3) NULL, day DATE, name VARCHAR(40), weight DOUBLE`
fn mixed() -> Table {
    let mut ordered = Column::new("ordered", ColumnType::DateTime { digits: 3 });
    ordered.nullable = true;
    table(vec![
        Column::new("id", ColumnType::Integer { size: IntegerSize::Big, unsigned: false }),
        Column::new("shop", ColumnType::Integer { size: IntegerSize::Int, unsigned: false }),
        Column::new("price", ColumnType::Decimal { precision: 12, scale: 2 }),
        ordered,
        Column::new("day", ColumnType::Date),
        Column::new("name", ColumnType::Varchar { chars: 40, charset: "utf8mb4".into() }),
        Column::new("weight", ColumnType::Double),
    ])
}

fn mixed_map() -> Vec<u8> {
    map(&[8, 3, 246, 18, 10, 15, 5], &[12, 2, 3, 160, 0, 8], 0b1000)
}

fn mixed_image(id: usize) -> Vec<u8> {
    let null = id.is_multiple_of(4);
    let mut row = vec![if null { 0b1000 } else { 0 }];
    row.extend_from_slice(&(id as u64).to_le_bytes());
    row.extend_from_slice(&(id as u32 % 97).to_le_bytes());
    // Ten digits before the point in 1 + 4 bytes, two behind it in one; the first bit is the sign.
    row.extend_from_slice(&[0x80, 0, 0, (id >> 8) as u8, id as u8, (id % 100) as u8]);
    if !null {
        // 2024-03-05 and a time of the day, then milliseconds in two bytes.
        let day = (2024_u64 * 13 + 3) << 5 | 5;
        let time = ((id % 24) as u64) << 12 | ((id % 60) as u64) << 6 | (id % 59) as u64;
        row.extend_from_slice(&((day << 17 | time) + (1 << 39)).to_be_bytes()[3..]);
        row.extend_from_slice(&((id % 1000 * 10) as u16).to_be_bytes());
    }
    row.extend_from_slice(&(2024_u32 << 9 | 3 << 5 | (1 + id as u32 % 28)).to_le_bytes()[..3]);
    let name = format!("Größe {id}");
    row.push(name.len() as u8);
    row.extend_from_slice(name.as_bytes());
    row.extend_from_slice(&(id as f64 / 8.0).to_le_bytes());
    row
}

fn table(columns: Vec<Column>) -> Table {
    Table {
        primary: true,
        name: TableName::new("sbtest", "sbtest1"),
        columns,
        key: vec![0],
        comment: String::new(),
        charset: None,
        indexes: Vec::new(),
    }
}

/// A TABLE_MAP event's body, as MySQL writes it.
fn map(types: &[u8], metadata: &[u8], nullable: u8) -> Vec<u8> {
    let mut body = vec![108, 0, 0, 0, 0, 0, 1, 0];
    for name in ["sbtest", "sbtest1"] {
        body.push(name.len() as u8);
        body.extend_from_slice(name.as_bytes());
        body.push(0);
    }
    body.push(types.len() as u8);
    body.extend_from_slice(types);
    body.push(metadata.len() as u8);
    body.extend_from_slice(metadata);
    body.push(nullable);
    body
}
