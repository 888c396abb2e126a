//! Routes that this processor has looked up a moment ago, for flows that open between the same hosts.
//!
//! The kernel's look-up of a route and its neighbour takes as long as the policy and the table together. Its answer depends on nothing but
//! what is in the key, and on routes, neighbours and interfaces, whose changes are what the generation counts: so an entry is
//! as good as the next hop that a flow holds. Each processor has its own entries, and a pair of hosts one place among them.

use fw_common::abi::flow::Egress;
use fw_common::wire::Packet;

use crate::job::Job;
use crate::maps::RECENT_ROUTES;

/// Entries of each processor.
pub(crate) const RECENT_ROUTES_LEN: usize = 1 << INDEX_BITS;
const INDEX_BITS: u32 = 10;
/// Words of an egress.
const WORDS: usize = size_of::<Egress>() / 4;

/// What the kernel is asked: both addresses, and in the last word the ingress interface, the protocol and the family.
type Question = [u64; 5];

/// Value of `RECENT_ROUTES`: a cache line.
#[repr(C)]
pub(crate) struct RecentRoute {
    question: Question,
    /// The generation of routes and neighbours in which it was answered; 0: never.
    generation: u32,
    answer: Egress,
}

const _: () = assert!(size_of::<RecentRoute>() == 64);

/// Puts the egress of the packet into the job, if it was looked up in this generation.
#[inline(always)]
pub(super) fn recall(job: &mut Job) -> bool {
    let question = question(&job.packet, job.ingress_ifindex);
    let Some(entry) = RECENT_ROUTES.get_ptr(index(&question)) else { return false };
    // SAFETY: this processor's entry of a per-CPU map, here and below. Programs for packets of the host look up no routes.
    unsafe {
        if (*entry).generation != job.fib_generation || (*entry).question != question {
            return false;
        }
        copy(&raw const (*entry).answer, &raw mut job.egress);
    }
    true
}

/// Notes the egress of the packet, which was just looked up.
#[inline(always)]
pub(super) fn remember(job: &Job) {
    let question = question(&job.packet, job.ingress_ifindex);
    let Some(entry) = RECENT_ROUTES.get_ptr_mut(index(&question)) else { return };
    // SAFETY: as above.
    unsafe {
        (*entry).question = question;
        (*entry).generation = job.fib_generation;
        copy(&raw const job.egress, &raw mut (*entry).answer);
    }
}

#[inline(always)]
fn question(packet: &Packet, ingress_ifindex: u32) -> Question {
    let ([a, b], [c, d]) = (packet.src_addr.halves(), packet.dst_addr.halves());
    let rest = u64::from(packet.src_addr.family) << 40 | u64::from(packet.protocol) << 32 | u64::from(ingress_ifindex);
    [a, b, c, d, rest]
}

/// The place of a question: who makes others collide gains nothing but that they are looked up.
#[inline(always)]
fn index(question: &Question) -> u32 {
    /// Two to the power of 64, divided by the golden ratio.
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = 0u64;
    for word in question {
        hash = (hash ^ word).wrapping_mul(MULTIPLIER);
        hash ^= hash >> 32;
    }
    (hash >> (64 - INDEX_BITS)) as u32
}

/// Copies an egress word by word: volatile, so that the compiler makes no byte-wise `memmove` of it.
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
