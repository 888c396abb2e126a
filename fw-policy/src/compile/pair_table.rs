//! Writes the hash of pairs of classes, as [`fw_common::policy::pair`] reads it.

use fw_common::abi::tables::{OVERFLOWED, PairBucket, PairKey, PairSlot};
use fw_common::policy::pair::buckets;

/// Pairs for each slot that there is: the fuller the table, the more pairs are in their second bucket.
const LOAD: f64 = 0.6;
/// How often pairs may be moved to make room for one, before the table is made larger.
const MOVES: usize = 200;

/// Places all pairs.
pub(super) fn build(pairs: &[PairSlot]) -> Vec<PairBucket> {
    let mut size = ((pairs.len() as f64 / LOAD / 4.0).ceil() as usize).max(1);
    loop {
        if let Some(table) = with_size(pairs, size) {
            return table;
        }
        size += size / 8 + 1;
    }
}

fn with_size(pairs: &[PairSlot], size: usize) -> Option<Vec<PairBucket>> {
    let count = u32::try_from(size).ok()?;
    let mut table = vec![PairBucket::default(); size];
    let places = |pair: &PairSlot| {
        let key = PairKey { source: pair.source & !OVERFLOWED, destination: pair.destination };
        buckets(key, count).map(|bucket| bucket as usize)
    };
    for pair in pairs {
        let mut pair = *pair;
        let mut at = 0;
        let placed = (0..MOVES).any(|turn| {
            let [first, second] = places(&pair);
            // The first bucket if it has room, else the second one; else the bucket that the pair was not thrown out of.
            let there = [first, second].into_iter().find(|bucket| put(&mut table[*bucket], pair));
            if let Some(bucket) = there {
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
            pair = out;
            false
        });
        if !placed {
            return None;
        }
    }
    Some(table)
}

/// Puts a pair into a free slot; whether there was one.
fn put(bucket: &mut PairBucket, pair: PairSlot) -> bool {
    let Some(slot) = bucket.slots.iter_mut().find(|slot| slot.destination == 0) else { return false };
    *slot = PairSlot { source: pair.source | slot.source & OVERFLOWED, ..pair };
    true
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
        let pairs: Vec<PairSlot> = (1..=20_000)
            .map(|n: u32| PairSlot { source: n % 300 + 1, destination: n, list: n, first_clause: 0 })
            .collect();
        let table = build(&pairs);
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
