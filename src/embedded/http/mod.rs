//! The two HTTP ports of the embedded server.
//!
//! FE and BE are two listeners, as on a real cluster. The FE decides from a request's headers alone, never
//! reads a body and closes the connection after a load's redirect; the BE takes the body. Both run on hyper
//! itself, because its HTTP/1 server sends `100 Continue` exactly when the body is first asked for: all checks
//! that fail before that answer in place of it, and the body never flows (G1-G8).
//!
//! A second FE, where there is one, is a follower: it sends whoever asks about transactions and labels to the leader.
//!
//! A load runs in a task of its own, so that a client that goes away after its body was read does not stop the
//! commit: it has to ask for the label's state, as it would have to ask StarRocks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use super::engine::Engine;
use super::fault::Mode;
use crate::{Error, Result};

mod admin;
mod answer;
mod be;
mod commit;
mod error_log;
mod fe;
mod outcome;
mod request;
mod two_phase;

#[cfg(test)]
mod tests;

use two_phase::Contexts;

type Answer = Response<Full<Bytes>>;

/// What both ports share.
pub(super) struct Ports {
    engine: Arc<Engine>,
    fe_addr: SocketAddr,
    second_fe_addr: Option<SocketAddr>,
    be_addr: SocketAddr,
    contexts: Contexts,
}

/// The listeners, while they run.
pub(super) struct HttpServers {
    pub(super) fe_addr: SocketAddr,
    pub(super) second_fe_addr: Option<SocketAddr>,
    pub(super) be_addr: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
    /// Ends when the last request under way has ended.
    idle: mpsc::Receiver<()>,
}

/// How often timeouts of transactions are looked at.
const SWEEP: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Fe,
    SecondFe,
    Be,
}

/// A fault ends the connection in place of an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut")]
struct Cut;

impl HttpServers {
    /// Binds the ports and serves. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// A port that cannot be bound.
    pub(super) async fn start(engine: Arc<Engine>) -> Result<HttpServers> {
        let options = &engine.options;
        let fe = bind(&options.host, options.fe_port, "FE").await?;
        let be = bind(&options.host, options.be_port, "BE").await?;
        let second = match options.second_fe_port {
            Some(port) => Some(bind(&options.host, port, "second FE").await?),
            None => None,
        };
        let address = |listener: &TcpListener| {
            listener.local_addr().map_err(|error| Error::definite("a bound port has no address").caused_by(error))
        };
        let (fe_addr, be_addr) = (address(&fe)?, address(&be)?);
        let second_fe_addr = second.as_ref().map(address).transpose()?;
        let ports = Arc::new(Ports { engine, fe_addr, second_fe_addr, be_addr, contexts: Contexts::default() });
        let sweeper = ports.clone();
        // Nothing is ever sent: every request holds a sender while it runs.
        let (busy, idle) = mpsc::channel(1);
        let mut tasks = vec![
            tokio::spawn(accept(fe, Role::Fe, ports.clone(), busy.clone())),
            tokio::spawn(accept(be, Role::Be, ports.clone(), busy.clone())),
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(SWEEP).await;
                    let ports = sweeper.clone();
                    let _ = tokio::task::spawn_blocking(move || {
                        ports.contexts.sweep(&ports.engine);
                        ports.engine.labels.sweep(&ports.engine);
                    })
                    .await;
                }
            }),
        ];
        if let Some(second) = second {
            tasks.push(tokio::spawn(accept(second, Role::SecondFe, ports, busy)));
        }
        Ok(HttpServers { fe_addr, second_fe_addr, be_addr, tasks, idle })
    }

    /// Closes the ports and their connections. A load whose body was read is finished before this returns, so
    /// that nothing is written afterwards.
    pub(super) async fn stop(mut self) {
        for task in &self.tasks {
            task.abort();
        }
        for task in std::mem::take(&mut self.tasks) {
            let _ = task.await;
        }
        while self.idle.recv().await.is_some() {}
    }
}

async fn bind(host: &str, port: u16, role: &str) -> Result<TcpListener> {
    TcpListener::bind((host, port)).await.map_err(|error| {
        Error::definite(format!("cannot listen on {host}:{port} for the {role} port"))
            .hint("another server may use the port; port 0 takes a free one")
            .caused_by(error)
    })
}

/// Connections end with this task: the set aborts what it holds when it is dropped.
async fn accept(listener: TcpListener, role: Role, ports: Arc<Ports>, busy: mpsc::Sender<()>) {
    let mut connections = JoinSet::new();
    let mut kills = ports.engine.faults.kills();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                // Out of file handles, or the client is gone already.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
            Ok(()) = kills.changed() => {
                if role == Role::Be {
                    connections.abort_all();
                    ports.contexts.forget();
                }
                continue;
            }
        };
        if role == Role::Be && ports.engine.faults.strikes(&[], &Mode::BeGone) {
            continue;
        }
        let _ = stream.set_nodelay(true);
        let (ports, busy) = (ports.clone(), busy.clone());
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let (ports, busy) = (ports.clone(), busy.clone());
                async move {
                    let answer = serve(ports, role, peer, request, busy).await;
                    if answer::is_cut(&answer) { Err(Cut) } else { Ok(answer) }
                }
            });
            // The error is the client's going away.
            let _ = hyper::server::conn::http1::Builder::new()
                .max_buf_size(1024 * 1024)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn serve(
    ports: Arc<Ports>,
    role: Role,
    peer: SocketAddr,
    request: Request<Incoming>,
    busy: mpsc::Sender<()>,
) -> Answer {
    let answered = tokio::spawn(async move {
        let _busy = busy;
        match role {
            Role::Fe | Role::SecondFe => fe::serve(&ports, role, peer, request).await,
            Role::Be => be::serve(&ports, peer, request).await,
        }
    });
    answered.await.unwrap_or_else(|_| answer::plain(hyper::StatusCode::INTERNAL_SERVER_ERROR, "internal error"))
}
