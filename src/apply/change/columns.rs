//! What one ALTER TABLE makes of a table at the target, clause by clause.
//!
//! Clauses are found by comparison: the columns before, those after, and which was which. Each goes by the policy of its
//! kind, so the target's table may end up as neither side of the statement: an added column left out, another one renamed.
//! A column of the target therefore stands for a column of the source by its index, never by its name or type.

use std::collections::HashSet;
use std::sync::Arc;

use super::Rules;
use super::plan::Verdict;
use crate::config::DdlKind;
use crate::mysql::value::Formatter;
use crate::schema::{Altered, Column, Mapping, Table, TargetColumn, TargetTable, map_column, rewrites_rows};
use crate::{Error, Result};

/// A table's two shapes at the target, and which column of the second was which of the first.
#[derive(Debug)]
pub(super) struct Reshaped {
    pub(super) mapping: Mapping,
    pub(super) before: TargetTable,
    pub(super) after: TargetTable,
    pub(super) was: Vec<Option<usize>>,
    /// What the statement did to rows, so that an ALTER at the target does not lead there.
    pub(super) rewritten: Vec<String>,
    /// Of a table without a key: why the hashes of the rows that exist are others now.
    pub(super) rehashed: Option<String>,
}

impl Reshaped {
    /// Only the source has changed, or the order of columns, which the target does not follow.
    pub(super) fn is_same_at_target(&self) -> bool {
        let same = |(after, was): (&TargetColumn, &Option<usize>)| {
            was.and_then(|was| self.before.columns.get(was))
                .is_some_and(|before| *after == TargetColumn { source: after.source, ..before.clone() })
        };
        self.before.columns.len() == self.after.columns.len()
            && self.before.comment == self.after.comment
            && self.after.columns.iter().zip(&self.was).all(same)
    }

    /// Columns of the target under another name than before, and those that are no more.
    pub(super) fn moved(&self) -> (Vec<(String, String)>, Vec<String>) {
        let renamed = self.after.columns.iter().zip(&self.was).filter_map(|(after, was)| {
            let before = self.before.columns.get((*was)?)?;
            (before.name != after.name).then(|| (before.name.clone(), after.name.clone()))
        });
        let kept: HashSet<usize> = self.was.iter().flatten().copied().collect();
        let dropped = self.before.columns.iter().enumerate().filter(|(index, _)| !kept.contains(index));
        (renamed.collect(), dropped.map(|(_, column)| column.name.clone()).collect())
    }
}

/// `strict`: see [`rewrites_rows`].
///
/// # Errors
/// Definite: the table has another key; a column that the target cannot have; two columns of one name.
pub(super) fn reshape(
    mapping: &Mapping,
    altered: &Altered,
    strict: bool,
    rules: &Rules,
    verdict: &mut Verdict<'_>,
) -> Result<Reshaped> {
    let Altered { before, after, was } = altered;
    let table = &before.name;
    let at_target = |source: usize| mapping.target.columns.iter().position(|column| column.source == source);
    check_key(altered)?;

    // Of each column of `after` that the target has: what it was there and what it is now.
    let made = mapping.target.columns.len() - mapping.carried().len();
    let mut columns: Vec<(Option<usize>, TargetColumn)> = mapping
        .target
        .columns
        .iter()
        .take(made)
        .cloned()
        .enumerate()
        .map(|(index, column)| (Some(index), column))
        .collect();
    let mut applied: Vec<usize> = Vec::new();
    for (index, column) in after.columns.iter().enumerate() {
        let is_key = after.key.contains(&index);
        let wanted = || {
            map_column(column, index, is_key, &rules.mapping)
                .map_err(|error| error.context(format!("table {table}: column {}", column.name)))
        };
        let Some(old) = was.get(index).copied().flatten() else {
            if verdict.on(DdlKind::AddColumn, format_args!("{table}: column {} is added", column.name)) {
                applied.push(index);
                columns.push((None, wanted()?));
            }
            continue;
        };
        // One that was left out stays out.
        let (Some(place), Some(former)) = (at_target(old), before.columns.get(old)) else { continue };
        let mut now = TargetColumn { source: index, ..mapping.target.columns[place].clone() };
        if former.name != column.name {
            let what = format_args!("{table}: column {} is renamed to {}", former.name, column.name);
            if verdict.on(DdlKind::RenameColumn, what) {
                now.name.clone_from(&column.name);
            }
        }
        if !is_like(former, column) {
            if verdict.on(DdlKind::ModifyColumn, format_args!("{table}: column {} has another definition", column.name))
            {
                applied.push(index);
                now = TargetColumn { name: now.name, ..wanted()? };
            } else {
                // Whether its values can be written at all.
                Formatter::new(column, &now, is_key, &rules.values).map(drop).map_err(|error| {
                    error
                        .context(format!("table {table}: its change is not to be applied (ddl.modifyColumn)"))
                        .hint("set ddl.modifyColumn to `apply`, or leave the table out with source.excludeTables")
                })?;
            }
        }
        columns.push((Some(place), now));
    }
    let mut rehashed = None;
    if made == 0 {
        // The target's order: the key first, in its own order.
        let key_place = |column: &TargetColumn| after.key.iter().position(|&key| key == column.source);
        columns.sort_by_key(|(_, column)| key_place(column).unwrap_or(after.key.len()));
    } else {
        let places: HashSet<usize> = columns.iter().filter_map(|(was, _)| *was).collect();
        rehashed = match places.len() == mapping.target.columns.len() && columns.len() == places.len() {
            true => other_texts(altered, &columns[made..], strict, rules),
            false => Some("it has other columns".to_owned()),
        };
        if rehashed.is_none() {
            // The hash is made in the order that they had.
            columns.sort_by_key(|(was, _)| *was);
        }
    }
    let rehashed = rehashed.map(|why| {
        format!("it has no key, and the hash that stands for one is made of all cells of a row: {why}, so its rows have others")
    });

    let fed = mapping.target.columns.len();
    let mut unfed: Vec<(Option<usize>, TargetColumn)> =
        mapping.unfed.iter().enumerate().map(|(index, column)| (Some(fed + index), column.clone())).collect();
    for (index, column) in before.columns.iter().enumerate() {
        if was.contains(&Some(index)) {
            continue;
        }
        let Some(place) = at_target(index) else { continue };
        if !verdict.on(DdlKind::DropColumn, format_args!("{table}: column {} is dropped", column.name)) {
            let kept = mapping.target.columns[place].clone();
            // Rows bring it no value any more.
            let nullable = kept.nullable || kept.default.is_none();
            unfed.push((Some(place), TargetColumn { nullable, ..kept }));
        }
    }
    let comment = match before.comment == after.comment {
        true => &mapping.target.comment,
        false if verdict.on(DdlKind::ModifyColumn, format_args!("{table}: the table has another comment")) => {
            &after.comment
        }
        false => &mapping.target.comment,
    };
    check_names(altered, &columns, &unfed)?;

    let target = TargetTable {
        name: mapping.target.name.clone(),
        columns: columns.iter().map(|(_, column)| column.clone()).collect(),
        key_columns: mapping.target.key_columns,
        comment: comment.clone(),
    };
    let was = columns.iter().chain(&unfed).map(|(was, _)| *was).collect();
    let unfed = unfed.into_iter().map(|(_, column)| column).collect();
    let mapped = Mapping { source: after.as_ref().clone(), target, unfed, twin: mapping.twin.clone() };
    let rewritten = rewritten(altered, &applied, strict);
    let (before, after) = (mapping.whole_target(), mapped.whole_target());
    Ok(Reshaped { before, after, was, rewritten, rehashed, mapping: mapped })
}

