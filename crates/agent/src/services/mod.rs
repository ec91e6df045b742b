//! What DHCP servers and routers need: namespaces, their devices and routes, their filters, files,
//! processes that outlive the agent, listeners for metadata.
mod connections;
mod ears;
mod ends;
mod files;
mod inside;
mod leases;
mod process;
mod read;
mod release;
mod turns;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use host::netns::{Link, Listener, Netns};
use host::{HostState, NsName, Shared, Why};
use intent::view::View;

use crate::config::{Config, Role};
use crate::machine::Problem;
use crate::metadata::{self, Metadata};
use crate::netns;
use crate::ours_netns::own_settings;

pub use ends::Wake;

use ends::Ends;
use inside::{Inside, part};
use turns::Turns;

/// So many namespaces are read or changed at the same time: each has programs running for it.
const AT_ONCE: usize = 4;

/// A service's part of the host.
pub struct Services {
    active: bool,
    /// What starts the names of namespaces that are made and removed here.
    prefixes: Vec<&'static str>,
    state: PathBuf,
    known: BTreeMap<NsName, Inside>,
    /// Made here, and not filled yet: what is in them need not be read.
    made: BTreeMap<NsName, Shared<Netns>>,
    ends: Ends,
    metadata: Option<Metadata>,
    view: tokio::sync::watch::Sender<Shared<View>>,
}

impl Services {
    /// `wake` is called when a process that was found has ended.
    pub fn new(config: &Config, wake: Wake) -> Services {
        let (view, views) = tokio::sync::watch::channel(Shared::<View>::default());
        Services {
            active: config.has(Role::Dhcp) || config.has(Role::L3),
            prefixes: prefixes(config),
            state: config.state_dir.clone(),
            known: BTreeMap::new(),
            made: BTreeMap::new(),
            ends: Ends::new(wake),
            metadata: config
                .has(Role::Metadata)
                .then(|| Metadata::new(metadata_settings(config), views)),
            view,
        }
    }

    /// What was read is in doubt.
    pub fn doubt(&mut self) {
        self.known.values_mut().for_each(Inside::doubt);
        self.made.clear();
    }

    pub fn forget_all(&mut self) {
        self.known.clear();
        self.made.clear();
    }

    /// Metadata is answered by what is known of ports.
    pub fn show(&mut self, view: &Shared<View>) {
        if self.metadata.is_some() {
            self.view.send_replace(view.clone());
        }
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
        self.known.retain(|_, inside| inside.is_there());
        // A switch that was restarted made its devices anew, outside.
        for (name, inside) in &mut self.known {
            if moved_out(name) {
                inside.forget();
            }
        }
        seen.netns_mut(NsName::root()).links.extend(outside);
        self.made.retain(|name, _| there.contains(name));
        for name in there {
            let is_ours = |prefix: &&str| name.as_str().starts_with(prefix);
            if let Some(made) = self.made.get(&name) {
                seen.netns.insert(name, made.clone());
            } else if let Some(wanted) = want.netns.get(&name) {
                let known = self.known.entry(name.clone());
                known.or_insert_with(|| Inside::of(&name, wanted));
            } else if self.prefixes.iter().any(is_ours) {
                seen.netns.insert(name, Shared::default());
            }
        }
        self.read(want, seen, problems).await;
        files::observe(&self.state, want, seen);
        process::observe(&self.state, want, seen);
        self.ends.wait_for(seen.processes.values());
    }

    async fn read(&mut self, want: &HostState, seen: &mut HostState, problems: &mut Vec<Problem>) {
        let wanted = self
            .known
            .iter_mut()
            .filter_map(|(name, inside)| Some((name, want.netns.get(name)?, inside)));
        let reading = wanted
            .map(|(name, wanted, inside)| async move { (name, wanted, inside.read(wanted).await) });
        let mut read = futures::stream::iter(reading).buffer_unordered(AT_ONCE);
        while let Some((name, wanted, result)) = read.next().await {
            match result {
                Ok(netns) => drop(seen.netns.insert(name.clone(), netns)),
                Err(error) => problems.push(Problem {
                    text: crate::chain(&error),
                    why: wanted.why.clone(),
                }),
            }
        }
    }

