//! Makes the next packet of the plan from a recycled frame, and sends it.
//!
//! The kernel hands frames over again as the last receiver left them, so every byte of the headers is written each time.

use aya_ebpf::bindings::xdp_action::XDP_ABORTED;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::programs::XdpContext;
use fw_bench_ebpf::{
    CLIENT_PORT, Ends, MAX_STEPS, Plan, SERVER_PORT, STAMP, Step, TEMPLATE_LEN, checksum, words, words_of_time,
};

use crate::frame::Frame;
use crate::maps::{NEXT, PLAN, PORTS};

/// Every frame is at least as long.
const SHORTEST: usize = 64;

/// Offsets of the fields that differ between flows.
struct Offsets {
    /// The last four bytes of the source address.
    src_addr: usize,
    /// The last four bytes of the destination address.
    dst_addr: usize,
    /// The transport header.
    transport: usize,
}

const IPV4: Offsets = Offsets { src_addr: 26, dst_addr: 30, transport: 34 };
const IPV6: Offsets = Offsets { src_addr: 34, dst_addr: 50, transport: 54 };
/// Of the checksum in the IPv4 frame.
const IPV4_CHECKSUM: usize = 24;
/// Of the checksum in the transport header.
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;

#[inline(always)]
pub(crate) fn generate(ctx: &XdpContext) -> u32 {
    let (Some(plan), Some(next)) = (PLAN.get(0), NEXT.get_ptr_mut(0)) else { return XDP_ABORTED };
    // SAFETY: a live map value, which only this processor writes while a run lasts.
    let number = unsafe {
        let number = *next;
        *next = number + 1;
        number as u32
    };
    let (step, flow) = plan.packet(number);
    let step = &plan.script[step as usize & (MAX_STEPS - 1)];
    let frame = Frame::of(ctx);
    if copy(&frame, step).and_then(|()| address(&frame, plan, step, plan.ends(flow))).is_none() {
        return XDP_ABORTED;
    }
    PORTS.redirect(if step.reply != 0 { SERVER_PORT } else { CLIENT_PORT }, 0).unwrap_or(XDP_ABORTED)
}

/// Writes the template.
#[inline(always)]
fn copy(frame: &Frame, step: &Step) -> Option<()> {
    for offset in (0..SHORTEST).step_by(8) {
        frame.write(offset, word_at(step, offset))?;
    }
    for offset in (SHORTEST..TEMPLATE_LEN).step_by(8) {
        if frame.write(offset, word_at(step, offset)).is_none() {
            break;
        }
    }
    Some(())
}

#[inline(always)]
fn word_at(step: &Step, offset: usize) -> [u8; 8] {
    // SAFETY: both loops of `copy` stay within the template, whose length is a multiple of eight.
    unsafe { step.bytes.as_ptr().add(offset).cast::<[u8; 8]>().read_unaligned() }
}

/// Writes addresses, ports and checksums of the flow.
#[inline(always)]
fn address(frame: &Frame, plan: &Plan, step: &Step, ends: Ends) -> Option<()> {
    let addresses = words(ends.client) + words(ends.server);
    let time = if plan.stamped != 0 { stamp(frame)? } else { 0 };
    let sum = checksum(step.transport_sum + addresses + u32::from(ends.port) + time);
    if plan.ipv6 != 0 {
        write_ends(frame, &IPV6, step, ends)?;
        return write_sum(frame, &IPV6, plan, sum);
    }
    write_ends(frame, &IPV4, step, ends)?;
    frame.write(IPV4_CHECKSUM, checksum(step.header_sum + addresses).to_be_bytes())?;
    write_sum(frame, &IPV4, plan, sum)
}

/// Writes the time, and returns the sum of its words.
#[inline(always)]
fn stamp(frame: &Frame) -> Option<u32> {
    // SAFETY: the helper has no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    frame.write(STAMP, now.to_be_bytes())?;
    Some(words_of_time(now))
}

#[inline(always)]
fn write_ends(frame: &Frame, offsets: &Offsets, step: &Step, ends: Ends) -> Option<()> {
    let (src, dst, port) = if step.reply != 0 {
        (ends.server, ends.client, offsets.transport + 2)
    } else {
        (ends.client, ends.server, offsets.transport)
    };
    frame.write(offsets.src_addr, src.to_be_bytes())?;
    frame.write(offsets.dst_addr, dst.to_be_bytes())?;
    frame.write(port, ends.port.to_be_bytes())
}

#[inline(always)]
fn write_sum(frame: &Frame, offsets: &Offsets, plan: &Plan, sum: u16) -> Option<()> {
    if plan.tcp != 0 {
        return frame.write(offsets.transport + TCP_CHECKSUM, sum.to_be_bytes());
    }
    // RFC 768: a checksum that is zero is sent as all ones.
    frame.write(offsets.transport + UDP_CHECKSUM, if sum == 0 { [0xff; 2] } else { sum.to_be_bytes() })
}
