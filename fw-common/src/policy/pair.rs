//! Where the list of a pair of classes is: a hash in which each key has two buckets, and is in the second one only if the
//! first one says so.

use super::PolicyTables;
use crate::abi::tables::{OVERFLOWED, PairBucket, PairKey, PairSlot};

/// The two buckets of a pair, among `buckets`.
#[inline(always)]
#[must_use]
pub const fn buckets(key: PairKey, buckets: u32) -> [u32; 2] {
    // The finalizer of MurmurHash3 spreads any difference over all bits.
    let mut hash = (key.source as u64) << 32 | key.destination as u64;
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    let buckets = buckets as u64;
    [(((hash >> 32) * buckets) >> 32) as u32, (((hash & 0xffff_ffff) * buckets) >> 32) as u32]
}

/// Looks a pair up among so many buckets.
#[inline(always)]
pub fn find<T: PolicyTables>(tables: &T, count: u32, key: PairKey) -> Option<&PairSlot> {
    let [first, second] = buckets(key, count);
    let bucket = tables.line::<PairBucket>(first)?;
    match in_bucket(bucket, key) {
        None if bucket.slots[0].source & OVERFLOWED != 0 => in_bucket(tables.line::<PairBucket>(second)?, key),
        found => found,
    }
}

#[inline(always)]
fn in_bucket(bucket: &PairBucket, key: PairKey) -> Option<&PairSlot> {
    bucket.slots.iter().find(|slot| slot.destination == key.destination && slot.source & !OVERFLOWED == key.source)
}
