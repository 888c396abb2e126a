//! Which device is which network interface of AWS: asked of the instance metadata by hardware address, and kept on disk, so that a start
//! does not depend on the answer.
//!
//! [`book`] is what is known, [`asker`] asks for the rest for as long as it takes: a device that was plugged in is known to the
//! metadata only a while later.

pub mod asker;
pub mod book;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use fw_cloud::{EniId, Metadata, MetadataError};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout_at};

use crate::netlink::state::Mac;

/// Who knows the network interface of a hardware address.
pub trait Registry: Send + Sync {
    /// Its network interface; `None` if that is not known, or not yet.
    fn interface(&self, mac: Mac) -> BoxFuture<'_, Result<Option<EniId>, MetadataError>>;
}

impl Registry for Metadata {
    fn interface(&self, mac: Mac) -> BoxFuture<'_, Result<Option<EniId>, MetadataError>> {
        Box::pin(async move { Metadata::interface(self, &mac.to_string()).await })
    }
}

/// What was answered about the devices that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// What is known now.
    pub found: BTreeMap<Mac, EniId>,
    /// Why the others are not.
    pub problem: Option<String>,
}

/// What is known, and what asks for the rest. Its task ends with the value.
#[derive(Debug)]
pub struct Enis {
    path: PathBuf,
    known: BTreeMap<Mac, EniId>,
    /// Those that the metadata has named since the start: what the disk says may be of another life of the address.
    confirmed: BTreeSet<Mac>,
    wanted: watch::Sender<BTreeSet<Mac>>,
    answers: mpsc::Receiver<Answer>,
    problem: Option<String>,
    /// What writes to the disk.
    keeping: Option<JoinHandle<()>>,
}

impl Enis {
    /// With what the disk knows.
    #[must_use]
    pub fn load(path: PathBuf, registry: Arc<dyn Registry>) -> Self {
        let (wanted, wishes) = watch::channel(BTreeSet::new());
        let (sender, answers) = mpsc::channel(1);
        tokio::spawn(asker::ask(registry, wishes, sender));
        let known = book::load(&path);
        Self { path, known, confirmed: BTreeSet::new(), wanted, answers, problem: None, keeping: None }
    }

    /// The network interfaces that are known, by hardware address.
    #[must_use]
    pub const fn known(&self) -> &BTreeMap<Mac, EniId> {
        &self.known
    }

    /// Why those that are wanted are not all known.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Asks for these devices, but for those that were answered for.
    pub fn want(&mut self, macs: impl Iterator<Item = Mac>) {
        let unconfirmed: BTreeSet<Mac> = macs.filter(|mac| !self.confirmed.contains(mac)).collect();
        self.wanted.send_if_modified(|wanted| {
            let is_other = *wanted != unconfirmed;
            *wanted = unconfirmed;
            is_other
        });
    }

