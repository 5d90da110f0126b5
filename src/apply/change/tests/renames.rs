//! Tables that get other names, and what else one statement does to them.

use super::*;
use crate::config::OnImpossible;

fn recopying(policies: &[(DdlKind, DdlPolicy)]) -> Rules {
    let rules = rules(policies);
    Rules { ddl: rules.ddl.clone().with_on_impossible(OnImpossible::Recopy), ..rules }
}

fn case() -> Case {
    Case { number: 7, ..Case::default() }
}

#[test]
fn names_that_go_round_in_a_circle_go_round_at_the_target() {
    let (a, b) = (table("a", vec![int("id")]), table("b", vec![int("id"), text("v")]));
    let swap = [renamed(&[("a", &a, "b"), ("b", &b, "a")])];
    let plan = planned(&followed(&[&a, &b]), &swap, &[]).unwrap();
    assert_eq!(
        words(&plan),
        [
            "rename table shop.a to a__towpath_aside",
            "rename table shop.b to a",
            "rename table shop.a__towpath_aside to b"
        ]
    );
    let moves: Vec<_> = plan
        .letters
        .iter()
        .map(|letter| match letter {
            LetterMove::Renamed { from, to } => format!("{} {}", from.table, to.table),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(moves, ["a a__towpath_aside", "b a", "a__towpath_aside b"]);
    assert_eq!((after(&plan, "a").source.columns.len(), after(&plan, "b").source.columns.len()), (2, 1));

    // Not applied: the rows find their tables all the same.
    let plan = planned(&followed(&[&a, &b]), &swap, &[(DdlKind::RenameTable, DdlPolicy::Ignore)]).unwrap();
    assert!(plan.steps.is_empty());
    assert_eq!((&after(&plan, "a").target.name, &after(&plan, "b").target.name), (&name("b"), &name("a")));
    let create = SchemaChange::Create(table("crm.a", vec![int("id")]));
    let error = planned(&plan.followed, &[create], &[]).unwrap_err().to_string();
    assert!(error.contains("the target's table shop.a holds the rows of shop.b"), "{error}");
}

#[test]
fn whoever_has_a_name_gives_it_away_before_another_gets_it() {
    let [a, b, c] = ["a", "b", "c"].map(|name| table(name, vec![int("id")]));
    let chain = [renamed(&[("a", &a, "b"), ("b", &b, "c"), ("c", &c, "d")])];
    let plan = planned(&followed(&[&a, &b, &c]), &chain, &[]).unwrap();
    assert_eq!(words(&plan), ["rename table shop.c to d", "rename table shop.b to c", "rename table shop.a to b"]);
    // The source's databases are one at the target.
    let both = [renamed(&[("a", &a, "crm.b"), ("b", &b, "b2")])];
    let plan = planned(&followed(&[&a, &b]), &both, &[]).unwrap();
    assert_eq!(words(&plan), ["rename table shop.b to b2", "rename table shop.a to b"]);
    let error = planned(&followed(&[&a, &b]), &[renamed(&[("a", &a, "crm.b")])], &[]).unwrap_err().to_string();
    assert!(error.contains("the target's table shop.b holds the rows of shop.b"), "{error}");
    let error = planned(&followed(&[&a, &b]), &[renamed(&[("a", &a, "crm.x"), ("b", &b, "x")])], &[]).unwrap_err();
    assert!(error.to_string().contains("the target's table shop.x holds the rows of"), "{error}");
}

#[test]
fn a_table_that_goes_to_another_database_of_the_target_is_copied_there_or_stops_the_job_with_choices_that_work() {
    let t = table("t", vec![int("id")]);
    let (job, moved) = (followed(&[&t]), [renamed(&[("t", &t, "other.t")])]);
    let error = planned(&job, &moved, &[]).unwrap_err().to_string();
    for part in
        ["cannot move a table to another database", "ddl.onImpossible to `recopy`", "ddl.renameTable to `ignore`"]
    {
        assert!(error.contains(part), "{error}");
    }
    let ignored = planned(&job, &moved, &[(DdlKind::RenameTable, DdlPolicy::Ignore)]).unwrap();
    assert_eq!((words(&ignored).len(), &after(&ignored, "other.t").target.name), (0, &name("t")));

    let with = |policies: &[(DdlKind, DdlPolicy)], case: &Case| {
        plan(&job, &moved, &said("RENAME TABLE …"), &recopying(policies), case).unwrap()
    };
    let applied = with(&[], &case());
    assert_eq!(words(&applied), ["drop table shop.t", "create table other.t"]);
    let join = applied.followed.join(&name("other.t")).unwrap();
    assert_eq!((join.number, &join.serves, join.new), (7, &None, false));
    assert!(applied.followed.mapping(&name("t")).is_none());
    assert_eq!(applied.letters, [LetterMove::Emptied(name("t"))]);
    let kept = with(&[(DdlKind::DropTable, DdlPolicy::Ignore)], &case());
    assert_eq!(words(&kept), ["create table other.t"]);
    // What is left there makes room for the next of its name.
    let next = planned(&kept.followed, &[SchemaChange::Create(Arc::clone(&t))], &[]).unwrap();
    assert_eq!(words(&next), ["rename table shop.t to t__dropped_000001_1570", "create table shop.t"]);
    let taken = with(&[], &Case { taken: HashSet::from([name("other.t")]), ..case() });
    assert_eq!(
        words(&taken),
        ["drop table shop.t", "drop table other.t__towpath_new", "create table other.t__towpath_new"]
    );
}

#[test]
fn tables_that_exchange_their_databases_are_both_copied() {
    let (t, u) = (table("t", vec![int("id")]), table("other.t", vec![int("id"), int("n")]));
    let swap = [renamed(&[("t", &t, "other.t"), ("other.t", &u, "t")])];
    let both = Case { taken: HashSet::from([name("t"), name("other.t")]), ..case() };
    let plan = plan(&followed(&[&t, &u]), &swap, &said("RENAME TABLE …"), &recopying(&[]), &both).unwrap();
    assert_eq!(
        words(&plan),
        ["drop table shop.t", "drop table other.t", "create table other.t", "create table shop.t"]
    );
    assert_eq!(after(&plan, "t").target.columns.len(), 2);
}

/// `ALTER TABLE t MODIFY …, RENAME TO u`, in the order in which the history tells it.
fn renamed_and_altered() -> (Arc<Table>, [SchemaChange; 2]) {
    let before = table("t", vec![int("id"), int("n")]);
    let called = table("u", before.columns.clone());
    let change = alter(&called, vec![int("id"), big("n")], &[]);
    (Arc::clone(&before), [renamed(&[("t", &before, "u")]), change])
}

#[test]
fn what_the_target_cannot_alter_under_its_new_name_is_copied_under_that() {
    let (before, changes) = renamed_and_altered();
    let impossible = Case { impossible: HashMap::from([(name("u"), "it cannot".into())]), ..case() };
    let copied = |policies: &[(DdlKind, DdlPolicy)]| {
        plan(&followed(&[&before]), &changes, &said("ALTER TABLE …"), &recopying(policies), &impossible).unwrap()
    };
    assert_eq!(
        words(&copied(&[])),
        ["rename table shop.t to u", "drop table shop.u__towpath_new", "create table shop.u__towpath_new"]
    );
    let kept = copied(&[(DdlKind::RenameTable, DdlPolicy::Ignore)]);
    assert_eq!(words(&kept), ["drop table shop.t__towpath_new", "create table shop.t__towpath_new"]);
    assert_eq!(kept.followed.join(&name("u")).unwrap().serves, Some(name("t")));
    // To another database: one copy is enough.
    let far = [renamed(&[("t", &before, "other.u")]), {
        let called = table("other.u", before.columns.clone());
        alter(&called, vec![int("id"), big("n")], &[])
    }];
    let plan = plan(&followed(&[&before]), &far, &said("ALTER TABLE …"), &recopying(&[]), &case()).unwrap();
    assert_eq!(
        words(&plan),
        ["drop table shop.t", "create table other.u", "drop table other.u", "create table other.u"]
    );
    assert_eq!(columns(&after(&plan, "other.u").target)[1], ("n", TargetType::BigInt));
}

#[test]
fn a_copy_that_was_under_way_leaves_no_table_behind() {
    let (before, changes) = renamed_and_altered();
    let asked = Case { asked: true, ..case() };
    let refill = SchemaChange::Refill { table: Arc::clone(&before), reason: "somebody asked".into() };
    let live = plan(&followed(&[&before]), &[refill], &said("…"), &rules(&[]), &asked).unwrap().followed;
    let next = planned(&live, &changes, &[]).unwrap();
    assert_eq!(
        words(&next),
        [
            "drop table shop.t__towpath_new",
            "rename table shop.t to u",
            "drop table shop.u__towpath_new",
            "alter table shop.u",
            "create table shop.u__towpath_new"
        ]
    );
    assert_eq!(columns(&after(&next, "u").target)[1], ("n", TargetType::BigInt));
}
