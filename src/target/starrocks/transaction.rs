//! Multi-table transactions (StarRocks 4.0 and later): loads of several tables that become visible at one moment.
//!
//! ```text
//!   begin ──▶ load … load ──▶ commit ──▶ the label's state is COMMITTED or VISIBLE ──▶ in
//!     │           │              │
//!     └───────────┴──────────────┴──▶ anything else: roll back until the FE says "aborted" ──▶ out, next try
//! ```
//!
//! What makes this exact, read in StarRocks' sources (`StreamLoadMultiStmtTask`, `StreamLoadMgr`, `StreamLoadTask`,
//! `transaction_stream_load.cpp`):
//!
//! - **The commit's OK is no proof.** Several versions answer OK to a commit that has failed inside. The label's state
//!   is the proof that a try is in.
//! - **The label's state is no proof that a try is out.** Up to its commit (4.0), or up to its first load (later), the
//!   transaction manager does not know the transaction: the state is UNKNOWN, while a commit may still be on its way.
//!   A rollback is the proof: an FE that has rolled back refuses every later commit of the label, so no straggler of a
//!   killed process can bring it in. A try that never got to its commit is out without any question: only this process
//!   could commit it.
//! - **A label serves once.** The FE keeps a rolled-back transaction for days and does not begin it again. So each try
//!   has its own label, written down before it begins; a later run walks over them.
//! - **A load is sent once.** A body that broke off may have left half a row in the BE's pipe, to which the next body
//!   would be glued; so whatever goes wrong, the whole transaction goes back.
//! - **The first load of a table decides how its others are read.** The `columns` of the others are passed over in
//!   silence. Loads that differ are therefore refused here.
//! - **OK without a wish for the body means nothing was taken.** The FE says so to a load that comes too late.
//!
//! Data errors show at the commit only. Its answer counts no rows (a plain load's does); `max_filter_ratio: 0` makes
//! the FE refuse a commit with any row filtered.
//!
//! There is no prepare: the FE's first handlers do not know it for these transactions, and between a prepare and a
//! commit nothing is gained here, since all loads are of one cluster.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hyper::header::{HeaderMap, HeaderValue};
use tracing::warn;

use super::StarRocks;
use super::answer::{Again, Verdict, classify, field, judge, parse};
use super::http::Answer;
use super::stream_load::{Backoff, GRACE, MAX_POLL, MAX_WAIT, StreamLoad, UNCLEAR_TRIES, header};
use crate::schema::TargetTable;
use crate::target::{Format, LabelState, Load, Loaded, NameTry, Version};
use crate::{Error, Result};

const FIRST_VERSION: Version = Version { major: 4, minor: 0, patch: 0 };
/// `max_stream_load_timeout_second`.
const LONGEST_TIMEOUT: u64 = 259_200;

/// Everything about the cluster and these tables that keeps them from sharing a transaction.
pub(super) async fn check(starrocks: &StarRocks, tables: &[&TargetTable]) -> Vec<Error> {
    let mut problems = Vec::new();
    // Without an answer the general pre-flight says why.
    if let Ok(facts) = starrocks.facts().await
        && facts.version < FIRST_VERSION
    {
        problems.push(
            Error::definite(format!(
                "atomicTransactions needs StarRocks {FIRST_VERSION} or later; {} is {}",
                starrocks.sql.address(),
                facts.version
            ))
            .hint("leave `atomicTransactions` out of the job file, or upgrade the cluster"),
        );
    }
    let mut databases: Vec<&str> = tables.iter().map(|table| table.name.database.as_str()).collect();
    databases.sort_unstable();
    databases.dedup();
    if databases.len() > 1 {
        problems.push(
            Error::definite(format!(
                "atomicTransactions: a StarRocks transaction holds tables of one database, this job has {}: {}",
                databases.len(),
                databases.join(", ")
            ))
            .hint(
                "make one job a database, or put all tables into one database with `target.databases`; across databases \
                 readers cannot be shown whole MySQL transactions",
            ),
        );
    }
    problems.extend(tables.iter().filter_map(|table| unspeakable(table)));
    // A BE takes no begin of such a transaction.
    for address in starrocks.load.http.addresses() {
        let asked = starrocks.load.http.get(address, "/api/_/get_load_state?label=towpath_probe").await;
        if asked.is_ok_and(|answer| matches!(answer.status, 404 | 405)) {
            problems.push(
                Error::definite(format!("atomicTransactions: {address} is no FE")).hint(
                    "name only FEs (port 8030 by default) in target.httpAddress: transactions begin and end there",
                ),
            );
        }
    }
    problems
}

