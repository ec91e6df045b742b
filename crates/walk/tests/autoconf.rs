//! How guests come by addresses, over hosts made of intent: dnsmasq's leases in both versions,
//! routers that announce themselves, and metadata by IPv6; and what is blamed where a process, a
//! rule or an address of theirs is gone.
mod made_up;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use host::netns::Family;
use host::{HostState, names};
use made_up::{MadeUp, id, in_groups, network, port, rule, subnet, subnet_6};
use walk::question::Question;
use walk::report::{Verdict, Walk};
use walk::snapshot::Parts;
use walk::world::World;

/// Network 0 leases addresses of both versions, network 1 makes its own of IPv6, network 2 asks
/// for options alone; a router on h0 announces all three, and DHCP is there too. The guest of a
/// network is on h1.
fn cloud() -> World {
    let modes = ["dhcpv6-stateful", "slaac", "dhcpv6-stateless"];
    let mut cloud = MadeUp {
        hosts: 2,
        groups: 1,
        rules: vec![
            rule(0, 0, ("egress", "IPv4"), (None, None)),
            rule(1, 0, ("egress", "IPv6"), (None, None)),
        ],
        ..MadeUp::default()
    };
    for (n, mode) in modes.into_iter().enumerate() {
        let mut four = subnet(n);
        four["enable_dhcp"] = true.into();
        let both = |last: &str| [format!("10.{n}.0.{last}"), format!("2001:db8:{n}::{last}")];
        let port = |number: usize, owner: &str, last: &str, host: usize| {
            let [four, six] = both(last);
            port(number + n, n, owner, &[&four, &six], host)
        };
        let guest = in_groups(port(1, "compute:nova", "5", 1), [0]);
        let mut gateway = port(100, "network:router_interface", "1", 0);
        gateway["fixed_ips"].as_array_mut().unwrap().remove(0);
        let server = port(200, "network:dhcp", "2", 0);
        cloud.networks.push(network(n));
        cloud.subnets.extend([four, subnet_6(n, mode)]);
        cloud.ports.extend([guest, gateway, server]);
    }
    let snapshot = Parts::read(&cloud.files()).imagine();
    assert_eq!(snapshot.problems, Vec::<String>::new());
    snapshot.world
}

/// The same hosts, as if they had been collected: what is wanted of them is what they are, and
/// then something is done to h0 or h1.
fn broken(host: &str, harm: impl FnOnce(&mut HostState)) -> World {
    let mut world = cloud();
    world.wanted = world.hosts.clone();
    for state in world.wanted.values_mut() {
        // Of dnsmasq a plan says that it runs, not what it listens on.
        for netns in Arc::make_mut(state).netns.values_mut() {
            netns.listeners.retain(|l| l.proto == "tcp");
        }
    }
    harm(Arc::make_mut(world.hosts.get_mut(host).unwrap()));
    world.index();
    world
}

fn ask(world: &World, from: &str, to: &str) -> Walk {
    let question = Question {
        from: from.to_owned(),
        to: to.to_owned(),
        ..Question::default()
    };
    walk::walk(world, &question).unwrap()
}

fn fares(walk: &Walk, verdict: Verdict, replied: bool) {
    let seen = (walk.verdict, walk.replied);
    assert_eq!(seen, (verdict, replied), "{}\n{:#?}", walk.summary, walk);
}

/// The walk names this as what is to blame.
fn blames(walk: &Walk, rule: &str) {
    let at = walk.at.as_ref().expect("a place");
    assert!(at.fault && at.rule.contains(rule), "{at:#?}");
}

fn says(walk: &Walk, what: &str) {
    let steps = walk.forward.iter().chain(&walk.reverse);
    let said: Vec<&str> = steps.map(|s| s.what.as_str()).collect();
    assert!(said.iter().any(|s| s.contains(what)), "{said:#?}");
}

fn qdhcp(network: usize) -> host::NsName {
    names::qdhcp(&id(1, network))
}

