//! Several servers over one PostgreSQL, with toy rules.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Replica;
use crate::{
    toy::{Toy, count, insist, rig, start},
    writer::{Role, WriteError},
};

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "not within 10 s: {what}"
        );
        sleep(Duration::from_millis(10)).await;
    }
}

fn role(replica: &Replica<Toy>) -> Role {
    replica.handle.role().borrow().clone()
}

#[tokio::test]
async fn a_follower_tails_refuses_writes_and_knows_who_writes() {
    let (server, _proxy) = rig().await;
    let one = start("one", &server.url()).await;
    assert_eq!(insist(&one, count("a")).await, Ok(1));
    let two = start("two", &server.url()).await;
    assert_eq!(two.handle.published().state.of["a"], 1);
    assert_eq!(
        two.handle.submit(count("a")).await,
        Err(WriteError::NotWriter)
    );
    let writer = Some("http://one.test".to_owned());
    until("the follower knows the writer", || {
        role(&two)
            == Role::Follower {
                writer: writer.clone(),
            }
    })
    .await;
    assert_eq!(insist(&one, count("a")).await, Ok(2));
    until("the follower has the write", || {
        two.handle.published().state.of["a"] == 2
    })
    .await;
    assert_eq!(two.handle.published().state, one.handle.published().state);
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn another_takes_over_at_once_from_a_writer_that_stops() {
    let (server, _proxy) = rig().await;
    let one = start("one", &server.url()).await;
    assert_eq!(insist(&one, count("a")).await, Ok(1));
    let two = start("two", &server.url()).await;
    one.stop().await;
    let begun = Instant::now();
    assert_eq!(insist(&two, count("a")).await, Ok(2));
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    two.stop().await;
}

#[tokio::test]
async fn another_takes_over_within_five_seconds_from_a_writer_that_is_cut_off() {
    let (server, proxy) = rig().await;
    let one = start("one", &server.url_at(proxy.port())).await;
    assert_eq!(insist(&one, count("a")).await, Ok(1));
    let two = start("two", &server.url()).await;
    proxy.set(store::rig::Cut::Silent);
    let begun = Instant::now();
    // What the old writer is asked now is not acknowledged.
    let late = one.handle.submit(count("late"));
    let (late, next) = tokio::join!(late, insist(&two, count("a")));
    assert_eq!(next, Ok(2));
    assert!(late.is_err(), "{late:?}");
    assert!(
        !one.handle.is_fresh(),
        "a server that is cut off can't know"
    );
    let took = begun.elapsed();
    // (The join above also waits for the old writer to give up on its store.)
    assert!(took < Duration::from_secs(8), "{took:?}");
    proxy.set(store::rig::Cut::Never);
    until("the old writer follows", || {
        one.handle.published().state.of["a"] == 2
    })
    .await;
    assert!(!one.handle.published().state.of.contains_key("late"));
    assert_eq!(
        one.handle.submit(count("a")).await,
        Err(WriteError::NotWriter)
    );
    one.stop().await;
    two.stop().await;
}
