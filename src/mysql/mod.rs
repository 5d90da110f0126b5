//! Everything that speaks to the source.

pub mod binlog;
pub mod catalog;
pub mod connect;
pub mod ddl;
mod dump;
pub mod history;
pub mod position;
pub mod preflight;
pub mod snapshot;
pub mod value;
pub mod wire;
