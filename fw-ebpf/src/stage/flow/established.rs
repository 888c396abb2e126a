//! A packet of a flow that is known: the policy's epoch, the sender's zone, the state, the counters, the next hop.

use core::ptr::NonNull;

use aya_ebpf::programs::XdpContext;
use fw_common::DropReason;
use fw_common::abi::flow::{DYING, Flow};
use fw_common::abi::interface::interface_flags;
use fw_common::abi::policy::zone;
use fw_common::conntrack::{self, State};
use fw_common::tcp_state::{Side, Step};
use fw_common::wire::parse::{Kind, tcp_flag};

use super::Progress;
use super::rejudge::rejudge;
use super::side::{direction_of, side_of, timeout_of, zones_of};
use crate::atomic;
use crate::job::Job;
use crate::stage::route;
use crate::stage::zone::zone_of;

/// For how long a looked-up next hop is used without asking again, in seconds. Bounds how long a change of a route or a
/// neighbour can go unnoticed when no agent is there to announce it.
const EGRESS_LIFETIME: u32 = 1;

/// A packet of an established flow from the wire.
#[inline(never)]
pub(super) fn continue_from_wire(ctx: &XdpContext, job: &mut Job, flow: NonNull<Flow>) -> Progress {
    match continue_flow(job, flow) {
        Ok(Progress::Continues) if job.for_host => Progress::Continues,
        Ok(Progress::Continues) => match next_hop(ctx, job, flow) {
            Ok(()) => Progress::Continues,
            Err(reason) => Progress::Drop(reason),
        },
        Ok(progress) => progress,
        Err(reason) => Progress::Drop(reason),
    }
}

/// Takes the next hop from the flow, or looks it up.
#[inline(always)]
fn next_hop(ctx: &XdpContext, job: &mut Job, flow: NonNull<Flow>) -> Result<(), DropReason> {
    let side = side_of(job, flow);
    let direction = direction_of(flow, side);
    // SAFETY: a live map value. Another processor may be storing a fresh next hop: at worst one frame goes to the old one.
    let cached = unsafe { &(*direction).egress };
    let (ifindex, slot) = (cached.ifindex, cached.slot);
    let fresh =
        cached.fib_generation == job.fib_generation && job.now.wrapping_sub(cached.resolved_at) <= EGRESS_LIFETIME;
    if ifindex != 0 && fresh {
        job.egress = *cached;
        return Ok(());
    }
    route::resolve(ctx, job)?;
    if job.egress.slot != slot || ifindex == 0 {
        check_egress(job, flow, side)?;
    }
    if !job.unresolved {
        // SAFETY: as above.
        unsafe { (*direction).egress = job.egress };
    }
    Ok(())
}

/// A packet of an established flow that the host sends.
#[inline(always)]
pub(super) fn continue_from_host(job: &mut Job, flow: NonNull<Flow>) -> Result<Progress, DropReason> {
    let progress = continue_flow(job, flow)?;
    let side = side_of(job, flow);
    // SAFETY: a live map value.
    if progress == Progress::Continues && unsafe { (*direction_of(flow, side)).egress.ifindex } != job.egress.ifindex {
        check_zone_of_egress(job, flow, side)?;
        // SAFETY: as above.
        unsafe { (*direction_of(flow, side)).egress = job.egress };
    }
    Ok(progress)
}

/// What every packet of a flow goes through, from the wire or from the host: the policy's epoch, the sender's zone, the
/// state, the counters.
#[inline(always)]
fn continue_flow(job: &mut Job, flow: NonNull<Flow>) -> Result<Progress, DropReason> {
    let side = side_of(job, flow);
    let pointer = flow.as_ptr();
    // SAFETY: a live map value, here and below; its words are read and written one by one.
    if unsafe { (*pointer).epoch } != job.active.epoch {
        rejudge(job, flow)?;
    }
    let direction = direction_of(flow, side);
    // SAFETY: as above.
    unsafe {
        if (*direction).ingress_ifindex != job.ingress_ifindex {
            check_ingress(job, flow, side)?;
        }
        job.decision.rule = (*pointer).rule;
        job.query.from_zone = (*pointer).from_zone;
        job.query.to_zone = (*pointer).to_zone;
        job.for_host = zones_of(flow, side).1 == zone::LOCAL;
    }
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
                && !atomic::compare_and_swap(&raw mut (*pointer).last_seen, last_seen, job.now)
                && (*pointer).last_seen == DYING)
        {
            return Err(DropReason::FlowRace);
        }
        atomic::add(&raw mut (*direction).packets, 1);
        atomic::add(&raw mut (*direction).bytes, u64::from(job.packet.ip_len));
    }
    Ok(Progress::Continues)
}

/// Lets the packet change the flow's state.
#[inline(never)]
fn advance_state(job: &Job, flow: NonNull<Flow>, side: Side) -> Result<Progress, DropReason> {
    let pointer = flow.as_ptr();
    let direction = direction_of(flow, side);
    // SAFETY: a live map value. TCP flags of one direction are written by the processor that receives that direction.
    let state = unsafe {
        if (*direction).tcp_flags | job.packet.tcp_flags != (*direction).tcp_flags {
            (*direction).tcp_flags |= job.packet.tcp_flags;
        }
        State::from_number((*pointer).state)
    };
    // SAFETY: as above.
    let seen_fin = unsafe {
        [
            (*pointer).directions[0].tcp_flags & tcp_flag::FIN != 0,
            (*pointer).directions[1].tcp_flags & tcp_flag::FIN != 0,
        ]
    };
    match conntrack::step(state, side, &job.packet, seen_fin) {
        Step::To(new) if new != state => {
            // SAFETY: as above.
            unsafe {
                (*pointer).timeout = timeout_of(new, (*pointer).rule_timeout);
                (*pointer).state = new as u8;
            }
            Ok(Progress::Continues)
        }
        Step::To(_) => Ok(Progress::Continues),
        Step::Reopen => Ok(Progress::Reopens),
        Step::Invalid if job.packet.kind == Kind::Tcp => Err(DropReason::TcpState),
        Step::Invalid => Err(DropReason::IcmpUnrelated),
    }
}

/// Checks that a packet of the flow comes from the zone of its sender, when it comes by another interface than before.
#[inline(never)]
fn check_ingress(job: &mut Job, flow: NonNull<Flow>, side: Side) -> Result<(), DropReason> {
    let (expected, _) = zones_of(flow, side);
    let actual = match job.ingress_ifindex {
        0 => zone::LOCAL,
        _ => zone_of(job.active.slot, job.interface.slot, &job.packet.src_addr),
    };
    if actual == zone::NONE {
        return Err(DropReason::Spoofed);
    }
    if actual != expected {
        return Err(DropReason::Asymmetric);
    }
    // SAFETY: a live map value; processors that race write the same kind of value.
    unsafe { (*direction_of(flow, side)).ingress_ifindex = job.ingress_ifindex };
    Ok(())
}

/// Checks that a packet of the flow may leave where the route leads, when that is elsewhere than before.
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
    // SAFETY: a live map value. The slot is what the judging reads; without an interface the next hop is not used before
    // it is stored whole.
    unsafe {
        let egress = &raw mut (*direction_of(flow, side)).egress;
        (*egress).ifindex = 0;
        (*egress).slot = job.egress.slot;
    }
    rejudge(job, flow)
}
