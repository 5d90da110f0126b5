//! Keys in statements: a canonical key as the literals of either server, and the conditions made of them.
//!
//! A literal only has to find the row: which key a row that was found has is read from the row itself. So a literal
//! that finds too much (a collation takes `a` for `A`) or too little does no harm to the proof: the first is passed
//! over, the second shows as a difference.

use std::fmt::Write as _;

use super::canonical::{Cell, to_utc};
use super::layout::{Layout, LayoutColumn, Side};
use crate::mysql::value::{double_digits, float_digits};
use crate::schema::{ColumnType, quote};
use crate::target::starrocks::quote_text;

impl Layout {
    /// A condition that finds the rows with these keys, and perhaps some more. `None`: none of them can be there.
    pub(crate) fn lookup(&self, side: Side, keys: &[Vec<u8>]) -> Option<String> {
        let rows: Vec<Vec<String>> = keys.iter().filter_map(|key| self.literals(side, &Cell::read_all(key))).collect();
        let names: Vec<String> = self.key().iter().map(|column| column.quoted(side)).collect();
        match (names.as_slice(), rows.as_slice()) {
            (_, []) => None,
            ([name], rows) => Some(in_list(name, rows.iter().filter_map(|row| row.first()))),
            ([first, ..], rows) => {
                let whole = |row: &Vec<String>| {
                    let equal = names.iter().zip(row).map(|(name, literal)| format!("{name} = {literal}"));
                    format!("({})", equal.collect::<Vec<_>>().join(" AND "))
                };
                let alternatives: Vec<String> = rows.iter().map(whole).collect();
                let leading = in_list(first, rows.iter().filter_map(|row| row.first()));
                Some(format!("{leading} AND {}", any_of(&alternatives)))
            }
            ([], _) => None,
        }
    }

    /// `lower < key <= upper` at the target.
    pub(crate) fn range(&self, lower: Option<&[Cell]>, upper: Option<&[Cell]>) -> Option<String> {
        let names: Vec<String> = self.key().iter().map(|column| column.quoted(Side::Target)).collect();
        let mut conditions = Vec::new();
        for (bound, beyond, within) in [(lower, ">", ">"), (upper, "<", "<=")] {
            let Some(bound) = bound else { continue };
            let literals = self.literals(Side::Target, bound)?;
            if let ([name, _, ..], [literal, ..]) = (names.as_slice(), literals.as_slice()) {
                conditions.push(format!("{name} {beyond}= {literal}"));
            }
            conditions.push(compare(&names, &literals, beyond, within));
        }
        Some(conditions.join(" AND "))
    }

    fn literals(&self, side: Side, cells: &[Cell]) -> Option<Vec<String>> {
        let literal = |(column, cell): (&LayoutColumn, &Cell)| match side {
            Side::Source => column.source_literal(cell, self),
            Side::Target => column.target_literal(cell),
        };
        self.key().iter().zip(cells).map(literal).collect()
    }
}

/// Lists repeat the first column of compound keys often.
fn in_list<'a>(name: &str, literals: impl Iterator<Item = &'a String>) -> String {
    let mut literals: Vec<&str> = literals.map(String::as_str).collect();
    literals.sort_unstable();
    literals.dedup();
    format!("{name} IN ({})", literals.join(", "))
}

/// Halved again and again: parsers and planners go down into a chain of ORs by recursion.
fn any_of(alternatives: &[String]) -> String {
    match alternatives {
        [only] => only.clone(),
        some => {
            let (left, right) = some.split_at(some.len() / 2);
            format!("({} OR {})", any_of(left), any_of(right))
        }
    }
}

fn compare(names: &[String], literals: &[String], beyond: &str, within: &str) -> String {
    match (names, literals) {
        ([name, rest @ ..], [literal, literals @ ..]) if !rest.is_empty() => {
            let deeper = compare(rest, literals, beyond, within);
            format!("({name} {beyond} {literal} OR ({name} = {literal} AND {deeper}))")
        }
        ([name], [literal]) => format!("{name} {within} {literal}"),
        _ => String::new(),
    }
}

impl LayoutColumn {
    fn quoted(&self, side: Side) -> String {
        match side {
            Side::Source => quote(&self.name),
            Side::Target => quote(&self.target_name),
        }
    }

