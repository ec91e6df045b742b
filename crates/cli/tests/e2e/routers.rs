//! What routers and floating IPs do by their attributes: NAT or none, both versions of IP, extra
//! routes, several addresses, floating IPs that come, move and go.

use crate::clouds::{BEYOND, BEYOND_6, connects, ip, pings, shell};
use crate::rig::{Background, Rig, soon};
use lab::Topology;
use lab::client::text;
use lab::topology::TunnelType;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Duration;

/// A cloud with an external network, and what tests ask of it.
pub(crate) struct Cloud {
    pub(crate) rig: Rig,
    public: String,
    router: String,
    red: String,
}

/// Red and green behind router r, blue behind a router of its own that leads nowhere yet.
pub(crate) fn cloud(tunnel_type: TunnelType) -> Cloud {
    let mut rig = Rig::up(Topology {
        tunnel_type,
        ..Topology::default()
    });
    let public = rig.public();
    let mut subnets = Vec::new();
    for (name, four, six) in [
        ("red", "10.1.0.0/24", "fd00:1::/64"),
        ("green", "10.2.0.0/24", "fd00:2::/64"),
    ] {
        let network = rig.net(name, &json!({}));
        subnets.push(rig.subnet(&network, four, &json!({})));
        subnets.push(rig.subnet_6(&network, six, "slaac"));
    }
    let blue = rig.net("blue", &json!({}));
    let blue = rig.subnet(&blue, "10.3.0.0/24", &json!({}));
    let router = rig.router("r", &subnets.iter().map(String::as_str).collect::<Vec<_>>());
    rig.router("own", &[&blue]);
    rig.lead_outside(&router, &public, &json!({}));
    for (name, host, network) in [
        ("red1", "c1", "red"),
        ("green1", "c2", "green"),
        ("blue1", "c2", "blue"),
    ] {
        rig.add(name, host, network);
    }
    rig.open("red1");
    let red = subnets.swap_remove(0);
    Cloud {
        rig,
        public,
        router,
        red,
    }
}

#[test]
fn routers_do_what_their_attributes_say() {
    let mut cloud = cloud(TunnelType::Vxlan);
    do_what_they_should(&cloud);
    address_scopes(&mut cloud);
}

pub(crate) fn do_what_they_should(cloud: &Cloud) {
    both_versions(cloud);
    several_addresses(cloud);
    without_source_nat(cloud);
    extra_routes(cloud);
    between_tenants(cloud);
}

#[test]
fn floating_ips_come_move_and_go() {
    float_and_move(&cloud(TunnelType::Gre));
}

impl Cloud {
    fn guest_6(&self, guest: &str) -> IpAddr {
        let guest = self.rig.guest(guest).guest;
        let mut addresses = guest.addresses.iter().map(ipnet::IpNet::addr);
        addresses.find(IpAddr::is_ipv6).expect("an IPv6 address")
    }

    /// The router's own addresses on the external network.
    fn router_addresses(&self) -> Vec<IpAddr> {
        let router = self
            .rig
            .client()
            .get(&format!("routers/{}", self.router))
            .unwrap();
        let given = router["external_gateway_info"]["external_fixed_ips"]
            .as_array()
            .unwrap();
        given
            .iter()
            .map(|it| ip(text(it, "ip_address").unwrap()))
            .collect()
    }

    /// Runs inside the router.
    fn inside(&self, command: &str) -> String {
        self.rig.run(
            "net",
            &format!("ip netns exec qrouter-{} {command}", self.router),
        )
    }

    /// As whom a guest appears in the outside world when it pings there.
    fn appears_as(&self, guest: &str, wanted: IpAddr, to: &str) {
        let outside = self.rig.outside();
        soon(&format!("{guest} appears as {wanted}"), || {
            let seen = "timeout 2 tcpdump -i eth0 -l -n -c 1 'icmp[icmptype] == icmp-echo or \
                        (icmp6 and ip6[40] == 128)' 2>/dev/null";
            let watch = outside
                .command(&["sh", "-c", seen])
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            self.rig
                .guest(guest)
                .exec(&format!("ping -n -c 4 -i 0.3 -W 1 {to}"));
            let said = watch.wait_with_output().unwrap().stdout;
            String::from_utf8_lossy(&said).contains(&format!(" {wanted} > {to}"))
        });
    }
}

fn both_versions(cloud: &Cloud) {
    let rig = &cloud.rig;
    let red1 = rig.guest("red1");
    red1.must_ping(rig.guest("green1").ip());
    red1.must_ping(cloud.guest_6("green1"));
    red1.must_ping(ip(BEYOND));
    let addresses = cloud.router_addresses();
    let four = *addresses.iter().find(|it| it.is_ipv4()).unwrap();
    let six = *addresses.iter().find(|it| it.is_ipv6()).unwrap();
    cloud.appears_as("red1", four, BEYOND);
    // IPv6 is routed as it is: the world outside has to know the way back.
    shell(
        &rig.outside(),
        &format!("ip -6 route add fd00:1::/64 via {six}"),
    );
    red1.must_ping(ip(BEYOND_6));
    cloud.appears_as("red1", cloud.guest_6("red1"), BEYOND_6);
    assert!(
        pings(&rig.outside(), cloud.guest_6("red1")),
        "and reaches in"
    );
}

