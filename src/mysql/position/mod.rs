//! Where in the source's history a job stands: binlog file and offset, and the GTID set where the server
//! has one.
//!
//! A file and offset mean something only on the server that wrote them; a GTID set means the same on every
//! server of a replication group, so a job that follows by GTID survives a failover. Both are kept: the set
//! to start from, the file and offset for people and for servers without GTIDs.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

mod gtid;
mod mariadb;
mod mysql;
mod server;

pub use gtid::{Gtid, GtidSet};
pub use mariadb::MariadbGtids;
pub use mysql::MysqlGtids;
pub use server::{Log, check, current, logs, oldest};
pub(crate) use server::{Serves, WAYS_ON, at_start_of, of_mariadb_snapshot, serves};

/// A place between two transactions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// `binlog.000042`; empty when only the GTID set is known (`startup: {gtid: …}`), until the server names the file.
    pub file: String,
    /// Offset of the next event's first byte in `file`; 4 is a file's first event.
    pub offset: u64,
    /// Every transaction before this place, where the server runs with GTIDs.
    pub gtids: Option<GtidSet>,
}

impl Position {
    /// Which place is the later one. By GTID set when both have one (two sets of which neither contains the
    /// other have no order), else by the file's number and then the offset (files of different base names
    /// have no order).
    pub fn order(&self, other: &Position) -> Option<Ordering> {
        if let (Some(mine), Some(theirs)) = (&self.gtids, &other.gtids) {
            return match (mine.is_superset(theirs), theirs.is_superset(mine)) {
                (true, true) => Some(Ordering::Equal),
                (true, false) => Some(Ordering::Greater),
                (false, true) => Some(Ordering::Less),
                (false, false) => None,
            };
        }
        order_places((&self.file, self.offset), (&other.file, other.offset))
    }

    /// `true` when everything before `end` is before this place too.
    pub fn reached(&self, end: &Position) -> bool {
        matches!(self.order(end), Some(Ordering::Equal | Ordering::Greater))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.gtids, self.file.is_empty()) {
            (Some(gtids), true) => write!(f, "GTIDs {gtids}"),
            (Some(gtids), false) => write!(f, "{}:{} (GTIDs {gtids})", self.file, self.offset),
            (None, _) => write!(f, "{}:{}", self.file, self.offset),
        }
    }
}

/// Orders two places by the number in the file's name, then by offset. `None` for files of different base names.
pub(crate) fn order_places(left: (&str, u64), right: (&str, u64)) -> Option<Ordering> {
    let (left_base, left_number) = file_number(left.0)?;
    let (right_base, right_number) = file_number(right.0)?;
    (left_base == right_base).then(|| (left_number, left.1).cmp(&(right_number, right.1)))
}

/// `binlog.000042` → (`binlog`, 42). The number may outgrow its six digits.
fn file_number(file: &str) -> Option<(&str, u64)> {
    let (base, number) = file.rsplit_once('.')?;
    Some((base, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(file: &str, offset: u64, gtids: Option<&str>) -> Position {
        Position { file: file.into(), offset, gtids: gtids.map(|text| text.parse().unwrap()) }
    }

    #[test]
    fn files_are_ordered_by_number_not_by_text() {
        let before = at("binlog.999999", 900, None);
        let after = at("binlog.1000000", 4, None);
        assert_eq!(before.order(&after), Some(Ordering::Less));
        assert!(after.reached(&before));
        assert!(!before.reached(&after));
        assert_eq!(before.order(&at("mysql-bin.000001", 4, None)), None);
    }

    #[test]
    fn gtid_sets_decide_over_files() {
        let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        let before = at("binlog.000009", 4, Some(&format!("{uuid}:1-5")));
        let after = at("binlog.000001", 4, Some(&format!("{uuid}:1-6")));
        assert_eq!(before.order(&after), Some(Ordering::Less));
        let other = at("binlog.000001", 4, Some(&format!("{uuid}:1-4:7")));
        assert_eq!(before.order(&other), None);
    }

    #[test]
    fn a_position_survives_json() {
        let position = at("binlog.000009", 4, Some("0-1-270,3-2-9"));
        let text = serde_json::to_string(&position).unwrap();
        assert_eq!(text, r#"{"file":"binlog.000009","offset":4,"gtids":"0-1-270,3-2-9"}"#);
        assert_eq!(serde_json::from_str::<Position>(&text).unwrap(), position);
    }
}
