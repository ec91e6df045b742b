//! Reading a namespace: all that `ip` shows of it, its filters, its settings.
use host::netns::{Family, Netns, read_ip_addr, read_neighbours, read_routes, read_rules};
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
    netns.rules = read_rules(&rules?, Family::V4).map_err(parse(rule4))?;
    netns
        .rules
        .extend(read_rules(&also?, Family::V6).map_err(parse(rule6))?);
    netns.neighbours = read_neighbours(&neighbours?).map_err(parse(neigh))?;
    Ok(netns)
}
