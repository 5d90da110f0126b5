//! The scratch MySQL and what is written to it: sysbench's tables, and `oltp_write_only`'s layout and mix of statements.
//!
//! A transaction is two updates (of the indexed and of another column), a delete and an insert of the same id, each in a table
//! drawn anew: four changes. Ids are drawn evenly, so few rows are written twice within an epoch; sysbench 1.0 draws most of
//! them from a small share, which makes less work. Each writer has ids of its own: nobody waits for another's lock.

use std::fmt::Write as _;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use towpath::demo::server::{Options, Product, ScratchServer};

pub(crate) const DATABASE: &str = "sbtest";
pub(crate) const TABLES: usize = 4;
/// For the crate `mysql_cdc`, which cannot sign in without a password; this is the password too.
pub(crate) const CDC_USER: &str = "cdc";
const WRITERS: usize = 4;
const ROWS_A_STATEMENT: usize = 500;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) rows_a_table: usize,
    pub(crate) transactions: usize,
}

impl Size {
    pub(crate) const ISSUE: Size = Size { rows_a_table: 250_000, transactions: 178_381 };
    pub(crate) const QUICK: Size = Size { rows_a_table: 50_000, transactions: 40_000 };

    pub(crate) fn rows(self) -> u64 {
        (self.rows_a_table * TABLES) as u64
    }
}

/// File and offset.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) offset: u64,
}

/// A piece of log, which ends where the server's log ends.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    pub(crate) from: Place,
    /// Pattern of the tables that are in it.
    pub(crate) tables: String,
    pub(crate) changes: u64,
    pub(crate) bytes: u64,
}

pub(crate) struct Source {
    server: ScratchServer,
}

impl Source {
    /// Nothing of it waits for a disk: what is measured is the reader.
    pub(crate) async fn start() -> Source {
        let mut options = Options::new(Product::Mysql);
        for argument in [
            "--innodb-flush-log-at-trx-commit=0",
            "--sync-binlog=0",
            "--skip-innodb-doublewrite",
            "--innodb-buffer-pool-size=768M",
            "--loose-innodb-redo-log-capacity=1G",
            "--max-binlog-size=1G",
            "--max-allowed-packet=64M",
        ] {
            options = options.argument(argument);
        }
        let source = Source { server: ScratchServer::start(&options).await.unwrap() };
        let conn = &mut source.connect().await;
        conn.query_drop(format!("CREATE USER '{CDC_USER}'@'%' IDENTIFIED BY '{CDC_USER}'")).await.unwrap();
        conn.query_drop(format!("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '{CDC_USER}'@'%'"))
            .await
            .unwrap();
        source
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.port()
    }

    pub(crate) async fn connect(&self) -> Conn {
        self.server.connect().await.unwrap()
    }

    /// Statements that clients have sent so far.
    pub(crate) async fn questions(&self) -> u64 {
        let conn = &mut self.connect().await;
        let row = conn.query_first::<(String, u64), _>("SHOW GLOBAL STATUS LIKE 'Questions'").await.unwrap();
        row.unwrap().1
    }

    /// sysbench's tables with their rows.
    pub(crate) async fn fill(&self, size: Size) -> Log {
        self.create(DATABASE, TABLES).await;
        let from = self.new_log().await;
        self.write(TABLES, |table| {
            let mut random = StdRng::seed_from_u64(table as u64);
            let mut next = 1;
            move || {
                let end = (next + ROWS_A_STATEMENT).min(size.rows_a_table + 1);
                let mut sql = format!("INSERT INTO {DATABASE}.sbtest{} (id, k, c, pad) VALUES ", table + 1);
                for id in next..end {
                    let comma = if id == next { "" } else { "," };
                    let k = random.random_range(1..=size.rows_a_table);
                    write!(sql, "{comma}({id},{k},'{}','{}')", digits(10, &mut random), digits(5, &mut random))
                        .unwrap();
                }
                let more = next < end;
                next = end;
                more.then_some(sql)
            }
        })
        .await;
        self.log(from, format!("{DATABASE}.*"), size.rows()).await
    }

