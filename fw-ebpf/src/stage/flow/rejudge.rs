//! Asking the policy: about a new flow, and again about a flow that an older policy has allowed.

use core::ptr::NonNull;

use fw_common::DropReason;
use fw_common::abi::event::EndReason;
use fw_common::abi::flow::{Flow, UNCHECKED, flow_flags};
use fw_common::abi::policy::{Action, zone};
use fw_common::conntrack::State;
use fw_common::tcp_state::Side;
use fw_common::wire::{Address, Packet, protocol};

use super::side::{side_of, timeout_of};
use crate::job::Job;
use crate::maps::INTERFACES;
use crate::stage::zone::zone_of;
use crate::stage::{classify, count, table};

/// Asks the current policy about a flow that another one has allowed; forbidden flows are removed.
#[inline(never)]
pub(super) fn rejudge(job: &mut Job, flow: NonNull<Flow>) -> Result<(), DropReason> {
    count::happening(|happenings| happenings.rejudged += 1);
    let pointer = flow.as_ptr();
    let by_originator = side_of(job, flow) == Side::Originator;
    let (src_addr, dst_addr) = oriented(&job.packet, by_originator);
    // SAFETY: a live map value.
    let judged = unsafe { (&raw const (*pointer).last_seen).read_volatile() };
    // SAFETY: as above.
    let (ingress_ifindex, egress_slot, from_zone, to_zone, icmp) = unsafe {
        (
            (*pointer).directions[0].ingress_ifindex,
            egress_slot_of(flow),
            (*pointer).from_zone,
            (*pointer).to_zone,
            (*pointer).icmp,
        )
    };
    let from_zone = match from_zone {
        zone::LOCAL => zone::LOCAL,
        // SAFETY: see `receive::start`.
        _ => match unsafe { INTERFACES.get(&ingress_ifindex) } {
            Some(interface) => zone_of(job.active.slot, interface.slot, &src_addr),
            // The interface is gone, and with it the zone; a packet that comes by another is judged by that one.
            None if by_originator => zone_of(job.active.slot, job.interface.slot, &src_addr),
            None => zone::NONE,
        },
    };
    let to_zone = match to_zone {
        zone::LOCAL => zone::LOCAL,
        _ => zone_of(job.active.slot, egress_slot, &dst_addr),
    };
    job.query.from_zone = from_zone;
    job.query.to_zone = to_zone;
    ask(job, by_originator, icmp);
    let allowed = from_zone != zone::NONE && to_zone != zone::NONE && job.decision.action == Action::Allow;
    if !allowed {
        table::end_now(job, flow, judged, EndReason::PolicyChange);
        return Err(DropReason::PolicyChanged);
    }
    // SAFETY: a live map value; processors that race write the same.
    unsafe {
        (*pointer).from_zone = from_zone;
        (*pointer).to_zone = to_zone;
        (*pointer).rule = job.decision.rule;
        (*pointer).rule_timeout = job.decision.idle_timeout;
        (*pointer).timeout = timeout_of(State::from_number((*pointer).state), job.decision.idle_timeout);
        (*pointer).flags = ((*pointer).flags & !flow_flags::LOG) | if job.decision.log { flow_flags::LOG } else { 0 };
        // The responder's zone may be elsewhere now: where its packets come from and go to is checked again.
        (*pointer).directions[1].ingress_ifindex = UNCHECKED;
        (*pointer).directions[1].egress.ifindex = 0;
        (*pointer).epoch = job.active.epoch;
    }
    Ok(())
}

/// The slot of the interface by which the originator's packets leave: as it is numbered now, if the interface is known.
#[inline(always)]
fn egress_slot_of(flow: NonNull<Flow>) -> u32 {
    // SAFETY: a live map value.
    let egress = unsafe { &(*flow.as_ptr()).directions[0].egress };
    // SAFETY: see `receive::start`.
    match unsafe { INTERFACES.get(&egress.ifindex) } {
        Some(interface) => interface.slot,
        None => u32::from(egress.slot),
    }
}

/// Fills the query, but for the zones, from the originator's point of view, and asks the policy.
#[inline(always)]
pub(super) fn ask(job: &mut Job, by_originator: bool, icmp: [u8; 2]) {
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
    classify::decide(job);
}

/// Both addresses as the originator sent them.
#[inline(always)]
const fn oriented(packet: &Packet, by_originator: bool) -> (Address, Address) {
    if by_originator { (packet.src_addr, packet.dst_addr) } else { (packet.dst_addr, packet.src_addr) }
}
