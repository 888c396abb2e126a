//! Is the transport checksum of a packet from the wire right? Asked only where `[anomalies] verify_checksums` is on.
//!
//! A sender on the same machine may leave the checksum to a device that never makes it: docs/agent-toml.md says where the
//! setting does not belong. Drops, by way of `receive`: `transport_checksum`.

use aya_ebpf::programs::XdpContext;
use fw_common::wire::checksum::fold;
use fw_common::wire::coverage::{Coverage, may_be_covered};
use fw_common::wire::parse::Frame as _;

use crate::job::Job;
use crate::packet::Linear;
use crate::stage::sum::{MAX_L4_OFFSET, sum_of};

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
