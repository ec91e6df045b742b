//! What real DHCP clients are told: udhcpc and dhclient, IPv4 and IPv6, and who makes his address
//! himself.

use crate::clouds::{ip, shell};
use crate::rig::{Background, Rig, soon};
use crate::services::renews;
use ipnet::IpNet;
use lab::topology::{Addressing, TunnelType};
use lab::{GuestWish, Topology};
use serde_json::json;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// What dhclient runs: the options are written down, IPv6 addresses set.
const SCRIPT: &str = r#"#!/bin/sh
env | grep '^new_' | sort >"/run/dhclient-$GUEST-$reason"
case "$reason" in
BOUND6) ip -6 addr replace "$new_ip6_address/64" dev "$interface" nodad ;;
esac
"#;

const WANTED: &str = "request subnet-mask, routers, domain-name, domain-name-servers, host-name, \
     ntp-servers, interface-mtu, dhcp6.name-servers, dhcp6.domain-search, dhcp6.sntp-servers;\n";

/// Asks with dhclient in a guest; gives what it was told.
fn dhclient(rig: &Rig, guest: &str, how: &str, reason: &str) -> String {
    let host = &rig.guest(guest).guest.host;
    let machine = rig.lab.machine(host).unwrap();
    let (script, config) = (
        machine.dir.join("dhclient.sh"),
        machine.dir.join("dhclient.conf"),
    );
    fs::write(&script, SCRIPT).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&config, WANTED).unwrap();
    // As one that was never here: it asks for an address instead of for its last one again.
    let forget = format!(
        "[ ! -e /run/dhclient-{guest}.pid ] || kill $(cat /run/dhclient-{guest}.pid); \
         rm -f /run/dhclient-{guest}*"
    );
    shell(&rig.guest(guest).place, &forget);
    rig.guest(guest).run(&format!(
        "dhclient {how} -1 -cf {} -lf /run/dhclient-{guest}.leases -pf /run/dhclient-{guest}.pid \
         -sf {} -e GUEST={guest} eth0",
        config.display(),
        script.display()
    ));
    rig.run(host, &format!("cat /run/dhclient-{guest}-{reason}"))
}

fn assert_says(what: &str, text: &str, lines: &[&str]) {
    for line in lines {
        assert!(
            text.lines().any(|it| it == *line),
            "{what} says no {line}:\n{text}"
        );
    }
}

#[test]
fn clients_are_told_what_subnets_and_ports_say() {
    told_by(TunnelType::Vxlan);
}

pub(crate) fn told_by(tunnel_type: TunnelType) {
    let mut rig = Rig::up(Topology {
        tunnel_type,
        addressing: Addressing::Dhcp,
        ..Topology::default()
    });
    // What is left of the underlay's 1500.
    let mtu = if tunnel_type == TunnelType::Gre {
        1458
    } else {
        1450
    };
    four(&mut rig, mtu);
    names(&rig);
    given_on(&mut rig);
    options(&rig);
    lost(&rig);
    six(&mut rig, mtu);
}

