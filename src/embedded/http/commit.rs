//! The commit of a load, and what a fault makes of it: the one place where rows go in and the answer may not say so.

use std::time::Duration;

use super::Ports;
use crate::embedded::fault::Mode;
use crate::embedded::load::apply::Target;
use crate::embedded::load::stage::Stage;

/// What the client is told of a commit that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Visible,
    PublishTimeout,
    /// Whether it is committed is not known.
    Unknown,
    /// Nothing: the connection is cut.
    Nothing,
}

pub(super) const PUBLISH_TIMEOUT: &str = "Publish timeout. The data will be visible after a while, ";
pub(super) const UNKNOWN: &str = "Commit transaction fail cause Rpc error: No more data to read., Transaction status \
                                  unknown, you can retry with same label.";

impl Ports {
    /// Commits a load that is still PREPARE.
    ///
    /// # Errors
    /// It is not committed, and says why.
    pub(super) fn commit(&self, id: u64, parts: Vec<(Target, Stage)>) -> Result<Told, String> {
        let labels = &self.engine.labels;
        let names = self.engine.names(parts.iter().map(|(target, _)| target.table));
        let fault = self.engine.faults.take(&names, |mode| match mode {
            Mode::AnswerLost | Mode::PublishTimeout { .. } | Mode::LabelRunning { .. } | Mode::StatusUnknown { .. } => {
                Some(mode.clone())
            }
            _ => None,
        });
        match fault {
            Some(Mode::PublishTimeout { visible_after_ms }) => {
                labels.commit_unseen(&self.engine, id, parts, Duration::from_millis(visible_after_ms))?;
                Ok(Told::PublishTimeout)
            }
            Some(Mode::LabelRunning { for_ms, lands }) => {
                labels.decide_later(id, parts, Duration::from_millis(for_ms), lands);
                Ok(Told::Nothing)
            }
            Some(Mode::StatusUnknown { for_ms, lands }) => {
                labels.decide_later(id, parts, Duration::from_millis(for_ms), lands);
                Ok(Told::Unknown)
            }
            fault => {
                labels.commit(&self.engine, id, &parts)?;
                Ok(if fault.is_some() { Told::Nothing } else { Told::Visible })
            }
        }
    }
}