    /// `oltp_write_only`.
    pub(crate) async fn transactions(&self, size: Size, count: usize) -> Log {
        let from = self.new_log().await;
        self.write(WRITERS, |writer| {
            // Another log has other texts: an update to the text that a row has already is in no log.
            let mut random = StdRng::seed_from_u64((100 + count + writer) as u64);
            let mut left = (count + writer) / WRITERS;
            move || {
                left = left.checked_sub(1)?;
                let mut place = || {
                    let table = random.random_range(1..=TABLES);
                    (table, 1 + writer + WRITERS * random.random_range(0..size.rows_a_table / WRITERS))
                };
                let [(first, a), (second, b), (third, c)] = [place(), place(), place()];
                let k = random.random_range(1..=size.rows_a_table);
                let [text, again] = [digits(10, &mut random), digits(10, &mut random)];
                let pad = digits(5, &mut random);
                Some(format!(
                    "BEGIN; UPDATE {DATABASE}.sbtest{first} SET k = k + 1 WHERE id = {a}; \
                     UPDATE {DATABASE}.sbtest{second} SET c = '{text}' WHERE id = {b}; \
                     DELETE FROM {DATABASE}.sbtest{third} WHERE id = {c}; \
                     INSERT INTO {DATABASE}.sbtest{third} (id, k, c, pad) VALUES ({c}, {k}, '{again}', '{pad}'); COMMIT"
                ))
            }
        })
        .await;
        self.log(from, format!("{DATABASE}.*"), 4 * count as u64).await
    }

    /// Single inserts, each into a table drawn anew, four a transaction.
    pub(crate) async fn spread(&self, tables: usize, changes: usize) -> Log {
        let database = format!("spread{tables}");
        self.create(&database, tables).await;
        let from = self.new_log().await;
        let in_database = &database;
        self.write(1, |_| {
            let mut random = StdRng::seed_from_u64(7);
            let mut id = 0;
            move || {
                let mut sql = String::from("BEGIN;");
                for _ in 0..4 {
                    id += 1;
                    let table = random.random_range(1..=tables);
                    let [c, pad] = [digits(10, &mut random), digits(5, &mut random)];
                    write!(
                        sql,
                        "INSERT INTO {in_database}.sbtest{table} (id, k, c, pad) VALUES ({id}, {id}, '{c}', '{pad}');"
                    )
                    .unwrap();
                }
                (id <= changes).then(|| sql + "COMMIT")
            }
        })
        .await;
        self.log(from, format!("{database}.*"), (changes / 4 * 4) as u64).await
    }

