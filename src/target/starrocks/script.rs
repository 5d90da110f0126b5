//! A server that answers by script, one connection a step: what a test needs of an FE or a BE, and what no
//! real server does on demand (lose an answer, close after the 100, redirect into the void).

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::config::Address;

/// What to do with the next connection.
#[derive(Clone)]
pub(super) enum Step {
    /// Answer from the headers; no body is read. The connection is closed.
    Answer { status: u16, headers: String, text: String },
    /// `100 Continue`, read the whole body, answer.
    Take(String),
    /// The same, without saying that the connection will be closed.
    TakeAndHangUp(String),
    /// `100 Continue`, read the whole body, close without an answer.
    TakeAndVanish,
    /// `100 Continue`, then close before the body is read.
    ContinueAndVanish,
    /// Close as soon as the headers are there.
    Vanish,
    /// Keep the connection open and do nothing more: before the `100 Continue`, or (`true`) after it.
    Stall(bool),
}

impl Step {
    pub(super) fn json(text: impl Into<String>) -> Step {
        Step::Answer { status: 200, headers: String::new(), text: text.into() }
    }

    pub(super) fn status(status: u16, text: &str) -> Step {
        Step::Answer { status, headers: String::new(), text: text.into() }
    }

    pub(super) fn redirect(to: &str) -> Step {
        Step::Answer { status: 307, headers: format!("Location: {to}\r\n"), text: String::new() }
    }

    pub(super) fn state(state: &str) -> Step {
        Step::json(format!(r#"{{"state":"{state}","reason":"","status":"OK","code":"0","msg":"Success"}}"#))
    }
}

/// One request as it came in.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(super) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }
}

pub(super) struct Scripted {
    pub(super) address: Address,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scripted {
    /// Plays `steps` in turn; after the last, connections are refused by being closed.
    pub(super) async fn start(steps: Vec<Step>) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut stalled = Vec::new();
            for step in steps {
                let (mut stream, _) = listener.accept().await.unwrap();
                if let Step::Stall(after) = step {
                    if after {
                        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
                    }
                    stalled.push(stream);
                    continue;
                }
                // The client may hang up at any point; that is its part of the test.
                let _ = play(&mut stream, step, &log).await;
            }
        });
        Scripted { address: Address { host: "127.0.0.1".into(), port }, seen, task }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

const CLOSE: &str = "Connection: close\r\n";

async fn play(stream: &mut TcpStream, step: Step, log: &Mutex<Vec<Seen>>) -> std::io::Result<()> {
    let mut received = Vec::new();
    let end = loop {
        if let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
    };
    let mut body = received.split_off(end);
    let head = String::from_utf8_lossy(&received).into_owned();
    let request = Seen { head, body: Vec::new() };
    let length: usize = request.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    let index = {
        let mut log = log.lock().unwrap();
        log.push(request);
        log.len() - 1
    };
    match step {
        Step::Answer { status, headers, text } => {
            answer(stream, status, &(headers + CLOSE), &text).await?;
            // Whatever comes now should not have been sent; it is recorded, so that a test can object.
            let _ = stream.shutdown().await;
            while stream.read_buf(&mut body).await? > 0 {}
            log.lock().unwrap()[index].body = body;
        }
        Step::Take(_) | Step::TakeAndHangUp(_) | Step::TakeAndVanish => {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            while body.len() < length && stream.read_buf(&mut body).await? > 0 {}
            log.lock().unwrap()[index].body = body;
            match step {
                Step::Take(text) => answer(stream, 200, CLOSE, &text).await?,
                Step::TakeAndHangUp(text) => answer(stream, 200, "", &text).await?,
                _ => {}
            }
        }
        Step::ContinueAndVanish => stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?,
        Step::Vanish | Step::Stall(_) => {}
    }
    Ok(())
}

async fn answer(stream: &mut TcpStream, status: u16, headers: &str, text: &str) -> std::io::Result<()> {
    let length = text.len();
    let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{headers}\r\n{text}");
    stream.write_all(answer.as_bytes()).await
}
