//! CREATE and ALTER: rules G32 to G41.

use std::time::Duration;

use towpath::embedded::fault::{Fault, Mode};
use towpath::target::Version;

use super::{Fixture, PROPERTIES, V35, orders, start, start_with};

#[tokio::test]
async fn g32_table_names_have_case_and_column_names_do_not() {
    let mut fixture = start().await;
    fixture.run(&format!("CREATE TABLE T (Id INT NOT NULL, Name VARCHAR(9)) PRIMARY KEY(id) {PROPERTIES}")).await;
    fixture.run("INSERT INTO T (ID, NAME) VALUES (1, 'a')").await;
    assert_eq!(fixture.one("SELECT name FROM T WHERE iD = 1").await, "a");
    assert!(fixture.refused("SELECT * FROM t").await.contains("Unknown table 'shop.t'"));
    assert!(fixture.refused("USE Shop").await.contains("Unknown database 'Shop'"));
    fixture.run(&format!("CREATE TABLE t (id INT NOT NULL) PRIMARY KEY(id) {PROPERTIES}")).await;
    let error =
        fixture.refused(&format!("CREATE TABLE u (id INT NOT NULL, ID INT) PRIMARY KEY(id) {PROPERTIES}")).await;
    assert!(error.contains("Duplicate column name 'ID'"), "{error}");
}

#[tokio::test]
async fn g33_create_table_enforces_key_rules_types_names_and_replication() {
    let mut fixture = start().await;
    for (columns, tail, text) in [
        ("a INT, id INT NOT NULL", "PRIMARY KEY(id)", "Key columns must be the first few columns"),
        ("id INT NULL", "PRIMARY KEY(id)", "cannot be nullable"),
        ("id DECIMAL(10,2) NOT NULL", "PRIMARY KEY(id)", "Invalid data type of primary key column"),
        ("id CHAR(10) NOT NULL", "PRIMARY KEY(id)", "Invalid data type of primary key column"),
        ("id DOUBLE NOT NULL", "PRIMARY KEY(id)", "Invalid data type of primary key column"),
        ("id INT NOT NULL, a CHAR(256)", "PRIMARY KEY(id)", "size must be <= 255"),
        ("id INT NOT NULL, a VARCHAR(1048577)", "PRIMARY KEY(id)", "size must be <= 1048576"),
        ("id INT NOT NULL, a DECIMAL(39,2)", "PRIMARY KEY(id)", "should range from 1 to 38"),
        ("id INT NOT NULL, __op INT", "PRIMARY KEY(id)", "system reserved name"),
        ("id INT NOT NULL, __row INT", "PRIMARY KEY(id)", "system reserved name"),
        ("id INT NOT NULL, `a=b` INT", "PRIMARY KEY(id)", "Incorrect column name"),
        ("id INT NOT NULL", "PRIMARY KEY(nope)", "doesn't exist"),
    ] {
        let error = fixture.refused(&format!("CREATE TABLE x ({columns}) {tail} {PROPERTIES}")).await;
        assert!(error.contains(text), "{columns}: {error}");
    }
    let bucket = "CREATE TABLE x (id INT NOT NULL, a INT) PRIMARY KEY(id) DISTRIBUTED BY HASH(a) PROPERTIES('replication_num'='1')";
    assert!(fixture.refused(bucket).await.contains("is not key column"));
    for properties in ["PROPERTIES('replication_num'='2')", ""] {
        let sql = format!("CREATE TABLE x (id INT NOT NULL) PRIMARY KEY(id) DISTRIBUTED BY HASH(id) {properties}");
        let error = fixture.refused(&sql).await;
        assert!(
            error.contains("replication num should be less than or equal to the number of available BE"),
            "{error}"
        );
    }
    let without = "CREATE TABLE x (id INT NOT NULL) PRIMARY KEY(id) PROPERTIES('replication_num'='1')";
    fixture.refused(without).await;
    fixture.run(&orders(true)).await;
    assert!(fixture.refused(&orders(true)).await.contains("Table 'orders' already exists"));
    fixture.run(&orders(true).replace("TABLE orders", "TABLE IF NOT EXISTS orders")).await;
}

