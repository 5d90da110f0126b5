//! The store's file: how it is opened, who may write to it, and what happens when it is taken away.
//!
//! # One writer
//! Next to `<job>.db` lies `<job>.lock`. While a process runs the job it holds that file's lock, and a second process is
//! refused, by whatever path it came to the folder. The kernel frees the lock when the process ends, however it ends.
//! Reading (`status`) needs no lock.
//!
//! # When it is on the disk
//! All transactions of all connections go one behind the other into one log, so what a power loss leaves is the state
//! after one of them, and at least after the last that waited for the disk. All do (`synchronous=FULL`), but those that
//! record how far a copy got ([`super::snapshot`]) and those that close an epoch: a start from before such a close finds the
//! intent, and does what it does after a process that was killed there. That is right as long as nothing was done outside that
//! must not be done before the close. Nothing is: whatever the job does at the target, a load, a schema change, a copy, it writes
//! down first, and waits for the disk.
//!
//! # Deleted while the job runs
//! SQLite goes on writing to a file that has no name any more; all of it would be gone with the process, and the next
//! start would begin the job anew. So after every transaction the file's name is looked up. Is it gone, then what the
//! open file holds is written to its place again, and the job stops with an error. Does another file lie there, or is the
//! lock gone, then somebody else may be at work, and the job stops without touching anything.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use super::schema::{self, Failure};
use super::store::Store;
use crate::{Error, Result};

/// Where a store lies, and for a writer what holds it.
pub(super) struct StateFile {
    path: PathBuf,
    /// A writer's; `None` for who only looks.
    held: Option<Held>,
}

struct Held {
    database: FileId,
    lock: File,
    lock_path: PathBuf,
}

/// Device and inode: tells a file from another one of the same name.
type FileId = (u64, u64);

impl Store {
    /// Opens or creates the job's store and takes its lock.
    ///
    /// # Errors
    /// Definite: another process runs the job; the folder or file cannot be used, is damaged, or belongs to another
    /// job; a newer version.
    pub fn open(dir: &Path, job: &str) -> Result<Store> {
        let unusable = |error| unusable(dir, error);
        fs::create_dir_all(dir).map_err(unusable)?;
        let lock_path = dir.join(format!("{job}.lock"));
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(unusable)?;
        take(&lock).map_err(|error| match error {
            TryLockError::WouldBlock => Error::definite(format!("job {job} is running already"))
                .hint(format!("another process holds {}; stop it, or use another `stateDir`", lock_path.display())),
            TryLockError::Error(error) => cannot_lock(dir, error),
        })?;
        let path = path(dir, job);
        let connection = open_for_writing(&path).map_err(|failure| explain(&path, failure))?;
        belongs_to(&connection, &path, job)?;
        let database = id(&path).map_err(unusable)?;
        let held = Some(Held { database, lock, lock_path });
        Ok(Store { connection: Mutex::new(connection), file: StateFile { path, held } })
    }

    /// Opens an existing store to look at; `None` when the job has none yet, or has only begun to make one.
    ///
    /// # Errors
    /// Definite: the file cannot be read, is damaged, belongs to another job, or is of another version.
    pub fn read(dir: &Path, job: &str) -> Result<Option<Store>> {
        let path = path(dir, job);
        if !path.exists() {
            return Ok(None);
        }
        let Some(connection) = open_for_reading(&path).map_err(|failure| explain(&path, failure))? else {
            return Ok(None);
        };
        belongs_to(&connection, &path, job)?;
        Ok(Some(Store { connection: Mutex::new(connection), file: StateFile { path, held: None } }))
    }

    /// Opens an existing store to change what a running job does not rely on: its dead letters. Takes no lock.
    ///
    /// # Errors
    /// As [`Store::read`]; also when the file cannot be written.
    pub fn amend(dir: &Path, job: &str) -> Result<Option<Store>> {
        let path = path(dir, job);
        if !path.exists() {
            return Ok(None);
        }
        let Some(connection) = open_for_amending(&path).map_err(|failure| explain(&path, failure))? else {
            return Ok(None);
        };
        belongs_to(&connection, &path, job)?;
        Ok(Some(Store { connection: Mutex::new(connection), file: StateFile { path, held: None } }))
    }

