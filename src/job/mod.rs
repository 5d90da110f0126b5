//! A job's stages and their order: schema migration → full data → incremental.
//!
//! ```text
//! prepare    read the job file's source and target, refuse what cannot work
//! schema     record the position, make the target's tables
//! full       copy the rows that exist, chunk by chunk, without a lock
//! incremental  follow the binlog from the recorded position
//! ```
//!
//! Each stage leaves a mark in the state store; a start goes on where the last one stopped.

mod check;
mod correct;
mod definitions;
mod full;
mod incremental;
mod join;
mod lag;
mod prepare;
mod reposition;
mod schedule;
mod settings;
mod settle;
mod target;
mod verify;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use mysql_async::Conn;
use tokio_util::sync::CancellationToken;

use crate::apply::correction::Corrections;
use crate::apply::dead_letter::{DeadLetters, Policy};
use crate::apply::xa::XaRows;
use crate::config;
use crate::live::Live;
use crate::mysql::binlog::{self, Slot, XaStep};
use crate::mysql::connect::Patience;
use crate::mysql::position::Position;
use crate::progress::Progress;
use crate::ring::Budget;
use crate::schema::{Mapping, TableName, TargetTable};
use crate::state::{DefinitionChanges, Identity, Stage, Store};
use crate::target::Target;
use crate::{Error, Result, step};

pub use crate::apply::flush::Ended;
pub use check::{Basis, Checked, check};
pub(crate) use correct::copy_anew;
pub use correct::{CorrectOptions, Corrected, Corrector, Plan, correct, plan};
use prepare::prepare_again;
pub use prepare::{Prepared, Problems, prepare};
pub use reposition::{Moved, reposition};
pub use schedule::Scheduler;
pub use target::{Connected, connect, connect_beside};
pub use verify::{Verified, VerifyOptions, verify};

/// How long loads may go on after a stop was asked for.
const STOP_PATIENCE: Duration = Duration::from_secs(6);

/// Bytes of prepared rows in memory before the job begins.
const UNDECIDED_BYTES: usize = 8 << 20;

/// How a job is run.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// End once everything is in that was in the source's log when the run began, or, where this run copied rows,
    /// when the copy ended: until then they are a mixture of moments.
    pub stop_at_end: bool,
    /// Flush, checkpoint and leave within seconds.
    pub stop: CancellationToken,
    pub progress: Arc<Progress>,
    /// Rows that others want to have sent in order with the stream.
    pub corrections: Corrections,
}

/// Runs a job against its target until it is caught up (`stop_at_end`), stopped, or fails.
///
/// # Errors
/// Everything that pre-flight refuses, and whatever stops the job later. Nothing is lost: the next run goes
/// on from the checkpoint.
pub async fn run<T: Target>(job: &config::Job, target: Arc<T>, options: &RunOptions) -> Result<Ended> {
    run_with(job, Arc::new(Store::open(&job.state_dir, &job.name)?), target, options).await
}

/// As [`run`], for whoever holds the job's store already: before it takes ports, say, that another process of the same job
/// may have.
///
/// # Errors
/// As [`run`].
pub async fn run_with<T: Target>(
    job: &config::Job,
    store: Arc<Store>,
    target: Arc<T>,
    options: &RunOptions,
) -> Result<Ended> {
    let Some(started) = options.stop.run_until_cancelled(start_patiently(job, &store, target.as_ref())).await else {
        return Ok(Ended::Stopped);
    };
    let (prepared, identity) = started?;
    options.progress.set_stage(identity.stage);
    options.progress.count_retries(target.retries());

    let (live, _watch) = settings::watch(&job.params, &store, &options.progress)?;
    let context = Context { job, options, prepared: &prepared, store, target, identity, live };
    if context.stage()? == Stage::Schema {
        let copies = matches!(job.source.startup, config::Startup::Initial | config::Startup::Full);
        context.enter(if copies { Stage::Full } else { Stage::Incremental })?;
    }
    if context.stage()? == Stage::Full {
        if full::copy(&context).await? == Ended::Stopped {
            return Ok(Ended::Stopped);
        }
        let only_full = job.source.startup == config::Startup::Full;
        let taken_over = full::hand_over(&context).await?;
        context.enter_with(if only_full { Stage::Done } else { Stage::Incremental }, &taken_over)?;
    }
    if context.stage()? == Stage::Done {
        let (letters, loads) = (context.letters()?, context.load_options());
        let retrying = letters.take_up(context.target.as_ref(), &loads, &options.progress);
        let retried = options.stop.run_until_cancelled(retrying).await;
        return retried.map_or(Ok(Ended::Stopped), |retried| retried.map(|()| Ended::CaughtUp));
    }
    incremental::follow(&context).await
}

