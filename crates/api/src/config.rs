//! The server's settings: one TOML file, of which every part may be left out.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

/// The settings of `nucleon server`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Where everything is kept: `sqlite:FILE`, or `postgres://…` for several servers; its
    /// `sslmode`, `sslrootcert`, `sslcert` and `sslkey` are libpq's.
    pub store: String,
    /// Where callers are known from: `none`, `embedded` or `keystone`.
    pub identity: IdentityKind,
    /// An operator's rules over Neutron's defaults, in oslo.policy's language (YAML).
    pub policy_file: Option<PathBuf>,
    /// Whether a list with a filter that its resource does not have is refused, as Neutron's setting
    /// of this name says; otherwise the filter asks for nothing.
    pub filter_validation: bool,
    /// The URL at which other servers reach this one; empty: `http://`, or with `[tls]`
    /// `https://`, and where it listens.
    pub address: String,
    /// Who signs the certificates of other servers of the store, PEM; none: whom this machine
    /// believes.
    pub peer_authority: Option<PathBuf>,
    pub tls: Option<Tls>,
    pub limits: Limits,
    pub agents: Agents,
    pub embedded: Embedded,
    pub keystone: Keystone,
    pub nova: Option<Nova>,
    /// The server's own metadata service, for clouds without Nova.
    pub metadata: Option<Metadata>,
    pub ledger: ledger::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9696)),
            store: "sqlite:nucleon.db".to_owned(),
            identity: IdentityKind::None,
            policy_file: None,
            filter_validation: true,
            address: String::new(),
            peer_authority: None,
            tls: None,
            limits: Limits::default(),
            agents: Agents::default(),
            embedded: Embedded::default(),
            keystone: Keystone::default(),
            nova: None,
            metadata: None,
            ledger: ledger::Config::default(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdentityKind {
    None,
    Embedded,
    Keystone,
}

impl std::str::FromStr for IdentityKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "embedded" => Ok(Self::Embedded),
            "keystone" => Ok(Self::Keystone),
            other => Err(format!("'{other}' is not none, embedded or keystone")),
        }
    }
}

/// `[tls]`: certificates for the API's listener.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The certificate and those that sign it, PEM.
    pub certificate: PathBuf,
    /// The certificate's private key, PEM.
    pub key: PathBuf,
}

/// `[metadata]`: what guests hear when they ask who they are, where no Nova says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Where agents pass guests' requests on to.
    pub listen: SocketAddr,
    /// A file with the secret that agents sign instances' ids with; its first line.
    pub secret_file: PathBuf,
}

/// `[limits]`: what clients may take of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of one request's body.
    pub body: usize,
    /// Connections at once, of clients and of hosts each; more wait.
    pub connections: usize,
    /// Requests at once; more are told to come back.
    pub requests: usize,
    /// Seconds that one request may take.
    pub seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 4 << 20,
            connections: 4096,
            requests: 2048,
            seconds: 60,
        }
    }
}

/// `[agents]`: the listener of the agents' watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Agents {
    /// Where agents connect: an address, without certificates a loopback one only; or `unix:FILE`,
    /// a socket that this server's user and root can open, for an agent on the same machine.
    pub listen: AgentsAt,
    /// The listener's certificate, PEM.
    pub certificate: Option<PathBuf>,
    /// The certificate's private key, PEM.
    pub key: Option<PathBuf>,
    /// Who signs hosts' client certificates; their DNS name is the host's name.
    pub client_authority: Option<PathBuf>,
    /// A file of tokens, one `HOST TOKEN` a line; `* TOKEN` is good for any host.
    pub tokens: Option<PathBuf>,
    /// Seconds between heartbeats on a watch.
    pub heartbeat: u64,
}

impl Default for Agents {
    fn default() -> Self {
        Self {
            listen: AgentsAt::Tcp(SocketAddr::from(([127, 0, 0, 1], 9697))),
            certificate: None,
            key: None,
            client_authority: None,
            tokens: None,
            heartbeat: 10,
        }
    }
}

/// Where the agents' listener is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AgentsAt {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl std::str::FromStr for AgentsAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Self::Unix(path.into())),
            _ => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| format!("'{text}' is not ADDRESS:PORT or unix:FILE")),
        }
    }
}

impl TryFrom<String> for AgentsAt {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl std::fmt::Display for AgentsAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(at) => at.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl From<AgentsAt> for String {
    fn from(at: AgentsAt) -> Self {
        at.to_string()
    }
}

/// `[embedded]`: the identity service in this server, for a cloud on one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Embedded {
    /// The first user, an administrator, made when there is no user yet.
    pub admin_user: String,
    /// The first user's password; empty: one is made and printed once.
    pub admin_password: String,
    /// The first user's project.
    pub admin_project: String,
    /// The region that the catalogue names.
    pub region: String,
    /// Seconds that a token is good for.
    pub token_seconds: u64,
}

impl Default for Embedded {
    fn default() -> Self {
        Self {
            admin_user: "admin".to_owned(),
            admin_password: String::new(),
            admin_project: "admin".to_owned(),
            region: "RegionOne".to_owned(),
            token_seconds: 3600,
        }
    }
}

/// `[keystone]`: the identity service that checks tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keystone {
    /// The identity API: `https://keystone.example:5000/v3`.
    pub url: String,
    /// Who signs its certificate, PEM; none: whom this machine believes.
    pub authority: Option<PathBuf>,
    /// The service user that asks about tokens.
    pub username: String,
    /// The service user's password.
    pub password: String,
    /// The domain that the service user is in, by name.
    pub user_domain: String,
    /// The service user's project.
    pub project: String,
    /// The domain that the project is in, by name.
    pub project_domain: String,
    /// Seconds that an answer about a token is believed.
    pub cache_seconds: u64,
}

impl Default for Keystone {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:5000/v3".to_owned(),
            authority: None,
            username: "neutron".to_owned(),
            password: String::new(),
            user_domain: "Default".to_owned(),
            project: "service".to_owned(),
            project_domain: "Default".to_owned(),
            cache_seconds: 60,
        }
    }
}

/// `[nova]`: tell Nova when its ports come up, go down, or are deleted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nova {
    /// The compute API: `https://nova.example:8774/v2.1`.
    pub url: String,
    /// Who signs its certificate, PEM; none: whom this machine believes.
    pub authority: Option<PathBuf>,
    /// A token to show; empty: the `[keystone]` service user's.
    pub token: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{} can't be read", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the settings in {} are not right", path.display())]
    Toml {
        path: PathBuf,
        source: toml::de::Error,
    },
}

impl Config {
    pub fn read(path: &std::path::Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::File {
            path: path.to_owned(),
            source,
        })?;
        toml::from_str(&text).map_err(|source| ConfigError::Toml {
            path: path.to_owned(),
            source,
        })
    }
}
