//! The bits of [`Flow::flags`]: processors change some at once, and none takes another's change back.

use core::mem::offset_of;
use core::ptr::NonNull;

use fw_common::abi::flow::Flow;

use crate::atomic;

/// The word that the flags stand in: there are no atomic operations on bytes.
const WORD: usize = offset_of!(Flow, flags) & !3;
/// Where they stand in it; BPF is little-endian on every machine that this runs on.
const SHIFT: usize = (offset_of!(Flow, flags) - WORD) * 8;
const _: () = assert!(cfg!(target_endian = "little"));

/// Sets bits.
#[inline(always)]
pub(crate) fn set_flags(flow: NonNull<Flow>, bits: u8) {
    // SAFETY: an aligned word of a live map value.
    unsafe { atomic::or_u32(word_of(flow), u32::from(bits) << SHIFT) };
}

/// Clears bits.
#[inline(always)]
pub(crate) fn clear_flags(flow: NonNull<Flow>, bits: u8) {
    // SAFETY: as above.
    unsafe { atomic::and_u32(word_of(flow), !(u32::from(bits) << SHIFT)) };
}

#[inline(always)]
const fn word_of(flow: NonNull<Flow>) -> *mut u32 {
    // SAFETY: within the flow, which is aligned to eight bytes.
    unsafe { flow.as_ptr().byte_add(WORD).cast() }
}
