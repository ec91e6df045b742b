//! The writer over real stores, with toy rules.

use std::{collections::BTreeSet, time::Duration};

use futures::future::join_all;
use store::rig::Cut;
use tokio::time::{Instant, sleep, timeout};

use super::WriteError;
use crate::toy::{No, Wish, count, insist, rig, start};

fn create(name: &str) -> Wish {
    Wish::Create(name.to_owned())
}

#[tokio::test]
async fn many_clients_share_commits_and_each_decision_sees_the_one_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", folder.path().join("db").display());
    let replica = start("one", &url).await;
    insist(&replica, count("a")).await.expect("it writes");
    let mut news = replica.handle.subscribe();
    let answers = join_all((0..200).map(|_| replica.handle.submit(count("a")))).await;
    let numbers: BTreeSet<u64> = answers.into_iter().map(|n| n.expect("counted")).collect();
    assert_eq!(numbers, (2..=201).collect());
    let published = replica.handle.published();
    assert_eq!((published.state.of["a"], published.revision), (201, 201));
    // Every change was announced once, in order, and in far fewer batches than commands.
    let (mut revisions, mut batches) = (Vec::new(), 0);
    while let Ok(published) = news.try_recv() {
        batches += 1;
        revisions.extend(published.transactions.iter().map(|t| t.revision));
        assert_eq!(published.state.revision, published.revision);
    }
    assert_eq!(revisions, (2..=201).collect::<Vec<_>>());
    assert!(batches < 50, "{batches} batches");
    let before = replica.handle.published().state.clone();
    replica.stop().await;

    let replica = start("one", &url).await;
    assert_eq!(replica.handle.published().state, before);
    assert_eq!(insist(&replica, count("a")).await, Ok(202));
    replica.stop().await;
}

#[tokio::test]
async fn a_refusal_is_answered_by_the_state_it_was_judged_on() {
    let (server, proxy) = rig().await;
    let replica = start("one", &server.url_at(proxy.port())).await;
    assert_eq!(insist(&replica, create("there")).await, Ok(0));
    let refused = replica.handle.submit(create("there")).await;
    assert_eq!(refused, Err(WriteError::Refused(No::Exists)));
    // The first of these is decided, and never written. So the others' ground is gone: neither
    // "exists" nor the number read may be said.
    proxy.set(Cut::Silent);
    let asks = [
        create("new"),
        create("new"),
        Wish::Read("new".into()),
        Wish::Delete("no".into()),
    ];
    let asks = join_all(asks.map(|ask| replica.handle.submit(ask)));
    let away = async {
        sleep(Duration::from_millis(300)).await;
        assert!(
            !replica.handle.published().state.of.contains_key("new"),
            "seen too early"
        );
        proxy.set(Cut::Away);
    };
    let (answers, ()) = tokio::join!(asks, away);
    assert_eq!(answers, vec![Err(WriteError::Unavailable); 4]);
    proxy.set(Cut::Never);
    assert_eq!(insist(&replica, create("new")).await, Ok(0));
    replica.stop().await;
}

#[tokio::test]
async fn a_commit_of_unknown_outcome_is_answered_as_the_store_tells() {
    let (server, proxy) = rig().await;
    let replica = start("one", &server.url_at(proxy.port())).await;
    assert_eq!(insist(&replica, create("a")).await, Ok(0));
    proxy.set(Cut::BeforeCommit);
    assert_eq!(
        replica.handle.submit(create("lost")).await,
        Err(WriteError::Unavailable)
    );
    assert_eq!(proxy.happened(), 1);
    proxy.set(Cut::AfterCommit);
    assert_eq!(replica.handle.submit(create("kept")).await, Ok(0));
    assert_eq!(proxy.happened(), 2);
    assert_eq!(insist(&replica, count("a")).await, Ok(1));
    let names: Vec<_> = replica
        .handle
        .published()
        .state
        .of
        .keys()
        .cloned()
        .collect();
    assert_eq!(names, ["a", "kept"]);
    let rows = server.psql("SELECT id FROM resources ORDER BY id");
    assert_eq!(rows.split_whitespace().collect::<Vec<_>>(), ["a", "kept"]);
    replica.stop().await;
}

