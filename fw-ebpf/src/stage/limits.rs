//! Limits of rules: may the rule that allows the packet open one more flow? [`fw_common::limit`] decides.
//!
//! Drops, by way of `flow`: `limit`.
//!
//! What a limit counts for has an entry of `LIMITS`, found and made under a lock. A flow that is counted has the number of the entry,
//! and whoever takes that number out of the flow counts it down: so each flow is counted down once, whatever ends it.

use core::ptr::NonNull;

use fw_common::abi::flow::{Flow, LOCKS};
use fw_common::abi::limit::{BUCKETS, RuleLimit, Subject, SubjectKey, WAYS, kind};
use fw_common::flow_index::place;
use fw_common::limit::{is_idle, subject, take, words};

use crate::atomic;
use crate::job::Job;
use crate::maps::{CONFIG, LIMITS, RULE_LIMITS};
use crate::stage::{count, sweep, table};
use crate::verified_once::verified_once;

/// What came of asking for one more flow.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Admission {
    /// It may open, and is counted in the job.
    Granted = 0,
    /// The limit is reached.
    Refused = 1,
    /// Another processor holds the lock and does not go on.
    Locked = 2,
}

/// Slots that are looked at for each flow that is refused: those that are over count until they are removed.
const STEPS_WHEN_REFUSED: u32 = 64;
/// Words of a subject's key.
const WORDS: usize = size_of::<SubjectKey>() / 8;

/// Asks the limits of the rule that allows the packet.
#[inline(always)]
pub(crate) fn admit(job: &mut Job) -> Admission {
    job.subject = 0;
    if !job.decision.limited {
        return Admission::Granted;
    }
    match limits_admit(job) {
        0 => Admission::Granted,
        1 => Admission::Refused,
        _ => Admission::Locked,
    }
}

verified_once! {
    /// As [`admit`], for a rule that has limits: the number of the answer.
    fn limits_admit(job: &mut Job) -> u32 {
        let Some(limit) = RULE_LIMITS.get(job.decision.rule) else { return Admission::Granted as u32 };
        if limit.max_flows != 0 {
            let answer = charge(job, limit, kind::FLOWS, false);
            if answer != Admission::Granted as u32 {
                if answer == Admission::Refused as u32 {
                    // A rule's flows may be of both families.
                    sweep::advance(true, job.now, STEPS_WHEN_REFUSED);
                    sweep::advance(false, job.now, STEPS_WHEN_REFUSED);
                }
                return answer;
            }
        }
        if limit.interval == 0 {
            return Admission::Granted as u32;
        }
        let answer = charge(job, limit, kind::RATE, false);
        if answer != Admission::Granted as u32 {
            give_back(job);
        }
        answer
    } else Admission::Locked as u32
}

/// Whether [`admit`] would grant one more flow, of which nothing is charged. For a rule that has limits.
#[inline(always)]
pub(crate) fn would_admit(job: &mut Job) -> bool {
    limits_would_admit(job) != 0
}

verified_once! {
    /// As [`would_admit`]: 1 or 0.
    fn limits_would_admit(job: &mut Job) -> u32 {
        let Some(limit) = RULE_LIMITS.get(job.decision.rule) else { return 1 };
        let flows = limit.max_flows == 0 || has_left(job, limit, kind::FLOWS);
        u32::from(flows && (limit.interval == 0 || has_left(job, limit, kind::RATE)))
    } else 0
}

/// Whether one limit has something left. Read without the lock: what others charge meanwhile is a matter of luck for packets, too.
#[inline(never)]
fn has_left(job: &mut Job, limit: &RuleLimit, what: u8) -> bool {
    let of = if what == kind::RATE { limit.rate_per } else { limit.flows_per };
    job.subject_key = subject(job.decision.rule, what, of, &job.query.src_addr, &job.query.dst_addr);
    let Some(config) = CONFIG.get(0) else { return false };
    let first = place(&words(&job.subject_key), config.hash_seed, BUCKETS).first * WAYS;
    let mut has_room = false;
    for way in 0..WAYS {
        let Some(entry) = LIMITS.get_ptr_mut(first + way) else { return false };
        // SAFETY: a live map value.
        let (is_it, flows, full_at) = unsafe { (holds(entry, &job.subject_key), (*entry).flows, (*entry).full_at) };
        if is_it && what == kind::RATE {
            return take(full_at, job.now_ns, limit.interval, limit.capacity).is_some();
        }
        if is_it {
            return flows < limit.max_flows;
        }
        has_room |= flows == 0;
    }
    has_room && (what != kind::RATE || take(0, job.now_ns, limit.interval, limit.capacity).is_some())
}

/// Counts a flow that is there already for the rule that allows it now, whatever the rule's limit.
#[inline(always)]
pub(crate) fn transfer(job: &mut Job, flow: NonNull<Flow>) {
    release(flow);
    job.subject = 0;
    if !job.decision.limited {
        return;
    }
    limits_count(job);
    // SAFETY: an aligned word of a live map value. Of processors that judge the flow at the same time, one counts it.
    if job.subject != 0 && !unsafe { atomic::compare_and_swap(&raw mut (*flow.as_ptr()).subject, 0, job.subject) } {
        give_back(job);
    }
}

verified_once! {
    /// As [`transfer`]: notes in the job who counts the flow.
    fn limits_count(job: &mut Job) -> u32 {
        match RULE_LIMITS.get(job.decision.rule) {
            Some(limit) if limit.max_flows != 0 => charge(job, limit, kind::FLOWS, true),
            _ => 0,
        }
    } else 0
}

