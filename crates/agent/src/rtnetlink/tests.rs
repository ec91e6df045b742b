//! What is ordered reads back as what was wanted, through the bytes that are sent.
use host::netns::{
    Addr, AddrKey, Family, Link, MAIN, Neighbour, NeighbourKey, Netns, Nexthop, Route, RouteKey,
    RouteKind, RuleAction, RuleKey, RuleVerdict,
};

use super::*;

/// The order as the kernel gets it, and what it says of such a thing later.
fn read_back(order: Order) -> Netns {
    let bytes = written(order.message, NLM_F_REQUEST | order.flags, 1);
    let mut said: Vec<_> = messages(&bytes)
        .map(|message| match message.expect("a message").payload {
            NetlinkPayload::InnerMessage(message) => message,
            other => panic!("{other:?}"),
        })
        .collect();
    for (number, name) in [(1, "lo"), (7, "qr-1")] {
        let mut link = LinkMessage::default();
        link.header.index = number;
        let name = LinkAttribute::IfName(name.to_owned());
        link.attributes.push(name);
        said.push(RouteNetlinkMessage::NewLink(link));
    }
    decode::netns(&said)
}

fn indexes() -> Indexes {
    [("lo".to_owned(), 1), ("qr-1".to_owned(), 7)].into()
}

fn net(text: &str) -> ipnet::IpNet {
    text.parse().expect("a net")
}

#[test]
fn addresses() {
    for (text, broadcast, scope) in [
        ("10.0.0.1/24", Some("10.0.0.255"), "global"),
        ("169.254.169.254/32", None, "link"),
        ("2001:db8::1/64", None, "global"),
    ] {
        let key = AddrKey {
            dev: "qr-1".to_owned(),
            net: net(text),
        };
        let addr = Addr {
            broadcast: broadcast.map(|address| address.parse().expect("an address")),
            scope: scope.to_owned(),
            ..Addr::default()
        };
        let seen = read_back(put_addr(7, &key, &addr));
        assert_eq!(seen.addrs, [(key, addr)].into());
    }
}

fn route(table: u32, dst: &str, dev: Option<&str>, metric: u32, route: Route) {
    let key = RouteKey {
        dst: net(dst),
        metric,
        kind: RouteKind::Unicast,
        dev: dev.map(str::to_owned),
        tos: 0,
    };
    let order = put_route(table, &key, &route, &indexes()).expect("its devices are there");
    let seen = read_back(order);
    assert_eq!(seen.routes, [(table, [(key, route)].into())].into());
}

#[test]
fn routes() {
    let by = |via: Option<&str>, scope: &str| Route {
        via: via.map(|via| via.parse().expect("an address")),
        scope: scope.to_owned(),
        proto: "static".to_owned(),
        ..Route::default()
    };
    let default = by(Some("10.0.0.254"), "");
    route(MAIN, "0.0.0.0/0", Some("qr-1"), 0, default.clone());
    route(167_772_161, "0.0.0.0/0", Some("qr-1"), 0, default);
    route(MAIN, "10.9.0.0/16", Some("qr-1"), 0, by(None, "link"));
    route(
        MAIN,
        "2001:db8:9::/48",
        Some("qr-1"),
        1024,
        by(Some("fe80::1"), ""),
    );
    // A gateway of the other version of IP.
    route(
        MAIN,
        "10.9.0.0/16",
        Some("qr-1"),
        5,
        by(Some("fe80::1"), ""),
    );
    let detailed = Route {
        src: "10.0.0.1".parse().ok(),
        onlink: true,
        mtu: Some(1400),
        ..by(Some("10.0.0.254"), "")
    };
    route(16, "10.8.0.0/16", Some("qr-1"), 0, detailed);
    let hop = |via: &str, weight| Nexthop {
        via: via.parse().ok(),
        dev: Some("qr-1".to_owned()),
        weight,
    };
    let both = Route {
        nexthops: vec![hop("10.0.0.2", 1), hop("10.0.0.3", 4)],
        ..by(None, "")
    };
    route(MAIN, "10.7.0.0/16", None, 0, both);
}

#[test]
fn what_stands_on_a_device_that_is_not_there_is_not_ordered() {
    let key = RouteKey {
        dst: net("10.0.0.0/8"),
        metric: 0,
        kind: RouteKind::Unicast,
        dev: Some("qr-2".to_owned()),
        tos: 0,
    };
    let route = put_route(MAIN, &key, &Route::default(), &indexes());
    assert_eq!(route, None);
    assert_eq!(remove_route(MAIN, &key, &indexes()), None);
}

#[test]
fn rules() {
    let mut all = vec![(RuleKey::new(32765, Family::V6), RuleVerdict::Lookup(16))];
    let narrow = RuleKey {
        not: true,
        from: Some(net("10.0.0.5/32")),
        to: Some(net("10.2.0.0/16")),
        iif: Some("qr-1".to_owned()),
        oif: Some("lo".to_owned()),
        fwmark: Some((0x1, 0xffff)),
        ..RuleKey::new(57481, Family::V4)
    };
    all.push((narrow.clone(), RuleVerdict::Lookup(3_000_000_000)));
    all.push((narrow.clone(), RuleVerdict::Goto(60000)));
    all.push((narrow, RuleVerdict::Unreachable));
    for (key, verdict) in all {
        let action = RuleAction {
            verdict,
            ..RuleAction::default()
        };
        let seen = read_back(add_rule(&key, &action));
        assert_eq!(seen.rules, [(key, action)].into());
    }
}

#[test]
fn neighbours() {
    for ip in ["10.0.0.9", "2001:db8::9"] {
        let key = NeighbourKey {
            dev: "qr-1".to_owned(),
            ip: ip.parse().expect("an address"),
        };
        let neighbour = Neighbour {
            mac: "fa:16:3e:00:00:09".parse().ok(),
            state: "PERMANENT".to_owned(),
            ..Neighbour::default()
        };
        let seen = read_back(put_neighbour(7, &key, &neighbour));
        assert_eq!(seen.neighbours, [(key, neighbour)].into());
    }
}

#[test]
fn a_device_gets_what_it_lacks() {
    let want = Link {
        mac: "fa:16:3e:00:00:01".parse().ok(),
        mtu: 1450,
        up: true,
        ..Link::default()
    };
    assert_eq!(link(7, "qr-1", Some(&want), &want), None);
    let small = Link {
        mtu: 1500,
        ..want.clone()
    };
    let order = link(7, "qr-1", Some(&small), &want).expect("it differs");
    assert_eq!(order.what, "set device qr-1 mtu 1450");
    let mut message = LinkMessage::default();
    message.header.index = 7;
    message.attributes.push(LinkAttribute::Mtu(1450));
    assert_eq!(order.message, RouteNetlinkMessage::SetLink(message));
}

#[test]
fn an_answer_that_is_cut_off_is_an_error_and_not_a_loop() {
    let question = links();
    let bytes = written(question, NLM_F_REQUEST, 1);
    let half = &bytes[..bytes.len() - 4];
    let read: Vec<_> = messages(half).collect();
    assert!(matches!(&read[..], [Err(_)]), "{read:?}");
}
