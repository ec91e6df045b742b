//! Rows that the tables of several resources share, each under its own name. What differs in one
//! flag only stands in the resource's own file.

use super::super::{Attr, Is, To, Word};

pub(super) const ID: Attr = Attr::new("id").key().is(Is::Uuid).filter().sort().shown();
pub(super) const NAME: Attr = Attr::new("name")
    .post()
    .put()
    .or(Word::Text(""))
    .is(Is::Name(255))
    .filter()
    .sort()
    .shown();
pub(super) const DESCRIPTION: Attr = Attr::new("description")
    .post()
    .put()
    .or(Word::Text(""))
    .is(Is::Text(255))
    .filter()
    .shown();
pub(super) const OWNER: Attr = Attr::new("tenant_id")
    .post()
    .is(Is::Text(255))
    .filter()
    .sort()
    .shown()
    .for_policy();
pub(super) const ADMIN_STATE_UP: Attr = Attr::new("admin_state_up")
    .post()
    .put()
    .or(Word::Bool(true))
    .to(To::Boolean)
    .filter()
    .sort()
    .shown();
pub(super) const STATUS: Attr = Attr::new("status").filter().sort().shown();
pub(super) const NETWORK_ID: Attr = Attr::new("network_id")
    .post()
    .is(Is::Uuid)
    .filter()
    .sort()
    .shown()
    .for_policy();
pub(super) const IP_VERSION: Attr = Attr::new("ip_version")
    .post()
    .to(To::Int)
    .is(Is::Words(&[Word::Int(4), Word::Int(6)]))
    .filter()
    .sort()
    .shown();
pub(super) const DNS_DOMAIN: Attr = Attr::new("dns_domain")
    .post()
    .put()
    .or(Word::Text(""))
    .to(To::Lower)
    .is(Is::DnsDomain(255))
    .shown();
pub(super) const QOS_POLICY_ID: Attr = Attr::new("qos_policy_id")
    .post()
    .put()
    .or(Word::Null)
    .is(Is::UuidOrNone)
    .shown()
    .policy();
pub(super) const AVAILABILITY_ZONES: Attr = Attr::new("availability_zones").shown();
pub(super) const TAGS: Attr = Attr::new("tags").filter().shown();
pub(super) const TAGS_ANY: Attr = Attr::new("tags-any").filter();
pub(super) const NOT_TAGS: Attr = Attr::new("not-tags").filter();
pub(super) const NOT_TAGS_ANY: Attr = Attr::new("not-tags-any").filter();
pub(super) const REVISION_NUMBER: Attr =
    Attr::new("revision_number").or(Word::Null).filter().shown();
pub(super) const CREATED_AT: Attr = Attr::new("created_at").or(Word::Null).shown();
pub(super) const UPDATED_AT: Attr = Attr::new("updated_at").or(Word::Null).shown();

// What a rule says of traffic, and so does the template of one.
pub(super) const DIRECTION: Attr = Attr::new("direction")
    .post()
    .is(Is::Words(&[Word::Text("ingress"), Word::Text("egress")]))
    .filter()
    .sort()
    .shown();
pub(super) const PROTOCOL: Attr = Attr::new("protocol")
    .post()
    .or(Word::Null)
    .to(To::Protocol)
    .filter()
    .sort()
    .shown();
pub(super) const PORT_RANGE_MIN: Attr = Attr::new("port_range_min")
    .post()
    .or(Word::Null)
    .to(To::PortValue)
    .filter()
    .sort()
    .shown();
pub(super) const PORT_RANGE_MAX: Attr = Attr::new("port_range_max")
    .post()
    .or(Word::Null)
    .to(To::PortValue)
    .filter()
    .sort()
    .shown();
pub(super) const ETHERTYPE: Attr = Attr::new("ethertype")
    .post()
    .or(Word::Text("IPv4"))
    .to(To::Ethertype)
    .is(Is::Words(&[Word::Text("IPv4"), Word::Text("IPv6")]))
    .filter()
    .sort()
    .shown();
pub(super) const REMOTE_GROUP_ID: Attr = Attr::new("remote_group_id")
    .post()
    .or(Word::Null)
    .filter()
    .sort()
    .shown();
pub(super) const REMOTE_ADDRESS_GROUP_ID: Attr = Attr::new("remote_address_group_id")
    .post()
    .or(Word::Null)
    .filter()
    .sort()
    .shown();
pub(super) const REMOTE_IP_PREFIX: Attr = Attr::new("remote_ip_prefix")
    .post()
    .or(Word::Null)
    .to(To::Prefix)
    .filter()
    .sort()
    .shown();
