//! What DHCP servers, radvds and routers are told of intent that nobody recorded: IPv6 in its modes,
//! ports' own options, segments, address scopes. Lines are those that Neutron writes for the same.

use host::{HostState, NsName, iptables::print_rule, netns::Family};
use intent::import::{Served, import};
use ipnet::IpNet;
use plan::{Numbers, Settings, compile, draft::MAIN};
use serde_json::{Value, json};

const HOST: &str = "net";

/// An id that says what it is of: `n` networks, `s` subnets and so on, each with its number.
fn id(kind: char, number: usize) -> String {
    let kind = u32::from(kind);
    format!("{kind:08x}-0000-4000-8000-{number:012x}")
}

fn mac(number: usize) -> String {
    format!("fa:16:3e:00:00:{number:02x}")
}

/// The first fields, and what the others add.
fn with(mut item: Value, more: Value) -> Value {
    let (Value::Object(all), Value::Object(more)) = (&mut item, more) else {
        panic!("items are objects");
    };
    all.extend(more);
    item
}

fn network(number: usize) -> Value {
    json!({"id": id('n', number), "mtu": 1450, "provider:network_type": "vxlan",
        "provider:segmentation_id": number})
}

fn subnet(number: usize, network: usize, cidr: &str, more: Value) -> Value {
    let net: IpNet = cidr.parse().expect("a net");
    let first = usize::from(net.addr().is_ipv6());
    let gateway = net.hosts().nth(first).expect("an address");
    let fields = json!({"id": id('s', number), "network_id": id('n', network), "cidr": cidr,
        "gateway_ip": gateway});
    with(fields, more)
}

fn six(number: usize, network: usize, cidr: &str, mode: &str) -> Value {
    let more = json!({"ipv6_ra_mode": mode, "ipv6_address_mode": mode,
        "dns_nameservers": ["2001:db8::53", "2001:db8::54"]});
    subnet(number, network, cidr, more)
}

/// A port with these addresses, each on the subnet of its number.
fn port(number: usize, network: usize, addresses: &[(usize, &str)], more: Value) -> Value {
    let fixed = addresses.iter();
    let fixed = fixed.map(|(on, ip)| json!({"subnet_id": id('s', *on), "ip_address": ip}));
    let fields = json!({"id": id('p', number), "network_id": id('n', network),
        "mac_address": mac(number), "fixed_ips": fixed.collect::<Vec<_>>(),
        "device_owner": "compute:nova", "device_id": id('v', number),
        "binding:host_id": HOST, "binding:vif_type": "ovs"});
    with(fields, more)
}

fn server(number: usize, network: usize, addresses: &[(usize, &str)]) -> Value {
    let agent = json!({"device_owner": "network:dhcp", "device_id": format!("dhcp{number}")});
    port(number, network, addresses, agent)
}

fn interface(number: usize, network: usize, addresses: &[(usize, &str)]) -> Value {
    let of_router = json!({"device_owner": "network:router_interface", "device_id": id('r', 1)});
    port(number, network, addresses, of_router)
}

/// What is planned for the host that serves the first network and the first router.
fn planned(documents: &Value, set: impl Fn(&mut Settings)) -> HostState {
    let agent = |number: usize, kind: &str| json!({"id": id('a', number), "host": HOST, "agent_type": kind, "binary": ""});
    let agents = [agent(1, "DHCP agent"), agent(2, "L3 agent")];
    let told = json!({"agents": agents});
    let dhcp = json!({"agents": [agents[0]]});
    let routers = json!({"agents": [agents[1]]});
    let served = [
        (Served::Network(id('n', 1).parse().expect("an id")), &dhcp),
        (Served::Router(id('r', 1).parse().expect("an id")), &routers),
    ];
    let (state, notes) = import([&told, documents], served);
    assert_eq!(notes, Vec::<String>::new());
    let view = intent::view(&state, &HOST.into());
    let mut settings = Settings::new(HOST);
    set(&mut settings);
    compile(&view, &settings, &Numbers::default()).want
}

fn file(state: &HostState, path: &str) -> Vec<String> {
    let lines = &state.files.get(path).expect("the file").lines;
    lines.iter().map(|line| line.text.clone()).collect()
}

fn dhcp_file(state: &HostState, name: &str) -> Vec<String> {
    file(state, &format!("dhcp/{}/{name}", id('n', 1)))
}

