//! Sets of packets for people: from where to where, which addresses and services, so far as they fit a line.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::classes::Classes;
use super::ranges::Ranges;
use super::space::{DESTINATION, Pair, Part, SERVICE, SOURCE, SOURCE_PORT, Space};
use super::universe::LAST_SERVICE;
use crate::set::SetAlgebra;
use crate::set::address::AddressSet;
use crate::set::interval::{Family, IntervalSet};
use crate::set::service::{PortRange, Ports, ServiceSet};

/// How many addresses or services of a class are named.
const NAMED: usize = 8;

/// From so many protocols on, a set is told by what it lacks.
const MANY_PROTOCOLS: usize = 100;

/// What a set holds, with the first of its parts by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Described {
    /// Addresses, prefixes and ranges, or services, as a policy writes them; `any` for all that there can be, and behind it, with `!`,
    /// what is excepted.
    pub shown: Vec<String>,
    /// How many parts more it has.
    pub more: usize,
}

impl Described {
    fn any() -> Self {
        Self { shown: vec!["any".to_owned()], more: 0 }
    }

    /// The first of these.
    fn first(mut terms: Vec<String>) -> Self {
        let more = terms.len().saturating_sub(NAMED);
        terms.truncate(NAMED);
        Self { shown: terms, more }
    }
}

impl fmt::Display for Described {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shown.split_first() {
            Some((any, excepted)) if any == "any" && !excepted.is_empty() => {
                let excepted: Vec<&str> = excepted.iter().map(|term| term.trim_start_matches('!')).collect();
                write!(formatter, "any but {}", excepted.join(", "))?;
            }
            _ => formatter.write_str(&self.shown.join(", "))?,
        }
        if self.more == 0 { Ok(()) } else { write!(formatter, " and {} more", self.more) }
    }
}

/// Packets that open flows: all from these addresses to those, with these services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PacketClass {
    /// Zone of the source under the new policy; `(none)` if it is in no zone there.
    pub from: String,
    /// Its zone under the old policy, if that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_was: Option<String>,
    /// Zone of the destination under the new policy.
    pub to: String,
    /// Its zone under the old policy, if that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_was: Option<String>,
    /// `ipv4`, `ipv6` or both.
    pub families: Vec<&'static str>,
    /// Source addresses; `any` of its zone.
    pub source: Described,
    /// Destination addresses, likewise.
    pub destination: Described,
    /// Services, with their source ports if these matter.
    pub services: Described,
}

/// The same by numbers of the space.
#[derive(Clone, Debug)]
pub(super) struct Class {
    pub(super) pair: Pair,
    addresses: [Arc<Ranges>; 2],
    /// Services with their source ports: the packets of any of these.
    services: Vec<[Arc<Ranges>; 2]>,
}

impl Class {
    pub(super) fn of(part: Part) -> Self {
        let Part { pair, sets: [source, destination, service, ports] } = part;
        Self { pair, addresses: [source, destination], services: vec![[service, ports]] }
    }

    /// Takes another class in, if they differ in services only.
    pub(super) fn unite(&mut self, other: &Self) -> bool {
        let is_alike = self.pair == other.pair && self.addresses == other.addresses;
        if is_alike {
            self.services.extend(other.services.iter().cloned());
        }
        is_alike
    }

    /// Whether the packet at a point of a pair is in it.
    #[cfg(test)]
    pub(super) fn holds(&self, pair: Pair, [source, destination, service, port]: super::cover::Point) -> bool {
        let of_service = |[services, ports]: &[Arc<Ranges>; 2]| services.contains(service) && ports.contains(port);
        self.pair == pair
            && self.addresses[SOURCE].contains(source)
            && self.addresses[DESTINATION].contains(destination)
            && self.services.iter().any(of_service)
    }

    /// In words, but for the names of the zones.
    pub(super) fn described(&self, space: &Space) -> PacketClass {
        let family = match self.pair.family {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        };
        PacketClass {
            from: String::new(),
            from_was: None,
            to: String::new(),
            to_was: None,
            families: vec![family],
            source: self.addresses_at(SOURCE, self.pair.from, space),
            destination: self.addresses_at(DESTINATION, self.pair.to, space),
            services: self.services(space),
        }
    }

