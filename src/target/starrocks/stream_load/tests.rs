use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::config::{Address, Params, Password, Target, TargetKind};
use crate::schema::TableName;
use crate::target::starrocks::script::{Scripted, Step};

const SUCCESS: &str = r#"{"TxnId":1,"Label":"l1","Status":"Success","Message":"OK","NumberTotalRows":2}"#;

fn target(addresses: Vec<Address>) -> Target {
    Target {
        kind: TargetKind::Starrocks,
        client_addresses: vec![Address { host: "127.0.0.1".into(), port: 1 }],
        http_addresses: addresses,
        username: "root".into(),
        password: Password::new("s3cret"),
        load_props: BTreeMap::new(),
        table_properties: BTreeMap::new(),
        host_map: BTreeMap::new(),
        databases: BTreeMap::new(),
        data_dir: "data".into(),
    }
}

fn params() -> Params {
    Params { retry_wait_time_ms: 1, retry_count: 8, so_timeout_sec: 20, http_so_timeout_sec: 20, ..Params::default() }
}

fn loader(servers: &[&Scripted]) -> StreamLoad {
    let addresses = servers.iter().map(|server| server.address.clone()).collect();
    StreamLoad::new(&target(addresses), &params()).unwrap()
}

fn load() -> Load {
    Load {
        table: TableName::new("shop", "orders"),
        label: "l1".into(),
        columns: ["id", "na`me", "__op"].map(LoadColumn::plain).to_vec(),
        partial: false,
        format: Format::Csv,
        body: Bytes::from_static(b"1\x01a\x010\x022\x01b\x011\x02"),
        rows: 2,
    }
}

fn to(server: &Scripted) -> Step {
    Step::redirect(&format!("http://{}/api/shop/orders/_stream_load?", server.address))
}

#[tokio::test]
async fn the_fe_gets_headers_only_and_the_be_gets_password_and_body() {
    let be = Scripted::start(vec![Step::Take(SUCCESS.into())]).await;
    let fe = Scripted::start(vec![to(&be)]).await;
    let loaded = loader(&[&fe]).load(&load()).await.unwrap();
    assert_eq!(loaded, Loaded { retries: 0, already: false, publish: None });

    let (at_fe, at_be) = (&fe.seen()[0], &be.seen()[0]);
    assert_eq!(at_fe.body, b"", "no byte of the body may reach the FE");
    assert_eq!(at_be.body, &load().body[..]);
    for request in [at_fe, at_be] {
        assert!(request.head.starts_with("PUT /api/shop/orders/_stream_load"), "{}", request.head);
        assert_eq!(request.header("authorization"), Some("Basic cm9vdDpzM2NyZXQ="));
        assert_eq!(request.header("expect"), Some("100-continue"));
        assert_eq!(request.header("label"), Some("l1"));
        assert_eq!(request.header("columns"), Some("`id`,`na``me`,__op"));
        assert_eq!(request.header("strict_mode"), Some("true"));
        assert_eq!(request.header("max_filter_ratio"), Some("0"));
        assert_eq!(request.header("format"), Some("csv"));
        assert_eq!(request.header("column_separator"), Some("\\x01"));
        assert_eq!(request.header("row_delimiter"), Some("\\x02"));
        assert_eq!(request.header("timeout"), Some("20"));
        assert_eq!(request.header("content-length"), Some("12"));
    }
}

#[tokio::test]
async fn json_lines_are_announced_as_json() {
    let be = Scripted::start(vec![Step::Take(SUCCESS.into())]).await;
    loader(&[&be]).load(&Load { format: Format::JsonLines, ..load() }).await.unwrap();
    let seen = &be.seen()[0];
    assert_eq!(seen.header("format"), Some("json"));
    assert_eq!(seen.header("column_separator"), None);
}

#[tokio::test]
async fn a_follower_leads_to_the_leader_and_that_to_the_be() {
    let be = Scripted::start(vec![Step::Take(SUCCESS.into())]).await;
    let leader = Scripted::start(vec![to(&be)]).await;
    let follower = Scripted::start(vec![to(&leader)]).await;
    loader(&[&follower]).load(&load()).await.unwrap();
    assert!(leader.seen()[0].header("authorization").is_some());
    assert_eq!(leader.seen()[0].body, b"");
}

