//! A connection to the source, and what the server at its other end is.
//!
//! # TLS modes
//! They are MySQL's (`--ssl-mode`). `preferred` asks for TLS and, only where the server does not offer it,
//! connects again without. `verify_ca` first checks name and chain like `verify_identity`; where the name alone
//! is wrong (the certificates that MySQL makes for itself name no host), it connects again with the name
//! check off and the chain still checked.
//!
//! # Session
//! Every connection gets the same session, whatever the server's defaults: UTF-8, UTC, no SQL modes that change how values
//! read, autocommit, and network time-outs of an hour, so that back-pressure does not cut a long SELECT.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use mysql_async::{ClientIdentity, Conn, DriverError, IoError, OptsBuilder, Row, SslOpts};

use super::wire;
use crate::config::{Address, Source, Tls, TlsMode};
use crate::{Error, Result};

mod hosts;
mod patience;
mod server;
mod session;

pub use hosts::{Connect, connector};
pub use patience::{Patience, Pauses};
pub use server::{Flavor, ServerInfo, server_info, source_zone};
pub use session::Session;

/// Look-up, TCP, TLS and authentication together.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
const KEEPALIVE: Duration = Duration::from_secs(30);
/// The protocol's own limit.
const MAX_PACKET: usize = 1 << 30;

const SESSION: &str = "SET SESSION sql_mode = '', time_zone = '+00:00', autocommit = 1, \
     net_write_timeout = 3600, net_read_timeout = 3600, wait_timeout = 86400";

/// How one try secures the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Security {
    Plain,
    /// Whatever certificate the server shows.
    Encrypted,
    /// The chain; the name too where `true`.
    Verified {
        name: bool,
    },
}

/// Connects to the first of the source's servers that lets us in.
///
/// # Errors
/// *Transient*: host not found, refused, timed out, cut off, too many connections. *Definite*: wrong user or
/// password, host not allowed, TLS not possible as `tls` asks for it, an authentication plugin that is not supported.
pub async fn open(source: &Source) -> Result<Conn> {
    connector(source, Patience::default()).sql(None).await
}

/// One server of the source and how to sign in there.
struct Login<'a> {
    address: &'a Address,
    username: &'a str,
    password: &'a str,
    tls: &'a Tls,
}

/// A kind of connection, and how one is made.
trait Client: Session + Sized {
    fn connect(
        login: &Login<'_>,
        addresses: &[IpAddr],
        security: Security,
    ) -> impl Future<Output = mysql_async::Result<Self>> + Send;
}

impl Client for Conn {
    async fn connect(login: &Login<'_>, addresses: &[IpAddr], security: Security) -> mysql_async::Result<Self> {
        Conn::new(login.options(addresses, security)).await
    }
}

impl Client for wire::Connection {
    async fn connect(login: &Login<'_>, addresses: &[IpAddr], security: Security) -> mysql_async::Result<Self> {
        let check = match security {
            Security::Plain => None,
            Security::Encrypted => Some(wire::Check::Nothing),
            Security::Verified { name: false } => Some(wire::Check::Chain),
            Security::Verified { name: true } => Some(wire::Check::ChainAndName),
        };
        let login = wire::Login {
            host: &login.address.host,
            addresses,
            port: login.address.port,
            username: login.username,
            password: login.password,
            tls: check.map(|check| (login.tls, check)),
            keepalive: KEEPALIVE,
        };
        wire::Connection::open(&login).await
    }
}

impl Login<'_> {
    async fn open<C: Client>(&self) -> Result<C> {
        let connected = tokio::time::timeout(CONNECT_LIMIT, async {
            let mut conn: C = self.connect().await?;
            conn.rows(SESSION).await.map_err(|error| source_error("setting up the session", error))?;
            Ok(conn)
        });
        connected.await.unwrap_or_else(|_| {
            Err(Error::transient(format!(
                "the source {} does not answer within {} s",
                self.address,
                CONNECT_LIMIT.as_secs()
            ))
            .hint("check source.host and source.port, and firewalls between here and there"))
        })
    }

    async fn connect<C: Client>(&self) -> Result<C> {
        let Address { host, port } = self.address;
        let looked_up = tokio::net::lookup_host((host.as_str(), *port)).await;
        let addresses: Vec<IpAddr> = looked_up
            .map_err(|error| {
                Error::transient(format!("the source's host {host} is not found"))
                    .caused_by(Plain(error.to_string()))
                    .hint("check source.host")
            })?
            .map(|address| address.ip())
            .collect();
        let mode = self.tls.mode;
        let mut security = match mode {
            TlsMode::Disabled => Security::Plain,
            TlsMode::Preferred | TlsMode::Required => Security::Encrypted,
            TlsMode::VerifyCa | TlsMode::VerifyIdentity => Security::Verified { name: true },
        };
        loop {
            let error = match C::connect(self, &addresses, security).await {
                Ok(conn) => return Ok(conn),
                Err(error) => error,
            };
            security = match (mode, security, &error) {
                (
                    TlsMode::Preferred,
                    Security::Encrypted,
                    mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer),
                ) => Security::Plain,
                (TlsMode::VerifyCa, Security::Verified { name: true }, error) if is_name_mismatch(error) => {
                    Security::Verified { name: false }
                }
                _ => return Err(connect_error(self, &error)),
            };
        }
    }

    fn options(&self, addresses: &[IpAddr], security: Security) -> OptsBuilder {
        OptsBuilder::default()
            .ip_or_hostname(self.address.host.clone())
            .resolved_ips(Some(addresses.to_vec()))
            .tcp_port(self.address.port)
            .user(Some(self.username))
            .pass(Some(self.password))
            .prefer_socket(false)
            .tcp_keepalive(Some(KEEPALIVE))
            .tcp_nodelay(true)
            .max_allowed_packet(Some(MAX_PACKET))
            .wait_timeout(Some(86_400))
            // The password itself goes to the server then, so not where others can read it.
            .enable_cleartext_plugin(security != Security::Plain)
            .ssl_opts(tls(self.tls, security))
    }
}

