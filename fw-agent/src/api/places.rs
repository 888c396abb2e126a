//! How many clients may wait, and how many requests are answered at once, so that nobody keeps others out: neither by connections
//! that ask nothing, nor by answers that nobody reads. Root always gets through.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Connections of one user that have not sent their request. A client sends it at once, so the oldest gives way.
const WAITING_OF_USER: usize = 16;
/// Those of all users.
const WAITING: usize = 128;
/// Requests of one user that are answered at once; further ones wait.
const REQUESTS_OF_USER: usize = 8;
/// Those of all users.
const REQUESTS: usize = 32;
/// Requests of one user that wait until others have been answered; further ones are refused, because each holds a descriptor.
pub(super) const QUEUE_OF_USER: usize = 16;
/// Those of all users.
const QUEUE: usize = 64;

/// A user, as far as places go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum User {
    /// Root, or whom the agent runs as.
    Root,
    /// Anybody else.
    Other(u32),
}

/// The connections that have not sent their request, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queue: Mutex<VecDeque<(User, oneshot::Sender<()>)>>,
}

impl Waiting {
    /// Lines a connection up; it is to go when what is returned is sent to. Dropping that takes it out of the line.
    pub(super) fn line_up(&self, user: User) -> oneshot::Receiver<()> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.retain(|(_, leave)| !leave.is_closed());
        let of_user = queue.iter().filter(|(other, _)| *other == user).count();
        let oldest = if of_user >= WAITING_OF_USER {
            queue.iter().position(|(other, _)| *other == user)
        } else if queue.len() >= WAITING {
            queue.iter().position(|(other, _)| *other != User::Root)
        } else {
            None
        };
        if let Some((_, leave)) = oldest.and_then(|oldest| queue.remove(oldest)) {
            let _gone_already = leave.send(());
        }
        let (leave, told_to_leave) = oneshot::channel();
        queue.push_back((user, leave));
        told_to_leave
    }
}

/// The places for requests that are being answered, and for those that wait for one.
#[derive(Debug)]
pub(super) struct Places {
    all: Hall,
    of_users: Mutex<BTreeMap<u32, Hall>>,
}

/// So many are answered, and so many wait.
#[derive(Clone, Debug)]
struct Hall {
    answered: Arc<Semaphore>,
    queue: Arc<Semaphore>,
}

/// A place; dropping it frees it. Root's requests need none.
#[derive(Debug, Default)]
pub(super) struct Place {
    _of_user_and_all: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

/// There are as many requests as may wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct QueueIsFull;

impl Hall {
    fn new(answered: usize, queue: usize) -> Self {
        Self { answered: Arc::new(Semaphore::new(answered)), queue: Arc::new(Semaphore::new(queue)) }
    }

    fn answer(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.answered).try_acquire_owned().ok()
    }

    fn wait(&self) -> Result<OwnedSemaphorePermit, QueueIsFull> {
        Arc::clone(&self.queue).try_acquire_owned().map_err(|_| QueueIsFull)
    }

    /// Somebody is answered or waits.
    fn is_used(&self) -> bool {
        Arc::strong_count(&self.answered) > 1 || Arc::strong_count(&self.queue) > 1
    }
}

impl Default for Places {
    fn default() -> Self {
        Self { all: Hall::new(REQUESTS, QUEUE), of_users: Mutex::default() }
    }
}

impl Places {
    /// Takes a place, or waits for one if the queue is not full. May be cancelled.
    pub(super) async fn take(&self, user: User) -> Result<Place, QueueIsFull> {
        let User::Other(uid) = user else { return Ok(Place::default()) };
        let new = || Hall::new(REQUESTS_OF_USER, QUEUE_OF_USER);
        let of_user = self.users().entry(uid).or_insert_with(new).clone();
        let at_once = of_user.answer().and_then(|place| Some((place, self.all.answer()?)));
        if at_once.is_some() {
            return Ok(Place { _of_user_and_all: at_once });
        }
        let _waiting = (of_user.wait()?, self.all.wait()?);
        // The user's own first: who has too many waits here, and not where others do. Neither semaphore is ever closed.
        let place = Arc::clone(&of_user.answered).acquire_owned().await.ok();
        Ok(Place { _of_user_and_all: place.zip(Arc::clone(&self.all.answered).acquire_owned().await.ok()) })
    }

