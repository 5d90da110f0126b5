//! Login, privileges, and what is still there after the server has gone.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use towpath::embedded::{Options, Server};

use super::{Fixture, connect, orders, refused, rows, start, start_with};

#[tokio::test]
async fn login_checks_the_password_and_tells_the_version() {
    let mut fixture = start_with(|_| {}).await;
    assert!(fixture.one("SELECT current_version()").await.starts_with("3.5.0 "));
    assert!(fixture.one("SELECT @@version_comment LIMIT 1").await.contains("StarRocks"));
    assert_eq!(fixture.one("/* client */ SELECT @@session.autocommit").await, "1");
    assert_eq!(fixture.conn.server_version(), (8, 0, 33));
    fixture.run("SET NAMES utf8mb4").await;
    fixture.run("CREATE USER 'app'@'%' IDENTIFIED BY 'secret'").await;
    assert!(connect(&fixture.server, "app", "secret").await.is_ok());
    for (user, password) in [("app", "wrong"), ("app", ""), ("nobody", "x"), ("root", "x")] {
        let error = connect(&fixture.server, user, password).await.err().unwrap().to_string();
        assert!(error.contains("1045") && error.contains("Access denied for user"), "{user}: {error}");
    }
}

#[tokio::test]
async fn privileges_are_checked_and_shown() {
    let mut fixture = start().await;
    fixture.run(&orders(true)).await;
    fixture.run("CREATE USER 'app' IDENTIFIED BY 'x'").await;
    let mut app = connect(&fixture.server, "app", "x").await.unwrap();
    app.query_drop("USE shop").await.unwrap();
    for (sql, privilege) in [
        ("SELECT * FROM orders", "SELECT privilege(s) on TABLE orders"),
        ("INSERT INTO orders (id) VALUES (1)", "INSERT privilege(s) on TABLE orders"),
        ("ALTER TABLE orders ADD COLUMN x INT", "ALTER privilege(s) on TABLE orders"),
        ("DROP TABLE orders", "DROP privilege(s) on TABLE orders"),
        (&orders(true).replace("orders (", "o2 ("), "CREATE TABLE privilege(s) on DATABASE shop"),
        ("CREATE DATABASE d2", "CREATE DATABASE privilege(s) on CATALOG"),
    ] {
        let error = refused(&mut app, sql).await;
        assert!(
            error.contains("Access denied; you need (at least one of) the ") && error.contains(privilege),
            "{error}"
        );
    }
    assert_eq!(rows(&mut app, "SELECT count(*) FROM information_schema.columns").await, [["0"]]);
    fixture.run("GRANT SELECT, INSERT ON ALL TABLES IN DATABASE shop TO USER 'app'@'%'").await;
    fixture.run("GRANT CREATE TABLE ON DATABASE shop TO 'app'").await;
    app.query_drop("INSERT INTO orders (id) VALUES (1)").await.unwrap();
    assert_eq!(rows(&mut app, "SELECT id FROM orders").await, [["1"]]);
    app.query_drop(orders(true).replace("TABLE orders", "TABLE o2")).await.unwrap();
    let grants: Vec<String> = rows(&mut app, "SHOW GRANTS").await.into_iter().map(|mut row| row.remove(2)).collect();
    assert!(grants.contains(&"GRANT INSERT ON ALL TABLES IN DATABASE shop TO USER 'app'@'%'".to_owned()), "{grants:?}");
    fixture.run("REVOKE SELECT ON ALL TABLES IN DATABASE shop FROM USER 'app'@'%'").await;
    refused(&mut app, "SELECT * FROM orders").await;
}

#[tokio::test]
async fn data_users_and_open_jobs_survive_a_restart() {
    let mut fixture = start_with(|options| options.alter_delay = Duration::from_secs(3600)).await;
    fixture.run(&orders(false)).await;
    fixture.run("INSERT INTO orders (id, price) VALUES (1, 12345678.90)").await;
    fixture.run("CREATE USER app IDENTIFIED BY 'x'").await;
    fixture.run("ALTER TABLE orders ADD COLUMN note INT DEFAULT '7'").await;
    drop(fixture.conn);
    fixture.server.stop().await;

    let mut options = Options::new(fixture.folder.path());
    options.alter_delay = Duration::from_millis(10);
    let server = Server::start(options).await.unwrap();
    let mut conn = connect(&server, "root", "").await.unwrap();
    conn.query_drop("USE shop").await.unwrap();
    let mut fixture = Fixture { server, conn, folder: fixture.folder };
    assert_eq!(fixture.job_end().await, "FINISHED");
    assert_eq!(fixture.rows("SELECT id, price, note FROM orders").await, [["1", "12345678.90", "7"]]);
    assert!(connect(&fixture.server, "app", "x").await.is_ok());
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let mut fixture = start().await;
    fixture.run(&orders(true)).await;
    fixture.run("INSERT INTO orders (id, price) VALUES (1, 0.10), (2, 0.20)").await;
    // The files as a kill would leave them: the log is not yet in the main file, nothing was closed.
    let copy = tempfile::tempdir().unwrap();
    for name in ["embedded.sqlite", "embedded.sqlite-wal"] {
        std::fs::copy(fixture.folder.path().join(name), copy.path().join(name)).unwrap();
    }
    let server = Server::start(Options::new(copy.path())).await.unwrap();
    let mut conn = connect(&server, "root", "").await.unwrap();
    assert_eq!(rows(&mut conn, "SELECT SUM(price), COUNT(*) FROM shop.orders").await, [["0.30", "2"]]);
}
