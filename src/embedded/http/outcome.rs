//! Answers of the transaction interface: the BE's pretty ones with the names of thrift states, the FE's short ones.

use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::be::label_used;
use super::{Answer, answer};
use crate::embedded::transaction::Refusal;

/// A failure with the name of its thrift status.
pub(super) struct Failure {
    pub(super) status: &'static str,
    pub(super) message: String,
    pub(super) existing: Option<&'static str>,
    pub(super) error_url: Option<String>,
}

/// The status of a failure that is not told: the connection is cut.
const CUT: &str = "";

pub(super) fn cut() -> Failure {
    failure(CUT, "")
}

pub(super) fn failure(status: &'static str, message: impl Into<String>) -> Failure {
    Failure { status, message: message.into(), existing: None, error_url: None }
}

pub(super) fn internal(message: impl Into<String>) -> Failure {
    failure("INTERNAL_ERROR", message)
}

pub(super) fn refusal(label: &str, refusal: Refusal) -> Failure {
    match refusal {
        Refusal::LabelUsed(state) => {
            Failure { existing: Some(state.job_status()), ..failure("LABEL_ALREADY_EXISTS", label_used(label)) }
        }
        Refusal::Other(text) => failure("ANALYSIS_ERROR", text),
    }
}

/// The BE's answer: on success what the call reports, on failure only why.
pub(super) fn reply(label: &str, outcome: Result<Map<String, Value>, Failure>) -> Answer {
    let mut body = Map::new();
    match outcome {
        Ok(report) => {
            body.insert("Status".into(), "OK".into());
            body.insert("Message".into(), "".into());
            body.insert("Label".into(), label.into());
            body.extend(report);
        }
        Err(failure) if failure.status == CUT => return answer::cut(),
        Err(failure) => {
            body.insert("Status".into(), failure.status.into());
            match failure.status {
                "LABEL_ALREADY_EXISTS" => {
                    body.insert("ExistingJobStatus".into(), failure.existing.unwrap_or_default().into());
                }
                "TXN_IN_PROCESSING" => {
                    body.insert("Label".into(), label.into());
                }
                _ => {}
            }
            body.insert("Message".into(), failure.message.into());
            if let Some(url) = failure.error_url {
                body.insert("ErrorURL".into(), url.into());
            }
        }
    }
    answer::pretty(&body)
}

pub(super) fn millis(time: Duration) -> Value {
    Value::from(time.as_millis() as u64)
}

/// The FE's answer.
pub(super) fn fe_reply(status: &str, message: &str, extra: Value) -> Answer {
    let mut body = json!({"Status": status, "Message": message});
    if let (Some(body), Value::Object(extra)) = (body.as_object_mut(), extra) {
        body.extend(extra);
    }
    answer::json(StatusCode::OK, &body)
}

pub(super) fn fe_failed(text: &str) -> Answer {
    answer::refused("StarRocksException", text)
}

pub(super) type Outcome = Result<Map<String, Value>, Failure>;

pub(super) fn report(pairs: impl IntoIterator<Item = (&'static str, Value)>) -> Map<String, Value> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The FE's answer to a commit that failed.
pub(super) fn fe_failure(failure: Failure) -> Answer {
    if failure.status == CUT {
        return answer::cut();
    }
    let extra = failure.error_url.map_or(json!({}), |url| json!({"ErrorURL": url}));
    fe_reply("FAILED", &failure.message, extra)
}

pub(super) fn already(id: u64, label: &str, what: &str) -> Answer {
    let text = format!("Transaction {id} has already {what}, label is {label}");
    fe_reply("OK", &text, json!({"TxnId": id, "Label": label}))
}

pub(super) fn in_processing() -> Failure {
    failure("TXN_IN_PROCESSING", "Transaction in processing, please retry later")
}
