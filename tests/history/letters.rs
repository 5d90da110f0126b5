//! `lower_case_table_names`: statements name tables in whatever letters, rows in the server's.

use mysql_async::prelude::Queryable as _;
use towpath::demo::server::Product;

use super::{Log, follow};
use crate::harness::{Job, Target, assert_equal};
use crate::servers;

const STATEMENTS: &[&str] = &[
    "CREATE TABLE Orders (id INT PRIMARY KEY, Name VARCHAR(9))",
    "INSERT INTO ORDERS VALUES (1, 'one')",
    "ALTER TABLE oRDERS ADD C INT FIRST, RENAME COLUMN name TO Title",
    "INSERT INTO orders VALUES (2, 2, 'two')",
    "CREATE TABLE Copy LIKE ORDERS",
    "INSERT INTO copy SELECT * FROM Orders",
    "RENAME TABLE Orders TO Tmp, COPY TO orders, tmp TO Items",
    "ALTER TABLE ITEMS DROP c, RENAME TO Things",
    "INSERT INTO Things VALUES (3, 'three')",
    "INSERT INTO orders VALUES (4, 4, 'four')",
    "CREATE INDEX I ON THINGS (title)",
    "CREATE TABLE Gone (id INT PRIMARY KEY)",
    "INSERT INTO gone VALUES (1)",
    "DROP TABLE GONE",
    "CREATE TABLE IF NOT EXISTS THINGS (id INT PRIMARY KEY)",
    "TRUNCATE TABLE ORDERS",
    "INSERT INTO Orders VALUES (5, 5, 'five')",
];

async fn in_other_letters(product: Product) {
    let source = servers::small_letters(product).await;
    let database = source.database("letters").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {}", database.to_uppercase())).await.unwrap();
    conn.query_drop("CREATE TABLE First (id INT PRIMARY KEY)").await.unwrap();
    let target = Target::start().await;
    // The patterns' letters are of no importance either.
    let patterns = format!("{}.*", database.to_uppercase());
    let job =
        Job::new(source.port(), &target, &patterns, "", "params: {realFlushPauseSec: 0}\nddl: {dropTable: apply}");
    job.run_to_end().await;
    for statement in STATEMENTS {
        conn.query_drop(*statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
    let tables: Vec<String> = target.connect().await.query(format!("SHOW TABLES FROM {database}")).await.unwrap();
    assert_eq!(tables, ["first", "orders", "things"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_in_other_letters_are_the_same_tables_on_mysql() {
    in_other_letters(Product::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_in_other_letters_are_the_same_tables_on_mariadb() {
    in_other_letters(Product::Mariadb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_in_other_letters_make_the_definitions_that_the_servers_make() {
    for product in [Product::Mysql, Product::Mariadb] {
        follow(Log::begin(servers::small_letters(product).await).await, STATEMENTS.iter().copied(), 0).await;
    }
}
