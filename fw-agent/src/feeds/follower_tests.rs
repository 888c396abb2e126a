use std::sync::Mutex;

use futures_util::future::BoxFuture;
use fw_policy::SourceFile;

use super::*;
use crate::feeds::fetch::{FailureKind, Fetched, Request, Source};
use crate::feeds::store::{FeedStore, Version};

/// Answers with what it holds, and notes what was asked.
#[derive(Default)]
struct Fake {
    answer: Mutex<Option<Vec<u8>>>,
    asked: Mutex<Vec<Request>>,
}

impl Source for Fake {
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Fetched, Failure>> {
        self.asked.lock().unwrap().push(request);
        let answer = self.answer.lock().unwrap().clone();
        Box::pin(async move {
            let bytes = answer.ok_or_else(|| Failure::new(FailureKind::NotFound, "u: 404"))?;
            Ok(Fetched::Object { bytes, etag: Some("\"1\"".to_owned()) })
        })
    }
}

fn feeds(names: &[&str], keys: &str) -> Arc<[Feed]> {
    let feed = |name: &&str| format!("[[feed]]\nname = \"{name}\"\nurl = \"{name}\"\n{keys}\n");
    let feeds: String = names.iter().map(feed).collect();
    let text = format!("version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n{feeds}");
    Arc::clone(fw_policy::load(&[SourceFile { name: "a.toml".to_owned(), text }]).unwrap().feeds())
}

fn follower() -> (Arc<Fake>, Follower) {
    let fake = Arc::new(Fake::default());
    let source: Arc<dyn Source> = Arc::clone(&fake) as Arc<dyn Source>;
    (fake, Follower::new(Arc::new(Holdings::new(FeedStore::default(), source))))
}

const WALL: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

#[tokio::test]
async fn a_feed_is_asked_at_once_and_not_again_before_it_is_settled() {
    let (fake, mut follower) = follower();
    let feeds = feeds(&["a"], "refresh = \"1h\"");
    assert!(follower.follow(&feeds, Instant::now(), WALL) && !follower.follow(&feeds, Instant::now(), WALL));
    *fake.answer.lock().unwrap() = Some(b"::1\n".to_vec());
    let arrival = follower.next().await;
    assert!(matches!(arrival.loaded, Ok(Loaded::List { list, .. }) if list.entries() == 1));
    let now = Instant::now();
    follower.ask(now + Duration::from_secs(7_200));
    assert!(follower.asked.is_empty(), "what was brought has to be settled first");
    follower.settle(&arrival.feed, Outcome::Changed, now, 0);
    follower.ask(now + Duration::from_secs(3_599));
    assert!(follower.asked.is_empty(), "it is not its time");
    follower.ask(now + Duration::from_secs(3_600));
    assert_eq!(follower.asked.len(), 1);
    assert_eq!(follower.facts(WALL)[0].attempts.changed, 1);
}

