//! The whole intent as one value: a table for each kind of resource, and the indexes.
//!
//! The tables are persistent maps (`imbl`), so a clone is a handful of reference counts: the
//! writer decides on a state of its own that runs ahead, readers hold the last durable one, and a
//! batch that is aborted is undone by dropping a value. An undo log would save the copied inner
//! nodes of a write, and would have to be right; see `docs/store.md`.

use std::{fmt, str::FromStr, sync::Arc};

use imbl::OrdMap;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{id::*, index::Indexes, noun::*};

/// What a resource is found by. Most are ids, and what is asked of ids alone need not go by text.
pub trait Key: Ord + Clone + fmt::Debug + fmt::Display + FromStr {
    fn id(&self) -> Option<Uuid> {
        None
    }
    fn of_id(_: Uuid) -> Option<Self> {
        None
    }
}

impl<K> Key for Id<K> {
    fn id(&self) -> Option<Uuid> {
        Some(self.uuid())
    }
    fn of_id(uuid: Uuid) -> Option<Self> {
        Some(Self::new(uuid))
    }
}
impl Key for ProjectId {}
impl Key for HostName {}
impl<A: Key, B: Key> Key for Pair<A, B> {}

/// A kind of resource that the state keeps.
pub trait Resource: Serialize + DeserializeOwned + Clone + PartialEq + fmt::Debug {
    type Key: Key;
    const KIND: Kind;

    fn key(&self) -> Self::Key;
    /// The project that owns it, for those that have an owner.
    fn project(&self) -> Option<&ProjectId>;
    fn table(state: &State) -> &OrdMap<Self::Key, Arc<Self>>;
    fn meta(&self) -> Option<&Meta> {
        None
    }
    fn meta_mut(&mut self) -> Option<&mut Meta> {
        None
    }
}

/// Declares the state's tables: the map, the kind, its word in the log, the document's form.
macro_rules! tables {
    ($($table:ident: $type:ident by $key:ty, $word:literal;)*) => {
        /// Which kind of resource. Its word is how the store's documents and the log name it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Kind { $(#[serde(rename = $word)] $type),* }

        impl Kind {
            pub const ALL: &'static [Kind] = &[$(Kind::$type),*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Kind::$type => $word),* }
            }
        }

        /// One resource of any kind.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Object { $($type(Arc<$type>)),* }

        $(impl From<$type> for Object {
            fn from(value: $type) -> Self {
                Self::$type(Arc::new(value))
            }
        })*

        $(impl From<Arc<$type>> for Object {
            fn from(value: Arc<$type>) -> Self {
                Self::$type(value)
            }
        })*

        impl Object {
            pub fn kind(&self) -> Kind {
                match self { $(Object::$type(_) => Kind::$type),* }
            }

            /// The key as the store and the log write it.
            pub fn key(&self) -> String {
                match self { $(Object::$type(value) => Resource::key(&**value).to_string()),* }
            }

            pub fn project(&self) -> Option<&ProjectId> {
                match self { $(Object::$type(value) => value.project()),* }
            }

            pub fn meta(&self) -> Option<&Meta> {
                match self { $(Object::$type(value) => value.meta()),* }
            }

            pub fn to_document(&self) -> Result<Vec<u8>, serde_json::Error> {
                match self { $(Object::$type(value) => serde_json::to_vec(&**value)),* }
            }

            pub fn from_document(kind: Kind, document: &[u8]) -> Result<Self, serde_json::Error> {
                Ok(match kind { $(Kind::$type => Object::$type(Arc::new(serde_json::from_slice(document)?))),* })
            }
        }

        /// Everything that users asked for, at one revision.
        #[derive(Debug, Clone, Default)]
        pub struct State {
            $(pub $table: OrdMap<$key, Arc<$type>>,)*
            pub index: Indexes,
            /// The position in the store's log that this state is the sum of.
            pub revision: u64,
        }

        impl State {
            /// Sets a resource, new or changed. Indexes follow.
            pub fn put(&mut self, object: Object) {
                match object { $(Object::$type(value) => {
                    use crate::index::Indexed;
                    let old = self.$table.insert(Resource::key(&*value), value.clone());
                    if let Some(old) = old {
                        if old.is_indexed_like(&value) {
                            return;
                        }
                        Indexed::index(&*old, &mut self.index, false);
                    }
                    Indexed::index(&*value, &mut self.index, true);
                })* }
            }

            /// Takes a resource away; one that is not there is left so.
            pub fn remove(&mut self, kind: Kind, key: &str) {
                match kind { $(Kind::$type => {
                    let old = key.parse::<$key>().ok().and_then(|key| self.$table.remove(&key));
                    if let Some(old) = old {
                        crate::index::Indexed::index(&*old, &mut self.index, false);
                    }
                })* }
            }

            pub fn object(&self, kind: Kind, key: &str) -> Option<Object> {
                match kind { $(Kind::$type => {
                    let key = key.parse::<$key>().ok()?;
                    self.$table.get(&key).cloned().map(Object::$type)
                })* }
            }

            /// Every resource, kind by kind, in the order of their keys.
            pub fn objects(&self) -> impl Iterator<Item = Object> + '_ {
                std::iter::empty()$(.chain(self.$table.values().cloned().map(Object::$type)))*
            }
        }
    };
}

