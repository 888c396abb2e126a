//! What is sent: the frames of a flow, as templates for the generator.

use std::fmt;

use fw_bench_ebpf::{MAX_STEPS, Plan, Step, TEMPLATE_LEN};
use fw_testkit::lab::{CLIENT_ADDRESS, SERVER_ADDRESS, mac_of, middle_address};

/// The version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bench) enum Family {
    Ipv4,
    Ipv6,
}

/// The transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bench) enum Transport {
    Udp,
    /// Segments without data in established connections.
    Tcp,
}

/// The traffic of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bench) struct Traffic {
    pub(in crate::bench) family: Family,
    pub(in crate::bench) transport: Transport,
    /// Bytes of a frame, without the checksum of the link layer.
    pub(in crate::bench) frame_len: usize,
    pub(in crate::bench) flows: u32,
}

impl Traffic {
    /// One flow of the shortest frames.
    pub(in crate::bench) const UDP: Self =
        Self { family: Family::Ipv4, transport: Transport::Udp, frame_len: 64, flows: 1 };
    /// The same over IPv6.
    pub(in crate::bench) const UDP_IPV6: Self = Self { family: Family::Ipv6, ..Self::UDP };
    /// One connection; the frames of its segments are padded.
    pub(in crate::bench) const TCP: Self = Self { transport: Transport::Tcp, ..Self::UDP };
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        };
        let family = match self.family {
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
        };
        write!(f, "{transport}/{family} {} bytes, flows: {}", self.frame_len, self.flows)
    }
}

/// The port of every server, which the policies allow.
pub(in crate::bench) const SERVER_PORT: u16 = 5000;

/// Flows that make a step of the script together. More than all queues of the chain hold, so that a step has arrived
/// before the next one starts.
const WINDOW_BITS: u32 = 12;

const ETHERNET_LEN: usize = 14;
/// Initial sequence numbers of clients and servers.
const CLIENT_SEQUENCE: u32 = 1000;
const SERVER_SEQUENCE: u32 = 5000;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// What distinguishes one packet of a flow from another.
#[derive(Clone, Copy)]
struct Packet {
    reply: bool,
    /// TCP only.
    flags: u8,
    sequence: u32,
    acknowledgement: u32,
}

impl Packet {
    /// A packet, and for TCP one of an established connection, from the client or from the server.
    const fn from(reply: bool) -> Self {
        let (sequence, acknowledgement) =
            if reply { (SERVER_SEQUENCE + 1, CLIENT_SEQUENCE + 1) } else { (CLIENT_SEQUENCE + 1, SERVER_SEQUENCE + 1) };
        Self { reply, flags: ACK, sequence, acknowledgement }
    }
}

impl Traffic {
    /// Every flow is opened, and answered, so that it is established on both sides.
    pub(in crate::bench) fn opening(&self) -> Plan {
        let (to_server, to_client) = (Packet::from(false), Packet::from(true));
        match self.transport {
            Transport::Udp => self.plan(&[to_server, to_client], 0),
            Transport::Tcp => {
                let syn = Packet { flags: SYN, sequence: CLIENT_SEQUENCE, acknowledgement: 0, ..to_server };
                let syn_ack = Packet { flags: SYN | ACK, sequence: SERVER_SEQUENCE, ..to_client };
                self.plan(&[syn, syn_ack, to_server, to_client], 0)
            }
        }
    }

    /// Packets of the client, of flows chosen at random.
    pub(in crate::bench) fn established(&self) -> Plan {
        self.plan(&[Packet::from(false)], self.flows)
    }

    /// A plan with this script, whose length is a power of two.
    fn plan(&self, script: &[Packet], random_flows: u32) -> Plan {
        let mut steps = [Step::EMPTY; MAX_STEPS];
        for (step, packet) in steps.iter_mut().zip(script) {
            *step = self.step(*packet);
        }
        Plan {
            script: steps,
            step_bits: script.len().ilog2(),
            window_bits: WINDOW_BITS.min(self.flows.ilog2()),
            random_flows,
            client_base: self.low_word([10, 64, 0, 1]),
            server_base: self.low_word([10, 128, 0, 1]),
            ipv6: u32::from(self.family == Family::Ipv6),
            tcp: u32::from(self.transport == Transport::Tcp),
            _pad: 0,
        }
    }

