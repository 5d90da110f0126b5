//! Queries: WITH, SELECT, set operations, ORDER BY and LIMIT.

use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, Join, JoinConstraint, JoinOperator, LimitClause, ObjectName, OrderBy, OrderByExpr,
    OrderByKind, OrderByOptions, OrderBySort, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr,
    SetOperator, SetQuantifier, TableAlias, TableFactor, TableWithJoins, Value,
};

use super::super::answer::{OutputColumn, SqlError, SqlResult};
use super::coerce::{coerce, collated, common, compared};
use super::scope::{Binder, Relation, Scope, relation};
use super::{Bound, BoundQuery, Kind};
use crate::embedded::catalog::{TableDef, same_name};
use crate::embedded::store::{quote, storage_name};

impl Binder<'_> {
    pub(in crate::embedded::sql) fn query(&mut self, query: &Query) -> SqlResult<BoundQuery> {
        self.query_in(query, None)
    }

    pub(super) fn query_in(&mut self, query: &Query, parent: Option<&Scope<'_>>) -> SqlResult<BoundQuery> {
        let known = self.ctes.len();
        let mut with = Vec::new();
        if let Some(clause) = &query.with {
            if clause.recursive {
                return Err(SqlError::analyzing("WITH RECURSIVE is not supported by this server"));
            }
            for cte in &clause.cte_tables {
                let mut bound = self.query_in(&cte.query, parent)?;
                rename(&mut bound.columns, &cte.alias)?;
                let name = self.fresh();
                let columns: Vec<String> = bound.columns.iter().map(|column| quote(&column.name)).collect();
                with.push(format!("{name} ({}) AS ({})", columns.join(", "), bound.sql));
                self.ctes.push((cte.alias.name.value.clone(), name, bound.columns));
            }
        }
        let mut bound = self.body(&query.body, query.order_by.as_ref(), parent)?;
        self.ctes.truncate(known);
        if let Some(limit) = &query.limit_clause {
            bound.sql.push_str(&limit_text(limit)?);
        }
        if !with.is_empty() {
            bound.sql = format!("WITH {} {}", with.join(", "), bound.sql);
        }
        Ok(bound)
    }

    fn body(
        &mut self,
        body: &SetExpr,
        order_by: Option<&OrderBy>,
        parent: Option<&Scope<'_>>,
    ) -> SqlResult<BoundQuery> {
        match body {
            SetExpr::Select(select) => self.select(select, order_by, parent),
            SetExpr::Query(query) => {
                let inner = self.query_in(query, parent)?;
                let sql = format!("SELECT * FROM ({})", inner.sql);
                ordered(BoundQuery { sql, columns: inner.columns }, order_by)
            }
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                let left = self.body(left, None, parent)?;
                let right = self.body(right, None, parent)?;
                ordered(set_operation(&left, *op, *set_quantifier, &right)?, order_by)
            }
            SetExpr::Values(values) => {
                let scope = Scope { relations: Vec::new(), aliases: Vec::new(), parent };
                let mut rows = Vec::new();
                let mut columns: Vec<OutputColumn> = Vec::new();
                for row in &values.rows {
                    let mut cells = Vec::new();
                    for (index, cell) in row.iter().enumerate() {
                        let bound = self.expression(cell, &scope)?;
                        match columns.get_mut(index) {
                            Some(column) => column.kind = common(column.kind, bound.kind),
                            None => columns.push(OutputColumn { name: format!("column_{index}"), kind: bound.kind }),
                        }
                        cells.push(bound.sql);
                    }
                    rows.push(format!("({})", cells.join(", ")));
                }
                ordered(BoundQuery { sql: format!("VALUES {}", rows.join(", ")), columns }, order_by)
            }
            _ => Err(SqlError::analyzing("This form of query is not supported")),
        }
    }

    fn select(
        &mut self,
        select: &Select,
        order_by: Option<&OrderBy>,
        parent: Option<&Scope<'_>>,
    ) -> SqlResult<BoundQuery> {
        let mut scope = Scope { relations: Vec::new(), aliases: Vec::new(), parent };
        let mut from = Vec::new();
        let aggregates = self.aggregates;
        for item in select.from.iter().filter(|item| !is_dual(item)) {
            from.push(self.table_with_joins(item, &mut scope)?);
        }
        self.projection(select, &mut scope)?;
        let mut sql = String::from("SELECT ");
        match &select.distinct {
            None | Some(Distinct::All) => {}
            Some(Distinct::Distinct) => sql.push_str("DISTINCT "),
            Some(Distinct::On(_)) => return Err(SqlError::analyzing("DISTINCT ON is not supported")),
        }
        let items: Vec<String> =
            scope.aliases.iter().map(|(name, bound)| format!("{} AS {}", bound.sql, quote(name))).collect();
        sql.push_str(&items.join(", "));
        if !from.is_empty() {
            sql.push_str(&format!(" FROM {}", from.join(" CROSS JOIN ")));
        }
        let mut conditions = Vec::new();
        if let Some(condition) = &select.selection {
            conditions.push(self.condition(condition, &scope)?);
        }
        let mut keys = Vec::new();
        match &select.group_by {
            GroupByExpr::Expressions(items, modifiers) if modifiers.is_empty() => {
                for item in items {
                    keys.push(self.group_key(item, &scope)?);
                }
            }
            _ => return Err(SqlError::analyzing("GROUP BY ALL, ROLLUP and CUBE are not supported by this server")),
        }
        let mut having = String::new();
        if let Some(condition) = &select.having {
            let condition = self.condition(condition, &scope)?;
            if keys.is_empty() && self.aggregates == aggregates {
                // SQLite refuses HAVING where nothing is grouped; MySQL filters rows.
                conditions.push(condition);
            } else {
                having = format!(" HAVING {condition}");
            }
        }
        if !conditions.is_empty() {
            sql.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
        }
        if !keys.is_empty() {
            sql.push_str(&format!(" GROUP BY {}", keys.join(", ")));
        }
        sql.push_str(&having);
        if let Some(order_by) = order_by {
            let mut keys = Vec::new();
            for item in order_items(order_by)? {
                let key = self.order_key(&item.expr, &scope)?;
                keys.push(format!("{key}{}", direction(&item.options)?));
            }
            sql.push_str(&format!(" ORDER BY {}", keys.join(", ")));
        }
        let columns = scope.aliases.iter().map(|(name, bound)| OutputColumn { name: name.clone(), kind: bound.kind });
        Ok(BoundQuery { sql, columns: columns.collect() })
    }

    fn projection(&mut self, select: &Select, scope: &mut Scope<'_>) -> SqlResult<()> {
        let mut items: Vec<(String, Bound)> = Vec::new();
        for item in &select.projection {
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    let name = match expr {
                        Expr::Identifier(name) => name.value.clone(),
                        Expr::CompoundIdentifier(parts) if !parts[0].value.starts_with("@@") => {
                            parts.last().map(|part| part.value.clone()).unwrap_or_default()
                        }
                        other => other.to_string(),
                    };
                    items.push((name, self.expression(expr, scope)?));
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    items.push((alias.value.clone(), self.expression(expr, scope)?));
                }
                SelectItem::Wildcard(_) => {
                    if scope.relations.is_empty() {
                        return Err(SqlError::analyzing("SELECT * needs a FROM clause"));
                    }
                    for relation in &scope.relations {
                        push_all(relation, &mut items, true);
                    }
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    let parts = name_parts(name);
                    let alias = parts.last().map(String::as_str).unwrap_or_default();
                    let Some(relation) = scope.relations.iter().find(|relation| relation.alias == alias) else {
                        return Err(SqlError::analyzing(format!("Unknown table '{alias}'")));
                    };
                    push_all(relation, &mut items, false);
                }
                _ => return Err(SqlError::analyzing(format!("{item} is not supported in a select list"))),
            }
        }
        scope.aliases = items;
        Ok(())
    }

    /// A condition: anything but an integer is made a truth value first.
    pub(super) fn condition(&mut self, expr: &Expr, scope: &Scope<'_>) -> SqlResult<String> {
        let bound = self.expression(expr, scope)?;
        Ok(if bound.kind.is_integer() || bound.kind == Kind::Null { bound.sql } else { coerce(&bound, Kind::Bool) })
    }

    fn group_key(&mut self, key: &Expr, scope: &Scope<'_>) -> SqlResult<String> {
        if let Some(position) = ordinal(key) {
            return match scope.aliases.get(position.wrapping_sub(1)) {
                Some((_, bound)) => Ok(bound.sql.clone()),
                None => Err(SqlError::analyzing(format!("Group by position {position} is not in select list"))),
            };
        }
        Ok(self.expression(key, scope)?.sql)
    }

    fn order_key(&mut self, key: &Expr, scope: &Scope<'_>) -> SqlResult<String> {
        if let Some(position) = ordinal(key) {
            return match scope.aliases.get(position.wrapping_sub(1)) {
                Some((_, bound)) => Ok(collated(&position.to_string(), bound.kind)),
                None => Err(SqlError::analyzing(format!("Order by position {position} is not in select list"))),
            };
        }
        if let Expr::Identifier(name) = key
            && let Some((position, bound)) = scope.alias(&name.value)
        {
            return Ok(collated(&position.to_string(), bound.kind));
        }
        let bound = self.expression(key, scope)?;
        Ok(collated(&bound.sql, bound.kind))
    }

    fn table_with_joins(&mut self, item: &TableWithJoins, scope: &mut Scope<'_>) -> SqlResult<String> {
        let mut sql = self.factor(&item.relation, scope)?;
        for join in &item.joins {
            sql.push_str(&self.join(join, scope)?);
        }
        Ok(sql)
    }

    fn join(&mut self, join: &Join, scope: &mut Scope<'_>) -> SqlResult<String> {
        let before = scope.relations.len();
        let right = self.factor(&join.relation, scope)?;
        let (word, constraint) = match &join.join_operator {
            JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => ("JOIN", constraint),
            JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => ("LEFT JOIN", constraint),
            JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => ("RIGHT JOIN", constraint),
            JoinOperator::FullOuter(constraint) => ("FULL JOIN", constraint),
            JoinOperator::CrossJoin(constraint) => ("CROSS JOIN", constraint),
            _ => return Err(SqlError::analyzing("This kind of join is not supported by this server")),
        };
        let on = match constraint {
            JoinConstraint::None => String::new(),
            JoinConstraint::On(condition) => format!(" ON {}", self.condition(condition, scope)?),
            JoinConstraint::Using(names) => using(names, scope, before)?,
            JoinConstraint::Natural => return Err(SqlError::analyzing("NATURAL JOIN is not supported")),
        };
        Ok(format!(" {word} {right}{on}"))
    }

    fn factor(&mut self, factor: &TableFactor, scope: &mut Scope<'_>) -> SqlResult<String> {
        match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                let alias = alias.as_ref().map(|alias| alias.name.value.as_str());
                let (relation, sql) = self.relation(&name_parts(name), alias)?;
                push_relation(scope, relation)?;
                Ok(sql)
            }
            TableFactor::Derived { lateral: false, subquery, alias, .. } => {
                let Some(alias) = alias else {
                    return Err(SqlError::analyzing("Every derived table must have its own alias"));
                };
                let mut bound = self.query_in(subquery, scope.parent)?;
                rename(&mut bound.columns, alias)?;
                let sql = self.fresh();
                let columns: Vec<String> = bound.columns.iter().map(|column| quote(&column.name)).collect();
                // The names may differ from those inside, so a CTE-like header gives them.
                let text = format!("(WITH d ({}) AS ({}) SELECT * FROM d) AS {sql}", columns.join(", "), bound.sql);
                let columns = bound.columns.into_iter().map(|column| (column.name, column.kind)).collect();
                push_relation(scope, relation(alias.name.value.clone(), None, sql, columns))?;
                Ok(text)
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                Ok(format!("({})", self.table_with_joins(table_with_joins, scope)?))
            }
            other => Err(SqlError::analyzing(format!("{other} is not supported in FROM"))),
        }
    }
}

