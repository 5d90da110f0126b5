//! Stream Load: one body, one label, and a fate that is known when the call returns.
//!
//! A load is in when the server says so, or when its label is found committed. It is known not to be in when
//! the server refused it. Between the two lies the lost answer: the body was on its way and the connection
//! broke, or the server itself lost sight of its commit. Then the label decides, and nothing else: its state is
//! asked until it is committed (in) or aborted or unknown (not in; sent again under the same label, which the
//! server takes at most once).
//!
//! ```text
//!   PUT ──▶ Success, Publish Timeout, label FINISHED ───────────────────────────▶ in
//!    ▲ └──▶ refused for good (data, privileges, unknown table) ─────────────────▶ error
//!    │ └──▶ refused for now (too many versions, memory, no BE) ──┐ wait, next address
//!    │ └──▶ lost after the body began, label RUNNING ──▶ ask ────┤ UNKNOWN, ABORTED
//!    └───────────────────────────────────────────────────────────┘ COMMITTED, VISIBLE ▶ in
//! ```
//!
//! Where only BEs are named as `httpAddress`, no FE can be asked for a label's state. The same load is then
//! sent again and again: the answer to a known label is its state.

use std::time::Duration;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use tracing::warn;

use super::answer::{Again, Verdict, classify, field, judge, parse};
use super::http::{Http, Lost, encode_segment};
use crate::config;
use crate::schema::quote;
use crate::target::{Carried, Format, LabelState, Load, LoadColumn, Loaded, OP_COLUMN};
use crate::{Error, Result};

/// Time for the answer to travel after the server's own `timeout` has ended a load.
const GRACE: Duration = Duration::from_secs(15);
const MAX_WAIT: Duration = Duration::from_secs(60);
const MAX_POLL: Duration = Duration::from_secs(5);
/// Tries of a load whose failure is on no list.
const UNCLEAR_TRIES: u32 = 5;
/// Bodies over this are refused as JSON unless the check is switched off.
const JSON_CHECK_BYTES: usize = 100 << 20;

pub(super) struct StreamLoad {
    http: Http,
    /// What every load carries.
    headers: HeaderMap,
    load_timeout: Duration,
    retry_count: u32,
    retry_wait: Duration,
}

/// Header names that decide whether rows are lost or how a body reads; the job file may not set them.
const OURS: &[&str] = &[
    "label",
    "columns",
    "strict_mode",
    "max_filter_ratio",
    "column_separator",
    "row_delimiter",
    "line_delimiter",
    "enclose",
    "escape",
    "skip_header",
    "trim_space",
    "where",
    "partitions",
    "temporary_partitions",
    "negative",
    "partial_update",
    "partial_update_mode",
    "merge_condition",
    "jsonpaths",
    "json_root",
    "strip_outer_array",
    "envelope",
    "enable_merge_commit",
    "merge_commit_async",
    "merge_commit_interval_ms",
    "merge_commit_parallel",
    "transaction_type",
    "authorization",
    "expect",
    "host",
    "content-length",
    "content-encoding",
    "content-type",
    "transfer-encoding",
    "connection",
];

/// What asking for a label brought.
enum Fate {
    In,
    /// Aborted for `reason`, or never there.
    NotIn {
        reason: String,
    },
    /// No FE can be asked: send again, the answer tells.
    SendAgain,
}

