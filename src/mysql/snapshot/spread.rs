//! Bounds of chunks by estimate, where the key begins with a whole number or with text.
//!
//! To walk the index from one bound to the next costs the server almost half of what it costs to read the rows, and the
//! readers wait for it. But a bound need not be a row's key, and a chunk need not have exactly so many rows. So for
//! larger chunks a key is guessed from how far the last ones went ([`super::scale`]), and the server is asked how many rows lie up
//! to it: EXPLAIN looks into the index at both ends, whatever lies between. A guess that is too far off is mended by proportion, or
//! by halves; after some of them, as beside a wide gap, the index is walked after all. So is a table whose keys are not where
//! they are looked for, time and again: all begin alike, or are sorted otherwise. Of a key that is one whole number no more
//! numbers may be left than a chunk has rows: then it is the last one, and nothing is asked.
//!
//! InnoDB takes a range of many pages for twice as many rows as it finds there, so as not to be too low
//! (`btr_estimate_n_rows_in_range`): such chunks become smaller, but not those of keys that are counted up, for no range
//! has more rows than numbers. And it never estimates more than half of the rows that its statistics say a table has. So a
//! table of which a chunk would be a large part, or of which the statistics know too little, is walked too.

use mysql_async::Value;

use super::SnapshotTable;
use super::key::{Key, KeyColumn, range};
use super::scale::Scale;
use super::table::read_error;
use crate::Result;
use crate::mysql::connect::{Session, optional};

/// Chunks of so many rows are cut by walking: that takes some milliseconds.
pub(super) const WALKED: u64 = 10_000;
/// Questions for one bound.
const TRIES: usize = 8;
/// Bounds of a table that are not found, one after the other, before it is only walked.
const MOST_MISSED: u32 = 3;

/// How the keys lie, as far as is known.
#[derive(Debug, Clone)]
pub(super) struct Spread {
    /// The key's first column, of the smallest and the largest, when they were asked for; `None`: there were no rows.
    ends: Option<Ends>,
    /// In the server's statistics; `None`: not asked for yet.
    rows: Option<u64>,
    /// From one bound to the next, the last time.
    step: Option<i128>,
    /// Bounds in a row that were not found.
    missed: u32,
}

#[derive(Debug, Clone)]
struct Ends {
    scale: Scale,
    first: i128,
    last: i128,
}

/// Where a chunk ends.
#[derive(Debug)]
pub(super) enum Bound {
    At(Key),
    /// It is the last one: what is left has no more numbers than a chunk has rows. What comes later belongs to it too.
    Nowhere,
    /// It is not found so.
    Unknown,
}

impl Spread {
    /// `None`: keys of this kind are not guessed.
    pub(super) async fn of(conn: &mut impl Session, table: &SnapshotTable) -> Result<Option<Spread>> {
        let Some(column) = table.key.first().filter(|_| !table.index.is_empty()) else { return Ok(None) };
        if !column.is_whole_number() && column.text_is_ascii().is_none()
            || table.key[1..].iter().any(|column| column.any_value().is_none())
        {
            return Ok(None);
        }
        let ends = match ends(conn, table, column).await? {
            Asked::NoRows => None,
            Asked::Ends(ends) => Some(ends),
            Asked::Unfit => return Ok(None),
        };
        Ok(Some(Spread { ends, rows: None, step: None, missed: 0 }))
    }

    /// A bound about `rows` rows behind `lower`, with some left behind it.
    pub(super) async fn bound(
        &mut self,
        conn: &mut impl Session,
        table: &SnapshotTable,
        lower: Option<&Key>,
        rows: u64,
    ) -> Result<Bound> {
        if self.missed >= MOST_MISSED {
            return Ok(Bound::Unknown);
        }
        let bound = self.guess(conn, table, lower, rows).await?;
        self.missed = if matches!(bound, Bound::Unknown) { self.missed + 1 } else { 0 };
        Ok(bound)
    }

