//! The catalogue and the pre-flight checks against real servers.

use mysql_async::prelude::Queryable as _;
use towpath::config::{Job, NoKeyTables};
use towpath::demo::server::{Options, Product, ScratchServer};
use towpath::mysql::catalog;
use towpath::mysql::connect::{self, Flavor, ServerInfo};
use towpath::mysql::preflight::{self, Report};
use towpath::schema::{Column, ColumnType, DefaultValue, Generated, IntegerSize, LobSize, Table};

use crate::servers::{self, Shared};

/// A job on `port` with the given lines under `source`, which need not name user and tables.
pub(crate) fn job(port: u16, user: &str, password: &str, tables: &str, more: &str) -> Job {
    let text = format!(
        "name: test\nsource:\n  port: {port}\n  username: {user}\n  password: '{password}'\n  tables: ['{tables}']\n{more}\ntarget: {{}}\n"
    );
    Job::parse(&text, "job.yaml", &|_| None).unwrap()
}

async fn read(job: &Job, no_key: NoKeyTables) -> towpath::Result<Vec<Table>> {
    let mut conn = connect::open(&job.source).await?;
    let info = connect::server_info(&mut conn).await?;
    let filter = job.source.table_filter(info.lower_case_table_names)?;
    catalog::tables(&mut conn, &info, &filter, no_key).await
}

async fn read_as_root(server: &Shared, tables: &str) -> towpath::Result<Vec<Table>> {
    read(&job(server.port(), "root", "", tables, ""), NoKeyTables::UniqueKey).await
}

async fn check(job: &Job, tables: &[Table]) -> (ServerInfo, Report) {
    let mut conn = connect::open(&job.source).await.unwrap();
    let info = connect::server_info(&mut conn).await.unwrap();
    let report = preflight::check(&mut conn, job, &info, tables).await;
    (info, report)
}

fn problems(report: &Report) -> Vec<String> {
    report.problems.iter().map(ToString::to_string).collect()
}

fn column<'a>(table: &'a Table, name: &str) -> &'a Column {
    &table.columns[table.column_index(name).unwrap()]
}

fn literal(text: &str) -> Option<DefaultValue> {
    Some(DefaultValue::Literal(text.to_owned()))
}

const COMMON_TYPES: &str = r"
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT COMMENT 'the ''key''',
    t TINYINT(1) NOT NULL DEFAULT -1, s SMALLINT UNSIGNED, m MEDIUMINT, i INT UNSIGNED ZEROFILL DEFAULT 7,
    d DECIMAL(20,4) NOT NULL DEFAULT 1.5, f FLOAT, g DOUBLE, b1 BIT(1) DEFAULT b'1', b64 BIT(64),
    c CHAR(5) CHARACTER SET latin1 NOT NULL DEFAULT 'it''s', v VARCHAR(200) CHARACTER SET utf8mb4 DEFAULT 'NULL', vn VARCHAR(20) DEFAULT NULL,
    ti TINYTEXT, te TEXT, me MEDIUMTEXT CHARACTER SET gbk, lo LONGTEXT,
    bi BINARY(16), vb VARBINARY(255), bt TINYBLOB, bl BLOB, bm MEDIUMBLOB, bo LONGBLOB,
    da DATE NOT NULL DEFAULT '2020-01-02', dt DATETIME DEFAULT CURRENT_TIMESTAMP, dt6 DATETIME(6) DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
    ts TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3), tm TIME(2), y YEAR,
    e ENUM('a','b,c','d''e',')','x\\y','Grün','') NOT NULL DEFAULT 'b,c', se SET('x','y''z') DEFAULT 'x', j JSON, ge GEOMETRY, po POINT,
    gv INT GENERATED ALWAYS AS (t + 1) VIRTUAL, gs INT GENERATED ALWAYS AS (t + 2) STORED, inv INT INVISIBLE DEFAULT 3,
    ex VARCHAR(40) DEFAULT (CONCAT('a', 'b')),
    PRIMARY KEY (i, id), KEY (id)";

async fn common_types(server: &Shared) -> (String, Table) {
    let database = server.database("types").await;
    server.run([format!("CREATE TABLE {database}.t ({COMMON_TYPES}) COMMENT 'all; ''types'''")]).await;
    let mut tables = read_as_root(server, &format!("{database}.*")).await.unwrap();
    assert_eq!(tables.len(), 1);
    (database, tables.remove(0))
}