impl StreamLoad {
    /// Usage errors: an address, a `loadProps` entry that would switch a safety off or is no header.
    pub(super) fn new(target: &config::Target, params: &config::Params) -> Result<Self> {
        let mut seconds = params.http_so_timeout_sec.max(1);
        let mut headers = HeaderMap::new();
        headers.insert("strict_mode", HeaderValue::from_static("true"));
        headers.insert("max_filter_ratio", HeaderValue::from_static("0"));
        for (name, value) in &target.load_props {
            let at = || format!("target.loadProps.{name}");
            match name.to_ascii_lowercase().as_str() {
                // The encoder's, and said per load.
                "format" => {}
                "compression" if value == "none" || value.is_empty() => {}
                "compression" => {
                    return Err(Error::usage(format!("{}: {value:?} is not supported", at())).hint("use none"));
                }
                "timeout" => {
                    seconds =
                        value.parse().ok().filter(|seconds| (1..=259_200).contains(seconds)).ok_or_else(|| {
                            Error::usage(format!("{}: {value:?} is not a number of seconds, 1 to 259200", at()))
                        })?;
                }
                lower if OURS.contains(&lower) => {
                    return Err(Error::usage(format!("{}: towpath sets this header itself", at()))
                        .hint("remove it: with another value rows could be lost or changed in silence"));
                }
                lower => {
                    let unfit = || Error::usage(format!("{}: cannot be sent as an HTTP header", at()));
                    let name = HeaderName::try_from(lower).map_err(|_| unfit())?;
                    headers.insert(name, HeaderValue::try_from(value).map_err(|_| unfit())?);
                }
            }
        }
        headers.insert("timeout", HeaderValue::from(seconds));
        Ok(StreamLoad {
            http: Http::new(target, Duration::from_secs(params.so_timeout_sec.max(1)))?,
            headers,
            load_timeout: Duration::from_secs(seconds) + GRACE,
            retry_count: params.retry_count,
            retry_wait: Duration::from_millis(params.retry_wait_time_ms.max(1)),
        })
    }

    pub(super) fn http(&self) -> &Http {
        &self.http
    }

    /// See [`crate::target`] for the contract. Dropping the future leaves the load's fate unknown: send the
    /// same load again, or ask for its label, before anything newer goes to the table.
    pub(super) async fn load(&self, load: &Load) -> Result<Loaded> {
        let at = || format!("load {} of {} rows into {}", load.label, load.rows, load.table);
        if load.rows == 0 || load.body.is_empty() {
            return Ok(Loaded::default());
        }
        let headers = self.headers(load).map_err(|error| error.context(at()))?;
        let path =
            format!("/api/{}/{}/_stream_load", encode_segment(&load.table.database), encode_segment(&load.table.table));
        let mut backoff = Backoff::new(self.retry_wait, MAX_WAIT);
        let (mut retries, mut unclear) = (0, 0);
        // Every earlier try is known not to be in.
        let mut settled = true;
        loop {
            let answer = self.http.put(self.http.current(), &path, &headers, &load.body, self.load_timeout).await;
            let began = answer.as_ref().map_or_else(|lost| lost.began, |answer| answer.began);
            let verdict = match answer {
                Ok(answer) => judge(&answer, load.rows),
                Err(Lost { began: true, error }) => Verdict::Undecided(error),
                Err(Lost { began: false, error }) => {
                    let again = if error.is_transient() { Again::Yes } else { Again::No };
                    Verdict::Failed { error, again, error_url: None }
                }
            };
            let error = match verdict {
                Verdict::In { already } => return Ok(Loaded { retries, already }),
                Verdict::Running => Error::transient("an earlier try under the same label was under way"),
                Verdict::Undecided(error) => error,
                Verdict::Failed { error, again, error_url } => {
                    // A body that was asked for shows that the label was free: no earlier try is in.
                    settled |= began;
                    unclear += u32::from(again == Again::Perhaps);
                    let error = self.with_filtered_rows(error, error_url).await;
                    let hopeless = again == Again::No || unclear >= UNCLEAR_TRIES;
                    if settled && hopeless {
                        return Err(error.context(at()));
                    }
                    if settled && self.tries_spent(retries) {
                        return Err(error.context(format!("{} after {retries} retries", at())));
                    }
                    self.pause(&mut backoff, &mut retries, &at(), &error).await;
                    continue;
                }
            };
            warn!("{}: {error}; asking for the label's state", at());
            match self.settle(load).await {
                Fate::In => return Ok(Loaded { retries, already: true }),
                Fate::NotIn { reason } => {
                    settled = true;
                    // The answer with the details was lost; a few more tries may bring it.
                    unclear += u32::from(classify(&reason) == Again::No);
                    if unclear >= UNCLEAR_TRIES {
                        return Err(Error::definite(format!("{}: the server aborts it: {reason}", at())));
                    }
                }
                Fate::SendAgain => settled = false,
            }
            if settled && self.tries_spent(retries) {
                return Err(error.context(format!("{} after {retries} retries", at())));
            }
            self.pause(&mut backoff, &mut retries, &at(), &error).await;
        }
    }

