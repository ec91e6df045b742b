//! The embedded store: one SQLite file, owned by one server, served by one thread.
//!
//! Write-ahead log with `synchronous=FULL`: a commit has been synced when it returns. Both are read
//! back at every opening, since a file system that can't do them makes SQLite fall back silently.
//! A lock beside the file keeps a second server out; it goes with the process, so a restart after
//! a crash waits for nothing and the lease's time does not matter here. Its epoch still does: it
//! is what [`settle`](Sqlite::settle) raises.

use std::{
    fs::{File, TryLockError},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::mpsc as blocking,
    thread::JoinHandle,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

use crate::{
    schema,
    types::{
        Acquired, AppendError, Birth, Change, Gather, Lease, Outcome, Position, Record,
        SettleError, Snapshot, StoreError, TailError, Transaction, last_of_each,
    },
};

/// How long a statement waits for someone who looks into the file with a shell of their own.
const BUSY: Duration = Duration::from_secs(2);
/// Pages in the write-ahead log before they move to the file: 16 MB, so that a burst of writes
/// pays for few moves and a restart reads little back.
const CHECKPOINT_PAGES: u32 = 4_000;
/// What the write-ahead log is given on disk before it needs it, in steps, up to what it grows to
/// between two moves and a batch beyond. A sync of what grew a file writes the file system's own
/// log as well, which takes ten times as long as one of what overwrites.
const RESERVE: [u64; 4] = [
    1 << 18,
    1 << 20,
    4 << 20,
    CHECKPOINT_PAGES as u64 * 5 / 4 * 4_120,
];
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
const CACHE_KIB: i64 = 16 * 1024;
/// Records in one piece of a snapshot.
const PIECE: usize = 1_000;

type Job = Box<dyn FnOnce(&mut Database) + Send>;

#[derive(Debug)]
pub(crate) struct Sqlite {
    path: PathBuf,
    jobs: Option<blocking::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    _lock: File,
}

impl Drop for Sqlite {
    /// The lock goes after the connection is closed.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic in there was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// What the thread owns. The connection is dropped when it failed in a way after which its memory
/// of the file is not to be trusted, and opened again at the next use.
struct Database {
    path: PathBuf,
    connection: Option<Connection>,
    /// How long the write-ahead log's file was made.
    reserved: u64,
}

fn failed(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
    move |source| StoreError::Sqlite { doing, source }
}

impl Sqlite {
    pub(crate) async fn open(path: PathBuf) -> Result<(Self, Birth), StoreError> {
        let lock = lock(&path)?;
        let (jobs, queue) = blocking::channel::<Job>();
        let mut database = Database {
            path: path.clone(),
            connection: None,
            reserved: 0,
        };
        let thread = std::thread::Builder::new()
            .name("sqlite".into())
            .spawn(move || {
                while let Ok(job) = queue.recv() {
                    job(&mut database);
                }
            })
            .map_err(|source| StoreError::Lock {
                path: path.clone(),
                source,
            })?;
        let this = Self {
            path,
            jobs: Some(jobs),
            thread: Some(thread),
            _lock: lock,
        };
        let birth = this.call(|database| {
            let birth = migrate(database.open()?)?;
            database.reserve();
            Ok(birth)
        });
        let birth = birth.await??;
        Ok((this, birth))
    }

    async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Database) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |database| {
            // Nobody waits any more: the work was done all the same.
            let _ = answer.send(job(database));
        });
        let jobs = self.jobs.as_ref().ok_or(StoreError::Ended)?;
        jobs.send(job).map_err(|_| StoreError::Ended)?;
        answered.await.map_err(|_| StoreError::Ended)
    }

    pub(crate) async fn load(&self) -> Result<Snapshot, StoreError> {
        let (pieces, records) = mpsc::channel(8);
        let (head, revision) = oneshot::channel();
        let path = self.path.clone();
        // A connection of its own: a snapshot is read beside the writer.
        tokio::task::spawn_blocking(move || {
            let result = connect(&path).and_then(|mut c| read_all(&mut c, head, &pieces));
            if let Err(error) = result {
                let _ = pieces.blocking_send(Err(error));
            }
        });
        let mut snapshot = Snapshot {
            revision: 0,
            records,
        };
        match revision.await {
            Ok(revision) => snapshot.revision = revision,
            Err(_) => return Err(snapshot.next().await.err().unwrap_or(StoreError::Ended)),
        }
        Ok(snapshot)
    }

    pub(crate) async fn position(&self) -> Result<Position, StoreError> {
        self.call(|database| position(database.open()?)).await?
    }

    pub(crate) async fn append(
        &self,
        epoch: u64,
        base: u64,
        batch: Vec<Transaction>,
    ) -> Result<(), AppendError> {
        let answer = self.call(move |database| database.append(epoch, base, &batch));
        // The thread ended with the job in it: what it did to the file is not known.
        answer
            .await
            .unwrap_or_else(|e| Err(AppendError::Unknown(e)))
    }

    pub(crate) async fn settle(&self, epoch: u64, last: u64) -> Result<Outcome, SettleError> {
        let answer = self.call(move |database| database.settle(last)).await;
        let lease = answer
            .and_then(|lease| lease)
            .map_err(|source| SettleError { epoch, source })?;
        Ok(if lease.revision == last {
            Outcome::Committed(lease)
        } else {
            Outcome::Aborted(lease)
        })
    }

    pub(crate) async fn acquire_lease(
        &self,
        holder: &str,
        address: &str,
        _ttl: Duration,
    ) -> Result<Acquired, StoreError> {
        let (holder, address) = (holder.to_owned(), address.to_owned());
        let lease = self.call(move |database| {
            raise(
                database.open()?,
                "UPDATE head SET epoch = epoch + 1, holder = ?1, address = ?2
                 RETURNING epoch, revision",
                &[&holder, &address],
            )
        });
        lease.await?.map(Acquired::Lease)
    }

    pub(crate) async fn renew_lease(&self, epoch: u64, _ttl: Duration) -> Result<bool, StoreError> {
        Ok(self.position().await?.epoch == epoch)
    }

    pub(crate) async fn tail(&self, after: u64, limit: u32) -> Result<Vec<Transaction>, TailError> {
        let answer = self
            .call(move |database| tail(database, after, limit))
            .await;
        answer.unwrap_or_else(|e| Err(TailError::Store(e)))
    }

    pub(crate) async fn heard(&self, patience: Duration) {
        tokio::time::sleep(patience).await;
    }

    pub(crate) async fn trim(&self, epoch: u64, through: u64) -> Result<(), StoreError> {
        self.call(move |database| trim(database.open()?, epoch, through))
            .await?
    }
}

