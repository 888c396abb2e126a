//! By which lists of feeds a plan judges, and which ones it does not know.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fw_policy::{Feed, FeedContents, FeedKey};
use serde::Serialize;

use crate::cli::policy::feeds;
use crate::plan::lists::Lists;

/// A feed, and what the plan knows of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct FeedList {
    /// Its name.
    pub(super) feed: String,
    /// Where its list comes from.
    pub(super) url: String,
    /// Which policy has it. One with another `url`, digest or key is another feed.
    pub(super) policy: Side,
    /// Entries of its list; none if that is not known, and counted as empty.
    pub(super) entries: Option<usize>,
}

/// Which of the policies has a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Side {
    Old,
    New,
    Both,
}

/// What is known of feeds. Both policies are judged by the same list of a feed that both have.
#[derive(Debug, Default)]
pub(super) struct Known {
    contents: FeedContents,
    entries: BTreeMap<FeedKey, usize>,
    /// Feeds of the running policy: what it holds of them is known, also that it holds nothing.
    running: BTreeSet<FeedKey>,
}

impl Known {
    /// What a running policy holds of its feeds.
    pub(super) fn running(feeds: &[Feed], lists: &Lists, contents: FeedContents) -> Self {
        let running: BTreeSet<FeedKey> = feeds.iter().map(Feed::key).collect();
        let entries = running.iter().filter_map(|key| Some((key.clone(), lists.entries(key)?)));
        Self { contents, entries: entries.collect(), running }
    }

    /// Reads the lists of other feeds from a directory.
    pub(super) fn read(&mut self, directory: &Path, feeds: &[Feed]) -> anyhow::Result<()> {
        let others: Vec<Feed> = feeds.iter().filter(|feed| !self.running.contains(&feed.key())).cloned().collect();
        let found = feeds::read(directory, &others)?;
        for key in others.iter().map(Feed::key) {
            if let Some(list) = found.get(&key) {
                self.entries.insert(key.clone(), list.entries());
                self.contents.insert(key, list.clone());
            }
        }
        Ok(())
    }

    pub(super) const fn contents(&self) -> &FeedContents {
        &self.contents
    }

    /// The feeds of both policies, those of the old one first.
    pub(super) fn told(&self, old: &[Feed], new: &[Feed]) -> Vec<FeedList> {
        let [of_old, of_new] = [old, new].map(|feeds| feeds.iter().map(Feed::key).collect::<BTreeSet<_>>());
        let only_new = new.iter().filter(|feed| !of_old.contains(&feed.key()));
        let told = old.iter().chain(only_new).map(|feed| {
            let key = feed.key();
            FeedList {
                feed: feed.name().to_owned(),
                url: feed.url().to_string(),
                policy: match (of_old.contains(&key), of_new.contains(&key)) {
                    (true, true) => Side::Both,
                    (true, false) => Side::Old,
                    (false, _) => Side::New,
                },
                entries: self.entries.get(&key).copied(),
            }
        });
        told.collect()
    }
}
