//! Subnets.

use super::prelude::*;

pub static SUBNET: Table = Table {
    kind: Some(Kind::Subnet),
    name: "subnet",
    plural: "subnets",
    path: "subnets",
    parent: None,
    attrs: ROWS,
    actions: &[],
    verbs: Verbs::All,
    extension: "",
    tagged: true,
    pagination: true,
    missing: ("SubnetNotFound", "Subnet {} could not be found."),
};

const ROWS: &[Attr] = &[
    ID,
    NAME,
    IP_VERSION,
    NETWORK_ID,
    Attr::new("subnetpool_id")
        .post()
        .unset()
        .is(Is::SubnetPoolIdOrNone)
        .filter()
        .sort()
        .shown(),
    Attr::new("prefixlen")
        .post()
        .unset()
        .to(To::Int)
        .is(Is::NonNegative),
    Attr::new("cidr")
        .post()
        .unset()
        .to(To::Cidr)
        .is(Is::SubnetOrNone)
        .filter()
        .sort()
        .shown(),
    Attr::new("gateway_ip")
        .post()
        .put()
        .unset()
        .to(To::Ip)
        .is(Is::IpOrNone)
        .filter()
        .sort()
        .shown(),
    Attr::new("allocation_pools")
        .post()
        .put()
        .unset()
        .to(To::Pools)
        .is(Is::IpPools)
        .shown(),
    Attr::new("dns_nameservers")
        .post()
        .put()
        .unset()
        .to(To::NoneToList)
        .is(Is::Nameservers)
        .shown(),
    Attr::new("host_routes")
        .post()
        .put()
        .unset()
        .to(To::NoneToList)
        .is(Is::HostRoutes)
        .shown(),
    OWNER,
    Attr::new("enable_dhcp")
        .post()
        .put()
        .or(Word::Bool(true))
        .to(To::Boolean)
        .filter()
        .sort()
        .shown(),
    Attr::new("ipv6_ra_mode")
        .post()
        .unset()
        .is(Is::Words(&[
            Word::Text("dhcpv6-stateful"),
            Word::Text("dhcpv6-stateless"),
            Word::Text("slaac"),
            Word::Null,
        ]))
        .filter()
        .sort()
        .shown(),
    Attr::new("ipv6_address_mode")
        .post()
        .unset()
        .is(Is::Words(&[
            Word::Text("dhcpv6-stateful"),
            Word::Text("dhcpv6-stateless"),
            Word::Text("slaac"),
            Word::Null,
        ]))
        .filter()
        .sort()
        .shown(),
    Attr::new("shared")
        .or(Word::Bool(false))
        .to(To::Boolean)
        .filter()
        .policy()
        .for_policy(),
    Attr::new("use_default_subnetpool")
        .post()
        .or(Word::Bool(false))
        .to(To::Boolean),
    Attr::new("service_types")
        .post()
        .put()
        .unset()
        .is(Is::ServiceTypes)
        .shown(),
    Attr::new("dns_publish_fixed_ip")
        .post()
        .put()
        .or(Word::Bool(false))
        .to(To::Boolean)
        .shown(),
    Attr::new("segment_id")
        .post()
        .put()
        .or(Word::Null)
        .is(Is::UuidOrNone)
        .filter()
        .sort()
        .shown(),
    Attr::new("router:external")
        .or(Word::Bool(false))
        .to(To::Boolean)
        .filter()
        .shown()
        .policy()
        .for_policy(),
    DESCRIPTION,
    TAGS,
    TAGS_ANY,
    NOT_TAGS,
    NOT_TAGS_ANY,
    REVISION_NUMBER,
    CREATED_AT,
    UPDATED_AT,
];

impl Shown for Subnet {
    const TABLE: &'static Table = &SUBNET;

    fn show(&self, cx: &Cx<'_>, attr: &str, out: &mut Json) -> bool {
        match attr {
            "id" => out.show(self.id),
            "name" => out.text(&self.name),
            "ip_version" => out.number(self.ip_version()),
            "network_id" => out.show(self.network_id),
            "subnetpool_id" => out.show_or_null(self.subnetpool_id),
            "cidr" => out.show(self.cidr),
            "gateway_ip" => out.show_or_null(self.gateway_ip),
            "allocation_pools" => out.list(&self.allocation_pools, pool),
            "dns_nameservers" => out.shows(&self.dns_nameservers),
            "host_routes" => out.list(&self.host_routes, route),
            "enable_dhcp" => out.bool(self.enable_dhcp),
            "ipv6_ra_mode" => out.show_or_null(self.ipv6_ra_mode),
            "ipv6_address_mode" => out.show_or_null(self.ipv6_address_mode),
            "shared" => out.bool(cx.is_shared(self.network_id.uuid())),
            "router:external" => out.bool(cx.network_is_external(self.network_id)),
            "service_types" => out.texts(self.service_types.iter().map(String::as_str)),
            "dns_publish_fixed_ip" => out.bool(self.dns_publish_fixed_ip),
            "segment_id" => out.show_or_null(self.segment_id),
            _ => return false,
        }
        true
    }
}

fn pool(out: &mut Json, pool: &IpRange) {
    out.open(b'{');
    out.key("start");
    out.show(pool.start);
    out.key("end");
    out.show(pool.end);
    out.close(b'}');
}