fn check_common_types(table: &Table) {
    assert_eq!(table.comment, "all; 'types'");
    assert_eq!(table.key, [table.column_index("i").unwrap(), 0]);
    let ty = |name: &str| column(table, name).ty.clone();
    let integer = |size, unsigned| ColumnType::Integer { size, unsigned };
    assert_eq!(ty("id"), integer(IntegerSize::Big, true));
    assert_eq!(column(table, "id").comment, "the 'key'");
    assert_eq!(ty("t"), integer(IntegerSize::Tiny, false));
    assert_eq!(column(table, "t").default, literal("-1"));
    assert!(!column(table, "t").nullable && column(table, "s").nullable);
    assert_eq!(ty("s"), integer(IntegerSize::Small, true));
    assert_eq!(ty("m"), integer(IntegerSize::Medium, false));
    assert_eq!(ty("i"), integer(IntegerSize::Int, true));
    assert_eq!(column(table, "i").default, literal("7"));
    assert_eq!(ty("d"), ColumnType::Decimal { precision: 20, scale: 4 });
    assert_eq!(column(table, "d").default, literal("1.5000"));
    assert_eq!((ty("f"), ty("g")), (ColumnType::Float, ColumnType::Double));
    assert_eq!((ty("b1"), ty("b64")), (ColumnType::Bit { bits: 1 }, ColumnType::Bit { bits: 64 }));
    assert_eq!(column(table, "b1").default, literal("1"));
    assert_eq!(ty("c"), ColumnType::Char { chars: 5, charset: "latin1".to_owned() });
    assert_eq!(column(table, "c").default, literal("it's"));
    assert_eq!(ty("v"), ColumnType::Varchar { chars: 200, charset: "utf8mb4".to_owned() });
    assert_eq!(column(table, "v").default, literal("NULL"));
    assert_eq!(column(table, "vn").default, None);
    assert_eq!(ty("me"), ColumnType::Text { size: LobSize::Medium, charset: "gbk".to_owned() });
    assert!(matches!(ty("ti"), ColumnType::Text { size: LobSize::Tiny, .. }));
    assert!(matches!(ty("lo"), ColumnType::Text { size: LobSize::Long, .. }));
    assert_eq!((ty("bi"), ty("vb")), (ColumnType::Binary { bytes: 16 }, ColumnType::Varbinary { bytes: 255 }));
    assert_eq!(ty("bl"), ColumnType::Blob { size: LobSize::Plain });
    assert_eq!(column(table, "da").default, literal("2020-01-02"));
    assert_eq!(column(table, "dt").default, Some(DefaultValue::CurrentTimestamp));
    assert_eq!(column(table, "dt6").default, Some(DefaultValue::CurrentTimestamp));
    assert_eq!(ty("dt6"), ColumnType::DateTime { digits: 6 });
    assert_eq!(ty("ts"), ColumnType::Timestamp { digits: 3 });
    assert_eq!(column(table, "ts").default, Some(DefaultValue::CurrentTimestamp));
    assert_eq!((ty("tm"), ty("y")), (ColumnType::Time { digits: 2 }, ColumnType::Year));
    let members = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    assert_eq!(ty("e"), ColumnType::Enum { members: members(&["a", "b,c", "d'e", ")", "x\\y", "Grün", ""]) });
    assert_eq!(column(table, "e").default, literal("b,c"));
    assert_eq!(ty("se"), ColumnType::Set { members: members(&["x", "y'z"]) });
    assert_eq!((ty("ge"), ty("po")), (ColumnType::Geometry, ColumnType::Geometry));
    assert_eq!(column(table, "gv").generated, Generated::Virtual);
    assert_eq!(column(table, "gs").generated, Generated::Stored);
    assert!(column(table, "inv").invisible && !column(table, "ex").invisible);
    assert_eq!(column(table, "inv").default, literal("3"));
    assert!(matches!(column(table, "ex").default, Some(DefaultValue::Expression(_))), "{:?}", column(table, "ex"));
}

