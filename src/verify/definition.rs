//! Comparing one table by definitions of one moment.
//!
//! Both sides may be altered while they are compared: the source first, and the target when the job has come to the statement.
//! What is read in between differs, or cannot be read at all. So
//!
//! - a table that the job is copying, or that it is altering just now, is left out and named;
//! - where the target's table does not fit the source's, the job is waited for before that counts; if it will not come
//!   there, its log tells whether a statement on the table is still to come ([`super::pending`]), and the table is left out;
//! - whatever was found is thrown away, and looked for again, if the source's definition is another one afterwards.

use std::sync::Arc;

use super::clock::{Clock, Waited};
use super::layout::Layout;
use super::multiset::Multiset;
use super::report::TableReport;
use super::servers::{SourceReader, TargetReader};
use super::table::TableComparison;
use super::{Options, Progress, Subject};
use crate::mysql::catalog;
use crate::mysql::snapshot::SnapshotTable;
use crate::schema::{Mapping, TableName, map_table};
use crate::state::{RunOutcome, Store};
use crate::{Error, Result};

/// How often a table is compared whose definition changes meanwhile.
const TRIES: u32 = 3;

pub(super) struct OneTable<'r, 's, 'c> {
    pub(super) subject: &'r Subject<'s>,
    pub(super) store: &'r Store,
    pub(super) options: &'r Options,
    pub(super) progress: &'r Progress,
    pub(super) clock: &'r mut Clock<'c>,
    /// As at the source.
    pub(super) name: &'r TableName,
}

impl OneTable<'_, '_, '_> {
    pub(super) async fn compare(&mut self, report: &mut TableReport) -> Result<()> {
        for _ in 0..TRIES {
            let mapping = self.definition().await?.ok_or_else(|| self.left_out("it is not at the source any more"))?;
            self.check(&mapping)?;
            *report = TableReport::new(&mapping.source.name, &mapping.target.name);
            let compared = self.compare_as(&mapping, report).await;
            if compared.is_ok() && report.outcome() == RunOutcome::Equal {
                return compared;
            }
            // What does not agree may come from a change of the table.
            let left_out = self.check(&mapping);
            if left_out.is_ok() && self.definition().await?.is_some_and(|now| now == mapping) {
                return compared;
            }
            self.store.forget_drafts(self.name)?;
            *report = TableReport::new(&mapping.source.name, &mapping.target.name);
            left_out?;
            tracing::info!(table = %self.name, "its definition has changed: it is compared again");
        }
        Err(self.left_out(&format!("its definition has changed each of {TRIES} times that it was compared")))
    }

    /// The table as it is now, with its target.
    async fn definition(&self) -> Result<Option<Mapping>> {
        let mut conn = self.subject.connect.sql(None).await?;
        let found = catalog::table(&mut conn, &self.subject.server, self.name, self.subject.no_key).await?;
        found.map(|table| map_table(&table, &self.subject.mapping)).transpose()
    }

    /// # Errors
    /// The table cannot be compared now; it says why.
    fn check(&self, mapping: &Mapping) -> Result<()> {
        if let Some(change) = self.clock.pending.change_of(self.name) {
            return Err(self.left_out(change));
        }
        match self.store.at_work(&mapping.source.name, &mapping.target.name)? {
            Some(work) => Err(self.left_out(&work)),
            None => Ok(()),
        }
    }

    fn left_out(&self, because: &str) -> Error {
        Error::definite(format!("table {} was left out: {because}", self.name))
            .hint("compare it again once that is done: `towpath verify JOB --tables`")
    }

    async fn compare_as(&mut self, mapping: &Mapping, report: &mut TableReport) -> Result<()> {
        let (subject, options) = (self.subject, self.options);
        let Some(differences) = self.schema(mapping).await? else {
            report.schema.push("the table is not there at the target".to_owned());
            return Ok(());
        };
        report.schema = differences;
        let stored = subject.starrocks.stored_columns(&mapping.target.name).await?;
        let mut conn = subject.connect.sql(None).await?;
        let snapshot = SnapshotTable::describe(&mut conn, &mapping.source).await?;
        let (flavor, columns) = (subject.server.flavor, &options.columns);
        let layout = Layout::new(&mut conn, flavor, mapping, &stored, columns, &subject.rules(options)).await?;
        drop(conn);
        if layout.is_keyless() {
            let mut comparison = Multiset {
                layout: &layout,
                snapshot: &snapshot,
                source: SourceReader::new(&subject.connect, options.read_patience),
                target: TargetReader::new(subject.starrocks, options.read_patience),
                clock: self.clock,
                store: self.store,
                options,
                progress: self.progress,
            };
            return comparison.run(report).await;
        }
        let mut comparison = TableComparison {
            layout,
            snapshot: Arc::new(snapshot),
            connect: subject.connect.clone(),
            starrocks: subject.starrocks,
            clock: self.clock,
            store: self.store,
            options,
            progress: self.progress,
        };
        comparison.run(report).await
    }

    /// Why the target's table cannot take every value, once the job has come to what its source's definition comes from.
    /// `None`: there is no table.
    async fn schema(&mut self, mapping: &Mapping) -> Result<Option<Vec<String>>> {
        let starrocks = self.subject.starrocks;
        let differences = starrocks.schema_differences(&mapping.target).await?;
        if differences.as_ref().is_some_and(Vec::is_empty) {
            return Ok(differences);
        }
        let position = self.clock.now().await?;
        if let Waited::NotYet { checkpoint, because } = self.clock.wait(&position, None).await? {
            let end = self.clock.now().await?;
            if let Err(error) = self.clock.pending.read_on(&checkpoint, &end).await {
                return Err(self.left_out(&format!(
                    "the target's table differs, and it cannot be told whether the job has still to alter it ({because}): {error}"
                )));
            }
            self.check(mapping)?;
        }
        starrocks.schema_differences(&mapping.target).await
    }
}
