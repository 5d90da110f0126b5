//! Users, their passwords (as MySQL's double SHA-1, never the text) and what they may do.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use rusqlite::params;
use sha1::{Digest, Sha1};

use super::store::Store;
use crate::{Error, Result};

/// What a GRANT can give. Names as StarRocks writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Privilege {
    Select,
    Insert,
    Update,
    Delete,
    Alter,
    Drop,
    CreateTable,
    CreateDatabase,
    Operate,
}

impl Privilege {
    pub(crate) const ALL: [Privilege; 9] = [
        Privilege::Select,
        Privilege::Insert,
        Privilege::Update,
        Privilege::Delete,
        Privilege::Alter,
        Privilege::Drop,
        Privilege::CreateTable,
        Privilege::CreateDatabase,
        Privilege::Operate,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Privilege::Select => "SELECT",
            Privilege::Insert => "INSERT",
            Privilege::Update => "UPDATE",
            Privilege::Delete => "DELETE",
            Privilege::Alter => "ALTER",
            Privilege::Drop => "DROP",
            Privilege::CreateTable => "CREATE TABLE",
            Privilege::CreateDatabase => "CREATE DATABASE",
            Privilege::Operate => "OPERATE",
        }
    }

    /// Without case; `None` for a privilege this server does not know.
    pub(crate) fn parse(name: &str) -> Option<Privilege> {
        Privilege::ALL.into_iter().find(|privilege| privilege.name().eq_ignore_ascii_case(name))
    }
}

/// Where a grant holds. `None` is all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Grant {
    pub(crate) privilege: Privilege,
    pub(crate) database: Option<String>,
    pub(crate) table: Option<String>,
    /// On a database itself (CREATE TABLE, DROP, ALTER), not on the tables in it.
    pub(crate) on_database: bool,
}

#[derive(Debug)]
pub(crate) struct Users {
    /// Has every privilege and lives in the options only.
    root: String,
    root_password: Option<[u8; 20]>,
    others: RwLock<BTreeMap<String, User>>,
}

#[derive(Debug, Clone, Default)]
struct User {
    /// SHA1(SHA1(password)); none for the empty password.
    password: Option<[u8; 20]>,
    grants: Vec<Grant>,
}

