//! Names: relations, their columns, and how an identifier finds one.

use std::collections::BTreeSet;

use sqlparser::ast::Ident;

use super::super::answer::{OutputColumn, SqlError, SqlResult};
use super::super::information_schema::{self, VirtualTable};
use super::super::session::Session;
use super::{Bound, Kind};
use crate::embedded::catalog::same_name;
use crate::embedded::store::{quote, storage_name};
use crate::embedded::users::Privilege;

/// One query's binding: where names come from, and what has to be made before the query can run.
pub(in crate::embedded::sql) struct Binder<'a> {
    pub(super) session: &'a Session,
    /// Tables made up for this query (information_schema, SHOW), in the order of their SQLite names.
    pub(in crate::embedded::sql) virtuals: Vec<VirtualTable>,
    /// A made-up table under a name that no user can write; SHOW selects from it.
    shown: Option<VirtualTable>,
    pub(super) ctes: Vec<(String, String, Vec<OutputColumn>)>,
    next_relation: usize,
    /// Aggregates bound so far; HAVING without any is a WHERE.
    pub(super) aggregates: usize,
    /// LIKE without case, as SHOW filters want it.
    pub(super) like_ignores_case: bool,
}

/// The database of [`Binder::shown`].
pub(in crate::embedded::sql) const SHOWN: &str = "__shown";

#[derive(Debug, Clone)]
pub(super) struct Relation {
    /// How the statement calls it.
    pub(super) alias: String,
    pub(super) database: Option<String>,
    /// Its name in SQLite's text.
    pub(super) sql: String,
    pub(super) columns: Vec<(String, Kind)>,
    /// Columns that USING has merged into another relation's.
    pub(super) merged: BTreeSet<usize>,
}

pub(super) struct Scope<'p> {
    pub(super) relations: Vec<Relation>,
    /// The select list, for GROUP BY, HAVING and ORDER BY.
    pub(super) aliases: Vec<(String, Bound)>,
    pub(super) parent: Option<&'p Scope<'p>>,
}

impl<'a> Binder<'a> {
    pub(in crate::embedded::sql) fn new(session: &'a Session) -> Binder<'a> {
        Binder {
            session,
            virtuals: Vec::new(),
            shown: None,
            ctes: Vec::new(),
            next_relation: 0,
            aggregates: 0,
            like_ignores_case: false,
        }
    }

    /// For SHOW: `__shown.rows` is `table`.
    pub(in crate::embedded::sql) fn for_show(session: &'a Session, table: VirtualTable) -> Binder<'a> {
        Binder { shown: Some(table), like_ignores_case: true, ..Binder::new(session) }
    }

    pub(super) fn fresh(&mut self) -> String {
        self.next_relation += 1;
        format!("r{}", self.next_relation)
    }

    /// The relation a FROM names, and SQLite's text for it.
    pub(super) fn relation(&mut self, parts: &[String], alias: Option<&str>) -> SqlResult<(Relation, String)> {
        let (database, name) = match parts {
            [name] => (None, name),
            [database, name] | [_, database, name] => (Some(database.clone()), name),
            _ => return Err(SqlError::analyzing(format!("Unknown table '{}'", parts.join(".")))),
        };
        let sql = self.fresh();
        let shown_alias = alias.unwrap_or(name).to_owned();
        if database.is_none()
            && let Some((_, source, columns)) = self.ctes.iter().rev().find(|(cte, _, _)| cte == name)
        {
            let columns = columns.iter().map(|column| (column.name.clone(), column.kind)).collect();
            let from = format!("{source} AS {sql}");
            return Ok((relation(shown_alias, None, sql, columns), from));
        }
        let (database, name) = self.session.qualify(&(database, name.clone()))?;
        let made = if database == SHOWN {
            self.shown.take()
        } else if information_schema::is_system(&database) {
            Some(information_schema::table(self.session, &database, &name)?)
        } else {
            None
        };
        if let Some(made) = made {
            let columns = made.columns.clone();
            self.virtuals.push(made);
            let from = format!("temp.v{} AS {sql}", self.virtuals.len());
            return Ok((relation(shown_alias, Some(database), sql, columns), from));
        }
        let table = self.session.existing(&(Some(database.clone()), name))?;
        self.session.require(Privilege::Select, &database, Some(&table.name))?;
        let columns = table.columns.iter().map(|column| (column.name.clone(), Kind::of(&column.ty))).collect();
        let from = format!("main.{} AS {sql}", storage_name(&table));
        Ok((relation(shown_alias, Some(database), sql, columns), from))
    }
}

pub(super) fn relation(alias: String, database: Option<String>, sql: String, columns: Vec<(String, Kind)>) -> Relation {
    Relation { alias, database, sql, columns, merged: BTreeSet::new() }
}

impl Relation {
    pub(super) fn column(&self, index: usize) -> Option<Bound> {
        let (name, kind) = self.columns.get(index)?;
        Some(Bound::new(format!("{}.{}", self.sql, quote(name)), *kind))
    }
}

impl Scope<'_> {
    /// A column by its written name, here or in an enclosing query.
    ///
    /// # Errors
    /// Not found, or found in two relations.
    pub(super) fn resolve(&self, parts: &[Ident]) -> SqlResult<Bound> {
        let names: Vec<&str> = parts.iter().map(|part| part.value.as_str()).collect();
        let mut scope = Some(self);
        while let Some(here) = scope {
            if let Some(found) = here.find(&names)? {
                return Ok(found);
            }
            scope = here.parent;
        }
        Err(SqlError::unknown_column(&names.join(".")))
    }

    fn find(&self, names: &[&str]) -> SqlResult<Option<Bound>> {
        let mut found = None;
        let (qualifier, name) = match names {
            [.., database, table, name] => (Some((Some(*database), *table)), *name),
            [table, name] => (Some((None, *table)), *name),
            [name] => (None, *name),
            [] => return Ok(None),
        };
        for relation in &self.relations {
            if let Some((database, table)) = qualifier
                && (relation.alias != table || database.is_some() && relation.database.as_deref() != database)
            {
                continue;
            }
            for (index, (column, _)) in relation.columns.iter().enumerate() {
                if !same_name(column, name) || qualifier.is_none() && relation.merged.contains(&index) {
                    continue;
                }
                if found.is_some() {
                    return Err(SqlError::analyzing(format!("Column '{name}' is ambiguous")));
                }
                found = relation.column(index);
            }
        }
        Ok(found)
    }

    /// A select-list alias: its position (from 1) and expression.
    pub(super) fn alias(&self, name: &str) -> Option<(usize, &Bound)> {
        self.aliases.iter().enumerate().find(|(_, (alias, _))| same_name(alias, name)).map(|(at, (_, b))| (at + 1, b))
    }
}
