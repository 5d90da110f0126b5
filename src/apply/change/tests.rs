use std::collections::BTreeMap;

use super::copy::Case;
use super::plan::{Plan, Step, plan};
use super::*;
use crate::Result;
use crate::apply::sample::place;
use crate::config::{DdlKind, DdlPolicy};
use crate::mysql::binlog::StatementSession;
use crate::schema::{Altered, Column, ColumnType, IntegerSize, Renamed, Table, TargetType, map_table};
use crate::state::{LetterMove, Outcome};

fn int(name: &str) -> Column {
    Column::new(name, ColumnType::Integer { size: IntegerSize::Int, unsigned: false })
}

fn big(name: &str) -> Column {
    Column::new(name, ColumnType::Integer { size: IntegerSize::Big, unsigned: false })
}

fn text(name: &str) -> Column {
    Column { nullable: true, ..Column::new(name, ColumnType::Varchar { chars: 10, charset: "utf8mb4".into() }) }
}

fn name(table: &str) -> TableName {
    match table.split_once('.') {
        Some((database, table)) => TableName::new(database, table),
        None => TableName::new("shop", table),
    }
}

/// Its key is the first column.
fn table(table: &str, columns: Vec<Column>) -> Arc<Table> {
    Arc::new(Table {
        name: name(table),
        columns,
        key: vec![0],
        primary: true,
        comment: String::new(),
        charset: None,
        indexes: Vec::new(),
    })
}

fn rules(policies: &[(DdlKind, DdlPolicy)]) -> Rules {
    let policy =
        |kind| policies.iter().find(|(named, _)| *named == kind).map_or(DdlPolicy::Apply, |(_, policy)| *policy);
    Rules {
        ddl: Ddl::of(policy),
        mapping: MappingOptions {
            databases: BTreeMap::from([("crm".into(), "shop".into())]),
            ..MappingOptions::for_version(3, 5)
        },
        values: ValueOptions::default(),
    }
}

fn followed(tables: &[&Arc<Table>]) -> Followed {
    let options = rules(&[]).mapping;
    Followed::new(tables.iter().map(|table| Arc::new(map_table(table, &options).unwrap())), [], [])
}

/// In a strict session.
fn said(sql: &str) -> Statement {
    let session = StatementSession { sql_mode: 0x20_0000, ..StatementSession::default() };
    Statement { place: place(1570), database: "shop".into(), sql: sql.into(), inside: false, session }
}

fn planned(followed: &Followed, changes: &[SchemaChange], policies: &[(DdlKind, DdlPolicy)]) -> Result<Plan> {
    plan(followed, changes, &said("ALTER TABLE …"), &rules(policies), &Case { number: 7, ..Case::default() })
}

/// `was` by names: those of `after` that had another one, or (`""`) are new.
fn alter(before: &Arc<Table>, after: Vec<Column>, was: &[(&str, &str)]) -> SchemaChange {
    let was = after.iter().map(|column| {
        let former = was.iter().find(|(now, _)| *now == column.name).map_or(column.name.as_str(), |(_, former)| former);
        before.column_index(former)
    });
    let was = was.collect();
    let after = Arc::new(Table { columns: after, ..before.as_ref().clone() });
    SchemaChange::Alter(Altered { before: Arc::clone(before), after, was })
}

fn columns(table: &crate::schema::TargetTable) -> Vec<(&str, TargetType)> {
    table.columns.iter().map(|column| (column.name.as_str(), column.ty)).collect()
}

fn renamed(tables: &[(&str, &Arc<Table>, &str)]) -> SchemaChange {
    let one = |(from, table, to): &(&str, &Arc<Table>, &str)| Renamed {
        from: name(from),
        table: Arc::new(Table { name: name(to), ..Table::clone(table) }),
    };
    SchemaChange::Rename(tables.iter().map(one).collect())
}

const TEXT: TargetType = TargetType::Varchar { bytes: 40 };

/// The steps, in words.
fn words(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(ToString::to_string).collect()
}

fn after<'a>(plan: &'a Plan, table: &str) -> &'a Mapping {
    plan.followed.mapping(&name(table)).unwrap()
}

