//! Checksums that both servers compute: one number for all rows of a range, so that only ranges that differ are fetched.
//!
//! ```text
//! SUM(the first 60 bits of SHA2(one text for the row))     and COUNT(*)
//! ```
//! The text is the same on both servers, or the table is not compared this way: integers and dates as both print them,
//! a DECIMAL with as many digits behind the point, and for text its own SHA2, whose digits need no quoting and keep
//! the whole under the servers' limits. (MySQL has MD5 no more from 9.6 on.) `N` stands for NULL, which nothing else is. So two rows have one text if and only
//! if they are equal, but for what SHA2 confuses. A sum does not depend on the order of rows, and swapped values change
//! it, since each text holds the key. Two different ranges agree by chance once in 2^60 times.
//!
//! Where the servers print a value differently after all (a zero date that is NULL at the target), the sums differ, and
//! the rows are fetched and found equal: this way may be slower there, and never wrong.

use super::layout::{Layout, LayoutColumn, Side};
use super::servers::{SourceReader, TargetReader};
use crate::Result;
use crate::mysql::snapshot::SnapshotTable;
use crate::schema::{ColumnType, TargetType, quote};

/// What a range's rows add up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) rows: u64,
    /// `None` of no rows.
    pub(crate) sum: Option<String>,
}

/// The SELECT lists of both sides' checksums.
pub(crate) struct Sums {
    pub(crate) source: String,
    pub(crate) target: String,
}

impl Sums {
    /// Tries both sides' checksums over no rows; `None` where a server does not have what they need.
    pub(crate) async fn of(
        layout: &Layout,
        table: &SnapshotTable,
        source: &mut SourceReader,
        target: &mut TargetReader<'_>,
    ) -> Result<Option<Sums>> {
        let lists = layout.checksum(Side::Source).zip(layout.checksum(Side::Target));
        let Some(sums) = lists.map(|(source, target)| Sums { source, target }) else { return Ok(None) };
        let none = " WHERE 1 = 0";
        let source = source.sum(layout, table, &sums.source, none).await;
        let target = target.sum(layout, &sums.target, none).await;
        match (source, target) {
            (Ok(_), Ok(_)) => Ok(Some(sums)),
            (Err(error), _) | (_, Err(error)) if !error.is_transient() => {
                tracing::info!(%error, table = %layout.source, "no checksums here; all rows are read");
                Ok(None)
            }
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }
}

impl Layout {
    /// The SELECT list that gives a [`Sum`]; `None` when a column has no text that both servers print alike.
    pub(crate) fn checksum(&self, side: Side) -> Option<String> {
        let texts: Option<Vec<String>> = self.columns.iter().map(|column| self.text(column, side)).collect();
        let integer = match side {
            Side::Source => "UNSIGNED",
            Side::Target => "LARGEINT",
        };
        let row = format!("SHA2(CONCAT_WS(',', {}), 256)", texts?.join(", "));
        Some(format!("COUNT(*), SUM(CAST(CONV(LEFT({row}, 15), 16, 10) AS {integer}))"))
    }

    fn text(&self, column: &LayoutColumn, side: Side) -> Option<String> {
        let rules = self.rules();
        if rules.empty_equals_null || rules.time_digits.is_some() {
            return None;
        }
        let (source, target) = (quote(&column.name), quote(&column.target_name));
        let by_text = matches!(column.stored, Some(TargetType::Varchar { .. }));
        let varchar = |name: &str| format!("CAST({name} AS VARCHAR)");
        let (source, target) = match (&column.ty, column.stored?) {
            // Zeros that ZEROFILL puts in front are not part of the number.
            (ColumnType::Bit { .. }, TargetType::Boolean) => {
                (format!("{source} + 0"), format!("CAST(CAST({target} AS INT) AS VARCHAR)"))
            }
            (ColumnType::Integer { .. } | ColumnType::Year | ColumnType::Bit { .. }, stored) if is_integer(stored) => {
                (format!("{source} + 0"), varchar(&target))
            }
            (ColumnType::Decimal { scale, .. }, TargetType::Decimal { scale: stored, .. }) if *scale == stored => {
                (format!("{source} + 0"), varchar(&target))
            }
            (
                ColumnType::Char { .. }
                | ColumnType::Varchar { .. }
                | ColumnType::Text { .. }
                | ColumnType::Enum { .. }
                | ColumnType::Set { .. },
                _,
            ) if by_text => (format!("SHA2(CONVERT({source} USING utf8mb4), 256)"), format!("SHA2({target}, 256)")),
            (ColumnType::Time { .. }, _) if by_text => (format!("CAST({source} AS CHAR)"), target),
            (ColumnType::Binary { .. } | ColumnType::Varbinary { .. }, _) if by_text => {
                (format!("LOWER(HEX({source}))"), target)
            }
            (ColumnType::Date, TargetType::Date) => (format!("CAST({source} AS CHAR)"), varchar(&target)),
            (ColumnType::DateTime { digits }, TargetType::DateTime) => (moment(&source, *digits), varchar(&target)),
            (ColumnType::Timestamp { digits }, TargetType::DateTime) => {
                let seconds = rules.zone.to_fixed_offset().ok()?.seconds();
                let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.abs() / 60);
                let zone = format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60);
                let shown = if seconds == 0 { source } else { format!("CONVERT_TZ({source}, '+00:00', '{zone}')") };
                (moment(&shown, *digits), varchar(&target))
            }
            _ => return None,
        };
        let text = match side {
            Side::Source => source,
            Side::Target => target,
        };
        Some(format!("IFNULL({text}, 'N')"))
    }
}

