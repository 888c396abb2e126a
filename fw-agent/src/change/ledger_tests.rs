use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use fw_policy::SourceFile;

fn digest(content: u8) -> Digest {
    Digest::of(&[SourceFile { name: "a.toml".to_owned(), text: content.to_string() }])
}

fn record(content: u8) -> Record {
    let who = Who::agent("test");
    Record {
        digest: digest(content),
        files: vec!["a.toml".to_owned()],
        applied_at: String::new(),
        who,
        tests_passed: 0,
    }
}

fn now(at: u64) -> Moment {
    Moment { boot: "first".to_owned(), at }
}

fn term(from: u64, time: u64) -> Option<Term> {
    Some(Term { from: now(from), time: Duration::from_millis(time), until_wall: String::new(), witnesses: Vec::new() })
}

fn offer(content: u8) -> Offer {
    Offer { digest: digest(content), declared: None }
}

/// Revision 1 is confirmed, with the content 1.
fn first() -> Ledger {
    let mut ledger = Ledger::default();
    ledger.begin(1, record(1), term(0, 100));
    ledger
}

#[test]
fn the_first_policy_is_confirmed_because_there_is_nothing_to_go_back_to() {
    let ledger = first();
    assert_eq!((ledger.confirmed(), ledger.trial()), (Some(1), None));
}

#[test]
fn what_is_not_confirmed_in_time_goes_back_and_is_not_taken_again() {
    let mut ledger = first();
    assert_eq!(ledger.judge(offer(2), false), Verdict::New(2));
    ledger.begin(2, record(2), term(0, 100));
    assert_eq!((ledger.in_force(), ledger.confirmed()), (Some(2), Some(1)));
    assert_eq!(ledger.judge(offer(3), true), Verdict::Waiting(2));
    assert_eq!(ledger.expire(&now(99)), None);
    assert_eq!(ledger.expire(&now(100)), Some(WayBack { from: 2, to: 1 }));
    assert_eq!(ledger.in_force(), Some(1));
    assert_eq!(ledger.judge(offer(2), false), Verdict::Quarantined(2));
    assert_eq!(ledger.judge(offer(3), false), Verdict::New(3), "other files are taken");
}

#[test]
fn a_trial_does_not_outlive_a_reboot() {
    let mut ledger = first();
    ledger.begin(2, record(2), term(0, 100));
    let rebooted = Moment { boot: "second".to_owned(), at: 1 };
    assert_eq!(ledger.expire(&rebooted), Some(WayBack { from: 2, to: 1 }));
}

#[test]
fn quarantine_ends_with_a_higher_revision_or_with_who_means_it() {
    let mut ledger = first();
    ledger.begin(2, record(2), term(0, 100));
    ledger.roll_back(None).unwrap();
    for declared in [1, 2] {
        let offer = Offer { declared: Some(declared), ..offer(2) };
        assert_eq!(ledger.judge(offer, false), Verdict::Quarantined(2));
    }
    // Other files have come since, which changes nothing for these.
    ledger.begin(3, record(3), None);
    assert_eq!(ledger.judge(offer(2), false), Verdict::Quarantined(2));
    assert_eq!(ledger.judge(offer(2), true), Verdict::New(4));
    assert_eq!(ledger.judge(Offer { declared: Some(9), ..offer(2) }, false), Verdict::New(9));
    ledger.begin(9, record(2), None);
    assert!(!ledger.is_quarantined(digest(2)));
}

#[test]
fn a_declared_revision_only_goes_up() {
    let mut ledger = first();
    let declared = |content, declared| Offer { declared: Some(declared), ..offer(content) };
    assert_eq!(ledger.judge(declared(2, 7), false), Verdict::New(7));
    ledger.begin(7, record(2), None);
    assert_eq!(ledger.judge(declared(3, 7), false), Verdict::Stale { declared: 7, highest: 7 });
    assert!(ledger.note_declared(Some(9)), "the files in force have come as revision 9");
    assert_eq!(ledger.judge(declared(3, 8), true), Verdict::Stale { declared: 8, highest: 9 });
    assert_eq!(ledger.judge(offer(3), false), Verdict::New(10));
}

#[test]
fn only_the_revision_that_is_meant_is_confirmed() {
    let mut ledger = first();
    assert_eq!(ledger.confirm(None), Err(ChangeError::NothingWaits));
    ledger.begin(2, record(2), term(0, 100));
    assert_eq!(ledger.confirm(Some(1)), Err(ChangeError::AnotherWaits(2)));
    assert_eq!(ledger.confirm(Some(2)), Ok(2));
    assert_eq!(ledger.expire(&now(1_000)), None);
}

#[test]
fn a_rollback_goes_to_a_revision_or_to_the_one_before() {
    let mut ledger = first();
    ledger.begin(2, record(2), None);
    ledger.begin(3, record(3), None);
    assert_eq!(ledger.roll_back(Some(3)), Err(ChangeError::InForce(3)));
    assert_eq!(ledger.roll_back(Some(7)), Err(ChangeError::Unknown(7)));
    assert_eq!(ledger.roll_back(None), Ok(WayBack { from: 3, to: 2 }));
    assert_eq!(ledger.roll_back(Some(3)), Err(ChangeError::Quarantined(3)));
    assert_eq!(ledger.roll_back(Some(1)), Ok(WayBack { from: 2, to: 1 }));
    assert_eq!(ledger.roll_back(None), Err(ChangeError::NoneBefore));
}

