//! The dumps that the documents print, of releases from 2012 on, as they are printed there: each
//! is read without a complaint, and says what the documents explain with it.
use std::collections::BTreeMap;
use std::path::Path;

use host::netns::Family;
use host::ovs::Field;
use host::snapshot::{Files, load};
use host::{HostState, NsName};

fn files_below(folder: &Path, start: &str, files: &mut Files) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{start}{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() {
            files_below(&entry.path(), &format!("{name}/"), files);
        } else {
            files.insert(name, std::fs::read_to_string(entry.path()).unwrap());
        }
    }
}

fn document(name: &str) -> HostState {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/documents");
    let mut files = BTreeMap::new();
    files_below(&folder.join(name), "", &mut files);
    let snapshot = load(name, &files);
    assert_eq!(snapshot.problems, [], "{name}");
    assert_eq!(snapshot.unread, Vec::<String>::new(), "{name}");
    snapshot.state
}

/// The addresses of a device, as they were printed.
fn addresses(state: &HostState, ns: &str, dev: &str) -> Vec<String> {
    let netns = &state.netns[&NsName::new(ns)];
    let own = netns.addrs.keys().filter(|key| key.dev == dev);
    own.map(|key| key.net.to_string()).collect()
}

#[test]
fn the_first_document_s_host() {
    let state = document("1-devstack");
    let router = "qrouter-00b225a5-0c1f-4d67-818c-ef6a8fa6a188";
    let dhcp = "qdhcp-364f48c0-7755-4cd6-8cec-ed828e337453";
    assert!(state.netns.contains_key(&NsName::new(router)));
    assert!(addresses(&state, dhcp, "tap931c91d9-75").contains(&"10.0.0.2/24".to_owned()));
    let tables = &state.root().unwrap().iptables[&Family::V4];
    let filter = &tables["filter"].chains["nova-compute-inst-1"];
    assert_eq!(filter.rules.len(), 6, "{:?}", filter.rules);
    assert!(tables["nat"].chains.contains_key("PREROUTING"));
}

#[test]
fn the_second_document_s_host() {
    let state = document("2-devstack");
    let names: Vec<&str> = state.netns.keys().map(NsName::as_str).collect();
    assert_eq!(
        names,
        [
            "qdhcp-4b523b2a-5921-4e8b-9e64-7b668c4aab85",
            "qrouter-9e5f2802-2462-4f5c-a95b-c60b99744451",
        ]
    );
    assert!(!addresses(&state, names[1], "qr-0d5ea29d-36").is_empty());
    assert!(!addresses(&state, names[1], "qg-411a1cf8-f4").is_empty());
}

#[test]
fn the_third_document_s_compute_host() {
    let state = document("3-compute");
    assert_eq!(state.bridges["br-int"].ports["qvo7c7ae61e-05"].tag, Some(1));
    let tunnels = &state.bridges["br-tun"];
    assert_eq!(tunnels.flows.len(), 4);
    let multicast = tunnels.flows.keys().find(|key| {
        let bits = key.matches.fields.get(&Field::EthDst);
        bits.is_some() && key.matches.exact(Field::EthDst).is_none()
    });
    let multicast = multicast.expect("a flow matches multicast by its one bit");
    assert_eq!(multicast.matches.exact(Field::TunId), Some(2));
    assert_eq!(multicast.priority, 3);
}

#[test]
fn the_third_document_s_network_host() {
    let state = document("3-network");
    let router = "qrouter-2d214fde-293c-4d64-8062-797f80ae2d8f";
    assert_eq!(
        addresses(&state, router, "qg-d48b49e0-aa")[..2],
        ["172.24.4.227/28", "172.24.4.228/32"]
    );
    let netns = &state.netns[&NsName::new(router)];
    let default = netns.routes[&254].values().find_map(|route| route.via);
    assert_eq!(default, "172.24.4.225".parse().ok());
    let nat = &netns.iptables[&Family::V4]["nat"].chains;
    assert_eq!(nat["quantum-l3-agent-snat"].rules.len(), 2);
    assert_eq!(state.bridges["br-int"].ports["tapf14c598d-98"].tag, Some(1));
    assert_eq!(state.bridges["br-tun"].flows.len(), 5);
}
