//! Requests that nobody means well, by the hundred thousand, over real connections: no panic, no
//! answer of 500 or above, no hang. Half of them are well-formed ([`request`]), so that they reach
//! deep, with bodies made out of the attribute tables ([`body`]) and then spoilt more or less; the
//! others break HTTP itself ([`wire`]).
//!
//! `NUCLEON_FUZZ` says for how long (`60s`) or how many (`1000000`).

mod body;
mod chance;
mod request;
#[path = "../rig/mod.rs"]
mod rig;
mod wire;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use chance::Chance;
use ledger::{Config, VlanRange};
use request::{Asked, Ids};
use rig::Rig;
use wire::{Answer, Wire};

/// Clients at once; each has its own connection and its own chance.
const CLIENTS: u64 = 8;
/// Requests to one server. What is made adds up, and lists of it take time.
const ROUND: u64 = 20_000;

/// How much is asked.
#[derive(Debug, Clone, Copy)]
enum Budget {
    Count(u64),
    Until(Instant),
}

impl Budget {
    fn read() -> Self {
        let wanted = std::env::var("NUCLEON_FUZZ").unwrap_or_else(|_| "5s".to_owned());
        let wrong = "NUCLEON_FUZZ is a number of requests, or of seconds: 60s";
        match wanted.strip_suffix('s') {
            Some(seconds) => {
                let time = Duration::from_secs(seconds.parse().expect(wrong));
                Self::Until(Instant::now() + time)
            }
            None => Self::Count(wanted.parse().expect(wrong)),
        }
    }

    fn goes_on(self, asked: u64) -> bool {
        match self {
            Self::Count(count) => asked < count,
            Self::Until(end) => Instant::now() < end,
        }
    }
}

/// What came of it all.
#[derive(Debug, Default)]
struct Tally {
    asked: AtomicU64,
    statuses: Mutex<BTreeMap<u16, u64>>,
    panics: AtomicU64,
}

impl Tally {
    fn count(&self, answer: &Answer, asked: &[u8]) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        assert!(
            answer.status < 500,
            "{} {}\nto {:.2000}",
            answer.status,
            String::from_utf8_lossy(&answer.body),
            String::from_utf8_lossy(asked)
        );
        let mut statuses = self.statuses.lock().expect("no client panicked");
        *statuses.entry(answer.status).or_default() += 1;
    }
}

/// Sends a few requests in one go, as a client that does not wait for answers.
async fn pipelined(wire: &mut Wire, asked: &[Asked], ids: &Ids, tally: &Tally) -> bool {
    let bytes: Vec<Vec<u8>> = asked.iter().map(Asked::bytes).collect();
    wire.send(&bytes.concat()).await;
    for (asked, bytes) in asked.iter().zip(&bytes) {
        let Some(answer) = wire.answer(asked.method == "HEAD").await else {
            // The server need not read on behind what it could not make sense of.
            return false;
        };
        tally.count(&answer, bytes);
        ids.learn(asked, answer.status, &answer.body);
    }
    true
}

/// Breaks HTTP itself, on a connection of its own.
async fn broken(rig: &Rig, chance: &mut Chance, ids: &Ids, tally: &Tally) {
    let asked = request::any(chance, ids);
    let bytes = wire::broken(chance, &asked);
    let mut wire = Wire::open(rig.at).await;
    wire.send(&bytes).await;
    wire.end().await;
    tally.asked.fetch_add(1, Ordering::Relaxed);
    while let Some(answer) = wire.answer(false).await {
        tally.count(&answer, &bytes);
    }
}

async fn client(rig: Arc<Rig>, seed: u64, ids: Arc<Ids>, tally: Arc<Tally>, until: (u64, Budget)) {
    let mut chance = Chance::new(seed);
    let mut wire = Wire::open(rig.at).await;
    loop {
        let asked = tally.asked.load(Ordering::Relaxed);
        if asked >= until.0 || !until.1.goes_on(asked) {
            return;
        }
        if chance.one_in(20) {
            broken(&rig, &mut chance, &ids, &tally).await;
            continue;
        }
        let many = if chance.one_in(6) { chance.below(5) } else { 0 };
        let asked: Vec<Asked> = (0..=many)
            .map(|_| request::any(&mut chance, &ids))
            .collect();
        if !pipelined(&mut wire, &asked, &ids, &tally).await {
            wire = Wire::open(rig.at).await;
        }
    }
}

fn config() -> Config {
    Config {
        network_vlan_ranges: vec![VlanRange {
            physical_network: "physnet1".to_owned(),
            range: Some((100, 199)),
        }],
        // So many that they do not run out, which Neutron says with a 503.
        vxlan_vni_ranges: vec![(1, 16_000_000)],
        dns_domain: "fuzz.example.".to_owned(),
        ..Config::default()
    }
}

/// One server, as long as it is asked.
async fn round(tally: &Arc<Tally>, budget: Budget, seed: u64) {
    let rig = Arc::new(Rig::start(config()).await);
    let ids = Arc::new(Ids::default());
    let last = tally.asked.load(Ordering::Relaxed) + ROUND;
    let clients = (0..CLIENTS).map(|number| {
        let seed = seed ^ (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (rig, ids, tally) = (rig.clone(), ids.clone(), tally.clone());
        tokio::spawn(client(rig, seed, ids, tally, (last, budget)))
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("a client was answered as it should be");
    }
    assert!(rig.api.hub.is_ready(), "it serves as before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_asked_the_server_answers_and_lives() {
    let tally = Arc::new(Tally::default());
    let (counted, usual) = (tally.clone(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        counted.panics.fetch_add(1, Ordering::Relaxed);
        usual(panic);
    }));
    let budget = Budget::read();
    let mut seed = u64::from(std::process::id());
    while budget.goes_on(tally.asked.load(Ordering::Relaxed)) {
        round(&tally, budget, seed).await;
        seed += 1;
    }
    assert_eq!(tally.panics.load(Ordering::Relaxed), 0, "panics");
    let statuses = tally.statuses.lock().expect("no client panicked");
    let asked = tally.asked.load(Ordering::Relaxed);
    println!("{asked} requests, no panic; answers by status: {statuses:?}");
    let granted: u64 = statuses.range(200..300).map(|(_, count)| count).sum();
    let changed: u64 = [201, 204].iter().filter_map(|it| statuses.get(it)).sum();
    assert!(
        granted * 10 > asked,
        "so few are granted that none reach deep"
    );
    assert!(changed * 50 > asked, "so few change anything");
}
