//! SELECT, DML and the catalogue: rules G42 and G43, functions, exact numbers.

use mysql_async::Row;
use mysql_async::prelude::Queryable;

use super::{PROPERTIES, orders, start};

#[tokio::test]
async fn g42_information_schema_describes_columns_as_starrocks_does() {
    let mut fixture = start().await;
    fixture.run(&orders(true)).await;
    let columns = fixture
        .rows(
            "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_SIZE, DECIMAL_DIGITS, COLUMN_KEY, IS_NULLABLE, COLUMN_DEFAULT
             FROM information_schema.COLUMNS WHERE TABLE_SCHEMA='shop' AND TABLE_NAME='orders' ORDER BY ORDINAL_POSITION",
        )
        .await;
    assert_eq!(columns[0], ["id", "bigint", "19", "0", "PRI", "NO", "NULL"]);
    assert_eq!(columns[1], ["customer", "varchar", "40", "NULL", "", "YES", "none"]);
    assert_eq!(columns[3], ["price", "decimal", "12", "2", "", "YES", "NULL"]);
    assert_eq!(columns[5], ["flag", "tinyint", "NULL", "NULL", "", "YES", "NULL"]);
    let config = fixture.rows("SELECT TABLE_MODEL, PRIMARY_KEY FROM information_schema.tables_config").await;
    assert_eq!(config, [["PRI_KEYS", "`id`"]]);
    let count = "SELECT COUNT(*) FROM information_schema.tables t JOIN information_schema.schemata s ON s.SCHEMA_NAME = t.TABLE_SCHEMA WHERE t.TABLE_NAME = 'orders'";
    assert_eq!(fixture.one(count).await, "1");
    assert_eq!(fixture.rows("SHOW TABLES LIKE 'ord%'").await, [["orders"]]);
    assert_eq!(fixture.rows("SHOW BACKENDS").await.len(), 1);
    assert_eq!(fixture.rows("SHOW COMPUTE NODES").await.len(), 0);
    assert_eq!(fixture.rows("SHOW FRONTENDS").await[0][7], "LEADER");
    assert_eq!(fixture.rows("SHOW VARIABLES LIKE 'max_allowed_packet'").await, [["max_allowed_packet", "67108864"]]);
    assert_eq!(fixture.rows("SHOW VARIABLES WHERE Variable_name = 'tx_isolation'").await.len(), 1);
    assert_eq!(fixture.rows("SHOW FULL COLUMNS FROM orders").await.len(), 11);
}

#[tokio::test]
async fn g43_dml_upserts_checks_types_and_changes_rows() {
    let mut fixture = start().await;
    fixture.run(&orders(true)).await;
    let insert = "INSERT INTO orders VALUES (1, 'a', 2, 1.005, 170141183460469231731687303715884105727, true, 0.1,
        '2024-02-29', '2024-02-29 10:11:12.5', '{\"a\": 1}', x'00ff'), (2, DEFAULT, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)";
    fixture.run(insert).await;
    let row = fixture
        .rows("SELECT id, customer, qty, price, big, flag, weight, day, at, data, hex(raw) FROM orders ORDER BY id")
        .await;
    assert_eq!(
        row[0],
        [
            "1",
            "a",
            "2",
            "1.01",
            "170141183460469231731687303715884105727",
            "1",
            "0.1",
            "2024-02-29",
            "2024-02-29 10:11:12.500000",
            "{\"a\": 1}",
            "00FF"
        ]
    );
    assert_eq!(row[1][1], "none");
    fixture.run("INSERT INTO orders (id, qty) VALUES (1, 9)").await;
    assert_eq!(fixture.rows("SELECT customer, qty, price FROM orders WHERE id = 1").await, [["none", "9", "NULL"]]);
    fixture.run("UPDATE orders SET price = qty * 1.5, customer = concat('c', id) WHERE id IN (1)").await;
    assert_eq!(fixture.rows("SELECT customer, price FROM orders WHERE id = 1").await, [["c1", "13.50"]]);
    fixture.run("INSERT INTO orders (id, qty) SELECT id + 10, 1 FROM orders").await;
    fixture.run("DELETE FROM orders WHERE id > 10 AND qty = 1").await;
    assert_eq!(fixture.one("SELECT count(*) FROM orders").await, "2");
    assert!(fixture.refused("DELETE FROM orders").await.contains("must specify where clause"));
    assert!(
        fixture.refused("UPDATE orders SET id = 5 WHERE id = 1").await.contains("primary key column cannot be updated")
    );
    for (values, text) in [
        ("(NULL, 1)", "NULL value in non-nullable column 'id'"),
        ("(3, 99999999999)", "out of range"),
        ("(3, 'x')", "out of range"),
    ] {
        let error = fixture.refused(&format!("INSERT INTO orders (id, qty) VALUES {values}")).await;
        assert!(error.contains(text), "{values}: {error}");
    }
    let long = format!("INSERT INTO orders (id, customer) VALUES (3, '{}')", "é".repeat(21));
    assert!(fixture.refused(&long).await.contains("is too long"), "lengths are bytes");
}

