//! Guests ask who they are: through routers and beside them, IPv4 and IPv6, of a Nova that checks
//! what it is told; and one request followed from the guest to the service and back.

use crate::clouds::shell;
use crate::live::walks;
use crate::nova::Nova;
use crate::rig::{Background, Rig, soon};
use agent::metadata::Rate;
use lab::Topology;
use lab::topology::{Addressing, TunnelType};
use serde_json::{Value, json};
use std::fs;
use std::net::IpAddr;
use std::time::Instant;

const NOVA: &str = "10.20.0.11:8776";
const V4: &str = "http://169.254.169.254";
const V6: &str = "http://[fe80::a9fe:a9fe%25eth0]";

/// A network of both versions of IP whose guest, with a lease from before, gets a router later.
fn cloud(tunnel_type: TunnelType) -> (Rig, Nova) {
    let agent = format!("[metadata]\ntarget = 'http://{NOVA}'");
    let mut rig = Rig::up(Topology {
        tunnel_type,
        addressing: Addressing::Dhcp,
        agent: toml::from_str(&agent).unwrap(),
        ..Topology::default()
    });
    let nova = Nova::listen(rig.lab.machine("net").unwrap(), NOVA.parse().unwrap());
    let red = rig.net("red", &json!({}));
    rig.subnet(&red, "10.1.0.0/24", &json!({}));
    rig.subnet_6(&red, "fd00:1::/64", "slaac");
    rig.add("red1", "c1", "red");
    (rig, nova)
}

/// The status and the text that a guest's request gets.
fn ask(rig: &Rig, guest: &str, more: &str, url: &str) -> (u16, String) {
    let line = format!("curl -s -g -m 10 -w '\\n%{{http_code}}' {more} '{url}'");
    let said = rig
        .guest(guest)
        .place
        .output(&["sh", "-c", &line], "")
        .unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let (text, status) = said.rsplit_once('\n').unwrap_or_default();
    (status.parse().unwrap_or(0), text.to_owned())
}

fn is_told_who_it_is(rig: &Rig, guest: &str, url: &str) {
    let instance = rig.guest(guest).guest.port.vm.to_string();
    let mut answer = (0, String::new());
    soon(&format!("{guest} is told who it is by {url}"), || {
        answer = ask(rig, guest, "", url);
        answer == (200, instance.clone())
    });
}

#[test]
fn guests_are_told_who_they_are_whatever_they_say_and_wherever_they_ask() {
    whatever_and_wherever(TunnelType::Vxlan);
}

pub(crate) fn whatever_and_wherever(tunnel_type: TunnelType) {
    let (mut rig, nova) = cloud(tunnel_type);
    is_told_who_it_is(&rig, "red1", V4);
    is_told_who_it_is(&rig, "red1", V6);
    let subnets = rig.list("subnets");
    let ids: Vec<&str> = subnets
        .iter()
        .map(|it| it["id"].as_str().unwrap())
        .collect();
    let router = rig.router("r", &ids);
    soon("the router is there", || {
        rig.run("net", "ip netns list").contains(&router)
    });
    // red1 has its lease from before.
    let way = rig.guest("red1").run("ip route get 169.254.169.254");
    assert!(way.contains("via 10.1.0.2 "), "{way}");
    is_told_who_it_is(&rig, "red1", V4);
    is_told_who_it_is(&rig, "red1", V6);
    rig.add("red2", "c2", "red");
    let way = rig.guest("red2").run("ip route get 169.254.169.254");
    assert!(way.contains("via 10.1.0.1 "), "{way}");
    is_told_who_it_is(&rig, "red2", V4);
    is_told_who_it_is(&rig, "red2", V6);
    walks_say_so(&rig);
    signed(&rig, &nova);
    bounded(&rig);
    without_dhcp(&mut rig);
    drop(nova);
    soon("Nova's absence is said", || {
        let (status, text) = ask(&rig, "red2", "", V4);
        status == 503 && text.contains("the metadata service is away")
    });
}

/// Walks over these hosts as they are find who announces, leases and answers.
fn walks_say_so(rig: &Rig) {
    for (to, said) in [
        ("metadata", "nucleon listens on tcp/"),
        ("metadata6", "nucleon listens on tcp/80"),
        ("ra", "radvd announces the router"),
        ("dhcp", "dnsmasq offers "),
    ] {
        let text = walks(rig, &["red2", to], false, 0);
        let fine = text.starts_with("delivered and answered: red2 to ");
        assert!(fine && text.contains(said), "{to}: {text}");
    }
}

