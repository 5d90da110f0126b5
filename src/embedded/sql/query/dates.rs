//! Date arithmetic: INTERVAL, DATE_ADD, TIMESTAMPDIFF and their relatives.

use sqlparser::ast::Interval;

use super::super::answer::{SqlError, SqlResult};
use super::coerce::coerce;
use super::scope::{Binder, Scope};
use super::{Bound, Kind};

/// Units that `sr_date_add`, `sr_date_diff` and `sr_date_trunc` know.
const UNITS: [&str; 9] = ["microsecond", "second", "minute", "hour", "day", "week", "month", "quarter", "year"];

pub(super) fn unit(name: &str) -> SqlResult<&'static str> {
    let name = name.trim_end_matches(['s', 'S']);
    UNITS
        .into_iter()
        .find(|unit| unit.eq_ignore_ascii_case(name))
        .ok_or_else(|| SqlError::analyzing(format!("Unknown time unit {name}")))
}

impl Binder<'_> {
    pub(super) fn add_interval(
        &mut self,
        value: &Bound,
        interval: &Interval,
        subtract: bool,
        scope: &Scope<'_>,
    ) -> SqlResult<Bound> {
        let field = interval.leading_field.as_ref().map(ToString::to_string).unwrap_or_default();
        let amount = self.expression(&interval.value, scope)?;
        date_add(value, &amount, unit(&field)?, subtract)
    }
}

/// A DATE stays one as long as whole days are added to it.
pub(super) fn date_add(value: &Bound, amount: &Bound, unit: &str, subtract: bool) -> SqlResult<Bound> {
    let sign = if subtract { "-" } else { "" };
    let date = value.kind == Kind::Date && matches!(unit, "day" | "week" | "month" | "quarter" | "year");
    let sql = format!(
        "sr_date_add({}, {sign}({}), '{unit}')",
        coerce(value, Kind::DateTime),
        coerce(&Bound { literal: None, ..amount.clone() }, Kind::Int(8))
    );
    Ok(if date { Bound::new(format!("substr({sql}, 1, 10)"), Kind::Date) } else { Bound::new(sql, Kind::DateTime) })
}
