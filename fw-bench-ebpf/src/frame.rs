//! The only raw pointers to packet memory.

use aya_ebpf::programs::XdpContext;

/// The bytes of a frame.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    start: usize,
    end: usize,
}

impl Frame {
    #[inline(always)]
    pub(crate) fn of(ctx: &XdpContext) -> Self {
        // SAFETY: the kernel's own context.
        unsafe { Self { start: load(&raw const (*ctx.ctx).data), end: load(&raw const (*ctx.ctx).data_end) } }
    }

    /// A pointer to a `T` at `offset`, if the frame holds all of it.
    #[inline(always)]
    fn at<T>(&self, offset: usize) -> Option<*mut T> {
        let pointer = opaque(self.start + offset);
        if opaque(pointer + size_of::<T>()) > self.end {
            return None;
        }
        Some(pointer as *mut T)
    }

    /// Overwrites bytes; `None` if the frame ends before.
    #[inline(always)]
    pub(crate) fn write<const N: usize>(&self, offset: usize, bytes: [u8; N]) -> Option<()> {
        let pointer = self.at::<[u8; N]>(offset)?;
        // SAFETY: `at` checked the bounds; a byte array has no alignment, and no reference to packet memory is ever held.
        unsafe { pointer.write_unaligned(bytes) };
        Some(())
    }

    #[inline(always)]
    pub(crate) fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let pointer = self.at::<[u8; N]>(offset)?;
        // SAFETY: as in `write`.
        Some(unsafe { pointer.read_unaligned() })
    }
}

/// Reads one of the context's packet pointers.
///
/// VERIFIER: the kernel turns the load of this 32-bit field into one of a pointer. Were the load hoisted and its widening
/// left behind, the widening would truncate the pointer; a volatile load stays with its widening. The benchmark's programs
/// do not load without it.
///
/// # Safety
/// `field` is `data` or `data_end` of the kernel's own context.
#[inline(always)]
unsafe fn load(field: *const u32) -> usize {
    // SAFETY: the caller's.
    unsafe { field.read_volatile() as usize }
}

/// Hides from the compiler where a value comes from.
///
/// VERIFIER: the compiler likes to turn `pointer + N > end` into `pointer > end - N`, which the verifier forbids. The
/// benchmark's programs do not load without it.
#[inline(always)]
fn opaque(mut value: usize) -> usize {
    // SAFETY: copies a register to itself.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack, preserves_flags)) };
    value
}
