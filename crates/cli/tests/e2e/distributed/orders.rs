//! Orders of calls in which others' source NAT stays away until an agent restarts, and what a
//! guest is told by a router that is not done yet.

use super::{BEYOND, Cloud, address, device, eventually, three_hosts};
use serde_json::json;
use std::time::Duration;

/// A step in making a router: an interface in the first or second network, its way outside, or a
/// while of nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Interface(usize),
    Gateway,
    Rest,
}

pub(crate) use Step::{Gateway, Interface, Rest};

const ORDERS: [&[Step]; 3] = [
    // All at once: the SNAT part's port may come before its namespace.
    &[Interface(0), Interface(1), Gateway],
    // The agent may be told of one of the SNAT part's two ports only.
    &[Interface(0), Interface(1), Rest, Gateway],
    &[Gateway, Interface(0), Interface(1)],
];

#[test]
fn source_nat_and_metadata_work_whatever_the_order_of_calls() {
    try_orders(&ORDERS);
}

/// Makes a router in each of these orders, with guests that ask all the while.
pub(crate) fn try_orders(orders: &[&[Step]]) {
    let mut cloud = Cloud::bare(three_hosts());
    let no_limit = json!({"quota": {"router": -1}});
    cloud.rig.client().update("quotas/e2e", &no_limit).unwrap();
    for (at, order) in orders.iter().enumerate() {
        cloud.new_router(&format!("vr{at}"));
        let guests = [0, 1].map(|which| format!("g{at}{which}"));
        let subnets = [0, 1].map(|which| {
            let name = format!("n{at}{which}");
            let cidr = format!("10.{}.{which}.0/24", 10 + at);
            let subnet = cloud.network(&json!({ "name": name }), &cidr, &json!({}));
            cloud.rig.add(&guests[which], "c1", &name);
            subnet
        });
        // A guest that asks all the time, and listens for bad advice.
        let asks = cloud.rig.guest(&guests[0]);
        let advice = asks.capture("icmp and icmp[icmptype] == icmp-redirect");
        let asking = asks.begins("ping -n -i 0.2 169.254.169.254");
        for step in *order {
            match step {
                Interface(which) => cloud.interface("add", &json!({"subnet_id": subnets[*which]})),
                Gateway => cloud.open_gateway(),
                Rest => std::thread::sleep(Duration::from_secs(6)),
            }
        }
        let about = format!("{order:?}");
        stands(&cloud, &about);
        for guest in &guests {
            cloud.reaches(guest, BEYOND);
        }
        cloud.is_told_who_it_is(&guests[0]);
        asking.stop();
        let advice = advice.stop();
        assert!(!advice.contains("ICMP redirect"), "{about}: {advice}");
    }
}

/// Both ports of the SNAT part are in its namespace, and it forwards as it should.
fn stands(cloud: &Cloud, about: &str) {
    let ports = cloud.ports("network:router_centralized_snat");
    assert_eq!(ports.len(), 2, "{about}");
    eventually(&format!("{about}: source NAT stands"), || {
        let addresses = cloud.inside("net", &cloud.snat(), "ip -o -4 addr");
        ports.iter().all(|port| {
            let wanted = (device("sg", port), format!(" {}/24 ", address(port)));
            let mut lines = addresses.lines();
            lines.any(|line| line.contains(&wanted.0) && line.contains(&wanted.1))
        })
    });
    for (key, value) in [
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv4.conf.all.arp_ignore", "1"),
        ("net.ipv4.ip_nonlocal_bind", "1"),
        ("net.netfilter.nf_conntrack_tcp_loose", "0"),
    ] {
        let mut said = String::new();
        eventually(&format!("{about}: {key} is {value}"), || {
            said = cloud.inside("net", &cloud.snat(), &format!("sysctl -n {key}"));
            said.trim() == value
        });
    }
    let said = cloud.inside(
        "c1",
        &cloud.qrouter(),
        "sysctl -n net.ipv4.conf.all.send_redirects",
    );
    assert_eq!(said.trim(), "0", "{about}");
}
