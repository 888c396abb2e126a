//! The files of a policy directory, with those of the subdirectories that they include: all of them as they were at one moment,
//! or why not.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fw_policy::{Absence, SourceFile, Subdirectory};

use super::PolicyError;
use crate::files::{self, FileError, Place};
use crate::text;

/// Reads the files of a policy directory in byte order of their names, without dot files, each with what it includes behind it.
/// `place` is told where it is.
///
/// The set is whole: if a name, size or time changes while it is read, or git is in the middle of an operation, it is
/// [`PolicyError::InFlux`], and the caller tries again.
pub fn read(directory: &Path, place: &Place) -> Result<Arc<[SourceFile]>, PolicyError> {
    let mut tree = Tree { root: directory, place, listings: BTreeMap::new() };
    let gathered = fw_policy::gather(&mut tree)?;
    tree.require_unchanged()?;
    gathered.map(Arc::from).map_err(PolicyError::Invalid)
}

/// What tells whether a file was changed.
type Version = (u64, u64, i64, i64);

/// The policy files of one directory, by name.
type Listing = Vec<(String, Version)>;

/// A policy directory that is being read, and what of it was listed.
struct Tree<'d> {
    root: &'d Path,
    place: &'d Place,
    listings: BTreeMap<String, Result<Listing, Absence>>,
}

impl Tree<'_> {
    /// Where a subdirectory is; the directory itself has the empty name.
    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.root.to_owned() } else { self.root.join(name) }
    }

    /// What there is in a subdirectory. Each part of its name is a directory itself: a link may lead anywhere.
    fn list(&self, name: &str) -> Result<Result<Listing, Absence>, PolicyError> {
        let mut path = self.root.to_owned();
        for part in name.split('/').filter(|part| !part.is_empty()) {
            path.push(part);
            self.place.enter(&path);
            let absence = match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_dir() => continue,
                Ok(metadata) if metadata.is_symlink() => Absence::Link,
                Ok(_) => Absence::NoDirectory,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Absence::Missing,
                Err(error) => return Err(unreadable(&path, error)),
            };
            return Ok(Err(absence));
        }
        list(&path, self.place).map(Ok)
    }

    /// Refuses what has changed since it was listed.
    fn require_unchanged(&self) -> Result<(), PolicyError> {
        for (name, before) in &self.listings {
            if self.list(name)? != *before {
                return Err(PolicyError::InFlux(self.path(name)));
            }
        }
        Ok(())
    }

    fn file(&self, name: String) -> Result<SourceFile, PolicyError> {
        let path = self.root.join(&name);
        self.place.enter(&path);
        let bytes = files::read(&path, MAX_FILE).map_err(|reason| unreadable(&path, reason))?;
        let text = text::decode(bytes).map_err(|place| PolicyError::NotText { path, place })?;
        Ok(SourceFile { name, text })
    }
}

impl fw_policy::Directory for Tree<'_> {
    type Error = PolicyError;

    fn files(&mut self, subdirectory: &str) -> Result<Subdirectory, PolicyError> {
        // A directory that is included may be a repository of its own.
        if let Some(lock) = git_lock(&self.path(subdirectory), self.place) {
            return Err(PolicyError::InFlux(lock));
        }
        let listing = self.list(subdirectory)?;
        let found = match &listing {
            Ok(files) => {
                let in_front = if subdirectory.is_empty() { String::new() } else { format!("{subdirectory}/") };
                let files = files.iter().map(|(name, _)| self.file(format!("{in_front}{name}")));
                Subdirectory::Files(files.collect::<Result<_, _>>()?)
            }
            Err(absence) => Subdirectory::Absent(*absence),
        };
        self.listings.insert(subdirectory.to_owned(), listing);
        Ok(found)
    }

    fn subdirectories(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        walk(self.root, &mut |name, _| names.push(name.to_owned()));
        names.retain(|name| !name.is_empty());
        names.sort();
        names
    }
}

/// The most directories that are looked at for what may be included.
const MAX_DIRECTORIES: usize = 1_000;

