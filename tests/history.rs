//! What the history makes of statements is compared with what the servers made of them: after each statement of a log the
//! definitions that it has come to must be those that the catalogue had then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use tokio_util::sync::CancellationToken;
use towpath::config::{NoKeyTables, TableFilter};
use towpath::mysql::binlog::{self, ReaderOptions, Slot, Statement};
use towpath::mysql::catalog;
use towpath::mysql::connect::{self, ServerInfo};
use towpath::mysql::history::{History, Surroundings};
use towpath::mysql::position::{self, Position};
use towpath::ring::{Budget, ring};
use towpath::schema::{DefaultValue, Table, TableName};

use crate::servers::{self, Shared};

mod letters;
mod moment;
mod past;
mod random;

/// One database of a server, its statements so far, and the catalogue behind each.
struct Log {
    server: &'static Shared,
    conn: Conn,
    /// Its session's settings are the usual ones.
    reading: Conn,
    info: ServerInfo,
    filter: TableFilter,
    database: String,
    start: Position,
    steps: Vec<Step>,
}

struct Step {
    sql: String,
    /// Behind it.
    at: Position,
    tables: Vec<Table>,
}

impl Log {
    async fn begin(server: &'static Shared) -> Log {
        let database = server.database("history").await;
        let mut conn = server.connect().await;
        conn.query_drop(format!("USE {database}")).await.unwrap();
        let info = connect::server_info(&mut conn).await.unwrap();
        let filter = TableFilter::new(&[format!("{database}*.*")], &[], false).unwrap();
        let start = position::current(&mut conn, info.flavor).await.unwrap();
        let reading = server.connect().await;
        Log { server, conn, reading, info, filter, database, start, steps: Vec::new() }
    }

    /// Runs a statement and reads what the catalogue has of all tables then.
    async fn run(&mut self, sql: &str) -> Result<(), mysql_async::Error> {
        self.conn.query_drop(sql).await?;
        let at = position::current(&mut self.reading, self.info.flavor).await.unwrap();
        let tables = match catalog::tables(&mut self.reading, &self.info, &self.filter, NoKeyTables::UniqueKey).await {
            Ok(tables) => tables,
            Err(error) if error.to_string().contains("no table of the source matches") => Vec::new(),
            Err(error) => panic!("{sql}: {error}"),
        };
        self.steps.push(Step { sql: sql.to_owned(), at, tables });
        Ok(())
    }

    /// The same for a database of one table `t`, which costs less.
    async fn run_on_t(&mut self, sql: &str) -> Result<(), mysql_async::Error> {
        self.conn.query_drop(sql).await?;
        let at = position::current(&mut self.reading, self.info.flavor).await.unwrap();
        let name = TableName::new(&self.database, "t");
        let table = catalog::table(&mut self.reading, &self.info, &name, NoKeyTables::UniqueKey).await;
        let table = table.unwrap_or_else(|error| panic!("{sql}: {error}"));
        self.steps.push(Step { sql: sql.to_owned(), at, tables: table.into_iter().collect() });
        Ok(())
    }

    /// The statements of the log from the start on.
    async fn statements(&mut self) -> Vec<Statement> {
        let Some(end) = self.steps.last().map(|step| step.at.clone()) else { return Vec::new() };
        let connect = crate::binlog_reader::connect_to(self.server.port());
        let filter = self.filter.clone();
        let (sender, receiver) = ring(64, &Budget::new(1 << 24));
        let cancel = CancellationToken::new();
        let noticed = self.filter.clone();
        let options = ReaderOptions {
            connect,
            flavor: self.info.flavor,
            start: self.start.clone(),
            by_gtid: false,
            server_id: 60_000 + self.conn.id(),
            replica_host: "history-test".into(),
            wanted: Arc::new(move |name| filter.matches(name)),
            noticed: Arc::new(move |name| name.table.is_empty() && noticed.matches_database(&name.database)),
            patience: Default::default(),
            heard: Default::default(),
        };
        let thread = binlog::spawn(options, sender, cancel.clone()).unwrap();
        let statements = tokio::task::spawn_blocking(move || {
            let mut statements = Vec::new();
            loop {
                let slot = receiver
                    .recv_deadline(Instant::now() + Duration::from_secs(60))
                    .unwrap()
                    .expect("the log's end")
                    .item;
                let place = match slot {
                    Slot::Statement(statement) => {
                        let place = statement.place.clone();
                        statements.push(*statement);
                        place
                    }
                    Slot::Commit(place) | Slot::Passed(place, _) => place,
                    _ => continue,
                };
                if (&*place.file, place.offset) >= (end.file.as_str(), end.offset) {
                    return statements;
                }
            }
        });
        let statements = statements.await.unwrap();
        cancel.cancel();
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        statements
    }

