//! Rows that StarRocks refuses: what its answers and its error log say of them.
//!
//! The log behind `ErrorURL` has about 50 entries at most, `Error: <reason>. Row: <row>`; a row may hold line ends.
//! (`log_rejected_record_num` would write all of them, but to the BE's own disk, where nobody can read it over HTTP.)
//! The reasons are worded in StarRocks' sources: the converters of CSV and JSON, and the table sink.

use serde_json::Value;

use crate::target::{Reason, RefusedRows};

/// Of one entry, so many characters are kept.
const CHARS: usize = 500;

/// Words that stand before a column's name, and what ends it.
const BEFORE_COLUMN: &[(&str, &[char])] = &[
    ("(name = ", &[',']),
    ("The max length of '", &['\'']),
    ("non-nullable column '", &['\'']),
    ("The type of '", &['\'']),
    ("column=", &[',', ' ', ')']),
    ("column: ", &[',', ' ', ')']),
];

/// Whether a load failed with this message for its rows' sake.
pub(super) fn by_message(message: &str) -> bool {
    let message = message.to_lowercase();
    ["too many filtered rows", "primary key size exceed"].iter().any(|text| message.contains(text))
}

/// What an answer with this message tells of the rows.
pub(super) fn of(message: &str, answer: &Value) -> Option<RefusedRows> {
    let found = answer.get("NumberFilteredRows").and_then(Value::as_u64).filter(|found| *found > 0);
    // A load with too long a key is given up at the first of them, which is not counted.
    let reason = || Reason { text: message.to_owned(), column: None, row: String::new() };
    let reasons = if message.contains("filtered") { Vec::new() } else { vec![reason()] };
    by_message(message).then_some(RefusedRows { found, reasons })
}

/// The entries of an error log.
pub(super) fn reasons(log: &str) -> Vec<Reason> {
    const BEGIN: &str = "Error: ";
    let mut starts: Vec<usize> = log.match_indices(BEGIN).map(|(at, _)| at).collect();
    starts.retain(|&at| at == 0 || log.as_bytes()[at - 1] == b'\n');
    let ends = starts.iter().skip(1).copied().chain([log.len()]);
    let entries = starts.iter().zip(ends).map(|(&start, end)| log[start + BEGIN.len()..end].trim_end());
    let entry = |entry: &str| {
        let (text, row) = entry.split_once(". Row: ").unwrap_or((entry, ""));
        Reason { text: text.chars().take(CHARS).collect(), column: column(text), row: row.to_owned() }
    };
    match starts.is_empty() && !log.trim().is_empty() {
        true => vec![entry(log.trim())],
        false => entries.map(entry).collect(),
    }
}

/// The column that a reason names.
fn column(reason: &str) -> Option<String> {
    BEFORE_COLUMN.iter().find_map(|(before, ends)| {
        // A value may hold such words too; the column's stand behind it but in the first form, which begins the text.
        let at = if before.starts_with('(') { reason.find(before) } else { reason.rfind(before) }? + before.len();
        let name = reason[at..].split(*ends).next()?;
        (!name.is_empty()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_column_is_found_in_every_wording() {
        for (text, name) in [
            ("The field (name = v, pos = 1) is out of range. Type: INT, Value length: 1, Value: The type of 'x'", "v"),
            ("String 'The max length of 'x' is'(length=40) is too long. The max length of 'v' is 30", "v"),
            ("NULL value in non-nullable column 'two words'", "two words"),
            ("Decimal '1000' is out of range. The type of 'd' is DECIMAL64(3,0)'", "d"),
            ("Value is overflow. column=n, value=300", "n"),
            ("Unsupported value type. Numeric type is required. column=n", "n"),
        ] {
            assert_eq!(column(text).as_deref(), Some(name), "{text}");
        }
        assert_eq!(column("primary key size exceed the limit."), None);
    }

    #[test]
    fn a_log_is_read_entry_by_entry_though_a_row_has_line_ends() {
        let log =
            "Error: NULL value in non-nullable column 'v'. Row: 1\x01a\nb\x010\nError: Invalid UTF-8 row. Row: 2\n";
        let reasons = reasons(log);
        assert_eq!(reasons.len(), 2);
        assert_eq!(reasons[0].row, "1\x01a\nb\x010");
        assert_eq!(reasons[0].column.as_deref(), Some("v"));
        assert_eq!((reasons[1].text.as_str(), reasons[1].row.as_str()), ("Invalid UTF-8 row", "2"));
    }

    #[test]
    fn only_failures_of_rows_are_told_as_such() {
        let answer = serde_json::json!({"NumberFilteredRows": 2});
        assert_eq!(of("too many filtered rows", &answer).and_then(|refused| refused.found), Some(2));
        let key = of("primary key size exceed the limit.", &serde_json::json!({"NumberFilteredRows": 0})).unwrap();
        assert_eq!((key.found, key.reasons.len()), (None, 1));
        assert_eq!(of("Access denied", &answer), None);
    }
}
