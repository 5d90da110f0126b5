//! Images that lack columns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::mysql::binlog::{ColumnBits, ImageColumns, TableMap};
use crate::mysql::value::ValueOptions;
use crate::schema::{Column, ColumnType, DefaultValue, IntegerSize, MappingOptions, Table, map_table};
use crate::target::Format;

/// Columns of `CREATE TABLE shop.t (a VARCHAR(10) NOT NULL DEFAULT 'd', x INT, b VARCHAR(10) NULL, y INT,
/// c VARCHAR(10) NULL, PRIMARY KEY (y, x))`, in which the key is scattered and not in its own order.
const A: usize = 0;
const X: usize = 1;
const B: usize = 2;
const Y: usize = 3;
const C: usize = 4;
const ALL: [usize; 5] = [A, X, B, Y, C];
const KEY: [usize; 2] = [X, Y];
/// Without `c`, the "blob".
const NO_BLOB: [usize; 4] = [A, X, B, Y];

/// In the table's order; numbers in decimal.
type Row = [Option<String>; 5];

fn row(a: &str, x: i32, b: Option<&str>, y: i32, c: Option<&str>) -> Row {
    [Some(a.to_owned()), Some(x.to_string()), b.map(str::to_owned), Some(y.to_string()), c.map(str::to_owned)]
}

struct Scene {
    mapping: Arc<Mapping>,
    map: Arc<TableMap>,
}

impl Scene {
    fn new() -> Scene {
        let int = || ColumnType::Integer { size: IntegerSize::Int, unsigned: false };
        let text = || ColumnType::Varchar { chars: 10, charset: "utf8mb4".into() };
        let nullable = |name: &str| Column { nullable: true, ..Column::new(name, text()) };
        let default = Some(DefaultValue::Literal("d".into()));
        let columns = vec![
            Column { default, ..Column::new("a", text()) },
            Column::new("x", int()),
            nullable("b"),
            Column::new("y", int()),
            nullable("c"),
        ];
        let table = Table {
            name: TableName::new("shop", "t"),
            columns,
            key: vec![Y, X],
            primary: true,
            charset: None,
            indexes: Vec::new(),
            comment: String::new(),
        };
        let map = b"\x07\0\0\0\0\0\x01\0\x04shop\0\x01t\0\x05\x0f\x03\x0f\x03\x0f\x06\x28\0\x28\0\x28\0\x14";
        Scene {
            mapping: Arc::new(map_table(&table, &MappingOptions::for_version(3, 5)).unwrap()),
            map: Arc::new(TableMap::parse(map).unwrap()),
        }
    }

    /// An event of one row: its before and after image, each with these columns. An INSERT has no before image, a DELETE
    /// no after image.
    fn event(&self, kind: RowsKind, before: (&[usize], &Row), after: (&[usize], &Row)) -> RowsEvent {
        let mut images = Vec::new();
        if kind != RowsKind::Insert {
            images.extend(image(before));
        }
        if kind != RowsKind::Delete {
            images.extend(image(after));
        }
        let bits = |columns: &[usize]| ColumnBits::new(&[columns.iter().map(|column| 1 << column).sum::<u8>()]);
        let columns = ImageColumns { before: bits(before.0), after: bits(after.0), mariadb: false };
        let whole = |columns: &[usize]| columns.len() == ALL.len();
        let columns = if whole(before.0) && whole(after.0) { None } else { Some(Arc::new(columns)) };
        let (table, file) = (Arc::clone(&self.map), "binlog.000001".into());
        RowsEvent { table, kind, columns, images: Bytes::from(images), file, offset: 4, gtid: None }
    }

    fn add(&self, batch: &mut Batch, event: &RowsEvent) -> Result<()> {
        let plan = EventPlan::new(&self.mapping, event, &ValueOptions::default())?;
        batch.add(&self.mapping, &plan, event, Budget::new(1).hold(0))
    }
}

fn image((columns, row): (&[usize], &Row)) -> Vec<u8> {
    let mut nulls = 0u8;
    let mut values = Vec::new();
    for (bit, &column) in columns.iter().enumerate() {
        match &row[column] {
            None => nulls |= 1 << bit,
            Some(number) if KEY.contains(&column) => {
                values.extend_from_slice(&number.parse::<i32>().unwrap().to_le_bytes());
            }
            Some(text) => {
                values.push(text.len() as u8);
                values.extend_from_slice(text.as_bytes());
            }
        }
    }
    [vec![nulls; usize::from(!columns.is_empty())], values].concat()
}

