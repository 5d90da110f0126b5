//! Copies and replays, and what must not change their rate: tables, hot rows, wide rows.

use std::time::Duration;

use serde_json::json;
use tokio::runtime::Runtime;

use crate::job::{Job, Work};
use crate::reading;
use crate::report::Report;
use crate::sink::Sink;
use crate::source::{DATABASE, Log, Size, Source};

const TOWPATH: &str = "towpath";
/// As soon as the last epoch is in; the rest are the defaults.
const REPLAY: &str = "realFlushPauseSec: 0";

/// What a replay is measured with.
pub(crate) struct With {
    others: bool,
    delay: Duration,
    params: &'static str,
}

impl With {
    pub(crate) const NOTHING: With = With { others: false, delay: Duration::ZERO, params: REPLAY };
    pub(crate) const OTHERS: With = With { others: true, ..With::NOTHING };

    /// Each load takes so long at the sink.
    pub(crate) fn delay(milliseconds: u64) -> With {
        With { delay: Duration::from_millis(milliseconds), ..With::NOTHING }
    }

    /// One thread encodes, and so one load is sent at once.
    pub(crate) fn one_encoder() -> With {
        With { params: "realFlushPauseSec: 0, writeParallel: 1", ..With::NOTHING }
    }
}

/// Replays a log to its end, in turn with those who only read it.
pub(crate) fn replay(report: &mut Report, work: &str, source: &Source, sink: &mut Sink, log: &Log, with: &With) {
    for _ in 0..report.rounds {
        if with.others {
            for who in [reading::LOG_ONLY, reading::CDC] {
                report.add(work, who, log.changes, log.bytes, reading::log(who, source.port(), log));
            }
        }
        sink.take(with.delay);
        let job = Job::new(source.port(), (sink.mysql, sink.http), &log.tables, &Work::Replay(&log.from), with.params);
        let cost = job.run("incremental");
        let loaded = sink.take(Duration::ZERO);
        assert_eq!(job.changes_read(), log.changes, "{work}");
        // The last write per key within an epoch.
        assert!(loaded > 0 && loaded <= log.changes, "{work}: {loaded} rows loaded");
        report.add(work, TOWPATH, log.changes, log.bytes, cost);
    }
}

/// Copies the rows that are there, in turn with a client that reads them and drops them.
pub(crate) fn copy(report: &mut Report, work: &str, source: &Source, sink: &mut Sink, size: Size) {
    // What a row has: two integers, two texts of 119 and 59 bytes.
    let bytes = size.rows() * (4 + 4 + 119 + 59);
    for _ in 0..report.rounds {
        let cost = reading::drain(source.port(), size.rows_a_table);
        report.add(work, reading::DRAIN, size.rows(), bytes, cost);
        sink.take(Duration::ZERO);
        let job = Job::new(source.port(), (sink.mysql, sink.http), &format!("{DATABASE}.*"), &Work::Copy, "");
        let cost = job.run("full");
        assert_eq!(sink.take(Duration::ZERO), size.rows(), "{work}");
        report.add(work, TOWPATH, size.rows(), bytes, cost);
    }
}

/// The same number of changes in other shapes.
pub(crate) fn shapes(report: &mut Report, runtime: &Runtime, source: &Source, sink: &mut Sink, full: bool) {
    const CHANGES: usize = 100_000;
    const BYTES: usize = 64 << 20;
    for tables in if full { &[1, 10, 100, MANY][..] } else { &[1, 10, 100] } {
        let log = runtime.block_on(source.spread(*tables, CHANGES));
        if *tables == MANY {
            begin(report, runtime, source, sink, &log);
        }
        replay(report, &format!("single inserts into {tables} tables"), source, sink, &log, &With::NOTHING);
    }
    for percent in [0, 50, 99] {
        let log = runtime.block_on(source.hot(percent, CHANGES));
        replay(report, &format!("updates, {percent} % in 100 rows"), source, sink, &log, &With::NOTHING);
    }
    for bytes in [100, 1_000, 10_000, 100_000] {
        let log = runtime.block_on(source.wide(bytes, BYTES));
        replay(report, &format!("rows of {bytes} bytes"), source, sink, &log, &With::NOTHING);
    }
}

const MANY: usize = 1000;

/// How long a job with many tables takes to begin: the first time, when the target has none of them, and again; and what it
/// asks the source meanwhile. Then it copies them.
fn begin(report: &mut Report, runtime: &Runtime, source: &Source, sink: &mut Sink, log: &Log) {
    let what = |what: &str| format!("{MANY} tables, {what}");
    let job = Job::new(source.port(), (sink.mysql, sink.http), &log.tables, &Work::Replay(&log.from), REPLAY);
    let mut started = |run: &str, start: &mut dyn FnMut() -> Duration| {
        let before = runtime.block_on(source.questions());
        let took = start();
        let asked = runtime.block_on(source.questions()) - before;
        let seconds = (took.as_secs_f64() * 100.0).round() / 100.0;
        report.note(what(&format!("{run}: seconds, statements to the source")), json!([seconds, asked]));
    };
    started("first start", &mut || job.run("incremental").start);
    started("start again", &mut || job.run_again());
    for _ in 0..report.rounds {
        sink.take(Duration::ZERO);
        let job = Job::new(source.port(), (sink.mysql, sink.http), &log.tables, &Work::Copy, "");
        let cost = job.run("full");
        assert_eq!(sink.take(Duration::ZERO), log.changes);
        report.add(&what("full data"), TOWPATH, log.changes, log.bytes, cost);
    }
}
