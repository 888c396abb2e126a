//! Next hops that were looked up, shared by the flows that use them.
//!
//! A flow holds a reference of 16 bits: an index, and the low bits of the generation in which the hop was looked up. An
//! entry is written once in a generation, and taken over by another hop in a later one, never by one that is a moment behind; so the table needs no clearing,
//! and an old reference finds either its hop or nothing.

use fw_common::abi::flow::{Egress, NEXT_HOP_BUSY, NEXT_HOPS, NextHop};
use fw_common::generation;

use crate::atomic;
use crate::job::Job;
use crate::maps;

/// Entries that are tried for a hop. If all are taken, the hop is looked up for each packet.
const PROBES: u32 = 4;
/// Bits of the index in a reference.
const INDEX_BITS: u32 = NEXT_HOPS.trailing_zeros();
const INDEX_MASK: u32 = NEXT_HOPS - 1;
/// Words of an egress.
const WORDS: usize = size_of::<Egress>() / 4;

/// Puts the hop of a reference into the job; whether it is still good.
#[inline(always)]
pub(crate) fn recall(job: &mut Job, reference: u16) -> bool {
    let reference = u32::from(reference);
    if reference == 0 || reference >> INDEX_BITS != job.fib_generation & 0xf {
        return false;
    }
    let Some(entry) = maps::NEXT_HOPS.get_ptr(reference & INDEX_MASK) else { return false };
    // SAFETY: a live map value and this processor's scratch space. The hop is good if the generation was that of the packet
    // before and after it was copied.
    unsafe {
        if (&raw const (*entry).generation).read_volatile() != job.fib_generation {
            return false;
        }
        copy(&raw const (*entry).egress, &raw mut job.egress);
        (&raw const (*entry).generation).read_volatile() == job.fib_generation
    }
}

/// A reference to the hop in the job; 0 if there is no room.
#[inline(never)]
pub(crate) fn remember(job: &Job) -> u16 {
    let hash = hash(&job.egress);
    for probe in 0..PROBES {
        let index = (hash + probe) & INDEX_MASK;
        if index == 0 {
            continue;
        }
        let Some(entry) = maps::NEXT_HOPS.get_ptr_mut(index) else { continue };
        if holds(entry, job) {
            return (index | (job.fib_generation & 0xf) << INDEX_BITS) as u16;
        }
    }
    0
}

/// Whether the entry holds the hop in the job, after it was taken over if it is of an older generation. One of a newer generation stays:
/// this packet is a moment behind, and what others remember of that entry must remain true.
#[inline(always)]
fn holds(entry: *mut NextHop, job: &Job) -> bool {
    // SAFETY: a live map value. Of several processors that find an old entry one gets it, and the others wait for nothing.
    unsafe {
        let generation = (&raw const (*entry).generation).read_volatile();
        if generation == job.fib_generation {
            return equal(&raw const (*entry).egress, &job.egress);
        }
        if generation == NEXT_HOP_BUSY
            || !generation::is_older(generation, job.fib_generation)
            || !atomic::compare_and_swap(&raw mut (*entry).generation, generation, NEXT_HOP_BUSY)
        {
            return false;
        }
        copy(&raw const job.egress, &raw mut (*entry).egress);
        // The swap is a full barrier before the copy; this one makes the copy visible before the generation.
        atomic::compare_and_swap(&raw mut (*entry).generation, NEXT_HOP_BUSY, job.fib_generation)
    }
}

/// Copies a hop word by word.
///
/// # Safety
/// Both are valid and do not overlap.
#[inline(always)]
unsafe fn copy(from: *const Egress, to: *mut Egress) {
    for word in 0..WORDS {
        // SAFETY: the caller's; an egress has no padding.
        unsafe { to.cast::<u32>().add(word).write_volatile(from.cast::<u32>().add(word).read_volatile()) };
    }
}

/// Compares a hop word by word.
///
/// # Safety
/// `one` is valid.
#[inline(always)]
unsafe fn equal(one: *const Egress, other: &Egress) -> bool {
    let other: *const Egress = other;
    let mut different = 0;
    for word in 0..WORDS {
        // SAFETY: the caller's; an egress has no padding.
        different |= unsafe { one.cast::<u32>().add(word).read() ^ other.cast::<u32>().add(word).read() };
    }
    different == 0
}

/// Where the search for a hop begins: the words are multiplied and folded as FNV does with bytes.
#[inline(always)]
fn hash(egress: &Egress) -> u32 {
    const PRIME: u32 = 0x0100_0193;
    let egress: *const Egress = egress;
    let mut hash = 0x811c_9dc5u32;
    for word in 0..WORDS {
        // SAFETY: a live reference; an egress has no padding.
        hash = (hash ^ unsafe { egress.cast::<u32>().add(word).read() }).wrapping_mul(PRIME);
    }
    hash ^ hash >> 15
}
