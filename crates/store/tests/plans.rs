//! What PostgreSQL does for an append: it looks rows up, and never reads a table through.

use std::{ops::Range, time::Duration};

use store::{Acquired, Change, Lease, Store, Transaction, rig::Server};

const TTL: Duration = Duration::from_secs(600);
const OTHERS: u64 = 20_000;
const DELETED: u64 = 500;
/// In one append, as clients at once bring them about.
const TOGETHER: u64 = 10;

/// Something done to one row in each transaction, and all of them in one append.
async fn append(store: &Store, lease: &mut Lease, ids: Range<u64>, document: Option<&str>) {
    let base = lease.revision;
    let batch = ids.enumerate().map(|(at, id)| Transaction {
        revision: base + 1 + at as u64,
        changes: vec![Change {
            kind: "port".into(),
            id: format!("{id:08}"),
            project: None,
            document: document.map(str::to_owned),
        }],
    });
    let batch: Vec<Transaction> = batch.collect();
    lease.revision += batch.len() as u64;
    let appended = store.append(lease.epoch, base, batch).await;
    appended.expect("appended");
}

#[tokio::test]
async fn a_deletion_reads_its_own_row_however_many_others_there_are() {
    let server = Server::start();
    let store = Store::open(&server.url()).await.expect("the store opens");
    let Ok(Acquired::Lease(mut lease)) = store.acquire_lease("one", "", TTL).await else {
        panic!("nobody else writes");
    };
    // A database that keeps a statement's plan makes it while the tables are small, and turns to it
    // when plans for what is asked seem dear to it.
    for id in 0..20 {
        append(&store, &mut lease, id..id + 1, Some("{}")).await;
        append(&store, &mut lease, id..id + 1, None).await;
    }
    append(&store, &mut lease, 0..OTHERS, Some("{}")).await;
    for first in 0..DELETED / TOGETHER {
        let first = first * TOGETHER;
        append(&store, &mut lease, first..first + TOGETHER, None).await;
    }
    drop(store);
    // Counts are told when a session ends, and a moment later.
    let counts = "SELECT seq_tup_read, idx_scan, n_tup_del FROM pg_stat_user_tables
                  WHERE relname = 'resources'";
    let deleted = (20 + DELETED).to_string();
    for _ in 0..100 {
        let said = server.psql(counts);
        let [read, looked_up, gone] = said.trim().split('|').collect::<Vec<_>>()[..] else {
            panic!("three counts: {said}");
        };
        if gone == deleted {
            let looked_up: u64 = looked_up.parse().expect("a number");
            assert_eq!(read, "0", "rows that were read to find others");
            assert!(looked_up >= 20 + DELETED, "{said}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nothing was deleted: {}", server.psql(counts));
}
