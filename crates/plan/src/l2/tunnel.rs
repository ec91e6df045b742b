//! br-tun: between local VLANs and tunnels.
//!
//! Out: table 2 parts known unicast (20), ARP requests (21, when they are answered here) and
//! everything that floods (22). In: the table of the tunnel's type (3 gre, 4 vxlan, 6 geneve)
//! knows a tunnel id as a local VLAN; table 10 learns behind which tunnel the sender stands, into
//! table 20, and hands the frame to br-int. A tunnel id that no network here has is dropped;
//! a frame from a tunnel never goes back into one.

use std::{collections::BTreeSet, net::IpAddr};

use host::{
    Mac, Why, names,
    ovs::{Action, Field, Interface, Learn, LearnSource, LearnSpec, Match, Port, Subfield},
};
use intent::{NetworkType, view::Peer};

use super::{
    At, Carrier, LEARNED_COOKIE, LocalNet, PATCH_INT, PATCH_TUN, is_distributed, texts, tun,
};
use crate::Draft;

/// How long a learned MAC is believed.
const LEARNED_SECONDS: u16 = 300;

pub(super) fn emit(draft: &mut Draft<'_>, nets: &[LocalNet<'_>]) {
    let bridge = draft.settings.tunnel_bridge.clone();
    draft.own_bridge(&bridge);
    draft.patch(&bridge, PATCH_INT, PATCH_TUN);
    sorting(draft, &bridge);
    learning(draft, &bridge);
    for net in nets {
        network(draft, &bridge, net);
    }
}

/// The table that knows the ids of tunnels of this type.
fn table_of(kind: NetworkType) -> Option<u8> {
    match kind {
        NetworkType::Gre => Some(tun::GRE),
        NetworkType::Vxlan => Some(tun::VXLAN),
        NetworkType::Geneve => Some(tun::GENEVE),
        _ => None,
    }
}

/// The road through br-tun, without any network on it.
fn sorting(draft: &mut Draft<'_>, bridge: &str) {
    let distributed = is_distributed(draft.settings);
    let mut flow = |table, priority, matches: Match, to: Option<u8>| {
        let actions = to.map(Action::GotoTable).into_iter().collect();
        let at = At::new(bridge, table, priority);
        draft.flow(at, matches, actions, Why::base());
    };
    let from_inside = Match::any().in_port(PATCH_INT);
    let first = if distributed {
        tun::DVR_PROCESS
    } else {
        tun::PATCH_LV
    };
    flow(tun::CLASSIFY, 1, from_inside, Some(first));
    flow(tun::CLASSIFY, 0, Match::any(), None);
    if distributed {
        flow(tun::DVR_PROCESS, 0, Match::any(), Some(tun::PATCH_LV));
        flow(tun::DVR_NOT_LEARN, 0, Match::any(), Some(tun::LEARN));
    }
    let group_bit = 1 << 40;
    let unicast = Match::any().masked(Field::EthDst, 0, group_bit);
    let multicast = Match::any().masked(Field::EthDst, group_bit, group_bit);
    flow(tun::PATCH_LV, 0, unicast, Some(tun::UNICAST));
    flow(tun::PATCH_LV, 0, multicast, Some(tun::FLOOD));
    for table in [tun::GRE, tun::VXLAN, tun::GENEVE, tun::FLOOD] {
        flow(table, 0, Match::any(), None);
    }
    flow(tun::UNICAST, 0, Match::any(), Some(tun::FLOOD));
}

/// What a frame from a tunnel teaches: its sender stands behind that tunnel.
fn lesson() -> Learn {
    let whole = Subfield::whole;
    let vlan = Subfield::bits(Field::VlanTci, 0, 11);
    Learn {
        table: tun::UNICAST,
        hard_timeout: LEARNED_SECONDS,
        priority: Some(1),
        cookie: LEARNED_COOKIE,
        specs: vec![
            LearnSpec::Match {
                dst: vlan,
                src: LearnSource::Field(vlan),
            },
            LearnSpec::Match {
                dst: whole(Field::EthDst),
                src: LearnSource::Field(whole(Field::EthSrc)),
            },
            LearnSpec::Load {
                dst: whole(Field::VlanTci),
                src: LearnSource::Value(0),
            },
            LearnSpec::Load {
                dst: whole(Field::TunId),
                src: LearnSource::Field(whole(Field::TunId)),
            },
            LearnSpec::Output(whole(Field::InPortOxm)),
        ],
        ..Learn::default()
    }
}

