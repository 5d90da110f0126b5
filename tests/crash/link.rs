//! A connection between a job and a server that a test can silence, cut, or make slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Nothing passes, and nobody is told.
    Silent,
    /// Connections are closed, new ones too.
    Cut,
}

/// A port on loopback that leads to another one.
pub(super) struct Link {
    port: u16,
    state: watch::Sender<State>,
    held: Arc<HeldBody>,
    accepted: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

/// The body of a load that has left its sender and not come to the server.
#[derive(Default)]
struct HeldBody {
    /// The next one is to be held.
    wanted: AtomicBool,
    there: AtomicBool,
    released: Notify,
}

impl Link {
    pub(super) async fn to(port: u16) -> Link {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (state, seen) = watch::channel(State::Open);
        let (held, accepted) = (Arc::<HeldBody>::default(), Arc::<AtomicU32>::default());
        let (hold, count) = (Arc::clone(&held), Arc::clone(&accepted));
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(join(near, port, seen.clone(), Arc::clone(&hold)));
            }
        });
        Link { port: own, state, held, accepted, task }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn open(&self) {
        self.state.send_replace(State::Open);
    }

    pub(super) fn silence(&self) {
        self.state.send_replace(State::Silent);
    }

    pub(super) fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Connections so far.
    pub(super) fn accepted(&self) -> u32 {
        self.accepted.load(Ordering::SeqCst)
    }

    /// The next load's body is kept on its way, also when its sender is gone, until `release`.
    pub(super) fn hold_next_body(&self) {
        self.held.wanted.store(true, Ordering::SeqCst);
    }

    pub(super) fn holds_a_body(&self) -> bool {
        self.held.there.load(Ordering::SeqCst)
    }

    pub(super) fn release(&self) {
        self.held.released.notify_one();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn join(near: TcpStream, port: u16, mut state: watch::Receiver<State>, held: Arc<HeldBody>) {
    if state.wait_for(|state| *state != State::Silent).await.is_err() || *state.borrow() == State::Cut {
        return;
    }
    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let mut cut = state.clone();
    tokio::select! {
        _ = async { tokio::join!(
            carry(near_in, far_out, state.clone(), Some(held)),
            carry(far_in, near_out, state, None),
        ) } => {}
        _ = cut.wait_for(|state| *state == State::Cut) => {}
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    held: Option<Arc<HeldBody>>,
) {
    let mut piece = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let piece = &piece[..length];
        // Headers and body come apart, because the body waits for the server's word.
        if let Some(held) =
            held.as_ref().filter(|held| !piece.starts_with(b"PUT ") && held.wanted.swap(false, Ordering::SeqCst))
        {
            held.there.store(true, Ordering::SeqCst);
            held.released.notified().await;
        }
        if state.wait_for(|state| *state != State::Silent).await.is_err() || to.write_all(piece).await.is_err() {
            return;
        }
    }
    // The other direction may still have something to say.
    let _ = to.shutdown().await;
}
