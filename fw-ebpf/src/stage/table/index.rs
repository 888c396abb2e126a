//! The index: a byte for each slot, its tag, which is a part of the hash of the key in it; 0: the slot is free.
//!
//! Slots come in buckets of sixteen. A flow lies in one of the two buckets of its key, at home if it can: in the slot of the first
//! bucket that its tag names. A tag is put in by compare-and-swap and is a hint: the key in the slot is compared.

use core::ptr::NonNull;

use fw_common::abi::flow::{DYING, LANES, Tags};
use fw_common::flow_index::{NEARLY_FULL, Place, free_lanes, lanes_of, lowest_lane, tag_at};

use super::family::Family;
use crate::atomic;
use crate::packet::opaque;

/// Words of a bucket's tags.
const WORDS: usize = size_of::<Tags>() / 8;
/// Tags in a word.
const PER_WORD: u32 = 8;
/// How often a processor tries to put in a tag while others change the same word.
const ATTEMPTS: u32 = 2;
/// No slot.
pub(super) const NONE: u32 = u32::MAX;

/// Finds the slot that holds a key, and writes the word `last_seen` of its flow, as it was before the key was compared;
/// [`NONE`] if there is none. The word is [`DYING`] then if another processor is changing a flow of this key.
#[inline(always)]
pub(super) fn find<F: Family>(key: &F::Key, place: &Place, last_seen: &mut u32) -> u32 {
    // Without a look at the tags, which would be another wait for memory. A slot that is free does not look alive: the word is
    // DYING since its last flow was claimed to be removed, which nobody takes back once the tag is out, or 0 if it has never been used.
    let home = place.first * LANES + place.home_lane();
    if is_here::<F>(home, key, last_seen) {
        return home;
    }
    *last_seen = 0;
    match find_in::<F>(key, place.first, place.tag, last_seen) {
        NONE => find_in::<F>(key, place.second, place.tag, last_seen),
        slot => slot,
    }
}

/// Whether a slot has the flow of a key, alive or over. Writes its `last_seen` if so, and [`DYING`] if it is being changed.
#[inline(always)]
fn is_here<F: Family>(number: u32, key: &F::Key, last_seen: &mut u32) -> bool {
    let Some(slot) = F::slot(number) else { return false };
    let flow = F::flow(slot).as_ptr();
    // Before the key: a slot that is given to another flow meanwhile was over when this was read, or it is told apart
    // by the key.
    // SAFETY: an aligned word of a live map value.
    let seen = unsafe { (&raw const (*flow).last_seen).read_volatile() };
    // The line with the counters, too: it comes while the key is compared.
    // SAFETY: as above.
    let _prefetched = unsafe { (&raw const (*flow).directions[0].checked).read_volatile() };
    if seen == 0 || !holds::<F>(slot, key) {
        return false;
    }
    *last_seen = seen;
    seen != DYING
}

/// Finds the slot of a key in a bucket.
#[inline(always)]
fn find_in<F: Family>(key: &F::Key, bucket: u32, tag: u32, last_seen: &mut u32) -> u32 {
    let Some(tags) = F::tags(bucket) else { return NONE };
    for word in 0..WORDS {
        let mut lanes = lanes_of(read(tags, word), tag);
        for _ in 0..PER_WORD {
            if lanes == 0 {
                break;
            }
            let number = bucket * LANES + word as u32 * PER_WORD + lowest_lane(lanes);
            lanes &= lanes - 1;
            if is_here::<F>(number, key, last_seen) {
                return number;
            }
        }
    }
    NONE
}

/// Whether the slot holds the key.
#[inline(always)]
fn holds<F: Family>(slot: NonNull<F::Slot>, key: &F::Key) -> bool {
    let (held, key) = (F::key_in(slot).cast::<u64>(), (&raw const *key).cast::<u64>());
    let mut different = 0;
    for word in 0..size_of::<F::Key>() / 8 {
        // SAFETY: both are keys, which are aligned to words and have no padding of the compiler's.
        different |= unsafe { held.add(word).read_volatile() ^ key.add(word).read_volatile() };
        // VERIFIER: the compiler would make a branch of each word, and with as many lanes the verifier has too many to follow.
        // Test: `prog_run::the_programs_load`.
        different = opaque(different as usize) as u64;
    }
    different == 0
}

