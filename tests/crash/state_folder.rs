//! The state folder is full, read-only, gone, or somebody else's: the job stops with a clear error, and goes on later
//! as if nothing had been.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use tokio::process::Command;

use super::outside::Outside;
use crate::harness::{Job, assert_equal_at, text, towpath};
use crate::servers::{self, Shared};

const QUICK: &str = "params: {realFlushPauseSec: 0}";

/// A source with one row, its target, and a job that has copied it.
async fn begun(source: &Shared) -> (String, Outside, Job) {
    let database = source.database("state").await;
    source
        .run([
            format!("CREATE TABLE {database}.t (id INT PRIMARY KEY)"),
            format!("INSERT INTO {database}.t VALUES (0)"),
        ])
        .await;
    let target = Outside::start().await;
    let job = Job::at(source.port(), target.job_ports(), &format!("{database}.*"), "", QUICK);
    job.run_to_end().await;
    (database, target, job)
}

async fn goes_on(source: &Shared, database: &str, target: &Outside, job: &Job) {
    job.run_to_end().await;
    assert_equal_at(source.port(), target.mysql_port(), database).await;
    let copied = job.status().await["fullData"][0]["rows"].clone();
    assert_eq!(copied, 1, "it went on, and did not begin anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_is_refused_by_whatever_path_it_comes_and_status_is_not() {
    let source = servers::mysql().await;
    let (database, target, job) = begun(source).await;
    let mut child = job.start();
    job.wait_for("running", |status| status["running"] == true).await;
    let link = job.state_dir().with_file_name("link");
    std::os::unix::fs::symlink(job.state_dir(), &link).unwrap();
    let linked = job.path().with_file_name("linked.yaml");
    let (here, there) = (job.state_dir().display().to_string(), link.display().to_string());
    fs::write(&linked, fs::read_to_string(job.path()).unwrap().replacen(&here, &there, 1)).unwrap();
    for file in [job.path(), &linked] {
        let output = towpath("run").arg(file).output().await.unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains("is running already"), "{}", text(&output));
        let output = towpath("status").arg(file).output().await.unwrap();
        assert!(output.status.success() && text(&output).contains("(running)"), "{}", text(&output));
    }
    assert!(child.try_wait().unwrap().is_none(), "{}", job.log());
    assert!(job.stop(child).await.success());
    goes_on(source, &database, &target, &job).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_has_only_just_started_has_no_status_yet_and_says_so() {
    let source = servers::mysql().await;
    let database = source.database("state").await;
    source.run([format!("CREATE TABLE {database}.t (id INT PRIMARY KEY)")]).await;
    let target = Outside::start().await;
    let job = Job::at(source.port(), target.job_ports(), &format!("{database}.*"), "", QUICK);
    let mut child = job.start_held_at("position-found", 0).await;
    let output = job.command("status", &[]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("is starting"), "{}", text(&output));
    child.kill().await.unwrap();
    let output = job.command("status", &[]).await;
    assert!(text(&output).contains("has not been run yet"), "{}", text(&output));
}

/// A limit on files' sizes stands for a full disk: writing fails in the middle of the job.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_state_folder_stops_the_job() {
    let source = servers::mysql().await;
    let (database, target, job) = begun(source).await;
    let mut run = Command::new("sh");
    run.args(["-c", "trap '' XFSZ; ulimit -f 400; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_towpath"), "run"]);
    let running = run.arg(job.path()).kill_on_drop(true).output();
    let writing = async {
        let mut conn = source.connect().await;
        for id in 1.. {
            conn.query_drop(format!("INSERT INTO {database}.t VALUES ({id})")).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let output = tokio::select! {
        output = running => output.unwrap(),
        () = writing => unreachable!(),
    };
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    for expected in ["state store", "disk full", "goes on from its checkpoint"] {
        assert!(text(&output).contains(expected), "{expected:?} is not in {}", text(&output));
    }
    goes_on(source, &database, &target, &job).await;
}

/// `towpath`, to be run without the right to write where permissions forbid it. Root has to give that up first.
fn bound_by_permissions(command: &str, folder: &Path) -> Command {
    if fs::metadata(folder).unwrap().uid() != 0 {
        return towpath(command);
    }
    let mut run = Command::new("setpriv");
    run.args(["--bounding-set=-dac_override,-dac_read_search", env!("CARGO_BIN_EXE_towpath"), command]);
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_state_folder_is_named_and_can_still_be_looked_at() {
    let source = servers::mysql().await;
    let (database, target, job) = begun(source).await;
    let permit = |folder: u32, files: u32| {
        for file in fs::read_dir(job.state_dir()).unwrap() {
            fs::set_permissions(file.unwrap().path(), fs::Permissions::from_mode(files)).unwrap();
        }
        fs::set_permissions(job.state_dir(), fs::Permissions::from_mode(folder)).unwrap();
    };
    permit(0o555, 0o444);
    let output = bound_by_permissions("run", &job.state_dir()).arg(job.path()).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("`stateDir`") && text(&output).contains("write"), "{}", text(&output));
    let output = bound_by_permissions("status", &job.state_dir()).arg(job.path()).output().await.unwrap();
    assert!(output.status.success() && text(&output).contains("(not running)"), "{}", text(&output));
    // The folder would do, the file would not.
    permit(0o755, 0o444);
    fs::set_permissions(job.state_file("lock"), fs::Permissions::from_mode(0o644)).unwrap();
    let output = bound_by_permissions("run", &job.state_dir()).arg(job.path()).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("cannot write to the state store"), "{}", text(&output));
    permit(0o755, 0o644);
    goes_on(source, &database, &target, &job).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_folder_that_is_deleted_while_the_job_runs_is_written_again() {
    let source = servers::mysql().await;
    let (database, target, job) = begun(source).await;
    let mut child = job.start();
    let mut conn = source.connect().await;
    conn.query_drop(format!("INSERT INTO {database}.t VALUES (1)")).await.unwrap();
    job.wait_for("the row", |status| status["inserts"] == 1).await;
    fs::remove_dir_all(job.state_dir()).unwrap();
    conn.query_drop(format!("INSERT INTO {database}.t VALUES (2)")).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(60), child.wait()).await;
    let status = ended.unwrap_or_else(|_| panic!("it goes on without its state\n{}", job.log())).unwrap();
    assert_eq!(status.code(), Some(1), "{}", job.log());
    assert!(job.log().contains("was deleted while the job ran"), "{}", job.log());
    goes_on(source, &database, &target, &job).await;
    assert_eq!(job.status().await["inserts"], 2);
}

/// What was written before the clock was put back lies in the future then.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_put_back_makes_no_age_negative() {
    let source = servers::mysql().await;
    let (database, target, job) = begun(source).await;
    source.run([format!("INSERT INTO {database}.t VALUES (1)")]).await;
    job.run_to_end().await;
    let connection = rusqlite::Connection::open(job.state_file("db")).unwrap();
    let hour = 3_600_000_000_i64;
    connection
        .execute("UPDATE checkpoint SET saved_at = saved_at + ?1, committed_at = committed_at + ?1", [hour])
        .unwrap();
    drop(connection);
    let status = job.status().await;
    assert_eq!(
        (&status["checkpointAgeSeconds"], &status["lastCommitAgeSeconds"]),
        (&0.0.into(), &0.0.into()),
        "{status}"
    );
    source.run([format!("INSERT INTO {database}.t VALUES (2)")]).await;
    goes_on(source, &database, &target, &job).await;
}
