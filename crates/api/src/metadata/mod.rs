//! A small metadata service, for clouds without Nova: what a guest hears when it asks who it is.
//!
//! The agents' listeners in the guests' networks pass requests on with the instance that asked, and
//! a signature that proves it was them ([`listen`]). What is said of an instance ([`Instance`])
//! follows from its ports, and from what was told of it when it was made: a host name, keys, user
//! data (`PUT /nucleon/v1/instances/ID`, for administrators, [`told`]). Guests read it in EC2's form
//! ([`ec2`]) or OpenStack's ([`openstack`]).

mod ec2;
mod instance;
mod listen;
mod openstack;
mod told;

pub use instance::{Instance, Key};
pub use listen::{Listener, Secret};
pub(crate) use told::{PATH, answer};

/// The store's kind of what was told of an instance; the id is the instance's.
pub const INSTANCE: &str = "metadata_instance";

/// What a guest is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Text(String),
    Json(String),
    Bytes(Vec<u8>),
    NotFound,
}

/// The answer to a guest's path.
pub fn read(instance: &Instance, path: &str) -> Answer {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        ["openstack", rest @ ..] => openstack::read(instance, rest),
        parts => ec2::read(instance, parts),
    }
}

/// A folder: its entries, a line each.
fn list(entries: &[&str]) -> Answer {
    Answer::Text(entries.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance() -> Instance {
        Instance {
            id: "67cecbba".to_owned(),
            name: "web".to_owned(),
            project: "red".to_owned(),
            local_ipv4: Some([10, 1, 0, 11].into()),
            public_ipv4: Some([172, 24, 4, 237].into()),
            keys: vec![Key {
                name: "mine".to_owned(),
                data: "ssh-ed25519 AAAA me".to_owned(),
            }],
            user_data: Some(b"#!/bin/sh\n".to_vec()),
            ports: Vec::new(),
        }
    }

    fn text(path: &str) -> String {
        match read(&instance(), path) {
            Answer::Text(text) | Answer::Json(text) => text,
            Answer::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Answer::NotFound => "404".to_owned(),
        }
    }

    #[test]
    fn a_guest_reads_ec2s_form() {
        assert_eq!(text("/"), "2009-04-04\nlatest");
        assert_eq!(text("/latest"), "meta-data/\nuser-data");
        assert_eq!(text("/latest/meta-data/instance-id"), "67cecbba");
        assert_eq!(text("/2009-04-04/meta-data/local-ipv4"), "10.1.0.11");
        assert_eq!(text("/latest/meta-data/public-ipv4/"), "172.24.4.237");
        assert_eq!(text("/latest/meta-data/public-keys/"), "0=mine");
        let key = text("/latest/meta-data/public-keys/0/openssh-key");
        assert_eq!(key, "ssh-ed25519 AAAA me");
        assert_eq!(text("/latest/user-data"), "#!/bin/sh\n");
        assert_eq!(text("/latest/meta-data/nothing"), "404");
        assert_eq!(text("/latest/meta-data/public-keys/1/openssh-key"), "404");
    }

    #[test]
    fn a_guest_reads_openstacks_form() {
        assert_eq!(text("/openstack"), "2018-08-27\nlatest");
        let meta: serde_json::Value =
            serde_json::from_str(&text("/openstack/latest/meta_data.json")).expect("JSON");
        assert_eq!(meta["uuid"], "67cecbba");
        assert_eq!(meta["hostname"], "web");
        assert_eq!(meta["public_keys"]["mine"], "ssh-ed25519 AAAA me");
        assert_eq!(text("/openstack/latest/user_data"), "#!/bin/sh\n");
        assert_eq!(text("/openstack/2099-01-01/meta_data.json"), "404");
    }

    #[test]
    fn what_was_not_given_is_not_there() {
        let instance = Instance {
            user_data: None,
            public_ipv4: None,
            keys: Vec::new(),
            ..instance()
        };
        for path in [
            "/latest/user-data",
            "/latest/meta-data/public-ipv4",
            "/latest/meta-data/public-keys/",
            "/openstack/latest/user_data",
        ] {
            assert_eq!(read(&instance, path), Answer::NotFound, "{path}");
        }
    }
}
