//! Asks the source's catalogue for definitions that a statement in the log has left open
//! ([`crate::mysql::history::History::settle`]). The answers go to the flusher, which takes each when it comes to the
//! place at which it holds.

use std::time::Duration;

use crossbeam_channel as channel;
use mysql_async::Conn;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Context;
use crate::apply::join::{Errand, Settle};
use crate::config::NoKeyTables;
use crate::mysql::connect::{Connect, Patience, ServerInfo};
use crate::mysql::position::Position;
use crate::mysql::{catalog, snapshot};
use crate::schema::{Table, TableName};
use crate::{Error, Result};

/// Before a table is asked for again that the target was busy with.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks for `tables`, whenever there are others, until what is returned is dropped.
pub(super) fn ask<T>(
    context: &Context<'_, T>,
    errands: channel::Sender<Errand>,
    tables: watch::Receiver<Vec<TableName>>,
) -> DropGuard {
    let asker = Asker {
        connect: context.prepared.connect.clone(),
        server: context.prepared.server.clone(),
        no_key: context.job.no_key_tables,
        patience: context.patience(),
        errands,
    };
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move { stopped.run_until_cancelled(asker.run(tables)).await });
    stop.drop_guard()
}

struct Asker {
    connect: Connect,
    server: ServerInfo,
    no_key: NoKeyTables,
    patience: Patience,
    errands: channel::Sender<Errand>,
}

impl Asker {
    async fn run(self, mut tables: watch::Receiver<Vec<TableName>>) {
        loop {
            let asked = tables.borrow_and_update().clone();
            for table in &asked {
                while let Some(false) = self.settle(table).await {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            if tables.changed().await.is_err() {
                return;
            }
        }
    }

    /// `Some(false)`: it has to be asked for again. `None`: the flusher has ended.
    async fn settle(&self, table: &TableName) -> Option<bool> {
        let (reply, answer) = oneshot::channel();
        let found = self.definition(table).await;
        self.errands.send(Errand::Settle(Settle { table: table.clone(), found, reply })).ok()?;
        answer.await.ok()
    }

    async fn definition(&self, table: &TableName) -> Result<(Option<Table>, Position)> {
        let mut pauses = self.patience.pauses();
        loop {
            let asking = async {
                let mut connection: Conn = self.connect.sql(None).await?;
                snapshot::prepare_session(&mut connection).await?;
                catalog::table_at(&mut connection, &self.server, table, self.no_key).await
            };
            match asking.await {
                Err(error) if error.is_transient() => self.pause(&error, pauses.take()).await,
                answer => return answer,
            }
        }
    }

    async fn pause(&self, error: &Error, pause: Duration) {
        tracing::warn!(%error, ?pause, "the source's catalogue does not answer, trying again");
        tokio::time::sleep(pause).await;
    }
}
