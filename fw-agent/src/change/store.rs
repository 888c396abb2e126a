//! What was applied, on disk: `policies/REVISION/` with the files and their directories as they were, and `policies/ledger.json`.
//!
//! Everything is written beside its place, synchronised, and renamed (rename(2) is atomic), so that whatever ends the agent or the
//! machine leaves the one state or the other. Whether there is room is asked before anything changes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use fw_policy::SourceFile;

use super::{Digest, Ledger, Revision};

/// The state of changes.
const LEDGER: &str = "ledger.json";

/// What is being written; what a crash has left of it is removed at the next start.
const NEW: &str = ".new-";

/// Takes up room that is given back when the ledger does not fit any more, so that a change can be taken back on a full disk.
const BALLAST: &str = ".ballast";

/// Its size in bytes.
const BALLAST_SIZE: usize = 128 << 10;

/// Room for the ballast, the ledger, the audit trail, and directories, besides the files.
const RESERVE: u64 = 384 << 10;

/// Why something was not kept or is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The kernel refused.
    #[error("{path}: {reason}")]
    Io {
        /// What could not be read or written.
        path: PathBuf,
        /// What the kernel said.
        reason: io::Error,
    },
    /// There is no room.
    #[error(
        "{path}: {free} bytes are free and {needed} needed to keep the policy; nothing was changed: make room, or lower `[policy] keep`"
    )]
    Full {
        /// The directory.
        path: PathBuf,
        /// How many bytes are free.
        free: u64,
        /// How many are needed.
        needed: u64,
    },
    /// There are no inodes.
    #[error("{path}: no more files can be made there (inodes); nothing was changed")]
    NoInodes {
        /// The directory.
        path: PathBuf,
    },
    /// The ledger is not one.
    #[error(
        "{path}: this is damaged: {reason}; to begin anew, without history and quarantine, move the directory away"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A kept policy is not what was applied.
    #[error("{path}: this is not what was applied: its digest is another one")]
    Changed {
        /// The revision's directory.
        path: PathBuf,
    },
    /// There is no such revision.
    #[error("revision {0} is not kept; `fwctl history` lists those that are")]
    Unknown(Revision),
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    |reason| StoreError::Io { path: path.to_owned(), reason }
}