fn arguments(state: &HostState) -> Vec<String> {
    let key = format!("dnsmasq {}", id('n', 1));
    state.processes.get(&key).expect("dnsmasq").argv.clone()
}

/// A network of IPv4 and of IPv6 in this mode, with one guest of both.
fn both_versions(mode: &str, more: Value) -> Value {
    json!({
        "networks": [network(1)],
        "subnets": [subnet(1, 1, "10.0.0.0/24", json!({})), six(2, 1, "fd00::/64", mode)],
        "ports": [
            server(1, 1, &[(1, "10.0.0.2"), (2, "fd00::2")]),
            port(2, 1, &[(1, "10.0.0.11"), (2, "fd00::11")], more),
        ],
    })
}

/// A guest's options: of each version one, and one that only a tag of its own leads to.
fn options() -> Value {
    json!({"extra_dhcp_opts": [
        {"opt_name": "ntp-server", "opt_value": "192.0.2.1"},
        {"opt_name": "150", "opt_value": "192.0.2.2"},
        {"opt_name": "tag:!ipxe,67", "opt_value": "undionly.kpxe"},
        {"opt_name": "ntp-server", "opt_value": "[fd00::123]", "ip_version": 6},
        {"opt_name": "59", "opt_value": "tftp://x", "ip_version": 6},
    ]})
}

#[test]
fn a_guest_of_both_versions_has_a_line_for_each_that_asks_for_an_address() {
    let (mac, port) = (mac(2), id('p', 2));
    let four = format!("{mac},host-10-0-0-11.openstacklocal,10.0.0.11");
    let stateful = format!("{mac},tag:dhcpv6,host-fd00--11.openstacklocal,[fd00::11]");
    let only_options = format!("{mac},tag:dhcpv6,set:port-{port}");
    let tagged = |line: &str| format!("{line},set:port-{port}");
    for (mode, plain, with_options) in [
        (
            "dhcpv6-stateful",
            vec![four.clone(), stateful.clone()],
            vec![tagged(&four), tagged(&stateful)],
        ),
        // dnsmasq takes the last line of a MAC first, so the one without an address is before it.
        (
            "dhcpv6-stateless",
            vec![four.clone()],
            vec![only_options, tagged(&four)],
        ),
        ("slaac", vec![four.clone()], vec![tagged(&four)]),
    ] {
        let host = |more| dhcp_file(&planned(&both_versions(mode, more), |_| ()), "host");
        assert_eq!(host(json!({})), plain, "{mode}");
        assert_eq!(host(options()), with_options, "{mode}");
    }
}

#[test]
fn names_are_known_of_all_addresses_and_subnets_without_dhcp() {
    let mut documents = both_versions("slaac", json!({"dns_name": "web"}));
    documents["subnets"][0]["enable_dhcp"] = json!(false);
    documents["subnets"][1]["enable_dhcp"] = json!(true);
    let plan = planned(&documents, |_| ());
    let names = ["10.0.0.11", "fd00::11"].map(|ip| format!("{ip}\tweb.openstacklocal web"));
    assert_eq!(dhcp_file(&plan, "addn_hosts"), names);
    assert_eq!(dhcp_file(&plan, "host"), [""; 0]);
}

#[test]
fn options_are_told_to_the_versions_that_they_are_of() {
    let documents = both_versions("dhcpv6-stateful", options());
    let (four, six, port) = (id('s', 1), id('s', 2), id('p', 2));
    let told = dhcp_file(&planned(&documents, |_| ()), "opts");
    let routes = "169.254.169.254/32,10.0.0.2,0.0.0.0/0,10.0.0.1";
    let wanted = [
        format!("tag:subnet-{four},option:classless-static-route,{routes}"),
        format!("tag:subnet-{four},249,{routes}"),
        format!("tag:subnet-{four},option:router,10.0.0.1"),
        format!("tag:subnet-{six},option6:dns-server,[2001:db8::53],[2001:db8::54]"),
        format!("tag:subnet-{six},option6:domain-search,openstacklocal"),
        format!("tag:port-{port},option:ntp-server,192.0.2.1"),
        format!("tag:port-{port},150,192.0.2.2"),
        format!("tag:port-{port},tag:!ipxe,67,undionly.kpxe"),
        format!("tag:port-{port},option6:ntp-server,[fd00::123]"),
        format!("tag:port-{port},option6:59,tftp://x"),
    ];
    assert_eq!(told, wanted);
    // A guest that has no IPv6 is told none of its options; one that makes its address, no subnet's.
    let mut documents = both_versions("slaac", options());
    documents["ports"][1]["fixed_ips"]
        .as_array_mut()
        .expect("addresses")
        .truncate(1);
    let told = dhcp_file(&planned(&documents, |_| ()), "opts");
    assert_eq!(told.len(), 6, "{told:#?}");
    assert!(!told.iter().any(|line| line.contains("option6")));
}

