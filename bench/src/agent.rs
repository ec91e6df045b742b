//! A built agent on one host with many guests' ports: how long until everything is verified, until a
//! port is ACTIVE and answers pings, until a rule or a member is in force; beside it the bare tools.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use http::Method;
use serde_json::{Value, json};

use crate::machine::{
    Machine, PATIENCE,
    bare::Dump,
    cloud::{Cloud, Port},
    feed,
    guests::{self, Ping},
    median, run as command, wait,
};

/// Between pings that wait for a port. The guest that comes sends them, as one that boots does: what
/// is sent to it before it is wired would be flooded into all ports, and hundreds of them would keep a
/// switch in userspace from anything else.
const FAST: Duration = Duration::from_millis(10);
/// How often what is quick is measured; the middle one is told.
pub(crate) const TIMES: usize = 5;

/// One host with its guests.
struct Bench {
    machine: Machine,
    cloud: Cloud,
    network: String,
    group: String,
    /// Guests that are plugged; the first one pings others.
    guests: Vec<Port>,
}

pub(crate) fn run(binary: &Path, ports: usize) -> io::Result<()> {
    println!("\nagent, {ports} ports");
    let mut bench = Bench::start(binary)?;
    bench.grow(3)?;
    bench.one_more("one more port, 3 there")?;
    bench.grow(50)?;
    bench.one_more("one more port, 50 there")?;
    bench.grow(ports)?;
    bench.one_more(&format!("one more port, {ports} there"))?;
    bench.one_more_bare()?;
    bench.idle()?;
    bench.restart()?;
    bench.on_empty()?;
    bench.rule()?;
    bench.member()?;
    bench.many_rules()
}

pub(crate) fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

pub(crate) fn say(what: &str, figures: &str) {
    println!("{:<44}{figures}", format!("{what}:"));
}

/// A table of its own is of no use for so few words: `in ms (N times the bare tools')`.
fn beside(time: Duration, bare: Duration) -> String {
    let times = time.as_secs_f64() / bare.as_secs_f64();
    format!("{} (bare tools {}: {times:.1} times)", ms(time), ms(bare))
}

impl Bench {
    fn start(binary: &Path) -> io::Result<Bench> {
        let mut machine = Machine::start(binary)?;
        let bridge = ["set", "Bridge", "br-ex", "datapath_type=netdev"];
        machine.vsctl(&[&["add-br", "br-ex", "--"][..], &bridge].concat())?;
        let mut cloud = Cloud::start(binary, &machine.path(""))?;
        machine.configure(cloud.agents(), "['l2']")?;
        machine.start_agent()?;
        cloud.until_host()?;
        let (network, _) = cloud.network("10.1.0.0/16", false)?;
        let group = cloud.make_id(
            "security-groups",
            "security_group",
            json!({"name": "guests"}),
        )?;
        let icmp = json!({"security_group_id": group, "direction": "ingress", "ethertype": "IPv4",
            "protocol": "icmp"});
        cloud.make("security-group-rules", "security_group_rule", icmp)?;
        Ok(Bench {
            machine,
            cloud,
            network,
            group,
            guests: Vec::new(),
        })
    }

    fn guest_ports(&mut self, count: usize) -> io::Result<Vec<Port>> {
        let port = Cloud::guest_port(&self.network, &self.group);
        let begun = Instant::now();
        let ports = self.cloud.ports(count, &port)?;
        self.machine.settle_after(begun)?;
        Ok(ports)
    }

    fn settle(&self) -> io::Result<()> {
        self.machine.settle()
    }

    /// Plug guests, at once, until there are so many.
    fn grow(&mut self, count: usize) -> io::Result<()> {
        let there = self.guests.len();
        let ports = self.guest_ports(count - there)?;
        guests::devices(&ports)?;
        if there == 0 {
            guests::address(&ports[0], &[&ports[1]])?;
            guests::address(&ports[1], &[&ports[0]])?;
        }
        let (new, old) = (ports.last(), self.guests.first());
        let ping = match new.zip(old) {
            Some((new, old)) => {
                self.introduce(old, new)?;
                Some(Ping::start(new, &old.address, FAST)?)
            }
            None => None,
        };
        let begun = guests::plug(&self.machine, &ports)?;
        self.cloud.until(&ports, "ACTIVE")?;
        let active = begun.elapsed();
        let ping = ping.map(|ping| ping.first()).transpose()?;
        let ping = ping.map_or(String::new(), |at| {
            format!(", the last one is answered after {}", ms(at - begun))
        });
        let what = format!("{} ports at once, {there} there", ports.len());
        say(&what, &format!("ACTIVE after {}{ping}", ms(active)));
        self.guests.extend(ports);
        self.settle()
    }

