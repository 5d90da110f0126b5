//! Statements that begin a copy, and statements in the middle of one.

use super::super::copy::Case;
use super::super::plan::plan;
use super::*;
use crate::config::OnImpossible;

fn recopying() -> Rules {
    let rules = rules(&[]);
    Rules { ddl: rules.ddl.clone().with_on_impossible(OnImpossible::Recopy), ..rules }
}

fn copied(followed: &Followed, changes: &[SchemaChange], case: &Case) -> Plan {
    plan(followed, changes, &said("ALTER TABLE …"), &recopying(), case).unwrap()
}

fn case() -> Case {
    Case { number: 7, ..Case::default() }
}

fn refill(table: &Arc<Table>) -> SchemaChange {
    SchemaChange::Refill { table: Arc::clone(table), reason: "another key".into() }
}

#[test]
fn a_table_that_cannot_be_followed_is_copied_beside_the_one_that_serves_if_the_job_file_says_so() {
    let before = table("a", vec![int("id"), text("v")]);
    let now = Arc::new(Table { key: vec![0, 1], ..before.as_ref().clone() });
    let job = followed(&[&before]);
    let error = planned(&job, &[refill(&now)], &[]).unwrap_err().to_string();
    assert!(error.contains("ddl.onImpossible"), "{error}");
    // Its key may not be NULL at the target.
    let now = Arc::new(Table { columns: vec![int("id"), int("v")], ..now.as_ref().clone() });
    let plan = copied(&job, &[refill(&now)], &case());
    assert_eq!(words(&plan), ["drop table shop.a__towpath_new", "create table shop.a__towpath_new"]);
    let join = plan.followed.join(&name("a")).unwrap();
    assert_eq!((join.number, join.serves.as_ref(), join.live), (7, Some(&name("a")), false));
    assert_eq!(after(&plan, "a").target.name, name("a__towpath_new"));
    assert_eq!(after(&plan, "a").twin, None, "the stream's rows do not fit the old one");
}

#[test]
fn what_is_asked_for_needs_no_policy_and_the_table_that_serves_gets_the_streams_rows() {
    let here = table("a", vec![int("id"), text("v")]);
    let job = followed(&[&here]);
    let asked = Case { asked: true, ..case() };
    let plan = plan(&job, &[refill(&here)], &said("towpath recopy shop.a"), &rules(&[]), &asked).unwrap();
    assert_eq!(words(&plan), ["drop table shop.a__towpath_new", "create table shop.a__towpath_new"]);
    assert_eq!(after(&plan, "a").twin, Some(name("a")));
    let (next, moves) = plan.followed.copied(&name("a"));
    let mapping = next.mapping(&name("a")).unwrap();
    assert_eq!((&mapping.target.name, &mapping.twin, next.join(&name("a"))), (&name("a"), &None, None));
    assert_eq!(moves.len(), 2);
}

#[test]
fn a_new_table_has_its_own_name_unless_the_target_has_one_of_that_name() {
    let new = table("n", vec![int("id")]);
    let job = followed(&[]);
    let plan = copied(&job, &[SchemaChange::Arrive(Arc::clone(&new))], &case());
    assert_eq!(words(&plan), ["create table shop.n"]);
    assert_eq!(plan.followed.join(&name("n")).unwrap().serves, None);
    let taken = Case { taken: HashSet::from([name("n")]), ..case() };
    let plan = copied(&job, &[SchemaChange::Arrive(new)], &taken);
    assert_eq!(words(&plan), ["drop table shop.n__towpath_new", "create table shop.n__towpath_new"]);
    assert_eq!(plan.followed.join(&name("n")).unwrap().serves, Some(name("n")));
}

#[test]
fn what_the_target_cannot_alter_is_copied() {
    let before = table("a", vec![int("id"), int("n")]);
    let change = alter(&before, vec![int("id"), big("n")], &[]);
    let impossible = Case { impossible: HashMap::from([(name("a"), "it cannot".into())]), ..case() };
    let plan = copied(&followed(&[&before]), &[change], &impossible);
    assert_eq!(words(&plan), ["drop table shop.a__towpath_new", "create table shop.a__towpath_new"]);
    assert_eq!(plan.followed.join(&name("a")).unwrap().reason, "it cannot");
}

#[test]
fn a_statement_in_the_middle_of_a_copy_begins_it_anew() {
    let before = table("a", vec![int("id"), int("n")]);
    let asked = Case { asked: true, ..case() };
    let live = copied(&followed(&[&before]), &[refill(&before)], &asked).followed;
    let next = Case { number: 9, ..Case::default() };
    let drop_and_create = ["drop table shop.a__towpath_new", "create table shop.a__towpath_new"];

    // The one that serves follows, for it gets the stream's rows.
    let change = alter(&before, vec![int("id"), int("n"), text("x")], &[("x", "")]);
    let plan = copied(&live, &[change], &next);
    assert_eq!(
        words(&plan),
        ["drop table shop.a__towpath_new", "alter table shop.a", "create table shop.a__towpath_new"]
    );
    assert_eq!(plan.followed.join(&name("a")).unwrap().number, 9);
    assert_eq!(after(&plan, "a").twin, Some(name("a")));

    // One that does not get them stays as it is.
    let wide = table("a", vec![int("id"), big("n")]);
    let frozen = copied(&followed(&[&before]), &[refill(&wide)], &case()).followed;
    let change = alter(&wide, vec![int("id"), big("n"), text("x")], &[("x", "")]);
    let plan = copied(&frozen, &[change], &next);
    assert_eq!(words(&plan), drop_and_create);
    assert_eq!(columns(&after(&plan, "a").target).len(), 3);

    let plan = copied(&live, &[SchemaChange::Truncate(name("a"))], &next);
    assert_eq!(
        words(&plan),
        ["drop table shop.a__towpath_new", "truncate table shop.a", "create table shop.a__towpath_new"]
    );
    let renamed = table("b", before.columns.clone());
    let plan = copied(&live, &[SchemaChange::Rename { from: name("a"), table: renamed }], &next);
    assert_eq!(
        words(&plan),
        [
            "drop table shop.a__towpath_new",
            "rename table shop.a to b",
            "drop table shop.b__towpath_new",
            "create table shop.b__towpath_new"
        ]
    );
    assert!(plan.followed.join(&name("a")).is_none() && plan.followed.join(&name("b")).is_some());
    let plan = copied(&live, &[SchemaChange::Leave { table: name("a"), to: None }], &next);
    assert_eq!(words(&plan), ["drop table shop.a__towpath_new", "drop table shop.a"]);
    assert!(!plan.followed.has_copies());
}
