//! What is known of feeds: of those of the policy in force, and of any other that was looked at.
//!
//! Policies are checked beside the agent's own task, which changes lists meanwhile, so that what is known comes as a whole that does not
//! change any more ([`Holdings::contents`]): two are the same exactly if they are the same allocation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fw_policy::{AddressList, Feed, FeedContents, FeedKey};
use time::OffsetDateTime;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::timeout;

use super::fetch::{Failure, Source};
use super::load::{Loaded, load};
use super::store::{FeedStore, Kept, Version};

/// From when on it is told that the disk is busy with a list.
const SLOW: Duration = Duration::from_secs(5);

/// A list that is known.
#[derive(Clone, Debug)]
pub struct Held {
    /// Which version it is.
    pub version: Version,
    /// Lines with an address, a prefix or a range.
    pub entries: usize,
    /// When the source has last said that it is the latest.
    pub confirmed_at: OffsetDateTime,
}

/// All that is known, and where it is kept and comes from.
#[derive(Default)]
pub struct Holdings {
    store: FeedStore,
    source: Option<Arc<dyn Source>>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    contents: Arc<FeedContents>,
    held: BTreeMap<FeedKey, Held>,
    /// Lists in force that the disk has not taken.
    unkept: BTreeMap<FeedKey, Unkept>,
    /// Feeds with which the disk is busy, and since when.
    writing: BTreeMap<FeedKey, Instant>,
}

/// A list that the disk has not taken.
struct Unkept {
    /// As it came.
    bytes: Vec<u8>,
    version: Version,
    why: String,
}

impl Known {
    /// Whether nothing else of the feed is being written. One at a time: they would be in each other's way, and a disk that does not
    /// answer holds one thread of a feed up and not all.
    fn begin_to_write(&mut self, feed: &FeedKey) -> bool {
        let is_free = !self.writing.contains_key(feed);
        if is_free {
            self.writing.insert(feed.clone(), Instant::now());
        }
        is_free
    }
}

impl fmt::Debug for Holdings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holdings").field("store", &self.store).field("held", &self.known().held).finish_non_exhaustive()
    }
}

