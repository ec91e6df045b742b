//! Connections through a floating IP end with it. Rules of NAT are asked once a connection, when it
//! begins: what is tracked already would go on as it was.
use std::collections::BTreeSet;
use std::net::IpAddr;

use host::NsName;
use host::iptables::Target;
use host::netns::Netns;

use crate::filters::{self, FilterError};

/// Addresses that led somewhere, and now lead elsewhere or nowhere.
fn ended(have: &Netns, want: &Netns) -> BTreeSet<IpAddr> {
    let lead = translations(want);
    let led = translations(have);
    let gone = led.iter().filter(|translation| !lead.contains(translation));
    gone.map(|(address, _)| *address).collect()
}

/// Each address that DNAT turns, and what to.
fn translations(netns: &Netns) -> BTreeSet<(IpAddr, &str)> {
    let tables = netns.iptables.values().filter_map(|all| all.get("nat"));
    let chains = tables.flat_map(|table| table.chains.values());
    let rules = chains.flat_map(|chain| &chain.rules);
    let turned = rules.filter_map(|rule| match (&rule.target, &rule.dst) {
        (Target::Dnat(to), Some(dst)) if !dst.not => Some((dst.value.addr(), to.to.as_str())),
        _ => None,
    });
    turned.collect()
}

/// After the rules are changed: what came in by the address, and what went out by it.
pub(super) async fn end(name: &NsName, have: &Netns, want: &Netns) -> Result<(), FilterError> {
    for address in ended(have, want) {
        for side in ["--orig-dst", "--reply-dst"] {
            let filter = [side.to_owned(), address.to_string()];
            filters::end_connections(name, filter).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use host::iptables::read_iptables;
    use host::netns::Family;

    use super::*;

    fn netns(rules: &[&str]) -> Netns {
        let chain = ":neutron-l3-agent-PREROUTING - [0:0]";
        let text = format!("*nat\n{chain}\n{}\nCOMMIT\n", rules.join("\n"));
        let mut netns = Netns::default();
        let tables = read_iptables(&text).expect("a table");
        netns.iptables.insert(Family::V4, tables);
        netns
    }

    #[test]
    fn what_leads_elsewhere_has_ended_and_what_is_new_has_not() {
        let leads = |to: &str| {
            format!("-A neutron-l3-agent-PREROUTING -d 172.24.4.9/32 -j DNAT --to-destination {to}")
        };
        let metadata = "-A neutron-l3-agent-PREROUTING -d 169.254.169.254/32 -i qr-+ -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 9697";
        let (none, one) = (netns(&[metadata]), netns(&[metadata, &leads("10.1.0.5")]));
        let address: IpAddr = "172.24.4.9".parse().expect("an address");
        assert_eq!(ended(&one, &none), [address].into());
        assert_eq!(ended(&one, &netns(&[&leads("10.1.0.6")])), [address].into());
        assert!(ended(&none, &one).is_empty());
        assert!(ended(&one, &one).is_empty());
    }
}
