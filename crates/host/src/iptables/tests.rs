//! Rules of real hosts read and printed again; damaged ones never panic.
use super::*;
use proptest::prelude::*;

/// One rule of each kind that real hosts print.
const REAL: &[&str] = &[
    "-j neutron-openvswi-sg-chain",
    "-m physdev --physdev-in qvb10eac69c-78 -m comment --comment \"Set zone for 10eac69c\" -j CT --zone 4099",
    "-i qvb10eac69c-78 -j CT --zone 4099",
    "-m physdev --physdev-out tap10eac69c-78 --physdev-is-bridged -j neutron-openvswi-i10eac69c-7",
    "-m state --state RELATED,ESTABLISHED -j RETURN",
    "-d 10.2.2.11/32 -p udp -m udp --sport 67 --dport 68 -j RETURN",
    "-p tcp -m tcp -m multiport --dports 8000:8099 -m set --match-set NIPv45ec5919f-3716-442a-8288- src -j RETURN",
    "-s 10.2.2.11/32 -m mac --mac-source fa:16:3e:00:00:13 -j RETURN",
    "-s ::/128 -d ff02::/16 -p ipv6-icmp -m icmp6 --icmpv6-type 131 -j RETURN",
    "! -i qg-1 ! -o qg-1 -m conntrack ! --ctstate DNAT -j ACCEPT",
    "-s 192.168.122.0/24 ! -d 192.168.122.0/24 -p tcp -j MASQUERADE --to-ports 1024-65535",
    "-o virbr0 -j REJECT --reject-with icmp-port-unreachable",
    "-d 169.254.169.254/32 -i qr-+ -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 9697",
    "-d 172.24.4.229/32 -j DNAT --to-destination 10.1.0.11",
    "-s 10.1.0.11/32 -j SNAT --to-source 172.24.4.229 --random-fully",
    "-m mark ! --mark 0x2/0xffff -m conntrack --ctstate DNAT -j SNAT --to-source 172.24.4.230 --random-fully",
    "-m connmark ! --mark 0x0/0xffff0000 -j CONNMARK --restore-mark --nfmask 0xffff0000 --ctmask 0xffff0000",
    "-j CONNMARK --save-mark --nfmask 0xffff0000 --ctmask 0xffff0000",
    "-i rfp-1 -j MARK --set-xmark 0x4000000/0xffff0000",
    "-p udp -m udp --dport 68 -j CHECKSUM --checksum-fill",
    "-p tcp -m tcp --sport 1:5 --tcp-flags FIN,SYN,RST,ACK SYN -j LOG --log-prefix \"a b\"",
    "-p icmp -m icmp --icmp-type 8/0 -j ACCEPT",
    "-p gre ! -f -g elsewhere",
    "-m limit --limit 5/min -j NFQUEUE --queue-num 3",
    "-m comment --comment \"it\\'s \\\"so\\\" \\\\ x.\" -j ACCEPT",
    "-m comment --comment \"a.b\" -j ACCEPT",
    "-m comment --comment a_b-1 -j ACCEPT",
    "",
];

#[test]
fn what_iptables_prints_is_printed_again() {
    for text in REAL {
        assert_eq!(read_rule(text).unwrap().to_string(), *text);
    }
}

#[test]
fn spellings_of_one_rule_are_equal() {
    for (one, other) in [
        ("-s 10.0.0.1 -j DROP", "-s 10.0.0.1/255.255.255.255 -j DROP"),
        (
            "-p 17 --dport 53 -j DROP",
            "-p udp -m udp --dport 53:53 -j DROP",
        ),
        (
            "-p tcp --sport 1 --dport 2",
            "-p tcp -m tcp --dport 2 --sport 1",
        ),
        (
            "-m mac --mac-source FA:16:3E:00:00:01",
            "-m mac --mac-source fa:16:3e:00:00:01",
        ),
        (
            "-m state --state ESTABLISHED,RELATED",
            "-m state --state RELATED,ESTABLISHED",
        ),
        (
            "-j MARK --set-mark 0x1",
            "-j MARK --set-xmark 0x1/0xffffffff",
        ),
        ("-s 0.0.0.0/0 -j DROP", "-j DROP"),
        ("-p udp --dport 0:65535", "-p udp -m udp"),
        ("-j NOTRACK", "-j CT --notrack"),
        (
            "-p icmpv6 -m icmp6 --icmpv6-type echo-request",
            "-p 58 -m icmp6 --icmpv6-type 128",
        ),
        (
            "-p tcp --syn",
            "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN",
        ),
    ] {
        assert_eq!(read_rule(one), read_rule(other), "{one}");
    }
}

#[test]
fn the_unknown_is_kept_and_named() {
    let rule =
        read_rule("-m recent ! --rcheck --name x -m mark --no 3 -j TPROXY --on-port 3").unwrap();
    assert!(matches!(&rule.conditions[0], Condition::Unknown { module, .. } if module == "recent"));
    assert!(matches!(&rule.conditions[1], Condition::Unknown { module, .. } if module == "mark"));
    assert!(matches!(&rule.target, Target::Unknown { name, .. } if name == "TPROXY"));
}

#[test]
fn dumps_and_listings_read_the_same() {
    let dump =
        "# x\n*nat\n:PREROUTING ACCEPT [3:4]\n:mine - [0:0]\n[1:2] -A PREROUTING -j mine\nCOMMIT\n";
    let listing = "-P PREROUTING ACCEPT\n-N mine\n-A PREROUTING -c 1 2 -j mine \n";
    let tables = read_iptables(dump).unwrap();
    assert_eq!(tables, read_iptables_of("nat", listing).unwrap());
    assert_eq!(
        tables["nat"].chains["PREROUTING"].rules[0].counters.0,
        Some((1, 2))
    );
    assert_eq!(read_iptables(&print_iptables(&tables)).unwrap(), tables);
}

#[test]
fn an_error_says_where() {
    let error = read_iptables("*filter\n-A INPUT -s here -j DROP\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 2, column 13: 'here' is not an address"
    );
    assert!(read_rule("--dport 3").is_err());
    assert!(read_iptables("*filter\n-X INPUT\n").is_err());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = read_iptables(&text);
        let _ = read_rule(&text);
    }

    #[test]
    fn what_is_read_is_printed_and_read_again(
        text in prop::sample::select(REAL.to_vec()), at: prop::sample::Index, with in "[ !-z]{0,3}",
    ) {
        let mut damaged = text.to_owned();
        if !damaged.is_empty() {
            let at = at.index(damaged.len());
            damaged.replace_range(at..(at + 2).min(text.len()), &with);
        }
        if let Ok(rule) = read_rule(&damaged) {
            let printed = rule.to_string();
            prop_assert_eq!(read_rule(&printed).unwrap(), rule, "{} {}", damaged, printed);
        }
    }
}

#[test]
fn rules_that_say_the_same_are_held_once() {
    let dump = "*filter\n:a - [0:0]\n:b - [0:0]\n-A a -p tcp -j ACCEPT\n-A a -j b\n-A b -p tcp -j ACCEPT\n[1:2] -A b -p tcp -j ACCEPT\nCOMMIT\n";
    let tables = read_iptables(dump).unwrap();
    let chains = &tables["filter"].chains;
    let rules = |name: &str| &chains[name].rules;
    assert!(rules("a")[0].is(&rules("b")[0]));
    assert!(!rules("a")[0].is(&rules("a")[1]));
    assert_eq!(rules("b")[1].counters.0, Some((1, 2)));
    assert_eq!(rules("b")[0].counters.0, None);
}
