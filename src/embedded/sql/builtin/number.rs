//! Exact arithmetic on DECIMAL and LARGEINT, which are kept as text, and casts to numbers.

use bigdecimal::{BigDecimal, RoundingMode, ToPrimitive, Zero};
use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Result};

use super::{int, strict};

pub(super) fn register(connection: &Connection) -> Result<()> {
    strict(connection, "sr_add", 2, |context| binary(context, |a, b| Some(a + b)))?;
    strict(connection, "sr_sub", 2, |context| binary(context, |a, b| Some(a - b)))?;
    strict(connection, "sr_mul", 2, |context| binary(context, |a, b| Some(a * b)))?;
    strict(connection, "sr_mod", 2, |context| {
        binary(context, |a, b| {
            let scale = a.fractional_digit_count().max(b.fractional_digit_count());
            (!b.is_zero()).then(|| (a % b).with_scale(scale))
        })
    })?;
    strict(connection, "sr_div", 3, |context| {
        let scale = int(context, 2)?;
        binary(context, |a, b| (!b.is_zero()).then(|| rounded(&(a / b), scale)))
    })?;
    strict(connection, "sr_abs", 1, |context| Ok(shown(number(context.get_raw(0)).map(|value| value.abs()))))?;
    strict(connection, "sr_floor", 1, |context| whole(context, RoundingMode::Floor))?;
    strict(connection, "sr_ceil", 1, |context| whole(context, RoundingMode::Ceiling))?;
    strict(connection, "sr_round", 2, |context| cut(context, RoundingMode::HalfUp))?;
    strict(connection, "sr_truncate", 2, |context| cut(context, RoundingMode::Down))?;
    strict(connection, "sr_to_int", 2, to_int)?;
    strict(connection, "sr_to_decimal", 3, |context| {
        let (precision, scale) = (int(context, 1)?, int(context, 2)?);
        let value = number(context.get_raw(0)).map(|value| rounded(&value, scale));
        Ok(shown(value.filter(|value| value.digits() as i64 <= precision.max(1) || value.is_zero())))
    })?;
    strict(connection, "sr_to_double", 1, |context| {
        Ok(match context.get_raw(0) {
            ValueRef::Integer(value) => Value::Real(value as f64),
            ValueRef::Real(value) => Value::Real(value),
            other => std::str::from_utf8(&super::bytes(other))
                .ok()
                .and_then(|text| text.trim().parse::<f64>().ok())
                .filter(|value| value.is_finite())
                .map_or(Value::Null, Value::Real),
        })
    })?;
    strict(connection, "sr_to_bool", 1, |context| {
        let text = super::text(context, 0).trim().to_lowercase();
        Ok(match text.as_str() {
            "true" => Value::Integer(1),
            "false" => Value::Integer(0),
            _ => number(context.get_raw(0)).map_or(Value::Null, |value| Value::Integer(i64::from(!value.is_zero()))),
        })
    })?;
    strict(connection, "sr_fmod", 2, |context| {
        let (a, b) = (context.get::<f64>(0)?, context.get::<f64>(1)?);
        Ok(if b == 0.0 { Value::Null } else { Value::Real(a % b) })
    })?;
    strict(connection, "sr_pow", 2, |context| Ok(real(context.get::<f64>(0)?.powf(context.get(1)?))))?;
    strict(connection, "sr_sqrt", 1, |context| Ok(real(context.get::<f64>(0)?.sqrt())))?;
    strict(connection, "sr_exp", 1, |context| Ok(real(context.get::<f64>(0)?.exp())))?;
    strict(connection, "sr_ln", 1, |context| Ok(real(context.get::<f64>(0)?.ln())))?;
    strict(connection, "sr_log10", 1, |context| Ok(real(context.get::<f64>(0)?.log10())))?;
    strict(connection, "sr_log2", 1, |context| Ok(real(context.get::<f64>(0)?.log2())))?;
    strict(connection, "sr_conv", 3, |context| {
        let (value, from, to) = (super::text(context, 0), int(context, 1)?, int(context, 2)?);
        Ok(conv(&value, from, to).map_or(Value::Null, Value::Text))
    })?;
    strict(connection, "sr_float_text", 1, |context| Ok(Value::Text(float_text(context.get(0)?))))?;
    strict(connection, "sr_double_text", 1, |context| Ok(Value::Text(double_text(context.get(0)?))))?;
    connection.create_scalar_function("sr_rand", 0, FunctionFlags::SQLITE_UTF8, |_| Ok(rand::random::<f64>()))?;
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_aggregate_function("sr_sum", 1, flags, Sum)?;
    connection.create_aggregate_function("sr_avg", 2, flags, Average)
}