/// A statement with a clause of each kind, on `t (id, gone, old, narrow)`.
fn four_clauses() -> (Arc<Table>, SchemaChange) {
    let before = table("t", vec![int("id"), text("gone"), text("old"), int("narrow")]);
    let change =
        alter(&before, vec![int("id"), text("added"), text("new"), big("narrow")], &[("added", ""), ("new", "old")]);
    (before, change)
}

#[test]
fn an_alter_is_applied_clause_by_clause() {
    let (before, change) = four_clauses();
    let plan = planned(&followed(&[&before]), &[change], &[]).unwrap();
    let [Step::Alter { before, after: now, was }] = &plan.steps[..] else { panic!("{plan:?}") };
    assert_eq!(columns(before), [("id", TargetType::Int), ("gone", TEXT), ("old", TEXT), ("narrow", TargetType::Int)]);
    let expected = [("id", TargetType::Int), ("added", TEXT), ("new", TEXT), ("narrow", TargetType::BigInt)];
    assert_eq!(columns(now), expected);
    assert_eq!(*was, [Some(0), None, Some(2), Some(3)]);
    let mapping = after(&plan, "t");
    assert_eq!(columns(&mapping.target), expected);
    assert_eq!(mapping.target.columns.iter().map(|column| column.source).collect::<Vec<_>>(), [0, 1, 2, 3]);
    use DdlKind::{AddColumn, DropColumn, ModifyColumn, RenameColumn};
    let counted = [AddColumn, RenameColumn, ModifyColumn, DropColumn].map(|kind| (kind, Outcome::Applied));
    assert_eq!(plan.counts, counted);
    assert_eq!(
        plan.letters,
        [LetterMove::Altered {
            table: name("t"),
            renamed: vec![("old".into(), "new".into())],
            dropped: vec!["gone".into()]
        }]
    );
}

#[test]
fn what_is_ignored_keeps_its_name_and_type_and_the_rows_keep_flowing() {
    use DdlKind::{AddColumn, DropColumn, ModifyColumn, RenameColumn};
    use DdlPolicy::{Ignore, Warn};
    let (before, change) = four_clauses();
    let policies = [(AddColumn, Ignore), (DropColumn, Ignore), (RenameColumn, Ignore), (ModifyColumn, Warn)];
    let plan = planned(&followed(&[&before]), &[change], &policies).unwrap();
    assert!(plan.steps.is_empty(), "{plan:?}");
    let mapping = after(&plan, "t");
    assert_eq!(columns(&mapping.target), [("id", TargetType::Int), ("old", TEXT), ("narrow", TargetType::Int)]);
    assert_eq!(mapping.target.columns.iter().map(|column| column.source).collect::<Vec<_>>(), [0, 2, 3]);
    assert_eq!(mapping.unfed.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["gone"]);
    assert_eq!(plan.warnings.len(), 1);
    assert!(plan.warnings[0].contains("column narrow has another definition"), "{:?}", plan.warnings);
    assert!(plan.letters.is_empty());

    // Later statements go on from what the target has.
    let before = Arc::new(mapping.source.clone());
    let next = alter(&before, vec![int("id"), text("newest"), big("narrow"), text("added")], &[("newest", "new")]);
    let plan = planned(&plan.followed, &[next], &[]).unwrap();
    let mapping = after(&plan, "t");
    assert_eq!(columns(&mapping.target), [("id", TargetType::Int), ("newest", TEXT), ("narrow", TargetType::Int)]);
    let [Step::Alter { before, after, was }] = &plan.steps[..] else { panic!("{plan:?}") };
    assert_eq!(before.columns.len(), 4);
    assert_eq!(columns(after).last(), Some(&("gone", TEXT)), "the kept column stays");
    assert_eq!(*was, [Some(0), Some(1), Some(2), Some(3)]);
}

#[test]
fn a_dropped_column_that_is_kept_may_be_null_from_then_on() {
    let before = table("t", vec![int("id"), int("n")]);
    let plan = planned(
        &followed(&[&before]),
        &[alter(&before, vec![int("id")], &[])],
        &[(DdlKind::DropColumn, DdlPolicy::Ignore)],
    )
    .unwrap();
    let [Step::Alter { before, after, .. }] = &plan.steps[..] else { panic!("{plan:?}") };
    assert_eq!((before.columns[1].nullable, after.columns[1].nullable), (false, true));
}

