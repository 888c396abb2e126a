//! Next hops' hardware addresses: which neighbours the kernel should keep fresh, and which changes make a cached
//! egress stale. Pure.
//!
//! XDP can neither resolve nor refresh a neighbour. Entries that are *managed* (`NTF_EXT_MANAGED`, kernel 5.16) are
//! probed by the kernel itself, so they stay fresh without the agent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::state::{Mac, Observed};

/// The most neighbours that the agent asks the kernel to keep fresh.
pub const MAX_MANAGED: usize = 4096;

/// An entry of the kernel's neighbour tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The interface that it is on.
    pub ifindex: u32,
    /// Its address.
    pub addr: IpAddr,
    /// Its hardware address, while the kernel would send to it.
    pub mac: Option<Mac>,
    /// What the kernel thinks of it.
    pub state: Reachability,
    /// The kernel keeps it fresh.
    pub managed: bool,
    /// It carries our protocol number.
    pub ours: bool,
}

/// The states of a neighbour between which the agent distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reachability {
    /// Known, and lately confirmed or being probed.
    Usable,
    /// Known, but not confirmed for a while; the kernel will not probe it by itself before its next round.
    Stale,
    /// Being resolved for the first time.
    Incomplete,
    /// It did not answer.
    Failed,
    /// Configured by hand, or of a link without resolution: not ours to touch.
    Fixed,
}

/// A change that the kernel reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourEvent {
    /// The entry is new or has changed.
    Changed(Neighbour),
    /// The entry is gone.
    Gone {
        /// The interface that it was on.
        ifindex: u32,
        /// Its address.
        addr: IpAddr,
    },
}

/// The hardware addresses that packets may be sent to now.
#[derive(Debug, Default)]
pub struct KnownMacs(BTreeMap<(u32, IpAddr), Mac>);

impl KnownMacs {
    /// Takes in one change. True if packets now have to go to another hardware address than before.
    pub fn note(&mut self, event: &NeighbourEvent) -> bool {
        match *event {
            NeighbourEvent::Changed(Neighbour { ifindex, addr, mac: Some(mac), .. }) => {
                self.0.insert((ifindex, addr), mac) != Some(mac)
            }
            NeighbourEvent::Changed(Neighbour { ifindex, addr, mac: None, .. })
            | NeighbourEvent::Gone { ifindex, addr } => self.0.remove(&(ifindex, addr)).is_some(),
        }
    }

    /// Starts anew from a whole dump. True if anything differs from what was known.
    pub fn replace(&mut self, neighbours: &[Neighbour]) -> bool {
        let fresh = neighbours
            .iter()
            .filter_map(|neighbour| Some(((neighbour.ifindex, neighbour.addr), neighbour.mac?)))
            .collect();
        let differs = self.0 != fresh;
        self.0 = fresh;
        differs
    }
}

/// What the kernel is to be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NeighbourPlan {
    /// Neighbours to keep fresh from now on.
    pub manage: Vec<(u32, IpAddr)>,
    /// Neighbours that are gone: no longer to be kept.
    pub release: Vec<(u32, IpAddr)>,
    /// Neighbours to probe at once instead of at the kernel's next round.
    pub probe: Vec<(u32, IpAddr)>,
}

/// What the choice depends on besides the neighbours themselves.
#[derive(Clone, Copy, Debug)]
pub struct View<'v> {
    /// Next hops of our routes, by interface.
    pub next_hops: &'v BTreeSet<(u32, IpAddr)>,
    /// Indices of the forwarding interfaces.
    pub interfaces: &'v BTreeSet<u32>,
    /// The host's addresses.
    pub observed: &'v Observed,
    /// How many neighbours more may be kept fresh.
    pub room: usize,
}

/// The last state of each neighbour that the kernel has reported and that is still there.
#[must_use]
pub fn latest(events: &[NeighbourEvent]) -> Vec<Neighbour> {
    let mut latest = BTreeMap::new();
    for event in events {
        match *event {
            NeighbourEvent::Changed(neighbour) => latest.insert((neighbour.ifindex, neighbour.addr), neighbour),
            NeighbourEvent::Gone { ifindex, addr } => latest.remove(&(ifindex, addr)),
        };
    }
    latest.into_values().collect()
}

/// Chooses what to ask: next hops always, on-link hosts once they have answered, all as far as there is room.
///
/// `release_failed` lets go of hosts that do not answer; the periodic round asks for it, so that a host that is just
/// being replaced is still probed.
#[must_use]
pub fn plan(known: &[Neighbour], view: &View<'_>, release_failed: bool) -> NeighbourPlan {
    let View { next_hops, interfaces, observed, mut room } = *view;
    let managed: BTreeSet<_> = known
        .iter()
        .filter(|neighbour| neighbour.managed)
        .map(|neighbour| (neighbour.ifindex, neighbour.addr))
        .collect();
    let fixed: BTreeSet<_> = known
        .iter()
        .filter(|neighbour| neighbour.state == Reachability::Fixed)
        .map(|neighbour| (neighbour.ifindex, neighbour.addr))
        .collect();
    let wanted = |neighbour: &&Neighbour| {
        interfaces.contains(&neighbour.ifindex)
            && matches!(neighbour.state, Reachability::Usable | Reachability::Stale)
            && on_link(neighbour, observed)
    };
    let hosts = known.iter().filter(wanted).map(|neighbour| (neighbour.ifindex, neighbour.addr));

    let mut plan = NeighbourPlan::default();
    let mut chosen = BTreeSet::new();
    for key in next_hops.iter().copied().chain(hosts) {
        if room > 0 && !managed.contains(&key) && !fixed.contains(&key) && chosen.insert(key) {
            plan.manage.push(key);
            room -= 1;
        }
    }
    for neighbour in known.iter().filter(|neighbour| neighbour.managed && neighbour.ours) {
        let key = (neighbour.ifindex, neighbour.addr);
        if neighbour.state == Reachability::Stale {
            plan.probe.push(key);
        }
        if release_failed && neighbour.state == Reachability::Failed && !next_hops.contains(&key) {
            plan.release.push(key);
        }
    }
    plan
}

