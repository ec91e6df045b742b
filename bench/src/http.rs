//! A built server under load, with few and with many ports in its store.

use std::{
    cell::RefCell,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use bench::{Answer, Client, Figures, Server, Settings, cpu_of, measure};
use futures::future::try_join_all;
use serde::Deserialize;
use serde_json::{Value, json};
use store::rig;

use crate::{Kind, report::Report};

/// Ports in one bulk request.
const BULK: usize = 100;

pub(crate) struct Run {
    pub(crate) binary: PathBuf,
    pub(crate) time: Duration,
    pub(crate) clients: usize,
    pub(crate) folder: PathBuf,
    pub(crate) report: Report,
}

/// A server under measurement.
struct Measured {
    server: Server,
    store: Kind,
    ports: usize,
}

/// What is read of a creation's answer.
#[derive(Deserialize)]
struct Made {
    port: Id,
}

#[derive(Deserialize)]
struct Id {
    id: String,
}

/// What the calls are about.
struct Ground {
    /// Networks with 1,000, with 5,000, and with the other ports.
    thousand: String,
    five_thousand: String,
    large: String,
    group: String,
    /// Some ports, to show and change.
    ports: Vec<String>,
}

fn expect(answer: &Answer, status: u16) -> io::Result<Value> {
    check(answer, status).map(|()| answer.json())
}

/// The status alone: reading every answer whole would be most of the load's work.
fn check(answer: &Answer, status: u16) -> io::Result<()> {
    if answer.status.as_u16() == status {
        return Ok(());
    }
    let body = String::from_utf8_lossy(&answer.body);
    Err(io::Error::other(format!(
        "{} instead of {status}: {body}",
        answer.status
    )))
}

fn id(value: &Value, root: &str) -> io::Result<String> {
    let id = value[root]["id"].as_str().map(str::to_owned);
    id.ok_or_else(|| io::Error::other(format!("no id in {value}")))
}

impl Run {
    pub(crate) async fn all(&self, sizes: &[usize], stores: &[Kind]) -> io::Result<()> {
        println!("load averages of the machine:    {}", load()?);
        self.empty().await?;
        for store in stores {
            for ports in sizes {
                self.one(*store, *ports).await?;
            }
        }
        println!("\nwith the most ports, against the fewest");
        for line in self.report.growth() {
            println!("{line}");
        }
        Ok(())
    }

    /// The same stack with nothing behind it.
    async fn empty(&self) -> io::Result<()> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["empty", &address.to_string()])
            .spawn()?;
        let figures = self.ask_empty(address, &mut child).await;
        child.kill()?;
        child.wait()?;
        println!("{:<33}{}", "an empty handler:", figures?);
        Ok(())
    }

    async fn ask_empty(&self, address: SocketAddr, child: &mut Child) -> io::Result<Figures> {
        while Client::new(address).get("/").await.is_err() {
            if child.try_wait()?.is_some() {
                return Err(io::Error::other("the empty server ended"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (begun, cpu) = (Instant::now(), cpu_of(child.id())?);
        let each = (0..self.clients).map(|_| async move {
            let (mut client, mut times) = (Client::new(address), Vec::new());
            while begun.elapsed() < self.time {
                let asked = Instant::now();
                client.get("/").await?;
                times.push(asked.elapsed());
            }
            Ok::<_, io::Error>(times)
        });
        let times = try_join_all(each).await?.concat();
        let took = begun.elapsed();
        let cpu = cpu_of(child.id())?.saturating_sub(cpu);
        Ok(Figures::of(times, took, Some(cpu)))
    }

    async fn one(&self, store: Kind, ports: usize) -> io::Result<()> {
        let folder = tempfile::tempdir_in(&self.folder)?;
        let postgres = (store == Kind::Postgres).then(rig::Server::start);
        let file = folder.path().join("store.db");
        let settings = Settings {
            binary: self.binary.clone(),
            store: postgres
                .as_ref()
                .map_or(format!("sqlite:{}", file.display()), rig::Server::url),
            // Networks enough for however fast they are made.
            config: "[ledger]\nvxlan_vni_ranges = [[1, 16000000]]\n".to_owned(),
            log: folder.path().join("log"),
        };
        println!("\n{store}, {ports} ports, {} clients", self.clients);
        let server = Server::start(settings).await?;
        println!(
            "memory at start:                 {:>9} MB",
            server.memory()? >> 20
        );
        let begun = Instant::now();
        let ground = self.fill(&server, ports).await?;
        let took = begun.elapsed().as_secs_f64();
        println!("filled by bulk requests in       {took:>9.1} s");
        println!(
            "memory with {ports:>6} ports:        {:>9} MB",
            server.memory()? >> 20
        );
        let mut measured = Measured {
            server,
            store,
            ports,
        };
        self.reads(&measured, &ground).await?;
        self.writes(&measured, &ground).await?;
        let server = &mut measured.server;
        println!(
            "memory after the load:           {:>9} MB",
            server.memory()? >> 20
        );
        server.kill()?;
        server.go_on()?;
        // On PostgreSQL the killed server's lease has to run out before this one writes.
        let took = server.ready().await?.as_secs_f64();
        println!("killed, ready again after        {took:>9.2} s");
        println!(
            "memory after loading:            {:>9} MB",
            server.memory()? >> 20
        );
        Ok(())
    }

    async fn fill(&self, server: &Server, ports: usize) -> io::Result<Ground> {
        let mut client = server.client();
        let unlimited = json!({"quota": {"port": -1, "network": -1, "security_group_rule": -1}});
        expect(&client.put("/v2.0/quotas/bench", &unlimited).await?, 200)?;
        let mut networks = Vec::new();
        for (name, prefix) in [
            ("1000", "10.1.0.0/16"),
            ("5000", "10.2.0.0/16"),
            ("all", "10.64.0.0/10"),
        ] {
            let body = json!({"network": {"name": name, "tenant_id": "bench"}});
            let made = client.post("/v2.0/networks", &body).await?;
            let network = id(&expect(&made, 201)?, "network")?;
            let body = json!({"subnet": {"network_id": network, "ip_version": 4, "cidr": prefix,
                "enable_dhcp": false, "tenant_id": "bench"}});
            expect(&client.post("/v2.0/subnets", &body).await?, 201)?;
            networks.push(network);
        }
        let body = json!({"security_group": {"name": "bench", "tenant_id": "bench"}});
        let made = client.post("/v2.0/security-groups", &body).await?;
        let group = id(&expect(&made, 201)?, "security_group")?;
        let [thousand, five_thousand, large] =
            networks.try_into().map_err(|_| io::ErrorKind::Other)?;
        let mut known = Vec::new();
        let first = ports.min(1_000);
        let second = (ports - first).min(5_000);
        for (network, count) in [
            (&thousand, first),
            (&five_thousand, second),
            (&large, ports - first - second),
        ] {
            known.extend(self.fill_network(server, network, count).await?);
        }
        known.truncate(10_000);
        Ok(Ground {
            thousand,
            five_thousand,
            large,
            group,
            ports: known,
        })
    }

    /// Bulk requests by several clients at once; returns some of the ports' ids.
    async fn fill_network(
        &self,
        server: &Server,
        network: &str,
        count: usize,
    ) -> io::Result<Vec<String>> {
        let left = AtomicUsize::new(count / BULK);
        let left = &left;
        let each = (0..4).map(|_| async move {
            let (mut client, mut ids) = (server.client(), Vec::new());
            let take = |left: usize| left.checked_sub(1);
            while left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
                .is_ok()
            {
                let made = client.post("/v2.0/ports", &bulk(network)).await?;
                let made = expect(&made, 201)?;
                let ports = made["ports"].as_array().into_iter().flatten();
                ids.extend(ports.filter_map(|port| port["id"].as_str().map(str::to_owned)));
            }
            Ok::<_, io::Error>(ids)
        });
        Ok(try_join_all(each).await?.concat())
    }

    fn say(&self, measured: &Measured, call: impl std::fmt::Display, figures: Figures) {
        self.report
            .say(measured.store, measured.ports, call, figures);
    }

    async fn reads(&self, measured: &Measured, ground: &Ground) -> io::Result<()> {
        let (server, ports) = (&measured.server, measured.ports);
        let shown = measure(server, self.clients, self.time, async |client, who, n| {
            let port = &ground.ports[(who * 7_919 + n) % ground.ports.len()];
            check(&client.get(&format!("/v2.0/ports/{port}")).await?, 200)
        });
        self.say(measured, "show port", shown.await?);
        let lists = [(&ground.thousand, 1_000), (&ground.five_thousand, 5_000)];
        for (network, count) in lists.into_iter().filter(|(_, count)| *count <= ports) {
            let path = format!("/v2.0/ports?network_id={network}");
            let path = &path;
            // One client: how long a list takes, not how long others stand in line before it.
            let listed = measure(server, 1, self.time, async |client, _, n| {
                let answer = client.get(path).await?;
                check(&answer, 200)?;
                if n == 0 {
                    let listed = expect(&answer, 200)?["ports"]
                        .as_array()
                        .map_or(0, Vec::len);
                    if listed != count {
                        return Err(io::Error::other(format!(
                            "{listed} ports instead of {count}"
                        )));
                    }
                }
                Ok(())
            });
            self.say(
                measured,
                format_args!("list {count} ports, one client"),
                listed.await?,
            );
        }
        Ok(())
    }

    async fn writes(&self, measured: &Measured, ground: &Ground) -> io::Result<()> {
        let (server, time, clients) = (&measured.server, self.time, self.clients);
        let made = measure(server, clients, time, async |client, _, n| {
            let body = json!({"network": {"name": format!("n{n}"), "tenant_id": "bench"}});
            check(&client.post("/v2.0/networks", &body).await?, 201)
        });
        self.say(measured, "create network", made.await?);
        let created = RefCell::new(Vec::new());
        let made = measure(server, clients, time, async |client, _, n| {
            let body = json!({"port": {"network_id": ground.large, "name": format!("p{n}"),
                "tenant_id": "bench", "security_groups": [ground.group]}});
            let made = client.post("/v2.0/ports", &body).await?;
            check(&made, 201)?;
            let made: Made = serde_json::from_slice(&made.body).map_err(io::Error::other)?;
            created.borrow_mut().push(made.port.id);
            Ok(())
        });
        self.say(measured, "create port with a group", made.await?);
        let changed = measure(server, clients, time, async |client, who, n| {
            let port = &ground.ports[(who * 7_919 + n) % ground.ports.len()];
            let body = json!({"port": {"name": format!("{who}-{n}")}});
            let changed = client.put(&format!("/v2.0/ports/{port}"), &body).await?;
            check(&changed, 200)
        });
        self.say(measured, "update port", changed.await?);
        let gone = self.deletes(server, created.into_inner()).await?;
        self.say(measured, "delete port", gone);
        let made = measure(server, clients, time, async |client, _, _| {
            let made = client.post("/v2.0/ports", &bulk(&ground.large)).await?;
            check(&made, 201)
        });
        self.say(
            measured,
            format_args!("bulk-create {BULK} ports"),
            made.await?,
        );
        let made = measure(server, clients, time, async |client, who, n| {
            let port = who * 4_000 + n % 4_000 + 1;
            let prefix = format!("10.{}.{}.0/24", n / 4_000 % 256, who);
            let body = json!({"security_group_rule": {"security_group_id": ground.group,
                "direction": "ingress", "protocol": "tcp", "port_range_min": port,
                "port_range_max": port, "remote_ip_prefix": prefix, "tenant_id": "bench"}});
            let made = client.post("/v2.0/security-group-rules", &body).await?;
            check(&made, 201)
        });
        self.say(measured, "create rule", made.await?);
        Ok(())
    }

    /// Deletes every one of these, once.
    async fn deletes(&self, server: &Server, ports: Vec<String>) -> io::Result<Figures> {
        let (begun, cpu, clients) = (Instant::now(), server.cpu()?, self.clients);
        let ports = &ports;
        let each = (0..clients).map(|who| async move {
            let (mut client, mut times) = (server.client(), Vec::new());
            for port in ports.iter().skip(who).step_by(clients) {
                if begun.elapsed() > self.time {
                    break;
                }
                let asked = Instant::now();
                check(&client.delete(&format!("/v2.0/ports/{port}")).await?, 204)?;
                times.push(asked.elapsed());
            }
            Ok::<_, io::Error>(times)
        });
        let times = try_join_all(each).await?.concat();
        let took = begun.elapsed();
        Ok(Figures::of(
            times,
            took,
            Some(server.cpu()?.saturating_sub(cpu)),
        ))
    }
}

/// How much else ran in the last minutes: a figure means little without.
fn load() -> io::Result<String> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    let averages: Vec<&str> = text.split_whitespace().take(3).collect();
    Ok(averages.join(" "))
}

fn bulk(network: &str) -> Value {
    let port = json!({"network_id": network, "tenant_id": "bench"});
    json!({"ports": vec![port; BULK]})
}
