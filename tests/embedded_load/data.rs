//! G17 to G31, G44 and G45: values, formats and limits.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;
use towpath::embedded::fault::{Fault, Mode};

use super::{AUTH, CSV, PATH, STRICT, Target, connect, http, parse, read_answer, read_now};

#[test]
fn g17_without_strict_mode_bad_values_become_null_in_silence() {
    let target = Target::start();
    let loose = target.load(&[CSV, "columns: id,name,n"], b"1,far too long,1\n2,b,300\n3,c,x\n4,,\n");
    assert_eq!(loose["Status"], "Success");
    assert_eq!(loose["NumberFilteredRows"], 0);
    assert_eq!(target.rows("SELECT id, name, n FROM shop.t ORDER BY id"), ["1,-,1", "2,b,-", "3,c,-", "4,,-"]);
    let strict = target.load(&[CSV, "columns: id,name,n", STRICT], b"5,e,300\n6,f,6\n");
    assert_eq!(strict["Status"], "Fail");
    assert_eq!(strict["NumberFilteredRows"], 1);
    assert!(
        target
            .error_log(&strict)
            .contains("The field (name = n, pos = 2) is out of range. Type: TINYINT, Value length: 3, Value: 300")
    );
}

#[test]
fn g18_the_filter_ratio_counts_and_the_error_url_serves() {
    let target = Target::start();
    let body = b"1,a,1\n2,b,x\n3,c,3\n4,d,4\n";
    let headers = [CSV, "columns: id,name,n", STRICT];
    let failed = target.load(&headers, body);
    assert_eq!(failed["Message"], "too many filtered rows");
    assert_eq!((&failed["NumberTotalRows"], &failed["NumberFilteredRows"]), (&4.into(), &1.into()));
    let [first, second, third] = headers;
    let passed = target.load(&[first, second, third, "max_filter_ratio: 0.25"], body);
    assert_eq!(passed["Status"], "Success");
    assert_eq!((&passed["NumberTotalRows"], &passed["NumberLoadedRows"]), (&4.into(), &3.into()));
    let log = target.error_log(&passed);
    assert!(log.starts_with("Error: ") && log.contains("Row: 2,b,x"), "{log}");
    let refused = target.load(&[first, second, third, "max_filter_ratio: 0.24"], body);
    assert_eq!(refused["Status"], "Fail");
    let outside = http(target.be(), "GET", "/api/_load_error_log?file=../embedded.sqlite", &[], None);
    assert_eq!(outside.status, 404);
    let nothing = target.load(&[CSV, "columns: id"], b"");
    assert_eq!(nothing["Status"], "Fail");
    assert!(nothing["Message"].as_str().unwrap().starts_with("No partitions have data available for loading"));
}

#[test]
fn g19_null_into_not_null_is_filtered_in_both_modes_and_for_deletes() {
    let target = Target::start();
    for mode in ["strict_mode: false", STRICT] {
        let null = target.load(&[CSV, mode, "columns: id,req"], b"1,\\N\n");
        assert_eq!(null["NumberFilteredRows"], 1, "{mode}");
        assert!(target.error_log(&null).contains("NULL value in non-nullable column 'req'"));
        let key = target.load(&[CSV, mode, "columns: id,req"], b"\\N,x\n");
        assert_eq!(key["NumberFilteredRows"], 1, "{mode}");
        let delete = target.load(&[CSV, mode, "columns: id,req,__op"], b"1,\\N,1\n");
        assert_eq!(delete["NumberFilteredRows"], 1, "{mode}");
    }
}

#[test]
fn g20_lengths_are_bytes_and_json_is_stricter_than_csv() {
    let target = Target::start();
    let fits = "é".repeat(5);
    let long = "é".repeat(6);
    target.load(&[CSV, "columns: id,name"], format!("1,{fits}\n2,{long}\n").as_bytes());
    assert_eq!(target.rows("SELECT id, name FROM shop.t ORDER BY id"), [format!("1,{fits}"), "2,-".into()]);
    let body = format!("{{\"id\":3,\"name\":\"{long}\",\"req\":\"x\"}}");
    let json = target.load(&["format: json"], body.as_bytes());
    assert_eq!(json["NumberFilteredRows"], 1);
    let text = format!("String '{long}'(length=12) is too long. The max length of 'name' is 10");
    assert!(target.error_log(&json).contains(&text));
}

