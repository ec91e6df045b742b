//! Reads the whole store into memory. Documents are parsed on as many threads as there are while
//! the database is still being read.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use store::{Record, Snapshot, StoreError};

use crate::writer::{BadDocument, Decide, Published, Shared, StartError};

/// Pieces that are parsed at once.
const WIDTH: usize = 4;

/// Loads and publishes.
pub(super) async fn load<D: Decide>(shared: &Arc<Shared<D>>) -> Result<(), StartError> {
    let snapshot = shared.store.load().await.map_err(StartError::Store)?;
    let revision = snapshot.revision;
    let pieces = stream::unfold(snapshot, next_piece);
    let parsed = pieces
        .map(|piece| {
            let shared = shared.clone();
            async move {
                let piece = piece.map_err(StartError::Store)?;
                let parsed = tokio::task::spawn_blocking(move || parse(&shared, &piece)).await;
                match parsed {
                    Ok(parsed) => parsed.map_err(StartError::Document),
                    Err(_) => Err(StartError::Store(StoreError::Ended)),
                }
            }
        })
        .buffer_unordered(WIDTH);
    let empty = shared.rules.empty();
    let mut state = parsed
        .try_fold(empty, |mut state, piece| {
            for change in &piece {
                shared.rules.apply(&mut state, change);
            }
            std::future::ready(Ok(state))
        })
        .await?;
    shared.rules.set_revision(&mut state, revision);
    shared.publish(Arc::new(Published {
        state,
        revision,
        transactions: Arc::new([]),
        whole: true,
    }));
    Ok(())
}

async fn next_piece(mut snapshot: Snapshot) -> Option<(Result<Vec<Record>, StoreError>, Snapshot)> {
    Some((snapshot.next().await.transpose()?, snapshot))
}

fn parse<D: Decide>(shared: &Shared<D>, piece: &[Record]) -> Result<Vec<D::Change>, BadDocument> {
    let parse = |r: &Record| shared.rules.decode(&r.kind, &r.id, Some(&r.document));
    piece.iter().map(parse).collect()
}
