//! A packet of a flow that is known: the policy's epoch, the sender's zone, the state, the counters, the next hop.

use core::ptr::NonNull;

use aya_ebpf::programs::XdpContext;
use fw_common::DropReason;
use fw_common::abi::event::EndReason;
use fw_common::abi::flow::{DYING, FROM_HOST, Flow};
use fw_common::abi::interface::interface_flags;
use fw_common::abi::policy::zone;
use fw_common::conntrack::{self, State};
use fw_common::tcp::{Side, Step};
use fw_common::wire::parse::Kind;

use super::Progress;
use super::rejudge::{rejudge, rejudge_from_wire};
use super::side::{direction_of, next_hop_of, other_direction_of, side_of, zones_of};
use super::{sctp, tcp};
use crate::atomic;
use crate::job::Job;
use crate::stage::zone::{source_is_not_ours, zone_of};
use crate::stage::{half_open, next_hop, route, table};

/// A packet of an established flow from the wire.
#[inline(never)]
pub(super) fn continue_from_wire(ctx: &XdpContext, job: &mut Job, flow: NonNull<Flow>) -> Progress {
    match try_from_wire(ctx, job, flow) {
        Ok(progress) => progress,
        Err(reason) => Progress::Drop(reason),
    }
}

#[inline(always)]
fn try_from_wire(ctx: &XdpContext, job: &mut Job, flow: NonNull<Flow>) -> Result<Progress, DropReason> {
    let side = side_of(job, flow);
    // SAFETY: a live map value, here and below; its words are read and written one by one.
    if unsafe { (*flow.as_ptr()).epoch } != job.active.epoch {
        rejudge_from_wire(ctx, job, flow)?;
    }
    // SAFETY: as above.
    if unsafe { (*direction_of(flow, side)).checked } != job.ingress_ifindex {
        check_sender(job, flow, side)?;
    }
    let progress = continue_flow(job, flow, side)?;
    if progress == Progress::Continues && !job.for_host {
        next_hop(ctx, job, flow, side)?;
    }
    Ok(progress)
}

/// Takes the next hop from the table, or looks it up.
#[inline(always)]
fn next_hop(ctx: &XdpContext, job: &mut Job, flow: NonNull<Flow>, side: Side) -> Result<(), DropReason> {
    let pointer = flow.as_ptr();
    // SAFETY: a live map value.
    let (generation, reference) = unsafe { ((*pointer).fib_generation, *next_hop_of(flow, side)) };
    if generation == job.fib_generation && next_hop::recall(job, reference) {
        return Ok(());
    }
    look_up_next_hop(ctx, job, flow)
}

/// Looks the next hop up, checks that it leads where the policy was asked about, and notes it in the flow.
#[inline(never)]
fn look_up_next_hop(ctx: &XdpContext, job: &mut Job, flow: NonNull<Flow>) -> Result<(), DropReason> {
    if let Err(reason) = source_is_not_ours(&job.packet.src_addr) {
        // It has become that since the flow was opened.
        // SAFETY: a live map value.
        let judged = unsafe { (&raw const (*flow.as_ptr()).last_seen).read_volatile() };
        table::end_now(job, flow, judged, EndReason::PolicyChange);
        return Err(reason);
    }
    route::resolve(ctx, job)?;
    let side = side_of(job, flow);
    check_egress(job, flow, side)?;
    if job.unresolved {
        return Ok(());
    }
    let reference = next_hop::remember(job);
    let pointer = flow.as_ptr();
    // SAFETY: a live map value. References to other generations go before the new generation comes; one that another
    // processor writes too late is told apart by the low bits of its generation.
    unsafe {
        if (*pointer).fib_generation != job.fib_generation {
            (&raw mut (*pointer).next_hops).cast::<u32>().write_volatile(0);
            (&raw mut (*pointer).fib_generation).write_volatile(job.fib_generation);
        }
        next_hop_of(flow, side).write_volatile(reference);
    }
    Ok(())
}

/// A packet of an established flow that the host sends.
#[inline(always)]
pub(super) fn continue_from_host(job: &mut Job, flow: NonNull<Flow>) -> Result<Progress, DropReason> {
    let side = side_of(job, flow);
    // SAFETY: as above.
    if unsafe { (*flow.as_ptr()).epoch } != job.active.epoch {
        rejudge(job, flow)?;
    }
    let checked = FROM_HOST | job.egress.ifindex;
    // SAFETY: as above.
    if unsafe { (*direction_of(flow, side)).checked } != checked {
        if zones_of(flow, side).0 != zone::LOCAL {
            return Err(DropReason::Asymmetric);
        }
        check_zone_of_egress(job, flow, side)?;
        // SAFETY: as above.
        unsafe { (*direction_of(flow, side)).checked = checked };
    }
    continue_flow(job, flow, side)
}

