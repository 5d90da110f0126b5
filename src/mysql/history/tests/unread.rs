//! Statements that cannot be read, and what tells afterwards what they did.

use super::*;
use crate::mysql::binlog::{full_table_map_of, table_map_of};

/// A history over `T` whose catalogue has what the mutex holds.
fn with_catalogue() -> (History, Arc<Mutex<Option<Table>>>) {
    let held: Arc<Mutex<Option<Table>>> = Arc::default();
    let catalogue = Arc::clone(&held);
    let surroundings =
        Surroundings { catalogue: Some(Arc::new(move |_| Ok(catalogue.lock().unwrap().clone()))), ..surroundings() };
    let mut history = history().with(surroundings);
    history.read(&statement(T)).unwrap();
    (history, held)
}

/// What `t` is after these statements.
fn table(statements: &[&str]) -> Table {
    let all: Vec<&str> = std::iter::once(T).chain(statements.iter().copied()).collect();
    Table::clone(after(&all).tables().next().unwrap())
}

const UNREAD: &str = "ALTER TABLE t ADD PERIOD FOR p (a, b), ADD c INT";

#[test]
fn rows_with_names_tell_what_a_statement_did() {
    for (now, meaning) in [
        (&["ALTER TABLE t ADD c INT AFTER id"][..], &["alter shop.t(id c a b; id) was id - a b"][..]),
        (&[], &[]),
        (&["ALTER TABLE t DROP a"], &["alter shop.t(id b; id) was id b"]),
        (
            &["ALTER TABLE t RENAME COLUMN a TO c"],
            &["refill shop.t(id c b; id): columns came and others went, which may be the same ones renamed"],
        ),
        (
            &["ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (id, a)"],
            &["refill shop.t(id a b; id a): its key has other columns"],
        ),
    ] {
        let (mut history, catalogue) = with_catalogue();
        assert_eq!(read(&mut history, UNREAD), [""; 0]);
        let now = table(now);
        *catalogue.lock().unwrap() = Some(now.clone());
        let changes = history.map(&table_map_of(&now, true), "binlog.000001:300").unwrap();
        assert_eq!(changes.iter().map(short).collect::<Vec<_>>(), meaning);
        assert_eq!(history.map(&table_map_of(&now, true), "binlog.000001:400").unwrap(), []);
        assert_eq!(history.tables().next().unwrap().columns, now.columns);
    }
}

#[test]
fn nothing_is_guessed() {
    let renamed = table(&["ALTER TABLE t RENAME COLUMN a TO c"]);
    let reason = |catalogue: Option<&Table>, logged: &Table, names| {
        let (mut history, held) = with_catalogue();
        read(&mut history, UNREAD);
        *held.lock().unwrap() = catalogue.cloned();
        history.map(&table_map_of(logged, names), "binlog.000001:300").unwrap_err().to_string()
    };
    let t = table(&[]);
    let minimal = reason(Some(&t), &t, false);
    assert!(minimal.contains("no names of columns") && minimal.contains("binlog_row_metadata = 'FULL'"), "{minimal}");
    assert!(minimal.contains(UNREAD) && minimal.contains("binlog.000001:200"), "{minimal}");
    let later = reason(Some(&renamed), &t, true);
    assert!(later.contains("the log has the name a, the definition the name c"), "{later}");
    let gone = reason(None, &t, true);
    assert!(gone.contains("no longer has the table"), "{gone}");
}

#[test]
fn rows_with_whole_definitions_need_no_catalogue() {
    let logged = table(&["ALTER TABLE t ADD c INT AFTER id"]);
    for now in [None, Some(table(&["ALTER TABLE t DROP a"]))] {
        let (mut history, held) = with_catalogue();
        read(&mut history, UNREAD);
        held.lock().unwrap().clone_from(&now);
        let changes = history.map(&full_table_map_of(&logged), "x:1").unwrap();
        assert_eq!(changes.iter().map(short).collect::<Vec<_>>(), ["alter shop.t(id c a b; id) was id - a b"]);
    }
    // Defaults are not in it.
    let (mut history, _) = with_catalogue();
    history.surroundings.whole_images = false;
    read(&mut history, UNREAD);
    let error = history.map(&full_table_map_of(&logged), "x:1").unwrap_err().to_string();
    assert!(error.contains("binlog_row_image is not FULL"), "{error}");
}

#[test]
fn a_new_table_is_the_catalogues_until_rows_contradict() {
    let create = "CREATE TABLE u (id INT PRIMARY KEY, PERIOD FOR p (a, b))";
    let u = Table { name: TableName::new("shop", "u"), ..table(&[]) };
    let (mut history, catalogue) = with_catalogue();
    *catalogue.lock().unwrap() = Some(u.clone());
    assert_eq!(read(&mut history, create), ["create shop.u(id a b; id)"]);
    assert_eq!(history.map(&table_map_of(&u, true), "x:1").unwrap(), []);
    assert!(matches!(history.state.tables[&u.name], Known::Sure(_)));
    let (mut history, catalogue) = with_catalogue();
    *catalogue.lock().unwrap() = Some(u.clone());
    read(&mut history, create);
    let other = Table { name: u.name, ..table(&["ALTER TABLE t ADD c INT"]) };
    assert!(history.map(&table_map_of(&other, true), "x:1").is_err());
    // Dropped before any row came: nothing was guessed, nothing is missed.
    assert_eq!(read(&mut history, "DROP TABLE u"), ["leave shop.u"]);
}

