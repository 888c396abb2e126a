//! An address or a prefix, as an operator writes either.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The addresses of a prefix, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressRange(IpNet);

impl AddressRange {
    /// Whether the address lies in it.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        self.0.contains(&addr)
    }

    /// The prefix, without host bits.
    #[must_use]
    pub const fn prefix(&self) -> IpNet {
        self.0
    }
}

impl FromStr for AddressRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let net = match text.parse::<IpAddr>() {
            Ok(addr) => IpNet::from(addr),
            Err(_) => text.parse::<IpNet>().map_err(|_| format!("{text:?} is neither an address nor a prefix"))?,
        };
        Ok(Self(net.trunc()))
    }
}

impl TryFrom<String> for AddressRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<AddressRange> for String {
    fn from(range: AddressRange) -> Self {
        range.to_string()
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(formatter)
        } else {
            self.0.fmt(formatter)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_prefixes_are_read() {
        let range = |text: &str| text.parse::<AddressRange>().unwrap();
        assert_eq!(range("10.1.1.20").to_string(), "10.1.1.20");
        assert_eq!(range("10.1.1.20/16").to_string(), "10.1.0.0/16");
        assert!(range("fd00:0:0:100::/56").contains("fd00:0:0:101::20".parse().unwrap()));
        assert!(!range("10.1.0.0/16").contains("10.2.0.1".parse().unwrap()));
        assert!("10.1".parse::<AddressRange>().is_err());
    }
}
