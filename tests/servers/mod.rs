//! Real servers, shared by all tests of this binary: each is started once, by the first test that asks, and a test
//! works in a database of its own. When the test process ends, in whatever way, the servers end with it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use tokio::sync::OnceCell;
use towpath::demo::server::{Options, Product, ScratchServer};

/// A running server for all tests. Do not restart it or change its global settings: start your own for that.
pub(crate) struct Shared {
    server: ScratchServer,
}

/// The shared MySQL: binlog with full row images and GTIDs.
pub(crate) async fn mysql() -> &'static Shared {
    static SERVER: OnceCell<Shared> = OnceCell::const_new();
    SERVER.get_or_init(|| start(Product::Mysql)).await
}

/// The shared MariaDB: binlog with full row images.
pub(crate) async fn mariadb() -> &'static Shared {
    static SERVER: OnceCell<Shared> = OnceCell::const_new();
    SERVER.get_or_init(|| start(Product::Mariadb)).await
}

/// The same servers, whose logs tell definitions too (`binlog_row_metadata=FULL`).
pub(crate) async fn telling(product: Product) -> &'static Shared {
    static MYSQL: OnceCell<Shared> = OnceCell::const_new();
    static MARIADB: OnceCell<Shared> = OnceCell::const_new();
    let server = match product {
        Product::Mysql => &MYSQL,
        Product::Mariadb => &MARIADB,
    };
    server.get_or_init(|| start_with(Options::new(product).argument("--binlog-row-metadata=FULL"))).await
}

/// Servers that keep the names of tables and databases in small letters.
pub(crate) async fn small_letters(product: Product) -> &'static Shared {
    static MYSQL: OnceCell<Shared> = OnceCell::const_new();
    static MARIADB: OnceCell<Shared> = OnceCell::const_new();
    let server = match product {
        Product::Mysql => &MYSQL,
        Product::Mariadb => &MARIADB,
    };
    server.get_or_init(|| start_with(Options::new(product).argument("--lower-case-table-names=1"))).await
}

async fn start(product: Product) -> Shared {
    // MariaDB's default takes no event of more than 16 MB.
    start_with(Options::new(product).argument("--max-allowed-packet=67108864")).await
}

async fn start_with(options: Options) -> Shared {
    match ScratchServer::start(&options).await {
        Ok(server) => Shared { server },
        Err(error) => panic!("{error}\n`make test` or tests/servers/get.sh gets the servers that the tests need"),
    }
}

impl Shared {
    pub(crate) fn is_mariadb(&self) -> bool {
        self.server.product() == Product::Mariadb
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.port()
    }

    /// Where it keeps its databases, each in a folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.server.folder().join("data")
    }

    /// `mysql://root@127.0.0.1:PORT`
    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// A new connection as `root`. It belongs to the calling test's runtime.
    pub(crate) async fn connect(&self) -> Conn {
        self.server.connect().await.unwrap()
    }

    /// Creates an empty database whose name begins with `prefix` and is no other test's.
    pub(crate) async fn database(&self, prefix: &str) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("{prefix}_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.connect().await.query_drop(format!("CREATE DATABASE `{name}`")).await.unwrap();
        name
    }

    /// Runs statements one after the other on one new connection.
    pub(crate) async fn run<S: AsRef<str>>(&self, statements: impl IntoIterator<Item = S>) {
        let mut conn = self.connect().await;
        for statement in statements {
            let statement = statement.as_ref();
            conn.query_drop(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }
}
