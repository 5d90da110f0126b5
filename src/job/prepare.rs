//! Pre-flight: everything that can be known to fail is refused before anything is changed.

use std::collections::HashSet;
use std::sync::Arc;

use mysql_async::Conn;

use super::definitions;
use crate::apply::change::Followed;
use crate::apply::encode::BinaryText;
use crate::config::{self, NoKeyTables, TableFilter, ZeroDate};
use crate::mysql::connect::{self, Connect, Patience, ServerInfo, source_zone};
use crate::mysql::position::Position;
use crate::mysql::preflight::Report;
use crate::mysql::value::{self, ValueOptions};
use crate::mysql::{catalog, preflight};
use crate::schema::{Mapping, MappingOptions, Table, TableName, map_table};
use crate::state::{Identity, Store};
use crate::target::{Target, Version, mapping_options};
use crate::{Error, Result};

/// A job that can run.
pub struct Prepared {
    /// Opens another connection to the source.
    pub connect: Connect,
    pub connection: Conn,
    pub server: ServerInfo,
    pub mappings: Vec<Arc<Mapping>>,
    pub values: ValueOptions,
    pub warnings: Vec<String>,
    pub target_version: Version,
    pub(super) mapping_options: MappingOptions,
    /// Tables that match and have no primary key (`noKeyTables: skip`).
    pub left_out: Vec<TableName>,
    pub(super) filter: TableFilter,
}

/// All that keeps a job from running; never empty.
#[derive(Debug)]
pub struct Problems(pub Vec<Error>);

impl Problems {
    /// One error that tells them all.
    pub fn into_error(self) -> Error {
        let mut problems = self.0;
        if problems.len() == 1
            && let Some(only) = problems.pop()
        {
            return only;
        }
        let list: String = problems.iter().map(|problem| format!("\n- {problem}")).collect();
        let message = format!("{} problems:{list}", problems.len());
        // All of them have to go away.
        if problems.iter().all(Error::is_transient) { Error::transient(message) } else { Error::definite(message) }
    }
}

impl From<Error> for Problems {
    fn from(error: Error) -> Self {
        Problems(vec![error])
    }
}

/// Looks at source and target, reads the catalogue and maps the tables. Changes nothing.
pub async fn prepare<T: Target>(job: &config::Job, target: &T) -> Result<Prepared, Problems> {
    let (connect, source, version) = look(job, target).await?;
    let Source { mut connection, server, filter, .. } = source;
    let (tables, left_out) = match read_tables(job, &mut connection, &server, &filter).await {
        Ok(read) => read,
        Err(error) => {
            // The source's own problem is said first; the target's are said with it.
            let mut problems = vec![error];
            problems.extend(target.check(&[]).await);
            return Err(Problems(problems));
        }
    };
    let mut report = preflight::check(&mut connection, job, &server, &tables).await;
    let is_left_out = |table| format!("table {table} is left out: it has no primary key (noKeyTables: skip)");
    report.warnings.extend(left_out.iter().map(is_left_out));
    let (mut problems, mut mappings) = (std::mem::take(&mut report.problems), Vec::with_capacity(tables.len()));
    if let Ok(version) = &version {
        let options = options(job, *version);
        for table in tables {
            match map_table(&table, &options) {
                Ok(mapping) => mappings.push(Arc::new(mapping)),
                Err(error) => problems.push(error),
            }
        }
    }
    let source = Source { connection, server, filter, left_out };
    finish(job, target, (connect, source, version), mappings, Report { problems, ..report }).await
}

/// As [`prepare`], for a job that was begun: its tables are those of its checkpoint, whatever the source's are now.
pub(super) async fn prepare_again<T: Target>(
    job: &config::Job,
    target: &T,
    store: &Store,
) -> Result<Prepared, Problems> {
    let (connect, mut source, version) = look(job, target).await?;
    source.left_out = store.left_out()?;
    let options = version.as_ref().ok().map(|version| options(job, *version));
    let followed = match &options {
        Some(options) => definitions::followed(store, options)?,
        None => Followed::default(),
    };
    let mut mappings: Vec<_> = followed.mappings().cloned().collect();
    mappings.retain(|mapping| source.filter.matches(&mapping.source.name));
    mappings.sort_by(|left, right| left.source.name.cmp(&right.source.name));
    let tables: Vec<Table> = mappings.iter().map(|mapping| mapping.source.clone()).collect();
    let report = preflight::check_log(&mut source.connection, job, &source.server, &tables).await;
    finish(job, target, (connect, source, version), mappings, report).await
}

