//! What is known of a job's comparisons as a whole: how they have ended, what they have found and nobody has mended, and
//! when the next one comes.
//!
//! Runs are written by any process ([`super::verify_run`]) and only the newest are kept, so what has to outlive them is
//! counted beside them: how many have ended how, and when the last good one ended. Good is a run that found both sides
//! equal and that nobody has narrowed by hand: equality of one table says nothing of the others.
//!
//! What is found is told by table: as the newest run that could judge a table has it. Rows that a correction has mended since
//! are not open any more.

use std::collections::{HashMap, HashSet};

use rusqlite::{OptionalExtension as _, Transaction};
use serde::Deserialize;

use super::{RunOutcome, RunRecord, Store, now_micros};
use crate::config::Schedule;
use crate::schema::TableName;
use crate::{Error, Result};

/// The store's step that makes room for it.
pub(super) const TABLES: &str = "
    ALTER TABLE verify_run ADD COLUMN scheduled INTEGER NOT NULL DEFAULT 0; -- 1: the job made it by itself
    ALTER TABLE verify_run ADD COLUMN narrowed INTEGER NOT NULL DEFAULT 0;  -- 1: somebody chose tables, columns or rows for it
    ALTER TABLE verify_run ADD COLUMN error TEXT;                           -- why nothing was compared
    CREATE TABLE verify_count (
        what TEXT PRIMARY KEY,         -- see state::verification::Counted
        number INTEGER NOT NULL,
        last_at INTEGER NOT NULL       -- microseconds since 1970, ours
    ) STRICT;
    INSERT INTO verify_count SELECT outcome, count(*), max(ended_at) FROM verify_run GROUP BY outcome;
    INSERT INTO verify_count SELECT 'good', number, last_at FROM verify_count WHERE what = 'equal';
    CREATE TABLE verify_plan (         -- there is a row while a job that follows the log has a schedule
        id INTEGER PRIMARY KEY CHECK (id = 1),
        schedule TEXT NOT NULL,        -- as in the job file
        zone TEXT,
        since INTEGER NOT NULL,        -- when it was first followed; microseconds since 1970, ours
        next_at INTEGER NOT NULL,
        begun_at INTEGER               -- a comparison is under way
    ) STRICT;
    CREATE INDEX correction_of_run ON correction (run);
";

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    Run(RunOutcome),
    /// Runs that say something of the whole job, and that it is equal.
    Good,
    /// Times of the schedule at which the last comparison still ran.
    Skipped,
    /// Rows of corrections.
    Sent,
    Overtaken,
    NotCorrected,
    /// Corrections of a whole run that were not begun: too many rows would have been deleted.
    Refused,
}

impl Counted {
    fn name(self) -> &'static str {
        match self {
            Counted::Run(outcome) => outcome.as_str(),
            Counted::Good => "good",
            Counted::Skipped => "skipped",
            Counted::Sent => "rows sent",
            Counted::Overtaken => "rows overtaken",
            Counted::NotCorrected => "rows not corrected",
            Counted::Refused => "refused",
        }
    }
}

/// Counts `number` more, at `at`.
pub(super) fn count(transaction: &Transaction<'_>, what: Counted, number: u64, at: u64) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO verify_count (what, number, last_at) VALUES (?1, ?2, ?3)
             ON CONFLICT (what) DO UPDATE SET number = number + excluded.number, last_at = excluded.last_at",
        )?
        .execute((what.name(), number as i64, at as i64))
        .map(drop)
}

/// A job's comparisons.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verification {
    pub last: Option<LastRun>,
    /// When the last good run ended, microseconds since 1970, ours.
    pub good_at: Option<u64>,
    /// Runs by how they ended.
    pub equal: u64,
    pub different: u64,
    pub failed: u64,
    /// Times of the schedule that were left out.
    pub skipped: u64,
    /// Rows of corrections: written or deleted; written by the stream meanwhile; neither.
    pub sent: u64,
    pub overtaken: u64,
    pub not_corrected: u64,
    /// Runs whose differences the job did not correct by itself.
    pub refused: u64,
    /// Each table as it was judged last.
    pub tables: Vec<TableResult>,
    pub plan: Option<VerifyPlan>,
}

