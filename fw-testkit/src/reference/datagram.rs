//! A packet as the reference reads it, and the frame it becomes for the data plane.

use std::net::IpAddr;

use fw_common::DropReason;

use super::sctp_packet::SctpPacket;
use crate::packet::{Packet, Transport, tcp_flags};

/// A TCP segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpSegment {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Bits of [`tcp_flags`].
    pub flags: u8,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Window as in the header.
    pub window: u16,
    /// Window scale option.
    pub scale: Option<u8>,
    /// "Selective acknowledgements permitted".
    pub sack_permitted: bool,
    /// A block that is acknowledged selectively.
    pub sack: Option<(u32, u32)>,
}

/// What the IP packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// TCP.
    Tcp(TcpSegment),
    /// UDP with its ports.
    Udp(u16, u16),
    /// SCTP.
    Sctp(SctpPacket),
    /// ICMP or ICMPv6.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Identifier of a query or reply.
        id: u16,
        /// The packet that an error is about.
        quote: Option<Box<Datagram>>,
    },
    /// Any other protocol.
    Other(u8),
}

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv4: may be fragmented.
    pub may_fragment: bool,
    /// Bytes behind the transport header; of SCTP, whose chunks say it, without meaning.
    pub len: u16,
    /// What it carries.
    pub body: Body,
}

impl Datagram {
    /// A packet with a TTL of 64 and no data.
    #[must_use]
    pub fn new(src: IpAddr, dst: IpAddr, body: Body) -> Self {
        Self { src, dst, ttl: 64, may_fragment: false, len: 0, body }
    }

    /// Number of the transport protocol.
    #[must_use]
    pub fn protocol(&self) -> u8 {
        match self.body {
            Body::Tcp(_) => 6,
            Body::Udp(..) => 17,
            Body::Sctp(..) => 132,
            Body::Icmp { .. } if self.src.is_ipv4() => 1,
            Body::Icmp { .. } => 58,
            Body::Other(number) => number,
        }
    }

    /// Bytes of the whole IP packet.
    #[must_use]
    pub fn ip_len(&self) -> u16 {
        u16::try_from(self.packet().build_ip().len()).unwrap_or(u16::MAX)
    }

    /// The frame.
    #[must_use]
    pub fn frame(&self, src_mac: [u8; 6], dst_mac: [u8; 6]) -> Vec<u8> {
        self.packet().macs(src_mac, dst_mac).build()
    }

    fn packet(&self) -> Packet {
        let zeros = vec![0; usize::from(self.len)];
        let packet = match &self.body {
            Body::Tcp(segment) => tcp(self, segment).payload(&zeros),
            Body::Udp(src_port, dst_port) => Packet::udp(self.src, *src_port, self.dst, *dst_port).payload(&zeros),
            Body::Sctp(packet) => {
                let chunks: Vec<_> = packet.chunks.iter().map(|chunk| chunk.build()).collect();
                Packet::sctp((self.src, packet.src_port), (self.dst, packet.dst_port), packet.tag, &chunks)
            }
            Body::Icmp { kind, code, id, quote } => {
                let [high, low] = id.to_be_bytes();
                let transport = Transport::Icmp { kind: *kind, code: *code, rest: [high, low, 0, 0] };
                let quoted = quote.as_ref().map_or(zeros, |quote| quote.packet().build_ip());
                Packet::new(self.src, self.dst, transport).payload(&quoted)
            }
            Body::Other(number) => Packet::new(self.src, self.dst, Transport::Other(*number)).payload(&zeros),
        };
        packet.ttl(self.ttl).ipv4_fragment(0, if self.may_fragment { 0 } else { 0x4000 })
    }
}

fn tcp(datagram: &Datagram, segment: &TcpSegment) -> Packet {
    let transport = Transport::Tcp {
        src_port: segment.src_port,
        dst_port: segment.dst_port,
        flags: segment.flags,
        sequence: segment.seq,
        acknowledgement: segment.ack,
    };
    let mut options = Vec::new();
    if let Some(scale) = segment.scale {
        options.extend([3, 3, scale, 1]);
    }
    if segment.sack_permitted {
        options.extend([4, 2, 1, 1]);
    }
    if let Some((left, right)) = segment.sack {
        options.extend([1, 1, 5, 10]);
        options.extend(left.to_be_bytes());
        options.extend(right.to_be_bytes());
    }
    Packet::new(datagram.src, datagram.dst, transport).tcp_window(segment.window).tcp_options(&options)
}

impl TcpSegment {
    /// Whether a flag is set.
    pub(super) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Why no stack can have sent this: a segment that is neither the start nor the end of a connection acknowledges, none is
    /// two of start, end and reset, and no socket has port 0.
    pub(super) fn contradiction(&self) -> Option<DropReason> {
        let [syn, fin, rst, ack] =
            [tcp_flags::SYN, tcp_flags::FIN, tcp_flags::RST, tcp_flags::ACK].map(|flag| self.has(flag));
        let is_tree = self.has(tcp_flags::PSH) && self.has(tcp_flags::URG);
        match (syn, fin, rst, ack) {
            _ if self.src_port == 0 || self.dst_port == 0 => Some(DropReason::PortZero),
            (true, true, _, _) => Some(DropReason::TcpSynFin),
            (true, false, true, _) => Some(DropReason::TcpSynRst),
            (false, true, true, _) => Some(DropReason::TcpFlags),
            (false, false, false, false) => Some(DropReason::TcpNull),
            (false, true, false, false) if is_tree => Some(DropReason::TcpXmas),
            (false, true, false, false) => Some(DropReason::TcpFinWithoutAck),
            (true, false, false, _) | (false, false, true, _) | (false, _, false, true) => None,
        }
    }
}
