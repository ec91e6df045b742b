//! Ports.

use super::prelude::*;

pub static PORT: Table = Table {
    kind: Some(Kind::Port),
    name: "port",
    plural: "ports",
    path: "ports",
    parent: None,
    attrs: ROWS,
    actions: &[],
    verbs: Verbs::All,
    extension: "",
    tagged: true,
    pagination: true,
    missing: ("PortNotFound", "Port {} could not be found."),
};

const ROWS: &[Attr] = &[
    ID,
    NAME,
    NETWORK_ID,
    ADMIN_STATE_UP,
    Attr::new("mac_address")
        .post()
        .put()
        .unset()
        .to(To::MacIfNone)
        .is(Is::Mac)
        .filter()
        .sort()
        .shown()
        .policy(),
    Attr::new("fixed_ips")
        .post()
        .put()
        .unset()
        .is(Is::FixedIps)
        .filter()
        .pairs()
        .shown()
        .policy(),
    Attr::new("device_id")
        .post()
        .put()
        .or(Word::Text(""))
        .is(Is::Text(255))
        .filter()
        .sort()
        .shown()
        .policy(),
    Attr::new("device_owner")
        .post()
        .put()
        .or(Word::Text(""))
        .is(Is::Text(255))
        .filter()
        .sort()
        .shown()
        .policy(),
    OWNER,
    STATUS,
    Attr::new("security_groups")
        .post()
        .put()
        .unset()
        .to(To::NoneToList)
        .is(Is::UuidList)
        .filter()
        .shown(),
    Attr::new("allowed_address_pairs")
        .post()
        .put()
        .unset()
        .to(To::NoneToList)
        .is(Is::AddressPairs)
        .pairs()
        .shown()
        .policy(),
    Attr::new("port_security_enabled")
        .post()
        .put()
        .unset()
        .to(To::Boolean)
        .shown()
        .policy(),
    Attr::new("extra_dhcp_opts")
        .post()
        .put()
        .or(Word::Null)
        .is(Is::DhcpOptions)
        .shown(),
    Attr::new("binding:host_id")
        .post()
        .put()
        .unset()
        .filter()
        .shown()
        .policy(),
    Attr::new("binding:vnic_type")
        .post()
        .put()
        .or(Word::Text("normal"))
        .is(Is::Words(&[
            Word::Text("normal"),
            Word::Text("direct"),
            Word::Text("macvtap"),
            Word::Text("baremetal"),
            Word::Text("direct-physical"),
            Word::Text("virtio-forwarder"),
            Word::Text("smart-nic"),
            Word::Text("vdpa"),
            Word::Text("accelerator-direct"),
            Word::Text("accelerator-direct-physical"),
            Word::Text("remote-managed"),
        ]))
        .shown()
        .policy(),
    Attr::new("binding:profile")
        .post()
        .put()
        .unset()
        .is(Is::DictOrNone)
        .shown()
        .policy(),
    Attr::new("binding:vif_type").unset().shown().policy(),
    Attr::new("binding:vif_details")
        .unset()
        .is(Is::DictOrNone)
        .shown()
        .policy(),
    Attr::new("data_plane_status")
        .put()
        .unset()
        .is(Is::Words(&[
            Word::Null,
            Word::Text("ACTIVE"),
            Word::Text("DOWN"),
        ]))
        .shown()
        .policy(),
    Attr::new("device_profile")
        .post()
        .or(Word::Null)
        .is(Is::TextOrNone(255))
        .shown(),
    Attr::new("dns_assignment").shown(),
    DNS_DOMAIN,
    Attr::new("dns_name")
        .post()
        .put()
        .or(Word::Text(""))
        .to(To::Lower)
        .is(Is::DnsHost(255))
        .shown(),
    Attr::new("hardware_offload_type")
        .post()
        .unset()
        .to(To::Text)
        .is(Is::Words(&[Word::Text("switchdev")]))
        .shown()
        .policy(),
    Attr::new("hints")
        .post()
        .put()
        .or(Word::Null)
        .is(Is::Hints)
        .shown()
        .policy(),
    Attr::new("ip_allocation").filter().sort().shown(),
    Attr::new("numa_affinity_policy")
        .post()
        .put()
        .or(Word::Null)
        .is(Is::Words(&[
            Word::Text("required"),
            Word::Text("preferred"),
            Word::Text("legacy"),
            Word::Text("socket"),
            Word::Null,
        ]))
        .shown(),
    Attr::new("propagate_uplink_status")
        .post()
        .put()
        .or(Word::Bool(true))
        .to(To::Boolean)
        .shown(),
    Attr::new("qos_network_policy_id")
        .or(Word::Null)
        .is(Is::UuidOrNone)
        .shown(),
    QOS_POLICY_ID,
    Attr::new("resource_request")
        .unset()
        .is(Is::DictOrNone)
        .shown(),
    Attr::new("trunk_details")
        .unset()
        .shown()
        .policy()
        .for_policy(),
    Attr::new("trusted")
        .post()
        .put()
        .unset()
        .to(To::Boolean)
        .is(Is::Boolean)
        .shown()
        .policy(),
    DESCRIPTION,
    Attr::new("tags")
        .post()
        .or(Word::EmptyList)
        .is(Is::UniqueTexts(255))
        .filter()
        .shown(),
    TAGS_ANY,
    NOT_TAGS,
    NOT_TAGS_ANY,
    REVISION_NUMBER,
    CREATED_AT,
    UPDATED_AT,
];

