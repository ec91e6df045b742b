//! What DHCP servers and routers need: namespaces, their devices and routes, their filters, files,
//! processes that outlive the agent, listeners for metadata.
mod files;
mod process;
mod read;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use host::netns::{Link, Listener, Netns};
use host::{HostState, NsName, Why};
use intent::view::View;

use crate::config::{Config, Role};
use crate::filters::{self, Filters};
use crate::machine::Problem;
use crate::metadata::{self, Metadata};
use crate::netns;

/// A service's part of the host.
pub struct Services {
    active: bool,
    /// What starts the names of namespaces that are made and removed here.
    prefixes: Vec<&'static str>,
    state: PathBuf,
    /// Namespaces as they were last read; one that is not here is not known.
    seen: BTreeMap<NsName, Netns>,
    metadata: Option<Metadata>,
    view: tokio::sync::watch::Sender<Arc<View>>,
}

impl Services {
    pub fn new(config: &Config) -> Services {
        let (view, views) = tokio::sync::watch::channel(Arc::new(View::default()));
        Services {
            active: config.has(Role::Dhcp) || config.has(Role::L3),
            prefixes: prefixes(config),
            state: config.state_dir.clone(),
            seen: BTreeMap::new(),
            metadata: config
                .has(Role::Metadata)
                .then(|| Metadata::new(metadata_settings(config), views)),
            view,
        }
    }

    /// What was read is in doubt.
    pub fn doubt(&mut self) {
        self.seen.clear();
    }

    /// Metadata is answered by what is known of ports.
    pub fn show(&mut self, view: &View) {
        self.view.send_replace(Arc::new(view.clone()));
    }

    /// The namespaces, files and processes that are wanted, and those that once were.
    pub async fn observe(
        &mut self,
        want: &HostState,
        seen: &mut HostState,
        problems: &mut Vec<Problem>,
    ) {
        if !self.active {
            return;
        }
        let there = match netns::list() {
            Ok(there) => there,
            Err(error) => return problems.push(Problem::new(&error)),
        };
        let outside = devices_outside(want);
        let moved_out = |name: &NsName| {
            want.netns
                .get(name)
                .is_some_and(|netns| netns.links.keys().any(|dev| outside.contains_key(dev)))
        };
        // A switch that was restarted made its devices anew, outside.
        self.seen
            .retain(|name, _| there.contains(name) && !moved_out(name));
        seen.netns_mut(NsName::root()).links.extend(outside);
        for name in there {
            match want.netns.get(&name) {
                Some(wanted) => match self.read(&name, wanted).await {
                    Ok(netns) => drop(seen.netns.insert(name, netns)),
                    Err(error) => problems.push(Problem {
                        text: crate::chain(&error),
                        why: wanted.why.clone(),
                    }),
                },
                None if self
                    .prefixes
                    .iter()
                    .any(|prefix| name.as_str().starts_with(prefix)) =>
                {
                    seen.netns.insert(name, Netns::default());
                }
                None => {}
            }
        }
        files::observe(&self.state, want, seen);
        process::observe(&self.state, want, seen);
    }

    async fn read(&mut self, name: &NsName, want: &Netns) -> Result<Netns, read::ReadError> {
        if let Some(known) = self.seen.get(name) {
            return Ok(known.clone());
        }
        let netns = read::netns(name, want).await?;
        self.seen.insert(name.clone(), netns.clone());
        Ok(netns)
    }

    /// Before the switch makes devices: the namespaces that they will move to.
    pub fn prepare(
        &mut self,
        have: &HostState,
        want: &HostState,
        problems: &mut Vec<Problem>,
    ) -> usize {
        let mut made = 0;
        if !self.active {
            return made;
        }
        for (name, wanted) in want.netns.iter().filter(|(name, _)| !name.is_root()) {
            if !have.netns.contains_key(name) {
                made += 1;
                if let Err(error) = netns::add(name) {
                    problems.push(Problem {
                        text: crate::chain(&error),
                        why: wanted.why.clone(),
                    });
                }
                self.forget(name);
            }
        }
        made
    }

    fn forget(&mut self, name: &NsName) {
        self.seen.remove(name);
        if let Some(metadata) = &mut self.metadata {
            metadata.forget(name);
        }
    }

