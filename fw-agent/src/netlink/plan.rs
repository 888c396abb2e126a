//! Which routes our table should hold, and what has to change for that. Pure: a snapshot comes in, a plan goes out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::state::{Family, Link, Observed, Route};

/// A route that the configuration asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedRoute {
    /// Where it leads.
    pub destination: IpNet,
    /// Slot of the interface to send from.
    pub slot: usize,
    /// The next hop.
    pub via: Via,
}

/// The next hop of a [`WantedRoute`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// The subnet's router: IPv4, the first address of the subnet; IPv6, the router that advertises itself.
    Gateway,
    /// This address.
    Address(IpAddr),
}

/// The interfaces of the configuration by slot, each with the device that it is now.
pub type Bound = Vec<BoundInterface>;

/// An interface of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundInterface {
    /// How the configuration names it.
    pub key: String,
    /// The device, while there is one.
    pub link: Option<Link>,
}

/// What has to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutePlan {
    /// Routes to add, or to put in place of another to the same destination; on-link routes come first, because
    /// the others' next hops are reached by them.
    pub set: Vec<Route>,
    /// Routes that nothing asks for any more.
    pub remove: Vec<Route>,
    /// Routes that stay although nothing says any more where their next hop is.
    pub kept: Vec<Route>,
    /// Routes that cannot be had now, and why.
    pub unresolved: Vec<Unresolved>,
    /// Families that lack the rule.
    pub rules: Vec<Family>,
    /// All next hops, by interface.
    pub next_hops: BTreeSet<(u32, IpAddr)>,
}

impl RoutePlan {
    /// Nothing has to change.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty() && self.rules.is_empty()
    }
}

/// A route that cannot be had now.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unresolved {
    /// Where it should lead.
    pub destination: IpNet,
    /// The interface, as the configuration names it.
    pub interface: String,
    /// Why not.
    pub reason: String,
    /// The interface's router has not been heard: asking for it may help.
    pub awaits_router: Option<u32>,
}

/// Compares what our table holds with what it should hold.
#[must_use]
pub fn plan(wanted: &[WantedRoute], interfaces: &[BoundInterface], observed: &Observed) -> RoutePlan {
    let mut plan = RoutePlan::default();
    let mut desired: BTreeMap<IpNet, Route> = connected(interfaces, observed);
    for route in wanted {
        match next_hop(route, interfaces, observed) {
            Ok(resolved) if desired.contains_key(&route.destination) => plan.unresolved.push(Unresolved {
                destination: route.destination,
                interface: interfaces[route.slot].key.clone(),
                reason: format!("{} is a subnet of interface {}", route.destination, resolved.ifindex),
                awaits_router: None,
            }),
            Ok(resolved) => {
                desired.insert(route.destination, resolved);
            }
            Err(unresolved) => keep_or_report(unresolved, observed, &mut desired, &mut plan),
        }
    }
    compare(&desired, observed, &mut plan);
    plan.rules = Family::ALL.into_iter().filter(|family| !observed.rules.contains(family)).collect();
    plan.next_hops = desired.values().filter_map(|route| Some((route.ifindex, route.via?))).collect();
    plan.unresolved.sort();
    plan
}

/// The subnets that the forwarding interfaces are in. An address without a device that is up gives none.
fn connected(interfaces: &[BoundInterface], observed: &Observed) -> BTreeMap<IpNet, Route> {
    let mut routes = BTreeMap::new();
    for link in interfaces.iter().filter_map(|interface| interface.link.as_ref()).filter(|link| link.up) {
        for address in observed.addresses_of(link.index).filter(|address| !address.is_link_local()) {
            if let Some(destination) = address.subnet() {
                routes.entry(destination).or_insert(Route { destination, ifindex: link.index, via: None });
            }
        }
    }
    routes
}

