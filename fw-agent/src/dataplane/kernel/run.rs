//! Frames that are judged without being sent, for tests and benchmarks.

use std::os::fd::AsFd as _;

use super::calls::{self, Frame};
use super::object::chain;
use super::{KernelDataplane, Run};
use crate::dataplane::DataplaneError;

/// Bytes by which an answer may be longer than the packet that it answers.
const ROOM: usize = 256;

impl KernelDataplane {
    /// Runs the ingress program as if the packet had come in by an interface of this network name space; the action and the packet after
    /// it. As with packets from the wire, several processors may do so at once.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn run(&self, packet: &[u8], ifindex: u32) -> Result<(u32, Vec<u8>), DataplaneError> {
        self.run_frame(&[], packet, ifindex)
    }

    /// The same, with the time that it took, for benchmarks.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn run_timed(&self, packet: &[u8], ifindex: u32) -> Result<Run, DataplaneError> {
        self.object().run_ingress(packet, ifindex)
    }

    /// Runs the ingress program on a frame with metadata in front of it.
    pub(super) fn run_frame(
        &self,
        metadata: &[u8],
        frame: &[u8],
        ifindex: u32,
    ) -> Result<(u32, Vec<u8>), DataplaneError> {
        let (data, context) = with_context(metadata, frame, ifindex);
        let mut after = vec![0; frame.len() + ROOM];
        let (action, len) = calls::run(self.ingress.as_fd(), &data, &context, Frame::Tried(&mut after))
            .map_err(|error| DataplaneError::Load(chain(&error)))?;
        after.truncate(len as usize);
        Ok((action, after))
    }
}

/// Metadata and frame, and the `struct xdp_md` (include/uapi/linux/bpf.h) that says where each begins: `data`, `data_end`, `data_meta`,
/// `ingress_ifindex`, `rx_queue_index`, `egress_ifindex`.
pub(super) fn with_context(metadata: &[u8], frame: &[u8], ifindex: u32) -> (Vec<u8>, Vec<u8>) {
    let data = [metadata, frame].concat();
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let fields = [len(metadata), len(&data), 0, ifindex, 0, 0];
    (data, fields.iter().flat_map(|field| field.to_ne_bytes()).collect())
}
