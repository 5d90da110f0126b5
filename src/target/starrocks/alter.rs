//! From a table's old shape to its new one: which statement comes next, told by what the target has *now*.
//!
//! [`next`] is asked again and again, each time with the columns that the target shows, until nothing is left to do. So
//! there is no list of statements that could get out of step with the table: after a crash, a lost answer or a change that
//! somebody else made, the next question finds what is missing. It works as long as every state on the way tells how far
//! the change has come:
//!
//! ```text
//!   a, b, x ──drop x──▶ a, b ──b to c──▶ a, c ──a to b──▶ b, c ──add a──▶ a, b, c
//! ```
//!
//! - *Dropped* columns go first: their names may be wanted again. A column that is dropped and made again under its name
//!   looks the same before and after, so it is dropped (again) once a call; its new values are equal in all rows then.
//! - *Renamed* columns go from the end of a chain to its beginning. A step is done when its new name is there, since the
//!   one that had that name before has gone on. Where a column is dropped and others move up into its name, one name of
//!   the chain is always missing, and which one tells how far it is. Columns that exchange their names look the same
//!   before and after: nobody could tell whether it has been done, so it is not ([`cannot`]).
//! - *New* columns come in one statement, where the source has them as far as that can be said without moving others:
//!   loads name their columns, so the order is for people only, and an existing column is never moved (StarRocks would
//!   rewrite the table). StarRocks keeps the first name of a renamed column for ever; a new column of that name is made
//!   under a temporary one and then renamed.
//! - *Wider* columns: a column that takes every value of the new type stays as it is, also when it is wider or may be NULL.
//! - *Comments* last. They are not worth an error.
//!
//! A column that is in neither shape is somebody else's, and stays.

use super::ddl::define;
use super::existing::{ExistingColumn, holds, integer_rank, same_name};
use super::sql::quote_text;
use crate::schema::{Fill, ROW_HASH, TableName, TargetColumn, TargetDefault, TargetTable, TargetType, quote};
use crate::target::Version;
use crate::{Error, Result};

/// `RENAME COLUMN` since then.
const RENAMES: Version = Version { major: 3, minor: 3, patch: 2 };
/// A primary key's VARCHAR can become longer.
const LONGER_KEYS: Version = Version { major: 4, minor: 0, patch: 0 };

#[derive(Debug, Clone, Copy)]
pub(super) struct Change<'a> {
    pub(super) before: &'a TargetTable,
    pub(super) after: &'a TargetTable,
    /// For each column of `after`, the index in `before.columns` of what it was.
    pub(super) was: &'a [Option<usize>],
    pub(super) version: Version,
}

/// What a call has done already that the table does not show.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Columns that were dropped, of which the new shape has one of the same name.
    pub(super) dropped: Vec<String>,
    /// Temporary names that StarRocks refuses, having been others' first names.
    pub(super) refused_names: Vec<String>,
    /// Changes of comments that are done or that the server does not take.
    pub(super) commented: Vec<String>,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// Behind `ALTER TABLE name`.
    pub(super) clauses: String,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Drop(Vec<String>),
    Rename,
    /// The names that the new columns get first.
    Add(Vec<String>),
    Modify,
    Comment,
}

/// A column that goes from one name to another; case does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Move<'a> {
    from: &'a str,
    to: &'a str,
}

/// The next statement; `None`: the table has its new shape.
///
/// # Errors
/// Definite: the table is in no state between the two shapes.
pub(super) fn next(change: &Change<'_>, existing: &[ExistingColumn], progress: &Progress) -> Result<Option<Step>> {
    if let Some(step) = drop_columns(change, existing, progress) {
        return Ok(Some(step));
    }
    if let Some(step) = rename(change, existing)? {
        return Ok(Some(step));
    }
    if let Some(step) = end_temporary(change, existing) {
        return Ok(Some(step));
    }
    if let Some(step) = add(change, existing, progress)? {
        return Ok(Some(step));
    }
    if let Some(step) = modify(change, existing)? {
        return Ok(Some(step));
    }
    Ok(comment(change, existing, progress))
}