/// What a load does to one row.
#[derive(Debug, Clone, PartialEq)]
struct Write {
    /// By the target's names, NULL as `None`.
    cells: BTreeMap<String, Option<String>>,
    delete: bool,
    partial: bool,
}

/// The rows of all loads of a batch; `max_bytes` of a body.
fn loads(batch: Batch, max_bytes: usize) -> Vec<Write> {
    let mut writes = Vec::new();
    for table in batch.into_tables() {
        let mut encoder = Encoder::new(&table.mapping().target, BinaryText::Base64, max_bytes);
        table.encode(&mut encoder).unwrap();
        for part in encoder.finish() {
            let names: Vec<String> = encoder.columns(&part).iter().map(|column| column.name.clone()).collect();
            let body = String::from_utf8(part.body.to_vec()).unwrap();
            let before = writes.len();
            let rows: Vec<BTreeMap<String, Option<String>>> = match part.format {
                Format::Csv => {
                    let cell = |cell: &str| (cell != "\\N").then(|| cell.to_owned());
                    let line = |line: &str| names.iter().cloned().zip(line.split('\x01').map(cell)).collect();
                    assert!(body.split_terminator('\x02').all(|line| line.split('\x01').count() == names.len()));
                    body.split_terminator('\x02').map(line).collect()
                }
                Format::JsonLines => body
                    .lines()
                    .map(|line| {
                        let object: BTreeMap<String, serde_json::Value> = serde_json::from_str(line).unwrap();
                        assert!(object.keys().eq(names.iter().collect::<BTreeSet<_>>()), "{line}");
                        let text = |value: serde_json::Value| match value {
                            serde_json::Value::Null => None,
                            serde_json::Value::String(text) => Some(text),
                            other => Some(other.to_string()),
                        };
                        object.into_iter().map(|(name, value)| (name, text(value))).collect()
                    })
                    .collect(),
            };
            for mut cells in rows {
                let delete = cells.remove("__op").unwrap().unwrap() == "1";
                writes.push(Write { cells, delete, partial: part.is_partial() });
            }
            assert_eq!((writes.len() - before) as u64, part.rows);
        }
    }
    writes
}

/// An image: its columns, and the row it is of.
type ImageOf<'a> = (&'a [usize], &'a Row);

fn merged(events: &[(RowsKind, ImageOf<'_>, ImageOf<'_>)]) -> Result<Vec<Write>> {
    let scene = Scene::new();
    let mut batch = Batch::default();
    for (kind, before, after) in events {
        scene.add(&mut batch, &scene.event(*kind, *before, *after))?;
    }
    Ok(loads(batch, 1 << 20))
}

fn cells(cells: &[(&str, Option<&str>)]) -> BTreeMap<String, Option<String>> {
    cells.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect()
}

#[test]
fn an_insert_is_a_whole_row_with_the_defaults_of_what_it_lacks() {
    let new = row("", 1, None, 2, Some("c"));
    let writes = merged(&[(RowsKind::Insert, (&[X, Y, C], &new), (&[X, Y, C], &new))]).unwrap();
    let expected = cells(&[("a", Some("d")), ("b", None), ("c", Some("c")), ("x", Some("1")), ("y", Some("2"))]);
    assert_eq!(writes, [Write { cells: expected, delete: false, partial: false }]);
}

#[test]
fn an_insert_may_lack_its_key() {
    let new = row("z", 0, None, 0, None);
    for columns in [&[A][..], &[]] {
        let writes = merged(&[(RowsKind::Insert, (columns, &new), (columns, &new))]).unwrap();
        assert_eq!((writes[0].cells["x"].as_deref(), writes[0].cells["y"].as_deref()), (Some("0"), Some("0")));
        assert_eq!(writes[0].cells["a"].as_deref(), Some(if columns.is_empty() { "d" } else { "z" }));
    }
}

#[test]
fn bytes_that_no_column_has_are_an_error() {
    let new = row("z", 0, None, 0, None);
    let scene = Scene::new();
    let mut event = scene.event(RowsKind::Insert, (&[], &new), (&[], &new));
    event.images = Bytes::from_static(b"\0");
    assert!(scene.add(&mut Batch::default(), &event).unwrap_err().to_string().contains("bytes behind an image"));
}

