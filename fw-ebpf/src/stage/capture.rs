//! Copies packets to the agent, while it captures: frames as they came in and as they leave, with what was decided about them.
//!
//! A frame whose headers the filter wants is copied to scratch space before they are rewritten, and sent from there once the verdict is known.

use aya_ebpf::helpers::{bpf_ktime_get_ns, bpf_skb_load_bytes, bpf_xdp_load_bytes};
use aya_ebpf::programs::{TcContext, XdpContext};
use fw_common::abi::capture::{CaptureFilter, CapturedHead, SNAP_ROOM, captured_direction, captured_outcome};
use fw_common::abi::interface::interface_flags;
use fw_common::{Verdict, capture};

use crate::job::{Job, Program};
use crate::maps::{CAPTURE, CAPTURE_SCRATCH, CAPTURED};
use crate::packet::{frame_len, opaque};
use crate::stage::{count, interface};

/// Scratch space for a record.
#[repr(C)]
pub(crate) struct Scratch {
    head: CapturedHead,
    frame: [u8; SNAP_ROOM],
}

/// Whether packets of the job's interface are captured: a bit of a word that every packet has loaded.
#[inline(always)]
pub(crate) fn is_wanted(job: &Job) -> bool {
    job.interface.flags & interface_flags::CAPTURED != 0
}

/// The flags of an interface that is none of the firewall's, so that its packets can be captured as well.
#[inline(always)]
pub(crate) fn flags_of_a_stranger(now: u32) -> u32 {
    if filter(now).is_some() { interface_flags::CAPTURED } else { 0 }
}

/// Copies the frame as it came in.
#[inline(always)]
pub(crate) fn keep_incoming(ctx: &XdpContext, job: &Job) {
    keep(ctx, job, captured_direction::IN, job.ingress_ifindex);
}

/// Sends what [`keep_incoming`] has kept.
#[inline(always)]
pub(crate) fn submit_incoming(job: &Job, action: u32) {
    submit(job, Program::Ingress as u32, outcome_of(job.verdict), action);
}

/// Sends the frame as it leaves: the packet, or the answer to it.
#[inline(always)]
pub(crate) fn outgoing(ctx: &XdpContext, job: &Job, action: u32) {
    let (ifindex, outcome) = match job.verdict {
        Verdict::Forward => (job.egress.ifindex, captured_outcome::FORWARDED),
        Verdict::Drop(_) => (job.ingress_ifindex, captured_outcome::ANSWER),
        // It leaves by the kernel's own path, where it is seen once more.
        Verdict::HandOver | Verdict::Pass => return,
    };
    keep(ctx, job, captured_direction::OUT, ifindex);
    submit(job, Program::Ingress as u32, outcome, action);
}

/// Sends a frame of the host.
#[inline(never)]
pub(crate) fn from_host(ctx: &TcContext, job: &Job, action: i32) -> u32 {
    // SAFETY: the kernel's own context.
    let ifindex = unsafe { (*ctx.skb.skb).ifindex };
    if filter(job.now).is_some_and(|filter| wants_headers(filter, job)) {
        keep_of_host(ctx, ifindex, job.now);
        submit(job, Program::Egress as u32, outcome_of(job.verdict), action as u32);
    }
    0
}

/// Sends a frame that leaves by the kernel's own path. Nothing is known of it here, so that the agent applies the conditions.
#[inline(never)]
pub(crate) fn forwarded_by_kernel(ctx: &TcContext) -> u32 {
    // SAFETY: the kernel's own context.
    let ifindex = unsafe { (*ctx.skb.skb).ifindex };
    if interface::find(ifindex).is_none_or(|interface| interface.flags & interface_flags::CAPTURED == 0) {
        return 0;
    }
    // SAFETY: the helper has no arguments.
    let now = (unsafe { bpf_ktime_get_ns() } / 1_000_000_000) as u32;
    keep_of_host(ctx, ifindex, now);
    if let Some(scratch) = CAPTURE_SCRATCH.get_ptr_mut(Program::Egress as u32) {
        // SAFETY: this processor's own entry.
        unsafe { (*scratch).head.outcome = captured_outcome::HANDED_OVER };
        send(scratch);
    }
    0
}

#[inline(always)]
const fn outcome_of(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Forward => captured_outcome::FORWARDED,
        Verdict::Pass => captured_outcome::PASSED,
        Verdict::HandOver => captured_outcome::HANDED_OVER,
        Verdict::Drop(_) => captured_outcome::DROPPED,
    }
}

/// The filter, while a capture lasts.
#[inline(always)]
fn filter(now: u32) -> Option<&'static CaptureFilter> {
    CAPTURE.get(0).filter(|filter| now < filter.until)
}

/// Whether the filter wants a packet with these headers, whatever is decided about it.
#[inline(always)]
fn wants_headers(filter: &CaptureFilter, job: &Job) -> bool {
    capture::wants_packet(filter, job.parsed.then_some(&job.packet))
}

