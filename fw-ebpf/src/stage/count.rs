//! Counters: what happened to each packet, by reason, rule and interface.

use aya_ebpf::programs::XdpContext;
use fw_common::abi::counters::{Counter, Happenings};
use fw_common::abi::event::NO_SLOT;
use fw_common::{DropReason, Verdict};

use crate::job::Job;
use crate::maps::{DROPS, HAPPENINGS, INTERFACE_COUNTERS, RULE_COUNTERS};
use crate::packet::frame_len;
use crate::stage::denied;

/// Counts a packet from the wire.
#[inline(always)]
pub(crate) fn received(ctx: &XdpContext, job: &mut Job, verdict: Verdict) {
    let bytes = if job.parsed { u64::from(job.packet.ip_len) } else { frame_len(ctx) };
    if let Some(counters) = INTERFACE_COUNTERS.get_ptr_mut(job.interface.slot) {
        // SAFETY: this processor's entry of a per-CPU map.
        unsafe {
            add(&raw mut (*counters).received, bytes);
            match verdict {
                Verdict::Pass => add(&raw mut (*counters).passed, bytes),
                Verdict::Drop(_) => add(&raw mut (*counters).dropped, bytes),
                Verdict::Forward | Verdict::HandOver => {}
            }
        }
    }
    match verdict {
        Verdict::Drop(reason) => dropped(job, reason, bytes, job.interface.slot as u16),
        Verdict::Forward | Verdict::HandOver => {
            if let Some(counters) = INTERFACE_COUNTERS.get_ptr_mut(u32::from(job.egress.slot)) {
                // SAFETY: this processor's entry of a per-CPU map.
                unsafe { add(&raw mut (*counters).forwarded, bytes) };
            }
            if verdict == Verdict::HandOver {
                happening(|happenings| happenings.handed_over += 1);
            }
            ruled(job, bytes);
        }
        Verdict::Pass => ruled(job, bytes),
    }
}

/// Counts a packet of the host that may not leave.
#[inline(always)]
pub(crate) fn dropped_from_host(job: &mut Job, reason: DropReason) {
    let bytes = u64::from(job.packet.ip_len);
    dropped(job, reason, bytes, NO_SLOT);
}

/// Counts a packet of the host for the rule that lets it leave.
#[inline(always)]
pub(crate) fn passed_from_host(job: &Job) {
    ruled(job, u64::from(job.packet.ip_len));
}

/// Counts a dropped packet by its reason, its rule and its tuple.
#[inline(never)]
fn dropped(job: &mut Job, reason: DropReason, bytes: u64, ingress_slot: u16) {
    if let Some(counter) = DROPS.get_ptr_mut(reason as u32) {
        // SAFETY: this processor's entry of a per-CPU map.
        unsafe { add(counter, bytes) };
    }
    if let DropReason::Policy | DropReason::Rejected | DropReason::PolicyChanged = reason {
        ruled(job, bytes);
    }
    if reason == DropReason::Limit
        && let Some(counter) = RULE_COUNTERS.get_ptr_mut(job.decision.rule)
    {
        // SAFETY: this processor's entry of a per-CPU map.
        unsafe { (*counter).limited += 1 };
    }
    if job.parsed {
        denied::note(job, reason, bytes, ingress_slot);
    }
}

/// Counts a packet for the rule that decided it.
#[inline(always)]
fn ruled(job: &Job, bytes: u64) {
    if job.decision.rule != 0 {
        hit(job, job.decision.rule, bytes);
    }
}

/// Counts a packet for a rule that observes it.
#[inline(always)]
pub(crate) fn observed(job: &Job, rule: u32) {
    hit(job, rule, u64::from(job.packet.ip_len));
}

/// Counts a packet for a rule.
#[inline(always)]
fn hit(job: &Job, rule: u32, bytes: u64) {
    if let Some(counter) = RULE_COUNTERS.get_ptr_mut(rule) {
        // SAFETY: this processor's entry of a per-CPU map.
        unsafe {
            (*counter).packets += 1;
            (*counter).bytes += bytes;
            (*counter).last_hit = u64::from(job.now);
        }
    }
}

/// Counts an opened flow for its rule.
#[inline(always)]
pub(crate) fn opened(job: &Job) {
    happening(|happenings| happenings.opened += 1);
    if let Some(counter) = RULE_COUNTERS.get_ptr_mut(job.decision.rule) {
        // SAFETY: this processor's entry of a per-CPU map.
        unsafe { (*counter).flows += 1 };
    }
}

/// Counts something rare.
#[inline(always)]
pub(crate) fn happening(count: impl FnOnce(&mut Happenings)) {
    if let Some(happenings) = HAPPENINGS.get_ptr_mut(0) {
        // SAFETY: this processor's entry of a per-CPU map.
        count(unsafe { &mut *happenings });
    }
}

/// Counts one packet.
///
/// # Safety
/// `counter` points into this processor's entry of a per-CPU map.
#[inline(always)]
unsafe fn add(counter: *mut Counter, bytes: u64) {
    // SAFETY: the caller's.
    unsafe {
        (*counter).packets += 1;
        (*counter).bytes += bytes;
    }
}
