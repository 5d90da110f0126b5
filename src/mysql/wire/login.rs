//! Signing in.
//!
//! The server names an authentication plugin in its greeting and may name another one when it knows the user. Each has
//! its own way to show that both sides know the password:
//!
//! | plugin | we send |
//! |---|---|
//! | `mysql_native_password` | SHA-1 of the password, mixed with the challenge |
//! | `caching_sha2_password` | SHA-256, mixed likewise; where the server has not seen the user since its start, the password itself: over TLS, or under the server's RSA key |
//! | `client_ed25519` (MariaDB) | a signature of the challenge |
//! | `mysql_clear_password` | the password itself, over TLS only |
//!
//! `sha256_password` and MariaDB's `parsec` are not there, as `mysql_async` does not have them either: a user of theirs
//! comes no further than the job's first statement.

use std::collections::HashMap;
use std::io::Error as IoError;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use mysql_async::{DriverError, Result, TlsError};
use mysql_common::constants::CapabilityFlags;
use mysql_common::packets::{AuthPlugin, HandshakeResponse, SslRequest};
use mysql_common::scramble::{create_response_for_ed25519, scramble_native, scramble_sha256};
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::channel::Channel;
use super::greeting::{Greeting, until_zero};
use super::tls::{self, Check};
use super::{END, MORE, OK, public_key, unexpected};
use crate::config::Tls;

/// `utf8mb4_general_ci`
const COLLATION: u8 = 45;
/// The protocol's own limit.
const MAX_PACKET: u32 = 1 << 30;

/// What of `caching_sha2_password` the server says with one byte.
const KNOWN: u8 = 3;
const UNKNOWN: u8 = 4;
/// And what we ask with one.
const ASK_FOR_KEY: u8 = 2;

/// Where to go, and who we are there.
pub(in super::super) struct Login<'a> {
    /// The name that the certificate must have.
    pub(in super::super) host: &'a str,
    /// What it was looked up to.
    pub(in super::super) addresses: &'a [IpAddr],
    pub(in super::super) port: u16,
    pub(in super::super) username: &'a str,
    pub(in super::super) password: &'a str,
    /// `None`: without TLS.
    pub(in super::super) tls: Option<(&'a Tls, Check)>,
    pub(in super::super) keepalive: Duration,
}

impl Login<'_> {
    pub(super) async fn connect(&self) -> Result<TcpStream> {
        let addresses: Vec<SocketAddr> = self.addresses.iter().map(|ip| SocketAddr::new(*ip, self.port)).collect();
        let socket = TcpStream::connect(&addresses[..]).await?;
        socket.set_nodelay(true)?;
        SockRef::from(&socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(self.keepalive))?;
        Ok(socket)
    }

    pub(super) async fn sign_in<T>(&self, mut channel: Channel<T>) -> Result<(Channel<T>, Greeting)>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let greeting = Greeting::read(&channel.answer().await?)?;
        let mut capabilities = CapabilityFlags::CLIENT_PROTOCOL_41
            | CapabilityFlags::CLIENT_LONG_PASSWORD
            | CapabilityFlags::CLIENT_SECURE_CONNECTION
            | CapabilityFlags::CLIENT_PLUGIN_AUTH
            | greeting.capabilities
                & (CapabilityFlags::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA | CapabilityFlags::CLIENT_CONNECT_ATTRS);
        if let Some((tls, check)) = self.tls {
            if !greeting.capabilities.contains(CapabilityFlags::CLIENT_SSL) {
                return Err(DriverError::NoClientSslFlagFromServer.into());
            }
            capabilities |= CapabilityFlags::CLIENT_SSL;
            let name = ServerName::try_from(self.host).map_err(TlsError::InvalidDnsName)?.to_owned();
            let connector = tls::connector(tls, check).await?;
            channel.write(&super::serialized(&SslRequest::new(capabilities, MAX_PACKET, COLLATION))).await?;
            channel = channel.secure(&connector, name).await?;
        }
        let mut plugin =
            Plugin::named(&greeting.plugin).filter(|plugin| *plugin != Plugin::Clear).unwrap_or(Plugin::Native);
        let mut challenge = greeting.challenge.clone();
        let proof = plugin.proof(self.password, &challenge, channel.is_encrypted())?;
        let attributes = capabilities
            .contains(CapabilityFlags::CLIENT_CONNECT_ATTRS)
            .then(|| HashMap::from([("program_name".to_owned(), "towpath".to_owned())]));
        let response = HandshakeResponse::new(
            Some(proof),
            greeting.version,
            Some(self.username.as_bytes()),
            None::<&[u8]>,
            Some(AuthPlugin::from_bytes(plugin.name())),
            capabilities,
            attributes,
            MAX_PACKET,
        );
        channel.write(&super::serialized(&response)).await?;

        let mut switched = false;
        let mut asked = false;
        loop {
            let packet = channel.answer().await?;
            match (packet.first(), packet.get(1)) {
                (Some(&OK), _) => return Ok((channel, greeting)),
                (Some(&END), None) => return Err(DriverError::MysqlOldPasswordDisabled.into()),
                (Some(&END), _) if !switched => {
                    switched = true;
                    (plugin, challenge) = switch(&packet)?;
                    let proof = plugin.proof(self.password, &challenge, channel.is_encrypted())?;
                    channel.write(&proof).await?;
                }
                (Some(&MORE), Some(&KNOWN)) if plugin == Plugin::CachingSha2 && packet.len() == 2 => {}
                (Some(&MORE), Some(&UNKNOWN)) if plugin == Plugin::CachingSha2 && packet.len() == 2 && !asked => {
                    asked = true;
                    if channel.is_encrypted() {
                        channel.write(&terminated(self.password)).await?;
                    } else {
                        channel.write(&[ASK_FOR_KEY]).await?;
                        let key = channel.answer().await?;
                        channel.write(&under_key(self.password, &challenge, &key)?).await?;
                    }
                }
                _ => return Err(unexpected(&packet)),
            }
        }
    }
}

