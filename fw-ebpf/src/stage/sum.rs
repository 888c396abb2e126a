//! The sum of a part of the frame, for a checksum.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_loop;
use fw_common::wire::checksum;

use crate::packet::Linear;

/// VERIFIER: offsets come back from map memory, where their bounds are forgotten. Tests:
/// `prog_run::expired_packets_are_answered` and `prog_run::rejected_tcp_is_reset`.
pub(crate) const MAX_L4_OFFSET: usize = 0x3fff;

/// Bytes that are added at a time, as long as so many are left.
const BLOCK: usize = 32;

/// A sum over a part of the frame: of words in the order of this machine, which [`checksum::fold`] makes right.
struct Sum {
    frame: Linear,
    offset: u32,
    sum: u64,
}

/// The sum of the 16-bit words of `len` bytes at `offset`, folded to 16 bits; an odd last byte counts as the high half of a
/// word. `None` if the frame ends before, or reaches beyond 16 KiB, which is longer than any link's packets.
///
/// VERIFIER: a plain loop is verified once per iteration, and all that follows once per length. Test:
/// `prog_run::the_programs_load`.
#[inline(always)]
pub(crate) fn sum_of(frame: &Linear, offset: usize, len: usize) -> Option<u64> {
    if offset + len > MAX_L4_OFFSET {
        return None;
    }
    let mut sum = Sum { frame: *frame, offset: offset as u32, sum: 0 };
    add(&mut sum, (len / BLOCK) as u32, add_block as *mut c_void)?;
    sum.offset += (len & !(BLOCK - 1)) as u32;
    add(&mut sum, (len % BLOCK / 4) as u32, add_word as *mut c_void)?;
    let mut end = (offset + (len & !3)) & MAX_L4_OFFSET;
    if len & 2 != 0 {
        sum.sum += u64::from(u16::from_ne_bytes(frame.bytes_anywhere(end)?));
        end += 2;
    }
    if len & 1 != 0 {
        let [last] = frame.bytes_anywhere(end)?;
        sum.sum += u64::from(u16::from_ne_bytes([last, 0]));
    }
    // RFC 1071, section 2: the sum of swapped words is the swapped sum of the words.
    Some(u64::from(u16::from_be(checksum::fold(sum.sum))))
}

/// Runs one of the steps below so many times; `None` if the frame ended before.
#[inline(always)]
fn add(sum: &mut Sum, times: u32, step: *mut c_void) -> Option<()> {
    // SAFETY: `sum` outlives the call, and the step takes it back as what it is.
    let done = unsafe { bpf_loop(times, step, (&raw mut *sum).cast(), 0) };
    (done == i64::from(times)).then_some(())
}

/// Adds the next [`BLOCK`] bytes; returns 1 to stop at the end of the frame.
///
/// # Safety
/// Called by `bpf_loop` alone, with the pointer to the [`Sum`] that [`add`] lends it.
unsafe extern "C" fn add_block(position: u32, sum: *mut c_void) -> i64 {
    // SAFETY: `bpf_loop` hands over the pointer that `add` gave it.
    let sum = unsafe { &mut *sum.cast::<Sum>() };
    let offset = (sum.offset + position * BLOCK as u32) as usize & MAX_L4_OFFSET;
    let Some(block) = sum.frame.bytes_anywhere::<BLOCK>(offset) else { return 1 };
    for word in block.as_chunks::<4>().0 {
        sum.sum += u64::from(u32::from_ne_bytes(*word));
    }
    0
}

/// Adds the next four bytes; returns 1 to stop at the end of the frame.
///
/// # Safety
/// As [`add_block`].
unsafe extern "C" fn add_word(position: u32, sum: *mut c_void) -> i64 {
    // SAFETY: as in `add_block`.
    let sum = unsafe { &mut *sum.cast::<Sum>() };
    let offset = (sum.offset + position * 4) as usize & MAX_L4_OFFSET;
    let Some(word) = sum.frame.bytes_anywhere::<4>(offset) else { return 1 };
    sum.sum += u64::from(u32::from_ne_bytes(word));
    0
}
