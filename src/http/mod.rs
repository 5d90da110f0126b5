//! What a running job shows over HTTP.
//!
//! | path | answer | token |
//! |---|---|---|
//! | `/metrics` | Prometheus' text format, see [`crate::metrics`] | yes |
//! | `/status` | what `towpath status --json` shows | yes |
//! | `POST /set` | changes parameters as `towpath set` does; takes and answers JSON, `{"rateLimitRps": 5000}`; null: the job file's | required |
//! | `POST /pause`, `POST /resume` | as `towpath pause` and `resume` | required |
//! | `/healthz` | 200 while the process answers | no |
//! | `/readyz` | 200 while the job follows the log and is fresh, else 503 with the reason | no |
//!
//! The two health paths tell nothing about data, so that an orchestrator needs no token. The server ends with the job
//! and never holds it up: it reads counters and, through a connection of its own, the state store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::config::{Address, Job, Password, Setting};
use crate::metrics::Exposition;
use crate::progress::{Progress, Snapshot};
use crate::state::{Settings, Stage, Status, Store};
use crate::{Error, Result};

/// A server while it runs; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: std::net::SocketAddr,
    serving: JoinHandle<()>,
}

impl Server {
    pub fn address(&self) -> std::net::SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

struct Shared {
    job: String,
    state_dir: PathBuf,
    token: Password,
    max_delay: Duration,
    progress: Arc<Progress>,
    exposition: Exposition,
}

/// Starts the server that the job file asks for; `None` when it asks for none.
///
/// # Errors
/// Definite: the address cannot be listened on.
pub async fn serve(job: &Job, progress: &Arc<Progress>) -> Result<Option<Server>> {
    let Some(http) = &job.http else { return Ok(None) };
    let listener = bind(&http.listen).await?;
    let address =
        listener.local_addr().map_err(|error| Error::definite("the HTTP port has no address").caused_by(error))?;
    let shared = Arc::new(Shared {
        job: job.name.clone(),
        state_dir: job.state_dir.clone(),
        token: http.token.clone(),
        max_delay: Duration::from_secs_f64(http.max_delay_sec),
        progress: Arc::clone(progress),
        exposition: progress.metrics().exposition(&job.name)?,
    });
    let protected = Router::new()
        .route("/metrics", get(show_metrics))
        .route("/status", get(show_status))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&shared), ask_for_token));
    let changing = Router::new()
        .route("/set", post(change_settings))
        .route("/pause", post(|State(shared): State<Arc<Shared>>| pause(shared, true)))
        .route("/resume", post(|State(shared): State<Arc<Shared>>| pause(shared, false)))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&shared), ask_for_token))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&shared), insist_on_token));
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(show_readiness))
        .merge(protected)
        .merge(changing)
        .with_state(shared);
    let serving = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::warn!(%error, "the HTTP server has ended");
        }
    });
    tracing::info!(%address, "metrics and health over HTTP");
    Ok(Some(Server { address, serving }))
}

async fn bind(listen: &Address) -> Result<TcpListener> {
    TcpListener::bind((listen.host.as_str(), listen.port)).await.map_err(|error| {
        Error::definite(format!("http.listen: cannot listen on {listen}"))
            .caused_by(error)
            .hint("another process may use the port; each job needs one of its own")
    })
}

