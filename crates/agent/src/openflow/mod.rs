//! A switch's flows, spoken natively (OpenFlow 1.4 over the bridge's own socket): one connection a
//! bridge reads flows, changes them in atomic bundles, and hears at once when another changes
//! them. A process for each would cost more than everything else in a pass.
pub mod action;
pub mod field;
mod learn;
pub mod link;
pub mod matches;
pub mod message;
pub mod wire;

pub use link::{Heard, Refusal, Switch, SwitchError};
pub use matches::Ports;

/// A flow that can't be said to the switch, or an answer that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("port {0} is not on the bridge yet")]
    NoPort(String),
    #[error("'{0}' can't be said in OpenFlow 1.4")]
    Unsayable(String),
    #[error(transparent)]
    Short(#[from] wire::Short),
}
