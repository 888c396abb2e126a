//! A file of lines that is rotated by size: `flows.jsonl`, `flows.jsonl.1` (the youngest old one), `flows.jsonl.2` …
//!
//! A line is in the file whole or not at all: what a full disk has cut off is taken back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::files::{self, FileError};

/// The log names who speaks with whom: it is for root and its group.
const MODE: u32 = 0o640;

/// The file and its rotated predecessors.
#[derive(Debug)]
pub struct RotatingFile {
    path: PathBuf,
    max_bytes: u64,
    keep: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    inode: u64,
    bytes: u64,
}

impl RotatingFile {
    /// Nothing is opened before the first line.
    #[must_use]
    pub const fn new(path: PathBuf, max_bytes: u64, keep: u32) -> Self {
        Self { path, max_bytes, keep, open: None }
    }

    /// Where the lines go.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends one line, which ends in a newline; rotates before it if the file would grow too large.
    pub fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        let open = self.opened()?;
        if open.bytes > 0 && open.bytes + length > self.max_bytes {
            self.rotate()?;
        }
        let open = self.opened()?;
        if let Err(error) = open.file.write_all(line) {
            let undone = open.file.set_len(open.bytes);
            self.open = None;
            return Err(undone.err().unwrap_or(error));
        }
        open.bytes += length;
        Ok(())
    }

    /// Opens the file anew if somebody else has moved it away.
    pub fn follow_renames(&mut self) {
        let Some(open) = &self.open else { return };
        if fs::metadata(&self.path).map(|metadata| metadata.ino()).ok() != Some(open.inode) {
            self.open = None;
        }
    }

    fn opened(&mut self) -> io::Result<&mut Open> {
        if self.open.is_none() {
            if let Some(directory) = self.path.parent() {
                fs::create_dir_all(directory)?;
            }
            let (file, metadata) = open_regular(&self.path)?;
            self.open = Some(Open { file, inode: metadata.ino(), bytes: metadata.len() });
        }
        self.open.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.open = None;
        if self.keep == 0 {
            return fs::remove_file(&self.path);
        }
        for number in (1..self.keep).rev() {
            match fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        fs::rename(&self.path, self.numbered(1))
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }
}

/// Opens a file, and makes it if there is none. What is no file is refused: a FIFO that nobody reads, or a device, holds up whoever writes,
/// and the agent's end waits for him.
fn open_regular(path: &Path) -> io::Result<(File, fs::Metadata)> {
    let regular = |metadata: &fs::Metadata| files::regular(metadata, u64::MAX).map_err(refused);
    // Looked at before it is opened, because opening some devices does something.
    match fs::metadata(path) {
        Ok(metadata) => regular(&metadata)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // What it is may have changed since: without NONBLOCK a FIFO would be waited for until somebody reads.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().append(true).create(true).mode(MODE).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    regular(&metadata)?;
    Ok((file, metadata))
}

fn refused(error: FileError) -> io::Error {
    match error {
        FileError::Io(error) => error,
        other @ (FileError::NotRegular(_) | FileError::NotDirectory(_) | FileError::TooLarge { .. }) => {
            io::Error::other(other)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_file_and_its_predecessors_stay_within_their_size_and_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/flows.jsonl");
        let mut log = RotatingFile::new(path.clone(), 25, 2);
        for n in 0..10 {
            log.append(format!("line {n:04}\n").as_bytes()).unwrap();
        }
        let read = |suffix: &str| fs::read_to_string(format!("{}{suffix}", path.display())).unwrap();
        assert_eq!(read(""), "line 0008\nline 0009\n");
        assert_eq!(read(".1"), "line 0006\nline 0007\n");
        assert_eq!(read(".2"), "line 0004\nline 0005\n");
        assert!(!path.with_extension("jsonl.3").exists());
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flows.jsonl");
        let mut log = RotatingFile::new(path.clone(), 1_000, 2);
        log.append(b"first\n").unwrap();
        fs::rename(&path, dir.path().join("taken")).unwrap();
        log.follow_renames();
        log.append(b"second\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "second\n");
    }

    #[test]
    fn a_full_disk_is_an_error_and_leaves_no_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = RotatingFile::new(dir.path().join("flows.jsonl"), 1_000, 0);
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        log.open = Some(Open { file: full, inode: 0, bytes: 0 });
        assert!(log.append(b"line\n").is_err());
        log.append(b"line\n").unwrap();
        assert_eq!(fs::read_to_string(log.path()).unwrap(), "line\n", "it is opened anew");
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (fifo, link) = (dir.path().join("fifo"), dir.path().join("link"));
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        std::os::unix::fs::symlink(&fifo, &link).unwrap();
        for (path, what) in [(fifo, "a FIFO"), (link, "a FIFO"), (PathBuf::from("/dev/null"), "a device")] {
            let refused = RotatingFile::new(path, 1_000, 0).append(b"line\n").unwrap_err().to_string();
            assert!(refused.starts_with(&format!("this is {what} and not a file")), "{refused}");
        }
        let refused = RotatingFile::new(dir.path().to_owned(), 1_000, 0).append(b"line\n").unwrap_err().to_string();
        assert!(refused.starts_with("this is a directory"), "{refused}");
    }

    #[test]
    fn others_cannot_read_it_nor_its_predecessors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flows.jsonl");
        let mut log = RotatingFile::new(path.clone(), 10, 1);
        log.append(b"line 1\n").unwrap();
        log.append(b"line 2\n").unwrap();
        for path in [path, dir.path().join("flows.jsonl.1")] {
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o137, 0, "{}: {mode:o}", path.display());
        }
    }
}
