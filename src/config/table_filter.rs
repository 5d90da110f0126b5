//! Which tables a job replicates: globs over `database.table`.
//!
//! A pattern is split at its first dot, and each side is a glob of its own, so `*` never crosses the dot.
//! A dot in a database's name is written `\.`. The server's own schemas never match.

use globset::{GlobBuilder, GlobMatcher};

use super::ShadowNames;
use crate::schema::TableName;
use crate::{Error, Result};

/// Schemas of the server itself.
pub(crate) const SYSTEM_SCHEMAS: [&str; 4] = ["mysql", "sys", "information_schema", "performance_schema"];

#[derive(Debug, Clone)]
pub struct TableFilter {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
    shadows: ShadowNames,
}

#[derive(Debug, Clone)]
struct Pattern {
    text: String,
    database: GlobMatcher,
    table: GlobMatcher,
}

impl TableFilter {
    /// `ignore_case`: names are compared without case, as a server with `lower_case_table_names` 1 or 2 does.
    pub fn new(include: &[String], exclude: &[String], ignore_case: bool) -> Result<Self> {
        let compile = |patterns: &[String]| -> Result<Vec<Pattern>> {
            patterns.iter().map(|pattern| Pattern::new(pattern, ignore_case).map_err(Error::usage)).collect()
        };
        Ok(TableFilter { include: compile(include)?, exclude: compile(exclude)?, shadows: ShadowNames::none() })
    }

    /// Leaves out the tables that online schema-change tools make beside those that match.
    #[must_use]
    pub fn with_shadows(self, shadows: ShadowNames) -> Self {
        TableFilter { shadows, ..self }
    }

    pub fn shadows(&self) -> &ShadowNames {
        &self.shadows
    }

    pub fn matches(&self, name: &TableName) -> bool {
        self.selects(&name.database, &name.table) && !self.is_shadow(name)
    }

    /// By its name it is a tool's table beside one that matches.
    pub fn is_shadow(&self, name: &TableName) -> bool {
        self.shadows.originals(&name.table).any(|original| self.selects(&name.database, original))
    }

    fn selects(&self, database: &str, table: &str) -> bool {
        let matches = |pattern: &Pattern| pattern.database.is_match(database) && pattern.table.is_match(table);
        !is_system(database) && self.include.iter().any(matches) && !self.exclude.iter().any(matches)
    }

    /// Whether a table of this database can match.
    pub fn matches_database(&self, database: &str) -> bool {
        !is_system(database) && self.include.iter().any(|pattern| pattern.database.is_match(database))
    }

    /// The patterns of `tables`, for messages.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.include.iter().map(|pattern| pattern.text.as_str())
    }
}

pub(crate) fn is_system(database: &str) -> bool {
    SYSTEM_SCHEMAS.iter().any(|schema| schema.eq_ignore_ascii_case(database))
}

impl Pattern {
    fn new(text: &str, ignore_case: bool) -> Result<Self, String> {
        let dot = first_dot(text)
            .ok_or_else(|| format!("{text:?} must be database.table, such as 'shop.orders' or 'shop.*'"))?;
        let glob = |part: &str| {
            let glob = GlobBuilder::new(part).case_insensitive(ignore_case).backslash_escape(true).build();
            glob.map(|glob| glob.compile_matcher()).map_err(|error| format!("{text:?} is no pattern: {}", error.kind()))
        };
        let (database, table) = (&text[..dot], &text[dot + 1..]);
        if database.is_empty() || table.is_empty() {
            return Err(format!("{text:?} must be database.table, such as 'shop.orders' or 'shop.*'"));
        }
        if is_system(database) {
            return Err(format!("{text:?}: {database} belongs to the server itself and is never replicated"));
        }
        Ok(Pattern { text: text.to_owned(), database: glob(database)?, table: glob(table)? })
    }
}

/// Where the first dot stands that is not escaped.
fn first_dot(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (index, character) in text.char_indices() {
        match character {
            '.' if !escaped => return Some(index),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}

/// Whether `pattern` can be used; `Err` says what is wrong.
pub(super) fn check_pattern(pattern: &str) -> Result<(), String> {
    Pattern::new(pattern, false).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str], ignore_case: bool) -> TableFilter {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        TableFilter::new(&owned(include), &owned(exclude), ignore_case).unwrap()
    }

    fn matches(filter: &TableFilter, name: &str) -> bool {
        let (database, table) = name.split_once('|').unwrap();
        filter.matches(&TableName::new(database, table))
    }

    #[test]
    fn a_star_does_not_cross_the_dot() {
        let filter = filter(&["shop*.o*", "crm.customer", r"a\.b.{x,y}"], &["*.o_tmp[0-9]"], false);
        for name in ["shop|orders", "shop2|o/x", "shop|o.dotted", "crm|customer", "a.b|x"] {
            assert!(matches(&filter, name), "{name}");
        }
        for name in ["shop|customer", "crm|customers", "shop|o_tmp1", "Shop|orders", "a|b.x", "a.b|z"] {
            assert!(!matches(&filter, name), "{name}");
        }
        assert!(filter.matches_database("shop3") && !filter.matches_database("x"));
    }

    #[test]
    fn case_counts_as_the_server_says() {
        assert!(matches(&filter(&["Shop.*"], &[], true), "shop|ORDERS"));
        assert!(!matches(&filter(&["Shop.*"], &[], false), "shop|ORDERS"));
    }

    #[test]
    fn system_schemas_never_match() {
        let filter = filter(&["*.*"], &[], false);
        assert!(matches(&filter, "shop|user"));
        for schema in ["mysql", "sys", "INFORMATION_SCHEMA", "performance_schema"] {
            assert!(!matches(&filter, &format!("{schema}|user")), "{schema}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_told() {
        for (pattern, message) in [
            ("orders", "\"orders\" must be database.table, such as 'shop.orders' or 'shop.*'"),
            ("shop.", "\"shop.\" must be database.table, such as 'shop.orders' or 'shop.*'"),
            ("mysql.user", "\"mysql.user\": mysql belongs to the server itself and is never replicated"),
        ] {
            assert_eq!(check_pattern(pattern).unwrap_err(), message);
        }
        assert!(check_pattern("shop.[a").unwrap_err().starts_with("\"shop.[a\" is no pattern: "));
    }

    #[test]
    fn a_tools_table_is_left_out_beside_its_own_only() {
        let all = filter(&["shop.*"], &[], false).with_shadows(ShadowNames::default());
        let one = filter(&["shop._a_new"], &[], false).with_shadows(ShadowNames::default());
        let name = |table: &str| TableName::new("shop", table);
        assert!(all.is_shadow(&name("_a_new")) && !all.matches(&name("_a_new")) && all.matches(&name("a")));
        assert!(one.matches(&name("_a_new")), "its own name is meant");
        assert!(filter(&["shop.*"], &[], false).matches(&name("_a_new")));
    }
}
