//! The live writer: several connections that use the shop as an application would, until they are told to stop.
//!
//! Every transaction leaves the shop sound: items have orders, orders have customers, a total is the sum of its
//! items. Deadlocks and lock waits between the connections happen, as they do in life, and are rolled back and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::shop;
use crate::{Error, Result};

#[derive(Debug, Clone)]
pub struct Options {
    pub connections: u32,
    /// Between two transactions of one connection.
    pub pause: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options { connections: 4, pause: Duration::from_millis(5) }
    }
}

/// What the writer has committed so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub transactions: u64,
    /// Transactions that met a deadlock or a lock wait.
    pub rolled_back: u64,
    /// Rows, by what happened to them. A change of the key is counted apart from other updates.
    pub inserts: u64,
    pub updates: u64,
    pub deletes: u64,
    pub key_changes: u64,
}

impl Counts {
    pub fn rows(&self) -> u64 {
        self.inserts + self.updates + self.deletes + self.key_changes
    }
}

#[derive(Debug, Default)]
struct Totals {
    transactions: AtomicU64,
    rolled_back: AtomicU64,
    inserts: AtomicU64,
    updates: AtomicU64,
    deletes: AtomicU64,
    key_changes: AtomicU64,
}

/// Rows of one transaction, counted once it is committed.
#[derive(Default)]
struct Changes {
    inserts: u64,
    updates: u64,
    deletes: u64,
    key_changes: u64,
}

/// A running writer. Dropping it breaks it off without waiting.
#[derive(Debug)]
pub struct Writer {
    totals: Arc<Totals>,
    stop: CancellationToken,
    tasks: JoinSet<Result<()>>,
}

impl Writer {
    /// Starts writing into the shop in `database`.
    ///
    /// # Errors
    /// A connection is refused.
    pub async fn start(server: &Opts, database: &str, options: &Options) -> Result<Self> {
        let totals = Arc::new(Totals::default());
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for number in 0..options.connections {
            let failed = |error| Error::transient("demo: the writer cannot connect").caused_by(error);
            let mut conn = Conn::new(server.clone()).await.map_err(failed)?;
            conn.query_drop(format!("USE `{database}`")).await.map_err(failed)?;
            // TIMESTAMP bounds are bounds in UTC.
            conn.query_drop("SET time_zone = '+00:00'").await.map_err(failed)?;
            let clerk = Clerk {
                conn,
                random: StdRng::seed_from_u64(1_000 + u64::from(number)),
                // Far from the first rows' numbers and from each other's.
                next: (u64::from(number) + 1) * 100_000_000,
            };
            let (pause, totals, stop) = (options.pause, Arc::clone(&totals), stop.clone());
            tasks.spawn(async move {
                // If one fails, all stop: half a writer would pass for a slow one.
                let _stop_all = stop.clone().drop_guard();
                clerk.work(pause, totals, stop).await
            });
        }
        Ok(Writer { totals, stop, tasks })
    }

    pub fn counts(&self) -> Counts {
        let read = |total: &AtomicU64| total.load(Ordering::Relaxed);
        Counts {
            transactions: read(&self.totals.transactions),
            rolled_back: read(&self.totals.rolled_back),
            inserts: read(&self.totals.inserts),
            updates: read(&self.totals.updates),
            deletes: read(&self.totals.deletes),
            key_changes: read(&self.totals.key_changes),
        }
    }

    /// `false`: something went wrong; [`stop`](Self::stop) says what.
    pub fn is_running(&self) -> bool {
        !self.stop.is_cancelled()
    }

    /// Lets every connection finish its transaction. Afterwards nothing is written any more.
    ///
    /// # Errors
    /// A statement failed for another reason than a lock.
    pub async fn stop(mut self) -> Result<Counts> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(|error| Error::definite("demo: the writer broke off").caused_by(error))??;
        }
        Ok(self.counts())
    }
}

/// One connection and what it does.
struct Clerk {
    conn: Conn,
    random: StdRng,
    /// The next number for a new customer or `types` row.
    next: u64,
}

