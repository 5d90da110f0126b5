//! What a comparison has found, and how it is shown.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::canonical::Cell;
use super::layout::Layout;
use crate::mysql::position::Position;
use crate::schema::TableName;
use crate::state::{DifferenceKind, DifferenceRecord, RunOutcome};

/// How a table's rows were compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Way {
    /// Both servers computed a checksum for each range of the key; rows were fetched where two differed.
    Checksums,
    /// All rows of both sides, range by range of the key.
    Ranges,
    /// All rows of the source, each looked up at the target by its key, and the target's keys at the source: the servers
    /// order such keys differently.
    Keys,
    /// How often each row is there, on both sides: the table has no key.
    Counts,
    /// No rows: see the errors.
    None,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Way::Checksums => "checksums",
            Way::Ranges => "ranges",
            Way::Keys => "keys",
            Way::Counts => "counts",
            Way::None => "-",
        })
    }
}

/// One table's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TableReport {
    /// As at the source.
    pub table: TableName,
    /// As at the target.
    pub target: TableName,
    pub way: Way,
    /// Rows of the source that were compared.
    pub rows: u64,
    pub missing: u64,
    pub extra: u64,
    pub different: u64,
    /// So many of the differences are explained by dead letters.
    pub dead_letters: u64,
    /// Rows that differ and that the source's log has behind the job's checkpoint: the job has still to bring them.
    #[serde(default)]
    pub in_flight: u64,
    /// Rows that differ of which it could not be told whether they are on their way.
    pub unjudged: u64,
    /// Why the job has not brought them, or why they could not be judged.
    pub unjudged_because: Option<String>,
    /// What the target's table lacks, in words.
    pub schema: Vec<String>,
    /// Only a part of the rows was compared.
    pub sampled: bool,
    /// There were so many differences that the rest was not looked for.
    pub gave_up: bool,
    pub seconds: f64,
    /// Why the table could not be compared.
    pub error: Option<String>,
}

impl TableReport {
    pub(crate) fn new(table: &TableName, target: &TableName) -> Self {
        TableReport {
            table: table.clone(),
            target: target.clone(),
            way: Way::None,
            rows: 0,
            missing: 0,
            extra: 0,
            different: 0,
            dead_letters: 0,
            in_flight: 0,
            unjudged: 0,
            unjudged_because: None,
            schema: Vec::new(),
            sampled: false,
            gave_up: false,
            seconds: 0.0,
            error: None,
        }
    }

    pub fn differences(&self) -> u64 {
        self.missing + self.extra + self.different
    }

    pub(crate) fn count(&mut self, kind: DifferenceKind) {
        match kind {
            DifferenceKind::Missing => self.missing += 1,
            DifferenceKind::Extra => self.extra += 1,
            DifferenceKind::Different => self.different += 1,
        }
    }

    pub fn outcome(&self) -> RunOutcome {
        if self.differences() > 0 || !self.schema.is_empty() {
            RunOutcome::Different
        } else if self.error.is_some() || self.in_flight + self.unjudged > 0 || self.gave_up {
            RunOutcome::Failed
        } else {
            RunOutcome::Equal
        }
    }
}

/// All tables of a run. Prints as a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub tables: Vec<TableReport>,
}