    /// Updates of one table, so much of them in the same hundred rows; ten a transaction.
    pub(crate) async fn hot(&self, percent: u32, changes: usize) -> Log {
        const ROWS: usize = 20_000;
        let database = format!("hot{percent}");
        self.create(&database, 1).await;
        let conn = &mut self.connect().await;
        conn.query_drop(format!(
            "SET SESSION cte_max_recursion_depth = {ROWS}; INSERT INTO {database}.sbtest1 (id, k, c, pad)
             WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) SELECT i, i, REPEAT('c', 119), 'p' FROM n"
        ))
        .await
        .unwrap();
        let from = self.new_log().await;
        let in_database = &database;
        self.write(1, |_| {
            let mut random = StdRng::seed_from_u64(9);
            let mut left = changes / 10;
            move || {
                left = left.checked_sub(1)?;
                let mut sql = String::from("BEGIN;");
                for _ in 0..10 {
                    let rows = if random.random_range(0..100) < percent { 100 } else { ROWS };
                    write!(
                        sql,
                        "UPDATE {in_database}.sbtest1 SET k = k + 1 WHERE id = {};",
                        random.random_range(1..=rows)
                    )
                    .unwrap();
                }
                Some(sql + "COMMIT")
            }
        })
        .await;
        self.log(from, format!("{database}.*"), (changes / 10 * 10) as u64).await
    }

    /// Rows of so many bytes, `total` bytes of them.
    pub(crate) async fn wide(&self, bytes: usize, total: usize) -> Log {
        let database = format!("wide{bytes}");
        let conn = &mut self.connect().await;
        conn.query_drop(format!("CREATE DATABASE {database}")).await.unwrap();
        conn.query_drop(format!("CREATE TABLE {database}.t (id INT PRIMARY KEY, v MEDIUMTEXT NOT NULL)"))
            .await
            .unwrap();
        let from = self.new_log().await;
        let (rows, in_database) = (total / bytes, &database);
        let a_statement = (64_000 / bytes).max(1);
        self.write(1, |_| {
            let mut next = 0;
            move || {
                let end = (next + a_statement).min(rows);
                let values: Vec<String> = (next..end).map(|id| format!("({id},REPEAT('w',{bytes}))")).collect();
                next = end;
                (!values.is_empty()).then(|| format!("INSERT INTO {in_database}.t VALUES {}", values.join(",")))
            }
        })
        .await;
        self.log(from, format!("{database}.*"), rows as u64).await
    }

    pub(crate) async fn create(&self, database: &str, tables: usize) {
        let conn = &mut self.connect().await;
        conn.query_drop(format!("CREATE DATABASE {database}")).await.unwrap();
        for table in 1..=tables {
            conn.query_drop(format!(
                "CREATE TABLE {database}.sbtest{table} (
                    id INT NOT NULL PRIMARY KEY, k INT NOT NULL DEFAULT '0', c CHAR(120) NOT NULL DEFAULT '',
                    pad CHAR(60) NOT NULL DEFAULT '', KEY k_{table} (k))"
            ))
            .await
            .unwrap();
        }
    }

    /// Runs each writer's statements on a connection of its own.
    async fn write<W: FnMut() -> Option<String> + Send>(&self, writers: usize, writer: impl Fn(usize) -> W) {
        let writing = (0..writers).map(|number| {
            let mut next = writer(number);
            async move {
                let mut conn = self.connect().await;
                while let Some(sql) = next() {
                    conn.query_drop(sql).await.unwrap();
                }
            }
        });
        futures_util::future::join_all(writing).await;
    }

    /// The log begins anew; what was before is gone.
    async fn new_log(&self) -> Place {
        let conn = &mut self.connect().await;
        conn.query_drop("FLUSH BINARY LOGS").await.unwrap();
        let place = current(conn).await;
        conn.query_drop(format!("PURGE BINARY LOGS TO '{}'", place.file)).await.unwrap();
        place
    }

    async fn log(&self, from: Place, tables: String, changes: u64) -> Log {
        let conn = &mut self.connect().await;
        let logs: Vec<mysql_async::Row> = conn.query("SHOW BINARY LOGS").await.unwrap();
        let bytes: u64 = logs.iter().map(|log| log.get::<u64, _>(1).unwrap()).sum();
        eprintln!("{changes} changes in {} MB of log", bytes >> 20);
        Log { bytes: bytes - from.offset, from, tables, changes }
    }
}

async fn current(conn: &mut Conn) -> Place {
    // Servers before 8.4 know the older name only.
    let row = match conn.query_first::<mysql_async::Row, _>("SHOW BINARY LOG STATUS").await {
        Ok(row) => row,
        Err(_) => conn.query_first("SHOW MASTER STATUS").await.unwrap(),
    };
    let row = row.unwrap();
    Place { file: row.get(0).unwrap(), offset: row.get(1).unwrap() }
}

/// So many groups of eleven digits, as sysbench writes them.
fn digits(groups: usize, random: &mut StdRng) -> String {
    let mut text = String::with_capacity(groups * 12);
    for group in 0..groups {
        let dash = if group == 0 { "" } else { "-" };
        write!(text, "{dash}{:011}", random.random_range(0..100_000_000_000_u64)).unwrap();
    }
    text
}