tables! {
    networks: Network by NetworkId, "network";
    segments: Segment by SegmentId, "segment";
    subnets: Subnet by SubnetId, "subnet";
    subnet_pools: SubnetPool by SubnetPoolId, "subnetpool";
    address_scopes: AddressScope by AddressScopeId, "address_scope";
    address_groups: AddressGroup by AddressGroupId, "address_group";
    ports: Port by PortId, "port";
    routers: Router by RouterId, "router";
    floating_ips: FloatingIp by FloatingIpId, "floatingip";
    security_groups: SecurityGroup by SecurityGroupId, "security_group";
    security_group_rules: SecurityGroupRule by SecurityGroupRuleId, "security_group_rule";
    default_rules: DefaultRule by DefaultRuleId, "default_security_group_rule";
    rbac_policies: RbacPolicy by RbacPolicyId, "rbac_policy";
    quotas: Quota by ProjectId, "quota";
    auto_topologies: AutoTopology by ProjectId, "auto_allocated_topology";
    agents: Agent by AgentId, "agent";
    dvr_macs: DvrMac by HostName, "dvr_mac";
    dhcp_bindings: DhcpBinding by Pair<NetworkId, AgentId>, "dhcp_binding";
    router_bindings: RouterBinding by Pair<RouterId, AgentId>, "router_binding";
    router_remnants: RouterRemnant by Pair<RouterId, AgentId>, "router_remnant";
}

macro_rules! resources {
    ($($table:ident $type:ident $key:ty, |$it:ident| $at:expr, $project:expr $(, $meta:ident)?;)*) => {$(
        impl Resource for $type {
            type Key = $key;
            const KIND: Kind = Kind::$type;

            fn key(&self) -> $key {
                let $it = self;
                $at
            }
            fn project(&self) -> Option<&ProjectId> {
                #[allow(unused_variables)]
                let $it = self;
                $project
            }
            fn table(state: &State) -> &OrdMap<$key, Arc<Self>> {
                &state.$table
            }
            $(fn meta(&self) -> Option<&Meta> {
                Some(&self.$meta)
            }
            fn meta_mut(&mut self) -> Option<&mut Meta> {
                Some(&mut self.$meta)
            })?
        }
    )*};
}

resources! {
    networks Network NetworkId, |it| it.id, Some(&it.project_id), meta;
    segments Segment SegmentId, |it| it.id, None, meta;
    subnets Subnet SubnetId, |it| it.id, Some(&it.project_id), meta;
    subnet_pools SubnetPool SubnetPoolId, |it| it.id, Some(&it.project_id), meta;
    address_scopes AddressScope AddressScopeId, |it| it.id, Some(&it.project_id);
    address_groups AddressGroup AddressGroupId, |it| it.id, Some(&it.project_id), meta;
    ports Port PortId, |it| it.id, Some(&it.project_id), meta;
    routers Router RouterId, |it| it.id, Some(&it.project_id), meta;
    floating_ips FloatingIp FloatingIpId, |it| it.id, Some(&it.project_id), meta;
    security_groups SecurityGroup SecurityGroupId, |it| it.id, Some(&it.project_id), meta;
    security_group_rules SecurityGroupRule SecurityGroupRuleId, |it| it.id, Some(&it.project_id), meta;
    default_rules DefaultRule DefaultRuleId, |it| it.id, None, meta;
    rbac_policies RbacPolicy RbacPolicyId, |it| it.id, Some(&it.project_id);
    quotas Quota ProjectId, |it| it.project_id.clone(), Some(&it.project_id);
    auto_topologies AutoTopology ProjectId, |it| it.project_id.clone(), Some(&it.project_id);
    agents Agent AgentId, |it| it.id, None;
    dvr_macs DvrMac HostName, |it| it.host.clone(), None;
    dhcp_bindings DhcpBinding Pair<NetworkId, AgentId>, |it| Pair(it.network_id, it.agent_id), None;
    router_bindings RouterBinding Pair<RouterId, AgentId>, |it| Pair(it.router_id, it.agent_id), None;
    router_remnants RouterRemnant Pair<RouterId, AgentId>, |it| Pair(it.router_id, it.agent_id), None;
}

/// What a command does to the state, in the terms of the log: whole resources set or taken away.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Put(Object),
    Delete { kind: Kind, key: String },
}

impl Change {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Put(object) => object.kind(),
            Self::Delete { kind, .. } => *kind,
        }
    }

    pub fn key(&self) -> String {
        match self {
            Self::Put(object) => object.key(),
            Self::Delete { key, .. } => key.clone(),
        }
    }

    pub fn put(value: impl Into<Object>) -> Self {
        Self::Put(value.into())
    }

    pub fn delete<R: Resource>(value: &R) -> Self {
        Self::Delete {
            kind: R::KIND,
            key: value.key().to_string(),
        }
    }
}

impl State {
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Put(object) => self.put(object),
            Change::Delete { kind, key } => self.remove(kind, &key),
        }
    }

    pub fn get<R: Resource>(&self, key: &R::Key) -> Option<&Arc<R>> {
        R::table(self).get(key)
    }
}

/// A key of two parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair<A, B>(pub A, pub B);

impl<A: fmt::Display, B: fmt::Display> fmt::Display for Pair<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0, self.1)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a key of two parts")]
pub struct BadPair(String);

impl<A: FromStr, B: FromStr> FromStr for Pair<A, B> {
    type Err = BadPair;

    fn from_str(text: &str) -> Result<Self, BadPair> {
        let bad = || BadPair(text.to_owned());
        let (a, b) = text.split_once('/').ok_or_else(bad)?;
        Ok(Self(
            a.parse().map_err(|_| bad())?,
            b.parse().map_err(|_| bad())?,
        ))
    }
}
