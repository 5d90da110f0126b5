//! The embedded server's SQL port, driven by an ordinary MySQL client. `gNN` in a name is the rule's number in
//! the list of StarRocks rules that the server keeps.

mod ddl;
mod query;
mod session;

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, Row, Value};
use tempfile::TempDir;
use towpath::embedded::{Options, Server};
use towpath::target::Version;

struct Fixture {
    server: Server,
    conn: Conn,
    folder: TempDir,
}

const V35: Version = Version { major: 3, minor: 5, patch: 0 };

async fn connect(server: &Server, user: &str, password: &str) -> mysql_async::Result<Conn> {
    let options = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(server.mysql_addr.port())
        .user(Some(user))
        .pass(Some(password))
        .prefer_socket(false);
    Conn::new(options).await
}

async fn start_with(change: impl FnOnce(&mut Options)) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::new(folder.path());
    options.alter_delay = Duration::from_millis(50);
    change(&mut options);
    let server = Server::start(options).await.unwrap();
    let mut conn = connect(&server, "root", "").await.unwrap();
    conn.query_drop("CREATE DATABASE shop").await.unwrap();
    conn.query_drop("USE shop").await.unwrap();
    Fixture { server, conn, folder }
}

async fn start() -> Fixture {
    start_with(|_| {}).await
}

const PROPERTIES: &str = "DISTRIBUTED BY HASH(id) PROPERTIES('replication_num'='1')";

fn orders(evolution: bool) -> String {
    format!(
        "CREATE TABLE orders (id BIGINT NOT NULL COMMENT 'key', customer VARCHAR(40) NULL DEFAULT 'none', qty INT,
         price DECIMAL(12,2), big LARGEINT, flag BOOLEAN, weight DOUBLE, day DATE, at DATETIME, data JSON, raw VARBINARY(16))
         PRIMARY KEY(id) COMMENT 'orders' DISTRIBUTED BY HASH(id) BUCKETS 2
         PROPERTIES('replication_num'='1', 'fast_schema_evolution'='{evolution}')"
    )
}

impl Fixture {
    async fn run(&mut self, sql: &str) {
        self.conn.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The text of the error that `sql` gives.
    async fn refused(&mut self, sql: &str) -> String {
        refused(&mut self.conn, sql).await
    }

    async fn rows(&mut self, sql: &str) -> Vec<Vec<String>> {
        rows(&mut self.conn, sql).await
    }

    async fn one(&mut self, sql: &str) -> String {
        let rows = self.rows(sql).await;
        assert_eq!((rows.len(), rows[0].len()), (1, 1), "{sql}: {rows:?}");
        rows[0][0].clone()
    }

    async fn last_job(&mut self) -> Vec<String> {
        let sql = "SHOW ALTER TABLE COLUMN FROM shop WHERE TableName = 'orders' ORDER BY JobId DESC LIMIT 1";
        self.rows(sql).await.pop().unwrap_or_default()
    }

    /// Waits for the last job's end and gives its state.
    async fn job_end(&mut self) -> String {
        loop {
            let state = self.last_job().await[9].clone();
            if matches!(state.as_str(), "FINISHED" | "CANCELLED") {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn refused(conn: &mut Conn, sql: &str) -> String {
    match conn.query_drop(sql).await {
        Ok(()) => panic!("accepted: {sql}"),
        Err(error) => error.to_string(),
    }
}

async fn rows(conn: &mut Conn, sql: &str) -> Vec<Vec<String>> {
    let rows: Vec<Row> = conn.query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    rows.into_iter()
        .map(|row| {
            row.unwrap()
                .into_iter()
                .map(|value| match value {
                    Value::NULL => "NULL".to_owned(),
                    Value::Bytes(bytes) => String::from_utf8(bytes).unwrap(),
                    other => panic!("{other:?}"),
                })
                .collect()
        })
        .collect()
}
