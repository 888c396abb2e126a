//! Ageing: flows that are over are found and removed by a hand that goes round the slots.
//!
//! The hand moves two slots for each flow that opens, so that a table never fills with dead flows even without the agent,
//! and by batches when the agent runs `fw_sweep`.

use core::ffi::c_void;
use core::ptr::NonNull;

use aya_ebpf::helpers::{bpf_ktime_get_coarse_ns, bpf_loop};
use fw_common::abi::flow::{ClockHand, Flow, FlowKey6};
use fw_common::conntrack;

use crate::atomic;
use crate::maps::{CLOCK_HANDS, CLOCK4, CLOCK6, CONFIG, FLOWS4, FLOWS6};
use crate::stage::{count, table};

/// Slots that are looked at when a flow opens: two, so that the hand goes round before a table of dead flows is full.
const STEPS_PER_FLOW: u64 = 2;
/// Slots of each table that one run of `fw_sweep` looks at.
const BATCH: u32 = 8192;

/// Looks at the next slots of one table.
#[inline(always)]
pub(crate) fn advance(ipv4: bool, now: u32) {
    let Some(position) = take_positions(ipv4, STEPS_PER_FLOW) else { return };
    // SAFETY: the helper has no arguments.
    let now_ns = unsafe { bpf_ktime_get_coarse_ns() };
    for step in 0..STEPS_PER_FLOW {
        examine(ipv4, position + step, now, now_ns);
    }
}

/// Looks at a batch of slots of both tables.
#[inline(always)]
pub(crate) fn sweep_batch() {
    // SAFETY: the callback ignores its context, which may be null.
    unsafe { bpf_loop(BATCH, batch_step as *mut c_void, core::ptr::null_mut(), 0) };
}

/// One step of a batch.
unsafe extern "C" fn batch_step(_step: u32, _context: *mut c_void) -> i64 {
    // SAFETY: the helper has no arguments.
    let now_ns = unsafe { bpf_ktime_get_coarse_ns() };
    let now = (now_ns / 1_000_000_000) as u32;
    for ipv4 in [true, false] {
        if let Some(position) = take_positions(ipv4, 1) {
            examine(ipv4, position, now, now_ns);
        }
    }
    0
}

/// Moves the hand, and returns where it was.
#[inline(always)]
fn take_positions(ipv4: bool, steps: u64) -> Option<u64> {
    let hand: *mut ClockHand = CLOCK_HANDS.get_ptr_mut(if ipv4 { 0 } else { 1 })?;
    // SAFETY: an aligned word of a map value.
    Some(unsafe { atomic::fetch_add(&raw mut (*hand).hand, steps) })
}

/// Removes the flow in one slot if it has been over for longer than the grace period.
#[inline(never)]
fn examine(ipv4: bool, position: u64, now: u32, now_ns: u64) -> u32 {
    let Some(config) = CONFIG.get(0) else { return 0 };
    // Slots at and above `fresh` have never been used; going round only the used ones makes small loads age quickly.
    let Some(hand) = CLOCK_HANDS.get(if ipv4 { 0 } else { 1 }) else { return 0 };
    let used = if hand.fresh < u64::from(config.max_flows) { hand.fresh } else { u64::from(config.max_flows) };
    if used == 0 {
        return 0;
    }
    let clock_slot = (position % used) as u32;
    if ipv4 { examine4(clock_slot, now, now_ns) } else { examine6(clock_slot, now, now_ns) }
}

/// Examines a slot of the IPv4 table.
#[inline(always)]
fn examine4(clock_slot: u32, now: u32, now_ns: u64) -> u32 {
    let Some(slot) = CLOCK4.get(clock_slot) else { return 0 };
    if slot.used == 0 {
        return 0;
    }
    // Another processor may be writing the slot: a torn key finds no flow, or one that names another slot.
    let key = slot.key;
    let Some(flow) = FLOWS4.get_ptr_mut(&key).and_then(NonNull::new) else { return 0 };
    if !claim_if_over(flow, clock_slot, now) {
        return 0;
    }
    end(flow, 4, now_ns, |wide| *wide = FlowKey6::from(key));
    if FLOWS4.remove(&key).is_ok() {
        table::clear_clock_slot(true, clock_slot);
    }
    1
}

/// Examines a slot of the IPv6 table.
#[inline(always)]
fn examine6(clock_slot: u32, now: u32, now_ns: u64) -> u32 {
    let Some(slot) = CLOCK6.get(clock_slot) else { return 0 };
    if slot.used == 0 {
        return 0;
    }
    let key = slot.key;
    let Some(flow) = FLOWS6.get_ptr_mut(&key).and_then(NonNull::new) else { return 0 };
    if !claim_if_over(flow, clock_slot, now) {
        return 0;
    }
    end(flow, 6, now_ns, |wide| *wide = key);
    if FLOWS6.remove(&key).is_ok() {
        table::clear_clock_slot(false, clock_slot);
    }
    1
}

/// Claims the flow if it holds this slot and has been over for long enough.
#[inline(always)]
fn claim_if_over(flow: NonNull<Flow>, clock_slot: u32, now: u32) -> bool {
    // SAFETY: a live map value, of which single words are read.
    let (held, last_seen, timeout) =
        unsafe { ((*flow.as_ptr()).clock_slot, (*flow.as_ptr()).last_seen, (*flow.as_ptr()).timeout) };
    if held != clock_slot || !conntrack::is_removable(last_seen, timeout, now) {
        return false;
    }
    // A packet that has revived the flow meanwhile has changed `last_seen`, and keeps it.
    // SAFETY: an aligned word of a map value.
    unsafe { atomic::compare_and_swap(&raw mut (*flow.as_ptr()).last_seen, last_seen, fw_common::abi::flow::DYING) }
}

/// Reports and counts the end of a flow.
#[inline(always)]
fn end(flow: NonNull<Flow>, family: u8, now_ns: u64, write_key: impl FnOnce(&mut FlowKey6)) {
    // SAFETY: a live map value.
    let state = unsafe { (*flow.as_ptr()).state };
    table::report_end(flow, family, table::end_reason(state), now_ns, write_key);
    count::happening(|happenings| happenings.swept += 1);
}
