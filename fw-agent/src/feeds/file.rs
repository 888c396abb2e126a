//! Feeds that are files of the firewall, below the directory that `agent.toml` allows.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use fw_policy::FeedUrl;
use tokio::time::timeout;

use super::fetch::{Failure, FailureKind, Fetched, Request, Source, too_large};
use crate::files::{self, FileError};

/// How long a file may take: a file system may never answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Files below a directory.
#[derive(Clone, Debug)]
pub struct Files {
    directory: PathBuf,
    /// One for each file that is being read. A thread that a file system holds up has its file's, so that no second one is.
    reading: Arc<Mutex<BTreeMap<String, Arc<Turn>>>>,
}

/// Whose turn it is to read a file.
type Turn = tokio::sync::Mutex<()>;

impl Files {
    /// Those below a directory.
    #[must_use]
    pub fn below(directory: PathBuf) -> Self {
        Self { directory, reading: Arc::default() }
    }

    /// The turn of those who read a file.
    fn turn(&self, path: &str) -> Arc<Turn> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        reading.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(reading.entry(path.to_owned()).or_default())
    }

    /// Reads beside the runtime, when nobody else reads the file.
    async fn read_aside(self, request: Request, path: String) -> Result<Fetched, Failure> {
        let turn = self.turn(&path).lock_owned().await;
        let reading = tokio::task::spawn_blocking(move || {
            let read = self.read(&request, &path);
            drop(turn);
            read
        });
        reading.await.unwrap_or_else(|_| Err(Failure::new(FailureKind::Refused, "reading the file was interrupted")))
    }

    fn read(&self, request: &Request, path: &str) -> Result<Fetched, Failure> {
        let directory = real(&self.directory)?;
        let path = real(&self.directory.join(path))?;
        if !path.starts_with(&directory) {
            return Err(Failure::new(
                FailureKind::Forbidden,
                format!(
                    "{}: is not below {}: put the file there, or name another directory as `[feeds] directory` of agent.toml",
                    path.display(),
                    directory.display()
                ),
            ));
        }
        let version = version(&path)?;
        if request.etag.as_ref() == Some(&version) {
            return Ok(Fetched::Unchanged);
        }
        let bytes = files::read(&path, request.max_bytes).map_err(|error| match error {
            FileError::TooLarge { .. } => too_large(&request.url, request.max_bytes),
            error @ (FileError::Io(_) | FileError::NotRegular(_) | FileError::NotDirectory(_)) => {
                Failure::new(FailureKind::Refused, format!("{}: {error}", path.display()))
            }
        })?;
        if self::version(&path)? != version {
            let message =
                format!("{}: was changed while it was read: put a list in its place with `mv`", path.display());
            return Err(Failure::new(FailureKind::Refused, message));
        }
        Ok(Fetched::Object { bytes, etag: Some(version) })
    }
}

impl Source for Files {
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Fetched, Failure>> {
        let files = self.clone();
        Box::pin(async move {
            let FeedUrl::File(path) = request.url.clone() else {
                return Err(Failure::new(FailureKind::Refused, format!("{}: is no file", request.url)));
            };
            let late = files.directory.join(&path);
            timeout(PATIENCE, files.read_aside(request, path)).await.unwrap_or_else(|_| {
                let message = format!(
                    "{}: was not read within {} seconds: look at the file system that it is on",
                    late.display(),
                    PATIENCE.as_secs()
                );
                Err(Failure::new(FailureKind::TimedOut, message))
            })
        })
    }
}

/// Where a path leads to, links followed.
fn real(path: &Path) -> Result<PathBuf, Failure> {
    fs::canonicalize(path).map_err(|error| of_kernel(path, &error))
}

/// What tells whether a file was changed.
fn version(path: &Path) -> Result<String, Failure> {
    let metadata = fs::metadata(path).map_err(|error| of_kernel(path, &error))?;
    Ok(format!("{}-{}-{}.{:09}", metadata.len(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec()))
}

fn of_kernel(path: &Path, error: &io::Error) -> Failure {
    let kind = if error.kind() == io::ErrorKind::NotFound {
        FailureKind::NotFound
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        FailureKind::Forbidden
    } else {
        FailureKind::Refused
    };
    Failure::new(kind, format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fetch(directory: &Path, path: &str, etag: Option<String>) -> Result<Fetched, Failure> {
        let request = Request { url: FeedUrl::File(path.to_owned()), etag, max_bytes: 10 };
        Files::below(directory.to_owned()).fetch(request).await
    }

    #[tokio::test]
    async fn a_file_is_read_when_it_is_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "::1\n").unwrap();
        let Ok(Fetched::Object { bytes, etag }) = fetch(dir.path(), "a", None).await else { panic!() };
        assert_eq!(bytes, b"::1\n");
        assert_eq!(fetch(dir.path(), "a", etag.clone()).await, Ok(Fetched::Unchanged));
        assert_eq!(fetch(dir.path(), path.to_str().unwrap(), etag.clone()).await, Ok(Fetched::Unchanged));
        fs::write(&path, "::22\n").unwrap();
        assert!(matches!(fetch(dir.path(), "a", etag).await, Ok(Fetched::Object { bytes, .. }) if bytes == b"::22\n"));
        fs::write(&path, "0123456789a").unwrap();
        assert_eq!(fetch(dir.path(), "a", None).await.unwrap_err().kind, FailureKind::TooLarge);
        assert_eq!(fetch(dir.path(), "b", None).await.unwrap_err().kind, FailureKind::NotFound);
    }

    #[tokio::test]
    async fn one_reads_a_file_at_a_time_and_another_when_that_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "::1\n").unwrap();
        fs::write(dir.path().join("b"), "::2\n").unwrap();
        let files = Files::below(dir.path().to_owned());
        let request = |path: &str| Request { url: FeedUrl::File(path.to_owned()), etag: None, max_bytes: 10 };
        let turn = files.turn("a").lock_owned().await;
        let mut waiting = files.fetch(request("a"));
        assert!(files.fetch(request("b")).await.is_ok(), "another file is read");
        assert!(futures_util::FutureExt::now_or_never(&mut waiting).is_none());
        drop(turn);
        assert!(waiting.await.is_ok());
        assert!(files.fetch(request("b")).await.is_ok());
        assert_eq!(files.reading.lock().unwrap().len(), 1, "the turns of what is not read any more are forgotten");
    }

    #[tokio::test]
    async fn no_path_and_no_link_leads_out_of_the_directory() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let outside = other.path().join("a");
        fs::write(&outside, "::1\n").unwrap();
        std::os::unix::fs::symlink(&outside, dir.path().join("link")).unwrap();
        fs::write(dir.path().join("a"), "::1\n").unwrap();
        std::os::unix::fs::symlink("a", dir.path().join("inside")).unwrap();
        for path in ["link", outside.to_str().unwrap()] {
            let failure = fetch(dir.path(), path, None).await.unwrap_err();
            assert!(failure.kind == FailureKind::Forbidden && failure.message.contains("is not below"), "{failure}");
        }
        assert!(fetch(dir.path(), "inside", None).await.is_ok());
    }
}
