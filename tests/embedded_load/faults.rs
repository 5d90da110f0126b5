//! Faults on demand (G13, G46), each as a client meets it on the wire.

use std::time::{Duration, Instant};

use towpath::embedded::fault::{Fault, Mode};

use super::{AUTH, CSV, PATH, Target, http};

const IDS: &str = "columns: id";

#[test]
fn g13_a_lost_answer_leaves_the_rows_and_the_label() {
    let target = Target::start();
    target.inject(Fault::new(Mode::AnswerLost).times(1));
    target.load_in_vain(&["label: lost", CSV, IDS], b"1\n");
    assert_eq!(target.rows("SELECT id FROM shop.t"), ["1"]);
    let again = target.load(&["label: lost", CSV, IDS], b"1\n");
    assert_eq!(
        (again["Status"].as_str(), again["ExistingJobStatus"].as_str()),
        (Some("Label Already Exists"), Some("FINISHED"))
    );
    assert_eq!(target.running().faults()[0].struck, 1);
}

#[test]
fn g13_a_publish_timeout_is_durable_and_shows_later() {
    let mut target = Target::start();
    target.inject(Fault::new(Mode::PublishTimeout { visible_after_ms: 2000 }));
    let late = target.load(&["label: late", CSV, IDS], b"1\n");
    assert_eq!((late["Status"].as_str(), late["NumberLoadedRows"].as_u64()), (Some("Publish Timeout"), Some(1)));
    assert!(late["Message"].as_str().unwrap().starts_with("Publish timeout. The data will be visible after a while"));
    assert_eq!(target.label_state("late")["state"], "COMMITTED");
    assert_eq!(target.rows("SELECT id FROM shop.t"), Vec::<String>::new());
    let again = target.load(&["label: late", CSV, IDS], b"1\n");
    assert_eq!(again["ExistingJobStatus"], "FINISHED");
    target.await_state("late", "VISIBLE");
    assert_eq!(target.rows("SELECT id FROM shop.t"), ["1"]);

    // What is committed outlives the process.
    target.running().mend_all();
    target.inject(Fault::new(Mode::PublishTimeout { visible_after_ms: 3_600_000 }));
    assert_eq!(target.load(&["label: kept", CSV, IDS], b"2\n")["Status"], "Publish Timeout");
    // Who waits behind it does not keep the server from stopping.
    let (be, row) = (target.be(), b"3\n");
    let waiting =
        std::thread::spawn(move || http(be, "PUT", PATH, &[AUTH, CSV, IDS, "label: behind"], Some(row)).json());
    while target.label_state("behind")["state"] != "PREPARE" {}
    target.restart();
    assert_ne!(waiting.join().ok().map(|answer| answer["Status"].to_string()).as_deref(), Some("\"Success\""));
    target.await_state("kept", "VISIBLE");
    assert_eq!(target.rows("SELECT id FROM shop.t ORDER BY id"), ["1", "2"]);
}

#[test]
fn a_load_behind_one_that_does_not_show_yet_waits_for_it() {
    let target = Target::start();
    target.inject(Fault::new(Mode::PublishTimeout { visible_after_ms: 400 }).times(1));
    assert_eq!(target.load(&[CSV, "columns: id,name"], b"1,old\n")["Status"], "Publish Timeout");
    assert_eq!(target.load(&[CSV, "columns: id,name"], b"1,new\n")["Status"], "Success");
    assert_eq!(target.rows("SELECT name FROM shop.t"), ["new"]);
}

#[test]
fn a_label_may_run_on_after_its_client_was_cut_off() {
    let target = Target::start();
    for (label, lands, state) in [("in", true, "VISIBLE"), ("out", false, "ABORTED")] {
        let fault = target.inject(Fault::new(Mode::LabelRunning { for_ms: 2000, lands }));
        let named = format!("label: {label}");
        target.load_in_vain(&[&named, CSV, IDS], b"1\n");
        assert_eq!(target.label_state(label)["state"], "PREPARE");
        let again = target.load(&[&named, CSV, IDS], b"1\n");
        assert_eq!(
            (again["Status"].as_str(), again["ExistingJobStatus"].as_str()),
            (Some("Label Already Exists"), Some("RUNNING"))
        );
        target.await_state(label, state);
        target.running().mend(fault);
    }
    assert_eq!(target.rows("SELECT id FROM shop.t"), ["1"]);
    // Aborted: the label is free.
    assert_eq!(target.load(&["label: out", CSV, IDS], b"2\n")["Status"], "Success");
}

