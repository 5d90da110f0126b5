//! From the text of a job file to a `Job`.

use std::path::{Path, PathBuf};

use super::ShadowNames;
use super::document;
use super::model::{
    Address, Ddl, DdlKind, DdlPolicy, Http, Job, NoKeyTables, OnError, OnImpossible, Params, Password, Source,
    SourceType, Startup, Target, TargetKind, Tls, TlsMode,
};
use super::reader::{Group, Problem, Reader};
use super::shadow_names::check_shadow_pattern;
use super::table_filter::{TableFilter, check_pattern};
use crate::{Error, Result};

/// Headers of a Stream Load that Towpath sets itself; another value would lose or bend rows.
const OWN_HEADERS: &[&str] = &[
    "authorization",
    "column_separator",
    "columns",
    "content-length",
    "delete",
    "enclose",
    "escape",
    "expect",
    "host",
    "ignore_json_size",
    "json_root",
    "jsonpaths",
    "label",
    "max_filter_ratio",
    "merge_condition",
    "merge_type",
    "negative",
    "partial_update",
    "partial_update_mode",
    "partitions",
    "row_delimiter",
    "skip_header",
    "strict_mode",
    "strip_outer_array",
    "temporary_partitions",
    "transfer-encoding",
    "trim_space",
    "two_phase_commit",
    "where",
];

impl Job {
    /// Reads a job file with this process's environment. Every error is a usage error.
    pub fn load(path: impl AsRef<Path>) -> Result<Job> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::usage(format!("cannot read the job file {}", path.display()))
                .caused_by(error)
                .hint("give the path of a YAML or JSON job file")
        })?;
        Job::parse(&text, &path.display().to_string(), &|name| std::env::var(name).ok())
    }

    /// Reads a job file's text. `file` is the name for messages, `lookup` answers for environment variables.
    ///
    /// The error, a usage error, has one line a mistake: `file:line: key: what is wrong`.
    pub fn parse(text: &str, file: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Job> {
        let root = document::parse(text).map_err(|error| {
            Error::usage(line_of(file, error.line, "", &format!("not YAML or JSON: {}", error.message)))
                .hint("a value with YAML's own characters (`:`, `#`, `*`, `{`, quotes) must be quoted")
        })?;
        let mut reader = Reader::new(lookup);
        let mut group = reader.job(&root);
        let job = build(&mut group, &mut reader);
        match job {
            Some(job) if reader.problems.is_empty() => Ok(job),
            _ => Err(usage(file, &reader.problems)),
        }
    }

    /// The replica id this job shows the source: `source.serverId`, or one made from the job's name
    /// (the same on every start, above one billion to keep clear of the ids that people give out).
    pub fn replica_id(&self) -> u32 {
        let hash = crc32fast::hash(format!("towpath {}", self.name).as_bytes());
        self.source.server_id.unwrap_or(1_000_000_000 + hash % 3_000_000_000)
    }
}

fn line_of(file: &str, line: u64, path: &str, message: &str) -> String {
    let place = if line == 0 { file.to_owned() } else { format!("{file}:{line}") };
    if path.is_empty() { format!("{place}: {message}") } else { format!("{place}: {path}: {message}") }
}

fn usage(file: &str, problems: &[Problem]) -> Error {
    let mut problems: Vec<&Problem> = problems.iter().collect();
    problems.sort_by_key(|problem| if problem.line == 0 { u64::MAX } else { problem.line });
    let lines: Vec<String> =
        problems.iter().map(|problem| line_of(file, problem.line, &problem.path, &problem.message)).collect();
    Error::usage(lines.join("\n"))
}

/// `None` only with a problem reported.
fn build(job: &mut Group, reader: &mut Reader<'_>) -> Option<Job> {
    let name = job.text("name");
    if let Some(name) = &name {
        let allowed = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        if !allowed || name.is_empty() || name.len() > 40 {
            let message = format!(
                "{name:?} must be 1 to 40 letters, digits, `_` or `-`: it is part of every load's label, which takes no others"
            );
            reader.problem(job.line("name"), "name", message);
        }
    }
    let state_dir = path(job, "stateDir", reader);
    let source = source(&mut job.group("source"), reader);
    let target = target(&job.group("target"), reader);
    let params = params(&job.group("params"), reader);
    let ddl = ddl(&job.group("ddl"));
    let http = http(&job.group("http"), reader);
    let verify = super::verify::read(&job.group("verify"), reader);
    let zero_date = job.zero_date("defaultZeroDate");
    let on_error = match job.text("strategyOnError").as_deref() {
        Some("batchDirtyData") => OnError::BatchDirtyData,
        _ => OnError::Exit,
    };
    let atomic_transactions = job.flag("atomicTransactions");
    if atomic_transactions && on_error == OnError::BatchDirtyData {
        let message = "goes with strategyOnError: exit only: what is set aside would be missing from a transaction that readers \
                       are to see whole";
        reader.problem(job.line("atomicTransactions"), "atomicTransactions", message);
    }
    let no_key_tables = match job.text("noKeyTables").as_deref() {
        Some("rowHash") => NoKeyTables::RowHash,
        Some("skip") => NoKeyTables::Skip,
        Some("error") => NoKeyTables::Error,
        _ => NoKeyTables::UniqueKey,
    };
    Some(Job {
        name: name?,
        state_dir: state_dir?,
        source: source?,
        target: target?,
        params,
        ddl,
        on_error,
        max_dead_letters: job.integer("maxDeadLetters")?,
        atomic_transactions,
        zero_date: zero_date?,
        no_key_tables,
        http,
        verify,
    })
}

