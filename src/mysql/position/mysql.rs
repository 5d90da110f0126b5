//! MySQL's GTID set: per server UUID and tag the intervals of transaction numbers.
//!
//! The notation is the server's: `uuid:1-5:7:blue:1-3,uuid2:1`; a tag (8.3 and later) holds for the intervals
//! behind it, up to the next tag. Servers break lines after the comma.
//!
//! A source commits its transactions nearly in order, so the usual `add` lengthens the last interval: two map
//! look-ups and no allocation. Any other `add` finds its place by binary search.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use mysql_common::packets::{GnoInterval, Sid, Tag};

use crate::{Error, Result};

/// The largest transaction number, as the server has it.
const MAX_NUMBER: u64 = i64::MAX as u64 - 1;

/// UUID → tag → intervals. No empty entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MysqlGtids(BTreeMap<[u8; 16], BTreeMap<String, Intervals>>);

/// Ordered, disjoint, not touching; both ends inclusive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Intervals(Vec<(u64, u64)>);

impl Intervals {
    fn add(&mut self, number: u64) {
        match self.0.last_mut() {
            Some(last) if last.1 + 1 == number => last.1 = number,
            Some(last) if last.0 <= number && number <= last.1 => {}
            _ => self.insert(number, number),
        }
    }

    /// Adds `start..=end`, joining what it touches.
    fn insert(&mut self, start: u64, end: u64) {
        let first = self.0.partition_point(|&(_, last)| last.saturating_add(1) < start);
        let behind = self.0.partition_point(|&(begin, _)| begin <= end.saturating_add(1));
        if first == behind {
            self.0.insert(first, (start, end));
        } else {
            let joined = (start.min(self.0[first].0), end.max(self.0[behind - 1].1));
            self.0.splice(first..behind, [joined]);
        }
    }

    fn covers(&self, start: u64, end: u64) -> bool {
        let at = self.0.partition_point(|&(_, last)| last < start);
        self.0.get(at).is_some_and(|&(begin, last)| begin <= start && end <= last)
    }

    fn subtract(&self, other: &Intervals) -> Intervals {
        let mut left = Vec::new();
        let mut at = 0;
        for &(begin, end) in &self.0 {
            let mut start = begin;
            while at < other.0.len() && other.0[at].1 < start {
                at += 1;
            }
            let mut next = at;
            while start <= end {
                match other.0.get(next) {
                    Some(&(cut, until)) if cut <= end => {
                        if cut > start {
                            left.push((start, cut - 1));
                        }
                        start = until + 1;
                        next += 1;
                    }
                    _ => {
                        left.push((start, end));
                        break;
                    }
                }
            }
        }
        Intervals(left)
    }
}

impl MysqlGtids {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one transaction; `tag` is empty for an untagged one. A number outside `1..i64::MAX` changes nothing.
    pub fn add(&mut self, server: &[u8; 16], tag: &str, number: u64) {
        if !(1..=MAX_NUMBER).contains(&number) {
            return;
        }
        match self.0.get_mut(server).and_then(|tags| tags.get_mut(tag)) {
            Some(intervals) => intervals.add(number),
            None => self.intervals(*server, tag).add(number),
        }
    }

    fn intervals(&mut self, server: [u8; 16], tag: &str) -> &mut Intervals {
        self.0.entry(server).or_default().entry(tag.to_owned()).or_default()
    }

    pub fn contains(&self, server: &[u8; 16], tag: &str, number: u64) -> bool {
        self.of(server, tag).is_some_and(|intervals| intervals.covers(number, number))
    }

    fn of(&self, server: &[u8; 16], tag: &str) -> Option<&Intervals> {
        self.0.get(server)?.get(tag)
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8; 16], &str, &Intervals)> {
        self.0
            .iter()
            .flat_map(|(server, tags)| tags.iter().map(move |(tag, intervals)| (server, tag.as_str(), intervals)))
    }

    pub fn is_superset(&self, other: &MysqlGtids) -> bool {
        other.iter().all(|(server, tag, intervals)| {
            self.of(server, tag).is_some_and(|mine| intervals.0.iter().all(|&(start, end)| mine.covers(start, end)))
        })
    }

    pub fn union(&mut self, other: &MysqlGtids) {
        for (server, tag, intervals) in other.iter() {
            let mine = self.intervals(*server, tag);
            for &(start, end) in &intervals.0 {
                mine.insert(start, end);
            }
        }
    }

    #[must_use]
    pub fn subtract(&self, other: &MysqlGtids) -> MysqlGtids {
        let mut left = MysqlGtids::default();
        for (server, tag, intervals) in self.iter() {
            let remaining = match other.of(server, tag) {
                Some(theirs) => intervals.subtract(theirs),
                None => intervals.clone(),
            };
            if !remaining.0.is_empty() {
                *left.intervals(*server, tag) = remaining;
            }
        }
        left
    }

    /// The set as COM_BINLOG_DUMP_GTID carries it; tags make the driver use the tagged encoding of 8.3 and later.
    pub(crate) fn sids(&self) -> Result<Vec<Sid<'static>>> {
        self.iter()
            .map(|(server, tag, intervals)| {
                let intervals = intervals.0.iter().map(|&(start, end)| GnoInterval::new(start, end + 1)).collect();
                let sid = Sid::new(*server).with_intervals(intervals);
                if tag.is_empty() {
                    return Ok(sid);
                }
                let tag = Tag::new(tag.to_owned())
                    .map_err(|error| Error::definite(format!("GTID tag '{tag}'")).caused_by(error))?;
                Ok(sid.with_tag(tag))
            })
            .collect()
    }
}

