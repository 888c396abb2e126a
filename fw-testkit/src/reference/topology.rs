//! What surrounds the firewall: interfaces, routes, neighbours.

use std::net::{IpAddr, Ipv4Addr};

use super::address::Prefix;

/// An interface.
#[derive(Clone, Debug)]
pub struct Interface {
    /// The zones behind it.
    pub zones: Vec<String>,
    /// The largest IP packet that leaves by it.
    pub mtu: u16,
    /// The management interface: no transit.
    pub management: bool,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Out of an interface, to the destination itself.
    Link(usize),
    /// Out of an interface, to a router.
    Via(usize, IpAddr),
    /// Nowhere.
    Blackhole,
    /// Out of an interface that is not the firewall's.
    Foreign,
}

/// A route.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Its destination.
    pub prefix: Prefix,
    /// Where it leads.
    pub target: Target,
}

/// Everything around the firewall.
#[derive(Clone, Debug)]
pub struct Topology {
    /// The interfaces by slot.
    pub interfaces: Vec<Interface>,
    /// The longest prefix wins.
    pub routes: Vec<Route>,
    /// Addresses whose hardware address is known.
    pub neighbours: Vec<IpAddr>,
    /// The host's own addresses.
    pub own: Vec<IpAddr>,
    /// Directed broadcast addresses.
    pub broadcasts: Vec<Ipv4Addr>,
}

/// A way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) slot: usize,
    /// Whether the hardware address of the next hop is known.
    pub(super) resolved: bool,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoWay {
    NoRoute,
    Blackhole,
    Foreign,
}

impl Topology {
    /// The way to an address.
    pub(super) fn way_to(&self, addr: IpAddr) -> Result<Way, NoWay> {
        let routes = self.routes.iter().filter(|route| route.prefix.holds(addr));
        let route = routes.max_by_key(|route| route.prefix.len()).ok_or(NoWay::NoRoute)?;
        let (slot, next_hop) = match route.target {
            Target::Link(slot) => (slot, addr),
            Target::Via(slot, router) => (slot, router),
            Target::Blackhole => return Err(NoWay::Blackhole),
            Target::Foreign => return Err(NoWay::Foreign),
        };
        Ok(Way { slot, resolved: self.neighbours.contains(&next_hop) })
    }

    pub(super) fn is_own(&self, addr: IpAddr) -> bool {
        self.own.contains(&addr)
    }

    pub(super) fn is_broadcast(&self, addr: IpAddr) -> bool {
        self.broadcasts.iter().any(|broadcast| IpAddr::V4(*broadcast) == addr)
    }
}
