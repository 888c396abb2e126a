//! What the kernel knows, reduced to what the agent decides by.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fw_cloud::EniId;
use ipnet::{IpNet, Ipv4Net};

/// A snapshot of the kernel's tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Devices by interface index.
    pub links: BTreeMap<u32, Link>,
    /// The network interfaces of AWS that devices are known to be, by hardware address; the kernel does not know them.
    pub enis: BTreeMap<Mac, EniId>,
    /// Addresses in the kernel's order: of each interface the primary address comes first.
    pub addresses: Vec<Address>,
    /// Routes of [`super::TABLE`] that carry our protocol number.
    pub routes: Vec<Route>,
    /// IPv6 routers that advertised themselves.
    pub routers: Vec<Router>,
    /// The address families whose rule leads to our table.
    pub rules: BTreeSet<Family>,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    #[must_use]
    pub const fn of(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// A hardware address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Mac {
    type Err = ();

    /// Reads six hexadecimal octets that are separated by colons.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or(())?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| ())?;
        }
        if parts.next().is_some() { Err(()) } else { Ok(Self(octets)) }
    }
}

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Interface index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Hardware address.
    pub mac: Mac,
    /// MTU in bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// The loopback device.
    pub loopback: bool,
}

/// An address of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Interface that carries it.
    pub ifindex: u32,
    /// The address.
    pub addr: IpAddr,
    /// Length of the prefix of its subnet.
    pub prefix_len: u8,
    /// Duplicate address detection has failed, or the address is deprecated: not to be used as a source.
    pub avoid: bool,
}

impl Address {
    /// The subnet that the address is in, without host bits; `None` for a host address, which has no neighbours.
    #[must_use]
    pub fn subnet(&self) -> Option<IpNet> {
        let net = IpNet::new(self.addr, self.prefix_len).ok()?.trunc();
        (net.prefix_len() < net.max_prefix_len()).then_some(net)
    }

    /// The directed broadcast address of its subnet.
    #[must_use]
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        let IpAddr::V4(addr) = self.addr else { return None };
        let net = Ipv4Net::new(addr, self.prefix_len).ok()?;
        (net.prefix_len() <= 30).then(|| net.broadcast())
    }

    /// Valid on its link only.
    #[must_use]
    pub fn is_link_local(&self) -> bool {
        match self.addr {
            IpAddr::V4(addr) => addr.is_link_local(),
            IpAddr::V6(addr) => addr.is_unicast_link_local(),
        }
    }
}

/// A route of our table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// Where it leads.
    pub destination: IpNet,
    /// The interface to send from.
    pub ifindex: u32,
    /// The next hop; `None` when the destination is on the link.
    pub via: Option<IpAddr>,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.via {
            Some(via) => write!(f, "{} via {via}", self.destination),
            None => write!(f, "{}", self.destination),
        }
    }
}

/// An IPv6 default router, as the kernel learned it by router advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Router {
    /// The interface that it was heard on.
    pub ifindex: u32,
    /// The kernel's metric: the lowest is preferred.
    pub metric: u32,
    /// Its link-local address.
    pub addr: Ipv6Addr,
}

impl Observed {
    /// Addresses of one interface, primary first.
    pub fn addresses_of(&self, ifindex: u32) -> impl Iterator<Item = &Address> {
        self.addresses.iter().filter(move |address| address.ifindex == ifindex)
    }

    /// All own addresses and directed broadcasts that packets can be addressed to, sorted, without loopback.
    #[must_use]
    pub fn local_addresses(&self) -> (Vec<IpAddr>, Vec<Ipv4Addr>) {
        let addresses = || self.addresses.iter().filter(|address| !address.addr.is_loopback());
        let own: BTreeSet<_> = addresses().map(|address| address.addr).collect();
        let broadcasts: BTreeSet<_> = addresses().filter_map(Address::broadcast).collect();
        (own.into_iter().collect(), broadcasts.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(addr: &str, prefix_len: u8) -> Address {
        Address { ifindex: 2, addr: addr.parse().unwrap(), prefix_len, avoid: false }
    }

    #[test]
    fn a_host_address_has_neither_subnet_nor_broadcast() {
        assert_eq!(address("10.0.1.10", 32).subnet(), None);
        assert_eq!(address("10.0.1.10", 32).broadcast(), None);
        assert_eq!(address("10.0.1.10", 31).broadcast(), None);
        assert_eq!(address("fd00::1", 128).subnet(), None);
    }

    #[test]
    fn a_subnet_has_no_host_bits() {
        assert_eq!(address("10.0.1.10", 24).subnet(), Some("10.0.1.0/24".parse().unwrap()));
        assert_eq!(address("10.0.1.10", 24).broadcast(), Some(Ipv4Addr::new(10, 0, 1, 255)));
        assert_eq!(address("fd00:0:0:101::10", 64).subnet(), Some("fd00:0:0:101::/64".parse().unwrap()));
    }

    #[test]
    fn local_addresses_are_sorted_and_leave_loopback_out() {
        let observed = Observed {
            addresses: vec![address("10.0.1.10", 24), address("127.0.0.1", 8), address("10.0.1.5", 24)],
            ..Observed::default()
        };
        let (own, broadcasts) = observed.local_addresses();
        assert_eq!(own, ["10.0.1.5".parse::<IpAddr>().unwrap(), "10.0.1.10".parse().unwrap()]);
        assert_eq!(broadcasts, [Ipv4Addr::new(10, 0, 1, 255)]);
    }

    #[test]
    fn hardware_addresses_are_read_strictly() {
        assert_eq!("02:00:00:00:00:0a".parse(), Ok(Mac([2, 0, 0, 0, 0, 10])));
        for wrong in ["02:00:00:00:00", "02:00:00:00:00:0a:0b", "2:0:0:0:0:a", "02-00-00-00-00-0a", ""] {
            assert_eq!(wrong.parse::<Mac>(), Err(()), "{wrong}");
        }
    }
}