/// `254 | plugin, 0 | challenge, 0`
fn switch(packet: &Bytes) -> Result<(Plugin, Vec<u8>)> {
    let mut rest = &packet[1..];
    let name = until_zero(&mut rest).ok_or_else(|| unexpected(packet))?;
    let plugin = Plugin::named(name)
        .ok_or_else(|| DriverError::UnknownAuthPlugin { name: String::from_utf8_lossy(name).into_owned() })?;
    Ok((plugin, rest.strip_suffix(&[0]).unwrap_or(rest).to_vec()))
}

/// The password, mixed with the challenge and under the key of the packet.
fn under_key(password: &str, challenge: &[u8], packet: &Bytes) -> Result<Vec<u8>> {
    let (Some(pem), false) = (packet.strip_prefix(&[MORE]), challenge.is_empty()) else {
        return Err(unexpected(packet));
    };
    let mixed: Vec<u8> =
        terminated(password).iter().zip(challenge.iter().cycle()).map(|(byte, other)| byte ^ other).collect();
    public_key::encrypt(&mixed, pem)
}

fn terminated(password: &str) -> Vec<u8> {
    [password.as_bytes(), &[0]].concat()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plugin {
    Native,
    CachingSha2,
    Ed25519,
    Clear,
}

impl Plugin {
    fn named(name: &[u8]) -> Option<Plugin> {
        [Plugin::Native, Plugin::CachingSha2, Plugin::Ed25519, Plugin::Clear]
            .into_iter()
            .find(|plugin| plugin.name() == name)
    }

    fn name(self) -> &'static [u8] {
        match self {
            Plugin::Native => b"mysql_native_password",
            Plugin::CachingSha2 => b"caching_sha2_password",
            Plugin::Ed25519 => b"client_ed25519",
            Plugin::Clear => b"mysql_clear_password",
        }
    }

    /// What is sent first. Without a password it is empty.
    fn proof(self, password: &str, challenge: &[u8], encrypted: bool) -> Result<Vec<u8>> {
        let bytes = password.as_bytes();
        let made = match self {
            Plugin::Clear if !encrypted => return Err(DriverError::CleartextPluginDisabled.into()),
            Plugin::Clear => Some(terminated(password)),
            _ if password.is_empty() => Some(Vec::new()),
            Plugin::Native => scramble_native(challenge, bytes).map(|proof| proof.to_vec()),
            Plugin::CachingSha2 => scramble_sha256(challenge, bytes).map(|proof| proof.to_vec()),
            Plugin::Ed25519 => Some(create_response_for_ed25519(bytes, challenge).to_vec()),
        };
        made.ok_or_else(|| IoError::other("no proof can be made of this password").into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::mysql::wire::greeting;

    /// What comes of these answers of a server to a login.
    async fn signed_in(password: &str, answers: &[&[u8]]) -> Result<()> {
        let mut sent = Vec::new();
        for (answer, sequence) in [&[greeting::MYSQL], answers].concat().iter().zip([0, 2, 4, 6, 8, 10]) {
            sent.extend_from_slice(&[answer.len() as u8, 0, 0, sequence]);
            sent.extend_from_slice(answer);
        }
        let login = Login {
            host: "localhost",
            addresses: &[],
            port: 0,
            username: "u",
            password,
            tls: None,
            keepalive: Duration::ZERO,
        };
        let channel = Channel::new(tokio::io::join(Cursor::new(sent), tokio::io::sink()));
        login.sign_in(channel).await.map(drop)
    }

    const LET_IN: &[u8] = &[0, 0, 0, 2, 0, 0, 0];

    #[tokio::test]
    async fn plugins_that_are_not_there_or_would_show_the_password_are_refused() {
        let switch = |plugin: &str| [b"\xfe", plugin.as_bytes(), b"\0abcdefghijklmnopqrst\0"].concat();
        signed_in("p", &[&switch("mysql_native_password"), LET_IN]).await.unwrap();
        let error = signed_in("p", &[&switch("auth_gssapi_client")]).await.unwrap_err();
        assert!(error.to_string().contains("auth_gssapi_client"), "{error}");
        // Without TLS.
        let error = signed_in("p", &[&switch("mysql_clear_password"), LET_IN]).await.unwrap_err();
        assert!(matches!(error, mysql_async::Error::Driver(DriverError::CleartextPluginDisabled)));
        assert_eq!(Plugin::Clear.proof("p", b"", true).unwrap(), b"p\0");
        let error = signed_in("p", &[&[END]]).await.unwrap_err();
        assert!(matches!(error, mysql_async::Error::Driver(DriverError::MysqlOldPasswordDisabled)));
    }

    #[tokio::test]
    async fn a_server_that_asks_again_and_again_is_left() {
        let switch = b"\xfemysql_native_password\0abcdefghijklmnopqrst\0";
        assert!(signed_in("p", &[switch, switch, LET_IN]).await.is_err());
        let key = [b"\x01", public_key::PKCS8.as_bytes()].concat();
        signed_in("p", &[&[MORE, UNKNOWN], &key, LET_IN]).await.unwrap();
        assert!(signed_in("p", &[&[MORE, UNKNOWN], &key, &[MORE, UNKNOWN], &key]).await.is_err());
        // A key that is none.
        assert!(signed_in("p", &[&[MORE, UNKNOWN], b"\x01nonsense", LET_IN]).await.is_err());
    }
}
