//! Job files, right and wrong. The messages are what a user reads, so they are compared whole.

use std::path::PathBuf;

use super::fields::markdown_table;
use super::*;

const SHORTEST: &str = "name: shop\nsource: {username: towpath, tables: [shop.*]}\ntarget: {}\n";

fn lookup(name: &str) -> Option<String> {
    match name {
        "PASSWORD" => Some("p: '#{x} \"".to_owned()),
        "PORT" => Some("3307".to_owned()),
        _ => None,
    }
}

fn parse(text: &str) -> crate::Result<Job> {
    Job::parse(text, "job.yaml", &lookup)
}

/// The shortest job with more lines, and what is said about them.
fn mistake(more: &str) -> String {
    let error = parse(&format!("{SHORTEST}{more}\n")).unwrap_err();
    assert_eq!(error.kind(), crate::error::Kind::Usage);
    error.to_string()
}

/// What is said about keys of `source`.
fn source_mistake(more: &str) -> String {
    parse(&format!("name: shop\ntarget: {{}}\nsource:\n  username: u\n  tables: a.*\n{more}\n"))
        .unwrap_err()
        .to_string()
}

#[test]
fn the_shortest_job_has_the_documented_defaults() {
    let job = parse(SHORTEST).unwrap();
    assert_eq!(job.name, "shop");
    assert_eq!(job.state_dir, PathBuf::from("./towpath-state"));
    assert_eq!(job.source.hosts, [Address { host: "127.0.0.1".into(), port: 3306 }]);
    assert_eq!(job.source.tls.mode, TlsMode::Preferred);
    assert_eq!(job.source.startup, Startup::Initial);
    assert_eq!(job.source.tables, ["shop.*"]);
    assert_eq!(job.target.kind, TargetKind::Starrocks);
    assert_eq!(job.target.client_addresses, [Address { host: "127.0.0.1".into(), port: 9030 }]);
    assert_eq!(job.target.http_addresses.len(), 1);
    assert_eq!(job.target.username, "root");
    assert_eq!(job.params, Params::default());
    assert!(!job.atomic_transactions);
    assert_eq!(job.zero_date, ZeroDate::Null);
    assert_eq!(job.no_key_tables, NoKeyTables::UniqueKey);
    assert_eq!(job.replica_id(), parse(SHORTEST).unwrap().replica_id());
}

const WHOLE: &str = r#"
name: shop
stateDir: /var/lib/towpath
source:
  type: mariadb
  host: ::1
  port: ${PORT}
  username: towpath
  password: ${PASSWORD}
  tls: {mode: verify_ca}
  tables: ['shop.*', crm.customer]
  excludeTables: shop.tmp_*
  timezone: +02:00
  startup: {file: binlog.000042, position: 157}
  serverId: 4294967295
target:
  type: embedded
  clientAddress: ['[::1]:9030', b:9030]
  httpAddress: [a:8030, b:8030]
  username: admin
  password: ${NONE:-x}
  loadProps: {format: csv, timeout: 600}
  tableProperties: {replication_num: 1, enable_persistent_index: true}
  hostMap: {'be:8040': '127.0.0.1:18040'}
  databases: {shop: ods_shop}
  dataDir: /var/lib/towpath-target
params: {realFlushPauseSec: 0.5, increBatchSize: 1000, fullParallel: 8, retryCount: 3}
ddl: {default: error, addColumn: apply}
strategyOnError: exit
atomicTransactions: true
defaultZeroDate: 1970-01-01
noKeyTables: skip
"#;

