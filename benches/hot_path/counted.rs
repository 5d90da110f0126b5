//! Instructions a row of the hot loops, for fixed input, compared with committed figures.
//!
//! Time tells nothing on a shared machine; the number of instructions is nearly the same on all of them. `valgrind` counts
//! those of a whole process, so each loop runs in two: once over, and five times over. The difference is four rounds of the
//! loop and nothing else. A loop that needs more than [`ROOM`] above its figure fails; one that needs far less should get a
//! lower figure.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::{Command, exit};

use super::scene::{ROWS, ROWS_AN_EVENT, Scene, Selected};

/// Compilers and processors differ by less.
const ROOM: f64 = 1.25;
const FIGURES: &str = include_str!("instructions.txt");

/// A loop: what it is called, and what makes its input and then goes over it.
type Loop = (&'static str, fn(u32));

const LOOPS: [Loop; 9] = [
    ("keep_last_insert", |rounds| repeat(rounds, &Scene::inserts(ROWS, ROWS_AN_EVENT), Scene::batch)),
    ("keep_last_hot_insert", |rounds| repeat(rounds, &Scene::inserts(ROWS / 1000, ROWS_AN_EVENT), Scene::batch)),
    ("keep_last_single_update", |rounds| repeat(rounds, &Scene::updates(ROWS), Scene::batch)),
    ("minimal_update_to_csv", |rounds| {
        repeat(rounds, &Scene::minimal(ROWS / 10), |scene| scene.encode(scene.batch(), false));
    }),
    ("insert_to_csv", |rounds| {
        repeat(rounds, &Scene::inserts(ROWS, ROWS_AN_EVENT), |scene| scene.encode(scene.batch(), false));
    }),
    ("insert_to_json", |rounds| {
        repeat(rounds, &Scene::inserts(ROWS, ROWS_AN_EVENT), |scene| scene.encode(scene.batch(), true));
    }),
    ("mixed_insert_to_csv", |rounds| repeat(rounds, &Scene::mixed(), |scene| scene.encode(scene.batch(), false))),
    ("select_to_csv", |rounds| repeat(rounds, &Selected::sysbench(), Selected::encode)),
    ("mixed_select_to_csv", |rounds| repeat(rounds, &Selected::mixed(), Selected::encode)),
];

fn repeat<I, R>(rounds: u32, input: &I, work: impl Fn(&I) -> R) {
    for _ in 0..rounds {
        black_box(work(black_box(input)));
    }
}

/// `--instructions` compares all loops; `--instructions=LOOP ROUNDS` is one of the processes that are counted.
pub(crate) fn run(arguments: &[String]) {
    if let Some(name) = arguments[0].strip_prefix("--instructions=") {
        let (_, work) = LOOPS.iter().find(|(known, _)| *known == name).expect("a loop's name");
        return work(arguments[1].parse().unwrap());
    }
    let figures: BTreeMap<&str, f64> = FIGURES
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, figure)| Some((name, figure.trim().parse().ok()?)))
        .collect();
    let mut failed = false;
    println!("{:28} {:>12} {:>12}", "instructions a row", "now", "committed");
    for (name, _) in LOOPS {
        let now = (count(name, 5) - count(name, 1)) as f64 / 4.0 / ROWS as f64;
        let figure = figures.get(name).copied().unwrap_or(0.0);
        let verdict = match now {
            _ if now > figure * ROOM => "TOO MANY",
            _ if now * ROOM < figure => "fewer: commit this figure",
            _ => "",
        };
        failed |= now > figure * ROOM;
        println!("{name:28} {now:12.1} {figure:12.1} {verdict}");
    }
    if failed {
        eprintln!("a hot loop has become slower; where that is wanted, change benches/hot_path/instructions.txt");
        exit(1);
    }
}

fn count(name: &str, rounds: u32) -> u64 {
    let this = std::env::current_exe().unwrap();
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(this)
        .args([format!("--instructions={name}"), rounds.to_string()])
        .output()
        .expect("valgrind (`tests/servers/get.sh valgrind` gets it without root)");
    let said = String::from_utf8_lossy(&output.stderr);
    // `==123== I refs:      1,234,567`, in older versions `I   refs:`.
    let line = said.lines().find(|line| line.contains("refs:")).unwrap_or_else(|| panic!("{said}"));
    let digits = line.rsplit(':').next().unwrap_or_default().replace([',', ' '], "");
    digits.parse().unwrap_or_else(|_| panic!("{said}"))
}
