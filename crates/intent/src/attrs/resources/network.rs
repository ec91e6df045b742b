//! Networks.

use super::prelude::*;

pub static NETWORK: Table = Table {
    kind: Some(Kind::Network),
    name: "network",
    plural: "networks",
    path: "networks",
    parent: None,
    attrs: ROWS,
    actions: &[],
    verbs: Verbs::All,
    extension: "",
    tagged: true,
    pagination: true,
    missing: ("NetworkNotFound", "Network {} could not be found."),
};

const ROWS: &[Attr] = &[
    ID,
    NAME,
    Attr::new("subnets").or(Word::EmptyList).shown(),
    Attr::new("mtu")
        .post()
        .put()
        .or(Word::Int(0))
        .to(To::Int)
        .is(Is::NonNegative)
        .filter()
        .sort()
        .shown()
        .policy(),
    ADMIN_STATE_UP,
    STATUS,
    OWNER,
    Attr::new("shared")
        .post()
        .put()
        .or(Word::Bool(false))
        .to(To::Boolean)
        .filter()
        .shown()
        .policy()
        .for_policy(),
    Attr::new("router:external")
        .post()
        .put()
        .or(Word::Bool(false))
        .to(To::Boolean)
        .filter()
        .shown()
        .policy()
        .for_policy(),
    Attr::new("is_default")
        .post()
        .put()
        .or(Word::Bool(false))
        .to(To::Boolean)
        .filter()
        .shown()
        .policy()
        .for_policy(),
    Attr::new("provider:network_type")
        .post()
        .put()
        .unset()
        .is(Is::Text(32))
        .filter()
        .shown()
        .policy(),
    Attr::new("provider:physical_network")
        .post()
        .put()
        .unset()
        .is(Is::Text(64))
        .filter()
        .shown()
        .policy(),
    Attr::new("provider:segmentation_id")
        .post()
        .put()
        .unset()
        .to(To::Int)
        .filter()
        .shown()
        .policy(),
    Attr::new("segments")
        .post()
        .put()
        .unset()
        .is(Is::Segments)
        .pairs()
        .shown()
        .policy(),
    Attr::new("port_security_enabled")
        .post()
        .put()
        .or(Word::Bool(true))
        .to(To::Boolean)
        .shown()
        .policy(),
    Attr::new("availability_zone_hints")
        .post()
        .or(Word::EmptyList)
        .is(Is::ZoneHints)
        .sort()
        .shown(),
    AVAILABILITY_ZONES,
    DNS_DOMAIN,
    QOS_POLICY_ID,
    Attr::new("ipv4_address_scope")
        .is(Is::TextOrNone(usize::MAX))
        .shown(),
    Attr::new("ipv6_address_scope")
        .is(Is::TextOrNone(usize::MAX))
        .shown(),
    Attr::new("l2_adjacency").shown(),
    Attr::new("ha").post().or(Word::Bool(false)).to(To::Boolean),
    DESCRIPTION,
    TAGS,
    TAGS_ANY,
    NOT_TAGS,
    NOT_TAGS_ANY,
    REVISION_NUMBER,
    CREATED_AT,
    UPDATED_AT,
];

impl Shown for Network {
    const TABLE: &'static Table = &NETWORK;

