//! The lists of feeds on their way from the agent to a plan: half a million prefixes are told in pieces, and put together again.
//!
//! In: what the policy in force judges by. Out: the same, for a policy that has the same feeds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use fw_policy::{AddressList, Feed, FeedContents, FeedKey, ListError};

use super::basis::Piece;

/// Ranges of a piece: some 100 KB.
const RANGES: usize = 4_096;

/// The lists of these feeds, in pieces. A list without an address is a piece without a range; of a feed without a list there is none.
pub fn pieces<'c>(feeds: &'c [Feed], contents: &'c FeedContents) -> impl Iterator<Item = Piece> + 'c {
    let known = feeds.iter().filter_map(|feed| {
        let key = feed.key();
        let list = contents.get(&key)?;
        Some((key, list))
    });
    known.flat_map(|(key, list)| pieces_of(&key, list))
}

fn pieces_of<'c>(feed: &FeedKey, list: &'c AddressList) -> impl Iterator<Item = Piece> + use<'c> {
    let (feed, entries) = (feed.to_string(), list.entries());
    let mut ranges = list.ranges().peekable();
    let mut is_begun = false;
    std::iter::from_fn(move || {
        if is_begun && ranges.peek().is_none() {
            return None;
        }
        is_begun = true;
        let mut text = String::new();
        ranges.by_ref().take(RANGES).for_each(|range| add(&mut text, range));
        Some(Piece { feed: feed.clone(), entries, ranges: text })
    })
}

fn add(text: &mut String, [first, last]: [IpAddr; 2]) {
    // Writing to a text cannot fail.
    let _ = if first == last { writeln!(text, "{first}") } else { writeln!(text, "{first}-{last}") };
}

/// Lists that come in pieces.
#[derive(Debug, Default)]
pub struct Lists {
    /// Entries and ranges by the key of the feed.
    pieces: BTreeMap<String, (usize, String)>,
}

impl Lists {
    /// Takes a piece.
    pub fn add(&mut self, piece: Piece) {
        let (entries, ranges) = self.pieces.entry(piece.feed).or_default();
        *entries = piece.entries;
        ranges.push_str(&piece.ranges);
    }

    /// What came of these feeds.
    ///
    /// # Errors
    /// If what came of one is no list.
    pub fn contents(&self, feeds: &[Feed]) -> Result<FeedContents, ListError> {
        let known = feeds.iter().filter_map(|feed| Some((feed.key(), self.pieces.get(feed.key().as_str())?)));
        known.map(|(key, (_, ranges))| Ok((key, AddressList::parse(ranges.as_bytes(), u32::MAX)?))).collect()
    }

    /// Entries of the list of a feed, as its source counts them; `None` if there is no list.
    #[must_use]
    pub fn entries(&self, feed: &FeedKey) -> Option<usize> {
        self.pieces.get(feed.as_str()).map(|(entries, _)| *entries)
    }
}

#[cfg(test)]
mod tests {
    use fw_policy::SourceFile;

    use super::*;

    fn feeds() -> std::sync::Arc<[Feed]> {
        let feed = |name: &str| format!("[[feed]]\nname = \"{name}\"\nurl = \"{name}.txt\"\n");
        let feeds: String = ["large", "empty", "unknown"].map(feed).concat();
        let text = format!("version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n{feeds}");
        let policy = fw_policy::load(&[SourceFile { name: "a.toml".to_owned(), text }]).unwrap();
        std::sync::Arc::clone(policy.feeds())
    }

    #[test]
    fn lists_arrive_as_they_were_sent_off() {
        let feeds = feeds();
        // Every other address, of both families, and one range: two pieces and a rest.
        let mut text: String = (0..5_000u32).map(|host| format!("{}\n", std::net::Ipv4Addr::from(host * 2))).collect();
        text.extend((0..5_000u128).map(|host| format!("{}\n", std::net::Ipv6Addr::from(host * 2))));
        text.push_str("192.0.2.5-192.0.2.9\n192.0.2.7\n");
        let large = AddressList::parse(text.as_bytes(), u32::MAX).unwrap();
        let known = [(feeds[0].key(), large.clone()), (feeds[1].key(), AddressList::default())];
        let sent = FeedContents::from_iter(known);
        let told: Vec<Piece> = pieces(&feeds, &sent).collect();
        assert_eq!(told.iter().filter(|piece| piece.feed == feeds[0].key().as_str()).count(), 3);
        let mut lists = Lists::default();
        told.into_iter().for_each(|piece| lists.add(piece));
        let came = lists.contents(&feeds).unwrap();
        assert!(came.get(&feeds[0].key()).unwrap().ranges().eq(large.ranges()));
        let entries = [0, 1, 2].map(|feed: usize| lists.entries(&feeds[feed].key()));
        assert_eq!(entries, [Some(10_002), Some(0), None]);
        assert!(came.get(&feeds[1].key()).is_some_and(|list| list.ranges().next().is_none()));
        assert!(came.get(&feeds[2].key()).is_none());
    }
}