/// The source as it answers.
struct Source {
    connection: Conn,
    server: ServerInfo,
    filter: TableFilter,
    /// Tables that match and have no primary key (`noKeyTables: skip`).
    left_out: Vec<TableName>,
}

/// What was found out about both sides; an error is the source's.
type Sides = (Connect, Source, Result<Version>);

async fn look<T: Target>(job: &config::Job, target: &T) -> Result<Sides, Problems> {
    let connect = connect::connector(&job.source, Patience::of(&job.params));
    let (source, version) = tokio::join!(look_at_source(job, &connect), target.version());
    match source {
        Ok(source) => Ok((connect, source, version)),
        Err(error) => {
            let mut problems = vec![error];
            problems.extend(target.check(&[]).await);
            Err(Problems(problems))
        }
    }
}

async fn finish<T: Target>(
    job: &config::Job,
    target: &T,
    (connect, source, version): Sides,
    mappings: Vec<Arc<Mapping>>,
    report: Report,
) -> Result<Prepared, Problems> {
    let Source { connection, server, filter, left_out } = source;
    let Report { mut problems, mut warnings } = report;
    warnings.extend(mappings.iter().flat_map(|mapping| mapping.warnings()));
    let databases: Vec<String> = mappings
        .iter()
        .map(|mapping| mapping.target.name.database.clone())
        .collect::<HashSet<_>>()
        .into_iter()
        .collect();
    problems.extend(target.check(&databases).await);
    if job.atomic_transactions {
        let tables: Vec<_> = mappings.iter().map(|mapping| &mapping.target).collect();
        problems.extend(target.check_together(&tables).await);
        problems.extend(partial_rows(&server));
    }
    let zone = source_zone(&server, job.source.timezone.as_deref());
    let target_version = match version {
        Ok(version) => version,
        Err(error) if problems.is_empty() => return Err(error.into()),
        Err(_) => return Err(Problems(problems)),
    };
    match zone {
        Ok(zone) if problems.is_empty() => {
            let values = ValueOptions { zone, zero_date: job.zero_date.clone() };
            warnings.extend(mappings.iter().flat_map(|mapping| value::warnings(mapping, &values)));
            let mapping_options = options(job, target_version);
            Ok(Prepared {
                connect,
                connection,
                server,
                mappings,
                values,
                warnings,
                target_version,
                mapping_options,
                left_out,
                filter,
            })
        }
        Ok(_) => Err(Problems(problems)),
        Err(error) => {
            problems.push(error);
            Err(Problems(problems))
        }
    }
}

/// A transaction of the target reads all rows of a table alike, so they have to be whole.
fn partial_rows(server: &ServerInfo) -> Option<Error> {
    let image = server.variable("binlog_row_image")?;
    let whole = ["FULL", "FULL_NODUP"].iter().any(|whole| image.eq_ignore_ascii_case(whole));
    (!whole).then(|| {
        Error::definite(format!("atomicTransactions: the source's binlog_row_image is {image}; it must be FULL")).hint(
            "SET GLOBAL binlog_row_image = 'FULL'; sessions that are open keep the old value until they connect again",
        )
    })
}

async fn look_at_source(job: &config::Job, connect: &Connect) -> Result<Source> {
    let mut connection = connect.sql(None).await?;
    let server = connect::server_info(&mut connection).await?;
    let filter = job.source.table_filter(server.lower_case_table_names)?;
    Ok(Source { connection, server, filter, left_out: Vec::new() })
}

/// The tables as the catalogue has them, and the names of those that are left out.
async fn read_tables(
    job: &config::Job,
    connection: &mut Conn,
    server: &ServerInfo,
    filter: &TableFilter,
) -> Result<(Vec<Table>, Vec<TableName>)> {
    let tables = catalog::tables(connection, server, filter, job.no_key_tables).await?;
    let mut left_out = Vec::new();
    if job.no_key_tables == NoKeyTables::Skip {
        left_out = catalog::names(connection, filter).await?;
        left_out.retain(|name| !tables.iter().any(|table| table.name == *name));
    }
    Ok((tables, left_out))
}

fn options(job: &config::Job, version: Version) -> MappingOptions {
    MappingOptions {
        row_hash: job.no_key_tables == NoKeyTables::RowHash,
        ..mapping_options(&job.target, &job.zero_date, version)
    }
}

impl Prepared {
    /// Checks that a job goes on with what it was begun with.
    ///
    /// # Errors
    /// Definite: another server without GTIDs to find the place by.
    pub(super) async fn resume(&mut self, job: &config::Job, store: &Store, identity: Identity) -> Result<Identity> {
        let position = self.belongs(store, &identity)?;
        let selection = definitions::selection(job);
        let ignore_case = self.server.lower_case_table_names != 0;
        definitions::select(store, &selection, &self.filter, ignore_case, &position, &mut self.connection).await?;
        Ok(identity)
    }

