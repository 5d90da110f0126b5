//! Everything that speaks to the source.

pub mod catalog;
pub mod connect;
pub mod position;
pub mod preflight;
