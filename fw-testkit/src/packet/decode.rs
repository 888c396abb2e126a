//! The headers of a captured frame, read by etherparse: a second opinion on what the code under test wrote.

use std::net::IpAddr;

use etherparse::{InternetSlice, LinkSlice, SlicedPacket, TransportSlice};

use super::checksum::{internet_checksum, pseudo_header};

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Source hardware address.
    pub src_mac: [u8; 6],
    /// Destination hardware address.
    pub dst_mac: [u8; 6],
    /// Source address.
    pub src_addr: IpAddr,
    /// Destination address.
    pub dst_addr: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Number of the transport protocol.
    pub protocol: u8,
    /// Source port of TCP and UDP.
    pub src_port: Option<u16>,
    /// Destination port of TCP and UDP.
    pub dst_port: Option<u16>,
    /// Type and code of ICMP and ICMPv6.
    pub icmp: Option<(u8, u8)>,
    /// What follows the transport header; with ICMP, what follows the first eight bytes.
    pub payload: Vec<u8>,
    /// Whether the IPv4 header checksum and the transport checksum are right.
    pub checksums_are_valid: bool,
}

impl Decoded {
    /// Reads an IPv4 or IPv6 frame that is no fragment; `None` for anything else.
    #[must_use]
    pub fn from_ethernet(frame: &[u8]) -> Option<Self> {
        let sliced = SlicedPacket::from_ethernet(frame).ok()?;
        let Some(LinkSlice::Ethernet2(ethernet)) = &sliced.link else { return None };
        let net = sliced.net.as_ref()?;
        let (src_addr, dst_addr, ttl, header_is_valid) = addresses(net)?;
        let body = net.ip_payload_ref()?;
        let (src_port, dst_port, icmp, payload) = transport(sliced.transport.as_ref());
        Some(Self {
            src_mac: ethernet.source(),
            dst_mac: ethernet.destination(),
            src_addr,
            dst_addr,
            ttl,
            protocol: body.ip_number.0,
            src_port,
            dst_port,
            icmp,
            payload,
            checksums_are_valid: header_is_valid && body_is_valid(src_addr, dst_addr, body.ip_number.0, body.payload),
        })
    }
}

fn addresses(net: &InternetSlice<'_>) -> Option<(IpAddr, IpAddr, u8, bool)> {
    match net {
        InternetSlice::Ipv4(packet) => {
            let header = packet.header();
            let is_valid = internet_checksum(&[header.slice()]) == 0;
            Some((header.source_addr().into(), header.destination_addr().into(), header.ttl(), is_valid))
        }
        InternetSlice::Ipv6(packet) => {
            let header = packet.header();
            Some((header.source_addr().into(), header.destination_addr().into(), header.hop_limit(), true))
        }
        InternetSlice::Arp(_) => None,
    }
}

type TransportParts = (Option<u16>, Option<u16>, Option<(u8, u8)>, Vec<u8>);

fn transport(slice: Option<&TransportSlice<'_>>) -> TransportParts {
    match slice {
        Some(TransportSlice::Tcp(tcp)) => {
            (Some(tcp.source_port()), Some(tcp.destination_port()), None, tcp.payload().to_vec())
        }
        Some(TransportSlice::Udp(udp)) => {
            (Some(udp.source_port()), Some(udp.destination_port()), None, udp.payload().to_vec())
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            (None, None, Some((icmp.type_u8(), icmp.code_u8())), icmp.payload().to_vec())
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            (None, None, Some((icmp.type_u8(), icmp.code_u8())), icmp.payload().to_vec())
        }
        Some(TransportSlice::Igmp(_)) | None => (None, None, None, Vec::new()),
    }
}

/// A body that holds its own right checksum sums up to zero.
fn body_is_valid(src_addr: IpAddr, dst_addr: IpAddr, protocol: u8, body: &[u8]) -> bool {
    match protocol {
        1 => internet_checksum(&[body]) == 0,
        6 | 17 | 58 => internet_checksum(&[&pseudo_header(src_addr, dst_addr, protocol, body.len() as u32), body]) == 0,
        _ => true,
    }
}
