//! Fragments: which of them pass, which wait, and what came of the first one.
//!
//! `fw_ingress` leaves a fragment to `fw_fragments`, a program of its own, by a tail call: packets that are none pay nothing
//! for it, and the verifier looks at it apart. What may pass goes back to `fw_ingress` by another tail call, which treats a
//! first fragment as the packet that it begins, and a later one as a packet of its flow. `fw_egress` and
//! `fw_egress_fragments` do the same with what the host sends.
//!
//! Drops: everything named `fragment_*`.

mod hold;
mod table;

use aya_ebpf::bindings::xdp_action::XDP_DROP;
use aya_ebpf::bindings::{TC_ACT_SHOT, xdp_md};
use aya_ebpf::helpers::bpf_xdp_adjust_meta;
use aya_ebpf::programs::{TcContext, XdpContext};
use fw_common::abi::flow::flow_flags;
use fw_common::abi::fragment::Datagram;
use fw_common::fragment::{self, Arrival, HOST_SLOT};
use fw_common::wire::parse::{Kind, Part, tcp_flag};
use fw_common::{DropReason, Verdict};

use crate::job::{Job, Program};
use crate::maps::{EGRESS_STAGES, STAGES};
use crate::packet::Linear;
use crate::stage::receive::{self, Received};
use crate::stage::{capture, count, table as flow_table};

/// Positions in [`STAGES`] and [`EGRESS_STAGES`].
const JUDGE: u32 = 0;
const FRAGMENTS: u32 = 1;
/// Bytes of metadata in front of a frame that the agent gives back. Nothing else puts any there.
const MARK_LEN: u32 = 4;

/// Goes on in `fw_fragments`. Returns if that is missing.
#[inline(always)]
pub(crate) fn follow(ctx: &XdpContext) {
    // SAFETY: nothing here has to be dropped.
    unsafe { STAGES.tail_call(ctx, FRAGMENTS) };
}

/// Goes on in `fw_egress_fragments`. Returns if that is missing.
#[inline(always)]
pub(crate) fn follow_from_host(ctx: &TcContext) {
    // SAFETY: nothing here has to be dropped.
    unsafe { EGRESS_STAGES.tail_call(ctx, FRAGMENTS) };
}

/// The whole of `fw_fragments`.
#[inline(always)]
pub(crate) fn from_wire(ctx: &XdpContext) -> u32 {
    let waited = take_mark(ctx);
    let Some(job) = Job::begin(Program::Ingress) else { return XDP_DROP };
    // Read anew: while an agent replaces the programs, the one that called may have another scratch space.
    let entry = match receive::from_wire(ctx, job) {
        Received::Drop(DropReason::Fragment) => {
            let slot = job.interface.slot as u16;
            match read(&Linear::of_xdp(ctx), job, slot) {
                Ok(()) => enter(ctx, job, waited),
                Err(reason) => Entry::Drop(reason),
            }
        }
        Received::Drop(reason) => Entry::Drop(reason),
        Received::Judge | Received::Host => Entry::Drop(DropReason::Fragment),
    };
    let reason = match entry {
        Entry::Judge => {
            // SAFETY: nothing here has to be dropped.
            unsafe { STAGES.tail_call(ctx, JUDGE) };
            job.next_part = Part::Whole;
            DropReason::Fragment
        }
        // It is counted when it comes back.
        Entry::Held => return XDP_DROP,
        Entry::Drop(reason) => reason,
    };
    let verdict = job.forget(Verdict::Drop(reason));
    count::received(ctx, job, verdict);
    if capture::is_wanted(job) {
        capture::keep_incoming(ctx, job);
        capture::submit_incoming(job, XDP_DROP);
    }
    XDP_DROP
}

/// The whole of `fw_egress_fragments`.
#[inline(always)]
pub(crate) fn from_host(ctx: &TcContext) -> i32 {
    let Some(job) = Job::begin(Program::Egress) else { return TC_ACT_SHOT };
    // As above.
    let entry = match receive::from_host(ctx, job) {
        Received::Drop(DropReason::Fragment) => {
            read(&Linear::of_tc(ctx), job, HOST_SLOT).and_then(|()| enter_from_host(job))
        }
        Received::Drop(reason) => Err(reason),
        Received::Judge | Received::Host => Err(DropReason::Fragment),
    };
    let reason = match entry {
        Ok(()) => {
            // SAFETY: nothing here has to be dropped.
            unsafe { EGRESS_STAGES.tail_call(ctx, JUDGE) };
            job.next_part = Part::Whole;
            DropReason::Fragment
        }
        Err(reason) => reason,
    };
    let _ = job.forget(Verdict::Drop(reason));
    count::dropped_from_host(job, reason);
    if capture::is_wanted(job) {
        capture::from_host(ctx, job, TC_ACT_SHOT);
    }
    TC_ACT_SHOT
}

/// Whether the frame has waited in the agent, whose mark is taken off.
#[inline(always)]
fn take_mark(ctx: &XdpContext) -> bool {
    let context: *mut xdp_md = ctx.ctx;
    // SAFETY: the kernel's own context. Metadata that does not exist begins where the frame does.
    unsafe {
        let (meta, data) =
            ((&raw const (*context).data_meta).read_volatile(), (&raw const (*context).data).read_volatile());
        meta != data && bpf_xdp_adjust_meta(context, MARK_LEN as i32) == 0
    }
}