#[test]
fn an_update_writes_what_it_tells_and_later_ones_add_to_it() {
    let old = row("a", 1, Some("b"), 2, Some("c"));
    let new = row("a", 1, None, 2, Some("cc"));
    let key = [("x", Some("1")), ("y", Some("2"))];
    let updated_b = (RowsKind::Update, (&KEY[..], &old), (&[B][..], &new));
    let updated_c = (RowsKind::Update, (&KEY[..], &old), (&[C][..], &new));
    let partial = |more: &[(&str, Option<&str>)]| Write {
        cells: cells(&[&key[..], more].concat()),
        delete: false,
        partial: true,
    };
    assert_eq!(merged(&[updated_b]).unwrap(), [partial(&[("b", None)])]);
    assert_eq!(merged(&[updated_b, updated_c]).unwrap(), [partial(&[("b", None), ("c", Some("cc"))])]);
    // Over a whole row it is whole.
    let inserted = (RowsKind::Insert, (&ALL[..], &old), (&ALL[..], &old));
    let whole = &merged(&[inserted, updated_b]).unwrap()[0];
    assert!(!whole.partial && whole.cells.len() == 5 && whole.cells["b"].is_none(), "{whole:?}");
    assert_eq!(whole.cells["c"].as_deref(), Some("c"));
}

#[test]
fn before_and_after_image_together_may_tell_the_whole_row() {
    let old = row("a", 1, Some("b"), 2, Some("c"));
    let new = row("a", 1, Some("bb"), 2, Some("c"));
    let writes = merged(&[(RowsKind::Update, (&ALL, &old), (&[B], &new))]).unwrap();
    assert!(!writes[0].partial);
    assert_eq!((writes[0].cells["b"].as_deref(), writes[0].cells["c"].as_deref()), (Some("bb"), Some("c")));
}

#[test]
fn a_delete_by_the_key_alone_is_a_valid_row() {
    let old = row("a", 1, Some("b"), 2, Some("c"));
    let updated = (RowsKind::Update, (&KEY[..], &old), (&[B][..], &old));
    let writes = merged(&[updated, (RowsKind::Delete, (&KEY, &old), (&KEY, &old))]).unwrap();
    // `a` is NOT NULL, and StarRocks looks at that in deletes too.
    let expected = cells(&[("a", Some("")), ("b", None), ("c", None), ("x", Some("1")), ("y", Some("2"))]);
    assert_eq!(writes, [Write { cells: expected, delete: true, partial: false }]);
}

#[test]
fn a_part_of_the_key_may_change_alone() {
    let old = row("a", 1, Some("b"), 2, Some("c"));
    let new = row("a", 9, Some("b"), 2, Some("c"));
    let inserted = (RowsKind::Insert, (&ALL[..], &old), (&ALL[..], &old));
    let writes = merged(&[inserted, (RowsKind::Update, (&KEY, &old), (&[X], &new))]).unwrap();
    assert!(writes[0].delete && writes[0].cells["x"].as_deref() == Some("1"));
    assert!(!writes[1].delete && !writes[1].partial);
    assert_eq!(writes[1].cells["x"].as_deref(), Some("9"));
    assert_eq!((writes[1].cells["y"].as_deref(), writes[1].cells["c"].as_deref()), (Some("2"), Some("c")));
}

#[test]
fn a_new_key_for_a_row_that_is_not_told_stops_with_the_place_and_the_way_out() {
    let old = row("a", 1, Some("b"), 2, Some("c"));
    let new = row("a", 9, Some("b"), 2, Some("c"));
    let error = merged(&[(RowsKind::Update, (&NO_BLOB, &old), (&NO_BLOB, &new))]).unwrap_err();
    let text = error.to_string();
    for part in ["shop.t at binlog.000001:4", "column c", "binlog_row_image = 'FULL'"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!error.is_transient());
}

#[test]
fn an_update_of_a_deleted_row_is_a_log_that_contradicts_itself() {
    let old = row("a", 1, Some("b"), 2, Some("c"));
    let deleted = (RowsKind::Delete, (&ALL[..], &old), (&ALL[..], &old));
    let error = merged(&[deleted, (RowsKind::Update, (&KEY, &old), (&[B], &old))]).unwrap_err();
    assert!(error.to_string().contains("an event before it has deleted"), "{error}");
}

