//! Builds an Ethernet frame from the outside in.

use std::net::IpAddr;

use super::checksum::{internet_checksum, octets6, pseudo_header};

/// Bits of the TCP flags (RFC 9293, 3.1).
pub mod tcp_flags {
    /// No more data.
    pub const FIN: u8 = 0x01;
    /// Synchronize.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// Acknowledgement.
    pub const ACK: u8 = 0x10;
    /// Urgent.
    pub const URG: u8 = 0x20;
}

/// What the IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP; window and options are what the setters say.
    Tcp {
        /// Source port.
        src_port: u16,
        /// Destination port.
        dst_port: u16,
        /// Bits of [`tcp_flags`].
        flags: u8,
        /// Sequence number.
        sequence: u32,
        /// Acknowledgement number.
        acknowledgement: u32,
    },
    /// UDP.
    Udp {
        /// Source port.
        src_port: u16,
        /// Destination port.
        dst_port: u16,
    },
    /// ICMP or ICMPv6, after the family of the addresses.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// The four bytes after the checksum: for an echo, identifier and sequence number.
        rest: [u8; 4],
    },
    /// Any other protocol; the payload follows the IP header at once.
    Other(u8),
}

/// A frame to be built. The MAC addresses, VLAN tags and addresses are what the setters say; lengths and checksums are right
/// unless one asks for wrong ones.
#[derive(Clone, Debug)]
pub struct Packet {
    src_mac: [u8; 6],
    dst_mac: [u8; 6],
    vlans: Vec<u16>,
    pub(super) src_addr: IpAddr,
    dst_addr: IpAddr,
    ttl: u8,
    identification: u16,
    fragment: u16,
    ipv4_options: Vec<u8>,
    extensions: Vec<(u8, Vec<u8>)>,
    tcp_window: u16,
    tcp_options: Vec<u8>,
    pub(super) transport: Transport,
    payload: Vec<u8>,
    spoil_ipv4_checksum: bool,
}

impl Packet {
    /// A packet between two addresses of one family, with a TTL of 64, no payload and both MAC addresses zero.
    #[must_use]
    pub fn new(src_addr: impl Into<IpAddr>, dst_addr: impl Into<IpAddr>, transport: Transport) -> Self {
        Self {
            src_mac: [0; 6],
            dst_mac: [0; 6],
            vlans: Vec::new(),
            src_addr: src_addr.into(),
            dst_addr: dst_addr.into(),
            ttl: 64,
            identification: 0,
            fragment: 0x4000,
            ipv4_options: Vec::new(),
            extensions: Vec::new(),
            tcp_window: u16::MAX,
            tcp_options: Vec::new(),
            transport,
            payload: Vec::new(),
            spoil_ipv4_checksum: false,
        }
    }

    /// A UDP datagram.
    #[must_use]
    pub fn udp(src_addr: impl Into<IpAddr>, src_port: u16, dst_addr: impl Into<IpAddr>, dst_port: u16) -> Self {
        Self::new(src_addr, dst_addr, Transport::Udp { src_port, dst_port })
    }

    /// A TCP segment with these flags and sequence numbers of zero.
    #[must_use]
    pub fn tcp(
        src_addr: impl Into<IpAddr>,
        src_port: u16,
        dst_addr: impl Into<IpAddr>,
        dst_port: u16,
        flags: u8,
    ) -> Self {
        let transport = Transport::Tcp { src_port, dst_port, flags, sequence: 0, acknowledgement: 0 };
        Self::new(src_addr, dst_addr, transport)
    }

    /// An echo request of the family of the addresses.
    #[must_use]
    pub fn echo_request(
        src_addr: impl Into<IpAddr>,
        dst_addr: impl Into<IpAddr>,
        identifier: u16,
        sequence: u16,
    ) -> Self {
        let src_addr = src_addr.into();
        let [id_high, id_low] = identifier.to_be_bytes();
        let [sequence_high, sequence_low] = sequence.to_be_bytes();
        let kind = if src_addr.is_ipv4() { 8 } else { 128 };
        Self::new(
            src_addr,
            dst_addr,
            Transport::Icmp { kind, code: 0, rest: [id_high, id_low, sequence_high, sequence_low] },
        )
    }

