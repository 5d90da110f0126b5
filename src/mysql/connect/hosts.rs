//! The source's servers: connections to one that can serve the job, and to another of them when it fails.
//!
//! # Which server may be read
//! Before a position is followed at a server, the server must show that it can be:
//! - With GTIDs, any server whose executed set holds all that the job has read (nothing would be read again or
//!   missed) and whose purged set lies within it (all that comes next is still there). A replica that lags behind, and
//!   a promoted one that never got the last transactions of its predecessor, fail the first test.
//! - Without GTIDs a position is an offset in one server's files, so only that server.
//!
//! # Refusals that may pass
//! A server that has let the job in and now does not, and one that lacks what the job has read, may do better soon: a
//! password is being changed, a promotion is under way, a replica is catching up. They are asked again until the same
//! refusal has lasted for [`Patience::refusal`]; then it is definite. A lag that shrinks begins that time anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use mysql_async::Conn;

use super::{CONNECT_LIMIT, Client, Flavor, Login, Patience, Session, select, text};
use crate::config::{Address, Password, Source};
use crate::mysql::position::{self, Position, Serves};
use crate::mysql::wire;
use crate::{Error, Result};

/// Opens new connections to the source, each call one; with a position, to a server that has everything before it and
/// the log from there on. Its clones are one: they remember together which server serves.
#[derive(Debug, Clone)]
pub struct Connect(Arc<Hosts>);

/// Opens connections as the job file says.
pub fn connector(source: &Source, patience: Patience) -> Connect {
    Connect(Arc::new(Hosts { source: source.clone(), patience, memory: Mutex::default() }))
}

impl Connect {
    /// For statements.
    pub async fn sql(&self, needs: Option<&Position>) -> Result<Conn> {
        self.0.open(needs).await
    }

    /// For the binlog.
    pub async fn dump(&self, needs: Option<&Position>) -> Result<wire::Connection> {
        self.0.open(needs).await
    }

    /// For the rows of tables.
    pub async fn tables(&self, needs: Option<&Position>) -> Result<wire::Connection> {
        self.0.open(needs).await
    }
}

#[derive(Debug)]
struct Hosts {
    source: Source,
    patience: Patience,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// The server that was connected to last, by its place in `source.hosts`.
    current: usize,
    /// What the first server was.
    first: Option<Server>,
    /// Since when no server takes the job and not all are merely away.
    refused_since: Option<Instant>,
    /// What each server lacked.
    lacking: HashMap<usize, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Server {
    flavor: Flavor,
    identity: String,
}

/// Why a server does not serve.
enum Refusal {
    /// It does not answer, or not now.
    Away(Error),
    MayPass(Error),
    Definite(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        if error.is_transient() { Refusal::Away(error) } else { Refusal::Definite(error) }
    }
}

impl Hosts {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn open<C: Client>(&self, needs: Option<&Position>) -> Result<C> {
        let (current, count) = (self.memory().current, self.source.hosts.len());
        let mut refusals = Vec::new();
        for at in (current..count).chain(0..current) {
            let address = &self.source.hosts[at];
            match self.open_at(at, address, needs).await {
                Ok(conn) => {
                    if at != current {
                        tracing::info!(from = %self.source.hosts[current], to = %address, "going on at another server");
                    }
                    let mut memory = self.memory();
                    memory.current = at;
                    memory.refused_since = None;
                    memory.lacking.clear();
                    return Ok(conn);
                }
                Err(refusal) => refusals.push(refusal),
            }
        }
        Err(self.refused(refusals))
    }

