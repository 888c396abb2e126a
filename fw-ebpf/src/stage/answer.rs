//! What the sender of a dropped packet is told: an ICMP error or a TCP reset, sent back by the way the packet came.
//!
//! Answers are limited per processor and second; a limited one is counted, and its packet dropped in silence.

use aya_ebpf::bindings::xdp_action::XDP_DROP;
use aya_ebpf::programs::XdpContext;
use fw_common::DropReason;
use fw_common::abi::config::config_flags;
use fw_common::icmp_error::{
    self, Answer, IPV4_OVERHEAD, IPV6_OVERHEAD, answers_with_reset, may_answer, may_be_reset, quote_len,
};
use fw_common::wire::checksum::{self, pseudo_header};
use fw_common::wire::parse::{Frame as _, tcp_flag};
use fw_common::wire::protocol;

use crate::job::Job;
use crate::maps::{ANSWER_BUDGET, CONFIG, EGRESS};
use crate::packet::{Linear, frame_len, move_end, move_start};
use crate::stage::sum::{MAX_L4_OFFSET, sum_of};
use crate::stage::{checksum as transport_checksum, count};

/// TTL and hop limit of answers.
const ANSWER_TTL: u8 = 64;
/// VERIFIER: offsets come back from map memory, where their bounds are forgotten. Tests:
/// `prog_run::expired_packets_are_answered` and `prog_run::rejected_tcp_is_reset`.
const MAX_L3_OFFSET: usize = 0x1f;
/// The longest link-layer header: Ethernet with two tags.
const MAX_LINK_LEN: usize = 22;

/// Answers a dropped packet if its reason asks for it; the action of the kernel.
#[inline(always)]
pub(crate) fn answer(ctx: &XdpContext, job: &mut Job, reason: DropReason) -> u32 {
    let answer = match answer_to(job, reason) {
        Some(answer) if job.parsed && may_answer(&job.packet) && within_budget(job) && is_sound(ctx, job, answer) => {
            answer
        }
        _ => return XDP_DROP,
    };
    job.answer = answer;
    if send(ctx, job) {
        count::happening(|happenings| happenings.answers += 1);
        // Not XDP_TX, which does the same on a network card, but on a veth pair leaves the frame in the peer's ring until
        // something else wakes the peer up, unless that has an XDP program, too (veth_xdp_flush in drivers/net/veth.c).
        return EGRESS.redirect(job.interface.slot, 0).unwrap_or(XDP_DROP);
    }
    XDP_DROP
}

/// Which drops are answered.
#[inline(always)]
fn answer_to(job: &Job, reason: DropReason) -> Option<Answer> {
    // Every other reason is silent, so this is not a match over all of them.
    if matches!(reason, DropReason::TtlExpired | DropReason::TtlZero) {
        Some(Answer::TimeExceeded)
    } else if matches!(reason, DropReason::NoRoute) {
        Some(Answer::NoRoute)
    } else if matches!(reason, DropReason::TooBig) {
        Some(Answer::TooBig)
    } else if matches!(reason, DropReason::Rejected)
        || (matches!(reason, DropReason::TcpNotSyn) && resets_unknown() && may_be_reset(&job.packet))
    {
        Some(Answer::Prohibited)
    } else {
        None
    }
}

/// Whether, as a setting, segments that belong to no flow are answered as by a closed port.
#[inline(always)]
fn resets_unknown() -> bool {
    CONFIG.get(0).is_some_and(|config| config.flags & config_flags::RESET_UNKNOWN_TCP != 0)
}

/// Whether a packet is what its sender has sent, if the answer says that it is unwelcome: to one that was damaged on its way, its
/// receiver would say nothing (RFC 9293, section 3.1).
#[inline(always)]
fn is_sound(ctx: &XdpContext, job: &Job, answer: Answer) -> bool {
    !matches!(answer, Answer::Prohibited)
        || transport_checksum::is_right(ctx, job)
        || transport_checksum::was_left_out(ctx, job)
}

/// Takes one answer from this second's budget.
#[inline(always)]
fn within_budget(job: &Job) -> bool {
    let (Some(budget), Some(config)) = (ANSWER_BUDGET.get_ptr_mut(0), CONFIG.get(0)) else { return false };
    // SAFETY: this processor's entry of a per-CPU map.
    let within = unsafe {
        if (*budget).second != job.now {
            (*budget).second = job.now;
            (*budget).sent = 0;
        }
        (*budget).sent += 1;
        (*budget).sent <= config.answers_per_second
    };
    if !within {
        count::happening(|happenings| happenings.answers_limited += 1);
    }
    within
}

