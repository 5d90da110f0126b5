//! What every row of the source was, and when: to judge a target by while source and job go on.
//!
//! A writer runs transactions numbered 1, 2, 3, …; the number is the transaction's GTID, and the version of every row
//! that it writes. So a row at the target tells of which moment it is, and a checkpoint tells which transactions must be
//! in. Rows come, change, go, come again and move to other keys.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use tokio::task::JoinHandle;
use towpath::demo::server::Product;

use crate::harness;

pub(super) const TABLES: [&str; 2] = ["a", "b"];
const KEYS: i64 = 60;

/// A row's place: index into `TABLES`, and id.
type Place = (usize, i64);

#[derive(Debug, Default)]
pub(super) struct History {
    /// By place: at which transaction the row came or changed (`true`) or went (`false`), oldest first.
    changes: HashMap<Place, Vec<(u64, bool)>>,
    inserts: u64,
    updates: u64,
    deletes: u64,
}

impl History {
    /// Whether `seen` (a version, or no row) was there at `floor` or later; the earliest such moment.
    fn moment(&self, place: Place, seen: Option<u64>, floor: u64) -> Option<u64> {
        let changes = self.changes.get(&place).map_or(&[][..], Vec::as_slice);
        let begins = std::iter::once((0, false)).chain(changes.iter().copied());
        let ends = changes.iter().map(|&(number, _)| number).chain([u64::MAX]);
        begins
            .zip(ends)
            .filter(|&((begin, there), end)| seen == there.then_some(begin) && end > floor)
            .map(|((begin, _), _)| begin.max(floor))
            .next()
    }

    fn is_there(&self, place: Place) -> bool {
        self.changes.get(&place).and_then(|changes| changes.last()).is_some_and(|&(_, there)| there)
    }

    fn note(&mut self, place: Place, number: u64, there: bool) {
        self.changes.entry(place).or_default().push((number, there));
    }
}

/// Shared by the writer, who adds to it before the source has it, and those who look at the target.
#[derive(Clone)]
pub(super) struct Shop {
    product: Product,
    database: String,
    /// MySQL: the uuid of the writer's GTIDs. MariaDB: its domain.
    origin: String,
    history: Arc<Mutex<History>>,
}

impl Shop {
    /// Makes the tables in `database`.
    pub(super) async fn open(product: Product, conn: &mut Conn, database: &str) -> Shop {
        for table in TABLES {
            let columns = "id BIGINT PRIMARY KEY, version BIGINT NOT NULL, pad VARCHAR(200)";
            conn.query_drop(format!("CREATE TABLE {database}.{table} ({columns})")).await.unwrap();
        }
        let origin = match product {
            Product::Mysql => {
                let hex = format!("{:032x}", rand::random::<u128>());
                [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
            }
            Product::Mariadb => rand::random_range(1..u32::MAX).to_string(),
        };
        Shop { product, database: database.to_owned(), origin, history: Arc::default() }
    }

    /// The last of the writer's transactions that a job's checkpoint says is in.
    fn checkpoint(&self, status: &Value) -> u64 {
        let gtids = status["position"]["gtids"].as_str().unwrap_or_else(|| panic!("no GTIDs in {status}"));
        let separator = if self.product == Product::Mysql { ':' } else { '-' };
        let own = gtids.split(',').filter_map(|part| part.trim().strip_prefix(&self.origin)?.strip_prefix(separator));
        let last = own.map(|numbers| {
            let (first, last) = match self.product {
                Product::Mysql => numbers.split_once('-').unwrap_or((numbers, numbers)),
                Product::Mariadb => ("1", numbers.rsplit_once('-').unwrap().1),
            };
            assert!(first == "1" && !last.contains(':'), "the checkpoint has a hole: {gtids}");
            last.parse().unwrap()
        });
        last.max().unwrap_or(0)
    }

    /// Every row of the target, table by table.
    async fn look(&self, conn: &mut Conn) -> mysql_async::Result<HashMap<Place, u64>> {
        let mut rows = HashMap::new();
        for (index, table) in TABLES.iter().enumerate() {
            let found: Vec<(i64, u64)> =
                conn.query(format!("SELECT id, version FROM {}.{table}", self.database)).await?;
            rows.extend(found.into_iter().map(|(id, version)| ((index, id), version)));
        }
        Ok(rows)
    }

    /// The target has all that the checkpoint says, whatever else it has of later.
    pub(super) async fn assert_not_behind(&self, target: &mut Conn, status: &Value) {
        let checkpoint = self.checkpoint(status);
        let rows = self.look(target).await.unwrap();
        let history = self.history.lock().unwrap();
        for (index, id) in (0..TABLES.len()).flat_map(|index| (1..=KEYS).map(move |id| (index, id))) {
            let seen = rows.get(&(index, id)).copied();
            assert!(
                history.moment((index, id), seen, checkpoint).is_some(),
                "the checkpoint says that {checkpoint} is in, but {}.{id} is {seen:?}; it went through {:?}",
                TABLES[index],
                history.changes.get(&(index, id))
            );
        }
    }

    /// After everything is in: each row change of the log is counted once.
    pub(super) fn assert_counted_once(&self, status: &Value) {
        let history = self.history.lock().unwrap();
        let counted = ["inserts", "updates", "deletes"].map(|name| status[name].as_u64().unwrap());
        assert_eq!(counted, [history.inserts, history.updates, history.deletes], "{status}");
    }
}

/// Runs transactions until it is stopped.
pub(super) struct Writer {
    stop: Arc<AtomicBool>,
    task: JoinHandle<u64>,
}

impl Writer {
    pub(super) fn start(shop: &Shop, port: u16) -> Writer {
        let (stop, shop) = (Arc::new(AtomicBool::new(false)), shop.clone());
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut conn = harness::connect(port).await;
            conn.query_drop(format!("USE {}", shop.database)).await.unwrap();
            if shop.product == Product::Mariadb {
                conn.query_drop(format!("SET SESSION gtid_domain_id = {}", shop.origin)).await.unwrap();
            }
            let mut random = StdRng::from_os_rng();
            let mut number = 0;
            while !stopped.load(Ordering::Relaxed) {
                number += 1;
                let statements = transaction(&shop, number, &mut random);
                conn.query_drop(&statements).await.unwrap_or_else(|error| panic!("{statements}: {error}"));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            number
        });
        Writer { stop, task }
    }

