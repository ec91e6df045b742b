//! Open vSwitch as one host has it: bridges with ports, flows, groups and MAC tables.
pub mod action;
mod action_print;
mod action_read;
pub mod bridge;
pub mod field;
pub mod flow;
mod flow_text;
mod match_text;
pub mod matches;
mod value;

pub use action::{
    Action, Ct, Learn, LearnSource, LearnSpec, Nat, NatSide, Spelling, Subfield, Zone,
};
pub use action_print::print_actions;
pub use action_read::read_actions;
pub use bridge::{Bridge, FdbEntry, FdbKey, Interface, Port, VlanMode};
pub use field::Field;
pub use flow::{Bucket, Flow, FlowKey, FlowStats, Group};
pub use flow_text::{FlowLine, print_flows, read_flow, read_flows};
pub use matches::{Masked, Match, PortRef};