/// Why some cell of rows that exist has another text, whether or not the target's columns follow the statement.
fn other_texts(
    altered: &Altered,
    columns: &[(Option<usize>, TargetColumn)],
    strict: bool,
    rules: &Rules,
) -> Option<String> {
    let all: Vec<usize> = columns.iter().map(|(_, column)| column.source).collect();
    if let Some(found) = rewritten(altered, &all, strict).into_iter().next() {
        return Some(found);
    }
    let type_of = |column: &Column| map_column(column, 0, false, &rules.mapping).ok().map(|column| column.ty);
    all.into_iter().find_map(|index| {
        let now = altered.after.columns.get(index)?;
        let former = altered.before.columns.get((*altered.was.get(index)?)?)?;
        let alike = type_of(former).zip(type_of(now)).is_some_and(|(former, now)| former.texts_like(now));
        (!alike).then(|| format!("column {} has another type", now.name))
    })
}

/// Alike but for the name, and what no row and no target knows of.
fn is_like(before: &Column, after: &Column) -> bool {
    *before == Column { name: before.name.clone(), invisible: before.invisible, ..after.clone() }
}

fn check_key(altered: &Altered) -> Result<()> {
    let Altered { before, after, was } = altered;
    let key: Vec<Option<usize>> = after.key.iter().map(|&index| was.get(index).copied().flatten()).collect();
    if key.iter().copied().eq(before.key.iter().map(|&index| Some(index))) {
        return Ok(());
    }
    Err(Error::definite(format!("table {}: it has another key now", before.name)))
}

/// What the statement did to rows and the log does not tell. `applied`: the columns of `after` that come or change at the
/// target.
fn rewritten(altered: &Altered, applied: &[usize], strict: bool) -> Vec<String> {
    let Altered { before, after, was } = altered;
    let of_all = |index: &usize| Some((after.columns.get(*index)?.clone(), *was.get(*index)?));
    let (columns, was) = applied.iter().filter_map(of_all).unzip();
    let after = Arc::new(Table { columns, ..after.as_ref().clone() });
    rewrites_rows(&Altered { before: Arc::clone(before), after, was }, strict)
}

fn check_names(
    altered: &Altered,
    columns: &[(Option<usize>, TargetColumn)],
    unfed: &[(Option<usize>, TargetColumn)],
) -> Result<()> {
    let mut seen: HashSet<String> = HashSet::new();
    for (_, column) in unfed.iter().chain(columns) {
        if !seen.insert(column.name.to_lowercase()) {
            return Err(Error::definite(format!(
                "table {}: the target's table has a column {} already, which a drop or a rename that was not applied has left \
                 there: values of two columns would be mixed",
                altered.before.name, column.name
            ))
            .hint(
                "set the policy of this statement (ddl.addColumn, ddl.renameColumn) to `ignore` and start again: the job \
                 goes on with this statement and leaves the target's column as it is. Or begin a new job (another `name`) \
                 with an empty target table",
            ));
        }
    }
    Ok(())
}
