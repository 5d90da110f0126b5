//! Random clauses over few names, so that clauses of one statement meet: they add, change, move, rename and drop the same
//! columns, in orders that nobody writes and that the servers accept all the same.
//!
//! Each run draws a new seed and prints it where it finds something; `TOWPATH_HISTORY_SEED=n` draws the same statements
//! again. `make soak` goes on with new seeds. What a seed has found becomes a statement of the grammar's lists.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::Log;
use crate::servers::{self, Shared};

/// Statements that a server accepts, in a row of one test run.
const STATEMENTS: usize = 200;

const NAMES: &[&str] = &["a", "B", "c", "d", "E", "f", "größe", "Id"];

const TYPES: &[&str] = &[
    "INT",
    "BIGINT UNSIGNED NOT NULL DEFAULT 5",
    "VARCHAR(20)",
    "VARCHAR(200)",
    "VARCHAR(30) CHARACTER SET latin1 NOT NULL",
    "VARCHAR(9000) CHARACTER SET latin1",
    "TEXT",
    "TINYTEXT",
    "MEDIUMTEXT CHARACTER SET latin1",
    "LONGTEXT",
    "TEXT(70)",
    "TEXT(300) CHARACTER SET utf8mb3",
    "BLOB",
    "BLOB(300)",
    "CHAR(3) COLLATE gbk_bin DEFAULT 'x'",
    "CHAR(100)",
    "DECIMAL(8,3) DEFAULT 1.5",
    "DECIMAL(64,2)",
    "BIT(60)",
    "DATETIME(2)",
    "TIMESTAMP NULL",
    "TIMESTAMP",
    "TIMESTAMP NOT NULL",
    "ENUM('x','y') NOT NULL",
    "SET('x','yy')",
    "JSON",
    "INT NOT NULL UNIQUE",
    "INT UNIQUE",
    "VARBINARY(9)",
    "DATE COMMENT 'day'",
];

struct Draw<'a> {
    random: &'a mut StdRng,
    mariadb: bool,
    /// The table's columns before the statement.
    columns: Vec<String>,
}

impl Draw<'_> {
    /// More often than not a column that is there.
    fn name(&mut self) -> String {
        match self.columns.choose(self.random) {
            Some(column) if self.random.random_bool(0.6) && column != "k" => column.clone(),
            _ => (*NAMES.choose(self.random).unwrap()).to_owned(),
        }
    }

    /// Never the last column of a key.
    fn dropped(&mut self) -> String {
        Some(self.name()).filter(|name| !name.eq_ignore_ascii_case("id")).unwrap_or_else(|| "a".to_owned())
    }

    fn place(&mut self) -> String {
        match self.random.random_range(0..5) {
            0 => " FIRST".to_owned(),
            1 | 2 => format!(" AFTER {}", self.name()),
            _ => String::new(),
        }
    }

    fn ty(&mut self) -> &'static str {
        TYPES.choose(self.random).unwrap()
    }

    /// MariaDB's condition, now and then.
    fn condition(&mut self, condition: &'static str) -> &'static str {
        if self.mariadb && self.random.random_bool(0.25) { condition } else { "" }
    }

    fn clause(&mut self) -> String {
        let (there, not_there) = (self.condition("IF EXISTS "), self.condition("IF NOT EXISTS "));
        match self.random.random_range(0..21) {
            0..4 => format!("ADD {not_there}{} {}{}", self.name(), self.ty(), self.place()),
            4..6 => format!("DROP {there}{}", self.dropped()),
            6..9 => format!("MODIFY {there}{} {}{}", self.name(), self.ty(), self.place()),
            9..12 => format!("CHANGE {there}{} {} {}{}", self.name(), self.name(), self.ty(), self.place()),
            12..14 => format!("RENAME COLUMN {there}{} TO {}", self.name(), self.name()),
            14 => {
                let default = ["SET DEFAULT NULL", "SET DEFAULT 7", "DROP DEFAULT"].choose(self.random).unwrap();
                format!("ALTER {there}{} {default}", self.name())
            }
            15 => format!("DROP PRIMARY KEY, ADD PRIMARY KEY (id, {})", self.name()),
            16 => {
                let kind = ["UNIQUE", "KEY", "UNIQUE KEY"].choose(self.random).unwrap();
                let name = ["", "", "", "a", "B_2"].choose(self.random).unwrap();
                format!("ADD {kind} {not_there}{name} ({}, {})", self.name(), self.name())
            }
            17 => {
                // With a condition it is not certain which keys are constraints.
                let kind = ["INDEX ", "INDEX ", "CONSTRAINT "].choose(self.random).unwrap();
                let there = if *kind == "CONSTRAINT " { "" } else { there };
                format!("DROP {kind}{there}{}", self.index())
            }
            18 => format!("RENAME INDEX {there}{} TO {}", self.index(), self.index()),
            19 => format!("ADD COLUMN ({} {}, {} {})", self.name(), self.ty(), self.name(), self.ty()),
            _ => format!(
                "{} {}",
                ["CONVERT TO CHARACTER SET", "CHARSET"].choose(self.random).unwrap(),
                ["latin1", "utf8mb4", "gbk"].choose(self.random).unwrap()
            ),
        }
    }

    fn index(&mut self) -> String {
        format!("{}{}", self.name(), ["", "_2", "_3"].choose(self.random).unwrap())
    }

    fn statement(&mut self) -> String {
        match self.random.random_range(0..40) {
            0 => format!("CREATE INDEX {} ON t ({})", self.index(), self.name()),
            1 if self.mariadb => format!("CREATE OR REPLACE UNIQUE INDEX {} ON t ({})", self.index(), self.name()),
            2 => format!("DROP INDEX {} ON t", self.index()),
            _ => {
                let clauses: Vec<String> = (0..self.random.random_range(1..5)).map(|_| self.clause()).collect();
                format!("ALTER TABLE t {}", clauses.join(", "))
            }
        }
    }
}

