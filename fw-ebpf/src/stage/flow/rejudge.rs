//! Asking the policy: about a new flow, and again about a flow that an older policy has allowed.

use core::ptr::NonNull;

use aya_ebpf::programs::XdpContext;
use fw_common::DropReason;
use fw_common::abi::event::EndReason;
use fw_common::abi::flow::{FROM_HOST, Flow, UNCHECKED, flow_flags};
use fw_common::abi::policy::zone;
use fw_common::policy::Decision;
use fw_common::policy::standing::goes_on;
use fw_common::tcp::Side;
use fw_common::wire::{Address, Packet, protocol};

use super::side::side_of;
use crate::job::Job;
use crate::stage::zone::zone_of;
use crate::stage::{classify, count, interface, limits, observing, route, table};
use crate::verified_once::verified_once;

/// Asks the current policy about a flow of a packet from the wire, which an older one has allowed.
#[inline(never)]
pub(super) fn rejudge_from_wire(ctx: &XdpContext, job: &mut Job, flow: NonNull<Flow>) -> Result<(), DropReason> {
    find_egress(ctx, job, flow)?;
    rejudge(job, flow)
}

/// Finds the interface that the originator's packets leave by. Without a route the packet is dropped, but the flow is not ended for it.
#[inline(always)]
pub(super) fn find_egress(ctx: &XdpContext, job: &mut Job, flow: NonNull<Flow>) -> Result<(), DropReason> {
    // SAFETY: a live map value.
    let (to_zone, opened_by) = unsafe { ((*flow.as_ptr()).to_zone, (*flow.as_ptr()).directions[0].checked) };
    if to_zone != zone::LOCAL {
        if side_of(job, flow) == Side::Originator {
            route::resolve(ctx, job)?;
        } else if opened_by & FROM_HOST != 0 {
            job.egress.slot = slot_of(opened_by & !FROM_HOST).ok_or(DropReason::EgressNotForwarding)? as u16;
        } else {
            route::resolve_original(ctx, job, opened_by)?;
        }
    }
    Ok(())
}

/// Asks the current policy about a flow, whose originator's packets leave by the interface in `job.egress.slot`. Forbidden
/// flows are ended.
#[inline(always)]
pub(super) fn rejudge(job: &mut Job, flow: NonNull<Flow>) -> Result<(), DropReason> {
    if rejudge_flow(job, flow) == 0 { Err(DropReason::PolicyChanged) } else { Ok(()) }
}

verified_once! {
    fn rejudge_flow(job: &mut Job, &flow: Flow) -> u32 {
        u32::from(is_allowed(job, flow))
    } else 0
}

/// As [`rejudge`]; whether the flow goes on.
#[inline(always)]
fn is_allowed(job: &mut Job, flow: NonNull<Flow>) -> bool {
    count::happening(|happenings| happenings.rejudged += 1);
    let pointer = flow.as_ptr();
    // SAFETY: a live map value.
    let judged = unsafe { (&raw const (*pointer).last_seen).read_volatile() };
    let zones = zones_if_allowed(job, flow);
    observing::note(job);
    let Some((from_zone, to_zone)) = zones else {
        table::end_now(job, flow, judged, EndReason::PolicyChange);
        return false;
    };
    limits::transfer(job, flow);
    let flags = flags_of(&job.decision);
    // First the new ones: without an idle time-out of its rule, a flow might be over for a moment.
    table::set_flags(flow, flags);
    table::clear_flags(flow, !flags & (flow_flags::LOG | flow_flags::RULE_TIMEOUT));
    // SAFETY: a live map value; processors that race write the same.
    unsafe {
        (*pointer).from_zone = from_zone;
        (*pointer).to_zone = to_zone;
        (*pointer).rule = job.decision.rule;
        // The responder's zone may be elsewhere now: where its packets come from and go to is checked again.
        (*pointer).directions[1].checked = UNCHECKED;
        // Both next hops, too: interfaces may have other slots since.
        (&raw mut (*pointer).next_hops).cast::<u32>().write_volatile(0);
        (&raw mut (*pointer).epoch).write_volatile(job.active.epoch);
    }
    true
}

/// The zones of a flow as they are now, if the current policy allows it. Leaves them in the query, too, and the rule in the decision.
#[inline(always)]
pub(super) fn zones_if_allowed(job: &mut Job, flow: NonNull<Flow>) -> Option<(u8, u8)> {
    let pointer = flow.as_ptr();
    let by_originator = side_of(job, flow) == Side::Originator;
    let (src_addr, dst_addr) = oriented(&job.packet, by_originator);
    // SAFETY: a live map value.
    let (opened_by, from_zone, to_zone, icmp) =
        unsafe { ((*pointer).directions[0].checked, (*pointer).from_zone, (*pointer).to_zone, (*pointer).icmp()) };
    let from_zone = match from_zone {
        zone::LOCAL => zone::LOCAL,
        _ => match slot_of(opened_by) {
            Some(slot) => zone_of(job.active.slot, slot, &src_addr),
            // The interface is gone, and with it the zone; a packet that comes by another is judged by that one.
            None if by_originator => zone_of(job.active.slot, job.interface.slot, &src_addr),
            None => zone::NONE,
        },
    };
    let to_zone = match to_zone {
        zone::LOCAL => zone::LOCAL,
        _ => zone_of(job.active.slot, u32::from(job.egress.slot), &dst_addr),
    };
    job.query.from_zone = from_zone;
    job.query.to_zone = to_zone;
    ask(job, by_originator, icmp);
    goes_on(from_zone, to_zone, job.decision.action).then_some((from_zone, to_zone))
}

/// What the rule asks for in the flow's flags.
#[inline(always)]
pub(super) const fn flags_of(decision: &Decision) -> u8 {
    (if decision.log { flow_flags::LOG } else { 0 })
        | if decision.idle_timeout != 0 { flow_flags::RULE_TIMEOUT } else { 0 }
}

/// The slot of an interface, as it is numbered now.
#[inline(always)]
fn slot_of(ifindex: u32) -> Option<u32> {
    interface::find(ifindex).map(|interface| interface.slot)
}

/// Asks the policy, from the originator's point of view; the zones are in the query.
#[inline(always)]
pub(super) fn ask(job: &mut Job, by_originator: bool, icmp: [u8; 2]) {
    describe(job, by_originator, icmp);
    classify::decide(job);
}

/// Fills the query, but for the zones, from the originator's point of view.
#[inline(always)]
pub(super) fn describe(job: &mut Job, by_originator: bool, icmp: [u8; 2]) {
    let packet = &job.packet;
    let query = &mut job.query;
    query.protocol = packet.protocol;
    (query.src_addr, query.dst_addr) = oriented(packet, by_originator);
    (query.src_port, query.dst_port) = match packet.protocol {
        // Of the opening packet: this one may be the reply.
        protocol::ICMP | protocol::ICMPV6 => (0, u16::from_be_bytes(icmp)),
        _ if by_originator => (packet.src_port, packet.dst_port),
        _ => (packet.dst_port, packet.src_port),
    };
}

/// Both addresses as the originator sent them.
#[inline(always)]
const fn oriented(packet: &Packet, by_originator: bool) -> (Address, Address) {
    if by_originator { (packet.src_addr, packet.dst_addr) } else { (packet.dst_addr, packet.src_addr) }
}