#[tokio::test]
async fn a_be_may_be_reached_under_another_name_and_user_info_is_not_used() {
    let be = Scripted::start(vec![Step::Take(SUCCESS.into())]).await;
    let location = "http://eve:wrong@be-7.internal:8040/api/shop/orders/_stream_load";
    let fe = Scripted::start(vec![Step::redirect(location)]).await;
    let mut target = target(vec![fe.address.clone()]);
    target.host_map.insert("be-7.internal:8040".into(), be.address.to_string());
    StreamLoad::new(&target, &params()).unwrap().load(&load()).await.unwrap();
    assert_eq!(be.seen()[0].header("authorization"), Some("Basic cm9vdDpzM2NyZXQ="));
    assert_eq!(be.seen()[0].header("host"), Some("be-7.internal:8040"));
}

#[tokio::test]
async fn a_be_that_cannot_be_reached_is_explained() {
    let location = "http://eve:hidden@127.0.0.1:1/api/shop/orders/_stream_load";
    let fe = Scripted::start(vec![Step::redirect(location)]).await;
    let params = Params { retry_count: 1, ..params() };
    let loader = StreamLoad::new(&target(vec![fe.address.clone()]), &params).unwrap();
    let text = loader.put_error(&load()).await.to_string();
    assert!(text.contains("cannot connect to 127.0.0.1:1 (so named by the FE)"), "{text}");
    assert!(text.contains("target.hostMap: {'127.0.0.1:1': 'host:port'}"), "{text}");
    assert!(!text.contains("hidden") && !text.contains("s3cret"), "{text}");
}

impl StreamLoad {
    /// The error of one try.
    async fn put_error(&self, load: &Load) -> Error {
        let headers = self.headers(load).unwrap();
        let put = self.http.put(self.http.current(), "/api/shop/orders/_stream_load", &headers, &load.body, GRACE);
        put.await.unwrap_err().error
    }
}

#[tokio::test]
async fn a_chain_of_redirects_without_an_end_is_cut() {
    let mut chain = vec![Scripted::start(vec![Step::Vanish]).await];
    for _ in 0..7 {
        let next = to(&chain[chain.len() - 1]);
        chain.push(Scripted::start(vec![next]).await);
    }
    let error = loader(&[&chain[7]]).put_error(&load()).await;
    // Leaders change: the next try may go straight.
    assert!(error.is_transient() && error.to_string().contains("redirects more than 5 times"), "{error}");
    assert!(chain[0].seen().is_empty());
}