    /// Compares after each step. Returns what differs, and what was refused.
    async fn compare(mut self) -> (Vec<String>, Vec<String>) {
        let statements = self.statements().await;
        let surroundings = Surroundings::new(&self.info, self.filter.clone(), NoKeyTables::UniqueKey);
        let databases = catalog::databases(&mut self.conn).await.unwrap();
        let fresh = |tables: Vec<Table>| {
            let databases = databases.clone().into_iter();
            History::new(tables.into_iter().map(Arc::new)).with(surroundings.clone()).with_databases(databases)
        };
        let mut history = fresh(Vec::new());
        let (mut differences, mut refused) = (Vec::new(), Vec::new());
        let mut statements = statements.into_iter().peekable();
        for step in self.steps {
            // The place of a statement inside a transaction is where that begins.
            let ours = |statement: &Statement| {
                let (place, end) =
                    ((&*statement.place.file, statement.place.offset), (step.at.file.as_str(), step.at.offset));
                if statement.inside { place < end } else { place <= end }
            };
            let mut failed = None;
            while let Some(statement) = statements.next_if(ours) {
                let relevant = statement.database.starts_with(&self.database) || statement.sql.contains(&self.database);
                if relevant && let Err(error) = history.read(&statement) {
                    failed = Some(error.to_string());
                }
            }
            if let Some(failed) = failed {
                refused.push(format!("{}\n    {failed}", step.sql));
                history = fresh(step.tables);
                continue;
            }
            let now: BTreeMap<TableName, Table> =
                history.tables().map(|table| (table.name.clone(), plain(table))).collect();
            let catalogue: BTreeMap<TableName, Table> =
                step.tables.iter().map(|table| (table.name.clone(), plain(table))).collect();
            if now != catalogue {
                let changed = catalogue.iter().filter(|(name, table)| now.get(*name) != Some(*table));
                let details: Vec<String> = changed
                    .map(|(name, table)| match now.get(name) {
                        Some(read) => difference(read, table),
                        None => format!("{name} is not known"),
                    })
                    .collect();
                let extra: Vec<&TableName> = now.keys().filter(|name| !catalogue.contains_key(*name)).collect();
                differences.push(format!("{}\n    {}\n    too much: {extra:?}", step.sql, details.join("\n    ")));
                history = fresh(step.tables);
            }
        }
        (differences, refused)
    }
}

/// Without what the two cannot tell alike: an expression's words, and what is not followed: a foreign key's own index.
fn plain(table: &Table) -> Table {
    let mut table = table.clone();
    for column in &mut table.columns {
        if let Some(DefaultValue::Expression(text)) = &mut column.default {
            text.clear();
        }
    }
    table.indexes.retain(|index| index.name != "fk");
    table
}

fn difference(read: &Table, catalogue: &Table) -> String {
    let mut found = Vec::new();
    let columns = read.columns.iter().zip(&catalogue.columns).filter(|(read, catalogue)| read != catalogue);
    found.extend(columns.map(|(read, catalogue)| format!("{read:?}\n      is {catalogue:?}")));
    if read.columns.len() != catalogue.columns.len() || found.is_empty() {
        let bare = |table: &Table| {
            let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
            format!(
                "{names:?} {:?} {} {:?} {:?} {:?}",
                table.key, table.primary, table.comment, table.charset, table.indexes
            )
        };
        found.push(format!("{}\n      is {}", bare(read), bare(catalogue)));
    }
    found.join("\n    ")
}