/// What cannot be done in place, whatever the table looks like now: each with the column and why.
pub(super) fn cannot(change: &Change<'_>) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(other_key(change));
    found.extend(other_hash(change));
    let moves = moves(change);
    for one in &moves {
        let what = format!("column {}: RENAME COLUMN to {}", one.from, one.to);
        if change.version < RENAMES {
            found.push(format!("{what} needs StarRocks {RENAMES}, this is {}", change.version));
        } else if chain(&moves, *one).is_none() {
            found.push(format!(
                "{what}: columns exchange their names, and after a crash nobody could tell whether they have"
            ));
        } else if is_filled_up(change, &moves, *one) {
            found.push(format!(
                "{what}: that name's column is dropped and a new one is called {}; after a crash nobody could tell which is which",
                one.from
            ));
        }
    }
    for (index, column) in change.after.columns.iter().enumerate() {
        let key = index < change.after.key_columns;
        match was(change, index) {
            None if column.fill == Fill::Unknown => found.push(format!(
                "column {}: it is new, and its values in rows that exist are not known or have no DEFAULT at the target",
                column.name
            )),
            None => {}
            Some(before) => found.extend(no_way(before.ty, column, key, change.version)),
        }
    }
    found
}

fn was<'a>(change: &Change<'a>, after: usize) -> Option<&'a TargetColumn> {
    change.before.columns.get((*change.was.get(after)?)?)
}

fn other_key(change: &Change<'_>) -> Option<String> {
    let same = change.before.key_columns == change.after.key_columns
        && (0..change.after.key_columns).all(|index| change.was.get(index) == Some(&Some(index)));
    let names =
        |table: &TargetTable| table.key().iter().map(|column| column.name.clone()).collect::<Vec<_>>().join(", ");
    (!same).then(|| {
        format!(
            "the key changes from ({}) to ({}), and StarRocks keeps a table's key",
            names(change.before),
            names(change.after)
        )
    })
}

/// A row hash is made of the texts of all columns in order. Names, and what the target may hold beyond the source's values,
/// are not in it.
fn other_hash(change: &Change<'_>) -> Option<String> {
    let hashed = change.before.key().iter().chain(change.after.key()).any(|column| column.name == ROW_HASH);
    let same = change.was.len() == change.before.columns.len()
        && change.was.iter().enumerate().all(|(index, was)| *was == Some(index))
        && change
            .before
            .columns
            .iter()
            .zip(&change.after.columns)
            .all(|(before, after)| before.ty.texts_like(after.ty));
    (hashed && !same).then(|| {
        "the table has no key: its rows are told apart by a hash of all columns, which would be another one for rows that exist"
            .to_owned()
    })
}

fn no_way(before: TargetType, after: &TargetColumn, key: bool, version: Version) -> Option<String> {
    if holds(before, after.ty) {
        return None;
    }
    let longer = matches!((before, after.ty), (TargetType::Varchar { .. }, TargetType::Varchar { .. }));
    let why = match way(before, after.ty, version) {
        None => "StarRocks cannot change the type so",
        Some(_) if key && !(longer && version >= LONGER_KEYS) => "StarRocks keeps the types of key columns",
        Some(_) => return None,
    };
    Some(format!("column {}: {before} to {}: {why}", after.name, after.ty))
}

