//! The job file's model: the same for YAML and JSON. Names are camelCase, CloudCanal's where it has one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ShadowNames, Verify};

/// A whole job file, with defaults filled in and `${ENV}` replaced.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Letters, digits, `_` and `-`, at most 40: part of every load's label and the state file's name.
    pub name: String,
    pub state_dir: PathBuf,
    pub source: Source,
    pub target: Target,
    pub params: Params,
    pub ddl: Ddl,
    pub on_error: OnError,
    /// Live dead letters that stop the job when there are more; 0 = no limit.
    pub max_dead_letters: u64,
    /// Readers of the target see whole transactions of the source, or nothing of them.
    pub atomic_transactions: bool,
    pub zero_date: ZeroDate,
    pub no_key_tables: NoKeyTables,
    /// `None`: no HTTP server.
    pub http: Option<Http>,
    /// `None`: the job compares nothing by itself.
    pub verify: Option<Verify>,
}

/// Metrics, health and status over HTTP.
#[derive(Debug, Clone, PartialEq)]
pub struct Http {
    pub listen: Address,
    /// Empty: none is asked for.
    pub token: Password,
    /// Seconds behind, or of the source's silence, above which the job is not ready.
    pub max_delay_sec: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// `None`: found out from the server.
    pub kind: Option<SourceType>,
    /// The servers that may be read, in the order in which they are tried; never empty.
    pub hosts: Vec<Address>,
    pub username: String,
    pub password: Password,
    /// Where `password` was read from: it is read again when the source refuses it.
    pub password_file: Option<PathBuf>,
    pub tls: Tls,
    /// Globs over `db.table`; `*` does not cross the dot.
    pub tables: Vec<String>,
    pub exclude_tables: Vec<String>,
    /// The names of online schema-change tools' tables.
    pub shadow_tables: ShadowNames,
    /// Zone in which TIMESTAMP values are written: `+02:00` or `Europe/Berlin`. `None`: the source server's.
    pub timezone: Option<String>,
    pub startup: Startup,
    /// The replica id this job shows the source. `None`: made from the job's name.
    pub server_id: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceType {
    Mysql,
    Mariadb,
}

/// Where a job without a checkpoint begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Startup {
    /// Schema, full data, then the binlog from the position recorded first.
    Initial,
    /// Schema and full data, then done.
    Full,
    /// Schema, then the binlog from its present end.
    Latest,
    /// Schema, then the binlog from the oldest log the server still has.
    Earliest,
    Position {
        file: String,
        position: u64,
    },
    /// MySQL: `uuid:1-5,…`; MariaDB: `0-1-270,…`. Everything in the set is taken as already applied.
    Gtid(String),
    /// Seconds since 1970: from the first transaction at or after it. Written as RFC 3339, or as
    /// `YYYY-MM-DD HH:MM:SS` in UTC.
    Timestamp(i64),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    pub mode: TlsMode,
    pub ca: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

/// MySQL's `--ssl-mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsMode {
    Disabled,
    Preferred,
    Required,
    VerifyCa,
    VerifyIdentity,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    pub kind: TargetKind,
    /// The FEs' MySQL ports, tried in order.
    pub client_addresses: Vec<Address>,
    /// The FE's HTTP ports, tried in order; a BE's address works too.
    pub http_addresses: Vec<Address>,
    pub username: String,
    pub password: Password,
    /// Stream Load headers added to every load, as in DataWorks (`format`, `compression`, `timeout`, …).
    pub load_props: BTreeMap<String, String>,
    /// PROPERTIES of the tables that schema migration creates.
    pub table_properties: BTreeMap<String, String>,
    /// `be-host:port` as the FE names it → the address to use instead.
    pub host_map: BTreeMap<String, String>,
    /// Source database → target database; others keep their name.
    pub databases: BTreeMap<String, String>,
    /// Only for `embedded`: where the embedded server that `run` starts keeps its data.
    pub data_dir: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    Starrocks,
    Embedded,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// CloudCanal's parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Params {
    /// Seconds between two flushes; 0 = as soon as the last epoch is in. Fractions are allowed.
    pub real_flush_pause_sec: f64,
    /// Rows (after the last write per key) that close an epoch early.
    pub incre_batch_size: usize,
    /// Slots of the ring between binlog reader and flusher.
    pub incre_ring_buffer_size: usize,
    /// Rows in one snapshot chunk.
    pub full_batch_size: usize,
    /// Slots of the ring between snapshot readers and loaders.
    pub full_ring_buffer_size: usize,
    /// Snapshot chunks read at once, within and across tables.
    pub full_parallel: usize,
    /// Loads sent at once; never two of one table.
    pub write_parallel: usize,
    /// Bytes of one load's body, in MB; a larger table part is split.
    pub flush_batch_mb: usize,
    /// Bytes of all events and bodies in memory, in MB.
    pub total_data_in_mem_mb: usize,
    /// Rows a second that full data reads at most, and, apart from it, the binlog; 0 = no limit.
    pub rate_limit_rps: u64,
    /// MB a second likewise; 0 = no limit.
    pub rate_limit_mbps: f64,
    /// Tries of one load after transient failures before the job stops; 0 = no limit.
    pub retry_count: u32,
    /// First pause between two tries, of a load or a connection; it doubles, up to a minute.
    pub retry_wait_time_ms: u64,
    /// Seconds for a statement at the target; and after which a source that sends nothing counts as lost.
    pub so_timeout_sec: u64,
    /// Seconds for one load, publish wait included; sent as the load's `timeout`.
    pub http_so_timeout_sec: u64,
    /// Seconds for one schema change at the target.
    pub alter_timeout_sec: u64,
}

