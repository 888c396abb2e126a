//! Reading files that others write: what is no file, or larger than it can be meant, is refused before it holds anybody up. And writing
//! files of our own, so that they are whole.
//!
//! A file system may still take as long as it likes, so the [`Place`] of a reader can be looked at by those who wait for it.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The kernel refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is something else, or a link to something else.
    #[error("this is {0} and not a file: put a regular file, or a link to one, in its place")]
    NotRegular(&'static str),
    /// It is something else, or a link to something else.
    #[error("this is {0} and not a directory: name the directory that the files are in")]
    NotDirectory(&'static str),
    /// It is too large.
    #[error("this has {size} bytes, and no more than {most} are read")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// How many may be read.
        most: u64,
    },
}

/// Reads a regular file of at most so many bytes. Links are followed.
///
/// # Errors
/// If it cannot be read, if it is a FIFO, a device, a directory or a socket, or if it is larger.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, FileError> {
    // Looked at before it is opened, because opening some devices does something.
    regular(&fs::metadata(path)?, most)?;
    // What it is may have changed since: without NONBLOCK a FIFO would be waited for until somebody writes, and without NOCTTY a
    // terminal would become the agent's.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    regular(&file.metadata()?, most)?;
    read_at_most(file, most)
}

/// Reads to the end. The size that was told says nothing of a file that grows, or of one that the kernel makes up.
fn read_at_most(file: File, most: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()) {
        Ok(size) if size <= most => Ok(bytes),
        Ok(size) => Err(FileError::TooLarge { size, most }),
        Err(_) => Err(FileError::TooLarge { size: u64::MAX, most }),
    }
}

/// Puts bytes in the place of a file: beside it, through to the disk, and then into it, so that it is whole whenever the machine stops. Its
/// directory is made if there is none.
///
/// # Errors
/// What the kernel says; the file that was there is as it was then.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    directory.map_or(Ok(()), fs::create_dir_all)?;
    let new = beside(path, "new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    // The name, too, must be on the disk.
    match directory {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// A path that says what it is beside.
#[must_use]
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// Refuses what is not a regular file, and what is too large.
///
/// # Errors
/// The one or the other.
pub fn regular(metadata: &fs::Metadata, most: u64) -> Result<(), FileError> {
    if !metadata.is_file() {
        return Err(FileError::NotRegular(name_of(metadata.file_type())));
    }
    let size = metadata.len();
    if size > most { Err(FileError::TooLarge { size, most }) } else { Ok(()) }
}

/// Refuses what is not a directory. Links are followed.
///
/// # Errors
/// If it is something else, or cannot be looked at.
pub fn directory(path: &Path) -> Result<(), FileError> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_dir() { Ok(()) } else { Err(FileError::NotDirectory(name_of(kind))) }
}

fn name_of(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_file() => "a file",
        kind if kind.is_dir() => "a directory",
        kind if kind.is_fifo() => "a FIFO",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_block_device() || kind.is_char_device() => "a device",
        _ => "something else",
    }
}

/// Where a reader is: what it reads just now, for those who wait for it.
#[derive(Clone, Debug, Default)]
pub struct Place(Arc<Mutex<Option<PathBuf>>>);

impl Place {
    /// From here on, this is read.
    pub fn enter(&self, path: &Path) {
        *self.path_lock() = Some(path.to_owned());
    }

    /// Everything has been read.
    pub fn leave(&self) {
        *self.path_lock() = None;
    }

    /// What is being read, if anything is.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        self.path_lock().clone()
    }

    fn path_lock(&self) -> MutexGuard<'_, Option<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    fn refusal(path: &Path) -> String {
        read(path, 100).unwrap_err().to_string()
    }

    #[test]
    fn a_file_is_read_also_by_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, vec![b'x'; 100]).unwrap();
        symlink(&file, &link).unwrap();
        assert_eq!(read(&link, 100).unwrap().len(), 100);
        fs::write(&file, vec![b'x'; 101]).unwrap();
        assert_eq!(refusal(&link), "this has 101 bytes, and no more than 100 are read");
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let _listener = UnixListener::bind(at("socket")).unwrap();
        symlink("/dev/zero", at("device")).unwrap();
        symlink(at("fifo"), at("link")).unwrap();
        for (path, name) in [
            (at("fifo"), "a FIFO"),
            (at("link"), "a FIFO"),
            (at("socket"), "a socket"),
            (at("device"), "a device"),
            (dir.path().to_owned(), "a directory"),
        ] {
            assert!(refusal(&path).starts_with(&format!("this is {name} and not a file")), "{}", refusal(&path));
        }
        assert!(refusal(&at("nowhere")).starts_with("No such file"));
        fs::write(at("file"), "").unwrap();
        for (path, name) in [(at("fifo"), "a FIFO"), (at("device"), "a device"), (at("file"), "a file")] {
            let refused = directory(&path).unwrap_err().to_string();
            assert!(refused.starts_with(&format!("this is {name} and not a directory")), "{refused}");
        }
        assert!(directory(dir.path()).is_ok());
    }

    #[test]
    fn a_file_that_tells_no_size_is_not_read_for_ever() {
        // Regular, of size 0, and longer than that.
        assert_eq!(refusal(Path::new("/proc/self/smaps")), "this has 101 bytes, and no more than 100 are read");
    }
}
