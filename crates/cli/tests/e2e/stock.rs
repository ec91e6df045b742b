//! The recorded hosts of a scenario in a lab, with their own ids and addresses: as a real Neutron
//! left them, or made from nothing by an agent. Intent is the recorded one, as a host keeps it
//! while its server is away.

use crate::reference::{self, compare::Met};
use crate::rig::{NUCLEON, Rig, within};
use agent::questions::snapshot::{SCRIPT, read_folder};
use agent::server::Held;
use host::netns::Family;
use host::ovs::Bridge;
use host::{HostState, snapshot};
use intent::view::View;
use lab::plug::Port;
use lab::topology::{Addressing, GuestKind};
use lab::{Guest, Topology};
use plan::Numbers;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

/// The cookie that somebody else registered in c1's integration bridge.
pub(crate) const REGISTERED: &str = "0x7";

/// What Neutron set in the hosts' own namespaces, and nobody else does.
const BRIDGES_ARE_FILTERED: &str =
    "net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1";

pub(crate) struct Stock {
    pub(crate) rig: Rig,
    scenario: &'static str,
    agents: Vec<Child>,
}

/// Agents end before their hosts do.
impl Drop for Stock {
    fn drop(&mut self) {
        for agent in &mut self.agents {
            let _ = agent.kill().and_then(|()| agent.wait());
        }
    }
}

impl Stock {
    /// The recorded hosts, with their addresses in the order of the file, without guests.
    pub(crate) fn hosts(scenario: &'static str) -> Self {
        let topology = Topology {
            control: false,
            ..Topology::default()
        };
        Self {
            rig: Rig::up(topology),
            scenario,
            agents: Vec::new(),
        }
    }

    fn view(&self, host: &str) -> View {
        intent::view(&reference::intent(self.scenario), &host.into())
    }

    pub(crate) fn recorded(&self, host: &str) -> HostState {
        let loaded = snapshot::load(host, &reference::recorded(self.scenario, host));
        assert_eq!(loaded.problems, []);
        loaded.state
    }

    pub(crate) fn sh(&self, host: &str, line: &str) -> String {
        let place = self.rig.lab.place(host).unwrap();
        let said = place.run(&["sh", "-ec", line]);
        said.unwrap_or_else(|error| panic!("{error}"))
    }

    fn feed(&self, host: &str, command: &str, text: &str) {
        let argv: Vec<&str> = command.split(' ').collect();
        let place = self.rig.lab.place(host).unwrap();
        let fed = place.feed(&argv, text);
        fed.unwrap_or_else(|error| panic!("{error}"));
    }

    /// The scenario's guests of a host, plugged as they were.
    pub(crate) fn plug_guests(&mut self, host: &str, addressing: Addressing) {
        let view = self.view(host);
        let guests = view
            .ports
            .values()
            .filter(|port| port.is_bound_to(host) && !port.is_network_owned());
        for port in guests {
            let prefix = |address: std::net::IpAddr| format!("{address}/24").parse().unwrap();
            let guest = Guest {
                name: port.name.clone(),
                host: host.to_owned(),
                port: Port {
                    id: port.id.to_string().parse().unwrap(),
                    mac: port.mac_address.to_string(),
                    mtu: 1450,
                    vm: port.device_id.to_string().parse().unwrap(),
                    hybrid: true,
                    userspace: self.rig.lab.datapath() == "netdev",
                },
                addresses: port.addresses().map(prefix).collect(),
                routes: Vec::new(),
                addressing,
                kind: GuestKind::Namespace,
            };
            self.rig.lab.add_bare_guest(guest).unwrap();
        }
    }

