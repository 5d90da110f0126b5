//! A TCP proxy between a job and its source that does what networks do: cuts, falls silent, refuses, and cannot carry
//! some things.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Every connection to `port` goes on to one server.
pub(crate) struct Proxy {
    port: u16,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

struct State {
    /// Raised to end all connections.
    cuts: watch::Sender<u64>,
    silent: watch::Sender<bool>,
    down: watch::Sender<bool>,
    /// Bytes that the server may send until the next cut.
    allowance: AtomicI64,
    /// How long each full piece of what the server sends is held back.
    slowness: Mutex<Duration>,
    /// What ends a connection when the server sends it.
    poison: Mutex<Option<Vec<u8>>>,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = SocketAddr::from(([127, 0, 0, 1], port));
        let state = Arc::new(State {
            cuts: watch::Sender::new(0),
            silent: watch::Sender::new(false),
            down: watch::Sender::new(false),
            allowance: AtomicI64::new(i64::MAX),
            slowness: Mutex::default(),
            poison: Mutex::default(),
        });
        let port = listener.local_addr().unwrap().port();
        let accepting = tokio::spawn(accept(listener, server, Arc::clone(&state)));
        Proxy { port, state, accepting }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends all connections.
    pub(crate) fn cut(&self) {
        self.state.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Cuts as soon as the server has sent so many bytes more, and lets nobody in from then on, until `down` is told.
    pub(crate) fn cut_after(&self, bytes: i64) {
        self.state.allowance.store(bytes, Ordering::SeqCst);
    }

    /// Whether the cut asked for has come.
    pub(crate) fn has_cut(&self) -> bool {
        self.state.allowance.load(Ordering::SeqCst) < 0
    }

    /// Connections stay open and carry nothing any more, new ones too.
    pub(crate) fn silence(&self, silent: bool) {
        self.state.silent.send_replace(silent);
    }

    /// Nobody is let in, and those who are in are put out.
    pub(crate) fn down(&self, down: bool) {
        self.state.allowance.store(i64::MAX, Ordering::SeqCst);
        self.state.down.send_replace(down);
        if down {
            self.cut();
        }
    }

    /// A thin line: each 16 KiB that the server has ready takes so long. Small packets are quick.
    pub(crate) fn slow(&self, each: Duration) {
        *self.state.slowness.lock().unwrap() = each;
    }

    pub(crate) fn poison(&self, bytes: Option<&[u8]>) {
        *self.state.poison.lock().unwrap() = bytes.map(<[u8]>::to_vec);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        // Dropped: closed.
        if *state.down.borrow() || state.allowance.load(Ordering::SeqCst) < 0 {
            continue;
        }
        tokio::spawn(carry(client, server, Arc::clone(&state)));
    }
}

async fn carry(client: TcpStream, server: SocketAddr, state: Arc<State>) {
    let mut cuts = state.cuts.subscribe();
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pump(from_client, to_server, &state, false) => {}
        () = pump(from_server, to_client, &state, true) => {}
        _ = cuts.changed() => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State, from_server: bool) {
    let mut silent = state.silent.subscribe();
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if silent.wait_for(|silent| !silent).await.is_err() {
            return;
        }
        let mut bytes = &buffer[..length];
        let mut last = false;
        if from_server && length == buffer.len() {
            let slowness = *state.slowness.lock().unwrap();
            tokio::time::sleep(slowness).await;
        }
        if from_server {
            let poison = state.poison.lock().unwrap().clone();
            if poison.is_some_and(|poison| bytes.windows(poison.len()).any(|window| window == poison)) {
                return;
            }
            let left = state.allowance.fetch_sub(length as i64, Ordering::SeqCst);
            last = left < length as i64;
            bytes = &bytes[..length.min(left.max(0) as usize)];
        }
        if to.write_all(bytes).await.is_err() || last {
            return;
        }
    }
}
