//! Network name spaces by name, as `ip netns` keeps them: entering one on a thread, running commands in it, and finding the
//! processes that live in it.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::LabError;
use crate::error::While;

/// Where `ip netns` keeps its names.
const DIRECTORY: &str = "/run/netns";

/// An open network name space. Dropping it closes the handle; the name stays until it is deleted.
#[derive(Debug)]
pub struct NetNs {
    name: String,
    file: File,
}

impl NetNs {
    /// Opens the name space that `ip netns` knows by this name.
    pub fn open(name: &str) -> Result<Self, LabError> {
        let path = Path::new(DIRECTORY).join(name);
        let file = File::open(&path).during(|| format!("open network name space {name}"))?;
        Ok(Self { name: name.to_owned(), file })
    }

    /// The names that `ip netns` knows and that start with `prefix`, in byte order.
    pub fn names_with_prefix(prefix: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(DIRECTORY) else { return Vec::new() };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.starts_with(prefix))
            .collect();
        names.sort();
        names
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Calls `work` on a thread of its own that has entered the name space. Sockets that it returns stay in it.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                enter(&self.file)?;
                Ok::<T, io::Error>(work())
            });
            match inside.join() {
                Ok(result) => result.during(|| format!("enter network name space {}", self.name)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// A command that will run in the name space, in the mount name space of the caller: unlike with `ip netns exec`,
    /// `/sys/fs/bpf` is the same inside and outside.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command, LabError> {
        let handle = self.file.try_clone().during(|| format!("duplicate the handle of {}", self.name))?;
        let mut command = Command::new(program);
        // SAFETY: between fork and exec the closure makes one system call (setns) and neither allocates nor locks.
        unsafe { command.pre_exec(move || enter(&handle)) };
        Ok(command)
    }

    /// The processes whose main thread lives in the name space, except the caller's own.
    #[must_use]
    pub fn processes(&self) -> Vec<Pid> {
        let Ok(own) = self.file.metadata() else { return Vec::new() };
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
            .filter(|pid| *pid as u32 != std::process::id())
            .filter(|pid| fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|ns| ns.ino() == own.ino()))
            .filter_map(Pid::from_raw)
            .collect()
    }

    /// Kills the processes that live in the name space.
    pub fn kill_processes(&self) {
        for pid in self.processes() {
            // The process may have ended since it was listed.
            let _already_gone = kill_process(pid, Signal::KILL);
        }
    }

    /// Sets a value below `/proc/sys/net`, for example `ipv4/ip_forward`.
    pub fn set_sysctl(&self, key: &str, value: &str) -> Result<(), LabError> {
        let path = PathBuf::from("/proc/sys/net").join(key);
        self.within(|| fs::write(&path, value))?.during(|| format!("set {key} to {value} in {}", self.name))
    }
}

fn enter(handle: &File) -> io::Result<()> {
    Ok(move_into_link_name_space(handle.as_fd(), Some(LinkNameSpaceType::Network))?)
}
