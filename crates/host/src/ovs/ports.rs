//! One name for each port: flows and MAC tables that were dumped with numbers get the names that
//! the database has for them, so that they compare equal with what is wanted.
use std::collections::BTreeMap;

use super::action::Action;
use super::bridge::Bridge;
use super::matches::PortRef;

impl PortRef {
    fn resolve(&mut self, names: &BTreeMap<u32, String>) {
        if let PortRef::Number(number) = self
            && let Some(name) = names.get(number)
        {
            *self = PortRef::Name(name.clone());
        }
    }
}

impl Action {
    fn resolve(&mut self, names: &BTreeMap<u32, String>) {
        match self {
            Action::Output(port)
            | Action::OutputTruncated { port, .. }
            | Action::Enqueue { port, .. }
            | Action::Resubmit {
                port: Some(port), ..
            } => port.resolve(names),
            Action::WriteActions(actions) | Action::Clone(actions) => {
                actions.iter_mut().for_each(|action| action.resolve(names));
            }
            Action::Ct(ct) => ct.exec.iter_mut().for_each(|action| action.resolve(names)),
            _ => {}
        }
    }
}

impl Bridge {
    /// Replace port numbers by names wherever the bridge knows them.
    pub fn resolve_ports(&mut self) {
        let names: BTreeMap<u32, String> = self
            .interfaces()
            .filter_map(|(name, interface)| Some((interface.ofport.0?, name.to_owned())))
            .collect();
        let flows = std::mem::take(&mut self.flows).take().into_iter();
        let flows = flows.map(|(mut key, mut flow)| {
            if let Some(port) = &mut key.matches.in_port {
                port.resolve(&names);
            }
            flow.actions.iter_mut().for_each(|a| a.resolve(&names));
            (key, flow)
        });
        self.flows = flows.collect();
        for group in self.groups.values_mut() {
            let actions = group.buckets.iter_mut().flat_map(|b| &mut b.actions);
            actions.for_each(|action| action.resolve(&names));
        }
        for entry in self.fdb.values_mut() {
            entry.port.resolve(&names);
        }
    }
}
