//! A cloud with distributed routers goes over to another store: with their hosts' MACs, which the API
//! does not show, no host has anything to do.

use crate::distributed::{Cloud, Wire, three_hosts};
use crate::migrated::{moves, none_lost, ping};
use crate::rig::soon;
use agent::server::Held;
use lab::topology::TunnelType;
use std::fs;

#[test]
fn hosts_of_distributed_routers_do_not_notice_either() {
    let mut cloud = Cloud::up(three_hosts(), Wire::Tunnel(TunnelType::Vxlan));
    cloud.rig.add("near", "c1", "red");
    cloud.rig.add("far", "c2", "green");
    let (_, floating) = cloud.float(&cloud.port_of("near"));
    let far = cloud.ip("far").to_string();
    cloud.reaches("near", &far);
    soon("the floating IP leads in", || {
        cloud.outside_pings(&floating)
    });

    let folder = &cloud.rig.lab.machine("c1").unwrap().dir;
    // As the host was told of them, itself included.
    let macs = || -> Vec<String> {
        let held = Held::load(&folder.join("agent/view.json")).unwrap_or_default();
        let peers = held.view.peers.values();
        let known = peers.filter_map(|it| Some(format!("{} {}\n", it.host, it.dvr_mac?)));
        known.collect()
    };
    soon("the MACs of all hosts are kept", || macs().len() == 3);
    let file = folder.join("dvr-macs");
    fs::write(&file, macs().concat()).unwrap();

    let east_west = cloud.rig.guest("near").begins(&ping(&far));
    let inwards = crate::rig::Background::begin(&cloud.place("outside"), &ping(&floating));
    moves(&cloud.rig, &["--dvr-macs", &file.display().to_string()]);
    none_lost(east_west);
    none_lost(inwards);
}
