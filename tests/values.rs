//! Every type and its limits, written to real servers, and read by both decoders: the snapshot's from a SELECT, the
//! binlog's from the row images. Both must give the same bytes, and those that the server itself prints.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, Row};
use tokio_util::sync::CancellationToken;
use towpath::config::{NoKeyTables, TableFilter, ZeroDate};
use towpath::mysql::binlog::{self, ReaderOptions, RowPlan, RowsEvent, Slot};
use towpath::mysql::connect::Session as _;
use towpath::mysql::snapshot::{SnapshotPlan, prepare_session, select_expression};
use towpath::mysql::value::{ValueOptions, ValueWriter};
use towpath::mysql::{catalog, connect, position};
use towpath::ring::{Budget, ring};
use towpath::schema::{Mapping, MappingOptions, Table, TableName, map_table};

use towpath::demo::server::ScratchServer;

use crate::servers::{self, Shared};

mod charsets;
mod corpus;
mod keys;
mod limits;
mod old_times;
mod partial_json;
mod zones;

/// Cells as text that tells their kind.
#[derive(Default)]
struct Cells(Vec<String>);

impl Cells {
    fn push(&mut self, kind: &str, bytes: &[u8]) {
        let text = std::str::from_utf8(bytes).unwrap_or_else(|_| panic!("{kind} is not UTF-8: {bytes:02x?}"));
        self.0.push(format!("{kind} {text}"));
    }
}

impl ValueWriter for Cells {
    fn null(&mut self) {
        self.0.push("null".into());
    }
    fn integer(&mut self, value: i64) {
        self.0.push(format!("number {value}"));
    }
    fn unsigned(&mut self, value: u64) {
        self.0.push(format!("number {value}"));
    }
    fn number(&mut self, digits: &[u8]) {
        self.push("number", digits);
    }
    fn plain(&mut self, text: &[u8]) {
        self.push("plain", text);
    }
    fn text(&mut self, text: &[u8]) {
        self.push("text", text);
    }
    fn binary(&mut self, bytes: &[u8]) {
        let mut hex = "binary ".to_owned();
        bytes.iter().for_each(|byte| write!(hex, "{byte:02X}").unwrap());
        self.0.push(hex);
    }
    fn json(&mut self, document: &[u8]) {
        self.push("json", document);
    }
}

fn options() -> ValueOptions {
    ValueOptions { zone: jiff::tz::TimeZone::UTC, zero_date: ZeroDate::Null }
}

fn mapping(table: &Table) -> Mapping {
    let options = MappingOptions::for_version(4, 0);
    map_table(table, &options).unwrap()
}

/// A server of this test alone, or the shared one.
trait Source {
    fn url(&self) -> String;
    fn port(&self) -> u16;
}

impl Source for Shared {
    fn url(&self) -> String {
        Shared::url(self)
    }
    fn port(&self) -> u16 {
        Shared::port(self)
    }
}

impl Source for ScratchServer {
    fn url(&self) -> String {
        ScratchServer::url(self)
    }
    fn port(&self) -> u16 {
        ScratchServer::port(self)
    }
}

async fn open(server: &impl Source) -> Conn {
    Conn::new(Opts::from_url(&server.url()).unwrap()).await.unwrap()
}

/// The tables of a database, as the job's catalogue reads them.
async fn tables(conn: &mut Conn, database: &str) -> Vec<Table> {
    let info = connect::server_info(conn).await.unwrap();
    let filter = TableFilter::new(&[format!("{database}.*")], &[], false).unwrap();
    catalog::tables(conn, &info, &filter, NoKeyTables::Error).await.unwrap()
}