    /// Sets the hardware addresses.
    #[must_use]
    pub fn macs(mut self, src_mac: [u8; 6], dst_mac: [u8; 6]) -> Self {
        self.src_mac = src_mac;
        self.dst_mac = dst_mac;
        self
    }

    /// Adds an 802.1Q tag inside those that are there.
    #[must_use]
    pub fn vlan(mut self, identifier: u16) -> Self {
        self.vlans.push(identifier);
        self
    }

    /// Sets the TTL or hop limit.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets the IPv4 identification, and flags with fragment offset as they stand in the header (RFC 791: three bits and
    /// thirteen). IPv6 takes a fragment header from [`Self::extension`] instead.
    #[must_use]
    pub fn ipv4_fragment(mut self, identification: u16, flags_and_offset: u16) -> Self {
        self.identification = identification;
        self.fragment = flags_and_offset;
        self
    }

    /// Sets the IPv4 options; they are padded to a multiple of four bytes.
    #[must_use]
    pub fn ipv4_options(mut self, options: &[u8]) -> Self {
        self.ipv4_options = options.to_vec();
        self.ipv4_options.resize(options.len().next_multiple_of(4), 0);
        self
    }

    /// Adds an IPv6 extension header: its protocol number, and its bytes after the "next header" field.
    #[must_use]
    pub fn extension(mut self, protocol: u8, body: &[u8]) -> Self {
        self.extensions.push((protocol, body.to_vec()));
        self
    }

    /// Sets the window of a TCP segment, as it stands in the header.
    #[must_use]
    pub fn tcp_window(mut self, window: u16) -> Self {
        self.tcp_window = window;
        self
    }

    /// Sets the options of a TCP segment; they are padded to a multiple of four bytes.
    #[must_use]
    pub fn tcp_options(mut self, options: &[u8]) -> Self {
        self.tcp_options = options.to_vec();
        self.tcp_options.resize(options.len().next_multiple_of(4), 0);
        self
    }

    /// Sets what follows the transport header.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// Makes the IPv4 header checksum wrong.
    #[must_use]
    pub fn with_wrong_ipv4_checksum(mut self) -> Self {
        self.spoil_ipv4_checksum = true;
        self
    }

