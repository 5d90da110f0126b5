//! Ctrl-C and SIGTERM; SIGHUP.
//!
//! They are listened for by a thread of their own, with a runtime of its own: a stage that blocks must not keep a stop
//! from being heard.
//!
//! The stages leave by themselves within seconds. Should one of them not, the process ends all the same, and says so:
//! whoever sent the signal, a service manager or a container's, sends SIGKILL next. The job bears either, as it bears
//! every crash: what is in is recorded, and the next start goes on from there.

use std::io;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{Error, Result};

/// Longer than the stages take, shorter than the ten seconds that managers wait at least.
const PATIENCE: Duration = Duration::from_secs(9);

/// Cancels `stop` at the first signal. A second one ends the process at once with code 130; so does the end of
/// `PATIENCE` with code 1.
pub(super) fn cancel_on_signal(stop: CancellationToken) -> Result<()> {
    let failed = |error: io::Error| Error::definite("cannot listen for signals").caused_by(error);
    let (runtime, mut signals) = listen().map_err(failed)?;
    let waiting = move || {
        runtime.block_on(async {
            signals.next().await;
            tracing::info!("stopping: flush, checkpoint, leave (a second signal leaves at once)");
            stop.cancel();
            if tokio::time::timeout(PATIENCE, signals.next()).await.is_ok() {
                std::process::exit(130);
            }
            tracing::error!("a stage has not ended within {PATIENCE:?}; leaving without it, the next start goes on from the checkpoint");
            std::process::exit(1);
        });
    };
    thread::Builder::new().name("signals".into()).spawn(waiting).map_err(failed)?;
    Ok(())
}

/// SIGHUP no longer ends the process.
pub(super) fn hangups() -> Result<Signal> {
    signal(SignalKind::hangup()).map_err(|error| Error::definite("cannot listen for signals").caused_by(error))
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// From here on a signal no longer ends the process by itself.
fn listen() -> io::Result<(Runtime, Signals)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let signals = {
        let _context = runtime.enter();
        Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? }
    };
    Ok((runtime, signals))
}