/// Where no DHCP server is, the router has the metadata address of IPv6 too.
fn without_dhcp(rig: &mut Rig) {
    let bare = rig.net("bare", &json!({}));
    let without = json!({"enable_dhcp": false});
    let four = rig.subnet(&bare, "10.5.0.0/24", &without);
    let six = rig.subnet(&bare, "fd00:5::/64", &without);
    rig.router("bare", &[&four, &six]);
    rig.add_with("bare1", "c2", "bare", |mut wish| {
        wish.addressing = Some(Addressing::Static);
        wish
    });
    is_told_who_it_is(rig, "bare1", V4);
    is_told_who_it_is(rig, "bare1", V6);
}

/// A Nova that takes a request and says nothing: who asked is told so in the end, and others are
/// served meanwhile.
pub(crate) fn a_service_that_hangs_is_not_waited_for() {
    let (mut rig, _nova) = cloud(TunnelType::Vxlan);
    rig.add("red2", "c2", "red");
    is_told_who_it_is(&rig, "red1", V4);
    let waiting = rig
        .guest("red1")
        .begins(&format!("curl -s -m 80 -w %{{http_code}} {V4}/hanging"));
    let began = Instant::now();
    let silent = rig
        .guest("red2")
        .begins("sh -c 'nc 169.254.169.254 80; echo ended'");
    for _ in 0..10 {
        is_told_who_it_is(&rig, "red1", V4);
        is_told_who_it_is(&rig, "red2", V4);
    }
    assert!(!silent.text().contains("ended"), "{}", silent.text());
    let said = waiting.finish();
    assert!(
        said.contains("took too long") && said.ends_with("504"),
        "{said}"
    );
    let took = began.elapsed().as_secs();
    assert!((29..60).contains(&took), "{took} s");
    soon("who asks nothing is not waited for", || {
        silent.text().contains("ended")
    });
}

/// Nova is told by us who asks, and can check that it was us.
fn signed(rig: &Rig, nova: &Nova) {
    nova.asked();
    let forged = "-H 'X-Instance-ID: forged' -H 'X-Instance-ID-Signature: forged' \
         -H 'X-Tenant-ID: forged' -H 'X-Forwarded-For: 10.9.9.9' -H 'X-Neutron-Network-Id: forged' \
         -H 'Accept: its/own'";
    let path = "/latest/meta-data/instance-id?of=me";
    let instance = rig.guest("red2").guest.port.vm.to_string();
    let answer = ask(rig, "red2", forged, &format!("{V4}{path}"));
    assert_eq!(answer, (200, instance.clone()));
    let asked = nova.asked().pop().expect("a request");
    assert_eq!(asked.line, format!("GET {path} HTTP/1.1"));
    let project = rig.client().find("networks", "red").unwrap()["project_id"].clone();
    let key = fs::read_to_string(rig.lab.path().join("secrets/metadata")).unwrap();
    let sign = format!(
        "printf %s {instance} | openssl dgst -sha256 -hmac '{}' | sed 's/.*= //'",
        key.trim()
    );
    let signature = shell(&lab::Place::here(), &sign);
    for (name, wanted) in [
        ("x-instance-id", instance.as_str()),
        ("x-instance-id-signature", signature.trim()),
        ("x-tenant-id", project.as_str().unwrap()),
        ("x-forwarded-for", &rig.guest("red2").ip().to_string()),
        ("accept", "its/own"),
    ] {
        assert_eq!(asked.all(name), [wanted], "{name} in {asked:?}");
    }
    assert!(asked.all("x-neutron-network-id").is_empty());
    // By IPv6 it is the same guest, from the address that its card made.
    let answer = ask(rig, "red2", forged, &format!("{V6}{path}"));
    assert_eq!(answer, (200, instance.clone()));
    let asked = nova.asked().pop().expect("a request");
    assert_eq!(asked.all("x-instance-id"), [instance.as_str()]);
    assert_eq!(asked.all("x-instance-id-signature"), [signature.trim()]);
    let card: host::Mac = rig.guest("red2").guest.port.mac.parse().unwrap();
    let address = card.link_local().to_string();
    assert_eq!(asked.all("x-forwarded-for"), [address.as_str()]);
}

/// What is too much is refused, one guest's requests do not become another's delay.
fn bounded(rig: &Rig) {
    let post = |bytes: u32| format!("--data-binary \"$(head -c {bytes} /dev/zero | tr '\\0' x)\"");
    assert_eq!(ask(rig, "red2", &post(60_000), V4).0, 200);
    assert_eq!(ask(rig, "red2", &post(70_000), V4).0, 413);
    let long = "-H \"X-Long: $(head -c 100000 /dev/zero | tr '\\0' x)\"";
    assert_eq!(ask(rig, "red2", long, V4).0, 431);
    assert_eq!(ask(rig, "red2", "", &format!("{V4}/broken")).0, 503);
    assert_eq!(
        ask(rig, "red2", "-o /dev/null", &format!("{V4}/endless")).0,
        503
    );
    too_often(rig);
    is_told_who_it_is(rig, "red1", V4);
    is_told_who_it_is(rig, "red2", V4);
}

