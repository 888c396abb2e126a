//! Calls of `bpf(2)` that aya does not make.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Numbers of `enum bpf_cmd` and `enum bpf_map_type` in `include/uapi/linux/bpf.h`.
const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;
const BPF_LINK_DETACH: libc::c_long = 34;
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

/// The member `test` of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct TestAttributes {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    _pad: u32,
}

/// What becomes of the frame that a program is run on.
pub(super) enum Frame<'b> {
    /// It is treated as the program says (`BPF_F_TEST_XDP_LIVE_FRAMES`).
    Live,
    /// It is written here, and nothing else happens to it.
    Tried(&'b mut [u8]),
}

/// Runs an XDP program once on a frame; its action, and how long the frame is after it.
pub(super) fn run(program: BorrowedFd<'_>, data: &[u8], context: &[u8], frame: Frame<'_>) -> io::Result<(u32, u32)> {
    const LIVE_FRAMES: u32 = 1 << 1;
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(io::Error::other);
    let mut attributes = TestAttributes {
        prog_fd: u32::try_from(program.as_raw_fd()).map_err(io::Error::other)?,
        data_size_in: len(data)?,
        data_in: data.as_ptr().addr() as u64,
        ctx_size_in: len(context)?,
        ctx_in: context.as_ptr().addr() as u64,
        repeat: 1,
        ..TestAttributes::default()
    };
    match frame {
        Frame::Live => (attributes.flags, attributes.batch_size) = (LIVE_FRAMES, 1),
        Frame::Tried(after) => {
            (attributes.data_out, attributes.data_size_out) = (after.as_mut_ptr().addr() as u64, len(after)?);
        }
    }
    // SAFETY: the attributes and what they point to live until the call returns; the kernel reads and writes no more than the
    // sizes beside the pointers say.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw mut attributes, size_of::<TestAttributes>()) };
    if result == 0 { Ok((attributes.retval, attributes.data_size_out)) } else { Err(io::Error::last_os_error()) }
}

/// The first members of the structure for `BPF_OBJ_GET` in `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct PinAttributes {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Takes what a pinned link holds off its device now. Without this, that happens some time after the last reference is gone
/// (`bpf_link_put` in kernel/bpf/syscall.c), and nobody says when.
pub(super) fn detach_pinned_link(pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let attributes = PinAttributes { pathname: path.as_ptr().addr() as u64, ..PinAttributes::default() };
    // SAFETY: the attributes and the path that they point to live until the call returns.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, &raw const attributes, size_of::<PinAttributes>()) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: a descriptor that the kernel has just made for this process.
    let link = unsafe { OwnedFd::from_raw_fd(fd) };
    let attributes = u32::try_from(link.as_raw_fd()).map_err(io::Error::other)?;
    // SAFETY: the member `link_detach` of `union bpf_attr` is this number, which lives until the call returns.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_DETACH, &raw const attributes, size_of::<u32>()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
