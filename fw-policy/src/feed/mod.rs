//! Feeds: address sets whose contents come from elsewhere, and change while the rules stay.
//!
//! A policy says where a feed comes from and what may come of it ([`Feed`]). What it holds is no part of the policy: whoever fetches it
//! reads it ([`AddressList`]) and hands it in ([`FeedContents`]). A feed of which nothing is known is an empty set: it matches nothing.

mod list;
mod url;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::set::address::AddressSet;
use crate::source::Location;

pub use list::{AddressList, ListError};
pub use url::{FeedUrl, UrlFault, is_bucket};

/// `[[feed]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    pub(crate) name: String,
    pub(crate) url: FeedUrl,
    pub(crate) refresh: u32,
    pub(crate) max_entries: u32,
    pub(crate) max_age: u32,
    pub(crate) max_bytes: u32,
    pub(crate) integrity: Integrity,
    pub(crate) at: Location,
}

/// How it is told that a list is what its author has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// By nothing but the way that it comes.
    Transport,
    /// By its SHA-256: it is always the same list.
    Sha256([u8; 32]),
    /// By a signature of minisign.
    Minisign {
        /// Where the signature is.
        signature: FeedUrl,
        /// The key that must have made it, in base64.
        public_key: String,
    },
}

impl Feed {
    /// The name, by which rules and sets name it: `@name`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it comes from.
    #[must_use]
    pub const fn url(&self) -> &FeedUrl {
        &self.url
    }

    /// How often it is looked at, in seconds.
    #[must_use]
    pub const fn refresh(&self) -> u32 {
        self.refresh
    }

    /// The most prefixes, ranges and addresses that it may have.
    #[must_use]
    pub const fn max_entries(&self) -> u32 {
        self.max_entries
    }

    /// From which age on it is too old, in seconds since its source has last said that it is the latest.
    #[must_use]
    pub const fn max_age(&self) -> u32 {
        self.max_age
    }

    /// The largest list that is read, in bytes.
    #[must_use]
    pub const fn max_bytes(&self) -> u32 {
        self.max_bytes
    }

    /// How it is told that a list is what its author has made.
    #[must_use]
    pub const fn integrity(&self) -> &Integrity {
        &self.integrity
    }

    /// What its contents are known by. They are not those of a feed of the same name that comes from elsewhere, nor of one of which
    /// something else vouches.
    #[must_use]
    pub fn key(&self) -> FeedKey {
        let mut hash = Sha256::new();
        hash.update(self.url.to_string());
        match &self.integrity {
            Integrity::Transport => {}
            Integrity::Sha256(digest) => {
                hash.update("\nsha256 ");
                hash.update(digest);
            }
            // Not where the signature is: whoever holds the key vouches for the list.
            Integrity::Minisign { public_key, .. } => {
                hash.update("\nminisign ");
                hash.update(public_key);
            }
        }
        let digest: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        FeedKey(format!("{}.{digest}", self.name))
    }
}

/// What the contents of a feed are known by: its name, and 16 hexadecimal digits that stand for where it comes from and what vouches for
/// it. Good as the name of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeedKey(String);

impl FeedKey {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FeedKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What is known of feeds. Copies share the lists.
#[derive(Clone, Debug, Default)]
pub struct FeedContents {
    lists: BTreeMap<FeedKey, AddressList>,
}

impl FeedContents {
    /// Notes what a feed holds now.
    pub fn insert(&mut self, feed: FeedKey, list: AddressList) {
        self.lists.insert(feed, list);
    }

    /// What a feed holds; `None` if nothing is known of it.
    #[must_use]
    pub fn get(&self, feed: &FeedKey) -> Option<&AddressList> {
        self.lists.get(feed)
    }

    /// Forgets feeds that are not wanted.
    pub fn retain(&mut self, wanted: impl Fn(&FeedKey) -> bool) {
        self.lists.retain(|key, _| wanted(key));
    }

    /// What a feed matches.
    pub(crate) fn set(&self, feed: &Feed) -> Arc<AddressSet> {
        self.get(&feed.key()).map(|list| Arc::clone(&list.set)).unwrap_or_default()
    }
}

impl FromIterator<(FeedKey, AddressList)> for FeedContents {
    fn from_iter<I: IntoIterator<Item = (FeedKey, AddressList)>>(lists: I) -> Self {
        Self { lists: lists.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(url: &str, integrity: Integrity) -> Feed {
        Feed {
            name: "f".to_owned(),
            url: FeedUrl::parse(url).unwrap(),
            refresh: 1,
            max_entries: 1,
            max_age: 1,
            max_bytes: 1,
            integrity,
            at: Location { file: 0, start: 0, end: 0 },
        }
    }

    #[test]
    fn contents_are_those_of_a_place_and_of_what_vouches_for_them() {
        let minisign = |key: &str| Integrity::Minisign {
            signature: FeedUrl::parse("a.minisig").unwrap(),
            public_key: key.to_owned(),
        };
        let keys = [
            feed("a", Integrity::Transport),
            feed("b", Integrity::Transport),
            feed("a", Integrity::Sha256([1; 32])),
            feed("a", Integrity::Sha256([2; 32])),
            feed("a", minisign("1")),
            feed("a", minisign("2")),
        ]
        .map(|feed| feed.key());
        for (position, key) in keys.iter().enumerate() {
            assert!(!keys[..position].contains(key), "{position}");
        }
        assert_eq!(keys[0], Feed { refresh: 9, max_entries: 9, ..feed("a", Integrity::Transport) }.key());
        assert!(keys[0].as_str().starts_with("f.") && keys[0].as_str().len() == 18, "{}", keys[0]);
    }
}
