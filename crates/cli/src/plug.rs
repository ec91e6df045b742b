//! `nucleon plug` and `nucleon unplug`: what Nova's os-vif does, for people without Nova.

use crate::Outcome;
use lab::Place;
use lab::client::text;
use lab::plug::{self, End, Port};
use serde_json::json;
use std::process::ExitCode;
use uuid::Uuid;

/// What both commands need to know.
#[derive(Debug, clap::Args)]
struct Common {
    /// The port's id
    port: Uuid,
    /// The integration bridge
    #[arg(long, default_value = "br-int")]
    bridge: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PlugArgs {
    #[command(flatten)]
    common: Common,
    /// The API, which knows the port's MAC, MTU and port security and is told this host's name;
    /// OS_TOKEN may hold a token, OS_CACERT name the authorities of an https:// one
    #[arg(
        long,
        value_name = "URL",
        env = "NUCLEON_API",
        default_value = "http://127.0.0.1:9696"
    )]
    api: String,
    /// This host's name, as ports are bound to it; the machine's own unless given
    #[arg(long)]
    host: Option<String>,
    /// Plug into the bridge itself; refused for a port with port security
    #[arg(long)]
    direct: bool,
    /// A network namespace that gets the other end as eth0; without it a tap for a virtual machine
    #[arg(long)]
    netns: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct UnplugArgs {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, thiserror::Error)]
enum PlugError {
    #[error("port {port} was refused: it has port security, and only a hybrid plug filters it")]
    PortSecurity { port: Uuid },
    #[error("the API gives port {port} no {what}")]
    Incomplete { port: Uuid, what: &'static str },
}

pub(crate) fn plug(args: &PlugArgs) -> Outcome {
    let place = Place::here();
    let port = bind(args, &place)?;
    let end = args.netns.as_deref().map_or(End::Tap, End::Netns);
    plug::plug(&place, &args.common.bridge, &port, end)?;
    println!("{}", host::names::tap(&port.id.to_string()));
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn unplug(args: &UnplugArgs) -> Outcome {
    plug::unplug(&Place::here(), &args.common.bridge, args.common.port)?;
    Ok(ExitCode::SUCCESS)
}

/// Tells the API that the port is here, as Nova would, and asks it what to plug.
fn bind(args: &PlugArgs, place: &Place) -> Result<Port, Box<dyn std::error::Error + Send + Sync>> {
    let id = args.common.port;
    let client = crate::ask::client(&args.api)?;
    let path = format!("ports/{id}");
    let port = client.get(&path)?;
    if args.direct && port["port_security_enabled"] != false {
        return Err(PlugError::PortSecurity { port: id }.into());
    }
    let network = client.get(&format!("networks/{}", text(&port, "network_id")?))?;
    let mtu = network["mtu"]
        .as_u64()
        .and_then(|mtu| u32::try_from(mtu).ok());
    let vm = text(&port, "device_id")?
        .parse()
        .unwrap_or_else(|_| Uuid::new_v4());
    let host = match &args.host {
        Some(host) => host.clone(),
        None => place.run(&["hostname"])?.trim().to_owned(),
    };
    let mut binding = json!({"binding:host_id": host, "device_id": vm});
    if text(&port, "device_owner")?.is_empty() {
        binding["device_owner"] = json!("compute:nova");
    }
    client.update(&path, &json!({"port": binding}))?;
    let datapath = place.run(&[
        "ovs-vsctl",
        "get",
        "Bridge",
        &args.common.bridge,
        "datapath_type",
    ])?;
    Ok(Port {
        id,
        mac: text(&port, "mac_address")?.to_owned(),
        mtu: mtu.ok_or(PlugError::Incomplete {
            port: id,
            what: "mtu",
        })?,
        vm,
        hybrid: !args.direct,
        userspace: datapath.trim() == "netdev",
    })
}
