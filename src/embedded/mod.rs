//! A StarRocks-compatible server on SQLite: the MySQL port, and the FE and BE HTTP ports of Stream Load.
//!
//! It is for tests, demos and small local targets. It keeps StarRocks' rules rather than being kinder, so that
//! what works here works there: the 307 from FE to BE, labels, strict mode, byte lengths, key rules, the DDL
//! grammar and its asynchronous ALTER jobs. All state is one SQLite file in `data_dir`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::{Addresses, Engine};
use http::HttpServers;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::target::Version;
use crate::{Error, Result};

mod catalog;
mod engine;
pub mod fault;
mod http;
mod load;
mod sql;
mod store;
mod transaction;
mod types;
mod users;
mod value;

/// How the server runs. A port of 0 picks a free one.
#[derive(Debug, Clone)]
pub struct Options {
    pub data_dir: PathBuf,
    /// Address to bind.
    pub host: String,
    pub mysql_port: u16,
    pub fe_port: u16,
    pub be_port: u16,
    /// HTTP port of a second FE, a follower of the first; `None`: there is one FE only.
    pub second_fe_port: Option<u16>,
    /// The second FE's MySQL port, where there is one.
    pub second_mysql_port: u16,
    /// The user that may do everything.
    pub user: String,
    pub password: String,
    /// The StarRocks version to behave like.
    pub version: Version,
    /// How long an asynchronous ALTER job stays in RUNNING.
    pub alter_delay: Duration,
    /// Finished labels kept per database.
    pub label_keep_max_num: usize,
    /// How long a finished label is kept at most.
    pub label_keep_max_age: Duration,
    /// Transactions that may be open in a database at a time.
    pub max_running_txn_num_per_db: usize,
    /// Versions a table may have; each load makes one, a compaction merges them.
    pub tablet_max_versions: u64,
    /// How often the make-believe compaction runs.
    pub compaction_interval: Duration,
}

impl Options {
    /// Loopback, free ports, user `root` without password, version 3.5.0.
    pub fn new(data_dir: impl Into<PathBuf>) -> Options {
        Options {
            data_dir: data_dir.into(),
            host: "127.0.0.1".into(),
            mysql_port: 0,
            fe_port: 0,
            be_port: 0,
            second_fe_port: None,
            second_mysql_port: 0,
            user: "root".into(),
            password: String::new(),
            version: Version { major: 3, minor: 5, patch: 0 },
            alter_delay: Duration::from_secs(1),
            label_keep_max_num: 1000,
            label_keep_max_age: Duration::from_secs(3 * 24 * 3600),
            max_running_txn_num_per_db: 1000,
            tablet_max_versions: 1000,
            compaction_interval: Duration::from_secs(1),
        }
    }
}

/// A running server and where it listens.
pub struct Server {
    pub mysql_addr: SocketAddr,
    pub fe_addr: SocketAddr,
    pub be_addr: SocketAddr,
    pub second_fe_addr: Option<SocketAddr>,
    pub second_mysql_addr: Option<SocketAddr>,
    engine: Arc<Engine>,
    stopping: CancellationToken,
    http: HttpServers,
    tasks: Vec<JoinHandle<()>>,
    jobs: JoinHandle<()>,
}

/// How often ALTER jobs and late commits move on.
const JOB_TICK: Duration = Duration::from_millis(20);

impl Server {
    /// Opens the data folder and listens on all three ports. It runs until [`Server::stop`], or until it is
    /// dropped together with the runtime.
    ///
    /// # Errors
    /// A port in use, or a data folder that cannot be used.
    pub async fn start(options: Options) -> Result<Server> {
        let (host, mysql_port) = (options.host.clone(), options.mysql_port);
        let second_mysql_port = options.second_fe_port.map(|_| options.second_mysql_port);
        let engine = Arc::new(Engine::open(options)?);
        let (listener, mysql_addr) = bind(&host, mysql_port).await?;
        let second = match second_mysql_port {
            Some(port) => Some(bind(&host, port).await?),
            None => None,
        };
        let second_mysql_addr = second.as_ref().map(|(_, address)| *address);
        let http = HttpServers::start(engine.clone()).await?;
        let (fe_addr, be_addr, second_fe_addr) = (http.fe_addr, http.be_addr, http.second_fe_addr);
        let second_fe = second_fe_addr.zip(second_mysql_addr);
        let addresses = Addresses { mysql: mysql_addr, fe: fe_addr, second_fe, be: be_addr };
        let _once = engine.addresses.set(addresses);
        let stopping = CancellationToken::new();
        let mut tasks = vec![tokio::spawn(sql::serve(engine.clone(), listener, false))];
        if let Some((listener, _)) = second {
            tasks.push(tokio::spawn(sql::serve(engine.clone(), listener, true)));
        }
        let jobs = tokio::spawn(run_jobs(engine.clone(), stopping.clone()));
        Ok(Server {
            mysql_addr,
            fe_addr,
            be_addr,
            second_fe_addr,
            second_mysql_addr,
            engine,
            stopping,
            http,
            tasks,
            jobs,
        })
    }

    /// Switches a fault on, until it is mended or has ended by itself; returns its number. A restart mends all.
    ///
    /// # Errors
    /// A fault that cannot strike here.
    pub fn inject(&self, fault: fault::Fault) -> Result<u64> {
        self.engine.inject(fault)
    }

    /// Switches a fault off.
    pub fn mend(&self, id: u64) {
        self.engine.faults.remove(id);
    }

    pub fn mend_all(&self) {
        self.engine.faults.clear();
    }

    /// The faults that were injected and not mended.
    pub fn faults(&self) -> Vec<fault::Injected> {
        self.engine.faults.list()
    }

    /// Stops listening and ends every connection. What was acknowledged is on disk.
    pub async fn stop(self) {
        // A step under way is finished: nothing is written once this returns.
        self.stopping.cancel();
        self.engine.labels.stop_waiting();
        let _ended = self.jobs.await;
        for task in self.tasks {
            task.abort();
            let _ended = task.await;
        }
        self.http.stop().await;
    }
}

/// A MySQL port.
async fn bind(host: &str, port: u16) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((host, port)).await.map_err(|error| {
        Error::definite(format!("cannot listen on {host}:{port}"))
            .caused_by(error)
            .hint("choose another MySQL port, 0 picks a free one")
    })?;
    let address = listener.local_addr();
    let address = address.map_err(|error| Error::definite("the MySQL port has no address").caused_by(error))?;
    Ok((listener, address))
}

async fn run_jobs(engine: Arc<Engine>, stopping: CancellationToken) {
    while stopping.run_until_cancelled(tokio::time::sleep(JOB_TICK)).await.is_some() {
        if engine.jobs.is_idle() && engine.labels.nothing_late() {
            continue;
        }
        let engine = engine.clone();
        let step = move || {
            engine.labels.step(&engine);
            engine.jobs.step(&engine)
        };
        match tokio::task::spawn_blocking(step).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "an ALTER job could not move on"),
            Err(error) => tracing::warn!(%error, "an ALTER job ended early"),
        }
    }
}
