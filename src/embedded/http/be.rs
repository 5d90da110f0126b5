//! The BE port: takes load bodies, and serves the error logs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Map, Value};

use super::commit::{PUBLISH_TIMEOUT, Told, UNKNOWN};
use super::request::{credentials, parameter, segments};
use super::{Answer, Ports, answer, two_phase};
use crate::embedded::fault::Mode;
use crate::embedded::load::apply::Target;
use crate::embedded::load::plan::Plan;
use crate::embedded::load::refusing::Refusing;
use crate::embedded::load::settings::{Preamble, Settings, content_length, header};
use crate::embedded::load::{Counts, Session};
use crate::embedded::transaction::{Refusal, State};
use crate::schema::TableName;

pub(super) async fn serve(ports: &Arc<Ports>, peer: SocketAddr, request: Request<Incoming>) -> Answer {
    let path = segments(request.uri());
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match (path.as_slice(), request.method()) {
        (["api", "health"], &Method::GET) => {
            answer::json(StatusCode::OK, &serde_json::json!({"status": "OK", "msg": "To Be Added"}))
        }
        (["api", "_load_error_log"], &Method::GET) => {
            let name = parameter(request.uri(), "file").unwrap_or_default();
            match ports.read_error_log(&name) {
                Some(text) => answer::plain(StatusCode::OK, &text),
                None => answer::plain(StatusCode::NOT_FOUND, "file not exist."),
            }
        }
        (["api", "transaction", op], &Method::POST | &Method::PUT) => {
            let op = (*op).to_owned();
            two_phase::be(ports, peer, &op, request).await
        }
        (["api", database, table, "_stream_load"], &Method::PUT) => {
            let (database, table) = ((*database).to_owned(), (*table).to_owned());
            stream_load(ports, peer, database, table, request).await
        }
        _ => answer::closing(answer::not_found()),
    }
}

/// A load's answer in the making, in the key order of the BE.
struct Report {
    id: i64,
    label: String,
    status: &'static str,
    existing: Option<State>,
    message: String,
    counts: Counts,
    bytes: u64,
    started: Instant,
    begin: Duration,
    plan: Duration,
    read: Duration,
    commit: Duration,
    error_url: Option<String>,
}

impl Report {
    fn new(label: String) -> Report {
        Report {
            id: -1,
            label,
            status: "Fail",
            existing: None,
            message: String::new(),
            counts: Counts::default(),
            bytes: 0,
            started: Instant::now(),
            begin: Duration::ZERO,
            plan: Duration::ZERO,
            read: Duration::ZERO,
            commit: Duration::ZERO,
            error_url: None,
        }
    }

    fn fail(mut self, message: impl Into<String>) -> Answer {
        self.message = message.into();
        self.answer()
    }

    fn answer(self) -> Answer {
        let millis = |time: Duration| Value::from(time.as_millis() as u64);
        let mut body = Map::new();
        let mut put = |key: &str, value: Value| {
            body.insert(key.to_owned(), value);
        };
        put("TxnId", self.id.into());
        put("Label", self.label.into());
        put("Status", self.status.into());
        if let Some(state) = self.existing {
            put("ExistingJobStatus", state.job_status().into());
        }
        put("Message", self.message.into());
        put("NumberTotalRows", (self.counts.loaded + self.counts.filtered).into());
        put("NumberLoadedRows", self.counts.loaded.into());
        put("NumberFilteredRows", self.counts.filtered.into());
        put("NumberUnselectedRows", 0.into());
        put("LoadBytes", self.bytes.into());
        put("LoadTimeMs", millis(self.started.elapsed()));
        put("BeginTxnTimeMs", millis(self.begin));
        put("StreamLoadPlanTimeMs", millis(self.plan));
        put("ReadDataTimeMs", millis(self.read));
        put("WriteDataTimeMs", millis(self.read));
        put("CommitAndPublishTimeMs", millis(self.commit));
        if let Some(url) = self.error_url {
            put("ErrorURL", url.into());
        }
        answer::pretty(&body)
    }
}

