//! A packet that belongs to no living flow: may it open one?

use core::ptr::NonNull;

use aya_ebpf::programs::XdpContext;
use fw_common::DropReason;
use fw_common::abi::flow::{Direction, FROM_HOST, Flow, OPENED_SHIFT, flow_flags};
use fw_common::abi::interface::{interface_flags, local_kind};
use fw_common::abi::policy::{Action, zone};
use fw_common::anomaly::is_link_local;
use fw_common::conntrack::{self, Opening, State};
use fw_common::sctp::{self, Message};
use fw_common::tcp::{End, Segment};
use fw_common::wire::parse::{Kind, tcp_flag};

use super::rejudge::{ask, describe, flags_of};
use crate::job::Job;
use crate::maps::CONFIG;
use crate::stage::limits::Admission;
use crate::stage::table::Stored;
use crate::stage::zone::{local_kind_of, source_is_not_ours, zone_of};
use crate::stage::{classify, count, half_open, limits, observe, observing, passage, route, table};

/// A packet from the wire that belongs to no living flow. `stale`: the dead flow that still has its key.
#[inline(never)]
pub(super) fn open_from_wire(ctx: &XdpContext, job: &mut Job, stale: Option<NonNull<Flow>>) -> Result<(), DropReason> {
    job.next_hop = 0;
    job.lists_known = false;
    let known = passage::recall(job);
    job.notes_passage = false;
    if !known {
        check_ends(job)?;
    }
    let state = match conntrack::opening(&job.packet, picks_up(job)) {
        Opening::Flow(state) => state,
        // Not said, so not answered, of a flow that may live on.
        Opening::Refused(_) if stale.is_none() && table::is_being_changed(job) => return Err(DropReason::FlowRace),
        Opening::Refused(reason) => return Err(reason),
    };
    job.flow.state = state as u8;
    if job.for_host {
        job.query.to_zone = zone::LOCAL;
    } else if !known {
        route_new(ctx, job)?;
        job.notes_passage = true;
    }
    open(job, stale)
}

/// Finds the zone of the sender, and whether the packet is for the host.
#[inline(never)]
pub(super) fn check_ends(job: &mut Job) -> Result<(), DropReason> {
    let from_zone = zone_of(job.active.slot, job.interface.slot, &job.packet.src_addr);
    job.query.from_zone = from_zone;
    source_is_not_ours(&job.packet.src_addr)?;
    if from_zone == zone::NONE {
        return Err(DropReason::Spoofed);
    }
    match local_kind_of(&job.packet.dst_addr) {
        local_kind::OWN => job.for_host = true,
        local_kind::BROADCAST => return Err(DropReason::Broadcast),
        _ => {}
    }
    Ok(())
}

/// Finds the egress and its zone for the first packet of a flow.
#[inline(never)]
pub(super) fn route_new(ctx: &XdpContext, job: &mut Job) -> Result<(), DropReason> {
    if job.interface.flags & interface_flags::MANAGEMENT != 0 {
        return Err(DropReason::ManagementTransit);
    }
    if job.query.from_zone == zone::LINK || is_link_local(&job.packet.src_addr) {
        return Err(DropReason::SourceLinkLocal);
    }
    if is_link_local(&job.packet.dst_addr) {
        return Err(DropReason::LinkLocal);
    }
    route::resolve(ctx, job)?;
    let to_zone = zone_of(job.active.slot, u32::from(job.egress.slot), &job.packet.dst_addr);
    job.query.to_zone = to_zone;
    if to_zone == zone::LINK {
        return Err(DropReason::LinkLocal);
    }
    if to_zone == zone::NONE {
        return Err(DropReason::DestinationZone);
    }
    if job.egress.ifindex == job.ingress_ifindex && job.interface.flags & interface_flags::HAIRPIN == 0 {
        return Err(DropReason::Hairpin);
    }
    Ok(())
}

