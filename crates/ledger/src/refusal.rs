//! Every refusal of the ledger, a row each: Neutron's name of the error, the HTTP status under
//! which it is answered, and the sentence, which names the thing that was wrong.

use std::fmt::Display;

/// Why a command is not granted. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Neutron's name of the error (`NeutronError.type`).
    pub kind: &'static str,
    /// The HTTP status.
    pub status: u16,
    pub message: String,
}

macro_rules! faults {
    ($($(#[$doc:meta])* $status:literal $kind:literal $name:ident($($arg:ident),*) $sentence:literal;)*) => {
        impl Refusal {
            $(
                $(#[$doc])*
                pub fn $name($($arg: impl Display),*) -> Self {
                    Self { kind: $kind, status: $status, message: format!($sentence) }
                }
            )*
        }
    };
}

faults! {
    // What any resource may meet.
    400 "InvalidInput" invalid_input(what) "Invalid input for operation: {what}.";
    400 "BadRequest" bad_request(resource, why) "Bad {resource} request: {why}.";
    400 "HTTPBadRequest" malformed(what) "{what}";
    404 "HTTPNotFound" nothing_here() "The resource could not be found.";
    409 "OverQuota" over_quota(resources) "Quota exceeded for resources: [{resources}].";
    412 "RevisionNumberConstraintFailed" stale(expected, found) "Constrained to {expected}, but current revision is {found}";

    // What is asked for by its id and is not there.
    404 "NetworkNotFound" network_not_found(id) "Network {id} could not be found.";
    404 "SegmentNotFound" segment_not_found(id) "Segment {id} could not be found.";
    404 "SubnetNotFound" subnet_not_found(id) "Subnet {id} could not be found.";
    404 "SubnetPoolNotFound" subnet_pool_not_found(id) "Subnet pool {id} could not be found.";
    404 "AddressScopeNotFound" address_scope_not_found(id) "Address scope {id} could not be found.";
    404 "AddressGroupNotFound" address_group_not_found(id) "Address group {id} could not be found.";
    404 "PortNotFound" port_not_found(id) "Port {id} could not be found.";
    404 "PortBindingNotFound" binding_not_found(port, host) "Binding for port {port} for host {host} could not be found.";
    404 "RouterNotFound" router_not_found(id) "Router {id} could not be found";
    404 "FloatingIPNotFound" floating_ip_not_found(id) "Floating IP {id} could not be found";
    404 "SecurityGroupNotFound" security_group_not_found(id) "Security group {id} does not exist";
    404 "SecurityGroupRuleNotFound" security_group_rule_not_found(id) "Security group rule {id} does not exist";
    404 "RbacPolicyNotFound" rbac_policy_not_found(id) "RBAC policy of type unknown with ID {id} not found";
    404 "AgentNotFound" agent_not_found(id) "Agent {id} could not be found.";
    404 "TagNotFound" tag_not_found(tag) "Tag {tag} could not be found.";
    404 "AvailabilityZoneNotFound" zone_not_found(zone) "AvailabilityZone {zone} could not be found.";
}

// Groups, quotas, agents and all that routes.
faults! {
    400 "SecurityGroupProtocolRequiredWithPorts" protocol_required_with_ports() "Must also specify protocol if port range is given.";
    400 "SecurityGroupInvalidPortValue" invalid_port_value(port) "Invalid value for port {port}";
    400 "SecurityGroupInvalidPortRange" invalid_port_range() "For TCP/UDP protocols, port_range_min must be <= port_range_max";
    400 "SecurityGroupInvalidProtocolForPort" invalid_protocol_for_port(protocol) "Ports cannot be specified for protocol {protocol}. Ports are only supported for DCCP, SCTP, TCP, UDP, UDPLITE.";
    400 "SecurityGroupInvalidIcmpValue" invalid_icmp_value(field, attr, value) "Invalid value for ICMP {field} ({attr}) {value}. It must be 0 to 255.";
    400 "SecurityGroupMissingIcmpType" missing_icmp_type(code) "ICMP code (port-range-max) {code} is provided but ICMP type (port-range-min) is missing.";
    400 "SecurityGroupRuleParameterConflict" prefix_conflicts_with_ethertype(ethertype, prefix) "Conflicting value ethertype {ethertype} for CIDR {prefix}";
    400 "SecurityGroupEthertypeConflictWithProtocol" ethertype_conflicts_with_protocol(ethertype, protocol) "Invalid ethertype {ethertype} for protocol {protocol}.";
    400 "SecurityGroupMultipleRemoteEntites" several_remotes() "Only one of remote_ip_prefix or remote_group_id or remote_address_group_id may be provided.";
    400 "SecurityGroupNotSingleGroupRules" rules_of_several_groups() "Only allowed to update rules for one security profile at a time";
    409 "SecurityGroupRuleExists" security_group_rule_exists(id) "Security group rule already exists. Rule id is {id}.";
    404 "DefaultSecurityGroupRuleNotFound" default_rule_not_found(id) "Default Security group rule {id} does not exist";
    409 "DefaultSecurityGroupRuleExists" default_rule_exists(id) "Default Security group rule already exists. Rule id is {id}.";
    409 "SecurityGroupDefaultAlreadyExists" default_group_exists() "Default security group already exists.";
    409 "SecurityGroupCannotUpdateDefault" cannot_update_default_group() "Updating default security group not allowed.";
    409 "SecurityGroupCannotRemoveDefault" cannot_remove_default_group() "Insufficient rights for removing default security group.";
    409 "SecurityGroupInUse" security_group_in_use(id) "Security Group {id} in use.";
    409 "AddressGroupInUse" address_group_in_use(id) "Address group {id} is in use on one or more security group rules.";
    400 "AddressesAlreadyExist" addresses_exist(addresses, group) "Addresses {addresses} already exist in the address group {group}.";
    404 "AddressesNotFound" addresses_not_found(addresses, group) "Addresses {addresses} not found in the address group {group}.";

    400 "HTTPBadRequest" limit_below_usage(limit, resource, used) "Quota limit {limit} for {resource} must be greater than or equal to already used {used}";
    404 "TenantQuotaNotFound" quota_not_found(project) "Quota for project {project} could not be found.";
}

impl Refusal {
    /// A refusal that the attribute tables pronounce: always a malformed request.
    pub fn of_input(kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            status: 400,
            message: message.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_name_a_status_and_a_sentence() {
        let refusal = Refusal::stale(1, 3);
        assert_eq!(refusal.status, 412);
        assert_eq!(refusal.kind, "RevisionNumberConstraintFailed");
        assert_eq!(
            refusal.to_string(),
            "Constrained to 1, but current revision is 3"
        );
    }
}
