//! Address classes: which prefixes tell the same clauses apart.
//!
//! A class stands for a set of clauses: those that have, among the prefixes of one width, one that holds the address. Two
//! prefixes with the same clauses share a class, so a list of any length that only one rule names is one class. A pair
//! of a source class and a destination class then matches exactly the clauses that are in both.

use std::collections::HashMap;
use std::rc::Rc;

use fw_common::abi::policy::AddressClass;

use crate::set::interval::{Cidr, Family};

/// Whether a prefix is shorter than the threshold. The two widths never meet in one class: otherwise one rule for all
/// addresses would be in every class there is, and pairs would multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Width {
    Specific,
    Wide,
}

/// One side of all clauses: their sources, or their destinations.
#[derive(Debug, Default)]
pub(super) struct Classes {
    /// Every prefix that a clause has, with what a look-up that ends there gives.
    pub(super) prefixes: Vec<(Cidr, AddressClass)>,
    /// For each clause the classes that hold it.
    pub(super) of_clause: Vec<Vec<u32>>,
    /// The highest id that is used.
    pub(super) last_id: u32,
}

/// How many clauses all classes together may hold, before the threshold is given up as unsuitable.
const MAX_MEMBERS: usize = 16_000_000;

impl Classes {
    /// Groups the prefixes of one side. `side` gives the disjoint prefixes of each clause; ids go on after `last_id`.
    /// `None` if this threshold would need more than [`MAX_MEMBERS`].
    pub(super) fn new<'c>(
        side: impl Iterator<Item = &'c [Cidr]>,
        family: Family,
        threshold: u8,
        last_id: u32,
    ) -> Option<Self> {
        let mut clauses = 0;
        let mut named: Vec<(Cidr, u32)> = Vec::new();
        for (clause, prefixes) in (0u32..).zip(side) {
            named.extend(prefixes.iter().map(|prefix| (*prefix, clause)));
            clauses = clause as usize + 1;
        }
        named.sort_unstable();
        let mut members = Interner::new(last_id);
        let mut classes = Self { prefixes: Vec::new(), of_clause: vec![Vec::new(); clauses], last_id };
        // The prefixes around the current one, outermost first.
        let mut around: Vec<(Cidr, AddressClass)> = Vec::new();
        for run in named.chunk_by(|(one, _), (other, _)| one == other) {
            let prefix = run[0].0;
            while around.last().is_some_and(|(outer, _)| !outer.contains(prefix, family)) {
                around.pop();
            }
            let mut class = around.last().map_or_else(AddressClass::default, |(_, class)| *class);
            let own = run.iter().map(|(_, clause)| *clause);
            if prefix.len < threshold {
                class.wide = members.class(Width::Wide, class.wide, own)?;
            } else {
                class.specific = members.class(Width::Specific, class.specific, own)?;
            }
            around.push((prefix, class));
            classes.prefixes.push((prefix, class));
        }
        for (id, class) in members.classes() {
            class.iter().for_each(|clause| classes.of_clause[*clause as usize].push(id));
            classes.last_id = id;
        }
        Some(classes)
    }
}

/// Gives equal sets of clauses equal ids.
struct Interner {
    first_id: u32,
    sets: Vec<Rc<[u32]>>,
    ids: HashMap<(Width, Rc<[u32]>), u32>,
    members: usize,
}

impl Interner {
    fn new(last_id: u32) -> Self {
        Self { first_id: last_id + 1, sets: Vec::new(), ids: HashMap::new(), members: 0 }
    }

    /// The class of what the class `outer` holds (0: nothing) and of `own`, which ascends.
    fn class(&mut self, width: Width, outer: u32, own: impl Iterator<Item = u32>) -> Option<u32> {
        let mut set: Vec<u32> = own.collect();
        if outer != 0 {
            set.extend_from_slice(&self.sets[(outer - self.first_id) as usize]);
            set.sort_unstable();
            set.dedup();
        }
        let set: Rc<[u32]> = set.into();
        if let Some(id) = self.ids.get(&(width, Rc::clone(&set))) {
            return Some(*id);
        }
        self.members += set.len();
        if self.members > MAX_MEMBERS {
            return None;
        }
        let id = self.first_id + u32::try_from(self.sets.len()).ok()?;
        self.sets.push(Rc::clone(&set));
        self.ids.insert((width, set), id);
        Some(id)
    }

    fn classes(&self) -> impl Iterator<Item = (u32, &[u32])> {
        (self.first_id..).zip(self.sets.iter().map(|set| &**set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::set::address::parse_network;

    fn cidrs(prefixes: &[&str]) -> Vec<Cidr> {
        prefixes.iter().map(|prefix| parse_network(prefix).unwrap().cidr).collect()
    }

    fn classes(sides: &[Vec<Cidr>], threshold: u8) -> Classes {
        Classes::new(sides.iter().map(Vec::as_slice), Family::V4, threshold, 0).unwrap()
    }

    #[test]
    fn a_long_list_of_one_clause_is_one_class() {
        let list: Vec<Cidr> = (0..1000u128).map(|n| Cidr { first: n << 8, len: 25 }).collect();
        let classes = classes(&[list], 8);
        assert_eq!((classes.prefixes.len(), classes.last_id), (1000, 1));
        assert_eq!(classes.of_clause, [vec![1]]);
    }

    #[test]
    fn an_inner_prefix_has_the_clauses_of_the_outer_one_of_its_width() {
        let sides = [cidrs(&["0.0.0.0/0"]), cidrs(&["10.0.0.0/8"]), cidrs(&["10.1.0.0/16"])];
        let all_specific = classes(&sides, 0);
        assert_eq!(all_specific.of_clause, [vec![1, 2, 3], vec![2, 3], vec![3]]);
        let two_widths = classes(&sides, 8);
        assert_eq!(two_widths.of_clause, [vec![1], vec![2, 3], vec![3]]);
        let (_, inner) = two_widths.prefixes[2];
        assert_eq!(inner, AddressClass { specific: 3, wide: 1 });
    }
}