#[test]
fn what_a_user_writes_stays_in_its_line() {
    let option = json!({"opt_name": "ntp-server\nx", "opt_value": "192.0.2.1\ndhcp-script=/bin/x"});
    let id_too = json!({"opt_name": "client-id", "opt_value": "me\nff:ff:ff:ff:ff:ff,10.0.0.1"});
    let more = json!({"extra_dhcp_opts": [option, id_too]});
    let plan = planned(&both_versions("slaac", more), |_| ());
    let told = dhcp_file(&plan, "opts");
    let line = format!("tag:port-{},option:ntp-server,192.0.2.1", id('p', 2));
    assert_eq!(told.last(), Some(&line));
    let known = format!(
        "{},id:me,host-10-0-0-11.openstacklocal,10.0.0.11,set:port-{}",
        mac(2),
        id('p', 2)
    );
    assert_eq!(dhcp_file(&plan, "host"), [known]);
}

#[test]
fn a_client_is_known_by_the_id_that_its_port_says() {
    for name in ["client-id", "61"] {
        let option = json!({"opt_name": name, "opt_value": "01:fa:16:3e:00:00:99"});
        let more = json!({"extra_dhcp_opts": [option]});
        let plan = planned(&both_versions("slaac", more), |_| ());
        let line = format!(
            "{},id:01:fa:16:3e:00:00:99,host-10-0-0-11.openstacklocal,10.0.0.11",
            mac(2)
        );
        assert_eq!(dhcp_file(&plan, "host"), [line], "it is no option besides");
        assert!(!dhcp_file(&plan, "opts").iter().any(|it| it.contains(name)));
    }
}

#[test]
fn a_server_has_a_range_for_each_subnet_whose_guests_ask_and_as_many_leases_as_addresses() {
    let documents = |mode: &str| {
        let mut documents = both_versions(mode, json!({}));
        let more = [
            subnet(3, 1, "10.0.1.0/26", json!({})),
            subnet(4, 1, "10.0.2.0/24", json!({"enable_dhcp": false})),
        ];
        documents["subnets"]
            .as_array_mut()
            .expect("subnets")
            .extend(more);
        documents
    };
    let ranges_and_leases = |mode: &str, most: u32| {
        let plan = planned(&documents(mode), |settings| settings.dhcp.lease_max = most);
        let arguments = arguments(&plan).into_iter();
        let ours = ["--dhcp-range=", "--dhcp-lease-max="];
        let found = arguments.filter(|it| ours.iter().any(|ours| it.starts_with(ours)));
        found.collect::<Vec<_>>()
    };
    let range =
        |number: usize, rest: &str| format!("--dhcp-range=set:subnet-{},{rest}", id('s', number));
    let four = range(1, "10.0.0.0,static,255.255.255.0,86400s");
    let second = range(3, "10.0.1.0,static,255.255.255.192,86400s");
    let six = range(2, "fd00::,static,64,86400s");
    let leases = |count: u32| format!("--dhcp-lease-max={count}");
    let most = 1 << 24;
    let wanted = [four.clone(), second.clone(), leases(256 + 64)];
    assert_eq!(ranges_and_leases("slaac", most), wanted);
    assert_eq!(ranges_and_leases("slaac", 100)[2], leases(100));
    for mode in ["dhcpv6-stateful", "dhcpv6-stateless"] {
        let wanted = [four.clone(), six.clone(), second.clone(), leases(most)];
        assert_eq!(ranges_and_leases(mode, most), wanted, "{mode}");
    }
}

