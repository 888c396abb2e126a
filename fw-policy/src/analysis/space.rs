//! The space in which packets are compared: zones by number, and the values of each field by class.
//!
//! A space is made for the rules and other matchers of a policy, or of several, and tells apart what any of them tells apart.

use std::sync::Arc;

use super::classes::Classes;
use super::cover::{FIELDS, Point, Product};
use super::packet::ExamplePacket;
use super::ranges::Ranges;
use super::universe;
use crate::policy::ZoneSelector;
use crate::set::address::address;
use crate::set::interval::Family;

pub(super) const SOURCE: usize = 0;
pub(super) const DESTINATION: usize = 1;
pub(super) const SERVICE: usize = 2;
pub(super) const SOURCE_PORT: usize = 3;

/// A set of zones: a bit for each position in the policy, and [`LOCAL`].
pub(super) type Zones = u64;

/// The number of the firewall itself.
pub(super) const LOCAL: u8 = 63;

/// The bits of the zones that a selector names.
pub(super) fn zone_bits(selector: &ZoneSelector, zones: usize) -> Zones {
    let every = if selector.any { (1 << zones) - 1 } else { 0 };
    let local = if selector.local { 1 << LOCAL } else { 0 };
    selector.zones.iter().fold(every | local, |bits, position| bits | 1 << position)
}

/// The numbers of the zones of a set, ascending.
pub(super) fn each_zone(zones: Zones) -> impl Iterator<Item = u8> {
    (0..=LOCAL).filter(move |zone| zones & 1 << zone != 0)
}

/// Packets of one family: a product of sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cube {
    pub(super) from: Zones,
    pub(super) to: Zones,
    pub(super) family: Family,
    pub(super) sets: [Arc<Ranges>; FIELDS],
}

impl Cube {
    pub(super) fn product(&self) -> Product<'_> {
        self.sets.each_ref().map(Arc::as_ref)
    }

    /// Whether packets of a pair can be in it.
    pub(super) fn concerns(&self, pair: Pair) -> bool {
        self.family == pair.family && self.from & 1 << pair.from != 0 && self.to & 1 << pair.to != 0
    }

    /// Whether the packet at a point of a pair is in it.
    pub(super) fn holds(&self, pair: Pair, point: Point) -> bool {
        self.concerns(pair) && self.sets.iter().zip(point).all(|(set, value)| set.contains(value))
    }

    /// Whether every packet of `other` is in it.
    pub(super) fn contains(&self, other: &Self) -> bool {
        other.from & !self.from == 0
            && other.to & !self.to == 0
            && self.family == other.family
            && self.sets.iter().zip(&other.sets).all(|(own, other)| Arc::ptr_eq(own, other) || other.is_subset(own))
    }
}

/// Two zones and a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Pair {
    pub(super) from: u8,
    pub(super) to: u8,
    pub(super) family: Family,
}

/// Packets of one pair that there can be: what is asked of covers.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) pair: Pair,
    pub(super) sets: [Arc<Ranges>; FIELDS],
}

impl Part {
    pub(super) fn product(&self) -> Product<'_> {
        self.sets.each_ref().map(Arc::as_ref)
    }

    pub(super) fn into_cube(self) -> Cube {
        let Self { pair: Pair { from, to, family }, sets } = self;
        Cube { from: 1 << from, to: 1 << to, family, sets }
    }

    /// Whether a cube of its pair has a packet of it.
    pub(super) fn touches(&self, cube: &Cube) -> bool {
        self.sets.iter().zip(&cube.sets).all(|(own, other)| own.overlaps(other))
    }

    /// What of it is in a cube of its pair.
    pub(super) fn within(&self, cube: &Cube) -> Option<Self> {
        let mut sets = self.sets.clone();
        for (set, other) in sets.iter_mut().zip(&cube.sets) {
            *set = intersection(set, other)?;
        }
        Some(Self { pair: self.pair, sets })
    }
}

/// What two sets have in common; `None` if that is nothing.
pub(super) fn intersection(one: &Arc<Ranges>, other: &Arc<Ranges>) -> Option<Arc<Ranges>> {
    if one.is_subset(other) {
        return (!one.is_empty()).then(|| Arc::clone(one));
    }
    if other.is_subset(one) {
        return (!other.is_empty()).then(|| Arc::clone(other));
    }
    Some(one.intersect(other)).filter(|common| !common.is_empty()).map(Arc::new)
}

/// The values of one family by class, and which of them there are.
#[derive(Debug, Default)]
pub(super) struct FamilySpace {
    pub(super) classes: [Classes; FIELDS],
    /// The addresses of each zone, as sources and as destinations; the firewall's own last.
    pub(super) addresses: [Vec<Arc<Ranges>>; 2],
    /// The services that there are, with their source ports.
    pub(super) services: Vec<[Arc<Ranges>; 2]>,
    /// Classes that look well in examples, by field: the first that is in a set is taken.
    pub(super) liked: [Vec<u32>; FIELDS],
}

/// Zones, and the values of each field by class.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) names: Vec<String>,
    pub(super) families: [FamilySpace; 2],
}

impl Space {
    fn family(&self, family: Family) -> &FamilySpace {
        &self.families[family as usize]
    }

    /// The name of a zone.
    pub(super) fn zone(&self, zone: u8) -> &str {
        self.names.get(usize::from(zone)).map_or("local", String::as_str)
    }