/// IPv4: two subnets on one network, host routes, name servers.
fn four(rig: &mut Rig, mtu: u32) {
    let red = rig.net("red", &json!({"dns_domain": "cloud.example."}));
    rig.subnet(
        &red,
        "10.1.0.0/24",
        &json!({
            "dns_nameservers": ["192.0.2.53", "192.0.2.54"],
            "host_routes": [{"destination": "10.99.0.0/16", "nexthop": "10.1.0.254"}],
        }),
    );
    let second = rig.subnet(&red, "10.1.1.0/24", &json!({}));
    rig.add_with("alpha", "c1", "red", |wish| {
        wish.port("dns_name", json!("alpha"))
            .port("fixed_ips", json!([{"ip_address": "10.1.0.77"}]))
    });
    rig.add_with("beta", "c2", "red", |wish| {
        wish.port("fixed_ips", json!([{"subnet_id": second}]))
    });
    let told = rig.run("c1", "cat /run/lab-lease-alpha");
    let routes = "staticroutes=10.99.0.0/16 10.1.0.254 169.254.169.254/32 10.1.0.2 \
                  10.1.1.0/24 0.0.0.0 0.0.0.0/0 10.1.0.1";
    let common = [
        "ip=10.1.0.77",
        "mask=24",
        "router=10.1.0.1",
        "serverid=10.1.0.2",
        "dns=192.0.2.53 192.0.2.54",
        "domain=cloud.example",
        "hostname=alpha",
        &format!("mtu={mtu}"),
        "lease=86400",
        routes,
    ];
    assert_says("udhcpc", &told, &common);
    let told = dhclient(rig, "alpha", "-4", "BOUND");
    let common = [
        "new_ip_address=10.1.0.77",
        "new_subnet_mask=255.255.255.0",
        "new_routers=10.1.0.1",
        "new_domain_name_servers=192.0.2.53 192.0.2.54",
        "new_domain_name=cloud.example",
        "new_host_name=alpha",
        &format!("new_interface_mtu={mtu}"),
        "new_dhcp_lease_time=86400",
    ];
    assert_says("dhclient", &told, &common);

    let beta = rig.run("c2", "cat /run/lab-lease-beta");
    assert!(beta.contains("\nip=10.1.1."), "{beta}");
    // The second subnet names no name server, so the DHCP server is one.
    assert_says("udhcpc", &beta, &["dns=10.1.1.2", "router=10.1.1.1"]);
    rig.open("beta");
    // Both subnets are on one wire: no router is between them, and there is none.
    rig.guest("alpha").must_ping(rig.guest("beta").ip());
}

/// The DHCP server knows the names of the network's ports, the new ones too, and goes on running.
fn names(rig: &Rig) {
    let server = |question: &str| looks_up(rig, question);
    soon("the name is known", || {
        server("alpha.cloud.example").contains("10.1.0.77")
    });
    let beta = rig.guest("beta").ip().to_string();
    let name = format!("host-{}.cloud.example", beta.replace('.', "-"));
    assert!(server(&name).contains(&beta), "{}", server(&name));
    assert!(server(&beta).contains(&name), "{}", server(&beta));
    let red = network(rig, "red");
    let pid = || dhcp_file(rig, &red, "pid");
    let before = pid();
    rig.update_port("beta", &json!({"dns_name": "beta"}));
    soon("the new name is known", || {
        server("beta.cloud.example").contains(&beta)
    });
    assert_eq!(
        pid(),
        before,
        "a file that changed is no reason to start it anew"
    );
    rig.put(
        &format!("networks/{red}"),
        &json!({"network": {"dns_domain": "other.example."}}),
    );
    soon("the new domain is known", || {
        server("beta.other.example").contains(&beta)
    });
    assert_ne!(pid(), before, "its arguments changed");
}

/// What the DHCP server answers alpha, asked for a name or an address.
fn looks_up(rig: &Rig, question: &str) -> String {
    let asked = rig
        .guest("alpha")
        .exec(&format!("busybox nslookup {question} 10.1.0.2"));
    String::from_utf8_lossy(&asked.stdout).into_owned()
}

fn network(rig: &Rig, name: &str) -> String {
    let network = rig.client().find("networks", name).unwrap();
    lab::client::text(&network, "id").unwrap().to_owned()
}

fn dhcp_folder(rig: &Rig, network: &str) -> PathBuf {
    let machine = rig.lab.machine("net").unwrap();
    machine.dir.join(format!("agent/dhcp/{network}"))
}

fn dhcp_file(rig: &Rig, network: &str, name: &str) -> String {
    fs::read_to_string(dhcp_folder(rig, network).join(name)).unwrap_or_default()
}

/// A server that knows no lease, because its network came from another node or its file is lost,
/// renews those of its guests without a word against it.
fn lost(rig: &Rig) {
    let red = network(rig, "red");
    let before = dhcp_file(rig, &red, "pid");
    fs::remove_file(dhcp_folder(rig, &red).join("leases")).unwrap();
    rig.run("net", &format!("kill -9 {}", before.trim()));
    soon("another server runs", || {
        let now = dhcp_file(rig, &red, "pid");
        now != before && !now.is_empty()
    });
    let heard = Background::capture(&rig.guest("beta").place, "-v -i eth0 udp src port 67");
    renews(rig, "beta");
    soon("the answer is seen", || heard.text().contains(": ACK"));
    let said = heard.stop();
    assert!(!said.contains("NACK"), "{said}");
}

