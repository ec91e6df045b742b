//! Changing a namespace: devices, addresses, routes, rules, neighbours.
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use host::diff::diff;
use host::netns::{Link, LinkKind, Netns};
use host::{HostState, NsName};

use crate::exec::netns_path;
use crate::rtnetlink::{self, Asker, Indexes, Order, OrderError};

/// A device could not be brought to its namespace, or a namespace not be changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("devices can't be brought to their namespaces")]
    Host(#[source] io::Error),
    #[error("namespace {netns} can't be opened")]
    Open {
        netns: NsName,
        #[source]
        source: io::Error,
    },
    #[error("namespace {netns} can't be changed")]
    Ask {
        netns: NsName,
        #[source]
        source: io::Error,
    },
    #[error("namespace {netns} is not as it should be")]
    Order {
        netns: NsName,
        #[source]
        source: OrderError,
    },
}

/// A pair of devices that is to be made: each end with the namespace that it belongs to.
pub(super) type Pair<'a> = [(&'a NsName, &'a String); 2];

/// The pairs that are wanted and not there.
pub(super) fn pairs<'a>(have: &HostState, want: &'a HostState) -> Vec<Pair<'a>> {
    let none = Netns::default();
    let mut pairs = Vec::new();
    for (name, wanted) in want.netns.iter().filter(|(name, _)| !name.is_root()) {
        let have = have.netns.get(name).map_or(&none, |netns| &**netns);
        let missing = wanted
            .links
            .iter()
            .filter(|(dev, link)| link.kind == LinkKind::Veth && !have.links.contains_key(*dev));
        for (dev, link) in missing {
            // Both ends are wanted; the one whose name comes first is the one that is made.
            let Some(peer) = link.peer.as_ref().filter(|peer| dev < *peer) else {
                continue;
            };
            let mut all = want.netns.iter();
            let elsewhere = all.find(|(_, netns)| netns.links.contains_key(peer));
            pairs.extend(elsewhere.map(|(elsewhere, _)| [(name, dev), (elsewhere, peer)]));
        }
    }
    pairs
}

