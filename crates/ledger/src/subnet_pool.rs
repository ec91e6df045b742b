//! Subnet pools: prefixes that subnets are cut from, so that none of them overlaps another.

use std::sync::Arc;

use intent::{
    AddressScope, Kind, NetworkId, Object, ProjectId, RbacAction, RbacObject, Subnet, SubnetPool,
    SubnetPoolId, number_of,
};
use ipnet::IpNet;
use serde_json::{Value, json};

use crate::{Answer, Draft, Refusal, draft::Reading, ipam, rules::Rules, share, txn::Txn};

pub(crate) const RULES: Rules = Rules {
    kind: Kind::SubnetPool,
    missing: |id| Refusal::subnet_pool_not_found(id),
    create: Some(create),
    update: Some(update),
    delete: Some(delete),
};

fn create(txn: &mut Txn<'_>, draft: &Draft) -> Result<Object, Refusal> {
    let prefixes = read_prefixes(draft.value("prefixes"))?;
    let ip_version = version_of(&prefixes)?;
    let mut pool = SubnetPool {
        id: SubnetPoolId::new(txn.uuid()),
        project_id: txn.owner_of(draft),
        name: draft.owned("name").unwrap_or_default(),
        prefixes,
        default_prefixlen: 0,
        min_prefixlen: if ip_version == 4 { 8 } else { 64 },
        max_prefixlen: if ip_version == 4 { 32 } else { 128 },
        ip_version,
        is_default: draft.flag("is_default").unwrap_or(false),
        shared: false,
        default_quota: quota(draft),
        address_scope_id: draft.parsed("address_scope_id"),
        meta: txn.meta(draft.owned("description"), 0),
    };
    set_lengths(&mut pool, draft);
    if !draft.given("default_prefixlen") {
        pool.default_prefixlen = pool.min_prefixlen;
    }
    check_bounds(&pool)?;
    one_default(txn, &pool)?;
    check_scope(txn, &pool)?;
    pool.prefixes = merged(&pool.prefixes);
    let pool = txn.create(pool);
    if draft.flag("shared") == Some(true) {
        let object = (RbacObject::SubnetPool, pool.id.uuid());
        share::with_all(txn, object, RbacAction::Shared, &pool.project_id);
    }
    Ok(pool.into())
}

fn quota(draft: &Draft) -> Option<u64> {
    draft
        .number("default_quota")
        .and_then(|quota| u64::try_from(quota).ok())
}

fn set_lengths(pool: &mut SubnetPool, draft: &Draft) {
    let set = |field: &mut u8, name| {
        if let Some(length) = draft.number(name) {
            *field = u8::try_from(length).unwrap_or(u8::MAX);
        }
    };
    set(&mut pool.min_prefixlen, "min_prefixlen");
    set(&mut pool.max_prefixlen, "max_prefixlen");
    set(&mut pool.default_prefixlen, "default_prefixlen");
}

fn check_bounds(pool: &SubnetPool) -> Result<(), Refusal> {
    let longest = if pool.ip_version == 4 { 32 } else { 128 };
    let (min, max, default) = (
        pool.min_prefixlen,
        pool.max_prefixlen,
        pool.default_prefixlen,
    );
    let wrong = [
        (
            max > longest,
            ("max_prefixlen", max),
            ("max_prefixlen", longest),
        ),
        (min > max, ("min_prefixlen", min), ("max_prefixlen", max)),
        (
            default > max,
            ("default_prefixlen", default),
            ("max_prefixlen", max),
        ),
        (
            default < min,
            ("min_prefixlen", min),
            ("default_prefixlen", default),
        ),
    ];
    match wrong.iter().find(|(wrong, ..)| *wrong) {
        Some((_, (a, x), (b, y))) => Err(Refusal::illegal_prefix_bounds(format_args!(
            "{a}={x}, {b}={y}"
        ))),
        None => Ok(()),
    }
}

/// Of each family at most one pool is the default.
fn one_default(txn: &Txn<'_>, pool: &SubnetPool) -> Result<(), Refusal> {
    let mut others = txn.state().subnet_pools.values();
    let other =
        others.find(|it| it.is_default && it.id != pool.id && it.ip_version == pool.ip_version);
    match other.filter(|_| pool.is_default) {
        Some(_) => Err(Refusal::invalid_input(format_args!(
            "A default subnetpool for this IP family has already been set. Only one default may \
             exist per IP family"
        ))),
        None => Ok(()),
    }
}

