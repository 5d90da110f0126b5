//! What the handlers ask of a request: its path, credentials and query.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, Request, Uri};

use super::Ports;
use crate::embedded::load::settings::header;
use crate::embedded::users::Privilege;
use crate::schema::TableName;

/// Name and password of a Basic header.
pub(super) struct Credentials {
    pub(super) user: String,
    password: String,
}

/// `None`: no header, or not a Basic one.
pub(super) fn credentials(headers: &HeaderMap) -> Option<Credentials> {
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    // `user@cluster` is a spelling of old clients.
    let user = user.split('@').next().unwrap_or(user);
    Some(Credentials { user: user.to_owned(), password: password.to_owned() })
}

impl Ports {
    /// The user of a request.
    ///
    /// # Errors
    /// The text for a 401.
    pub(super) fn user(&self, headers: &HeaderMap, peer: SocketAddr) -> Result<String, String> {
        let credentials = credentials(headers).ok_or("Need auth information.")?;
        self.authenticate(&credentials, peer)?;
        Ok(credentials.user)
    }

    /// # Errors
    /// "Access denied for user@ip".
    pub(super) fn authenticate(&self, credentials: &Credentials, peer: SocketAddr) -> Result<(), String> {
        if self.engine.users.authenticate(&credentials.user, &credentials.password) {
            return Ok(());
        }
        Err(format!("Access denied for {}@{}", credentials.user, peer.ip()))
    }

    /// # Errors
    /// The text of a missing privilege.
    pub(super) fn may_insert(&self, user: &str, database: &str, table: &str) -> Result<(), String> {
        if self.engine.users.may(user, Privilege::Insert, database, Some(table)) {
            return Ok(());
        }
        Err(format!(
            "Access denied; you need (at least one of) the INSERT privilege(s) on TABLE {table} for this operation. \
             Please ask the admin to grant permission(s) or try activating existing roles using <set [default] role>. \
             Current role(s): NONE. Inactivated role(s): NONE."
        ))
    }
}

/// Decoded segments of the path.
pub(super) fn segments(uri: &Uri) -> Vec<String> {
    uri.path().split('/').skip(1).map(decode).collect()
}

/// A parameter of the query.
pub(super) fn parameter(uri: &Uri, name: &str) -> Option<String> {
    uri.query()?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key) == name).then(|| decode(&value.replace('+', " ")))
    })
}

/// The table that a load is about: from its path, or from the headers of the transaction interface.
pub(super) fn table_of<B>(request: &Request<B>) -> Option<TableName> {
    match segments(request.uri()).as_slice() {
        [api, database, table, load] if api == "api" && load == "_stream_load" => Some(TableName::new(database, table)),
        [api, transaction, _] if api == "api" && transaction == "transaction" => {
            let headers = request.headers();
            Some(TableName::new(header(headers, "db")?, header(headers, "table")?))
        }
        _ => None,
    }
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *byte == b'%').and_then(crate::embedded::value::decode_hex);
        match escaped {
            Some(bytes) => {
                out.extend(bytes);
                rest = &after[2..];
            }
            None => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries_are_decoded() {
        let uri: Uri = "/api/my%20db/t/_cancel?label=a%2Bb&x".parse().unwrap();
        assert_eq!(segments(&uri), ["api", "my db", "t", "_cancel"]);
        assert_eq!(parameter(&uri, "label").as_deref(), Some("a+b"));
        assert_eq!(parameter(&uri, "x").as_deref(), Some(""));
        assert_eq!(parameter(&uri, "y"), None);
    }

    #[test]
    fn only_basic_credentials_count() {
        let mut headers = HeaderMap::new();
        assert!(credentials(&headers).is_none());
        headers.insert(AUTHORIZATION, "Bearer abc".parse().unwrap());
        assert!(credentials(&headers).is_none());
        headers.insert(AUTHORIZATION, "Basic cm9vdDphOmI=".parse().unwrap());
        let found = credentials(&headers).unwrap();
        assert_eq!((found.user.as_str(), found.password.as_str()), ("root", "a:b"));
    }
}