#[test]
fn every_key_is_read() {
    let job = parse(WHOLE).unwrap();
    assert_eq!(job.source.kind, Some(SourceType::Mariadb));
    assert_eq!(job.source.hosts[0].port, 3307);
    assert_eq!(job.source.password.reveal(), "p: '#{x} \"");
    assert_eq!(job.source.tls.mode, TlsMode::VerifyCa);
    assert_eq!(job.source.tables, ["shop.*", "crm.customer"]);
    assert_eq!(job.source.exclude_tables, ["shop.tmp_*"]);
    assert_eq!(job.source.timezone.as_deref(), Some("+02:00"));
    assert_eq!(job.source.startup, Startup::Position { file: "binlog.000042".to_owned(), position: 157 });
    assert_eq!(job.replica_id(), u32::MAX);
    assert_eq!(job.target.kind, TargetKind::Embedded);
    assert_eq!(job.target.client_addresses[0].to_string(), "[::1]:9030");
    assert_eq!(job.target.client_addresses[1].to_string(), "b:9030");
    assert_eq!(job.target.http_addresses[1].to_string(), "b:8030");
    assert_eq!(job.target.password.reveal(), "x");
    assert_eq!(job.target.load_props["timeout"], "600");
    assert_eq!(job.target.table_properties["replication_num"], "1");
    assert_eq!(job.target.table_properties["enable_persistent_index"], "true");
    assert_eq!(job.target.host_map["be:8040"], "127.0.0.1:18040");
    assert_eq!(job.target.databases["shop"], "ods_shop");
    assert_eq!(job.target.data_dir, PathBuf::from("/var/lib/towpath-target"));
    assert_eq!(job.params.real_flush_pause_sec, 0.5);
    assert_eq!((job.params.incre_batch_size, job.params.full_parallel, job.params.retry_count), (1000, 8, 3));
    assert_eq!(job.ddl, Ddl::of(|kind| if kind == DdlKind::AddColumn { DdlPolicy::Apply } else { DdlPolicy::Error }));
    assert!(job.atomic_transactions);
    assert_eq!(job.zero_date, ZeroDate::Value("1970-01-01".to_owned()));
    assert_eq!(job.no_key_tables, NoKeyTables::Skip);
}

#[test]
fn json_is_the_same_model() {
    let json = r#"{"name": "j", "source": {"username": "u", "tables": ["a.b"], "startup": {"gtid": "0-1-2, 1-1-3"}},
        "target": {"httpAddress": "h:1"}, "params": {"realFlushPauseSec": 0}}"#;
    let job = parse(json).unwrap();
    assert_eq!(job.source.startup, Startup::Gtid("0-1-2,1-1-3".to_owned()));
    assert_eq!(job.params.real_flush_pause_sec, 0.0);
}

#[test]
fn a_kind_of_ddl_that_is_not_named_goes_by_the_default_and_a_drop_is_never_applied_unasked() {
    let policies = |ddl: &str| {
        let job = parse(&format!("{SHORTEST}ddl: {ddl}\n")).unwrap();
        DdlKind::ALL.map(|kind| job.ddl.policy(kind))
    };
    use DdlPolicy::{Apply, Error, Ignore, Warn};
    let shipped = [Apply, Ignore, Apply, Apply, Apply, Apply, Apply, Apply];
    assert_eq!(DdlKind::ALL.map(|kind| parse(SHORTEST).unwrap().ddl.policy(kind)), shipped);
    assert_eq!(policies("{default: apply}"), shipped);
    assert_eq!(policies("{default: warn, dropTable: apply}"), [Warn, Apply, Warn, Warn, Warn, Warn, Warn, Warn]);
    assert_eq!(policies("{default: error}"), [Error; 8]);
    for (place, kind) in DdlKind::ALL.into_iter().enumerate() {
        let mut expected = shipped;
        expected[place] = Warn;
        assert_eq!(policies(&format!("{{{}: warn}}", kind.key())), expected);
    }
}

#[test]
fn a_password_shows_in_no_debug_text() {
    let job = parse(WHOLE).unwrap();
    assert!(!format!("{job:?}").contains("#{x}"));
}