impl Holdings {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(store: FeedStore, source: Arc<dyn Source>) -> Self {
        Self { store, source: Some(source), known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known.
    #[must_use]
    pub fn contents(&self) -> Arc<FeedContents> {
        Arc::clone(&self.known().contents)
    }

    /// What is known of a feed.
    #[must_use]
    pub fn held(&self, feed: &FeedKey) -> Option<Held> {
        self.known().held.get(feed).cloned()
    }

    /// Where the lists are kept.
    #[must_use]
    pub const fn store(&self) -> &FeedStore {
        &self.store
    }

    /// Where the lists come from.
    #[must_use]
    pub fn source(&self) -> Option<Arc<dyn Source>> {
        self.source.clone()
    }

    /// This is what a feed holds from now on.
    pub fn insert(&self, feed: FeedKey, list: AddressList, version: Version, confirmed_at: OffsetDateTime) {
        let mut known = self.known();
        let mut contents = FeedContents::clone(&known.contents);
        known.held.insert(feed.clone(), Held { version, entries: list.entries(), confirmed_at });
        contents.insert(feed, list);
        known.contents = Arc::new(contents);
    }

    /// Forgets feeds that nobody wants: should somebody, they are on the disk.
    pub fn forget_all_but(&self, wanted: &BTreeSet<FeedKey>) {
        let mut known = self.known();
        let count = known.held.len();
        known.held.retain(|key, _| wanted.contains(key));
        known.unkept.retain(|key, _| wanted.contains(key));
        if known.held.len() < count {
            let mut contents = FeedContents::clone(&known.contents);
            contents.retain(|key| wanted.contains(key));
            known.contents = Arc::new(contents);
        }
    }

    /// What is held of a feed is still the latest.
    pub fn confirm(&self, feed: &FeedKey, etag: Option<String>, at: OffsetDateTime) {
        if let Some(held) = self.known().held.get_mut(feed) {
            held.version.etag = etag;
            held.confirmed_at = at;
        }
    }

    /// Reads what is on disk of feeds of which nothing is known. May take as long as the disk does.
    pub fn recall(&self, feeds: &[Feed]) {
        for feed in feeds.iter().filter(|feed| self.held(&feed.key()).is_none()) {
            match self.store.recall(feed) {
                Ok(Some(Kept { list, version, confirmed_at })) => {
                    tracing::info!(
                        feed = feed.name(),
                        entries = list.entries(),
                        "took up the list that was kept of a feed"
                    );
                    self.insert(feed.key(), list, version, confirmed_at);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(feed = feed.name(), %error, "the list that was kept of a feed cannot be taken: it is fetched again");
                }
            }
        }
    }

    /// Fetches feeds of which nothing is known, so that a policy begins with its lists and not for a moment without them. What does not
    /// come in time, or at all, is left to whoever keeps feeds fresh. `but`: feeds that somebody keeps fresh already.
    pub async fn fetch_missing(self: &Arc<Self>, feeds: &[Feed], but: &BTreeSet<FeedKey>, within: Duration) {
        let Some(source) = &self.source else { return };
        let mut fetches = JoinSet::new();
        for feed in feeds.iter().filter(|feed| self.held(&feed.key()).is_none() && !but.contains(&feed.key())) {
            let (source, feed) = (Arc::clone(source), feed.clone());
            fetches.spawn(async move {
                let loaded = load(&*source, &feed, None).await;
                (feed, loaded)
            });
        }
        let all = async {
            while let Some(fetched) = fetches.join_next().await {
                let Ok((feed, loaded)) = fetched else { continue };
                self.take_first(&feed, loaded);
            }
        };
        if timeout(within, all).await.is_err() {
            tracing::warn!(
                seconds = within.as_secs(),
                "not all feeds of a policy came in time: it begins without them"
            );
        }
    }

    fn take_first(self: &Arc<Self>, feed: &Feed, loaded: Result<Loaded, Failure>) {
        match loaded {
            Ok(Loaded::List { list, bytes, version }) => {
                tracing::info!(feed = feed.name(), entries = list.entries(), "fetched a feed");
                self.insert(feed.key(), list, version.clone(), OffsetDateTime::now_utc());
                drop(self.keep(feed, bytes, version));
            }
            Ok(Loaded::Unchanged(_)) => {}
            Err(failure) => tracing::warn!(feed = feed.name(), problem = %failure, "a feed could not be fetched"),
        }
    }

    /// Keeps a list on disk, which may take as long as the disk does: nobody has to wait for the task that is returned. One that cannot
    /// be kept is in force all the same, and is remembered for another attempt: until then a restart would begin with the one before.
    /// So is one that comes while the disk is busy with the feed; then there is no task.
    pub fn keep(self: &Arc<Self>, feed: &Feed, bytes: Vec<u8>, version: Version) -> Option<JoinHandle<()>> {
        let (holdings, key) = (Arc::clone(self), feed.key());
        let mut known = self.known();
        if !known.begin_to_write(&key) {
            let why = "the disk is still busy with the list before".to_owned();
            known.unkept.insert(key, Unkept { bytes, version, why });
            return None;
        }
        drop(known);
        let name = feed.name().to_owned();
        Some(spawn_blocking(move || {
            let kept = holdings.store.keep(&key, &bytes, &version);
            let mut known = holdings.known();
            known.writing.remove(&key);
            let Err(error) = kept else { return };
            let why = error.to_string();
            // Not in the place of a newer one that has come meanwhile.
            known.unkept.entry(key).or_insert(Unkept { bytes, version, why });
            drop(known);
            tracing::error!(
                feed = name,
                %error,
                "the list of a feed could not be kept on disk: tried again when its source is asked next"
            );
        }))
    }

    /// Notes on disk that the list there is still the latest, if the disk is not busy with the feed: then it is another one.
    pub fn keep_time(self: &Arc<Self>, feed: &FeedKey, at: OffsetDateTime) {
        if !self.known().begin_to_write(feed) {
            return;
        }
        let (holdings, key) = (Arc::clone(self), feed.clone());
        drop(spawn_blocking(move || {
            let noted = holdings.store.confirm(&key, at);
            holdings.known().writing.remove(&key);
            if let Err(error) = noted {
                tracing::debug!(%error, feed = %key, "the time of a feed could not be written");
            }
        }));
    }

    /// A list in force that the disk has not taken.
    pub fn take_unkept(&self, feed: &FeedKey) -> Option<(Vec<u8>, Version)> {
        self.known().unkept.remove(feed).map(|Unkept { bytes, version, .. }| (bytes, version))
    }

    /// Why the disk has not taken the list of a feed that is in force, if it has not.
    #[must_use]
    pub fn why_unkept(&self, feed: &FeedKey) -> Option<String> {
        let known = self.known();
        let unkept = known.unkept.get(feed).map(|unkept| unkept.why.clone());
        let since = known.writing.get(feed).filter(|since| since.elapsed() > SLOW);
        unkept.or_else(|| since.map(|_| "the disk has been busy with it for long".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::feeds::file::Files;

    fn feed() -> Feed {
        let text = "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n[[feed]]\nname = \"f\"\nurl = \"a\"\n";
        let file = fw_policy::SourceFile { name: "a.toml".to_owned(), text: text.to_owned() };
        fw_policy::load(&[file]).unwrap().feeds()[0].clone()
    }

    #[tokio::test]
    async fn a_list_that_the_disk_does_not_take_waits_for_another_attempt() {
        let feed = feed();
        let dir = tempfile::tempdir().unwrap();
        let store = FeedStore::at(dir.path());
        let holdings = Arc::new(Holdings::new(store.clone(), Arc::new(Files::below(dir.path().to_owned()))));
        let (old, new) = (b"::1\n".to_vec(), b"::2\n".to_vec());
        holdings.keep(&feed, old.clone(), Version::of(&old, None)).unwrap().await.unwrap();
        assert!(holdings.take_unkept(&feed.key()).is_none());
        // In the place of the directory is something else, which refuses every user.
        let (place, aside) = (dir.path().join("feeds"), dir.path().join("aside"));
        fs::rename(&place, &aside).unwrap();
        fs::write(&place, "").unwrap();
        holdings.keep(&feed, new.clone(), Version::of(&new, None)).unwrap().await.unwrap();
        assert!(holdings.why_unkept(&feed.key()).is_some_and(|why| why.contains("File exists")));
        fs::remove_file(&place).unwrap();
        fs::rename(&aside, &place).unwrap();
        assert!(store.recall(&feed).unwrap().unwrap().list.contains("::1".parse().unwrap()), "the old one is there");
        let (bytes, version) = holdings.take_unkept(&feed.key()).unwrap();
        holdings.keep(&feed, bytes, version).unwrap().await.unwrap();
        assert!(store.recall(&feed).unwrap().unwrap().list.contains("::2".parse().unwrap()));
        assert!(holdings.take_unkept(&feed.key()).is_none() && holdings.why_unkept(&feed.key()).is_none());
    }
    #[tokio::test]
    async fn a_list_that_comes_while_another_one_is_written_waits_for_another_attempt() {
        let feed = feed();
        let dir = tempfile::tempdir().unwrap();
        let holdings =
            Arc::new(Holdings::new(FeedStore::at(dir.path()), Arc::new(Files::below(dir.path().to_owned()))));
        assert!(holdings.known().begin_to_write(&feed.key()));
        assert!(holdings.keep(&feed, b"::2\n".to_vec(), Version::of(b"::2\n", None)).is_none());
        assert!(holdings.store.recall(&feed).unwrap().is_none());
        assert_eq!(holdings.why_unkept(&feed.key()).as_deref(), Some("the disk is still busy with the list before"));
        holdings.known().writing.clear();
        let (bytes, version) = holdings.take_unkept(&feed.key()).unwrap();
        holdings.keep(&feed, bytes, version).unwrap().await.unwrap();
        assert!(holdings.store.recall(&feed).unwrap().is_some() && holdings.known().writing.is_empty());
    }
}
