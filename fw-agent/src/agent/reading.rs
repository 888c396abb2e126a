//! Reads and checks the files beside the supervisor, which follows the kernel meanwhile: git may hold its lock for long, and a file
//! system may never answer.
//!
//! One reading goes on at a time. What is asked for meanwhile is done behind it and at once, because files may have changed after
//! they were read. A reading that does not end keeps nobody: its thread is left alone when the agent ends.

use std::collections::BTreeSet;
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fw_policy::{Compiled, FeedKey};
use time::OffsetDateTime;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::RunError;
use super::changes::{self, Standing};
use super::feeds;
use super::policy::{Attempt, SharedChecker, Weighed, check};
use crate::api::change::{ApplyWish, Changed};
use crate::api::server::ReloadRequest;
use crate::change::bundle::{self, Bundle};
use crate::change::ledger::Verdict;
use crate::change::who::Who;
use crate::config::{AgentConfig, ConfigError};
use crate::files::Place;
use crate::policy_set::{self, PolicyError};

/// How long reading may take before that is told.
const SLOW: Duration = Duration::from_secs(3);
/// How long whoever has asked is kept waiting for files that are not read.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// How often a reading that takes long is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long a directory that is being changed is waited for.
const LONGEST_FLUX: Duration = Duration::from_secs(10);
/// How often it is looked at.
const FLUX_ROUND: Duration = Duration::from_millis(100);
/// How long no file may have changed before a set is taken over without having been told.
const QUIET: Duration = Duration::from_secs(3);

/// How much is read; the greater includes the lesser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    /// The policy, if its files are not those that were last read, or have to be tried again.
    PolicyIfChanged,
    /// The policy.
    Policy,
    /// `agent.toml`, then the policy.
    Everything,
}

/// What is to be read, and who waits for it.
struct Wish {
    scope: Scope,
    reason: String,
    clients: Vec<Client>,
    apply: Option<Apply>,
}

/// Who waits, and since when.
struct Client {
    since: Instant,
    answer: ReloadRequest,
}

/// A change that an operator asks for.
#[derive(Debug)]
pub(super) struct Apply {
    pub(super) wish: ApplyWish,
    pub(super) who: Who,
    pub(super) reply: oneshot::Sender<Changed>,
}

/// What a reading goes on from.
pub(super) struct Known {
    /// Where `agent.toml` is.
    pub(super) config_file: PathBuf,
    /// What it said.
    pub(super) config: AgentConfig,
    pub(super) checker: SharedChecker,
    /// The policy in force.
    pub(super) running: Option<Arc<Compiled>>,
    /// What was last read.
    pub(super) bundle: Option<Bundle>,
    /// What may be taken.
    pub(super) standing: Standing,
    /// Feeds that are kept fresh already.
    pub(super) followed: BTreeSet<FeedKey>,
    /// They are to be tried again.
    pub(super) again: bool,
}

/// `agent.toml` as a running agent follows it, with the keys that wait for a restart.
type Reloaded = Result<(AgentConfig, Vec<String>), ConfigError>;

/// What a reading came to.
pub(super) struct Read {
    pub(super) reason: String,
    /// `agent.toml`, if it was to be read.
    pub(super) config: Option<Reloaded>,
    /// The policy; `None` if it is the one that was last read.
    pub(super) policy: Option<Result<Attempt, RunError>>,
    /// Its files were found changed without a notification.
    pub(super) unwatched: bool,
    /// Who waits for it.
    pub(super) clients: Vec<ReloadRequest>,
    /// Who wants it applied.
    pub(super) apply: Option<Apply>,
}

/// What takes long, and who has waited for it long enough.
pub(super) struct Slow {
    pub(super) path: PathBuf,
    pub(super) since: OffsetDateTime,
    pub(super) clients: Vec<ReloadRequest>,
    pub(super) apply: Option<Apply>,
}

/// What there is to know of a reading.
pub(super) enum Progress {
    Done(Box<Read>),
    Slow(Slow),
}

struct Running {
    wish: Wish,
    task: JoinHandle<Read>,
    place: Place,
    began: Instant,
    since: OffsetDateTime,
    next_look: Instant,
}

/// The reading that goes on, and what is to be read next.
#[derive(Default)]
pub(super) struct Reader {
    running: Option<Running>,
    next: Option<Wish>,
}

impl Reader {
    /// Wants something read, and `client` told what it came to.
    pub(super) fn ask(&mut self, scope: Scope, reason: &str, client: Option<ReloadRequest>) {
        self.wish(scope, reason).clients.extend(client.map(|answer| Client { since: Instant::now(), answer }));
    }

