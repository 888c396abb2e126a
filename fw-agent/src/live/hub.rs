//! From the data plane's records to the observers: a thread that lives while there are any.
//!
//! An observer that does not keep up loses events, which are counted for it; it holds up neither the thread nor other observers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::event::Event;
use super::filter::ObserveFilter;
use crate::clock::Clock;
use crate::dataplane::{DataplaneError, Observed};
use crate::facts::Shared;

/// Events that wait for an observer.
const QUEUE: usize = 4_096;
/// The most observers.
pub const MAX_OBSERVERS: usize = 8;
/// How long the thread waits for records before it looks whether somebody still observes.
const PATIENCE: Duration = Duration::from_millis(250);

/// The observers.
#[derive(Debug, Default)]
pub struct Hub {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    observers: Vec<Observer>,
    /// The thread runs.
    running: bool,
}

/// An observer, as the thread sees it.
#[derive(Debug)]
struct Observer {
    filter: ObserveFilter,
    queue: Sender<Arc<Event>>,
    lost: Arc<AtomicU64>,
}

/// The other end: what an observer reads. Dropping it ends the observation.
#[derive(Debug)]
pub struct Observation {
    queue: Receiver<Arc<Event>>,
    lost: Arc<AtomicU64>,
}

impl Observation {
    /// The next event; `None` when the agent stops observing.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        self.queue.recv().await
    }

    /// Events lost since the last call.
    pub fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

/// Why somebody cannot observe.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// Too many do.
    #[error("{MAX_OBSERVERS} clients observe already")]
    TooMany,
    /// The data plane failed.
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
    /// No thread could be started.
    #[error("observing: {0}")]
    Thread(#[from] std::io::Error),
}

/// The data plane tells nobody any more.
fn stop_telling(shared: &Shared) {
    if let Err(error) = shared.dataplane.set_observed(false) {
        tracing::warn!(%error, "the data plane goes on telling what nobody observes");
    }
}

/// A thread that may end before it is to: by an error, or because something in it panics. Its observers are told by the end of
/// their queues, and the data plane tells nobody any more.
struct Unfinished<'h> {
    hub: &'h Hub,
    shared: &'h Shared,
    orderly: bool,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.orderly {
            let mut state = self.hub.state();
            state.observers.clear();
            stop_telling(self.shared);
            state.running = false;
        }
    }
}

impl Hub {
    /// Adds an observer. From the return on, events come. Blocks for as long as the data plane's lock is held.
    pub fn observe(self: &Arc<Self>, shared: &Arc<Shared>, filter: ObserveFilter) -> Result<Observation, ObserveError> {
        let mut state = self.state();
        state.observers.retain(|observer| !observer.queue.is_closed());
        if state.observers.len() >= MAX_OBSERVERS {
            return Err(ObserveError::TooMany);
        }
        if !state.running {
            shared.dataplane.set_observed(true)?;
            if let Err(error) = self.start(shared) {
                stop_telling(shared);
                return Err(error.into());
            }
            state.running = true;
        }
        let (queue, events) = channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        state.observers.push(Observer { filter, queue, lost: Arc::clone(&lost) });
        Ok(Observation { queue: events, lost })
    }

    fn start(self: &Arc<Self>, shared: &Arc<Shared>) -> std::io::Result<()> {
        let (hub, shared) = (Arc::clone(self), Arc::clone(shared));
        let builder = std::thread::Builder::new().name("observing".to_owned());
        builder.spawn(move || hub.serve(&shared)).map(drop)
    }

    fn serve(&self, shared: &Shared) {
        let mut unfinished = Unfinished { hub: self, shared, orderly: false };
        let mut lost_before = shared.dataplane.happenings().map(|seen| seen.observed_lost).unwrap_or_default();
        while self.anybody(shared) {
            if let Err(error) = self.round(shared, &mut lost_before) {
                tracing::error!(%error, "flows cannot be observed any more");
                return;
            }
        }
        unfinished.orderly = true;
    }

    /// Whether somebody observes still; else the data plane is told to stop, and the thread ends.
    fn anybody(&self, shared: &Shared) -> bool {
        let mut state = self.state();
        state.observers.retain(|observer| !observer.queue.is_closed());
        if !state.observers.is_empty() {
            return true;
        }
        stop_telling(shared);
        state.running = false;
        false
    }

    fn round(&self, shared: &Shared, lost_before: &mut u64) -> Result<(), DataplaneError> {
        let clock = Clock::read();
        shared.dataplane.wait_observed(PATIENCE, &mut |observed| {
            // Of now: under a policy that came into force while this waited, rules have other names and levels.
            let facts = shared.facts.load();
            let event = match observed {
                Observed::Flow(record) => Event::of_flow(&record, &facts.names, &clock),
                Observed::Denied(record) => Event::of_denied(&record, &facts.names, &clock),
            };
            self.publish(event);
        })?;
        let lost = shared.dataplane.happenings()?.observed_lost;
        self.lose(lost.saturating_sub(*lost_before));
        *lost_before = lost;
        Ok(())
    }

    fn publish(&self, event: Event) {
        let event = Arc::new(event);
        for observer in self.state().observers.iter().filter(|observer| observer.filter.wants(&event)) {
            if observer.queue.try_send(Arc::clone(&event)).is_err() {
                observer.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// What the data plane itself lost may have been anybody's.
    fn lose(&self, events: u64) {
        for observer in &self.state().observers {
            observer.lost.fetch_add(events, Ordering::Relaxed);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
