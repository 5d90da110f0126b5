//! What must be right at the source before a job starts, and what its operator should know.
//!
//! Privileges are tried, not read: the statement that needs the privilege is sent. That is right for roles (active or
//! not), wildcards, partial revokes and privileges on columns, in every version. The one exception is MariaDB's
//! REPLICATION SLAVE, which no harmless statement needs; there SHOW GRANTS is read.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};

use super::catalog::literal;
use super::connect::{Flavor, ServerInfo, Session, optional, select, source_error, text};
use super::position::{Position, logs};
use super::snapshot::may_lock;
use crate::config::{Job, NoKeyTables, SourceType, Startup};
use crate::schema::{ColumnType, Generated, Table, TableName, quote};
use crate::state::now_micros;
use crate::{Error, Result};

/// What `check` found.
#[derive(Debug, Default)]
pub struct Report {
    /// Each keeps the job from starting, and says what to run.
    pub problems: Vec<Error>,
    pub warnings: Vec<String>,
}

/// Oldest versions whose binlog and catalogue we know.
const OLDEST_MYSQL: (u16, u16, u16) = (5, 7, 0);
const OLDEST_MARIADB: (u16, u16, u16) = (10, 2, 7);

const DAY: u64 = 86_400;

/// Tables that are tried with one round trip.
const TRIED_TOGETHER: usize = 64;

/// The host name under which a job's dump connection registers at the source (`SHOW REPLICAS`), so that a job knows
/// its own connection when a run that was killed has left one behind.
pub fn replica_host(job: &str) -> String {
    format!("towpath-{job}")
}

/// Checks the source for `job`. A failure to ask is a problem too; nothing is changed at the source.
pub async fn check(conn: &mut Conn, job: &Job, info: &ServerInfo, tables: &[Table]) -> Report {
    let mut report = check_log(conn, job, info, tables).await;
    let checked = check_tables(conn, job, tables, &mut report).await;
    report.problems.extend(checked.err());
    if matches!(job.source.startup, Startup::Initial | Startup::Full) {
        let checked = check_whole_copies(conn, info, tables, &mut report).await;
        report.problems.extend(checked.err());
    }
    report
}

/// What following the log needs. `tables` are as they were at the place where it goes on; the source's may be others now.
pub async fn check_log(conn: &mut Conn, job: &Job, info: &ServerInfo, tables: &[Table]) -> Report {
    let mut report = Report::default();
    check_product(job, info, &mut report);
    // Full data alone reads no binlog.
    if job.source.startup != Startup::Full {
        check_binlog_settings(info, &mut report);
        check_row_image(info, tables, &mut report);
        check_whole_images(info, tables, &mut report);
        check_startup(job, info, &mut report);
        let checked = check_replication(conn, job, info, tables, &mut report).await;
        report.problems.extend(checked.err());
    }
    report
}

fn check_product(job: &Job, info: &ServerInfo, report: &mut Report) {
    let oldest = match info.flavor {
        Flavor::Mysql => OLDEST_MYSQL,
        Flavor::Mariadb => OLDEST_MARIADB,
    };
    if info.version < oldest {
        let (major, minor, patch) = oldest;
        report.problems.push(
            Error::definite(format!("the source is {}, which is not supported", info.product()))
                .hint(format!("upgrade it to {major}.{minor}.{patch} or later")),
        );
    }
    let (wanted, name) = match job.source.kind {
        Some(SourceType::Mysql) => (Flavor::Mysql, "mysql"),
        Some(SourceType::Mariadb) => (Flavor::Mariadb, "mariadb"),
        None => return,
    };
    if wanted != info.flavor {
        report.problems.push(
            Error::definite(format!("source.type is {name}, and the source is {}", info.product()))
                .hint("correct source.type, or leave it out"),
        );
    }
}