/// A job that was begun once is started again by a machine, perhaps because its servers are being restarted too: it waits
/// for them. One that was never begun tells at once what is wrong, to whoever has just written its job file.
async fn start_patiently<T: Target>(job: &config::Job, store: &Arc<Store>, target: &T) -> Result<(Prepared, Identity)> {
    let mut pauses = Patience::of(&job.params).pauses();
    loop {
        match start(job, store, target).await {
            Err(error) if error.is_transient() && store.identity()?.is_some() => {
                let pause = pauses.take();
                tracing::warn!(%error, ?pause, "the job cannot start yet, trying again");
                tokio::time::sleep(pause).await;
            }
            started => return started,
        }
    }
}

/// Everything before the first stage: what cannot work is refused, the target's tables are there, and no load of an
/// earlier run is under way.
async fn start<T: Target>(job: &config::Job, store: &Arc<Store>, target: &T) -> Result<(Prepared, Identity)> {
    let begun = store.identity()?;
    let follows = begun.as_ref().is_some_and(|job| matches!(job.stage, Stage::Incremental | Stage::Done));
    if follows && !store.joins()?.is_empty() {
        // What a crash has left between two names must be known before anything is read or written under them.
        crate::apply::commit::settle(target, store).await?;
        crate::apply::join::swap::finish(target, store).await?;
    }
    let prepared = if begun.is_some() { prepare_again(job, target, store).await } else { prepare(job, target).await };
    let mut prepared = prepared.map_err(Problems::into_error)?;
    for warning in &prepared.warnings {
        tracing::warn!("{warning}");
    }
    let identity = match begun {
        Some(identity) => prepared.resume(job, store, identity).await?,
        None => loop {
            if let Some(identity) = begin(job, &mut prepared, store).await? {
                break identity;
            }
            tracing::info!("the source's tables were changed at this very moment: looking at them again");
            prepared = prepare(job, target).await.map_err(Problems::into_error)?;
        },
    };
    prepared.keeps_row_hashes(store)?;
    store.set_left_out(&prepared.left_out)?;
    tracing::info!(job = job.name, stage = identity.stage.as_str(), tables = prepared.mappings.len(), "job begins");
    match identity.stage {
        Stage::Schema => make_tables(&prepared, target).await?,
        Stage::Full | Stage::Incremental | Stage::Done => check_tables(&prepared, store, target).await?,
    }
    crate::apply::commit::settle(target, store).await?;
    Ok((prepared, identity))
}

/// What all stages of one run share.
struct Context<'a, T> {
    job: &'a config::Job,
    options: &'a RunOptions,
    prepared: &'a Prepared,
    store: Arc<Store>,
    target: Arc<T>,
    identity: Identity,
    live: Arc<Live>,
}

