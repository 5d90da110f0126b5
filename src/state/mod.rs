//! The state store: one SQLite file a job, `<stateDir>/<job>.db`.
//!
//! It holds what a restart needs and nothing else: the position everything before which is in the target
//! (the *checkpoint*), the epoch that may be half-way there (the *intent*), the table definitions at the checkpoint, and how
//! far the full copy got; the rows that the target refused (*dead letters*); and what comparisons have found (*runs*).
//! Each method is one transaction, and a return means that it is on the disk, but for the end of an epoch
//! ([`Store::close_epoch`]) and what a restart does again ([`snapshot`]).
//!
//! [`file`] tells how the file is opened, who may write to it, what a power loss leaves of it, and what happens when it is
//! taken away.

mod checkpoint;
mod correction;
mod dead_letter;
mod definitions;
mod file;
mod join;
mod lag;
mod pace;
mod prepared;
mod row_hash;
mod schema;
mod setting;
mod snapshot;
mod status;
mod store;
mod verification;
mod verify_run;

pub use checkpoint::{Checkpoint, Intent, LoadName, RowCounts, now_micros};
pub use correction::{Correction, CorrectionCounts, CorrectionOutcome};
pub use dead_letter::{
    DeadLetter, Filter, LetterChanges, LetterCounts, LetterKey, LetterShape, LetterState, NewLetter, Settled,
};
pub use definitions::{
    AtTarget, ChangeCount, DefinitionChanges, Definitions, LetterMove, Outcome, RunningChange, Selection,
};
pub use join::{Asked, Join};
pub use lag::{Lag, ParkedChanges, ParkedRows, WaitsFor};
pub use pace::PaceRecord;
pub use prepared::{PreparedChanges, PreparedPart, PreparedTransaction};
pub use row_hash::{Numbered, Numbering, Victim};
pub use setting::Settings;
pub use snapshot::{ChunkDone, ChunkRecord, TableProgress};
pub use status::Status;
pub use store::{Identity, Stage, Store};
pub use verification::{LastRun, TableResult, Verification, VerifyPlan};
pub use verify_run::{DifferenceKind, DifferenceRecord, RunOutcome, RunRecord};