    /// The namespaces that devices of the switch will move to, while the switch makes them; how many.
    pub async fn prepare(
        &mut self,
        have: &HostState,
        want: &HostState,
        problems: &mut Vec<Problem>,
    ) -> usize {
        if !self.active {
            return 0;
        }
        let wanted = want.netns.iter().filter(|(name, _)| !name.is_root());
        let missing: Vec<_> = wanted
            .filter(|(name, _)| !have.netns.contains_key(name))
            .collect();
        for (name, _) in &missing {
            self.forget(name);
        }
        let names: Vec<NsName> = missing.iter().map(|(name, _)| (*name).clone()).collect();
        let settings = missing.iter().map(|(name, wanted)| {
            let settings = Netns {
                sysctls: own_settings(wanted),
                ..Netns::default()
            };
            ((*name).clone(), settings)
        });
        let settings: BTreeMap<NsName, Netns> = settings.collect();
        // Written before devices come: each device would be set again, and some settings can't be
        // written while the kernel moves one.
        let set = move |name: &NsName| {
            let (want, mut seen) = (&settings[name], Netns::default());
            crate::sysctl::apply(name, None, want, &mut Vec::new());
            crate::sysctl::observe(Some(want), &mut seen);
            seen
        };
        let making = tokio::task::spawn_blocking(move || netns::add_all(&names, AT_ONCE, set));
        // Those that are lost are found missing by the next look.
        let made = making.await.unwrap_or_default();
        for (result, (name, wanted)) in made.into_iter().zip(&missing) {
            match result {
                Ok(Some(made)) => drop(self.made.insert((*name).clone(), made.into())),
                Ok(None) => {}
                Err(error) => problems.push(Problem {
                    text: crate::chain(&error),
                    why: wanted.why.clone(),
                }),
            }
        }
        missing.len()
    }

    fn forget(&mut self, name: &NsName) {
        self.known.remove(name);
        self.made.remove(name);
        if let Some(metadata) = &mut self.metadata {
            metadata.forget(name);
        }
    }

    /// Files, then everything inside namespaces, each with the processes that run there.
    pub async fn apply(
        &mut self,
        have: &HostState,
        want: &HostState,
        problems: &mut Vec<Problem>,
    ) -> usize {
        if !self.active {
            return 0;
        }
        let state = self.state.clone();
        leases::release_gone(&state, have, want);
        let mut changed = files::apply(&state, have, want, problems);
        let processes = process::Changes::of(&state, have, want);
        processes.end_unwanted().await;
        changed += self
            .apply_namespaces(have, want, &processes, problems)
            .await;
        processes.tell();
        changed += processes.len();
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

    async fn apply_namespaces(
        &mut self,
        have: &HostState,
        want: &HostState,
        processes: &process::Changes<'_>,
        problems: &mut Vec<Problem>,
    ) -> usize {
        let none = Netns::default();
        let made = std::mem::take(&mut self.made);
        let had = |name: &NsName| made.get(name).map_or(part(have, name, &none), |made| made);
        let wanted = want.netns.iter().filter(|(name, _)| !name.is_root());
        let differ: BTreeMap<&NsName, &Netns> = wanted
            .filter(|(name, wanted)| made.get(name).or(have.netns.get(name)) != Some(wanted))
            .map(|(name, wanted)| (name, &**wanted))
            .collect();
        for error in write::make_pairs(&write::pairs(have, want)) {
            problems.push(Problem::new(&error));
        }
        let there = netns::devices();
        let turns = Turns::new();
        let changing = differ.iter().map(|(name, new)| {
            let known = self.known.remove(*name);
            let outside = new.links.keys().filter(|dev| there.contains(*dev));
            let (old, outside) = (had(name), outside.cloned().collect());
            let turns = &turns;
            async move {
                let turn = turns.to_fill().await;
                let mut inside = known.unwrap_or_else(|| Inside::of(name, new));
                let mut failed = inside.apply(old, new, outside, turns, turn).await;
                let _turn = turns.to_fill().await;
                failed.extend(processes.start(|netns| netns == Some(*name)).await);
                // Read back while others are changed. What can't be read is asked for again, and
                // said, when all is looked at.
                let _ = inside.read(new).await;
                (*name, inside, failed)
            }
        });
        let mut changed: FuturesUnordered<_> = changing.collect();
        while let Some((name, inside, failed)) = changed.next().await {
            self.known.insert(name.clone(), inside);
            problems.extend(failed);
        }
        drop(changed);
        let elsewhere =
            |netns: Option<&NsName>| netns.is_none_or(|name| !differ.contains_key(name));
        problems.extend(processes.start(elsewhere).await);
        self.made = made;
        self.made.retain(|name, _| !differ.contains_key(name));
        differ.len()
    }

    /// What was found to be as wanted is held once.
    pub fn settle_on(&mut self, have: &HostState, want: &HostState) {
        for (name, inside) in &mut self.known {
            let wanted = want.netns.get(name);
            if let Some(wanted) = wanted.filter(|wanted| have.netns.get(name) == Some(wanted)) {
                inside.settle_on(wanted);
            }
        }
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
    let url = config.metadata.target.as_deref().unwrap_or_default();
    let place = metadata::Place {
        url,
        ca: config.metadata.target_ca.as_deref(),
        certificate: config.metadata.target_certificate.as_deref(),
        key: config.metadata.target_key.as_deref(),
    };
    let target = (!url.is_empty()).then(|| metadata::Target::new(place, secret.trim()));
    let target = target.and_then(|target| {
        let failed = |error: &metadata::TargetError| {
            let error: &dyn std::error::Error = error;
            tracing::error!(error, "guests' requests for metadata can't be passed on");
        };
        target.inspect_err(failed).ok()
    });
    metadata::Settings {
        target,
        rate: metadata::Rate::default(),
    }
}
