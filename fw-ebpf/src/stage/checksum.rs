//! Is the transport checksum of a packet from the wire right? Asked of every packet where `[anomalies] verify_checksums` is on, and of one that
//! is to be told that it is rejected.
//!
//! A sender on the same machine may leave the checksum to a device that never makes it: docs/agent-toml.md says where the
//! setting does not belong. Drops, by way of `receive`: `transport_checksum`.

use aya_ebpf::programs::XdpContext;
use fw_common::wire::checksum::fold;
use fw_common::wire::coverage::{Coverage, may_be_covered};
use fw_common::wire::parse::{Frame as _, Kind};

use crate::job::Job;
use crate::packet::Linear;
use crate::stage::sum::{MAX_L4_OFFSET, sum_of};

/// Whether the checksum was left to a device that the packet has never come to: its place holds the sum of the pseudo-header, as
/// the device wants it (`CHECKSUM_PARTIAL`, include/linux/skbuff.h).
#[inline(never)]
pub(crate) fn was_left_out(ctx: &XdpContext, job: &Job) -> bool {
    let frame = Linear::of_xdp(ctx);
    let offset = usize::from(job.packet.l4_offset) & MAX_L4_OFFSET;
    let Some(header) = frame.bytes(offset) else { return false };
    let Coverage::Bytes { initial, .. } = Coverage::of(&job.packet, header) else { return false };
    let place = match job.packet.kind {
        Kind::Tcp => 16,
        Kind::Udp => 6,
        Kind::Sctp
        | Kind::IcmpQuery
        | Kind::IcmpReply
        | Kind::IcmpError
        | Kind::NeighbourDiscovery
        | Kind::MulticastListener
        | Kind::Other
        | Kind::Fragment => return false,
    };
    frame.bytes(offset + place).is_some_and(|written| u16::from_be_bytes(written) == fold(initial))
}

/// Whether the packet's checksum is right, or it has none.
#[inline(never)]
pub(crate) fn is_right(ctx: &XdpContext, job: &Job) -> bool {
    if !may_be_covered(&job.packet) {
        return true;
    }
    let frame = Linear::of_xdp(ctx);
    let offset = usize::from(job.packet.l4_offset) & MAX_L4_OFFSET;
    let Some(header) = frame.bytes(offset) else { return false };
    match Coverage::of(&job.packet, header) {
        Coverage::Nothing => true,
        Coverage::Missing => false,
        Coverage::Bytes { len, initial } => {
            sum_of(&frame, offset, len).is_some_and(|sum| fold(initial + sum) == 0xffff)
        }
    }
}
