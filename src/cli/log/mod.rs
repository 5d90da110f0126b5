//! Log lines on standard error.

mod repeats;

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::args::LogFormat;
use super::progress_bar::AboveBars;
use crate::{Error, Result};
use repeats::Counted;

/// # Errors
/// Wrong use: `level` is neither a level nor a filter.
pub(super) fn start(format: LogFormat, level: &str) -> Result<()> {
    let filter = EnvFilter::try_new(level).map_err(|error| {
        Error::usage(format!("--log-level {level:?} (or RUST_LOG): {error}"))
            .hint("give error, warn, info, debug or trace, or a filter such as towpath=debug")
    })?;
    // Whoever asks for more than usual wants to see every try.
    let all = filter.max_level_hint() > Some(LevelFilter::INFO);
    let ansi = io::stderr().is_terminal();
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(AboveBars).with_ansi(ansi).with_target(false);
    // A second subscriber in one process (tests) is refused; the first one stays.
    let _ = match format {
        LogFormat::Text => builder.map_event_format(|format| Counted::text(format, all)).try_init(),
        LogFormat::Json => builder.json().map_event_format(|format| Counted::json(format, all)).try_init(),
    };
    Ok(())
}
