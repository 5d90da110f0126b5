//! A statement that is in the log before the catalogue shows it: on a MySQL without GTIDs whose commits wait for a replica.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use towpath::config::NoKeyTables;
use towpath::demo::server::{Options, Product, ScratchServer};
use towpath::mysql::{catalog, connect, position};
use towpath::schema::TableName;

async fn until(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(120), async {
        while !reached().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never came to: {what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_is_that_of_its_place_also_while_a_statement_is_in_the_log_that_nobody_can_see() {
    let options = Options::new(Product::Mysql).argument("--gtid-mode=OFF").argument("--enforce-gtid-consistency=OFF");
    let server = ScratchServer::start(&options).await.unwrap();
    let mut conn = server.connect().await.unwrap();
    conn.query_drop(
        "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, a INT, b INT);
         INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so';
         SET GLOBAL rpl_semi_sync_source_timeout = 600000, GLOBAL rpl_semi_sync_source_enabled = ON",
    )
    .await
    .unwrap();
    let info = connect::server_info(&mut conn).await.unwrap();
    let before = position::current(&mut conn, info.flavor).await.unwrap();
    let mut altering = server.connect().await.unwrap();
    let alter = tokio::spawn(async move {
        altering.query_drop("ALTER TABLE d.t CHANGE a b INT, CHANGE b a INT").await.unwrap();
    });
    until("a statement in the log", async || position::current(&mut conn, info.flavor).await.unwrap() != before).await;
    let mut asking = server.connect().await.unwrap();
    let asked = tokio::spawn(async move {
        let info = connect::server_info(&mut asking).await.unwrap();
        catalog::table_at(&mut asking, &info, &TableName::new("d", "t"), NoKeyTables::UniqueKey).await.unwrap()
    });
    let waiting = "SELECT COUNT(*) FROM performance_schema.processlist WHERE STATE = 'Waiting for table metadata lock'";
    until("an answer, or a wait for the statement", async || {
        asked.is_finished() || conn.query_first::<u64, _>(waiting).await.unwrap() > Some(0)
    })
    .await;
    conn.query_drop("SET GLOBAL rpl_semi_sync_source_enabled = OFF").await.unwrap();
    alter.await.unwrap();
    let (table, at) = asked.await.unwrap();
    let table = table.unwrap();
    let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    assert!(at.reached(&before) && at != before);
    assert_eq!(names, ["id", "b", "a"], "the definition is older than its place");
}
