//! Fragments that wait in the agent: out of the kernel by a ring, and back into the program that has sent them.
//!
//! A fragment goes back as a live frame of `BPF_PROG_TEST_RUN` (kernel 5.18; `Documentation/bpf/bpf_prog_run.rst`): the program
//! judges it as if it had come in just now by its interface, counts it, and sends it on or gives it to the host. Four bytes
//! of metadata in front of the frame say that it has waited. Nobody on the wire can put metadata there, and only who may load
//! programs can run them.

use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{Map, MapData, RingBuf};
use fw_common::abi::fragment::{DatagramKey, HeldHeader};

use super::calls::{self, Frame};
use super::object::{chain, map_error};
use super::run::with_context;
use super::{KernelDataplane, maps_dir};
use crate::dataplane::DataplaneError;

/// The ring buffer.
const RING: &str = "FRAGMENTS_HELD";

/// What stands in front of a frame that has waited: a multiple of four bytes, of whatever value.
const MARK: [u8; 4] = [0; 4];

/// Fragments on their way to the agent.
pub struct HeldFragments {
    ring: RingBuf<MapData>,
}

/// What the program tells the agent about fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FragmentRecord<'r> {
    /// A fragment that has to wait for the first one of its datagram.
    Waits {
        /// Its datagram.
        key: DatagramKey,
        /// The interface that it came in by.
        ingress_ifindex: u32,
        /// The frame.
        frame: &'r [u8],
    },
    /// The first fragment of a datagram has been judged, of which others wait.
    Judged(DatagramKey),
}

/// Records that are handed out at once.
const BATCH: usize = 256;

impl HeldFragments {
    /// Hands out the records that have come, and a batch at most, so that nobody who sends faster than this reads keeps the caller.
    pub fn poll(&mut self, visit: &mut dyn FnMut(FragmentRecord<'_>)) {
        for _ in 0..BATCH {
            let Some(record) = self.ring.next() else { return };
            if let Some(record) = read(&record) {
                visit(record);
            }
        }
    }
}

impl AsFd for HeldFragments {
    /// Readable when there are records.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// Reads a record.
fn read(record: &[u8]) -> Option<FragmentRecord<'_>> {
    let (header, rest) = record.split_at_checked(size_of::<HeldHeader>())?;
    // SAFETY: long enough, and every bit pattern is a value; the record need not be aligned.
    let header = unsafe { header.as_ptr().cast::<HeldHeader>().read_unaligned() };
    if header.ingress_ifindex == 0 {
        return Some(FragmentRecord::Judged(header.key));
    }
    let frame = rest.get(..header.len as usize)?;
    Some(FragmentRecord::Waits { key: header.key, ingress_ifindex: header.ingress_ifindex, frame })
}

impl KernelDataplane {
    /// The fragments that wait. Each record is handed out once, whoever asks.
    ///
    /// # Errors
    /// If the ring is not pinned any more, or cannot be mapped.
    pub fn held_fragments(&self) -> Result<HeldFragments, DataplaneError> {
        let pin = maps_dir(&self.pin_dir).join(RING);
        let data = MapData::from_pin(pin).map_err(|error| map_error(RING, &error))?;
        let ring = RingBuf::try_from(Map::RingBuf(data)).map_err(|error| map_error(RING, &error))?;
        Ok(HeldFragments { ring })
    }

    /// Gives a fragment back that has waited. It must not wait again: if its datagram has not been judged, it is dropped. Waits for
    /// nobody who reads tables or changes the data plane: each fragment is late already.
    ///
    /// # Errors
    /// What the kernel says; also if the interface is gone.
    pub fn give_back(&self, frame: &[u8], ingress_ifindex: u32) -> Result<(), DataplaneError> {
        let (marked, context) = with_context(&MARK, frame, ingress_ifindex);
        calls::run(self.ingress.as_fd(), &marked, &context, Frame::Live)
            .map(drop)
            .map_err(|error| DataplaneError::Load(chain(&error)))
    }

    /// The same for tests: nothing is sent; the action and the packet after it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn run_given_back(&self, frame: &[u8], ingress_ifindex: u32) -> Result<(u32, Vec<u8>), DataplaneError> {
        self.run_frame(&MARK, frame, ingress_ifindex)
    }
}
