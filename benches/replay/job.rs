//! A job of the `towpath` binary, run to the log's end.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Cost, measure};
use crate::source::Place;

static BINARY: OnceLock<PathBuf> = OnceLock::new();

pub(crate) fn use_binary(binary: PathBuf) {
    let _ = BINARY.set(binary);
}

pub(crate) fn towpath(command: &str) -> Command {
    let mut towpath = Command::new(BINARY.get_or_init(|| env!("CARGO_BIN_EXE_towpath").into()));
    towpath.arg(command);
    towpath
}

/// A job file in a folder of its own, with its state beside it.
pub(crate) struct Job {
    folder: TempDir,
}

/// What a job does.
pub(crate) enum Work<'a> {
    Copy,
    Replay(&'a Place),
    /// Everything, from now on.
    Follow,
}

impl Job {
    /// `target` are the ports of MySQL and HTTP; `params` is YAML's short form without the braces. Like the others', its
    /// connections are not encrypted.
    pub(crate) fn new(source: u16, target: (u16, u16), tables: &str, work: &Work<'_>, params: &str) -> Job {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let folder = tempfile::tempdir().unwrap();
        let startup = match work {
            Work::Copy => "full".to_owned(),
            Work::Follow => "initial".to_owned(),
            Work::Replay(place) => format!("{{file: {}, position: {}}}", place.file, place.offset),
        };
        let (mysql, http) = target;
        let text = format!(
            "name: bench{number}
stateDir: {state}
source: {{host: 127.0.0.1, port: {source}, username: root, tls: {{mode: disabled}}, tables: ['{tables}'], timezone: '+00:00', startup: {startup}}}
target: {{type: starrocks, clientAddress: '127.0.0.1:{mysql}', httpAddress: ['127.0.0.1:{http}'], username: root}}
params: {{{params}}}
",
            number = NUMBER.fetch_add(1, Ordering::Relaxed),
            state = folder.path().join("state").display(),
        );
        std::fs::write(folder.path().join("job.yaml"), text).unwrap();
        Job { folder }
    }

    pub(crate) fn command(&self, command: &str) -> Command {
        let mut towpath = towpath(command);
        towpath.arg(self.folder.path().join("job.yaml"));
        towpath
    }

    /// To the end; the work begins with the stage's.
    pub(crate) fn run(&self, stage: &str) -> Cost {
        let mut command = self.command("run");
        command.args(["--stop-at-end"]);
        measure(command, &["stage begins", stage]).0
    }

    /// A job that has come to the log's end: it starts, finds nothing to do and ends.
    pub(crate) fn run_again(&self) -> Duration {
        let mut command = self.command("run");
        command.args(["--stop-at-end"]);
        let cost = measure(command, &["job begins"]).0;
        cost.start + cost.wall
    }

    /// Changes that it has read from the log.
    pub(crate) fn changes_read(&self) -> u64 {
        let status = self.command("status").arg("--json").output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        ["inserts", "updates", "deletes"].iter().map(|kind| status[kind].as_u64().unwrap_or(0)).sum()
    }
}
