//! `bench dvr`: distributed routers on three hosts of a lab: how long until they stand, what memory
//! that takes, and who hears of one more port on a network that is on all three. A fourth host,
//! without any of it, shows that nobody else does.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use lab::client::{Client, text};
use lab::topology::Host;
use lab::{Lab, Options, Progress, Topology};
use serde_json::{Value, json};

const ROUTERS: usize = 20;
/// Ports that come one by one to the network that is everywhere.
const PORTS: usize = 10;
const HOSTS: [&str; 3] = ["net", "c1", "c2"];
const ASIDE: &str = "aside";
const NAME: &str = "bench-dvr";
/// Where each host's agent tells its numbers.
const METRICS: &str = "127.0.0.1:9698";
const PATIENCE: Duration = Duration::from_secs(300);

type Done<T> = Result<T, Box<dyn Error>>;

pub(crate) fn run(binary: &Path) -> io::Result<()> {
    let options = Options {
        binary: std::path::absolute(binary)?,
        api_port: 0,
        ..Options::standard()?
    };
    let measured = measure(&options);
    let ended = Lab::down(NAME, &options);
    measured.map_err(|error| io::Error::other(chain(&*error)))?;
    ended
        .map(drop)
        .map_err(|error| io::Error::other(chain(&error)))
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn measure(options: &Options) -> Done<()> {
    let bench = Bench {
        lab: Lab::up(topology()?, options.clone(), &Progress::silent())?,
    };
    bench.tell_memory("without routers")?;
    let routers = bench.routers()?;
    bench.tell_memory(&format!("with {ROUTERS} routers"))?;
    let first = routers.first().ok_or("no router was made")?;
    bench.one_more_port(first)
}

fn topology() -> Done<Topology> {
    let host = |name: &str| {
        let is_central = name == "net";
        Host {
            name: name.to_owned(),
            controller: is_central,
            roles: ["l2", "l3"].map(str::to_owned).to_vec(),
            agent_mode: if is_central { "dvr_snat" } else { "dvr" }.to_owned(),
            external: true,
        }
    };
    Ok(Topology {
        name: NAME.to_owned(),
        hosts: HOSTS.into_iter().chain([ASIDE]).map(host).collect(),
        agent: format!("metrics = \"{METRICS}\"").parse()?,
        ..Topology::default()
    })
}

struct Bench {
    lab: Lab,
}

impl Bench {
    fn client(&self) -> Done<Client> {
        Ok(self.lab.client()?)
    }

    fn inside(&self, host: &str, argv: &[&str]) -> Done<String> {
        Ok(self.lab.place(host)?.run(argv)?)
    }

    fn create(&self, collection: &str, kind: &str, body: Value) -> Done<Value> {
        let mut body = body;
        body["project_id"] = json!("bench");
        Ok(self.client()?.create(collection, kind, body)?)
    }

    fn network(&self, name: &str, cidr: &str, more: &Value) -> Done<(String, String)> {
        let mut body = json!({"name": name});
        if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
            body.extend(more.clone());
        }
        let network = self.create("networks", "network", body)?;
        let subnet = json!({
            "network_id": network["id"], "cidr": cidr, "ip_version": 4, "enable_dhcp": false,
        });
        let subnet = self.create("subnets", "subnet", subnet)?;
        Ok((
            text(&network, "id")?.to_owned(),
            text(&subnet, "id")?.to_owned(),
        ))
    }

    /// A port that is bound to a host; nothing is plugged.
    fn port(&self, network: &str, host: &str) -> Done<Value> {
        let body = json!({
            "network_id": network, "device_owner": "compute:nova", "binding:host_id": host,
        });
        self.create("ports", "port", body)
    }

    fn join(&self, router: &str, subnet: &str) -> Done<()> {
        let path = format!("routers/{router}/add_router_interface");
        let body = json!({"subnet_id": subnet});
        self.client()?.update(&path, &body)?;
        Ok(())
    }

    /// Makes the routers, and tells how long until each stands on each of the three hosts.
    fn routers(&self) -> Done<Vec<String>> {
        let no_limit = json!({"quota": {"network": -1, "subnet": -1, "port": -1, "router": -1}});
        self.client()?.update("quotas/bench", &no_limit)?;
        let outside = json!({
            "router:external": true, "provider:network_type": "flat",
            "provider:physical_network": "external",
        });
        let (public, _) = self.network("public", "198.18.0.0/24", &outside)?;
        let mut subnets = Vec::new();
        for number in 0..ROUTERS {
            let cidr = format!("10.{number}.0.0/24");
            let (network, subnet) = self.network(&format!("n{number}"), &cidr, &json!({}))?;
            for host in ["c1", "c2"] {
                self.port(&network, host)?;
            }
            subnets.push(subnet);
        }
        let began = Instant::now();
        let mut routers = Vec::new();
        for (number, subnet) in subnets.iter().enumerate() {
            let body = json!({
                "name": format!("r{number}"), "distributed": true,
                "external_gateway_info": {"network_id": public},
            });
            let router = self.create("routers", "router", body)?;
            let id = text(&router, "id")?.to_owned();
            self.join(&id, subnet)?;
            routers.push(id);
        }
        let asked = began.elapsed();
        self.wait("routers stand on all hosts", || self.stand())?;
        println!(
            "dvr: {ROUTERS} routers asked for in {:.2} s, standing on {} hosts after {:.2} s",
            asked.as_secs_f64(),
            HOSTS.len(),
            began.elapsed().as_secs_f64()
        );
        Ok(routers)
    }

    /// Whether every host has its parts of all routers, and differs in nothing from what is wanted.
    fn stand(&self) -> Done<bool> {
        for host in HOSTS {
            let namespaces = self.inside(host, &["ip", "netns", "list"])?;
            let of = |prefix| namespaces.matches(prefix).count();
            let central = if host == "net" { ROUTERS } else { 0 };
            if of("qrouter-") != ROUTERS || of("snat-") != central {
                return Ok(false);
            }
        }
        for host in HOSTS {
            let ask = format!("/nucleon/hosts/{host}/ask/drift");
            let answer = self.client()?.ask(&http::Method::POST, &ask, None)?;
            let is_empty = |list: &str| answer.body[list].as_array().is_some_and(Vec::is_empty);
            if !is_empty("drift") || !is_empty("problems") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn wait(&self, what: &str, mut done: impl FnMut() -> Done<bool>) -> Done<()> {
        let deadline = Instant::now() + PATIENCE;
        while !done()? {
            if Instant::now() > deadline {
                return Err(format!("not within {} s: {what}", PATIENCE.as_secs()).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The memory that is each agent's and the server's own, shared pages by their share.
    fn tell_memory(&self, when: &str) -> Done<()> {
        let pss = |host: &str, daemon: &str| -> Done<f64> {
            let line = format!("grep ^Pss: /proc/$(cat /run/lab-{daemon}.pid)/smaps_rollup");
            let said = self.inside(host, &["sh", "-c", &line])?;
            let kib = said.split_whitespace().nth(1).ok_or("no memory is told")?;
            Ok(kib.parse::<f64>()? / 1024.0)
        };
        print!(
            "dvr: memory {when}: server {:.1} MiB",
            pss("net", "server")?
        );
        for host in HOSTS {
            print!(", agent of {host} {:.1} MiB", pss(host, "agent")?);
        }
        println!();
        Ok(())
    }

    /// One more port on a network that all three hosts have: when all of them know their new
    /// neighbour, and what each agent wrote for it.
    fn one_more_port(&self, router: &str) -> Done<()> {
        let (network, subnet) = self.network("wide", "10.200.0.0/24", &json!({}))?;
        for host in HOSTS {
            self.port(&network, host)?;
        }
        self.join(router, &subnet)?;
        self.wait("the network is everywhere", || self.stand())?;
        let before = self.numbers()?;
        let mut times = Vec::new();
        for _ in 0..PORTS {
            let began = Instant::now();
            let port = self.port(&network, "c1")?;
            let address = text(&port["fixed_ips"][0], "ip_address")?.to_owned();
            self.wait("all hosts know the port", || self.know(router, &address))?;
            times.push(began.elapsed());
        }
        self.wait("nothing is left to do", || self.stand())?;
        let after = self.numbers()?;
        times.sort();
        println!(
            "dvr: one more port is known to {} hosts after {:.0} ms (median of {PORTS}, most {:.0} ms)",
            HOSTS.len(),
            times[PORTS / 2].as_secs_f64() * 1e3,
            times[PORTS - 1].as_secs_f64() * 1e3
        );
        println!("dvr: for {PORTS} ports that came to c1, each host");
        for (host, after) in &after {
            let Numbers { told, written, cpu } = after.since(&before[host]);
            if (told > 0) != HOSTS.contains(host) {
                return Err(format!("{host} was told {told} items").into());
            }
            println!(
                "dvr:   {host}: was told {told} items, wrote {written} changes, took {:.0} ms of CPU",
                cpu.as_secs_f64() * 1e3
            );
        }
        Ok(())
    }

    fn know(&self, router: &str, address: &str) -> Done<bool> {
        let namespace = format!("qrouter-{router}");
        for host in HOSTS {
            let argv = ["ip", "-n", &namespace, "neigh", "show", address];
            if !self.inside(host, &argv)?.contains("PERMANENT") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What each agent has heard, written and cost so far.
    fn numbers(&self) -> Done<BTreeMap<&'static str, Numbers>> {
        let hosts = HOSTS.into_iter().chain([ASIDE]);
        let numbers = hosts.map(|host| {
            let url = format!("http://{METRICS}/metrics");
            let said = self.inside(host, &["curl", "-sS", &url])?;
            let number = |name: &str| -> Done<u64> {
                let lines = said.lines().filter_map(|line| line.strip_prefix(name));
                let number = lines.filter_map(|rest| rest.strip_prefix("_total ")).next();
                Ok(number
                    .ok_or("an agent does not tell its numbers")?
                    .parse()?)
            };
            let numbers = Numbers {
                told: number("nucleon_agent_told")?,
                written: number("nucleon_agent_changes")?,
                cpu: self.cpu(host)?,
            };
            Ok((host, numbers))
        });
        numbers.collect()
    }

    /// The processor's time that a host's agent has taken.
    fn cpu(&self, host: &str) -> Done<Duration> {
        let line = "cut -d' ' -f14,15 /proc/$(cat /run/lab-agent.pid)/stat; getconf CLK_TCK";
        let said = self.inside(host, &["sh", "-c", line])?;
        let numbers: Vec<f64> = said
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        match numbers[..] {
            [user, system, a_second] => Ok(Duration::from_secs_f64((user + system) / a_second)),
            _ => Err(format!("no times of a process: {said}").into()),
        }
    }
}

/// An agent's numbers since it began.
struct Numbers {
    told: u64,
    written: u64,
    cpu: Duration,
}

impl Numbers {
    fn since(&self, before: &Self) -> Self {
        Self {
            told: self.told - before.told,
            written: self.written - before.written,
            cpu: self.cpu.saturating_sub(before.cpu),
        }
    }
}
