//! Comparing both sides: all rows of sysbench's tables, in each of the ways that they allow. The target is the embedded server,
//! in this process, and does its half of the work on SQLite: what a StarRocks takes for it is not told here. CPU and memory
//! are `towpath verify`'s own.

use tokio::runtime::Runtime;

use crate::job::{Job, Work};
use crate::process;
use crate::report::Report;
use crate::source::{DATABASE, Size, Source};

/// Each way with the options that lead to it.
const WAYS: [(&str, &[&str]); 2] = [
    ("verify, checksums", &[]),
    // With this tolerance no text is the same at both servers. None of the rows has an empty one.
    ("verify, ranges", &["--empty-equals-null"]),
];

pub(crate) fn measure(report: &mut Report, runtime: &Runtime, source: &Source, size: Size) {
    let folder = tempfile::tempdir().unwrap();
    let options = towpath::embedded::Options::new(folder.path());
    let target = runtime.block_on(towpath::embedded::Server::start(options)).unwrap();
    let ports = (target.mysql_addr.port(), target.fe_addr.port());
    let job = Job::new(source.port(), ports, &format!("{DATABASE}.*"), &Work::Copy, "");
    job.run("full");
    // As of `source::fill`: two integers, two texts of 119 and 59 bytes.
    let bytes = size.rows() * (4 + 4 + 119 + 59);
    for _ in 0..report.rounds {
        for (work, options) in WAYS {
            let mut command = job.command("verify");
            command.args(options);
            // It ends with success only if every row is there and equal.
            let (cost, _) = process::measure(command, &["comparison begins"]);
            report.add(work, "towpath", size.rows(), bytes, cost);
        }
    }
    runtime.block_on(target.stop());
}
