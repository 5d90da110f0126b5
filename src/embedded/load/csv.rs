//! Cuts a byte stream into CSV records and fields, across chunk borders, with bounded memory.
//!
//! Without `enclose` and `escape` there is no quoting at all: a record ends at the next row delimiter and a
//! field at the next separator. With either of them a small state machine walks the record; a field that
//! starts with the enclose byte may hold separators and delimiters, a doubled enclose byte stands for itself,
//! and the escape byte takes the next byte as it is.

use memchr::memmem::Finder;

/// How a CSV body is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CsvFormat {
    pub(super) separator: Vec<u8>,
    pub(super) delimiter: Vec<u8>,
    pub(super) skip_header: u64,
    pub(super) trim_space: bool,
    pub(super) enclose: Option<u8>,
    pub(super) escape: Option<u8>,
}

impl CsvFormat {
    fn quotes(&self) -> bool {
        self.enclose.is_some() || self.escape.is_some()
    }

    /// The error text for a record with the wrong number of fields.
    pub(super) fn wrong_count(&self, expected: usize, found: usize) -> String {
        format!(
            "Target column count: {expected} doesn't match source value column count: {found}. \
             Column separator: {}, Row delimiter: {}",
            shown(&self.separator),
            shown(&self.delimiter)
        )
    }
}

/// A separator as the error texts print it: `'\t'`, `'0x1'`, `'|'`.
fn shown(bytes: &[u8]) -> String {
    let mut out = String::from("'");
    for byte in bytes {
        match byte {
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            32..127 => out.push(char::from(*byte)),
            _ => out.push_str(&format!("0x{byte:x}")),
        }
    }
    out.push('\'');
    out
}

/// Reads a separator header: up to 50 bytes, `\x01` and `\t`, `\n` … as escapes. An empty header is no
/// separator.
///
/// # Errors
/// The text for the load's `Message`.
pub(super) fn parse_separator(name: &str, header: &[u8]) -> Result<Vec<u8>, String> {
    let text = String::from_utf8_lossy(header);
    let mut out = Vec::new();
    if let Some(hex) = header.strip_prefix(b"\\x").or_else(|| header.strip_prefix(b"\\X")) {
        let digits: Vec<u8> = text_without_marks(hex);
        out = crate::embedded::value::decode_hex(&digits)
            .filter(|bytes| !bytes.is_empty())
            .ok_or_else(|| format!("Invalid {name}: hex str is invalid: {text}"))?;
    } else {
        let mut bytes = header.iter();
        while let Some(byte) = bytes.next() {
            if *byte != b'\\' {
                out.push(*byte);
                continue;
            }
            match bytes.next() {
                Some(b't') => out.push(b'\t'),
                Some(b'n') => out.push(b'\n'),
                Some(b'r') => out.push(b'\r'),
                Some(b'b') => out.push(8),
                Some(b'f') => out.push(12),
                Some(other) => out.extend_from_slice(&[b'\\', *other]),
                None => out.push(b'\\'),
            }
        }
    }
    if out.len() > 50 {
        return Err(format!("the length of {name} must be less than or equal to 50"));
    }
    Ok(out)
}

