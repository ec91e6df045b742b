//! `nucleon external`: what makes `br-ex` lead somewhere. Either this host is the gateway of the
//! external network and lets it out by its own address (`nat`), or a card on that network is a port
//! of the bridge (`connect`). Each is undone by its opposite, and may be said twice.

use crate::Outcome;
use clap::Subcommand;
use ipnet::Ipv4Net;
use lab::CommandError;
use lab::Place;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Be the external network's gateway, and let it out by this host's own address
    Nat(Gateway),
    /// Take away what `nat` set
    NoNat(Gateway),
    /// Make a card on the external network a port of the bridge
    Connect(Card),
    /// Take the card out of the bridge again
    Disconnect(Card),
}

#[derive(Debug, clap::Args)]
struct Gateway {
    /// The gateway's address with the network's length: 172.24.4.225/28
    address: Ipv4Net,
    /// The bridge that the external network is on
    #[arg(long, default_value = "br-ex")]
    bridge: String,
}

#[derive(Debug, clap::Args)]
struct Card {
    /// The card's name: eth2
    card: String,
    /// The bridge that the external network is on
    #[arg(long, default_value = "br-ex")]
    bridge: String,
}

#[derive(Debug, thiserror::Error)]
enum ExternalError {
    #[error(
        "{card} was refused: it has the address {address}, which nobody reaches when the card is a port of a bridge"
    )]
    InUse { card: String, address: String },
    #[error("{network} is no network that a gateway and a router have room in")]
    NoRoom { network: Ipv4Net },
}