/// Of many requests as many are served as the limit lets through in the time that they took, and
/// the others are refused. So many come faster than the limit on any machine.
fn too_often(rig: &Rig) {
    let asked: u32 = 3000;
    let url = format!("{V4}/[1-{asked}]");
    let ask = format!("curl -s -Z --parallel-max 30 -o /dev/null -w '%{{http_code}}\\n' '{url}'");
    let began = Instant::now();
    let said = shell(&rig.guest("red2").place, &ask);
    let took = began.elapsed().as_secs_f64();
    let count = |status: &str| said.lines().filter(|line| *line == status).count();
    let (served, refused) = (count("200"), count("429"));
    println!("{served} served and {refused} refused in {took:.1} s");
    assert_eq!(served + refused, asked as usize, "{said}");
    let Rate { per_second, burst } = Rate::default();
    let most = burst + per_second * took;
    assert!((1.0..=most).contains(&(served as f64)), "at most {most}");
    assert!(refused > 0, "{served} were served in {took:.1} s");
}

#[test]
fn a_request_for_metadata_is_followed_from_the_guest_to_the_service_and_back() {
    story(TunnelType::Vxlan);
}

#[test]
fn a_request_for_metadata_is_followed_through_gre() {
    story(TunnelType::Gre);
}

/// Guest, br-int, br-tun, tunnel, network node, qrouter, REDIRECT, listener, metadata service, and
/// back. Bridges and rules are asked how much they passed, before and after; at devices the very
/// packets are seen, in their order.
fn story(tunnel_type: TunnelType) {
    let (mut rig, nova) = cloud(tunnel_type);
    let subnets = rig.list("subnets");
    let ids: Vec<&str> = subnets
        .iter()
        .map(|it| it["id"].as_str().unwrap())
        .collect();
    let router = rig.router("r", &ids);
    rig.add("red3", "c1", "red");
    is_told_who_it_is(&rig, "red3", V4);
    nova.asked();
    let road = road(&rig, &router, tunnel_type);
    let before: Vec<u64> = road.iter().map(|place| place.count(&rig)).collect();
    let guest = rig.guest("red3");
    let devices = devices(&rig, &router, tunnel_type);
    assert_eq!(
        ask(&rig, "red3", "", V4),
        (200, guest.guest.port.vm.to_string())
    );
    for (place, before) in road.iter().zip(before) {
        soon(&format!("it passes {}", place.name), || {
            place.count(&rig) > before
        });
    }
    let asked = nova.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].all("x-forwarded-for"), [guest.ip().to_string()]);
    passes(devices, guest.ip());
    // The router turned it to the listener's port.
    let tracked = rig.run(
        "net",
        &format!(
            "ip netns exec qrouter-{router} conntrack -L -p tcp --orig-src {}",
            guest.ip()
        ),
    );
    let turned = |line: &&str| {
        line.contains("dst=169.254.169.254")
            && line.contains("dport=80")
            && line.contains("sport=9697")
    };
    assert!(tracked.lines().any(|line| turned(&line)), "{tracked}");
}

/// Somebody looks at each device that the request comes by, on its way there.
fn devices(rig: &Rig, router: &str, tunnel_type: TunnelType) -> Vec<(String, Background)> {
    let port = rig.guest("red3").guest.port.id.to_string();
    let of_red = interface(rig, router);
    let of_red = of_red["id"].as_str().unwrap();
    let tunnel = match tunnel_type {
        TunnelType::Gre => "proto gre",
        _ => "udp port 4789",
    };
    let inside = format!("ip netns exec qrouter-{router} ");
    let looked = [
        ("red3", "", "eth0".to_owned(), "tcp port 80"),
        ("c1", "", host::names::tap(&port), "tcp port 80"),
        ("c1", "", host::names::qvo(&port), "tcp port 80"),
        ("c1", "", "eth1".to_owned(), tunnel),
        ("net", "", "eth1".to_owned(), tunnel),
        (
            "net",
            inside.as_str(),
            host::names::qr(of_red),
            "tcp port 80",
        ),
    ];
    let looks = looked.map(|(place, inside, device, filter)| {
        let command =
            format!("{inside}tcpdump --immediate-mode -tt -l -n -e -i {device} '{filter}'");
        let look = Background::begin(&rig.lab.place(place).unwrap(), &command);
        soon("tcpdump listens", || look.text().contains("listening on"));
        (format!("{device} of {place}"), look)
    });
    looks.into()
}