impl Default for Params {
    fn default() -> Self {
        Params {
            real_flush_pause_sec: 10.0,
            incre_batch_size: 50_000,
            incre_ring_buffer_size: 4096,
            full_batch_size: 50_000,
            full_ring_buffer_size: 1024,
            full_parallel: 4,
            write_parallel: 4,
            flush_batch_mb: 32,
            total_data_in_mem_mb: 128,
            rate_limit_rps: 0,
            rate_limit_mbps: 0.0,
            retry_count: 0,
            retry_wait_time_ms: 500,
            so_timeout_sec: 60,
            http_so_timeout_sec: 600,
            alter_timeout_sec: 86_400,
        }
    }
}

/// What becomes of a change of a table's definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DdlPolicy {
    /// The target is changed likewise.
    Apply,
    /// The target stays as it is.
    Ignore,
    /// As `Ignore`, and the log says so.
    Warn,
    /// The job stops before the statement.
    Error,
}

/// The kinds that a policy can be chosen for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DdlKind {
    CreateTable,
    DropTable,
    TruncateTable,
    RenameTable,
    AddColumn,
    DropColumn,
    RenameColumn,
    ModifyColumn,
}

impl DdlKind {
    pub const ALL: [DdlKind; 8] = [
        DdlKind::CreateTable,
        DdlKind::DropTable,
        DdlKind::TruncateTable,
        DdlKind::RenameTable,
        DdlKind::AddColumn,
        DdlKind::DropColumn,
        DdlKind::RenameColumn,
        DdlKind::ModifyColumn,
    ];

    /// Its key in the job file.
    pub fn key(self) -> &'static str {
        match self {
            DdlKind::CreateTable => "createTable",
            DdlKind::DropTable => "dropTable",
            DdlKind::TruncateTable => "truncateTable",
            DdlKind::RenameTable => "renameTable",
            DdlKind::AddColumn => "addColumn",
            DdlKind::DropColumn => "dropColumn",
            DdlKind::RenameColumn => "renameColumn",
            DdlKind::ModifyColumn => "modifyColumn",
        }
    }
}

/// What becomes of a table that the target cannot bring to its new definition, or whose rows the log does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnImpossible {
    /// The job stops before the statement.
    Error,
    /// The table is copied anew, beside the one that serves.
    Recopy,
}

/// A policy for each kind of change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ddl {
    policies: [DdlPolicy; DdlKind::ALL.len()],
    on_impossible: OnImpossible,
}

impl Default for Ddl {
    fn default() -> Self {
        Ddl::of(|kind| if kind == DdlKind::DropTable { DdlPolicy::Ignore } else { DdlPolicy::Apply })
    }
}

impl Ddl {
    pub fn of(policy: impl Fn(DdlKind) -> DdlPolicy) -> Self {
        Ddl { policies: DdlKind::ALL.map(policy), on_impossible: OnImpossible::Error }
    }

    #[must_use]
    pub fn with_on_impossible(self, on_impossible: OnImpossible) -> Self {
        Ddl { on_impossible, ..self }
    }

    pub fn policy(&self, kind: DdlKind) -> DdlPolicy {
        self.policies[kind as usize]
    }

    pub fn on_impossible(&self) -> OnImpossible {
        self.on_impossible
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnError {
    /// The first refused row stops the job.
    #[serde(rename = "exit")]
    Exit,
    /// Refused rows become dead letters; the others are loaded.
    #[serde(rename = "batchDirtyData")]
    BatchDirtyData,
}

/// What is written for MySQL's zero dates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ZeroDate {
    Null,
    /// `YYYY-MM-DD`, with midnight for a DATETIME.
    Value(String),
    Error,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NoKeyTables {
    /// A unique key over NOT NULL columns stands for the primary key.
    UniqueKey,
    /// So it does, and where there is none, a hash of the row.
    RowHash,
    Skip,
    Error,
}

/// A password: never printed. `reveal` is called only where it is sent.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    pub fn new(password: impl Into<String>) -> Self {
        Password(password.into())
    }

    /// What a file holds without its final newline.
    pub(crate) fn read(file: &Path) -> std::io::Result<Self> {
        let text = std::fs::read_to_string(file)?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Ok(Password::new(text.strip_suffix('\r').unwrap_or(text)))
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
