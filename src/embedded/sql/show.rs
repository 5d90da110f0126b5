//! SHOW and DESC: each a made-up table, filtered by what stands behind it.

use rusqlite::types::Value;

use super::answer::{SqlError, SqlResult};
use super::information_schema::{VirtualTable, database_names, default_value, engines, is_system};
use super::session::{Session, text_value as text, variables};
use super::statement::{Qualified, Show, Shown};
use crate::embedded::catalog::{DefaultValue, Model, TableDef};
use crate::embedded::users::Grant;

impl Session {
    /// The rows and the filter as a SELECT's tail.
    pub(super) fn show(&self, show: &Show) -> SqlResult<(VirtualTable, String)> {
        let table = match &show.what {
            Shown::Databases => {
                let mut made = VirtualTable::new(&["Database"]);
                for name in database_names(self) {
                    made.push(vec![text(name)]);
                }
                made
            }
            Shown::Tables { database, full } => self.show_tables(database.as_deref(), *full)?,
            Shown::TableStatus { database } => {
                let database = self.database_or(database.as_deref())?;
                let mut made = VirtualTable::new(&[
                    "Name",
                    "Engine",
                    "Version#",
                    "Row_format",
                    "Rows#",
                    "Create_time",
                    "Collation",
                    "Comment",
                ]);
                for table in self.engine.catalog.now().tables(&database) {
                    made.push(vec![
                        text(&table.name),
                        text("StarRocks"),
                        Value::Null,
                        Value::Null,
                        Value::Null,
                        text(&table.created),
                        text("utf8_general_ci"),
                        text(&table.comment),
                    ]);
                }
                made
            }
            Shown::Columns { table, full } => self.show_columns(table, *full)?,
            Shown::CreateTable(name) => {
                let table = self.existing(name)?;
                let mut made = VirtualTable::new(&["Table", "Create Table"]);
                made.push(vec![text(&table.name), text(create_table_text(&table))]);
                made
            }
            Shown::CreateDatabase(name) => {
                if !self.engine.catalog.now().has(name) {
                    return Err(SqlError::unknown_database(name));
                }
                let mut made = VirtualTable::new(&["Database", "Create Database"]);
                made.push(vec![text(name), text(format!("CREATE DATABASE `{name}`"))]);
                made
            }
            Shown::AlterTableColumn { database } => self.show_alter(database.as_deref())?,
            Shown::Backends => self.show_backends(),
            Shown::ComputeNodes => VirtualTable::new(&[
                "ComputeNodeId#",
                "IP",
                "HeartbeatPort#",
                "BePort#",
                "HttpPort#",
                "BrpcPort#",
                "LastStartTime",
                "LastHeartbeat",
                "Alive",
                "SystemDecommissioned",
                "ClusterDecommissioned",
                "ErrMsg",
                "Version",
            ]),
            Shown::Frontends => self.show_frontends(),
            Shown::Variables => {
                let mut made = VirtualTable::new(&["Variable_name", "Value"]);
                for (name, value) in variables(self) {
                    made.push(vec![text(name), text(value)]);
                }
                made
            }
            Shown::Grants { user } => self.show_grants(user.as_deref())?,
            Shown::Fixed(what) => fixed(what),
            Shown::Indexes(table) => {
                self.existing(table)?;
                VirtualTable::new(&[
                    "Table",
                    "Non_unique",
                    "Key_name",
                    "Seq_in_index",
                    "Column_name",
                    "Collation",
                    "Cardinality",
                    "Sub_part",
                    "Packed",
                    "Null",
                    "Index_type",
                    "Comment",
                ])
            }
        };
        let first = table.columns.first().map(|(name, _)| name.as_str()).unwrap_or_default();
        let is_like = show.filter.get(..4).is_some_and(|word| word.eq_ignore_ascii_case("LIKE"));
        let filter = if is_like { format!("WHERE `{first}` {}", show.filter) } else { show.filter.clone() };
        Ok((table, filter))
    }