/// `mysql_async` turns the name check off by looking for this word in the text of rustls' error. rustls writes
/// the name it expected into that text, and no longer the word; so the word is made the expected name.
/// (`verify_ca_takes_a_certificate_without_names_and_still_checks_its_chain` in the tests watches over it.)
const NAME_NOT_CHECKED: &str = "NotValidForName.invalid";

fn tls(tls: &Tls, security: Security) -> Option<SslOpts> {
    let mut options = SslOpts::default();
    if let (Some(cert), Some(key)) = (&tls.cert, &tls.key) {
        options = options.with_client_identity(Some(ClientIdentity::new(cert.clone().into(), key.clone().into())));
    }
    match security {
        Security::Plain => return None,
        Security::Encrypted => options = options.with_danger_accept_invalid_certs(true),
        Security::Verified { name } => {
            if let Some(ca) = &tls.ca {
                options = options.with_root_certs(vec![ca.clone().into()]).with_disable_built_in_roots(true);
            }
            if !name {
                options = options
                    .with_danger_skip_domain_validation(true)
                    .with_danger_tls_hostname_override(Some(NAME_NOT_CHECKED));
            }
        }
    }
    Some(options)
}

fn is_name_mismatch(error: &mysql_async::Error) -> bool {
    let text = error.to_string();
    text.contains("not valid for name") || text.contains("NotValidForName")
}

fn is_tls(error: &mysql_async::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        // A handshake's failure comes as an I/O error around rustls' own.
        let text = error.to_string();
        if text.contains("certificate") || text.contains("TLS") || text.contains("received fatal alert") {
            return true;
        }
        cause = error.source();
    }
    false
}

