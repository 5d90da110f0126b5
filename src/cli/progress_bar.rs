//! What a running job shows: a bar on a terminal, a log line now and then elsewhere.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tracing_subscriber::fmt::MakeWriter;

use crate::progress::Progress;
use crate::state::Stage;
use crate::verify;

const REDRAW: Duration = Duration::from_millis(250);
const LOG_LINE: Duration = Duration::from_secs(10);

fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(MultiProgress::new)
}

/// Writes log lines above the bars that are drawn at the moment.
pub(super) struct AboveBars;

impl<'a> MakeWriter<'a> for AboveBars {
    type Writer = AboveBars;

    fn make_writer(&'a self) -> AboveBars {
        AboveBars
    }
}

impl Write for AboveBars {
    /// Whoever reads the log may be gone; a job goes on without him.
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let _ = bars().suspend(|| io::stderr().write_all(text));
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Shows `progress` until the task that this future runs in is dropped.
pub(super) async fn show(progress: Arc<Progress>) {
    if !io::stderr().is_terminal() {
        loop {
            tokio::time::sleep(LOG_LINE).await;
            tracing::info!("{}", progress.snapshot().line());
        }
    }
    let bar = bars().add(ProgressBar::new(0));
    loop {
        tokio::time::sleep(REDRAW).await;
        let now = progress.snapshot();
        if now.stage == Stage::Full && now.full_rows_estimated > 0 {
            bar.set_style(bar_style());
            bar.set_length(now.full_rows_estimated.max(now.full_rows));
            bar.set_position(now.full_rows);
        } else {
            bar.set_style(ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| bar_style()));
            bar.tick();
        }
        bar.set_message(now.line());
    }
}

fn bar_style() -> ProgressStyle {
    ProgressStyle::with_template("[{bar:30}] {percent:>3}% {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// Shows how far a comparison is, until the task that this future runs in is dropped.
pub(super) async fn show_verify(progress: Arc<verify::Progress>) {
    let line = |rows: u64, table: &str| format!("{table}: {rows} rows compared");
    if !io::stderr().is_terminal() {
        loop {
            tokio::time::sleep(LOG_LINE).await;
            let (rows, estimated, table) = progress.now();
            tracing::info!("{} of about {estimated}", line(rows, &table));
        }
    }
    let bar = bars().add(ProgressBar::new(0).with_style(bar_style()));
    loop {
        tokio::time::sleep(REDRAW).await;
        let (rows, estimated, table) = progress.now();
        bar.set_length(estimated.max(rows));
        bar.set_position(rows);
        bar.set_message(line(rows, &table));
    }
}

/// Takes away what is drawn.
pub(super) fn clear() {
    // A terminal that cannot be written to shows nothing anyway.
    let _ = bars().clear();
}
