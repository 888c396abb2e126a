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
    groups: Groups,
    /// How many prefixes have each group.
    uses: Vec<u32>,
    sets: usize,
}

/// A prefix.
#[derive(Debug)]
struct Named {
    cidr: Cidr,
    /// The nearest one around it, or [`NONE`].
    outer: u32,
    /// The sets that name it: a position in [`Groups::members`].
    group: u32,
}

/// Lists of sets that name the same prefix. The first ones have a single set, that of their position.
#[derive(Debug, Default)]
struct Groups {
    members: Vec<Vec<u32>>,
    known: IdMap<Vec<u32>, u32>,
}

impl Groups {
    fn new(sets: usize) -> Self {
        Self { members: (0..).take(sets).map(|set| vec![set]).collect(), known: IdMap::default() }
    }

    fn of(&mut self, run: &[(Cidr, u32)]) -> u32 {
        if let [(_, set)] = run {
            return *set;
        }
        let members: Vec<u32> = run.iter().map(|(_, set)| *set).collect();
        let next = u32::try_from(self.members.len()).unwrap_or(NONE);
        let group = *self.known.entry(members.clone()).or_insert(next);
        if group == next {
            self.members.push(members);
        }
        group
    }
}

impl Prefixes {
    /// Collects the prefixes of the sets of one side; `used` says which sets that side has.
    pub(super) fn new(sets: &[Arc<[Cidr]>], used: &[bool], family: Family) -> Self {
        Self::with_groups(sets, used, family, Groups::new(sets.len()))
    }

    /// The same after the contents of sets have changed: groups keep their numbers.
    pub(super) fn renewed(self, sets: &[Arc<[Cidr]>], used: &[bool], family: Family) -> Self {
        Self::with_groups(sets, used, family, self.groups)
    }

    fn with_groups(sets: &[Arc<[Cidr]>], used: &[bool], family: Family, groups: Groups) -> Self {
        let count = sets.iter().zip(used).filter(|(_, used)| **used).map(|(set, _)| set.len()).sum();
        let mut named: Vec<(Cidr, u32)> = Vec::with_capacity(count);
        for ((set, used), id) in sets.iter().zip(used).zip(0..) {
            if *used {
                named.extend(set.iter().map(|cidr| (*cidr, id)));
            }
        }
        // One long list among short ones is sorted already but for its neighbours.
        named.sort();
        let mut side = Self { prefixes: Vec::with_capacity(count), groups, uses: Vec::new(), sets: sets.len() };
        let mut around: Vec<u32> = Vec::new();
        for run in named.chunk_by(|(one, _), (other, _)| one == other) {
            let cidr = run[0].0;
            while around.last().is_some_and(|outer| !side.prefixes[*outer as usize].cidr.contains(cidr, family)) {
                around.pop();
            }
            let group = side.groups.of(run);
            let outer = around.last().copied().unwrap_or(NONE);
            around.push(u32::try_from(side.prefixes.len()).unwrap_or(NONE));
            side.prefixes.push(Named { cidr, outer, group });
        }
        side.uses = vec![0; side.groups.members.len()];
        side.prefixes.iter().for_each(|prefix| side.uses[prefix.group as usize] += 1);
        side
    }

    /// Groups the prefixes with a threshold: shorter ones are wide. The two widths never meet in one class: otherwise one
    /// rule for all addresses would be in every class there is, and pairs would multiply.
    pub(super) fn classes(&self, threshold: u8) -> Classes {
        self.classes_after(threshold, Vec::new())
    }

    /// The same after the contents of sets have changed: classes keep their numbers, and new ones follow.
    pub(super) fn renewed_classes(&self, before: Classes) -> Classes {
        self.classes_after(before.threshold, before.classes)
    }

