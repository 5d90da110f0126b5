//! Numbers as text: MySQL's packed decimals, and floating point in its shortest form.

use super::ValueError;

/// Bytes that hold 0 to 9 digits of a packed decimal's first or last group.
const GROUP_BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

/// MySQL's limits of DECIMAL.
pub(crate) const MAX_PRECISION: u8 = 65;
pub(crate) const MAX_SCALE: u8 = 30;

/// Digits of one number on the stack: a sign, 65 digits and a point, or a double.
pub(crate) struct Digits {
    bytes: [u8; 80],
    /// 1 for a number whose sign was written on trial and does not count.
    start: usize,
    length: usize,
}

impl Digits {
    fn new() -> Self {
        Digits { bytes: [0; 80], start: 0, length: 0 }
    }

    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.length) {
            *slot = byte;
            self.length += 1;
        }
    }

    /// Room for as many more as there are; the rest would be beyond the longest number.
    fn room(&mut self, count: usize) -> &mut [u8] {
        let start = self.length;
        self.length = (start + count).min(self.bytes.len());
        &mut self.bytes[start..self.length]
    }

    fn extend(&mut self, bytes: &[u8]) {
        let room = self.room(bytes.len());
        let count = room.len();
        room.copy_from_slice(&bytes[..count]);
    }

    fn zeros(&mut self, count: usize) {
        self.room(count).fill(b'0');
    }

    /// `value` in exactly `width` digits, at most 9.
    fn padded(&mut self, value: u32, width: usize) {
        let mut rest = value;
        for slot in self.room(width).iter_mut().rev() {
            *slot = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.length]
    }
}

/// Bytes of a packed DECIMAL(`precision`, `scale`) in a row image.
pub(crate) fn packed_length(precision: u8, scale: u8) -> usize {
    let (whole, scale) = (usize::from(precision.saturating_sub(scale)), usize::from(scale));
    whole / 9 * 4 + GROUP_BYTES[whole % 9] + scale / 9 * 4 + GROUP_BYTES[scale % 9]
}

/// The text of a packed decimal (`decimal2bin` in the server's `strings/decimal.cc`): groups of nine digits in four
/// big-endian bytes, a shorter group at each end; the first bit is inverted, and a negative number's bytes all are.
/// The text has no leading zeros but the one before the point, and exactly `scale` digits behind it.
pub(crate) fn packed_decimal(bytes: &[u8], precision: u8, scale: u8) -> Result<Digits, ValueError> {
    if precision > MAX_PRECISION || scale > MAX_SCALE || scale > precision {
        return Err(ValueError::new("a decimal outside of (65,30)"));
    }
    if bytes.len() != packed_length(precision, scale) {
        return Err(ValueError::new("a decimal of the wrong length"));
    }
    let negative = bytes.first().is_some_and(|first| first & 0x80 == 0);
    let mask = if negative { 0xff } else { 0 };
    let mut at = 0;
    let mut group = |digits: usize| -> Result<u32, ValueError> {
        let mut value = 0u32;
        for _ in 0..GROUP_BYTES[digits] {
            let byte = bytes[at] ^ mask ^ if at == 0 { 0x80 } else { 0 };
            value = (value << 8) | u32::from(byte);
            at += 1;
        }
        if value >= 10u32.pow(digits as u32) {
            return Err(ValueError::new("a decimal with a group of too many digits"));
        }
        Ok(value)
    };
    let (whole, scale) = (usize::from(precision - scale), usize::from(scale));
    let mut text = Digits::new();
    text.push(b'-');
    let mut nonzero = false;
    let mut started = false;
    for digits in std::iter::once(whole % 9).chain(std::iter::repeat_n(9, whole / 9)) {
        let value = if digits == 0 { 0 } else { group(digits)? };
        if started {
            text.padded(value, 9);
        } else if value > 0 {
            started = true;
            text.extend(itoa::Buffer::new().format(value).as_bytes());
        }
        nonzero |= value > 0;
    }
    if !started {
        text.push(b'0');
    }
    if scale > 0 {
        text.push(b'.');
        for digits in std::iter::repeat_n(9, scale / 9).chain(std::iter::once(scale % 9)) {
            if digits > 0 {
                let value = group(digits)?;
                text.padded(value, digits);
                nonzero |= value > 0;
            }
        }
    }
    Ok(without_sign_of(text, negative && nonzero))
}

/// The same text from the server's own (ZEROFILL columns come with leading zeros).
pub(crate) fn printed_decimal(printed: &[u8]) -> Result<Digits, ValueError> {
    let (negative, unsigned) = match printed {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let (whole, fraction) = match unsigned.iter().position(|&byte| byte == b'.') {
        Some(point) => (&unsigned[..point], Some(&unsigned[point + 1..])),
        None => (unsigned, None),
    };
    let digits = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_digit);
    let empty = whole.is_empty() && fraction.is_none_or(<[u8]>::is_empty);
    if empty || printed.len() > 70 || !digits(whole) || !fraction.is_none_or(digits) {
        return Err(ValueError::new("a decimal that is not written in digits"));
    }
    let mut text = Digits::new();
    text.push(b'-');
    let first = whole.iter().position(|&byte| byte != b'0').unwrap_or(whole.len());
    text.extend(if first == whole.len() { b"0" } else { &whole[first..] });
    if let Some(fraction) = fraction.filter(|fraction| !fraction.is_empty()) {
        text.push(b'.');
        text.extend(fraction);
    }
    let nonzero = unsigned.iter().any(|byte| (b'1'..=b'9').contains(byte));
    Ok(without_sign_of(text, negative && nonzero))
}