/// All rows of a table through the snapshot decoder, ordered by the first column. A row that cannot be written has its
/// error in each cell.
async fn snapshot(server: &impl Source, mapping: &Mapping, options: &ValueOptions) -> Vec<Vec<String>> {
    let job = crate::source_catalog::job(server.port(), "root", "", "a.b", "");
    let mut conn = connect::connector(&job.source, Default::default()).tables(None).await.unwrap();
    // What the server may give to every session; the snapshot's own must not heed it.
    conn.rows("SET NAMES latin1, time_zone = '+11:00', sql_mode = 'PAD_CHAR_TO_FULL_LENGTH,ANSI_QUOTES'")
        .await
        .unwrap();
    prepare_session(&mut conn).await.unwrap();
    let plan = SnapshotPlan::new(mapping, options).unwrap();
    let first = select_expression(&mapping.source.columns[0]);
    let statement = format!("SELECT {} FROM {} ORDER BY {first}", plan.select(), mapping.source.name.quoted());
    let mut selecting = conn.select(&statement).await.unwrap();
    let mut written = Vec::new();
    while let Some(page) = selecting.next().await.unwrap() {
        for row in page.rows() {
            let mut cells = Cells::default();
            written.push(match plan.write(row, &mut cells) {
                Ok(()) => cells.0,
                Err(error) => vec![error.to_string(); mapping.target.columns.len()],
            });
        }
    }
    written
}

/// Everything in the log of one database, from `start` to a mark that this writes at its end.
async fn log(server: &impl Source, start: position::Position, database: &str) -> Vec<RowsEvent> {
    let mut conn = open(server).await;
    let mark = format!("{database}_mark");
    conn.query_drop(format!("CREATE DATABASE {mark}")).await.unwrap();
    conn.query_drop(format!("CREATE TABLE {mark}.t (id INT PRIMARY KEY)")).await.unwrap();
    conn.query_drop(format!("INSERT INTO {mark}.t VALUES (1)")).await.unwrap();
    let flavor = connect::server_info(&mut conn).await.unwrap().flavor;
    let job = crate::source_catalog::job(server.port(), "root", "", "a.b", "");
    let connect = connect::connector(&job.source, Default::default());
    let (sender, receiver) = ring(1024, &Budget::new(1 << 26));
    let cancel = CancellationToken::new();
    let (ours, marks) = (database.to_owned(), mark.clone());
    let wanted = Arc::new(move |name: &TableName| name.database == ours || name.database == marks);
    let server_id = 7000 + u32::from(server.port() % 1000) + conn.id();
    let replica_host = "values-test".into();
    let heard = Default::default();
    let patience = Default::default();
    let noticed = Arc::new(|_: &TableName| false);
    let reader = ReaderOptions {
        connect,
        flavor,
        start,
        by_gtid: false,
        server_id,
        replica_host,
        wanted,
        noticed,
        patience,
        heard,
    };
    let thread = binlog::spawn(reader, sender, cancel.clone()).unwrap();
    let collected = tokio::task::spawn_blocking(move || {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut events = Vec::new();
        loop {
            let entry = receiver.recv_deadline(deadline).unwrap().expect("the mark did not come");
            if let Slot::Rows(rows) = entry.item {
                if rows.table.name.database == mark {
                    return events;
                }
                events.push(rows);
            }
        }
    });
    let events = collected.await.unwrap();
    cancel.cancel();
    thread.join().unwrap().unwrap();
    events
}

/// All rows of a table's events through the binlog decoder, in the log's order.
fn images(events: &[RowsEvent], mapping: &Mapping, options: &ValueOptions) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for event in events.iter().filter(|event| event.table.name == mapping.source.name) {
        let plan = RowPlan::new(mapping, &event.table, options).unwrap();
        let mut rest = &event.images[..];
        while !rest.is_empty() {
            let mut key = Vec::new();
            let end = plan.walk(rest, &mut key).unwrap();
            assert!(!key.is_empty());
            let mut cells = Cells::default();
            rows.push(match plan.write(&rest[..end], &mut cells) {
                Ok(()) => cells.0,
                Err(error) => vec![error.to_string(); mapping.target.columns.len()],
            });
            rest = &rest[end..];
        }
    }
    rows
}
