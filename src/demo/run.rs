//! `towpath demo`: joins the parts and says what happens.
//!
//! ```text
//! scratch MySQL ◀─ shop, writer (stops after --seconds)
//!       │
//!       └─▶ the job, as `towpath run` would run it ─▶ embedded target
//!       │                                              │
//!       └────────────────▶ verify ◀───────────────────┘
//! ```
//!
//! The job is already following when the writer stops; both sides are compared as `towpath verify` would compare them, once
//! the job has reached the end of the log.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mysql_async::{Opts, OptsBuilder};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use super::server::{self, Product, ScratchServer};
use super::shop::{self, Size};
use super::writer::{self, Writer};
use crate::config::Job;
use crate::job::{self, Ended, RunOptions, Verified, VerifyOptions, connect, connect_beside};
use crate::mysql::connect::Flavor;
use crate::mysql::position;
use crate::output::sayln;
use crate::progress::Snapshot;
use crate::state::RunOutcome;
use crate::{Error, Result, embedded, verify};

const DATABASE: &str = "shop";
/// After the writer stopped; generous, since a slow machine is no fault.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(300);
/// Names a folder as ours to empty.
const MARKER: &str = "towpath-demo.txt";

/// Arguments of `towpath demo`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// How long the writer writes, in seconds.
    #[arg(long, default_value_t = 30)]
    pub seconds: u64,
    /// The writer's connections.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub writers: u32,
    /// The MySQL server binary to use [default: TOWPATH_MYSQLD, or one that is found].
    #[arg(long, value_name = "PATH")]
    pub mysqld: Option<PathBuf>,
    /// The target's data, the job file and its state; emptied at the start of a demo.
    #[arg(long, value_name = "DIR", default_value = "towpath-demo")]
    pub data_dir: PathBuf,
    /// Leave both servers running after the proof, until Ctrl-C or SIGTERM.
    #[arg(long)]
    pub keep: bool,
}

/// Runs the demo. `true`: both sides are equal.
///
/// # Errors
/// There is no MySQL server, the folder is somebody else's, or a part fails; Ctrl-C or SIGTERM before the proof.
pub async fn run(options: Options) -> Result<bool> {
    let mut equal = None;
    let failed = |error| Error::definite("cannot listen for signals").caused_by(error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    // Whatever is under way is dropped, and with it the server, its data and the job.
    tokio::select! {
        ended = show(&options, &mut equal) => ended?,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    equal.ok_or_else(|| Error::definite("stopped before the proof"))
}

async fn show(options: &Options, equal: &mut Option<bool>) -> Result<()> {
    prepare_folder(&options.data_dir)?;

    sayln!("starting a scratch MySQL …");
    let mysql = ScratchServer::start(&server::Options::new(Product::Mysql).binary(options.mysqld.clone())).await?;
    let source = loopback(mysql.port());
    let mut conn = mysql.connect().await?;
    shop::create(&mut conn, DATABASE, Size::default()).await?;
    sayln!("source   mysql -h127.0.0.1 -P{} -uroot {DATABASE}", mysql.port());

    let target = start_target(&options.data_dir).await?;
    let target_port = target.mysql_addr.port();
    sayln!("target   mysql -h127.0.0.1 -P{target_port} -uroot {DATABASE}   (embedded, StarRocks-compatible)");

    let job_file = options.data_dir.join("job.yaml");
    write_job_file(&job_file, &options.data_dir, mysql.port(), &target)?;
    sayln!("job      {}\n", job_file.display());
    let job = Job::load(&job_file)?;

    let writer_options = writer::Options { connections: options.writers, ..writer::Options::default() };
    let writer = Writer::start(&source, DATABASE, &writer_options).await?;
    let mut running = Running::start(job.clone()).await?;

    let end = Instant::now() + Duration::from_secs(options.seconds);
    while Instant::now() < end && writer.is_running() {
        tokio::time::sleep(Duration::from_secs(1).min(end.saturating_duration_since(Instant::now()))).await;
        running.check().await?;
        sayln!("{:>8} rows written   {}", writer.counts().rows(), running.progress().line());
    }

    let counts = writer.stop().await?;
    sayln!(
        "\nthe writer stopped: {} transactions, {} rows ({} inserts, {} updates, {} deletes, {} key changes)",
        counts.transactions,
        counts.rows(),
        counts.inserts,
        counts.updates,
        counts.deletes,
        counts.key_changes
    );
    let log_end = position::current(&mut conn, Flavor::Mysql).await?;
    let stopped = Instant::now();
    running.wait_for(&log_end).await?;
    sayln!("everything is in, {:.1} s later; now both sides are read\n", stopped.elapsed().as_secs_f64());

    let beside = connect_beside(&job).await?;
    let (all, progress) = (VerifyOptions::default(), verify::Progress::default());
    let Verified { run, outcome, report } = job::verify(&job, &beside.client(), &all, &progress).await?;
    beside.stop().await;
    sayln!("{report}");
    if outcome != RunOutcome::Equal {
        sayln!("{} verify {} --history --run {run}   shows the rows", program().display(), job_file.display());
    }
    *equal = Some(outcome == RunOutcome::Equal);
    running.stop().await?;

    if options.keep {
        sayln!("both servers stay; look around with the two mysql lines above, Ctrl-C ends them");
        std::future::pending::<()>().await;
    }
    target.stop().await;
    sayln!(
        "look around:  {} embedded --data-dir {} &\n              mysql -h127.0.0.1 -P9030 -uroot {DATABASE}",
        program().display(),
        options.data_dir.join("target").display()
    );
    Ok(())
}

fn program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("towpath"))
}

