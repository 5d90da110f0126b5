//! A scratch MySQL or MariaDB: its own folder, a free port on loopback, `root` without a password, gone afterwards.
//!
//! # Nothing is left behind
//! The server runs in its own process group, so that Ctrl-C at a terminal reaches us and not it. Next to it runs a
//! small *guard*: a shell that reads from a pipe only we can write to. It learns the server's process id from that
//! pipe, and when the pipe closes, because we dropped it, ended, or were killed with SIGKILL, it kills the server
//! and removes the folder.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};
use tokio::net::TcpSocket;

use crate::{Error, Result};

/// A server that does not answer within this time will not.
const START_LIMIT: Duration = Duration::from_secs(120);
/// A server that does not ask for `SO_REUSEADDR` cannot listen on a port that is kept for it.
const PORT_TRIES: u32 = 5;

/// Each line on the pipe is the process id of the server as it is now; an empty line says that none runs.
/// A killed server needs a moment to let go of its files; in a container without an init its zombie stays, so the
/// wait has an end.
const GUARD: &str = r#"
pid=
while read -r line; do pid=$line; done
if [ -n "$pid" ] && kill -KILL "$pid" 2>/dev/null; then
    tries=0
    while kill -0 "$pid" 2>/dev/null && [ "$tries" -lt 20 ]; do sleep 0.1; tries=$((tries + 1)); done
fi
rm -rf "$1"
"#;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    Mysql,
    Mariadb,
}

impl Product {
    fn binary(self) -> &'static str {
        match self {
            Product::Mysql => "mysqld",
            Product::Mariadb => "mariadbd",
        }
    }

    fn variable(self) -> &'static str {
        match self {
            Product::Mysql => "TOWPATH_MYSQLD",
            Product::Mariadb => "TOWPATH_MARIADBD",
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Product::Mysql => "mysql",
            Product::Mariadb => "mariadb",
        }
    }
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Options {
    pub product: Product,
    /// The server binary. `None`: see [`find`].
    pub binary: Option<PathBuf>,
    /// More arguments for the server, after ours: the later one wins.
    pub arguments: Vec<String>,
}

impl Options {
    pub fn new(product: Product) -> Self {
        Options { product, binary: None, arguments: Vec::new() }
    }

    #[must_use]
    pub fn binary(mut self, binary: Option<PathBuf>) -> Self {
        self.binary = binary;
        self
    }

    /// Adds one argument, such as `--binlog-row-image=MINIMAL`.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }
}

/// A running scratch server. Dropping it kills the server and removes its data.
#[derive(Debug)]
pub struct ScratchServer {
    product: Product,
    binary: PathBuf,
    arguments: Vec<String>,
    folder: PathBuf,
    port: u16,
    /// Bound and not listened on, so that the port is nobody else's while the server is down.
    reserved: Option<TcpSocket>,
    child: Option<Child>,
    /// `None` only while it is being dropped.
    guard: Option<(Child, ChildStdin)>,
}

impl ScratchServer {
    /// Creates a data folder and starts the server on it. Returns when it answers.
    ///
    /// # Errors
    /// No server binary is found (the hint says how to get one), it is of the other product, or it does not come up:
    /// then the error carries the end of its log.
    pub async fn start(options: &Options) -> Result<Self> {
        let binary = match &options.binary {
            Some(binary) => {
                let version = version(binary)?;
                if product_of(&version) != options.product {
                    return Err(Error::usage(format!("{} is not {:?}: {version}", binary.display(), options.product)));
                }
                binary.clone()
            }
            None => find(options.product)?,
        };
        let folder = create_folder(options.product)?;
        let guard = start_guard(&folder)?;
        let mut server = ScratchServer {
            product: options.product,
            binary,
            arguments: options.arguments.clone(),
            folder,
            port: 0,
            reserved: None,
            child: None,
            guard: Some(guard),
        };
        server.initialize().await?;
        for _ in 0..PORT_TRIES {
            let reserved = reserve()?;
            server.port = reserved.local_addr().map_err(no_port)?.port();
            server.reserved = Some(reserved);
            if server.bring_up().await? {
                return Ok(server);
            }
        }
        Err(Error::transient(format!("no free port for {} in {PORT_TRIES} tries", server.binary.display())))
    }

