//! One connection to PostgreSQL: how it is made, what is checked before it is used, how it ends.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, future::try_join_all, stream::poll_fn};
use tokio::{sync::Notify, task::AbortHandle, time::timeout};
use tokio_postgres::{AsyncMessage, Client, Statement};
use uuid::Uuid;

use super::{SLOW, database::Database, failed};
use crate::types::StoreError;

/// The channel on which writers tell that the log has grown.
pub(super) const CHANNEL: &str = "nucleon_log";

/// A client and the task that moves its bytes. Dropping it closes the socket at once, also when
/// the database has fallen silent.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) statements: Vec<Statement>,
    /// Whether the database knows NOTIFY; some that speak the protocol do not.
    pub(super) notifies: bool,
    pump: AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

/// Gives up on an operation that takes too long. The session it ran on must not be used again.
pub(super) async fn within<T, E: Into<StoreError>>(
    limit: Duration,
    operation: impl Future<Output = Result<T, E>>,
) -> Result<T, StoreError> {
    match timeout(limit, operation).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(StoreError::Slow(limit)),
    }
}

/// What a session is made ready for.
#[derive(Debug)]
pub(super) struct Prepare {
    /// Settings that make it quick; databases that don't know them are asked in vain.
    pub(super) settings: &'static str,
    pub(super) statements: &'static [&'static str],
}

impl Session {
    /// Connects, checks that the database keeps what it acknowledges and that it is still the
    /// store with that id, and prepares statements.
    pub(super) async fn open(
        database: &Database,
        id: Option<Uuid>,
        prepare: &Prepare,
    ) -> Result<Self, StoreError> {
        within(SLOW, async {
            let (client, pump) = connect(database, None).await?;
            let mut this = Self {
                client,
                statements: Vec::new(),
                notifies: false,
                pump,
            };
            this.check_durability().await?;
            if let Some(expected) = id {
                this.check_id(expected).await?;
            }
            this.notifies = this
                .client
                .batch_execute(&format!("NOTIFY {CHANNEL}"))
                .await
                .is_ok();
            let _ = this.client.batch_execute(prepare.settings).await;
            let prepared = prepare.statements.iter();
            let prepared = prepared.map(|text| this.client.prepare(text));
            this.statements = try_join_all(prepared)
                .await
                .map_err(failed("prepare a statement"))?;
            Ok::<_, StoreError>(this)
        })
        .await
    }

    async fn check_durability(&self) -> Result<(), StoreError> {
        let rows = self
            .client
            .query(
                "SELECT name, setting FROM pg_settings
                 WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes')",
                &[],
            )
            .await
            .map_err(failed("tell whether it syncs"))?;
        for row in rows {
            let (name, value): (String, String) = (row.get(0), row.get(1));
            let setting = match name.as_str() {
                "fsync" => "fsync",
                "synchronous_commit" => "synchronous_commit",
                _ => "full_page_writes",
            };
            if value == "off" {
                return Err(StoreError::NotDurable { setting, value });
            }
        }
        Ok(())
    }

    async fn check_id(&self, expected: Uuid) -> Result<(), StoreError> {
        let row = self
            .client
            .query_one("SELECT value FROM meta WHERE name = 'store'", &[])
            .await
            .map_err(failed("tell the store's id"))?;
        let found = read_id(row.get(0))?;
        if found == expected {
            Ok(())
        } else {
            Err(StoreError::OtherStore { found, expected })
        }
    }
}

fn read_id(text: &str) -> Result<Uuid, StoreError> {
    text.parse().map_err(|_| StoreError::Damaged { what: "id" })
}

/// Makes the connection. Notifications, where `heard` wants them, wake it.
async fn connect(
    database: &Database,
    heard: Option<Arc<Notify>>,
) -> Result<(Client, AbortHandle), StoreError> {
    let (client, mut connection) = database.connect().await?;
    let pump = tokio::spawn(async move {
        let mut messages = poll_fn(move |context| connection.poll_message(context));
        while let Some(Ok(message)) = messages.next().await {
            if let (AsyncMessage::Notification(_), Some(heard)) = (message, &heard) {
                heard.notify_one();
            }
        }
    });
    let pump = pump.abort_handle();
    // A writer that dies between its statements must not hold the head's row for long: the next
    // one waits for it. Databases without the setting end such sessions in their own time.
    let _ = client
        .batch_execute("SET idle_in_transaction_session_timeout = 2000")
        .await;
    Ok((client, pump))
}

/// A session that only listens.
#[derive(Debug)]
pub(super) struct Listener {
    client: Client,
    pump: AbortHandle,
    pub(super) heard: Arc<Notify>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

impl Listener {
    pub(super) async fn open(database: &Database) -> Result<Self, StoreError> {
        within(SLOW, async {
            let heard = Arc::new(Notify::new());
            let (client, pump) = connect(database, Some(heard.clone())).await?;
            let this = Self {
                client,
                pump,
                heard,
            };
            this.client
                .batch_execute(&format!("LISTEN {CHANNEL}"))
                .await
                .map_err(failed("listen"))?;
            Ok::<_, StoreError>(this)
        })
        .await
    }

    pub(super) fn is_over(&self) -> bool {
        self.client.is_closed()
    }
}