/// Drops the sign that was written on trial.
fn without_sign_of(mut text: Digits, keep: bool) -> Digits {
    text.start = usize::from(!keep);
    text
}

/// The shortest text that reads back to the same bits, laid out as the server's own (`my_gcvt`): without exponent
/// from 1e-15 up to 15 digits before the point. `None` for NaN and infinity, which MySQL cannot store.
pub(crate) fn double(value: f64) -> Option<Digits> {
    value.is_finite().then(|| laid_out(ryu::Buffer::new().format_finite(value).as_bytes()))
}

/// As [`double`], with the fewer digits that a 32-bit number needs.
pub(crate) fn float(value: f32) -> Option<Digits> {
    value.is_finite().then(|| laid_out(ryu::Buffer::new().format_finite(value).as_bytes()))
}

/// As [`double`], with `.0` where nothing else says that it is no integer: a number in JSON.
pub(crate) fn json_double(value: f64) -> Option<Digits> {
    let mut text = double(value)?;
    if !text.as_bytes().iter().any(|byte| matches!(byte, b'.' | b'e')) {
        text.extend(b".0");
    }
    Some(text)
}

/// `ryu`'s text as the server has it. Most numbers need no exponent in either; then only a fraction of nothing goes.
fn laid_out(shortest: &[u8]) -> Digits {
    const MOST_WHOLE: usize = 15;
    let plain = match shortest {
        [whole @ .., b'.', b'0'] if whole.len() <= MOST_WHOLE => whole,
        [.., b'.', b'0'] => return layout(shortest),
        _ if shortest.contains(&b'e') => return layout(shortest),
        plain => plain,
    };
    let mut text = Digits::new();
    text.extend(plain);
    text
}