    pub fn product(&self) -> Product {
        self.product
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `mysql://root@127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("mysql://root@127.0.0.1:{}", self.port)
    }

    /// Process id of the server; `None` after [`kill`](Self::kill).
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Where the server keeps its data (`data/`) and its log (`log`).
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Connects as `root`, on loopback TCP.
    pub async fn connect(&self) -> Result<Conn> {
        connect(self.port)
            .await
            .map_err(|error| Error::transient(format!("cannot connect to {}", self.url())).caused_by(error))
    }

    /// Shuts the server down in an orderly way, if it runs, and starts it again on the same port and data.
    ///
    /// # Errors
    /// It does not come up again, or another process took the port.
    pub async fn restart(&mut self) -> Result<()> {
        if self.child.is_some() {
            // A server that cannot be asked is killed below.
            if let Ok(mut conn) = connect(self.port).await {
                let _ = conn.query_drop("SHUTDOWN").await;
                self.wait_for_exit(START_LIMIT).await;
            }
            self.kill();
        }
        if self.bring_up().await? {
            Ok(())
        } else {
            Err(Error::transient(format!("port {} was taken while the server restarted", self.port)))
        }
    }

    /// SIGKILL. The data stays for [`restart`](Self::restart).
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            self.tell_guard("");
        }
    }

    async fn wait_for_exit(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while let Some(child) = &mut self.child {
            if !matches!(child.try_wait(), Ok(None)) || Instant::now() > deadline {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn tell_guard(&mut self, line: &str) {
        if let Some((_, pipe)) = &mut self.guard {
            // The guard lives as long as the pipe is open; if somebody killed it there is nobody to tell.
            let _ = writeln!(pipe, "{line}");
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Arguments for every start, the first one included.
    fn common_arguments(&self) -> Result<Vec<String>> {
        let mut arguments = vec![
            format!("--datadir={}", self.data().display()),
            // Of its own from the first start on: each server that starts deletes what others have in a shared one.
            format!("--tmpdir={}", self.folder.join("tmp").display()),
            "--innodb-buffer-pool-size=64M".to_owned(),
            "--loose-innodb-redo-log-capacity=64M".to_owned(),
        ];
        // A wrapper of tests/servers/get.sh says --no-defaults itself; an ordinary server must not read /etc/my.cnf.
        // It has to be the first.
        arguments.insert(0, "--no-defaults".to_owned());
        // The owner of what we just created is who we are; the servers refuse to be root unasked.
        let metadata = fs::metadata(&self.folder).map_err(|error| io_error(&self.folder, error))?;
        if metadata.uid() == 0 {
            arguments.push("--user=root".to_owned());
        }
        Ok(arguments)
    }

    /// Fills the data folder: `--initialize-insecure`, or MariaDB's system tables through `--bootstrap`.
    async fn initialize(&mut self) -> Result<()> {
        for folder in ["data", "tmp"] {
            let folder = self.folder.join(folder);
            fs::create_dir(&folder).map_err(|error| io_error(&folder, error))?;
        }
        let root = self.folder.join("root.sql");
        fs::write(&root, ROOT_SQL).map_err(|error| io_error(&root, error))?;

        let mut command = Command::new(&self.binary);
        command.args(self.common_arguments()?).process_group(0);
        match self.product {
            Product::Mysql => {
                // It can only be made so, and refuses to start otherwise.
                let letters = |argument: &&String| argument.starts_with("--lower-case-table-names");
                command.args(self.arguments.iter().filter(letters));
                command.arg("--initialize-insecure").stdin(Stdio::null());
            }
            Product::Mariadb => {
                let script = self.folder.join("system.sql");
                self.write_mariadb_script(&script)?;
                let script = File::open(&script).map_err(|error| io_error(&script, error))?;
                command.args(["--bootstrap", "--log-warnings=0", "--enforce-storage-engine="]).stdin(script);
            }
        }
        let log = File::create(self.log()).map_err(|error| io_error(&self.log(), error))?;
        command.stdout(log.try_clone().map_err(|error| io_error(&self.log(), error))?).stderr(log);
        let mut child = command.spawn().map_err(|error| io_error(&self.binary, error))?;
        self.tell_guard(&child.id().to_string());
        let status = tokio::task::spawn_blocking(move || child.wait())
            .await
            .map_err(|error| Error::definite("the start of the scratch server was cut off").caused_by(error))?
            .map_err(|error| io_error(&self.binary, error))?;
        self.tell_guard("");
        if status.success() {
            Ok(())
        } else {
            Err(self.failure(&format!("could not create its data folder ({status})")))
        }
    }

    /// The statements that `mariadb-install-db` feeds to a bootstrap, without help texts and test accounts.
    fn write_mariadb_script(&self, script: &Path) -> Result<()> {
        let share = mariadb_share(&self.binary)?;
        let mut sql = String::from("CREATE DATABASE IF NOT EXISTS mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n");
        for (names, needed) in [
            (["mariadb_system_tables.sql", "mysql_system_tables.sql"], true),
            (["mariadb_performance_tables.sql", "mysql_performance_tables.sql"], true),
            (["mariadb_system_tables_data.sql", "mysql_system_tables_data.sql"], true),
            (["maria_add_gis_sp_bootstrap.sql", "maria_add_gis_sp_bootstrap.sql"], false),
        ] {
            match names.iter().map(|name| share.join(name)).find(|file| file.is_file()) {
                Some(file) => sql.push_str(&fs::read_to_string(&file).map_err(|error| io_error(&file, error))?),
                None if needed => {
                    return Err(Error::definite(format!(
                        "{} has no {} to set up MariaDB with",
                        share.display(),
                        names[1]
                    ))
                    .hint("install the whole mariadb-server-core package, or run `make demo` or `make test`"));
                }
                None => {}
            }
            sql.push('\n');
        }
        fs::write(script, sql).map_err(|error| io_error(script, error))
    }

    /// Starts the server on `self.port` and waits until it answers. `false`: the port was taken.
    async fn bring_up(&mut self) -> Result<bool> {
        let log = File::options().append(true).create(true).open(self.log());
        let log = log.map_err(|error| io_error(&self.log(), error))?;
        let log_begin = log.metadata().map_err(|error| io_error(&self.log(), error))?.len();

        let folder = self.folder.display();
        let mut command = Command::new(&self.binary);
        command.args(self.common_arguments()?).args([
            "--bind-address=127.0.0.1".to_owned(),
            format!("--port={}", self.port),
            format!("--socket={folder}/socket"),
            format!("--pid-file={folder}/pid"),
            format!("--init-file={folder}/root.sql"),
            "--skip-name-resolve".to_owned(),
            "--server-id=1".to_owned(),
            "--log-bin=binlog".to_owned(),
            // A killed process loses nothing by these two, only a machine that loses power does.
            "--sync-binlog=0".to_owned(),
            "--innodb-flush-log-at-trx-commit=2".to_owned(),
            "--max-connections=400".to_owned(),
        ]);
        match self.product {
            Product::Mysql => command.args(["--loose-mysqlx=OFF", "--gtid-mode=ON", "--enforce-gtid-consistency=ON"]),
            Product::Mariadb => command.args(["--binlog-format=ROW"]),
        };
        command.args(&self.arguments).process_group(0).stdin(Stdio::null());
        command.stdout(log.try_clone().map_err(|error| io_error(&self.log(), error))?).stderr(log);
        let child = command.spawn().map_err(|error| io_error(&self.binary, error))?;
        self.tell_guard(&child.id().to_string());
        self.child = Some(child);

        let deadline = Instant::now() + START_LIMIT;
        loop {
            tokio::time::sleep(Duration::from_millis(30)).await;
            let exited = match &mut self.child {
                Some(child) => child.try_wait().map_err(|error| io_error(&self.binary, error))?,
                None => None,
            };
            if let Some(status) = exited {
                self.kill();
                let log = fs::read(self.log()).unwrap_or_default();
                let log = String::from_utf8_lossy(log.get(log_begin as usize..).unwrap_or_default()).into_owned();
                if log.contains("Address already in use") || log.contains("Do you already have another") {
                    return Ok(false);
                }
                return Err(self.failure(&format!("ended while it started ({status})")));
            }
            // Another server could answer on a port that ours did not get: the folder tells them apart.
            if let Ok(mut conn) = connect(self.port).await
                && let Ok(Some(data)) = conn.query_first::<String, _>("SELECT @@datadir").await
                && Path::new(&data).starts_with(self.data())
            {
                let _ = conn.disconnect().await;
                return Ok(true);
            }
            if Instant::now() > deadline {
                return Err(self.failure(&format!("did not answer within {} s", START_LIMIT.as_secs())));
            }
        }
    }

    fn failure(&self, what: &str) -> Error {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
        let lines = if lines.is_empty() { log.lines().collect() } else { lines };
        let end = lines[lines.len().saturating_sub(5)..].join("\n    ");
        Error::definite(format!("the scratch server {} {what}:\n    {end}", self.binary.display()))
    }
}

impl Drop for ScratchServer {
    fn drop(&mut self) {
        self.kill();
        if let Some((mut guard, pipe)) = self.guard.take() {
            drop(pipe);
            let _ = guard.wait();
        }
    }
}

/// `root` may connect from the loopback address even where nobody resolves it to `localhost`.
const ROOT_SQL: &str = "SET sql_log_bin=0;\n\
    CREATE USER IF NOT EXISTS 'root'@'127.0.0.1' IDENTIFIED BY '';\n\
    GRANT ALL PRIVILEGES ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;\n";

async fn connect(port: u16) -> mysql_async::Result<Conn> {
    let options = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port).user(Some("root"));
    Conn::new(options.prefer_socket(false)).await
}

/// Finds the server binary: `TOWPATH_MYSQLD` / `TOWPATH_MARIADBD`, then what `tests/servers/get.sh` unpacked (on some
/// systems an installed server may not touch our temporary folder, this one always may), then an installed one.
///
/// # Errors
/// None is there. The hint says how to get one.
pub fn find(product: Product) -> Result<PathBuf> {
    if let Some(binary) = std::env::var_os(product.variable()).filter(|value| !value.is_empty()) {
        let binary = PathBuf::from(binary);
        let version = version(&binary).map_err(|error| error.context(product.variable()))?;
        if product_of(&version) == product {
            return Ok(binary);
        }
        return Err(Error::usage(format!("{} does not name a {product:?} server: {version}", product.variable())));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/libexec", "/usr/local/mysql/bin"].map(PathBuf::from))
        .map(|folder| folder.join(product.binary()));
    cache_folder()
        .map(|cache| cache.join("servers").join(product.folder()).join(product.binary()))
        .into_iter()
        .chain(installed)
        // `mysqld` is MariaDB on some systems.
        .find(|file| file.is_file() && version(file).is_ok_and(|version| product_of(&version) == product))
        .ok_or_else(|| {
            Error::definite(format!("no {product:?} server ({}) on this machine", product.binary())).hint(format!(
                "run `make demo` in a clone, which gets one without root, or set {} to a server binary",
                product.variable()
            ))
        })
}

/// Where `tests/servers/get.sh` puts what it gets.
fn cache_folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("towpath"))
}

/// The server's own `--version` line.
fn version(binary: &Path) -> Result<String> {
    let output = Command::new(binary).args(["--no-defaults", "--version"]).stdin(Stdio::null()).output();
    let output = output.map_err(|error| io_error(binary, error))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        return Err(Error::definite(format!("{} does not run: {}", binary.display(), reason.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn product_of(version: &str) -> Product {
    if version.contains("MariaDB") { Product::Mariadb } else { Product::Mysql }
}

/// The folder with MariaDB's `*_system_tables.sql`: the one its messages are in.
fn mariadb_share(binary: &Path) -> Result<PathBuf> {
    let output = Command::new(binary).args(["--no-defaults", "--verbose", "--help"]).stdin(Stdio::null()).output();
    let output = output.map_err(|error| io_error(binary, error))?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("lc-messages-dir ").map(|rest| PathBuf::from(rest.trim())))
        .ok_or_else(|| Error::definite(format!("{} does not say where its SQL scripts are", binary.display())))
}

fn create_folder(product: Product) -> Result<PathBuf> {
    // Kept short: a socket's path may have about 100 bytes.
    for number in 0_u32.. {
        let name = format!("towpath-{}-{}-{number}", product.folder(), std::process::id());
        let folder = std::env::temp_dir().join(name);
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => {
                // The server shows the folder with links resolved.
                return folder.canonicalize().map_err(|error| io_error(&folder, error));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io_error(&folder, error)),
        }
    }
    Err(Error::definite(format!("no free folder name in {}", std::env::temp_dir().display())))
}

fn start_guard(folder: &Path) -> Result<(Child, ChildStdin)> {
    let mut guard = Command::new("/bin/sh")
        .args(["-c", GUARD, "towpath-guard"])
        .arg(folder)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| io_error(Path::new("/bin/sh"), error))?;
    match guard.stdin.take() {
        Some(pipe) => Ok((guard, pipe)),
        None => Err(Error::definite("the guard of the scratch server has no pipe")),
    }
}

/// A free port of 127.0.0.1. Whoever asks for `SO_REUSEADDR`, as the servers do, can listen there all the same.
fn reserve() -> Result<TcpSocket> {
    let bound = TcpSocket::new_v4().and_then(|socket| {
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        Ok(socket)
    });
    bound.map_err(no_port)
}

fn no_port(error: io::Error) -> Error {
    Error::transient("no free port on 127.0.0.1").caused_by(error)
}

fn io_error(path: &Path, error: io::Error) -> Error {
    Error::definite(path.display().to_string()).caused_by(error)
}
