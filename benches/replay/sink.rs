//! The null sink: loads that cost the target nothing but reading them.
//!
//! A process of its own. Its MySQL port is the embedded server's, so schema migration and pre-flight are the real ones. Its
//! HTTP port plays a BE (`httpAddress` may name one): it asks for each body with a 100, reads it, counts its rows by their
//! end marks and answers `Success` with that count, as strictly as the client wants it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use memchr::{memchr_iter, memmem};

/// The sink as its user sees it.
pub(crate) struct Sink {
    pub(crate) mysql: u16,
    pub(crate) http: u16,
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Sink {
    pub(crate) fn start() -> Sink {
        let this = std::env::current_exe().unwrap();
        let mut child = Command::new(this).arg("sink").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (orders, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut sink = Sink { mysql: 0, http: 0, child, orders, answers };
        let ports = sink.answer();
        (sink.mysql, sink.http) = (ports[0] as u16, ports[1] as u16);
        sink
    }

    /// The rows that came since the last call. From now on each load waits so long before it is answered.
    pub(crate) fn take(&mut self, delay: Duration) -> u64 {
        writeln!(self.orders, "{}", delay.as_millis()).unwrap();
        self.answer()[0]
    }

    fn answer(&mut self) -> Vec<u64> {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.split_whitespace().map(|number| number.parse().unwrap()).collect()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

static ROWS: AtomicU64 = AtomicU64::new(0);
static DELAY_MS: AtomicU64 = AtomicU64::new(0);

/// The process. It ends with its standard input.
pub(crate) fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let server =
        runtime.block_on(towpath::embedded::Server::start(towpath::embedded::Options::new(folder.path()))).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    println!("{} {}", server.mysql_addr.port(), listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || serve(stream));
        }
    });
    for order in std::io::stdin().lines() {
        DELAY_MS.store(order.unwrap().parse().unwrap(), Ordering::Relaxed);
        println!("{}", ROWS.swap(0, Ordering::Relaxed));
    }
}

/// One connection, request by request.
fn serve(mut stream: TcpStream) -> Option<()> {
    static BUFFERS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
    let _ = stream.set_nodelay(true);
    let mut buffer = BUFFERS.lock().unwrap().pop().unwrap_or_else(|| vec![0; 1 << 20]);
    let mut filled = 0;
    loop {
        let end = loop {
            if let Some(at) = memmem::find(&buffer[..filled], b"\r\n\r\n") {
                break at + 4;
            }
            let read = stream.read(&mut buffer[filled..]).ok().filter(|read| *read > 0);
            let Some(read) = read else {
                BUFFERS.lock().unwrap().push(buffer);
                return None;
            };
            filled += read;
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        // Whoever sends a body waits to be asked for it, so nothing is behind the head.
        buffer.copy_within(end..filled, 0);
        filled -= end;
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
        };
        let label = header("label");
        if head.starts_with("GET /api/health ") {
            respond(&mut stream, "200 OK", r#"{"status":"OK"}"#)?;
        } else if !head.starts_with("PUT ") {
            respond(&mut stream, "404 Not Found", "")?;
        } else if label == "towpath_probe" {
            // Pre-flight, which never sends the body.
            respond(&mut stream, "200 OK", r#"{"Status":"Fail","Message":"unknown table"}"#)?;
            return None;
        } else {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
            let row_end = if header("format") == "json" { b'\n' } else { 2 };
            let (mut left, mut rows) = (header("content-length").parse::<usize>().ok()?, 0);
            while left > 0 {
                let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
                rows += memchr_iter(row_end, &buffer[..read]).count() as u64;
                left = left.checked_sub(read)?;
            }
            std::thread::sleep(Duration::from_millis(DELAY_MS.load(Ordering::Relaxed)));
            ROWS.fetch_add(rows, Ordering::Relaxed);
            let answer = format!(
                r#"{{"TxnId":1,"Label":"{label}","Status":"Success","Message":"OK","NumberTotalRows":{rows},"NumberLoadedRows":{rows},"NumberFilteredRows":0}}"#
            );
            respond(&mut stream, "200 OK", &answer)?;
        }
    }
}

fn respond(stream: &mut TcpStream, status: &str, text: &str) -> Option<()> {
    let length = text.len();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{text}").ok()
}