/// Names travel in HTTP headers here, which the FE reads byte by byte: other letters would name other things, and a
/// column whose name is not found is loaded as NULL in silence.
fn unspeakable(table: &TargetTable) -> Option<Error> {
    let names = [&table.name.database, &table.name.table].into_iter();
    let name = names.chain(table.columns.iter().map(|column| &column.name)).find(|name| !name.is_ascii())?;
    Some(Error::definite(format!("atomicTransactions: {}: the name {name:?} is not ASCII", table.name)).hint(
        "StarRocks' transaction interface takes names in HTTP headers; exclude the table with \
             `source.excludeTables` and give it a job of its own without `atomicTransactions`",
    ))
}

/// What became of one try.
enum Attempt {
    In {
        already: bool,
        /// From the call to commit until it is known to be in.
        publish: Option<Duration>,
    },
    /// An earlier run's try has this label; it is out for good.
    Used,
    Out(Out),
}

/// A try that is out for good, and why.
struct Out {
    error: Error,
    again: Again,
    /// Where the server tells which rows it refused.
    error_url: Option<String>,
}

impl Out {
    fn again(error: Error) -> Self {
        Out { error, again: Again::Yes, error_url: None }
    }

    fn never(error: Error) -> Self {
        Out { error, again: Again::No, error_url: None }
    }
}

enum Ended {
    In,
    Out { reason: String },
}

impl StreamLoad {
    /// See [`crate::target::Target::load_together`]. Dropping the future leaves the last try's fate unknown: the next
    /// run has to end it before anything newer goes to these tables.
    pub(super) async fn load_together(&self, loads: &[Load], name: NameTry<'_>) -> Result<Loaded> {
        let loads: Vec<&Load> = loads.iter().filter(|load| load.rows > 0 && !load.body.is_empty()).collect();
        let Some(first) = loads.first() else { return Ok(Loaded::default()) };
        fits(&loads)?;
        let database = first.table.database.as_str();
        let rows: u64 = loads.iter().map(|load| load.rows).sum();
        let mut backoff = Backoff::new(self.retry_wait, MAX_WAIT);
        let (mut number, mut retries, mut unclear) = (0, 0, 0);
        loop {
            let label = name(number)?;
            number += 1;
            let at = || format!("transaction {label} of {rows} rows in database {database}");
            let Out { error, again, error_url } = match self.attempt(database, &label, &loads).await {
                Attempt::In { already, publish } => {
                    self.is_in_database(database, &label);
                    return Ok(Loaded { retries, already, publish });
                }
                Attempt::Used => continue,
                Attempt::Out(out) => out,
            };
            unclear += u32::from(again == Again::Perhaps);
            let error = self.with_filtered_rows(error, error_url).await;
            if again == Again::No || unclear >= UNCLEAR_TRIES {
                return Err(error.context(at()));
            }
            if self.tries_spent(retries) {
                return Err(error.context(format!("{} after {retries} retries", at())));
            }
            self.pause(&mut backoff, &mut retries, &at(), &error).await;
        }
    }

    /// See [`crate::target::Target::end_transaction`].
    ///
    /// # Errors
    /// No FE can be asked.
    pub(super) async fn end_transaction(&self, database: &str, label: &str) -> Result<()> {
        // Says so when no address is an FE's; then asking on would have no end.
        self.label_state(database, label).await?;
        self.end(database, label).await;
        self.is_in_database(database, label);
        Ok(())
    }

    async fn attempt(&self, database: &str, label: &str, loads: &[&Load]) -> Attempt {
        match self.begin(database, label, loads.len()).await {
            Ok(true) => {}
            Ok(false) => {
                return match self.end(database, label).await {
                    Ended::In => Attempt::In { already: true, publish: None },
                    Ended::Out { .. } => Attempt::Used,
                };
            }
            Err(out) => {
                self.give_up(database, label).await;
                return Attempt::Out(out);
            }
        }
        for load in loads {
            if let Err(out) = self.load_part(load, label).await {
                self.give_up(database, label).await;
                return Attempt::Out(Out { error: out.error.context(&load.table), ..out });
            }
        }
        let committing = Instant::now();
        let committed = self.call("commit", database, label, Some(self.load_timeout * 2)).await;
        if let Err(error) = &committed {
            warn!("transaction {label}: {error}; asking for the label's state");
        }
        match self.end(database, label).await {
            Ended::In => Attempt::In { already: false, publish: committed.is_ok().then(|| committing.elapsed()) },
            Ended::Out { reason } => Attempt::Out(refused(committed, &reason)),
        }
    }

