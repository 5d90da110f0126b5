//! What the proof found, and how it is shown.

use std::fmt;

use super::{Options, Pair};

/// All tables; prints as a table with `equal` or `DIFFERENT` in each line, examples below.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) tables: Vec<TableReport>,
}

impl Report {
    /// Every table is equal, and there is at least one.
    pub(crate) fn equal(&self) -> bool {
        !self.tables.is_empty() && self.tables.iter().all(TableReport::equal)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct TableReport {
    pub(crate) pair: Pair,
    pub(crate) source_rows: u64,
    pub(crate) target_rows: u64,
    /// Keys that only the source has.
    pub(crate) missing: u64,
    /// Keys that only the target has.
    pub(crate) extra: u64,
    /// Keys on both sides whose other cells differ.
    pub(crate) different: u64,
    /// Source columns that the target's table does not have.
    pub(crate) missing_columns: Vec<String>,
    /// The first differences, in words.
    pub(crate) examples: Vec<String>,
}

impl TableReport {
    pub(super) fn new(pair: Pair) -> Self {
        TableReport {
            pair,
            source_rows: 0,
            target_rows: 0,
            missing: 0,
            extra: 0,
            different: 0,
            missing_columns: Vec::new(),
            examples: Vec::new(),
        }
    }

    pub(super) fn example(&mut self, options: &Options, describe: impl FnOnce() -> String) {
        if self.examples.len() < options.examples {
            self.examples.push(describe());
        }
    }

    pub(crate) fn equal(&self) -> bool {
        self.missing + self.extra + self.different == 0 && self.missing_columns.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["table", "source", "target", "missing", "extra", "different", ""].map(str::to_owned);
        let lines = self.tables.iter().map(|table| {
            [
                table.pair.source.to_string(),
                grouped(table.source_rows),
                grouped(table.target_rows),
                grouped(table.missing),
                grouped(table.extra),
                grouped(table.different),
                if table.equal() { "equal" } else { "DIFFERENT" }.to_owned(),
            ]
        });
        let lines: Vec<[String; 7]> = std::iter::once(header).chain(lines).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 7] = std::array::from_fn(width);
        for line in &lines {
            write!(f, "{:<width$}", line[0], width = widths[0])?;
            for column in 1..6 {
                write!(f, "  {:>width$}", line[column], width = widths[column])?;
            }
            writeln!(f, "{}{}", if line[6].is_empty() { "" } else { "  " }, line[6])?;
        }
        for table in self.tables.iter().filter(|table| !table.equal()) {
            writeln!(f, "\n{}:", table.pair.source)?;
            if !table.missing_columns.is_empty() {
                writeln!(f, "  columns the target does not have: {}", table.missing_columns.join(", "))?;
            }
            for example in &table.examples {
                writeln!(f, "  {example}")?;
            }
        }
        Ok(())
    }
}

/// `1,234,567`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_equal_or_different_and_shows_examples() {
        let mut good = TableReport::new(Pair::same("shop", "orders"));
        (good.source_rows, good.target_rows) = (1_234_567, 1_234_567);
        let mut bad = TableReport::new(Pair::same("shop", "x"));
        bad.missing = 1;
        bad.examples.push("only at the source: id='7'".to_owned());
        let report = Report { tables: vec![good, bad] };
        assert!(!report.equal());
        assert_eq!(
            report.to_string(),
            "table           source     target  missing  extra  different\n\
             shop.orders  1,234,567  1,234,567        0      0          0  equal\n\
             shop.x               0          0        1      0          0  DIFFERENT\n\
             \n\
             shop.x:\n  only at the source: id='7'\n"
        );
    }

    #[test]
    fn no_tables_prove_nothing() {
        assert!(!Report { tables: Vec::new() }.equal());
    }
}
