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
//! Only one thing ends that asking: a target that refuses to be asked, as it does when its password was changed, and goes
//! on refusing for `soTimeoutSec`. The load is then given up with its fate unknown, and the job has to stop.
//!
//! Where only BEs are named as `httpAddress`, no FE can be asked for a label's state. The same load is then
//! sent again and again: the answer to a known label is its state.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use tracing::warn;

use super::answer::{Again, Verdict, classify, field, judge, parse, publish_time};
use super::http::{Answer, Http, Lost, encode_segment};
use super::refused;
use crate::config;
use crate::progress::Retries;
use crate::schema::{TableName, quote};
use crate::target::{Carried, Format, LabelState, Load, LoadColumn, Loaded, OP_COLUMN, Pressure, RefusedRows};
use crate::{Error, Result, step};

/// Time for the answer to travel after the server's own `timeout` has ended a load.
pub(super) const GRACE: Duration = Duration::from_secs(15);
pub(super) const MAX_WAIT: Duration = Duration::from_secs(60);
const FIRST_POLL: Duration = Duration::from_millis(50);
pub(super) const MAX_POLL: Duration = Duration::from_secs(5);
/// Tries of a load whose failure is on no list.
pub(super) const UNCLEAR_TRIES: u32 = 5;
/// Bodies over this are refused as JSON unless the check is switched off.
const JSON_CHECK_BYTES: usize = 100 << 20;

pub(super) struct StreamLoad {
    pub(super) http: Http,
    /// What every load carries.
    pub(super) headers: HeaderMap,
    pub(super) load_timeout: Duration,
    retry_count: u32,
    pub(super) retry_wait: Duration,
    /// How long the target may refuse to tell a load's fate.
    refusal_patience: Duration,
    pressure: Mutex<Pressure>,
    pub(super) retries: Retries,
    late: Mutex<Late>,
}

/// Labels that are committed and perhaps not visible yet. A table's versions become visible in order, so of its loads the
/// last one tells for all.
#[derive(Default)]
struct Late {
    tables: HashMap<TableName, String>,
    /// Of loads of an earlier run, and of transactions, by their database.
    databases: HashMap<String, VecDeque<String>>,
}