#[test]
fn an_unknown_status_is_a_fail_that_may_land() {
    let target = Target::start();
    for (label, lands, state) in [("in", true, "VISIBLE"), ("out", false, "ABORTED")] {
        target.inject(Fault::new(Mode::StatusUnknown { for_ms: 2000, lands }).times(1));
        let answer = target.load(&[&format!("label: {label}"), CSV, IDS], b"1\n");
        assert_eq!(answer["Status"], "Fail");
        assert!(
            answer["Message"].as_str().unwrap().contains("Transaction status unknown, you can retry with same label")
        );
        assert_eq!(target.label_state(label)["state"], "PREPARE");
        target.await_state(label, state);
    }
}

#[test]
fn labels_are_forgotten_from_one_moment_to_the_next() {
    let target = Target::start();
    for label in ["label: a", "label: b", "label: c"] {
        target.load(&[label, CSV, IDS], b"1\n");
    }
    target.inject(Fault::new(Mode::LabelsForgotten { keep: 1 }));
    let states = ["a", "b", "c"].map(|label| target.label_state(label)["state"].as_str().unwrap().to_owned());
    assert_eq!(states, ["UNKNOWN", "UNKNOWN", "VISIBLE"]);
}

#[test]
fn limits_can_be_lowered_for_a_while() {
    let target = Target::start();
    for (mode, text) in [
        (Mode::TooManyVersions { limit: 0 }, "because of too many versions, current/limit: 0/0."),
        (Mode::TooManyTransactions { limit: 0 }, " is 0, larger than limit 0"),
        (Mode::MemoryLimit, "Mem usage has exceed the limit of BE"),
        (Mode::DiskFull, " on backend 10001 exceed limit usage"),
    ] {
        target.inject(Fault::new(mode).times(1));
        let refused = target.load(&["label: x", CSV, IDS], b"1\n");
        assert_eq!(refused["Status"], "Fail", "{refused}");
        assert!(refused["Message"].as_str().unwrap().contains(text), "{refused}");
        assert_eq!(target.rows("SELECT COUNT(*) FROM shop.t"), ["0"]);
    }
    assert_eq!(target.load(&["label: x", CSV, IDS], b"1\n")["Status"], "Success");
}

#[test]
fn g46_a_killed_be_loses_its_open_transactions() {
    let target = Target::start();
    target.transaction("begin", &["label: open", "table: t"], None);
    target.transaction("load", &["label: open", "table: t", CSV, IDS], Some(b"1\n"));
    let gone = target.inject(Fault::new(Mode::BeGone));
    target.load_in_vain(&["label: z", CSV, IDS], b"1\n");
    let aborted = target.label_state("open");
    assert_eq!(
        (aborted["state"].as_str(), aborted["reason"].as_str()),
        (Some("ABORTED"), Some("coordinate BE is down"))
    );
    target.running().mend(gone);
    let lost = target.transaction("prepare", &["label: open", "table: t"], None);
    assert_eq!(lost["Status"], "TXN_NOT_EXISTS", "{lost}");
    assert_eq!(target.load(&["label: z", CSV, IDS], b"1\n")["Status"], "Success");
}

