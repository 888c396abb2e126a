//! Ageing: flows that are over are found and removed by a hand that goes round the slots.
//!
//! The hand moves by batches when the agent runs `fw_sweep`; and, so that the table never fills with dead flows even without the agent, by
//! three slots for each flow that opens in a table that is half full, and further when it is full.

use core::ffi::c_void;
use core::ptr::NonNull;

use aya_ebpf::helpers::{bpf_ktime_get_coarse_ns, bpf_loop};
use fw_common::abi::event::EndReason;
use fw_common::abi::flow::{Flow, LANES};
use fw_common::conntrack::{self, SWEEP_BATCH};
use fw_common::flow_index::Place;

use crate::atomic;
use crate::job::Job;
use crate::maps::CONFIG;
use crate::stage::table::{Family, Ipv4, Ipv6};
use crate::stage::{count, half_open, table};
use crate::verified_once::verified_once;

/// What the steps of a walk need.
struct Walk {
    ipv4: bool,
    now: u32,
    now_ns: u64,
}

/// A walk of the hand.
struct Turn {
    walk: Walk,
    /// Where the hand was.
    first: u64,
    /// Slots of the table.
    slots: u64,
}

/// Looks at the next slots of one table.
#[inline(always)]
pub(crate) fn advance(ipv4: bool, now: u32, steps: u32) {
    let (Some(config), Some(table)) = (CONFIG.get(0), if ipv4 { Ipv4::table() } else { Ipv6::table() }) else { return };
    let slots = u64::from(config.buckets) * u64::from(LANES);
    // SAFETY: the helper has no arguments; and an aligned word of a map value.
    let (now_ns, first) =
        unsafe { (bpf_ktime_get_coarse_ns(), atomic::fetch_add(&raw mut (*table).hand, u64::from(steps))) };
    let mut turn = Turn { walk: Walk { ipv4, now, now_ns }, first, slots };
    // SAFETY: `turn` outlives the call, and `one_step` takes it back as what it is.
    unsafe { bpf_loop(steps, one_step as *mut c_void, (&raw mut turn).cast(), 0) };
}

/// Looks at a slot that the hand has passed.
///
/// # Safety
/// Called by `bpf_loop` alone, with the pointer to the [`Turn`] that `advance` lends it.
unsafe extern "C" fn one_step(step: u32, turn: *mut c_void) -> i64 {
    // SAFETY: `bpf_loop` hands over the pointer that `advance` gave it.
    let turn = unsafe { &*turn.cast::<Turn>() };
    if let Some(number) = (turn.first + u64::from(step)).checked_rem(turn.slots) {
        examine_by(&turn.walk, number as u32);
    }
    0
}

/// Looks at every slot of the two buckets of a key.
#[inline(always)]
pub(crate) fn clear_buckets(ipv4: bool, place: &Place, now: u32) {
    // SAFETY: the helper has no arguments.
    let now_ns = unsafe { bpf_ktime_get_coarse_ns() };
    let mut walk = Buckets { walk: Walk { ipv4, now, now_ns }, buckets: [place.first, place.second] };
    // SAFETY: `walk` outlives the call, and `one_lane` takes it back as what it is.
    unsafe { bpf_loop(2 * LANES, one_lane as *mut c_void, (&raw mut walk).cast(), 0) };
}

/// What the steps of a walk through two buckets need.
struct Buckets {
    walk: Walk,
    buckets: [u32; 2],
}

/// Looks at one slot of the two buckets.
///
/// # Safety
/// Called by `bpf_loop` alone, with the pointer to the [`Buckets`] that `clear_buckets` lends it.
unsafe extern "C" fn one_lane(step: u32, walk: *mut c_void) -> i64 {
    // SAFETY: `bpf_loop` hands over the pointer that `clear_buckets` gave it.
    let walk = unsafe { &*walk.cast::<Buckets>() };
    let [first, second] = walk.buckets;
    let bucket = if step < LANES { first } else { second };
    examine_by(&walk.walk, bucket * LANES + step % LANES);
    0
}

/// Removes the flow in a slot if it is over; whether it did.
#[inline(always)]
pub(crate) fn examine<F: Family>(number: u32, job: &Job) -> bool {
    let removed =
        if F::NUMBER == 4 { examine4(number, job.now, job.now_ns) } else { examine6(number, job.now, job.now_ns) };
    removed != 0
}

/// Looks at a slot.
#[inline(always)]
fn examine_by(walk: &Walk, number: u32) {
    if walk.ipv4 {
        examine4(number, walk.now, walk.now_ns);
    } else {
        examine6(number, walk.now, walk.now_ns);
    }
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

verified_once! {
    /// Removes the flow in a slot if it has been over for longer than the grace period.
    fn examine4(number: u32, now: u32, now_ns: u64) -> u32 {
        u32::from(examine_slot::<Ipv4>(number, now, now_ns).is_some())
    }
}

verified_once! {
    /// As [`examine4`].
    fn examine6(number: u32, now: u32, now_ns: u64) -> u32 {
        u32::from(examine_slot::<Ipv6>(number, now, now_ns).is_some())
    }
}

#[inline(always)]
fn examine_slot<F: Family>(number: u32, now: u32, now_ns: u64) -> Option<()> {
    if !table::is_used::<F>(number) {
        return None;
    }
    let slot = F::slot(number)?;
    let flow = F::flow(slot);
    if half_open::is_in_the_way::<F>(flow) {
        return make_room::<F>(slot, flow, now, now_ns);
    }
    let last_seen = claim_if_over(flow, now)?;
    // SAFETY: a live map value that this processor has claimed.
    let reason = table::end_reason(unsafe { (*flow.as_ptr()).state });
    if let Some(record) =
        table::record_end(flow, last_seen, reason, (F::NUMBER, now_ns), |wide| F::write_key(slot, wide))
    {
        record.submit(0);
    }
    table::settle(F::table(), flow);
    table::remove::<F>(number);
    count::happening(|happenings| happenings.swept += 1);
    Some(())
}

/// Ends a half-open flow that has no place of which it could be told when its turn comes. The hand removes it when it comes again.
#[inline(always)]
fn make_room<F: Family>(slot: NonNull<F::Slot>, flow: NonNull<Flow>, now: u32, now_ns: u64) -> Option<()> {
    // SAFETY: a live map value, of which a single word is read.
    let last_seen = unsafe { (&raw const (*flow.as_ptr()).last_seen).read_volatile() };
    if !table::claim(flow, last_seen) {
        return None;
    }
    let record =
        table::record_end(flow, last_seen, EndReason::Evicted, (F::NUMBER, now_ns), |wide| F::write_key(slot, wide));
    if let Some(record) = record {
        record.submit(0);
    }
    table::close(F::table(), flow, now);
    count::happening(|happenings| happenings.evicted += 1);
    None
}

/// Claims the flow if it has been over for long enough; its last packet's time.
///
/// The word of a slot that is being filled for the first time is 0.
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