/// Copies the beginning of a frame to scratch space, if the filter wants its headers: to copy what nobody wants would cost an
/// established packet more than everything else.
#[inline(never)]
fn keep(ctx: &XdpContext, job: &Job, direction: u8, ifindex: u32) -> u32 {
    let place = Program::Ingress as u32;
    if !filter(job.now).is_some_and(|filter| wants_headers(filter, job)) {
        if let Some(scratch) = CAPTURE_SCRATCH.get_ptr_mut(place) {
            // SAFETY: this processor's own entry.
            unsafe { (*scratch).head.captured = 0 };
        }
        return 0;
    }
    let len = frame_len(ctx) as u32;
    let Some(scratch) = begin(place, direction, ifindex, len, job.now) else { return 0 };
    let kept = kept(scratch);
    if kept == 0 {
        return 0;
    }
    // SAFETY: the context is the kernel's own, and the scratch space has room for as much.
    let read = unsafe { bpf_xdp_load_bytes(ctx.ctx, 0, (&raw mut (*scratch).frame).cast(), kept) };
    finish(scratch, read)
}

/// The same of a socket buffer.
#[inline(always)]
fn keep_of_host(ctx: &TcContext, ifindex: u32, now: u32) {
    let Some(scratch) = begin(Program::Egress as u32, captured_direction::OUT, ifindex, ctx.len(), now) else { return };
    let kept = kept(scratch);
    if kept == 0 {
        return;
    }
    // SAFETY: as above.
    let read = unsafe { bpf_skb_load_bytes(ctx.skb.skb.cast(), 0, (&raw mut (*scratch).frame).cast(), kept) };
    finish(scratch, read);
}

/// Begins a record; `None` if no capture wants one of this interface.
#[inline(always)]
fn begin(place: u32, direction: u8, ifindex: u32, len: u32, now: u32) -> Option<*mut Scratch> {
    let scratch = CAPTURE_SCRATCH.get_ptr_mut(place)?;
    // SAFETY: this processor's own entry, here and below.
    unsafe { (*scratch).head.captured = 0 };
    let filter = filter(now)?;
    if filter.ifindex != 0 && filter.ifindex != ifindex {
        return None;
    }
    let captured = if len < filter.snaplen { len } else { filter.snaplen };
    // SAFETY: as above.
    unsafe {
        (*scratch).head =
            CapturedHead { at: bpf_ktime_get_ns(), ifindex, len, captured, direction, ..CapturedHead::default() };
    }
    Some(scratch)
}

/// How many bytes are to be kept.
///
/// VERIFIER: read back from the map, and masked to what there is room for: kernel 6.1 learns from comparisons neither that it is
/// above 0, nor how large the half of a register is. Test: `prog_run::the_programs_load`.
#[inline(always)]
fn kept(scratch: *mut Scratch) -> u32 {
    // SAFETY: this processor's own entry.
    let kept = unsafe { (&raw const (*scratch).head.captured).read_volatile() };
    if kept == 0 { 0 } else { ((opaque((kept as usize).wrapping_sub(1)) & (SNAP_ROOM - 1)) + 1) as u32 }
}

/// Notes how much was kept; nothing, if the frame could not be read.
#[inline(always)]
fn finish(scratch: *mut Scratch, read: i64) -> u32 {
    if read != 0 {
        // SAFETY: this processor's own entry.
        unsafe { (*scratch).head.captured = 0 };
    }
    0
}

/// Adds what was decided, and sends the record if the filter wants it.
#[inline(never)]
fn submit(job: &Job, place: u32, outcome: u8, action: u32) -> u32 {
    let Some(scratch) = CAPTURE_SCRATCH.get_ptr_mut(place) else { return 0 };
    // SAFETY: this processor's own entry, here and below.
    if unsafe { (*scratch).head.captured } == 0 {
        return 0;
    }
    let Some(filter) = filter(job.now) else { return 0 };
    if !capture::wants(filter, job.parsed.then_some(&job.packet), job.verdict) {
        return 0;
    }
    // SAFETY: as above.
    unsafe {
        let head = &mut (*scratch).head;
        head.outcome = outcome;
        head.action = action as u8;
        head.rule = job.decision.rule;
        head.from_zone = job.query.from_zone;
        head.to_zone = job.query.to_zone;
        head.reason = match job.verdict {
            Verdict::Drop(reason) => reason as u8,
            Verdict::Pass | Verdict::Forward | Verdict::HandOver => 0,
        };
    }
    send(scratch)
}

/// Sends a record.
#[inline(always)]
fn send(scratch: *mut Scratch) -> u32 {
    let kept = kept(scratch);
    if kept == 0 {
        return 0;
    }
    // SAFETY: the record is the head and as many bytes behind it, all of them this processor's own.
    let record: &[u8] =
        unsafe { core::slice::from_raw_parts(scratch.cast(), kept as usize + size_of::<CapturedHead>()) };
    if CAPTURED.output_untyped::<[u8]>(record, 0).is_err() {
        count::happening(|happenings| happenings.captured_lost += 1);
    }
    0
}