    /// Whether a process holds the job's lock at this moment.
    pub fn is_running(dir: &Path, job: &str) -> bool {
        File::open(dir.join(format!("{job}.lock")))
            .is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

impl StateFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// To be called after a transaction: what was written is only kept if its file still has its name.
    pub(super) fn still_there(&self, connection: &Connection) -> Result<()> {
        let Some(held) = &self.held else { return Ok(()) };
        let shown = self.path.display();
        match id(&self.path) {
            Ok(found) if found == held.database => {}
            Ok(_) => {
                return Err(Error::definite(format!("another file was put in the place of {shown} while the job ran"))
                    .hint("stop whatever else uses this `stateDir`; the job is where that file says it is"));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let gone = Error::definite(format!("the state store {shown} was deleted while the job ran"));
                return Err(match self.write_again(connection) {
                    Ok(()) => gone.hint("it has been written to its place again: start the job, and it goes on"),
                    Err(why) => gone.caused_by(why).hint(
                        "it could not be written to its place again: begin a new job (another `name`), which copies the tables again",
                    ),
                });
            }
            Err(error) => return Err(unusable(&self.path, error)),
        }
        let locked = held.lock.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
        match (locked, id(&held.lock_path)) {
            (Ok(ours), Ok(found)) if ours == found => Ok(()),
            _ => Err(Error::definite(format!("{} was deleted while the job ran", held.lock_path.display())).hint(
                "it keeps a second process from running the job: make sure that there is none, and start the job",
            )),
        }
    }

    /// Writes what the connection sees to the file's old place.
    fn write_again(&self, connection: &Connection) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        // Closing must not touch the log that belongs to the name: it is soon another file's.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let draft = self.path.with_extension("db.again");
        remove_if_there(&draft)?;
        connection.execute("VACUUM INTO ?1", [draft.to_string_lossy()])?;
        // A log of the lost file would be taken for the new one's.
        for extension in ["db-wal", "db-shm"] {
            remove_if_there(&self.path.with_extension(extension))?;
        }
        fs::hard_link(&draft, &self.path)?;
        remove_if_there(&draft)?;
        Ok(())
    }
}

/// What a failure of SQLite means for the job.
pub(super) fn failed(path: &Path, error: rusqlite::Error) -> Error {
    let shown = path.display();
    let (what, hint) = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => (
            format!("no room for the state store {shown}"),
            "make room on its disk; the job goes on from its checkpoint when started again",
        ),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => return damaged(path, error.to_string()),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            return cannot_write(path).caused_by(error);
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            format!("the state store {shown} is locked by another program"),
            "close what has it open for writing; the job goes on from its checkpoint when started again",
        ),
        _ => (
            format!("the state store {shown} failed"),
            "is its disk full or failing? The job goes on from its checkpoint when started again",
        ),
    };
    Error::definite(what).caused_by(error).hint(hint)
}

fn cannot_write(path: &Path) -> Error {
    Error::definite(format!("cannot write to the state store {}", path.display())).hint(
        "this user must be able to write to the file and to its folder, `stateDir`; the job goes on from its checkpoint when started again",
    )
}

pub(super) fn damaged(path: &Path, why: String) -> Error {
    Error::definite(format!("the state store {} is damaged", path.display())).caused_by(why).hint(
        "bring it back from a backup that is not older than the source's binlogs, or begin a new job (another `name`), which copies the tables again",
    )
}

fn path(dir: &Path, job: &str) -> PathBuf {
    dir.join(format!("{job}.db"))
}

fn id(path: &Path) -> io::Result<FileId> {
    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn explain(path: &Path, failure: Failure) -> Error {
    match failure {
        Failure::Sqlite(error) => failed(path, error),
        Failure::Refused(error) => error.context(path.display()),
    }
}

fn open_for_writing(path: &Path) -> Result<Connection, Failure> {
    let mut connection = Connection::open(path)?;
    // SQLite opens a file that it may not write to all the same, and would tell at the first checkpoint.
    if connection.is_readonly("main")? {
        return Err(Failure::Refused(cannot_write(path)));
    }
    // An epoch writes seven pages, and who meets the end of the log waits for the disk twice more: with SQLite's own 1000
    // pages that were almost one epoch of a hundred.
    connection.execute_batch(
        "PRAGMA busy_timeout=5000; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=4000",
    )?;
    // A few pages; a damaged one is better met here than in the middle of the job.
    let check: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if check != "ok" {
        return Err(Failure::Refused(damaged(path, check)));
    }
    schema::migrate(&mut connection)?;
    Ok(connection)
}

fn open_for_amending(path: &Path) -> Result<Option<Connection>, Failure> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    if connection.is_readonly("main")? {
        return Err(Failure::Refused(cannot_write(path)));
    }
    connection.execute_batch("PRAGMA busy_timeout=5000; PRAGMA synchronous=FULL")?;
    Ok(schema::readable(&connection)?.then_some(connection))
}

