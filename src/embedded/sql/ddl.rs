//! Runs DDL and account statements against the catalogue.

use std::sync::Arc;

use opensrv_mysql::ErrorKind;

use super::answer::{SqlError, SqlResult};
use super::rebuild::{rebuild, rename_column};
use super::session::Session;
use super::statement::{AlterTable, CreateTable, GrantScope, Qualified, Statement};
use super::{alter, create};
use crate::embedded::catalog::TableDef;
use crate::embedded::store::storage_name;
use crate::embedded::users::{Grant, Privilege};

/// Seconds an ALTER job may take when the statement does not say.
const ALTER_TIMEOUT: u64 = 86_400;

impl Session {
    /// Runs a statement that gives no rows.
    pub(super) fn run(&mut self, statement: Statement) -> SqlResult<()> {
        match statement {
            Statement::CreateDatabase { name, if_not_exists } => self.create_database(&name, if_not_exists),
            Statement::DropDatabase { name, if_exists } => self.drop_database(&name, if_exists),
            Statement::CreateTable(create) => self.create_table(&create),
            Statement::CreateTableLike { table, like, if_not_exists } => self.create_like(&table, &like, if_not_exists),
            Statement::DropTable { table, if_exists } => self.drop_table(&table, if_exists),
            Statement::Truncate { table } => self.truncate(&table),
            Statement::AlterTable { table, change } => self.alter_table(&table, change),
            Statement::CancelAlter { table } => {
                let table = self.existing(&table)?;
                self.require(Privilege::Alter, &table.database, Some(&table.name))?;
                self.engine.jobs.cancel(&self.engine, &table)
            }
            Statement::Use { database } => self.use_database(&database),
            Statement::CreateUser { user, password, if_not_exists } => {
                self.require_root("GRANT")?;
                let created = self.engine.users.create(&self.engine.store, &user, &password)?;
                if created || if_not_exists {
                    return Ok(());
                }
                Err(SqlError::analyzing(format!("Operation CREATE USER failed for '{user}'@'%' : user already exists")))
            }
            Statement::DropUser { user, if_exists } => {
                self.require_root("GRANT")?;
                let dropped = self.engine.users.drop(&self.engine.store, &user)?;
                if dropped || if_exists {
                    return Ok(());
                }
                Err(SqlError::analyzing(format!("Operation DROP USER failed for '{user}'@'%' : user not exists")))
            }
            Statement::Grant { privileges, scope, user, revoke } => self.grant(&privileges, &scope, &user, revoke),
            Statement::Nothing
            | Statement::Query
            | Statement::Change
            | Statement::Show(_)
            | Statement::Describe { .. } => Ok(()),
        }
    }

    pub(super) fn use_database(&mut self, name: &str) -> SqlResult<()> {
        if !self.engine.catalog.now().has(name) && !super::information_schema::is_system(name) {
            return Err(SqlError::unknown_database(name));
        }
        self.database = Some(name.to_owned());
        Ok(())
    }

    /// `db.name` with the session's database where none is written.
    pub(super) fn qualify(&self, (database, name): &Qualified) -> SqlResult<(String, String)> {
        match database.as_ref().or(self.database.as_ref()) {
            Some(database) => Ok((database.clone(), name.clone())),
            None => Err(SqlError::no_database()),
        }
    }

    pub(super) fn existing(&self, table: &Qualified) -> SqlResult<Arc<TableDef>> {
        let (database, name) = self.qualify(table)?;
        if !self.engine.catalog.now().has(&database) {
            return Err(SqlError::unknown_database(&database));
        }
        self.engine.catalog.table(&database, &name).ok_or_else(|| SqlError::unknown_table(&database, &name))
    }

    pub(super) fn require(&self, privilege: Privilege, database: &str, table: Option<&str>) -> SqlResult<()> {
        if self.engine.users.may(&self.user, privilege, database, table) {
            return Ok(());
        }
        let object = match table {
            Some(table) => format!("TABLE {table}"),
            None if privilege == Privilege::CreateDatabase => "CATALOG default_catalog".to_owned(),
            None => format!("DATABASE {database}"),
        };
        Err(denied(privilege.name(), &object))
    }

    fn require_root(&self, privilege: &str) -> SqlResult<()> {
        if self.engine.users.is_root(&self.user) { Ok(()) } else { Err(denied(privilege, "SYSTEM")) }
    }

    fn create_database(&self, name: &str, if_not_exists: bool) -> SqlResult<()> {
        self.require(Privilege::CreateDatabase, "", None)?;
        create::check_database_name(name)?;
        let created = self.engine.catalog.change(&self.engine.store, |change| change.create_database(name))?;
        if created || if_not_exists {
            return Ok(());
        }
        Err(SqlError::new(ErrorKind::ER_DB_CREATE_EXISTS, format!("Can't create database '{name}'; database exists")))
    }

