//! The binlog's own connection to real servers: it signs in wherever the one for statements does, and says the same
//! where neither can.

use towpath::config::Source;
use towpath::demo::server::{Options, Product, ScratchServer};
use towpath::error::Kind;
use towpath::mysql::connect::{self, Patience, Session};
use towpath::mysql::wire;

use crate::servers;
use crate::source_catalog::job;

async fn open(source: &Source) -> towpath::Result<wire::Connection> {
    connect::connector(source, Patience::default()).dump(None).await
}

/// Of the first row the column of this number.
async fn text(conn: &mut wire::Connection, statement: &str, column: usize) -> String {
    let rows = conn.rows(statement).await.unwrap();
    rows[0].get::<String, _>(column).unwrap()
}

async fn cipher(source: &Source) -> String {
    text(&mut open(source).await.unwrap(), "SHOW SESSION STATUS LIKE 'Ssl_cipher'", 1).await
}

/// What both kinds of connection say, which is the same.
async fn failure(source: &Source) -> String {
    let error = open(source).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Definite, "{error}");
    let other = connect::open(source).await.err().unwrap();
    assert_eq!(error.to_string(), other.to_string());
    error.to_string()
}

/// Where the shared MySQL keeps the certificates it made for itself.
async fn certificates() -> String {
    let mut conn = open(&job(servers::mysql().await.port(), "root", "", "a.b", "").source).await.unwrap();
    text(&mut conn, "SELECT @@datadir", 0).await
}

