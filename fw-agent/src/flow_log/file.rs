//! A file of lines that is rotated by size: `flows.jsonl`, `flows.jsonl.1` (the youngest old one), `flows.jsonl.2` …
//!
//! A line is in the file whole or not at all: what a full disk has cut off is taken back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

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
            let file = OpenOptions::new().append(true).create(true).open(&self.path)?;
            let metadata = file.metadata()?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut log = RotatingFile::new(PathBuf::from("/dev/full"), 1_000, 0);
        assert!(log.append(b"line\n").is_err());
        assert!(log.append(b"line\n").is_err());
    }
}
