//! Makes a space of everything that matches packets.
//!
//! In: matchers, as sets of addresses and services. Out: the space that tells apart what any of them does, and the matchers as cubes of it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::classes;
use super::cover::FIELDS;
use super::ranges::Ranges;
use super::space::{
    Cube, DESTINATION, FamilySpace, LIKED_SERVICES, LIKED_SOURCE_PORT, SERVICE, SOURCE, SOURCE_PORT, Space, Zones,
};
use super::universe::{self, LAST_SERVICE};
use crate::policy::Zone;
use crate::set::address::AddressSet;
use crate::set::interval::{Family, IntervalSet};
use crate::set::service::{PortRange, ServiceSet};

/// Whatever matches packets: a rule, a generated rule, a part of an invariant.
#[derive(Clone, Copy)]
pub(super) struct Matcher<'p> {
    pub(super) from: Zones,
    pub(super) to: Zones,
    pub(super) source: &'p AddressSet,
    pub(super) destination: &'p AddressSet,
    pub(super) services: &'p ServiceSet,
}

/// The sets of one field, each once.
#[derive(Default)]
struct FieldSets<'p> {
    sets: Vec<Cow<'p, [(u128, u128)]>>,
    by_place: HashMap<(usize, usize), usize>,
    by_contents: HashMap<Cow<'p, [(u128, u128)]>, usize>,
}

impl<'p> FieldSets<'p> {
    fn number(&mut self, set: Cow<'p, [(u128, u128)]>) -> usize {
        // A long list that many rules name is compared once.
        let place = match &set {
            Cow::Borrowed(set) => Some((set.as_ptr() as usize, set.len())),
            Cow::Owned(_) => None,
        };
        if let Some(known) = place.and_then(|place| self.by_place.get(&place)) {
            return *known;
        }
        let number = *self.by_contents.entry(set.clone()).or_insert(self.sets.len());
        if number == self.sets.len() {
            self.sets.push(set);
        }
        self.by_place.extend(place.map(|place| (place, number)));
        number
    }
}

/// A cube whose sets are not yet classes.
struct Draft {
    from: Zones,
    to: Zones,
    family: Family,
    sets: [usize; FIELDS],
}

/// Services as products of numbers and source ports, by family.
type ServiceProducts = [Arc<[(usize, usize)]>; 2];

