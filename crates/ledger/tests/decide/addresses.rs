//! Which addresses ports get.

use std::collections::BTreeSet;

use intent::{Kind, Port, PortId};
use serde_json::json;

use crate::rig::{Rig, deletion};

fn address(rig: &Rig, port: &str) -> Vec<String> {
    let id: PortId = port.parse().expect("an id");
    let port: &Port = &rig.state.ports[&id];
    port.addresses().map(|it| it.to_string()).collect()
}

#[test]
fn a_released_address_rests_while_others_are_free_and_none_is_given_twice() {
    let mut rig = Rig::new();
    let (network, _) = rig.network("10.0.0.0/28");
    let body = json!({"network_id": network});
    for _ in 0..40 {
        let port = rig.create(Kind::Port, body.clone());
        let released = address(&rig, &port);
        rig.delete(Kind::Port, &port);
        let next = rig.create(Kind::Port, body.clone());
        assert_ne!(address(&rig, &next), released);
        rig.delete(Kind::Port, &next);
    }
    let mut given = BTreeSet::new();
    for _ in 0..13 {
        let port = rig.create(Kind::Port, body.clone());
        given.extend(address(&rig, &port));
    }
    assert_eq!(given.len(), 13, "all but the gateway: {given:?}");
    let more = rig.creation(Kind::Port, &body);
    assert_eq!(
        rig.refuses(more),
        format!(
            "409 IpAddressGenerationFailure: No more IP addresses available on network {network}."
        )
    );
}

#[test]
fn ports_make_their_address_in_a_subnet_that_comes_later_and_give_it_up_with_it() {
    let mut rig = Rig::new();
    let (network, _) = rig.network("10.0.0.0/24");
    let port = rig.create(
        Kind::Port,
        json!({"network_id": network, "mac_address": "fa:16:3e:00:00:01"}),
    );
    let subnet = rig.create(
        Kind::Subnet,
        json!({"network_id": network, "ip_version": 6, "cidr": "fd00:1::/64",
               "ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}),
    );
    assert_eq!(address(&rig, &port)[1..], ["fd00:1::f816:3eff:fe00:1"]);
    rig.update(
        Kind::Port,
        &port,
        json!({"mac_address": "fa:16:3e:00:00:02"}),
    );
    assert_eq!(address(&rig, &port)[1..], ["fd00:1::f816:3eff:fe00:2"]);
    rig.act(deletion(Kind::Subnet, &subnet));
    assert_eq!(address(&rig, &port).len(), 1);
}

#[test]
fn all_subnets_of_a_network_are_of_segments_or_none_is() {
    let mut rig = Rig::new();
    let network = rig.create(Kind::Network, json!({}));
    let other = rig.create(Kind::Network, json!({}));
    let segment_of = |rig: &Rig, network: &str| {
        let mut segments = rig.state.segments.values();
        let found = segments.find(|it| it.network_id.to_string() == network);
        found.expect("a segment").id.to_string()
    };
    let (segment, foreign) = (segment_of(&rig, &network), segment_of(&rig, &other));
    let subnet = |cidr: &str, segment: Option<&str>| json!({"network_id": network, "cidr": cidr, "ip_version": 4, "segment_id": segment});
    let of_none = rig.create(Kind::Subnet, subnet("10.0.0.0/24", None));
    let mixed = format!(
        "400 SubnetsNotAllAssociatedWithSegments: All of the subnets on network '{network}' must \
         either all be associated with segments or all not associated with any segment."
    );
    let second = rig.creation(Kind::Subnet, &subnet("10.1.0.0/24", Some(&segment)));
    assert_eq!(rig.refuses(second), mixed);
    let strange = rig.change(Kind::Subnet, &of_none, &json!({"segment_id": foreign}));
    assert_eq!(
        rig.refuses(strange),
        format!(
            "400 NetworkIdsDontMatch: The subnet's network id, '{network}', doesn't match the \
             network_id of segment '{foreign}'"
        )
    );
    rig.update(Kind::Subnet, &of_none, json!({"segment_id": segment}));
    let third = rig.creation(Kind::Subnet, &subnet("10.1.0.0/24", None));
    assert_eq!(rig.refuses(third), mixed);
    rig.create(Kind::Subnet, subnet("10.1.0.0/24", Some(&segment)));
    let away = rig.change(Kind::Subnet, &of_none, &json!({"segment_id": null}));
    assert_eq!(
        rig.refuses(away),
        "400 SubnetSegmentAssociationChangeNotAllowed: A subnet that is already associated with a \
         segment cannot have its segment association changed."
    );
}

#[test]
fn a_port_whose_mac_is_set_to_null_gets_a_fresh_one() {
    let mut rig = Rig::new();
    let network = rig.create(Kind::Network, json!({}));
    let mac = |rig: &Rig, port: &str| {
        let id: PortId = port.parse().expect("an id");
        rig.state.ports[&id].mac_address
    };
    let port = rig.create(
        Kind::Port,
        json!({"network_id": network, "mac_address": null}),
    );
    let first = mac(&rig, &port);
    rig.update(Kind::Port, &port, json!({"name": "other"}));
    assert_eq!(mac(&rig, &port), first);
    rig.update(Kind::Port, &port, json!({"mac_address": null}));
    assert_ne!(mac(&rig, &port), first);
}