/// The newest run.
#[derive(Debug, Clone, PartialEq)]
pub struct LastRun {
    pub id: u64,
    pub scheduled: bool,
    /// Microseconds since 1970, ours.
    pub begun_at: u64,
    pub ended_at: u64,
    pub outcome: RunOutcome,
    /// Rows of the source that were compared.
    pub rows: u64,
    pub differences: u64,
    pub error: Option<String>,
}

/// What the newest run that could judge a table says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableResult {
    pub table: TableName,
    pub rows: u64,
    pub missing: u64,
    pub extra: u64,
    pub different: u64,
    /// What the target's table lacks.
    pub schema: u64,
    /// So many of the rows were corrected since.
    pub mended: u64,
}

impl TableResult {
    pub fn differences(&self) -> u64 {
        self.missing + self.extra + self.different + self.schema
    }

    /// Differences that nobody has mended.
    pub fn open(&self) -> u64 {
        self.differences().saturating_sub(self.mended)
    }
}

/// What the job means to do.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifyPlan {
    pub schedule: Schedule,
    /// When the job first followed this schedule; microseconds since 1970, ours, as all of these.
    pub since: u64,
    pub next_at: u64,
    /// A comparison is under way since.
    pub begun_at: Option<u64>,
}

impl Verification {
    /// How many times of the schedule have passed since the last good run ended, or, without one, since the schedule is
    /// followed; counted up to `most`. 0 without a schedule.
    pub fn overdue(&self, now: u64, most: u64) -> u64 {
        let Some(plan) = &self.plan else { return 0 };
        let at = |micros: u64| jiff::Timestamp::from_microsecond(micros as i64).ok();
        match (at(self.good_at.unwrap_or(0).max(plan.since)), at(now)) {
            (Some(since), Some(now)) => plan.schedule.times(since, now, most),
            _ => 0,
        }
    }

    /// Differences that nobody has mended.
    pub fn open(&self) -> u64 {
        self.tables.iter().map(TableResult::open).sum()
    }
}

/// Of a run's report, what is counted here.
#[derive(Deserialize)]
struct Report {
    tables: Vec<TableReport>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TableReport {
    table: TableName,
    rows: u64,
    missing: u64,
    extra: u64,
    different: u64,
    #[serde(default)]
    in_flight: u64,
    unjudged: u64,
    schema: Vec<String>,
    error: Option<String>,
}

impl TableReport {
    fn result(&self) -> TableResult {
        TableResult {
            table: self.table.clone(),
            rows: self.rows,
            missing: self.missing,
            extra: self.extra,
            different: self.different,
            schema: self.schema.len() as u64,
            mended: 0,
        }
    }

    /// What was found is so, even where some of it could not be judged; that nothing was found means something only where
    /// all of it could.
    fn is_judged(&self) -> bool {
        self.result().differences() > 0 || (self.error.is_none() && self.in_flight + self.unjudged == 0)
    }
}

impl Store {
    /// Says when the job will compare by itself. `next_at`: microseconds since 1970.
    pub fn plan_verification(&self, schedule: &Schedule, next_at: u64) -> Result<()> {
        self.transaction(|transaction| {
            transaction.execute(
                "INSERT INTO verify_plan (id, schedule, zone, since, next_at) VALUES (1, ?1, ?2, ?3, ?4)
                 ON CONFLICT (id) DO UPDATE SET
                     since = CASE WHEN schedule = excluded.schedule AND zone IS excluded.zone THEN since ELSE excluded.since END,
                     schedule = excluded.schedule, zone = excluded.zone, next_at = excluded.next_at, begun_at = NULL",
                (schedule.expression(), schedule.zone_name(), now_micros() as i64, next_at as i64),
            )
        })?;
        Ok(())
    }

    /// The job has no schedule (any more).
    pub fn forget_verification_plan(&self) -> Result<()> {
        let planned: bool = self.with(|connection| {
            connection.query_row("SELECT EXISTS (SELECT 1 FROM verify_plan)", [], |row| row.get(0))
        })?;
        if planned {
            self.transaction(|transaction| transaction.execute("DELETE FROM verify_plan", []))?;
        }
        Ok(())
    }

