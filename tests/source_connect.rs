//! Connecting to real servers: TLS modes, authentication plugins, and what is said when it fails.

use mysql_async::prelude::Queryable as _;
use towpath::config::{Job, Source};
use towpath::demo::server::{Options, Product, ScratchServer};
use towpath::error::Kind;
use towpath::mysql::connect::{self, Flavor};

use crate::servers;
use crate::source_catalog::job;

async fn cipher(job: &Job) -> towpath::Result<String> {
    let mut conn = connect::open(&job.source).await?;
    let row: Option<(String, String)> = conn.query_first("SHOW SESSION STATUS LIKE 'Ssl_cipher'").await.unwrap();
    Ok(row.unwrap().1)
}

async fn failure(source: &Source) -> (Kind, String) {
    let error = connect::open(source).await.err().unwrap();
    (error.kind(), error.to_string())
}

#[tokio::test]
async fn the_servers_are_told_apart() {
    for (server, flavor, name) in [
        (servers::mysql().await, Flavor::Mysql, "MySQL 9"),
        (servers::mariadb().await, Flavor::Mariadb, "MariaDB 10.11"),
    ] {
        let job = job(server.port(), "root", "", "a.b", "");
        let mut conn = connect::open(&job.source).await.unwrap();
        let info = connect::server_info(&mut conn).await.unwrap();
        assert_eq!(info.flavor, flavor);
        assert!(info.product().starts_with(name), "{}", info.product());
        assert_eq!(info.server_uuid.is_some(), flavor == Flavor::Mysql);
        assert!(info.gtids && info.server_id > 0);
        connect::source_zone(&info, None).unwrap();
        let zone: Option<String> = conn.query_first("SELECT @@session.time_zone").await.unwrap();
        assert_eq!(zone.as_deref(), Some("+00:00"));
    }
}

