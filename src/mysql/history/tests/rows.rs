//! Statements by which rows come or go that no row event tells of.

use super::*;
use crate::mysql::binlog::full_table_map_of;

const TWO: [&str; 2] = [T, "CREATE TABLE u (id INT PRIMARY KEY, a INT, b VARCHAR(10))"];

#[test]
fn rows_that_no_event_tells_of_have_their_tables_copied() {
    let refill = |clause: &str| format!("refill shop.t(id a b; id): {clause} leaves no rows in the log");
    for (sql, meaning) in [
        ("ALTER TABLE t DROP PARTITION p0, p1", vec![refill("DROP PARTITION p0 , p1")]),
        ("ALTER TABLE t TRUNCATE PARTITION ALL", vec![refill("TRUNCATE PARTITION ALL")]),
        ("ALTER TABLE t IMPORT TABLESPACE", vec![refill("IMPORT TABLESPACE")]),
        ("ALTER TABLE t IMPORT PARTITION p0, p1 TABLESPACE", vec![refill("IMPORT PARTITION p0 , p1 TABLESPACE")]),
        ("ALTER TABLE t ENGINE = BlackHole", vec![refill("ENGINE = BlackHole")]),
        (
            "ALTER TABLE t EXCHANGE PARTITION p0 WITH TABLE u WITHOUT VALIDATION",
            vec![
                refill("EXCHANGE PARTITION p0 WITH TABLE u WITHOUT VALIDATION"),
                "refill shop.u(id a b; id): its rows were exchanged by binlog.000001:200: ALTER TABLE t EXCHANGE PARTITION p0 \
                 WITH TABLE u WITHOUT VALIDATION"
                    .to_owned(),
            ],
        ),
        (
            "ALTER TABLE other.p EXCHANGE PARTITION p0 WITH TABLE shop.t",
            vec![
                "refill shop.t(id a b; id): its rows were exchanged by binlog.000001:200: ALTER TABLE other.p EXCHANGE PARTITION \
                 p0 WITH TABLE shop.t"
                    .to_owned(),
            ],
        ),
        (
            "ALTER TABLE t CONVERT PARTITION p0 TO TABLE v",
            vec![refill("CONVERT PARTITION p0 TO TABLE v"), "arrive shop.v(id a b; id)".to_owned()],
        ),
        ("ALTER TABLE t CONVERT PARTITION p0 TO TABLE other.v", vec![refill("CONVERT PARTITION p0 TO TABLE other . v")]),
        (
            "ALTER TABLE t CONVERT TABLE u TO PARTITION p1 VALUES LESS THAN (9) WITHOUT VALIDATION",
            vec![
                refill("CONVERT TABLE u TO PARTITION p1 VALUES LESS THAN ( 9 ) WITHOUT VALIDATION"),
                "leave shop.u".to_owned(),
            ],
        ),
        // Rows that are in the way of a key go.
        ("ALTER IGNORE TABLE t ADD UNIQUE (a)", vec![refill("ALTER IGNORE")]),
        ("ALTER IGNORE TABLE t MODIFY id SMALLINT", vec![refill("ALTER IGNORE")]),
        ("ALTER IGNORE TABLE t PARTITION BY LIST (id) (PARTITION p VALUES IN (1))", vec![refill("ALTER IGNORE")]),
        ("ALTER ONLINE IGNORE TABLE t ADD INDEX (a), ENGINE=InnoDB", vec![]),
        // All rows stay, in other places.
        ("ALTER TABLE t REORGANIZE PARTITION p0 INTO (PARTITION p1 VALUES LESS THAN (5))", vec![]),
        ("ALTER TABLE t PARTITION BY HASH (id) PARTITIONS 2", vec![]),
        ("ALTER TABLE t ENGINE=InnoDB", vec![]),
        // Nothing can be read until something is imported.
        ("ALTER TABLE t DISCARD TABLESPACE", vec![]),
        ("ALTER TABLE t DISCARD PARTITION p0, p1 TABLESPACE", vec![]),
    ] {
        assert_eq!(read(&mut after(&TWO), sql), meaning, "{sql}");
    }
}

#[test]
fn a_table_made_of_another_tables_partition_arrives() {
    let mut surroundings = surroundings();
    let model = after(&[T]).tables().next().cloned().unwrap();
    surroundings.catalogue = Some(Arc::new(move |name| Ok(Some(Table { name: name.clone(), ..Table::clone(&model) }))));
    let mut history = history().with(surroundings);
    let sql = "ALTER TABLE other.p CONVERT PARTITION p0 TO TABLE shop.v";
    assert_eq!(read(&mut history, sql), ["arrive shop.v(id a b; id)"]);
}

#[test]
fn rows_that_come_into_a_table_of_unknown_definition_are_not_forgotten() {
    let name = TableName::new("shop", "t");
    let exchange = "ALTER TABLE other.p EXCHANGE PARTITION p0 WITH TABLE shop.t";
    let unread = "ALTER TABLE t ADD PERIOD FOR p (a, b)";
    let now = Table::clone(after(&[T]).tables().next().unwrap());
    for statements in [&[unread, exchange][..], &[unread, "ALTER TABLE t IMPORT TABLESPACE"]] {
        let mut history = after(&[T]);
        for sql in statements {
            assert_eq!(read(&mut history, sql), [""; 0]);
        }
        let changes = history.map(&full_table_map_of(&now), "x:1").unwrap();
        assert!(matches!(&changes[..], [SchemaChange::Refill { .. }]), "{statements:?}: {changes:?}");
    }
    // A new one, of which the catalogue has told.
    let mut surroundings = surroundings();
    let found = now.clone();
    surroundings.catalogue = Some(Arc::new(move |_| Ok(Some(found.clone()))));
    let mut history = history().with(surroundings);
    assert_eq!(read(&mut history, "CREATE TABLE t LIKE other.model"), ["create shop.t(id a b; id)"]);
    assert_eq!(read(&mut history, exchange), [""; 0]);
    assert!(matches!(&history.settle(&name, Some(now))[..], [SchemaChange::Refill { .. }]));
    // One that was altered before the job began, and had no row since.
    history.state.tables.insert(name.clone(), Known::Lost { statement: "ALTER".to_owned() });
    assert_eq!(read(&mut history, exchange), ["arrive shop.t(id a b; id)"]);
}

#[test]
fn a_table_that_begins_to_keep_its_old_rows_stops_the_job() {
    for sql in [
        "ALTER TABLE t ADD SYSTEM VERSIONING",
        "ALTER TABLE t ADD c INT, ADD PERIOD FOR SYSTEM_TIME (a, b), ADD SYSTEM VERSIONING",
        "CREATE TABLE v (id INT PRIMARY KEY) WITH SYSTEM VERSIONING",
        "CREATE TABLE v (id INT PRIMARY KEY) ENGINE=InnoDB WITH SYSTEM VERSIONING PARTITION BY SYSTEM_TIME PARTITIONS 3",
    ] {
        let error = refused(&mut after(&[T]), sql);
        assert!(error.contains("keeps old rows beside the present ones") && error.contains("excludeTables"), "{error}");
    }
    for sql in [
        "ALTER TABLE other.t ADD SYSTEM VERSIONING",
        "CREATE TABLE other.v (id INT PRIMARY KEY) WITH SYSTEM VERSIONING",
        "CREATE TABLE _t_new (id INT PRIMARY KEY) WITH SYSTEM VERSIONING",
    ] {
        assert_eq!(read(&mut after(&[T]), sql), [""; 0], "{sql}");
    }
}
