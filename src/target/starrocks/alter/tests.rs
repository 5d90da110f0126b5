use super::*;

const V35: Version = Version { major: 3, minor: 5, patch: 0 };
const V31: Version = Version { major: 3, minor: 1, patch: 0 };

const INT: TargetType = TargetType::Int;

fn text(bytes: u32) -> TargetType {
    TargetType::Varchar { bytes }
}

fn decimal(precision: u8, scale: u8) -> TargetType {
    TargetType::Decimal { precision, scale }
}

fn column(name: &str, ty: TargetType) -> TargetColumn {
    let (default, comment) = (None, String::new());
    TargetColumn { name: name.into(), ty, nullable: true, default, comment, fill: Fill::Null, source: 0 }
}

/// Keyed by its first column.
fn table(columns: Vec<TargetColumn>) -> TargetTable {
    let mut columns = columns;
    columns[0].nullable = false;
    TargetTable { name: TableName::new("shop", "t"), columns, key_columns: 1, comment: String::new() }
}

fn existing_of(table: &TargetTable) -> Vec<ExistingColumn> {
    table.columns.iter().enumerate().map(|(index, column)| ExistingColumn::like(column, index == 0)).collect()
}

/// `id` and INT columns of these names; `was` in the notation `new` or `new<old`.
struct Names {
    before: TargetTable,
    after: TargetTable,
    was: Vec<Option<usize>>,
}

fn names(before: &str, after: &str) -> Names {
    let old: Vec<&str> = std::iter::once("id").chain(before.split_whitespace()).collect();
    let mut was = vec![Some(0)];
    let mut columns = vec![column("id", INT)];
    for word in after.split_whitespace() {
        let (name, from) = word.split_once('<').map_or((word, None), |(name, from)| (name, Some(from)));
        was.push(from.map(|from| old.iter().position(|name| *name == from).unwrap()));
        columns.push(column(name, INT));
    }
    Names { before: table(old.iter().map(|name| column(name, INT)).collect()), after: table(columns), was }
}

impl Names {
    fn change(&self) -> Change<'_> {
        Change { before: &self.before, after: &self.after, was: &self.was, version: V35 }
    }
}

/// A table that carries steps out and knows where each column comes from.
#[derive(Debug, Clone, PartialEq)]
struct Model(Vec<(String, String)>);

impl Model {
    fn new(table: &TargetTable) -> Model {
        Model(table.columns.iter().map(|column| (column.name.clone(), format!("old {}", column.name))).collect())
    }

    fn existing(&self) -> Vec<ExistingColumn> {
        let like = |(index, (name, _)): (usize, &(String, String))| {
            let mut column = column(name, INT);
            column.nullable = index > 0;
            ExistingColumn::like(&column, index == 0)
        };
        self.0.iter().enumerate().map(like).collect()
    }

    fn at(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|(other, _)| same_name(other, name))
    }

    fn run(&mut self, step: &Step, progress: &mut Progress) {
        let quoted = |text: &str| text.split('`').nth(1).unwrap().to_owned();
        match &step.kind {
            Kind::Drop(dropped) => {
                for name in dropped {
                    self.0.remove(self.at(name).unwrap());
                }
                progress.dropped.extend(dropped.iter().cloned());
            }
            Kind::Rename => {
                let (from, to) = step.clauses.split_once(" TO ").unwrap();
                assert!(self.at(&quoted(to)).is_none(), "duplicate name: {}", step.clauses);
                let from = self.at(&quoted(from)).unwrap();
                self.0[from].0 = quoted(to);
            }
            Kind::Add(added) => {
                for name in added {
                    assert!(self.at(name).is_none(), "{name} is there");
                    self.0.push((name.clone(), "new".into()));
                }
            }
            Kind::Modify | Kind::Comment => panic!("{step:?}"),
        }
    }

    /// All states on the way to the last one.
    fn run_all(mut self, change: &Change<'_>) -> Vec<Model> {
        let mut progress = Progress::default();
        let mut states = vec![self.clone()];
        while let Some(step) = next(change, &self.existing(), &progress).unwrap() {
            self.run(&step, &mut progress);
            states.push(self.clone());
            assert!(states.len() < 30, "{states:?}");
        }
        states
    }

    fn sorted(&self) -> Vec<(String, String)> {
        let mut columns = self.0.clone();
        columns.sort();
        columns
    }
}

