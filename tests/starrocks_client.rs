//! The StarRocks client against the embedded server: both sides written from the same protocol notes, by
//! different hands.

use bytes::Bytes;
use towpath::config::{Params, Password, Target as TargetSettings, ZeroDate};
use towpath::embedded::fault::{Fault, Mode};
use towpath::schema::{
    Column, ColumnType, DefaultValue, Generated, IntegerSize, LobSize, Table, TableName, TargetTable, map_table,
};
use towpath::target::starrocks::StarRocks;
use towpath::target::{Format, LabelState, Load, LoadColumn, Loaded, Target, Version, mapping_options};

use crate::cluster::{Cluster, address, nowhere};

/// Gives up soon.
fn params() -> Params {
    Params { retry_count: 3, retry_wait_time_ms: 10, so_timeout_sec: 20, http_so_timeout_sec: 20, ..Params::default() }
}

fn client(settings: &TargetSettings) -> StarRocks {
    StarRocks::new(settings, &params()).unwrap()
}

fn column(name: &str, ty: ColumnType) -> Column {
    Column {
        name: name.into(),
        ty,
        nullable: true,
        default: None,
        comment: String::new(),
        generated: Generated::No,
        invisible: false,
    }
}

fn integer(size: IntegerSize, unsigned: bool) -> ColumnType {
    ColumnType::Integer { size, unsigned }
}

fn utf8(chars: u32) -> ColumnType {
    ColumnType::Varchar { chars, charset: "utf8mb4".into() }
}

/// Keyed by its first column.
fn source(name: &str, columns: Vec<(&str, ColumnType)>) -> Table {
    let mut columns: Vec<Column> = columns.into_iter().map(|(name, ty)| column(name, ty)).collect();
    columns[0].nullable = false;
    Table {
        name: TableName::new("shop", name),
        columns,
        key: vec![0],
        primary: true,
        charset: None,
        indexes: Vec::new(),
        comment: "it's a \"table\"".into(),
    }
}

async fn mapped(client: &StarRocks, source: &Table) -> TargetTable {
    let version = client.version().await.unwrap();
    map_table(source, &mapping_options(&nowhere(), &ZeroDate::Null, version)).unwrap().target
}

fn all_types() -> Table {
    let text = |size| ColumnType::Text { size, charset: "utf8mb4".into() };
    let members = vec!["new".to_owned(), "paid".to_owned()];
    let mut table = source(
        "everything",
        vec![
            ("id", integer(IntegerSize::Big, true)),
            ("tiny", integer(IntegerSize::Tiny, false)),
            ("utiny", integer(IntegerSize::Tiny, true)),
            ("medium", integer(IntegerSize::Medium, false)),
            ("uint", integer(IntegerSize::Int, true)),
            ("price", ColumnType::Decimal { precision: 12, scale: 2 }),
            ("wide", ColumnType::Decimal { precision: 65, scale: 30 }),
            ("ratio", ColumnType::Float),
            ("exact", ColumnType::Double),
            ("flag", ColumnType::Bit { bits: 1 }),
            ("bits", ColumnType::Bit { bits: 64 }),
            ("code", ColumnType::Char { chars: 5, charset: "latin1".into() }),
            ("name", utf8(80)),
            ("short", text(LobSize::Tiny)),
            ("note", text(LobSize::Plain)),
            ("story", text(LobSize::Long)),
            ("hash", ColumnType::Binary { bytes: 16 }),
            ("photo", ColumnType::Blob { size: LobSize::Long }),
            ("born", ColumnType::Date),
            ("at", ColumnType::DateTime { digits: 6 }),
            ("seen", ColumnType::Timestamp { digits: 0 }),
            ("took", ColumnType::Time { digits: 6 }),
            ("made", ColumnType::Year),
            ("state", ColumnType::Enum { members: members.clone() }),
            ("tags", ColumnType::Set { members }),
            ("doc", ColumnType::Json),
            ("place", ColumnType::Geometry),
            ("vec", ColumnType::Vector { dimensions: 3 }),
            ("uuid", ColumnType::Uuid),
            ("ip4", ColumnType::Inet4),
            ("ip6", ColumnType::Inet6),
        ],
    );
    for column in &mut table.columns {
        column.comment = format!("the '{}' \\ of it", column.name);
        column.default = match column.name.as_str() {
            "tiny" => Some(DefaultValue::Literal("7".into())),
            "price" => Some(DefaultValue::Literal("0.50".into())),
            "name" => Some(DefaultValue::Literal("o'hara \"x\" \\".into())),
            "at" => Some(DefaultValue::CurrentTimestamp),
            "born" => Some(DefaultValue::Literal("2020-01-01".into())),
            _ => None,
        };
    }
    table
}

