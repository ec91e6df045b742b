//! The shared store: PostgreSQL, or a database that speaks its protocol.
//!
//! Plain SQL: rows, conditions and transactions, no advisory locks. An append is two round trips.
//! The first begins, moves the head and writes all rows, each table in one statement however many
//! changes there are; the second commits. So a failure before the second is a definite abort, and
//! only a failure inside it leaves the outcome unknown. The update of the head's row is what keeps
//! writers apart: it locks the row until the end of the transaction, and whoever takes the lease
//! waits for it.

mod append;
mod database;
mod session;

use std::time::Duration;

use futures::TryStreamExt;
use tokio::{
    sync::{Mutex, MutexGuard, mpsc},
    time::timeout,
};
use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use self::{
    append::{APPEND, Rows, is_serialisation, write},
    database::Database,
    session::{Listener, Prepare, Session, within},
};
use crate::{
    schema,
    types::{
        Acquired, AppendError, Birth, Change, Gather, Lease, Outcome, Position, Record,
        SettleError, Snapshot, StoreError, TailError, Transaction,
    },
};

/// How long anything may take before the database counts as away.
const SLOW: Duration = Duration::from_secs(5);
/// How often an append is tried again that the database gave up to serialise others.
const TRIES: u32 = 5;
const PIECE: usize = 1_000;

/// Milliseconds since 1970 by the database's clock, the only one that leases look at.
const NOW: &str = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";

