//! HTTP to FEs and BEs: where to send, how redirects are followed, and when a body may go out.
//!
//! An FE answers a Stream Load with a 307 to a BE from the headers alone and closes. A client that sends its
//! body before that answer races the close. So every hop of a PUT goes the same way: headers with
//! `Expect: 100-continue`, then wait, and only `100 Continue` lets the body go. An FE never says that, so no
//! byte of a body reaches it; a BE says it after label, table and columns are checked, or else gives its final
//! answer at once. That makes one path for both, and a BE may be named as `httpAddress` just as well.
//!
//! Redirects are followed here and not by a library: the password has to go along to another host (libraries
//! drop it, rightly), and the host may need another name (`target.hostMap`), since a BE is called by the name
//! it has inside its own network.
//!
//! Nothing waits without an end: a connection has 10 s, an FE's answer and a BE's `100 Continue` have `soTimeoutSec`, so
//! has the body each time the server takes nothing of it, and the load as a whole has the time it was given itself.
//!
//! Small questions (label state, health, error logs) go through reqwest; loads go through hyper's connection,
//! because reqwest cannot hold a body back until the 100 arrives.

mod body;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderValue, LOCATION};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use self::body::{HeldBody, Sent};
use super::addresses::Addresses;
use crate::config::{self, Address};
use crate::{Error, Result, step};

/// Follower FE → leader FE → BE are two; more than this is a circle.
const MAX_REDIRECTS: usize = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers are a page of JSON; error logs are cut here.
const MAX_ANSWER_BYTES: usize = 1 << 20;
const IDLE_PER_ADDRESS: usize = 8;

pub(super) struct Http {
    addresses: Addresses,
    host_map: BTreeMap<String, Address>,
    authorization: HeaderValue,
    client: reqwest::Client,
    idle: Mutex<HashMap<String, Vec<Connection>>>,
    /// For a small question, and for the time until a load's 100 or redirect.
    answer_timeout: Duration,
}

/// A final answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: String,
    pub(super) from: Address,
    /// The body was asked for, so the load had begun.
    pub(super) began: bool,
}

/// No final answer.
#[derive(Debug)]
pub(super) struct Lost {
    /// A byte of the body may have arrived: the load may be in.
    pub(super) began: bool,
    pub(super) error: Error,
}

impl Lost {
    fn before(error: Error) -> Self {
        Lost { began: false, error }
    }
}

/// One hop's outcome.
enum Reply {
    Answer(Answer),
    Redirect(String),
}

/// Where a redirect leads.
struct Hop {
    address: Address,
    /// The name that the server gave, when `hostMap` put `address` in its place or may have to.
    named: Option<String>,
    path: String,
}

impl Http {
    /// Usage errors: no address, a `hostMap` entry that is not `host:port`.
    pub(super) fn new(target: &config::Target, answer_timeout: Duration) -> Result<Self> {
        if target.http_addresses.is_empty() {
            return Err(Error::usage("target.httpAddress names no address")
                .hint("give the FE's HTTP port, for example httpAddress: [127.0.0.1:8030]"));
        }
        let mut host_map = BTreeMap::new();
        for (named, reachable) in &target.host_map {
            let address = parse_address(reachable)
                .ok_or_else(|| Error::usage(format!("target.hostMap: {reachable:?} is not host:port")))?;
            host_map.insert(named.to_ascii_lowercase(), address);
        }
        let credentials = BASE64_STANDARD.encode(format!("{}:{}", target.username, target.password.reveal()));
        let mut authorization = HeaderValue::try_from(format!("Basic {credentials}"))
            .map_err(|_| Error::usage("target.username or target.password cannot be sent over HTTP"))?;
        authorization.set_sensitive(true);
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(answer_timeout)
            .build()
            .map_err(|error| Error::definite("cannot make an HTTP client").caused_by(error))?;
        Ok(Http {
            addresses: Addresses::new(target.http_addresses.clone()),
            host_map,
            authorization,
            client,
            idle: Mutex::new(HashMap::new()),
            answer_timeout,
        })
    }

    pub(super) fn addresses(&self) -> &[Address] {
        self.addresses.all()
    }

    /// The address to try now.
    pub(super) fn current(&self) -> &Address {
        self.addresses.current()
    }

    /// All addresses, the one to try now first.
    pub(super) fn in_order(&self) -> impl Iterator<Item = &Address> {
        self.addresses.in_order()
    }

    /// It answered, but cannot serve: the next calls take another one for a while. (One that does not answer is left
    /// without a word.) Only for those of the job file: which BE a load goes to is the FE's choice.
    pub(super) fn turn_from(&self, address: &Address) {
        self.addresses.failed(address);
    }