#[tokio::test]
async fn a_table_of_all_types_is_created_and_then_found_fitting() {
    for (major, minor, fast_evolution) in [(3, 0, false), (3, 2, true), (3, 5, true), (4, 0, true)] {
        let cluster = Cluster::of(Version { major, minor, patch: 0 }).await;
        let client = cluster.client(&params());
        assert_eq!(client.version().await.unwrap(), Version { major, minor, patch: 0 });
        let table = mapped(&client, &all_types()).await;
        assert!(client.ensure_table(&table).await.unwrap(), "{major}.{minor}");
        assert!(!client.ensure_table(&table).await.unwrap(), "{major}.{minor}");
        let ddl = client.ddl(&table);
        assert!(ddl[1].contains("'replication_num' = '1'"), "{ddl:?}");
        assert_eq!(ddl[1].contains("'fast_schema_evolution' = 'true'"), fast_evolution, "{ddl:?}");
    }
}

#[tokio::test]
async fn defaults_and_comments_arrive_as_they_were() {
    let cluster = Cluster::start().await;
    let client = cluster.client(&params());
    client.ensure_table(&mapped(&client, &all_types()).await).await.unwrap();
    let rows = cluster
        .rows(
            "SELECT COLUMN_NAME, COLUMN_DEFAULT, COLUMN_COMMENT FROM information_schema.columns \
             WHERE TABLE_NAME = 'everything' AND COLUMN_DEFAULT IS NOT NULL ORDER BY ORDINAL_POSITION",
        )
        .await;
    let expected = [
        "tiny|7|the 'tiny' \\ of it",
        "price|0.50|the 'price' \\ of it",
        "name|o'hara \"x\" \\|the 'name' \\ of it",
        "born|2020-01-01|the 'born' \\ of it",
        "at|CURRENT_TIMESTAMP|the 'at' \\ of it",
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn a_table_that_cannot_take_every_value_is_refused_with_each_difference() {
    let cluster = Cluster::start().await;
    let client = cluster.client(&params());
    cluster.run("CREATE DATABASE shop").await;
    cluster
        .run(
            "CREATE TABLE shop.t (id INT NOT NULL, name VARCHAR(10), must INT NOT NULL) PRIMARY KEY (id) \
             DISTRIBUTED BY HASH (id) PROPERTIES ('replication_num' = '1')",
        )
        .await;
    let source = source("t", vec![("id", integer(IntegerSize::Big, false)), ("name", utf8(10)), ("x", utf8(1))]);
    let error = client.ensure_table(&mapped(&client, &source).await).await.unwrap_err();
    assert!(!error.is_transient());
    let text = error.to_string();
    for part in
        ["column id is INT, BIGINT is needed", "column name is VARCHAR(10)", "column x is missing", "column must"]
    {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    cluster.run("CREATE TABLE shop.d (id BIGINT) DUPLICATE KEY (id) DISTRIBUTED BY HASH (id) PROPERTIES ('replication_num' = '1')").await;
    let keyless = self::source("d", vec![("id", integer(IntegerSize::Big, false))]);
    let text = client.ensure_table(&mapped(&client, &keyless).await).await.unwrap_err().to_string();
    assert!(text.contains("no PRIMARY KEY table"), "{text}");
}

#[tokio::test]
async fn many_tables_are_checked_before_any_is_made_and_only_those_that_are_missing_are() {
    const TABLES: usize = 30;
    let cluster = Cluster::start().await;
    let client = cluster.client(&params());
    let mut tables = Vec::new();
    for number in 0..TABLES {
        let mut source =
            source(&format!("t{number}"), vec![("id", integer(IntegerSize::Big, false)), ("name", utf8(5))]);
        // Many of one database, and a few of another.
        source.name.database = if number < TABLES - 3 { "shop" } else { "crm" }.into();
        tables.push(mapped(&client, &source).await);
    }
    let tables: Vec<&TargetTable> = tables.iter().collect();
    assert_eq!(client.ensure_tables(&tables).await.unwrap(), [true; TABLES]);
    assert_eq!(client.ensure_tables(&tables).await.unwrap(), [false; TABLES]);
    assert!(client.check_tables(&tables).await.unwrap().into_iter().all(|there| there.unwrap()));

    // Another of the same name, but for its case, is another table.
    let narrow = "(id INT NOT NULL, name VARCHAR(20)) PRIMARY KEY (id) DISTRIBUTED BY HASH (id) \
                  PROPERTIES ('replication_num' = '1')";
    for table in ["shop.t3", "shop.t7", "crm.t28"] {
        cluster.run(&format!("DROP TABLE {table}")).await;
    }
    cluster.run(&format!("CREATE TABLE shop.T7 {narrow}")).await;
    let missing: Vec<bool> = (0..TABLES).map(|number| [3, 7, 28].contains(&number)).collect();
    cluster.run("DROP TABLE shop.t20").await;
    cluster.run(&format!("CREATE TABLE shop.t20 {narrow}")).await;
    let error = client.ensure_tables(&tables).await.unwrap_err().to_string();
    assert!(error.contains("table shop.t20 is there already") && error.contains("column id is INT"), "{error}");
    let checked = client.check_tables(&tables).await.unwrap();
    assert!(checked[20].is_err());
    let there = |checked: &[towpath::Result<bool>]| -> Vec<bool> {
        checked.iter().map(|there| *there.as_ref().unwrap_or(&true)).collect()
    };
    assert!(there(&checked).iter().zip(&missing).all(|(there, missing)| there != missing), "nothing was made");

    cluster.run("DROP TABLE shop.t20").await;
    let made = client.ensure_tables(&tables).await.unwrap();
    assert!((0..TABLES).all(|number| made[number] == (missing[number] || number == 20)), "{made:?}");
}

async fn orders(cluster: &Cluster) -> StarRocks {
    let client = cluster.client(&params());
    let source = source("orders", vec![("id", integer(IntegerSize::Big, false)), ("name", utf8(5))]);
    client.ensure_table(&mapped(&client, &source).await).await.unwrap();
    client
}

fn load(label: &str, format: Format, body: &'static str, rows: u64) -> Load {
    Load {
        table: TableName::new("shop", "orders"),
        label: label.into(),
        columns: ["id", "name", "__op"].map(LoadColumn::plain).to_vec(),
        partial: false,
        format,
        body: Bytes::from_static(body.as_bytes()),
        rows,
    }
}

#[tokio::test]
async fn rows_come_in_as_csv_and_json_and_go_by_deletes() {
    let cluster = Cluster::start().await;
    let client = orders(&cluster).await;
    let csv = load("c1", Format::Csv, "1\x01ann\x010\x022\x01\\N\x010\x023\x01né\n\"\x010\x02", 3);
    assert_eq!(untimed(client.load(&csv).await.unwrap()), Loaded::default());
    let json = "{\"id\":4,\"name\":\"a\\u0001b\",\"__op\":0}\n{\"id\":1,\"name\":\"ann\",\"__op\":1}\n";
    assert_eq!(untimed(client.load(&load("j1", Format::JsonLines, json, 2)).await.unwrap()), Loaded::default());
    let rows = cluster.rows("SELECT id, name FROM shop.orders ORDER BY id").await;
    assert_eq!(rows, ["2|-", "3|né\n\"", "4|a\x01b"]);
}

#[tokio::test]
async fn a_partial_update_keeps_the_other_columns() {
    let cluster = Cluster::start().await;
    let client = orders(&cluster).await;
    client.load(&load("whole", Format::Csv, "1\x01ann\x010\x02", 1)).await.unwrap();
    let columns = ["id", "__op"].map(LoadColumn::plain).to_vec();
    let key_alone = Load { columns, partial: true, ..load("partial", Format::Csv, "1\x010\x022\x010\x02", 2) };
    client.load(&key_alone).await.unwrap();
    let rows = cluster.rows("SELECT id, name FROM shop.orders ORDER BY id").await;
    assert_eq!(rows, ["1|ann", "2|-"]);
}

#[tokio::test]
async fn a_partial_update_is_not_sent_to_columns_that_are_spelled_in_another_way() {
    let cluster = Cluster::start().await;
    let client = orders(&cluster).await;
    let columns = ["id", "Name", "__op"].map(LoadColumn::plain).to_vec();
    let partial = Load { columns, partial: true, ..load("partial", Format::Csv, "1\x01ann\x010\x02", 1) };
    let error = client.load(&partial).await.unwrap_err();
    assert!(!error.is_transient());
    let text = error.to_string();
    assert!(text.contains("column Name is spelled name") && text.contains("RENAME COLUMN `name` TO `Name`"), "{text}");
}

#[tokio::test]
async fn large_loads_of_several_tables_go_at_once() {
    const ROWS: u64 = 50_000;
    let cluster = Cluster::start().await;
    let client = cluster.client(&params());
    let body: String = (0..ROWS).map(|id| format!("{id}\x01{}\x02", "x".repeat(100))).collect();
    let mut loads = Vec::new();
    for name in ["a", "b", "c"] {
        let source = source(name, vec![("id", integer(IntegerSize::Big, false)), ("name", utf8(100))]);
        client.ensure_table(&mapped(&client, &source).await).await.unwrap();
        loads.push(Load {
            table: TableName::new("shop", name),
            label: format!("large-{name}"),
            columns: ["id", "name"].map(LoadColumn::plain).to_vec(),
            partial: false,
            format: Format::Csv,
            body: Bytes::from(body.clone()),
            rows: ROWS,
        });
    }
    let (a, b, c) = tokio::join!(client.load(&loads[0]), client.load(&loads[1]), client.load(&loads[2]));
    for loaded in [a, b, c] {
        assert_eq!(untimed(loaded.unwrap()), Loaded::default());
    }
    for name in ["a", "b", "c"] {
        let count = cluster.rows(&format!("SELECT COUNT(*) FROM shop.{name}")).await;
        assert_eq!(count, [ROWS.to_string()]);
    }
}

#[tokio::test]
async fn a_label_is_loaded_once() {
    let cluster = Cluster::start().await;
    let client = orders(&cluster).await;
    assert_eq!(client.label_state("shop", "l1").await.unwrap(), LabelState::Unknown);
    client.load(&load("l1", Format::Csv, "1\x01ann\x010\x02", 1)).await.unwrap();
    assert_eq!(client.label_state("shop", "l1").await.unwrap(), LabelState::Finished);
    client.load(&load("l2", Format::Csv, "1\x01bob\x010\x02", 1)).await.unwrap();
    let again = client.load(&load("l1", Format::Csv, "1\x01ann\x010\x02", 1)).await.unwrap();
    assert_eq!(untimed(again), Loaded { retries: 0, already: true, publish: None });
    assert_eq!(cluster.rows("SELECT name FROM shop.orders").await, ["bob"]);
}

#[tokio::test]
async fn a_be_takes_loads_directly() {
    let cluster = Cluster::start().await;
    orders(&cluster).await;
    let mut settings = cluster.settings();
    settings.http_addresses = vec![cluster.be()];
    let client = client(&settings);
    for (label, already) in [("b1", false), ("b2", false), ("b1", true)] {
        let loaded = client.load(&load(label, Format::Csv, "1\x01ann\x010\x02", 1)).await.unwrap();
        assert_eq!(untimed(loaded), Loaded { retries: 0, already, publish: None }, "{label}");
    }
}

#[tokio::test]
async fn a_filtered_row_stops_the_load_and_is_shown() {
    let cluster = Cluster::start().await;
    let client = orders(&cluster).await;
    let error = client.load(&load("f1", Format::Csv, "1\x01ann\x010\x02nine\x01bob\x010\x02", 2)).await.unwrap_err();
    assert!(!error.is_transient());
    let text = error.to_string();
    assert!(text.contains("too many filtered rows") && text.contains("nine"), "{text}");
    assert!(cluster.rows("SELECT id FROM shop.orders").await.is_empty(), "all or nothing");
    assert!(matches!(client.label_state("shop", "f1").await.unwrap(), LabelState::Aborted { .. }));
    // The label is free again.
    client.load(&load("f1", Format::Csv, "1\x01ann\x010\x02", 1)).await.unwrap();
}

#[tokio::test]
async fn an_unknown_table_or_column_is_told() {
    let cluster = Cluster::start().await;
    let client = orders(&cluster).await;
    let mut other = load("u1", Format::Csv, "1\x01ann\x010\x02", 1);
    other.table.table = "nowhere".into();
    let error = client.load(&other).await.unwrap_err();
    assert!(!error.is_transient() && error.to_string().contains("nowhere"), "{error}");
}

#[tokio::test]
async fn a_ready_target_has_no_problems() {
    let cluster = Cluster::start().await;
    let client = orders(&cluster).await;
    let problems = client.check(&["shop".to_owned()]).await;
    assert!(problems.is_empty(), "{problems:?}");
}

#[tokio::test]
async fn a_be_port_is_as_good_as_an_fe_port_for_check() {
    let cluster = Cluster::start().await;
    let mut settings = cluster.settings();
    settings.http_addresses = vec![cluster.be()];
    let problems = client(&settings).check(&["shop".to_owned()]).await;
    assert!(problems.is_empty(), "{problems:?}");
}

#[tokio::test]
async fn a_wrong_password_is_told_for_both_ports_and_never_shown() {
    let cluster = Cluster::start().await;
    let mut settings = cluster.settings();
    settings.password = Password::new("gu3ss");
    let client = client(&settings);
    let problems = client.check(&["shop".to_owned()]).await;
    assert_eq!(problems.len(), 2, "{problems:?}");
    for (problem, address) in problems.iter().zip([cluster.server.mysql_addr, cluster.server.fe_addr]) {
        let text = problem.to_string();
        assert!(!problem.is_transient(), "{text}");
        assert!(text.contains(&address.to_string()) && text.contains("target.password"), "{text}");
        assert!(!format!("{text}{problem:?}").contains("gu3ss"), "{text}");
    }
    settings.http_addresses = vec![cluster.be()];
    let problems = self::client(&settings).check(&["shop".to_owned()]).await;
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[1].to_string().contains("target.password"), "{}", problems[1]);
    let error = client.load(&load("w1", Format::Csv, "1\x01ann\x010\x02", 1)).await.unwrap_err();
    assert!(!error.is_transient() && !format!("{error:?}").contains("gu3ss"), "{error}");
}

#[tokio::test]
async fn unreachable_ports_are_told() {
    let problems = client(&nowhere()).check(&["shop".to_owned()]).await;
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].to_string().contains("target.clientAddress"), "{}", problems[0]);
    assert!(problems[1].to_string().contains("target.httpAddress"), "{}", problems[1]);
}

