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
//! # Tables without a key
//! Their rows cannot be looked up by a key, and a change applied twice counts twice ([`super::row_hash`]). So such a table is
//! read as it was at one place P, in one transaction, into a table of its own, and the log counts for it from P on.
//!
//! ```text
//! stream   ──F─────────S───────P────────────────────────E──────▶
//!            │ t's rows left out │ parked, those behind P │ numbered and sent; the copy is the table
//! copier               └ stands still: picture of P       │
//!                         └─ rows 0, 1, 2, … go in ───────┘
//! ```
//!
//! 1. The copy begins, or begins anew, at F: its table is emptied, its *attempt* is counted, and t's rows are left out.
//! 2. The stream stands still between two transactions, at S, until the source shows S and P is taken (milliseconds as a rule):
//!    so P is not before S, and what was left out is in the picture. From then on the place of a transaction tells whether
//!    its rows are in the picture ([`super::row_hash::CopiedAt`]); those that are not are parked in the state store, in
//!    the transactions that move the checkpoint, as those of a table that lags ([`super::lag`]).
//! 3. The rows of the picture go in as they come, numbered 0, 1, 2, …, part by part, while the stream goes on: nothing that the
//!    stream brings meets them.
//! 4. When they are all in, that is written down with P. When the stream has come to P, what is parked is numbered behind them and
//!    sent in order; then the copy takes its place.
//!
//! The picture's transaction keeps the definition as it was at P, which is compared with the stream's; a statement that
//! the stream meets before P begins the copy anew, like that of any table.
//!
//! A picture is gone with its connection, so what ends before 4 begins anew, at another place and under another attempt, which is
//! part of the loads' labels. From 4 on a restart goes on: rows that were parked are numbered with where the first of them
//! stands for their epoch's identity, and the end of what was numbered together is written down with the numbers, so they
//! are sent again as they were.
//!
//! Much may be parked (a limit of the disk's; then everything waits), for the SELECT takes as long as it takes. A transaction behind P that is too large for memory waits for the copy, as
//! for any table that lags; one that the picture shows has nothing to be parked and does not wait, else the two would wait for each
//! other. The table that serves meanwhile stays as it was: its rows have other numbers.
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
mod whole;

pub(crate) use errand::Errands;
pub(crate) use errand::{
    Begin, Begun, Errand, Finish, Loaded, Loading, PartRead, Settle, Stands, Still, Watched, Watching, Whole,
};
pub(crate) use key::KeyHasher;
pub(crate) use load::{Copied, Task};
pub(crate) use watch::CopiedRow;
pub(super) use watch::{Left, Watch};
pub(crate) use whole::WholeRows;

use crate::schema::TableName;

/// The copy's name while another table serves.
pub(crate) fn beside(table: &TableName) -> TableName {
    TableName::new(&table.database, format!("{}__towpath_new", table.table))
}