/// Turns the frame into `job.answer`.
///
/// VERIFIER: handed over in memory, so that this is verified once and not for each answer. Test:
/// `prog_run::the_programs_load`.
#[inline(never)]
pub(crate) fn send(ctx: &XdpContext, job: &mut Job) -> bool {
    // SAFETY: what `answer` has written; volatile, so that it is read.
    let answer = unsafe { core::ptr::read_volatile(&raw const job.answer) };
    let sent = match (answers_with_reset(&job.packet, answer), job.packet.is_ipv4()) {
        (true, true) => reset_ipv4(ctx, job),
        (true, false) => reset_ipv6(ctx, job),
        (false, true) => error_ipv4(ctx, job, answer),
        (false, false) => error_ipv6(ctx, job, answer),
    };
    sent.is_some()
}

/// Makes the frame end `len` bytes behind the start of the network header.
#[inline(always)]
fn resize(ctx: &XdpContext, l3_offset: usize, len: usize) -> Option<()> {
    let now = frame_len(ctx) as i32;
    move_end(ctx, (l3_offset + len) as i32 - now).then_some(())
}

/// Copies the link-layer header to the front of a frame that has grown by `overhead` bytes, and turns it round.
#[inline(always)]
fn turn_link_layer(frame: &Linear, l3_offset: usize, overhead: usize) -> Option<()> {
    let dst_mac: [u8; 6] = frame.bytes(overhead)?;
    let src_mac: [u8; 6] = frame.bytes(overhead + 6)?;
    // No station is called like a group (IEEE 802.3, clause 3.2.3): the answer would go to all of them.
    if src_mac[0] & 1 != 0 {
        return None;
    }
    frame.write(0, src_mac)?;
    frame.write(6, dst_mac)?;
    // Tags and EtherType, two bytes at a time.
    for position in (12..MAX_LINK_LEN).step_by(2) {
        if position >= l3_offset {
            break;
        }
        let word: [u8; 2] = frame.bytes(overhead + position)?;
        frame.write(position, word)?;
    }
    Some(())
}

/// An ICMPv4 error (RFC 792, RFC 1812 section 4.3.2).
#[inline(always)]
fn error_ipv4(ctx: &XdpContext, job: &Job, answer: Answer) -> Option<()> {
    if job.interface.ipv4 == [0; 4] {
        return None;
    }
    let l3_offset = usize::from(job.packet.l3_offset) & MAX_L3_OFFSET;
    let quoted = quote_len(true, job.packet.ip_len);
    resize(ctx, l3_offset, quoted)?;
    move_start(ctx, -(IPV4_OVERHEAD as i32)).then_some(())?;
    let frame = Linear::of_xdp(ctx);
    turn_link_layer(&frame, l3_offset, IPV4_OVERHEAD)?;

    let [l0, l1] = ((IPV4_OVERHEAD + quoted) as u16).to_be_bytes();
    let [s0, s1, s2, s3] = job.interface.ipv4;
    let [d0, d1, d2, d3] = job.packet.src_addr.first4();
    // Precedence "internetwork control", as RFC 1812, section 4.3.2.5, asks for.
    let mut header =
        [0x45, 0xc0, l0, l1, 0, 0, 0x40, 0, ANSWER_TTL, protocol::ICMP, 0, 0, s0, s1, s2, s3, d0, d1, d2, d3];
    [header[10], header[11]] = checksum::finish(checksum::sum(&header)).to_be_bytes();
    frame.write(l3_offset, header)?;

    let message = icmp_error::message(answer, true, job.egress.mtu);
    let [r0, r1, r2, r3] = message.rest.to_be_bytes();
    let mut icmp = [message.message_type, message.code, 0, 0, r0, r1, r2, r3];
    let sum = checksum::sum(&icmp) + sum_of(&frame, l3_offset + IPV4_OVERHEAD, quoted)?;
    [icmp[2], icmp[3]] = checksum::finish(sum).to_be_bytes();
    frame.write(l3_offset + 20, icmp)
}

/// An ICMPv6 error (RFC 4443).
#[inline(always)]
fn error_ipv6(ctx: &XdpContext, job: &Job, answer: Answer) -> Option<()> {
    if job.interface.ipv6 == [0; 16] {
        return None;
    }
    let l3_offset = usize::from(job.packet.l3_offset) & MAX_L3_OFFSET;
    let quoted = quote_len(false, job.packet.ip_len);
    resize(ctx, l3_offset, quoted)?;
    move_start(ctx, -(IPV6_OVERHEAD as i32)).then_some(())?;
    let frame = Linear::of_xdp(ctx);
    turn_link_layer(&frame, l3_offset, IPV6_OVERHEAD)?;

    let payload_len = (8 + quoted) as u16;
    let [l0, l1] = payload_len.to_be_bytes();
    frame.write(l3_offset, [0x60, 0, 0, 0, l0, l1, protocol::ICMPV6, ANSWER_TTL])?;
    frame.write(l3_offset + 8, job.interface.ipv6)?;
    frame.write(l3_offset + 24, job.packet.src_addr.octets())?;

    let message = icmp_error::message(answer, false, job.egress.mtu);
    let [r0, r1, r2, r3] = message.rest.to_be_bytes();
    let mut icmp = [message.message_type, message.code, 0, 0, r0, r1, r2, r3];
    let sum = pseudo_header(&job.interface.ipv6, &job.packet.src_addr.octets(), protocol::ICMPV6, payload_len)
        + checksum::sum(&icmp)
        + sum_of(&frame, l3_offset + IPV6_OVERHEAD, quoted)?;
    [icmp[2], icmp[3]] = checksum::finish(sum).to_be_bytes();
    frame.write(l3_offset + 40, icmp)
}

