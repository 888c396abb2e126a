//! What is sent, and in which order.

use std::fmt;

use fw_bench_ebpf::{MAX_STEPS, Plan, Step};

use super::frame::{self, Packet};

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
    Tcp,
}

/// The traffic of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bench) struct Traffic {
    pub(in crate::bench) family: Family,
    pub(in crate::bench) transport: Transport,
    /// Bytes of a frame, without the checksum of the link layer.
    pub(in crate::bench) frame_len: usize,
    /// Number of flows, where flows are used again.
    pub(in crate::bench) flows: u32,
    pub(in crate::bench) server_port: u16,
}

/// The port that the policies allow.
pub(in crate::bench) const ALLOWED_PORT: u16 = 5000;
/// A port that no policy allows.
pub(in crate::bench) const DENIED_PORT: u16 = 6000;

/// Logarithm of the number of flows that make a step of a script together. More than all queues of the chain hold, so that
/// a step has arrived before the next one starts.
const WINDOW_BITS: u32 = 12;

impl Traffic {
    /// One flow of the shortest frames.
    pub(in crate::bench) const UDP: Self =
        Self { family: Family::Ipv4, transport: Transport::Udp, frame_len: 64, flows: 1, server_port: ALLOWED_PORT };
    /// The same over IPv6.
    pub(in crate::bench) const UDP_IPV6: Self = Self { family: Family::Ipv6, ..Self::UDP };
    /// One connection.
    pub(in crate::bench) const TCP: Self = Self { transport: Transport::Tcp, ..Self::UDP };

    /// Packets of a whole connection.
    pub(in crate::bench) const CONNECTION_PACKETS: u32 = Packet::CONNECTION.len() as u32;
    /// Connections that are made at the same time.
    pub(in crate::bench) const CONNECTIONS_AT_ONCE: u32 = 1 << WINDOW_BITS;

    /// Every flow is opened, and answered, so that it is established on both sides.
    pub(in crate::bench) fn opening(&self) -> Plan {
        let script: &[Packet] = match self.transport {
            Transport::Udp => &[Packet::REQUEST, Packet::REPLY],
            Transport::Tcp => &Packet::HANDSHAKE,
        };
        let window_bits = WINDOW_BITS.min(self.flows.ilog2());
        Plan { window_bits, ..self.plan(script) }
    }

    /// Packets that open every flow: whole windows, so that each makes every step.
    pub(in crate::bench) fn opening_packets(&self) -> u64 {
        let plan = self.opening();
        let window = 1u64 << plan.window_bits;
        (u64::from(self.flows).div_ceil(window) * window) << plan.step_bits
    }

    /// Packets of the clients, of flows chosen at random.
    pub(in crate::bench) fn established(&self) -> Plan {
        Plan { random_flows: self.flows, ..self.plan(&[Packet::REQUEST]) }
    }

    /// Packets of the clients, each of a flow of its own.
    pub(in crate::bench) fn new_flows(&self) -> Plan {
        self.plan(&[Packet::REQUEST])
    }

    /// What opens TCP connections, each of a flow of its own, and nothing after it.
    pub(in crate::bench) fn first_segments(&self) -> Plan {
        self.plan(&Packet::HANDSHAKE[..1])
    }

    /// TCP connections from the first to the last segment, each of a flow of its own.
    pub(in crate::bench) fn connections(&self) -> Plan {
        Plan { window_bits: WINDOW_BITS, ..self.plan(&Packet::CONNECTION) }
    }

    /// A plan with this script, whose length is a power of two.
    fn plan(&self, packets: &[Packet]) -> Plan {
        let mut script = [Step::EMPTY; MAX_STEPS];
        for (step, packet) in script.iter_mut().zip(packets) {
            *step = frame::step(self, *packet);
        }
        // The first addresses of `CLIENT_NETWORKS` and `SERVER_NETWORKS`.
        let (client, server) = match self.family {
            Family::Ipv4 => ([10, 64, 0, 1], [10, 128, 0, 1]),
            Family::Ipv6 => ([0, 0, 0, 1], [0, 0, 0, 1]),
        };
        Plan {
            script,
            step_bits: packets.len().ilog2(),
            window_bits: 0,
            random_flows: 0,
            client_base: u32::from_be_bytes(client),
            server_base: u32::from_be_bytes(server),
            ipv6: u32::from(self.family == Family::Ipv6),
            tcp: u32::from(self.transport == Transport::Tcp),
            stamped: 0,
        }
    }
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

#[cfg(test)]
mod tests {
    use fw_bench_ebpf::STAMP;

