//! gh-ost and pt-online-schema-change, statement by statement as these tools send them (`go/logic/applier.go` and `migrator.go` of
//! gh-ost 1.1; `bin/pt-online-schema-change` of percona-toolkit 3), while an application writes: they end well, they are given
//! up, they come again. Behind them both sides have the same columns and rows, and each change was applied once.
//!
//! The table is called `T` because that sorts before the names that the tools make of it. A RENAME locks in the order of names: of
//! `_t_del, _t_gho, t` it would wait for the sentry first and come to `t` only when that is dropped, perhaps after the lock on
//! `t` is released and the application has written once more, to a table that is then thrown away. gh-ost makes sure with
//! `performance_schema.metadata_locks` (its pull request 1536), which MariaDB has switched off.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::harness::{Job, Target, assert_equal};
use crate::schema_changes::assert_same_columns;
use crate::servers::{self, Shared};

const ROWS: i64 = 300;
/// Of an online tool's copy.
const CHUNK: i64 = 100;

/// What the application did to a row: all its values now, or nothing.
#[derive(Debug)]
struct Written {
    id: i64,
    row: Option<(i64, String)>,
}

/// An application that writes to `T` by the columns that every version of it has.
struct Application {
    stop: Arc<AtomicBool>,
    connection: u32,
    task: JoinHandle<u64>,
    /// In order, each behind its commit: what gh-ost reads from the log.
    written: mpsc::UnboundedReceiver<Written>,
}

impl Application {
    async fn start(source: &'static Shared, database: &str) -> Application {
        let mut conn = source.connect().await;
        conn.query_drop(format!("USE {database}")).await.unwrap();
        let (stop, (tell, written)) = (Arc::new(AtomicBool::new(false)), mpsc::unbounded_channel());
        let (stopped, connection) = (Arc::clone(&stop), conn.id());
        let rows: Vec<(i64, i64, String)> = conn.query("SELECT id, n, v FROM T").await.unwrap();
        let task = tokio::spawn(async move {
            let mut rows: BTreeMap<i64, (i64, String)> = rows.into_iter().map(|(id, n, v)| (id, (n, v))).collect();
            let (mut random, mut number) = (StdRng::from_os_rng(), 0);
            while !stopped.load(Ordering::Relaxed) {
                number += 1;
                let id = random.random_range(1..=2 * ROWS);
                let other = random.random_range(1..=2 * ROWS);
                let row = (number, format!("written {number}"));
                let (sql, changed) = match (rows.contains_key(&id), random.random_range(0..4)) {
                    (false, _) => (
                        format!("INSERT INTO T (id, n, v, kept) VALUES ({id}, {}, '{}', 'kept {id}')", row.0, row.1),
                        vec![(id, Some(row))],
                    ),
                    (true, 0) => (format!("DELETE FROM T WHERE id = {id}"), vec![(id, None)]),
                    (true, 1) if !rows.contains_key(&other) => (
                        format!(
                            "UPDATE T SET id = {other}, n = {}, v = '{}', kept = 'kept {other}' WHERE id = {id}",
                            row.0, row.1
                        ),
                        vec![(id, None), (other, Some(row))],
                    ),
                    (true, _) => {
                        (format!("UPDATE T SET n = {}, v = '{}' WHERE id = {id}", row.0, row.1), vec![(id, Some(row))])
                    }
                };
                match conn.query_drop(&sql).await {
                    Ok(()) => {}
                    // Between the two steps of a cut-over that has two, and when rows are locked.
                    Err(mysql_async::Error::Server(error)) if matches!(error.code, 1146 | 1205 | 1213) => continue,
                    Err(error) => panic!("{sql}: {error}"),
                }
                for (id, row) in changed {
                    match &row {
                        Some(row) => rows.insert(id, row.clone()),
                        None => rows.remove(&id),
                    };
                    // Nobody may be listening.
                    let _ = tell.send(Written { id, row });
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            number as u64
        });
        Application { stop, connection, task, written }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        assert!(self.task.await.unwrap() > 50, "hardly anything was written");
    }
}

/// A tool at work on `T`.
struct Tool<'a> {
    source: &'static Shared,
    database: &'a str,
    conn: Conn,
}

/// The columns that `T` has before and behind a change, in any case.
const SHARED: &str = "`id`, `n`, `v`, `kept`";

impl<'a> Tool<'a> {
    async fn new(source: &'static Shared, database: &'a str) -> Tool<'a> {
        let mut conn = source.connect().await;
        conn.query_drop(format!("USE {database}")).await.unwrap();
        Tool { source, database, conn }
    }