#[test]
fn one_clause_whose_policy_is_error_stops_the_whole_statement() {
    let (before, change) = four_clauses();
    let policies = [(DdlKind::DropColumn, DdlPolicy::Error), (DdlKind::AddColumn, DdlPolicy::Ignore)];
    let error = planned(&followed(&[&before]), &[change], &policies).unwrap_err().to_string();
    assert!(error.starts_with("shop.t: column gone is dropped (ddl.dropColumn: error)"), "{error}");
    assert!(error.contains("hint: set ddl.dropColumn to `apply`, `ignore` or `warn` and start again"), "{error}");
}

#[test]
fn a_name_that_a_kept_column_has_is_not_given_to_another() {
    let before = table("t", vec![int("id"), text("v")]);
    let ignored = [(DdlKind::DropColumn, DdlPolicy::Ignore)];
    let dropped = planned(&followed(&[&before]), &[alter(&before, vec![int("id")], &[])], &ignored).unwrap();
    let now = Arc::new(after(&dropped, "t").source.clone());
    let again = alter(&now, vec![int("id"), text("V")], &[("V", "")]);
    let error = planned(&dropped.followed, std::slice::from_ref(&again), &ignored).unwrap_err().to_string();
    assert!(error.contains("the target's table has a column V already") && error.contains("ddl.addColumn"), "{error}");
    let left_out = planned(&dropped.followed, &[again], &[(DdlKind::AddColumn, DdlPolicy::Ignore)]).unwrap();
    assert_eq!(columns(&after(&left_out, "t").target), [("id", TargetType::Int)]);
}

#[test]
fn a_column_that_moves_or_becomes_invisible_changes_nothing_at_the_target() {
    let before = table("t", vec![int("id"), text("a"), int("b")]);
    let hidden = Column { invisible: true, ..int("b") };
    let plan = planned(&followed(&[&before]), &[alter(&before, vec![hidden, int("id"), text("a")], &[])], &[]);
    // The key is another column now, by its place.
    assert!(plan.unwrap_err().to_string().contains("another key"));
    let hidden = Column { invisible: true, ..int("b") };
    let plan = planned(&followed(&[&before]), &[alter(&before, vec![int("id"), hidden, text("a")], &[])], &[]).unwrap();
    assert!(plan.steps.is_empty() && plan.counts.is_empty(), "{plan:?}");
    let mapping = after(&plan, "t");
    let fed: Vec<_> = mapping.target.columns.iter().map(|column| (column.name.as_str(), column.source)).collect();
    assert_eq!(fed, [("id", 0), ("b", 1), ("a", 2)]);
}

#[test]
fn a_change_whose_values_cannot_be_written_to_the_old_column_cannot_be_ignored() {
    let before = table("t", vec![int("id"), int("n")]);
    let json = Column { nullable: true, ..Column::new("n", ColumnType::Json) };
    let change = alter(&before, vec![int("id"), json], &[]);
    let ignored = [(DdlKind::ModifyColumn, DdlPolicy::Ignore)];
    let error = planned(&followed(&[&before]), &[change], &ignored).unwrap_err().to_string();
    assert!(error.contains("column n: Json cannot be written to Int") && error.contains("ddl.modifyColumn"), "{error}");
}

#[test]
fn a_dropped_table_that_is_kept_makes_room_for_the_next_of_its_name() {
    let t = table("t", vec![int("id")]);
    let drop = SchemaChange::Leave { table: name("t"), to: None };
    let create = SchemaChange::Create(table("t", vec![int("id"), text("v")]));
    let kept = [(DdlKind::DropTable, DdlPolicy::Ignore)];
    let plan = planned(&followed(&[&t]), std::slice::from_ref(&drop), &kept).unwrap();
    assert!(plan.steps.is_empty());
    assert!(plan.followed.mapping(&name("t")).is_none());
    assert_eq!(plan.letters, [LetterMove::Emptied(name("t"))]);
    // In the next statement, or in the same (CREATE OR REPLACE TABLE).
    let next = planned(&plan.followed, std::slice::from_ref(&create), &kept).unwrap();
    let both = planned(&followed(&[&t]), &[drop.clone(), create.clone()], &kept).unwrap();
    for plan in [next, both] {
        assert_eq!(words(&plan), ["rename table shop.t to t__dropped_000001_1570", "create table shop.t"]);
        assert_eq!(after(&plan, "t").target.columns.len(), 2);
    }
    let plan = planned(&followed(&[&t]), &[drop, create], &[]).unwrap();
    assert_eq!(words(&plan), ["drop table shop.t", "create table shop.t"]);
}