/// `\x01\x02` may repeat its mark before each byte.
fn text_without_marks(hex: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(hex.len());
    let mut rest = hex;
    while let Some((byte, after)) = rest.split_first() {
        match after.first() {
            Some(b'x' | b'X') if *byte == b'\\' => rest = &after[1..],
            _ => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    out
}

/// A line longer than this ends the load, as in the original.
const MAX_LINE: usize = 512 * 1024 * 1024;

/// Where the fields of one record are.
#[derive(Debug, Default)]
pub(super) struct Fields {
    spans: Vec<(usize, usize)>,
    /// Holds the fields that had escapes taken out; their spans start behind [`UNESCAPED`].
    unescaped: Vec<u8>,
}

/// Span starts at or above this point into `unescaped`.
const UNESCAPED: usize = usize::MAX / 2;

impl Fields {
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    pub(super) fn get<'a>(&'a self, record: &'a [u8], at: usize) -> &'a [u8] {
        match self.spans.get(at) {
            Some(&(start, end)) if start >= UNESCAPED => {
                self.unescaped.get(start - UNESCAPED..end - UNESCAPED).unwrap_or_default()
            }
            Some(&(start, end)) => record.get(start..end).unwrap_or_default(),
            None => &[],
        }
    }
}

/// A record handler: gets the record's bytes and where its fields are.
pub(super) type OnRecord<'a> = dyn FnMut(&CsvFormat, &[u8], &Fields) -> Result<(), String> + 'a;

/// Turns chunks into records.
#[derive(Debug)]
pub(super) struct CsvReader {
    format: CsvFormat,
    separator: Finder<'static>,
    delimiter: Finder<'static>,
    /// Bytes of the record that is not complete yet.
    carry: Vec<u8>,
    /// Bytes of `carry` in which no delimiter starts: a long line is searched once.
    searched: usize,
    to_skip: u64,
}

impl CsvReader {
    pub(super) fn new(format: CsvFormat) -> CsvReader {
        CsvReader {
            separator: Finder::new(&format.separator).into_owned(),
            delimiter: Finder::new(&format.delimiter).into_owned(),
            to_skip: format.skip_header,
            carry: Vec::new(),
            searched: 0,
            format,
        }
    }

    /// Hands every record that is complete now to `record`, which gets its bytes and its fields.
    ///
    /// # Errors
    /// The text that fails the load, from here or from `record`.
    pub(super) fn feed(&mut self, chunk: &[u8], record: &mut OnRecord<'_>) -> Result<(), String> {
        if self.carry.is_empty() {
            let used = self.records(chunk, record)?;
            self.carry.extend_from_slice(&chunk[used..]);
        } else {
            let mut carry = std::mem::take(&mut self.carry);
            carry.extend_from_slice(chunk);
            let used = self.records(&carry, record)?;
            carry.drain(..used);
            self.carry = carry;
        }
        if self.carry.len() > MAX_LINE {
            return Err(format!("CSV line length exceed limit {MAX_LINE}"));
        }
        Ok(())
    }

    /// The end of the body ends the last record, with or without a delimiter.
    pub(super) fn finish(&mut self, record: &mut OnRecord<'_>) -> Result<(), String> {
        let mut carry = std::mem::take(&mut self.carry);
        if !carry.is_empty() {
            carry.extend_from_slice(&self.format.delimiter.clone());
            let used = self.records(&carry, record)?;
            if used < carry.len() {
                // An enclosed field that never closed: the original takes the rest as one record.
                let mut fields = Fields::default();
                let end = carry.len() - self.format.delimiter.len();
                if end > used {
                    fields.spans.push((0, end - used));
                    record(&self.format, &carry[used..end], &fields)?;
                }
            }
        }
        Ok(())
    }

    fn records(&mut self, input: &[u8], record: &mut OnRecord<'_>) -> Result<usize, String> {
        let mut fields = Fields::default();
        let mut used = 0;
        while used < input.len() {
            let rest = &input[used..];
            fields.spans.clear();
            fields.unescaped.clear();
            let (length, whole) = if self.format.quotes() {
                match self.split_quoted(rest, &mut fields) {
                    Some(found) => found,
                    None => break,
                }
            } else {
                let fresh = &rest[self.searched.min(rest.len())..];
                let found = match self.format.delimiter.as_slice() {
                    [byte] => memchr::memchr(*byte, fresh),
                    _ => self.delimiter.find(fresh),
                };
                match found {
                    Some(at) => {
                        let at = at + self.searched;
                        self.searched = 0;
                        (at, at + self.format.delimiter.len())
                    }
                    None => {
                        self.searched = rest.len().saturating_sub(self.format.delimiter.len() - 1);
                        break;
                    }
                }
            };
            used += whole;
            if self.to_skip > 0 {
                self.to_skip -= 1;
                continue;
            }
            // Blank lines are always skipped.
            if length == 0 {
                continue;
            }
            if !self.format.quotes() {
                self.split(&rest[..length], &mut fields);
            }
            record(&self.format, &rest[..length], &fields)?;
        }
        Ok(used)
    }

    fn split(&self, record: &[u8], fields: &mut Fields) {
        let mut start = 0;
        let mut push = |start: usize, end: usize| {
            fields.spans.push(if self.format.trim_space { trimmed(record, start, end) } else { (start, end) });
        };
        if let [byte] = self.format.separator.as_slice() {
            for at in memchr::memchr_iter(*byte, record) {
                push(start, at);
                start = at + 1;
            }
        } else {
            for at in self.separator.find_iter(record) {
                push(start, at);
                start = at + self.format.separator.len();
            }
        }
        push(start, record.len());
    }

    /// Length of the record and the same with its delimiter; `None` when it is not complete.
    fn split_quoted(&self, input: &[u8], fields: &mut Fields) -> Option<(usize, usize)> {
        let mut at = 0;
        loop {
            if self.format.trim_space {
                at += input[at..].iter().take_while(|byte| **byte == b' ').count();
            }
            let start = at;
            let enclosed = self.format.enclose.is_some() && input.get(at).copied() == self.format.enclose;
            let mut inside = enclosed;
            let unescaped_start = fields.unescaped.len();
            let mut changed = enclosed;
            if enclosed {
                at += 1;
            }
            // Walks to the field's end, collecting the text as it will be.
            let (end, next, record_ends) = loop {
                let rest = input.get(at..)?;
                let byte = *rest.first()?;
                if self.format.escape == Some(byte) && rest.len() > 1 {
                    changed = true;
                    fields.unescaped.push(rest[1]);
                    at += 2;
                    continue;
                }
                if self.format.escape == Some(byte) {
                    return None;
                }
                if inside && self.format.enclose == Some(byte) {
                    match rest.get(1) {
                        None => return None,
                        Some(next) if self.format.enclose == Some(*next) => {
                            fields.unescaped.push(byte);
                            at += 2;
                        }
                        Some(_) => {
                            inside = false;
                            at += 1;
                        }
                    }
                    continue;
                }
                if !inside {
                    if rest.starts_with(&self.format.delimiter) {
                        break (at, at + self.format.delimiter.len(), true);
                    }
                    if rest.starts_with(&self.format.separator) {
                        break (at, at + self.format.separator.len(), false);
                    }
                    if rest.len() < self.format.delimiter.len() && self.format.delimiter.starts_with(rest)
                        || rest.len() < self.format.separator.len() && self.format.separator.starts_with(rest)
                    {
                        return None;
                    }
                }
                fields.unescaped.push(byte);
                at += 1;
            };
            if changed {
                let end = fields.unescaped.len();
                fields.spans.push((UNESCAPED + unescaped_start, UNESCAPED + end));
            } else {
                fields.unescaped.truncate(unescaped_start);
                let span = if self.format.trim_space { trimmed(input, start, end) } else { (start, end) };
                fields.spans.push(span);
            }
            at = next;
            if record_ends {
                return Some((end, next));
            }
        }
    }
}

fn trimmed(record: &[u8], mut start: usize, mut end: usize) -> (usize, usize) {
    while start < end && record[start] == b' ' {
        start += 1;
    }
    while end > start && record[end - 1] == b' ' {
        end -= 1;
    }
    (start, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(separator: &str, delimiter: &str) -> CsvFormat {
        CsvFormat {
            separator: separator.into(),
            delimiter: delimiter.into(),
            skip_header: 0,
            trim_space: false,
            enclose: None,
            escape: None,
        }
    }

    fn rows(format: &CsvFormat, body: &str, chunk: usize) -> Vec<Vec<String>> {
        let mut reader = CsvReader::new(format.clone());
        let mut out = Vec::new();
        let mut take = |_: &CsvFormat, record: &[u8], fields: &Fields| {
            out.push((0..fields.len()).map(|at| String::from_utf8_lossy(fields.get(record, at)).into()).collect());
            Ok(())
        };
        for chunk in body.as_bytes().chunks(chunk) {
            reader.feed(chunk, &mut take).unwrap();
        }
        reader.finish(&mut take).unwrap();
        out
    }

    #[test]
    fn chunk_borders_do_not_matter() {
        let body = "a,b\nc,\n\nd,e";
        let expected = vec![vec!["a", "b"], vec!["c", ""], vec!["d", "e"]];
        for chunk in 1..=body.len() {
            assert_eq!(rows(&format(",", "\n"), body, chunk), expected, "{chunk}");
            let long = body.replace(',', "||").replace('\n', "\r\n");
            assert_eq!(rows(&format("||", "\r\n"), &long, chunk), expected, "{chunk}");
        }
    }

    #[test]
    fn quotes_are_text_unless_enclose_is_set() {
        let body = "\"a,b\",c\n\"x\"\"y\",\"l1\nl2\"\n";
        assert_eq!(rows(&format(",", "\n"), body, 3)[0], ["\"a", "b\"", "c"]);
        let mut quoted = format(",", "\n");
        quoted.enclose = Some(b'"');
        for chunk in 1..=body.len() {
            assert_eq!(rows(&quoted, body, chunk), [["a,b", "c"], ["x\"y", "l1\nl2"]], "{chunk}");
        }
    }

    #[test]
    fn escape_takes_the_next_byte_as_it_is() {
        let mut escaped = format(",", "\n");
        escaped.escape = Some(b'\\');
        for chunk in 1..6 {
            assert_eq!(rows(&escaped, "a\\,b,c\\\nd\n", chunk), [["a,b", "c\nd"]], "{chunk}");
        }
    }

    #[test]
    fn header_lines_are_skipped_and_space_is_trimmed() {
        let mut trimming = format(",", "\n");
        trimming.skip_header = 1;
        trimming.trim_space = true;
        assert_eq!(rows(&trimming, "h1,h2\n a , b c \n", 4), [["a", "b c"]]);
    }

    #[test]
    fn separators_may_be_written_in_hex() {
        assert_eq!(parse_separator("column separator", b"\\x01").unwrap(), [1]);
        assert_eq!(parse_separator("column separator", b"\\x0102").unwrap(), [1, 2]);
        assert_eq!(parse_separator("column separator", b"\\x01\\x02").unwrap(), [1, 2]);
        assert_eq!(parse_separator("column separator", b"\\t").unwrap(), [9]);
        assert_eq!(parse_separator("column separator", b"||").unwrap(), b"||");
        assert!(parse_separator("column separator", b"\\x0").is_err());
        assert!(parse_separator("column separator", &[b'x'; 51]).is_err());
    }

    #[test]
    fn a_wrong_count_names_the_separators() {
        assert_eq!(
            format("\u{1}", "\n").wrong_count(2, 3),
            "Target column count: 2 doesn't match source value column count: 3. \
             Column separator: '0x1', Row delimiter: '\\n'"
        );
    }
}
