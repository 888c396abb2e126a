//! Makes the far end of a firewall's interface receive what XDP transmits, as any NIC does.
//!
//! The veth driver wakes its peer after `XDP_TX` only if the peer itself has an XDP program (`veth_xdp_flush` in
//! drivers/net/veth.c; for a redirect, NAPI alone is enough). So the far end gets a program that passes everything.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::agent::mount_bpf_file_system;
use super::network::ip_batch;
use crate::LabError;
use crate::error::While;
use crate::netns::NetNs;

/// `r0 = 2 (XDP_PASS); exit`: two instructions of eight bytes (RFC 9669, 3 and 4).
const PASS: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 2, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];

/// The first fields of `union bpf_attr` for `BPF_PROG_LOAD` (include/uapi/linux/bpf.h); the others are zero.
#[repr(C)]
struct ProgramLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log: [u64; 3],
}

/// The fields of `union bpf_attr` for `BPF_OBJ_PIN`.
#[repr(C)]
struct ObjectPin {
    path: u64,
    descriptor: u32,
    flags: u32,
}

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_PROG_TYPE_XDP: u32 = 6;

/// A loaded program, under a path by which `ip` finds it. Dropping it removes the path; interfaces keep the program.
pub(super) struct PassProgram {
    path: PathBuf,
}

impl PassProgram {
    pub(super) fn load(lab: &str) -> Result<Self, LabError> {
        mount_bpf_file_system()?;
        let path = Path::new("/sys/fs/bpf").join(format!("{lab}-pass"));
        load().and_then(|program| pin(&program, &path)).during(|| "load the lab's XDP program".to_owned())?;
        Ok(Self { path })
    }

    /// Puts the program on an interface.
    pub(super) fn attach(&self, namespace: &NetNs, interface: &str) -> Result<(), LabError> {
        ip_batch(Some(namespace), &[format!("link set {interface} xdpdrv pinned {}", self.path.display())])
    }
}

impl Drop for PassProgram {
    fn drop(&mut self) {
        let _already_gone = std::fs::remove_file(&self.path);
    }
}

fn load() -> io::Result<OwnedFd> {
    let attributes = ProgramLoad {
        program_type: BPF_PROG_TYPE_XDP,
        instruction_count: PASS.len() as u32,
        instructions: PASS.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        log: [0; 3],
    };
    let descriptor = bpf(BPF_PROG_LOAD, &attributes)?;
    // SAFETY: the kernel has just returned this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn pin(program: &OwnedFd, path: &Path) -> io::Result<()> {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
    let attributes = ObjectPin { path: path.as_ptr() as u64, descriptor: program.as_raw_fd() as u32, flags: 0 };
    bpf(BPF_OBJ_PIN, &attributes)?;
    Ok(())
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<i32> {
    // SAFETY: the attributes are live for the call, and so is what their addresses point to: constants, or a string that
    // the caller holds. The kernel reads no more than the given size.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
