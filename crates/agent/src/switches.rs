//! The flows of all our bridges: what each is believed to hold, read when that is in doubt,
//! changed in one bundle a bridge, read back.
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use host::diff::{Diff, diff};
use host::ovs::bridge::Flows;
use host::ovs::{Field, Flow, FlowKey, Match};
use host::{Shared, Why};

use crate::openflow::{
    CodecError, Heard, Ports, Switch, SwitchError, matches, message, wire::Writer,
};

/// Up to so many changed flows are read back one by one; more, and all are read.
const FEW: usize = 32;

/// How long a bridge that is called for the first time is waited for, and between two looks.
const GREETING: Duration = Duration::from_millis(200);
const GLANCE: Duration = Duration::from_millis(2);

/// The flows of one bridge could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    #[error("flows of {bridge}")]
    Switch {
        bridge: String,
        #[source]
        source: SwitchError,
    },
    #[error("flows of {bridge}")]
    Codec {
        bridge: String,
        #[source]
        source: CodecError,
    },
}

/// A flow that the switch would not take.
#[derive(Clone, Debug)]
pub struct RefusedFlow {
    pub key: FlowKey,
    pub what: String,
    pub why: Why,
}

struct Bridge {
    switch: Switch,
    called: Instant,
    /// What the bridge holds, and the port numbers it was read with; none is not known.
    seen: Option<(Ports, Shared<Flows>)>,
}

type Tell = dyn Fn(&str, Heard) + Send + Sync;

/// The switches of this host.
pub struct Switches {
    dir: PathBuf,
    tell: Arc<Tell>,
    /// Cookies of flows that are not ours: learned, or put there by others.
    others: BTreeSet<u64>,
    bridges: BTreeMap<String, Bridge>,
}

impl Switches {
    /// Sockets are in `dir`; what bridges do unasked is told. Flows with these cookies are passed
    /// over: they are others'.
    pub fn new(
        dir: PathBuf,
        others: BTreeSet<u64>,
        tell: impl Fn(&str, Heard) + Send + Sync + 'static,
    ) -> Switches {
        Switches {
            dir,
            tell: Arc::new(tell),
            others,
            bridges: BTreeMap::new(),
        }
    }

