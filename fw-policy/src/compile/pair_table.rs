//! Writes the hash of pairs of classes, as [`fw_common::policy::pair`] reads it.

use fw_common::abi::tables::{OVERFLOWED, PairBucket, PairKey, PairSlot};
use fw_common::policy::pair::buckets;

/// Pairs for each slot that there is: the fuller the table, the more pairs are in their second bucket.
const LOAD: f64 = 0.6;
/// How often pairs may be moved to make room for one, before the table is made larger.
const MOVES: usize = 200;

/// The hash, and where the pairs are in it.
#[derive(Debug, Default)]
pub(super) struct PairTable {
    pub(super) buckets: Vec<PairBucket>,
    /// By pair: four times the bucket, and the slot in it.
    places: Vec<u32>,
    /// Source and destination of each pair.
    keys: Vec<(u32, u32)>,
}

impl PairTable {
    /// Places all pairs; where they are is taken over from another table of the same ones.
    pub(super) fn following(before: Option<Self>, pairs: &[PairSlot]) -> Self {
        let key = |pair: &PairSlot| (pair.source, pair.destination);
        match before.filter(|before| before.keys.iter().copied().eq(pairs.iter().map(key))) {
            Some(mut table) => {
                for (place, pair) in table.places.iter().zip(pairs) {
                    let slot = &mut table.buckets[(place >> 2) as usize].slots[(place & 3) as usize];
                    (slot.list, slot.first_clause) = (pair.list, pair.first_clause);
                }
                table
            }
            None => {
                let (buckets, places) = build(pairs);
                Self { buckets, places, keys: pairs.iter().map(key).collect() }
            }
        }
    }
}

/// Buckets with all pairs, and where these are.
fn build(pairs: &[PairSlot]) -> (Vec<PairBucket>, Vec<u32>) {
    let mut size = ((pairs.len() as f64 / LOAD / 4.0).ceil() as usize).max(1);
    loop {
        if let Some(table) = with_size(pairs, size) {
            return table;
        }
        size += size / 8 + 1;
    }
}
fn with_size(pairs: &[PairSlot], size: usize) -> Option<(Vec<PairBucket>, Vec<u32>)> {
    let count = u32::try_from(size).ok()?;
    let mut table = vec![PairBucket::default(); size];
    let mut owners = vec![[0; 4]; size];
    let places = |pair: &PairSlot| {
        let key = PairKey { source: pair.source & !OVERFLOWED, destination: pair.destination };
        buckets(key, count).map(|bucket| bucket as usize)
    };
    for (owner, pair) in (0u32..).zip(pairs) {
        let (mut owner, mut pair) = (owner, *pair);
        let mut at = 0;
        let placed = (0..MOVES).any(|turn| {
            let [first, second] = places(&pair);
            // The first bucket if it has room, else the second one; else the bucket that the pair was not thrown out of.
            let there = [first, second].into_iter().find_map(|bucket| Some((bucket, put(&mut table[bucket], pair)?)));
            if let Some((bucket, slot)) = there {
                owners[bucket][slot] = owner;
                mark(&mut table[first], bucket != first);
                return true;
            }
            at = if turn > 0 && at == first { second } else { first };
            mark(&mut table[first], at != first);
            // Turn and turn about, so that no two pairs throw each other out for ever.
            let slot = &mut table[at].slots[turn % 4];
            let overflowed = slot.source & OVERFLOWED;
            let out = PairSlot { source: slot.source & !OVERFLOWED, ..*slot };
            *slot = PairSlot { source: pair.source | overflowed, ..pair };
            std::mem::swap(&mut owners[at][turn % 4], &mut owner);
            pair = out;
            false
        });
        if !placed {
            return None;
        }
    }
    let mut places = vec![0; pairs.len()];
    for (bucket, (slots, owners)) in (0u32..).zip(table.iter().zip(owners)) {
        for ((place, slot), owner) in (bucket * 4..).zip(slots.slots).zip(owners) {
            if slot.destination != 0 {
                places[owner as usize] = place;
            }
        }
    }
    Some((table, places))
}

/// Puts a pair into a free slot; in which, if there was one.
fn put(bucket: &mut PairBucket, pair: PairSlot) -> Option<usize> {
    let free = bucket.slots.iter().position(|slot| slot.destination == 0)?;
    let slot = &mut bucket.slots[free];
    *slot = PairSlot { source: pair.source | slot.source & OVERFLOWED, ..pair };
    Some(free)
}

/// Notes that a pair of this bucket is in its second one.
const fn mark(bucket: &mut PairBucket, overflowed: bool) {
    if overflowed {
        bucket.slots[0].source |= OVERFLOWED;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_is_in_a_bucket_that_is_looked_at() {
        let mut pairs: Vec<PairSlot> = (1..=20_000)
            .map(|n: u32| PairSlot { source: n % 300 + 1, destination: n, list: n, first_clause: 0 })
            .collect();
        let first = PairTable::following(None, &pairs);
        for pair in &mut pairs {
            (pair.list, pair.first_clause) = (pair.list + 7, 1);
        }
        let followed = PairTable::following(Some(first), &pairs);
        let table = PairTable::following(None, &pairs).buckets;
        assert_eq!(followed.buckets, table);
        let fewer = PairTable::following(Some(followed), &pairs[1..]);
        assert_eq!(fewer.buckets, PairTable::following(None, &pairs[1..]).buckets);
        let count = u32::try_from(table.len()).unwrap();
        for pair in &pairs {
            let [first, second] = buckets(PairKey { source: pair.source, destination: pair.destination }, count);
            let holds = |bucket: u32| {
                let holds =
                    |slot: &&PairSlot| slot.destination == pair.destination && slot.source & !OVERFLOWED == pair.source;
                table[bucket as usize].slots.iter().find(holds).map(|slot| slot.list)
            };
            let found = holds(first).or_else(|| {
                assert!(table[first as usize].slots[0].source & OVERFLOWED != 0);
                holds(second)
            });
            assert_eq!(found, Some(pair.list));
        }
    }
}
