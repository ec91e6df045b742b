//! A recorded scenario of a real Neutron: its intent, what we plan for one host, what was there.
// Each test binary uses its own part of this.
#![allow(dead_code)]

pub(crate) mod compare;
pub(crate) mod services;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use host::{HostState, snapshot};
use intent::{
    DvrMac, HostName, Object, State, View,
    import::{Served, import},
    view,
};
use plan::{Numbers, Plan, Settings, compile};
use serde_json::Value;

pub(crate) struct Scenario {
    /// What was compiled, for which host, with which numbers.
    pub(crate) view: View,
    pub(crate) settings: Settings,
    pub(crate) numbers: Numbers,
    pub(crate) planned: Plan,
    pub(crate) seen: HostState,
}

fn folder(scenario: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference");
    tests.join("dataplane").join(scenario)
}

/// What was collected of a host.
pub(crate) fn recorded(scenario: &str, host: &str) -> snapshot::Files {
    let mut files = snapshot::Files::new();
    files_below(&folder(scenario).join(host), "", &mut files);
    files
}

fn files_below(dir: &Path, at: &str, found: &mut snapshot::Files) {
    for entry in fs::read_dir(dir).expect("a recorded folder") {
        let entry = entry.expect("an entry");
        let name = format!("{at}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            files_below(&entry.path(), &format!("{name}/"), found);
        } else {
            found.insert(
                name,
                fs::read_to_string(entry.path()).expect("a recorded text"),
            );
        }
    }
}

/// What a guest's DHCP client was told.
pub(crate) fn recorded_lease(scenario: &str, guest: &str) -> String {
    let path = folder(scenario).join(format!("udhcpc-{guest}.txt"));
    fs::read_to_string(path).expect("a recorded lease")
}

/// The intent that the scenario's API answers describe.
pub(crate) fn intent(scenario: &str) -> State {
    let mut files = snapshot::Files::new();
    files_below(&folder(scenario).join("api"), "", &mut files);
    let answers: Vec<(String, Value)> = files
        .into_iter()
        .map(|(name, text)| (name, serde_json::from_str(&text).expect("JSON")))
        .collect();
    let find = |collection: &str, name: &str| -> String {
        let all = answers
            .iter()
            .filter_map(|(_, answer)| answer.get(collection)?.as_array());
        let named = all
            .flatten()
            .find(|item| item["name"] == name)
            .expect("a named item");
        named["id"].as_str().expect("an id").to_owned()
    };
    let served = answers.iter().filter_map(|(file, answer)| {
        if let Some(name) = file
            .strip_prefix("network-")?
            .strip_suffix("-dhcp-agents.json")
        {
            let id = find("networks", name).parse().ok()?;
            return Some((Served::Network(id), answer));
        }
        None
    });
    let routers = answers.iter().filter_map(|(file, answer)| {
        let name = file
            .strip_prefix("router-")?
            .strip_suffix("-l3-agents.json")?;
        Some((Served::Router(find("routers", name).parse().ok()?), answer))
    });
    let served: Vec<_> = served.chain(routers).collect();
    let documents = answers
        .iter()
        .filter(|(file, _)| !file.contains("-agents.json"));
    let (mut state, notes) = import(documents.map(|(_, answer)| answer), served);
    assert!(notes.is_empty(), "{notes:?}");
    // The API does not show the MACs of distributed routers' hosts: these are the recorded ones.
    if scenario.contains("dvr") {
        for (host, mac) in [
            ("net", "fa:16:3f:46:25:6a"),
            ("c1", "fa:16:3f:8a:e9:59"),
            ("c2", "fa:16:3f:4b:1a:d0"),
        ] {
            let mac_address = mac.parse().expect("a MAC");
            state.put(Object::from(DvrMac {
                host: host.into(),
                mac_address,
            }));
        }
    }
    state
}

impl Scenario {
    pub(crate) fn load(scenario: &str, host: &str) -> Self {
        Self::load_with(scenario, host, |_, _| ())
    }

    /// The host compiled as it is configured, with the numbers that it holds; `set` has the last
    /// word on both.
    pub(crate) fn load_with(
        scenario: &str,
        host: &str,
        set: impl Fn(&mut Settings, &mut Numbers),
    ) -> Self {
        Self::load_changed(scenario, host, |_| (), set)
    }

    /// The same with intent that was changed since.
    pub(crate) fn load_changed(
        scenario: &str,
        host: &str,
        change: impl Fn(&mut State),
        set: impl Fn(&mut Settings, &mut Numbers),
    ) -> Self {
        let mut state = intent(scenario);
        change(&mut state);
        let loaded = snapshot::load(host, &recorded(scenario, host));
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        let host_name = HostName::from(host);
        let mut settings = Settings::new(host);
        settings
            .bridge_mappings
            .insert("external".to_owned(), "br-ex".to_owned());
        describe_tunnels(&loaded.state, &mut settings);
        let mut numbers = Numbers::held_by(&loaded.state, &settings.integration_bridge);
        set(&mut settings, &mut numbers);
        let view = view(&state, &host_name);
        let planned = compile(&view, &settings, &numbers);
        Self {
            view,
            settings,
            numbers,
            planned,
            seen: loaded.state,
        }
    }
}

/// The part of the host's configuration that can be seen on it.
fn describe_tunnels(seen: &HostState, settings: &mut Settings) {
    settings.datapath_type = "netdev".to_owned();
    let tunnels = seen.bridges["br-tun"].interfaces();
    for (_, interface) in tunnels.filter(|(_, i)| i.options.contains_key("local_ip")) {
        settings.local_ip = interface.options["local_ip"].parse().ok();
        settings.tunnel_types = vec![interface.kind.parse().expect("a tunnel's type")];
    }
    assert!(settings.local_ip.is_some(), "the host has tunnels");
}

/// Both sets are the same, or the test says what is only in one of them.
pub(crate) fn assert_same_lines(what: &str, planned: &BTreeSet<String>, seen: &BTreeSet<String>) {
    let only_planned: Vec<_> = planned.difference(seen).collect();
    let only_seen: Vec<_> = seen.difference(planned).collect();
    assert!(
        only_planned.is_empty() && only_seen.is_empty(),
        "{what}\nonly planned: {only_planned:#?}\nonly seen: {only_seen:#?}"
    );
}