    /// Two guests get to know each other's MAC.
    fn introduce(&self, from: &Port, to: &Port) -> io::Result<()> {
        guests::address(to, &[from])?;
        let guest = format!("g-{}", &from.id[..11]);
        let argv = [
            "ip",
            "-n",
            &guest,
            "neigh",
            "replace",
            &to.address,
            "lladdr",
            &to.mac,
        ];
        command(&[&argv[..], &["dev", "eth0", "nud", "permanent"]].concat()).map(drop)
    }

    /// One port, made before, plugged now.
    fn plug_one(&mut self) -> io::Result<(Port, Duration, Duration)> {
        let port = self.guest_ports(1)?.remove(0);
        let ports = std::slice::from_ref(&port);
        guests::devices(ports)?;
        let old = self.guests[0].clone();
        self.introduce(&old, &port)?;
        let ping = Ping::start(&port, &old.address, FAST)?;
        let begun = guests::plug(&self.machine, ports)?;
        self.cloud.until(ports, "ACTIVE")?;
        let active = begun.elapsed();
        Ok((port, active, ping.first()? - begun))
    }

    fn remove(&mut self, port: &Port) -> io::Result<()> {
        let ports = std::slice::from_ref(port);
        guests::unplug(&self.machine, ports)?;
        guests::remove_devices(ports)?;
        let path = format!("ports/{}", port.id);
        let begun = Instant::now();
        self.cloud.call(Method::DELETE, &path, &Value::Null)?;
        self.machine.settle_after(begun)
    }

    fn one_more(&mut self, what: &str) -> io::Result<()> {
        let (mut active, mut ping) = (Vec::new(), Vec::new());
        for _ in 0..TIMES {
            let (port, took, pinged) = self.plug_one()?;
            active.push(took);
            ping.push(pinged);
            self.remove(&port)?;
        }
        let figures = format!(
            "ACTIVE after {}, its ping is answered after {}",
            ms(median(active)),
            ms(median(ping))
        );
        say(what, &figures);
        Ok(())
    }

    /// The bare tools do what the agent does for one port: it is made to stand still.
    fn one_more_bare(&mut self) -> io::Result<()> {
        let before = Dump::read(&self.machine)?;
        let (port, ..) = self.plug_one()?;
        self.settle()?;
        let after = Dump::read(&self.machine)?;
        self.remove(&port)?;
        let agent = self.machine.agent()?;
        agent.stand_still()?;
        guests::devices(std::slice::from_ref(&port))?;
        guests::plug(&self.machine, std::slice::from_ref(&port))?;
        let took = after.done_by_tools(&before, &self.machine)?;
        guests::unplug(&self.machine, std::slice::from_ref(&port))?;
        guests::remove_devices(std::slice::from_ref(&port))?;
        say("the same by the bare tools", &ms(took));
        self.machine.go_on()
    }

    fn idle(&mut self) -> io::Result<()> {
        let memory = self.machine.agent()?.memory()?;
        let used = self.machine.idle(Duration::from_secs(30))?;
        say("memory of the agent", &format!("{memory:.1} MB"));
        say("idle, of a core", &format!("{:.2} %", used * 100.0));
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        let database = |machine: &Machine| std::fs::metadata(machine.path("conf.db"));
        let mut times = Vec::new();
        let (mut written, mut lost, mut sent) = (0, 0, 0);
        for _ in 0..TIMES {
            let size = database(&self.machine)?.len();
            let ping = Ping::start(
                &self.guests[0],
                &self.guests[1].address,
                Duration::from_millis(10),
            )?;
            std::thread::sleep(Duration::from_millis(200));
            let (took, passes) = self.machine.verified()?;
            times.push(took);
            let nothing = "database=0 flows=0 filters=0 services=0";
            written += passes
                .iter()
                .filter(|line| line.contains("database=") && !line.contains(nothing))
                .count();
            written += usize::from(database(&self.machine)?.len() != size);
            std::thread::sleep(Duration::from_millis(200));
            let (s, l) = ping.end()?;
            (sent, lost) = (sent + s, lost + l);
        }
        let figures = format!(
            "verified after {}, {written} times something written, {lost} of {sent} pings lost",
            ms(median(times))
        );
        say("started again, all there", &figures);
        if written > 0 {
            return Err(io::Error::other("a restart wrote something"));
        }
        Ok(())
    }

