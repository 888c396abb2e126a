//! The only raw pointers to packet memory.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::programs::{TcContext, XdpContext};
use fw_common::wire::parse::Frame;

/// Above every offset of a header that the parser accepts: extension headers are limited to 2,048 bytes, also in a quoted
/// packet. Sums of three such offsets still stay below 64 KiB, where the verifier stops to learn from comparing a pointer
/// with the end of the packet (`MAX_PACKET_OFF` in kernel/bpf/verifier.c).
const MAX_OFFSET: u16 = 0x3fff;

/// At least the longest packet and its link-layer header: the next power of two, less one.
const MAX_LEN: usize = 0x1_ffff;

/// The bytes of a frame that the kernel lets a program read and write directly: all of it, or the first of its buffers, which
/// holds the headers.
#[derive(Clone, Copy)]
pub(crate) struct Linear {
    start: usize,
    end: usize,
    /// Leads to the other buffers of a frame from the wire; null for one of the host.
    xdp: *mut xdp_md,
}

impl Linear {
    /// The frame of an XDP program. Void after the frame was resized.
    #[inline(always)]
    pub(crate) fn of_xdp(ctx: &XdpContext) -> Self {
        // SAFETY: the kernel's own context.
        let (start, end) = unsafe { (load(&raw const (*ctx.ctx).data), load(&raw const (*ctx.ctx).data_end)) };
        Self { start, end, xdp: ctx.ctx }
    }

    /// The linear part of a socket buffer. Void after data was pulled.
    #[inline(always)]
    pub(crate) fn of_tc(ctx: &TcContext) -> Self {
        // SAFETY: the kernel's own context.
        let (start, end) = unsafe { (load(&raw const (*ctx.skb.skb).data), load(&raw const (*ctx.skb.skb).data_end)) };
        Self { start, end, xdp: core::ptr::null_mut() }
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

    /// The bytes at `offset`, also of the buffers behind the first; `None` if the frame ends before.
    #[inline(always)]
    pub(crate) fn bytes_anywhere<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if let Some(bytes) = self.bytes(offset) {
            return Some(bytes);
        }
        if self.xdp.is_null() {
            return None;
        }
        let mut bytes = [0; N];
        // SAFETY: the kernel's own context, and as many bytes as it is told.
        let result = unsafe { bpf_xdp_load_bytes(self.xdp, offset as u32, bytes.as_mut_ptr().cast(), N as u32) };
        (result == 0).then_some(bytes)
    }

    /// Overwrites bytes; `None` if the frame ends before.
    #[inline(always)]
    pub(crate) fn write<const N: usize>(&self, offset: usize, bytes: [u8; N]) -> Option<()> {
        let pointer = self.at::<[u8; N]>(offset)?;
        // SAFETY: `at` checked the bounds against the end that the verifier knows, and no reference to packet memory is ever
        // held.
        unsafe { store(pointer.cast(), bytes) };
        Some(())
    }
}

/// Reads one of the context's packet pointers.
///
/// VERIFIER: the field is 32 bits wide but the kernel turns the load into one of a pointer. Were the load hoisted out of a
/// function and the widening left in it, the widening would truncate the pointer; a volatile load stays with its
/// widening. Test: `prog_run::the_programs_load`.
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
/// VERIFIER: the compiler likes to turn `pointer + N > end` into `pointer > end - N`, which the verifier forbids, and
/// `pointer + 1 > end` into `pointer >= end`, from which it learns nothing; and the pointer that is compared must be made
/// from the one that is used. Test: `prog_run::the_programs_load`.
#[inline(always)]
pub(crate) fn opaque(mut value: usize) -> usize {
    // SAFETY: copies a register to itself; without any instruction the line information would be refused.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack, preserves_flags)) };
    value
}

/// One access of `$bytes` bytes to packet memory.
///
/// The compiler makes an access to a byte array one byte at a time, because it must assume that the processor needs alignment;
/// those that the program runs on do not, and the verifier allows it in packets there (`check_ptr_alignment` in
/// kernel/bpf/verifier.c). Allowing it for the whole object would also misalign accesses to the stack, which is forbidden.
macro_rules! access {
    ($load:ident, $store:ident, $word:ty, $load_text:literal, $store_text:literal) => {
        /// # Safety
        /// The bytes at `from` are in the packet, as far as the verifier knows.
        #[inline(always)]
        unsafe fn $load(from: *const u8) -> $word {
            let value: u64;
            // SAFETY: the caller's.
            unsafe {
                core::arch::asm!($load_text, value = out(reg) value, pointer = in(reg) from,
                    options(readonly, nostack, preserves_flags))
            };
            value as $word
        }

        /// # Safety
        /// The bytes at `to` are in the packet, as far as the verifier knows.
        #[inline(always)]
        unsafe fn $store(to: *mut u8, value: $word) {
            // SAFETY: the caller's.
            unsafe {
                core::arch::asm!($store_text, value = in(reg) u64::from(value), pointer = in(reg) to,
                    options(nostack, preserves_flags))
            };
        }
    };
}

