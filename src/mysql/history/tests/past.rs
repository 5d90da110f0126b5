//! A job that begins in the past, with `t` as the catalogue has it now.

use super::*;
use crate::mysql::binlog::{ColumnBits, ImageColumns, RowsEvent, RowsKind, Slot, full_table_map_of, table_map_of};

enum Seen {
    Rows(&'static str),
    Statement(&'static str),
}
use Seen::{Rows, Statement as Said};

/// The tables at the beginning, of a log with definitions (`full`) or without; the rows of `t` and `gone` are those of a
/// table that had another column then.
fn begun(seen: &[Seen], full: bool) -> Result<History> {
    let today = after(&[T, "CREATE TABLE u (id INT PRIMARY KEY)"]);
    let mut past = Past::new(today.with(Surroundings { full_metadata: full, ..surroundings() }));
    let then = after(&["CREATE TABLE t (id INT, old VARCHAR(10), PRIMARY KEY (old, id))"]);
    let then = Table::clone(then.tables().next().unwrap());
    let today = Table::clone(after(&[T]).tables().next().unwrap());
    let changed =
        seen.iter().any(|seen| matches!(seen, Said(sql) if !sql.contains("INDEX") && !sql.contains("IF NOT")));
    for seen in seen {
        past.see(&match seen {
            Said(sql) => Slot::Statement(Box::new(statement(sql))),
            Rows(name) => {
                let table =
                    Table { name: TableName::new("shop", *name), ..if changed { &then } else { &today }.clone() };
                Slot::Rows(RowsEvent {
                    table: Arc::new(if full { full_table_map_of(&table) } else { table_map_of(&table, false) }),
                    kind: RowsKind::Insert,
                    columns: None,
                    images: Default::default(),
                    file: "binlog.000001".into(),
                    offset: 4,
                    gtid: None,
                })
            }
        });
    }
    past.history()
}

fn tables(history: &History) -> Vec<String> {
    history.tables().map(|table| columns(table)).collect()
}

const NOW: (&str, &str) = ("shop.t(id a b; id)", "shop.u(id; id)");
const THEN: &str = "shop.t(id old; old id)";

#[test]
fn a_table_is_there_from_the_statement_on_that_makes_it() {
    let (t, u) = NOW;
    for (seen, there) in [
        (&[Rows("t"), Said("ALTER TABLE t ADD INDEX (a)"), Said("TRUNCATE t"), Rows("t")][..], &[t, u][..]),
        (&[Said(T), Rows("t"), Said("ALTER TABLE t DROP a")], &[u]),
        (&[Said("DROP TABLE IF EXISTS t"), Said(T), Rows("t")], &[u]),
        (&[Rows("t"), Said("CREATE TABLE IF NOT EXISTS t (id INT PRIMARY KEY)")], &[t, u]),
        // Other rows are no other definition.
        (&[Said("ALTER TABLE t TRUNCATE PARTITION p0"), Said("ALTER TABLE t IMPORT TABLESPACE")], &[t, u]),
        (&[Said("CREATE TABLE x LIKE t"), Said("RENAME TABLE x TO other.x"), Said("DROP TABLE other.x")], &[t, u]),
        (&[Said("ALTER TABLE gone ADD c INT"), Said("DROP TABLE gone")], &[t, u]),
    ] {
        for full in [false, true] {
            assert_eq!(tables(&begun(seen, full).unwrap()), there);
        }
    }
}

#[test]
fn without_names_in_the_log_a_table_that_was_another_then_is_not_guessed() {
    for seen in [
        &[Said("ALTER TABLE t ADD b VARCHAR(10)")][..],
        &[Rows("t"), Said("DROP TABLE t"), Said(T)],
        &[Rows("gone"), Said("DROP TABLE gone")],
        &[Rows("t"), Said("DROP DATABASE shop"), Said(T)],
        &[Said("RENAME TABLE t TO x, u TO t, x TO u")],
        &[Said("ALTER TABLE t ADD SYSTEM VERSIONING")],
    ] {
        let error = begun(seen, false).unwrap_err().to_string();
        assert!(error.contains("has been changed since") && error.contains("binlog.000001:200"), "{error}");
        assert!(error.contains("the log tells no names") && error.contains("binlog_row_metadata=FULL"), "{error}");
    }
}

#[test]
fn the_first_rows_tell_what_a_table_was_then() {
    let u = NOW.1;
    for (seen, there) in [
        (&[Rows("t"), Said("ALTER TABLE t DROP old"), Rows("t")][..], &[THEN, u][..]),
        (&[Rows("t"), Said("DROP TABLE t"), Said(T)], &[THEN, u]),
        (&[Rows("gone"), Said("DROP TABLE gone")], &["shop.gone(id old; old id)", "shop.t(id a b; id)", u]),
        (&[Rows("t"), Said("ALTER TABLE t ADD SYSTEM VERSIONING")], &[THEN, u]),
        // Rows that come later are not those of the beginning.
        (&[Said("ALTER TABLE t DROP old"), Rows("t")], &[u]),
        (&[Said("RENAME TABLE t TO x, u TO t, x TO u")], &[]),
    ] {
        assert_eq!(tables(&begun(seen, true).unwrap()), there);
    }
}

#[test]
fn a_table_whose_first_rows_come_later_is_the_jobs_from_them_on() {
    let mut history = begun(&[Said("ALTER TABLE t ADD c INT"), Rows("t")], true).unwrap();
    let t = TableName::new("shop", "t");
    assert!(history.awaits_rows(&t));
    assert_eq!(read(&mut history, "ALTER TABLE t ADD c INT, RENAME TO t2"), [""; 0]);
    let now = Table { name: TableName::new("shop", "t2"), ..Table::clone(after(&[T]).tables().next().unwrap()) };
    assert!(!history.awaits_rows(&t) && history.awaits_rows(&now.name));
    let changes = history.map(&full_table_map_of(&now), "x:1").unwrap();
    assert_eq!(changes.iter().map(short).collect::<Vec<_>>(), ["create shop.t2(id a b; id)"]);
    assert_eq!(read(&mut history, "ALTER TABLE t2 DROP a"), ["alter shop.t2(id b; id) was id b"]);
}

#[test]
fn the_tables_own_character_set_is_todays_unless_it_was_changed_since() {
    let charset = |seen: &[Seen]| begun(seen, true).unwrap().tables().next().unwrap().charset.clone();
    assert_eq!(charset(&[Rows("t"), Said("ALTER TABLE t DROP old")]).as_deref(), Some("utf8mb4"));
    assert_eq!(charset(&[Rows("t"), Said("ALTER TABLE t DROP old"), Said("ALTER TABLE t CHARSET gbk")]), None);
    assert_eq!(charset(&[Rows("t"), Said("DROP TABLE t"), Said(T)]), None);
}

#[test]
fn what_the_log_does_not_tell_of_keys_is_not_guessed() {
    let seen = [Rows("t"), Said("ALTER TABLE t ADD c INT")];
    for (sql, known) in [
        ("ALTER TABLE t ADD c INT, ADD UNIQUE i (id)", true),
        ("ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (id)", true),
        ("ALTER TABLE t MODIFY old VARCHAR(20) NOT NULL", true),
        // It may be a unique key that the log has told.
        ("ALTER TABLE t MODIFY old VARCHAR(20)", false),
        ("ALTER TABLE t DROP INDEX something", false),
        ("ALTER TABLE t DROP PRIMARY KEY, ADD UNIQUE (id)", false),
    ] {
        let mut history = begun(&seen, true).unwrap();
        read(&mut history, sql);
        assert_eq!(!history.awaits_rows(&TableName::new("shop", "t")), known, "{sql}");
    }
    // Of one whose primary key is known, that is.
    let mut history = begun(&[Said("ALTER TABLE t ADD INDEX i (a)")], true).unwrap();
    read(&mut history, "ALTER TABLE t DROP INDEX something, MODIFY id INT");
    assert!(!history.awaits_rows(&TableName::new("shop", "t")));
}

#[test]
fn rows_that_are_not_whole_need_a_definition_with_defaults() {
    let map = full_table_map_of(&Table::clone(after(&[T]).tables().next().unwrap()));
    let mut past = Past::new(after(&[T]));
    past.see(&Slot::Rows(RowsEvent {
        table: Arc::new(map),
        kind: RowsKind::Insert,
        columns: Some(Arc::new(ImageColumns {
            before: ColumnBits::new(&[1]),
            after: ColumnBits::new(&[1]),
            mariadb: false,
        })),
        images: Default::default(),
        file: "binlog.000001".into(),
        offset: 4,
        gtid: None,
    }));
    past.see(&Slot::Statement(Box::new(statement("ALTER TABLE t ADD c INT"))));
    let error = past.history().unwrap_err().to_string();
    assert!(error.contains("row images leave out columns"), "{error}");
}