/// `FROM dual`: no table at all.
fn is_dual(item: &TableWithJoins) -> bool {
    matches!(&item.relation, TableFactor::Table { name, .. }
        if item.joins.is_empty() && matches!(name_parts(name).as_slice(), [name] if name.eq_ignore_ascii_case("dual")))
}

fn push_relation(scope: &mut Scope<'_>, relation: Relation) -> SqlResult<()> {
    let twice =
        scope.relations.iter().any(|other| other.alias == relation.alias && other.database == relation.database);
    if twice {
        return Err(SqlError::analyzing(format!("Not unique table/alias: '{}'", relation.alias)));
    }
    scope.relations.push(relation);
    Ok(())
}

fn push_all(relation: &Relation, items: &mut Vec<(String, Bound)>, skip_merged: bool) {
    for (index, (name, _)) in relation.columns.iter().enumerate() {
        if skip_merged && relation.merged.contains(&index) {
            continue;
        }
        if let Some(bound) = relation.column(index) {
            items.push((name.clone(), bound));
        }
    }
}

fn using(names: &[ObjectName], scope: &mut Scope<'_>, before: usize) -> SqlResult<String> {
    let mut conditions = Vec::new();
    for name in names {
        let name = name_parts(name).pop().unwrap_or_default();
        let find = |relations: &[Relation]| {
            relations.iter().enumerate().find_map(|(at, relation)| {
                let index = relation.columns.iter().position(|(column, _)| same_name(column, &name))?;
                Some((at, index, relation.column(index)?))
            })
        };
        let (left, right) = scope.relations.split_at(before);
        let (Some((_, _, left)), Some((at, index, right))) = (find(left), find(right)) else {
            return Err(SqlError::unknown_column(&name));
        };
        let (left, right, kind) = compared(&left, &right);
        conditions.push(format!("{} = {right}", collated(&left, kind)));
        scope.relations[before + at].merged.insert(index);
    }
    Ok(format!(" ON {}", conditions.join(" AND ")))
}