    fn addresses_at(&self, side: usize, zone: u8, space: &Space) -> Described {
        let (family, own) = (self.pair.family, &self.addresses[side]);
        let of_family = &space.families[family as usize];
        if of_family.addresses[side][usize::from(zone).min(space.names.len())].is_subset(own) {
            return Described::any();
        }
        let mut ranges = values(&of_family.classes[side], own, family.last());
        let more = ranges.len().saturating_sub(NAMED);
        ranges.truncate(NAMED);
        let ranges = IntervalSet::from_ranges(ranges);
        let set = match family {
            Family::V4 => AddressSet { v4: ranges, v6: IntervalSet::default() },
            Family::V6 => AddressSet { v4: IntervalSet::default(), v6: ranges },
        };
        Described { shown: set.terms(), more }
    }

    fn services(&self, space: &Space) -> Described {
        let of_family = &space.families[self.pair.family as usize];
        let (classes, ports) = (&of_family.classes[SERVICE], &of_family.classes[SOURCE_PORT]);
        let terms = |services: &[[Arc<Ranges>; 2]]| {
            let sets = services.iter().flat_map(|[services, of_source]| {
                let sources = values(ports, of_source, u16::MAX.into());
                values(classes, services, LAST_SERVICE).into_iter().flat_map(move |range| {
                    sources.clone().into_iter().flat_map(move |source| services_of(range, source))
                })
            });
            ServiceSet::union(sets.collect::<Vec<_>>().iter())
        };
        // What of all that there can be is missing; without source ports that make a difference, this says the same in other words.
        let mut rest = Vec::new();
        let mut ports_matter = false;
        for [possible, of_source] in &of_family.services {
            let mut missing = Ranges::clone(possible);
            for [services, own] in &self.services {
                if of_source.is_subset(own) {
                    missing = missing.subtract(services);
                } else {
                    ports_matter |= services.overlaps(possible);
                }
            }
            if !missing.is_empty() {
                rest.push([Arc::new(missing), Arc::clone(of_source)]);
            }
        }
        if rest.is_empty() {
            return Described::any();
        }
        let own = terms(&self.services);
        if ports_matter || own.family(self.pair.family).protocols().count() <= MANY_PROTOCOLS {
            return Described::first(own.terms());
        }
        let excepted = terms(&rest).terms().into_iter().map(|term| format!("!{term}"));
        Described::first(std::iter::once("any".to_owned()).chain(excepted).collect())
    }
}

/// The values of some classes, as ranges.
fn values(classes: &Classes, wanted: &Ranges, last: u128) -> Vec<(u128, u128)> {
    let mut ranges: Vec<(u128, u128)> = Vec::new();
    for (first, end, class) in classes.runs(last) {
        match ranges.last_mut() {
            _ if !wanted.contains(class) => {}
            Some(previous) if previous.1.checked_add(1) == Some(first) => previous.1 = end,
            _ => ranges.push((first, end)),
        }
    }
    ranges
}

/// The services of a range of their numbers, which may go over several protocols, from a range of source ports.
fn services_of((first, last): (u128, u128), (from, to): (u128, u128)) -> impl Iterator<Item = ServiceSet> {
    let port = |number: u128| u16::try_from(number & 0xffff).unwrap_or(u16::MAX);
    let source: PortRange = (port(from), port(to));
    (first >> 16..=last >> 16).map(move |protocol| {
        let lowest = if protocol == first >> 16 { port(first) } else { 0 };
        let highest = if protocol == last >> 16 { port(last) } else { u16::MAX };
        // Port zero opens nothing, so that it makes no difference; without it the range is the one that people write.
        let whole = |(first, last): PortRange| if first <= 1 { (0, last) } else { (first, last) };
        let ports = Ports { source: whole(source), destination: whole((lowest, highest)) };
        ServiceSet::of(u8::try_from(protocol).unwrap_or(u8::MAX), &[ports])
    })
}
