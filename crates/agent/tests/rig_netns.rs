//! Namespaces of ours beside those of others who call `ip netns`, and what is read and changed in
//! them beside what the tools show.

use std::path::Path;
use std::process::Command;

use agent::filters::{Filters, Known, Sets};
use agent::netns;
use agent::rtnetlink::{self, Asker};
use host::NsName;
use host::iptables::read_iptables;
use host::netns::{
    Addr, AddrKey, Family, LOCAL, MAIN, Netns, Route, read_ip_addr, read_neighbours, read_routes,
    read_rules,
};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// This thread's own mounts, with a /run/netns that nobody has used yet.
fn fresh() -> NsName {
    unshare(CloneFlags::CLONE_NEWNS).expect("mounts of its own (this test needs root)");
    let none = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).expect("private mounts");
    let empty = MsFlags::empty();
    mount(Some("tmpfs"), "/run", Some("tmpfs"), empty, none).expect("a tmpfs");
    std::fs::create_dir("/run/netns").expect("a folder");
    NsName::new("qrouter-1")
}

fn is_usable(name: &NsName) -> bool {
    netns::within(name, || Ok(())).is_ok()
}

#[test]
fn a_namespace_is_removed_and_made_again_after_others_made_theirs() {
    let name = fresh();
    netns::add(&name).expect("it is made");
    // This makes /run/netns a mount of its own the first time, with all that is below it.
    let others = Command::new("ip").args(["netns", "add", "guest"]).status();
    assert!(others.expect("ip runs").success());
    netns::remove(&name).expect("it is removed");
    assert!(!Path::new("/run/netns/qrouter-1").exists());
    netns::add(&name).expect("it is made again");
    assert!(is_usable(&name));
}

#[test]
fn a_file_that_is_no_namespace_is_made_one() {
    let name = fresh();
    std::fs::write("/run/netns/qrouter-1", "").expect("a file");
    netns::add(&name).expect("it is made");
    assert!(is_usable(&name));
    netns::add(&name).expect("it stays");
    netns::remove(&name).expect("it is removed");
}

/// A namespace with a bit of everything, made by the tools.
const FULL: &str = "\
link add qr-1 type veth peer name peer-1
link add qr-2 type veth peer name peer-2
link add name bridge-a type bridge
link set qr-2 master bridge-a
link set qr-1 address fa:16:3e:00:00:01 mtu 1450 up
link set bridge-a up
link set peer-1 up
addr add 10.0.0.1/24 brd 10.0.0.255 scope global dev qr-1
addr add 10.0.0.9/32 scope global dev qr-1
addr add 169.254.31.28/31 scope link dev qr-1
addr add 2001:db8::1/64 nodad dev qr-1
route add default via 10.0.0.254 dev qr-1 proto static
route add 10.9.0.0/16 dev qr-1 scope link proto static
route add 10.8.0.0/16 via 10.0.0.2 dev qr-1 src 10.0.0.1 metric 7 mtu 1400 onlink
route add 10.7.0.0/16 nexthop via 10.0.0.2 dev qr-1 weight 1 nexthop via 10.0.0.3 dev qr-1 weight 4
route add default via 10.0.0.2 dev qr-1 table 167772161
route add blackhole 10.6.0.0/16
route add 2001:db8:9::/48 via 2001:db8::2 dev qr-1 proto static
route add 2001:db8:8::/48 via fe80::1 dev qr-1 metric 9
rule add priority 57481 from 10.0.0.5 lookup 16
rule add priority 80000 from 10.0.0.0/24 to 10.2.0.0/16 iif qr-1 fwmark 0x1/0xffff lookup 3000000000
rule add priority 80001 not from 10.0.0.7 oif qr-1 goto 90000
rule add priority 90000 to 10.0.0.8 unreachable
neigh add 10.0.0.77 lladdr fa:16:3e:00:00:77 dev qr-1 nud permanent
neigh add 2001:db8::77 lladdr fa:16:3e:00:00:77 dev qr-1 nud permanent
neigh add 10.0.0.78 lladdr fa:16:3e:00:00:78 dev qr-1 nud stale
";

/// A namespace that is full of it.
fn full() -> NsName {
    let name = fresh();
    netns::add(&name).expect("it is made");
    // An address that is still looked at would get its route later.
    let at_once = || std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0");
    netns::within(&name, at_once).expect("a setting");
    std::fs::write("/run/full", FULL).expect("a file");
    for words in [
        "-batch /run/full",
        "-6 rule add priority 90001 from 2001:db8::/64 lookup 17",
    ] {
        let argv = ["-n", name.as_str()].into_iter().chain(words.split(' '));
        let made = Command::new("ip").args(argv).status();
        assert!(made.expect("ip runs").success(), "{words}");
    }
    name
}

