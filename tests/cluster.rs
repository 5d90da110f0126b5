//! The embedded server and settings to reach it by: what the tests of the StarRocks client share.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use mysql_async::prelude::Queryable;
use towpath::config::{Address, Params, Password, Target as TargetSettings, TargetKind};
use towpath::embedded::fault::{Fault, Mode};
use towpath::embedded::{self, Server};
use towpath::target::Version;
use towpath::target::starrocks::StarRocks;

pub(crate) const PASSWORD: &str = "s3cret";

pub(crate) struct Cluster {
    pub(crate) server: Server,
    _data: tempfile::TempDir,
}

impl Cluster {
    /// Two FEs of version 3.5.
    pub(crate) async fn start() -> Cluster {
        Cluster::with(|_| {}).await
    }

    pub(crate) async fn of(version: Version) -> Cluster {
        Cluster::with(|options| options.version = version).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut embedded::Options)) -> Cluster {
        let data = tempfile::tempdir().unwrap();
        let mut options = embedded::Options::new(data.path());
        options.password = PASSWORD.into();
        options.second_fe_port = Some(0);
        change(&mut options);
        Cluster { server: Server::start(options).await.unwrap(), _data: data }
    }

    /// Of the first FE.
    pub(crate) fn settings(&self) -> TargetSettings {
        TargetSettings {
            client_addresses: vec![address(self.server.mysql_addr)],
            http_addresses: vec![address(self.server.fe_addr)],
            password: Password::new(PASSWORD),
            ..nowhere()
        }
    }

    pub(crate) fn client(&self, params: &Params) -> StarRocks {
        StarRocks::new(&self.settings(), params).unwrap()
    }

    pub(crate) fn be(&self) -> Address {
        address(self.server.be_addr)
    }

    async fn conn(&self) -> mysql_async::Conn {
        let opts = mysql_async::OptsBuilder::default()
            .ip_or_hostname(self.server.mysql_addr.ip().to_string())
            .tcp_port(self.server.mysql_addr.port())
            .user(Some("root"))
            .pass(Some(PASSWORD))
            .prefer_socket(false);
        mysql_async::Conn::new(opts).await.unwrap()
    }

    pub(crate) async fn run(&self, statement: &str) {
        self.conn().await.query_drop(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    /// Cells joined by `|`, NULL as `-`.
    pub(crate) async fn rows(&self, statement: &str) -> Vec<String> {
        let rows: Vec<mysql_async::Row> = self.conn().await.query(statement).await.unwrap();
        let text = |row: mysql_async::Row| {
            let cells = row.unwrap().into_iter().map(mysql_async::from_value::<Option<String>>);
            cells.map(|cell| cell.unwrap_or_else(|| "-".into())).collect::<Vec<_>>().join("|")
        };
        rows.into_iter().map(text).collect()
    }

    pub(crate) fn inject(&self, mode: Mode) -> u64 {
        self.server.inject(Fault::new(mode)).unwrap()
    }

    pub(crate) fn struck(&self, id: u64) -> u64 {
        self.server.faults().into_iter().find(|fault| fault.id == id).unwrap().struck
    }
}

pub(crate) fn address(socket: SocketAddr) -> Address {
    Address { host: socket.ip().to_string(), port: socket.port() }
}

/// Settings of a server that is not there: of use for the mapping.
pub(crate) fn nowhere() -> TargetSettings {
    let address = Address { host: "127.0.0.1".into(), port: 1 };
    TargetSettings {
        kind: TargetKind::Starrocks,
        client_addresses: vec![address.clone()],
        http_addresses: vec![address],
        username: "root".into(),
        password: Password::default(),
        load_props: BTreeMap::new(),
        table_properties: BTreeMap::new(),
        host_map: BTreeMap::new(),
        databases: BTreeMap::new(),
        data_dir: "unused".into(),
    }
}
