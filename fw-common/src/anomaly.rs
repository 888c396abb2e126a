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
    let [source, ..] = packet.src_addr.octets();
    // "This network", loopback, multicast and reserved, the limited broadcast included.
    if source == 0 || source == 127 || source >= 224 {
        return Err(DropReason::SourceMartian);
    }
    let destination = packet.dst_addr.first4();
    match destination[0] {
        0 | 127 => Err(DropReason::DestinationMartian),
        224..=239 => Ok(Cast::Multicast),
        240..=255 if destination == [255; 4] => Ok(Cast::LimitedBroadcast),
        240..=255 => Err(DropReason::DestinationMartian),
        _ => Ok(Cast::Unicast),
    }
}

/// RFC 4291, section 2, and RFC 6890.
#[inline(always)]
fn check_ipv6(packet: &Packet) -> Result<Cast, DropReason> {
    if packet.src_addr.octets()[0] == 0xff || is_special_ipv6(&packet.src_addr) {
        return Err(DropReason::SourceMartian);
    }
    if is_special_ipv6(&packet.dst_addr) {
        return Err(DropReason::DestinationMartian);
    }
    Ok(if packet.dst_addr.octets()[0] == 0xff { Cast::Multicast } else { Cast::Unicast })
}

/// Unspecified, loopback, IPv4-compatible and IPv4-mapped addresses: all start with ten bytes of zero.
#[inline(always)]
fn is_special_ipv6(addr: &Address) -> bool {
    let [a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, ..] = addr.octets();
    u64::from_ne_bytes([a0, a1, a2, a3, a4, a5, a6, a7]) == 0 && a8 == 0 && a9 == 0
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
            ("0.0.0.0", "10.0.0.1", Err(DropReason::SourceMartian)),
            ("127.0.0.1", "10.0.0.1", Err(DropReason::SourceMartian)),
            ("224.0.0.5", "10.0.0.1", Err(DropReason::SourceMartian)),
            ("255.255.255.255", "10.0.0.1", Err(DropReason::SourceMartian)),
            ("10.0.0.1", "127.0.0.1", Err(DropReason::DestinationMartian)),
            ("10.0.0.1", "0.1.2.3", Err(DropReason::DestinationMartian)),
            ("10.0.0.1", "250.0.0.1", Err(DropReason::DestinationMartian)),
            ("10.0.0.1", "239.1.1.1", Ok(Cast::Multicast)),
            ("10.0.0.1", "255.255.255.255", Ok(Cast::LimitedBroadcast)),
            ("10.0.0.1", "10.0.0.2", Ok(Cast::Unicast)),
            ("::", "fd00::1", Err(DropReason::SourceMartian)),
            ("::1", "fd00::1", Err(DropReason::SourceMartian)),
            ("::ffff:10.0.0.1", "fd00::1", Err(DropReason::SourceMartian)),
            ("ff02::1", "fd00::1", Err(DropReason::SourceMartian)),
            ("fd00::1", "::1", Err(DropReason::DestinationMartian)),
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
