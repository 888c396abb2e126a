//! ICMP errors: which flow is the quoted packet of?
//!
//! An error passes if the packet it quotes is one that a living flow sent, if it comes by an interface behind which that
//! packet's destination lies, and if it goes back into the zone of that packet's sender. It neither opens nor refreshes a flow. Its own source may be any router of the path, so that it is not checked
//! against the zones.

use core::ptr::NonNull;

use aya_ebpf::programs::{TcContext, XdpContext};
use fw_common::abi::flow::{Flow, flow_flags};
use fw_common::abi::policy::zone;
use fw_common::anomaly::is_link_local;
use fw_common::conntrack;
use fw_common::sctp;
use fw_common::tcp::{self, Side};
use fw_common::wire::parse::{self, Extent, Frame as _, Kind};
use fw_common::wire::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use fw_common::{DropReason, Verdict};

use crate::job::Job;
use crate::packet::Linear;
use crate::stage::flow::{index_of, read_sctp, read_tcp};
use crate::stage::zone::{source_is_not_ours, zone_of};
use crate::stage::{route, table};

/// ICMP types that are errors by their form, but no reports about a flow.
const ICMPV4_SOURCE_QUENCH: u8 = 4;
const ICMPV4_REDIRECT: u8 = 5;
/// Bytes of an ICMP header in front of the quoted packet.
const ICMP_LEN: usize = 8;
/// VERIFIER: the offset comes back from map memory, where its bounds are forgotten. Larger than any offset that the parser
/// accepts. Test: `prog_run::icmp_errors_follow_their_flow`.
const MAX_OFFSET: usize = 0x3fff;

/// An ICMP error from the wire.
#[inline(never)]
pub(crate) fn judge(ctx: &XdpContext, job: &mut Job) -> Verdict {
    if let Err(reason) = source_is_not_ours(&job.packet.src_addr) {
        return Verdict::Drop(reason);
    }
    match related(&Linear::of_xdp(ctx), job) {
        Ok(true) => Verdict::Pass,
        Ok(false) => match route_back(ctx, job) {
            Ok(()) if job.unresolved => Verdict::HandOver,
            Ok(()) => Verdict::Forward,
            Err(reason) => Verdict::Drop(reason),
        },
        Err(reason) => Verdict::Drop(reason),
    }
}

/// Finds the way to the sender of the quoted packet, which must lead into that sender's zone.
#[inline(always)]
fn route_back(ctx: &XdpContext, job: &mut Job) -> Result<(), DropReason> {
    if is_link_local(&job.packet.src_addr) {
        return Err(DropReason::SourceLinkLocal);
    }
    route::resolve(ctx, job)?;
    if zone_of(job.active.slot, u32::from(job.egress.slot), &job.packet.dst_addr) != job.query.to_zone {
        return Err(DropReason::Asymmetric);
    }
    Ok(())
}

/// An ICMP error that the host sends about a packet it received.
#[inline(never)]
pub(crate) fn judge_from_host(ctx: &TcContext, job: &mut Job) -> Verdict {
    match related(&Linear::of_tc(ctx), job) {
        Ok(_) => Verdict::Pass,
        Err(reason) => Verdict::Drop(reason),
    }
}

/// Finds the flow; true if the sender of the quoted packet is the host itself.
#[inline(always)]
fn related(frame: &Linear, job: &mut Job) -> Result<bool, DropReason> {
    // A redirect would let any correspondent choose a host's next hop; source quench is obsolete (RFC 6633).
    if job.packet.is_ipv4() && (job.packet.icmp_type == ICMPV4_REDIRECT || job.packet.icmp_type == ICMPV4_SOURCE_QUENCH)
    {
        return Err(DropReason::IcmpForbidden);
    }
    let offset = (usize::from(job.packet.l4_offset) & MAX_OFFSET) + ICMP_LEN;
    let [version]: [u8; 1] = frame.bytes(offset).ok_or(DropReason::IcmpHeader)?;
    let ethertype = match version >> 4 {
        4 => ETHERTYPE_IPV4,
        6 => ETHERTYPE_IPV6,
        _ => return Err(DropReason::IcmpHeader),
    };
    parse_quoted(frame, job, ethertype, offset as u32)?;
    // Without address translation an error goes to the sender of what it quotes.
    if job.quoted.src_addr != job.packet.dst_addr {
        return Err(DropReason::IcmpUnrelated);
    }
    let flow = table::find_quoted(job).ok_or(DropReason::IcmpUnrelated)?;
    let pointer = flow.as_ptr();
    // SAFETY: a live map value.
    let (alive, judged, from_zone, to_zone, rule, flags) = unsafe {
        (
            table::is_alive(job, flow),
            (*pointer).epoch == job.active.epoch,
            (*pointer).from_zone,
            (*pointer).to_zone,
            (*pointer).rule,
            (*pointer).flags,
        )
    };
    // A flow that the current policy has not judged yet is not vouched for; its next packet changes that.
    if !alive || !judged {
        return Err(DropReason::IcmpUnrelated);
    }
    let (sender_zone, receiver_zone) = match conntrack::side(flags, job.sender_is_high) {
        Side::Originator => (from_zone, to_zone),
        Side::Responder => (to_zone, from_zone),
    };
    // From the wire: only by an interface behind which the quoted packet's destination lies. From the host: about anything
    // that it received.
    if job.ingress_ifindex != 0 && zone_of(job.active.slot, job.interface.slot, &job.quoted.dst_addr) != receiver_zone {
        return Err(DropReason::IcmpUnrelated);
    }
    if !is_plausible(job, flow) {
        return Err(DropReason::IcmpUnrelated);
    }
    job.decision.rule = rule;
    job.query.from_zone = receiver_zone;
    job.query.to_zone = sender_zone;
    Ok(sender_zone == zone::LOCAL)
}

/// Whether the quoted packet can have been under way: who does not see the connection must guess its numbers, or the tags of
/// the association.
#[inline(always)]
fn is_plausible(job: &Job, flow: NonNull<Flow>) -> bool {
    // SAFETY: a live map value.
    let flags = unsafe { (*flow.as_ptr()).flags };
    let sender = index_of(conntrack::side(flags, job.sender_is_high));
    let quoted = &job.quoted;
    if quoted.kind == Kind::Sctp {
        let (sender, receiver) = (read_sctp(flow, sender), read_sctp(flow, 1 - sender));
        return sctp::is_in_flight(quoted.verification_tag, quoted.initiate_tag, &sender, &receiver);
    }
    quoted.kind != Kind::Tcp
        || flags & flow_flags::LIBERAL != 0
        || tcp::is_in_flight(quoted.seq, &read_tcp(flow, sender), &read_tcp(flow, 1 - sender))
}

/// Parses the quoted packet.
///
/// VERIFIER: a function of its own, so that what follows is not verified for each way through the parser. Test:
/// `prog_run::the_programs_load`.
#[inline(never)]
fn parse_quoted(frame: &Linear, job: &mut Job, ethertype: u16, offset: u32) -> Result<(), DropReason> {
    parse::network(frame, ethertype, offset as usize, Extent::Quoted, &mut job.quoted)
        .map_err(|_| DropReason::IcmpUnrelated)
}