#[tokio::test]
async fn while_the_store_is_away_reads_go_on_and_writes_are_refused_at_once() {
    let (mut server, proxy) = rig().await;
    let replica = start("one", &server.url_at(proxy.port())).await;
    assert_eq!(insist(&replica, count("a")).await, Ok(1));
    server.stop();
    let answer = replica.handle.submit(count("a")).await;
    assert!(
        matches!(answer, Err(WriteError::Unavailable | WriteError::NotWriter)),
        "{answer:?}"
    );
    let begun = Instant::now();
    replica
        .handle
        .submit(count("a"))
        .await
        .expect_err("still away");
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(replica.handle.published().state.of["a"], 1);
    server.go_on();
    assert_eq!(insist(&replica, count("a")).await, Ok(2));
    replica.stop().await;
}

/// Neither closed nor answering: what is under way may be done yet, what comes behind it is not,
/// and is told so long before the store is given up.
#[tokio::test]
async fn while_the_store_is_slow_reads_go_on_and_writes_are_refused() {
    let (server, proxy) = rig().await;
    let replica = start("one", &server.url_at(proxy.port())).await;
    assert_eq!(insist(&replica, count("a")).await, Ok(1));
    proxy.set(Cut::Silent);
    let begun = Instant::now();
    let handle = &replica.handle;
    let behind = async {
        sleep(Duration::from_millis(500)).await;
        let answer = handle.submit(count("b")).await;
        assert_eq!(answer, Err(WriteError::Unavailable));
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(7), "{took:?}");
        // From now on nobody waits.
        let asked = Instant::now();
        handle.submit(count("b")).await.expect_err("still slow");
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!(handle.published().state.of["a"], 1);
        proxy.set(Cut::Never);
    };
    let (first, ()) = tokio::join!(handle.submit(count("a")), behind);
    let last = insist(&replica, count("a")).await;
    let done = u64::from(first.is_ok());
    assert_eq!(last, Ok(2 + done), "after {first:?}");
    assert!(!handle.published().state.of.contains_key("b"));
    replica.stop().await;
}

/// SQLite's file may be held by somebody who looks into it, or copies it.
#[tokio::test]
async fn a_locked_file_refuses_writes_and_comes_back_by_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("db");
    let replica = start("one", &format!("sqlite:{}", file.display())).await;
    assert_eq!(insist(&replica, count("a")).await, Ok(1));
    let held = store::rig::Held::new(&file);
    for _ in 0..2 {
        let answer = replica.handle.submit(count("a")).await;
        assert_eq!(answer, Err(WriteError::Unavailable));
        assert_eq!(replica.handle.published().state.of["a"], 1);
    }
    drop(held);
    assert_eq!(insist(&replica, count("a")).await, Ok(2));
    replica.stop().await;
}

#[tokio::test]
async fn a_write_waits_for_every_follower_that_holds_a_lease_and_no_longer() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", folder.path().join("db").display());
    let replica = start("one", &url).await;
    assert_eq!(insist(&replica, count("a")).await, Ok(1));
    let followers = replica.handle.followers();
    let applied =
        |name, revision| followers.applied(name, revision, || replica.handle.published().revision);
    let lease = applied("slow", 1).lease;
    assert_eq!(applied("quick", 1).from, 1);
    let begun = Instant::now();
    let telling = async {
        sleep(lease / 4).await;
        assert_eq!(
            replica.handle.published().state.of["a"],
            2,
            "durable, and seen here"
        );
        // A lease that goes on counts from its beginning.
        assert_eq!(applied("quick", 2).from, 1);
        sleep(lease / 4).await;
        assert_eq!(applied("slow", 2).from, 1);
    };
    let (answer, ()) = tokio::join!(replica.handle.submit(count("a")), telling);
    assert_eq!(answer, Ok(2));
    assert!(
        begun.elapsed() >= lease / 2,
        "acknowledged before both had applied it"
    );
    // Now one of them falls silent.
    let begun = Instant::now();
    applied("quick", 99);
    assert_eq!(replica.handle.submit(count("a")).await, Ok(3));
    let took = begun.elapsed();
    assert!(
        took >= lease / 2 && took < lease * 3,
        "{took:?} for a lease of {lease:?}"
    );
    assert_eq!(
        followers.all().keys().collect::<Vec<_>>(),
        Vec::<&String>::new()
    );
    replica.stop().await;
}

