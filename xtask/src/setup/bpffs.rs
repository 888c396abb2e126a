//! The BPF file system, where maps, programs and links are pinned.

use std::fs;
use std::process::Command;

use anyhow::{Result, bail};

use crate::process;

const MOUNT_POINT: &str = "/sys/fs/bpf";

pub(super) const DESCRIPTION: &str =
    "the BPF file system, in which the data plane is pinned: `mount -t bpf bpf /sys/fs/bpf` as root";

pub(super) fn is_mounted() -> bool {
    fs::read_to_string("/proc/self/mounts").is_ok_and(|mounts| lists_bpffs(&mounts))
}

fn lists_bpffs(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some(MOUNT_POINT) && fields.next() == Some("bpf")
    })
}

pub(super) fn mount() -> Result<()> {
    if !process::is_root() {
        bail!("mounting the BPF file system needs root: `sudo mount -t bpf bpf {MOUNT_POINT}`");
    }
    process::run(Command::new("mount").args(["-t", "bpf", "bpf", MOUNT_POINT]))
}

#[cfg(test)]
mod tests {
    use super::lists_bpffs;

    #[test]
    fn only_the_bpf_file_system_at_its_own_place_counts() {
        assert!(lists_bpffs("proc /proc proc rw 0 0\nbpf /sys/fs/bpf bpf rw,mode=700 0 0\n"));
        assert!(!lists_bpffs("bpf /mnt/bpf bpf rw 0 0\n"));
        assert!(!lists_bpffs("tmpfs /sys/fs/bpf tmpfs rw 0 0\n"));
    }
}