fn set_operation(left: &BoundQuery, op: SetOperator, all: SetQuantifier, right: &BoundQuery) -> SqlResult<BoundQuery> {
    if left.columns.len() != right.columns.len() {
        return Err(SqlError::analyzing("Operands have unequal number of columns"));
    }
    let word = match (op, all) {
        (SetOperator::Union, SetQuantifier::All) => "UNION ALL",
        (SetOperator::Union, SetQuantifier::None | SetQuantifier::Distinct) => "UNION",
        (SetOperator::Except | SetOperator::Minus, SetQuantifier::None | SetQuantifier::Distinct) => "EXCEPT",
        (SetOperator::Intersect, SetQuantifier::None | SetQuantifier::Distinct) => "INTERSECT",
        _ => return Err(SqlError::analyzing("This set operation is not supported")),
    };
    let columns: Vec<OutputColumn> = left
        .columns
        .iter()
        .zip(&right.columns)
        .map(|(left, right)| OutputColumn { name: left.name.clone(), kind: common(left.kind, right.kind) })
        .collect();
    let sql = format!("{} {word} {}", side(left, &columns), side(right, &columns));
    Ok(BoundQuery { sql: format!("SELECT * FROM ({sql})"), columns })
}

/// One side with every column in the common kind. Positions carry, so the names are our own.
fn side(query: &BoundQuery, columns: &[OutputColumn]) -> String {
    let names: Vec<String> = (0..columns.len()).map(|index| format!("u{index}")).collect();
    let items: Vec<String> = query
        .columns
        .iter()
        .zip(columns)
        .zip(&names)
        .map(|((from, to), name)| format!("{} AS {name}", coerce(&Bound::new(name.as_str(), from.kind), to.kind)))
        .collect();
    format!("SELECT {} FROM (WITH u ({}) AS ({}) SELECT * FROM u)", items.join(", "), names.join(", "), query.sql)
}

