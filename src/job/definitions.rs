//! The tables of a job that follows the log: as they were at its checkpoint, which the state store has, and never as the
//! catalogue has them now.

use std::sync::Arc;

use mysql_async::Conn;

use crate::apply::change::Followed;
use crate::config::{self, TableFilter};
use crate::mysql::catalog;
use crate::mysql::history::History;
use crate::mysql::position::Position;
use crate::schema::{Mapping, MappingOptions, Table, TableName, map_table};
use crate::state::{AtTarget, DefinitionChanges, Selection, Store};
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
    Ok(Followed::new(mappings, stored.passed, stored.left).with_joins(joins))
}

/// Their history there.
pub(super) fn history(followed: &Followed) -> History {
    History::new(followed.mappings().map(|mapping| Arc::new(mapping.source.clone())))
}

/// What a job begins with.
pub(super) fn begun(mappings: &[Arc<Mapping>], job: &config::Job) -> DefinitionChanges {
    let tables = mappings.iter().map(|mapping| (mapping.source.name.clone(), Some(Arc::clone(mapping))));
    DefinitionChanges { tables: tables.collect(), selection: Some(selection(job)), ..DefinitionChanges::default() }
}

pub(super) fn selection(job: &config::Job) -> Selection {
    Selection { tables: job.source.tables.clone(), exclude: job.source.exclude_tables.clone() }
}

/// Goes on with the job file's patterns, which may have been changed. Tables that they leave out now leave the job.
///
/// A table that the catalogue has and the state store has not came by a statement behind the checkpoint, which will be
/// read, if the patterns matched it all along; if they did not, it has rows that no statement tells.
///
/// # Errors
/// Definite: there are such tables.
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
    if let Some(before) = &stored.selection {
        let before = TableFilter::new(&before.tables, &before.exclude, ignore_case)?;
        let known = |name: &TableName| {
            stored.tables.iter().any(|(table, _)| table.name == *name) || stored.passed.contains(name)
        };
        let there = catalog::names(connection, filter).await?;
        let new: Vec<String> = there
            .iter()
            .filter(|name| !before.matches(name) && !known(name))
            .map(|name| format!("{name} is new"))
            .collect();
        if !new.is_empty() {
            return Err(Error::definite(format!(
                "the job file selects tables that the job was not begun with: {}",
                new.join(", ")
            ))
            .hint("leave them out with `source.excludeTables`, or copy them by another job (another `name`)"));
        }
    }
    let leaving = stored.tables.iter().map(|(table, _)| &table.name).filter(|name| !filter.matches(name));
    let leaving: Vec<_> = leaving.map(|name| (name.clone(), None)).collect();
    for (name, _) in &leaving {
        tracing::warn!(table = %name, "the job file no longer selects it: the target's table stays as it is");
    }
    let passed = stored.passed.into_iter().filter(|name| !filter.matches(name)).map(|name| (name, false));
    let changes = DefinitionChanges {
        tables: leaving,
        passed: passed.collect(),
        selection: Some(selection.clone()),
        ..DefinitionChanges::default()
    };
    store.change_definitions(&changes, stored.since.as_ref().unwrap_or(at))
}