    /// GET with the password, redirects followed. A status is no error, whatever it is.
    pub(super) async fn get(&self, address: &Address, path: &str) -> Result<Answer> {
        self.ask(Method::GET, address, path, HeaderMap::new(), self.answer_timeout).await
    }

    /// POST without a body, otherwise as [`Http::get`]. An error says nothing about whether it was done.
    /// `patience`: for the whole answer; `None`: as for a small question.
    pub(super) async fn post(
        &self,
        address: &Address,
        path: &str,
        mut headers: HeaderMap,
        patience: Option<Duration>,
    ) -> Result<Answer> {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        self.ask(Method::POST, address, path, headers, patience.unwrap_or(self.answer_timeout)).await
    }

    async fn ask(
        &self,
        method: Method,
        address: &Address,
        path: &str,
        headers: HeaderMap,
        patience: Duration,
    ) -> Result<Answer> {
        let mut hop = Hop { address: address.clone(), named: None, path: path.to_owned() };
        for _ in 0..=MAX_REDIRECTS {
            let url = format!("http://{}{}", hop.address, hop.path);
            let lost = |error: reqwest::Error| {
                let message = format!("no answer from {}", describe(&hop));
                unreachable_hint(Error::transient(message).caused_by(error.without_url()), &hop)
            };
            let request = self.client.request(method.clone(), url).headers(headers.clone()).timeout(patience);
            let request = request.header(AUTHORIZATION, self.authorization.clone());
            let sent = request.send().await.inspect_err(|_| self.addresses.failed(&hop.address));
            let mut response = sent.map_err(lost)?;
            self.addresses.worked(&hop.address);
            let status = response.status();
            if let Some(location) = redirect(status, response.headers()) {
                hop = self.resolve(&location)?;
                continue;
            }
            let mut text = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(lost)? {
                text.extend_from_slice(&chunk);
                if text.len() >= MAX_ANSWER_BYTES {
                    break;
                }
            }
            let text = String::from_utf8_lossy(&text).into_owned();
            return Ok(Answer { status: status.as_u16(), text, from: hop.address, began: false });
        }
        Err(circle(address))
    }

    /// GET of a URL that a server named, its host mapped like a redirect's.
    pub(super) async fn get_url(&self, url: &str) -> Result<Answer> {
        let hop = self.resolve(url)?;
        self.get(&hop.address, &hop.path).await
    }

    /// PUT with redirects followed; the body goes out only to a server that asked for it with a 100.
    /// `load_timeout` counts from there; before it, each hop has the client's answer time-out.
    ///
    /// Cancel-safe in this sense: dropping the future closes the connection, and a server that has not got
    /// the whole body rolls back. If the whole body had gone out, the load's fate is then unknown.
    pub(super) async fn put(
        &self,
        address: &Address,
        path: &str,
        headers: &HeaderMap,
        body: &Bytes,
        load_timeout: Duration,
    ) -> Result<Answer, Lost> {
        let mut hop = Hop { address: address.clone(), named: None, path: path.to_owned() };
        for _ in 0..=MAX_REDIRECTS {
            let reply = self.put_once(&hop, headers, body, load_timeout).await;
            match reply.inspect_err(|_| self.addresses.failed(&hop.address))? {
                Reply::Answer(answer) => return Ok(answer),
                Reply::Redirect(location) => hop = self.resolve(&location).map_err(Lost::before)?,
            }
        }
        Err(Lost::before(circle(address)))
    }