/// Charges what one limit counts for, under the lock of its bucket. `anyway`: also beyond the limit.
#[inline(never)]
fn charge(job: &mut Job, limit: &RuleLimit, what: u8, anyway: bool) -> u32 {
    let of = if what == kind::RATE { limit.rate_per } else { limit.flows_per };
    job.subject_key = subject(job.decision.rule, what, of, &job.query.src_addr, &job.query.dst_addr);
    let Some(config) = CONFIG.get(0) else { return Admission::Refused as u32 };
    let place = place(&words(&job.subject_key), config.hash_seed, BUCKETS);
    let Some(lock) = table::lock(place.first & (LOCKS - 1)) else { return Admission::Locked as u32 };
    let number = find_or_make(job, place.first * WAYS);
    let granted = match LIMITS.get_ptr_mut(number) {
        // SAFETY: this processor has the lock of the bucket.
        Some(entry) if number < BUCKETS * WAYS => unsafe { charge_entry(job, limit, entry, number, anyway) },
        _ => false,
    };
    // SAFETY: this processor's, until this word is written.
    unsafe { lock.write_volatile(0) };
    if granted { Admission::Granted as u32 } else { Admission::Refused as u32 }
}

/// Charges an entry; whether there was something left.
///
/// # Safety
/// `entry` is a live map value, and this processor has the lock of its bucket.
#[inline(always)]
unsafe fn charge_entry(job: &mut Job, limit: &RuleLimit, entry: *mut Subject, number: u32, anyway: bool) -> bool {
    // SAFETY: the caller's, here and below.
    unsafe {
        if (*entry).key.kind == kind::RATE {
            let Some(then) = take((*entry).full_at, job.now_ns, limit.interval, limit.capacity) else { return false };
            (*entry).full_at = then;
            return true;
        }
        // Flows that end are counted down without the lock.
        if (&raw const (*entry).flows).read_volatile() >= limit.max_flows && !anyway {
            return false;
        }
        atomic::add_u32(&raw mut (*entry).flows, 1);
    }
    job.subject = number + 1;
    true
}

/// The entry of the key in the job, in the bucket that begins with this one; [`u32::MAX`] if there is no room. A key that is new takes the
/// entry of which least is lost: a rate whose bucket is full, or nearly, and nobody's flows.
#[inline(always)]
fn find_or_make(job: &mut Job, first: u32) -> u32 {
    let (mut best, mut best_full_at) = (u32::MAX, u64::MAX);
    for way in 0..WAYS {
        let Some(entry) = LIMITS.get_ptr_mut(first + way) else { return u32::MAX };
        // SAFETY: a live map value.
        let (is_it, flows, full_at) = unsafe { (holds(entry, &job.subject_key), (*entry).flows, (*entry).full_at) };
        if is_it {
            return first + way;
        }
        if flows == 0 && full_at < best_full_at {
            (best, best_full_at) = (first + way, full_at);
        }
    }
    let Some(entry) = LIMITS.get_ptr_mut(best) else {
        count::happening(|happenings| happenings.limits_full += 1);
        return u32::MAX;
    };
    if !is_idle(0, best_full_at, job.now_ns) {
        count::happening(|happenings| happenings.limits_full += 1);
    }
    // SAFETY: a live map value that counts nobody's flows; its bucket's lock is held.
    unsafe {
        (*entry).full_at = 0;
        let (from, to) = ((&raw const job.subject_key).cast::<u64>(), (&raw mut (*entry).key).cast::<u64>());
        for word in 0..WORDS {
            to.add(word).write_volatile(from.add(word).read_volatile());
        }
    }
    best
}

/// Whether an entry is that of a key.
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
unsafe fn holds(entry: *mut Subject, key: &SubjectKey) -> bool {
    let mut different = 0;
    for word in 0..WORDS {
        // SAFETY: the caller's; a key is aligned to words and has no padding of the compiler's.
        unsafe {
            let (held, own) = ((&raw const (*entry).key).cast::<u64>(), (&raw const *key).cast::<u64>());
            different |= held.add(word).read_volatile() ^ own.add(word).read_volatile();
        }
    }
    different == 0
}

/// Counts the packet's flow down, which was counted, but does not open.
#[inline(always)]
pub(crate) fn give_back(job: &mut Job) {
    count_down(job.subject);
    job.subject = 0;
}

/// Counts a flow down that is over. Once, whoever else ends it.
#[inline(always)]
pub(crate) fn release(flow: NonNull<Flow>) {
    // SAFETY: an aligned word of a live map value.
    unsafe {
        let subject = (&raw const (*flow.as_ptr()).subject).read_volatile();
        if subject != 0 && atomic::compare_and_swap(&raw mut (*flow.as_ptr()).subject, subject, 0) {
            count_down(subject);
        }
    }
}

/// Counts a flow of an entry down, given by its number from 1; 0: of none.
#[inline(always)]
fn count_down(subject: u32) {
    if subject == 0 {
        return;
    }
    if let Some(entry) = LIMITS.get_ptr_mut(subject - 1) {
        // SAFETY: an aligned word of a live map value; the flow that is counted down has kept the entry from others.
        unsafe { atomic::add_u32(&raw mut (*entry).flows, u32::MAX) };
    }
}
