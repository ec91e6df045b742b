//! What this host says: to the server, how it is; to those who send to it, where it is.
use std::time::{Duration, Instant};

use plan::Plan;

use super::Agent;
use crate::announce;
use crate::ports::Changes;
use crate::server::HoldReason;

impl Agent {
    pub(super) fn report_is_due(&self) -> bool {
        let interval = self.report_interval();
        self.reported_at.is_none_or(|at| at.elapsed() >= interval)
    }

    fn report_interval(&self) -> Duration {
        Duration::from_secs(self.config.report_interval)
    }

    pub(super) async fn report(&mut self, changes: Changes) {
        let Some(server) = self.server.as_ref().filter(|_| self.reports) else {
            return;
        };
        let report = crate::server::Report {
            agents: crate::report::agents(&self.config, &self.settings),
            ports_up: changes.up.clone(),
            ports_down: changes.down.clone(),
            dhcp_ready: changes.dhcp_ready.clone(),
            routers_up: changes.routers_up.clone(),
            routers_down: changes.routers_down.clone(),
            routers_failed: changes.routers_failed.clone(),
            notes: Vec::new(),
            hold: self.intake.hold_reason().map(HoldReason::to_string),
            revision: self.brought_to,
            started: self.passes == 0,
        };
        match server.report(&report).await {
            Ok(()) => {
                self.reported_at = Some(Instant::now());
                self.ports.told(&changes);
            }
            Err(error) => tracing::warn!(error = crate::chain(&*error), "a report did not arrive"),
        }
    }

    /// What another host may still have is announced.
    pub(super) fn speak_for(&mut self, plan: &Plan) {
        let lately = self.report_interval() * 2;
        let is_heard = self.reported_at.is_some_and(|at| at.elapsed() <= lately);
        let spaces = plan.contested.iter().filter_map(|name| {
            let netns = plan.want.netns.get(name)?;
            Some((name.clone(), announce::one_of_each(netns)))
        });
        let spaces = spaces.collect();
        let said = self.contested.go_on(Instant::now(), is_heard, spaces);
        announce::announce_again(said);
    }
}
