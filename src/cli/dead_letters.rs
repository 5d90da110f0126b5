//! `towpath dead-letters list|retry|drop`

use std::path::Path;

use serde_json::{Map, Value, json};

use super::Outcome;
use super::args::{DeadLetterAction, DeadLetterSelection};
use super::settings::never_run;
use crate::config::Job;
use crate::output::{say, sayln};
use crate::state::{DeadLetter, Filter, LetterState, Stage, Store};
use crate::{Error, Result};

/// Letters are printed in pages of about this many bytes: there may be more of them than memory.
const PAGE: usize = 4 << 20;
/// What the text form shows of a value.
const SHOWN: usize = 100;

pub(super) fn run(action: DeadLetterAction) -> Result<Outcome> {
    match action {
        DeadLetterAction::List { job, selection, all, json } => {
            let job = Job::load(&job)?;
            let store = Store::read(&job.state_dir, &job.name)?.ok_or_else(|| never_run(&job))?;
            list(&store, &Filter { live: !all, ..filter(selection) }, json)
        }
        DeadLetterAction::Retry { job, selection } => {
            let (job, store) = open(&job)?;
            retry(&job, &store, &filter(selection))
        }
        DeadLetterAction::Drop { yes: false, .. } => Err(Error::usage("dropped rows are never loaded: say --yes")
            .hint("`towpath dead-letters list --all JOB` shows them")),
        DeadLetterAction::Drop { job, selection, yes: true } => {
            let dropped = open(&job)?.1.drop_letters(&filter(selection))?;
            sayln!("dropped: {dropped}");
            Ok(Outcome::Done)
        }
    }
}

fn filter(selection: DeadLetterSelection) -> Filter {
    Filter { tables: selection.table, ids: selection.id, live: false }
}

fn open(path: &Path) -> Result<(Job, Store)> {
    let job = Job::load(path)?;
    let store = Store::amend(&job.state_dir, &job.name)?.ok_or_else(|| never_run(&job))?;
    Ok((job, store))
}

fn list(store: &Store, filter: &Filter, as_json: bool) -> Result<Outcome> {
    let (mut last, mut listed) = (0, 0);
    if as_json {
        say!("[");
    }
    loop {
        let letters = store.letters(filter, last, PAGE)?;
        let Some(newest) = letters.last() else { break };
        last = newest.id;
        for letter in &letters {
            match as_json {
                true => say!("{}{}", if listed > 0 { ",\n " } else { "" }, json_of(letter)?),
                false => print_text(letter)?,
            }
            listed += 1;
        }
    }
    if as_json {
        sayln!("]");
    } else {
        sayln!("{listed} dead letter(s)");
    }
    Ok(Outcome::Done)
}

fn json_of(letter: &DeadLetter) -> Result<Value> {
    let row: Map<String, Value> =
        letter.row()?.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    let key: Value = serde_json::from_str(&letter.key).unwrap_or_else(|_| json!(letter.key));
    Ok(json!({
        "id": letter.id,
        "table": letter.table.to_string(),
        "state": letter.state.as_str(),
        "operation": operation(letter),
        "key": key,
        "column": letter.column,
        "reason": letter.reason,
        "row": row,
        "canBeSent": letter.shape.format.is_some(),
        "begin": letter.begin,
        "end": letter.end,
        "refusedAt": time(letter.refused_at),
        "settledAt": letter.settled_at.map(time),
        "retries": letter.tries,
    }))
}

fn print_text(letter: &DeadLetter) -> Result<()> {
    let row: Vec<String> = letter
        .row()?
        .into_iter()
        .map(|(name, value)| format!("{name}={}", value.map_or_else(|| "NULL".to_owned(), |value| shortened(&value))))
        .collect();
    sayln!("#{}  {}  {}  {}  key {}", letter.id, letter.table, letter.state.as_str(), operation(letter), letter.key);
    let column = letter.column.as_ref().map(|column| format!("column {column}: ")).unwrap_or_default();
    sayln!("    {column}{}", letter.reason);
    let place = match letter.begin == letter.end {
        // The full copy, or a transaction that was larger than memory.
        true => format!("at or behind {}", letter.begin),
        false => format!("between {} and {}", letter.begin, letter.end),
    };
    sayln!("    in the log {place}; refused {}", time(letter.refused_at));
    if letter.shape.format.is_none() && matches!(letter.state, LetterState::Open) {
        sayln!("    cannot be sent again: change the row at the source, or drop the letter");
    }
    sayln!("    {}", row.join(", "));
    Ok(())
}

fn operation(letter: &DeadLetter) -> &'static str {
    match (letter.delete, letter.shape.partial) {
        (true, _) => "delete",
        (false, true) => "partial update",
        (false, false) => "upsert",
    }
}

fn shortened(value: &str) -> String {
    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}… ({} bytes)", &value[..end], value.len()),
        None => format!("{value:?}"),
    }
}

fn time(micros: u64) -> String {
    jiff::Timestamp::from_microsecond(micros as i64).map_or_else(|_| micros.to_string(), |at| at.to_string())
}

fn retry(job: &Job, store: &Store, filter: &Filter) -> Result<Outcome> {
    let (marked, unfit) = store.ask_for_retry(filter)?;
    sayln!("to be sent again: {marked}");
    if unfit > 0 {
        sayln!(
            "cannot be sent: {unfit}; they hold a value that cannot be written for the target: change the row at the source, \
             or drop the letter"
        );
    }
    if marked > 0 {
        let stage = store.identity()?.map(|identity| identity.stage);
        sayln!(
            "{}",
            match (Store::is_running(&job.state_dir, &job.name), stage) {
                (true, Some(Stage::Incremental)) => "the running job sends them after its present epoch; see `list`",
                (true, _) => "the running job sends them once the copy is done and the log is followed",
                (false, _) => "the job is not running: the next `towpath run` sends them",
            }
        );
    }
    Ok(Outcome::Done)
}
