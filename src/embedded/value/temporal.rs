//! DATE and DATETIME text: which spellings StarRocks takes, and the one form we store.
//!
//! Taken: `YYYY-M-D`, `YYYYMMDD`, either followed by `H:M[:S[.f…]]` behind a blank or `T`, and the fourteen
//! digits `YYYYMMDDHHMMSS`. Months, days and hours must exist: no zero dates, no 24:00:00.

/// A checked point in time; `micro` is 0..=999999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct DateTime {
    pub(crate) year: u16,
    pub(crate) month: u8,
    pub(crate) day: u8,
    pub(crate) hour: u8,
    pub(crate) minute: u8,
    pub(crate) second: u8,
    pub(crate) micro: u32,
}

impl DateTime {
    /// Reads a text; `None` when it names no existing time.
    pub(crate) fn parse(text: &[u8]) -> Option<DateTime> {
        let text = text.trim_ascii();
        let mut time = DateTime::default();
        let rest = if text.len() > 4 && text[4] == b'-' {
            time.year = number(&text[..4])? as u16;
            let (month, rest) = short_number(&text[5..])?;
            let (day, rest) = short_number(rest.strip_prefix(b"-")?)?;
            (time.month, time.day) = (month, day);
            rest
        } else if matches!(text.len(), 14 | 8) || text.get(8).is_some_and(|byte| matches!(byte, b' ' | b'T')) {
            time.year = number(text.get(..4)?)? as u16;
            time.month = number(&text[4..6])? as u8;
            time.day = number(&text[6..8])? as u8;
            if text.len() == 14 && !matches!(text[8], b' ' | b'T') {
                time.hour = number(&text[8..10])? as u8;
                time.minute = number(&text[10..12])? as u8;
                time.second = number(&text[12..14])? as u8;
                return time.checked();
            }
            &text[8..]
        } else {
            return None;
        };
        if rest.is_empty() {
            return time.checked();
        }
        let rest = rest.strip_prefix(b" ").or_else(|| rest.strip_prefix(b"T"))?.trim_ascii_start();
        let (hour, rest) = short_number(rest)?;
        let (minute, rest) = short_number(rest.strip_prefix(b":")?)?;
        (time.hour, time.minute) = (hour, minute);
        if rest.is_empty() {
            return time.checked();
        }
        let (second, rest) = short_number(rest.strip_prefix(b":")?)?;
        time.second = second;
        if !rest.is_empty() {
            let fraction = rest.strip_prefix(b".")?;
            if fraction.is_empty() || fraction.len() > 6 {
                return None;
            }
            time.micro = number(fraction)? * 10u32.pow(6 - fraction.len() as u32);
        }
        time.checked()
    }

    fn checked(self) -> Option<DateTime> {
        let days = match self.month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if self.year.is_multiple_of(4) && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400)) => 29,
            2 => 28,
            _ => return None,
        };
        let exists = (1..=days).contains(&self.day) && self.hour < 24 && self.minute < 60 && self.second < 60;
        exists.then_some(self)
    }

    /// `YYYY-MM-DD`.
    pub(crate) fn date_text(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(10);
        self.push_date(&mut out);
        out
    }

    /// `YYYY-MM-DD HH:MM:SS[.ffffff]`, the fraction only when it is not zero.
    pub(crate) fn text(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(26);
        self.push_date(&mut out);
        out.push(b' ');
        push_digits(&mut out, u32::from(self.hour), 2);
        out.push(b':');
        push_digits(&mut out, u32::from(self.minute), 2);
        out.push(b':');
        push_digits(&mut out, u32::from(self.second), 2);
        if self.micro != 0 {
            out.push(b'.');
            push_digits(&mut out, self.micro, 6);
        }
        out
    }

    fn push_date(&self, out: &mut Vec<u8>) {
        push_digits(out, u32::from(self.year), 4);
        out.push(b'-');
        push_digits(out, u32::from(self.month), 2);
        out.push(b'-');
        push_digits(out, u32::from(self.day), 2);
    }
}

/// Is this already the stored form of a DATE that exists? Saves the common row an allocation.
pub(crate) fn is_canonical_date(text: &[u8]) -> bool {
    text.len() == 10 && text[4] == b'-' && text[7] == b'-' && DateTime::parse(text).is_some()
}

/// The same for a DATETIME without a fraction, or with six digits that are not all zero.
pub(crate) fn is_canonical_datetime(text: &[u8]) -> bool {
    (text.len() == 19 || text.len() == 26 && text[19] == b'.' && &text[20..] != b"000000")
        && text[4] == b'-'
        && text[7] == b'-'
        && text[10] == b' '
        && text[13] == b':'
        && text[16] == b':'
        && DateTime::parse(text).is_some()
}

fn push_digits(out: &mut Vec<u8>, value: u32, width: u32) {
    for place in (0..width).rev() {
        out.push(b'0' + (value / 10u32.pow(place) % 10) as u8);
    }
}

/// All of `text` as digits, at most nine.
fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 9 {
        return None;
    }
    let mut value = 0u32;
    for byte in text {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u32::from(byte - b'0');
    }
    Some(value)
}

/// One or two digits at the start, and what follows.
fn short_number(text: &[u8]) -> Option<(u8, &[u8])> {
    let length = text.iter().take(2).take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 {
        return None;
    }
    Some((number(&text[..length])? as u8, &text[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(text: &str) -> Option<String> {
        DateTime::parse(text.as_bytes()).map(|time| String::from_utf8(time.text()).unwrap())
    }

    #[test]
    fn six_digits_are_kept_and_a_zero_fraction_is_dropped() {
        assert_eq!(stored("2024-02-29 01:02:03.000001").as_deref(), Some("2024-02-29 01:02:03.000001"));
        assert_eq!(stored("2024-02-29 01:02:03.5").as_deref(), Some("2024-02-29 01:02:03.500000"));
        assert_eq!(stored("2024-02-29 01:02:03.000").as_deref(), Some("2024-02-29 01:02:03"));
        assert_eq!(stored("2024-02-29T1:2:3").as_deref(), Some("2024-02-29 01:02:03"));
        assert_eq!(stored("20240229").as_deref(), Some("2024-02-29 00:00:00"));
        assert_eq!(stored("20240229010203").as_deref(), Some("2024-02-29 01:02:03"));
        assert_eq!(stored("0000-01-01").as_deref(), Some("0000-01-01 00:00:00"));
    }

    #[test]
    fn what_is_no_point_in_time_is_refused() {
        for text in [
            "0000-00-00",
            "2023-02-29",
            "2024-13-01",
            "2024-01-01 24:00:00",
            "2024-01-01 838:59:59",
            "",
            "abc",
            "2024-01-01 10:00:00.1234567",
            "2024-01-01x",
            "24-1-1",
        ] {
            assert_eq!(stored(text), None, "{text}");
        }
    }
}
