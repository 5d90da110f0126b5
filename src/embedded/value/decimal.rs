//! Decimal text to exactly `scale` digits, without ever going through a float.
//!
//! StarRocks rounds surplus digits half away from zero and keeps the unscaled number in an integer whose
//! width follows from the precision (9 digits: 32 bits, 18: 64, 38: 128, 76: 256). A number that fits the
//! integer but not the precision is refused by the table sink, one that does not even fit by the parser.

/// Why a text is no value of a DECIMAL(p, s).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecimalError {
    /// Not a number, or wider than the integer that stores the type.
    Invalid,
    /// A number with more than `precision - scale` digits before the point.
    OutOfRange,
}

/// Writes `text` with exactly `scale` digits after the point.
pub(crate) fn canonical(text: &[u8], precision: u8, scale: u8) -> Result<String, DecimalError> {
    let text = text.trim_ascii();
    let (negative, rest) = match text.first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match rest.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => {
            let exponent = std::str::from_utf8(&rest[at + 1..]).map_err(|_| DecimalError::Invalid)?;
            (&rest[..at], exponent.parse::<i32>().map_err(|_| DecimalError::Invalid)?)
        }
        None => (rest, 0),
    };
    if exponent.abs() > 400 {
        return Err(DecimalError::Invalid);
    }
    let (whole, fraction) = match memchr::memchr(b'.', mantissa) {
        Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
        None => (mantissa, &mantissa[mantissa.len()..]),
    };
    if whole.is_empty() && fraction.is_empty()
        || !whole.iter().all(u8::is_ascii_digit)
        || !fraction.iter().all(u8::is_ascii_digit)
    {
        return Err(DecimalError::Invalid);
    }
    // All digits in a row; the point stands behind `point` of them (it may lie outside).
    let mut digits: Vec<u8> = Vec::with_capacity(whole.len() + fraction.len() + scale as usize + 1);
    digits.extend_from_slice(whole);
    digits.extend_from_slice(fraction);
    let mut point = whole.len() as i64 + i64::from(exponent);
    if point < 0 {
        digits.splice(0..0, std::iter::repeat_n(b'0', point.unsigned_abs() as usize));
        point = 0;
    }
    let wanted = point as usize + scale as usize;
    if digits.len() > wanted {
        let round_up = digits[wanted] >= b'5';
        digits.truncate(wanted);
        if round_up && increment(&mut digits) {
            digits.insert(0, b'1');
            point += 1;
        }
    } else {
        digits.resize(wanted, b'0');
    }
    let point = point as usize;
    let leading = digits[..point].iter().take_while(|&&digit| digit == b'0').count();
    if point - leading > usize::from(precision - scale.min(precision)) {
        let significant = digits.iter().skip_while(|&&digit| digit == b'0').count();
        return Err(if significant > storage_digits(precision) {
            DecimalError::Invalid
        } else {
            DecimalError::OutOfRange
        });
    }
    let mut out = String::with_capacity(digits.len() + 3);
    if negative && digits.iter().any(|&digit| digit != b'0') {
        out.push('-');
    }
    if leading == point {
        out.push('0');
    }
    out.extend(digits[leading..point].iter().map(|&digit| char::from(digit)));
    if scale > 0 {
        out.push('.');
        out.extend(digits[point..].iter().map(|&digit| char::from(digit)));
    }
    Ok(out)
}

/// Adds one in the last place; `true` when every digit was a nine.
fn increment(digits: &mut [u8]) -> bool {
    for digit in digits.iter_mut().rev() {
        if *digit == b'9' {
            *digit = b'0';
        } else {
            *digit += 1;
            return false;
        }
    }
    true
}

/// Digits that always fit the integer behind a precision.
fn storage_digits(precision: u8) -> usize {
    match precision {
        0..=9 => 9,
        10..=18 => 18,
        19..=38 => 38,
        _ => 76,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(text: &str, precision: u8, scale: u8) -> String {
        canonical(text.as_bytes(), precision, scale).unwrap()
    }

    #[test]
    fn digits_are_filled_up_to_the_scale() {
        assert_eq!(ok("1", 10, 2), "1.00");
        assert_eq!(ok("-0.5", 10, 2), "-0.50");
        assert_eq!(ok(".5", 10, 3), "0.500");
        assert_eq!(ok("00012", 10, 0), "12");
        assert_eq!(ok("-0", 10, 2), "0.00");
        assert_eq!(ok("1e2", 10, 1), "100.0");
        assert_eq!(ok("12e-1", 10, 1), "1.2");
        assert_eq!(ok("1e-3", 10, 3), "0.001");
    }

    #[test]
    fn surplus_digits_round_half_up() {
        assert_eq!(ok("1.005", 10, 2), "1.01");
        assert_eq!(ok("-1.004", 10, 2), "-1.00");
        assert_eq!(ok("9.995", 10, 2), "10.00");
        assert_eq!(ok("0.999", 3, 2), "1.00");
    }

    #[test]
    fn too_many_whole_digits_are_refused() {
        assert_eq!(canonical(b"1000", 5, 2), Err(DecimalError::OutOfRange));
        assert_eq!(canonical(b"999.999", 5, 2), Err(DecimalError::OutOfRange));
        assert_eq!(canonical(b"123456789012", 5, 2), Err(DecimalError::Invalid));
        assert_eq!(canonical(b"", 5, 2), Err(DecimalError::Invalid));
        assert_eq!(canonical(b"1x", 5, 2), Err(DecimalError::Invalid));
    }

    #[test]
    fn seventy_six_digits_stay_exact() {
        let digits = "9".repeat(76);
        assert_eq!(ok(&digits, 76, 0), digits);
    }
}