/// The directory of what was applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// The store in a state directory; nothing is read or made yet.
    #[must_use]
    pub fn at(state_dir: &Path) -> Self {
        Self { directory: state_dir.join("policies") }
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes the directory if there is none, reads the ledger, and removes what it does not know.
    ///
    /// # Errors
    /// If that is not possible, or the ledger is damaged.
    pub fn open(&self) -> Result<Ledger, StoreError> {
        fs::create_dir_all(&self.directory).map_err(io_error(&self.directory))?;
        let ledger = self.ledger()?;
        if let Err(error) = self.remove_leftovers(&ledger) {
            tracing::warn!(path = %self.directory.display(), %error, "what a crash has left there could not be removed");
        }
        Ok(ledger)
    }

    /// What is half written, and revisions that were written and never applied, or forgotten and not removed.
    fn remove_leftovers(&self, ledger: &Ledger) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_unknown = name.parse().is_ok_and(|revision| ledger.record(revision).is_none());
            if !is_unknown && !name.starts_with(NEW) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Reads the ledger; an empty one if there is none.
    ///
    /// # Errors
    /// If it cannot be read, or is damaged.
    pub fn ledger(&self) -> Result<Ledger, StoreError> {
        let path = self.directory.join(LEDGER);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ledger::default()),
            Err(error) => return Err(io_error(&path)(error)),
        };
        serde_json::from_slice(&bytes).map_err(|error| StoreError::Damaged { path, reason: error.to_string() })
    }

    /// Makes this the ledger.
    ///
    /// # Errors
    /// If it could not be written; the one before is still there.
    pub fn write_ledger(&self, ledger: &Ledger) -> Result<(), StoreError> {
        let mut text = serde_json::to_vec_pretty(ledger)
            .map_err(|error| StoreError::Damaged { path: self.directory.clone(), reason: error.to_string() })?;
        text.push(b'\n');
        let (new, path) = (self.directory.join(format!("{NEW}{LEDGER}")), self.directory.join(LEDGER));
        let write = || {
            write_synced(&new, &text)?;
            fs::rename(&new, &path)?;
            sync(&self.directory)
        };
        let written = write().or_else(|error| {
            fs::remove_file(self.directory.join(BALLAST)).map_err(|_gone_already| error)?;
            write()
        });
        written.map_err(io_error(&path))
    }

    /// Refuses files for which there is no room.
    fn require_room(&self, files: &[SourceFile]) -> Result<(), StoreError> {
        let room = rustix::fs::statvfs(&self.directory).map_err(|error| io_error(&self.directory)(error.into()))?;
        let block = room.f_frsize.max(1);
        let sizes = files.iter().map(|file| (file.text.len() as u64).next_multiple_of(block));
        let directories = directories(Path::new(""), files).len() as u64;
        let (needed, free) = (sizes.sum::<u64>() + directories * block + RESERVE, room.f_bavail.saturating_mul(block));
        if free < needed {
            return Err(StoreError::Full { path: self.directory.clone(), free, needed });
        }
        // Some file systems make inodes as they need them, and say that they have none.
        if room.f_files > 0 && room.f_favail < files.len() as u64 + directories + 4 {
            return Err(StoreError::NoInodes { path: self.directory.clone() });
        }
        Ok(())
    }

    /// Keeps the files of a revision.
    ///
    /// # Errors
    /// If there is no room, or they could not be written; then nothing is left of them.
    pub fn keep(&self, revision: Revision, files: &[SourceFile]) -> Result<(), StoreError> {
        self.require_room(files)?;
        let (new, path) = (self.directory.join(format!("{NEW}{revision}")), self.place(revision));
        let write = || {
            // One of this number was written and never applied: the agent or the machine ended in between.
            for old in [&new, &path] {
                remove(old)?;
            }
            files.iter().try_for_each(|file| plain(&file.name).map(|_| ()))?;
            let directories = directories(&new, files);
            directories.iter().try_for_each(fs::create_dir)?;
            for file in files {
                write_synced(&new.join(&file.name), file.text.as_bytes())?;
            }
            directories.iter().try_for_each(|directory| sync(directory))?;
            self.put_ballast()?;
            fs::rename(&new, &path)?;
            sync(&self.directory)
        };
        write().map_err(|reason| {
            let _best_effort = remove(&new);
            io_error(&path)(reason)
        })
    }

    fn put_ballast(&self) -> io::Result<()> {
        let path = self.directory.join(BALLAST);
        match fs::metadata(&path) {
            Ok(there) if there.len() == BALLAST_SIZE as u64 => Ok(()),
            Ok(_) | Err(_) => write_synced(&path, &vec![b'.'; BALLAST_SIZE]),
        }
    }

    /// The files of a revision, as they were applied.
    ///
    /// # Errors
    /// If they are not there, or are not those any more.
    pub fn files(&self, ledger: &Ledger, revision: Revision) -> Result<Vec<SourceFile>, StoreError> {
        let record = ledger.record(revision).ok_or(StoreError::Unknown(revision))?;
        let directory = self.place(revision);
        let mut files = Vec::with_capacity(record.files.len());
        for name in &record.files {
            let path = directory.join(name);
            let text = plain(name).and_then(|_| fs::read_to_string(&path)).map_err(io_error(&path))?;
            files.push(SourceFile { name: name.clone(), text });
        }
        if Digest::of(&files) != record.digest {
            return Err(StoreError::Changed { path: directory });
        }
        Ok(files)
    }

    /// Removes revisions that the ledger has forgotten.
    ///
    /// # Errors
    /// If one could not be removed.
    pub fn remove(&self, revisions: &[Revision]) -> Result<(), StoreError> {
        for revision in revisions {
            let path = self.place(*revision);
            remove(&path).map_err(io_error(&path))?;
        }
        Ok(())
    }

    fn place(&self, revision: Revision) -> PathBuf {
        self.directory.join(revision.to_string())
    }
}

