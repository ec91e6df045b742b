//! dnsmasq's leases. One that dnsmasq holds keeps its address from everybody else until it has run
//! out, so the lease of a port that is gone is released, as its guest would have done. And a server
//! that starts is told of all that it may serve: who has his address from another server, or from one
//! whose leases were lost, is served when he asks for it again.
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::Path;

use host::process::{File, Process};
use host::{HostState, Mac, NsName, names};

use super::release;

/// A line of dnsmasq's file: `EXPIRY MAC ADDRESS NAME CLIENT`, with the client's number for this
/// address in the place of the MAC when the address is one of IPv6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) holder: Holder,
    pub(super) address: IpAddr,
    /// By what the client names itself; none when it did not.
    pub(super) client: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    Card(Mac),
    Number(u32),
}

impl Lease {
    fn read(line: &str) -> Option<Lease> {
        let mut words = line.split_whitespace().skip(1);
        let (holder, address) = (words.next()?, words.next()?.parse().ok()?);
        let holder = match address {
            IpAddr::V4(_) => Holder::Card(holder.parse().ok()?),
            IpAddr::V6(_) => Holder::Number(holder.parse().ok()?),
        };
        let client = bytes(words.nth(1)?).unwrap_or_default();
        Some(Lease {
            holder,
            address,
            client,
        })
    }
}

/// Bytes as dnsmasq writes them; none for `*`.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let parts = text.split(':');
    parts
        .map(|part| u8::from_str_radix(part, 16).ok())
        .collect()
}

/// By what the server of a file names itself in IPv6.
fn server(leases: &str) -> Option<Vec<u8>> {
    let mut lines = leases.lines();
    bytes(lines.find_map(|line| line.strip_prefix("duid "))?.trim())
}

/// Whom a file of hosts gives which address. A line is `MAC[,…],ADDRESS[,…]`, IPv6's in brackets.
fn given(hosts: &File) -> BTreeMap<IpAddr, Mac> {
    let entry = |line: &host::process::Line| -> Option<(IpAddr, Mac)> {
        let mut words = line.text.split(',');
        let card = words.next()?.parse().ok()?;
        let mut addresses =
            words.filter_map(|word| word.trim_matches(['[', ']']).parse::<IpAddr>().ok());
        Some((addresses.next()?, card))
    };
    hosts.lines.iter().filter_map(entry).collect()
}

/// The leases that nobody may have any more. IPv6's don't say whose card it was: the file of hosts
/// before does.
fn gone(leases: &str, before: &File, now: &File) -> Vec<Lease> {
    let (before, now) = (given(before), given(now));
    let held = leases.lines().filter_map(Lease::read);
    let is_gone = |lease: &Lease| {
        let card = match lease.holder {
            Holder::Card(card) => Some(card),
            Holder::Number(_) => before.get(&lease.address).copied(),
        };
        let may = now.get(&lease.address).copied();
        may.is_none() || card.is_some() && card != may
    };
    held.filter(is_gone).collect()
}

/// What a server is to find when it starts: what it held of what is given now, and for all others of
/// IPv4 a lease without end, which the next request puts right. (Of IPv6 only clients know the number
/// that belongs to a lease.)
fn initial(held: &str, hosts: &File) -> String {
    let given = given(hosts);
    let is_kept = |line: &&str| {
        let lease = Lease::read(line);
        line.starts_with("duid ")
            || lease.is_some_and(|lease| match lease.holder {
                Holder::Card(card) => given.get(&lease.address) == Some(&card),
                Holder::Number(_) => given.contains_key(&lease.address),
            })
    };
    let kept: Vec<&str> = held.lines().filter(is_kept).collect();
    let known: BTreeSet<IpAddr> = kept
        .iter()
        .filter_map(|line| Some(Lease::read(line)?.address))
        .collect();
    let others = given
        .iter()
        .filter(|(address, _)| address.is_ipv4() && !known.contains(address))
        .map(|(address, card)| format!("0 {card} {address} * *"));
    // dnsmasq reads IPv4's leases before the line with its own name, and IPv6's after it.
    let is_six = |line: &&str| {
        line.starts_with("duid ") || Lease::read(line).is_some_and(|lease| lease.address.is_ipv6())
    };
    let (six, four): (Vec<&str>, Vec<&str>) = kept.iter().copied().partition(is_six);
    let four = four.into_iter().map(str::to_owned).chain(others);
    let lines = four.chain(six.into_iter().map(str::to_owned));
    lines.map(|line| line + "\n").collect()
}

/// Before a DHCP server starts: its file of leases.
pub(super) fn prepare(process: &Process) -> io::Result<()> {
    let option = |name: &str| {
        let mut argv = process.argv.iter();
        argv.find_map(|word| word.strip_prefix(name)).map(Path::new)
    };
    let (Some(leases), Some(hosts)) = (option("--dhcp-leasefile="), option("--dhcp-hostsfile="))
    else {
        return Ok(());
    };
    let held = std::fs::read_to_string(leases).unwrap_or_default();
    let hosts = File::read(&std::fs::read_to_string(hosts).unwrap_or_default());
    let wanted = initial(&held, &hosts);
    if wanted == held {
        return Ok(());
    }
    crate::server::write_whole(leases, wanted.as_bytes())
}