/// Keeps other servers away from the file for as long as this process lives.
fn lock(path: &Path) -> Result<File, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let failed = |source| StoreError::Lock {
        path: path.to_owned(),
        source,
    };
    let file = File::create(name).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path).map_err(failed("open the file"))?;
    let set = failed("set the connection up");
    let read = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0));
    connection
        .busy_timeout(BUSY)
        .and_then(|()| connection.pragma_update(None, "journal_mode", "WAL"))
        .and_then(|()| connection.pragma_update(None, "synchronous", "FULL"))
        .and_then(|()| connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES))
        .and_then(|()| connection.pragma_update(None, "cache_size", -CACHE_KIB))
        .map_err(set)?;
    let journal: String = read("journal_mode").map_err(failed("tell its journal mode"))?;
    if journal != "wal" {
        return Err(StoreError::NotDurable {
            setting: "journal_mode",
            value: journal,
        });
    }
    let synchronous: i64 = connection
        .query_row("PRAGMA synchronous", [], |row| row.get(0))
        .map_err(failed("tell how it syncs"))?;
    if synchronous != 2 {
        return Err(StoreError::NotDurable {
            setting: "synchronous",
            value: synchronous.to_string(),
        });
    }
    Ok(connection)
}

/// Fills a write-ahead log that outgrew what it was given with zeros, up to the next step. They are
/// no frames: SQLite reads the log up to the first frame that its header's salt does not fit, as it
/// does behind frames of an earlier round.
fn reserve(log: &Path, reserved: u64) -> io::Result<u64> {
    if reserved >= RESERVE[RESERVE.len() - 1] {
        return Ok(reserved);
    }
    let length = std::fs::metadata(log)?.len();
    let step = RESERVE.into_iter().find(|step| *step > length);
    let Some(step) = step.filter(|_| length > reserved) else {
        return Ok(reserved.max(length));
    };
    let file = File::options().write(true).open(log)?;
    let filled = (length..step).step_by(ZEROS.len()).try_for_each(|at| {
        let missing = ZEROS.len().min((step - at) as usize);
        file.write_all_at(&ZEROS[..missing], at)
    });
    match filled.and_then(|()| file.sync_all()) {
        Ok(()) => Ok(step),
        // What is left of a full disk is for what has to be written.
        Err(error) => file.set_len(length).and(Err(error)),
    }
}