    /// The comparison that was planned is under way.
    pub fn verification_begins(&self) -> Result<()> {
        self.transaction(|transaction| {
            transaction.execute("UPDATE verify_plan SET begun_at = ?1", [now_micros() as i64])
        })?;
        Ok(())
    }

    /// So many times of the schedule were left out.
    pub fn verification_skipped(&self, times: u64) -> Result<()> {
        self.transaction(|transaction| count(transaction, Counted::Skipped, times, now_micros()))
    }

    /// What a run has found was not corrected: somebody has to allow it.
    pub fn correction_refused(&self) -> Result<()> {
        self.transaction(|transaction| count(transaction, Counted::Refused, 1, now_micros()))
    }

    /// All that is known of the job's comparisons.
    pub fn verification(&self) -> Result<Verification> {
        let counts: HashMap<String, (u64, u64)> = self.with(|connection| {
            connection
                .prepare_cached("SELECT what, number, last_at FROM verify_count")?
                .query_map([], |row| Ok((row.get(0)?, (row.get::<_, i64>(1)? as u64, row.get::<_, i64>(2)? as u64))))?
                .collect()
        })?;
        let number = |what: Counted| counts.get(what.name()).map_or(0, |(number, _)| *number);
        let mut runs = self.runs()?;
        runs.reverse();
        let reports: Vec<Report> = runs.iter().map(|run| self.report(run)).collect::<Result<_>>()?;
        let last = runs.first().zip(reports.first()).map(|(run, report)| LastRun {
            id: run.id,
            scheduled: run.scheduled,
            begun_at: run.begun_at,
            ended_at: run.ended_at,
            outcome: run.outcome,
            rows: report.tables.iter().map(|table| table.rows).sum(),
            differences: report.tables.iter().map(|table| table.result().differences()).sum(),
            error: run.error.clone(),
        });
        Ok(Verification {
            last,
            good_at: counts.get(Counted::Good.name()).map(|(_, at)| *at),
            equal: number(Counted::Run(RunOutcome::Equal)),
            different: number(Counted::Run(RunOutcome::Different)),
            failed: number(Counted::Run(RunOutcome::Failed)),
            skipped: number(Counted::Skipped),
            sent: number(Counted::Sent),
            overtaken: number(Counted::Overtaken),
            not_corrected: number(Counted::NotCorrected),
            refused: number(Counted::Refused),
            tables: self.latest_results(&runs, &reports)?,
            plan: self.verify_plan()?,
        })
    }

    fn report(&self, run: &RunRecord) -> Result<Report> {
        match run.error {
            // Nothing was compared.
            Some(_) => Ok(Report { tables: Vec::new() }),
            None => self.parse("verify_run.report", &run.report),
        }
    }

    /// Each table by the newest run that could judge it, of the tables that the newest run of all of them knows, and any that
    /// was compared since. `runs` has the newest first.
    fn latest_results(&self, runs: &[RunRecord], reports: &[Report]) -> Result<Vec<TableResult>> {
        let mut known: Option<HashSet<&TableName>> = None;
        let mut seen: HashSet<&TableName> = HashSet::new();
        let mut results = Vec::new();
        for (run, report) in runs.iter().zip(reports) {
            if known.is_none() && !run.narrowed && run.error.is_none() {
                known = Some(report.tables.iter().map(|table| &table.table).chain(seen.iter().copied()).collect());
            }
            let mut mended: Option<HashMap<TableName, u64>> = None;
            for table in report.tables.iter().filter(|table| table.is_judged()) {
                if known.as_ref().is_some_and(|known| !known.contains(&table.table)) || !seen.insert(&table.table) {
                    continue;
                }
                let mut result = table.result();
                if result.differences() > 0 {
                    if mended.is_none() {
                        mended = Some(self.mended(run.id)?);
                    }
                    result.mended = mended.as_ref().and_then(|mended| mended.get(&table.table)).copied().unwrap_or(0);
                }
                results.push(result);
            }
            if known.as_ref().is_some_and(|known| known.iter().all(|table| seen.contains(*table))) {
                break;
            }
        }
        results.sort_unstable_by(|left, right| left.table.cmp(&right.table));
        Ok(results)
    }

