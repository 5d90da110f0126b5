//! Function calls: each name's meaning in SQLite's terms.

use sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments,
    OrderByExpr, WindowType,
};

use super::super::answer::{SqlError, SqlResult};
use super::coerce::{coerce, collated, common};
use super::dates::{date_add, unit};
use super::expression::{arithmetic, case, comparison, literal};
use super::scope::{Binder, Scope};
use super::select::{direction, name_parts};
use super::{Bound, Kind};
use crate::embedded::store::quote_text;

const AGGREGATES: [&str; 13] = [
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "group_concat",
    "any_value",
    "ndv",
    "approx_count_distinct",
    "multi_distinct_count",
    "multi_distinct_sum",
    "bool_or",
    "max_by",
];

const WINDOW_ONLY: [&str; 7] = ["row_number", "rank", "dense_rank", "lag", "lead", "first_value", "last_value"];

impl Binder<'_> {
    pub(super) fn call(&mut self, function: &Function, scope: &Scope<'_>) -> SqlResult<Bound> {
        let name = name_parts(&function.name).join(".").to_lowercase();
        let mut arguments = Vec::new();
        let mut distinct = false;
        let mut star = false;
        let mut order_by: &[OrderByExpr] = &[];
        let mut separator = None;
        if let FunctionArguments::List(list) = &function.args {
            distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
            for clause in &list.clauses {
                match clause {
                    FunctionArgumentClause::OrderBy(items) => order_by = items,
                    FunctionArgumentClause::Separator(text) => separator = Some(literal(text)?),
                    other => return Err(SqlError::analyzing(format!("{other} is not supported in {name}"))),
                }
            }
            // The units of these are words, not columns.
            if matches!(name.as_str(), "timestampdiff" | "timestampadd") {
                return self.timestamp_function(&name, &list.args, scope);
            }
            if matches!(name.as_str(), "date_add" | "date_sub" | "adddate" | "subdate")
                && let [first, FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Interval(interval)))] =
                    list.args.as_slice()
            {
                let value = self.expression(plain(first)?, scope)?;
                return self.add_interval(&value, interval, name.contains("sub"), scope);
            }
            for argument in &list.args {
                match argument {
                    FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => star = true,
                    other => arguments.push(self.expression(plain(other)?, scope)?),
                }
            }
        }
        let over = match &function.over {
            None => None,
            Some(WindowType::WindowSpec(spec)) if spec.window_name.is_none() && spec.window_frame.is_none() => {
                let mut partition = Vec::new();
                for key in &spec.partition_by {
                    partition.push(self.expression(key, scope)?.sql);
                }
                let order = self.order_list(&spec.order_by, scope)?;
                let partition =
                    if partition.is_empty() { String::new() } else { format!("PARTITION BY {}", partition.join(", ")) };
                let order = if order.is_empty() { String::new() } else { format!(" ORDER BY {order}") };
                Some(format!(" OVER ({partition}{order})"))
            }
            Some(_) => {
                return Err(SqlError::analyzing("Named windows and window frames are not supported by this server"));
            }
        };
        if AGGREGATES.contains(&name.as_str()) {
            let order = self.order_list(order_by, scope)?;
            self.aggregates += 1;
            let mut bound = aggregate(&name, &arguments, distinct, star, &order, separator.as_ref())?;
            if let Some(over) = over {
                if bound.sql.starts_with("sr_") || distinct {
                    return Err(SqlError::analyzing(format!("{name} over a window is not supported for this type")));
                }
                bound.sql.push_str(&over);
            }
            return Ok(bound);
        }
        if WINDOW_ONLY.contains(&name.as_str()) {
            let Some(over) = over else {
                return Err(SqlError::analyzing(format!("{name} must be used with an OVER clause")));
            };
            let kind = arguments.first().map_or(Kind::Int(8), |first| first.kind);
            let list: Vec<&str> = arguments.iter().map(|argument| argument.sql.as_str()).collect();
            return Ok(Bound::new(format!("{name}({}){over}", list.join(", ")), kind));
        }
        if over.is_some() || distinct || star {
            return Err(unknown(&name));
        }
        self.named(&name, &arguments)
    }

    fn order_list(&mut self, items: &[OrderByExpr], scope: &Scope<'_>) -> SqlResult<String> {
        let mut keys = Vec::new();
        for item in items {
            let key = self.expression(&item.expr, scope)?;
            keys.push(format!("{}{}", collated(&key.sql, key.kind), direction(&item.options)?));
        }
        Ok(keys.join(", "))
    }

    fn timestamp_function(&mut self, name: &str, arguments: &[FunctionArg], scope: &Scope<'_>) -> SqlResult<Bound> {
        let [first, second, third] = arguments else { return Err(wrong_count(name)) };
        let unit = unit(&plain(first)?.to_string())?;
        let second = self.expression(plain(second)?, scope)?;
        let third = self.expression(plain(third)?, scope)?;
        if name == "timestampadd" {
            return date_add(&third, &second, unit, false);
        }
        let (from, to) = (coerce(&second, Kind::DateTime), coerce(&third, Kind::DateTime));
        Ok(Bound::new(format!("sr_date_diff('{unit}', {from}, {to})"), Kind::Int(8)))
    }

    /// A scalar function by its lower-case name.
    pub(super) fn named(&mut self, name: &str, arguments: &[Bound]) -> SqlResult<Bound> {
        if let Some(bound) = self.about_the_session(name, arguments.len()) {
            return Ok(bound);
        }
        let text = |index: usize| arguments.get(index).map(|argument| coerce(argument, Kind::Text)).unwrap_or_default();
        let int =
            |index: usize| arguments.get(index).map(|argument| coerce(argument, Kind::Int(8))).unwrap_or_default();
        let double =
            |index: usize| arguments.get(index).map(|argument| coerce(argument, Kind::Double)).unwrap_or_default();
        let time =
            |index: usize| arguments.get(index).map(|argument| coerce(argument, Kind::DateTime)).unwrap_or_default();
        let of = |function: &str, arguments: &[String], kind: Kind| {
            Ok(Bound::new(format!("{function}({})", arguments.join(", ")), kind))
        };
        let count = arguments.len();
        match (name, count) {
            // Choice
            ("if", 3) => {
                let condition = coerce(&arguments[0], Kind::Bool);
                Ok(case(&[condition], &arguments[1..]))
            }
            ("ifnull" | "nvl" | "coalesce", 1..) => {
                let kind = arguments.iter().fold(Kind::Null, |kind, argument| common(kind, argument.kind));
                if count == 1 {
                    return Ok(arguments[0].clone());
                }
                let list: Vec<String> = arguments.iter().map(|argument| coerce(argument, kind)).collect();
                of("coalesce", &list, kind)
            }
            ("nullif", 2) => {
                let equal = comparison(&arguments[0], "=", &arguments[1]);
                Ok(case(&[equal], &[Bound::new("NULL", Kind::Null), arguments[0].clone()]))
            }
            ("isnull", 1) => Ok(Bound::new(format!("({} IS NULL)", arguments[0].sql), Kind::Bool)),
            ("isnotnull", 1) => Ok(Bound::new(format!("({} IS NOT NULL)", arguments[0].sql), Kind::Bool)),
            ("greatest" | "least", 1..) => {
                let kind = arguments.iter().fold(Kind::Null, |kind, argument| common(kind, argument.kind));
                if count == 1 {
                    return Ok(arguments[0].clone());
                }
                let mut list: Vec<String> = arguments.iter().map(|argument| coerce(argument, kind)).collect();
                if let Some(first) = list.first_mut() {
                    *first = collated(first, kind);
                }
                of(if name == "greatest" { "max" } else { "min" }, &list, kind)
            }
            // Text
            ("concat", 1..) => {
                let parts: Vec<String> = arguments.iter().map(|argument| coerce(argument, Kind::Text)).collect();
                Ok(Bound::new(format!("({})", parts.join(" || ")), Kind::Text))
            }
            ("concat_ws", 2..) => {
                let parts: Vec<String> = arguments.iter().map(|argument| coerce(argument, Kind::Text)).collect();
                of("sr_concat_ws", &parts, Kind::Text)
            }
            ("length" | "octet_length", 1) => {
                Ok(Bound::new(format!("length({})", coerce(&as_text(&arguments[0]), Kind::Bytes)), Kind::Int(4)))
            }
            ("char_length" | "character_length", 1) => of("sr_char_length", &[text(0)], Kind::Int(4)),
            ("left" | "strleft", 2) => of("sr_left", &[text(0), int(1)], Kind::Text),
            ("right" | "strright", 2) => of("sr_right", &[text(0), int(1)], Kind::Text),
            ("substring" | "substr" | "mid", 2) => of("sr_substring", &[text(0), int(1)], Kind::Text),
            ("substring" | "substr" | "mid", 3) => of("sr_substring", &[text(0), int(1), int(2)], Kind::Text),
            ("substring_index", 3) => of("sr_substring_index", &[text(0), text(1), int(2)], Kind::Text),
            ("split_part", 3) => of("sr_split_part", &[text(0), text(1), int(2)], Kind::Text),
            ("upper" | "ucase", 1) => of("sr_upper", &[text(0)], Kind::Text),
            ("lower" | "lcase", 1) => of("sr_lower", &[text(0)], Kind::Text),
            ("trim" | "ltrim" | "rtrim", 1) => of(name, &[text(0)], Kind::Text),
            ("trim" | "ltrim" | "rtrim", 2) => of(name, &[text(0), text(1)], Kind::Text),
            ("replace", 3) => of("replace", &[text(0), text(1), text(2)], Kind::Text),
            ("reverse", 1) => of("sr_reverse", &[text(0)], Kind::Text),
            ("repeat", 2) => of("sr_repeat", &[text(0), int(1)], Kind::Text),
            ("space", 1) => of("sr_repeat", &["' '".into(), int(0)], Kind::Text),
            ("lpad" | "rpad", 3) => of(&format!("sr_{name}"), &[text(0), int(1), text(2)], Kind::Text),
            ("locate", 2) => of("sr_locate", &[text(0), text(1), "1".into()], Kind::Int(4)),
            ("locate", 3) => of("sr_locate", &[text(0), text(1), int(2)], Kind::Int(4)),
            ("instr", 2) => of("sr_locate", &[text(1), text(0), "1".into()], Kind::Int(4)),
            ("starts_with", 2) => of("sr_starts_with", &[text(0), text(1)], Kind::Bool),
            ("ends_with", 2) => of("sr_ends_with", &[text(0), text(1)], Kind::Bool),
            ("ascii", 1) => of("sr_ascii", &[text(0)], Kind::Int(4)),
            ("char", 1) => of("char", &[int(0)], Kind::Text),
            ("conv", 3) => of("sr_conv", &[text(0), int(1), int(2)], Kind::Text),
            ("hex", 1) => match arguments[0].kind {
                kind if kind.is_integer() => of("sr_hex_int", &[arguments[0].sql.clone()], Kind::Text),
                Kind::Bytes => of("hex", &[arguments[0].sql.clone()], Kind::Text),
                _ => of("hex", &[text(0)], Kind::Text),
            },
            ("unhex", 1) => of("sr_unhex", &[text(0)], Kind::Text),
            ("md5", 1) => of("sr_md5", &[arguments[0].sql.clone()], Kind::Text),
            ("sha2", 2) => of("sr_sha2", &[arguments[0].sql.clone(), int(1)], Kind::Text),
            ("to_base64", 1) => of("sr_to_base64", &[arguments[0].sql.clone()], Kind::Text),
            ("from_base64" | "base64_decode_string", 1) => of("sr_from_base64", &[text(0)], Kind::Text),
            ("base64_decode_binary", 1) => {
                Ok(Bound::new(format!("CAST(sr_from_base64({}) AS BLOB)", text(0)), Kind::Bytes))
            }
            ("to_binary", 1) => of("sr_to_binary", &[text(0), "'hex'".into()], Kind::Bytes),
            ("to_binary", 2) => of("sr_to_binary", &[text(0), text(1)], Kind::Bytes),
            ("from_binary", 1) => of("hex", &[arguments[0].sql.clone()], Kind::Text),
            ("from_binary", 2) => of("sr_from_binary", &[arguments[0].sql.clone(), text(1)], Kind::Text),
            ("uuid", 0) => of("sr_uuid", &[], Kind::Text),
            // Numbers
            ("abs", 1) => {
                let value = numeric(&arguments[0]);
                let function = if value.kind.is_exact_text() { "sr_abs" } else { "abs" };
                of(function, std::slice::from_ref(&value.sql), value.kind)
            }
            ("sign", 1) => of("sign", &[double(0)], Kind::Int(4)),
            ("ceil" | "ceiling" | "floor", 1) => {
                let value = numeric(&arguments[0]);
                let function = if name == "floor" { "sr_floor" } else { "sr_ceil" };
                of(function, &[value.sql], Kind::Int(8))
            }
            ("round" | "truncate" | "dround", 1 | 2) => {
                let value = numeric(&arguments[0]);
                let digits = if count == 2 { int(1) } else { "0".into() };
                let function = if name == "truncate" { "sr_truncate" } else { "sr_round" };
                let kind = match (value.kind, digits.parse::<u8>()) {
                    (Kind::Decimal(scale), Ok(digits)) => Kind::Decimal(digits.min(scale)),
                    (kind, _) => kind,
                };
                of(function, &[value.sql, digits], kind)
            }
            ("mod" | "fmod", 2) => {
                Ok(arithmetic(&arguments[0], &sqlparser::ast::BinaryOperator::Modulo, &arguments[1]))
            }
            ("pow" | "power", 2) => of("sr_pow", &[double(0), double(1)], Kind::Double),
            ("sqrt" | "exp" | "ln" | "log10" | "log2", 1) => of(&format!("sr_{name}"), &[double(0)], Kind::Double),
            ("rand" | "random", 0) => of("sr_rand", &[], Kind::Double),
            // Time
            ("now" | "current_timestamp" | "localtime" | "localtimestamp" | "utc_timestamp", 0) => {
                of("sr_now", &[], Kind::DateTime)
            }
            ("curdate" | "current_date", 0) => Ok(Bound::new("substr(sr_now(), 1, 10)", Kind::Date)),
            ("unix_timestamp", 0) => of("sr_unix", &["sr_now()".into()], Kind::Int(8)),
            ("unix_timestamp", 1) => of("sr_unix", &[time(0)], Kind::Int(8)),
            ("from_unixtime", 1) => of("sr_from_unix", &[int(0)], Kind::Text),
            ("from_unixtime", 2) => {
                Ok(Bound::new(format!("sr_date_format(sr_from_unix({}), {})", int(0), text(1)), Kind::Text))
            }
            ("date" | "to_date", 1) => Ok(Bound::new(coerce(&arguments[0], Kind::Date), Kind::Date)),
            ("timestamp", 1) => Ok(Bound::new(time(0), Kind::DateTime)),
            (
                "year" | "month" | "day" | "dayofmonth" | "hour" | "minute" | "second" | "microsecond" | "quarter"
                | "dayofweek" | "weekday" | "dayofyear" | "week" | "weekofyear",
                1,
            ) => of("sr_date_part", &[quote_text(name), time(0)], Kind::Int(4)),
            ("date_format", 2) => of("sr_date_format", &[time(0), text(1)], Kind::Text),
            ("date_trunc", 2) => of("sr_date_trunc", &[text(0), time(1)], arguments[1].kind),
            ("last_day", 1) => of("sr_last_day", &[time(0)], Kind::Date),
            ("datediff", 2) => {
                let (to, from) = (coerce(&arguments[0], Kind::Date), coerce(&arguments[1], Kind::Date));
                let (to, from) = (format!("({to} || ' 00:00:00')"), format!("({from} || ' 00:00:00')"));
                of("sr_date_diff", &["'day'".into(), from, to], Kind::Int(4))
            }
            ("date_add" | "adddate", 2) => date_add(&arguments[0], &arguments[1], "day", false),
            ("date_sub" | "subdate", 2) => date_add(&arguments[0], &arguments[1], "day", true),
            (
                "years_add" | "months_add" | "weeks_add" | "days_add" | "hours_add" | "minutes_add" | "seconds_add"
                | "years_sub" | "months_sub" | "weeks_sub" | "days_sub" | "hours_sub" | "minutes_sub" | "seconds_sub",
                2,
            ) => {
                let (part, direction) = name.split_once('_').unwrap_or((name, ""));
                date_add(&arguments[0], &arguments[1], unit(part)?, direction == "sub")
            }
            (
                "years_diff" | "months_diff" | "weeks_diff" | "days_diff" | "hours_diff" | "minutes_diff"
                | "seconds_diff",
                2,
            ) => {
                let part = unit(name.trim_end_matches("_diff"))?;
                of("sr_date_diff", &[quote_text(part), time(1), time(0)], Kind::Int(8))
            }
            // JSON
            ("parse_json", 1) => of("sr_parse_json", &[text(0)], Kind::Json),
            ("json_query" | "get_json_object", 2) => of("sr_json_query", &[json(&arguments[0]), text(1)], Kind::Json),
            ("get_json_string" | "json_value", 2) => of("sr_json_string", &[json(&arguments[0]), text(1)], Kind::Text),
            ("get_json_int", 2) => Ok(Bound::new(
                format!("sr_to_int(sr_json_string({}, {}), 8)", json(&arguments[0]), text(1)),
                Kind::Int(8),
            )),
            ("get_json_double", 2) => Ok(Bound::new(
                format!("sr_to_double(sr_json_string({}, {}))", json(&arguments[0]), text(1)),
                Kind::Double,
            )),
            ("json_exists", 2) => {
                Ok(Bound::new(format!("(sr_json_query({}, {}) IS NOT NULL)", json(&arguments[0]), text(1)), Kind::Bool))
            }
            ("json_length", 1) => of("sr_json_length", &[json(&arguments[0])], Kind::Int(4)),
            ("json_string", 1) => Ok(Bound::new(json(&arguments[0]), Kind::Text)),
            _ => Err(unknown(name)),
        }
    }

    fn about_the_session(&self, name: &str, count: usize) -> Option<Bound> {
        if count != 0 {
            return None;
        }
        let version = self.session.version_text();
        let user = format!("'{}'@'%'", self.session.user);
        Some(match name {
            "database" | "schema" => match &self.session.database {
                Some(database) => Bound::new(quote_text(database), Kind::Text),
                None => Bound::new("NULL", Kind::Text),
            },
            "user" | "current_user" | "session_user" | "system_user" => Bound::new(quote_text(&user), Kind::Text),
            "version" => Bound::new("'8.0.33'", Kind::Text),
            "current_version" => Bound::new(quote_text(&version), Kind::Text),
            "current_role" => Bound::new("'NONE'", Kind::Text),
            "catalog" => Bound::new("'default_catalog'", Kind::Text),
            "connection_id" => Bound::new(self.session.id.to_string(), Kind::Int(8)),
            "last_query_id" => Bound::new("NULL", Kind::Text),
            _ => return None,
        })
    }
}

