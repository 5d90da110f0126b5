//! The tables of a job that follows the log: as they were at its checkpoint, which the state store has, and never as the
//! catalogue has them now.

use std::collections::HashMap;
use std::sync::Arc;

use mysql_async::Conn;
use tokio::runtime::Handle;

use super::{Context, Prepared};
use crate::apply::change::{Followed, Unsettled};
use crate::config::{self, Startup, TableFilter};
use crate::mysql::history::{Catalogue, History, Past, Surroundings};
use crate::mysql::position::Position;
use crate::mysql::{binlog, catalog};
use crate::schema::{Mapping, MappingOptions, Table, TableName, map_table};
use crate::state::{Asked, AtTarget, DefinitionChanges, Definitions, Selection, Store};
use crate::{Error, Result};

/// The tables at the checkpoint.
pub(super) fn followed(store: &Store, options: &MappingOptions) -> Result<Followed> {
    let stored = store.definitions()?;
    let joins = store.joins()?;
    let mapping = |(source, at_target): (Table, Option<AtTarget>)| match at_target {
        Some(AtTarget { target, unfed }) => {
            let join = joins.iter().find(|(table, join)| join.live && *table == source.name);
            let twin = join.and_then(|(_, join)| join.serves.clone());
            Ok(Arc::new(Mapping { source, target, unfed, twin }))
        }
        None => map_table(&source, options).map(Arc::new),
    };
    let mappings = stored.tables.into_iter().map(mapping).collect::<Result<Vec<_>>>()?;
    let mut copied_at = store.copied_at()?;
    let unsettled = store.unsettled()?.into_iter().map(|(table, until)| {
        let copied_at = copied_at.remove(&table);
        (table, Unsettled { until, copied_at })
    });
    // A job that was begun by an earlier version has them here only.
    let passed = stored.passed.into_iter().chain(store.left_out()?);
    let followed = Followed::new(mappings, passed, stored.left).with_joins(joins).with_unsettled(unsettled);
    Ok(followed.with_lags(store.lags()?))
}

/// Their history there.
pub(super) fn history<T>(context: &Context<'_, T>, followed: &Followed) -> Result<History> {
    let prepared = context.prepared;
    let (connect, server, no_key) = (prepared.connect.clone(), prepared.server.clone(), context.job.no_key_tables);
    let (runtime, patience, stop) = (Handle::current(), context.patience(), context.options.stop.clone());
    let catalogue: Catalogue = Arc::new(move |table| {
        let asking = async {
            let mut pauses = patience.pauses();
            loop {
                let asked = async { catalog::table(&mut connect.sql(None).await?, &server, table, no_key).await };
                match asked.await {
                    Err(error) if error.is_transient() => {
                        let pause = pauses.take();
                        tracing::warn!(%error, ?pause, "the source's catalogue does not answer, trying again");
                        tokio::time::sleep(pause).await;
                    }
                    answer => return answer,
                }
            }
        };
        let answer = runtime.block_on(stop.run_until_cancelled(asking));
        answer.unwrap_or_else(|| Err(Error::transient("stopped while the source's catalogue was asked")))
    });
    let surroundings = Surroundings::new(&prepared.server, prepared.filter.clone(), no_key);
    let surroundings = Surroundings { catalogue: Some(catalogue), ..surroundings };
    match context.store.definitions()?.history {
        Some(state) => History::restore(&state, surroundings),
        None => Ok(History::new(tables(followed.mappings())).with(surroundings)),
    }
}

fn tables<'a>(mappings: impl IntoIterator<Item = &'a Arc<Mapping>>) -> impl Iterator<Item = Arc<Table>> {
    mappings.into_iter().map(|mapping| Arc::new(mapping.source.clone()))
}

