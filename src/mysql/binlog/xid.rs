//! XA transactions' names.

use std::fmt;

/// The name of an XA transaction, in the form in which the servers write it into statements: `X'6162',X'',1` (global
/// id, branch, format).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Xid(String);

/// The servers' limit for each of the two parts.
const MOST_BYTES: usize = 64;

impl Xid {
    /// `format` is a number of 32 bits with a sign, which the servers print without it.
    pub fn new(format: u64, global: &[u8], branch: &[u8]) -> Option<Xid> {
        let fits = global.len() <= MOST_BYTES && branch.len() <= MOST_BYTES;
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        fits.then(|| Xid(format!("X'{}',X'{}',{}", hex(global), hex(branch), format as u32)))
    }

    /// What stands behind `XA COMMIT` in a logged statement.
    pub fn parse(text: &str) -> Option<Xid> {
        let mut parts = text.trim().split(',');
        let (global, branch) = (hexadecimal(parts.next()?)?, hexadecimal(parts.next()?)?);
        let format = parts.next()?.trim();
        // A negative one is printed with the width of the server's `long`.
        let format: u64 = format.parse().ok()?;
        if parts.next().is_some() { None } else { Xid::new(format, &global, &branch) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `X'6162'`
fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim().strip_prefix(['X', 'x'])?.strip_prefix('\'')?.strip_suffix('\'')?;
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_from_an_event_and_from_a_statement() {
        let name = Xid::new(7, b"a'b", &[0, 255]).unwrap();
        assert_eq!(name.as_str(), "X'612762',X'00ff',7");
        assert_eq!(Xid::parse(" X'612762',X'00FF', 7 "), Some(name));
        assert_eq!(Xid::parse("X'61',X'',18446744073709551615"), Xid::new(u64::from(u32::MAX), b"a", b""));
    }

    #[test]
    fn other_text_is_no_name() {
        for text in ["", "'a'", "X'6',X'',1", "X'61',X''", "X'61',X'',1,2", "X'zz',X'',1", "X'61',X'',x"] {
            assert_eq!(Xid::parse(text), None, "{text}");
        }
        assert_eq!(Xid::new(1, &[0; 65], b""), None);
    }
}
