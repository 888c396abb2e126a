//! Sets of addresses as sorted, disjoint, inclusive intervals, and their cover by prefixes.

/// An address family, and the space of its addresses as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// Length of an address in bits.
    pub(crate) const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The highest address.
    pub(crate) const fn last(self) -> u128 {
        match self {
            Self::V4 => u32::MAX as u128,
            Self::V6 => u128::MAX,
        }
    }

    /// The bits behind a prefix of `len` bits.
    pub(crate) const fn host_mask(self, len: u8) -> u128 {
        match self.last().checked_shr(len as u32) {
            Some(mask) => mask,
            None => 0,
        }
    }
}

/// A prefix as a number; the bits behind it are zero. The order is the one in which a trie is walked: a prefix stands
/// directly before everything that it contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Cidr {
    pub(crate) first: u128,
    pub(crate) len: u8,
}

impl Cidr {
    pub(crate) const fn last(self, family: Family) -> u128 {
        self.first | family.host_mask(self.len)
    }

    /// Whether every address of `other` is in `self`.
    pub(crate) const fn contains(self, other: Self, family: Family) -> bool {
        self.first <= other.first && other.last(family) <= self.last(family)
    }
}

/// A set of addresses of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IntervalSet {
    /// Ascending, disjoint and not adjacent.
    ranges: Vec<(u128, u128)>,
}

impl IntervalSet {
    pub(crate) fn everything(family: Family) -> Self {
        Self { ranges: vec![(0, family.last())] }
    }

    /// The union of any intervals, in any order.
    pub(crate) fn from_ranges(mut ranges: Vec<(u128, u128)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(previous) if first <= previous.1.saturating_add(1) => previous.1 = previous.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self { ranges: merged }
    }

    pub(crate) fn ranges(&self) -> &[(u128, u128)] {
        &self.ranges
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(crate) fn contains(&self, addr: u128) -> bool {
        let behind = self.ranges.partition_point(|(first, _)| *first <= addr);
        behind > 0 && addr <= self.ranges[behind - 1].1
    }

    /// Whether they have an address in common.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let (few, many) = if self.ranges.len() < other.ranges.len() { (self, other) } else { (other, self) };
        few.ranges.iter().any(|(first, last)| {
            let candidate = many.ranges.partition_point(|(_, end)| end < first);
            many.ranges.get(candidate).is_some_and(|(start, _)| start <= last)
        })
    }

    /// Everything in `self` that is not in `other`.
    pub(crate) fn subtract(&self, other: &Self) -> Self {
        let mut ranges = Vec::with_capacity(self.ranges.len());
        let mut cuts = other.ranges.iter().peekable();
        for &(mut first, last) in &self.ranges {
            let mut rest = true;
            while let Some(&&(cut_first, cut_last)) = cuts.peek() {
                if cut_last < first {
                    cuts.next();
                    continue;
                }
                if cut_first > last {
                    break;
                }
                if cut_first > first {
                    ranges.push((first, cut_first - 1));
                }
                if cut_last >= last {
                    rest = false;
                    break;
                }
                first = cut_last + 1;
                cuts.next();
            }
            if rest {
                ranges.push((first, last));
            }
        }
        Self { ranges }
    }

    /// The fewest prefixes that hold exactly this set, ascending.
    pub(crate) fn cover(&self, family: Family) -> Vec<Cidr> {
        let mut cover = Vec::with_capacity(self.ranges.len());
        for &(mut first, last) in &self.ranges {
            loop {
                let cidr = largest_prefix_at(first, last, family);
                let end = cidr.last(family);
                cover.push(cidr);
                if end >= last {
                    break;
                }
                first = end + 1;
            }
        }
        cover
    }
}

/// The largest prefix that starts at `first` and does not go beyond `last`.
fn largest_prefix_at(first: u128, last: u128, family: Family) -> Cidr {
    let aligned = first.trailing_zeros().min(u32::from(family.bits()));
    let fitting = match (last - first).checked_add(1) {
        Some(size) => size.ilog2(),
        None => u32::from(family.bits()),
    };
    let host_bits = u8::try_from(aligned.min(fitting)).unwrap_or(0);
    Cidr { first, len: family.bits() - host_bits }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn enumerate(set: &IntervalSet) -> BTreeSet<u128> {
        set.ranges().iter().flat_map(|(first, last)| *first..=*last).collect()
    }

    fn small_ranges() -> impl Strategy<Value = Vec<(u128, u128)>> {
        prop::collection::vec((0u128..64, 0u128..12).prop_map(|(first, size)| (first, first + size)), 0..8)
    }

    fn points(ranges: &[(u128, u128)]) -> BTreeSet<u128> {
        ranges.iter().flat_map(|(first, last)| *first..=*last).collect()
    }

    proptest! {
        #[test]
        fn union_difference_and_membership_agree_with_enumeration(a in small_ranges(), b in small_ranges()) {
            let (set_a, set_b) = (IntervalSet::from_ranges(a.clone()), IntervalSet::from_ranges(b.clone()));
            prop_assert_eq!(enumerate(&set_a), points(&a));
            let difference = set_a.subtract(&set_b);
            prop_assert_eq!(enumerate(&difference), &points(&a) - &points(&b));
            for window in difference.ranges().windows(2) {
                prop_assert!(window[0].1 + 1 < window[1].0, "canonical: {:?}", difference);
            }
            for point in 0..80 {
                prop_assert_eq!(set_a.contains(point), points(&a).contains(&point));
            }
        }

        #[test]
        fn a_cover_is_exact_and_disjoint(ranges in small_ranges()) {
            let set = IntervalSet::from_ranges(ranges);
            let cover = set.cover(Family::V4);
            let ranges = cover.iter().map(|cidr| (cidr.first, cidr.last(Family::V4))).collect::<Vec<_>>();
            for (cidr, window) in cover.iter().zip(ranges.windows(2)) {
                prop_assert!(window[0].1 < window[1].0, "{:?}", cidr);
            }
            prop_assert_eq!(IntervalSet::from_ranges(ranges), set);
        }
    }

    #[test]
    fn the_whole_space_is_one_prefix_of_length_zero() {
        for family in Family::ALL {
            let everything = IntervalSet::everything(family);
            assert_eq!(everything.cover(family), [Cidr { first: 0, len: 0 }]);
            assert!(everything.subtract(&everything).is_empty());
        }
    }

    #[test]
    fn everything_but_the_last_address_needs_one_prefix_for_each_bit() {
        for family in Family::ALL {
            let last = IntervalSet::from_ranges(vec![(family.last(), family.last())]);
            let rest = IntervalSet::everything(family).subtract(&last);
            assert_eq!(rest.cover(family).len(), usize::from(family.bits()));
            assert!(!rest.contains(family.last()) && rest.contains(family.last() - 1));
        }
    }
}