/// The clauses of the manuals' CREATE TABLE and ALTER TABLE, on tables as the statements before have left them.
const COMMON: &[&str] = &[
    "CREATE TABLE t (id INT NOT NULL AUTO_INCREMENT, PRIMARY KEY (id))",
    "ALTER TABLE t ADD a INT",
    "ALTER TABLE t ADD COLUMN b VARCHAR(20) NOT NULL DEFAULT 'x' COMMENT 'it''s b' AFTER id",
    "ALTER TABLE t ADD COLUMN (c CHAR(3) CHARACTER SET latin1, d DECIMAL(10,2) UNSIGNED DEFAULT 1.005)",
    "ALTER TABLE t ADD e ENUM('a','b ','c''d') DEFAULT 'a' FIRST, ADD f SET('x','y') NOT NULL DEFAULT 'y,x'",
    "ALTER TABLE t MODIFY a BIGINT UNSIGNED NOT NULL DEFAULT 007 AFTER d",
    "ALTER TABLE t CHANGE a a2 INT FIRST, CHANGE b a VARCHAR(30) AFTER a2",
    "ALTER TABLE t RENAME COLUMN a TO a2, RENAME COLUMN a2 TO a",
    "ALTER TABLE t RENAME COLUMN A TO B, DROP COLUMN D",
    "ALTER TABLE t ADD g INT AFTER B, ADD h INT AFTER g, ADD i INT AFTER g, ADD j INT FIRST",
    "ALTER TABLE t DROP g, ADD g TINYINT, MODIFY h SMALLINT AFTER i, DROP j",
    "ALTER TABLE t ALTER g SET DEFAULT 5, ALTER COLUMN h SET DEFAULT -3",
    "ALTER TABLE t ALTER g DROP DEFAULT, COMMENT = 'table''s \\'comment\\''",
    "ALTER TABLE t ADD n1 NCHAR(3), ADD n2 NATIONAL VARCHAR(5), ADD n3 NVARCHAR(6), ADD n4 CHAR VARYING(7), ADD n5 CHARACTER(2)",
    "ALTER TABLE t ADD l1 LONG, ADD l2 LONG VARCHAR, ADD l3 LONG VARBINARY, ADD l4 TEXT(10), ADD l5 TEXT(100), ADD l6 TEXT(20000)",
    "ALTER TABLE t ADD l7 TEXT(5000000), ADD l8 BLOB(10), ADD l9 BLOB(300), ADD l10 BLOB(70000), ADD l11 TINYTEXT, ADD l12 MEDIUMBLOB",
    "ALTER TABLE t ADD x1 TEXT CHARACTER SET latin1, ADD x2 TINYTEXT CHARACTER SET latin1, ADD x3 LONGTEXT CHARACTER SET utf8mb3",
    "ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4",
    "ALTER TABLE t CONVERT TO CHARACTER SET latin1 COLLATE latin1_bin",
    "ALTER TABLE t DEFAULT CHARACTER SET = gbk, ADD y1 CHAR(4), ADD y2 CHAR(4) COLLATE utf8mb4_bin",
    "ALTER TABLE t MODIFY y2 CHAR(4)",
    "ALTER TABLE t CHARSET utf8, ADD y3 VARCHAR(9) BINARY, ADD y4 CHAR(2) ASCII, ADD y5 CHAR(2) UNICODE, ADD y6 CHAR(2) BYTE",
    "ALTER TABLE t ADD y7 VARCHAR(9) CHARACTER SET binary, ADD y8 TEXT CHARACTER SET binary, ADD y9 CHAR",
    "ALTER TABLE t DROP x1, DROP x2, DROP x3, DROP l1, DROP l2, DROP l3, DROP l4, DROP l5, DROP l6, DROP l7, DROP l8, DROP l9, DROP l10",
    "ALTER TABLE t ADD m1 BOOL DEFAULT TRUE, ADD m2 BOOLEAN NOT NULL DEFAULT FALSE, ADD m3 INT1, ADD m4 INT2, ADD m5 MIDDLEINT, ADD m6 INT4, ADD m7 INT8",
    "ALTER TABLE t ADD o1 FLOAT(7,3), ADD o2 FLOAT(30), ADD o3 REAL, ADD o4 DOUBLE PRECISION DEFAULT 1.50, ADD o5 FLOAT4, ADD o6 FLOAT8, ADD o7 DEC, ADD o8 NUMERIC(5), ADD o9 FIXED(6,2) DEFAULT 3",
    "ALTER TABLE t ADD p1 BIT, ADD p2 BIT(10) DEFAULT b'101', ADD p3 BIT(3) DEFAULT 5, ADD p4 YEAR DEFAULT 2024, ADD p5 DATE DEFAULT '2024-01-02', ADD p6 TIME(3) DEFAULT '10:20:30'",
    "ALTER TABLE t ADD q1 DATETIME(3) DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3), ADD q2 TIMESTAMP NULL DEFAULT NOW(), ADD q3 DATETIME DEFAULT '2024-01-02 03:04:05'",
    "ALTER TABLE t ADD q4 TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, ADD q5 TIMESTAMP, ADD q6 DATETIME(2) DEFAULT '2024-01-02'",
    "ALTER TABLE t ADD r1 BINARY, ADD r2 BINARY(5), ADD r3 VARBINARY(200), ADD r4 JSON, ADD r5 POINT, ADD r6 GEOMETRYCOLLECTION",
    "ALTER TABLE t ADD s1 INT GENERATED ALWAYS AS (g + 1) VIRTUAL COMMENT 'v', ADD s2 INT AS (g + 2) STORED, ADD s3 VARCHAR(9) AS (concat(g, 'x')) STORED",
    "ALTER TABLE t ADD `select` INT, ADD `we``ird, name` INT, ADD größe INT, ADD 1st INT, ADD `período` INT",
    "ALTER TABLE t DROP `select`, CHANGE GRÖSSE gross INT",
    "ALTER TABLE t CHANGE größe gross INT, DROP COLUMN `PERÍODO`",
    "ALTER TABLE t MODIFY id BIGINT",
    "ALTER TABLE t MODIFY id BIGINT AUTO_INCREMENT FIRST, DROP PRIMARY KEY, ADD PRIMARY KEY (id, g)",
    "ALTER TABLE t MODIFY id BIGINT, DROP PRIMARY KEY, ADD CONSTRAINT pk PRIMARY KEY USING BTREE (gross, id)",
    "ALTER TABLE t ADD UNIQUE (h), ADD UNIQUE KEY (h, i), ADD INDEX h_2x (h), ADD KEY (h), ADD UNIQUE INDEX named (i DESC)",
    "ALTER TABLE t DROP INDEX h_2, DROP KEY named, RENAME INDEX h TO hh",
    "ALTER TABLE t DROP COLUMN i",
    "ALTER TABLE t ENGINE=InnoDB ROW_FORMAT=DYNAMIC, FORCE",
    "ALTER TABLE t ADD CONSTRAINT c1 CHECK (h > 0), ADD FULLTEXT ft (y1)",
    "ALTER TABLE t DROP CONSTRAINT c1, DROP INDEX ft",
    "ALTER TABLE t DROP PRIMARY KEY, MODIFY h SMALLINT NOT NULL, ADD UNIQUE u1 (h)",
    "ALTER TABLE t ADD z1 INT NOT NULL UNIQUE FIRST",
    "ALTER TABLE t DROP INDEX u1",
    "ALTER TABLE t ADD z2 INT PRIMARY KEY",
    "ALTER TABLE t ADD z3 SERIAL",
    "ALTER TABLE t DROP z3, ADD z4 BIGINT SERIAL DEFAULT VALUE",
    "CREATE TABLE l LIKE t",
    "CREATE TABLE IF NOT EXISTS l (id INT PRIMARY KEY)",
    "CREATE TABLE k (a INT NOT NULL, b INT NOT NULL, c INT, UNIQUE (c), UNIQUE k2 (b, a), UNIQUE (b))",
    "ALTER TABLE k DROP INDEX b",
    "ALTER TABLE k MODIFY c INT NOT NULL",
    "ALTER TABLE k ADD PRIMARY KEY (c, b)",
    "CREATE TABLE q1 (id INT PRIMARY KEY, v VARCHAR(5)) AS SELECT 1 AS id, 'a' AS v, 2.5 AS w",
    "CREATE TABLE q2 (PRIMARY KEY (id)) SELECT id, v, w FROM q1",
    "CREATE TABLE p (id INT, d DATE, PRIMARY KEY (id, d)) DEFAULT CHARSET=utf8mb3 COMMENT 'p' PARTITION BY RANGE (YEAR(d)) (PARTITION p0 VALUES LESS THAN (2020), PARTITION p1 VALUES LESS THAN MAXVALUE)",
    "ALTER TABLE p ADD v VARCHAR(3), REMOVE PARTITIONING",
    "CREATE TABLE f (id INT PRIMARY KEY, l_id INT, s TEXT, CONSTRAINT fk FOREIGN KEY (l_id) REFERENCES q1 (id) ON DELETE CASCADE)",
    "ALTER TABLE f DROP FOREIGN KEY fk, DROP INDEX fk, DROP l_id",
    "ALTER TABLE f RENAME TO f2, ADD x INT",
    "RENAME TABLE f2 TO f3, q2 TO f2, f3 TO q2",
    "CREATE TABLE cs (id INT PRIMARY KEY, v VARCHAR(40000)) CHARSET latin1",
    "ALTER TABLE cs COLLATE utf8mb4_bin, ADD w VARCHAR(9)",
    "/*!50000 ALTER TABLE cs ADD c1 INT /* inner */ */",
    "ALTER TABLE cs -- why\n ADD c2 INT # because",
    "SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,REAL_AS_FLOAT'",
    "ALTER TABLE \"cs\" ADD \"c 3\" REAL COMMENT 'a\\', ADD c4 ENUM('\\','b')",
    "SET sql_mode = ''",
    "ALTER TABLE cs ADD c5 VARCHAR(60000) CHARACTER SET utf8mb4, ADD c6 VARBINARY(70000)",
    "ALTER TABLE cs ADD c8 ENUM('é', 'ß') DEFAULT 'é' COMMENT 'é'",
    "SET NAMES latin1",
    "ALTER TABLE cs ADD c7 ENUM('\u{e9}') CHARACTER SET utf8mb4",
    "SET NAMES utf8mb4",
    "CREATE TABLE ts (id INT PRIMARY KEY, a TIMESTAMP, b TIMESTAMP NOT NULL DEFAULT '2024-01-01 00:00:00', c TIMESTAMP NULL)",
    "CREATE TABLE n (id INT PRIMARY KEY, k INT NOT NULL UNIQUE, a INT, b VARCHAR(20), c DATE, d INT, e INT)",
    // Columns that are moved are where they were until their own clause comes, under their new names.
    "ALTER TABLE n MODIFY c DATE AFTER e, MODIFY e INT FIRST",
    "ALTER TABLE n MODIFY b TEXT AFTER d, MODIFY d BIGINT AFTER c",
    "ALTER TABLE n ADD f INT AFTER g, CHANGE d g INT",
    "ALTER TABLE n ADD d INT AFTER h, CHANGE g h INT FIRST, RENAME COLUMN f TO g",
    "ALTER TABLE n RENAME COLUMN a TO a2, ADD a INT AFTER a2",
    "ALTER TABLE n ADD UNIQUE u (a, c), ADD KEY v (h)",
    "ALTER TABLE n RENAME INDEX u TO v, RENAME INDEX v TO u, DROP a, ADD a INT NOT NULL FIRST",
    "ALTER TABLE n ADD CONSTRAINT u2 UNIQUE (g), DROP CONSTRAINT v",
    "ALTER TABLE n ADD l1 VARCHAR(200), ADD l2 INT, ADD l3 LONGTEXT, ADD l4 TINYTEXT, ADD l5 VARBINARY(300)",
    "ALTER TABLE n CONVERT TO CHARACTER SET gbk, CHANGE l2 m2 TEXT, MODIFY l1 MEDIUMTEXT, MODIFY l3 TEXT, MODIFY l4 TEXT(200), MODIFY l5 BLOB",
    "DROP TABLE IF EXISTS q1, nothing_here",
    "TRUNCATE TABLE ts",
    // What is left of the manuals' clauses: column and key options, table options, and each way to treat partitions.
    "CREATE TABLE parent (id INT PRIMARY KEY)",
    "CREATE TABLE g (id INT AUTO_INCREMENT KEY COMMENT 'k', a INT CHECK (a < 9), b INT REFERENCES parent (id), c VARCHAR(9) NOT NULL \
     UNIQUE COMMENT 'c', d INT NULL DEFAULT NULL, CHECK (a < b), CONSTRAINT named CHECK (b > 1), CONSTRAINT positive CHECK (a > 0), \
     KEY (a) USING BTREE, INDEX i USING BTREE (b, c(3) ASC) KEY_BLOCK_SIZE = 8 COMMENT 'i', FULLTEXT INDEX (c) COMMENT 'f') \
     ENGINE=InnoDB AVG_ROW_LENGTH=10 CHECKSUM=0 DELAY_KEY_WRITE=0 MAX_ROWS=1000 MIN_ROWS 1 PACK_KEYS=DEFAULT STATS_AUTO_RECALC=1 \
     STATS_PERSISTENT=0 STATS_SAMPLE_PAGES=9 DEFAULT CHARACTER SET = utf8mb3 COLLATE utf8mb3_bin",
    "ALTER TABLE g ADD CONSTRAINT UNIQUE KEY uk USING BTREE (a, b) COMMENT 'u', ADD CONSTRAINT more CHECK (b <> 3)",
    "ALTER TABLE g ADD SPATIAL INDEX sp (pt), ADD pt POINT NOT NULL",
    "ALTER TABLE g ADD COLUMN (e DECIMAL(5,1) ZEROFILL, f DOUBLE(8,3), CONSTRAINT ef CHECK (e < f), UNIQUE e_u (e))",
    "ALTER TABLE g DROP INDEX e_u, DROP CONSTRAINT ef, ALGORITHM=COPY, LOCK=SHARED",
    "ALTER TABLE g ORDER BY a",
    "ALTER TABLE g ENABLE KEYS",
    "ALTER TABLE g CHANGE COLUMN a a INT NULL FIRST, CHANGE d dd INT DEFAULT 4 AFTER b, MODIFY COLUMN c VARCHAR(12) NOT NULL AFTER dd",
    "ALTER TABLE g DROP PRIMARY KEY, DROP id, ADD COLUMN id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY FIRST",
    "CREATE TABLE pp (id INT, k INT, PRIMARY KEY (id)) PARTITION BY LINEAR KEY ALGORITHM=2 (id) PARTITIONS 4",
    "ALTER TABLE pp ADD PARTITION PARTITIONS 2",
    "ALTER TABLE pp COALESCE PARTITION 3",
    "ALTER TABLE pp REBUILD PARTITION ALL",
    "ALTER TABLE pp OPTIMIZE PARTITION p0, p1",
    "ALTER TABLE pp ANALYZE PARTITION ALL",
    "ALTER TABLE pp CHECK PARTITION p0",
    "ALTER TABLE pp REPAIR PARTITION p0",
    "ALTER TABLE pp ADD v INT PARTITION BY RANGE COLUMNS (id) SUBPARTITION BY HASH (id) SUBPARTITIONS 2 \
     (PARTITION a VALUES LESS THAN (10) COMMENT 'low' ENGINE = InnoDB, PARTITION b VALUES LESS THAN (MAXVALUE))",
    "ALTER TABLE pp REORGANIZE PARTITION b INTO (PARTITION b VALUES LESS THAN (20), PARTITION c VALUES LESS THAN (MAXVALUE))",
    "ALTER TABLE pp PARTITION BY LIST (id) (PARTITION l1 VALUES IN (1, 2, 3), PARTITION l2 VALUES IN (4, 5))",
    "ALTER TABLE pp ADD PARTITION (PARTITION l3 VALUES IN (6))",
    "ALTER TABLE pp DROP PARTITION l1, l2",
    "ALTER TABLE pp TRUNCATE PARTITION ALL",
    "CREATE TABLE px LIKE pp",
    "ALTER TABLE px REMOVE PARTITIONING",
    "ALTER TABLE pp EXCHANGE PARTITION l3 WITH TABLE px",
    "ALTER TABLE pp REMOVE PARTITIONING",
    "ALTER TABLE px DISCARD TABLESPACE",
    "DROP TABLE px",
];

