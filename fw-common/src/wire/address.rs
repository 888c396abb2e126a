//! An IPv4 or IPv6 address in sixteen bytes.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address in network byte order: IPv4 in the first four bytes with the rest zero, IPv6 in all sixteen.
///
/// Aligned to words, so that the eBPF program copies and compares it by words.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The bytes.
    pub bytes: [u8; 16],
    /// 4 or 6.
    pub family: u8,
}

impl Address {
    /// Makes an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn v4(addr: [u8; 4]) -> Self {
        let [a, b, c, d] = addr;
        Self { bytes: [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], family: 4 }
    }

    /// Makes an IPv6 address.
    #[inline(always)]
    #[must_use]
    pub const fn v6(bytes: [u8; 16]) -> Self {
        Self { bytes, family: 6 }
    }

    /// Whether this is an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn is_ipv4(&self) -> bool {
        self.family == 4
    }

    /// The first four bytes: all of an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn first4(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.bytes;
        [a, b, c, d]
    }
}

impl From<IpAddr> for Address {
    fn from(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(addr) => Self::v4(addr.octets()),
            IpAddr::V6(addr) => Self::v6(addr.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(addr: Address) -> Self {
        if addr.is_ipv4() { Self::V4(Ipv4Addr::from(addr.first4())) } else { Self::V6(Ipv6Addr::from(addr.bytes)) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(formatter)
    }
}