    /// The frame, from the Ethernet header on.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let mut frame = [self.dst_mac, self.src_mac].concat();
        for vlan in &self.vlans {
            frame.extend(0x8100_u16.to_be_bytes());
            frame.extend(vlan.to_be_bytes());
        }
        frame.extend(if self.src_addr.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] });
        frame.extend(self.build_ip());
        frame
    }

    /// The IP packet alone, as an ICMP error quotes it.
    #[must_use]
    pub fn build_ip(&self) -> Vec<u8> {
        let body = self.build_transport();
        match (self.src_addr, self.dst_addr) {
            (IpAddr::V4(src_addr), IpAddr::V4(dst_addr)) => {
                let mut header = self.ipv4_header(body.len());
                header[12..16].copy_from_slice(&src_addr.octets());
                header[16..20].copy_from_slice(&dst_addr.octets());
                let checksum = internet_checksum(&[&header]) ^ u16::from(self.spoil_ipv4_checksum);
                header[10..12].copy_from_slice(&checksum.to_be_bytes());
                [header, body].concat()
            }
            (IpAddr::V4(_) | IpAddr::V6(_), _) => self.ipv6_packet(body),
        }
    }

    fn ipv4_header(&self, body_length: usize) -> Vec<u8> {
        let length = 20 + self.ipv4_options.len();
        let mut header = vec![0x40 | (length / 4) as u8, 0];
        header.extend(((length + body_length) as u16).to_be_bytes());
        header.extend(self.identification.to_be_bytes());
        header.extend(self.fragment.to_be_bytes());
        header.extend([self.ttl, self.protocol(), 0, 0]);
        header.resize(20, 0);
        header.extend(&self.ipv4_options);
        header
    }

    fn ipv6_packet(&self, body: Vec<u8>) -> Vec<u8> {
        let mut extensions = Vec::new();
        for (position, (_, bytes)) in self.extensions.iter().enumerate() {
            let following = self.extensions.get(position + 1).map_or(self.protocol(), |(protocol, _)| *protocol);
            extensions.push(following);
            extensions.extend(bytes);
        }
        let first = self.extensions.first().map_or(self.protocol(), |(protocol, _)| *protocol);
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(((extensions.len() + body.len()) as u16).to_be_bytes());
        packet.extend([first, self.ttl]);
        packet.extend(octets6(self.src_addr));
        packet.extend(octets6(self.dst_addr));
        [packet, extensions, body].concat()
    }

    pub(super) fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Tcp { .. } => 6,
            Transport::Udp { .. } => 17,
            Transport::Icmp { .. } if self.src_addr.is_ipv4() => 1,
            Transport::Icmp { .. } => 58,
            Transport::Other(protocol) => protocol,
        }
    }

    pub(super) fn build_transport(&self) -> Vec<u8> {
        let (mut header, checksum_at) = self.transport_header();
        header.extend(&self.payload);
        let Some(checksum_at) = checksum_at else { return header };
        let pseudo = pseudo_header(self.src_addr, self.dst_addr, self.protocol(), header.len() as u32);
        // ICMP for IPv4 alone has no pseudo-header (RFC 792).
        let checksum =
            if self.protocol() == 1 { internet_checksum(&[&header]) } else { internet_checksum(&[&pseudo, &header]) };
        header[checksum_at..checksum_at + 2].copy_from_slice(&checksum.to_be_bytes());
        header
    }

    /// The header with a zero checksum, and where the checksum stands in it.
    fn transport_header(&self) -> (Vec<u8>, Option<usize>) {
        match self.transport {
            Transport::Tcp { src_port, dst_port, flags, sequence, acknowledgement } => {
                let mut header = [src_port.to_be_bytes(), dst_port.to_be_bytes()].concat();
                header.extend(sequence.to_be_bytes());
                header.extend(acknowledgement.to_be_bytes());
                let words = (20 + self.tcp_options.len()) / 4;
                header.extend([(words << 4) as u8, flags]);
                header.extend(self.tcp_window.to_be_bytes());
                header.extend([0; 4]);
                header.extend(&self.tcp_options);
                (header, Some(16))
            }
            Transport::Udp { src_port, dst_port } => {
                let length = (8 + self.payload.len()) as u16;
                (vec![src_port, dst_port, length, 0].into_iter().flat_map(u16::to_be_bytes).collect(), Some(6))
            }
            Transport::Icmp { kind, code, rest } => ([vec![kind, code, 0, 0], rest.to_vec()].concat(), Some(2)),
            Transport::Other(_) => (Vec::new(), None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Decoded;
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const A: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 10);
    const B: Ipv4Addr = Ipv4Addr::new(10, 2, 1, 20);
    const A6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0xa10, 0, 0, 0, 0x10);
    const B6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0x201, 0, 0, 0, 0x20);

    #[test]
    fn frames_decode_to_what_they_were_built_from() {
        let frames = [
            Packet::tcp(A, 40_000, B, 502, tcp_flags::SYN).ipv4_options(&[1, 1, 1]).vlan(7),
            Packet::udp(A6, 40_000, B6, 502).extension(60, &[0, 1, 4, 0, 0, 0, 0]).vlan(7),
        ];
        for frame in frames {
            let decoded = Decoded::from_ethernet(&frame.ttl(9).payload(b"odd").build()).unwrap();
            assert_eq!((decoded.src_port, decoded.dst_port), (Some(40_000), Some(502)));
            assert_eq!((decoded.ttl, decoded.payload.as_slice()), (9, b"odd".as_slice()));
            assert!(decoded.checksums_are_valid);
        }
    }

    #[test]
    fn a_spoiled_checksum_is_seen() {
        let frame = Packet::echo_request(A, B, 1, 2).with_wrong_ipv4_checksum().build();
        assert!(!Decoded::from_ethernet(&frame).unwrap().checksums_are_valid);
        let frame = Packet::echo_request(A6, B6, 1, 2).build();
        assert!(Decoded::from_ethernet(&frame).unwrap().checksums_are_valid);
    }
}
