//! `fip-NETWORK`: where a host answers for the floating IPs of its distributed routers.
//!
//! Its device `fg-` has one address of the external network for all of them and answers ARP for
//! each floating IP because it has a route to it (proxy ARP). Nothing is tracked here: the routers
//! translate.

use host::{
    Merge, Why, names,
    netns::{Family, RuleKey},
};
use intent::{NetworkId, Port, owner};

use super::{
    dvr::{self, Pair},
    routes,
    site::{self, By, Outside, Site},
};
use crate::{Draft, rules::Writer};

/// The host's own port on an external network.
pub(super) fn agent_gateway<'a>(draft: &Draft<'a>, network: NetworkId) -> Option<&'a Port> {
    let mut ports = draft.ports_of(network);
    ports.find(|port| {
        port.device_owner == owner::FIP_AGENT_GATEWAY && port.is_bound_to(&draft.settings.host)
    })
}

/// The namespace, and in it this router's part.
pub(super) fn emit(draft: &mut Draft<'_>, site: &Site<'_>, pair: &Pair) {
    let Some(network) = site.outside.as_ref().map(|outside| outside.port.network_id) else {
        return;
    };
    let Some(gateway) = agent_gateway(draft, network) else {
        return;
    };
    let (ns, why) = (&pair.fip_ns, Why::of("port", gateway.id));
    draft.netns(ns).why_mut().merge(why.clone());
    let device = names::fg(&gateway.id.to_string());
    site::settings(draft, ns, &why);
    draft.sysctl(ns, "net.ipv4.ip_nonlocal_bind", "1", why.clone());
    let proxy = format!("net.ipv4.conf.{device}.proxy_arp");
    draft.sysctl(ns, &proxy, "1", why.clone());
    site::device_with_addresses(draft, ns, &device, gateway);
    iptables(draft, pair, &why);
    dvr::end(
        draft,
        ns,
        &pair.fip_end,
        pair,
        &pair.router_end,
        &site.why(),
    );
    way_out(draft, pair, device, gateway);
    for floating_ip in &site.floating {
        dvr::route_back(draft, pair, floating_ip);
    }
}

/// What comes from a router leaves by the external gateway: in a table of its own, so that routers
/// do not reach each other's inner networks through here.
fn way_out(draft: &mut Draft<'_>, pair: &Pair, device: String, gateway: &Port) {
    let table = u32::from(pair.fip_end.address);
    let outside = Outside {
        device,
        port: gateway,
        by: By::Gateway { snat: false },
    };
    routes::ways_out(draft, &pair.fip_ns, table, &outside);
    let mut rule = RuleKey::new(table, Family::V4);
    rule.iif = Some(pair.fip_end.device.clone());
    dvr::lookup(
        draft,
        &pair.fip_ns,
        rule,
        table,
        Why::of("port", gateway.id),
    );
}

fn iptables(draft: &mut Draft<'_>, pair: &Pair, why: &Why) {
    for family in [Family::V4, Family::V6] {
        let mut writer = Writer::new(names::L3_CHAINS, why.clone());
        if family == Family::V4 {
            super::filters::source_nat_chains(&mut writer);
            writer.own("mangle", "mark");
            writer.rule("mangle", "PREROUTING", "-j $-mark", why.clone());
            writer.rule("nat", "snat", "-j $-float-snat", why.clone());
            writer.rule("raw", "PREROUTING", "-j CT --notrack", why.clone());
        }
        writer.finish(draft, &pair.fip_ns, family);
    }
}
