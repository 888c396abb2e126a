//! Sets of small numbers as sorted, disjoint, inclusive ranges.

/// A set of numbers: its ranges ascend and are neither adjacent nor empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    pub(super) fn one(first: u32, last: u32) -> Self {
        Self(vec![(first, last)])
    }

    /// The set of any numbers, in any order.
    pub(super) fn of(mut numbers: Vec<u32>) -> Self {
        numbers.sort_unstable();
        let mut ranges = Self::default();
        numbers.into_iter().for_each(|number| ranges.push(number, number));
        ranges
    }

    /// Adds a range that does not begin in front of the last one.
    fn push(&mut self, first: u32, last: u32) {
        match self.0.last_mut() {
            Some(previous) if first <= previous.1.saturating_add(1) => previous.1 = previous.1.max(last),
            _ => self.0.push((first, last)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.0.iter().copied()
    }

    /// How many ranges there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The lowest and the highest number; none has a lowest above its highest.
    pub(super) fn bounds(&self) -> (u32, u32) {
        match (self.0.first(), self.0.last()) {
            (Some(first), Some(last)) => (first.0, last.1),
            _ => (u32::MAX, 0),
        }
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        if let [(first, last)] = self.0.as_slice() {
            return *first <= number && number <= *last;
        }
        let behind = self.0.partition_point(|(first, _)| *first <= number);
        behind > 0 && number <= self.0[behind - 1].1
    }

    pub(super) fn is_subset(&self, other: &Self) -> bool {
        self.0.iter().all(|(first, last)| {
            let behind = other.0.partition_point(|(start, _)| start <= first);
            behind > 0 && *last <= other.0[behind - 1].1
        })
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        if let ([one], [another]) = (self.0.as_slice(), other.0.as_slice()) {
            return one.0 <= another.1 && another.0 <= one.1;
        }
        let (few, many) = if self.0.len() < other.0.len() { (self, other) } else { (other, self) };
        few.0.iter().any(|(first, last)| {
            let candidate = many.0.partition_point(|(_, end)| end < first);
            many.0.get(candidate).is_some_and(|(start, _)| start <= last)
        })
    }

    /// What both have, range by range.
    pub(super) fn common<'r>(&'r self, other: &'r Self) -> impl Iterator<Item = (u32, u32)> + 'r {
        let (few, many) = if self.0.len() < other.0.len() { (self, other) } else { (other, self) };
        few.0.iter().flat_map(move |(first, last)| {
            let from = many.0.partition_point(|(_, end)| end < first);
            let touching = many.0[from..].iter().take_while(move |(start, _)| start <= last);
            touching.map(move |(start, end)| (*start.max(first), *end.min(last)))
        })
    }

    pub(super) fn intersect(&self, other: &Self) -> Self {
        Self(self.common(other).collect())
    }

    pub(super) fn subtract(&self, other: &Self) -> Self {
        let mut rest = Vec::with_capacity(self.0.len());
        for &(mut first, last) in &self.0 {
            let from = other.0.partition_point(|(_, end)| *end < first);
            let mut is_left = true;
            for (start, end) in other.0[from..].iter().take_while(|(start, _)| *start <= last) {
                if *start > first {
                    rest.push((first, start - 1));
                }
                if *end >= last {
                    is_left = false;
                    break;
                }
                first = end + 1;
            }
            if is_left {
                rest.push((first, last));
            }
        }
        Self(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn numbers() -> impl Strategy<Value = BTreeSet<u32>> {
        prop::collection::btree_set(0u32..24, 0..16)
    }

    fn ranges(numbers: &BTreeSet<u32>) -> Ranges {
        Ranges::of(numbers.iter().copied().collect())
    }

    proptest! {
        #[test]
        fn the_algebra_is_that_of_sets(a in numbers(), b in numbers()) {
            let (one, other) = (ranges(&a), ranges(&b));
            prop_assert_eq!(one.intersect(&other), ranges(&(&a & &b)));
            prop_assert_eq!(one.subtract(&other), ranges(&(&a - &b)));
            prop_assert_eq!(one.is_subset(&other), a.is_subset(&b));
            prop_assert_eq!(one.overlaps(&other), !a.is_disjoint(&b));
            prop_assert_eq!(one.is_empty(), a.is_empty());
            for number in 0..24 {
                prop_assert_eq!(one.contains(number), a.contains(&number));
            }
        }
    }

    #[test]
    fn the_highest_number_has_no_successor() {
        let all = Ranges::one(0, u32::MAX);
        assert_eq!(all.subtract(&Ranges::one(0, u32::MAX - 1)), Ranges::of(vec![u32::MAX]));
        assert!(Ranges::default().is_subset(&all) && !all.overlaps(&Ranges::default()));
        let (lowest, highest) = Ranges::default().bounds();
        assert!(lowest > highest);
    }
}
