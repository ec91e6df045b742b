//! Hosts, guests and an outside world, made of namespaces on one machine: what the demo shows
//! and what the end-to-end tests stand on.
//!
//! A host is a process with namespaces of its own (network, mounts, host name, processes), whose
//! process 1 reaps ([`init`]). Everything on the host lives below that process, so ending the host
//! is ending one pid. A [`fabric`] namespace joins the hosts with Linux bridges; each host runs
//! its own Open vSwitch ([`ovs`]), `nucleon agent` and, on the controller, `nucleon server`
//! ([`daemons`]). [`guest`]s are network namespaces plugged into a host as Nova would ([`plug`]).
//!
//! Nothing is ended on the strength of a number alone: [`process`] keeps the start time beside
//! the pid. What a lab made is written down before it is made ([`state`]), so that the next `up`
//! or `down` can take away what a crash left.

pub mod client;
mod command;
mod daemons;
mod fabric;
mod forward;
pub mod frame;
mod guest;

pub mod init;
mod intent;
mod lab;
mod machine;
mod ovs;
mod patience;
pub mod plug;
pub mod process;
mod progress;
mod secrets;
mod state;
pub mod topology;
pub mod vm;

pub use command::{CommandError, Place};
pub use daemons::{Daemon, detach};
pub use forward::forward;
pub use guest::{Guest, GuestWish};
pub use lab::{Error, Lab, Options};
pub use machine::Machine;
pub use patience::{patience, wait_for};
pub use progress::Progress;
pub use topology::Topology;
