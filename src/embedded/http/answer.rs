//! Answers: the shapes that StarRocks' ports send.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::Answer;

/// A text answer that ends the connection.
pub(super) fn plain(status: StatusCode, text: &str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    answer
}

pub(super) fn not_found() -> Answer {
    plain(StatusCode::NOT_FOUND, "Not Found")
}

pub(super) fn wrong_method() -> Answer {
    plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
}

/// The FE's one-line JSON.
pub(super) fn json(status: StatusCode, body: &Value) -> Answer {
    let mut answer = plain(status, &body.to_string());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// The BE's JSON: always HTTP 200, four blanks of indent.
pub(super) fn pretty(body: &Map<String, Value>) -> Answer {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut writer = serde_json::Serializer::with_formatter(&mut text, formatter);
    // Writing a map of strings and numbers into memory cannot fail.
    let _ = serde::Serialize::serialize(body, &mut writer);
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// No answer at all: the connection is cut.
#[derive(Debug, Clone, Copy)]
struct Cut;

pub(super) fn cut() -> Answer {
    let mut answer = Response::new(Full::new(Bytes::new()));
    answer.extensions_mut().insert(Cut);
    answer
}

pub(super) fn is_cut(answer: &Answer) -> bool {
    answer.extensions().get::<Cut>().is_some()
}

/// The connection ends behind this answer: its body was not read, or will not be.
pub(super) fn closing(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// The small status JSON of the FE's older calls.
pub(super) fn status_ok() -> Value {
    json!({"status": "OK", "code": "0", "msg": "Success", "message": "OK"})
}

pub(super) fn status_failed(text: &str) -> Value {
    json!({"status": "FAILED", "code": "1", "msg": text, "message": text})
}

pub(super) fn unauthorized(text: &str) -> Answer {
    let mut answer = closing(json(StatusCode::UNAUTHORIZED, &status_failed(text)));
    answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"\""));
    answer
}

/// The FE's refusal of a load: HTTP 200 all the same.
pub(super) fn refused(exception: &str, text: &str) -> Answer {
    let message = format!("class com.starrocks.common.{exception}: {text}");
    closing(json(StatusCode::OK, &json!({"Status": "FAILED", "Message": message})))
}

/// The redirect; nothing of the request's credentials goes into it.
pub(super) fn redirect(location: &str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    match HeaderValue::from_str(location) {
        Ok(location) => {
            answer.headers_mut().insert(LOCATION, location);
            closing(answer)
        }
        Err(_) => not_found(),
    }
}
