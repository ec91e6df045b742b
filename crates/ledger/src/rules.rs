//! What creating, changing and deleting mean for each kind of resource: a file each, a line each.

use intent::{Kind, Object};

use crate::{
    Answer, Draft, Refusal, address_group, address_scope, agent, default_rule, floating_ip,
    network, port, quota, rbac, router, security_group, security_group_rule, subnet, subnet_pool,
    txn::Txn,
};

type Create = fn(&mut Txn<'_>, &Draft) -> Result<Object, Refusal>;
type Update = fn(&mut Txn<'_>, &str, &Draft) -> Result<Object, Refusal>;
type Delete = fn(&mut Txn<'_>, &str) -> Result<(), Refusal>;

/// One kind's rules. What a kind can't (nobody creates an agent) is not there.
pub(crate) struct Rules {
    pub(crate) kind: Kind,
    /// The refusal of a key that names nothing.
    pub(crate) missing: fn(&str) -> Refusal,
    pub(crate) create: Option<Create>,
    pub(crate) update: Option<Update>,
    pub(crate) delete: Option<Delete>,
}

/// All of them. A later resource is one more file and one more line.
const RULES: &[Rules] = &[
    address_group::RULES,
    default_rule::RULES,
    security_group::RULES,
    security_group_rule::RULES,
    network::RULES,
    subnet::RULES,
    subnet_pool::RULES,
    address_scope::RULES,
    port::RULES,
    router::RULES,
    floating_ip::RULES,
    rbac::RULES,
    agent::RULES,
];

/// The rules of a kind; a kind without rules can't be asked for.
fn rules(kind: Kind) -> Result<&'static Rules, Refusal> {
    let found = RULES.iter().find(|rules| rules.kind == kind);
    found.ok_or_else(Refusal::nothing_here)
}

/// The refusal of a key that names nothing of a kind.
pub(crate) fn missing(kind: Kind, key: &str) -> Refusal {
    rules(kind).map_or_else(|refusal| refusal, |rules| (rules.missing)(key))
}

pub(crate) fn create(txn: &mut Txn<'_>, kind: Kind, drafts: &[Draft]) -> Result<Answer, Refusal> {
    if kind == Kind::SecurityGroupRule {
        security_group_rule::one_group(drafts)?;
    }
    rules(kind)?;
    let owners = drafts.iter().map(|draft| txn.owner_of(draft));
    quota::check(txn, kind, &owners.collect::<Vec<_>>())?;
    let objects = drafts.iter().map(|draft| make(txn, kind, draft));
    Ok(Answer::Objects(objects.collect::<Result<_, _>>()?))
}

/// Makes one, whatever quota says.
pub(crate) fn make(txn: &mut Txn<'_>, kind: Kind, draft: &Draft) -> Result<Object, Refusal> {
    let make = rules(kind)?.create.ok_or_else(Refusal::nothing_here)?;
    make(txn, draft)
}

pub(crate) fn update(
    txn: &mut Txn<'_>,
    kind: Kind,
    key: &str,
    draft: &Draft,
    if_match: Option<u64>,
) -> Result<Answer, Refusal> {
    let rules = rules(kind)?;
    let change = rules.update.ok_or_else(Refusal::nothing_here)?;
    exists(txn, rules, key)?;
    let object = change(txn, key, draft)?;
    unchanged_since(txn, kind, key, if_match)?;
    Ok(Answer::Objects(vec![object]))
}

pub(crate) fn delete(
    txn: &mut Txn<'_>,
    kind: Kind,
    key: &str,
    if_match: Option<u64>,
) -> Result<Answer, Refusal> {
    let rules = rules(kind)?;
    let delete = rules.delete.ok_or_else(Refusal::nothing_here)?;
    exists(txn, rules, key)?;
    delete(txn, key)?;
    unchanged_since(txn, kind, key, if_match)?;
    Ok(Answer::Done)
}

fn exists(txn: &Txn<'_>, rules: &Rules, key: &str) -> Result<(), Refusal> {
    match txn.state().object(rules.kind, key) {
        Some(_) => Ok(()),
        None => Err((rules.missing)(key)),
    }
}

/// `If-Match` is asked last, as Neutron does: a resource in use is refused as such first.
fn unchanged_since(
    txn: &Txn<'_>,
    kind: Kind,
    key: &str,
    if_match: Option<u64>,
) -> Result<(), Refusal> {
    let Some(expected) = if_match else {
        return Ok(());
    };
    let before = txn.before.object(kind, key);
    match before.as_ref().and_then(Object::meta) {
        Some(meta) if meta.revision_number != expected => {
            Err(Refusal::stale(expected, meta.revision_number))
        }
        _ => Ok(()),
    }
}