/// Table 10. Announcements of a move (gratuitous ARP, router and neighbour advertisements) have
/// flows of their own, as in Neutron, where they alone are learned from under layer 2 population.
fn learning(draft: &mut Draft<'_>, bridge: &str) {
    let gratuitous = Match::any()
        .arp()
        .field(Field::ArpTha, u128::from(Mac::BROADCAST.to_bits()));
    for (priority, matches) in [
        (2, gratuitous),
        (2, Match::any().icmp6_type(134)),
        (2, Match::any().icmp6_type(136)),
        (1, Match::any()),
    ] {
        let learn = Action::Learn(Box::new(lesson()));
        let actions = vec![learn, Action::output(PATCH_INT)];
        draft.flow(
            At::new(bridge, tun::LEARN, priority),
            matches,
            actions,
            Why::base(),
        );
    }
}

/// A network's id in tunnels is its local VLAN here.
fn network(draft: &mut Draft<'_>, bridge: &str, net: &LocalNet<'_>) {
    let Carrier::Tunnel { kind, id } = net.carrier else {
        return;
    };
    let Some(table) = table_of(kind) else { return };
    let next = match is_distributed(draft.settings) {
        true => tun::DVR_NOT_LEARN,
        false => tun::LEARN,
    };
    let mut actions = Action::tag(net.vlan).to_vec();
    actions.push(Action::GotoTable(next));
    let matches = Match::any().field(Field::TunId, id.into());
    draft.flow(At::new(bridge, table, 1), matches, actions, net.why());
}

/// A tunnel to another host: its name, when there can be one.
pub(super) fn tunnel_to(draft: &Draft<'_>, peer: &Peer, kind: NetworkType) -> Option<String> {
    let settings = draft.settings;
    let (local, remote) = (settings.local_ip?, peer.tunnel_ip?);
    let both = settings.tunnel_types.contains(&kind) && peer.tunnel_types.contains(&kind);
    let another = peer.host != settings.host && remote != local;
    let same_family = local.is_ipv4() == remote.is_ipv4();
    (both && another && same_family).then(|| names::tunnel(kind.as_str(), remote))
}

/// The port of a tunnel, and the flow that takes what comes out of it.
pub(super) fn tunnel_port(draft: &mut Draft<'_>, peer: &Peer, kind: NetworkType, why: &Why) {
    let Some(name) = tunnel_to(draft, peer, kind) else {
        return;
    };
    let (Some(local), Some(remote)) = (draft.settings.local_ip, peer.tunnel_ip) else {
        return;
    };
    let Some(table) = table_of(kind) else { return };
    let bridge = draft.settings.tunnel_bridge.clone();
    let port = Port {
        interfaces: [(name.clone(), tunnel_interface(kind, local, remote))].into(),
        why: why.clone(),
        ..Port::default()
    };
    draft.ovs_port(&bridge, &name, port);
    let at = At::new(&bridge, tun::CLASSIFY, 1);
    let to = vec![Action::GotoTable(table)];
    draft.flow(at, Match::any().in_port(&name), to, why.clone());
}

fn tunnel_interface(kind: NetworkType, local: IpAddr, remote: IpAddr) -> Interface {
    Interface {
        kind: kind.as_str().to_owned(),
        options: texts(&[
            ("df_default", "true"),
            ("egress_pkt_mark", "0"),
            ("in_key", "flow"),
            ("local_ip", &local.to_string()),
            ("out_key", "flow"),
            ("remote_ip", &remote.to_string()),
        ]),
        ..Interface::default()
    }
}

/// Out of these tunnels, with the network's id.
pub(super) fn into_tunnels(id: u32, tunnels: &BTreeSet<String>) -> Vec<Action> {
    let head = [Action::pop_vlan(), Action::set(Field::TunId, id.into())];
    let outputs = tunnels.iter().map(|tunnel| Action::output(tunnel.as_str()));
    head.into_iter().chain(outputs).collect()
}