access!(load8, store8, u64, "{value} = *(u64 *)({pointer} + 0)", "*(u64 *)({pointer} + 0) = {value}");
access!(load4, store4, u32, "{value} = *(u32 *)({pointer} + 0)", "*(u32 *)({pointer} + 0) = {value}");
access!(load2, store2, u16, "{value} = *(u16 *)({pointer} + 0)", "*(u16 *)({pointer} + 0) = {value}");

/// Reads bytes by words, as large as they come.
///
/// # Safety
/// The bytes at `from` are in the packet, as far as the verifier knows.
#[inline(always)]
unsafe fn fetch<const N: usize>(from: *const u8) -> [u8; N] {
    let mut bytes = [0; N];
    let mut position = 0;
    // SAFETY: the caller's; positions stay below `N`.
    unsafe {
        while position + 8 <= N {
            bytes[position..position + 8].copy_from_slice(&load8(from.add(position)).to_ne_bytes());
            position += 8;
        }
        if position + 4 <= N {
            bytes[position..position + 4].copy_from_slice(&load4(from.add(position)).to_ne_bytes());
            position += 4;
        }
        if position + 2 <= N {
            bytes[position..position + 2].copy_from_slice(&load2(from.add(position)).to_ne_bytes());
            position += 2;
        }
        if position < N {
            bytes[position] = from.add(position).read();
        }
    }
    bytes
}

/// Writes bytes by words, as large as they come.
///
/// # Safety
/// The bytes at `to` are in the packet, as far as the verifier knows.
#[inline(always)]
unsafe fn store<const N: usize>(to: *mut u8, bytes: [u8; N]) {
    let mut position = 0;
    // SAFETY: the caller's; positions stay below `N`.
    unsafe {
        while position + 8 <= N {
            store8(to.add(position), u64::from_ne_bytes(part(&bytes, position)));
            position += 8;
        }
        if position + 4 <= N {
            store4(to.add(position), u32::from_ne_bytes(part(&bytes, position)));
            position += 4;
        }
        if position + 2 <= N {
            store2(to.add(position), u16::from_ne_bytes(part(&bytes, position)));
            position += 2;
        }
        if position < N {
            to.add(position).write(bytes[position]);
        }
    }
}

/// `M` of the bytes.
#[inline(always)]
fn part<const M: usize>(bytes: &[u8], position: usize) -> [u8; M] {
    let mut part = [0; M];
    part.copy_from_slice(&bytes[position..position + M]);
    part
}

impl Frame for Linear {
    #[inline(always)]
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let pointer = self.at::<[u8; N]>(offset)?;
        // SAFETY: as in `write`.
        Some(unsafe { fetch(pointer.cast()) })
    }

    #[inline(always)]
    fn reaches(&self, len: usize) -> bool {
        // VERIFIER: kernel 6.1 knows no bounds of a number whose bytes were swapped, and refuses to add it to a pointer. No
        // length is above this one.
        if opaque(self.start + (opaque(len) & MAX_LEN)) <= self.end {
            return true;
        }
        // SAFETY: the kernel's own context.
        !self.xdp.is_null() && unsafe { bpf_xdp_get_buff_len(self.xdp) } >= len as u64
    }

    #[inline(always)]
    fn offset(&self, offset: usize) -> usize {
        #[repr(align(2))]
        struct Memory([u8; 2]);
        let mut memory = Memory([0; 2]);
        let [low, high] = (offset as u16).to_ne_bytes();
        // SAFETY: writes and reads the two bytes above. The verifier keeps no value over two narrow stores and a wide load.
        unsafe {
            (&raw mut memory.0[0]).write_volatile(low);
            (&raw mut memory.0[1]).write_volatile(high);
            usize::from((&raw const memory).cast::<u16>().read_volatile() & MAX_OFFSET)
        }
    }
}

/// Length of the frame in bytes.
#[inline(always)]
pub(crate) fn frame_len(ctx: &XdpContext) -> u64 {
    // SAFETY: the context is the kernel's own.
    unsafe { bpf_xdp_get_buff_len(ctx.ctx) }
}

/// Moves the start of the frame by `delta` bytes (negative: more room in front). Whether the driver had the room.
#[inline(always)]
pub(crate) fn move_start(ctx: &XdpContext, delta: i32) -> bool {
    // SAFETY: the context is the kernel's own.
    unsafe { bpf_xdp_adjust_head(ctx.ctx, delta) == 0 }
}

/// Moves the end of the frame by `delta` bytes (negative: shorter).
#[inline(always)]
pub(crate) fn move_end(ctx: &XdpContext, delta: i32) -> bool {
    // SAFETY: the context is the kernel's own.
    unsafe { bpf_xdp_adjust_tail(ctx.ctx, delta) == 0 }
}
