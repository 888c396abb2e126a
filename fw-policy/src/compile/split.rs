//! Cuts a long list into shorter ones along one dimension.

use std::collections::BTreeSet;

use fw_common::abi::policy::zone;
use fw_common::abi::tables::{MAX_SERVICE, dimension};
use fw_common::policy::list::zones;

use super::lists::{Candidate, SHORT};

/// A way to cut a list.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) dimension: u32,
    /// The first value of each interval; the first one is 0.
    pub(super) keys: Vec<u32>,
    /// For each interval the entries that match in it, as positions in the list.
    pub(super) lists: Vec<Vec<u32>>,
}

impl Cut {
    /// The longest list, and then the number of lists.
    pub(super) fn cost(&self) -> (usize, usize) {
        (self.longest().max(SHORT), self.lists.len())
    }

    fn longest(&self) -> usize {
        self.lists.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Whether the lists are shorter than the list of `len` that was cut.
    pub(super) fn is_worth_it(&self, len: usize) -> bool {
        let total: usize = self.lists.iter().map(Vec::len).sum();
        total < len * self.lists.len() * 3 / 4
    }
}

/// All cuts along dimensions that are not decided yet.
pub(super) fn cuts(list: &[Candidate], decided: u32) -> Vec<Cut> {
    let open = |dimension: &u32| decided & 1 << dimension == 0;
    let all = [dimension::SERVICE, dimension::SOURCE_PORT, dimension::ZONES].into_iter().filter(open);
    all.map(|dimension| match dimension {
        dimension::ZONES => by_zones(list, decided),
        dimension => by_range(list, dimension, decided),
    })
    .filter(|cut| cut.lists.len() > 1)
    .collect()
}

/// What the entries that are left in an interval must still be told apart by, and when a list ends: behind an entry that
/// matches whatever comes to it.
struct End {
    decided: u32,
    everything: Candidate,
}

impl End {
    fn new(list: &[Candidate], decided: u32) -> Self {
        // The span of all entries in each dimension: an entry that covers it covers all of them.
        let mut everything = list[0];
        for candidate in list {
            let (all, one) = (&mut everything.services, candidate.services);
            all.first = all.first.min(one.first);
            all.last = all.last.max(one.last);
            all.src_port = (all.src_port.0.min(one.src_port.0), all.src_port.1.max(one.src_port.1));
            everything.from_zones |= candidate.from_zones;
            everything.to_zones |= candidate.to_zones;
        }
        Self { decided, everything }
    }

