//! G1 to G8: the two ports and what a request has to look like.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{AUTH, Answer, CSV, PATH, Target, connect, http, parse, read_answer, read_now};

#[test]
fn g01_the_fe_redirects_from_headers_alone_and_closes() {
    let target = Target::start();
    let mut stream = connect(target.fe());
    let head = format!(
        "PUT {PATH}?x=1 HTTP/1.1\r\nHost: test\r\n{AUTH}\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The answer ends the connection though not one body byte was sent.
    let answer = read_answer(&mut stream);
    assert_eq!(answer.status, 307);
    assert!(!answer.head.contains("100 Continue"));
    assert_eq!(answer.body, "");
    assert_eq!(answer.header("connection").as_deref(), Some("close"));
    let location = answer.header("location").unwrap();
    assert!(location.ends_with(&format!("{PATH}?x=1")), "{location}");
    assert_ne!(target.fe().port(), target.be().port());
    // Closed even where there is no body that could stand in the way of a second request.
    let mut stream = connect(target.fe());
    let head = format!("PUT {PATH} HTTP/1.1\r\nHost: test\r\n{AUTH}\r\nExpect: 100-continue\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let bodiless = parse(&read_now(&mut stream));
    assert_eq!(bodiless.header("connection").as_deref(), Some("close"));
}

#[test]
fn g02_wrong_credentials_are_401_on_the_fe_and_fail_on_the_be() {
    let target = Target::start();
    let expect = "Expect: 100-continue";
    let wrong = "Authorization: Basic cm9vdDp3cm9uZw==";
    for headers in [&[expect][..], &[expect, wrong], &[expect, "Authorization: Bearer x"]] {
        let answer = http(target.fe(), "PUT", PATH, headers, None);
        assert_eq!(answer.status, 401);
        assert_eq!(answer.header("www-authenticate").as_deref(), Some("Basic realm=\"\""));
        assert_eq!(answer.json()["status"], "FAILED");
        assert_eq!(answer.json()["code"], "1");
    }
    let denied = http(target.fe(), "PUT", PATH, &[expect, wrong], None).json();
    assert_eq!(denied["msg"], "Access denied for root@127.0.0.1");
    let missing = http(target.be(), "PUT", PATH, &[CSV], Some(b"1,a\n"));
    assert_eq!(missing.status, 200);
    assert_eq!(missing.json()["Status"], "Fail");
    assert_eq!(missing.json()["Message"], "no valid Basic authorization");
    let bad = http(target.be(), "PUT", PATH, &[wrong, CSV], Some(b"1,a\n"));
    assert_eq!((bad.status, &bad.json()["Status"]), (200, &Value::from("Fail")));
}

#[test]
fn g02_insert_is_needed() {
    let target = Target::start();
    target.sql("CREATE USER 'reader' IDENTIFIED BY ''");
    let reader = "Authorization: Basic cmVhZGVyOg==";
    let answer = http(target.fe(), "PUT", PATH, &[reader, "Expect: 100-continue"], None);
    assert_eq!(answer.status, 401);
    target.sql("GRANT INSERT ON TABLE shop.t TO USER 'reader'");
    let answer = http(target.fe(), "PUT", PATH, &[reader, "Expect: 100-continue"], None);
    assert_eq!(answer.status, 307);
}

#[test]
fn g03_the_location_has_no_credentials_and_another_host() {
    let target = Target::start();
    let answer = http(target.fe(), "PUT", PATH, &[AUTH, "Expect: 100-continue"], None);
    let location = answer.header("location").unwrap();
    assert_eq!(location, format!("http://localhost:{}{PATH}", target.be().port()));
}

#[test]
fn g04_the_fe_demands_expect_and_the_be_does_not() {
    let target = Target::start();
    let answer = http(target.fe(), "PUT", PATH, &[AUTH], None);
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body,
        r#"{"Status":"FAILED","Message":"class com.starrocks.common.DdlException: There is no 100-continue header"}"#
    );
    assert_eq!(answer.header("connection").as_deref(), Some("close"));
    let loaded = target.load(&[CSV, "columns: id,name"], b"1,a\n");
    assert_eq!(loaded["Status"], "Success");
}

#[test]
fn g05_only_put_loads() {
    let target = Target::start();
    for method in ["POST", "GET", "DELETE"] {
        let fe = http(target.fe(), method, PATH, &[AUTH, "Expect: 100-continue"], None);
        assert_eq!(fe.status, 405, "{method}");
        let be = http(target.be(), method, PATH, &[AUTH], None);
        assert_eq!(be.status, 404, "{method}");
    }
    assert_eq!(http(target.fe(), "PUT", "/api/shop/_stream_load", &[AUTH], None).status, 404);
}

#[test]
fn g06_the_be_asks_for_the_body_only_when_the_headers_are_good() {
    let target = Target::start();
    let head = |path: &str, extra: &str| {
        format!(
            "PUT {path} HTTP/1.1\r\nHost: test\r\n{AUTH}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\
             {CSV}\r\ncolumns: id,name\r\nConnection: close\r\n{extra}\r\n"
        )
    };
    let mut stream = connect(target.be());
    stream.write_all(head(PATH, "label: good\r\n").as_bytes()).unwrap();
    let now = read_now(&mut stream);
    assert_eq!(now, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(target.label_state("good")["state"], "PREPARE");
    stream.write_all(b"1,a\n").unwrap();
    let answer = read_answer(&mut stream);
    assert_eq!(answer.json()["Status"], "Success");

    // A used label, an unknown table, a bad header: the final answer comes in place of the 100.
    let bad = [
        (PATH, "label: good\r\n", "Label [good] has already been used."),
        ("/api/shop/nope/_stream_load", "", "unknown table \"shop.nope\""),
        ("/api/nope/t/_stream_load", "", "unknown database, database=nope"),
        (PATH, "strict_mode: maybe\r\n", "Invalid strict mode format. Must be bool type"),
        (PATH, "timeout: soon\r\n", "Invalid timeout format"),
        (PATH, "label: a b\r\n", "Label format error. regex: ^[-\\w]{1,128}$, label: a b"),
    ];
    for (path, extra, message) in bad {
        let mut stream = connect(target.be());
        stream.write_all(head(path, extra).as_bytes()).unwrap();
        let answer = read_answer(&mut stream);
        assert!(!answer.head.contains("100 Continue"), "{message}");
        assert_eq!(answer.json()["Message"], message);
    }
}

#[test]
fn g07_every_result_is_200_with_the_keys_in_order() {
    let target = Target::start();
    let mut headers = vec![AUTH, CSV, "columns: id,name"];
    let good = http(target.be(), "PUT", PATH, &headers, Some(b"1,a\n"));
    assert_eq!(good.status, 200);
    assert!(good.body.starts_with("{\n    \"TxnId\": "), "{}", good.body);
    let keys = |answer: &Answer| answer.json().as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    let all = "TxnId Label Status Message NumberTotalRows NumberLoadedRows NumberFilteredRows NumberUnselectedRows \
               LoadBytes LoadTimeMs BeginTxnTimeMs StreamLoadPlanTimeMs ReadDataTimeMs WriteDataTimeMs \
               CommitAndPublishTimeMs";
    assert_eq!(keys(&good), all);
    assert_eq!(good.json()["Message"], "OK");
    assert_eq!(good.json()["LoadBytes"], 4);
    headers.push("format: parquet");
    let bad = http(target.be(), "PUT", PATH, &headers, Some(b"1,a\n"));
    assert_eq!(bad.status, 200);
    assert_eq!(keys(&bad), all);
    assert_eq!(bad.json()["Status"], "Fail");
    assert_eq!(bad.json()["TxnId"], -1);
    assert_eq!(bad.json()["Message"], "unknown data format, format=parquet");
}

#[test]
fn g08_chunked_bodies_load_and_a_short_one_aborts() {
    let target = Target::start();
    let mut stream = connect(target.be());
    let head =
        format!("PUT {PATH} HTTP/1.1\r\nHost: test\r\n{AUTH}\r\n{CSV}\r\ncolumns: id,name\r\nConnection: close\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(b"Transfer-Encoding: chunked\r\n\r\n3\r\n1,a\r\n4\r\n\n2,b\r\n0\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut stream).json()["NumberLoadedRows"], 2);

    let mut stream = connect(target.be());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(b"label: short\r\nContent-Length: 100\r\n\r\n3,c\n").unwrap();
    drop(stream);
    let deadline = Instant::now() + Duration::from_secs(60);
    while target.label_state("short")["state"] != "ABORTED" {
        assert!(Instant::now() < deadline, "{}", target.label_state("short"));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(target.rows("SELECT id FROM shop.t ORDER BY id"), ["1", "2"]);
}