    fn drop_database(&mut self, name: &str, if_exists: bool) -> SqlResult<()> {
        self.require(Privilege::Drop, name, None)?;
        let dropped = self.engine.catalog.change(&self.engine.store, |change| change.drop_database(name))?;
        if !dropped && !if_exists {
            return Err(SqlError::new(
                ErrorKind::ER_DB_DROP_EXISTS,
                format!("Can't drop database '{name}'; database doesn't exist"),
            ));
        }
        if self.database.as_deref() == Some(name) {
            self.database = None;
        }
        Ok(())
    }

    fn create_table(&self, statement: &CreateTable) -> SqlResult<()> {
        let (database, _) = self.qualify(&statement.table)?;
        if !self.engine.catalog.now().has(&database) {
            return Err(SqlError::unknown_database(&database));
        }
        self.require(Privilege::CreateTable, &database, None)?;
        let table = create::table(statement, &database, self.engine.options.version)?;
        self.store_table(table, statement.if_not_exists)
    }

    fn create_like(&self, table: &Qualified, like: &Qualified, if_not_exists: bool) -> SqlResult<()> {
        let (database, name) = self.qualify(table)?;
        self.require(Privilege::CreateTable, &database, None)?;
        create::check_table_name(&name)?;
        let like = self.existing(like)?;
        let mut table = (*like).clone();
        table.database = database;
        table.name = name;
        table.created = super::builtin::now_text();
        self.store_table(table, if_not_exists)
    }

    fn store_table(&self, table: TableDef, if_not_exists: bool) -> SqlResult<()> {
        self.engine.catalog.change(&self.engine.store, |change| {
            if !change.databases.has(&table.database) {
                return Err(SqlError::unknown_database(&table.database));
            }
            if change.databases.table(&table.database, &table.name).is_some() {
                if if_not_exists {
                    return Ok(());
                }
                return Err(SqlError::new(
                    ErrorKind::ER_TABLE_EXISTS_ERROR,
                    format!("Table '{}' already exists", table.name),
                ));
            }
            change.create_table(table)?;
            Ok(())
        })
    }

    fn drop_table(&self, table: &Qualified, if_exists: bool) -> SqlResult<()> {
        let (database, name) = self.qualify(table)?;
        self.require(Privilege::Drop, &database, Some(&name))?;
        self.engine.catalog.change(&self.engine.store, |change| {
            if !change.databases.has(&database) && !if_exists {
                return Err(SqlError::unknown_database(&database));
            }
            if !change.drop_table(&database, &name)? && !if_exists {
                return Err(SqlError::unknown_table(&database, &name));
            }
            Ok(())
        })
    }

    fn truncate(&self, table: &Qualified) -> SqlResult<()> {
        let table = self.existing(table)?;
        self.require(Privilege::Delete, &table.database, Some(&table.name))?;
        self.engine.jobs.check_idle(&table)?;
        self.engine.store.write(|tx| {
            tx.execute_batch(&format!("DELETE FROM {}", storage_name(&table)))?;
            Ok(())
        })
    }

    fn alter_table(&self, table: &Qualified, change: AlterTable) -> SqlResult<()> {
        let table = self.existing(table)?;
        self.require(Privilege::Alter, &table.database, Some(&table.name))?;
        self.engine.jobs.check_idle(&table)?;
        let version = self.engine.options.version;
        match change {
            AlterTable::Columns { clauses, properties } => {
                let plan = alter::plan(&table, &clauses, version)?;
                let timeout = properties.iter().find(|(key, _)| key.eq_ignore_ascii_case("timeout"));
                let timeout = match timeout {
                    None => ALTER_TIMEOUT,
                    Some((_, text)) => {
                        text.parse().map_err(|_| SqlError::analyzing(format!("Invalid timeout format: {text}")))?
                    }
                };
                self.carry_out(plan, timeout)
            }
            AlterTable::OrderBy { columns } => self.carry_out(alter::plan_order(&table, &columns)?, ALTER_TIMEOUT),
            AlterTable::RenameColumn { from, to } => self.change_table(&table, |change, now| {
                let next = alter::plan_rename(now, &from, &to, version)?;
                rename_column(change.tx, now, &from, &to)?;
                self.engine.jobs.record_finished(change, next.clone())?;
                change.put_table(next)?;
                Ok(())
            }),
            AlterTable::Rename { to } => {
                create::check_table_name(&to)?;
                self.change_table(&table, |change, now| {
                    if change.databases.table(&now.database, &to).is_some() {
                        return Err(SqlError::ddl(format!("Table name[{to}] is already used")));
                    }
                    change.put_table(TableDef { name: to.clone(), ..now.clone() })?;
                    Ok(())
                })
            }
            AlterTable::Swap { with } => self.swap(&table, &with),
            AlterTable::Comment { .. } if (version.major, version.minor) < (3, 1) => {
                Err(SqlError::syntax(1, 1, "Unexpected input 'COMMENT', the most similar input is {'SET'}"))
            }
            AlterTable::Comment { comment } => self.change_table(&table, |change, now| {
                change.put_table(TableDef { comment: comment.clone(), ..now.clone() })?;
                Ok(())
            }),
            AlterTable::SetProperties { properties } => self.change_table(&table, |change, now| {
                let mut next = now.clone();
                for (key, value) in &properties {
                    let key = key.to_lowercase();
                    if key == "fast_schema_evolution" {
                        return Err(SqlError::ddl(format!(
                            "Property {key} cannot be changed after the table is created"
                        )));
                    }
                    next.properties.insert(key, value.clone());
                }
                change.put_table(next)?;
                Ok(())
            }),
        }
    }

