//! The classes of a field: values that no set of the policy tells apart are one number.
//!
//! In: interval sets over the values of a field. Out: each set as ranges of class numbers, and a value of each class. With that, a list of
//! half a million prefixes that one rule names is as small as one prefix, and what is said of classes is said of all values.
//!
//! Two values are of one class if the same sets hold both. A sweep over the values keeps which sets hold the current one in a tree
//! whose nodes are interned: two states are equal if the numbers of their roots are, so nothing rests on a hash having no collisions.

use std::collections::HashMap;

use super::ranges::Ranges;

/// The values of a field by class.
#[derive(Clone, Debug, Default)]
pub(super) struct Classes {
    /// The lowest value of each class.
    pub(super) lowest: Vec<u128>,
    /// Runs of values of one class: where each begins, and its class.
    runs: Vec<(u128, u32)>,
}

impl Classes {
    /// The class of a value.
    pub(super) fn of(&self, value: u128) -> u32 {
        let behind = self.runs.partition_point(|(start, _)| *start <= value);
        behind.checked_sub(1).map_or(0, |run| self.runs[run].1)
    }

    /// All values up to the last one, in runs of one class: the first, the last, and the class.
    pub(super) fn runs(&self, last: u128) -> impl Iterator<Item = (u128, u128, u32)> + '_ {
        let ends = self.runs.iter().skip(1).map(|(start, _)| start - 1).chain([last]);
        self.runs.iter().zip(ends).map(|((start, class), end)| (*start, end, *class))
    }
}

/// Divides the values from 0 to `last` into classes; also the sets as classes, in their order.
pub(super) fn divide(sets: &[&[(u128, u128)]], last: u128) -> (Classes, Vec<Ranges>) {
    let mut borders: Vec<(u128, u32)> = Vec::new();
    for (set, number) in sets.iter().zip(0u32..) {
        for (first, end) in *set {
            borders.push((*first, number));
            // Nothing begins behind the last value.
            borders.extend((*end < last).then(|| (end + 1, number)));
        }
    }
    borders.sort_unstable();
    let mut holders = Holders::new(sets.len());
    let mut known: HashMap<u32, u32> = HashMap::new();
    let mut classes = Classes::default();
    let mut next = borders.iter().peekable();
    let mut start = 0;
    loop {
        while let Some((_, set)) = next.next_if(|(at, _)| *at == start) {
            holders.toggle(*set);
        }
        let fresh = u32::try_from(classes.lowest.len()).unwrap_or(u32::MAX);
        let class = *known.entry(holders.state()).or_insert(fresh);
        if class == fresh {
            classes.lowest.push(start);
        }
        classes.runs.push((start, class));
        match next.peek() {
            Some((at, _)) => start = *at,
            None => break,
        }
    }
    let highest = u32::try_from(classes.lowest.len() - 1).unwrap_or(u32::MAX);
    let as_classes = |set: &&[(u128, u128)]| {
        if **set == [(0, last)] {
            return Ranges::one(0, highest);
        }
        let mut numbers = Vec::new();
        for (first, end) in *set {
            let from = classes.runs.partition_point(|(start, _)| start < first);
            numbers.extend(classes.runs[from..].iter().take_while(|(start, _)| start <= end).map(|(_, class)| *class));
        }
        Ranges::of(numbers)
    };
    let sets = sets.iter().map(as_classes).collect();
    (classes, sets)
}

/// Which sets hold the current value: a binary tree over words of 64 sets, with the number of each node in place of the node.
struct Holders {
    words: Vec<u64>,
    /// The numbers of the nodes: the root at 1, the children of `n` at `2n` and `2n + 1`, the words last.
    numbers: Vec<u32>,
    /// Numbers of words, and of pairs of nodes.
    known_words: HashMap<u64, u32>,
    known_pairs: HashMap<(u32, u32), u32>,
}

impl Holders {
    fn new(sets: usize) -> Self {
        let leaves = sets.div_ceil(64).next_power_of_two();
        let mut holders = Self {
            words: vec![0; leaves],
            numbers: vec![0; 2 * leaves],
            known_words: HashMap::from([(0, 0)]),
            known_pairs: HashMap::from([((0, 0), 0)]),
        };
        holders.update(0);
        holders
    }

    /// Puts a set in or takes it out.
    fn toggle(&mut self, set: u32) {
        let word = set as usize / 64;
        self.words[word] ^= 1 << (set % 64);
        self.update(word);
    }

    fn update(&mut self, word: usize) {
        let mut at = self.words.len() + word;
        let fresh = u32::try_from(self.known_words.len()).unwrap_or(u32::MAX);
        self.numbers[at] = *self.known_words.entry(self.words[word]).or_insert(fresh);
        while at > 1 {
            at /= 2;
            let pair = (self.numbers[2 * at], self.numbers[2 * at + 1]);
            let fresh = u32::try_from(self.known_pairs.len()).unwrap_or(u32::MAX);
            self.numbers[at] = *self.known_pairs.entry(pair).or_insert(fresh);
        }
    }

    /// Equal for equal sets of sets.
    fn state(&self) -> u32 {
        self.numbers[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sets() -> impl Strategy<Value = Vec<Vec<(u128, u128)>>> {
        let set = prop::collection::btree_set(0u128..40, 0..8).prop_map(|ends| {
            // Pairs of ascending numbers are disjoint ranges, apart by one at least.
            let ends: Vec<u128> = ends.into_iter().map(|end| 2 * end).collect();
            ends.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
        });
        prop::collection::vec(set, 0..70)
    }

    proptest! {
        #[test]
        fn a_class_is_what_no_set_tells_apart(sets in sets()) {
            let slices: Vec<&[(u128, u128)]> = sets.iter().map(Vec::as_slice).collect();
            let (classes, as_classes) = divide(&slices, 100);
            let holds = |set: &[(u128, u128)], value: u128| set.iter().any(|(first, last)| (*first..=*last).contains(&value));
            let holders = |value: u128| slices.iter().map(|set| holds(set, value)).collect::<Vec<_>>();
            // Each class by what holds it; no two alike, and every value is in one.
            let of_class = |class: usize| as_classes.iter().map(|set| set.contains(class as u32)).collect::<Vec<_>>();
            let known: Vec<Vec<bool>> = (0..classes.lowest.len()).map(of_class).collect();
            for value in 0..=100 {
                prop_assert_eq!(known.iter().filter(|class| **class == holders(value)).count(), 1);
                prop_assert_eq!(&known[classes.of(value) as usize], &holders(value));
            }
            for (class, lowest) in known.iter().zip(&classes.lowest) {
                prop_assert_eq!(class, &holders(*lowest));
                prop_assert!((0..*lowest).all(|below| holders(below) != *class), "the lowest is the lowest");
            }
        }
    }

    #[test]
    fn a_list_is_one_class_and_the_rest_another() {
        let list: Vec<(u128, u128)> = (0..1000).map(|n| (10 * n, 10 * n + 3)).collect();
        let (classes, sets) = divide(&[&list, &[(0, u128::MAX)]], u128::MAX);
        assert_eq!(classes.lowest, [0, 4]);
        assert_eq!(sets, [Ranges::one(0, 0), Ranges::one(0, 1)]);
    }
}
