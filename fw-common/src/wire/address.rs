//! An IPv4 or IPv6 address in sixteen bytes.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address in network byte order: IPv4 in the first four bytes with the rest zero, IPv6 in all sixteen.
///
/// Kept as words, because the compiler takes an array of bytes apart, byte by byte, and the eBPF program copies and compares
/// addresses for every packet.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// The bytes as they stand in the packet, four at a time.
    words: [u32; 4],
    /// 4 or 6.
    pub family: u8,
}

impl Address {
    /// Makes an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn v4(addr: [u8; 4]) -> Self {
        Self { words: [u32::from_ne_bytes(addr), 0, 0, 0], family: 4 }
    }

    /// Makes an IPv6 address.
    #[inline(always)]
    #[must_use]
    pub const fn v6(bytes: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        let words = [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]];
        let [first, second, third, fourth] = words;
        let words = [
            u32::from_ne_bytes(first),
            u32::from_ne_bytes(second),
            u32::from_ne_bytes(third),
            u32::from_ne_bytes(fourth),
        ];
        Self { words, family: 6 }
    }

    /// The bytes as they stand in the packet, eight at a time; of an IPv4 address, four and zeros.
    #[inline(always)]
    #[must_use]
    pub const fn halves(&self) -> [u64; 2] {
        let [a, b, c, d] = self.words;
        [a as u64 | (b as u64) << 32, c as u64 | (d as u64) << 32]
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
        self.words[0].to_ne_bytes()
    }

    /// All sixteen bytes.
    #[inline(always)]
    #[must_use]
    pub const fn octets(&self) -> [u8; 16] {
        let [first, second, third, fourth] = self.words;
        let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
        let ([i, j, k, l], [m, n, o, p]) = (third.to_ne_bytes(), fourth.to_ne_bytes());
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    /// The bytes as they stand in the packet, four at a time.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> [u32; 4] {
        self.words
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
        if addr.is_ipv4() { Self::V4(Ipv4Addr::from(addr.first4())) } else { Self::V6(Ipv6Addr::from(addr.octets())) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(formatter)
    }
}
