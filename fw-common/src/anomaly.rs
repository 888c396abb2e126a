//! Addresses that no honest packet on a routed network carries.
//!
//! In: a parsed packet. Out: how its destination is cast, or the reason to drop it. Which zone the source belongs to is
//! not judged here: that needs the zone tables.

use crate::DropReason;
use crate::wire::{Address, Packet};

/// How many receivers the destination address has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cast {
    /// One host.
    Unicast = 0,
    /// 255.255.255.255: every host of the link.
    LimitedBroadcast = 1,
    /// A group.
    Multicast = 2,
}

/// Judges both addresses.
#[inline(always)]
pub fn check_addresses(packet: &Packet) -> Result<Cast, DropReason> {
    if packet.src_addr == packet.dst_addr {
        return Err(DropReason::Land);
    }
    if packet.is_ipv4() { check_ipv4(packet) } else { check_ipv6(packet) }
}

/// RFC 1812, section 5.3.7, and the special-purpose registry of RFC 6890.
#[inline(always)]
fn check_ipv4(packet: &Packet) -> Result<Cast, DropReason> {
    let source = u32::from_be_bytes(packet.src_addr.first4());
    match source >> 24 {
        0 if source == 0 => return Err(DropReason::SourceUnspecified),
        127 => return Err(DropReason::SourceLoopback),
        224..=239 => return Err(DropReason::SourceMulticast),
        _ if source == u32::MAX => return Err(DropReason::SourceBroadcast),
        _ if is_reserved_ipv4(source) => return Err(DropReason::SourceMartian),
        _ => {}
    }
    let destination = u32::from_be_bytes(packet.dst_addr.first4());
    match destination >> 24 {
        0 if destination == 0 => Err(DropReason::DestinationUnspecified),
        127 => Err(DropReason::DestinationLoopback),
        224..=239 => Ok(Cast::Multicast),
        _ if destination == u32::MAX => Ok(Cast::LimitedBroadcast),
        _ if is_reserved_ipv4(destination) => Err(DropReason::DestinationMartian),
        _ => Ok(Cast::Unicast),
    }
}

/// "This network" (RFC 1122, section 3.2.1.3), the former class E (RFC 1112, section 4), and the three blocks for
/// documentation (RFC 5737), which the registry of RFC 6890 says are not forwarded.
#[inline(always)]
const fn is_reserved_ipv4(addr: u32) -> bool {
    let (network, documentation) = (addr >> 24, addr >> 8);
    network == 0
        || network >= 240
        || documentation == 0x00c0_0002
        || documentation == 0x00c6_3364
        || documentation == 0x00cb_0071
}

/// RFC 4291, section 2, and the registries of RFC 6890 and of the IPv6 address space.
#[inline(always)]
fn check_ipv6(packet: &Packet) -> Result<Cast, DropReason> {
    if packet.src_addr.octets()[0] == 0xff {
        return Err(DropReason::SourceMulticast);
    }
    match special_ipv6(&packet.src_addr) {
        Some(Special::Unspecified) => return Err(DropReason::SourceUnspecified),
        Some(Special::Loopback) => return Err(DropReason::SourceLoopback),
        Some(Special::Reserved) => return Err(DropReason::SourceMartian),
        None => {}
    }
    if packet.dst_addr.octets()[0] == 0xff {
        return Ok(Cast::Multicast);
    }
    match special_ipv6(&packet.dst_addr) {
        Some(Special::Unspecified) => Err(DropReason::DestinationUnspecified),
        Some(Special::Loopback) => Err(DropReason::DestinationLoopback),
        Some(Special::Reserved) => Err(DropReason::DestinationMartian),
        None => Ok(Cast::Unicast),
    }
}

/// Why an IPv6 address is none that a packet between networks has.
#[derive(Clone, Copy)]
enum Special {
    Unspecified,
    Loopback,
    Reserved,
}

/// What is special about an address that is not that of a group.
#[inline(always)]
fn special_ipv6(addr: &Address) -> Option<Special> {
    let [first, second, third, fourth] = addr.words().map(u32::from_be);
    let is_usable = match first >> 24 {
        // Global unicast but for the blocks for documentation: 2001:db8::/32 (RFC 3849) and 3fff::/20 (RFC 9637).
        0x20..=0x3f => first != 0x2001_0db8 && first >> 12 != 0x3fff0,
        // Unique local (RFC 4193).
        0xfc | 0xfd => true,
        // Link-local, which is judged where it is known whether the packet is to be forwarded; fec0::/10 is no longer assigned
        // (RFC 3879).
        0xfe => first & 0x00c0_0000 == 0x0080_0000,
        // IPv4 addresses behind a translator (RFC 6052, 8215); all the rest of 0000::/8 is unspecified, loopback,
        // IPv4-compatible, IPv4-mapped or reserved.
        0x00 => first == 0x0064_ff9b && ((second == 0 && third == 0) || second >> 16 == 1),
        // What is to be discarded on purpose (RFC 6666) may be forwarded on its way there.
        0x01 => first == 0x0100_0000 && second == 0,
        // Segment identifiers (RFC 9602).
        0x5f => first >> 16 == 0x5f00,
        _ => false,
    };
    if is_usable {
        return None;
    }
    Some(match (first | second | third, fourth) {
        (0, 0) => Special::Unspecified,
        (0, 1) => Special::Loopback,
        _ => Special::Reserved,
    })
}

