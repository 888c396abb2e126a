//! The interfaces that carry the program, by the kernel's index.

use fw_common::abi::interface::{Interface, NEAR_INTERFACES, interface_flags};

use crate::maps::{FAR_INTERFACES, INTERFACES};

/// The interface with a kernel index, if it is one of the firewall's. The agent replaces entries whole.
#[inline(always)]
pub(crate) fn find(ifindex: u32) -> Option<&'static Interface> {
    if ifindex < NEAR_INTERFACES {
        return INTERFACES.get(ifindex).filter(|interface| interface.flags & interface_flags::PRESENT != 0);
    }
    // SAFETY: entries of the firewall's interfaces are not removed while packets come from them.
    unsafe { FAR_INTERFACES.get(&ifindex) }
}
