//! Servers that are killed at any moment while sixteen clients write. What was acknowledged is
//! there afterwards, once; no address is given twice; quotas are exact. Three servers on one
//! PostgreSQL go on writing when the writer is killed, and show a client its own writes.
//!
//! `NUCLEON_KILL_ROUNDS` sets how often servers are killed (50 for the long run).

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bench::{Answer, Client, Server, Settings};
use futures::future::{join, join_all};
use http::StatusCode;
use serde_json::{Value, json};
use store::rig;
use tokio::time::sleep;

const CLIENTS: usize = 16;
/// So few ports that clients meet the limit again and again, and so many that they never do.
const TIGHT: usize = 120;
const AMPLE: usize = 900;
/// So many requests in doubt are found out about before another is made: else, while nobody writes,
/// all ports come to be in doubt, and fill the quota without anybody to delete them.
const DOUBTS: usize = 8;
/// How long writes may stand still when the writer is killed.
const FAILOVER: Duration = Duration::from_secs(5);

fn rounds() -> usize {
    let rounds = std::env::var("NUCLEON_KILL_ROUNDS").ok();
    rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(4)
}

fn settings(folder: &Path, name: &str, store: String) -> Settings {
    Settings {
        binary: env!("CARGO_BIN_EXE_nucleon").into(),
        store,
        config: String::new(),
        log: folder.join(name),
    }
}

/// What became of a port, as far as its client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Made,
    MayBeMade,
    Deleted,
    MayBeDeleted,
}

/// A port's name and id.
type Port = (String, String);

/// A request that was never answered.
#[derive(Debug)]
enum Doubt {
    Made(String),
    Deleted(String, String),
}

/// What the clients share: the network, what they know, and when the last write was acknowledged.
struct Work {
    network: String,
    /// Ports that the project may have.
    quota: usize,
    fates: Mutex<BTreeMap<String, Fate>>,
    over_quota: AtomicUsize,
    done: AtomicUsize,
    stop: AtomicBool,
    begun: Instant,
    /// Milliseconds from the beginning to the last acknowledged write, and the longest pause.
    last: AtomicU64,
    pause: AtomicU64,
    /// Own writes read back, and answers that said that they may be stale.
    reads: AtomicUsize,
    stale: AtomicUsize,
}

/// Chance for the moments of killing; each client's own (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

impl Work {
    async fn begin(client: &mut Client, quota: usize) -> io::Result<Self> {
        let limits = json!({"quota": {"port": quota}});
        expect(&client.put("/v2.0/quotas/kill", &limits).await?, 200);
        let body = json!({"network": {"name": "kill", "tenant_id": "kill"}});
        let made = expect(&client.post("/v2.0/networks", &body).await?, 201);
        let network = made["network"]["id"].as_str().expect("an id").to_owned();
        let body = json!({"subnet": {"network_id": network, "ip_version": 4,
            "cidr": "10.0.0.0/22", "enable_dhcp": false, "tenant_id": "kill"}});
        expect(&client.post("/v2.0/subnets", &body).await?, 201);
        Ok(Self {
            network,
            quota,
            fates: Mutex::default(),
            over_quota: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            begun: Instant::now(),
            last: AtomicU64::new(0),
            pause: AtomicU64::new(0),
            reads: AtomicUsize::new(0),
            stale: AtomicUsize::new(0),
        })
    }

