//! Open vSwitch as one host has it: bridges with ports, flows, groups and MAC tables.
pub mod action;
mod action_print;
mod action_read;
pub mod bridge;
mod db;
#[cfg(test)]
mod db_tests;
pub mod field;
pub mod flow;
mod flow_text;
mod listing;
mod match_text;
pub mod matches;
mod ports;
mod value;

pub use action::{
    Action, Ct, Learn, LearnSource, LearnSpec, Nat, NatSide, Spelling, Subfield, Zone,
};
pub use action_print::print_actions;
pub use action_read::read_actions;
pub use bridge::{Bridge, FdbEntry, FdbKey, Interface, Port, VlanMode};
pub use db::{
    Row, Tables, Value, print_atom, print_map, print_show, read_show, read_table_json,
    read_table_text,
};
pub use field::Field;
pub use flow::{Bucket, Flow, FlowKey, FlowStats, Group};
pub use flow_text::{FlowLine, print_flows, read_flow, read_flows};
pub use listing::{
    ShownPort, fill_ofports, print_fdb, print_group, read_fdb, read_groups, read_meters,
    read_ofctl_show,
};
pub use matches::{Masked, Match, PortRef};
