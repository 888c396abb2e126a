//! What would become of a packet from the wire: the same decisions as [`super::judge_from_wire`], of which nothing is stored.
//!
//! Zones and routes are always looked up: what a passage remembers is as good, and packets may change one while it is read.

use core::ptr::NonNull;

use aya_ebpf::programs::XdpContext;
use fw_common::abi::explained::explained_flags;
use fw_common::abi::flow::{Flow, UNCHECKED};
use fw_common::abi::policy::{Action, zone};
use fw_common::conntrack::{self, Opening, State};
use fw_common::tcp::{Side, Step};
use fw_common::wire::parse::Kind;
use fw_common::{DropReason, Verdict};

use super::established::{Leads, check_hairpin, comes_from, leads_to};
use super::open::{ask_reversed, check_ends, is_picked_up, picks_up, route_new};
use super::rejudge::{describe, find_egress, zones_if_allowed};
use super::side::{direction_of, next_hop_of, side_of};
use super::{Progress, conclude, sctp, tcp};
use crate::job::Job;
use crate::stage::explain::note;
use crate::stage::zone::source_is_not_ours;
use crate::stage::{classify, half_open, limits, next_hop, observing, route, table};

/// What [`super::judge_from_wire`] would say.
#[inline(never)]
pub(crate) fn foresee_from_wire(ctx: &XdpContext, job: &mut Job) -> Verdict {
    let found = table::find(job);
    if let Some(flow) = found
        && table::is_alive(job, flow)
    {
        match continues(ctx, job, flow) {
            Ok(Progress::Continues) => return conclude(job),
            Ok(Progress::Reopens) => job.leave_flow(),
            Ok(Progress::Drop(reason)) | Err(reason) => return Verdict::Drop(reason),
        }
    }
    match opens(ctx, job, found.is_some()) {
        Ok(()) => conclude(job),
        Err(reason) => Verdict::Drop(reason),
    }
}

/// A packet of a flow that is known.
#[inline(never)]
fn continues(ctx: &XdpContext, job: &mut Job, flow: NonNull<Flow>) -> Result<Progress, DropReason> {
    let side = side_of(job, flow);
    let pointer = flow.as_ptr();
    // SAFETY: a live map value, here and below.
    let (epoch, state) = unsafe { ((*pointer).epoch, (*pointer).state) };
    note(|explained| {
        explained.flow_slot = job.slot;
        explained.state = state;
        explained.flags |= explained_flags::OF_FLOW;
        if side == Side::Responder {
            explained.flags |= explained_flags::REPLY;
        }
    });
    // SAFETY: as above.
    let mut checked = unsafe { (*direction_of(flow, side)).checked };
    // What is remembered of the flow's next hop holds: nothing that would forget it has happened.
    let mut remembers = true;
    if epoch == job.active.epoch {
        // SAFETY: as above.
        unsafe {
            job.decision.rule = (*pointer).rule;
            job.query.from_zone = (*pointer).from_zone;
            job.query.to_zone = (*pointer).to_zone;
        }
    } else {
        find_egress(ctx, job, flow)?;
        judge_again(job, flow)?;
        remembers = false;
        if side == Side::Responder {
            checked = UNCHECKED;
        }
    }
    let (sender_zone, receiver_zone) = match side {
        Side::Originator => (job.query.from_zone, job.query.to_zone),
        Side::Responder => (job.query.to_zone, job.query.from_zone),
    };
    job.for_host = receiver_zone == zone::LOCAL;
    if checked != job.ingress_ifindex {
        comes_from(job, sender_zone)?;
        remembers = false;
    }
    if advances(job, flow, side)? == Progress::Reopens {
        return Ok(Progress::Reopens);
    }
    if job.for_host || (remembers && recalls(job, flow, side)) {
        return Ok(Progress::Continues);
    }
    source_is_not_ours(&job.packet.src_addr)?;
    route::resolve(ctx, job)?;
    check_hairpin(job)?;
    if matches!(leads_to(job, receiver_zone, side)?, Leads::Elsewhere) {
        judge_again(job, flow)?;
    }
    Ok(Progress::Continues)
}

/// Asks the current policy about a flow.
#[inline(never)]
fn judge_again(job: &mut Job, flow: NonNull<Flow>) -> Result<(), DropReason> {
    note(|explained| explained.flags |= explained_flags::ASKED);
    let zones = zones_if_allowed(job, flow);
    observing::foresee(job);
    if zones.is_some() { Ok(()) } else { Err(DropReason::PolicyChanged) }
}

/// Whether the next hop that the flow remembers is still good; it is in the job then.
#[inline(always)]
fn recalls(job: &mut Job, flow: NonNull<Flow>, side: Side) -> bool {
    // SAFETY: a live map value.
    let (generation, reference) = unsafe { ((*flow.as_ptr()).fib_generation, *next_hop_of(flow, side)) };
    generation == job.fib_generation && next_hop::recall(job, reference)
}

/// What the packet would do to the flow's state.
#[inline(always)]
fn advances(job: &mut Job, flow: NonNull<Flow>, side: Side) -> Result<Progress, DropReason> {
    if job.packet.kind == Kind::Tcp {
        return tcp::foresee(job, flow, side);
    }
    if job.packet.kind == Kind::Sctp {
        return sctp::foresee(job, flow, side);
    }
    // SAFETY: a live map value.
    let state = State::from_number(unsafe { (*flow.as_ptr()).state });
    match conntrack::step(state, side, &job.packet) {
        Step::To(_) => Ok(Progress::Continues),
        Step::Reopen => Ok(Progress::Reopens),
        Step::Invalid => Err(DropReason::IcmpUnrelated),
    }
}

/// A packet that belongs to no living flow. `stale`: a dead flow still has its key.
#[inline(never)]
fn opens(ctx: &XdpContext, job: &mut Job, stale: bool) -> Result<(), DropReason> {
    check_ends(job)?;
    let state = match conntrack::opening(&job.packet, picks_up(job)) {
        Opening::Flow(state) => state,
        Opening::Refused(_) if !stale && table::is_being_changed(job) => return Err(DropReason::FlowRace),
        Opening::Refused(reason) => return Err(reason),
    };
    note(|explained| {
        explained.state = state as u8;
        explained.flags = explained.flags & !explained_flags::REPLY | explained_flags::OPENS;
    });
    if job.for_host {
        job.query.to_zone = zone::LOCAL;
    } else {
        route_new(ctx, job)?;
    }
    ask(job);
    match job.decision.action {
        Action::Allow => {}
        Action::Drop => return Err(DropReason::Policy),
        Action::Reject => return Err(DropReason::Rejected),
    }
    if job.decision.limited {
        note(|explained| explained.flags |= explained_flags::LIMITED);
        if !limits::would_admit(job) {
            return Err(DropReason::Limit);
        }
    }
    if half_open::would_refuse(job) {
        return Err(DropReason::HalfOpenLimit);
    }
    if !table::has_room(job) {
        note(|explained| explained.flags |= explained_flags::TABLE_FULL);
    }
    Ok(())
}

/// Asks the policy about the flow that the packet would open.
#[inline(always)]
fn ask(job: &mut Job) {
    note(|explained| explained.flags |= explained_flags::ASKED);
    let icmp = [job.packet.icmp_type, job.packet.icmp_code];
    describe(job, true, icmp);
    classify::decide(job);
    if job.decision.action != Action::Allow && is_picked_up(job) {
        ask_reversed(job, icmp);
    }
    observing::foresee(job);
}