fn open_for_reading(path: &Path) -> Result<Option<Connection>, Failure> {
    let open = |name: &str, flags: OpenFlags| -> Result<(Connection, bool), Failure> {
        let connection = Connection::open_with_flags(name, OpenFlags::SQLITE_OPEN_READ_ONLY | flags)?;
        connection.execute_batch("PRAGMA busy_timeout=5000; PRAGMA query_only=ON")?;
        let readable = schema::readable(&connection)?;
        Ok((connection, readable))
    };
    let opened = match open(&path.to_string_lossy(), OpenFlags::empty()) {
        // Who may not write to the folder cannot make the files that come with a log; where there is no log, and so no
        // writer, none are needed.
        Err(Failure::Sqlite(error))
            if matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
                && !path.with_extension("db-wal").exists() =>
        {
            open(&format!("file:{}?immutable=1", escaped(path)), OpenFlags::SQLITE_OPEN_URI)
        }
        opened => opened,
    }?;
    let (connection, readable) = opened;
    Ok(readable.then_some(connection))
}

/// A path as a part of SQLite's URIs.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}

/// A copied file, under another job's name, would make that job go on where it never was.
fn belongs_to(connection: &Connection, path: &Path, job: &str) -> Result<()> {
    let owner = connection.query_row("SELECT name FROM job", [], |row| row.get::<_, String>(0)).optional();
    match owner.map_err(|error| failed(path, error))? {
        Some(owner) if owner != job => Err(Error::definite(format!(
            "the state store {} belongs to job {owner}, this is job {job}",
            path.display()
        ))
        .hint("a job's state cannot be copied; remove the file, and the job begins anew")),
        _ => Ok(()),
    }
}

fn unusable(dir: &Path, error: io::Error) -> Error {
    Error::definite(format!("cannot use the state folder {}", dir.display()))
        .caused_by(error)
        .hint("`stateDir` in the job file must name a folder that this user may write to")
}

fn cannot_lock(dir: &Path, error: io::Error) -> Error {
    Error::definite(format!("cannot lock a file in the state folder {}", dir.display()))
        .caused_by(error)
        .hint("its file system has no locks, so nothing would keep a second process from running the job: `stateDir` must name a folder on a local disk, or on a network file system with locks")
}