async fn ask_for_token(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let expected = shared.token.reveal();
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = given.and_then(|given| given.strip_prefix("Bearer ")).unwrap_or_default();
    if expected.is_empty() || same(token.as_bytes(), expected.as_bytes()) {
        return next.run(request).await;
    }
    let ask = [(header::WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, ask, "send the token: Authorization: Bearer ...\n").into_response()
}

/// Without a token any page in a browser of this machine could change the job.
async fn insist_on_token(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    if shared.token.reveal().is_empty() {
        let message =
            "a job is changed over HTTP only with a token: set http.token or http.tokenFile; or use `towpath set`\n";
        return (StatusCode::FORBIDDEN, message).into_response();
    }
    next.run(request).await
}

/// Compares in a time that does not depend on where the two differ.
fn same(given: &[u8], expected: &[u8]) -> bool {
    let differences = given.iter().zip(expected).fold(0, |sum, (left, right)| sum | (left ^ right));
    given.len() == expected.len() && differences == 0
}

async fn show_metrics(State(shared): State<Arc<Shared>>) -> Response {
    let shown = blocking(move || {
        let metrics = shared.progress.metrics();
        metrics.fill(&shared.progress.snapshot());
        // Before the first run has made the store there are no tables.
        if let Some(store) = Store::read(&shared.state_dir, &shared.job)? {
            metrics.fill_tables(&store.snapshot_tables()?);
            let letters = store.letter_counts()?;
            metrics.fill_dead_letters(letters.open + letters.retry);
            metrics.fill_verification(&store.verification()?);
        }
        shared.exposition.text()
    })
    .await;
    match shown {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => failed(&error),
    }
}

async fn show_status(State(shared): State<Arc<Shared>>) -> Response {
    match blocking(move || Status::read(&shared.state_dir, &shared.job)).await {
        Ok(Some(status)) => {
            ([(header::CONTENT_TYPE, "application/json")], format!("{:#}\n", status.json())).into_response()
        }
        Ok(None) => (StatusCode::SERVICE_UNAVAILABLE, "the job has not begun yet\n").into_response(),
        Err(error) => failed(&error),
    }
}

async fn change_settings(State(shared): State<Arc<Shared>>, body: String) -> Response {
    let settings = match settings(&body) {
        Ok(settings) => settings,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    changed(shared, move |store| store.change_settings(&settings)).await
}

fn settings(body: &str) -> Result<Vec<Setting>> {
    let object: serde_json::Map<String, Value> = serde_json::from_str(body)
        .map_err(|error| Error::usage("the body is no JSON object of parameters").caused_by(error))?;
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    object.iter().map(|(key, value)| Setting::new(key, &text(value))).collect()
}

async fn pause(shared: Arc<Shared>, paused: bool) -> Response {
    changed(shared, move |store| store.set_paused(paused)).await
}

/// Changes the job's settings and answers all that differ from the job file.
async fn changed(shared: Arc<Shared>, change: impl FnOnce(&Store) -> Result<()> + Send + 'static) -> Response {
    let settings = blocking(move || {
        let Some(store) = Store::amend(&shared.state_dir, &shared.job)? else { return Ok(None) };
        change(&store)?;
        store.settings().map(Some)
    })
    .await;
    match settings {
        Ok(Some(Settings { paused, params })) => {
            let text = json!({"paused": paused, "settings": params});
            ([(header::CONTENT_TYPE, "application/json")], format!("{text:#}\n")).into_response()
        }
        Ok(None) => (StatusCode::SERVICE_UNAVAILABLE, "the job has not begun yet\n").into_response(),
        Err(error) => failed(&error),
    }
}

async fn show_readiness(State(shared): State<Arc<Shared>>) -> Response {
    match not_ready(&shared.progress.snapshot(), shared.max_delay) {
        None => "ready\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

/// Why a job is not ready.
fn not_ready(now: &Snapshot, max_delay: Duration) -> Option<String> {
    if now.paused {
        return Some("the job is paused".to_owned());
    }
    let delay = Duration::from_micros(now.delay_micros);
    let limit = max_delay.as_secs_f64();
    match now.stage {
        Stage::Done => None,
        Stage::Schema | Stage::Full => Some(format!("the job is in its {} stage", now.stage.as_str())),
        Stage::Incremental if delay > max_delay => {
            Some(format!("{:.1} s behind, more than {limit} s", delay.as_secs_f64()))
        }
        Stage::Incremental if now.silence > max_delay => {
            Some(format!("the source has sent nothing for {:.1} s, more than {limit} s", now.silence.as_secs_f64()))
        }
        Stage::Incremental => None,
    }
}

async fn blocking<R: Send + 'static>(work: impl FnOnce() -> Result<R> + Send + 'static) -> Result<R> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::definite("an answer was not finished").caused_by(error)))
}

fn failed(error: &Error) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
}

#[cfg(test)]
mod tests;
