//! iptables and connection tracking: which hooks a packet passes, in which order their tables
//! look at it, and what becomes of it.
mod condition;
mod nat;

use host::NsName;
use host::iptables::{Chain, ConnmarkAction, Rule, Table, Target};
use host::netns::{Family, Netns};

use crate::memory::{Conn, Dir, Tracker, Tuple, opens};
use crate::packet::{Load, Packet};
use crate::sim::{Fate, Sim, Spot, StepId};

/// A packet inside one namespace, with what the kernel keeps beside it.
#[derive(Clone, Debug)]
pub struct Skb {
    pub packet: Packet,
    pub mark: u32,
    zone: u16,
    notrack: bool,
    conn: Option<(usize, Dir)>,
    state: State,
}

/// What connection tracking says of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Unseen,
    New,
    Established,
    Invalid,
    Untracked,
}

/// Where a packet is, for rules to look at.
#[derive(Clone, Copy, Debug)]
pub struct Passage<'a> {
    pub host: &'a str,
    pub ns: &'a NsName,
    /// What to call the place in steps: the namespace, or the bridge in it.
    pub place: &'a str,
    pub in_dev: Option<&'a str>,
    pub out_dev: Option<&'a str>,
    /// The ports of a Linux bridge that a bridged frame came and leaves by.
    pub phys_in: Option<&'a str>,
    pub phys_out: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    Accept,
    /// It ended here; the end is noted.
    Ended,
}

/// What happens at a hook, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Table(&'static str),
    /// Look the packet's connection up.
    Track,
    /// The nat table, for connections that are new, and what it decided for all others.
    Nat {
        source: bool,
    },
    /// The packet passed: its connection is kept.
    Confirm,
}

impl Hook {
    fn chain(self) -> &'static str {
        match self {
            Hook::Prerouting => "PREROUTING",
            Hook::Input => "INPUT",
            Hook::Forward => "FORWARD",
            Hook::Output => "OUTPUT",
            Hook::Postrouting => "POSTROUTING",
        }
    }

    fn stages(self) -> &'static [Stage] {
        use Stage::{Confirm, Nat, Table, Track};
        match self {
            Hook::Prerouting => {
                const { &[Table("raw"), Track, Table("mangle"), Nat { source: false }] }
            }
            Hook::Input => {
                const {
                    &[
                        Table("mangle"),
                        Table("filter"),
                        Nat { source: true },
                        Confirm,
                    ]
                }
            }
            Hook::Forward => const { &[Table("mangle"), Table("filter")] },
            Hook::Output => {
                const {
                    &[
                        Table("raw"),
                        Track,
                        Table("mangle"),
                        Nat { source: false },
                        Table("filter"),
                    ]
                }
            }
            Hook::Postrouting => const { &[Table("mangle"), Nat { source: true }, Confirm] },
        }
    }
}

impl Skb {
    pub fn new(packet: Packet) -> Skb {
        Skb {
            packet,
            mark: 0,
            zone: 0,
            notrack: false,
            conn: None,
            state: State::Unseen,
        }
    }

    /// Is it the answer on a connection that something opened before?
    pub fn is_tracked(&self) -> bool {
        self.conn.is_some()
    }
}

/// Let a packet through one hook.
pub fn pass(
    sim: &mut Sim<'_>,
    skb: &mut Skb,
    at: &Passage<'_>,
    hook: Hook,
    last: &mut StepId,
) -> Ruling {
    let world = sim.world;
    let Some(netns) = world.netns(at.host, at.ns) else {
        return Ruling::Accept;
    };
    for stage in hook.stages() {
        let ruling = match stage {
            Stage::Track => {
                track(sim, skb, at, last);
                Ruling::Accept
            }
            Stage::Confirm => {
                confirm(sim, skb, at);
                Ruling::Accept
            }
            Stage::Nat { source } => nat::translate(sim, skb, netns, at, (hook, *source), last),
            Stage::Table(name) => table(sim, skb, netns, at, (name, hook), last).1,
        };
        if ruling == Ruling::Ended {
            return ruling;
        }
    }
    Ruling::Accept
}

fn tracker(at: &Passage<'_>) -> Tracker {
    Tracker::Kernel {
        host: at.host.to_owned(),
        ns: at.ns.clone(),
    }
}

