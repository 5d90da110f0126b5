//! The lines of filtered rows, and the file that `ErrorURL` names.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::Ports;

/// Logs older than this are removed when a new one is written.
const KEEP: Duration = Duration::from_secs(48 * 3600);

impl Ports {
    fn error_logs(&self) -> PathBuf {
        self.engine.options.data_dir.join("error_log")
    }

    /// Writes the lines and returns their `ErrorURL`; `None` when there are none.
    pub(super) fn write_error_log(&self, lines: &[String]) -> Option<String> {
        if lines.is_empty() {
            return None;
        }
        let folder = self.error_logs();
        std::fs::create_dir_all(&folder).ok()?;
        for file in std::fs::read_dir(&folder).ok()?.flatten() {
            let age = file.metadata().and_then(|found| found.modified()).ok();
            if age.and_then(|at| SystemTime::now().duration_since(at).ok()).is_some_and(|age| age > KEEP) {
                let _ = std::fs::remove_file(file.path());
            }
        }
        let name = format!("error_log_{:032x}", rand::random::<u128>());
        std::fs::write(folder.join(&name), lines.join("\n") + "\n").ok()?;
        let host = match self.be_addr.ip() {
            ip if ip.is_unspecified() => "localhost".to_owned(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        Some(format!("http://{host}:{}/api/_load_error_log?file={name}", self.be_addr.port()))
    }

    /// The text of a log. The name may be no path.
    pub(super) fn read_error_log(&self, name: &str) -> Option<String> {
        let hex = name.strip_prefix("error_log_")?;
        if hex.is_empty() || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        std::fs::read_to_string(self.error_logs().join(name)).ok()
    }
}
