//! Resources that are kept nowhere: they are read off other resources when asked for.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::prelude::*;
use crate::{attrs::Common, state::State};

macro_rules! computed {
    ($table:ident, $name:literal, $plural:literal, $path:literal, $extension:literal, $missing:expr, $rows:expr) => {
        pub static $table: Table = Table {
            kind: None,
            name: $name,
            plural: $plural,
            path: $path,
            parent: None,
            attrs: $rows,
            actions: &[],
            verbs: Verbs::ReadOnly,
            extension: $extension,
            tagged: false,
            pagination: false,
            missing: $missing,
        };
    };
}

computed!(
    NETWORK_IP_AVAILABILITY,
    "network_ip_availability",
    "network_ip_availabilities",
    "network-ip-availabilities",
    "network-ip-availability",
    ("NetworkNotFound", "Network {} could not be found."),
    &[
        Attr::new("network_id").key().filter().sort().shown(),
        Attr::new("network_name").filter().shown(),
        Attr::new("tenant_id").filter().shown(),
        Attr::new("total_ips").shown(),
        Attr::new("used_ips").shown(),
        Attr::new("subnet_ip_availability").shown(),
        Attr::new("ip_availability_details").shown(),
        Attr::new("ip_version").filter(),
    ]
);

computed!(
    AVAILABILITY_ZONE,
    "availability_zone",
    "availability_zones",
    "availability_zones",
    "availability_zone",
    ("HTTPNotFound", "The resource could not be found."),
    &[
        Attr::new("name").filter().shown(),
        Attr::new("resource").filter().shown(),
        Attr::new("state").filter().shown(),
    ]
);

computed!(
    SERVICE_PROVIDER,
    "service_provider",
    "service_providers",
    "service-providers",
    "service-type",
    ("HTTPNotFound", "The resource could not be found."),
    &[
        Attr::new("name").shown(),
        Attr::new("service_type").shown(),
        Attr::new("default").shown(),
    ]
);

computed!(
    FLOATING_IP_POOL,
    "floatingip_pool",
    "floatingip_pools",
    "floatingip-pools",
    "floatingip-pools",
    ("HTTPNotFound", "The resource could not be found."),
    &[
        Attr::new("cidr").is(Is::SubnetOrNone).shown(),
        Attr::new("network_id").is(Is::Uuid).shown(),
        Attr::new("project_id").is(Is::Text(255)).shown(),
        Attr::new("subnet_id").is(Is::Uuid).shown(),
        Attr::new("subnet_name").is(Is::Text(255)).shown(),
    ]
);

computed!(
    AUTO_TOPOLOGY,
    "auto_allocated_topology",
    "auto_allocated_topologies",
    "auto-allocated-topology",
    "auto-allocated-topology",
    ("HTTPNotFound", "The resource could not be found."),
    &[
        Attr::new("id").is(Is::Uuid).shown(),
        Attr::new("tenant_id").is(Is::Uuid).shown(),
    ]
);

/// How many addresses a run may give; beyond 64 bits all counts are the same to a reader.
fn size(range: &IpRange) -> u128 {
    match (range.start, range.end) {
        (std::net::IpAddr::V4(start), std::net::IpAddr::V4(end)) => {
            u128::from(u32::from(end)).saturating_sub(u32::from(start).into()) + 1
        }
        (std::net::IpAddr::V6(start), std::net::IpAddr::V6(end)) => u128::from(end)
            .saturating_sub(u128::from(start))
            .saturating_add(1),
        _ => 0,
    }
}

/// The counts of one subnet's addresses, or of a network's.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    in_subnet: u128,
    in_pools: u128,
    used_in_subnet: u128,
    used_in_pools: u128,
}

impl Counts {
    fn of(state: &State, subnet: &Subnet) -> Self {
        let mut counts = Self {
            in_subnet: hosts(subnet.cidr),
            in_pools: subnet.allocation_pools.iter().map(size).sum(),
            ..Self::default()
        };
        for (address, _) in state.index.address_in_subnet.of(&subnet.id) {
            counts.used_in_subnet += 1;
            let pooled = |pool: &IpRange| (pool.start..=pool.end).contains(address);
            counts.used_in_pools += u128::from(subnet.allocation_pools.iter().any(pooled));
        }
        counts
    }

    fn add(&mut self, other: Self) {
        self.in_subnet = self.in_subnet.saturating_add(other.in_subnet);
        self.in_pools = self.in_pools.saturating_add(other.in_pools);
        self.used_in_subnet += other.used_in_subnet;
        self.used_in_pools += other.used_in_pools;
    }

    fn show(self, out: &mut Json) {
        out.open(b'{');
        for (name, count) in [
            ("total_ips_in_subnet", self.in_subnet),
            ("total_ips_in_allocation_pool", self.in_pools),
            ("used_ips_in_subnet", self.used_in_subnet),
            ("used_ips_in_allocation_pool", self.used_in_pools),
        ] {
            out.key(name);
            out.number(count);
        }
        out.close(b'}');
    }
}

/// Addresses that a guest may have: of IPv4 not the network's own nor its broadcast.
fn hosts(cidr: IpNet) -> u128 {
    let bits = cidr.max_prefix_len() - cidr.prefix_len();
    let all = 1_u128.checked_shl(bits.into()).unwrap_or(u128::MAX);
    match cidr {
        IpNet::V4(_) if bits > 1 => all - 2,
        _ => all,
    }
}

