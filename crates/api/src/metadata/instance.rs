//! What is known of an instance: its ports say most of it.

use std::net::{IpAddr, Ipv4Addr};

use base64::{Engine, prelude::BASE64_STANDARD};
use intent::{DeviceId, Port, State};
use serde_json::Value;

use super::INSTANCE;
use crate::identity::people::{People, Record};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    pub id: String,
    pub name: String,
    pub project: String,
    pub local_ipv4: Option<Ipv4Addr>,
    pub public_ipv4: Option<Ipv4Addr>,
    pub keys: Vec<Key>,
    pub user_data: Option<Vec<u8>>,
    pub ports: Vec<Card>,
}

/// A public key of the instance's owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub name: String,
    pub data: String,
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    pub id: String,
    pub device: String,
    pub mac: String,
    pub mtu: u32,
    pub network: String,
    pub addresses: Vec<IpAddr>,
}

impl Instance {
    /// The instance that has these ports; none has none.
    pub fn find(state: &State, people: &People, id: &str) -> Option<Instance> {
        let device = DeviceId::from(id);
        let ports = state.index.ports_of_device.of(&device);
        let ports: Vec<&Port> = ports
            .filter_map(|id| Some(&**state.ports.get(id)?))
            .collect();
        let first = *ports.first()?;
        let none = Record::new();
        let told = people.get(INSTANCE, id).unwrap_or(&none);
        let v4 = |address: IpAddr| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        };
        let floating = ports
            .iter()
            .flat_map(|port| state.index.floating_ips_of_port.of(&port.id));
        let mut floating = floating.filter_map(|id| state.floating_ips.get(id));
        Some(Instance {
            id: id.to_owned(),
            name: name(first, told),
            project: first.project_id.to_string(),
            local_ipv4: first.addresses().find_map(v4),
            public_ipv4: floating.find_map(|floating| v4(floating.floating_ip_address)),
            keys: keys(told),
            user_data: user_data(told),
            ports: ports.iter().map(|port| card(state, port)).collect(),
        })
    }
}

/// The name it was told, or its port's, or one that its address makes.
fn name(port: &Port, told: &Record) -> String {
    let text = |key| told.get(key).and_then(Value::as_str).map(str::to_owned);
    let given = [Some(port.dns_name.clone()), Some(port.name.clone())];
    let given = given.into_iter().flatten().find(|name| !name.is_empty());
    let by_address = || {
        let address = port.addresses().next().map(|address| address.to_string());
        format!(
            "host-{}",
            address.unwrap_or_default().replace(['.', ':'], "-")
        )
    };
    text("hostname").or(given).unwrap_or_else(by_address)
}

fn keys(told: &Record) -> Vec<Key> {
    let keys = told.get("public_keys").and_then(Value::as_object);
    let keys = keys.into_iter().flatten().filter_map(|(name, data)| {
        Some(Key {
            name: name.clone(),
            data: data.as_str()?.to_owned(),
        })
    });
    keys.collect()
}

fn user_data(told: &Record) -> Option<Vec<u8>> {
    let text = told.get("user_data")?.as_str()?;
    BASE64_STANDARD.decode(text).ok()
}

fn card(state: &State, port: &Port) -> Card {
    let id = port.id.to_string();
    let mtu = state
        .networks
        .get(&port.network_id)
        .map_or(1500, |network| network.mtu);
    Card {
        device: format!("tap{}", &id[..11]),
        mac: port.mac_address.to_string(),
        mtu,
        network: port.network_id.to_string(),
        addresses: port.addresses().collect(),
        id,
    }
}