    fn know(&self, names: &[String], fate: Fate) {
        let mut fates = self.fates.lock().expect("no client panicked");
        fates.extend(names.iter().map(|name| (name.clone(), fate)));
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits until a write is acknowledged that was not under way already.
    async fn goes_on(&self) {
        let from = self.now() + 100;
        while self.last.load(Ordering::SeqCst) < from {
            assert!(
                self.now() < from + 30_000,
                "no write is acknowledged any more"
            );
            sleep(Duration::from_millis(10)).await;
        }
        println!("writes go on after {} ms", self.now() - from + 100);
    }

    fn acknowledged(&self) {
        let now = self.now();
        self.done.fetch_add(1, Ordering::SeqCst);
        let last = self.last.swap(now, Ordering::SeqCst);
        self.pause
            .fetch_max(now.saturating_sub(last), Ordering::SeqCst);
    }

    /// Writes until told to stop: single ports, three at once, and deletions.
    async fn client(&self, number: usize, servers: &[&Mutex<Server>]) {
        let mut chance = Chance(0x9e37_79b9 * (number as u64 + 1));
        let mut clients: Vec<Client> = servers
            .iter()
            .map(|s| s.lock().expect("no panic").client())
            .collect();
        let (mut own, mut doubts) = (Vec::new(), Vec::new());
        for n in 0.. {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let at = chance.below(clients.len() as u64) as usize;
            if (doubts.len() >= DOUBTS || chance.below(3) == 0)
                && let Some(doubt) = doubts.pop()
            {
                let (mut found, left) = self.resolve(&mut clients[at], doubt).await;
                own.append(&mut found);
                doubts.splice(0..0, left);
                continue;
            }
            if chance.below(3) == 0 && !own.is_empty() {
                let place = chance.below(own.len() as u64) as usize;
                let (name, id) = own.swap_remove(place);
                doubts.extend(self.delete(&mut clients[at], name, id).await);
                continue;
            }
            let count = if chance.below(4) == 0 { 3 } else { 1 };
            let names: Vec<_> = (0..count)
                .map(|part| format!("{number}-{n}-{part}of{count}"))
                .collect();
            let Some(made) = self.create(&mut clients[at], &names).await else {
                doubts.extend(names.into_iter().map(Doubt::Made));
                continue;
            };
            if let Some((_, id)) = made.first() {
                let other = chance.below(clients.len() as u64) as usize;
                self.read_own(&mut clients[other], id).await;
            }
            own.extend(made);
        }
    }

    /// Looks what became of a request without an answer, so that its port does not fill the quota
    /// for ever. Returns what is the client's now, and what is still in doubt.
    async fn resolve(&self, client: &mut Client, doubt: Doubt) -> (Vec<Port>, Option<Doubt>) {
        let name = match doubt {
            Doubt::Deleted(name, id) => {
                return (Vec::new(), self.delete(client, name, id).await);
            }
            Doubt::Made(name) => name,
        };
        let path = format!("/v2.0/ports?name={name}&fields=id");
        let answer = client.get(&path).await;
        let Some(answer) = self.outcome(answer).await.filter(|answer| !answer.stale) else {
            return (Vec::new(), Some(Doubt::Made(name)));
        };
        match expect(&answer, 200)["ports"][0]["id"].as_str() {
            Some(id) => {
                self.know(std::slice::from_ref(&name), Fate::Made);
                (vec![(name, id.to_owned())], None)
            }
            // Not there now; that it never will be is not said.
            None => (Vec::new(), None),
        }
    }

    /// The ports made, none of them when the quota is used up; nothing when there is no answer.
    async fn create(&self, client: &mut Client, names: &[String]) -> Option<Vec<Port>> {
        let port =
            |name: &String| json!({"network_id": self.network, "name": name, "tenant_id": "kill"});
        let body = json!({"ports": names.iter().map(port).collect::<Vec<_>>()});
        // Known before it is asked for: a port that nobody knows of is a fault.
        self.know(names, Fate::MayBeMade);
        let answer = client.post("/v2.0/ports", &body).await;
        let answer = self.outcome(answer).await?;
        if answer.status == StatusCode::CREATED {
            self.know(names, Fate::Made);
            self.acknowledged();
            let made = answer.json();
            let ports = made["ports"].as_array().expect("the ports");
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            return Some(
                ports
                    .iter()
                    .map(|p| (text(&p["name"]), text(&p["id"])))
                    .collect(),
            );
        }
        assert_eq!(answer.status, StatusCode::CONFLICT, "{answer:?}");
        assert_eq!(answer.json()["NeutronError"]["type"], "OverQuota");
        self.over_quota.fetch_add(1, Ordering::SeqCst);
        self.know(names, Fate::Deleted);
        Some(Vec::new())
    }

    /// Still in doubt when there is no answer.
    async fn delete(&self, client: &mut Client, name: String, id: String) -> Option<Doubt> {
        let again = {
            let mut fates = self.fates.lock().expect("no client panicked");
            fates.insert(name.clone(), Fate::MayBeDeleted) == Some(Fate::MayBeDeleted)
        };
        let answer = client.delete(&format!("/v2.0/ports/{id}")).await;
        let Some(answer) = self.outcome(answer).await else {
            return Some(Doubt::Deleted(name, id));
        };
        let gone = again && answer.status == StatusCode::NOT_FOUND;
        assert!(
            gone || answer.status == StatusCode::NO_CONTENT,
            "{answer:?}"
        );
        self.know(&[name], Fate::Deleted);
        self.acknowledged();
        None
    }

    /// What was acknowledged is seen on any server that does not say that it may be stale.
    async fn read_own(&self, client: &mut Client, id: &str) {
        let Ok(answer) = client.get(&format!("/v2.0/ports/{id}?fields=id")).await else {
            return;
        };
        if answer.stale {
            self.stale.fetch_add(1, Ordering::SeqCst);
        } else if !answer.status.is_server_error() {
            assert_eq!(
                answer.status,
                StatusCode::OK,
                "a client does not see its own write"
            );
            self.reads.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// An answer that tells what was done. Nothing, after a little rest, when none does.
    async fn outcome(&self, answer: io::Result<Answer>) -> Option<Answer> {
        match answer {
            Ok(answer) if !answer.status.is_server_error() => Some(answer),
            _ => {
                sleep(Duration::from_millis(20)).await;
                None
            }
        }
    }

    /// Everything that a client was told is so, and nothing else is.
    async fn check(&self, client: &mut Client) {
        let listed = expect(
            &client
                .get("/v2.0/ports?tenant_id=kill")
                .await
                .expect("a list"),
            200,
        );
        let ports = listed["ports"].as_array().expect("ports");
        let fates = self.fates.lock().expect("no client panicked").clone();
        let (mut names, mut addresses, mut macs) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for port in ports {
            let name = port["name"].as_str().expect("a name");
            assert!(names.insert(name.to_owned()), "{name} is there twice");
            let fate = fates.get(name);
            assert!(
                !matches!(fate, None | Some(Fate::Deleted)),
                "{name} is there: {fate:?}"
            );
            assert!(
                addresses.insert(port["fixed_ips"].to_string()),
                "an address twice: {port}"
            );
            assert!(
                macs.insert(port["mac_address"].to_string()),
                "a MAC twice: {port}"
            );
        }
        for (name, fate) in &fates {
            assert!(
                *fate != Fate::Made || names.contains(name),
                "{name} is lost"
            );
        }
        // Requests whose outcome nobody found out are there whole or not at all.
        let mut requests: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
        for name in fates.keys() {
            let (request, _) = name.rsplit_once('-').expect("parts");
            requests.entry(request).or_default().push(name);
        }
        for parts in requests.values() {
            if parts.iter().all(|name| fates[*name] == Fate::MayBeMade) {
                let there = parts.iter().filter(|name| names.contains(**name)).count();
                assert!(there == 0 || there == parts.len(), "{there} of {parts:?}");
            }
        }
        let used = client
            .get("/v2.0/quotas/kill/details")
            .await
            .expect("the quota");
        let used = expect(&used, 200)["quota"]["port"]["used"].as_u64();
        assert_eq!(used, Some(ports.len() as u64), "the quota's use");
        assert!(
            ports.len() <= self.quota,
            "{} ports within a quota of {}",
            ports.len(),
            self.quota
        );
        let (done, over) = (&self.done, &self.over_quota);
        let (done, over) = (done.load(Ordering::SeqCst), over.load(Ordering::SeqCst));
        let doubt = |fate: &&Fate| matches!(fate, Fate::MayBeMade | Fate::MayBeDeleted);
        let doubts = fates.values().filter(doubt).count();
        println!(
            "{done} writes acknowledged, {over} over quota, {doubts} in doubt; {} ports there",
            ports.len()
        );
        let enough = 50 * rounds();
        assert!(done > enough, "{done} writes are too few to find anything");
    }
}

fn expect(answer: &Answer, status: u16) -> Value {
    assert_eq!(
        answer.status.as_u16(),
        status,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    answer.json()
}

/// A small disk of its own, in memory.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn run(program: &str, arguments: &[&str]) {
        let done = std::process::Command::new(program).args(arguments).status();
        assert!(done.expect("it runs").success(), "{program} {arguments:?}");
    }

    fn new(size: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_str().expect("a plain path").to_owned();
        Self::run("mount", &["-t", "tmpfs", "-o", size, "tmpfs", &path]);
        Self(folder)
    }

    fn resize(&self, size: &str) {
        let path = self.0.path().to_str().expect("a plain path");
        Self::run("mount", &["-o", &format!("remount,{size}"), path]);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.0.path())
            .status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_and_nothing_else_and_it_comes_back_by_itself() {
    let (disk, folder) = (
        SmallDisk::new("size=2m"),
        tempfile::tempdir().expect("a folder"),
    );
    let store = format!("sqlite:{}", disk.0.path().join("db").display());
    let server = Server::start(settings(folder.path(), "log", store))
        .await
        .expect("it starts");
    let mut client = server.client();
    let network = |n: usize| json!({"network": {"name": n.to_string(), "tenant_id": "full"}});
    let mut made = 0;
    let quota = json!({"quota": {"network": -1}});
    expect(
        &client
            .put("/v2.0/quotas/full", &quota)
            .await
            .expect("an answer"),
        200,
    );
    let full = loop {
        let answer = client
            .post("/v2.0/networks", &network(made))
            .await
            .expect("an answer");
        if answer.status != StatusCode::CREATED {
            break answer;
        }
        made += 1;
        assert!(made < 5_000, "the disk is never full");
    };
    expect(&full, 503);
    let list = "/v2.0/networks?tenant_id=full&fields=name";
    let there = async |client: &mut Client| {
        let listed = expect(&client.get(list).await.expect("an answer"), 200);
        listed["networks"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(there(&mut client).await, made);
    disk.resize("size=32m");
    let begun = Instant::now();
    while client
        .post("/v2.0/networks", &network(made))
        .await
        .expect("an answer")
        .status
        != StatusCode::CREATED
    {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "it does not come back"
        );
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(there(&mut client).await, made + 1);
}

/// One server on a store, killed and started again under load.
async fn killed_and_started_again(store: String) {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(settings(folder.path(), "log", store))
        .await
        .expect("it starts");
    let work = Work::begin(&mut server.client(), TIGHT)
        .await
        .expect("a network");
    let server = Mutex::new(server);
    let servers = [&server];
    let clients = join_all((0..CLIENTS).map(|number| work.client(number, &servers)));
    let killing = async {
        let mut chance = Chance(u64::from(std::process::id()) | 1);
        for _ in 0..rounds() {
            sleep(Duration::from_millis(300 + chance.below(900))).await;
            let mut client = {
                let mut server = server.lock().expect("no panic");
                server.kill().expect("it was there");
                server.go_on().expect("it starts again");
                server.client()
            };
            until_ready(&mut client).await;
            // On PostgreSQL the lease of the one that was killed has to run out first: one that is
            // killed again before it writes would lose nothing.
            work.goes_on().await;
        }
        sleep(Duration::from_millis(300)).await;
        work.stop.store(true, Ordering::SeqCst);
    };
    join(clients, killing).await;
    let mut client = server.lock().expect("no panic").client();
    work.check(&mut client).await;
}

async fn until_ready(client: &mut Client) {
    let begun = Instant::now();
    loop {
        match client.get("/readyz").await {
            Ok(answer) if answer.status == StatusCode::OK => return,
            _ => assert!(
                begun.elapsed() < Duration::from_secs(20),
                "it is not ready again"
            ),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_on_sqlite_loses_nothing_it_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    killed_and_started_again(format!("sqlite:{}", folder.path().join("db").display())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_on_postgresql_loses_nothing_it_acknowledged() {
    let database = rig::Server::start();
    killed_and_started_again(database.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_servers_the_writer_is_killed_and_writes_go_on() {
    let database = rig::Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    let mut servers = Vec::new();
    for name in ["one", "two", "three"] {
        let started = Server::start(settings(folder.path(), name, database.url())).await;
        servers.push(Mutex::new(started.expect("it starts")));
    }
    let mut any = servers[2].lock().expect("no panic").client();
    // Through a follower: the writer is the first.
    let work = Work::begin(&mut any, AMPLE)
        .await
        .expect("a network, by a follower");
    let servers: Vec<&Mutex<Server>> = servers.iter().collect();
    let clients = join_all((0..CLIENTS).map(|number| work.client(number, &servers)));
    let killing = async {
        for _ in 0..rounds().div_ceil(2) {
            sleep(Duration::from_millis(1_500)).await;
            let writer = database.psql("SELECT address FROM head");
            let writer = servers.iter().find(|server| {
                let address = server.lock().expect("no panic").address();
                writer.trim().ends_with(&address.to_string())
            });
            let writer = writer.expect("one of the three writes");
            writer
                .lock()
                .expect("no panic")
                .kill()
                .expect("it was there");
            work.goes_on().await;
            let mut client = {
                let mut server = writer.lock().expect("no panic");
                server.go_on().expect("it starts again");
                server.client()
            };
            until_ready(&mut client).await;
        }
        work.stop.store(true, Ordering::SeqCst);
    };
    join(clients, killing).await;
    // The last pause has not ended.
    work.acknowledged();
    for server in &servers {
        let mut client = server.lock().expect("no panic").client();
        until_ready(&mut client).await;
        work.check(&mut client).await;
    }
    let pause = Duration::from_millis(work.pause.load(Ordering::SeqCst));
    let (reads, stale) = (
        work.reads.load(Ordering::SeqCst),
        work.stale.load(Ordering::SeqCst),
    );
    println!("the longest pause: {pause:?}; {reads} own writes read, {stale} answers marked stale");
    let logs = servers
        .iter()
        .map(|server| server.lock().expect("no panic").log());
    assert!(
        pause < FAILOVER,
        "writes stood still for {pause:?}: {:#?}",
        logs.collect::<Vec<_>>()
    );
    assert!(reads > 50, "only {reads} own writes were read back");
}
