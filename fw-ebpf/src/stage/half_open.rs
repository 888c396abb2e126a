//! Half-open flows: each has a place in the ring `HALF_OPEN`, and the oldest gives way ([`fw_common::half_open`]).
//!
//! Drops, by way of `flow`: `half_open_limit`.
//!
//! Who takes [`Flow::half_open`] from its place to 0, or marks it, by compare-and-swap, takes the flow out of the count: the packet
//! that confirms it, the turn that ends it, or whoever removes it. An entry of the ring is a hint: the flow's own word decides.

use core::ptr::NonNull;

use fw_common::abi::config::config_flags;
use fw_common::abi::event::EndReason;
use fw_common::abi::flow::{Flow, OPENED_SHIFT, Table, flow_flags};
use fw_common::conntrack::{self, State};
use fw_common::half_open::{self, Entry, RETIRED, UNPLACED, is_confirmed};

use crate::atomic;
use crate::job::Job;
use crate::maps::{CONFIG, HALF_OPEN};
use crate::stage::table::{self, Family, Ipv4, Ipv6};
use crate::stage::{count, limits, sweep};
use crate::verified_once::verified_once;

/// Places that are looked at when the table is full, for each flow that finds no room.
const PLACES_WHEN_FULL: u32 = 4;
/// Slots that are looked at when there are too many half-open flows, for each that is turned away.
const STEPS_AT_LIMIT: u32 = 64;

/// Finds a place for the packet's flow, notes it in the job, and counts the flow; false if there is none.
///
/// It is counted before it is stored: an atomic operation waits for every store before it, and a slot's wait for memory.
#[inline(always)]
pub(crate) fn admit(job: &mut Job) -> bool {
    half_open_admit(job) != 0
}

verified_once! {
    /// As [`admit`].
    fn half_open_admit(job: &mut Job) -> u32 {
        let admitted = admit_in(job);
        if admitted {
            count_one(table::table_of(job), 1);
        }
        u32::from(admitted)
    } else 0
}

/// Takes back what [`admit`] counted, of a flow that was not stored. Its place goes to nobody.
#[inline(always)]
pub(crate) fn withdraw(job: &Job) {
    count_one(table::table_of(job), u64::MAX);
}

/// Counts a half-open flow, or with the negative of one, counts it down.
#[inline(always)]
fn count_one(table: Option<*mut Table>, one: u64) {
    if let Some(table) = table {
        // SAFETY: an aligned word of a live map value.
        unsafe { atomic::add(&raw mut (*table).half_open, one) };
    }
}

#[inline(always)]
fn admit_in(job: &mut Job) -> bool {
    let counted_only = is_counted_only(job);
    if count_of(table::table_of(job)) >= most(counted_only) {
        // Those that are over, or have no place any more, count until they are removed, and nobody else moves that hand in time.
        sweep::advance(job.packet.is_ipv4(), job.now, STEPS_AT_LIMIT);
    }
    if counted_only {
        let admitted = count_of(table::table_of(job)) < most(true);
        job.half_open = if admitted { UNPLACED } else { 0 };
    } else {
        turn(job, true);
    }
    job.half_open != 0
}

/// Whether, as a setting, the packet's flow is turned away at the limit, and never ended for others. The host must be reachable
/// whatever else opens: its flows have places in any case.
#[inline(always)]
fn is_counted_only(job: &Job) -> bool {
    refuses() && !table::is_of_host(job)
}

/// Whether, as a setting, flows are turned away at the limit.
#[inline(always)]
fn refuses() -> bool {
    CONFIG.get(0).is_some_and(|config| config.flags & config_flags::REFUSE_HALF_OPEN != 0)
}

/// How many half-open flows there are.
#[inline(always)]
fn count_of(table: Option<*mut Table>) -> u64 {
    // SAFETY: an aligned word of a live map value.
    table.map_or(u64::MAX, |table| unsafe { read(&raw const (*table).half_open) })
}

/// How many there may be: `refusing`, without places, or with the places of the host. More than the latter are there only if
/// some have no place.
#[inline(always)]
fn most(refusing: bool) -> u64 {
    let limit = CONFIG.get(0).map_or(0, |config| config.half_open_limit);
    u64::from(if refusing { limit } else { limit + half_open::for_host(limit) })
}

/// Whether a flow opened when others were turned away for it, which is no longer the setting, and must make room now.
#[inline(always)]
pub(crate) fn is_in_the_way<F: Family>(flow: NonNull<Flow>) -> bool {
    // SAFETY: a word of a live map value.
    let place = unsafe { (&raw const (*flow.as_ptr()).half_open).read_volatile() };
    place == UNPLACED && !refuses() && count_of(F::table()) >= most(false)
}

/// Ends half-open flows for the sake of a table that is full.
///
/// VERIFIER: a loop that is verified for each of its steps. The callback of `bpf_loop` would be one call more, and the stacks of
/// all calls together would exceed 512 bytes on Linux 6.1, which rounds each up to 32. Test: `prog_run::stack::the_stacks_fit_linux_6_1`.
#[inline(always)]
pub(crate) fn give_way(job: &mut Job) {
    for _ in 0..PLACES_WHEN_FULL {
        turn(job, false);
    }
}