#[test]
fn what_is_needed_is_kept_whatever_the_number() {
    let mut ledger = first();
    (2..6).for_each(|revision| ledger.begin(revision, record(u8::try_from(revision).unwrap()), None));
    ledger.begin(6, record(6), term(0, 100));
    assert_eq!(ledger.prune(2), [1, 2, 3, 4]);
    ledger.roll_back(None).unwrap();
    assert_eq!(ledger.prune(0), [6]);
    assert_eq!((ledger.in_force(), ledger.judge(offer(6), false)), (Some(5), Verdict::Quarantined(6)));
}

#[derive(Clone, Debug)]
enum Event {
    Arrives { content: u8, declared: Option<u64>, again: bool, time: Option<u64> },
    Confirm,
    RollBack(Option<u64>),
    TimePasses(u64),
    Reboot,
    Crash,
    Prune(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let arrives = (0..5u8, proptest::option::weighted(0.2, 0..40u64), any::<bool>(), proptest::option::of(1..300u64))
        .prop_map(|(content, declared, again, time)| Event::Arrives { content, declared, again, time });
    prop_oneof![
        4 => arrives,
        1 => Just(Event::Confirm),
        1 => proptest::option::of(0..40u64).prop_map(Event::RollBack),
        3 => (0..200u64).prop_map(Event::TimePasses),
        1 => Just(Event::Reboot),
        1 => Just(Event::Crash),
        1 => (0..4usize).prop_map(Event::Prune),
    ]
}

/// The ledger beside what a plain reader of the rules would expect of it.
#[derive(Default)]
struct World {
    ledger: Ledger,
    boot: u32,
    at: u64,
    /// The end of what is tried.
    deadline: Option<u64>,
    highest: u64,
    /// What was applied as which revision.
    contents: BTreeMap<u64, u8>,
    /// Contents that were rolled back, and have not been meant since.
    away: BTreeSet<u8>,
}

impl World {
    fn now(&self) -> Moment {
        Moment { boot: self.boot.to_string(), at: self.at }
    }

    fn step(&mut self, event: &Event) {
        match *event {
            Event::Arrives { content, declared, again, time } => {
                let offer = Offer { digest: digest(content), declared };
                if let Verdict::New(revision) = self.ledger.judge(offer, again) {
                    assert!(revision > self.highest, "revisions only go up");
                    let is_meant = again || declared == Some(revision);
                    assert!(is_meant || !self.away.contains(&content), "what was rolled back is taken again");
                    self.away.remove(&content);
                    let time = time.map(Duration::from_millis);
                    let term = time.map(|time| Term {
                        from: self.now(),
                        time,
                        until_wall: String::new(),
                        witnesses: Vec::new(),
                    });
                    self.ledger.begin(revision, record(content), term);
                    self.highest = revision;
                    self.contents.insert(revision, content);
                    self.deadline = self.ledger.trial().map(|trial| trial.until);
                }
            }
            Event::Confirm => drop(self.ledger.confirm(None)),
            Event::RollBack(to) => {
                let way = self.ledger.roll_back(to);
                self.note(way.ok());
            }
            Event::TimePasses(time) => self.at += time,
            Event::Reboot => (self.boot, self.at) = (self.boot + 1, 0),
            Event::Crash => {
                let kept = serde_json::to_string(&self.ledger).unwrap();
                self.ledger = serde_json::from_str(&kept).unwrap();
            }
            Event::Prune(keep) => drop(self.ledger.prune(keep)),
        }
        // As the agent does at a start and whenever time may have passed.
        let way = self.ledger.expire(&self.now());
        self.note(way);
    }

    fn note(&mut self, way: Option<WayBack>) {
        self.away.extend(way.map(|way| self.contents[&way.from]));
    }

    fn check(&self) {
        let Some(in_force) = self.ledger.in_force() else {
            return assert!(self.contents.is_empty(), "nothing is in force");
        };
        let record = self.ledger.record(in_force).expect("what judges packets is kept");
        assert_eq!(record.digest, digest(self.contents[&in_force]));
        assert!(!self.away.contains(&self.contents[&in_force]), "what was rolled back judges packets");
        let confirmed = self.ledger.confirmed().expect("there is a confirmed policy");
        assert!(self.ledger.record(confirmed).is_some(), "the confirmed policy is kept");
        assert!(!self.away.contains(&self.contents[&confirmed]), "what was rolled back is what a start goes back to");
        if let Some(trial) = self.ledger.trial() {
            assert_eq!(Some(trial.until), self.deadline, "the deadline does not move");
            assert!(self.at < trial.until && trial.boot == self.boot.to_string(), "past its deadline");
            assert_eq!(Some(trial.previous), self.ledger.confirmed());
            assert!(self.ledger.record(trial.previous).is_some(), "the way back is kept");
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_nothing_unconfirmed_outlasts_its_time_and_nothing_rolled_back_is_in_force(
        events in proptest::collection::vec(event(), 1..60)
    ) {
        let mut world = World::default();
        for event in &events {
            world.step(event);
            world.check();
        }
    }
}