/// Whether a router must not forward from or to this address (RFC 3927, section 7; RFC 4291, section 2.5.6).
#[inline(always)]
#[must_use]
pub const fn is_link_local(addr: &Address) -> bool {
    let [first, second, ..] = addr.octets();
    if addr.is_ipv4() { first == 169 && second == 254 } else { first == 0xfe && second & 0xc0 == 0x80 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::parse::Kind;
    use core::net::IpAddr;
    use std::string::String;

    fn packet(src: &str, dst: &str) -> Packet {
        let parse = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
        Packet { src_addr: parse(src), dst_addr: parse(dst), kind: Kind::Udp, protocol: 17, ttl: 64, ..Packet::EMPTY }
    }

    #[test]
    fn names_the_anomaly() {
        let cases = [
            ("10.0.0.1", "10.0.0.1", Err(DropReason::Land)),
            ("0.0.0.0", "10.0.0.1", Err(DropReason::SourceUnspecified)),
            ("0.1.2.3", "10.0.0.1", Err(DropReason::SourceMartian)),
            ("127.0.0.1", "10.0.0.1", Err(DropReason::SourceLoopback)),
            ("224.0.0.5", "10.0.0.1", Err(DropReason::SourceMulticast)),
            ("240.0.0.1", "10.0.0.1", Err(DropReason::SourceMartian)),
            ("192.0.2.1", "10.0.0.1", Err(DropReason::SourceMartian)),
            ("192.0.3.1", "10.0.0.1", Ok(Cast::Unicast)),
            ("198.51.100.1", "10.0.0.1", Err(DropReason::SourceMartian)),
            ("203.0.113.1", "10.0.0.1", Err(DropReason::SourceMartian)),
            ("255.255.255.255", "10.0.0.1", Err(DropReason::SourceBroadcast)),
            ("10.0.0.1", "127.0.0.1", Err(DropReason::DestinationLoopback)),
            ("10.0.0.1", "0.0.0.0", Err(DropReason::DestinationUnspecified)),
            ("10.0.0.1", "0.1.2.3", Err(DropReason::DestinationMartian)),
            ("10.0.0.1", "250.0.0.1", Err(DropReason::DestinationMartian)),
            ("10.0.0.1", "203.0.113.1", Err(DropReason::DestinationMartian)),
            ("10.0.0.1", "239.1.1.1", Ok(Cast::Multicast)),
            ("10.0.0.1", "255.255.255.255", Ok(Cast::LimitedBroadcast)),
            ("10.0.0.1", "10.0.0.2", Ok(Cast::Unicast)),
            ("::", "fd00::1", Err(DropReason::SourceUnspecified)),
            ("::1", "fd00::1", Err(DropReason::SourceLoopback)),
            ("::2", "fd00::1", Err(DropReason::SourceMartian)),
            ("::10.0.0.1", "fd00::1", Err(DropReason::SourceMartian)),
            ("::ffff:10.0.0.1", "fd00::1", Err(DropReason::SourceMartian)),
            ("2001:db8::1", "fd00::1", Err(DropReason::SourceMartian)),
            ("3fff:fff::1", "fd00::1", Err(DropReason::SourceMartian)),
            ("4000::1", "fd00::1", Err(DropReason::SourceMartian)),
            ("fec0::1", "fd00::1", Err(DropReason::SourceMartian)),
            ("fe00::1", "fd00::1", Err(DropReason::SourceMartian)),
            ("ff02::1", "fd00::1", Err(DropReason::SourceMulticast)),
            ("fe80::1", "fd00::1", Ok(Cast::Unicast)),
            ("64:ff9b::10.0.0.1", "fd00::1", Ok(Cast::Unicast)),
            ("64:ff9b:1:2::1", "fd00::1", Ok(Cast::Unicast)),
            ("64:ff9b:2::1", "fd00::1", Err(DropReason::SourceMartian)),
            ("fd00::1", "::", Err(DropReason::DestinationUnspecified)),
            ("fd00::1", "::1", Err(DropReason::DestinationLoopback)),
            ("fd00::1", "100::1", Ok(Cast::Unicast)),
            ("fd00::1", "100:0:0:1::1", Err(DropReason::DestinationMartian)),
            ("fd00::1", "5f00:1::1", Ok(Cast::Unicast)),
            ("fd00::1", "5f01::1", Err(DropReason::DestinationMartian)),
            ("fd00::1", "2001:db8::1", Err(DropReason::DestinationMartian)),
            ("fd00::1", "2001:db9::1", Ok(Cast::Unicast)),
            ("fd00::1", "3fff:1000::1", Ok(Cast::Unicast)),
            ("fd00::1", "ff02::1", Ok(Cast::Multicast)),
            ("fd00::1", "fd00::2", Ok(Cast::Unicast)),
        ];
        for (src, dst, expected) in cases {
            assert_eq!(check_addresses(&packet(src, dst)), expected, "{}", String::from(src) + " > " + dst);
        }
    }

    #[test]
    fn knows_link_local() {
        for (text, expected) in [
            ("169.254.169.254", true),
            ("169.253.0.1", false),
            ("fe80::1", true),
            ("febf::1", true),
            ("fec0::1", false),
        ] {
            assert_eq!(is_link_local(&Address::from(text.parse::<IpAddr>().unwrap())), expected, "{text}");
        }
    }
}