    /// The packets of a cube that there can be, pair by pair.
    pub(super) fn parts(&self, cube: &Cube) -> impl Iterator<Item = Part> {
        let space = self.family(cube.family);
        let addresses = |side: usize, zone: u8| {
            let zone = usize::from(zone).min(self.names.len());
            intersection(&cube.sets[side], &space.addresses[side][zone])
        };
        let services = space.services.iter().filter_map(|[services, ports]| {
            let services = intersection(&cube.sets[SERVICE], services)?;
            Some([services, intersection(&cube.sets[SOURCE_PORT], ports)?])
        });
        let services: Vec<[Arc<Ranges>; 2]> = services.collect();
        let zones = |side: usize, zones: Zones| {
            let zones = each_zone(zones).filter_map(|zone| Some((zone, addresses(side, zone)?)));
            zones.collect::<Vec<_>>()
        };
        let (sources, destinations) = (zones(SOURCE, cube.from), zones(DESTINATION, cube.to));
        let family = cube.family;
        sources.into_iter().flat_map(move |(from, source)| {
            let services = services.clone();
            destinations.clone().into_iter().flat_map(move |(to, destination)| {
                let source = Arc::clone(&source);
                services.clone().into_iter().map(move |[service, port]| Part {
                    pair: Pair { from, to, family },
                    sets: [Arc::clone(&source), Arc::clone(&destination), service, port],
                })
            })
        })
    }

    /// Cubes that hold every packet.
    pub(super) fn everything(&self) -> [Cube; 2] {
        let zones = ((1 << self.names.len()) - 1) | (1 << LOCAL);
        Family::ALL.map(|family| {
            let whole = |classes: &Classes| {
                let count = u32::try_from(classes.lowest.len()).unwrap_or(u32::MAX);
                Arc::new(Ranges::one(0, count.saturating_sub(1)))
            };
            Cube { from: zones, to: zones, family, sets: self.family(family).classes.each_ref().map(whole) }
        })
    }

    /// Whether a cube holds every packet of one of its pairs that there can be: which pair.
    pub(super) fn is_everything(&self, cube: &Cube) -> Option<Pair> {
        let space = self.family(cube.family);
        let whole = |side: usize, zone: &u8| {
            let addresses = &space.addresses[side][usize::from(*zone).min(self.names.len())];
            !addresses.is_empty() && addresses.is_subset(&cube.sets[side])
        };
        let is_any_service = space.services.iter().all(|[services, ports]| {
            services.is_subset(&cube.sets[SERVICE]) && ports.is_subset(&cube.sets[SOURCE_PORT])
        });
        let from = each_zone(cube.from).find(|zone| whole(SOURCE, zone))?;
        let to = each_zone(cube.to).find(|zone| whole(DESTINATION, zone))?;
        is_any_service.then_some(Pair { from, to, family: cube.family })
    }

    /// A point of a product that makes a good example.
    pub(super) fn liked(&self, family: Family, product: &Product<'_>) -> Point {
        let space = self.family(family);
        let mut point = [0; FIELDS];
        for (field, set) in product.iter().enumerate() {
            let liked = space.liked[field].iter().find(|class| set.contains(**class));
            point[field] = liked.copied().unwrap_or(set.bounds().0);
        }
        point
    }

    /// The point of a packet.
    #[cfg(test)]
    pub(super) fn point_of(
        &self,
        src_addr: &std::net::IpAddr,
        dst_addr: &std::net::IpAddr,
        (from, to): (u8, u8),
        protocol: u8,
        (src_port, dst_port): (u16, u16),
    ) -> (Pair, Point) {
        let ((family, source), (_, destination)) =
            (crate::set::address::number(*src_addr), crate::set::address::number(*dst_addr));
        let values = [source, destination, universe::service(protocol, dst_port), src_port.into()];
        let mut point = [0; FIELDS];
        for (field, value) in values.into_iter().enumerate() {
            point[field] = self.family(family).classes[field].of(value);
        }
        (Pair { from, to, family }, point)
    }

    /// A packet with the values of a point.
    pub(super) fn example(&self, pair: Pair, point: Point) -> ExamplePacket {
        let space = self.family(pair.family);
        let lowest = |field: usize| space.classes[field].lowest.get(point[field] as usize).copied().unwrap_or(0);
        // The first address of a network is that of no host, if its class has others.
        let host = |field: usize| {
            let (lowest, class) = (lowest(field), point[field]);
            let next = lowest.saturating_add(1).min(pair.family.last());
            if space.classes[field].of(next) == class { next } else { lowest }
        };
        let (src_addr, mut dst_addr) = (host(SOURCE), host(DESTINATION));
        let other = dst_addr.saturating_add(1).min(pair.family.last());
        if src_addr == dst_addr && space.classes[DESTINATION].of(other) == point[DESTINATION] {
            // Nobody sends to itself.
            dst_addr = other;
        }
        let [.., protocol, high, low] = lowest(SERVICE).to_be_bytes();
        let likes_port = space.liked[SOURCE_PORT].first() == Some(&point[SOURCE_PORT]);
        let src_port = if likes_port { u128::from(LIKED_SOURCE_PORT) } else { lowest(SOURCE_PORT) };
        let liked = LIKED_SERVICES
            .iter()
            .find(|(protocol, port)| space.classes[SERVICE].of(universe::service(*protocol, *port)) == point[SERVICE]);
        let (protocol, dst_port) = liked.copied().unwrap_or((protocol, u16::from_be_bytes([high, low])));
        ExamplePacket {
            from: self.zone(pair.from).to_owned(),
            to: self.zone(pair.to).to_owned(),
            src_addr: address(pair.family, src_addr),
            dst_addr: address(pair.family, dst_addr),
            protocol,
            src_port: u16::try_from(src_port).unwrap_or(u16::MAX),
            dst_port,
        }
    }
}

/// Services that everybody knows.
pub(super) const LIKED_SERVICES: [(u8, u16); 4] = [(6, 443), (17, 53), (1, 8 << 8), (58, 128 << 8)];
/// The first dynamic port (RFC 6335, section 6).
pub(super) const LIKED_SOURCE_PORT: u16 = 49_152;
