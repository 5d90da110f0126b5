//! Parameters that may be changed while a job runs (`towpath set`).

use super::fields::{PARAMS, Shape};
use super::model::Params;
use super::reader::nearest;
use crate::{Error, Result};

/// What may be changed; everything else is fixed for the life of a run.
const KEYS: [&str; 5] = ["realFlushPauseSec", "increBatchSize", "fullBatchSize", "rateLimitRps", "rateLimitMbps"];

/// One change: `key=value`, or `key=` for what the job file says.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    pub key: String,
    /// `None`: what the job file says.
    pub value: Option<f64>,
}

impl Setting {
    /// Reads `key=value`.
    ///
    /// # Errors
    /// Wrong use: no such parameter, none that can be changed, a value that the job file could not have either.
    pub fn parse(text: &str) -> Result<Setting> {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            Error::usage(format!("{text:?} is no setting")).hint("write key=value, as in rateLimitRps=5000")
        })?;
        Setting::new(key.trim(), value.trim())
    }

    /// # Errors
    /// As [`Setting::parse`].
    pub fn new(key: &str, value: &str) -> Result<Setting> {
        let fail = |message: String| {
            Error::usage(message).hint(format!("these can be changed while a job runs: {}", KEYS.join(", ")))
        };
        if !KEYS.contains(&key) {
            let known = PARAMS.iter().any(|field| field.key == key);
            return Err(match nearest(key, KEYS.into_iter()) {
                Some(near) => fail(format!("{key}: no such parameter; did you mean `{near}`?")),
                None if known => fail(format!(
                    "{key} cannot be changed while a job runs: change the job file and start the job again"
                )),
                None => fail(format!("{key}: no such parameter")),
            });
        }
        if value.is_empty() {
            return Ok(Setting { key: key.to_owned(), value: None });
        }
        let shape = PARAMS.iter().find(|field| field.key == key).map(|field| &field.shape);
        let number = match shape {
            Some(Shape::Integer(least, most)) => {
                value.parse().ok().filter(|number| (least..=most).contains(&number)).map(|number: u64| number as f64)
            }
            Some(Shape::Number(least, most)) => {
                value.parse().ok().filter(|number| (*least as f64..=*most as f64).contains(number))
            }
            _ => None,
        };
        let range = match shape {
            Some(Shape::Integer(least, most)) => format!("a whole number from {least} to {most}"),
            Some(Shape::Number(least, most)) => format!("a number from {least} to {most}"),
            _ => String::new(),
        };
        match number {
            Some(number) => Ok(Setting { key: key.to_owned(), value: Some(number) }),
            None => Err(Error::usage(format!("{key}: {value:?} is not {range}"))),
        }
    }
}

impl Params {
    /// Takes over a setting that `Setting` has let pass.
    pub fn set(&mut self, key: &str, value: f64) {
        match key {
            "realFlushPauseSec" => self.real_flush_pause_sec = value,
            "increBatchSize" => self.incre_batch_size = value as usize,
            "fullBatchSize" => self.full_batch_size = value as usize,
            "rateLimitRps" => self.rate_limit_rps = value as u64,
            "rateLimitMbps" => self.rate_limit_mbps = value,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_checked_as_the_job_file_is() {
        assert_eq!(Setting::parse("rateLimitRps = 5000").unwrap().value, Some(5000.0));
        assert_eq!(Setting::parse("realFlushPauseSec=0.5").unwrap().value, Some(0.5));
        assert_eq!(Setting::parse("increBatchSize=").unwrap().value, None);
        for (text, message) in [
            ("rateLimitRps", "\"rateLimitRps\" is no setting"),
            ("rateLimitRsp=1", "did you mean `rateLimitRps`?"),
            ("increBatchSize=0", "\"0\" is not a whole number from 1 to 100000000"),
            ("increBatchSize=2.5", "is not a whole number"),
            ("realFlushPauseSec=3601", "is not a number from 0 to 3600"),
            ("realFlushPauseSec=NaN", "is not a number from 0 to 3600"),
            ("writeParallel=8", "writeParallel cannot be changed while a job runs"),
            ("colour=8", "colour: no such parameter"),
        ] {
            let error = Setting::parse(text).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn every_setting_changes_its_parameter() {
        for key in KEYS {
            let mut params = Params::default();
            params.set(key, 7.0);
            assert_ne!(params, Params::default(), "{key}");
        }
    }
}