fn track(sim: &mut Sim<'_>, skb: &mut Skb, at: &Passage<'_>, last: &mut StepId) {
    let Some(ip) = skb.packet.ip() else {
        return;
    };
    if skb.notrack || is_untracked(&ip.load) {
        skb.state = State::Untracked;
        return;
    }
    let (tracker, tuple) = (tracker(at), Tuple::of(ip));
    match sim.connection(&tracker, skb.zone, tuple) {
        Some((n, dir)) => {
            let conn = sim.mem.conn_mut(&tracker, n);
            let replied = conn.is_some_and(|c| {
                c.replied |= dir == Dir::Reply;
                c.replied
            });
            skb.conn = Some((n, dir));
            skb.state = if replied {
                State::Established
            } else {
                State::New
            };
            *last = sim.of_before(*last, spot(at), &skb.packet, (&tracker, n));
        }
        None if opens(&ip.load) => {
            let n = sim.mem.track(&tracker, Conn::new(skb.zone, tuple));
            skb.conn = Some((n, Dir::Original));
            skb.state = State::New;
        }
        None => skb.state = State::Invalid,
    }
}

/// Neighbour and router discovery, and who listens to groups, are no connections.
fn is_untracked(load: &Load) -> bool {
    matches!(
        load,
        Load::Icmp6 {
            kind: 130..=137 | 143,
            ..
        }
    )
}

fn confirm(sim: &mut Sim<'_>, skb: &Skb, at: &Passage<'_>) {
    if let Some((n, _)) = skb.conn
        && let Some(conn) = sim.mem.conn_mut(&tracker(at), n)
    {
        conn.confirmed = true;
    }
}

fn family(packet: &Packet) -> Family {
    match packet.ip() {
        Some(ip) => Family::of(ip.src),
        None => Family::V4,
    }
}

/// What a rule's target made of the packet.
enum Outcome {
    /// The next rule.
    Next,
    /// Back to the chain that jumped here.
    Return,
    Accept,
    Ended,
}

/// One table at one hook. The rule that accepted, when it was one that translates.
fn table<'w>(
    sim: &mut Sim<'w>,
    skb: &mut Skb,
    netns: &'w Netns,
    at: &Passage<'_>,
    (name, hook): (&str, Hook),
    last: &mut StepId,
) -> (Option<&'w Rule>, Ruling) {
    let tables = netns.iptables.get(&family(&skb.packet));
    let Some(table) = tables.and_then(|t| t.get(name)) else {
        return (None, Ruling::Accept);
    };
    let mut run = Run {
        table,
        name,
        netns,
        hook,
        chosen: None,
        depth: 0,
    };
    let outcome = run.chain(sim, skb, at, hook.chain(), last);
    match outcome {
        Outcome::Ended => (None, Ruling::Ended),
        Outcome::Accept => (run.chosen, Ruling::Accept),
        Outcome::Next | Outcome::Return => {
            let policy = table
                .chains
                .get(hook.chain())
                .and_then(|c| c.policy.as_deref());
            if policy == Some("DROP") {
                let rule = format!(":{} DROP", hook.chain());
                let what = format!("the policy of {} in {name} drops it", hook.chain());
                let end = sim.stop(*last, spot(at), &skb.packet, what, Fate::Dropped);
                sim.because(end, rule);
                return (None, Ruling::Ended);
            }
            (None, Ruling::Accept)
        }
    }
}

fn spot<'a>(at: &Passage<'a>) -> Spot<'a> {
    let device = at.phys_out.or(at.out_dev).or(at.phys_in).or(at.in_dev);
    Spot {
        host: at.host,
        place: at.place,
        device: device.unwrap_or(""),
    }
}

/// A packet in one table.
struct Run<'w, 'n> {
    table: &'w Table,
    name: &'n str,
    netns: &'w Netns,
    hook: Hook,
    /// The rule that chose a translation.
    chosen: Option<&'w Rule>,
    depth: u32,
}

