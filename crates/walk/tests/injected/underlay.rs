//! What tunnels stand on: routes of the host that lead their packets astray.
use super::*;

#[test]
fn the_other_hosts_address_is_routed_nowhere() {
    for route in ["blackhole 10.30.0.13", "10.30.0.13 dev eth0 scope link"] {
        let mut hand = healthy(LEGACY);
        hand.insert(
            "c1/ns-root/ip-route-all.txt",
            "10.30.0.0/24 dev",
            &format!("{route} "),
        );
        walks(&hand)
            .lost(route, &["red1 > red3 icmp"])
            .unanswered(route, &["red3 > red1 icmp"])
            .fine(&["red1 > outside icmp"]);
    }
}

#[test]
fn a_host_has_another_tunnel_address() {
    let mut hand = healthy(LEGACY);
    hand.replace_all("c2/ns-root/ip-a.txt", "10.30.0.13/", "10.30.0.63/");
    hand.replace_all("c2/ns-root/ip-route-all.txt", "10.30.0.13 ", "10.30.0.63 ");
    let address = "MISSING inet 10.30.0.13/24";
    walks(&hand)
        .lost(address, &["red1 > red3 icmp", "red3 > red1 icmp"])
        .fine(&["red1 > outside icmp"]);
}
