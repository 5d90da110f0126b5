//! What all fuzz targets share: seeded executions, and mutations of real bytes.
//!
//! A target runs a fixed number of executions, or for `TOWPATH_FUZZ_SECONDS`. Each execution has a seed of its own,
//! counted up from a random one; a failing execution prints its seed, and `TOWPATH_SEED` begins with it.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Runs one target and prints how often.
pub(crate) fn run(target: &'static str, executions: u64, mut one: impl FnMut(&mut StdRng)) {
    let first = variable("TOWPATH_SEED").unwrap_or_else(|| rand::random::<u32>().into());
    let limit = variable("TOWPATH_FUZZ_SECONDS").map(Duration::from_secs);
    let began = Instant::now();
    let mut current = Current { target, seed: first };
    let mut done = 0;
    while limit.map_or(done < executions, |limit| began.elapsed() < limit) {
        current.seed = first.wrapping_add(done);
        one(&mut StdRng::seed_from_u64(current.seed));
        done += 1;
    }
    println!("fuzz {target}: {done} executions from seed {first} in {:?}", began.elapsed());
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Tells the seed of the execution that panics.
struct Current {
    target: &'static str,
    seed: u64,
}

impl Drop for Current {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("fuzz {}: repeat with TOWPATH_SEED={}", self.target, self.seed);
        }
    }
}

const EDGES: [u64; 14] =
    [0, 1, 2, 0x7f, 0x80, 0xfb, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, i64::MAX as u64, u64::MAX];

/// One to four changes; pieces are also taken from `other`.
pub(crate) fn mutate(random: &mut StdRng, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.random_range(1..=4) {
        change(random, &mut bytes, other);
    }
    bytes
}

fn change(random: &mut StdRng, bytes: &mut Vec<u8>, other: &[u8]) {
    // Heads are short, and decide most.
    let at = if random.random_range(0..8) == 0 { 0 } else { random.random_range(0..=bytes.len()) };
    let end = (at + random.random_range(0..=16)).min(bytes.len());
    match random.random_range(0..10) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.random_range(0..8);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.random();
            }
        }
        2..=3 => {
            let width = [1, 2, 4, 8][random.random_range(0..4)];
            let edge = EDGES[random.random_range(0..EDGES.len())];
            let number = if random.random() { edge.to_le_bytes() } else { edge.rotate_right(8 * width).to_be_bytes() };
            let number = &number[..width as usize];
            let end = (at + number.len()).min(bytes.len());
            bytes[at..end].copy_from_slice(&number[..end - at]);
        }
        4 => drop(bytes.drain(at..end)),
        5 => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        6 => {
            let noise: Vec<u8> = (0..random.random_range(1..=16)).map(|_| random.random()).collect();
            bytes.splice(at..at, noise);
        }
        7 => bytes.truncate(at),
        // A piece of another input, put in or laid over.
        kind => {
            let from = random.random_range(0..=other.len());
            let to = (from + random.random_range(0..=64)).min(other.len());
            let over = if kind == 8 { at } else { (at + to - from).min(bytes.len()) };
            bytes.splice(at..over, other[from..to].iter().copied());
        }
    }
}

/// An event of a binlog file: type, server id, end offset, size, and the body without its checksum.
pub(crate) struct FileEvent {
    pub(crate) kind: u8,
    pub(crate) server_id: u32,
    pub(crate) log_pos: u32,
    pub(crate) size: u32,
    pub(crate) body: Vec<u8>,
}

/// The events of a whole binlog file.
pub(crate) fn file_events(file: &[u8]) -> Vec<FileEvent> {
    assert_eq!(file[..4], *b"\xfebin");
    let mut events = Vec::new();
    let mut checksum = 4;
    let mut at = 4;
    while let Some(header) = file.get(at..at + 19) {
        let number = |from: usize| u32::from_le_bytes(header[from..from + 4].try_into().unwrap());
        let event = &file[at..at + number(9) as usize];
        if header[4] == 15 {
            // A format description tells the algorithm before its own four bytes, which it has in any case.
            checksum = if event[event.len() - 5] == 1 { 4 } else { 0 };
        }
        let body = event[19..event.len() - checksum].to_vec();
        events.push(FileEvent { kind: header[4], server_id: number(5), log_pos: number(13), size: number(9), body });
        at += event.len();
    }
    events
}

/// The images of a rows event, and whether it is an update.
pub(crate) fn images(event: &FileEvent) -> Option<(bool, &[u8])> {
    let update = matches!(event.kind, 24 | 31);
    let mut at = match event.kind {
        23..=25 => 8,
        30..=32 => 8 + usize::from(u16::from_le_bytes([event.body[8], event.body[9]])),
        _ => return None,
    };
    let columns = usize::from(event.body[at]);
    assert!(columns < 251, "a column count of one byte");
    at += 1 + columns.div_ceil(8) * if update { 2 } else { 1 };
    Some((update, &event.body[at..]))
}