fn loopback(port: u16) -> Opts {
    OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port).user(Some("root")).prefer_socket(false).into()
}

/// Makes the folder, or empties the one of an earlier demo; a folder of anything else is left alone.
fn prepare_folder(folder: &Path) -> Result<()> {
    let failed = |error| Error::definite(format!("--data-dir {}", folder.display())).caused_by(error);
    if folder.exists() {
        let empty = fs::read_dir(folder).map_err(failed)?.next().is_none();
        if !empty && !folder.join(MARKER).exists() {
            return Err(Error::usage(format!("--data-dir {}: holds something else than a demo", folder.display()))
                .hint("name a folder that is not there yet"));
        }
        fs::remove_dir_all(folder).map_err(failed)?;
    }
    fs::create_dir_all(folder).map_err(failed)?;
    fs::write(folder.join(MARKER), "Written by `towpath demo`, emptied by the next one.\n").map_err(failed)
}

/// On StarRocks' own ports, or on free ones where those are taken.
async fn start_target(folder: &Path) -> Result<embedded::Server> {
    let free = embedded::Options::new(folder.join("target"));
    let usual = embedded::Options { mysql_port: 9030, fe_port: 8030, be_port: 8040, ..free.clone() };
    match embedded::Server::start(usual).await {
        Ok(server) => Ok(server),
        Err(_) => embedded::Server::start(free).await,
    }
}

/// The job as a user would write it.
fn write_job_file(file: &Path, folder: &Path, source_port: u16, target: &embedded::Server) -> Result<()> {
    // A JSON string is a YAML string, whatever the path holds.
    let state_dir = serde_json::Value::from(folder.join("state").display().to_string());
    let text = format!(
        "name: demo\n\
         stateDir: {state_dir}\n\
         source:\n  type: mysql\n  host: 127.0.0.1\n  port: {source_port}\n  username: root\n  password: ''\n  \
           tables: ['{DATABASE}.*']\n  timezone: '+00:00'\n\
         target:\n  type: starrocks\n  clientAddress: {}\n  httpAddress: ['{}']\n  username: root\n  password: ''\n\
         params:\n  realFlushPauseSec: 0\n",
        target.mysql_addr, target.fe_addr
    );
    fs::write(file, text).map_err(|error| Error::definite(file.display().to_string()).caused_by(error))
}

/// The job in its own task.
struct Running {
    options: RunOptions,
    task: JoinHandle<Result<Ended>>,
}

impl Running {
    async fn start(job: Job) -> Result<Self> {
        let options = RunOptions::default();
        let target = connect(&job).await?;
        let of_task = options.clone();
        let task = tokio::spawn(async move { job::run(&job, target.client(), &of_task).await });
        Ok(Running { options, task })
    }

    fn progress(&self) -> Snapshot {
        self.options.progress.snapshot()
    }

    /// # Errors
    /// The job has ended: it should not by itself.
    async fn check(&mut self) -> Result<()> {
        if !self.task.is_finished() {
            return Ok(());
        }
        match (&mut self.task).await {
            Ok(Ok(_)) => Err(Error::definite("the job ended before the demo did")),
            Ok(Err(error)) => Err(error.context("the job failed")),
            Err(error) => Err(Error::definite("the job broke off").caused_by(error)),
        }
    }

    async fn wait_for(&mut self, end: &position::Position) -> Result<()> {
        let deadline = Instant::now() + CATCH_UP_LIMIT;
        loop {
            self.check().await?;
            let progress = self.progress();
            if progress.position.is_some_and(|position| position.reached(end)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Error::definite(format!(
                    "the job did not reach the end of the log ({}:{}) within {} s",
                    end.file,
                    end.offset,
                    CATCH_UP_LIMIT.as_secs()
                )));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn stop(self) -> Result<()> {
        self.options.stop.cancel();
        match self.task.await {
            Ok(ended) => ended.map(drop).map_err(|error| error.context("the job failed")),
            Err(error) => Err(Error::definite("the job broke off").caused_by(error)),
        }
    }
}
