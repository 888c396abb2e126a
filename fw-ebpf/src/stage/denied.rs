//! Notes denied flows, and those that a rule observes: one slot for all packets of a tuple and reason, or of a tuple and rule, so that a
//! flood cannot drown the log.

use fw_common::DropReason;
use fw_common::abi::config::Config;
use fw_common::abi::event::{DENIED_FILLING, DENIED_FREE, DeniedSlot, NO_SLOT};
use fw_common::abi::tables::{Clause, LOG};
use fw_common::denied::{self, Circumstances, KEPT_NS, Place, Words};

use crate::atomic;
use crate::job::Job;
use crate::maps::{CONFIG, DENIED};
use crate::stage::{count, observe};

/// Notes a denied packet that was parsed as far as its addresses.
#[inline(always)]
pub(crate) fn note(job: &Job, reason: DropReason, bytes: u64, ingress_slot: u16) {
    let Some(config) = CONFIG.get(0) else { return };
    let observed = observe::is_wanted(config);
    if !job.decision.log && !observed {
        return;
    }
    let by_rule =
        matches!(reason, DropReason::Policy | DropReason::Rejected | DropReason::PolicyChanged | DropReason::Limit);
    let why = Circumstances {
        reason,
        ingress_slot,
        from_zone: job.query.from_zone,
        to_zone: job.query.to_zone,
        rule: if by_rule { job.decision.rule } else { 0 },
    };
    count_and_tell(job, config, &denied::words(&job.packet, &why), bytes, observed);
}

/// Notes a packet that a rule observes: its clause.
#[inline(always)]
pub(crate) fn note_observed(job: &Job, clause: &Clause) {
    let Some(config) = CONFIG.get(0) else { return };
    let observed = observe::is_wanted(config);
    if clause.flags & LOG == 0 && !observed {
        return;
    }
    let from_host = job.ingress_ifindex == 0;
    let ingress_slot = if from_host { NO_SLOT } else { job.interface.slot as u16 };
    let words = denied::observed_words(&job.query, ingress_slot, clause.rule, clause.action);
    count_and_tell(job, config, &words, u64::from(job.packet.ip_len), observed);
}

/// Counts a packet in its slot, and tells observers if it is the first one there.
#[inline(always)]
fn count_and_tell(job: &Job, config: &Config, words: &Words, bytes: u64, observed: bool) {
    match count_in_table(config, words, bytes, job.now_ns) {
        Noted::Again => {}
        Noted::First => {
            if observed {
                observe::denied(words, bytes, job.now_ns, job.now);
            }
        }
        Noted::Nowhere => count::happening(|happenings| happenings.denied_unrecorded += 1),
    }
}

/// Where a packet was noted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Noted {
    /// In the slot of its flow.
    Again,
    /// In a slot that it has taken for its flow.
    First,
    /// There was none.
    Nowhere,
}

#[inline(always)]
fn count_in_table(config: &Config, words: &Words, bytes: u64, now_ns: u64) -> Noted {
    let place = denied::place(words, config.hash_seed);
    let slots = [DENIED.get_ptr_mut(place.first), DENIED.get_ptr_mut(place.second)];
    for slot in slots {
        let Some(slot) = slot else { return Noted::Nowhere };
        // SAFETY: an aligned word of a live map value.
        if unsafe { (&raw const (*slot).mark).read_volatile() } == place.mark {
            // SAFETY: aligned words of a live map value. If the agent takes the flow out meanwhile, the packet is in no record.
            unsafe {
                atomic::add(&raw mut (*slot).packets, 1);
                atomic::add(&raw mut (*slot).bytes, bytes);
                (&raw mut (*slot).last_at).write_volatile(now_ns);
            }
            return Noted::Again;
        }
    }
    for slot in slots {
        let Some(slot) = slot else { return Noted::Nowhere };
        if take(slot, now_ns) {
            fill(slot, &place, words, bytes, now_ns);
            return Noted::First;
        }
    }
    Noted::Nowhere
}

/// Takes a slot that is free, or that nobody has emptied for long. What is in it is lost with its agent.
#[inline(always)]
fn take(slot: *mut DeniedSlot, now_ns: u64) -> bool {
    // SAFETY: aligned words of a live map value.
    unsafe {
        let mark = (&raw const (*slot).mark).read_volatile();
        let free = mark == DENIED_FREE
            || (mark != DENIED_FILLING
                && now_ns.wrapping_sub((&raw const (*slot).last_at).read_volatile()) as i64 > KEPT_NS as i64);
        if !free || !atomic::compare_and_swap_u64(&raw mut (*slot).mark, mark, DENIED_FILLING) {
            return false;
        }
        if mark != DENIED_FREE {
            let lost = (&raw const (*slot).packets).read_volatile();
            count::happening(|happenings| happenings.denied_unrecorded += lost);
        }
    }
    true
}

/// Writes a slot that this processor has taken; last of all its mark, by which others find it.
#[inline(always)]
fn fill(slot: *mut DeniedSlot, place: &Place, words: &Words, bytes: u64, now_ns: u64) {
    // SAFETY: a live map value that is this processor's until its mark is written; a key is aligned to words and has as many.
    unsafe {
        let key = (&raw mut (*slot).key).cast::<u64>();
        for (position, word) in words.iter().enumerate() {
            key.add(position).write_volatile(*word);
        }
        (&raw mut (*slot).packets).write_volatile(1);
        (&raw mut (*slot).bytes).write_volatile(bytes);
        (&raw mut (*slot).first_at).write_volatile(now_ns);
        (&raw mut (*slot).last_at).write_volatile(now_ns);
        (&raw mut (*slot).mark).write_volatile(place.mark);
    }
}
