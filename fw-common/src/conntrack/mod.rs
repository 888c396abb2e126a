//! Which state a flow is in, how long it lives, and whether a packet fits it.

mod state;

use core::cmp::Ordering;

pub use self::state::{State, Timeouts};

use crate::abi::flow::{DYING, FlowKey4, FlowKey6, flow_flags};
use crate::tcp::{Side, Step};
use crate::wire::parse::{Kind, tcp_flag};
use crate::wire::{Address, Packet};
use crate::{DropReason, sctp};

/// What says how long a flow may idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleBy {
    /// The configuration, by this state.
    State(State),
    /// The rule that allows the flow; without a time-out of its own, the flow's state.
    Rule,
}

/// Asks what says how long a flow in `state`, with these flags ([`flow_flags`]) and TCP flags seen by direction, may idle.
///
/// A connection that was picked up waits for a segment of its other end like one that is being opened: who sends a lone
/// acknowledgement, to nobody or in another's name, must not hold a place for a day.
#[inline(always)]
#[must_use]
pub const fn idle_by(state: State, flags: u8, tcp_flags: [u8; 2]) -> IdleBy {
    let [forth, back] = tcp_flags;
    if matches!(state, State::Established) && flags & flow_flags::LIBERAL != 0 && (forth == 0 || back == 0) {
        return IdleBy::State(State::SynReceived);
    }
    if flags & flow_flags::RULE_TIMEOUT != 0 && state.carries_data() { IdleBy::Rule } else { IdleBy::State(state) }
}

/// Slack between the moment a flow is treated as over and the moment it may be removed, in seconds.
///
/// A processor that found the flow alive holds a pointer to it for microseconds; the slack makes sure that nobody does when
/// the slot goes to another flow. One that found it over may hold a pointer still, but can only claim the
/// flow by swapping the very word that it judged.
pub const REMOVAL_GRACE: u32 = 2;

/// Whether a flow is still alive at `now` (seconds since boot, as `last_seen`).
#[inline(always)]
#[must_use]
pub const fn is_alive(last_seen: u32, timeout: u32, now: u32) -> bool {
    // Another processor's clock may be a tick ahead: a last packet "in the future" is alive.
    last_seen != DYING && (now < last_seen || now - last_seen <= timeout)
}

/// Whether a flow has been over for so long that no processor can hold a pointer to it.
#[inline(always)]
#[must_use]
pub const fn is_removable(last_seen: u32, timeout: u32, now: u32) -> bool {
    last_seen != DYING && now > last_seen && now - last_seen > timeout.saturating_add(REMOVAL_GRACE)
}

/// What a packet without a flow may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Ask the policy; if it allows, a flow opens in this state.
    Flow(State),
    /// It opens nothing.
    Refused(DropReason),
}

/// Judges a packet that belongs to no flow.
///
/// `pick_up`: a packet from the middle of a TCP connection or SCTP association may open a flow.
#[inline(always)]
#[must_use]
pub const fn opening(packet: &Packet, pick_up: bool) -> Opening {
    match packet.kind {
        Kind::Tcp => match packet.tcp_flags & (tcp_flag::SYN | tcp_flag::ACK | tcp_flag::RST) {
            tcp_flag::SYN => Opening::Flow(State::SynSent),
            flags if pick_up && flags & (tcp_flag::RST | tcp_flag::SYN) == 0 => Opening::Flow(State::Established),
            _ => Opening::Refused(DropReason::TcpNotSyn),
        },
        Kind::Udp => Opening::Flow(State::UdpNew),
        Kind::IcmpQuery => Opening::Flow(State::Icmp),
        Kind::IcmpReply | Kind::IcmpError => Opening::Refused(DropReason::IcmpUnrelated),
        // Both are judged before the flow table is asked.
        Kind::NeighbourDiscovery | Kind::MulticastListener => Opening::Refused(DropReason::Multicast),
        // The flow that its datagram's first fragment belonged to is over.
        Kind::Fragment => Opening::Refused(DropReason::FragmentOfDropped),
        Kind::Sctp => sctp::opening(&sctp::Message::of(packet), pick_up),
        Kind::Other => Opening::Flow(State::Other),
    }
}

