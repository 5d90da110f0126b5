//! Conformance of the embedded server's HTTP ports with StarRocks' rules. A test's name starts with the number
//! of its rule, `g06_…` for G6. Requests are written byte by byte, so that nothing a client library would do
//! by itself hides what the server does.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use serde_json::Value;
use towpath::embedded::fault::Fault;
use towpath::embedded::{Options, Server};
use towpath::target::Version;

mod data;
mod faults;
mod ports;
mod transactions;

const AUTH: &str = "Authorization: Basic cm9vdDo="; // root, no password
const CSV: &str = "column_separator: ,";
const STRICT: &str = "strict_mode: true";

struct Target {
    server: Option<Server>,
    runtime: tokio::runtime::Runtime,
    options: Options,
    _folder: tempfile::TempDir,
}

impl Target {
    fn start() -> Target {
        Target::with(|_| {})
    }

    fn version(major: u16, minor: u16, patch: u16) -> Target {
        Target::with(|options| options.version = Version { major, minor, patch })
    }

    /// A server with database `shop` and table `t` (see [`Target::with`]).
    fn with(change: impl FnOnce(&mut Options)) -> Target {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::new(folder.path());
        change(&mut options);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let server = runtime.block_on(Server::start(options.clone())).unwrap();
        let target = Target { server: Some(server), runtime, options, _folder: folder };
        target.sql("CREATE DATABASE shop");
        target.create(
            "t",
            "id BIGINT NOT NULL, name VARCHAR(10), n TINYINT, d DECIMAL(5, 2), req VARCHAR(20) NOT NULL DEFAULT 'x'",
            "id",
        );
        target
    }

    fn create(&self, table: &str, columns: &str, key: &str) {
        self.sql(&format!(
            "CREATE TABLE shop.`{table}` ({columns}) PRIMARY KEY ({key}) DISTRIBUTED BY HASH({key}) BUCKETS 1 \
             PROPERTIES (\"replication_num\" = \"1\")"
        ));
    }

    fn running(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    fn fe(&self) -> SocketAddr {
        self.running().fe_addr
    }

    fn be(&self) -> SocketAddr {
        self.running().be_addr
    }

    fn sql(&self, statement: &str) -> Vec<Vec<Option<String>>> {
        let address = self.running().mysql_addr;
        self.runtime.block_on(async {
            let options = mysql_async::OptsBuilder::default()
                .ip_or_hostname(address.ip().to_string())
                .tcp_port(address.port())
                .user(Some("root"))
                .prefer_socket(false);
            let mut connection = mysql_async::Conn::new(options).await.unwrap();
            let rows: Vec<mysql_async::Row> =
                connection.query(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
            connection.disconnect().await.unwrap();
            rows.into_iter()
                .map(|row| {
                    row.unwrap()
                        .into_iter()
                        .map(|value| match value {
                            mysql_async::Value::NULL => None,
                            mysql_async::Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
                            other => Some(other.as_sql(true).trim_matches('\'').to_owned()),
                        })
                        .collect()
                })
                .collect()
        })
    }

    /// One text a row: cells with `,` between, NULL as `-`.
    fn rows(&self, query: &str) -> Vec<String> {
        let cell = |cell: Option<String>| cell.unwrap_or_else(|| "-".into());
        self.sql(query).into_iter().map(|row| row.into_iter().map(cell).collect::<Vec<_>>().join(",")).collect()
    }

    /// A Stream Load into `shop.table`, straight to the BE.
    fn load_into(&self, table: &str, headers: &[&str], body: &[u8]) -> Value {
        let path = format!("/api/shop/{table}/_stream_load");
        let mut all = vec![AUTH];
        all.extend_from_slice(headers);
        let answer = http(self.be(), "PUT", &path, &all, Some(body));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    fn load(&self, headers: &[&str], body: &[u8]) -> Value {
        self.load_into("t", headers, body)
    }

    fn label_state(&self, label: &str) -> Value {
        http(self.fe(), "GET", &format!("/api/shop/get_load_state?label={label}"), &[AUTH], None).json()
    }

    /// A Stream Load that gets no answer: the connection is cut.
    fn load_in_vain(&self, headers: &[&str], body: &[u8]) {
        let mut stream = connect(self.be());
        let mut head = format!("PUT {PATH} HTTP/1.1\r\nHost: test\r\n{AUTH}\r\nContent-Length: {}\r\n", body.len());
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(String::from_utf8_lossy(&answer), "", "the connection was not cut");
    }

    fn inject(&self, fault: Fault) -> u64 {
        self.running().inject(fault).unwrap()
    }

    /// Waits until a label has that state.
    fn await_state(&self, label: &str, state: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.label_state(label)["state"] != state {
            assert!(Instant::now() < deadline, "{label} never came to {state}: {}", self.label_state(label));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A call of the transaction interface on the FE, following redirects by hand.
    fn transaction(&self, op: &str, headers: &[&str], body: Option<&[u8]>) -> Value {
        let method = if op == "load" { "PUT" } else { "POST" };
        let path = format!("/api/transaction/{op}");
        let mut all = vec![AUTH, "db: shop"];
        all.extend_from_slice(headers);
        let first = http(self.fe(), method, &path, &all, if body.is_some() { None } else { Some(b"") });
        if first.status != 307 {
            return first.json();
        }
        assert_eq!(first.header("location").unwrap().split(&path).count(), 2);
        http(self.be(), method, &path, &all, body.or(Some(b""))).json()
    }

    fn error_log(&self, answer: &Value) -> String {
        let url = answer["ErrorURL"].as_str().unwrap_or_else(|| panic!("no ErrorURL in {answer}"));
        let rest = url.strip_prefix("http://").unwrap();
        let (address, path) = rest.split_at(rest.find('/').unwrap());
        let log = http(address.parse().unwrap(), "GET", path, &[], None);
        assert_eq!(log.status, 200);
        log.body
    }

    fn restart(&mut self) {
        let server = self.server.take().unwrap();
        self.runtime.block_on(server.stop());
        self.server = Some(self.runtime.block_on(Server::start(self.options.clone())).unwrap());
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.head, self.body))
    }

    fn header(&self, name: &str) -> Option<String> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    }
}

/// One request on its own connection. `None` sends no body and no length.
fn http(address: SocketAddr, method: &str, path: &str, headers: &[&str], body: Option<&[u8]>) -> Answer {
    let mut stream = connect(address);
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    if let Some(body) = body {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    if let Some(body) = body {
        // The server may have answered and closed already.
        let _ = stream.write_all(body);
    }
    read_answer(&mut stream)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// Reads to the connection's end.
fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    parse(&String::from_utf8_lossy(&bytes))
}

fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// Waits until something comes, and reads what comes within a moment behind it, without waiting for the end.
fn read_now(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    }
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    text
}

const PATH: &str = "/api/shop/t/_stream_load";