#[tokio::test]
async fn publish_timeout_is_in() {
    let be = Scripted::start(vec![Step::Take(r#"{"Status":"Publish Timeout","NumberTotalRows":2}"#.into())]).await;
    assert_eq!(loader(&[&be]).load(&load()).await.unwrap(), Loaded { retries: 0, already: false, publish: None });
}

#[tokio::test]
async fn a_finished_label_is_in_without_a_body() {
    let be = Scripted::start(vec![Step::json(
        r#"{"Status":"Label Already Exists","ExistingJobStatus":"FINISHED","Message":"Label [l1] has already been used."}"#,
    )])
    .await;
    assert_eq!(loader(&[&be]).load(&load()).await.unwrap(), Loaded { retries: 0, already: true, publish: None });
    assert_eq!(be.seen()[0].body, b"");
}

const RUNNING: &str = r#"{"Status":"Label Already Exists","ExistingJobStatus":"RUNNING"}"#;

#[tokio::test]
async fn a_running_label_is_asked_for_until_it_is_visible() {
    let fe = Scripted::start(vec![Step::json(RUNNING), Step::state("PREPARE"), Step::state("VISIBLE")]).await;
    assert!(loader(&[&fe]).load(&load()).await.unwrap().already);
    assert_eq!(fe.seen()[1].path(), "/api/shop/get_load_state?label=l1");
    assert!(fe.seen()[1].header("authorization").is_some());
}

#[tokio::test]
async fn a_running_label_that_aborts_is_sent_again() {
    let fe = Scripted::start(vec![Step::json(RUNNING), Step::state("ABORTED"), Step::Take(SUCCESS.into())]).await;
    assert_eq!(loader(&[&fe]).load(&load()).await.unwrap(), Loaded { retries: 1, already: false, publish: None });
}

#[tokio::test]
async fn an_answer_lost_after_the_body_is_decided_by_the_label() {
    for state in ["COMMITTED", "VISIBLE"] {
        let fe = Scripted::start(vec![Step::TakeAndVanish, Step::state(state)]).await;
        assert_eq!(
            loader(&[&fe]).load(&load()).await.unwrap(),
            Loaded { retries: 0, already: true, publish: None },
            "{state}"
        );
    }
    for state in ["UNKNOWN", "ABORTED"] {
        let fe = Scripted::start(vec![Step::TakeAndVanish, Step::state(state), Step::Take(SUCCESS.into())]).await;
        assert_eq!(
            loader(&[&fe]).load(&load()).await.unwrap(),
            Loaded { retries: 1, already: false, publish: None },
            "{state}"
        );
        assert_eq!(fe.seen()[2].header("label"), Some("l1"), "the label stays");
    }
}

#[tokio::test]
async fn a_connection_lost_behind_the_100_is_decided_by_the_label() {
    let fe = Scripted::start(vec![
        Step::ContinueAndVanish,
        Step::state("PREPARE"),
        Step::state("ABORTED"),
        Step::Take(SUCCESS.into()),
    ])
    .await;
    assert_eq!(loader(&[&fe]).load(&load()).await.unwrap().retries, 1);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_however_few_retries_are_allowed() {
    let fe = Scripted::start(vec![
        Step::TakeAndVanish,
        Step::Vanish,
        Step::status(500, ""),
        Step::state("PREPARE"),
        Step::state("VISIBLE"),
    ])
    .await;
    let params = Params { retry_count: 1, ..params() };
    let loader = StreamLoad::new(&target(vec![fe.address.clone()]), &params).unwrap();
    assert!(loader.load(&load()).await.unwrap().already);
}

#[tokio::test]
async fn without_an_fe_a_lost_answer_is_decided_by_sending_again() {
    let be = Scripted::start(vec![
        Step::TakeAndVanish,
        Step::status(404, "Not Found"),
        Step::json(RUNNING),
        Step::status(404, "Not Found"),
        Step::json(r#"{"Status":"Label Already Exists","ExistingJobStatus":"FINISHED"}"#),
    ])
    .await;
    let params = Params { retry_count: 1, ..params() };
    let loader = StreamLoad::new(&target(vec![be.address.clone()]), &params).unwrap();
    assert_eq!(loader.load(&load()).await.unwrap(), Loaded { retries: 2, already: true, publish: None });
}

#[tokio::test]
async fn a_transaction_of_unknown_status_is_decided_by_the_label() {
    let fail = r#"{"Status":"Fail","Message":"Commit transaction fail cause x, Transaction status unknown, you can retry with same label."}"#;
    let fe = Scripted::start(vec![Step::Take(fail.into()), Step::state("VISIBLE")]).await;
    assert!(loader(&[&fe]).load(&load()).await.unwrap().already);
}

/// A port that nobody listens on.
async fn dead() -> Address {
    Scripted::start(vec![]).await.address.clone()
}

const BUSY: &str = r#"{"Status":"Fail","Message":"Failed to load data into tablet 1, because of too many versions"}"#;
const NO_BACKEND: &str =
    r#"{"Status":"FAILED","Message":"class com.starrocks.common.DdlException: No backend alive."}"#;

#[tokio::test]
async fn an_address_that_fails_is_left_for_the_next_one() {
    let first = Scripted::start(vec![Step::json(NO_BACKEND)]).await;
    let second = Scripted::start(vec![Step::Take(SUCCESS.into()); 2]).await;
    let addresses = vec![dead().await, first.address.clone(), second.address.clone()];
    let loader = StreamLoad::new(&target(addresses), &params()).unwrap();
    assert_eq!(loader.load(&load()).await.unwrap(), Loaded { retries: 2, already: false, publish: None });
    assert_eq!(
        loader.load(&load()).await.unwrap(),
        Loaded { retries: 0, already: false, publish: None },
        "the others rest"
    );
    assert_eq!((first.seen().len(), second.seen().len()), (1, 2));
}

#[tokio::test]
async fn a_label_is_asked_for_where_there_is_an_answer() {
    let first = Scripted::start(vec![Step::TakeAndVanish, Step::Vanish]).await;
    let second = Scripted::start(vec![Step::Vanish, Step::state("VISIBLE")]).await;
    assert!(loader(&[&first, &second]).load(&load()).await.unwrap().already);
}

#[tokio::test]
async fn a_target_without_room_is_tried_again_at_the_same_address_and_says_so() {
    let running = r#"{"Status":"Fail","Message":"current running txns on db 10 is 1000, larger than limit 1000"}"#;
    let fe = Scripted::start(vec![Step::Take(BUSY.into()), Step::json(running), Step::Take(SUCCESS.into())]).await;
    let other = Scripted::start(vec![]).await;
    let loader = loader(&[&fe, &other]);
    assert_eq!(loader.pressure(), Pressure::default());
    assert_eq!(loader.load(&load()).await.unwrap().retries, 2);
    assert_eq!(loader.pressure(), Pressure { refusals: 2, reason: "too many running transactions" });
}

#[tokio::test]
async fn a_target_that_refuses_to_tell_a_fate_is_given_up_with_the_fate_unknown() {
    let denied = Step::status(401, r#"{"status":"FAILED","msg":"Access denied for root@x"}"#);
    let fe = Scripted::start([vec![Step::TakeAndVanish], vec![denied; 9]].concat()).await;
    let mut loader = loader(&[&fe]);
    loader.refusal_patience = Duration::from_millis(300);
    let error = loader.load(&load()).await.unwrap_err();
    let text = error.to_string();
    assert!(
        !error.is_transient() && text.contains("load l1 of 2 rows into shop.orders: whether it is in is not known"),
        "{text}"
    );
    assert!(text.contains("Access denied for root@x") && text.contains("target.password"), "{text}");
    assert!(fe.seen().len() > 2, "one refusal is not enough");
}

#[tokio::test]
async fn a_refusal_to_tell_that_passes_does_no_harm() {
    let denied = Step::status(401, r#"{"status":"FAILED","msg":"Access denied for root@x"}"#);
    let fe = Scripted::start(vec![Step::TakeAndVanish, denied, Step::state("VISIBLE")]).await;
    assert!(loader(&[&fe]).load(&load()).await.unwrap().already);
}

#[tokio::test]
async fn a_be_that_refuses_the_password_while_a_fate_is_open_is_given_up_too() {
    let denied = r#"{"Status":"Fail","Message":"Access denied for root@x"}"#;
    let steps = [vec![Step::TakeAndVanish, Step::status(404, "Not Found")], vec![Step::json(denied); 40]].concat();
    let be = Scripted::start(steps).await;
    let mut loader = loader(&[&be]);
    loader.refusal_patience = Duration::from_millis(30);
    let error = loader.load(&load()).await.unwrap_err();
    assert!(!error.is_transient() && error.to_string().contains("whether it is in is not known"), "{error}");
}

#[tokio::test]
async fn a_server_that_stops_taking_the_body_is_left_and_the_label_asked_for() {
    let fe = Scripted::start(vec![Step::Stall(true), Step::state("ABORTED"), Step::Take(SUCCESS.into())]).await;
    let params = Params { so_timeout_sec: 1, http_so_timeout_sec: 3600, ..params() };
    let loader = StreamLoad::new(&target(vec![fe.address.clone()]), &params).unwrap();
    // More than the sockets of both sides hold.
    let large = Load { body: Bytes::from(vec![b'1'; 32 << 20]), ..load() };
    let loaded = tokio::time::timeout(Duration::from_secs(60), loader.load(&large)).await;
    assert_eq!(
        loaded.expect("it waits for the whole load's time").unwrap(),
        Loaded { retries: 1, already: false, publish: None }
    );
}

#[tokio::test]
async fn a_server_that_never_answers_is_left() {
    let silent = Scripted::start(vec![Step::Stall(false)]).await;
    let other = Scripted::start(vec![Step::Take(SUCCESS.into())]).await;
    let params = Params { so_timeout_sec: 1, ..params() };
    let loader = StreamLoad::new(&target(vec![silent.address.clone(), other.address.clone()]), &params).unwrap();
    assert_eq!(loader.load(&load()).await.unwrap(), Loaded { retries: 1, already: false, publish: None });
}

#[tokio::test]
async fn retries_end_when_the_job_file_says_so() {
    let busy = Step::status(503, "");
    let fe = Scripted::start(vec![busy.clone(), busy.clone(), busy]).await;
    let params = Params { retry_count: 2, ..params() };
    let loader = StreamLoad::new(&target(vec![fe.address.clone()]), &params).unwrap();
    let error = loader.load(&load()).await.unwrap_err();
    assert!(error.is_transient());
    assert!(error.to_string().contains("load l1 of 2 rows into shop.orders after 2 retries"), "{error}");
    assert_eq!(fe.seen().len(), 3);
}

#[tokio::test]
async fn an_unlisted_failure_is_given_up_after_a_few_tries() {
    let odd = Step::Take(r#"{"Status":"Fail","Message":"the moon is full"}"#.into());
    let fe = Scripted::start(vec![odd; 6]).await;
    let params = Params { retry_count: 0, ..params() };
    let loader = StreamLoad::new(&target(vec![fe.address.clone()]), &params).unwrap();
    let error = loader.load(&load()).await.unwrap_err();
    assert!(!error.is_transient() && error.to_string().contains("the moon is full"), "{error}");
    assert_eq!(fe.seen().len(), UNCLEAR_TRIES as usize);
}

#[tokio::test]
async fn filtered_rows_are_shown_with_the_servers_reason() {
    let log = Scripted::start(vec![Step::json("Error: Value 'x' is out of range. Row: [1, x]\n")]).await;
    let fail = r#"{"Status":"Fail","Message":"too many filtered rows","NumberTotalRows":2,"NumberFilteredRows":1,"ErrorURL":"http://be-7:8040/api/_load_error_log?file=error_log_1"}"#;
    let be = Scripted::start(vec![Step::Take(fail.into())]).await;
    let mut target = target(vec![be.address.clone()]);
    target.host_map.insert("be-7:8040".into(), log.address.to_string());
    let error = StreamLoad::new(&target, &params()).unwrap().load(&load()).await.unwrap_err();
    assert!(!error.is_transient());
    let text = error.to_string();
    assert!(text.contains("too many filtered rows") && text.contains("Value 'x' is out of range"), "{text}");
    assert_eq!(log.seen()[0].path(), "/api/_load_error_log?file=error_log_1");
}

#[tokio::test]
async fn a_wrong_password_is_not_tried_again_and_not_told() {
    let fe = Scripted::start(vec![Step::status(401, r#"{"status":"FAILED","msg":"Access denied for root@x"}"#)]).await;
    let error = loader(&[&fe]).load(&load()).await.unwrap_err();
    assert!(!error.is_transient());
    let text = format!("{error} {error:?}");
    assert!(text.contains("Access denied for root@x") && !text.contains("s3cret"), "{text}");
}

#[tokio::test]
async fn a_port_that_takes_no_loads_is_named() {
    let fe = Scripted::start(vec![Step::status(404, "Not Found")]).await;
    let text = loader(&[&fe]).load(&load()).await.unwrap_err().to_string();
    assert!(text.contains("target.httpAddress must be the HTTP port"), "{text}");
}

#[tokio::test]
async fn label_states_are_those_of_the_contract() {
    let leader = Scripted::start(vec![Step::state("PREPARED")]).await;
    let fe = Scripted::start(vec![
        Step::state("UNKNOWN"),
        Step::redirect(&format!("http://{}/api/shop/get_load_state?label=l1", leader.address)),
        Step::json(r#"{"state":"ABORTED","reason":"too many filtered rows","status":"OK"}"#),
        Step::json(r#"{"status":"FAILED","code":"1","msg":"unknown database, database=shop"}"#),
        Step::status(401, r#"{"status":"FAILED","msg":"Access denied"}"#),
    ])
    .await;
    let loader = loader(&[&fe]);
    let mut states = Vec::new();
    for _ in 0..4 {
        states.push(loader.label_state("shop", "l1").await.unwrap());
    }
    let aborted = LabelState::Aborted { reason: "too many filtered rows".into() };
    assert_eq!(states, [LabelState::Unknown, LabelState::Running, aborted, LabelState::Unknown]);
    assert!(leader.seen()[0].header("authorization").is_some());
    assert!(loader.label_state("shop", "l1").await.unwrap_err().to_string().contains("target.password"));
}

#[tokio::test]
async fn load_props_go_along_but_cannot_switch_a_safety_off() {
    let be = Scripted::start(vec![Step::Take(SUCCESS.into())]).await;
    let mut target = target(vec![be.address.clone()]);
    for (name, value) in [("format", "csv"), ("compression", "none"), ("warehouse", "w1"), ("timeout", "77")] {
        target.load_props.insert(name.into(), value.into());
    }
    StreamLoad::new(&target, &params()).unwrap().load(&load()).await.unwrap();
    assert_eq!(be.seen()[0].header("warehouse"), Some("w1"));
    assert_eq!(be.seen()[0].header("timeout"), Some("77"));
    assert_eq!(be.seen()[0].header("compression"), None);

    for (name, value) in
        [("max_filter_ratio", "1"), ("Strict_Mode", "false"), ("compression", "gzip"), ("timeout", "x")]
    {
        let mut unsafe_target = target.clone();
        unsafe_target.load_props.insert(name.into(), value.into());
        let error = StreamLoad::new(&unsafe_target, &params()).err().unwrap();
        assert_eq!(error.kind(), crate::error::Kind::Usage);
        assert!(error.to_string().contains(&format!("target.loadProps.{name}")), "{error}");
    }
}

#[tokio::test]
async fn an_empty_load_is_not_sent() {
    let be = Scripted::start(vec![]).await;
    assert_eq!(loader(&[&be]).load(&Load { rows: 0, body: Bytes::new(), ..load() }).await.unwrap(), Loaded::default());
    assert!(be.seen().is_empty());
}

#[tokio::test]
async fn a_connection_that_was_closed_while_it_rested_costs_no_try() {
    let be = Scripted::start(vec![Step::TakeAndHangUp(SUCCESS.into()); 3]).await;
    let loader = loader(&[&be]);
    for _ in 0..3 {
        assert_eq!(loader.load(&load()).await.unwrap(), Loaded { retries: 0, already: false, publish: None });
    }
}

#[tokio::test]
async fn a_load_that_is_aborted_for_its_data_ends_even_if_every_answer_is_lost() {
    let aborted = r#"{"state":"ABORTED","reason":"too many filtered rows","status":"OK"}"#;
    let rounds = std::iter::repeat_n([Step::TakeAndVanish, Step::json(aborted)], UNCLEAR_TRIES as usize);
    let fe = Scripted::start(rounds.flatten().collect()).await;
    let params = Params { retry_count: 0, ..params() };
    let loader = StreamLoad::new(&target(vec![fe.address.clone()]), &params).unwrap();
    let error = loader.load(&load()).await.unwrap_err();
    assert!(!error.is_transient() && error.to_string().contains("too many filtered rows"), "{error}");
}

#[test]
fn pauses_double_up_to_a_limit_and_are_never_in_step() {
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(2));
    let mut drawn = Vec::new();
    for full in [500, 1000, 2000, 2000, 2000, 2000, 2000, 2000] {
        let pause = backoff.next().as_secs_f64() * 1e3;
        assert!(pause >= f64::from(full) / 2.0 && pause <= f64::from(full), "{pause} of {full}");
        drawn.push(pause);
    }
    drawn.dedup();
    assert!(drawn.len() > 4, "{drawn:?}");
}
