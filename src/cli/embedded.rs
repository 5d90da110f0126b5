//! `towpath embedded`

use tokio_util::sync::CancellationToken;

use super::args::EmbeddedOptions;
use super::{Outcome, signal};
use crate::embedded::{Options, Server};
use crate::output::sayln;
use crate::target::Version;
use crate::{Error, Result};

pub(super) async fn run(options: EmbeddedOptions) -> Result<Outcome> {
    let version = Version::parse(&options.version).ok_or_else(|| {
        Error::usage(format!("--version {:?} is not a version", options.version)).hint("write it like 3.5.0")
    })?;
    let server = Server::start(Options {
        host: options.host,
        mysql_port: options.mysql_port,
        fe_port: options.fe_port,
        be_port: options.be_port,
        second_fe_port: options.second_fe_port,
        second_mysql_port: options.second_mysql_port,
        user: options.user,
        password: options.password,
        version,
        ..Options::new(options.data_dir)
    })
    .await?;
    sayln!("MySQL {}  FE http {}  BE http {}", server.mysql_addr, server.fe_addr, server.be_addr);
    if let Some((mysql, http)) = server.second_mysql_addr.zip(server.second_fe_addr) {
        sayln!("second FE: MySQL {mysql}  http {http}");
    }
    let stop = CancellationToken::new();
    signal::cancel_on_signal(stop.clone())?;
    stop.cancelled().await;
    server.stop().await;
    Ok(Outcome::Done)
}
