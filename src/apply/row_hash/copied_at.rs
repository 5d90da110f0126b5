//! Which rows of the log a copy has already.

use std::collections::HashMap;

use crate::mysql::binlog::{Place, RowsEvent};
use crate::mysql::position::{Gtid, Position, order_places};
use crate::schema::TableName;
use crate::{Error, Result};

/// For each table that was copied as it was at one place of the log: that place.
#[derive(Debug, Default)]
pub struct CopiedAt(HashMap<TableName, Position>);

impl CopiedAt {
    /// Places that lie before `start`, where reading begins, say nothing any more.
    pub fn new(places: HashMap<TableName, Position>, start: &Position) -> Self {
        CopiedAt(places.into_iter().filter(|(_, place)| !start.reached(place)).collect())
    }

    /// The copy of the table under way shows it as it was there.
    pub(crate) fn set(&mut self, table: TableName, place: Position) {
        self.0.insert(table, place);
    }

    /// There is another copy of the table.
    pub(crate) fn forget(&mut self, table: &TableName) {
        self.0.remove(table);
    }

    pub(crate) fn rename(&mut self, from: &TableName, to: TableName) {
        if let Some(place) = self.0.remove(from) {
            self.0.insert(to, place);
        }
    }

    /// Whether a transaction may have rows of the table that its copy has not; `at` is within it.
    ///
    /// # Errors
    /// As [`CopiedAt::has`].
    pub(crate) fn lacks(&self, table: &TableName, gtid: Option<&Gtid>, at: (&str, u64)) -> Result<bool> {
        let Some(copied) = self.0.get(table) else { return Ok(true) };
        // One that stands before the place and was not over there has no rows of the table: those the lock had waited for.
        let stands_before = order_places(at, (&copied.file, copied.offset)).is_some_and(std::cmp::Ordering::is_lt);
        Ok(!stands_before && !is_before(gtid, at, copied)?)
    }

    /// Whether the event's transaction was committed before its table's copy.
    ///
    /// # Errors
    /// Definite: the log has no order with the copy's place.
    pub(crate) fn has(&self, event: &RowsEvent) -> Result<bool> {
        let Some(copied) = self.0.get(&event.table.name) else { return Ok(false) };
        is_before(event.gtid.as_ref(), (&event.file, event.offset), copied)
    }

    /// The same for rows of an XA transaction that is committed at `commit`.
    pub(crate) fn has_at(&self, event: &RowsEvent, commit: &Place) -> Result<bool> {
        let Some(copied) = self.0.get(&event.table.name) else { return Ok(false) };
        // The place is behind the commit; its last byte is within it.
        is_before(commit.gtid.as_ref(), (&commit.file, commit.offset.saturating_sub(1)), copied)
    }
}

/// `at` is within the transaction, and `copied` is between two.
fn is_before(gtid: Option<&Gtid>, at: (&str, u64), copied: &Position) -> Result<bool> {
    if let (Some(gtid), Some(gtids)) = (gtid, &copied.gtids) {
        return Ok(gtids.contains(gtid));
    }
    let order = order_places(at, (&copied.file, copied.offset));
    order.map(std::cmp::Ordering::is_lt).ok_or_else(|| {
        Error::definite(format!(
            "{}:{}: it cannot be told whether this lies before the copy of a table without a key, which shows it as it was at {copied}",
            at.0, at.1
        ))
        .hint("the source has other log files than before: connect to the first server again, or copy again with a new job (another `name`)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn copied(gtids: Option<&str>) -> Position {
        Position { file: "binlog.000002".into(), offset: 500, gtids: gtids.map(|gtids| gtids.parse().unwrap()) }
    }

    #[test]
    fn without_gtids_the_place_decides() {
        for (at, before) in [
            (("binlog.000001", 9_000), true),
            (("binlog.000002", 499), true),
            (("binlog.000002", 500), false),
            (("binlog.000010", 4), false),
        ] {
            assert_eq!(is_before(None, at, &copied(None)).unwrap(), before, "{at:?}");
        }
        assert!(is_before(None, ("other.000001", 4), &copied(None)).is_err());
    }

    #[test]
    fn with_gtids_the_set_decides_whatever_the_files_are_called() {
        let gtid = |number| Gtid::Mysql {
            server: [0x3e, 0x11, 0xfa, 0x47, 0x71, 0xca, 0x11, 0xe1, 0x9e, 0x33, 0xc8, 0x0a, 0xa9, 0x42, 0x95, 0x62],
            tag: String::new(),
            number,
        };
        let copied = copied(Some(&format!("{UUID}:1-7")));
        assert!(is_before(Some(&gtid(7)), ("other.000009", 4), &copied).unwrap());
        assert!(!is_before(Some(&gtid(8)), ("other.000001", 4), &copied).unwrap());
    }
}