    /// For a question that belongs to a load: waits before it is asked again, as a load does.
    ///
    /// # Errors
    /// The one given, when asking again is no use or no more tries are left.
    pub(super) async fn patience(&self, asked: &mut Asked, at: &str, error: Error) -> Result<()> {
        if !error.is_transient() || self.tries_spent(asked.retries) {
            return Err(error.context(at));
        }
        let backoff = asked.backoff.get_or_insert_with(|| Backoff::new(self.retry_wait, MAX_WAIT));
        self.pause(backoff, &mut asked.retries, at, &error).await;
        Ok(())
    }

    fn tries_spent(&self, retries: u32) -> bool {
        self.retry_count > 0 && retries >= self.retry_count
    }

    async fn pause(&self, backoff: &mut Backoff, retries: &mut u32, at: &str, error: &Error) {
        let wait = backoff.next();
        *retries += 1;
        warn!("{at}: {error}; try {} in {} ms", *retries + 1, wait.as_millis());
        self.http.turn();
        tokio::time::sleep(wait).await;
    }

    /// Asks until the label's fate is known.
    async fn settle(&self, load: &Load) -> Fate {
        let mut poll = Backoff::new(Duration::from_millis(200), MAX_POLL);
        loop {
            match self.ask(&load.table.database, &load.label).await {
                Ok(Some(LabelState::Finished)) => return Fate::In,
                Ok(Some(LabelState::Unknown)) => return Fate::NotIn { reason: String::new() },
                Ok(Some(LabelState::Aborted { reason })) => return Fate::NotIn { reason },
                Ok(Some(LabelState::Running)) => {}
                Ok(None) => return Fate::SendAgain,
                Err(error) => warn!("label {}: {error}; asking again", load.label),
            }
            tokio::time::sleep(poll.next()).await;
        }
    }

    pub(super) async fn label_state(&self, database: &str, label: &str) -> Result<LabelState> {
        let state = self.ask(database, label).await.map_err(|error| error.context(format!("label {label}")))?;
        state.ok_or_else(|| {
            Error::definite(format!("label {label}: none of target.httpAddress is an FE that could be asked"))
                .hint("add the FE's HTTP port (8030 by default) to target.httpAddress")
        })
    }

