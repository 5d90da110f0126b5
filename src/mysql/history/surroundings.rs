//! What a history has to know of the job and of the server.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::Result;
use crate::config::{NoKeyTables, ShadowNames, TableFilter};
use crate::mysql::catalog;
use crate::mysql::connect::{self, Connect, Flavor, ServerInfo};
use crate::schema::{Table, TableName};

/// Reads one table's present definition from the source's catalogue; `None`: there is no such table. It blocks.
pub type Catalogue = Arc<dyn Fn(&TableName) -> Result<Option<Table>> + Send + Sync>;

#[derive(Clone)]
pub struct Surroundings {
    pub mariadb: bool,
    pub lower_case_table_names: u8,
    /// `explicit_defaults_for_timestamp` of the server, for statements that do not tell their session's.
    pub explicit_timestamps: bool,
    /// `binlog_row_metadata` is FULL: the log tells definitions.
    pub full_metadata: bool,
    /// `binlog_row_image` is FULL.
    pub whole_images: bool,
    pub no_key: NoKeyTables,
    /// Which tables are replicated, those that do not exist yet included; never a shadow table.
    pub wanted: Arc<dyn Fn(&TableName) -> bool + Send + Sync>,
    pub shadows: ShadowNames,
    /// `None`: what cannot be read from a statement stops the job at once.
    pub catalogue: Option<Catalogue>,
}

impl Default for Surroundings {
    /// A server with the usual settings, and a job of the tables it begins with.
    fn default() -> Self {
        Surroundings {
            mariadb: false,
            lower_case_table_names: 0,
            explicit_timestamps: true,
            full_metadata: true,
            whole_images: true,
            no_key: NoKeyTables::UniqueKey,
            wanted: Arc::new(|_| false),
            shadows: ShadowNames::default(),
            catalogue: None,
        }
    }
}

impl Surroundings {
    /// For a job that replicates what `filter` matches.
    pub fn new(info: &ServerInfo, filter: TableFilter, no_key: NoKeyTables) -> Self {
        let explicit = info.variable("explicit_defaults_for_timestamp");
        let full = |name: &str| info.variable(name).is_some_and(|value| value.eq_ignore_ascii_case("FULL"));
        Surroundings {
            mariadb: info.flavor == Flavor::Mariadb,
            lower_case_table_names: info.lower_case_table_names,
            explicit_timestamps: !explicit.is_some_and(|value| matches!(value, "OFF" | "0")),
            full_metadata: full("binlog_row_metadata"),
            whole_images: full("binlog_row_image"),
            no_key,
            shadows: filter.shadows().clone(),
            wanted: Arc::new(move |name| filter.matches(name)),
            catalogue: None,
        }
    }

    /// With a catalogue that is asked over a new connection each time. The history must then be used on a thread that may
    /// block, outside `runtime`.
    #[must_use]
    pub fn with_catalogue(mut self, connect: Connect, runtime: Handle) -> Self {
        let no_key = self.no_key;
        self.catalogue = Some(Arc::new(move |name| {
            runtime.block_on(async {
                let mut connection = connect.sql(None).await?;
                let info = connect::server_info(&mut connection).await?;
                catalog::table(&mut connection, &info, name, no_key).await
            })
        }));
        self
    }
}
