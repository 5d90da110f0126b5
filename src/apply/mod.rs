//! From rows to loads.
//!
//! [`batch`] keeps the last image per key, undecoded; [`encode`] writes what is left into bodies;
//! [`xa`] keeps the rows of XA transactions until they are committed; [`flush`] closes epochs; [`commit`] brings an epoch into the target and moves the checkpoint.

pub mod batch;
pub mod commit;
pub mod encode;
pub mod flush;
mod label;
#[cfg(test)]
mod sample;
pub mod xa;

pub use label::load_label;
