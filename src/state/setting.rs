//! Parameters that were changed with `towpath set`, and whether the job is paused. They hold until they are taken
//! back, over restarts too; a running job looks for them every second.

use std::collections::BTreeMap;

use super::Store;
use crate::Result;
use crate::config::Setting;

/// The key that stands for `towpath pause`.
const PAUSED: &str = "paused";

/// What differs from the job file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    pub paused: bool,
    pub params: BTreeMap<String, f64>,
}

impl Store {
    pub fn settings(&self) -> Result<Settings> {
        let mut params: BTreeMap<String, f64> = self.with(|connection| {
            connection
                .prepare("SELECT key, value FROM setting")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })?;
        Ok(Settings { paused: params.remove(PAUSED).is_some(), params })
    }

    /// All of them at once.
    pub fn change_settings(&self, settings: &[Setting]) -> Result<()> {
        self.transaction(|transaction| {
            for Setting { key, value } in settings {
                match value {
                    Some(value) => transaction
                        .execute("INSERT OR REPLACE INTO setting (key, value) VALUES (?1, ?2)", (key, value))?,
                    None => transaction.execute("DELETE FROM setting WHERE key = ?1", [key])?,
                };
            }
            Ok(())
        })
    }

    pub fn set_paused(&self, paused: bool) -> Result<()> {
        self.change_settings(&[Setting { key: PAUSED.to_owned(), value: paused.then_some(1.0) }])
    }
}
