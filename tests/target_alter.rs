//! The StarRocks client changes tables of the embedded server, which keeps StarRocks' rules for that.

use std::time::Duration;

use bytes::Bytes;
use towpath::config::{Params, ZeroDate};
use towpath::embedded::fault::{Fault, Mode};
use towpath::schema::{Column, ColumnType, DefaultValue, IntegerSize, Table, TableName, TargetTable, map_table};
use towpath::target::starrocks::StarRocks;
use towpath::target::{Format, Load, LoadColumn, Target, Version, mapping_options};

use crate::cluster::{Cluster, PASSWORD, nowhere};

const fn version(major: u16, minor: u16, patch: u16) -> Version {
    Version { major, minor, patch }
}

const V25: Version = version(2, 5, 0);
const V31: Version = version(3, 1, 0);
const V332: Version = version(3, 3, 2);
const V35: Version = version(3, 5, 0);
const V40: Version = version(4, 0, 0);

/// A cluster with the table `shop.t`, whose schema change jobs are over at once.
struct Scene(Cluster);

impl std::ops::Deref for Scene {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.0
    }
}

impl Scene {
    async fn of(version: Version) -> Scene {
        let change = |options: &mut towpath::embedded::Options| {
            options.version = version;
            options.alter_delay = Duration::ZERO;
        };
        Scene(Cluster::with(change).await)
    }

    fn client(&self) -> StarRocks {
        self.client_with(&Params::default())
    }

    fn client_with(&self, params: &Params) -> StarRocks {
        self.0.client(&Params { retry_count: 30, retry_wait_time_ms: 1, ..params.clone() })
    }

    async fn columns(&self) -> Vec<String> {
        self.rows("SELECT COLUMN_NAME FROM information_schema.columns WHERE TABLE_NAME = 't' ORDER BY ORDINAL_POSITION")
            .await
    }

    /// State and message of the newest job.
    async fn job(&self) -> String {
        let jobs =
            self.rows("SHOW ALTER TABLE COLUMN FROM shop WHERE TableName = 't' ORDER BY JobId DESC LIMIT 1").await;
        jobs.first().map(|job| job.split('|').nth(9).unwrap().to_owned()).unwrap_or_default()
    }

    async fn count_jobs(&self) -> usize {
        self.rows("SHOW ALTER TABLE COLUMN FROM shop WHERE TableName = 't'").await.len()
    }