fn shown(changes: &[SchemaChange]) -> Vec<String> {
    changes.iter().map(short).collect()
}

#[test]
fn without_rows_the_catalogue_tells_at_a_place_where_it_holds() {
    let name = TableName::new("shop", "t");
    let waits = |history: &History| history.unsettled().cloned().collect::<Vec<_>>();
    let (mut history, _) = with_catalogue();
    assert!(waits(&history).is_empty());
    read(&mut history, UNREAD);
    assert_eq!(waits(&history), std::slice::from_ref(&name));
    assert_eq!(history.settle(&name, None), []);
    assert_eq!(waits(&history), std::slice::from_ref(&name), "a statement that is still to come took it away");
    let revision = history.revision();
    let now = table(&["ALTER TABLE t ADD c INT AFTER id"]);
    assert_eq!(shown(&history.settle(&name, Some(now.clone()))), ["alter shop.t(id c a b; id) was id - a b"]);
    assert!(waits(&history).is_empty() && history.revision() > revision);
    // Names or not: nothing is open any more.
    assert_eq!(history.map(&table_map_of(&now, false), "x:1").unwrap(), []);
    assert_eq!(history.settle(&name, Some(table(&[]))), [], "an answer that comes late");
    assert_eq!(read(&mut history, "ALTER TABLE t DROP c"), ["alter shop.t(id a b; id) was id a b"]);
}

#[test]
fn a_new_tables_definition_is_certain_when_the_catalogue_has_said_it_twice() {
    let (mut history, catalogue) = with_catalogue();
    let u = Table { name: TableName::new("shop", "u"), ..table(&[]) };
    *catalogue.lock().unwrap() = Some(u.clone());
    read(&mut history, "CREATE TABLE u LIKE other.model");
    assert_eq!(history.unsettled().count(), 1);
    assert_eq!(history.settle(&u.name, Some(u.clone())), []);
    assert_eq!(history.map(&table_map_of(&u, false), "x:1").unwrap(), []);
    // The first answer knew of a statement behind it.
    let (mut history, catalogue) = with_catalogue();
    *catalogue.lock().unwrap() = Some(Table { name: u.name.clone(), ..table(&["ALTER TABLE t ADD c INT"]) });
    read(&mut history, "CREATE TABLE u LIKE other.model");
    assert_eq!(shown(&history.settle(&u.name, Some(u.clone()))), ["alter shop.u(id a b; id) was id a b"]);
}

#[test]
fn columns_that_may_have_each_others_names_are_not_taken_for_the_same() {
    let name = TableName::new("shop", "t");
    let swap = "ALTER TABLE t ADD PERIOD FOR p (a, b), RENAME COLUMN a TO b, RENAME COLUMN b TO a";
    let reason = "a statement that could not be read may have given columns each other's names";
    let moved = table(&["ALTER TABLE t CHANGE a b INT, CHANGE b a VARCHAR(10)"]);
    // The text says so, or the definition looks so; also if a restart lies between.
    for (sql, now, meaning) in [
        (swap, table(&[]), format!("refill shop.t(id a b; id): {reason}")),
        (
            UNREAD,
            moved,
            "refill shop.t(id b a; id): columns stand in another order, which may be the same one under each other's names"
                .to_owned(),
        ),
    ] {
        let (mut history, _) = with_catalogue();
        read(&mut history, sql);
        let stored = history.state().unwrap().unwrap();
        let mut history = History::restore(&stored, surroundings()).unwrap();
        assert_eq!(shown(&history.settle(&name, Some(now))), [meaning]);
    }
    // In a second statement; and one whose clauses are known does not.
    let (mut history, _) = with_catalogue();
    read(&mut history, UNREAD);
    read(&mut history, "ALTER TABLE t CHANGE a a BIGINT, DROP b, ADD d INT");
    assert_eq!(shown(&history.settle(&name, Some(table(&[])))), [""; 0]);
    read(&mut history, UNREAD);
    read(&mut history, "ALTER TABLE t DROP b, ADD b INT");
    assert_eq!(shown(&history.settle(&name, Some(table(&[])))), [format!("refill shop.t(id a b; id): {reason}")]);
    // No row is in a table that is new.
    let (mut history, catalogue) = with_catalogue();
    let u = Table { name: TableName::new("shop", "u"), ..table(&[]) };
    *catalogue.lock().unwrap() = Some(u.clone());
    read(&mut history, "CREATE TABLE u LIKE other.model");
    read(&mut history, "ALTER TABLE u CHANGE x b INT");
    assert_eq!(shown(&history.settle(&u.name, Some(u.clone()))), [""; 0]);
}

#[test]
fn a_statement_behind_one_that_is_not_read_waits_too() {
    let (mut history, catalogue) = with_catalogue();
    read(&mut history, UNREAD);
    assert_eq!(read(&mut history, "ALTER TABLE t ADD d INT"), [""; 0]);
    assert_eq!(read(&mut history, "RENAME TABLE t TO u"), ["rename shop.t to shop.u(id a b; id)"]);
    let u = Table { name: TableName::new("shop", "u"), ..table(&["ALTER TABLE t ADD c INT, ADD d INT"]) };
    *catalogue.lock().unwrap() = Some(u.clone());
    let changes = history.map(&table_map_of(&u, true), "x:1").unwrap();
    assert_eq!(changes.iter().map(short).collect::<Vec<_>>(), ["alter shop.u(id a b c d; id) was id a b - -"]);
}
