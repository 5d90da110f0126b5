//! The transaction interface: begin, load, prepare, commit, rollback (G14-G16).
//!
//! A single-table transaction lives on the BE: begin, load and prepare are redirected there, commit and
//! rollback only while the label is still PREPARE. The BE forgets it when it is prepared, so a second prepare
//! says TXN_NOT_EXISTS. A multi-table transaction (4.0 and later) lives on the FE; only its loads go to the BE.
//!
//! Rows of a load are converted as they come, but whether they are good is asked at prepare or commit only.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::{HeaderMap, Request};
use serde_json::{Map, json};
use tokio::sync::Mutex as AsyncMutex;

use super::be::{Received, UNEQUAL, pump};
use super::commit::{PUBLISH_TIMEOUT, Told, UNKNOWN};
use super::outcome::{
    Failure, Outcome, already, cut, failure, fe_failed, fe_failure, fe_reply, in_processing, internal, millis, refusal,
    reply, report,
};
use super::request::credentials;
use super::{Answer, Ports, answer};
use crate::embedded::engine::Engine;
use crate::embedded::fault::Mode;
use crate::embedded::load::apply::Target;
use crate::embedded::load::settings::{Preamble, content_length, header, timeout};
use crate::embedded::load::stage::Stage;
use crate::embedded::load::{Counts, Session};
use crate::embedded::transaction::State;
use crate::schema::TableName;
use crate::target::Version;

/// Open transactions by label.
#[derive(Default)]
pub(super) struct Contexts {
    by_label: Mutex<HashMap<String, Arc<Context>>>,
}

struct Context {
    id: u64,
    database: String,
    label: String,
    /// `None`: a multi-table transaction.
    table: Option<String>,
    user: String,
    began: Instant,
    timeout: Duration,
    idle_timeout: Option<Duration>,
    open: Arc<AsyncMutex<Open>>,
}

/// What one call at a time may touch.
struct Open {
    parts: Vec<Part>,
    /// Sum of the loads' Content-Length.
    announced: u64,
    bytes: u64,
    last_active: Instant,
    receiving: Duration,
    /// Rolled back; a call that waited must not go on.
    ended: bool,
}

struct Part {
    table: String,
    /// Taken out while a body flows into it.
    session: Option<Session>,
}

/// `stream_load_default_timeout_second`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);
/// `prepared_transaction_default_timeout_second`.
const PREPARED_TIMEOUT: Duration = Duration::from_secs(86_400);

impl Contexts {
    fn get(&self, label: &str) -> Option<Arc<Context>> {
        self.by_label.lock().unwrap_or_else(PoisonError::into_inner).get(label).cloned()
    }

    fn put(&self, context: Context) {
        let mut contexts = self.by_label.lock().unwrap_or_else(PoisonError::into_inner);
        contexts.insert(context.label.clone(), Arc::new(context));
    }

    fn remove(&self, context: &Context) {
        let mut contexts = self.by_label.lock().unwrap_or_else(PoisonError::into_inner);
        if contexts.get(&context.label).is_some_and(|found| found.id == context.id) {
            contexts.remove(&context.label);
        }
    }

