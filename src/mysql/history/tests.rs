use std::sync::Mutex;

use super::*;
use crate::config::ShadowNames;
use crate::mysql::binlog::StatementSession;
use crate::schema::{Column, ColumnType, IntegerSize, Renamed};

mod past;
mod renames;
mod rows;
mod unread;

fn int() -> ColumnType {
    ColumnType::Integer { size: IntegerSize::Int, unsigned: false }
}

fn statement(sql: &str) -> Statement {
    Statement {
        place: Place { file: "binlog.000001".into(), offset: 200, gtid: None, committed_at: 0 },
        database: "shop".into(),
        sql: sql.into(),
        inside: false,
        session: StatementSession { server_charset: Some("latin1"), ..StatementSession::default() },
    }
}

/// Everything in `shop` but the tools' tables, of a server whose catalogue has nothing.
fn surroundings() -> Surroundings {
    let shadows = ShadowNames::default();
    Surroundings {
        wanted: Arc::new(move |name| name.database == "shop" && !shadows.may_be(&name.table)),
        catalogue: Some(Arc::new(|_| Ok(None))),
        ..Surroundings::default()
    }
}

fn history() -> History {
    History::default().with(surroundings()).with_databases([("shop".to_owned(), "utf8mb4".to_owned())])
}

/// A history that has read these statements.
fn after(statements: &[&str]) -> History {
    let mut history = history();
    for sql in statements {
        history.read(&statement(sql)).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    history
}

fn columns(table: &Table) -> String {
    let key: Vec<&str> = table.key_columns().map(|column| column.name.as_str()).collect();
    let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    format!("{}({}; {})", table.name, names.join(" "), key.join(" "))
}

fn short(change: &SchemaChange) -> String {
    match change {
        SchemaChange::Create(table) => format!("create {}", columns(table)),
        SchemaChange::Arrive(table) => format!("arrive {}", columns(table)),
        SchemaChange::Leave { table, to: None } => format!("leave {table}"),
        SchemaChange::Leave { table, to: Some(to) } => format!("leave {table} to {to}"),
        SchemaChange::Truncate(table) => format!("truncate {table}"),
        SchemaChange::Rename(renamed) => {
            let one = |renamed: &Renamed| format!("{} to {}", renamed.from, columns(&renamed.table));
            format!("rename {}", renamed.iter().map(one).collect::<Vec<_>>().join(", "))
        }
        SchemaChange::Alter(altered) => {
            let name = |index: usize| altered.before.columns[index].name.as_str();
            let was: Vec<&str> = altered.was.iter().map(|was| was.map_or("-", name)).collect();
            format!("alter {} was {}", columns(&altered.after), was.join(" "))
        }
        SchemaChange::Refill { table, reason } => format!("refill {}: {reason}", columns(table)),
    }
}

fn read(history: &mut History, sql: &str) -> Vec<String> {
    let changes = history.read(&statement(sql)).unwrap_or_else(|error| panic!("{sql}: {error}"));
    changes.iter().map(short).collect()
}

fn refused(history: &mut History, sql: &str) -> String {
    history.read(&statement(sql)).unwrap_err().to_string()
}

const T: &str = "CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(10))";

#[test]
fn each_statement_has_a_meaning() {
    for (sql, meaning) in [
        ("ALTER TABLE t ADD c INT AFTER id, DROP a", &["alter shop.t(id c b; id) was id - b"][..]),
        ("ALTER TABLE t CHANGE a c INT FIRST, RENAME COLUMN b TO a", &["alter shop.t(c id a; id) was a id b"]),
        ("ALTER TABLE t MODIFY a BIGINT COMMENT 'x'", &["alter shop.t(id a b; id) was id a b"]),
        ("ALTER TABLE t COMMENT 'x'", &["alter shop.t(id a b; id) was id a b"]),
        ("ALTER TABLE t ADD INDEX (a), ENGINE=InnoDB, DEFAULT CHARSET latin1", &[]),
        (
            "ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (a, id)",
            &["refill shop.t(id a b; a id): its key has other columns"],
        ),
        ("ALTER TABLE t ADD UNIQUE u (a)", &[]),
        (
            "ALTER TABLE t TRUNCATE PARTITION p0",
            &["refill shop.t(id a b; id): TRUNCATE PARTITION p0 leaves no rows in the log"],
        ),
        (
            "ALTER TABLE t RENAME TO u, ADD c INT",
            &["rename shop.t to shop.u(id a b; id)", "alter shop.u(id a b c; id) was id a b -"],
        ),
        ("ALTER TABLE t RENAME TO t", &[]),
        ("ALTER TABLE t RENAME other.t", &["leave shop.t to other.t"]),
        ("CREATE TABLE u LIKE t", &["create shop.u(id a b; id)"]),
        ("CREATE TABLE IF NOT EXISTS t (id INT PRIMARY KEY)", &[]),
        ("CREATE OR REPLACE TABLE t (id INT PRIMARY KEY)", &["leave shop.t", "create shop.t(id; id)"]),
        ("CREATE TABLE other.u (id INT)", &[]),
        ("DROP TABLE u, t", &["leave shop.t"]),
        ("DROP DATABASE shop", &["leave shop.t"]),
        ("DROP DATABASE other", &[]),
        ("TRUNCATE t", &["truncate shop.t"]),
        ("TRUNCATE other.t", &[]),
        ("CREATE VIEW v AS SELECT 1", &[]),
        ("INSERT INTO other.t VALUES (1)", &[]),
        ("CREATE INDEX i ON t (a)", &[]),
        ("DROP TABLE `_t_gho`", &[]),
    ] {
        assert_eq!(read(&mut after(&[T]), sql), meaning, "{sql}");
    }
}

#[test]
fn what_cannot_be_followed_stops_and_leaves_the_history_as_it_was() {
    for (sql, reason) in [
        ("INSERT INTO t VALUES (1)", "it may change rows of a replicated table"),
        ("CREATE TABLE u AS SELECT 1 AS id", "its rows are in the log as a query only"),
        ("CREATE TABLE u (a INT)", "shop.u has no key to tell its rows apart by"),
        ("ALTER TABLE t DROP PRIMARY KEY", "shop.t has no key to tell its rows apart by"),
        ("CALL something()", "it is not known what this statement does"),
        ("RENAME TABLE t u", "expected TO"),
    ] {
        let mut history = after(&[T]);
        let (state, revision) = (history.state.clone(), history.revision());
        let error = refused(&mut history, sql);
        assert!(error.contains(reason) && error.starts_with("binlog.000001:200: "), "{sql}: {error}");
        assert_eq!((&history.state, history.revision()), (&state, revision), "{sql}");
    }
}

#[test]
fn a_unique_key_stands_in_for_the_primary_one() {
    let mut history =
        after(&["CREATE TABLE t (a INT NOT NULL UNIQUE, b INT NOT NULL, c INT, UNIQUE (b, a), UNIQUE (a))"]);
    assert_eq!(columns(&history.tables().next().unwrap().clone()), "shop.t(a b c; a)");
    // The second index over `a` has got another name.
    assert_eq!(read(&mut history, "ALTER TABLE t DROP INDEX a"), [""; 0]);
    assert_eq!(read(&mut history, "DROP INDEX a_2 ON t"), ["refill shop.t(a b c; b a): its key has other columns"]);
    let error = refused(&mut history, "ALTER TABLE t MODIFY a INT");
    assert!(error.contains("no key"), "{error}");
    assert_eq!(
        read(&mut history, "ALTER TABLE t ADD PRIMARY KEY (b, a)"),
        ["alter shop.t(a b c; b a) was a b c"],
        "the same columns, now as the primary key"
    );
}

#[test]
fn a_table_from_outside_arrives_with_the_catalogues_definition() {
    let mut surroundings = surroundings();
    let model = after(&["CREATE TABLE x (id INT PRIMARY KEY, n INT)"]).tables().next().cloned().unwrap();
    surroundings.catalogue = Some(Arc::new(move |name| Ok(Some(Table { name: name.clone(), ..Table::clone(&model) }))));
    let mut history = history().with(surroundings);
    assert_eq!(read(&mut history, "RENAME TABLE other.x TO x"), ["arrive shop.x(id n; id)"]);
    assert_eq!(read(&mut history, "CREATE TABLE y LIKE other.model"), ["create shop.y(id n; id)"]);
}

#[test]
fn character_sets_come_from_column_table_and_database() {
    let of = |statements: &[&str], column: &str| {
        let history = after(statements);
        let table = history.tables().next().cloned().unwrap();
        let index = table.column_index(column).unwrap();
        match &table.columns[index].ty {
            ColumnType::Varchar { charset, .. }
            | ColumnType::Text { charset, .. }
            | ColumnType::Char { charset, .. } => charset.clone(),
            other => format!("{other:?}"),
        }
    };
    let t = "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9), w TEXT CHARACTER SET latin1) CHARSET utf8";
    for (statements, column, charset) in [
        (&[T][..], "b", "utf8mb4"),
        (&[t], "v", "utf8mb3"),
        (&[t], "w", "latin1"),
        (&[t, "ALTER TABLE t DEFAULT CHARSET gbk"], "v", "utf8mb3"),
        (&[t, "ALTER TABLE t DEFAULT CHARSET gbk", "ALTER TABLE t ADD x CHAR(3)"], "x", "gbk"),
        (&[t, "ALTER TABLE t MODIFY w TEXT"], "w", "utf8mb3"),
        (&[t, "ALTER TABLE t CONVERT TO CHARACTER SET koi8r, ADD x TEXT"], "x", "koi8r"),
        (&[t, "ALTER TABLE t CONVERT TO CHARACTER SET koi8r"], "w", "koi8r"),
        (&[t, "ALTER TABLE t ADD x VARCHAR(3) COLLATE cp1251_bin"], "x", "cp1251"),
        (&[t, "ALTER TABLE t ADD x NVARCHAR(3)"], "x", "utf8mb3"),
        (&["ALTER DATABASE shop CHARACTER SET greek", T], "b", "greek"),
        (&["CREATE DATABASE shop", T], "b", "latin1"),
    ] {
        assert_eq!(of(statements, column), charset, "{statements:?}");
    }
    let mut history = History::default().with(Surroundings { catalogue: None, ..surroundings() });
    let error = refused(&mut history, T);
    assert!(error.contains("default character set is not known"), "{error}");
}

#[test]
fn it_goes_on_from_its_stored_state() {
    let mut history = after(&[
        T,
        "CREATE TABLE u (id INT PRIMARY KEY)",
        "CREATE TABLE _t_gho LIKE t",
        "ALTER TABLE _t_gho ADD c INT",
        "RENAME TABLE u TO _u_del",
        "ALTER DATABASE shop CHARACTER SET greek",
        "ALTER TABLE t ADD PERIOD FOR p (a, b)",
        "CREATE TABLE lost (id INT PRIMARY KEY, PERIOD FOR p (a, b))",
    ]);
    let stored = history.state().unwrap().unwrap();
    let mut again = History::restore(&stored, surroundings()).unwrap();
    assert_eq!(again.state, history.state);
    for sql in ["CREATE TABLE v (id INT PRIMARY KEY, s TEXT)", "DROP TABLE _u_del", "ALTER TABLE _t_gho RENAME TO t3"] {
        assert_eq!(read(&mut again, sql), read(&mut history, sql));
    }
    assert!(History::restore("{", surroundings()).is_err());
}

#[test]
fn names_are_folded_as_the_server_does() {
    let with = |lower_case_table_names| {
        let history = History::new([Arc::new(Table {
            name: TableName::new("shop", if lower_case_table_names == 1 { "orders" } else { "Orders" }),
            columns: vec![Column::new("id", int())],
            key: vec![0],
            primary: true,
            comment: String::new(),
            charset: Some("utf8mb4".to_owned()),
            indexes: Vec::new(),
        })]);
        history.with(Surroundings { lower_case_table_names, ..surroundings() })
    };
    assert_eq!(read(&mut with(1), "ALTER TABLE SHOP.Orders ADD a INT"), ["alter shop.orders(id a; id) was id -"]);
    assert_eq!(read(&mut with(2), "ALTER TABLE shop.ORDERS ADD a INT"), ["alter shop.Orders(id a; id) was id -"]);
    assert_eq!(read(&mut with(0), "ALTER TABLE shop.orders ADD a INT"), [""; 0]);
    assert_eq!(read(&mut with(1), "DROP DATABASE SHOP"), ["leave shop.orders"]);
}

#[test]
fn a_row_format_of_its_own_mode_is_read() {
    let mut history = after(&[T]);
    let ansi = Statement {
        session: StatementSession { sql_mode: 0x4 | 0x1, ..StatementSession::default() },
        ..statement(r#"ALTER TABLE "t" ADD "c d" REAL"#)
    };
    let changes = history.read(&ansi).unwrap();
    assert_eq!(changes.iter().map(short).collect::<Vec<_>>(), ["alter shop.t(id a b c d; id) was id a b -"]);
    assert_eq!(history.tables().next().unwrap().columns[3].ty, ColumnType::Float);
    let oracle = Statement {
        session: StatementSession { sql_mode: 0x200, ..StatementSession::default() },
        ..statement("ALTER TABLE t ADD e DATE")
    };
    // Its next rows will tell what it did.
    assert_eq!(history.read(&oracle).unwrap(), []);
    assert!(matches!(history.state.tables.values().next(), Some(Known::Unread(_))));
}

/// The statements that the tools send, in their order (gh-ost's `go/logic/applier.go`, pt-online-schema-change's
/// `main`), as they arrive in the log.
mod tools {
    use super::*;

    fn all(history: &mut History, statements: &[&str]) -> Vec<String> {
        statements.iter().flat_map(|sql| read(history, sql)).collect()
    }

    const GH_OST: [&str; 5] = [
        "drop /* gh-ost */ table if exists `shop`.`_t_gho`",
        "drop /* gh-ost */ table if exists `shop`.`_t_ghc`",
        "create /* gh-ost */ table `shop`.`_t_ghc` (\n\t\t\tid bigint unsigned auto_increment,\n\t\t\tlast_update timestamp not null DEFAULT \
         CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,\n\t\t\thint varchar(64) charset ascii not null,\n\t\t\tvalue varchar(4096) \
         charset ascii not null,\n\t\t\tprimary key(id),\n\t\t\tunique key hint_uidx(hint)\n\t\t) auto_increment=256 \
         comment='gh-ost'",
        "create /* gh-ost */ table `shop`.`_t_gho` like `shop`.`t`",
        "alter /* gh-ost */ table `shop`.`_t_gho` ADD COLUMN c INT NOT NULL DEFAULT 5 AFTER id, DROP COLUMN a",
    ];

    const CUT_OVER: [&str; 5] = [
        "create /* gh-ost */ table `shop`.`_t_del` (\n\t\t\tid int auto_increment,\n\t\t\tprimary key (id)\n\t\t) \
         engine=InnoDB comment='ghost-cut-over-sentry'",
        "drop /* gh-ost */ table if exists `shop`.`_t_del`",
        "rename /* gh-ost */ table `shop`.`t` to `shop`.`_t_del`, `shop`.`_t_gho` to `shop`.`t`",
        "drop /* gh-ost */ table if exists `shop`.`_t_ghc`",
        "drop /* gh-ost */ table if exists `shop`.`_t_del`",
    ];

    const ALTERED: &str = "alter shop.t(id c b; id) was id - b";

    #[test]
    fn gh_ost_alters_the_table_once() {
        let mut history = after(&[T]);
        assert_eq!(all(&mut history, &GH_OST), [""; 0]);
        assert_eq!(all(&mut history, &CUT_OVER), [ALTERED]);
        assert!(history.state.shadows.is_empty());
        // Again, with another change.
        let again = [GH_OST[3], "alter /* gh-ost */ table `shop`.`_t_gho` DROP COLUMN c", CUT_OVER[2], CUT_OVER[4]];
        assert_eq!(all(&mut history, &again), ["alter shop.t(id b; id) was id b"]);
    }

    #[test]
    fn gh_ost_in_two_steps_alters_it_once_too() {
        let mut history = after(&[T]);
        all(&mut history, &GH_OST);
        let steps = [
            "alter /* gh-ost */ table `shop`.`t` rename `_t_del`",
            "alter /* gh-ost */ table `shop`.`_t_gho` rename `t`",
        ];
        assert_eq!(all(&mut history, &steps), [ALTERED]);
        assert_eq!(read(&mut history, CUT_OVER[4]), [""; 0]);
        // It gives up between the two.
        let back =
            [GH_OST[3], GH_OST[4].split(',').next().unwrap(), steps[0], "alter table `shop`.`_t_del` rename `t`"];
        assert_eq!(all(&mut history, &["ALTER TABLE t DROP c"]), ["alter shop.t(id b; id) was id b"]);
        assert_eq!(all(&mut history, &back), [""; 0]);
        assert_eq!(columns(history.tables().next().unwrap()), "shop.t(id b; id)");
    }

    #[test]
    fn an_abandoned_run_changes_nothing() {
        let mut history = after(&[T]);
        all(&mut history, &GH_OST);
        assert_eq!(all(&mut history, &CUT_OVER[..2]), [""; 0]);
        assert_eq!(all(&mut history, &["ALTER TABLE t ADD d INT"]), ["alter shop.t(id a b d; id) was id a b -"]);
        // --postpone-cut-over-flag-file: it may stay for days, and is started anew.
        assert_eq!(all(&mut history, &GH_OST), [""; 0]);
        assert_eq!(all(&mut history, &CUT_OVER), ["alter shop.t(id c b d; id) was id - b d"]);
    }

    #[test]
    fn old_tables_with_a_time_in_their_names_are_the_tools_too() {
        let mut history = after(&[T]);
        all(&mut history, &GH_OST);
        let cut_over =
            "rename /* gh-ost */ table `shop`.`t` to `shop`.`_t_20260102030405_del`, `shop`.`_t_gho` to `shop`.`t`";
        assert_eq!(all(&mut history, &[cut_over, "drop table `shop`.`_t_20260102030405_del`"]), [ALTERED]);
    }

    const PT_OSC: [&str; 4] = [
        "CREATE TABLE `shop`.`_t_new` (\n  `id` int NOT NULL,\n  `a` int DEFAULT NULL,\n  `b` varchar(10) DEFAULT NULL,\n  \
         PRIMARY KEY (`id`)\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci",
        "ALTER TABLE `shop`.`_t_new` ADD COLUMN c INT NOT NULL DEFAULT 5 AFTER id, DROP COLUMN a",
        "CREATE DEFINER=`root`@`%` TRIGGER `pt_osc_shop_t_ins` AFTER INSERT ON `shop`.`t` FOR EACH ROW BEGIN REPLACE INTO \
         `shop`.`_t_new` (`id`, `b`) VALUES (NEW.`id`, NEW.`b`); END",
        "RENAME TABLE `shop`.`t` TO `shop`.`_t_old`, `shop`.`_t_new` TO `shop`.`t`",
    ];

    #[test]
    fn pt_online_schema_change_alters_the_table_once() {
        let mut history = after(&[T]);
        let behind = ["DROP TABLE IF EXISTS `shop`.`_t_old`", "DROP TRIGGER IF EXISTS `shop`.`pt_osc_shop_t_ins`"];
        assert_eq!(all(&mut history, &[&PT_OSC[..], &behind].concat()), [ALTERED]);
        assert!(history.state.shadows.is_empty());
    }

    #[test]
    fn a_run_that_began_before_the_job_is_told_by_the_tables_rows() {
        let mut history = after(&[T]);
        assert_eq!(read(&mut history, PT_OSC[3]), [""; 0]);
        assert!(matches!(history.state.tables.values().next(), Some(Known::Unread(_))));
    }

    #[test]
    fn in_doubt_the_table_is_copied_anew() {
        let swapped = |alter: &str| {
            let mut history = after(&[T]);
            all(&mut history, &["CREATE TABLE _t_new LIKE t", alter, PT_OSC[3]])
        };
        assert_eq!(
            swapped("ALTER TABLE _t_new CHANGE a c INT"),
            [
                "refill shop.t(id c b; id): a column was renamed by an online schema change, which may or may not have kept its values"
            ]
        );
        assert_eq!(
            swapped("INSERT INTO other.x VALUES (1)"),
            ["refill shop.t(id a b; id): a table that nobody had altered took its place, whose rows may be others"]
        );
        assert_eq!(
            swapped("ALTER TABLE _t_new DROP PRIMARY KEY, ADD PRIMARY KEY (id, a)"),
            ["refill shop.t(id a b; id a): its key has other columns"]
        );
        assert_eq!(swapped("ALTER TABLE _t_new ENGINE=InnoDB"), [""; 0]);
    }
}

#[test]
fn a_column_that_is_dropped_and_added_anew_keeps_its_place_in_an_index() {
    let history = after(&[T, "ALTER TABLE t ADD UNIQUE u (b, a)", "ALTER TABLE t DROP b, ADD b INT FIRST"]);
    let table = history.tables().next().unwrap();
    assert_eq!(table.indexes[0].columns, [Some(0), Some(2)]);
    let mut history = after(&["CREATE TABLE t (id INT PRIMARY KEY, e ENUM('é')) CHARSET latin1"]);
    assert_eq!(read(&mut history, "ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4"), [""; 0]);
    assert!(history.awaits_rows(&TableName::new("shop", "t")));
}
