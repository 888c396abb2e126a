//! Why a packet was dropped: one list that feeds counters, metrics, logs and `docs/drop-reasons.md`.

/// Defines the enum, its names and its explanations in one place, so that no list can go stale.
macro_rules! drop_reasons {
    ($($(#[$attribute:meta])* $variant:ident = $number:literal, $name:literal, $explanation:literal;)+) => {
        /// Why a packet was dropped. The number indexes the map `DROPS` and is stable within an ABI version.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum DropReason {
            $(#[doc = $explanation] $(#[$attribute])* $variant = $number,)+
        }

        impl DropReason {
            /// Every reason, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in counters, metrics and logs.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One sentence for the operator: what was seen, and what it usually means.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$variant => $explanation,)+ }
            }
        }
    };
}

drop_reasons! {
    // The link layer.
    UnknownInterface = 0, "unknown_interface", "The packet came in by an interface that agent.toml does not name.";
    Truncated = 1, "truncated", "The frame ends within a header.";
    Ethertype = 2, "ethertype", "The frame carries neither IPv4, IPv6 nor ARP.";
    NotOurMac = 3, "not_our_mac", "The frame is addressed to another station's hardware address.";
    VlanDepth = 4, "vlan_depth", "The frame has more than two 802.1Q tags.";
    // The headers.
    Ipv4Header = 5, "ipv4_header", "The IPv4 header's version, header length or total length is impossible.";
    Ipv4Checksum = 6, "ipv4_checksum", "The IPv4 header checksum is wrong.";
    Ipv4Options = 7, "ipv4_options", "The IPv4 header has malformed options.";
    Ipv6Header = 8, "ipv6_header", "The IPv6 header's version or payload length is impossible.";
    Ipv6ExtensionChain = 9, "ipv6_extension_chain", "The chain of IPv6 extension headers is longer than eight headers or 2,048 bytes, or malformed.";
    Ipv6RoutingHeader = 10, "ipv6_routing_header", "The packet has a routing header that leads on to other destinations than the one that the policy would judge.";
    TcpHeader = 11, "tcp_header", "The TCP header's data offset is impossible.";
    TcpFlags = 12, "tcp_flags", "The TCP flags end and reset the connection at once (FIN with RST).";
    UdpHeader = 13, "udp_header", "The UDP length is impossible.";
    IcmpHeader = 14, "icmp_header", "The ICMP message is too short for its type.";
    Fragment = 15, "fragment", "The packet is a fragment, and the program that follows fragments is missing: an agent that is started puts it back.";
    // The addresses.
    SourceMartian = 16, "source_martian", "The source address is one of a block that is reserved, unassigned or for documentation.";
    DestinationMartian = 17, "destination_martian", "The destination address is one of a block that is reserved, unassigned or for documentation.";
    Land = 18, "land", "Source and destination are the same address.";
    Spoofed = 19, "spoofed", "The source address belongs to no zone of the ingress interface.";
    Multicast = 20, "multicast", "Multicast is not forwarded.";
    Broadcast = 21, "broadcast", "Broadcasts and directed broadcasts are not forwarded.";
    LinkLocal = 22, "link_local", "Neighbour discovery was to be forwarded, or a packet to a link-local or instance service address.";
    // The flow.
    TcpNotSyn = 23, "tcp_not_syn", "A TCP segment belongs to no flow and does not open one; with `[conntrack] unknown_tcp = \"reset\"` the sender was answered.";
    TcpState = 24, "tcp_state", "A TCP segment does not fit the state of its flow.";
    IcmpUnrelated = 25, "icmp_unrelated", "An ICMP error or reply belongs to no flow.";
    Asymmetric = 26, "asymmetric", "A packet of a flow came in by another zone than the flow's.";
    TableFull = 27, "table_full", "The flow table is full of live flows.";
    FlowRace = 28, "flow_race", "Another processor changed the flow at the same moment; the sender's retransmission will pass.";
    // The policy.
    NoPolicy = 29, "no_policy", "No policy has been loaded.";
    Policy = 30, "policy", "A rule, or the default of the zone pair, drops it.";
    Rejected = 31, "rejected", "A rule, or the default of the zone pair, rejects it; the sender was answered.";
    PolicyChanged = 32, "policy_changed", "The flow was allowed once, but the policy has changed and forbids it.";
    ManagementTransit = 33, "management_transit", "Nothing is forwarded from or to the management interface.";
    // The route.
    NoRoute = 34, "no_route", "There is no route to the destination; the sender was answered.";
    UnreachableRoute = 35, "unreachable_route", "The route to the destination is a blackhole, unreachable or prohibit route.";
    EgressNotForwarding = 36, "egress_not_forwarding", "The route leads to an interface that agent.toml does not name.";
    DestinationZone = 37, "destination_zone", "The destination address belongs to no zone of the egress interface.";
    Hairpin = 38, "hairpin", "The packet would leave by the interface it came in by, which has no `hairpin = true`.";
    TtlExpired = 39, "ttl_expired", "The TTL or hop limit has run out; the sender was answered.";
    TooBig = 40, "too_big", "The packet is larger than the egress interface's MTU and may not be fragmented; the sender was answered.";
    NotHandedOver = 41, "not_handed_over", "The next hop is not resolved, and the pair of devices that hands packets to the kernel is missing.";
    // Later additions: numbers are never given anew.
    TcpWindow = 42, "tcp_window", "A TCP segment lies outside the window of its connection, or is a reset that its receiver would not heed.";
    IpLength = 43, "ip_length", "The IP header says that the packet is longer than the frame.";
    Ipv4LooseSourceRoute = 44, "ipv4_loose_source_route", "The IPv4 header has a loose source route.";
    Ipv4StrictSourceRoute = 45, "ipv4_strict_source_route", "The IPv4 header has a strict source route.";
    Ipv4RecordRoute = 46, "ipv4_record_route", "The IPv4 header asks routers to record the route.";
    Ipv6HopByHop = 47, "ipv6_hop_by_hop", "A hop-by-hop options header stands elsewhere than directly behind the IPv6 header.";
    Ipv6RoutingType0 = 48, "ipv6_routing_type_0", "The packet has a routing header of type 0, which RFC 5095 forbids.";
    Ipv6Experimental = 49, "ipv6_experimental", "The next header has one of the numbers for experiments (253, 254), behind which nothing can be judged.";
    TcpNull = 50, "tcp_null", "The TCP segment has none of the flags SYN, ACK, FIN and RST: a null scan.";
    TcpXmas = 51, "tcp_xmas", "The TCP segment has FIN, PSH and URG without ACK: a Christmas tree scan.";
    TcpSynFin = 52, "tcp_syn_fin", "The TCP segment has SYN and FIN.";
    TcpSynRst = 53, "tcp_syn_rst", "The TCP segment has SYN and RST.";
    TcpFinWithoutAck = 54, "tcp_fin_without_ack", "The TCP segment has FIN without ACK: a FIN scan.";
    PortZero = 55, "port_zero", "A TCP or SCTP port, or the destination port of a UDP datagram, is zero.";
    TransportChecksum = 56, "transport_checksum", "The checksum of TCP, UDP, ICMP or ICMPv6 is wrong, or missing where it may not (`[anomalies] verify_checksums`).";
    TtlZero = 57, "ttl_zero", "The packet came in with a TTL or hop limit of zero, which no host sends and no router passes on; the sender was answered.";
    SourceUnspecified = 58, "source_unspecified", "The source address is unspecified.";
    SourceLoopback = 59, "source_loopback", "The source address is a loopback address.";
    SourceMulticast = 60, "source_multicast", "The source address is that of a group.";
    SourceBroadcast = 61, "source_broadcast", "The source address is 255.255.255.255.";
    SourceDirectedBroadcast = 62, "source_directed_broadcast", "The source address is the broadcast address of a subnet of ours.";
    SourceOwn = 63, "source_own", "The source address is one of our own.";
    SourceLinkLocal = 64, "source_link_local", "A packet from a link-local or instance service address was to be forwarded.";
    DestinationUnspecified = 65, "destination_unspecified", "The destination address is unspecified.";
    DestinationLoopback = 66, "destination_loopback", "The destination address is a loopback address.";
    UnicastInGroupFrame = 67, "unicast_in_group_frame", "A packet for one host came in a broadcast or multicast frame.";
    NeighbourDiscoveryRouted = 68, "neighbour_discovery_routed", "A message of neighbour discovery has a hop limit below 255: it comes from beyond the link.";
    IcmpForbidden = 69, "icmp_forbidden", "An ICMP redirect or source quench, which a firewall must not pass on.";
    HalfOpenLimit = 70, "half_open_limit", "There are as many half-open flows as there may be (`[conntrack] max_half_open`), or they open faster than their places can be given free.";
    Limit = 71, "limit", "The rule that allows it has opened as many flows as its `rate` or `max_flows` permits.";
    FragmentTiny = 72, "fragment_tiny", "A datagram's first fragment does not hold the whole transport header, by which the policy judges it (RFC 1858).";
    FragmentTcpOffset = 73, "fragment_tcp_offset", "A TCP fragment begins eight bytes into its segment, where it could overwrite the flags that were judged (RFC 3128).";
    FragmentHeaderChain = 74, "fragment_header_chain", "A first IPv6 fragment does not hold the whole chain of extension headers (RFC 7112).";
    FragmentLength = 75, "fragment_length", "A fragment is empty, or is not the last and has a length that is no multiple of eight.";
    FragmentTooLong = 76, "fragment_too_long", "A fragment would make its datagram longer than 65,535 bytes: a ping of death.";
    FragmentOverlap = 77, "fragment_overlap", "A fragment overlaps another one of its datagram, whose rest is dropped as well (RFC 5722).";
    FragmentDuplicate = 78, "fragment_duplicate", "A fragment of exactly this place and length has passed already.";
    FragmentEnd = 79, "fragment_end", "Fragments contradict each other about where their datagram ends; its rest is dropped as well.";
    FragmentTooMany = 80, "fragment_too_many", "The datagram is in more than 64 fragments; its rest is dropped as well.";
    FragmentOfDropped = 81, "fragment_of_dropped", "The rest of a datagram of which a fragment, or whose flow, was dropped.";
    FragmentWithoutFirst = 82, "fragment_without_first", "A fragment waited in vain for its datagram's first one; or the host sent it without.";
    FragmentNotHeld = 83, "fragment_not_held", "A fragment came before its datagram's first one and could not wait for it: no agent is there, or it has no room.";
    FragmentControl = 84, "fragment_control", "An ICMP error, a message of neighbour discovery (RFC 6980) or a SYN is a fragment, which none needs to be.";
    SctpChunks = 85, "sctp_chunks", "An SCTP packet has no chunk, one of an impossible length, one that must stand alone or first and does not, or more than 512; or it is a first fragment behind which others could hide.";
    SctpTag = 86, "sctp_tag", "The verification tag of an SCTP packet is not the one that its receiver has announced.";
    SctpNotInit = 87, "sctp_not_init", "An SCTP packet belongs to no flow and is neither an INIT nor a HEARTBEAT, which open one.";
    SctpState = 88, "sctp_state", "An SCTP packet does not fit the state of its association.";
}

impl DropReason {
    /// Number of reasons.
    pub const COUNT: usize = Self::ALL.len();

    /// Reads a number that the program stored.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_are_dense_so_that_they_index_the_counters() {
        for (position, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, position, "{}", reason.name());
            assert_eq!(DropReason::from_number(*reason as u8), Some(*reason));
        }
        assert_eq!(DropReason::from_number(DropReason::COUNT as u8), None);
    }

    #[test]
    fn names_are_unique_and_every_reason_is_explained() {
        let names: BTreeSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), DropReason::COUNT);
        assert!(DropReason::ALL.iter().all(|reason| reason.explanation().ends_with('.')));
    }
}
