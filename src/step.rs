//! Named steps of a job at which a test may hold the process, to kill it there.
//!
//! `FAILPOINTS=intent-written=return` makes the process stand still when it gets to that step, and say so on stderr;
//! `3*off->return` lets it pass three times first. With a file's name, `1*return(/tmp/go)->off`, it stands there only until
//! that file is made. The other threads go on. That is the crate `fail`'s notation; its feature `failpoints` is on for this
//! package's own tests only, and in every other build [`reached`] is nothing.

/// Every step, in the order in which a job gets to them.
pub const ALL: [&str; 54] = [
    // The schema.
    "position-found",
    "job-begun",
    "table-made",
    "tables-made",
    "stage-entered",
    // What an earlier run left open.
    "settle-begun",
    "settle-asked",
    "settle-done",
    // The full copy, chunk by chunk.
    "chunk-planned",
    "chunk-read",
    "chunk-load-named",
    "chunk-load-in",
    "chunk-load-forgotten",
    "chunk-in",
    "table-planned",
    // Beside it, that of a table without a key.
    "whole-copy-begun",
    "whole-copy-read",
    // A table that has changed meanwhile, and what becomes of it when the log is followed.
    "table-given-up",
    "given-up-emptied",
    // One epoch.
    "epoch-closed",
    "rows-numbered",
    "epoch-encoded",
    "intent-written",
    "load-begun",
    "load-sent",
    "load-answered",
    "loads-in",
    "checkpoint-begun",
    "checkpoint-written",
    // The next one.
    "epoch-in",
    // A schema change.
    "change-planned",
    "change-begun",
    "change-step-done",
    "change-step-written",
    "change-done",
    "change-written",
    // The same, of a statement inside a transaction that goes on.
    "change-waits",
    // A table that lags while the target alters it.
    "lag-begun",
    "lag-altered",
    "lag-load-named",
    "lag-load-in",
    "lag-part-in",
    "lag-over",
    // A copy beside the stream.
    "copy-read",
    "copy-load-named",
    "copy-load-in",
    "copy-chunk-in",
    // That of a table without a key.
    "copy-anew",
    "copy-placed",
    "copy-whole",
    // Its end.
    "copy-marked",
    "copy-swapped",
    "copy-old-dropped",
    "copy-finished",
];

/// The job has got to this step.
pub(crate) fn reached(step: &'static str) {
    debug_assert!(ALL.contains(&step), "{step}");
    // Where there are no steps to be held at, this is nothing, and what it names is not there.
    fail::fail_point!(step, |file: Option<String>| {
        eprintln!("{}", held_at(step));
        while !file.as_ref().is_some_and(|file| std::path::Path::new(file).exists()) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    });
}

/// Tests cannot wait for the clock: with `FAILPOINTS=each-second=return` what is done by the clock is due each second.
pub(crate) fn each_second() -> bool {
    fail::fail_point!("each-second", |_| true);
    false
}

/// What a process that is held says.
pub fn held_at(step: &str) -> String {
    format!("held at {step}")
}

/// Reads `FAILPOINTS`. What it returns has to be kept as long as the process runs.
pub(crate) fn from_environment() -> Option<fail::FailScenario<'static>> {
    fail::has_failpoints().then(fail::FailScenario::setup)
}