/// A packet of the host that belongs to no living flow.
#[inline(never)]
pub(super) fn open_from_host(job: &mut Job, stale: Option<NonNull<Flow>>) -> Result<(), DropReason> {
    job.next_hop = 0;
    job.lists_known = false;
    job.notes_passage = false;
    let to_zone = zone_of(job.active.slot, job.interface.slot, &job.packet.dst_addr);
    job.query.from_zone = zone::LOCAL;
    job.query.to_zone = to_zone;
    if to_zone == zone::NONE {
        return Err(DropReason::DestinationZone);
    }
    job.for_host = true;
    match conntrack::opening(&job.packet, picks_up(job)) {
        Opening::Flow(state) => job.flow.state = state as u8,
        // Not said, so not answered, of a flow that may live on.
        Opening::Refused(_) if stale.is_none() && table::is_being_changed(job) => return Err(DropReason::FlowRace),
        Opening::Refused(reason) => return Err(reason),
    }
    open(job, stale)
}

/// Whether connections from before the program may go on: the host's, whose own stack judges them, or those that are forwarded.
#[inline(always)]
pub(super) fn picks_up(job: &Job) -> bool {
    let Some(config) = CONFIG.get(0) else { return false };
    let until = if job.for_host { config.pick_up_until } else { config.pick_up_forwarded_until };
    job.now < until
}

/// Asks the policy, and opens the flow if it allows: both zones are in `job.query`, the state in `job.flow`.
///
/// VERIFIER: handed over in memory, so that this is verified once and not for each state and zone. Test:
/// `prog_run::the_programs_load`.
#[inline(never)]
fn open(job: &mut Job, stale: Option<NonNull<Flow>>) -> Result<(), DropReason> {
    let icmp = [job.packet.icmp_type, job.packet.icmp_code];
    describe(job, true, icmp);
    if !job.lists_known {
        classify::find_lists(job);
    }
    classify::search(job);
    if job.notes_passage {
        passage::note_passage(job);
    }
    job.reversed = false;
    if job.decision.action != Action::Allow && is_picked_up(job) {
        ask_reversed(job, icmp);
    }
    observing::note(job);
    match job.decision.action {
        Action::Allow => {}
        Action::Drop => return Err(DropReason::Policy),
        Action::Reject => return Err(DropReason::Rejected),
    }
    match limits::admit(job) {
        Admission::Granted => {}
        Admission::Refused => return Err(DropReason::Limit),
        Admission::Locked => return Err(DropReason::FlowRace),
    }
    let stored = store(job, stale, icmp);
    if stored != Stored::New {
        limits::give_back(job);
    }
    match stored {
        Stored::New => {
            half_open::enlist(job);
            count::opened(job);
            observe::opened(job);
            Ok(())
        }
        // Opened for a packet of the same tuple. This packet is allowed as well; only the flow's counters miss it.
        Stored::Already => Ok(()),
        Stored::Full => Err(DropReason::TableFull),
        Stored::TooManyHalfOpen => Err(DropReason::HalfOpenLimit),
        Stored::Locked => Err(DropReason::FlowRace),
    }
}

/// Makes the flow and stores it.
#[inline(always)]
fn store(job: &mut Job, stale: Option<NonNull<Flow>>, icmp: [u8; 2]) -> Stored {
    if !half_open::admit(job) {
        return Stored::TooManyHalfOpen;
    }
    make(job, icmp);
    let stored = match stale {
        Some(flow) => reuse(job, flow),
        None => table::insert(job),
    };
    if stored != Stored::New {
        half_open::withdraw(job);
    }
    stored
}

/// Whether the packet is from the middle of a TCP connection or SCTP association, whose originator is not known.
#[inline(always)]
pub(super) fn is_picked_up(job: &Job) -> bool {
    let packet = &job.packet;
    (packet.kind == Kind::Tcp && packet.tcp_flags & tcp_flag::SYN == 0)
        || (packet.kind == Kind::Sctp && !sctp::names_originator(packet.chunks))
}