/// A scope's pools are of its family and apart from each other.
fn check_scope(txn: &Txn<'_>, pool: &SubnetPool) -> Result<(), Refusal> {
    let Some(id) = pool.address_scope_id else {
        return Ok(());
    };
    let scope = txn.get::<AddressScope>(&id);
    let visible =
        scope.filter(|scope| txn.reaches(&scope.project_id, scope.id.uuid(), RbacAction::Shared));
    let scope = visible.ok_or_else(|| Refusal::address_scope_not_found(id))?;
    if scope.ip_version != pool.ip_version {
        return Err(Refusal::wrong_scope_version(pool.id, id, scope.ip_version));
    }
    let state = txn.state();
    let others = state
        .index
        .pools_of_scope
        .of(&id)
        .filter(|other| **other != pool.id);
    let mut theirs = others
        .filter_map(|other| state.subnet_pools.get(other))
        .flat_map(|other| &other.prefixes);
    if theirs.any(|other| pool.prefixes.iter().any(|own| overlap(own, other))) {
        return Err(Refusal::address_scope_prefix_conflict());
    }
    Ok(())
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

fn read_prefixes(value: Option<&Value>) -> Result<Vec<IpNet>, Refusal> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items
        .map(|item| {
            let text = item.as_str().unwrap_or_default();
            let net = text.parse::<IpNet>().map(|net| net.trunc());
            net.map_err(|_| {
                Refusal::invalid_input(format_args!("'{text}' is not a valid IP subnet"))
            })
        })
        .collect()
}

fn version_of(prefixes: &[IpNet]) -> Result<u8, Refusal> {
    let of_four = prefixes.iter().filter(|net| net.addr().is_ipv4()).count();
    match of_four {
        0 if prefixes.is_empty() => Err(Refusal::empty_subnet_pool()),
        0 => Ok(6),
        all if all == prefixes.len() => Ok(4),
        _ => Err(Refusal::prefix_version_mismatch()),
    }
}

/// The fewest prefixes that say the same: neighbours are joined.
fn merged(prefixes: &[IpNet]) -> Vec<IpNet> {
    let mut all = IpNet::aggregate(&prefixes.to_vec());
    all.sort();
    all
}

fn update(txn: &mut Txn<'_>, key: &str, draft: &Draft) -> Result<Object, Refusal> {
    let Some(current) = txn.find::<SubnetPool>(key) else {
        return Err(Refusal::subnet_pool_not_found(key));
    };
    let mut pool = SubnetPool::clone(&current);
    draft.set_text("name", &mut pool.name);
    draft.set_description(&mut pool.meta);
    draft.set_flag("is_default", &mut pool.is_default);
    if draft.given("default_quota") {
        pool.default_quota = quota(draft);
    }
    set_lengths(&mut pool, draft);
    check_bounds(&pool)?;
    if draft.given("prefixes") {
        let prefixes = merged(&read_prefixes(draft.value("prefixes"))?);
        if version_of(&prefixes)? != pool.ip_version {
            return Err(Refusal::prefix_version_mismatch());
        }
        let kept = |old: &IpNet| prefixes.iter().any(|new| new.contains(old));
        if !current.prefixes.iter().all(kept) {
            return Err(Refusal::illegal_prefix_update());
        }
        pool.prefixes = prefixes;
    }
    if draft.given("address_scope_id") {
        pool.address_scope_id = draft.parsed("address_scope_id");
    }
    one_default(txn, &pool)?;
    check_scope(txn, &pool)?;
    Ok(txn.save(pool).into())
}

fn delete(txn: &mut Txn<'_>, key: &str) -> Result<(), Refusal> {
    let Some(pool) = txn.find::<SubnetPool>(key) else {
        return Err(Refusal::subnet_pool_not_found(key));
    };
    if txn.state().index.subnets_of_pool.any(&pool.id) {
        let why = "Subnet pool has existing allocations";
        return Err(Refusal::subnet_pool_delete(why));
    }
    share::forget(txn, pool.id.uuid());
    txn.delete::<SubnetPool>(&pool.id);
    Ok(())
}

fn subnets_of<'a>(txn: &'a Txn<'_>, pool: &SubnetPool) -> impl Iterator<Item = &'a Arc<Subnet>> {
    let state = txn.state();
    let ids: Vec<_> = state.index.subnets_of_pool.of(&pool.id).copied().collect();
    ids.into_iter().filter_map(|id| state.subnets.get(&id))
}

