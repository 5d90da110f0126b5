//! MariaDB's GTID position: the last transaction of each replication domain, `domain-server-sequence`.
//!
//! Within a domain the log is one sequence, so "the last one" stands for all before it; a higher sequence
//! number is later whichever server wrote it (what `gtid_strict_mode` demands of the servers).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// Domain → the last transaction's server and sequence number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MariadbGtids(BTreeMap<u32, (u32, u64)>);

impl MariadbGtids {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Moves `domain` to this transaction, unless it is further already.
    pub fn add(&mut self, domain: u32, server: u32, sequence: u64) {
        let last = self.0.entry(domain).or_insert((server, sequence));
        if sequence >= last.1 {
            *last = (server, sequence);
        }
    }

    pub fn contains(&self, domain: u32, sequence: u64) -> bool {
        self.0.get(&domain).is_some_and(|&(_, last)| sequence <= last)
    }

    pub fn is_superset(&self, other: &MariadbGtids) -> bool {
        other.0.iter().all(|(&domain, &(_, sequence))| self.contains(domain, sequence))
    }

    pub fn union(&mut self, other: &MariadbGtids) {
        for (&domain, &(server, sequence)) in &other.0 {
            self.add(domain, server, sequence);
        }
    }

    /// The domains that are further here than in `other`.
    #[must_use]
    pub fn subtract(&self, other: &MariadbGtids) -> MariadbGtids {
        let ahead = self.0.iter().filter(|&(&domain, &(_, sequence))| !other.contains(domain, sequence));
        MariadbGtids(ahead.map(|(&domain, &last)| (domain, last)).collect())
    }
}

impl fmt::Display for MariadbGtids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (domain, (server, sequence))) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{domain}-{server}-{sequence}")?;
        }
        Ok(())
    }
}

impl FromStr for MariadbGtids {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut set = MariadbGtids::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let mut numbers = part.split('-');
            let mut next = || numbers.next().map(str::trim);
            let parsed = (|| {
                let domain: u32 = next()?.parse().ok()?;
                let server: u32 = next()?.parse().ok()?;
                let sequence: u64 = next()?.parse().ok()?;
                next().is_none().then_some((domain, server, sequence))
            })();
            let Some((domain, server, sequence)) = parsed else {
                return Err(Error::usage(format!("'{part}' is not a MariaDB GTID"))
                    .hint("write domain-server-sequence, one per domain, like 0-1-270,3-2-9"));
            };
            set.add(domain, server, sequence);
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> MariadbGtids {
        text.parse().unwrap()
    }

    #[test]
    fn the_last_of_each_domain_counts() {
        let mut position = set("0-1-270, 3-2-9");
        position.add(0, 2, 271);
        position.add(0, 1, 100);
        assert_eq!(position.to_string(), "0-2-271,3-2-9");
        assert!(position.contains(0, 5));
        assert!(!position.contains(3, 10));
        assert!(!position.contains(1, 1));
    }

    #[test]
    fn sets_compare_by_domain() {
        assert!(set("0-1-5,1-1-5").is_superset(&set("0-1-5")));
        assert!(!set("0-1-5").is_superset(&set("1-1-1")));
        assert_eq!(set("0-1-9,1-1-5").subtract(&set("0-1-5,1-1-5")).to_string(), "0-1-9");
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["1-2", "a-b-c", "1-2-3-4", "0-1--5"] {
            assert!(text.parse::<MariadbGtids>().is_err(), "{text}");
        }
    }
}
