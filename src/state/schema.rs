//! The store's tables, and the steps from one version of them to the next.

use rusqlite::Connection;

use crate::{Error, Result};

/// One step a version; a store of version `n` has had the first `n` steps.
const STEPS: &[&str] = &[
    "
    CREATE TABLE job (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        name TEXT NOT NULL,
        run_id TEXT NOT NULL,
        server TEXT NOT NULL,          -- the source's flavor and server id or uuid
        stage TEXT NOT NULL,
        start TEXT NOT NULL            -- JSON Position at which the incremental stage begins
    ) STRICT;
    CREATE TABLE source_table (
        database TEXT NOT NULL,
        name TEXT NOT NULL,
        since TEXT NOT NULL,           -- JSON Position from which the definition holds
        definition TEXT NOT NULL,      -- JSON schema::Table
        PRIMARY KEY (database, name, since)
    ) STRICT;
    CREATE TABLE checkpoint (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        epoch INTEGER NOT NULL,
        position TEXT NOT NULL,
        committed_at INTEGER NOT NULL, -- microseconds since 1970, the source's clock
        saved_at INTEGER NOT NULL,     -- microseconds since 1970, ours
        inserts INTEGER NOT NULL,
        updates INTEGER NOT NULL,
        deletes INTEGER NOT NULL,
        loaded INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE intent (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        epoch INTEGER NOT NULL,
        begin_position TEXT NOT NULL,
        end_position TEXT NOT NULL
    ) STRICT;
    CREATE TABLE load (                -- loads whose fate may be open
        label TEXT PRIMARY KEY,
        database TEXT NOT NULL
    ) STRICT;
    CREATE TABLE snapshot_table (
        database TEXT NOT NULL,
        name TEXT NOT NULL,
        estimated INTEGER NOT NULL,
        planned INTEGER NOT NULL,      -- 1: every chunk of the table is in snapshot_chunk
        PRIMARY KEY (database, name)
    ) STRICT;
    CREATE TABLE snapshot_chunk (
        database TEXT NOT NULL,
        name TEXT NOT NULL,
        number INTEGER NOT NULL,
        bounds TEXT NOT NULL,          -- JSON mysql::snapshot::Chunk
        rows INTEGER,                  -- NULL: not yet in the target
        PRIMARY KEY (database, name, number)
    ) STRICT;
",
    "
    CREATE TABLE dead_letter (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        database TEXT NOT NULL,        -- the table as at the target
        name TEXT NOT NULL,
        key TEXT NOT NULL,             -- JSON list of the key's cells
        deletes INTEGER NOT NULL,      -- 1: the row was to be deleted
        state TEXT NOT NULL,           -- open, retry, superseded, resolved
        column_name TEXT,
        reason TEXT NOT NULL,
        begin_position TEXT NOT NULL,  -- JSON Positions between which the change is in the log
        end_position TEXT NOT NULL,
        refused_at INTEGER NOT NULL,   -- microseconds since 1970, ours
        settled_at INTEGER,
        tries INTEGER NOT NULL,        -- retries that were asked for and have ended
        shape TEXT NOT NULL,           -- JSON LetterShape: how to read the body
        body BLOB NOT NULL,
        digest TEXT NOT NULL,          -- of shape and body
        UNIQUE (database, name, key, begin_position, digest)
    ) STRICT;
    CREATE INDEX live_dead_letter ON dead_letter (database, name, key) WHERE state IN ('open', 'retry');
    CREATE INDEX asked_dead_letter ON dead_letter (id) WHERE state = 'retry';
",
    "
    CREATE TABLE xa (                  -- XA transactions that are prepared at the checkpoint
        number INTEGER PRIMARY KEY,
        name TEXT NOT NULL             -- X'…',X'…',format
    ) STRICT;
    CREATE TABLE xa_rows (             -- their rows; also those of transactions whose prepare is behind the checkpoint
        number INTEGER NOT NULL,
        part INTEGER NOT NULL,
        rows BLOB NOT NULL,            -- mysql::binlog::stored, cut anywhere
        PRIMARY KEY (number, part)
    ) STRICT;
",
    "
    CREATE TABLE pace (                -- there is a row while the pause between epochs is widened
        id INTEGER PRIMARY KEY CHECK (id = 1),
        pause_ms INTEGER NOT NULL,
        reason TEXT NOT NULL,
        since INTEGER NOT NULL         -- microseconds since 1970, ours
    ) STRICT;
",
    "
    CREATE TABLE setting (             -- parameters that differ from the job file; `paused`: 1
        key TEXT PRIMARY KEY,
        value REAL NOT NULL
    ) STRICT;
",
    "
    CREATE TABLE row_hash_table (      -- tables without a key
        database TEXT NOT NULL,
        name TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0, -- how often the copy was begun
        copied_at TEXT,                -- JSON Position before which the log's rows are in
        begin_position TEXT,           -- JSON Position where the epoch began whose rows were numbered last
        base INTEGER NOT NULL DEFAULT 0,
        next INTEGER NOT NULL DEFAULT 0,
        open INTEGER NOT NULL DEFAULT 0, -- 1: pieces of a transaction went out, and not its end
        PRIMARY KEY (database, name)
    ) STRICT;
    CREATE TABLE row_hash_victim (     -- which rows that epoch's deletes remove
        database TEXT NOT NULL,
        name TEXT NOT NULL,
        hash BLOB NOT NULL,            -- 16 bytes, big-endian
        ordinal INTEGER NOT NULL,
        copy INTEGER NOT NULL,
        PRIMARY KEY (database, name, hash, ordinal)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE row_hash_form (       -- what of the job file is a part of the hashes
        id INTEGER PRIMARY KEY CHECK (id = 1),
        form TEXT NOT NULL
    ) STRICT;
    CREATE TABLE left_out (            -- tables that match and have no key (noKeyTables: skip)
        database TEXT NOT NULL,
        name TEXT NOT NULL,
        PRIMARY KEY (database, name)
    ) STRICT;
",
    super::verify_run::TABLES,
    super::correction::TABLES,
    "
    -- JSON state::AtTarget; NULL: as the mapping of the definition has it
    ALTER TABLE source_table ADD COLUMN at_target TEXT;
    CREATE TABLE job_definitions (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        since TEXT NOT NULL,           -- JSON Position behind the last statement that changed any of them
        selection TEXT,                -- JSON state::Selection; NULL: not known
        history TEXT                   -- JSON, what mysql::history remembers besides the tables
    ) STRICT;
    CREATE TABLE other_table (
        database TEXT NOT NULL,
        name TEXT NOT NULL,
        kind TEXT NOT NULL,            -- passed: in the source, its rows are not replicated; left: in the target, its source is gone
        PRIMARY KEY (database, name, kind)
    ) STRICT;
    CREATE TABLE schema_change (       -- there is a row while one is under way
        id INTEGER PRIMARY KEY CHECK (id = 1),
        position TEXT NOT NULL,        -- JSON Position behind the statement
        statement TEXT NOT NULL,
        steps TEXT NOT NULL,           -- JSON, what is done at the target
        tables TEXT NOT NULL,          -- JSON list of the target's tables that it works on
        done INTEGER NOT NULL,         -- steps that are done
        since INTEGER NOT NULL         -- microseconds since 1970, ours
    ) STRICT;
    CREATE TABLE schema_change_count (
        kind TEXT NOT NULL,            -- as in the job file: addColumn
        outcome TEXT NOT NULL,         -- applied, ignored, warned
        number INTEGER NOT NULL,
        PRIMARY KEY (kind, outcome)
    ) STRICT;
",
    "
    CREATE TABLE joining (             -- tables that are copied while the log is followed
        database TEXT NOT NULL,        -- as at the source
        name TEXT NOT NULL,
        copy TEXT NOT NULL,            -- JSON state::Join
        mark TEXT,                     -- the copy's table at the target; NULL: it has not begun to take the other's place
        PRIMARY KEY (database, name)
    ) STRICT;
    CREATE TABLE join_request (        -- copies that were asked for and have not begun
        database TEXT NOT NULL,
        name TEXT NOT NULL,
        kind TEXT NOT NULL,            -- new: the table is not the job's yet; again: it is
        PRIMARY KEY (database, name)
    ) STRICT;
",
    "
    -- JSON Position behind everything that the full copy's SELECTs may have seen; NULL: not known, or of no concern any more
    ALTER TABLE snapshot_table ADD COLUMN read_until TEXT;
    -- why the full copy left the table to a copy beside the stream; NULL: it did not
    ALTER TABLE snapshot_table ADD COLUMN given_up TEXT;
",
    super::lag::TABLES,
    super::verification::TABLES,
    super::row_hash::COPIES,
];

/// Brings a store to this program's version.
///
/// # Errors
/// Definite when the store was written by a newer program.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), Failure> {
    let version = version(connection)?;
    if version == STEPS.len() {
        return Ok(());
    }
    // All at once: whoever looks meanwhile sees the old version or the new one.
    let transaction = connection.transaction()?;
    for step in &STEPS[version..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", STEPS.len() as u32)?;
    transaction.commit()?;
    Ok(())
}

/// Whether there is anything to read: `false` for a store whose first step has not been done yet.
///
/// # Errors
/// Definite when the store is of a newer or an older version than this program's.
pub(super) fn readable(connection: &Connection) -> Result<bool, Failure> {
    match version(connection)? {
        0 => Ok(false),
        version if version < STEPS.len() => Err(Failure::Refused(
            Error::definite(format!(
                "the state store has version {version}, this program reads version {}",
                STEPS.len()
            ))
            .hint(
                "it is brought up to date when this towpath runs the job; until then ask the towpath that runs it now",
            ),
        )),
        _ => Ok(true),
    }
}

/// Why a store is no use.
pub(super) enum Failure {
    Sqlite(rusqlite::Error),
    /// With its reason and what to do.
    Refused(Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Sqlite(error)
    }
}

fn version(connection: &Connection) -> Result<usize, Failure> {
    let version = connection.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0))? as usize;
    if version > STEPS.len() {
        return Err(Failure::Refused(
            Error::definite(format!(
                "the state store has version {version}, this program knows versions up to {}",
                STEPS.len()
            ))
            .hint("run the job with the newer towpath that wrote it"),
        ));
    }
    Ok(version)
}
