//! The thread that keeps fragments and gives them back.
//!
//! A thread of its own, because a fragment waits for as long as this does.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::holder::{Counts, Holder, Waiting};
use crate::dataplane::DataplaneError;
use crate::dataplane::kernel::{FragmentRecord, HeldFragments, KernelDataplane};

/// The agent's end of the thread; dropping it ends the thread. What waits then is lost, as it is when the agent is killed.
#[derive(Debug)]
pub struct Keeper {
    /// Closed to end the thread.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
    counts: Arc<Counts>,
}

impl Keeper {
    /// Starts the thread, in the network name space of the caller.
    ///
    /// # Errors
    /// If the system has no room for a thread.
    pub fn start(dataplane: Arc<KernelDataplane>, held: HeldFragments) -> io::Result<Self> {
        let (stop, stopped) = UnixStream::pair()?;
        let holder = Holder::default();
        let counts = holder.counts();
        let mut work = Work { dataplane, held, holder, failing: false };
        let thread = std::thread::Builder::new().name("fragments".to_owned()).spawn(move || work.serve(&stopped))?;
        Ok(Self { stop: Some(stop), thread: Some(thread), counts })
    }

    /// What became of fragments so far.
    #[must_use]
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

struct Work {
    dataplane: Arc<KernelDataplane>,
    held: HeldFragments,
    holder: Holder,
    failing: bool,
}

impl Work {
    fn serve(&mut self, stopped: &UnixStream) {
        while self.wait(stopped) {
            let now = Instant::now();
            let mut released = self.holder.expire(now);
            self.held.poll(&mut |record| match record {
                FragmentRecord::Waits { key, ingress_ifindex, frame } => {
                    self.holder.keep(key, Waiting { ingress_ifindex, frame: frame.to_vec() }, now);
                }
                FragmentRecord::Judged(key) => released.append(&mut self.holder.release(&key)),
            });
            for waiting in &released {
                let given = self.dataplane.give_back(&waiting.frame, waiting.ingress_ifindex);
                self.report(given);
            }
        }
    }

    /// Waits for records, or until the time of a datagram is over; false when the thread is to end.
    fn wait(&self, stopped: &UnixStream) -> bool {
        let mut waited = [PollFd::new(&self.held, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
        let left = self.holder.next_deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut waited, left.as_ref()) {
            Ok(_) => waited[1].revents().is_empty(),
            Err(rustix::io::Errno::INTR) => true,
            Err(error) => {
                tracing::error!(%error, "fragments are not kept any more");
                false
            }
        }
    }

    /// A failure that lasts is reported once.
    fn report(&mut self, given: Result<(), DataplaneError>) {
        match given {
            Err(error) if !self.failing => {
                tracing::warn!(%error, "a fragment that has waited could not be given back; others may follow");
                self.failing = true;
            }
            Ok(()) => self.failing = false,
            Err(_) => {}
        }
    }
}
