//! Networks, routers, groups, floating IPs and guests, chosen at random; and real packets.

use super::Fate;
use crate::clouds::{BEYOND, connects, ip};
use crate::distributed::three_hosts;
use crate::rig::Rig;
use agent::questions::snapshot::{SCRIPT, read_folder};
use lab::client::text;
use lab::topology::TunnelType;
use lab::{Daemon, Place, Topology};
use rand::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use walk::question::{Question, plan};
use walk::report::Walk;
use walk::run::Trace;
use walk::snapshot::Parts;
use walk::world::World;

/// Where guests listen.
const PORT: u16 = 8000;

pub(crate) const HOSTS: [&str; 3] = ["net", "c1", "c2"];

/// A packet that is both walked and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Ping {
        from: String,
        to: String,
    },
    Connect {
        from: String,
        to: String,
    },
    Beyond {
        from: String,
    },
    Gateway {
        from: String,
    },
    Floating {
        address: IpAddr,
        guest: String,
    },
    Lease {
        guest: String,
    },
    /// The same by IPv6.
    Ping6 {
        from: String,
        to: String,
    },
    Connect6 {
        from: String,
        to: String,
    },
    Gateway6 {
        from: String,
    },
}

/// What kind of cloud is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) tunnels: TunnelType,
    /// Its routers are on every host.
    pub(crate) distributed: bool,
}

pub(crate) struct Scene {
    pub(crate) rig: Rig,
    pub(crate) kind: Kind,
    floating: Vec<(IpAddr, String)>,
    /// Guests' addresses of IPv6, of those who have one.
    six: BTreeMap<String, IpAddr>,
    files: BTreeMap<String, String>,
}

impl Scene {
    /// A cloud with its agents gone: nobody puts right what is broken.
    pub(crate) fn make(rng: &mut StdRng, kind: Kind) -> Self {
        let topology = match kind.distributed {
            true => three_hosts(),
            false => Topology::default(),
        };
        let mut rig = Rig::up(Topology {
            tunnel_type: kind.tunnels,
            ..topology
        });
        let public = rig.public();
        let subnets: Vec<String> = [("red", "10.1.0"), ("green", "10.2.2"), ("blue", "10.3.0")]
            .into_iter()
            .map(|(name, prefix)| {
                let network = rig.net(name, &json!({}));
                rig.subnet(&network, &format!("{prefix}.0/24"), &json!({}))
            })
            .collect();
        let six: Vec<String> = [("red", "fd00:1"), ("green", "fd00:2")]
            .into_iter()
            .map(|(name, prefix)| {
                let network = rig.client().find("networks", name).unwrap();
                let network = text(&network, "id").unwrap();
                rig.subnet_6(network, &format!("{prefix}::/64"), "slaac")
            })
            .collect();
        let (joined, alone) = subnets.split_at(rng.random_range(2..=3));
        let router = router(&rig, "r", kind, joined.iter().chain(&six));
        rig.lead_outside(&router, &public, &json!({}));
        if !alone.is_empty() {
            self::router(&rig, "s", kind, alone);
        }
        groups(&rig);
        let guests = guests(&mut rig, rng);
        let mut floating = Vec::new();
        for guest in guests
            .iter()
            .filter(|guest| guest.network != "blue")
            .take(2)
        {
            let (_, address) = rig.float(&public, &guest.name);
            floating.push((address, guest.name.clone()));
        }
        let of_six = |(name, guest): (&String, &lab::Guest)| {
            let mut addresses = guest.addresses.iter().map(ipnet::IpNet::addr);
            Some((name.clone(), addresses.find(IpAddr::is_ipv6)?))
        };
        let scene = Self {
            six: rig.lab.guests().iter().filter_map(of_six).collect(),
            rig,
            kind,
            floating,
            files: BTreeMap::new(),
        };
        scene.settle(&guests);
        scene
    }

    /// Until every service is there and tunnels have found their other ends; then the agents end.
    fn settle(&self, guests: &[Placed]) {
        for guest in guests {
            let guest = self.rig.guest(&guest.name);
            guest.listens(PORT);
            guest.sh(DEAF);
            guest.sh(&format!("nc -6 -l -k {PORT} >/dev/null 2>&1 </dev/null &"));
        }
        crate::rig::soon("all hosts are as they should be", || {
            let mut doctor = std::process::Command::new(crate::rig::NUCLEON);
            let doctor = doctor.args(["doctor", "--api", self.rig.lab.api().unwrap()]);
            doctor.output().unwrap().status.success()
        });
        for host in HOSTS {
            self.rig.lab.kill(Daemon::Agent, host).unwrap();
            for position in 11..=13 {
                let line = format!("ping -n -c1 -W1 10.30.0.{position} >/dev/null || :");
                self.sh(host, &line);
            }
        }
    }

