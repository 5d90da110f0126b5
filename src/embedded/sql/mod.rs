//! The MySQL port: StarRocks' SQL on top of SQLite.
//!
//! ```text
//! connection ──▶ session ──▶ statement, parse_table ──▶ ddl ──▶ create, alter, job
//!  protocol       one user        │ our grammar      └▶ show, information_schema ─┐ made-up tables
//!                                 └▶ dml, query: sqlparser's tree ──▶ SQLite's SQL ◀┘ ──▶ rows
//! ```
//!
//! DDL is read by a small parser over sqlparser's tokenizer, since sqlparser does not know StarRocks' grammar.
//! A SELECT is read by sqlparser, bound against the catalogue so that every expression has a type, and printed
//! as SQLite's SQL. Types decide where exact decimal functions and the collation by value are needed.

mod alter;
mod answer;
mod builtin;
mod connection;
mod create;
mod ddl;
mod dml;
mod information_schema;
mod job;
mod packets;
mod parse_table;
mod query;
mod rebuild;
mod session;
mod show;
mod statement;
mod tokens;

pub(super) use builtin::register;
pub(super) use connection::serve;
pub(super) use job::Jobs;
