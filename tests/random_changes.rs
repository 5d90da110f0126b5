//! Random schema changes between random rows, while the job copies and follows and is killed again and again: at the end both
//! sides have the same tables, columns and rows.
//!
//! What is done at the source follows from the seed, which is drawn anew and printed; the moments of the kills are the machine's.
//!
//! - `TOWPATH_SEED=7 cargo test --test it random_changes` repeats one case.
//! - `TOWPATH_SOAK_SECONDS=600 …`, or `make soak`, runs new cases until the time is over.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::process::Child;

use crate::harness::{Job, Target, assert_equal, towpath};
use crate::schema_changes::assert_same_columns;
use crate::servers::{self, Shared};

const SETTINGS: &str =
    "params: {realFlushPauseSec: 0, fullBatchSize: 15}\nddl: {onImpossible: recopy, dropTable: apply}";
const TABLES: [&str; 4] = ["t0", "t1", "t2", "t3"];
const COLUMNS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];
const TYPES: [&str; 11] = [
    "INT",
    "BIGINT NOT NULL DEFAULT 5",
    "SMALLINT UNSIGNED",
    "VARCHAR(20)",
    "VARCHAR(80) NOT NULL DEFAULT 'new'",
    "TEXT",
    "DECIMAL(10,2) DEFAULT 1.5",
    "DOUBLE",
    "DATE",
    "DATETIME(3) DEFAULT '2024-05-06 07:08:09.123'",
    "ENUM('x','y','z')",
];
/// Where a job may be when it is killed, besides anywhere.
const STEPS: [&str; 12] = [
    "chunk-read",
    "chunk-load-in",
    "table-given-up",
    "given-up-emptied",
    "change-planned",
    "change-begun",
    "change-step-done",
    "change-done",
    "copy-read",
    "copy-load-in",
    "copy-swapped",
    "checkpoint-begun",
];

/// What was done at the source; it is written down when the case fails.
struct Story {
    seed: u64,
    statements: Vec<String>,
}

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("changes-{}.sql", self.seed));
            let written = fs::write(&file, self.statements.join("\n"));
            let file = file.display();
            eprintln!("failed: TOWPATH_SEED={} repeats it; its statements are in {file} {written:?}", self.seed);
        }
    }
}

/// The source, and what is there.
struct Source {
    conn: Conn,
    random: StdRng,
    story: Story,
    /// Table → columns with their types, without the key.
    tables: BTreeMap<String, Vec<(String, String)>>,
    database: String,
}

impl Source {
    /// `false`: the server refuses it, as it does an application's mistakes.
    async fn run(&mut self, sql: String) -> bool {
        let answer = self.conn.query_drop(&sql).await;
        let refused = answer.as_ref().err().map_or(String::new(), |error| format!(" -- {error}"));
        self.story.statements.push(format!("{sql};{refused}"));
        match answer {
            Ok(()) => true,
            Err(mysql_async::Error::Server(_)) => false,
            Err(error) => panic!("{sql}: {error}"),
        }
    }

    async fn look(&mut self) {
        let sql = format!(
            "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = '{}'",
            self.database
        );
        let columns: Vec<(String, String, String)> = self.conn.query(sql).await.unwrap();
        self.tables.clear();
        for (table, column, ty) in columns {
            let columns = self.tables.entry(table).or_default();
            if column != "id" {
                columns.push((column, ty.to_lowercase()));
            }
        }
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of.choose(&mut self.random).unwrap()
    }

    /// One that is there, most of the time.
    fn column_of(&mut self, table: &str) -> String {
        let there = self.tables.get(table).and_then(|columns| columns.choose(&mut self.random)).cloned();
        match there {
            Some((column, _)) if self.random.random_bool(0.9) => column,
            _ => self.one(&COLUMNS).to_owned(),
        }
    }