/// The type to give a column of type `from` so that it takes every value of `to`; StarRocks' `SchemaChangeTypeCompatibility`.
fn way(from: TargetType, to: TargetType, version: Version) -> Option<TargetType> {
    use TargetType::{BigInt, Date, DateTime, Decimal, Double, Float, Int, Json, LargeInt, SmallInt, TinyInt, Varchar};
    let text = |digits: u32| matches!(to, Varchar { bytes } if bytes >= digits).then_some(to);
    match (from, to) {
        (Decimal { precision, scale }, Decimal { precision: wide, scale: fine }) => {
            let (scale, fine) = (scale.max(fine), (precision - scale.min(precision)).max(wide - fine.min(wide)));
            let most = if version.major < 4 { 38 } else { 76 };
            let precision = scale.checked_add(fine).filter(|all| *all <= most)?;
            Some(Decimal { precision, scale })
        }
        // A sign, a point, and a zero before it.
        (Decimal { precision, .. }, Varchar { .. }) => text(u32::from(precision) + 3),
        (TinyInt | SmallInt | Int | BigInt | LargeInt, Varchar { .. }) => text(40),
        (Float | Double | Json, Varchar { .. }) => Some(to),
        (TargetType::Boolean, _) => None,
        (TinyInt | SmallInt | Int | BigInt, Double) | (Float, Double) | (Date, DateTime) | (DateTime, Date) => Some(to),
        (
            Varchar { .. },
            TinyInt | SmallInt | Int | BigInt | LargeInt | Float | Double | Date | Json | Decimal { .. },
        ) => Some(to),
        (Varchar { .. }, Varchar { .. }) | (TargetType::Varbinary { .. }, TargetType::Varbinary { .. }) => Some(to),
        _ => (integer_rank(from)? < integer_rank(to)?).then_some(to),
    }
}

fn find<'a>(existing: &'a [ExistingColumn], name: &str) -> Option<&'a ExistingColumn> {
    existing.iter().find(|column| column.is_named(name))
}

fn moves<'a>(change: &Change<'a>) -> Vec<Move<'a>> {
    let moves = change.after.columns.iter().enumerate().filter_map(|(index, column)| {
        let before = was(change, index)?;
        (!same_name(&before.name, &column.name)).then_some(Move { from: &before.name, to: &column.name })
    });
    moves.collect()
}

/// The moves that have to come before `one`, the first to be done at the end of the list, with `one` at its beginning.
/// `None`: they go round.
fn chain<'a>(moves: &[Move<'a>], one: Move<'a>) -> Option<Vec<Move<'a>>> {
    let mut chain = vec![one];
    let mut last = one;
    while let Some(next) = moves.iter().find(|other| same_name(other.from, last.to)) {
        if chain.contains(next) {
            return None;
        }
        chain.push(*next);
        last = *next;
    }
    Some(chain)
}

/// Old columns that have no successor.
fn gone<'a>(change: &Change<'a>) -> impl Iterator<Item = &'a str> {
    let kept = change.was;
    let columns = change.before.columns.iter().enumerate();
    columns.filter(|(index, _)| !kept.contains(&Some(*index))).map(|(_, column)| column.name.as_str())
}

fn added<'a>(change: &Change<'a>) -> impl Iterator<Item = (usize, &'a TargetColumn)> {
    let was = change.was;
    change.after.columns.iter().enumerate().filter(move |(index, _)| was.get(*index).copied().flatten().is_none())
}

/// The chain of `one` ends in a dropped column's name, and begins with a name that a new column takes: no name of it is
/// ever missing that would tell how far it has come.
fn is_filled_up(change: &Change<'_>, moves: &[Move<'_>], one: Move<'_>) -> bool {
    let Some(chain) = chain(moves, one) else { return true };
    let ends_in_dropped = chain.last().is_some_and(|last| gone(change).any(|name| same_name(name, last.to)));
    ends_in_dropped && added(change).any(|(_, column)| same_name(&column.name, one.from))
}

