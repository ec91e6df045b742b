//! Address groups: named sets of prefixes.

use std::collections::BTreeSet;

use intent::{AddressGroup, AddressGroupId, Kind, Object};
use ipnet::IpNet;
use serde_json::Value;

use crate::{Answer, Draft, Refusal, draft::Reading, rules::Rules, share, txn::Txn};

pub(crate) const RULES: Rules = Rules {
    kind: Kind::AddressGroup,
    missing: |id| Refusal::address_group_not_found(id),
    create: Some(create),
    update: Some(update),
    delete: Some(delete),
};

fn create(txn: &mut Txn<'_>, draft: &Draft) -> Result<Object, Refusal> {
    let addresses = read(draft.texts("addresses"))?;
    // Each address is a dependent thing that counts its group up.
    let revision = addresses.len() as u64;
    let group = AddressGroup {
        id: AddressGroupId::new(txn.uuid()),
        project_id: txn.owner_of(draft),
        name: draft.owned("name").unwrap_or_default(),
        addresses,
        meta: txn.meta(draft.owned("description"), revision),
    };
    Ok(txn.create(group).into())
}

/// Prefixes as they are kept: without host bits.
fn read(texts: Vec<String>) -> Result<BTreeSet<IpNet>, Refusal> {
    let prefix = |text: String| {
        let address = || text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
        let prefix = text.parse::<IpNet>().ok().or_else(address);
        prefix.map(|prefix| prefix.trunc()).ok_or_else(|| {
            Refusal::malformed(format_args!(
                "Invalid input for addresses. Reason: '{text}' is not a valid IP subnet."
            ))
        })
    };
    texts.into_iter().map(prefix).collect()
}

fn update(txn: &mut Txn<'_>, key: &str, draft: &Draft) -> Result<Object, Refusal> {
    let mut group = AddressGroup::clone(&*find(txn, key)?);
    draft.set_text("name", &mut group.name);
    draft.set_description(&mut group.meta);
    Ok(txn.save(group).into())
}

fn find(txn: &Txn<'_>, key: &str) -> Result<std::sync::Arc<AddressGroup>, Refusal> {
    let found = txn.find::<AddressGroup>(key);
    found.ok_or_else(|| Refusal::address_group_not_found(key))
}

fn delete(txn: &mut Txn<'_>, key: &str) -> Result<(), Refusal> {
    let group = find(txn, key)?;
    if txn.state().index.rules_of_address_group.any(&group.id) {
        return Err(Refusal::address_group_in_use(group.id));
    }
    share::forget(txn, group.id.uuid());
    txn.delete::<AddressGroup>(&group.id);
    Ok(())
}

pub(crate) fn add(txn: &mut Txn<'_>, key: &str, body: &Value) -> Result<Answer, Refusal> {
    let group = find(txn, key)?;
    let given = given(body)?;
    let known: Vec<_> = given.intersection(&group.addresses).collect();
    if !known.is_empty() {
        return Err(Refusal::addresses_exist(list(&known), group.id));
    }
    let mut changed = AddressGroup::clone(&group);
    changed.addresses.extend(&given);
    save(txn, changed, given.len())
}

pub(crate) fn remove(txn: &mut Txn<'_>, key: &str, body: &Value) -> Result<Answer, Refusal> {
    let group = find(txn, key)?;
    let given = given(body)?;
    let unknown: Vec<_> = given.difference(&group.addresses).collect();
    if !unknown.is_empty() {
        return Err(Refusal::addresses_not_found(list(&unknown), group.id));
    }
    let mut changed = AddressGroup::clone(&group);
    changed.addresses.retain(|address| !given.contains(address));
    save(txn, changed, given.len())
}

/// Each address that comes or goes counts the group up.
fn save(txn: &mut Txn<'_>, group: AddressGroup, counts: usize) -> Result<Answer, Refusal> {
    let id = group.id;
    txn.save(group);
    let further = counts.saturating_sub(1) as u64;
    txn.count_further::<AddressGroup>(&id, further);
    let group = txn.get::<AddressGroup>(&id);
    let group = group.ok_or_else(|| Refusal::address_group_not_found(id))?;
    Ok(Answer::Objects(vec![group.into()]))
}

fn given(body: &Value) -> Result<BTreeSet<IpNet>, Refusal> {
    let list = body.get("addresses").and_then(Value::as_array);
    let list = list.ok_or_else(|| {
        Refusal::malformed("Invalid input for addresses. Reason: a list of IP subnets is needed.")
    })?;
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    read(list.iter().map(text).collect())
}

/// As Python shows a list of texts.
fn list(addresses: &[&IpNet]) -> String {
    let quoted: Vec<String> = addresses.iter().map(|it| format!("'{it}'")).collect();
    format!("[{}]", quoted.join(", "))
}
