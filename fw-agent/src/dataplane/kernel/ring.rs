//! A ring buffer that somebody waits for, apart from the lock of the object.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use fw_common::abi::capture::CapturedHead;
use fw_common::abi::event::{FirstDenied, FlowEnd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::object::map_error;
use crate::dataplane::{DataplaneError, Observed};

/// The most records that are handed out before the waiting function returns, so that its caller can look round.
const BATCH: usize = 4_096;

/// A ring buffer.
pub(super) struct Ring {
    name: &'static str,
    ring: RingBuf<MapData>,
}

impl Ring {
    pub(super) const fn new(name: &'static str, ring: RingBuf<MapData>) -> Self {
        Self { name, ring }
    }

    /// Waits until there are records, or until `gone` can be read, and visits them.
    pub(super) fn wait(
        &mut self,
        patience: Duration,
        gone: Option<BorrowedFd<'_>>,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<(), DataplaneError> {
        if self.visit(visit) > 0 {
            return Ok(());
        }
        let patience = Timespec::try_from(patience).map_err(|error| map_error(self.name, &error))?;
        let ring = self.ring.as_fd();
        let mut ends =
            [PollFd::new(&ring, PollFlags::IN), PollFd::from_borrowed_fd(gone.unwrap_or(ring), PollFlags::IN)];
        match poll(&mut ends, Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(map_error(self.name, &io::Error::from(error))),
        }
        self.visit(visit);
        Ok(())
    }

    /// Forgets what nobody has read.
    pub(super) fn clear(&mut self) {
        while self.visit(&mut |_| {}) > 0 {}
    }

    fn visit(&mut self, visit: &mut dyn FnMut(&[u8])) -> usize {
        let mut visited = 0;
        while visited < BATCH
            && let Some(record) = self.ring.next()
        {
            visit(&record);
            visited += 1;
        }
        visited
    }
}

/// Reads a record of `OBSERVED`: its length says what it is.
pub(super) fn observed(record: &[u8]) -> Option<Observed> {
    const _: () = assert!(size_of::<FlowEnd>() != size_of::<FirstDenied>());
    let from = record.as_ptr();
    if record.len() == size_of::<FlowEnd>() {
        // SAFETY: as long as that, and every bit pattern is a value; the record need not be aligned.
        return Some(Observed::Flow(unsafe { from.cast::<FlowEnd>().read_unaligned() }));
    }
    if record.len() == size_of::<FirstDenied>() {
        // SAFETY: as above.
        return Some(Observed::Denied(unsafe { from.cast::<FirstDenied>().read_unaligned() }));
    }
    None
}

/// Reads a record of `CAPTURED`: what is known of a packet, and its bytes.
pub(super) fn captured(record: &[u8]) -> Option<(CapturedHead, &[u8])> {
    let (head, rest) = record.split_at_checked(size_of::<CapturedHead>())?;
    // SAFETY: as long as a head, and every bit pattern is a value; the record need not be aligned.
    let head = unsafe { head.as_ptr().cast::<CapturedHead>().read_unaligned() };
    Some((head, rest.get(..head.captured as usize)?))
}