fn ddl(group: &Group) -> Ddl {
    let word = |key: &str| match group.text(key).as_deref() {
        Some("apply") => Some(DdlPolicy::Apply),
        Some("ignore") => Some(DdlPolicy::Ignore),
        Some("warn") => Some(DdlPolicy::Warn),
        Some("error") => Some(DdlPolicy::Error),
        _ => None,
    };
    let default = word("default").unwrap_or(DdlPolicy::Apply);
    let on_impossible = match group.text("onImpossible").as_deref() {
        Some("recopy") => OnImpossible::Recopy,
        _ => OnImpossible::Error,
    };
    let ddl = Ddl::of(|kind| {
        // The rows of a dropped table are gone for good, so that has to be said.
        let absent =
            if kind == DdlKind::DropTable && default == DdlPolicy::Apply { DdlPolicy::Ignore } else { default };
        word(kind.key()).unwrap_or(absent)
    });
    ddl.with_on_impossible(on_impossible)
}

fn http(group: &Group, reader: &mut Reader<'_>) -> Option<Http> {
    let token = secret(group, "token", "tokenFile", reader);
    let max_delay_sec = group.number("maxDelaySec");
    let line = group.line("listen");
    let Some(text) = group.text("listen") else {
        if token.as_ref().is_some_and(|token| !token.reveal().is_empty()) {
            let message = format!("is of no use without {}", group.path("listen"));
            reader.problem(group.line("token"), group.path("token"), message);
        }
        return None;
    };
    let listen = address(&text, line, group.path("listen"), reader);
    let token = token?;
    if let Some(listen) = &listen
        && token.reveal().is_empty()
        && !listen.is_loopback()
    {
        let message = format!(
            "{text} can be reached from other machines: set {} or {}, or listen on 127.0.0.1",
            group.path("token"),
            group.path("tokenFile")
        );
        reader.problem(line, group.path("listen"), message);
    }
    Some(Http { listen: listen?, token, max_delay_sec: max_delay_sec? })
}

fn source(group: &mut Group, reader: &mut Reader<'_>) -> Option<Source> {
    let hosts = hosts(group, reader);
    let username = not_empty(group, "username", reader);
    let password = password(group, reader);
    let tls = tls(&group.group("tls"), reader);
    let tables = patterns(group, "tables", reader);
    let exclude_tables = patterns(group, "excludeTables", reader);
    let shadow_tables = shadow_tables(group, reader);
    let timezone = group.text("timezone");
    if let Some(zone) = &timezone
        && let Err(message) = super::zone::parse(zone)
    {
        reader.problem(group.line("timezone"), group.path("timezone"), message);
    }
    let kind = match group.text("type").as_deref() {
        Some("mysql") => Some(SourceType::Mysql),
        Some("mariadb") => Some(SourceType::Mariadb),
        _ => None,
    };
    let startup = group.startup("startup");
    if let Some(Startup::Position { file, .. }) = &startup
        && file.is_empty()
    {
        reader.problem(group.line("startup"), group.path("startup.file"), "is empty; give a name like binlog.000042");
    }
    Some(Source {
        kind,
        hosts: hosts?,
        username: username?,
        password: password?,
        password_file: group.text("passwordFile").map(PathBuf::from),
        tls: tls?,
        tables,
        exclude_tables,
        shadow_tables,
        timezone,
        startup: startup?,
        server_id: group.integer("serverId").and_then(|id| u32::try_from(id).ok()),
    })
}

