//! This side dies: the job, its target, its state folder, at the worst moments.
//!
//! [`history`] knows what the source went through, so that a target can be judged while both go on; [`outside`] is a
//! target that can be killed too; [`link`] is a connection that falls silent.

mod changes;
mod copies;
mod history;
mod kills;
mod lagging;
mod link;
mod outside;
mod power;
mod state_folder;
mod steps;
mod stops;

use std::time::Duration;

async fn wait_until(what: &str, reached: impl Fn() -> bool) {
    for _ in 0..2400 {
        if reached() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("never came to: {what}");
}