impl Report {
    /// Different when any table is; else failed when any could not be compared.
    pub fn outcome(&self) -> RunOutcome {
        let any = |outcome| self.tables.iter().any(|table| table.outcome() == outcome);
        if any(RunOutcome::Different) {
            RunOutcome::Different
        } else if any(RunOutcome::Failed) || self.tables.is_empty() {
            RunOutcome::Failed
        } else {
            RunOutcome::Equal
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["table", "rows", "missing", "extra", "different", "seconds", "way", ""].map(str::to_owned);
        let line = |table: &TableReport| {
            [
                table.table.to_string(),
                grouped(table.rows),
                grouped(table.missing),
                grouped(table.extra),
                grouped(table.different),
                format!("{:.1}", table.seconds),
                table.way.to_string(),
                match table.outcome() {
                    RunOutcome::Equal if table.sampled => "equal in the sample",
                    RunOutcome::Equal => "equal",
                    RunOutcome::Different => "DIFFERENT",
                    RunOutcome::Failed => "NOT COMPARED",
                }
                .to_owned(),
            ]
        };
        let lines: Vec<[String; 8]> = std::iter::once(header).chain(self.tables.iter().map(line)).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 8] = std::array::from_fn(width);
        for line in &lines {
            let mut text = format!("{:<width$}", line[0], width = widths[0]);
            for column in 1..6 {
                text += &format!("  {:>width$}", line[column], width = widths[column]);
            }
            text += &format!("  {:<width$}  {}", line[6], line[7], width = widths[6]);
            writeln!(f, "{}", text.trim_end())?;
        }
        for table in &self.tables {
            let mut notes: Vec<String> =
                table.schema.iter().map(|difference| format!("schema: {difference}")).collect();
            if table.dead_letters > 0 {
                notes.push(format!(
                    "{} of the differences are rows that the target refused: `towpath dead-letters list`",
                    table.dead_letters
                ));
            }
            if let Some(because) = &table.unjudged_because {
                if table.in_flight > 0 {
                    notes.push(format!(
                        "{} rows are in flight, changed behind the checkpoint: {because}",
                        table.in_flight
                    ));
                }
                if table.unjudged > 0 {
                    notes.push(format!("{} rows differ and may be on their way: {because}", table.unjudged));
                }
            }
            if table.gave_up {
                notes.push("so many differences that the rest was not looked for (--max-differences)".to_owned());
            }
            notes.extend(table.error.clone());
            if !notes.is_empty() {
                writeln!(f, "\n{}:", table.table)?;
                notes.iter().try_for_each(|note| writeln!(f, "  {}", note.replace('\n', "\n  ")))?;
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

/// A row that differs for good.
pub(crate) struct Difference {
    pub(crate) kind: DifferenceKind,
    pub(crate) key: Vec<u8>,
    /// For a row that both sides have: which of the columns behind the key differ, with both values as they are shown.
    pub(crate) columns: Vec<(usize, Value, Value)>,
    /// Behind which the source's row was read.
    pub(crate) position: Position,
    pub(crate) dead_letter: bool,
}

impl Difference {
    pub(crate) fn record(&self, layout: &Layout) -> DifferenceRecord {
        DifferenceRecord {
            table: layout.source.clone(),
            kind: self.kind,
            key: self.key.clone(),
            position: Some(self.position.clone()),
            detail: self.json(layout).to_string(),
        }
    }

    fn json(&self, layout: &Layout) -> Value {
        let key: Map<String, Value> = layout
            .key()
            .iter()
            .zip(Cell::read_all(&self.key))
            .map(|(column, cell)| (column.name.clone(), shown(&cell)))
            .collect();
        let mut line = json!({
            "table": layout.source.to_string(),
            "target": layout.target.to_string(),
            "difference": self.kind.as_str(),
            "key": key,
        });
        if !self.columns.is_empty() {
            let column = |(index, source, target): &(usize, Value, Value)| {
                let name = layout.columns.get(layout.keys + index).map(|column| column.name.as_str());
                json!({"column": name, "source": source, "target": target})
            };
            line["columns"] = self.columns.iter().map(column).collect();
        }
        if self.dead_letter {
            line["deadLetter"] = json!(true);
        }
        line["position"] = json!(self.position);
        line
    }
}

/// A value in its canonical form; a long one is cut, binary is hexadecimal.
pub(crate) fn shown(cell: &Cell) -> Value {
    const SHOWN: usize = 1000;
    let (bytes, readable) = match cell {
        Cell::Null => return Value::Null,
        Cell::Value(bytes) => (bytes, true),
        Cell::Odd(bytes) => (bytes, false),
    };
    let mut text = match std::str::from_utf8(bytes) {
        Ok(text) => text.chars().take(SHOWN).collect::<String>(),
        Err(_) => bytes.iter().take(SHOWN / 2).fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}")),
    };
    if bytes.len() > SHOWN {
        text += &format!("… ({} bytes)", bytes.len());
    }
    if readable { Value::String(text) } else { json!({"unreadable": text}) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str) -> TableReport {
        let name = TableName::new("shop", name);
        TableReport { way: Way::Ranges, ..TableReport::new(&name, &name) }
    }

    #[test]
    fn the_report_says_equal_different_or_not_compared_and_why() {
        let good = TableReport { rows: 1_234_567, seconds: 2.04, ..table("orders") };
        let bad = TableReport { different: 2, dead_letters: 1, ..table("x") };
        let because = || Some("the job does not run".into());
        let late = TableReport { in_flight: 2, unjudged: 1, unjudged_because: because(), ..table("y") };
        let report = Report { tables: vec![good.clone(), bad, late.clone()] };
        assert_eq!(report.outcome(), RunOutcome::Different);
        assert_eq!(Report { tables: vec![good.clone(), late] }.outcome(), RunOutcome::Failed);
        assert_eq!(Report { tables: vec![good] }.outcome(), RunOutcome::Equal);
        assert_eq!(
            report.to_string(),
            "table             rows  missing  extra  different  seconds  way\n\
             shop.orders  1,234,567        0      0          0      2.0  ranges  equal\n\
             shop.x               0        0      0          2      0.0  ranges  DIFFERENT\n\
             shop.y               0        0      0          0      0.0  ranges  NOT COMPARED\n\
             \nshop.x:\n  1 of the differences are rows that the target refused: `towpath dead-letters list`\n\
             \nshop.y:\n  2 rows are in flight, changed behind the checkpoint: the job does not run\n  \
             1 rows differ and may be on their way: the job does not run\n"
        );
    }

    #[test]
    fn no_tables_prove_nothing() {
        assert_eq!(Report { tables: Vec::new() }.outcome(), RunOutcome::Failed);
    }

    #[test]
    fn values_are_shown_as_they_are_or_in_hexadecimal() {
        assert_eq!(shown(&Cell::Value(vec![0xff, 0])), json!("0xff00"));
        assert_eq!(shown(&Cell::Odd(b"x".to_vec())), json!({"unreadable": "x"}));
        let long = shown(&Cell::Value(vec![b'a'; 1001]));
        assert!(long.as_str().is_some_and(|text| text.ends_with("a… (1001 bytes)")), "{long}");
    }
}
