//! Staged rows into the table, inside the commit's write transaction.

use rusqlite::Transaction;
use serde::{Deserialize, Serialize};

use super::plan::Plan;
use super::stage::{Op, Stage};
use crate::embedded::catalog::{Catalog, Model};
use crate::embedded::store::{quote, storage_name};
use crate::embedded::value::Cell;
use crate::{Error, Result};

/// How staged cells map to columns. Columns go by id: the table may have changed since the load was planned,
/// and a prepared transaction outlives the process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) table: u64,
    /// Column ids in cell order.
    columns: Vec<u32>,
    /// Whether an existing row gets the cell.
    updated: Vec<bool>,
    keys: usize,
    merge_condition: Option<usize>,
}

impl Target {
    pub(crate) fn of(plan: &Plan) -> Target {
        Target {
            table: plan.table.id,
            columns: plan.table.columns.iter().map(|column| column.id).collect(),
            updated: plan.updated.clone(),
            keys: plan.table.key_columns,
            merge_condition: plan.merge_condition,
        }
    }
}

/// Applies every staged row in order, so that the last one of a key wins. With `deletes_last` all upserts go
/// before all deletes, as shared-data clusters did up to 2026: an upsert behind a delete of its key is lost.
///
/// # Errors
/// When the table is gone, or a row breaks a rule that an ALTER brought since.
pub(crate) fn apply(
    tx: &Transaction<'_>,
    catalog: &Catalog,
    target: &Target,
    stage: &Stage,
    deletes_last: bool,
) -> Result<()> {
    let Some(table) = catalog.table_by_id(target.table) else {
        return Err(Error::definite("the table was dropped while the load ran"));
    };
    // Cells whose column is gone are left out.
    let mut cells = Vec::new();
    let mut names = Vec::new();
    let mut sets = Vec::new();
    let mut condition = String::new();
    for (at, id) in target.columns.iter().enumerate() {
        let Some(column) = table.columns.iter().find(|column| column.id == *id) else { continue };
        let name = quote(&column.name);
        if at >= target.keys && target.updated[at] {
            sets.push(format!("{name} = excluded.{name}"));
        }
        if target.merge_condition == Some(at) {
            // NULL is the smallest value of a merge condition.
            condition = format!(" WHERE {0}.{name} IS NULL OR excluded.{name} >= {0}.{name}", storage_name(&table));
        }
        cells.push(at);
        names.push(name);
    }
    let marks = vec!["?"; names.len()].join(", ");
    let storage = storage_name(&table);
    let mut upsert = format!("INSERT INTO {storage} ({}) VALUES ({marks})", names.join(", "));
    if table.model == Model::Primary {
        let keys: Vec<String> = table.keys().iter().map(|column| quote(&column.name)).collect();
        let whole =
            condition.is_empty() && target.updated.iter().all(|updated| *updated) && cells.len() == table.columns.len();
        if whole {
            // Replacing is one step for SQLite where an upsert is two.
            upsert.replace_range(..6, "REPLACE");
        } else if sets.is_empty() {
            upsert.push_str(&format!(" ON CONFLICT ({}) DO NOTHING", keys.join(", ")));
        } else {
            upsert.push_str(&format!(
                " ON CONFLICT ({}) DO UPDATE SET {}{condition}",
                keys.join(", "),
                sets.join(", ")
            ));
        }
    }
    let conditions: Vec<String> = table.keys().iter().map(|column| format!("{} = ?", quote(&column.name))).collect();
    let delete = format!("DELETE FROM {storage} WHERE {}", conditions.join(" AND "));
    let mut upsert = tx.prepare_cached(&upsert)?;
    let mut delete = tx.prepare_cached(&delete)?;
    let mut one = |op: Op, row: &[Cell<'_>]| {
        match op {
            Op::Upsert => {
                for (index, at) in cells.iter().enumerate() {
                    upsert.raw_bind_parameter(index + 1, &row[*at])?;
                }
                upsert.raw_execute()?;
            }
            Op::Delete => {
                for (index, cell) in row.iter().enumerate() {
                    delete.raw_bind_parameter(index + 1, cell)?;
                }
                delete.raw_execute()?;
            }
        }
        Ok(())
    };
    if !deletes_last {
        return stage.for_each(one);
    }
    for pass in [Op::Upsert, Op::Delete] {
        stage.for_each(|op, row| if op == pass { one(op, row) } else { Ok(()) })?;
    }
    Ok(())
}
