//! Which source field goes into which table column, decided before the first byte of the body.

use std::collections::HashMap;
use std::sync::Arc;

use super::columns::{Entry, Expr, parse};
use super::settings::{Body, Settings};
use crate::embedded::catalog::{ColumnDef, DefaultValue, Model, TableDef};
use crate::embedded::types::ColumnType;
use crate::embedded::value::{Cell, from_text};
use crate::target::Version;

/// The column that marks deletes.
const OP: &str = "__op";

/// A load's mapping. Its cells are all columns of the table, in table order.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) table: Arc<TableDef>,
    /// What the source delivers, in its order.
    pub(super) fields: Vec<Field>,
    /// Field of a name, as JSON keys are matched: by exact spelling.
    pub(super) by_name: HashMap<String, usize>,
    /// One for each table column.
    pub(super) sources: Vec<Source>,
    pub(super) op: Op,
    /// Columns an existing row gets anew; the others are only for new rows (`partial_update`).
    pub(crate) updated: Vec<bool>,
    pub(crate) merge_condition: Option<usize>,
    pub(super) strict: bool,
    pub(super) max_filter_ratio: f64,
    /// VARBINARY fields of a CSV are base64, not hex.
    pub(super) base64_binary: bool,
    /// What `now()` gives.
    pub(super) now: String,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    /// It feeds an expression, so it is read as text.
    pub(super) in_expression: bool,
}