    /// The BE was killed: it knows no transaction any more.
    pub(super) fn forget(&self) {
        self.by_label.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Rolls back what has run out of time. One with a call under way is looked at later.
    pub(super) fn sweep(&self, engine: &Engine) {
        let all: Vec<Arc<Context>> =
            self.by_label.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for context in all {
            let Ok(mut open) = context.open.try_lock() else { continue };
            let idle = context.idle_timeout.is_some_and(|limit| open.last_active.elapsed() > limit);
            if idle || context.began.elapsed() > context.timeout {
                self.end(engine, &context, &mut open, "timeout by txn manager");
            }
        }
    }

    fn end(&self, engine: &Engine, context: &Context, open: &mut Open, reason: &str) {
        engine.labels.abort(engine, context.id, reason);
        open.ended = true;
        open.parts.clear();
        self.remove(context);
    }
}

pub(super) async fn fe(ports: &Arc<Ports>, peer: SocketAddr, op: &str, request: &Request<Incoming>) -> Answer {
    let headers = request.headers();
    let user = match ports.user(headers, peer) {
        Ok(user) => user,
        Err(text) => return answer::unauthorized(&text),
    };
    if !matches!(op, "begin" | "load" | "prepare" | "commit" | "rollback") {
        return fe_failed(&format!("Unknown transaction operation: {op}"));
    }
    let Some(database) = header(headers, "db") else { return fe_failed("No database selected.") };
    let Some(label) = header(headers, "label") else { return fe_failed("Empty label.") };
    let multi_asked = match header(headers, "transaction_type") {
        Some(kind) if ports.engine.options.version >= (Version { major: 4, minor: 0, patch: 0 }) => {
            if !kind.eq_ignore_ascii_case("multi") {
                return fe_failed(&format!("Invalid transaction type: {kind}"));
            }
            true
        }
        // Older servers do not know the header.
        _ => false,
    };
    let context = ports.contexts.get(label);
    let multi = context.as_ref().is_some_and(|context| context.table.is_none() && context.database == database);
    if op == "load" {
        return ports.to_be(request);
    }
    if op == "begin" && !multi_asked {
        if header(headers, "table").is_none() {
            return fe_failed("No table selected.");
        }
        return ports.to_be(request);
    }
    if multi || op == "begin" {
        return fe_multi(ports, op, database, label, user, headers, context).await;
    }
    let known = ports.engine.labels.known(database, label);
    match (op, known) {
        ("prepare", _) => ports.to_be(request),
        (_, None) => fe_failed(&format!("No transaction found with db[{database}] and label[{label}]")),
        (_, Some(known)) if known.state == State::Prepare => ports.to_be(request),
        ("commit", Some(known)) => match known.state {
            State::Visible | State::Committed => already(known.id, label, "committed"),
            State::Aborted => fe_failed(&format!("Can not commit ABORTED transaction {}, label is {label}", known.id)),
            State::Prepare | State::Prepared => {
                let work = ports.clone();
                let committed =
                    tokio::task::spawn_blocking(move || work.engine.labels.commit_prepared(&work.engine, known.id))
                        .await;
                match committed {
                    Ok(Ok(())) if ports.engine.faults.strikes(&[], &Mode::AnswerLost) => answer::cut(),
                    Ok(Ok(())) => fe_reply("OK", "", json!({"TxnId": known.id, "Label": label})),
                    Ok(Err(text)) => fe_failed(&text),
                    Err(_) => fe_failed("commit failed"),
                }
            }
        },
        (_, Some(known)) => match known.state {
            State::Aborted => already(known.id, label, "aborted"),
            State::Visible | State::Committed => {
                let state = known.state.name();
                fe_failed(&format!("Can not abort {state} transaction {}, label is {label}", known.id))
            }
            State::Prepare | State::Prepared => {
                let work = ports.clone();
                let _ = tokio::task::spawn_blocking(move || {
                    work.engine.labels.abort(&work.engine, known.id, "transaction is aborted by user.")
                })
                .await;
                fe_reply("OK", "", json!({"TxnId": known.id, "Label": label}))
            }
        },
    }
}

async fn fe_multi(
    ports: &Arc<Ports>,
    op: &str,
    database: &str,
    label: &str,
    user: String,
    headers: &HeaderMap,
    context: Option<Arc<Context>>,
) -> Answer {
    let Some(context) = context else {
        let begun = begin(ports, database, None, label, user, headers).await;
        return match begun {
            Ok((id, took)) => fe_reply("OK", "", json!({"Label": label, "TxnId": id, "BeginTxnTimeMs": millis(took)})),
            Err(failure) if failure.status == "LABEL_ALREADY_EXISTS" => fe_reply(
                failure.status,
                &failure.message,
                json!({"ExistingJobStatus": failure.existing.unwrap_or_default(), "Label": label}),
            ),
            Err(failure) => fe_failed(&failure.message),
        };
    };
    let id = context.id;
    match op {
        "begin" => fe_reply(
            "LABEL_ALREADY_EXISTS",
            &format!("Transaction already started with label [{label}], txnId: {id}"),
            json!({"ExistingJobStatus": "RUNNING", "Label": label}),
        ),
        "prepare" => fe_failed("Unsupported operation: prepare"),
        "commit" => {
            let Ok(open) = context.open.clone().try_lock_owned() else {
                return fe_failed(&format!("Transaction {id} is already committing, label is {label}"));
            };
            match finish(ports, &context, open, None).await {
                Ok(_) => fe_reply("OK", "", json!({"TxnId": id, "Label": label})),
                // Committed all the same.
                Err(failure) if failure.status == "PUBLISH_TIMEOUT" => {
                    fe_reply("OK", &failure.message, json!({"TxnId": id, "Label": label}))
                }
                Err(failure) => fe_failure(failure),
            }
        }
        _ => {
            roll_back(ports, &context).await;
            fe_reply("OK", "", json!({"TxnId": id, "Label": label}))
        }
    }
}

pub(super) async fn be(ports: &Arc<Ports>, peer: SocketAddr, op: &str, request: Request<Incoming>) -> Answer {
    let headers = request.headers();
    let label = header(headers, "label").unwrap_or_default().to_owned();
    if op == "load" {
        let outcome = load(ports, &label, request).await;
        // Where the body was not wanted, the connection cannot go on.
        return match outcome {
            Ok(report) => reply(&label, Ok(report)),
            Err(failure) => answer::closing(reply(&label, Err(failure))),
        };
    }
    if label.is_empty() {
        return reply(&label, Err(failure("INVALID_ARGUMENT", "empty label")));
    }
    if header(headers, "transaction_type").is_some() {
        let text = "Multi-statement transaction requests can only be sent to FE nodes, not BE nodes";
        return reply(&label, Err(failure("INVALID_ARGUMENT", text)));
    }
    let outcome = match op {
        "begin" => be_begin(ports, peer, &label, headers).await,
        "prepare" | "commit" => be_finish(ports, op == "prepare", &label, headers).await,
        "rollback" => be_rollback(ports, &label, headers).await,
        _ => Err(failure("INVALID_ARGUMENT", format!("unsupport transaction operation {op}"))),
    };
    reply(&label, outcome)
}

async fn be_begin(ports: &Arc<Ports>, peer: SocketAddr, label: &str, headers: &HeaderMap) -> Outcome {
    if ports.contexts.get(label).is_some() {
        return Err(failure("LABEL_ALREADY_EXISTS", ""));
    }
    timeout(headers, "timeout").map_err(|text| failure("INVALID_ARGUMENT", text))?;
    let credentials = credentials(headers).ok_or_else(|| internal("no valid Basic authorization"))?;
    let denied = |text: String| failure("NOT_AUTHORIZED", text);
    ports.authenticate(&credentials, peer).map_err(denied)?;
    let database = header(headers, "db").unwrap_or_default();
    let table = header(headers, "table").unwrap_or_default();
    ports.may_insert(&credentials.user, database, table).map_err(denied)?;
    let (id, took) = begin(ports, database, Some(table), label, credentials.user, headers).await?;
    Ok(report([("TxnId", id.into()), ("BeginTxnTimeMs", millis(took))]))
}

async fn begin(
    ports: &Arc<Ports>,
    database: &str,
    table: Option<&str>,
    label: &str,
    user: String,
    headers: &HeaderMap,
) -> Result<(u64, Duration), Failure> {
    let seconds = |name| timeout(headers, name).map_err(|text| failure("INVALID_ARGUMENT", text));
    let limit = seconds("timeout")?.map_or(DEFAULT_TIMEOUT, |limit| Duration::from_secs(limit.into()));
    let idle_timeout = seconds("idle_transaction_timeout")?.map(|limit| Duration::from_secs(limit.into()));
    let began = Instant::now();
    let (work, database, table) = (ports.clone(), database.to_owned(), table.map(str::to_owned));
    let owned = label.to_owned();
    let id = tokio::task::spawn_blocking(move || {
        let id = work.begin(&database, table.as_deref(), &owned)?;
        work.contexts.put(Context {
            id,
            database,
            label: owned,
            table,
            user,
            began,
            timeout: limit,
            idle_timeout,
            open: Arc::new(AsyncMutex::new(Open {
                parts: Vec::new(),
                announced: 0,
                bytes: 0,
                last_active: began,
                receiving: Duration::ZERO,
                ended: false,
            })),
        });
        Ok(id)
    })
    .await
    .map_err(|_| internal("begin failed"))?
    .map_err(|refused| refusal(label, refused))?;
    Ok((id, began.elapsed()))
}

async fn load(ports: &Arc<Ports>, label: &str, request: Request<Incoming>) -> Outcome {
    if label.is_empty() {
        return Err(failure("INVALID_ARGUMENT", "Invalid label "));
    }
    let (request, body) = request.into_parts();
    let headers = request.headers;
    let Some(context) = ports.contexts.get(label) else {
        return Err(failure("TXN_NOT_EXISTS", format!("Transaction with label {label} not exists")));
    };
    let database = header(&headers, "db").unwrap_or_default();
    if database != context.database {
        let text = format!("Request database {database} not equal transaction database {}", context.database);
        return Err(failure("INVALID_ARGUMENT", text));
    }
    let table = header(&headers, "table").unwrap_or_default();
    if let Some(own) = context.table.as_ref().filter(|own| *own != table) {
        let text = format!("Request table {table} not equal transaction table {own}");
        return Err(failure("INVALID_ARGUMENT", text));
    }
    let Ok(mut open) = context.open.clone().try_lock_owned() else { return Err(in_processing()) };
    if open.ended {
        return Err(failure("ABORTED", "current transaction is aborted"));
    }
    open.last_active = Instant::now();
    let planning = Instant::now();
    let announced = open.announced;
    let about = TableName::new(&*context.database, table);
    ports.be_is_slow(&about).await;
    let breaks = ports.breaks(&about, content_length(&headers));
    let (work, own, name) = (ports.clone(), context.clone(), table.to_owned());
    let (planned, open) = tokio::task::spawn_blocking(move || {
        let planned = plan_part(&work, &own, &mut open, &headers, &name, announced);
        if let Err(text) = &planned {
            work.contexts.end(&work.engine, &own, &mut open, text);
        }
        (planned, open)
    })
    .await
    .map_err(|_| internal("load failed"))?;
    let mut open = open;
    let at = planned.map_err(internal)?;
    let planning = planning.elapsed();

    let receiving = Instant::now();
    let Some(session) = open.parts.get_mut(at).and_then(|part| part.session.take()) else {
        return Err(failure("ABORTED", "current transaction is aborted"));
    };
    let (session, received) = pump(body, session, breaks).await;
    let took = receiving.elapsed();
    open.receiving += took;
    open.bytes += received.bytes;
    open.last_active = Instant::now();
    let (Some(mut session), Received { whole: true, .. }) = (session, &received) else {
        let (work, own) = (ports.clone(), context.clone());
        let ending = move || work.contexts.end(&work.engine, &own, &mut open, UNEQUAL);
        let _ = tokio::task::spawn_blocking(ending).await;
        return Err(if received.broken { cut() } else { internal(UNEQUAL) });
    };
    let session = tokio::task::spawn_blocking(move || {
        session.end_of_body();
        session
    })
    .await
    .map_err(|_| internal("load failed"))?;
    if let Some(part) = open.parts.get_mut(at) {
        part.session = Some(session);
    }
    Ok(report([
        ("TxnId", context.id.into()),
        ("LoadBytes", received.bytes.into()),
        ("StreamLoadPlanTimeMs", millis(planning)),
        ("ReceivedDataTimeMs", millis(took)),
    ]))
}

/// Finds or makes the session of a table; the headers must be those of the table's first load.
fn plan_part(
    ports: &Ports,
    context: &Context,
    open: &mut Open,
    headers: &HeaderMap,
    table: &str,
    announced: u64,
) -> Result<usize, String> {
    let preamble = Preamble::parse(headers, announced, &context.label)?;
    open.announced += content_length(headers).unwrap_or(0);
    ports.may_insert(&context.user, &context.database, table)?;
    let number = open.parts.len();
    let fresh = ports.plan(headers, &preamble, &context.database, table, context.id, number, true)?;
    if let Some(at) = open.parts.iter().position(|part| part.table == table) {
        let same = open.parts[at].session.as_ref().is_some_and(|session| session.settings() == fresh.settings());
        return if same { Ok(at) } else { Err("load request not equal last.".into()) };
    }
    open.parts.push(Part { table: table.to_owned(), session: Some(fresh) });
    Ok(number)
}

async fn be_finish(ports: &Arc<Ports>, prepare: bool, label: &str, headers: &HeaderMap) -> Outcome {
    let context = own(ports, label, headers)?;
    let keep = match header(headers, "prepared_timeout").filter(|_| prepare) {
        Some(text) if ports.engine.options.version >= (Version { major: 3, minor: 5, patch: 4 }) => {
            match text.parse::<u32>() {
                Ok(seconds @ 1..) => Duration::from_secs(seconds.into()),
                _ => return Err(failure("INVALID_ARGUMENT", format!("Invalid prepared_timeout: {text}"))),
            }
        }
        _ => PREPARED_TIMEOUT,
    };
    let Ok(open) = context.open.clone().try_lock_owned() else { return Err(in_processing()) };
    finish(ports, &context, open, prepare.then_some(keep)).await
}

/// The context of a label on the BE.
fn own(ports: &Ports, label: &str, headers: &HeaderMap) -> Result<Arc<Context>, Failure> {
    let missing = || failure("TXN_NOT_EXISTS", format!("transaction with label {label} not exists"));
    let context = ports.contexts.get(label).filter(|context| context.table.is_some()).ok_or_else(missing)?;
    let database = header(headers, "db").unwrap_or_default();
    if database == context.database {
        return Ok(context);
    }
    let text = format!("request db {database} transaction db {} not match", context.database);
    Err(failure("INVALID_ARGUMENT", text))
}

/// The end of all data: prepares (`keep` given) or commits; a failure rolls back.
async fn finish(
    ports: &Arc<Ports>,
    context: &Arc<Context>,
    mut open: tokio::sync::OwnedMutexGuard<Open>,
    keep: Option<Duration>,
) -> Outcome {
    let (work, context) = (ports.clone(), context.clone());
    let finished = tokio::task::spawn_blocking(move || {
        if open.ended {
            return Err(failure("ABORTED", "transaction is aborted"));
        }
        let outcome = seal(&work, &context, &mut open, keep);
        match &outcome {
            Ok(_) => {
                open.ended = true;
                work.contexts.remove(&context);
            }
            Err(failure) => work.contexts.end(&work.engine, &context, &mut open, &failure.message),
        }
        outcome
    });
    finished.await.unwrap_or_else(|_| Err(internal("commit failed")))
}

fn seal(ports: &Ports, context: &Context, open: &mut Open, keep: Option<Duration>) -> Outcome {
    let labels = &ports.engine.labels;
    if open.parts.is_empty() {
        let brief = format!(
            "id={:032x}, job_id=-1, txn_id: {}, label={}, db={}",
            context.id, context.id, context.label, context.database
        );
        return Err(internal(format!("transaction {brief} hasn't send any data yet")));
    }
    let writing = Instant::now();
    let mut counts = Counts::default();
    let mut errors = Vec::new();
    let mut bad = None;
    let mut staged: Vec<(Target, Stage)> = Vec::new();
    for part in open.parts.drain(..) {
        let Some(mut session) = part.session else { return Err(failure("ABORTED", "transaction is aborted")) };
        let verdict = session.verdict().and_then(|()| labels.check_room(&ports.engine, session.plan().table.id));
        counts.loaded += session.counts().loaded;
        counts.filtered += session.counts().filtered;
        errors.extend_from_slice(session.errors());
        match verdict {
            Ok(()) => {
                let loaded = session.into_loaded();
                staged.push((Target::of(&loaded.plan), loaded.stage));
            }
            Err(text) => bad = bad.or(Some(text)),
        }
    }
    let error_url = ports.write_error_log(&errors);
    let writing = writing.elapsed();
    let committing = Instant::now();
    let done = match (bad, keep) {
        (Some(text), _) => Err(text),
        (None, Some(keep)) => labels.prepare(&ports.engine, context.id, staged, keep).map(|()| Told::Visible),
        (None, None) => ports.commit(context.id, staged),
    };
    match done.map_err(|text| Failure { error_url: error_url.clone(), ..internal(text) })? {
        Told::Visible => {}
        Told::PublishTimeout => return Err(failure("PUBLISH_TIMEOUT", PUBLISH_TIMEOUT)),
        Told::Unknown => return Err(failure("SERVICE_UNAVAILABLE", UNKNOWN)),
        Told::Nothing => return Err(cut()),
    }
    let mut report = report([
        ("TxnId", context.id.into()),
        ("NumberTotalRows", (counts.loaded + counts.filtered).into()),
        ("NumberLoadedRows", counts.loaded.into()),
        ("NumberFilteredRows", counts.filtered.into()),
        ("NumberUnselectedRows", 0.into()),
        ("LoadBytes", open.bytes.into()),
        ("LoadTimeMs", millis(context.began.elapsed())),
        ("StreamLoadPlanTimeMs", 0.into()),
        ("ReceivedDataTimeMs", millis(open.receiving)),
        ("WriteDataTimeMs", millis(writing)),
        ("CommitAndPublishTimeMs", millis(committing.elapsed())),
    ]);
    if let Some(url) = error_url {
        report.insert("ErrorURL".into(), url.into());
    }
    Ok(report)
}

async fn be_rollback(ports: &Arc<Ports>, label: &str, headers: &HeaderMap) -> Outcome {
    let context = own(ports, label, headers)?;
    roll_back(ports, &context).await;
    Ok(Map::new())
}

/// Does not wait for a load under way: its session is dropped when it ends.
async fn roll_back(ports: &Arc<Ports>, context: &Arc<Context>) {
    let (work, context) = (ports.clone(), context.clone());
    let _ = tokio::task::spawn_blocking(move || {
        work.engine.labels.abort(&work.engine, context.id, "transaction is aborted by user.");
        work.contexts.remove(&context);
        if let Ok(mut open) = context.open.try_lock() {
            open.ended = true;
            open.parts.clear();
        }
    })
    .await;
}