#[test]
fn unknown_keys_name_the_nearest_one() {
    assert_eq!(source_mistake("  tabels: [shop.*]"), "job.yaml:6: source.tabels: no such key; did you mean `tables`?");
    assert_eq!(
        mistake("params: {incre_batch_size: 5}"),
        "job.yaml:4: params.incre_batch_size: no such key; did you mean `increBatchSize`?"
    );
    assert_eq!(
        mistake("clientAddress: a:1"),
        "job.yaml:4: clientAddress: no such key here; did you mean `target.clientAddress`?"
    );
    assert_eq!(
        source_mistake("  tls: {sni: x}"),
        "job.yaml:6: source.tls.sni: no such key. Known here: mode, ca, cert, key"
    );
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_lines() {
    let text = "name: a b\nsource:\n  port: 0\n  tables: [orders]\n  username: 7\n  password: ${MISSING}\n  startup: first\n\
                target: {type: doris, clientAddress: localhost}\nparams:\n  realFlushPauseSec: 4000\n  fullBatchSize: many\n";
    assert_eq!(
        parse(text).unwrap_err().to_string(),
        "job.yaml:1: name: \"a b\" must be 1 to 40 letters, digits, `_` or `-`: it is part of every load's label, which takes no others\n\
         job.yaml:3: source.port: 0 must be a whole number from 1 to 65535\n\
         job.yaml:4: source.tables: \"orders\" must be database.table, such as 'shop.orders' or 'shop.*'\n\
         job.yaml:5: source.username: must be text, not a number; put it in quotes\n\
         job.yaml:6: source.password: the environment variable MISSING is not set; set it, or give a default: `${MISSING:-…}`\n\
         job.yaml:7: source.startup: \"first\" is not known. Allowed: initial, full, latest, earliest, or {file, position}, {gtid} or {timestamp}\n\
         job.yaml:8: target.type: `doris` is not in this version: use `starrocks` or `embedded`\n\
         job.yaml:8: target.clientAddress: \"localhost\" must be host:port, such as 127.0.0.1:8030\n\
         job.yaml:10: params.realFlushPauseSec: 4000 must be a number from 0 to 3600\n\
         job.yaml:11: params.fullBatchSize: must be a whole number, not text"
    );
}

#[test]
fn what_is_missing_is_told_with_its_meaning() {
    assert_eq!(
        parse("name: a\nsource: {username: u}\ntarget: {}").unwrap_err().to_string(),
        "job.yaml: source.tables: missing. Patterns over `database.table`: `*`, `?`, `[a-z]`, `{a,b}`; `*` does not cross the dot."
    );
    assert!(parse("").unwrap_err().to_string().contains("must be a group of keys, not nothing"));
    assert_eq!(parse("- a").unwrap_err().to_string(), "job.yaml:1: must be a group of keys, not a list");
    assert_eq!(
        parse("name: shop\nsource: {username: u, tables: a.b}\ntarget: {httpAddress: []}\n").unwrap_err().to_string(),
        "job.yaml:3: target.httpAddress: the list is empty; give at least one"
    );
}

#[test]
fn a_job_compares_by_the_clock_only_when_told_when() {
    assert_eq!(parse(SHORTEST).unwrap().verify, None);
    assert_eq!(parse(&format!("{SHORTEST}verify: {{}}\n")).unwrap().verify, None);
    let verify =
        |keys: &str| parse(&format!("{SHORTEST}verify: {{cron: '0 3 * * *', {keys}}}\n")).unwrap().verify.unwrap();
    let plain = verify("");
    assert_eq!((plain.schedule.expression(), plain.schedule.zone_name()), ("0 3 * * *", None));
    assert_eq!((plain.auto_correct, plain.rate_limit, plain.sample), (false, Some(50_000), None));
    let all = verify(
        "timezone: Europe/Berlin, autoCorrect: true, tables: 'shop.o*', sample: 0.5%, rateLimit: 0, floatDigits: 6, timeDigits: 0, \
         emptyEqualsNull: true, sourceHost: replica",
    );
    assert_eq!(all.schedule.zone_name(), Some("Europe/Berlin"));
    assert_eq!(
        (all.auto_correct, all.tables, all.sample, all.rate_limit),
        (true, vec!["shop.o*".to_owned()], Some(0.005), None)
    );
    assert_eq!((all.float_digits, all.time_digits, all.empty_equals_null), (Some(6), Some(0), true));
    assert_eq!(all.source_host, Some(Address { host: "replica".into(), port: 3306 }));
    assert_eq!(verify("sourceHost: 'b:3307'").source_host, Some(Address { host: "b".into(), port: 3307 }));
    assert_eq!(verify("sample: 100%").sample, None, "that is all");
}

#[test]
fn a_schedule_that_cannot_be_is_told() {
    let form =
        "write minute, hour, day of the month, month and day of the week, such as '0 3 * * *' (every day at three)";
    assert_eq!(
        mistake("verify:\n  cron: 0 3 * *"),
        format!("job.yaml:5: verify.cron: \"0 3 * *\" has 4 fields, not five; {form}")
    );
    assert_eq!(
        mistake("verify: {cron: 0 3 * * *, timezone: Europe/Berlim}"),
        "job.yaml:4: verify.timezone: \"Europe/Berlim\" is no time zone, write +02:00 or Europe/Berlin; did you mean Europe/Berlin?"
    );
    assert_eq!(
        mistake("verify: {autoCorrect: true}"),
        "job.yaml:4: verify.autoCorrect: is of no use without verify.cron"
    );
    assert_eq!(mistake("verify: {sample: 1%}"), "job.yaml:4: verify.sample: is of no use without verify.cron");
    assert_eq!(
        mistake("verify: {cron: 0 3 * * *, sample: 1/10}"),
        "job.yaml:4: verify.sample: \"1/10\": write it like 1%, above 0% and up to 100%"
    );
    assert_eq!(
        mistake("verify: {cron: 0 3 * * *, schedule: x}"),
        "job.yaml:4: verify.schedule: no such key. Known here: cron, timezone, autoCorrect, tables, sample, rateLimit, floatDigits, \
         timeDigits, emptyEqualsNull, sourceHost"
    );
}

#[test]
fn the_http_server_is_off_unless_told_where_to_listen() {
    let http = |more: &str| {
        parse(&format!("name: shop\nsource: {{username: u, tables: a.b}}\ntarget: {{}}\n{more}\n")).unwrap().http
    };
    assert!(http("").is_none());
    let here = http("http: {listen: 'localhost:9100'}").unwrap();
    assert_eq!((here.listen.port, here.max_delay_sec), (9100, 60.0));
    let away = http("http: {listen: '0.0.0.0:9100', token: abc, maxDelaySec: 1.5}").unwrap();
    assert_eq!((away.token.reveal(), away.max_delay_sec), ("abc", 1.5));
    assert_eq!(
        mistake("http: {listen: '0.0.0.0:9100'}"),
        "job.yaml:4: http.listen: 0.0.0.0:9100 can be reached from other machines: set http.token or http.tokenFile, or listen on 127.0.0.1"
    );
    assert_eq!(mistake("http: {token: abc}"), "job.yaml:4: http.token: is of no use without http.listen");
}

#[test]
fn a_transaction_is_not_shown_without_its_dirty_rows() {
    assert_eq!(
        mistake("atomicTransactions: true\nstrategyOnError: batchDirtyData"),
        "job.yaml:4: atomicTransactions: goes with strategyOnError: exit only: what is set aside would be missing from a transaction \
         that readers are to see whole"
    );
}

#[test]
fn values_are_checked_with_the_reason() {
    for (more, message) in [
        (
            "  timezone: Europe/Berlim",
            "job.yaml:6: source.timezone: \"Europe/Berlim\" is no time zone, write +02:00 or Europe/Berlin; did you mean Europe/Berlin?",
        ),
        (
            "  type: mariadbb",
            "job.yaml:6: source.type: \"mariadbb\" is not known; did you mean `mariadb`? Allowed: mysql, mariadb",
        ),
        (
            "  startup: {file: b.1}",
            "job.yaml:6: source.startup: must have the keys {file, position}, {gtid} or {timestamp}, and has {file}",
        ),
        (
            "  startup: {file: b.1, position: 0}",
            "job.yaml:6: source.startup.position: 0 must be a whole number from 4 (where a binlog file's events begin)",
        ),
        (
            "  startup: {timestamp: yesterday}",
            "job.yaml:6: source.startup.timestamp: \"yesterday\" must be like 2026-01-31T12:00:00+01:00, or 2026-01-31 12:00:00 (UTC)",
        ),
        (
            "  tls: {cert: /none/c.pem}",
            "job.yaml:6: source.tls.cert: cannot read /none/c.pem: No such file or directory (os error 2)\njob.yaml:6: source.tls.cert: goes with source.tls.key, which is missing",
        ),
        (
            "  passwordFile: /none/p",
            "job.yaml:6: source.passwordFile: cannot read /none/p: No such file or directory (os error 2)",
        ),
        (
            "  serverId: 4294967296",
            "job.yaml:6: source.serverId: 4294967296 must be a whole number from 1 to 4294967295",
        ),
    ] {
        assert_eq!(source_mistake(more), message);
    }
    assert_eq!(
        source_mistake("  tls: {ca: Cargo.toml}"),
        "job.yaml:6: source.tls.ca: is used only with source.tls.mode: verify_ca or verify_identity"
    );
    assert_eq!(
        mistake("params: {flushBatchMb: 64, totalDataInMemMb: 32}"),
        "job.yaml:4: params.flushBatchMb: 64 is more than totalDataInMemMb (32), the bound on everything in memory"
    );
    assert_eq!(
        mistake("defaultZeroDate: 1970-02-30"),
        "job.yaml:4: defaultZeroDate: \"1970-02-30\" must be null, error, or a date like 1970-01-01"
    );
    let target = |more: &str| {
        parse(&format!("name: shop\nsource: {{username: u, tables: a.b}}\ntarget: {more}\n")).unwrap_err().to_string()
    };
    assert_eq!(
        target("{loadProps: {max_filter_ratio: 0.5}}"),
        "job.yaml:3: target.loadProps.max_filter_ratio: Towpath sets this header itself; leave it out"
    );
    assert_eq!(
        target("{httpAddress: 'http://a:8030/'}"),
        "job.yaml:3: target.httpAddress: \"http://a:8030/\" must be host:port, without a scheme or path"
    );
}

#[test]
fn times_are_read_as_written() {
    for (text, seconds) in [
        ("2026-01-31T12:00:00+01:00", 1_769_857_200),
        ("2026-01-31 12:00:00", 1_769_860_800),
        ("2026-01-31T12:00:00Z", 1_769_860_800),
    ] {
        let job = parse(&SHORTEST.replace("tables", &format!("startup: {{timestamp: '{text}'}}, tables"))).unwrap();
        assert_eq!(job.source.startup, Startup::Timestamp(seconds), "{text}");
    }
}

#[test]
fn a_syntax_error_names_the_line_and_shows_no_value() {
    let error = parse("name: a\nsource:\n  password: 'hunter2\n").unwrap_err().to_string();
    assert!(error.starts_with("job.yaml:"), "{error}");
    assert!(error.contains("not YAML or JSON") && !error.contains("hunter2"), "{error}");
    let twice = parse("name: a\nname: b\n").unwrap_err().to_string();
    assert!(twice.starts_with("job.yaml:2: not YAML or JSON: duplicate mapping key: name\n"), "{twice}");
}

#[test]
fn a_password_file_loses_only_its_final_newline() {
    let folder = tempfile::tempdir().unwrap();
    let (secret, job) = (folder.path().join("secret"), folder.path().join("job.yaml"));
    std::fs::write(&secret, " p w \n\n").unwrap();
    let text = SHORTEST.replace("tables", &format!("passwordFile: '{}', tables", secret.display()));
    std::fs::write(&job, text).unwrap();
    assert_eq!(Job::load(&job).unwrap().source.password.reveal(), " p w \n");
    let missing = Job::load(folder.path().join("none.yaml")).unwrap_err();
    assert!(missing.to_string().starts_with("cannot read the job file "), "{missing}");
}

#[test]
fn the_schema_has_every_key_and_default() {
    let schema = json_schema();
    let at = |pointer: &str| schema.pointer(pointer).cloned().unwrap_or_default();
    assert_eq!(at("/required"), serde_json::json!(["name", "source", "target"]));
    assert_eq!(at("/properties/source/required"), serde_json::json!(["username", "tables"]));
    assert_eq!(at("/properties/params/properties/increRingBufferSize/default"), 4096);
    assert_eq!(at("/properties/stateDir/default"), "./towpath-state");
    assert_eq!(at("/additionalProperties"), false);
    assert_eq!(at("/properties/verify/properties/rateLimit/default"), 50_000);
    let table = markdown_table();
    assert!(table.contains("| `params.realFlushPauseSec` | `10` |"), "{table}");
}

#[test]
fn what_a_variable_holds_is_not_shown_wherever_it_stands() {
    let error = parse(&format!("{SHORTEST}params: {{}}\nstrategyOnError: '${{PASSWORD}}'\n")).unwrap_err().to_string();
    assert!(error.contains("${PASSWORD}") && !error.contains("#{x}"), "{error}");
}

#[test]
fn the_readme_shows_every_key() {
    let readme = include_str!("../../README.md");
    let table = markdown_table();
    assert!(readme.contains(&table), "README.md does not hold this table as it is:\n{table}");
}
