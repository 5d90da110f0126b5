//! `towpath verify`, as a user runs it.

mod correct;
mod damage;
mod flight;
mod flipping;
mod keyless;
mod keys;
mod left_out;
mod options;
mod scheduled;
mod soak;
mod stopped;
mod unseen;

use std::collections::BTreeSet;
use std::process::Output;

use serde_json::Value;
use tokio::process::Child;

use crate::harness::{Job, text};

/// What `towpath verify --json` says.
struct Verified {
    code: Option<i32>,
    /// `missing t id=7`, `different t id=7: v, w`, …
    differences: BTreeSet<String>,
    report: Value,
    all: String,
}

impl Verified {
    /// The report of a table.
    fn table(&self, name: &str) -> &Value {
        let tables = self.report["tables"].as_array().expect("a report");
        tables.iter().find(|table| table["table"]["table"] == name).unwrap_or_else(|| panic!("{name}: {}", self.all))
    }

    fn expect<'a>(&self, code: i32, differences: impl IntoIterator<Item = &'a str>) {
        let expected: BTreeSet<String> = differences.into_iter().map(str::to_owned).collect();
        let (found, all) = (&self.differences, &self.all);
        let missed: Vec<_> = expected.difference(found).collect();
        let invented: Vec<_> = found.difference(&expected).collect();
        assert!(missed.is_empty() && invented.is_empty(), "missed {missed:#?}\ninvented {invented:#?}\n{all}");
        assert_eq!(self.code, Some(code), "{all}");
    }
}

/// The job, following the log. Other tests write to the same server, so a job that stands still is soon behind it.
async fn follow(job: &Job) -> Child {
    let child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    child
}

async fn verify(job: &Job, options: &[&str]) -> Verified {
    read(&job.command("verify", &[options, &["--json"]].concat()).await)
}

fn read(output: &Output) -> Verified {
    let all = text(output);
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let report = lines.pop().unwrap_or_default();
    let differences = lines.iter().map(short).collect();
    Verified { code: output.status.code(), differences, report, all }
}

fn short(line: &Value) -> String {
    let table = line["table"].as_str().unwrap_or_default();
    let table = table.split_once('.').map_or(table, |(_, table)| table);
    // Of a table without a key the whole row, and how often it is there.
    let key: Vec<String> = line["key"]
        .as_object()
        .or_else(|| line["row"].as_object())
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect();
    assert!(line["position"]["file"].is_string(), "{line}");
    let columns: Vec<&str> =
        line["columns"].as_array().into_iter().flatten().filter_map(|column| column["column"].as_str()).collect();
    let columns = if columns.is_empty() { String::new() } else { format!(": {}", columns.join(", ")) };
    let counts = match (line["atSource"].as_u64(), line["atTarget"].as_u64()) {
        (Some(source), Some(target)) => format!(" ({source}, {target})"),
        _ => String::new(),
    };
    let letter = if line["deadLetter"] == true { " (dead letter)" } else { "" };
    format!("{} {table} {}{columns}{counts}{letter}", line["difference"].as_str().unwrap_or_default(), key.join(", "))
}
