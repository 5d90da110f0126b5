//! `towpath verify`

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::args::VerifyArguments;
use super::{Outcome, progress_bar};
use crate::config::{Address, Job};
use crate::job::{Verified, VerifyOptions, connect_beside, verify};
use crate::output::{Printed, sayln};
use crate::state::{DifferenceRecord, RunOutcome, RunRecord, Store};
use crate::verify::{self, Progress, Report};
use crate::{Error, Result};

/// Differences that are shown below the table.
const SHOWN: u64 = 10;
/// Differences that are read from the state store at once.
const PAGE: u64 = 1000;

pub(super) async fn run(arguments: VerifyArguments) -> Result<Outcome> {
    let job = Job::load(&arguments.job)?;
    if arguments.history {
        return history(&job, arguments.run, arguments.json);
    }
    let options = options(&arguments)?;
    let target = connect_beside(&job).await?;
    let progress = Arc::new(Progress::default());
    let shown = tokio::spawn(progress_bar::show_verify(Arc::clone(&progress)));
    let verified = verify(&job, &target.client(), &options, &progress).await;
    shown.abort();
    progress_bar::clear();
    target.stop().await;
    let Verified { run, outcome, report } = verified?;
    let store = store(&job)?;
    if let Some(folder) = &arguments.report {
        write_report(&store, run, &report, folder)?;
    }
    print(&store, run, &report, arguments.json)?;
    Ok(exit(outcome))
}

fn options(arguments: &VerifyArguments) -> Result<VerifyOptions> {
    let host = arguments.source_host.as_deref().map(address).transpose()?;
    Ok(VerifyOptions {
        tables: arguments.tables.clone(),
        source_host: host,
        compare: verify::Options {
            columns: arguments.columns.clone(),
            condition: arguments.r#where.clone(),
            sample: arguments.sample.filter(|share| *share < 1.0),
            rate_limit: arguments.rate_limit,
            float_digits: arguments.float_digits,
            time_digits: arguments.time_digits,
            empty_equals_null: arguments.empty_equals_null,
            max_differences: arguments.max_differences,
            patience: Duration::from_secs(arguments.patience),
            ..verify::Options::default()
        },
        scheduled: false,
    })
}

/// `host`, `host:port`, `[::1]:port`
fn address(text: &str) -> Result<Address> {
    let wrong = || Error::usage(format!("--source-host {text:?}: write host or host:port"));
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host.trim_matches(['[', ']']), port.parse().map_err(|_| wrong())?)
        }
        _ => (text.trim_matches(['[', ']']), 3306),
    };
    if host.is_empty() { Err(wrong()) } else { Ok(Address { host: host.to_owned(), port }) }
}

fn store(job: &Job) -> Result<Store> {
    Store::read(&job.state_dir, &job.name)?.ok_or_else(|| {
        Error::definite(format!("job {} has not been run yet: no state in {}", job.name, job.state_dir.display()))
            .hint("start it with `towpath run`, or name the right `stateDir`")
    })
}

fn exit(outcome: RunOutcome) -> Outcome {
    match outcome {
        RunOutcome::Equal => Outcome::Done,
        RunOutcome::Different => Outcome::Differences,
        RunOutcome::Failed => Outcome::Failed,
    }
}

/// Gives `take` a run's differences, in order.
fn differences(store: &Store, run: u64, take: &mut dyn FnMut(&DifferenceRecord) -> io::Result<()>) -> Result<()> {
    let mut from = 0;
    loop {
        let page = store.differences(run, from, PAGE)?;
        if page.is_empty() {
            return Ok(());
        }
        from += page.len() as u64;
        page.iter().try_for_each(&mut *take).map_err(cannot_write)?;
    }
}

fn cannot_write(error: io::Error) -> Error {
    Error::definite("cannot write the differences").caused_by(error)
}

fn print(store: &Store, run: u64, report: &Report, as_json: bool) -> Result<()> {
    let mut out = BufWriter::new(Printed);
    if as_json {
        differences(store, run, &mut |difference| writeln!(out, "{}", difference.detail))?;
        writeln!(out, "{}", json_of(run, report)).map_err(cannot_write)?;
        return out.flush().map_err(cannot_write);
    }
    write!(out, "{report}").map_err(cannot_write)?;
    let first = store.differences(run, 0, SHOWN)?;
    if !first.is_empty() {
        let text: String = first.iter().map(|difference| format!("{}\n", difference.detail)).collect();
        write!(out, "\n{text}").map_err(cannot_write)?;
        let all: u64 = report.tables.iter().map(verify::TableReport::differences).sum();
        if all > first.len() as u64 {
            writeln!(
                out,
                "… the first {} of {all}: `towpath verify JOB --history --run {run} --json` lists them",
                first.len()
            )
            .map_err(cannot_write)?;
        }
    }
    out.flush().map_err(cannot_write)
}