    fn database_or(&self, database: Option<&str>) -> SqlResult<String> {
        let database =
            database.map(str::to_owned).or_else(|| self.database.clone()).ok_or_else(SqlError::no_database)?;
        if self.engine.catalog.now().has(&database) || is_system(&database) {
            Ok(database)
        } else {
            Err(SqlError::unknown_database(&database))
        }
    }

    fn show_tables(&self, database: Option<&str>, full: bool) -> SqlResult<VirtualTable> {
        let database = self.database_or(database)?;
        let heading = format!("Tables_in_{database}");
        let mut made =
            if full { VirtualTable::new(&[&heading, "Table_type"]) } else { VirtualTable::new(&[heading.as_str()]) };
        for table in self.engine.catalog.now().tables(&database) {
            let mut row = vec![text(&table.name)];
            if full {
                row.push(text("BASE TABLE"));
            }
            made.push(row);
        }
        Ok(made)
    }

    /// `DESC t`.
    pub(super) fn describe(&self, table: &Qualified) -> SqlResult<VirtualTable> {
        let table = self.existing(table)?;
        let mut made = VirtualTable::new(&["Field", "Type", "Null", "Key", "Default", "Extra"]);
        for column in &table.columns {
            made.push(vec![
                text(&column.name),
                text(column.ty.to_string()),
                text(if column.nullable { "YES" } else { "NO" }),
                text(if column.is_key { "true" } else { "false" }),
                default_value(column),
                text(""),
            ]);
        }
        Ok(made)
    }

    fn show_columns(&self, table: &Qualified, full: bool) -> SqlResult<VirtualTable> {
        let table = self.existing(table)?;
        let mut made = if full {
            VirtualTable::new(&[
                "Field",
                "Type",
                "Collation",
                "Null",
                "Key",
                "Default",
                "Extra",
                "Privileges",
                "Comment",
            ])
        } else {
            VirtualTable::new(&["Field", "Type", "Null", "Key", "Default", "Extra"])
        };
        for column in &table.columns {
            let null = text(if column.nullable { "YES" } else { "NO" });
            let key = text(if column.is_key { "YES" } else { "NO" });
            let mut row = vec![text(&column.name), text(column.ty.to_string())];
            if full {
                row.push(Value::Null);
            }
            row.extend([null, key, default_value(column), text("")]);
            if full {
                row.extend([text(""), text(&column.comment)]);
            }
            made.push(row);
        }
        Ok(made)
    }

    /// The 13 columns of G40.
    fn show_alter(&self, database: Option<&str>) -> SqlResult<VirtualTable> {
        let database = self.database_or(database)?;
        let mut made = VirtualTable::new(&[
            "JobId#",
            "TableName",
            "CreateTime",
            "FinishTime",
            "IndexName",
            "IndexId#",
            "OriginIndexId#",
            "SchemaVersion",
            "TransactionId#",
            "State",
            "Msg",
            "Progress",
            "Timeout#",
        ]);
        for job in self.engine.jobs.of_database(&database) {
            made.push(vec![
                Value::Integer(job.id as i64),
                text(&job.table.name),
                text(&job.created),
                job.finished.as_ref().map_or(Value::Null, text),
                text(&job.table.name),
                Value::Integer(job.index_id as i64),
                Value::Integer(job.table.id as i64),
                text(format!("{}:0", job.table.schema_version)),
                Value::Integer(job.transaction.map_or(-1, |id| id as i64)),
                text(job.state.name()),
                text(&job.message),
                Value::Null,
                Value::Integer(job.timeout as i64),
            ]);
        }
        Ok(made)
    }

