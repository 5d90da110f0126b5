//! Transactions over several tables of one database: `transaction_type: multi`, 4.0 and later (G16).
//!
//! They live on the FE, as a task under their label: begin, commit and rollback end there, a load is planned there and
//! sent on to the BE. What a client must not lean on is kept:
//!
//! - Every call has to say the type, or the FE looks for a transaction of another kind.
//! - A label serves once: the task of a rolled-back transaction stays, and does not begin again.
//! - The transaction manager hears of the transaction when it commits; until then `get_load_state` says UNKNOWN.
//! - The first load of a table decides how all its rows are read. Of a later one only the format is compared; its
//!   `columns` are passed over in silence.
//! - From begin to commit there are 20 s, unless begin says otherwise.
//! - There is no prepare, data errors show at the commit, and a load that the FE refuses ends the transaction.
//!
//! Unlike StarRocks', the tasks do not outlive a restart; such a label then "does not exist", as one that was evicted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{HeaderMap, Request};
use serde_json::json;

use super::outcome::{Failure, already, fe_failed, fe_failure, fe_reply};
use super::two_phase::{begin, finish, plan_part, roll_back};
use super::{Answer, Ports, answer};
use crate::embedded::load::settings::header;
use crate::embedded::transaction::State as Label;

/// `TransactionLoadAction`'s default.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);
/// `stream_load_task_keep_max_num`.
const TASKS_KEPT: usize = 1000;

/// What the FE knows of its multi-table transactions, by label: one name space over all databases.
#[derive(Default)]
pub(super) struct Tasks {
    by_label: Mutex<HashMap<String, Task>>,
}

#[derive(Debug, Clone)]
struct Task {
    id: u64,
    database: String,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Begin,
    Committing,
    Committed,
    Cancelled,
}

impl State {
    /// Spelled as StarRocks spells them.
    fn name(self) -> &'static str {
        match self {
            State::Begin => "BEGIN",
            State::Committing => "COMMITING",
            State::Committed => "COMMITED",
            State::Cancelled => "CANCELLED",
        }
    }
}

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Task>> {
        self.by_label.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, label: &str) -> Option<Task> {
        self.lock().get(label).cloned()
    }

    fn put(&self, label: &str, id: u64, database: &str) {
        let mut tasks = self.lock();
        if tasks.len() >= TASKS_KEPT {
            tasks.retain(|_, task| matches!(task.state, State::Begin | State::Committing));
        }
        tasks.insert(label.to_owned(), Task { id, database: database.to_owned(), state: State::Begin });
    }

    /// From BEGIN on, once; `Err`: where it stands instead.
    fn start_commit(&self, label: &str) -> Result<(), State> {
        let mut tasks = self.lock();
        let Some(task) = tasks.get_mut(label) else { return Err(State::Cancelled) };
        if task.state != State::Begin {
            return Err(task.state);
        }
        task.state = State::Committing;
        Ok(())
    }

    fn ended(&self, label: &str, state: State) {
        if let Some(task) = self.lock().get_mut(label) {
            task.state = state;
        }
    }
}

impl Ports {
    /// The task of a label as it stands now: of one that was begun or whose commit is handed on, the transaction itself
    /// knows more.
    fn task(&self, label: &str) -> Option<Task> {
        let mut task = self.contexts.tasks.get(label)?;
        if matches!(task.state, State::Begin | State::Committing) && self.contexts.get(label).is_none() {
            let known = self.engine.labels.known(&task.database, label).filter(|known| known.id == task.id);
            task.state = match known.map(|known| known.state) {
                Some(Label::Visible | Label::Committed) => State::Committed,
                Some(Label::Prepare | Label::Prepared) => State::Committing,
                Some(Label::Aborted) | None => State::Cancelled,
            };
            if task.state != State::Committing {
                self.contexts.tasks.ended(label, task.state);
            }
        }
        Some(task)
    }

    /// Whether the transaction manager has not heard of this label's transaction: before its commit, and when it was
    /// rolled back.
    pub(super) fn hides(&self, database: &str, label: &str) -> bool {
        self.task(label).is_some_and(|task| match task.state {
            _ if task.database != database => false,
            State::Begin | State::Cancelled => true,
            State::Committing => self.contexts.get(label).is_some(),
            State::Committed => false,
        })
    }
}

/// Whether a request says that it means such a transaction.
pub(super) fn is_meant(headers: &HeaderMap) -> bool {
    header(headers, "transaction_type").is_some_and(|kind| kind.eq_ignore_ascii_case("multi"))
}

pub(super) async fn fe(
    ports: &Arc<Ports>,
    op: &str,
    database: &str,
    label: &str,
    user: String,
    request: &Request<Incoming>,
) -> Answer {
    let headers = request.headers();
    let task = ports.task(label);
    match op {
        "begin" => fe_begin(ports, database, label, user, headers, task).await,
        "load" => fe_load(ports, database, label, request, task).await,
        "commit" => fe_commit(ports, label, task).await,
        "rollback" => fe_rollback(ports, label, task).await,
        _ => fe_failed(&format!("Unsupported operation: {op}")),
    }
}

