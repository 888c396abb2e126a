//! Asks the routers of a link to advertise themselves (RFC 4861, section 4.1).
//!
//! The kernel asks only when an interface comes up, and not at all while it was told to ignore advertisements; the next
//! unsolicited one may be minutes away.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with, sockopt};

/// ff02::2, all routers of the link.
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// Type 133, code 0; the kernel fills in the checksum, and the rest is reserved.
const ROUTER_SOLICITATION: [u8; 8] = [133, 0, 0, 0, 0, 0, 0, 0];

/// Sends one router solicitation from an interface.
pub fn routers(ifindex: u32) -> io::Result<()> {
    let socket = socket_with(
        AddressFamily::INET6,
        SocketType::RAW,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(ipproto::ICMPV6),
    )?;
    // A receiver drops neighbour discovery messages that may have crossed a router (RFC 4861, section 6.1.1).
    sockopt::set_ipv6_multicast_hops(&socket, 255)?;
    let destination = SocketAddrV6::new(ALL_ROUTERS, 0, 0, ifindex);
    sendto(&socket, &ROUTER_SOLICITATION, SendFlags::empty(), &destination)?;
    Ok(())
}
