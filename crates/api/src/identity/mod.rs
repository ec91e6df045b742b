//! Who calls: from a request's headers to a [`Caller`].

pub mod embedded;
pub mod keystone;
mod none;
pub mod people;

use http::HeaderMap;
use ledger::Actor;

use crate::{fault::Fault, policy::Credentials};

/// The caller of one request.
#[derive(Debug, Clone)]
pub struct Caller {
    pub credentials: Credentials,
    /// Policy's `context_is_admin`.
    pub is_admin: bool,
    /// Sees the resources of every project, as far as policy shows them.
    pub sees_all: bool,
}

impl Caller {
    pub fn project(&self) -> &str {
        &self.credentials.project
    }

    pub fn actor(&self) -> Actor {
        Actor {
            project: self.credentials.project.as_str().into(),
            user: self.credentials.user.clone(),
            roles: self.credentials.roles.clone(),
            is_admin: self.is_admin,
        }
    }
}

/// Where callers are known from.
#[derive(Debug)]
pub enum Identity {
    /// Nowhere: a request says itself whose it is.
    None,
    /// Here: users, projects and tokens are this server's own.
    Embedded(Box<embedded::Embedded>),
    /// A Keystone, asked about each new token.
    Keystone(Box<keystone::Keystone>),
}

impl Identity {
    pub async fn credentials(&self, headers: &HeaderMap) -> Result<Credentials, Fault> {
        match self {
            Self::None => Ok(none::credentials(headers)),
            Self::Embedded(embedded) => embedded.credentials(headers),
            Self::Keystone(keystone) => keystone.credentials(headers).await,
        }
    }
}
