//! Connections that hosts track from before: nobody asks for them, and one that policy would not
//! open again, or that was closed by policy and is still marked so, may decide over a packet.
use host::netns::print_connection;
use host::{HostState, NsName};

use super::{Difference, Kind};
use crate::memory::{Dir, Met, Tracker};

/// Each connection along which a packet went as whoever opened it does: that is as if it were
/// opened anew. An answer is let through by its connection in any case.
pub fn along(met: &[Met]) -> Vec<Difference> {
    let opened = met.iter().filter(|met| met.dir == Dir::Original);
    opened.map(stale).collect()
}

fn stale(met: &Met) -> Difference {
    let (host, ns) = match &met.tracker {
        Tracker::Kernel { host, ns } => (host, ns.clone()),
        Tracker::Switch { host } => (host, NsName::root()),
    };
    let (at, gone) = (ns.clone(), met.text.clone());
    let undo = move |state: &mut HostState| {
        let rows = &mut state.netns_mut(at.clone()).conntrack;
        rows.retain(|row| print_connection(row) != gone);
    };
    let spot = (host.as_str(), ns.as_str(), "");
    Difference::new(spot, Kind::Extra, met.text.clone(), undo).filtering()
}
