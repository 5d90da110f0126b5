//! Bounds of chunks by estimate, where the key is one whole number.
//!
//! To walk the index from one bound to the next costs the server almost half of what it costs to read the rows, and the
//! readers wait for it. But a bound need not be a row's key, and a chunk need not have exactly so many rows. So for
//! larger chunks a number is guessed from how far the last ones went, and the server is asked how many rows lie up to it:
//! EXPLAIN looks into the index at both ends, whatever lies between. A guess that is too far off is mended by proportion, or
//! by halves; after some of them, as beside a wide gap, and near the table's end the index is walked after all.
//!
//! InnoDB takes a range of many pages for twice as many rows as it finds there, so as not to be too low
//! (`btr_estimate_n_rows_in_range`): such chunks become smaller, but not those of keys that are counted up, for no range
//! has more rows than numbers. And it never estimates more than half of the rows that its statistics say a table has. So a
//! table of which a chunk would be a large part, or of which the statistics know too little, is walked too.

use super::SnapshotTable;
use super::key::{Key, KeyValue, range};
use super::table::read_error;
use crate::Result;
use crate::mysql::connect::{Session, optional};

/// Chunks of so many rows are cut by walking: that takes some milliseconds.
pub(super) const WALKED: u64 = 10_000;
/// Questions for one bound.
const TRIES: usize = 8;

/// How the numbers lie, as far as is known.
#[derive(Debug, Clone)]
pub(super) struct Spread {
    first: i128,
    /// When it was asked: what comes later belongs to the last chunk, which has no end.
    last: i128,
    /// In the server's statistics.
    rows: u64,
    /// From one bound to the next, the last time.
    step: Option<i128>,
}

impl Spread {
    /// `None`: the key is something else, or there are no rows.
    pub(super) async fn of(conn: &mut impl Session, table: &SnapshotTable) -> Result<Option<Spread>> {
        let [column] = table.key.as_slice() else { return Ok(None) };
        if !column.is_whole_number() || table.index.is_empty() {
            return Ok(None);
        }
        let mut ends = [0; 2];
        for (end, order) in ends.iter_mut().zip(["", " DESC"]) {
            let name = column.name();
            let statement = format!("SELECT {name} FROM {} ORDER BY {name}{order} LIMIT 1", table.source());
            let rows = conn.rows(&statement).await.map_err(|error| read_error(&table.name, error))?;
            let Some(number) = rows.first().and_then(|row| optional(row, 0)?.parse().ok()) else { return Ok(None) };
            *end = number;
        }
        let [first, last] = ends;
        let rows = estimate(conn, table, "").await?;
        Ok(rows.map(|rows| Spread { first, last, rows, step: None }))
    }

    /// A bound about `rows` rows behind `lower`, with some left behind it; `None`: it is not found so.
    pub(super) async fn bound(
        &mut self,
        conn: &mut impl Session,
        table: &SnapshotTable,
        lower: Option<&Key>,
        rows: u64,
    ) -> Result<Option<Key>> {
        let from = match lower {
            None => self.first.saturating_sub(1),
            Some(Key(values)) => match values.first().and_then(KeyValue::whole_number) {
                Some(number) => number,
                None => return Ok(None),
            },
        };
        if rows > self.rows / 4 {
            return Ok(None);
        }
        let wanted = i128::from(rows);
        // Steps that are too short, and that are too long.
        let (mut short, mut long) = (0, self.last.saturating_sub(from));
        // Most such keys are counted up.
        let mut step = self.step.unwrap_or(wanted);
        for _ in 0..TRIES {
            if step <= short || step >= long {
                step = short + (long - short) / 2;
            }
            if step <= short || long <= wanted {
                break;
            }
            let Some(upper) = KeyValue::of_whole_number(from + step) else { break };
            let upper = Key(vec![upper]);
            let Some(found) = estimate(conn, table, &range(&table.key, lower, Some(&upper))?).await? else { break };
            let found = i128::from(found.max(1)).min(step);
            let by_proportion = step.saturating_mul(wanted) / found;
            if 2 * found < wanted {
                short = step;
                step = by_proportion.min(step.saturating_mul(1024));
            } else if 2 * found > 3 * wanted {
                long = step;
                step = by_proportion;
            } else {
                self.step = Some(by_proportion.max(1));
                return Ok(Some(upper));
            }
        }
        Ok(None)
    }
}

/// How many rows the server expects; `None`: it does not say.
async fn estimate(conn: &mut impl Session, table: &SnapshotTable, condition: &str) -> Result<Option<u64>> {
    let names: Vec<&str> = table.key.iter().map(|column| column.name()).collect();
    // MySQL does not look into an index that it is forced to use.
    let index = table.index.replacen("FORCE", "USE", 1);
    let statement = format!(
        "EXPLAIN FORMAT=TRADITIONAL SELECT {} FROM {}{index}{condition}",
        names.join(", "),
        table.name.quoted()
    );
    let rows = conn.rows(&statement).await.map_err(|error| read_error(&table.name, error))?;
    // Behind it are `filtered`, where there are twelve columns (MySQL since 5.7), and `Extra`.
    let column = |count: usize| if count == 12 { 9 } else { 8 };
    Ok(rows.first().and_then(|row| optional(row, column(row.len()))?.parse().ok()))
}
