//! A snapshot: a folder with one folder a host and, beside them, `api` with what the API said.
//! The layout is `docs/walk.md`'s; reading it from a disk is the caller's.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use host::HostState;
use serde_json::Value;

use crate::cloud::{self, Cloud};
use crate::world::World;

/// A world out of a folder's files, and what could not be read.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub world: World,
    pub problems: Vec<String>,
}

/// What a folder's files say, host by host, before it is put together.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    pub cloud: Cloud,
    /// The API's answers, by file.
    pub documents: BTreeMap<String, Value>,
    pub hosts: BTreeMap<String, HostState>,
    pub problems: Vec<String>,
}

/// Read a snapshot from its files' contents, by path below its folder.
pub fn load(files: &BTreeMap<String, String>) -> Snapshot {
    Parts::read(files).assemble()
}

impl Parts {
    pub fn read(files: &BTreeMap<String, String>) -> Parts {
        let mut parts = Parts::default();
        for (path, text) in files {
            let name = path.strip_prefix("api/");
            let Some(name) = name.filter(|name| name.ends_with(".json")) else {
                continue;
            };
            let read = parts.cloud.read(name, text);
            match read.and_then(|()| cloud::document(name, text)) {
                Ok(document) => {
                    parts.documents.insert(name.to_owned(), document);
                }
                Err(error) => parts.problems.push(error.to_string()),
            }
        }
        for name in host_names(files) {
            parts.read_host(&name, files);
        }
        parts
    }

    /// Read one host's folder, in the place of what was known of that host.
    pub fn read_host(&mut self, name: &str, files: &BTreeMap<String, String>) {
        let start = format!("{name}/");
        let own = files
            .range(start.clone()..)
            .take_while(|(path, _)| path.starts_with(&start))
            .map(|(path, text)| (path[start.len()..].to_owned(), text.clone()))
            .collect();
        let read = host::snapshot::load(name, &own);
        let problems = read.problems.iter().map(|p| format!("{name}/{p}"));
        self.problems.extend(problems);
        self.hosts.insert(name.to_owned(), read.state);
    }

    /// The world that the API asks for: every host that has an agent holds what is wanted of it,
    /// and what was collected of hosts is left aside.
    pub fn imagine(self) -> Snapshot {
        let wanted = crate::wanted::imagine(&self.documents, &self.cloud);
        let mut problems = self.problems;
        problems.extend(wanted.notes);
        Snapshot {
            world: World::imagined(wanted.hosts, self.cloud),
            problems,
        }
    }

    /// Hosts, the API's word and what is wanted of them, as one world.
    pub fn assemble(self) -> Snapshot {
        let Parts {
            mut cloud,
            documents,
            hosts,
            mut problems,
        } = self;
        let wanted = crate::wanted::compile_all(&documents, &cloud, &hosts);
        problems.extend(wanted.notes);
        if cloud.ports.is_empty() {
            crate::infer::ports(&hosts, &mut cloud);
        }
        let mut world = World::new(hosts, cloud);
        let shared = |(name, state)| (name, Arc::new(state));
        world.wanted = wanted.hosts.into_iter().map(shared).collect();
        Snapshot { world, problems }
    }
}

/// The folders that are hosts: they have something of Open vSwitch or of a namespace.
fn host_names(files: &BTreeMap<String, String>) -> BTreeSet<String> {
    let is_host = |rest: &str| {
        rest.starts_with("ns-root/") || rest.starts_with("flows-") || rest.starts_with("ovs")
    };
    files
        .keys()
        .filter_map(|path| path.split_once('/'))
        .filter(|(_, rest)| is_host(rest))
        .map(|(name, _)| name.to_owned())
        .collect()
}