/// Lays out `ryu`'s text (`1.5e-7`, `123.0`) anew.
fn layout(shortest: &[u8]) -> Digits {
    let mut digits = [0u8; 24];
    let mut count = 0usize;
    // Where the point stands, counted from the first digit that is not zero.
    let mut point = 0i32;
    let mut seen_point = false;
    let mut exponent = 0i32;
    let mut bytes = shortest.iter();
    let negative = shortest.first() == Some(&b'-');
    while let Some(&byte) = bytes.next() {
        match byte {
            b'0'..=b'9' => {
                if count > 0 || byte != b'0' {
                    if let Some(slot) = digits.get_mut(count) {
                        *slot = byte;
                        count += 1;
                    }
                    point += i32::from(!seen_point);
                } else {
                    point -= i32::from(seen_point);
                }
            }
            b'.' => seen_point = true,
            b'e' => {
                let text = std::str::from_utf8(bytes.as_slice()).unwrap_or_default();
                exponent = text.parse().unwrap_or_default();
                break;
            }
            _ => {}
        }
    }
    while count > 0 && digits[count - 1] == b'0' {
        count -= 1;
    }
    let digits = &digits[..count];
    let point = point + exponent;
    let mut text = Digits::new();
    if negative {
        text.push(b'-');
    }
    if digits.is_empty() {
        text.push(b'0');
    } else if point <= 0 && point > -15 {
        text.extend(b"0.");
        text.zeros(point.unsigned_abs() as usize);
        text.extend(digits);
    } else if point > 0 && (point as usize) < count {
        text.extend(&digits[..point as usize]);
        text.push(b'.');
        text.extend(&digits[point as usize..]);
    } else if point > 0 && point <= 15 {
        text.extend(digits);
        text.zeros(point as usize - count);
    } else {
        text.push(digits[0]);
        if count > 1 {
            text.push(b'.');
            text.extend(&digits[1..]);
        }
        text.push(b'e');
        text.extend(itoa::Buffer::new().format(point - 1).as_bytes());
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(digits: &Digits) -> &str {
        std::str::from_utf8(digits.as_bytes()).unwrap()
    }

    /// Packs as the server does.
    pub(super) fn pack(text: &str, precision: u8, scale: u8) -> Vec<u8> {
        let negative = text.starts_with('-');
        let (whole, fraction) =
            text.trim_start_matches('-').split_once('.').unwrap_or((text.trim_start_matches('-'), ""));
        let whole = format!("{whole:0>width$}", width = usize::from(precision - scale));
        let whole = &whole[whole.len() - usize::from(precision - scale)..];
        let fraction = format!("{fraction:0<width$}", width = usize::from(scale));
        let mut bytes = Vec::new();
        let mut put = |digits: &str| {
            if !digits.is_empty() {
                let value: u32 = digits.parse().unwrap();
                bytes.extend_from_slice(&value.to_be_bytes()[4 - GROUP_BYTES[digits.len()]..]);
            }
        };
        let (head, rest) = whole.split_at(whole.len() % 9);
        put(head);
        rest.as_bytes().chunks(9).for_each(|group| put(std::str::from_utf8(group).unwrap()));
        fraction.as_bytes().chunks(9).for_each(|group| put(std::str::from_utf8(group).unwrap()));
        bytes[0] ^= 0x80;
        if negative {
            bytes.iter_mut().for_each(|byte| *byte ^= 0xff);
        }
        bytes
    }

    #[test]
    fn a_packed_decimal_reads_as_the_manual_says() {
        // 1234567890.1234 as DECIMAL(14,4), the example of the server's source.
        let bytes = [0x81, 0x0d, 0xfb, 0x38, 0xd2, 0x04, 0xd2];
        assert_eq!(text(&packed_decimal(&bytes, 14, 4).unwrap()), "1234567890.1234");
        let negative: Vec<u8> = bytes.iter().map(|byte| byte ^ 0xff).collect();
        assert_eq!(text(&packed_decimal(&negative, 14, 4).unwrap()), "-1234567890.1234");
    }

    #[test]
    fn every_shape_of_decimal_reads_back() {
        for precision in 1..=MAX_PRECISION {
            for scale in 0..=MAX_SCALE.min(precision) {
                let whole = "9".repeat(usize::from(precision - scale));
                let fraction = "9".repeat(usize::from(scale));
                let point = if scale > 0 { "." } else { "" };
                let largest = format!("-{}{point}{fraction}", if whole.is_empty() { "0" } else { &whole });
                let packed = pack(&largest, precision, scale);
                assert_eq!(text(&packed_decimal(&packed, precision, scale).unwrap()), largest);
                let zero = if scale > 0 { format!("0.{}", "0".repeat(usize::from(scale))) } else { "0".to_owned() };
                assert_eq!(text(&packed_decimal(&pack(&zero, precision, scale), precision, scale).unwrap()), zero);
            }
        }
    }

    #[test]
    fn printed_decimals_lose_padding_and_the_sign_of_zero() {
        for (printed, expected) in
            [("0001.50", "1.50"), ("-0.00", "0.00"), ("-00.10", "-0.10"), ("000", "0"), (".5", "0.5"), ("12", "12")]
        {
            assert_eq!(text(&printed_decimal(printed.as_bytes()).unwrap()), expected);
        }
        for wrong in ["", "-", ".", "1e5", "1.2.3", " 1"] {
            assert!(printed_decimal(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn doubles_are_laid_out_as_the_server_does() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (100.0, "100"),
            (1e14, "100000000000000"),
            (1e15, "1e15"),
            (1.23e17, "1.23e17"),
            (1234567890123456.8, "1234567890123456.8"),
            (9007199254740993.0, "9.007199254740992e15"),
            (1e-5, "0.00001"),
            (1.23e-14, "0.0000000000000123"),
            (1e-15, "0.000000000000001"),
            // The longest: a key column at the target is as wide.
            (-1.2345678901234568e-15, "-0.0000000000000012345678901234568"),
            (1e-16, "1e-16"),
            (1.2345678901234567e-7, "0.00000012345678901234566"),
            (f64::MAX, "1.7976931348623157e308"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(text(&double(value).unwrap()), expected);
        }
        assert_eq!(text(&float(0.1).unwrap()), "0.1");
        assert_eq!(text(&float(16_777_216.0).unwrap()), "16777216");
        assert_eq!(text(&float(f32::MAX).unwrap()), "3.4028235e38");
        assert_eq!(text(&json_double(1.0).unwrap()), "1.0");
        assert_eq!(text(&json_double(1e15).unwrap()), "1e15");
        assert!(double(f64::NAN).is_none());
    }

    proptest! {
        #[test]
        fn numbers_without_an_exponent_are_laid_out_alike_by_the_short_way(whole in -(1_i64 << 53)..1 << 53, power in -4..20) {
            let value = whole as f64 / 10_f64.powi(power);
            let mut buffer = ryu::Buffer::new();
            let shortest = buffer.format_finite(value).as_bytes();
            let (short, long) = (laid_out(shortest), layout(shortest));
            prop_assert_eq!(text(&short), text(&long));
        }

        #[test]
        fn a_double_reads_back_to_the_same_bits(bits: u64) {
            let value = f64::from_bits(bits);
            if let Some(digits) = double(value) {
                prop_assert_eq!(text(&digits).parse::<f64>().unwrap().to_bits(), bits);
            }
        }

        #[test]
        fn a_float_reads_back_to_the_same_bits(bits: u32) {
            let value = f32::from_bits(bits);
            if let Some(digits) = float(value) {
                prop_assert_eq!(text(&digits).parse::<f32>().unwrap().to_bits(), bits);
            }
        }

        #[test]
        fn any_bytes_are_a_decimal_or_an_error(bytes: Vec<u8>, precision: u8, scale: u8) {
            let _ = packed_decimal(&bytes, precision, scale);
            let _ = printed_decimal(&bytes);
        }
    }
}
