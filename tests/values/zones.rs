//! TIMESTAMP in a zone whose clocks change: the server itself is run in one, and what it shows in its own zone is what
//! both decoders must write.

use std::os::unix::fs::PermissionsExt as _;

use towpath::demo::server::{self, Options, Product, ScratchServer};

use super::*;
use crate::harness::{Job, Target, assert_equal, text};

/// Berlin's rules since 1996, for which the machine needs no files of zones.
const RULES: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

/// A server whose `SYSTEM` zone is Berlin's.
async fn berlin() -> (ScratchServer, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("mysqld");
    let binary = server::find(Product::Mysql).unwrap();
    std::fs::write(&script, format!("#!/bin/sh\nTZ='{RULES}' exec '{}' \"$@\"\n", binary.display())).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    (ScratchServer::start(&Options::new(Product::Mysql).binary(Some(script))).await.unwrap(), folder)
}

/// Seconds since 1970, with the last ones of each offset and the first ones of the next.
const MOMENTS: &[&str] = &[
    "1711846799.999999",
    "1711846800",
    "1729987199.5",
    "1729987200",
    "1729990799.000001",
    "1729990800",
    "1729994399",
    "1729994400",
    "1000000000.1",
    "2147483647.999999",
];

#[tokio::test(flavor = "multi_thread")]
async fn timestamps_are_written_as_the_clocks_of_the_zone_showed_them() {
    let (server, _folder) = berlin().await;
    let mut conn = server.connect().await.unwrap();
    let start = position::current(&mut conn, connect::Flavor::Mysql).await.unwrap();
    for setup in ["CREATE DATABASE zones", "USE zones", "SET sql_mode = '', time_zone = '+00:00'"] {
        conn.query_drop(setup).await.unwrap();
    }
    for digits in [0, 3, 6] {
        conn.query_drop(format!("CREATE TABLE t{digits} (id INT PRIMARY KEY, c TIMESTAMP({digits}) NULL)"))
            .await
            .unwrap();
        for (id, moment) in MOMENTS.iter().enumerate() {
            let insert = format!("INSERT INTO t{digits} VALUES ({id}, FROM_UNIXTIME(TRUNCATE({moment}, {digits})))");
            conn.query_drop(&insert).await.unwrap_or_else(|error| panic!("{insert}: {error}"));
        }
    }
    let options = ValueOptions { zone: jiff::tz::TimeZone::get("Europe/Berlin").unwrap(), ..options() };
    let tables = tables(&mut conn, "zones").await;
    let events = log(&server, start, "zones").await;
    conn.query_drop("SET time_zone = 'SYSTEM'").await.unwrap();
    let mut hours = Vec::new();
    for table in &tables {
        let mapping = mapping(table);
        let from_log = images(&events, &mapping, &options);
        assert_eq!(from_log, snapshot(&server, &mapping, &options).await);
        let query = format!("SELECT CONCAT('plain ', CAST(c AS CHAR)) FROM {} ORDER BY id", table.name.quoted());
        let shown: Vec<String> = conn.query(query).await.unwrap();
        let cells: Vec<&String> = from_log.iter().map(|cells| &cells[1]).collect();
        assert_eq!(cells, shown.iter().collect::<Vec<_>>());
        hours.extend(shown.into_iter().take(4).map(|text| text[17..19].to_owned()));
    }
    assert_eq!(hours[..4], ["01", "03", "01", "02"], "the server runs in the zone");

    // Its zone is only an abbreviation, so the job must be told.
    let target = Target::start().await;
    let job = |zone: &str| {
        let (port, fe) = (target.server.mysql_addr.port(), target.server.fe_addr.port());
        Job::from_text(&format!(
            "name: zones\nsource: {{host: 127.0.0.1, port: {}, username: root, tables: ['zones.*']{zone}}}\n\
             target: {{clientAddress: '127.0.0.1:{port}', httpAddress: ['127.0.0.1:{fe}'], username: root}}\n",
            server.port()
        ))
    };
    let refused = job("").command("check", &[]).await;
    let said = text(&refused);
    assert!(!refused.status.success() && said.contains("set source.timezone; one that agrees"), "{said}");

    // In a key, both hours of the night in autumn stop the job; in UTC none does.
    conn.query_drop("SET time_zone = '+00:00'").await.unwrap();
    conn.query_drop("DROP TABLE t0, t3, t6").await.unwrap();
    conn.query_drop("CREATE TABLE keyed (at TIMESTAMP PRIMARY KEY, v INT)").await.unwrap();
    conn.query_drop("INSERT INTO keyed VALUES (FROM_UNIXTIME(1729987200), 1), (FROM_UNIXTIME(1729990800), 2)")
        .await
        .unwrap();
    let local = job(", timezone: Europe/Berlin");
    let checked = local.command("check", &[]).await;
    let said = text(&checked);
    assert!(checked.status.success() && said.contains("zones.keyed column at: a TIMESTAMP in the key"), "{said}");
    let ended = local.command("run", &["--stop-at-end"]).await;
    let said = text(&ended);
    let names = ["zones.keyed", "column at", "2024-10-27T02:00:00", "Europe/Berlin", "source.timezone"];
    assert!(!ended.status.success() && names.iter().all(|name| said.contains(name)), "{said}");
    conn.query_drop(
        "DROP DATABASE zones; CREATE DATABASE utc; CREATE TABLE utc.keyed (at TIMESTAMP PRIMARY KEY, v INT)",
    )
    .await
    .unwrap();
    conn.query_drop("INSERT INTO utc.keyed VALUES (FROM_UNIXTIME(1729987200), 1), (FROM_UNIXTIME(1729990800), 2)")
        .await
        .unwrap();
    let utc = Job::new(server.port(), &target, "utc.*", "", "");
    utc.run_to_end().await;
    assert_equal(server.port(), &target, "utc").await;
}