/// The state after a packet of an existing flow of another protocol than TCP and SCTP, or what else it means.
#[inline(always)]
#[must_use]
pub const fn step(state: State, side: Side, packet: &Packet) -> Step {
    // Another processor may have found the flow alive before a new policy ended it.
    if matches!(state, State::Ended) {
        return Step::Reopen;
    }
    match packet.kind {
        Kind::Udp => match side {
            Side::Originator => Step::To(state),
            Side::Responder => Step::To(State::UdpReplied),
        },
        // A request of the other side can have the same key, if its identifier is the number of a request's type.
        Kind::IcmpQuery => match side {
            Side::Originator => Step::To(state),
            Side::Responder => Step::Invalid,
        },
        Kind::IcmpReply => match side {
            Side::Originator => Step::Invalid,
            Side::Responder => Step::To(state),
        },
        Kind::Tcp
        | Kind::Sctp
        | Kind::IcmpError
        | Kind::NeighbourDiscovery
        | Kind::MulticastListener
        | Kind::Fragment
        | Kind::Other => Step::To(state),
    }
}

/// Slots of each flow table that one run of the sweep program looks at.
pub const SWEEP_BATCH: u32 = 512;

/// The canonical key of an IPv4 packet, and whether its sender is the higher end.
#[inline(always)]
#[must_use]
pub fn key4(packet: &Packet) -> (FlowKey4, bool) {
    let ([src, ..], [dst, ..]) = (packet.src_addr.words(), packet.dst_addr.words());
    let (src_number, dst_number) = (u32::from_be(src), u32::from_be(dst));
    let sender_is_high = src_number > dst_number || (src_number == dst_number && packet.src_port > packet.dst_port);
    // Chosen as words and taken apart afterwards: the compiler would choose byte by byte.
    let (low, high) = if sender_is_high { (dst, src) } else { (src, dst) };
    let (low_port, high_port) = ports(packet, sender_is_high);
    let key = FlowKey4 {
        low_addr: low.to_ne_bytes(),
        high_addr: high.to_ne_bytes(),
        low_port,
        high_port,
        protocol: packet.protocol,
        _pad: [0; 3],
    };
    (key, sender_is_high)
}

/// The ports of the lower and of the higher end.
#[inline(always)]
const fn ports(packet: &Packet, sender_is_high: bool) -> ([u8; 2], [u8; 2]) {
    let (low, high) =
        if sender_is_high { (packet.dst_port, packet.src_port) } else { (packet.src_port, packet.dst_port) };
    (low.to_be_bytes(), high.to_be_bytes())
}

/// Compares two IPv6 addresses.
#[inline(always)]
const fn order6(one: &Address, other: &Address) -> Ordering {
    let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (one.words(), other.words());
    let (one_high, other_high) = (pair(a0, a1), pair(b0, b1));
    let (one_low, other_low) = (pair(a2, a3), pair(b2, b3));
    if one_high != other_high {
        return if one_high > other_high { Ordering::Greater } else { Ordering::Less };
    }
    if one_low == other_low {
        Ordering::Equal
    } else if one_low > other_low {
        Ordering::Greater
    } else {
        Ordering::Less
    }
}

/// Eight bytes of an address as a number.
#[inline(always)]
const fn pair(first: u32, second: u32) -> u64 {
    (u32::from_be(first) as u64) << 32 | u32::from_be(second) as u64
}

/// The canonical key of an IPv6 packet, and whether its sender is the higher end.
#[inline(always)]
#[must_use]
pub fn key6(packet: &Packet) -> (FlowKey6, bool) {
    let sender_is_high = match order6(&packet.src_addr, &packet.dst_addr) {
        Ordering::Greater => true,
        Ordering::Equal => packet.src_port > packet.dst_port,
        Ordering::Less => false,
    };
    let (low, high) =
        if sender_is_high { (packet.dst_addr, packet.src_addr) } else { (packet.src_addr, packet.dst_addr) };
    let (low_port, high_port) = ports(packet, sender_is_high);
    let key = FlowKey6 {
        low_addr: low.octets(),
        high_addr: high.octets(),
        low_port,
        high_port,
        protocol: packet.protocol,
        _pad: [0; 3],
    };
    (key, sender_is_high)
}