    fn value(&mut self, ty: &str) -> String {
        let number = self.random.random_range(0..1000);
        if self.random.random_bool(0.1) {
            return "NULL".to_owned();
        }
        match ty {
            "date" => format!("'20{:02}-{:02}-11'", number % 60, number % 12 + 1),
            "datetime" => format!("'20{:02}-03-04 05:06:07.{number:03}'", number % 60),
            "enum" => ["'x'", "'y'", "'z'"][number % 3].to_owned(),
            "decimal" | "double" => format!("{number}.25"),
            "varchar" | "text" => format!("'v {number}'"),
            _ => number.to_string(),
        }
    }

    async fn write(&mut self) {
        let Some(table) = self.tables.keys().cloned().collect::<Vec<_>>().choose(&mut self.random).cloned() else {
            return;
        };
        let id = self.random.random_range(1..80);
        let columns = self.tables[&table].clone();
        let chosen: Vec<_> = columns.into_iter().filter(|_| self.random.random_bool(0.7)).collect();
        let values: Vec<String> = chosen.iter().map(|(_, ty)| self.value(ty)).collect();
        let sets = || chosen.iter().zip(&values).map(|((name, _), value)| format!("{name} = {value}"));
        let sql = match self.random.random_range(0..10) {
            0..5 => {
                let names: String = chosen.iter().map(|(name, _)| format!(", {name}")).collect();
                let values: String = values.iter().map(|value| format!(", {value}")).collect();
                format!("INSERT INTO {table} (id{names}) VALUES ({id}{values})")
            }
            5..8 if !chosen.is_empty() => {
                format!(
                    "UPDATE {table} SET {} WHERE id BETWEEN {id} AND {id} + 4",
                    sets().collect::<Vec<_>>().join(", ")
                )
            }
            8 => format!("UPDATE {table} SET id = id + 100 WHERE id = {id}"),
            _ => format!("DELETE FROM {table} WHERE id = {id}"),
        };
        self.run(sql).await;
    }

    /// A clause of ALTER TABLE.
    fn clause(&mut self, table: &str) -> String {
        let (column, new, ty) = (self.column_of(table), self.one(&COLUMNS), self.one(&TYPES));
        let place = match self.random.random_range(0..5) {
            0 => " FIRST".to_owned(),
            1 => format!(" AFTER {}", self.column_of(table)),
            _ => String::new(),
        };
        match self.random.random_range(0..20) {
            0..6 => format!("ADD {new} {ty}{place}"),
            6..9 => format!("DROP {column}"),
            9..12 => format!("RENAME COLUMN {column} TO {new}"),
            12..14 => format!("MODIFY {column} {ty}{place}"),
            14 => format!("CHANGE {column} {new} {ty}{place}"),
            15 => format!("ALTER {column} SET DEFAULT NULL"),
            16 => format!("CONVERT TO CHARACTER SET {}", self.one(&["latin1", "utf8mb4"])),
            17 => format!("DROP PRIMARY KEY, ADD PRIMARY KEY (id{})", self.one(&["", ", b"])),
            18 => format!("MODIFY id {}{place}", self.one(&["INT", "BIGINT"])),
            _ => format!("ADD INDEX ({column}), COMMENT '{}'", self.random.random_range(0..9)),
        }
    }

    async fn change(&mut self) {
        let table = self.one(&TABLES).to_owned();
        let other = self.one(&TABLES).to_owned();
        let sql = match self.random.random_range(0..20) {
            0 => self.create(&table),
            1 => format!("CREATE TABLE {table} LIKE {other}"),
            2 => format!("CREATE TABLE {table} (PRIMARY KEY (id)) AS SELECT * FROM {other} WHERE id < 40"),
            3 => format!("DROP TABLE {table}"),
            4 => format!("TRUNCATE TABLE {table}"),
            5 => format!("RENAME TABLE {table} TO {other}"),
            6 => format!("RENAME TABLE {table} TO aside, {other} TO {table}, aside TO {other}"),
            7 => format!("ALTER TABLE {table} RENAME TO {other}"),
            // Two names change places, and values of one type stand under the other's name.
            8 => {
                let (first, second) = (self.column_of(&table), self.column_of(&table));
                format!("ALTER TABLE {table} RENAME COLUMN {first} TO {second}, RENAME COLUMN {second} TO {first}")
            }
            _ => {
                let count = self.one(&["1", "1", "2", "3"]).parse().unwrap();
                let clauses: Vec<String> = (0..count).map(|_: u32| self.clause(&table)).collect();
                format!("ALTER TABLE {table} {}", clauses.join(", "))
            }
        };
        if self.run(sql).await {
            self.look().await;
        }
    }

