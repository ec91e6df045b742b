//! What a decision depends on besides the state and the command, handed in.

use std::collections::BTreeMap;

use intent::{Agent, AgentId, Mac, Timestamp};
use uuid::Uuid;

use crate::Config;

#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub now: Timestamp,
    /// Fresh random bits for this one decision: its ids, MACs and free choices follow from them.
    pub seed: u128,
    pub config: &'a Config,
    pub liveness: &'a Liveness,
}

impl Context<'_> {
    /// Heard of lately. `admin_state_up` is another question.
    pub fn is_alive(&self, agent: &Agent) -> bool {
        self.liveness
            .is_alive(agent.id, self.now, self.config.agent_down_time)
    }
}

/// When each agent was last heard of, and what it said that it has done: soft state, kept by the
/// server and never in the log.
#[derive(Debug, Clone, Default)]
pub struct Liveness {
    pub heard: BTreeMap<AgentId, Timestamp>,
    /// The position in the log at which an agent's host is as it should be.
    pub brought_to: BTreeMap<AgentId, u64>,
    /// Until then nobody is declared dead: a writer that took over has heard nobody yet.
    pub grace_until: Timestamp,
}

impl Liveness {
    pub fn is_alive(&self, agent: AgentId, now: Timestamp, down_time: u32) -> bool {
        let heard = self.heard.get(&agent);
        now < self.grace_until || heard.is_some_and(|at| now.0 - at.0 <= i64::from(down_time))
    }

    /// Whether what was asked at a position in the log is done on an agent's host.
    pub fn has_done(&self, agent: AgentId, revision: u64) -> bool {
        let brought_to = self.brought_to.get(&agent);
        brought_to.is_some_and(|brought_to| *brought_to >= revision)
    }
}

/// The random bits of one decision (xoroshiro128++ over the context's seed): quick, and the same
/// bits for the same seed, so a history can be played again.
#[derive(Debug, Clone)]
pub struct Random(u64, u64);

impl Random {
    pub fn new(seed: u128) -> Self {
        let [high, low] = [(seed >> 64) as u64, seed as u64];
        // All bits zero is the one state that the generator never leaves.
        Self(high, if seed == 0 { 1 } else { low })
    }

    pub fn bits(&mut self) -> u64 {
        let Self(a, mut b) = *self;
        let result = a.wrapping_add(b).rotate_left(17).wrapping_add(a);
        b ^= a;
        *self = Self(a.rotate_left(49) ^ b ^ (b << 21), b.rotate_left(28));
        result
    }

    /// Below `bound`, which is not zero.
    pub fn below(&mut self, bound: u128) -> u128 {
        let wide = (u128::from(self.bits()) << 64) | u128::from(self.bits());
        wide % bound.max(1)
    }

    pub fn uuid(&mut self) -> Uuid {
        let wide = (u128::from(self.bits()) << 64) | u128::from(self.bits());
        uuid::Builder::from_random_bytes(wide.to_be_bytes()).into_uuid()
    }

    /// The base's first three bytes (four, when its fourth is not zero), the rest random.
    pub fn mac(&mut self, base: Mac) -> Mac {
        let mut mac = self.bits().to_be_bytes();
        let kept = if base.0[3] == 0 { 3 } else { 4 };
        mac[..kept].copy_from_slice(&base.0[..kept]);
        Mac([mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_ids_and_another_gives_others() {
        let ids = |seed| {
            let mut random = Random::new(seed);
            [random.uuid(), random.uuid(), random.uuid()]
        };
        assert_eq!(ids(7), ids(7));
        assert_ne!(ids(7), ids(8));
        let [a, b, c] = ids(0);
        assert!(a != b && b != c, "a zero seed is as good as any");
        assert_eq!(a.get_version_num(), 4);
    }

    #[test]
    fn a_mac_keeps_its_base() {
        let mut random = Random::new(1);
        let base: Mac = "fa:16:3e:00:00:00".parse().expect("valid");
        assert_eq!(random.mac(base).0[..3], [0xfa, 0x16, 0x3e]);
        let base: Mac = "fa:16:3e:4f:00:00".parse().expect("valid");
        assert_eq!(random.mac(base).0[..4], [0xfa, 0x16, 0x3e, 0x4f]);
    }

    #[test]
    fn an_agent_is_dead_when_silent_but_not_before_the_grace_ends() {
        let agent = AgentId::new(Uuid::from_u128(1));
        let mut liveness = Liveness::default();
        assert!(!liveness.is_alive(agent, Timestamp(100), 75));
        liveness.grace_until = Timestamp(101);
        assert!(liveness.is_alive(agent, Timestamp(100), 75));
        liveness.heard.insert(agent, Timestamp(100));
        assert!(liveness.is_alive(agent, Timestamp(175), 75));
        assert!(!liveness.is_alive(agent, Timestamp(176), 75));
    }
}