/// Takes the lock. `is_running` holds it for a moment too, so one refusal means nothing.
fn take(lock: &File) -> Result<(), TryLockError> {
    for _ in 0..20 {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(25)),
            taken => return taken,
        }
    }
    lock.try_lock()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mysql::position::Position;
    use crate::schema::TableName;
    use crate::state::{Checkpoint, DefinitionChanges, Identity, LetterChanges, PreparedChanges, Stage};

    #[test]
    fn a_second_process_of_the_same_job_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = Store::open(folder.path(), "shop").unwrap();
        assert!(Store::is_running(folder.path(), "shop"));
        let error = Store::open(folder.path(), "shop").err().unwrap();
        assert!(error.to_string().starts_with("job shop is running already"), "{error}");
        assert!(Store::open(folder.path(), "crm").is_ok(), "another job of the same folder may run");
        drop(first);
        assert!(!Store::is_running(folder.path(), "shop"));
        assert!(Store::open(folder.path(), "shop").is_ok());
    }

    #[test]
    fn who_only_looks_keeps_nobody_from_starting() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path(), "shop").unwrap());
        let looking = std::sync::atomic::AtomicBool::new(true);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while looking.load(std::sync::atomic::Ordering::Relaxed) {
                    Store::is_running(folder.path(), "shop");
                }
            });
            let opened: Vec<_> = (0..50).map(|_| Store::open(folder.path(), "shop").map(drop)).collect();
            looking.store(false, std::sync::atomic::Ordering::Relaxed);
            assert!(opened.iter().all(Result::is_ok), "{opened:?}");
        });
    }

    #[test]
    fn a_store_of_a_newer_program_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path(), "shop").unwrap());
        let connection = Connection::open(folder.path().join("shop.db")).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        drop(connection);
        let error = Store::open(folder.path(), "shop").err().unwrap();
        assert!(error.to_string().contains("the state store has version 99"), "{error}");
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state");
        fs::write(&file, "").unwrap();
        let error = Store::open(&file, "shop").err().unwrap();
        assert!(error.to_string().contains("stateDir"), "{error}");
    }

    fn checkpoint(epoch: u64) -> Checkpoint {
        let position = Position { file: "binlog.000001".into(), offset: 100 * epoch, gtids: None };
        Checkpoint { epoch, ..Checkpoint::at(position) }
    }

    #[test]
    fn a_link_to_the_folder_leads_to_the_same_lock() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let _first = Store::open(&real, "shop").unwrap();
        let error = Store::open(&link, "shop").err().unwrap();
        assert!(error.to_string().starts_with("job shop is running already"), "{error}");
    }

    #[test]
    fn a_deleted_file_is_written_again_with_all_that_was_in_it() {
        for delete in [
            // One file, as a mistaken `rm` does, and the whole folder.
            |dir: &Path| fs::remove_file(dir.join("shop.db")).unwrap(),
            |dir: &Path| fs::remove_dir_all(dir).unwrap(),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let dir = folder.path().join("state");
            let store = Store::open(&dir, "shop").unwrap();
            store.close_epoch(&checkpoint(1), &LetterChanges::default(), &PreparedChanges::default()).unwrap();
            delete(&dir);
            let error =
                store.close_epoch(&checkpoint(2), &LetterChanges::default(), &PreparedChanges::default()).unwrap_err();
            assert!(error.to_string().contains("was deleted while the job ran"), "{error}");
            drop(store);
            let store = Store::open(&dir, "shop").unwrap();
            assert_eq!(store.checkpoint().unwrap(), Some(checkpoint(2)));
            store.close_epoch(&checkpoint(3), &LetterChanges::default(), &PreparedChanges::default()).unwrap();
        }
    }

    #[test]
    fn a_file_in_the_place_of_the_deleted_one_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), "shop").unwrap();
        fs::write(folder.path().join("other"), "another job's").unwrap();
        fs::rename(folder.path().join("other"), folder.path().join("shop.db")).unwrap();
        let error =
            store.close_epoch(&checkpoint(1), &LetterChanges::default(), &PreparedChanges::default()).unwrap_err();
        assert!(error.to_string().contains("another file was put in the place of"), "{error}");
        assert_eq!(fs::read_to_string(folder.path().join("shop.db")).unwrap(), "another job's");
    }

    #[test]
    fn a_deleted_lock_stops_the_job() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), "shop").unwrap();
        fs::remove_file(folder.path().join("shop.lock")).unwrap();
        let second = Store::open(folder.path(), "shop").unwrap();
        let error =
            store.close_epoch(&checkpoint(1), &LetterChanges::default(), &PreparedChanges::default()).unwrap_err();
        assert!(error.to_string().contains("shop.lock was deleted while the job ran"), "{error}");
        second.close_epoch(&checkpoint(1), &LetterChanges::default(), &PreparedChanges::default()).unwrap();
    }

    #[test]
    fn the_state_of_another_job_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity {
            name: "shop".into(),
            run_id: "0".into(),
            server: "uuid".into(),
            stage: Stage::Full,
            start: checkpoint(0).position,
        };
        Store::open(folder.path(), "shop").unwrap().begin(&identity, &DefinitionChanges::default()).unwrap();
        fs::copy(folder.path().join("shop.db"), folder.path().join("crm.db")).unwrap();
        for error in [Store::open(folder.path(), "crm").err(), Store::read(folder.path(), "crm").err()] {
            let error = error.unwrap().to_string();
            assert!(error.contains("belongs to job shop, this is job crm"), "{error}");
        }
    }

    #[test]
    fn a_damaged_file_is_told_from_a_missing_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.db");
        {
            let store = Store::open(folder.path(), "shop").unwrap();
            let tables: Vec<_> = (0..400).map(|number| (TableName::new("d", format!("table{number}")), 1)).collect();
            store.add_snapshot_tables(&tables).unwrap();
        }
        let whole = fs::read(&path).unwrap();
        let mut scratched = whole.clone();
        let middle = whole.len() / 2;
        scratched[middle..middle + 6000].fill(0xA5);
        for damaged in
            [b"not a database, but long enough to be looked at".repeat(100), scratched, whole[..middle].to_vec()]
        {
            fs::write(&path, damaged).unwrap();
            let error = Store::open(folder.path(), "shop").err().unwrap().to_string();
            assert!(error.contains("is damaged") && error.contains("begin a new job"), "{error}");
        }
    }

    #[test]
    fn there_is_nothing_to_look_at_before_the_first_table_is_made() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Store::read(folder.path(), "shop").unwrap().is_none());
        fs::write(folder.path().join("shop.db"), "").unwrap();
        assert!(Store::read(folder.path(), "shop").unwrap().is_none());
    }

    #[test]
    fn who_looks_while_the_job_starts_sees_nothing_or_a_store() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let looking = std::sync::atomic::AtomicBool::new(true);
            std::thread::scope(|scope| {
                let looks = scope.spawn(|| {
                    while looking.load(std::sync::atomic::Ordering::Relaxed) {
                        if let Some(store) = Store::read(folder.path(), "shop")? {
                            store.identity()?;
                        }
                    }
                    Ok::<_, Error>(())
                });
                drop(Store::open(folder.path(), "shop").unwrap());
                looking.store(false, std::sync::atomic::Ordering::Relaxed);
                looks.join().unwrap().unwrap();
            });
        }
    }

    #[test]
    fn a_file_system_without_locks_is_named_as_what_is_wrong() {
        let error = cannot_lock(Path::new("/mnt/share"), io::Error::from(io::ErrorKind::Unsupported)).to_string();
        assert!(error.contains("/mnt/share") && error.contains("has no locks"), "{error}");
    }
}
