//! Extra routes of a router: each next hop is a neighbour on one of its subnets.

use std::net::IpAddr;

use intent::{Route, Router, RouterId, Subnet, attrs};
use serde_json::Value;

use crate::{Answer, Refusal, router, schedule_router, txn::Txn};

/// `PUT routers/ID` with `routes`.
pub(crate) fn replace(txn: &mut Txn<'_>, id: RouterId, given: &Value) -> Result<(), Refusal> {
    let routes = parse(given)?;
    set(txn, id, routes)
}

fn parse(given: &Value) -> Result<Vec<Route>, Refusal> {
    let routes = serde_json::from_value::<Option<Vec<Route>>>(given.clone());
    let routes =
        routes.map_err(|error| Refusal::invalid_input(format_args!("'routes': {error}")))?;
    Ok(routes.unwrap_or_default())
}

/// The routes of an action's body, held to what the attribute's row says.
fn read(body: &Value) -> Result<Vec<Route>, Refusal> {
    let inner = body.get("router").unwrap_or(body);
    let given = inner.get("routes").cloned().unwrap_or_default();
    let row = attrs::ROUTER.attr("routes");
    let read = row.map(|row| row.read(given.clone())).transpose();
    let read = read.map_err(|bad| Refusal::of_input(bad.kind, bad.message))?;
    parse(&read.unwrap_or(given))
}

/// All at once, beside whatever others add at the same time.
pub(crate) fn add(txn: &mut Txn<'_>, key: &str, body: &Value) -> Result<Answer, Refusal> {
    let router = router::find(txn, key)?;
    let mut routes = router.routes.clone();
    for route in read(body)? {
        if !routes.contains(&route) {
            routes.push(route);
        }
    }
    set(txn, router.id, routes)?;
    Ok(Answer::Objects(vec![router::shown(txn, router.id)?]))
}

pub(crate) fn remove(txn: &mut Txn<'_>, key: &str, body: &Value) -> Result<Answer, Refusal> {
    let router = router::find(txn, key)?;
    let gone = read(body)?;
    let mut routes = router.routes.clone();
    routes.retain(|route| !gone.contains(route));
    set(txn, router.id, routes)?;
    Ok(Answer::Objects(vec![router::shown(txn, router.id)?]))
}

fn set(txn: &mut Txn<'_>, id: RouterId, routes: Vec<Route>) -> Result<(), Refusal> {
    let found = router::find(txn, &id.to_string())?;
    check(txn, id, &routes)?;
    let most = txn.config().max_routes;
    if routes.len() > most {
        return Err(Refusal::routes_exhausted(id, most));
    }
    let mut changed = Router::clone(&found);
    changed.routes = routes;
    txn.save(changed);
    schedule_router::router(txn, id);
    Ok(())
}

fn check(txn: &Txn<'_>, id: RouterId, routes: &[Route]) -> Result<(), Refusal> {
    let state = txn.state();
    let ports = schedule_router::ports_of(txn, id);
    let fixed = || ports.iter().flat_map(|port| &port.fixed_ips);
    let subnets: Vec<&Subnet> = fixed()
        .filter_map(|it| Some(&**state.subnets.get(&it.subnet_id)?))
        .collect();
    let reachable = |hop: IpAddr| {
        subnets.iter().any(|subnet| subnet.cidr.contains(&hop))
            && fixed().all(|own| own.ip_address != hop)
    };
    match routes.iter().all(|route| reachable(route.nexthop)) {
        true => Ok(()),
        false => Err(Refusal::invalid_routes(list(routes))),
    }
}

/// As Python shows them.
fn list(routes: &[Route]) -> String {
    let one = |route: &Route| {
        format!(
            "{{'destination': '{}', 'nexthop': '{}'}}",
            route.destination, route.nexthop
        )
    };
    let all: Vec<String> = routes.iter().map(one).collect();
    format!("[{}]", all.join(", "))
}
