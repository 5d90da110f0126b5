//! Arguments and help texts.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// MySQL to StarRocks replication in real time.
#[derive(Debug, Parser)]
#[command(name = "towpath", version, propagate_version = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
    /// Log lines as text or as JSON objects.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub(super) log_format: LogFormat,
    /// error, warn, info, debug, trace, or a filter such as `towpath=debug` [default: info; of `demo`: warn]
    #[arg(long, global = true, env = "RUST_LOG")]
    pub(super) log_level: Option<String>,
}

impl Arguments {
    pub(super) fn log_level(&self) -> &str {
        // The demo tells its story itself; a line for each of its many epochs would bury it.
        let usual = if matches!(self.command, Command::Demo(_)) { "warn" } else { "info" };
        self.log_level.as_deref().unwrap_or(usual)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// A scratch MySQL with live orders into the embedded target, then the proof that both sides agree.
    Demo(crate::demo::Options),
    /// Pre-flight: reachability, privileges, server settings, tables, mapping. Changes nothing.
    Check {
        /// The job file (YAML or JSON).
        job: PathBuf,
    },
    /// The target's CREATE statements that `run` would execute.
    Ddl {
        /// The job file (YAML or JSON).
        job: PathBuf,
    },
    /// Migrate the schema, copy the rows, follow the binlog.
    Run {
        /// The job file (YAML or JSON).
        job: PathBuf,
        /// End once everything is in that was in the source's log when the run began.
        #[arg(long)]
        stop_at_end: bool,
    },
    /// Move a stopped job to another place of the log.
    Reposition {
        /// The job file (YAML or JSON).
        job: PathBuf,
        /// FILE:POSITION, a GTID set, `earliest` or `latest`.
        place: String,
        /// Go there although changes between the old place and the new one will be missing in the target.
        #[arg(long)]
        accept_loss: bool,
    },
    /// Copy tables anew while the log is followed: beside the target's tables, which serve until their copies take their
    /// places. A running job begins within seconds, another one when it is started.
    Recopy {
        /// The job file (YAML or JSON).
        job: PathBuf,
        /// As at the source: `database.table`.
        #[arg(required = true)]
        tables: Vec<String>,
    },
    /// Stage, position, rows and lag of a job, from its state store.
    Status {
        /// The job file (YAML or JSON).
        job: PathBuf,
        /// One JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Change parameters of a job, running or not, without a restart. They hold until they are taken back.
    Set {
        /// The job file (YAML or JSON).
        job: PathBuf,
        /// `realFlushPauseSec=2 rateLimitRps=5000`; also `rateLimitMbps`, `increBatchSize`, `fullBatchSize`. `key=` goes back
        /// to the job file's value. None: shows what is set.
        #[arg(value_name = "KEY=VALUE")]
        settings: Vec<String>,
    },
    /// Read nothing new until `resume`; what is read goes on into the target.
    Pause {
        /// The job file (YAML or JSON).
        job: PathBuf,
    },
    /// Read on after `pause`.
    Resume {
        /// The job file (YAML or JSON).
        job: PathBuf,
    },
    /// Compare both sides row by row, while the job runs or not.
    ///
    /// Exit code 0: equal; 3: different; 1: something could not be compared.
    Verify(VerifyArguments),
    /// Mend what a comparison found: each row is read anew at the source and sent in order with the running job's stream, then
    /// compared once more.
    ///
    /// Exit code 0: equal now; 3: something still differs.
    Correct {
        /// The job file (YAML or JSON).
        job: PathBuf,
        /// The comparison, as `verify --history` numbers it; without it the newest that found differences.
        #[arg(long, value_name = "N")]
        run: Option<u64>,
        /// Only show what would be done.
        #[arg(long)]
        dry_run: bool,
        /// Also delete more than 1 % of a table's rows.
        #[arg(long)]
        yes: bool,
    },
    /// Rows that the target refused and that were set aside (`strategyOnError: batchDirtyData`).
    #[command(subcommand)]
    DeadLetters(DeadLetterAction),
    /// The embedded target alone: a StarRocks-compatible server on SQLite.
    // Its `--version` is StarRocks'.
    #[command(disable_version_flag = true)]
    Embedded(EmbeddedOptions),
    /// Machine-readable descriptions.
    Schema {
        /// The JSON Schema of the job file, with every default.
        #[arg(long)]
        job_file: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum DeadLetterAction {
    /// Show them, with row, reason and place in the log.
    List {
        /// The job file (YAML or JSON).
        job: PathBuf,
        #[command(flatten)]
        selection: DeadLetterSelection,
        /// Also those that are settled: superseded by a later change, or brought in by a retry.
        #[arg(long)]
        all: bool,
        /// One JSON list instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Send them again, in order with the stream: a running job takes them up at once, another one when it is started.
    Retry {
        /// The job file (YAML or JSON).
        job: PathBuf,
        #[command(flatten)]
        selection: DeadLetterSelection,
    },
    /// Forget them.
    Drop {
        /// The job file (YAML or JSON).
        job: PathBuf,
        #[command(flatten)]
        selection: DeadLetterSelection,
        /// Yes, these rows are not wanted at the target.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct DeadLetterSelection {
    /// Only of this table, `database.table` or `table` as at the target; may be given several times.
    #[arg(long)]
    pub(super) table: Vec<String>,
    /// Only this letter; may be given several times.
    #[arg(long)]
    pub(super) id: Vec<u64>,
}

#[derive(Debug, clap::Args)]
pub(super) struct VerifyArguments {
    /// The job file (YAML or JSON).
    pub(super) job: PathBuf,
    /// Only tables that match, `database.table` as at the source, with wildcards; may be given several times.
    #[arg(long, num_args = 1.., value_name = "PATTERN")]
    pub(super) tables: Vec<String>,
    /// Only these columns, beside the key; separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "COLUMN")]
    pub(super) columns: Vec<String>,
    /// Only rows that meet this condition, in SQL that both servers understand.
    #[arg(long, value_name = "CONDITION")]
    pub(super) r#where: Option<String>,
    /// Only about this share of the rows, spread over the table: `1%`.
    #[arg(long, value_name = "PERCENT", value_parser = crate::config::share)]
    pub(super) sample: Option<f64>,
    /// Read no more rows of the source a second than this.
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) rate_limit: Option<u64>,
    /// Write the report and the differences into this folder.
    #[arg(long, value_name = "DIR")]
    pub(super) report: Option<PathBuf>,
    /// Each difference as a line of JSON, then the report as one.
    #[arg(long)]
    pub(super) json: bool,
    /// Read the rows from this replica of the source, `host` or `host:port`. It needs GTIDs.
    #[arg(long, value_name = "HOST")]
    pub(super) source_host: Option<String>,
    /// Compare FLOAT and DOUBLE by so many significant digits instead of by their bits.
    #[arg(long, value_name = "DIGITS", value_parser = clap::value_parser!(u8).range(1..=17))]
    pub(super) float_digits: Option<u8>,
    /// Compare times by so many digits of the second's fraction instead of all.
    #[arg(long, value_name = "DIGITS", value_parser = clap::value_parser!(u8).range(0..=6))]
    pub(super) time_digits: Option<u8>,
    /// Take an empty text for a NULL.
    #[arg(long)]
    pub(super) empty_equals_null: bool,
    /// Differences of one table after which the rest of it is not looked for.
    #[arg(long, value_name = "ROWS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(super) max_differences: u64,
    /// Seconds for which a running job may take to come to where the source was read; and for which the log of one that does
    /// not go on may be read.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(super) patience: u64,
    /// Compare nothing; list the runs that were made.
    #[arg(long)]
    pub(super) history: bool,
    /// With --history: the report of this run, with --json its differences too.
    #[arg(long, value_name = "NUMBER", requires = "history")]
    pub(super) run: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub(super) struct EmbeddedOptions {
    /// Where the data lies; made when it is not there.
    #[arg(long)]
    pub(super) data_dir: PathBuf,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    pub(super) host: String,
    #[arg(long, default_value_t = 9030)]
    pub(super) mysql_port: u16,
    #[arg(long, default_value_t = 8030)]
    pub(super) fe_port: u16,
    #[arg(long, default_value_t = 8040)]
    pub(super) be_port: u16,
    /// HTTP port of a second FE, a follower of the first. None without this.
    #[arg(long)]
    pub(super) second_fe_port: Option<u16>,
    /// MySQL port of the second FE; 0 takes a free one.
    #[arg(long, requires = "second_fe_port", default_value_t = 0)]
    pub(super) second_mysql_port: u16,
    #[arg(long, default_value = "root")]
    pub(super) user: String,
    #[arg(long, default_value = "", env = "TOWPATH_EMBEDDED_PASSWORD", hide_env_values = true)]
    pub(super) password: String,
    /// The StarRocks version to behave like.
    #[arg(long, default_value = "3.5.0")]
    pub(super) version: String,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn no_two_arguments_share_a_name() {
        super::Arguments::command().debug_assert();
    }
}
