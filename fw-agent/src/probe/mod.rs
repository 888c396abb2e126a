//! Path probes: somebody beyond each interface is asked at an interval whether he is there, and what is known of the ways is on
//! a board that everybody reads.
//!
//! [`Health`] decides, [`ask`] talks to the network, and [`Prober`] has a task for each `[[probe]]`.

pub mod ask;
pub mod board;
pub mod health;

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::change::Moment;
use crate::config::ProbeConfig;
use ask::Asker;
pub use board::{Board, Way};
pub use health::{Health, Life};

/// The tasks that probe; they end with it.
#[derive(Debug)]
pub struct Prober {
    board: Arc<Board>,
    configured: Vec<ProbeConfig>,
    tasks: JoinSet<()>,
}

impl Prober {
    /// Probes nothing yet.
    #[must_use]
    pub fn new(board: Arc<Board>) -> Self {
        Self { board, configured: Vec::new(), tasks: JoinSet::new() }
    }

    /// Probes what is configured. What was probed the same way before goes on being known.
    pub fn configure(&mut self, probes: &[ProbeConfig]) {
        if self.configured == probes {
            return;
        }
        probes.clone_into(&mut self.configured);
        self.tasks.abort_all();
        self.board.configure(probes);
        for config in probes {
            self.tasks.spawn(probe(config.clone(), Arc::clone(&self.board)));
        }
    }

    /// Waits until a way has another life.
    pub async fn changed(&self) {
        self.board.changed().await;
    }
}

async fn probe(config: ProbeConfig, board: Arc<Board>) {
    let mut times = interval(config.interval);
    // One that is late is not made up for: a path that was away for an hour is not asked a thousand times at once.
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let name = config.name.clone();
    let start = Instant::now();
    let mut asker = Asker::new(config);
    loop {
        times.tick().await;
        let sent = Moment::since_boot();
        let outcome = asker.ask().await;
        board.note(&name, outcome.map_err(|failure| failure.to_string()), start.elapsed(), sent);
    }
}
