//! The table of datagrams whose fragments are under way: buckets of four, each with a lock.
//!
//! A bucket that is full gives the place of the datagram away that is least worth keeping. So whatever is sent, the table
//! does not grow, and nothing but the state of other fragments is lost.

use core::ffi::c_void;
use core::ptr::NonNull;

use aya_ebpf::helpers::bpf_loop;
use fw_common::abi::fragment::{BUCKET_DATAGRAMS, Datagram, FRAGMENT_BUCKETS, FragmentBucket, MAX_FRAGMENTS};
use fw_common::flow_index::place;
use fw_common::fragment::{Comparison, OWN, lifetime, worth};

use crate::atomic;
use crate::job::{DatagramPlace, Job};
use crate::maps::{CONFIG, FRAGMENTS};

/// How often a processor tries to get a lock that another one holds: as for the flow table.
const LOCK_ATTEMPTS: u32 = 64;

/// Takes the bucket of the datagram in the job. Packets of one processor do not interrupt each other, so the holder goes on;
/// but its processor may be taken from the virtual machine for longer than a packet can wait.
#[inline(always)]
pub(super) fn lock(job: &Job) -> Option<NonNull<FragmentBucket>> {
    let seed = CONFIG.get(0)?.hash_seed;
    let index = place(&job.datagram.words, seed, FRAGMENT_BUCKETS).first;
    let bucket = NonNull::new(FRAGMENTS.get_ptr_mut(index)?)?;
    for _ in 0..LOCK_ATTEMPTS {
        // SAFETY: an aligned word of a live map value.
        if unsafe { atomic::compare_and_swap(&raw mut (*bucket.as_ptr()).lock, 0, 1) } {
            return Some(bucket);
        }
    }
    None
}

/// Gives a bucket free.
#[inline(always)]
pub(super) fn unlock(bucket: NonNull<FragmentBucket>) {
    // SAFETY: this processor's, until this word is written.
    unsafe { (&raw mut (*bucket.as_ptr()).lock).write_volatile(0) };
}

/// The datagram in the job, begun in another one's place if it is not there.
///
/// VERIFIER: what is found goes through memory, so that what follows is verified once and not for each place. Test:
/// `prog_run::maps::the_programs_stay_far_from_the_limit_of_the_verifier`.
///
/// # Safety
/// This processor has locked the bucket, and holds no other reference into it.
#[inline(always)]
pub(super) unsafe fn datagram<'b>(bucket: NonNull<FragmentBucket>, job: &mut Job) -> &'b mut Datagram {
    // SAFETY: the caller's.
    let datagrams = unsafe { &mut (*bucket.as_ptr()).datagrams };
    job.place_of_datagram = DatagramPlace { index: 0, worth: u64::MAX };
    for (index, datagram) in (0..).zip(datagrams.iter()) {
        let worth = job.forget_number(worth(datagram, &job.datagram, job.now));
        if worth < job.place_of_datagram.worth {
            job.place_of_datagram = DatagramPlace { index, worth };
        }
    }
    let index = job.forget_number(job.place_of_datagram.index) as usize & (BUCKET_DATAGRAMS - 1);
    let datagram = &mut datagrams[index];
    if job.place_of_datagram.worth != OWN {
        datagram.begin(&job.datagram, job.now + lifetime(job.packet.is_ipv4()));
    }
    datagram
}

/// Compares a fragment with those that have passed.
///
/// VERIFIER: a plain loop is verified once for each fragment, twice over in every step; the callback of `bpf_loop` is verified
/// once. Test: as above.
#[inline(always)]
pub(super) fn compare(comparison: &mut Comparison, datagram: &Datagram) {
    let mut walk = Walk { comparison: *comparison, datagram };
    // SAFETY: `walk` outlives the call, and `one_range` takes it back as what it is.
    unsafe { bpf_loop(u32::from(datagram.passed), one_range as *mut c_void, (&raw mut walk).cast(), 0) };
    *comparison = walk.comparison;
}

/// What the steps of a comparison need.
struct Walk {
    comparison: Comparison,
    datagram: *const Datagram,
}

/// Compares with one fragment that has passed.
///
/// # Safety
/// Called by `bpf_loop` alone, with the pointer to the [`Walk`] that `compare` lends it.
unsafe extern "C" fn one_range(number: u32, walk: *mut c_void) -> i64 {
    // SAFETY: `bpf_loop` hands over the pointer that `compare` gave it, and the datagram is this processor's meanwhile.
    unsafe {
        let walk = &mut *walk.cast::<Walk>();
        let ranges = (&raw const (*walk.datagram).ranges).cast::<u32>();
        walk.comparison.with(ranges.add(number as usize & (MAX_FRAGMENTS - 1)).read());
    }
    0
}
