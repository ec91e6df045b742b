//! A host that a stock Neutron programmed is taken over without losing a packet, and is then the
//! host that Neutron made. c1 is as Neutron left it, c2 made by an agent from an empty switch.

use crate::reference::compare::Met;
use crate::rig::{lost, tail};
use crate::stock::{REGISTERED, Stock};
use host::netns::Family;
use lab::topology::Addressing;
use std::time::Duration;

/// What an earlier agent and ports that are gone left behind, and what belongs to others.
fn litter(stock: &Stock, host: &str) {
    let datapath = stock.rig.lab.datapath();
    stock.sh(
        host,
        &format!(
            "ovs-vsctl add-port br-tun vxlan-0a1e0063 -- set Interface vxlan-0a1e0063 type=vxlan \
               options:remote_ip=10.30.0.99 options:local_ip=10.30.0.12 options:in_key=flow options:out_key=flow
             ovs-ofctl -O OpenFlow14 add-flow br-int cookie=0x1234,table=60,priority=77,dl_vlan=9,actions=drop
             ovs-ofctl -O OpenFlow14 add-flow br-tun cookie=0x1234,table=22,priority=1,dl_vlan=9,actions=drop
             iptables -N neutron-openvswi-iffffffff-f
             iptables -A neutron-openvswi-iffffffff-f -j DROP
             ip6tables -N neutron-openvswi-offffffff-f
             ipset create NIPv4ffffffff-ffff-ffff-ff hash:net
             ovs-ofctl -O OpenFlow14 add-flow br-int cookie={REGISTERED},priority=3,dl_type=0x88b5,actions=drop
             iptables -N DOCKER-USER
             iptables -I FORWARD -j DOCKER-USER
             ipset create blocklist hash:ip
             ovs-vsctl add-br br-mine -- set Bridge br-mine datapath_type={datapath}
             ovs-ofctl add-flow br-mine cookie=0x1234,priority=9,actions=drop"
        ),
    );
}

#[test]
fn a_stock_host_is_taken_over_without_losing_a_packet() {
    let mut stock = Stock::hosts("vxlan-legacy-hybrid");
    stock.build("c1");
    stock.make("c2");
    stock.plug_guests("c2", Addressing::Static);
    stock.converges("c2");
    let mut met = Met::default();
    stock.assert_is_recorded(&mut met, "c2", &stock.collect("c2"), &[Family::V4]);

    litter(&stock, "c1");
    let pairs = [
        ("red1", "red2"),
        ("red1", "red3"),
        ("green1", "green2"),
        ("red3", "red2"),
    ];
    for (from, to) in pairs {
        stock.rig.guest(from).must_ping(stock.rig.guest(to).ip());
    }
    let pings = pairs.map(|(from, to)| {
        let command = format!("ping -n -i 0.01 -c 500 {}", stock.rig.guest(to).ip());
        stock.rig.guest(from).begins(&command)
    });
    std::thread::sleep(Duration::from_millis(500));
    stock.start_agent("c1", None);
    stock.converges("c1");
    for ((from, to), pinging) in pairs.into_iter().zip(pings) {
        let said = pinging.finish();
        assert_eq!(
            lost(&said, 500),
            Vec::<u32>::new(),
            "{from} to {to}: {}",
            tail(&said)
        );
    }
    what_others_own_is_left(&mut stock);
    let families = [Family::V4, Family::V6];
    stock.assert_is_recorded(&mut met, "c1", &stock.collect("c1"), &families);
    met.assert_meant(&["fixed-cookies"]);
}

/// What belongs to others is as it was; it is taken away here, so that the rest can be compared.
fn what_others_own_is_left(stock: &mut Stock) {
    let ours = stock.collect("c1");
    let has_flow = |bridge: &str, cookie: u64| {
        let mut flows = ours.bridges[bridge].flows.values();
        flows.any(|flow| flow.cookie == cookie)
    };
    assert!(has_flow("br-int", 7) && has_flow("br-mine", 0x1234));
    assert!(ours.root().unwrap().ipsets.contains_key("blocklist"));
    for bridge in ["br-int", "br-tun", "br-ex"] {
        let controllers: Vec<_> = ours.bridges[bridge].controllers.iter().collect();
        assert_eq!(controllers, ["tcp:127.0.0.1:1"], "nobody's: {bridge}");
    }
    stock.sh(
        "c1",
        &format!(
            "ovs-ofctl -O OpenFlow14 del-flows br-int cookie={REGISTERED}/-1
             iptables -D FORWARD -j DOCKER-USER
             iptables -X DOCKER-USER
             ipset destroy blocklist"
        ),
    );
}
