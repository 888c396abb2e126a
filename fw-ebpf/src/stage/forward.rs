//! The last checks of a packet that goes on, and its new headers.
//!
//! Drops: TTL expired, too big, an egress that is not (or no longer) the firewall's.

use aya_ebpf::programs::XdpContext;
use fw_common::abi::interface::HANDOVER_SLOT;
use fw_common::wire::parse::Frame as _;
use fw_common::wire::{ETHERNET_LEN, checksum};
use fw_common::{DropReason, Verdict};

use crate::job::Job;
use crate::maps::{CONFIG, EGRESS};
use crate::packet::Linear;
use crate::stage::segment_size;

/// VERIFIER: the offset of the network header comes back from map memory, where its bounds are forgotten: 14, 18 or 22.
/// Test: `prog_run::tagged_frames_are_forwarded`.
const MAX_L3_OFFSET: usize = 0x1f;

/// Rewrites the packet of a verdict that sends it on; other verdicts pass unchanged.
#[inline(always)]
pub(crate) fn rewrite(ctx: &XdpContext, job: &mut Job, verdict: Verdict) -> Verdict {
    if let Verdict::Forward | Verdict::HandOver = verdict {
        segment_size::limit(ctx, job);
    }
    let rewritten = match verdict {
        Verdict::Forward => forward(ctx, job),
        Verdict::HandOver => hand_over(ctx, job),
        Verdict::Pass | Verdict::Drop(_) => return verdict,
    };
    match rewritten {
        Ok(verdict) => verdict,
        Err(reason) => Verdict::Drop(reason),
    }
}

/// Sends the packet to its next hop.
#[inline(always)]
fn forward(ctx: &XdpContext, job: &mut Job) -> Result<Verdict, DropReason> {
    check_ttl(job)?;
    if job.packet.ip_len > job.egress.mtu {
        if job.packet.dont_fragment {
            return Err(DropReason::TooBig);
        }
        return hand_over(ctx, job);
    }
    let frame = Linear::of_xdp(ctx);
    lower_ttl(&frame, job).ok_or(DropReason::Truncated)?;
    let ([d0, d1, d2, d3, d4, d5], [s0, s1, s2, s3, s4, s5]) = (job.egress.dst_mac, job.egress.src_mac);
    frame.write(0, [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5]).ok_or(DropReason::Truncated)?;
    aim(u32::from(job.egress.slot))?;
    Ok(Verdict::Forward)
}

/// What would become of the packet, without a change of it.
#[inline(always)]
pub(crate) fn foresee(job: &Job, verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Pass | Verdict::Drop(_) => return verdict,
        Verdict::Forward | Verdict::HandOver => {}
    }
    if let Err(reason) = check_ttl(job) {
        return Verdict::Drop(reason);
    }
    if verdict == Verdict::Forward && job.packet.ip_len <= job.egress.mtu {
        return verdict;
    }
    if verdict == Verdict::Forward && job.packet.dont_fragment {
        return Verdict::Drop(DropReason::TooBig);
    }
    match inner_end(job) {
        Ok(_) => Verdict::HandOver,
        Err(reason) => Verdict::Drop(reason),
    }
}

/// Whether the packet has hops left. Whether one of the host's own has does not matter (RFC 1812, section 4.2.2.9).
#[inline(always)]
fn check_ttl(job: &Job) -> Result<(), DropReason> {
    match job.packet.ttl {
        0 => Err(DropReason::TtlZero),
        1 => Err(DropReason::TtlExpired),
        _ => Ok(()),
    }
}

/// Lowers the TTL or hop limit by one (RFC 1812, section 5.3.1; RFC 8200, section 3).
#[inline(always)]
fn lower_ttl(frame: &Linear, job: &Job) -> Option<()> {
    let l3_offset = usize::from(job.packet.l3_offset) & MAX_L3_OFFSET;
    let ttl = job.packet.ttl - 1;
    if !job.packet.is_ipv4() {
        return frame.write(l3_offset + 7, [ttl]);
    }
    let [old_ttl, protocol, c0, c1]: [u8; 4] = frame.bytes(l3_offset + 8)?;
    let checksum = checksum::update(
        u16::from_be_bytes([c0, c1]),
        u16::from_be_bytes([old_ttl, protocol]),
        u16::from_be_bytes([ttl, protocol]),
    );
    let [c0, c1] = checksum.to_be_bytes();
    frame.write(l3_offset + 8, [ttl, protocol, c0, c1])
}

/// Sends the packet into the pair of devices whose other end the kernel forwards from. The kernel lowers the TTL.
#[inline(always)]
fn hand_over(ctx: &XdpContext, job: &mut Job) -> Result<Verdict, DropReason> {
    check_ttl(job)?;
    let handover_mac = inner_end(job)?;
    let frame = Linear::of_xdp(ctx);
    frame.write(0, handover_mac).ok_or(DropReason::Truncated)?;
    aim(HANDOVER_SLOT)?;
    Ok(Verdict::HandOver)
}

/// The hardware address of the end of the pair that the kernel forwards from, if it takes the packet.
#[inline(always)]
fn inner_end(job: &Job) -> Result<[u8; 6], DropReason> {
    let config = CONFIG.get(0).ok_or(DropReason::NotHandedOver)?;
    // The inner end has no VLAN devices: the kernel would drop a tagged frame in silence.
    if config.handover_ifindex == 0 || usize::from(job.packet.l3_offset) != ETHERNET_LEN {
        return Err(DropReason::NotHandedOver);
    }
    Ok(config.handover_mac)
}

/// Names the device that the frame is redirected to; the kernel sends it there after the program has ended.
#[inline(always)]
fn aim(slot: u32) -> Result<(), DropReason> {
    match EGRESS.redirect(slot, 0) {
        Ok(_) => Ok(()),
        Err(_) => Err(DropReason::EgressNotForwarding),
    }
}