#[tokio::test]
async fn each_tls_mode_is_that_of_the_other_connection() {
    let port = servers::mysql().await.port();
    let folder = certificates().await;
    let with = |tls: &str| job(port, "root", "", "a.b", &format!("  tls: {{{tls}}}")).source;
    for (tls, encrypted) in [
        ("mode: disabled", false),
        ("mode: preferred", true),
        ("mode: required", true),
        (&format!("mode: verify_ca, ca: '{folder}ca.pem'"), true),
    ] {
        assert_eq!(!cipher(&with(tls)).await.is_empty(), encrypted, "{tls}");
    }
    // The server's own certificate names no host, and public roots did not sign it.
    let said = failure(&with(&format!("mode: verify_identity, ca: '{folder}ca.pem'"))).await;
    assert!(said.contains("the certificate does not name the host"), "{said}");
    for tls in ["mode: verify_ca".to_owned(), format!("mode: verify_ca, ca: '{folder}client-cert.pem'")] {
        let said = failure(&with(&tls)).await;
        assert!(said.contains("no TLS connection to the source") && said.contains("source.tls.ca must be"), "{said}");
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_for_the_binlog_too() {
    let server = servers::mysql().await;
    let name = server.database("dump_x509").await;
    server.run([format!("CREATE USER '{name}'@'%' IDENTIFIED BY 'p' REQUIRE X509")]).await;
    let folder = certificates().await;
    let with = |tls: String| job(server.port(), &name, "p", "a.b", &format!("  tls: {{mode: required{tls}}}")).source;
    assert!(
        !cipher(&with(format!(", cert: '{folder}client-cert.pem', key: '{folder}client-key.pem'"))).await.is_empty()
    );
    assert!(failure(&with(String::new())).await.contains("refuses user"));
    let said = failure(&with(format!(", cert: '{folder}client-cert.pem', key: '{folder}ca.pem'"))).await;
    assert!(said.contains("source.tls.key holds no private key"), "{said}");
}

#[tokio::test]
async fn caching_sha2_signs_in_for_the_binlog_over_tls_over_rsa_and_from_the_cache() {
    let server = servers::mysql().await;
    for mode in ["required", "disabled"] {
        for password in ["p: ''Ä", "", &"long ".repeat(30)] {
            let name = server.database("dump_sha2").await;
            let user = format!("CREATE USER '{name}'@'%' IDENTIFIED WITH caching_sha2_password BY '{password}'");
            server.run([user]).await;
            let source = job(server.port(), &name, password, "a.b", &format!("  tls: {{mode: {mode}}}")).source;
            // The first time in full, the second from the server's cache.
            for _ in 0..2 {
                let mut conn = open(&source).await.unwrap();
                assert_eq!(text(&mut conn, "SELECT CURRENT_USER()", 0).await, format!("{name}@%"));
                assert_eq!(text(&mut conn, "SELECT CONNECTION_ID()", 0).await, conn.id().to_string());
            }
        }
    }
}

/// A MariaDB with certificates, and one without offers no TLS.
#[tokio::test]
async fn mariadbs_plugins_sign_in_for_the_binlog() {
    let folder = certificates().await;
    let options = Options::new(Product::Mariadb)
        .argument(format!("--ssl-ca={folder}ca.pem"))
        .argument(format!("--ssl-cert={folder}server-cert.pem"))
        .argument(format!("--ssl-key={folder}server-key.pem"))
        .argument("--plugin-maturity=unknown");
    let server = ScratchServer::start(&options).await.unwrap();
    let mut root = open(&job(server.port(), "root", "", "a.b", "").source).await.unwrap();
    let mut plugins = vec!["mysql_native_password"];
    if root.rows("INSTALL SONAME 'auth_ed25519'").await.is_ok() {
        plugins.push("ed25519");
    }
    for plugin in &plugins {
        root.rows(&format!("CREATE USER {plugin} IDENTIFIED VIA {plugin} USING PASSWORD('s e c r e t')"))
            .await
            .unwrap();
        for (mode, encrypted) in [("disabled", false), ("preferred", true), ("required", true)] {
            let with =
                |password| job(server.port(), plugin, password, "a.b", &format!("  tls: {{mode: {mode}}}")).source;
            assert_eq!(!cipher(&with("s e c r e t")).await.is_empty(), encrypted, "{plugin} {mode}");
            let said = failure(&with("hunter2")).await;
            assert!(said.contains("refuses user") && !said.contains("hunter2"), "{said}");
        }
    }
    println!("plugins: {plugins:?}");
}

#[tokio::test]
async fn without_tls_at_the_server_preferred_goes_plain_for_the_binlog_and_required_fails() {
    let server = servers::mariadb().await;
    let with = |mode: &str| job(server.port(), "root", "", "a.b", &format!("  tls: {{mode: {mode}}}")).source;
    assert_eq!(cipher(&with("preferred")).await, "");
    for mode in ["required", "verify_ca", "verify_identity"] {
        assert!(failure(&with(mode)).await.contains("offers no TLS, and source.tls.mode asks for it"));
    }
}

#[tokio::test]
async fn a_wrong_password_and_a_plugin_that_is_not_supported_are_told_and_nothing_is_shown() {
    let server = servers::mysql().await;
    let name = server.database("dump_wrong").await;
    server
        .run([
            format!("CREATE USER '{name}'@'%' IDENTIFIED BY 'right'"),
            format!("CREATE USER '{name}6'@'%' IDENTIFIED WITH sha256_password BY 'hunter2'"),
        ])
        .await;
    for mode in ["required", "disabled"] {
        let source = job(server.port(), &name, "hunter2", "a.b", &format!("  tls: {{mode: {mode}}}")).source;
        let said = failure(&source).await;
        assert!(said.contains(&format!("refuses user '{name}': ERROR 1045")) && !said.contains("hunter2"), "{said}");
    }
    let said = failure(&job(server.port(), &format!("{name}6"), "hunter2", "a.b", "").source).await;
    assert!(
        said.contains("signs in with sha256_password, which is not supported") && !said.contains("hunter2"),
        "{said}"
    );
}

#[tokio::test]
async fn nobody_there_nobody_let_in_and_no_server_at_all_are_told_apart() {
    let server = servers::mysql().await;
    let name = server.database("dump_full").await;
    server.run([format!("CREATE USER '{name}'@'%' IDENTIFIED BY 'p' WITH MAX_USER_CONNECTIONS 1")]).await;
    let source = job(server.port(), &name, "p", "a.b", "").source;
    let _first = open(&source).await.unwrap();
    let error = open(&source).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("has no connection left for user"), "{error}");

    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = other.local_addr().unwrap().port();
    let source = job(port, "u", "", "a.b", "").source;
    let (error, _) = tokio::join!(open(&source), async {
        let (mut client, _) = other.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut client, b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    let error = error.unwrap_err();
    assert!(error.to_string().contains(&format!("cannot connect to the source 127.0.0.1:{port}")), "{error}");
    drop(other);
    let error = open(&source).await.unwrap_err();
    assert!(error.to_string().contains("nothing listens"), "{error}");
}

#[tokio::test]
async fn statements_answers_are_read() {
    for server in [servers::mysql().await, servers::mariadb().await] {
        let mut conn = open(&job(server.port(), "root", "", "a.b", "").source).await.unwrap();
        assert!(conn.rows("SET @a = 1").await.unwrap().is_empty());
        assert!(conn.rows("SELECT 1 WHERE FALSE").await.unwrap().is_empty());
        let rows = conn.rows("SELECT NULL, 'ä', REPEAT('x', 300) UNION ALL SELECT 2, '', NULL").await.unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].get::<Option<String>, _>(0), Some(None));
        assert_eq!(rows[0].get::<String, _>(1).as_deref(), Some("ä"));
        assert_eq!(rows[0].get::<String, _>(2).map(|text| text.len()), Some(300));
        assert_eq!(rows[1].get::<String, _>(0).as_deref(), Some("2"));
        let error = conn.rows("SELECT nonsense").await.unwrap_err();
        assert!(matches!(&error, mysql_async::Error::Server(server) if server.code == 1054), "{error}");
        // And goes on.
        assert_eq!(text(&mut conn, "SELECT @a", 0).await, "1");
    }
}