#[tokio::test]
async fn a_wrong_password_is_definite_and_not_shown() {
    for server in [servers::mysql().await, servers::mariadb().await] {
        let name = server.database("wrong").await;
        server.run([format!("CREATE USER '{name}'@'%' IDENTIFIED BY 'right'")]).await;
        let (kind, text) = failure(&job(server.port(), &name, "hunter2", "a.b", "").source).await;
        assert_eq!(kind, Kind::Definite);
        let start = format!("the source 127.0.0.1:{} refuses user '{name}': ERROR 1045", server.port());
        assert!(text.starts_with(&start), "{text}");
        assert!(text.contains("check source.username and source.password") && !text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_transient() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let (kind, text) = failure(&job(port, "u", "", "a.b", "").source).await;
    assert_eq!(kind, Kind::Transient);
    assert!(text.starts_with(&format!("nothing listens at the source's address 127.0.0.1:{port}\n")), "{text}");
    let (kind, text) = failure(&job(port, "u", "", "a.b", "  host: no-such-host.invalid").source).await;
    assert_eq!(kind, Kind::Transient);
    assert!(text.starts_with("the source's host no-such-host.invalid is not found: "), "{text}");
}

#[tokio::test]
async fn too_many_connections_is_transient() {
    let server = servers::mysql().await;
    let name = server.database("full").await;
    server.run([format!("CREATE USER '{name}'@'%' IDENTIFIED BY 'p' WITH MAX_USER_CONNECTIONS 1")]).await;
    let job = job(server.port(), &name, "p", "a.b", "");
    let _first = connect::open(&job.source).await.unwrap();
    let (kind, text) = failure(&job.source).await;
    assert_eq!(kind, Kind::Transient);
    assert!(text.contains("has no connection left for user"), "{text}");
}

/// Data folder of the shared MySQL, where it keeps the certificates it made for itself.
async fn certificates() -> String {
    let mut conn = servers::mysql().await.connect().await;
    conn.query_first("SELECT @@datadir").await.unwrap().unwrap()
}

#[tokio::test]
async fn each_tls_mode_does_what_mysql_says() {
    let port = servers::mysql().await.port();
    for (mode, encrypted) in [("disabled", false), ("preferred", true), ("required", true)] {
        let job = job(port, "root", "", "a.b", &format!("  tls: {{mode: {mode}}}"));
        assert_eq!(!cipher(&job).await.unwrap().is_empty(), encrypted, "{mode}");
    }
}

#[tokio::test]
async fn without_tls_at_the_server_preferred_goes_plain_and_required_fails() {
    // A MariaDB without certificates offers no TLS.
    let server = ScratchServer::start(&Options::new(Product::Mariadb).argument("--skip-ssl")).await.unwrap();
    let with = |mode: &str| job(server.port(), "root", "", "a.b", &format!("  tls: {{mode: {mode}}}"));
    assert_eq!(cipher(&with("preferred")).await.unwrap(), "");
    for mode in ["required", "verify_ca", "verify_identity"] {
        let (kind, text) = failure(&with(mode).source).await;
        assert_eq!(kind, Kind::Definite);
        assert!(text.contains("offers no TLS, and source.tls.mode asks for it"), "{text}");
    }
}

#[tokio::test]
async fn verify_ca_takes_a_certificate_without_names_and_still_checks_its_chain() {
    let port = servers::mysql().await.port();
    let folder = certificates().await;
    let with = |tls: String| job(port, "root", "", "a.b", &format!("  tls: {{{tls}}}"));
    assert!(!cipher(&with(format!("mode: verify_ca, ca: '{folder}ca.pem'"))).await.unwrap().is_empty());
    // The server's own certificate names no host.
    let (kind, text) = failure(&with(format!("mode: verify_identity, ca: '{folder}ca.pem'")).source).await;
    assert_eq!(kind, Kind::Definite);
    assert!(text.contains("the certificate does not name the host"), "{text}");
    // Public roots, and the CA of another server, did not sign it.
    let other = ScratchServer::start(&Options::new(Product::Mysql)).await.unwrap();
    let other: String = other.connect().await.unwrap().query_first("SELECT @@datadir").await.unwrap().unwrap();
    let foreign = tempfile::tempdir().unwrap();
    let ca = foreign.path().join("ca.pem");
    std::fs::copy(format!("{other}ca.pem"), &ca).unwrap();
    for tls in ["mode: verify_ca".to_owned(), format!("mode: verify_ca, ca: '{}'", ca.display())] {
        let (kind, text) = failure(&with(tls).source).await;
        assert_eq!(kind, Kind::Definite);
        assert!(
            text.starts_with("no TLS connection to the source") && text.contains("source.tls.ca must be"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_a_server_that_asks_for_it() {
    let server = servers::mysql().await;
    let name = server.database("x509").await;
    server.run([format!("CREATE USER '{name}'@'%' IDENTIFIED BY 'p' REQUIRE X509")]).await;
    let folder = certificates().await;
    let with = |tls: String| job(server.port(), &name, "p", "a.b", &format!("  tls: {{mode: required{tls}}}"));
    assert!(cipher(&with(format!(", cert: '{folder}client-cert.pem', key: '{folder}client-key.pem'"))).await.is_ok());
    assert_eq!(failure(&with(String::new()).source).await.0, Kind::Definite);
}

#[tokio::test]
async fn caching_sha2_signs_in_over_tls_over_rsa_and_from_the_cache() {
    let server = servers::mysql().await;
    for mode in ["required", "disabled"] {
        let name = server.database("sha2").await;
        server.run([format!("CREATE USER '{name}'@'%' IDENTIFIED WITH caching_sha2_password BY 'p: ''Ä'")]).await;
        let job = job(server.port(), &name, "p: ''Ä", "a.b", &format!("  tls: {{mode: {mode}}}"));
        // The first time in full, the second from the server's cache.
        for _ in 0..2 {
            connect::open(&job.source).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_plugin_that_is_not_supported_is_named() {
    let server = servers::mysql().await;
    let name = server.database("sha256").await;
    server.run([format!("CREATE USER '{name}'@'%' IDENTIFIED WITH sha256_password BY 'p'")]).await;
    let (kind, text) = failure(&job(server.port(), &name, "p", "a.b", "").source).await;
    assert_eq!(kind, Kind::Definite);
    assert!(text.contains("signs in with sha256_password, which is not supported"), "{text}");
    assert!(text.contains("IDENTIFIED WITH caching_sha2_password"), "{text}");
}

#[tokio::test]
async fn mariadb_plugins_sign_in() {
    let server = servers::mariadb().await;
    let name = server.database("native").await;
    server.run([format!("CREATE USER '{name}'@'%' IDENTIFIED VIA mysql_native_password USING PASSWORD('p')")]).await;
    connect::open(&job(server.port(), &name, "p", "a.b", "").source).await.unwrap();
}
