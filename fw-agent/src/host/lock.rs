//! One agent at a time: locks that the kernel lets go of when the process ends, however it ends.
//!
//! One is a file in the runtime directory, which names the holder. The other is a socket in the abstract name space, which each
//! network name space has of its own: it stops a second agent that was given another runtime directory from managing the same
//! interfaces.

use std::fs::{File, OpenOptions, create_dir_all};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::fs::{FlockOperation, flock};

/// The name in the abstract name space.
const NAME: &[u8] = b"outpost-fw/agent";

/// Why the lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another agent runs.
    #[error("another fw-agent (process {pid}) holds {path}: stop it first")]
    Held {
        /// Its process id, or "unknown".
        pid: String,
        /// The lock file.
        path: PathBuf,
    },
    /// Another agent runs in this network name space, with another runtime directory.
    #[error(
        "another fw-agent manages the interfaces of this network name space, with another --runtime-dir: stop it first"
    )]
    NameSpaceHeld,
    /// The lock file could not be opened or locked.
    #[error("{path}: {reason}{}", advice(.reason))]
    Io {
        /// The lock file or its directory.
        path: PathBuf,
        /// What the kernel said.
        reason: io::Error,
    },
}

/// The lock; it is held until this is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    _name: UnixDatagram,
}

impl Lock {
    /// Takes the lock in the runtime directory, which is made if it is missing, or says who holds it.
    pub fn take(runtime_dir: &Path) -> Result<Self, LockError> {
        let path = runtime_dir.join("agent.lock");
        let io_error = |reason| LockError::Io { path: path.clone(), reason };
        create_dir_all(runtime_dir).map_err(io_error)?;
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(io_error)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(LockError::Held { pid: holder(&mut file), path }),
            Err(error) => return Err(io_error(error.into())),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(io_error)?;
        Ok(Self { _file: file, _name: take_name().map_err(|reason| name_error(reason, &path))? })
    }
}

/// What helps against a failure.
fn advice(reason: &io::Error) -> &'static str {
    let kind = reason.kind();
    if kind == io::ErrorKind::PermissionDenied {
        "; fw-agent runs as root, which owns this directory unless `--runtime-dir` names another"
    } else if [io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::StorageFull].contains(&kind) {
        "; `--runtime-dir` can name another directory"
    } else {
        ""
    }
}

/// Binds the name that one agent of the network name space can have.
fn take_name() -> io::Result<UnixDatagram> {
    UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(NAME)?)
}

fn name_error(reason: io::Error, path: &Path) -> LockError {
    if reason.kind() == io::ErrorKind::AddrInUse {
        return LockError::NameSpaceHeld;
    }
    LockError::Io { path: path.to_owned(), reason }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.take(32).read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        Ok(_) | Err(_) => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_may_not_take_the_lock_is_told_who_may() {
        let denied = LockError::Io { path: "/run/x/agent.lock".into(), reason: io::ErrorKind::PermissionDenied.into() };
        let denied = denied.to_string();
        assert!(denied.contains("runs as root") && denied.contains("--runtime-dir"), "{denied}");
    }

    #[test]
    fn a_second_agent_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path()).unwrap();
        let refusal = Lock::take(dir.path()).unwrap_err().to_string();
        assert!(refusal.contains(&format!("process {}", std::process::id())), "{refusal}");
        let elsewhere = tempfile::tempdir().unwrap();
        let refusal = Lock::take(elsewhere.path()).unwrap_err();
        assert!(matches!(refusal, LockError::NameSpaceHeld), "{refusal}");
        drop(first);
        Lock::take(dir.path()).unwrap();
    }
}