    /// `None`: the column cannot have such a value.
    fn source_literal(&self, cell: &Cell, layout: &Layout) -> Option<String> {
        let Cell::Value(bytes) = cell else { return None };
        let text = std::str::from_utf8(bytes).ok();
        match &self.ty {
            ColumnType::Integer { .. } | ColumnType::Year | ColumnType::Bit { .. } | ColumnType::Decimal { .. } => {
                text.map(str::to_owned)
            }
            // Compared as a DOUBLE, so it has to be the double that the column's value is.
            ColumnType::Float => Some(format!("{:e}", f64::from(text?.parse::<f32>().ok()?))),
            ColumnType::Double => Some(format!("{:e}", text?.parse::<f64>().ok()?)),
            // In the column's own character set and collation: the index is ordered by it.
            ColumnType::Char { .. } | ColumnType::Varchar { .. } | ColumnType::Text { .. } => {
                let hex = hex(text?.as_bytes());
                match &self.collation {
                    Some((charset, collation)) if charset == "utf8mb4" => {
                        Some(format!("_utf8mb4 X'{hex}' COLLATE {collation}"))
                    }
                    Some((charset, collation)) => {
                        Some(format!("CONVERT(_utf8mb4 X'{hex}' USING {charset}) COLLATE {collation}"))
                    }
                    None => Some(format!("_binary X'{hex}'")),
                }
            }
            ColumnType::Binary { .. } | ColumnType::Varbinary { .. } | ColumnType::Blob { .. } => {
                Some(format!("_binary X'{}'", hex(bytes)))
            }
            ColumnType::Timestamp { .. } => quoted_plain(&to_utc(text?, &layout.rules().zone)?),
            ColumnType::Date
            | ColumnType::DateTime { .. }
            | ColumnType::Time { .. }
            | ColumnType::Uuid
            | ColumnType::Inet4
            | ColumnType::Inet6 => quoted_plain(text?),
            // By their numbers, which order the index.
            ColumnType::Enum { members } => member(members, text?).map(|index| (index + 1).to_string()),
            ColumnType::Set { members } => {
                let parts = text?.split(',').filter(|part| !part.is_empty());
                let bits = parts.map(|part| Some(1_u64 << member(members, part)?));
                bits.sum::<Option<u64>>().map(|bits| bits.to_string())
            }
            ColumnType::Json | ColumnType::Geometry | ColumnType::Vector { .. } => None,
        }
    }

    /// As the job writes the value.
    fn target_literal(&self, cell: &Cell) -> Option<String> {
        let bytes = match cell {
            Cell::Value(bytes) => bytes,
            Cell::Odd(bytes) => return std::str::from_utf8(bytes).ok().map(quote_text),
            Cell::Null => return None,
        };
        let text = std::str::from_utf8(bytes).ok();
        let digits = |digits: crate::mysql::value::Digits| String::from_utf8_lossy(digits.as_bytes()).into_owned();
        let written = match &self.ty {
            ColumnType::Integer { .. } | ColumnType::Year | ColumnType::Bit { .. } if self.target_type != "varchar" => {
                return text.map(str::to_owned);
            }
            ColumnType::Decimal { scale, .. } => padded(text?, *scale),
            ColumnType::Float => digits(float_digits(text?.parse().ok()?)?),
            ColumnType::Double => digits(double_digits(text?.parse().ok()?)?),
            ColumnType::Time { digits } => padded(text?, *digits),
            ColumnType::Binary { .. } | ColumnType::Varbinary { .. } | ColumnType::Blob { .. } => hex(bytes),
            _ => text?.to_owned(),
        };
        Some(quote_text(&written))
    }
}

fn member(members: &[String], text: &str) -> Option<usize> {
    members.iter().position(|member| member == text)
}

/// With so many digits behind the point.
fn padded(text: &str, scale: u8) -> String {
    let scale = usize::from(scale);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if scale == 0 { whole.to_owned() } else { format!("{whole}.{fraction:0<scale$}") }
}

fn quoted_plain(text: &str) -> Option<String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b':' | b'.' | b' '));
    plain.then(|| format!("'{text}'"))
}

/// Lower case, as the job writes binary keys.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::super::layout::tests::column;
    use super::*;

    fn value(text: &str) -> Cell {
        Cell::Value(text.as_bytes().to_vec())
    }

    #[test]
    fn the_targets_literals_are_as_the_job_writes_the_values() {
        let decimal = column("a", ColumnType::Decimal { precision: 9, scale: 3 }, "decimal", "varchar");
        assert_eq!(decimal.target_literal(&value("-1.5")).unwrap(), "'-1.500'");
        let time = column("a", ColumnType::Time { digits: 2 }, "time", "varchar");
        assert_eq!(time.target_literal(&value("-10:00:00.5")).unwrap(), "'-10:00:00.50'");
        let binary = column("a", ColumnType::Varbinary { bytes: 9 }, "varbinary", "varchar");
        assert_eq!(binary.target_literal(&Cell::Value(vec![0xab, 1])).unwrap(), "'ab01'");
        let float = column("a", ColumnType::Float, "float", "varchar");
        assert_eq!(float.target_literal(&value("1e-1")).unwrap(), "'0.1'");
        assert_eq!(decimal.target_literal(&Cell::Odd(b"x'y".to_vec())).unwrap(), "'x\\'y'");
    }

    #[test]
    fn many_alternatives_make_no_deep_statement() {
        let alternatives: Vec<String> = (0..1000).map(|n| format!("a = {n}")).collect();
        let condition = any_of(&alternatives);
        let depth = condition.chars().scan(0_i32, |depth, c| {
            *depth += i32::from(c == '(') - i32::from(c == ')');
            Some(*depth)
        });
        assert_eq!(depth.max(), Some(10));
        assert_eq!(any_of(&alternatives[..3]), "(a = 0 OR (a = 1 OR a = 2))");
    }

    #[test]
    fn a_compound_range_is_written_out() {
        let names = ["`a`".to_owned(), "`b`".to_owned()];
        let literals = ["1".to_owned(), "'x'".to_owned()];
        assert_eq!(compare(&names, &literals, "<", "<="), "(`a` < 1 OR (`a` = 1 AND `b` <= 'x'))");
    }
}