#[tokio::test]
async fn g34_types_that_starrocks_lacks_are_refused() {
    let mut fixture = start().await;
    for ty in [
        "INT UNSIGNED",
        "MEDIUMINT",
        "BLOB",
        "LONGTEXT",
        "ENUM('a')",
        "SET('a')",
        "DATETIME(6)",
        "BIT(1)",
        "YEAR",
        "TIMESTAMP",
        "GEOMETRY",
        "BIGINT(20) ZEROFILL",
    ] {
        let error =
            fixture.refused(&format!("CREATE TABLE x (id INT NOT NULL, a {ty}) PRIMARY KEY(id) {PROPERTIES}")).await;
        assert!(error.contains("Getting syntax error"), "{ty}: {error}");
    }
    let default = format!("CREATE TABLE x (id INT NOT NULL, a INT DEFAULT 0) PRIMARY KEY(id) {PROPERTIES}");
    assert!(fixture.refused(&default).await.contains("syntax error"));
    let bad = format!("CREATE TABLE x (id INT NOT NULL, a DATE DEFAULT '0000-00-00') PRIMARY KEY(id) {PROPERTIES}");
    assert!(fixture.refused(&bad).await.contains("Invalid default value for 'a'"));
}

#[tokio::test]
async fn g35_one_schema_change_at_a_time_and_fast_only_with_fast_schema_evolution() {
    let mut fixture = start_with(|options| options.alter_delay = Duration::from_secs(3600)).await;
    fixture.run(&orders(true)).await;
    fixture.run("ALTER TABLE orders ADD COLUMN note VARCHAR(10) DEFAULT 'x'").await;
    assert_eq!(fixture.last_job().await[9], "FINISHED");
    fixture.run("ALTER TABLE orders DROP COLUMN note").await;

    fixture.run("DROP TABLE orders FORCE").await;
    fixture.run(&orders(false)).await;
    fixture.run("ALTER TABLE orders ADD COLUMN note VARCHAR(10)").await;
    let state = fixture.last_job().await[9].clone();
    assert!(["PENDING", "WAITING_TXN", "RUNNING"].contains(&state.as_str()), "{state}");
    for sql in [
        "ALTER TABLE orders ADD COLUMN other INT",
        "ALTER TABLE orders RENAME o2",
        "ALTER TABLE orders DROP COLUMN qty",
        "ALTER TABLE orders COMMENT = 'x'",
    ] {
        let error = fixture.refused(sql).await;
        let text = "A schema change operation is in progress on the table \"orders\". Please wait until the current operation completes.";
        assert!(error.contains(text), "{sql}: {error}");
    }
    fixture.run("CANCEL ALTER TABLE COLUMN FROM orders").await;
    let job = fixture.last_job().await;
    assert_eq!((job[9].as_str(), job[10].as_str()), ("CANCELLED", "user cancelled"));
    assert!(fixture.refused("CANCEL ALTER TABLE COLUMN FROM orders").await.contains("is not under SCHEMA_CHANGE"));
}

/// A call of the load transaction interface on the BE port; gives the answer's text.
async fn transaction(fixture: &Fixture, operation: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut socket = tokio::net::TcpStream::connect(fixture.server.be_addr).await.unwrap();
    let request = format!(
        "POST /api/transaction/{operation} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic cm9vdDo=\r\ndb: shop\r\n\
         table: orders\r\nlabel: l1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("\"OK\""), "{answer}");
    answer
}

#[tokio::test]
async fn g36_the_job_waits_for_older_load_transactions_of_the_database() {
    let mut fixture = start_with(|options| options.alter_delay = Duration::ZERO).await;
    fixture.run(&orders(false)).await;
    transaction(&fixture, "begin").await;
    fixture.run("ALTER TABLE orders ADD COLUMN note INT").await;
    while fixture.last_job().await[9] == "PENDING" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(fixture.last_job().await[9], "WAITING_TXN");
    transaction(&fixture, "rollback").await;
    assert_eq!(fixture.job_end().await, "FINISHED");
}

#[tokio::test]
async fn g37_the_new_column_is_unknown_until_the_job_has_finished() {
    let mut fixture = start().await;
    fixture.run(&orders(false)).await;
    let held = fixture.server.inject(Fault::new(Mode::AlterHeld)).unwrap();
    fixture.run("INSERT INTO orders (id, qty) VALUES (1, 5)").await;
    fixture.run("ALTER TABLE orders ADD COLUMN note VARCHAR(10) DEFAULT 'x' AFTER qty").await;
    let known = "SELECT count(*) FROM information_schema.columns WHERE table_schema='shop' AND column_name='note'";
    assert_ne!(fixture.last_job().await[9], "FINISHED");
    assert_eq!(fixture.one(known).await, "0");
    assert!(fixture.refused("INSERT INTO orders (id, note) VALUES (2, 'n')").await.contains("cannot be resolved"));
    fixture.run("INSERT INTO orders (id, qty) VALUES (2, 6)").await;
    fixture.server.mend(held);
    assert_eq!(fixture.job_end().await, "FINISHED");
    assert_eq!(fixture.one(known).await, "1");
    assert_eq!(fixture.rows("SELECT id, note FROM orders ORDER BY id LIMIT 1").await, [["1", "x"]]);
    let names: Vec<String> = fixture.rows("DESC orders").await.into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(names[2..4], ["qty", "note"]);
}

