//! Watches the policy directory, with the directories below it that may be included, and says when it has changed and come to rest.
//!
//! A directory that is replaced as a whole, or that lies on a file system without inotify, is caught by the supervisor's
//! periodic round.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask, Watches};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::policy_set;

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
    let mut events = Inotify::init()?.into_event_stream(vec![0; 4_096])?;
    let mut tree = Tree::new(directory, events.watches()).covered().await?;
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
        let watch = event.wd.get_watch_descriptor_id();
        if event.mask.contains(EventMask::IGNORED) && tree.is_root(watch) {
            return Err(std::io::Error::other("the directory is gone"));
        }
        let may_be_new = EventMask::CREATE | EventMask::MOVED_TO;
        if event.mask.contains(EventMask::ISDIR) && event.mask.intersects(may_be_new) {
            tree = tree.covered().await?;
        }
        settling.note(event.mask, event.name.map(|name| (watch, name)), Instant::now());
    }
}

/// What is watched.
struct Tree {
    directory: PathBuf,
    watches: Watches,
    /// The watch of the directory itself.
    root: Option<WatchDescriptor>,
}

impl Tree {
    const fn new(directory: PathBuf, watches: Watches) -> Self {
        Self { directory, watches, root: None }
    }

    /// Watches the directory and those below it; what is watched already stays so, under the same descriptor. Of one below that
    /// cannot be watched, changes are found by the periodic round, and its removal is told by the one above it.
    async fn covered(mut self) -> std::io::Result<Self> {
        // Where the file system does not answer, only a thread is held up.
        let covered = tokio::task::spawn_blocking(move || {
            self.root = Some(self.watches.add(&self.directory, mask())?);
            let mut watches = self.watches.clone();
            policy_set::walk(&self.directory, &mut |name, path| {
                if let Err(error) = watches.add(path, mask()) {
                    tracing::debug!(directory = name, %error, "this directory of policy files is not watched");
                }
            });
            Ok(self)
        });
        covered.await.map_err(std::io::Error::other)?
    }

    fn is_root(&self, watch: i32) -> bool {
        self.root.as_ref().is_some_and(|root| root.get_watch_descriptor_id() == watch)
    }
}

fn mask() -> WatchMask {
    WatchMask::CREATE
        | WatchMask::MODIFY
        | WatchMask::CLOSE_WRITE
        | WatchMask::ATTRIB
        | WatchMask::MOVE
        | WatchMask::DELETE
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF
}

/// Whether a change is over.
#[derive(Debug, Default)]
struct Settling {
    last: Option<Instant>,
    /// Files that were written to and not closed yet, by the watch of their directory and their name.
    writing: BTreeSet<(i32, OsString)>,
}

impl Settling {
    fn note(&mut self, mask: EventMask, file: Option<(i32, OsString)>, now: Instant) {
        self.last = Some(now);
        let Some(file) = file else { return };
        if mask.contains(EventMask::MODIFY) {
            self.writing.insert(file);
        } else if mask.intersects(EventMask::CLOSE_WRITE | EventMask::MOVED_FROM | EventMask::DELETE) {
            self.writing.remove(&file);
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
        let file = |watch: i32| Some((watch, OsString::from("a.toml")));
        settling.note(EventMask::MODIFY, file(1), now);
        assert_eq!(settling.deadline(), Some(now + LONGEST_WRITE));
        settling.note(EventMask::CLOSE_WRITE, file(2), now);
        assert_eq!(settling.deadline(), Some(now + LONGEST_WRITE), "it was another directory's");
        settling.note(EventMask::CLOSE_WRITE, file(1), now);
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
        // Directories that come are watched as well, and so are those that they have in them.
        let deep = dir.path().join("sites/bonn");
        std::fs::create_dir_all(&deep).unwrap();
        timeout_at(deadline, watch.settled()).await.expect("a directory has come");
        std::fs::write(deep.join("a.toml"), "version = 1\n").unwrap();
        timeout_at(deadline, watch.settled()).await.expect("a file in it has come");
        std::fs::remove_dir_all(dir.path().join("sites")).unwrap();
        timeout_at(deadline, watch.settled()).await.expect("they have gone");
        std::fs::write(&file, "version = 1\n\n").unwrap();
        timeout_at(deadline, watch.settled()).await.expect("the directory is watched as before");
    }
}