pub(crate) fn run(args: &Args) -> Outcome {
    let place = Place::here();
    match &args.command {
        Command::Nat(gateway) => nat(&place, gateway)?,
        Command::NoNat(gateway) => no_nat(&place, gateway)?,
        Command::Connect(card) => connect(&place, card)?,
        Command::Disconnect(Card { card, bridge }) => {
            place.run(&["ovs-vsctl", "--if-exists", "del-port", bridge, card])?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One rule of iptables: its table, its chain, and what it says.
struct Rule {
    table: &'static str,
    chain: &'static str,
    words: Vec<String>,
}

impl Rule {
    fn argv<'a>(&'a self, verb: &'a str) -> Vec<&'a str> {
        let head = ["iptables", "-w", "-t", self.table, verb, self.chain];
        let words = self.words.iter().map(String::as_str);
        head.into_iter().chain(words).collect()
    }

    fn is_there(&self, place: &Place) -> Result<bool, CommandError> {
        Ok(place.output(&self.argv("-C"), "")?.status.success())
    }
}

impl Gateway {
    /// What passes, and what leaves with the host's own address. The comment says whose they are.
    fn rules(&self) -> [Rule; 3] {
        let network = self.address.trunc().to_string();
        let rule = |table, chain, way: &str, target: &str| Rule {
            table,
            chain,
            words: [
                way,
                &network,
                "-m",
                "comment",
                "--comment",
                "nucleon external",
                "-j",
                target,
            ]
            .map(str::to_owned)
            .into(),
        };
        [
            rule("filter", "FORWARD", "-d", "ACCEPT"),
            rule("filter", "FORWARD", "-s", "ACCEPT"),
            rule("nat", "POSTROUTING", "-s", "MASQUERADE"),
        ]
    }
}

/// Where the bridge's row remembers whether the host forwarded before.
const FORWARDED: &str = "nucleon-forwarded";
const FORWARDING: &str = "net.ipv4.ip_forward";

fn nat(place: &Place, gateway: &Gateway) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (bridge, address) = (&gateway.bridge, gateway.address);
    if address.prefix_len() > 30 {
        return Err(ExternalError::NoRoom { network: address }.into());
    }
    place.run(&["ovs-vsctl", "--may-exist", "add-br", bridge])?;
    place.ip(&[
        format!("addr replace {address} broadcast + dev {bridge}"),
        format!("link set {bridge} up"),
    ])?;
    if remembered(place, bridge)?.is_empty() {
        let before = place.run(&["sysctl", "-n", FORWARDING])?;
        let note = format!("external_ids:{FORWARDED}={}", before.trim());
        place.run(&["ovs-vsctl", "set", "Bridge", bridge, &note])?;
        place.run(&["sysctl", "-qw", &format!("{FORWARDING}=1")])?;
    }
    for rule in gateway.rules() {
        if !rule.is_there(place)? {
            // Before whatever else stands there: a rule that drops the rest would win.
            place.run(&rule.argv("-I"))?;
        }
    }
    // Routers that knew another gateway would go on sending to it until they ask again.
    let own = address.addr().to_string();
    place.run(&["arping", "-q", "-U", "-c", "1", "-I", bridge, &own])?;
    Ok(())
}

fn no_nat(place: &Place, gateway: &Gateway) -> Result<(), CommandError> {
    let (bridge, address) = (&gateway.bridge, gateway.address);
    for rule in gateway.rules() {
        while rule.is_there(place)? {
            place.run(&rule.argv("-D"))?;
        }
    }
    let there = place.output(&["ovs-vsctl", "br-exists", bridge], "")?;
    if !there.status.success() {
        return Ok(());
    }
    if addresses(place, bridge)?.contains(&address.to_string()) {
        place.ip(&[format!("addr del {address} dev {bridge}")])?;
    }
    let before = remembered(place, bridge)?;
    if !before.is_empty() {
        place.run(&["sysctl", "-qw", &format!("{FORWARDING}={before}")])?;
        place.run(&[
            "ovs-vsctl",
            "remove",
            "Bridge",
            bridge,
            "external_ids",
            FORWARDED,
        ])?;
    }
    Ok(())
}

/// Whether the host forwarded before, as the bridge's row says; empty where it says nothing.
fn remembered(place: &Place, bridge: &str) -> Result<String, CommandError> {
    let key = format!("external_ids:{FORWARDED}");
    let said = place.run(&["ovs-vsctl", "--if-exists", "get", "Bridge", bridge, &key])?;
    Ok(said.trim().trim_matches('"').to_owned())
}

/// The IPv4 addresses of a device, with their lengths.
fn addresses(place: &Place, device: &str) -> Result<Vec<String>, CommandError> {
    let said = place.run(&["ip", "-4", "-o", "addr", "show", "dev", device])?;
    let lines = said.lines().filter_map(|line| line.split_once(" inet "));
    let addresses = lines.filter_map(|(_, rest)| rest.split_whitespace().next());
    Ok(addresses.map(str::to_owned).collect())
}

fn connect(place: &Place, wish: &Card) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let Card { card, bridge } = wish;
    if let Some(address) = addresses(place, card)?.into_iter().next() {
        let card = card.clone();
        return Err(ExternalError::InUse { card, address }.into());
    }
    place.run(&["ovs-vsctl", "--may-exist", "add-br", bridge])?;
    place.run(&["ovs-vsctl", "--may-exist", "add-port", bridge, card])?;
    place.ip(&[
        format!("link set {card} up"),
        format!("link set {bridge} up"),
    ])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_are_the_documents() {
        let gateway = Gateway {
            address: "172.24.4.225/28".parse().unwrap(),
            bridge: "br-ex".to_owned(),
        };
        let said = gateway.rules().map(|rule| rule.argv("-I").join(" "));
        let comment = "-m comment --comment nucleon external";
        assert_eq!(
            said,
            [
                format!("iptables -w -t filter -I FORWARD -d 172.24.4.224/28 {comment} -j ACCEPT"),
                format!("iptables -w -t filter -I FORWARD -s 172.24.4.224/28 {comment} -j ACCEPT"),
                format!(
                    "iptables -w -t nat -I POSTROUTING -s 172.24.4.224/28 {comment} -j MASQUERADE"
                ),
            ]
        );
    }
}
