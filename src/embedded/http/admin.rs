//! Faults over HTTP: `/api/towpath/faults` on an FE port, for the administrator.
//!
//! ```text
//! POST   {"mode": {"publish_timeout": {"visible_after_ms": 500}}, "table": "shop.orders", "every": 2, "times": 3, "for_ms": 9000}
//!        answers {"id": 1}; everything but the mode may be left out. Modes without more to say are words: "answer_lost".
//! GET    the faults with how often each has struck
//! DELETE mends all; with `/1` behind the path that one
//! ```

use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde_json::json;

use super::{Answer, Ports, answer};
use crate::embedded::fault::Fault;

/// The longest description of a fault.
const MAX_BYTES: usize = 64 * 1024;

/// `rest` is what stands behind the path.
pub(super) async fn faults(ports: &Arc<Ports>, peer: SocketAddr, rest: &[&str], request: Request<Incoming>) -> Answer {
    match ports.user(request.headers(), peer) {
        Ok(user) if ports.engine.users.is_root(&user) => {}
        Ok(user) => return answer::unauthorized(&format!("Access denied for {user}@{}", peer.ip())),
        Err(text) => return answer::unauthorized(&text),
    }
    let ok = |body: serde_json::Value| answer::json(StatusCode::OK, &body);
    match (rest, request.method()) {
        ([], &Method::GET) => ok(json!({"faults": ports.engine.faults.list()})),
        ([], &Method::POST) => match inject(ports, request).await {
            Ok(id) => ok(json!({"id": id})),
            Err(text) => answer::closing(answer::json(StatusCode::BAD_REQUEST, &answer::status_failed(&text))),
        },
        ([], &Method::DELETE) => {
            ports.engine.faults.clear();
            ok(answer::status_ok())
        }
        ([id], &Method::DELETE) => match id.parse() {
            Ok(id) if ports.engine.faults.remove(id) => ok(answer::status_ok()),
            _ => answer::closing(answer::not_found()),
        },
        ([] | [_], _) => answer::closing(answer::wrong_method()),
        _ => answer::closing(answer::not_found()),
    }
}

async fn inject(ports: &Arc<Ports>, request: Request<Incoming>) -> Result<u64, String> {
    let body = Limited::new(request.into_body(), MAX_BYTES).collect().await.map_err(|error| error.to_string())?;
    let fault: Fault = serde_json::from_slice(&body.to_bytes()).map_err(|error| error.to_string())?;
    let work = ports.clone();
    let injected = tokio::task::spawn_blocking(move || work.engine.inject(fault)).await;
    injected.map_err(|_| "internal error".to_owned())?.map_err(|error| error.to_string())
}