/// One network's use of its addresses.
#[derive(Debug)]
pub struct Availability<'a> {
    network: &'a Network,
    subnets: Vec<(&'a Subnet, Counts)>,
    total: Counts,
}

impl<'a> Availability<'a> {
    /// `versions` empty means both.
    pub fn of(cx: &Cx<'a>, network: &'a Network, versions: &[u8]) -> Self {
        let mut total = Counts::default();
        let subnets: Vec<_> = cx
            .subnets(network.id)
            .filter(|subnet| versions.is_empty() || versions.contains(&subnet.ip_version()))
            .map(|subnet| (subnet, Counts::of(cx.state, subnet)))
            .inspect(|(_, counts)| total.add(*counts))
            .collect();
        Self {
            network,
            subnets,
            total,
        }
    }

    pub fn has_subnets(&self) -> bool {
        !self.subnets.is_empty()
    }
}

impl Common for Availability<'_> {
    fn meta(&self) -> Option<&Meta> {
        None
    }

    fn owner(&self) -> Option<&str> {
        Some(&self.network.project_id)
    }
}

impl Shown for Availability<'_> {
    const TABLE: &'static Table = &NETWORK_IP_AVAILABILITY;

    fn show(&self, _: &Cx<'_>, attr: &str, out: &mut Json) -> bool {
        match attr {
            "network_id" => out.show(self.network.id),
            "network_name" => out.text(&self.network.name),
            "total_ips" => out.number(self.total.in_pools),
            "used_ips" => out.number(self.total.used_in_subnet),
            "ip_availability_details" => self.total.show(out),
            "subnet_ip_availability" => out.list(&self.subnets, subnet_counts),
            _ => return false,
        }
        true
    }
}

fn subnet_counts(out: &mut Json, (subnet, counts): &(&Subnet, Counts)) {
    out.open(b'{');
    out.key("subnet_id");
    out.show(subnet.id);
    out.key("ip_version");
    out.number(subnet.ip_version());
    out.key("cidr");
    out.show(subnet.cidr);
    out.key("subnet_name");
    out.text(&subnet.name);
    out.key("used_ips");
    out.number(counts.used_in_subnet);
    out.key("total_ips");
    out.number(counts.in_pools);
    out.key("ip_availability_details");
    counts.show(out);
    out.close(b'}');
}

/// A computed resource that is nothing but a few texts.
#[derive(Debug)]
pub struct Texts<const N: usize> {
    pub values: [(&'static str, String); N],
}

macro_rules! texts {
    ($n:literal, $table:expr) => {
        impl Shown for Texts<$n> {
            const TABLE: &'static Table = $table;

            fn show(&self, _: &Cx<'_>, attr: &str, out: &mut Json) -> bool {
                let found = self.values.iter().find(|(name, _)| *name == attr);
                found.map(|(_, value)| out.text(value)).is_some()
            }
        }
    };
}

texts!(3, &AVAILABILITY_ZONE);
texts!(5, &FLOATING_IP_POOL);

impl<const N: usize> Common for Texts<N> {
    fn meta(&self) -> Option<&Meta> {
        None
    }

    fn owner(&self) -> Option<&str> {
        let owner = self.values.iter().find(|(name, _)| *name == "project_id");
        owner.map(|(_, value)| value.as_str())
    }
}

/// The zones that agents say they are in: available while one of them lives and is switched on.
pub fn availability_zones(cx: &Cx<'_>) -> Vec<Texts<3>> {
    let mut zones: BTreeMap<(String, &str), bool> = BTreeMap::new();
    for agent in cx.state.agents.values() {
        let resource = match agent.agent_type {
            AgentType::L3 => "router",
            AgentType::Dhcp => "network",
            _ => continue,
        };
        let Some(zone) = agent.availability_zone.clone() else {
            continue;
        };
        let up = agent.admin_state_up && cx.soft.is_alive(agent);
        *zones.entry((zone, resource)).or_default() |= up;
    }
    let row = |((name, resource), up): ((String, &str), bool)| Texts {
        values: [
            ("name", name),
            ("resource", resource.to_owned()),
            (
                "state",
                if up { "available" } else { "unavailable" }.to_owned(),
            ),
        ],
    };
    zones.into_iter().map(row).collect()
}

/// IPv4 subnets of external networks: where floating IPs come from.
pub fn floating_ip_pools<'a>(
    cx: &Cx<'a>,
    subnets: impl Iterator<Item = &'a Subnet>,
) -> Vec<Texts<5>> {
    subnets
        .filter(|subnet| subnet.ip_version() == 4 && cx.network_is_external(subnet.network_id))
        .map(|subnet| Texts {
            values: [
                ("subnet_id", subnet.id.to_string()),
                ("subnet_name", subnet.name.clone()),
                ("network_id", subnet.network_id.to_string()),
                ("cidr", subnet.cidr.to_string()),
                // The pool is shown as the asking project's, whosever the network is.
                ("project_id", cx.project.to_owned()),
            ],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_biggest_and_the_smallest_networks_are_counted() {
        let count = |cidr: &str| hosts(cidr.parse().expect("valid"));
        assert_eq!(count("10.0.0.0/24"), 254);
        assert_eq!(count("10.0.0.0/31"), 2);
        assert_eq!(count("fd00::/64"), 1 << 64);
        assert_eq!(count("::/0"), u128::MAX);
    }
}
