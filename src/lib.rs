//! Towpath replicates MySQL and MariaDB into StarRocks in real time: it migrates the schema, copies the
//! rows that exist, follows the binlog, and lands every change exactly once.
//!
//! ```text
//! MySQL ──dump thread──▶ mysql::binlog ──▶ ring ──▶ apply::batch ──▶ apply::encode ──▶ target ──▶ StarRocks
//!                        reader thread     bounded   last write       CSV / JSON        Stream Load
//! MySQL ──SELECT chunks─▶ mysql::snapshot ─▶ ring ──▶ (encode)        per key wins      one label a load
//!                                                     │
//!                                       state store ◀─┘ intent before the loads, checkpoint after them
//! ```
//!
//! It goes one way: a stage knows the next one only by the type it hands over, and nothing calls back up.
//!
//! # Where to begin
//! - [`job::run`] joins the stages; read `job/mod.rs`, then `job/full.rs` and `job/incremental.rs`.
//! - [`mysql::wire`] is the connection over which the log and tables' rows come, [`mysql::binlog`] turns the log into
//!   [`mysql::binlog::Slot`]s, undecoded. [`mysql::snapshot`] explains why a copy without a lock loses nothing.
//! - [`mysql::ddl`] reads statements on tables, clause by clause; what it does not understand stops the job.
//! - [`apply::batch`] keeps the last image per key, [`apply::flush`] closes epochs, [`apply::commit`] brings one into the
//!   target, [`apply::change`] follows statements that change tables, [`apply::lag`] lets the other tables go on
//!   meanwhile. [`apply::dead_letter`] says what becomes of refused
//!   rows, [`apply::xa`] keeps what is prepared. [`apply::row_hash`] gives tables without a key one, and says why no row is
//!   lost or doubled by it. [`apply::correction`] sends corrections in order with the stream. [`state`] holds what a restart needs.
//! - `apply::join` explains how a table is copied while the stream goes on, and takes the place of the one that served.
//! - [`target`] is a contract first: `load` returns only when a load's fate is known.
//! - [`verify`] compares both sides, while the job runs or not, by code that shares nothing with what carries the data;
//!   `job::schedule` does so by the clock.
//! - [`live`] holds what `towpath set` changes while a job runs.
//! - [`embedded`] is a StarRocks-compatible server on SQLite, for demos and tests; [`demo`] shows all of it at work.
//! - [`metrics`] and [`http`] show a running job; [`step`] names the places where tests hold a job and kill it.
//!
//! # Words
//! A *position* lies between two transactions. An *epoch* is what goes out together: the rows between two positions,
//! merged by key. The *intent* is an epoch that may be half-way in the target, the *checkpoint* a position before which
//! everything is in. A *label* names a load at the target, which takes each label at most once.

pub mod apply;
pub mod cli;
pub mod config;
pub mod demo;
pub mod embedded;
pub mod error;
#[cfg(test)]
#[path = "../tests/fuzz/machine.rs"]
mod fuzz_machine;
pub mod http;
pub mod job;
pub mod live;
pub mod metrics;
pub mod mysql;
mod output;
pub mod progress;
pub mod ring;
pub mod schema;
pub mod state;
pub mod step;
pub mod target;
pub mod verify;

pub use error::{Error, Result};