/// What a job begins with. Behind a place in the past the statements come that made some of today's tables.
///
/// # Errors
/// Definite: a table's definition at that place is not known.
pub(super) async fn begun(prepared: &Prepared, job: &config::Job, start: &Position) -> Result<DefinitionChanges> {
    let databases = catalog::databases(&mut prepared.connect.sql(None).await?).await?;
    let surroundings = Surroundings::new(&prepared.server, prepared.filter.clone(), job.no_key_tables);
    let today = History::new(tables(&prepared.mappings)).with(surroundings).with_databases(databases);
    let history = match job.source.startup {
        Startup::Initial | Startup::Full | Startup::Latest => today,
        Startup::Earliest | Startup::Position { .. } | Startup::Gtid(_) | Startup::Timestamp(_) => {
            let mut past = Past::new(today);
            let watched = (prepared.wanted(), prepared.noticed());
            let (connect, flavor) = (&prepared.connect, prepared.server.flavor);
            binlog::scan(connect, flavor, job.replica_id(), start, watched, &mut |slot| past.see(&slot)).await?;
            past.history()?
        }
    };
    let today: HashMap<&TableName, &Arc<Mapping>> =
        prepared.mappings.iter().map(|mapping| (&mapping.source.name, mapping)).collect();
    // A table of the past may have had another definition than today.
    let mapping = |table: &Arc<Table>| {
        let mapping = match today.get(&table.name).filter(|today| today.source.reads_like(table)) {
            Some(today) => Arc::clone(today),
            None => Arc::new(map_table(table, &prepared.mapping_options)?),
        };
        Ok((table.name.clone(), Some(mapping)))
    };
    Ok(DefinitionChanges {
        tables: history.tables().map(mapping).collect::<Result<_>>()?,
        passed: prepared.left_out.iter().map(|name| (name.clone(), true)).collect(),
        selection: Some(selection(job)),
        history: history.state()?,
        ..DefinitionChanges::default()
    })
}

pub(super) fn selection(job: &config::Job) -> Selection {
    Selection { tables: job.source.tables.clone(), exclude: job.source.exclude_tables.clone() }
}

/// What other patterns make of a job's tables.
#[derive(Debug, Default)]
pub(super) struct Reselected {
    /// To be copied.
    pub(super) coming: Vec<TableName>,
    pub(super) leaving: Vec<TableName>,
}

/// Compares `filter` with the patterns that the state store has.
///
/// # Errors
/// Those of the source.
pub(super) async fn reselected(
    stored: &Definitions,
    filter: &TableFilter,
    ignore_case: bool,
    connection: &mut Conn,
) -> Result<Reselected> {
    let mut coming = Vec::new();
    if let Some(before) = &stored.selection {
        let before = TableFilter::new(&before.tables, &before.exclude, ignore_case)?;
        let before = before.with_shadows(filter.shadows().clone());
        let known = |name: &TableName| {
            stored.tables.iter().any(|(table, _)| table.name == *name) || stored.passed.contains(name)
        };
        let matching = catalog::names(connection, filter).await?;
        coming.extend(matching.into_iter().filter(|name| !before.matches(name) && !known(name)));
    }
    let names = stored.tables.iter().map(|(table, _)| &table.name);
    Ok(Reselected { coming, leaving: names.filter(|name| !filter.matches(name)).cloned().collect() })
}

/// Goes on with the job file's patterns, which may have been changed. Tables that they leave out now leave the job.
///
/// A table that the catalogue has and the state store has not came by a statement behind the checkpoint, which will be
/// read, if the patterns matched it all along; if they did not, it has rows that no statement tells, and is to be copied.
///
/// # Errors
/// Those of the source and of the state store.
pub(super) async fn select(
    store: &Store,
    selection: &Selection,
    filter: &TableFilter,
    ignore_case: bool,
    at: &Position,
    connection: &mut Conn,
) -> Result<()> {
    let stored = store.definitions()?;
    if stored.selection.as_ref() == Some(selection) {
        return Ok(());
    }
    let Reselected { coming, leaving } = reselected(&stored, filter, ignore_case, connection).await?;
    for name in &coming {
        tracing::info!(table = %name, "the job file selects it now: it is copied while the log is followed");
    }
    let asked: Vec<_> = coming.into_iter().map(|name| (name, Asked::New)).collect();
    let leaving: Vec<_> = leaving.into_iter().map(|name| (name, None)).collect();
    for (name, _) in &leaving {
        tracing::warn!(table = %name, "the job file no longer selects it: the target's table stays as it is");
    }
    let gone = stored.passed.into_iter().filter(|name| !filter.matches(name)).map(|name| (name, false));
    // Until its copy begins, what the log tells of a new table is no concern.
    let passed = gone.chain(asked.iter().map(|(name, _)| (name.clone(), true)));
    let left_alone = store.joins()?.into_iter().filter(|(name, _)| !filter.matches(name));
    let lagging = store.lags()?.into_iter().filter(|(name, _)| !filter.matches(name));
    let changes = DefinitionChanges {
        tables: leaving,
        passed: passed.collect(),
        lags: lagging.map(|(name, _)| (name, None)).collect(),
        joins: left_alone.map(|(name, _)| (name, None)).collect(),
        asked,
        selection: Some(selection.clone()),
        ..DefinitionChanges::default()
    };
    store.change_definitions(&changes, stored.since.as_ref().unwrap_or(at))
}