/// Labels of a database that are remembered; a start has no more loads open than it can send at once.
const MOST_LATE: usize = 4096;

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
    /// The target refuses to tell.
    Unknown(Error),
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
        let answer_timeout = Duration::from_secs(params.so_timeout_sec.max(1));
        Ok(StreamLoad {
            http: Http::new(target, answer_timeout)?,
            headers,
            load_timeout: Duration::from_secs(seconds) + GRACE,
            retry_count: params.retry_count,
            retry_wait: Duration::from_millis(params.retry_wait_time_ms.max(1)),
            refusal_patience: answer_timeout,
            pressure: Mutex::default(),
            retries: Retries::default(),
            late: Mutex::default(),
        })
    }

    pub(super) fn http(&self) -> &Http {
        &self.http
    }

    pub(super) fn pressure(&self) -> Pressure {
        *self.pressure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a try that was refused for want of room.
    fn refused_for(&self, reason: &'static str) {
        let mut pressure = self.pressure.lock().unwrap_or_else(PoisonError::into_inner);
        pressure.refusals += 1;
        pressure.reason = reason;
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
        // Since when the target refuses to say what became of an earlier try.
        let mut refused: Option<Instant> = None;
        loop {
            step::reached("load-begun");
            let answer = self.http.put(self.http.current(), &path, &headers, &load.body, self.load_timeout).await;
            step::reached("load-answered");
            let began = answer.as_ref().map_or_else(|lost| lost.began, |answer| answer.began);
            let from = answer.as_ref().ok().map(|answer| answer.from.clone());
            let visible = answer.as_ref().is_ok_and(says_visible);
            let publish = answer.as_ref().ok().and_then(publish_time);
            let verdict = match answer {
                Ok(answer) => judge(&answer, load.rows),
                Err(Lost { began: true, error }) => Verdict::Undecided(error),
                Err(Lost { began: false, error }) => {
                    let again = if error.is_transient() { Again::Yes } else { Again::No };
                    Verdict::Failed { error, again, error_url: None }
                }
            };
            let error = match verdict {
                Verdict::In { already } => {
                    self.is_in(load, visible);
                    return Ok(Loaded { retries, already, publish: publish.filter(|_| !already) });
                }
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
                    if !hopeless {
                        refused = None;
                    }
                    if hopeless && refused.get_or_insert_with(Instant::now).elapsed() >= self.refusal_patience {
                        return Err(unknown(&error).context(at()));
                    }
                    if settled && self.tries_spent(retries) {
                        return Err(error.context(format!("{} after {retries} retries", at())));
                    }
                    match again {
                        Again::Exhausted(what) => self.refused_for(what),
                        _ => from.iter().for_each(|from| self.http.turn_from(from)),
                    }
                    self.pause(&mut backoff, &mut retries, &at(), &error).await;
                    continue;
                }
            };
            refused = None;
            warn!("{}: {error}; asking for the label's state", at());
            match self.settle(load).await {
                Fate::In => {
                    self.is_in(load, false);
                    return Ok(Loaded { retries, already: true, publish: None });
                }
                Fate::NotIn { reason } => {
                    settled = true;
                    // The answer with the details was lost; a few more tries may bring it.
                    unclear += u32::from(classify(&reason) == Again::No);
                    if unclear >= UNCLEAR_TRIES {
                        let error = Error::definite(format!("{}: the server aborts it: {reason}", at()));
                        let refused = refused::of(&reason, &serde_json::Value::Null);
                        return Err(refused.into_iter().fold(error, Error::caused_by));
                    }
                }
                Fate::SendAgain => settled = false,
                Fate::Unknown(error) => return Err(unknown(&error).context(at())),
            }
            if settled && self.tries_spent(retries) {
                return Err(error.context(format!("{} after {retries} retries", at())));
            }
            self.pause(&mut backoff, &mut retries, &at(), &error).await;
        }
    }

    /// Remembers a load that is in and may not be seen.
    fn is_in(&self, load: &Load, visible: bool) {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        match visible {
            true => drop(late.tables.remove(&load.table)),
            false => drop(late.tables.insert(load.table.clone(), load.label.clone())),
        }
    }

    /// Remembers a label of which the table is not known.
    pub(super) fn is_in_database(&self, database: &str, label: &str) {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        let labels = late.databases.entry(database.to_owned()).or_default();
        if labels.len() == MOST_LATE {
            labels.pop_front();
        }
        labels.push_back(label.to_owned());
    }

    /// Waits until every load of the table that has returned can be seen.
    ///
    /// # Errors
    /// The target refuses to tell, or no FE can be asked.
    pub(super) async fn until_visible(&self, table: &TableName) -> Result<()> {
        let labels: Vec<String> = {
            let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
            let of_database = late.databases.remove(&table.database).unwrap_or_default();
            late.tables.remove(table).into_iter().chain(of_database).collect()
        };
        for label in labels {
            let mut poll = Backoff::new(FIRST_POLL, MAX_POLL);
            let at = format!("waiting for label {label} to become visible");
            let mut asked = Asked::default();
            loop {
                match self.ask_text(&table.database, &label).await {
                    Ok(Some(state)) if state != COMMITTED => break,
                    Ok(Some(_)) => tokio::time::sleep(poll.next()).await,
                    Ok(None) => return Err(no_fe(&label)),
                    Err(error) => self.patience(&mut asked, &at, error).await?,
                }
            }
        }
        Ok(())
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

    pub(super) fn tries_spent(&self, retries: u32) -> bool {
        self.retry_count > 0 && retries >= self.retry_count
    }

    pub(super) async fn pause(&self, backoff: &mut Backoff, retries: &mut u32, at: &str, error: &Error) {
        let wait = backoff.next();
        *retries += 1;
        self.retries.count();
        warn!("{at}: {error}; try {} in {} ms", *retries + 1, wait.as_millis());
        tokio::time::sleep(wait).await;
    }

    /// Asks until the label's fate is known, or the target has refused to tell for too long.
    async fn settle(&self, load: &Load) -> Fate {
        let mut poll = Backoff::new(FIRST_POLL, MAX_POLL);
        let mut refused: Option<Instant> = None;
        loop {
            let asked = self.ask(&load.table.database, &load.label).await;
            if !matches!(&asked, Err(error) if !error.is_transient()) {
                refused = None;
            }
            match asked {
                Ok(Some(LabelState::Finished)) => return Fate::In,
                Ok(Some(LabelState::Unknown)) => return Fate::NotIn { reason: String::new() },
                Ok(Some(LabelState::Aborted { reason })) => return Fate::NotIn { reason },
                Ok(Some(LabelState::Running)) => {}
                Ok(None) => return Fate::SendAgain,
                Err(error)
                    if !error.is_transient()
                        && refused.get_or_insert_with(Instant::now).elapsed() >= self.refusal_patience =>
                {
                    return Fate::Unknown(error);
                }
                Err(error) => warn!("label {}: {error}; asking again", load.label),
            }
            tokio::time::sleep(poll.next()).await;
        }
    }

    pub(super) async fn label_state(&self, database: &str, label: &str) -> Result<LabelState> {
        let state = self.ask(database, label).await.map_err(|error| error.context(format!("label {label}")))?;
        if state == Some(LabelState::Finished) {
            self.is_in_database(database, label);
        }
        state.ok_or_else(|| no_fe(label))
    }

    /// `None`: no address knows the question, so they are all BEs.
    pub(super) async fn ask(&self, database: &str, label: &str) -> Result<Option<LabelState>> {
        self.ask_as(database, label, read_state).await
    }

    /// The state as the server words it, in capitals.
    async fn ask_text(&self, database: &str, label: &str) -> Result<Option<String>> {
        let word =
            |text: &str, status| read_state(text, status).map(|_| field(&parse(text), &["state"]).to_ascii_uppercase());
        self.ask_as(database, label, word).await
    }

    async fn ask_as<S>(&self, database: &str, label: &str, read: impl Fn(&str, u16) -> Result<S>) -> Result<Option<S>> {
        let path = format!("/api/{}/get_load_state?label={}", encode_segment(database), encode_segment(label));
        let mut failure: Option<Error> = None;
        // A refusal says more than a silence.
        let mut keep = |error: Error| match &failure {
            Some(before) if !before.is_transient() && error.is_transient() => {}
            _ => failure = Some(error),
        };
        for address in self.http.in_order() {
            match self.http.get(address, &path).await {
                Ok(answer) if matches!(answer.status, 404 | 405) => {}
                Ok(answer) => match read(&answer.text, answer.status) {
                    Ok(state) => return Ok(Some(state)),
                    Err(error) => keep(error.context(address)),
                },
                Err(error) => keep(error),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    pub(super) fn headers(&self, load: &Load) -> Result<HeaderMap> {
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

    /// Adds what the server's log says of the first refused rows.
    pub(super) async fn with_filtered_rows(&self, error: Error, error_url: Option<String>) -> Error {
        let Some(url) = error_url else { return error };
        let log = match self.http.get_url(&url).await {
            Ok(answer) if answer.status == 200 => answer.text,
            Ok(answer) => return error.hint(format!("the error log could not be read: HTTP {}", answer.status)),
            Err(cause) => return error.hint(format!("the error log could not be read: {cause}")),
        };
        let reasons = refused::reasons(&log);
        match error.cause::<RefusedRows>() {
            _ if reasons.is_empty() => error,
            Some(refused) => {
                let found = refused.found;
                error.caused_by(RefusedRows { found, reasons })
            }
            None => {
                let lines = RefusedRows { found: None, reasons }.to_string();
                error.caused_by(lines)
            }
        }
    }
}

/// Committed, and not visible yet.
const COMMITTED: &str = "COMMITTED";

/// `Publish Timeout`, and a label that was in use, may be committed without being visible.
fn says_visible(answer: &Answer) -> bool {
    matches!(field(&parse(&answer.text), &["Status", "status"]).as_str(), "Success" | "OK")
}

fn no_fe(label: &str) -> Error {
    Error::definite(format!("label {label}: none of target.httpAddress is an FE that could be asked"))
        .hint("add the FE's HTTP port (8030 by default) to target.httpAddress")
}

/// The one error of a load that does not mean that the load is not in.
fn unknown(error: &Error) -> Error {
    let refusal = error.message();
    Error::definite(format!("whether it is in is not known, and the target does not tell: {refusal}")).hint(
        "see that target.username and target.password are still right, and start the job again: the label is kept, and the \
         next start asks for it before anything newer goes out",
    )
}

pub(super) fn header(name: &str, value: &str) -> Result<HeaderValue> {
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
pub(super) struct Backoff {
    next: Duration,
    limit: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration, limit: Duration) -> Self {
        Backoff { next: first.min(limit), limit }
    }

    pub(super) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.limit);
        pause.mul_f64(rand::random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests;