/// Before the files of hosts are written: what their servers hold for others is released.
pub(super) fn release_gone(state: &Path, have: &HostState, want: &HostState) {
    for (path, now) in &want.files {
        let Some(network) = path
            .strip_prefix("dhcp/")
            .and_then(|rest| rest.strip_suffix("/host"))
        else {
            continue;
        };
        let Some(before) = have.files.get(path).filter(|before| *before != now) else {
            continue;
        };
        let folder = state.join("dhcp").join(network);
        let leases = std::fs::read_to_string(folder.join("leases")).unwrap_or_default();
        let gone = gone(&leases, before, now);
        let device = std::fs::read_to_string(folder.join("interface")).unwrap_or_default();
        if gone.is_empty() || device.is_empty() {
            continue;
        }
        let (ns, server) = (names::qdhcp(network), server(&leases).unwrap_or_default());
        tell(&ns, device.trim(), server, gone);
    }
}

fn tell(ns: &NsName, device: &str, server: Vec<u8>, gone: Vec<Lease>) {
    let device = device.to_owned();
    let told = crate::netns::within(ns, move || release::all(&device, &server, &gone));
    if let Err(error) = told {
        // A server that is not there holds nothing, and finds its file without them when it starts.
        tracing::debug!(%ns, error = %crate::chain(&error), "leases were not released");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASES: &str = "\
1795300000 fa:16:3e:00:00:01 10.0.0.11 web ff:00:01:02
0 fa:16:3e:00:00:02 10.0.0.12 * *
duid 00:01:00:01:2a:bb:cc:dd:fa:16:3e:00:00:99
1795300000 3758096385 fd00::11 web 00:03:00:01:fa:16:3e:00:00:01
1795300000 7 fd00::12 * 00:04
";

    fn hosts(lines: &[&str]) -> File {
        File::read(&lines.join("\n"))
    }

    fn addresses(leases: &[Lease]) -> Vec<String> {
        leases
            .iter()
            .map(|lease| lease.address.to_string())
            .collect()
    }

    const ONE: &str = "fa:16:3e:00:00:01,web.x,10.0.0.11";
    const ONE_6: &str = "fa:16:3e:00:00:01,tag:dhcpv6,web.x,[fd00::11],set:port-1";
    const TWO: &str = "fa:16:3e:00:00:02,id:01:02,db.x,10.0.0.12,set:port-2";
    const TWO_6: &str = "fa:16:3e:00:00:02,tag:dhcpv6,db.x,[fd00::12]";

    #[test]
    fn leases_are_read_as_dnsmasq_writes_them() {
        let held: Vec<Lease> = LEASES.lines().filter_map(Lease::read).collect();
        assert_eq!(
            addresses(&held),
            ["10.0.0.11", "10.0.0.12", "fd00::11", "fd00::12"]
        );
        assert_eq!(held[0].client, [0xff, 0, 1, 2]);
        assert_eq!(held[1].client, [0; 0]);
        assert_eq!(held[2].holder, Holder::Number(3_758_096_385));
        let name = server(LEASES).expect("the server's name");
        assert_eq!((name.len(), name[13]), (14, 0x99));
    }

    #[test]
    fn a_lease_whose_port_is_gone_or_another_is_to_be_released() {
        let all = hosts(&[ONE, ONE_6, TWO, TWO_6]);
        assert_eq!(gone(LEASES, &all, &all), []);
        let without_one = hosts(&[TWO, TWO_6]);
        let found = gone(LEASES, &all, &without_one);
        assert_eq!(addresses(&found), ["10.0.0.11", "fd00::11"]);
        // Its addresses are another's at once.
        let another = [ONE, ONE_6].map(|line| line.replace("00:01,", "00:05,"));
        let now = hosts(&[&another[0], &another[1], TWO, TWO_6]);
        let found = gone(LEASES, &all, &now);
        assert_eq!(addresses(&found), ["10.0.0.11", "fd00::11"]);
        // Who only got a name keeps his leases.
        let named = hosts(&[&ONE.replace("web", "www"), ONE_6, TWO, TWO_6]);
        assert_eq!(gone(LEASES, &all, &named), []);
    }

    #[test]
    fn a_server_starts_with_what_it_held_and_with_leases_for_all_others() {
        let now = hosts(&[TWO, TWO_6, "fa:16:3e:00:00:03,new.x,10.0.0.13"]);
        let wanted = "\
0 fa:16:3e:00:00:02 10.0.0.12 * *
0 fa:16:3e:00:00:03 10.0.0.13 * *
duid 00:01:00:01:2a:bb:cc:dd:fa:16:3e:00:00:99
1795300000 7 fd00::12 * 00:04
";
        assert_eq!(initial(LEASES, &now), wanted);
        assert_eq!(initial(wanted, &now), wanted);
        assert_eq!(initial("", &hosts(&[TWO_6])), "");
    }
}
