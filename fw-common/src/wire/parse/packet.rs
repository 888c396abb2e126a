//! What a parsed frame is.

use crate::sctp::Chunks;
use crate::wire::{Address, protocol};

/// Bits of [`Packet::tcp_flags`] (RFC 9293, section 3.1).
pub mod tcp_flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement number is valid.
    pub const ACK: u8 = 0x10;
    /// Urgent.
    pub const URG: u8 = 0x20;
}

/// What the packet is to the flow table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// TCP.
    Tcp = 0,
    /// UDP.
    Udp = 1,
    /// An ICMP or ICMPv6 message that asks for a reply.
    IcmpQuery = 2,
    /// The reply to such a message.
    IcmpReply = 3,
    /// An ICMP or ICMPv6 error that quotes the packet it is about.
    IcmpError = 4,
    /// ICMPv6 neighbour discovery (RFC 4861): never forwarded.
    NeighbourDiscovery = 5,
    /// IGMP or MLD: never forwarded.
    MulticastListener = 6,
    /// Any other protocol.
    Other = 7,
    /// A later fragment: it belongs to the flow of its datagram's first one, and changes nothing but its counters.
    Fragment = 8,
    /// SCTP.
    Sctp = 9,
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// All of it.
    #[default]
    Whole = 0,
    /// Its first fragment, with the transport header.
    First = 1,
    /// Another fragment.
    Later = 2,
    /// All of it, in an IPv6 packet that has a fragment header all the same (RFC 6946).
    Atomic = 3,
}

/// Where the link layer ends and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// EtherType behind the tags.
    pub ethertype: u16,
    /// Offset of the network header in bytes.
    pub l3_offset: usize,
    /// Destination hardware address.
    pub dst_mac: [u8; 6],
}

/// A parsed packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub src_addr: Address,
    /// Destination address.
    pub dst_addr: Address,
    /// What it is to the flow table.
    pub kind: Kind,
    /// What the packet is. The parser is told, because only who has looked at the other fragments knows whether this one may
    /// pass: a packet with a fragment header that is announced as whole is refused with [`crate::DropReason::Fragment`], and
    /// [`Packet::l4_offset`] is that of the header.
    pub part: Part,
    /// IPv6, of a packet that is not announced as whole: the number of the header behind the fragment header.
    pub behind_fragment_header: u8,
    /// Protocol number of the transport header.
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TCP flags, see [`tcp_flag`]; 0 for other protocols.
    pub tcp_flags: u8,
    /// TCP: length of the header in bytes.
    pub tcp_header_len: u8,
    /// TCP: scale and bits of [`crate::abi::flow::window_flags`] that the options of a SYN announce.
    pub tcp_announced: u8,
    /// ICMP type, or 0.
    pub icmp_type: u8,
    /// ICMP code, or 0.
    pub icmp_code: u8,
    /// IPv4: the packet may not be fragmented. IPv6: always true.
    pub dont_fragment: bool,
    /// Source port; for ICMP queries the identifier and the type of the request stand in their place.
    pub src_port: u16,
    /// Destination port; for ICMP queries the identifier and the type of the request stand in their place.
    pub dst_port: u16,
    /// Offset of the network header in the frame, in bytes.
    pub l3_offset: u16,
    /// Offset of the transport header in the frame, in bytes.
    pub l4_offset: u16,
    /// Length of the IP packet, in bytes.
    pub ip_len: u16,
    /// TCP: window, not scaled.
    pub tcp_window: u16,
    /// TCP: offset of the maximum segment size in the frame, in bytes; 0 if it is not announced.
    pub mss_offset: u16,
    /// TCP: sequence number.
    pub seq: u32,
    /// TCP: acknowledgement number.
    pub ack: u32,
    /// TCP: the highest sequence number that is acknowledged, selectively or not.
    pub sack: u32,
    /// SCTP: verification tag.
    pub verification_tag: u32,
    /// SCTP: initiate tag of a first chunk that is an INIT or INIT ACK; 0 without.
    pub initiate_tag: u32,
    /// SCTP: the chunks. The parser does not read them: see [`crate::sctp::read_chunks`].
    pub chunks: Chunks,
}

impl Packet {
    /// Nothing, to be overwritten by [`super::network`].
    pub const EMPTY: Self = Self {
        src_addr: Address::v4([0; 4]),
        dst_addr: Address::v4([0; 4]),
        kind: Kind::Other,
        part: Part::Whole,
        behind_fragment_header: 0,
        protocol: 0,
        ttl: 0,
        tcp_flags: 0,
        tcp_header_len: 0,
        tcp_announced: 0,
        icmp_type: 0,
        icmp_code: 0,
        dont_fragment: false,
        src_port: 0,
        dst_port: 0,
        l3_offset: 0,
        l4_offset: 0,
        ip_len: 0,
        tcp_window: 0,
        mss_offset: 0,
        seq: 0,
        ack: 0,
        sack: 0,
        verification_tag: 0,
        initiate_tag: 0,
        chunks: Chunks::NONE,
    };

    /// Whether this is an IPv4 packet.
    #[inline(always)]
    #[must_use]
    pub const fn is_ipv4(&self) -> bool {
        self.src_addr.is_ipv4()
    }

    /// The ports as the policy sees them: for ICMP, 0 and `type << 8 | code`.
    #[inline(always)]
    #[must_use]
    pub const fn policy_ports(&self) -> (u16, u16) {
        if self.protocol == protocol::ICMP || self.protocol == protocol::ICMPV6 {
            (0, ((self.icmp_type as u16) << 8) | self.icmp_code as u16)
        } else {
            (self.src_port, self.dst_port)
        }
    }

    /// The "ports" of an ICMP query: the identifier on the asking side and the type of the request on the other, so that
    /// each side's requests are flows of their own and a reply finds the flow of its request.
    #[inline(always)]
    pub(super) const fn query_ports(kind: Kind, request_type: u8, identifier: u16) -> (u16, u16) {
        match kind {
            Kind::IcmpReply => (request_type as u16, identifier),
            Kind::IcmpQuery
            | Kind::Tcp
            | Kind::Udp
            | Kind::IcmpError
            | Kind::NeighbourDiscovery
            | Kind::MulticastListener
            | Kind::Fragment
            | Kind::Sctp
            | Kind::Other => (identifier, request_type as u16),
        }
    }
}

/// How much of the packet must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// A packet that was received: all of it.
    Whole,
    /// A packet that the host sends: its headers. The rest may lie elsewhere, and its checksums may be left to the device.
    Headers,
    /// A packet that an ICMP error quotes: its headers and eight bytes behind them (RFC 792).
    Quoted,
}
