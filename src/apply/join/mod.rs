//! A table is copied while the stream goes on: one that comes into the job, or one that is copied anew.
//!
//! ```text
//! stream   ────F──────────────────────────────────────X─────▶   position
//!              │ from here on the table's changed      │ the chunk goes in, without the rows
//!              │ keys are noted (`Watch`)              │ whose keys have changed since F
//! copier       └─▶ L ─▶ SELECT chunk ─▶ H ─────────────┘
//! ```
//!
//! The copy's table is made at a place of the stream, between two epochs, and gets the stream's rows from there on, like any
//! table: changes of rows that are not copied yet do no harm, for the copy brings each of them whole. What is left are the
//! rows that are there already, and these come in chunks, in key order, one at a time:
//!
//! 1. The flusher, at place F, begins to note the keys that the table's events change.
//! 2. The copier asks the source for its position L until L covers F, then reads the chunk with one SELECT, which shows one
//!    moment m, then asks for the position H.
//! 3. When the stream has come to X, H or behind it, the epoch is closed. Once it is in, the chunk's rows whose keys were not
//!    changed between F and X are sent, as upserts, and the chunk is written down as done.
//!
//! # Why each row is right at X
//! All that lies before F is before L and so is seen by the SELECT. (A position that the dump thread has passed may not yet
//! be seen: the log is written before the engine commits. Hence the question for L, and not F alone.) Take a key:
//!
//! - No event of the stream between F and X changed it. Then the source's row has not changed between F and m, for H covers
//!   all that m shows, and X covers H. What the chunk shows is the row at F, and at X; if it shows none, there is none, and
//!   the target has none but what the stream left.
//! - An event between F and X changed it. The stream has the whole row as it is at X, or its delete. The chunk's row may be
//!   older, and is dropped.
//!
//! So the stream's rows and a chunk's never disagree, and when the last chunk is in, the table is the source's at that place,
//! like every other.
//!
//! H may lack a transaction that m shows: one whose engine commit was seen and whose GTID is not counted yet. Its rows come
//! again behind X. Writing a row again that is there already changes nothing, so at worst a row is newer than X for a
//! moment.
//!
//! **XA transactions.** Rows that are prepared are seen by no SELECT. They enter the stream, and the noted keys, with their
//! commit, whenever that is. For a table that is new to the job the rows prepared before were not kept: its copy waits until
//! what was prepared when the run began is decided.
//!
//! **Partial images.** An UPDATE may log only some columns (`binlog_row_image`). Then the stream does not have the whole row,
//! and a chunk's row whose key was changed so can be neither dropped nor kept. Such a chunk is read again while the
//! stream stands still at X: what it shows then is not older than X, all of it is sent, and what it shows of later changes
//! comes again behind X, column by column, in order, and ends as it should.
//!
//! **A statement** that changes the table's definition, or empties it, while it is being copied: the copy begins anew with
//! the new definition. Every chunk belongs to one copy, by its number, and goes in only if the stream has met no such
//! statement up to X, so a chunk is never read with one definition and written with another. A SELECT that fails because
//! the source is further than the stream is no failure until the stream has come to that place.
//!
//! # Crashes
//! The epoch up to X is checkpointed before the chunk's loads begin, and their labels are written down before they are sent.
//! Whoever starts again first waits for the fate of these loads ([`super::commit::settle`]). Those that came in
//! brought rows that were right at X, and the stream goes on from X: nothing has to be taken back. The chunk is not
//! recorded, so it is read again, with a new F.
//!
//! # Taking the other's place
//! A table that is copied anew is copied beside the one that serves, which is left alone until all chunks are in. Then, at a
//! place between two epochs, they exchange their names, the old one is dropped, and definitions and list of copies change
//! in one transaction. An exchange done twice is undone, so the copy's table is told by a mark of the target, which
//! is written down before the first try ([`swap`]).

mod errand;
mod key;
mod load;
pub(crate) mod swap;
mod watch;

pub(crate) use errand::Errands;
pub(crate) use errand::{Begin, Begun, Errand, Finish, Loaded, Loading, Settle, Watched, Watching};
pub(crate) use key::KeyHasher;
pub(crate) use load::{Copied, Task};
pub(crate) use watch::CopiedRow;
pub(super) use watch::{Left, Watch};

use crate::schema::TableName;

/// The copy's name while another table serves.
pub(crate) fn beside(table: &TableName) -> TableName {
    TableName::new(&table.database, format!("{}__towpath_new", table.table))
}
