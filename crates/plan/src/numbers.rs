//! The numbers that only a host knows: local VLANs, conntrack zones, priorities of floating IPs'
//! rules, link-local pairs. Input and output of the compiler: one that is held is kept, a new one
//! is the lowest that is free, one that nobody asked for in a pass is given back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use host::{
    HostState,
    iptables::Target,
    netns::{Family, Netns},
};

/// Numbers of one sort, by what holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    first: u32,
    last: u32,
    held: BTreeMap<String, u32>,
    asked: BTreeSet<String>,
}

impl Pool {
    pub fn new(first: u32, last: u32) -> Self {
        Self {
            first,
            last,
            held: BTreeMap::new(),
            asked: BTreeSet::new(),
        }
    }

    /// The holder's number: the one it has, else the lowest free one, else none is left.
    pub fn take(&mut self, holder: &str) -> Option<u32> {
        self.asked.insert(holder.to_owned());
        if let Some(number) = self.held.get(holder) {
            return Some(*number);
        }
        let used: BTreeSet<u32> = self.held.values().copied().collect();
        let number = (self.first..=self.last).find(|number| !used.contains(number))?;
        self.held.insert(holder.to_owned(), number);
        Some(number)
    }

    /// What was found on the host: kept, unless it is out of range or another's.
    pub fn adopt(&mut self, holder: &str, number: u32) {
        let free = !self.held.values().any(|held| *held == number);
        if free && (self.first..=self.last).contains(&number) {
            self.held.insert(holder.to_owned(), number);
        }
    }

    pub fn get(&self, holder: &str) -> Option<u32> {
        self.held.get(holder).copied()
    }

    pub fn held(&self) -> impl Iterator<Item = (&str, u32)> {
        self.held
            .iter()
            .map(|(holder, number)| (holder.as_str(), *number))
    }

    /// Ends a pass: what was not asked for in it is given back, and named.
    fn settle(&mut self) -> Vec<(String, u32)> {
        let asked = std::mem::take(&mut self.asked);
        let (kept, given_back) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|(holder, _)| asked.contains(holder));
        self.held = kept;
        let given_back: BTreeMap<String, u32> = given_back;
        given_back.into_iter().collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbers {
    /// By network (one local VLAN a network).
    pub vlans: Pool,
    /// By port; Neutron's begin at 4097, above the networks' own.
    pub zones: Pool,
    /// By floating address: the priority of its `ip rule`.
    pub floating_priorities: Pool,
    /// By router: which pair of 169.254/16 joins it to the floating IP namespace.
    pub link_local_pairs: Pool,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            vlans: Pool::new(1, 4094),
            zones: Pool::new(4097, 65_535),
            floating_priorities: Pool::new(32_768, 72_767),
            // 169.254.64.0/18 in pairs, as Neutron cuts it.
            link_local_pairs: Pool::new(0, 8_191),
        }
    }
}

impl Numbers {
    /// The numbers that a host holds, as it shows them: local VLANs in its ports' rows, conntrack
    /// zones in table raw. This is how ours survive a restart, and how a stock Neutron's are kept
    /// when its host is taken over.
    pub fn held_by(state: &HostState, integration_bridge: &str) -> Numbers {
        let mut numbers = Numbers::default();
        numbers.adopt_vlans(state, integration_bridge);
        numbers.adopt_zones(state);
        for (name, netns) in &state.netns {
            if let Some(router) = name.as_str().strip_prefix("qrouter-") {
                numbers.adopt_pair(router, netns);
                numbers.adopt_priorities(netns);
            }
        }
        numbers
    }

    fn adopt_vlans(&mut self, state: &HostState, integration_bridge: &str) {
        let Some(bridge) = state.bridges.get(integration_bridge) else {
            return;
        };
        for port in bridge.ports.values() {
            let config = &port.other_config;
            let vlan = config.get("tag").and_then(|tag| tag.parse().ok());
            if let (Some(network), Some(vlan)) = (config.get("net_uuid"), vlan) {
                self.vlans.adopt(network, vlan);
            }
        }
    }