#[test]
fn every_change_of_names_goes_on_from_wherever_it_was_left() {
    for (before, after) in [
        ("a", "a<a b"),
        ("a b", "b<b"),
        ("a", "b<a"),
        ("a b", "b<a c<b"),
        ("a b c", "b<a c<b d<c"),
        ("a b", "b<a"),
        ("a b c", "b<a c<b"),
        ("a b c x", "c<b b<a y"),
        ("a", "b<a a"),
        ("a b", "b<a c<b a"),
        ("a", "a"),
        ("a b", "a b<b"),
        ("a b", "a b"),
        ("a", "A<a"),
        ("a b c", "A<a d<b c"),
    ] {
        let names = names(before, after);
        let change = names.change();
        assert!(cannot(&change).is_empty(), "{before} to {after}: {:?}", cannot(&change));
        let wanted = names.after.columns.iter().zip(&names.was).map(|(column, was)| {
            let from = was.map_or("new".into(), |index| format!("old {}", names.before.columns[index].name));
            (column.name.clone(), from)
        });
        let mut wanted: Vec<(String, String)> = wanted.collect();
        wanted.sort();
        for state in Model::new(&names.before).run_all(&change) {
            let end = state.clone().run_all(&change).pop().unwrap();
            assert_eq!(end.sorted(), wanted, "{before} to {after} from {state:?}");
        }
    }
}

#[test]
fn what_looks_the_same_before_and_after_is_not_begun() {
    for (before, after, named) in [("a b", "a<b b<a", 2), ("a b c", "b<a c<b a<c", 3), ("a b", "b<a a", 1)] {
        let found = cannot(&names(before, after).change());
        assert_eq!(found.len(), named, "{found:?}");
        assert!(found.iter().all(|text| text.contains("after a crash nobody could tell")), "{found:?}");
    }
}

#[test]
fn renames_need_their_version() {
    let names = names("a", "b<a");
    let found = cannot(&Change { version: V31, ..names.change() });
    assert_eq!(found, ["column a: RENAME COLUMN to b needs StarRocks 3.3.2, this is 3.1.0"]);
    // A name's case is no name.
    let names = self::names("a", "A<a");
    let change = Change { version: V31, ..names.change() };
    assert!(cannot(&change).is_empty());
    assert_eq!(next(&change, &existing_of(&names.before), &Progress::default()).unwrap(), None);
}

#[test]
fn somebody_elses_columns_stay_and_are_not_taken_for_ours() {
    let names = names("a", "b<a");
    let change = names.change();
    let mut there = existing_of(&names.before);
    there.push(ExistingColumn::like(&column("theirs", INT), false));
    let step = next(&change, &there, &Progress::default()).unwrap().unwrap();
    assert_eq!(step.clauses, "RENAME COLUMN `a` TO `b`");
    there.push(ExistingColumn::like(&column("b", INT), false));
    let error = next(&change, &there, &Progress::default()).unwrap_err();
    assert!(error.to_string().contains("column a is to be called b, and both are there"), "{error}");
    let neither = existing_of(&table(vec![column("id", INT)]));
    assert!(next(&change, &neither, &Progress::default()).unwrap_err().to_string().contains("neither is there"));
}

/// The one statement that turns `before` into `after`, columns matched by name.
fn only_step(before: Vec<TargetColumn>, after: Vec<TargetColumn>) -> Option<String> {
    let (before, after) = (table(before), table(after));
    let was: Vec<_> =
        after.columns.iter().map(|column| before.columns.iter().position(|other| other.name == column.name)).collect();
    let change = Change { before: &before, after: &after, was: &was, version: V35 };
    next(&change, &existing_of(&before), &Progress::default()).unwrap().map(|step| step.clauses)
}

#[test]
fn new_columns_come_in_one_statement_at_their_place_with_what_rows_hold() {
    let filled = |name: &str, nullable, fill| TargetColumn { nullable, fill, ..column(name, text(9)) };
    let after = vec![
        column("id", INT),
        filled("first", false, Fill::Value("it's".into())),
        column("a", INT),
        filled("next", true, Fill::Value("x".into())),
        filled("date", false, Fill::Null),
        column("b", INT),
        column("last", INT),
    ];
    let before = ["id", "a", "b"].map(|name| column(name, INT)).to_vec();
    assert_eq!(
        only_step(before, after).unwrap(),
        "ADD COLUMN `first` VARCHAR(9) NOT NULL DEFAULT 'it\\'s' AFTER `id`, \
         ADD COLUMN `next` VARCHAR(9) NULL DEFAULT 'x' AFTER `a`, \
         ADD COLUMN `date` VARCHAR(9) NULL AFTER `next`, ADD COLUMN `last` INT NULL"
    );
}