#[tokio::test]
async fn duplicate_tables_keep_every_row() {
    let mut fixture = start().await;
    fixture.run(&format!("CREATE TABLE log (id INT, msg VARCHAR(20)) DUPLICATE KEY(id) {PROPERTIES}")).await;
    fixture.run("INSERT INTO log VALUES (1, 'a'), (1, 'a'), (NULL, 'b')").await;
    assert_eq!(fixture.one("SELECT count(*) FROM log").await, "3");
    fixture.run("TRUNCATE TABLE log").await;
    assert_eq!(fixture.one("SELECT count(*) FROM log").await, "0");
}

#[tokio::test]
async fn decimals_are_exact_everywhere() {
    let mut fixture = start().await;
    fixture.run(&orders(true)).await;
    let values: Vec<String> = (1..=1000).map(|id| format!("({id}, 0.1, {id})")).collect();
    fixture.run(&format!("INSERT INTO orders (id, price, qty) VALUES {}", values.join(","))).await;
    assert_eq!(fixture.one("SELECT SUM(price) FROM orders").await, "100.00");
    assert_eq!(fixture.one("SELECT SUM(price * 3) = 300 FROM orders").await, "1");
    assert_eq!(fixture.one("SELECT AVG(price) FROM orders").await, "0.10000000");
    fixture.run("UPDATE orders SET price = 9.50 WHERE id = 1").await;
    fixture.run("UPDATE orders SET price = 10.25 WHERE id = 2").await;
    assert_eq!(fixture.one("SELECT MAX(price) FROM orders").await, "10.25");
    assert_eq!(fixture.rows("SELECT id FROM orders WHERE price > 9.5 ORDER BY price").await, [["2"]]);
    assert_eq!(fixture.rows("SELECT id FROM orders ORDER BY price DESC LIMIT 2").await, [["2"], ["1"]]);
    assert_eq!(fixture.one("SELECT 0.1 + 0.2").await, "0.3");
    assert_eq!(fixture.one("SELECT 1.10 * 1.10").await, "1.2100");
    assert_eq!(fixture.one("SELECT 99999999999999999999 + 1").await, "100000000000000000000");
    assert_eq!(fixture.one("SELECT count(*) FROM orders WHERE price BETWEEN 9 AND 11").await, "2");
    assert_eq!(fixture.one("SELECT round(price, 1) FROM orders WHERE id = 2").await, "10.3");
    assert_eq!(fixture.one("SELECT price FROM orders WHERE price = '10.250'").await, "10.25");
    assert_eq!(fixture.one("SELECT CAST(price AS DECIMAL(10,1)) FROM orders WHERE id = 2").await, "10.3");
    assert_eq!(fixture.one("SELECT price IN (10.250, 3) FROM orders WHERE id = 2").await, "1");
}

