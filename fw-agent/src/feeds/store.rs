//! The last good list of each feed, on disk: `feeds/NAME.HASH.list` in the state directory.
//!
//! A file is a list itself; its first line is a comment that says what the source calls the version, and the SHA-256 of the rest. It is
//! written beside its place, synchronised and renamed, so that a crash leaves the one list or the other. The time of its last change is
//! when the source has last said that it is the latest.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fw_policy::{AddressList, Feed, FeedKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use crate::files;
use crate::metrics::hex;

/// How files end.
const ENDING: &str = ".list";

/// How a file begins while it is written; what a crash has left of it is removed.
const NEW: &str = ".new-";

/// Lists that nobody wants are kept so long: a policy that is gone back to may want them again.
const KEPT_UNWANTED: Duration = Duration::from_secs(30 * 24 * 3600);

/// Room for the first line, in bytes.
const MAX_HEAD: u64 = 4 << 10;

/// What a source calls a version, and what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The name of the version, if the source has one.
    pub etag: Option<String>,
    /// SHA-256 of the list, in hexadecimal.
    pub sha256: String,
}

impl Version {
    /// The version of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8], etag: Option<String>) -> Self {
        Self { etag, sha256: hex(&Sha256::digest(bytes)) }
    }
}

/// A list that was kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// What is in it.
    pub list: AddressList,
    /// Which version it is.
    pub version: Version,
    /// When the source has last said that it is the latest.
    pub confirmed_at: OffsetDateTime,
}

/// The directory of lists; without one, nothing is kept.
#[derive(Clone, Debug, Default)]
pub struct FeedStore {
    directory: Option<PathBuf>,
}

impl FeedStore {
    /// The lists in a state directory; nothing is read or made yet.
    #[must_use]
    pub fn at(state_dir: &Path) -> Self {
        Self { directory: Some(state_dir.join("feeds")) }
    }

    /// Lists in any directory, for those who only look.
    #[must_use]
    pub fn in_directory(directory: &Path) -> Self {
        Self { directory: Some(directory.to_owned()) }
    }

    fn place(&self, feed: &FeedKey) -> Option<PathBuf> {
        Some(self.directory.as_ref()?.join(format!("{feed}{ENDING}")))
    }

    /// Keeps a list in the place of the last one.
    ///
    /// # Errors
    /// If it could not be written; the last one is still there.
    pub fn keep(&self, feed: &FeedKey, bytes: &[u8], version: &Version) -> io::Result<()> {
        let (Some(directory), Some(path)) = (&self.directory, self.place(feed)) else { return Ok(()) };
        fs::create_dir_all(directory)?;
        let new = directory.join(format!("{NEW}{feed}"));
        let write = || {
            let mut file = File::create(&new)?;
            writeln!(file, "# {}", serde_json::to_string(version)?)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            // The name is on disk only when the directory is.
            File::open(directory)?.sync_all()
        };
        write().inspect_err(|_| {
            let _best_effort = fs::remove_file(&new);
        })
    }

    /// Notes that a list is still the latest.
    ///
    /// # Errors
    /// If that could not be written.
    pub fn confirm(&self, feed: &FeedKey, at: OffsetDateTime) -> io::Result<()> {
        let Some(path) = self.place(feed) else { return Ok(()) };
        File::options().append(true).open(path)?.set_modified(at.into())
    }

