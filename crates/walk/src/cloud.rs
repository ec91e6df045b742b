//! What the API says exists: names, addresses, who is bound where. It makes "red1" a port and a
//! port a device, and gives each finding the object behind it. Read from the API's own JSON
//! (`ports.json`, `networks.json`, … of a snapshot), so that a stock Neutron serves as well.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;

use host::ParseError;
use ipnet::IpNet;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The part of intent that a walk needs. Empty when a snapshot has no `api` folder.
#[derive(Clone, Debug, Default)]
pub struct Cloud {
    pub networks: BTreeMap<String, Network>,
    pub subnets: BTreeMap<String, Subnet>,
    pub ports: BTreeMap<String, Port>,
    pub routers: BTreeMap<String, Router>,
    pub floating_ips: BTreeMap<String, FloatingIp>,
    pub groups: BTreeMap<String, Group>,
    pub rules: BTreeMap<String, GroupRule>,
    pub agents: BTreeMap<String, Agent>,
    /// Which hosts' DHCP agents serve a network, by network.
    pub dhcp_hosts: BTreeMap<String, BTreeSet<String>>,
    /// Which hosts' L3 agents serve a router, by router.
    pub router_hosts: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Network {
    pub id: String,
    pub name: String,
    #[serde(rename = "router:external")]
    pub external: bool,
    #[serde(rename = "provider:network_type")]
    pub network_type: Option<String>,
    #[serde(rename = "provider:physical_network")]
    pub physical_network: Option<String>,
    #[serde(rename = "provider:segmentation_id")]
    pub segmentation_id: Option<u32>,
    pub mtu: Option<u32>,
    pub admin_state_up: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Subnet {
    pub id: String,
    pub name: String,
    pub network_id: String,
    pub cidr: Option<IpNet>,
    pub gateway_ip: Option<IpAddr>,
    pub enable_dhcp: bool,
    pub ipv6_address_mode: Option<String>,
    pub host_routes: Vec<HostRoute>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct HostRoute {
    pub destination: IpNet,
    pub nexthop: IpAddr,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Port {
    pub id: String,
    pub name: String,
    pub network_id: String,
    pub mac_address: String,
    pub fixed_ips: Vec<FixedIp>,
    pub device_owner: String,
    pub device_id: String,
    #[serde(rename = "binding:host_id")]
    pub host: String,
    pub security_groups: Vec<String>,
    pub allowed_address_pairs: Vec<AddressPair>,
    pub port_security_enabled: Option<bool>,
    pub admin_state_up: Option<bool>,
    pub status: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct FixedIp {
    pub ip_address: IpAddr,
    #[serde(default)]
    pub subnet_id: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct AddressPair {
    pub ip_address: String,
    #[serde(default)]
    pub mac_address: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Router {
    pub id: String,
    pub name: String,
    pub distributed: bool,
    pub ha: bool,
    pub external_gateway_info: Option<Gateway>,
    pub routes: Vec<HostRoute>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Gateway {
    pub network_id: String,
    pub enable_snat: Option<bool>,
    pub external_fixed_ips: Vec<FixedIp>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct FloatingIp {
    pub id: String,
    pub floating_ip_address: Option<IpAddr>,
    pub fixed_ip_address: Option<IpAddr>,
    pub floating_network_id: String,
    pub port_id: Option<String>,
    pub router_id: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Group {
    pub id: String,
    pub name: String,
    pub stateful: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct GroupRule {
    pub id: String,
    pub security_group_id: String,
    pub direction: String,
    pub ethertype: String,
    pub protocol: Option<String>,
    pub port_range_min: Option<i32>,
    pub port_range_max: Option<i32>,
    pub remote_ip_prefix: Option<String>,
    pub remote_address_group_id: Option<String>,
    pub remote_group_id: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Agent {
    pub id: String,
    pub binary: String,
    pub host: String,
    pub alive: bool,
    pub configurations: serde_json::Value,
}

/// A document of the API that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("api/{name}: {error}")]
pub struct CloudError {
    pub name: String,
    pub error: ParseError,
}

impl CloudError {
    fn new(name: &str, error: &serde_json::Error) -> CloudError {
        let place = format!(" at line {} column {}", error.line(), error.column());
        let message = error.to_string().replace(&place, "");
        // Ahead of the first byte, and past the last of an empty text, serde_json counts from 0.
        let (line, offset) = (error.line().max(1), error.column().saturating_sub(1));
        CloudError {
            name: name.to_owned(),
            error: ParseError::new(line, offset, message),
        }
    }
}

impl Cloud {
    /// Take in one document by its file's name: `ports.json`, `network-red-dhcp-agents.json`, …
    /// Collections that a walk has no use for are passed over.
    pub fn read(&mut self, name: &str, text: &str) -> Result<(), CloudError> {
        let stem = name.strip_suffix(".json").unwrap_or(name);
        if let Some(network) = stem
            .strip_prefix("network-")
            .and_then(|s| s.strip_suffix("-dhcp-agents"))
        {
            let hosts = self.agents_of(name, text)?;
            self.dhcp_hosts.insert(network.to_owned(), hosts);
            return Ok(());
        }
        if let Some(router) = stem
            .strip_prefix("router-")
            .and_then(|s| s.strip_suffix("-l3-agents"))
        {
            let hosts = self.agents_of(name, text)?;
            self.router_hosts.insert(router.to_owned(), hosts);
            return Ok(());
        }
        match stem {
            "networks" => self.networks = by_id(name, text, "networks", |n: &Network| &n.id)?,
            "subnets" => self.subnets = by_id(name, text, "subnets", |n: &Subnet| &n.id)?,
            "ports" => self.ports = by_id(name, text, "ports", |n: &Port| &n.id)?,
            "routers" => self.routers = by_id(name, text, "routers", |n: &Router| &n.id)?,
            "floatingips" => {
                self.floating_ips = by_id(name, text, "floatingips", |n: &FloatingIp| &n.id)?;
            }
            "security-groups" => {
                self.groups = by_id(name, text, "security_groups", |n: &Group| &n.id)?;
            }
            "security-group-rules" => {
                self.rules = by_id(name, text, "security_group_rules", |n: &GroupRule| &n.id)?;
            }
            "agents" => self.agents = by_id(name, text, "agents", |n: &Agent| &n.id)?,
            _ => {}
        }
        Ok(())
    }

    fn agents_of(&self, name: &str, text: &str) -> Result<BTreeSet<String>, CloudError> {
        let agents = by_id(name, text, "agents", |a: &Agent| &a.id)?;
        Ok(agents.into_values().map(|a| a.host).collect())
    }

    /// A network by id or name.
    pub fn network(&self, id_or_name: &str) -> Option<&Network> {
        let named = || self.networks.values().find(|n| n.name == id_or_name);
        self.networks.get(id_or_name).or_else(named)
    }

    /// A port by id, the start of an id, name, or device name.
    pub fn port(&self, what: &str) -> Option<&Port> {
        if what.is_empty() {
            return None;
        }
        let by = |test: &dyn Fn(&Port) -> bool| self.ports.values().find(|p| test(p));
        self.ports
            .get(what)
            .or_else(|| by(&|p| p.name == what && p.is_guest()))
            .or_else(|| by(&|p| p.name == what))
            .or_else(|| by(&|p| p.device_id == what && p.is_guest()))
            .or_else(|| by(&|p| what.len() >= 8 && p.id.starts_with(what)))
    }

    /// The port that has this address, guests first.
    pub fn port_by_ip(&self, ip: IpAddr) -> Option<&Port> {
        let has = |p: &&Port| p.fixed_ips.iter().any(|f| f.ip_address == ip);
        let ports = || self.ports.values().filter(has);
        ports().find(|p| p.is_guest()).or_else(|| ports().next())
    }

    pub fn floating_ip(&self, ip: IpAddr) -> Option<&FloatingIp> {
        let has = |f: &&FloatingIp| f.floating_ip_address == Some(ip);
        self.floating_ips.values().find(has)
    }

    pub fn subnets_of<'a>(&'a self, network: &'a str) -> impl Iterator<Item = &'a Subnet> {
        self.subnets
            .values()
            .filter(move |s| s.network_id == network)
    }

    /// Is this an address that the cloud gave out or could give out?
    pub fn subnet_with(&self, ip: IpAddr) -> Option<&Subnet> {
        let has = |s: &&Subnet| s.cidr.is_some_and(|cidr| cidr.contains(&ip));
        self.subnets.values().find(has)
    }

    /// The rules that a port's groups give it.
    pub fn rules_of<'a>(&'a self, port: &'a Port) -> impl Iterator<Item = &'a GroupRule> {
        self.rules
            .values()
            .filter(|r| port.security_groups.contains(&r.security_group_id))
    }

    /// What to call a port: its name, else what it is for and where.
    pub fn call(&self, port: &Port) -> String {
        if !port.name.is_empty() {
            return port.name.clone();
        }
        let network = self.networks.get(&port.network_id);
        let network = network.map_or("", |n| n.name.as_str());
        format!("{} of {network}", port.device_owner)
    }
}

impl Subnet {
    pub fn is_v6(&self) -> bool {
        self.cidr.is_some_and(|cidr| cidr.addr().is_ipv6())
    }
}

impl Port {
    /// Is a machine behind this port, not a part of Neutron?
    pub fn is_guest(&self) -> bool {
        !self.device_owner.starts_with("network:") && !self.host.is_empty()
    }

    pub fn mac(&self) -> Option<host::Mac> {
        self.mac_address.parse().ok()
    }

    /// The first fixed address of a family.
    pub fn ip(&self, v6: bool) -> Option<IpAddr> {
        let mut ips = self.fixed_ips.iter().map(|f| f.ip_address);
        ips.find(|ip| ip.is_ipv6() == v6)
    }
}

/// One document of the API, whatever is in it.
pub(crate) fn document(name: &str, text: &str) -> Result<serde_json::Value, CloudError> {
    serde_json::from_str(text).map_err(|error| CloudError::new(name, &error))
}

/// The resources of a collection by id, whether or not its key wraps them.
fn by_id<T: for<'de> Deserialize<'de>>(
    name: &str,
    text: &str,
    collection: &'static str,
    id: impl Fn(&T) -> &String,
) -> Result<BTreeMap<String, T>, CloudError> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let rows = Rows(collection, PhantomData::<T>).deserialize(&mut reader);
    let rows = rows.and_then(|rows| reader.end().map(|()| rows));
    let rows = rows.map_err(|error| CloudError::new(name, &error))?;
    let by_id = rows.into_iter().map(|row| (id(&row).clone(), row));
    Ok(by_id.collect())
}

/// Reads a collection's rows where they stand in the text, so that what is wrong with one has a
/// line and a column.
struct Rows<T>(&'static str, PhantomData<T>);

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Rows<T> {
    type Value = Vec<T>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Vec<T>, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Rows<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list, or an object with one as {}", self.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut rows = Vec::new();
        while let Some(row) = list.next_element()? {
            rows.push(row);
        }
        Ok(rows)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Vec<T>, A::Error> {
        let mut rows = None;
        while let Some(key) = object.next_key::<String>()? {
            if key == self.0 {
                rows = Some(object.next_value()?);
            } else {
                object.next_value::<IgnoredAny>()?;
            }
        }
        rows.ok_or_else(|| A::Error::missing_field(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, text: &str) -> String {
        let read = Cloud::default().read(name, text);
        read.expect_err("not what the API answers").to_string()
    }

    #[test]
    fn what_is_wrong_with_an_answer_has_a_place_in_it() {
        let text = "{\"ports\": [\n  {\"id\": \"1\"},\n  {\"id\": 2}\n]}";
        assert_eq!(
            refused("ports.json", text),
            "api/ports.json: line 3, column 10: invalid type: integer `2`, expected a string"
        );
        assert_eq!(
            refused("routers.json", "{\"ports\": []}"),
            "api/routers.json: line 1, column 13: missing field `routers`"
        );
        assert_eq!(
            refused("networks.json", "7"),
            "api/networks.json: line 1, column 1: invalid type: integer `7`, expected a list, or \
             an object with one as networks"
        );
        assert_eq!(
            refused("ports.json", ""),
            "api/ports.json: line 1, column 1: EOF while parsing a value"
        );
        let error = document("quotas.json", "{\"quotas\": [}").expect_err("no JSON");
        assert_eq!(
            error.to_string(),
            "api/quotas.json: line 1, column 13: expected value"
        );
    }

    #[test]
    fn a_list_may_stand_alone() {
        for text in [
            "[{\"id\": \"1\"}]",
            "{\"more\": {}, \"ports\": [{\"id\": \"1\"}]}",
        ] {
            let mut cloud = Cloud::default();
            cloud.read("ports.json", text).expect("ports");
            assert_eq!(cloud.ports.keys().collect::<Vec<_>>(), ["1"]);
        }
    }
}
