//! The power fails. Of what was written to the state store the disk has all up to the last transaction that waited for it;
//! the end of an epoch does not, so it may be lost, and the loads that it is about are in.

use std::fs::{self, File};

use towpath::demo::server::Product;

use super::steps::killed_at;
use crate::harness::Job;
use crate::servers;

/// Each between an epoch's end and whatever waits for the disk next.
const BETWEEN_EPOCHS: &[(&str, u32)] =
    &[("checkpoint-written", 0), ("checkpoint-written", 2), ("epoch-in", 1), ("epoch-closed", 2), ("epoch-encoded", 2)];

#[tokio::test(flavor = "multi_thread")]
async fn a_power_loss_that_takes_the_end_of_an_epoch_loses_nothing_doubles_nothing_and_turns_nothing_back() {
    killed_at(Product::Mysql, servers::mysql().await, BETWEEN_EPOCHS, async |job| {
        let before = job.status().await["epochs"].as_u64();
        lose_last_transaction(job);
        let after = job.status().await["epochs"].as_u64();
        assert_eq!(before, after.map(|epochs| epochs + 1), "the end of an epoch was lost");
    })
    .await;
}

/// Cuts the last transaction off SQLite's log: the disk had everything before it.
///
/// ```text
/// header 32: … | page size at 8 | … | salt 8 at 16 | …      frame: page 4 | pages, if a transaction ends here, 4 | salt 8 | 8 | page
/// ```
/// Frames of another salt are left from before the log began anew.
fn lose_last_transaction(job: &Job) {
    let path = job.state_file("db-wal");
    let log = fs::read(&path).unwrap();
    let page = u32::from_be_bytes(log[8..12].try_into().unwrap()) as usize;
    let (mut end, mut ends) = (32, vec![32]);
    while let Some(frame) = log.get(end..end + 24 + page).filter(|frame| frame[8..16] == log[16..24]) {
        end += frame.len();
        if frame[4..8] != [0; 4] {
            ends.push(end);
        }
    }
    let [.., kept, _lost] = ends[..] else { panic!("no transaction is in the log") };
    File::options().write(true).open(&path).unwrap().set_len(kept as u64).unwrap();
    // It was never on a disk.
    fs::remove_file(job.state_file("db-shm")).unwrap();
}