/// `host` and `port`, or `hosts`.
fn hosts(group: &Group, reader: &mut Reader<'_>) -> Option<Vec<Address>> {
    let port = group.integer("port").and_then(|port| u16::try_from(port).ok())?;
    let listed = group.texts("hosts");
    if listed.is_empty() {
        let host =
            if group.text("host").is_some() { not_empty(group, "host", reader)? } else { "127.0.0.1".to_owned() };
        return Some(vec![Address { host, port }]);
    }
    if group.text("host").is_some() {
        reader.problem(group.line("hosts"), group.path("hosts"), "give host or hosts, not both");
    }
    let mut hosts: Vec<Address> = Vec::new();
    for (line, text) in &listed {
        let bare = !text.contains(':') || text.parse::<std::net::Ipv6Addr>().is_ok();
        let whole = Address { host: text.clone(), port };
        let host = address(&if bare { whole.to_string() } else { text.clone() }, *line, group.path("hosts"), reader)?;
        if hosts.contains(&host) {
            reader.problem(*line, group.path("hosts"), format!("{host} is given twice"));
        }
        hosts.push(host);
    }
    Some(hosts)
}

fn tls(group: &Group, reader: &mut Reader<'_>) -> Option<Tls> {
    let mut file = |key| {
        let path = PathBuf::from(group.text(key)?);
        if let Err(error) = std::fs::File::open(&path) {
            reader.problem(group.line(key), group.path(key), format!("cannot read {}: {error}", path.display()));
        }
        Some(path)
    };
    let (ca, cert, key) = (file("ca"), file("cert"), file("key"));
    for (given, missing) in [(("cert", &cert), ("key", &key)), (("key", &key), ("cert", &cert))] {
        if given.1.is_some() && missing.1.is_none() {
            let message = format!("goes with {}, which is missing", group.path(missing.0));
            reader.problem(group.line(given.0), group.path(given.0), message);
        }
    }
    let mode = match group.text("mode").as_deref()? {
        "disabled" => TlsMode::Disabled,
        "required" => TlsMode::Required,
        "verify_ca" => TlsMode::VerifyCa,
        "verify_identity" => TlsMode::VerifyIdentity,
        _ => TlsMode::Preferred,
    };
    if ca.is_some() && !matches!(mode, TlsMode::VerifyCa | TlsMode::VerifyIdentity) {
        let message = format!("is used only with {}: verify_ca or verify_identity", group.path("mode"));
        reader.problem(group.line("ca"), group.path("ca"), message);
    }
    if mode == TlsMode::Disabled && cert.is_some() {
        reader.problem(group.line("cert"), group.path("cert"), "is of no use without TLS");
    }
    Some(Tls { mode, ca, cert, key })
}

fn target(group: &Group, reader: &mut Reader<'_>) -> Option<Target> {
    let kind = match group.text("type").as_deref() {
        Some("embedded") => TargetKind::Embedded,
        _ => TargetKind::Starrocks,
    };
    let client_addresses = addresses(group, "clientAddress", reader);
    let http_addresses = addresses(group, "httpAddress", reader);
    let username = not_empty(group, "username", reader);
    let password = password(group, reader);
    let load_props = group.text_map("loadProps");
    for (key, value) in &load_props {
        let path = group.path(&format!("loadProps.{key}"));
        let lower = key.to_ascii_lowercase();
        if OWN_HEADERS.contains(&lower.as_str()) {
            reader.problem(group.line("loadProps"), path, "Towpath sets this header itself; leave it out");
        } else if lower == "format" && !matches!(value.as_str(), "csv" | "json") {
            reader.problem(group.line("loadProps"), path, format!("{value:?} is not known. Allowed: csv, json"));
        } else if !header_safe(key) || value.chars().any(char::is_control) {
            reader.problem(group.line("loadProps"), path, "cannot be sent as an HTTP header");
        }
    }
    let host_map = group.text_map("hostMap");
    for (from, to) in &host_map {
        for side in [from, to] {
            address(side, group.line("hostMap"), group.path("hostMap"), reader);
        }
    }
    let databases = group.text_map("databases");
    for (from, to) in &databases {
        if to.is_empty() {
            reader.problem(group.line("databases"), group.path(&format!("databases.{from}")), "is empty");
        }
    }
    Some(Target {
        kind,
        client_addresses,
        http_addresses,
        username: username?,
        password: password?,
        load_props,
        table_properties: group.text_map("tableProperties"),
        host_map,
        databases,
        data_dir: path(group, "dataDir", reader)?,
    })
}