#[tokio::test]
async fn a_be_that_is_not_reachable_from_here_is_told() {
    let cluster = Cluster::start().await;
    orders(&cluster).await;
    let mut settings = cluster.settings();
    let port = cluster.server.be_addr.port();
    for host in ["127.0.0.1", "localhost"] {
        settings.host_map.insert(format!("{host}:{port}"), "127.0.0.1:1".into());
    }
    let problems = client(&settings).check(&["shop".to_owned()]).await;
    assert_eq!(problems.len(), 1, "{problems:?}");
    let text = problems[0].to_string();
    assert!(text.contains("cannot connect to 127.0.0.1:1") && text.contains("target.hostMap"), "{text}");
}

#[tokio::test]
async fn missing_privileges_are_told() {
    let cluster = Cluster::start().await;
    orders(&cluster).await;
    cluster.run("CREATE USER 'app'@'%' IDENTIFIED BY 'apppass'").await;
    cluster.run("GRANT SELECT ON ALL TABLES IN DATABASE shop TO USER 'app'@'%'").await;
    let mut settings = cluster.settings();
    settings.username = "app".into();
    settings.password = Password::new("apppass");
    let client = client(&settings);
    let problems = client.check(&["shop".to_owned()]).await;
    let text = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(text.contains("INSERT on its tables") && text.contains("CREATE TABLE on the database"), "{text}");
    let error = client.load(&load("p1", Format::Csv, "1\x01ann\x010\x02", 1)).await.unwrap_err();
    assert!(!error.is_transient() && error.to_string().contains("INSERT on the table"), "{error}");
}

