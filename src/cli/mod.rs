//! The command line: one file a subcommand.

mod args;
mod check;
mod correct;
mod ddl;
mod dead_letters;
#[cfg(test)]
mod documents;
mod embedded;
mod job_file;
mod log;
mod progress_bar;
mod recopy;
mod reload;
mod reposition;
mod run;
mod settings;
mod signal;
mod status;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use crate::error::Kind;
use crate::job::CorrectOptions;
use crate::{Error, Result, output, step};
use args::{Arguments, Command};

/// How a command ended, as its exit code tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// 0
    Done,
    /// 1; what is wrong has been printed.
    Failed,
    /// 3
    Differences,
}

/// Parses the arguments, runs the command and turns its outcome into an exit code: 0 done, 1 failed, 2 wrong
/// use, 3 differences found.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = log::start(arguments.log_format, arguments.log_level()) {
        return report(&error);
    }
    let _steps = step::from_environment();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Error::definite("cannot start the runtime").caused_by(error)),
    };
    let ended = runtime.block_on(dispatch(arguments.command));
    // Threads that still wait for a server must not hold up the exit.
    runtime.shutdown_background();
    match ended {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::from(1),
        Ok(Outcome::Differences) => ExitCode::from(3),
        Err(error) => report(&error),
    }
}

async fn dispatch(command: Command) -> Result<Outcome> {
    match command {
        Command::Demo(options) => match crate::demo::run(options).await? {
            true => Ok(Outcome::Done),
            false => Ok(Outcome::Differences),
        },
        Command::Check { job } => check::run(&job).await,
        Command::Ddl { job } => ddl::run(&job).await,
        Command::Run { job, stop_at_end } => run::run(&job, stop_at_end).await,
        Command::Reposition { job, place, accept_loss } => reposition::run(&job, &place, accept_loss).await,
        Command::Recopy { job, tables } => recopy::run(&job, &tables),
        Command::Status { job, json } => status::run(&job, json),
        Command::Set { job, settings } => settings::set(&job, &settings),
        Command::Pause { job } => settings::pause(&job, true),
        Command::Resume { job } => settings::pause(&job, false),
        Command::Verify(options) => verify::run(options).await,
        Command::Correct { job, run, dry_run, yes } => correct::run(&job, &CorrectOptions { run, yes }, dry_run).await,
        Command::DeadLetters(action) => dead_letters::run(action),
        Command::Embedded(options) => embedded::run(options).await,
        Command::Schema { job_file: true } => job_file::print_schema(),
        Command::Schema { job_file: false } => Err(Error::usage("say which schema: `towpath schema --job-file`")),
    }
}

fn report(error: &Error) -> ExitCode {
    output::complain(format_args!("error: {error}"));
    ExitCode::from(if error.kind() == Kind::Usage { 2 } else { 1 })
}
