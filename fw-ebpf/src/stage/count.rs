//! Counters: what happened to each packet, by reason, rule and interface.

use aya_ebpf::programs::XdpContext;
use fw_common::abi::counters::{Counter, Happenings};
use fw_common::abi::event::{Denied, DeniedKey, NO_SLOT};
use fw_common::{DropReason, Verdict};

use crate::atomic;
use crate::job::Job;
use crate::maps::{DENIED, DROPS, HAPPENINGS, INTERFACE_COUNTERS, RULE_COUNTERS};
use crate::packet::frame_len;

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
    if job.parsed && job.decision.log {
        denied(job, reason, bytes, ingress_slot);
    }
}

/// Notes a denied flow: one entry for all packets of a tuple, so that a flood cannot drown the log.
#[inline(always)]
fn denied(job: &Job, reason: DropReason, bytes: u64, ingress_slot: u16) {
    let packet = &job.packet;
    let (src_port, dst_port) = packet.policy_ports();
    let by_rule =
        matches!(reason, DropReason::Policy | DropReason::Rejected | DropReason::PolicyChanged | DropReason::Limit);
    let key = DeniedKey {
        src_addr: packet.src_addr.octets(),
        dst_addr: packet.dst_addr.octets(),
        src_port: src_port.to_be_bytes(),
        dst_port: dst_port.to_be_bytes(),
        ingress_slot,
        family: packet.src_addr.family,
        protocol: packet.protocol,
        reason: reason as u8,
        from_zone: job.query.from_zone,
        to_zone: job.query.to_zone,
        _pad: 0,
        rule: if by_rule { job.decision.rule } else { 0 },
    };
    if let Some(entry) = DENIED.get_ptr_mut(&key) {
        // SAFETY: aligned words of a live map value. If the entry is evicted meanwhile, a stranger's count is one too high.
        unsafe {
            atomic::add(&raw mut (*entry).packets, 1);
            atomic::add(&raw mut (*entry).bytes, bytes);
            (*entry).last_at = job.now_ns;
        }
        return;
    }
    let entry = Denied { packets: 1, bytes, first_at: job.now_ns, last_at: job.now_ns };
    // A full table evicts its oldest entry; that a concurrent insert of the same tuple wins loses one count.
    let _ = DENIED.insert(&key, &entry, 0);
}

/// Counts a packet for the rule that decided it.
#[inline(always)]
fn ruled(job: &Job, bytes: u64) {
    if job.decision.rule == 0 {
        return;
    }
    if let Some(counter) = RULE_COUNTERS.get_ptr_mut(job.decision.rule) {
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