fn aggregate(
    name: &str,
    arguments: &[Bound],
    distinct: bool,
    star: bool,
    order: &str,
    separator: Option<&Bound>,
) -> SqlResult<Bound> {
    let word = if distinct { "DISTINCT " } else { "" };
    let order_by = if order.is_empty() { String::new() } else { format!(" ORDER BY {order}") };
    let bound = |sql: String, kind: Kind| Ok(Bound::new(sql, kind));
    match (name, arguments) {
        ("count", []) if star => bound("count(*)".into(), Kind::Int(8)),
        ("count", [value]) => bound(format!("count({word}{})", value.sql), Kind::Int(8)),
        ("count", [_, _, ..]) if distinct => {
            let list: Vec<&str> = arguments.iter().map(|argument| argument.sql.as_str()).collect();
            bound(format!("count(DISTINCT sr_tuple({}))", list.join(", ")), Kind::Int(8))
        }
        ("ndv" | "approx_count_distinct" | "multi_distinct_count", [value]) => {
            bound(format!("count(DISTINCT {})", value.sql), Kind::Int(8))
        }
        ("sum" | "multi_distinct_sum", [value]) => {
            let word = if name == "sum" { word } else { "DISTINCT " };
            let value = numeric(value);
            match value.kind {
                Kind::LargeInt | Kind::Decimal(_) => bound(format!("sr_sum({word}{})", value.sql), value.kind),
                Kind::Bool | Kind::Int(_) | Kind::Null => bound(format!("sum({word}{})", value.sql), Kind::Int(8)),
                _ => bound(format!("sum({word}{})", value.sql), Kind::Double),
            }
        }
        ("avg", [value]) => {
            let value = numeric(value);
            match value.kind {
                Kind::LargeInt | Kind::Decimal(_) => {
                    let scale = if let Kind::Decimal(scale) = value.kind { scale } else { 0 };
                    let scale = if scale <= 6 { scale + 6 } else { scale.max(12) };
                    bound(format!("sr_avg({}, {scale})", value.sql), Kind::Decimal(scale))
                }
                _ => bound(format!("avg({word}{})", value.sql), Kind::Double),
            }
        }
        ("min" | "max", [value]) => bound(format!("{name}({})", collated(&value.sql, value.kind)), value.kind),
        ("any_value", [value]) => bound(format!("min({})", collated(&value.sql, value.kind)), value.kind),
        ("group_concat", [value, rest @ ..]) => {
            let text = coerce(value, Kind::Text);
            let separator = separator.or(rest.first()).map_or_else(|| "', '".to_owned(), |text| text.sql.clone());
            if distinct {
                // SQLite's DISTINCT takes one argument only, so the separator is put in afterwards.
                return bound(format!("sr_group_concat_distinct({text}, {separator})"), Kind::Text);
            }
            bound(format!("group_concat({text}, {separator}{order_by})"), Kind::Text)
        }
        _ => Err(wrong_count(name)),
    }
}

/// A number as it is; anything else as DOUBLE.
fn numeric(value: &Bound) -> Bound {
    if value.kind.is_number() || value.kind == Kind::Null {
        return value.clone();
    }
    Bound::new(coerce(value, Kind::Double), Kind::Double)
}

fn as_text(value: &Bound) -> Bound {
    match value.kind {
        Kind::Bytes => value.clone(),
        _ => Bound::new(coerce(value, Kind::Text), Kind::Text),
    }
}

fn json(value: &Bound) -> String {
    coerce(value, Kind::Json)
}

fn plain(argument: &FunctionArg) -> SqlResult<&Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr),
        other => Err(SqlError::analyzing(format!("Argument {other} is not supported"))),
    }
}

fn unknown(name: &str) -> SqlError {
    SqlError::analyzing(format!("No matching function with signature: {name}(...)"))
}

fn wrong_count(name: &str) -> SqlError {
    SqlError::analyzing(format!("{name} has another number of arguments"))
}