fn check_binlog_settings(info: &ServerInfo, report: &mut Report) {
    let is = |name: &str, value: &str| info.variable(name).is_some_and(|found| found.eq_ignore_ascii_case(value));
    let mut problem = |what: String, hint: &str| report.problems.push(Error::definite(what).hint(hint));
    if !is("log_bin", "ON") && !is("log_bin", "1") {
        problem(
            "the source writes no binlog (log_bin is OFF)".to_owned(),
            "set log_bin and server_id in the server's configuration and restart it",
        );
        return;
    }
    if info.server_id == 0 {
        problem(
            "the source's server_id is 0, with which it serves no replica".to_owned(),
            "SET GLOBAL server_id = 1, and set it in the server's configuration",
        );
    }
    let set = |name: &str, value: &str| match info.flavor {
        Flavor::Mysql if info.version >= (8, 0, 0) => format!("SET PERSIST {name} = '{value}'"),
        _ => format!("SET GLOBAL {name} = '{value}' and set it in the server's configuration"),
    };
    let sessions = "sessions that are open keep the old value until they connect again";
    if let Some(found) = info.variable("binlog_format").filter(|found| !found.eq_ignore_ascii_case("ROW")) {
        let hint = format!("{}; {sessions}", set("binlog_format", "ROW"));
        problem(format!("the source's binlog_format is {found}; it must be ROW"), &hint);
    }
    let partial =
        info.variable("binlog_row_value_options").is_some_and(|found| found.to_uppercase().contains("PARTIAL_JSON"));
    let image = info.variable("binlog_row_image").filter(|image| !image.eq_ignore_ascii_case("FULL"));
    if let (true, Some(image)) = (partial, image) {
        let hint =
            format!("{}; or {}; {sessions}", set("binlog_row_value_options", ""), set("binlog_row_image", "FULL"));
        problem(
            format!(
                "the source's binlog_row_value_options is PARTIAL_JSON and its binlog_row_image {image}: the log has changes \
                 of JSON values and not the values that they change"
            ),
            &hint,
        );
    }
    if let Some(kept) = info.retention().filter(|kept| kept.as_secs() < DAY) {
        report.warnings.push(format!(
            "the source deletes its binlog after {} (binlog_expire_logs_seconds): a job that rests longer must copy everything again",
            words(kept)
        ));
    }
}

/// Any `binlog_row_image` is followed; what some of them leave out of the log nobody can follow. Sessions may have another.
fn check_row_image(info: &ServerInfo, tables: &[Table], report: &mut Report) {
    let Some(image) = info.variable("binlog_row_image").filter(|image| !image.eq_ignore_ascii_case("FULL")) else {
        return;
    };
    report.warnings.push(format!(
        "the source's binlog_row_image is {image}: changes go to the target as partial updates, one load for each set of \
         columns; an UPDATE that changes a key stops the job, unless the same flush has read the whole row; FULL has no \
         such limits"
    ));
    if info.flavor != Flavor::Mariadb || image.eq_ignore_ascii_case("FULL_NODUP") {
        return;
    }
    report.warnings.push(format!(
        "MariaDB with binlog_row_image {image} does not log the columns that REPLACE resets to their defaults when the row \
         is there already: no replica sees them, and neither does the target; use FULL if the application uses REPLACE"
    ));
    if image.eq_ignore_ascii_case("MINIMAL") {
        for table in tables {
            let hidden = table.columns.iter().filter(|column| column.generated == Generated::Virtual);
            report.warnings.extend(hidden.map(|column| {
                format!(
                    "table {} column {}: MariaDB's minimal images have virtual columns only if they are indexed; \
                     without an index on it the job stops at the first change; NOBLOB and FULL log it",
                    table.name, column.name
                )
            }));
        }
    }
}

/// A row of a table without a key is known by all of its columns.
fn check_whole_images(info: &ServerInfo, tables: &[Table], report: &mut Report) {
    let image = info.variable("binlog_row_image").filter(|image| !image.eq_ignore_ascii_case("FULL"));
    let keyless = tables.iter().find(|table| table.key.is_empty());
    if let (Some(image), Some(table)) = (image, keyless) {
        report.problems.push(
            Error::definite(format!(
                "table {} has no key, so its rows are known only by all of their columns, and the source's binlog_row_image is \
                 {image}; it must be FULL",
                table.name
            ))
            .hint(
                "SET GLOBAL binlog_row_image = 'FULL'; sessions that are open keep the old value until they connect again; or \
                 give the table a primary key",
            ),
        );
    }
}