#[tokio::test]
async fn mysql_tables_are_read_with_every_type() {
    let server = servers::mysql().await;
    let (database, table) = common_types(server).await;
    check_common_types(&table);
    assert_eq!(column(&table, "j").ty, ColumnType::Json);
    let many: Vec<String> = (0..300).map(|index| format!("'member {index}'")).collect();
    server
        .run([
            format!("CREATE TABLE {database}.n (id INT PRIMARY KEY, v VECTOR(5), e ENUM({}))", many.join(",")),
            "SET SESSION sql_generate_invisible_primary_key = ON".to_owned(),
            format!("CREATE TABLE {database}.hidden (a INT)"),
        ])
        .await;
    let tables = read_as_root(server, &format!("{database}.{{n,hidden}}")).await.unwrap();
    assert_eq!(tables[0].columns[0].name, "my_row_id");
    assert!(tables[0].columns[0].invisible);
    assert_eq!(tables[0].key, [0]);
    assert_eq!(tables[1].columns[1].ty, ColumnType::Vector { dimensions: 5 });
    assert!(
        matches!(&tables[1].columns[2].ty, ColumnType::Enum { members } if members.len() == 300 && members[299] == "member 299")
    );
}

#[tokio::test]
async fn mariadb_tables_are_read_with_every_type() {
    let server = servers::mariadb().await;
    let (database, table) = common_types(server).await;
    check_common_types(&table);
    assert!(matches!(column(&table, "j").ty, ColumnType::Text { size: LobSize::Long, .. }));
    server
        .run([
            format!(
                "CREATE TABLE {database}.n (id INT PRIMARY KEY, u UUID NOT NULL DEFAULT uuid(), i4 INET4, i6 INET6)"
            ),
            format!("CREATE SEQUENCE {database}.seq"),
        ])
        .await;
    let tables = read_as_root(server, &format!("{database}.{{n,seq}}")).await.unwrap();
    assert_eq!(tables.len(), 1);
    let types: Vec<_> = tables[0].columns.iter().skip(1).map(|column| column.ty.clone()).collect();
    assert_eq!(types, [ColumnType::Uuid, ColumnType::Inet4, ColumnType::Inet6]);
    assert_eq!(tables[0].columns[1].default, Some(DefaultValue::Expression("uuid()".to_owned())));

    server
        .run([
            format!("CREATE TABLE {database}.z (id INT PRIMARY KEY, c TEXT COMPRESSED)"),
            format!("CREATE TABLE {database}.h (id INT PRIMARY KEY) WITH SYSTEM VERSIONING"),
        ])
        .await;
    let text = read_as_root(server, &format!("{database}.{{z,h}}")).await.unwrap_err().to_string();
    assert!(text.starts_with("2 things cannot be replicated:"), "{text}");
    assert!(text.contains(&format!("{database}.h: a system-versioned table")), "{text}");
    assert!(text.contains(&format!("{database}.z.c: text /*M!100301 COMPRESSED*/")), "{text}");
}

#[tokio::test]
async fn views_and_other_databases_are_left_out_and_names_may_be_odd() {
    let server = servers::mysql().await;
    let database = server.database("odd").await;
    server
        .run([
            format!("CREATE TABLE {database}.`a'b\\c``d.e` (`x'``y` INT PRIMARY KEY, z INT)"),
            format!("CREATE VIEW {database}.v AS SELECT 1"),
            format!("CREATE TABLE {database}.other (id INT PRIMARY KEY)"),
        ])
        .await;
    let more = format!("  excludeTables: '{database}.oth*'");
    let tables =
        read(&job(server.port(), "root", "", &format!("{database}.*"), &more), NoKeyTables::Error).await.unwrap();
    let names: Vec<&str> = tables.iter().map(|table| table.name.table.as_str()).collect();
    assert_eq!(names, ["a'b\\c`d.e"]);
    assert_eq!(tables[0].columns[0].name, "x'`y");
    let (_, report) = check(&job(server.port(), "root", "", "odd.*", ""), &tables).await;
    assert_eq!(problems(&report), Vec::<String>::new());
}