    async fn guess(
        &mut self,
        conn: &mut impl Session,
        table: &SnapshotTable,
        lower: Option<&Key>,
        rows: u64,
    ) -> Result<Bound> {
        let wanted = i128::from(rows);
        // No two rows have the same number.
        let distinct = table.key.len() == 1 && table.key[0].is_whole_number();
        let begin = |ends: &Ends| match lower {
            None => Some(ends.first.saturating_sub(1)),
            Some(Key(values)) => ends.scale.number(values.first()?),
        };
        let is_small = |ends: &Option<Ends>| match ends {
            None => true,
            Some(ends) => distinct && begin(ends).is_some_and(|from| ends.last.saturating_sub(from) <= wanted),
        };
        if lower.is_some() && is_small(&self.ends) {
            // The table may have grown by more than that while it was copied.
            self.ends = match ends(conn, table, &table.key[0]).await? {
                Asked::Ends(ends) => Some(ends),
                Asked::NoRows | Asked::Unfit => None,
            };
        }
        if is_small(&self.ends) {
            return Ok(Bound::Nowhere);
        }
        let Some(ends) = &self.ends else { return Ok(Bound::Nowhere) };
        let Some(from) = begin(ends) else { return Ok(Bound::Unknown) };
        let known = match self.rows {
            Some(known) => known,
            None => match estimate(conn, table, "").await? {
                Some(known) => *self.rows.insert(known),
                None => return Ok(Bound::Unknown),
            },
        };
        if rows > known / 4 {
            return Ok(Bound::Unknown);
        }
        // Steps that are too short, and that are too long.
        let (mut short, mut long) = (0, ends.last.saturating_sub(from));
        // Most whole numbers are counted up.
        let even = || by_proportion(ends.last.saturating_sub(ends.first), wanted, i128::from(known));
        let mut step = self.step.unwrap_or_else(|| if distinct { wanted } else { even() });
        for _ in 0..TRIES {
            if step <= short || step >= long {
                step = short + (long - short) / 2;
            }
            if step <= short || distinct && long <= wanted {
                break;
            }
            let Some(upper) = ends.scale.key(&table.key, from + step) else { break };
            let Some(found) = estimate(conn, table, &range(&table.key, lower, Some(&upper))?).await? else { break };
            let found = i128::from(found.max(1));
            let found = if distinct { found.min(step) } else { found };
            let next = by_proportion(step, wanted, found);
            if 2 * found < wanted {
                short = step;
                step = next.min(step.saturating_mul(1024));
            } else if 2 * found > 3 * wanted {
                long = step;
                step = next;
            } else {
                self.step = Some(next.max(1));
                return Ok(Bound::At(upper));
            }
        }
        Ok(Bound::Unknown)
    }
}

/// `step * wanted / found`, which may have no room for the product.
fn by_proportion(step: i128, wanted: i128, found: i128) -> i128 {
    let found = found.max(1);
    step.checked_mul(wanted).map_or_else(|| (step / found).saturating_mul(wanted), |product| product / found)
}

enum Asked {
    Ends(Ends),
    NoRows,
    /// They cannot be read as numbers.
    Unfit,
}

/// The smallest key and the largest, by their first column: two looks into the index.
async fn ends(conn: &mut impl Session, table: &SnapshotTable, column: &KeyColumn) -> Result<Asked> {
    let name = column.name();
    let statement = format!("SELECT MIN({name}), MAX({name}) FROM {}", table.source());
    let row = conn.first(&statement).await.map_err(|error| read_error(&table.name, error))?;
    let value = |at: usize| match row.as_ref().and_then(|row| row.as_ref(at)) {
        None | Some(Value::NULL) => Ok(None),
        Some(value) => column.value(value).map(Some),
    };
    let (Some(first), Some(last)) = (value(0)?, value(1)?) else { return Ok(Asked::NoRows) };
    let ends = Scale::between(column, [&first, &last]).and_then(|scale| {
        let (first, last) = (scale.number(&first)?, scale.number(&last)?);
        Some(Ends { scale, first, last })
    });
    Ok(ends.map_or(Asked::Unfit, Asked::Ends))
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
