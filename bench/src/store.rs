//! The bare store: appends of one batch after the other, as the writer makes them.

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use bench::Figures;
use store::{Acquired, Change, Store, Transaction, rig};

/// A resource's document is about so long.
const DOCUMENT: usize = 1_000;
const BATCHES: [u64; 5] = [1, 4, 16, 64, 256];
const LOADED: u64 = 100_000;

pub(crate) async fn run(time: Duration, folder: &Path) -> io::Result<()> {
    let folder = tempfile::tempdir_in(folder)?;
    let file = folder.path().join("store.db");
    appends("sqlite", &format!("sqlite:{}", file.display()), time).await?;
    let server = rig::Server::start();
    appends("postgres", &server.url(), time).await
}

async fn appends(name: &str, url: &str, time: Duration) -> io::Result<()> {
    let store = Store::open(url).await.map_err(io::Error::other)?;
    let lease = store
        .acquire_lease("bench", "", Duration::from_secs(3_600))
        .await;
    let Acquired::Lease(lease) = lease.map_err(io::Error::other)? else {
        return Err(io::Error::other("the lease is held"));
    };
    let mut revision = lease.revision;
    for size in BATCHES {
        let (begun, mut times) = (Instant::now(), Vec::new());
        while begun.elapsed() < time {
            let batch = (1..=size).map(|n| transaction(revision + n)).collect();
            let asked = Instant::now();
            store
                .append(lease.epoch, revision, batch)
                .await
                .map_err(io::Error::other)?;
            times.push(asked.elapsed());
            revision += size;
        }
        let figures = Figures::of(times, begun.elapsed(), None);
        let commands = figures.rate() * size as f64;
        println!("{name:<9} batches of {size:>3}: {figures}  {commands:>7.0} commands/s");
    }
    while revision < LOADED {
        let size = 1_000.min(LOADED - revision);
        let batch = (1..=size).map(|n| transaction(revision + n)).collect();
        store
            .append(lease.epoch, revision, batch)
            .await
            .map_err(io::Error::other)?;
        revision += size;
    }
    let begun = Instant::now();
    let mut snapshot = store.load().await.map_err(io::Error::other)?;
    let mut loaded = 0;
    while let Some(piece) = snapshot.next().await.map_err(io::Error::other)? {
        loaded += piece.len();
    }
    let took = begun.elapsed();
    println!(
        "{name:<9} load of {loaded} documents: {:.2} s",
        took.as_secs_f64()
    );
    Ok(())
}

fn transaction(revision: u64) -> Transaction {
    // Ids are random in truth; this spreads them as widely.
    let id = u128::from(revision).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    Transaction {
        revision,
        changes: vec![Change {
            kind: "port".into(),
            id: format!("{id:032x}"),
            project: Some("demo".into()),
            document: Some(format!("{{\"filler\":\"{}\"}}", "x".repeat(DOCUMENT))),
        }],
    }
}
