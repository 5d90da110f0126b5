//! The binlog reader against real servers: what is on the ring for what was done at the source.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use tokio_util::sync::CancellationToken;
use towpath::Result;
use towpath::config::Startup;
use towpath::mysql::binlog::{self, Heard, Place, ReaderOptions, RowsKind, Slot, XaStep, Xid};
use towpath::mysql::connect::{self, Connect, Flavor, Patience};
use towpath::mysql::position::{self, GtidSet, Position};
use towpath::ring::{Budget, Receiver, ring};
use towpath::schema::TableName;

use crate::servers::{self, Shared};
use crate::source_catalog::job;

mod compressed;
mod features;

const LIMIT: Duration = Duration::from_secs(120);

pub(crate) fn connect_to(port: u16) -> Connect {
    // Without TLS, so that what lies between can see what is sent.
    connect::connector(&job(port, "root", "", "a.b", "  tls: {mode: disabled}").source, Patience::default())
}

fn server_id() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(5000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A running reader and everything it has sent.
struct Reading {
    receiver: Receiver<Slot>,
    cancel: CancellationToken,
    heard: Heard,
    thread: Option<JoinHandle<Result<()>>>,
    /// Rows' marks (`<…>` in a text column) in arrival order, with their kind.
    marks: Vec<(RowsKind, String)>,
    tables: BTreeSet<String>,
    statements: Vec<String>,
    commits: usize,
    cut_offs: usize,
    /// Marks of XA transactions' rows, and their steps.
    xa: Vec<String>,
    /// Whose steps are noted.
    xid: Option<Xid>,
    at: Position,
}

impl Reading {
    fn start(port: u16, flavor: Flavor, start: Position, by_gtid: bool, database: &str) -> Reading {
        let database = database.to_owned();
        Reading::with(port, flavor, start, by_gtid, database, &Budget::new(1 << 20))
    }

    fn with(port: u16, flavor: Flavor, start: Position, by_gtid: bool, database: String, budget: &Budget) -> Reading {
        let (sender, receiver) = ring(64, budget);
        let cancel = CancellationToken::new();
        let heard = Heard::default();
        let options = ReaderOptions {
            connect: connect_to(port),
            flavor,
            start: start.clone(),
            by_gtid,
            server_id: server_id(),
            replica_host: "towpath-test".into(),
            patience: Patience::default(),
            heard: heard.clone(),
            noticed: Arc::new(|_| false),
            wanted: Arc::new(move |table: &TableName| table.database == database && table.table.starts_with("our")),
        };
        let thread = Some(binlog::spawn(options, sender, cancel.clone()).unwrap());
        let at = Position { gtids: Some(start.gtids.clone().unwrap_or_default()), ..start };
        Reading {
            receiver,
            cancel,
            heard,
            thread,
            marks: Vec::new(),
            tables: BTreeSet::new(),
            statements: Vec::new(),
            commits: 0,
            cut_offs: 0,
            xa: Vec::new(),
            xid: None,
            at,
        }
    }

    fn place(&mut self, place: &Place) {
        self.at.file = place.file.to_string();
        self.at.offset = place.offset;
        if let (Some(gtids), Some(gtid)) = (&mut self.at.gtids, &place.gtid) {
            gtids.add(gtid);
        }
    }

    /// Takes slots until `end` is reached by file and offset.
    fn until(&mut self, end: &Position) {
        self.until_seen(|reading| {
            let plain = |position: &Position| Position { gtids: None, ..position.clone() };
            plain(&reading.at).reached(&plain(end))
        });
    }

    fn until_seen(&mut self, enough: impl Fn(&Reading) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !enough(self) {
            let Ok(entry) = self.receiver.recv_deadline(deadline) else {
                panic!("the reader ended: {}", self.thread.take().unwrap().join().unwrap().unwrap_err());
            };
            match entry.expect("nothing came for two minutes").item {
                Slot::Rows(rows) => {
                    self.tables.insert(rows.table.name.to_string());
                    for mark in marks_in(&rows.images) {
                        self.marks.push((rows.kind, mark));
                    }
                }
                Slot::CutOff(_) => self.cut_offs += 1,
                Slot::Commit(place) => {
                    self.commits += 1;
                    self.place(&place);
                }
                Slot::XaRows { event, .. } => self.xa.extend(marks_in(&event.images)),
                Slot::Xa(place, step) => {
                    let (step, xid) = match &step {
                        XaStep::Prepared { name, .. } => ("prepared", name.as_str()),
                        XaStep::OnePhase => ("one phase", ""),
                        XaStep::Commit(xid) => ("commit", xid.as_str()),
                        XaStep::Rollback(xid) => ("rollback", xid.as_str()),
                    };
                    // Others use XA on a shared server too.
                    if self.xid.as_ref().is_some_and(|mine| mine.as_str() == xid || xid.is_empty()) {
                        self.xa.push(step.to_owned());
                    }
                    self.place(&place);
                }
                Slot::Passed(place, gtids) => {
                    self.place(&place);
                    if let Some(mine) = &mut self.at.gtids {
                        mine.union(&gtids);
                    }
                }
                Slot::Statement(statement) => {
                    self.statements.push(statement.sql);
                    self.place(&statement.place);
                }
            }
        }
    }

    /// The marks of the rows of one kind.
    fn marks(&self, kind: RowsKind) -> Vec<&str> {
        self.marks.iter().filter(|(found, _)| *found == kind).map(|(_, mark)| mark.as_str()).collect()
    }

    fn outcome(mut self) -> Result<()> {
        while self.receiver.recv_deadline(Instant::now() + LIMIT).is_ok_and(|entry| entry.is_some()) {}
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn marks_in(images: &[u8]) -> Vec<String> {
    images
        .split(|&byte| byte == b'<')
        .skip(1)
        .filter_map(|piece| piece.split(|&byte| byte == b'>').next())
        // The byte of `<` is found in numbers too.
        .filter(|mark| !mark.is_empty() && mark.iter().all(u8::is_ascii_alphanumeric))
        .map(|mark| String::from_utf8_lossy(mark).into_owned())
        .collect()
}

async fn both() -> [(&'static Shared, Flavor); 2] {
    [(servers::mysql().await, Flavor::Mysql), (servers::mariadb().await, Flavor::Mariadb)]
}

async fn now(server: &Shared, flavor: Flavor) -> Position {
    position::current(&mut server.connect().await, flavor).await.unwrap()
}

async fn prepare(server: &Shared) -> String {
    let database = server.database("reader").await;
    server
        .run([
            format!("CREATE TABLE {database}.ours (id INT PRIMARY KEY, mark TEXT)"),
            format!("CREATE TABLE {database}.ours2 (id INT PRIMARY KEY, mark TEXT)"),
            format!("CREATE TABLE {database}.theirs (id INT PRIMARY KEY, mark TEXT)"),
        ])
        .await;
    database
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_rotations_and_statements_arrive_in_order() {
    for (server, flavor) in both().await {
        let db = prepare(server).await;
        let start = now(server, flavor).await;
        server
            .run([
                format!("USE {db}"),
                "INSERT INTO ours VALUES (1, '<a>'), (2, '<b>')".into(),
                "BEGIN".into(),
                "UPDATE ours SET mark = '<c>' WHERE id = 1".into(),
                "INSERT INTO ours2 VALUES (1, '<d>')".into(),
                "INSERT INTO theirs VALUES (1, '<x>')".into(),
                "COMMIT".into(),
                "INSERT INTO theirs VALUES (2, '<y>')".into(),
                "FLUSH BINARY LOGS".into(),
                "DELETE FROM ours WHERE id = 2".into(),
                "ALTER TABLE theirs ADD COLUMN z INT".into(),
                "ALTER TABLE ours ADD COLUMN z INT".into(),
                "CREATE VIEW v AS SELECT * FROM ours".into(),
                "INSERT INTO ours VALUES (3, '<e>', 7)".into(),
                "INSERT INTO theirs VALUES (3, '<z>', 7)".into(),
            ])
            .await;
        let end = now(server, flavor).await;
        let mut reading = Reading::start(server.port(), flavor, start.clone(), false, &db);
        reading.until(&end);
        assert_eq!(reading.marks(RowsKind::Insert), ["a", "b", "d", "e"]);
        assert_eq!(reading.marks(RowsKind::Update), ["a", "c"]);
        assert_eq!(reading.marks(RowsKind::Delete), ["b"]);
        assert_eq!(reading.commits, 4);
        assert_eq!(reading.statements, ["ALTER TABLE ours ADD COLUMN z INT"]);
        assert_ne!(reading.at.file, start.file);
        // Other tests write to the same server, so the set is compared only as far as it must go.
        let read = reading.at.gtids.clone().unwrap();
        assert!(read.is_superset(&end.gtids.clone().unwrap()), "{read} does not contain {:?}", end.gtids);
        drop(reading);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_by_gtid_sends_what_is_not_in_the_set() {
    for (server, flavor) in both().await {
        let db = prepare(server).await;
        server.run([format!("INSERT INTO {db}.ours VALUES (1, '<before>')")]).await;
        let start = now(server, flavor).await;
        server.run([format!("INSERT INTO {db}.ours VALUES (2, '<after>')"), "FLUSH BINARY LOGS".into()]).await;
        server.run([format!("INSERT INTO {db}.ours VALUES (3, '<later>')")]).await;
        let end = now(server, flavor).await;
        let startup = Startup::Gtid(start.gtids.as_ref().unwrap().to_string());
        let resolved = binlog::resolve(&startup, &connect_to(server.port()), flavor, server_id()).await.unwrap();
        assert_eq!(resolved.gtids, start.gtids);
        let mut reading = Reading::start(server.port(), flavor, resolved, true, &db);
        reading.until(&end);
        assert_eq!(reading.marks(RowsKind::Insert), ["after", "later"]);
        assert!(reading.at.gtids.clone().unwrap().is_superset(end.gtids.as_ref().unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_dump_thread_loses_nothing() {
    for (server, flavor) in both().await {
        for by_gtid in [false, true] {
            let db = prepare(server).await;
            let start = now(server, flavor).await;
            let mut reading = Reading::start(server.port(), flavor, start, by_gtid, &db);
            let mut conn = server.connect().await;
            let mut first = None;
            for id in 0..60 {
                conn.query_drop("BEGIN").await.unwrap();
                for part in 0..20 {
                    let filler = "f".repeat(2000);
                    let id = id * 100 + part;
                    conn.query_drop(format!("INSERT INTO {db}.ours VALUES ({id}, '<{id}>{filler}')")).await.unwrap();
                }
                conn.query_drop("COMMIT").await.unwrap();
                if id % 20 == 10 {
                    reading.until_seen(|reading| reading.marks.len() > 100);
                    let dump = reading.heard.connection().unwrap();
                    first.get_or_insert(dump);
                    // It may be between two connections.
                    let _ = conn.query_drop(format!("KILL {dump}")).await;
                }
            }
            let end = now(server, flavor).await;
            reading.until(&end);
            let seen: BTreeSet<&str> = reading.marks(RowsKind::Insert).into_iter().collect();
            assert_eq!(seen.len(), 60 * 20, "{flavor:?} by_gtid={by_gtid}");
            assert!(reading.commits >= 60);
            assert_ne!(reading.heard.connection(), first);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_transactions_and_events_are_expanded() {
    let mysql = servers::mysql().await;
    let db = prepare(mysql).await;
    let start = now(mysql, Flavor::Mysql).await;
    let many: Vec<String> = (0..500).map(|id| format!("({id}, '<{id}>{}')", "same ".repeat(50))).collect();
    mysql
        .run([
            format!("USE {db}"),
            "SET binlog_transaction_compression = ON".into(),
            format!("INSERT INTO ours VALUES {}", many.join(",")),
            "UPDATE ours SET mark = '<u>' WHERE id = 7".into(),
            "SET binlog_transaction_compression = OFF".into(),
            "DELETE FROM ours WHERE id = 8".into(),
        ])
        .await;
    let end = now(mysql, Flavor::Mysql).await;
    let mut reading = Reading::start(mysql.port(), Flavor::Mysql, start, false, &db);
    reading.until(&end);
    assert_eq!(reading.marks(RowsKind::Insert).len(), 500);
    assert_eq!(reading.marks(RowsKind::Update), ["7", "u"]);
    assert_eq!((reading.marks(RowsKind::Delete), reading.commits), (vec!["8"], 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadbs_compressed_events_are_expanded() {
    use towpath::demo::server::{Options, Product, ScratchServer};
    let options = Options::new(Product::Mariadb)
        .argument("--log-bin-compress=1")
        .argument("--log-bin-compress-min-len=10")
        .argument("--binlog-row-image=FULL");
    let server = ScratchServer::start(&options).await.unwrap();
    let mut conn = server.connect().await.unwrap();
    let start = position::current(&mut conn, Flavor::Mariadb).await.unwrap();
    let many: Vec<String> = (0..300).map(|id| format!("({id}, '<{id}>{}')", "same ".repeat(50))).collect();
    for statement in [
        "CREATE DATABASE d".to_owned(),
        "CREATE TABLE d.ours (id INT PRIMARY KEY, mark TEXT)".into(),
        format!("INSERT INTO d.ours VALUES {}", many.join(",")),
        "UPDATE d.ours SET mark = '<u>' WHERE id = 7".into(),
        "DELETE FROM d.ours WHERE id = 8".into(),
    ] {
        conn.query_drop(statement).await.unwrap();
    }
    let end = position::current(&mut conn, Flavor::Mariadb).await.unwrap();
    let mut reading = Reading::start(server.port(), Flavor::Mariadb, start, true, "d");
    reading.until(&end);
    assert_eq!(reading.marks(RowsKind::Insert).len(), 300);
    assert_eq!(reading.marks(RowsKind::Update), ["7", "u"]);
    assert_eq!(reading.marks(RowsKind::Delete), ["8"]);
    assert_eq!(reading.statements.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn statement_format_and_steps_of_xa_are_not_skipped() {
    for (server, flavor) in both().await {
        let db = prepare(server).await;
        let start = now(server, flavor).await;
        server
            .run(["SET binlog_format = STATEMENT".into(), format!("INSERT INTO {db}.ours VALUES (1, 'as text')")])
            .await;
        let middle = now(server, flavor).await;
        let mut reading = Reading::start(server.port(), flavor, start, false, &db);
        reading.until(&middle);
        assert_eq!(reading.statements, [format!("INSERT INTO {db}.ours VALUES (1, 'as text')")]);
        drop(reading);

        let xid = format!("'{db}','b',7");
        let begun = |insert: &str| [format!("XA START {xid}"), insert.to_owned(), format!("XA END {xid}")];
        let ours = |id: u8, mark: &str| format!("INSERT INTO {db}.ours VALUES ({id}, '<{mark}>')");
        let mut statements: Vec<String> = Vec::new();
        for (insert, ends) in [
            (format!("INSERT INTO {db}.theirs VALUES (5, 'x')"), &["PREPARE", "COMMIT"][..]),
            (ours(5, "committed"), &["PREPARE", "COMMIT"]),
            (ours(6, "rolledback"), &["PREPARE", "ROLLBACK"]),
            (ours(7, "onephase"), &["COMMIT-"]),
            (ours(8, "never"), &["ROLLBACK"]),
        ] {
            statements.extend(begun(&insert));
            statements.extend(ends.iter().map(|end| match *end {
                "COMMIT-" => format!("XA COMMIT {xid} ONE PHASE"),
                end => format!("XA {end} {xid}"),
            }));
        }
        server.run(statements).await;
        let end = now(server, flavor).await;
        let mut reading = Reading::start(server.port(), flavor, middle, false, &db);
        reading.xid = Xid::new(7, db.as_bytes(), b"b");
        reading.until(&end);
        let steps = ["prepared", "commit", "committed", "prepared", "commit", "rolledback", "prepared", "rollback"];
        match flavor {
            Flavor::Mysql => assert_eq!(reading.xa, [&steps[..], &["onephase", "one phase"]].concat()),
            Flavor::Mariadb => {
                assert_eq!(reading.xa, steps);
                assert_eq!(reading.marks(RowsKind::Insert), ["onephase"]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_gone_is_named_with_the_first_that_is_left() {
    for (server, flavor) in both().await {
        let mut conn = server.connect().await;
        let first = position::oldest(&mut conn, flavor).await.unwrap();
        position::check(&mut conn, flavor, &first).await.unwrap();
        let end = position::current(&mut conn, flavor).await.unwrap();
        position::check(&mut conn, flavor, &end).await.unwrap();
        assert!(end.reached(&first));
        let base = first.file.rsplit_once('.').unwrap().0;
        let gone = Position { file: format!("{base}.000000"), offset: 4, gtids: None };
        let text = position::check(&mut conn, flavor, &gone).await.unwrap_err().to_string();
        assert!(text.contains(&first.file) && text.contains("startup: initial"), "{text}");
        let beyond = Position { offset: end.offset + (1 << 30), gtids: None, ..end.clone() };
        assert!(position::check(&mut conn, flavor, &beyond).await.is_err());
        let error = Reading::start(server.port(), flavor, gone, false, "none").outcome().unwrap_err();
        assert!(!error.is_transient(), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_replica_with_our_server_id_is_named_on_mysql() {
    second_replica(servers::mysql().await, Flavor::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_replica_with_our_server_id_is_named_on_mariadb() {
    second_replica(servers::mariadb().await, Flavor::Mariadb).await;
}

async fn second_replica(server: &'static Shared, flavor: Flavor) {
    let start = now(server, flavor).await;
    let reading = |id| {
        let (sender, receiver) = ring(64, &Budget::new(1 << 20));
        let options = ReaderOptions {
            connect: connect_to(server.port()),
            flavor,
            start: start.clone(),
            by_gtid: false,
            server_id: id,
            replica_host: "towpath-test".into(),
            patience: Patience::default(),
            heard: Default::default(),
            noticed: Arc::new(|_| false),
            wanted: Arc::new(|_: &TableName| false),
        };
        let cancel = CancellationToken::new();
        (binlog::spawn(options, sender, cancel.clone()).unwrap(), receiver, cancel)
    };
    let id = server_id();
    let (first, first_slots, _first_cancel) = reading(id);
    server.run(["CREATE DATABASE IF NOT EXISTS same_id"]).await;
    let _ = first_slots.recv_deadline(Instant::now() + LIMIT).unwrap();
    let (second, _second_slots, cancel) = reading(id);
    let text = tokio::task::spawn_blocking(|| first.join().unwrap().unwrap_err().to_string()).await.unwrap();
    assert!(text.contains(&format!("server_id {id}")), "{text}");
    cancel.cancel();
    tokio::task::spawn_blocking(|| second.join().unwrap().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_point_in_time_becomes_the_place_behind_what_came_before() {
    for (server, flavor) in both().await {
        let db = prepare(server).await;
        server.run([format!("INSERT INTO {db}.ours VALUES (1, '<before>')"), "FLUSH BINARY LOGS".into()]).await;
        tokio::time::sleep(Duration::from_millis(2100)).await;
        // In the second that is asked for, and a new file begins in the same.
        let mut conn = server.connect().await;
        let mut clock = async || conn.query_first::<i64, _>("SELECT UNIX_TIMESTAMP()").await.unwrap().unwrap();
        let mut id = 1;
        let time = loop {
            let time = clock().await;
            id += 1;
            server.run([format!("INSERT INTO {db}.ours VALUES ({id}, '<{id}>')"), "FLUSH BINARY LOGS".into()]).await;
            if clock().await == time {
                break time;
            }
        };
        let end = now(server, flavor).await;
        let connect = connect_to(server.port());
        let start = binlog::resolve(&Startup::Timestamp(time), &connect, flavor, server_id()).await.unwrap();
        let mut reading = Reading::start(server.port(), flavor, start, false, &db);
        reading.until(&end);
        // Of tries that were too slow, some may have been in that second too.
        let marks = reading.marks(RowsKind::Insert);
        assert_eq!(marks.last().copied(), Some(id.to_string().as_str()));
        assert!(!marks.contains(&"before"), "{marks:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tagged_gtids_are_followed_and_asked_for() {
    let server = servers::mysql().await;
    let db = prepare(server).await;
    server
        .run(["SET gtid_next = 'AUTOMATIC:blue'".to_owned(), format!("INSERT INTO {db}.ours VALUES (1, '<before>')")])
        .await;
    let start = now(server, Flavor::Mysql).await;
    assert!(start.gtids.as_ref().unwrap().to_string().contains(":blue:"));
    server
        .run(["SET gtid_next = 'AUTOMATIC:blue'".to_owned(), format!("INSERT INTO {db}.ours VALUES (2, '<after>')")])
        .await;
    let end = now(server, Flavor::Mysql).await;
    let mut reading = Reading::start(server.port(), Flavor::Mysql, start, true, &db);
    reading.until(&end);
    assert_eq!(reading.marks(RowsKind::Insert), ["after"]);
    let read: GtidSet = reading.at.gtids.clone().unwrap();
    assert!(read.is_superset(end.gtids.as_ref().unwrap()), "{read} {:?}", end.gtids);
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_columns_and_tables_made_from_a_select_are_whole() {
    for (server, flavor) in both().await {
        let db = prepare(server).await;
        let start = now(server, flavor).await;
        server
            .run([
                format!("USE {db}"),
                "CREATE TABLE ours3 (id INT PRIMARY KEY, mark TEXT, a INT AS (id + 1) VIRTUAL, b INT AS (id + 2) STORED)".into(),
                "INSERT INTO ours3 (id, mark) VALUES (1, '<g>')".into(),
                "UPDATE ours3 SET mark = '<h>'".into(),
                "DELETE FROM ours3".into(),
                "CREATE TABLE ours4 (PRIMARY KEY (id)) AS SELECT 5 AS id, '<i>' AS mark".into(),
                "CREATE TABLE theirs2 (PRIMARY KEY (id)) AS SELECT 5 AS id, '<n>' AS mark".into(),
            ])
            .await;
        let end = now(server, flavor).await;
        let mut reading = Reading::start(server.port(), flavor, start, false, &db);
        reading.until(&end);
        assert_eq!(reading.marks(RowsKind::Insert), ["g", "i"], "{flavor:?}");
        assert_eq!(reading.marks(RowsKind::Update), ["g", "h"]);
        assert_eq!(reading.marks(RowsKind::Delete), ["h"]);
        assert_eq!(reading.statements.len(), 2, "{:?}", reading.statements);
    }
}
