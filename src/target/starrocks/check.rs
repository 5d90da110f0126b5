//! Pre-flight: everything a job will need of the target, tried without leaving a trace.
//!
//! The MySQL port: login, version, live BEs, grants. Each HTTP address: an FE is asked for the state of a label
//! that nobody has used, which needs the password; then it is sent the headers of a Stream Load, never a body,
//! and tells by its 307 where the body would go. Whether that place can be reached from here is what fails
//! most often in containers and clouds, so it is tried.
//!
//! Of several addresses one that serves is enough: the others are told in the log when they are away, since a job must be
//! able to start while one FE of the cluster is down. An address that answers and cannot be right is a problem all the same.

use hyper::header::{HeaderMap, HeaderValue};
use tracing::warn;

use super::StarRocks;
use super::answer::{field, parse};
use super::http::encode_segment;
use super::privileges::missing;
use super::sql::{GRANT_HINT, quote_text};
use crate::Error;
use crate::config::Address;

/// A label that no load has.
const PROBE_LABEL: &str = "towpath_probe";
/// A table that is not there.
const PROBE_TABLE: &str = "towpath_probe";

/// Every problem found; empty when the target is ready. `databases` are the target's.
pub(super) async fn check(starrocks: &StarRocks, databases: &[String]) -> Vec<Error> {
    let mut problems = Vec::new();
    let sql_works = check_sql(starrocks, databases, &mut problems).await;
    let database = databases.first().map_or("information_schema", String::as_str);
    let table = if sql_works { some_table(starrocks, databases).await } else { None };
    let (mut hops, mut serving, mut away) = (Vec::new(), false, Vec::new());
    for address in starrocks.load.http().addresses() {
        let served = check_http(starrocks, address, database).await;
        serving |= served.is_ok();
        match served {
            Ok(Served::Be) => problems.extend(login_at_be(starrocks, address, database).await.err()),
            Ok(Served::Fe) => match probe(starrocks, address, database, table.as_ref()).await {
                Ok(Some(hop)) if !hops.contains(&hop) => hops.push(hop),
                Ok(_) => {}
                Err(error) => problems.push(error),
            },
            Err(error) if error.is_transient() => away.push(error),
            Err(error) => problems.push(error),
        }
    }
    if serving {
        tell_away(away);
    } else {
        problems.extend(away);
    }
    for (address, named) in hops {
        if let Err(error) = starrocks.load.http().reach(&address, &named).await {
            problems.push(error);
        }
    }
    problems
}

fn tell_away(away: Vec<Error>) {
    for error in away {
        warn!("an address of the target is away, others serve: {error}");
    }
}

async fn check_sql(starrocks: &StarRocks, databases: &[String], problems: &mut Vec<Error>) -> bool {
    let facts = match starrocks.facts().await {
        Ok(facts) => facts,
        Err(error) => {
            problems.push(error);
            return false;
        }
    };
    let (away, wrong) = starrocks.sql.unreachable().await.into_iter().partition(Error::is_transient);
    tell_away(away);
    problems.extend::<Vec<Error>>(wrong);
    if facts.live_backends == Some(0) {
        problems.push(
            Error::transient(format!("{}: no BE is alive", starrocks.sql.address()))
                .hint("SHOW BACKENDS tells their state; start them, or wait until they have joined"),
        );
    }
    // Where grants cannot be shown, the first statement that needs one will tell.
    let Ok(grants) = starrocks.sql.rows("SHOW GRANTS").await else { return true };
    if grants.is_empty() {
        return true;
    }
    for database in databases {
        let missing = missing(&grants, database);
        if !missing.is_empty() {
            problems.push(
                Error::definite(format!(
                    "database {database} at the target: {} has not {}",
                    starrocks.username,
                    missing.join(", ")
                ))
                .hint(GRANT_HINT),
            );
        }
    }
    true
}