const NOTHING: Prepare = Prepare {
    settings: "",
    statements: &[],
};
const TAIL: Prepare = Prepare {
    settings: "",
    statements: &["SELECT revision, kind, id, project, document FROM log
     WHERE revision > $1 ORDER BY revision, position LIMIT $2"],
};

#[derive(Debug)]
pub(crate) struct Postgres {
    database: Database,
    id: Uuid,
    /// Appends and nothing else, so that they wait for nobody.
    writing: Mutex<Option<Session>>,
    /// The lease, and trimming.
    holding: Mutex<Option<Session>>,
    /// Positions and the tail.
    reading: Mutex<Option<Session>>,
    listening: Mutex<Option<Listener>>,
}

fn failed(doing: &'static str) -> impl FnOnce(tokio_postgres::Error) -> StoreError {
    move |source| StoreError::Postgres { doing, source }
}

impl Postgres {
    pub(crate) async fn open(url: &str) -> Result<(Self, Birth), StoreError> {
        let database = Database::parse(url)?;
        let mut session = Session::open(&database, None, &NOTHING).await?;
        let birth = migrate(&mut session).await?;
        let this = Self {
            database,
            id: birth.id,
            writing: Mutex::default(),
            holding: Mutex::default(),
            reading: Mutex::new(None),
            listening: Mutex::default(),
        };
        Ok((this, birth))
    }

    /// The session in a slot, opened anew when it is gone.
    async fn session<'a>(
        &self,
        slot: &'a mut MutexGuard<'_, Option<Session>>,
        prepare: &Prepare,
    ) -> Result<&'a mut Session, StoreError> {
        if slot.as_ref().is_none_or(|s| s.client.is_closed()) {
            **slot = None;
            **slot = Some(Session::open(&self.database, Some(self.id), prepare).await?);
        }
        slot.as_mut().ok_or(StoreError::Ended)
    }

    /// One statement on the session that holds the lease. A session that failed is closed: what
    /// it was doing must not go on behind our back.
    async fn hold(
        &self,
        doing: &'static str,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let mut slot = self.holding.lock().await;
        for _ in 1..TRIES {
            let session = self.session(&mut slot, &NOTHING).await?;
            let query = async {
                let rows = session.client.query(statement, parameters).await;
                rows.map_err(failed(doing))
            };
            match within(SLOW, query).await {
                Err(error) if is_serialisation(&error) => {}
                Err(error) => {
                    *slot = None;
                    return Err(error);
                }
                Ok(rows) => return Ok(rows),
            }
        }
        Err(StoreError::Slow(SLOW))
    }

    pub(crate) async fn load(&self) -> Result<Snapshot, StoreError> {
        let session = Session::open(&self.database, Some(self.id), &NOTHING).await?;
        let begin = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY";
        session
            .client
            .batch_execute(begin)
            .await
            .map_err(failed("begin to read"))?;
        let revision = read_position(&session).await?.revision;
        let (pieces, records) = mpsc::channel(8);
        tokio::spawn(async move {
            if let Err(error) = read_all(&session, &pieces).await {
                let _ = pieces.send(Err(error)).await;
            }
        });
        Ok(Snapshot { revision, records })
    }

    pub(crate) async fn position(&self) -> Result<Position, StoreError> {
        let mut slot = self.reading.lock().await;
        let session = self.session(&mut slot, &TAIL).await?;
        let position = within(SLOW, read_position(session)).await;
        if position.is_err() {
            *slot = None;
        }
        position
    }

    pub(crate) async fn append(
        &self,
        epoch: u64,
        base: u64,
        batch: Vec<Transaction>,
    ) -> Result<(), AppendError> {
        let mut slot = self.writing.lock().await;
        let rows = Rows::of(&batch);
        for _ in 1..TRIES {
            let session = self
                .session(&mut slot, &APPEND)
                .await
                .map_err(AppendError::Aborted)?;
            match write(session, epoch, base, &rows).await {
                Ok(()) => return Ok(()),
                Err(AppendError::Aborted(error))
                    if is_serialisation(&error)
                        && session.client.batch_execute("ROLLBACK").await.is_ok() => {}
                Err(error) => {
                    // Closing the socket is what makes an abort definite: without a commit the
                    // database rolls back.
                    *slot = None;
                    return Err(error);
                }
            }
        }
        Err(AppendError::Aborted(StoreError::Slow(SLOW)))
    }

    pub(crate) async fn settle(&self, epoch: u64, last: u64) -> Result<Outcome, SettleError> {
        let settled = async {
            // The row's lock makes this wait for a commit that is still under way.
            let raised = self
                .hold(
                    "raise the epoch",
                    "UPDATE head SET epoch = epoch + 1 WHERE one = 1 AND epoch = $1
                     RETURNING epoch, revision",
                    &[&(epoch as i64)],
                )
                .await?;
            if let [row] = raised.as_slice() {
                let lease = lease_of(row);
                return Ok(if lease.revision == last {
                    Outcome::Committed(lease)
                } else {
                    Outcome::Aborted(lease)
                });
            }
            let wrote = self
                .hold(
                    "find the changes in the log",
                    "SELECT epoch FROM log WHERE revision = $1 UNION ALL
                     SELECT 0 FROM head WHERE trimmed < $1",
                    &[&(last as i64)],
                )
                .await?;
            let committed = wrote.iter().any(|row| row.get::<_, i64>(0) == epoch as i64);
            Ok(Outcome::Deposed {
                committed: (!wrote.is_empty()).then_some(committed),
            })
        };
        settled
            .await
            .map_err(|source| SettleError { epoch, source })
    }

    pub(crate) async fn acquire_lease(
        &self,
        holder: &str,
        address: &str,
        ttl: Duration,
    ) -> Result<Acquired, StoreError> {
        let rows = self
            .hold(
                "take the lease",
                &format!(
                    "UPDATE head SET epoch = epoch + 1, holder = $1, address = $2,
                     expires = {NOW} + $3 WHERE one = 1 AND expires < {NOW}
                     RETURNING epoch, revision"
                ),
                &[&holder, &address, &(ttl.as_millis() as i64)],
            )
            .await?;
        match rows.as_slice() {
            [row] => Ok(Acquired::Lease(lease_of(row))),
            _ => self.position().await.map(Acquired::Held),
        }
    }

    pub(crate) async fn renew_lease(&self, epoch: u64, ttl: Duration) -> Result<bool, StoreError> {
        let rows = self
            .hold(
                "renew the lease",
                &format!(
                    "UPDATE head SET expires = {NOW} + $2 WHERE one = 1 AND epoch = $1
                     RETURNING epoch"
                ),
                &[&(epoch as i64), &(ttl.as_millis() as i64)],
            )
            .await?;
        Ok(!rows.is_empty())
    }

    pub(crate) async fn tail(&self, after: u64, limit: u32) -> Result<Vec<Transaction>, TailError> {
        let mut slot = self.reading.lock().await;
        let session = self
            .session(&mut slot, &TAIL)
            .await
            .map_err(TailError::Store)?;
        let tail = match within(SLOW, read_tail(session, after, limit)).await {
            Ok(tail) => tail,
            Err(error) => {
                *slot = None;
                return Err(TailError::Store(error));
            }
        };
        // Revisions count on one by one: a gap means that the log was trimmed in between.
        let follows = tail.first().is_none_or(|first| first.revision == after + 1);
        if !tail.is_empty() && follows {
            return Ok(tail);
        }
        let position = read_position(session).await.map_err(TailError::Store)?;
        position.has_after(after).map(|_| Vec::new())
    }

    pub(crate) async fn heard(&self, patience: Duration) {
        let wait = async {
            let mut slot = self.listening.lock().await;
            if slot.as_ref().is_none_or(Listener::is_over) {
                *slot = Listener::open(&self.database).await.ok();
            }
            match slot.as_ref() {
                Some(listener) => listener.heard.notified().await,
                None => std::future::pending().await,
            }
        };
        // Hearing nothing is no failure: whoever waits looks for himself now.
        let _ = timeout(patience, wait).await;
    }

    pub(crate) async fn trim(&self, epoch: u64, through: u64) -> Result<(), StoreError> {
        let through = through as i64;
        let ours = self
            .hold(
                "note how far the log is trimmed",
                "UPDATE head SET trimmed = $2 WHERE one = 1 AND epoch = $1 AND revision >= $2
                 RETURNING trimmed",
                &[&(epoch as i64), &through],
            )
            .await?;
        if !ours.is_empty() {
            let delete = "DELETE FROM log WHERE revision <= $1";
            self.hold("trim the log", delete, &[&through]).await?;
        }
        Ok(())
    }
}

