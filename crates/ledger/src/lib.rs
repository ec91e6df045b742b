//! Decides: (state, actor, command) → changes, or a refusal. Every invariant lives here, once.
//!
//! [`decide`] is a function of its arguments: the moment, the randomness, the settings and who is
//! alive are handed in by [`Context`]. A command works on a [`Txn`]: a state that runs ahead of
//! the one given and remembers what changed; a refusal drops it, so nothing is ever half done.
//!
//! A kind of resource is one file that ends in its `RULES`, and one line in [`RULES`]; what is
//! neither creation, change nor deletion is a variant of [`Command`] and one line in [`decide`].

mod actor;
mod command;
mod config;
mod context;
mod decision;
mod draft;
mod quota;
mod refusal;
mod rules;
mod txn;

pub use actor::Actor;
pub use command::{AgentReport, Command};
pub use config::{Config, VlanRange};
pub use context::{Context, Liveness, Random};
pub use decision::{Answer, Decision};
pub use draft::Draft;
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
        // The named actions: a line each, in the file of what they act upon.
        _ => Err(Refusal::nothing_here()),
    }
}
