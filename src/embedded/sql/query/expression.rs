//! Expressions: operators, literals, CASE, CAST, subqueries.

use sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, CeilFloorKind, DataType, Expr, Ident, TrimWhereField, UnaryOperator, Value,
    ValueWithSpan,
};

use super::super::answer::{SqlError, SqlResult};
use super::super::session::variable;
use super::super::tokens::Cursor;
use super::array::cast_to_array;
use super::coerce::{coerce, collated, common, compared, fit_literal};
use super::scope::{Binder, Scope};
use super::{Bound, Kind};
use crate::embedded::store::quote_text;
use crate::embedded::types::ColumnType;

impl Binder<'_> {
    pub(super) fn expression(&mut self, expr: &Expr, scope: &Scope<'_>) -> SqlResult<Bound> {
        match expr {
            Expr::Identifier(name) => self.identifier(std::slice::from_ref(name), scope),
            Expr::CompoundIdentifier(parts) => self.identifier(parts, scope),
            Expr::Value(value) => literal(value),
            Expr::Nested(inner) => self.expression(inner, scope),
            Expr::UnaryOp { op, expr } => self.unary(*op, expr, scope),
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right, scope),
            Expr::IsNull(inner) => {
                Ok(Bound::new(format!("({} IS NULL)", self.expression(inner, scope)?.sql), Kind::Bool))
            }
            Expr::IsNotNull(inner) => {
                Ok(Bound::new(format!("({} IS NOT NULL)", self.expression(inner, scope)?.sql), Kind::Bool))
            }
            Expr::IsTrue(inner) => Ok(Bound::new(format!("({} IS TRUE)", self.condition(inner, scope)?), Kind::Bool)),
            Expr::IsNotTrue(inner) => {
                Ok(Bound::new(format!("({} IS NOT TRUE)", self.condition(inner, scope)?), Kind::Bool))
            }
            Expr::IsFalse(inner) => Ok(Bound::new(format!("({} IS FALSE)", self.condition(inner, scope)?), Kind::Bool)),
            Expr::IsNotFalse(inner) => {
                Ok(Bound::new(format!("({} IS NOT FALSE)", self.condition(inner, scope)?), Kind::Bool))
            }
            Expr::InList { expr, list, negated } => self.in_list(expr, list, *negated, scope),
            Expr::InSubquery { expr, subquery, negated } => {
                let left = self.expression(expr, scope)?;
                let query = self.query_in(subquery, Some(scope))?;
                let [column] = query.columns.as_slice() else {
                    return Err(SqlError::analyzing("Subquery must return a single column when used in IN"));
                };
                let kind = super::coerce::comparable(left.kind, column.kind);
                let inner = coerce(&Bound::new("q.c", column.kind), kind);
                let not = if *negated { "NOT " } else { "" };
                let left = collated(&coerce(&left, kind), kind);
                let sql = format!("({left} {not}IN (WITH q (c) AS ({}) SELECT {inner} FROM q))", query.sql);
                Ok(Bound::new(sql, Kind::Bool))
            }
            Expr::Between { expr, negated, low, high } => {
                let value = self.expression(expr, scope)?;
                let low = self.expression(low, scope)?;
                let high = self.expression(high, scope)?;
                let above = comparison(&value, ">=", &low);
                let below = comparison(&value, "<=", &high);
                let not = if *negated { "NOT " } else { "" };
                Ok(Bound::new(format!("({not}({above} AND {below}))"), Kind::Bool))
            }
            Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                let escape = match escape_char {
                    Some(escape) => self.text(escape, scope)?,
                    None => "'\\'".to_owned(),
                };
                let (value, pattern) = (self.text(expr, scope)?, self.text(pattern, scope)?);
                let not = if *negated { "NOT " } else { "" };
                let fold = u8::from(self.like_ignores_case);
                Ok(Bound::new(format!("({not}sr_like({value}, {pattern}, {escape}, {fold}))"), Kind::Bool))
            }
            Expr::Case { operand, conditions, else_result, .. } => {
                let operand = operand.as_ref().map(|operand| self.expression(operand, scope)).transpose()?;
                let mut whens = Vec::new();
                let mut results = Vec::new();
                for case in conditions {
                    whens.push(match &operand {
                        Some(operand) => {
                            let value = self.expression(&case.condition, scope)?;
                            comparison(operand, "=", &value)
                        }
                        None => self.condition(&case.condition, scope)?,
                    });
                    results.push(self.expression(&case.result, scope)?);
                }
                results.push(match else_result {
                    Some(result) => self.expression(result, scope)?,
                    None => Bound::new("NULL", Kind::Null),
                });
                Ok(case(&whens, &results))
            }
            Expr::Cast { expr, data_type, .. } => {
                let value = self.expression(expr, scope)?;
                cast(&value, data_type)
            }
            Expr::Convert { expr, data_type: Some(data_type), .. } => {
                let value = self.expression(expr, scope)?;
                cast(&value, data_type)
            }
            Expr::TypedString(typed) => cast(&literal(&typed.value)?, &typed.data_type),
            Expr::Exists { subquery, negated } => {
                let query = self.query_in(subquery, Some(scope))?;
                let not = if *negated { "NOT " } else { "" };
                Ok(Bound::new(format!("({not}EXISTS ({}))", query.sql), Kind::Bool))
            }
            Expr::Subquery(subquery) => {
                let query = self.query_in(subquery, Some(scope))?;
                let [column] = query.columns.as_slice() else {
                    return Err(SqlError::analyzing("Scalar subquery must return a single column"));
                };
                Ok(Bound::new(format!("({})", query.sql), column.kind))
            }
            Expr::Function(function) => self.call(function, scope),
            Expr::Array(array) if !array.named => self.array(&array.elem, scope),
            Expr::Substring { expr, substring_from, substring_for, .. } => {
                let mut arguments = vec![self.expression(expr, scope)?];
                for part in [substring_from, substring_for].into_iter().flatten() {
                    arguments.push(self.expression(part, scope)?);
                }
                self.named("substring", &arguments)
            }
            Expr::Trim { trim_where, trim_what, expr, trim_characters: None } => {
                let value = self.text(expr, scope)?;
                let what = match trim_what {
                    Some(what) => self.text(what, scope)?,
                    None => "' '".to_owned(),
                };
                let function = match trim_where {
                    None | Some(TrimWhereField::Both) => "trim",
                    Some(TrimWhereField::Leading) => "ltrim",
                    Some(TrimWhereField::Trailing) => "rtrim",
                };
                Ok(Bound::new(format!("{function}({value}, {what})"), Kind::Text))
            }
            Expr::Ceil { expr, field: CeilFloorKind::DateTimeField(_) } => {
                let value = self.expression(expr, scope)?;
                self.named("ceil", &[value])
            }
            Expr::Floor { expr, field: CeilFloorKind::DateTimeField(_) } => {
                let value = self.expression(expr, scope)?;
                self.named("floor", &[value])
            }
            Expr::Position { expr, r#in } => {
                let arguments = [self.expression(expr, scope)?, self.expression(r#in, scope)?];
                self.named("locate", &arguments)
            }
            Expr::Extract { field, expr, .. } => {
                let value = self.expression(expr, scope)?;
                self.named(&field.to_string().to_lowercase(), &[value])
            }
            other => Err(SqlError::analyzing(format!("Expression {other} is not supported by this server"))),
        }
    }

    /// An expression as text.
    pub(super) fn text(&mut self, expr: &Expr, scope: &Scope<'_>) -> SqlResult<String> {
        let bound = self.expression(expr, scope)?;
        Ok(coerce(&bound, Kind::Text))
    }

    fn identifier(&mut self, parts: &[Ident], scope: &Scope<'_>) -> SqlResult<Bound> {
        let first = parts.first().map(|part| part.value.as_str()).unwrap_or_default();
        if let Some(name) = first.strip_prefix("@@") {
            // `@@session.name`, `@@global.name`, `@@name`
            let name = match parts {
                [_, name] => name.value.as_str(),
                _ => name,
            };
            return variable(self.session, name)
                .map(|(value, number)| match number {
                    true => Bound::new(value, Kind::Int(8)),
                    false => Bound::new(quote_text(&value), Kind::Text),
                })
                .ok_or_else(|| SqlError::analyzing(format!("Unknown system variable '{name}'")));
        }
        if first.starts_with('@') {
            return Ok(Bound::new("NULL", Kind::Null));
        }
        match (scope.resolve(parts), parts) {
            (Ok(found), _) => Ok(found),
            (Err(error), [name]) => match scope.alias(&name.value) {
                Some((_, bound)) => Ok(bound.clone()),
                None => Err(error),
            },
            (Err(error), _) => Err(error),
        }
    }

    fn unary(&mut self, op: UnaryOperator, expr: &Expr, scope: &Scope<'_>) -> SqlResult<Bound> {
        if op == UnaryOperator::Not || op == UnaryOperator::BangNot {
            return Ok(Bound::new(format!("(NOT {})", self.condition(expr, scope)?), Kind::Bool));
        }
        // A sign before a literal belongs to it: -9223372036854775808 is a BIGINT.
        if op == UnaryOperator::Minus
            && let Expr::Value(value) = expr
            && let Value::Number(text, _) = &value.value
        {
            return number(&format!("-{text}"));
        }
        let value = self.expression(expr, scope)?;
        match op {
            UnaryOperator::Plus => Ok(value),
            UnaryOperator::Minus if value.kind.is_exact_text() => {
                Ok(Bound::new(format!("sr_sub('0', {})", value.sql), value.kind))
            }
            UnaryOperator::Minus => {
                let kind = if value.kind.is_number() { value.kind } else { Kind::Double };
                Ok(Bound::new(format!("(- {})", coerce(&value, kind)), kind))
            }
            UnaryOperator::BitwiseNot => Ok(Bound::new(format!("(~ {})", coerce(&value, Kind::Int(8))), Kind::Int(8))),
            _ => Err(SqlError::analyzing(format!("Operator {op} is not supported"))),
        }
    }

    fn binary(&mut self, left: &Expr, op: &BinaryOperator, right: &Expr, scope: &Scope<'_>) -> SqlResult<Bound> {
        use BinaryOperator::*;
        if let And | Or | Xor | StringConcat = op {
            let (left, right) = (self.condition(left, scope)?, self.condition(right, scope)?);
            let sql = match op {
                And => format!("({left} AND {right})"),
                Xor => format!("(({left} <> 0) <> ({right} <> 0))"),
                // `||` is OR, as long as sql_mode does not say PIPES_AS_CONCAT.
                _ => format!("({left} OR {right})"),
            };
            return Ok(Bound::new(sql, Kind::Bool));
        }
        if let (Plus | Minus, Expr::Interval(interval)) = (op, right) {
            let value = self.expression(left, scope)?;
            return self.add_interval(&value, interval, *op == Minus, scope);
        }
        let left = self.expression(left, scope)?;
        let right = self.expression(right, scope)?;
        let bits = |symbol: &str| {
            let (left, right) = (coerce(&left, Kind::Int(8)), coerce(&right, Kind::Int(8)));
            Ok(Bound::new(format!("({left} {symbol} {right})"), Kind::Int(8)))
        };
        match op {
            Eq => Ok(Bound::new(comparison(&left, "=", &right), Kind::Bool)),
            NotEq => Ok(Bound::new(comparison(&left, "<>", &right), Kind::Bool)),
            Lt => Ok(Bound::new(comparison(&left, "<", &right), Kind::Bool)),
            LtEq => Ok(Bound::new(comparison(&left, "<=", &right), Kind::Bool)),
            Gt => Ok(Bound::new(comparison(&left, ">", &right), Kind::Bool)),
            GtEq => Ok(Bound::new(comparison(&left, ">=", &right), Kind::Bool)),
            Spaceship => Ok(Bound::new(comparison(&left, "IS", &right), Kind::Bool)),
            Plus | Minus | Multiply | Divide | Modulo | MyIntegerDivide => Ok(arithmetic(&left, op, &right)),
            BitwiseAnd => bits("&"),
            BitwiseOr => bits("|"),
            BitwiseXor => {
                let (left, right) = (coerce(&left, Kind::Int(8)), coerce(&right, Kind::Int(8)));
                Ok(Bound::new(format!("(({left} | {right}) - ({left} & {right}))"), Kind::Int(8)))
            }
            Arrow => Ok(Bound::new(format!("sr_json_query({}, {})", left.sql, right.sql), Kind::Json)),
            other => Err(SqlError::analyzing(format!("Operator {other} is not supported"))),
        }
    }

    fn in_list(&mut self, expr: &Expr, list: &[Expr], negated: bool, scope: &Scope<'_>) -> SqlResult<Bound> {
        let left = self.expression(expr, scope)?;
        let mut kind = left.kind;
        let mut items = Vec::new();
        for item in list {
            let item = self.expression(item, scope)?;
            if fit_literal(&item, left.kind).is_none() {
                kind = super::coerce::comparable(kind, item.kind);
            }
            items.push(item);
        }
        let items: Vec<String> =
            items.iter().map(|item| fit_literal(item, kind).unwrap_or_else(|| coerce(item, kind))).collect();
        let not = if negated { "NOT " } else { "" };
        let left = collated(&coerce(&left, kind), kind);
        Ok(Bound::new(format!("({left} {not}IN ({}))", items.join(", ")), Kind::Bool))
    }
}

