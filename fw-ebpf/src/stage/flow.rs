//! Does the packet belong to a flow, and if not, may it open one?
//!
//! Drops: everything of the flow table, the zones, the route and the policy.

use core::ptr::NonNull;

use aya_ebpf::programs::XdpContext;
use fw_common::abi::event::EndReason;
use fw_common::abi::flow::{DYING, Direction, Flow, flow_flags};
use fw_common::abi::interface::{interface_flags, local_kind};
use fw_common::abi::policy::{Action, zone};
use fw_common::anomaly::is_link_local;
use fw_common::conntrack::{self, Opening, State};
use fw_common::tcp_state::{Side, Step};
use fw_common::wire::parse::{Kind, tcp_flag};
use fw_common::wire::{Address, Packet};
use fw_common::{DropReason, Verdict};

use crate::atomic;
use crate::job::Job;
use crate::maps::{CONFIG, INTERFACES};
use crate::stage::zone::{local_kind_of, zone_of};
use crate::stage::{classify, count, route, table};

/// For how long a looked-up next hop is used without asking again, in seconds. Bounds how long a change of a route or a
/// neighbour can go unnoticed when no agent is there to announce it.
const EGRESS_LIFETIME: u32 = 1;

/// What a packet does to the flow that it was found to belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// It goes on.
    Continues,
    /// It was over, and the packet opens it anew.
    Reopens,
    /// The packet does not pass.
    Drop(DropReason),
}

/// Judges a packet from the wire.
#[inline(never)]
pub(crate) fn judge_from_wire(ctx: &XdpContext, job: &mut Job) -> Verdict {
    let found = table::find(job);
    if let Some(flow) = found
        && table::is_alive(flow, job.now)
    {
        match continue_from_wire(ctx, job, flow) {
            Progress::Continues => return conclude(job),
            Progress::Reopens => {}
            Progress::Drop(reason) => return Verdict::Drop(reason),
        }
    }
    match open_from_wire(ctx, job, found) {
        Ok(()) => conclude(job),
        Err(reason) => Verdict::Drop(reason),
    }
}

/// Judges a packet that the host sends.
#[inline(never)]
pub(crate) fn judge_from_host(job: &mut Job) -> Verdict {
    let found = table::find(job);
    if let Some(flow) = found
        && table::is_alive(flow, job.now)
    {
        match continue_flow(job, flow) {
            Ok(Progress::Continues) => return Verdict::Pass,
            Ok(Progress::Reopens) => {}
            Ok(Progress::Drop(reason)) | Err(reason) => return Verdict::Drop(reason),
        }
    }
    match open_from_host(job, found) {
        Ok(()) => Verdict::Pass,
        Err(reason) => Verdict::Drop(reason),
    }
}

/// Where an accepted packet goes.
#[inline(always)]
fn conclude(job: &Job) -> Verdict {
    if job.for_host {
        Verdict::Pass
    } else if job.unresolved {
        Verdict::HandOver
    } else {
        Verdict::Forward
    }
}

/// A packet of an established flow from the wire.
#[inline(never)]
fn continue_from_wire(ctx: &XdpContext, job: &mut Job, flow: NonNull<Flow>) -> Progress {
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
        Step::Invalid => Err(DropReason::TcpState),
    }
}

