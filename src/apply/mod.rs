//! From rows to loads.
//!
//! [`batch`] keeps the last image per key, undecoded; [`encode`] writes what is left into bodies;
//! [`flush`] closes epochs; [`commit`] brings an epoch into the target and moves the checkpoint, [`together`] makes it
//! visible whole.

pub mod batch;
pub mod commit;
pub mod encode;
pub mod flush;
mod label;
#[cfg(test)]
mod sample;
mod together;

pub use label::load_label;