    /// Nothing of ours is left on the host: no tag, no flow, no filter.
    fn wipe(&self) -> io::Result<()> {
        let ports = self.machine.vsctl(&["list-ports", "br-int"])?;
        let mut args = Vec::new();
        for port in ports.lines().filter(|name| name.starts_with("qvo")) {
            args.extend(["--", "clear", "Port", port, "tag", "other_config"]);
        }
        self.machine.vsctl(&args)?;
        for bridge in ["br-int", "br-tun"] {
            self.machine.ofctl(&["del-flows"], bridge, &[])?;
        }
        for program in ["iptables", "ip6tables"] {
            for table in ["filter", "nat", "raw"] {
                command(&[program, "-t", table, "-F"])?;
                command(&[program, "-t", table, "-X"])?;
            }
        }
        command(&["ipset", "destroy"]).map(drop)
    }

    /// Nor a bridge or a port that we make.
    fn wipe_bridges(&self) -> io::Result<()> {
        let mut args = vec!["--", "del-br", "br-tun"];
        for patch in ["patch-tun", "int-br-ex"] {
            args.extend(["--", "--if-exists", "del-port", "br-int", patch]);
        }
        args.extend(["--", "--if-exists", "del-port", "br-ex", "phy-br-ex"]);
        self.machine.vsctl(&args).map(drop)
    }

    fn on_empty(&mut self) -> io::Result<()> {
        let whole = Dump::read(&self.machine)?;
        let mut times = Vec::new();
        for _ in 0..3 {
            self.machine.stop_agent();
            self.wipe()?;
            self.wipe_bridges()?;
            times.push(self.machine.verified()?.0);
            self.settle()?;
        }
        self.machine.stop_agent();
        self.wipe()?;
        let bare = whole.done_by_tools(&Dump::default(), &self.machine)?;
        self.machine.verified()?;
        self.settle()?;
        let (flows, rules) = whole.size();
        say(
            "started on an empty switch",
            &format!(
                "verified after {}, {flows} flows, {rules} rules",
                beside(median(times), bare)
            ),
        );
        Ok(())
    }

    /// A rule of the group of all guests, until a packet that it lets pass has passed.
    fn rule(&mut self) -> io::Result<()> {
        let mut times = Vec::new();
        let before = Dump::read(&self.machine)?;
        for n in 0..TIMES {
            let port = 2_000 + n as u16;
            let traffic = self.traffic(port, None)?;
            let begun = Instant::now();
            self.allow(udp(port))?;
            times.push(traffic.first()? - begun);
            self.settle()?;
        }
        let after = Dump::read(&self.machine)?;
        // Ten rules as one: the tools' own start is not what is compared.
        let agent = self.machine.agent()?;
        agent.stand_still()?;
        let bare = after.done_by_tools(&before, &self.machine)? / TIMES as u32;
        self.machine.go_on()?;
        let what = format!("a rule of a group of {}", self.guests.len());
        say(
            &what,
            &format!("in force after {}", beside(median(times), bare)),
        );
        Ok(())
    }

    fn allow(&mut self, mut rule: Value) -> io::Result<()> {
        rule["security_group_id"] = json!(self.group);
        rule["direction"] = json!("ingress");
        rule["ethertype"] = json!("IPv4");
        let made = self
            .cloud
            .make("security-group-rules", "security_group_rule", rule);
        made.map(drop)
    }

    /// From the first guest to the last one, by this address of its.
    fn traffic(&self, port: u16, source: Option<&str>) -> io::Result<Traffic> {
        let (from, to) = (&self.guests[0], &self.guests[self.guests.len() - 1]);
        self.introduce(from, to)?;
        let source = source.unwrap_or(&from.address);
        Traffic::start(from, source, to, port)
    }