    /// Waits for an answer. May be cancelled without losing one.
    pub async fn next(&mut self) -> Answer {
        match self.answers.recv().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    /// Notes an answer; whether a device is another network interface now than was known.
    pub fn note(&mut self, answer: Answer) -> bool {
        let Answer { found, problem } = answer;
        self.problem = problem;
        let before = self.known.clone();
        for (mac, eni) in found {
            self.confirmed.insert(mac);
            match self.known.insert(mac, eni.clone()) {
                Some(other) if other != eni => {
                    tracing::warn!(%mac, %eni, before = %other, "the device is another network interface than it was");
                }
                Some(_) => {}
                None => tracing::info!(%mac, %eni, "the instance metadata knows the device"),
            }
        }
        if before == self.known {
            return false;
        }
        self.keep();
        true
    }

    /// Writes what is known to the disk, behind what is being written. Nobody waits for it: without it the next start has to ask.
    fn keep(&mut self) {
        let (path, known, before) = (self.path.clone(), self.known.clone(), self.keeping.take());
        self.keeping = Some(tokio::spawn(async move {
            if let Some(before) = before {
                // Whatever became of it, this is newer.
                drop(before.await);
            }
            let saved = spawn_blocking(move || {
                if let Err(error) = book::save(&path, &known) {
                    tracing::warn!(path = %path.display(), %error, "the network interfaces of the devices could not be kept");
                }
            });
            drop(saved.await);
        }));
    }

    /// Waits until all of these are known, or for so long.
    pub async fn settle(&mut self, enis: &BTreeSet<EniId>, within: Duration) {
        let deadline = Instant::now() + within;
        while !enis.iter().all(|eni| self.known.values().any(|known| known == eni)) {
            match timeout_at(deadline, self.next()).await {
                Ok(answer) => drop(self.note(answer)),
                Err(_elapsed) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    /// Answers one after the other; the last one for ever.
    struct Script(Mutex<Vec<Result<Option<EniId>, MetadataError>>>);

    impl Registry for Script {
        fn interface(&self, _: Mac) -> BoxFuture<'_, Result<Option<EniId>, MetadataError>> {
            let mut answers = self.0.lock().unwrap();
            let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
            Box::pin(async { answer })
        }
    }

    fn eni(digit: char) -> EniId {
        format!("eni-{}", digit.to_string().repeat(17)).parse().unwrap()
    }

    fn enis(path: PathBuf, answers: Vec<Result<Option<EniId>, MetadataError>>) -> Enis {
        Enis::load(path, Arc::new(Script(Mutex::new(answers))))
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_is_asked_for_until_it_is_known_and_is_then_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("enis.json");
        let down = Err(MetadataError::Unreachable("refused".to_owned()));
        let mut enis_of_first = enis(path.clone(), vec![down.clone(), Ok(None), Ok(Some(eni('a')))]);
        enis_of_first.want([MAC].into_iter());
        let answer = enis_of_first.next().await;
        assert!(!enis_of_first.note(answer));
        assert!(enis_of_first.problem().is_some_and(|problem| problem.contains("does not answer")));
        let answer = enis_of_first.next().await;
        assert!(!enis_of_first.note(answer));
        assert!(enis_of_first.problem().is_some_and(|problem| problem.contains("does not know")));
        enis_of_first.settle(&[eni('a')].into(), Duration::from_secs(60)).await;
        assert_eq!((enis_of_first.known().get(&MAC), enis_of_first.problem()), (Some(&eni('a')), None));
        enis_of_first.keeping.take().unwrap().await.unwrap();
        let mut second = enis(path, vec![down]);
        second.settle(&[eni('a')].into(), Duration::ZERO).await;
        assert_eq!(second.known().get(&MAC), Some(&eni('a')), "a start does not need the metadata");
    }

    #[tokio::test(start_paused = true)]
    async fn nonsense_about_one_device_keeps_no_other_one_back() {
        let dir = tempfile::tempdir().unwrap();
        let nonsense = Err(MetadataError::Unexpected("<html>".to_owned()));
        let mut enis = enis(dir.path().join("enis.json"), vec![nonsense, Ok(Some(eni('a')))]);
        let other = Mac([2, 0, 0, 0, 0, 2]);
        enis.want([MAC, other].into_iter());
        let answer = enis.next().await;
        assert_eq!(answer.found, [(other, eni('a'))].into());
        assert!(answer.problem.is_some_and(|problem| problem.contains("<html>")));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_disk_says_is_asked_for_and_put_right() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("enis.json");
        book::save(&path, &[(MAC, eni('a'))].into()).unwrap();
        let mut enis = enis(path, vec![Ok(Some(eni('b')))]);
        enis.want([MAC].into_iter());
        let answer = enis.next().await;
        assert!(enis.note(answer));
        assert_eq!(enis.known().get(&MAC), Some(&eni('b')));
        enis.want([MAC].into_iter());
        assert!(enis.wanted.borrow().is_empty(), "what was answered is not asked for again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_does_not_wait_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let mut enis = enis(dir.path().join("enis.json"), vec![Ok(None)]);
        enis.want([MAC].into_iter());
        let began = Instant::now();
        enis.settle(&[eni('a')].into(), Duration::from_secs(5)).await;
        assert_eq!(began.elapsed().as_secs(), 5);
    }
}
