//! What is planned of layer 2 and of security groups, beside what a real Neutron programmed for
//! the same intent. Differences that are meant stand in `docs/compatibility.md`.

mod reference;

use host::{HostState, NsName, netns::Family};
use plan::AgentMode;
use reference::{Scenario, compare::Met};

fn load(name: &str, host: &str) -> Scenario {
    let mode = match (name.contains("dvr"), host) {
        (false, _) => return Scenario::load(name, host),
        (true, "net") => AgentMode::DvrSnat,
        (true, _) => AgentMode::Dvr,
    };
    Scenario::load_with(name, host, |settings, _| settings.agent_mode = mode)
}

const HOSTS: [(&str, &str); 5] = [
    ("vxlan-legacy-hybrid", "c1"),
    ("vxlan-legacy-hybrid", "net"),
    ("gre-legacy-hybrid", "c1"),
    ("vxlan-dvr-hybrid", "c1"),
    ("vxlan-dvr-hybrid", "net"),
];

#[test]
fn flows_are_neutrons() {
    let mut met = Met::default();
    for (name, host) in HOSTS {
        let scenario = load(name, host);
        assert_eq!(scenario.planned.notes, [], "{name} {host}");
        for bridge in ["br-int", "br-tun", "br-ex"] {
            let of = |state: &HostState| state.bridges[bridge].clone();
            let (want, seen) = (of(&scenario.planned.want), of(&scenario.seen));
            met.compare_flows(&format!("{name} {host} {bridge}"), &want, &seen);
        }
    }
    met.assert_meant(&["fixed-cookies", "neighbour-answers"]);
}

#[test]
fn bridges_and_ports_are_neutrons() {
    let mut met = Met::default();
    for (name, host) in HOSTS {
        let scenario = load(name, host);
        for bridge in ["br-int", "br-tun", "br-ex"] {
            let (want, seen) = (&scenario.planned.want, &scenario.seen);
            met.compare_ports(&format!("{name} {host}"), want, seen, bridge);
        }
    }
    met.assert_meant(&["fip-namespace-only-where-needed"]);
}

#[test]
fn security_groups_are_neutrons() {
    let mut met = Met::default();
    for (name, host) in [
        ("vxlan-legacy-hybrid", "c1"),
        ("gre-legacy-hybrid", "c1"),
        ("vxlan-legacy-hybrid", "net"),
        ("vxlan-dvr-hybrid", "c1"),
    ] {
        let scenario = load(name, host);
        for family in [Family::V4, Family::V6] {
            let (want, seen) = (&scenario.planned.want, &scenario.seen);
            met.compare_chains(&format!("{name} {host}"), want, seen, family);
        }
    }
    met.assert_meant(&["order-of-group-rules", "order-of-ports-in-chains"]);
}

#[test]
fn sets_of_addresses_are_neutrons() {
    let root = NsName::root();
    for (name, host) in [HOSTS[0], HOSTS[2], ("vxlan-dvr-hybrid", "c1")] {
        let scenario = load(name, host);
        let (want, seen) = (&scenario.planned.want, &scenario.seen);
        let want = &want.netns[&root].ipsets;
        assert!(!want.is_empty());
        assert_eq!(want, &seen.netns[&root].ipsets, "{name} {host}");
    }
}

#[test]
fn the_numbers_of_a_stock_host_are_kept() {
    let seen = load("vxlan-dvr-hybrid", "c1").seen;
    let numbers = plan::Numbers::held_by(&seen, "br-int");
    let held = |pool: &plan::Pool| -> Vec<u32> { pool.held().map(|(_, number)| number).collect() };
    assert_eq!(
        held(&numbers.vlans).len(),
        3,
        "red, green and the external network"
    );
    assert_eq!(
        held(&numbers.zones),
        [4099, 4098, 4097],
        "in the order of ports' ids"
    );
    let floating: Vec<_> = numbers.floating_priorities.held().collect();
    assert_eq!(floating, [("172.24.4.229", 55_474)]);
    assert_eq!(held(&numbers.link_local_pairs), [3_139]);
}

#[test]
fn a_plan_is_written_and_read_as_a_host_is() {
    for (name, host) in [HOSTS[0], HOSTS[1], ("vxlan-dvr-hybrid", "net")] {
        let want = load(name, host).planned.want;
        let read = host::snapshot::load(host, &host::snapshot::write(&want));
        assert_eq!(read.problems, [], "{name} {host}");
        assert_eq!(read.state.bridges, want.bridges, "{name} {host}");
        for (ns, netns) in &want.netns {
            assert_eq!(&read.state.netns[ns], netns, "{name} {host} {ns}");
        }
        assert_eq!(read.state.files, want.files, "{name} {host}");
        assert_eq!(read.state.processes, want.processes, "{name} {host}");
    }
}