impl<T> Context<'_, T> {
    fn stage(&self) -> Result<Stage> {
        self.store
            .identity()?
            .map(|identity| identity.stage)
            .ok_or_else(|| Error::definite("the state store has lost its job"))
    }

    fn enter(&self, stage: Stage) -> Result<()> {
        self.enter_with(stage, &DefinitionChanges::default())
    }

    fn enter_with(&self, stage: Stage, changes: &DefinitionChanges) -> Result<()> {
        self.store.enter(stage, changes, &self.identity.start)?;
        step::reached("stage-entered");
        self.options.progress.set_stage(stage);
        tracing::info!(job = self.job.name, stage = stage.as_str(), "stage begins");
        Ok(())
    }

    fn patience(&self) -> Patience {
        Patience::of(&self.job.params)
    }

    /// Opens a connection to a server that can be read from `needs` on and asks it something, again and again while the
    /// failure is a passing one, as a restart of the source is. `None`: stopped.
    async fn ask_source<R, F>(&self, needs: Option<Position>, ask: impl Fn(Conn) -> F) -> Result<Option<R>>
    where
        F: Future<Output = Result<R>>,
    {
        let mut pauses = self.patience().pauses();
        let asking = async {
            loop {
                let answer = match self.prepared.connect.sql(needs.as_ref()).await {
                    Ok(connection) => ask(connection).await,
                    Err(error) => Err(error),
                };
                match answer {
                    Err(error) if error.is_transient() => {
                        let pause = pauses.take();
                        tracing::warn!(%error, ?pause, "the source does not answer, trying again");
                        tokio::time::sleep(pause).await;
                    }
                    answer => return answer,
                }
            }
        };
        self.options.stop.run_until_cancelled(asking).await.transpose()
    }

    fn letters(&self) -> Result<DeadLetters> {
        let policy = Policy {
            on_error: self.job.on_error,
            max_letters: self.job.max_dead_letters,
            halve: !self.job.atomic_transactions,
        };
        DeadLetters::new(&self.store, policy, &self.prepared.mappings)
    }

    fn load_options(&self) -> crate::apply::commit::LoadOptions {
        crate::apply::commit::LoadOptions {
            job: format!("{}_{}", self.job.name, self.identity.run_id),
            binary: self.prepared.binary_text(),
            part_bytes: self.job.params.flush_batch_mb << 20,
            parallel: self.job.params.write_parallel,
            together: self.job.atomic_transactions,
        }
    }
}

/// A token that is cancelled `STOP_PATIENCE` after `stop`: loads that are still on their way then are left to the
/// next start. One for all loads of a stage, so that a stop has one patience and not one a load.
fn last_call(stop: &CancellationToken) -> CancellationToken {
    let leave = CancellationToken::new();
    let (stop, called) = (stop.clone(), leave.clone());
    tokio::spawn(async move {
        stop.cancelled().await;
        tokio::time::sleep(STOP_PATIENCE).await;
        called.cancel();
    });
    leave
}

/// Records the position first, before anything is read: what changes after it is in the log behind it. The definitions were
/// read before and are compared behind it, so they are those of the position ([`crate::mysql::catalog::shows`]).
/// `None`: the tables are not those that were looked at before.
async fn begin(job: &config::Job, prepared: &mut Prepared, store: &Arc<Store>) -> Result<Option<Identity>> {
    let connect = &prepared.connect;
    let flavor = prepared.server.flavor;
    // A place that is given says itself what lies before it.
    let moment = match job.source.startup {
        config::Startup::Initial | config::Startup::Latest => Some(binlog::Moment::now(connect, flavor).await?),
        _ => None,
    };
    let start =
        binlog::resolve(&job.source.startup, &prepared.connect, prepared.server.flavor, job.replica_id()).await?;
    let identity = Identity {
        name: job.name.clone(),
        run_id: format!("{:08x}", rand::random::<u32>()),
        server: prepared.server_identity(),
        stage: Stage::Schema,
        start,
    };
    store.forget_prepared()?;
    if let Some(moment) = moment {
        let end = &identity.start;
        let undecided = binlog::Undecided { connect, flavor, server_id: job.replica_id(), end };
        keep_undecided(&undecided, &moment, prepared, store).await?;
    }
    step::reached("position-found");
    let at_present =
        matches!(job.source.startup, config::Startup::Initial | config::Startup::Full | config::Startup::Latest);
    if at_present && !(prepared.shows_all().await? && prepared.holds(job).await?) {
        return Ok(None);
    }
    let definitions = definitions::begun(prepared, job, &identity.start).await?;
    // The others come by a statement.
    prepared.mappings = definitions.tables.iter().filter_map(|(_, mapping)| mapping.clone()).collect();
    store.begin(&identity, &definitions)?;
    step::reached("job-begun");
    Ok(Some(identity))
}

