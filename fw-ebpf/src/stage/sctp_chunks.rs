//! Which chunks does an SCTP packet have?
//!
//! In: a parsed packet, and the frame. Out: its chunks in the job ([`fw_common::sctp::Chunks`]). Drops, by way of `receive`:
//! `sctp_chunks`. Fetched by the kernel's helpers, because chunks may lie in any buffer of the frame.

use core::ffi::c_void;

use aya_ebpf::helpers::{bpf_loop, bpf_skb_load_bytes, bpf_xdp_load_bytes};
use aya_ebpf::programs::{TcContext, XdpContext};
use fw_common::DropReason;
use fw_common::sctp::{MAX_CHUNKS, Walk};
use fw_common::wire::parse::{Extent, Kind};

use crate::job::Job;

/// Reads bytes of a frame.
trait Source {
    /// Copies `N` bytes at `offset`; `None` if the frame ends before.
    ///
    /// # Safety
    /// `context` is the kernel's own, of this kind of program.
    unsafe fn load<const N: usize>(context: *mut c_void, offset: u32) -> Option<[u8; N]>;
}

/// The frame of an XDP program.
struct Xdp;

impl Source for Xdp {
    // SAFETY: the caller's, as the trait says.
    #[inline(always)]
    unsafe fn load<const N: usize>(context: *mut c_void, offset: u32) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        // SAFETY: the caller's, and as many bytes as the kernel is told.
        let result = unsafe { bpf_xdp_load_bytes(context.cast(), offset, bytes.as_mut_ptr().cast(), N as u32) };
        (result == 0).then_some(bytes)
    }
}

/// The frame of a TC program.
struct Skb;

impl Source for Skb {
    // SAFETY: the caller's, as the trait says.
    #[inline(always)]
    unsafe fn load<const N: usize>(context: *mut c_void, offset: u32) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        // SAFETY: the caller's, and as many bytes as the kernel is told.
        let result = unsafe { bpf_skb_load_bytes(context, offset, bytes.as_mut_ptr().cast(), N as u32) };
        (result == 0).then_some(bytes)
    }
}

/// What the steps of a walk need.
struct Reading {
    context: *mut c_void,
    walk: Walk,
    malformed: u32,
}

/// Reads the chunks of a packet from the wire, if it is of SCTP.
#[inline(always)]
pub(crate) fn read_from_wire(ctx: &XdpContext, job: &mut Job) -> Result<(), DropReason> {
    if job.packet.kind == Kind::Sctp { read_xdp(ctx, job) } else { Ok(()) }
}

/// Reads the chunks of a packet of the host, if it is of SCTP.
#[inline(always)]
pub(crate) fn read_from_host(ctx: &TcContext, job: &mut Job) -> Result<(), DropReason> {
    if job.packet.kind == Kind::Sctp { read_skb(ctx, job) } else { Ok(()) }
}

#[inline(never)]
fn read_xdp(ctx: &XdpContext, job: &mut Job) -> Result<(), DropReason> {
    read::<Xdp>(ctx.ctx.cast(), job, Extent::Whole)
}

#[inline(never)]
fn read_skb(ctx: &TcContext, job: &mut Job) -> Result<(), DropReason> {
    read::<Skb>(ctx.skb.skb.cast(), job, Extent::Headers)
}

#[inline(always)]
fn read<S: Source>(context: *mut c_void, job: &mut Job, extent: Extent) -> Result<(), DropReason> {
    let mut reading = Reading { context, walk: Walk::along(&job.packet, extent), malformed: 0 };
    // VERIFIER: a plain loop is verified once for each chunk, and what follows once for each number of them. Test:
    // `prog_run::maps::the_programs_stay_far_from_the_limit_of_the_verifier`.
    // SAFETY: `reading` outlives the call, and `one_chunk` takes it back as what it is.
    unsafe { bpf_loop(MAX_CHUNKS, one_chunk::<S> as *mut c_void, (&raw mut reading).cast(), 0) };
    if reading.malformed != 0 {
        return Err(DropReason::SctpChunks);
    }
    job.packet.chunks = reading.walk.found(&job.packet)?;
    Ok(())
}

/// Goes past one chunk; returns 1 to stop.
///
/// # Safety
/// Called by `bpf_loop` alone, with the pointer to the [`Reading`] that `read` lends it.
unsafe extern "C" fn one_chunk<S: Source>(_step: u32, reading: *mut c_void) -> i64 {
    // SAFETY: `bpf_loop` hands over the pointer that `read` gave it.
    let reading = unsafe { &mut *reading.cast::<Reading>() };
    if !reading.walk.goes_on() {
        return 1;
    }
    let (context, at) = (reading.context, reading.walk.at);
    // SAFETY: the context of the program that `read` was called by.
    let Some(header) = (unsafe { S::load(context, at) }) else { return 1 };
    let cause = || {
        // SAFETY: as above.
        unsafe { S::load(context, at + 4) }
    };
    if !reading.walk.pass(header, cause) {
        reading.malformed = 1;
        return 1;
    }
    0
}
