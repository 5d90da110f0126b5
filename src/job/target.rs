//! A job's target, reached; for `type: embedded` the server is started first, in this process.

use std::sync::Arc;

use crate::Result;
use crate::config::{Address, Job, TargetKind};
use crate::embedded;
use crate::state::Store;
use crate::target::Version;
use crate::target::starrocks::StarRocks;

/// The client, and the embedded server when there is one.
pub struct Connected {
    client: Arc<StarRocks>,
    server: Option<embedded::Server>,
}

impl Connected {
    pub fn client(&self) -> Arc<StarRocks> {
        Arc::clone(&self.client)
    }

    pub async fn stop(self) {
        if let Some(server) = self.server {
            server.stop().await;
        }
    }
}

/// Like a version that can do what the job asks for.
fn embedded_options(job: &Job) -> embedded::Options {
    let mut options = embedded::Options::new(&job.target.data_dir);
    if job.atomic_transactions {
        options.version = options.version.max(Version { major: 4, minor: 0, patch: 0 });
    }
    options
}

/// For a command that may run beside the job: while the job runs, the embedded server is the job's.
///
/// # Errors
/// As [`connect`].
pub async fn connect_beside(job: &Job) -> Result<Connected> {
    if job.target.kind == TargetKind::Embedded && Store::is_running(&job.state_dir, &job.name) {
        return Ok(Connected { client: Arc::new(StarRocks::new(&job.target, &job.params)?), server: None });
    }
    connect(job).await
}

/// # Errors
/// The settings are no use, or the embedded server cannot be started (a port in use, a folder not writable).
pub async fn connect(job: &Job) -> Result<Connected> {
    let mut target = job.target.clone();
    if target.kind != TargetKind::Embedded {
        return Ok(Connected { client: Arc::new(StarRocks::new(&target, &job.params)?), server: None });
    }
    let http_port = target.http_addresses.first().map_or(8030, |address| address.port);
    let (host, mysql_port) = match target.client_addresses.first() {
        Some(address) => (address.host.clone(), address.port),
        None => ("127.0.0.1".to_owned(), 9030),
    };
    let server = embedded::Server::start(embedded::Options {
        host,
        mysql_port,
        fe_port: http_port,
        be_port: if http_port == 0 { 0 } else { http_port.saturating_add(10) },
        user: target.username.clone(),
        password: target.password.reveal().to_owned(),
        ..embedded_options(job)
    })
    .await?;
    let address = |bound: std::net::SocketAddr| Address { host: bound.ip().to_string(), port: bound.port() };
    target.client_addresses = vec![address(server.mysql_addr)];
    target.http_addresses = vec![address(server.fe_addr)];
    Ok(Connected { client: Arc::new(StarRocks::new(&target, &job.params)?), server: Some(server) })
}
