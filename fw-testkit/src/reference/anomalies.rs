//! What no packet is that the reference asks its policy about.

use std::net::{IpAddr, Ipv4Addr};

use fw_common::DropReason;

use super::datagram::{Body, Datagram};
use super::flow::{Role, role};

/// What no honest packet on a routed network is, whatever the policy says.
pub(super) fn check(datagram: &Datagram) -> Result<(), DropReason> {
    let contradiction = match &datagram.body {
        Body::Tcp(segment) => segment.contradiction(),
        Body::Sctp(packet) => packet.contradiction(),
        Body::Udp(..) | Body::Icmp { .. } | Body::Other(_) => None,
    };
    if let Some(reason) = contradiction {
        return Err(reason);
    }
    match &datagram.body {
        Body::Udp(_, 0) => return Err(DropReason::PortZero),
        // Three timestamps, or a mask, stand behind the header.
        Body::Icmp { kind: 13 | 14, .. } if datagram.src.is_ipv4() && datagram.len < 12 => {
            return Err(DropReason::IcmpHeader);
        }
        Body::Icmp { kind: 17 | 18, .. } if datagram.src.is_ipv4() && datagram.len < 4 => {
            return Err(DropReason::IcmpHeader);
        }
        Body::Tcp(_) | Body::Udp(..) | Body::Sctp(..) | Body::Icmp { .. } | Body::Other(_) => {}
    }
    if role(datagram) == Role::Group {
        return Err(DropReason::Multicast);
    }
    if datagram.src == datagram.dst {
        return Err(DropReason::Land);
    }
    match kind_of(datagram.src) {
        Kind::Unspecified => return Err(DropReason::SourceUnspecified),
        Kind::Loopback => return Err(DropReason::SourceLoopback),
        Kind::Group => return Err(DropReason::SourceMulticast),
        Kind::Everybody => return Err(DropReason::SourceBroadcast),
        Kind::Reserved => return Err(DropReason::SourceMartian),
        Kind::Host => {}
    }
    match kind_of(datagram.dst) {
        Kind::Unspecified => Err(DropReason::DestinationUnspecified),
        Kind::Loopback => Err(DropReason::DestinationLoopback),
        Kind::Group => Err(DropReason::Multicast),
        Kind::Reserved => Err(DropReason::DestinationMartian),
        // To the firewall itself as to the rest of the link: that is how DHCP begins.
        Kind::Everybody if matches!(datagram.body, Body::Udp(..)) => Ok(()),
        Kind::Everybody => Err(DropReason::Broadcast),
        Kind::Host => Ok(()),
    }
}

/// What an address is by its number alone.
enum Kind {
    Unspecified,
    Loopback,
    Group,
    Everybody,
    Reserved,
    Host,
}

/// What no host on a routed network has, in the words of the registries of RFC 6890: the first block that holds it decides.
const RESERVED: [&str; 5] = ["0.0.0.0/8", "240.0.0.0/4", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"];
const RESERVED6: [&str; 3] = ["2001:db8::/32", "3fff::/20", "fec0::/10"];
/// What of the IPv6 address space has been handed out.
const ASSIGNED6: [&str; 7] =
    ["64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2000::/3", "5f00::/16", "fc00::/7", "fe80::/10"];

fn kind_of(addr: IpAddr) -> Kind {
    let is_in = |blocks: &[&str]| {
        blocks.iter().any(|block| block.parse::<ipnet::IpNet>().is_ok_and(|block| block.contains(&addr)))
    };
    match addr {
        _ if addr.is_unspecified() => Kind::Unspecified,
        _ if addr.is_loopback() => Kind::Loopback,
        _ if addr.is_multicast() => Kind::Group,
        IpAddr::V4(Ipv4Addr::BROADCAST) => Kind::Everybody,
        IpAddr::V4(_) if is_in(&RESERVED) => Kind::Reserved,
        IpAddr::V6(_) if is_in(&RESERVED6) || !is_in(&ASSIGNED6) => Kind::Reserved,
        IpAddr::V4(_) | IpAddr::V6(_) => Kind::Host,
    }
}
