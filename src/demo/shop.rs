//! The demo's database: a small shop, and a table with every common column type.
//!
//! The foreign keys have no cascades: what InnoDB does by itself in a child table is not in the binlog of MySQL
//! before 9.6, and the shop's own transactions do not need it.

use std::fmt::Write as _;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::{Error, Result};

/// The shop's tables, parents first.
pub const TABLES: [&str; 5] = ["customers", "products", "orders", "order_items", "types"];

const CUSTOMERS: &str = "CREATE TABLE customers (
    id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    email VARCHAR(120) NOT NULL UNIQUE,
    name VARCHAR(80) NOT NULL,
    city VARCHAR(60) COMMENT 'as the customer writes it',
    credit DECIMAL(12,2) NOT NULL DEFAULT 0.00,
    note TEXT,
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
) COMMENT 'who buys'";

const PRODUCTS: &str = "CREATE TABLE products (
    id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    sku VARCHAR(20) NOT NULL UNIQUE,
    name VARCHAR(100) NOT NULL,
    price DECIMAL(10,2) NOT NULL,
    stock INT NOT NULL DEFAULT 0,
    kind ENUM('book','toy','tool','food') NOT NULL,
    tags SET('new','sale','last','gift') NOT NULL DEFAULT '',
    details JSON
) COMMENT 'what is sold'";

const ORDERS: &str = "CREATE TABLE orders (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    customer_id INT UNSIGNED NOT NULL,
    status ENUM('new','paid','shipped','returned') NOT NULL DEFAULT 'new',
    total DECIMAL(12,2) NOT NULL DEFAULT 0.00,
    ordered_at DATETIME(6) NOT NULL,
    shipped_on DATE,
    FOREIGN KEY (customer_id) REFERENCES customers (id)
) COMMENT 'who bought'";

const ORDER_ITEMS: &str = "CREATE TABLE order_items (
    order_id BIGINT UNSIGNED NOT NULL,
    line SMALLINT UNSIGNED NOT NULL,
    product_id INT UNSIGNED NOT NULL,
    quantity INT NOT NULL,
    price DECIMAL(10,2) NOT NULL,
    PRIMARY KEY (order_id, line),
    FOREIGN KEY (order_id) REFERENCES orders (id),
    FOREIGN KEY (product_id) REFERENCES products (id)
) COMMENT 'what they bought'";

/// Without VECTOR, which only MySQL from 9.0 on has.
const TYPES: &str = "CREATE TABLE types (
    id BIGINT NOT NULL PRIMARY KEY,
    i8 TINYINT, u8 TINYINT UNSIGNED, i16 SMALLINT, u16 SMALLINT UNSIGNED, i24 MEDIUMINT, u24 MEDIUMINT UNSIGNED,
    i32 INT, u32 INT UNSIGNED, i64 BIGINT, u64 BIGINT UNSIGNED, yes TINYINT(1),
    money DECIMAL(18,4), exact DECIMAL(38,10), wide DECIMAL(65,30),
    f32 FLOAT, f64 DOUBLE, bit1 BIT(1), bit12 BIT(12), bit64 BIT(64),
    fixed CHAR(10), word VARCHAR(200), latin VARCHAR(50) CHARACTER SET latin1,
    tiny TINYTEXT, body TEXT, medium MEDIUMTEXT,
    bin BINARY(8), bytes VARBINARY(100), image BLOB,
    day DATE, at0 DATETIME, at6 DATETIME(6), stamp TIMESTAMP(3) NULL, clock TIME, clock6 TIME(6), born YEAR,
    color ENUM('red','green','blue'), flags SET('a','b','c'), doc JSON, place POINT
) COMMENT 'one column of every common type'";

/// How much is there before the writer begins.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub customers: u32,
    pub products: u32,
    pub orders: u32,
    pub types: u32,
}

impl Default for Size {
    fn default() -> Self {
        Size { customers: 2_000, products: 500, orders: 5_000, types: 500 }
    }
}

/// Creates `database` with the shop's tables and its first rows; about three items for an order.
///
/// # Errors
/// The database exists already, or the server refuses a statement.
pub async fn create(conn: &mut Conn, database: &str, size: Size) -> Result<()> {
    let mut types = TYPES.to_owned();
    if has_vector(conn).await? {
        types = types.replace("place POINT\n", "place POINT, embedding VECTOR(4)\n");
    }
    run(conn, &format!("CREATE DATABASE `{database}` CHARACTER SET utf8mb4")).await?;
    run(conn, &format!("USE `{database}`")).await?;
    // TIMESTAMP bounds are bounds in UTC.
    run(conn, "SET time_zone = '+00:00'").await?;
    for statement in [CUSTOMERS, PRODUCTS, ORDERS, ORDER_ITEMS, &types] {
        run(conn, statement).await?;
    }
    fill(conn, size).await
}

