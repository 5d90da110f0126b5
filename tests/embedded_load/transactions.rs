//! G10 to G16: labels, states, and the transaction interface.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{AUTH, CSV, PATH, STRICT, Target, connect, http, read_answer, read_now};

#[test]
fn g10_a_label_is_loaded_once_in_its_database_and_free_after_an_abort() {
    let target = Target::start();
    let headers = ["label: a-1", CSV, "columns: id,name", STRICT];
    assert_eq!(target.load(&headers, b"1,far too long\n")["Status"], "Fail");
    assert_eq!(target.label_state("a-1")["state"], "ABORTED");
    assert_eq!(target.load(&headers, b"1,a\n")["Status"], "Success");
    let again = target.load(&headers, b"2,b\n");
    assert_eq!(again["Status"], "Label Already Exists");
    assert_eq!(again["ExistingJobStatus"], "FINISHED");
    assert_eq!(again["Message"], "Label [a-1] has already been used.");
    assert_eq!((&again["TxnId"], &again["NumberTotalRows"]), (&Value::from(-1), &Value::from(0)));
    // Another table of the database is refused, another database is not.
    target.create("u", "id BIGINT NOT NULL, name VARCHAR(10)", "id");
    assert_eq!(target.load_into("u", &headers, b"2,b\n")["Status"], "Label Already Exists");
    target.sql("CREATE DATABASE other");
    target.sql(
        "CREATE TABLE other.t (id BIGINT NOT NULL, name VARCHAR(10)) PRIMARY KEY (id) DISTRIBUTED BY HASH(id) \
         PROPERTIES (\"replication_num\" = \"1\")",
    );
    let mut all = vec![AUTH];
    all.extend(headers);
    let other = http(target.be(), "PUT", "/api/other/t/_stream_load", &all, Some(b"2,b\n")).json();
    assert_eq!(other["Status"], "Success");
    let too_long = format!("label: {}", "x".repeat(129));
    assert_eq!(target.load(&[&too_long, CSV], b"1,a\n")["Status"], "Fail");
    assert_eq!(target.rows("SELECT id, name FROM shop.t"), ["1,a"]);
}

#[test]
fn g11_old_labels_are_forgotten_by_count() {
    let target = Target::with(|options| options.label_keep_max_num = 3);
    for number in 1..=4 {
        let label = format!("label: l{number}");
        assert_eq!(target.load(&[&label, CSV, "columns: id"], b"1\n")["Status"], "Success");
    }
    assert_eq!(target.label_state("l1")["state"], "UNKNOWN");
    assert_eq!(target.label_state("l2")["state"], "VISIBLE");
    assert_eq!(target.load(&["label: l1", CSV, "columns: id"], b"1\n")["Status"], "Success");
}