/// An address whose guest is gone is given to the next one that has it, at once, by the same server.
fn given_on(rig: &mut Rig) {
    let red = network(rig, "red");
    let server = dhcp_file(rig, &red, "pid");
    for guest in ["gamma", "delta"] {
        rig.add_with(guest, "c2", "red", |wish| {
            wish.port("fixed_ips", json!([{"ip_address": "10.1.0.88"}]))
        });
        let told = rig.run("c2", &format!("cat /run/lab-lease-{guest}"));
        assert_says("udhcpc", &told, &["ip=10.1.0.88"]);
        // Killed, its client gives nothing back.
        rig.lab.remove_guest(guest).unwrap();
    }
    assert_eq!(dhcp_file(rig, &red, "pid"), server);
}

/// A port's own options are told with the next lease, and the server goes on telling new names.
fn options(rig: &Rig) {
    let wish = json!([
        {"opt_name": "ntp-server", "opt_value": "192.0.2.123"},
        {"opt_name": "mtu", "opt_value": "1400"},
    ]);
    rig.update_port("alpha", &json!({ "extra_dhcp_opts": wish }));
    let options = ["new_ntp_servers=192.0.2.123", "new_interface_mtu=1400"];
    let told = || dhclient(rig, "alpha", "-4", "BOUND");
    soon("the options are told", || {
        let told = told();
        options.iter().all(|option| told.contains(option))
    });
    for name in ["once", "twice"] {
        rig.update_port("beta", &json!({ "dns_name": name }));
        let question = format!("{name}.other.example");
        let beta = rig.guest("beta").ip().to_string();
        soon("the new name is known", || {
            looks_up(rig, &question).contains(&beta)
        });
        assert!(told().contains(options[0]), "served again");
    }
}

