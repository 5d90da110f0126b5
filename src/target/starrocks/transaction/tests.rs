use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::config::{self, Address, Params, Password, TargetKind};
use crate::schema::TableName;
use crate::target::LoadColumn;
use crate::target::starrocks::script::{Scripted, Seen, Step};

const OK: &str = r#"{"Status":"OK","Message":""}"#;

fn client(servers: &[&Scripted]) -> StreamLoad {
    let target = config::Target {
        kind: TargetKind::Starrocks,
        client_addresses: vec![Address { host: "127.0.0.1".into(), port: 1 }],
        http_addresses: servers.iter().map(|server| server.address.clone()).collect(),
        username: "root".into(),
        password: Password::new("s3cret"),
        load_props: BTreeMap::new(),
        table_properties: BTreeMap::new(),
        host_map: BTreeMap::new(),
        databases: BTreeMap::new(),
        data_dir: "data".into(),
    };
    let params = Params {
        retry_wait_time_ms: 1,
        retry_count: 8,
        so_timeout_sec: 20,
        http_so_timeout_sec: 30,
        ..Params::default()
    };
    StreamLoad::new(&target, &params).unwrap()
}

fn load(table: &str, body: &'static [u8]) -> Load {
    Load {
        table: TableName::new("shop", table),
        label: "not used".into(),
        columns: ["id", "__op"].map(LoadColumn::plain).to_vec(),
        partial: false,
        format: Format::Csv,
        body: Bytes::from_static(body),
        rows: 1,
    }
}

fn two_loads() -> [Load; 2] {
    [load("orders", b"1\x010\x02"), load("items", b"22\x010\x02")]
}

fn named(number: u32) -> Result<String> {
    Ok(format!("l{number}"))
}

fn ok() -> Step {
    Step::json(OK)
}

