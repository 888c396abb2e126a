//! Ageing: flows that are over are found and removed by a hand that goes round the slots.
//!
//! The hand moves two slots for each flow that opens, and further when there is no free one, so that a table never fills with
//! dead flows even without the agent; and by batches when the agent runs `fw_sweep`.

use core::ffi::c_void;
use core::ptr::NonNull;

use aya_ebpf::helpers::{bpf_ktime_get_coarse_ns, bpf_loop};
use fw_common::abi::flow::Flow;
use fw_common::conntrack::{self, SWEEP_BATCH};

use crate::atomic;
use crate::maps::CONFIG;
use crate::stage::table::{Family, Ipv4, Ipv6};
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
    if walk.ipv4 {
        examine4(walk.now, walk.now_ns);
    } else {
        examine6(walk.now, walk.now_ns);
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
fn take_position<F: Family>() -> Option<u64> {
    let table = F::table()?;
    // SAFETY: an aligned word of a map value.
    Some(unsafe { atomic::fetch_add(&raw mut (*table).hand, 1) })
}

/// Removes the flow in one slot if it has been over for longer than the grace period.
#[inline(never)]
fn examine4(now: u32, now_ns: u64) -> u32 {
    u32::from(examine::<Ipv4>(now, now_ns).is_some())
}

/// As [`examine4`].
#[inline(never)]
fn examine6(now: u32, now_ns: u64) -> u32 {
    u32::from(examine::<Ipv6>(now, now_ns).is_some())
}

#[inline(always)]
fn examine<F: Family>(now: u32, now_ns: u64) -> Option<()> {
    let position = take_position::<F>()?;
    // Going round the slots that were ever used, and not all, makes small loads age quickly.
    // SAFETY: an aligned word of a map value.
    let fresh = unsafe { (&raw const (*F::table()?).fresh).read_volatile() };
    let capacity = u64::from(CONFIG.get(0)?.max_flows);
    let used = if fresh < capacity { fresh } else { capacity };
    if used == 0 {
        return None;
    }
    let number = (position % used) as u32 + 1;
    let slot = F::slot(number)?;
    let flow = F::flow(slot);
    let last_seen = claim_if_over(flow, now)?;
    // SAFETY: a live map value that this processor has claimed, and with it the key.
    let (reason, key) = unsafe { (table::end_reason((*flow.as_ptr()).state), F::key_in(slot).read()) };
    if let Some(record) = table::record_end(flow, last_seen, reason, (F::NUMBER, now_ns), |wide| *wide = F::widen(key))
    {
        record.submit(0);
    }
    table::remove::<F>(slot, number);
    count::happening(|happenings| happenings.swept += 1);
    Some(())
}

/// Claims the flow if it has been over for long enough; its last packet's time.
///
/// The word of a slot that holds no flow is [`fw_common::abi::flow::DYING`], or 0 if it was never used.
#[inline(always)]
fn claim_if_over(flow: NonNull<Flow>, now: u32) -> Option<u32> {
    // SAFETY: a live map value, of which single words are read.
    let last_seen = unsafe { (&raw const (*flow.as_ptr()).last_seen).read_volatile() };
    if last_seen == 0 || !conntrack::is_removable(last_seen, table::timeout_of(flow), now) {
        return None;
    }
    // A packet that has revived the flow meanwhile has changed the word, and keeps it.
    table::claim(flow, last_seen).then_some(last_seen)
}
