//! Which tables belong to an online schema-change tool: patterns with `*` for the real table's name.

use crate::{Error, Result};

/// The names of gh-ost's and pt-online-schema-change's tables.
const USUAL: [&str; 5] = ["_*_gho", "_*_ghc", "_*_del", "_*_new", "_*_old"];

#[derive(Debug, Clone)]
pub struct ShadowNames(Vec<Pattern>);

/// What stands before and behind the real table's name.
#[derive(Debug, Clone)]
struct Pattern {
    before: String,
    behind: String,
}

impl ShadowNames {
    /// # Errors
    /// Usage: a pattern has not exactly one `*`, or nothing but it.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self> {
        let patterns = patterns
            .iter()
            .map(|text| Pattern::new(text.as_ref()).map_err(|why| Error::usage(format!("{:?} {why}", text.as_ref()))));
        patterns.collect::<Result<_>>().map(ShadowNames)
    }

    /// No table is taken for a tool's.
    pub fn none() -> Self {
        ShadowNames(Vec::new())
    }

    /// Whether a table of this name may belong to a tool.
    pub fn may_be(&self, table: &str) -> bool {
        self.originals(table).next().is_some()
    }

    /// The names that the real table may have. pt-online-schema-change puts more underscores before a name that is taken.
    pub fn originals<'a>(&'a self, table: &'a str) -> impl Iterator<Item = &'a str> {
        let inside = self.0.iter().filter_map(move |pattern| {
            table.strip_prefix(pattern.before.as_str())?.strip_suffix(pattern.behind.as_str())
        });
        let shorter = |name: &'a str| std::iter::successors(Some(name), |name| name.strip_prefix('_'));
        inside.flat_map(shorter).filter(|name| !name.trim_matches('_').is_empty())
    }
}

impl Default for ShadowNames {
    fn default() -> Self {
        let usual = USUAL.iter().filter_map(|text| Pattern::new(text).ok());
        ShadowNames(usual.collect())
    }
}

impl Pattern {
    fn new(text: &str) -> Result<Self, String> {
        let (before, behind) = text.split_once('*').ok_or("has no * for the table's name")?;
        if behind.contains('*') || before.is_empty() && behind.is_empty() {
            return Err("must have one * for the table's name, and something beside it".to_owned());
        }
        Ok(Pattern { before: before.to_owned(), behind: behind.to_owned() })
    }
}

/// Whether `pattern` can be used; `Err` says what is wrong.
pub(super) fn check_shadow_pattern(pattern: &str) -> Result<(), String> {
    Pattern::new(pattern).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_tables_name_is_inside() {
        let names = ShadowNames::default();
        let originals = |table| names.originals(table).collect::<Vec<_>>();
        assert_eq!(originals("_orders_gho"), ["orders"]);
        assert_eq!(originals("__orders_new"), ["_orders", "orders"]);
        for other in ["orders_gho", "_gho", "__new", "____old", "_orders_newer", "orders", "_é"] {
            assert_eq!(originals(other), [""; 0], "{other}");
        }
        assert!(!ShadowNames::none().may_be("_orders_gho"));
        for pattern in ["gho", "*", "_*_*"] {
            let error = ShadowNames::new(&[pattern]).unwrap_err();
            assert!(error.to_string().contains(pattern), "{error}");
        }
    }
}
