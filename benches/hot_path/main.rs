//! The hot path without a server: walk a row image and keep the last one per key (`Batch::add`), write what is left as CSV
//! or JSON (`TableBatch::encode`), and a SELECT's rows likewise.
//!
//! `cargo bench --bench hot_path` measures time; the counter is rows; compare ratios within one run, machines are noisy.
//! With `--instructions` behind a `--` it counts instead, and fails where a loop needs more than it should ([`counted`]).

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod counted;
mod scene;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

use scene::{ROWS, ROWS_AN_EVENT, Scene, Selected};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().position(|argument| argument.starts_with("--instructions")) {
        Some(at) => counted::run(&arguments[at..]),
        None => divan::main(),
    }
}

/// `distinct`: how many keys the rows share.
#[divan::bench(args = [ROWS, ROWS / 10, ROWS / 1000])]
fn keep_the_last_image_per_key(bencher: Bencher<'_, '_>, distinct: usize) {
    let scene = Scene::inserts(distinct, ROWS_AN_EVENT);
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| scene.batch());
}

/// One row an event, as short transactions write them.
#[divan::bench]
fn keep_the_last_image_of_single_updates(bencher: Bencher<'_, '_>) {
    let scene = Scene::updates(ROWS);
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| scene.batch());
}

/// `binlog_row_image=MINIMAL`: updates that set `k`, over a whole row or not.
#[divan::bench(args = [ROWS, ROWS / 10])]
fn merge_and_write_minimal_images(bencher: Bencher<'_, '_>, distinct: usize) {
    let scene = Scene::minimal(distinct);
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| black_box(scene.encode(scene.batch(), false)));
}

#[divan::bench]
fn write_csv(bencher: Bencher<'_, '_>) {
    let scene = Scene::inserts(ROWS, ROWS_AN_EVENT);
    let bencher = bencher.counter(ItemsCount::new(ROWS)).with_inputs(|| scene.batch());
    bencher.bench_local_values(|batch| black_box(scene.encode(batch, false)));
}

#[divan::bench]
fn write_json(bencher: Bencher<'_, '_>) {
    let scene = Scene::inserts(ROWS, ROWS_AN_EVENT);
    let bencher = bencher.counter(ItemsCount::new(ROWS)).with_inputs(|| scene.batch());
    bencher.bench_local_values(|batch| black_box(scene.encode(batch, true)));
}

/// Numbers, dates and short texts.
#[divan::bench]
fn write_csv_of_many_types(bencher: Bencher<'_, '_>) {
    let scene = Scene::mixed();
    let bencher = bencher.counter(ItemsCount::new(ROWS)).with_inputs(|| scene.batch());
    bencher.bench_local_values(|batch| black_box(scene.encode(batch, false)));
}

#[divan::bench]
fn write_csv_from_a_select(bencher: Bencher<'_, '_>) {
    let rows = Selected::sysbench();
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| black_box(rows.encode()));
}

/// Numbers, dates and short texts.
#[divan::bench]
fn write_csv_from_a_select_of_many_types(bencher: Bencher<'_, '_>) {
    let rows = Selected::mixed();
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| black_box(rows.encode()));
}