/// Without the time that the server says it took.
fn untimed(loaded: Loaded) -> Loaded {
    Loaded { publish: None, ..loaded }
}

/// One load under each fault, of which the server has one strike.
#[tokio::test]
async fn every_answer_leads_to_the_loads_true_fate() {
    let cluster = Cluster::start().await;
    let client = orders(&cluster).await;
    let late = |lands| (Mode::LabelRunning { for_ms: 100, lands }, Mode::StatusUnknown { for_ms: 100, lands });
    let ((running, unknown), (lost, undone)) = (late(true), late(false));
    let direct = Loaded::default();
    let again = Loaded { retries: 1, already: false, publish: None };
    let found = Loaded { retries: 0, already: true, publish: None };
    let faults = [
        (Mode::AnswerLost, found),
        (running, found),
        (unknown, found),
        (lost, again),
        (undone, again),
        (Mode::PublishTimeout { visible_after_ms: 100 }, direct),
        (Mode::TooManyVersions { limit: 0 }, again),
        (Mode::TooManyTransactions { limit: 0 }, again),
        (Mode::MemoryLimit, again),
        (Mode::DiskFull, again),
        (Mode::NoBackend, again),
        (Mode::ResetInBody, again),
        (Mode::UnresolvableBe, again),
        (Mode::BeGone, again),
        (Mode::FeGone, again),
        (Mode::LeaderElsewhere, direct),
        (Mode::SlowFe { ms: 50 }, direct),
        (Mode::SlowBe { ms: 50 }, direct),
    ];
    for (number, (mode, expected)) in faults.into_iter().enumerate() {
        let fault = cluster.server.inject(Fault::new(mode.clone()).times(1)).unwrap();
        let body = format!("{number}\x01ann\x010\x02");
        let load = Load { body: Bytes::from(body), ..load(&format!("f{number}"), Format::Csv, "", 1) };
        let loaded = client.load(&load).await.unwrap_or_else(|error| panic!("{mode:?}: {error}"));
        let struck = cluster.server.faults()[0].struck;
        println!("{mode:?}: struck {struck} times, {loaded:?}");
        assert_eq!((untimed(loaded), struck), (expected, 1), "{mode:?}");
        while client.label_state("shop", &load.label).await.unwrap() != LabelState::Finished {}
        cluster.server.mend(fault);
        let count = cluster.rows(&format!("SELECT COUNT(*) FROM shop.orders WHERE id = {number}")).await;
        if !matches!(mode, Mode::PublishTimeout { .. }) {
            assert_eq!(count, ["1"], "{mode:?}");
        }
    }
}