/// The directories of a policy, each in front of those in it: its own, and those that are included.
fn directories(own: &Path, files: &[SourceFile]) -> BTreeSet<PathBuf> {
    let below = files.iter().flat_map(|file| Path::new(&file.name).ancestors().skip(1)).map(|parent| own.join(parent));
    below.chain([own.to_owned()]).collect()
}

/// The name of a file in its directory or one below, and no way out of it.
fn plain(name: &str) -> io::Result<&str> {
    let is_plain = name.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
    is_plain.then_some(name).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "this is no name of a file"))
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Names are on disk only when their directory is.
fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::ledger::Record;
    use crate::change::who::Who;

    fn files(text: &str) -> Vec<SourceFile> {
        ["b.toml", "sites/bonn/a.toml", "a.toml"]
            .map(|name| SourceFile { name: name.to_owned(), text: text.to_owned() })
            .into()
    }

    fn store() -> (tempfile::TempDir, Store, Ledger) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        let ledger = store.open().unwrap();
        (dir, store, ledger)
    }

    fn record(files: &[SourceFile]) -> Record {
        Record {
            digest: Digest::of(files),
            files: files.iter().map(|file| file.name.clone()).collect(),
            applied_at: "2026-12-01T00:00:00.000Z".to_owned(),
            who: Who::agent("test"),
            tests_passed: 3,
        }
    }

    #[test]
    fn what_was_kept_is_read_again_in_its_order() {
        let (_dir, store, mut ledger) = store();
        store.keep(1, &files("x")).unwrap();
        ledger.begin(1, record(&files("x")), None);
        store.write_ledger(&ledger).unwrap();
        let again = store.open().unwrap();
        assert_eq!(again, ledger);
        assert_eq!(store.files(&again, 1).unwrap(), files("x"));
        assert!(matches!(store.files(&again, 2), Err(StoreError::Unknown(2))));
    }

    #[test]
    fn what_was_changed_in_the_store_is_not_taken_for_what_was_applied() {
        let (_dir, store, mut ledger) = store();
        store.keep(1, &files("x")).unwrap();
        ledger.begin(1, record(&files("x")), None);
        fs::write(store.directory().join("1/a.toml"), "y").unwrap();
        assert!(matches!(store.files(&ledger, 1), Err(StoreError::Changed { .. })));
    }

    #[test]
    fn what_a_crash_has_left_is_removed_or_written_over() {
        let (dir, store, _) = store();
        fs::create_dir(store.directory().join(".new-7")).unwrap();
        fs::write(store.directory().join(".new-ledger.json"), "{\"hi").unwrap();
        // Written, but the agent ended before the ledger said so.
        store.keep(1, &files("never applied")).unwrap();
        let mut ledger = Store::at(dir.path()).open().unwrap();
        assert_eq!(ledger, Ledger::default());
        assert!(!store.directory().join("1").exists() && !store.directory().join(".new-7").exists());
        store.keep(1, &files("x")).unwrap();
        ledger.begin(1, record(&files("x")), None);
        assert_eq!(store.files(&ledger, 1).unwrap(), files("x"));
    }

    #[test]
    fn a_damaged_ledger_is_no_empty_one() {
        let (_dir, store, _) = store();
        fs::write(store.directory().join(LEDGER), "{\"highest\": 1").unwrap();
        let error = store.open().unwrap_err().to_string();
        assert!(error.contains("ledger.json: this is damaged"), "{error}");
    }

    #[test]
    fn no_name_leads_out_of_the_store() {
        let (_dir, store, _) = store();
        for name in ["../ledger.json", "a/../../ledger.json", "/tmp/a.toml", "a//b.toml", "a/.b.toml", ""] {
            let outside = [SourceFile { name: name.to_owned(), text: String::new() }];
            assert!(store.keep(1, &outside).is_err(), "{name}");
            assert_eq!(fs::read_dir(store.directory()).unwrap().count(), 0, "{name}");
        }
    }
}
