//! SELECT: from sqlparser's tree to SQLite's SQL, with a type for every expression.
//!
//! SQLite knows no DECIMAL, no LARGEINT and no types of expressions. So every expression is bound first: its
//! columns are looked up in the catalogue and its [`Kind`] is worked out. Where a decimal takes part, the
//! arithmetic is printed as a call of an exact function and comparisons carry the collation `numeric_text`.
//! Relations get fresh names (`r1`, `r2`, …), so scoping rules are ours, not SQLite's.

mod array;
mod call;
mod coerce;
mod dates;
mod expression;
mod scope;
mod select;

use super::answer::OutputColumn;
use crate::embedded::types::ColumnType;

pub(super) use scope::{Binder, SHOWN};
pub(super) use select::name_parts;

/// What kind of value an expression gives; it decides SQLite's form of it and the type the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A bare NULL: fits everything.
    Null,
    Bool,
    /// Width in bytes: 1, 2, 4, 8.
    Int(u8),
    LargeInt,
    /// Its scale.
    Decimal(u8),
    Float,
    Double,
    Text,
    Bytes,
    Date,
    DateTime,
    Json,
    Array,
}

impl Kind {
    pub(super) fn of(ty: &ColumnType) -> Kind {
        match ty {
            ColumnType::Boolean => Kind::Bool,
            ColumnType::TinyInt => Kind::Int(1),
            ColumnType::SmallInt => Kind::Int(2),
            ColumnType::Int => Kind::Int(4),
            ColumnType::BigInt => Kind::Int(8),
            ColumnType::LargeInt => Kind::LargeInt,
            ColumnType::Float => Kind::Float,
            ColumnType::Double => Kind::Double,
            ColumnType::Decimal { scale, .. } => Kind::Decimal(*scale),
            ColumnType::Char(_) | ColumnType::Varchar(_) => Kind::Text,
            ColumnType::Varbinary(_) => Kind::Bytes,
            ColumnType::Date => Kind::Date,
            ColumnType::DateTime => Kind::DateTime,
            ColumnType::Json => Kind::Json,
            ColumnType::Array(_) => Kind::Array,
        }
    }

    /// An exact number kept as text, compared by the collation.
    fn is_exact_text(self) -> bool {
        matches!(self, Kind::LargeInt | Kind::Decimal(_))
    }

    fn is_integer(self) -> bool {
        matches!(self, Kind::Bool | Kind::Int(_))
    }

    fn is_real(self) -> bool {
        matches!(self, Kind::Float | Kind::Double)
    }

    fn is_number(self) -> bool {
        self.is_integer() || self.is_exact_text() || self.is_real()
    }
}

/// A bound expression.
#[derive(Debug, Clone, PartialEq)]
struct Bound {
    /// SQLite's text; it can stand anywhere without further brackets.
    sql: String,
    kind: Kind,
    /// The content of a string literal, which takes the type of what it meets.
    literal: Option<String>,
}

impl Bound {
    fn new(sql: impl Into<String>, kind: Kind) -> Bound {
        Bound { sql: sql.into(), kind, literal: None }
    }
}

/// A query ready to run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BoundQuery {
    pub(super) sql: String,
    pub(super) columns: Vec<OutputColumn>,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::answer::SqlResult;
    use super::super::session::{Session, parse_query};
    use super::super::statement::parse;
    use super::*;
    use crate::embedded::Options;
    use crate::embedded::engine::Engine;

    /// A session with `shop.t (id BIGINT, price DECIMAL(10,2), name VARCHAR, at DATETIME)`.
    fn with_session(work: impl FnOnce(&Session)) {
        let folder = tempfile::tempdir().unwrap();
        let engine = Arc::new(Engine::open(Options::new(folder.path())).unwrap());
        let mut session = Session { engine, user: "root".into(), database: None, id: 1, second: false };
        for sql in [
            "CREATE DATABASE shop",
            "USE shop",
            "CREATE TABLE t (id BIGINT NOT NULL, price DECIMAL(10,2), name VARCHAR(20), at DATETIME) PRIMARY KEY(id)
             DISTRIBUTED BY HASH(id) PROPERTIES('replication_num'='1')",
        ] {
            session.run(parse(sql).unwrap()).unwrap();
        }
        work(&session);
    }

    fn bind(session: &Session, sql: &str) -> SqlResult<BoundQuery> {
        Binder::new(session).query(&parse_query(sql)?)
    }

    fn kinds(session: &Session, sql: &str) -> Vec<Kind> {
        bind(session, sql).unwrap().columns.into_iter().map(|column| column.kind).collect()
    }

    #[test]
    fn names_become_storage_tables_and_comparisons_get_the_collation() {
        with_session(|session| {
            let id = session.engine.catalog.table("shop", "t").unwrap().id;
            let bound = bind(session, "SELECT NAME FROM shop.t x WHERE x.price > 5").unwrap();
            let expected = format!(
                "SELECT r1.\"name\" AS \"NAME\" FROM main.t{id} AS r1 \
                 WHERE (r1.\"price\" COLLATE numeric_text > sr_to_decimal(5, 76, 2))"
            );
            assert_eq!(bound.sql, expected);
        });
    }

    #[test]
    fn string_literals_take_the_type_of_what_they_meet() {
        with_session(|session| {
            let sql = bind(session, "SELECT 1 FROM t WHERE id = '5' AND at < '2024-01-01'").unwrap().sql;
            assert!(sql.contains("r1.\"id\" = 5") && sql.contains("< '2024-01-01 00:00:00'"), "{sql}");
        });
    }

    #[test]
    fn kinds_follow_the_operands() {
        with_session(|session| {
            let sql =
                "SELECT price + 1, price * price, price / 3, id / 2, id + 1, price * 1e0, SUM(price), AVG(id) FROM t";
            let expected = [
                Kind::Decimal(2),
                Kind::Decimal(4),
                Kind::Decimal(8),
                Kind::Double,
                Kind::Int(8),
                Kind::Double,
                Kind::Decimal(2),
                Kind::Double,
            ];
            assert_eq!(kinds(session, sql), expected);
            assert_eq!(kinds(session, "SELECT 1 UNION ALL SELECT 2.50"), [Kind::Decimal(2)]);
            assert_eq!(kinds(session, "SELECT IF(id > 1, price, 'x') FROM t"), [Kind::Text]);
        });
    }

    #[test]
    fn unknown_names_are_named_in_the_error() {
        with_session(|session| {
            for (sql, text) in [
                ("SELECT x FROM t", "Column 'x' cannot be resolved"),
                ("SELECT y.id FROM t", "Column 'y.id' cannot be resolved"),
                ("SELECT 1 FROM u", "Unknown table 'shop.u'"),
                ("SELECT 1 FROM nowhere.u", "Unknown database 'nowhere'"),
                ("SELECT soundex(name) FROM t", "No matching function with signature: soundex"),
            ] {
                let message = bind(session, sql).unwrap_err().message;
                assert!(message.contains(text), "{sql}: {message}");
            }
        });
    }
}