#[tokio::test]
async fn g38_key_columns_and_impossible_type_changes_are_refused() {
    let mut fixture = start().await;
    fixture.run(&orders(true)).await;
    for (clause, text) in [
        ("DROP COLUMN id", "Can not drop key column in primary data model table"),
        ("MODIFY COLUMN id LARGEINT", "Can not modify key column: id for primary key table"),
        ("MODIFY COLUMN qty INT NOT NULL", "nullable to non-nullable"),
        ("MODIFY COLUMN qty SMALLINT", "Can not change INT to SMALLINT"),
        ("MODIFY COLUMN at VARCHAR(30)", "Can not change DATETIME to VARCHAR(30)"),
        ("MODIFY COLUMN customer VARCHAR(39)", "Cannot shorten string length"),
        ("MODIFY COLUMN price DOUBLE", "Can not change DECIMAL(12,2) to DOUBLE"),
        ("ADD COLUMN k INT KEY", "Can not add key column: k for primary key table"),
    ] {
        let error = fixture.refused(&format!("ALTER TABLE orders {clause}")).await;
        assert!(error.contains(text), "{clause}: {error}");
    }
    fixture.run("ALTER TABLE orders ADD COLUMN code VARCHAR(9)").await;
    fixture.run("INSERT INTO orders (id, qty, price, code) VALUES (1, 5, 1.50, '17')").await;
    fixture.run("ALTER TABLE orders MODIFY COLUMN qty BIGINT, MODIFY COLUMN price DECIMAL(14,4)").await;
    assert_eq!(fixture.job_end().await, "FINISHED");
    fixture.run("ALTER TABLE orders MODIFY COLUMN code INT").await;
    assert_eq!(fixture.job_end().await, "FINISHED");
    assert_eq!(fixture.rows("SELECT qty, price, code + 1 FROM orders").await, [["5", "1.5000", "18"]]);
    for clause in ["customer VARCHAR(80)", "customer VARCHAR(80) DEFAULT 'other'", "code BIGINT DEFAULT '1'"] {
        let error = fixture.refused(&format!("ALTER TABLE orders MODIFY COLUMN {clause}")).await;
        assert!(error.contains("Can not change default value"), "{clause}: {error}");
    }
}

#[tokio::test]
async fn g38_a_value_that_cannot_be_converted_cancels_the_job() {
    let mut fixture = start().await;
    fixture.run(&orders(true)).await;
    fixture.run("ALTER TABLE orders ADD COLUMN code VARCHAR(9)").await;
    fixture.run("INSERT INTO orders (id, code) VALUES (1, 'abc')").await;
    fixture.run("ALTER TABLE orders MODIFY COLUMN code INT").await;
    assert_eq!(fixture.job_end().await, "CANCELLED");
    let job = fixture.last_job().await;
    assert!(job[10].contains("'abc' cannot be converted to int"), "{}", job[10]);
    assert_eq!(fixture.one("SELECT code FROM orders").await, "abc");
}

#[tokio::test]
async fn g39_rename_column_needs_3_3_2_and_reserves_the_old_name() {
    let mut fixture = start().await;
    fixture.run(&orders(true)).await;
    fixture.run("INSERT INTO orders (id, qty) VALUES (1, 5)").await;
    fixture.run("ALTER TABLE orders RENAME COLUMN qty TO amount").await;
    assert_eq!(fixture.one("SELECT amount FROM orders").await, "5");
    let error = fixture.refused("ALTER TABLE orders ADD COLUMN qty INT").await;
    assert!(error.contains("Can not add column which already exists in column id: qty"), "{error}");
    fixture.run("ALTER TABLE orders DROP COLUMN amount").await;
    fixture.run("ALTER TABLE orders ADD COLUMN qty INT").await;
    for to in ["price", "PRICE", "Qty"] {
        let error = fixture.refused(&format!("ALTER TABLE orders RENAME COLUMN qty TO {to}")).await;
        assert!(error.contains(&format!("Duplicate column name '{to}'")), "{error}");
    }

    let mut old = start_with(|options| options.version = Version { minor: 3, patch: 1, ..V35 }).await;
    old.run(&orders(true)).await;
    old.refused("ALTER TABLE orders RENAME COLUMN qty TO amount").await;
}