#[test]
fn g11_old_labels_are_forgotten_by_age() {
    let target = Target::with(|options| options.label_keep_max_age = Duration::from_millis(100));
    assert_eq!(target.load(&["label: old", CSV, "columns: id"], b"1\n")["Status"], "Success");
    let deadline = Instant::now() + Duration::from_secs(60);
    while target.label_state("old")["state"] != "UNKNOWN" {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn g12_get_load_state_answers_200_with_a_state() {
    let target = Target::start();
    target.load(&["label: seen", CSV, "columns: id"], b"1\n");
    let answer = http(target.fe(), "GET", "/api/shop/get_load_state?label=seen", &[AUTH], None);
    assert_eq!(
        answer.body,
        r#"{"state":"VISIBLE","reason":"","status":"OK","code":"0","msg":"Success","message":"OK"}"#
    );
    assert_eq!(target.label_state("never")["state"], "UNKNOWN");
    target.load(&["label: bad", CSV, "columns: id", STRICT], b"x\n");
    assert_eq!(target.label_state("bad")["reason"], "too many filtered rows");
    let unknown = http(target.fe(), "GET", "/api/nope/get_load_state?label=x", &[AUTH], None);
    assert_eq!(unknown.status, 200);
    assert_eq!(unknown.json()["status"], "FAILED");
    assert_eq!(unknown.json()["msg"], "unknown database, database=nope");
    assert_eq!(http(target.fe(), "GET", "/api/shop/get_load_state?label=x", &[], None).status, 401);
}

#[test]
fn g13_a_failed_load_leaves_no_row_and_a_good_one_survives_a_restart() {
    let mut target = Target::start();
    let failed = target.load(&[CSV, "columns: id,name", STRICT], b"1,a\n2,far too long\n3,c\n");
    assert_eq!(failed["Status"], "Fail");
    assert_eq!(target.rows("SELECT COUNT(*) FROM shop.t"), ["0"]);
    target.load(&["label: kept", CSV, "columns: id,name"], b"1,a\n");
    target.restart();
    assert_eq!(target.rows("SELECT id, name FROM shop.t"), ["1,a"]);
    assert_eq!(target.load(&["label: kept", CSV], b"1,a\n")["Status"], "Label Already Exists");
}

#[test]
fn g13_a_running_load_can_be_cancelled() {
    let target = Target::start();
    let mut stream = connect(target.be());
    let head = format!(
        "PUT {PATH} HTTP/1.1\r\nHost: test\r\n{AUTH}\r\nlabel: slow\r\n{CSV}\r\ncolumns: id\r\nConnection: close\r\n\
         Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    assert!(read_now(&mut stream).contains("100 Continue"));
    let again = target.load(&["label: slow", CSV], b"1\n");
    assert_eq!(again["ExistingJobStatus"], "RUNNING");
    let cancelled = http(target.fe(), "POST", "/api/shop/slow/_cancel", &[AUTH], Some(b"")).json();
    assert_eq!(cancelled["status"], "OK");
    stream.write_all(b"1\n").unwrap();
    assert_eq!(read_answer(&mut stream).json()["Status"], "Fail");
    assert_eq!(target.label_state("slow")["state"], "ABORTED");
    assert_eq!(target.rows("SELECT COUNT(*) FROM shop.t"), ["0"]);
}

#[test]
fn g14_two_phase_commit_goes_through_its_states() {
    let target = Target::start();
    let label = ["label: tp", "table: t"];
    let data = ["label: tp", "table: t", CSV, "columns: id,name"];
    let begun = target.transaction("begin", &label, None);
    assert_eq!(begun["Status"], "OK", "{begun}");
    let id = begun["TxnId"].as_u64().unwrap();
    assert_eq!(target.label_state("tp")["state"], "PREPARE");
    let again = target.transaction("begin", &label, None);
    assert_eq!((&again["Status"], &again["ExistingJobStatus"]), (&"LABEL_ALREADY_EXISTS".into(), &"".into()));
    // Two loads are one stream of rows: the second goes on in the first one's last line.
    assert_eq!(target.transaction("load", &data, Some(b"1,a\n2,"))["Status"], "OK");
    assert_eq!(target.transaction("load", &data, Some(b"b\n"))["LoadBytes"], 2);
    let prepared = target.transaction("prepare", &label, None);
    assert_eq!((&prepared["Status"], &prepared["NumberLoadedRows"]), (&"OK".into(), &2.into()), "{prepared}");
    assert_eq!(target.label_state("tp")["state"], "PREPARED");
    assert_eq!(target.rows("SELECT COUNT(*) FROM shop.t"), ["0"]);
    for op in ["prepare", "load"] {
        let body = (op == "load").then_some(&b"3,c\n"[..]);
        assert_eq!(target.transaction(op, &data, body)["Status"], "TXN_NOT_EXISTS", "{op}");
    }
    let committed = target.transaction("commit", &label, None);
    assert_eq!((&committed["Status"], &committed["TxnId"]), (&"OK".into(), &id.into()));
    assert_eq!(target.rows("SELECT id, name FROM shop.t ORDER BY id"), ["1,a", "2,b"]);
    let twice = target.transaction("commit", &label, None);
    assert_eq!(twice["Status"], "OK");
    assert_eq!(twice["Message"], format!("Transaction {id} has already committed, label is tp"));
    let rollback = target.transaction("rollback", &label, None);
    assert_eq!(rollback["Status"], "FAILED");
    assert!(rollback["Message"].as_str().unwrap().contains(&format!("Can not abort VISIBLE transaction {id}")));
    assert_eq!(target.transaction("commit", &["label: nobody"], None)["Status"], "FAILED");
    let unknown = target.transaction("jump", &label, None);
    assert!(unknown["Message"].as_str().unwrap().ends_with("Unknown transaction operation: jump"));
    assert!(target.transaction("begin", &[], None)["Message"].as_str().unwrap().ends_with("Empty label."));
}

#[test]
fn g14_a_prepared_transaction_survives_a_restart_and_an_open_one_does_not() {
    let mut target = Target::start();
    for label in ["label: prep", "label: open"] {
        target.transaction("begin", &[label, "table: t"], None);
        target.transaction("load", &[label, "table: t", CSV, "columns: id"], Some(b"7\n"));
    }
    target.transaction("prepare", &["label: prep", "table: t"], None);
    target.restart();
    assert_eq!(target.label_state("prep")["state"], "PREPARED");
    assert_eq!(target.transaction("load", &["label: open", "table: t"], Some(b"8\n"))["Status"], "TXN_NOT_EXISTS");
    assert_eq!(target.rows("SELECT COUNT(*) FROM shop.t"), ["0"]);
    assert_eq!(target.transaction("commit", &["label: prep"], None)["Status"], "OK");
    assert_eq!(target.rows("SELECT id FROM shop.t"), ["7"]);
}

#[test]
fn g14_rollback_throws_the_rows_away_and_frees_the_label() {
    let target = Target::start();
    let label = ["label: back", "table: t"];
    let data = ["label: back", "table: t", CSV, "columns: id"];
    target.transaction("begin", &label, None);
    target.transaction("load", &data, Some(b"1\n"));
    assert_eq!(target.transaction("rollback", &label, None)["Status"], "OK");
    let again = target.transaction("rollback", &label, None);
    assert!(again["Message"].as_str().unwrap().contains("has already aborted"), "{again}");
    let commit = target.transaction("commit", &label, None);
    assert!(commit["Message"].as_str().unwrap().contains("Can not commit ABORTED transaction"), "{commit}");
    assert_eq!(target.transaction("begin", &label, None)["Status"], "OK");
    // Nothing was sent: a prepare fails and rolls back.
    let empty = target.transaction("prepare", &label, None);
    assert_eq!(empty["Status"], "INTERNAL_ERROR");
    assert!(empty["Message"].as_str().unwrap().ends_with("hasn't send any data yet"));
    assert_eq!(target.label_state("back")["state"], "ABORTED");
    assert_eq!(target.rows("SELECT COUNT(*) FROM shop.t"), ["0"]);
}

#[test]
fn g14_headers_must_not_change_and_names_must_match() {
    let target = Target::start();
    target.create("u", "id BIGINT NOT NULL", "id");
    target.transaction("begin", &["label: h", "table: t"], None);
    let other = target.transaction("load", &["label: h", "table: u"], Some(b"1\n"));
    assert_eq!(other["Status"], "INVALID_ARGUMENT");
    assert_eq!(other["Message"], "Request table u not equal transaction table t");
    target.transaction("load", &["label: h", "table: t", CSV, "columns: id"], Some(b"1\n"));
    let changed = target.transaction("load", &["label: h", "table: t", CSV, "columns: id,name"], Some(b"1,a\n"));
    assert_eq!(changed["Message"], "load request not equal last.");
    assert_eq!(target.label_state("h")["state"], "ABORTED");
}

#[test]
fn g14_calls_that_overlap_are_refused() {
    let target = Target::start();
    target.transaction("begin", &["label: busy", "table: t"], None);
    let mut stream = connect(target.be());
    let head = format!(
        "PUT /api/transaction/load HTTP/1.1\r\nHost: test\r\n{AUTH}\r\ndb: shop\r\ntable: t\r\nlabel: busy\r\n{CSV}\r\n\
         columns: id\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    assert!(read_now(&mut stream).contains("100 Continue"));
    let overlap = target.transaction("load", &["label: busy", "table: t", CSV, "columns: id"], Some(b"2\n"));
    assert_eq!(overlap["Status"], "TXN_IN_PROCESSING");
    assert_eq!(overlap["Message"], "Transaction in processing, please retry later");
    stream.write_all(b"1\n").unwrap();
    assert_eq!(read_answer(&mut stream).json()["Status"], "OK");
    assert_eq!(target.transaction("commit", &["label: busy"], None)["Status"], "OK");
    assert_eq!(target.rows("SELECT id FROM shop.t"), ["1"]);
}

#[test]
fn g14_timeouts_abort() {
    let target = Target::start();
    target.transaction("begin", &["label: late", "table: t", "timeout: 0"], None);
    target.transaction("begin", &["label: idle", "table: t", "idle_transaction_timeout: 0"], None);
    let deadline = Instant::now() + Duration::from_secs(60);
    for label in ["late", "idle"] {
        while target.label_state(label)["state"] != "ABORTED" {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_ne!(target.label_state(label)["reason"], "");
    }
}

#[test]
fn g15_data_errors_of_a_transaction_show_at_prepare() {
    let target = Target::start();
    let data = ["label: bad", "table: t", CSV, "columns: id,name", STRICT];
    target.transaction("begin", &["label: bad", "table: t"], None);
    assert_eq!(target.transaction("load", &data, Some(b"1,far too long\n"))["Status"], "OK");
    let prepared = target.transaction("prepare", &["label: bad", "table: t"], None);
    assert_eq!(prepared["Status"], "INTERNAL_ERROR");
    assert_eq!(prepared["Message"], "too many filtered rows");
    assert!(target.error_log(&prepared).contains("far too long"));
    assert_eq!(target.label_state("bad")["state"], "ABORTED");
}

#[test]
fn g16_multi_table_transactions_need_version_4() {
    let multi = ["label: m", "transaction_type: multi"];
    let old = Target::version(3, 5, 0);
    assert_eq!(old.transaction("begin", &multi, None)["Status"], "FAILED");

    let target = Target::version(4, 0, 0);
    target.create("u", "id BIGINT NOT NULL", "id");
    let on_be = http(target.be(), "POST", "/api/transaction/begin", &[AUTH, "db: shop", multi[0], multi[1]], Some(b""));
    assert_eq!(on_be.json()["Status"], "INVALID_ARGUMENT");
    let begun = target.transaction("begin", &multi, None);
    assert_eq!(begun["Status"], "OK");
    let again = target.transaction("begin", &multi, None);
    assert_eq!((&again["Status"], &again["ExistingJobStatus"]), (&"LABEL_ALREADY_EXISTS".into(), &"BEGIN".into()));
    let message = format!("Transaction already started with label [m], txnId: {}", again["TxnId"]);
    assert_eq!(again["Message"], message);
    // The BE knows a table when the FE has planned its first load.
    let early = http(
        target.be(),
        "PUT",
        "/api/transaction/load",
        &[AUTH, "db: shop", "table: t", multi[0], multi[1]],
        Some(b"1\n"),
    );
    assert_eq!(early.json()["Status"], "TXN_NOT_EXISTS");
    for (table, body) in [("table: t", &b"1\n"[..]), ("table: u", b"2\n"), ("table: t", b"3\n")] {
        let loaded = target.transaction("load", &[multi[0], multi[1], table, "columns: id"], Some(body));
        assert_eq!(loaded["Status"], "OK", "{loaded}");
    }
    // Whoever does not say the type means another kind of transaction.
    for op in ["load", "commit", "rollback"] {
        let body = (op == "load").then_some(&b"4\n"[..]);
        let other = target.transaction(op, &[multi[0], "table: t", "columns: id"], body);
        assert!(matches!(other["Status"].as_str(), Some("TXN_NOT_EXISTS" | "FAILED")), "{op}: {other}");
    }
    assert_eq!(target.transaction("prepare", &multi, None)["Status"], "FAILED");
    assert_eq!(target.rows("SELECT COUNT(*) FROM shop.t"), ["0"]);
    assert_eq!(target.label_state("m")["state"], "UNKNOWN", "the transaction manager hears of it at the commit");
    assert_eq!(target.transaction("commit", &multi, None)["Status"], "OK");
    assert_eq!(target.rows("SELECT id FROM shop.t ORDER BY id"), ["1", "3"]);
    assert_eq!(target.rows("SELECT id FROM shop.u"), ["2"]);
    let twice = target.transaction("commit", &multi, None);
    assert!(twice["Message"].as_str().unwrap().contains("has already committed"), "{twice}");
    assert_eq!(target.label_state("m")["state"], "VISIBLE");
    let late = target.transaction("rollback", &multi, None);
    assert!(late["Message"].as_str().unwrap().contains("Can not abort VISIBLE transaction"), "{late}");
    let full = target.transaction("load", &[multi[0], multi[1], "table: t", "columns: id"], Some(b"9\n"));
    assert_eq!(full["Status"], "FAILED");
    let used = target.transaction("begin", &multi, None);
    assert_eq!(used["Message"], "Label [m] has already been used.");
}

#[test]
fn g16_a_rolled_back_multi_table_transaction_is_over_for_good() {
    let target = Target::version(4, 0, 0);
    let multi = ["label: gone", "transaction_type: multi"];
    target.transaction("begin", &multi, None);
    let data = [multi[0], multi[1], "table: t", "columns: id"];
    assert_eq!(target.transaction("load", &data, Some(b"1\n"))["Status"], "OK");
    assert_eq!(target.transaction("rollback", &multi, None)["Message"], "stream load gone abort");
    let twice = target.transaction("rollback", &multi, None);
    assert!(twice["Message"].as_str().unwrap().contains("has already aborted"), "{twice}");
    let straggler = target.transaction("commit", &multi, None);
    assert_eq!(straggler["Status"], "FAILED");
    assert!(straggler["Message"].as_str().unwrap().contains("Can not commit CANCELLED transaction"), "{straggler}");
    assert_eq!(target.transaction("begin", &multi, None)["ExistingJobStatus"], "CANCELLED");
    assert_eq!(target.transaction("load", &data, Some(b"1\n"))["Status"], "FAILED");
    assert_eq!(target.label_state("gone")["state"], "UNKNOWN");
    assert_eq!(target.rows("SELECT COUNT(*) FROM shop.t"), ["0"]);
    let nobody = target.transaction("rollback", &["label: nobody", multi[1]], None);
    assert!(nobody["Message"].as_str().unwrap().ends_with("stream load tasknobodydoes not exist"), "{nobody}");
}

#[test]
fn g16_the_first_load_of_a_table_decides_how_its_rows_are_read() {
    let target = Target::version(4, 0, 0);
    let of = |label: &'static str, more: &[&'static str]| {
        let mut headers = vec![label, "transaction_type: multi", "table: t", CSV, STRICT];
        headers.extend(more);
        headers
    };
    target.transaction("begin", &of("label: a", &[])[..2], None);
    assert_eq!(target.transaction("load", &of("label: a", &["columns: id,name"]), Some(b"1,a\n"))["Status"], "OK");
    // Other columns are not refused: they are passed over.
    assert_eq!(target.transaction("load", &of("label: a", &["columns: name,id"]), Some(b"2,b\n"))["Status"], "OK");
    let json = target.transaction("load", &of("label: a", &["format: json"]), Some(b"{\"id\":3}"));
    assert_eq!(json["Message"], "stream load context's format is not same as format from cur http header");
    assert_eq!(target.transaction("commit", &of("label: a", &[])[..2], None)["Status"], "FAILED");

    target.transaction("begin", &of("label: b", &[])[..2], None);
    for body in [&b"1,a\n"[..], b"2,b\n"] {
        let columns = if body[0] == b'1' { "columns: id,name" } else { "columns: name,id" };
        target.transaction("load", &of("label: b", &[columns]), Some(body));
    }
    assert_eq!(target.transaction("commit", &of("label: b", &[])[..2], None)["Status"], "OK");
    assert_eq!(target.rows("SELECT id, name FROM shop.t ORDER BY id"), ["1,a", "2,b"]);
}

#[test]
fn g16_data_errors_and_unknown_tables_end_a_multi_table_transaction() {
    let target = Target::version(4, 0, 0);
    let data = |label: &'static str, table: &'static str| {
        [label, "transaction_type: multi", table, CSV, "columns: id,name", STRICT]
    };
    for (label, body, reason) in [
        (
            "label: some",
            &b"1,far too long\n2,b\n"[..],
            "abnormal data more than max filter rate, tracking_url: http://",
        ),
        ("label: all", b"1,far too long\n", "No rows were imported from upstream"),
    ] {
        target.transaction("begin", &data(label, "table: t")[..2], None);
        assert_eq!(target.transaction("load", &data(label, "table: t"), Some(body))["Status"], "OK");
        let committed = target.transaction("commit", &data(label, "table: t")[..2], None);
        assert_eq!(committed["Status"], "FAILED");
        assert!(committed["Message"].as_str().unwrap().contains(reason), "{committed}");
    }
    target.transaction("begin", &data("label: lost", "table: t")[..2], None);
    let lost = target.transaction("load", &data("label: lost", "table: nope"), Some(b"1,a\n"));
    assert!(lost["Message"].as_str().unwrap().ends_with("Failed to find table nope in db shop"), "{lost}");
    let committed = target.transaction("commit", &data("label: lost", "table: t")[..2], None);
    assert!(committed["Message"].as_str().unwrap().contains("CANCELLED"), "{committed}");
    let far = [AUTH, "db: nope", "label: far", "transaction_type: multi"];
    let elsewhere = http(target.fe(), "POST", "/api/transaction/begin", &far, Some(b"")).json();
    assert!(elsewhere["Message"].as_str().unwrap().ends_with("Database[nope] does not exist"), "{elsewhere}");
    assert_eq!(target.rows("SELECT COUNT(*) FROM shop.t"), ["0"]);
}