    /// Sends a load's headers and tells where the server would have the body: the address, and the name the
    /// server gave it. `Err(Ok(answer))`: it answered something else than a redirect.
    pub(super) async fn probe(
        &self,
        address: &Address,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<(Address, String), Result<Answer>> {
        let hop = Hop { address: address.clone(), named: None, path: path.to_owned() };
        let connection = self.connect(&hop).await.map_err(Err)?;
        // The body that these headers promise never follows: the connection is closed after the answer.
        let never = Bytes::from_static(b"\n");
        match self.exchange(connection, &hop, headers, &never, self.answer_timeout, Release::Never).await {
            Ok(Reply::Redirect(location)) => {
                let next = self.resolve(&location).map_err(Err)?;
                let named = next.named.unwrap_or_else(|| next.address.to_string());
                Ok((next.address, named))
            }
            Ok(Reply::Answer(answer)) => Err(Ok(answer)),
            Err(lost) => Err(Err(lost.error)),
        }
    }

    /// Whether something listens there.
    pub(super) async fn reach(&self, address: &Address, named: &str) -> Result<()> {
        let hop = Hop { address: address.clone(), named: Some(named.to_owned()), path: String::new() };
        open(&hop).await.map(drop)
    }

    pub(super) fn mapped(&self, named: &str) -> Option<Address> {
        self.host_map.get(&named.to_ascii_lowercase()).cloned().or_else(|| parse_address(named))
    }

    async fn put_once(
        &self,
        hop: &Hop,
        headers: &HeaderMap,
        body: &Bytes,
        load_timeout: Duration,
    ) -> Result<Reply, Lost> {
        if let Some(connection) = self.take_idle(&hop.address).await {
            match self.exchange(connection, hop, headers, body, load_timeout, Release::OnContinue).await {
                // The server closed a connection that had rested; nothing was begun, so a new one is as good.
                Err(lost) if !lost.began => {}
                done => return done,
            }
        }
        let connection = self.connect(hop).await.map_err(Lost::before)?;
        self.exchange(connection, hop, headers, body, load_timeout, Release::OnContinue).await
    }

    async fn exchange(
        &self,
        mut connection: Connection,
        hop: &Hop,
        headers: &HeaderMap,
        body: &Bytes,
        load_timeout: Duration,
        release: Release,
    ) -> Result<Reply, Lost> {
        let sent = Sent::default();
        let continued = Arc::new(Notify::new());
        let (go, word) = oneshot::channel();
        let held = HeldBody::new(word, body.clone(), sent.clone());
        let mut request = self.request(hop, headers, held).map_err(Lost::before)?;
        let (go, notify) = (Mutex::new(Some(go)), Arc::clone(&continued));
        hyper::ext::on_informational(&mut request, move |response| {
            if response.status() != StatusCode::CONTINUE || release != Release::OnContinue {
                return;
            }
            if let Some(go) = go.lock().unwrap_or_else(PoisonError::into_inner).take() {
                let _ = go.send(());
                notify.notify_one();
            }
        });
        let lost = |error: Error| Lost { began: sent.began(), error };
        let failed = |error: hyper::Error| {
            lost(Error::transient(format!("the connection to {} was lost", describe(hop))).caused_by(error))
        };
        let late = |after: Duration| {
            lost(Error::transient(format!("no answer from {} within {} s", describe(hop), after.as_secs())))
        };

        let mut answer = std::pin::pin!(connection.sender.send_request(request));
        let response = tokio::select! {
            response = &mut answer => response.map_err(failed)?,
            () = continued.notified() => {
                step::reached("load-sent");
                tokio::select! {
                    answered = timeout(load_timeout, answer) => {
                        answered.map_err(|_| late(load_timeout))?.map_err(failed)?
                    }
                    () = sent.stalls(body.len(), self.answer_timeout) => {
                        let seconds = self.answer_timeout.as_secs();
                        let text = format!("{} has taken nothing of the load's body for {seconds} s", describe(hop));
                        return Err(lost(Error::transient(text)));
                    }
                }
            }
            () = tokio::time::sleep(self.answer_timeout) => return Err(late(self.answer_timeout)),
        };
        self.addresses.worked(&hop.address);
        if let Some(location) = redirect(response.status(), response.headers()) {
            return Ok(Reply::Redirect(location));
        }
        let status = response.status().as_u16();
        let text = timeout(self.answer_timeout, read(response)).await.map_err(|_| late(self.answer_timeout))?;
        let text = text.map_err(|error| {
            lost(Error::transient(format!("the answer of {} broke off", describe(hop))).caused_by(error))
        })?;
        let began = sent.began();
        if began {
            self.keep(connection, &hop.address);
        }
        Ok(Reply::Answer(Answer { status, text, from: hop.address.clone(), began }))
    }

    fn request(&self, hop: &Hop, headers: &HeaderMap, body: HeldBody) -> Result<Request<HeldBody>> {
        let unfit = |error: hyper::http::Error| Error::definite("cannot make the request").caused_by(error);
        let mut request = Request::builder().method(Method::PUT).uri(hop.path.as_str()).body(body).map_err(unfit)?;
        // A server behind another name is still told the name it knows itself by.
        let host = hop.named.clone().unwrap_or_else(|| hop.address.to_string());
        let host = HeaderValue::try_from(host).map_err(|error| unfit(error.into()))?;
        let all = request.headers_mut();
        all.extend(headers.clone());
        all.insert(HOST, host);
        all.insert(AUTHORIZATION, self.authorization.clone());
        all.insert(EXPECT, HeaderValue::from_static("100-continue"));
        Ok(request)
    }

    /// Where a `Location` leads. User-info in it is left out: it is not ours, and it would reach the logs.
    fn resolve(&self, location: &str) -> Result<Hop> {
        let unusable = || Error::definite("the server redirects to a place that is no http:// address");
        let uri: Uri = location.parse().map_err(|_| unusable())?;
        let host = uri.host().ok_or_else(unusable)?.trim_matches(['[', ']']);
        if uri.scheme_str() != Some("http") {
            return Err(unusable().hint("loads over https are not supported"));
        }
        let named = Address { host: host.to_owned(), port: uri.port_u16().unwrap_or(80) };
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let name = named.to_string();
        let address = self.host_map.get(&name.to_ascii_lowercase()).cloned().unwrap_or(named);
        Ok(Hop { address, named: Some(name), path })
    }

    async fn connect(&self, hop: &Hop) -> Result<Connection> {
        let stream = open(hop).await?;
        // Each load is one write of headers and one of the body; neither should wait for the other's ACK.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| {
            Error::transient(format!("the connection to {} was lost", describe(hop))).caused_by(error)
        })?;
        let task = tokio::spawn(async move {
            // An error here is told to the request that meets it.
            let _ = connection.await;
        });
        Ok(Connection { sender, task: task.abort_handle() })
    }

    async fn take_idle(&self, address: &Address) -> Option<Connection> {
        loop {
            let mut connection = self.lock_idle().get_mut(&address.to_string())?.pop()?;
            if connection.sender.is_ready() {
                return Some(connection);
            }
            let ready = timeout(Duration::from_millis(50), connection.sender.ready()).await;
            if matches!(ready, Ok(Ok(()))) {
                return Some(connection);
            }
        }
    }

    fn keep(&self, connection: Connection, address: &Address) {
        if connection.sender.is_closed() {
            return;
        }
        let mut idle = self.lock_idle();
        let resting = idle.entry(address.to_string()).or_default();
        resting.retain(|connection| !connection.sender.is_closed());
        if resting.len() < IDLE_PER_ADDRESS {
            resting.push(connection);
        }
    }

    fn lock_idle(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<Connection>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `host:port` or `[v6]:port`.
pub(super) fn parse_address(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.trim_matches(['[', ']']);
    (!host.is_empty()).then_some(())?;
    Some(Address { host: host.to_owned(), port: port.parse().ok()? })
}

/// One segment of a path, or a query's value.
pub(super) fn encode_segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

async fn open(hop: &Hop) -> Result<TcpStream> {
    let connect = TcpStream::connect((hop.address.host.as_str(), hop.address.port));
    let failed = match timeout(CONNECT_TIMEOUT, connect).await {
        Ok(Ok(stream)) => return Ok(stream),
        Ok(Err(error)) => Error::transient(format!("cannot connect to {}", describe(hop))).caused_by(error),
        Err(_) => {
            Error::transient(format!("cannot connect to {} within {} s", describe(hop), CONNECT_TIMEOUT.as_secs()))
        }
    };
    Err(unreachable_hint(failed, hop))
}

fn describe(hop: &Hop) -> String {
    let address = hop.address.to_string();
    match &hop.named {
        None => address,
        Some(named) if *named == address => format!("{address} (so named by the FE)"),
        Some(named) => format!("{address} (which target.hostMap gives for {named})"),
    }
}

fn unreachable_hint(error: Error, hop: &Hop) -> Error {
    match &hop.named {
        None => error.hint("is target.httpAddress the FE's HTTP port (8030 by default), and is the FE running?"),
        Some(named) => error.hint(format!(
            "the FE names its BEs by the address they registered with; if that is not reachable from here, map it: \
             target.hostMap: {{'{named}': 'host:port'}}, or put the BEs' own addresses into target.httpAddress"
        )),
    }
}

/// FEs that change their leader may point at each other for a moment.
fn circle(address: &Address) -> Error {
    Error::transient(format!("{address} redirects more than {MAX_REDIRECTS} times"))
}

fn redirect(status: StatusCode, headers: &HeaderMap) -> Option<String> {
    let location = headers.get(LOCATION)?.to_str().ok()?;
    status.is_redirection().then(|| location.to_owned())
}

async fn read(response: Response<Incoming>) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await?;
    Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
}

/// A connection whose task ends with it.
struct Connection {
    sender: http1::SendRequest<HeldBody>,
    task: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Release {
    OnContinue,
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_brackets() {
        let address = |host: &str, port| Some(Address { host: host.into(), port });
        assert_eq!(parse_address("be-1:8040"), address("be-1", 8040));
        assert_eq!(parse_address("[::1]:8040"), address("::1", 8040));
        assert_eq!(parse_address("be-1"), None);
        assert_eq!(parse_address(":8040"), None);
    }

    #[test]
    fn names_are_encoded_for_a_path() {
        assert_eq!(encode_segment("order-1_a.b"), "order-1_a.b");
        assert_eq!(encode_segment("a b/ö?"), "a%20b%2F%C3%B6%3F");
    }
}