/// Visits a policy directory and the directories below it whose names may be included: none that a link leads to, and no dot
/// directories. Each is visited before it is read, so that a visitor who watches it misses nothing.
pub fn walk(root: &Path, visit: &mut dyn FnMut(&str, &Path)) {
    let mut waiting = vec![String::new()];
    let mut visited = 0;
    while let Some(name) = waiting.pop() {
        let path = root.join(&name);
        visit(&name, &path);
        visited += 1;
        if visited == MAX_DIRECTORIES {
            return;
        }
        let entries = fs::read_dir(&path).into_iter().flatten().flatten();
        let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let names = directories.filter_map(|entry| entry.file_name().into_string().ok());
        let below = |inner: String| if name.is_empty() { inner } else { format!("{name}/{inner}") };
        waiting.extend(names.filter(|name| !name.starts_with('.')).map(below));
    }
}

/// The largest policy file that is read, in bytes: room for 100,000 rules, or for a list of a million prefixes.
pub(crate) const MAX_FILE: u64 = 64 << 20;

fn unreadable(path: &Path, reason: impl Into<FileError>) -> PolicyError {
    match reason.into() {
        FileError::TooLarge { size, .. } => PolicyError::TooLarge { path: path.to_owned(), size },
        reason @ (FileError::Io(_) | FileError::NotRegular(_) | FileError::NotDirectory(_)) => {
            PolicyError::Unreadable { path: path.to_owned(), reason }
        }
    }
}

fn list(directory: &Path, place: &Place) -> Result<Listing, PolicyError> {
    place.enter(directory);
    files::directory(directory).map_err(|reason| unreadable(directory, reason))?;
    let (mut listing, mut nameless) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(directory).map_err(|reason| unreadable(directory, reason))? {
        let entry = entry.map_err(|reason| unreadable(directory, reason))?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") || !name.as_encoded_bytes().ends_with(b".toml") {
            continue;
        }
        let name = match name.into_string() {
            Ok(name) => name,
            Err(name) => {
                nameless.push(name.as_encoded_bytes().escape_ascii().to_string());
                continue;
            }
        };
        // Followed, because configuration managers install links.
        let path = entry.path();
        place.enter(&path);
        let metadata = fs::metadata(&path).map_err(|reason| unreadable(&path, reason))?;
        files::regular(&metadata, MAX_FILE).map_err(|reason| unreadable(&path, reason))?;
        listing.push((name, (metadata.len(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec())));
    }
    if !nameless.is_empty() {
        nameless.sort();
        return Err(PolicyError::NotNames { path: directory.to_owned(), names: nameless });
    }
    listing.sort();
    Ok(listing)
}

/// Whether none of the files that were read has changed for a while, so that nobody is in the middle of copying a set.
pub fn is_quiet(directory: &Path, files: &[SourceFile], quiet: Duration, place: &Place) -> bool {
    let now = SystemTime::now();
    files.iter().all(|file| {
        let path = directory.join(&file.name);
        place.enter(&path);
        fs::metadata(&path).is_ok_and(|metadata| {
            let seconds = Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or_default());
            // A time to come is that of a clock that was set.
            !now.duration_since(SystemTime::UNIX_EPOCH + seconds).is_ok_and(|age| age < quiet)
        })
    })
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
    directory.ancestors().map(|tree| git_directory(tree, place).join("index.lock")).find(is_held)
}

/// Where git keeps what it knows of a working tree: `.git` in it; or, of a submodule or a linked tree, what that file names
/// (gitrepository-layout(5)).
fn git_directory(tree: &Path, place: &Place) -> PathBuf {
    let git = tree.join(".git");
    place.enter(&git);
    let named = files::read(&git, MAX_GITFILE).ok().and_then(|text| String::from_utf8(text).ok());
    match named.as_deref().and_then(|text| text.strip_prefix("gitdir: ")) {
        Some(path) => tree.join(path.trim_end()),
        None => git,
    }
}

