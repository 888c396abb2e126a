//! What the benchmark and its eBPF programs share: the plan of the traffic, and which packet is the next one.
#![no_std]

mod delay;

pub use delay::{DELAY_BUCKETS, bucket_of, longest_in};

/// Bytes of a template: the longest headers that are generated (Ethernet, IPv6, TCP: 74), in whole words.
pub const TEMPLATE_LEN: usize = 80;
/// The longest script.
pub const MAX_STEPS: usize = 8;
/// Ports of one client address: as many flows share it.
pub const PORT_BITS: u32 = 14;
/// The lowest port of a client.
pub const FIRST_PORT: u16 = 20_000;
/// As many server addresses, less one, take part.
pub const SERVER_MASK: u32 = 63;

/// One packet of a script: the frame's first bytes with every field that differs between flows left zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Ethernet, IP and transport header, and what follows.
    pub bytes: [u8; TEMPLATE_LEN],
    /// Sum of the IPv4 header's words; 0 for IPv6.
    pub header_sum: u32,
    /// Sum of the words of pseudo header and segment.
    pub transport_sum: u32,
    /// 1: from the server to the client.
    pub reply: u32,
    /// Explicit padding.
    pub _pad: u32,
}

impl Step {
    /// No packet.
    pub const EMPTY: Self = Self { bytes: [0; TEMPLATE_LEN], header_sum: 0, transport_sum: 0, reply: 0, _pad: 0 };
}

/// Value of the map `PLAN`: what the generator sends.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The packets of a flow, in order; the first 2 to the power of `step_bits` are sent.
    pub script: [Step; MAX_STEPS],
    /// Logarithm of the length of the script.
    pub step_bits: u32,
    /// Logarithm of the number of flows that make a step together, before all of them make the next.
    pub window_bits: u32,
    /// 0: every flow in turn. Else: packets of this many flows, chosen at random.
    pub random_flows: u32,
    /// The lowest 32 bits of the first client's address.
    pub client_base: u32,
    /// The lowest 32 bits of the first server's address.
    pub server_base: u32,
    /// 1: IPv6.
    pub ipv6: u32,
    /// 1: TCP; 0: UDP.
    pub tcp: u32,
    /// 1: each packet carries the time at which it was made, at [`STAMP`]; for UDP over IPv4.
    pub stamped: u32,
}

/// Offset of the time in the frame: the data of a datagram over IPv4. Nanoseconds of the monotonic clock, big-endian.
pub const STAMP: usize = 42;

/// What tells the packets of one flow from those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The lowest 32 bits of the client's address.
    pub client: u32,
    /// The lowest 32 bits of the server's address.
    pub server: u32,
    /// The client's port.
    pub port: u16,
}

impl Plan {
    /// Step and flow of the packet with this number.
    #[inline(always)]
    #[must_use]
    pub const fn packet(&self, number: u32) -> (u32, u32) {
        if self.random_flows != 0 {
            // The upper half of the product: no flow is more than one in four billion more likely than another.
            return (0, ((scatter(number) as u64 * self.random_flows as u64) >> 32) as u32);
        }
        let window = self.window_bits & 31;
        let within = number & ((1 << window) - 1);
        let turn = number >> window;
        let step_bits = self.step_bits & 31;
        (turn & ((1 << step_bits) - 1), (turn >> step_bits << window) | within)
    }

    /// The ends of a flow.
    #[inline(always)]
    #[must_use]
    pub const fn ends(&self, flow: u32) -> Ends {
        Ends {
            client: self.client_base.wrapping_add(flow >> PORT_BITS),
            server: self.server_base.wrapping_add(flow & SERVER_MASK),
            port: FIRST_PORT + (flow & ((1 << PORT_BITS) - 1)) as u16,
        }
    }
}

/// A permutation of the numbers whose values look random (the finalizer of MurmurHash3).
#[inline(always)]
#[must_use]
pub const fn scatter(number: u32) -> u32 {
    let mut value = number;
    value ^= value >> 16;
    value = value.wrapping_mul(0x85eb_ca6b);
    value ^= value >> 13;
    value = value.wrapping_mul(0xc2b2_ae35);
    value ^ value >> 16
}

/// The Internet checksum (RFC 1071) of words with this sum.
#[inline(always)]
#[must_use]
pub const fn checksum(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// The sum of the two words of a number.
#[inline(always)]
#[must_use]
pub const fn words(number: u32) -> u32 {
    (number & 0xffff) + (number >> 16)
}

/// The sum of the words of a time at [`STAMP`].
#[inline(always)]
#[must_use]
pub const fn words_of_time(time: u64) -> u32 {
    words((time >> 32) as u32) + words(time as u32)
}

/// Value of the map `TARGETS`, keyed by ingress interface index: where the bare forwarder sends everything.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Key of the egress interface in the map `PORTS`.
    pub port: u32,
    /// Destination hardware address.
    pub dst_mac: [u8; 6],
    /// Source hardware address.
    pub src_mac: [u8; 6],
}

/// Key of the map `PORTS` for the interface at the clients.
pub const CLIENT_PORT: u32 = 0;
/// Key of the map `PORTS` for the interface at the servers.
pub const SERVER_PORT: u32 = 1;

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::BTreeSet;
    use std::vec::Vec;

    use super::*;

    const PLAN: Plan = Plan {
        script: [Step::EMPTY; MAX_STEPS],
        step_bits: 0,
        window_bits: 0,
        random_flows: 0,
        client_base: 0x0a40_0000,
        server_base: 0x0a80_0000,
        ipv6: 0,
        tcp: 0,
        stamped: 0,
    };

    #[test]
    fn a_window_of_flows_makes_each_step_before_any_makes_the_next() {
        let plan = Plan { step_bits: 1, window_bits: 1, ..PLAN };
        let order: Vec<_> = (0..8).map(|number| plan.packet(number)).collect();
        assert_eq!(order, [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (0, 3), (1, 2), (1, 3)]);
        let plain: Vec<_> = (0..3).map(|number| PLAN.packet(number)).collect();
        assert_eq!(plain, [(0, 0), (0, 1), (0, 2)]);
    }

    #[test]
    fn random_packets_stay_within_the_flows_and_reach_most() {
        let plan = Plan { random_flows: 1000, ..PLAN };
        let seen: BTreeSet<u32> = (0..4000).map(|number| plan.packet(number).1).collect();
        assert!(seen.iter().all(|flow| *flow < 1000));
        // One in e⁴ is missed.
        assert!(seen.len() > 960, "{}", seen.len());
    }

    #[test]
    fn no_two_flows_have_the_same_ends() {
        let ends: BTreeSet<(u32, u32, u16)> =
            (0..100_000).map(|flow| PLAN.ends(flow)).map(|ends| (ends.client, ends.server, ends.port)).collect();
        assert_eq!(ends.len(), 100_000);
    }

    #[test]
    fn checksums_the_example_of_rfc_1071() {
        assert_eq!(checksum(0x0001 + 0xf203 + 0xf4f5 + 0xf6f7), !0xddf2);
    }
}
