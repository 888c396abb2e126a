//! Fragments that come before their datagram's first one: the agent holds them, and gives them back when that has been judged.
//!
//! What the agent may hold of a datagram is bounded here, by the number of its fragments; the ring bounds what is on its way.

use aya_ebpf::helpers::bpf_xdp_load_bytes;
use aya_ebpf::maps::ring_buf::RingBufBytes;
use aya_ebpf::programs::XdpContext;
use fw_common::abi::fragment::{HELD_RECORD, HELD_ROOM, HeldHeader, MAX_HELD_FRAME};

use crate::job::Job;
use crate::maps::{CONFIG, FRAGMENTS_HELD};
use crate::packet::{frame_len, opaque};

/// Room for a fragment on its way to the agent.
pub(super) struct Place(RingBufBytes<'static>);

/// Takes room for the fragment; `None` if there is none, if it is longer than what can be given back, or if no agent is
/// there: one that is says so every few seconds.
#[inline(always)]
pub(super) fn reserve(ctx: &XdpContext, job: &Job) -> Option<Place> {
    if job.now > CONFIG.get(0)?.routes_followed_until || frame_len(ctx) > MAX_HELD_FRAME as u64 {
        return None;
    }
    FRAGMENTS_HELD.reserve_bytes(HELD_RECORD, 0).map(Place)
}

impl Place {
    /// Copies the frame; whether the kernel could.
    #[inline(always)]
    pub(super) fn fill(mut self, ctx: &XdpContext, job: &Job) -> bool {
        let record = self.0.as_mut_ptr();
        // VERIFIER: the length was compared before the room was taken, which is forgotten; and kernel 6.1 learns from a comparison
        // not that it is above 0. So it is masked to what the room is for. Test: `prog_run::the_programs_load`.
        let len = (opaque((frame_len(ctx) as usize).wrapping_sub(1)) & (HELD_ROOM - 1)) + 1;
        // SAFETY: the record is ours until it is submitted, and has room for the header and behind it for as many bytes.
        let copied = unsafe {
            write_header(record, job, job.ingress_ifindex, len as u32);
            bpf_xdp_load_bytes(ctx.ctx, 0, record.add(size_of::<HeldHeader>()).cast(), len as u32)
        };
        if copied != 0 {
            self.0.discard(0);
            return false;
        }
        self.0.submit(0);
        true
    }
}

/// Tells the agent that the first fragment of the datagram in the job has been judged. Without room the others are given back
/// when their time is over.
#[inline(always)]
pub(super) fn announce(job: &Job) {
    if let Some(mut record) = FRAGMENTS_HELD.reserve_bytes(size_of::<HeldHeader>(), 0) {
        // SAFETY: the record is ours until it is submitted, and has room for the header.
        unsafe { write_header(record.as_mut_ptr(), job, 0, 0) };
        record.submit(0);
    }
}

/// Writes what a record begins with.
///
/// # Safety
/// `record` has room for it.
#[inline(always)]
unsafe fn write_header(record: *mut u8, job: &Job, ingress_ifindex: u32, len: u32) {
    let header = record.cast::<HeldHeader>();
    // SAFETY: the caller's; records are aligned to eight bytes.
    unsafe {
        (&raw mut (*header).key).write(job.datagram);
        (&raw mut (*header).ingress_ifindex).write(ingress_ifindex);
        (&raw mut (*header).len).write(len);
    }
}
