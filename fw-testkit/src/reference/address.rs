//! Addresses as policies name them: a host, a prefix, a range.

use std::net::IpAddr;

/// A network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    addr: IpAddr,
    len: u8,
}

/// An address as a number of 128 bits whose first bit is the address's first.
fn left_aligned(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u128::from(addr.to_bits()) << 96,
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

impl Prefix {
    /// Reads `10.1.0.0/16`, or a host.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (addr, len) = match text.split_once('/') {
            Some((addr, len)) => (addr.parse().ok()?, len.parse().ok()?),
            None => {
                let addr: IpAddr = text.parse().ok()?;
                (addr, if addr.is_ipv4() { 32 } else { 128 })
            }
        };
        Some(Self { addr, len })
    }

    /// Whether the network has the address.
    #[must_use]
    pub fn holds(&self, addr: IpAddr) -> bool {
        let differ = left_aligned(self.addr) ^ left_aligned(addr);
        self.addr.is_ipv4() == addr.is_ipv4() && differ.leading_zeros() >= u32::from(self.len)
    }

    /// Length in bits.
    #[must_use]
    pub const fn len(&self) -> u8 {
        self.len
    }

    /// Whether it has every address of its family.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// One literal element of an address set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressTerm {
    Network(Prefix),
    Range(IpAddr, IpAddr),
}

impl AddressTerm {
    pub(super) fn read(text: &str) -> Option<Self> {
        match text.split_once('-') {
            Some((first, last)) => Some(Self::Range(first.parse().ok()?, last.parse().ok()?)),
            None => Prefix::read(text).map(Self::Network),
        }
    }

    pub(super) fn holds(&self, addr: IpAddr) -> bool {
        match self {
            Self::Network(network) => network.holds(addr),
            Self::Range(first, last) => {
                first.is_ipv4() == addr.is_ipv4()
                    && (left_aligned(*first)..=left_aligned(*last)).contains(&left_aligned(addr))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_holds_what_it_says() {
        let holds = |term: &str, addr: &str| AddressTerm::read(term).unwrap().holds(addr.parse().unwrap());
        assert!(holds("10.1.0.0/16", "10.1.255.255") && !holds("10.1.0.0/16", "10.2.0.0"));
        assert!(holds("10.1.1.9", "10.1.1.9") && !holds("10.1.1.9", "10.1.1.8"));
        assert!(holds("10.1.1.9-10.1.1.20", "10.1.1.20") && !holds("10.1.1.9-10.1.1.20", "10.1.1.21"));
        assert!(holds("fd00::/8", "fd12::1") && !holds("fd00::/8", "fe12::1"));
        assert!(holds("0.0.0.0/0", "1.2.3.4") && !holds("0.0.0.0/0", "::1"), "a family is not the other");
    }
}
