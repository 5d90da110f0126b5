//! How much log lies between the checkpoint and the source's end, asked for now and then beside the stream: the stream
//! itself tells only what it has brought.

use std::time::Duration;

use mysql_async::Conn;
use tokio::task::AbortHandle;

use super::Context;
use crate::Result;
use crate::mysql::position::{self, Log, Position};
use crate::state::now_micros;

const EVERY: Duration = Duration::from_secs(10);

/// Ends the asking when it is dropped.
pub(super) struct Watch(AbortHandle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Keeps [`crate::progress::Snapshot::behind_bytes`] up to date until the watch is dropped.
pub(super) fn watch<T>(context: &Context<'_, T>) -> Watch {
    let (connect, progress) = (context.prepared.connect.clone(), context.options.progress.clone());
    let asking = tokio::spawn(async move {
        let mut connection: Option<Conn> = None;
        let mut known: Vec<Log> = Vec::new();
        loop {
            let asked_at = now_micros();
            let asked: Result<_> = async {
                let mut open = match connection.take() {
                    Some(open) => open,
                    None => connect.sql(None).await?,
                };
                let logs = position::logs(&mut open).await?;
                Ok((open, logs))
            }
            .await;
            match asked {
                Ok((open, logs)) => {
                    connection = Some(open);
                    known = logs;
                    let bytes = progress.snapshot().position.and_then(|position| behind(&known, &position));
                    progress.set_behind(bytes, asked_at);
                }
                // The reader tells what is wrong with the source. It has at least what it had.
                Err(error) => {
                    tracing::debug!(%error, "the source's end is not known");
                    let bytes = progress.snapshot().position.and_then(|position| behind(&known, &position));
                    progress.set_behind(bytes, 0);
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    });
    Watch(asking.abort_handle())
}

/// Bytes of log behind `position`; `None`: it is of a file that is not there, as on another server.
fn behind(logs: &[Log], position: &Position) -> Option<u64> {
    let at = logs.iter().position(|log| log.file == position.file)?;
    let (first, others) = logs[at..].split_first()?;
    Some(first.size.saturating_sub(position.offset) + others.iter().map(|log| log.size).sum::<u64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_behind_a_position_is_the_rest_of_its_file_and_all_later_ones() {
        let log = |number: u32, size| Log { file: format!("binlog.00000{number}"), size };
        let logs = [log(1, 1000), log(2, 500), log(3, 70)];
        let at = |number: u32, offset| Position { file: format!("binlog.00000{number}"), offset, gtids: None };
        assert_eq!(behind(&logs, &at(1, 400)), Some(600 + 500 + 70));
        assert_eq!(behind(&logs, &at(3, 70)), Some(0));
        assert_eq!(behind(&logs, &at(3, 90)), Some(0), "the list is a little older than the position");
        assert_eq!(behind(&logs, &at(4, 4)), None);
    }
}
