//! The fields a flow can match and write, as one table: the name in matches, the NXM and OXM
//! names in actions, the width, and how a value is written. Parser and printer read the table;
//! `walk` reads the widths.

/// How a field's value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Dec,
    Hex,
    Mac,
    Ip4,
    Ip6,
    /// `+new-est`, bits of connection tracking.
    CtState,
    /// `+syn-ack`.
    TcpFlags,
    /// `no`, `yes`, `first`, `later`, `not_later`.
    Frag,
    /// A port's number or name.
    Port,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct FieldInfo {
    /// The name in matches and in `set_field`.
    pub name: &'static str,
    /// The name in `load`, `move` and `learn`.
    pub nxm: &'static str,
    /// Other names of the same field.
    pub aliases: &'static [&'static str],
    pub bits: u32,
    pub form: Form,
}

macro_rules! fields {
    ($($variant:ident $name:literal $nxm:literal [$($alias:literal),*] $bits:literal $form:ident;)*) => {
        /// A field of a packet or of its metadata, in the order `ovs-ofctl` prints them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Field { $($variant),* }

        impl Field {
            /// Every field, in order.
            pub const ALL: &'static [Field] = &[$(Field::$variant),*];

            /// The field's row.
            pub fn info(self) -> &'static FieldInfo {
                match self {
                    $(Field::$variant => &FieldInfo {
                        name: $name, nxm: $nxm, aliases: &[$($alias),*], bits: $bits,
                        form: Form::$form,
                    }),*
                }
            }

            /// A field by any of its names.
            pub fn by_name(name: &str) -> Option<Field> {
                match name {
                    $($name | $nxm $(| $alias)* => Some(Field::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

// The order of rows is the order in which ovs-ofctl prints a match.
fields! {
    PktMark "pkt_mark" "NXM_NX_PKT_MARK" ["OXM_OF_PKT_MARK"] 32 Hex;
    RecircId "recirc_id" "recirc_id()" [] 32 Hex;
    DpHash "dp_hash" "NXM_NX_DP_HASH" [] 32 Hex;
    ConjId "conj_id" "NXM_NX_CONJ_ID" [] 32 Dec;
    CtState "ct_state" "NXM_NX_CT_STATE" [] 32 CtState;
    CtZone "ct_zone" "NXM_NX_CT_ZONE" [] 16 Dec;
    CtMark "ct_mark" "NXM_NX_CT_MARK" [] 32 Hex;
    CtLabel "ct_label" "NXM_NX_CT_LABEL" [] 128 Hex;
    CtNwSrc "ct_nw_src" "NXM_NX_CT_NW_SRC" [] 32 Ip4;
    CtIpv6Src "ct_ipv6_src" "NXM_NX_CT_IPV6_SRC" [] 128 Ip6;
    CtNwDst "ct_nw_dst" "NXM_NX_CT_NW_DST" [] 32 Ip4;
    CtIpv6Dst "ct_ipv6_dst" "NXM_NX_CT_IPV6_DST" [] 128 Ip6;
    CtNwProto "ct_nw_proto" "NXM_NX_CT_NW_PROTO" [] 8 Dec;
    CtTpSrc "ct_tp_src" "NXM_NX_CT_TP_SRC" [] 16 Dec;
    CtTpDst "ct_tp_dst" "NXM_NX_CT_TP_DST" [] 16 Dec;
    Reg0 "reg0" "NXM_NX_REG0" [] 32 Hex;
    Reg1 "reg1" "NXM_NX_REG1" [] 32 Hex;
    Reg2 "reg2" "NXM_NX_REG2" [] 32 Hex;
    Reg3 "reg3" "NXM_NX_REG3" [] 32 Hex;
    Reg4 "reg4" "NXM_NX_REG4" [] 32 Hex;
    Reg5 "reg5" "NXM_NX_REG5" [] 32 Hex;
    Reg6 "reg6" "NXM_NX_REG6" [] 32 Hex;
    Reg7 "reg7" "NXM_NX_REG7" [] 32 Hex;
    Reg8 "reg8" "NXM_NX_REG8" [] 32 Hex;
    Reg9 "reg9" "NXM_NX_REG9" [] 32 Hex;
    Reg10 "reg10" "NXM_NX_REG10" [] 32 Hex;
    Reg11 "reg11" "NXM_NX_REG11" [] 32 Hex;
    Reg12 "reg12" "NXM_NX_REG12" [] 32 Hex;
    Reg13 "reg13" "NXM_NX_REG13" [] 32 Hex;
    Reg14 "reg14" "NXM_NX_REG14" [] 32 Hex;
    Reg15 "reg15" "NXM_NX_REG15" [] 32 Hex;
    Xreg0 "xreg0" "OXM_OF_PKT_REG0" [] 64 Hex;
    Xreg1 "xreg1" "OXM_OF_PKT_REG1" [] 64 Hex;
    Xreg2 "xreg2" "OXM_OF_PKT_REG2" [] 64 Hex;
    Xreg3 "xreg3" "OXM_OF_PKT_REG3" [] 64 Hex;
    Xreg4 "xreg4" "OXM_OF_PKT_REG4" [] 64 Hex;
    Xreg5 "xreg5" "OXM_OF_PKT_REG5" [] 64 Hex;
    Xreg6 "xreg6" "OXM_OF_PKT_REG6" [] 64 Hex;
    Xreg7 "xreg7" "OXM_OF_PKT_REG7" [] 64 Hex;
    Xxreg0 "xxreg0" "NXM_NX_XXREG0" [] 128 Hex;
    Xxreg1 "xxreg1" "NXM_NX_XXREG1" [] 128 Hex;
    Xxreg2 "xxreg2" "NXM_NX_XXREG2" [] 128 Hex;
    Xxreg3 "xxreg3" "NXM_NX_XXREG3" [] 128 Hex;
    TunId "tun_id" "NXM_NX_TUN_ID" ["tunnel_id", "OXM_OF_TUNNEL_ID"] 64 Hex;
    TunSrc "tun_src" "NXM_NX_TUN_IPV4_SRC" [] 32 Ip4;
    TunDst "tun_dst" "NXM_NX_TUN_IPV4_DST" [] 32 Ip4;
    TunIpv6Src "tun_ipv6_src" "NXM_NX_TUN_IPV6_SRC" [] 128 Ip6;
    TunIpv6Dst "tun_ipv6_dst" "NXM_NX_TUN_IPV6_DST" [] 128 Ip6;
    Metadata "metadata" "OXM_OF_METADATA" [] 64 Hex;
    InPort "in_port" "NXM_OF_IN_PORT" [] 16 Port;
    InPortOxm "in_port_oxm" "OXM_OF_IN_PORT" [] 32 Port;
    VlanTci "vlan_tci" "NXM_OF_VLAN_TCI" [] 16 Hex;
    VlanVid "vlan_vid" "OXM_OF_VLAN_VID" [] 13 Dec;
    VlanPcp "vlan_pcp" "OXM_OF_VLAN_PCP" [] 3 Dec;
    EthSrc "dl_src" "NXM_OF_ETH_SRC" ["eth_src", "OXM_OF_ETH_SRC"] 48 Mac;
    EthDst "dl_dst" "NXM_OF_ETH_DST" ["eth_dst", "OXM_OF_ETH_DST"] 48 Mac;
    EthType "dl_type" "NXM_OF_ETH_TYPE" ["eth_type", "OXM_OF_ETH_TYPE"] 16 Hex;
    Ipv6Src "ipv6_src" "NXM_NX_IPV6_SRC" ["OXM_OF_IPV6_SRC"] 128 Ip6;
    Ipv6Dst "ipv6_dst" "NXM_NX_IPV6_DST" ["OXM_OF_IPV6_DST"] 128 Ip6;
    Ipv6Label "ipv6_label" "NXM_NX_IPV6_LABEL" ["OXM_OF_IPV6_FLABEL"] 20 Hex;
    IpSrc "nw_src" "NXM_OF_IP_SRC" ["ip_src", "OXM_OF_IPV4_SRC"] 32 Ip4;
    IpDst "nw_dst" "NXM_OF_IP_DST" ["ip_dst", "OXM_OF_IPV4_DST"] 32 Ip4;
    ArpSpa "arp_spa" "NXM_OF_ARP_SPA" ["OXM_OF_ARP_SPA"] 32 Ip4;
    ArpTpa "arp_tpa" "NXM_OF_ARP_TPA" ["OXM_OF_ARP_TPA"] 32 Ip4;
    IpProto "nw_proto" "NXM_OF_IP_PROTO" ["ip_proto", "OXM_OF_IP_PROTO"] 8 Dec;
    ArpOp "arp_op" "NXM_OF_ARP_OP" ["OXM_OF_ARP_OP"] 16 Dec;
    ArpSha "arp_sha" "NXM_NX_ARP_SHA" ["OXM_OF_ARP_SHA"] 48 Mac;
    ArpTha "arp_tha" "NXM_NX_ARP_THA" ["OXM_OF_ARP_THA"] 48 Mac;
    NwTos "nw_tos" "NXM_OF_IP_TOS" [] 8 Dec;
    IpDscp "ip_dscp" "OXM_OF_IP_DSCP" [] 6 Dec;
    IpEcn "nw_ecn" "NXM_NX_IP_ECN" ["ip_ecn", "OXM_OF_IP_ECN"] 2 Dec;
    IpTtl "nw_ttl" "NXM_NX_IP_TTL" ["ip_ttl"] 8 Dec;
    MplsLabel "mpls_label" "OXM_OF_MPLS_LABEL" [] 20 Dec;
    MplsTc "mpls_tc" "OXM_OF_MPLS_TC" [] 3 Dec;
    MplsBos "mpls_bos" "OXM_OF_MPLS_BOS" [] 1 Dec;
    MplsTtl "mpls_ttl" "NXM_NX_MPLS_TTL" [] 8 Dec;
    IpFrag "ip_frag" "NXM_NX_IP_FRAG" ["nw_frag"] 2 Frag;
    IcmpType "icmp_type" "NXM_OF_ICMP_TYPE" ["OXM_OF_ICMPV4_TYPE"] 8 Dec;
    IcmpCode "icmp_code" "NXM_OF_ICMP_CODE" ["OXM_OF_ICMPV4_CODE"] 8 Dec;
    Icmpv6Type "icmpv6_type" "NXM_NX_ICMPV6_TYPE" ["OXM_OF_ICMPV6_TYPE"] 8 Dec;
    Icmpv6Code "icmpv6_code" "NXM_NX_ICMPV6_CODE" ["OXM_OF_ICMPV6_CODE"] 8 Dec;
    NdTarget "nd_target" "NXM_NX_ND_TARGET" ["OXM_OF_IPV6_ND_TARGET"] 128 Ip6;
    NdSll "nd_sll" "NXM_NX_ND_SLL" ["OXM_OF_IPV6_ND_SLL"] 48 Mac;
    NdTll "nd_tll" "NXM_NX_ND_TLL" ["OXM_OF_IPV6_ND_TLL"] 48 Mac;
    NdReserved "nd_reserved" "ERICOXM_OF_ICMPV6_ND_RESERVED" [] 32 Dec;
    NdOptionsType "nd_options_type" "ERICOXM_OF_ICMPV6_ND_OPTIONS_TYPE" [] 8 Dec;
    TpSrc "tp_src" "tp_src()" [] 16 Dec;
    TpDst "tp_dst" "tp_dst()" [] 16 Dec;
    TcpSrc "tcp_src" "NXM_OF_TCP_SRC" ["OXM_OF_TCP_SRC"] 16 Dec;
    TcpDst "tcp_dst" "NXM_OF_TCP_DST" ["OXM_OF_TCP_DST"] 16 Dec;
    UdpSrc "udp_src" "NXM_OF_UDP_SRC" ["OXM_OF_UDP_SRC"] 16 Dec;
    UdpDst "udp_dst" "NXM_OF_UDP_DST" ["OXM_OF_UDP_DST"] 16 Dec;
    SctpSrc "sctp_src" "OXM_OF_SCTP_SRC" [] 16 Dec;
    SctpDst "sctp_dst" "OXM_OF_SCTP_DST" [] 16 Dec;
    TcpFlags "tcp_flags" "NXM_NX_TCP_FLAGS" ["OXM_OF_TCP_FLAGS"] 12 TcpFlags;
}

impl Field {
    /// The mask that names every bit of the field.
    pub fn full_mask(self) -> u128 {
        mask(self.info().bits)
    }

    /// The field by which a match knows this one: ports of all transport protocols are `tp_src`
    /// and `tp_dst` there, the protocol says whose; both ICMP versions share type and code.
    pub fn in_match(self) -> Field {
        match self {
            Field::TcpSrc | Field::UdpSrc | Field::SctpSrc => Field::TpSrc,
            Field::TcpDst | Field::UdpDst | Field::SctpDst => Field::TpDst,
            Field::Icmpv6Type => Field::IcmpType,
            Field::Icmpv6Code => Field::IcmpCode,
            Field::InPortOxm => Field::InPort,
            field => field,
        }
    }
}

/// The lowest `bits` bits set.
pub fn mask(bits: u32) -> u128 {
    match bits {
        128.. => u128::MAX,
        bits => (1 << bits) - 1,
    }
}

/// Connection tracking's state bits, lowest first, as OVS names them.
pub const CT_STATE_BITS: [&str; 8] = ["new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"];
/// TCP's flags, lowest first.
pub const TCP_FLAG_BITS: [&str; 12] = [
    "fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns", "[9]", "[10]", "[11]",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_to_its_row() {
        for field in Field::ALL {
            let info = field.info();
            for name in [info.name, info.nxm].iter().chain(info.aliases) {
                assert_eq!(Field::by_name(name), Some(*field), "{name}");
            }
        }
        assert_eq!(Field::by_name("no_such"), None);
        assert_eq!(mask(128), u128::MAX);
        assert_eq!(Field::VlanVid.full_mask(), 0x1fff);
    }
}