#[test]
fn guests_names_are_asked_of_the_servers_that_are_set_and_never_of_the_hosts_own() {
    let documents = both_versions("slaac", json!({}));
    let arguments = arguments(&planned(&documents, |settings| {
        settings.dhcp.dns_servers = vec!["192.0.2.53".parse().expect("an address")];
    }));
    for wanted in ["--no-resolv", "--server=192.0.2.53"] {
        assert!(arguments.iter().any(|it| it == wanted), "{arguments:?}");
    }
}

/// Subnets of one segment are one wire; those of another are reached by the gateway.
#[test]
fn routes_lead_to_the_other_subnets_of_a_segment_and_to_none_of_another() {
    let of = |number: usize, cidr: &str, segment: usize| {
        subnet(number, 1, cidr, json!({"segment_id": id('g', segment)}))
    };
    let documents = json!({
        "networks": [network(1)],
        "subnets": [of(1, "10.0.0.0/24", 1), of(2, "10.0.1.0/24", 1), of(3, "10.0.2.0/24", 2)],
        "ports": [server(1, 1, &[(1, "10.0.0.2"), (2, "10.0.1.2"), (3, "10.0.2.2")])],
    });
    let told = dhcp_file(&planned(&documents, |_| ()), "opts");
    let routes = |number: usize| {
        let start = format!(
            "tag:subnet-{},option:classless-static-route,",
            id('s', number)
        );
        let line = told.iter().find_map(|line| line.strip_prefix(&start));
        line.expect("routes").to_owned()
    };
    let metadata = |way: &str| format!("169.254.169.254/32,{way}");
    assert_eq!(
        [1, 2, 3].map(routes),
        [
            format!(
                "{},10.0.1.0/24,0.0.0.0,0.0.0.0/0,10.0.0.1",
                metadata("10.0.0.2")
            ),
            format!(
                "{},10.0.0.0/24,0.0.0.0,0.0.0.0/0,10.0.1.1",
                metadata("10.0.1.2")
            ),
            format!("{},0.0.0.0/0,10.0.2.1", metadata("10.0.2.2")),
        ]
    );
}

#[test]
fn servers_name_all_of_them_where_a_subnet_names_no_name_server() {
    let with_two = |servers: Value| {
        let mut documents = both_versions("dhcpv6-stateful", json!({}));
        for subnet in documents["subnets"].as_array_mut().expect("subnets") {
            subnet["dns_nameservers"] = servers.clone();
        }
        let second = server(3, 1, &[(1, "10.0.0.3"), (2, "fd00::3")]);
        documents["ports"]
            .as_array_mut()
            .expect("ports")
            .push(second);
        let told = dhcp_file(&planned(&documents, |_| ()), "opts").into_iter();
        let told = told.filter(|line| line.contains(":dns-server"));
        told.map(|line| line.split_once(',').expect("a tag").1.to_owned())
            .collect::<Vec<_>>()
    };
    let both = [
        "option:dns-server,10.0.0.2,10.0.0.3",
        "option6:dns-server,[fd00::2],[fd00::3]",
    ];
    assert_eq!(with_two(json!([])), both);
    let none = ["option:dns-server", "option6:dns-server"];
    assert_eq!(with_two(json!(["0.0.0.0"]))[0], none[0]);
    assert_eq!(with_two(json!(["::"]))[1], none[1]);
}

#[test]
fn a_dhcp_server_answers_by_the_first_gateway_of_each_version() {
    let plan = planned(&both_versions("dhcpv6-stateful", json!({})), |_| ());
    let ns = host::names::qdhcp(&id('n', 1));
    let routes = &plan.netns[&ns].routes[&MAIN];
    let mut ways: Vec<String> = routes
        .iter()
        .map(|(key, route)| format!("{} via {:?}", key.dst, route.via))
        .collect();
    ways.sort();
    assert_eq!(
        ways,
        ["0.0.0.0/0 via Some(10.0.0.1)", "::/0 via Some(fd00::1)"]
    );
}

/// A router with one interface that has subnets of these modes.
fn announced(modes: &[&str], mtu: u32) -> Vec<String> {
    let subnets = modes.iter().enumerate();
    let subnets = subnets.map(|(n, mode)| six(n + 1, 1, &format!("fd00:{}::/64", n + 1), mode));
    let addresses: Vec<String> = (1..=modes.len()).map(|n| format!("fd00:{n}::1")).collect();
    let addresses: Vec<(usize, &str)> = addresses
        .iter()
        .enumerate()
        .map(|(n, address)| (n + 1, address.as_str()))
        .collect();
    let documents = json!({
        "networks": [with(network(1), json!({"mtu": mtu}))],
        "subnets": subnets.collect::<Vec<_>>(),
        "ports": [interface(1, 1, &addresses)],
        "routers": [{"id": id('r', 1), "external_gateway_info": null}],
    });
    let plan = planned(&documents, |_| ());
    let path = format!("ra/{}.radvd.conf", id('r', 1));
    let lines = file(&plan, &path).into_iter();
    lines.map(|line| line.trim().to_owned()).collect()
}