/// Makes or brings forward the tables, and tells what the store was born with.
fn migrate(connection: &mut Connection) -> Result<Birth, StoreError> {
    let failed = || failed("prepare the tables");
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed())?;
    transaction.execute(schema::META, []).map_err(failed())?;
    let version = schema::version(meta(&transaction, "version")?.as_deref())?;
    for statement in schema::steps_from(version) {
        transaction.execute(statement, []).map_err(failed())?;
    }
    for (name, value) in Birth::rows() {
        transaction
            .execute(
                "INSERT INTO meta VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING",
                [name, &value],
            )
            .map_err(failed())?;
    }
    let id = meta(&transaction, "store")?;
    let birth = Birth::read(id.as_deref(), meta(&transaction, "secret")?)?;
    transaction
        .execute(
            "INSERT INTO meta VALUES ('version', ?1)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            [schema::KNOWN.to_string()],
        )
        .map_err(failed())?;
    transaction.commit().map_err(failed())?;
    Ok(birth)
}

fn meta(connection: &Connection, name: &str) -> Result<Option<String>, StoreError> {
    connection
        .query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| {
            row.get(0)
        })
        .optional()
        .map_err(failed("read the store's version and id"))
}

fn position(connection: &Connection) -> Result<Position, StoreError> {
    let row = |row: &Row| {
        Ok(Position {
            revision: row.get(0)?,
            trimmed: row.get(1)?,
            epoch: row.get(2)?,
            holder: row.get(3)?,
            address: row.get(4)?,
            held: true,
        })
    };
    connection
        .query_row(
            "SELECT revision, trimmed, epoch, holder, address FROM head",
            [],
            row,
        )
        .map_err(failed("read the head"))
}

/// Runs an update of the head that raises the epoch, and tells the lease that came of it.
fn raise(
    connection: &mut Connection,
    update: &str,
    parameters: &[&dyn rusqlite::ToSql],
) -> Result<Lease, StoreError> {
    let row = |row: &Row| {
        Ok(Lease {
            epoch: row.get(0)?,
            revision: row.get(1)?,
        })
    };
    connection
        .query_row(update, parameters, row)
        .map_err(failed("raise the epoch"))
}