#[tokio::test]
async fn a_failure_is_told_until_a_success() {
    let (fake, mut follower) = follower();
    let feeds = feeds(&["a"], "");
    follower.follow(&feeds, Instant::now(), WALL);
    let Arrival { feed, loaded } = follower.next().await;
    let failure = loaded.unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotFound);
    let now = Instant::now();
    follower.settle(&feed, Outcome::Failed(failure), now, 0);
    let facts = &follower.facts(WALL)[0];
    assert_eq!((facts.problem.as_deref(), facts.list), (Some("u: 404"), None));
    assert_eq!(facts.attempts.failed, BTreeMap::from([(FailureKind::NotFound, 1)]));
    assert_eq!(follower.followed[&feed.key()].schedule.due(), now + Duration::from_secs(2));
    follower.settle(&feed, Outcome::Unchanged, now, 0);
    assert_eq!(follower.facts(WALL)[0].problem, None);
    assert_eq!(fake.asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_held_is_asked_for_by_its_version_and_when_its_time_has_come() {
    let (fake, mut follower) = follower();
    let feeds = feeds(&["a", "b"], "refresh = \"1m\"\nmax_age = \"1h\"");
    let list = fw_policy::AddressList::parse(b"::1\n", 1).unwrap();
    let version = Version::of(b"::1\n", Some("\"7\"".to_owned()));
    follower.holdings.insert(feeds[0].key(), list, version, WALL);
    let now = Instant::now();
    follower.follow(&feeds, now, WALL + Duration::from_secs(45));
    assert_eq!(follower.followed[&feeds[0].key()].schedule.due(), now + Duration::from_secs(15));
    follower.ask(now);
    assert_eq!(follower.asked.len(), 1, "only the one of which nothing is known");
    follower.ask(now + Duration::from_secs(15));
    assert_eq!(follower.asked.len(), 2);
    while follower.asked.join_next().await.is_some() {}
    let etags: BTreeSet<Option<String>> = fake.asked.lock().unwrap().iter().map(|asked| asked.etag.clone()).collect();
    assert_eq!(etags, BTreeSet::from([None, Some("\"7\"".to_owned())]));
    let is_stale = |seconds| follower.facts(WALL + Duration::from_secs(seconds))[0].is_stale;
    assert!(!is_stale(3_600) && is_stale(3_601));
}

#[tokio::test]
async fn another_policy_keeps_what_is_known_of_its_feeds_and_drops_the_rest() {
    let (_fake, mut follower) = follower();
    let now = Instant::now();
    let first = feeds(&["a", "b"], "refresh = \"1m\"");
    follower.follow(&first, now, WALL);
    follower.settle(&first[0], Outcome::Unchanged, now, 0);
    follower.follow(&feeds(&["a"], "refresh = \"2m\""), now, WALL);
    assert!(follower.follows(&first[0]) && !follower.follows(&first[1]));
    assert_eq!(follower.facts(WALL)[0].attempts.unchanged, 1);
    follower.settle(&first[0], Outcome::Unchanged, now, 0);
    assert_eq!(follower.followed[&first[0].key()].schedule.due(), now + Duration::from_secs(120), "the new rhythm");
}

#[tokio::test]
async fn not_all_sources_are_asked_at_once() {
    let (_fake, mut follower) = follower();
    let names = ["a", "b", "c", "d", "e", "f"];
    follower.follow(&feeds(&names, ""), Instant::now(), WALL);
    follower.ask(Instant::now());
    assert_eq!(follower.asked.len(), AT_ONCE);
    let mut seen = BTreeSet::new();
    for _ in names {
        let Arrival { feed, loaded } = follower.next().await;
        follower.settle(&feed, Outcome::Failed(loaded.unwrap_err()), Instant::now(), 0);
        seen.insert(feed.name().to_owned());
    }
    assert_eq!(seen.len(), names.len(), "and each has its turn");
}

#[tokio::test]
async fn a_policy_begins_with_the_feeds_that_it_can_have() {
    let (fake, follower) = follower();
    let all = feeds(&["a", "b"], "");
    *fake.answer.lock().unwrap() = Some(b"::1\n".to_vec());
    let but = BTreeSet::from([all[1].key()]);
    follower.holdings.fetch_missing(&all, &but, Duration::from_secs(60)).await;
    assert!(follower.holdings.held(&all[0].key()).is_some(), "nobody keeps it fresh yet");
    assert!(follower.holdings.held(&all[1].key()).is_none(), "somebody does");
    let asked = fake.asked.lock().unwrap().len();
    follower.holdings.fetch_missing(&all, &but, Duration::from_secs(60)).await;
    assert_eq!(fake.asked.lock().unwrap().len(), asked, "it is there");
}

#[test]
fn what_nobody_wants_is_forgotten_and_nothing_else_changes() {
    let holdings = Holdings::default();
    let feeds = feeds(&["a", "b"], "");
    for feed in feeds.iter() {
        let list = fw_policy::AddressList::parse(b"::1\n", 1).unwrap();
        holdings.insert(feed.key(), list, Version::default(), WALL);
    }
    let before = holdings.contents();
    holdings.forget_all_but(&feeds.iter().map(Feed::key).collect());
    assert!(
        Arc::ptr_eq(&before, &holdings.contents()),
        "a policy that was checked with them need not be compiled again"
    );
    holdings.forget_all_but(&BTreeSet::from([feeds[1].key()]));
    assert!(holdings.held(&feeds[0].key()).is_none() && holdings.contents().get(&feeds[0].key()).is_none());
    assert!(holdings.held(&feeds[1].key()).is_some() && holdings.contents().get(&feeds[1].key()).is_some());
}