/// What the tools show.
fn shown(name: &NsName) -> Netns {
    let ip = |words: &str| {
        let argv = ["-n", name.as_str()].into_iter().chain(words.split(' '));
        let output = Command::new("ip").args(argv).output().expect("ip runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let found = read_ip_addr(&ip("addr")).expect("addresses");
    let routes = |words: &str, family| read_routes(&ip(words), family).expect("routes");
    let mut netns = Netns {
        links: found.links.into(),
        addrs: found.addrs,
        routes: routes("-4 route show table all", Family::V4),
        rules: read_rules(&ip("-4 rule"), Family::V4).expect("rules"),
        neighbours: read_neighbours(&ip("neigh show nud permanent")).expect("neighbours"),
        ..Netns::default()
    };
    for (table, routes) in routes("-6 route show table all", Family::V6) {
        netns.routes.entry(table).or_default().extend(routes);
    }
    let more = read_rules(&ip("-6 rule"), Family::V6).expect("rules");
    netns.rules.extend(more);
    netns
}

#[test]
fn what_the_kernel_says_is_what_the_tools_show() {
    let name = full();
    let asker = netns::within(&name, Asker::open).expect("a socket");
    let (seen, mut shown) = (asker.read().expect("all that is there"), shown(&name));
    // Nobody compares which devices are a pair.
    shown.links.values_mut().for_each(|link| link.peer = None);
    assert_eq!(seen.links, shown.links);
    assert_eq!(seen.addrs, shown.addrs);
    assert_eq!(seen.routes, shown.routes);
    assert_eq!(seen.rules, shown.rules);
    assert_eq!(seen.neighbours, shown.neighbours);
    assert!(seen.routes[&MAIN].len() >= 10, "{:?}", seen.routes[&MAIN]);
}

#[test]
fn what_is_ordered_is_there_and_goes_again() {
    let name = full();
    let asker = netns::within(&name, Asker::open).expect("a socket");
    let before = asker.read().expect("all that is there");
    let indexes = asker.indexes().expect("devices");
    let index = indexes["qr-1"];
    let not_kernels = |route: &Route| route.proto != "kernel";
    let mut gone = Vec::new();
    let mut back = Vec::new();
    for (key, addr) in before.addrs.iter().filter(|(key, _)| key.dev == "qr-1") {
        let is_link_local = key.net.to_string().starts_with("fe80");
        if !is_link_local {
            gone.push(rtnetlink::remove_addr(index, key));
            back.push(rtnetlink::put_addr(index, key, addr));
        }
    }
    for (table, routes) in before.routes.iter().filter(|(table, _)| **table != LOCAL) {
        for (key, route) in routes.iter().filter(|(_, route)| not_kernels(route)) {
            gone.extend(rtnetlink::remove_route(*table, key, &indexes));
            back.extend(rtnetlink::put_route(*table, key, route, &indexes));
        }
    }
    let kernels = [0, 32766, 32767];
    for (key, action) in &before.rules {
        if !kernels.contains(&key.priority) {
            gone.push(rtnetlink::remove_rule(key, action));
            back.push(rtnetlink::add_rule(key, action));
        }
    }
    for (key, neighbour) in &before.neighbours {
        gone.push(rtnetlink::remove_neighbour(index, key));
        back.push(rtnetlink::put_neighbour(index, key, neighbour));
    }
    let failed = asker.order(&gone);
    assert!(failed.is_empty(), "{failed:?}");
    let without = asker.read().expect("what is left");
    assert!(
        without.rules.len() == 5 && without.neighbours.is_empty(),
        "{without:?}"
    );
    assert!(!without.routes.contains_key(&16) && !without.routes[&MAIN].values().any(not_kernels));
    let failed = asker.order(&back);
    assert!(failed.is_empty(), "{failed:?}");
    let again = asker.read().expect("all that is there again");
    assert_eq!(again.addrs, before.addrs);
    assert_eq!(again.routes, before.routes);
    assert_eq!(again.rules, before.rules);
    assert_eq!(again.neighbours, before.neighbours);
    // What is not there is gone already; what can't be done is said.
    assert!(asker.order(&gone).is_empty());
    assert!(asker.order(&gone).is_empty());
    let key = AddrKey {
        dev: "none".to_owned(),
        net: "10.1.0.1/24".parse().expect("a net"),
    };
    let failed = asker.order(&[rtnetlink::put_addr(4711, &key, &Addr::default())]);
    assert_eq!(
        failed[0].to_string(),
        "cannot put address 10.1.0.1/24 on none"
    );
}

#[tokio::test]
async fn rules_of_a_new_namespace_are_written_and_believed_without_being_read() {
    let name = fresh();
    netns::add(&name).expect("it is made");
    let none = Filters::default();
    let mut known = Known::of(name.clone(), Sets::None);
    assert_eq!(known.observe().await.expect("nothing"), none);
    let text = "*nat\n:PREROUTING ACCEPT [0:0]\n:neutron-l3-agent-PREROUTING - [0:0]\n\
        -A PREROUTING -j neutron-l3-agent-PREROUTING\n\
        -A neutron-l3-agent-PREROUTING -d 172.24.4.9/32 -j DNAT --to-destination 10.0.0.5\nCOMMIT\n";
    let tables = read_iptables(text).expect("a table");
    let want = Filters {
        iptables: [(Family::V4, tables)].into(),
        ..Filters::default()
    };
    let failed = known.apply(&none, &want).await;
    assert!(failed.is_empty(), "{failed:?}");
    assert!(known.is_read(), "what was written is believed");
    let believed = known.observe().await.expect("rules");
    let read = Known::of(name, Sets::None).observe().await.expect("rules");
    for chain in ["PREROUTING", "neutron-l3-agent-PREROUTING"] {
        let of = |filters: &Filters| filters.iptables[&Family::V4]["nat"].chains[chain].clone();
        assert_eq!(of(&believed), of(&read));
    }
}