/// Cuts a subnet from the pool: the one asked for, or the lowest free one of a length.
pub(crate) fn cut(
    txn: &Txn<'_>,
    pool: &SubnetPool,
    given: Option<IpNet>,
    length: Option<i64>,
    project: &ProjectId,
) -> Result<IpNet, Refusal> {
    let length = match (given, length) {
        (Some(cidr), _) => cidr.prefix_len(),
        (None, Some(length)) => u8::try_from(length).unwrap_or(u8::MAX),
        (None, None) => pool.default_prefixlen,
    };
    if length > pool.max_prefixlen {
        return Err(Refusal::prefix_too_long(length, pool.max_prefixlen));
    }
    if length < pool.min_prefixlen {
        return Err(Refusal::prefix_too_short(length, pool.min_prefixlen));
    }
    check_quota(txn, pool, length, project)?;
    let taken: Vec<IpNet> = subnets_of(txn, pool).map(|subnet| subnet.cidr).collect();
    match given {
        Some(cidr) => {
            let inside = pool.prefixes.iter().any(|prefix| prefix.contains(&cidr));
            if !inside || taken.iter().any(|other| overlap(other, &cidr)) {
                let why = "Cannot allocate requested subnet from the available set of prefixes";
                return Err(Refusal::subnet_allocation(why));
            }
            Ok(cidr)
        }
        None => lowest(&pool.prefixes, taken, length).ok_or_else(|| {
            let why = format!("Insufficient prefix space to allocate subnet size /{length}");
            Refusal::subnet_allocation(why)
        }),
    }
}

/// The lowest prefix of a length that overlaps nothing taken.
fn lowest(prefixes: &[IpNet], mut taken: Vec<IpNet>, length: u8) -> Option<IpNet> {
    taken.sort();
    let roomy = prefixes
        .iter()
        .filter(|prefix| prefix.prefix_len() <= length);
    roomy
        .copied()
        .find_map(|prefix| lowest_in(prefix, &taken, length))
}

fn lowest_in(prefix: IpNet, taken: &[IpNet], length: u8) -> Option<IpNet> {
    let version = if prefix.addr().is_ipv4() { 4 } else { 6 };
    let end = number_of(prefix.broadcast());
    let step = 1_u128.checked_shl(u32::from(prefix.max_prefix_len() - length))?;
    let mut at = number_of(prefix.network());
    for other in taken.iter().filter(|other| overlap(&prefix, other)) {
        let (low, high) = (number_of(other.network()), number_of(other.broadcast()));
        if at.checked_add(step - 1)? < low {
            break;
        }
        if at <= high {
            // The next place behind it that begins where a prefix of this length can.
            at = high.checked_add(1)?.checked_next_multiple_of(step)?;
        }
    }
    if at.checked_add(step - 1)? > end {
        return None;
    }
    IpNet::new(ipam::address_of(at, version), length).ok()
}

/// A project's share of a pool: addresses in IPv4, /64s in IPv6.
fn check_quota(
    txn: &Txn<'_>,
    pool: &SubnetPool,
    length: u8,
    project: &ProjectId,
) -> Result<(), Refusal> {
    let Some(quota) = pool.default_quota else {
        return Ok(());
    };
    let unit = if pool.ip_version == 4 { 32 } else { 64 };
    let units = |length: u8| {
        1_u128
            .checked_shl(u32::from(unit_bits(unit, length)))
            .unwrap_or(u128::MAX)
    };
    let mine = subnets_of(txn, pool).filter(|subnet| subnet.project_id == *project);
    let used: u128 = mine.map(|subnet| units(subnet.cidr.prefix_len())).sum();
    if used.saturating_add(units(length)) > u128::from(quota) {
        return Err(Refusal::subnet_pool_quota_exceeded());
    }
    Ok(())
}

const fn unit_bits(unit: u8, length: u8) -> u8 {
    unit.saturating_sub(length)
}

/// A network's subnets of a family come from one scope where one of them does, else from one pool.
pub(crate) fn check_affinity(
    txn: &Txn<'_>,
    network: NetworkId,
    version: u8,
    pool: Option<&SubnetPool>,
) -> Result<(), Refusal> {
    let state = txn.state();
    let ids = state.index.subnets_of_network.of(&network);
    let others = ids.filter_map(|id| state.subnets.get(id));
    let others: Vec<_> = others.filter(|it| it.ip_version() == version).collect();
    let scope_of = |subnet: &&Arc<Subnet>| {
        let pool = state.subnet_pools.get(&subnet.subnetpool_id?);
        pool.and_then(|pool| pool.address_scope_id)
    };
    if let Some(scope) = others.iter().find_map(scope_of) {
        if pool.and_then(|pool| pool.address_scope_id) != Some(scope) {
            return Err(Refusal::network_scope_affinity());
        }
        return Ok(());
    }
    let pool = pool.map(|pool| pool.id);
    if others.iter().any(|subnet| subnet.subnetpool_id != pool) {
        return Err(Refusal::network_pool_affinity());
    }
    Ok(())
}