fn json_of(run: u64, report: &Report) -> Value {
    json!({"run": run, "outcome": report.outcome().as_str(), "tables": report.tables})
}

/// `run-N.json` and `run-N-differences.jsonl`, each written beside its place and then put there.
fn write_report(store: &Store, run: u64, report: &Report, folder: &Path) -> Result<()> {
    let failed = |error| Error::definite(format!("--report {}", folder.display())).caused_by(error);
    fs::create_dir_all(folder).map_err(failed)?;
    let put = |name: String, write: &mut dyn FnMut(&mut BufWriter<File>) -> Result<()>| {
        let draft = folder.join(format!("{name}.part"));
        let mut file = BufWriter::new(File::create(&draft).map_err(failed)?);
        write(&mut file)?;
        file.flush().map_err(failed)?;
        fs::rename(&draft, folder.join(name)).map_err(failed)
    };
    put(format!("run-{run}-differences.jsonl"), &mut |file| {
        differences(store, run, &mut |difference| writeln!(file, "{}", difference.detail))
    })?;
    put(format!("run-{run}.json"), &mut |file| writeln!(file, "{:#}", json_of(run, report)).map_err(failed))
}

fn history(job: &Job, run: Option<u64>, as_json: bool) -> Result<Outcome> {
    let store = store(job)?;
    let runs = store.runs()?;
    let Some(wanted) = run else {
        for run in &runs {
            list(run, as_json)?;
        }
        if !as_json {
            sayln!("{} run(s)", runs.len());
        }
        return Ok(Outcome::Done);
    };
    let found = runs.iter().find(|run| run.id == wanted).ok_or_else(|| {
        Error::usage(format!("job {} has no run {wanted}", job.name)).hint("`towpath verify JOB --history` lists them")
    })?;
    match found.error {
        Some(_) => list(found, as_json)?,
        None => print(&store, wanted, &report_of(found)?, as_json)?,
    }
    Ok(exit(found.outcome))
}

fn report_of(run: &RunRecord) -> Result<Report> {
    if run.error.is_some() {
        return Ok(Report { tables: Vec::new() });
    }
    let failed = |error| Error::definite(format!("the report of run {} cannot be read", run.id)).caused_by(error);
    serde_json::from_str(&run.report).map_err(failed)
}

fn list(run: &RunRecord, as_json: bool) -> Result<()> {
    let report = report_of(run)?;
    let sum = |count: fn(&verify::TableReport) -> u64| report.tables.iter().map(count).sum::<u64>();
    let (rows, found) = (sum(|table| table.rows), sum(verify::TableReport::differences));
    let began = jiff::Timestamp::from_microsecond(run.begun_at as i64)
        .map_or_else(|_| run.begun_at.to_string(), |at| at.to_string());
    let seconds = run.ended_at.saturating_sub(run.begun_at) as f64 / 1e6;
    let (id, outcome, tables) = (run.id, run.outcome.as_str(), report.tables.len());
    let scheduled = if run.scheduled { "  by the clock" } else { "" };
    let error = run.error.as_ref().map(|error| format!("\n    {}", error.replace('\n', "\n    "))).unwrap_or_default();
    if as_json {
        sayln!(
            "{}",
            json!({"run": id, "begunAt": began, "seconds": seconds, "outcome": outcome, "tables": tables, "rows": rows,
                   "differences": found, "scheduled": run.scheduled, "error": run.error})
        );
    } else {
        sayln!(
            "#{id}  {began}  {seconds:.1} s  {outcome}  {tables} table(s), {rows} rows, {found} differences{scheduled}{error}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_a_host_with_or_without_a_port() {
        let at = |host: &str, port| Address { host: host.to_owned(), port };
        assert_eq!(address("replica").unwrap(), at("replica", 3306));
        assert_eq!(address("10.0.0.2:3307").unwrap(), at("10.0.0.2", 3307));
        assert_eq!(address("[::1]:3307").unwrap(), at("::1", 3307));
        assert_eq!(address("::1").unwrap(), at("::1", 3306));
        for text in ["", ":3306", "replica:x"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