#[test]
fn the_fe_may_know_no_be_or_name_one_that_nobody_finds() {
    let target = Target::start();
    let load = |target: &Target| http(target.fe(), "PUT", PATH, &[AUTH, "Expect: 100-continue"], None);
    target.inject(Fault::new(Mode::NoBackend).times(1));
    let message = load(&target).json()["Message"].to_string();
    assert!(message.contains("DdlException: No backend alive."), "{message}");
    target.inject(Fault::new(Mode::UnresolvableBe).times(1));
    let answer = load(&target);
    assert_eq!(answer.status, 307);
    assert!(answer.header("location").unwrap().contains(".invalid:"));
    assert!(load(&target).header("location").unwrap().starts_with("http://localhost:"));
}

#[test]
fn g09_a_follower_leads_to_the_leader() {
    let target = Target::with(|options| options.second_fe_port = Some(0));
    let second = target.running().second_fe_addr.unwrap();
    let state = "/api/shop/get_load_state?label=x";
    let location = |address, path: &str| http(address, "GET", path, &[AUTH], None).header("location");
    assert_eq!(location(target.fe(), state), None);
    assert_eq!(location(second, state), Some(format!("http://localhost:{}{state}", target.fe().port())));
    // Any FE knows the BEs.
    let load = |address| http(address, "PUT", PATH, &[AUTH, "Expect: 100-continue"], None).header("location");
    assert_eq!(load(second), Some(format!("http://localhost:{}{PATH}", target.be().port())));

    let elsewhere = target.inject(Fault::new(Mode::LeaderElsewhere));
    assert_eq!(location(target.fe(), state), Some(format!("http://localhost:{}{state}", second.port())));
    assert_eq!(load(target.fe()), Some(format!("http://localhost:{}{PATH}", second.port())));
    assert_eq!(location(second, state), None);
    target.running().mend(elsewhere);

    target.inject(Fault::new(Mode::FeGone).times(1));
    assert_eq!(location(second, state), None, "it leads while the first one is gone");
    let alone = Target::start();
    assert!(alone.running().inject(Fault::new(Mode::LeaderElsewhere)).is_err());
}

#[test]
fn g06_fe_and_be_may_take_their_time_before_the_body() {
    let target = Target::start();
    target.inject(Fault::new(Mode::SlowFe { ms: 300 }).times(1));
    target.inject(Fault::new(Mode::SlowBe { ms: 300 }).times(1).table("shop.t"));
    for address in [target.fe(), target.be()] {
        let asked = Instant::now();
        let headers = [AUTH, CSV, IDS, "Expect: 100-continue", "Content-Length: 2"];
        let stream = super::connect(address);
        let answer = first_line(stream, &headers);
        assert!(asked.elapsed() >= Duration::from_millis(300), "{answer}");
        assert!(answer.contains("307") || answer.contains("100 Continue"), "{answer}");
    }
}