    /// Rows that a run found and a correction has mended, by table.
    fn mended(&self, run: u64) -> Result<HashMap<TableName, u64>> {
        self.with(|connection| {
            connection
                .prepare_cached(
                    "SELECT database, name, count(DISTINCT key) FROM correction
                     WHERE run = ?1 AND outcome IN ('\"sent\"', '\"overtaken\"') GROUP BY database, name",
                )?
                .query_map([run as i64], |row| {
                    let table = TableName::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?);
                    Ok((table, row.get::<_, i64>(2)? as u64))
                })?
                .collect()
        })
    }

    fn verify_plan(&self) -> Result<Option<VerifyPlan>> {
        type Found = (String, Option<String>, i64, i64, Option<i64>);
        let found: Option<Found> = self.with(|connection| {
            connection
                .query_row("SELECT schedule, zone, since, next_at, begun_at FROM verify_plan", [], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
                })
                .optional()
        })?;
        found
            .map(|(schedule, zone, since, next_at, begun_at)| {
                let schedule = Schedule::parse(&schedule, zone.as_deref())
                    .map_err(|why| -> Error { self.corrupt("verify_plan.schedule").caused_by(why) })?;
                let begun_at = begun_at.map(|at| at as u64);
                Ok(VerifyPlan { schedule, since: since as u64, next_at: next_at as u64, begun_at })
            })
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::state::{CorrectionOutcome, DifferenceKind, DifferenceRecord};