#[tokio::test]
async fn joins_groups_subqueries_and_unions_work() {
    let mut fixture = start().await;
    fixture.run(&orders(true)).await;
    fixture
        .run(&format!(
            "CREATE TABLE customer (id INT NOT NULL, name VARCHAR(20), city VARCHAR(20)) PRIMARY KEY(id) {PROPERTIES}"
        ))
        .await;
    fixture.run("INSERT INTO customer VALUES (1, 'ann', 'Oslo'), (2, 'bob', 'Rome'), (3, 'cy', NULL)").await;
    fixture
        .run("INSERT INTO orders (id, qty, price, day) VALUES (1, 1, 10.00, '2024-01-01'), (2, 2, 2.50, '2024-01-02'), (3, 1, 7.25, '2024-01-02')")
        .await;
    let sql = "SELECT c.name, COUNT(*) n, SUM(o.price) total FROM orders o JOIN `shop`.`customer` AS c ON c.id = o.qty
               GROUP BY c.name HAVING total > 2 ORDER BY total DESC";
    assert_eq!(fixture.rows(sql).await, [["ann", "2", "17.25"], ["bob", "1", "2.50"]]);
    let sql = "SELECT name, (SELECT MAX(price) FROM orders WHERE qty = customer.id) FROM customer ORDER BY 1";
    assert_eq!(fixture.rows(sql).await, [["ann", "10.00"], ["bob", "2.50"], ["cy", "NULL"]]);
    let sql = "WITH d AS (SELECT day, SUM(price) AS s FROM orders GROUP BY day) SELECT * FROM d ORDER BY s";
    assert_eq!(fixture.rows(sql).await, [["2024-01-02", "9.75"], ["2024-01-01", "10.00"]]);
    let sql = "SELECT id FROM customer WHERE id NOT IN (SELECT qty FROM orders) UNION ALL SELECT qty FROM orders WHERE price > 9 ORDER BY id";
    assert_eq!(fixture.rows(sql).await, [["1"], ["3"]]);
    let sql = "SELECT a.id, b.name FROM customer a LEFT JOIN customer b USING (id) WHERE a.city IS NULL";
    assert_eq!(fixture.rows(sql).await, [["3", "cy"]]);
    assert_eq!(fixture.rows("SELECT DISTINCT day FROM orders ORDER BY day LIMIT 1, 1").await, [["2024-01-02"]]);
    assert_eq!(
        fixture.one("SELECT GROUP_CONCAT(name ORDER BY name DESC SEPARATOR '-') FROM customer").await,
        "cy-bob-ann"
    );
    assert_eq!(fixture.one("SELECT COUNT(DISTINCT day) FROM orders").await, "2");
    assert_eq!(fixture.one("SELECT x.n FROM (SELECT count(*) n FROM orders) x").await, "3");
    assert_eq!(
        fixture.rows("SELECT id, row_number() OVER (ORDER BY price) FROM orders ORDER BY id").await,
        [["1", "3"], ["2", "1"], ["3", "2"]]
    );
    let error = fixture.refused("SELECT nope FROM orders").await;
    assert!(error.contains("Column 'nope' cannot be resolved"), "{error}");
    let error = fixture.refused("SELECT id FROM orders o JOIN customer c ON o.qty = c.id").await;
    assert!(error.contains("ambiguous"), "{error}");
    let error = fixture.refused("SELECT frobnicate(1)").await;
    assert!(error.contains("No matching function with signature: frobnicate"), "{error}");
}

#[tokio::test]
async fn common_functions_answer_as_mysql_does() {
    let mut fixture = start().await;
    for (expression, expected) in [
        ("concat('a', 1, 2.50)", "a12.50"),
        ("concat_ws('-', 'a', NULL, 'b')", "a-b"),
        ("if(1 > 2, 'x', \"y\")", "y"),
        ("ifnull(NULL, 3)", "3"),
        ("coalesce(NULL, 1, 2.5)", "1.0"),
        ("length('é')", "2"),
        ("char_length('é')", "1"),
        ("left('hello', 2)", "he"),
        ("right('hello', 2)", "lo"),
        ("substring('hello', 2, 3)", "ell"),
        ("upper('aé')", "AÉ"),
        ("trim('  a ')", "a"),
        ("replace('abc', 'b', 'x')", "axc"),
        ("hex('az')", "617A"),
        ("hex(255)", "FF"),
        ("unhex('617A')", "az"),
        ("md5('a')", "0cc175b9c0f1b6a831c399e269772661"),
        ("to_base64('abc')", "YWJj"),
        ("from_base64('YWJj')", "abc"),
        ("date_format('2024-03-05 07:08:09', '%Y/%m/%d %H:%i:%s')", "2024/03/05 07:08:09"),
        ("date('2024-03-05 07:08:09')", "2024-03-05"),
        ("year('2024-03-05')", "2024"),
        ("date_add('2024-01-31', INTERVAL 1 MONTH)", "2024-02-29 00:00:00"),
        ("date_sub(CAST('2024-03-01' AS DATE), INTERVAL 1 DAY)", "2024-02-29"),
        ("datediff('2024-03-01', '2024-02-01')", "29"),
        ("timestampdiff(HOUR, '2024-03-01 00:00:00', '2024-03-02 01:30:00')", "25"),
        ("json_query('{\"a\": {\"b\": 1}}', '$.a')", "{\"b\":1}"),
        ("get_json_string('{\"a\": \"x\"}', '$.a')", "x"),
        ("CAST('12' AS INT) + 1", "13"),
        ("7 / 2", "3.5"),
        ("7 DIV 2", "3"),
        ("7 % 4", "3"),
        ("1 = 1 AND NOT 0", "1"),
        ("NULL <=> NULL", "1"),
        ("'abc' LIKE 'a%'", "1"),
        ("'ABC' LIKE 'a%'", "0"),
        ("CASE 2 WHEN 1 THEN 'a' WHEN 2 THEN 'b' END", "b"),
        ("abs(-1.5)", "1.5"),
        ("truncate(1.259, 2)", "1.25"),
        ("greatest(1, 3, 2)", "3"),
        ("locate('l', 'hello')", "3"),
        ("database()", "shop"),
        ("1 FROM dual", "1"),
        ("1 AS x HAVING x = 1", "1"),
    ] {
        assert_eq!(fixture.one(&format!("SELECT {expression}")).await, expected, "{expression}");
    }
}

