//! Arrays of the data plane that the agent reads where they lie, without a system call for each value.

use std::marker::PhantomData;
use std::os::fd::AsFd as _;

use aya::Pod;
use aya::maps::MapData;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::object::map_error;
use crate::dataplane::DataplaneError;

/// An array map with `BPF_F_MMAPABLE`, mapped for reading.
pub(super) struct Mapped<V> {
    start: *const u8,
    bytes: usize,
    stride: usize,
    len: u32,
    value: PhantomData<V>,
}

// SAFETY: the mapping belongs to nobody else, and is only read.
unsafe impl<V> Send for Mapped<V> {}

impl<V: Pod> Mapped<V> {
    /// Maps all values.
    pub(super) fn new(name: &'static str, map: &MapData) -> Result<Self, DataplaneError> {
        let info = map.info().map_err(|error| map_error(name, &error))?;
        if info.value_size() as usize != size_of::<V>() {
            let reason = format!("has values of {} bytes, not {}", info.value_size(), size_of::<V>());
            return Err(DataplaneError::Map { map: name, reason });
        }
        // The kernel rounds the distance of values up to words (`array_map_alloc` in kernel/bpf/arraymap.c).
        let stride = size_of::<V>().next_multiple_of(8);
        let bytes = stride * info.max_entries() as usize;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let start =
            unsafe { mmap(std::ptr::null_mut(), bytes, ProtFlags::READ, MapFlags::SHARED, map.fd().as_fd(), 0) };
        let start = start.map_err(|error| map_error(name, &error))?;
        Ok(Self { start: start.cast(), bytes, stride, len: info.max_entries(), value: PhantomData })
    }

    /// Number of values.
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// A value as it is now: word by word, so that no word is torn; the first words may be older than the last.
    pub(super) fn get(&self, index: u32) -> Option<V> {
        const { assert!(size_of::<V>().is_multiple_of(8)) };
        if index >= self.len {
            return None;
        }
        let mut value = std::mem::MaybeUninit::<V>::uninit();
        for word in 0..size_of::<V>() / 8 {
            // SAFETY: within the mapping and within the value; both are aligned to words, and the program may be writing.
            unsafe {
                let source = self.start.add(index as usize * self.stride).cast::<u64>().add(word);
                value.as_mut_ptr().cast::<u64>().add(word).write_unaligned(source.read_volatile());
            }
        }
        // SAFETY: every byte was written, and every bit pattern is a value.
        Some(unsafe { value.assume_init() })
    }
}

impl<V> Drop for Mapped<V> {
    fn drop(&mut self) {
        // SAFETY: what `new` has mapped; nothing refers to it any more.
        let _ = unsafe { munmap(self.start.cast_mut().cast(), self.bytes) };
    }
}