fn prefix(number: usize, autonomous: &str) -> Vec<String> {
    let autonomous = format!("AdvAutonomous {autonomous};");
    let prefix = format!("prefix fd00:{number}::/64");
    [&prefix, "{", "AdvOnLink on;", &autonomous, "};"]
        .map(str::to_owned)
        .into()
}

#[test]
fn routers_announce_what_their_subnets_modes_say() {
    let announces = |modes: &[&str], mtu: u32, flags: &[&str], prefixes: Vec<String>| {
        let device = host::names::qr(&id('p', 1));
        let head = [
            format!("interface {device}"),
            "{".to_owned(),
            "AdvSendAdvert on;".to_owned(),
            "MinRtrAdvInterval 30;".to_owned(),
            "MaxRtrAdvInterval 100;".to_owned(),
        ];
        let mut wanted = head.to_vec();
        wanted.extend(flags.iter().map(|flag| (*flag).to_owned()));
        wanted.extend(prefixes);
        wanted.extend(["route fe80::a9fe:a9fe/128 {", "};", "};"].map(str::to_owned));
        assert_eq!(announced(modes, mtu), wanted, "{modes:?}");
    };
    let (mtu, other) = ("AdvLinkMTU 1450;", "AdvOtherConfigFlag on;");
    let (managed, servers) = ("AdvManagedFlag on;", "RDNSS 2001:db8::53 2001:db8::54 {};");
    announces(&["slaac"], 1450, &[mtu, servers], prefix(1, "on"));
    announces(&["dhcpv6-stateless"], 1450, &[mtu, other], prefix(1, "on"));
    announces(
        &["dhcpv6-stateful"],
        1450,
        &[mtu, managed],
        prefix(1, "off"),
    );
    // A link that is too narrow for IPv6 is not said to be.
    announces(&["dhcpv6-stateful"], 1200, &[managed], prefix(1, "off"));
    // Three name servers at most; prefixes that guests make addresses of come first.
    let three = "RDNSS 2001:db8::53 2001:db8::54 2001:db8::53 {};";
    let all = [prefix(2, "on"), prefix(3, "on"), prefix(1, "off")].concat();
    let modes = ["dhcpv6-stateful", "slaac", "slaac"];
    announces(&modes, 1450, &[mtu, managed, three], all);
}

/// A router between the networks 2, in scope 1, and 3, in the scope given, that leads to the external
/// network 4, in scope 1 as well; a floating IP leads to each inner network.
fn scoped(other: Value, snat: bool) -> HostState {
    let pool = |number: usize, scope: Value| {
        json!({"id": id('o', number), "address_scope_id": scope, "ip_version": 4,
            "prefixes": ["10.0.0.0/8"], "default_prefixlen": 24, "min_prefixlen": 8,
            "max_prefixlen": 32})
    };
    let of = |number: usize, cidr: &str, pool: usize| {
        subnet(
            number,
            number,
            cidr,
            json!({"subnetpool_id": id('o', pool)}),
        )
    };
    let floating = |number: usize, ip: &str, fixed: &str| {
        json!({"id": id('f', number), "floating_network_id": id('n', 4), "router_id": id('r', 1),
            "floating_ip_address": ip, "fixed_ip_address": fixed, "port_id": id('p', number)})
    };
    let gateway = json!({"device_owner": "network:router_gateway", "device_id": id('r', 1)});
    let floating_port = |number: usize, ip: &str| {
        let of = json!({"device_owner": "network:floatingip", "device_id": id('f', number)});
        port(100 + number, 4, &[(4, ip)], of)
    };
    let documents = json!({
        "networks": [network(2), network(3), with(network(4), json!({"router:external": true}))],
        "subnetpools": [pool(1, json!(id('c', 1))), pool(2, other)],
        "subnets": [of(2, "10.2.0.0/24", 1), of(3, "10.3.0.0/24", 2), of(4, "10.4.0.0/24", 1)],
        "ports": [
            interface(12, 2, &[(2, "10.2.0.1")]),
            interface(13, 3, &[(3, "10.3.0.1")]),
            port(14, 4, &[(4, "10.4.0.9")], gateway),
            port(2, 2, &[(2, "10.2.0.11")], json!({})),
            port(3, 3, &[(3, "10.3.0.11")], json!({})),
            floating_port(2, "10.4.0.102"),
            floating_port(3, "10.4.0.103"),
        ],
        "routers": [{"id": id('r', 1), "external_gateway_info": {
            "network_id": id('n', 4), "enable_snat": snat,
            "external_fixed_ips": [{"subnet_id": id('s', 4), "ip_address": "10.4.0.9"}]}}],
        "floatingips": [
            floating(2, "10.4.0.102", "10.2.0.11"), floating(3, "10.4.0.103", "10.3.0.11"),
        ],
    });
    planned(&documents, |_| ())
}

