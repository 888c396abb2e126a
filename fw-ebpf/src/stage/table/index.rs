//! The index: buckets of entries that name slots.
//!
//! An entry is put in and taken out by compare-and-swap; a reader takes it as a hint and compares the key in the slot.

use core::ptr::NonNull;

use fw_common::abi::flow::{BUCKET, Bucket};
use fw_common::flow_index::{NEARLY_FULL, Place, entry, slot_of, tag_of};

use super::family::Family;
use crate::atomic;

/// Finds the slot that holds a key, and writes the word `last_seen` of its flow, as it was before the key was compared; 0 if
/// there is none.
#[inline(always)]
pub(super) fn find<F: Family>(key: &F::Key, place: &Place, last_seen: &mut u32) -> u32 {
    match find_in::<F>(key, place.first, place.tag, last_seen) {
        0 => find_in::<F>(key, place.second, place.tag, last_seen),
        slot => slot,
    }
}

/// Finds the slot of a key in a bucket.
#[inline(always)]
fn find_in<F: Family>(key: &F::Key, bucket: u32, tag: u32, last_seen: &mut u32) -> u32 {
    let Some(bucket) = F::bucket(bucket) else { return 0 };
    for lane in 0..BUCKET {
        let entry = read(bucket, lane);
        // A free entry looks like one with tag 0 and slot 0, which holds no key.
        if tag_of(entry) != tag {
            continue;
        }
        let Some(slot) = F::slot(slot_of(entry)) else { continue };
        // Before the key: a slot that is given to another flow meanwhile was over when this was read, or it is told apart
        // by the key.
        // SAFETY: an aligned word of a live map value.
        *last_seen = unsafe { (&raw const (*F::flow(slot).as_ptr()).last_seen).read_volatile() };
        // The line with the counters, too: it comes while the key is compared.
        // SAFETY: as above.
        let _prefetched = unsafe { (&raw const (*F::flow(slot).as_ptr()).directions[0].checked).read_volatile() };
        if holds::<F>(slot, key) {
            return slot_of(entry);
        }
    }
    0
}

/// Whether the slot holds the key.
#[inline(always)]
fn holds<F: Family>(slot: NonNull<F::Slot>, key: &F::Key) -> bool {
    let (held, key) = (F::key_in(slot).cast::<u64>(), (&raw const *key).cast::<u64>());
    let mut different = 0;
    for word in 0..size_of::<F::Key>() / 8 {
        // SAFETY: both are keys, which are aligned to words and have no padding of the compiler's.
        different |= unsafe { held.add(word).read_volatile() ^ key.add(word).read_volatile() };
    }
    different == 0
}

/// Puts an entry into one of its buckets; whether there was room.
#[inline(always)]
pub(super) fn publish<F: Family>(place: &Place, slot: u32) -> bool {
    let (Some(first), Some(second)) = (F::bucket(place.first), F::bucket(place.second)) else { return false };
    let (in_first, in_second) = (free(first), free(second));
    let entry = entry(place.tag, slot);
    if in_first >= NEARLY_FULL || in_first >= in_second {
        put(first, entry) || put(second, entry)
    } else {
        put(second, entry) || put(first, entry)
    }
}

/// Number of free entries.
#[inline(always)]
fn free(bucket: *mut Bucket) -> u32 {
    let mut free = 0u64;
    for lane in 0..BUCKET {
        // One less than nothing has the highest bit.
        free += opaque(u64::from(read(bucket, lane)).wrapping_sub(1)) >> 63;
    }
    free as u32
}

/// VERIFIER: without this the compiler makes a comparison of each entry, and the verifier follows every combination of their
/// outcomes. Test: `prog_run::the_programs_load`.
#[inline(always)]
fn opaque(mut value: u64) -> u64 {
    // SAFETY: copies a register to itself.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack, preserves_flags)) };
    value
}

/// Puts an entry where there is room.
#[inline(always)]
fn put(bucket: *mut Bucket, entry: u32) -> bool {
    for lane in 0..BUCKET {
        // SAFETY: an aligned word of a live map value.
        if read(bucket, lane) == 0 && unsafe { atomic::compare_and_swap(at(bucket, lane), 0, entry) } {
            return true;
        }
    }
    false
}

/// Takes the entry of a slot out.
#[inline(always)]
pub(super) fn unlink<F: Family>(place: &Place, slot: u32) {
    let entry = entry(place.tag, slot);
    for bucket in [place.first, place.second] {
        let Some(bucket) = F::bucket(bucket) else { continue };
        for lane in 0..BUCKET {
            // SAFETY: an aligned word of a live map value. Nobody else takes this slot's entry out.
            if read(bucket, lane) == entry && unsafe { atomic::compare_and_swap(at(bucket, lane), entry, 0) } {
                return;
            }
        }
    }
}

#[inline(always)]
fn read(bucket: *mut Bucket, lane: usize) -> u32 {
    // SAFETY: an aligned word of a live map value.
    unsafe { at(bucket, lane).read_volatile() }
}

#[inline(always)]
fn at(bucket: *mut Bucket, lane: usize) -> *mut u32 {
    // SAFETY: every caller's lane is below `BUCKET`.
    unsafe { (&raw mut (*bucket).entries).cast::<u32>().add(lane) }
}