    fn show_backends(&self) -> VirtualTable {
        let mut made = VirtualTable::new(&[
            "BackendId#",
            "IP",
            "HeartbeatPort#",
            "BePort#",
            "HttpPort#",
            "BrpcPort#",
            "LastStartTime",
            "LastHeartbeat",
            "Alive",
            "SystemDecommissioned",
            "ClusterDecommissioned",
            "TabletNum#",
            "DataUsedCapacity",
            "AvailCapacity",
            "TotalCapacity",
            "UsedPct",
            "MaxDiskUsedPct",
            "ErrMsg",
            "Version",
            "Status",
            "DataTotalCapacity",
            "DataUsedPct",
            "CpuCores#",
        ]);
        let now = super::builtin::now_text();
        let (host, ports) = self.addresses();
        made.push(vec![
            Value::Integer(10_001),
            text(host),
            Value::Integer(9050),
            Value::Integer(9060),
            Value::Integer(ports.2),
            Value::Integer(8060),
            text(&now),
            text(&now),
            text("true"),
            text("false"),
            text("false"),
            Value::Integer(self.engine.catalog.now().all_tables().count() as i64),
            text("0.000 "),
            text("1.000 TB"),
            text("1.000 TB"),
            text("0.00 %"),
            text("0.00 %"),
            text(""),
            text(self.version_text()),
            text("{}"),
            text("1.000 TB"),
            text("0.00 %"),
            Value::Integer(1),
        ]);
        made
    }

    fn show_frontends(&self) -> VirtualTable {
        let mut made = VirtualTable::new(&[
            "Id#",
            "Name",
            "IP",
            "EditLogPort#",
            "HttpPort#",
            "QueryPort#",
            "RpcPort#",
            "Role",
            "ClusterId#",
            "Join",
            "Alive",
            "ReplayedJournalId#",
            "LastHeartbeat",
            "IsHelper",
            "ErrMsg",
            "StartTime",
            "Version",
        ]);
        let now = super::builtin::now_text();
        let (host, ports) = self.addresses();
        let second = self.engine.addresses.get().and_then(|all| all.second_fe);
        let second = second.map(|(http, mysql)| (9011, http.port().into(), mysql.port().into(), "FOLLOWER"));
        let fes = [(9010, ports.1, ports.0, "LEADER")].into_iter().chain(second);
        for (number, (edit_log_port, http_port, query_port, role)) in fes.enumerate() {
            made.push(vec![
                Value::Integer(number as i64 + 1),
                text(format!("{host}_{edit_log_port}")),
                text(&host),
                Value::Integer(edit_log_port),
                Value::Integer(http_port),
                Value::Integer(query_port),
                Value::Integer(9020),
                text(role),
                Value::Integer(1),
                text("true"),
                text("true"),
                Value::Integer(1),
                text(&now),
                text("true"),
                text(""),
                text(&now),
                text(self.version_text()),
            ]);
        }
        made
    }

    /// Host, and the ports of MySQL, FE and BE.
    fn addresses(&self) -> (String, (i64, i64, i64)) {
        let ports = self
            .engine
            .addresses
            .get()
            .map_or((0, 0, 0), |all| (all.mysql.port().into(), all.fe.port().into(), all.be.port().into()));
        (self.engine.options.host.clone(), ports)
    }

    fn show_grants(&self, user: Option<&str>) -> SqlResult<VirtualTable> {
        let user = user.unwrap_or(&self.user);
        if !self.engine.users.exists(user) {
            return Err(SqlError::analyzing(format!("cannot find user '{user}'@'%'")));
        }
        let mut made = VirtualTable::new(&["UserIdentity", "Catalog", "Grants"]);
        let identity = format!("'{user}'@'%'");
        if self.engine.users.is_root(user) {
            made.push(vec![text(&identity), Value::Null, text(format!("GRANT 'root' TO {identity}"))]);
        }
        for grant in self.engine.users.grants(user) {
            let sql = format!("GRANT {} ON {} TO USER {identity}", grant.privilege.name(), grant_object(&grant));
            made.push(vec![text(&identity), text("default_catalog"), text(sql)]);
        }
        Ok(made)
    }
}

