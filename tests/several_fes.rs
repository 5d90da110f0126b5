//! A StarRocks with several FEs: `target.clientAddress` and `target.httpAddress` name them all, and one is enough.

use towpath::config::{Address, Params, Target as TargetSettings, ZeroDate};
use towpath::embedded::fault::{Fault, Mode};
use towpath::schema::{Column, ColumnType, IntegerSize, Table, TableName, TargetTable, map_table};
use towpath::target::starrocks::StarRocks;
use towpath::target::{Target, Version, mapping_options};

use crate::cluster::{Cluster, address, nowhere};

const BIG: ColumnType = ColumnType::Integer { size: IntegerSize::Big, unsigned: false };

fn orders() -> TargetTable {
    let source = Table {
        name: TableName::new("shop", "orders"),
        columns: vec![Column::new("id", BIG), Column::new("amount", BIG)],
        key: vec![0],
        primary: true,
        charset: None,
        indexes: Vec::new(),
        comment: String::new(),
    };
    let version = Version { major: 3, minor: 5, patch: 0 };
    map_table(&source, &mapping_options(&nowhere(), &ZeroDate::Null, version)).unwrap().target
}

fn client(settings: &TargetSettings) -> StarRocks {
    StarRocks::new(settings, &Params { retry_count: 3, retry_wait_time_ms: 1, ..Params::default() }).unwrap()
}

fn nobody() -> Address {
    Address { host: "127.0.0.1".into(), port: 1 }
}

/// Both FEs of the cluster.
fn both(cluster: &Cluster) -> TargetSettings {
    let mut settings = cluster.settings();
    settings.client_addresses.push(address(cluster.server.second_mysql_addr.unwrap()));
    settings.http_addresses.push(address(cluster.server.second_fe_addr.unwrap()));
    settings
}

#[tokio::test]
async fn statements_go_to_the_next_fe_while_one_cannot_serve() {
    let table = orders();
    for mode in [Mode::SqlGone, Mode::LeaderLost { carried_out: false }, Mode::LeaderLost { carried_out: true }] {
        let cluster = Cluster::start().await;
        let client = client(&both(&cluster));
        assert!(client.ensure_table(&table).await.unwrap());
        let fault = cluster.inject(mode.clone());
        // Over the connection that rests at the first FE, and then over new ones.
        assert!(!client.has_rows(&table.name).await.unwrap(), "{mode:?}");
        client.truncate_table(&table.name).await.unwrap();
        client.drop_table(&table.name).await.unwrap();
        assert!(self::client(&both(&cluster)).ensure_table(&table).await.unwrap(), "{mode:?}");
        assert!(cluster.struck(fault) >= 2, "{mode:?}: {}", cluster.struck(fault));
        // Alone it cannot.
        let alone = self::client(&cluster.settings()).version().await.unwrap_err();
        assert!(alone.is_transient(), "{mode:?}: {alone}");
    }
}

#[tokio::test]
async fn an_fe_that_is_away_is_no_problem_while_another_serves() {
    let cluster = Cluster::start().await;
    client(&cluster.settings()).ensure_table(&orders()).await.unwrap();
    let databases = ["shop".to_owned()];
    let mut settings = both(&cluster);
    settings.client_addresses.insert(0, nobody());
    settings.http_addresses.insert(0, nobody());
    let problems = client(&settings).check(&databases).await;
    assert!(problems.is_empty(), "{problems:?}");
    let settings = TargetSettings { client_addresses: vec![nobody(), nobody()], ..settings };
    let problems = client(&settings).check(&databases).await;
    assert_eq!(problems.len(), 1, "{problems:?}");
    let text = problems[0].to_string();
    assert!(problems[0].is_transient() && text.contains("none of the 2 FEs of target.clientAddress serves"), "{text}");
}

#[tokio::test]
async fn a_wrong_password_is_told_at_once_whichever_fe_is_asked() {
    let cluster = Cluster::start().await;
    let mut settings = both(&cluster);
    settings.username = "nobody".into();
    let error = client(&settings).version().await.unwrap_err();
    assert!(!error.is_transient() && error.to_string().contains("target.password"), "{error}");
}

#[tokio::test]
async fn a_passing_failure_leaves_no_wrong_facts_behind() {
    let cluster = Cluster::start().await;
    let client = client(&cluster.settings());
    // The version is told; the question for the BEs fails twice, which is one try more than a statement has.
    for _ in 0..2 {
        let lost = Fault::new(Mode::LeaderLost { carried_out: false }).every(2).times(1);
        cluster.server.inject(lost).unwrap();
    }
    let error = client.version().await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("cannot reach the leader"), "{error}");
    client.version().await.unwrap();
    // One BE: the number of replicas follows from it.
    assert!(client.ddl(&orders())[1].contains("'replication_num' = '1'"), "{:?}", client.ddl(&orders()));
}
