//! Every text of the recorded hosts is read, nothing in them is unknown, and what was read is
//! printed again as the tools print it.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use host::netns::{self, Family};
use host::snapshot::{self, Files};
use host::{HostState, iptables, ovs};

fn reference() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/dataplane")
}

fn read_folder(root: &Path, folder: &Path, files: &mut Files) {
    for entry in fs::read_dir(folder).expect("a folder of the reference") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read_folder(root, &path, files);
        } else {
            let name = path.strip_prefix(root).expect("below its root");
            let text = fs::read_to_string(&path).expect("a text");
            files.insert(name.display().to_string(), text);
        }
    }
}

/// Every recorded host: its name and its files.
fn hosts() -> Vec<(String, Files)> {
    let mut hosts = Vec::new();
    for scenario in fs::read_dir(reference()).expect("the reference") {
        let scenario = scenario.expect("an entry").path();
        for host in ["c1", "c2", "net"] {
            let folder = scenario.join(host);
            if folder.is_dir() {
                let mut files = Files::new();
                read_folder(&folder, &folder, &mut files);
                hosts.push((folder.display().to_string(), files));
            }
        }
    }
    assert!(hosts.len() >= 6, "recorded hosts are there");
    hosts
}

fn lines_of<'a>(files: &'a Files, ending: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let files = files.iter().filter(move |(name, _)| name.ends_with(ending));
    files.flat_map(|(name, text)| text.lines().map(|line| (name.as_str(), line.trim_end())))
}

fn unknown_parts(state: &HostState) -> usize {
    let text = format!("{state:?}");
    text.matches("Unknown(").count() + text.matches("Unknown {").count()
}

#[test]
fn every_file_is_read_and_nothing_is_unknown() {
    for (name, files) in hosts() {
        let snapshot = snapshot::load("c1", &files);
        assert_eq!(snapshot.problems, [], "{name}");
        assert_eq!(snapshot.unread, Vec::<String>::new(), "{name}");
        assert_eq!(unknown_parts(&snapshot.state), 0, "{name}");
        let mut flows = snapshot.state.bridges.values().flat_map(|b| b.flows.keys());
        assert!(flows.clone().count() > 20, "{name}");
        assert!(flows.all(|key| key.matches.unknown.is_empty()), "{name}");
        assert!(
            snapshot.state.root().is_some_and(|ns| ns.links.len() > 3),
            "{name}"
        );
    }
}

#[test]
fn flows_are_printed_as_the_switch_prints_them() {
    for (_, files) in hosts() {
        for (file, line) in lines_of(&files, ".names.txt") {
            let (key, flow) = ovs::read_flow(line).expect(line);
            assert_eq!(ovs::FlowLine(&key, &flow).to_string(), line, "{file}");
        }
    }
}

#[test]
fn rules_are_printed_as_iptables_prints_them() {
    for (_, files) in hosts() {
        for (file, line) in lines_of(&files, "tables-save.txt") {
            let Some(rule) = line.strip_prefix("-A ") else {
                continue;
            };
            let (chain, text) = rule.split_once(' ').unwrap_or((rule, ""));
            let rule = iptables::read_rule(text).expect(line);
            assert_eq!(iptables::print_rule(chain, &rule), line, "{file}");
        }
    }
}

#[test]
fn routes_rules_and_neighbours_are_printed_as_ip_prints_them() {
    for (_, files) in hosts() {
        for (family, ip) in [(Family::V4, "/ip"), (Family::V6, "/ip6")] {
            for (file, line) in lines_of(&files, &format!("{ip}-route-all.txt")) {
                let (table, key, route) = netns::read_route(line, family).expect(line);
                assert_eq!(netns::print_route(table, &key, &route), line, "{file}");
            }
            for (file, line) in lines_of(&files, &format!("{ip}-rule.txt")) {
                let rules = netns::read_rules(line, family).expect(line);
                let (key, action) = rules.iter().next().expect(line);
                assert_eq!(netns::print_ip_rule(key, action), line, "{file}");
            }
        }
        for (file, line) in lines_of(&files, "ip-neigh.txt") {
            let neighbours = netns::read_neighbours(line).expect(line);
            let (key, neighbour) = neighbours.iter().next().expect(line);
            assert_eq!(netns::print_neighbour(key, neighbour), line, "{file}");
        }
    }
}

#[test]
fn no_line_of_a_listing_is_lost() {
    for (name, files) in hosts() {
        for (file, text) in &files {
            let count = text.lines().count();
            let read = match file.rsplit('/').next() {
                Some("ip-route-all.txt") => {
                    let routes = netns::read_routes(text, Family::V4).expect(file);
                    routes.values().map(BTreeMap::len).sum()
                }
                Some("conntrack.txt") => netns::read_conntrack(text).expect(file).len(),
                Some(flows) if flows.starts_with("flows-") => {
                    ovs::read_flows(text).expect(file).len()
                }
                _ => continue,
            };
            assert_eq!(read, count, "{name} {file}");
        }
    }
}

#[test]
fn a_host_that_was_read_is_written_and_read_again() {
    for (name, files) in hosts() {
        let state = snapshot::load("c1", &files).state;
        let again = snapshot::load("c1", &snapshot::write(&state));
        assert_eq!(again.problems, [], "{name}");
        assert_eq!(again.unread, Vec::<String>::new(), "{name}");
        assert_eq!(again.state.bridges, state.bridges, "{name}");
        for (ns, netns) in &state.netns {
            assert_eq!(&again.state.netns[ns], netns, "{name} {ns}");
        }
        assert!(again.state == state, "{name}");
    }
}