/// MariaDB's log does not tell `explicit_defaults_for_timestamp`: the server's is taken.
const MYSQL: &[&str] = &[
    "SET explicit_defaults_for_timestamp = 0",
    "CREATE TABLE ts2 (id INT PRIMARY KEY, a TIMESTAMP, b TIMESTAMP, c TIMESTAMP NULL, d TIMESTAMP DEFAULT '2024-01-01 00:00:00', e TIMESTAMP NULL DEFAULT NULL)",
    "ALTER TABLE ts2 ADD f TIMESTAMP AFTER id, ADD g TIMESTAMP",
    "SET explicit_defaults_for_timestamp = 1",
    "ALTER TABLE ts2 ADD h TIMESTAMP, MODIFY b TIMESTAMP",
    "CREATE TABLE ts3 (id INT PRIMARY KEY, a TIMESTAMP NOT NULL)",
    "SET explicit_defaults_for_timestamp = 0",
    "ALTER TABLE ts3 ADD b TIMESTAMP",
    "ALTER TABLE ts3 ADD c TIMESTAMP FIRST, MODIFY b TIMESTAMP AFTER c",
    "SET explicit_defaults_for_timestamp = 1",
    "ALTER TABLE t ADD inv INT INVISIBLE, ADD vec VECTOR(3), ADD pt POINT SRID 4326, ADD INDEX fi ((h + 1)), ADD UNIQUE ((h + 2))",
    "ALTER TABLE t ALTER inv SET VISIBLE, ALTER COLUMN h SET DEFAULT (1 + 2), ALTER INDEX fi INVISIBLE, ADD ex TEXT DEFAULT ('abc')",
    "ALTER TABLE t DROP INDEX functional_index",
    "SET sql_generate_invisible_primary_key = ON",
    "CREATE TABLE gipk (a INT, b TEXT)",
    "ALTER TABLE gipk ADD c INT",
    "ALTER TABLE gipk ADD d INT FIRST, MODIFY c INT FIRST",
    "ALTER TABLE gipk ALTER COLUMN my_row_id SET VISIBLE",
    "SET sql_generate_invisible_primary_key = OFF",
    "ALTER TABLE g ADD vec VECTOR, ADD dflt JSON DEFAULT (JSON_OBJECT('a', 1)), ADD u BINARY(16) DEFAULT (UNHEX('00112233445566778899aabbccddeeff'))",
    "ALTER TABLE g ALTER CHECK named NOT ENFORCED, ALTER CONSTRAINT more NOT ENFORCED, DROP CHECK positive",
    "ALTER TABLE g ADD h INT VISIBLE COLUMN_FORMAT DYNAMIC STORAGE MEMORY, ADD gp GEOMETRY SRID 0 NOT NULL, ADD i2 INT AS (b + 1) VIRTUAL INVISIBLE",
    "ALTER TABLE g AUTOEXTEND_SIZE = 4M, COMPRESSION = 'NONE'",
    "ALTER TABLE g ADD UNIQUE fu ((a + 1), (LOWER(c)) DESC)",
    "ALTER TABLE g ALTER INDEX fu INVISIBLE",
    "ALTER TABLE g RENAME INDEX fu TO fv",
    "ALTER TABLE g DROP INDEX fv, ALGORITHM DEFAULT",
    "ALTER TABLE parent ADD inst INT DEFAULT 3, ALGORITHM=INSTANT",
    "ALTER TABLE g WITHOUT VALIDATION, ADD late INT AS (b * 2) STORED",
    "CREATE TABLE px (id INT PRIMARY KEY)",
    "CREATE TABLE py (id INT PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 2",
    "ALTER TABLE py EXCHANGE PARTITION p0 WITH TABLE px WITH VALIDATION",
    "ALTER TABLE py DISCARD PARTITION p0, p1 TABLESPACE",
    "DROP TABLE py",
    "CREATE TABLE ext (id INT PRIMARY KEY, v INT NOT SECONDARY) ENCRYPTION='N' TABLESPACE innodb_file_per_table",
];

