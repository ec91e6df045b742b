//! Follows a packet through host states: guest interface, Linux bridge with iptables, veth, Open
//! vSwitch's tables, tunnels, namespaces with policy routing and address translation, and the way
//! back. It runs over what is wanted, what was observed, or a snapshot of any Neutron host; it
//! says which rule acted and, where hosts differ from intent, what is at fault.
//!
//! Pure: states come in, a [`report::Walk`] goes out. What is met and not known makes the verdict
//! unknown, with the thing's name; it is never guessed.
pub mod autoconf;
pub mod blame;
pub mod bridge;
pub mod bytes;
pub mod changes;
pub mod cloud;
pub mod difference;
pub mod explain;
pub mod fix;
pub mod guest;
pub mod infer;
pub mod letters;
pub mod live;
pub mod memory;
pub mod netfilter;
pub mod openflow;
pub mod outside;
pub mod packet;
pub mod picture;
pub mod print;
pub mod question;
pub mod reach;
pub mod report;
pub mod routing;
pub mod run;
pub mod service;
pub mod sim;
pub mod snapshot;
pub mod stack;
pub mod text;
pub mod tunnel;
pub mod wanted;
pub mod world;

pub use explain::walk;
