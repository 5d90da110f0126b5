//! The FE port: redirects loads, answers about labels, and runs what needs no body.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode, Version as HttpVersion};
use serde_json::json;

use super::request::{parameter, segments, table_of};
use super::{Answer, Ports, Role, admin, answer, two_phase};
use crate::embedded::fault::Mode;
use crate::embedded::load::settings::header;
use crate::target::Version;

pub(super) async fn serve(ports: &Arc<Ports>, role: Role, peer: SocketAddr, request: Request<Incoming>) -> Answer {
    let path = segments(request.uri());
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    if let ["api", "towpath", "faults", rest @ ..] = path.as_slice() {
        return admin::faults(ports, peer, rest, request).await;
    }
    let faults = &ports.engine.faults;
    if role == Role::Fe && faults.strikes(&[], &Mode::FeGone) {
        return answer::cut();
    }
    let about = table_of(&request);
    let slow = faults.take(about.as_slice(), |mode| match mode {
        Mode::SlowFe { ms } => Some(Duration::from_millis(*ms)),
        _ => None,
    });
    if let Some(time) = slow {
        tokio::time::sleep(time).await;
    }
    if let Some(elsewhere) = ports.leader_elsewhere(role, &path, &request) {
        return answer::redirect(&elsewhere);
    }
    match (path.as_slice(), request.method()) {
        (["api", "health"], &Method::GET) => answer::json(
            StatusCode::OK,
            &json!({
                "online_backend_num": 1, "total_backend_num": 1,
                "status": "OK", "code": "0", "msg": "Success", "message": "OK"
            }),
        ),
        (["api", "transaction", op], &Method::POST | &Method::PUT) => {
            let op = (*op).to_owned();
            two_phase::fe(ports, peer, &op, &request).await
        }
        (["api", database, table, "_stream_load"], &Method::PUT) => stream_load(ports, peer, database, table, &request),
        (["api", database, "get_load_state"], &Method::GET) => load_state(ports, peer, database, &request),
        (["api", database, middle, "_cancel"], &Method::POST) => cancel(ports, peer, database, middle, &request).await,
        (["api", "transaction", _] | ["api", _, _, "_stream_load" | "_cancel"] | ["api", _, "get_load_state"], _) => {
            answer::closing(answer::wrong_method())
        }
        _ => answer::closing(answer::not_found()),
    }
}

/// Decides from the headers alone; the body is the BE's (G1-G5).
fn stream_load(ports: &Ports, peer: SocketAddr, database: &str, table: &str, request: &Request<Incoming>) -> Answer {
    let user = match ports.user(request.headers(), peer) {
        Ok(user) => user,
        Err(text) => return answer::unauthorized(&text),
    };
    if !expects_continue(ports, request) {
        return answer::refused("DdlException", "There is no 100-continue header");
    }
    if database.is_empty() {
        return answer::refused("DdlException", "No database selected.");
    }
    if table.is_empty() {
        return answer::refused("DdlException", "No table selected.");
    }
    if let Err(text) = ports.may_insert(&user, database, table) {
        return answer::unauthorized(&text);
    }
    ports.to_be(request)
}

/// Since 3.2 the value counts and HTTP/1.0 is exempt; before, any `Expect` would do.
fn expects_continue(ports: &Ports, request: &Request<Incoming>) -> bool {
    let expect = header(request.headers(), "expect");
    if ports.engine.options.version < (Version { major: 3, minor: 2, patch: 0 }) {
        return expect.is_some();
    }
    request.version() == HttpVersion::HTTP_10
        || expect.is_some_and(|value| value.trim().eq_ignore_ascii_case("100-continue"))
}

impl Ports {
    /// The redirect of a load, or of a transaction's call, to the BE.
    pub(super) fn to_be(&self, request: &Request<Incoming>) -> Answer {
        let faults = &self.engine.faults;
        let about = table_of(request);
        if faults.strikes(about.as_slice(), &Mode::NoBackend) {
            return answer::refused("DdlException", "No backend alive.");
        }
        if faults.strikes(about.as_slice(), &Mode::UnresolvableBe) {
            let target = request.uri().path_and_query().map_or("/", |path| path.as_str());
            return answer::redirect(&format!("http://be-0.cluster.invalid:{}{target}", self.be_addr.port()));
        }
        answer::redirect(&self.location(self.be_addr, request))
    }

