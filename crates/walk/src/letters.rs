//! The letters of the documents' map, A to P, on steps: A a guest's card, B its tap, C and D the
//! veth's ends, E and F the patch between br-int and br-tun, G to J the same on the network
//! host's side (G, H tunnel ends), K and L the way outside, M and N a router, O and P DHCP.
use crate::report::Step;
use crate::world::World;

/// Put the letters on the steps that have one.
pub fn mark(world: &World, steps: &mut [Step]) {
    for step in steps {
        step.letter = letter(world, step);
    }
}

fn letter(world: &World, step: &Step) -> Option<char> {
    let dev = step.device.as_str();
    let network = is_network_host(world, &step.host);
    if step.place.starts_with("qdhcp-") {
        return Some('P');
    }
    if ["qrouter-", "snat-", "fip-"]
        .iter()
        .any(|p| step.place.starts_with(p))
    {
        return Some(if dev.starts_with("qg-") || dev.starts_with("fg-") {
            'N'
        } else {
            'M'
        });
    }
    if dev == "eth0"
        && world
            .cloud
            .ports
            .values()
            .any(|p| world.cloud.call(p) == step.place)
    {
        return Some('A');
    }
    if world.guest_at(&step.host, dev).is_some() {
        return Some('B');
    }
    match dev {
        _ if dev.starts_with("qvb") => Some('C'),
        _ if dev.starts_with("qvo") => Some('D'),
        _ if dev.starts_with("tap") => Some('O'),
        "patch-tun" => Some(if network { 'J' } else { 'E' }),
        "patch-int" => Some(if network { 'I' } else { 'F' }),
        _ if dev.starts_with("vxlan-") || dev.starts_with("gre-") || dev.starts_with("geneve-") => {
            Some(if network { 'H' } else { 'G' })
        }
        _ if dev.starts_with("qr-") || dev.starts_with("sg-") => Some('M'),
        _ if dev.starts_with("qg-") || dev.starts_with("fg-") => Some('N'),
        _ if dev.starts_with("phy-") || dev.starts_with("int-") => Some('K'),
        _ if world.segment_of(&step.host, dev).is_some() || step.host == "outside" => Some('L'),
        _ => None,
    }
}

/// The network host's side of the map: a host with namespaces of DHCP or central routers.
fn is_network_host(world: &World, host: &str) -> bool {
    world.hosts.get(host).is_some_and(|state| {
        let mut names = state.netns.keys();
        names.any(|n| n.as_str().starts_with("qdhcp-") || n.as_str().starts_with("snat-"))
    })
}