#[test]
fn a_name_that_starrocks_keeps_is_given_in_two_steps() {
    let names = names("b", "b<b a");
    let change = names.change();
    let mut progress = Progress { refused_names: vec!["a".into()], ..Progress::default() };
    let step = next(&change, &existing_of(&names.before), &progress).unwrap().unwrap();
    assert_eq!(step.clauses, "ADD COLUMN `towpath_tmp1_a` INT NULL");
    progress.refused_names.push("towpath_tmp1_a".into());
    let step = next(&change, &existing_of(&names.before), &progress).unwrap().unwrap();
    assert_eq!(step.kind, Kind::Add(vec!["towpath_tmp2_a".into()]));
    // Whoever comes after a crash knows what it was for.
    let mut there = existing_of(&names.before);
    there.push(ExistingColumn::like(&column("towpath_tmp2_a", INT), false));
    let step = next(&change, &there, &Progress::default()).unwrap().unwrap();
    assert_eq!(step.clauses, "RENAME COLUMN `towpath_tmp2_a` TO `a`");
}

#[test]
fn a_column_is_changed_only_if_it_does_not_take_every_value() {
    let of = |ty| vec![column("id", INT), column("c", ty)];
    for (before, after, expected) in [
        (INT, TargetType::BigInt, Some("MODIFY COLUMN `c` BIGINT NULL")),
        (TargetType::BigInt, INT, None),
        (text(40), text(80), Some("MODIFY COLUMN `c` VARCHAR(80) NULL")),
        (text(80), text(40), None),
        (decimal(10, 2), decimal(12, 4), Some("MODIFY COLUMN `c` DECIMAL(12, 4) NULL")),
        (decimal(10, 2), decimal(10, 4), Some("MODIFY COLUMN `c` DECIMAL(12, 4) NULL")),
        (TargetType::Date, TargetType::DateTime, Some("MODIFY COLUMN `c` DATETIME NULL")),
    ] {
        assert_eq!(only_step(of(before), of(after)).as_deref(), expected, "{before} to {after}");
    }
}

#[test]
fn a_change_repeats_default_and_comment_and_never_takes_null_away() {
    let with = |ty, nullable, default: &str| {
        let default = Some(TargetDefault::Literal(default.into()));
        let comment = "it's".to_owned();
        vec![column("id", INT), TargetColumn { ty, nullable, default, comment, ..column("c", ty) }]
    };
    assert_eq!(
        only_step(with(INT, false, "1"), with(TargetType::BigInt, false, "2")).unwrap(),
        "MODIFY COLUMN `c` BIGINT NOT NULL DEFAULT '1' COMMENT 'it\\'s'"
    );
    assert_eq!(
        only_step(with(INT, false, "1"), with(INT, true, "1")).unwrap(),
        "MODIFY COLUMN `c` INT NULL DEFAULT '1' COMMENT 'it\\'s'"
    );
    assert_eq!(only_step(with(INT, true, "1"), with(INT, false, "1")), None);
    let at = |ty| {
        let default = Some(TargetDefault::CurrentTimestamp);
        vec![column("id", INT), TargetColumn { nullable: ty == text(9), default, ..column("c", TargetType::DateTime) }]
    };
    assert_eq!(only_step(at(INT), at(text(9))).unwrap(), "MODIFY COLUMN `c` DATETIME NULL DEFAULT CURRENT_TIMESTAMP");
}