const MARIADB: &[&str] = &[
    "ALTER TABLE t ADD COLUMN IF NOT EXISTS h INT, ADD IF NOT EXISTS new1 INT, DROP COLUMN IF EXISTS nothing, MODIFY IF EXISTS nothing INT",
    "ALTER TABLE t CHANGE COLUMN IF EXISTS new1 new2 BIGINT, CHANGE IF EXISTS nothing n INT, ADD INDEX IF NOT EXISTS hh (h)",
    "ALTER TABLE IF EXISTS t NOWAIT ADD ip INET6, ADD id2 UUID DEFAULT uuid(), ADD i4 INET4, ADD inv INT INVISIBLE DEFAULT 3",
    "ALTER TABLE n ADD x INT AFTER a, CHANGE x y BIGINT AFTER c",
    "ALTER TABLE n ADD x INT AFTER a, CHANGE x x BIGINT AFTER c, ALTER x SET DEFAULT 7",
    "ALTER TABLE n DROP x, ADD x INT FIRST, MODIFY x TEXT, ALTER x SET DEFAULT NULL",
    "ALTER TABLE n ALTER x SET DEFAULT 'q', ADD z INT DEFAULT 3, ALTER z DROP DEFAULT, ALTER IF EXISTS nothing SET DEFAULT 1",
    "ALTER TABLE n ADD IF NOT EXISTS z INT UNIQUE, ADD IF NOT EXISTS y1 INT, ADD IF NOT EXISTS y1 BIGINT UNIQUE",
    "ALTER TABLE n DROP z, ADD COLUMN IF NOT EXISTS z TEXT, RENAME COLUMN IF EXISTS nothing TO something",
    "ALTER TABLE n ADD UNIQUE IF NOT EXISTS u2 (a), ADD KEY IF NOT EXISTS u3 (a), ADD KEY IF NOT EXISTS u3 (c)",
    "ALTER TABLE n ADD PRIMARY KEY IF NOT EXISTS (a), DROP CONSTRAINT IF EXISTS u2, DROP INDEX IF EXISTS u3",
    "CREATE OR REPLACE INDEX u2 ON n (h)",
    "CREATE UNIQUE INDEX IF NOT EXISTS u2 ON n (a)",
    "CREATE TABLE both_keys (id INT PRIMARY KEY UNIQUE, a INT UNIQUE KEY)",
    "CREATE OR REPLACE TABLE r (id INT PRIMARY KEY, v TEXT DEFAULT 'abc') ROW_FORMAT=DYNAMIC",
    "CREATE OR REPLACE TABLE r (id INT PRIMARY KEY, w TEXT, j JSON)",
    "ALTER TABLE r ADD p INT AS (id + 1) PERSISTENT, CONVERT TO CHARACTER SET latin1",
    "RENAME TABLE IF EXISTS r TO r2, nothing TO nothing2",
    "ALTER TABLE r2 COLLATE uca1400_ai_ci",
    "DROP TABLE r2 WAIT 5",
    "CREATE SEQUENCE sq",
    "ALTER TABLE g ADD nv BIGINT DEFAULT NEXT VALUE FOR sq, ADD nw BIGINT DEFAULT NEXTVAL(sq) NOT NULL AFTER nv",
    "ALTER TABLE g ALTER INDEX i IGNORED, ALTER KEY IF EXISTS nothing NOT IGNORED, DROP CONSTRAINT IF EXISTS nothing",
    "ALTER IGNORE TABLE g ADD UNIQUE ig (b), ALGORITHM=COPY",
    "ALTER ONLINE TABLE parent ADD on1 INT, ALGORITHM=INSTANT, LOCK=NONE",
    "ALTER TABLE g RENAME INDEX IF EXISTS ig TO ih, DROP COLUMN IF EXISTS nothing RESTRICT, ADD CONSTRAINT IF NOT EXISTS ck CHECK (a < 5)",
    "ALTER TABLE g ADD FOREIGN KEY IF NOT EXISTS fk (b) REFERENCES k (b), DROP FOREIGN KEY IF EXISTS nothing",
    "CREATE TABLE cp (id INT PRIMARY KEY, a INT) PARTITION BY RANGE (id) (PARTITION c0 VALUES LESS THAN (10), PARTITION c1 VALUES LESS THAN (20))",
    "ALTER TABLE cp CONVERT PARTITION c1 TO TABLE cq",
    "ALTER TABLE cq ADD b INT",
    "ALTER TABLE cq DROP b",
    "ALTER TABLE cp CONVERT TABLE cq TO PARTITION c1 VALUES LESS THAN (20)",
    "ALTER TABLE cp DROP PARTITION IF EXISTS nothing",
];

