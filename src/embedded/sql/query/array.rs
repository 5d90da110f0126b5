//! Arrays in expressions: `[1.5, NULL]`, and what is cast to `ARRAY<…>`.
//!
//! An array is kept as JSON text ([`crate::embedded::value`]); the column that takes it gives its elements their canonical form.

use sqlparser::ast::{ArrayElemTypeDef, DataType, Expr};

use super::super::answer::{SqlError, SqlResult};
use super::coerce::{coerce, common};
use super::expression::type_of;
use super::scope::{Binder, Scope};
use super::{Bound, Kind};
use crate::embedded::store::quote_text;
use crate::embedded::types::ColumnType;

impl Binder<'_> {
    /// The elements share a type.
    pub(super) fn array(&mut self, elements: &[Expr], scope: &Scope<'_>) -> SqlResult<Bound> {
        let elements =
            elements.iter().map(|element| self.expression(element, scope)).collect::<SqlResult<Vec<Bound>>>()?;
        let nested = elements.iter().filter(|element| element.kind == Kind::Array).count();
        let plain = elements.iter().any(|element| !matches!(element.kind, Kind::Array | Kind::Null));
        if nested > 0 && plain {
            return Err(SqlError::analyzing("An array's elements must be all arrays or none"));
        }
        let kind = elements.iter().fold(Kind::Null, |kind, element| common(kind, element.kind));
        let items: Vec<String> = elements.iter().map(|element| item(element, kind)).collect();
        Ok(Bound::new(format!("json_array({})", items.join(", ")), Kind::Array))
    }
}

/// An element as SQLite's `json_array` takes it: a number without losing a digit.
fn item(element: &Bound, kind: Kind) -> String {
    match kind {
        Kind::Null | Kind::Bool | Kind::Int(_) => coerce(element, kind),
        Kind::LargeInt | Kind::Decimal(_) | Kind::Array => format!("json({})", coerce(element, kind)),
        Kind::Float | Kind::Double => {
            let number = Bound::new(coerce(element, kind), kind);
            format!("json({})", coerce(&number, Kind::Text))
        }
        Kind::Text | Kind::Bytes | Kind::Date | Kind::DateTime | Kind::Json => coerce(element, Kind::Text),
    }
}

/// A text or another array as an array of `element`; NULL where it is none.
pub(super) fn cast_to_array(value: &Bound, element: &DataType) -> SqlResult<Bound> {
    if !matches!(value.kind, Kind::Null | Kind::Text | Kind::Json | Kind::Array) {
        return Err(SqlError::analyzing(format!("Cannot cast '{}' to ARRAY<{element}>", value.sql)));
    }
    let ty = ColumnType::Array(Box::new(element_type(element)?));
    let ty = serde_json::to_string(&ty).map_err(|error| SqlError::analyzing(error.to_string()))?;
    Ok(Bound::new(format!("sr_to_array({}, {})", value.sql, quote_text(&ty)), Kind::Array))
}

fn element_type(element: &DataType) -> SqlResult<ColumnType> {
    match element {
        DataType::Array(ArrayElemTypeDef::AngleBracket(inner)) => Ok(ColumnType::Array(Box::new(element_type(inner)?))),
        plain => type_of(plain),
    }
}
