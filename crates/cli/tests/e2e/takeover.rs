//! A host that a stock Neutron programmed is taken over without losing a packet; and what stands
//! on a host is what a real Neutron programmed for the same intent, whether it was taken over or
//! made from nothing.
//!
//! The recorded scenario is built on two hosts of a lab with its own ids and addresses: c1 as
//! Neutron left it, c2 by an agent from an empty switch. Intent is the recorded one, as a host
//! keeps it while its server is away.

use crate::reference::{
    self,
    compare::{Met, compare_ports},
};
use crate::rig::{NUCLEON, Rig, lost, tail, within};
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
use std::process::{Child, Stdio};
use std::time::Duration;

const SCENARIO: &str = "vxlan-legacy-hybrid";

/// The cookie that somebody else registered in c1's integration bridge.
const REGISTERED: &str = "0x7";

/// What Neutron set in the hosts' own namespaces, and nobody else does.
const BRIDGES_ARE_FILTERED: &str =
    "net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1";

struct Stock {
    rig: Rig,
}

impl Stock {
    /// The recorded hosts, with their addresses in the order of the file, without guests.
    fn hosts() -> Self {
        let topology = Topology {
            control: false,
            ..Topology::default()
        };
        Self {
            rig: Rig::up(topology),
        }
    }

    fn view(host: &str) -> View {
        intent::view(&reference::intent(SCENARIO), &host.into())
    }

    fn recorded(host: &str) -> HostState {
        let loaded = snapshot::load(host, &reference::recorded(SCENARIO, host));
        assert_eq!(loaded.problems, []);
        loaded.state
    }

