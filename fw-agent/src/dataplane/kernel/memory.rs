//! Arrays of the kernel as memory: a table of any size is written with one copy, not with a call for each element.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::Pod;

/// `BPF_F_MMAPABLE` of `include/uapi/linux/bpf.h`.
pub(super) const MMAPABLE: u32 = 1 << 10;

/// The values of an array map with the flag [`MMAPABLE`], mapped into this process.
pub(super) struct Mapped<V> {
    start: NonNull<V>,
    len: usize,
}

impl<V: Pod> Mapped<V> {
    /// Maps the first `len` values, at least one and no more than the array has. The size of a value is a multiple of eight,
    /// so that the array has no gaps.
    pub(super) fn new(map: impl AsFd, len: usize) -> io::Result<Self> {
        const { assert!(size_of::<V>() > 0 && size_of::<V>().is_multiple_of(8)) };
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let fd = map.as_fd().as_raw_fd();
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), len * size_of::<V>(), protection, libc::MAP_SHARED, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(Self { start, len })
    }

    /// How many values there are.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Reads a value.
    pub(super) fn get(&self, index: usize) -> V {
        assert!(index < self.len);
        // SAFETY: within the mapping, page-aligned at its start; any bytes are a `V`. Volatile, because others may write.
        unsafe { self.start.add(index).read_volatile() }
    }

    /// Writes a value.
    pub(super) fn set(&mut self, index: usize, value: V) {
        assert!(index < self.len);
        // SAFETY: as in `get`.
        unsafe { self.start.add(index).write_volatile(value) }
    }

    /// Replaces the word at the start of a value if it is `old`; whether it did.
    pub(super) fn replace_word(&self, index: usize, old: u64, new: u64) -> bool {
        const { assert!(align_of::<V>() >= align_of::<u64>()) };
        assert!(index < self.len);
        // SAFETY: within the mapping, and aligned as the value is; others access it atomically, too.
        let word = unsafe { AtomicU64::from_ptr(self.start.add(index).cast().as_ptr()) };
        word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Writes the first values.
    pub(super) fn copy_from(&mut self, values: &[V]) {
        assert!(values.len() <= self.len);
        // SAFETY: the mapping has room for them, and nobody else writes or reads a map of a slot that judges no packets.
        unsafe { self.start.as_ptr().copy_from_nonoverlapping(values.as_ptr(), values.len()) }
    }
}

impl<V> Drop for Mapped<V> {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made, which nobody uses any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len * size_of::<V>()) };
    }
}
