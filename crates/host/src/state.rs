//! All that one host holds.
use std::collections::BTreeMap;
use std::fmt;

use crate::Shared;
use crate::netns::Netns;
use crate::ovs::Bridge;
use crate::process::{File, Process};

/// The name of a network namespace. The host's own is [`NsName::root`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NsName(String);

impl NsName {
    /// The host's own namespace.
    pub fn root() -> NsName {
        NsName("root".to_owned())
    }

    pub fn new(name: impl Into<String>) -> NsName {
        NsName(name.into())
    }

    pub fn is_root(&self) -> bool {
        self.0 == "root"
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a machine holds of networking: what is wanted there, or what was observed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostState {
    pub name: String,
    pub bridges: BTreeMap<String, Bridge>,
    /// Most often many that are alike from one state to the next: those are held once.
    pub netns: BTreeMap<NsName, Shared<Netns>>,
    /// Files that processes read, by path below the state folder: `dhcp/<network>/host`.
    pub files: BTreeMap<String, File>,
    /// By what finds them again: `dnsmasq <network>`, `haproxy <router>`; others by number.
    pub processes: BTreeMap<String, Process>,
}

impl HostState {
    pub fn new(name: impl Into<String>) -> HostState {
        HostState {
            name: name.into(),
            ..HostState::default()
        }
    }

    /// The host's own namespace, if anything is known of it.
    pub fn root(&self) -> Option<&Netns> {
        self.netns.get(&NsName::root()).map(|root| &**root)
    }

    /// A namespace to write into, made empty when it is new.
    pub fn netns_mut(&mut self, name: NsName) -> &mut Netns {
        self.netns.entry(name).or_default()
    }

    /// A bridge to write into, made empty when it is new.
    pub fn bridge_mut(&mut self, name: &str) -> &mut Bridge {
        self.bridges.entry(name.to_owned()).or_default()
    }
}