async fn fill(conn: &mut Conn, size: Size) -> Result<()> {
    // The same shop every time.
    let mut random = StdRng::seed_from_u64(1);
    insert(conn, "customers (email, name, city, credit, note)", size.customers, |id| customer(&mut random, id)).await?;
    insert(conn, "products (sku, name, price, stock, kind, tags, details)", size.products, |id| {
        product(&mut random, id)
    })
    .await?;
    insert(conn, "orders (id, customer_id, status, total, ordered_at, shipped_on)", size.orders, |id| {
        let (day, customer) = (random.random_range(1..29), random.random_range(1..=size.customers.max(1)));
        let status = ["new", "paid", "shipped"][random.random_range(0..3)];
        let shipped = if status == "shipped" { format!("'2026-02-{day:02}'") } else { "NULL".to_owned() };
        format!("({id},{customer},'{status}',0,'2026-01-{day:02} 10:{:02}:00.{id:06}',{shipped})", id % 60)
    })
    .await?;
    insert(conn, "order_items (order_id, line, product_id, quantity, price)", size.orders * 3, |number| {
        let (order, line) = ((number - 1) / 3 + 1, (number - 1) % 3 + 1);
        let product = random.random_range(1..=size.products.max(1));
        format!("({order},{line},{product},{},{}.99)", random.random_range(1..5), random.random_range(1..90))
    })
    .await?;
    run(
        conn,
        "UPDATE orders JOIN (SELECT order_id, SUM(quantity * price) AS sum FROM order_items GROUP BY order_id) AS items \
         ON orders.id = items.order_id SET orders.total = items.sum",
    )
    .await?;
    insert(conn, &format!("types ({TYPES_COLUMNS})"), size.types, |id| types_row(&mut random, u64::from(id))).await?;
    if has_vector(conn).await? {
        run(conn, "UPDATE types SET embedding = STRING_TO_VECTOR(CONCAT('[0.1,-2.5,', id, ',1e-7]')) WHERE id % 3 > 0")
            .await?;
    }
    Ok(())
}

/// Rows `1..=count`, some hundred in a statement.
async fn insert(conn: &mut Conn, into: &str, count: u32, mut row: impl FnMut(u32) -> String + Send) -> Result<()> {
    const ROWS: u32 = 500;
    let mut first = 1;
    while first <= count {
        let last = count.min(first + ROWS - 1);
        let mut sql = format!("INSERT INTO {into} VALUES ");
        for id in first..=last {
            if id > first {
                sql.push(',');
            }
            sql.push_str(&row(id));
        }
        run(conn, &sql).await?;
        first = last + 1;
    }
    Ok(())
}

/// Values for `(email, name, city, credit, note)`; the number makes the address unique.
pub(super) fn customer(random: &mut StdRng, number: u32) -> String {
    const NAMES: [&str; 8] = ["Ada", "Łukasz", "Zoë", "O''Brien", "李雷", "Søren", "Mía", "Иван"];
    const CITIES: [&str; 6] = ["'Berlin'", "'São Paulo'", "'東京'", "NULL", "'Kraków'", "'Reykjavík 🧊'"];
    let note = match random.random_range(0..4) {
        0 => "NULL".to_owned(),
        1 => "''".to_owned(),
        2 => format!("'line one\\nline two\\ttab, \"quotes\" and \\\\ {}'", random.random::<u32>()),
        _ => format!("REPEAT('long note ', {})", random.random_range(1..60)),
    };
    format!(
        "('c{number}@example.com','{} {number}',{},{}.{:02},{note})",
        NAMES[random.random_range(0..NAMES.len())],
        CITIES[random.random_range(0..CITIES.len())],
        random.random_range(-50..5000),
        random.random_range(0..100)
    )
}

fn product(random: &mut StdRng, number: u32) -> String {
    let kind = ["book", "toy", "tool", "food"][random.random_range(0..4)];
    let tags = ["", "new", "new,sale", "last,gift"][random.random_range(0..4)];
    format!(
        "('SKU-{number:06}','{kind} {number}',{}.{:02},{},'{kind}','{tags}','{{\"weight\": {}.5, \"sizes\": [1, 2, {number}], \"origin\": {{\"country\": \"DE\", \"ok\": true}}, \"old\": null}}')",
        random.random_range(1..200),
        random.random_range(0..100),
        random.random_range(100..10_000),
        random.random_range(0..9)
    )
}

pub(super) const TYPES_COLUMNS: &str = "id, i8, u8, i16, u16, i24, u24, i32, u32, i64, u64, yes, money, exact, wide, \
    f32, f64, bit1, bit12, bit64, fixed, word, latin, tiny, body, medium, bin, bytes, image, day, at0, at6, stamp, \
    clock, clock6, born, color, flags, doc, place";

