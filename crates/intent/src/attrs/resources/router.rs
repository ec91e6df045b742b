//! Routers.

use super::prelude::*;

pub static ROUTER: Table = Table {
    kind: Some(Kind::Router),
    name: "router",
    plural: "routers",
    path: "routers",
    parent: None,
    attrs: ROWS,
    actions: &[
        put("add_router_interface"),
        put("remove_router_interface"),
        put("add_extraroutes"),
        put("remove_extraroutes"),
    ],
    verbs: Verbs::All,
    extension: "router",
    tagged: true,
    pagination: true,
    missing: ("RouterNotFound", "Router {} could not be found"),
};

const ROWS: &[Attr] = &[
    ID,
    NAME,
    ADMIN_STATE_UP,
    Attr::new("status").sort().shown(),
    OWNER,
    Attr::new("external_gateway_info")
        .post()
        .put()
        .or(Word::Null)
        .is(Is::GatewayInfo)
        .shown()
        .policy(),
    Attr::new("distributed")
        .post()
        .put()
        .unset()
        .to(To::BooleanOrNone)
        .shown()
        .policy(),
    Attr::new("ha")
        .post()
        .put()
        .unset()
        .to(To::BooleanOrNone)
        .shown()
        .policy(),
    Attr::new("routes")
        .put()
        .unset()
        .to(To::NoneToList)
        .is(Is::HostRoutes)
        .shown(),
    Attr::new("availability_zone_hints")
        .post()
        .or(Word::EmptyList)
        .is(Is::ZoneHints)
        .shown(),
    AVAILABILITY_ZONES,
    Attr::new("conntrack_helpers").or(Word::Null).shown(),
    Attr::new("enable_ndp_proxy")
        .post()
        .put()
        .unset()
        .to(To::BooleanOrNone)
        .filter()
        .shown(),
    Attr::new("flavor_id")
        .post()
        .unset()
        .sort()
        .shown()
        .policy(),
    DESCRIPTION,
    TAGS,
    TAGS_ANY,
    NOT_TAGS,
    NOT_TAGS_ANY,
    REVISION_NUMBER,
    CREATED_AT,
    UPDATED_AT,
];

impl Shown for Router {
    const TABLE: &'static Table = &ROUTER;

    fn show(&self, cx: &Cx<'_>, attr: &str, out: &mut Json) -> bool {
        match attr {
            "id" => out.show(self.id),
            "name" => out.text(&self.name),
            "admin_state_up" => out.bool(self.admin_state_up),
            "status" => out.text("ACTIVE"),
            "external_gateway_info" => match &self.gateway {
                Some(gateway) => gateway_info(cx, gateway, out),
                None => out.null(),
            },
            "distributed" => out.bool(self.distributed),
            "ha" => out.bool(false),
            "routes" => out.list(&self.routes, route),
            "availability_zone_hints" => {
                out.texts(self.availability_zone_hints.iter().map(String::as_str));
            }
            // A router is placed after it was made.
            "availability_zones" if cx.verb == Verb::Create => out.raw("[]"),
            "availability_zones" => {
                out.texts(cx.zones(cx.state.index.agents_of_router.of(&self.id)));
            }
            "conntrack_helpers" => out.raw("[]"),
            "enable_ndp_proxy" => out.bool(self.enable_ndp_proxy),
            "flavor_id" => out.text_or_null(self.flavor_id.as_deref()),
            _ => return false,
        }
        true
    }
}

fn gateway_info(cx: &Cx<'_>, gateway: &Gateway, out: &mut Json) {
    let port = cx.state.ports.get(&gateway.port_id);
    out.open(b'{');
    out.key("network_id");
    out.show(gateway.network_id);
    out.key("external_fixed_ips");
    out.list(port.iter().flat_map(|port| &port.fixed_ips), fixed_ip);
    out.key("enable_snat");
    out.bool(gateway.enable_snat);
    out.close(b'}');
}
