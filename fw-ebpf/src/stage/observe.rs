//! Tells observers which flows open, end, are denied and are observed by rules, while there are observers.
//!
//! No more than [`OBSERVED_PER_SECOND`] records a second and processor, and none that does not fit into the ring buffer; what is left
//! out is counted.

use core::ptr::NonNull;

use fw_common::abi::config::{Config, config_flags};
use fw_common::abi::event::{EndReason, FirstDenied, FlowEnd, OBSERVED_PER_SECOND, OPENED};
use fw_common::abi::flow::{Flow, FlowKey6};
use fw_common::denied::Words;

use crate::job::Job;
use crate::maps::{CONFIG, OBSERVE_BUDGET, OBSERVED};
use crate::stage::count;
use crate::stage::table::write_flow_record;

/// Whether somebody observes.
#[inline(always)]
pub(crate) fn is_wanted(config: &Config) -> bool {
    // SAFETY: a field of a live reference.
    unsafe { (&raw const config.flags).read_volatile() & config_flags::OBSERVED != 0 }
}

/// The flow in the job has opened.
#[inline(never)]
pub(crate) fn opened(job: &mut Job) -> u32 {
    let Some(config) = CONFIG.get(0) else { return 0 };
    if !is_wanted(config) || !within_budget(job.now) {
        return 0;
    }
    let Some(mut record) = OBSERVED.reserve_untyped::<FlowEnd>(0) else { return lost() };
    let flow = &raw mut job.flow;
    // SAFETY: the record is ours until it is submitted, and all of it is written; the flow is in this processor's scratch space.
    unsafe {
        let at = (OPENED, job.now, job.now_ns);
        if job.packet.is_ipv4() {
            write_flow_record(record.as_mut_ptr(), flow, at, 4, |key| *key = FlowKey6::from(job.key4));
        } else {
            write_flow_record(record.as_mut_ptr(), flow, at, 6, |key| *key = job.key6);
        }
    }
    record.submit(0);
    0
}

/// A flow has ended, which this processor has claimed.
#[inline(always)]
pub(crate) fn ended(
    flow: NonNull<Flow>,
    last_seen: u32,
    reason: EndReason,
    (family, now_ns): (u8, u64),
    write_key: impl FnOnce(&mut FlowKey6),
) {
    if !CONFIG.get(0).is_some_and(is_wanted) || !within_budget((now_ns / 1_000_000_000) as u32) {
        return;
    }
    let Some(mut record) = OBSERVED.reserve_untyped::<FlowEnd>(0) else {
        lost();
        return;
    };
    // SAFETY: as in `opened`; the flow is a live map value.
    unsafe {
        write_flow_record(record.as_mut_ptr(), flow.as_ptr(), (reason as u8, last_seen, now_ns), family, write_key);
    }
    record.submit(0);
}

/// A flow is denied, or observed by a rule, that was not before.
#[inline(always)]
pub(crate) fn denied(words: &Words, bytes: u64, now_ns: u64, now: u32) {
    if !within_budget(now) {
        return;
    }
    let Some(mut record) = OBSERVED.reserve_untyped::<FirstDenied>(0) else {
        lost();
        return;
    };
    let denied = record.as_mut_ptr();
    // SAFETY: as in `opened`; a key is aligned to words and has as many.
    unsafe {
        let key = (&raw mut (*denied).key).cast::<u64>();
        for (position, word) in words.iter().enumerate() {
            key.add(position).write(*word);
        }
        (&raw mut (*denied).bytes).write(bytes);
        (&raw mut (*denied).at).write(now_ns);
    }
    record.submit(0);
}

/// Takes one record from this second's budget.
#[inline(always)]
fn within_budget(now: u32) -> bool {
    let Some(budget) = OBSERVE_BUDGET.get_ptr_mut(0) else { return false };
    // SAFETY: this processor's entry of a per-CPU map.
    let within = unsafe {
        if (*budget).second != now {
            (*budget).second = now;
            (*budget).sent = 0;
        }
        (*budget).sent += 1;
        (*budget).sent <= OBSERVED_PER_SECOND
    };
    if !within {
        lost();
    }
    within
}

#[inline(always)]
fn lost() -> u32 {
    count::happening(|happenings| happenings.observed_lost += 1);
    0
}
