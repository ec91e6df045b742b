//! br-int's skeleton: the road that every frame takes, with nothing yet on it.
//!
//! Tables 30 and 31 (local addresses), 58 and 59 (limits of rate) and 62 are stations that
//! Neutron has for features which are off here: frames pass them. Table 23 is its canary: it
//! lives only to show whether the switch lost its flows. Frames in the VLAN of dead ports are
//! dropped before anything looks at them.

use host::{
    Why,
    ovs::{Action, Match},
};

use super::{At, DEAD_VLAN, PATCH_INT, PATCH_TUN, has_tunnels, int};
use crate::Draft;

/// Where frames go on that no flow of the table takes.
const ROADS: &[(u8, u16, Station)] = &[
    (int::LOCAL, 0, Station::Table(int::PACKET_RATE_LIMIT)),
    (int::CANARY, 0, Station::Drop),
    (int::ARP_SPOOF, 0, Station::Drop),
    (int::LOCAL_EGRESS, 0, Station::Table(int::PACKET_RATE_LIMIT)),
    (
        int::LOCAL_INGRESS,
        0,
        Station::Table(int::PACKET_RATE_LIMIT),
    ),
    (
        int::PACKET_RATE_LIMIT,
        0,
        Station::Table(int::BANDWIDTH_RATE_LIMIT),
    ),
    (int::BANDWIDTH_RATE_LIMIT, 0, Station::Table(int::TRANSIENT)),
    (int::TRANSIENT, 1, Station::Normal),
    (int::TRANSIENT_EGRESS, 3, Station::Normal),
];

enum Station {
    Table(u8),
    Normal,
    Drop,
}

pub(super) fn emit(draft: &mut Draft<'_>) {
    let name = draft.settings.integration_bridge.clone();
    let bridge = draft.own_bridge(&name);
    bridge.other_config.insert(
        "mcast-snooping-disable-flood-unregistered".to_owned(),
        "true".to_owned(),
    );
    for (table, priority, station) in ROADS {
        let actions = match station {
            Station::Table(table) => vec![Action::GotoTable(*table)],
            Station::Normal => vec![Action::normal()],
            Station::Drop => Vec::new(),
        };
        let at = At::new(&name, *table, *priority);
        draft.flow(at, Match::any(), actions, Why::base());
    }
    let dead = Match::any().vlan(DEAD_VLAN);
    draft.flow(
        At::new(&name, int::LOCAL, 65_535),
        dead,
        Vec::new(),
        Why::base(),
    );
    if has_tunnels(draft.settings) {
        draft.patch(&name, PATCH_TUN, PATCH_INT);
    }
}