#[derive(Debug)]
pub(super) enum Source {
    Field(usize),
    Expr(Expr),
    Constant(Cell<'static>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Upsert,
    Delete,
    /// 0 is an upsert, anything else a delete; nothing there is an upsert.
    Field(usize),
}

impl Plan {
    /// # Errors
    /// The text for the load's `Message`.
    pub(crate) fn new(table: Arc<TableDef>, settings: &Settings, version: Version) -> Result<Plan, String> {
        let entries = match &settings.columns {
            Some(header) => parse(header)?,
            None => Vec::new(),
        };
        let primary = table.model == Model::Primary;
        check_names(&table, &entries)?;
        if settings.partial_update {
            check_partial(&table, &entries)?;
        }
        let mut plain: Vec<String> = Vec::new();
        for entry in entries.iter().filter(|entry| entry.mapping.is_none()) {
            plain.push(entry.name.clone());
        }
        if plain.is_empty() {
            plain = table.columns.iter().map(|column| column.name.clone()).collect();
        }
        let json = matches!(settings.body, Body::Json(_));
        if json && primary && !entries.iter().any(|entry| entry.name == OP) {
            plain.push(OP.to_owned());
        }
        let position = |name: &str| plain.iter().position(|field| field.eq_ignore_ascii_case(name));
        let op = match entries.iter().find(|entry| entry.name == OP).map(|entry| &entry.mapping) {
            Some(Some(expr)) => constant_op(expr)?,
            _ => plain.iter().position(|field| field == OP).map_or(Op::Upsert, Op::Field),
        };
        if op != Op::Upsert && !primary {
            return Err(format!("Mapping column is not in table. column: {OP}"));
        }
        let now = crate::embedded::transaction::now_text();
        let mut in_expression = vec![false; plain.len()];
        for entry in &entries {
            let mut names = Vec::new();
            entry.mapping.iter().for_each(|expr| expr.fields(&mut names));
            for name in names {
                match position(name) {
                    Some(at) => in_expression[at] = true,
                    None => return Err(format!("unknown reference column, column={}, reference={name}", entry.name)),
                }
            }
        }
        let mut sources = Vec::with_capacity(table.columns.len());
        let mut updated = Vec::with_capacity(table.columns.len());
        for column in &table.columns {
            let entry = entries.iter().find(|entry| column.is_named(&entry.name) && entry.mapping.is_some());
            let field = plain.iter().position(|field| column.is_named(field));
            // The columns of a partial update are found by their exact spelling, and only there.
            let spelled = entries.is_empty() || entries.iter().any(|entry| entry.name == column.name);
            updated.push(spelled || !settings.partial_update);
            sources.push(match (entry.and_then(|entry| entry.mapping.clone()), field) {
                (Some(expr), _) => Source::Expr(expr),
                (None, Some(at)) => Source::Field(at),
                (None, None) => Source::Constant(default(column, settings.partial_update, &now)?),
            });
        }
        let merge_condition = match &settings.merge_condition {
            Some(name) => Some(merge_condition(&table, name, &updated)?),
            None => None,
        };
        let by_name = plain.iter().enumerate().map(|(at, name)| (name.clone(), at)).collect();
        let fields =
            plain.into_iter().zip(in_expression).map(|(name, in_expression)| Field { name, in_expression }).collect();
        Ok(Plan {
            table,
            fields,
            by_name,
            sources,
            op,
            updated,
            merge_condition,
            strict: settings.strict,
            max_filter_ratio: settings.max_filter_ratio,
            base64_binary: version >= Version { major: 3, minor: 2, patch: 0 },
            now,
        })
    }
}

fn check_names(table: &TableDef, entries: &[Entry]) -> Result<(), String> {
    for (at, entry) in entries.iter().enumerate() {
        let earlier = entries[..at].iter().filter(|other| other.name.eq_ignore_ascii_case(&entry.name));
        for other in earlier {
            match (&other.mapping, &entry.mapping) {
                (None, None) => return Err(format!("Duplicate column: {}", entry.name)),
                (Some(_), Some(_)) => return Err(format!("Duplicate column mapping: {}", entry.name)),
                _ => {}
            }
        }
        if entry.mapping.is_some() && entry.name != OP && table.column(&entry.name).is_none() {
            return Err(format!("Mapping column is not in table. column: {}", entry.name));
        }
    }
    Ok(())
}

fn check_partial(table: &TableDef, entries: &[Entry]) -> Result<(), String> {
    if table.model != Model::Primary {
        return Err("Only primary key table support partial update".into());
    }
    // Without a columns header every column is named, so nothing is partial about it.
    if entries.is_empty() {
        return Ok(());
    }
    for column in table.keys() {
        if !entries.iter().any(|entry| entry.name == column.name) {
            return Err(format!("key column {} not in partial update columns", column.name));
        }
    }
    Ok(())
}

fn constant_op(expr: &Expr) -> Result<Op, String> {
    match expr {
        Expr::Literal(text) => match text.to_ascii_lowercase().as_str() {
            "0" | "upsert" => Ok(Op::Upsert),
            "1" | "delete" => Ok(Op::Delete),
            _ if text.parse::<f64>().is_ok() => {
                Err("const load op type column should only be upsert(0)/delete(1)".into())
            }
            _ => Err(format!("load op type string not supported: {text}")),
        },
        Expr::Field(_) | Expr::Null | Expr::Call(..) => {
            Err("const load op type column should only be upsert(0)/delete(1)".into())
        }
    }
}

/// What a column that the load does not name gets.
fn default(column: &ColumnDef, partial: bool, now: &str) -> Result<Cell<'static>, String> {
    match &column.default {
        Some(DefaultValue::Literal(text)) => from_text(&column.ty, &column.name, text.as_bytes())
            .map(Cell::into_owned)
            .map_err(|_| format!("Invalid default value. column: {}", column.name)),
        Some(DefaultValue::CurrentTimestamp) => Ok(Cell::Text(now.as_bytes().to_vec().into())),
        None if column.nullable => Ok(Cell::Null),
        // A new row of a partial update takes the type's zero.
        None if partial => Ok(zero(&column.ty)),
        None => Err(format!("Column has no default value. column: {}", column.name)),
    }
}

fn zero(ty: &ColumnType) -> Cell<'static> {
    let text: &[u8] = match ty {
        ColumnType::Date => b"0000-01-01",
        ColumnType::DateTime => b"0000-01-01 00:00:00",
        ColumnType::Char(_) | ColumnType::Varchar(_) | ColumnType::Varbinary(_) => b"",
        ColumnType::Json => b"null",
        ColumnType::Array(_) => b"[]",
        _ => b"0",
    };
    from_text(ty, "", text).map_or(Cell::Null, Cell::into_owned)
}

fn merge_condition(table: &TableDef, name: &str, updated: &[bool]) -> Result<usize, String> {
    if table.model != Model::Primary {
        return Err(format!("Conditional update only support primary key table {}", table.name));
    }
    match table.columns.iter().position(|column| column.is_named(name)) {
        Some(at) if at < table.key_columns => Err(format!("Merge condition column {name} should not be primary key!")),
        Some(at) if updated[at] => Ok(at),
        _ => Err(format!(
            "Merge condition column {name} does not exist. If you are doing partial update with condition update, \
             please check condition column is in the given update columns. Otherwise please check condition column \
             is in table {}",
            table.name
        )),
    }
}
