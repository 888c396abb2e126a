//! The addresses of the link itself: they are in no zone of the policy, whatever its networks say, and only the host may
//! use them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::set::address::{Network, number};
use crate::set::interval::Cidr;

/// The networks of [`fw_common::abi::policy::zone::LINK`].
pub(crate) fn networks() -> [Network; 7] {
    [
        // DHCP: "this host" and the limited broadcast (RFC 2131, section 4.1).
        network(Ipv4Addr::UNSPECIFIED, 32),
        network(Ipv4Addr::BROADCAST, 32),
        // The services of the instance (EC2 User Guide, "Use the Instance Metadata Service").
        network(Ipv4Addr::new(169, 254, 169, 0), 24),
        network(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32),
        // Link-local unicast and multicast (RFC 4291, sections 2.5.6 and 2.7; RFC 5771).
        network(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
        network(Ipv4Addr::new(224, 0, 0, 0), 4),
        network(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
    ]
}

fn network(addr: impl Into<IpAddr>, len: u8) -> Network {
    let (family, first) = number(addr.into());
    Network { family, cidr: Cidr { first, len } }
}