/// The address lies in a subnet of the interface, so that packets can be forwarded to it directly.
fn on_link(neighbour: &Neighbour, observed: &Observed) -> bool {
    observed
        .addresses_of(neighbour.ifindex)
        .filter(|address| !address.is_link_local())
        .any(|address| address.subnet().is_some_and(|subnet| subnet.contains(&neighbour.addr)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::state::Address;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn neighbour(addr: &str, state: Reachability) -> Neighbour {
        let mac = matches!(state, Reachability::Usable | Reachability::Stale).then_some(MAC);
        Neighbour { ifindex: 2, addr: addr.parse().unwrap(), mac, state, managed: false, ours: false }
    }

    fn managed(addr: &str, state: Reachability) -> Neighbour {
        Neighbour { managed: true, ours: true, ..neighbour(addr, state) }
    }

    fn observed() -> Observed {
        let address = Address { ifindex: 2, addr: "10.1.1.10".parse().unwrap(), prefix_len: 24, avoid: false };
        Observed { addresses: vec![address], ..Observed::default() }
    }

    fn plan_for(next_hops: &[&str], known: &[Neighbour], release_failed: bool) -> NeighbourPlan {
        let next_hops = next_hops.iter().map(|addr| (2, addr.parse().unwrap())).collect();
        let (interfaces, observed) = (BTreeSet::from([2]), observed());
        let view = View { next_hops: &next_hops, interfaces: &interfaces, observed: &observed, room: MAX_MANAGED };
        plan(known, &view, release_failed)
    }

    fn key(addr: &str) -> (u32, IpAddr) {
        (2, addr.parse().unwrap())
    }

    #[test]
    fn a_next_hop_is_kept_fresh_before_it_has_been_heard() {
        assert_eq!(plan_for(&["10.1.1.1"], &[], false).manage, [key("10.1.1.1")]);
        assert!(plan_for(&["10.1.1.1"], &[managed("10.1.1.1", Reachability::Failed)], true).release.is_empty());
    }

    #[test]
    fn hosts_are_kept_fresh_once_they_have_answered() {
        let known = [
            neighbour("10.1.1.20", Reachability::Usable),
            neighbour("10.1.1.21", Reachability::Incomplete),
            neighbour("10.1.1.22", Reachability::Failed),
            neighbour("10.1.1.23", Reachability::Fixed),
            neighbour("10.9.1.20", Reachability::Usable),
            managed("10.1.1.24", Reachability::Usable),
        ];
        assert_eq!(plan_for(&[], &known, true), NeighbourPlan { manage: vec![key("10.1.1.20")], ..Default::default() });
    }

    #[test]
    fn a_dead_host_is_let_go_of_in_the_periodic_round_only() {
        let known = [managed("10.1.1.20", Reachability::Failed)];
        assert!(plan_for(&[], &known, false).release.is_empty());
        assert_eq!(plan_for(&[], &known, true).release, [key("10.1.1.20")]);
        let foreign = [Neighbour { ours: false, ..known[0] }];
        assert!(plan_for(&[], &foreign, true).release.is_empty());
    }

    #[test]
    fn the_number_of_kept_neighbours_is_bounded() {
        let known: Vec<_> = (20..30).map(|n| neighbour(&format!("10.1.1.{n}"), Reachability::Usable)).collect();
        let (next_hops, interfaces, observed) = (BTreeSet::from([key("10.1.1.1")]), BTreeSet::from([2]), observed());
        let view = View { next_hops: &next_hops, interfaces: &interfaces, observed: &observed, room: 3 };
        let manage = plan(&known, &view, false).manage;
        assert_eq!(manage, [key("10.1.1.1"), key("10.1.1.20"), key("10.1.1.21")]);
    }

    #[test]
    fn of_several_reports_about_a_neighbour_the_last_one_counts() {
        let first = neighbour("10.1.1.20", Reachability::Incomplete);
        let last = neighbour("10.1.1.20", Reachability::Usable);
        let other = neighbour("10.1.1.21", Reachability::Usable);
        let gone = NeighbourEvent::Gone { ifindex: 2, addr: other.addr };
        let events =
            [NeighbourEvent::Changed(first), NeighbourEvent::Changed(other), NeighbourEvent::Changed(last), gone];
        assert_eq!(latest(&events), [last]);
    }

    #[test]
    fn only_another_hardware_address_makes_an_egress_stale() {
        let mut macs = KnownMacs::default();
        let usable = neighbour("10.1.1.20", Reachability::Usable);
        assert!(macs.note(&NeighbourEvent::Changed(usable)));
        assert!(!macs.note(&NeighbourEvent::Changed(Neighbour { state: Reachability::Stale, ..usable })));
        assert!(macs.note(&NeighbourEvent::Changed(Neighbour { mac: Some(Mac([2, 0, 0, 0, 0, 9])), ..usable })));
        assert!(macs.note(&NeighbourEvent::Gone { ifindex: 2, addr: usable.addr }));
        assert!(!macs.note(&NeighbourEvent::Gone { ifindex: 2, addr: usable.addr }));
        assert!(macs.replace(&[usable]));
        assert!(!macs.replace(&[usable]));
    }
}
