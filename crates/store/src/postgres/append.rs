//! An append: the statements, the rows, and what a failure in it means.

use futures::join;
use tokio_postgres::{error::SqlState, types::ToSql};

use super::{
    SLOW, failed,
    session::{CHANNEL, Prepare, Session, within},
};
use crate::types::{AppendError, StoreError, Transaction, last_of_each};

type Parameter<'a> = &'a (dyn ToSql + Sync);

/// A prepared statement's plan is kept, and may have been made while the tables were small or
/// nothing was known of them: it would read all resources through to delete one of them, for as
/// long as the database has not counted anew. An append only ever looks rows up.
pub(super) const APPEND: Prepare = Prepare {
    settings: "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off",
    statements: &STATEMENTS,
};

/// The statements of an append, in the order in which a writing session prepares them.
const STATEMENTS: [&str; 4] = [
    "UPDATE head SET revision = $3 WHERE one = 1 AND epoch = $1 AND revision = $2",
    "INSERT INTO log (revision, position, epoch, kind, id, operation, project, document)
     SELECT r, p, $1, k, i, o, j, d FROM unnest($2::bigint[], $3::bigint[], $4::text[],
     $5::text[], $6::text[], $7::text[], $8::text[]) AS t (r, p, k, i, o, j, d)",
    "INSERT INTO resources (kind, id, project, revision, document)
     SELECT k, i, j, r, d FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[],
     $5::text[]) AS t (k, i, j, r, d)
     ON CONFLICT (kind, id) DO UPDATE SET project = excluded.project,
     revision = excluded.revision, document = excluded.document",
    "DELETE FROM resources USING unnest($1::text[], $2::text[]) AS t (k, i)
     WHERE kind = t.k AND id = t.i",
];

/// Whether the database gave a transaction up in favour of others: nothing was written.
pub(super) fn is_serialisation(error: &StoreError) -> bool {
    let StoreError::Postgres { source, .. } = error else {
        return false;
    };
    matches!(
        source.code(),
        Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED)
    )
}

/// A batch as the columns that the statements of an append take.
#[derive(Default)]
pub(super) struct Rows<'a> {
    last: i64,
    log: Log<'a>,
    put: Put<'a>,
    delete: (Vec<&'a str>, Vec<&'a str>),
}

#[derive(Default)]
struct Log<'a> {
    revision: Vec<i64>,
    position: Vec<i64>,
    kind: Vec<&'a str>,
    id: Vec<&'a str>,
    operation: Vec<&'static str>,
    project: Vec<Option<&'a str>>,
    document: Vec<Option<&'a str>>,
}

#[derive(Default)]
struct Put<'a> {
    kind: Vec<&'a str>,
    id: Vec<&'a str>,
    project: Vec<Option<&'a str>>,
    revision: Vec<i64>,
    document: Vec<&'a str>,
}

impl<'a> Rows<'a> {
    pub(super) fn of(batch: &'a [Transaction]) -> Self {
        let mut rows = Self::default();
        for transaction in batch {
            rows.last = transaction.revision as i64;
            for (position, change) in transaction.changes.iter().enumerate() {
                rows.log.revision.push(rows.last);
                rows.log.position.push(position as i64);
                rows.log.kind.push(&change.kind);
                rows.log.id.push(&change.id);
                rows.log.operation.push(change.operation());
                rows.log.project.push(change.project.as_deref());
                rows.log.document.push(change.document.as_deref());
            }
        }
        for (revision, change) in last_of_each(batch) {
            if let Some(document) = &change.document {
                rows.put.kind.push(&change.kind);
                rows.put.id.push(&change.id);
                rows.put.project.push(change.project.as_deref());
                rows.put.revision.push(revision as i64);
                rows.put.document.push(document);
            } else {
                rows.delete.0.push(&change.kind);
                rows.delete.1.push(&change.id);
            }
        }
        rows
    }
}

pub(super) async fn write(
    session: &Session,
    epoch: u64,
    base: u64,
    rows: &Rows<'_>,
) -> Result<(), AppendError> {
    let ours = within(SLOW, write_rows(session, epoch as i64, base as i64, rows))
        .await
        .map_err(AppendError::Aborted);
    if ours? != 1 {
        return Err(AppendError::LostLease { epoch });
    }
    let commit = async {
        let commit = session.client.batch_execute("COMMIT").await;
        commit.map_err(failed("commit the changes"))
    };
    within(SLOW, commit).await.map_err(|error| {
        if is_serialisation(&error) {
            AppendError::Aborted(error)
        } else {
            AppendError::Unknown(error)
        }
    })
}

/// Sends everything but the commit in one go, and tells whether the head was where it should be.
async fn write_rows(
    session: &Session,
    epoch: i64,
    base: i64,
    rows: &Rows<'_>,
) -> Result<u64, StoreError> {
    let [head, log, put, delete] = session.statements.as_slice() else {
        return Err(StoreError::Ended);
    };
    let client = &session.client;
    let begin = if session.notifies {
        format!("BEGIN; NOTIFY {CHANNEL}")
    } else {
        "BEGIN".to_owned()
    };
    let (l, p, d) = (&rows.log, &rows.put, &rows.delete);
    let move_head: [Parameter; 3] = [&epoch, &base, &rows.last];
    let write_log: [Parameter; 8] = [
        &epoch,
        &l.revision,
        &l.position,
        &l.kind,
        &l.id,
        &l.operation,
        &l.project,
        &l.document,
    ];
    let put_resources: [Parameter; 5] = [&p.kind, &p.id, &p.project, &p.revision, &p.document];
    let delete_resources: [Parameter; 2] = [&d.0, &d.1];
    // The rows go out behind the condition without waiting for it; when it does not hold nothing
    // of this is committed.
    let sent = join!(
        client.batch_execute(&begin),
        client.execute(head, &move_head),
        client.execute(log, &write_log),
        client.execute(put, &put_resources),
        client.execute(delete, &delete_resources),
    );
    let doing = || failed("write the changes");
    sent.0.map_err(doing())?;
    let ours = sent.1.map_err(doing())?;
    sent.2.map_err(doing())?;
    sent.3.map_err(doing())?;
    sent.4.map_err(doing())?;
    Ok(ours)
}
