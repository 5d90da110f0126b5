//! Those that Towpath is measured against, each a process that does a part of its work.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Mutex;

use clap::Args;
use futures_util::StreamExt as _;
use mysql_async::{BinlogStreamRequest, Conn, OptsBuilder};
use mysql_cdc::binlog_client::BinlogClient;
use mysql_cdc::binlog_options::BinlogOptions;
use mysql_cdc::events::binlog_event::BinlogEvent;
use mysql_cdc::replica_options::ReplicaOptions;

use crate::process::{Cost, measure};
use crate::source::{CDC_USER, DATABASE, Log, TABLES};

/// The others' names in the report; those that do nothing but read come first in their group.
pub(crate) const WHO: [&str; 2] = [LOG_ONLY, DRAIN];
pub(crate) const LOG_ONLY: &str = "reading the log only (mysql_async)";
pub(crate) const CDC: &str = "mysql_cdc, rows decoded";
pub(crate) const DRAIN: &str = "draining the SELECTs (packets)";

#[derive(Debug, Args)]
pub(crate) struct Reading {
    how: String,
    port: u16,
    #[arg(default_value = "")]
    file: String,
    #[arg(default_value_t = 0)]
    offset: u64,
    #[arg(default_value_t = 0)]
    rows: u64,
}

const BEGIN: &str = "reading begins";
/// As Towpath's defaults.
const PARALLEL: usize = 4;
const CHUNK: u64 = 50_000;

/// Reads the log to its end, checks what can be counted, and tells the cost.
pub(crate) fn log(who: &'static str, port: u16, log: &Log) -> Cost {
    let how = if who == CDC { "cdc" } else { "log" };
    let offset = log.from.offset.to_string();
    let (cost, counted) = this(&[how, &port.to_string(), &log.from.file, &offset]);
    let expected = if who == CDC { log.changes } else { log.bytes };
    let counted: u64 = counted.parse().unwrap();
    // Bytes: but for the heads of the log's files.
    assert!(counted >= expected / 100 * 99 && (who != CDC || counted == expected), "{who}: {counted} of {expected}");
    cost
}

pub(crate) fn drain(port: u16, rows_a_table: usize) -> Cost {
    let (cost, counted) = this(&["drain", &port.to_string(), "", "0", &rows_a_table.to_string()]);
    assert_eq!(counted, (rows_a_table * TABLES).to_string());
    cost
}

fn this(arguments: &[&str]) -> (Cost, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("read").args(arguments);
    measure(command, &[BEGIN])
}

/// The process. Its last line is what it has counted.
pub(crate) fn run(reading: &Reading) {
    let counted = match reading.how.as_str() {
        "log" => {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(log_only(reading))
        }
        "cdc" => cdc(reading),
        _ => drain_all(reading),
    };
    eprintln!("{counted}");
}

async fn log_only(reading: &Reading) -> u64 {
    let options = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(reading.port).user(Some("root"));
    let conn = Conn::new(options.prefer_socket(false)).await.unwrap();
    let request = BinlogStreamRequest::new(4711).with_non_blocking();
    eprintln!("{BEGIN}");
    let request = request.with_filename(reading.file.as_bytes()).with_pos(reading.offset);
    let mut stream = conn.get_binlog_stream(request).await.unwrap();
    let mut bytes = 0;
    while let Some(event) = stream.next().await {
        bytes += u64::from(event.unwrap().header().event_size());
    }
    bytes
}

fn cdc(reading: &Reading) -> u64 {
    let mut client = BinlogClient::new(ReplicaOptions {
        port: reading.port,
        hostname: "127.0.0.1".into(),
        username: CDC_USER.into(),
        password: CDC_USER.into(),
        blocking: false,
        binlog: BinlogOptions::from_position(reading.file.clone(), reading.offset as u32),
        ..ReplicaOptions::default()
    });
    eprintln!("{BEGIN}");
    let mut rows = 0;
    for event in client.replicate().unwrap() {
        rows += match event.unwrap().1 {
            BinlogEvent::WriteRowsEvent(event) => event.rows.len(),
            BinlogEvent::UpdateRowsEvent(event) => event.rows.len(),
            BinlogEvent::DeleteRowsEvent(event) => event.rows.len(),
            _ => 0,
        } as u64;
    }
    rows
}

/// Full data's SELECTs, chunk by chunk, several at once; of a packet nothing but its length is looked at.
fn drain_all(reading: &Reading) -> u64 {
    let chunks = (1..=TABLES).flat_map(|table| (0..reading.rows.div_ceil(CHUNK)).map(move |chunk| (table, chunk)));
    let chunks = Mutex::new(chunks.collect::<Vec<_>>());
    eprintln!("{BEGIN}");
    std::thread::scope(|scope| {
        let readers = (0..PARALLEL).map(|_| {
            scope.spawn(|| {
                let mut client = Client::connect(reading.port);
                let mut rows = 0;
                loop {
                    let Some((table, chunk)) = chunks.lock().unwrap().pop() else { return rows };
                    let (above, upto) = (chunk * CHUNK, (chunk + 1) * CHUNK);
                    rows += client.rows(&format!(
                        "SELECT id, k, c, pad FROM {DATABASE}.sbtest{table} FORCE INDEX (PRIMARY) WHERE id > {above} AND id <= {upto}"
                    ));
                }
            })
        });
        readers.collect::<Vec<_>>().into_iter().map(|reader| reader.join().unwrap()).sum()
    })
}

/// Just enough of MySQL's protocol for `root` without a password.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Client {
    fn connect(port: u16) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Client { stream, buffer: vec![0; 256 << 10], start: 0, end: 0 };
        client.packet(|_| ());
        // Protocol 4.1, long passwords, secure connection, plugins.
        let mut response = 0x0008_8201_u32.to_le_bytes().to_vec();
        response.extend_from_slice(&(1_u32 << 24).to_le_bytes());
        response.push(45);
        response.extend_from_slice(&[0; 23]);
        response.extend_from_slice(b"root\0\0caching_sha2_password\0");
        client.send(1, &response);
        while client.packet(|packet| packet[0]) != 0 {}
        client
    }

    fn send(&mut self, number: u8, payload: &[u8]) {
        let mut packet = (payload.len() as u32).to_le_bytes();
        packet[3] = number;
        self.stream.write_all(&[&packet, payload].concat()).unwrap();
    }

    fn rows(&mut self, sql: &str) -> u64 {
        self.send(0, &[b"\x03", sql.as_bytes()].concat());
        let is_end = |packet: &[u8]| packet[0] == 0xfe && packet.len() < 9;
        assert_ne!(self.packet(|packet| packet[0]), 0xff, "{sql}");
        while !self.packet(is_end) {}
        let mut rows = 0;
        while !self.packet(is_end) {
            rows += 1;
        }
        rows
    }

    /// The next packet; none is larger than the buffer.
    fn packet<R>(&mut self, look: impl Fn(&[u8]) -> R) -> R {
        loop {
            let there = &self.buffer[self.start..self.end];
            if let Some(head) = there.get(..3) {
                let length = 4 + (usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16);
                if let Some(packet) = there.get(4..length) {
                    let seen = look(packet);
                    self.start += length;
                    return seen;
                }
            }
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            let read = self.stream.read(&mut self.buffer[self.end..]).unwrap();
            assert!(read > 0, "the server has closed the connection");
            self.end += read;
        }
    }
}
