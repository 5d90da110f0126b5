//! From rows to loads.
//!
//! [`batch`] keeps the last image per key, undecoded; [`encode`] writes what is left into bodies;
//! [`flush`] closes epochs; [`commit`] brings an epoch into the target and moves the checkpoint; [`pace`] gives a target
//! that has no room longer pauses.

pub mod batch;
pub mod commit;
pub mod encode;
pub mod flush;
mod label;
pub mod pace;
#[cfg(test)]
mod sample;

pub use label::load_label;