    pub(crate) fn sh(&self, host: &str, line: &str) -> String {
        let place = self.rig.lab.place(host).unwrap();
        place
            .run(&["sh", "-ec", line])
            .unwrap_or_else(|error| panic!("{host}: {line}: {}", crate::rig::chain(&error)))
    }

    /// All questions of this cloud.
    pub(crate) fn asks(&self) -> Vec<Ask> {
        let names: Vec<String> = self.rig.lab.guests().keys().cloned().collect();
        let mut asks = Vec::new();
        for from in names.iter().cloned() {
            for to in names.iter().filter(|to| **to != from).cloned() {
                let (from, there) = (from.clone(), to.clone());
                asks.push(Ask::Ping {
                    from: from.clone(),
                    to,
                });
                asks.push(Ask::Connect { from, to: there });
            }
            asks.push(Ask::Beyond { from: from.clone() });
            asks.push(Ask::Gateway { from: from.clone() });
            asks.push(Ask::Lease { guest: from });
        }
        for from in self.six.keys() {
            let others = self.six.keys().filter(|to| *to != from);
            for (from, to) in others.map(|to| (from.clone(), to.clone())) {
                asks.push(Ask::Ping6 {
                    from: from.clone(),
                    to: to.clone(),
                });
                asks.push(Ask::Connect6 { from, to });
            }
            asks.push(Ask::Gateway6 { from: from.clone() });
        }
        let floating = self.floating.iter().cloned();
        asks.extend(floating.map(|(address, guest)| Ask::Floating { address, guest }));
        asks
    }

    fn question(&self, ask: &Ask) -> Question {
        let between = |from: &str, to: &str| Question {
            from: from.to_owned(),
            to: to.to_owned(),
            ..Question::default()
        };
        match ask {
            Ask::Ping { from, to } => between(from, to),
            Ask::Connect { from, to } => Question {
                port: Some(PORT),
                ..between(from, to)
            },
            Ask::Beyond { from } => Question {
                dst_ip: Some(ip(BEYOND)),
                ..between(from, "outside")
            },
            Ask::Gateway { from } => between(from, "router"),
            Ask::Gateway6 { from } => between(from, &gateway_6(self.six[from]).to_string()),
            Ask::Ping6 { from, to } => between(from, &self.six[to].to_string()),
            Ask::Connect6 { from, to } => Question {
                port: Some(PORT),
                ..between(from, &self.six[to].to_string())
            },
            Ask::Floating { address, .. } => between("outside", &address.to_string()),
            Ask::Lease { guest } => between(guest, "dhcp"),
        }
    }

    pub(crate) fn walk(&self, world: &World, ask: &Ask) -> Walk {
        walk::walk(world, &self.question(ask)).unwrap()
    }

    pub(crate) fn trace(&self, world: &World, ask: &Ask) -> Trace {
        let plan = plan(world, &self.question(ask)).unwrap();
        walk::run::trace(world, &plan)
    }

    /// Sends the packet, from hosts that have forgotten what they learned.
    pub(crate) fn really(&self, ask: &Ask) -> Fate {
        self.forget();
        let counted = self.counted(ask);
        let six = matches!(ask, Ask::Ping6 { .. });
        let before = counted.as_ref().map(|place| echoes(place, six));
        let replied = match ask {
            Ask::Ping { from, to } => self.pings(from, self.rig.guest(to).ip()),
            Ask::Beyond { from } => self.pings(from, ip(BEYOND)),
            Ask::Gateway { from } => {
                let IpAddr::V4(own) = self.rig.guest(from).ip() else {
                    panic!("guests have IPv4 here");
                };
                let [a, b, c, _] = own.octets();
                self.pings(from, IpAddr::from([a, b, c, 1]))
            }
            Ask::Floating { address, .. } => pings(&self.rig.outside(), *address),
            Ask::Connect { from, to } => {
                connects(&self.rig.guest(from).place, self.rig.guest(to).ip(), PORT)
            }
            Ask::Ping6 { from, to } => self.pings(from, self.six[to]),
            Ask::Gateway6 { from } => self.pings(from, gateway_6(self.six[from])),
            Ask::Connect6 { from, to } => connects(&self.rig.guest(from).place, self.six[to], PORT),
            Ask::Lease { guest } => {
                let client = "udhcpc -f -n -q -i eth0 -t 2 -T 1 -s /bin/true";
                self.rig.guest(guest).exec(client).status.success()
            }
        };
        let after = counted.as_ref().map(|place| echoes(place, six));
        Fate {
            delivered: before.zip(after).map(|(before, after)| after > before),
            replied,
        }
    }

