//! What serves guests comes back when it was broken.

use crate::clouds::{BEYOND, ip, pings, shell};
use crate::rig::{Rig, soon, within};
use lab::Topology;
use lab::topology::{Addressing, TunnelType};
use serde_json::json;
use std::fs;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// What served guests and ended is back in this time.
const SERVED: Duration = Duration::from_secs(1);
/// What raises an event is healed in this time, counted from the damage.
const EVENT: Duration = Duration::from_secs(2);
/// What tells nothing is found by looking, every 8 seconds.
const LOOKED: Duration = Duration::from_secs(10);

/// A guest with a lease and a floating IP, behind a router of both versions of IP.
pub(crate) struct Cloud {
    pub(crate) rig: Rig,
    red: String,
    router: String,
    pub(crate) floating: IpAddr,
}

pub(crate) fn cloud(tunnel_type: TunnelType) -> Cloud {
    let mut rig = Rig::up(Topology {
        tunnel_type,
        addressing: Addressing::Dhcp,
        ..Topology::default()
    });
    let red = rig.net("red", &json!({}));
    let four = rig.subnet(&red, "10.1.0.0/24", &json!({}));
    let six = rig.subnet_6(&red, "fd00:1::/64", "slaac");
    let router = rig.router("r", &[&four, &six]);
    let public = rig.public();
    rig.lead_outside(&router, &public, &json!({}));
    rig.add("red1", "c1", "red");
    rig.open("red1");
    let (_, floating) = rig.float(&public, "red1");
    let outside = rig.outside();
    soon("the floating IP leads in", || pings(&outside, floating));
    Cloud {
        rig,
        red,
        router,
        floating,
    }
}

fn lease(guest: &str) -> String {
    format!("/run/lab-lease-{guest}")
}

/// A guest's client asks for its lease again and is answered. Asked twice it would begin anew,
/// without its address.
pub(crate) fn renews(rig: &Rig, guest: &str) {
    rig.run(
        &rig.guest(guest).guest.host,
        &format!("rm {}", lease(guest)),
    );
    asks_again(rig, guest);
    soon("the lease is renewed", || is_renewed(rig, guest));
}

fn asks_again(rig: &Rig, guest: &str) {
    rig.guest(guest).sh(&format!(
        "kill -USR1 $(ip netns pids {guest} 2>/dev/null | xargs -r ps -o pid=,comm= -p | awk '/udhcpc/{{print $1}}')"
    ));
}

fn is_renewed(rig: &Rig, guest: &str) -> bool {
    let host = rig.lab.place(&rig.guest(guest).guest.host).unwrap();
    let told = host.run(&["cat", &lease(guest)]);
    told.is_ok_and(|told| told.contains("ip="))
}

#[test]
fn services_that_were_broken_are_healed() {
    are_healed(TunnelType::Vxlan);
}

pub(crate) fn are_healed(tunnel_type: TunnelType) {
    let cloud = cloud(tunnel_type);
    instance(&cloud);
    processes(&cloud);
    tables(&cloud);
    namespaces(&cloud);
}