fn read_all(
    connection: &mut Connection,
    head: oneshot::Sender<u64>,
    pieces: &mpsc::Sender<Result<Vec<Record>, StoreError>>,
) -> Result<(), StoreError> {
    let failed = || failed("read the resources");
    // A transaction, so that the head and the resources are of one moment.
    let transaction = connection.transaction().map_err(failed())?;
    let _ = head.send(position(&transaction)?.revision);
    let mut statement = transaction
        .prepare("SELECT kind, id, revision, document FROM resources")
        .map_err(failed())?;
    let records = statement
        .query_map([], |row| {
            Ok(Record {
                kind: row.get(0)?,
                id: row.get(1)?,
                revision: row.get(2)?,
                document: row.get(3)?,
            })
        })
        .map_err(failed())?;
    let mut piece = Vec::with_capacity(PIECE);
    for record in records {
        piece.push(record.map_err(failed())?);
        if piece.len() == PIECE {
            let full = std::mem::replace(&mut piece, Vec::with_capacity(PIECE));
            if pieces.blocking_send(Ok(full)).is_err() {
                return Ok(());
            }
        }
    }
    let _ = pieces.blocking_send(Ok(piece));
    Ok(())
}

fn tail(database: &mut Database, after: u64, limit: u32) -> Result<Vec<Transaction>, TailError> {
    let failed = |source| TailError::Store(failed("read the log")(source));
    let connection = database.open().map_err(TailError::Store)?;
    let transaction = connection.transaction().map_err(failed)?;
    let at = position(&transaction).map_err(TailError::Store)?;
    if !at.has_after(after)? {
        return Ok(Vec::new());
    }
    let mut statement = transaction
        .prepare_cached(
            "SELECT revision, kind, id, operation, project, document FROM log
             WHERE revision > ?1 ORDER BY revision, position",
        )
        .map_err(failed)?;
    let mut rows = statement.query([after]).map_err(failed)?;
    let mut tail = Gather::new(limit);
    while let Some(row) = rows.next().map_err(failed)? {
        let change = (|| {
            Ok(Change {
                kind: row.get::<_, String>(1)?.into(),
                id: row.get(2)?,
                project: row.get(4)?,
                document: row.get(5)?,
            })
        })();
        let revision = row.get(0).map_err(failed)?;
        if !tail.take(revision, change.map_err(failed)?) {
            break;
        }
    }
    Ok(tail.transactions)
}

fn trim(connection: &mut Connection, epoch: u64, through: u64) -> Result<(), StoreError> {
    let failed = || failed("trim the log");
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed())?;
    let ours = transaction
        .execute(
            "UPDATE head SET trimmed = ?2 WHERE epoch = ?1 AND trimmed < ?2 AND revision >= ?2",
            params![epoch, through],
        )
        .map_err(failed())?;
    if ours == 1 {
        transaction
            .execute("DELETE FROM log WHERE revision <= ?1", [through])
            .map_err(failed())?;
    }
    transaction.commit().map_err(failed())
}

impl Database {
    fn open(&mut self) -> Result<&mut Connection, StoreError> {
        if self.connection.is_none() {
            self.connection = Some(connect(&self.path)?);
        }
        self.connection.as_mut().ok_or(StoreError::Ended)
    }

    /// Gives the write-ahead log more room when it outgrew what it had; without success, as on a
    /// full disk, not again.
    fn reserve(&mut self) {
        let mut log = self.path.as_os_str().to_owned();
        log.push("-wal");
        self.reserved = match reserve(Path::new(&log), self.reserved) {
            Ok(reserved) => reserved,
            Err(error) => {
                tracing::debug!(%error, "the write-ahead log grows as it is written");
                u64::MAX
            }
        };
    }

    fn append(&mut self, epoch: u64, base: u64, batch: &[Transaction]) -> Result<(), AppendError> {
        let connection = self.open().map_err(AppendError::Aborted)?;
        let written = write(connection, epoch, base, batch);
        if !connection.is_autocommit() && connection.execute_batch("ROLLBACK").is_err() {
            self.connection = None;
        }
        if let Err(AppendError::Unknown(_)) = written {
            self.connection = None;
        }
        if written.is_ok() {
            self.reserve();
        }
        written
    }