    use super::*;

    /// A time of day with words of every size.
    const TIME: u64 = 0x0001_fedc_ffff_8000;

    /// The frame that the generator makes of a step, with its own functions.
    fn generated(plan: &Plan, number: u32) -> Vec<u8> {
        let (step, flow) = plan.packet(number);
        let (step, ends) = (plan.script[step as usize], plan.ends(flow));
        let mut frame = step.bytes.to_vec();
        let (transport, addresses) = if plan.ipv6 == 1 { (54, [34, 50]) } else { (34, [26, 30]) };
        let (places, port) =
            if step.reply == 1 { ([addresses[1], addresses[0]], transport + 2) } else { (addresses, transport) };
        let mut write = |at: usize, bytes: &[u8]| frame[at..at + bytes.len()].copy_from_slice(bytes);
        write(places[0], &ends.client.to_be_bytes());
        write(places[1], &ends.server.to_be_bytes());
        write(port, &ends.port.to_be_bytes());
        let sum = fw_bench_ebpf::words(ends.client) + fw_bench_ebpf::words(ends.server);
        if plan.ipv6 == 0 {
            write(24, &fw_bench_ebpf::checksum(step.header_sum + sum).to_be_bytes());
        }
        let mut time = 0;
        if plan.stamped == 1 {
            write(STAMP, &TIME.to_be_bytes());
            time = fw_bench_ebpf::words_of_time(TIME);
        }
        let checksum = fw_bench_ebpf::checksum(step.transport_sum + sum + u32::from(ends.port) + time);
        write(transport + if plan.tcp == 1 { 16 } else { 6 }, &checksum.to_be_bytes());
        frame
    }

    #[test]
    fn generated_packets_are_valid() {
        for traffic in [Traffic::UDP, Traffic::UDP_IPV6, Traffic::TCP, Traffic { family: Family::Ipv6, ..Traffic::TCP }]
        {
            let traffic = Traffic { flows: 4, frame_len: 80, ..traffic };
            let plan = traffic.opening();
            let stamped =
                Plan { stamped: u32::from(traffic == Traffic { flows: 4, frame_len: 80, ..Traffic::UDP }), ..plan };
            for (plan, number) in (0..4 << plan.step_bits).flat_map(|number| [(plan, number), (stamped, number)]) {
                let frame = generated(&plan, number);
                let decoded = etherparse::PacketHeaders::from_ethernet_slice(&frame).unwrap();
                let (net, transport, data) =
                    (decoded.net.unwrap(), decoded.transport.unwrap(), decoded.payload.slice());
                let checksum = match (&net, &transport) {
                    (etherparse::NetHeaders::Ipv4(ip, _), etherparse::TransportHeader::Udp(udp)) => {
                        assert_eq!(ip.calc_header_checksum(), ip.header_checksum);
                        (udp.checksum, udp.calc_checksum_ipv4(ip, data).unwrap())
                    }
                    (etherparse::NetHeaders::Ipv4(ip, _), etherparse::TransportHeader::Tcp(tcp)) => {
                        (tcp.checksum, tcp.calc_checksum_ipv4(ip, data).unwrap())
                    }
                    (etherparse::NetHeaders::Ipv6(ip, _), etherparse::TransportHeader::Udp(udp)) => {
                        (udp.checksum, udp.calc_checksum_ipv6(ip, data).unwrap())
                    }
                    (etherparse::NetHeaders::Ipv6(ip, _), etherparse::TransportHeader::Tcp(tcp)) => {
                        (tcp.checksum, tcp.calc_checksum_ipv6(ip, data).unwrap())
                    }
                    other => panic!("{other:?}"),
                };
                assert_eq!(checksum.0, checksum.1, "{traffic}");
            }
        }
    }
}