    /// Where the leader is, when `role` is a follower and the call is the leader's.
    fn leader_elsewhere(&self, role: Role, path: &[&str], request: &Request<Incoming>) -> Option<String> {
        let second = self.second_fe_addr?;
        let asks_leader =
            matches!(path, ["api", "transaction", _] | ["api", _, "get_load_state"] | ["api", _, _, "_cancel"]);
        let loads = matches!(path, ["api", _, _, "_stream_load"]);
        let faults = &self.engine.faults;
        let leader = match role {
            Role::Fe if (asks_leader || loads) && faults.strikes(&[], &Mode::LeaderElsewhere) => second,
            Role::SecondFe if asks_leader => {
                let leads = faults.holds(|mode| matches!(mode, Mode::LeaderElsewhere | Mode::FeGone));
                if leads {
                    return None;
                }
                self.fe_addr
            }
            _ => return None,
        };
        Some(self.location(leader, request))
    }

    /// The same path and query at another server, under another host name than the asked one's: a client that drops its
    /// credentials on a redirect to another host has to show it here (G3).
    fn location(&self, address: SocketAddr, request: &Request<Incoming>) -> String {
        let asked = header(request.headers(), "host").unwrap_or("localhost");
        let asked = asked.rsplit_once(':').map_or(asked, |(host, _)| host);
        let host = match self.engine.options.host.as_str() {
            "127.0.0.1" => "localhost",
            "localhost" if address.is_ipv6() => "[::1]",
            "localhost" => "127.0.0.1",
            "0.0.0.0" | "::" => match asked {
                "127.0.0.1" => "localhost",
                "localhost" => "127.0.0.1",
                other => other,
            },
            other => other,
        };
        let target = request.uri().path_and_query().map_or("/", |path| path.as_str());
        format!("http://{host}:{}{target}", address.port())
    }
}

fn load_state(ports: &Ports, peer: SocketAddr, database: &str, request: &Request<Incoming>) -> Answer {
    if let Err(text) = ports.user(request.headers(), peer) {
        return answer::unauthorized(&text);
    }
    let failed = |text: &str| answer::json(StatusCode::OK, &answer::status_failed(text));
    let Some(label) = parameter(request.uri(), "label").filter(|label| !label.is_empty()) else {
        return failed("No label selected.");
    };
    if !ports.engine.catalog.now().has(database) {
        return failed(&format!("unknown database, database={database}"));
    }
    let (state, reason) = match ports.engine.labels.known(database, &label) {
        Some(known) => (known.state.name(), known.reason),
        None => ("UNKNOWN", String::new()),
    };
    answer::json(
        StatusCode::OK,
        &json!({"state": state, "reason": reason, "status": "OK", "code": "0", "msg": "Success", "message": "OK"}),
    )
}

/// `/api/{db}/{label}/_cancel`, or `/api/{db}/{table}/_cancel?label=` as the Java SDK writes it.
async fn cancel(
    ports: &Arc<Ports>,
    peer: SocketAddr,
    database: &str,
    middle: &str,
    request: &Request<Incoming>,
) -> Answer {
    if let Err(text) = ports.user(request.headers(), peer) {
        return answer::unauthorized(&text);
    }
    let label = parameter(request.uri(), "label").unwrap_or_else(|| middle.to_owned());
    let failed = |text: &str| answer::json(StatusCode::OK, &answer::status_failed(text));
    if !ports.engine.catalog.now().has(database) {
        return failed(&format!("unknown database, database={database}"));
    }
    let Some(known) = ports.engine.labels.known(database, &label) else {
        return failed(&format!("transaction not found, label={label}"));
    };
    let work = ports.clone();
    let aborted =
        tokio::task::spawn_blocking(move || work.engine.labels.abort(&work.engine, known.id, "user cancel")).await;
    match aborted {
        Ok(true) => answer::json(StatusCode::OK, &answer::status_ok()),
        _ => failed(&format!("transaction's state is already {}, could not abort", known.state.name())),
    }
}
