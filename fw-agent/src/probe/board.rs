//! What is known of all ways that are probed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;
use time::OffsetDateTime;
use tokio::sync::Notify;

use super::health::{Health, Life, Limits};
use crate::config::ProbeConfig;

/// Upper ends of the buckets of delays, in seconds: from a host in the same rack to one behind a satellite.
const BUCKETS: [f64; 13] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

/// A way, and what is known of it.
#[derive(Clone, Debug)]
pub struct Way {
    /// How it is probed.
    pub config: ProbeConfig,
    /// Whether it works.
    pub life: Life,
    /// Since when it is so; since it is probed, while that is not known.
    pub since: OffsetDateTime,
    /// Probes that were made.
    pub sent: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// How long the last answer took.
    pub took: Option<Duration>,
    /// Why the last probe that has failed did; nothing once the way is alive and probes are answered.
    pub failure: Option<String>,
    /// Probes are answered again, and the way is dead until its limits say otherwise.
    pub is_held_down: bool,
    /// When the last probe that was answered was sent, in milliseconds since the boot.
    pub answered: Option<u64>,
    /// How long answers took, in seconds.
    pub delays: Histogram,
    health: Health,
    /// Time of `health` that lies before the task that notes it now.
    earlier: Duration,
    latest: Duration,
}

impl Way {
    fn new(config: &ProbeConfig) -> Self {
        Self {
            config: config.clone(),
            life: Life::Unknown,
            since: OffsetDateTime::now_utc(),
            sent: 0,
            failed: 0,
            took: None,
            failure: None,
            is_held_down: false,
            answered: None,
            delays: Histogram::new(BUCKETS),
            health: Health::default(),
            earlier: Duration::ZERO,
            latest: Duration::ZERO,
        }
    }

    /// Why the firewall is not ready because of it.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let (name, config) = (&self.config.name, &self.config);
        match self.life {
            Life::Alive => None,
            Life::Unknown => Some(format!("probe {name}: {} has not answered yet", config.target)),
            Life::Dead if self.is_held_down => {
                let why = self.failure.as_ref().map(|why| format!(" (it was dead by: {why})")).unwrap_or_default();
                Some(format!("probe {name}: {} answers {} again, and is held down{why}", config.target, config.check))
            }
            Life::Dead => {
                let why = self.failure.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
                Some(format!("probe {name}: {} does not answer {}{why}", config.target, config.check))
            }
        }
    }
}

/// All ways.
#[derive(Debug, Default)]
pub struct Board {
    ways: Mutex<Vec<Way>>,
    changed: Notify,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Vec<Way>> {
        // Nothing is left half done when a thread panics.
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ways, in the order of the configuration.
    #[must_use]
    pub fn ways(&self) -> Vec<Way> {
        self.lock().clone()
    }

    /// Waits until a way has another life.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(crate) fn configure(&self, probes: &[ProbeConfig]) {
        let mut ways = self.lock();
        let known = std::mem::take(&mut *ways);
        *ways = probes
            .iter()
            .map(|config| match known.iter().find(|way| way.config == *config) {
                Some(way) => Way { earlier: way.latest, ..way.clone() },
                None => Way::new(config),
            })
            .collect();
        self.changed.notify_one();
    }