    /// Have a connection to each of these bridges and to no others.
    pub fn keep<'a>(&mut self, names: impl Iterator<Item = &'a String>) {
        let names: Vec<&String> = names.collect();
        self.bridges.retain(|name, _| names.contains(&name));
        for name in names {
            if !self.bridges.contains_key(name) {
                let (tell, told) = (self.tell.clone(), name.clone());
                let socket = self.dir.join(format!("{name}.mgmt"));
                let switch = Switch::start(socket, move |heard| tell(&told, heard));
                let bridge = Bridge {
                    switch,
                    called: Instant::now(),
                    seen: None,
                };
                self.bridges.insert(name.clone(), bridge);
            }
        }
    }

    /// Give those that were called a moment ago time to answer: a bridge that was just made does so
    /// when the switch has made its ports, and flows come before what else waits for those.
    pub async fn greet(&self) {
        let is_late =
            |bridge: &Bridge| !bridge.switch.is_up() && bridge.called.elapsed() < GREETING;
        while self.bridges.values().any(is_late) {
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// What is believed of a bridge's flows is in doubt.
    pub fn doubt(&mut self, name: &str) {
        if let Some(bridge) = self.bridges.get_mut(name) {
            bridge.seen = None;
        }
    }

    pub fn doubt_all(&mut self) {
        self.bridges
            .values_mut()
            .for_each(|bridge| bridge.seen = None);
    }

    pub fn is_up(&self, name: &str) -> bool {
        self.bridges
            .get(name)
            .is_some_and(|bridge| bridge.switch.is_up())
    }

    /// A bridge's flows: as believed, or read.
    pub async fn observe(&mut self, name: &str, ports: &Ports) -> Result<Shared<Flows>, FlowError> {
        let away = || FlowError::Switch {
            bridge: name.to_owned(),
            source: SwitchError::Away,
        };
        let bridge = self.bridges.get_mut(name).ok_or_else(away)?;
        if let Some((known, flows)) = &mut bridge.seen
            && ports.extends(known)
        {
            *known = ports.clone();
            return Ok(flows.clone());
        }
        let flows = read(name, &bridge.switch, None, ports).await?;
        let flows = Shared::new(ours(flows, &self.others));
        bridge.seen = Some((ports.clone(), flows.clone()));
        Ok(flows)
    }

    /// What was read and is equal to what is wanted is held once.
    pub fn settle_on(&mut self, name: &str, wanted: &Shared<Flows>) {
        let seen = self.bridges.get_mut(name).and_then(|it| it.seen.as_mut());
        if let Some((_, flows)) = seen
            && !flows.is(wanted)
            && flows == wanted
        {
            flows.clone_from(wanted);
        }
    }

    /// Forget what a bridge learned of local VLANs.
    pub async fn forget_learned(&mut self, name: &str, vlans: &[u16]) -> Result<(), FlowError> {
        let Some(bridge) = self.bridges.get_mut(name).filter(|_| !vlans.is_empty()) else {
            return Ok(());
        };
        let bodies: Result<Vec<_>, _> = vlans.iter().map(|vlan| learned(*vlan)).collect();
        let bodies = bodies.map_err(|source| FlowError::Codec {
            bridge: name.to_owned(),
            source,
        })?;
        bridge.seen = None;
        let done = bridge.switch.bundle(bodies).await;
        done.map(drop).map_err(|source| FlowError::Switch {
            bridge: name.to_owned(),
            source,
        })
    }

    /// Turn `have` into `want`, and read back what became of it.
    pub async fn apply(
        &mut self,
        name: &str,
        have: &Flows,
        want: &Flows,
        ports: &Ports,
    ) -> Result<Vec<RefusedFlow>, FlowError> {
        let difference = diff(have, want);
        if difference.is_empty() {
            return Ok(Vec::new());
        }
        let away = || FlowError::Switch {
            bridge: name.to_owned(),
            source: SwitchError::Away,
        };
        let bridge = self.bridges.get_mut(name).ok_or_else(away)?;
        let Changes {
            bodies,
            keys,
            mut refused,
        } = changes(&difference, ports);
        // Until it is read back nothing is believed; nor is what names a port that went since.
        let seen = bridge.seen.take();
        let seen = seen.filter(|(known, _)| ports.extends(known));
        // The switch does one after the other: what is asked behind the bundle is answered after it,
        // and a busy switch is waited for once.
        let reads = |keys: &[(&FlowKey, &Why)]| {
            let few = keys.iter().filter(|_| keys.len() <= FEW);
            let each: Vec<FlowKey> = few.map(|(key, _)| (*key).clone()).collect();
            let switch = bridge.switch.clone();
            each.into_iter().map(move |key| {
                let switch = switch.clone();
                async move { read(name, &switch, Some(&key), ports).await }
            })
        };
        let (refusals, found) = futures::join!(
            bridge.switch.bundle(bodies),
            futures::future::join_all(reads(&keys)),
        );
        let refusals = refusals.map_err(|source| FlowError::Switch {
            bridge: name.to_owned(),
            source,
        })?;
        for refusal in refusals {
            if let Some((key, why)) = keys.get(refusal.index) {
                refused.push(RefusedFlow {
                    key: (*key).clone(),
                    what: refusal.what,
                    why: (*why).clone(),
                });
            }
        }
        let flows = match seen {
            Some((_, mut flows)) if keys.len() <= FEW => {
                for ((key, _), found) in keys.iter().zip(found) {
                    match found?.get(*key) {
                        Some(flow) => drop(flows.insert((*key).clone(), flow.clone())),
                        None => drop(flows.remove(*key)),
                    }
                }
                flows
            }
            _ => {
                let flows = read(name, &bridge.switch, None, ports).await?;
                Shared::new(ours(flows, &self.others))
            }
        };
        bridge.seen = Some((ports.clone(), flows));
        Ok(refused)
    }
}

/// Without the flows of others.
fn ours(mut flows: Flows, others: &BTreeSet<u64>) -> Flows {
    flows.retain(|_, flow| !others.contains(&flow.cookie));
    flows
}

/// What a switch learned of a local VLAN, which is given back and may be another network's soon.
fn learned(vlan: u16) -> Result<Vec<u8>, CodecError> {
    let matches = Match::any().masked(Field::VlanTci, vlan.into(), 0xfff);
    message::remove_all(plan::l2::LEARNED_COOKIE, plan::l2::tun::UNICAST, &matches)
}

/// A difference as messages, each with what it is about.
struct Changes<'a> {
    bodies: Vec<Vec<u8>>,
    keys: Vec<(&'a FlowKey, &'a Why)>,
    refused: Vec<RefusedFlow>,
}

fn changes<'a>(difference: &Diff<'a, FlowKey, Flow>, ports: &Ports) -> Changes<'a> {
    let mut changes = Changes {
        bodies: Vec::new(),
        keys: Vec::new(),
        refused: Vec::new(),
    };
    // The new go in before the old go out.
    let put = difference
        .put
        .iter()
        .map(|put| (put.key, &put.new.why, message::put(put.key, put.new, ports)));
    let gone = difference
        .remove
        .iter()
        .map(|(key, flow)| (*key, &flow.why, message::remove(key, ports)));
    for (key, why, body) in put.chain(gone) {
        match body {
            Ok(body) => {
                changes.bodies.push(body);
                changes.keys.push((key, why));
            }
            Err(error) => changes.refused.push(RefusedFlow {
                key: key.clone(),
                what: error.to_string(),
                why: why.clone(),
            }),
        }
    }
    changes
}

async fn read(
    name: &str,
    switch: &Switch,
    key: Option<&FlowKey>,
    ports: &Ports,
) -> Result<Flows, FlowError> {
    let codec = |source| FlowError::Codec {
        bridge: name.to_owned(),
        source,
    };
    let some = match key {
        None => None,
        Some(key) => {
            let mut out = Writer::default();
            matches::write(&key.matches, ports, &mut out).map_err(codec)?;
            Some((key.table, out.0))
        }
    };
    let body = switch.flows(some).await;
    let body = body.map_err(|source| FlowError::Switch {
        bridge: name.to_owned(),
        source,
    })?;
    Ok(message::flows(&body, ports)
        .map_err(codec)?
        .into_iter()
        .collect())
}
