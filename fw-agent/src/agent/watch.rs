//! Watches the policy directory and says when it has changed and come to rest.
//!
//! A directory that is replaced as a whole, or that lies on a file system without inotify, is caught by the supervisor's
//! periodic round.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{EventMask, Inotify, WatchMask};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// A change is over when nothing has happened for this long.
const QUIET: Duration = Duration::from_millis(300);

/// A file that is open for writing is waited for, at most for so long.
const LONGEST_WRITE: Duration = Duration::from_secs(10);

/// The watch; a task of its own follows the directory.
pub(super) struct Watch {
    directory: Option<PathBuf>,
    changes: mpsc::Receiver<()>,
}

impl Watch {
    /// Watches a directory; without one there are never changes.
    pub(super) fn start(directory: Option<PathBuf>) -> Self {
        let (sender, changes) = mpsc::channel(1);
        if let Some(directory) = directory.clone() {
            tokio::spawn(async move {
                if let Err(error) = follow(directory.clone(), &sender).await {
                    tracing::warn!(directory = %directory.display(), %error, "the policy directory is not watched; it is read each 30 s");
                }
                // Kept open: a closed channel would be ready for ever.
                sender.closed().await;
            });
        }
        Self { directory, changes }
    }

    /// Watches anew, because the directory may be another one of the same name.
    pub(super) fn renew(&mut self) {
        *self = Self::start(self.directory.take());
    }

    /// Waits for the next change to be over. May be cancelled without losing one.
    pub(super) async fn settled(&mut self) {
        if self.changes.recv().await.is_none() {
            std::future::pending().await
        }
    }
}

async fn follow(directory: PathBuf, changes: &mpsc::Sender<()>) -> std::io::Result<()> {
    // Where the file system does not answer, only a thread is held up.
    let inotify = tokio::task::spawn_blocking(move || watch(&directory)).await.map_err(std::io::Error::other)??;
    let mut events = inotify.into_event_stream(vec![0; 4_096])?;
    let mut settling = Settling::default();
    loop {
        let event = match settling.deadline() {
            Some(deadline) => match timeout_at(deadline, events.next()).await {
                Ok(event) => event,
                Err(_elapsed) => {
                    settling = Settling::default();
                    if changes.send(()).await.is_err() {
                        return Ok(());
                    }
                    continue;
                }
            },
            None => events.next().await,
        };
        let Some(event) = event else { return Err(std::io::ErrorKind::UnexpectedEof.into()) };
        let event = event?;
        if event.mask.contains(EventMask::IGNORED) {
            return Err(std::io::Error::other("the directory is gone"));
        }
        settling.note(event.mask, event.name, Instant::now());
    }
}

fn watch(directory: &Path) -> std::io::Result<Inotify> {
    let inotify = Inotify::init()?;
    let mask = WatchMask::CREATE
        | WatchMask::MODIFY
        | WatchMask::CLOSE_WRITE
        | WatchMask::ATTRIB
        | WatchMask::MOVE
        | WatchMask::DELETE
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF;
    inotify.watches().add(directory, mask)?;
    Ok(inotify)
}

/// Whether a change is over.
#[derive(Debug, Default)]
struct Settling {
    last: Option<Instant>,
    /// Files that were written to and not closed yet.
    writing: BTreeSet<OsString>,
}

impl Settling {
    fn note(&mut self, mask: EventMask, name: Option<OsString>, now: Instant) {
        self.last = Some(now);
        let Some(name) = name else { return };
        if mask.contains(EventMask::MODIFY) {
            self.writing.insert(name);
        } else if mask.intersects(EventMask::CLOSE_WRITE | EventMask::MOVED_FROM | EventMask::DELETE) {
            self.writing.remove(&name);
        }
    }

    /// When the change is over if nothing else happens; `None` without a change.
    fn deadline(&self) -> Option<Instant> {
        let wait = if self.writing.is_empty() { QUIET } else { LONGEST_WRITE };
        self.last.map(|last| last + wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_being_written_is_waited_for() {
        let mut settling = Settling::default();
        assert_eq!(settling.deadline(), None);
        let now = Instant::now();
        settling.note(EventMask::MODIFY, Some("a.toml".into()), now);
        assert_eq!(settling.deadline(), Some(now + LONGEST_WRITE));
        settling.note(EventMask::CLOSE_WRITE, Some("a.toml".into()), now);
        assert_eq!(settling.deadline(), Some(now + QUIET));
    }

    #[tokio::test]
    async fn a_change_is_told_once_when_it_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = Watch::start(Some(dir.path().to_owned()));
        let file = dir.path().join("a.toml");
        let deadline = Instant::now() + Duration::from_secs(20);
        // The watch begins some time after the start, so the file is touched until it is noticed.
        while timeout_at(Instant::now() + QUIET * 2, watch.settled()).await.is_err() {
            assert!(Instant::now() < deadline, "the change was not noticed");
            std::fs::write(&file, "version = 1\n").unwrap();
        }
        assert!(timeout_at(Instant::now() + QUIET * 2, watch.settled()).await.is_err());
    }
}