    /// `false`: the label is in use.
    async fn begin(&self, database: &str, label: &str, loads: usize) -> Result<bool, Out> {
        // From begin to commit; the server's own default is 20 s.
        let one = (self.load_timeout - GRACE).as_secs();
        let seconds = one.saturating_mul(loads as u64 + 1).min(LONGEST_TIMEOUT);
        let mut headers = self.names(database, label).map_err(Out::never)?;
        headers.insert("timeout", HeaderValue::from(seconds));
        let answer = self.post("begin", headers, None).await.map_err(Out::again)?;
        let json = parse(&answer.text);
        if field(&json, &["Status"]) == "LABEL_ALREADY_EXISTS" {
            return Ok(false);
        }
        verdict(&answer, 0, false).map(|()| true)
    }

    /// Sends one body. It is asked for only by a BE that knows the transaction and has a plan for the table.
    async fn load_part(&self, load: &Load, label: &str) -> Result<(), Out> {
        let headers = self.part_headers(load, label).map_err(Out::never)?;
        let sent = self.http.put(self.http.current(), &path("load"), &headers, &load.body, self.load_timeout).await;
        let answer = sent.map_err(|lost| Out::again(lost.error))?;
        verdict(&answer, load.rows, true)?;
        match parse(&answer.text).get("LoadBytes").and_then(serde_json::Value::as_u64) {
            Some(bytes) if bytes != load.body.len() as u64 => Err(Out::again(Error::transient(format!(
                "{} took {bytes} bytes of a body of {}",
                answer.from,
                load.body.len()
            )))),
            _ => Ok(()),
        }
    }

    fn part_headers(&self, load: &Load, label: &str) -> Result<HeaderMap> {
        let mut headers = self.headers(load)?;
        headers.extend(self.names(&load.table.database, label)?);
        headers.insert("table", header("table", &load.table.table)?);
        if load.format == Format::JsonLines {
            // The check counts the sum over a table's loads.
            headers.insert("ignore_json_size", HeaderValue::from_static("true"));
        }
        Ok(headers)
    }

    /// Rolls back a try that never got to its commit. It is out in any case; this frees the server's hands sooner than
    /// the transaction's timeout would.
    async fn give_up(&self, database: &str, label: &str) {
        if let Err(error) = self.call("rollback", database, label, None).await {
            warn!("transaction {label}: cannot be rolled back, it will time out: {error}");
        }
    }

    /// Asks, and rolls back, until the try is known to be in or can never come in any more.
    async fn end(&self, database: &str, label: &str) -> Ended {
        let mut poll = Backoff::new(Duration::from_millis(200), MAX_POLL);
        loop {
            match self.look(database, label).await {
                Ok(Some(ended)) => return ended,
                Ok(None) => {}
                // A failed address comes last the next time.
                Err(error) => warn!("transaction {label}: {error}; asking again"),
            }
            tokio::time::sleep(poll.next()).await;
        }
    }

    /// `None`: not decided yet.
    async fn look(&self, database: &str, label: &str) -> Result<Option<Ended>> {
        if let Some(ended) = self.state(database, label).await? {
            return Ok(Some(ended));
        }
        let answer = self.call("rollback", database, label, None).await?;
        let json = parse(&answer.text);
        let message = field(&json, &["Message", "message", "msg"]);
        let said = message.to_lowercase();
        if field(&json, &["Status", "status"]) == "OK" {
            if said.contains("in progress") || said.contains("pending") {
                return Ok(None);
            }
            // The rollback itself may have found the transaction committed.
            return match self.ask(database, label).await? {
                Some(LabelState::Finished) => Ok(Some(Ended::In)),
                Some(LabelState::Running) => Ok(None),
                _ => Ok(Some(Ended::Out { reason: String::new() })),
            };
        }
        if said.contains("can not abort visible") || said.contains("can not abort committed") {
            return Ok(Some(Ended::In));
        }
        if said.contains("committing") {
            return Ok(None);
        }
        // The FE has no such transaction. What was never begun cannot be committed; what it has long forgotten has its
        // end behind it.
        if said.contains("not exist") || said.contains("no transaction found") {
            return match self.ask(database, label).await? {
                Some(LabelState::Finished) => Ok(Some(Ended::In)),
                Some(LabelState::Running) => Ok(None),
                _ => Ok(Some(Ended::Out { reason: String::new() })),
            };
        }
        Err(Error::transient(format!("{} does not roll back: HTTP {} {message}", answer.from, answer.status)))
    }

    /// What the label's state alone decides.
    async fn state(&self, database: &str, label: &str) -> Result<Option<Ended>> {
        Ok(match self.ask(database, label).await? {
            Some(LabelState::Finished) => Some(Ended::In),
            Some(LabelState::Aborted { reason }) => Some(Ended::Out { reason }),
            Some(LabelState::Unknown | LabelState::Running) => None,
            None => return Err(Error::transient("none of target.httpAddress is an FE that could be asked")),
        })
    }