#[test]
fn images_without_the_key_are_refused() {
    let old = row("a", 1, Some("b"), 2, Some("c"));
    for kind in [RowsKind::Update, RowsKind::Delete] {
        let error = merged(&[(kind, (&[X], &old), (&[B], &old))]).unwrap_err();
        assert!(error.to_string().contains("lacks a part of the key (y, x)"), "{error}");
    }
}

#[test]
fn a_hot_row_keeps_a_short_chain_whose_images_count() {
    let old = row("a", 1, Some("b"), 2, Some("c"));
    let scene = Scene::new();
    let mut batch = Batch::default();
    let event = scene.event(RowsKind::Update, (&KEY, &old), (&[B], &old));
    let plan = EventPlan::new(&scene.mapping, &event, &ValueOptions::default()).unwrap();
    for _ in 0..100 {
        batch.add(&scene.mapping, &plan, &event, Budget::new(1).hold(0)).unwrap();
    }
    let table = &batch.tables[0];
    assert_eq!((table.rows.len(), table.layers.len()), (1, 1));
    assert_eq!(batch.bytes(), MERGED_ROW_BYTES + LAYER_BYTES + 8);
}

/// One change at the source.
#[derive(Debug, Clone)]
enum Change {
    Insert {
        key: (i32, i32),
        values: [Option<String>; 3],
        named: [bool; 3],
    },
    Update {
        key: (i32, i32),
        to: Option<(i32, i32)>,
        values: [Option<String>; 3],
        named: [bool; 3],
    },
    Delete {
        key: (i32, i32),
    },
    /// The epoch ends.
    Flush,
}

/// `binlog_row_image`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Full,
    NoBlob,
    Minimal,
    /// MariaDB 11's.
    FullNoDuplicates,
}

fn change() -> impl Strategy<Value = (Change, Kind)> {
    let key = || (0..3_i32, 0..2_i32);
    let text = || proptest::option::weighted(0.8, prop_oneof![4 => "[a-z]{0,3}", 1 => Just("\x01".to_owned())]);
    let values = || [text(), text(), text()];
    let named = || proptest::array::uniform3(any::<bool>());
    let change = prop_oneof![
        4 => (key(), values(), named()).prop_map(|(key, values, named)| Change::Insert { key, values, named }),
        6 => (key(), proptest::option::weighted(0.2, key()), values(), named())
            .prop_map(|(key, to, values, named)| Change::Update { key, to, values, named }),
        2 => key().prop_map(|key| Change::Delete { key }),
        2 => Just(Change::Flush),
    ];
    let kind = prop_oneof![
        Just(Kind::Full),
        Just(Kind::NoBlob),
        Just(Kind::NoBlob),
        Just(Kind::Minimal),
        Just(Kind::Minimal),
        Just(Kind::Minimal),
        Just(Kind::FullNoDuplicates),
    ];
    (change, kind)
}

/// A source and a target of this table, and what the epoch's log has told of each row.
#[derive(Default)]
struct Model {
    source: BTreeMap<(i32, i32), Row>,
    target: BTreeMap<(i32, i32), BTreeMap<String, Option<String>>>,
    told: BTreeMap<(i32, i32), BTreeSet<usize>>,
}