/// 8-4-4-4-12, lower case.
pub(super) fn write_uuid(f: &mut fmt::Formatter<'_>, uuid: &[u8; 16]) -> fmt::Result {
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            f.write_str("-")?;
        }
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|&byte| byte != b'-')
        .map(|byte| (byte as char).to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()?;
    let mut uuid = [0; 16];
    if digits.len() != 32 {
        return None;
    }
    for (byte, pair) in uuid.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Some(uuid)
}

fn is_tag(text: &str) -> bool {
    text.len() <= 32
        && text.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

impl fmt::Display for MysqlGtids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (server, tags)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write_uuid(f, server)?;
            for (tag, intervals) in tags {
                if !tag.is_empty() {
                    write!(f, ":{tag}")?;
                }
                for &(start, end) in &intervals.0 {
                    if start == end {
                        write!(f, ":{start}")?;
                    } else {
                        write!(f, ":{start}-{end}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl FromStr for MysqlGtids {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut set = MysqlGtids::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let refuse = |piece: &str| {
                Error::usage(format!("'{piece}' in '{part}' is not part of a MySQL GTID set"))
                    .hint("write uuid:1-5 or uuid:tag:1-5, several joined by commas, as @@gtid_executed shows it")
            };
            let mut pieces = part.split(':').map(str::trim);
            let uuid = pieces.next().unwrap_or_default();
            let server = parse_uuid(uuid).ok_or_else(|| refuse(uuid))?;
            let mut tag = String::new();
            let mut found = false;
            for piece in pieces {
                let lower = piece.to_ascii_lowercase();
                if is_tag(&lower) {
                    tag = lower;
                    continue;
                }
                let (start, end) = piece.split_once('-').unwrap_or((piece, piece));
                let start: u64 = start.trim().parse().map_err(|_| refuse(piece))?;
                let end: u64 = end.trim().parse().map_err(|_| refuse(piece))?;
                if start == 0 || end < start || end > MAX_NUMBER {
                    return Err(refuse(piece));
                }
                set.intervals(server, &tag).insert(start, end);
                found = true;
            }
            if !found {
                return Err(refuse(uuid));
            }
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const OTHER: &str = "00000000-71ca-11e1-9e33-c80aa9429562";

    fn set(text: &str) -> MysqlGtids {
        text.parse().unwrap()
    }

    #[test]
    fn the_servers_notation_is_read_and_written() {
        let text = format!("{UUID}:1-5:7:blue:1-3:9:green:2,\n{OTHER}:1");
        assert_eq!(set(&text).to_string(), format!("{OTHER}:1,{UUID}:1-5:7:blue:1-3:9:green:2"));
    }

    #[test]
    fn touching_intervals_become_one() {
        assert_eq!(set(&format!("{UUID}:6-9:1-5:11")).to_string(), format!("{UUID}:1-9:11"));
    }

    #[test]
    fn other_text_is_refused() {
        for text in [UUID, "x:1", "3e11fa47:1", &format!("{UUID}:0"), &format!("{UUID}:5-1"), &format!("{UUID}:1-x")] {
            assert!(text.parse::<MysqlGtids>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_request_has_half_open_intervals_and_tags() {
        let sids = set(&format!("{UUID}:1-5:blue:3")).sids().unwrap();
        assert_eq!(sids.len(), 2);
        assert_eq!(sids[0].intervals()[0], GnoInterval::new(1, 6));
        assert_eq!(sids[1].tag().map(|tag| tag.as_str()), Some("blue"));
    }

    type Model = BTreeSet<(bool, bool, u64)>;

    fn build(model: &[(bool, bool, u64)]) -> MysqlGtids {
        let mut set = MysqlGtids::default();
        for &(server, tag, number) in model {
            set.add(&[u8::from(server); 16], if tag { "t" } else { "" }, number);
        }
        set
    }

    fn members() -> impl Strategy<Value = Vec<(bool, bool, u64)>> {
        prop::collection::vec((any::<bool>(), any::<bool>(), 1..40_u64), 0..60)
    }

    proptest! {
        #[test]
        fn sets_behave_like_sets(left in members(), right in members()) {
            let (a, b) = (build(&left), build(&right));
            let model_a: Model = left.iter().copied().collect();
            let model_b: Model = right.iter().copied().collect();
            prop_assert_eq!(a.is_superset(&b), model_a.is_superset(&model_b));
            prop_assert_eq!(a == b, model_a == model_b);
            let mut union = a.clone();
            union.union(&b);
            let both: Vec<_> = model_a.union(&model_b).copied().collect();
            prop_assert_eq!(&union, &build(&both));
            let only: Vec<_> = model_a.difference(&model_b).copied().collect();
            prop_assert_eq!(&a.subtract(&b), &build(&only));
            for number in 1..41 {
                for (server, tag) in [(false, false), (false, true), (true, false), (true, true)] {
                    let found = a.contains(&[u8::from(server); 16], if tag { "t" } else { "" }, number);
                    prop_assert_eq!(found, model_a.contains(&(server, tag, number)));
                }
            }
            prop_assert_eq!(&a.to_string().parse::<MysqlGtids>().unwrap(), &a);
        }
    }
}