impl Clerk {
    async fn work(mut self, pause: Duration, totals: Arc<Totals>, stop: CancellationToken) -> Result<()> {
        while !stop.is_cancelled() {
            match self.transaction().await {
                Ok(changes) => {
                    let add = |total: &AtomicU64, count| total.fetch_add(count, Ordering::Relaxed);
                    add(&totals.transactions, 1);
                    add(&totals.inserts, changes.inserts);
                    add(&totals.updates, changes.updates);
                    add(&totals.deletes, changes.deletes);
                    add(&totals.key_changes, changes.key_changes);
                }
                Err(error) if is_lock(&error) => {
                    totals.rolled_back.fetch_add(1, Ordering::Relaxed);
                    // A lock wait ends the statement only.
                    self.conn.query_drop("ROLLBACK").await.map_err(failed)?;
                }
                Err(error) => return Err(failed(error)),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
        self.conn.disconnect().await.map_err(failed)
    }

    async fn transaction(&mut self) -> mysql_async::Result<Changes> {
        let mut changes = Changes::default();
        self.conn.query_drop("BEGIN").await?;
        match self.random.random_range(0..100) {
            0..30 => self.order(&mut changes).await?,
            30..50 => self.advance(&mut changes).await?,
            50..60 => self.cancel(&mut changes).await?,
            60..70 => self.reprice(&mut changes).await?,
            70..78 => self.renumber(&mut changes).await?,
            78..84 => self.move_customer(&mut changes).await?,
            84..90 => self.new_customer(&mut changes).await?,
            _ => self.types(&mut changes).await?,
        }
        self.conn.query_drop("COMMIT").await?;
        Ok(changes)
    }

    async fn run(&mut self, sql: String) -> mysql_async::Result<u64> {
        self.conn.query_drop(sql).await?;
        Ok(self.conn.affected_rows())
    }

    /// A row's id near a random place. `None`: the table is empty.
    async fn some(&mut self, table: &str) -> mysql_async::Result<Option<u64>> {
        let bounds: Option<(Option<u64>, Option<u64>)> =
            self.conn.query_first(format!("SELECT MIN(id), MAX(id) FROM {table}")).await?;
        let Some((Some(least), Some(most))) = bounds else { return Ok(None) };
        // Ids lie in a few clusters far apart; first rows and new ones should both be met.
        let start = match self.random.random_range(0..3) {
            0 => self.random.random_range(least..=most),
            1 => self.random.random_range(least..=most.min(least + 10_000)),
            _ => self.random.random_range(least.max(most.saturating_sub(500))..=most),
        };
        self.conn.query_first(format!("SELECT id FROM {table} WHERE id >= {start} ORDER BY id LIMIT 1")).await
    }

    /// A customer buys one to five things: three tables in one transaction.
    async fn order(&mut self, changes: &mut Changes) -> mysql_async::Result<()> {
        let Some(customer) = self.some("customers").await? else { return Ok(()) };
        // The customer may be moved meanwhile.
        let customer: Option<u64> =
            self.conn.query_first(format!("SELECT id FROM customers WHERE id = {customer} LOCK IN SHARE MODE")).await?;
        let Some(customer) = customer else { return Ok(()) };
        self.run(format!("INSERT INTO orders (customer_id, ordered_at) VALUES ({customer}, NOW(6))")).await?;
        let Some(order) = self.conn.last_insert_id() else { return Ok(()) };
        changes.inserts += 1;
        for line in 1..=self.random.random_range(1..=5) {
            let Some(product) = self.some("products").await? else { continue };
            let quantity = self.random.random_range(1..4);
            changes.inserts += self
                .run(format!(
                    "INSERT INTO order_items SELECT {order}, {line}, id, {quantity}, price FROM products WHERE id = {product}"
                ))
                .await?;
            changes.updates +=
                self.run(format!("UPDATE products SET stock = stock - {quantity} WHERE id = {product}")).await?;
        }
        changes.updates += self.set_total(order).await?;
        Ok(())
    }

    async fn set_total(&mut self, order: u64) -> mysql_async::Result<u64> {
        self.run(format!(
            "UPDATE orders SET total = \
             (SELECT COALESCE(SUM(quantity * price), 0) FROM order_items WHERE order_id = {order}) WHERE id = {order}"
        ))
        .await
    }

    async fn advance(&mut self, changes: &mut Changes) -> mysql_async::Result<()> {
        let Some(order) = self.some("orders").await? else { return Ok(()) };
        changes.updates += self
            .run(format!(
                "UPDATE orders SET shipped_on = IF(status = 'paid', CURRENT_DATE, shipped_on), \
                 status = ELT(status + 0, 'paid', 'shipped', 'returned', 'new') WHERE id = {order}"
            ))
            .await?;
        Ok(())
    }

    async fn cancel(&mut self, changes: &mut Changes) -> mysql_async::Result<()> {
        let Some(order) = self.some("orders").await? else { return Ok(()) };
        // The parent first, so that two clerks wait for each other in one order.
        self.conn.query_drop(format!("SELECT id FROM orders WHERE id = {order} FOR UPDATE")).await?;
        changes.deletes += self.run(format!("DELETE FROM order_items WHERE order_id = {order}")).await?;
        changes.deletes += self.run(format!("DELETE FROM orders WHERE id = {order}")).await?;
        Ok(())
    }

    async fn reprice(&mut self, changes: &mut Changes) -> mysql_async::Result<()> {
        let Some(first) = self.some("products").await? else { return Ok(()) };
        let tag = ["", "new", "sale", "new,sale", "last"][self.random.random_range(0..5)];
        let weight = self.random.random_range(1..100);
        changes.updates += self
            .run(format!(
                "UPDATE products SET price = ROUND(1 + price * 0.97, 2), stock = stock + 20, tags = '{tag}', \
                 details = JSON_SET(details, '$.weight', {weight}) WHERE id BETWEEN {first} AND {first} + 5"
            ))
            .await?;
        Ok(())
    }

    /// Part of a compound key changes: the first item becomes the last.
    async fn renumber(&mut self, changes: &mut Changes) -> mysql_async::Result<()> {
        let Some(order) = self.some("orders").await? else { return Ok(()) };
        self.conn.query_drop(format!("SELECT id FROM orders WHERE id = {order} FOR UPDATE")).await?;
        let lines: Option<(Option<u32>, Option<u32>)> = self
            .conn
            .query_first(format!("SELECT MIN(line), MAX(line) FROM order_items WHERE order_id = {order}"))
            .await?;
        let Some((Some(first), Some(last))) = lines else { return Ok(()) };
        if last < 60_000 {
            changes.key_changes += self
                .run(format!(
                    "UPDATE order_items SET line = {last} + 1, quantity = quantity + 1 \
                     WHERE order_id = {order} AND line = {first}"
                ))
                .await?;
            changes.updates += self.set_total(order).await?;
        }
        Ok(())
    }

    /// A customer gets a new number, and all the orders with it.
    async fn move_customer(&mut self, changes: &mut Changes) -> mysql_async::Result<()> {
        let Some(old) = self.some("customers").await? else { return Ok(()) };
        let new = self.take_number();
        changes.inserts += self
            .run(format!(
                "INSERT INTO customers (id, email, name, city, credit, note, created_at) \
                 SELECT {new}, CONCAT('moved-', {new}, '@example.com'), name, city, credit, note, created_at \
                 FROM customers WHERE id = {old} FOR UPDATE"
            ))
            .await?;
        changes.updates += self.run(format!("UPDATE orders SET customer_id = {new} WHERE customer_id = {old}")).await?;
        changes.deletes += self.run(format!("DELETE FROM customers WHERE id = {old}")).await?;
        Ok(())
    }

    async fn new_customer(&mut self, changes: &mut Changes) -> mysql_async::Result<()> {
        let number = self.take_number();
        let values = shop::customer(&mut self.random, number as u32);
        let values = values.replacen('(', &format!("({number},"), 1);
        changes.inserts +=
            self.run(format!("INSERT INTO customers (id, email, name, city, credit, note) VALUES {values}")).await?;
        Ok(())
    }

    /// A row of every type: a new one, a changed one, a changed key, a deleted one.
    async fn types(&mut self, changes: &mut Changes) -> mysql_async::Result<()> {
        let number = self.take_number();
        let values = shop::types_row(&mut self.random, number);
        let columns = shop::TYPES_COLUMNS;
        let Some(old) = self.some("types").await? else { return Ok(()) };
        match self.random.random_range(0..4) {
            0 => {
                changes.inserts += self.run(format!("INSERT INTO types ({columns}) VALUES {values}")).await?;
            }
            1 => {
                changes.updates += self
                    .run(format!(
                        "UPDATE types SET i8 = -i8 % 100, f64 = COALESCE(f64, 0) / 3, word = REVERSE(word), at6 = NOW(6), \
                         doc = '{{\"changed\": [1.5, \"{number}\"]}}', image = RANDOM_BYTES(40) WHERE id = {old}"
                    ))
                    .await?;
            }
            2 => {
                changes.key_changes += self.run(format!("UPDATE types SET id = {number} WHERE id = {old}")).await?;
            }
            _ => {
                changes.deletes += self.run(format!("DELETE FROM types WHERE id = {old}")).await?;
                changes.inserts += self.run(format!("INSERT INTO types ({columns}) VALUES {values}")).await?;
            }
        }
        Ok(())
    }

    fn take_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// A deadlock, or a wait for a lock that took too long.
fn is_lock(error: &mysql_async::Error) -> bool {
    matches!(error, mysql_async::Error::Server(error) if error.code == 1213 || error.code == 1205)
}

fn failed(error: mysql_async::Error) -> Error {
    Error::definite("demo: the writer").caused_by(error)
}