fn drop_columns(change: &Change<'_>, existing: &[ExistingColumn], progress: &Progress) -> Option<Step> {
    let moves = moves(change);
    let is_due = |name: &&str| {
        if find(existing, name).is_none() || progress.dropped.iter().any(|done| same_name(done, name)) {
            return false;
        }
        // Others move up into its name: it is the old one as long as none of their names is missing.
        let chained = |one: &&Move<'_>| {
            chain(&moves, **one).is_some_and(|chain| chain.last().is_some_and(|end| same_name(end.to, name)))
        };
        moves.iter().filter(chained).all(|one| find(existing, one.from).is_some())
    };
    let names: Vec<String> = gone(change).filter(is_due).map(str::to_owned).collect();
    if names.is_empty() {
        return None;
    }
    let clauses: Vec<String> = names.iter().map(|name| format!("DROP COLUMN {}", quote(name))).collect();
    Some(Step { clauses: clauses.join(", "), kind: Kind::Drop(names) })
}

fn rename(change: &Change<'_>, existing: &[ExistingColumn]) -> Result<Option<Step>> {
    let moves = moves(change);
    let fail = |text: String| {
        Err(Error::definite(format!("target table {}: {text}", change.after.name))
            .hint("its columns are neither those before the change nor those after it: make them so, then start the job again"))
    };
    for start in &moves {
        for one in chain(&moves, *start).unwrap_or_default().iter().rev() {
            match (find(existing, one.from), find(existing, one.to)) {
                (Some(_), None) => return Ok(Some(renaming(one.from, one.to))),
                (None, None) => {
                    return fail(format!("column {} is to be called {}, and neither is there", one.from, one.to));
                }
                (Some(_), Some(_)) if !is_wanted(change, one.from) => {
                    return fail(format!("column {} is to be called {}, and both are there", one.from, one.to));
                }
                (_, Some(_)) => {}
            }
        }
    }
    Ok(respell(change, existing))
}

fn is_wanted(change: &Change<'_>, name: &str) -> bool {
    change.after.columns.iter().any(|column| same_name(&column.name, name))
}

fn renaming(from: &str, to: &str) -> Step {
    Step { clauses: format!("RENAME COLUMN {} TO {}", quote(from), quote(to)), kind: Kind::Rename }
}

/// A name whose case alone has changed goes a roundabout way: StarRocks takes the new one for a duplicate. Only partial
/// updates look at the case, so where columns cannot be renamed it stays.
fn respell(change: &Change<'_>, existing: &[ExistingColumn]) -> Option<Step> {
    if change.version < RENAMES {
        return None;
    }
    let column = change.after.columns.iter().enumerate().find_map(|(index, column)| {
        let before = was(change, index)?;
        let there = find(existing, &column.name)?;
        (before.name != column.name && there.name() == before.name).then_some(column)
    })?;
    let there = find(existing, &column.name)?;
    Some(renaming(there.name(), &temporary(&column.name, 0)))
}

/// A name that tells which one the column is to have in the end.
fn temporary(name: &str, number: usize) -> String {
    format!("{TEMPORARY}{number}_{name}")
}

const TEMPORARY: &str = "towpath_tmp";

fn is_temporary_of(there: &str, name: &str) -> bool {
    let rest = there.get(TEMPORARY.len()..).filter(|_| there.starts_with(TEMPORARY));
    let Some((number, of)) = rest.and_then(|rest| rest.split_once('_')) else { return false };
    number.parse::<usize>().is_ok() && same_name(of, name)
}

fn end_temporary(change: &Change<'_>, existing: &[ExistingColumn]) -> Option<Step> {
    change.after.columns.iter().filter(|column| find(existing, &column.name).is_none()).find_map(|column| {
        let there = existing.iter().find(|there| is_temporary_of(there.name(), &column.name))?;
        Some(renaming(there.name(), &column.name))
    })
}