/// A comparison in the kind both sides share.
pub(super) fn comparison(left: &Bound, op: &str, right: &Bound) -> String {
    let (left, right, kind) = compared(left, right);
    format!("({} {op} {right})", collated(&left, kind))
}

/// CASE with its branches in one kind; one result more than conditions.
pub(super) fn case(whens: &[String], results: &[Bound]) -> Bound {
    let kind = results.iter().fold(Kind::Null, |kind, result| common(kind, result.kind));
    let mut sql = String::from("CASE");
    for (when, result) in whens.iter().zip(results) {
        sql.push_str(&format!(" WHEN {when} THEN {}", coerce(result, kind)));
    }
    if let Some(last) = results.get(whens.len()) {
        sql.push_str(&format!(" ELSE {}", coerce(last, kind)));
    }
    sql.push_str(" END");
    Bound::new(format!("({sql})"), kind)
}

/// `+ - * / % DIV` by the kinds of the operands: exact where no FLOAT or DOUBLE takes part.
pub(super) fn arithmetic(left: &Bound, op: &BinaryOperator, right: &Bound) -> Bound {
    use BinaryOperator::*;
    let as_number = |kind: Kind| if kind.is_number() || kind == Kind::Null { kind } else { Kind::Double };
    let (a, b) = (as_number(left.kind), as_number(right.kind));
    let both = |kind: Kind| (coerce(left, kind), coerce(right, kind));
    if a.is_real() || b.is_real() {
        let (x, y) = both(Kind::Double);
        return match op {
            Plus => Bound::new(format!("({x} + {y})"), Kind::Double),
            Minus => Bound::new(format!("({x} - {y})"), Kind::Double),
            Multiply => Bound::new(format!("({x} * {y})"), Kind::Double),
            Modulo => Bound::new(format!("sr_fmod({x}, {y})"), Kind::Double),
            MyIntegerDivide => Bound::new(format!("CAST({x} / {y} AS INTEGER)"), Kind::Int(8)),
            _ => Bound::new(format!("({x} / {y})"), Kind::Double),
        };
    }
    if !a.is_exact_text() && !b.is_exact_text() {
        let (x, y) = (&left.sql, &right.sql);
        return match op {
            Plus => Bound::new(format!("({x} + {y})"), Kind::Int(8)),
            Minus => Bound::new(format!("({x} - {y})"), Kind::Int(8)),
            Multiply => Bound::new(format!("({x} * {y})"), Kind::Int(8)),
            Modulo => Bound::new(format!("({x} % {y})"), Kind::Int(8)),
            MyIntegerDivide => Bound::new(format!("({x} / {y})"), Kind::Int(8)),
            _ => Bound::new(format!("(CAST({x} AS REAL) / {y})"), Kind::Double),
        };
    }
    let scale = |kind: Kind| match kind {
        Kind::Decimal(scale) => scale,
        _ => 0,
    };
    let (x, y) = (&left.sql, &right.sql);
    let (s, t) = (scale(a), scale(b));
    let large = !matches!(a, Kind::Decimal(_)) && !matches!(b, Kind::Decimal(_));
    let exact = |scale: u8| if large { Kind::LargeInt } else { Kind::Decimal(scale) };
    match op {
        Plus => Bound::new(format!("sr_add({x}, {y})"), exact(s.max(t))),
        Minus => Bound::new(format!("sr_sub({x}, {y})"), exact(s.max(t))),
        Multiply => Bound::new(format!("sr_mul({x}, {y})"), exact(s.saturating_add(t))),
        Modulo => Bound::new(format!("sr_mod({x}, {y})"), exact(s.max(t))),
        MyIntegerDivide => Bound::new(format!("sr_div({x}, {y}, 0)"), Kind::LargeInt),
        _ => {
            // The dividend's scale and six more digits, as StarRocks has it.
            let scale = if s <= 6 { s + 6 } else { s.max(12) };
            Bound::new(format!("sr_div({x}, {y}, {scale})"), Kind::Decimal(scale))
        }
    }
}

