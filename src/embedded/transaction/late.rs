//! Commits that do not show, or are not decided, when their answer goes out: what a fault makes of them.
//!
//! - *Unseen*: committed and durable, the rows in files like those of a prepared transaction; published when due. Versions
//!   of a table are published in order, so whoever commits to the table next waits for it ([`Labels::wait_published`]),
//!   and there is never more than one of a table. A restart publishes it.
//! - *Undecided*: the label stays PREPARE, then the load lands or is aborted. A restart forgets it, as it forgets every
//!   PREPARE transaction.
//!
//! Whoever waits publishes what is due by itself, so nobody waits for a ticker that may have been stopped.

use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::stored::{Stored, delete};
use super::{Labels, Part, State, count_once, now_millis};
use crate::Result;
use crate::embedded::engine::Engine;
use crate::embedded::load::apply::{Target, apply};
use crate::embedded::load::stage::Stage;

/// What is still to come of a transaction.
#[derive(Debug)]
pub(super) struct Late {
    due: Instant,
    id: u64,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Publish { tables: Vec<u64> },
    Land(Vec<(Target, Stage)>),
    Abort,
}

/// How long a publish waits after one that failed.
const AGAIN: Duration = Duration::from_millis(200);
const NAP: Duration = Duration::from_millis(5);

impl Labels {
    /// Commits durably; the rows show after `visible_after`.
    ///
    /// # Errors
    /// As for [`Labels::commit`].
    pub(crate) fn commit_unseen(
        &self,
        engine: &Engine,
        id: u64,
        mut parts: Vec<(Target, Stage)>,
        visible_after: Duration,
    ) -> Result<(), String> {
        let tables: Vec<u64> = parts.iter().map(|(target, _)| target.table).collect();
        self.wait_published(engine, &tables)?;
        let claim = self.claim(engine, id)?;
        let stored = store_parts(&mut parts).and_then(|stored| {
            let (database, label, state) = (&claim.database, &claim.label, State::Committed);
            engine.store.write(|tx| {
                Stored { id, database, label, state, reason: "", parts: &stored, finished: 0 }.put(tx)?;
                delete(tx, &claim.evicted)
            })?;
            Ok(stored)
        });
        match stored {
            Ok(stored) => {
                let mut late = self.late();
                if let Some(transaction) = self.lock().transactions.get_mut(&id) {
                    transaction.state = State::Committed;
                    transaction.parts = stored;
                }
                late.push(Late { due: Instant::now() + visible_after, id, step: Step::Publish { tables } });
                Ok(())
            }
            Err(error) => {
                parts.iter_mut().for_each(|(_, stage)| stage.discard());
                let reason = error.to_string();
                self.abandon(engine, id, &reason);
                Err(reason)
            }
        }
    }

    /// Leaves the label in PREPARE for `time`; then it is committed (`lands`) or aborted, and by nobody else.
    pub(crate) fn decide_later(&self, id: u64, parts: Vec<(Target, Stage)>, time: Duration, lands: bool) {
        let step = if lands { Step::Land(parts) } else { Step::Abort };
        let mut late = self.late();
        self.set_committing(id, true);
        late.push(Late { due: Instant::now() + time, id, step });
    }

    fn set_committing(&self, id: u64, committing: bool) {
        if let Some(transaction) = self.lock().transactions.get_mut(&id) {
            transaction.committing = committing;
        }
    }

    /// What was committed before a restart is to be published.
    pub(crate) fn publish_after_restart(&self) {
        let committed: Vec<(u64, Vec<u64>)> = {
            let inner = self.lock();
            let all = inner.transactions.iter().filter(|(_, open)| open.state == State::Committed);
            all.map(|(id, open)| (*id, open.parts.iter().map(|part| part.target.table).collect())).collect()
        };
        let due = Instant::now();
        self.late().extend(committed.into_iter().map(|(id, tables)| Late { due, id, step: Step::Publish { tables } }));
    }

    pub(crate) fn nothing_late(&self) -> bool {
        self.late().is_empty()
    }