/// Tables without a key are copied as they are at one place of the log.
async fn check_whole_copies(conn: &mut Conn, info: &ServerInfo, tables: &[Table], report: &mut Report) -> Result<()> {
    let keyless: Vec<&Table> = tables.iter().filter(|table| table.key.is_empty()).collect();
    let mut databases: Vec<&str> = keyless.iter().map(|table| table.name.database.as_str()).collect();
    databases.dedup();
    for database in databases {
        if info.flavor == Flavor::Mysql && !may_lock(conn, database).await? {
            let user = current_user(conn).await?;
            report.problems.push(
                Error::definite(format!(
                    "the source's user {user} lacks LOCK TABLES on {database}: tables without a key are locked for a moment when \
                     their copy begins"
                ))
                .hint(format!("GRANT LOCK TABLES ON {}.* TO {user}", quote(database))),
            );
        }
        let statement = format!(
            "SELECT TABLE_NAME, ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} \
             AND ENGINE NOT IN ('InnoDB', 'ROCKSDB')",
            literal(database)
        );
        for row in select(conn, "reading the catalogue", &statement).await? {
            let name = TableName::new(database, text(&row, 0));
            if keyless.iter().any(|table| table.name == name) {
                report.problems.push(without_snapshots(&name, &optional(&row, 1).unwrap_or_default()));
            }
        }
    }
    Ok(())
}

/// Whether a table without a key can be seen as it is at one place of the log.
///
/// # Errors
/// Definite: it cannot. Those of the connection.
pub(crate) async fn check_engine(conn: &mut impl Session, table: &TableName) -> Result<()> {
    let statement = format!(
        "SELECT ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} \
         AND ENGINE NOT IN ('InnoDB', 'ROCKSDB')",
        literal(&table.database),
        literal(&table.table)
    );
    let rows = conn
        .rows(&statement)
        .await
        .map_err(|error| Error::transient(format!("asking for the engine of table {table}")).caused_by(error))?;
    match rows.first() {
        None => Ok(()),
        Some(row) => Err(without_snapshots(table, &optional(row, 0).unwrap_or_default())),
    }
}

fn without_snapshots(table: &TableName, engine: &str) -> Error {
    Error::definite(format!(
        "table {table} has no key and {engine} has no snapshots, so it cannot be copied as it is at one place of the log"
    ))
    .hint(format!(
        "ALTER TABLE {} ENGINE=InnoDB, give it a primary key, or leave it out with source.excludeTables",
        table.quoted()
    ))
}

/// Warns when the source may soon delete the log behind a job's position, of which the last transaction was committed
/// at `committed_at` (microseconds since 1970). A log file lives for the retention time after its last event, so for
/// at least that long after the position's; the file that is being written is not deleted.
pub async fn check_retention(
    conn: &mut Conn,
    info: &ServerInfo,
    position: &Position,
    committed_at: u64,
) -> Result<Option<String>> {
    let Some(kept) = info.retention().filter(|_| committed_at > 0) else { return Ok(None) };
    let age = Duration::from_micros(now_micros().saturating_sub(committed_at));
    if age < kept / 2 || logs(conn).await?.last().is_none_or(|log| log.file == position.file) {
        return Ok(None);
    }
    let left = match kept.saturating_sub(age) {
        Duration::ZERO => "any moment now".to_owned(),
        left => format!("within {}", words(left)),
    };
    Ok(Some(format!(
        "the job's position {}:{} is {} old, and the source deletes its binlog after {}: run the job {left}, or it must copy \
         everything again",
        position.file,
        position.offset,
        words(age),
        words(kept)
    )))
}

/// `3 hours`
fn words(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 172_800.. => format!("{} days", seconds / DAY),
        seconds @ 7_200.. => format!("{} hours", seconds / 3_600),
        seconds @ 120.. => format!("{} minutes", seconds / 60),
        seconds => format!("{seconds} seconds"),
    }
}

fn check_startup(job: &Job, info: &ServerInfo, report: &mut Report) {
    let Startup::Gtid(set) = &job.source.startup else { return };
    if !info.gtids {
        report.problems.push(
            Error::definite("source.startup gives a GTID set, and the source's gtid_mode is not ON").hint(
                "give {file, position} instead, or switch gtid_mode on at the source, step by step as in its manual",
            ),
        );
    }
    // MySQL's sets have colons (uuid:1-5), MariaDB's have none (0-1-270).
    let mysql = set.contains(':');
    if mysql != (info.flavor == Flavor::Mysql) {
        report.problems.push(
            Error::definite(format!("source.startup.gtid ({set}) is not in the form of {}", info.product()))
                .hint("MySQL: 3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5; MariaDB: 0-1-270"),
        );
    }
}

