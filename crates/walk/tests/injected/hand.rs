//! What somebody's hands do to a host, and all that the kernel and the switch then show
//! differently: a device that goes down takes its routes with it, a port that is deleted leaves
//! its number in the flows that named it.
use std::collections::BTreeMap;

/// A snapshot's files, by path below its folder.
#[derive(Clone, Debug)]
pub(crate) struct Hand(pub(crate) BTreeMap<String, String>);

impl Hand {
    /// A file by its path, in which `*` stands for the rest of a namespace's name.
    fn path(&self, path: &str) -> String {
        let Some((start, end)) = path.split_once('*') else {
            return path.to_owned();
        };
        let mut found = self.0.keys();
        let fits = |p: &&String| p.starts_with(start) && p.ends_with(end);
        found.find(fits).expect(path).clone()
    }

    /// The only line of a file that has all these words.
    pub(crate) fn line(&self, path: &str, words: &[&str]) -> String {
        let text = &self.0[&self.path(path)];
        let fits = |l: &&str| words.iter().all(|word| l.contains(word));
        let lines: Vec<&str> = text.lines().filter(fits).collect();
        assert_eq!(lines.len(), 1, "{words:?} in {path}: {lines:#?}");
        lines[0].to_owned()
    }

    fn edit(&mut self, path: &str, change: impl FnOnce(&str) -> String) {
        let path = self.path(path);
        let text = self.0.get_mut(&path).expect("a file");
        let new = change(text);
        assert_ne!(new, *text, "{path} changes");
        *text = new;
    }

    pub(crate) fn replace(&mut self, path: &str, old: &str, new: &str) {
        self.edit(path, |text| text.replacen(old, new, 1));
    }

    pub(crate) fn replace_all(&mut self, path: &str, old: &str, new: &str) {
        self.edit(path, |text| text.replace(old, new));
    }

    /// Take out every line that has one of these words.
    pub(crate) fn without(&mut self, path: &str, words: &[&str]) {
        self.edit(path, |text| {
            keep(text, |l| !words.iter().any(|w| l.contains(w)))
        });
    }

    /// Put a line before the first that has this word.
    pub(crate) fn insert(&mut self, path: &str, before: &str, line: &str) {
        self.edit(path, |text| {
            let at = text.find(before).expect(before);
            let start = text[..at].rfind('\n').map_or(0, |n| n + 1);
            format!("{}{line}\n{}", &text[..start], &text[start..])
        });
    }

    pub(crate) fn empty(&mut self, path: &str) {
        self.edit(path, |_| String::new());
    }

    /// `ip link set DEV down`: its main routes go, and the far end of a veth has no carrier.
    pub(crate) fn link_down(&mut self, folder: &str, dev: &str) {
        let path = format!("{folder}/ip-a.txt");
        let head = self.line(&path, &[&format!(": {dev}"), "mtu"]);
        let down = head
            .replace(",UP,LOWER_UP", "")
            .replace("state UP", "state DOWN")
            .replace("state UNKNOWN", "state DOWN");
        self.replace(&path, &head, &down);
        self.forget_routes(folder, dev);
        if let Some(peer) = peer(&head) {
            self.no_carrier(&path, &peer);
        }
    }

    fn forget_routes(&mut self, folder: &str, dev: &str) {
        let path = self.path(&format!("{folder}/ip-route-all.txt"));
        let text = self.0.get_mut(&path).expect("routes");
        let by = format!(" dev {dev} ");
        *text = keep(text, |l| !l.contains(&by) || l.contains("table local"));
    }

    fn no_carrier(&mut self, path: &str, dev: &str) {
        let head = self.line(path, &[&format!(": {dev}@"), "mtu"]);
        let lost = head
            .replacen('<', "<NO-CARRIER,", 1)
            .replace(",UP,LOWER_UP", ",UP,M-DOWN")
            .replace("state UP", "state LOWERLAYERDOWN");
        self.replace(path, &head, &lost);
    }

    /// The other end of a pair between two namespaces is down or gone: routes by it are marked.
    pub(crate) fn loses_carrier(&mut self, folder: &str, dev: &str) {
        let path = format!("{folder}/ip-a.txt");
        self.no_carrier(&path, dev);
        let by = format!(" dev {dev} ");
        self.edit(&format!("{folder}/ip-route-all.txt"), |text| {
            let marked = text.lines().map(|l| match l.contains(&by) {
                true => format!("{l}linkdown \n"),
                false => format!("{l}\n"),
            });
            marked.collect()
        });
    }

    /// A device is gone, with its addresses, routes and neighbours.
    pub(crate) fn no_device(&mut self, folder: &str, dev: &str) {
        self.edit(&format!("{folder}/ip-a.txt"), |text| {
            let mut inside = false;
            keep(text, |l| {
                if !l.starts_with(' ') {
                    let name = l.split_once(": ").map_or("", |(_, rest)| rest);
                    inside = name.split([':', '@']).next() == Some(dev);
                }
                !inside
            })
        });
        for file in ["ip-route-all", "ip-neigh"] {
            let path = self.path(&format!("{folder}/{file}.txt"));
            let by = format!(" dev {dev} ");
            let text = self.0.get_mut(&path).expect("a file");
            *text = keep(text, |l| !l.contains(&by));
        }
    }

