//! Sets of addresses of both families, and how one element of them is written.

use std::net::IpAddr;

use super::interval::{Cidr, Family, IntervalSet};
use super::{SetAlgebra, TermError};
use crate::Code;

/// A set of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AddressSet {
    pub(crate) v4: IntervalSet,
    pub(crate) v6: IntervalSet,
}

impl AddressSet {
    pub(crate) const fn family(&self, family: Family) -> &IntervalSet {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// The addresses from `first` to `last`.
    pub(crate) fn range(family: Family, first: u128, last: u128) -> Self {
        let range = IntervalSet::from_ranges(vec![(first, last)]);
        match family {
            Family::V4 => Self { v4: range, v6: IntervalSet::default() },
            Family::V6 => Self { v4: IntervalSet::default(), v6: range },
        }
    }

    /// Whether they have an address in common.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        Family::ALL.iter().any(|family| self.family(*family).overlaps(other.family(*family)))
    }

    pub(crate) fn contains(&self, addr: IpAddr) -> bool {
        let (family, number) = number(addr);
        self.family(family).contains(number)
    }
}

impl SetAlgebra for AddressSet {
    const KIND: &'static str = "address set";

    fn everything() -> Self {
        Self { v4: IntervalSet::everything(Family::V4), v6: IntervalSet::everything(Family::V6) }
    }

    fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    fn union<'a>(parts: impl Iterator<Item = &'a Self>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for part in parts {
            v4.extend_from_slice(part.v4.ranges());
            v6.extend_from_slice(part.v6.ranges());
        }
        Self { v4: IntervalSet::from_ranges(v4), v6: IntervalSet::from_ranges(v6) }
    }

    fn subtract(&self, other: &Self) -> Self {
        Self { v4: self.v4.subtract(&other.v4), v6: self.v6.subtract(&other.v6) }
    }
}

/// The family of an address, and the address as a number.
pub(crate) fn number(addr: IpAddr) -> (Family, u128) {
    match addr {
        IpAddr::V4(addr) => (Family::V4, u128::from(addr.to_bits())),
        IpAddr::V6(addr) => (Family::V6, addr.to_bits()),
    }
}

/// A network: a prefix without host bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) family: Family,
    pub(crate) cidr: Cidr,
}

impl Network {
    pub(crate) fn set(self) -> AddressSet {
        AddressSet::range(self.family, self.cidr.first, self.cidr.last(self.family))
    }

    pub(crate) fn contains(self, other: Self) -> bool {
        self.family == other.family && self.cidr.contains(other.cidr, self.family)
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", address(self.family, self.cidr.first), self.cidr.len)
    }
}

/// The inverse of [`number`].
pub(crate) fn address(family: Family, number: u128) -> IpAddr {
    match family {
        // A number of this family has no more bits.
        Family::V4 => IpAddr::V4(std::net::Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX))),
        Family::V6 => IpAddr::V6(std::net::Ipv6Addr::from_bits(number)),
    }
}

/// Reads a prefix, or an address as the prefix of full length.
pub(crate) fn parse_network(text: &str) -> Result<Network, TermError> {
    let (addr, len) = match text.split_once('/') {
        Some((addr, len)) => (addr, Some(len)),
        None => (text, None),
    };
    let (family, first) = number(parse_address(addr)?);
    let len = match len {
        None => family.bits(),
        Some(digits) => parse_length(digits, family)?,
    };
    let host_bits = first & family.host_mask(len);
    let network = Network { family, cidr: Cidr { first: first - host_bits, len } };
    if host_bits != 0 {
        let message = format!("`{text}` has bits set behind its first {len}");
        let alone = format!("{addr}/{}", family.bits());
        return Err(TermError::new(Code::HostBits, message)
            .help(format!("write `{network}` for the network, or `{alone}` for the address alone")));
    }
    Ok(network)
}

