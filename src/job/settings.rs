//! Takes over what `towpath set`, `pause` and `resume` have written into the state store while a job runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::Result;
use crate::config::Params;
use crate::live::Live;
use crate::progress::Progress;
use crate::state::{Settings, Store};

const LOOK: Duration = Duration::from_secs(1);

/// Ends the watching when it is dropped.
pub(super) struct Watch(AbortHandle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The parameters as they are now, kept up to date.
pub(super) fn watch(params: &Params, store: &Arc<Store>, progress: &Arc<Progress>) -> Result<(Arc<Live>, Watch)> {
    let live = Arc::new(Live::new(params));
    take_over(&live, &store.settings()?, progress);
    let (watched, store, progress) = (Arc::clone(&live), Arc::clone(store), Arc::clone(progress));
    let watching = tokio::spawn(async move {
        loop {
            tokio::time::sleep(LOOK).await;
            let store = Arc::clone(&store);
            match tokio::task::spawn_blocking(move || store.settings()).await {
                Ok(Ok(settings)) => take_over(&watched, &settings, &progress),
                // The stages write to the same store: they say what is wrong with it, and stop.
                Ok(Err(error)) => tracing::debug!(%error, "the settings cannot be read"),
                Err(_) => return,
            }
        }
    });
    Ok((live, Watch(watching.abort_handle())))
}

fn take_over(live: &Live, settings: &Settings, progress: &Progress) {
    if !live.apply(settings) {
        return;
    }
    progress.set_paused(settings.paused);
    let changed: Vec<String> = settings.params.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let changed = if changed.is_empty() { "as in the job file".to_owned() } else { changed.join(" ") };
    tracing::info!(paused = settings.paused, params = changed, "settings");
}
