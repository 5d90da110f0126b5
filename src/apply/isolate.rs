//! Finds the bad rows of a refused load by halving it.
//!
//! ```text
//! 8 rows refused ──▶ 4 refused ──▶ 2 in
//!                │             └─▶ 2 refused ──▶ 1 in
//!                │                            └─▶ 1 refused: found
//!                └─▶ 4 in
//! ```
//!
//! No probe is a mere probe: a half that is taken is loaded for good. It holds rows of the epoch that goes out, so
//! what it writes is right, whatever becomes of the other half. Both halves' labels are written down beside the
//! intent before either is sent, so that a crash in the middle leaves no load that nobody asks for. The epoch is then
//! read again as a whole, refused again, and halved alike: a label is made of what a load holds, so halves that are in
//! are found to be in.
//!
//! A bad row costs at most two loads for each time the part can be halved. When the target says that it has found every
//! row bad, as it does when a column has become too narrow, it may be believed at once (`believe`): a flood would else
//! take more loads than it has rows. The log then tells the reasons of the first rows only.

use bytes::Bytes;

use super::body;
use super::commit::{name, observed};
use super::label::{Content, piece_label};
use crate::Result;
use crate::progress::Progress;
use crate::state::{LoadName, Store};
use crate::target::{Load, RefusedRows, Target};

/// A row that the target refuses.
pub(super) struct RefusedRow {
    /// The row as it stands in its load's body.
    pub(super) body: Bytes,
    pub(super) column: Option<String>,
    pub(super) reason: String,
}

/// Loads all rows of a refused load but the bad ones, which are given to `refused` in their order.
///
/// # Errors
/// As [`Target::load`], when a half fails for another reason than its rows; what `refused` returns.
pub(super) async fn isolate<T: Target>(
    target: &T,
    store: &Store,
    load: &Load,
    answer: RefusedRows,
    believe: bool,
    progress: &Progress,
    refused: &mut (impl FnMut(RefusedRow) -> Result<()> + Send),
) -> Result<()> {
    let rows = body::rows(load)?;
    let piece = |from: usize, to: usize| {
        let body = load.body.slice(rows[from].start..rows[to - 1].end);
        let content = Content { columns: &load.columns, format: load.format, body: &body };
        Load { label: piece_label(&load.label, &content), body, rows: (to - from) as u64, ..load.clone() }
    };
    let mut named: Vec<LoadName> = Vec::new();
    // Refused pieces, the first on top.
    let mut pieces = vec![(0, rows.len(), answer)];
    while let Some((from, to, answer)) = pieces.pop() {
        if to - from <= 1 || (believe && answer.found == Some((to - from) as u64)) {
            for row in &rows[from..to] {
                refused(RefusedRow::new(load.body.slice(row.clone()), &answer, to - from))?;
            }
            continue;
        }
        let middle = from + (to - from) / 2;
        let halves = [(from, middle, piece(from, middle)), (middle, to, piece(middle, to))];
        let names: Vec<LoadName> = halves.iter().map(|(_, _, half)| name(half)).collect();
        store.open_more_loads(&names)?;
        named.extend(names);
        let mut bad = Vec::new();
        for (from, to, half) in halves {
            if let Err(error) = observed(target, &half, progress).await {
                let Some(answer) = error.cause::<RefusedRows>() else { return Err(error.context(&load.table)) };
                bad.push((from, to, answer.clone()));
            }
        }
        pieces.extend(bad.into_iter().rev());
    }
    // What became of each is known.
    store.forget_loads(&named)
}

impl RefusedRow {
    /// One of `rows` rows that were refused together.
    fn new(body: Bytes, answer: &RefusedRows, rows: usize) -> RefusedRow {
        let own = answer.reasons.iter().find(|reason| rows == 1 || is_shown(&body, &reason.row));
        let (column, reason) = match (own, answer.reasons.first()) {
            (Some(reason), _) => (reason.column.clone(), reason.text.clone()),
            (None, Some(first)) => (None, format!("refused with {} others; of one of them: {}", rows - 1, first.text)),
            (None, None) => (None, answer.to_string()),
        };
        RefusedRow { body, column, reason }
    }
}

/// Whether the target's log shows this row: as it was sent, without its end mark, perhaps cut.
fn is_shown(body: &Bytes, shown: &str) -> bool {
    const ENOUGH: usize = 64;
    let sent = &body[..body.len().saturating_sub(1)];
    let shown = shown.trim_end().as_bytes();
    sent == shown || (shown.len() >= ENOUGH && sent.starts_with(shown))
}
