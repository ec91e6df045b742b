//! Reading a namespace: all that `ip` shows of it, its filters, its settings.
use std::collections::{BTreeMap, BTreeSet};

use host::netns::{
    AddrKey, Family, MAIN, Netns, read_ip_addr, read_neighbours, read_routes, read_rules,
};
use host::{NsName, ParseError};

use crate::exec::{ExecError, Program};
use crate::filters::{FilterError, Known};

/// A namespace could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("namespace {netns} can't be read")]
    Exec {
        netns: NsName,
        #[source]
        source: ExecError,
    },
    #[error("what 'ip {what}' shows of namespace {netns} can't be read")]
    Parse {
        netns: NsName,
        what: &'static str,
        #[source]
        source: ParseError,
    },
    #[error("filters of namespace {netns} can't be read")]
    Filters {
        netns: NsName,
        #[source]
        source: FilterError,
    },
}

async fn ip(name: &NsName, what: &'static str) -> Result<String, ReadError> {
    let argv = std::iter::once("ip").chain(what.split(' '));
    let result = Program::new(argv).within(name).run().await;
    match result {
        // A table that does not exist is empty.
        Err(ExecError::Failed { stderr, .. }) if stderr.contains("FIB table does not exist") => {
            Ok(String::new())
        }
        result => result.map_err(|source| ReadError::Exec {
            netns: name.clone(),
            source,
        }),
    }
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
pub(super) async fn told(name: &NsName) -> Result<Netns, ReadError> {
    let parse = |what| {
        move |source| ReadError::Parse {
            netns: name.clone(),
            what,
            source,
        }
    };
    let [addr, route4, route6] = ["addr", "-4 route show table all", "-6 route show table all"];
    let [rule4, rule6, neigh] = ["-4 rule", "-6 rule", "neigh show nud permanent"];
    let (links, routes, more, rules, also, neighbours) = tokio::join!(
        ip(name, addr),
        ip(name, route4),
        ip(name, route6),
        ip(name, rule4),
        ip(name, rule6),
        ip(name, neigh),
    );
    let found = read_ip_addr(&links?).map_err(parse(addr))?;
    let mut netns = Netns {
        links: found.links,
        addrs: found.addrs,
        ..Netns::default()
    };
    netns.routes = read_routes(&routes?, Family::V4).map_err(parse(route4))?;
    for (table, routes) in read_routes(&more?, Family::V6).map_err(parse(route6))? {
        netns.routes.entry(table).or_default().extend(routes);
    }
    let unreached = unreached(&netns);
    netns.addrs.retain(|key, _| !unreached.contains(key));
    netns.rules = read_rules(&rules?, Family::V4).map_err(parse(rule4))?;
    netns
        .rules
        .extend(read_rules(&also?, Family::V6).map_err(parse(rule6))?);
    netns.neighbours = read_neighbours(&neighbours?).map_err(parse(neigh))?;
    Ok(netns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_its_route_is_to_be_set_again() {
        let addresses = "2: qr-1: <BROADCAST,UP,LOWER_UP> mtu 1450 qdisc noqueue state UNKNOWN group default\n    \
            link/ether fa:16:3e:00:00:01 brd ff:ff:ff:ff:ff:ff\n    \
            inet 10.0.0.1/24 brd 10.0.0.255 scope global qr-1\n       valid_lft forever preferred_lft forever\n    \
            inet 10.0.0.9/32 scope global qr-1\n       valid_lft forever preferred_lft forever\n";
        let found = read_ip_addr(addresses).expect("links");
        let mut netns = Netns {
            links: found.links,
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
