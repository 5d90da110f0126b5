//! RENAME TABLE, and ALTER TABLE … RENAME.

use super::*;

const TWO: [&str; 2] = [T, "CREATE TABLE u (id INT PRIMARY KEY, x INT)"];

#[test]
fn a_rename_is_one_change_whatever_its_steps() {
    let swapped = "rename shop.t to shop.u(id a b; id), shop.u to shop.t(id x; id)";
    for (sql, meaning) in [
        ("RENAME TABLE t TO tmp, u TO t, tmp TO u", &[swapped][..]),
        // Through a database that is not the job's.
        ("RENAME TABLE t TO other.tmp, u TO t, other.tmp TO u", &[swapped]),
        ("RENAME TABLE t TO other.t, other.t TO t", &[]),
        ("RENAME TABLE t TO other.t, other.t TO outer.t, outer.t TO v", &["rename shop.t to shop.v(id a b; id)"]),
        ("RENAME TABLE t TO other.t, u TO t", &["leave shop.t to other.t", "rename shop.u to shop.t(id x; id)"]),
        ("RENAME TABLE t TO a, a TO b", &["rename shop.t to shop.b(id a b; id)"]),
        ("RENAME TABLE other.x TO other.y", &[]),
        // Its names are those of a tool's; the table that comes is none.
        ("RENAME TABLE t TO _t_old, u TO t", &["leave shop.t to shop._t_old", "rename shop.u to shop.t(id x; id)"]),
        ("RENAME TABLE IF EXISTS nothing TO v, t TO v, v TO w", &["rename shop.t to shop.w(id a b; id)"]),
    ] {
        let mut history = after(&TWO);
        assert_eq!(read(&mut history, sql), meaning, "{sql}");
    }
    for sql in ["RENAME TABLE t TO u2, u TO t, u2 TO u", "RENAME TABLE t TO other.t, u TO t, other.t TO u"] {
        let mut history = after(&TWO);
        read(&mut history, sql);
        let now: Vec<String> = history.tables().map(|table| columns(table)).collect();
        assert_eq!(now, ["shop.t(id x; id)", "shop.u(id a b; id)"], "{sql}");
    }
    let mut history = after(&TWO);
    read(&mut history, "RENAME TABLE t TO _t_old, u TO t");
    assert_eq!(read(&mut history, "ALTER TABLE t DROP x"), ["alter shop.t(id; id) was id"]);
    assert_eq!(read(&mut history, "DROP TABLE _t_old"), [""; 0]);
}

#[test]
fn a_table_from_outside_takes_the_place_of_one_that_leaves() {
    let mut surroundings = surroundings();
    let model = after(&["CREATE TABLE x (id INT PRIMARY KEY, n INT)"]).tables().next().cloned().unwrap();
    surroundings.catalogue = Some(Arc::new(move |name| Ok(Some(Table { name: name.clone(), ..Table::clone(&model) }))));
    for (sql, leaves) in [
        ("RENAME TABLE t TO _t_old, other.x TO t", "leave shop.t to shop._t_old"),
        ("RENAME TABLE t TO tmp, other.x TO t, tmp TO other.x", "leave shop.t to other.x"),
        ("RENAME TABLE other.x TO tmp, t TO other.x, tmp TO t", "leave shop.t to other.x"),
    ] {
        let mut history = after(&[T]).with(surroundings.clone());
        assert_eq!(read(&mut history, sql), [leaves, "arrive shop.t(id n; id)"], "{sql}");
    }
}

#[test]
fn what_is_altered_and_renamed_is_altered_under_its_new_name() {
    for (sql, meaning) in [
        (
            "ALTER TABLE t MODIFY a DECIMAL(9,2), RENAME TO v, DROP b",
            &["rename shop.t to shop.v(id a b; id)", "alter shop.v(id a; id) was id a"][..],
        ),
        (
            "ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (a), RENAME v",
            &["rename shop.t to shop.v(id a b; id)", "refill shop.v(id a b; a): its key has other columns"],
        ),
        // Nobody sees it any more.
        ("ALTER TABLE t DROP a, RENAME other.t", &["leave shop.t to other.t"]),
    ] {
        let mut history = after(&[T]);
        assert_eq!(read(&mut history, sql), meaning, "{sql}");
    }
    // What it cannot be told of stays open under the new name.
    let mut history = after(&["CREATE TABLE t (id INT PRIMARY KEY, e ENUM('é')) CHARSET latin1"]);
    let sql = "ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4, RENAME TO v";
    assert_eq!(read(&mut history, sql), ["rename shop.t to shop.v(id e; id)"]);
    assert!(history.awaits_rows(&TableName::new("shop", "v")));
}