/// IPv6: stateful, stateless, and addresses that guests make themselves of what radvd announces.
fn six(rig: &mut Rig, mtu: u32) {
    let mut subnets = Vec::new();
    for (name, cidr, mode) in [
        ("stateful", "fd00:6::/64", "dhcpv6-stateful"),
        ("stateless", "fd00:7::/64", "dhcpv6-stateless"),
        ("slaac", "fd00:8::/64", "slaac"),
    ] {
        let network = rig.net(name, &json!({}));
        subnets.push(rig.subnet_6(&network, cidr, mode));
        rig.subnet(&network, "10.6.0.0/24", &json!({}));
    }
    rig.router(
        "six",
        &subnets.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    for network in ["stateful", "stateless", "slaac"] {
        add_six(rig, &network.replace("state", "s"), network, |wish| wish);
    }
    let given = |guest: &str| address_6(rig, guest);
    let told = dhclient(rig, "sful", "-6", "BOUND6");
    let address = format!("new_ip6_address={}", given("sful"));
    assert_says(
        "dhclient",
        &told,
        &[
            &address,
            "new_dhcp6_name_servers=2001:db8::53",
            "new_dhcp6_domain_search=openstacklocal.",
            "new_dhcp6_sntp_servers=fd00::123",
        ],
    );
    let flags = |guest: &str| shell(&rig.guest(guest).place, "rdisc6 -1 -w 3000 eth0");
    let managed = flags("sful");
    assert!(
        managed.contains("Stateful address conf.    :          Yes"),
        "{managed}"
    );
    assert!(managed.contains(&format!("{mtu} bytes")), "{managed}");

    let other = flags("sless");
    assert!(
        other.contains("Stateful other conf.      :          Yes"),
        "{other}"
    );
    let told = dhclient(rig, "sless", "-6 -S", "RENEW6");
    let options = [
        "new_dhcp6_name_servers=2001:db8::53",
        "new_dhcp6_sntp_servers=fd00::123",
    ];
    assert_says("dhclient", &told, &options);
    four_beside_six(rig);

    let none = flags("slaac");
    assert!(
        none.contains("Stateful other conf.      :           No"),
        "{none}"
    );
    assert!(
        none.contains("Recursive DNS server     : 2001:db8::53"),
        "{none}"
    );
    for guest in ["sless", "slaac"] {
        let wanted = format!("{}/64", given(guest));
        soon("the guest has made its address", || {
            let place = rig.guest(guest);
            place
                .run("ip -6 -o addr show dev eth0 scope global")
                .contains(&wanted)
        });
    }
    rig.guest("sful").must_ping(given("slaac"));
    rig.guest("sless").must_ping(ip("fd00:6::"));
    announced_anew(rig);
    given_on_6(rig);
}

/// A card that asks by IPv6 too is told by IPv4 what is IPv4's.
fn four_beside_six(rig: &Rig) {
    for guest in ["sful", "sless", "slaac"] {
        let told = dhclient(rig, guest, "-4", "BOUND");
        let addresses = rig.guest(guest).guest.addresses.iter();
        let mut four = addresses.map(IpNet::addr).filter(IpAddr::is_ipv4);
        let address = format!("new_ip_address={}", four.next().unwrap());
        assert_says(
            "dhclient",
            &told,
            &[&address, "new_ntp_servers=192.0.2.123"],
        );
    }
}

/// What a subnet says from now on is announced by the radvd that runs.
fn announced_anew(rig: &Rig) {
    let router = rig.client().find("routers", "six").unwrap();
    let router = lab::client::text(&router, "id").unwrap();
    let file = format!("agent/external/pids/{router}.pid.radvd");
    let file = rig.lab.machine("net").unwrap().dir.join(file);
    let pid = || fs::read_to_string(&file).unwrap();
    let before = pid();
    let subnets = rig.list("subnets?cidr=fd00:8::/64");
    let subnet = lab::client::text(&subnets[0], "id").unwrap();
    let servers = json!({"subnet": {"dns_nameservers": ["2001:db8::54"]}});
    rig.put(&format!("subnets/{subnet}"), &servers);
    soon("the new name server is announced", || {
        let said = shell(&rig.guest("slaac").place, "rdisc6 -1 -w 3000 eth0");
        said.contains("Recursive DNS server     : 2001:db8::54")
    });
    assert_eq!(pid(), before);
}

/// A guest of both versions, which is told options of both and asks for its IPv6 address by itself.
fn add_six(rig: &mut Rig, name: &str, network: &str, more: impl FnOnce(GuestWish) -> GuestWish) {
    let options = json!([
        {"opt_name": "ntp-server", "opt_value": "192.0.2.123"},
        {"opt_name": "31", "opt_value": "[fd00::123]", "ip_version": 6},
    ]);
    rig.add_with(name, "c2", network, |wish| {
        let mut wish = more(wish.port("extra_dhcp_opts", options));
        wish.addressing = Some(Addressing::Static);
        wish
    });
    // Nothing is sent from an address that may yet be another's.
    soon("the guest's own address is its own", || {
        let own = "ip -6 -o addr show dev eth0 scope link";
        let addresses = rig.guest(name).run(own);
        addresses.contains("fe80") && !addresses.contains("tentative")
    });
    // What the lab wrote goes: the guest finds out for itself.
    rig.guest(name)
        .run("ip -6 addr flush dev eth0 scope global");
}

fn address_6(rig: &Rig, guest: &str) -> IpAddr {
    let mut addresses = rig.guest(guest).guest.addresses.iter().map(IpNet::addr);
    addresses.find(IpAddr::is_ipv6).unwrap()
}

/// An IPv6 address, too, is the next guest's at once, by the same server.
fn given_on_6(rig: &mut Rig) {
    let stateful = network(rig, "stateful");
    let address = address_6(rig, "sful");
    // What the client holds it does not give back when it is killed.
    rig.lab.remove_guest("sful").unwrap();
    add_six(rig, "next", "stateful", |wish| {
        wish.port("fixed_ips", json!([{"ip_address": address}]))
    });
    let told = dhclient(rig, "next", "-6", "BOUND6");
    assert_says("dhclient", &told, &[&format!("new_ip6_address={address}")]);
    let leases = dhcp_file(rig, &stateful, "leases");
    assert!(leases.contains(&address.to_string()), "{leases}");
}
