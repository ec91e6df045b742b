//! The numbers that only this host knows, over the agent's restarts: local VLANs stand in the
//! database beside the ports that use them, as Neutron keeps them; conntrack zones in the rules
//! that set them; the others in a file.
use std::collections::BTreeMap;
use std::path::Path;

use host::HostState;
use plan::{Numbers, Pool};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct File {
    vlans: BTreeMap<String, u32>,
    zones: BTreeMap<String, u32>,
    floating_priorities: BTreeMap<String, u32>,
    link_local_pairs: BTreeMap<String, u32>,
}

/// What the machine itself says; the file for the rest.
pub fn recover(path: &Path, seen: &HostState, integration_bridge: &str) -> Numbers {
    let mut numbers = Numbers::held_by(seen, integration_bridge);
    let bytes = std::fs::read(path).ok();
    let kept: Option<File> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let kept = kept.unwrap_or_default();
    adopt(&mut numbers.vlans, kept.vlans);
    adopt(&mut numbers.zones, kept.zones);
    adopt(&mut numbers.floating_priorities, kept.floating_priorities);
    adopt(&mut numbers.link_local_pairs, kept.link_local_pairs);
    numbers
}

fn adopt(pool: &mut Pool, kept: BTreeMap<String, u32>) {
    for (holder, number) in kept {
        if pool.get(&holder).is_none() {
            pool.adopt(&holder, number);
        }
    }
}

pub fn save(path: &Path, numbers: &Numbers) -> std::io::Result<()> {
    let all = |pool: &Pool| {
        pool.held()
            .map(|(holder, number)| (holder.to_owned(), number))
            .collect()
    };
    let file = File {
        vlans: all(&numbers.vlans),
        zones: all(&numbers.zones),
        floating_priorities: all(&numbers.floating_priorities),
        link_local_pairs: all(&numbers.link_local_pairs),
    };
    crate::server::write_whole(path, &serde_json::to_vec(&file)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_counts_more_than_the_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("numbers.json");
        let mut numbers = Numbers::default();
        numbers.vlans.adopt("n1", 9);
        numbers.vlans.adopt("n2", 8);
        numbers.floating_priorities.adopt("f", 40_000);
        save(&path, &numbers).expect("saved");
        let mut seen = HostState::new("c1");
        let config = [("net_uuid", "n1"), ("tag", "3")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let port = host::ovs::Port {
            other_config: config.into(),
            ..host::ovs::Port::default()
        };
        seen.bridge_mut("br-int")
            .ports
            .insert("a".to_owned(), port.into());
        let found = recover(&path, &seen, "br-int");
        assert_eq!(
            (found.vlans.get("n1"), found.vlans.get("n2")),
            (Some(3), Some(8))
        );
        assert_eq!(found.floating_priorities.get("f"), Some(40_000));
    }
}
