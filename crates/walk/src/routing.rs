//! Policy routing: rules in order of priority, each leading to a table; in a table the longest
//! prefix, then the lowest metric.
use std::net::IpAddr;

use host::netns::{AddrKey, Family, Netns, Route, RouteKey, RouteKind, RuleKey, RuleVerdict};
use ipnet::IpNet;

/// What is asked of the tables.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    pub dst: IpAddr,
    pub src: Option<IpAddr>,
    pub iif: Option<&'a str>,
    pub mark: u32,
}

/// A route that was found, and the rule that led to its table.
#[derive(Clone, Copy, Debug)]
pub struct Hit<'a> {
    pub table: u32,
    pub key: &'a RouteKey,
    pub route: &'a Route,
    pub rule: Option<&'a RuleKey>,
}

/// Why there is no way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoWay {
    NoRoute,
    /// A route or a rule says so.
    Refused(String),
    Unknown(String),
}

const LOCAL: u32 = 255;
const MAIN: u32 = 254;
const DEFAULT: u32 = 253;

impl Hit<'_> {
    /// The device and the next hop's address; several next hops count by their first.
    pub fn out(&self, dst: IpAddr) -> Option<(&str, IpAddr)> {
        if let Some(hop) = self.route.nexthops.first() {
            return Some((hop.dev.as_deref()?, hop.via.unwrap_or(dst)));
        }
        Some((self.key.dev.as_deref()?, self.route.via.unwrap_or(dst)))
    }

    pub fn is_local(&self) -> bool {
        matches!(self.key.kind, RouteKind::Local | RouteKind::Broadcast)
    }

    pub fn text(&self) -> String {
        crate::text::route(self.table, self.key, self.route)
    }
}

/// Look a destination up.
pub fn lookup<'a>(netns: &'a Netns, query: Query<'_>) -> Result<Hit<'a>, NoWay> {
    let family = Family::of(query.dst);
    let mut rules = netns
        .rules
        .iter()
        .filter(|(r, _)| r.family == family)
        .peekable();
    if rules.peek().is_none() {
        return [LOCAL, MAIN, DEFAULT]
            .into_iter()
            .find_map(|table| in_table(netns, table, query.dst, None))
            .unwrap_or(Err(NoWay::NoRoute));
    }
    let mut skip_to = 0;
    for (rule, action) in rules {
        if rule.priority < skip_to || !selects(rule, query)? {
            continue;
        }
        match &action.verdict {
            RuleVerdict::Lookup(table) => {
                if let Some(found) = in_table(netns, *table, query.dst, Some(rule)) {
                    return found;
                }
            }
            RuleVerdict::Goto(priority) => skip_to = *priority,
            RuleVerdict::Nop => {}
            verdict => return Err(NoWay::Refused(format!("{}: {verdict:?}", rule.priority))),
        }
    }
    Err(NoWay::NoRoute)
}

fn selects(rule: &RuleKey, query: Query<'_>) -> Result<bool, NoWay> {
    let from = match (rule.from, query.src) {
        (None, _) => true,
        (Some(net), Some(src)) => net.contains(&src),
        (Some(net), None) => net.prefix_len() == 0,
    };
    let fits = from
        && rule.to.is_none_or(|net| net.contains(&query.dst))
        && rule.iif.as_deref().is_none_or(|iif| query.iif == Some(iif))
        && rule.oif.is_none()
        && rule
            .fwmark
            .is_none_or(|(value, mask)| query.mark & mask == value);
    if fits && let Some(what) = rule.rest.first() {
        let text = format!("unknown {what} in rule {}: cannot tell", rule.priority);
        return Err(NoWay::Unknown(text));
    }
    Ok(fits != rule.not)
}

fn in_table<'a>(
    netns: &'a Netns,
    table: u32,
    dst: IpAddr,
    rule: Option<&'a RuleKey>,
) -> Option<Result<Hit<'a>, NoWay>> {
    let routes = netns.routes.get(&table)?.iter();
    let (key, route) = routes
        .filter(|(key, _)| key.dst.contains(&dst) && key.tos == 0)
        .max_by_key(|(key, _)| (key.dst.prefix_len(), std::cmp::Reverse(key.metric)))?;
    let hit = Hit {
        table,
        key,
        route,
        rule,
    };
    match key.kind {
        RouteKind::Throw => None,
        RouteKind::Unreachable | RouteKind::Blackhole | RouteKind::Prohibit => {
            Some(Err(NoWay::Refused(hit.text())))
        }
        _ => Some(Ok(hit)),
    }
}

/// The routes that the kernel makes for an address: to it, and to its subnet. With them go the
/// tables that they are in.
pub fn by_kernel(key: &AddrKey) -> Vec<(u32, RouteKey, Route)> {
    let own = key.net.addr();
    let route = |dst: IpNet, kind: RouteKind, scope: &str| {
        let main = kind == RouteKind::Unicast;
        let key = RouteKey {
            dst,
            metric: if own.is_ipv6() && main { 256 } else { 0 },
            kind,
            dev: Some(key.dev.clone()),
            tos: 0,
        };
        let route = Route {
            scope: scope.to_owned(),
            src: Some(own).filter(IpAddr::is_ipv4),
            proto: "kernel".to_owned(),
            ..Route::default()
        };
        (key, route)
    };
    let (local, to_self) = route(IpNet::from(own), RouteKind::Local, "host");
    let mut routes = vec![(LOCAL, local, to_self)];
    if key.net.prefix_len() < key.net.max_prefix_len() {
        let (connected, to_subnet) = route(key.net.trunc(), RouteKind::Unicast, "link");
        routes.push((MAIN, connected, to_subnet));
    }
    routes
}
