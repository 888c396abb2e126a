//! The flow tables: find, insert, end.
//!
//! See `docs/adr/0008-own-flow-table.md` for who may touch what, and when.

mod family;
mod index;
mod record;
mod slots;

use core::ptr::NonNull;

use fw_common::DropReason;
use fw_common::abi::event::EndReason;
use fw_common::abi::flow::{DYING, Flow, LOCKS, flow_flags};
use fw_common::abi::policy::zone;
use fw_common::conntrack::{self, State};
use fw_common::flow_index::Place;
use fw_common::wire::Packet;

pub(crate) use self::family::{Family, Ipv4, Ipv6};
pub(crate) use self::record::{copy_flow, end_reason, record_end, report_end_of};
use crate::atomic;
use crate::job::Job;
use crate::maps::{CONFIG, LOCKS as LOCK_WORDS, RULE_TIMEOUTS};
use crate::stage::{count, sweep};

/// Slots that are looked at when a flow opens: two, so that the hand goes round before a table of dead flows is full.
const STEPS_PER_FLOW: u32 = 2;
/// Slots that are looked at when there is no free one.
const STEPS_WHEN_FULL: u32 = 64;
/// How often a processor tries to get a lock that another one holds, for the few hundred instructions that this takes.
const LOCK_ATTEMPTS: u32 = 64;

/// Finds the flow of the packet, and notes its key in the job.
#[inline(always)]
pub(crate) fn find(job: &mut Job) -> Option<NonNull<Flow>> {
    if job.packet.is_ipv4() {
        flow_in::<Ipv4>(find4(job, false))
    } else {
        flow_in::<Ipv6>(find6(job, false))
    }
}

/// Finds the flow of the packet that an ICMP error quotes.
#[inline(always)]
pub(crate) fn find_quoted(job: &mut Job) -> Option<NonNull<Flow>> {
    if job.quoted.is_ipv4() {
        flow_in::<Ipv4>(find4(job, true))
    } else {
        flow_in::<Ipv6>(find6(job, true))
    }
}

/// The flow in a slot that was found.
#[inline(always)]
fn flow_in<F: Family>(number: u32) -> Option<NonNull<Flow>> {
    if number == 0 { None } else { F::slot(number).map(F::flow) }
}

/// Finds the slot of an IPv4 packet, or of the one that it quotes; 0 if there is none.
///
/// VERIFIER: a function of its own that returns a number, so that what follows is verified once, and not for each place where
/// an entry can be. Test: `prog_run::the_programs_load`.
#[inline(never)]
fn find4(job: &mut Job, quoted: bool) -> u32 {
    find_of::<Ipv4>(job, quoted)
}

/// As [`find4`].
#[inline(never)]
fn find6(job: &mut Job, quoted: bool) -> u32 {
    find_of::<Ipv6>(job, quoted)
}

#[inline(always)]
fn find_of<F: Family>(job: &mut Job, quoted: bool) -> u32 {
    let Some(config) = CONFIG.get(0) else { return 0 };
    let packet: &Packet = if quoted { &job.quoted } else { &job.packet };
    let (key, sender_is_high) = F::key_of(packet);
    let words = F::words(&key);
    let place = F::place(&words, config);
    let stored = (&raw mut *F::key(job)).cast::<u64>();
    for (place, word) in words.as_ref().iter().enumerate() {
        // By words, as it will be read: the processor is slow at reading a word whose parts it has just written.
        // SAFETY: a key is aligned to words, has as many of them, and no padding of the compiler's.
        unsafe { stored.add(place).write_volatile(*word) };
    }
    job.sender_is_high = sender_is_high;
    job.place = place;
    let mut last_seen = 0;
    let number = index::find::<F>(F::key(job), &place, &mut last_seen);
    job.judged = last_seen;
    number
}

/// Whether the flow that was found has not idled past its time-out.
#[inline(always)]
pub(crate) fn is_alive(job: &Job, flow: NonNull<Flow>) -> bool {
    conntrack::is_alive(job.judged, timeout_of(flow), job.now)
}

/// The idle time-out of a flow in seconds: its rule's, in states in which data flows and if it has one, else its state's.
#[inline(always)]
pub(crate) fn timeout_of(flow: NonNull<Flow>) -> u32 {
    // SAFETY: a live map value.
    let (state, flags, rule) = unsafe { ((*flow.as_ptr()).state, (*flow.as_ptr()).flags, (*flow.as_ptr()).rule) };
    if flags & flow_flags::RULE_TIMEOUT != 0 && State::from_number(state).carries_data() {
        if let Some(seconds) = RULE_TIMEOUTS.get(rule) {
            return *seconds;
        }
    }
    match CONFIG.get(0).and_then(|config| config.timeouts.seconds.get(usize::from(state))) {
        Some(seconds) => *seconds,
        None => 0,
    }
}

/// Claims a flow that was judged by `judged`; of several processors one gets it.
///
/// If the slot holds another flow meanwhile, its word is another: that flow was seen after this one was judged.
#[inline(always)]
pub(crate) fn claim(flow: NonNull<Flow>, judged: u32) -> bool {
    // SAFETY: `last_seen` is an aligned word of a map value.
    judged != DYING && unsafe { atomic::compare_and_swap(&raw mut (*flow.as_ptr()).last_seen, judged, DYING) }
}