    /// Does a fast change at once, and hands a slow one to a job.
    fn carry_out(&self, plan: alter::Plan, timeout: u64) -> SqlResult<()> {
        if !plan.fast {
            self.engine.jobs.submit(&self.engine, plan.table, timeout)?;
            return Ok(());
        }
        let next = plan.table;
        self.engine.catalog.change(&self.engine.store, |change| {
            let Some(now) = change.databases.all_tables().find(|table| table.id == next.id).cloned() else {
                return Err(SqlError::unknown_table(&next.database, &next.name));
            };
            rebuild(change.tx, &now, &next)?;
            self.engine.jobs.record_finished(change, next.clone())?;
            change.put_table(next)?;
            Ok(())
        })
    }

    fn change_table(
        &self,
        table: &TableDef,
        work: impl FnOnce(&mut crate::embedded::catalog::Change<'_, '_>, &TableDef) -> SqlResult<()>,
    ) -> SqlResult<()> {
        self.engine.catalog.change(&self.engine.store, |change| {
            match change.databases.table(&table.database, &table.name) {
                Some(now) => work(change, &now),
                None => Err(SqlError::unknown_table(&table.database, &table.name)),
            }
        })
    }

    fn swap(&self, table: &TableDef, with: &str) -> SqlResult<()> {
        let other = self.existing(&(Some(table.database.clone()), with.to_owned()))?;
        self.engine.jobs.check_idle(&other)?;
        self.change_table(table, |change, now| {
            let Some(other) = change.databases.table(&now.database, with) else {
                return Err(SqlError::unknown_table(&now.database, with));
            };
            let first = TableDef { name: other.name.clone(), ..now.clone() };
            let second = TableDef { name: now.name.clone(), ..(*other).clone() };
            change.put_table(first)?;
            change.put_table(second)?;
            Ok(())
        })
    }

    fn grant(&self, names: &[String], scope: &GrantScope, user: &str, revoke: bool) -> SqlResult<()> {
        self.require_root("GRANT")?;
        let on_database = !matches!(scope, GrantScope::Tables { .. });
        let (database, table) = match scope {
            GrantScope::Tables { database, table } => (database.clone(), table.clone()),
            GrantScope::Databases { database } => (database.clone(), None),
            GrantScope::System => (None, None),
        };
        // A privilege on what is not there cannot be given beforehand.
        if let Some(database) = database.as_ref().filter(|_| !revoke) {
            let now = self.engine.catalog.now();
            if !now.has(database) {
                return Err(SqlError::analyzing(format!("cannot find db: {database}")));
            }
            if let Some(table) = table.as_ref().filter(|table| now.table(database, table).is_none()) {
                return Err(SqlError::analyzing(format!("cannot find table {table} in db {database}")));
            }
        }
        let mut privileges = Vec::new();
        for name in names {
            if matches!(name.as_str(), "ALL" | "ALL PRIVILEGES") {
                privileges.extend(Privilege::ALL);
            } else {
                let privilege = Privilege::parse(name)
                    .ok_or_else(|| SqlError::analyzing(format!("Unknown privilege '{name}' on this object")))?;
                privileges.push(privilege);
            }
        }
        let known = self.engine.users.change_grants(&self.engine.store, user, |grants| {
            for privilege in privileges {
                let grant = Grant { privilege, database: database.clone(), table: table.clone(), on_database };
                if revoke {
                    grants.retain(|other| *other != grant);
                } else {
                    grants.push(grant);
                }
            }
        })?;
        if known { Ok(()) } else { Err(SqlError::analyzing(format!("cannot find user '{user}'@'%'"))) }
    }
}

fn denied(privilege: &str, object: &str) -> SqlError {
    SqlError::new(
        ErrorKind::ER_SPECIFIC_ACCESS_DENIED_ERROR,
        format!(
            "Access denied; you need (at least one of) the {privilege} privilege(s) on {object} for this operation. \
             Please ask the admin to grant permission(s) or try activating existing roles using <set [default] role>. \
             Current role(s): NONE. Inactivated role(s): NONE."
        ),
    )
}
