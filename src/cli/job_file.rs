//! `towpath schema --job-file`

use super::Outcome;
use crate::output::sayln;
use crate::{Error, Result, config};

pub(super) fn print_schema() -> Result<Outcome> {
    let text = serde_json::to_string_pretty(&config::json_schema())
        .map_err(|error| Error::definite("cannot print the schema").caused_by(error))?;
    sayln!("{text}");
    Ok(Outcome::Done)
}
