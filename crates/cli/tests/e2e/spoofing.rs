//! What a guest forges does not leave its host. Each forgery is sent twice: by a guest without
//! port security, whose frames arrive, and by one with it, whose frames do not; so a forgery that
//! would not arrive anyway proves nothing here.

use crate::frames::{self, BROADCAST, Mac, mac, v4};
use crate::rig::{GuestAt, Rig, soon};
use serde_json::json;
use std::net::Ipv4Addr;

const STRANGER: Mac = [2, 0, 0, 0, 0, 0x99];

/// A forgery, and what tcpdump shows of it.
struct Forgery {
    what: &'static str,
    frame: Vec<u8>,
    sign: String,
}

fn forgeries(sender: &GuestAt<'_>, target: &GuestAt<'_>) -> Vec<Forgery> {
    let (me, mine) = (mac(&sender.guest.port.mac), v4(sender.ip()));
    let (you, yours) = (mac(&target.guest.port.mac), v4(target.ip()));
    let other = Ipv4Addr::new(10, 1, 0, 200);
    let forgery = |what, frame, sign: &str| Forgery {
        what,
        frame,
        sign: sign.to_owned(),
    };
    vec![
        forgery(
            "another MAC",
            frames::echo((you, yours), (STRANGER, mine)),
            "02:00:00:00:00:99 >",
        ),
        forgery(
            "another address",
            frames::echo((you, yours), (me, other)),
            "10.1.0.200 > ",
        ),
        forgery(
            "an ARP answer",
            frames::arp_answer(you, me, other, yours),
            "Reply 10.1.0.200 is-at",
        ),
        forgery(
            "a DHCP server",
            frames::dhcp_offer(BROADCAST, (me, mine)),
            "BOOTP/DHCP, Reply",
        ),
        forgery(
            "a router",
            frames::router_advertisement(me),
            "router advertisement",
        ),
    ]
}

/// Which forgeries arrive. An honest echo after them arrives last, so nothing is still under way.
fn arrive(sender: &GuestAt<'_>, target: &GuestAt<'_>) -> Vec<&'static str> {
    sender.must_ping(target.ip());
    let forgeries = forgeries(sender, target);
    let seen = target.capture("icmp or icmp6 or arp or udp");
    sender.send(
        &forgeries
            .iter()
            .map(|forgery| forgery.frame.clone())
            .collect::<Vec<_>>(),
    );
    sender.must_ping(target.ip());
    let seen = seen.stop();
    forgeries
        .iter()
        .filter(|forgery| seen.contains(&forgery.sign))
        .map(|forgery| forgery.what)
        .collect()
}

#[test]
fn a_guest_speaks_for_itself_only() {
    let mut rig = Rig::cloud();
    rig.network("red", "10.1.0.0/24");
    for (name, host) in [("target", "c2"), ("trusted", "c1")] {
        rig.add_with(name, host, "red", |wish| {
            wish.port("port_security_enabled", json!(false))
        });
    }
    rig.add("liar", "c1", "red");
    let target = rig.guest("target");
    let all: Vec<_> = forgeries(&target, &target)
        .iter()
        .map(|forgery| forgery.what)
        .collect();
    assert_eq!(arrive(&rig.guest("trusted"), &target), all);
    assert_eq!(arrive(&rig.guest("liar"), &target), Vec::<&str>::new());

    // An allowed address pair is another address that the guest may speak for.
    rig.update_port(
        "liar",
        &json!({"allowed_address_pairs": [{"ip_address": "10.1.0.200"}]}),
    );
    soon("the pair is allowed", || {
        arrive(&rig.guest("liar"), &target) == ["another address", "an ARP answer"]
    });
}
