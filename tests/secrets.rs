//! Invariant 7: passwords and tokens are in no output, no metric and no file of the state, whatever happens.

use std::path::Path;

use mysql_async::prelude::Queryable as _;

use crate::harness::{Job, Port, Target, text, towpath};
use crate::servers;

const SOURCE: &str = "planted-source-secret";
const TARGET: &str = "planted-target-secret";
const TOKEN: &str = "planted-token-secret";

/// All files below a folder.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    found
}

fn assert_clean(what: &str, bytes: &[u8]) {
    for secret in [SOURCE, TARGET, TOKEN] {
        let at = memchr::memmem::find(bytes, secret.as_bytes());
        assert!(
            at.is_none(),
            "{what} shows {secret}: …{}",
            String::from_utf8_lossy(&bytes[at.unwrap().saturating_sub(200)..])
        );
    }
    // As an HTTP header has them.
    for (user, secret) in [("root", TARGET), ("root", SOURCE)] {
        use base64::Engine as _;
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{secret}"));
        assert!(memchr::memmem::find(bytes, basic.as_bytes()).is_none(), "{what} shows a login of {user}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_and_tokens_are_shown_nowhere() {
    let source = servers::mysql().await;
    let mut conn = source.connect().await;
    for statement in [
        "CREATE DATABASE secrets",
        "CREATE TABLE secrets.t (id INT PRIMARY KEY, v VARCHAR(10))",
        "INSERT INTO secrets.t VALUES (1, 'a')",
        &format!("CREATE USER secret_keeper IDENTIFIED BY '{SOURCE}'"),
        "GRANT ALL ON *.* TO secret_keeper",
    ] {
        conn.query_drop(statement).await.unwrap();
    }
    let target = Target::with(|options| options.password = TARGET.to_owned()).await;
    let listen = Port::free();
    let port = listen.number();
    let more = format!("params: {{realFlushPauseSec: 0}}\nhttp: {{listen: '127.0.0.1:{port}', token: {TOKEN}}}");
    let user = format!("username: secret_keeper, password: {SOURCE}");
    let job = Job::new(source.port(), &target, "secrets.*", &user, &more);
    job.add_to_target(&format!("password: {TARGET}"));
    for (command, options) in [("check", &[][..]), ("ddl", &[]), ("run", &["--stop-at-end", "--log-level", "trace"])] {
        let output = job.command(command, options).await;
        assert!(output.status.success(), "{command}: {}", text(&output));
        assert_clean(command, text(&output).as_bytes());
    }
    let child = job.start_as({
        let mut run = towpath("run");
        run.args(["--log-format", "json"]);
        run
    });
    conn.query_drop("INSERT INTO secrets.t VALUES (2, 'b')").await.unwrap();
    job.wait_for("the row", |status| status["inserts"] == 1).await;
    for path in ["/metrics", "/status", "/healthz", "/readyz"] {
        for token in [TOKEN, "wrong"] {
            let url = format!("http://127.0.0.1:{port}{path}");
            let asked = reqwest::Client::new().get(url).header("Authorization", format!("Bearer {token}"));
            assert_clean(path, asked.send().await.unwrap().text().await.unwrap().as_bytes());
        }
    }
    assert_clean("status", text(&job.command("status", &[]).await).as_bytes());
    // The source lets the job in no more, and tells why.
    conn.query_drop("ALTER USER secret_keeper IDENTIFIED BY 'another'").await.unwrap();
    assert!(job.stop(child).await.success(), "{}", job.log());
    let refused = job.command("run", &["--stop-at-end", "--log-level", "trace"]);
    let refused = tokio::time::timeout(std::time::Duration::from_secs(4), refused).await;
    if let Ok(output) = refused {
        assert_clean("run, refused", text(&output).as_bytes());
    }
    assert_clean("check, refused", text(&job.command("check", &[]).await).as_bytes());
    for (name, bytes) in files(job.path().parent().unwrap()) {
        if !name.ends_with("job.yaml") {
            assert_clean(&name, &bytes);
        }
    }
}
