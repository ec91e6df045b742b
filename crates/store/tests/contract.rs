//! What every store promises, tried on SQLite and on PostgreSQL alike.

use std::{collections::BTreeMap, time::Duration};

use proptest::{
    collection::vec,
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use store::{
    Acquired, AppendError, Change, Lease, Outcome, Record, Store, StoreError, TailError,
    Transaction, rig::Server,
};
use tempfile::TempDir;

const TTL: Duration = Duration::from_millis(600);
const PATIENCE: Duration = Duration::from_secs(10);

/// A kind of store, and what has to live as long as it is used.
enum Ground {
    Sqlite(TempDir),
    Postgres(Box<Server>),
}

impl Ground {
    fn both() -> [Self; 2] {
        [
            Self::Sqlite(tempfile::tempdir().expect("a folder")),
            Self::Postgres(Box::new(Server::start())),
        ]
    }

    fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => format!("sqlite:{}", folder.path().join("store.db").display()),
            Self::Postgres(server) => server.url(),
        }
    }

    async fn open(&self) -> Store {
        Store::open(&self.url()).await.expect("the store opens")
    }
}

fn put(kind: &'static str, id: &str, document: &str) -> Change {
    Change {
        kind: kind.into(),
        id: id.into(),
        project: Some("demo".into()),
        document: Some(document.into()),
    }
}

fn delete(kind: &'static str, id: &str) -> Change {
    Change {
        kind: kind.into(),
        id: id.into(),
        project: None,
        document: None,
    }
}

fn transaction(revision: u64, changes: &[Change]) -> Transaction {
    Transaction {
        revision,
        changes: changes.to_vec(),
    }
}

async fn lease(store: &Store) -> Lease {
    lease_for(store, "one")
        .await
        .expect("nobody holds the lease")
}

async fn lease_for(store: &Store, holder: &str) -> Option<Lease> {
    match store
        .acquire_lease(holder, "http://127.0.0.1:1", TTL)
        .await
        .expect("the lease")
    {
        Acquired::Lease(lease) => Some(lease),
        Acquired::Held(_) => None,
    }
}

type Contents = BTreeMap<(String, String), (u64, String)>;

async fn contents(store: &Store) -> (u64, Contents) {
    let mut snapshot = store.load().await.expect("a snapshot");
    let mut all = BTreeMap::new();
    while let Some(piece) = snapshot.next().await.expect("a piece") {
        for Record {
            kind,
            id,
            revision,
            document,
        } in piece
        {
            assert!(
                all.insert((kind, id), (revision, document)).is_none(),
                "a key comes once"
            );
        }
    }
    (snapshot.revision, all)
}

fn entry(kind: &str, id: &str, revision: u64, document: &str) -> ((String, String), (u64, String)) {
    ((kind.into(), id.into()), (revision, document.into()))
}

