//! Ageing: flows that are over are found and removed by a hand that goes round the slots.
//!
//! The hand moves two slots for each flow that opens, and further when there is no free one, so that a table never fills with
//! dead flows even without the agent; and by batches when the agent runs `fw_sweep`.

use core::ffi::c_void;
use core::ptr::NonNull;

use aya_ebpf::helpers::{bpf_ktime_get_coarse_ns, bpf_loop};
use aya_ebpf::maps::ring_buf::RingBufEntry;
use fw_common::abi::event::FlowEnd;
use fw_common::abi::flow::{ClockHand, Flow, FlowKey6, USED};
use fw_common::conntrack::{self, SWEEP_BATCH};

use crate::atomic;
use crate::maps::{CLOCK_HANDS, CLOCK4, CLOCK6, CONFIG, FLOWS4, FLOWS6};
use crate::stage::{count, table};

/// What the steps of a walk need.
struct Walk {
    ipv4: bool,
    now: u32,
    now_ns: u64,
}

/// Looks at the next slots of one table.
#[inline(always)]
pub(crate) fn advance(ipv4: bool, now: u32, steps: u32) {
    // SAFETY: the helper has no arguments.
    let now_ns = unsafe { bpf_ktime_get_coarse_ns() };
    let mut walk = Walk { ipv4, now, now_ns };
    // SAFETY: `walk` outlives the call, and `one_step` takes it back as what it is.
    unsafe { bpf_loop(steps, one_step as *mut c_void, (&raw mut walk).cast(), 0) };
}

/// Looks at the next slot of one table.
///
/// # Safety
/// Called by `bpf_loop` alone, with the pointer to the [`Walk`] that `advance` lends it.
unsafe extern "C" fn one_step(_step: u32, walk: *mut c_void) -> i64 {
    // SAFETY: `bpf_loop` hands over the pointer that `advance` gave it.
    let walk = unsafe { &*walk.cast::<Walk>() };
    if let Some(position) = take_position(walk.ipv4) {
        examine(walk.ipv4, position, walk.now, walk.now_ns);
    }
    0
}

/// Looks at a batch of slots of both tables.
#[inline(always)]
pub(crate) fn sweep_batch() {
    // SAFETY: the helper has no arguments.
    let now_ns = unsafe { bpf_ktime_get_coarse_ns() };
    let now = (now_ns / 1_000_000_000) as u32;
    for ipv4 in [true, false] {
        advance(ipv4, now, SWEEP_BATCH);
    }
}

/// Moves the hand by one slot, and returns where it was.
#[inline(always)]
fn take_position(ipv4: bool) -> Option<u64> {
    let hand: *mut ClockHand = CLOCK_HANDS.get_ptr_mut(if ipv4 { 0 } else { 1 })?;
    // SAFETY: an aligned word of a map value.
    Some(unsafe { atomic::fetch_add(&raw mut (*hand).hand, 1) })
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
    let Some(flow) = FLOWS4.get_ptr_mut(&key).and_then(|flow| NonNull::new(flow.cast())) else { return 0 };
    let Some(last_seen) = claim_if_over(flow, clock_slot, now) else { return 0 };
    // SAFETY: a live map value.
    let reason = table::end_reason(unsafe { (*flow.as_ptr()).state });
    let record = table::record_end(flow, last_seen, reason, (4, now_ns), |wide| *wide = FlowKey6::from(key));
    let removed = FLOWS4.remove(&key).is_ok();
    conclude(record, removed, flow, last_seen, true, clock_slot)
}

/// Examines a slot of the IPv6 table.
#[inline(always)]
fn examine6(clock_slot: u32, now: u32, now_ns: u64) -> u32 {
    let Some(slot) = CLOCK6.get(clock_slot) else { return 0 };
    let mut key = slot.key;
    if key._pad[0] != USED {
        return 0;
    }
    key._pad[0] = 0;
    let Some(flow) = FLOWS6.get_ptr_mut(&key).and_then(NonNull::new) else { return 0 };
    let Some(last_seen) = claim_if_over(flow, clock_slot, now) else { return 0 };
    // SAFETY: a live map value.
    let reason = table::end_reason(unsafe { (*flow.as_ptr()).state });
    let record = table::record_end(flow, last_seen, reason, (6, now_ns), |wide| *wide = key);
    let removed = FLOWS6.remove(&key).is_ok();
    conclude(record, removed, flow, last_seen, false, clock_slot)
}

/// Claims the flow if it holds this slot and has been over for long enough; its last packet's time.
#[inline(always)]
fn claim_if_over(flow: NonNull<Flow>, clock_slot: u32, now: u32) -> Option<u32> {
    // SAFETY: a live map value, of which single words are read.
    let (held, last_seen) =
        unsafe { ((*flow.as_ptr()).clock_slot, (&raw const (*flow.as_ptr()).last_seen).read_volatile()) };
    if held != clock_slot || !conntrack::is_removable(last_seen, table::timeout_of(flow), now) {
        return None;
    }
    // A packet that has revived the flow meanwhile has changed the word, and keeps it.
    table::claim(flow, last_seen).then_some(last_seen)
}

/// Reports and counts a removal; or, if the table was locked, gives the flow back for the next round.
#[inline(always)]
fn conclude(
    record: Option<RingBufEntry<FlowEnd>>,
    removed: bool,
    flow: NonNull<Flow>,
    last_seen: u32,
    ipv4: bool,
    clock_slot: u32,
) -> u32 {
    if !removed {
        // SAFETY: still in the table, and claimed by this processor.
        unsafe { (&raw mut (*flow.as_ptr()).last_seen).write_volatile(last_seen) };
        if let Some(record) = record {
            record.discard(0);
        }
        return 0;
    }
    if let Some(record) = record {
        record.submit(0);
    }
    table::clear_clock_slot(ipv4, clock_slot);
    count::happening(|happenings| happenings.swept += 1);
    1
}
