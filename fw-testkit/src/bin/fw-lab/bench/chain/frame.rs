//! The frames of a flow, as templates for the generator: the headers of Ethernet, IP, UDP and TCP, byte by byte.

use fw_bench_ebpf::{Step, TEMPLATE_LEN};
use fw_testkit::lab::{CLIENT_ADDRESS, SERVER_ADDRESS, mac_of, middle_address};

use super::traffic::{Family, Traffic, Transport};

const ETHERNET_LEN: usize = 14;
/// Initial sequence numbers of clients and servers.
const CLIENT_SEQUENCE: u32 = 1000;
const SERVER_SEQUENCE: u32 = 5000;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// Bytes of a request and of an answer: as many as the shortest frame of IPv4 and TCP has room for.
const DATA_LEN: u32 = 10;

/// What distinguishes one packet of a flow from another. UDP has only the direction.
#[derive(Clone, Copy)]
pub(super) struct Packet {
    /// From the server.
    reply: bool,
    flags: u8,
    sequence: u32,
    acknowledgement: u32,
    data_len: u32,
}

impl Packet {
    /// From the client. For TCP, a segment without data.
    pub(super) const REQUEST: Self = Self::client(ACK, 1, 1);
    /// From the server, likewise.
    pub(super) const REPLY: Self = Self::server(ACK, 1, 1);

    /// What opens a TCP connection, and a segment of each side after it.
    pub(super) const HANDSHAKE: [Self; 4] = [
        Self { acknowledgement: 0, ..Self::client(SYN, 0, 0) },
        Self::server(SYN | ACK, 0, 1),
        Self::REQUEST,
        Self::REPLY,
    ];

    /// A whole TCP connection: opened, one request, one answer, closed by the client. Every segment acknowledges what came
    /// before it.
    pub(super) const CONNECTION: [Self; 8] = [
        Self::HANDSHAKE[0],
        Self::HANDSHAKE[1],
        Self::REQUEST,
        Self { data_len: DATA_LEN, ..Self::client(PSH | ACK, 1, 1) },
        Self { data_len: DATA_LEN, ..Self::server(PSH | ACK, 1, 1 + DATA_LEN) },
        Self::client(FIN | ACK, 1 + DATA_LEN, 1 + DATA_LEN),
        Self::server(FIN | ACK, 1 + DATA_LEN, 2 + DATA_LEN),
        Self::client(ACK, 2 + DATA_LEN, 2 + DATA_LEN),
    ];

    /// Sequence numbers are given from the start of the connection.
    const fn client(flags: u8, sent: u32, received: u32) -> Self {
        let (sequence, acknowledgement) = (CLIENT_SEQUENCE + sent, SERVER_SEQUENCE + received);
        Self { reply: false, flags, sequence, acknowledgement, data_len: 0 }
    }

    const fn server(flags: u8, sent: u32, received: u32) -> Self {
        let (sequence, acknowledgement) = (SERVER_SEQUENCE + sent, CLIENT_SEQUENCE + received);
        Self { reply: true, flags, sequence, acknowledgement, data_len: 0 }
    }
}

/// The template of a packet, and the sums of what does not differ between flows.
pub(super) fn step(traffic: &Traffic, packet: Packet) -> Step {
    let segment_len = segment_len(traffic, packet);
    let transport = transport_header(traffic, packet, segment_len);
    let network = match traffic.family {
        Family::Ipv4 => ipv4_header(traffic, segment_len),
        Family::Ipv6 => ipv6_header(traffic, packet, segment_len),
    };
    let mut bytes = [0; TEMPLATE_LEN];
    let frame = [ethernet_header(traffic, packet), network.clone(), transport.clone()].concat();
    bytes[..frame.len()].copy_from_slice(&frame);
    let (header_sum, prefixes_sum) = match traffic.family {
        Family::Ipv4 => (sum(&network), 0),
        Family::Ipv6 => (0, sum(&network[8..])),
    };
    let pseudo_header_sum = prefixes_sum + u32::from(segment_len) + u32::from(protocol(traffic));
    Step {
        bytes,
        header_sum,
        // Data is all zeros.
        transport_sum: pseudo_header_sum + sum(&transport),
        reply: u32::from(packet.reply),
        _pad: 0,
    }
}

const fn protocol(traffic: &Traffic) -> u8 {
    match traffic.transport {
        Transport::Udp => 17,
        Transport::Tcp => 6,
    }
}

/// Bytes of the transport header and what it carries. UDP fills the frame; TCP carries its data, and the frame is padded.
const fn segment_len(traffic: &Traffic, packet: Packet) -> u16 {
    let network_len = match traffic.family {
        Family::Ipv4 => 20,
        Family::Ipv6 => 40,
    };
    match traffic.transport {
        Transport::Udp => (traffic.frame_len - ETHERNET_LEN - network_len) as u16,
        Transport::Tcp => 20 + packet.data_len as u16,
    }
}

fn ethernet_header(traffic: &Traffic, packet: Packet) -> Vec<u8> {
    let host = if packet.reply { SERVER_ADDRESS } else { CLIENT_ADDRESS };
    let ethertype = match traffic.family {
        Family::Ipv4 => [0x08, 0x00],
        Family::Ipv6 => [0x86, 0xdd],
    };
    [&mac_of(middle_address(host))[..], &mac_of(host), &ethertype].concat()
}

/// RFC 791, section 3.1; addresses and checksum are the generator's.
fn ipv4_header(traffic: &Traffic, segment_len: u16) -> Vec<u8> {
    let mut header = vec![0x45, 0];
    header.extend((20 + segment_len).to_be_bytes());
    // No identification, must not be fragmented, 64 hops.
    header.extend([0, 0, 0x40, 0, 64, protocol(traffic), 0, 0]);
    header.extend([0; 8]);
    header
}

/// RFC 8200, section 3; the last four bytes of the addresses are the generator's.
fn ipv6_header(traffic: &Traffic, packet: Packet, segment_len: u16) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend(segment_len.to_be_bytes());
    header.extend([protocol(traffic), 64]);
    // `CLIENT_NETWORKS` and `SERVER_NETWORKS`.
    let (client, server) = ([0xfd, 0, 0, 0x64], [0xfd, 0, 0x01, 0x28]);
    for prefix in if packet.reply { [server, client] } else { [client, server] } {
        header.extend(prefix);
        header.extend([0; 12]);
    }
    header
}

/// RFC 768 or RFC 9293, section 3.1; the client's port and the checksum are the generator's.
fn transport_header(traffic: &Traffic, packet: Packet, segment_len: u16) -> Vec<u8> {
    let [high, low] = traffic.server_port.to_be_bytes();
    let mut header = if packet.reply { vec![high, low, 0, 0] } else { vec![0, 0, high, low] };
    match traffic.transport {
        Transport::Udp => {
            header.extend(segment_len.to_be_bytes());
            header.extend([0, 0]);
        }
        Transport::Tcp => {
            header.extend(packet.sequence.to_be_bytes());
            header.extend(packet.acknowledgement.to_be_bytes());
            // Five words of header, the largest window, no urgent data.
            header.extend([0x50, packet.flags, 0xff, 0xff, 0, 0, 0, 0]);
        }
    }
    header
}

/// The sum of the words of a header, whose length is even.
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum()
}
