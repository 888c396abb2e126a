//! The maximum segment size in SYNs to and from destinations for which the configuration limits it.

use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::programs::XdpContext;
use fw_common::abi::config::config_flags;
use fw_common::abi::interface::mapped;
use fw_common::tcp::mss;
use fw_common::wire::Address;
use fw_common::wire::parse::{Frame as _, tcp_flag};

use crate::job::Job;
use crate::maps::{CONFIG, SEGMENT_LIMITS, exact};
use crate::packet::Linear;

/// Offset of the checksum in a TCP header (RFC 9293, section 3.1).
const CHECKSUM: usize = 16;
/// VERIFIER: the offset comes back from map memory, where its bounds are forgotten. Test:
/// `prog_run::segment_size::what_a_syn_announces_is_limited`.
const MAX_OFFSET: usize = 0x3fff;

/// Limits what a SYN announces; other packets cost a comparison.
#[inline(always)]
pub(crate) fn limit(ctx: &XdpContext, job: &Job) {
    if job.packet.tcp_flags & tcp_flag::SYN != 0 {
        limit_syn(ctx, job);
    }
}

#[inline(never)]
fn limit_syn(ctx: &XdpContext, job: &Job) {
    let Some(config) = CONFIG.get(0) else { return };
    if config.flags & config_flags::LIMIT_SEGMENTS == 0 || job.packet.mss_offset == 0 {
        return;
    }
    // The limit holds for both ends: what one announces is what the other sends.
    let (near, far) = (limit_of(&job.packet.src_addr), limit_of(&job.packet.dst_addr));
    let _ = lower(&Linear::of_xdp(ctx), job, if near < far { near } else { far });
}

/// The limit for one of the ends.
#[inline(always)]
fn limit_of(addr: &Address) -> u16 {
    let key: Key<[u8; 16]> = exact(mapped(addr));
    SEGMENT_LIMITS.get(&key).map_or(u16::MAX, |limit| *limit as u16)
}

/// Writes the limit into the segment, if it announces more.
#[inline(always)]
fn lower(frame: &Linear, job: &Job, limit: u16) -> Option<()> {
    let segment = usize::from(job.packet.l4_offset) & MAX_OFFSET;
    let option = usize::from(job.packet.mss_offset) & MAX_OFFSET;
    let announced = u16::from_be_bytes(frame.bytes(option)?);
    let checksum = u16::from_be_bytes(frame.bytes(segment + CHECKSUM)?);
    let lowered = mss::lower(announced, limit, checksum, (option ^ segment) & 1 != 0)?;
    frame.write(option, lowered.mss.to_be_bytes())?;
    frame.write(segment + CHECKSUM, lowered.checksum.to_be_bytes())
}
