use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::*;
use crate::apply::dead_letter::Policy;
use crate::apply::encode::BinaryText;
use crate::config::{Job, NoKeyTables, OnError, Params, Source};
use crate::mysql::connect::{ServerInfo, connector};

/// Where nothing listens.
fn nobody() -> Source {
    let job = "name: it\nsource: {port: 1, username: u, tables: ['a.b']}\ntarget: {}\n";
    Job::parse(job, "job.yaml", &|_| None).unwrap().source
}

fn shared(runtime: &tokio::runtime::Runtime, folder: &std::path::Path) -> Shared {
    let live = Arc::new(Live::new(&Params::default()));
    Shared {
        connect: connector(&nobody(), Patience::default()),
        flavor: Flavor::Mysql,
        lookup: Lookup { server: ServerInfo::sample(), no_key: NoKeyTables::UniqueKey },
        follows: true,
        witnesses: Mutex::default(),
        patience: Patience::default(),
        start: Position { file: "binlog.000001".into(), offset: 4, gtids: None },
        store: Arc::new(Store::open(folder, "it").unwrap()),
        progress: Arc::default(),
        values: ValueOptions::default(),
        letters: DeadLetters::new(
            &Arc::new(Store::open(&folder.join("letters"), "it").unwrap()),
            Policy { on_error: OnError::Exit, max_letters: 0, halve: true },
            [],
        )
        .unwrap(),
        limiter: Limiter::new(Arc::clone(&live)),
        live,
        loads: LoadOptions {
            job: "it_0".into(),
            binary: BinaryText::Base64,
            part_bytes: 1 << 20,
            parallel: 1,
            together: false,
        },
        runtime: runtime.handle().clone(),
        stop: CancellationToken::new(),
        leave: CancellationToken::new(),
    }
}

#[test]
fn a_thread_that_fails_or_panics_makes_the_others_leave() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut shared = shared(&runtime, folder.path());
    assert!(shared.guard(|_| Ok(())).is_ok());
    assert!(!shared.leaving(), "the others go on when one has done its work");
    assert!(shared.guard(|_| Err(left())).is_err());
    assert!(shared.leaving());
    shared.stop = CancellationToken::new();
    let panicked = catch_unwind(AssertUnwindSafe(|| shared.guard(|_| panic!("on purpose"))));
    assert!(panicked.is_err() && shared.leaving());
}

#[test]
fn a_source_that_is_away_is_asked_until_a_stop() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let shared = shared(&runtime, folder.path());
    let stop = shared.stop.clone();
    let asking = std::thread::spawn(move || shared.connection().map(|connection| connection.is_some()));
    std::thread::sleep(Duration::from_millis(700));
    assert!(!asking.is_finished(), "it gave up");
    stop.cancel();
    assert!(matches!(asking.join().unwrap(), Ok(false)));
}