async fn stream_load(
    ports: &Arc<Ports>,
    peer: SocketAddr,
    database: String,
    table: String,
    request: Request<Incoming>,
) -> Answer {
    let (parts, body) = request.into_parts();
    let headers = parts.headers;
    let label = header(&headers, "label").map_or_else(random_label, str::to_owned);
    let mut report = Report::new(label);
    let about = TableName::new(&*database, &*table);
    ports.be_is_slow(&about).await;
    let breaks = ports.breaks(&about, content_length(&headers));

    // All of this happens before the body is asked for, so before `100 Continue` (G6).
    let work = ports.clone();
    let begun = tokio::task::spawn_blocking(move || {
        let session = begin(&work, peer, &headers, &database, &table, &mut report);
        (session, report)
    })
    .await;
    let Ok((begun, mut report)) = begun else { return internal_error() };
    let session = match begun {
        Ok(session) => session,
        Err(text) => return answer::closing(report.fail(text)),
    };

    let started = Instant::now();
    let (session, received) = pump(body, session, breaks).await;
    report.read = started.elapsed();
    let Some(mut session) = session else { return internal_error() };
    report.bytes = received.bytes;
    let work = ports.clone();
    let finished = tokio::task::spawn_blocking(move || {
        let id = report.id as u64;
        session.end_of_body();
        let verdict = if received.whole {
            session.verdict().and_then(|()| work.engine.labels.check_room(&work.engine, session.plan().table.id))
        } else {
            Err(UNEQUAL.to_owned())
        };
        report.counts = session.counts();
        report.error_url = work.write_error_log(session.errors());
        let committing = Instant::now();
        let done = verdict.and_then(|()| {
            let loaded = session.into_loaded();
            work.commit(id, vec![(Target::of(&loaded.plan), loaded.stage)])
        });
        report.commit = committing.elapsed();
        match done {
            Ok(Told::Visible) => {
                report.status = "Success";
                report.message = "OK".into();
            }
            Ok(Told::PublishTimeout) => {
                report.status = "Publish Timeout";
                report.message = PUBLISH_TIMEOUT.into();
            }
            Ok(Told::Unknown) => report.message = UNKNOWN.into(),
            Ok(Told::Nothing) => return answer::cut(),
            Err(text) => {
                work.engine.labels.abort(&work.engine, id, &text);
                report.message = text;
            }
        }
        if received.broken { answer::cut() } else { report.answer() }
    });
    finished.await.unwrap_or_else(|_| internal_error())
}

