//! Whoever reads what a command prints, or a job logs, may go away before it is done: `towpath status | head`.

use std::process::Stdio;

use mysql_async::prelude::Queryable as _;

use crate::harness::{Job, Target, assert_equal, text, towpath};
use crate::servers;

/// A pipe that nobody reads.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_reader_is_gone_ends_without_a_word() {
    let source = servers::mysql().await;
    let database = source.database("pipes").await;
    source
        .run([
            format!("CREATE TABLE {database}.t (id INT PRIMARY KEY)"),
            format!("INSERT INTO {database}.t VALUES (1), (2), (3)"),
        ])
        .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", "params: {realFlushPauseSec: 0}");
    // The log is nothing that a job needs.
    let unheard = towpath("run").arg(job.path()).arg("--stop-at-end").stderr(unread()).status().await.unwrap();
    assert_eq!(unheard.code(), Some(0));
    assert_equal(source.port(), &target, &database).await;
    target.connect().await.query_drop(format!("DELETE FROM {database}.t WHERE id = 2")).await.unwrap();
    assert_eq!(job.command("verify", &[]).await.status.code(), Some(3));

    let file = job.path().to_str().unwrap();
    for command in [
        &["status", file][..],
        &["status", file, "--json"],
        &["check", file],
        &["ddl", file],
        &["verify", file],
        &["verify", file, "--json"],
        &["verify", file, "--history"],
        &["verify", file, "--history", "--run", "1", "--json"],
        &["correct", file, "--dry-run"],
        &["set", file, "realFlushPauseSec=1"],
        &["pause", file],
        &["resume", file],
        &["dead-letters", "list", file],
        &["dead-letters", "list", file, "--json"],
        &["dead-letters", "retry", file],
        &["dead-letters", "drop", file, "--yes"],
        &["recopy", file, "t"],
        &["reposition", file, "latest", "--accept-loss"],
        &["schema", "--job-file"],
    ] {
        let mut towpath = towpath(command[0]);
        let ended = towpath.args(&command[1..]).stdout(unread()).stderr(Stdio::piped()).spawn().unwrap();
        let output = ended.wait_with_output().await.unwrap();
        // As of a program that SIGPIPE ends.
        assert_eq!(
            (output.status.code(), text(&output).contains("panicked")),
            (Some(141), false),
            "{command:?}: {}",
            text(&output)
        );
        assert!(!text(&output).contains("error"), "{command:?}: {}", text(&output));
    }
    // An error has nobody to be told to either.
    let nobody = towpath("status").arg("nothing.yaml").stderr(unread()).status().await.unwrap();
    assert_eq!(nobody.code(), Some(2));
}