fn failed(message: &str) -> Step {
    Step::json(format!(r#"{{"Status":"FAILED","Message":"{message}"}}"#))
}

fn exists() -> Step {
    Step::json(r#"{"Status":"LABEL_ALREADY_EXISTS","Message":"Transaction already started with label [l0], txnId: 7"}"#)
}

fn aborted() -> Step {
    Step::json(r#"{"Status":"OK","Message":"Transaction 7 has already aborted, label is l0"}"#)
}

fn to(be: &Scripted) -> Step {
    Step::redirect(&format!("http://{}/api/transaction/load?", be.address))
}

async fn be(loads: usize) -> Scripted {
    Scripted::start(vec![Step::Take(OK.into()); loads]).await
}

/// `begin l0`, `load l0`, …, in the order in which the FE saw them.
fn calls(fe: &Scripted) -> Vec<String> {
    let call = |seen: Seen| match seen.path().strip_prefix("/api/transaction/") {
        Some(op) => format!("{op} {}", seen.header("label").unwrap_or_default()),
        None => "state".to_owned(),
    };
    fe.seen().into_iter().map(call).collect()
}

/// One try that goes well.
fn good(be: &Scripted) -> Vec<Step> {
    vec![ok(), to(be), to(be), ok(), Step::state("VISIBLE")]
}

#[tokio::test]
async fn all_loads_go_in_one_transaction_and_its_label_tells_that_they_are_in() {
    let be = be(2).await;
    let fe = Scripted::start(good(&be)).await;
    let loaded = client(&[&fe]).load_together(&two_loads(), &mut named).await.unwrap();
    assert_eq!((loaded.retries, loaded.already), (0, false));
    assert_eq!(calls(&fe), ["begin l0", "load l0", "load l0", "commit l0", "state"]);
    for (seen, expected) in be.seen().iter().zip(two_loads()) {
        assert_eq!(seen.header("table"), Some(expected.table.table.as_str()));
        assert_eq!(seen.body, expected.body);
        assert_eq!(seen.header("columns"), Some("`id`,__op"));
        assert_eq!((seen.header("strict_mode"), seen.header("max_filter_ratio")), (Some("true"), Some("0")));
    }
    for seen in fe.seen().iter().filter(|seen| !seen.path().contains("get_load_state")).chain(&be.seen()) {
        assert_eq!(seen.header("transaction_type"), Some("multi"), "{}", seen.head);
        assert_eq!((seen.header("db"), seen.header("label")), (Some("shop"), Some("l0")));
        assert_eq!(seen.header("authorization"), Some("Basic cm9vdDpzM2NyZXQ="));
    }
    let begin = &fe.seen()[0];
    assert!(begin.head.starts_with("POST "), "{}", begin.head);
    assert_eq!(begin.header("timeout"), Some("90"), "time for two loads and the commit");
    assert_eq!(begin.header("table"), None);
}

#[tokio::test]
async fn a_commit_that_says_ok_and_was_undone_is_tried_again_under_another_label() {
    let be = be(4).await;
    let mut steps = vec![ok(), to(&be), to(&be), ok(), Step::state("ABORTED")];
    steps.extend(good(&be));
    let fe = Scripted::start(steps).await;
    let loaded = client(&[&fe]).load_together(&two_loads(), &mut named).await.unwrap();
    assert_eq!(loaded.retries, 1);
    assert_eq!(calls(&fe)[4..6], ["state", "begin l1"]);
}

#[tokio::test]
async fn a_lost_answer_to_the_commit_is_asked_for_until_it_is_known() {
    let be = be(2).await;
    let fe = Scripted::start(vec![
        ok(),
        to(&be),
        to(&be),
        Step::Vanish,
        Step::state("UNKNOWN"),
        failed("Can not abort transaction 7 during committing, label is l0"),
        Step::state("UNKNOWN"),
        failed("Can not abort VISIBLE transaction 7, label is l0"),
    ])
    .await;
    let loaded = client(&[&fe]).load_together(&two_loads(), &mut named).await.unwrap();
    assert_eq!((loaded.retries, loaded.already), (0, false));
    assert_eq!(calls(&fe)[3..], ["commit l0", "state", "rollback l0", "state", "rollback l0"]);
}

#[tokio::test]
async fn an_unknown_label_is_not_out_before_it_is_rolled_back() {
    let be = be(4).await;
    let mut steps = vec![
        ok(),
        to(&be),
        to(&be),
        Step::Vanish,
        Step::state("UNKNOWN"),
        Step::json(r#"{"Status":"OK","Message":"stream load l0 abort initiated, rollback pending"}"#),
        Step::state("UNKNOWN"),
        aborted(),
        Step::state("UNKNOWN"),
    ];
    steps.extend(good(&be));
    let fe = Scripted::start(steps).await;
    let loaded = client(&[&fe]).load_together(&two_loads(), &mut named).await.unwrap();
    assert_eq!(loaded.retries, 1);
    assert_eq!(calls(&fe)[4..10], ["state", "rollback l0", "state", "rollback l0", "state", "begin l1"]);
}

#[tokio::test]
async fn a_rollback_that_finds_the_transaction_committed_means_in() {
    let be = be(2).await;
    let steps = vec![ok(), to(&be), to(&be), Step::Vanish, Step::state("UNKNOWN"), ok(), Step::state("COMMITTED")];
    let fe = Scripted::start(steps).await;
    assert!(client(&[&fe]).load_together(&two_loads(), &mut named).await.is_ok());
}

#[tokio::test]
async fn a_try_of_an_earlier_run_is_ended_before_the_next_is_begun() {
    let be = be(2).await;
    let mut steps = vec![exists(), Step::state("UNKNOWN"), aborted(), Step::state("UNKNOWN")];
    steps.extend(good(&be));
    let fe = Scripted::start(steps).await;
    let loaded = client(&[&fe]).load_together(&two_loads(), &mut named).await.unwrap();
    assert_eq!((loaded.retries, loaded.already), (0, false));
    assert_eq!(calls(&fe)[..5], ["begin l0", "state", "rollback l0", "state", "begin l1"]);
}

#[tokio::test]
async fn a_try_of_an_earlier_run_that_is_in_is_not_repeated() {
    let fe = Scripted::start(vec![exists(), Step::state("VISIBLE")]).await;
    let loaded = client(&[&fe]).load_together(&two_loads(), &mut named).await.unwrap();
    assert_eq!(loaded, Loaded { retries: 0, already: true, publish: None });
    assert_eq!(calls(&fe), ["begin l0", "state"]);
}

#[tokio::test]
async fn a_load_that_broke_off_takes_the_whole_transaction_back() {
    for broken in [Step::TakeAndVanish, Step::ContinueAndVanish, Step::Take(r#"{"Status":"OK","LoadBytes":3}"#.into())]
    {
        let mut at_be = vec![broken];
        at_be.extend(vec![Step::Take(OK.into()); 2]);
        let be = Scripted::start(at_be).await;
        let mut steps = vec![ok(), to(&be), ok()];
        steps.extend(good(&be));
        let fe = Scripted::start(steps).await;
        client(&[&fe]).load_together(&two_loads(), &mut named).await.unwrap();
        assert_eq!(calls(&fe)[..4], ["begin l0", "load l0", "rollback l0", "begin l1"]);
    }
}

#[tokio::test]
async fn an_ok_that_did_not_want_the_body_is_no_load() {
    let be = be(2).await;
    let late = Step::json(r#"{"Status":"OK","Message":"stream load task l0 has already been prepared"}"#);
    let mut steps = vec![ok(), late, ok()];
    steps.extend(good(&be));
    let fe = Scripted::start(steps).await;
    assert_eq!(client(&[&fe]).load_together(&two_loads(), &mut named).await.unwrap().retries, 1);
    assert_eq!(calls(&fe)[..4], ["begin l0", "load l0", "rollback l0", "begin l1"]);
}

#[tokio::test]
async fn a_transaction_that_a_restart_has_ended_is_begun_anew() {
    for gone in [
        failed("stream load task l0 does not exist"),
        Step::json(r#"{"Status":"TXN_NOT_EXISTS","Message":"Transaction with label l0 not exists"}"#),
        Step::json(r#"{"Status":"TXN_IN_PROCESSING","Message":"Transaction in processing, please retry later"}"#),
    ] {
        let be = be(2).await;
        let mut steps = vec![ok(), gone, ok()];
        steps.extend(good(&be));
        let fe = Scripted::start(steps).await;
        let loaded = client(&[&fe]).load_together(&two_loads(), &mut named).await.unwrap();
        assert_eq!(loaded.retries, 1);
    }
}

#[tokio::test]
async fn refused_rows_end_it_with_the_servers_reason_after_one_try() {
    let be = Scripted::start(vec![
        Step::Take(OK.into()),
        Step::Take(OK.into()),
        Step::status(200, "Error: value too long. Row: 1"),
    ])
    .await;
    let url = format!("http://{}/api/_load_error_log?file=x", be.address);
    let message = format!(
        "error_msg={{cancel stream task for exception: abnormal data more than max filter rate, tracking_url: {url}}}"
    );
    let fe = Scripted::start(vec![
        ok(),
        to(&be),
        to(&be),
        failed(&message),
        Step::state("UNKNOWN"),
        aborted(),
        Step::state("UNKNOWN"),
    ])
    .await;
    let error = client(&[&fe]).load_together(&two_loads(), &mut named).await.unwrap_err();
    assert!(!error.is_transient());
    let text = error.to_string();
    assert!(text.contains("max filter rate") && text.contains("value too long"), "{text}");
    assert_eq!(calls(&fe).iter().filter(|call| call.starts_with("begin")).count(), 1);
}

#[tokio::test]
async fn loads_that_a_transaction_would_misread_are_refused_before_anything_is_sent() {
    let other_columns =
        Load { columns: ["id", "name", "__op"].map(LoadColumn::plain).to_vec(), ..load("orders", b"1") };
    let other_format = Load { format: Format::JsonLines, ..load("orders", b"1") };
    let partial = Load { partial: true, ..load("orders", b"1") };
    let elsewhere = Load { table: TableName::new("crm", "t"), ..load("t", b"1") };
    for (other, text) in
        [(other_columns, "columns"), (other_format, "columns"), (partial, "row_image"), (elsewhere, "crm.t")]
    {
        let fe = Scripted::start(vec![]).await;
        let mut begun = 0;
        let mut name = |number| {
            begun += 1;
            named(number)
        };
        let error = client(&[&fe]).load_together(&[load("orders", b"2"), other], &mut name).await.unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!((begun, fe.seen().len()), (0, 0));
    }
}

#[tokio::test]
async fn the_end_of_an_earlier_runs_transaction_is_waited_for() {
    let fe = Scripted::start(vec![
        Step::state("UNKNOWN"),
        Step::state("PREPARE"),
        failed("Can not abort transaction 7 during committing, label is l0"),
        Step::state("PREPARE"),
        aborted(),
        Step::state("ABORTED"),
    ])
    .await;
    client(&[&fe]).end_transaction("shop", "l0").await.unwrap();
    assert_eq!(calls(&fe), ["state", "state", "rollback l0", "state", "rollback l0", "state"]);
}

#[tokio::test]
async fn the_next_fe_is_asked_when_one_does_not_answer() {
    let be = be(2).await;
    let away = Scripted::start(vec![]).await;
    let fe = Scripted::start(vec![]).await;
    drop(fe);
    // The try that got no answer is rolled back first.
    let mut steps = vec![ok()];
    steps.extend(good(&be));
    let there = Scripted::start(steps).await;
    let loaded = client(&[&away, &there]).load_together(&two_loads(), &mut named).await.unwrap();
    assert!(loaded.retries > 0);
    let calls: Vec<String> = calls(&there).iter().map(|call| call.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(calls[..2], ["rollback", "begin"]);
}

#[test]
fn the_error_logs_address_is_found_in_the_message() {
    let text = "x, tracking_url: http://be:8040/api/_load_error_log?file=a_b}";
    assert_eq!(tracking_url(text).as_deref(), Some("http://be:8040/api/_load_error_log?file=a_b"));
    assert_eq!(tracking_url("x, tracking_url: "), None);
    assert_eq!(tracking_url("x"), None);
}
