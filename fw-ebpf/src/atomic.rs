//! Atomic read-modify-write operations on map values.
//!
//! The BPF targets of rustc declare no compare-and-swap, so `core::sync::atomic` offers only loads and stores there; the
//! instructions exist since cpu v3 (kernel 5.12), and the compiler's intrinsics reach them.

use core::intrinsics::{AtomicOrdering, atomic_and, atomic_cxchg, atomic_or, atomic_xadd, atomic_xor};

/// Adds to a counter that other processors add to as well.
///
/// # Safety
/// `counter` points into a map value and is aligned.
#[inline(always)]
pub(crate) unsafe fn add(counter: *mut u64, amount: u64) {
    // SAFETY: the caller's.
    let _ = unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, amount) };
}

/// Adds to a counter of half the size, modulo two to the power of 32.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub(crate) unsafe fn add_u32(counter: *mut u32, amount: u32) {
    // SAFETY: the caller's.
    let _ = unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::Relaxed }>(counter, amount) };
}

/// Adds to a counter; what it was before.
///
/// Sequentially consistent, because LLVM 22 turns a relaxed addition into the instruction that returns nothing, even where
/// the result is used, and takes the amount for the old value (`docs/surprises.md`). Test:
/// `prog_run::flows::the_sweep_removes_the_dead_and_reports_them_once`.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub(crate) unsafe fn fetch_add(counter: *mut u64, amount: u64) -> u64 {
    // SAFETY: the caller's.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(counter, amount) }
}

/// Sets bits.
///
/// # Safety
/// `word` points into a map value and is aligned.
#[inline(always)]
pub(crate) unsafe fn or_u32(word: *mut u32, bits: u32) {
    // SAFETY: the caller's.
    let _ = unsafe { atomic_or::<u32, u32, { AtomicOrdering::Relaxed }>(word, bits) };
}

/// Clears the bits that `mask` lacks.
///
/// # Safety
/// As for [`or_u32`].
#[inline(always)]
pub(crate) unsafe fn and_u32(word: *mut u32, mask: u32) {
    // SAFETY: the caller's.
    let _ = unsafe { atomic_and::<u32, u32, { AtomicOrdering::Relaxed }>(word, mask) };
}

/// Flips bits.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub(crate) unsafe fn xor(word: *mut u64, bits: u64) {
    // SAFETY: the caller's.
    let _ = unsafe { atomic_xor::<u64, u64, { AtomicOrdering::SeqCst }>(word, bits) };
}

/// Replaces `old` by `new`; whether it did.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub(crate) unsafe fn compare_and_swap_u64(word: *mut u64, old: u64, new: u64) -> bool {
    // SAFETY: the caller's.
    unsafe { atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(word, old, new).1 }
}

/// Replaces `old` by `new`; whether it did.
///
/// # Safety
/// `word` points into a map value and is aligned.
#[inline(always)]
pub(crate) unsafe fn compare_and_swap(word: *mut u32, old: u32, new: u32) -> bool {
    // SAFETY: the caller's.
    unsafe { atomic_cxchg::<u32, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(word, old, new).1 }
}