/// ORDER BY over a set operation: output names and positions only.
fn ordered(mut query: BoundQuery, order_by: Option<&OrderBy>) -> SqlResult<BoundQuery> {
    let Some(order_by) = order_by else { return Ok(query) };
    let mut keys = Vec::new();
    for item in order_items(order_by)? {
        let position = match (&item.expr, ordinal(&item.expr)) {
            (_, Some(position)) => Some(position).filter(|&at| (1..=query.columns.len()).contains(&at)),
            (Expr::Identifier(name), None) => {
                query.columns.iter().position(|column| same_name(&column.name, &name.value)).map(|at| at + 1)
            }
            _ => None,
        };
        let Some(position) = position else {
            return Err(SqlError::unknown_column(&item.expr.to_string()));
        };
        let key = collated(&position.to_string(), query.columns[position - 1].kind);
        keys.push(format!("{key}{}", direction(&item.options)?));
    }
    query.sql.push_str(&format!(" ORDER BY {}", keys.join(", ")));
    Ok(query)
}

fn order_items(order_by: &OrderBy) -> SqlResult<&[OrderByExpr]> {
    match &order_by.kind {
        OrderByKind::Expressions(items) => Ok(items),
        OrderByKind::All(_) => Err(SqlError::analyzing("ORDER BY ALL is not supported by this server")),
    }
}

