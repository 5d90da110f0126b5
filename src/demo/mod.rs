//! `towpath demo`: a scratch MySQL with a small shop, a writer that keeps it busy, and the proof ([`crate::verify`]) that
//! the target holds the same.

mod run;
pub mod server;
pub mod shop;
pub mod writer;

pub use run::{Options, run};