impl<'w> Run<'w, '_> {
    fn chain(
        &mut self,
        sim: &mut Sim<'w>,
        skb: &mut Skb,
        at: &Passage<'_>,
        name: &str,
        last: &mut StepId,
    ) -> Outcome {
        let Some((name, chain)) = self.table.chains.get_key_value(name) else {
            let what = format!("the chain {name} is not in the state given: cannot tell");
            sim.stop(*last, spot(at), &skb.packet, what, Fate::Unknown);
            return Outcome::Ended;
        };
        self.depth += 1;
        let outcome = if self.depth > 32 {
            sim.note(format!(
                "iptables: chains call each other without end at {name}"
            ));
            sim.end(*last, &skb.packet, Fate::Unknown);
            Outcome::Ended
        } else {
            self.rules(sim, skb, at, (name, chain), last)
        };
        self.depth -= 1;
        outcome
    }

    fn rules(
        &mut self,
        sim: &mut Sim<'w>,
        skb: &mut Skb,
        at: &Passage<'_>,
        (name, chain): (&str, &'w Chain),
        last: &mut StepId,
    ) -> Outcome {
        let tracker = tracker(at);
        for rule in &chain.rules {
            let conn = skb.conn.and_then(|(n, _)| sim.mem.conn(&tracker, n));
            match condition::fits(rule, skb, conn, at, self.netns) {
                Ok(false) => {}
                Err(what) => {
                    let what = format!("unknown {what} in {name}: cannot tell");
                    let end = sim.stop(*last, spot(at), &skb.packet, what, Fate::Unknown);
                    sim.because(end, crate::text::rule(name, rule));
                    return Outcome::Ended;
                }
                Ok(true) => match self.target(sim, skb, at, (name, rule), last) {
                    Outcome::Next => {}
                    Outcome::Return => return Outcome::Return,
                    done => return done,
                },
            }
        }
        Outcome::Return
    }

    fn target(
        &mut self,
        sim: &mut Sim<'w>,
        skb: &mut Skb,
        at: &Passage<'_>,
        (name, rule): (&str, &'w Rule),
        last: &mut StepId,
    ) -> Outcome {
        match &rule.target {
            Target::Jump(chain) => match self.chain(sim, skb, at, chain, last) {
                Outcome::Return | Outcome::Next => return Outcome::Next,
                done => return done,
            },
            Target::Goto(chain) => return self.chain(sim, skb, at, chain, last),
            Target::None | Target::Log { .. } | Target::ChecksumFill => return Outcome::Next,
            _ => {}
        }
        let what = format!(
            "{} {}: {}",
            self.name,
            self.hook.chain(),
            word(&rule.target)
        );
        let step = sim.step(Some(*last), spot(at), &skb.packet, what);
        sim.because_of(step, || crate::text::rule(name, rule));
        sim.intent(step, &rule.why);
        *last = step;
        self.verdict(sim, skb, at, rule, step)
    }

    fn verdict(
        &mut self,
        sim: &mut Sim<'w>,
        skb: &mut Skb,
        at: &Passage<'_>,
        rule: &'w Rule,
        step: StepId,
    ) -> Outcome {
        match &rule.target {
            Target::Accept => Outcome::Accept,
            Target::Return => Outcome::Return,
            Target::Drop | Target::Reject(_) => {
                sim.end(step, &skb.packet, Fate::Dropped);
                Outcome::Ended
            }
            Target::Mark(mark) => {
                let before = skb.mark;
                skb.mark = (skb.mark & !mark.mask) ^ mark.value;
                let (old, new) = (format!("{before:#x}"), format!("{:#x}", skb.mark));
                sim.change(step, "mark".to_owned(), old, new);
                Outcome::Next
            }
            Target::Connmark(action) => {
                connmark(sim, skb, at, *action);
                Outcome::Next
            }
            Target::Ct { zone, notrack, .. } => {
                skb.zone = zone.unwrap_or(skb.zone);
                skb.notrack |= notrack;
                Outcome::Next
            }
            Target::Snat(_)
            | Target::Dnat(_)
            | Target::Redirect { .. }
            | Target::Masquerade { .. } => {
                self.chosen = Some(rule);
                Outcome::Accept
            }
            // It changes nothing that anything here looks at.
            Target::Unknown { name, .. }
                if matches!(name.as_str(), "TCPMSS" | "TRACE" | "DSCP") =>
            {
                Outcome::Next
            }
            other => {
                let what = format!("unknown target {other:?}: cannot tell");
                sim.stop(step, spot(at), &skb.packet, what, Fate::Unknown);
                Outcome::Ended
            }
        }
    }
}

fn connmark(sim: &mut Sim<'_>, skb: &mut Skb, at: &Passage<'_>, action: ConnmarkAction) {
    let Some(conn) = skb
        .conn
        .and_then(|(n, _)| sim.mem.conn_mut(&tracker(at), n))
    else {
        return;
    };
    match action {
        ConnmarkAction::Set(mark) => conn.mark = (conn.mark & !mark.mask) ^ mark.value,
        ConnmarkAction::Save { nfmask, ctmask } => {
            conn.mark = (conn.mark & !ctmask) ^ (skb.mark & nfmask);
        }
        ConnmarkAction::Restore { nfmask, ctmask } => {
            skb.mark = (skb.mark & !nfmask) ^ (conn.mark & ctmask);
        }
    }
}

fn word(target: &Target) -> &'static str {
    match target {
        Target::Accept => "accepted",
        Target::Drop => "dropped",
        Target::Return => "passed by this rule",
        Target::Reject(_) => "refused",
        Target::Snat(_) | Target::Masquerade { .. } => "a new source for this connection",
        Target::Dnat(_) => "a new destination for this connection",
        Target::Redirect { .. } => "to a program of this namespace",
        Target::Ct { .. } => "the zone of its connection",
        Target::Mark(_) => "marked",
        Target::Connmark(_) => "mark and connection's mark",
        _ => "this rule",
    }
}