    async fn open_at<C: Client>(&self, at: usize, address: &Address, needs: Option<&Position>) -> Result<C, Refusal> {
        let fresh = self.source.password_file.as_ref().and_then(|file| Password::read(file).ok());
        let login = Login {
            address,
            username: &self.source.username,
            password: fresh.as_ref().unwrap_or(&self.source.password).reveal(),
            tls: &self.source.tls,
        };
        let first = self.memory().first.clone();
        let mut conn: C = match login.open().await {
            Err(error) if !error.is_transient() && first.is_some() => return Err(Refusal::MayPass(error)),
            opened => opened?,
        };
        if first.is_some() && needs.is_none() {
            return Ok(conn);
        }
        let looking = tokio::time::timeout(CONNECT_LIMIT, self.look_at(at, address, needs, &mut conn));
        looking.await.unwrap_or_else(|_| {
            let seconds = CONNECT_LIMIT.as_secs();
            Err(Error::transient(format!("the source {address} does not answer within {seconds} s")).into())
        })?;
        Ok(conn)
    }

    /// Whether the server is one that has what the job needs.
    async fn look_at(
        &self,
        at: usize,
        address: &Address,
        needs: Option<&Position>,
        conn: &mut impl Session,
    ) -> Result<(), Refusal> {
        let server = ask_server(conn).await?;
        let first = self.memory().first.get_or_insert_with(|| server.clone()).clone();
        let Some(needs) = needs else { return Ok(()) };
        let same = server == first;
        if !same && (needs.gtids.is_none() || server.flavor != first.flavor) {
            return Err(Refusal::Definite(
                Error::definite(format!(
                    "the source {address} is another server ({}) than the one the job reads ({}), and without GTIDs the \
                     job's position {needs} means nothing there",
                    server.identity, first.identity
                ))
                .hint("bring the first server back, or begin a new job (another `name` or `stateDir`)"),
            ));
        }
        match position::serves(conn, server.flavor, needs).await? {
            Serves::Yes => Ok(()),
            Serves::Lacks(lack) => {
                let missing = lack.missing.to_string();
                let mut memory = self.memory();
                if memory.lacking.insert(at, missing.clone()).is_some_and(|before| before != missing) {
                    // It is catching up.
                    memory.refused_since = None;
                }
                Err(Refusal::MayPass(lack.error().context(address)))
            }
        }
    }

    /// What no server's serving means together.
    fn refused(&self, refusals: Vec<Refusal>) -> Error {
        let away = refusals.iter().all(|refusal| matches!(refusal, Refusal::Away(_)));
        let mut definite = refusals.iter().all(|refusal| matches!(refusal, Refusal::Definite(_)));
        let mut memory = self.memory();
        if away {
            memory.refused_since = None;
        } else {
            let since = *memory.refused_since.get_or_insert_with(Instant::now);
            definite |= since.elapsed() >= self.patience.refusal();
        }
        drop(memory);
        let mut errors: Vec<Error> = refusals
            .into_iter()
            .map(|refusal| match refusal {
                Refusal::Away(error) | Refusal::MayPass(error) | Refusal::Definite(error) => error,
            })
            .collect();
        if errors.len() > 1 {
            let list: String = errors.iter().map(|error| format!("\n- {error}")).collect();
            errors = vec![Error::transient(format!("none of source.hosts serves the job:{list}"))];
        }
        let error = errors.pop().unwrap_or_else(|| Error::definite("source.hosts is empty"));
        if definite { error.into_definite() } else { error.into_transient() }
    }
}

async fn ask_server(conn: &mut impl Session) -> Result<Server> {
    let what = "asking which server it is";
    let rows = select(conn, what, "SELECT CONCAT(@@version, ' ', @@version_comment), @@server_id").await?;
    let (version, id) = rows.first().map(|row| (text(row, 0), text(row, 1))).unwrap_or_default();
    if version.to_lowercase().contains("mariadb") {
        // It has no uuid.
        return Ok(Server { flavor: Flavor::Mariadb, identity: format!("server_id {id}") });
    }
    let rows = select(conn, what, "SELECT @@server_uuid").await?;
    let identity = rows.first().map(|row| text(row, 0)).unwrap_or_default();
    Ok(Server { flavor: Flavor::Mysql, identity })
}