#[test]
fn rows_of_a_table_whose_creation_is_ignored_are_passed_over_until_it_is_gone() {
    let t = table("t", vec![int("id")]);
    let ignored = [(DdlKind::CreateTable, DdlPolicy::Ignore)];
    let created = planned(&Followed::default(), &[SchemaChange::Create(Arc::clone(&t))], &ignored).unwrap().followed;
    assert!(created.passes(&name("t")));
    let altered = planned(&created, &[alter(&t, vec![int("id"), int("n")], &[("n", "")])], &[]).unwrap();
    assert!(altered.steps.is_empty() && altered.counts.is_empty());
    let renamed = planned(&created, &[renamed(&[("t", &t, "u")])], &[]).unwrap().followed;
    assert!(renamed.passes(&name("u")) && !renamed.passes(&name("t")));
    let gone = planned(&created, &[SchemaChange::Leave { table: name("t"), to: None }], &[]).unwrap();
    assert!(!gone.followed.passes(&name("t")) && gone.steps.is_empty());
    // Then the name is free.
    let again = planned(&gone.followed, &[SchemaChange::Create(t)], &[]).unwrap();
    assert_eq!(words(&again), ["create table shop.t"]);
}

#[test]
fn tables_from_outside_go_by_their_policy_and_tables_that_cannot_be_followed_stop_the_job_with_the_choices() {
    let t = table("t", vec![int("id")]);
    let arrive = SchemaChange::Arrive(Arc::clone(&t));
    let error = [(DdlKind::RenameTable, DdlPolicy::Error)];
    let error = planned(&Followed::default(), std::slice::from_ref(&arrive), &error).unwrap_err().to_string();
    assert!(error.contains("comes from outside") && error.contains("ddl.renameTable"), "{error}");
    let passed = planned(&Followed::default(), &[arrive], &[(DdlKind::RenameTable, DdlPolicy::Warn)]).unwrap();
    assert!(passed.followed.passes(&name("t")) && passed.warnings.len() == 1);
    let refill = SchemaChange::Refill { table: Arc::clone(&t), reason: "a partition was exchanged".into() };
    let error = planned(&followed(&[&t]), &[refill], &[]).unwrap_err().to_string();
    assert!(error.contains("shop.t: a partition was exchanged") && error.contains("source.excludeTables"), "{error}");
}

#[test]
fn truncate_drop_and_create_go_by_their_policies() {
    let t = table("t", vec![int("id")]);
    for (kind, change) in [
        (DdlKind::TruncateTable, SchemaChange::Truncate(name("t"))),
        (DdlKind::DropTable, SchemaChange::Leave { table: name("t"), to: Some(name("old.t")) }),
        (DdlKind::CreateTable, SchemaChange::Create(table("u", vec![int("id")]))),
    ] {
        let with = |policy| planned(&followed(&[&t]), std::slice::from_ref(&change), &[(kind, policy)]);
        let outcome = |policy| with(policy).map(|plan| (plan.steps.len(), plan.counts[0].1, plan.warnings.len()));
        assert_eq!(outcome(DdlPolicy::Apply).unwrap(), (1, Outcome::Applied, 0));
        assert_eq!(outcome(DdlPolicy::Ignore).unwrap(), (0, Outcome::Ignored, 0));
        assert_eq!(outcome(DdlPolicy::Warn).unwrap(), (0, Outcome::Warned, 1));
        assert!(outcome(DdlPolicy::Error).unwrap_err().to_string().contains(kind.key()));
    }
}

mod committing;
mod copies;
mod keyless;
mod renames;