async fn seed(server: &'static Shared, mariadb: bool, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut log = Log::begin(server).await;
    // `k`, which no clause names, stands in for a primary key that is gone.
    log.run_on_t("CREATE TABLE t (id INT PRIMARY KEY, k INT NOT NULL UNIQUE, a INT, b VARCHAR(20), c DATE)")
        .await
        .unwrap();
    let (mut done, mut tried) = (0, 0);
    while done < STATEMENTS {
        tried += 1;
        assert!(tried < 40 * STATEMENTS, "seed {seed}: the server takes {done} of {tried} statements");
        let sql = match tried % 25 {
            0 => "SET sql_mode = ''".to_owned(),
            12 => "SET sql_mode = DEFAULT".to_owned(),
            // MariaDB's log does not tell it.
            5 | 17 if !mariadb => format!("SET explicit_defaults_for_timestamp = {}", u8::from(tried % 25 == 17)),
            _ => {
                let now = log.steps.last().and_then(|step| step.tables.first());
                let columns = now.iter().flat_map(|table| &table.columns).map(|column| column.name.clone()).collect();
                Draw { random: &mut random, mariadb, columns }.statement()
            }
        };
        done += usize::from(log.run_on_t(&sql).await.is_ok());
    }
    let (differences, refused) = log.compare().await;
    let (differ, wrong) = (differences.len(), refused.len());
    let all: Vec<String> = differences.into_iter().chain(refused).collect();
    assert!(
        all.is_empty(),
        "seed {seed}: of {done} statements {differ} differ, {wrong} are refused:\n{}",
        all.join("\n")
    );
}

async fn random_alters(server: &'static Shared, mariadb: bool) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(given) = number("TOWPATH_HISTORY_SEED") {
        return seed(server, mariadb, given).await;
    }
    let end = number("TOWPATH_SOAK_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut seeds = 0;
    loop {
        seed(server, mariadb, rand::random()).await;
        seeds += 1;
        if end.is_none_or(|end| Instant::now() > end) {
            break;
        }
    }
    println!("{seeds} seeds of {STATEMENTS} statements");
}

#[tokio::test(flavor = "multi_thread")]
async fn random_alters_make_the_definitions_that_mysql_makes() {
    random_alters(servers::mysql().await, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_alters_make_the_definitions_that_mariadb_makes() {
    random_alters(servers::mariadb().await, true).await;
}
