//! Reading a namespace: all that `ip` would show of it, its filters, its settings.
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use host::NsName;
use host::netns::{AddrKey, MAIN, Netns};

use crate::filters::{FilterError, Known};
use crate::netns::NetnsError;
use crate::rtnetlink::Asker;

/// A namespace could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("namespace {netns} can't be read")]
    Ask {
        netns: NsName,
        #[source]
        source: io::Error,
    },
    #[error("namespace {netns} can't be asked")]
    Enter {
        netns: NsName,
        #[source]
        source: NetnsError,
    },
    #[error("filters of namespace {netns} can't be read")]
    Filters {
        netns: NsName,
        #[source]
        source: FilterError,
    },
}

/// What of a namespace changes without the kernel telling: its settings; and its filters, which the
/// kernel counts.
pub(super) async fn silent(
    name: &NsName,
    want: &Netns,
    known: &mut Known,
    netns: &mut Netns,
) -> Result<(), ReadError> {
    let filters = known.observe().await;
    let filters = filters.map_err(|source| ReadError::Filters {
        netns: name.clone(),
        source,
    })?;
    (netns.iptables, netns.ipsets) = (filters.iptables, filters.ipsets);
    let keys = want.sysctls.clone();
    let read = crate::netns::within(name, move || {
        let (mut seen, mut wanted) = (Netns::default(), Netns::default());
        wanted.sysctls = keys;
        crate::sysctl::observe(Some(&wanted), &mut seen);
        Ok(seen.sysctls)
    });
    netns.sysctls = read.unwrap_or_default();
    Ok(())
}

/// Addresses whose network has no route: as good as not there, and to be set again.
fn unreached(netns: &Netns) -> BTreeSet<AddrKey> {
    let main = netns.routes.get(&MAIN);
    let routes = main.into_iter().flat_map(BTreeMap::keys);
    let routed: BTreeSet<_> = routes
        .filter_map(|key| Some((key.dev.as_deref()?, key.dst)))
        .collect();
    let is_up = |dev: &str| netns.links.get(dev).is_some_and(|link| link.up);
    let keys = netns.addrs.keys().filter(|key| {
        let AddrKey { dev, net } = key;
        let is_host = net.prefix_len() == net.max_prefix_len();
        !is_host && dev != "lo" && is_up(dev) && !routed.contains(&(dev.as_str(), net.trunc()))
    });
    keys.cloned().collect()
}

/// Devices, addresses, routes, rules and neighbours.
pub(super) async fn told(name: &NsName, asker: Arc<Asker>) -> Result<Netns, ReadError> {
    let read = tokio::task::spawn_blocking(move || asker.read()).await;
    let read = read.unwrap_or_else(|lost| Err(io::Error::other(lost)));
    let mut netns = read.map_err(|source| ReadError::Ask {
        netns: name.clone(),
        source,
    })?;
    let unreached = unreached(&netns);
    netns.addrs.retain(|key, _| !unreached.contains(key));
    Ok(netns)
}

#[cfg(test)]
mod tests {
    use host::netns::{Family, read_ip_addr, read_routes};

    use super::*;

    #[test]
    fn an_address_without_its_route_is_to_be_set_again() {
        let addresses = "2: qr-1: <BROADCAST,UP,LOWER_UP> mtu 1450 qdisc noqueue state UNKNOWN group default\n    \
            link/ether fa:16:3e:00:00:01 brd ff:ff:ff:ff:ff:ff\n    \
            inet 10.0.0.1/24 brd 10.0.0.255 scope global qr-1\n       valid_lft forever preferred_lft forever\n    \
            inet 10.0.0.9/32 scope global qr-1\n       valid_lft forever preferred_lft forever\n";
        let found = read_ip_addr(addresses).expect("links");
        let mut netns = Netns {
            links: found.links.into(),
            addrs: found.addrs,
            ..Netns::default()
        };
        let lacking: Vec<String> = unreached(&netns)
            .iter()
            .map(|key| key.net.to_string())
            .collect();
        assert_eq!(lacking, ["10.0.0.1/24"]);
        let route = "10.0.0.0/24 dev qr-1 proto kernel scope link src 10.0.0.1\n";
        netns.routes = read_routes(route, Family::V4).expect("routes");
        assert!(unreached(&netns).is_empty());
    }
}
