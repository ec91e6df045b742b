//! What this process says of itself: up to four of Neutron's agents, with the configurations that
//! Neutron's operators and its scheduler read.
use plan::{AgentMode, Settings};
use serde_json::{Value as Json, json};

use crate::config::{Config, Role};
use crate::server::Agent;

pub fn agents(config: &Config, settings: &Settings) -> Vec<Agent> {
    let all: [(Role, &'static str, Json); 4] = [
        (Role::L2, "Open vSwitch agent", switch(settings)),
        (
            Role::Dhcp,
            "DHCP agent",
            json!({
                "dhcp_driver": "neutron.agent.linux.dhcp.Dnsmasq",
                "dhcp_lease_duration": settings.dhcp.lease_seconds,
                "log_agent_heartbeats": false,
            }),
        ),
        (
            Role::L3,
            "L3 agent",
            json!({
                "agent_mode": mode(settings.agent_mode),
                "handle_internal_only_routers": true,
                "interface_driver": "openvswitch",
                "log_agent_heartbeats": false,
                "extensions": [],
            }),
        ),
        (
            Role::Metadata,
            "Metadata agent",
            json!({
                "log_agent_heartbeats": false,
                "nova_metadata_host": config.metadata.target,
            }),
        ),
    ];
    let here = all.into_iter().filter(|(role, ..)| config.has(*role));
    here.map(|(_, kind, configurations)| Agent {
        kind,
        configurations,
    })
    .collect()
}

fn switch(settings: &Settings) -> Json {
    let tunnels = settings.local_ip.is_some();
    let types: Vec<String> = settings
        .tunnel_types
        .iter()
        .filter(|_| tunnels)
        .map(ToString::to_string)
        .collect();
    json!({
        "bridge_mappings": settings.bridge_mappings,
        "tunnel_types": types,
        "tunneling_ip": settings.local_ip.map(|ip| ip.to_string()).unwrap_or_default(),
        "l2_population": settings.l2_population,
        "arp_responder_enabled": settings.arp_responder && settings.l2_population,
        "datapath_type": settings.datapath_type,
        "integration_bridge": settings.integration_bridge,
        "in_distributed_mode": settings.agent_mode != AgentMode::Legacy,
        "enable_distributed_routing": settings.agent_mode != AgentMode::Legacy,
        "ovs_hybrid_plug": true,
        "extensions": [],
        "log_agent_heartbeats": false,
        "vhostuser_socket_dir": "/var/run/openvswitch",
        "ovs_capabilities": {
            "datapath_types": ["netdev", "system"],
            "iface_types": ["geneve", "gre", "internal", "patch", "system", "tap", "vxlan"],
        },
    })
}

fn mode(mode: AgentMode) -> &'static str {
    match mode {
        AgentMode::Legacy => "legacy",
        AgentMode::Dvr => "dvr",
        AgentMode::DvrSnat => "dvr_snat",
        AgentMode::DvrNoExternal => "dvr_no_external",
    }
}
