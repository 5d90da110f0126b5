//! What a Stream Load's final answer means.
//!
//! Every answer of a BE is HTTP 200 with a `Status` inside; so is a refusal of the FE, whose `Status` is
//! `FAILED`. The words for each failure come from StarRocks' sources and its SDK; servers of other versions
//! word some of them differently, so what is on neither list is tried a few times and then given up.

use std::time::Duration;

use serde_json::Value;

use super::http::Answer;
use crate::Error;

/// A load's fate as one answer tells it.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Committed. `already`: by an earlier try.
    In { already: bool },
    /// An earlier try under this label is still under way.
    Running,
    /// It may be in; the label's state tells.
    Undecided(Error),
    /// Not in.
    Failed { error: Error, again: Again, error_url: Option<String> },
}

/// Whether the same load may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    Yes,
    /// Yes, and the target should be given fewer and larger loads: it has, in words, too much or too little of something.
    Exhausted(&'static str),
    No,
    /// A failure nobody has listed: a few tries are worth it, no more.
    Perhaps,
}

/// The data or the request is at fault.
const HOPELESS: &[&str] = &[
    "too many filtered rows",
    "abnormal data more than max filter rate",
    "no rows were imported",
    "failed to find table",
    "load request not equal last",
    "primary key size exceed",
    "access denied",
    "no valid basic authorization",
    "need auth information",
    "unknown table",
    "unknown database",
    "only primary key table support",
    "has no default value",
    "duplicate column",
    "mapping column is not in table",
    "unknown reference column",
    "unknown data format",
    "label format error",
    "there is no 100-continue header",
    "illegal json",
    "the value is array type",
    "the value should be array type",
    "the size of this batch exceed the max size",
    "you can increase the limit by setting streaming_load_max_mb",
    "must be bool type",
    "load op type",
    "unsupported compression",
    "getting syntax error",
];

/// Limits that the loads themselves have reached, and what each means.
const EXHAUSTED: &[(&str, &str)] = &[
    ("too many versions", "too many versions of a tablet"),
    ("too many tablet versions", "too many versions of a tablet"),
    ("running txns", "too many running transactions"),
    ("txn num per be exceeds", "too many running transactions"),
    ("exceed http cuncurrent limit", "too many loads at once"),
    ("memory", "too little memory"),
    ("mem limit", "too little memory"),
];

/// Limits that free themselves, restarts, and the network between FE and BE.
const PASSING: &[&str] = &[
    // The disks are nearly full; somebody makes room.
    "exceed limit usage",
    "no space left",
    "coordinate be",
    // What older versions say of a load that ran out of memory or of time.
    "cancelled",
    "no backend alive",
    "no alive",
    "no available",
    "not alive",
    "shutting down",
    "timeout",
    "timed out",
    "time out",
    "try again",
    "retry",
    "rpc",
    "leader",
    "unavailable",
    "connection",
    "network",
    "receive body don't equal with body bytes",
];

/// Judges `answer` to a load of `rows` rows.
pub(super) fn judge(answer: &Answer, rows: u64) -> Verdict {
    let from = &answer.from;
    match answer.status {
        200 => {}
        401 | 403 => {
            let text = field(&parse(&answer.text), &["msg", "message", "Message"]);
            return failed(
                Error::definite(format!("{from} refuses the load: {}", or(&text, "access denied")))
                    .hint("check target.username and target.password, and that the user has INSERT on the table"),
                Again::No,
            );
        }
        408 | 429 | 500..=599 if answer.began => {
            return Verdict::Undecided(Error::transient(format!("{from} answered HTTP {}", answer.status)));
        }
        408 | 429 | 500..=599 => {
            return failed(Error::transient(format!("{from} answered HTTP {}", answer.status)), Again::Yes);
        }
        status => {
            return failed(
                Error::definite(format!("{from} answered HTTP {status}: it takes no Stream Load"))
                    .hint("target.httpAddress must be the HTTP port of an FE (8030 by default) or of a BE (8040)"),
                Again::No,
            );
        }
    }
    let json = parse(&answer.text);
    let status = field(&json, &["Status", "status"]);
    let message = field(&json, &["Message", "message", "msg"]);
    match status.as_str() {
        "Success" | "Publish Timeout" | "OK" => counted(&json, rows, from),
        "Label Already Exists" => match field(&json, &["ExistingJobStatus"]).as_str() {
            "FINISHED" => Verdict::In { already: true },
            _ => Verdict::Running,
        },
        "" if answer.began => Verdict::Undecided(Error::transient(format!("{from} answered without a status"))),
        "" => failed(Error::transient(format!("{from} answered without a status")), Again::Perhaps),
        _ if message.contains("Transaction status unknown") => {
            Verdict::Undecided(Error::transient(format!("{from}: {message}")))
        }
        _ => {
            let again = classify(&message);
            let text = format!("{from} refuses the load: {}", or(&message, &status));
            let passing = matches!(again, Again::Yes | Again::Exhausted(_));
            let error = if passing { Error::transient(text) } else { Error::definite(text) };
            let error = match hint(&message) {
                Some(hint) => error.hint(hint),
                None => error,
            };
            let error = match super::refused::of(&message, &json) {
                Some(refused) => error.caused_by(refused),
                None => error,
            };
            let error_url = Some(field(&json, &["ErrorURL"])).filter(|url| !url.is_empty());
            Verdict::Failed { error, again, error_url }
        }
    }
}

/// How long the load took to be committed and published.
pub(super) fn publish_time(answer: &Answer) -> Option<Duration> {
    parse(&answer.text).get("CommitAndPublishTimeMs").and_then(number).map(Duration::from_millis)
}

