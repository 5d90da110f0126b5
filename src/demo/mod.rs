//! `towpath demo`: a scratch MySQL with a small shop, a writer that keeps it busy, and an independent proof that the
//! target holds the same.

pub mod proof;
mod run;
pub mod server;
pub mod shop;
pub mod writer;

pub use run::{Options, run};