/// A table that is there already, to probe with: an FE may refuse to redirect for one that is not.
async fn some_table(starrocks: &StarRocks, databases: &[String]) -> Option<(String, String)> {
    for database in databases {
        let statement = format!(
            "SELECT TABLE_NAME FROM information_schema.tables WHERE TABLE_SCHEMA = {} LIMIT 1",
            quote_text(database)
        );
        if let Some(table) = starrocks.sql.rows(&statement).await.ok()?.single() {
            return Some((database.clone(), table.to_owned()));
        }
    }
    None
}

enum Served {
    Fe,
    Be,
}

async fn check_http(starrocks: &StarRocks, address: &Address, database: &str) -> Result<Served, Error> {
    let http = starrocks.load.http();
    let path = format!("/api/{}/get_load_state?label={PROBE_LABEL}", encode_segment(database));
    let answer = http.get(address, &path).await?;
    let text = field(&parse(&answer.text), &["msg", "message"]);
    match answer.status {
        200 => Ok(Served::Fe),
        401 | 403 => Err(Error::definite(format!("{address} refuses the user {}: {text}", starrocks.username))
            .hint("check target.username and target.password")),
        404 | 405 => match http.get(address, "/api/health").await?.status {
            200 => Ok(Served::Be),
            _ => Err(Error::definite(format!("{address} is the HTTP port of neither an FE nor a BE"))
                .hint("target.httpAddress must be the HTTP port of an FE (8030 by default) or of a BE (8040)")),
        },
        status => Err(Error::transient(format!("{address} answers HTTP {status}"))),
    }
}

/// A BE asks for the password only when a load begins. This one never does: there is no such table.
async fn login_at_be(starrocks: &StarRocks, be: &Address, database: &str) -> Result<(), Error> {
    let path = format!("/api/{}/{PROBE_TABLE}/_stream_load", encode_segment(database));
    let answer = match starrocks.load.http().probe(be, &path, &probe_headers()).await {
        Ok(_) => return Ok(()),
        Err(answer) => answer?,
    };
    let text = field(&parse(&answer.text), &["Message", "msg", "message"]);
    let lower = text.to_lowercase();
    if lower.contains("access denied") || lower.contains("authorization") {
        return Err(Error::definite(format!("{be} refuses the user {}: {text}", starrocks.username))
            .hint("check target.username and target.password, and that the user has INSERT on the tables"));
    }
    Ok(())
}

fn probe_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("label", HeaderValue::from_static(PROBE_LABEL));
    headers
}

/// Where the FE sends loads. `None`: it cannot be told before a table is there.
async fn probe(
    starrocks: &StarRocks,
    fe: &Address,
    database: &str,
    table: Option<&(String, String)>,
) -> Result<Option<(Address, String)>, Error> {
    let (database, name) = table.map_or((database, PROBE_TABLE), |(database, table)| (database, table));
    let path = format!("/api/{}/{}/_stream_load", encode_segment(database), encode_segment(name));
    let answer = match starrocks.load.http().probe(fe, &path, &probe_headers()).await {
        Ok(hop) => return Ok(Some(hop)),
        Err(Err(error)) => return Err(error),
        Err(Ok(answer)) => answer,
    };
    let text = field(&parse(&answer.text), &["Message", "msg", "message"]);
    if text.to_lowercase().contains("no backend alive") {
        return Err(Error::transient(format!("{fe}: {text}")).hint("SHOW BACKENDS tells the state of the BEs"));
    }
    match (answer.status, table) {
        (401 | 403, Some((database, table))) => {
            Err(Error::definite(format!("{fe} refuses loads into {database}.{table}: {text}")).hint(GRANT_HINT))
        }
        // Without a table the FE's refusal proves nothing; its list of BEs may still tell the names.
        _ => Ok(first_backend(starrocks).await),
    }
}

async fn first_backend(starrocks: &StarRocks) -> Option<(Address, String)> {
    for statement in ["SHOW BACKENDS", "SHOW COMPUTE NODES"] {
        let Ok(rows) = starrocks.sql.rows(statement).await else { continue };
        if let Some(row) = rows.iter().find(|row| row.get("Alive") == Some("true")) {
            let named = format!("{}:{}", row.get("IP")?, row.get("HttpPort")?);
            return Some((starrocks.load.http().mapped(&named)?, named));
        }
    }
    None
}
