//! What the server's connections share: the world, who may ask, what goes wrong, and what was asked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use time::OffsetDateTime;

use super::credentials::Credentials;
use super::faults::{Faults, Region};
use super::model::{History, Time, World};

/// Somebody who may ask, by access key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account.
    pub account: String,
    /// The session token that must come with the key.
    pub session: Option<String>,
    /// Actions that the caller is not allowed.
    pub denied: BTreeSet<String>,
    /// When the credentials expire.
    pub expires: Option<Time>,
}

impl Caller {
    /// Somebody of an account who may do everything.
    #[must_use]
    pub fn of(account: &str) -> Self {
        Self { account: account.to_owned(), session: None, denied: BTreeSet::new(), expires: None }
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done and answered.
    Done,
    /// It was refused with this code.
    Refused(String),
    /// It was done, and the answer was lost.
    AnswerLost,
    /// It was neither done nor answered.
    Lost,
}

/// A call as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// When.
    pub at: Time,
    /// The access key.
    pub key: String,
    /// The service, as requests for it are signed: `ec2`, `autoscaling`, `monitoring`, `outposts`.
    pub service: String,
    /// The action.
    pub action: String,
    /// Its parameters.
    pub parameters: BTreeMap<String, String>,
    /// How it ended.
    pub outcome: Outcome,
}

/// All of it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) region_name: String,
    pub(super) region: Region,
    /// What the listening socket has followed of it.
    pub(super) followed: Region,
    pub(super) history: History,
    pub(super) callers: BTreeMap<String, Caller>,
    pub(super) faults: Faults,
    pub(super) log: Vec<Logged>,
    pub(super) started: Instant,
    pub(super) began: OffsetDateTime,
    pub(super) requests: u64,
    pub(super) credentials: Credentials,
}

impl State {
    pub(super) fn new(region_name: &str, world: World, callers: BTreeMap<String, Caller>) -> Self {
        Self {
            region_name: region_name.to_owned(),
            region: Region::Up,
            followed: Region::Up,
            history: History::new(world),
            callers,
            faults: Faults::default(),
            log: Vec::new(),
            started: Instant::now(),
            began: OffsetDateTime::now_utc(),
            requests: 0,
            credentials: Credentials::default(),
        }
    }

    pub(super) fn now(&self) -> Time {
        self.started.elapsed()
    }
}
