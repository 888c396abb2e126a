//! What the checksum of a transport header covers.
//!
//! In: a parsed packet and the first eight bytes of its transport header. Out: which bytes to add up and what to start from, or
//! that there is nothing to add up. The caller adds, because the eBPF program does so by other means than the host.

use super::Packet;
use super::checksum::pseudo_header;
use super::parse::{Kind, Part};
use super::protocol;

/// The bytes whose sum is 0xffff if nothing has changed on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// The packet has no checksum that is known here.
    Nothing,
    /// There is none, although there must be one.
    Missing,
    /// `len` bytes from the transport header on, added to `initial`, the sum of the pseudo-header.
    Bytes {
        /// Number of bytes.
        len: usize,
        /// Sum of the pseudo-header.
        initial: u64,
    },
}

impl Coverage {
    /// What the checksum of a whole packet covers (RFC 9293, section 3.1; RFC 768; RFC 792; RFC 4443, section 2.3).
    #[inline(always)]
    #[must_use]
    pub fn of(packet: &Packet, header: [u8; 8]) -> Self {
        let len = packet.ip_len.wrapping_sub(packet.l4_offset.wrapping_sub(packet.l3_offset));
        match packet.protocol {
            protocol::TCP => Self::with_pseudo_header(packet, len),
            protocol::UDP => {
                let [_, _, _, _, l0, l1, c0, c1] = header;
                match ([c0, c1], packet.is_ipv4()) {
                    // RFC 768: the sender made none. RFC 8200, section 8.1: over IPv6 it must.
                    ([0, 0], true) => Self::Nothing,
                    ([0, 0], false) => Self::Missing,
                    // What lies between the datagram's end and the packet's is not covered (RFC 9868).
                    _ => Self::with_pseudo_header(packet, u16::from_be_bytes([l0, l1])),
                }
            }
            protocol::ICMP if packet.is_ipv4() => Self::Bytes { len: usize::from(len), initial: 0 },
            protocol::ICMPV6 if !packet.is_ipv4() => Self::with_pseudo_header(packet, len),
            _ => Self::Nothing,
        }
    }

    #[inline(always)]
    fn with_pseudo_header(packet: &Packet, len: u16) -> Self {
        let (src_addr, dst_addr) = (packet.src_addr, packet.dst_addr);
        // An IPv4 address is followed by zeros, which add nothing.
        let initial = pseudo_header(&src_addr.octets(), &dst_addr.octets(), packet.protocol, len);
        Self::Bytes { len: usize::from(len), initial }
    }
}

/// Whether a packet of this kind has a transport header of eight bytes at least that may hold a checksum.
#[inline(always)]
#[must_use]
pub const fn may_be_covered(packet: &Packet) -> bool {
    // The checksum of a datagram in fragments is for who puts it together.
    if matches!(packet.part, Part::First | Part::Later) {
        return false;
    }
    match packet.protocol {
        protocol::ICMP => packet.is_ipv4(),
        protocol::ICMPV6 => !packet.is_ipv4(),
        _ => matches!(packet.kind, Kind::Tcp | Kind::Udp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{checksum, parse};
    use etherparse::PacketBuilder;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// Whether the checksum of a frame is right, if it has one.
    fn is_right(frame: &[u8]) -> Option<bool> {
        let packet = parse::frame(&frame).unwrap();
        let transport = &frame[usize::from(packet.l4_offset)..];
        if !may_be_covered(&packet) {
            return None;
        }
        match Coverage::of(&packet, *transport.first_chunk().unwrap()) {
            Coverage::Nothing => None,
            Coverage::Missing => Some(false),
            Coverage::Bytes { len, initial } => {
                Some(checksum::fold(initial + checksum::sum(&transport[..len])) == 0xffff)
            }
        }
    }

    /// A frame that etherparse built: 0 TCP, 1 UDP, 2 an echo request.
    fn build(ipv4: bool, transport: u8, payload: &[u8]) -> Vec<u8> {
        let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let step = if ipv4 { link.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9) } else { link.ipv6([0xfd; 16], [0xfc; 16], 9) };
        let mut frame = Vec::new();
        match (transport, ipv4) {
            (0, _) => step.tcp(1, 2, 7, 512).syn().write(&mut frame, payload).unwrap(),
            (1, _) => step.udp(1, 2).write(&mut frame, payload).unwrap(),
            (_, true) => step.icmpv4_echo_request(1, 2).write(&mut frame, payload).unwrap(),
            (_, false) => step.icmpv6_echo_request(1, 2).write(&mut frame, payload).unwrap(),
        }
        frame
    }

    proptest! {
        #[test]
        fn checksums_of_another_library_are_right_and_changed_ones_wrong(
            ipv4: bool, transport in 0u8..3,
            payload in proptest::collection::vec(any::<u8>(), 0..64),
            padding in 0usize..20, at in 0usize..64,
        ) {
            let mut frame = build(ipv4, transport, &payload);
            let len = frame.len();
            frame.resize(len + padding, 0xaa);
            prop_assert_eq!(is_right(&frame), Some(true));
            if at < payload.len() {
                frame[len - 1 - at] ^= 0x40;
                prop_assert_eq!(is_right(&frame), Some(false));
            }
        }
    }

    #[test]
    fn a_datagram_without_checksum_is_right_over_ipv4_alone() {
        for (ipv4, expected, l4_offset) in [(true, None, 34), (false, Some(false), 54)] {
            let mut frame = build(ipv4, 1, &[7; 9]);
            frame[l4_offset + 6..l4_offset + 8].fill(0);
            assert_eq!(is_right(&frame), expected);
        }
    }
}
