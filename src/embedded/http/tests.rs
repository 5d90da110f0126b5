//! The ports end to end, on a table made straight in the catalogue.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use super::HttpServers;
use crate::embedded::Options;
use crate::embedded::catalog::{ColumnDef, Model, TableDef};
use crate::embedded::engine::Engine;
use crate::embedded::types::ColumnType;

fn engine(options: Options) -> Arc<Engine> {
    let engine = Engine::open(options).unwrap();
    let column = |name: &str, ty, id| ColumnDef {
        name: name.into(),
        ty,
        nullable: id > 1,
        default: None,
        comment: String::new(),
        id,
        is_key: id == 1,
        first_name: None,
    };
    let columns = vec![
        column("id", ColumnType::BigInt, 1),
        column("name", ColumnType::Varchar(20), 2),
        column("amount", ColumnType::Decimal { precision: 10, scale: 2 }, 3),
    ];
    let table = TableDef {
        id: 0,
        database: "shop".into(),
        name: "orders".into(),
        model: Model::Primary,
        columns,
        key_columns: 1,
        comment: String::new(),
        distribution: vec!["id".into()],
        buckets: None,
        order_by: Vec::new(),
        properties: Default::default(),
        schema_version: 0,
        next_column_id: 4,
        created: "2026-01-01 00:00:00".into(),
    };
    engine
        .catalog
        .change(&engine.store, |change| {
            if change.create_database("shop")? {
                change.create_table(table)?;
            }
            Ok::<_, crate::Error>(())
        })
        .unwrap();
    Arc::new(engine)
}

fn put(address: SocketAddr, headers: &str, body: &[u8]) -> serde_json::Value {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "PUT /api/shop/orders/_stream_load HTTP/1.1\r\nHost: x\r\nAuthorization: Basic cm9vdDo=\r\n\
         Content-Length: {}\r\nConnection: close\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

fn rows(engine: &Engine) -> Vec<(i64, Option<String>, Option<String>)> {
    let table = engine.catalog.table("shop", "orders").unwrap();
    engine
        .store
        .read(|connection| {
            let mut statement = connection.prepare(&format!("SELECT * FROM t{} ORDER BY id", table.id))?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            Ok::<_, crate::Error>(rows.collect::<rusqlite::Result<Vec<_>>>()?)
        })
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_lands_once_and_survives_a_reopen() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(Options::new(folder.path()));
    let servers = HttpServers::start(engine.clone()).await.unwrap();
    let be = servers.be_addr;
    let headers = "label: one\r\ncolumn_separator: ,\r\ncolumns: id,name,amount,__op\r\n";
    let body = b"1,a,1.5,0\n2,b,2,0\n2,b,2,1\n1,c,\\N,0";
    let (first, second) =
        tokio::task::spawn_blocking(move || (put(be, headers, body), put(be, headers, body))).await.unwrap();
    assert_eq!(first["Status"], "Success", "{first}");
    assert_eq!(first["NumberLoadedRows"], 4);
    assert_eq!(second["Status"], "Label Already Exists");
    assert_eq!(second["ExistingJobStatus"], "FINISHED");
    assert_eq!(rows(&engine), [(1, Some("c".into()), None)]);
    servers.stop().await;
    drop(engine);
    let engine = Engine::open(Options::new(folder.path())).unwrap();
    let known = engine.labels.known("shop", "one").unwrap();
    assert_eq!(known.state.name(), "VISIBLE");
}

/// Not a test of time: it prints what a load costs, for those who change the path of a row.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints rows per second"]
async fn speed() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(Options::new(folder.path()));
    let servers = HttpServers::start(engine.clone()).await.unwrap();
    let be = servers.be_addr;
    let mut body = Vec::new();
    for id in 0..300_000 {
        writeln!(body, "{id},name {id},{id}.50").unwrap();
    }
    let began = std::time::Instant::now();
    let answer = tokio::task::spawn_blocking(move || put(be, "column_separator: ,\r\n", &body)).await.unwrap();
    assert_eq!(answer["Status"], "Success", "{answer}");
    println!("300000 rows in {:?}: {answer}", began.elapsed());
    let mut body = Vec::new();
    for id in 0..300_000 {
        writeln!(body, "{{\"id\":{id},\"name\":\"name {id}\",\"amount\":{id}.50}}").unwrap();
    }
    let began = std::time::Instant::now();
    let answer = tokio::task::spawn_blocking(move || put(be, "format: json\r\n", &body)).await.unwrap();
    assert_eq!(answer["Status"], "Success", "{answer}");
    println!("300000 JSON rows in {:?}", began.elapsed());
    let began = std::time::Instant::now();
    tokio::task::spawn_blocking(move || {
        for id in 0..100 {
            put(be, "column_separator: ,\r\n", format!("{id},x,1\n").as_bytes());
        }
    })
    .await
    .unwrap();
    println!("100 loads in {:?}", began.elapsed());
}