    /// How many transactions there were.
    pub(super) async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// One transaction's statements; each row is touched by one of them at most.
fn transaction(shop: &Shop, number: u64, random: &mut StdRng) -> String {
    let mut history = shop.history.lock().unwrap();
    let mut statements = match shop.product {
        Product::Mysql => format!("SET gtid_next = '{}:{number}'; BEGIN; ", shop.origin),
        Product::Mariadb => format!("SET SESSION gtid_seq_no = {number}; BEGIN; "),
    };
    let mut touched: Vec<Place> = Vec::new();
    for _ in 0..random.random_range(1..=5) {
        let place = (random.random_range(0..TABLES.len()), random.random_range(1..=KEYS));
        let free = (place.0, random.random_range(1..=KEYS));
        if touched.contains(&place) || touched.contains(&free) {
            continue;
        }
        let ((table, id), (_, other)) = ((TABLES[place.0], place.1), free);
        let statement = match (history.is_there(place), random.random_range(0..10)) {
            (false, _) => {
                history.inserts += 1;
                history.note(place, number, true);
                format!("INSERT INTO {table} VALUES ({id}, {number}, REPEAT('p', {id}))")
            }
            (true, 0..2) => {
                history.deletes += 1;
                history.note(place, number, false);
                format!("DELETE FROM {table} WHERE id = {id}")
            }
            (true, 2..4) if !history.is_there(free) => {
                history.updates += 1;
                history.note(place, number, false);
                history.note(free, number, true);
                touched.push(free);
                format!("UPDATE {table} SET id = {other}, version = {number} WHERE id = {id}")
            }
            (true, _) => {
                history.updates += 1;
                history.note(place, number, true);
                format!("UPDATE {table} SET version = {number} WHERE id = {id}")
            }
        };
        touched.push(place);
        statements.push_str(&statement);
        statements.push_str("; ");
    }
    statements + "COMMIT"
}

/// Looks at the target again and again. A row that is older than it was at the look before fails it.
pub(super) struct Observer {
    stop: Arc<AtomicBool>,
    task: JoinHandle<u64>,
}

impl Observer {
    pub(super) fn start(shop: &Shop, target_port: u16) -> Observer {
        let (stop, shop) = (Arc::new(AtomicBool::new(false)), shop.clone());
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut floors: HashMap<Place, u64> = HashMap::new();
            let mut looks = 0;
            let mut conn: Option<Conn> = None;
            while !stopped.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(10)).await;
                let mut open = match conn.take() {
                    Some(open) => open,
                    // The target is away for a moment.
                    None => match harness::try_connect(target_port).await {
                        Ok(open) => open,
                        Err(_) => continue,
                    },
                };
                let Ok(rows) = shop.look(&mut open).await else { continue };
                conn = Some(open);
                looks += 1;
                let history = shop.history.lock().unwrap();
                for place in history.changes.keys().chain(rows.keys()) {
                    let (seen, floor) = (rows.get(place).copied(), floors.entry(*place).or_default());
                    *floor = history.moment(*place, seen, *floor).unwrap_or_else(|| {
                        panic!(
                            "{}.{} was of {floor} or later, now it is {seen:?}; it went through {:?}",
                            TABLES[place.0],
                            place.1,
                            history.changes.get(place)
                        )
                    });
                }
            }
            looks
        });
        Observer { stop, task }
    }

    /// How often it looked.
    pub(super) async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }

    /// It has found something wrong; `stop` tells what.
    pub(super) fn has_failed(&self) -> bool {
        self.task.is_finished()
    }
}

#[test]
fn a_row_is_of_a_moment_that_it_went_through() {
    let mut history = History::default();
    for (number, there) in [(3, true), (5, true), (8, false), (9, true)] {
        history.note((0, 1), number, there);
    }
    let moment = |seen, floor| history.moment((0, 1), seen, floor);
    assert_eq!((moment(None, 0), moment(Some(3), 0), moment(Some(5), 4)), (Some(0), Some(3), Some(5)));
    assert_eq!((moment(Some(5), 7), moment(None, 5), moment(Some(9), 8)), (Some(7), Some(8), Some(9)));
    assert_eq!((moment(Some(3), 5), moment(Some(5), 8), moment(None, 9), moment(Some(4), 0)), (None, None, None, None));
}