fn parse_length(digits: &str, family: Family) -> Result<u8, TermError> {
    let length = digits.parse::<u8>().ok().filter(|len| *len <= family.bits() && !digits.starts_with('+'));
    length.ok_or_else(|| {
        let message = format!("`{digits}` is no prefix length of this family");
        let expected = format!("a prefix length is a number from 0 to {}", family.bits());
        TermError::new(Code::InvalidAddress, message).help(expected)
    })
}

fn parse_address(text: &str) -> Result<IpAddr, TermError> {
    text.parse().map_err(|_| {
        TermError::new(Code::InvalidAddress, format!("`{text}` is not an address")).help(
            "write an address, a prefix (`10.1.0.0/16`), a range (`10.1.0.5-10.1.0.9`) or a set (`@name`), \
             each with `!` in front to except it",
        )
    })
}

/// Reads an address, a prefix or a range: a family, with the first and the last address.
pub(crate) fn parse_entry(text: &str) -> Result<(Family, (u128, u128)), TermError> {
    if let Some((first, last)) = text.split_once('-') {
        return parse_range(first, last);
    }
    let Network { family, cidr } = parse_network(text)?;
    Ok((family, (cidr.first, cidr.last(family))))
}

/// Reads one element of an address set, without `!` and `@`.
pub(crate) fn parse_literal(text: &str) -> Result<AddressSet, TermError> {
    for later in ["fqdn:", "aws:"] {
        if text.starts_with(later) {
            return Err(TermError::new(Code::Unsupported, format!("`{later}` sets are not supported in this version"))
                .help("list the addresses"));
        }
    }
    if text == "any" {
        return Err(TermError::new(Code::InvalidAddress, "`any` is a zone, not an address")
            .help("leave the key out to match every address"));
    }
    let (family, (first, last)) = parse_entry(text)?;
    Ok(AddressSet::range(family, first, last))
}

fn parse_range(first: &str, last: &str) -> Result<(Family, (u128, u128)), TermError> {
    let (first_family, first_number) = number(parse_address(first)?);
    let (last_family, last_number) = number(parse_address(last)?);
    if first_family != last_family {
        return Err(TermError::new(Code::InvalidAddress, "the ends of a range must be of one family"));
    }
    if first_number > last_number {
        return Err(TermError::new(Code::InvalidAddress, "the range ends before it starts")
            .write(format!("{first}-{last}"), format!("{last}-{first}")));
    }
    Ok((first_family, (first_number, last_number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str, addr: &str) -> bool {
        parse_literal(text).unwrap().contains(addr.parse().unwrap())
    }

    #[test]
    fn every_way_to_write_an_element() {
        assert!(holds("10.1.2.3", "10.1.2.3") && !holds("10.1.2.3", "10.1.2.4"));
        assert!(holds("10.1.0.0/16", "10.1.255.255") && !holds("10.1.0.0/16", "10.2.0.0"));
        assert!(holds("10.1.0.5-10.1.0.9", "10.1.0.9") && !holds("10.1.0.5-10.1.0.9", "10.1.0.10"));
        assert!(holds("fd00::/56", "fd00:0:0:ff::1") && !holds("fd00::/56", "fd00:0:0:100::"));
        assert!(holds("fd00::1-fd00::5", "fd00::5") && !holds("fd00::1-fd00::5", "10.0.0.1"));
        assert!(holds("0.0.0.0/0", "255.255.255.255") && !holds("0.0.0.0/0", "::"));
    }

    #[test]
    fn host_bits_are_refused_with_both_readings() {
        let error = parse_literal("10.1.2.3/16").unwrap_err();
        assert_eq!(error.code, Code::HostBits);
        assert_eq!(error.help.unwrap(), "write `10.1.0.0/16` for the network, or `10.1.2.3/32` for the address alone");
    }

    #[test]
    fn what_is_no_element() {
        for text in ["", "10.1", "10.0.0.0/33", "fd00::/129", "10.0.0.0/+8", "10.0.0.9-10.0.0.1", "10.0.0.1-::1", "any"]
        {
            assert_eq!(parse_literal(text).unwrap_err().code, Code::InvalidAddress, "{text}");
        }
        assert_eq!(parse_literal("aws:tag/x").unwrap_err().code, Code::Unsupported);
    }
}
