//! The zones of two policies as zones of one space.
//!
//! A packet comes in by an interface and leaves by one, and which zones its addresses are in there, each policy says for itself. So a zone
//! of the common space is a pair: the zone under one policy and that under the other, either of which may be none. Where nothing has
//! changed, both are the same zone, and there are as many pairs as zones.

use std::collections::{BTreeMap, BTreeSet};

use super::space::{LOCAL, Zones};
use super::universe;
use crate::binding::Binding;
use crate::policy::Policy;
use crate::set::SetAlgebra;
use crate::set::address::AddressSet;

/// Which zone of a policy each number of a space is, by its position there; none is outside of all.
#[derive(Clone, Debug)]
pub(super) struct Numbering(Vec<Option<u8>>);

impl Numbering {
    /// The numbers are the positions.
    pub(super) fn own(policy: &Policy) -> Self {
        Self((0..LOCAL).take(policy.zones.len()).map(Some).collect())
    }

    /// The numbers of zones that are given by their positions; the firewall itself has the same number everywhere.
    pub(super) fn bits(&self, positions: Zones) -> Zones {
        let is_in = |zone: &Option<u8>| zone.is_some_and(|zone| positions & 1 << zone != 0);
        self.numbers(is_in) | positions & 1 << LOCAL
    }

    /// The numbers of what is in no zone.
    pub(super) fn nowhere(&self) -> Zones {
        self.numbers(Option::is_none)
    }

    /// All numbers, with that of the firewall itself.
    pub(super) fn all(&self) -> Zones {
        self.numbers(|_| true) | 1 << LOCAL
    }

    fn numbers(&self, wanted: impl Fn(&Option<u8>) -> bool) -> Zones {
        let numbers = (0..LOCAL).zip(&self.0).filter(|(_, zone)| wanted(zone));
        numbers.fold(0, |bits, (number, _)| bits | 1 << number)
    }

    /// The position of the zone that a number is.
    pub(super) fn zone(&self, number: u8) -> Option<u8> {
        self.0.get(usize::from(number)).copied().flatten()
    }
}

/// The zones of two policies in one space.
pub(super) struct Joint {
    /// Of either policy.
    pub(super) numbers: [Numbering; 2],
    /// The names under the second policy, or the first where it has none.
    pub(super) names: Vec<String>,
    /// The addresses of each, and then those of the firewall itself.
    pub(super) addresses: Vec<AddressSet>,
}

/// The zones of an interface, by position, with their addresses.
type OfInterface<'a> = Vec<(u8, &'a AddressSet)>;

impl Joint {
    /// Finds the pairs; `None` if they are more than there are numbers.
    pub(super) fn new(sides: [(&Policy, &Binding); 2]) -> Option<Self> {
        let addresses = sides.map(|(policy, _)| universe::addresses(&policy.zones));
        let mut pairs: BTreeMap<(Option<u8>, Option<u8>), AddressSet> = BTreeMap::new();
        for interface in interfaces(sides) {
            let [old, new] = [0, 1].map(|side| zones_of(interface, sides[side], &addresses[side]));
            for (pair, addresses) in pairs_of(&old, &new) {
                let known = pairs.entry(pair).or_default();
                *known = AddressSet::union([&*known, &addresses].into_iter());
            }
        }
        if pairs.len() >= usize::from(LOCAL) {
            return None;
        }
        let name = |(old, new): &(Option<u8>, Option<u8>)| {
            let [old, new] = [(old, 0), (new, 1)].map(|(zone, side)| Some(&sides[side].0.zones[usize::from((*zone)?)]));
            new.or(old).map_or_else(String::new, |zone| zone.name.clone())
        };
        let names = pairs.keys().map(name).collect();
        let numbers = [pairs.keys().map(|pair| pair.0).collect(), pairs.keys().map(|pair| pair.1).collect()];
        // The firewall's own addresses can be any, whatever the zones are.
        let own = addresses[0].last().cloned();
        Some(Self { numbers: numbers.map(Numbering), names, addresses: pairs.into_values().chain(own).collect() })
    }
}

/// The names of all interfaces.
fn interfaces<'b>(sides: [(&Policy, &'b Binding); 2]) -> BTreeSet<&'b str> {
    sides.iter().flat_map(|(_, binding)| &binding.interfaces).map(|interface| interface.name.as_str()).collect()
}

/// The zones behind an interface under one policy.
fn zones_of<'a>(
    interface: &str,
    (policy, binding): (&Policy, &Binding),
    addresses: &'a [AddressSet],
) -> OfInterface<'a> {
    let own = binding.interfaces.iter().filter(|known| known.name == interface).flat_map(|known| &known.zones);
    let own: BTreeSet<&String> = own.collect();
    let zones = (0..LOCAL).zip(policy.zones.iter().zip(addresses));
    zones.filter(|(_, (zone, _))| own.contains(&zone.name)).map(|(position, (_, set))| (position, set)).collect()
}

/// What is in which zone under either policy, behind one interface.
fn pairs_of<'a>(
    old: &'a OfInterface<'a>,
    new: &'a OfInterface<'a>,
) -> impl Iterator<Item = ((Option<u8>, Option<u8>), AddressSet)> {
    let outside = |set: &AddressSet, others: &OfInterface<'_>| {
        set.subtract(&AddressSet::union(others.iter().map(|(_, other)| *other)))
    };
    let both = old.iter().flat_map(|(before, one)| {
        new.iter().map(|(after, other)| ((Some(*before), Some(*after)), one.subtract(&one.subtract(other))))
    });
    let gone = old.iter().map(move |(before, set)| ((Some(*before), None), outside(set, new)));
    let come = new.iter().map(move |(after, set)| ((None, Some(*after)), outside(set, old)));
    both.chain(gone).chain(come).filter(|(_, addresses)| !addresses.is_empty())
}