/// Turns a TCP segment over IPv4 into its reset.
#[inline(always)]
fn reset_ipv4(ctx: &XdpContext, job: &Job) -> Option<()> {
    let l3_offset = usize::from(job.packet.l3_offset) & MAX_L3_OFFSET;
    let (src_addr, dst_addr) = (job.packet.dst_addr.first4(), job.packet.src_addr.first4());
    let mut segment = reset_segment(&Linear::of_xdp(ctx), job)?;
    let sum = pseudo_header(&src_addr, &dst_addr, protocol::TCP, 20) + checksum::sum(&segment);
    [segment[16], segment[17]] = checksum::finish(sum).to_be_bytes();
    resize(ctx, l3_offset, 40)?;
    let frame = Linear::of_xdp(ctx);
    turn_link_layer(&frame, l3_offset, 0)?;
    let [s0, s1, s2, s3] = src_addr;
    let [d0, d1, d2, d3] = dst_addr;
    let mut header = [0x45, 0, 0, 40, 0, 0, 0x40, 0, ANSWER_TTL, protocol::TCP, 0, 0, s0, s1, s2, s3, d0, d1, d2, d3];
    [header[10], header[11]] = checksum::finish(checksum::sum(&header)).to_be_bytes();
    frame.write(l3_offset, header)?;
    frame.write(l3_offset + 20, segment)
}

/// Turns a TCP segment over IPv6 into its reset.
#[inline(always)]
fn reset_ipv6(ctx: &XdpContext, job: &Job) -> Option<()> {
    let l3_offset = usize::from(job.packet.l3_offset) & MAX_L3_OFFSET;
    let (src_addr, dst_addr) = (job.packet.dst_addr.octets(), job.packet.src_addr.octets());
    let mut segment = reset_segment(&Linear::of_xdp(ctx), job)?;
    let sum = pseudo_header(&src_addr, &dst_addr, protocol::TCP, 20) + checksum::sum(&segment);
    [segment[16], segment[17]] = checksum::finish(sum).to_be_bytes();
    resize(ctx, l3_offset, 60)?;
    let frame = Linear::of_xdp(ctx);
    turn_link_layer(&frame, l3_offset, 0)?;
    frame.write(l3_offset, [0x60, 0, 0, 0, 0, 20, protocol::TCP, ANSWER_TTL])?;
    frame.write(l3_offset + 8, src_addr)?;
    frame.write(l3_offset + 24, dst_addr)?;
    frame.write(l3_offset + 40, segment)
}

/// The reset of a segment, without its checksum (RFC 9293, section 3.10.7.1).
#[inline(always)]
fn reset_segment(frame: &Linear, job: &Job) -> Option<[u8; 20]> {
    let l4_offset = usize::from(job.packet.l4_offset) & MAX_L4_OFFSET;
    let segment: [u8; 20] = frame.bytes(l4_offset)?;
    let [s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, data_offset, flags, ..] = segment;
    if flags & tcp_flag::ACK != 0 {
        return Some([d0, d1, s0, s1, a0, a1, a2, a3, 0, 0, 0, 0, 0x50, tcp_flag::RST, 0, 0, 0, 0, 0, 0]);
    }
    let headers = u32::from(job.packet.l4_offset - job.packet.l3_offset) + u32::from(data_offset >> 4) * 4;
    let occupied = u32::from(job.packet.ip_len).wrapping_sub(headers)
        + u32::from(flags & tcp_flag::SYN != 0)
        + u32::from(flags & tcp_flag::FIN != 0);
    let [a0, a1, a2, a3] = u32::from_be_bytes([q0, q1, q2, q3]).wrapping_add(occupied).to_be_bytes();
    Some([d0, d1, s0, s1, 0, 0, 0, 0, a0, a1, a2, a3, 0x50, tcp_flag::RST | tcp_flag::ACK, 0, 0, 0, 0, 0, 0])
}