    async fn run(&mut self, sql: &str) {
        let sql = sql.replace("{db}", self.database);
        self.conn.query_drop(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// How many rows a table has, and a sum over them.
    async fn rows_of(&mut self, table: &str) -> (u64, String) {
        let sql = format!("SELECT COUNT(*), CAST(SUM(CRC32(CONCAT_WS(',', {SHARED}))) AS CHAR) FROM `{table}`");
        self.conn.query_first(sql).await.unwrap().unwrap()
    }

    /// Copies all rows in chunks, by the tool's own statement.
    async fn copy(&mut self, statement: &str) {
        for from in (0..2 * ROWS).step_by(CHUNK as usize) {
            let range = format!("(`id` > {from}) and (`id` <= {})", from + CHUNK);
            self.run(&statement.replace("{range}", &range)).await;
        }
    }
}

/// How gh-ost puts the new table in the old one's place.
#[derive(Clone, Copy, PartialEq)]
enum CutOver {
    Atomic,
    TwoStep,
    /// It does not: the run is given up before.
    Never,
}

/// The rows that the application has written since the last time, as gh-ost writes what it reads from the log.
async fn catch_up(tool: &mut Tool<'_>, application: &mut Application) {
    while let Ok(Written { id, row }) = application.written.try_recv() {
        match row {
            Some((n, v)) => {
                let columns = format!("replace /* gh-ost `{{db}}`.`_T_gho` */ into `{{db}}`.`_T_gho` ({SHARED})");
                tool.run(&format!("{columns} values ({id}, {n}, '{v}', 'kept {id}')")).await;
            }
            None => {
                tool.run(&format!("delete /* gh-ost `{{db}}`.`_T_gho` */ from `{{db}}`.`_T_gho` where ((`id` = {id}))"))
                    .await
            }
        }
    }
}

/// The application waits for the table's lock, and all that it did before has been told.
async fn is_locked_out(tool: &mut Tool<'_>, connection: u32) {
    loop {
        let state: Option<Option<String>> = tool
            .conn
            .query_first(format!("SELECT STATE FROM information_schema.PROCESSLIST WHERE ID = {connection}"))
            .await
            .unwrap();
        if state.flatten().is_some_and(|state| state.contains("metadata lock") || state.contains("table lock")) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn gh_ost(tool: &mut Tool<'_>, application: &mut Application, alter: &str, cut_over: CutOver) {
    for statement in [
        "drop /* gh-ost */ table if exists `{db}`.`_T_gho`",
        "drop /* gh-ost */ table if exists `{db}`.`_T_del`",
        "drop /* gh-ost */ table if exists `{db}`.`_T_ghc`",
        "create /* gh-ost */ table `{db}`.`_T_ghc` (
            id bigint auto_increment,
            last_update timestamp not null DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
            hint varchar(64) charset ascii not null,
            value varchar(4096) charset ascii not null,
            primary key(id),
            unique key hint_uidx(hint)
        ) auto_increment=256",
        "create /* gh-ost */ table `{db}`.`_T_gho` like `{db}`.`T`",
    ] {
        tool.run(statement).await;
    }
    tool.run(&format!("alter /* gh-ost */ table `{{db}}`.`_T_gho` {alter}")).await;
    let state = |id: u32, hint: &str, value: &str| {
        format!(
            "insert /* gh-ost */ into `{{db}}`.`_T_ghc` (id, hint, value) values (NULLIF({id}, 0), '{hint}', '{value}')
             on duplicate key update last_update=NOW(), value=VALUES(value)"
        )
    };
    tool.run(&state(2, "state", "GhostTableMigrated")).await;
    // What is written from here on is read from the log.
    while application.written.try_recv().is_ok() {}
    let insert = format!(
        "insert /* gh-ost `{{db}}`.`T` */ ignore into `{{db}}`.`_T_gho` ({SHARED}) \
         (select {SHARED} from `{{db}}`.`T` force index (`PRIMARY`) where ({{range}}) lock in share mode)"
    );
    tool.copy(&insert).await;
    catch_up(tool, application).await;
    tool.run(&state(1, "heartbeat", "2026-01-01T00:00:00Z")).await;
    if cut_over == CutOver::Never {
        for table in ["_T_ghc", "_T_gho"] {
            tool.run(&format!("drop /* gh-ost */ table if exists `{{db}}`.`{table}`")).await;
        }
        return;
    }
    let mut locking = Tool::new(tool.source, tool.database).await;
    let all_processed =
        |number: u32| state(0, &format!("state at {number}"), &format!("AllEventsUpToLockProcessed:{number}"));
    let locked = if cut_over == CutOver::TwoStep {
        locking.run("set session lock_wait_timeout:=60").await;
        locking.run("lock /* gh-ost */ tables `{db}`.`T` write").await;
        is_locked_out(tool, application.connection).await;
        tool.run(&all_processed(1)).await;
        catch_up(tool, application).await;
        let locked = locking.rows_of("T").await;
        locking.run("alter /* gh-ost */ table `{db}`.`T` rename `_T_del`").await;
        tool.run("alter /* gh-ost */ table `{db}`.`_T_gho` rename `T`").await;
        locking.run("unlock /* gh-ost */ tables").await;
        locked
    } else {
        // The first try does not come to its end: the sentry is dropped and the lock released without a RENAME.
        lock_and_rename(tool, &mut locking, application, &all_processed(1), false).await;
        lock_and_rename(tool, &mut locking, application, &all_processed(2), true).await
    };
    assert_eq!(tool.rows_of("_T_del").await, locked, "the tool lost what the application wrote");
    for table in ["_T_ghc", "_T_del"] {
        tool.run(&format!("drop /* gh-ost */ table if exists `{{db}}`.`{table}`")).await;
    }
}

/// Returns the rows that the table had under the lock.
async fn lock_and_rename(
    tool: &mut Tool<'_>,
    locking: &mut Tool<'_>,
    application: &mut Application,
    all_processed: &str,
    renames: bool,
) -> (u64, String) {
    tool.run("create /* gh-ost */ table `{db}`.`_T_del` (id int auto_increment primary key) engine=InnoDB comment='ghost-cut-over-sentry'")
        .await;
    locking.run("lock /* gh-ost */ tables `{db}`.`T` write, `{db}`.`_T_del` write").await;
    is_locked_out(tool, application.connection).await;
    tool.run(all_processed).await;
    catch_up(tool, application).await;
    let locked = locking.rows_of("T").await;
    let mut rename = None;
    if renames {
        let mut renaming = Tool::new(tool.source, tool.database).await;
        let (id, database) = (renaming.conn.id(), tool.database.to_owned());
        rename = Some(tokio::spawn(async move {
            let sql = format!(
                "rename /* gh-ost */ table `{database}`.`T` to `{database}`.`_T_del`, `{database}`.`_T_gho` to `{database}`.`T`"
            );
            renaming.conn.query_drop(sql).await.unwrap();
        }));
        // For `T`'s lock: it is the first that it asks for.
        is_locked_out(tool, id).await;
    }
    locking.run("drop /* gh-ost */ table if exists `{db}`.`_T_del`").await;
    locking.run("unlock /* gh-ost */ tables").await;
    if let Some(rename) = rename {
        rename.await.unwrap();
    }
    locked
}

async fn pt_osc(tool: &mut Tool<'_>, alter: &str, cuts_over: bool) {
    let (_, create): (String, String) = tool.conn.query_first("SHOW CREATE TABLE T").await.unwrap().unwrap();
    tool.run(&create.replacen("CREATE TABLE `T`", "CREATE TABLE `{db}`.`_T_new`", 1)).await;
    tool.run(&format!("ALTER TABLE `{{db}}`.`_T_new` {alter}")).await;
    let handler = "BEGIN DECLARE CONTINUE HANDLER FOR 1146 begin end;";
    let new = "NEW.`id`, NEW.`n`, NEW.`v`, NEW.`kept`";
    let replace = format!("REPLACE INTO `{{db}}`.`_T_new` ({SHARED}) VALUES ({new});");
    for (name, event, does) in [
        ("del", "DELETE", "DELETE IGNORE FROM `{db}`.`_T_new` WHERE `{db}`.`_T_new`.`id` <=> OLD.`id`;".to_owned()),
        (
            "upd",
            "UPDATE",
            format!(
                "DELETE IGNORE FROM `{{db}}`.`_T_new` WHERE !(OLD.`id` <=> NEW.`id`) AND `{{db}}`.`_T_new`.`id` <=> OLD.`id`; {replace}"
            ),
        ),
        ("ins", "INSERT", replace.clone()),
    ] {
        let trigger = format!(
            "CREATE TRIGGER `pt_osc_{{db}}_T_{name}` AFTER {event} ON `{{db}}`.`T` FOR EACH ROW {handler} {does} END"
        );
        tool.run(&trigger).await;
    }
    let insert = format!(
        "INSERT LOW_PRIORITY IGNORE INTO `{{db}}`.`_T_new` ({SHARED}) SELECT {SHARED} FROM `{{db}}`.`T` FORCE INDEX(`PRIMARY`) \
         WHERE {{range}} LOCK IN SHARE MODE /*pt-online-schema-change 4711 copy nibble*/"
    );
    tool.copy(&insert).await;
    if cuts_over {
        tool.run("ANALYZE TABLE `{db}`.`_T_new` /* pt-online-schema-change */").await;
        tool.run("RENAME TABLE `{db}`.`T` TO `{db}`.`_T_old`, `{db}`.`_T_new` TO `{db}`.`T`").await;
        tool.run("DROP TABLE IF EXISTS `{db}`.`_T_old`").await;
    }
    for name in ["del", "upd", "ins"] {
        tool.run(&format!("DROP TRIGGER IF EXISTS `{{db}}`.`pt_osc_{{db}}_T_{name}`")).await;
    }
    if !cuts_over {
        tool.run("DROP TABLE IF EXISTS `{db}`.`_T_new`").await;
    }
}

/// Both tools, one run after the other, each of which finds what the one before left.
async fn both_tools(source: &'static Shared) {
    let database = source.database("online").await;
    let mut tool = Tool::new(source, &database).await;
    let columns = "id BIGINT PRIMARY KEY, n BIGINT NOT NULL, v VARCHAR(40), kept VARCHAR(40), gone INT DEFAULT 1";
    tool.run(&format!("CREATE TABLE T ({columns})")).await;
    let rows: Vec<String> = (1..=ROWS).map(|id| format!("({0}, 0, 'first', 'kept {0}')", id * 2)).collect();
    tool.run(&format!("INSERT INTO T (id, n, v, kept) VALUES {}", rows.join(", "))).await;
    let target = Target::start().await;
    let settings = "params: {realFlushPauseSec: 0}";
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", settings);
    let child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    let mut application = Application::start(source, &database).await;

    let app = &mut application;
    gh_ost(&mut tool, app, "ADD COLUMN a1 INT NOT NULL DEFAULT 5", CutOver::Never).await;
    gh_ost(&mut tool, app, "ADD COLUMN a2 INT NOT NULL DEFAULT 5, DROP COLUMN gone", CutOver::Atomic).await;
    gh_ost(&mut tool, app, "ADD COLUMN a3 VARCHAR(9) DEFAULT 'three' AFTER id", CutOver::TwoStep).await;
    pt_osc(&mut tool, "ADD COLUMN a4 INT", false).await;
    pt_osc(&mut tool, "MODIFY COLUMN v VARCHAR(90), ADD COLUMN a5 INT DEFAULT 6", true).await;
    // Nothing that matters: no column changes.
    pt_osc(&mut tool, "ENGINE=InnoDB", true).await;
    pt_osc(&mut tool, "ADD COLUMN a6 DATETIME NULL, ADD INDEX (n)", true).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    application.stop().await;

    assert_eq!(job.stop(child).await.code(), Some(0), "{}", job.log());
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
    assert_same_columns(source, &target, &database).await;
    let columns = "SELECT GROUP_CONCAT(COLUMN_NAME ORDER BY COLUMN_NAME) FROM information_schema.columns \
                   WHERE TABLE_SCHEMA = '{db}' AND TABLE_NAME = 'T'";
    let there: Option<String> = tool.conn.query_first(columns.replace("{db}", &database)).await.unwrap();
    assert_eq!(there.as_deref(), Some("a2,a3,a5,a6,id,kept,n,v"), "the tools did what was asked");
    let status = job.status().await;
    let counts = status["schemaChanges"].as_array().cloned().unwrap_or_default();
    let counts: BTreeMap<&str, u64> =
        counts.iter().map(|count| (count["kind"].as_str().unwrap(), count["number"].as_u64().unwrap())).collect();
    // One column each of the four runs that brought some, no table made, dropped or renamed.
    assert_eq!(counts, BTreeMap::from([("addColumn", 4), ("dropColumn", 1), ("modifyColumn", 1)]), "{status}");
    let tables =
        target.text(&format!("SELECT COUNT(*) FROM information_schema.tables WHERE TABLE_SCHEMA = '{database}'")).await;
    assert_eq!(tables, "1", "a tool's own table was replicated");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_online_tools_do_is_followed_under_writes_on_mysql() {
    both_tools(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_online_tools_do_is_followed_under_writes_on_mariadb() {
    both_tools(servers::mariadb().await).await;
}
