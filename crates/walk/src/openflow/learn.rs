//! `learn`: a flow made out of the frame at hand, for the frames that answer it.
use std::sync::Arc;

use host::Why;
use host::ovs::flow::{Flow, FlowKey};
use host::ovs::matches::{Match, PortRef};
use host::ovs::{Action, Field, Learn, LearnSource, LearnSpec, Spelling, Subfield};

use super::{Pipe, actions};
use crate::sim::Sim;

pub(super) fn learn<'w>(pipe: &mut Pipe<'w>, sim: &mut Sim<'w>, spec: &Learn) {
    if let Some(part) = spec.unknown.first() {
        let what = format!("unknown {part} in learn: cannot tell");
        pipe.cannot_tell(sim, what);
        return;
    }
    let (matches, learned) = build(pipe, spec);
    let key = FlowKey {
        table: spec.table,
        priority: spec.priority.unwrap_or(32768),
        matches,
    };
    let flow = Flow {
        cookie: spec.cookie,
        idle_timeout: spec.idle_timeout,
        hard_timeout: spec.hard_timeout,
        ..Flow::new(spec.cookie, learned, Why::none())
    };
    let bridge = (pipe.host.to_owned(), pipe.name.to_owned());
    let learned = sim.mem.learned.entry(bridge).or_default();
    Arc::make_mut(learned).insert(key, flow);
}

fn build(pipe: &Pipe<'_>, spec: &Learn) -> (Match, Vec<Action>) {
    let mut matches = Match::any();
    let mut learned = Vec::new();
    for part in &spec.specs {
        match part {
            LearnSpec::Match { dst, src } => {
                let value = actions::shifted(source(pipe, src), dst.start);
                let bits = actions::shifted(host::ovs::field::mask(dst.bits), dst.start);
                matches.require(dst.field, value, bits);
            }
            LearnSpec::Load { dst, src } => learned.push(load(*dst, source(pipe, src))),
            LearnSpec::Output(field) => {
                let port = match field.field {
                    Field::InPort | Field::InPortOxm => PortRef::Name(pipe.in_port.clone()),
                    _ => PortRef::Number(actions::read(pipe, *field).unwrap_or(0) as u32),
                };
                learned.push(Action::Output(port));
            }
        }
    }
    (matches, learned)
}

fn load(dst: Subfield, value: u128) -> Action {
    let mask = actions::shifted(host::ovs::field::mask(dst.bits), dst.start);
    Action::Set {
        field: dst.field,
        value: actions::shifted(value, dst.start) & mask,
        mask,
        spelling: host::Shown(Spelling::Load),
    }
}

fn source(pipe: &Pipe<'_>, source: &LearnSource) -> u128 {
    match source {
        LearnSource::Value(value) => *value,
        LearnSource::Field(part) => actions::read(pipe, *part).unwrap_or(0),
    }
}
