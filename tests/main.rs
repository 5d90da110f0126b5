//! End-to-end and conformance tests in one binary, so that they share servers and link once.

// Helpers are no #[test] functions themselves, and may fail by panicking as those do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod atomic;
mod binlog_reader;
mod crash;
mod dead_letters;
mod demo_parts;
mod embedded_load;
mod embedded_sql;
mod end_to_end;
mod faults;
mod fuzz;
mod harness;
mod history;
mod join;
mod large_events;
mod live_settings;
mod metrics;
mod online_tools;
mod prometheus;
mod proxy;
mod random;
mod random_changes;
mod refusals;
mod reshape;
mod row_hash;
mod row_images;
mod schema_changes;
mod secrets;
mod servers;
mod snapshot_chunks;
mod source_catalog;
mod source_connect;
mod source_dump;
mod source_faults;
mod starrocks_client;
mod sysbench;
mod target_alter;
mod target_faults;
mod two_decoders;
mod values;
mod verify;
mod xa;