    async fn job_is(&self, state: &str) {
        while self.job().await != state {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

const INT: ColumnType = ColumnType::Integer { size: IntegerSize::Int, unsigned: false };
const BIG: ColumnType = ColumnType::Integer { size: IntegerSize::Big, unsigned: false };

fn text(chars: u32) -> ColumnType {
    ColumnType::Varchar { chars, charset: "utf8mb4".into() }
}

fn nullable(name: &str, ty: ColumnType) -> Column {
    Column { nullable: true, ..Column::new(name, ty) }
}

/// Two definitions of `shop.t`, and which column of the second was which of the first.
struct Change {
    before: TargetTable,
    after: TargetTable,
    was: Vec<Option<usize>>,
}

fn table(columns: Vec<Column>, version: Version) -> TargetTable {
    let source = Table {
        name: TableName::new("shop", "t"),
        columns: [vec![Column::new("id", INT)], columns].concat(),
        key: vec![0],
        primary: true,
        comment: String::new(),
        charset: None,
        indexes: Vec::new(),
    };
    map_table(&source, &mapping_options(&nowhere(), &ZeroDate::Null, version)).unwrap().target
}

impl Change {
    /// `was` is about the columns behind `id`, as indexes into those behind `id`.
    fn new(before: Vec<Column>, after: Vec<Column>, was: &[Option<usize>], version: Version) -> Change {
        let was = std::iter::once(Some(0)).chain(was.iter().map(|was| was.map(|index| index + 1))).collect();
        Change { before: table(before, version), after: table(after, version), was }
    }

    async fn by(&self, client: &StarRocks) -> towpath::Result<()> {
        let found = client.cannot_alter(&self.before, &self.after, &self.was);
        assert!(found.is_empty(), "{found:?}");
        client.alter_table(&self.before, &self.after, &self.was).await
    }
}

fn load(label: &str, columns: &[&str], body: &str) -> Load {
    Load {
        table: TableName::new("shop", "t"),
        label: label.into(),
        columns: columns.iter().copied().chain(["__op"]).map(LoadColumn::plain).collect(),
        partial: false,
        format: Format::Csv,
        rows: body.matches('\x02').count() as u64,
        body: Bytes::from(body.to_owned()),
    }
}

/// A client, and `shop.t` of `before` with one row.
async fn begin(cluster: &Scene, before: &TargetTable, row: &str) -> StarRocks {
    let client = cluster.client();
    client.ensure_table(before).await.unwrap();
    cluster.run(&format!("INSERT INTO shop.t VALUES ({row})")).await;
    client
}

#[tokio::test]
async fn every_kind_of_change_arrives_and_may_be_asked_for_again() {
    for version in [V25, V31, V332, V35, V40] {
        let cluster = Scene::of(version).await;
        let renames = version >= V332;
        let before = vec![
            nullable("gone", INT),
            Column { default: Some(DefaultValue::Literal("5".into())), ..nullable("wide", INT) },
            Column { default: Some(DefaultValue::Literal("it's".into())), ..nullable("long", text(10)) },
            Column::new("strict", INT),
            nullable("name", text(20)),
        ];
        let new = Column { default: Some(DefaultValue::Literal("x".into())), ..Column::new("new", text(5)) };
        let after = vec![
            Column { default: Some(DefaultValue::Literal("6".into())), ..nullable("wide", BIG) },
            new,
            Column { comment: "it's longer".into(), ..before[2].clone() },
            nullable("strict", INT),
            nullable(if renames { "title" } else { "name" }, text(30)),
            Column::new("last", INT),
        ];
        let after = after.into_iter().map(|column| match column.name.as_str() {
            "long" => Column { ty: text(15), ..column },
            _ => column,
        });
        let was = [Some(1), None, Some(2), Some(3), Some(4), None];
        let change = Change::new(before, after.collect(), &was, version);
        let client = begin(&cluster, &change.before, "1, 10, 20, 'thirty', 40, 'ann'").await;
        client.version().await.unwrap();
        change.by(&client).await.unwrap_or_else(|error| panic!("{version}: {error}"));
        let name = if renames { "title" } else { "name" };
        assert_eq!(cluster.columns().await, ["id", "wide", "new", "long", "strict", name, "last"], "{version}");
        assert_eq!(cluster.rows("SELECT * FROM shop.t").await, ["1|20|x|thirty|40|ann|0"], "{version}");
        let types = "SELECT COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT, COLUMN_COMMENT FROM information_schema.columns \
                     WHERE TABLE_NAME = 't' AND COLUMN_NAME IN ('wide', 'long', 'strict') ORDER BY ORDINAL_POSITION";
        assert_eq!(
            cluster.rows(types).await,
            ["bigint(20)|YES|5|", "varchar(60)|YES|it's|it's longer", "int(11)|YES|-|"],
            "{version}"
        );
        let jobs = cluster.count_jobs().await;
        change.by(&client).await.unwrap();
        assert_eq!(cluster.count_jobs().await, jobs, "{version}: nothing is done twice");
        // The new shape is what the client would make, so loads of it come in.
        assert!(!client.ensure_table(&change.after).await.unwrap());
        let columns = ["id", "wide", "new", "long", "strict", name, "last"];
        let row = "2\x0130000000000\x01new\x01fifteen letters\x01\\N\x01bob\x017\x010\x02";
        client.load(&load("new", &columns, row)).await.unwrap();
        assert_eq!(
            cluster.rows("SELECT * FROM shop.t WHERE id = 2").await,
            ["2|30000000000|new|fifteen letters|-|bob|7"]
        );
    }
}

#[tokio::test]
async fn rows_that_exist_get_what_the_source_gives_them() {
    let cluster = Scene::of(V35).await;
    let members = || vec!["first".to_owned(), "second".to_owned()];
    let filled = |name, ty, literal: &str| Column {
        default: Some(DefaultValue::Literal(literal.into())),
        ..Column::new(name, ty)
    };
    let new = vec![
        Column::new("number", BIG),
        Column::new("price", ColumnType::Decimal { precision: 9, scale: 2 }),
        Column::new("ratio", ColumnType::Double),
        Column::new("word", text(9)),
        Column::new("flag", ColumnType::Bit { bits: 1 }),
        Column::new("state", ColumnType::Enum { members: members() }),
        Column::new("tags", ColumnType::Set { members: members() }),
        Column::new("took", ColumnType::Time { digits: 2 }),
        Column::new("day", ColumnType::Date),
        Column::new("raw", ColumnType::Varbinary { bytes: 9 }),
        nullable("doc", ColumnType::Json),
        filled("given", ColumnType::Decimal { precision: 9, scale: 2 }, "1.5"),
        filled("at", ColumnType::DateTime { digits: 0 }, "2020-01-02 03:04:05"),
        filled("quoted", text(20), "it's \\ \"so\""),
    ];
    let was = vec![None; new.len()];
    let change = Change::new(Vec::new(), new, &was, V35);
    let client = begin(&cluster, &change.before, "1").await;
    client.version().await.unwrap();
    change.by(&client).await.unwrap();
    assert_eq!(
        cluster.rows("SELECT * FROM shop.t").await,
        ["1|0|0.00|0||0|first||00:00:00.00|-||-|1.50|2020-01-02 03:04:05|it's \\ \"so\""]
    );
}

#[tokio::test]
async fn a_lost_answer_to_any_statement_repeats_nothing() {
    nothing_is_repeated_under(Fault::new(Mode::DdlAnswerLost), 6).await;
}

#[tokio::test]
async fn nothing_is_repeated_when_a_follower_has_lost_its_leaders_answer() {
    // One more strike: the leader's refusal passes through.
    nothing_is_repeated_under(Fault::new(Mode::LeaderLost { carried_out: true }).table("shop.t"), 7).await;
}

/// A change of several statements, each of which is carried out and not answered.
async fn nothing_is_repeated_under(fault: Fault, strikes: u64) {
    let cluster = Scene::of(V35).await;
    let before = vec![nullable("gone", INT), nullable("a", INT), nullable("b", INT), nullable("c", text(9))];
    let after =
        vec![nullable("b", INT), nullable("x", INT), nullable("c", text(9)), nullable("a", INT), nullable("n", INT)];
    let after = after.into_iter().map(|column| if column.name == "x" { Column { ty: BIG, ..column } } else { column });
    let was = [Some(1), Some(2), Some(3), None, None];
    let change = Change::new(before, after.collect(), &was, V35);
    let client = begin(&cluster, &change.before, "1, 2, 3, 4, 'five'").await;
    client.version().await.unwrap();
    let lost = cluster.server.inject(fault).unwrap();
    change.by(&client).await.unwrap();
    assert_eq!(cluster.rows("SELECT id, b, x, c, a, n FROM shop.t").await, ["1|3|4|five|-|-"]);
    // Drop, two renames, a new column whose name the server keeps for the first of them, its renaming, a longer integer.
    assert_eq!(cluster.struck(lost), strikes);
    cluster.server.mend_all();
    change.by(&client).await.unwrap();
}

#[tokio::test]
async fn a_client_that_died_half_way_is_followed_by_one_that_goes_on() {
    let cluster = Scene::of(V35).await;
    let before = vec![nullable("gone", INT), nullable("wide", INT)];
    let change = Change::new(before, vec![nullable("wide", BIG), nullable("new", INT)], &[Some(1), None], V35);
    let client = begin(&cluster, &change.before, "1, 2, 3").await;
    client.version().await.unwrap();
    let held = cluster.inject(Mode::AlterHeld);
    {
        let alter = change.by(&client);
        tokio::pin!(alter);
        tokio::select! {
            _ = &mut alter => panic!("done while its job is held"),
            () = cluster.job_is("RUNNING") => {}
        }
    }
    assert_eq!(cluster.columns().await, ["id", "wide", "new"]);
    let jobs = cluster.count_jobs().await;
    let next = cluster.client();
    next.version().await.unwrap();
    let alter = change.by(&next);
    tokio::pin!(alter);
    tokio::select! {
        _ = &mut alter => panic!("done while its job is held"),
        () = tokio::time::sleep(Duration::from_millis(100)) => {}
    }
    cluster.server.mend(held);
    alter.await.unwrap();
    assert_eq!(cluster.count_jobs().await, jobs, "the job of the one before it was waited for");
    assert_eq!(cluster.rows("SELECT id, wide, new FROM shop.t").await, ["1|3|-"]);
}

#[tokio::test]
async fn loads_go_on_with_the_old_columns_while_a_job_runs() {
    let cluster = Scene::of(V35).await;
    let change = Change::new(vec![nullable("a", INT)], vec![nullable("a", text(40))], &[Some(0)], V35);
    let client = begin(&cluster, &change.before, "1, 2").await;
    client.version().await.unwrap();
    let held = cluster.inject(Mode::AlterHeld);
    let alter = change.by(&client);
    tokio::pin!(alter);
    tokio::select! {
        _ = &mut alter => panic!("done while its job is held"),
        () = cluster.job_is("RUNNING") => {}
    }
    let other = cluster.client();
    other.load(&load("old", &["id", "a"], "2\x017\x010\x02")).await.unwrap();
    assert!(other.load(&load("early", &["id", "a"], "3\x01text\x010\x02")).await.is_err(), "it is still an integer");
    cluster.server.mend(held);
    alter.await.unwrap();
    other.load(&load("new", &["id", "a"], "4\x01text\x010\x02")).await.unwrap();
    assert_eq!(cluster.rows("SELECT id, a FROM shop.t ORDER BY id").await, ["1|2", "2|7", "4|text"]);
}

#[tokio::test]
async fn somebody_elses_change_is_waited_for_and_their_columns_stay() {
    let cluster = Scene::of(V35).await;
    let change =
        Change::new(vec![nullable("a", INT)], vec![nullable("b", INT), nullable("n", INT)], &[Some(0), None], V35);
    let client = begin(&cluster, &change.before, "1, 2").await;
    client.version().await.unwrap();
    cluster.run("ALTER TABLE shop.t ADD COLUMN theirs INT DEFAULT '9'").await;
    let held = cluster.inject(Mode::AlterHeld);
    cluster.run("ALTER TABLE shop.t MODIFY COLUMN theirs BIGINT DEFAULT '9'").await;
    let alter = change.by(&client);
    tokio::pin!(alter);
    tokio::select! {
        _ = &mut alter => panic!("done while another change is under way"),
        () = async { cluster.job_is("RUNNING").await; tokio::time::sleep(Duration::from_millis(50)).await } => {}
    }
    assert_eq!(cluster.columns().await, ["id", "a", "theirs"]);
    cluster.server.mend(held);
    alter.await.unwrap();
    assert_eq!(cluster.rows("SELECT id, b, n, theirs FROM shop.t").await, ["1|2|-|9"]);
}

#[tokio::test]
async fn a_cancelled_job_is_a_definite_error_and_the_next_call_tries_again() {
    let cluster = Scene::of(V31).await;
    let change = Change::new(vec![nullable("a", INT)], vec![nullable("a", BIG)], &[Some(0)], V31);
    let client = begin(&cluster, &change.before, "1, 2").await;
    client.version().await.unwrap();
    cluster.inject(Mode::AlterCancelled { reason: "tablet 10042 failed: no space left".into() });
    let error = change.by(&client).await.unwrap_err();
    assert!(!error.is_transient());
    let text = error.to_string();
    assert!(text.contains("shop.t") && text.contains("tablet 10042 failed") && text.contains("hint:"), "{text}");
    cluster.server.mend_all();
    change.by(&client).await.unwrap();
    client.load(&load("big", &["id", "a"], "2\x0130000000000\x010\x02")).await.unwrap();
}

#[tokio::test]
async fn a_job_that_waits_for_somebodys_transaction_is_given_up_in_the_end() {
    let cluster = Scene::of(V35).await;
    let change = Change::new(vec![nullable("a", INT)], vec![nullable("a", BIG)], &[Some(0)], V35);
    begin(&cluster, &change.before, "1, 2").await;
    let client = cluster.client_with(&Params { alter_timeout_sec: 1, ..Params::default() });
    client.version().await.unwrap();
    let http = reqwest::Client::new();
    let transaction = async |operation: &str| {
        let url = format!("http://{}/api/transaction/{operation}", cluster.server.be_addr);
        let request = http.post(url).basic_auth("root", Some(PASSWORD)).header("db", "shop").header("table", "t");
        let answer = request.header("label", "open").send().await.unwrap().text().await.unwrap();
        assert!(answer.contains("\"OK\""), "{answer}");
    };
    transaction("begin").await;
    let error = change.by(&client).await.unwrap_err();
    let text = error.to_string();
    assert!(!error.is_transient() && text.contains("WAITING_TXN") && text.contains("alterTimeoutSec"), "{text}");
    transaction("rollback").await;
    let patient = cluster.client();
    patient.version().await.unwrap();
    change.by(&patient).await.unwrap();
    assert_eq!(cluster.job().await, "FINISHED");
}

#[tokio::test]
async fn what_cannot_be_done_in_place_is_refused_before_anything_is_sent() {
    let cluster = Scene::of(V31).await;
    let before = vec![nullable("a", INT), nullable("gone", INT)];
    let after =
        vec![nullable("b", ColumnType::Decimal { precision: 10, scale: 0 }), Column::new("doc", ColumnType::Json)];
    let change = Change::new(before, after, &[Some(0), None], V31);
    let client = begin(&cluster, &change.before, "1, 2, 3").await;
    client.version().await.unwrap();
    let found = client.cannot_alter(&change.before, &change.after, &change.was);
    assert_eq!(found.len(), 3, "{found:?}");
    let error = client.alter_table(&change.before, &change.after, &change.was).await.unwrap_err();
    assert!(!error.is_transient());
    assert!(found.iter().all(|one| error.to_string().contains(one)), "{error}");
    assert_eq!(cluster.columns().await, ["id", "a", "gone"]);
}

#[tokio::test]
async fn a_table_that_is_gone_cannot_be_altered() {
    let cluster = Scene::of(V35).await;
    let change = Change::new(vec![nullable("a", INT)], vec![nullable("a", BIG)], &[Some(0)], V35);
    let client = begin(&cluster, &change.before, "1, 2").await;
    cluster.run("DROP TABLE shop.t").await;
    client.version().await.unwrap();
    let error = change.by(&client).await.unwrap_err();
    assert!(!error.is_transient() && error.to_string().contains("shop.t is not there"), "{error}");
}

#[tokio::test]
async fn tables_are_emptied_dropped_and_renamed_once_whatever_answers_are_lost() {
    let cluster = Scene::of(V35).await;
    let before = table(vec![nullable("a", INT)], V35);
    let client = begin(&cluster, &before, "1, 2").await;
    let (t, u) = (TableName::new("shop", "t"), TableName::new("shop", "u"));
    let lost = cluster.server.inject(Fault::new(Mode::DdlAnswerLost).every(2)).unwrap();
    client.truncate_table(&t).await.unwrap();
    client.truncate_table(&t).await.unwrap();
    assert_eq!(cluster.rows("SELECT count(*) FROM shop.t").await, ["0"]);
    client.rename_table(&t, &u).await.unwrap();
    client.rename_table(&t, &u).await.unwrap();
    assert_eq!(cluster.rows("SELECT count(*) FROM shop.u").await, ["0"]);
    client.drop_table(&u).await.unwrap();
    client.drop_table(&u).await.unwrap();
    client.drop_table(&TableName::new("nowhere", "u")).await.unwrap();
    assert!(cluster.struck(lost) >= 2);
    cluster.server.mend_all();
    let error = client.rename_table(&t, &u).await.unwrap_err();
    assert!(error.to_string().contains("neither is there"), "{error}");
    let error = client.rename_table(&t, &TableName::new("crm", "t")).await.unwrap_err();
    assert!(error.to_string().contains("within a database only"), "{error}");
    client.ensure_table(&before).await.unwrap();
    client.ensure_table(&TargetTable { name: u.clone(), ..before.clone() }).await.unwrap();
    let error = client.rename_table(&t, &u).await.unwrap_err();
    assert!(!error.is_transient() && error.to_string().contains("both are there"), "{error}");
}

#[tokio::test]
async fn two_tables_are_swapped_once_whatever_answers_are_lost() {
    let cluster = Scene::of(V35).await;
    let before = table(vec![nullable("a", INT)], V35);
    let client = begin(&cluster, &before, "1, 2").await;
    let (t, copy) = (TableName::new("shop", "t"), TableName::new("shop", "copy"));
    client.ensure_table(&TargetTable { name: copy.clone(), ..before }).await.unwrap();
    let lost = cluster.inject(Mode::DdlAnswerLost);
    client.swap_tables(&t, &copy).await.unwrap();
    assert_eq!(cluster.struck(lost), 1);
    assert_eq!(cluster.rows("SELECT count(*) FROM shop.t").await, ["0"]);
    assert_eq!(cluster.rows("SELECT id, a FROM shop.copy").await, ["1|2"]);
    cluster.server.mend_all();
    client.drop_table(&copy).await.unwrap();
    let error = client.swap_tables(&t, &copy).await.unwrap_err();
    assert!(!error.is_transient() && error.to_string().contains("shop.copy is not there"), "{error}");
}