fn first_line(mut stream: std::net::TcpStream, headers: &[&str]) -> String {
    use std::io::{BufRead as _, BufReader, Write as _};
    write!(stream, "PUT {PATH} HTTP/1.1\r\nHost: test\r\n{}\r\n\r\n", headers.join("\r\n")).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

#[test]
fn g08_a_connection_that_breaks_in_the_body_rolls_back() {
    let target = Target::start();
    target.inject(Fault::new(Mode::ResetInBody).times(1));
    target.load_in_vain(&["label: half", CSV, IDS], b"1\n2\n3\n");
    target.await_state("half", "ABORTED");
    assert_eq!(target.load(&["label: half", CSV, IDS], b"1\n")["Status"], "Success");
}

#[test]
fn chosen_rows_are_filtered_with_a_reason() {
    let target = Target::start();
    let values = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    let fault =
        target.inject(Fault::new(Mode::FilteredValues { column: "name".into(), values: values(&["bad", "5"]) }));
    let refused = target.load(&[CSV, "columns: id,name"], b"1,good\n2,bad\n3,5\n");
    assert_eq!(
        (refused["Message"].as_str(), refused["NumberFilteredRows"].as_u64()),
        (Some("too many filtered rows"), Some(2))
    );
    let log = target.error_log(&refused);
    assert!(log.contains("Error: Value 'bad' is refused. The column is 'name' of table 't'. Row: 2,bad"), "{log}");
    let json = target.load(&["format: json"], b"{\"id\":2,\"name\":\"bad\",\"req\":\"x\",\"__op\":1}");
    assert_eq!(json["NumberFilteredRows"], 1, "deletes too");
    target.running().mend(fault);

    target.inject(Fault::new(Mode::FilteredRows { nth: 10 }));
    let body: String = (0..2000).map(|id| format!("{id}\n")).collect();
    let first = target.load(&[CSV, IDS], body.as_bytes())["NumberFilteredRows"].as_u64().unwrap();
    assert!((100..400).contains(&first), "{first}");
    assert_eq!(target.load(&[CSV, IDS], body.as_bytes())["NumberFilteredRows"], first, "always the same ones");
}

#[test]
fn faults_are_an_administrators_over_http() {
    let target = Target::start();
    let call = |method, path: &str, headers: &[&str], body: &str| {
        http(target.fe(), method, path, headers, Some(body.as_bytes()))
    };
    let path = "/api/towpath/faults";
    assert_eq!(call("GET", path, &[], "").status, 401);
    target.sql("CREATE USER 'app'@'%' IDENTIFIED BY ''");
    assert_eq!(call("GET", path, &["Authorization: Basic YXBwOg=="], "").status, 401);
    let made = call("POST", path, &[AUTH], r#"{"mode": "memory_limit", "table": "shop.t", "times": 1}"#);
    assert_eq!((made.status, made.json()["id"].as_u64()), (200, Some(1)));
    assert_eq!(target.load(&[CSV, IDS], b"1\n")["Status"], "Fail");
    let listed = call("GET", path, &[AUTH], "").json();
    let listed = &listed["faults"][0];
    assert_eq!(
        (listed["mode"].as_str(), listed["on"].as_bool(), listed["struck"].as_u64()),
        (Some("memory_limit"), Some(false), Some(1))
    );
    let wrong = call("POST", path, &[AUTH], r#"{"mode": "memory"}"#);
    assert!(wrong.status == 400 && wrong.body.contains("unknown variant `memory`"), "{}", wrong.body);
    assert_eq!(call("POST", path, &[AUTH], r#"{"mode": "disk_full", "table": "t"}"#).status, 400);
    assert_eq!(call("DELETE", "/api/towpath/faults/1", &[AUTH], "").status, 200);
    assert_eq!(call("DELETE", "/api/towpath/faults/1", &[AUTH], "").status, 404);
    call("POST", path, &[AUTH], r#"{"mode": {"too_many_versions": {"limit": 0}}}"#);
    assert_eq!(call("DELETE", path, &[AUTH], "").status, 200);
    assert_eq!(target.load(&[CSV, IDS], b"1\n")["Status"], "Success");
}

#[test]
fn a_fault_strikes_transactions_too() {
    let target = Target::start();
    let begin = |label: &str| {
        let named = format!("label: {label}");
        target.transaction("begin", &[&named, "table: t"], None);
        target.transaction("load", &[&named, "table: t", CSV, IDS], Some(b"1\n"));
        named
    };
    let late = begin("late");
    target.inject(Fault::new(Mode::PublishTimeout { visible_after_ms: 200 }).times(1));
    assert_eq!(target.transaction("commit", &[&late], None)["Status"], "PUBLISH_TIMEOUT");
    target.await_state("late", "VISIBLE");
    let unknown = begin("unknown");
    target.inject(Fault::new(Mode::StatusUnknown { for_ms: 200, lands: true }).times(1));
    assert_eq!(target.transaction("commit", &[&unknown], None)["Status"], "SERVICE_UNAVAILABLE");
    assert_eq!(target.label_state("unknown")["state"], "PREPARE");
    target.await_state("unknown", "VISIBLE");
    let full = begin("full");
    target.inject(Fault::new(Mode::TooManyVersions { limit: 0 }).times(1));
    assert_eq!(target.transaction("prepare", &[&full, "table: t"], None)["Status"], "INTERNAL_ERROR");
    assert_eq!(target.label_state("full")["state"], "ABORTED");
}