fn several_addresses(cloud: &Cloud) {
    let given = cloud.router_addresses();
    let mut wanted: Vec<Value> = given.iter().map(|it| json!({"ip_address": it})).collect();
    // Not the one that was chosen by lot before.
    let more = ["172.24.4.237", "172.24.4.238"].map(ip);
    let more = *more.iter().find(|it| !given.contains(it)).unwrap();
    wanted.push(json!({"ip_address": more}));
    cloud.rig.lead_outside(
        &cloud.router,
        &cloud.public,
        &json!({"external_fixed_ips": wanted}),
    );
    let outside = cloud.rig.outside();
    for address in [given[0], given[1], more] {
        soon(&format!("{address} is the router's"), || {
            pings(&outside, address)
        });
    }
    cloud.rig.guest("red1").must_ping(ip(BEYOND));
    let one = json!([{"ip_address": given[0]}, {"ip_address": given[1]}]);
    cloud.rig.lead_outside(
        &cloud.router,
        &cloud.public,
        &json!({"external_fixed_ips": one}),
    );
    soon("and no longer", || !pings(&outside, more));
}

fn without_source_nat(cloud: &Cloud) {
    let rig = &cloud.rig;
    rig.lead_outside(&cloud.router, &cloud.public, &json!({"enable_snat": false}));
    let four = cloud
        .router_addresses()
        .into_iter()
        .find(IpAddr::is_ipv4)
        .unwrap();
    shell(
        &rig.outside(),
        &format!("ip route add 10.1.0.0/24 via {four}"),
    );
    cloud.appears_as("red1", rig.guest("red1").ip(), BEYOND);
    rig.guest("red1").must_ping(ip(BEYOND));
    shell(&rig.outside(), "ip route del 10.1.0.0/24");
    rig.lead_outside(&cloud.router, &cloud.public, &json!({"enable_snat": true}));
    cloud.appears_as("red1", four, BEYOND);
}

/// A network behind a guest.
fn extra_routes(cloud: &Cloud) {
    let rig = &cloud.rig;
    rig.guest("green1").run("ip addr add 10.77.0.1/32 dev lo");
    rig.update_port(
        "green1",
        &json!({"allowed_address_pairs": [{"ip_address": "10.77.0.0/24"}]}),
    );
    let behind = ip("10.77.0.1");
    rig.guest("red1").must_not_ping(behind);
    let routes = |routes: Value| {
        rig.put(
            &format!("routers/{}", cloud.router),
            &json!({"router": {"routes": routes}}),
        );
    };
    routes(json!([{"destination": "10.77.0.0/24", "nexthop": rig.guest("green1").ip()}]));
    rig.guest("red1").must_ping(behind);
    routes(json!([]));
    soon("the way is forgotten", || {
        !rig.guest("red1").pings_once(behind)
    });
}

/// A router that leads nowhere outside: a second way between two tenants' networks.
fn between_tenants(cloud: &Cloud) {
    let rig = &cloud.rig;
    let own = rig.client().find("routers", "own").unwrap();
    let red = rig.client().find("networks", "red").unwrap();
    let fixed = json!([{"subnet_id": cloud.red, "ip_address": "10.1.0.254"}]);
    let port = json!({"network_id": red["id"], "fixed_ips": fixed});
    let port = rig.create("ports", "port", &port, &json!({}));
    let path = format!("routers/{}/add_router_interface", text(&own, "id").unwrap());
    rig.put(&path, &json!({"port_id": port["id"]}));
    let (red1, blue1) = (rig.guest("red1"), rig.guest("blue1"));
    red1.must_not_ping(blue1.ip());
    red1.run("ip route add 10.3.0.0/24 via 10.1.0.254");
    red1.must_ping(blue1.ip());
    blue1.must_not_ping(ip(BEYOND));
}