    /// Notes the outcome of a probe: how long the answer took, or why there was none. `now` is time since the task began, `sent` when it
    /// was sent, in milliseconds since the boot.
    pub(crate) fn note(&self, name: &str, outcome: Result<Duration, String>, now: Duration, sent: u64) {
        let mut ways = self.lock();
        let Some(way) = ways.iter_mut().find(|way| way.config.name == name) else { return };
        way.latest = way.earlier + now;
        way.sent += 1;
        match &outcome {
            Ok(took) => {
                way.delays.observe(took.as_secs_f64());
                (way.took, way.answered) = (Some(*took), Some(sent));
            }
            Err(why) => {
                way.failed += 1;
                way.failure = Some(why.clone());
            }
        }
        let limits = Limits::from(&way.config);
        let has_changed = way.health.note(outcome.is_ok(), way.latest, &limits);
        way.life = way.health.life();
        way.is_held_down = outcome.is_ok() && way.life == Life::Dead;
        if outcome.is_ok() && !way.is_held_down {
            way.failure = None;
        }
        if !has_changed {
            return;
        }
        way.since = OffsetDateTime::now_utc();
        let (target, check) = (way.config.target, &way.config.check);
        match &way.failure {
            None => tracing::info!(probe = name, %target, %check, "the way is alive"),
            Some(why) => tracing::warn!(probe = name, %target, %check, why, "the way is dead"),
        }
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AgentConfig;

    fn probes(text: &str) -> Vec<ProbeConfig> {
        AgentConfig::parse("agent.toml", &format!("[[interface]]\nname = \"a\"\nzones = [\"x\"]\n{text}"))
            .unwrap()
            .probes
    }

    const TWO: &str = "[[probe]]\nname = \"a\"\ntarget = \"10.0.0.1\"\ndead_after = 1\nalive_after = 1\nhold_down = \"10s\"\n[[probe]]\nname = \"b\"\ntarget = \"fd00::1\"\ncheck = \"tcp/502\"\n";

    fn life(board: &Board, name: &str) -> Life {
        board.ways().iter().find(|way| way.config.name == name).unwrap().life
    }

    #[tokio::test]
    async fn a_new_configuration_keeps_what_it_does_not_change() {
        let board = Board::default();
        board.configure(&probes(TWO));
        board.changed().await;
        let second = Duration::from_secs(1);
        board.note("a", Ok(second), second, 0);
        board.note("b", Err("refused".to_owned()), second, 0);
        board.changed().await;
        assert_eq!((life(&board, "a"), life(&board, "b")), (Life::Alive, Life::Unknown));
        board.configure(&probes(&TWO.replace("tcp/502", "tcp/503")));
        assert_eq!((life(&board, "a"), life(&board, "b")), (Life::Alive, Life::Unknown));
        let ways = board.ways();
        assert_eq!((ways[0].sent, ways[1].sent), (1, 0), "the changed one is another");
        // Time goes on for the task that is begun anew: what dies now is held down from now on.
        board.note("a", Err("late".to_owned()), second, 0);
        board.note("a", Ok(second), 10 * second, 0);
        assert_eq!(life(&board, "a"), Life::Dead);
        board.note("a", Ok(second), 11 * second, 0);
        assert_eq!(life(&board, "a"), Life::Alive);
        board.note("gone", Ok(second), second, 0);
    }

    #[test]
    fn why_the_firewall_is_not_ready_is_a_sentence() {
        let board = Board::default();
        board.configure(&probes(TWO));
        assert_eq!(board.ways()[0].reason().unwrap(), "probe a: 10.0.0.1 has not answered yet");
        board.note("a", Err("no answer within 1s".to_owned()), Duration::ZERO, 0);
        assert_eq!(board.ways()[0].reason().unwrap(), "probe a: 10.0.0.1 does not answer ping (no answer within 1s)");
        board.note("a", Ok(Duration::ZERO), Duration::from_secs(9), 0);
        let held_down = board.ways()[0].clone();
        assert_eq!(
            (held_down.failure.as_deref(), held_down.is_held_down, held_down.life),
            (Some("no answer within 1s"), true, Life::Dead)
        );
        let told = "probe a: 10.0.0.1 answers ping again, and is held down (it was dead by: no answer within 1s)";
        assert_eq!(held_down.reason().as_deref(), Some(told));
        board.note("a", Ok(Duration::ZERO), Duration::from_secs(11), 0);
        let alive = board.ways()[0].clone();
        assert_eq!((alive.reason(), alive.failure, alive.is_held_down), (None, None, false));
    }
}