    fn classes_after(&self, threshold: u8, before: Vec<Class>) -> Classes {
        let first = before.is_empty();
        let known: IdMap<_, _> =
            (1..).zip(&before).map(|(id, Class { outer, group, wide })| ((*outer, *group, *wide), id)).collect();
        let mut tree = Tree { classes: before, known };
        let mut of_prefix: Vec<AddressClass> = Vec::with_capacity(self.prefixes.len());
        for Named { cidr, outer, group } in &self.prefixes {
            let mut class = of_prefix.get(*outer as usize).copied().unwrap_or_default();
            let once = first && self.uses[*group as usize] == 1;
            if cidr.len < threshold {
                class.wide = tree.class(class.wide, *group, true, once);
            } else {
                class.specific = tree.class(class.specific, *group, false, once);
            }
            of_prefix.push(class);
        }
        Classes { threshold, classes: tree.classes, of_prefix }
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
            self.groups.members[class.group as usize].iter().for_each(|set| counts[*set as usize] += below[at]);
        }
        counts
    }

    /// For each set the classes that hold it, ascending.
    pub(super) fn members(&self, classes: &Classes, counts: &[u32]) -> Members {
        let mut starts: Vec<usize> = Vec::with_capacity(counts.len() + 1);
        let mut total = 0;
        for count in counts {
            starts.push(total);
            total += *count as usize;
        }
        let mut next = starts.clone();
        starts.push(total);
        let mut ids = vec![0; total];
        for class in 1..=classes.len() {
            self.sets_of(classes, class, |set| {
                ids[next[set as usize]] = class;
                next[set as usize] += 1;
            });
        }
        Members { starts, ids }
    }

    /// Visits every set that a class holds.
    pub(super) fn sets_of(&self, classes: &Classes, class: u32, mut visit: impl FnMut(u32)) {
        let mut around = class;
        while around != 0 {
            let Class { outer, group, .. } = classes.classes[around as usize - 1];
            self.groups.members[group as usize].iter().for_each(|set| visit(*set));
            around = outer;
        }
    }

    /// Every prefix with what a look-up that ends there gives; `id` makes ids of the numbers of classes.
    pub(super) fn labelled(&self, classes: &Classes, id: impl Fn(u32) -> u32) -> Vec<(Cidr, AddressClass)> {
        let id = |class: u32| if class == 0 { 0 } else { id(class) };
        let label = |class: &AddressClass| AddressClass { specific: id(class.specific), wide: id(class.wide) };
        self.prefixes.iter().zip(&classes.of_prefix).map(|(prefix, class)| (prefix.cidr, label(class))).collect()
    }
}

/// The classes of one side with one threshold, numbered from 1.
#[derive(Debug, Default)]
pub(super) struct Classes {
    threshold: u8,
    classes: Vec<Class>,
    of_prefix: Vec<AddressClass>,
}

impl Classes {
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.classes.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn is_wide(&self, class: u32) -> bool {
        self.classes[class as usize - 1].wide
    }
}

#[derive(Clone, Copy, Debug)]
struct Class {
    /// The class around it; 0: none.
    outer: u32,
    /// What it has beside that.
    group: u32,
    wide: bool,
}

/// The classes while they are found.
struct Tree {
    classes: Vec<Class>,
    known: IdMap<(u32, u32, bool), u32>,
}

impl Tree {
    /// The class of a prefix with these sets, in a class. `once`: no other prefix has these sets.
    fn class(&mut self, outer: u32, group: u32, wide: bool, once: bool) -> u32 {
        let next = u32::try_from(self.classes.len() + 1).unwrap_or(0);
        let id = if once { next } else { *self.known.entry((outer, group, wide)).or_insert(next) };
        if id == next {
            self.classes.push(Class { outer, group, wide });
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
        let members = side.members(&classes, &counts);
        let of = |set: usize| members.of(u32::try_from(set).unwrap()).to_vec();
        ((0..sets.len()).map(of).collect(), side.labelled(&classes, |class| class))
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

    #[test]
    fn classes_keep_their_numbers_when_a_set_changes() {
        let sets = [set(&["10.0.0.0/8"]), set(&["10.1.0.0/16", "11.0.0.0/8"])];
        let used = [true, true];
        let before = Prefixes::new(&sets, &used, Family::V4);
        let classes = before.classes(0);
        let ids = |side: &Prefixes, classes: &Classes| {
            side.labelled(classes, |class| class).into_iter().map(|(_, class)| class.specific).collect::<Vec<_>>()
        };
        assert_eq!(ids(&before, &classes), [1, 2, 3]);
        let sets = [Arc::clone(&sets[0]), set(&["10.1.0.0/16", "10.2.0.0/16", "12.0.0.0/8"])];
        let after = before.renewed(&sets, &used, Family::V4);
        let classes = after.renewed_classes(classes);
        assert_eq!((ids(&after, &classes), classes.len()), (vec![1, 2, 2, 3], 3), "no class is new");
        let sets = [set(&["10.0.0.0/8", "12.0.0.0/7"]), Arc::clone(&sets[1])];
        let after = after.renewed(&sets, &used, Family::V4);
        let classes = after.renewed_classes(classes);
        assert_eq!((ids(&after, &classes), classes.len()), (vec![1, 2, 2, 1, 2], 3), "not even here");
        let sets = [set(&["10.0.0.0/8"]), set(&["8.0.0.0/5"])];
        let after = after.renewed(&sets, &used, Family::V4);
        let classes = after.renewed_classes(classes);
        assert_eq!((ids(&after, &classes), classes.len()), (vec![3, 4], 4), "the other way round");
    }
}
