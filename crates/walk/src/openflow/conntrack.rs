//! `ct`: the switch's connection tracking. A frame is looked up in a zone and comes back with its
//! state; committing keeps the connection for the frames that follow.
use host::ovs::{Action, Ct, Field, Nat, Zone};

use super::{Pipe, actions};
use crate::memory::{Conn, Dir, Tracker, Tuple, opens};
use crate::sim::Sim;

const NEW: u32 = 0x01;
const EST: u32 = 0x02;
const RPL: u32 = 0x08;
const INV: u32 = 0x10;
const TRK: u32 = 0x20;

pub(super) fn track<'w>(pipe: &mut Pipe<'w>, sim: &mut Sim<'w>, ct: &Ct) {
    let unknown = ct.unknown.first().cloned();
    let translates = ct.nat.as_ref().is_some_and(|nat: &Nat| nat.side.is_some());
    if let Some(part) = unknown.or(translates.then(|| "nat".to_owned())) {
        pipe.cannot_tell(sim, format!("unknown {part} in ct: cannot tell"));
        return;
    }
    let zone = match &ct.zone {
        None => 0,
        Some(Zone::Number(number)) => *number,
        Some(Zone::Field(field)) => actions::read(pipe, *field).unwrap_or(0) as u16,
    };
    let tracker = Tracker::Switch {
        host: pipe.host.to_owned(),
    };
    let state = look_up(pipe, sim, &tracker, zone);
    if let Some(ip) = pipe.packet.ip()
        && let Some((n, _)) = sim.mem.find(&tracker, zone, Tuple::of(ip))
    {
        let spot = pipe.spot(&pipe.in_port);
        pipe.last = sim.of_before(pipe.last, spot, &pipe.packet, (&tracker, n));
    }
    if ct.commit {
        commit(pipe, sim, &tracker, zone, &ct.exec);
    }
    let Some(table) = ct.table else {
        return;
    };
    // The frame goes on in another table as tracked; what follows here is without its state.
    let mut tracked = pipe.clone();
    tracked.meta.clear_ct();
    tracked.meta.ct_state = state;
    tracked.meta.ct_zone = zone;
    if let Some(conn) = conn(pipe, sim, &tracker, zone) {
        (tracked.meta.ct_mark, tracked.meta.ct_label) = (conn.mark, conn.label);
    }
    let word = crate::text::ct_state(state);
    sim.change(
        pipe.last,
        "ct_state".to_owned(),
        "untracked".to_owned(),
        format!("{word} in zone {zone}"),
    );
    tracked.table(sim, table);
    pipe.outputs = tracked.outputs;
    pipe.dropped = tracked.dropped.or(pipe.dropped);
    pipe.last = tracked.last;
    pipe.unknown |= tracked.unknown;
}

fn conn<'a>(pipe: &Pipe<'_>, sim: &'a Sim<'_>, tracker: &Tracker, zone: u16) -> Option<&'a Conn> {
    let tuple = Tuple::of(pipe.packet.ip()?);
    let (n, _) = sim.mem.find(tracker, zone, tuple)?;
    sim.mem.conn(tracker, n)
}

/// The state bits of the frame in a zone.
fn look_up(pipe: &Pipe<'_>, sim: &mut Sim<'_>, tracker: &Tracker, zone: u16) -> u32 {
    let Some(ip) = pipe.packet.ip() else {
        return TRK | INV;
    };
    match sim.connection(tracker, zone, Tuple::of(ip)) {
        Some((n, Dir::Reply)) => {
            if let Some(conn) = sim.mem.conn_mut(tracker, n) {
                conn.replied = true;
            }
            TRK | EST | RPL
        }
        Some((n, Dir::Original)) => {
            let replied = sim.mem.conn(tracker, n).is_some_and(|c| c.replied);
            TRK | if replied { EST } else { NEW }
        }
        None if opens(&ip.load) => TRK | NEW,
        None => TRK | INV,
    }
}

fn commit<'w>(
    pipe: &mut Pipe<'w>,
    sim: &mut Sim<'w>,
    tracker: &Tracker,
    zone: u16,
    exec: &[Action],
) {
    let Some(ip) = pipe.packet.ip() else {
        return;
    };
    let tuple = Tuple::of(ip);
    let at = match sim.mem.find(tracker, zone, tuple) {
        Some((n, _)) => n,
        None if opens(&ip.load) => {
            let conn = Conn {
                confirmed: true,
                ..Conn::new(zone, tuple)
            };
            sim.mem.track(tracker, conn)
        }
        None => return,
    };
    for action in exec {
        let Some(conn) = sim.mem.conn_mut(tracker, at) else {
            return;
        };
        if let Action::Set {
            field, value, mask, ..
        } = action
        {
            match field {
                Field::CtMark => {
                    conn.mark = (conn.mark & !(*mask as u32)) | *value as u32;
                }
                Field::CtLabel => conn.label = (conn.label & !mask) | value,
                _ => {}
            }
        }
    }
}
