//! Ctrl-C and SIGTERM.

use tokio_util::sync::CancellationToken;

use crate::{Error, Result};

/// Cancels `stop` at the first signal; a second one ends the process at once.
pub(super) fn cancel_on_signal(stop: CancellationToken) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |error| Error::definite("cannot listen for signals").caused_by(error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::spawn(async move {
        for again in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if again {
                std::process::exit(130);
            }
            tracing::info!("stopping: flush, checkpoint, leave (a second signal leaves at once)");
            stop.cancel();
        }
    });
    Ok(())
}