/// The server's own metadata service: what it was told of an instance, in both forms.
fn instance(cloud: &Cloud) {
    let rig = &cloud.rig;
    let guest = rig.guest("red1");
    let told = json!({
        "hostname": "web", "public_keys": {"mine": "ssh-ed25519 AAAA me"},
        "user_data": "IyEvYmluL3NoCg==",
    });
    let id = guest.guest.port.vm;
    let url = format!("{}/nucleon/v1/instances/{id}", rig.lab.api().unwrap());
    let put = format!("curl -sSf -X PUT '{url}' -d '{told}'");
    shell(&lab::Place::here(), &put);
    let ask = |path: &str| {
        let said = guest.exec(&format!("curl -s -m 5 http://169.254.169.254/{path}"));
        String::from_utf8_lossy(&said.stdout).into_owned()
    };
    for (path, wanted) in [
        ("latest/meta-data/instance-id", id.to_string().as_str()),
        ("latest/meta-data/hostname", "web"),
        ("latest/meta-data/local-ipv4", &guest.ip().to_string()),
        ("latest/meta-data/public-ipv4", &cloud.floating.to_string()),
        (
            "latest/meta-data/public-keys/0/openssh-key",
            "ssh-ed25519 AAAA me",
        ),
        ("latest/user-data", "#!/bin/sh\n"),
        ("openstack/latest/user_data", "#!/bin/sh\n"),
    ] {
        assert_eq!(ask(path), wanted, "{path}");
    }
    let document = |name: &str| -> serde_json::Value {
        let text = ask(&format!("openstack/latest/{name}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    let meta = document("meta_data.json");
    assert_eq!(meta["uuid"], json!(id), "{meta}");
    assert_eq!(meta["hostname"], "web");
    assert_eq!(meta["public_keys"]["mine"], "ssh-ed25519 AAAA me");
    let links = document("network_data.json");
    let mac = &links["links"][0]["ethernet_mac_address"];
    assert_eq!(*mac, guest.guest.port.mac, "{links}");
}

fn processes(cloud: &Cloud) {
    let agent = cloud.rig.lab.machine("net").unwrap().dir.join("agent");
    for file in [
        format!("dhcp/{}/pid", cloud.red),
        format!("external/pids/{}.pid.radvd", cloud.router),
    ] {
        let pid = || {
            fs::read_to_string(agent.join(&file))
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let before = pid();
        cloud.rig.run("net", &format!("kill -9 {before}"));
        let killed = Instant::now();
        within(SERVED, &format!("{file} is another's"), || {
            let now = pid();
            let net = cloud.rig.lab.place("net").unwrap();
            now != before
                && !now.is_empty()
                && net.run(&["test", "-d", &format!("/proc/{now}")]).is_ok()
        });
        println!("{file}: back after {} ms", killed.elapsed().as_millis());
    }
    renews(&cloud.rig, "red1");
}

fn tables(cloud: &Cloud) {
    let rig = &cloud.rig;
    let inside = |command: &str| {
        rig.run(
            "net",
            &format!("ip netns exec qrouter-{} {command}", cloud.router),
        )
    };
    let tables = ["iptables", "ip6tables"]
        .map(|program| ["nat", "mangle", "filter", "raw"].map(|table| (program, table)))
        .concat();
    let rules = || -> Vec<String> {
        let saved = tables.iter();
        let saved = saved.map(|(program, table)| inside(&format!("{program} -t {table} -S")));
        saved.collect()
    };
    let before = rules();
    for (program, table) in &tables {
        inside(&format!("{program} -t {table} -F"));
    }
    let forwards = || inside("sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding");
    let forwarded = forwards();
    assert_eq!(forwarded.matches("= 1").count(), 2, "{forwarded}");
    inside("sysctl -w net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0");
    let damaged = Instant::now();
    within(LOOKED, "the rules are back", || rules() == before);
    println!("rules: back after {} ms", damaged.elapsed().as_millis());
    within(LOOKED, "it forwards again", || forwards() == forwarded);
    let ways = || inside("ip route show");
    let before = ways();
    inside("ip route flush table main");
    within(LOOKED, "the routes are back", || {
        same_lines(&ways(), &before)
    });
    let addresses = || inside("ip -4 -o addr show");
    let devices = addresses();
    let gateway = devices
        .split_whitespace()
        .find(|word| word.starts_with("qg-"))
        .unwrap();
    inside(&format!("ip addr flush dev {gateway}"));
    within(LOOKED, "the addresses are back", || {
        same_lines(&addresses(), &devices) && same_lines(&ways(), &before)
    });
    reached(cloud);
}

/// The order of routes is that in which they came.
fn same_lines(one: &str, other: &str) -> bool {
    let lines = |text: &str| -> std::collections::BTreeSet<String> {
        text.lines().map(|line| line.trim().to_owned()).collect()
    };
    lines(one) == lines(other)
}

fn namespaces(cloud: &Cloud) {
    let rig = &cloud.rig;
    let net = rig.lab.place("net").unwrap();
    for (name, process) in [
        (format!("qrouter-{}", cloud.router), "radvd"),
        (format!("qdhcp-{}", cloud.red), "dnsmasq"),
    ] {
        let id = || {
            net.run(&["stat", "-c", "%i", &format!("/run/netns/{name}")])
                .unwrap_or_default()
        };
        let served = || {
            let pids = net.run(&["ip", "netns", "pids", &name]).unwrap_or_default();
            let words = pids.split_whitespace().collect::<Vec<_>>().join(",");
            let running = net
                .run(&["ps", "-o", "comm=", "-p", &words])
                .unwrap_or_default();
            running.contains(process)
        };
        assert!(served(), "{process} is in {name}");
        let before = id();
        rig.run("net", &format!("ip netns del {name}"));
        let deleted = Instant::now();
        within(EVENT, &format!("{name} is another"), || {
            let now = id();
            !now.is_empty() && now != before
        });
        println!("{name}: another after {} ms", deleted.elapsed().as_millis());
        let left = |what: &str| {
            let left = EVENT.checked_sub(deleted.elapsed());
            left.unwrap_or_else(|| panic!("{EVENT:?} are over: {what}"))
        };
        within(left("server"), &format!("{name} is served"), served);
        println!(
            "{name}: {process} after {} ms",
            deleted.elapsed().as_millis()
        );
        is_of_use(cloud, &left);
        println!("{name}: of use after {} ms", deleted.elapsed().as_millis());
    }
}

/// Guests are reached, reach the outside, and are told what they ask, in the time that is left.
fn is_of_use(cloud: &Cloud, left: &dyn Fn(&str) -> Duration) {
    let rig = &cloud.rig;
    let outside = rig.outside();
    within(left("in"), "the floating IP leads in", || {
        pings(&outside, cloud.floating)
    });
    let guest = rig.guest("red1");
    within(left("out"), "the outside is reached", || {
        guest.pings_once(ip(BEYOND))
    });
    let ask = "curl -s -m 1 http://169.254.169.254/latest/meta-data/local-ipv4";
    within(left("metadata"), "metadata is answered", || {
        guest.exec(ask).stdout == guest.ip().to_string().as_bytes()
    });
    rig.run("c1", &format!("rm {}", lease("red1")));
    within(left("lease"), "the lease is renewed", || {
        asks_again(rig, "red1");
        let asked = Instant::now();
        while !is_renewed(rig, "red1") && asked.elapsed() < Duration::from_millis(700) {
            std::thread::sleep(Duration::from_millis(20));
        }
        is_renewed(rig, "red1")
    });
}

fn reached(cloud: &Cloud) {
    let outside = cloud.rig.outside();
    within(LOOKED, "the floating IP leads in", || {
        pings(&outside, cloud.floating)
    });
    cloud.rig.guest("red1").must_ping(ip(BEYOND));
}