    /// `None`: no address knows the question, so they are all BEs.
    async fn ask(&self, database: &str, label: &str) -> Result<Option<LabelState>> {
        let path = format!("/api/{}/get_load_state?label={}", encode_segment(database), encode_segment(label));
        let mut failure = None;
        for address in self.http.addresses() {
            match self.http.get(address, &path).await {
                Ok(answer) if matches!(answer.status, 404 | 405) => {}
                Ok(answer) => match read_state(&answer.text, answer.status) {
                    Ok(state) => return Ok(Some(state)),
                    Err(error) => failure = Some(error.context(address)),
                },
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    fn headers(&self, load: &Load) -> Result<HeaderMap> {
        let mut headers = self.headers.clone();
        headers.insert("label", header("label", &load.label)?);
        headers.insert("columns", header("columns", &columns(&load.columns))?);
        if load.partial {
            // In row mode, the default and the only one before 3.1.
            headers.insert("partial_update", HeaderValue::from_static("true"));
        }
        match load.format {
            Format::Csv => {
                headers.insert("format", HeaderValue::from_static("csv"));
                headers.insert("column_separator", HeaderValue::from_static("\\x01"));
                headers.insert("row_delimiter", HeaderValue::from_static("\\x02"));
            }
            Format::JsonLines => {
                headers.insert("format", HeaderValue::from_static("json"));
                if load.body.len() >= JSON_CHECK_BYTES {
                    headers.insert("ignore_json_size", HeaderValue::from_static("true"));
                }
            }
        }
        Ok(headers)
    }

    /// Adds the first rejected rows, with the server's reason for each.
    async fn with_filtered_rows(&self, error: Error, error_url: Option<String>) -> Error {
        const LINES: usize = 3;
        const CHARS: usize = 500;
        let Some(url) = error_url else { return error };
        let log = match self.http.get_url(&url).await {
            Ok(answer) if answer.status == 200 => answer.text,
            Ok(answer) => return error.hint(format!("the error log could not be read: HTTP {}", answer.status)),
            Err(cause) => return error.hint(format!("the error log could not be read: {cause}")),
        };
        let lines = log.lines().map(str::trim).filter(|line| !line.is_empty()).take(LINES);
        let lines: Vec<String> = lines.map(|line| line.chars().take(CHARS).collect()).collect();
        let text = lines.join("\n  ");
        if text.is_empty() { error } else { error.caused_by(format!("the server's log says\n  {text}")) }
    }
}

fn header(name: &str, value: &str) -> Result<HeaderValue> {
    HeaderValue::from_bytes(value.as_bytes())
        .map_err(|_| Error::definite(format!("the header {name} cannot carry {value:?}")))
}

/// The `columns` header. Explicit, since a load without it would follow the table's order of today.
fn columns(columns: &[LoadColumn]) -> String {
    let fields = columns.iter().map(|column| match column.field() {
        field if field == OP_COLUMN => field.into_owned(),
        field => quote(&field),
    });
    let decoded = columns.iter().filter_map(|column| {
        let (name, field) = (quote(&column.name), quote(&column.field()));
        match column.carried {
            Carried::Plain => None,
            Carried::Base64 => Some(format!("{name}=to_binary({field},'encode64')")),
            Carried::JsonText => Some(format!("{name}=parse_json({field})")),
        }
    });
    fields.chain(decoded).collect::<Vec<_>>().join(",")
}

fn read_state(text: &str, status: u16) -> Result<LabelState> {
    let json = parse(text);
    let message = field(&json, &["msg", "message", "Message"]);
    match status {
        200 => {}
        401 | 403 => {
            return Err(Error::definite(format!("refuses to tell a label's state: {message}"))
                .hint("check target.username and target.password"));
        }
        status => return Err(Error::transient(format!("answered HTTP {status} when asked for a label's state"))),
    }
    match field(&json, &["state"]).to_ascii_uppercase().as_str() {
        "UNKNOWN" => Ok(LabelState::Unknown),
        "PREPARE" | "PREPARED" => Ok(LabelState::Running),
        "COMMITTED" | "VISIBLE" => Ok(LabelState::Finished),
        "ABORTED" => Ok(LabelState::Aborted { reason: field(&json, &["reason"]) }),
        // A database that is not there has no labels.
        _ if message.to_lowercase().contains("unknown database") => Ok(LabelState::Unknown),
        other => Err(Error::transient(format!("tells no label state: {other} {message}"))),
    }
}

/// How often something was asked in vain.
#[derive(Default)]
pub(super) struct Asked {
    backoff: Option<Backoff>,
    retries: u32,
}

/// Pauses that double up to a limit, each shortened by chance so that parallel loads do not march in step.
struct Backoff {
    next: Duration,
    limit: Duration,
}

impl Backoff {
    fn new(first: Duration, limit: Duration) -> Self {
        Backoff { next: first.min(limit), limit }
    }

    fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.limit);
        pause.mul_f64(rand::random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests;