fn params(group: &Group, reader: &mut Reader<'_>) -> Params {
    let count = |key: &str| group.integer(key).unwrap_or_default() as usize;
    let params = Params {
        real_flush_pause_sec: group.number("realFlushPauseSec").unwrap_or_default(),
        incre_batch_size: count("increBatchSize"),
        incre_ring_buffer_size: count("increRingBufferSize"),
        full_batch_size: count("fullBatchSize"),
        full_ring_buffer_size: count("fullRingBufferSize"),
        full_parallel: count("fullParallel"),
        write_parallel: count("writeParallel"),
        flush_batch_mb: count("flushBatchMb"),
        total_data_in_mem_mb: count("totalDataInMemMb"),
        rate_limit_rps: count("rateLimitRps") as u64,
        rate_limit_mbps: group.number("rateLimitMbps").unwrap_or_default(),
        retry_count: u32::try_from(count("retryCount")).unwrap_or(u32::MAX),
        retry_wait_time_ms: count("retryWaitTimeMs") as u64,
        so_timeout_sec: count("soTimeoutSec") as u64,
        http_so_timeout_sec: count("httpSoTimeoutSec") as u64,
        alter_timeout_sec: count("alterTimeoutSec") as u64,
    };
    if params.flush_batch_mb > params.total_data_in_mem_mb && params.total_data_in_mem_mb > 0 {
        let message = format!(
            "{} is more than totalDataInMemMb ({}), the bound on everything in memory",
            params.flush_batch_mb, params.total_data_in_mem_mb
        );
        reader.problem(group.line("flushBatchMb"), group.path("flushBatchMb"), message);
    }
    params
}

fn not_empty(group: &Group, key: &str, reader: &mut Reader<'_>) -> Option<String> {
    let text = group.text(key)?;
    if text.is_empty() {
        reader.problem(group.line(key), group.path(key), "is empty");
    }
    Some(text)
}

fn path(group: &Group, key: &str, reader: &mut Reader<'_>) -> Option<PathBuf> {
    not_empty(group, key, reader).map(PathBuf::from)
}

fn password(group: &Group, reader: &mut Reader<'_>) -> Option<Password> {
    secret(group, "password", "passwordFile", reader)
}

/// The value of `key`, or what the file that `file_key` names holds without its final newline.
fn secret(group: &Group, key: &str, file_key: &str, reader: &mut Reader<'_>) -> Option<Password> {
    let given = group.text(key)?;
    let Some(file) = group.text(file_key) else {
        return Some(Password::new(given));
    };
    let line = group.line(file_key);
    if !given.is_empty() {
        reader.problem(line, group.path(file_key), format!("give {key} or {file_key}, not both"));
    }
    match Password::read(Path::new(&file)) {
        Ok(password) => Some(password),
        Err(error) => {
            reader.problem(line, group.path(file_key), format!("cannot read {file}: {error}"));
            None
        }
    }
}

pub(super) fn patterns(group: &Group, key: &str, reader: &mut Reader<'_>) -> Vec<String> {
    let patterns = group.texts(key);
    for (line, pattern) in &patterns {
        if let Err(message) = check_pattern(pattern) {
            reader.problem(*line, group.path(key), message);
        }
    }
    patterns.into_iter().map(|(_, pattern)| pattern).collect()
}

fn shadow_tables(group: &Group, reader: &mut Reader<'_>) -> ShadowNames {
    if !group.has("shadowTables") {
        return ShadowNames::default();
    }
    let mut known: Vec<String> = Vec::new();
    for (line, pattern) in group.texts("shadowTables") {
        match check_shadow_pattern(&pattern) {
            Ok(()) => known.push(pattern),
            Err(message) => reader.problem(line, group.path("shadowTables"), message),
        }
    }
    ShadowNames::new(&known).unwrap_or_else(|_| ShadowNames::none())
}

fn addresses(group: &Group, key: &str, reader: &mut Reader<'_>) -> Vec<Address> {
    let texts = group.texts(key);
    texts.iter().filter_map(|(line, text)| address(text, *line, group.path(key), reader)).collect()
}

pub(super) fn address(text: &str, line: u64, path: String, reader: &mut Reader<'_>) -> Option<Address> {
    match text.parse() {
        Ok(address) => Some(address),
        Err(message) => {
            reader.problem(line, path, message);
            None
        }
    }
}

fn header_safe(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

impl Address {
    /// Whether only this machine can reach it. A name counts only when it is `localhost`.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.host.as_str();
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl std::str::FromStr for Address {
    type Err = String;

    /// `host:port`, `[v6]:port`. `Err` says what is wrong.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} must be host:port, such as 127.0.0.1:8030");
        if text.contains("://") {
            return Err(format!("{text:?} must be host:port, without a scheme or path"));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or_else(wrong)?,
            None if host.contains(':') => return Err(wrong()),
            None => host,
        };
        let sane =
            !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '@' | '[' | ']'));
        match port.parse::<u16>() {
            Ok(port) if port > 0 && sane => Ok(Address { host: host.to_owned(), port }),
            _ => Err(wrong()),
        }
    }
}

impl Source {
    /// The filter of `tables`, `excludeTables` and `shadowTables`. `lower_case_table_names` is the server's variable:
    /// other than 0 means that names are compared without case.
    pub fn table_filter(&self, lower_case_table_names: u8) -> Result<TableFilter> {
        let filter = TableFilter::new(&self.tables, &self.exclude_tables, lower_case_table_names != 0)?;
        Ok(filter.with_shadows(self.shadow_tables.clone()))
    }
}
