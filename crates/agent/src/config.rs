//! The agent's configuration file: read once, at the start. docs/agent.md is its contract.
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use intent::NetworkType;
use plan::{AgentMode, Settings};
use serde::Deserialize;

/// What an operator says of a host and of how to reach the server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub host: String,
    pub server: String,
    #[serde(default)]
    pub server_ca: Option<PathBuf>,
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    #[serde(default)]
    pub client_certificate: Option<PathBuf>,
    #[serde(default)]
    pub client_key: Option<PathBuf>,
    #[serde(default = "ovsdb")]
    pub ovsdb: PathBuf,
    #[serde(default = "integration_bridge")]
    pub integration_bridge: String,
    #[serde(default = "tunnel_bridge")]
    pub tunnel_bridge: String,
    /// `system` or `netdev`; none is what the bridges here already are.
    #[serde(default)]
    pub datapath_type: Option<String>,
    #[serde(default = "state_dir")]
    pub state_dir: PathBuf,
    #[serde(default = "roles")]
    pub roles: Vec<Role>,
    #[serde(default = "report_interval")]
    pub report_interval: u64,
    #[serde(default)]
    pub local_ip: Option<IpAddr>,
    #[serde(default = "tunnel_types")]
    pub tunnel_types: Vec<NetworkType>,
    #[serde(default = "yes")]
    pub l2_population: bool,
    #[serde(default = "yes")]
    pub arp_responder: bool,
    #[serde(default)]
    pub bridge_mappings: BTreeMap<String, String>,
    /// Cookies of flows in our bridges that belong to others.
    #[serde(default)]
    pub foreign_cookies: Vec<u64>,
    /// Where metrics are served; none is nowhere.
    #[serde(default)]
    pub metrics: Option<std::net::SocketAddr>,
    #[serde(default)]
    pub dhcp: Dhcp,
    #[serde(default)]
    pub l3: L3,
    #[serde(default)]
    pub metadata: Metadata,
}

/// What a host is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    L2,
    Dhcp,
    L3,
    Metadata,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dhcp {
    pub domain: Option<String>,
    pub lease_seconds: Option<u32>,
    pub dns_servers: Vec<IpAddr>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct L3 {
    pub agent_mode: Mode,
}

/// [`AgentMode`] as it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    #[default]
    Legacy,
    Dvr,
    DvrSnat,
    DvrNoExternal,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metadata {
    pub target: Option<String>,
    pub target_ca: Option<PathBuf>,
    pub target_certificate: Option<PathBuf>,
    pub target_key: Option<PathBuf>,
    pub shared_secret_file: Option<PathBuf>,
    pub force: bool,
    pub isolated: Option<bool>,
}

fn ovsdb() -> PathBuf {
    "/run/openvswitch/db.sock".into()
}
fn integration_bridge() -> String {
    "br-int".to_owned()
}
fn tunnel_bridge() -> String {
    "br-tun".to_owned()
}
fn state_dir() -> PathBuf {
    "/var/lib/nucleon".into()
}
fn roles() -> Vec<Role> {
    vec![Role::L2]
}
fn report_interval() -> u64 {
    30
}
fn tunnel_types() -> Vec<NetworkType> {
    vec![NetworkType::Vxlan, NetworkType::Gre]
}
fn yes() -> bool {
    true
}

/// The configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("configuration {path} can't be read")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("configuration {path} is wrong")]
    Wrong {
        path: PathBuf,
        #[source]
        source: Box<toml::de::Error>,
    },
}

impl Config {
    pub fn read(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        toml::from_str(&text).map_err(|source| ConfigError::Wrong {
            path: path.to_owned(),
            source: source.into(),
        })
    }

    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// The folder of the switch's sockets.
    pub fn switch_dir(&self) -> PathBuf {
        self.ovsdb
            .parent()
            .unwrap_or(Path::new("/run/openvswitch"))
            .to_owned()
    }

    /// The part that shapes what is wanted.
    pub fn settings(&self, datapath_type: &str) -> Settings {
        let mut settings = Settings::new(self.host.as_str());
        settings.local_ip = self.local_ip;
        settings.tunnel_types.clone_from(&self.tunnel_types);
        settings.bridge_mappings.clone_from(&self.bridge_mappings);
        settings
            .integration_bridge
            .clone_from(&self.integration_bridge);
        settings.tunnel_bridge.clone_from(&self.tunnel_bridge);
        settings.datapath_type = datapath_type.to_owned();
        settings.l2_population = self.l2_population;
        settings.arp_responder = self.arp_responder;
        settings.agent_mode = match self.l3.agent_mode {
            Mode::Legacy => AgentMode::Legacy,
            Mode::Dvr => AgentMode::Dvr,
            Mode::DvrSnat => AgentMode::DvrSnat,
            Mode::DvrNoExternal => AgentMode::DvrNoExternal,
        };
        if let Some(domain) = &self.dhcp.domain {
            settings.dhcp.domain.clone_from(domain);
        }
        if let Some(seconds) = self.dhcp.lease_seconds {
            settings.dhcp.lease_seconds = seconds;
        }
        settings.dhcp.dns_servers.clone_from(&self.dhcp.dns_servers);
        settings.metadata.force = self.metadata.force;
        settings.metadata.isolated = self.metadata.isolated.unwrap_or(settings.metadata.isolated);
        settings.state_path = self.state_dir.to_string_lossy().into_owned();
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_has_its_default_and_what_is_not_known_is_refused() {
        let config: Config = toml::from_str("host = 'c1'\nserver = 'unix:/x'").expect("enough");
        assert_eq!(config.integration_bridge, "br-int");
        assert!(config.has(Role::L2) && !config.has(Role::L3));
        assert_eq!(config.settings("netdev").datapath_type, "netdev");
        assert!(toml::from_str::<Config>("host = 'c1'\nserver = ''\nhots = 1").is_err());
    }

    #[test]
    fn the_documents_example_is_read() {
        let text = include_str!("../../../docs/agent.md");
        let example = text
            .split("```toml\n")
            .nth(1)
            .and_then(|t| t.split("```").next());
        let config: Config = toml::from_str(example.expect("an example")).expect("valid");
        assert_eq!(
            config.settings("system").bridge_mappings["external"],
            "br-ex"
        );
        assert_eq!(config.settings("system").agent_mode, AgentMode::Legacy);
    }
}
