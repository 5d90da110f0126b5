//! Statements on tables without a key: what leaves every row's hash as it is, and what ends in a copy.

use super::super::copy::Case;
use super::super::plan::plan;
use super::*;
use crate::config::OnImpossible;

fn keyless(columns: Vec<Column>) -> Arc<Table> {
    keyless_named("a", columns)
}

fn keyless_named(name: &str, columns: Vec<Column>) -> Arc<Table> {
    Arc::new(Table { key: Vec::new(), ..table(name, columns).as_ref().clone() })
}

fn hashing(policies: &[(DdlKind, DdlPolicy)], recopies: bool) -> Rules {
    let rules = rules(policies);
    let ddl = if recopies { rules.ddl.clone().with_on_impossible(OnImpossible::Recopy) } else { rules.ddl.clone() };
    Rules { ddl, mapping: MappingOptions { row_hash: true, ..rules.mapping.clone() }, ..rules }
}

fn job(table: &Arc<Table>) -> Followed {
    Followed::new([Arc::new(map_table(table, &hashing(&[], false).mapping).unwrap())], [], [])
}

fn decided(change: &SchemaChange, before: &Arc<Table>, rules: &Rules) -> Result<Plan> {
    let case = Case { number: 7, ..Case::default() };
    plan(&job(before), std::slice::from_ref(change), &said("ALTER TABLE …"), rules, &case)
}

const COPIED: [&str; 2] = ["drop table shop.a__towpath_new", "create table shop.a__towpath_new"];

#[test]
fn names_comments_and_wider_types_are_followed_in_place() {
    let before = keyless(vec![int("n"), text("v")]);
    let longer = Column { ty: ColumnType::Varchar { chars: 30, charset: "utf8mb4".into() }, ..text("w") };
    let change = alter(&before, vec![longer, big("n")], &[("w", "v")]);
    let plan = decided(&change, &before, &hashing(&[], false)).unwrap();
    assert_eq!(words(&plan), ["alter table shop.a"]);
    let mapping = after(&plan, "a");
    let carried: Vec<(&str, usize)> =
        mapping.carried().iter().map(|column| (column.name.as_str(), column.source)).collect();
    assert_eq!(carried, [("n", 1), ("w", 0)], "the hash is made in the order that it was made in");
    assert_eq!(mapping.target.key_columns, 2);
}

#[test]
fn what_gives_rows_another_hash_is_a_copy_or_stops_the_job() {
    let before = keyless(vec![int("n"), text("v")]);
    let decimal = Column::new("n", ColumnType::Decimal { precision: 12, scale: 2 });
    for (columns, was) in [
        (vec![int("n"), text("v"), int("x")], [("x", "")].as_slice()),
        (vec![int("n")], &[]),
        (vec![decimal, text("v")], &[]),
    ] {
        let change = alter(&before, columns, was);
        let plan = decided(&change, &before, &hashing(&[], true)).unwrap();
        assert_eq!(words(&plan), COPIED, "{change:?}");
        let join = plan.followed.join(&name("a")).unwrap();
        assert_eq!((join.serves.as_ref(), join.live, &after(&plan, "a").twin), (Some(&name("a")), false, &None));
        let error = decided(&change, &before, &hashing(&[], false)).unwrap_err().to_string();
        assert!(error.contains("the hash that stands for one is made of all cells"), "{error}");
        assert!(error.contains("ddl.onImpossible"), "{error}");
    }
}

#[test]
fn a_column_that_is_left_out_is_in_no_hash_and_one_whose_values_change_is_whatever_the_policy_says() {
    let before = keyless(vec![int("n"), text("v")]);
    let rules = hashing(&[(DdlKind::AddColumn, DdlPolicy::Ignore), (DdlKind::ModifyColumn, DdlPolicy::Ignore)], true);
    let added = alter(&before, vec![int("x"), int("n"), text("v")], &[("x", "")]);
    let plan = decided(&added, &before, &rules).unwrap();
    assert!(words(&plan).is_empty(), "{plan:?}");
    assert_eq!(after(&plan, "a").carried().len(), 2);
    let dropped = alter(&before, vec![text("v")], &[]);
    let kept = hashing(&[(DdlKind::DropColumn, DdlPolicy::Ignore)], true);
    assert_eq!(words(&decided(&dropped, &before, &kept).unwrap()), COPIED, "rows that come have no cell for it");
    let time = Column { nullable: true, ..Column::new("v", ColumnType::Time { digits: 0 }) };
    let modified = alter(&before, vec![int("n"), time], &[]);
    assert_eq!(words(&decided(&modified, &before, &rules).unwrap()), COPIED);
}

#[test]
fn another_name_takes_the_numbers_along() {
    let before = keyless(vec![int("n")]);
    let plan = decided(&renamed(&[("a", &before, "b")]), &before, &hashing(&[], false)).unwrap();
    assert_eq!(words(&plan), ["rename table shop.a to b"]);
    assert_eq!(plan.renumbered, [(name("a"), name("b"))]);
}

#[test]
fn tables_that_change_names_with_each_other_change_numbers_too() {
    let [a, b] = ["a", "b"].map(|table| keyless_named(table, vec![int("n")]));
    let rules = hashing(&[], false);
    let mappings = [&a, &b].map(|table| Arc::new(map_table(table, &rules.mapping).unwrap()));
    let swap = [renamed(&[("a", &a, "b"), ("b", &b, "a")])];
    let plan =
        plan(&Followed::new(mappings, [], []), &swap, &said("RENAME TABLE …"), &rules, &Case::default()).unwrap();
    let pairs: Vec<String> = plan.renumbered.iter().map(|(from, to)| format!("{} {}", from.table, to.table)).collect();
    assert_eq!(pairs, ["a a__towpath_aside", "b a", "a__towpath_aside b"]);
}

#[test]
fn a_new_table_without_a_key_is_made_if_rows_are_hashed() {
    let new = keyless(vec![int("n")]);
    let case = Case::default();
    let create = [SchemaChange::Create(new)];
    let made = |rules: &Rules| plan(&followed(&[]), &create, &said("CREATE TABLE …"), rules, &case).unwrap();
    assert_eq!(words(&made(&hashing(&[], false))), ["create table shop.a"]);
    assert!(words(&made(&rules(&[]))).is_empty());
}
