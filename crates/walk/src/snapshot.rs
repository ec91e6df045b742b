//! A snapshot: a folder with one folder a host and, beside them, `api` with what the API said.
//! The layout is `docs/walk.md`'s; reading it from a disk is the caller's.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cloud::Cloud;
use crate::world::World;

/// A world out of a folder's files, and what could not be read.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub world: World,
    pub problems: Vec<String>,
}

/// Read a snapshot from its files' contents, by path below its folder.
pub fn load(files: &BTreeMap<String, String>) -> Snapshot {
    let mut problems = Vec::new();
    let mut cloud = Cloud::default();
    let mut hosts = BTreeMap::new();
    let mut documents = BTreeMap::new();
    for (path, text) in files {
        let Some(name) = path.strip_prefix("api/") else {
            continue;
        };
        if let Err(error) = cloud.read(name, text) {
            problems.push(error.to_string());
        } else if let Ok(document) = serde_json::from_str(text) {
            documents.insert(name.to_owned(), document);
        }
    }
    for name in host_names(files) {
        let start = format!("{name}/");
        let own = files
            .range(start.clone()..)
            .take_while(|(path, _)| path.starts_with(&start))
            .map(|(path, text)| (path[start.len()..].to_owned(), text.clone()))
            .collect();
        let read = host::snapshot::load(&name, &own);
        problems.extend(read.problems.iter().map(|p| format!("{name}/{p}")));
        hosts.insert(name, read.state);
    }
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
