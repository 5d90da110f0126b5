//! A statement's clauses, sorted as the servers' parsers sort them: one list of columns that are defined, one of columns that
//! are altered, one of those that are dropped, and so for keys. Only within a list does the clauses' order count.
//!
//! MariaDB's `IF [NOT] EXISTS` is settled here, before anything else is looked at, and by the table as it was before the
//! statement (`handle_if_exists_options`): a column that the same statement drops is still there.

use super::same;
use crate::mysql::ddl::{ColumnDefinition, ColumnPlace, DefaultClause, IfThere, KeyDefinition, KeyKind, TableChange};
use crate::schema::Table;

/// `ADD`, and with an old name `CHANGE` and `MODIFY`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Defined<'a> {
    pub(super) change: Option<&'a str>,
    pub(super) definition: &'a ColumnDefinition,
    pub(super) place: &'a ColumnPlace,
}

/// `RENAME COLUMN` and `ALTER COLUMN`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Altered<'a> {
    pub(super) column: &'a str,
    pub(super) what: What<'a>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum What<'a> {
    Rename(&'a str),
    Default(Option<&'a DefaultClause>),
    Visible(bool),
}

#[derive(Debug, Default)]
pub(super) struct Clauses<'a> {
    pub(super) defined: Vec<Defined<'a>>,
    pub(super) altered: Vec<Altered<'a>>,
    pub(super) dropped: Vec<&'a str>,
    pub(super) keys: KeyClauses<'a>,
}

#[derive(Debug, Default)]
pub(super) struct KeyClauses<'a> {
    pub(super) added: Vec<KeyDefinition>,
    pub(super) drops_primary: bool,
    pub(super) dropped: Vec<&'a str>,
    /// Of unique keys only: what else the name may stand for is not followed. With whether it may be missing.
    pub(super) constraints_dropped: Vec<(&'a str, bool)>,
    /// Old name and new.
    pub(super) renamed: Vec<(&'a str, &'a str)>,
}

impl<'a> Clauses<'a> {
    pub(super) fn read(before: &'a Table, changes: &'a [TableChange], mariadb: bool) -> Self {
        let there = |name: &str| before.columns.iter().any(|column| same(&column.name, name));
        let mut clauses = Clauses::default();
        // With whether the old column may be missing.
        let mut defined: Vec<(Defined<'a>, bool)> = Vec::new();
        for change in changes {
            match change {
                TableChange::AddColumn { column, place, if_not_exists } => {
                    // Its key stays even where the column does not come: keys are in a list of their own.
                    clauses.keys.of_column(column, *if_not_exists, mariadb);
                    let among = |(other, _): &(Defined<'_>, bool)| same(&other.definition.name, &column.name);
                    if !(*if_not_exists && (there(&column.name) || defined.iter().any(among))) {
                        defined.push((Defined { change: None, definition: column, place }, false));
                    }
                }
                TableChange::ChangeColumn { old, column, place, if_exists } => {
                    clauses.keys.of_column(column, *if_exists, mariadb);
                    defined.push((Defined { change: Some(old), definition: column, place }, *if_exists));
                }
                TableChange::DropColumn { name, if_exists } => {
                    let twice = clauses.dropped.iter().any(|other| same(other, name));
                    if !*if_exists || there(name) && !twice {
                        clauses.dropped.push(name);
                    }
                }
                TableChange::RenameColumn { old, new, if_exists } => {
                    if !*if_exists || there(old) {
                        clauses.altered.push(Altered { column: old, what: What::Rename(new) });
                    }
                }
                TableChange::SetDefault { column, default, if_exists } => {
                    if !*if_exists || there(column) {
                        clauses.altered.push(Altered { column, what: What::Default(default.as_ref()) });
                    }
                }
                TableChange::SetVisible { column, visible } => {
                    clauses.altered.push(Altered { column, what: What::Visible(*visible) });
                }
                TableChange::AddKey(key) => clauses.keys.added.push(key.clone()),
                TableChange::DropPrimaryKey => clauses.keys.drops_primary = true,
                TableChange::DropKey(name) => clauses.keys.dropped.push(name),
                TableChange::DropConstraint { name, if_exists } => {
                    clauses.keys.constraints_dropped.push((name, *if_exists));
                }
                TableChange::RenameKey { old, new } => clauses.keys.renamed.push((old, new)),
                TableChange::ConvertCharset(_)
                | TableChange::DefaultCharset(_)
                | TableChange::Comment(_)
                | TableChange::RenameTo(_)
                | TableChange::RowsUnlogged(_)
                | TableChange::Discard(_)
                | TableChange::SystemVersioning
                | TableChange::Nothing => {}
            }
        }
        let kept = defined.into_iter().filter(|(defined, if_exists)| !*if_exists || defined.change.is_some_and(there));
        clauses.defined = kept.map(|(defined, _)| defined).collect();
        clauses.keys.settle(before);
        clauses
    }
}

impl<'a> KeyClauses<'a> {
    /// The keys that stand behind a column's type.
    fn of_column(&mut self, column: &ColumnDefinition, kept: bool, mariadb: bool) {
        let if_there = if kept { IfThere::Kept } else { IfThere::Refused };
        let mut add = |kind| {
            let columns = vec![Some(column.name.clone())];
            self.added.push(KeyDefinition { kind, name: None, columns, if_there });
        };
        if column.primary {
            add(KeyKind::Primary);
        }
        // MariaDB takes the primary key for both.
        if column.unique && !(mariadb && column.primary) {
            add(KeyKind::Unique);
        }
    }

    /// `IF NOT EXISTS` and `OR REPLACE`.
    fn settle(&mut self, before: &'a Table) {
        let there = |name: &str| before.indexes.iter().find(|index| same(&index.name, name));
        for key in std::mem::take(&mut self.added) {
            match (key.if_there, name(&key)) {
                (IfThere::Kept, _) if key.kind == KeyKind::Primary => {
                    if before.primary && !before.key.is_empty() {
                        continue;
                    }
                }
                (IfThere::Kept, Some(own)) => {
                    let twin = |other: &KeyDefinition| {
                        other.kind == key.kind && name(other).is_some_and(|other| same(own, other))
                    };
                    if there(own).is_some() || self.added.iter().any(twin) {
                        continue;
                    }
                }
                (IfThere::Replaced, Some(own)) => self.dropped.extend(there(own).map(|index| index.name.as_str())),
                (IfThere::Kept | IfThere::Replaced, None) | (IfThere::Refused, _) => {}
            }
            self.added.push(key);
        }
    }
}

/// What a key is looked for by: without a name its first column's.
fn name(key: &KeyDefinition) -> Option<&str> {
    key.name.as_deref().or_else(|| key.columns.first()?.as_deref())
}