#[tokio::test]
async fn a_forgotten_label_is_loaded_once_more_with_the_same_rows() {
    let cluster = Cluster::start().await;
    let client = orders(&cluster).await;
    for mode in [Mode::AnswerLost, Mode::LabelsForgotten { keep: 0 }] {
        cluster.server.inject(Fault::new(mode).times(1)).unwrap();
    }
    let loaded = client.load(&load("l1", Format::Csv, "1\x01ann\x010\x02", 1)).await.unwrap();
    assert_eq!(untimed(loaded), Loaded { retries: 0, already: true, publish: None });
    cluster.server.inject(Fault::new(Mode::AnswerLost).times(1)).unwrap();
    cluster.server.inject(Fault::new(Mode::LabelsForgotten { keep: 0 })).unwrap();
    let forgotten = client.load(&load("l2", Format::Csv, "1\x01bob\x010\x02", 1)).await.unwrap();
    assert!(!forgotten.already || forgotten.retries == 0, "{forgotten:?}");
    assert_eq!(cluster.rows("SELECT id, name FROM shop.orders").await, ["1|bob"]);
}

#[tokio::test]
async fn the_second_fe_takes_over_and_leads_on_to_leader_and_be() {
    let cluster = Cluster::start().await;
    orders(&cluster).await;
    let mut settings = cluster.settings();
    let second = cluster.server.second_fe_addr.unwrap();
    settings.http_addresses.push(address(second));
    let client = client(&settings);
    let gone = cluster.server.inject(Fault::new(Mode::FeGone)).unwrap();
    assert_eq!(client.load(&load("s1", Format::Csv, "1\x01ann\x010\x02", 1)).await.unwrap().retries, 1);
    assert_eq!(client.load(&load("s2", Format::Csv, "2\x01ann\x010\x02", 1)).await.unwrap().retries, 0);
    assert_eq!(client.label_state("shop", "s2").await.unwrap(), LabelState::Finished);
    cluster.server.mend(gone);
    // A follower now: it sends the question to the leader, which wants the password again.
    assert_eq!(client.label_state("shop", "s2").await.unwrap(), LabelState::Finished);
    let elsewhere = cluster.server.inject(Fault::new(Mode::LeaderElsewhere)).unwrap();
    let first = self::client(&cluster.settings());
    assert_eq!(untimed(first.load(&load("s3", Format::Csv, "3\x01ann\x010\x02", 1)).await.unwrap()), Loaded::default());
    assert_eq!(first.label_state("shop", "s3").await.unwrap(), LabelState::Finished);
    cluster.server.mend(elsewhere);
    assert_eq!(cluster.rows("SELECT COUNT(*) FROM shop.orders").await, ["3"]);
}

