//! The target of this module's tests: one that does nothing, but for what a test's script says of it.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::commit::{Committer, LoadOptions, Pieces};
use super::correction::Corrections;
use super::dead_letter::{DeadLetters, Policy};
use super::encode::BinaryText;
use super::pace::Pace;
use super::row_hash::Numbers;
use super::sample::{Sample, changer, position};
use crate::config::OnError;
use crate::schema::{TableName, TargetTable};
use crate::state::{Checkpoint, Store};
use crate::target::{LabelState, Load, Loaded, NameTry, Pressure, Target, Version};
use crate::{Error, Result};

/// What a test cares about; all else is done, and finished, and in.
pub(super) trait Script: Send + Sync + 'static {
    fn load(&self, _load: &Load) -> Result<Loaded> {
        Ok(Loaded::default())
    }

    fn label_state(&self, _label: &str) -> Result<LabelState> {
        Ok(LabelState::Finished)
    }

    fn load_together(&self, _loads: &[Load], _name: NameTry<'_>) -> Result<Loaded> {
        Err(Error::definite("there is no such thing in this test"))
    }

    fn end_transaction(&self, _label: &str) -> Result<()> {
        Ok(())
    }

    /// A change of a table, in words.
    fn change(&self, _what: String) -> Result<()> {
        Ok(())
    }

    /// How long an ALTER takes.
    fn altering(&self) -> impl Future<Output = ()> + Send {
        async {}
    }

    fn cannot_alter(&self) -> Vec<String> {
        Vec::new()
    }

    fn pressure(&self) -> Pressure {
        Pressure::default()
    }
}

/// A target that plays a script.
#[derive(Default)]
pub(super) struct Scripted<S>(pub(super) S);

impl<S> Deref for Scripted<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.0
    }
}

impl<S: Script> Target for Scripted<S> {
    async fn check(&self, _: &[String]) -> Vec<Error> {
        Vec::new()
    }

    async fn version(&self) -> Result<Version> {
        Ok(Version { major: 4, minor: 0, patch: 0 })
    }

    fn ddl(&self, _: &TargetTable) -> Vec<String> {
        Vec::new()
    }

    async fn ensure_tables(&self, tables: &[&TargetTable]) -> Result<Vec<bool>> {
        tables.iter().map(|table| self.0.change(format!("create {}", table.name)).map(|()| true)).collect()
    }

    async fn check_tables(&self, tables: &[&TargetTable]) -> Result<Vec<Result<bool>>> {
        Ok(tables.iter().map(|_| Ok(true)).collect())
    }

    async fn load(&self, load: &Load) -> Result<Loaded> {
        self.0.load(load)
    }

    async fn label_state(&self, _: &str, label: &str) -> Result<LabelState> {
        self.0.label_state(label)
    }

    async fn load_together(&self, loads: &[Load], name: NameTry<'_>) -> Result<Loaded> {
        self.0.load_together(loads, name)
    }

    async fn end_transaction(&self, _: &str, label: &str) -> Result<()> {
        self.0.end_transaction(label)
    }

    async fn alter_table(&self, before: &TargetTable, after: &TargetTable, _: &[Option<usize>]) -> Result<()> {
        let columns = (before.columns.len(), after.columns.len());
        self.0.change(format!("alter {}: {} to {} columns", before.name, columns.0, columns.1))?;
        self.0.altering().await;
        Ok(())
    }

    fn cannot_alter(&self, _: &TargetTable, _: &TargetTable, _: &[Option<usize>]) -> Vec<String> {
        self.0.cannot_alter()
    }

    async fn truncate_table(&self, table: &TableName) -> Result<()> {
        self.0.change(format!("truncate {table}"))
    }

    async fn drop_table(&self, table: &TableName) -> Result<()> {
        self.0.change(format!("drop {table}"))
    }

    async fn rename_table(&self, from: &TableName, to: &TableName) -> Result<()> {
        self.0.change(format!("rename {from} to {to}"))
    }

    fn pressure(&self) -> Pressure {
        self.0.pressure()
    }
}

/// A committer that goes on from the store's checkpoint with [`Sample`]'s table, without pause, and stops at bad rows.
pub(super) fn committer<T: Target>(target: &Arc<T>, store: &Arc<Store>, runtime: &Handle) -> Committer<T> {
    let policy = Policy { on_error: OnError::Exit, max_letters: 0, halve: true };
    Committer {
        target: Arc::clone(target),
        store: Arc::clone(store),
        options: LoadOptions {
            job: "it_0".into(),
            binary: BinaryText::Base64,
            part_bytes: 1 << 20,
            parallel: 2,
            together: false,
        },
        progress: Arc::default(),
        pace: Pace::of(Duration::ZERO, 1000),
        runtime: runtime.clone(),
        leave: CancellationToken::new(),
        letters: Arc::new(DeadLetters::new(store, policy, [&Sample::new().mapping]).unwrap()),
        corrections: Corrections::default(),
        checkpoint: store.checkpoint().unwrap().unwrap_or_else(|| Checkpoint::at(position(0))),
        pieces: Pieces::default(),
        changer: changer(),
        numbers: Numbers::default(),
    }
}