fn is_integer(ty: TargetType) -> bool {
    matches!(
        ty,
        TargetType::TinyInt | TargetType::SmallInt | TargetType::Int | TargetType::BigInt | TargetType::LargeInt
    )
}

/// StarRocks shows a fraction with six digits, and none when it is zero.
fn moment(expression: &str, digits: u8) -> String {
    if digits == 0 {
        return format!("CAST({expression} AS CHAR)");
    }
    let shown = |format: &str| format!("DATE_FORMAT({expression}, '%Y-%m-%d %H:%i:%s{format}')");
    format!("IF(MICROSECOND({expression}) = 0, {}, {})", shown(""), shown(".%f"))
}

#[cfg(test)]
mod tests {
    use jiff::tz::{Offset, TimeZone};

    use super::super::canonical::Rules;
    use super::super::layout::tests::{column, layout};
    use super::*;
    use crate::config::ZeroDate;

    fn exact(zone: TimeZone) -> Rules {
        Rules::exact(zone, ZeroDate::Null)
    }

    fn stored(ty: ColumnType, stored: TargetType) -> LayoutColumn {
        let mut column = column("a", ty, "", "");
        column.stored = Some(stored);
        column
    }

    fn text(ty: ColumnType, ty_stored: TargetType, rules: Rules) -> Option<String> {
        layout(vec![stored(ty, ty_stored)], rules).checksum(Side::Source)
    }

    #[test]
    fn only_values_that_both_servers_print_alike_are_added_up() {
        let utc = || exact(TimeZone::UTC);
        let decimal = ColumnType::Decimal { precision: 9, scale: 2 };
        assert!(text(decimal.clone(), TargetType::Decimal { precision: 38, scale: 2 }, utc()).is_some());
        assert!(text(decimal, TargetType::Decimal { precision: 38, scale: 3 }, utc()).is_none());
        for ty in [ColumnType::Float, ColumnType::Double, ColumnType::Json, ColumnType::Geometry] {
            assert!(text(ty.clone(), TargetType::Varchar { bytes: 99 }, utc()).is_none(), "{ty:?}");
        }
        let words = ColumnType::Varchar { chars: 9, charset: "latin1".into() };
        let varchar = TargetType::Varchar { bytes: 99 };
        assert!(text(words.clone(), varchar, utc()).is_some());
        assert!(text(words, varchar, Rules { empty_equals_null: true, ..utc() }).is_none());
    }

    #[test]
    fn a_moment_is_shown_in_a_zone_that_has_one_offset() {
        let moment = ColumnType::Timestamp { digits: 0 };
        let list = |zone| text(moment.clone(), TargetType::DateTime, exact(zone));
        let hours = TimeZone::fixed(Offset::from_seconds(-19_800).unwrap());
        assert!(list(hours).unwrap().contains("CAST(CONVERT_TZ(`a`, '+00:00', '-05:30') AS CHAR)"));
        assert!(list(TimeZone::UTC).unwrap().contains("CAST(`a` AS CHAR)"));
        assert!(list(TimeZone::get("Europe/Berlin").unwrap()).is_none());
    }
}