/// What the log does not tell enough of: it is refused, and never read wrongly.
fn may_be_refused(sql: &str) -> bool {
    sql.contains("uca1400")
}

async fn grammar(server: &'static Shared, more: &[&str]) {
    let log = Log::begin(server).await;
    let database = log.database.clone();
    let databases = [
        format!("CREATE DATABASE {database}_x CHARACTER SET greek"),
        format!("CREATE TABLE {database}_x.t (id INT PRIMARY KEY, v VARCHAR(10))"),
        format!("ALTER DATABASE {database}_x COLLATE utf8mb4_bin"),
        format!("ALTER TABLE {database}_x.t ADD w VARCHAR(5), CONVERT TO CHARACTER SET DEFAULT"),
        format!("RENAME TABLE {database}_x.t TO moved, {database}.t TO {database}_x.t"),
        format!("DROP DATABASE {database}_x"),
    ];
    // One each stands for another name than the server compares it with, or a change that needs the one before.
    follow(log, COMMON.iter().chain(more).copied().chain(databases.iter().map(String::as_str)), 6).await;
}

/// The history comes to the catalogue's definitions behind each statement; the server may refuse so many of them.
async fn follow(mut log: Log, statements: impl Iterator<Item = &str>, most_invalid: usize) {
    let mut invalid = Vec::new();
    for sql in statements {
        if let Err(error) = log.run(sql).await {
            invalid.push(format!("{sql}: {error}"));
        }
    }
    let (differences, refused) = log.compare().await;
    let refused: Vec<&String> = refused.iter().filter(|refused| !may_be_refused(refused)).collect();
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
    assert!(refused.is_empty(), "{refused:#?}");
    assert!(invalid.len() <= most_invalid, "{} statements are no good:\n{}", invalid.len(), invalid.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_make_the_definitions_that_mysql_makes() {
    grammar(servers::mysql().await, MYSQL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_make_the_definitions_that_mariadb_makes() {
    grammar(servers::mariadb().await, MARIADB).await;
}