/// Reads the place of the fragment and the key of its datagram into the job.
#[inline(always)]
fn read(frame: &Linear, job: &mut Job, slot: u16) -> Result<(), DropReason> {
    // As far as its addresses and its length: what is dropped from here on can be logged.
    job.parsed = true;
    let fragment = fragment::read(frame, &job.packet).ok_or(DropReason::FragmentLength)?;
    fragment.check()?;
    // The parser will ask when it comes back.
    job.packet.behind_fragment_header = fragment.protocol;
    job.datagram = fragment::key(&job.packet, &fragment, slot);
    job.fragment = fragment;
    Ok(())
}

/// What becomes of a fragment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    /// `fw_ingress` goes on with it.
    Judge,
    /// The agent has it.
    Held,
    /// It does not pass.
    Drop(DropReason),
}

/// Looks the datagram of a fragment from the wire up, and decides.
#[inline(never)]
fn enter(ctx: &XdpContext, job: &mut Job, waited: bool) -> Entry {
    if job.fragment.is_atomic() {
        job.next_part = Part::Atomic;
        return Entry::Judge;
    }
    let Some(bucket) = table::lock(job) else { return Entry::Drop(DropReason::FlowRace) };
    // SAFETY: the bucket is this processor's until it is unlocked.
    let datagram = unsafe { table::datagram(bucket, job) };
    let arrival = fragment::arrive(datagram, &job.fragment, waited, table::compare);
    if arrival != Arrival::Wait {
        note(job, datagram, arrival);
        table::unlock(bucket);
        return match arrival {
            Arrival::Judge | Arrival::Follow => Entry::Judge,
            Arrival::Wait => Entry::Held,
            Arrival::Drop(reason) => Entry::Drop(reason),
        };
    }
    // Under the lock: the agent must not hear that the first fragment has been judged before it has the ones that wait.
    let place = hold::reserve(ctx, job);
    if place.is_none() {
        datagram.held -= 1;
    }
    table::unlock(bucket);
    match place {
        Some(place) => {
            if place.fill(ctx, job) {
                Entry::Held
            } else {
                Entry::Drop(DropReason::FragmentNotHeld)
            }
        }
        None => Entry::Drop(DropReason::FragmentNotHeld),
    }
}

/// The same for a fragment that the host sends, in order.
#[inline(never)]
fn enter_from_host(job: &mut Job) -> Result<(), DropReason> {
    if job.fragment.is_atomic() {
        job.next_part = Part::Atomic;
        return Ok(());
    }
    let bucket = table::lock(job).ok_or(DropReason::FlowRace)?;
    // SAFETY: as above.
    let datagram = unsafe { table::datagram(bucket, job) };
    let arrival = fragment::arrive(datagram, &job.fragment, true, table::compare);
    note(job, datagram, arrival);
    table::unlock(bucket);
    match arrival {
        Arrival::Judge | Arrival::Follow => Ok(()),
        Arrival::Wait => Err(DropReason::FragmentWithoutFirst),
        Arrival::Drop(reason) => Err(reason),
    }
}

/// Notes what a fragment that passes is to the program that goes on with it.
#[inline(always)]
fn note(job: &mut Job, datagram: &Datagram, arrival: Arrival) {
    job.next_part = match arrival {
        Arrival::Judge => Part::First,
        Arrival::Follow => Part::Later,
        Arrival::Wait | Arrival::Drop(_) => return,
    };
    job.later.protocol = datagram.protocol;
    job.later.src_port = datagram.src_port;
    job.later.dst_port = datagram.dst_port;
    job.later.icmp = datagram.icmp;
}

/// Gives a later fragment what only its datagram's first one has, so that it finds its flow.
#[inline(always)]
pub(crate) fn complete(job: &mut Job) {
    job.packet.protocol = job.later.protocol;
    job.packet.src_port = job.later.src_port;
    job.packet.dst_port = job.later.dst_port;
    [job.packet.icmp_type, job.packet.icmp_code] = job.later.icmp;
}

/// Notes what came of a first fragment, so that the others follow it, and tells the agent if it holds some.
#[inline(never)]
pub(crate) fn conclude(job: &mut Job, verdict: Verdict) -> Verdict {
    let passed = !matches!(verdict, Verdict::Drop(_));
    // What only passes to be challenged needs no knowledge of the connection, and must not end its checks; a reset has no rest.
    if passed && job.heeded && job.packet.kind == Kind::Tcp && job.packet.tcp_flags & tcp_flag::RST == 0 {
        forgive_numbers(job);
    }
    let Some(bucket) = table::lock(job) else {
        return if passed { Verdict::Drop(DropReason::FlowRace) } else { verdict };
    };
    // SAFETY: as above.
    let datagram = unsafe { table::datagram(bucket, job) };
    let concluded = fragment::conclude(datagram, &job.fragment, &job.packet, passed, table::compare);
    if concluded == Ok(true) {
        hold::announce(job);
    }
    table::unlock(bucket);
    match concluded {
        Err(reason) if passed => Verdict::Drop(reason),
        Ok(_) | Err(_) => verdict,
    }
}

/// Makes the connection of a segment in fragments liberal: how long the segment is, only its last fragment says, so that what
/// may be acknowledged from now on is not known.
#[inline(always)]
fn forgive_numbers(job: &mut Job) {
    if let Some(flow) = flow_table::find(job) {
        flow_table::set_flags(flow, flow_flags::LIBERAL);
    }
}