#[tokio::test]
async fn result_columns_carry_mysql_types() {
    use mysql_async::consts::ColumnType::*;
    let mut fixture = start().await;
    fixture.run(&orders(true)).await;
    fixture.run("INSERT INTO orders (id) VALUES (1)").await;
    let rows: Vec<Row> = fixture.conn.query("SELECT * FROM orders").await.unwrap();
    let types: Vec<_> = rows[0].columns_ref().iter().map(|column| column.column_type()).collect();
    assert_eq!(
        types,
        [
            MYSQL_TYPE_LONGLONG,
            MYSQL_TYPE_VAR_STRING,
            MYSQL_TYPE_LONG,
            MYSQL_TYPE_NEWDECIMAL,
            MYSQL_TYPE_VAR_STRING,
            MYSQL_TYPE_TINY,
            MYSQL_TYPE_DOUBLE,
            MYSQL_TYPE_DATE,
            MYSQL_TYPE_DATETIME,
            MYSQL_TYPE_VAR_STRING,
            MYSQL_TYPE_BLOB
        ]
    );
}

#[tokio::test]
async fn big_results_are_streamed_whole() {
    let mut fixture = start().await;
    fixture.run(&format!("CREATE TABLE n (id INT NOT NULL, t VARCHAR(200)) PRIMARY KEY(id) {PROPERTIES}")).await;
    fixture.run("INSERT INTO n VALUES (0, repeat('x', 100))").await;
    for step in 0..14 {
        fixture.run(&format!("INSERT INTO n SELECT id + {}, t FROM n", 1 << step)).await;
    }
    assert_eq!(fixture.rows("SELECT * FROM n").await.len(), 1 << 14);
}

#[tokio::test]
async fn arrays_are_written_cast_and_stored_with_elements_of_one_type() {
    let mut fixture = start().await;
    fixture
        .run(&format!("CREATE TABLE v (id INT NOT NULL, f ARRAY<FLOAT>, n ARRAY<INT>) PRIMARY KEY(id) {PROPERTIES}"))
        .await;
    assert_eq!(fixture.one("SELECT [1, -2.50, NULL]").await, "[1.00,-2.50,null]");
    assert_eq!(fixture.one("SELECT ['a\"b', 'c']").await, "[\"a\\\"b\",\"c\"]");
    assert_eq!(fixture.one("SELECT CAST('[1, 2.5]' AS ARRAY<FLOAT>)").await, "[1,2.5]");
    assert_eq!(fixture.one("SELECT CAST(['7', 'x'] AS ARRAY<INT>)").await, "[7,null]");
    assert_eq!(fixture.one("SELECT CAST('no array' AS ARRAY<INT>)").await, "NULL");
    fixture.run("INSERT INTO v VALUES (1, [1.5, -2], [1, NULL]), (2, CAST('[0.1]' AS ARRAY<FLOAT>), NULL)").await;
    fixture.run("UPDATE v SET f = [1.5, -2.5] WHERE id = 1").await;
    assert_eq!(fixture.rows("SELECT f, n FROM v ORDER BY id").await, [["[1.5,-2.5]", "[1,null]"], ["[0.1]", "NULL"]]);
    assert!(fixture.refused("SELECT [1, [2]]").await.contains("all arrays or none"));
    assert!(fixture.refused("SELECT CAST(1 AS ARRAY<INT>)").await.contains("Cannot cast"));
    assert!(fixture.refused("UPDATE v SET f = 1 WHERE id = 1").await.contains("cannot be converted"));
}