    /// Wants the policy read and applied. One change goes on at a time: another one is given back.
    pub(super) fn ask_to_apply(&mut self, apply: Apply) -> Option<Apply> {
        let is_under_way = self.running.as_ref().is_some_and(|running| running.wish.apply.is_some());
        if is_under_way || self.next.as_ref().is_some_and(|next| next.apply.is_some()) {
            return Some(apply);
        }
        self.wish(Scope::Policy, "fwctl apply").apply = Some(apply);
        None
    }

    fn wish(&mut self, scope: Scope, reason: &str) -> &mut Wish {
        let new = || Wish { scope, reason: reason.to_owned(), clients: Vec::new(), apply: None };
        let next = self.next.get_or_insert_with(new);
        if scope > next.scope {
            (next.scope, next.reason) = (scope, reason.to_owned());
        }
        next
    }

    /// Something is to be read, and nothing is being read.
    pub(super) const fn is_due(&self) -> bool {
        self.running.is_none() && self.next.is_some()
    }

    /// Begins to read what is wanted, unless something is being read.
    pub(super) fn begin(&mut self, known: Known) {
        if !self.is_due() {
            return;
        }
        let Some(wish) = self.next.take() else { return };
        let place = Place::default();
        let mut known = known;
        known.standing.again = wish.apply.as_ref().is_some_and(|apply| apply.wish.again);
        let task = tokio::spawn(read(known, wish.scope, wish.reason.clone(), place.clone()));
        let (began, since) = (Instant::now(), OffsetDateTime::now_utc());
        self.running = Some(Running { wish, task, place, began, since, next_look: began + SLOW });
    }

    /// Waits for the end of the reading, or for it to take long; for ever if there is none. May be cancelled without losing one.
    pub(super) async fn progress(&mut self) -> Progress {
        loop {
            let Some(running) = &mut self.running else { return pending().await };
            let ended = tokio::select! {
                ended = &mut running.task => Some(ended),
                () = sleep_until(running.next_look) => None,
            };
            match ended {
                Some(ended) => {
                    let wish = self.running.take().map(|running| running.wish);
                    let read = ended.unwrap_or_else(|_| Read::interrupted());
                    let (clients, apply) = wish.map(|wish| (wish.clients, wish.apply)).unwrap_or_default();
                    let clients = clients.into_iter().map(|client| client.answer).collect();
                    return Progress::Done(Box::new(Read { clients, apply, ..read }));
                }
                None => {
                    running.next_look = Instant::now() + LOOK;
                    if let Some(slow) = self.slow() {
                        return Progress::Slow(slow);
                    }
                }
            }
        }
    }

    /// What is being read all the time; what has been read and is being checked is none of it.
    fn slow(&mut self) -> Option<Slow> {
        let running = self.running.as_mut()?;
        let path = running.place.path()?;
        let waiting = std::iter::once(&mut running.wish).chain(&mut self.next);
        let given_up =
            waiting.flat_map(|wish| wish.clients.extract_if(.., |client| client.since.elapsed() >= PATIENCE));
        let clients = given_up.map(|client| client.answer).collect();
        let mut apply = None;
        if running.began.elapsed() >= PATIENCE {
            // Withdrawn: who was told that it failed is not to find it applied later.
            apply = running.wish.apply.take().or_else(|| self.next.as_mut()?.apply.take());
        }
        Some(Slow { path, since: running.since, clients, apply })
    }
}

impl Read {
    fn interrupted() -> Self {
        let policy = Some(Err(RunError::Interrupted("reading the files")));
        Self { reason: String::new(), config: None, policy, unwatched: false, clients: Vec::new(), apply: None }
    }
}

async fn read(known: Known, scope: Scope, reason: String, place: Place) -> Read {
    let mut read = Read { reason, config: None, policy: None, unwatched: false, clients: Vec::new(), apply: None };
    let mut config = known.config;
    if scope == Scope::Everything {
        let reloaded = load(known.config_file, &place).await.map(|new| config.reloaded(new));
        if let Ok((new, _)) = &reloaded {
            config = new.clone();
        }
        read.config = Some(reloaded);
    }
    if scope == Scope::PolicyIfChanged {
        let Some(bundle) = read_quiet(&config, &place).await else { return read };
        read.unwatched = known.bundle != Some(bundle);
        if !read.unwatched && !known.again {
            return read;
        }
        let why = if read.unwatched { "the files differ from those that were read" } else { "the last attempt failed" };
        read.reason = why.to_owned();
    }
    let known_of_policy = (known.running, known.standing, known.followed);
    read.policy = Some(attempt(&config, &known.checker, known_of_policy, &place).await);
    read
}

/// Reads `agent.toml`. What is taken otherwise than it is written is told in the log.
pub(super) async fn load(path: PathBuf, place: &Place) -> Result<AgentConfig, ConfigError> {
    place.enter(&path);
    let name = path.display().to_string();
    let loaded = spawn_blocking(move || AgentConfig::load(&path)).await;
    let loaded =
        loaded.unwrap_or_else(|_| Err(ConfigError::unreadable(&name, "reading it was interrupted".to_owned())));
    loaded.iter().flat_map(AgentConfig::warnings).for_each(|warning| tracing::warn!("agent.toml: {warning}"));
    loaded
}

