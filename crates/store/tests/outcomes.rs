//! A PostgreSQL that goes away at the worst moments: what was promised still holds.

use std::{
    io,
    time::{Duration, Instant},
};

use store::{
    Acquired, AppendError, Change, Lease, Outcome, Store, Transaction,
    rig::{Cut, Proxy, Server},
};

const TTL: Duration = Duration::from_secs(30);

fn batch(revision: u64) -> Vec<Transaction> {
    vec![Transaction {
        revision,
        changes: vec![Change {
            kind: "port".into(),
            id: revision.to_string(),
            project: None,
            document: Some("{}".into()),
        }],
    }]
}

struct Rig {
    server: Server,
    proxy: Proxy,
    store: Store,
    lease: Lease,
}

async fn rig() -> io::Result<Rig> {
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await?;
    let store = Store::open(&server.url_at(proxy.port()))
        .await
        .expect("the store opens");
    let Acquired::Lease(lease) = store
        .acquire_lease("one", "", TTL)
        .await
        .expect("an answer")
    else {
        panic!("nobody holds the lease");
    };
    store
        .append(lease.epoch, 0, batch(1))
        .await
        .expect("appended");
    Ok(Rig {
        server,
        proxy,
        store,
        lease,
    })
}

/// What the log holds, asked without the proxy.
fn revisions(server: &Server) -> String {
    server
        .psql("SELECT string_agg(revision::text, ',' ORDER BY revision) FROM log")
        .trim()
        .into()
}

#[tokio::test]
async fn a_commit_that_never_arrived_is_settled_as_aborted() {
    let rig = rig().await.expect("a rig");
    rig.proxy.set(Cut::BeforeCommit);
    let error = rig.store.append(rig.lease.epoch, 1, batch(2)).await;
    assert!(matches!(error, Err(AppendError::Unknown(_))), "{error:?}");
    assert_eq!(rig.proxy.happened(), 1);
    let outcome = rig.store.settle(rig.lease.epoch, 2).await.expect("settled");
    let Outcome::Aborted(lease) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(lease.revision, 1);
    rig.store
        .append(lease.epoch, 1, batch(2))
        .await
        .expect("written again");
    assert_eq!(revisions(&rig.server), "1,2");
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_settled_as_committed() {
    let rig = rig().await.expect("a rig");
    rig.proxy.set(Cut::AfterCommit);
    let error = rig.store.append(rig.lease.epoch, 1, batch(2)).await;
    assert!(matches!(error, Err(AppendError::Unknown(_))), "{error:?}");
    assert_eq!(rig.proxy.happened(), 1);
    let outcome = rig.store.settle(rig.lease.epoch, 2).await.expect("settled");
    let Outcome::Committed(lease) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(lease.revision, 2);
    rig.store
        .append(lease.epoch, 2, batch(3))
        .await
        .expect("goes on");
    assert_eq!(revisions(&rig.server), "1,2,3");
}

#[tokio::test]
async fn a_deposed_writer_learns_from_the_log_what_became_of_its_changes() {
    for (cut, committed) in [(Cut::BeforeCommit, false), (Cut::AfterCommit, true)] {
        let rig = rig().await.expect("a rig");
        rig.proxy.set(cut);
        let error = rig.store.append(rig.lease.epoch, 1, batch(2)).await;
        assert!(matches!(error, Err(AppendError::Unknown(_))), "{error:?}");
        // Another takes over meanwhile, and writes on.
        let other = Store::open(&rig.server.url()).await.expect("opens");
        rig.server.psql("UPDATE head SET expires = 0");
        let Acquired::Lease(lease) = other
            .acquire_lease("two", "", TTL)
            .await
            .expect("an answer")
        else {
            panic!("the lease ran out");
        };
        assert_eq!(lease.revision, 1 + u64::from(committed));
        let next = lease.revision + 1;
        other
            .append(lease.epoch, lease.revision, batch(next))
            .await
            .expect("appended");
        let outcome = rig.store.settle(rig.lease.epoch, 2).await.expect("settled");
        let expected = Outcome::Deposed {
            committed: Some(committed),
        };
        assert_eq!(outcome, expected);
        // Once the log is trimmed, nobody can tell any more.
        other.trim(lease.epoch, 2).await.expect("trimmed");
        let outcome = rig.store.settle(rig.lease.epoch, 2).await.expect("settled");
        assert_eq!(outcome, Outcome::Deposed { committed: None });
    }
}

#[tokio::test]
async fn a_database_that_is_away_aborts_and_comes_back() {
    let mut rig = rig().await.expect("a rig");
    rig.server.stop();
    let begun = Instant::now();
    let error = rig.store.append(rig.lease.epoch, 1, batch(2)).await;
    assert!(matches!(error, Err(AppendError::Aborted(_))), "{error:?}");
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "it took {:?}",
        begun.elapsed()
    );
    rig.store.position().await.expect_err("away");
    rig.server.go_on();
    rig.store
        .append(rig.lease.epoch, 1, batch(2))
        .await
        .expect("it is back");
    assert_eq!(revisions(&rig.server), "1,2");
}

#[tokio::test]
async fn a_database_that_falls_silent_is_given_up_in_time() {
    let rig = rig().await.expect("a rig");
    rig.proxy.set(Cut::Silent);
    let begun = Instant::now();
    let error = rig.store.append(rig.lease.epoch, 1, batch(2)).await;
    assert!(matches!(error, Err(AppendError::Aborted(_))), "{error:?}");
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "it took {:?}",
        begun.elapsed()
    );
    rig.proxy.set(Cut::Never);
    rig.store
        .append(rig.lease.epoch, 1, batch(2))
        .await
        .expect("it speaks again");
    assert_eq!(revisions(&rig.server), "1,2");
}

/// The old writer's host lost power between its statements: its session must not hold the head's
/// row against the next writer for longer than a failover may take.
#[tokio::test]
async fn a_writer_that_stops_inside_a_transaction_does_not_bar_the_next() {
    let rig = rig().await.expect("a rig");
    let (client, connection) = tokio_postgres::connect(&rig.server.url(), tokio_postgres::NoTls)
        .await
        .expect("connected");
    let pump = tokio::spawn(connection);
    let hold = "SET idle_in_transaction_session_timeout = 2000; BEGIN; \
                UPDATE head SET expires = 0";
    client.batch_execute(hold).await.expect("held");
    rig.server.psql("SELECT 1");
    let other = Store::open(&rig.server.url()).await.expect("opens");
    let begun = Instant::now();
    // The row is locked: this waits for the session to be ended, and then finds the lease held.
    let held = other
        .acquire_lease("two", "", TTL)
        .await
        .expect("an answer");
    assert!(matches!(held, Acquired::Held(_)), "{held:?}");
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "it took {:?}",
        begun.elapsed()
    );
    pump.abort();
}