/// Asks whether the receiver may have opened the connection. If not, what was decided about the sender holds.
///
/// VERIFIER: no function of its own, which would be the eighth call on the way to a list of the policy: together their stacks
/// would exceed 512 bytes on Linux 6.1. Test: `prog_run::stack::the_stacks_fit_linux_6_1`.
#[inline(always)]
pub(super) fn ask_reversed(job: &mut Job, icmp: [u8; 2]) {
    (job.query.from_zone, job.query.to_zone) = (job.query.to_zone, job.query.from_zone);
    ask(job, false, icmp);
    if job.decision.action == Action::Allow {
        job.reversed = true;
        return;
    }
    (job.query.from_zone, job.query.to_zone) = (job.query.to_zone, job.query.from_zone);
    ask(job, true, icmp);
}

/// Makes the flow that the packet opens, in the job.
#[inline(never)]
fn make(job: &mut Job, icmp: [u8; 2]) {
    let origin = if job.sender_is_high != job.reversed { flow_flags::ORIGIN_IS_HIGH } else { 0 };
    let reference = job.next_hop;
    let flow = &mut job.flow;
    flow.last_seen = job.now;
    flow.epoch = job.active.epoch;
    flow.rule = job.decision.rule;
    flow.fib_generation = job.fib_generation;
    flow.flags = origin | flags_of(&job.decision);
    flow.from_zone = job.query.from_zone;
    flow.to_zone = job.query.to_zone;
    let (mut end, mut memory, mut other) = (End::default(), [u32::from(u16::from_be_bytes(icmp)), 0, 0], [0; 3]);
    if job.packet.kind == Kind::Tcp {
        end = End::opening(&Segment::of(&job.packet));
        memory = end.numbers();
    } else if job.packet.kind == Kind::Sctp {
        let (sender, receiver) = Message::of(&job.packet).ends();
        (memory, other) = (sender.to_memory(), receiver.to_memory());
    }
    // Picked up in the middle: what the other end, and the beginning, would have said is unknown.
    if end.has_acknowledged() || flow.state == State::SctpHeartbeatSent as u8 {
        flow.flags |= flow_flags::LIBERAL;
    }
    flow.half_open = job.half_open;
    flow.subject = job.subject;
    flow.ignored_syn = 0;
    flow.opened = (job.now_ns >> OPENED_SHIFT) as u32;
    let from_host = job.ingress_ifindex == 0;
    let sender = Direction {
        packets: 1,
        bytes: u64::from(job.packet.ip_len),
        memory,
        checked: if from_host { FROM_HOST | job.egress.ifindex } else { job.ingress_ifindex },
    };
    if job.reversed {
        // The originator is behind the interface to which this packet goes; if it is the host, behind none.
        let to_host = job.for_host && !from_host;
        let checked = if to_host { FROM_HOST | job.ingress_ifindex } else { job.egress.ifindex };
        flow.next_hops = [0, reference];
        flow.tcp_flags = [0, end.flags];
        flow.window = [0, end.window];
        flow.max_window = [0, end.max_window];
        flow.directions = [Direction { checked, memory: other, ..Direction::default() }, sender];
    } else {
        flow.next_hops = [reference, 0];
        flow.tcp_flags = [end.flags, 0];
        flow.window = [end.window, 0];
        flow.max_window = [end.max_window, 0];
        flow.directions = [sender, Direction { memory: other, ..Direction::default() }];
    }
}

/// Opens a flow in the place of a dead one with the same key.
#[inline(never)]
fn reuse(job: &mut Job, flow: NonNull<Flow>) -> Stored {
    if !table::claim(flow, job.judged) {
        return Stored::Locked;
    }
    let pointer = flow.as_ptr();
    // SAFETY: a map value that this processor has claimed: the sweep leaves it alone until `last_seen` is set again, which
    // the copy does last as far as others can tell, since they treat any other word as that of a living flow.
    unsafe {
        table::report_end_of(job, flow, job.judged, table::end_reason((*pointer).state));
        table::settle(table::table_of(job), flow);
        table::copy_flow(&raw const job.flow, pointer);
    }
    Stored::New
}
