//! Decides: (state, actor, command) → changes, or a refusal. Every invariant lives here, once.
//!
//! [`decide`] is a function of its arguments: the moment, the randomness, the settings and who is
//! alive are handed in by [`Context`]. A command works on a [`Txn`]: a state that runs ahead of
//! the one given and remembers what changed; a refusal drops it, so nothing is ever half done.
//!
//! A kind of resource is one file that ends in its `RULES`, and one line in [`RULES`]; what is
//! neither creation, change nor deletion is a variant of [`Command`] and one line in [`decide`].

mod actor;
mod address_group;
mod address_scope;
mod agent;
mod auto_topology;
mod binding;
mod command;
mod config;
mod context;
mod decision;
mod default_rule;
mod dhcp_port;
mod distributed;
mod draft;
mod fixed_ips;
mod floating_ip;
mod free;
mod gateway;
mod interface;
mod invariants;
mod ipam;
mod network;
mod pools;
mod port;
mod port_extra;
mod quota;
mod rbac;
mod refusal;
mod router;
mod routes;
mod rule_match;
mod rules;
mod schedule;
mod schedule_router;
mod security_group;
mod security_group_rule;
mod segment;
mod share;
mod subnet;
mod subnet_check;
mod subnet_pool;
mod tags;
mod txn;
mod visible;
mod wiring;
mod zone;

pub use actor::Actor;
pub use command::{AgentReport, Command};
pub use config::{Config, VlanRange};
pub use context::{Context, Liveness, Random};
pub use decision::{Answer, Decision};
pub use distributed::{agents_of_router, routers_of_agent};
pub use draft::Draft;
pub use invariants::broken;
pub use quota::{LIMITED, quota_limit, quota_used};
pub use refusal::Refusal;

use intent::State;
use txn::Txn;

/// What becomes of a command.
pub fn decide(
    state: &State,
    actor: &Actor,
    command: &Command,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    let mut txn = Txn::new(state, actor, context);
    let answer = answer(&mut txn, command)?;
    distributed::settle(&mut txn);
    Ok(txn.decision(answer))
}

fn answer(txn: &mut Txn<'_>, command: &Command) -> Result<Answer, Refusal> {
    match command {
        Command::Create { kind, drafts } => rules::create(txn, *kind, drafts),
        Command::Update {
            kind,
            key,
            draft,
            if_match,
        } => rules::update(txn, *kind, key, draft, *if_match),
        Command::Delete {
            kind,
            key,
            if_match,
        } => rules::delete(txn, *kind, key, *if_match),
        _ => action(txn, command),
    }
}

/// The named actions: a line each, in the file of what they act upon.
fn action(txn: &mut Txn<'_>, command: &Command) -> Result<Answer, Refusal> {
    match command {
        Command::Found => Ok(default_rule::found(txn)),
        Command::AddAddresses { group, body } => address_group::add(txn, group, body),
        Command::RemoveAddresses { group, body } => address_group::remove(txn, group, body),
        Command::ReplaceTags { kind, key, tags } => {
            tags::change(txn, *kind, key, tags::Change::Replace(tags))
        }
        Command::AddTags { kind, key, tags } => {
            tags::change(txn, *kind, key, tags::Change::Add(tags))
        }
        Command::RemoveTag { kind, key, tag } => {
            tags::change(txn, *kind, key, tags::Change::Remove(tag))
        }
        Command::SetQuota { project, draft } => quota::set(txn, project, draft),
        Command::ResetQuota { project } => quota::reset(txn, project),
        Command::EnsureDefaultGroup { project } => {
            security_group::ensure_default(txn, project);
            Ok(Answer::Done)
        }
        Command::AddPrefixes { pool, body } => subnet_pool::add_prefixes(txn, pool, body),
        Command::RemovePrefixes { pool, body } => subnet_pool::remove_prefixes(txn, pool, body),
        Command::OnboardSubnets { pool, body } => subnet_pool::onboard(txn, pool, body),
        Command::CreateBinding { port, draft } => binding::create(txn, port, draft),
        Command::UpdateBinding { port, host, draft } => binding::update(txn, port, host, draft),
        Command::DeleteBinding { port, host } => binding::delete(txn, port, host),
        Command::ActivateBinding { port, host } => binding::activate(txn, port, host),
        Command::ReportPorts {
            host,
            up,
            down,
            dhcp,
        } => Ok(wiring::report(txn, host, (up, down), dhcp)),
        Command::EnsureDhcpPort { host, network } => dhcp_port::ensure(txn, host, *network),
        _ => l3_action(txn, command),
    }
}

/// The same of agents, routers and what is scheduled.
fn l3_action(txn: &mut Txn<'_>, command: &Command) -> Result<Answer, Refusal> {
    match command {
        Command::AddRouterInterface { router, body } => interface::add(txn, router, body),
        Command::RemoveRouterInterface { router, body } => interface::remove(txn, router, body),
        Command::AddExtraRoutes { router, body } => routes::add(txn, router, body),
        Command::RemoveExtraRoutes { router, body } => routes::remove(txn, router, body),
        Command::AutoTopology { project } => auto_topology::get(txn, project),
        Command::CheckAutoTopology { project } => auto_topology::check(txn, project),
        Command::DeleteAutoTopology { project } => auto_topology::delete(txn, project),
        Command::ScheduleNetwork { agent, network } => schedule::add(txn, agent, network),
        Command::UnscheduleNetwork { agent, network } => schedule::remove(txn, agent, network),
        Command::ScheduleRouter { agent, router } => schedule_router::add(txn, agent, router),
        Command::UnscheduleRouter { agent, router } => schedule_router::remove(txn, agent, router),
        Command::Reschedule => Ok(schedule::again(txn)),
        Command::ReportAgent(report) => Ok(agent::report(txn, report)),
        Command::ReportRouters {
            host,
            up,
            down,
            failed,
        } => Ok(router::report(txn, host, up, down, failed)),
        _ => Err(Refusal::nothing_here()),
    }
}