/// A success that did not read every row has lost some, whatever its status says.
fn counted(json: &Value, rows: u64, from: &impl std::fmt::Display) -> Verdict {
    match json.get("NumberTotalRows").and_then(number) {
        Some(total) if total != rows => failed(
            Error::definite(format!("{from} found {total} rows in a load of {rows}"))
                .hint("this is a fault of towpath or of the server; please report it"),
            Again::No,
        ),
        _ => Verdict::In { already: false },
    }
}

pub(super) fn classify(message: &str) -> Again {
    let message = message.to_lowercase();
    if HOPELESS.iter().any(|text| message.contains(text)) {
        Again::No
    } else if let Some((_, words)) = EXHAUSTED.iter().find(|(text, _)| message.contains(text)) {
        Again::Exhausted(words)
    } else if PASSING.iter().any(|text| message.contains(text)) {
        Again::Yes
    } else {
        Again::Perhaps
    }
}

fn hint(message: &str) -> Option<&'static str> {
    let message = message.to_lowercase();
    let has = |text: &str| message.contains(text);
    if has("primary key size exceed") {
        Some("shorten the key, or raise primary_key_limit_size in be.conf")
    } else if has("access denied") || has("authorization") || has("need auth") {
        Some("check target.username and target.password, and that the user has INSERT on the table")
    } else if has("too many versions") || has("too many tablet versions") {
        Some("raise params.realFlushPauseSec, so that fewer and larger loads are made")
    } else if has("exceed limit usage") || has("no space left") {
        Some("the disks of the BEs are nearly full: SHOW BACKENDS tells which; make room")
    } else if has("no backend alive") {
        Some("no BE is running; see SHOW BACKENDS")
    } else {
        None
    }
}

fn failed(error: Error, again: Again) -> Verdict {
    Verdict::Failed { error, again, error_url: None }
}

pub(super) fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

/// The first of `names` that is there, as text.
pub(super) fn field(json: &Value, names: &[&str]) -> String {
    let found = names.iter().find_map(|name| json.get(name)?.as_str());
    found.unwrap_or_default().to_owned()
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn or<'a>(text: &'a str, other: &'a str) -> &'a str {
    if text.is_empty() { other } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Address;

    fn answer(status: u16, text: &str, began: bool) -> Answer {
        Answer { status, text: text.into(), from: Address { host: "be".into(), port: 8040 }, began }
    }

    fn judged(text: &str) -> Verdict {
        judge(&answer(200, text, true), 3)
    }

    #[test]
    fn success_and_publish_timeout_are_in() {
        assert!(matches!(judged(r#"{"Status":"Success","NumberTotalRows":3}"#), Verdict::In { already: false }));
        assert!(matches!(judged(r#"{"Status":"Publish Timeout"}"#), Verdict::In { already: false }));
    }

    #[test]
    fn an_answer_tells_how_long_its_load_took_to_be_published() {
        let told = |text: &str| publish_time(&answer(200, text, true));
        assert_eq!(told(r#"{"Status":"Success","CommitAndPublishTimeMs":17}"#), Some(Duration::from_millis(17)));
        assert_eq!(told(r#"{"Status":"Success"}"#), None);
    }

    #[test]
    fn a_success_with_fewer_rows_is_an_error() {
        let Verdict::Failed { error, again, .. } = judged(r#"{"Status":"Success","NumberTotalRows":2}"#) else {
            panic!("not failed")
        };
        assert_eq!(again, Again::No);
        assert!(error.to_string().contains("found 2 rows in a load of 3"), "{error}");
    }

    #[test]
    fn a_known_label_is_in_or_under_way() {
        let exists = |job| judged(&format!(r#"{{"Status":"Label Already Exists","ExistingJobStatus":"{job}"}}"#));
        assert!(matches!(exists("FINISHED"), Verdict::In { already: true }));
        assert!(matches!(exists("RUNNING"), Verdict::Running));
    }

    #[test]
    fn an_unknown_transaction_status_is_undecided() {
        let text = "Commit transaction fail cause x, Transaction status unknown, you can retry with same label.";
        assert!(matches!(judged(&format!(r#"{{"Status":"Fail","Message":"{text}"}}"#)), Verdict::Undecided(_)));
        assert!(matches!(judge(&answer(200, "<html>", true), 3), Verdict::Undecided(_)));
        assert!(matches!(judge(&answer(502, "", true), 3), Verdict::Undecided(_)));
    }

    #[test]
    fn failures_are_sorted_by_whether_trying_again_can_help() {
        assert_eq!(classify("too many filtered rows"), Again::No);
        assert_eq!(classify("primary key size exceed the limit."), Again::No);
        assert_eq!(classify("class com.starrocks.common.DdlException: No backend alive."), Again::Yes);
        assert_eq!(
            classify("Failed to load data into tablet 1, because of too many versions"),
            Again::Exhausted("too many versions of a tablet")
        );
        assert_eq!(
            classify("current running txns on db 1 is 1000, larger than limit 1000"),
            Again::Exhausted("too many running transactions")
        );
        assert_eq!(classify("Memory of process exceed limit"), Again::Exhausted("too little memory"));
        assert_eq!(classify("disk -49 on backend 10001 exceed limit usage"), Again::Yes);
        assert_eq!(classify("coordinate BE is down"), Again::Yes);
        assert_eq!(classify("something new"), Again::Perhaps);
    }

    #[test]
    fn a_refused_password_says_what_to_check() {
        let Verdict::Failed { error, again, .. } =
            judge(&answer(401, r#"{"status":"FAILED","msg":"Access denied for root@127.0.0.1"}"#, false), 1)
        else {
            panic!("not failed")
        };
        assert_eq!(again, Again::No);
        assert!(error.to_string().contains("Access denied for root@127.0.0.1"), "{error}");
        assert!(error.to_string().contains("target.password"), "{error}");
    }
}
