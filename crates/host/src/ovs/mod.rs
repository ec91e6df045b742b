//! Open vSwitch as one host has it: bridges with ports, flows, groups and MAC tables.
pub mod action;
pub mod bridge;
pub mod field;
pub mod flow;
pub mod matches;

pub use action::{
    Action, Ct, Learn, LearnSource, LearnSpec, Nat, NatSide, Spelling, Subfield, Zone,
};
pub use bridge::{Bridge, FdbEntry, FdbKey, Interface, Port, VlanMode};
pub use field::Field;
pub use flow::{Bucket, Flow, FlowKey, FlowStats, Group};
pub use matches::{Masked, Match, PortRef};