    fn pings(&self, from: &str, to: IpAddr) -> bool {
        pings(&self.rig.guest(from).place, to)
    }

    /// Who counts the echo requests that it gets.
    fn counted(&self, ask: &Ask) -> Option<Place> {
        match ask {
            Ask::Ping { to: guest, .. }
            | Ask::Ping6 { to: guest, .. }
            | Ask::Floating { guest, .. } => Some(self.rig.guest(guest).place),
            Ask::Beyond { .. } => Some(self.rig.outside()),
            Ask::Connect { .. }
            | Ask::Connect6 { .. }
            | Ask::Gateway { .. }
            | Ask::Gateway6 { .. }
            | Ask::Lease { .. } => None,
        }
    }

    /// Whatever hosts and guests learn by themselves: MACs, neighbours, connections.
    fn forget(&self) {
        std::thread::scope(|scope| {
            for host in HOSTS {
                scope.spawn(move || self.sh(host, &format!("{FORGET}{UNLEARN}")));
            }
        });
        let outside = self.rig.outside();
        outside.run(&["ip", "neigh", "flush", "all"]).unwrap();
    }

    pub(crate) fn collect_all(&mut self) {
        self.forget();
        let api = self.rig.lab.api().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().display().to_string();
        let argv = ["sh", "-s", "--", &dir, "--only-api", api];
        Place::here().feed(&argv, SCRIPT).unwrap();
        read_folder(folder.path(), "", &mut self.files).unwrap();
        for host in HOSTS {
            self.collect(host);
        }
    }

    /// Reads one host anew.
    pub(crate) fn collect(&mut self, host: &str) {
        self.forget();
        let machine = self.rig.lab.machine(host).unwrap();
        let folder = machine.dir.join("collected");
        let dir = folder.display().to_string();
        let state = format!("NEUTRON_STATE={}", machine.dir.join("agent").display());
        let argv = ["env", &state, "sh", "-s", "--", &dir, "--name", host];
        machine.place.feed(&argv, SCRIPT).unwrap();
        let below = format!("{host}/");
        self.files.retain(|path, _| !path.starts_with(&below));
        read_folder(&folder, "", &mut self.files).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        for (path, text) in &mut self.files {
            unlearned(path, text);
        }
    }

    pub(crate) fn world(&self) -> World {
        Parts::read(&self.files).assemble().world
    }

    /// A file of a host as it was collected last.
    pub(crate) fn file(&self, host: &str, path: &str) -> &str {
        self.files
            .get(&format!("{host}/{path}"))
            .map_or("", String::as_str)
    }
}

/// Guests and hosts talk while a host is collected: what was learned from that is left out.
fn unlearned(path: &str, text: &mut String) {
    let name = path.rsplit('/').next().unwrap_or(path);
    let stays = |line: &&str| match name {
        "ip-neigh.txt" => line.contains("PERMANENT"),
        "conntrack.txt" => false,
        _ if name.starts_with("fdb-") => line.contains("MAC"),
        _ if name.starts_with("flows-") => {
            !line.contains("hard_timeout=300,") || line.contains("learn(")
        }
        _ => true,
    };
    *text = text
        .lines()
        .filter(stays)
        .flat_map(|line| [line, "\n"])
        .collect();
}