#[tokio::test]
async fn when_nothing_matches_the_nearest_names_are_told() {
    let server = servers::mysql().await;
    let database = server.database("near").await;
    server.run([format!("CREATE TABLE {database}.orders (id INT PRIMARY KEY)")]).await;
    let text = read_as_root(server, &format!("{database}.order")).await.unwrap_err().to_string();
    assert!(text.starts_with(&format!("no table of the source matches source.tables ({database}.order)\n")), "{text}");
    assert!(text.contains(&format!("the nearest that the user can see: {database}.orders")), "{text}");
}

#[tokio::test]
async fn tables_without_a_primary_key_go_by_policy() {
    let server = servers::mysql().await;
    let database = server.database("keys").await;
    server
        .run([
            format!("CREATE TABLE {database}.none (a INT, b INT, UNIQUE (a))"),
            format!("CREATE TABLE {database}.uniq (a INT NOT NULL, b INT NOT NULL, c INT, UNIQUE x (b, a), UNIQUE y (b), UNIQUE (c))"),
            format!("CREATE TABLE {database}.prim (a INT, b VARCHAR(300), PRIMARY KEY (b(10), a))"),
        ])
        .await;
    let with = |tables: &str, policy| {
        let job = job(server.port(), "root", "", &format!("{database}.{tables}"), "");
        async move { read(&job, policy).await }
    };
    let tables = with("{uniq,prim}", NoKeyTables::UniqueKey).await.unwrap();
    assert_eq!((&tables[0].key, &tables[1].key), (&vec![1, 0], &vec![1]));
    assert_eq!(with("*", NoKeyTables::Skip).await.unwrap().len(), 1);
    // In the order of names: none, prim, uniq.
    let keys: Vec<_> = with("*", NoKeyTables::RowHash).await.unwrap().into_iter().map(|table| table.key).collect();
    assert_eq!(keys, [vec![], vec![1, 0], vec![1]]);
    let text = with("*", NoKeyTables::UniqueKey).await.unwrap_err().to_string();
    assert_eq!(
        text,
        format!(
            "a table cannot be replicated:\n  {database}.none: no primary key, and no unique key whose columns are all NOT NULL; \
             add one, or set noKeyTables: rowHash or skip\n  hint: change the tables, or leave them out with source.excludeTables"
        )
    );
    let text = with("*", NoKeyTables::Error).await.unwrap_err().to_string();
    assert!(text.starts_with("2 things cannot be replicated:") && text.contains(".uniq: no primary key"), "{text}");
}

#[tokio::test]
async fn five_hundred_tables_are_read_at_once() {
    let server = servers::mysql().await;
    let database = server.database("many").await;
    let statements = (0..500).map(|index| format!("CREATE TABLE {database}.t{index:03} (id INT PRIMARY KEY, v TEXT)"));
    server.run(statements).await;
    let tables = read_as_root(server, &format!("{database}.*")).await.unwrap();
    assert_eq!(tables.len(), 500);
    assert!(tables.iter().all(|table| table.columns.len() == 2 && table.key == [0]));
}

async fn missing_privileges(server: &Shared, client: &str) {
    let database = server.database("priv").await;
    let user = database.clone();
    server
        .run([
            format!("CREATE TABLE {database}.a (id INT PRIMARY KEY, v INT)"),
            format!("CREATE TABLE {database}.b (id INT PRIMARY KEY, v INT, w INT)"),
            format!("CREATE USER '{user}'@'%' IDENTIFIED BY 'pw'"),
            format!("GRANT INSERT ON {database}.a TO '{user}'@'%'"),
        ])
        .await;
    let job = job(server.port(), &user, "pw", &format!("{database}.*"), "");
    let tables = read(&job, NoKeyTables::Error).await.unwrap();
    assert_eq!(tables.len(), 1, "a table without any privilege does not show");
    let (_, report) = check(&job, &tables).await;
    assert_eq!(
        problems(&report),
        [
            format!(
                "the source's user '{user}'@'%' lacks {client}, REPLICATION SLAVE\n  \
                 hint: GRANT {client}, REPLICATION SLAVE ON *.* TO '{user}'@'%'"
            ),
            format!(
                "the source's user '{user}'@'%' may not SELECT from {database}.a\n  \
                 hint: GRANT SELECT ON `{database}`.* TO '{user}'@'%'"
            ),
        ]
    );
    server.run([format!("GRANT SELECT (id, w) ON {database}.b TO '{user}'@'%'")]).await;
    let text = read(&job, NoKeyTables::Error).await.unwrap_err().to_string();
    assert!(
        text.contains(&format!("{database}.b: the user may not see all of its columns; GRANT SELECT ON")),
        "{text}"
    );

    server
        .run([
            format!("GRANT SELECT ON {database}.* TO '{user}'@'%'"),
            format!("GRANT {client}, REPLICATION SLAVE ON *.* TO '{user}'@'%'"),
        ])
        .await;
    let tables = read(&job, NoKeyTables::Error).await.unwrap();
    assert_eq!(tables.len(), 2);
    let (_, report) = check(&job, &tables).await;
    assert_eq!(problems(&report), Vec::<String>::new());
}