/// The shortest text that reads back to the same bits, without an exponent in the usual range.
pub(in crate::embedded::sql) fn double_text(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-7..1e17).contains(&magnitude) { format!("{value:e}") } else { value.to_string() }
}

/// The same for a FLOAT, which is kept as the double next to it.
pub(in crate::embedded::sql) fn float_text(value: f64) -> String {
    let value = value as f32;
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-7..1e17).contains(&magnitude) { format!("{value:e}") } else { value.to_string() }
}

/// CONV: digits up to the first that the base does not have; 64 bits, the largest number on overflow. A negative base to
/// convert to shows them as a signed number. `None`: a base outside 2 to 36.
fn conv(text: &str, from: i64, to: i64) -> Option<String> {
    let base = |base: i64| u32::try_from(base.unsigned_abs()).ok().filter(|base| (2..=36).contains(base));
    let (from, target) = (base(from)?, base(to)?);
    let text = text.trim_start();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let mut value = 0_u64;
    for digit in digits.chars().map_while(|char| char.to_digit(from)) {
        let next = value.checked_mul(from.into()).and_then(|value| value.checked_add(digit.into()));
        let Some(next) = next else {
            value = u64::MAX;
            break;
        };
        value = next;
    }
    if negative {
        value = value.wrapping_neg();
    }
    let signed = to < 0 && (value as i64) < 0;
    let mut rest = if signed { (value as i64).unsigned_abs() } else { value };
    let mut shown = Vec::new();
    loop {
        shown.push(char::from_digit((rest % u64::from(target)) as u32, target)?.to_ascii_uppercase());
        rest /= u64::from(target);
        if rest == 0 {
            break;
        }
    }
    shown.extend(signed.then_some('-'));
    Some(shown.into_iter().rev().collect())
}

fn real(value: f64) -> Value {
    if value.is_finite() { Value::Real(value) } else { Value::Null }
}

fn number(value: ValueRef<'_>) -> Option<BigDecimal> {
    match value {
        ValueRef::Integer(value) => Some(BigDecimal::from(value)),
        ValueRef::Real(value) => super::double_text(value).parse().ok(),
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).ok()?.trim().parse().ok(),
        ValueRef::Null | ValueRef::Blob(_) => None,
    }
}

fn shown(value: Option<BigDecimal>) -> Value {
    value.map_or(Value::Null, |value| Value::Text(plain(&value)))
}

fn plain(value: &BigDecimal) -> String {
    // A negative scale would leave the zeros out of the digits, and "-0.00" is no canonical zero.
    let value = if value.fractional_digit_count() < 0 { value.with_scale(0) } else { value.clone() };
    value.to_plain_string()
}

fn rounded(value: &BigDecimal, scale: i64) -> BigDecimal {
    value.with_scale_round(scale, RoundingMode::HalfUp)
}

fn binary(
    context: &Context<'_>,
    operation: impl FnOnce(BigDecimal, BigDecimal) -> Option<BigDecimal>,
) -> Result<Value> {
    let (Some(a), Some(b)) = (number(context.get_raw(0)), number(context.get_raw(1))) else { return Ok(Value::Null) };
    Ok(shown(operation(a, b)))
}

fn whole(context: &Context<'_>, mode: RoundingMode) -> Result<Value> {
    let Some(value) = number(context.get_raw(0)) else { return Ok(Value::Null) };
    Ok(value.with_scale_round(0, mode).to_i64().map_or(Value::Null, Value::Integer))
}

/// ROUND and TRUNCATE; the result has the argument's form.
fn cut(context: &Context<'_>, mode: RoundingMode) -> Result<Value> {
    let digits = int(context, 1)?.clamp(-400, 400);
    let Some(value) = number(context.get_raw(0)) else { return Ok(Value::Null) };
    let own = value.fractional_digit_count().max(0);
    let result = value.with_scale_round(digits, mode);
    Ok(match context.get_raw(0) {
        ValueRef::Integer(_) => result.to_i64().map_or(Value::Null, Value::Integer),
        ValueRef::Real(_) => result.to_f64().map_or(Value::Null, real),
        _ => shown(Some(result.with_scale(digits.clamp(0, own)))),
    })
}

/// `sr_to_int(value, width in bytes)`: NULL for what is no number or out of range; fractions are cut off.
fn to_int(context: &Context<'_>) -> Result<Value> {
    let width = int(context, 1)?;
    let value = match context.get_raw(0) {
        ValueRef::Integer(value) => Some(value),
        ValueRef::Real(value) => (value > -9.3e18 && value < 9.2e18).then_some(value.trunc() as i64),
        other => number(other).and_then(|value| value.with_scale_round(0, RoundingMode::Down).to_i64()),
    };
    let bits = 64 - 8 * width.clamp(1, 8);
    Ok(value.filter(|value| (i64::MIN >> bits..=i64::MAX >> bits).contains(value)).map_or(Value::Null, Value::Integer))
}