pub(super) fn literal(value: &ValueWithSpan) -> SqlResult<Bound> {
    match &value.value {
        Value::Number(text, _) => number(text),
        Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) | Value::NationalStringLiteral(text) => {
            Ok(Bound { sql: quote_text(text), kind: Kind::Text, literal: Some(text.clone()) })
        }
        Value::HexStringLiteral(hex) => Ok(Bound::new(format!("X'{hex}'"), Kind::Bytes)),
        Value::Boolean(value) => Ok(Bound::new(if *value { "1" } else { "0" }, Kind::Bool)),
        Value::Null => Ok(Bound::new("NULL", Kind::Null)),
        other => Err(SqlError::analyzing(format!("Literal {other} is not supported"))),
    }
}

fn number(text: &str) -> SqlResult<Bound> {
    if text.contains(['e', 'E']) {
        return Ok(Bound::new(format!("CAST('{text}' AS REAL)"), Kind::Double));
    }
    if let Some((_, fraction)) = text.split_once('.') {
        let scale = u8::try_from(fraction.len()).unwrap_or(u8::MAX);
        let canonical = text.replacen("-.", "-0.", 1);
        let canonical = if canonical.starts_with('.') { format!("0{canonical}") } else { canonical };
        return Ok(Bound::new(format!("'{canonical}'"), Kind::Decimal(scale)));
    }
    Ok(match text.parse::<i64>() {
        Ok(number) if i8::try_from(number).is_ok() => Bound::new(text, Kind::Int(1)),
        Ok(number) if i16::try_from(number).is_ok() => Bound::new(text, Kind::Int(2)),
        Ok(number) if i32::try_from(number).is_ok() => Bound::new(text, Kind::Int(4)),
        // SQLite reads its smallest integer as a REAL when it is written out.
        Ok(i64::MIN) => Bound::new("(-9223372036854775807 - 1)", Kind::Int(8)),
        Ok(_) => Bound::new(text, Kind::Int(8)),
        Err(_) => Bound::new(format!("'{text}'"), Kind::LargeInt),
    })
}