#[tokio::test]
async fn missing_privileges_are_named_with_the_grant_on_mysql() {
    missing_privileges(servers::mysql().await, "REPLICATION CLIENT").await;
}

#[tokio::test]
async fn missing_privileges_are_named_with_the_grant_on_mariadb() {
    missing_privileges(servers::mariadb().await, "BINLOG MONITOR").await;
}

#[tokio::test]
async fn of_many_tables_each_that_may_not_be_read_is_named() {
    for server in [servers::mysql().await, servers::mariadb().await] {
        let database = server.database("priv").await;
        let user = database.clone();
        let name = |index: usize| format!("{database}.t{index:03}");
        server.run((0..150).map(|index| format!("CREATE TABLE {} (id INT PRIMARY KEY, v INT)", name(index)))).await;
        // The first, one in the midst, two that are neighbours, the last.
        let denied = [0, 70, 100, 101, 149];
        let grant = |index: usize| if denied.contains(&index) { "INSERT" } else { "SELECT" };
        server.run([format!("CREATE USER '{user}'@'%' IDENTIFIED BY 'pw'")]).await;
        server.run((0..150).map(|index| format!("GRANT {} ON {} TO '{user}'@'%'", grant(index), name(index)))).await;
        server.run([format!("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '{user}'@'%'")]).await;
        let tables = read_as_root(server, &format!("{database}.*")).await.unwrap();
        // One is gone since the catalogue was read: that is the copy's concern.
        server.run([format!("DROP TABLE {}", name(71))]).await;
        let job = job(server.port(), &user, "pw", &format!("{database}.*"), "");
        let (_, report) = check(&job, &tables).await;
        assert_eq!(
            problems(&report),
            [format!(
                "the source's user '{user}'@'%' may not SELECT from {}\n  hint: GRANT SELECT ON `{database}`.* TO '{user}'@'%'",
                denied.map(name).join(", ")
            )]
        );
    }
}

#[tokio::test]
async fn privileges_of_an_active_role_count_and_of_a_sleeping_one_do_not() {
    for server in [servers::mysql().await, servers::mariadb().await] {
        let database = server.database("role").await;
        let (user, role) = (database.clone(), format!("{database}_role"));
        server
            .run([
                format!("CREATE TABLE {database}.a (id INT PRIMARY KEY)"),
                format!("CREATE USER '{user}'@'%' IDENTIFIED BY 'pw'"),
                format!("CREATE ROLE {role}"),
                format!("GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO {role}"),
                format!("GRANT {role} TO '{user}'@'%'"),
                format!("GRANT SELECT ON {database}.* TO '{user}'@'%'"),
            ])
            .await;
        let job = job(server.port(), &user, "pw", &format!("{database}.*"), "");
        let tables = read(&job, NoKeyTables::Error).await.unwrap();
        let (info, report) = check(&job, &tables).await;
        let texts = problems(&report);
        assert!(texts.len() == 1 && texts[0].contains("make the role active: SET DEFAULT ROLE"), "{texts:?}");
        let activate = match info.flavor {
            Flavor::Mysql => format!("SET DEFAULT ROLE ALL TO '{user}'@'%'"),
            Flavor::Mariadb => format!("SET DEFAULT ROLE {role} FOR '{user}'@'%'"),
        };
        server.run([activate]).await;
        let (_, report) = check(&job, &tables).await;
        assert_eq!(problems(&report), Vec::<String>::new(), "{:?}", info.flavor);
    }
}