fn lease_of(row: &Row) -> Lease {
    Lease {
        epoch: row.get::<_, i64>(0) as u64,
        revision: row.get::<_, i64>(1) as u64,
    }
}

async fn migrate(session: &mut Session) -> Result<Birth, StoreError> {
    let failed = || failed("prepare the tables");
    // Two servers that start at once on an empty database meet here: one of them finds the name
    // taken and tries again.
    for _ in 1..TRIES {
        match session.client.batch_execute(schema::META).await {
            Ok(()) => break,
            Err(error) if error.code().is_some() => {}
            Err(error) => return Err(failed()(error)),
        }
    }
    let client = &mut session.client;
    let seed = "INSERT INTO meta VALUES ('version', '0') ON CONFLICT (name) DO NOTHING";
    client.batch_execute(seed).await.map_err(failed())?;
    let transaction = client.transaction().await.map_err(failed())?;
    let row = transaction
        .query_one(
            "SELECT value FROM meta WHERE name = 'version' FOR UPDATE",
            &[],
        )
        .await
        .map_err(failed())?;
    for statement in schema::steps_from(schema::version(row.get(0))?) {
        transaction
            .batch_execute(statement)
            .await
            .map_err(failed())?;
    }
    for (name, value) in Birth::rows() {
        let seed = "INSERT INTO meta VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
        transaction
            .execute(seed, &[&name, &value])
            .await
            .map_err(failed())?;
    }
    let version = schema::KNOWN.to_string();
    transaction
        .execute(
            "UPDATE meta SET value = $1 WHERE name = 'version'",
            &[&version],
        )
        .await
        .map_err(failed())?;
    let read = "SELECT (SELECT value FROM meta WHERE name = 'store'),
                       (SELECT value FROM meta WHERE name = 'secret')";
    let row = transaction.query_one(read, &[]).await.map_err(failed())?;
    transaction.commit().await.map_err(failed())?;
    Birth::read(row.get(0), row.get(1))
}

async fn read_position(session: &Session) -> Result<Position, StoreError> {
    let query =
        format!("SELECT revision, trimmed, epoch, holder, address, expires >= {NOW} FROM head");
    let row = session
        .client
        .query_one(&query, &[])
        .await
        .map_err(failed("read the head"))?;
    let number = |column| row.get::<_, i64>(column) as u64;
    Ok(Position {
        revision: number(0),
        trimmed: number(1),
        epoch: number(2),
        holder: row.get(3),
        address: row.get(4),
        held: row.get(5),
    })
}

async fn read_all(
    session: &Session,
    pieces: &mpsc::Sender<Result<Vec<Record>, StoreError>>,
) -> Result<(), StoreError> {
    let failed = || failed("read the resources");
    let none: [&(dyn ToSql + Sync); 0] = [];
    let rows = session
        .client
        .query_raw("SELECT kind, id, revision, document FROM resources", none)
        .await
        .map_err(failed())?;
    let mut chunks = std::pin::pin!(rows.try_chunks(PIECE));
    while let Some(chunk) = chunks.try_next().await.map_err(|e| failed()(e.1))? {
        let piece = chunk.iter().map(|row| Record {
            kind: row.get(0),
            id: row.get(1),
            revision: row.get::<_, i64>(2) as u64,
            document: row.get(3),
        });
        if pieces.send(Ok(piece.collect())).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn read_tail(
    session: &Session,
    after: u64,
    limit: u32,
) -> Result<Vec<Transaction>, StoreError> {
    let statement = session.statements.first().ok_or(StoreError::Ended)?;
    // A transaction that the limit cuts in two is left for the next time, unless it is the first.
    let mut limit = i64::from(limit) + 1;
    loop {
        let rows = session
            .client
            .query(statement, &[&(after as i64), &limit])
            .await
            .map_err(failed("read the log"))?;
        let cut = rows.len() as i64 == limit;
        let mut gather = Gather::new(u32::MAX);
        for row in &rows {
            let change = Change {
                kind: row.get::<_, String>(1).into(),
                id: row.get(2),
                project: row.get(3),
                document: row.get(4),
            };
            gather.take(row.get::<_, i64>(0) as u64, change);
        }
        let mut tail = gather.transactions;
        if cut {
            tail.pop();
        }
        if !cut || !tail.is_empty() {
            return Ok(tail);
        }
        limit *= 8;
    }
}