/// Collects matchers, and makes the space that tells them apart.
pub(super) struct Builder<'p> {
    zones: Vec<String>,
    /// Of each zone, and then those of the firewall itself.
    addresses: Vec<AddressSet>,
    fields: [[FieldSets<'p>; FIELDS]; 2],
    services: HashMap<*const ServiceSet, ServiceProducts>,
    drafts: Vec<Draft>,
}

impl<'p> Builder<'p> {
    pub(super) fn new(zones: &[Zone]) -> Self {
        Self::of(zones.iter().map(|zone| zone.name.clone()).collect(), universe::addresses(zones))
    }

    /// For zones with these names and addresses; behind the latter come those of the firewall itself.
    pub(super) fn of(zones: Vec<String>, addresses: Vec<AddressSet>) -> Self {
        Self { zones, addresses, fields: Default::default(), services: HashMap::new(), drafts: Vec::new() }
    }

    /// How many cubes there are so far.
    pub(super) fn len(&self) -> usize {
        self.drafts.len()
    }

    /// Adds a matcher; the positions of its cubes among all.
    pub(super) fn add(&mut self, matcher: Matcher<'p>) -> std::ops::Range<usize> {
        let before = self.drafts.len();
        let services = self.service_products(matcher.services);
        for family in Family::ALL {
            let fields = &mut self.fields[family as usize];
            let mut side = |field: usize, set: &'p AddressSet| {
                let set = set.family(family);
                (!set.is_empty()).then(|| fields[field].number(Cow::Borrowed(set.ranges())))
            };
            let addresses = side(SOURCE, matcher.source).zip(side(DESTINATION, matcher.destination));
            let Some((source, destination)) = addresses else { continue };
            self.drafts.extend(services[family as usize].iter().map(|(service, port)| Draft {
                from: matcher.from,
                to: matcher.to,
                family,
                sets: [source, destination, *service, *port],
            }));
        }
        before..self.drafts.len()
    }

    fn service_products(&mut self, services: &'p ServiceSet) -> ServiceProducts {
        if let Some(known) = self.services.get(&std::ptr::from_ref(services)) {
            return known.clone();
        }
        let products = Family::ALL.map(|family| {
            let mut by_source: Vec<(PortRange, Vec<(u128, u128)>)> = Vec::new();
            for (protocol, rectangles) in services.family(family).protocols() {
                for ports in rectangles {
                    let (first, last) = ports.destination;
                    let range = (universe::service(protocol, first), universe::service(protocol, last));
                    match by_source.iter_mut().find(|(source, _)| *source == ports.source) {
                        Some((_, ranges)) => ranges.push(range),
                        None => by_source.push((ports.source, vec![range])),
                    }
                }
            }
            let fields = &mut self.fields[family as usize];
            let numbers = by_source.into_iter().map(|((first, last), ranges)| {
                let services = IntervalSet::from_ranges(ranges).ranges().to_vec();
                let ports = vec![(u128::from(first), u128::from(last))];
                (fields[SERVICE].number(Cow::Owned(services)), fields[SOURCE_PORT].number(Cow::Owned(ports)))
            });
            numbers.collect::<Arc<[_]>>()
        });
        self.services.insert(services, products.clone());
        products
    }

    /// The space, and all cubes in the order in which they were added.
    pub(super) fn finish(mut self) -> (Space, Vec<Cube>) {
        let addresses = std::mem::take(&mut self.addresses);
        let mut sets: [[Vec<Arc<Ranges>>; FIELDS]; 2] = Default::default();
        let families = Family::ALL.map(|family| {
            let fields = &mut self.fields[family as usize];
            let mut owned = |field: usize, set: &IntervalSet| fields[field].number(Cow::Owned(set.ranges().to_vec()));
            let sides = [SOURCE, DESTINATION]
                .map(|side| addresses.iter().map(|set| owned(side, set.family(family))).collect::<Vec<usize>>());
            let services = universe::services(family).map(|(set, (first, last))| {
                let ports = IntervalSet::from_ranges(vec![(u128::from(first), u128::from(last))]);
                [owned(SERVICE, &set), owned(SOURCE_PORT, &ports)]
            });
            let lasts = [family.last(), family.last(), LAST_SERVICE, u128::from(u16::MAX)];
            let mut space = FamilySpace::default();
            for (field, last) in lasts.into_iter().enumerate() {
                let slices: Vec<&[(u128, u128)]> = fields[field].sets.iter().map(AsRef::as_ref).collect();
                let (classes, ranges) = classes::divide(&slices, last);
                space.classes[field] = classes;
                sets[family as usize][field] = ranges.into_iter().map(Arc::new).collect();
            }
            let set = |field: usize, number: usize| Arc::clone(&sets[family as usize][field][number]);
            space.addresses =
                [SOURCE, DESTINATION].map(|side| sides[side].iter().map(|number| set(side, *number)).collect());
            space.services = services.map(|[service, port]| [set(SERVICE, service), set(SOURCE_PORT, port)]).into();
            let liked = LIKED_SERVICES.map(|(protocol, port)| universe::service(protocol, port));
            space.liked[SERVICE] = liked.map(|service| space.classes[SERVICE].of(service)).into();
            space.liked[SOURCE_PORT] = vec![space.classes[SOURCE_PORT].of(LIKED_SOURCE_PORT.into())];
            space
        });
        let cubes = self.drafts.into_iter().map(|draft| {
            let sets = &sets[draft.family as usize];
            let set = |field: usize| Arc::clone(&sets[field][draft.sets[field]]);
            let sets = [set(SOURCE), set(DESTINATION), set(SERVICE), set(SOURCE_PORT)];
            Cube { from: draft.from, to: draft.to, family: draft.family, sets }
        });
        let cubes = cubes.collect();
        (Space { names: self.zones, families }, cubes)
    }
}