/// Stores `job.flow` under the packet's key.
///
/// [`DropReason::FlowRace`]: another processor was faster, and its flow is there.
#[inline(never)]
pub(crate) fn insert(job: &mut Job) -> Result<(), DropReason> {
    let ipv4 = job.packet.is_ipv4();
    sweep::advance(ipv4, job.now, STEPS_PER_FLOW);
    let mut number = take(job);
    if number == 0 {
        // The dead are elsewhere: look further before a new flow is turned away.
        sweep::advance(ipv4, job.now, STEPS_WHEN_FULL);
        number = take(job);
    }
    if number == 0 {
        return Err(full());
    }
    let stored = if ipv4 { store4(job, number) } else { store6(job, number) };
    if stored.is_err() {
        if ipv4 { slots::give_back::<Ipv4>(number) } else { slots::give_back::<Ipv6>(number) }
    }
    stored
}

/// Takes a slot for the packet's flow; 0 if there is none.
#[inline(never)]
fn take(job: &Job) -> u32 {
    let Some(config) = CONFIG.get(0) else { return 0 };
    // The host must be reachable when everything else has filled the table.
    let of_host = job.query.from_zone == zone::LOCAL || job.query.to_zone == zone::LOCAL;
    let keep = if of_host { 0 } else { config.reserved_flows };
    let taken = if job.packet.is_ipv4() { slots::take::<Ipv4>(config, keep) } else { slots::take::<Ipv6>(config, keep) };
    taken.unwrap_or(0)
}

/// Puts an IPv4 flow into a slot.
#[inline(never)]
fn store4(job: &mut Job, number: u32) -> Result<(), DropReason> {
    store::<Ipv4>(job, number)
}

/// Puts an IPv6 flow into a slot.
#[inline(never)]
fn store6(job: &mut Job, number: u32) -> Result<(), DropReason> {
    store::<Ipv6>(job, number)
}

/// Puts the flow into a slot, and the slot into the index.
#[inline(always)]
fn store<F: Family>(job: &mut Job, number: u32) -> Result<(), DropReason> {
    let lock = lock(&job.place).ok_or(DropReason::FlowRace)?;
    let other = if F::NUMBER == 4 { find4(job, false) } else { find6(job, false) };
    let stored = if other == 0 { fill::<F>(job, number) } else { Err(DropReason::FlowRace) };
    // SAFETY: this processor's, until this word is written.
    unsafe { lock.write_volatile(0) };
    stored
}

/// Writes the flow and its key, and then its entry.
#[inline(always)]
fn fill<F: Family>(job: &mut Job, number: u32) -> Result<(), DropReason> {
    let slot = F::slot(number).ok_or(DropReason::TableFull)?;
    // SAFETY: a field of a live map value.
    let last_seen = unsafe { &raw mut (*F::flow(slot).as_ptr()).last_seen };
    // SAFETY: the slot is in no entry of the index, so that nobody finds it; who has found its last flow sees that it is over
    // until the last word is written, and cannot claim it afterwards.
    unsafe {
        last_seen.write_volatile(DYING);
        F::key_in(slot).write(*F::key(job));
        copy_flow(&raw const job.flow, F::flow(slot).as_ptr());
    }
    let published = if F::NUMBER == 4 { publish4(&job.place, number) } else { publish6(&job.place, number) };
    if published {
        return Ok(());
    }
    // SAFETY: as above. The sweep passes over the slot.
    unsafe { last_seen.write_volatile(DYING) };
    Err(full())
}

/// Puts an IPv4 flow's slot into the index.
#[inline(never)]
fn publish4(place: &Place, number: u32) -> bool {
    index::publish::<Ipv4>(place, number)
}

/// As [`publish4`].
#[inline(never)]
fn publish6(place: &Place, number: u32) -> bool {
    index::publish::<Ipv6>(place, number)
}

fn full() -> DropReason {
    count::happening(|happenings| happenings.table_full += 1);
    DropReason::TableFull
}

/// Takes the lock of a key. Nobody waits for it who could keep its holder from going on: a packet of the host that is
/// interrupted by one from the wire gives up, and is dropped.
#[inline(always)]
fn lock(place: &Place) -> Option<*mut u32> {
    let lock: *mut u32 = LOCK_WORDS.get_ptr_mut(place.lock & (LOCKS - 1))?;
    for _ in 0..LOCK_ATTEMPTS {
        // SAFETY: an aligned word of a live map value.
        if unsafe { atomic::compare_and_swap(lock, 0, 1) } {
            return Some(lock);
        }
    }
    None
}

/// Ends the packet's flow, which was judged by `judged`: it is over from now on, and the sweep will remove it.
#[inline(never)]
pub(crate) fn end_now(job: &Job, flow: NonNull<Flow>, judged: u32, reason: EndReason) {
    if !claim(flow, judged) {
        return;
    }
    report_end_of(job, flow, judged, reason);
    let pointer = flow.as_ptr();
    // SAFETY: a map value that this processor has claimed; `last_seen` gives it free again and is written last.
    unsafe {
        (*pointer).flags &= !flow_flags::LOG;
        (*pointer).state = State::Ended as u8;
        (&raw mut (*pointer).last_seen).write_volatile(job.now.saturating_sub(1));
    }
}

/// Removes the flow in a slot, which this processor has claimed.
#[inline(always)]
pub(crate) fn remove<F: Family>(slot: NonNull<F::Slot>, number: u32) {
    let Some(config) = CONFIG.get(0) else { return };
    // SAFETY: a live map value; the key of a claimed flow does not change.
    let key = unsafe { F::key_in(slot).read() };
    index::unlink::<F>(&F::place(&F::words(&key), config), number);
    slots::give_back::<F>(number);
}