async fn fe_begin(
    ports: &Arc<Ports>,
    database: &str,
    label: &str,
    user: String,
    headers: &HeaderMap,
    task: Option<Task>,
) -> Answer {
    let exists = |message: &str, extra| fe_reply("LABEL_ALREADY_EXISTS", message, extra);
    if let Some(Task { id, state, .. }) = task {
        return match state {
            State::Committed => exists(&super::be::label_used(label), json!({"ExistingJobStatus": state.name()})),
            _ => exists(
                &format!("Transaction already started with label [{label}], txnId: {id}"),
                json!({"ExistingJobStatus": state.name(), "TxnId": id}),
            ),
        };
    }
    if !ports.engine.catalog.now().has(database) {
        return fe_failed(&format!("Database[{database}] does not exist"));
    }
    match begin(ports, database, None, label, user, headers, DEFAULT_TIMEOUT).await {
        Ok((id, _)) => {
            ports.contexts.tasks.put(label, id, database);
            fe_reply("OK", "", json!({}))
        }
        Err(failure) if failure.status == "LABEL_ALREADY_EXISTS" => {
            exists(&failure.message, json!({"ExistingJobStatus": failure.existing.unwrap_or_default(), "Db": database}))
        }
        Err(failure) => fe_failed(&failure.message),
    }
}

/// Plans the table's first load, and sends every load on to the BE.
async fn fe_load(
    ports: &Arc<Ports>,
    database: &str,
    label: &str,
    request: &Request<Incoming>,
    task: Option<Task>,
) -> Answer {
    let Some(task) = task else { return fe_failed(&format!("stream load task {label} does not exist")) };
    let refused = |text: String| answer::closing(fe_reply("FAILED", &text, json!({})));
    match task.state {
        State::Begin => {}
        State::Committing => {
            return refused(format!("stream load task {label} is committing, can not accept new loads"));
        }
        State::Committed => return refused(format!("stream load task {label} has already been commited")),
        State::Cancelled => return refused(format!("stream load task {label} has already been cancelled: ")),
    }
    let Some(context) = ports.contexts.get(label) else {
        return refused(format!("stream load task {label} has already been cancelled: "));
    };
    let mut open = context.open.clone().lock_owned().await;
    if open.ended {
        return refused(format!("stream load task {label} has already been cancelled: "));
    }
    let (work, headers, asked) = (ports.clone(), request.headers().clone(), database.to_owned());
    let planned = tokio::task::spawn_blocking(move || {
        let table = header(&headers, "table").unwrap_or_default();
        let planned = if asked != context.database {
            Err(format!("Request database {asked} not equal transaction database {}", context.database))
        } else if work.engine.catalog.table(&asked, table).is_none() {
            Err(format!("Failed to find table {table} in db {asked}"))
        } else if open.has_part(table) {
            Ok(())
        } else {
            plan_part(&work, &context, &mut open, &headers, table, 0).map(drop)
        };
        if let Err(text) = &planned {
            work.contexts.end(&work.engine, &context, &mut open, text);
        }
        planned
    })
    .await;
    match planned {
        Ok(Ok(())) => ports.to_be(request),
        Ok(Err(text)) => fe_failed(&text),
        Err(_) => fe_failed("load failed"),
    }
}

async fn fe_commit(ports: &Arc<Ports>, label: &str, task: Option<Task>) -> Answer {
    let Some(Task { id, .. }) = task else { return fe_failed(&format!("stream load task {label} does not exist")) };
    let refused = |text: String| fe_reply("FAILED", &text, json!({}));
    match ports.contexts.tasks.start_commit(label) {
        Ok(()) => {}
        Err(State::Committed) => return already(id, label, "committed"),
        Err(State::Cancelled) => {
            return refused(format!("Can not commit CANCELLED transaction {id}, label is {label}"));
        }
        Err(State::Begin | State::Committing) => {
            return refused(format!("Transaction {id} is already committing, label is {label}"));
        }
    }
    let committed = match ports.contexts.get(label) {
        Some(context) => {
            let open = context.open.clone().lock_owned().await;
            finish(ports, &context, open, None).await
        }
        None => Err(super::outcome::internal("transaction is aborted")),
    };
    // Notes the end, while the label is not forgotten.
    ports.task(label);
    match committed {
        Ok(_) => fe_reply("OK", "", json!({"TxnId": id, "Label": label})),
        // Committed all the same.
        Err(failure) if failure.status == "PUBLISH_TIMEOUT" => {
            fe_reply("OK", &failure.message, json!({"TxnId": id, "Label": label}))
        }
        Err(failure) => fe_failure(Failure { message: reason(id, label, &failure), error_url: None, ..failure }),
    }
}

/// As the task of one table words it; the error log's address is part of the text.
fn reason(id: u64, label: &str, failure: &Failure) -> String {
    let text = match failure.error_url.as_ref().filter(|_| failure.message == "too many filtered rows") {
        Some(url) => format!("abnormal data more than max filter rate, tracking_url: {url}"),
        None => failure.message.clone(),
    };
    format!("stream load task={id}, label={label}, error_msg={{cancel stream task for exception: {text}}}")
}

async fn fe_rollback(ports: &Arc<Ports>, label: &str, task: Option<Task>) -> Answer {
    let Some(Task { id, state, .. }) = task else {
        return fe_failed(&format!("stream load task{label}does not exist"));
    };
    let refused = |text: String| fe_reply("FAILED", &text, json!({}));
    match state {
        State::Committed => refused(format!("Can not abort VISIBLE transaction {id}, label is {label}")),
        State::Committing => refused(format!("Can not abort transaction {id} during committing, label is {label}")),
        State::Cancelled => already(id, label, "aborted"),
        State::Begin => {
            // Nobody else may begin to commit it now.
            if ports.contexts.tasks.start_commit(label).is_err() {
                return refused(format!("Can not abort transaction {id} during committing, label is {label}"));
            }
            if let Some(context) = ports.contexts.get(label) {
                roll_back(ports, &context).await;
            }
            ports.contexts.tasks.ended(label, State::Cancelled);
            fe_reply("OK", &format!("stream load {label} abort"), json!({}))
        }
    }
}