    fn create(&mut self, table: &str) -> String {
        let count = self.random.random_range(1..5);
        let columns: String = COLUMNS[..count].iter().map(|name| format!(", {name} {}", self.one(&TYPES))).collect();
        format!("CREATE TABLE {table} (id INT PRIMARY KEY{columns})")
    }
}

fn start(job: &Job, random: &mut impl rand::Rng) -> Child {
    let mut run = towpath("run");
    // Chunks take their time, and now and then it stands still somewhere until it is killed.
    let slow = "chunk-read=sleep(15);copy-read=sleep(10)";
    let step = STEPS.choose(random).unwrap();
    let points = match random.random_bool(0.4) {
        true => format!("{slow};{step}={}*off->return", random.random_range(0..3)),
        false => slow.to_owned(),
    };
    run.env("FAILPOINTS", points);
    job.start_as(run)
}

async fn case(server: &'static Shared, seed: u64) {
    println!("seed {seed}");
    let database = server.database("changes").await;
    let mut conn = server.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    let story = Story { seed, statements: Vec::new() };
    let random = StdRng::seed_from_u64(seed);
    let mut source = Source { conn, random, story, tables: BTreeMap::new(), database: database.clone() };
    if source.random.random_bool(0.5) {
        source.run("SET SESSION sql_mode = ''".to_owned()).await;
    }
    for table in &TABLES[..3] {
        let create = source.create(table);
        assert!(source.run(create).await);
    }
    source.look().await;
    for _ in 0..150 {
        source.write().await;
    }
    let target = Target::start().await;
    let job = Job::new(server.port(), &target, &format!("{database}.*"), "", SETTINGS);
    let mut child = start(&job, &mut rand::rng());
    for _ in 0..source.random.random_range(10..40) {
        source.change().await;
        for _ in 0..source.random.random_range(0..12) {
            source.write().await;
        }
        tokio::time::sleep(Duration::from_millis(rand::rng().random_range(0..60))).await;
        if rand::rng().random_bool(0.2) {
            child.kill().await.unwrap();
            child = start(&job, &mut rand::rng());
        }
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "the job has ended by itself: {ended:?}\n{}", job.log());
    }
    child.kill().await.unwrap();
    if source.tables.is_empty() {
        // A job that begins without any table is refused.
        let create = source.create("t0");
        source.run(create).await;
    }
    job.run_to_end().await;
    assert_equal(server.port(), &target, &database).await;
    assert_same_columns(server, &target, &database).await;
    let tables = format!("SHOW TABLES FROM {database}");
    let mut there: [Vec<String>; 2] =
        [source.conn.query(&tables).await.unwrap(), target.connect().await.query(&tables).await.unwrap()];
    there.iter_mut().for_each(|tables| tables.sort());
    assert_eq!(there[0], there[1]);
    source.conn.query_drop(format!("DROP DATABASE {database}")).await.unwrap();
}

async fn cases(server: &'static Shared) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = number("TOWPATH_SEED") {
        return case(server, seed).await;
    }
    let seconds = number("TOWPATH_SOAK_SECONDS").unwrap_or(8);
    let (begin, mut cases) = (Instant::now(), 0);
    while begin.elapsed().as_secs() < seconds {
        case(server, rand::random::<u32>().into()).await;
        cases += 1;
    }
    println!("{cases} cases in {} s, all equal", begin.elapsed().as_secs());
}

#[tokio::test(flavor = "multi_thread")]
async fn random_changes_with_crashes_end_in_equal_sides_on_mysql() {
    cases(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_changes_with_crashes_end_in_equal_sides_on_mariadb() {
    cases(servers::mariadb().await).await;
}
