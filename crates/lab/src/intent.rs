//! What a lab asks of its own API: the topology's networks, and a port for every guest.

use crate::client::{Client, ClientError, text};
use crate::guest::{Guest, GuestWish};
use crate::lab::{Error, Lab};
use crate::machine::Machine;
use crate::patience::wait_for;
use crate::plug::Port;
use crate::progress::Progress;
use crate::topology::Network;
use ipnet::IpNet;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Duration;
use uuid::Uuid;

/// How long a port may take to become ACTIVE: a first agent's start is in it.
const PATIENCE: Duration = Duration::from_secs(30);

impl Lab {
    /// Makes the networks and guests that the topology names.
    pub(crate) fn make_intent(&mut self, progress: &Progress) -> Result<(), Error> {
        let topology = self.record.topology.clone();
        for network in &topology.networks {
            progress.step(&format!("network {}", network.name));
            create_network(&self.client()?, network)?;
        }
        for guest in &topology.guests {
            progress.step(&format!("guest {} on {}", guest.name, guest.host));
            self.add_guest(GuestWish::new(&guest.name, &guest.host, &guest.network))?;
        }
        Ok(())
    }

    /// Makes a port on the API and a guest that has it, and waits until it is ACTIVE.
    pub fn add_guest(&mut self, wish: GuestWish) -> Result<Guest, Error> {
        self.check_free(&wish.name)?;
        let machine = self.machine(&wish.host)?.clone();
        let client = self.client()?;
        let network = find_network(&client, &wish.network)?;
        let (guest, _) = self.ask_for_port(&client, &network, wish)?;
        self.make_whole(guest, |lab, guest| lab.plug_in(guest, &machine))
    }

    /// Plugs a guest in where its port is bound, and waits until the port is ACTIVE.
    fn plug_in(&self, guest: &Guest, machine: &Machine) -> Result<(), Error> {
        let client = self.client()?;
        guest.make(machine, &self.options.binary)?;
        let path = format!("ports/{}", guest.port.id);
        wait_for(
            &format!("port {} of guest {} ACTIVE", guest.port.id, guest.name),
            PATIENCE,
            "",
            || Ok(client.get(&path)?["status"] == "ACTIVE"),
        )?;
        Ok(guest.configure(machine, &self.options.binary)?)
    }

    /// Ends a guest and begins it anew on another host, with the same port: a cold migration.
    pub fn move_guest(&mut self, name: &str, host: &str) -> Result<(), Error> {
        let guest = self.record.guests.get(name).cloned();
        let mut guest = guest.ok_or_else(|| self.no_place(name))?;
        let machine = self.machine(host)?.clone();
        guest.remove(self.machine(&guest.host)?)?;
        host.clone_into(&mut guest.host);
        self.record.guests.insert(name.to_owned(), guest.clone());
        self.save()?;
        let binding = json!({"port": {"binding:host_id": host}});
        self.client()?
            .update(&format!("ports/{}", guest.port.id), &binding)?;
        self.plug_in(&guest, &machine)
    }

    /// The first half of a live migration, as Nova goes about it: the port's second binding, and the
    /// guest beside itself on the other host, whose agent has wired it when this returns. The one
    /// that answers is still the first.
    pub fn begin_migration(&self, name: &str, host: &str) -> Result<(), Error> {
        let guest = self.record.guests.get(name).cloned();
        let mut guest = guest.ok_or_else(|| self.no_place(name))?;
        let machine = self.machine(host)?;
        host.clone_into(&mut guest.host);
        let bindings = format!("ports/{}/bindings", guest.port.id);
        self.as_nova()?
            .create(&bindings, "binding", json!({ "host": host }))?;
        guest.make(machine, &self.options.binary)?;
        guest.keep_addresses(machine, &self.options.binary)?;
        let what = format!("port {} of guest {name} wired on {host}", guest.port.id);
        wait_for(&what, PATIENCE, "", || {
            Ok(guest.port.is_wired(&machine.place)?)
        })
    }

    /// The second half: the second binding becomes the active one, and what is on the first host
    /// goes.
    pub fn finish_migration(&mut self, name: &str, host: &str) -> Result<(), Error> {
        let guest = self.record.guests.get(name).cloned();
        let mut guest = guest.ok_or_else(|| self.no_place(name))?;
        let client = self.as_nova()?;
        let bindings = format!("ports/{}/bindings", guest.port.id);
        client.update(&format!("{bindings}/{host}/activate"), &json!({}))?;
        let old = std::mem::replace(&mut guest.host, host.to_owned());
        self.record.guests.insert(name.to_owned(), guest.clone());
        self.save()?;
        guest.remove(self.machine(&old)?)?;
        Ok(client.delete(&format!("{bindings}/{old}"))?)
    }

    /// The API as Nova's own user, who alone may touch bindings.
    fn as_nova(&self) -> Result<Client, Error> {
        Ok(self.client()?.with_header("X-Roles", "admin,service"))
    }

    /// Makes a guest, or takes away what was made of it. It is written down first: what a crash
    /// leaves half made can be removed.
    fn make_whole(
        &mut self,
        guest: Guest,
        make: impl FnOnce(&Self, &Guest) -> Result<(), Error>,
    ) -> Result<Guest, Error> {
        self.record.guests.insert(guest.name.clone(), guest.clone());
        self.save()?;
        let made = make(self, &guest);
        if made.is_err() {
            // The first error is the one worth telling.
            let _ = self.remove_guest(&guest.name);
        }
        made.map(|()| guest)
    }