fn grant_object(grant: &Grant) -> String {
    match (&grant.database, &grant.table, grant.on_database) {
        (None, _, true) => "ALL DATABASES".into(),
        (Some(database), _, true) => format!("DATABASE {database}"),
        (None, _, false) => "ALL TABLES IN ALL DATABASES".into(),
        (Some(database), None, false) => format!("ALL TABLES IN DATABASE {database}"),
        (Some(database), Some(table), false) => format!("TABLE {database}.{table}"),
    }
}

fn fixed(what: &str) -> VirtualTable {
    match what {
        "engines" => engines(),
        "warnings" => VirtualTable::new(&["Level", "Code#", "Message"]),
        "collation" => {
            let mut made = VirtualTable::new(&["Collation", "Charset", "Id#", "Default", "Compiled", "Sortlen#"]);
            made.push(vec![
                text("utf8_general_ci"),
                text("utf8"),
                Value::Integer(33),
                text("Yes"),
                text("Yes"),
                Value::Integer(1),
            ]);
            made
        }
        "charset" => {
            let mut made = VirtualTable::new(&["Charset", "Description", "Default collation", "Maxlen#"]);
            made.push(vec![text("utf8"), text("UTF-8 Unicode"), text("utf8_general_ci"), Value::Integer(3)]);
            made
        }
        "catalogs" => {
            let mut made = VirtualTable::new(&["Catalog", "Type", "Comment"]);
            made.push(
                ["default_catalog", "Internal", "An internal catalog contains this cluster's tables."]
                    .map(text)
                    .to_vec(),
            );
            made
        }
        "processlist" => VirtualTable::new(&["Id#", "User", "Host", "Db", "Command", "Time#", "State", "Info"]),
        "status" => VirtualTable::new(&["Variable_name", "Value"]),
        "plugins" => VirtualTable::new(&["Name", "Status", "Type", "Library", "License"]),
        _ => VirtualTable::new(&["Trigger", "Event", "Table", "Statement", "Timing"]),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn names(names: &[String]) -> String {
    names.iter().map(|name| back_quoted(name)).collect::<Vec<_>>().join(", ")
}

fn back_quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// SHOW CREATE TABLE's text; it makes the same table again.
fn create_table_text(table: &TableDef) -> String {
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            let null = if column.nullable { "NULL" } else { "NOT NULL" };
            let default = match &column.default {
                None => String::new(),
                Some(DefaultValue::Literal(value)) => format!(" DEFAULT {}", quoted(value)),
                Some(DefaultValue::CurrentTimestamp) => " DEFAULT CURRENT_TIMESTAMP".into(),
            };
            format!(
                "  {} {} {null}{default} COMMENT {}",
                back_quoted(&column.name),
                column.ty.sql(),
                quoted(&column.comment)
            )
        })
        .collect();
    let keys: Vec<String> = table.keys().iter().map(|column| column.name.clone()).collect();
    let model = if table.model == Model::Primary { "PRIMARY" } else { "DUPLICATE" };
    let mut sql = format!(
        "CREATE TABLE {} (\n{}\n) ENGINE=OLAP \n{model} KEY({})\n",
        back_quoted(&table.name),
        columns.join(",\n"),
        names(&keys)
    );
    if !table.comment.is_empty() {
        sql.push_str(&format!("COMMENT {}\n", quoted(&table.comment)));
    }
    let buckets = table.buckets.map_or_else(String::new, |count| format!(" BUCKETS {count}"));
    if table.distribution.is_empty() {
        sql.push_str(&format!("DISTRIBUTED BY RANDOM{buckets} \n"));
    } else {
        sql.push_str(&format!("DISTRIBUTED BY HASH({}){buckets} \n", names(&table.distribution)));
    }
    if !table.order_by.is_empty() {
        sql.push_str(&format!("ORDER BY({})\n", names(&table.order_by)));
    }
    let properties: Vec<String> =
        table.properties.iter().map(|(key, value)| format!("{} = {}", quoted(key), quoted(value))).collect();
    sql.push_str(&format!("PROPERTIES (\n{}\n);", properties.join(",\n")));
    sql
}