fn add(change: &Change<'_>, existing: &[ExistingColumn], progress: &Progress) -> Result<Option<Step>> {
    let missing: Vec<(usize, &TargetColumn)> =
        added(change).filter(|(_, column)| find(existing, &column.name).is_none()).collect();
    let mut order: Vec<String> = existing.iter().map(|column| column.name().to_owned()).collect();
    let (mut clauses, mut names) = (Vec::new(), Vec::new());
    for (index, column) in missing {
        let fill = match &column.fill {
            Fill::Null => None,
            Fill::Value(value) => Some(TargetDefault::Literal(value.clone())),
            Fill::Unknown => {
                return Err(Error::definite(format!(
                    "target table {}: column {} is new, and what it holds in rows that exist is not known",
                    change.after.name, column.name
                ))
                .hint("the table has to be copied again"));
            }
        };
        // Rows that exist hold NULL where there is no default, so it must be allowed.
        let nullable = column.nullable || fill.is_none();
        let name = first_name(&column.name, progress);
        let made = TargetColumn { name: name.clone(), default: fill, nullable, ..column.clone() };
        let mut clause = format!("ADD COLUMN {}", define(&made));
        let left = index.checked_sub(1).and_then(|left| change.after.columns.get(left));
        let left = left.and_then(|left| order.iter().position(|name| same_name(name, &left.name)));
        match left {
            Some(at) if at + 1 < order.len() => {
                clause.push_str(&format!(" AFTER {}", quote(&order[at])));
                order.insert(at + 1, name.clone());
            }
            _ => order.push(name.clone()),
        }
        clauses.push(clause);
        names.push(name);
    }
    Ok((!clauses.is_empty()).then(|| Step { clauses: clauses.join(", "), kind: Kind::Add(names) }))
}

/// The column's own name, unless StarRocks keeps it for another column.
fn first_name(name: &str, progress: &Progress) -> String {
    let is_refused = |name: &String| progress.refused_names.iter().any(|refused| same_name(refused, name));
    let mut first = name.to_owned();
    let mut number = 0;
    while is_refused(&first) {
        number += 1;
        first = temporary(name, number);
    }
    first
}

fn modify(change: &Change<'_>, existing: &[ExistingColumn]) -> Result<Option<Step>> {
    let fail = |text: String| {
        Err(Error::definite(format!("target table {}: {text}", change.after.name))
            .hint("make the column take every value of the new type, or drop the table and copy it again"))
    };
    let mut clauses = Vec::new();
    for column in &change.after.columns {
        let Some(there) = find(existing, &column.name) else {
            return fail(format!("column {} is not there", column.name));
        };
        if there.takes(column) {
            continue;
        }
        let ty = match there.ty() {
            Some(ty) if holds(ty, column.ty) => Some(ty),
            Some(ty) => way(ty, column.ty, change.version),
            None => None,
        };
        let Some(ty) = ty else {
            return fail(format!("column {} is {}, {} is needed", column.name, there.type_text(), column.ty));
        };
        clauses.push(format!("MODIFY COLUMN {}", there.redefined(ty, column.nullable)));
    }
    Ok((!clauses.is_empty()).then(|| Step { clauses: clauses.join(", "), kind: Kind::Modify }))
}

/// Only what the source has changed: a comment that somebody wrote at the target stays.
fn comment(change: &Change<'_>, existing: &[ExistingColumn], progress: &Progress) -> Option<Step> {
    let of_columns = change.after.columns.iter().enumerate().filter_map(|(index, column)| {
        let before = was(change, index)?;
        let there = find(existing, &column.name)?;
        (before.comment != column.comment && there.comment() != column.comment)
            .then(|| format!("MODIFY COLUMN {} COMMENT {}", quote(there.name()), quote_text(&column.comment)))
    });
    let of_table = (change.before.comment != change.after.comment)
        .then(|| format!("COMMENT = {}", quote_text(&change.after.comment)));
    let clauses = of_columns.chain(of_table).find(|clauses| !progress.commented.contains(clauses))?;
    Some(Step { clauses, kind: Kind::Comment })
}

/// `ALTER TABLE …`.
pub(super) fn statement(table: &TableName, step: &Step) -> String {
    format!("ALTER TABLE {} {}", table.quoted(), step.clauses)
}

#[cfg(test)]
mod tests;