#[test]
fn what_starrocks_cannot_change_is_named_with_its_reason() {
    let cannot_be = |before: TargetType, after: TargetType, key: bool, version| {
        let of = |ty| table(if key { vec![column("c", ty)] } else { vec![column("id", INT), column("c", ty)] });
        let was: Vec<_> = (0..if key { 1 } else { 2 }).map(Some).collect();
        cannot(&Change { before: &of(before), after: &of(after), was: &was, version }).pop()
    };
    let v40 = Version { major: 4, minor: 0, patch: 0 };
    for (before, after) in [
        (INT, decimal(10, 0)),
        (INT, TargetType::Float),
        (TargetType::DateTime, text(40)),
        (decimal(10, 2), TargetType::Double),
        (decimal(30, 2), decimal(38, 20)),
        (decimal(10, 2), text(12)),
        (TargetType::Boolean, TargetType::BigInt),
        (TargetType::BigInt, text(20)),
        (TargetType::Json, INT),
    ] {
        let found = cannot_be(before, after, false, V35).unwrap_or_default();
        assert_eq!(found, format!("column c: {before} to {after}: StarRocks cannot change the type so"));
    }
    for (before, after) in [(INT, TargetType::BigInt), (TargetType::BigInt, text(40)), (text(9), text(10))] {
        assert_eq!(cannot_be(before, after, false, V35), None, "{before} to {after}");
        let found = cannot_be(before, after, true, V35).unwrap();
        assert!(found.ends_with("StarRocks keeps the types of key columns"), "{found}");
    }
    assert_eq!(cannot_be(text(9), text(10), true, v40), None);
    assert_eq!(cannot_be(decimal(30, 2), decimal(38, 20), false, v40), None);
}

#[test]
fn another_key_and_values_nobody_knows_are_named() {
    let before = table(vec![column("id", INT), column("a", INT)]);
    let mut after = table(vec![column("id", INT), column("a", INT)]);
    after.key_columns = 2;
    let change = Change { before: &before, after: &after, was: &[Some(0), Some(1)], version: V35 };
    assert_eq!(cannot(&change), ["the key changes from (id) to (id, a), and StarRocks keeps a table's key"]);
    let mut after = table(vec![column("id", INT), column("a", INT), column("b", INT)]);
    after.columns[2].fill = Fill::Unknown;
    let change = Change { before: &before, after: &after, was: &[Some(0), Some(1), None], version: V35 };
    assert!(cannot(&change)[0].starts_with("column b: it is new"), "{:?}", cannot(&change));
}

#[test]
fn a_row_hash_holds_for_the_columns_it_was_made_of() {
    let of = |columns: &[(&str, TargetType)]| {
        let all = [&[(ROW_HASH, TargetType::LargeInt)], columns].concat();
        table(all.into_iter().map(|(name, ty)| column(name, ty)).collect())
    };
    let before = of(&[("a", INT), ("b", INT)]);
    let found = |after: &TargetTable, was: &[Option<usize>]| {
        let change = Change { before: &before, after, was, version: V35 };
        cannot(&change).into_iter().filter(|text| text.contains("hash of all columns")).count()
    };
    let all = [Some(0), Some(1), Some(2)];
    assert_eq!(found(&of(&[("a", INT), ("c", INT)]), &all), 0);
    assert_eq!(found(&of(&[("a", INT), ("b", TargetType::BigInt)]), &all), 0, "7 is 7");
    assert_eq!(found(&of(&[("a", INT), ("b", TargetType::Double)]), &all), 1);
    assert_eq!(found(&of(&[("a", INT), ("b", decimal(20, 2))]), &all), 1);
    assert_eq!(found(&of(&[("b", INT), ("a", INT)]), &[Some(0), Some(2), Some(1)]), 1);
    assert_eq!(found(&of(&[("a", INT)]), &all[..2]), 1);
    assert_eq!(found(&of(&[("a", INT), ("b", INT), ("c", INT)]), &[Some(0), Some(1), Some(2), None]), 1);
}

#[test]
fn comments_come_last_and_only_where_the_source_changed_them() {
    let of = |comments: [&str; 2]| {
        let column = |(index, comment): (usize, &&str)| TargetColumn {
            comment: (*comment).to_owned(),
            ..column(["id", "c"][index], INT)
        };
        table(comments.iter().enumerate().map(column).collect())
    };
    let (before, mut after) = (of(["old", "old"]), of(["old", "new"]));
    after.comment = "all of it".into();
    let change = Change { before: &before, after: &after, was: &[Some(0), Some(1)], version: V35 };
    let there = existing_of(&of(["theirs", "theirs"]));
    let mut progress = Progress::default();
    let mut steps = Vec::new();
    while let Some(step) = next(&change, &there, &progress).unwrap() {
        assert_eq!(step.kind, Kind::Comment);
        progress.commented.push(step.clauses.clone());
        steps.push(statement(&after.name, &step));
    }
    assert_eq!(
        steps,
        ["ALTER TABLE `shop`.`t` MODIFY COLUMN `c` COMMENT 'new'", "ALTER TABLE `shop`.`t` COMMENT = 'all of it'"]
    );
}