fn cast(value: &Bound, data_type: &DataType) -> SqlResult<Bound> {
    if let DataType::Array(ArrayElemTypeDef::AngleBracket(element)) = data_type {
        return cast_to_array(value, element);
    }
    let ty = type_of(data_type)?;
    let sql = match &ty {
        // The range is the type's own, so a narrower integer is checked too.
        ColumnType::Decimal { precision, scale } => format!("sr_to_decimal({}, {precision}, {scale})", value.sql),
        ColumnType::TinyInt | ColumnType::SmallInt | ColumnType::Int | ColumnType::BigInt => {
            let Kind::Int(width) = Kind::of(&ty) else { return Err(SqlError::analyzing("CAST")) };
            format!("sr_to_int({}, {width})", value.sql)
        }
        _ => coerce(&Bound { literal: None, ..value.clone() }, Kind::of(&ty)),
    };
    Ok(Bound::new(sql, Kind::of(&ty)))
}

/// A type that is no array, by the names that CAST takes.
pub(super) fn type_of(data_type: &DataType) -> SqlResult<ColumnType> {
    let text = data_type.to_string();
    let mut cursor = Cursor::new(&text)?;
    let name = cursor.name_of_type()?;
    let mut arguments = Vec::new();
    if cursor.take_token(&sqlparser::tokenizer::Token::LParen) {
        arguments.push(cursor.number()?);
        if cursor.take_token(&sqlparser::tokenizer::Token::Comma) {
            arguments.push(cursor.number()?);
        }
    }
    Ok(match name.to_ascii_uppercase().as_str() {
        "SIGNED" => ColumnType::BigInt,
        "UNSIGNED" => ColumnType::LargeInt,
        "CHAR" | "VARCHAR" | "STRING" | "TEXT" => ColumnType::Varchar(1),
        "DATETIME" | "TIMESTAMP" => ColumnType::DateTime,
        "BINARY" | "VARBINARY" => ColumnType::Varbinary(1),
        _ => {
            let newest = crate::target::Version { major: 4, minor: 0, patch: 0 };
            ColumnType::parse(&name, &arguments, newest).map_err(SqlError::analyzing)?
        }
    })
}