#[tokio::test]
async fn what_was_appended_is_there_after_a_restart_and_in_the_log() {
    for ground in Ground::both() {
        let store = ground.open().await;
        let id = store.id();
        let lease = lease(&store).await;
        assert_eq!(lease.revision, 0);
        let batch = vec![
            transaction(
                1,
                &[
                    put("network", "n", r#"{"v":1,"name":"é\"'"}"#),
                    put("port", "p", "{}"),
                ],
            ),
            transaction(2, &[put("port", "p", r#"{"v":1}"#), put("port", "q", "{}")]),
            transaction(3, &[delete("port", "q"), delete("port", "never there")]),
        ];
        store
            .append(lease.epoch, 0, batch.clone())
            .await
            .expect("appended");
        let more = vec![transaction(4, &[delete("network", "n")])];
        store
            .append(lease.epoch, 3, more.clone())
            .await
            .expect("appended");
        assert_eq!(
            store.tail(0, 100).await.expect("the log"),
            [batch.clone(), more.clone()].concat()
        );
        assert_eq!(store.tail(3, 100).await.expect("the log"), more);
        assert_eq!(store.tail(4, 100).await.expect("the log"), vec![]);
        // Whole transactions, however small the limit.
        let some = store.tail(0, 1).await.expect("the log");
        assert!(
            !some.is_empty() && [batch, more].concat().starts_with(&some),
            "{some:?}"
        );
        drop(store);

        let store = ground.open().await;
        assert_eq!(store.id(), id);
        let (revision, all) = contents(&store).await;
        assert_eq!(revision, 4);
        assert_eq!(all, BTreeMap::from([entry("port", "p", 2, r#"{"v":1}"#)]));
    }
}

#[tokio::test]
async fn a_batch_that_does_not_count_on_or_is_empty_is_not_written() {
    for ground in Ground::both() {
        let store = ground.open().await;
        let lease = lease(&store).await;
        for bad in [
            transaction(2, &[put("port", "p", "{}")]),
            transaction(1, &[]),
        ] {
            let error = store.append(lease.epoch, 0, vec![bad]).await;
            assert!(matches!(
                error,
                Err(AppendError::Aborted(StoreError::Revisions { base: 0 }))
            ));
        }
        assert_eq!(contents(&store).await, (0, BTreeMap::new()));
    }
}

#[tokio::test]
async fn a_writer_of_an_older_epoch_or_another_past_writes_nothing() {
    for ground in Ground::both() {
        let store = ground.open().await;
        let old = lease(&store).await;
        store.release_lease(old.epoch).await.expect("released");
        tokio::time::sleep(Duration::from_millis(5)).await;
        let new = lease_for(&store, "two")
            .await
            .expect("the lease was given up");
        assert!(new.epoch > old.epoch);
        let batch = || vec![transaction(1, &[put("port", "p", "{}")])];
        let error = store.append(old.epoch, 0, batch()).await;
        assert!(
            matches!(error, Err(AppendError::LostLease { .. })),
            "{error:?}"
        );
        assert!(!store.renew_lease(old.epoch, TTL).await.expect("an answer"));
        // The right epoch with another idea of what was last is refused as well.
        let ahead = vec![transaction(8, &[put("port", "p", "{}")])];
        let error = store.append(new.epoch, 7, ahead).await;
        assert!(
            matches!(error, Err(AppendError::LostLease { .. })),
            "{error:?}"
        );
        assert_eq!(contents(&store).await, (0, BTreeMap::new()));
        assert!(store.renew_lease(new.epoch, TTL).await.expect("an answer"));
        store
            .append(new.epoch, 0, batch())
            .await
            .expect("the new writer writes");
    }
}

#[tokio::test]
async fn the_log_is_trimmed_and_says_so() {
    for ground in Ground::both() {
        let store = ground.open().await;
        let lease = lease(&store).await;
        let batch = (1..=10).map(|n| transaction(n, &[put("port", &n.to_string(), "{}")]));
        store
            .append(lease.epoch, 0, batch.collect())
            .await
            .expect("appended");
        store.trim(lease.epoch, 4).await.expect("trimmed");
        // An older epoch, and a revision yet to come, trim nothing.
        store.trim(lease.epoch - 1, 6).await.expect("an answer");
        store.trim(lease.epoch, 99).await.expect("an answer");
        assert_eq!(store.tail(4, 100).await.expect("the log").len(), 6);
        let error = store.tail(3, 100).await;
        assert!(
            matches!(
                error,
                Err(TailError::Trimmed {
                    after: 3,
                    trimmed: 4
                })
            ),
            "{error:?}"
        );
        let error = store.tail(11, 100).await;
        assert!(
            matches!(
                error,
                Err(TailError::Behind {
                    after: 11,
                    revision: 10
                })
            ),
            "{error:?}"
        );
        assert_eq!(contents(&store).await.1.len(), 10);
        assert_eq!(store.position().await.expect("a position").trimmed, 4);
    }
}

#[tokio::test]
async fn a_mark_tells_a_revision_from_that_of_another_history() {
    let mut marks = Vec::new();
    for ground in Ground::both() {
        let store = ground.open().await;
        let lease = lease(&store).await;
        let ports = [put("port", "p", "{}"), put("port", "q", "{}")];
        let batch = [
            transaction(1, &ports),
            transaction(2, &[put("port", "p", r#"{"v":1}"#)]),
            transaction(3, &[delete("port", "p")]),
        ];
        store
            .append(lease.epoch, 0, batch.to_vec())
            .await
            .expect("appended");
        let mark = async |revision| store.mark(revision).await.expect("an answer");
        assert_eq!((mark(0).await, mark(4).await), (None, None));
        let of_each = [mark(1).await, mark(2).await, mark(3).await];
        drop(store);
        let store = ground.open().await;
        let again = [
            store.mark(1).await,
            store.mark(2).await,
            store.mark(3).await,
        ];
        assert_eq!(again.map(|mark| mark.expect("an answer")), of_each);
        store.trim(lease.epoch, 1).await.expect("trimmed");
        assert_eq!(store.mark(1).await.expect("an answer"), None);
        marks.push(of_each.map(|mark| mark.expect("it is in the log")));
    }
    assert_eq!(marks[0], marks[1], "wherever it is kept");
    assert!(marks[0][0] != marks[0][1] && marks[0][1] != marks[0][2]);

    let ground = Ground::Sqlite(tempfile::tempdir().expect("a folder"));
    let store = ground.open().await;
    let lease = lease(&store).await;
    let other = [transaction(
        1,
        &[put("port", "p", "{}"), put("port", "r", "{}")],
    )];
    store
        .append(lease.epoch, 0, other.to_vec())
        .await
        .expect("appended");
    assert_ne!(
        store.mark(1).await.expect("an answer").as_ref(),
        Some(&marks[0][0])
    );
}

#[tokio::test]
async fn settling_tells_what_was_written_and_raises_the_epoch() {
    for ground in Ground::both() {
        let store = ground.open().await;
        let first = lease(&store).await;
        let batch = vec![transaction(1, &[put("port", "p", "{}")])];
        store.append(first.epoch, 0, batch).await.expect("appended");
        let Outcome::Committed(second) = store.settle(first.epoch, 1).await.expect("settled")
        else {
            panic!("the batch is there");
        };
        assert_eq!((second.epoch, second.revision), (first.epoch + 1, 1));
        let Outcome::Aborted(third) = store.settle(second.epoch, 2).await.expect("settled") else {
            panic!("the batch is not there");
        };
        assert_eq!((third.epoch, third.revision), (second.epoch + 1, 1));
        let late = vec![transaction(2, &[put("port", "p", "{}")])];
        let error = store.append(first.epoch, 1, late).await;
        assert!(
            matches!(error, Err(AppendError::LostLease { .. })),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn tables_of_a_newer_server_are_left_alone() {
    let ground = Ground::Sqlite(tempfile::tempdir().expect("a folder"));
    let Ground::Sqlite(folder) = &ground else {
        unreachable!("made above")
    };
    drop(ground.open().await);
    let file = rusqlite::Connection::open(folder.path().join("store.db")).expect("the file");
    file.execute("UPDATE meta SET value = '99' WHERE name = 'version'", [])
        .expect("updated");
    drop(file);
    let error = Store::open(&ground.url()).await.expect_err("too new");
    assert!(
        matches!(error, StoreError::TooNew { found: 99, .. }),
        "{error}"
    );

    let server = Server::start();
    drop(Store::open(&server.url()).await.expect("the store opens"));
    server.psql("UPDATE meta SET value = '99' WHERE name = 'version'");
    let error = Store::open(&server.url()).await.expect_err("too new");
    assert!(
        matches!(error, StoreError::TooNew { found: 99, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_url_that_names_no_store_is_refused() {
    for url in [
        "",
        "sqlite:",
        "mysql://x",
        "store.db",
        "postgres://[",
        "sqlite:/no/such/folder/f",
    ] {
        let error = Store::open(url).await.expect_err("no store");
        assert!(
            matches!(
                error,
                StoreError::Url(_) | StoreError::PostgresUrl(_) | StoreError::Lock { .. }
            ),
            "{url}: {error}"
        );
    }
}

#[tokio::test]
async fn a_file_belongs_to_one_server() {
    let ground = Ground::Sqlite(tempfile::tempdir().expect("a folder"));
    let store = ground.open().await;
    let error = Store::open(&ground.url()).await.expect_err("in use");
    assert!(matches!(error, StoreError::InUse(_)), "{error}");
    drop(store);
    ground.open().await;
}

#[tokio::test]
async fn a_lease_is_taken_over_when_it_runs_out_and_not_before() {
    let server = Server::start();
    let (one, two) = (
        Store::open(&server.url()).await.expect("opens"),
        Store::open(&server.url()).await.expect("opens"),
    );
    assert_eq!(one.id(), two.id());
    let held = lease_for(&one, "one").await.expect("the lease is free");
    let Acquired::Held(position) = two.acquire_lease("two", "", TTL).await.expect("an answer")
    else {
        panic!("the lease is held");
    };
    assert_eq!((position.holder.as_str(), position.held), ("one", true));
    assert_eq!(position.address, "http://127.0.0.1:1");
    // Renewed, it outlives its first term.
    for _ in 0..4 {
        tokio::time::sleep(TTL / 3).await;
        assert!(one.renew_lease(held.epoch, TTL).await.expect("renewed"));
        assert_eq!(lease_for(&two, "two").await, None);
    }
    let begun = std::time::Instant::now();
    let taken = loop {
        if let Some(lease) = lease_for(&two, "two").await {
            break lease;
        }
        assert!(begun.elapsed() < PATIENCE, "the lease never runs out");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(begun.elapsed() >= TTL / 2, "taken over too soon");
    assert!(taken.epoch > held.epoch);
    assert!(!one.renew_lease(held.epoch, TTL).await.expect("an answer"));
}

#[tokio::test]
async fn two_servers_that_are_born_at_once_agree() {
    let server = Server::start();
    let url = server.url();
    let born = futures::future::join_all((0..6).map(|_| Store::open(&url))).await;
    let ids: Vec<_> = born
        .into_iter()
        .map(|store| store.expect("opens").id())
        .collect();
    assert!(ids.iter().all(|id| id == &ids[0]), "{ids:?}");
}

#[tokio::test]
async fn a_follower_hears_of_an_append_long_before_its_patience_ends() {
    let server = Server::start();
    let (writer, follower) = (
        Store::open(&server.url()).await.expect("opens"),
        Store::open(&server.url()).await.expect("opens"),
    );
    let lease = lease(&writer).await;
    // The first wait makes the listener's connection.
    follower.heard(Duration::from_millis(300)).await;
    let begun = std::time::Instant::now();
    let batch = vec![transaction(1, &[put("port", "p", "{}")])];
    let (appended, ()) = tokio::join!(
        writer.append(lease.epoch, 0, batch),
        follower.heard(PATIENCE)
    );
    appended.expect("appended");
    assert!(begun.elapsed() < PATIENCE / 2, "nothing was heard");
    assert_eq!(follower.tail(0, 10).await.expect("the log").len(), 1);
}

#[tokio::test]
async fn a_database_that_does_not_sync_is_refused() {
    let server = Server::start();
    for setting in ["synchronous_commit", "fsync", "full_page_writes"] {
        server.psql(&format!("ALTER SYSTEM SET {setting} = off"));
        server.psql("SELECT pg_reload_conf()");
        let begun = std::time::Instant::now();
        loop {
            match Store::open(&server.url()).await {
                Err(StoreError::NotDurable {
                    setting: named,
                    value,
                }) => {
                    assert_eq!((named, value.as_str()), (setting, "off"));
                    break;
                }
                other => assert!(begun.elapsed() < PATIENCE, "{setting}: {other:?}"),
            }
        }
        server.psql(&format!("ALTER SYSTEM RESET {setting}"));
        server.psql("SELECT pg_reload_conf()");
    }
}

/// Any history, whatever its batches, leaves what applying it one by one to a map leaves.
#[test]
fn any_history_comes_back_as_it_was_written() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let change =
        (0..3usize, 0..5u8, proptest::option::of("\\PC{0,12}")).prop_map(|(kind, id, doc)| {
            Change {
                kind: ["network", "port", "router"][kind].into(),
                id: id.to_string(),
                project: doc.clone(),
                document: doc,
            }
        });
    let history = vec(vec(vec(change, 1..4), 1..5), 1..6);
    for ground in Ground::both() {
        let store = runtime.block_on(ground.open());
        let lease = runtime.block_on(lease(&store));
        let mut model = Contents::new();
        let mut log = Vec::new();
        let mut runner = TestRunner::new(Config::with_cases(20));
        // The store is one and goes on from case to case, as a store does.
        for _ in 0..20 {
            let batches = history.new_tree(&mut runner).expect("a history").current();
            for batch in batches {
                let base = log.len() as u64;
                let batch: Vec<_> = (base + 1..)
                    .zip(batch)
                    .map(|(revision, changes)| Transaction { revision, changes })
                    .collect();
                for transaction in &batch {
                    for change in &transaction.changes {
                        let key = (change.kind.to_string(), change.id.clone());
                        match &change.document {
                            Some(d) => model.insert(key, (transaction.revision, d.clone())),
                            None => model.remove(&key),
                        };
                    }
                }
                log.extend(batch.iter().cloned());
                runtime
                    .block_on(store.append(lease.epoch, base, batch))
                    .expect("appended");
            }
            let (revision, all) = runtime.block_on(contents(&store));
            assert_eq!((revision, &all), (log.len() as u64, &model));
        }
        let mut tailed = Vec::new();
        while tailed.len() < log.len() {
            let more = runtime
                .block_on(store.tail(tailed.len() as u64, 7))
                .expect("the log");
            assert!(!more.is_empty(), "the tail ends at {}", tailed.len());
            tailed.extend(more);
        }
        assert_eq!(tailed, log);
    }
}
