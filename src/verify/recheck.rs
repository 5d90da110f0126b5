//! Looks once more at rows that a comparison found different.

use super::canonical::Rules;
use super::clock::Clock;
use super::layout::Layout;
use super::report::Difference;
use super::servers::{SourceReader, TargetReader};
use super::settle::{Settled, Settling};
use super::{Options, Subject};
use crate::mysql::snapshot::SnapshotTable;
use crate::schema::TableName;
use crate::{Error, Result};

/// What is left of the differences of one table.
#[derive(Debug, Default)]
pub struct Rechecked {
    /// Rows that still differ, as lines of a report.
    pub differences: Vec<String>,
    /// Rows that could not be judged.
    pub unjudged: u64,
}

/// Compares the rows with these keys, as [`super::run`] would.
///
/// # Errors
/// The table is none of the subject's; those of the servers.
pub async fn recheck(
    subject: &Subject<'_>,
    options: &Options,
    table: &TableName,
    keys: Vec<Vec<u8>>,
) -> Result<Rechecked> {
    let found = subject.mappings.iter().find(|mapping| mapping.source.name == *table);
    let mapping = found.ok_or_else(|| Error::definite(format!("table {table} is none of the job's any more")))?;
    if mapping.is_row_hash() {
        return Err(Error::definite(format!("table {table} has no key by which its rows could be looked up")));
    }
    let mut conn = subject.connect.sql(None).await?;
    let snapshot = SnapshotTable::describe(&mut conn, &mapping.source).await?;
    let stored = subject.starrocks.stored_columns(&mapping.target.name).await?;
    let rules = Rules::exact(subject.zone.clone(), subject.zero_date.clone());
    let layout = Layout::new(&mut conn, subject.server.flavor, mapping, &stored, &[], &rules).await?;
    drop(conn);
    let mut clock = Clock::new(subject, options)?;
    let mut settling = Settling {
        layout: &layout,
        table: &snapshot,
        source: &mut SourceReader::new(&subject.connect, options.read_patience),
        target: &mut TargetReader::new(subject.starrocks, options.read_patience),
        clock: &mut clock,
    };
    let Settled { differences, in_flight, unjudged, .. } = settling.settle(keys).await?;
    let line = |difference: Difference| difference.record(&layout).detail;
    Ok(Rechecked { differences: differences.into_iter().map(line).collect(), unjudged: in_flight + unjudged })
}
