//! Appends to a SQLite store and says each revision when it is durable: what the test of power
//! losses records. `append FILE ROUNDS`; each round opens the store anew.

use std::{error::Error, io::Write, time::Duration};

use store::{Acquired, Change, Outcome, Store, Transaction};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("which file?")?;
    let rounds: u64 = arguments.next().ok_or("how many rounds?")?.parse()?;
    for round in 0..rounds {
        let store = Store::open(&format!("sqlite:{file}")).await?;
        let lease = store.acquire_lease("one", "", Duration::ZERO).await?;
        let Acquired::Lease(mut lease) = lease else {
            return Err("the lease is held".into());
        };
        for n in 1..=12 {
            let revision = lease.revision + n;
            store
                .append(lease.epoch, revision - 1, batch(revision))
                .await?;
            say(revision)?;
        }
        // Moves the write-ahead log to the file while the store is in use.
        let outcome = store.settle(lease.epoch, lease.revision + 12).await?;
        let Outcome::Committed(next) = outcome else {
            return Err("what was durable is not there".into());
        };
        lease = next;
        store.trim(lease.epoch, lease.revision / 2).await?;
        store
            .append(lease.epoch, lease.revision, batch(lease.revision + 1))
            .await?;
        say(lease.revision + 1)?;
        // Half of the rounds end without closing anything in order.
        if round % 2 == 1 {
            std::mem::forget(store);
            break;
        }
    }
    Ok(())
}

/// A document of its own, and one that every append changes.
fn batch(revision: u64) -> Vec<Transaction> {
    let document = format!(
        "{revision} {}",
        "x".repeat((revision as usize * 997) % 9_000)
    );
    let change = |id: String| Change {
        kind: "port".into(),
        id,
        project: None,
        document: Some(document.clone()),
    };
    vec![Transaction {
        revision,
        changes: vec![
            change(format!("own-{revision}")),
            change("shared".to_owned()),
        ],
    }]
}

fn say(revision: u64) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{revision}")?;
    out.flush()
}