    async fn call(&self, op: &str, database: &str, label: &str, patience: Option<Duration>) -> Result<Answer> {
        self.post(op, self.names(database, label)?, patience).await
    }

    async fn post(&self, op: &str, headers: HeaderMap, patience: Option<Duration>) -> Result<Answer> {
        self.http.post(self.http.current(), &path(op), headers, patience).await
    }

    /// What tells the FE which transaction is meant, and of what type: without the type it would look for one of
    /// another kind.
    fn names(&self, database: &str, label: &str) -> Result<HeaderMap> {
        let mut headers = self.headers.clone();
        headers.insert("db", header("db", database)?);
        headers.insert("label", header("label", label)?);
        headers.insert("transaction_type", HeaderValue::from_static("multi"));
        Ok(headers)
    }
}

fn path(op: &str) -> String {
    format!("/api/transaction/{op}")
}

/// Refuses what a transaction would read wrongly.
fn fits(loads: &[&Load]) -> Result<()> {
    let mut first: HashMap<&str, &Load> = HashMap::new();
    let database = &loads[0].table.database;
    for load in loads {
        let table = &load.table;
        if table.database != *database {
            return Err(Error::definite(format!("{table} cannot share a transaction with tables of {database}"))
                .hint("a StarRocks transaction holds tables of one database"));
        }
        let known = first.entry(&table.table).or_insert(load);
        if load.partial || known.columns != load.columns || known.format != load.format {
            return Err(Error::definite(format!("{table}: the log has rows without all of the table's columns")).hint(
                "a StarRocks transaction reads all rows of a table alike; with `atomicTransactions` the source must log \
                 whole rows: binlog_row_image=FULL. Sessions that are open keep the old value until they connect again; \
                 to pass this place, leave `atomicTransactions` out for a while",
            ));
        }
    }
    Ok(())
}

/// What a begin's or a load's answer means. `body`: it is OK only after the body was asked for.
fn verdict(answer: &Answer, rows: u64, body: bool) -> Result<(), Out> {
    match judge(answer, rows) {
        Verdict::In { .. } if body && !answer.began => {
            let message = field(&parse(&answer.text), &["Message", "message", "msg"]);
            Err(Out::again(Error::transient(format!("{} took no rows: {message}", answer.from))))
        }
        Verdict::In { .. } => Ok(()),
        Verdict::Running => Err(Out::again(Error::transient("the label is in use"))),
        Verdict::Undecided(error) => Err(Out::again(error)),
        Verdict::Failed { error, again, error_url } => {
            let again = if again == Again::Perhaps && passing(&error.to_string()) { Again::Yes } else { again };
            Err(Out { error, again, error_url })
        }
    }
}

/// A commit that the server has refused, or undone.
fn refused(committed: Result<Answer>, reason: &str) -> Out {
    let answer = match committed {
        Ok(answer) => answer,
        Err(error) if reason.is_empty() => return Out::again(error),
        Err(_) => return judged("the server", reason, None),
    };
    let json = parse(&answer.text);
    let message = field(&json, &["Message", "message", "msg"]);
    let url = Some(field(&json, &["ErrorURL"])).filter(|url| !url.is_empty()).or_else(|| tracking_url(&message));
    let from = answer.from.to_string();
    if field(&json, &["Status", "status"]) == "OK" {
        let reason = if reason.is_empty() { "it gives no reason" } else { reason };
        return judged(&from, &format!("the transaction was rolled back in its commit: {reason}"), url);
    }
    judged(&from, if message.is_empty() { reason } else { &message }, url)
}

fn judged(from: &str, message: &str, error_url: Option<String>) -> Out {
    let again = match classify(message) {
        Again::Perhaps if passing(message) => Again::Yes,
        again => again,
    };
    let text = format!("{from} refuses the commit: {message}");
    let error = if again == Again::Yes { Error::transient(text) } else { Error::definite(text) };
    Out { error, again, error_url }
}

/// The transaction is gone, by a restart of FE or BE or by its timeout; a new one is as good.
fn passing(message: &str) -> bool {
    let message = message.to_lowercase();
    let gone = ["transaction with label", "stream load task", "can not commit", "current transaction is aborted"];
    let how = ["not exist", "cancelled", "aborting", "is aborted", "fe restart"];
    gone.iter().any(|text| message.contains(text)) && how.iter().any(|text| message.contains(text))
}

/// The error log's address in `… abnormal data more than max filter rate, tracking_url: http://…`.
fn tracking_url(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("tracking_url: ")?;
    let url = rest.split([' ', ',', '}', '"', '\'']).next()?;
    url.starts_with("http").then(|| url.to_owned())
}

#[cfg(test)]
mod tests;