/// Ends the oldest half-open flow, if there are too many or the table is full, and gives slots free. For a flow that is being
/// admitted, notes its place in the job, counted from 1; 0 if there is none.
#[inline(always)]
fn turn(job: &mut Job, admits: bool) {
    if job.packet.is_ipv4() {
        turn4(job, admits);
    } else {
        turn6(job, admits);
    }
}

#[inline(never)]
fn turn4(job: &mut Job, admits: bool) -> u32 {
    turn_in::<Ipv4>(job, admits)
}

/// As [`turn4`].
#[inline(never)]
fn turn6(job: &mut Job, admits: bool) -> u32 {
    turn_in::<Ipv6>(job, admits)
}

#[inline(always)]
fn turn_in<F: Family>(job: &mut Job, admits: bool) -> u32 {
    if admits {
        job.half_open = 0;
    }
    let (Some(config), Some(table)) = (CONFIG.get(0), F::table()) else { return 0 };
    let (ring, limit) = (u64::from(config.half_open_ring), u64::from(config.half_open_limit));
    if ring == 0 {
        return 0;
    }
    // SAFETY: aligned words of a live map value, here and below.
    let (next, oldest) = unsafe { (read(&raw const (*table).next_place), read(&raw const (*table).oldest_place)) };
    // Processors that look at once may have ended one more than there are.
    let places = next.saturating_sub(oldest);
    if places >= limit || (!admits && places != 0) {
        // SAFETY: as above.
        let place = (unsafe { atomic::fetch_add(&raw mut (*table).oldest_place, 1) } % ring) as u32;
        if let Some(entry) = entry_at::<F>(ring as u32, place) {
            retire::<F>(job, entry, place + 1);
        }
    }
    give_free::<F>(job, table, ring);
    give_free::<F>(job, table, ring);
    let others = if table::is_of_host(job) { 0 } else { u64::from(half_open::for_host(config.half_open_limit)) };
    // SAFETY: as above.
    if admits && next.saturating_sub(unsafe { read(&raw const (*table).kept_place) }) + others < ring {
        // SAFETY: as above.
        job.half_open = (unsafe { atomic::fetch_add(&raw mut (*table).next_place, 1) } % ring) as u32 + 1;
    }
    0
}

/// Reads a word that other processors write.
///
/// # Safety
/// `word` is an aligned word of a live map value.
// SAFETY: as above, to be kept by the caller.
#[inline(always)]
unsafe fn read(word: *const u64) -> u64 {
    // SAFETY: the caller's.
    unsafe { word.read_volatile() }
}

/// A place of a family's ring.
#[inline(always)]
fn entry_at<F: Family>(ring: u32, place: u32) -> Option<*mut u64> {
    HALF_OPEN.get_ptr_mut(if F::NUMBER == 4 { place } else { ring + place })
}

/// The place of the packet's flow, counted from 1; `None` if it has none.
#[inline(always)]
fn entry_of(job: &Job, place: u32) -> Option<*mut u64> {
    if place == UNPLACED {
        return None;
    }
    let place = place.wrapping_sub(1);
    let before = if job.packet.is_ipv4() { 0 } else { CONFIG.get(0)?.half_open_ring };
    HALF_OPEN.get_ptr_mut(before.wrapping_add(place))
}

/// The same moments as those of [`Flow::opened`].
#[inline(always)]
const fn moment(job: &Job) -> u32 {
    (job.now_ns >> OPENED_SHIFT) as u32
}

/// Ends the flow that has a place, if it is half-open still.
#[inline(always)]
fn retire<F: Family>(job: &Job, entry: *mut u64, place: u32) {
    // SAFETY: an aligned word of a live map value, here and below.
    let held = Entry(unsafe { entry.read_volatile() });
    if held.is_free() || held.is_retired() {
        return;
    }
    let Some(slot) = F::slot(held.slot()) else { return };
    let flow = F::flow(slot);
    let pointer = flow.as_ptr();
    // SAFETY: single words of a live map value. `last_seen` before the place: see `claim_at`.
    let judged = unsafe { (&raw const (*pointer).last_seen).read_volatile() };
    // A flow that is over already is the sweep's: its slot needs not be kept.
    let over = !conntrack::is_alive(judged, table::timeout_of(flow), job.now);
    if (over && sweep::examine::<F>(held.slot(), job)) || !claim_at(flow, judged, place) {
        // SAFETY: as above.
        unsafe { atomic::compare_and_swap_u64(entry, held.0, Entry::FREE.0) };
        return;
    }
    // SAFETY: as above; this processor's, but for a packet that found the flow before.
    unsafe {
        if !leave(F::table(), flow, place, place | RETIRED) {
            // That packet has confirmed it.
            (&raw mut (*pointer).last_seen).write_volatile(judged);
            return;
        }
        limits::release(flow);
        let record = table::record_end(flow, judged, EndReason::Evicted, (F::NUMBER, job.now_ns), |key| {
            F::write_key(slot, key);
        });
        if let Some(record) = record {
            record.submit(0);
        }
        table::clear_flags(flow, flow_flags::LOG);
        (&raw mut (*pointer).state).write_volatile(State::Ended as u8);
        entry.write_volatile(Entry::retired(held.slot(), moment(job)).0);
        (&raw mut (*pointer).last_seen).write_volatile(job.now.saturating_sub(1));
    }
    count::happening(|happenings| happenings.evicted += 1);
}