    /// Makes a guest with a port that nobody was asked about: for labs without a server.
    pub fn add_bare_guest(&mut self, guest: Guest) -> Result<Guest, Error> {
        self.check_free(&guest.name)?;
        let machine = self.machine(&guest.host)?.clone();
        self.make_whole(guest, |lab, guest| {
            guest.make(&machine, &lab.options.binary)?;
            Ok(guest.configure(&machine, &lab.options.binary)?)
        })
    }

    /// Takes the guest away, and its port on the API.
    pub fn remove_guest(&mut self, name: &str) -> Result<(), Error> {
        let guest = self
            .record
            .guests
            .get(name)
            .cloned()
            .ok_or_else(|| self.no_place(name))?;
        guest.remove(self.machine(&guest.host)?)?;
        if self.api().is_some() {
            match self.client()?.delete(&format!("ports/{}", guest.port.id)) {
                Ok(()) | Err(ClientError::Refused { status: 404, .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.record.guests.remove(name);
        self.save()
    }

    fn check_free(&self, name: &str) -> Result<(), Error> {
        if self.place(name).is_ok() {
            return Err(Error::GuestExists {
                name: self.name().to_owned(),
                guest: name.to_owned(),
            });
        }
        Ok(())
    }

    fn ask_for_port(
        &self,
        client: &Client,
        network: &Value,
        wish: GuestWish,
    ) -> Result<(Guest, Value), Error> {
        let vm = Uuid::new_v4();
        let mut body = json!({
            "name": wish.name,
            "network_id": text(network, "id")?,
            "project_id": text(network, "project_id")?,
            "device_owner": "compute:nova",
            "device_id": vm,
            "binding:host_id": wish.host,
        });
        if let Some(attributes) = body.as_object_mut() {
            attributes.extend(wish.port);
        }
        let port = client.create("ports", "port", body)?;
        if wish.direct && port["port_security_enabled"] != false {
            client.delete(&format!("ports/{}", text(&port, "id")?))?;
            return Err(Error::DirectWithPortSecurity { guest: wish.name });
        }
        let mtu = network["mtu"]
            .as_u64()
            .and_then(|mtu| u32::try_from(mtu).ok());
        let (addresses, routes) = addresses(client, &port)?;
        let guest = Guest {
            name: wish.name,
            host: wish.host,
            port: Port {
                id: parse(text(&port, "id")?)?,
                mac: text(&port, "mac_address")?.to_owned(),
                mtu: mtu.ok_or_else(|| answer("a network without an mtu"))?,
                vm,
                hybrid: !wish.direct,
                userspace: self.userspace(),
            },
            addresses,
            routes,
            addressing: wish.addressing.unwrap_or(self.topology().addressing),
            kind: self.topology().guests_are,
        };
        Ok((guest, port))
    }
}

/// A network by its id or its name.
fn find_network(client: &Client, network: &str) -> Result<Value, Error> {
    if Uuid::parse_str(network).is_ok() {
        return Ok(client.get(&format!("networks/{network}"))?);
    }
    Ok(client.find("networks", network)?)
}

fn create_network(client: &Client, wanted: &Network) -> Result<(), Error> {
    let mut body = json!({"name": wanted.name, "project_id": wanted.project});
    if wanted.external {
        body["router:external"] = json!(true);
        body["provider:network_type"] = json!("flat");
        body["provider:physical_network"] = json!("external");
    }
    let network = client.create("networks", "network", body)?;
    for cidr in &wanted.subnets {
        let subnet = json!({
            "network_id": text(&network, "id")?,
            "project_id": wanted.project,
            "ip_version": if cidr.addr().is_ipv4() { 4 } else { 6 },
            "cidr": cidr.to_string(),
            "enable_dhcp": wanted.dhcp && !wanted.external,
        });
        client.create("subnets", "subnet", subnet)?;
    }
    Ok(())
}

type Addresses = (Vec<IpNet>, Vec<(IpNet, IpAddr)>);

/// The port's addresses, and the routes that its subnets give.
fn addresses(client: &Client, port: &Value) -> Result<Addresses, Error> {
    let (mut addresses, mut routes) = (Vec::new(), Vec::new());
    for fixed in port["fixed_ips"].as_array().into_iter().flatten() {
        let subnet = client.get(&format!("subnets/{}", text(fixed, "subnet_id")?))?;
        let address: IpAddr = parse(text(fixed, "ip_address")?)?;
        let cidr: IpNet = parse(text(&subnet, "cidr")?)?;
        addresses.push(IpNet::new_assert(address, cidr.prefix_len()));
        if let Some(gateway) = subnet["gateway_ip"].as_str() {
            let all = if address.is_ipv4() {
                "0.0.0.0/0"
            } else {
                "::/0"
            };
            routes.push((parse(all)?, parse(gateway)?));
        }
        for route in subnet["host_routes"].as_array().into_iter().flatten() {
            routes.push((
                parse(text(route, "destination")?)?,
                parse(text(route, "nexthop")?)?,
            ));
        }
    }
    Ok((addresses, routes))
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| answer(text))
}

fn answer(what: &str) -> Error {
    Error::Answer {
        what: what.to_owned(),
    }
}
