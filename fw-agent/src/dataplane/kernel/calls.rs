//! Calls of `bpf(2)` that aya does not make.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// Numbers of `enum bpf_cmd` and `enum bpf_map_type` in `include/uapi/linux/bpf.h`.
const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;
const BPF_MAP_TYPE_ARRAY: u32 = 2;

/// The first members of the anonymous structure for `BPF_MAP_CREATE` in `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct CreateAttributes {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}

/// Makes an array. Only the first 15 bytes of the name are kept.
pub(super) fn create_array(name: &str, value_size: usize, len: usize, flags: u32) -> io::Result<OwnedFd> {
    let mut attributes = CreateAttributes {
        map_type: BPF_MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: u32::try_from(value_size).map_err(io::Error::other)?,
        max_entries: u32::try_from(len).map_err(io::Error::other)?,
        map_flags: flags,
        ..CreateAttributes::default()
    };
    attributes.map_name.iter_mut().zip(name.bytes().take(15)).for_each(|(byte, of_name)| *byte = of_name);
    // SAFETY: the attributes live until the call returns, and have no pointers.
    let fd =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_CREATE, &raw const attributes, size_of::<CreateAttributes>()) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: a descriptor that the kernel has just made for this process.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The member `batch` of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct BatchAttributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Updates several elements of a map.
pub(super) fn update_batch(map: BorrowedFd<'_>, keys: &[u32], values: &[i32]) -> io::Result<()> {
    assert_eq!(keys.len(), values.len());
    let attributes = BatchAttributes {
        keys: keys.as_ptr().addr() as u64,
        values: values.as_ptr().addr() as u64,
        count: u32::try_from(keys.len()).map_err(io::Error::other)?,
        map_fd: u32::try_from(map.as_raw_fd()).map_err(io::Error::other)?,
        ..BatchAttributes::default()
    };
    // SAFETY: the attributes and what they point to live until the call returns; the kernel reads `count` keys and values.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_MAP_UPDATE_BATCH, &raw const attributes, size_of::<BatchAttributes>())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