/// Claims the flow of a place. The slot may have gone to another flow that was seen in the same second since `judged` was read,
/// so the place is compared once more when nobody else can change the slot.
#[inline(always)]
fn claim_at(flow: NonNull<Flow>, judged: u32, place: u32) -> bool {
    let pointer = flow.as_ptr();
    // SAFETY: single words of a live map value.
    unsafe {
        if (&raw const (*pointer).half_open).read_volatile() != place || !table::claim(flow, judged) {
            return false;
        }
        if (&raw const (*pointer).half_open).read_volatile() != place {
            (&raw mut (*pointer).last_seen).write_volatile(judged);
            return false;
        }
    }
    true
}

/// Gives the last place that is kept free, and with it the slot of the flow that was ended, unless that was too short a time
/// ago.
#[inline(always)]
fn give_free<F: Family>(job: &Job, table: *mut Table, ring: u64) {
    // SAFETY: aligned words of live map values, here and below.
    let (kept, oldest) = unsafe { (read(&raw const (*table).kept_place), read(&raw const (*table).oldest_place)) };
    if kept >= oldest {
        return;
    }
    let place = (kept % ring) as u32;
    let Some(entry) = entry_at::<F>(ring as u32, place) else { return };
    // SAFETY: as above.
    let held = Entry(unsafe { entry.read_volatile() });
    if held.is_retired() && !held.is_quiet(moment(job)) {
        return;
    }
    // SAFETY: as above. Of several processors, one gives it free.
    unsafe {
        if !atomic::compare_and_swap_u64(&raw mut (*table).kept_place, kept, kept + 1) || !held.is_retired() {
            return;
        }
        entry.write_volatile(Entry::FREE.0);
    }
    if let Some(slot) = F::slot(held.slot()) {
        let flow = F::flow(slot);
        // SAFETY: as above.
        let judged = unsafe { (&raw const (*flow.as_ptr()).last_seen).read_volatile() };
        if claim_at(flow, judged, (place + 1) | RETIRED) {
            // Who was judging the flow anew when it was ended may have counted it since.
            limits::release(flow);
            table::remove::<F>(held.slot());
        }
    }
}

/// Puts the flow that was just stored in `job.slot` into the place that was found for it.
#[inline(always)]
pub(crate) fn enlist(job: &Job) {
    if let Some(entry) = entry_of(job, job.half_open) {
        // SAFETY: an aligned word of a live map value.
        unsafe { entry.write_volatile(Entry::held(job.slot).0) };
    }
}

/// Takes the flow out of the half-open ones if it is confirmed by now.
#[inline(never)]
pub(crate) fn confirm(job: &Job, flow: NonNull<Flow>) -> u32 {
    let pointer = flow.as_ptr();
    // SAFETY: single words of a live map value.
    let (place, state, heard) = unsafe {
        let heard = |direction: usize| (&raw const (*pointer).directions[direction].packets).read_volatile() != 0;
        let place = (&raw const (*pointer).half_open).read_volatile();
        (place, State::from_number((*pointer).state), [heard(0), heard(1)])
    };
    // Another processor may have confirmed it since the caller has seen a place.
    if place == 0 || place & RETIRED != 0 || !is_confirmed(state, heard) {
        return 0;
    }
    if !leave(table::table_of(job), flow, place, 0) {
        return 0;
    }
    // The entry is in the cache still. Left to be found stale when its turn comes, it would cost a wait for its slot.
    if let Some(entry) = entry_of(job, place) {
        // SAFETY: an aligned word of a live map value. If it has gone to another flow meanwhile, it names another slot: this one is
        // the packet's flow's, which lives.
        unsafe { atomic::compare_and_swap_u64(entry, Entry::held(job.slot).0, Entry::FREE.0) };
    }
    1
}

/// Takes a flow that is being removed, or replaced, out of the count.
#[inline(always)]
pub(crate) fn forget(table: Option<*mut Table>, flow: NonNull<Flow>) {
    // SAFETY: a word of a live map value.
    let place = unsafe { (&raw const (*flow.as_ptr()).half_open).read_volatile() };
    if place != 0 && place & RETIRED == 0 {
        leave(table, flow, place, 0);
    }
}

/// Takes a flow out of the count; of several processors one does.
#[inline(always)]
fn leave(table: Option<*mut Table>, flow: NonNull<Flow>, place: u32, then: u32) -> bool {
    // SAFETY: an aligned word of a live map value.
    if !unsafe { atomic::compare_and_swap(&raw mut (*flow.as_ptr()).half_open, place, then) } {
        return false;
    }
    count_one(table, u64::MAX);
    true
}
