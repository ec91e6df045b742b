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
    404 "QosPolicyNotFound" qos_policy_not_found(id) "QoS policy {id} could not be found.";
    404 "AvailabilityZoneNotFound" zone_not_found(zone) "AvailabilityZone {zone} could not be found.";

    // Networks and segments.
    400 "SegmentsSetInConjunctionWithProviders" segments_and_provider() "Segments and provider values cannot both be set.";
    409 "FlatNetworkInUse" flat_network_in_use(physical) "Unable to create the flat network. Physical network {physical} is in use.";
    409 "VlanIdInUse" vlan_id_in_use(number, physical) "Unable to create the network. The VLAN {number} on physical network {physical} is in use.";
    409 "TunnelIdInUse" tunnel_id_in_use(number) "Unable to create the network. The tunnel ID {number} is in use.";
    503 "NoNetworkAvailable" no_network_available() "Unable to create the network. No tenant network is available for allocation.";
    409 "NetworkInUse" network_in_use(id, ports) "Unable to complete operation on network {id}. There are one or more ports still in use on the network, id for these ports is: {ports}.";
    409 "ExternalNetworkInUse" external_network_in_use(id) "External network {id} cannot be updated to be made non-external, since it has existing gateway ports.";
    409 "InvalidSharedSetting" invalid_shared_setting(network) "Unable to reconfigure sharing settings for network {network}. Multiple tenants are using it.";
    409 "DefaultExternalNetworkExists" default_external_network_exists(id) "A default external network already exists: {id}.";

    // Subnets.
    409 "SubnetInUse" subnet_in_use(id, why) "Unable to complete operation on subnet {id}: {why}";
    400 "InvalidAllocationPool" invalid_allocation_pool(pool) "The allocation pool {pool} is not valid.";
    400 "OutOfBoundsAllocationPool" pool_out_of_bounds(pool, cidr) "The allocation pool {pool} spans beyond the subnet cidr {cidr}.";
    409 "OverlappingAllocationPools" overlapping_pools(pool, other, cidr) "Found overlapping allocation pools: {pool} {other} for subnet {cidr}.";
    409 "GatewayConflictWithAllocationPools" gateway_in_pool(gateway, pool) "Gateway ip {gateway} conflicts with allocation pool {pool}.";
    409 "GatewayIpInUse" gateway_in_use(gateway, port) "Current gateway ip {gateway} already in use by port {port}. Unable to update.";
    400 "DNSNameServersExhausted" too_many_nameservers(whose, most) "Unable to complete operation for {whose}. The number of DNS nameservers exceeds the limit {most}.";
    400 "HostRoutesExhausted" too_many_host_routes(whose, most) "Unable to complete operation for {whose}. The number of host routes exceeds the limit {most}.";
    400 "NetworkIdsDontMatch" segment_of_another_network(network, segment) "The subnet's network id, '{network}', doesn't match the network_id of segment '{segment}'";
    400 "SubnetsNotAllAssociatedWithSegments" some_subnets_without_segment(network) "All of the subnets on network '{network}' must either all be associated with segments or all not associated with any segment.";
    400 "SubnetSegmentAssociationChangeNotAllowed" subnet_keeps_its_segment() "A subnet that is already associated with a segment cannot have its segment association changed.";
    400 "InvalidSubnetServiceType" invalid_service_type(kind) "Subnet service type {kind} does not correspond to a valid device owner.";

    // Subnet pools and address scopes.
    400 "EmptySubnetPoolPrefixList" empty_subnet_pool() "Empty subnet pool prefix list.";
    400 "PrefixVersionMismatch" prefix_version_mismatch() "Cannot mix IPv4 and IPv6 prefixes in a subnet pool.";
    400 "IllegalSubnetPoolPrefixBounds" illegal_prefix_bounds(bounds) "Illegal prefix bounds: {bounds}.";
    400 "IllegalSubnetPoolPrefixUpdate" illegal_prefix_update() "Illegal update to prefixes: Existing prefixes must be a subset of the new prefixes.";
    400 "IllegalSubnetPoolPrefixRemoval" illegal_prefix_removal() "Illegal update to prefixes: One or more of the prefixes are in use by existing subnets.";
    400 "IllegalSubnetPoolUpdate" illegal_onboarding(cidr) "Illegal subnetpool update: prefix {cidr} overlaps with subnets that were allocated from the pool.";
    400 "SubnetPoolDeleteError" subnet_pool_delete(why) "Unable to delete subnet pool: {why}.";
    400 "SubnetAllocationError" subnet_allocation(why) "Failed to allocate subnet: {why}.";
    400 "MinPrefixSubnetAllocationError" prefix_too_short(length, least) "Unable to allocate subnet with prefix length {length}, minimum allowed prefix is {least}.";
    400 "MaxPrefixSubnetAllocationError" prefix_too_long(length, most) "Unable to allocate subnet with prefix length {length}, maximum allowed prefix is {most}.";
    409 "SubnetPoolQuotaExceeded" subnet_pool_quota_exceeded() "Per-project subnet pool prefix quota exceeded.";
    400 "NetworkAddressScopeAffinityError" network_scope_affinity() "Subnets of the same address family hosted on the same network must all participate in the same address scope.";
    400 "NetworkSubnetPoolAffinityError" network_pool_affinity() "Subnets hosted on the same network must be allocated from the same subnet pool.";
    400 "IllegalSubnetPoolIpVersionAssociationToAddressScope" wrong_scope_version(pool, scope, version) "Illegal subnetpool association: subnetpool {pool} cannot associate with address scope {scope} because subnetpool ip_version is not {version}.";
    409 "AddressScopePrefixConflict" address_scope_prefix_conflict() "Failed to associate address scope: subnetpools within an address scope must have unique prefixes.";
    409 "AddressScopeInUse" address_scope_in_use(id) "Unable to complete operation on address scope {id}. There are one or more subnet pools in use on the address scope.";
    400 "AddressScopeUpdateError" address_scope_update(id) "Unable to update address scope {id} : Shared address scope can't be unshared.";

    // Ports: addresses.
    409 "MacAddressInUse" mac_in_use(network, mac) "Unable to complete operation for network {network}. The mac address {mac} is in use.";
    503 "MacAddressGenerationFailure" no_mac(network) "Unable to generate unique mac on network {network}.";
    409 "IpAddressAlreadyAllocated" ip_already_allocated(address, subnet) "IP address {address} already allocated in subnet {subnet}";
    409 "IpAddressGenerationFailure" no_more_addresses(network) "No more IP addresses available on network {network}.";
    409 "IpAddressGenerationFailureNoMatchingSubnet" no_matching_subnet() "No valid service subnet for the given device owner.";
    400 "InvalidIpForNetwork" invalid_ip_for_network(address) "IP address {address} is not a valid IP for any of the subnets on the specified network.";
    400 "InvalidIpForSubnet" invalid_ip_for_subnet(address) "IP address {address} is not a valid IP for the specified subnet.";
    400 "AllocationOnAutoAddressSubnet" allocation_on_auto_address_subnet(address, subnet) "IPv6 address {address} cannot be directly assigned to a port on subnet {subnet} as the subnet is configured for automatic addresses";

    // Ports: what they carry and who holds them.
    400 "PortSecurityAndIPRequiredForSecurityGroups" port_security_required() "Port security must be enabled and port must have an IP address in order to use security groups.";
    409 "PortSecurityPortHasSecurityGroup" port_has_groups() "Port has security group associated. Cannot disable port security or IP address until security group is removed.";
    409 "AddressPairAndPortSecurityRequired" pairs_need_port_security() "Port Security must be enabled in order to have allowed address pairs on a port.";
    400 "AllowedAddressPairExhausted" too_many_pairs(most) "The number of allowed address pair exceeds the maximum {most}.";
    409 "DeviceIDNotOwnedByTenant" device_not_owned(device) "The following device_id {device} is not owned by your tenant or matches another tenants router.";
    409 "ServicePortInUse" service_port_in_use(id, why) "Port {id} cannot be deleted directly via the port API: {why}.";
    409 "PortBound" port_bound(id, old, new) "Unable to complete operation on port {id}, port is already bound, port type: ovs, old_mac {old}, new_mac {new}.";
    409 "PortBindingAlreadyExists" binding_exists(port, host) "Binding for port {port} on host {host} already exists.";
    409 "PortBindingAlreadyActive" binding_already_active(port, host) "Binding for port {port} on host {host} is already active.";
    409 "PortBindingError" binding_impossible(port, host) "Binding for port {port} on host {host} could not be created or updated.";
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

    400 "InvalidActionForType" invalid_rbac_action(action, object_type, valid) "Invalid action '{action}' for object type '{object_type}'. Valid actions: {valid}";
    409 "DuplicateRbacPolicy" duplicate_rbac_policy() "An RBAC policy already exists with those values.";
    409 "RbacPolicyInUse" rbac_policy_in_use(object, details) "RBAC policy on object {object} cannot be removed because other objects depend on it.\nDetails: {details}";

    404 "InvalidDHCPAgent" invalid_dhcp_agent(id) "Agent {id} is not a valid DHCP Agent or has been disabled.";
    409 "NetworkHostedByDHCPAgent" network_already_hosted(network, agent) "The network {network} has been already hosted by the DHCP Agent {agent}.";
    409 "NetworkNotHostedByDhcpAgent" network_not_hosted(network, agent) "The network {network} is not hosted by the DHCP agent {agent}.";
    404 "InvalidL3Agent" invalid_l3_agent(id) "Agent {id} is not a L3 Agent or has been disabled";
    409 "RouterHostedByL3Agent" router_already_hosted(router, agent) "The router {router} has been already hosted by the L3 Agent {agent}.";
    409 "RouterNotHostedByL3Agent" router_not_hosted(router, agent) "The router {router} is not hosted by L3 agent {agent}.";
    409 "RouterL3AgentMismatch" router_agent_mismatch(router, agent) "Cannot host distributed router {router} on legacy L3 agent {agent}.";
    409 "DVRL3CannotAssignToDvrAgent" cannot_assign_to_dvr_agent() "Not allowed to manually assign a router to an agent in 'dvr' mode.";
    409 "DVRL3CannotRemoveFromDvrAgent" cannot_remove_from_dvr_agent() "Not allowed to manually remove a router from an agent in 'dvr' mode.";

    409 "RouterInUse" router_in_use(id, ports) "Router {id} has ports still attached: {ports}";
    404 "FlavorNotFound" flavor_not_found(id) "Flavor {id} could not be found.";
    409 "RouterGatewayNotValid" router_gateway_not_valid(id) "Can not enable ndp proxy on router {id}, The router has no external gateway or the external gateway port has no IPv6 address or IPv6 address scope.";
    409 "RouterExternalGatewayInUseByFloatingIp" router_gateway_in_use(router, network) "Gateway cannot be updated for router {router}, since a gateway to external network {network} is required by one or more floating IPs.";
    400 "InvalidRoutes" invalid_routes(routes) "Invalid format for routes: {routes}, the nexthop is not connected with router";
    400 "RoutesExhausted" routes_exhausted(router, most) "Unable to complete operation for {router}. The number of routes exceeds the maximum {most}.";
    404 "RouterInterfaceNotFound" router_interface_not_found(router, port) "Router {router} does not have an interface with id {port}";
    404 "RouterInterfaceNotFoundForSubnet" no_router_interface_for_subnet(router, subnet) "Router {router} has no interface on subnet {subnet}";
    409 "RouterInterfaceInUseByFloatingIP" router_interface_in_use_by_floating_ip(subnet, router) "Router interface for subnet {subnet} on router {router} cannot be deleted, as it is required by one or more floating IPs.";
    409 "RouterInterfaceInUseByRoute" router_interface_in_use_by_route(subnet, router) "Router interface for subnet {subnet} on router {router} cannot be deleted, as it is required by one or more routes.";
    409 "SubnetMismatchForPort" subnet_mismatch_for_port(port, subnet) "Subnet on port {port} does not match the requested subnet {subnet}.";
    409 "PortInUse" port_in_use(port, network, why) "Unable to complete operation on port {port} for network {network}. {why}.";

    400 "ExternalIpAddressExhausted" external_addresses_exhausted(network) "Unable to find any IP address on external network {network}.";
    404 "ExternalGatewayForFloatingIPNotFound" no_gateway_for_floating_ip(network, subnet, port) "External network {network} is not reachable from subnet {subnet}.  Therefore, cannot associate Port {port} with a Floating IP.";
    409 "FloatingIPPortAlreadyAssociated" port_already_associated(floating_ip, port, address, network) "Cannot associate floating IP {floating_ip} with port {port} using fixed IP {address}, as that fixed IP already has a floating IP on external network {network}.";
    409 "AutoAllocationFailure" auto_allocation_failed(reason) "Deployment error: {reason}.";
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
