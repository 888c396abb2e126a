//! The flow tables: find, insert, end.
//!
//! See `docs/adr/0008-own-flow-table.md` for who may touch what, and when.

mod family;
mod flags;
mod index;
mod record;

use core::ptr::NonNull;

use fw_common::abi::event::EndReason;
use fw_common::abi::flow::{DYING, Flow, LOCKS, Table, flow_flags};
use fw_common::abi::policy::zone;
use fw_common::conntrack::{self, IdleBy, State};
use fw_common::flow_index::Place;
use fw_common::wire::Packet;

use self::family::copy_key;
pub(crate) use self::family::{Family, Ipv4, Ipv6};
pub(crate) use self::flags::{clear_flags, set_flags};
pub(crate) use self::record::{copy_flow, end_reason, record_end, report_end_of, write_flow_record};
use crate::atomic;
use crate::job::Job;
use crate::maps::{CONFIG, LOCKS as LOCK_WORDS, RULE_TIMEOUTS};
use crate::packet::opaque;
use crate::stage::{count, half_open, limits, sweep};
use crate::verified_once::verified_once;

/// Slots that are looked at when a flow opens in a table that is half full. A table has half as many slots again as it may hold
/// flows, so that the hand goes round before a table of dead flows is full.
const STEPS_PER_FLOW: u32 = 3;
/// Slots that are looked at when there is no free one.
const STEPS_WHEN_FULL: u32 = 64;
/// How often a processor tries to get a lock that another one holds, for the few hundred instructions that this takes.
const LOCK_ATTEMPTS: u32 = 64;

/// Whose flow is looked for: that of the packet, or of the one that it quotes.
const OWN: u32 = 0;
const QUOTED: u32 = 1;

/// Finds the flow of the packet, and notes its key in the job.
#[inline(always)]
pub(crate) fn find(job: &mut Job) -> Option<NonNull<Flow>> {
    if job.packet.is_ipv4() { flow_in::<Ipv4>(find4(job, OWN)) } else { flow_in::<Ipv6>(find6(job, OWN)) }
}

/// Finds the flow of the packet that an ICMP error quotes.
#[inline(always)]
pub(crate) fn find_quoted(job: &mut Job) -> Option<NonNull<Flow>> {
    if job.quoted.is_ipv4() { flow_in::<Ipv4>(find4(job, QUOTED)) } else { flow_in::<Ipv6>(find6(job, QUOTED)) }
}

/// The flow in a slot that was found.
#[inline(always)]
fn flow_in<F: Family>(number: u32) -> Option<NonNull<Flow>> {
    if number == index::NONE { None } else { F::slot(number).map(F::flow) }
}

verified_once! {
    /// Finds the slot of an IPv4 packet, or of the one that it quotes; [`index::NONE`] if there is none.
    fn find4(job: &mut Job, which: u32) -> u32 {
        note_key::<Ipv4>(job, which == QUOTED);
        search::<Ipv4>(job)
    } else index::NONE
}

verified_once! {
    /// As [`find4`].
    fn find6(job: &mut Job, which: u32) -> u32 {
        note_key::<Ipv6>(job, which == QUOTED);
        search::<Ipv6>(job)
    } else index::NONE
}

/// Notes the key of the packet, or of the one that it quotes, and its place in the table.
#[inline(always)]
fn note_key<F: Family>(job: &mut Job, quoted: bool) {
    let Some(config) = CONFIG.get(0) else { return };
    let packet: &Packet = if quoted { &job.quoted } else { &job.packet };
    let (key, sender_is_high) = F::key_of(packet);
    let words = F::words(&key);
    job.place = F::place(&words, config);
    job.sender_is_high = sender_is_high;
    let stored = (&raw mut *F::key(job)).cast::<u64>();
    for (place, word) in words.as_ref().iter().enumerate() {
        // By words, as it will be read: the processor is slow at reading a word whose parts it has just written.
        // SAFETY: a key is aligned to words, has as many of them, and no padding of the compiler's.
        unsafe { stored.add(place).write_volatile(*word) };
    }
}

/// Searches for the key in the job.
#[inline(always)]
fn search<F: Family>(job: &mut Job) -> u32 {
    let place = job.place;
    let mut last_seen = 0;
    let number = index::find::<F>(F::key(job), &place, &mut last_seen);
    job.judged = last_seen;
    job.slot = number;
    number
}

/// Whether no flow was found because another processor has just claimed the packet's, to end or to replace it. It may think better of
/// it.
#[inline(always)]
pub(crate) fn is_being_changed(job: &Job) -> bool {
    job.judged == DYING
}