#[test]
fn sound_hosts_lease_announce_and_answer() {
    let world = cloud();
    for (guest, to, said) in [
        ("p1", "dhcp", "dnsmasq offers 10.0.0.5"),
        ("p1", "dhcp6", "dnsmasq offers 2001:db8:0::5"),
        ("p3", "dhcp6", "dnsmasq tells its options"),
        ("p1", "ra", "router advertisement fe80::"),
        ("p2", "ra", "radvd announces"),
        ("p1", "metadata6", "listens on tcp/80"),
        ("p2", "fe80::a9fe:a9fe", "listens on tcp/80"),
    ] {
        let walk = ask(&world, guest, to);
        fares(&walk, Verdict::Delivered, true);
        assert_eq!(walk.at, None, "{guest} > {to}");
        let said = said.replace("db8:0:", "db8:");
        says(&walk, &said);
    }
    // Nothing listens for clients whose network makes its own addresses.
    fares(&ask(&world, "p2", "dhcp6"), Verdict::Dropped, false);
}

#[test]
fn nothing_is_blamed_on_hosts_that_are_as_wanted() {
    let world = broken("h0", |_| {});
    for to in ["dhcp", "dhcp6", "ra", "metadata6"] {
        let walk = ask(&world, "p1", to);
        fares(&walk, Verdict::Delivered, true);
        assert_eq!(walk.at, None, "{to}");
    }
}

#[test]
fn a_radvd_that_does_not_run_is_missed() {
    let world = broken("h0", |h0| {
        h0.processes.remove(&format!("radvd {}", id(7, 0)));
    });
    let walk = ask(&world, "p1", "ra");
    fares(&walk, Verdict::Dropped, false);
    blames(&walk, "MISSING process radvd in qrouter-");
}

#[test]
fn a_device_that_radvd_was_not_told_of_is_missed() {
    let path = format!("ra/{}.radvd.conf", id(7, 0));
    let device = names::qr(&id(3, 100));
    let world = broken("h0", |h0| {
        let lines = &mut h0.files.get_mut(&path).unwrap().lines;
        lines.retain(|l| l.text != format!("interface {device}"));
    });
    let walk = ask(&world, "p1", "ra");
    fares(&walk, Verdict::Dropped, false);
    blames(&walk, &format!("MISSING interface {device}"));
    fares(&ask(&world, "p2", "ra"), Verdict::Delivered, true);
}

#[test]
fn a_router_without_ipv6_says_so() {
    let mut cloud = MadeUp {
        hosts: 1,
        groups: 1,
        networks: vec![network(0)],
        subnets: vec![subnet(0)],
        ..MadeUp::default()
    };
    let guest = in_groups(port(1, 0, "compute:nova", &["10.0.0.5"], 0), [0]);
    let gateway = port(100, 0, "network:router_interface", &["10.0.0.254"], 0);
    cloud.ports.extend([guest, gateway]);
    let world = Parts::read(&cloud.files()).imagine().world;
    let walk = ask(&world, "p1", "ra");
    fares(&walk, Verdict::Dropped, false);
    let at = walk.at.expect("a place");
    assert!(
        !at.fault && at.why.contains("no router has an interface"),
        "{at:#?}"
    );
}

#[test]
fn a_server_that_does_not_run_is_missed_in_both_versions() {
    let world = broken("h0", |h0| {
        h0.processes.remove(&format!("dnsmasq {}", id(1, 0)));
        h0.netns_mut(qdhcp(0)).listeners.clear();
    });
    for to in ["dhcp", "dhcp6"] {
        let walk = ask(&world, "p1", to);
        fares(&walk, Verdict::Dropped, false);
        blames(&walk, "MISSING process dnsmasq in qdhcp-");
        let why = walk.at.map(|at| at.why).unwrap_or_default();
        assert!(why.contains("h0 in qdhcp-"), "{why}\n{:#?}", walk.forward);
    }
}

#[test]
fn a_server_without_a_range_offers_nothing_of_it() {
    let world = broken("h0", |h0| {
        let server = h0.processes.get_mut(&format!("dnsmasq {}", id(1, 0)));
        server
            .unwrap()
            .argv
            .retain(|arg| !arg.contains("2001:db8:"));
    });
    let walk = ask(&world, "p1", "dhcp6");
    fares(&walk, Verdict::Delivered, false);
    blames(&walk, "process dnsmasq --no-hosts");
    says(&walk, "started without a range");
    fares(&ask(&world, "p1", "dhcp"), Verdict::Delivered, true);
}

