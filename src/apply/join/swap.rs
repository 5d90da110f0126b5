//! A copy takes the place of the table that served while it was made.
//!
//! ```text
//! mark written ─▶ names exchanged ─▶ old one dropped ─▶ definitions changed, copy off the list
//! ```
//!
//! Whoever crashed in between finds the mark, which is what the target calls the copy's table whatever its name is, and so
//! knows which of the two has which name. A job that starts ends this before anything else ([`finish`]): the checkpoint has
//! not moved since, and rows must not meet a table of another shape.

use std::sync::Arc;

use super::beside;
use crate::mysql::connect::Patience;
use crate::mysql::position::Position;
use crate::schema::{Mapping, TableName};
use crate::state::{AtTarget, DefinitionChanges, Join, LetterMove, Store};
use crate::target::Target;
use crate::{Error, Result, step};

/// Again and again while the failure is a passing one.
pub(crate) async fn patiently<R, F: Future<Output = Result<R>>>(patience: Patience, work: impl Fn() -> F) -> Result<R> {
    let mut pauses = patience.pauses();
    loop {
        match work().await {
            Err(error) if error.is_transient() => {
                let pause = pauses.take();
                tracing::warn!(%error, ?pause, "the target does not do what it was asked, trying again");
                tokio::time::sleep(pause).await;
            }
            done => return done,
        }
    }
}

/// `copy` is the copy's table. Calling it again is harmless.
pub(super) async fn take_place<T: Target>(
    target: &T,
    store: &Store,
    table: &TableName,
    copy: &TableName,
    join: &Join,
) -> Result<()> {
    let Some(serves) = &join.serves else { return Ok(()) };
    let mark = match store.join_mark(table)? {
        Some(mark) => mark,
        None => {
            let mark = target.table_id(copy).await?.ok_or_else(|| gone(copy))?;
            store.mark_join(table, &mark)?;
            step::reached("copy-marked");
            mark
        }
    };
    match target.table_id(serves).await? {
        Some(id) if id == mark => {}
        served => {
            if target.table_id(copy).await?.as_ref() != Some(&mark) {
                return Err(gone(copy));
            }
            match served {
                Some(_) => target.swap_tables(serves, copy).await?,
                // Somebody has dropped it.
                None => target.rename_table(copy, serves).await?,
            }
        }
    }
    step::reached("copy-swapped");
    target.drop_table(copy).await?;
    step::reached("copy-old-dropped");
    Ok(())
}

fn gone(copy: &TableName) -> Error {
    Error::definite(format!("the target has no table {copy} any more, which a copy was made in"))
        .hint("somebody has dropped or renamed it; bring it back, or have the table copied anew with `towpath recopy`")
}

/// What becomes of the mapping and the dead letters when a copy takes its place.
pub(in crate::apply) fn in_place(mapping: &Mapping, join: &Join) -> (Mapping, Vec<LetterMove>) {
    let mut mapping = mapping.clone();
    mapping.twin = None;
    let Some(serves) = &join.serves else { return (mapping, Vec::new()) };
    let copy = std::mem::replace(&mut mapping.target.name, serves.clone());
    let moves = vec![LetterMove::Emptied(serves.clone()), LetterMove::Renamed { from: copy, to: serves.clone() }];
    (mapping, moves)
}

/// Ends what a crash has left half-way, before the job reads anything.
///
/// # Errors
/// Those of the target and of the store.
pub(crate) async fn finish<T: Target>(target: &T, store: &Store) -> Result<()> {
    for (table, join) in store.joins()? {
        let (Some(_), Some(serves)) = (store.join_mark(&table)?, &join.serves) else { continue };
        let copy = beside(serves);
        take_place(target, store, &table, &copy, &join).await?;
        let stored = store.definitions()?;
        let found = stored.tables.into_iter().find(|(source, _)| source.name == table);
        let Some((source, Some(AtTarget { target, unfed }))) = found else {
            return Err(Error::definite(format!(
                "the state store has no definition of table {table}, which is being copied"
            )));
        };
        let (mapping, letters) = in_place(&Mapping { source, target, unfed, twin: None }, &join);
        let changes = DefinitionChanges {
            tables: vec![(table.clone(), Some(Arc::new(mapping)))],
            joins: vec![(table.clone(), None)],
            letters,
            ..DefinitionChanges::default()
        };
        let at: Position = store
            .checkpoint()?
            .map(|checkpoint| checkpoint.position)
            .or(stored.since)
            .ok_or_else(|| Error::definite("the state store has lost its place"))?;
        store.change_definitions(&changes, &at)?;
        step::reached("copy-finished");
        tracing::info!(table = %table, "copied");
    }
    Ok(())
}