/// Keeps the rows of XA transactions that are prepared at the job's place, which nobody can see yet.
async fn keep_undecided(
    undecided: &binlog::Undecided<'_>,
    moment: &binlog::Moment,
    prepared: &Prepared,
    store: &Arc<Store>,
) -> Result<()> {
    if moment.is_blind() {
        tracing::warn!(
            "the source does not tell which XA transactions are prepared (XA_RECOVER_ADMIN); if one of them is committed \
             later, the job stops there"
        );
    }
    let budget = Budget::new(UNDECIDED_BYTES);
    let mut rows = XaRows::open(store, &budget, UNDECIDED_BYTES)?;
    let missing = undecided
        .send(moment, prepared.wanted(), &mut |slot| {
            match slot {
                Slot::XaRows { first, event } => {
                    let held = budget.hold_at_once(event.images.len());
                    rows.add(first, event, held)?;
                }
                Slot::Xa(_, XaStep::Prepared { name, rows: some }) => rows.prepare(name, some),
                Slot::Xa(_, XaStep::OnePhase) => {
                    if let Some(waiting) = rows.one_phase() {
                        rows.forget(waiting);
                    }
                }
                Slot::Xa(_, XaStep::Commit(name) | XaStep::Rollback(name)) => {
                    if let Some(waiting) = rows.decide(&name) {
                        rows.forget(waiting);
                    }
                }
                _ => {}
            }
            Ok(())
        })
        .await?;
    for name in missing {
        tracing::warn!(
            "XA transaction {name} is prepared at the source and not found in its log; if it is committed later and is in the \
             log, the job stops there"
        );
    }
    store.change_prepared(&rows.close()?)
}

async fn make_tables<T: Target>(prepared: &Prepared, target: &T) -> Result<()> {
    let tables: Vec<&TargetTable> = prepared.mappings.iter().map(|mapping| &mapping.target).collect();
    target.ensure_tables(&tables).await?;
    step::reached("tables-made");
    Ok(())
}

/// The tables that were made are there. One that is not would be made without the rows it had.
async fn check_tables<T: Target>(prepared: &Prepared, store: &Store, target: &T) -> Result<()> {
    // Half-way through a schema change it may have either name, or either shape.
    let mut changing = store.running_change()?.map(|change| change.tables).unwrap_or_default();
    changing.extend(store.lags()?.into_iter().map(|(_, lag)| lag.after.name));
    match check_made(prepared, &changing, target).await?.into_iter().next() {
        Some(problem) => Err(problem),
        None => Ok(()),
    }
}

/// The tables that were made are there, each as it was made, but for those that are `changing`; else what is wrong with them.
async fn check_made<T: Target>(prepared: &Prepared, changing: &[TableName], target: &T) -> Result<Vec<Error>> {
    let changing: HashSet<&TableName> = changing.iter().collect();
    let made = prepared.mappings.iter().filter(|mapping| !changing.contains(&mapping.target.name));
    let mappings: Vec<&Mapping> = made.map(AsRef::as_ref).collect();
    let tables: Vec<&TargetTable> = mappings.iter().map(|mapping| &mapping.target).collect();
    let checked = target.check_tables(&tables).await?;
    let problem = |(mapping, there): (&Mapping, Result<bool>)| match there {
        Ok(true) => None,
        Ok(false) => Some(not_there(mapping)),
        Err(error) => Some(error),
    };
    Ok(mappings.into_iter().zip(checked).filter_map(problem).collect())
}

fn not_there(mapping: &Mapping) -> Error {
    Error::definite(format!(
        "the target has no table {}, which holds the rows of {}",
        mapping.target.name, mapping.source.name
    ))
    .hint(
        "bring it back (in StarRocks: RECOVER TABLE, or rename it back), or leave the table out with \
         source.excludeTables, or begin a new job (another `name`) that copies it",
    )
}
