//! Merging by key: whole images here, images that lack columns in [`images`].

mod images;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::encode::BinaryText;
use super::super::sample::Sample;
use super::*;
use crate::ring::Budget;

/// What a batch sends after these events: `id`, `v`, `__op` a line.
fn sent(events: &[(RowsKind, Vec<(i32, &str)>)]) -> Vec<String> {
    let sample = Sample::new();
    let mut batch = Batch::default();
    for (kind, rows) in events {
        let event = sample.event(*kind, rows);
        batch.add(&sample.mapping, &sample.plan, &event, Budget::new(1).hold(0)).unwrap();
    }
    let rows = batch.rows();
    let mut encoder = Encoder::new(&sample.mapping.target, BinaryText::Base64, 1 << 20);
    batch.into_tables().iter().for_each(|table| table.encode(&mut encoder).unwrap());
    let parts = encoder.finish();
    let body: String = parts.iter().map(|part| String::from_utf8(part.body.to_vec()).unwrap()).collect();
    let lines: Vec<String> = body.split_terminator('\x02').map(|line| line.replace('\x01', " ")).collect();
    assert_eq!(lines.len(), rows);
    lines
}

#[test]
fn the_last_image_of_a_key_is_sent() {
    let rows = sent(&[
        (RowsKind::Insert, vec![(1, "a"), (2, "b")]),
        (RowsKind::Update, vec![(1, "a"), (1, "c")]),
        (RowsKind::Insert, vec![(3, "d")]),
        (RowsKind::Update, vec![(1, "c"), (1, "e")]),
    ]);
    assert_eq!(rows, ["1 e 0", "2 b 0", "3 d 0"]);
}

#[test]
fn key_change_deletes_the_old_row() {
    assert_eq!(sent(&[(RowsKind::Update, vec![(1, "a"), (2, "b")])]), ["1 a 1", "2 b 0"]);
    // Two rows change places through a third key.
    let rows = sent(&[
        (RowsKind::Update, vec![(1, "a"), (9, "a")]),
        (RowsKind::Update, vec![(2, "b"), (1, "b")]),
        (RowsKind::Update, vec![(9, "a"), (2, "a")]),
    ]);
    assert_eq!(rows, ["1 b 0", "9 a 1", "2 a 0"]);
}

#[test]
fn a_deleted_row_stays_a_delete() {
    let rows = sent(&[(RowsKind::Insert, vec![(1, "a")]), (RowsKind::Delete, vec![(1, "a")])]);
    assert_eq!(rows, ["1 a 1"]);
    let rows = sent(&[(RowsKind::Delete, vec![(1, "a")]), (RowsKind::Insert, vec![(1, "b")])]);
    assert_eq!(rows, ["1 b 0"]);
}

#[test]
fn a_row_that_does_not_fit_is_an_error_with_table_and_place() {
    let sample = Sample::new();
    let mut event = sample.event(RowsKind::Insert, &[(1, "abc")]);
    event.images = event.images.slice(..event.images.len() - 1);
    let error = Batch::default().add(&sample.mapping, &sample.plan, &event, Budget::new(1).hold(0)).unwrap_err();
    assert!(error.to_string().starts_with("shop.t at binlog.000001:4:"), "{error}");
    assert!(!error.is_transient());
}

#[test]
fn the_index_over_tiny_rows_counts_and_dead_images_do_too() {
    let sample = Sample::new();
    let budget = Budget::new(1000);
    let mut batch = Batch::default();
    let rows: Vec<(i32, &str)> = (0..100).map(|id| (id, "")).collect();
    batch.add(&sample.mapping, &sample.plan, &sample.event(RowsKind::Insert, &rows), budget.hold(600)).unwrap();
    assert_eq!(batch.bytes(), 600 + 100 * (MERGED_ROW_BYTES + 4));
    batch.add(&sample.mapping, &sample.plan, &sample.event(RowsKind::Insert, &rows), budget.hold(600)).unwrap();
    assert_eq!((batch.rows(), batch.bytes()), (100, 1200 + 100 * (MERGED_ROW_BYTES + 4)));
}

proptest! {
    /// Whatever happens to a few keys, each is sent at most once, and with what happened to it last.
    #[test]
    fn a_key_is_sent_once_and_as_it_was_last(
        changes in proptest::collection::vec((0..3_u8, 0..6_i32, 0..6_i32, "[a-c]{0,3}"), 1..60)
    ) {
        let mut events = Vec::new();
        let mut expected = BTreeMap::new();
        for (kind, old, new, text) in &changes {
            match kind {
                0 => {
                    events.push((RowsKind::Insert, vec![(*new, text.as_str())]));
                    expected.insert(*new, format!("{new} {text} 0"));
                }
                1 => {
                    events.push((RowsKind::Update, vec![(*old, "old"), (*new, text.as_str())]));
                    expected.insert(*old, format!("{old} old 1"));
                    expected.insert(*new, format!("{new} {text} 0"));
                }
                _ => {
                    events.push((RowsKind::Delete, vec![(*old, text.as_str())]));
                    expected.insert(*old, format!("{old} {text} 1"));
                }
            }
        }
        let mut rows = sent(&events);
        rows.sort();
        let mut expected: Vec<String> = expected.into_values().collect();
        expected.sort();
        prop_assert_eq!(rows, expected);
    }
}