/// The idle time-out of a state: the rule's for states in which data flows, else the configured one.
#[inline(always)]
fn timeout_of(state: State, rule_timeout: u32) -> u32 {
    let rules = matches!(state, State::Established | State::UdpReplied | State::UdpNew | State::Icmp | State::Other);
    if rules && rule_timeout != 0 {
        return rule_timeout;
    }
    match CONFIG.get(0).and_then(|config| config.timeouts.seconds.get(state as usize)) {
        Some(seconds) => *seconds,
        None => 0,
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

/// Checks that a packet of the flow leaves into the zone that was judged, when the route leads elsewhere than before.
#[inline(always)]
fn check_egress(job: &mut Job, flow: NonNull<Flow>, side: Side) -> Result<(), DropReason> {
    let (_, expected) = zones_of(flow, side);
    let slot = u32::from(job.egress.slot);
    let actual = zone_of(job.active.slot, slot, &job.packet.dst_addr);
    if actual == zone::NONE {
        return Err(DropReason::DestinationZone);
    }
    if job.egress.ifindex == job.ingress_ifindex && job.interface.flags & interface_flags::HAIRPIN == 0 {
        return Err(DropReason::Hairpin);
    }
    if actual == expected {
        return Ok(());
    }
    // The route has moved into another zone: the flow is judged as what it is now.
    // SAFETY: a live map value; the new egress is stored before the policy is asked, which reads it.
    unsafe { (*direction_of(flow, side)).egress = job.egress };
    rejudge(job, flow)?;
    if zones_of(flow, side).1 == actual { Ok(()) } else { Err(DropReason::Asymmetric) }
}

/// Asks the current policy about a flow that another one has allowed; forbidden flows are removed.
#[inline(never)]
pub(crate) fn rejudge(job: &mut Job, flow: NonNull<Flow>) -> Result<(), DropReason> {
    count::happening(|happenings| happenings.rejudged += 1);
    let pointer = flow.as_ptr();
    let by_originator = side_of(job, flow) == Side::Originator;
    let (src_addr, dst_addr) = oriented(&job.packet, by_originator);
    // SAFETY: a live map value.
    let (ingress_ifindex, egress_slot, from_zone, to_zone, icmp) = unsafe {
        (
            (*pointer).directions[0].ingress_ifindex,
            (*pointer).directions[0].egress.slot,
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
        _ => zone_of(job.active.slot, u32::from(egress_slot), &dst_addr),
    };
    job.query.from_zone = from_zone;
    job.query.to_zone = to_zone;
    ask(job, by_originator, icmp);
    let allowed = from_zone != zone::NONE && to_zone != zone::NONE && job.decision.action == Action::Allow;
    if !allowed {
        if table::claim(flow) {
            table::remove(job, flow, EndReason::PolicyChange);
        }
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
        (*pointer).epoch = job.active.epoch;
    }
    Ok(())
}

/// Fills the query, but for the zones, from the originator's point of view, and asks the policy.
#[inline(always)]
fn ask(job: &mut Job, by_originator: bool, icmp: [u8; 2]) {
    let packet = &job.packet;
    let query = &mut job.query;
    query.protocol = packet.protocol;
    (query.src_addr, query.dst_addr) = oriented(packet, by_originator);
    (query.src_port, query.dst_port) = match packet.kind {
        Kind::Tcp | Kind::Udp if by_originator => (packet.src_port, packet.dst_port),
        Kind::Tcp | Kind::Udp => (packet.dst_port, packet.src_port),
        Kind::IcmpQuery
        | Kind::IcmpReply
        | Kind::IcmpError
        | Kind::NeighbourDiscovery
        | Kind::MulticastListener
        | Kind::Other => (0, u16::from_be_bytes(icmp)),
    };
    classify::decide(job);
}

/// A packet from the wire that belongs to no living flow. `stale`: the dead flow that still has its key.
#[inline(never)]
fn open_from_wire(ctx: &XdpContext, job: &mut Job, stale: Option<NonNull<Flow>>) -> Result<(), DropReason> {
    let from_zone = zone_of(job.active.slot, job.interface.slot, &job.packet.src_addr);
    job.query.from_zone = from_zone;
    if local_kind_of(&job.packet.src_addr) != 0 {
        return Err(DropReason::SourceMartian);
    }
    if from_zone == zone::NONE {
        return Err(DropReason::Spoofed);
    }
    match local_kind_of(&job.packet.dst_addr) {
        local_kind::OWN => job.for_host = true,
        local_kind::BROADCAST => return Err(DropReason::Broadcast),
        _ => {}
    }
    let state = match conntrack::opening(&job.packet, job.for_host) {
        Opening::Flow(state) => state,
        Opening::Refused(reason) => return Err(reason),
    };
    job.flow.state = state as u8;
    if job.for_host {
        job.query.to_zone = zone::LOCAL;
    } else {
        route_new(ctx, job)?;
    }
    open(job, stale)
}

/// Finds the egress and its zone for the first packet of a flow.
#[inline(never)]
fn route_new(ctx: &XdpContext, job: &mut Job) -> Result<(), DropReason> {
    if job.interface.flags & interface_flags::MANAGEMENT != 0 {
        return Err(DropReason::ManagementTransit);
    }
    if job.query.from_zone == zone::LINK || is_link_local(&job.packet.dst_addr) {
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
fn open_from_host(job: &mut Job, stale: Option<NonNull<Flow>>) -> Result<(), DropReason> {
    let to_zone = zone_of(job.active.slot, job.interface.slot, &job.packet.dst_addr);
    job.query.from_zone = zone::LOCAL;
    job.query.to_zone = to_zone;
    if to_zone == zone::NONE {
        return Err(DropReason::DestinationZone);
    }
    // The host's own stack judges its connections: those from before the program are picked up.
    match conntrack::opening(&job.packet, true) {
        Opening::Flow(state) => job.flow.state = state as u8,
        Opening::Refused(reason) => return Err(reason),
    }
    open(job, stale)
}

/// Asks the policy, and opens the flow if it allows: both zones are in `job.query`, the state in `job.flow`.
///
/// VERIFIER: handed over in memory, so that this is verified once and not for each state and zone. Test:
/// `prog_run::the_programs_load`.
#[inline(never)]
fn open(job: &mut Job, stale: Option<NonNull<Flow>>) -> Result<(), DropReason> {
    let icmp = [job.packet.icmp_type, job.packet.icmp_code];
    ask(job, true, icmp);
    match job.decision.action {
        Action::Allow => {}
        Action::Drop => return Err(DropReason::Policy),
        Action::Reject => return Err(DropReason::Rejected),
    }
    make(job, icmp);
    match stale {
        Some(flow) => reuse(job, flow)?,
        None => match table::insert(job) {
            // Another processor has opened the same flow for a packet of the same tuple. This packet is allowed as well;
            // only the flow's counters miss it.
            Err(DropReason::FlowRace) => return Ok(()),
            inserted => inserted?,
        },
    }
    count::opened(job);
    Ok(())
}

/// Makes the flow that the packet opens, in the job.
#[inline(always)]
fn make(job: &mut Job, icmp: [u8; 2]) {
    let timeout = timeout_of(State::from_number(job.flow.state), job.decision.idle_timeout);
    let origin = if job.sender_is_high { flow_flags::ORIGIN_IS_HIGH } else { 0 };
    let log = if job.decision.log { flow_flags::LOG } else { 0 };
    let flow = &mut job.flow;
    flow.last_seen = job.now;
    flow.timeout = timeout;
    flow.epoch = job.active.epoch;
    flow.rule = job.decision.rule;
    flow.rule_timeout = job.decision.idle_timeout;
    flow.flags = origin | log;
    flow.from_zone = job.query.from_zone;
    flow.to_zone = job.query.to_zone;
    flow.icmp = icmp;
    flow.opened_at = job.now_ns;
    let [forth, back] = &mut flow.directions;
    forth.packets = 1;
    forth.bytes = u64::from(job.packet.ip_len);
    forth.egress = job.egress;
    forth.ingress_ifindex = job.ingress_ifindex;
    forth.tcp_flags = job.packet.tcp_flags;
    if job.for_host || job.unresolved {
        forth.egress.ifindex = 0;
    }
    *back = Direction::default();
}

/// Opens a flow in the place of a dead one with the same key.
#[inline(never)]
fn reuse(job: &mut Job, flow: NonNull<Flow>) -> Result<(), DropReason> {
    if !table::claim(flow) {
        return Err(DropReason::FlowRace);
    }
    let pointer = flow.as_ptr();
    // SAFETY: a map value that this processor has claimed: the sweep leaves it alone until `last_seen` is set again, which
    // the copy does last as far as others can tell, since they treat any other word as that of a living flow.
    unsafe {
        job.flow.clock_slot = (*pointer).clock_slot;
        table::report_end_of(job, flow, table::end_reason((*pointer).state));
        table::copy_flow(&raw const job.flow, pointer);
    }
    Ok(())
}

/// Which side of the flow sent the packet.
///
/// VERIFIER: goes through memory, so that what follows is verified once and not for each side. Test:
/// `prog_run::the_programs_load`.
#[inline(always)]
fn side_of(job: &mut Job, flow: NonNull<Flow>) -> Side {
    // SAFETY: a live map value; and what was just written, read back because it is volatile.
    unsafe {
        job.side = conntrack::side((*flow.as_ptr()).flags, job.sender_is_high);
        core::ptr::read_volatile(&raw const job.side)
    }
}

/// The half of the flow that a side sends.
#[inline(always)]
fn direction_of(flow: NonNull<Flow>, side: Side) -> *mut Direction {
    // SAFETY: there are two halves and two sides, and both halves lie in the live map value. VERIFIER: the mask tells it.
    unsafe { (&raw mut (*flow.as_ptr()).directions).cast::<Direction>().add(side as usize & 1) }
}

/// The zones of the sender and of the receiver of a packet.
#[inline(always)]
fn zones_of(flow: NonNull<Flow>, side: Side) -> (u8, u8) {
    // SAFETY: a live map value.
    let (from_zone, to_zone) = unsafe { ((*flow.as_ptr()).from_zone, (*flow.as_ptr()).to_zone) };
    match side {
        Side::Originator => (from_zone, to_zone),
        Side::Responder => (to_zone, from_zone),
    }
}

/// Both addresses as the originator sent them.
#[inline(always)]
const fn oriented(packet: &Packet, by_originator: bool) -> (Address, Address) {
    if by_originator { (packet.src_addr, packet.dst_addr) } else { (packet.dst_addr, packet.src_addr) }
}