    /// After a failed sync the kernel may hold pages as clean that the disk never got. So what the
    /// write-ahead log is read to contain is first moved to the file and synced there.
    fn settle(&mut self, _last: u64) -> Result<Lease, StoreError> {
        self.connection = None;
        let connection = self.open()?;
        let busy: i64 = connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .map_err(failed("move the write-ahead log to the file"))?;
        if busy != 0 {
            return Err(StoreError::Slow(BUSY));
        }
        let lease = raise(
            connection,
            "UPDATE head SET epoch = epoch + 1 RETURNING epoch, revision",
            &[],
        );
        self.reserved = 0;
        self.reserve();
        lease
    }
}

fn write(
    connection: &Connection,
    epoch: u64,
    base: u64,
    batch: &[Transaction],
) -> Result<(), AppendError> {
    let aborted = |source| AppendError::Aborted(failed("write the changes")(source));
    connection
        .execute_batch("BEGIN IMMEDIATE")
        .map_err(aborted)?;
    let ours = connection
        .prepare_cached("UPDATE head SET revision = ?3 WHERE epoch = ?1 AND revision = ?2")
        .and_then(|mut head| head.execute(params![epoch, base, base + batch.len() as u64]))
        .map_err(aborted)?;
    if ours != 1 {
        return Err(AppendError::LostLease { epoch });
    }
    write_log(connection, epoch, batch).map_err(aborted)?;
    write_resources(connection, batch).map_err(aborted)?;
    connection.execute_batch("COMMIT").map_err(|source| {
        // Busy is said before anything is written. Full is said of a frame before the last, which
        // alone makes a commit: the disk took the last one only if nothing failed before. Any
        // other failure may come after it is in the log.
        let definite = matches!(
            source.sqlite_error_code(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DiskFull)
        );
        let source = failed("commit the changes")(source);
        if definite {
            AppendError::Aborted(source)
        } else {
            AppendError::Unknown(source)
        }
    })
}

fn write_log(c: &Connection, epoch: u64, batch: &[Transaction]) -> rusqlite::Result<()> {
    let mut log = c.prepare_cached("INSERT INTO log VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    for transaction in batch {
        for (position, change) in transaction.changes.iter().enumerate() {
            log.execute(params![
                transaction.revision,
                position as u64,
                epoch,
                change.kind,
                change.id,
                change.operation(),
                change.project,
                change.document,
            ])?;
        }
    }
    Ok(())
}

fn write_resources(c: &Connection, batch: &[Transaction]) -> rusqlite::Result<()> {
    let mut put = c.prepare_cached(
        "INSERT INTO resources VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (kind, id) DO UPDATE SET
         project = excluded.project, revision = excluded.revision, document = excluded.document",
    )?;
    let mut delete = c.prepare_cached("DELETE FROM resources WHERE kind = ?1 AND id = ?2")?;
    for (revision, change) in last_of_each(batch) {
        match &change.document {
            Some(document) => put.execute(params![
                change.kind,
                change.id,
                change.project,
                revision,
                document
            ])?,
            None => delete.execute(params![change.kind, change.id])?,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_gets_room_in_steps_and_only_when_it_outgrew_what_it_had() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        std::fs::write(&log, [7; 100]).expect("written");
        let length = || std::fs::metadata(&log).expect("there").len();
        assert_eq!(reserve(&log, 0).expect("room"), RESERVE[0]);
        assert_eq!(length(), RESERVE[0]);
        assert_eq!(
            reserve(&log, RESERVE[0]).expect("nothing to do"),
            RESERVE[0]
        );
        assert_eq!(length(), RESERVE[0]);
        let file = File::options().append(true).open(&log).expect("there");
        file.set_len(RESERVE[0] + 1).expect("grown");
        assert_eq!(reserve(&log, RESERVE[0]).expect("room"), RESERVE[1]);
        assert_eq!(std::fs::read(&log).expect("there")[..100], [7; 100]);
        assert!(reserve(&folder.path().join("none"), 0).is_err());
    }
}
