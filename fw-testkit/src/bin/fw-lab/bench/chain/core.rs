//! The one core on which a chain runs: generator, forwarder and sink share it, so packets per second are the inverse of
//! the cost per packet.

use std::io;
use std::thread;

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A processor.
#[derive(Clone, Copy, Debug)]
pub(in crate::bench) struct Core(usize);

impl Core {
    /// The last processor that this process may use: the first one serves most interrupts.
    pub(in crate::bench) fn pick() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("ask for the processors of this process")?;
        let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu));
        last.map(Self).context("this process may use no processor")
    }

    pub(in crate::bench) fn number(self) -> usize {
        self.0
    }

    /// Does short work on this core, if possible before any other program. Packets are handled within the calls that send
    /// them, so they have the same right.
    pub(in crate::bench) fn alone_on<T: Send>(self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let pinned = scope.spawn(|| {
                let mut only = CpuSet::new();
                only.set(self.0);
                sched_setaffinity(None, &only).context("pin a thread to a processor")?;
                // Without it the figures are only noisier.
                let _refused = before_others();
                Ok(work())
            });
            pinned.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Lets this thread run before every ordinary one.
fn before_others() -> io::Result<()> {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: 0 is the calling thread, and the parameters outlive the call.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const lowest) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
