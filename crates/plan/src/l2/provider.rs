//! The bridges of physical networks, and the translation of VLANs between them and br-int.
//!
//! Out: a frame with a network's local VLAN gets the VLAN that the network has outside, or none
//! when it is flat. In: the other way round. What belongs to no network here is dropped on both
//! sides of the patch, so that nothing leaks between the outside and br-int.
//!
//! On hosts of distributed routers the same translation stands behind tables that keep such
//! routers' MACs inside: see `distributed`.

use host::{
    Why, names,
    ovs::{Action, Field, Match},
};

use super::{At, Carrier, LocalNet, int};
use crate::Draft;

/// The table of a provider bridge that translates, on hosts without distributed routers.
const TRANSLATE: u8 = 0;
/// The same, behind distributed routers' tables.
const TRANSLATE_DVR: u8 = 2;

pub(super) fn emit(draft: &mut Draft<'_>, nets: &[LocalNet<'_>]) {
    let settings = draft.settings;
    for bridge in settings.bridge_mappings.values() {
        skeleton(draft, bridge);
    }
    for net in nets {
        if let Carrier::Provider { bridge, vlan, .. } = &net.carrier {
            outwards(draft, net, bridge, *vlan);
            inwards(draft, net, bridge, *vlan);
        }
    }
}

/// Where this host's provider bridges translate.
fn translating(draft: &Draft<'_>) -> u8 {
    match super::is_distributed(draft.settings) {
        true => TRANSLATE_DVR,
        false => TRANSLATE,
    }
}

fn skeleton(draft: &mut Draft<'_>, bridge: &str) {
    let integration = draft.settings.integration_bridge.clone();
    let (int_end, phy_end) = names::provider_patch(bridge);
    draft.own_bridge(bridge);
    draft.patch(&integration, &int_end, &phy_end);
    draft.patch(bridge, &phy_end, &int_end);
    let from_outside = Match::any().in_port(&int_end);
    let at = At::new(&integration, int::LOCAL, 2);
    draft.flow(at, from_outside, Vec::new(), Why::base());
    let at = At::new(bridge, translating(draft), 2);
    let from_inside = Match::any().in_port(&phy_end);
    draft.flow(at, from_inside, Vec::new(), Why::base());
    let at = At::new(bridge, TRANSLATE, 0);
    draft.flow(at, Match::any(), vec![Action::normal()], Why::base());
}

fn outwards(draft: &mut Draft<'_>, net: &LocalNet<'_>, bridge: &str, vlan: Option<u16>) {
    let (_, phy_end) = names::provider_patch(bridge);
    let translate = match vlan {
        None => Action::pop_vlan(),
        Some(vlan) => set_vlan(vlan),
    };
    let at = At::new(bridge, translating(draft), 4);
    let matches = Match::any().in_port(&phy_end).vlan(net.vlan);
    draft.flow(at, matches, vec![translate, Action::normal()], net.why());
}

fn inwards(draft: &mut Draft<'_>, net: &LocalNet<'_>, bridge: &str, vlan: Option<u16>) {
    let integration = draft.settings.integration_bridge.clone();
    let (int_end, _) = names::provider_patch(bridge);
    let from_outside = Match::any().in_port(&int_end);
    let (matches, mut actions) = match vlan {
        None => (from_outside.untagged(), Action::tag(net.vlan).to_vec()),
        Some(vlan) => (from_outside.vlan(vlan), vec![set_vlan(net.vlan)]),
    };
    actions.push(Action::GotoTable(int::PACKET_RATE_LIMIT));
    let at = At::new(&integration, int::LOCAL, 3);
    draft.flow(at, matches, actions, net.why());
}

/// Change the tag that a frame has.
fn set_vlan(vlan: u16) -> Action {
    Action::set(Field::VlanVid, u128::from(0x1000 | vlan))
}