    /// Reads the list of a feed; `None` if there is none.
    ///
    /// # Errors
    /// If it could not be read, or is not what was kept.
    pub fn recall(&self, feed: &Feed) -> io::Result<Option<Kept>> {
        let Some(path) = self.place(&feed.key()) else { return Ok(None) };
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let most = u64::from(u32::MAX) + MAX_HEAD;
        let bytes = files::read(&path, most).map_err(io::Error::other)?;
        let damaged = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| damaged("there is no first line"))?;
        let (head, rest) = (&bytes[..end], &bytes[end + 1..]);
        let head = head.strip_prefix(b"# ").ok_or_else(|| damaged("the first line is another one"))?;
        let version: Version = serde_json::from_slice(head)?;
        if Version::of(rest, version.etag.clone()) != version {
            return Err(damaged("its digest is another one"));
        }
        // `max_entries` may have become less since: what was had is better than nothing.
        let list = AddressList::parse(rest, u32::MAX).map_err(|error| damaged(&error.to_string()))?;
        Ok(Some(Kept { list, version, confirmed_at: metadata.modified()?.into() }))
    }

    /// Removes what a crash has left half written, and lists that were not wanted for long.
    ///
    /// # Errors
    /// If the directory could not be read, or a file not removed.
    pub fn tidy(&self, wanted: impl Fn(&str) -> bool, now: SystemTime) -> io::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_old = || {
                let modified = entry.metadata().and_then(|metadata| metadata.modified());
                modified.ok().and_then(|at| now.duration_since(at).ok()).is_some_and(|age| age > KEPT_UNWANTED)
            };
            let is_forgotten = name.strip_suffix(ENDING).is_some_and(|key| !wanted(key)) && is_old();
            // One that is wanted may be being written; what a crash has left of it is written over.
            let is_half = name.strip_prefix(NEW).is_some_and(|key| !wanted(key));
            if is_half || is_forgotten {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(name: &str) -> Feed {
        let text = format!(
            "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n[[feed]]\nname = \"{name}\"\nurl = \"a\"\nmax_entries = 1\n"
        );
        let file = fw_policy::SourceFile { name: "a.toml".to_owned(), text };
        fw_policy::load(&[file]).unwrap().feeds()[0].clone()
    }

    #[test]
    fn a_list_is_read_again_as_it_was_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = FeedStore::at(dir.path());
        let feed = feed("f");
        assert!(store.recall(&feed).unwrap().is_none());
        let bytes = b"::1\n# two, and there may be one now\n::2\n";
        let version = Version::of(bytes, Some("\"a\\b\"".to_owned()));
        store.keep(&feed.key(), bytes, &version).unwrap();
        let kept = store.recall(&feed).unwrap().unwrap();
        assert_eq!((kept.version, kept.list.entries()), (version, 2));
        let earlier = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
        store.confirm(&feed.key(), earlier).unwrap();
        assert_eq!(store.recall(&feed).unwrap().unwrap().confirmed_at, earlier);
        store.keep(&feed.key(), b"::3\n", &Version::of(b"::3\n", None)).unwrap();
        assert!(store.recall(&feed).unwrap().unwrap().list.contains("::3".parse().unwrap()));
    }

    #[test]
    fn what_is_not_what_was_kept_is_no_list() {
        let dir = tempfile::tempdir().unwrap();
        let store = FeedStore::at(dir.path());
        let feed = feed("f");
        store.keep(&feed.key(), b"::1\n::2\n", &Version::of(b"::1\n::2\n", None)).unwrap();
        let path = dir.path().join(format!("feeds/{}.list", feed.key()));
        let whole = fs::read(&path).unwrap();
        for (damaged, why) in [
            (&whole[..whole.len() - 4], "digest"),
            (&b""[..], "first line"),
            (b"::1\n", "first line"),
            (b"# {\n::1\n", "EOF"),
        ] {
            fs::write(&path, damaged).unwrap();
            let error = store.recall(&feed).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn half_written_and_forgotten_lists_go_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let store = FeedStore::at(dir.path());
        store.tidy(|_| false, SystemTime::now()).unwrap();
        let (wanted, old) = (feed("wanted"), feed("old"));
        for feed in [&wanted, &old] {
            store.keep(&feed.key(), b"::1\n", &Version::of(b"::1\n", None)).unwrap();
        }
        fs::write(dir.path().join("feeds/.new-x"), "half").unwrap();
        let names = || -> Vec<String> {
            let entries = fs::read_dir(dir.path().join("feeds")).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        let is_wanted = |key: &str| key == wanted.key().as_str();
        store.tidy(is_wanted, SystemTime::now()).unwrap();
        assert_eq!(names().len(), 2, "nothing is old: {:?}", names());
        store.tidy(is_wanted, SystemTime::now() + KEPT_UNWANTED * 2).unwrap();
        assert_eq!(names(), [format!("{}.list", wanted.key())]);
    }
}
