//! What this processor has found out a moment ago about two hosts, for the next flow between them: that neither address is ours nor
//! forged, their zones, the way, and in which lists of the policy a rule about them may stand.
//!
//! Asking the kernel for a route and its neighbour, the zones and the host's addresses takes as long as the policy and the table together.
//! The answers depend on nothing but what is in the question, on the policy, and on routes, neighbours, interfaces and addresses,
//! whose changes are what the generation counts: so a passage is as good as the next hop that a flow holds. Each processor has its
//! own passages, and a question has one place among them.

use fw_common::policy::KnownLists;
use fw_common::wire::Packet;

use crate::job::Job;
use crate::maps::PASSAGES;
use crate::stage::next_hop;
use crate::verified_once::verified_once;

/// Passages of each processor.
pub(crate) const PASSAGES_LEN: usize = 1 << INDEX_BITS;
const INDEX_BITS: u32 = 10;

/// Both addresses, and in the last word the ingress interface, the protocol and the family.
type Question = [u64; 5];

/// Value of `PASSAGES`: a cache line.
#[repr(C)]
pub(crate) struct Passage {
    question: Question,
    /// The generation of routes and neighbours in which it was answered; 0: never.
    generation: u32,
    /// The epoch of the policy that says which zones there are.
    epoch: u32,
    /// As in [`fw_common::abi::flow::Flow::next_hops`].
    next_hop: u16,
    from_zone: u8,
    to_zone: u8,
    lists: KnownLists,
}

const _: () = assert!(size_of::<Passage>() == 64);

/// Puts zones, next hop and egress of the packet into the job, and the lists of the policy, if they are known; whether all but the lists
/// are.
#[inline(always)]
pub(super) fn recall(job: &mut Job) -> bool {
    let question = question(&job.packet, job.ingress_ifindex);
    let Some(passage) = PASSAGES.get_ptr(index(&question)) else { return false };
    // SAFETY: this processor's entry of a per-CPU map, here and below. Programs for packets of the host use none.
    unsafe {
        if (*passage).generation != job.fib_generation
            || (*passage).epoch != job.active.epoch
            || (*passage).question != question
        {
            return false;
        }
        job.query.from_zone = (*passage).from_zone;
        job.query.to_zone = (*passage).to_zone;
        job.next_hop = (*passage).next_hop;
        job.lists_known = job.lookup.know_lists((*passage).lists);
    }
    next_hop::recall(job, job.next_hop)
}

verified_once! {
    /// Notes what was found out about the packet, last of all from the policy, and the reference to its next hop.
    pub(super) fn note_passage(job: &mut Job) -> u32 {
        note(job);
        0
    } else 0
}

#[inline(always)]
fn note(job: &mut Job) {
    if job.unresolved {
        return;
    }
    job.next_hop = next_hop::remember(job);
    if job.next_hop == 0 {
        return;
    }
    let question = question(&job.packet, job.ingress_ifindex);
    let Some(passage) = PASSAGES.get_ptr_mut(index(&question)) else { return };
    // SAFETY: as above.
    unsafe {
        (*passage).question = question;
        (*passage).generation = job.fib_generation;
        (*passage).epoch = job.active.epoch;
        (*passage).next_hop = job.next_hop;
        (*passage).from_zone = job.query.from_zone;
        (*passage).to_zone = job.query.to_zone;
        (*passage).lists = job.lookup.lists();
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