/// Finds the device and the next hop of a configured route.
fn next_hop(route: &WantedRoute, interfaces: &[BoundInterface], observed: &Observed) -> Result<Route, Unresolved> {
    let interface = &interfaces[route.slot];
    let unresolved = |reason: &str, awaits_router| Unresolved {
        destination: route.destination,
        interface: interface.key.clone(),
        reason: reason.to_owned(),
        awaits_router,
    };
    let link = interface.link.as_ref().ok_or_else(|| unresolved("the interface has no device", None))?;
    if !link.up {
        return Err(unresolved("the interface is down", None));
    }
    let via = match (route.via, route.destination) {
        (Via::Address(addr), _) => reachable(addr, link, observed).map_err(|reason| unresolved(&reason, None))?,
        (Via::Gateway, IpNet::V4(_)) => first_of_subnet(link, observed).map_err(|reason| unresolved(&reason, None))?,
        (Via::Gateway, IpNet::V6(_)) => advertised_router(link, observed)
            .ok_or_else(|| unresolved("no router has advertised itself on the interface", Some(link.index)))?,
    };
    Ok(Route { destination: route.destination, ifindex: link.index, via: Some(via) })
}

/// A next hop that the configuration names must be on the link, and not the host itself.
fn reachable(addr: IpAddr, link: &Link, observed: &Observed) -> Result<IpAddr, String> {
    let mut addresses = observed.addresses_of(link.index);
    if observed.addresses_of(link.index).any(|address| address.addr == addr) {
        return Err(format!("the next hop {addr} is the firewall's own address"));
    }
    let is_link_local = matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local());
    if is_link_local || addresses.any(|address| address.subnet().is_some_and(|subnet| subnet.contains(&addr))) {
        return Ok(addr);
    }
    Err(format!("the next hop {addr} is in no subnet of {}", link.name))
}

/// The VPC router's IPv4 address: base + 1 of the interface's subnet.
fn first_of_subnet(link: &Link, observed: &Observed) -> Result<IpAddr, String> {
    let subnet = observed
        .addresses_of(link.index)
        .find_map(|address| match address.subnet() {
            Some(IpNet::V4(subnet)) if !address.is_link_local() => Some(subnet),
            Some(_) | None => None,
        })
        .ok_or_else(|| format!("{} has no IPv4 subnet", link.name))?;
    let router = IpAddr::V4(Ipv4Addr::from_bits(subnet.network().to_bits().wrapping_add(1)));
    if observed.addresses_of(link.index).any(|address| address.addr == router) {
        return Err(format!("the first address of {subnet} is the firewall's own"));
    }
    Ok(router)
}

/// The IPv6 router that the kernel prefers on this link.
fn advertised_router(link: &Link, observed: &Observed) -> Option<IpAddr> {
    observed.routers.iter().filter(|router| router.ifindex == link.index).min().map(|router| IpAddr::V6(router.addr))
}

/// A router whose advertisement has expired is still the best guess: the route that leads to it stays.
fn keep_or_report(
    unresolved: Unresolved,
    observed: &Observed,
    desired: &mut BTreeMap<IpNet, Route>,
    plan: &mut RoutePlan,
) {
    let known = observed.routes.iter().find(|route| {
        route.destination == unresolved.destination
            && Some(route.ifindex) == unresolved.awaits_router
            && route.via.is_some()
    });
    match known {
        Some(route) if !desired.contains_key(&route.destination) => {
            desired.insert(route.destination, *route);
            plan.kept.push(*route);
        }
        Some(_) | None => plan.unresolved.push(unresolved),
    }
}

/// Fills in what to set and what to remove.
fn compare(desired: &BTreeMap<IpNet, Route>, observed: &Observed, plan: &mut RoutePlan) {
    let actual: BTreeSet<Route> = observed.routes.iter().copied().collect();
    plan.set = desired.values().filter(|route| !actual.contains(route)).copied().collect();
    plan.set.sort_by_key(|route| (route.via.is_some(), route.destination));
    plan.remove = actual.into_iter().filter(|route| desired.get(&route.destination) != Some(route)).collect();
    // The kernel puts a new route in the place of the only old one to the same destination.
    let replaced: BTreeSet<IpNet> = plan.set.iter().map(|route| route.destination).collect();
    let mut seen = BTreeSet::new();
    plan.remove.retain(|route| !replaced.contains(&route.destination) || !seen.insert(route.destination));
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