    /// A zone's rule says in its comment which port it is for.
    fn adopt_zones(&mut self, state: &HostState) {
        let tables = state.root().and_then(|root| root.iptables.get(&Family::V4));
        let raw = tables.and_then(|tables| tables.get("raw"));
        let chains = raw.into_iter().flat_map(|table| table.chains.values());
        for rule in chains.flat_map(|chain| &chain.rules) {
            let Target::Ct {
                zone: Some(zone), ..
            } = &rule.target
            else {
                continue;
            };
            let port = rule.comment().and_then(|c| c.strip_prefix("Set zone for "));
            if let Some(port) = port {
                self.zones.adopt(port, u32::from(*zone));
            }
        }
    }
}

/// A distributed router's numbers, out of its namespace.
impl Numbers {
    /// The addresses of its device towards the floating IP namespace.
    fn adopt_pair(&mut self, router: &str, netns: &Netns) {
        let ours = netns.addrs.keys().filter(|key| key.dev.starts_with("rfp-"));
        for key in ours {
            let IpAddr::V4(address) = key.net.addr() else {
                continue;
            };
            let first = u32::from(FIRST_LINK_LOCAL);
            if let Some(offset) = u32::from(address).checked_sub(first) {
                self.link_local_pairs.adopt(router, offset / 2);
            }
        }
    }

    /// A rule says which fixed address it is for; the translation says whose that is outside.
    fn adopt_priorities(&mut self, netns: &Netns) {
        let nat = netns.iptables.get(&Family::V4).and_then(|t| t.get("nat"));
        let rules = nat.into_iter().flat_map(|table| table.chains.values());
        let floating: BTreeMap<String, IpAddr> = rules
            .flat_map(|chain| &chain.rules)
            .filter_map(|rule| match (&rule.target, &rule.dst) {
                (Target::Dnat(to), Some(dst)) => Some((to.to.clone(), dst.value.addr())),
                _ => None,
            })
            .collect();
        for key in netns.rules.keys() {
            let fixed = key
                .from
                .filter(|from| from.prefix_len() == from.max_prefix_len());
            let floating = fixed.and_then(|fixed| floating.get(&fixed.addr().to_string()));
            if let Some(floating) = floating {
                self.floating_priorities
                    .adopt(&floating.to_string(), key.priority);
            }
        }
    }
}

/// Where the pairs of link-local addresses begin: 169.254.64.0/18, as Neutron cuts it.
const FIRST_LINK_LOCAL: Ipv4Addr = Ipv4Addr::new(169, 254, 64, 0);

/// What was given back: to be cleaned on the host before it is given out again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GivenBack {
    pub vlans: Vec<(String, u32)>,
    pub zones: Vec<(String, u32)>,
    pub floating_priorities: Vec<(String, u32)>,
    pub link_local_pairs: Vec<(String, u32)>,
}

impl Numbers {
    pub(crate) fn settle(&mut self) -> GivenBack {
        GivenBack {
            vlans: self.vlans.settle(),
            zones: self.zones.settle(),
            floating_priorities: self.floating_priorities.settle(),
            link_local_pairs: self.link_local_pairs.settle(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_kept_and_a_new_one_is_the_lowest_free() {
        let mut pool = Pool::new(1, 3);
        assert_eq!(pool.take("a"), Some(1));
        assert_eq!(pool.take("b"), Some(2));
        pool.settle();
        assert_eq!(pool.take("b"), Some(2));
        assert_eq!(pool.settle(), [("a".to_owned(), 1)]);
        assert_eq!(pool.take("c"), Some(1));
        assert_eq!(pool.take("d"), Some(3));
        assert_eq!(pool.take("e"), None, "none is left");
    }

    #[test]
    fn what_is_found_is_kept_unless_it_is_anothers() {
        let mut pool = Pool::new(1, 4094);
        pool.adopt("a", 7);
        pool.adopt("b", 7);
        pool.adopt("c", 4095);
        assert_eq!(
            (pool.get("a"), pool.get("b"), pool.get("c")),
            (Some(7), None, None)
        );
        assert_eq!(pool.take("b"), Some(1));
    }
}