    /// The users that have requests now.
    fn users(&self) -> MutexGuard<'_, BTreeMap<u32, Hall>> {
        let mut users = self.of_users.lock().unwrap_or_else(PoisonError::into_inner);
        users.retain(|_, hall| hall.is_used());
        users
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use std::time::Duration;
    use tokio::time::timeout;

    #[test]
    fn the_oldest_connection_of_a_user_gives_way_to_his_next_one() {
        let waiting = Waiting::default();
        let mut other = waiting.line_up(User::Other(1));
        let mut lined_up: Vec<_> = (0..WAITING_OF_USER).map(|_| waiting.line_up(User::Other(2))).collect();
        assert!(lined_up[0].try_recv().is_err());
        let _next = waiting.line_up(User::Other(2));
        assert!(lined_up[0].try_recv().is_ok());
        assert!(lined_up[1].try_recv().is_err() && other.try_recv().is_err());
        // One that has sent its request is in nobody's way.
        lined_up.remove(1);
        let _next = waiting.line_up(User::Other(2));
        assert!(lined_up[1].try_recv().is_err());
    }

    #[test]
    fn many_users_do_not_displace_root() {
        let waiting = Waiting::default();
        let mut root = waiting.line_up(User::Root);
        let mut others: Vec<_> = (1..=200).map(|uid| waiting.line_up(User::Other(uid))).collect();
        assert!(root.try_recv().is_err());
        let displaced = others.iter_mut().filter_map(|other| other.try_recv().ok()).count();
        assert_eq!(displaced, 1 + 200 - WAITING);
    }

    #[tokio::test]
    async fn requests_wait_for_those_of_their_user_and_root_waits_for_nobody() {
        let places = Places::default();
        let at_once = Duration::ZERO;
        let mut taken = Vec::new();
        for uid in 1..=4 {
            for _ in 0..REQUESTS_OF_USER {
                taken.push(places.take(User::Other(uid)).await.unwrap());
            }
            assert!(timeout(at_once, places.take(User::Other(uid))).await.is_err(), "he has all of his");
        }
        assert!(timeout(at_once, places.take(User::Other(5))).await.is_err(), "all are taken");
        assert!(timeout(at_once, places.take(User::Root)).await.is_ok());
        taken.pop();
        assert!(timeout(at_once, places.take(User::Other(5))).await.is_ok());
        drop(taken);
        let _place = places.take(User::Other(6)).await.unwrap();
        assert_eq!(places.users().len(), 1, "users without requests are forgotten");
    }

    #[tokio::test]
    async fn no_more_requests_wait_than_may() {
        let places = Arc::new(Places::default());
        let take = |uid| {
            let places = Arc::clone(&places);
            let mut take = Box::pin(async move { places.take(User::Other(uid)).await });
            // A first poll: it has its place, it waits, or it is refused.
            let polled = take.as_mut().now_or_never();
            (polled, take)
        };
        let mut taken = Vec::new();
        let mut waiting = Vec::new();
        for uid in 1..=4 {
            taken.extend((0..REQUESTS_OF_USER).map(|_| take(uid).0.unwrap().unwrap()));
            waiting.extend((0..QUEUE_OF_USER).map(|_| take(uid)));
            assert_eq!(take(uid).0.map(|refused| refused.unwrap_err()), Some(QueueIsFull), "he has all of his");
        }
        assert!(waiting.iter().all(|(polled, _)| polled.is_none()), "they wait");
        assert_eq!(take(5).0.map(|refused| refused.unwrap_err()), Some(QueueIsFull), "all wait that may");
        assert!(places.take(User::Root).await.is_ok());
        // Who has his place waits no more, and neither does who has given up.
        taken.remove(0);
        taken.push(waiting[0].1.as_mut().now_or_never().unwrap().unwrap());
        assert!(take(1).0.is_none());
        waiting.truncate(QUEUE_OF_USER);
        assert!(take(2).0.is_none());
    }
}
