use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::mysql::position::Position;
use crate::state::Checkpoint;

/// A job file whose server listens on a free port.
fn job(folder: &std::path::Path, http: &str) -> Job {
    let text = format!(
        "name: shop\nstateDir: {}\nsource: {{username: u, tables: a.b}}\ntarget: {{}}\nhttp: {http}\n",
        folder.display()
    );
    let mut job = Job::parse(&text, "job.yaml", &|_| None).unwrap();
    // The job file takes no port 0.
    if let Some(http) = &mut job.http {
        http.listen.port = 0;
    }
    job
}

/// Status and body of a GET.
async fn get_with(server: &Server, path: &str, headers: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn a_job_is_ready_while_it_follows_the_log_and_is_fresh() {
    let folder = tempfile::tempdir().unwrap();
    let progress = Arc::new(Progress::default());
    let server = serve(&job(folder.path(), "{listen: '127.0.0.1:1'}"), &progress).await.unwrap().unwrap();
    let ready = async || get_with(&server, "/readyz", "").await;
    assert_eq!(get_with(&server, "/healthz", "").await, (200, "ok\n".to_owned()));
    assert_eq!(ready().await, (503, "the job is in its schema stage\n".to_owned()));
    progress.set_stage(Stage::Incremental);
    assert_eq!(ready().await, (200, "ready\n".to_owned()));
    // A transaction of long ago waits in the batch.
    progress.read_to(1, 1);
    let (status, reason) = ready().await;
    assert!(status == 503 && reason.contains("s behind, more than 60 s"), "{status} {reason}");
    progress.closed();
    progress.committed(&Checkpoint::at(Position { file: "b.1".into(), offset: 4, gtids: None }));
    assert_eq!(ready().await.0, 200);
}

#[tokio::test]
async fn metrics_and_status_ask_for_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path(), "{listen: '127.0.0.1:1', token: planted-secret}");
    let server = serve(&job, &Arc::new(Progress::default())).await.unwrap().unwrap();
    for path in ["/metrics", "/status"] {
        for headers in ["", "Authorization: Bearer planted\r\n", "Authorization: Basic planted-secret\r\n"] {
            let (status, body) = get_with(&server, path, headers).await;
            assert_eq!(status, 401, "{path} {headers}");
            assert!(!body.contains("planted-secret"));
        }
    }
    let token = "Authorization: Bearer planted-secret\r\n";
    let (status, body) = get_with(&server, "/metrics", token).await;
    assert!(status == 200 && body.contains("towpath_build_info{") && body.contains("job=\"shop\""), "{body}");
    assert!(!body.contains("planted-secret"));
    assert_eq!(get_with(&server, "/status", token).await.0, 503);
    assert_eq!(get_with(&server, "/readyz", "").await.0, 503);
    assert_eq!(get_with(&server, "/other", token).await.0, 404);
}

#[tokio::test]
async fn a_taken_port_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut job = job(folder.path(), "{listen: '127.0.0.1:1'}");
    job.http.as_mut().unwrap().listen.port = taken.local_addr().unwrap().port();
    let error = serve(&job, &Arc::new(Progress::default())).await.unwrap_err().to_string();
    assert!(error.starts_with("http.listen: cannot listen on 127.0.0.1:"), "{error}");
}

#[test]
fn a_silent_source_is_not_ready() {
    let mut now = Progress::default().snapshot();
    now.stage = Stage::Incremental;
    let limit = Duration::from_secs(60);
    now.silence = Duration::from_secs(61);
    assert_eq!(not_ready(&now, limit).as_deref(), Some("the source has sent nothing for 61.0 s, more than 60 s"));
    now.silence = Duration::from_secs(60);
    assert_eq!(not_ready(&now, limit), None);
}

#[test]
fn tokens_are_compared_whole() {
    assert!(same(b"abc", b"abc"));
    assert!(!same(b"ab", b"abc") && !same(b"abcd", b"abc") && !same(b"abd", b"abc") && !same(b"", b"abc"));
}