impl Users {
    pub(crate) fn load(store: &Store, root: &str, password: &str) -> Result<Users> {
        let others = store.write(|tx| {
            tx.execute_batch(
                "CREATE TABLE IF NOT EXISTS user_def (name TEXT PRIMARY KEY, password BLOB);
                 CREATE TABLE IF NOT EXISTS user_grant (user TEXT NOT NULL, privilege TEXT NOT NULL,
                     database TEXT, name TEXT, on_database INTEGER NOT NULL);",
            )?;
            let mut users = BTreeMap::new();
            let mut statement = tx.prepare("SELECT name, password FROM user_def")?;
            for row in statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, Option<[u8; 20]>>(1)?)))? {
                let (name, password): (String, _) = row?;
                users.insert(name, User { password, grants: Vec::new() });
            }
            let mut statement = tx.prepare("SELECT user, privilege, database, name, on_database FROM user_grant")?;
            let rows = statement.query_map([], |row| {
                let grant = (row.get(2)?, row.get(3)?, row.get(4)?);
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, grant))
            })?;
            for row in rows {
                let (user, privilege, (database, table, on_database)) = row?;
                if let (Some(user), Some(privilege)) = (users.get_mut(&user), Privilege::parse(&privilege)) {
                    user.grants.push(Grant { privilege, database, table, on_database });
                }
            }
            Ok::<_, Error>(users)
        })?;
        Ok(Users { root: root.to_owned(), root_password: digest(password), others: RwLock::new(others) })
    }

    fn password(&self, user: &str) -> Option<Option<[u8; 20]>> {
        if user == self.root {
            return Some(self.root_password);
        }
        self.others.read().unwrap_or_else(PoisonError::into_inner).get(user).map(|user| user.password)
    }

    /// The password in clear, as HTTP Basic brings it.
    pub(crate) fn authenticate(&self, user: &str, password: &str) -> bool {
        self.password(user) == Some(digest(password))
    }

    /// The answer of `mysql_native_password` to `salt`.
    pub(crate) fn authenticate_native(&self, user: &str, salt: &[u8], answer: &[u8]) -> bool {
        let Some(password) = self.password(user) else { return false };
        let Some(stored) = password else { return answer.is_empty() };
        let Ok(answer) = <[u8; 20]>::try_from(answer) else { return false };
        let mut hash = Sha1::new();
        hash.update(salt);
        hash.update(stored);
        let mask: [u8; 20] = hash.finalize().into();
        let mut once = [0; 20];
        for (byte, (left, right)) in once.iter_mut().zip(answer.iter().zip(mask)) {
            *byte = left ^ right;
        }
        <[u8; 20]>::from(Sha1::digest(once)) == stored
    }

    /// Whether `user` has `privilege` on a table, or on the database itself when `table` is `None`.
    pub(crate) fn may(&self, user: &str, privilege: Privilege, database: &str, table: Option<&str>) -> bool {
        if user == self.root {
            return true;
        }
        let others = self.others.read().unwrap_or_else(PoisonError::into_inner);
        others.get(user).is_some_and(|user| {
            user.grants.iter().any(|grant| {
                grant.privilege == privilege
                    && grant.on_database == table.is_none()
                    && grant.database.as_deref().is_none_or(|name| name == database)
                    && (table.is_none() || grant.table.is_none() || grant.table.as_deref() == table)
            })
        })
    }

    pub(crate) fn is_root(&self, user: &str) -> bool {
        user == self.root
    }

    pub(crate) fn exists(&self, user: &str) -> bool {
        self.password(user).is_some()
    }

    pub(crate) fn grants(&self, user: &str) -> Vec<Grant> {
        let others = self.others.read().unwrap_or_else(PoisonError::into_inner);
        others.get(user).map(|user| user.grants.clone()).unwrap_or_default()
    }

    /// `false`: the user is there already.
    pub(crate) fn create(&self, store: &Store, user: &str, password: &str) -> Result<bool> {
        if self.exists(user) {
            return Ok(false);
        }
        let password = digest(password);
        let stored = password.map(|digest| digest.to_vec());
        store.write(|tx| {
            tx.execute("INSERT INTO user_def (name, password) VALUES (?, ?)", params![user, stored])?;
            Ok::<_, Error>(())
        })?;
        let mut others = self.others.write().unwrap_or_else(PoisonError::into_inner);
        others.insert(user.to_owned(), User { password, grants: Vec::new() });
        Ok(true)
    }

    /// `false`: there is no such user.
    pub(crate) fn drop(&self, store: &Store, user: &str) -> Result<bool> {
        store.write(|tx| {
            tx.execute("DELETE FROM user_def WHERE name = ?", [user])?;
            tx.execute("DELETE FROM user_grant WHERE user = ?", [user])?;
            Ok::<_, Error>(())
        })?;
        Ok(self.others.write().unwrap_or_else(PoisonError::into_inner).remove(user).is_some())
    }

    /// Replaces the user's grants by what `change` makes of them. `false`: there is no such user.
    pub(crate) fn change_grants(
        &self,
        store: &Store,
        user: &str,
        change: impl FnOnce(&mut Vec<Grant>),
    ) -> Result<bool> {
        let mut others = self.others.write().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = others.get_mut(user) else { return Ok(self.is_root(user)) };
        let mut grants = found.grants.clone();
        change(&mut grants);
        grants.sort();
        grants.dedup();
        store.write(|tx| {
            tx.execute("DELETE FROM user_grant WHERE user = ?", [user])?;
            for grant in &grants {
                tx.execute(
                    "INSERT INTO user_grant (user, privilege, database, name, on_database) VALUES (?, ?, ?, ?, ?)",
                    params![user, grant.privilege.name(), grant.database, grant.table, grant.on_database],
                )?;
            }
            Ok::<_, Error>(())
        })?;
        found.grants = grants;
        Ok(true)
    }
}

fn digest(password: &str) -> Option<[u8; 20]> {
    (!password.is_empty()).then(|| Sha1::digest(Sha1::digest(password)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn native_password_answers_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let users = Users::load(&store, "root", "secret").unwrap();
        let salt = [7; 20];
        // As the protocol has it: SHA1(password) XOR SHA1(salt + SHA1(SHA1(password))).
        let once: [u8; 20] = Sha1::digest("secret").into();
        let mask: [u8; 20] = Sha1::digest([&salt[..], &Sha1::digest(once)[..]].concat()).into();
        let answer: Vec<u8> = once.iter().zip(mask).map(|(left, right)| left ^ right).collect();
        assert!(users.authenticate_native("root", &salt, &answer));
        assert!(!users.authenticate_native("root", &[8; 20], &answer));
        assert!(!users.authenticate_native("root", &salt, &[]));
        assert!(!users.authenticate_native("nobody", &salt, &answer));
        assert!(users.authenticate("root", "secret") && !users.authenticate("root", ""));
    }

    #[test]
    fn grants_survive_a_reopen() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let users = Users::load(&store, "root", "").unwrap();
        assert!(users.create(&store, "app", "x").unwrap());
        let grant =
            Grant { privilege: Privilege::Insert, database: Some("shop".into()), table: None, on_database: false };
        assert!(users.change_grants(&store, "app", |grants| grants.push(grant)).unwrap());
        let users = Users::load(&store, "root", "").unwrap();
        assert!(users.authenticate("app", "x"));
        assert!(users.may("app", Privilege::Insert, "shop", Some("t")));
        assert!(!users.may("app", Privilege::Insert, "crm", Some("t")));
        assert!(!users.may("app", Privilege::Select, "shop", Some("t")));
    }
}