/// Make them, from the host's own namespace, where this thread is.
pub(super) fn make_pairs(pairs: &[Pair<'_>]) -> Vec<WriteError> {
    let root = NsName::root();
    let (mut orders, mut failed, mut files) = (Vec::new(), Vec::new(), Vec::new());
    for [(netns, one), (elsewhere, other)] in pairs {
        match open(netns).and_then(|own| Ok((own, open(elsewhere)?))) {
            Ok((own, far)) => {
                let ends = ((&***one, own.as_raw_fd()), (&***other, far.as_raw_fd()));
                orders.push(rtnetlink::pair(ends.0, ends.1));
                files.extend([own, far]);
            }
            Err(error) => failed.push(error),
        }
    }
    if !orders.is_empty() {
        match Asker::open() {
            Ok(asker) => failed.extend(order(&root, &asker, &orders)),
            Err(error) => failed.push(WriteError::Host(error)),
        }
    }
    failed
}

/// Bring devices of the switch to a namespace, from the host's own, where this thread is.
pub(super) fn bring(name: &NsName, devices: &[String]) -> Vec<WriteError> {
    if devices.is_empty() {
        return Vec::new();
    }
    let own = match open(name) {
        Ok(own) => own,
        Err(error) => return vec![error],
    };
    let asker = match Asker::open() {
        Ok(asker) => asker,
        Err(error) => return vec![WriteError::Host(error)],
    };
    // Asked one by one: a list of all devices takes the lock that moving them needs.
    let there = devices.iter().filter_map(|dev| {
        let index = nix::net::if_::if_nametoindex(dev.as_str()).ok()?;
        Some((dev, index))
    });
    let moved = there.map(|(dev, index)| rtnetlink::moved(index, dev, own.as_raw_fd()));
    let orders: Vec<Order> = moved.collect();
    order(name, &asker, &orders)
}

fn open(netns: &NsName) -> Result<File, WriteError> {
    File::open(netns_path(netns)).map_err(|source| WriteError::Open {
        netns: netns.clone(),
        source,
    })
}

fn order(name: &NsName, asker: &Asker, orders: &[Order]) -> Vec<WriteError> {
    let failed = asker.order(orders).into_iter();
    let failed = failed.map(|source| WriteError::Order {
        netns: name.clone(),
        source,
    });
    failed.collect()
}

/// Everything inside of one namespace, by one who asks there.
pub(super) fn netns(name: &NsName, asker: &Asker, have: &Netns, want: &Netns) -> Vec<WriteError> {
    let indexes = match asker.indexes() {
        Ok(indexes) => indexes,
        Err(source) => {
            let netns = name.clone();
            return vec![WriteError::Ask { netns, source }];
        }
    };
    order(name, asker, &orders(have, want, &indexes))
}

/// What stands on a device that is not there is left out: it comes when the device does.
fn orders(have: &Netns, want: &Netns, indexes: &Indexes) -> Vec<Order> {
    let mut orders = Vec::new();
    for put in diff(&have.links, &want.links).put {
        let index = indexes.get(put.key);
        orders.extend(index.and_then(|index| rtnetlink::link(*index, put.key, put.old, put.new)));
    }
    addresses(have, want, indexes, &mut orders);
    routes(have, want, indexes, &mut orders);
    rules(have, want, &mut orders);
    neighbours(have, want, indexes, &mut orders);
    let loopback = indexes.get("lo").filter(|_| !orders.is_empty());
    if let Some(index) = loopback {
        let up = Link {
            up: true,
            ..Link::default()
        };
        let up = rtnetlink::link(*index, "lo", None, &up);
        orders.splice(0..0, up);
    }
    orders
}

fn addresses(have: &Netns, want: &Netns, indexes: &Indexes, orders: &mut Vec<Order>) {
    let difference = diff(&have.addrs, &want.addrs);
    for (key, _) in &difference.remove {
        let index = indexes.get(&key.dev);
        orders.extend(index.map(|index| rtnetlink::remove_addr(*index, key)));
    }
    for put in &difference.put {
        let Some(index) = indexes.get(&put.key.dev) else {
            continue;
        };
        orders.push(rtnetlink::put_addr(*index, put.key, put.new));
        let is_up = have.links.get(&put.key.dev).is_some_and(|link| link.up);
        if put.old.is_none() && is_up {
            orders.extend(rtnetlink::connected(put.key, indexes));
        }
    }
}

fn routes(have: &Netns, want: &Netns, indexes: &Indexes, orders: &mut Vec<Order>) {
    let none = BTreeMap::new();
    let tables: BTreeSet<u32> = have
        .routes
        .keys()
        .chain(want.routes.keys())
        .copied()
        .collect();
    let (mut direct, mut via) = (Vec::new(), Vec::new());
    for table in tables {
        let old = have.routes.get(&table).unwrap_or(&none);
        let new = want.routes.get(&table).unwrap_or(&none);
        let difference = diff(old, new);
        for (key, _) in &difference.remove {
            orders.extend(rtnetlink::remove_route(table, key, indexes));
        }
        for put in &difference.put {
            // What a gateway is reached by comes before what it leads to.
            let to = if put.new.via.is_some() {
                &mut via
            } else {
                &mut direct
            };
            to.extend(rtnetlink::put_route(table, put.key, put.new, indexes));
        }
    }
    orders.append(&mut direct);
    orders.append(&mut via);
}

fn rules(have: &Netns, want: &Netns, orders: &mut Vec<Order>) {
    let difference = diff(&have.rules, &want.rules);
    for (key, action) in &difference.remove {
        orders.push(rtnetlink::remove_rule(key, action));
    }
    for put in &difference.put {
        if let Some(old) = put.old {
            orders.push(rtnetlink::remove_rule(put.key, old));
        }
        orders.push(rtnetlink::add_rule(put.key, put.new));
    }
}

fn neighbours(have: &Netns, want: &Netns, indexes: &Indexes, orders: &mut Vec<Order>) {
    let difference = diff(&have.neighbours, &want.neighbours);
    for (key, _) in &difference.remove {
        let index = indexes.get(&key.dev);
        orders.extend(index.map(|index| rtnetlink::remove_neighbour(*index, key)));
    }
    for put in &difference.put {
        let index = indexes.get(&put.key.dev);
        orders.extend(index.map(|index| rtnetlink::put_neighbour(*index, put.key, put.new)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::netns::{Addr, AddrKey, Route, RouteKey};

    #[test]
    fn a_device_is_set_up_in_order() {
        let mut want = Netns::default();
        let link = Link {
            mac: "fa:16:3e:00:00:01".parse().ok(),
            mtu: 1450,
            up: true,
            ..Link::default()
        };
        want.links.insert("qr-1".to_owned(), link);
        let net = "10.0.0.1/24".parse().expect("a net");
        let addr = Addr {
            broadcast: "10.0.0.255".parse().ok(),
            scope: "global".to_owned(),
            ..Addr::default()
        };
        want.addrs.insert(
            AddrKey {
                dev: "qr-1".to_owned(),
                net,
            },
            addr,
        );
        let key = RouteKey {
            dst: "0.0.0.0/0".parse().expect("a net"),
            metric: 0,
            kind: host::netns::RouteKind::Unicast,
            dev: Some("qr-1".to_owned()),
            tos: 0,
        };
        let route = Route {
            via: "10.0.0.254".parse().ok(),
            proto: "static".to_owned(),
            ..Route::default()
        };
        want.routes.entry(254).or_default().insert(key, route);
        let indexes: Indexes = [("lo".to_owned(), 1), ("qr-1".to_owned(), 7)].into();
        let said = |have: &Netns, want: &Netns| -> Vec<String> {
            let orders = orders(have, want, &indexes).into_iter();
            orders.map(|order| order.what).collect()
        };
        let set = "set device qr-1 address fa:16:3e:00:00:01 mtu 1450 up";
        assert_eq!(
            said(&Netns::default(), &want),
            [
                "set device lo up",
                set,
                "put address 10.0.0.1/24 on qr-1",
                "put route 0.0.0.0/0 into table 254",
            ]
        );
        assert_eq!(said(&want, &want), [""; 0]);
        let gone = said(&want, &Netns::default());
        assert!(gone.contains(&"remove address 10.0.0.1/24 from qr-1".to_owned()));
        // A device that somebody took away takes what stood on it along.
        let nowhere = Indexes::new();
        assert_eq!(orders(&Netns::default(), &want, &nowhere), []);
    }
}