#[test]
fn a_clients_line_that_is_gone_or_another_is_named() {
    let path = format!("dhcp/{}/host", id(1, 0));
    for (to, mine) in [("dhcp", ",10.0.0.5"), ("dhcp6", ",[2001:db8:")] {
        let gone = broken("h0", |h0| {
            let lines = &mut h0.files.get_mut(&path).unwrap().lines;
            lines.retain(|l| !l.text.contains(mine) || !l.text.contains("00:00:01"));
        });
        let walk = ask(&gone, "p1", to);
        fares(&walk, Verdict::Delivered, false);
        blames(&walk, "MISSING fa:16:3e:00:00:01,");
        let other = broken("h0", |h0| {
            let lines = &mut h0.files.get_mut(&path).unwrap().lines;
            for line in lines.iter_mut().filter(|l| l.text.contains(mine)) {
                line.text = line.text.replace("00:00:01", "00:00:99");
            }
        });
        let walk = ask(&other, "p1", to);
        fares(&walk, Verdict::Delivered, false);
        blames(&walk, "fa:16:3e:00:00:99,");
    }
}

#[test]
fn the_metadata_address_that_is_gone_is_missed() {
    let address: IpAddr = "fe80::a9fe:a9fe".parse().unwrap();
    let world = broken("h0", |h0| {
        let netns = h0.netns_mut(qdhcp(0));
        netns.addrs.retain(|key, _| key.net.addr() != address);
        for routes in netns.routes.values_mut() {
            routes.retain(|key, _| key.dst.addr() != address);
        }
    });
    let walk = ask(&world, "p1", "metadata6");
    fares(&walk, Verdict::Dropped, false);
    blames(&walk, "MISSING inet6 fe80::a9fe:a9fe/64");
    let world = broken("h0", |h0| {
        let netns = h0.netns_mut(qdhcp(0));
        netns.listeners.retain(|l| l.port != 80);
    });
    let walk = ask(&world, "p1", "metadata6");
    fares(&walk, Verdict::Dropped, false);
    blames(&walk, "nothing listens on tcp/80");
}

#[test]
fn rules_that_let_guests_ask_are_missed() {
    let chains = |guest: usize| {
        let chain = |kind| names::port_chain(kind, &id(3, guest));
        [
            chain(names::PortChain::Ingress),
            chain(names::PortChain::Egress),
        ]
    };
    for (to, word) in [("ra", "134"), ("dhcp6", "546"), ("dhcp6", "547")] {
        let mut gone = BTreeMap::new();
        let world = broken("h1", |h1| {
            let tables = h1
                .netns_mut(host::NsName::root())
                .iptables
                .get_mut(&Family::V6);
            let filter = tables.unwrap().get_mut("filter").unwrap();
            for chain in chains(1) {
                let rules = &mut filter.chains.get_mut(&chain).unwrap().rules;
                let before = rules.len();
                rules.retain(|r| !walk::text::rule(&chain, r).contains(word));
                gone.insert(chain, before - rules.len());
            }
        });
        if gone.values().sum::<usize>() == 0 {
            panic!("no rule about {word} in {gone:?}");
        }
        let walk = ask(&world, "p1", to);
        assert!(!walk.replied, "{to} without {word}: {}", walk.summary);
        blames(&walk, word);
    }
}

#[test]
fn an_address_that_the_kernel_made_of_an_announcement_is_nobodys_fault() {
    let extra = |dynamic: bool| {
        let world = broken("h0", |h0| {
            let netns = h0.netns_mut(names::qrouter(&id(7, 0)));
            let key = host::netns::AddrKey {
                dev: names::qr(&id(3, 100)),
                net: "2001:db8::7/64".parse().unwrap(),
            };
            let flags = dynamic.then(|| "dynamic".to_owned()).into_iter().collect();
            let addr = host::netns::Addr {
                scope: "global".to_owned(),
                flags: host::Shown(flags),
                ..host::netns::Addr::default()
            };
            netns.addrs.insert(key, addr);
        });
        world.differences().len()
    };
    assert_eq!((extra(true), extra(false)), (0, 1));
}