#[tokio::test]
async fn a_server_stops_also_when_the_store_is_away() {
    let (server, proxy) = rig().await;
    for cut in [Cut::Away, Cut::BeforeCommit] {
        let replica = start("one", &server.url_at(proxy.port())).await;
        assert!(insist(&replica, count("a")).await.is_ok());
        let handle = replica.handle.clone();
        proxy.set(cut);
        // The store stays away once it broke off.
        let breaking = async {
            while cut == Cut::BeforeCommit && proxy.happened() == 0 {
                sleep(Duration::from_millis(1)).await;
            }
            proxy.set(Cut::Away);
            sleep(Duration::from_millis(500)).await;
            timeout(Duration::from_secs(3), replica.stop())
                .await
                .expect("it stops");
        };
        let (answer, ()) = tokio::join!(handle.submit(count("a")), breaking);
        let expected = match cut {
            Cut::BeforeCommit => WriteError::Unknown,
            _ => WriteError::Unavailable,
        };
        assert_eq!(answer, Err(expected));
        proxy.set(Cut::Never);
        // The lease of a server that could not give it up runs out.
        sleep(super::LEASE).await;
    }
}

/// Clients write while connections are cut at commits again and again. What was acknowledged is in
/// the store, once and under the number that was answered; what was refused is not.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_and_nothing_refused_is_kept() {
    let (server, proxy) = rig().await;
    let replica = start("one", &server.url_at(proxy.port())).await;
    assert_eq!(insist(&replica, count("begun")).await, Ok(1));
    let handle = &replica.handle;
    let clients = join_all((0..8).map(|client| async move {
        let mut acknowledged = Vec::new();
        for n in 0..60 {
            let name = format!("{client}-{n}");
            match handle.submit(create(&name)).await {
                Ok(_) => acknowledged.push(name),
                Err(WriteError::Unavailable) => sleep(Duration::from_millis(10)).await,
                Err(other) => panic!("{name}: {other:?}"),
            }
        }
        acknowledged
    }));
    let cutting = async {
        for round in 0.. {
            let cut = [Cut::BeforeCommit, Cut::AfterCommit, Cut::Away][round % 3];
            proxy.set(cut);
            sleep(Duration::from_millis(60)).await;
            proxy.set(Cut::Never);
            sleep(Duration::from_millis(400)).await;
        }
    };
    let clients = timeout(Duration::from_secs(60), clients);
    let acknowledged = tokio::select! {
        done = clients => done.expect("the clients come to an end"),
        () = cutting => unreachable!("it cuts for ever"),
    };
    proxy.set(Cut::Never);
    let acknowledged: BTreeSet<String> = acknowledged.into_iter().flatten().collect();
    assert!(proxy.happened() > 0, "nothing was cut");
    assert!(!acknowledged.is_empty());
    let rows = server.psql("SELECT id FROM resources WHERE id <> 'begun'");
    let kept: BTreeSet<String> = rows.lines().map(str::to_owned).collect();
    assert_eq!(kept, acknowledged);
    let published = handle.published();
    let seen: BTreeSet<String> = published
        .state
        .of
        .keys()
        .filter(|name| *name != "begun")
        .cloned()
        .collect();
    assert_eq!(seen, acknowledged);
    replica.stop().await;
}