/// SUM of exact numbers.
struct Sum;

impl Aggregate<Option<BigDecimal>, Value> for Sum {
    fn init(&self, _: &mut Context<'_>) -> Result<Option<BigDecimal>> {
        Ok(None)
    }

    fn step(&self, context: &mut Context<'_>, total: &mut Option<BigDecimal>) -> Result<()> {
        if let Some(value) = number(context.get_raw(0)) {
            *total = Some(match total.take() {
                Some(total) => total + value,
                None => value,
            });
        }
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, total: Option<Option<BigDecimal>>) -> Result<Value> {
        Ok(shown(total.flatten()))
    }
}

/// AVG of exact numbers, `sr_avg(value, scale)`.
struct Average;

impl Aggregate<(BigDecimal, u64, i64), Value> for Average {
    fn init(&self, _: &mut Context<'_>) -> Result<(BigDecimal, u64, i64)> {
        Ok((BigDecimal::zero(), 0, 0))
    }

    fn step(&self, context: &mut Context<'_>, state: &mut (BigDecimal, u64, i64)) -> Result<()> {
        if let Some(value) = number(context.get_raw(0)) {
            state.0 += value;
            state.1 += 1;
            state.2 = int(context, 1)?;
        }
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, state: Option<(BigDecimal, u64, i64)>) -> Result<Value> {
        Ok(match state {
            Some((total, count, scale)) if count > 0 => shown(Some(rounded(&(total / BigDecimal::from(count)), scale))),
            _ => Value::Null,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eval(sql: &str) -> Value {
        let connection = Connection::open_in_memory().unwrap();
        super::super::register(&connection).unwrap();
        connection.query_row(&format!("SELECT {sql}"), [], |row| row.get(0)).unwrap()
    }

    fn gives(sql: &str, text: &str) {
        assert_eq!(eval(sql), Value::Text(text.into()), "{sql}");
    }

    #[test]
    fn decimals_are_exact() {
        gives("sr_add('0.1', '0.20')", "0.30");
        gives("sr_mul('99999999999999999999.99', '3')", "299999999999999999999.97");
        gives("sr_sub('1.00', '1.00')", "0.00");
        gives("sr_div('1', '3', 6)", "0.333333");
        gives("sr_div('2', '3', 4)", "0.6667");
        gives("sr_mod('5.5', '2')", "1.5");
        assert_eq!(eval("sr_div('1', '0.00', 6)"), Value::Null);
    }

    #[test]
    fn rounding_keeps_the_form_of_its_argument() {
        gives("sr_round('1.255', 2)", "1.26");
        gives("sr_round('-1.255', 2)", "-1.26");
        gives("sr_truncate('1.259', 2)", "1.25");
        gives("sr_round('1.2', 4)", "1.2");
        assert_eq!(eval("sr_round(15, -1)"), Value::Integer(20));
        assert_eq!(eval("sr_floor('-1.5')"), Value::Integer(-2));
    }

    #[test]
    fn casts_give_null_where_the_value_does_not_fit() {
        assert_eq!(eval("sr_to_int('12.9', 1)"), Value::Integer(12));
        assert_eq!(eval("sr_to_int(128, 1)"), Value::Null);
        assert_eq!(eval("sr_to_int('x', 8)"), Value::Null);
        assert_eq!(eval("sr_to_int('9223372036854775807', 8)"), Value::Integer(i64::MAX));
        gives("sr_to_decimal('1.005', 10, 2)", "1.01");
        assert_eq!(eval("sr_to_decimal('12345', 4, 0)"), Value::Null);
    }

    #[test]
    fn numbers_change_their_base_within_64_bits() {
        gives("sr_conv('fffffffffffffff', 16, 10)", "1152921504606846975");
        gives("sr_conv('ffFFffffffffffff', 16, 10)", "18446744073709551615");
        gives("sr_conv('1ffffffffffffffff', 16, 10)", "18446744073709551615");
        gives("sr_conv('-1', 10, 16)", "FFFFFFFFFFFFFFFF");
        gives("sr_conv('-17', 10, -16)", "-11");
        gives("sr_conv('12x9', 10, 2)", "1100");
        gives("sr_conv('', 16, 10)", "0");
        assert_eq!(eval("sr_conv('1', 1, 10)"), Value::Null);
        assert_eq!(eval("sr_conv('1', 10, 37)"), Value::Null);
    }

    #[test]
    fn floating_point_text_is_the_shortest() {
        assert_eq!(double_text(0.1), "0.1");
        assert_eq!(double_text(1e20), "1e20");
        assert_eq!(float_text(f64::from(0.1f32)), "0.1");
        assert_eq!(double_text(-0.0), "-0");
    }
}
