//! Tables without a key (`noKeyTables: rowHash`).
//!
//! The target's key is made of a hash of the row ([`hash`]) and a copy number. Rows whose cells are equal at the target have
//! equal hashes and different numbers. They cannot be told apart, and need not be: an UPDATE or DELETE of one of several
//! equal rows may change whichever of them is at hand, and both sides have the same rows the same number of times. What has
//! to be exact is the count.
//!
//! # Numbers
//! A number is used once in a table's life. The rows of the copy have 0, 1, … in the order in which they are read, so no
//! map of hashes is needed, however large the table. The rows that the log brings have numbers from `base` on, which lies
//! above all earlier ones: of one hash, an epoch's first new row has `base`, the second `base + 1`. So an insert never asks
//! what is in the target; a log without deletes, which most tables without a key are, costs nothing but the hash.
//!
//! A delete has to name a row. If the epoch itself has inserted one of that hash, it is that one. Else the target is asked
//! which it has (`Target::copies`): the epoch before is in and visible, and nothing newer has been sent. The answer, the
//! *victims*, is written down before anything is sent, since asked again after a crash the target would name others.
//!
//! # One line for every hash
//! ```text
//!            rows from before the epoch          the epoch's new rows
//!  slot   …   -3     -2     -1                0        1         2      …
//!  copy     third  second  first victim     base   base + 1   base + 2  …
//!              there         ◀── net ──▶             not there
//! ```
//! `net` is the number of inserts less the number of deletes since the epoch's begin. After the epoch the slots below `net`
//! are there and the others are not, whatever was there before. So what is to be written follows from two counts and
//! the victims, not from the order of changes or from what an earlier try has brought in; writing it twice changes nothing.
//! That is what makes a replay exact:
//!
//! - An epoch that is read again begins at the same position, which finds its `base` and its victims in the state store.
//!   Only then the slots from `net` up to the number of inserts are deleted too, because an earlier try may have got to them.
//! - Pieces of a large transaction share their epoch's begin, `base` and victims. Each continues from the counts of those
//!   before it ([`counts`], in a temporary file) and writes the slots between the two nets. After a crash, or when
//!   the transaction is cut off and comes again, the counts begin at 0 and the rows are a replay.
//! - Transactions that another server gives in another order have the same counts.
//!
//! It does need that a replay is not cut shorter than its first try: rows behind the cut would get a new `base`. The
//! flusher sees to that ([`super::flush`]): it gives a replay up as a whole rather than in part.
//!
//! # Copy and log
//! For tables with a key a copy may be older or newer than the log's place, since applying a change again changes nothing.
//! Here it would count twice. So such a table is copied as it was at one place of the log ([`crate::mysql::snapshot`]), and
//! of the rows of the log only those behind that place are taken ([`CopiedAt`]). A copy while the log is followed is made
//! likewise ([`super::join`]); its rows have the numbers from 0 on, in a table of their own.
//!
//! # Statements
//! Columns are renamed, described and widened in place: no cell has another text then. Any other change of columns gives every row another
//! hash, so the table is copied anew ([`super::change`]).
//!
//! # What a hash is of
//! The cells as the target has them: two rows that the source tells apart and the target does not (`0000-00-00` and NULL)
//! are equal rows. So it depends on `source.timezone` and `defaultZeroDate`, which must stay as they are while the job
//! lives; a start with others is refused. SHA-256 is cut at 128 bits: among 10^12 rows two have one hash with a
//! probability below 10^-14, and nobody can make two on purpose. Even then both rows are in the target, for
//! their numbers differ, until a DELETE of one takes the other.
//!
//! Dead letters are rows too: they have their hash and number, and a delete takes a letter before it takes a row.

mod copied_at;
mod counts;
mod hash;
mod line;
mod numbers;
mod rows;

pub use copied_at::CopiedAt;
pub(crate) use hash::RowHasher;
pub(crate) use numbers::EpochOf;
pub use numbers::Numbers;
pub(crate) use rows::{HashedRows, Keyed};
