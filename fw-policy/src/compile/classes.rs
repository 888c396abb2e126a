//! Address classes: which prefixes tell the same sets apart.
//!
//! A class stands for the sets that have, among the prefixes of one width, one that holds the address. It is what the
//! nearest prefix around says, and the sets that name the prefix itself, so classes make a tree. Two prefixes with the same
//! sets around and the same sets of their own share a class: a list of any length that only one rule names is one class.

use std::sync::Arc;

use fw_common::abi::tables::AddressClass;

use super::hash::IdMap;
use crate::set::interval::{Cidr, Family};

const NONE: u32 = u32::MAX;

/// All prefixes of one side, each once.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    prefixes: Vec<Named>,
    /// Lists of sets. The first ones have a single set, that of their position.
    groups: Vec<Vec<u32>>,
    /// How many prefixes have each list.
    uses: Vec<u32>,
    sets: usize,
}

/// A prefix.
#[derive(Debug)]
struct Named {
    cidr: Cidr,
    /// The nearest one around it, or [`NONE`].
    outer: u32,
    /// The sets that name it: a position in [`Prefixes::groups`].
    group: u32,
}

impl Prefixes {
    /// Collects the prefixes of the sets of one side; `used` says which sets that side has.
    pub(super) fn new(sets: &[Arc<[Cidr]>], used: &[bool], family: Family) -> Self {
        let count = sets.iter().zip(used).filter(|(_, used)| **used).map(|(set, _)| set.len()).sum();
        let mut named: Vec<(Cidr, u32)> = Vec::with_capacity(count);
        for ((set, used), id) in sets.iter().zip(used).zip(0..) {
            if *used {
                named.extend(set.iter().map(|cidr| (*cidr, id)));
            }
        }
        // One long list among short ones is sorted already but for its neighbours.
        named.sort();
        let mut side = Self {
            prefixes: Vec::with_capacity(named.len()),
            groups: (0..).take(sets.len()).map(|set| vec![set]).collect(),
            uses: vec![0; sets.len()],
            sets: sets.len(),
        };
        let mut shared: IdMap<Vec<u32>, u32> = IdMap::default();
        let mut around: Vec<u32> = Vec::new();
        for run in named.chunk_by(|(one, _), (other, _)| one == other) {
            let cidr = run[0].0;
            while around.last().is_some_and(|outer| !side.prefixes[*outer as usize].cidr.contains(cidr, family)) {
                around.pop();
            }
            let group = if let [(_, set)] = run { *set } else { side.group(run, &mut shared) };
            side.uses[group as usize] += 1;
            let outer = around.last().copied().unwrap_or(NONE);
            around.push(u32::try_from(side.prefixes.len()).unwrap_or(NONE));
            side.prefixes.push(Named { cidr, outer, group });
        }
        side
    }

    fn group(&mut self, run: &[(Cidr, u32)], shared: &mut IdMap<Vec<u32>, u32>) -> u32 {
        let members: Vec<u32> = run.iter().map(|(_, set)| *set).collect();
        let next = u32::try_from(self.groups.len()).unwrap_or(NONE);
        let group = *shared.entry(members.clone()).or_insert(next);
        if group == next {
            self.groups.push(members);
            self.uses.push(0);
        }
        group
    }

    /// Groups the prefixes with a threshold: shorter ones are wide. The two widths never meet in one class: otherwise one
    /// rule for all addresses would be in every class there is, and pairs would multiply.
    pub(super) fn classes(&self, threshold: u8) -> Classes {
        let mut tree = Tree { classes: Vec::new(), known: IdMap::default() };
        let mut of_prefix: Vec<AddressClass> = Vec::with_capacity(self.prefixes.len());
        for Named { cidr, outer, group } in &self.prefixes {
            let mut class = of_prefix.get(*outer as usize).copied().unwrap_or_default();
            let once = self.uses[*group as usize] == 1;
            if cidr.len < threshold {
                class.wide = tree.class(class.wide, *group, once);
            } else {
                class.specific = tree.class(class.specific, *group, once);
            }
            of_prefix.push(class);
        }
        Classes { classes: tree.classes, of_prefix }
    }

    /// For each set the number of classes that hold it.
    pub(super) fn counts(&self, classes: &Classes) -> Vec<u32> {
        // A class holds what all around it hold, so each is counted at itself and at all that it is within.
        let mut below: Vec<u32> = vec![1; classes.classes.len()];
        let mut counts = vec![0; self.sets];
        for (at, class) in classes.classes.iter().enumerate().rev() {
            if class.outer != 0 {
                below[class.outer as usize - 1] += below[at];
            }
            self.groups[class.group as usize].iter().for_each(|set| counts[*set as usize] += below[at]);
        }
        counts
    }