    /// `ip link del` of a pair of which Open vSwitch has one end: the port is without a device.
    pub(crate) fn pair_gone(&mut self, host: &str, ends: [&str; 2]) {
        for end in ends {
            self.no_device(&format!("{host}/ns-root"), end);
        }
        let path = format!("{host}/ovsdb-Interface.txt");
        let row = self.row(&path, ends[0]);
        let lost = row
            .lines()
            .map(|l| match l.split(' ').next().unwrap_or("") {
                "ofport" => "ofport              : -1".to_owned(),
                "error" => format!(
                    "error               : \"could not open network device {} (No such device)\"",
                    ends[0]
                ),
                "mtu" | "mac_in_use" | "link_state" | "admin_state" => {
                    format!(
                        "{} []",
                        l.split_once(':').expect("a row").0.to_owned() + ":"
                    )
                }
                _ => l.to_owned(),
            })
            .collect::<Vec<_>>()
            .join("\n");
        self.replace(&path, &row, &lost);
        self.unname(host, ends[0]);
    }

    fn row(&self, path: &str, name: &str) -> String {
        let own = |row: &&str| {
            let names = row.lines().filter_map(|l| l.strip_prefix("name "));
            let mut names = names.map(|l| l.trim_start_matches([' ', ':']).trim_matches('"'));
            names.any(|n| n == name)
        };
        let mut rows = self.0[path].split("\n\n");
        rows.find(own).expect(name).trim_end().to_owned()
    }

    /// Flows that name a port that the switch does not have say its number.
    fn unname(&mut self, host: &str, port: &str) {
        let shown = self
            .0
            .iter()
            .filter(|(path, _)| path.starts_with(&format!("{host}/ofctl-show-")));
        let mut lines = shown.flat_map(|(path, text)| text.lines().map(move |l| (path, l)));
        let (path, line) = lines
            .find(|(_, l)| l.contains(&format!("({port})")))
            .expect("the port has a number");
        let (path, number) = (
            path.clone(),
            line.trim().split('(').next().expect("it").to_owned(),
        );
        let bridge = path
            .split("ofctl-show-")
            .nth(1)
            .expect("a bridge")
            .to_owned();
        let line = line.to_owned();
        let flows = format!("{host}/flows-{}.names.txt", bridge.trim_end_matches(".txt"));
        let text = self.0.get_mut(&flows).expect("flows");
        *text = text
            .replace(&format!("output:\"{port}\""), &format!("output:{number}"))
            .replace(&format!("in_port=\"{port}\""), &format!("in_port={number}"));
        self.replace(&path, &format!("{line}\n"), "");
    }

    /// `ovs-vsctl del-port`: the rows go; a device of the switch's own goes from its namespace.
    pub(crate) fn del_port(&mut self, host: &str, port: &str) {
        self.unname(host, port);
        for table in ["Port", "Interface"] {
            let path = format!("{host}/ovsdb-{table}.txt");
            let row = self.row(&path, port);
            self.replace(&path, &row, "");
        }
        self.edit(&format!("{host}/ovs-vsctl-show.txt"), |text| {
            let (head, start) = (format!("Port {port}"), "        Port ");
            let mut inside = false;
            keep(text, |l| {
                if l.starts_with(start) || !l.starts_with(' ') || l.starts_with("    Bridge") {
                    inside = l.trim() == head;
                }
                !inside
            })
        });
        let folders: Vec<String> = self
            .0
            .iter()
            .filter(|(path, text)| {
                path.starts_with(&format!("{host}/ns-q"))
                    && path.ends_with("/ip-a.txt")
                    && text.contains(&format!(": {port}: "))
            })
            .map(|(path, _)| path.trim_end_matches("/ip-a.txt").to_owned())
            .collect();
        for folder in folders {
            self.no_device(&folder, port);
        }
    }

    /// `ovs-ofctl mod-port`: what is set of a port, as the switch shows it then.
    pub(crate) fn mod_port(
        &mut self,
        (host, bridge): (&str, &str),
        port: &str,
        set: &str,
    ) -> String {
        let path = format!("{host}/ofctl-show-{bridge}.txt");
        let head = self.line(&path, &[&format!("({port})")]);
        let whole = format!("{head}\n     config:     ");
        self.replace(&path, &format!("{whole}0\n"), &format!("{whole}{set}\n"));
        let number = head.trim().split('(').next().expect("its number");
        format!("{number}({port}): config: {set}")
    }

    /// `ip netns del`: the namespace is gone, and every device that was in it.
    pub(crate) fn no_netns(&mut self, host: &str, ns: &str) {
        let start = format!("{host}/ns-{ns}");
        let inside = self.path(&format!("{start}*/ip-a.txt"));
        let folder = inside.trim_end_matches("ip-a.txt").to_owned();
        self.0.retain(|path, _| !path.starts_with(&folder));
        self.without(&format!("{host}/netns.txt"), &[ns]);
    }

    /// `sysctl net.ipv4.ip_forward=0`: the kernel sets every device's own with it.
    pub(crate) fn no_forwarding(&mut self, folder: &str) {
        self.edit(&format!("{folder}/sysctl.txt"), |text| {
            let set = text.lines().map(|l| {
                let forwards = l.starts_with("net.ipv4.") && l.contains("forward");
                match l.strip_suffix(" = 1").filter(|_| forwards) {
                    Some(key) => format!("{key} = 0\n"),
                    None => format!("{l}\n"),
                }
            });
            set.collect()
        });
    }
}

fn keep(text: &str, mut stays: impl FnMut(&str) -> bool) -> String {
    let lines = text.lines().filter(|l| stays(l));
    lines.flat_map(|l| [l, "\n"]).collect()
}

fn peer(head: &str) -> Option<String> {
    let (_, rest) = head.split_once('@')?;
    let peer = rest.split(':').next()?;
    (!peer.starts_with("if")).then(|| peer.to_owned())
}
