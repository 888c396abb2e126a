//! What happens to a packet.

use crate::DropReason;

/// The result of the pipeline; exactly one place in the program maps it to an action of the kernel.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Give it to the host's stack.
    Pass,
    /// Rewrite it and send it from the egress interface.
    Forward,
    /// Give it to the kernel's forwarding path, which resolves the next hop or fragments.
    HandOver,
    /// Drop it, and count why.
    Drop(DropReason),
}

// The program's stages are separate BPF functions, and those return in one register.
const _: () = assert!(core::mem::size_of::<Verdict>() == 1);
const _: () = assert!(core::mem::size_of::<Result<(), DropReason>>() == 1);