    /// For each set the ids of the classes that hold it, ascending; ids follow `last_id`.
    pub(super) fn members(&self, classes: &Classes, counts: &[u32], last_id: u32) -> Members {
        let mut starts: Vec<usize> = Vec::with_capacity(counts.len() + 1);
        let mut total = 0;
        for count in counts {
            starts.push(total);
            total += *count as usize;
        }
        let mut next = starts.clone();
        starts.push(total);
        let mut ids = vec![0; total];
        for at in 0..classes.classes.len() {
            let id = last_id + 1 + u32::try_from(at).unwrap_or(0);
            let mut around = at;
            loop {
                let class = classes.classes[around];
                for set in &self.groups[class.group as usize] {
                    ids[next[*set as usize]] = id;
                    next[*set as usize] += 1;
                }
                match class.outer {
                    0 => break,
                    outer => around = outer as usize - 1,
                }
            }
        }
        Members { starts, ids }
    }

    /// Every prefix with what a look-up that ends there gives; ids follow `last_id`.
    pub(super) fn labelled(&self, classes: &Classes, last_id: u32) -> Vec<(Cidr, AddressClass)> {
        let id = |class: u32| if class == 0 { 0 } else { class + last_id };
        let label = |class: &AddressClass| AddressClass { specific: id(class.specific), wide: id(class.wide) };
        self.prefixes.iter().zip(&classes.of_prefix).map(|(prefix, class)| (prefix.cidr, label(class))).collect()
    }
}

/// The classes of one side with one threshold, numbered from 1.
#[derive(Debug)]
pub(super) struct Classes {
    classes: Vec<Class>,
    of_prefix: Vec<AddressClass>,
}

impl Classes {
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.classes.len()).unwrap_or(u32::MAX)
    }
}

#[derive(Clone, Copy, Debug)]
struct Class {
    /// The class around it; 0: none.
    outer: u32,
    /// What it has beside that.
    group: u32,
}

/// The classes while they are found.
struct Tree {
    classes: Vec<Class>,
    known: IdMap<(u32, u32), u32>,
}

impl Tree {
    /// The class of a prefix with these sets, in a class. `once`: no other prefix has these sets.
    fn class(&mut self, outer: u32, group: u32, once: bool) -> u32 {
        let next = u32::try_from(self.classes.len() + 1).unwrap_or(0);
        let id = if once { next } else { *self.known.entry((outer, group)).or_insert(next) };
        if id == next {
            self.classes.push(Class { outer, group });
        }
        id
    }
}

/// Which classes hold each set.
#[derive(Debug, Default)]
pub(super) struct Members {
    starts: Vec<usize>,
    ids: Vec<u32>,
}

impl Members {
    pub(super) fn of(&self, set: u32) -> &[u32] {
        let set = set as usize;
        &self.ids[self.starts[set]..self.starts[set + 1]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::set::address::parse_network;

    fn set(prefixes: &[&str]) -> Arc<[Cidr]> {
        prefixes.iter().map(|prefix| parse_network(prefix).unwrap().cidr).collect()
    }

    fn members(sets: &[Arc<[Cidr]>], threshold: u8) -> (Vec<Vec<u32>>, Vec<(Cidr, AddressClass)>) {
        let side = Prefixes::new(sets, &vec![true; sets.len()], Family::V4);
        let classes = side.classes(threshold);
        let counts = side.counts(&classes);
        let members = side.members(&classes, &counts, 0);
        let of = |set: usize| members.of(u32::try_from(set).unwrap()).to_vec();
        ((0..sets.len()).map(of).collect(), side.labelled(&classes, 0))
    }

    #[test]
    fn a_long_list_of_one_set_is_one_class() {
        let list: Vec<Cidr> = (0..1000u128).map(|n| Cidr { first: n << 8, len: 25 }).collect();
        let (members, prefixes) = members(&[list.into()], 8);
        assert_eq!((prefixes.len(), members), (1000, vec![vec![1]]));
    }

    #[test]
    fn an_inner_prefix_has_the_sets_of_the_outer_one_of_its_width() {
        let sets = [set(&["0.0.0.0/0"]), set(&["10.0.0.0/8"]), set(&["10.1.0.0/16"])];
        assert_eq!(members(&sets, 0).0, [vec![1, 2, 3], vec![2, 3], vec![3]]);
        let (two_widths, prefixes) = members(&sets, 8);
        assert_eq!(two_widths, [vec![1], vec![2, 3], vec![3]]);
        assert_eq!(prefixes[2].1, AddressClass { specific: 3, wide: 1 });
    }

    #[test]
    fn a_prefix_of_two_sets_is_a_class_of_both() {
        let sets = [set(&["10.0.0.0/8", "11.0.0.0/8"]), set(&["10.0.0.0/8"])];
        assert_eq!(members(&sets, 0).0, [vec![1, 2], vec![1]]);
    }
}