/// Values for [`TYPES_COLUMNS`]: ordinary ones, and now and then each type's bounds or NULLs.
pub(super) fn types_row(random: &mut StdRng, id: u64) -> String {
    let mut sql = format!("({id}");
    match random.random_range(0..10) {
        0 => sql.push_str(&",NULL".repeat(39)),
        1 => sql.push_str(
            ",-128,0,-32768,0,-8388608,0,-2147483648,0,-9223372036854775808,0,0,-99999999999999.9999,\
             -9999999999999999999999999999.9999999999,-99999999999999999999999999999999999.999999999999999999999999999999,\
             -3.40282e38,-1.7976931348623157e308,b'0',b'0',b'0','','','','','','',x'0000000000000000','','',\
             '1000-01-01','1000-01-01 00:00:00','1000-01-01 00:00:00.000001','1970-01-01 00:00:01.001',\
             '-838:59:59','-838:59:58.999999',1901,'red','','{}',ST_GeomFromText('POINT(0 0)')",
        ),
        2 => sql.push_str(
            ",127,255,32767,65535,8388607,16777215,2147483647,4294967295,9223372036854775807,18446744073709551615,1,\
             99999999999999.9999,9999999999999999999999999999.9999999999,\
             99999999999999999999999999999999999.999999999999999999999999999999,3.40282e38,1.7976931348623157e308,\
             b'1',b'111111111111',x'FFFFFFFFFFFFFFFF','ten chars!',REPEAT('🦀',200),'café',REPEAT('t',255),\
             REPEAT('ß',2000),REPEAT('m',20000),x'FFFFFFFFFFFFFFFF',REPEAT(x'00FF',50),REPEAT(x'0102',500),\
             '9999-12-31','9999-12-31 23:59:59','9999-12-31 23:59:59.999999','2038-01-19 03:14:07.499',\
             '838:59:59','838:59:58.999999',2155,'blue','a,b,c',\
             '{\"big\": 18446744073709551615, \"neg\": -9223372036854775808, \"deep\": [[[{}]]], \"text\": \"a\\\\\"b\\\\n\"}',\
             ST_GeomFromText('POINT(-179.5 89.25)')",
        ),
        _ => {
            let n: u32 = random.random_range(0..1_000_000);
            let (day, second) = (n % 28 + 1, n % 60);
            let _ = write!(
                sql,
                ",{},{},{},{},{},{n},{},{n},{},{n},{},{n}.{:04},-{n}.5,{n}.000000000000000000000000000001,\
                 {}e-3,{n}.1e-7,b'{}',{},{n},'c{}','word {n}, ünïcode','caf\u{e9} {}','tiny','body\\n{n}','medium',\
                 x'{n:08x}00','\\0\\1\\\\{n}',x'{n:08x}','2026-03-{day:02}','2026-03-{day:02} 12:34:{second:02}',\
                 '2026-03-{day:02} 12:34:{second:02}.{n:06}','2026-03-{day:02} 12:34:{second:02}.{:03}',\
                 '{}:{:02}:{second:02}','-{}:00:00.{n:06}',{},'{}','{}','{{\"n\": {n}, \"half\": 0.5, \"list\": [true, null, \"x\"]}}',\
                 ST_GeomFromText('POINT({}.25 {})')",
                n as i32 % 128,
                n % 256,
                n as i32 % 32768 - 16384,
                n % 65536,
                -(n as i32),
                -(n as i64),
                -i64::from(n) * 1_000_000_007,
                n % 2,
                n % 10_000,
                n,
                n % 2,
                n % 4096,
                n % 1000,
                n % 9,
                n % 1000,
                n % 30,
                n % 60,
                n % 10,
                1901 + n % 255,
                ["red", "green", "blue"][n as usize % 3],
                ["", "a", "b,c", "a,c"][n as usize % 4],
                n % 180,
                n % 90,
            );
        }
    }
    sql.push(')');
    sql
}

/// VECTOR came with MySQL 9.0.
async fn has_vector(conn: &mut Conn) -> Result<bool> {
    let failed = |error| Error::transient("demo: asking for the version").caused_by(error);
    let version: Option<String> = conn.query_first("SELECT @@version").await.map_err(failed)?;
    let version = version.unwrap_or_default();
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok()).unwrap_or(0);
    Ok(major >= 9 && !version.contains("MariaDB"))
}

async fn run(conn: &mut Conn, sql: &str) -> Result<()> {
    let failed = |error| {
        let begin: String = sql.chars().take(80).collect();
        Error::definite(format!("demo: {begin}…")).caused_by(error)
    };
    conn.query_drop(sql).await.map_err(failed)
}