fn connect_error(login: &Login<'_>, error: &mysql_async::Error) -> Error {
    let (at, user) = (login.address, login.username);
    let definite = |what: String| Error::definite(what);
    match error {
        mysql_async::Error::Server(server) => {
            let (made, hint) = match server.code {
                1045 | 1698 => (
                    definite(format!("the source {at} refuses user '{user}'")),
                    "check source.username and source.password, and from which hosts the user may connect".to_owned(),
                ),
                1130 => (
                    definite(format!("the source {at} lets nobody connect from this host")),
                    format!("create the user for this host: CREATE USER '{user}'@'…', or '{user}'@'%'"),
                ),
                1129 => (
                    definite(format!("the source {at} has blocked this host after many failed connections")),
                    "run `mysqladmin flush-hosts` there".to_owned(),
                ),
                3159 => (
                    definite(format!("the source {at} takes encrypted connections only")),
                    "set source.tls.mode to preferred or required".to_owned(),
                ),
                3118 | 4151 => (
                    definite(format!("the source {at} has locked user '{user}'")),
                    format!("ALTER USER '{user}' ACCOUNT UNLOCK"),
                ),
                1820 | 1862 => (
                    definite(format!("the password of user '{user}' at the source {at} has expired")),
                    format!("ALTER USER '{user}' PASSWORD EXPIRE NEVER, or give it a new password"),
                ),
                1040 | 1203 | 1226 => (
                    Error::transient(format!("the source {at} has no connection left for user '{user}'")),
                    "raise max_connections (or the user's limit) there, or lower params.fullParallel".to_owned(),
                ),
                code if is_transient_code(code) => {
                    (Error::transient(format!("the source {at} does not let us in now")), String::new())
                }
                _ => (definite(format!("the source {at} refuses the connection")), String::new()),
            };
            let made = made.caused_by(Plain(server.to_string()));
            if hint.is_empty() { made } else { made.hint(hint) }
        }
        mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer) => {
            definite(format!("the source {at} offers no TLS, and source.tls.mode asks for it"))
                .hint("switch TLS on at the server (ssl_cert, ssl_key), or set source.tls.mode to preferred")
        }
        mysql_async::Error::Driver(DriverError::UnknownAuthPlugin { name }) => definite(format!(
            "user '{user}' at the source {at} signs in with {name}, which is not supported"
        ))
        .hint(format!(
            "give the user another plugin, on MySQL: ALTER USER '{user}' IDENTIFIED WITH caching_sha2_password BY '…'"
        )),
        mysql_async::Error::Driver(
            DriverError::CleartextPluginDisabled | DriverError::MysqlOldPasswordDisabled,
        ) => definite(format!("user '{user}' at the source {at} signs in with a plugin that shows its password"))
            .hint(format!(
                "give the user another plugin, on MySQL: ALTER USER '{user}' IDENTIFIED WITH caching_sha2_password BY '…'"
            )),
        mysql_async::Error::Driver(DriverError::NoKeyFound) => {
            definite("source.tls.key holds no private key".to_owned()).hint("give a PEM file with an RSA or EC key")
        }
        mysql_async::Error::Io(IoError::Io(io)) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
            Error::transient(format!("nothing listens at the source's address {at}"))
                .hint("check source.host and source.port, and whether the server runs and listens on the network")
        }
        _ if is_tls(error) => {
            let hint = match login.tls.mode {
                TlsMode::VerifyIdentity if is_name_mismatch(error) => {
                    "the certificate does not name the host; use the name it has as source.host, or source.tls.mode: verify_ca"
                }
                TlsMode::VerifyCa | TlsMode::VerifyIdentity => {
                    "source.tls.ca must be the certificate that signed the server's (a server's own is ca.pem in its data folder)"
                }
                _ => "check source.tls.cert and source.tls.key, and that the server speaks TLS 1.2 or later; source.tls.mode: disabled goes without",
            };
            definite(format!("no TLS connection to the source {at}")).caused_by(innermost(error)).hint(hint)
        }
        mysql_async::Error::Io(_) | mysql_async::Error::Driver(DriverError::ConnectionClosed) => {
            Error::transient(format!("the connection to the source {at} failed")).caused_by(innermost(error))
        }
        _ => definite(format!("cannot connect to the source {at}")).caused_by(innermost(error)),
    }
}

/// The cause at the bottom: the driver's layers repeat each other's text.
fn innermost(error: &mysql_async::Error) -> Plain {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    Plain(innermost.to_string())
}

/// A cause that is only text.
#[derive(Debug)]
struct Plain(String);

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Plain {}

/// An error of a statement at the source. `what` says what was being done: `reading the catalogue`.
pub(crate) fn source_error(what: impl fmt::Display, error: mysql_async::Error) -> Error {
    let message = format!("the source failed at {what}");
    match error {
        mysql_async::Error::Server(server) => {
            let made =
                if is_transient_code(server.code) { Error::transient(message) } else { Error::definite(message) };
            made.caused_by(Plain(server.to_string()))
        }
        error @ (mysql_async::Error::Io(_)
        | mysql_async::Error::Driver(DriverError::ConnectionClosed | DriverError::PacketOutOfOrder)) => {
            Error::transient(message).caused_by(innermost(&error))
        }
        error => Error::definite(message).caused_by(innermost(&error)),
    }
}

/// Runs a statement and reads all of its rows. Rows are read by `text` and `optional`: the driver's own conversion
/// panics on a value that is not as expected.
pub(super) async fn select(conn: &mut impl Session, what: &str, statement: &str) -> Result<Vec<Row>> {
    conn.rows(statement).await.map_err(|error| source_error(what, error))
}

/// A column's text; empty for NULL. The servers give names and settings in UTF-8; what is not is made visible.
pub(super) fn text(row: &Row, column: usize) -> String {
    optional(row, column).unwrap_or_default()
}

/// A column's text; `None` for NULL, and for a column that the row does not have.
pub(super) fn optional(row: &Row, column: usize) -> Option<String> {
    match row.as_ref(column)? {
        mysql_async::Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        mysql_async::Value::Int(number) => Some(number.to_string()),
        mysql_async::Value::UInt(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Errors of the server that pass by themselves: too many connections, shutting down, network trouble,
/// lock wait time-out, deadlock, interrupted, killed, gone, a member of a group that is recovering.
pub(crate) fn is_transient_code(code: u16) -> bool {
    matches!(
        code,
        1040 | 1053 | 1077..=1079 | 1152 | 1158..=1161 | 1203 | 1205 | 1213 | 1226 | 1317 | 1836 | 1927 | 2006 | 2013
            | 3024 | 3032 | 3168 | 3169
    )
}