    /// Does what is due. To be called now and then.
    pub(crate) fn step(&self, engine: &Engine) {
        let mut decided = Vec::new();
        {
            let mut late = self.late();
            self.publish_due(engine, &mut late);
            let now = Instant::now();
            let mut at = 0;
            while at < late.len() {
                let ready = match &late[at].step {
                    Step::Publish { .. } => false,
                    Step::Abort => true,
                    Step::Land(parts) => {
                        let tables: Vec<u64> = parts.iter().map(|(target, _)| target.table).collect();
                        !unseen(&late, &tables)
                    }
                };
                if ready && late[at].due <= now {
                    decided.push(late.remove(at));
                } else {
                    at += 1;
                }
            }
        }
        for Late { id, step, .. } in decided {
            self.set_committing(id, false);
            match step {
                Step::Land(parts) => {
                    if let Err(reason) = self.commit(engine, id, &parts) {
                        tracing::warn!(reason, transaction = id, "a late commit has failed");
                    }
                }
                _ => {
                    self.abort(engine, id, "the commit did not arrive");
                }
            }
        }
    }

    /// Waits until no commit of these tables is unseen.
    ///
    /// # Errors
    /// The server stops first.
    pub(crate) fn wait_published(&self, engine: &Engine, tables: &[u64]) -> Result<(), String> {
        loop {
            {
                let mut late = self.late();
                self.publish_due(engine, &mut late);
                if !unseen(&late, tables) {
                    return Ok(());
                }
            }
            if self.stopping.load(Ordering::Relaxed) {
                return Err("Service is shutting down, please retry later!".into());
            }
            thread::sleep(NAP);
        }
    }

    /// Nobody waits for a publish any more; it comes after the restart.
    pub(crate) fn stop_waiting(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn publish_due(&self, engine: &Engine, late: &mut Vec<Late>) {
        let now = Instant::now();
        late.retain_mut(|one| {
            if one.due > now || !matches!(one.step, Step::Publish { .. }) {
                return true;
            }
            match self.publish(engine, one.id) {
                Ok(()) => false,
                Err(error) => {
                    tracing::warn!(%error, transaction = one.id, "a committed transaction could not be published");
                    one.due = now + AGAIN;
                    true
                }
            }
        });
    }

    fn publish(&self, engine: &Engine, id: u64) -> Result<()> {
        let Some((database, label, parts)) = self
            .lock()
            .transactions
            .get(&id)
            .map(|committed| (committed.database.clone(), committed.label.clone(), committed.parts.clone()))
        else {
            return Ok(());
        };
        let mut staged = Vec::with_capacity(parts.len());
        for part in &parts {
            staged.push((part.target.clone(), Stage::reopen(&part.file)?));
        }
        let finished = now_millis();
        engine.store.write(|tx| {
            for (target, stage) in &staged {
                // A table that was dropped takes its rows along.
                if engine.catalog.table_by_id(target.table).is_some() {
                    apply(tx, &engine.catalog, target, stage, engine.deletes_last(target.table))?;
                }
            }
            let (database, label) = (&database, &label);
            Stored { id, database, label, state: State::Visible, reason: "", parts: &[], finished }.put(tx)
        })?;
        self.finish(engine, id, State::Visible, "", finished);
        count_once(self, staged.iter().map(|(target, _)| target.table));
        staged.iter_mut().for_each(|(_, stage)| stage.discard());
        Ok(())
    }

    fn late(&self) -> MutexGuard<'_, Vec<Late>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a commit of one of these tables does not show yet.
fn unseen(late: &[Late], tables: &[u64]) -> bool {
    late.iter().any(|one| match &one.step {
        Step::Publish { tables: unseen } => unseen.iter().any(|table| tables.contains(table)),
        _ => false,
    })
}

/// Puts every part's rows on disk.
pub(super) fn store_parts(parts: &mut [(Target, Stage)]) -> Result<Vec<Part>> {
    let mut stored = Vec::with_capacity(parts.len());
    for (target, stage) in parts {
        stage.persist()?;
        stored.push(Part { target: target.clone(), file: stage.path().to_owned() });
    }
    Ok(stored)
}