fn found(txn: &Txn<'_>, key: &str) -> Result<Arc<SubnetPool>, Refusal> {
    txn.find::<SubnetPool>(key)
        .ok_or_else(|| Refusal::subnet_pool_not_found(key))
}

/// `add_prefixes`
pub(crate) fn add_prefixes(txn: &mut Txn<'_>, key: &str, body: &Value) -> Result<Answer, Refusal> {
    let current = found(txn, key)?;
    let mut pool = SubnetPool::clone(&current);
    pool.prefixes.extend(read_prefixes(body.get("prefixes"))?);
    if version_of(&pool.prefixes)? != pool.ip_version {
        return Err(Refusal::prefix_version_mismatch());
    }
    pool.prefixes = merged(&pool.prefixes);
    check_scope(txn, &pool)?;
    Ok(prefixes_of(&txn.save_uncounted(pool)))
}

/// `remove_prefixes`: only what no subnet was cut from.
pub(crate) fn remove_prefixes(
    txn: &mut Txn<'_>,
    key: &str,
    body: &Value,
) -> Result<Answer, Refusal> {
    let current = found(txn, key)?;
    let gone = read_prefixes(body.get("prefixes"))?;
    let in_use = |net: &IpNet| subnets_of(txn, &current).any(|it| overlap(&it.cidr, net));
    if gone.iter().any(in_use) {
        return Err(Refusal::illegal_prefix_removal());
    }
    let mut pool = SubnetPool::clone(&current);
    pool.prefixes = merged(&without(&current.prefixes, &gone));
    Ok(prefixes_of(&txn.save_uncounted(pool)))
}

/// What is left of prefixes when others are taken out.
fn without(prefixes: &[IpNet], gone: &[IpNet]) -> Vec<IpNet> {
    let mut left: Vec<IpNet> = Vec::new();
    let mut todo: Vec<IpNet> = prefixes.to_vec();
    while let Some(net) = todo.pop() {
        if gone.iter().any(|it| it.contains(&net)) {
            continue;
        }
        let cut = gone.iter().any(|it| net.contains(it));
        match net.subnets(net.prefix_len() + 1) {
            Ok(halves) if cut => todo.extend(halves),
            _ => left.push(net),
        }
    }
    left
}

fn prefixes_of(pool: &SubnetPool) -> Answer {
    Answer::Value(json!({ "prefixes": pool.prefixes }))
}

/// `onboard_network_subnets`: the network's subnets of the pool's family become the pool's.
pub(crate) fn onboard(txn: &mut Txn<'_>, key: &str, body: &Value) -> Result<Answer, Refusal> {
    let current = found(txn, key)?;
    let id = body
        .get("network_id")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let network = txn.visible_network(id)?;
    let state = txn.state();
    let ids = state.index.subnets_of_network.of(&network.id);
    let subnets = ids.filter_map(|id| state.subnets.get(id).cloned());
    let subnets: Vec<Arc<Subnet>> = subnets
        .filter(|it| it.ip_version() == current.ip_version && it.subnetpool_id.is_none())
        .collect();
    let taken: Vec<IpNet> = subnets_of(txn, &current).map(|it| it.cidr).collect();
    let clash = |it: &&Arc<Subnet>| taken.iter().any(|other| overlap(other, &it.cidr));
    if let Some(subnet) = subnets.iter().find(clash) {
        return Err(Refusal::illegal_onboarding(subnet.cidr));
    }
    let mut pool = SubnetPool::clone(&current);
    pool.prefixes.extend(subnets.iter().map(|it| it.cidr));
    pool.prefixes = merged(&pool.prefixes);
    check_scope(txn, &pool)?;
    txn.save_uncounted(pool);
    for subnet in &subnets {
        let mut subnet = Subnet::clone(subnet);
        subnet.subnetpool_id = Some(current.id);
        txn.save(subnet);
    }
    txn.touch::<intent::Network>(&network.id);
    let rows = subnets
        .iter()
        .map(|it| json!({ "id": it.id, "cidr": it.cidr }));
    Ok(Answer::Value(rows.collect()))
}
