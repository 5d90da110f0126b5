//! One transaction's identity, and sets of them, over both families of servers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{MariadbGtids, MysqlGtids};
use crate::{Error, Result};

/// One transaction's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gtid {
    /// `tag` is empty for an untagged GTID, the only kind before MySQL 8.3.
    Mysql {
        server: [u8; 16],
        tag: String,
        number: u64,
    },
    Mariadb {
        domain: u32,
        server: u32,
        sequence: u64,
    },
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gtid::Mysql { server, tag, number } => {
                super::mysql::write_uuid(f, server)?;
                match tag.as_str() {
                    "" => write!(f, ":{number}"),
                    tag => write!(f, ":{tag}:{number}"),
                }
            }
            Gtid::Mariadb { domain, server, sequence } => write!(f, "{domain}-{server}-{sequence}"),
        }
    }
}

/// A set of transactions. Its text, also in the state store, is the server's own notation.
///
/// The two families do not mix: of an operation over both kinds nothing comes out but "not contained".
/// The empty set belongs to either.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum GtidSet {
    Mysql(MysqlGtids),
    Mariadb(MariadbGtids),
}

impl Default for GtidSet {
    fn default() -> Self {
        GtidSet::Mysql(MysqlGtids::default())
    }
}

impl GtidSet {
    pub fn is_empty(&self) -> bool {
        match self {
            GtidSet::Mysql(set) => set.is_empty(),
            GtidSet::Mariadb(set) => set.is_empty(),
        }
    }

    /// Adds one transaction. With MariaDB's sets, whose members are "everything up to", so do all before it.
    pub fn add(&mut self, gtid: &Gtid) {
        match (&mut *self, gtid) {
            (GtidSet::Mysql(set), Gtid::Mysql { server, tag, number }) => set.add(server, tag, *number),
            (GtidSet::Mariadb(set), Gtid::Mariadb { domain, server, sequence }) => {
                set.add(*domain, *server, *sequence);
            }
            (set, Gtid::Mariadb { domain, server, sequence }) if set.is_empty() => {
                let mut new = MariadbGtids::default();
                new.add(*domain, *server, *sequence);
                *set = GtidSet::Mariadb(new);
            }
            (set, Gtid::Mysql { server, tag, number }) if set.is_empty() => {
                let mut new = MysqlGtids::default();
                new.add(server, tag, *number);
                *set = GtidSet::Mysql(new);
            }
            _ => {}
        }
    }

    pub fn contains(&self, gtid: &Gtid) -> bool {
        match (self, gtid) {
            (GtidSet::Mysql(set), Gtid::Mysql { server, tag, number }) => set.contains(server, tag, *number),
            (GtidSet::Mariadb(set), Gtid::Mariadb { domain, sequence, .. }) => set.contains(*domain, *sequence),
            _ => false,
        }
    }

    /// `true` when every transaction of `other` is in this set.
    pub fn is_superset(&self, other: &GtidSet) -> bool {
        match (self, other) {
            (_, other) if other.is_empty() => true,
            (GtidSet::Mysql(mine), GtidSet::Mysql(theirs)) => mine.is_superset(theirs),
            (GtidSet::Mariadb(mine), GtidSet::Mariadb(theirs)) => mine.is_superset(theirs),
            _ => false,
        }
    }

    /// Adds every transaction of `other`.
    pub fn union(&mut self, other: &GtidSet) {
        match (&mut *self, other) {
            (_, other) if other.is_empty() => {}
            (GtidSet::Mysql(mine), GtidSet::Mysql(theirs)) => mine.union(theirs),
            (GtidSet::Mariadb(mine), GtidSet::Mariadb(theirs)) => mine.union(theirs),
            (set, other) if set.is_empty() => *set = other.clone(),
            _ => {}
        }
    }

    /// What is in this set and not in `other`.
    #[must_use]
    pub fn subtract(&self, other: &GtidSet) -> GtidSet {
        match (self, other) {
            (GtidSet::Mysql(mine), GtidSet::Mysql(theirs)) => GtidSet::Mysql(mine.subtract(theirs)),
            (GtidSet::Mariadb(mine), GtidSet::Mariadb(theirs)) => GtidSet::Mariadb(mine.subtract(theirs)),
            _ => self.clone(),
        }
    }
}

impl PartialEq for GtidSet {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (GtidSet::Mysql(mine), GtidSet::Mysql(theirs)) => mine == theirs,
            (GtidSet::Mariadb(mine), GtidSet::Mariadb(theirs)) => mine == theirs,
            _ => self.is_empty() && other.is_empty(),
        }
    }
}

impl Eq for GtidSet {}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GtidSet::Mysql(set) => set.fmt(f),
            GtidSet::Mariadb(set) => set.fmt(f),
        }
    }
}

impl FromStr for GtidSet {
    type Err = Error;

    /// Reads either notation; white space around the parts is the server's own habit and allowed.
    fn from_str(text: &str) -> Result<Self> {
        if text.contains(':') || text.trim().is_empty() {
            text.parse().map(GtidSet::Mysql)
        } else {
            text.parse().map(GtidSet::Mariadb)
        }
    }
}

impl From<GtidSet> for String {
    fn from(set: GtidSet) -> String {
        set.to_string()
    }
}

impl TryFrom<String> for GtidSet {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_set_takes_either_kind() {
        let mut set: GtidSet = "".parse().unwrap();
        set.add(&Gtid::Mariadb { domain: 0, server: 1, sequence: 7 });
        assert_eq!(set.to_string(), "0-1-7");
        assert_eq!(GtidSet::Mariadb(MariadbGtids::default()), GtidSet::default());
    }

    #[test]
    fn kinds_do_not_mix() {
        let mysql: GtidSet = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5".parse().unwrap();
        let mariadb: GtidSet = "0-1-5".parse().unwrap();
        assert!(!mysql.is_superset(&mariadb));
        assert!(!mariadb.is_superset(&mysql));
        assert_ne!(mysql, mariadb);
    }

    #[test]
    fn one_gtid_prints_as_the_server_does() {
        let server = [0x3e, 0x11, 0xfa, 0x47, 0x71, 0xca, 0x11, 0xe1, 0x9e, 0x33, 0xc8, 0x0a, 0xa9, 0x42, 0x95, 0x62];
        let gtid = Gtid::Mysql { server, tag: "blue".into(), number: 9 };
        assert_eq!(gtid.to_string(), "3e11fa47-71ca-11e1-9e33-c80aa9429562:blue:9");
    }
}