/// Whether the flow that was found has not idled past its time-out.
#[inline(always)]
pub(crate) fn is_alive(job: &Job, flow: NonNull<Flow>) -> bool {
    conntrack::is_alive(job.judged, timeout_of(flow), job.now)
}

/// The idle time-out of a flow in seconds.
#[inline(always)]
pub(crate) fn timeout_of(flow: NonNull<Flow>) -> u32 {
    let pointer = flow.as_ptr();
    // SAFETY: a live map value.
    let (state, flags, tcp_flags, rule) =
        unsafe { (State::from_number((*pointer).state), (*pointer).flags, (*pointer).tcp_flags, (*pointer).rule) };
    let state = match conntrack::idle_by(state, flags, tcp_flags) {
        IdleBy::State(state) => state,
        IdleBy::Rule => match RULE_TIMEOUTS.get(rule) {
            Some(seconds) if *seconds != 0 => return *seconds as u32,
            _ => state,
        },
    };
    // VERIFIER: the compiler drops the comparison because it knows how many states there are; Linux 6.1 does not, and finds the
    // index too large. Seen only by loading the object there.
    let index = opaque(state as usize);
    match CONFIG.get(0).and_then(|config| config.timeouts.seconds.get(index)) {
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

/// What came of storing a flow.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Stored {
    /// It is in the table.
    New = 0,
    /// Another processor was faster, and its flow of the same key is there.
    Already = 1,
    /// There is no room.
    Full = 2,
    /// Another flow's opening holds the lock, on a processor that does not go on.
    Locked = 3,
    /// There are too many half-open flows.
    TooManyHalfOpen = 4,
}

/// Stores `job.flow` under the packet's key.
#[inline(always)]
pub(crate) fn insert(job: &mut Job) -> Stored {
    match flow_insert(job) {
        0 => Stored::New,
        1 => Stored::Already,
        2 => Stored::Full,
        _ => Stored::Locked,
    }
}

verified_once! {
    /// As [`insert`]: the number of what came of it.
    fn flow_insert(job: &mut Job) -> u32 {
        make_room_and_store(job) as u32
    } else Stored::Locked as u32
}

#[inline(always)]
fn make_room_and_store(job: &mut Job) -> Stored {
    let ipv4 = job.packet.is_ipv4();
    if is_half_full(job) {
        sweep::advance(ipv4, job.now, STEPS_PER_FLOW);
        if !has_room(job) {
            // The dead are elsewhere: look further before a new flow is turned away.
            sweep::advance(ipv4, job.now, STEPS_WHEN_FULL);
        }
        if !has_room(job) {
            half_open::give_way(job);
            if !has_room(job) {
                count::happening(|happenings| happenings.table_full += 1);
                return Stored::Full;
            }
        }
    }
    let mut stored = if ipv4 { store4(job) } else { store6(job) };
    if stored == Stored::Full {
        // Both buckets are full: of dead flows, perhaps.
        sweep::clear_buckets(ipv4, &job.place, job.now);
        stored = if ipv4 { store4(job) } else { store6(job) };
    }
    if stored == Stored::Full {
        count::happening(|happenings| happenings.table_full += 1);
    }
    stored
}

/// Whether the table may hold another flow.
#[inline(never)]
fn has_room(job: &Job) -> bool {
    let Some(config) = CONFIG.get(0) else { return false };
    // The host must be reachable when everything else has filled the table.
    let keep = if is_of_host(job) { 0 } else { config.reserved_flows };
    // Processors that look at once go a few flows beyond the limit.
    used(job) + u64::from(keep) < u64::from(config.max_flows)
}

/// Whether half of the flows that the table may hold are there. In an emptier one the dead take nobody's room, and are left to the
/// agent's sweep.
#[inline(always)]
fn is_half_full(job: &Job) -> bool {
    CONFIG.get(0).is_none_or(|config| used(job) >= u64::from(config.max_flows / 2))
}

/// Flows in the packet's table.
#[inline(always)]
fn used(job: &Job) -> u64 {
    // SAFETY: an aligned word of a live map value.
    table_of(job).map_or(u64::MAX, |table| unsafe { (&raw const (*table).used).read_volatile() })
}

/// Whether the packet's flow begins or ends at the host.
#[inline(always)]
pub(crate) fn is_of_host(job: &Job) -> bool {
    job.query.from_zone == zone::LOCAL || job.query.to_zone == zone::LOCAL
}

/// Puts an IPv4 flow into a slot.
#[inline(never)]
fn store4(job: &mut Job) -> Stored {
    store::<Ipv4>(job)
}

/// Puts an IPv6 flow into a slot.
#[inline(never)]
fn store6(job: &mut Job) -> Stored {
    store::<Ipv6>(job)
}

/// Puts the flow into a slot of one of its buckets, unless another processor has.
#[inline(always)]
fn store<F: Family>(job: &mut Job) -> Stored {
    let Some(lock) = lock(job.place.lock & (LOCKS - 1)) else { return Stored::Locked };
    let other = if F::NUMBER == 4 { find4(job, OWN) } else { find6(job, OWN) };
    let stored = if other != index::NONE {
        Stored::Already
    } else if is_being_changed(job) {
        // It may live on, and there would be two of them.
        Stored::Locked
    } else {
        fill::<F>(job)
    };
    // SAFETY: this processor's, until this word is written.
    unsafe { lock.write_volatile(0) };
    stored
}

/// Takes a slot, and writes the flow and its key.
#[inline(always)]
fn fill<F: Family>(job: &mut Job) -> Stored {
    let number = if F::NUMBER == 4 { reserve4(&job.place) } else { reserve6(&job.place) };
    if number == index::NONE {
        return Stored::Full;
    }
    let Some(slot) = F::slot(number) else { return Stored::Full };
    if let Some(table) = F::table() {
        // Before the slot is written: an atomic operation waits for every store before it, and these wait for memory.
        // SAFETY: an aligned word of a live map value.
        unsafe { atomic::add(&raw mut (*table).used, 1) };
    }
    job.slot = number;
    let flow = F::flow(slot).as_ptr();
    // SAFETY: the slot is this processor's. Who finds its tag passes over it until the last word is written; who has found its
    // last flow has seen that it is over, and cannot claim it afterwards.
    unsafe {
        (&raw mut (*flow).last_seen).write_volatile(DYING);
        copy_key(&raw const *F::key(job), F::key_in(slot));
        copy_flow(&raw const job.flow, flow);
    }
    Stored::New
}

/// Takes a slot for an IPv4 flow.
#[inline(never)]
fn reserve4(place: &Place) -> u32 {
    index::reserve::<Ipv4>(place)
}

/// As [`reserve4`].
#[inline(never)]
fn reserve6(place: &Place) -> u32 {
    index::reserve::<Ipv6>(place)
}

/// Takes the lock of a key. Packets of one processor do not interrupt each other, so the holder goes on; but its processor may
/// be taken from the virtual machine for longer than a packet can wait, which is dropped then.
#[inline(always)]
pub(crate) fn lock(number: u32) -> Option<*mut u32> {
    let lock: *mut u32 = LOCK_WORDS.get_ptr_mut(number)?;
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
    close(table_of(job), flow, job.now);
}

/// Lets a flow be over whose end was reported, and which this processor has claimed. The sweep will remove it.
#[inline(always)]
pub(crate) fn close(table: Option<*mut Table>, flow: NonNull<Flow>, now: u32) {
    settle(table, flow);
    clear_flags(flow, flow_flags::LOG);
    let pointer = flow.as_ptr();
    // SAFETY: a map value that this processor has claimed; `last_seen` gives it free again and is written last.
    unsafe {
        (&raw mut (*pointer).state).write_volatile(State::Ended as u8);
        (&raw mut (*pointer).last_seen).write_volatile(now.saturating_sub(1));
    }
}

/// The table that the packet's flow is in.
#[inline(always)]
pub(crate) fn table_of(job: &Job) -> Option<*mut Table> {
    if job.packet.is_ipv4() { Ipv4::table() } else { Ipv6::table() }
}

/// Takes a flow that is over out of what counts living flows.
#[inline(always)]
pub(crate) fn settle(table: Option<*mut Table>, flow: NonNull<Flow>) {
    half_open::forget(table, flow);
    limits::release(flow);
}

/// Whether a slot holds a flow.
#[inline(always)]
pub(crate) fn is_used<F: Family>(number: u32) -> bool {
    index::is_used::<F>(number)
}

/// Removes the flow in a slot, which this processor has claimed.
#[inline(always)]
pub(crate) fn remove<F: Family>(number: u32) {
    index::release::<F>(number);
    if let Some(table) = F::table() {
        // SAFETY: an aligned word of a live map value.
        unsafe { atomic::add(&raw mut (*table).used, u64::MAX) };
    }
}