/// What every packet of a flow goes through whose zones and policy are known to be right: the state and the counters.
#[inline(always)]
fn continue_flow(job: &mut Job, flow: NonNull<Flow>, side: Side) -> Result<Progress, DropReason> {
    let pointer = flow.as_ptr();
    let direction = direction_of(flow, side);
    // SAFETY: as above.
    unsafe {
        job.decision.rule = (*pointer).rule;
        job.query.from_zone = (*pointer).from_zone;
        job.query.to_zone = (*pointer).to_zone;
        job.for_host = zones_of(flow, side).1 == zone::LOCAL;
    }
    // VERIFIER: told by map memory, since what follows would be verified once for each result. Test: `prog_run::maps`.
    job.heeded = true;
    if advance_state(job, flow, side)? == Progress::Reopens {
        return Ok(Progress::Reopens);
    }
    // SAFETY: as above.
    unsafe {
        let last_seen = (*pointer).last_seen;
        // Written once a second at most, so that a busy flow's line stays shared between processors. If another one has
        // changed the word, it has seen a packet in the same second, or it is removing the flow.
        if last_seen == DYING
            || (last_seen != job.now
                && job.heeded
                && !atomic::compare_and_swap(&raw mut (*pointer).last_seen, last_seen, job.now)
                && (*pointer).last_seen == DYING)
        {
            return Err(DropReason::FlowRace);
        }
        atomic::add(&raw mut (*direction).packets, 1);
        atomic::add(&raw mut (*direction).bytes, u64::from(job.packet.ip_len));
        // Most half-open flows that are seen at all here are streams that nobody answers: they are told apart without a call.
        if (*pointer).half_open != 0 && (*other_direction_of(flow, side)).packets != 0 {
            half_open::confirm(job, flow);
        }
    }
    Ok(Progress::Continues)
}

/// Lets the packet change the flow's state.
#[inline(always)]
fn advance_state(job: &mut Job, flow: NonNull<Flow>, side: Side) -> Result<Progress, DropReason> {
    if job.packet.kind == Kind::Tcp {
        return tcp::advance(job, flow, side);
    }
    if job.packet.kind == Kind::Sctp {
        return sctp::advance(job, flow, side);
    }
    let pointer = flow.as_ptr();
    // SAFETY: a live map value.
    let state = State::from_number(unsafe { (*pointer).state });
    match conntrack::step(state, side, &job.packet) {
        Step::To(new) => {
            if new != state {
                // SAFETY: as above.
                unsafe { (*pointer).state = new as u8 };
            }
            Ok(Progress::Continues)
        }
        Step::Reopen => Ok(Progress::Reopens),
        Step::Invalid => Err(DropReason::IcmpUnrelated),
    }
}

/// Checks that a packet from the wire comes from the zone of its sender, when it comes by another interface than before.
#[inline(never)]
fn check_sender(job: &mut Job, flow: NonNull<Flow>, side: Side) -> Result<(), DropReason> {
    let (expected, _) = zones_of(flow, side);
    // What the host itself sends does not come from the wire.
    if expected == zone::LOCAL {
        return Err(DropReason::SourceOwn);
    }
    let actual = zone_of(job.active.slot, job.interface.slot, &job.packet.src_addr);
    if actual == zone::NONE {
        return Err(DropReason::Spoofed);
    }
    if actual != expected {
        return Err(DropReason::Asymmetric);
    }
    // SAFETY: a live map value; processors that race write the same kind of value.
    unsafe { (*direction_of(flow, side)).checked = job.ingress_ifindex };
    // What was looked up for the other interface may lead back out of this one.
    // SAFETY: as above.
    unsafe { next_hop_of(flow, side).write_volatile(0) };
    Ok(())
}

/// Checks that a packet of the flow may leave where the route leads.
#[inline(always)]
fn check_egress(job: &mut Job, flow: NonNull<Flow>, side: Side) -> Result<(), DropReason> {
    if job.egress.ifindex == job.ingress_ifindex && job.interface.flags & interface_flags::HAIRPIN == 0 {
        return Err(DropReason::Hairpin);
    }
    check_zone_of_egress(job, flow, side)
}

/// Checks that a packet of the flow leaves into the zone that was judged. If the route to the responder has moved into
/// another zone, the flow is judged as what it is now; replies do not move a flow.
#[inline(always)]
fn check_zone_of_egress(job: &mut Job, flow: NonNull<Flow>, side: Side) -> Result<(), DropReason> {
    let (_, expected) = zones_of(flow, side);
    let actual = zone_of(job.active.slot, u32::from(job.egress.slot), &job.packet.dst_addr);
    if actual == expected {
        return Ok(());
    }
    if actual == zone::NONE {
        return Err(DropReason::DestinationZone);
    }
    if side == Side::Responder {
        return Err(DropReason::Asymmetric);
    }
    rejudge(job, flow)
}
