//! What the product does, measured as a whole: `make bench`.
//!
//! A scratch MySQL gets sysbench's tables and `oltp_write_only`'s transactions from a generator of our own; the `towpath`
//! binary copies and replays them into a *null sink* ([`sink`]), which is the embedded server's MySQL port with a load path
//! that reads bodies, counts their rows and drops them. In turn with it, in the same run, other processes do parts of that
//! work ([`reading`]): read the log and decode nothing, read it with the crate `mysql_cdc`, drain the same SELECTs. Everybody
//! is a process of its own, measured alike ([`process`]) from the moment the work begins, not from the process's start.
//!
//! Medians of the rounds go into a table, and with `--json` into a file. Wall times mean something on a quiet machine only;
//! ratios within one run mean more. Nobody is trusted: every run's rows are counted and compared with what was written.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fresh;
mod job;
mod process;
mod reading;
mod report;
mod scale;
mod sink;
mod source;
mod verify;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use report::Report;

/// Measures the whole way of a change, against reading alone.
#[derive(Debug, Parser)]
struct Arguments {
    /// A fifth of the rows, and only the first groups: under two minutes.
    #[arg(long)]
    quick: bool,
    /// Ten times the rows too, and 1,000 tables.
    #[arg(long)]
    full: bool,
    /// How often everything is measured.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Where the figures go as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Only these groups: oltp, bulk, copy, verify, scale, fresh.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Another `towpath` than the one that was built with this program.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Cargo says so to every bench.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What this program does in the processes that it starts.
#[derive(Debug, Subcommand)]
enum Role {
    #[command(hide = true)]
    Sink,
    #[command(hide = true)]
    Read(reading::Reading),
}

fn main() {
    let arguments = Arguments::parse();
    match &arguments.role {
        Some(Role::Sink) => sink::run(),
        Some(Role::Read(reading)) => reading::run(reading),
        None => measure(&arguments),
    }
}

fn measure(arguments: &Arguments) {
    if let Some(binary) = &arguments.binary {
        job::use_binary(binary.clone());
    }
    let wants = |group: &str| match arguments.only.is_empty() {
        true => !arguments.quick || !matches!(group, "verify" | "scale" | "fresh"),
        false => arguments.only.iter().any(|only| only == group),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut report = Report::new(arguments.rounds);
    let source = runtime.block_on(source::Source::start());
    let mut sink = sink::Sink::start();
    let size = if arguments.quick { source::Size::QUICK } else { source::Size::ISSUE };

    // The rows that are there are the bulk load's.
    let bulk = runtime.block_on(source.fill(size));
    if wants("bulk") {
        scale::replay(&mut report, "bulk replay", &source, &mut sink, &bulk, &scale::With::OTHERS);
    }
    if wants("copy") {
        scale::copy(&mut report, "full data", &source, &mut sink, size);
    }
    if wants("verify") {
        verify::measure(&mut report, &runtime, &source, size);
    }
    if wants("oltp") || (arguments.full && wants("scale")) {
        let log = runtime.block_on(source.transactions(size, size.transactions));
        scale::replay(&mut report, "OLTP replay", &source, &mut sink, &log, &scale::With::OTHERS);
        scale::replay(&mut report, "OLTP replay, 50 ms a load", &source, &mut sink, &log, &scale::With::delay(50));
        scale::replay(&mut report, "OLTP replay, one encoder", &source, &mut sink, &log, &scale::With::one_encoder());
    }
    if wants("scale") {
        if arguments.full {
            let log = runtime.block_on(source.transactions(size, 10 * size.transactions));
            scale::replay(&mut report, "OLTP replay, 10 x", &source, &mut sink, &log, &scale::With::NOTHING);
        }
        scale::shapes(&mut report, &runtime, &source, &mut sink, arguments.full);
    }
    if wants("fresh") {
        fresh::measure(&mut report, &runtime, &source);
    }
    println!("{report}");
    if let Some(path) = &arguments.json {
        std::fs::write(path, format!("{:#}\n", report.json())).unwrap();
    }
}