    /// One address more in a remote group of 2,000.
    fn member(&mut self) -> io::Result<()> {
        let remote = json!({"name": "remote"});
        let remote = self
            .cloud
            .make_id("security-groups", "security_group", remote)?;
        let (elsewhere, _) = self.cloud.network("10.8.0.0/16", false)?;
        let member = json!({"network_id": elsewhere, "security_groups": [remote]});
        self.cloud.ports(2_000, &member)?;
        let mut rule = udp(3_000);
        rule["remote_group_id"] = json!(remote);
        self.allow(rule)?;
        self.settle()?;
        // The first guest may send from these as well: they are members' one after the other.
        let sources: Vec<String> = (1..=TIMES).map(|n| format!("10.9.0.{n}")).collect();
        let pairs: Vec<Value> = sources.iter().map(|ip| json!({"ip_address": ip})).collect();
        let sender = self.guests[0].clone();
        let body = json!({"port": {"allowed_address_pairs": pairs}});
        self.cloud
            .call(Method::PUT, &format!("ports/{}", sender.id), &body)?;
        let guest = format!("g-{}", &sender.id[..11]);
        let (more, _) = self.cloud.network("10.9.0.0/16", false)?;
        let mut times = Vec::new();
        for source in &sources {
            command(&[
                "ip",
                "-n",
                &guest,
                "addr",
                "add",
                &format!("{source}/32"),
                "dev",
                "eth0",
            ])?;
            self.settle()?;
            let traffic = self.traffic(3_000, Some(source))?;
            let member = json!({"network_id": more, "security_groups": [remote],
                "fixed_ips": [{"ip_address": source}]});
            let begun = Instant::now();
            self.cloud.make("ports", "port", member)?;
            times.push(traffic.first()? - begun);
        }
        self.settle()?;
        let sets = command(&["ipset", "save"])?;
        let line = sets
            .lines()
            .rfind(|line| line.starts_with("add") && line.contains(" 10.8."));
        let line = line.ok_or_else(|| io::Error::other("no member of the remote group"))?;
        let begun = Instant::now();
        feed(&["ipset", "restore", "-!"], &format!("{line}\n"))?;
        let bare = begun.elapsed();
        say(
            "one more in a remote group of 2,000",
            &format!("in force after {}", beside(median(times), bare)),
        );
        Ok(())
    }

    /// One port more where every port has 422 rules.
    fn many_rules(&mut self) -> io::Result<()> {
        for port in 10_000..10_400 {
            self.allow(udp(port))?;
        }
        let (all, mut rules) = (self.guests.len() * 400, 0);
        wait("all rules", || {
            let dump = Dump::read(&self.machine);
            rules = dump.map_or(0, |dump| dump.size().1);
            rules >= all
        })?;
        self.settle()?;
        self.one_more(&format!("one more port beside {rules} rules"))?;
        self.one_more_bare()?;
        self.idle()?;
        self.restart()
    }
}

fn udp(port: u16) -> Value {
    json!({"protocol": "udp", "port_range_min": port, "port_range_max": port})
}

/// A packet a millisecond from one guest to another, until one arrives.
struct Traffic {
    hear: UdpSocket,
    stop: Arc<AtomicBool>,
}

impl Traffic {
    fn start(from: &Port, source: &str, to: &Port, port: u16) -> io::Result<Traffic> {
        let hear = socket(to, (Ipv4Addr::UNSPECIFIED, port).into())?;
        hear.set_read_timeout(Some(PATIENCE))?;
        let source = SocketAddr::new(source.parse().map_err(io::Error::other)?, 0);
        let send = socket(from, source)?;
        let to = format!("{}:{port}", to.address);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // What does not arrive is the matter here.
                let _ = send.send_to(b"?", &to);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        std::thread::sleep(Duration::from_millis(100));
        Ok(Traffic { hear, stop })
    }

    /// When the first one arrived.
    fn first(self) -> io::Result<Instant> {
        self.hear.recv_from(&mut [0; 8])?;
        Ok(Instant::now())
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A socket inside a guest.
fn socket(guest: &Port, address: SocketAddr) -> io::Result<UdpSocket> {
    let path = format!("/run/netns/g-{}", &guest.id[..11]);
    let opened = std::thread::spawn(move || {
        nix::sched::setns(
            std::fs::File::open(path)?,
            nix::sched::CloneFlags::CLONE_NEWNET,
        )?;
        UdpSocket::bind(address)
    });
    opened
        .join()
        .map_err(|_| io::Error::other("a thread ended"))?
}