pub(super) fn direction(options: &OrderByOptions) -> SqlResult<String> {
    let mut text = String::new();
    match &options.sort {
        None | Some(OrderBySort::Asc) => {}
        Some(OrderBySort::Desc) => text.push_str(" DESC"),
        Some(OrderBySort::Using(_)) => return Err(SqlError::analyzing("ORDER BY … USING is not supported")),
    }
    match options.nulls_first {
        Some(true) => text.push_str(" NULLS FIRST"),
        Some(false) => text.push_str(" NULLS LAST"),
        None => {}
    }
    Ok(text)
}

fn limit_text(limit: &LimitClause) -> SqlResult<String> {
    let number = |expr: &Expr| match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => text.parse::<i64>().ok(),
            _ => None,
        },
        _ => None,
    };
    let bad = || SqlError::analyzing("LIMIT and OFFSET take whole numbers");
    let (limit, offset) = match limit {
        LimitClause::LimitOffset { limit, offset, limit_by } if limit_by.is_empty() => {
            (limit.as_ref(), offset.as_ref().map(|offset| &offset.value))
        }
        LimitClause::OffsetCommaLimit { offset, limit } => (Some(limit), Some(offset)),
        LimitClause::LimitOffset { .. } => return Err(bad()),
    };
    let limit = limit.map(|expr| number(expr).ok_or_else(bad)).transpose()?.unwrap_or(-1);
    let offset = offset.map(|expr| number(expr).ok_or_else(bad)).transpose()?.unwrap_or(0);
    Ok(format!(" LIMIT {limit} OFFSET {offset}"))
}

fn ordinal(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => text.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

/// Column names that an alias `t(a, b)` gives.
fn rename(columns: &mut [OutputColumn], alias: &TableAlias) -> SqlResult<()> {
    if alias.columns.is_empty() {
        return Ok(());
    }
    if alias.columns.len() != columns.len() {
        return Err(SqlError::analyzing(format!("Table alias '{}' names another number of columns", alias.name.value)));
    }
    for (column, name) in columns.iter_mut().zip(&alias.columns) {
        column.name.clone_from(&name.name.value);
    }
    Ok(())
}

pub(in crate::embedded::sql) fn name_parts(name: &ObjectName) -> Vec<String> {
    name.0.iter().map(|part| part.as_ident().map_or_else(|| part.to_string(), |ident| ident.value.clone())).collect()
}

impl Binder<'_> {
    /// One table for UPDATE and DELETE: its text after the keyword, the values, and the condition.
    pub(in crate::embedded::sql) fn single(
        &mut self,
        table: &TableDef,
        alias: Option<&str>,
        values: &[Expr],
        condition: Option<&Expr>,
    ) -> SqlResult<(String, Vec<String>, String)> {
        let sql = self.fresh();
        let columns = table.columns.iter().map(|column| (column.name.clone(), Kind::of(&column.ty))).collect();
        let from = format!("main.{} AS {sql}", storage_name(table));
        let alias = alias.unwrap_or(&table.name).to_owned();
        let target = relation(alias, Some(table.database.clone()), sql, columns);
        let scope = Scope { relations: vec![target], aliases: Vec::new(), parent: None };
        let mut bound = Vec::new();
        for value in values {
            bound.push(self.expression(value, &scope)?.sql);
        }
        let condition = match condition {
            Some(condition) => self.condition(condition, &scope)?,
            None => "1".to_owned(),
        };
        Ok((from, bound, condition))
    }
}