/// The router's port on red.
fn interface(rig: &Rig, router: &str) -> Value {
    let ports = rig.list(&format!("ports?device_id={router}"));
    let of_red = |port: &Value| port["fixed_ips"][0]["ip_address"] == "10.1.0.1";
    ports.into_iter().find(of_red).expect("an interface")
}

/// The request's first packet comes by all devices in their order, and the answer to it back.
fn passes(devices: Vec<(String, Background)>, guest: IpAddr) {
    let (to, back) = (
        (format!("{guest}."), "> 169.254.169.254.80: Flags [S],"),
        ("169.254.169.254.80 > ".to_owned(), "Flags [S.],"),
    );
    let at = |said: &str, (from, what): &(String, &str)| -> Option<f64> {
        // What is in a tunnel stands behind it, on a line of its own or on the same.
        let mut time = None;
        for line in said.lines() {
            let first = line.split(' ').next()?.parse::<f64>();
            time = first.ok().or(time);
            if line.contains(from.as_str()) && line.contains(what) {
                return time;
            }
        }
        None
    };
    let mut times = Vec::new();
    for (device, look) in devices {
        soon(&format!("both come by {device}"), || {
            let said = look.text();
            at(&said, &to).is_some() && at(&said, &back).is_some()
        });
        let said = look.stop();
        times.push((device, at(&said, &to), at(&said, &back)));
    }
    assert!(times.iter().is_sorted_by_key(|(_, to, _)| *to), "{times:?}");
    assert!(
        times.iter().rev().is_sorted_by_key(|(_, _, back)| *back),
        "{times:?}"
    );
}

/// A place on the road: a command on a host whose lines that fit count packets.
struct Milestone {
    name: &'static str,
    host: &'static str,
    command: String,
    fits: Vec<String>,
    counter: &'static str,
}

impl Milestone {
    /// How many packets passed here so far.
    fn count(&self, rig: &Rig) -> u64 {
        let said = rig.run(self.host, &self.command);
        let lines = said
            .lines()
            .filter(|line| self.fits.iter().all(|part| line.contains(part)));
        let counts = lines.filter_map(|line| {
            let (_, rest) = line.split_once(self.counter)?;
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u64>().ok()
        });
        counts.sum()
    }
}

fn road(rig: &Rig, router: &str, tunnel_type: TunnelType) -> Vec<Milestone> {
    let flows = |name, host, bridge: &str, fits: &[&str]| Milestone {
        name,
        host,
        command: format!("ovs-ofctl dump-flows {bridge}"),
        fits: fits.iter().map(|it| (*it).to_owned()).collect(),
        counter: "n_packets=",
    };
    let rules = |name, table: &str, fits: &[&str]| Milestone {
        name,
        host: "net",
        command: format!("ip netns exec qrouter-{router} iptables-save -c -t {table}"),
        fits: fits.iter().map(|it| (*it).to_owned()).collect(),
        counter: "[",
    };
    let guest_mac = rig.guest("red3").guest.port.mac.clone();
    let router_mac = interface(rig, router)["mac_address"]
        .as_str()
        .unwrap()
        .to_owned();
    let (to_router, to_guest) = (
        format!("dl_dst={router_mac}"),
        format!("dl_dst={guest_mac}"),
    );
    let tunnel = if tunnel_type == TunnelType::Gre {
        "table=3,"
    } else {
        "table=4,"
    };
    vec![
        flows("br-int of c1", "c1", "br-int", &["table=60,", "NORMAL"]),
        flows(
            "br-tun of c1, out",
            "c1",
            "br-tun",
            &["table=20,", &to_router],
        ),
        flows("br-tun of net, in", "net", "br-tun", &[tunnel, "tun_id="]),
        flows("br-int of net", "net", "br-int", &["table=60,", "NORMAL"]),
        rules(
            "the mark",
            "mangle",
            &["-d 169.254.169.254/32", "--set-xmark 0x1"],
        ),
        rules(
            "REDIRECT",
            "nat",
            &["-d 169.254.169.254/32", "REDIRECT --to-ports 9697"],
        ),
        rules(
            "the listener's door",
            "filter",
            &["--mark 0x1/0xffff -j ACCEPT"],
        ),
        flows(
            "br-tun of net, back",
            "net",
            "br-tun",
            &["table=20,", &to_guest],
        ),
        flows("br-tun of c1, back", "c1", "br-tun", &[tunnel, "tun_id="]),
    ]
}