fn rules(state: &HostState, table: &str, chain: &str) -> Vec<String> {
    let ns: NsName = host::names::qrouter(&id('r', 1));
    let tables = &state.netns[&ns].iptables[&Family::V4];
    let chain = &tables[table].chains[&format!("neutron-l3-agent-{chain}")];
    let rules = chain.rules.iter().map(|rule| print_rule("C", rule));
    rules
        .map(|rule| rule.trim_start_matches("-A C ").to_owned())
        .collect()
}

#[test]
fn nothing_crosses_between_address_scopes_but_by_nat() {
    let (red, blue, outside) = (
        host::names::qr(&id('p', 12)),
        host::names::qr(&id('p', 13)),
        host::names::qg(&id('p', 14)),
    );
    let plan = scoped(json!(id('c', 2)), true);
    let (one, two) = ("0x4010000/0xffff0000", "0x4020000/0xffff0000");
    let comes = |device: &str, mark: &str| format!("-i {device} -j MARK --set-xmark {mark}");
    assert_eq!(
        rules(&plan, "mangle", "scope"),
        [comes(&red, one), comes(&blue, two), comes(&outside, one)]
    );
    let goes = |device: &str, mark: &str| format!("-o {device} -m mark ! --mark {mark} -j DROP");
    assert_eq!(
        rules(&plan, "filter", "scope"),
        [goes(&red, one), goes(&blue, two)]
    );
    // Of the external network's own scope: it leaves as it is.
    let nat = rules(&plan, "nat", "snat");
    let as_it_is = format!("-o {outside} -m connmark --mark {one} -j ACCEPT");
    assert_eq!(
        nat[..2],
        ["-j neutron-l3-agent-float-snat".to_owned(), as_it_is]
    );
    // Only the floating IP that leads into another scope carries that one's mark.
    assert_eq!(
        rules(&plan, "mangle", "floatingip"),
        [format!("-d 10.4.0.103/32 -j MARK --set-xmark {two}")]
    );
    let save = "-m connmark --mark 0x0/0xffff0000 -j CONNMARK --save-mark --nfmask 0xffff0000 \
                --ctmask 0xffff0000";
    let leaves = |device: &str| format!("-o {device} -j MARK --set-xmark {one}");
    assert_eq!(
        rules(&plan, "mangle", "float-snat"),
        [save.to_owned(), leaves(&red), leaves(&outside)]
    );
    let back = "-s 10.3.0.11/32 -j neutron-l3-agent-float-snat";
    assert_eq!(rules(&plan, "mangle", "FORWARD"), [back]);
    assert_eq!(
        rules(&plan, "mangle", "POSTROUTING"),
        [format!("-o {outside} {save}")]
    );

    // Without NAT the gateway's door is closed to the other scope as well.
    let plan = scoped(json!(id('c', 2)), false);
    assert_eq!(
        rules(&plan, "filter", "scope"),
        [goes(&red, one), goes(&blue, two), goes(&outside, one)]
    );
    assert_eq!(rules(&plan, "mangle", "POSTROUTING"), [""; 0]);

    // What is in no scope is in one of its own.
    let plan = scoped(json!(null), true);
    assert_eq!(
        rules(&plan, "filter", "scope")[1],
        goes(&blue, "0x4000000/0xffff0000")
    );
}