/// Takes a free slot in one of the buckets of a key, by its tag; [`NONE`] if both are full.
#[inline(always)]
pub(super) fn reserve<F: Family>(place: &Place) -> u32 {
    let (Some(first), Some(second)) = (F::tags(place.first), F::tags(place.second)) else { return NONE };
    let (in_first, in_second) = (free(first), free(second));
    let lane = place.home_lane();
    if in_first >= NEARLY_FULL && reserve_lane(first, lane, place.tag) {
        return place.first * LANES + lane;
    }
    let (one, other) = if in_first >= NEARLY_FULL || in_first >= in_second {
        ((first, place.first), (second, place.second))
    } else {
        ((second, place.second), (first, place.first))
    };
    match reserve_in(one, place.tag) {
        NONE => reserve_in(other, place.tag),
        slot => slot,
    }
}

/// Number of free slots.
#[inline(always)]
fn free(tags: *mut Tags) -> u32 {
    let mut free = 0;
    for word in 0..WORDS {
        free += free_lanes(read(tags, word));
    }
    free
}

/// Takes a slot in a bucket if it is free.
#[inline(always)]
fn reserve_lane(tags: *mut Tags, lane: u32, tag: u32) -> bool {
    let (word, lane) = ((lane / PER_WORD) as usize & (WORDS - 1), lane % PER_WORD);
    let old = read(tags, word);
    // SAFETY: an aligned word of a live map value.
    old & tag_at(0xff, lane) == 0
        && unsafe { atomic::compare_and_swap_u64(at(tags, word), old, old | tag_at(tag, lane)) }
}

/// Takes a free slot in a bucket.
#[inline(always)]
fn reserve_in((tags, bucket): (*mut Tags, u32), tag: u32) -> u32 {
    for word in 0..WORDS {
        for _ in 0..ATTEMPTS {
            let old = read(tags, word);
            let free = lanes_of(old, 0);
            if free == 0 {
                break;
            }
            let lane = lowest_lane(free);
            // SAFETY: an aligned word of a live map value.
            if unsafe { atomic::compare_and_swap_u64(at(tags, word), old, old | tag_at(tag, lane)) } {
                return bucket * LANES + word as u32 * PER_WORD + lane;
            }
        }
    }
    NONE
}

/// Makes a slot free.
#[inline(always)]
pub(super) fn release<F: Family>(slot: u32) {
    let Some(tags) = F::tags(slot / LANES) else { return };
    let lane = slot % LANES;
    let word = (lane / PER_WORD) as usize & (WORDS - 1);
    let tag = read(tags, word) & tag_at(0xff, lane % PER_WORD);
    // SAFETY: an aligned word of a live map value; nobody else changes this slot's tag, so that it is taken out as it was read.
    unsafe { atomic::xor(at(tags, word), tag) };
}

/// Whether a slot is in use.
#[inline(always)]
pub(super) fn is_used<F: Family>(slot: u32) -> bool {
    let Some(tags) = F::tags(slot / LANES) else { return false };
    let lane = slot % LANES;
    read(tags, (lane / PER_WORD) as usize & (WORDS - 1)) & tag_at(0xff, lane % PER_WORD) != 0
}

#[inline(always)]
fn read(tags: *mut Tags, word: usize) -> u64 {
    // SAFETY: an aligned word of a live map value.
    unsafe { at(tags, word).read_volatile() }
}

#[inline(always)]
fn at(tags: *mut Tags, word: usize) -> *mut u64 {
    // SAFETY: every caller's word is below `WORDS`.
    unsafe { (&raw mut (*tags).words).cast::<u64>().add(word) }
}