impl Shown for Port {
    const TABLE: &'static Table = &PORT;

    fn show(&self, cx: &Cx<'_>, attr: &str, out: &mut Json) -> bool {
        match attr {
            "id" => out.show(self.id),
            "name" => out.text(&self.name),
            "network_id" => out.show(self.network_id),
            "admin_state_up" => out.bool(self.admin_state_up),
            "mac_address" => out.show(self.mac_address),
            "fixed_ips" => out.list(&self.fixed_ips, fixed_ip),
            "device_id" => out.text(&self.device_id),
            "device_owner" => out.text(&self.device_owner),
            "status" => out.text(self.status.as_str()),
            "security_groups" => out.shows(&self.security_groups),
            "allowed_address_pairs" => out.list(&self.allowed_address_pairs, pair),
            "port_security_enabled" => out.bool(self.port_security_enabled),
            "extra_dhcp_opts" => out.list(&self.extra_dhcp_opts, option),
            "dns_domain" => out.text(&self.dns_domain),
            "dns_name" => out.text(&self.dns_name),
            "dns_assignment" => self.dns_assignment(cx, out),
            "ip_allocation" => out.text(self.ip_allocation.as_str()),
            "qos_network_policy_id" | "qos_policy_id" | "resource_request" => out.null(),
            _ if attr.starts_with("binding:") => return self.binding(attr, out),
            _ => return self.passive_attr(attr, out),
        }
        true
    }
}

fn pair(out: &mut Json, pair: &AddressPair) {
    out.open(b'{');
    out.key("mac_address");
    out.show(pair.mac_address);
    out.key("ip_address");
    out.show(pair.ip_address);
    out.close(b'}');
}

fn option(out: &mut Json, option: &DhcpOption) {
    out.open(b'{');
    out.key("opt_name");
    out.text(&option.opt_name);
    out.key("opt_value");
    out.text(&option.opt_value);
    out.key("ip_version");
    out.number(option.ip_version);
    out.close(b'}');
}

/// A port says by which driver it is bound, which its bindings by themselves do not.
fn vif_details(binding: &Binding, out: &mut Json) {
    out.open(b'{');
    for (name, value) in &binding.vif_details {
        out.key(name);
        out.value(value);
    }
    if binding.vif_type == VifType::Ovs {
        out.key("bound_drivers");
        out.raw("{\"0\":\"openvswitch\"}");
    }
    out.close(b'}');
}

trait Parts {
    fn binding(&self, attr: &str, out: &mut Json) -> bool;
    fn passive_attr(&self, attr: &str, out: &mut Json) -> bool;
    fn dns_assignment(&self, cx: &Cx<'_>, out: &mut Json);
}

impl Parts for Port {
    fn binding(&self, attr: &str, out: &mut Json) -> bool {
        let binding = self.active_binding();
        match attr {
            "binding:host_id" => out.text(binding.map_or("", |it| &it.host)),
            "binding:vnic_type" => {
                out.text(binding.map_or(self.vnic_type, |it| it.vnic_type).as_str());
            }
            "binding:profile" => out.value(binding.map_or(&self.profile, |it| &it.profile)),
            "binding:vif_type" => {
                // On many hosts at once, a distributed router's interface is bound to none.
                let unbound = match self.device_owner.as_str() {
                    owner::ROUTER_INTERFACE_DVR => VifType::Distributed,
                    _ => VifType::Unbound,
                };
                out.text(binding.map_or(unbound, |it| it.vif_type).as_str());
            }
            "binding:vif_details" => match binding {
                Some(binding) => vif_details(binding, out),
                None => out.raw("{}"),
            },
            _ => return false,
        }
        true
    }

    fn passive_attr(&self, attr: &str, out: &mut Json) -> bool {
        let none = Passive::default();
        let passive = self.passive.as_deref().unwrap_or(&none);
        match attr {
            "data_plane_status" => out.text_or_null(passive.data_plane_status.as_deref()),
            "device_profile" => out.text_or_null(passive.device_profile.as_deref()),
            "hardware_offload_type" => out.text_or_null(passive.hardware_offload_type.as_deref()),
            "hints" => out.value(&passive.hints),
            "numa_affinity_policy" => out.text_or_null(passive.numa_affinity_policy.as_deref()),
            "propagate_uplink_status" => out.bool(passive.propagate_uplink_status.unwrap_or(true)),
            "trusted" => out.value(&passive.trusted),
            _ => return false,
        }
        true
    }

    /// The names that the port's addresses have in DNS: its own name, or one made of the address.
    fn dns_assignment(&self, cx: &Cx<'_>, out: &mut Json) {
        out.list(&self.fixed_ips, |out, fixed| {
            let hostname = if self.dns_name.is_empty() {
                let address = fixed.ip_address.to_string();
                format!("host-{}", address.replace(['.', ':'], "-"))
            } else {
                self.dns_name.trim_end_matches('.').to_owned()
            };
            out.open(b'{');
            out.key("ip_address");
            out.address(fixed.ip_address);
            out.key("hostname");
            out.text(&hostname);
            out.key("fqdn");
            out.text(&format!("{hostname}.{}", cx.dns_domain));
            out.close(b'}');
        });
    }
}
