//! What users ask of the server, in calls that return when it is durable.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use bench::{Client, Server, Settings};
use http::Method;
use serde_json::{Value, json};

use super::{HOST, wait};

/// A connection that was not used for so long is made anew.
const IDLE: Duration = Duration::from_secs(2);
/// Ports in one bulk request.
const BULK: usize = 100;

/// A server and the way to ask it.
pub(crate) struct Cloud {
    runtime: tokio::runtime::Runtime,
    client: Client,
    /// When it was asked last: the server ends connections that are idle.
    asked: Instant,
    server: Server,
}

/// A port as the API gave it.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) id: String,
    pub(crate) mac: String,
    pub(crate) address: String,
}

impl Port {
    fn read(value: &Value) -> Port {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Port {
            id: text(&value["id"]),
            mac: text(&value["mac_address"]),
            address: text(&value["fixed_ips"][0]["ip_address"]),
        }
    }
}

impl Cloud {
    pub(crate) fn start(binary: &Path, folder: &Path) -> io::Result<Cloud> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let settings = Settings {
            binary: binary.to_owned(),
            store: format!("sqlite:{}", folder.join("store.db").display()),
            config: String::new(),
            log: folder.join("server.log"),
        };
        let server = runtime.block_on(Server::start(settings))?;
        let mut cloud = Cloud {
            client: server.client(),
            asked: Instant::now(),
            server,
            runtime,
        };
        let unlimited = json!({"quota": {"port": -1, "network": -1, "subnet": -1, "router": -1,
            "floatingip": -1, "security_group_rule": -1}});
        cloud.call(Method::PUT, "quotas/bench", &unlimited)?;
        Ok(cloud)
    }

    pub(crate) fn agents(&self) -> SocketAddr {
        self.server.agents()
    }

    pub(crate) fn call(&mut self, method: Method, path: &str, body: &Value) -> io::Result<Value> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let path = format!("/v2.0/{path}");
        if std::mem::replace(&mut self.asked, Instant::now()).elapsed() > IDLE {
            self.client = self.server.client();
        }
        let asked = self.client.call(method, &path, body.into());
        let answer = self.runtime.block_on(asked)?;
        if answer.status.is_success() {
            return Ok(answer.json());
        }
        let said = String::from_utf8_lossy(&answer.body);
        Err(io::Error::other(format!(
            "{path}: {}: {said}",
            answer.status
        )))
    }

    /// Makes one thing; what it became.
    pub(crate) fn make(
        &mut self,
        collection: &str,
        kind: &str,
        mut what: Value,
    ) -> io::Result<Value> {
        what["tenant_id"] = json!("bench");
        let made = self.call(Method::POST, collection, &json!({kind: what}))?;
        Ok(made[kind].clone())
    }

    /// The same, when only its id matters.
    pub(crate) fn make_id(
        &mut self,
        collection: &str,
        kind: &str,
        what: Value,
    ) -> io::Result<String> {
        let made = self.make(collection, kind, what)?;
        Ok(made["id"].as_str().unwrap_or_default().to_owned())
    }

    pub(crate) fn network(&mut self, cidr: &str, dhcp: bool) -> io::Result<(String, String)> {
        let network = self.make_id("networks", "network", json!({"name": cidr}))?;
        let subnet =
            json!({"network_id": network, "ip_version": 4, "cidr": cidr, "enable_dhcp": dhcp});
        let subnet = self.make_id("subnets", "subnet", subnet)?;
        Ok((network, subnet))
    }

    pub(crate) fn ports(&mut self, count: usize, port: &Value) -> io::Result<Vec<Port>> {
        let mut ports = Vec::new();
        let mut port = port.clone();
        port["tenant_id"] = json!("bench");
        for first in (0..count).step_by(BULK) {
            let bulk = vec![port.clone(); BULK.min(count - first)];
            let made = self.call(Method::POST, "ports", &json!({"ports": bulk}))?;
            let made = made["ports"].as_array().cloned().unwrap_or_default();
            ports.extend(made.iter().map(Port::read));
        }
        Ok(ports)
    }

    /// A guest's port on the host.
    pub(crate) fn guest_port(network: &str, group: &str) -> Value {
        json!({"network_id": network, "binding:host_id": HOST, "device_owner": "compute:nova",
            "device_id": "7a2f4c1e-0000-4000-8000-000000000001", "security_groups": [group]})
    }

    pub(crate) fn status(&mut self, port: &str) -> io::Result<String> {
        let path = format!("ports/{port}?fields=status");
        let found = self.call(Method::GET, &path, &Value::Null)?;
        Ok(found["port"]["status"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    /// Until all ports have this status.
    pub(crate) fn until(&mut self, ports: &[Port], status: &str) -> io::Result<Duration> {
        let mut left: Vec<&str> = ports.iter().map(|port| &*port.id).collect();
        let mut failed = None;
        let took = wait("the ports' status", || {
            while let Some(port) = left.last() {
                match self.status(port) {
                    Ok(now) if now == status => left.pop(),
                    Ok(_) => return false,
                    Err(error) => {
                        failed = Some(error);
                        return true;
                    }
                };
            }
            true
        })?;
        failed.map_or(Ok(took), Err)
    }

    /// Until the host's agents have said that they live.
    pub(crate) fn until_host(&mut self) -> io::Result<()> {
        let path = format!("agents?host={HOST}");
        wait("the host's agents", || {
            let found = self.call(Method::GET, &path, &Value::Null);
            found.is_ok_and(|found| found["agents"][0]["alive"] == json!(true))
        })
        .map(drop)
    }
}
