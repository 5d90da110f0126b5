//! The proof that a row which looks different was not merely on its way.
//!
//! ```text
//! source's log ──── P ─────────────────────────────────────── E ────▶
//!                   │ asked for                               │ the log's end
//!                   └ wait for the checkpoint   target  source ┘
//! ```
//! Looking twice proves nothing: a value that goes to and fro may be the same whenever the source is read and another one
//! whenever the target is. The log tells. Everything before P can be seen at the source from then on, and is in the target
//! when that is read. A row that no event between P and E names has therefore been one and the same at the source from P to E; and
//! as nothing behind P that the job may have brought already can have touched it at the target, both sides must show it.
//!
//! An XA transaction is named where it was prepared, but changes its rows where it is committed. If one was committed between P and
//! E and prepared before, its rows are not known, and the reading proves nothing of any row.
//!
//! MySQL without GTIDs names the log's end for P, which may lie behind a transaction that cannot be seen yet. What is compared
//! with the target then is read so that it is seen ([`super::visible`]).

use std::sync::Arc;

use super::pending::{Log, digest};
use super::servers::Digest;
use super::{Options, Subject};
use crate::Result;
use crate::mysql::catalog;
use crate::mysql::position::Position;
use crate::schema::{TableName, map_table};

/// Which rows of one table were changed meanwhile.
pub(crate) struct Moved {
    table: TableName,
    /// `None`: none were.
    log: Option<Log>,
    /// Why all of them have to be taken for changed, in words.
    whole: Option<String>,
}

impl Moved {
    /// Nobody has written anything.
    pub(super) fn none(table: &TableName) -> Moved {
        Moved { table: table.clone(), log: None, whole: None }
    }

    /// Reads the log from a place to its present end.
    pub(super) async fn since(
        subject: &Subject<'_>,
        options: &Options,
        from: &Position,
        table: &TableName,
    ) -> Result<Moved> {
        // It may have been altered since the comparison began.
        let mut conn = subject.connect.sql(None).await?;
        let found = catalog::table(&mut conn, &subject.server, table, subject.no_key).await?;
        drop(conn);
        let Some(found) = found else {
            let whole = Some("it is not at the source any more".to_owned());
            return Ok(Moved { whole, ..Moved::none(table) });
        };
        let mapping = Arc::new(map_table(&found, &subject.mapping)?);
        let mut log = Log::begin(subject, options, &[mapping], from).await?;
        log.read(subject, options).await?;
        let unknown = log.unknown().map(|name| format!("the XA transaction {name} was committed meanwhile"));
        let whole = log.change_of(table).map(str::to_owned).or(unknown);
        Ok(Moved { table: table.clone(), log: Some(log), whole })
    }

    /// Why nothing is proved of any row, in words.
    pub(crate) fn whole(&self) -> Option<&str> {
        self.whole.as_deref()
    }

    /// Whether the row with this key may have changed.
    pub(crate) fn has(&self, key: &[u8]) -> Result<bool> {
        self.has_digest(digest(key))
    }

    /// The same, for the digest of a key; of a table without one the key is the whole row.
    pub(crate) fn has_digest(&self, key: Digest) -> Result<bool> {
        let named = self.log.as_ref().map_or(Ok(false), |log| log.has(&self.table, key));
        Ok(self.whole.is_some() || named?)
    }
}
