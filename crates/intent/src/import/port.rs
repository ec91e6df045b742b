//! Ports and their bindings.

use serde_json::Value;

use super::{Import, read::*};
use crate::{id::*, noun::*, state::*};

impl Import {
    pub(super) fn port(&mut self, item: &Value) -> Option<()> {
        let groups = list(item, "security_groups");
        let vnic_type = parsed(item, "binding:vnic_type").unwrap_or_default();
        self.state.put(Object::from(Port {
            id: parsed(item, "id")?,
            project_id: project(item),
            network_id: parsed(item, "network_id")?,
            name: text(item, "name").unwrap_or_default(),
            admin_state_up: flag(item, "admin_state_up", true),
            status: parsed(item, "status").unwrap_or(PortStatus::Down),
            mac_address: parsed(item, "mac_address")?,
            fixed_ips: fixed_ips(item, "fixed_ips"),
            device_id: text(item, "device_id").unwrap_or_default().into(),
            device_owner: text(item, "device_owner").unwrap_or_default(),
            security_groups: groups.filter_map(|id| id.as_str()?.parse().ok()).collect(),
            allowed_address_pairs: address_pairs(item),
            extra_dhcp_opts: dhcp_options(item),
            port_security_enabled: flag(item, "port_security_enabled", true),
            dns_name: text(item, "dns_name").unwrap_or_default(),
            dns_domain: text(item, "dns_domain").unwrap_or_default(),
            bindings: binding(item, vnic_type).into_iter().collect(),
            vnic_type,
            profile: map(item, "binding:profile"),
            ip_allocation: parsed(item, "ip_allocation").unwrap_or_default(),
            awaits_dhcp: false,
            passive: passive(item),
            meta: meta(item),
        }));
        Some(())
    }

    /// A port shows its active binding itself; those that a live migration adds are listed apart.
    pub(super) fn more_bindings(&mut self, id: PortId, answer: &Value) {
        let Some(port) = self.state.ports.get(&id) else {
            return;
        };
        let mut port = Port::clone(port);
        port.bindings
            .extend(list(answer, "bindings").filter_map(inactive));
        self.state.put(port.into());
    }
}

fn address_pairs(item: &Value) -> Vec<AddressPair> {
    let read = |pair: &Value| {
        let text = pair.get("ip_address")?.as_str()?;
        let address = text.parse().map(PairAddress::Address);
        Some(AddressPair {
            ip_address: address
                .or_else(|_| text.parse().map(PairAddress::Prefix))
                .ok()?,
            mac_address: parsed(pair, "mac_address").or_else(|| parsed(item, "mac_address"))?,
        })
    };
    list(item, "allowed_address_pairs")
        .filter_map(read)
        .collect()
}

fn dhcp_options(item: &Value) -> Vec<DhcpOption> {
    let read = |option: &Value| {
        Some(DhcpOption {
            opt_name: text(option, "opt_name")?,
            opt_value: text(option, "opt_value")?,
            ip_version: number(option, "ip_version").unwrap_or(4),
        })
    };
    list(item, "extra_dhcp_opts").filter_map(read).collect()
}

fn binding(item: &Value, vnic_type: VnicType) -> Option<Binding> {
    let host = text(item, "binding:host_id").filter(|host| !host.is_empty())?;
    let mut vif_details = map(item, "binding:vif_details");
    // Said by ports alone, of every one that is bound.
    vif_details.remove("bound_drivers");
    Some(Binding {
        host: host.into(),
        status: BindingStatus::Active,
        vif_type: parsed(item, "binding:vif_type").unwrap_or(VifType::Other),
        vif_details,
        vnic_type,
        profile: map(item, "binding:profile"),
        up: text(item, "status").as_deref() == Some("ACTIVE"),
    })
}

/// A binding to a host where the port isn't yet.
fn inactive(item: &Value) -> Option<Binding> {
    let status: BindingStatus = parsed(item, "status")?;
    (status == BindingStatus::Inactive).then_some(())?;
    Some(Binding {
        host: text(item, "host")?.into(),
        status,
        vif_type: parsed(item, "vif_type").unwrap_or(VifType::Other),
        vif_details: map(item, "vif_details"),
        vnic_type: parsed(item, "vnic_type").unwrap_or_default(),
        profile: map(item, "profile"),
        up: false,
    })
}

fn passive(item: &Value) -> Option<Box<Passive>> {
    let truth = |key: &str| item.get(key).and_then(Value::as_bool);
    let passive = Passive {
        data_plane_status: text(item, "data_plane_status"),
        device_profile: text(item, "device_profile"),
        hardware_offload_type: text(item, "hardware_offload_type"),
        hints: item.get("hints").and_then(Value::as_object).cloned(),
        numa_affinity_policy: text(item, "numa_affinity_policy"),
        // True unless somebody said otherwise.
        propagate_uplink_status: truth("propagate_uplink_status").filter(|it| !it),
        trusted: truth("trusted"),
    };
    (passive != Passive::default()).then(|| Box::new(passive))
}