#[test]
fn g21_decimals_overflow_and_json_booleans_are_no_integers() {
    let target = Target::start();
    target.load(&[CSV, "columns: id,d"], b"1,123.456\n2,-0.005\n");
    assert_eq!(target.rows("SELECT id, d FROM shop.t ORDER BY id"), ["1,123.46", "2,-0.01"]);
    for mode in ["strict_mode: false", STRICT] {
        let over = target.load(&[CSV, mode, "columns: id,d"], b"3,1000\n");
        assert_eq!(over["NumberFilteredRows"], 1, "{mode}");
        assert!(target.error_log(&over).contains("Decimal '1000' is out of range. The type of 'd' is DECIMAL"));
    }
    let boolean = target.load(&["format: json", STRICT], br#"{"id":4,"n":true,"req":"x"}"#);
    assert!(target.error_log(&boolean).contains("Unsupported value type. Numeric type is required. column=n"));
    let overflow = target.load(&["format: json", STRICT], br#"{"id":4,"n":300,"req":"x"}"#);
    assert!(target.error_log(&overflow).contains("Value is overflow. column=n, value=300"));
}

#[test]
fn g22_op_marks_deletes_and_the_last_of_a_key_wins() {
    let target = Target::start();
    target.load(&[CSV, "columns: id,name,__op"], b"1,a,0\n2,b,0\n3,c,0\n");
    target.load(&[CSV, "columns: id,name,__op"], b"1,a,1\n2,x,0\n2,y,0\n3,c,1\n3,d,0\n4,e,0\n4,e,1\n");
    assert_eq!(target.rows("SELECT id, name FROM shop.t ORDER BY id"), ["2,y", "3,d"]);
    // Three fields without __op in the header are three columns of which the last is no op.
    let unnamed = target.load(&[CSV, "columns: id,name"], b"2,b,1\n");
    assert_eq!(unnamed["NumberFilteredRows"], 1);
    target.load(&[CSV, "columns: id,__op='delete'"], b"2\n");
    assert_eq!(target.rows("SELECT id FROM shop.t"), ["3"]);
    target.load(&["format: json"], b"{\"id\":3,\"req\":\"x\",\"__op\":1}\n{\"id\":5,\"req\":\"x\"}");
    assert_eq!(target.rows("SELECT id FROM shop.t"), ["5"]);
    let word = target.load(&[CSV, "columns: id,__op='remove'"], b"5\n");
    assert_eq!(word["Message"], "load op type string not supported: remove");
    let number = target.load(&[CSV, "columns: id,__op=2"], b"5\n");
    assert_eq!(number["Message"], "const load op type column should only be upsert(0)/delete(1)");
    target.sql(
        "CREATE TABLE shop.dup (id BIGINT, v INT) DUPLICATE KEY (id) DISTRIBUTED BY HASH(id) \
         PROPERTIES (\"replication_num\" = \"1\")",
    );
    assert_eq!(target.load_into("dup", &[CSV, "columns: id,v,__op"], b"1,1,1\n")["Status"], "Fail");
}

#[test]
fn g22_a_shared_data_cluster_may_apply_deletes_last() {
    let target = Target::start();
    target.running().inject(Fault::new(Mode::DeletesAfterUpserts)).unwrap();
    target.load(&[CSV, "columns: id,__op"], b"1,0\n1,1\n1,0\n2,1\n2,0\n3,0\n");
    assert_eq!(target.rows("SELECT id FROM shop.t"), ["3"]);
}

#[test]
fn g23_a_key_over_128_bytes_fails_the_load() {
    let target = Target::start();
    target.create("k", "a VARCHAR(200) NOT NULL, b VARCHAR(200) NOT NULL", "a, b");
    let row = |a: usize, b: usize| format!("{},{}\n", "a".repeat(a), "b".repeat(b));
    // The first of two strings pays two bytes for its end.
    assert_eq!(target.load_into("k", &[CSV], row(26, 100).as_bytes())["Status"], "Success");
    let long = target.load_into("k", &[CSV, "max_filter_ratio: 1"], row(27, 100).as_bytes());
    assert_eq!(long["Message"], "primary key size exceed the limit.");
    assert_eq!(target.rows("SELECT COUNT(*) FROM shop.k"), ["1"]);
}

#[test]
fn g24_the_columns_header() {
    let target = Target::start();
    target.create("c", "id BIGINT NOT NULL, a INT, must INT NOT NULL, bin VARBINARY(20)", "id");
    let load = |columns: &str, body: &[u8]| target.load_into("c", &[CSV, STRICT, &format!("columns: {columns}")], body);
    let good = load("ID, `a`, typo, MUST", b"1,2,ignored,3\n");
    assert_eq!(good["Status"], "Success", "{good}");
    for (columns, message) in [
        ("id,must,b=a", "Mapping column is not in table. column: b"),
        ("id,must,a=nope", "unknown reference column, column=a, reference=nope"),
        ("id,must,must", "Duplicate column: must"),
        ("id,must,a=1,a=2", "Duplicate column mapping: a"),
        ("id,a", "Column has no default value. column: must"),
    ] {
        assert_eq!(load(columns, b"1,2\n")["Message"], message, "{columns}");
    }
    load("id,x,hex,must=x,a=x,bin=to_binary(hex,'hex')", b"2,7,00ff41\n");
    assert_eq!(target.rows("SELECT id, a, must, hex(bin) FROM shop.c WHERE id = 2"), ["2,7,7,00FF41"]);
    // JSON keys are matched by their exact spelling.
    let keys = target.load_into("c", &["format: json"], br#"{"ID":3,"must":1}"#);
    assert!(target.error_log(&keys).contains("NULL value in non-nullable column 'id'"));
    let spelled = target.load_into("c", &["format: json", "columns: ID, must"], br#"{"ID":3,"must":1}"#);
    assert_eq!(spelled["Status"], "Success", "{spelled}");
}

#[test]
fn g25_json_shapes() {
    let target = Target::start();
    let load = |headers: &[&str], body: &str| {
        let mut all = vec!["format: json"];
        all.extend_from_slice(headers);
        target.load(&all, body.as_bytes())
    };
    // The key is there, so the default is not used: NULL, and the NOT NULL column filters the row.
    let missing = load(&[], r#"{"id":1}"#);
    assert!(target.error_log(&missing).contains("NULL value in non-nullable column 'req'"));
    let array = load(&[], r#"[{"id":1,"req":"x"}]"#);
    assert!(array["Message"].as_str().unwrap().starts_with("The value is array type in json document stream"));
    let object = load(&["strip_outer_array: true"], r#"{"id":1,"req":"x"}"#);
    assert!(object["Message"].as_str().unwrap().starts_with("the value should be array type with strip_outer_array"));
    let broken = load(&["max_filter_ratio: 1"], "{\"id\":1,\"req\":\"x\"}\n{\"id\":2,\"req\":}\n{\"id\":3}");
    assert_eq!(broken["Status"], "Fail");
    assert_eq!(load(&[], "id=1")["Message"], "illegal json started with i");
    assert_eq!(target.rows("SELECT COUNT(*) FROM shop.t"), ["0"]);
    let good = load(&["strip_outer_array: true"], r#"[{"id":1,"req":"x","other":[1]},{"req":"y","id":"2"}]"#);
    assert_eq!(good["NumberLoadedRows"], 2, "{good}");
    let rooted = load(
        &["strip_outer_array: true", "json_root: $.data", "jsonpaths: [\"$.k\", \"$.v[1]\"]", "columns: id, name"],
        r#"{"data":[{"k":9,"v":["a","b"]}]}"#,
    );
    assert_eq!(rooted["Status"], "Success", "{rooted}");
    assert_eq!(target.rows("SELECT id, name, req FROM shop.t ORDER BY id"), ["1,-,x", "2,-,y", "9,b,x"]);
}

#[test]
fn g26_csv_shapes() {
    let target = Target::start();
    let headers = [CSV, "columns: id,name", "max_filter_ratio: 1"];
    let body = b"1,\\N\n2,\n\n3,\"q\"\n4\n5,a,b\n6,\xff\n7,end";
    let loaded = target.load(&headers, body);
    assert_eq!((&loaded["NumberLoadedRows"], &loaded["NumberFilteredRows"]), (&4.into(), &3.into()), "{loaded}");
    assert_eq!(target.rows("SELECT id, name FROM shop.t ORDER BY id"), ["1,-", "2,", "3,\"q\"", "7,end"]);
    let log = target.error_log(&loaded);
    let count = "Target column count: 2 doesn't match source value column count: 1. Column separator: ',', \
                 Row delimiter: '\\n'";
    assert!(log.contains(count), "{log}");
    assert!(log.contains("Invalid UTF-8 row"));
    let separators = ["column_separator: \\x01", "row_delimiter: \\x02", "columns: id,name"];
    assert_eq!(target.load(&separators, b"10\x01a,b\n\x0211\x01c\x02")["NumberLoadedRows"], 2);
    let options = [CSV, "columns: id,name", "enclose: \"", "escape: \\", "skip_header: 1", "trim_space: true"];
    target.load(&options, b"id,name\n12, \"a,\"\"b\"\n13,x\\,y\n");
    assert_eq!(
        target.rows("SELECT id, name FROM shop.t WHERE id >= 10 ORDER BY id"),
        ["10,a,b\n", "11,c", "12,a,\"b", "13,x,y"]
    );
    // In a transaction these options are not read.
    target.transaction("begin", &["label: q", "table: t"], None);
    let quoted = ["label: q", "table: t", CSV, "columns: id,name", "enclose: \""];
    target.transaction("load", &quoted, Some(b"14,\"z\"\n"));
    target.transaction("commit", &["label: q"], None);
    assert_eq!(target.rows("SELECT name FROM shop.t WHERE id = 14"), ["\"z\""]);
}

#[test]
fn g27_a_json_body_over_100_mb_is_refused_by_its_length() {
    let target = Target::start();
    let ask = |extra: &str| {
        let mut stream = connect(target.be());
        let head = format!(
            "PUT {PATH} HTTP/1.1\r\nHost: test\r\n{AUTH}\r\nformat: json\r\nExpect: 100-continue\r\n\
             Content-Length: 104857601\r\nConnection: close\r\n{extra}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        read_now(&mut stream)
    };
    let refused = parse(&ask("")).json();
    assert_eq!(
        refused["Message"],
        "The size of this batch exceed the max size [104857600]  of json type data  data [ 104857601 ]. Set \
         ignore_json_size to skip the check, although it may lead huge memory consuming."
    );
    assert!(ask("ignore_json_size: true\r\n").contains("100 Continue"));
    // Inside a transaction the sum counts.
    target.transaction("begin", &["label: big", "table: t"], None);
    let mut stream = connect(target.be());
    let head = format!(
        "PUT /api/transaction/load HTTP/1.1\r\nHost: test\r\n{AUTH}\r\ndb: shop\r\ntable: t\r\nlabel: big\r\n\
         format: json\r\nConnection: close\r\n"
    );
    stream.write_all(format!("{head}Content-Length: 22\r\n\r\n").as_bytes()).unwrap();
    stream.write_all(br#"{"id":1,"req":"x"}    "#).unwrap();
    assert_eq!(read_answer(&mut stream).json()["Status"], "OK");
    let mut stream = connect(target.be());
    stream.write_all(format!("{head}Content-Length: 104857590\r\n\r\n").as_bytes()).unwrap();
    assert_eq!(read_answer(&mut stream).json()["Status"], "INTERNAL_ERROR");
}

#[test]
fn g28_json_may_be_compressed_since_3_2_7() {
    let body = br#"{"id":1,"req":"x"}"#;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(body).unwrap();
    let gzip = gzip.finish().unwrap();
    let target = Target::start();
    let compressed = target.load(&["format: json", "compression: GZIP"], &gzip);
    assert_eq!(compressed["Status"], "Success", "{compressed}");
    let zstd = zstd::stream::encode_all(&body[..], 1).unwrap();
    assert_eq!(target.load(&["format: json", "Content-Encoding: zstd"], &zstd)["Status"], "Success");
    let both = target.load(&["format: json", "compression: gzip", "Content-Encoding: gzip"], &gzip);
    assert_eq!(both["Message"], "Only one of http header content-encoding and compression can be set");
    let unknown = target.load(&["format: json", "compression: rar"], &gzip);
    assert_eq!(unknown["Message"], "Unsupported compression type: rar");
    let old = Target::version(3, 2, 6);
    assert_eq!(old.load(&["format: json", "compression: gzip"], &gzip)["Status"], "Fail");
}

#[test]
fn g29_partial_updates_and_merge_conditions() {
    let target = Target::start();
    target.load(&[CSV, "columns: id,name,n,req"], b"1,a,1,r\n");
    let partial = "partial_update: true";
    let updated = target.load(&[CSV, partial, "columns: id,n"], b"1,2\n5,5\n");
    assert_eq!(updated["Status"], "Success", "{updated}");
    assert_eq!(target.rows("SELECT id, name, n, req FROM shop.t ORDER BY id"), ["1,a,2,r", "5,-,5,x"]);
    // Spelled in another way a column is no column of the update, and nobody says so.
    assert_eq!(target.load(&[CSV, partial, "columns: id,N"], b"1,3\n")["Status"], "Success");
    assert_eq!(target.rows("SELECT n FROM shop.t WHERE id = 1"), ["2"]);
    let keyless = target.load(&[CSV, partial, "columns: ID,n"], b"1,3\n");
    assert_eq!(keyless["Message"], "key column id not in partial update columns");
    // A new row's other columns: the default, NULL, or the type's zero.
    target.create("p", "id BIGINT NOT NULL, must INT NOT NULL, v INT", "id");
    target.load_into("p", &[CSV, partial, "columns: id,v"], b"1,1\n");
    assert_eq!(target.rows("SELECT id, must, v FROM shop.p"), ["1,0,1"]);
    let keyless = target.load(&[CSV, partial, "columns: name,n"], b"a,2\n");
    assert_eq!(keyless["Message"], "key column id not in partial update columns");
    let condition = "merge_condition: n";
    target.load(&[CSV, condition, "columns: id,name,n"], b"1,low,1\n5,high,9\n");
    assert_eq!(target.rows("SELECT id, name, n FROM shop.t ORDER BY id"), ["1,a,2", "5,high,9"]);
    let delete = target.load(&[CSV, condition, "columns: id,name,n,__op"], b"1,x,9,1\n");
    assert!(delete["Message"].as_str().unwrap().ends_with("delete with condition column n"), "{delete}");
    assert_eq!(target.load(&[CSV, "merge_condition: id", "columns: id,n"], b"1,1\n")["Status"], "Fail");
}

#[test]
fn g30_binary_is_base64_or_raw_since_3_2_and_hex_before() {
    let create = |target: &Target| target.create("b", "id BIGINT NOT NULL, v VARBINARY(20)", "id");
    let target = Target::start();
    create(&target);
    target.load_into("b", &[CSV], b"1,AAH/\n2,not base64!\n3,\n");
    let found = target.rows("SELECT id, hex(v) FROM shop.b ORDER BY id");
    assert_eq!(found, ["1,0001FF", "2,6E6F742062617365363421", "3,"]);
    let old = Target::version(3, 1, 0);
    create(&old);
    old.load_into("b", &[CSV, STRICT], b"1,0001ff\n");
    assert_eq!(old.rows("SELECT hex(v) FROM shop.b"), ["0001FF"]);
    assert_eq!(old.load_into("b", &[CSV, STRICT], b"2,AAH/\n")["NumberFilteredRows"], 1);
}

#[test]
fn g31_dates_must_exist_and_six_digits_stay() {
    let target = Target::start();
    target.create("d", "id BIGINT NOT NULL, day DATE, at DATETIME", "id");
    let body = "1,2024-02-29,2024-02-29 23:59:59.123456\n2,0000-01-01,2024-01-01 00:00:00.000000\n";
    assert_eq!(target.load_into("d", &[CSV, STRICT], body.as_bytes())["Status"], "Success");
    let found = target.rows("SELECT id, CAST(day AS VARCHAR), CAST(at AS VARCHAR) FROM shop.d ORDER BY id");
    assert_eq!(found, ["1,2024-02-29,2024-02-29 23:59:59.123456", "2,0000-01-01,2024-01-01 00:00:00"]);
    for bad in
        ["0000-00-00,\\N", "2023-02-29,\\N", "\\N,0000-00-00 00:00:00", "\\N,2024-01-01 24:00:00", "\\N,838:59:59"]
    {
        let answer = target.load_into("d", &[CSV, STRICT], format!("9,{bad}\n").as_bytes());
        assert_eq!(answer["NumberFilteredRows"], 1, "{bad}");
        let json = bad
            .replace("\\N", "")
            .split_once(',')
            .map(|(day, at)| format!("{{\"id\":9,\"day\":\"{day}\",\"at\":\"{at}\"}}"));
        let answer = target.load_into("d", &["format: json", STRICT], json.unwrap().as_bytes());
        assert_eq!(answer["NumberFilteredRows"], 1, "{bad}");
    }
}

#[test]
fn g44_too_many_versions_fail_until_a_compaction() {
    let target = Target::with(|options| {
        options.tablet_max_versions = 3;
        options.compaction_interval = Duration::from_secs(3600);
    });
    for _ in 0..3 {
        assert_eq!(target.load(&[CSV, "columns: id"], b"1\n")["Status"], "Success");
    }
    let full = target.load(&[CSV, "columns: id"], b"2\n");
    assert_eq!(full["Status"], "Fail");
    assert!(full["Message"].as_str().unwrap().contains("because of too many versions, current/limit: 3/3."), "{full}");
    let drained = Target::with(|options| {
        options.tablet_max_versions = 3;
        options.compaction_interval = Duration::ZERO;
    });
    for _ in 0..8 {
        assert_eq!(drained.load(&[CSV, "columns: id"], b"1\n")["Status"], "Success");
    }
}

#[test]
fn g45_running_transactions_of_a_database_are_limited() {
    let target = Target::with(|options| options.max_running_txn_num_per_db = 1);
    target.transaction("begin", &["label: one", "table: t"], None);
    let refused = target.load(&[CSV, "columns: id"], b"1\n");
    let message = refused["Message"].as_str().unwrap();
    assert!(message.starts_with("current running txns on db "), "{message}");
    assert!(message.ends_with(" is 1, larger than limit 1"), "{message}");
    target.transaction("rollback", &["label: one", "table: t"], None);
    assert_eq!(target.load(&[CSV, "columns: id"], b"1\n")["Status"], "Success");
}

#[test]
fn loads_into_different_tables_do_not_wait_for_each_other() {
    let target = Target::start();
    target.create("u", "id BIGINT NOT NULL", "id");
    let mut open: Vec<TcpStream> = Vec::new();
    for table in ["t", "u"] {
        let mut stream = connect(target.be());
        let head = format!(
            "PUT /api/shop/{table}/_stream_load HTTP/1.1\r\nHost: test\r\n{AUTH}\r\ncolumns: id\r\n\
             Connection: close\r\nContent-Length: 4\r\n\r\n1\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        open.push(stream);
    }
    for mut stream in open.into_iter().rev() {
        stream.write_all(b"2\n").unwrap();
        assert_eq!(read_answer(&mut stream).json()["NumberLoadedRows"], 2);
    }
}

#[test]
fn a_body_larger_than_memory_should_hold_is_spilled_and_loaded() {
    let target = Target::start();
    let mut body = String::new();
    for id in 0..300_000 {
        body.push_str(&format!("{id},name {}\n", id % 1000));
    }
    let answer = target.load(&[CSV, "columns: id,name", STRICT], body.as_bytes());
    assert_eq!(answer["NumberLoadedRows"], 300_000, "{answer}");
    assert_eq!(target.rows("SELECT COUNT(*), MAX(id) FROM shop.t"), ["300000,299999"]);
}

#[test]
fn curl_loads_through_the_fe() {
    if std::process::Command::new("curl").arg("--version").output().is_err() {
        eprintln!("skipped: no curl on this machine");
        return;
    }
    let target = Target::start();
    let output = std::process::Command::new("curl")
        .args(["-s", "--noproxy", "*", "--location-trusted", "-u", "root:", "-H", "Expect: 100-continue"])
        .args(["-H", "label: by-curl", "-H", CSV, "-H", "columns: id,name", "--data-binary", "1,a\n2,b\n", "-XPUT"])
        .arg(format!("http://127.0.0.1:{}{PATH}", target.fe().port()))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let answer: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(answer["Status"], "Success", "{text}");
    assert_eq!(target.rows("SELECT COUNT(*) FROM shop.t"), ["2"]);
}

#[test]
fn health_is_answered() {
    let target = Target::start();
    assert_eq!(http(target.fe(), "GET", "/api/health", &[], None).json()["status"], "OK");
    assert_eq!(http(target.be(), "GET", "/api/health", &[], None).json()["status"], "OK");
}

#[test]
fn negative_zero_keeps_its_sign() {
    let target = Target::start();
    target.create("zero", "id INT NOT NULL, d DOUBLE, f FLOAT", "id");
    let loaded = target.load_into("zero", &[CSV, STRICT, "columns: id,d,f"], b"1,-0,-0\n2,0,0\n");
    assert_eq!(loaded["Status"], "Success");
    assert_eq!(target.rows("SELECT id, d, f FROM shop.zero ORDER BY id"), ["1,-0,-0", "2,0,0"]);
    assert_eq!(target.rows("SELECT id FROM shop.zero WHERE d = 0 AND f < 1 ORDER BY id"), ["1", "2"]);
}
