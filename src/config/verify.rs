//! `verify`: comparisons that the job makes by itself.

use super::load::{address, patterns};
use super::model::Address;
use super::reader::{Group, Reader};
use super::schedule::Schedule;

/// How a job compares both sides by the clock. What it means is what `towpath verify`'s options of these names mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Verify {
    pub schedule: Schedule,
    /// Mend what was found, by the rules of `towpath correct`.
    pub auto_correct: bool,
    /// Globs over the source's `db.table`; empty: all of the job's tables.
    pub tables: Vec<String>,
    /// The share of the rows, above 0 and below 1; `None`: all.
    pub sample: Option<f64>,
    /// Rows of the source a second; `None`: no limit.
    pub rate_limit: Option<u64>,
    /// Significant digits of FLOAT and DOUBLE that count; `None`: their bits.
    pub float_digits: Option<u8>,
    /// Digits of a second's fraction that count; `None`: all.
    pub time_digits: Option<u8>,
    pub empty_equals_null: bool,
    /// A replica to read from.
    pub source_host: Option<Address>,
}

/// `None`: no schedule is given, or a problem was reported.
pub(super) fn read(group: &Group, reader: &mut Reader<'_>) -> Option<Verify> {
    let Some(expression) = group.text("cron") else {
        let given = ["timezone", "tables", "sample", "floatDigits", "timeDigits", "sourceHost"];
        let given = given.into_iter().find(|key| group.has(key));
        if let Some(key) = given.or_else(|| group.flag("autoCorrect").then_some("autoCorrect")) {
            reader.problem(group.line(key), group.path(key), format!("is of no use without {}", group.path("cron")));
        }
        return None;
    };
    let zone = group.text("timezone");
    let zone_is_known = zone.as_deref().map_or(Ok(()), |zone| super::zone::parse(zone).map(drop));
    let schedule = match zone_is_known {
        Err(message) => {
            reader.problem(group.line("timezone"), group.path("timezone"), message);
            None
        }
        Ok(()) => match Schedule::parse(&expression, zone.as_deref()) {
            Ok(schedule) => Some(schedule),
            Err(message) => {
                reader.problem(group.line("cron"), group.path("cron"), message);
                None
            }
        },
    };
    let sample = group.text("sample").and_then(|text| match share(&text) {
        Ok(share) => Some(share),
        Err(message) => {
            reader.problem(group.line("sample"), group.path("sample"), format!("{text:?}: {message}"));
            None
        }
    });
    let source_host = group.text("sourceHost").and_then(|text| {
        let bare = !text.contains(':') || text.parse::<std::net::Ipv6Addr>().is_ok();
        let whole = if bare { Address { host: text, port: 3306 }.to_string() } else { text };
        address(&whole, group.line("sourceHost"), group.path("sourceHost"), reader)
    });
    let digits = |key: &str| group.integer(key).and_then(|digits| u8::try_from(digits).ok());
    Some(Verify {
        schedule: schedule?,
        auto_correct: group.flag("autoCorrect"),
        tables: patterns(group, "tables", reader),
        sample: sample.filter(|share| *share < 1.0),
        rate_limit: group.integer("rateLimit").filter(|rows| *rows > 0),
        float_digits: digits("floatDigits"),
        time_digits: digits("timeDigits"),
        empty_equals_null: group.flag("emptyEqualsNull"),
        source_host,
    })
}

/// `1%`, `0.5%`: a share above 0 and up to 1. `Err` says how to write it.
pub fn share(text: &str) -> Result<f64, String> {
    let percent = text.trim_end_matches('%').trim().parse::<f64>().ok();
    match percent.filter(|percent| *percent > 0.0 && *percent <= 100.0) {
        Some(percent) => Ok(percent / 100.0),
        None => Err("write it like 1%, above 0% and up to 100%".to_owned()),
    }
}