    /// Bridges and ports as rows of OVSDB; guests' devices are there by now, so only what Neutron
    /// wrote of them is written.
    fn build_switch(&self, host: &str, recorded: &HostState) {
        let datapath = self.rig.lab.datapath();
        let mut argv = vec!["ovs-vsctl".to_owned()];
        for name in ["br-int", "br-tun", "br-ex"] {
            let bridge = &recorded.bridges[name];
            argv.extend(words(&format!(
                "-- --may-exist add-br {name} -- set Bridge {name} datapath_type={datapath} fail_mode=secure"
            )));
            let protocols = bridge.protocols.iter().map(String::as_str);
            let protocols: Vec<&str> = protocols.collect();
            argv.push(format!("protocols={}", protocols.join(",")));
            let config = bridge.other_config.iter();
            argv.extend(config.map(|(key, value)| format!("other_config:{key}={value}")));
            // Where the stopped agent listened.
            argv.extend(words(&format!(
                "-- set-controller {name} tcp:127.0.0.1:6633"
            )));
            argv.extend(port_words(name, bridge));
        }
        let place = self.rig.lab.place(host).unwrap();
        place.run(&argv).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Everything that Neutron had programmed on a host.
    pub(crate) fn build(&mut self, host: &str) {
        let recorded = self.recorded(host);
        let files = reference::recorded(self.scenario, host);
        self.rig
            .run(host, &format!("sysctl -qw {BRIDGES_ARE_FILTERED}"));
        self.build_switch(host, &recorded);
        self.plug_guests(host, Addressing::Static);
        self.build_switch_of_guests(host, &recorded);
        for bridge in ["br-int", "br-tun", "br-ex"] {
            let flows = &files[&format!("flows-{bridge}.names.txt")];
            let command = format!("ovs-ofctl -O OpenFlow14 --bundle add-flows {bridge} -");
            self.feed(host, &command, flows);
        }
        self.feed(host, "ipset restore", &files["ns-root/ipset-save.txt"]);
        self.feed(
            host,
            "iptables-restore",
            &files["ns-root/iptables-save.txt"],
        );
        self.feed(
            host,
            "ip6tables-restore",
            &files["ns-root/ip6tables-save.txt"],
        );
    }

    /// Tags and what Neutron keeps beside them.
    fn build_switch_of_guests(&self, host: &str, recorded: &HostState) {
        let mut argv = vec!["ovs-vsctl".to_owned()];
        for (name, port) in &recorded.bridges["br-int"].ports {
            if let Some(tag) = port.tag {
                argv.extend(words(&format!("-- set Port {name} tag={tag}")));
                let config = port.other_config.iter();
                argv.extend(config.map(|(key, value)| format!("other_config:{key}={value}")));
            }
        }
        let place = self.rig.lab.place(host).unwrap();
        place.run(&argv).unwrap_or_else(|error| panic!("{error}"));
    }

    /// An agent with the recorded intent, as it goes on while its server is away; a host that is
    /// made from nothing is told the numbers that Neutron had chosen there.
    pub(crate) fn start_agent(&mut self, host: &str, numbers: Option<&Numbers>) {
        let machine = self.rig.lab.machine(host).unwrap();
        let state = self.state(host);
        let held = Held {
            view: self.view(host).into(),
            store: "recorded".to_owned(),
            revision: 1,
            mark: None,
        };
        held.save(&state.join("view.json")).unwrap();
        if let Some(numbers) = numbers {
            agent::numbers::save(&state.join("numbers.json"), numbers).unwrap();
        }
        let config = machine.dir.join("agent.toml");
        let tunnel = self.scenario.split('-').next().unwrap();
        let text = format!(
            "host = '{host}'\nserver = 'unix:/nowhere'\nstate_dir = '{}'\ndatapath_type = '{}'\n\
             tunnel_types = ['{tunnel}']\nforeign_cookies = [{REGISTERED}]\n\
             bridge_mappings = {{ external = 'br-ex' }}\n{}",
            state.display(),
            self.rig.lab.datapath(),
            self.role(host),
        );
        fs::write(&config, text).unwrap();
        let log = fs::File::create(machine.dir.join("agent.log")).unwrap();
        let argv = [NUCLEON, "agent", "--config", &config.display().to_string()];
        let mut command = machine.place.command(&argv);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.agents.push(command.spawn().unwrap());
    }

    /// A host's address, and what it was there for.
    fn role(&self, host: &str) -> String {
        let address = match host {
            "net" => "10.30.0.11",
            "c1" => "10.30.0.12",
            _ => "10.30.0.13",
        };
        let distributed = self.scenario.contains("dvr");
        let (roles, mode) = match (host, distributed) {
            ("net", false) => ("'l2', 'dhcp', 'l3', 'metadata'", "legacy"),
            ("net", true) => ("'l2', 'dhcp', 'l3', 'metadata'", "dvr_snat"),
            (_, false) => ("'l2'", "legacy"),
            (_, true) => ("'l2', 'l3', 'metadata'", "dvr"),
        };
        format!("local_ip = '{address}'\nroles = [{roles}]\n[l3]\nagent_mode = '{mode}'\n")
    }

    /// Where a host's agent keeps the files of its services.
    pub(crate) fn state(&self, host: &str) -> PathBuf {
        self.rig.lab.machine(host).unwrap().dir.join("agent")
    }

    /// The host is made by an agent, from an empty switch.
    pub(crate) fn make(&mut self, host: &str) {
        let numbers = Numbers::held_by(&self.recorded(host), "br-int");
        self.start_agent(host, Some(&numbers));
        within(Duration::from_secs(10), "it has its bridge", || {
            let place = self.rig.lab.place(host).unwrap();
            place.run(&["ovs-vsctl", "br-exists", "br-int"]).is_ok()
        });
    }

    /// Waits until the host holds all that its agent wants.
    pub(crate) fn converges(&self, host: &str) {
        let machine = self.rig.lab.machine(host).unwrap();
        let config = machine.dir.join("agent.toml").display().to_string();
        let argv = [NUCLEON, "doctor", "--config", &config];
        let mut said = String::new();
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        loop {
            let output = machine.place.output(&argv, "").unwrap();
            if output.status.success() {
                return;
            }
            said.clear();
            said.push_str(&String::from_utf8_lossy(&output.stdout));
            assert!(
                std::time::Instant::now() < deadline,
                "{host} does not converge: {said}"
            );
        }
    }

    /// The host as the tools show it.
    pub(crate) fn collect(&self, host: &str) -> HostState {
        let machine = self.rig.lab.machine(host).unwrap();
        let folder = machine.dir.join("collected");
        let dir = folder.display().to_string();
        let state = format!("NEUTRON_STATE={}", self.state(host).display());
        let argv = ["env", &state, "sh", "-s", "--", &dir, "--name", host];
        machine.place.feed(&argv, SCRIPT).unwrap();
        let mut files = snapshot::Files::new();
        read_folder(&folder.join(host), "", &mut files).unwrap();
        let loaded = snapshot::load(host, &files);
        assert_eq!(loaded.problems, []);
        loaded.state
    }

    /// Layer 2 of the host is the recorded one, but for what `docs/compatibility.md` lists.
    pub(crate) fn assert_is_recorded(
        &self,
        met: &mut Met,
        host: &str,
        ours: &HostState,
        families: &[Family],
    ) {
        let seen = self.recorded(host);
        for bridge in ["br-int", "br-tun", "br-ex"] {
            met.compare_ports(host, ours, &seen, bridge);
            let about = format!("{host} {bridge}");
            met.compare_flows(&about, &ours.bridges[bridge], &seen.bridges[bridge]);
        }
        for family in families {
            met.compare_chains(host, ours, &seen, *family);
        }
        let sets = |state: &HostState| state.root().unwrap().ipsets.clone();
        assert_eq!(sets(ours), sets(&seen), "{host}");
    }
}

/// Words of `ovs-vsctl` for the ports of a bridge that an agent makes: patches and tunnels.
fn port_words(name: &str, bridge: &Bridge) -> Vec<String> {
    let mut argv = Vec::new();
    for (port, interface) in bridge.interfaces() {
        if !["patch", "vxlan"].contains(&interface.kind.as_str()) {
            continue;
        }
        argv.extend(words(&format!(
            "-- --may-exist add-port {name} {port} -- set Interface {port} type={}",
            interface.kind
        )));
        let options = interface.options.iter();
        argv.extend(options.map(|(key, value)| format!("options:{key}={value}")));
    }
    argv
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}
