//! What there is to know of the feeds of the policy in force, for the API, the metrics and the health checks.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::fetch::FailureKind;
use crate::clock::rfc3339;

/// A feed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedFacts {
    /// Its name.
    pub name: String,
    /// Where it comes from.
    pub url: String,
    /// What it holds; `None`: nothing is known of it, so that it matches nothing.
    pub list: Option<ListFacts>,
    /// Its source has not said for longer than `max_age` that the list is the latest.
    pub is_stale: bool,
    /// Why the last attempt has failed, if it has.
    pub problem: Option<String>,
    /// Why its list is not on disk, if it is not: a restart would begin with the one before.
    pub unkept: Option<String>,
    /// What became of attempts since the agent started.
    pub attempts: Attempts,
}

/// A list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListFacts {
    /// Lines with an address, a prefix or a range.
    pub entries: usize,
    /// When the source has last said that it is the latest.
    pub confirmed_at: OffsetDateTime,
}

/// What became of attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Brought another list.
    pub changed: u64,
    /// Brought the same one.
    pub unchanged: u64,
    /// Failed, by kind.
    pub failed: BTreeMap<FailureKind, u64>,
}

impl FeedFacts {
    /// What an operator has to look at, if there is anything.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let Self { name, url, list, is_stale, problem, unkept, .. } = self;
        let Some(ListFacts { entries, confirmed_at }) = list else {
            let why = problem.clone().unwrap_or_else(|| format!("{url}: is being fetched"));
            return Some(format!("feed {name} has no list, so that it matches nothing: {why}"));
        };
        let since = rfc3339(*confirmed_at);
        let kept = unkept
            .as_ref()
            .map(|why| format!("could not be kept on disk ({why}): a restart begins with the one before"));
        let of_disk = kept.as_ref().map(|kept| format!(" and {kept}")).unwrap_or_default();
        let stays = format!("the list of {since} with {entries} entries stays in force{of_disk}");
        match (is_stale, problem) {
            (true, Some(problem)) => Some(format!("feed {name} is older than its `max_age`: {problem}; {stays}")),
            (true, None) => Some(format!("feed {name} is older than its `max_age`; {stays}")),
            (false, Some(problem)) => Some(format!("feed {name}: {problem}; {stays}")),
            (false, None) => kept.map(|kept| format!("feed {name}: its list of {entries} entries {kept}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_matter_with_a_feed_is_told_with_what_holds() {
        let list = ListFacts { entries: 3, confirmed_at: OffsetDateTime::UNIX_EPOCH };
        let well = FeedFacts { name: "f".to_owned(), url: "u".to_owned(), list: Some(list), ..FeedFacts::default() };
        assert_eq!(well.reason(), None);
        let failing = FeedFacts { problem: Some("u: 403".to_owned()), ..well.clone() };
        let stays = "the list of 1970-01-01T00:00:00.000Z with 3 entries stays in force";
        assert_eq!(failing.reason(), Some(format!("feed f: u: 403; {stays}")));
        let stale = FeedFacts { is_stale: true, ..failing.clone() };
        assert_eq!(stale.reason(), Some(format!("feed f is older than its `max_age`: u: 403; {stays}")));
        let unkept = FeedFacts { unkept: Some("no space".to_owned()), ..well.clone() };
        let lost = "could not be kept on disk (no space): a restart begins with the one before";
        assert_eq!(unkept.reason(), Some(format!("feed f: its list of 3 entries {lost}")));
        let both = FeedFacts { problem: Some("u: 403".to_owned()), ..unkept };
        assert_eq!(both.reason(), Some(format!("feed f: u: 403; {stays} and {lost}")));
        let empty = FeedFacts { list: None, ..failing };
        assert_eq!(empty.reason().as_deref(), Some("feed f has no list, so that it matches nothing: u: 403"));
        let new = FeedFacts { list: None, ..well };
        assert_eq!(
            new.reason().as_deref(),
            Some("feed f has no list, so that it matches nothing: u: is being fetched")
        );
    }
}