    /// Everything inside namespaces, then files, then the processes that read them.
    pub async fn apply(
        &mut self,
        have: &HostState,
        want: &HostState,
        problems: &mut Vec<Problem>,
    ) -> usize {
        if !self.active {
            return 0;
        }
        let mut changed = 0;
        let none = Netns::default();
        for (name, wanted) in want.netns.iter().filter(|(name, _)| !name.is_root()) {
            let before = have.netns.get(name).unwrap_or(&none);
            if before != wanted {
                changed += 1;
                self.seen.remove(name);
                self.apply_netns(name, before, wanted, want, problems).await;
            }
        }
        changed += files::apply(&self.state, have, want, problems);
        changed += process::apply(&self.state, have, want, problems).await;
        for name in have
            .netns
            .keys()
            .filter(|name| !name.is_root() && !want.netns.contains_key(*name))
        {
            changed += 1;
            self.forget(name);
            if let Err(error) = netns::remove(name) {
                problems.push(Problem::new(&error));
            }
        }
        changed + self.listen(want, problems)
    }

    async fn apply_netns(
        &mut self,
        name: &NsName,
        have: &Netns,
        want: &Netns,
        all: &HostState,
        problems: &mut Vec<Problem>,
    ) {
        let mut fail = |text: String| {
            problems.push(Problem {
                text,
                why: want.why.clone(),
            })
        };
        let sysctls = (name.clone(), have.clone(), want.clone());
        let written = netns::within(name, move || {
            let (name, have, want) = sysctls;
            let mut problems = Vec::new();
            crate::sysctl::apply(&name, Some(&have), &want, &mut problems);
            Ok(problems)
        });
        // Settings of devices that are not there yet are written when they are.
        if let Err(error) = written {
            fail(crate::chain(&error));
        }
        if let Err(error) = write::netns(name, have, want, all).await {
            fail(crate::chain(&error));
        }
        let filters = |netns: &Netns| Filters {
            iptables: netns.iptables.clone(),
            ipsets: netns.ipsets.clone(),
        };
        for error in filters::apply(name, &filters(have), &filters(want)).await {
            fail(crate::chain(&error));
        }
        write::announce(name, have, want);
    }

    /// Listen for metadata where it is wanted.
    fn listen(&mut self, want: &HostState, problems: &mut Vec<Problem>) -> usize {
        let Some(metadata) = &mut self.metadata else {
            return 0;
        };
        let listeners = want.netns.iter().flat_map(|(name, netns)| {
            netns
                .listeners
                .iter()
                .map(move |listener| (name.clone(), listener.clone()))
        });
        let wanted: BTreeSet<(NsName, Listener)> = listeners.collect();
        let before = metadata.listening();
        for error in metadata.listen(&wanted) {
            problems.push(Problem {
                text: crate::chain(&error),
                why: Why::none(),
            });
        }
        wanted.symmetric_difference(&before).count()
    }
}

/// What starts the names of the namespaces of the services here.
pub fn prefixes(config: &Config) -> Vec<&'static str> {
    let mut prefixes = Vec::new();
    if config.has(Role::Dhcp) {
        prefixes.push("qdhcp-");
    }
    if config.has(Role::L3) {
        prefixes.extend(["qrouter-", "snat-", "fip-"]);
    }
    prefixes
}

/// The devices that are wanted in a namespace and still stand in the host's own.
fn devices_outside(want: &HostState) -> BTreeMap<String, Link> {
    let inside = want.netns.iter().filter(|(name, _)| !name.is_root());
    let devices = inside.flat_map(|(_, netns)| netns.links.keys());
    let there = netns::devices();
    let outside = devices.filter(|dev| there.contains(*dev));
    outside.map(|dev| (dev.clone(), Link::default())).collect()
}

fn metadata_settings(config: &Config) -> metadata::Settings {
    let secret = config
        .metadata
        .shared_secret_file
        .as_ref()
        .filter(|path| !path.as_os_str().is_empty());
    let secret = secret
        .and_then(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_default();
    let target = config
        .metadata
        .target
        .as_ref()
        .filter(|url| !url.is_empty());
    let target = target.and_then(|url| match metadata::Target::new(url, secret.trim()) {
        Ok(target) => Some(target),
        Err(error) => {
            tracing::error!(%error, "guests' requests for metadata can't be passed on");
            None
        }
    });
    metadata::Settings {
        target,
        rate: metadata::Rate::default(),
    }
}