/// Groups of several kinds.
fn groups(rig: &Rig) {
    for name in ["open", "web", "friends"] {
        rig.group(name);
    }
    rig.rule("open", &json!({"protocol": "icmp"}));
    rig.rule("open", &json!({"protocol": "tcp"}));
    rig.rule(
        "open",
        &json!({"protocol": "ipv6-icmp", "ethertype": "IPv6"}),
    );
    rig.rule("open", &json!({"protocol": "tcp", "ethertype": "IPv6"}));
    let friends = rig.group_id("friends");
    for ethertype in ["IPv4", "IPv6"] {
        let port = json!({
            "protocol": "tcp", "port_range_min": PORT, "port_range_max": PORT,
            "ethertype": ethertype,
        });
        rig.rule("web", &port);
        let others = json!({"remote_group_id": friends, "ethertype": ethertype});
        rig.rule("friends", &others);
    }
    rig.rule(
        "friends",
        &json!({"protocol": "icmp", "remote_ip_prefix": "10.1.0.0/24"}),
    );
}

/// A router of this kind of cloud, with interfaces on subnets.
fn router<'a>(
    rig: &Rig,
    name: &str,
    kind: Kind,
    subnets: impl IntoIterator<Item = &'a String>,
) -> String {
    let body = json!({"name": name, "distributed": kind.distributed});
    let router = rig.create("routers", "router", &body, &json!({}));
    let id = text(&router, "id").unwrap();
    for subnet in subnets {
        let path = format!("routers/{id}/add_router_interface");
        rig.put(&path, &json!({"subnet_id": subnet}));
    }
    id.to_owned()
}

/// The first address of a subnet, which is its gateway's.
fn gateway_6(guest: IpAddr) -> IpAddr {
    let IpAddr::V6(own) = guest else {
        panic!("{guest} is of IPv4");
    };
    let [a, b, c, d, ..] = own.segments();
    std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 1).into()
}

struct Placed {
    name: String,
    network: &'static str,
}

/// Two guests of red on two hosts, and others anywhere.
fn guests(rig: &mut Rig, rng: &mut StdRng) -> Vec<Placed> {
    let mut placed = Vec::new();
    let sure = [
        ("red", "c1", "open"),
        ("red", "c2", "friends"),
        ("green", "c2", "web"),
    ];
    for number in 1..=5 {
        let (network, host, group) = sure.get(number - 1).copied().unwrap_or_else(|| {
            (
                *["red", "green", "blue"].choose(rng).unwrap(),
                *["c1", "c2"].choose(rng).unwrap(),
                *["open", "web", "friends"].choose(rng).unwrap(),
            )
        });
        let name = format!("g{number}");
        rig.add_in_group(&name, host, network, group);
        println!("{name}: {network} on {host}, in {group}");
        placed.push(Placed { name, network });
    }
    placed
}

/// Whether an echo request from a place is answered, or the one after it.
fn pings(from: &Place, to: IpAddr) -> bool {
    let to = to.to_string();
    from.run(&["ping", "-n", "-c2", "-i0.3", "-W1", &to])
        .is_ok()
}

/// How many echo requests of a version of IP a place got so far.
fn echoes(place: &Place, six: bool) -> u64 {
    if six {
        let said = place.run(&["cat", "/proc/net/snmp6"]).unwrap();
        let mut lines = said.lines();
        let line = lines.find_map(|line| line.strip_prefix("Icmp6InEchos"));
        return line.map_or(0, |count| count.trim().parse().unwrap());
    }
    let said = place.run(&["cat", "/proc/net/snmp"]).unwrap();
    let mut lines = said.lines().filter(|line| line.starts_with("Icmp: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut pairs = names.split(' ').zip(values.split(' '));
    let count = pairs.find(|(name, _)| *name == "InEchos").unwrap().1;
    count.parse().unwrap()
}

/// A guest hears no announcements: while it is put into another network by a wrong tag it would take
/// an address there from that network's router, and keep it for a day.
const DEAF: &str = "sysctl -qw net.ipv6.conf.eth0.accept_ra=0; ip -6 route flush proto ra";

const FORGET: &str = r"
for ns in $(ip netns list | cut -d' ' -f1); do
    ip netns exec $ns sh -c 'ip neigh flush all; conntrack -F' >/dev/null 2>&1 || :
done
conntrack -F >/dev/null 2>&1 || :
";

/// A switch forgets MACs, and flows that it made itself.
pub(crate) const UNLEARN: &str = r"
ovs-appctl fdb/flush >/dev/null
ovs-ofctl -O OpenFlow13 --no-stats dump-flows br-tun table=20 |
    sed -n 's/.*hard_timeout=[0-9]*, *\(.*\) actions=.*/\1/p' |
    while read -r match; do
        ovs-ofctl -O OpenFlow13 --strict del-flows br-tun table=20,$match
    done
";
