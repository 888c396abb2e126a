//! The files of a policy directory: all of them as they were at one moment, or why not.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fw_policy::SourceFile;

use super::PolicyError;
use crate::files::{self, FileError, Place};
use crate::text;

/// Reads the files of a policy directory in byte order of their names, without dot files. `place` is told where it is.
///
/// The set is whole: if a name, size or time changes while it is read, or git is in the middle of an operation, it is
/// [`PolicyError::InFlux`], and the caller tries again.
pub fn read(directory: &Path, place: &Place) -> Result<Arc<[SourceFile]>, PolicyError> {
    if let Some(lock) = git_lock(directory, place) {
        return Err(PolicyError::InFlux(lock));
    }
    let listing = list(directory, place)?;
    let mut files = Vec::with_capacity(listing.len());
    for (name, _) in &listing {
        let path = directory.join(name);
        place.enter(&path);
        let bytes = files::read(&path, MAX_FILE).map_err(|reason| unreadable(&path, reason))?;
        let text = text::decode(bytes).map_err(|place| PolicyError::NotText { path: path.clone(), place })?;
        files.push(SourceFile { name: name.clone(), text });
    }
    if list(directory, place)? != listing {
        return Err(PolicyError::InFlux(directory.to_owned()));
    }
    Ok(files.into())
}

/// What tells whether a file was changed.
type Version = (u64, u64, i64, i64);

/// The largest policy file that is read, in bytes: room for 100,000 rules, or for a list of a million prefixes.
pub(super) const MAX_FILE: u64 = 64 << 20;

fn unreadable(path: &Path, reason: impl Into<FileError>) -> PolicyError {
    match reason.into() {
        FileError::TooLarge { size, .. } => PolicyError::TooLarge { path: path.to_owned(), size },
        reason @ (FileError::Io(_) | FileError::NotRegular(_)) => {
            PolicyError::Unreadable { path: path.to_owned(), reason }
        }
    }
}

fn list(directory: &Path, place: &Place) -> Result<Vec<(String, Version)>, PolicyError> {
    place.enter(directory);
    let mut listing = Vec::new();
    for entry in fs::read_dir(directory).map_err(|reason| unreadable(directory, reason))? {
        let entry = entry.map_err(|reason| unreadable(directory, reason))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') || !name.ends_with(".toml") {
            continue;
        }
        // Followed, because configuration managers install links.
        let path = entry.path();
        place.enter(&path);
        let metadata = fs::metadata(&path).map_err(|reason| unreadable(&path, reason))?;
        files::regular(&metadata, MAX_FILE).map_err(|reason| unreadable(&path, reason))?;
        listing.push((name, (metadata.len(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec())));
    }
    listing.sort();
    Ok(listing)
}

/// Whether no file has changed for a while, so that nobody is in the middle of copying a set.
pub fn is_quiet(directory: &Path, quiet: Duration, place: &Place) -> bool {
    let now = SystemTime::now();
    let changed = |(_, (_, _, seconds, _)): &(String, Version)| {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(*seconds).unwrap_or_default());
        now.duration_since(at).is_ok_and(|age| age < quiet)
    };
    list(directory, place).is_ok_and(|listing| !listing.iter().any(changed))
}

/// How long git may hold its lock; an older one was left by a git that was killed.
const STALE_LOCK: Duration = Duration::from_secs(600);

/// git holds `index.lock` for as long as a checkout, merge or pull changes the working tree. One from before the last boot, or
/// that has not changed for long, holds nobody up.
fn git_lock(directory: &Path, place: &Place) -> Option<PathBuf> {
    let uptime = Duration::from_secs(u64::try_from(rustix::system::sysinfo().uptime).unwrap_or_default());
    let is_held = |lock: &PathBuf| {
        place.enter(lock);
        let modified = fs::metadata(lock).and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        lock.exists() && age.is_none_or(|age| age < STALE_LOCK.min(uptime))
    };
    directory.ancestors().map(|ancestor| ancestor.join(".git/index.lock")).find(is_held)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    fn read(directory: &Path) -> Result<Arc<[SourceFile]>, PolicyError> {
        super::read(directory, &Place::default())
    }

    #[test]
    fn files_come_in_byte_order_without_dot_files_and_others() {
        let dir = directory(&[("b.toml", "2"), ("B.toml", "1"), (".c.toml", "3"), ("d.toml~", "4"), ("notes.md", "5")]);
        let names: Vec<_> = read(dir.path()).unwrap().iter().map(|file| file.name.clone()).collect();
        assert_eq!(names, ["B.toml", "b.toml"]);
    }

    #[test]
    fn a_checkout_in_progress_is_waited_for() {
        let dir = directory(&[("a.toml", "")]);
        fs::create_dir(dir.path().join(".git")).unwrap();
        fs::write(dir.path().join(".git/index.lock"), "").unwrap();
        assert!(matches!(read(dir.path()), Err(PolicyError::InFlux(_))));
    }

    #[test]
    fn what_is_no_file_is_refused_and_not_passed_over() {
        let dir = directory(&[("a.toml", "version = 1\n")]);
        let fifo = dir.path().join("b.toml");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let error = read(dir.path()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: this is a FIFO and not a file", fifo.display())), "{error}");
        fs::remove_file(&fifo).unwrap();
        fs::create_dir(&fifo).unwrap();
        assert!(read(dir.path()).unwrap_err().to_string().contains("this is a directory"));
    }

    #[test]
    fn a_file_that_is_not_text_is_refused_with_the_place() {
        let dir = directory(&[("a.toml", "version = 1\n")]);
        let refused = |text: &[u8]| {
            fs::write(dir.path().join("b.toml"), text).unwrap();
            read(dir.path()).unwrap_err().to_string()
        };
        let place = dir.path().join("b.toml").display().to_string();
        let latin1 = refused(b"version = 1\n# \xc3\xa9t\xe9 \n");
        assert!(latin1.starts_with(&format!("{place}:2:5: this is not UTF-8: \\xe9")), "{latin1}");
        assert!(refused(b"a\xe2\x82").starts_with(&format!("{place}:1:2: this is not UTF-8: \\xe2\\x82")));
        assert!(refused(b"\xff\xfe").starts_with(&format!("{place}:1:1: this is not UTF-8: \\xff")));
    }

    #[test]
    fn a_directory_that_is_missing_is_named() {
        let error = read(Path::new("/nowhere/policies")).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/policies: No such file"), "{error}");
    }
}