#[tokio::test]
async fn g40_show_alter_has_thirteen_columns_and_a_row_for_every_change() {
    let mut fixture = start().await;
    fixture.run(&orders(true)).await;
    fixture.run("ALTER TABLE orders ADD COLUMN a INT").await;
    fixture.run("ALTER TABLE orders MODIFY COLUMN qty BIGINT").await;
    fixture.job_end().await;
    let jobs = fixture.rows("SHOW ALTER TABLE COLUMN FROM shop WHERE TableName = \"orders\" ORDER BY JobId").await;
    assert_eq!(jobs.len(), 2);
    assert!(jobs.iter().all(|job| job.len() == 13 && job[9] == "FINISHED" && job[1] == "orders"));
    assert_eq!(fixture.rows("SHOW ALTER TABLE COLUMN FROM shop WHERE TableName = 'none'").await.len(), 0);
}

#[tokio::test]
async fn g41_adding_what_exists_and_dropping_what_does_not_are_errors() {
    let mut fixture = start().await;
    fixture.run(&orders(true)).await;
    let error = fixture.refused("ALTER TABLE orders ADD COLUMN QTY INT").await;
    assert!(error.contains("Can not add column which already exists in base table: QTY"), "{error}");
    let error = fixture.refused("ALTER TABLE orders DROP COLUMN nope").await;
    assert!(error.contains("Column does not exists: nope"), "{error}");
}

#[tokio::test]
async fn show_create_table_makes_the_same_table_again() {
    let mut fixture = start().await;
    fixture.run(&orders(true)).await;
    let sql = fixture.rows("SHOW CREATE TABLE orders").await[0][1].clone();
    fixture.run(&sql.replacen("`orders`", "`copy`", 1)).await;
    let again = fixture.rows("SHOW CREATE TABLE copy").await[0][1].clone();
    assert_eq!(again.replacen("`copy`", "`orders`", 1), sql);
}

#[tokio::test]
async fn tables_are_renamed_swapped_and_commented() {
    let mut fixture = start().await;
    fixture.run(&orders(true)).await;
    fixture.run("INSERT INTO orders (id) VALUES (1)").await;
    fixture.run("CREATE TABLE other LIKE orders").await;
    fixture.run("ALTER TABLE orders SWAP WITH other").await;
    assert_eq!(fixture.one("SELECT count(*) FROM other").await, "1");
    fixture.run("ALTER TABLE other RENAME final").await;
    fixture.run("ALTER TABLE final COMMENT = 'done'").await;
    assert_eq!(fixture.one("SELECT id FROM final").await, "1");
    let comment = "SELECT table_comment FROM information_schema.tables WHERE table_name = 'final'";
    assert_eq!(fixture.one(comment).await, "done");
    fixture.run("DROP TABLE final FORCE").await;
    fixture.run("DROP TABLE IF EXISTS final").await;
    assert!(fixture.refused("DROP TABLE final").await.contains("Unknown table 'shop.final'"));
}

#[tokio::test]
async fn names_and_texts_may_hold_quotes_and_line_breaks() {
    let mut fixture = start().await;
    fixture
        .run(
            "CREATE TABLE IF NOT EXISTS `shop`.`a``b` (\n  `id` BIGINT NOT NULL,\n  `li``ne` VARCHAR(40) NOT NULL,\n
             `na'me` VARCHAR(1020) NULL DEFAULT 'a\"b\\\\c' COMMENT 'the \\'name\\'\\nof it'\n)\nENGINE=OLAP
             PRIMARY KEY (`id`, `li``ne`)\nDISTRIBUTED BY HASH (`id`, `li``ne`)\nPROPERTIES ('replication_num' = '1')",
        )
        .await;
    fixture.run("INSERT INTO `a``b` (`id`, `li``ne`) VALUES (1, 'it\\'s')").await;
    assert_eq!(fixture.rows("SELECT `li``ne`, `na'me` FROM `a``b`").await, [["it's", "a\"b\\c"]]);
    let sql = fixture.rows("SHOW CREATE TABLE `a``b`").await[0][1].clone();
    fixture.run(&sql.replacen("`a``b`", "copy", 1)).await;
    let comments = "SELECT DISTINCT column_comment FROM information_schema.columns WHERE column_name = 'na\\'me'";
    assert_eq!(fixture.one(comments).await, "the 'name'\nof it");
}
