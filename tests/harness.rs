//! What the end-to-end tests share: a target, a job file, and the `towpath` binary as a user runs it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::proof;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio::process::{Child, Command};
use towpath::embedded;
use towpath::embedded::fault::Fault;
use towpath::target::Version;

/// A free port that is nobody else's for as long as this lives: it is bound, and not listened on. The server that it is for
/// can listen there all the same, again and again, because like all servers it asks for `SO_REUSEADDR`.
pub(crate) struct Port {
    number: u16,
    _bound: TcpSocket,
}

impl Port {
    pub(crate) fn free() -> Port {
        Port::try_at(0).unwrap()
    }

    /// This one, if nobody listens there.
    pub(crate) fn try_at(number: u16) -> std::io::Result<Port> {
        let bound = TcpSocket::new_v4()?;
        bound.set_reuseaddr(true)?;
        bound.bind(SocketAddr::from(([127, 0, 0, 1], number)))?;
        Ok(Port { number: bound.local_addr()?.port(), _bound: bound })
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

/// An embedded target in this process, so that it outlives the jobs that are killed.
pub(crate) struct Target {
    pub(crate) server: embedded::Server,
    options: embedded::Options,
    _folder: TempDir,
}

impl Target {
    pub(crate) async fn start() -> Target {
        Target::with(|_| {}).await
    }

    /// As a StarRocks of this version.
    pub(crate) async fn of(major: u16, minor: u16) -> Target {
        Target::with(|options| options.version = Version { major, minor, patch: 0 }).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut embedded::Options)) -> Target {
        let folder = tempfile::tempdir().unwrap();
        let mut options = embedded::Options { second_fe_port: Some(0), ..embedded::Options::new(folder.path()) };
        change(&mut options);
        Target { server: embedded::Server::start(options.clone()).await.unwrap(), options, _folder: folder }
    }

    pub(crate) async fn connect(&self) -> Conn {
        connect(self.server.mysql_addr.port()).await
    }

    /// Takes the target away; its data and ports are kept.
    pub(crate) async fn stop(self) -> Away {
        let Target { server, options, _folder: folder } = self;
        let options = embedded::Options {
            mysql_port: server.mysql_addr.port(),
            fe_port: server.fe_addr.port(),
            be_port: server.be_addr.port(),
            second_fe_port: server.second_fe_addr.map(|address| address.port()),
            second_mysql_port: server.second_mysql_addr.map_or(0, |address| address.port()),
            ..options
        };
        server.stop().await;
        let second = [options.second_fe_port.unwrap_or(0), options.second_mysql_port];
        let ports = [options.mysql_port, options.fe_port, options.be_port].into_iter().chain(second);
        let ports = ports.filter(|&port| port != 0).filter_map(|port| Port::try_at(port).ok()).collect();
        Away { options, folder, _ports: ports }
    }

    /// Away for a second, and back.
    pub(crate) async fn restart(self) -> Target {
        let away = self.stop().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        away.start().await
    }

    /// Switches a fault on; a restart mends it.
    pub(crate) fn inject(&self, fault: Fault) -> u64 {
        self.server.inject(fault).unwrap()
    }

    /// Returns when a fault has struck.
    pub(crate) async fn until_struck(&self, id: u64) {
        let struck = || self.server.faults().iter().any(|fault| fault.id == id && fault.struck > 0);
        for _ in 0..6000 {
            if struck() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the fault has not struck");
    }

    /// Switches a fault off; returns how often it has struck.
    pub(crate) fn mend(&self, id: u64) -> u64 {
        let struck = self.server.faults().iter().find(|fault| fault.id == id).map_or(0, |fault| fault.struck);
        self.server.mend(id);
        struck
    }

    /// The first cell of a query's first row, as text.
    pub(crate) async fn text(&self, query: &str) -> String {
        self.connect().await.query_first::<String, _>(query).await.unwrap().unwrap()
    }
}

/// A target that was stopped.
pub(crate) struct Away {
    options: embedded::Options,
    folder: TempDir,
    /// So that nobody takes them meanwhile.
    _ports: Vec<Port>,
}

impl Away {
    pub(crate) async fn start(self) -> Target {
        // A connection of the former server may still be closing on its port.
        for _ in 0..600 {
            if let Ok(server) = embedded::Server::start(self.options.clone()).await {
                return Target { server, options: self.options, _folder: self.folder };
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the target's ports are taken");
    }
}

pub(crate) async fn connect(port: u16) -> Conn {
    try_connect(port).await.unwrap()
}

pub(crate) async fn try_connect(port: u16) -> mysql_async::Result<Conn> {
    Conn::new(OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port).user(Some("root"))).await
}

/// A step at which a job stands until the test lets it on: what has to happen meanwhile needs no luck with the clock.
pub(crate) struct Gate {
    step: &'static str,
    file: PathBuf,
}

impl Gate {
    /// For `FAILPOINTS`: the job stands when it comes to the step and has passed it so often; behind that the step does `then`.
    pub(crate) fn after(&self, passed: u32, then: &str) -> String {
        format!("{}={passed}*off->1*return({})->{then}", self.step, self.file.display())
    }

    /// Waits until a job of this log stands there.
    pub(crate) async fn reached(&self, job: &Job) {
        for _ in 0..2400 {
            if job.log().contains(&towpath::step::held_at(self.step)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("never came to {}\n{}", self.step, job.log());
    }

    pub(crate) fn open(&self) {
        std::fs::write(&self.file, "").unwrap();
    }
}

/// A job file in a folder of its own, with its state beside it.
pub(crate) struct Job {
    folder: TempDir,
    path: PathBuf,
}

impl Job {
    /// `source` has more of the source's keys; with `hosts` there the port is of no use. `more` is YAML at the top level:
    /// `params: {…}`, `defaultZeroDate: …`.
    pub(crate) fn new(source_port: u16, target: &Target, tables: &str, source: &str, more: &str) -> Job {
        let server = &target.server;
        let ports = |first: SocketAddr, second: Option<SocketAddr>| {
            [Some(first), second].into_iter().flatten().map(|fe| fe.port()).collect::<Vec<u16>>()
        };
        let mysql = ports(server.mysql_addr, server.second_mysql_addr);
        let http = ports(server.fe_addr, server.second_fe_addr);
        Job::written(source_port, &mysql, &http, tables, source, more)
    }

    /// Like `new`, for a target that is not in this process: its MySQL port and its FE's HTTP port.
    pub(crate) fn at(source_port: u16, (mysql, fe): (u16, u16), tables: &str, source: &str, more: &str) -> Job {
        Job::written(source_port, &[mysql], &[fe], tables, source, more)
    }

    fn written(source_port: u16, mysql: &[u16], http: &[u16], tables: &str, source: &str, more: &str) -> Job {
        let list =
            |ports: &[u16]| ports.iter().map(|port| format!("'127.0.0.1:{port}'")).collect::<Vec<_>>().join(", ");
        let (mysql, http) = (list(mysql), list(http));
        let source = if source.contains("username") { source.to_owned() } else { format!("username: root, {source}") };
        let source = if source.contains("timezone") { source } else { format!("timezone: '+00:00', {source}") };
        let address = match source.contains("hosts:") {
            true => String::new(),
            false => format!("host: 127.0.0.1, port: {source_port}, "),
        };
        // The name makes the replica id, and the shared servers see all tests' jobs at once.
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("it{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        Job::from_text(&format!(
            "name: {name}
source: {{{address}tables: ['{tables}'], {source}}}
target:
  type: starrocks
  clientAddress: [{mysql}]
  httpAddress: [{http}]
  username: root
{more}
"
        ))
    }

    pub(crate) fn from_text(text: &str) -> Job {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job.yaml");
        let text = format!("stateDir: {}\n{text}", folder.path().join("state").display());
        std::fs::write(&path, text).unwrap();
        Job { folder, path }
    }

    /// Adds a line to the job file's `target`.
    pub(crate) fn add_to_target(&self, line: &str) {
        let text = std::fs::read_to_string(&self.path).unwrap();
        std::fs::write(&self.path, text.replacen("target:\n", &format!("target:\n  {line}\n"), 1)).unwrap();
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// `db` or `lock`.
    pub(crate) fn state_file(&self, extension: &str) -> PathBuf {
        let files = std::fs::read_dir(self.state_dir()).unwrap().map(|file| file.unwrap().path());
        files.into_iter().find(|path| path.extension().is_some_and(|found| found == extension)).unwrap()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// `towpath COMMAND job.yaml OPTIONS…`, to its end.
    pub(crate) async fn command(&self, command: &str, options: &[&str]) -> Output {
        towpath(command).arg(&self.path).args(options).output().await.unwrap()
    }

    /// Runs the job to the log's present end and expects it to get there.
    pub(crate) async fn run_to_end(&self) {
        let output = self.command("run", &["--stop-at-end"]).await;
        assert!(output.status.success(), "{}", text(&output));
    }

    /// Starts the job, to be killed or stopped later.
    pub(crate) fn start(&self) -> Child {
        self.start_as(towpath("run"))
    }

    /// Like `start`; `run` is `towpath run` with an environment, or a program that executes it.
    pub(crate) fn start_as(&self, mut run: Command) -> Child {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        run.arg(&self.path).args(["--log-level", "towpath=debug"]).stderr(Stdio::from(log)).spawn().unwrap()
    }

    /// Starts the job and returns when it stands at `step`, which it has passed `passed` times before.
    pub(crate) async fn start_held_at(&self, step: &str, passed: u32) -> Child {
        let former = self.log().len();
        let mut run = towpath("run");
        run.env("FAILPOINTS", format!("{step}={passed}*off->return"));
        let mut child = self.start_as(run);
        for _ in 0..2400 {
            if self.log()[former..].contains(&towpath::step::held_at(step)) {
                return child;
            }
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the job has ended before it came to {step}: {status}\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("never came to {step}\n{}", self.log());
    }

    pub(crate) fn gate(&self, step: &'static str) -> Gate {
        Gate { step, file: self.folder.path().join(format!("past-{step}")) }
    }

    /// SIGTERM, and the end that it brings. A job that does not heed it fails the test with its log.
    pub(crate) async fn stop(&self, mut child: Child) -> ExitStatus {
        interrupt(&child);
        match tokio::time::timeout(Duration::from_secs(120), child.wait()).await {
            Ok(status) => status.unwrap(),
            Err(_) => panic!("SIGTERM was not heeded\n{}", self.log()),
        }
    }

    /// What started jobs have logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub(crate) async fn status(&self) -> serde_json::Value {
        let output = self.command("status", &["--json"]).await;
        serde_json::from_slice(&output.stdout).unwrap_or(serde_json::Value::Null)
    }

    /// Waits until the job's status says so.
    pub(crate) async fn wait_for(&self, what: &str, reached: impl Fn(&serde_json::Value) -> bool) {
        for _ in 0..1200 {
            if reached(&self.status().await) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never came to: {what}\n{}\n{}", self.status().await, self.log());
    }
}

pub(crate) fn towpath(command: &str) -> Command {
    let mut towpath = Command::new(env!("CARGO_BIN_EXE_towpath"));
    towpath.arg(command).stdin(Stdio::null()).kill_on_drop(true);
    towpath
}

/// Compares every table of the database on both sides, by code that shares nothing with the job.
pub(crate) async fn assert_equal(source_port: u16, target: &Target, database: &str) {
    assert_equal_by(source_port, target, database, &proof::Options::default()).await;
}

pub(crate) async fn assert_equal_by(source_port: u16, target: &Target, database: &str, proof: &proof::Options) {
    compare(source_port, target.server.mysql_addr.port(), database, proof).await;
}

/// Like `assert_equal`, for a target's MySQL port.
pub(crate) async fn assert_equal_at(source_port: u16, target_port: u16, database: &str) {
    compare(source_port, target_port, database, &proof::Options::default()).await;
}

async fn compare(source_port: u16, target_port: u16, database: &str, proof: &proof::Options) {
    let options = |port: u16| {
        let options = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port).user(Some("root"));
        mysql_async::Opts::from(options)
    };
    let tables: Vec<String> = connect(source_port).await.query(format!("SHOW TABLES FROM `{database}`")).await.unwrap();
    let pairs: Vec<_> = tables.iter().map(|table| proof::Pair::same(database, table)).collect();
    let target_options = options(target_port);
    let report = proof::compare(&options(source_port), &target_options, &pairs, proof).await.unwrap();
    assert!(report.equal(), "\n{report}");
}

/// Both streams of an ended command.
pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub(crate) fn interrupt(child: &Child) {
    send(child, "TERM");
}

/// Sends a signal, by the shell's own `kill`: a small system has no other.
pub(crate) fn send(child: &Child, signal: &str) {
    let pid = child.id().expect("the job runs").to_string();
    let kill = ["-c", "kill -s \"$0\" \"$1\"", signal, &pid];
    assert!(std::process::Command::new("sh").args(kill).status().unwrap().success());
}
