//! Floating IPs.

use super::prelude::*;

pub static FLOATING_IP: Table = Table {
    kind: Some(Kind::FloatingIp),
    name: "floatingip",
    plural: "floatingips",
    path: "floatingips",
    parent: None,
    attrs: ROWS,
    actions: &[],
    verbs: Verbs::All,
    extension: "router",
    tagged: true,
    pagination: true,
    missing: ("FloatingIPNotFound", "Floating IP {} could not be found"),
};

const ROWS: &[Attr] = &[
    ID,
    Attr::new("floating_network_id")
        .post()
        .is(Is::Uuid)
        .filter()
        .sort()
        .shown(),
    Attr::new("floating_ip_address")
        .post()
        .or(Word::Null)
        .is(Is::IpOrNone)
        .filter()
        .sort()
        .shown()
        .policy(),
    Attr::new("subnet_id")
        .post()
        .or(Word::Null)
        .is(Is::UuidOrNone),
    Attr::new("router_id")
        .post()
        .put()
        .or(Word::Null)
        .is(Is::UuidOrNone)
        .filter()
        .sort()
        .shown(),
    Attr::new("port_id")
        .post()
        .put()
        .or(Word::Null)
        .is(Is::UuidOrNone)
        .filter()
        .shown()
        .for_policy(),
    Attr::new("fixed_ip_address")
        .post()
        .put()
        .or(Word::Null)
        .is(Is::IpOrNone)
        .filter()
        .sort()
        .shown(),
    OWNER,
    STATUS,
    Attr::new("dns_domain")
        .post()
        .or(Word::Text(""))
        .to(To::Lower)
        .is(Is::DnsDomain(255))
        .shown(),
    Attr::new("dns_name")
        .post()
        .or(Word::Text(""))
        .to(To::Lower)
        .is(Is::DnsHost(255))
        .shown(),
    Attr::new("port_details").unset().shown(),
    Attr::new("port_forwardings").or(Word::Null).shown(),
    QOS_POLICY_ID,
    DESCRIPTION,
    TAGS,
    TAGS_ANY,
    NOT_TAGS,
    NOT_TAGS_ANY,
    REVISION_NUMBER,
    CREATED_AT,
    UPDATED_AT,
];

impl Shown for FloatingIp {
    const TABLE: &'static Table = &FLOATING_IP;

    fn show(&self, cx: &Cx<'_>, attr: &str, out: &mut Json) -> bool {
        match attr {
            "id" => out.show(self.id),
            "floating_network_id" => out.show(self.floating_network_id),
            "floating_ip_address" => out.show(self.floating_ip_address),
            "router_id" => out.show_or_null(self.router_id),
            "port_id" => out.show_or_null(self.port_id),
            "fixed_ip_address" => out.show_or_null(self.fixed_ip_address),
            "status" => out.text(self.status.as_str()),
            "dns_domain" => out.text(&self.dns_domain),
            "dns_name" => out.text(&self.dns_name),
            "port_details" => match self.port_id.and_then(|id| cx.state.ports.get(&id)) {
                Some(port) => port_details(cx, port, out),
                None => out.null(),
            },
            "port_forwardings" => out.raw("[]"),
            "qos_policy_id" => out.null(),
            _ => return false,
        }
        true
    }
}

fn port_details(cx: &Cx<'_>, port: &Port, out: &mut Json) {
    out.open(b'{');
    for attr in [
        "name",
        "network_id",
        "mac_address",
        "admin_state_up",
        "status",
        "device_id",
        "device_owner",
    ] {
        out.key(attr);
        port.show(cx, attr, out);
    }
    out.close(b'}');
}