#[tokio::test]
async fn server_settings_that_do_not_serve_are_named() {
    let options = Options::new(Product::Mysql)
        .argument("--binlog-format=MIXED")
        .argument("--binlog-row-image=MINIMAL")
        .argument("--binlog-row-value-options=PARTIAL_JSON")
        .argument("--binlog-transaction-compression=ON")
        .argument("--binlog-expire-logs-seconds=7200")
        .argument("--binlog-ignore-db=shop")
        .argument("--gtid-mode=OFF");
    let server = ScratchServer::start(&options).await.unwrap();
    let mut conn = server.connect().await.unwrap();
    for statement in ["CREATE DATABASE shop", "CREATE TABLE shop.t (f FLOAT PRIMARY KEY) ENGINE=MyISAM"] {
        conn.query_drop(statement).await.unwrap();
    }
    let more = "  type: mariadb\n  serverId: 77\n  startup: {gtid: 0-1-2}";
    let job = job(server.port(), "root", "", "shop.*", more);
    let tables = read(&job, NoKeyTables::Error).await.unwrap();
    let (info, report) = check(&job, &tables).await;
    assert!(!info.gtids);
    let texts = problems(&report).join("\n");
    for text in [
        "source.type is mariadb, and the source is MySQL 9.",
        "the source's binlog_format is MIXED; it must be ROW\n  hint: SET PERSIST binlog_format = 'ROW'",
        "binlog_row_value_options is PARTIAL_JSON",
        "the source's gtid_mode is not ON",
        "source.startup.gtid (0-1-2) is not in the form of MySQL",
        "the source leaves database shop out of its binlog",
    ] {
        assert!(texts.contains(text), "{text}\nnot in\n{texts}");
    }
    assert_eq!(report.problems.len(), 6, "{texts}");
    let warnings = report.warnings.join("\n");
    for text in [
        "binlog_row_image is MINIMAL",
        "deletes its binlog after 2 hours",
        "key column f is a floating point number",
        "MyISAM has no transactions",
    ] {
        assert!(warnings.contains(text), "{text}\nnot in\n{warnings}");
    }
    let mut full = job.clone();
    full.source.startup = towpath::config::Startup::Full;
    full.source.kind = None;
    let (_, report) = check(&full, &tables).await;
    assert_eq!(problems(&report), Vec::<String>::new(), "full data alone needs no binlog");
}

#[tokio::test]
async fn no_binlog_and_a_taken_server_id_are_named() {
    let server = ScratchServer::start(&Options::new(Product::Mariadb).argument("--skip-log-bin")).await.unwrap();
    let mut conn = server.connect().await.unwrap();
    let info = connect::server_info(&mut conn).await.unwrap();
    let job = job(server.port(), "root", "", "shop.*", &format!("  serverId: {}", info.server_id));
    let (_, report) = check(&job, &[]).await;
    let texts = problems(&report).join("\n");
    assert!(texts.contains("the source writes no binlog (log_bin is OFF)"), "{texts}");
    assert!(texts.contains(&format!("server id {} is the source's own", info.server_id)), "{texts}");
}

/// Follows the binlog under a server id, as a replica of this host name.
async fn replica(server: &Shared, id: u32, host: &str) -> mysql_async::BinlogStream {
    let request = mysql_async::BinlogStreamRequest::new(id).with_hostname(host.as_bytes());
    server.connect().await.get_binlog_stream(request).await.unwrap()
}

#[tokio::test]
async fn a_server_id_in_use_is_named_unless_the_job_itself_left_it_behind() {
    let server = servers::mysql().await;
    let job = job(server.port(), "root", "", "a.b", "  serverId: 990017");
    let ours = replica(server, 990_017, &preflight::replica_host(&job.name)).await;
    let (_, report) = check(&job, &[]).await;
    assert_eq!(problems(&report), Vec::<String>::new());
    let _theirs = replica(server, 990_017, "elsewhere").await;
    drop(ours);
    let (_, report) = check(&job, &[]).await;
    assert_eq!(
        problems(&report),
        [
            "server id 990017 is in use by another replica (at elsewhere)\n  hint: set source.serverId to a number that no \
          server or replica has; SHOW REPLICAS lists them"
        ]
    );
}