    /// The last four bytes of the first address of a network.
    const fn low_word(&self, ipv4: [u8; 4]) -> u32 {
        match self.family {
            Family::Ipv4 => u32::from_be_bytes(ipv4),
            Family::Ipv6 => 1,
        }
    }

    fn step(&self, packet: Packet) -> Step {
        let transport = self.transport_header(packet);
        let network = match self.family {
            Family::Ipv4 => self.ipv4_header(),
            Family::Ipv6 => self.ipv6_header(packet),
        };
        let mut bytes = [0; TEMPLATE_LEN];
        let frame = [self.ethernet_header(packet), network.clone(), transport.clone()].concat();
        bytes[..frame.len()].copy_from_slice(&frame);
        let pseudo_header = match self.family {
            Family::Ipv4 => 0,
            Family::Ipv6 => sum(&network[8..]),
        } + self.segment_len() as u32
            + u32::from(self.protocol());
        Step {
            bytes,
            header_sum: if self.family == Family::Ipv4 { sum(&network) } else { 0 },
            transport_sum: pseudo_header + sum(&transport),
            reply: u32::from(packet.reply),
            _pad: 0,
        }
    }

    const fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Udp => 17,
            Transport::Tcp => 6,
        }
    }

    const fn network_header_len(&self) -> usize {
        match self.family {
            Family::Ipv4 => 20,
            Family::Ipv6 => 40,
        }
    }

    /// Bytes of the transport header and what it carries: UDP fills the frame, TCP carries nothing.
    const fn segment_len(&self) -> usize {
        match self.transport {
            Transport::Udp => self.frame_len - ETHERNET_LEN - self.network_header_len(),
            Transport::Tcp => 20,
        }
    }

    fn ethernet_header(&self, packet: Packet) -> Vec<u8> {
        let host = if packet.reply { SERVER_ADDRESS } else { CLIENT_ADDRESS };
        let ethertype = match self.family {
            Family::Ipv4 => [0x08, 0x00],
            Family::Ipv6 => [0x86, 0xdd],
        };
        [&mac_of(middle_address(host))[..], &mac_of(host), &ethertype].concat()
    }

    /// RFC 791, section 3.1; addresses and checksum are the generator's.
    fn ipv4_header(&self) -> Vec<u8> {
        let total_len = (20 + self.segment_len()) as u16;
        let mut header = vec![0x45, 0];
        header.extend(total_len.to_be_bytes());
        // No identification, must not be fragmented, 64 hops.
        header.extend([0, 0, 0x40, 0, 64, self.protocol(), 0, 0]);
        header.extend([0; 8]);
        header
    }

    /// RFC 8200, section 3; the last four bytes of the addresses are the generator's.
    fn ipv6_header(&self, packet: Packet) -> Vec<u8> {
        let mut header = vec![0x60, 0, 0, 0];
        header.extend((self.segment_len() as u16).to_be_bytes());
        header.extend([self.protocol(), 64]);
        let (client, server) = ([0xfd, 0, 0, 0x64], [0xfd, 0, 0x01, 0x28]);
        for prefix in if packet.reply { [server, client] } else { [client, server] } {
            header.extend(prefix);
            header.extend([0; 12]);
        }
        header
    }

    /// RFC 768 or RFC 9293, section 3.1; the client's port and the checksum are the generator's.
    fn transport_header(&self, packet: Packet) -> Vec<u8> {
        let server = SERVER_PORT.to_be_bytes();
        let mut header = if packet.reply { vec![server[0], server[1], 0, 0] } else { vec![0, 0, server[0], server[1]] };
        match self.transport {
            Transport::Udp => {
                header.extend((self.segment_len() as u16).to_be_bytes());
                header.extend([0, 0]);
            }
            Transport::Tcp => {
                header.extend(packet.sequence.to_be_bytes());
                header.extend(packet.acknowledgement.to_be_bytes());
                header.extend([0x50, packet.flags, 0xff, 0xff, 0, 0, 0, 0]);
            }
        }
        header
    }
}

/// The sum of the words of some headers, whose length is even.
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum()
}