    fn table(name: &str, missing: u64, unjudged: u64) -> Value {
        json!({"table": {"database": "shop", "table": name}, "rows": 100, "missing": missing, "extra": 0, "different": 0,
               "unjudged": unjudged, "schema": [], "error": null})
    }

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), "shop").unwrap();
        (folder, store)
    }

    fn ended(store: &Store, narrowed: bool, ended_at: u64, outcome: RunOutcome, tables: &[Value]) -> u64 {
        store.begin_run().unwrap();
        let report = json!({"tables": tables}).to_string();
        let run = RunRecord { narrowed, begun_at: ended_at - 1, ended_at, outcome, report, ..RunRecord::default() };
        store.end_run(&run).unwrap()
    }

    fn open(store: &Store) -> Vec<(String, u64)> {
        let tables = store.verification().unwrap().tables;
        tables.into_iter().map(|result| (result.table.table.clone(), result.open())).collect()
    }

    fn list(tables: &[(&str, u64)]) -> Vec<(String, u64)> {
        tables.iter().map(|(table, open)| ((*table).to_owned(), *open)).collect()
    }

    #[test]
    fn the_last_good_run_outlives_those_that_are_forgotten() {
        let (_folder, store) = store();
        assert_eq!(store.verification().unwrap(), Verification::default());
        ended(&store, false, 7, RunOutcome::Equal, &[table("t", 0, 0)]);
        for at in 100..130 {
            ended(&store, false, at, RunOutcome::Different, &[table("t", 1, 0)]);
        }
        let known = store.verification().unwrap();
        assert_eq!((known.good_at, known.equal, known.different, known.failed), (Some(7), 1, 30, 0));
        let last = known.last.unwrap();
        assert_eq!((last.id, last.ended_at, last.rows, last.differences), (31, 129, 100, 1));
    }

    #[test]
    fn equality_of_a_part_is_no_good_run_and_hides_nothing_of_the_rest() {
        let (_folder, store) = store();
        ended(&store, false, 10, RunOutcome::Different, &[table("a", 2, 0), table("b", 3, 0), table("gone", 1, 0)]);
        ended(&store, false, 20, RunOutcome::Different, &[table("a", 2, 0), table("b", 3, 0)]);
        ended(&store, true, 30, RunOutcome::Equal, &[table("a", 0, 0)]);
        assert_eq!(store.verification().unwrap().good_at, None);
        assert_eq!(open(&store), list(&[("a", 0), ("b", 3)]), "the newest whole run knows no table `gone`");
    }

    #[test]
    fn a_run_that_could_not_judge_a_table_leaves_what_was_known_of_it() {
        let (_folder, store) = store();
        ended(&store, false, 10, RunOutcome::Different, &[table("a", 2, 0), table("b", 1, 0)]);
        ended(&store, false, 20, RunOutcome::Different, &[table("a", 0, 9), table("b", 4, 1)]);
        store.begin_run().unwrap();
        let error = Some("the source is away".to_owned());
        store.end_run(&RunRecord { outcome: RunOutcome::Failed, ended_at: 30, error, ..RunRecord::default() }).unwrap();
        assert_eq!(open(&store), list(&[("a", 2), ("b", 4)]));
        let last = store.verification().unwrap().last.unwrap();
        assert_eq!((last.outcome, last.error.as_deref()), (RunOutcome::Failed, Some("the source is away")));
    }

    #[test]
    fn what_a_correction_has_mended_is_open_no_more() {
        let (_folder, store) = store();
        let run = ended(&store, false, 10, RunOutcome::Different, &[table("a", 3, 0)]);
        let difference = |key: u8| DifferenceRecord {
            table: TableName::new("shop", "a"),
            kind: DifferenceKind::Missing,
            key: vec![key],
            position: None,
            detail: "{}".into(),
        };
        let ids = |key| store.ask_for_correction(run, &[difference(key)]).unwrap().collect::<Vec<_>>();
        store.corrected(&ids(1), &CorrectionOutcome::Sent).unwrap();
        store.corrected(&ids(1), &CorrectionOutcome::Sent).unwrap();
        store.corrected(&ids(2), &CorrectionOutcome::Overtaken).unwrap();
        store.corrected(&ids(3), &CorrectionOutcome::Failed("no".into())).unwrap();
        assert_eq!(open(&store), list(&[("a", 1)]), "twice the same row is one row");
        let known = store.verification().unwrap();
        assert_eq!((known.sent, known.overtaken, known.not_corrected), (2, 1, 1));
    }

    #[test]
    fn overdue_counts_the_times_since_the_last_good_run_or_since_the_schedule() {
        let (_folder, store) = store();
        let minutes = Schedule::parse("* * * * *", Some("UTC")).unwrap();
        assert_eq!(store.verification().unwrap().overdue(now_micros(), 100), 0, "there is no schedule");
        store.plan_verification(&minutes, 1).unwrap();
        let since = store.verification().unwrap().plan.unwrap().since;
        let minute = 60_000_000;
        let overdue = |now| store.verification().unwrap().overdue(now, 100);
        assert_eq!((overdue(since), overdue(since + 5 * minute), overdue(since + 500 * minute)), (0, 5, 100));
        ended(&store, false, since + 3 * minute, RunOutcome::Equal, &[table("a", 0, 0)]);
        assert_eq!(overdue(since + 5 * minute), 2);
        ended(&store, true, since + 4 * minute, RunOutcome::Equal, &[table("a", 0, 0)]);
        ended(&store, false, since + 5 * minute, RunOutcome::Failed, &[table("a", 0, 1)]);
        assert_eq!(overdue(since + 5 * minute), 2, "neither was a good one");
    }

    #[test]
    fn a_plan_keeps_its_beginning_until_it_is_another_one() {
        let (_folder, store) = store();
        let plan = || store.verification().unwrap().plan;
        let nightly = Schedule::parse("0 3 * * *", Some("UTC")).unwrap();
        store.plan_verification(&nightly, 5).unwrap();
        store.verification_begins().unwrap();
        let first = plan().unwrap();
        assert_eq!((&first.schedule, first.next_at, first.begun_at.is_some()), (&nightly, 5, true));
        store.plan_verification(&nightly, 6).unwrap();
        assert_eq!(plan().unwrap(), VerifyPlan { next_at: 6, begun_at: None, ..first.clone() });
        store.plan_verification(&Schedule::parse("0 3 * * *", None).unwrap(), 7).unwrap();
        assert!(plan().unwrap().since > first.since);
        store.forget_verification_plan().unwrap();
        assert_eq!(plan(), None);
    }
}