fn internal_error() -> Answer {
    answer::closing(answer::plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error"))
}

/// As a UUID looks.
fn random_label() -> String {
    let hex = format!("{:032x}", rand::random::<u128>());
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Everything up to the first body byte.
fn begin(
    ports: &Ports,
    peer: SocketAddr,
    headers: &HeaderMap,
    database: &str,
    table: &str,
    report: &mut Report,
) -> Result<Session, String> {
    let engine = &ports.engine;
    let credentials = credentials(headers).ok_or("no valid Basic authorization")?;
    let preamble = Preamble::parse(headers, 0, &report.label)?;
    let beginning = Instant::now();
    ports.authenticate(&credentials, peer)?;
    ports.may_insert(&credentials.user, database, table)?;
    let id = ports.begin(database, Some(table), &report.label).map_err(|refusal| match refusal {
        Refusal::LabelUsed(state) => {
            report.status = "Label Already Exists";
            report.existing = Some(state);
            label_used(&report.label)
        }
        Refusal::Other(text) => text,
    })?;
    report.id = id as i64;
    report.begin = beginning.elapsed();
    let planning = Instant::now();
    let session = ports.plan(headers, &preamble, database, table, id, 0, false);
    report.plan = planning.elapsed();
    if let Err(text) = &session {
        engine.labels.abort(engine, id, text);
    }
    session
}

pub(super) fn label_used(label: &str) -> String {
    format!("Label [{label}] has already been used.")
}

impl Ports {
    /// Begins a transaction after the checks of the begin call.
    pub(super) fn begin(&self, database: &str, table: Option<&str>, label: &str) -> Result<u64, Refusal> {
        let databases = self.engine.catalog.now();
        if !databases.has(database) {
            return Err(Refusal::Other(format!("unknown database, database={database}")));
        }
        if let Some(table) = table
            && databases.table(database, table).is_none()
        {
            return Err(Refusal::Other(format!("unknown table \"{database}.{table}\"")));
        }
        self.engine.labels.begin(&self.engine, database, label)
    }

    /// Reads the headers and makes the session that takes the body.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn plan(
        &self,
        headers: &HeaderMap,
        preamble: &Preamble,
        database: &str,
        table: &str,
        id: u64,
        part: usize,
        transactional: bool,
    ) -> Result<Session, String> {
        let version = self.engine.options.version;
        let settings = Settings::parse(headers, preamble, version, transactional)?;
        let Some(table) = self.engine.catalog.table(database, table) else {
            return Err(format!("unknown table \"{database}.{table}\""));
        };
        let name = [TableName::new(&*table.database, &*table.name)];
        let faults = &self.engine.faults;
        if faults.strikes(&name, &Mode::DiskFull) {
            return Err(format!("disk {} on backend 10001 exceed limit usage", -(table.id as i64)));
        }
        let refused = faults.take(&name, |mode| match mode {
            Mode::FilteredValues { .. } | Mode::FilteredRows { .. } => Some(mode.clone()),
            _ => None,
        });
        let plan = Plan::new(table, &settings, version)?;
        Session::new(settings, plan, self.engine.labels.stage(id, part), refused.as_ref().and_then(Refusing::new))
    }

    /// A fault may hold `100 Continue` up.
    pub(super) async fn be_is_slow(&self, table: &TableName) {
        let slow = self.engine.faults.take(std::slice::from_ref(table), |mode| match mode {
            Mode::SlowBe { ms } => Some(Duration::from_millis(*ms)),
            _ => None,
        });
        if let Some(time) = slow {
            tokio::time::sleep(time).await;
        }
    }

    /// Bytes after which a fault breaks the connection of a load with `length` bytes of body.
    pub(super) fn breaks(&self, table: &TableName, length: Option<u64>) -> Option<u64> {
        let strikes = self.engine.faults.strikes(std::slice::from_ref(table), &Mode::ResetInBody);
        strikes.then(|| length.unwrap_or(0) / 2)
    }
}

pub(super) const UNEQUAL: &str = "receive body don't equal with body bytes";

/// What came in.
pub(super) struct Received {
    pub(super) bytes: u64,
    /// The body ended as its headers said.
    pub(super) whole: bool,
    /// A fault broke the connection.
    pub(super) broken: bool,
}

/// Pieces of the body that may wait for the parser.
const PIECES: usize = 16;

/// Feeds the body to the session on a thread for blocking work, up to its end or to the byte at which a fault breaks the
/// connection. `None`: that thread failed.
pub(super) async fn pump(mut body: Incoming, mut session: Session, breaks: Option<u64>) -> (Option<Session>, Received) {
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<Bytes>(PIECES);
    let worker = tokio::task::spawn_blocking(move || {
        while let Some(piece) = receiver.blocking_recv() {
            session.feed(&piece);
        }
        session
    });
    let mut received = Received { bytes: 0, whole: false, broken: false };
    loop {
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(piece) = frame.into_data() {
                    received.bytes += piece.len() as u64;
                    if breaks.is_some_and(|bytes| received.bytes > bytes) {
                        received.broken = true;
                        break;
                    }
                    if sender.send(piece).await.is_err() {
                        break;
                    }
                }
            }
            Some(Err(_)) => break,
            None => {
                // hyper ends a body early only with an error.
                received.whole = true;
                break;
            }
        }
    }
    drop(sender);
    (worker.await.ok(), received)
}