#[tokio::test]
async fn a_be_by_an_unknown_name_is_explained_and_mapped() {
    let cluster = Cluster::start().await;
    let client = orders(&cluster).await;
    cluster.server.inject(Fault::new(Mode::UnresolvableBe)).unwrap();
    let named = format!("be-0.cluster.invalid:{}", cluster.server.be_addr.port());
    let load = load("h1", Format::Csv, "1\x01ann\x010\x02", 1);
    let error = client.load(&load).await.unwrap_err();
    let text = error.to_string();
    assert!(error.is_transient() && text.contains(&format!("target.hostMap: {{'{named}': 'host:port'}}")), "{text}");
    let mut settings = cluster.settings();
    settings.host_map.insert(named, cluster.be().to_string());
    assert_eq!(untimed(self::client(&settings).load(&load).await.unwrap()), Loaded::default());
}

#[tokio::test]
async fn loads_may_go_to_a_be_and_questions_to_the_fe_behind_it_in_the_list() {
    let cluster = Cluster::start().await;
    orders(&cluster).await;
    let mut settings = cluster.settings();
    settings.http_addresses.insert(0, cluster.be());
    cluster.server.inject(Fault::new(Mode::NoBackend)).unwrap();
    cluster.server.inject(Fault::new(Mode::AnswerLost).times(1)).unwrap();
    let loaded = client(&settings).load(&load("m1", Format::Csv, "1\x01ann\x010\x02", 1)).await.unwrap();
    assert_eq!(
        untimed(loaded),
        Loaded { retries: 0, already: true, publish: None },
        "the FE told, and did not have to find a BE"
    );
}

#[tokio::test]
async fn with_bes_only_a_load_that_runs_on_is_sent_again_until_it_is_decided() {
    let cluster = Cluster::start().await;
    orders(&cluster).await;
    let mut settings = cluster.settings();
    settings.http_addresses = vec![cluster.be()];
    for (label, lands) in [("r1", true), ("r2", false)] {
        cluster.server.inject(Fault::new(Mode::LabelRunning { for_ms: 200, lands }).times(1)).unwrap();
        let loaded = client(&settings).load(&load(label, Format::Csv, "1\x01ann\x010\x02", 1)).await.unwrap();
        assert!(loaded.retries > 0 && loaded.already == lands, "{loaded:?}");
    }
}