/// The policy files, if nobody is in the middle of changing them.
async fn read_quiet(config: &AgentConfig, place: &Place) -> Option<Bundle> {
    let (directory, keys, place) = (config.policy.directory.clone(), config.policy.public_keys.clone(), place.clone());
    let read = spawn_blocking(move || {
        let bundle = bundle::read(&directory, &keys, &place).ok()?;
        // Looked at behind the reading: a file that has changed meanwhile is young.
        policy_set::is_quiet(&directory, &bundle.files, QUIET, &place).then_some(bundle)
    });
    read.await.ok()?
}

/// Reads the policy directory and checks it; or, if what it offers is not to be taken, what is in force.
async fn attempt(
    config: &AgentConfig,
    checker: &SharedChecker,
    (running, standing, followed): (Option<Arc<Compiled>>, Standing, BTreeSet<FeedKey>),
    place: &Place,
) -> Result<Attempt, RunError> {
    let read = read_whole(config, place).await?;
    // What follows needs no file of the directory.
    place.leave();
    let bundle = match read {
        Ok(bundle) => bundle,
        Err(error) => return Ok(Attempt { bundle: None, result: Err(error) }),
    };
    let verdict = standing.ledger.judge(bundle.offer, standing.again);
    let result = match verdict {
        Verdict::New(_) | Verdict::InForce => {
            let (files, binding) = (Arc::clone(&bundle.files), config.binding());
            feeds::fetch_missing(checker, &files, &followed).await?;
            let checked = check(checker, Arc::clone(&files), move |checker, files| {
                checker.check(files, &binding, OffsetDateTime::now_utc(), running.as_deref())
            });
            checked.await?.map(|policy| Weighed { verdict, files, policy })
        }
        Verdict::Quarantined(_) | Verdict::Stale { .. } | Verdict::Waiting(_) => {
            let stored = changes::stored(config, checker, &standing, running).await?;
            stored.map(|(files, policy)| Weighed { verdict, files, policy })
        }
    };
    Ok(Attempt { bundle: Some(bundle), result })
}

/// As a reading, for a start, which has nothing else to do: files that are not read in time are an error.
pub(super) async fn attempt_in_time(
    config: &AgentConfig,
    checker: &SharedChecker,
    standing: Standing,
) -> Result<Attempt, RunError> {
    let place = Place::default();
    let mut attempt = std::pin::pin!(attempt(config, checker, (None, standing, BTreeSet::new()), &place));
    loop {
        if let Ok(attempt) = timeout(PATIENCE, &mut attempt).await {
            return attempt;
        }
        if let Some(path) = place.path() {
            let error = PolicyError::TooSlow { path, patience: PATIENCE };
            return Ok(Attempt { bundle: None, result: Err(error) });
        }
    }
}

async fn read_whole(config: &AgentConfig, place: &Place) -> Result<Result<Bundle, PolicyError>, RunError> {
    let end = Instant::now() + LONGEST_FLUX;
    loop {
        let (directory, keys, at) = (config.policy.directory.clone(), config.policy.public_keys.clone(), place.clone());
        let read = spawn_blocking(move || bundle::read(&directory, &keys, &at)).await;
        match read.map_err(|_| RunError::Interrupted("reading the policy"))? {
            Err(PolicyError::InFlux(lock)) if Instant::now() < end => {
                place.enter(&lock);
                sleep(FLUX_ROUND).await;
            }
            result => return Ok(result),
        }
    }
}

/// `agent.toml` at a start, at which there is nothing yet that goes on beside.
pub(super) struct ConfigFile {
    path: PathBuf,
    reading: Option<JoinHandle<Result<AgentConfig, ConfigError>>>,
}

impl ConfigFile {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, reading: None }
    }

    /// Reads it, or gives that up after a time; then the next call waits for the same reading, instead of beginning another one
    /// that would not end either. May be cancelled.
    pub(super) async fn read(&mut self) -> Result<AgentConfig, ConfigError> {
        let path = self.path.clone();
        let reading =
            self.reading.get_or_insert_with(|| tokio::spawn(async move { load(path, &Place::default()).await }));
        let read = timeout(PATIENCE, reading).await;
        let problem = match read {
            Ok(ended) => {
                self.reading = None;
                match ended {
                    Ok(read) => return read,
                    Err(_) => "reading it was interrupted".to_owned(),
                }
            }
            Err(_elapsed) => format!("reading it has taken longer than {} s", PATIENCE.as_secs()),
        };
        Err(ConfigError::unreadable(&self.path.display().to_string(), problem))
    }
}

#[cfg(test)]
#[path = "reading_tests.rs"]
mod tests;
