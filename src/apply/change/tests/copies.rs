//! Statements that begin a copy, and statements in the middle of one.

use super::super::copy::Case;
use super::super::plan::plan;
use super::*;
use crate::apply::change::Unsettled;
use crate::apply::change::unsettled::Span;
use crate::apply::sample::position;
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
    let plan = copied(&live, &[renamed(&[("a", &before, "b")])], &next);
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

/// A statement from here to there.
fn between(begin: u64, end: u64) -> Case {
    Case { span: Some(Span { begin: position(begin), end: position(end) }), ..case() }
}

/// The full copy has read it up to place 500; without a key, as it was at 400.
fn unsettled(table: &Arc<Table>) -> Followed {
    let copied_at = table.key.is_empty().then(|| position(400));
    followed(&[table]).with_unsettled([(table.name.clone(), Unsettled { until: position(500), copied_at })])
}

fn step_words(job: &Followed, changes: &[SchemaChange], case: &Case) -> Vec<String> {
    // Nobody is asked (`onImpossible: error`): there is nothing whole that could serve.
    words(&plan(job, changes, &said("ALTER TABLE …"), &rules(&[]), case).unwrap())
}

#[test]
fn a_statement_that_the_full_copy_may_have_seen_has_the_table_copied_again() {
    let before = table("a", vec![int("id"), int("x"), int("y")]);
    let job = unsettled(&before);
    let swapped = alter(&before, vec![int("id"), int("y"), int("x")], &[("y", "x"), ("x", "y")]);
    let anew = ["drop table shop.a", "create table shop.a"];
    let behind = step_words(&job, std::slice::from_ref(&swapped), &between(500, 600));
    assert_eq!(behind, ["alter table shop.a"], "no chunk has seen it");
    assert_eq!(step_words(&job, std::slice::from_ref(&swapped), &between(499, 600)), anew);
    assert_eq!(
        step_words(&job, std::slice::from_ref(&swapped), &Case { span: None, ..case() }),
        anew,
        "its place is not known"
    );
    assert_eq!(step_words(&job, &[refill(&before)], &between(10, 20)), anew);
    let plan = plan(&job, &[swapped], &said("ALTER TABLE …"), &rules(&[]), &between(10, 20)).unwrap();
    let join = plan.followed.join(&name("a")).unwrap();
    assert_eq!((join.number, &join.serves, plan.letters.len()), (7, &None, 1));
    // From here on the copy knows best.
    let changes = job.changes(&plan.followed);
    assert_eq!((changes.settled.as_slice(), changes.joins.len()), ([name("a")].as_slice(), 1));
    assert_eq!(
        step_words(&job, &[renamed(&[("a", &before, "b")])], &between(10, 20)),
        ["rename table shop.a to b", "truncate table shop.b", "create table shop.b"]
    );
}

#[test]
fn columns_that_only_come_and_rows_that_only_go_need_no_other_copy() {
    let before = table("a", vec![int("id"), int("x")]);
    let (job, inside) = (unsettled(&before), between(10, 20));
    let added = alter(&before, vec![text("n"), int("id"), int("x")], &[("n", "")]);
    let SchemaChange::Alter(altered) = &added else { unreachable!() };
    let keyed = Table { key: vec![1], ..altered.after.as_ref().clone() };
    let added = SchemaChange::Alter(Altered { after: Arc::new(keyed), ..altered.clone() });
    assert_eq!(step_words(&job, &[added], &inside), ["alter table shop.a"]);
    assert_eq!(step_words(&job, &[SchemaChange::Truncate(name("a"))], &inside), ["truncate table shop.a"]);
    assert_eq!(step_words(&job, &[SchemaChange::Leave { table: name("a"), to: None }], &inside), ["drop table shop.a"]);
    // One that the target cannot follow is copied, whoever would be asked else.
    let wide = alter(&before, vec![int("id"), int("x"), big("n")], &[("n", "")]);
    let impossible = Case { impossible: HashMap::from([(name("a"), "it cannot".into())]), ..inside };
    assert_eq!(step_words(&job, &[wide], &impossible), ["drop table shop.a", "create table shop.a"]);
}

#[test]
fn a_table_without_a_key_is_not_emptied_by_what_its_copy_shows() {
    let hashed = Arc::new(Table { key: Vec::new(), ..table("a", vec![int("n")]).as_ref().clone() });
    let options = MappingOptions { row_hash: true, ..rules(&[]).mapping };
    let at = Unsettled { until: position(500), copied_at: Some(position(400)) };
    let job = Followed::new([Arc::new(map_table(&hashed, &options).unwrap())], [], []);
    let job = job.with_unsettled([(name("a"), at)]);
    let emptied = [SchemaChange::Truncate(name("a"))];
    assert!(step_words(&job, &emptied, &between(300, 400)).is_empty());
    assert_eq!(step_words(&job, &emptied, &between(400, 450)), ["truncate table shop.a"]);
}
