//! `towpath ddl`

use std::path::Path;

use super::Outcome;
use crate::Result;
use crate::config::Job;
use crate::job::{Problems, connect_beside, prepare};
use crate::output::sayln;
use crate::target::Target;

pub(super) async fn run(path: &Path) -> Result<Outcome> {
    let job = Job::load(path)?;
    let target = connect_beside(&job).await?;
    let client = target.client();
    let prepared = prepare(&job, client.as_ref()).await.map_err(Problems::into_error);
    target.stop().await;
    let mut printed = std::collections::HashSet::new();
    for mapping in &prepared?.mappings {
        for statement in client.ddl(&mapping.target) {
            // The database of several tables is made once.
            if printed.insert(statement.clone()) {
                sayln!("{statement};\n");
            }
        }
    }
    Ok(Outcome::Done)
}