/// The name of a zone of a policy by its number in the space; `local` is the firewall itself, and what is in no zone has none.
pub(super) fn zone_name<'p>(policy: &'p Policy, numbers: &Numbering, number: u8) -> Option<&'p str> {
    if number == LOCAL {
        return Some("local");
    }
    Some(policy.zones[usize::from(numbers.zone(number)?)].name.as_str())
}

#[cfg(test)]
mod tests {
    use super::super::space::each_zone;
    use super::*;
    use crate::binding::InterfaceBinding;
    use crate::source::SourceFile;

    fn policy(zones: &str) -> Policy {
        let text = format!("version = 1\n[defaults]\naction = \"drop\"\n{zones}");
        crate::load(&[SourceFile { name: "a.toml".to_owned(), text }]).unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// The pairs by name, with a prefix or range of each.
    fn pairs(old: &str, new: &str, interfaces: Option<&[(&str, &[&str])]>) -> Vec<String> {
        let (old, new) = (policy(old), policy(new));
        let binding = |policy: &Policy| match interfaces {
            None => Binding::offline(policy),
            Some(interfaces) => {
                let interface = |(name, zones): &(&str, &[&str])| InterfaceBinding {
                    name: (*name).to_owned(),
                    zones: zones.iter().map(|zone| (*zone).to_owned()).collect(),
                };
                Binding { interfaces: interfaces.iter().map(interface).collect(), ..Binding::default() }
            }
        };
        let bindings = [binding(&old), binding(&new)];
        let joint = Joint::new([(&old, &bindings[0]), (&new, &bindings[1])]).unwrap();
        assert_eq!((joint.names.len(), joint.addresses.len()), (joint.names.len(), joint.names.len() + 1));
        let all = each_zone(joint.numbers[0].all()).filter(|number| *number != LOCAL);
        let shown = all.map(|number| {
            let name = |side: usize, policy| zone_name(policy, &joint.numbers[side], number).unwrap_or("-");
            let terms = joint.addresses[usize::from(number)].terms();
            format!("{} {} {}", name(0, &old), name(1, &new), terms.first().map_or("", String::as_str))
        });
        shown.collect()
    }

    #[test]
    fn zones_that_stay_are_pairs_of_themselves() {
        let zones = "[zones.a]\nnetworks = [\"10.1.0.0/16\"]\n[zones.b]\nnetworks = [\"10.2.0.0/16\"]\n";
        let turned = "[zones.b]\nnetworks = [\"10.2.0.0/16\"]\n[zones.a]\nnetworks = [\"10.1.0.0/16\"]\n";
        assert_eq!(pairs(zones, turned, None), ["a a 10.1.0.0/16", "b b 10.2.0.0/16"]);
    }

    #[test]
    fn networks_that_come_and_go_are_in_no_zone_before_and_after() {
        let old = "[zones.a]\nnetworks = [\"10.1.0.0/16\", \"10.8.0.0/16\"]\n";
        let new = "[zones.a]\nnetworks = [\"10.1.0.0/16\", \"10.9.0.0/16\"]\n";
        assert_eq!(pairs(old, new, None), ["- a 10.9.0.0/16", "a - 10.8.0.0/16", "a a 10.1.0.0/16"]);
    }

    #[test]
    fn a_network_that_moves_within_an_interface_is_in_another_zone() {
        let old = "[zones.a]\nnetworks = [\"10.1.0.0/16\"]\n[zones.rest]\n";
        let new = "[zones.a]\nnetworks = [\"10.1.0.0/17\"]\n[zones.rest]\n";
        let found = pairs(old, new, Some(&[("ens6", &["a", "rest"])]));
        assert_eq!(found, ["a a 10.1.0.0/17", "a rest 10.1.128.0/17", "rest rest 1.0.0.0-10.0.255.255"]);
        // On an interface of its own, what leaves the one is no part of the other there.
        let found = pairs(old, new, None);
        assert_eq!(found[0], "- rest 10.1.128.0/17");
        assert_eq!(found[1], "a - 10.1.128.0/17");
    }

    #[test]
    fn a_zone_with_another_name_behind_the_same_interface_is_the_same_place() {
        let old = "[zones.a]\nnetworks = [\"10.1.0.0/16\"]\n";
        let new = "[zones.plant]\nnetworks = [\"10.1.0.0/16\"]\n";
        let found = pairs(old, new, Some(&[("ens6", &["a", "plant"])]));
        assert_eq!(found, ["a plant 10.1.0.0/16"]);
    }

    #[test]
    fn more_pairs_than_numbers_are_none() {
        let zones = |letter: char| {
            let zone = |number| format!("[zones.{letter}{number}]\nnetworks = [\"10.{number}.0.0/16\"]\n");
            (0..40).map(zone).collect::<String>()
        };
        let (old, new) = (policy(&zones('a')), policy(&zones('b')));
        let bindings = [Binding::offline(&old), Binding::offline(&new)];
        assert!(Joint::new([(&old, &bindings[0]), (&new, &bindings[1])]).is_none());
        assert!(Joint::new([(&old, &bindings[0]), (&old, &bindings[0])]).is_some());
    }
}