    fn show(&self, cx: &Cx<'_>, attr: &str, out: &mut Json) -> bool {
        match attr {
            "id" => out.show(self.id),
            "name" => out.text(&self.name),
            "subnets" => out.shows(cx.state.index.subnets_of_network.of(&self.id)),
            "mtu" => out.number(self.mtu),
            "admin_state_up" => out.bool(self.admin_state_up),
            "status" => out.text("ACTIVE"),
            "shared" => out.bool(cx.is_shared(self.id.uuid())),
            "router:external" => out.bool(cx.is_external(self)),
            // Otherwise the reference shows it in the answer to a creation alone.
            "is_default" if self.external || cx.verb == Verb::Create || cx.filtering => {
                out.bool(self.is_default);
            }
            "provider:network_type" | "provider:physical_network" | "provider:segmentation_id" => {
                return self.provider(cx, attr, out);
            }
            "segments" => return self.segments(cx, out),
            "port_security_enabled" => out.bool(self.port_security_enabled),
            "availability_zone_hints" => {
                out.texts(self.availability_zone_hints.iter().map(String::as_str));
            }
            "availability_zones" => out.texts(zones(cx, &self.id)),
            "dns_domain" => out.text(&self.dns_domain),
            "qos_policy_id" => out.null(),
            "ipv4_address_scope" => out.show_or_null(self.scope(cx, 4)),
            "ipv6_address_scope" => out.show_or_null(self.scope(cx, 6)),
            "l2_adjacency" => out.bool(self.is_l2_adjacent(cx)),
            _ => return false,
        }
        true
    }
}

fn zones<'a>(cx: &Cx<'a>, network: &'a NetworkId) -> BTreeSet<&'a str> {
    let agents = cx.state.index.dhcp_agents_of_network.of(network);
    cx.zones(agents)
}

trait Parts {
    fn provider(&self, cx: &Cx<'_>, attr: &str, out: &mut Json) -> bool;
    fn segments(&self, cx: &Cx<'_>, out: &mut Json) -> bool;
    fn scope(&self, cx: &Cx<'_>, version: u8) -> Option<AddressScopeId>;
    fn is_l2_adjacent(&self, cx: &Cx<'_>) -> bool;
}

impl Parts for Network {
    /// One segment is shown as the provider's three attributes, several as a list.
    fn provider(&self, cx: &Cx<'_>, attr: &str, out: &mut Json) -> bool {
        let segments = segments_of(cx, self.id);
        if let [segment] = segments.as_slice() {
            provider_attr(segment, attr, out);
            return true;
        }
        // A filter finds the network by each of its segments.
        if cx.filtering {
            out.list(segments, |out, segment| provider_attr(segment, attr, out));
        }
        cx.filtering
    }

    fn segments(&self, cx: &Cx<'_>, out: &mut Json) -> bool {
        let segments = segments_of(cx, self.id);
        if segments.len() < 2 {
            return false;
        }
        out.list(&segments, |out, segment| {
            out.open(b'{');
            for attr in [
                "provider:network_type",
                "provider:physical_network",
                "provider:segmentation_id",
            ] {
                out.key(attr);
                provider_attr(segment, attr, out);
            }
            out.close(b'}');
        });
        true
    }

    fn scope(&self, cx: &Cx<'_>, version: u8) -> Option<AddressScopeId> {
        cx.subnets(self.id)
            .filter(|subnet| subnet.ip_version() == version)
            .filter_map(|subnet| cx.state.subnet_pools.get(&subnet.subnetpool_id?))
            .find_map(|pool| pool.address_scope_id)
    }

    /// Every port reaches every other by layer 2: no subnet is tied to one segment.
    fn is_l2_adjacent(&self, cx: &Cx<'_>) -> bool {
        !cx.subnets(self.id)
            .any(|subnet| subnet.segment_id.is_some())
    }
}

fn segments_of<'a>(cx: &Cx<'a>, network: NetworkId) -> Vec<&'a Segment> {
    let mut segments: Vec<&Segment> = cx
        .state
        .index
        .segments_of_network
        .of(&network)
        .filter_map(|id| cx.state.segments.get(id))
        .map(|segment| &**segment)
        .collect();
    segments.sort_by_key(|segment| segment.index);
    segments
}

fn provider_attr(segment: &Segment, attr: &str, out: &mut Json) {
    match attr {
        "provider:network_type" => out.text(segment.network_type.as_str()),
        "provider:physical_network" => out.text_or_null(segment.physical_network.as_deref()),
        _ => out.number_or_null(segment.segmentation_id),
    }
}
