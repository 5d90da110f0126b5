//! From rows to loads.
//!
//! [`batch`] keeps the last image per key, undecoded; [`encode`] writes what is left into bodies;
//! [`xa`] keeps the rows of XA transactions until they are committed; [`flush`] closes epochs; [`commit`] brings an epoch
//! into the target and moves the checkpoint, [`together`] makes it visible whole; [`dead_letter`] says what becomes of rows
//! that the target refuses; [`row_hash`] numbers the rows of tables without a key; [`change`] follows statements that change
//! the tables; [`join`] copies tables beside the stream; [`lag`] lets the others go on while the
//! target alters one; [`pace`] gives a target that has no room longer pauses.

pub mod batch;
pub(crate) mod body;
pub mod change;
pub mod commit;
pub mod correction;
pub mod dead_letter;
pub mod encode;
pub mod flush;
mod isolate;
pub(crate) mod join;
mod key_only;
mod label;
pub mod lag;
pub mod pace;
mod retry;
pub mod row_hash;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod scripted;
pub(crate) mod selected;
mod together;
pub(crate) mod unwritable;
pub mod xa;

pub use label::load_label;