/// Which end of the flow sent a packet.
#[inline(always)]
#[must_use]
pub const fn side(flow_flags: u8, sender_is_high: bool) -> Side {
    if (flow_flags & flow_flags::ORIGIN_IS_HIGH != 0) == sender_is_high { Side::Originator } else { Side::Responder }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_opens_a_flow() {
        let packet = |kind, tcp_flags| Packet { kind, tcp_flags, ..Packet::EMPTY };
        use tcp_flag::{ACK, RST, SYN};
        let refused = Opening::Refused;
        assert_eq!(opening(&packet(Kind::Tcp, SYN), false), Opening::Flow(State::SynSent));
        assert_eq!(opening(&packet(Kind::Tcp, SYN | ACK), false), refused(DropReason::TcpNotSyn));
        assert_eq!(opening(&packet(Kind::Tcp, ACK), false), refused(DropReason::TcpNotSyn));
        assert_eq!(opening(&packet(Kind::Tcp, ACK), true), Opening::Flow(State::Established), "picked up");
        assert_eq!(opening(&packet(Kind::Tcp, RST | ACK), true), refused(DropReason::TcpNotSyn));
        assert_eq!(opening(&packet(Kind::Udp, 0), false), Opening::Flow(State::UdpNew));
        assert_eq!(opening(&packet(Kind::IcmpQuery, 0), false), Opening::Flow(State::Icmp));
        assert_eq!(opening(&packet(Kind::IcmpReply, 0), true), refused(DropReason::IcmpUnrelated));
        assert_eq!(opening(&packet(Kind::IcmpError, 0), true), refused(DropReason::IcmpUnrelated));
        assert_eq!(opening(&packet(Kind::Other, 0), false), Opening::Flow(State::Other));
    }

    #[test]
    fn a_picked_up_connection_lives_long_once_both_ends_are_heard() {
        let (established, own) = (State::Established, flow_flags::RULE_TIMEOUT);
        let picked_up = flow_flags::LIBERAL | own;
        assert_eq!(idle_by(established, picked_up, [tcp_flag::ACK, 0]), IdleBy::State(State::SynReceived));
        assert_eq!(idle_by(established, picked_up, [0, tcp_flag::ACK]), IdleBy::State(State::SynReceived));
        assert_eq!(idle_by(established, picked_up, [tcp_flag::ACK; 2]), IdleBy::Rule);
        assert_eq!(idle_by(established, own, [tcp_flag::SYN; 2]), IdleBy::Rule);
        assert_eq!(idle_by(State::FinWait, own, [tcp_flag::FIN; 2]), IdleBy::State(State::FinWait));
        assert_eq!(idle_by(State::UdpNew, 0, [0; 2]), IdleBy::State(State::UdpNew));
    }

    #[test]
    fn nothing_revives_a_flow_that_a_policy_has_ended() {
        for kind in [Kind::Udp, Kind::IcmpQuery, Kind::IcmpReply, Kind::Other] {
            let packet = Packet { kind, ..Packet::EMPTY };
            for side in [Side::Originator, Side::Responder] {
                assert_eq!(step(State::Ended, side, &packet), Step::Reopen, "{kind:?} of the {side:?}");
            }
        }
    }

    fn packet(ipv4: bool, bytes: [[u8; 16]; 2], ports: [u16; 2], protocol: u8) -> Packet {
        let addr =
            |[a, b, c, d, ..]: [u8; 16], bytes| if ipv4 { Address::v4([a, b, c, d]) } else { Address::v6(bytes) };
        Packet {
            src_addr: addr(bytes[0], bytes[0]),
            dst_addr: addr(bytes[1], bytes[1]),
            src_port: ports[0],
            dst_port: ports[1],
            protocol,
            ..Packet::EMPTY
        }
    }

    proptest! {
        #[test]
        fn both_directions_have_one_key_and_two_sides(ipv4: bool, a: [u8; 16], b: [u8; 16], ports: [u16; 2], protocol: u8) {
            let forth = packet(ipv4, [a, b], ports, protocol);
            let back = packet(ipv4, [b, a], [ports[1], ports[0]], protocol);
            prop_assume!(forth.src_addr != forth.dst_addr || ports[0] != ports[1]);
            let (key, forth_is_high, other, back_is_high) = if ipv4 {
                let (key, forth_is_high) = key4(&forth);
                let (other, back_is_high) = key4(&back);
                (FlowKey6::from(key), forth_is_high, FlowKey6::from(other), back_is_high)
            } else {
                let (key, forth_is_high) = key6(&forth);
                let (other, back_is_high) = key6(&back);
                (key, forth_is_high, other, back_is_high)
            };
            prop_assert_eq!(key, other);
            prop_assert_ne!(forth_is_high, back_is_high);
            let flags = if forth_is_high { flow_flags::ORIGIN_IS_HIGH } else { 0 };
            prop_assert_eq!(side(flags, forth_is_high), Side::Originator);
            prop_assert_eq!(side(flags, back_is_high), Side::Responder);
        }

        #[test]
        fn nothing_alive_is_removable(last_seen: u32, timeout: u32, now: u32) {
            if is_alive(last_seen, timeout, now) {
                prop_assert!(!is_removable(last_seen, timeout, now));
                // Not even by a processor whose clock is within the grace period ahead.
                prop_assert!(!is_removable(last_seen, timeout, now.saturating_add(REMOVAL_GRACE)));
            }
        }

        #[test]
        fn every_flow_becomes_removable(last_seen in 0u32..1_000_000, timeout in 0u32..1_000_000) {
            prop_assert!(is_removable(last_seen, timeout, last_seen + timeout + REMOVAL_GRACE + 1));
        }
    }
}