/// The largest `.git` that is read, in bytes: a path.
const MAX_GITFILE: u64 = 8 << 10;

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

    fn include(directory: &Path, name: &str) -> Result<Vec<String>, PolicyError> {
        fs::write(directory.join("a.toml"), format!("version = 1\ninclude = [\"{name}\"]\n")).unwrap();
        read(directory).map(|files| files.iter().map(|file| file.name.clone()).collect())
    }

    #[test]
    fn what_a_file_includes_is_read_behind_it() {
        let dir = directory(&[("b.toml", "")]);
        fs::create_dir_all(dir.path().join("sites/berlin/.git")).unwrap();
        fs::create_dir(dir.path().join("sites/unread.toml")).unwrap();
        for name in ["2.toml", "1.toml", ".0.toml", "notes.md"] {
            fs::write(dir.path().join("sites/berlin").join(name), "").unwrap();
        }
        let names = include(dir.path(), "sites/berlin").unwrap();
        assert_eq!(names, ["a.toml", "sites/berlin/1.toml", "sites/berlin/2.toml", "b.toml"]);
        let refused = include(dir.path(), "sites/berln").unwrap_err().to_string();
        assert!(refused.contains("a.toml:2:12") && refused.contains("did you mean `sites/berlin`?"), "{refused}");
    }

    #[test]
    fn no_link_leads_an_include_out_of_the_directory() {
        let outside = directory(&[("x.toml", "secret")]);
        let dir = directory(&[]);
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("real/link")).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("inside")).unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        for name in ["link", "real/link", "inside"] {
            let refused = include(dir.path(), name).unwrap_err().to_string();
            assert!(refused.contains("is a symbolic link") && !refused.contains("secret"), "{refused}");
        }
        assert!(include(dir.path(), "file").unwrap_err().to_string().contains("`file` is no directory"));
        let mut walked = Vec::new();
        walk(dir.path(), &mut |name, _| walked.push(name.to_owned()));
        assert_eq!(walked, ["", "real"]);
    }

    #[test]
    fn a_directory_that_changes_while_another_one_is_read_is_told() {
        let dir = directory(&[("a.toml", "version = 1\ninclude = [\"b\"]\n")]);
        fs::create_dir(dir.path().join("b")).unwrap();
        fs::write(dir.path().join("b/x.toml"), "").unwrap();
        let place = Place::default();
        let mut tree = Tree { root: dir.path(), place: &place, listings: BTreeMap::new() };
        fw_policy::gather(&mut tree).unwrap().unwrap();
        assert!(tree.require_unchanged().is_ok());
        fs::write(dir.path().join("b/y.toml"), "").unwrap();
        assert!(matches!(tree.require_unchanged(), Err(PolicyError::InFlux(path)) if path.ends_with("b")));
    }

    #[test]
    fn files_are_quiet_when_none_has_changed_for_a_while() {
        let dir = directory(&[("a.toml", "version = 1\ninclude = [\"b\"]\n")]);
        fs::create_dir(dir.path().join("b")).unwrap();
        fs::write(dir.path().join("b/x.toml"), "").unwrap();
        let files = read(dir.path()).unwrap();
        let is_quiet = |quiet| is_quiet(dir.path(), &files, quiet, &Place::default());
        assert!(is_quiet(Duration::ZERO));
        assert!(!is_quiet(Duration::from_secs(3_600)));
        fs::remove_file(dir.path().join("b/x.toml")).unwrap();
        assert!(!is_quiet(Duration::ZERO), "one has gone");
    }

    #[test]
    fn a_checkout_in_progress_is_waited_for() {
        let dir = directory(&[("a.toml", "")]);
        fs::create_dir(dir.path().join(".git")).unwrap();
        fs::write(dir.path().join(".git/index.lock"), "").unwrap();
        assert!(matches!(read(dir.path()), Err(PolicyError::InFlux(_))));
    }

    #[test]
    fn a_checkout_of_a_submodule_that_is_included_is_waited_for() {
        let dir = directory(&[("a.toml", "version = 1\ninclude = [\"b\"]\n")]);
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at(".git/modules/b")).unwrap();
        fs::create_dir(at("b")).unwrap();
        fs::write(at("b/x.toml"), "").unwrap();
        fs::write(at("b/.git"), "gitdir: ../.git/modules/b\n").unwrap();
        assert_eq!(read(dir.path()).unwrap().len(), 2);
        fs::write(at(".git/modules/b/index.lock"), "").unwrap();
        assert!(matches!(read(dir.path()), Err(PolicyError::InFlux(lock)) if lock.ends_with("index.lock")));
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
    fn files_whose_names_are_no_text_are_named_and_not_passed_over() {
        use std::os::unix::ffi::OsStrExt as _;
        let dir = directory(&[("a.toml", "version = 1\n")]);
        let write = |name: &[u8]| fs::write(dir.path().join(std::ffi::OsStr::from_bytes(name)), "").unwrap();
        write(b"n\xe9.md");
        write(b".n\xe9.toml");
        assert!(read(dir.path()).is_ok(), "they are no policy files");
        write(b"n\xe9.toml");
        write(b"\xff.toml");
        let refused = read(dir.path()).unwrap_err().to_string();
        let expected = r": the names of policy files are UTF-8, and these are not: \xff.toml, n\xe9.toml; rename them";
        assert_eq!(refused, format!("{}{expected}", dir.path().display()));
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
