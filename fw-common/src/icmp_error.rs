//! Which answer a dropped packet gets, and when it gets none.

use crate::anomaly::is_link_local;
use crate::wire::Packet;
use crate::wire::parse::{Kind, tcp_flag};

/// What the sender of a dropped packet is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Answer {
    /// The TTL or hop limit ran out.
    TimeExceeded = 0,
    /// There is no route.
    NoRoute = 1,
    /// The packet does not fit the next link, whose MTU in bytes comes with it.
    TooBig = 2,
    /// A rule rejects it.
    Prohibited = 3,
}

/// Type, code and the second word of an ICMP error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// ICMP or ICMPv6 type.
    pub message_type: u8,
    /// Code within the type.
    pub code: u8,
    /// Second 32-bit word: the MTU, or zero.
    pub rest: u32,
}

/// Bytes of an ICMPv4 error in front of the quoted packet: IPv4 and ICMP header.
pub const IPV4_OVERHEAD: usize = 28;
/// Bytes of an ICMPv6 error in front of the quoted packet: IPv6 and ICMPv6 header.
pub const IPV6_OVERHEAD: usize = 48;
/// The most bytes of the packet that an ICMPv4 error quotes, so that the error has 576 bytes (RFC 1812, section 4.3.2.3).
pub const IPV4_QUOTE: usize = 576 - IPV4_OVERHEAD;
/// The most bytes of the packet that an ICMPv6 error quotes, so that the error has 1,280 bytes (RFC 4443, section 2.4 (c)).
pub const IPV6_QUOTE: usize = 1280 - IPV6_OVERHEAD;

/// How many bytes of a packet of `ip_len` bytes are quoted: a multiple of four, so that the checksum needs no odd end.
#[inline(always)]
#[must_use]
pub const fn quote_len(ipv4: bool, ip_len: u16) -> usize {
    let limit = if ipv4 { IPV4_QUOTE } else { IPV6_QUOTE };
    let len = if ip_len as usize > limit { limit } else { ip_len as usize };
    len & !3
}

/// The message for an answer (RFC 792, 1191, 1812 section 5.2.7; RFC 4443).
#[inline(always)]
#[must_use]
pub const fn message(answer: Answer, ipv4: bool, mtu: u16) -> IcmpError {
    let (message_type, code, rest) = match (answer, ipv4) {
        (Answer::TimeExceeded, true) => (11, 0, 0),
        (Answer::TimeExceeded, false) => (3, 0, 0),
        (Answer::NoRoute, true) => (3, 0, 0),
        (Answer::NoRoute, false) => (1, 0, 0),
        (Answer::TooBig, true) => (3, 4, mtu as u32),
        (Answer::TooBig, false) => (2, 0, mtu as u32),
        (Answer::Prohibited, true) => (3, 13, 0),
        (Answer::Prohibited, false) => (1, 1, 0),
    };
    IcmpError { message_type, code, rest }
}

/// Whether an ICMP error may be sent about this packet at all (RFC 1122, section 3.2.2; RFC 4443, section 2.4 (e)).
///
/// Multicast and broadcast packets never come this far.
#[inline(always)]
#[must_use]
pub const fn may_answer(packet: &Packet) -> bool {
    // RFC 1122, section 3.2.2, lets nobody answer a later fragment.
    !matches!(packet.kind, Kind::IcmpError | Kind::Fragment) && !is_link_local(&packet.src_addr)
}

/// Whether a packet that belongs to no flow can be answered as by a closed port: it is a segment, and no reset (RFC 9293,
/// section 3.10.7.1).
#[inline(always)]
#[must_use]
pub const fn may_be_reset(packet: &Packet) -> bool {
    matches!(packet.kind, Kind::Tcp) && packet.tcp_flags & tcp_flag::RST == 0
}

/// Whether the answer to a rejected packet is a TCP reset rather than an ICMP error.
#[inline(always)]
#[must_use]
pub const fn answers_with_reset(packet: &Packet, answer: Answer) -> bool {
    matches!(answer, Answer::Prohibited) && may_be_reset(packet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Address;
    use proptest::prelude::*;

    #[test]
    fn messages_are_those_of_the_standards() {
        let cases = [
            (Answer::TimeExceeded, true, (11, 0, 0)),
            (Answer::TimeExceeded, false, (3, 0, 0)),
            (Answer::NoRoute, true, (3, 0, 0)),
            (Answer::NoRoute, false, (1, 0, 0)),
            (Answer::TooBig, true, (3, 4, 1400)),
            (Answer::TooBig, false, (2, 0, 1400)),
            (Answer::Prohibited, true, (3, 13, 0)),
            (Answer::Prohibited, false, (1, 1, 0)),
        ];
        for (answer, ipv4, (message_type, code, rest)) in cases {
            assert_eq!(message(answer, ipv4, 1400), IcmpError { message_type, code, rest }, "{answer:?}");
        }
    }

    #[test]
    fn errors_and_link_local_senders_get_no_answer() {
        let packet = Packet { src_addr: Address::v4([10, 0, 0, 1]), kind: Kind::Udp, ..Packet::EMPTY };
        assert!(may_answer(&packet));
        assert!(!may_answer(&Packet { kind: Kind::IcmpError, ..packet }));
        assert!(!may_answer(&Packet { src_addr: Address::v4([169, 254, 0, 1]), ..packet }));
    }

    #[test]
    fn only_rejected_segments_are_reset_and_resets_never() {
        let segment = Packet { kind: Kind::Tcp, tcp_flags: tcp_flag::SYN, ..Packet::EMPTY };
        assert!(answers_with_reset(&segment, Answer::Prohibited));
        assert!(!answers_with_reset(&segment, Answer::TimeExceeded));
        assert!(!answers_with_reset(&Packet { tcp_flags: tcp_flag::RST, ..segment }, Answer::Prohibited));
        assert!(!answers_with_reset(&Packet { kind: Kind::Udp, ..segment }, Answer::Prohibited));
    }

    proptest! {
        #[test]
        fn a_quote_fits_the_packet_and_the_error(ipv4: bool, ip_len: u16) {
            let quoted = quote_len(ipv4, ip_len);
            prop_assert!(quoted <= usize::from(ip_len));
            prop_assert!(quoted.is_multiple_of(4));
            let whole = quoted + if ipv4 { IPV4_OVERHEAD } else { IPV6_OVERHEAD };
            let limit = if ipv4 { 576 } else { 1280 };
            prop_assert!(whole <= limit);
            // At least the IP header and eight bytes of an honest packet (RFC 792).
            prop_assert!(ip_len < 28 || quoted >= 28);
        }
    }
}