    fn sh(&self, host: &str, line: &str) -> String {
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
    fn plug_guests(&mut self, host: &str) {
        let view = Self::view(host);
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
                addressing: Addressing::Static,
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
    fn build(&mut self, host: &str) {
        let recorded = Self::recorded(host);
        let files = reference::recorded(SCENARIO, host);
        self.rig
            .run(host, &format!("sysctl -qw {BRIDGES_ARE_FILTERED}"));
        self.build_switch(host, &recorded);
        self.plug_guests(host);
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

    /// What an earlier agent and ports that are gone left behind, and what belongs to others.
    fn litter(&self, host: &str) {
        let datapath = self.rig.lab.datapath();
        self.sh(host, &format!(
            "ovs-vsctl add-port br-tun vxlan-0a1e0063 -- set Interface vxlan-0a1e0063 type=vxlan \
               options:remote_ip=10.30.0.99 options:local_ip=10.30.0.12 options:in_key=flow options:out_key=flow
             ovs-ofctl -O OpenFlow14 add-flow br-int cookie=0x1234,table=60,priority=77,dl_vlan=9,actions=drop
             ovs-ofctl -O OpenFlow14 add-flow br-tun cookie=0x1234,table=22,priority=1,dl_vlan=9,actions=drop
             iptables -N neutron-openvswi-iffffffff-f
             iptables -A neutron-openvswi-iffffffff-f -j DROP
             ip6tables -N neutron-openvswi-offffffff-f
             ipset create NIPv4ffffffff-ffff-ffff-ff hash:net
             ovs-ofctl -O OpenFlow14 add-flow br-int cookie={REGISTERED},priority=3,dl_type=0x88b5,actions=drop
             iptables -N DOCKER-USER
             iptables -I FORWARD -j DOCKER-USER
             ipset create blocklist hash:ip
             ovs-vsctl add-br br-mine -- set Bridge br-mine datapath_type={datapath}
             ovs-ofctl add-flow br-mine cookie=0x1234,priority=9,actions=drop"
        ));
    }

    /// An agent with the recorded intent, as it goes on while its server is away.
    fn start_agent(&self, host: &str, numbers: Option<&Numbers>) -> Child {
        let machine = self.rig.lab.machine(host).unwrap();
        let state = machine.dir.join("agent");
        let held = Held {
            view: Self::view(host).into(),
            store: "recorded".to_owned(),
            revision: 1,
            mark: None,
        };
        held.save(&state.join("view.json")).unwrap();
        if let Some(numbers) = numbers {
            agent::numbers::save(&state.join("numbers.json"), numbers).unwrap();
        }
        let local_ip = if host == "c1" {
            "10.30.0.12"
        } else {
            "10.30.0.13"
        };
        let config = machine.dir.join("agent.toml");
        let text = format!(
            "host = '{host}'\nserver = 'unix:/nowhere'\nstate_dir = '{}'\ndatapath_type = '{}'\n\
             local_ip = '{local_ip}'\ntunnel_types = ['vxlan']\nforeign_cookies = [{REGISTERED}]\n\
             bridge_mappings = {{ external = 'br-ex' }}\n",
            state.display(),
            self.rig.lab.datapath(),
        );
        fs::write(&config, text).unwrap();
        let log = fs::File::create(machine.dir.join("agent.log")).unwrap();
        let argv = [NUCLEON, "agent", "--config", &config.display().to_string()];
        let mut command = machine.place.command(&argv);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        command.spawn().unwrap()
    }

    /// Waits until the host holds all that its agent wants.
    fn converges(&self, host: &str) {
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
    fn collect(&self, host: &str) -> HostState {
        let machine = self.rig.lab.machine(host).unwrap();
        let folder = machine.dir.join("collected");
        let dir = folder.display().to_string();
        let argv = ["sh", "-s", "--", &dir, "--name", host];
        machine.place.feed(&argv, SCRIPT).unwrap();
        let mut files = snapshot::Files::new();
        read_folder(&folder.join(host), "", &mut files).unwrap();
        let loaded = snapshot::load(host, &files);
        assert_eq!(loaded.problems, []);
        loaded.state
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

/// The host is the recorded one, but for what `docs/compatibility.md` lists.
fn assert_is_recorded(host: &str, ours: &HostState, families: &[Family]) -> Met {
    let seen = Stock::recorded(host);
    let mut met = Met::default();
    for bridge in ["br-int", "br-tun", "br-ex"] {
        compare_ports(host, ours, &seen, bridge);
        let about = format!("{host} {bridge}");
        met.compare_flows(&about, &ours.bridges[bridge], &seen.bridges[bridge]);
    }
    for family in families {
        met.compare_chains(host, ours, &seen, *family);
    }
    let sets = |state: &HostState| state.root().unwrap().ipsets.clone();
    assert_eq!(sets(ours), sets(&seen), "{host}");
    met
}

#[test]
fn a_stock_host_is_taken_over_without_losing_a_packet() {
    let mut stock = Stock::hosts();
    stock.build("c1");
    // The other host is made from nothing, with the numbers that Neutron had chosen there.
    let numbers = Numbers::held_by(&Stock::recorded("c2"), "br-int");
    let mut agents = vec![stock.start_agent("c2", Some(&numbers))];
    within(Duration::from_secs(10), "c2 has its bridge", || {
        let place = stock.rig.lab.place("c2").unwrap();
        place.run(&["ovs-vsctl", "br-exists", "br-int"]).is_ok()
    });
    stock.plug_guests("c2");
    stock.converges("c2");
    assert_is_recorded("c2", &stock.collect("c2"), &[Family::V4]);

    stock.litter("c1");
    let pairs = [
        ("red1", "red2"),
        ("red1", "red3"),
        ("green1", "green2"),
        ("red3", "red2"),
    ];
    for (from, to) in pairs {
        stock.rig.guest(from).must_ping(stock.rig.guest(to).ip());
    }
    let pings = pairs.map(|(from, to)| {
        let command = format!("ping -n -i 0.01 -c 500 {}", stock.rig.guest(to).ip());
        stock.rig.guest(from).begins(&command)
    });
    std::thread::sleep(Duration::from_millis(500));
    agents.push(stock.start_agent("c1", None));
    stock.converges("c1");
    for ((from, to), pinging) in pairs.into_iter().zip(pings) {
        let said = pinging.finish();
        assert_eq!(
            lost(&said, 500),
            Vec::<u32>::new(),
            "{from} to {to}: {}",
            tail(&said)
        );
    }
    what_others_own_is_left(&mut stock);
    let met = assert_is_recorded("c1", &stock.collect("c1"), &[Family::V4, Family::V6]);
    met.assert_meant(&["fixed-cookies"]);
    for agent in &mut agents {
        agent.kill().unwrap();
        agent.wait().unwrap();
    }
}

/// What belongs to others is as it was; it is taken away here, so that the rest can be compared.
fn what_others_own_is_left(stock: &mut Stock) {
    let ours = stock.collect("c1");
    let has_flow = |bridge: &str, cookie: u64| {
        let mut flows = ours.bridges[bridge].flows.values();
        flows.any(|flow| flow.cookie == cookie)
    };
    assert!(has_flow("br-int", 7) && has_flow("br-mine", 0x1234));
    assert!(ours.root().unwrap().ipsets.contains_key("blocklist"));
    for bridge in ["br-int", "br-tun", "br-ex"] {
        let controllers: Vec<_> = ours.bridges[bridge].controllers.iter().collect();
        assert_eq!(controllers, ["tcp:127.0.0.1:1"], "nobody's: {bridge}");
    }
    stock.sh(
        "c1",
        &format!(
            "ovs-ofctl -O OpenFlow14 del-flows br-int cookie={REGISTERED}/-1
             iptables -D FORWARD -j DOCKER-USER
             iptables -X DOCKER-USER
             ipset destroy blocklist"
        ),
    );
}
