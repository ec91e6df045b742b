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
/// Ports that the project may have: few enough that clients meet the limit again and again.
const QUOTA: usize = 120;
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

/// What the clients share: the network, what they know, and when the last write was acknowledged.
struct Work {
    network: String,
    fates: Mutex<BTreeMap<String, Fate>>,
    over_quota: AtomicUsize,
    stop: AtomicBool,
    begun: Instant,
    /// Milliseconds from the beginning to the last acknowledged write, and the longest pause.
    last: AtomicU64,
    pause: AtomicU64,
    reads: AtomicUsize,
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
    async fn begin(client: &mut Client) -> io::Result<Self> {
        let limits = json!({"quota": {"port": QUOTA}});
        expect(&client.put("/v2.0/quotas/kill", &limits).await?, 200);
        let body = json!({"network": {"name": "kill", "tenant_id": "kill"}});
        let made = expect(&client.post("/v2.0/networks", &body).await?, 201);
        let network = made["network"]["id"].as_str().expect("an id").to_owned();
        let body = json!({"subnet": {"network_id": network, "ip_version": 4,
            "cidr": "10.0.0.0/22", "enable_dhcp": false, "tenant_id": "kill"}});
        expect(&client.post("/v2.0/subnets", &body).await?, 201);
        Ok(Self {
            network,
            fates: Mutex::default(),
            over_quota: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            begun: Instant::now(),
            last: AtomicU64::new(0),
            pause: AtomicU64::new(0),
            reads: AtomicUsize::new(0),
        })
    }

    fn know(&self, names: &[String], fate: Fate) {
        let mut fates = self.fates.lock().expect("no client panicked");
        fates.extend(names.iter().map(|name| (name.clone(), fate)));
    }

    fn acknowledged(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
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
        let mut own = Vec::new();
        for n in 0.. {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let at = chance.below(clients.len() as u64) as usize;
            if chance.below(3) == 0 && !own.is_empty() {
                let place = chance.below(own.len() as u64) as usize;
                let (name, id) = own.swap_remove(place);
                self.delete(&mut clients[at], name, id).await;
                continue;
            }
            let count = if chance.below(4) == 0 { 3 } else { 1 };
            let names = (0..count)
                .map(|part| format!("{number}-{n}-{part}of{count}"))
                .collect();
            let made = self.create(&mut clients[at], names).await;
            if let Some((_, id)) = made.first() {
                let other = chance.below(clients.len() as u64) as usize;
                self.read_own(&mut clients[other], id).await;
            }
            own.extend(made);
        }
    }

    async fn create(&self, client: &mut Client, names: Vec<String>) -> Vec<(String, String)> {
        let port =
            |name: &String| json!({"network_id": self.network, "name": name, "tenant_id": "kill"});
        let body = json!({"ports": names.iter().map(port).collect::<Vec<_>>()});
        // Known before it is asked for: a port that nobody knows of is a fault.
        self.know(&names, Fate::MayBeMade);
        let answer = client.post("/v2.0/ports", &body).await;
        match self.outcome(answer).await {
            Some(answer) if answer.status == StatusCode::CREATED => {
                self.know(&names, Fate::Made);
                self.acknowledged();
                let made = answer.json();
                let ports = made["ports"].as_array().expect("the ports");
                let text = |value: &Value| value.as_str().expect("a text").to_owned();
                ports
                    .iter()
                    .map(|port| (text(&port["name"]), text(&port["id"])))
                    .collect()
            }
            Some(answer) => {
                assert_eq!(answer.status, StatusCode::CONFLICT, "{answer:?}");
                assert_eq!(answer.json()["NeutronError"]["type"], "OverQuota");
                self.over_quota.fetch_add(1, Ordering::SeqCst);
                self.know(&names, Fate::Deleted);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    async fn delete(&self, client: &mut Client, name: String, id: String) {
        let names = [name];
        self.know(&names, Fate::MayBeDeleted);
        let answer = client.delete(&format!("/v2.0/ports/{id}")).await;
        if let Some(answer) = self.outcome(answer).await {
            assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
            self.know(&names, Fate::Deleted);
            self.acknowledged();
        }
    }

    /// What was acknowledged is seen on any server that does not say that it may be stale.
    async fn read_own(&self, client: &mut Client, id: &str) {
        let Ok(answer) = client.get(&format!("/v2.0/ports/{id}?fields=id")).await else {
            return;
        };
        if !answer.stale && !answer.status.is_server_error() {
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
        // Requests for several, and how many of how many are there.
        let mut parts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
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
            if fate == Some(&Fate::MayBeMade) {
                let (request, part) = name.rsplit_once('-').expect("parts");
                let (_, all) = part.split_once("of").expect("a number of parts");
                let there = parts
                    .entry(request)
                    .or_insert((0, all.parse().expect("a number")));
                there.0 += 1;
            }
        }
        for (name, fate) in &fates {
            assert!(
                *fate != Fate::Made || names.contains(name),
                "{name} is lost"
            );
        }
        // Bulk requests of unknown outcome are there whole or not at all.
        for (request, (there, all)) in parts {
            assert_eq!(there, all, "of the ports of {request}");
        }
        let used = client
            .get("/v2.0/quotas/kill/details")
            .await
            .expect("the quota");
        let used = expect(&used, 200)["quota"]["port"]["used"].as_u64();
        assert_eq!(used, Some(ports.len() as u64), "the quota's use");
        assert!(
            ports.len() <= QUOTA,
            "{} ports within a quota of {QUOTA}",
            ports.len()
        );
        let made = fates
            .values()
            .filter(|fate| **fate != Fate::MayBeMade)
            .count();
        let over = self.over_quota.load(Ordering::SeqCst);
        println!(
            "{made} ports made, {} there, {over} requests over quota",
            ports.len()
        );
        assert!(
            made > 50 && over > 0,
            "{made} made, {over} over quota: this tried too little"
        );
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
    let work = Work::begin(&mut server.client()).await.expect("a network");
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
    let work = Work::begin(&mut any)
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
            sleep(FAILOVER).await;
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
    for server in &servers {
        let mut client = server.lock().expect("no panic").client();
        until_ready(&mut client).await;
        work.check(&mut client).await;
    }
    let pause = Duration::from_millis(work.pause.load(Ordering::SeqCst));
    let reads = work.reads.load(Ordering::SeqCst);
    println!("the longest pause between acknowledged writes: {pause:?}; {reads} own writes read");
    assert!(pause < FAILOVER, "writes stood still for {pause:?}");
    assert!(reads > 50, "only {reads} own writes were read back");
}
