//! The rows that exist: read in chunks, without a lock, while the application goes on writing.
//!
//! # Why nothing is lost
//! ```text
//! binlog  ────P────────────────────────────────────E──────────────▶
//!             │ position recorded                   │ present end when the copy is done
//!             └── chunk ── chunk ── chunk ──────────┘
//! ```
//! The binlog position P is recorded first. Then each chunk is one SELECT, and so a consistent picture of its key range
//! at some moment after P. Afterwards the binlog is applied from P on. Take any row:
//!
//! - Its last change lies before P: every chunk shows it as it is.
//! - It changes after P: the chunk showed an older or the newer state, or did not show it at all, and the binlog
//!   holds the change with the whole row. Applying it again to a row that has it already changes nothing,
//!   because an insert or update writes the whole row by its key and a delete removes the key.
//! - It was seen in a chunk and deleted later, or its key changed: the delete is in the binlog behind P.
//! - It moved by a key change from a range not yet read into one read before, and was seen in neither: the binlog
//!   has the whole row under its new key.
//!
//! So each table equals the source once the binlog has been applied up to E, and before that a reader of the
//! target may see a mixture, table by table. Chunks need no common moment, no lock and no transaction across them; any
//! of them can be read again, alone, at any time before E is passed.
//!
//! # Chunks
//! A chunk is a range of the key, `lower < key <= upper`, found by walking the index `n` rows at a time
//! (`ORDER BY key LIMIT 1 OFFSET n-1`), so that each has about the same number of rows whatever the keys look like,
//! and several can be read at once while the walk goes on ahead. (Where the key begins with a whole number
//! or with text, the server's estimates take the walk's place: [`spread`].) Ranges touch, and the first and the last are open,
//! so every key falls into exactly one, also keys that come later, and a bound whose row has been deleted is
//! still a bound.
//!
//! A chunk and its bounds are serialized into the state store. After a crash the planner goes on behind the last chunk
//! it planned, and only chunks that were not finished are read again.
//!
//! # Tables without a key
//! Applying a change of such a table twice counts it twice, so its copy has to show it as it was at one place of the log,
//! and the log counts from there ([`at_one_place`]). It is one chunk without bounds, read in one transaction; after a failure
//! or a crash it is read again from the start, at another place, into an empty table.

mod chunk;
mod key;
mod read;
mod row;
mod scale;
mod spread;
mod table;
mod whole;

pub use chunk::{Chunk, ChunkPlanner};
pub use key::Key;
pub use read::read_chunk;
pub(crate) use read::read_rows;
pub use row::{SnapshotPlan, select_expression};
pub use table::{SnapshotTable, prepare_session};
pub use whole::at_one_place;
pub(crate) use whole::may_lock;