/// What is in two address scopes is not routed to each other, though a router is between them.
fn address_scopes(cloud: &mut Cloud) {
    let rig = &mut cloud.rig;
    let mut subnets = Vec::new();
    let scope = |rig: &Rig, name: &str, prefix: &str| {
        let scope = json!({"name": name, "ip_version": 4});
        let scope = rig.create("address-scopes", "address_scope", &scope, &json!({}));
        let pool = json!({"name": name, "prefixes": [prefix], "default_prefixlen": 24,
            "address_scope_id": scope["id"]});
        let pool = rig.create("subnetpools", "subnetpool", &pool, &json!({}));
        text(&pool, "id").unwrap().to_owned()
    };
    let (one, other) = (
        scope(rig, "one", "10.40.0.0/16"),
        scope(rig, "other", "10.50.0.0/16"),
    );
    for (name, cidr, pool) in [
        ("s1", "10.40.1.0/24", &one),
        ("s2", "10.40.2.0/24", &one),
        ("s3", "10.50.1.0/24", &other),
    ] {
        let network = rig.net(name, &json!({}));
        subnets.push(rig.subnet(&network, cidr, &json!({"subnetpool_id": pool})));
    }
    rig.router(
        "scoped",
        &subnets.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    for name in ["s1", "s2", "s3"] {
        rig.add(&format!("{name}g"), "c1", name);
    }
    let rig = &cloud.rig;
    let guest = |name: &str| rig.guest(name).ip();
    // Both guests reach the router, and each other's networks are on it.
    rig.guest("s3g").must_ping(ip("10.50.1.1"));
    rig.guest("s1g").must_ping(guest("s2g"));
    rig.guest("s1g").must_not_ping(guest("s3g"));
    rig.guest("s3g").must_not_ping(guest("s1g"));
}

/// The MAC of a router's gateway port.
fn gateway_mac(rig: &Rig, router: &str) -> String {
    let ports = rig.list(&format!(
        "ports?device_id={router}&device_owner=network:router_gateway"
    ));
    text(&ports[0], "mac_address").unwrap().to_owned()
}

pub(crate) fn float_and_move(cloud: &Cloud) {
    let rig = &cloud.rig;
    let outside = rig.outside();
    let arp = Background::capture(&outside, "-i eth0 arp");
    // Gratuitous: who says it asks for itself.
    let announces = |router: &str, address: IpAddr| {
        let mac = gateway_mac(rig, router);
        let said = |line: &str| {
            line.contains(&format!("{mac} > ff:ff:ff:ff:ff:ff"))
                && line.contains(&format!("who-has {address}"))
                && line.contains(&format!("tell {address}"))
        };
        soon(&format!("{router} announces {address}"), || {
            arp.text().lines().any(said)
        });
    };
    for (guest, port) in [("red1", 7001), ("green1", 7002), ("blue1", 7003)] {
        rig.guest(guest).listens(port);
    }
    let (floating, address) = rig.float(&cloud.public, "red1");
    let leads_to = |port: u16| {
        soon(&format!("{address} leads to {port}"), || {
            connects(&outside, address, port)
        });
        for other in [7001, 7002, 7003]
            .into_iter()
            .filter(|other| *other != port)
        {
            assert!(!connects(&outside, address, other), "and to {other}");
        }
    };
    leads_to(7001);
    rig.floating_status(&floating, "ACTIVE");
    announces(&cloud.router, address);
    assert!(pings(&outside, address));
    cloud.appears_as("red1", address, BEYOND);
    // Who is behind the same router uses the address too: a neighbour, and the guest itself.
    for guest in ["green1", "red1"] {
        let connected = || rig.guest(guest).connects(address, 7001);
        soon(&format!("{guest} reaches the floating IP"), connected);
    }
    ends_with_its_floating_ip(cloud, &floating, address, None);
    rig.floating_status(&floating, "DOWN");
    assert!(!pings(&outside, address));

    rig.lead(&floating, Some("red1"));
    leads_to(7001);
    ends_with_its_floating_ip(cloud, &floating, address, Some("green1"));
    leads_to(7002);
    // To another router: its neighbours outside learn where the address is now.
    let own = rig.client().find("routers", "own").unwrap();
    rig.lead_outside(text(&own, "id").unwrap(), &cloud.public, &json!({}));
    rig.lead(&floating, Some("blue1"));
    leads_to(7003);
    announces(text(&own, "id").unwrap(), address);
    rig.floating_status(&floating, "ACTIVE");
    cloud.appears_as("blue1", address, BEYOND);
    rig.client()
        .delete(&format!("floatingips/{floating}"))
        .unwrap();
    soon("nobody has it", || !pings(&outside, address));
    arp.stop();
    let rules = cloud.inside("iptables -t nat -S");
    assert!(!rules.contains(&address.to_string()), "{rules}");
}

/// An open connection to red1 gets nothing more through an address that leads elsewhere.
fn ends_with_its_floating_ip(cloud: &Cloud, floating: &str, address: IpAddr, next: Option<&str>) {
    let rig = &cloud.rig;
    let server = "(while echo more; do sleep 0.05; done | nc -l -N 7010) >/dev/null 2>&1 &";
    rig.guest("red1").sh(server);
    let file = format!("/run/got-{}", next.unwrap_or("nothing"));
    let outside = rig.outside();
    let client = format!("(nc {address} 7010; echo ended) </dev/null >{file} 2>&1 &");
    let got = || {
        shell(&outside, &format!("cat {file} 2>/dev/null || true"))
            .lines()
            .count()
    };
    soon("the connection carries something", || {
        if got() < 2 {
            shell(&outside, &client);
            std::thread::sleep(Duration::from_millis(300));
        }
        got() > 5
    });
    rig.lead(floating, next);
    soon("the connection ends", || {
        let before = got();
        std::thread::sleep(Duration::from_millis(700));
        got() <= before + 1
    });
    rig.guest("red1")
        .sh("kill $(ss -Hltnp sport = :7010 | grep -o 'pid=[0-9]*' | cut -d= -f2) 2>/dev/null");
}