/// Privileges for the binlog, other replicas, filters.
async fn check_replication(
    conn: &mut Conn,
    job: &Job,
    info: &ServerInfo,
    tables: &[Table],
    report: &mut Report,
) -> Result<()> {
    let user = current_user(conn).await?;
    let mut missing = Vec::new();
    let mysql = info.flavor == Flavor::Mysql;
    let newer = |version| mysql && info.version >= version;

    let status = if newer((8, 2, 0)) { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" };
    match tried(conn, "asking for the binlog's position", status).await? {
        Some(rows) => report.problems.extend(rows.first().and_then(|row| check_filter(row, tables))),
        None if !mysql && info.version >= (10, 5, 2) => missing.push("BINLOG MONITOR"),
        None => missing.push("REPLICATION CLIENT"),
    }

    let replicas = if newer((8, 0, 22)) { "SHOW REPLICAS" } else { "SHOW SLAVE HOSTS" };
    match tried(conn, "asking for other replicas", replicas).await? {
        Some(rows) => report.problems.extend(check_server_id(job, info, &rows)),
        None if mysql => missing.push("REPLICATION SLAVE"),
        // It wants a privilege of administrators there, which we do not need.
        None => report.problems.extend(check_server_id(job, info, &[])),
    }
    let grants = select(conn, "reading privileges", "SHOW GRANTS").await?;
    let grants: Vec<String> = grants.iter().map(|row| text(row, 0)).collect();
    if !mysql && !has_global(&grants, "REPLICATION SLAVE") {
        missing.push("REPLICATION SLAVE");
    }
    if !missing.is_empty() {
        missing.sort_unstable();
        let missing = missing.join(", ");
        let mut hint = format!("GRANT {missing} ON *.* TO {user}");
        if grants.iter().any(|grant| is_role(grant)) {
            hint.push_str(&format!(
                "; if a role of the user has it, make the role active: SET DEFAULT ROLE {} {} {user}",
                if mysql { "ALL" } else { "…" },
                if mysql { "TO" } else { "FOR" },
            ));
        }
        report.problems.push(Error::definite(format!("the source's user {user} lacks {missing}")).hint(hint));
    }
    check_chain(conn, info, report).await
}

/// Runs a statement that needs a privilege; `None`: it is missing.
async fn tried(conn: &mut Conn, what: &str, statement: &str) -> Result<Option<Vec<Row>>> {
    match conn.query(statement).await {
        Ok(rows) => Ok(Some(rows)),
        Err(mysql_async::Error::Server(server)) if is_denied(server.code) => Ok(None),
        Err(error) => Err(source_error(what, error)),
    }
}

fn is_denied(code: u16) -> bool {
    matches!(code, 1044 | 1142 | 1143 | 1227 | 1370)
}

/// There is no such column, or no such table.
fn is_gone(code: u16) -> bool {
    matches!(code, 1054 | 1146)
}

/// `'name'@'host'`, as GRANT wants it.
async fn current_user(conn: &mut Conn) -> Result<String> {
    let rows = select(conn, "asking for the user", "SELECT CURRENT_USER()").await?;
    let user = rows.first().map(|row| text(row, 0)).unwrap_or_default();
    let (name, host) = user.rsplit_once('@').unwrap_or((&user, "%"));
    Ok(format!("{}@{}", literal(name), literal(host)))
}

/// A binlog that leaves out one of the job's databases. `row` is SHOW BINARY LOG STATUS. With row events the filters
/// look at the database of the table that changes.
fn check_filter(row: &Row, tables: &[Table]) -> Option<Error> {
    let names = |column| {
        let list = text(row, column);
        list.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect::<Vec<_>>()
    };
    let (only, without) = (names(2), names(3));
    let among = |names: &[String], database: &str| names.iter().any(|name| name == database);
    let left_out = |database: &&str| among(&without, database) || (!only.is_empty() && !among(&only, database));
    let database = tables.iter().map(|table| table.name.database.as_str()).find(left_out)?;
    Some(
        Error::definite(format!("the source leaves database {database} out of its binlog"))
            .hint("change binlog_do_db and binlog_ignore_db in the server's configuration and restart it"),
    )
}

/// `rows` is SHOW REPLICAS: id, host, port, …
fn check_server_id(job: &Job, info: &ServerInfo, rows: &[Row]) -> Option<Error> {
    let id = job.replica_id();
    if id == info.server_id {
        return Some(
            Error::definite(format!("server id {id} is the source's own"))
                .hint("set source.serverId to a number that no server or replica has"),
        );
    }
    let other = rows.iter().find(|row| text(row, 0).parse() == Ok(id))?;
    let host = text(other, 1);
    if host == replica_host(&job.name) {
        return None;
    }
    let at = if host.is_empty() { String::new() } else { format!(" (at {host})") };
    Some(
        Error::definite(format!("server id {id} is in use by another replica{at}"))
            .hint("set source.serverId to a number that no server or replica has; SHOW REPLICAS lists them"),
    )
}

/// Whether one of the lines of SHOW GRANTS gives `privilege` on everything.
fn has_global(grants: &[String], privilege: &str) -> bool {
    grants.iter().any(|grant| {
        let Some((list, _)) = grant.strip_prefix("GRANT ").and_then(|rest| rest.split_once(" ON *.* TO ")) else {
            return false;
        };
        list.split(", ").any(|one| one == privilege || one == "ALL PRIVILEGES")
    })
}

fn is_role(grant: &str) -> bool {
    grant.starts_with("GRANT ") && !grant.contains(" ON ")
}

/// A source that is a replica itself must write what it receives.
async fn check_chain(conn: &mut Conn, info: &ServerInfo, report: &mut Report) -> Result<()> {
    let setting = ["log_replica_updates", "log_slave_updates"].into_iter().find(|name| info.variable(name).is_some());
    let Some(setting) = setting.filter(|name| info.variable(name) == Some("OFF")) else { return Ok(()) };
    let newer = info.flavor == Flavor::Mysql && info.version >= (8, 0, 22);
    let statement = if newer { "SHOW REPLICA STATUS" } else { "SHOW SLAVE STATUS" };
    if tried(conn, "asking whether the source is a replica", statement).await?.is_some_and(|rows| !rows.is_empty()) {
        report.problems.push(
            Error::definite(format!("the source is a replica and does not log what it receives ({setting} is OFF)"))
                .hint(format!("set {setting}=ON in its configuration and restart it, or use its own source")),
        );
    }
    Ok(())
}

/// SELECT on every table and column; engines; keys.
async fn check_tables(conn: &mut Conn, job: &Job, tables: &[Table], report: &mut Report) -> Result<()> {
    let mut denied: Vec<&TableName> = Vec::new();
    for table in tables {
        if table.key.is_empty() && job.no_key_tables != NoKeyTables::RowHash {
            let what = format!("table {} has no key", table.name);
            report
                .problems
                .push(Error::definite(what).hint("add a primary key, or leave it out with source.excludeTables"));
        }
        if let Some(column) =
            table.key_columns().find(|column| matches!(column.ty, ColumnType::Float | ColumnType::Double))
        {
            report.warnings.push(format!(
                "table {}: key column {} is a floating point number; two values that look alike can be different keys",
                table.name, column.name
            ));
        }
    }
    let mut rest = tables;
    while !rest.is_empty() {
        let together = &rest[..rest.len().min(TRIED_TOGETHER)];
        let passed = selectable(conn, together).await?;
        rest = &rest[passed..];
        if passed == together.len() {
            continue;
        }
        // Alone, so that what is wrong is this table's, and not that somebody on the way takes one statement at a time.
        let Some((table, others)) = rest.split_first() else { break };
        rest = others;
        match conn.query_drop(select_nothing(table)).await {
            Ok(()) => {}
            Err(mysql_async::Error::Server(server)) if is_denied(server.code) => denied.push(&table.name),
            // It has changed since its definition was read, perhaps while an earlier run copied it: that is the copy's concern.
            Err(mysql_async::Error::Server(server)) if is_gone(server.code) => {}
            Err(error) => {
                let error = source_error(format!("selecting from {}", table.name), error);
                if error.is_transient() {
                    return Err(error);
                }
                report.problems.push(error);
            }
        }
    }
    if !denied.is_empty() {
        let user = current_user(conn).await?;
        let mut grants: Vec<String> =
            denied.iter().map(|name| format!("GRANT SELECT ON {}.* TO {user}", quote(&name.database))).collect();
        grants.dedup();
        let mut names: Vec<String> = denied.iter().take(5).map(ToString::to_string).collect();
        if denied.len() > names.len() {
            names.push(format!("{} more", denied.len() - names.len()));
        }
        let what = format!("the source's user {user} may not SELECT from {}", names.join(", "));
        report.problems.push(Error::definite(what).hint(grants.join("; ")));
    }
    check_engines(conn, tables, report).await
}

/// Needs SELECT on every column.
fn select_nothing(table: &Table) -> String {
    let columns: Vec<String> = table.columns.iter().map(|column| quote(&column.name)).collect();
    format!("SELECT {} FROM {} LIMIT 0", columns.join(", "), table.name.quoted())
}

/// How many of the tables can be selected from, up to the first that cannot. Their statements go to the server together, which
/// carries them out one after the other: each looks at one table and holds on to none.
async fn selectable(conn: &mut Conn, tables: &[Table]) -> Result<usize> {
    let statements: Vec<String> = tables.iter().map(select_nothing).collect();
    let mut passed = 0;
    let asked = async {
        let mut answers = conn.query_iter(statements.join("; ")).await?;
        // Somebody on the way may have carried out the first one alone.
        while passed < tables.len() && !answers.is_empty() {
            // The answer has begun; what comes behind its end is the next statement's, be it an error.
            passed += 1;
            answers.for_each(drop).await?;
        }
        answers.drop_result().await
    };
    match asked.await {
        Ok(()) | Err(mysql_async::Error::Server(_)) => Ok(passed),
        Err(error) => Err(source_error("selecting from the tables", error)),
    }
}

async fn check_engines(conn: &mut Conn, tables: &[Table], report: &mut Report) -> Result<()> {
    let mut databases: Vec<&str> = tables.iter().map(|table| table.name.database.as_str()).collect();
    databases.sort_unstable();
    databases.dedup();
    for database in databases {
        let statement = format!(
            "SELECT TABLE_NAME, ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} \
             AND ENGINE NOT IN ('InnoDB', 'ROCKSDB', 'TokuDB', 'ndbcluster')",
            literal(database)
        );
        for row in select(conn, "reading the catalogue", &statement).await? {
            let name = TableName::new(database, text(&row, 0));
            if tables.iter().any(|table| table.name == name) {
                report.warnings.push(format!(
                    "table {name}: {} has no transactions; a crash of the source can leave its binlog and the table different",
                    optional(&row, 1).unwrap_or_default()
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_the_unit_that_fits() {
        let told = [30, 150, 7_200, 90_000, 200_000].map(|seconds| words(Duration::from_secs(seconds)));
        assert_eq!(told, ["30 seconds", "2 minutes", "2 hours", "25 hours", "2 days"]);
    }

    #[test]
    fn global_privileges_are_found_in_show_grants() {
        let grants = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let slave = |texts: &[&str]| has_global(&grants(texts), "REPLICATION SLAVE");
        assert!(slave(&[
            "GRANT SELECT, REPLICATION SLAVE, BINLOG MONITOR ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*X'"
        ]));
        assert!(slave(&["GRANT `r` TO `u`@`%`", "GRANT ALL PRIVILEGES ON *.* TO `r`"]));
        assert!(!slave(&["GRANT REPLICATION SLAVE ADMIN ON *.* TO `u`@`%`"]));
        assert!(!slave(&["GRANT ALL PRIVILEGES ON `shop`.* TO `u`@`%`", "GRANT USAGE ON *.* TO `u`@`%`"]));
        assert!(is_role("GRANT `r`@`%` TO `u`@`%`") && !is_role("GRANT USAGE ON *.* TO `u`@`%`"));
    }
}
