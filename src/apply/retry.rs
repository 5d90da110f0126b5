//! Sends dead letters again, when somebody has asked for it with `towpath dead-letters retry`.
//!
//! The command only marks letters; the job takes them up between two epochs, in the thread that sends epochs, and never
//! while an intent is open. So a retry is ordered with the stream: the letter is the newest change of its key that the
//! target was ever given, and the next change comes after it. A job that is not running takes them up when it is started,
//! after the epoch that a crash may have left half-way.
//!
//! As many letters as fit go into one load; those that are refused again are halved out and are open again. The loads'
//! labels are made of the letters and of how often they were tried, and are written down before they are sent: after a
//! crash the same letters make the same label, and what is in is found to be in.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};

use super::commit::{LoadOptions, name};
use super::dead_letter::DeadLetters;
use super::label::{Content, load_label};
use crate::Result;
use crate::progress::Progress;
use crate::schema::TableName;
use crate::state::{DeadLetter, LetterChanges, LetterShape, LoadName, Settled};
use crate::target::{Load, Target};

/// How the rows of a load of letters are found again.
type Ids = HashMap<Bytes, u64>;

impl DeadLetters {
    /// Sends every letter that is asked for, if no epoch is open.
    ///
    /// # Errors
    /// As [`Target::load`], unless it is the letters' rows that are at fault.
    pub(crate) async fn take_up<T: Target>(
        &self,
        target: &T,
        options: &LoadOptions,
        progress: &Progress,
    ) -> Result<()> {
        if !self.any() || self.store.intent()?.is_some() {
            return Ok(());
        }
        loop {
            let letters = self.store.letters_to_retry(options.part_bytes)?;
            if letters.is_empty() {
                return if self.store.letter_counts()?.retry > 0 {
                    self.store.put_back_blocked_retries()
                } else {
                    Ok(())
                };
            }
            let sent = letters.len();
            let mut changes = LetterChanges::default();
            let mut names: Vec<LoadName> = Vec::new();
            for (load, ids) in loads(options, letters) {
                names.push(name(&load));
                self.store.open_load(&name(&load))?;
                changes.merge(self.send_letters(target, &load, ids, progress).await?);
            }
            self.store.forget_loads_with(&names, &changes)?;
            self.written(&changes)?;
            let in_now = changes.settled.iter().filter(|settled| matches!(settled, Settled::Resolved { .. })).count();
            tracing::info!("dead letters sent again: {in_now} of {sent} are in");
        }
    }

    async fn send_letters<T: Target>(
        &self,
        target: &T,
        load: &Load,
        mut ids: Ids,
        progress: &Progress,
    ) -> Result<LetterChanges> {
        let mut settled = Vec::new();
        self.send_rows(target, load, progress, &mut |row| {
            if let Some(id) = ids.remove(&row.body) {
                settled.push(Settled::RefusedAgain { id, column: row.column, reason: row.reason });
            }
            Ok(())
        })
        .await?;
        settled.extend(ids.into_values().map(|id| Settled::Resolved { id }));
        Ok(LetterChanges { settled, ..LetterChanges::default() })
    }
}

/// One load for all letters of the same table and columns. Each of them has a key of its own.
fn loads(options: &LoadOptions, letters: Vec<DeadLetter>) -> Vec<(Load, Ids)> {
    let mut groups: Vec<((TableName, LetterShape), Vec<DeadLetter>)> = Vec::new();
    for letter in letters {
        let found = groups.iter_mut().find(|((table, shape), _)| *table == letter.table && *shape == letter.shape);
        match found {
            Some((_, group)) => group.push(letter),
            None => groups.push(((letter.table.clone(), letter.shape.clone()), vec![letter])),
        }
    }
    let load = |((table, shape), letters): ((TableName, LetterShape), Vec<DeadLetter>)| {
        let format = shape.format?;
        let first = letters.first().map_or(0, |letter| letter.id);
        let tries: u64 = letters.iter().map(|letter| letter.tries).sum();
        let mut body = BytesMut::new();
        letters.iter().for_each(|letter| body.extend_from_slice(&letter.body));
        let body = body.freeze();
        let content = Content { columns: &shape.columns, format, body: &body };
        let load = Load {
            label: load_label(&options.job, &format!("r{first}x{tries}"), &table, 0, &content),
            table,
            columns: shape.columns,
            partial: shape.partial,
            format,
            body,
            rows: letters.len() as u64,
        };
        Some((load, letters.into_iter().map(|letter| (letter.body, letter.id)).collect()))
    };
    groups.into_iter().filter_map(load).collect()
}
