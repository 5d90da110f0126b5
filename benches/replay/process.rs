//! A process at work, seen from outside: how long, how much CPU, how much memory at its highest.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a piece of work cost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// From the process's start to the begin of the work.
    pub(crate) start: Duration,
    /// From the begin of the work to the process's end.
    pub(crate) wall: Duration,
    /// In the same time, of all threads, user and system.
    pub(crate) cpu: Duration,
    /// Of the whole life.
    pub(crate) peak_bytes: u64,
}

/// Runs a command to its end. The work begins with the line on standard error in which all of `marks` are; returns the last
/// line too.
pub(crate) fn measure(mut command: Command, marks: &[&str]) -> (Cost, String) {
    let spawned = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let (peak, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let watch = {
        let (peak, ended) = (Arc::clone(&peak), Arc::clone(&ended));
        std::thread::spawn(move || {
            // The mark never falls, so the last look before the end is the highest but for its last milliseconds.
            while !ended.load(Ordering::Relaxed) {
                peak.fetch_max(peak_bytes(pid).unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(10));
            }
        })
    };
    let mut began = None;
    let mut lines = Vec::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        if began.is_none() && marks.iter().all(|mark| line.contains(mark)) {
            began = Some((Instant::now(), cpu(pid).unwrap()));
        }
        lines.push(line);
    }
    let end = Instant::now();
    // Until somebody waits for it, a process that has ended still tells its times.
    let cpu = loop {
        match (cpu(pid), is_zombie(pid)) {
            (Some(cpu), true) => break cpu,
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    ended.store(true, Ordering::Relaxed);
    watch.join().unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "{command:?}: {status}\n{}", lines.join("\n"));
    let (began, cpu_before) = began.unwrap_or_else(|| panic!("{command:?} never said {marks:?}\n{}", lines.join("\n")));
    let cost = Cost {
        start: began - spawned,
        wall: end - began,
        cpu: cpu.saturating_sub(cpu_before),
        peak_bytes: peak.load(Ordering::Relaxed),
    };
    (cost, lines.pop().unwrap_or_default())
}

/// CPU time of all threads, those that have ended too.
pub(crate) fn cpu(pid: u32) -> Option<Duration> {
    // `utime` and `stime`, the 14th and 15th, in ticks; the kernel shows 100 a second to every program.
    let (fields, _) = stat(pid)?;
    let ticks: u64 = fields.get(10..12)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    Some(Duration::from_millis(ticks * 10))
}

fn is_zombie(pid: u32) -> bool {
    stat(pid).is_some_and(|(_, state)| state == "Z")
}

/// The fields behind the state, and the state.
fn stat(pid: u32) -> Option<(Vec<String>, String)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before them may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned);
    let state = fields.next()?;
    Some((fields.collect(), state))
}

fn peak_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}
