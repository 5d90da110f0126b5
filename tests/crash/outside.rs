//! `towpath embedded`, a process of its own: it outlives the jobs that are killed, and can be killed itself.

use std::path::PathBuf;
use std::process::Stdio;

use mysql_async::Conn;
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use crate::harness::{self, Port};

pub(super) struct Outside {
    folder: TempDir,
    child: Child,
    /// MySQL, FE, BE. They are nobody else's while the target is dead.
    ports: [Port; 3],
}

impl Outside {
    pub(super) async fn start() -> Outside {
        let folder = tempfile::tempdir().unwrap();
        let ports = [(); 3].map(|()| Port::free());
        let child = start(folder.path().join("data"), &ports).await.expect("the target starts");
        Outside { folder, child, ports }
    }

    /// SIGKILL.
    pub(super) async fn die(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Starts again, with the data and the ports it had.
    pub(super) async fn come_back(&mut self) {
        for _ in 0..50 {
            // Connections of the former process may still be closing on its ports.
            if let Some(child) = start(self.folder.path().join("data"), &self.ports).await {
                self.child = child;
                return;
            }
        }
        panic!("the target does not start again");
    }

    pub(super) fn mysql_port(&self) -> u16 {
        self.ports[0].number()
    }

    /// For a job file.
    pub(super) fn job_ports(&self) -> (u16, u16) {
        (self.ports[0].number(), self.ports[1].number())
    }

    pub(super) fn be_port(&self) -> u16 {
        self.ports[2].number()
    }

    pub(super) async fn connect(&self) -> Conn {
        harness::connect(self.mysql_port()).await
    }

    /// The labels of the loads that are in.
    pub(super) fn loads(&self) -> Vec<String> {
        let file = self.folder.path().join("data/embedded.sqlite");
        let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let mut labels = connection.prepare("SELECT label FROM load_transaction WHERE state = 'VISIBLE'").unwrap();
        labels.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    /// The epochs that went in, as `(epoch, table, part)` of each load that is in: a load that went in twice, or a
    /// second one with other rows in its place, shows as a pair of equals.
    pub(super) fn loads_of_epochs(&self) -> Vec<(u64, String, u32)> {
        // towpath_<job>_<run id>_<epoch>_<table>_<part>_<digest>; a chunk of the copy has `f<number>` for an epoch.
        let parsed = self.loads().into_iter().filter_map(|label| {
            let parts: Vec<&str> = label.rsplitn(5, '_').collect();
            Some((parts[3].parse().ok()?, parts[2].to_owned(), parts[1].parse().unwrap()))
        });
        parsed.collect()
    }
}

/// `None`: it did not come up.
async fn start(data: PathBuf, ports: &[Port; 3]) -> Option<Child> {
    let mut command = harness::towpath("embedded");
    command.arg("--data-dir").arg(data).stdout(Stdio::piped()).stderr(Stdio::null());
    for (name, port) in ["--mysql-port", "--fe-port", "--be-port"].into_iter().zip(ports) {
        command.args([name, &port.number().to_string()]);
    }
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    (!line.is_empty()).then_some(child)
}