    /// The entries up to the one behind which none can match.
    fn cut(&self, list: &[Candidate], members: impl Iterator<Item = u32>) -> Vec<u32> {
        let mut kept = Vec::new();
        for member in members {
            kept.push(member);
            if list[member as usize].covers(&self.everything, self.decided) {
                break;
            }
        }
        kept
    }
}

fn by_range(list: &[Candidate], along: u32, decided: u32) -> Cut {
    let range = |candidate: &Candidate| match along {
        dimension::SERVICE => (candidate.services.first, candidate.services.last),
        _ => (u32::from(candidate.services.src_port.0), u32::from(candidate.services.src_port.1)),
    };
    let end = End::new(list, decided | 1 << along);
    let mut starts: Vec<(u32, u32)> = Vec::with_capacity(list.len());
    let mut ends: Vec<(u32, u32)> = Vec::with_capacity(list.len());
    for (candidate, position) in list.iter().zip(0..) {
        let (first, last) = range(candidate);
        starts.push((first, position));
        ends.push((last + 1, position));
    }
    starts.sort_unstable();
    ends.sort_unstable();
    let mut keys: Vec<u32> = std::iter::once(0).chain(starts.iter().chain(&ends).map(|(key, _)| *key)).collect();
    keys.sort_unstable();
    keys.dedup();
    let highest = if along == dimension::SERVICE { MAX_SERVICE } else { u32::from(u16::MAX) };
    keys.retain(|key| *key <= highest);
    let mut cut = Cut { dimension: along, keys: Vec::with_capacity(keys.len()), lists: Vec::with_capacity(keys.len()) };
    let mut here: BTreeSet<u32> = BTreeSet::new();
    let (mut starts, mut ends) = (starts.into_iter().peekable(), ends.into_iter().peekable());
    for key in keys {
        while let Some((_, position)) = ends.next_if(|(at, _)| *at <= key) {
            here.remove(&position);
        }
        while let Some((_, position)) = starts.next_if(|(at, _)| *at <= key) {
            here.insert(position);
        }
        cut.push(key, end.cut(list, here.iter().copied()));
    }
    cut
}

fn by_zones(list: &[Candidate], decided: u32) -> Cut {
    let end = End::new(list, decided | 1 << dimension::ZONES);
    let mut cut = Cut { dimension: dimension::ZONES, keys: Vec::new(), lists: Vec::new() };
    let first = (list[0].from_zones, list[0].to_zones);
    if list.iter().all(|candidate| (candidate.from_zones, candidate.to_zones) == first) {
        return cut;
    }
    // The zones that some entry tells from the ones before them. Most zones do not exist, or no entry tells them apart.
    let told_apart = |zones: fn(&Candidate) -> u64| {
        list.iter().map(zones).fold(1, |told_apart, zones| told_apart | (zones ^ zones << 1))
    };
    let from_told_apart = told_apart(|candidate| candidate.from_zones);
    let to_told_apart = told_apart(|candidate| candidate.to_zones);
    // Whether the last source zone had one list for all destinations.
    let mut one_list = false;
    for from in 0..zone::COUNT as u8 {
        if one_list && from_told_apart & zone::bit(from) == 0 {
            continue;
        }
        let from_here: Vec<u32> =
            (0..).zip(list).filter(|(_, one)| one.from_zones & zone::bit(from) != 0).map(|(at, _)| at).collect();
        one_list = from_here.is_empty() || to_told_apart == 1;
        for to in (0..zone::COUNT as u8).filter(|to| to_told_apart & zone::bit(*to) != 0) {
            let here = from_here.iter().copied().filter(|at| list[*at as usize].to_zones & zone::bit(to) != 0);
            cut.push(zones(from, to), end.cut(list, here));
        }
    }
    cut
}

impl Cut {
    /// Adds an interval, or goes on with the last one if nothing changes.
    fn push(&mut self, key: u32, members: Vec<u32>) {
        if self.lists.last() != Some(&members) {
            self.keys.push(key);
            self.lists.push(members);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::compile::operands::Services;

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        let bits = || prop_oneof![1 => Just(u64::MAX), 1 => Just(0), 3 => any::<u64>(), 3 => (0u64..16).prop_map(|bits| bits << 60)];
        let services = Services { first: 0, last: MAX_SERVICE, src_port: (0, u16::MAX) };
        let one = (bits(), bits());
        prop::collection::vec(one, 1..6).prop_map(move |zones| {
            let one = |(clause, (from_zones, to_zones))| Candidate {
                services,
                clause,
                from_zones,
                to_zones,
                observes: false,
            };
            (0..).zip(zones).map(one).collect()
        })
    }

    proptest! {
        #[test]
        fn zones_are_cut_where_entries_tell_them_apart(list in candidates()) {
            let cut = by_zones(&list, 0);
            if cut.lists.is_empty() {
                let first = (list[0].from_zones, list[0].to_zones);
                prop_assert!(list.iter().all(|candidate| (candidate.from_zones, candidate.to_zones) == first));
                return Ok(());
            }
            let end = End::new(&list, 1 << dimension::ZONES);
            for from in 0..zone::COUNT as u8 {
                for to in 0..zone::COUNT as u8 {
                    let matches = |at: &u32| {
                        let candidate = &list[*at as usize];
                        candidate.from_zones & zone::bit(from) != 0 && candidate.to_zones & zone::bit(to) != 0
                    };
                    let interval = cut.keys.partition_point(|key| *key <= zones(from, to)) - 1;
                    let expected = end.cut(&list, (0..).take(list.len()).filter(matches));
                    prop_assert_eq!(&cut.lists[interval], &expected, "{} to {}", from, to);
                }
            }
            prop_assert!(cut.lists.windows(2).all(|lists| lists[0] != lists[1]), "no interval goes on with the one before");
        }
    }
}