impl Model {
    /// Does the change at the source. `None`: nothing has changed there.
    fn event(&mut self, scene: &Scene, change: &Change, kind: Kind) -> Option<(RowsEvent, bool)> {
        const VALUES: [usize; 3] = [A, B, C];
        let image = |set: &[usize], before: bool| -> Vec<usize> {
            let keep = |column: &usize| match kind {
                Kind::Full => true,
                Kind::FullNoDuplicates => before || set.contains(column),
                Kind::NoBlob => *column != C || !before && set.contains(column),
                Kind::Minimal if before => KEY.contains(column),
                Kind::Minimal => set.contains(column),
            };
            ALL.into_iter().filter(keep).collect()
        };
        match change {
            Change::Insert { key, values, named } => {
                if self.source.contains_key(key) {
                    return None;
                }
                let mut new = row("d", key.0, None, key.1, None);
                let mut set = KEY.to_vec();
                for (column, (value, _)) in
                    VALUES.into_iter().zip(values.iter().zip(named).filter(|(_, named)| **named))
                {
                    set.push(column);
                    new[column] = value.clone().or((column == A).then(String::new));
                }
                let columns = if kind == Kind::FullNoDuplicates { ALL.to_vec() } else { image(&set, false) };
                self.source.insert(*key, new.clone());
                self.told.insert(*key, ALL.into());
                Some((scene.event(RowsKind::Insert, (&columns, &new), (&columns, &new)), true))
            }
            Change::Update { key, to, values, named } => {
                let old = self.source.get(key)?.clone();
                let to = to.unwrap_or(*key);
                if to != *key && self.source.contains_key(&to) {
                    return None;
                }
                let mut new = old.clone();
                let mut set = Vec::new();
                for (column, value) in [(X, to.0), (Y, to.1)] {
                    // Only a part of the key may be assigned.
                    if old[column] != Some(value.to_string()) {
                        set.push(column);
                        new[column] = Some(value.to_string());
                    }
                }
                for ((column, value), named) in VALUES.into_iter().zip(values).zip(named) {
                    if *named {
                        set.push(column);
                        new[column] = value.clone().or((column == A).then(String::new));
                    }
                }
                if old == new {
                    return None;
                }
                let (before, after) = (image(&set, true), image(&set, false));
                let mut told = self.told.remove(key).unwrap_or_default();
                told.extend(before.iter().chain(&after));
                let known = to == *key || told.len() == ALL.len();
                self.source.remove(key);
                self.source.insert(to, new.clone());
                self.told.insert(to, told);
                Some((scene.event(RowsKind::Update, (&before, &old), (&after, &new)), known))
            }
            Change::Delete { key } => {
                let old = self.source.remove(key)?;
                self.told.remove(key);
                let columns = image(&[], true);
                Some((scene.event(RowsKind::Delete, (&columns, &old), (&columns, &old)), true))
            }
            Change::Flush => None,
        }
    }

    /// Brings a batch to the target and compares.
    fn flush(&mut self, batch: Batch, max_bytes: usize) -> Result<(), TestCaseError> {
        let mut seen = BTreeSet::new();
        let writes = loads(batch, max_bytes);
        for Write { cells, delete, partial } in writes {
            let part = |name: &str| cells[name].as_deref().unwrap().parse::<i32>().unwrap();
            let key = (part("x"), part("y"));
            prop_assert!(seen.insert(key), "{:?} is in two loads", key);
            prop_assert!(partial || cells.contains_key("a") && cells.len() == 5, "{:?}", cells);
            prop_assert!(cells.get("a").is_none_or(Option::is_some), "a NULL in a NOT NULL column");
            match (delete, partial) {
                (true, partial) => {
                    prop_assert!(!partial);
                    self.target.remove(&key);
                }
                (false, false) => drop(self.target.insert(key, cells)),
                (false, true) => {
                    let there = self.target.get_mut(&key);
                    prop_assert!(there.is_some(), "a partial update of a row that is not there");
                    there.unwrap().extend(cells);
                }
            }
        }
        let source: BTreeMap<_, _> = self.source.iter().map(|(key, row)| (*key, named(row))).collect();
        prop_assert_eq!(&self.target, &source);
        self.told.clear();
        Ok(())
    }
}

fn named(row: &Row) -> BTreeMap<String, Option<String>> {
    ["a", "x", "b", "y", "c"].map(str::to_owned).into_iter().zip(row.iter().cloned()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever happens, under whichever image settings: after each epoch the target is the source. A job stops only at a
    /// new key for a row that the epoch's log does not tell.
    #[test]
    fn after_every_epoch_the_target_is_the_source(
        changes in proptest::collection::vec(change(), 1..60),
        max_bytes in prop_oneof![Just(1_usize), Just(1 << 20)],
    ) {
        let scene = Scene::new();
        let mut model = Model::default();
        let mut batch = Batch::default();
        for (change, kind) in &changes {
            if let Change::Flush = change {
                model.flush(std::mem::take(&mut batch), max_bytes)?;
            }
            let Some((event, known)) = model.event(&scene, change, *kind) else { continue };
            let added = scene.add(&mut batch, &event);
            prop_assert_eq!(added.is_ok(), known, "{:?}", added);
            if !known {
                return Ok(());
            }
        }
        model.flush(batch, max_bytes)?;
    }
}