    /// The place at which the job goes on, if it can do so with this server.
    pub(super) fn belongs(&self, store: &Store, identity: &Identity) -> Result<Position> {
        let position = store.checkpoint()?.map_or(identity.start.clone(), |checkpoint| checkpoint.position);
        if identity.server != self.server_identity() && position.gtids.is_none() {
            return Err(Error::definite(format!(
                "the job was begun on server {}, this is {}: its binlog position means nothing here",
                identity.server,
                self.server_identity()
            ))
            .hint("connect to the first server again, choose a place of this one's log with `towpath reposition`, or begin a new job (another `name` or `stateDir`)"));
        }
        Ok(position)
    }

    /// Returns when the catalogue shows what all statements in the log have done to the tables. `false`: one of them is gone.
    pub(super) async fn shows_all(&mut self) -> Result<bool> {
        let tables: Vec<&TableName> = self.mappings.iter().map(|mapping| &mapping.source.name).collect();
        catalog::shows(&mut self.connection, &self.server, &tables).await
    }

    /// Whether the source's tables are as they were when this was prepared.
    pub(super) async fn holds(&mut self, job: &config::Job) -> Result<bool> {
        let now = match read_tables(job, &mut self.connection, &self.server, &self.filter).await {
            Ok((now, _)) => now,
            Err(error) if error.is_transient() => return Err(error),
            // Whoever looks again says what is wrong.
            Err(_) => return Ok(false),
        };
        let same = |(now, before): (&Table, &Arc<Mapping>)| now.reads_like(&before.source);
        Ok(now.len() == self.mappings.len() && now.iter().zip(&self.mappings).all(same))
    }

    /// Hashes of rows are of the cells as the target has them, so what decides about cells must stay as it is.
    ///
    /// # Errors
    /// Definite: the job was begun with something else.
    pub(super) fn keeps_row_hashes(&self, store: &Store) -> Result<()> {
        let ValueOptions { zone, zero_date } = &self.values;
        let offset = || zone.to_fixed_offset().map_or_else(|_| "the server's".to_owned(), |offset| offset.to_string());
        let zone = zone.iana_name().map_or_else(offset, str::to_owned);
        let zero_date = match zero_date {
            ZeroDate::Null => "null",
            ZeroDate::Value(date) => date,
            ZeroDate::Error => "error",
        };
        let now = format!("source.timezone {zone}, defaultZeroDate {zero_date}");
        if !self.mappings.iter().any(|mapping| mapping.is_row_hash()) {
            // One may come.
            return if self.mapping_options.row_hash { store.will_hash_with(&now) } else { Ok(()) };
        }
        let before = store.hashed_with(&now)?;
        if before == now {
            return Ok(());
        }
        Err(Error::definite(format!(
            "the job was begun with {before}, and now it has {now}: rows of tables without a key would no longer be known again"
        ))
        .hint("set both as they were, or begin a new job (another `name`) with empty target tables"))
    }

    /// Tells which server a position belongs to.
    pub(super) fn server_identity(&self) -> String {
        self.server.identity()
    }

    /// How the target reads a VARBINARY cell of a CSV body.
    pub(super) fn binary_text(&self) -> BinaryText {
        binary_text(self.target_version)
    }

    /// The tables whose rows are wanted: those that match the patterns, also when they came later, so that
    /// their rows are not passed over in silence. Those that are left out too: a statement may make one of them anew, with a
    /// key, and until it does whoever knows the tables passes over their rows.
    pub(super) fn wanted(&self) -> Arc<dyn Fn(&TableName) -> bool + Send + Sync> {
        let filter = self.filter.clone();
        let known: HashSet<TableName> = self.mappings.iter().map(|mapping| mapping.source.name.clone()).collect();
        Arc::new(move |table| known.contains(table) || filter.matches(table))
    }

    /// The other tables, and databases, whose statements the history needs: those that online schema-change tools make, and
    /// those that give tables their character set.
    pub(super) fn noticed(&self) -> Arc<dyn Fn(&TableName) -> bool + Send + Sync> {
        let filter = self.filter.clone();
        Arc::new(move |name| match name.table.as_str() {
            "" => filter.matches_database(&name.database),
            table => filter.shadows().may_be(table),
        })
    }
}

/// How a target of this version reads a VARBINARY cell of a CSV body.
pub(super) fn binary_text(version: Version) -> BinaryText {
    let base64 = Version { major: 3, minor: 2, patch: 0 };
    if version >= base64 { BinaryText::Base64 } else { BinaryText::Hex }
}
