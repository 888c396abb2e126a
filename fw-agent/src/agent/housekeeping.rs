//! What has to be done every few seconds: ended and denied flows go to the flow log, idle flows out of the table.
//!
//! A thread of its own, because walking a large table blocks; the data plane ages flows without it, too.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use fw_policy::Level;

use crate::clock::Clock;
use crate::dataplane::DataplaneError;
use crate::facts::Shared;
use crate::flow_log::record::{self, Record};
use crate::flow_log::writer::Writer;

/// How often ended flows are taken over.
const ROUND: Duration = Duration::from_secs(1);
/// How many rounds lie between two times that it is kept what the rules have done.
const ROUNDS_PER_KEEPING: u32 = 300;
/// How many rounds lie between two sweeps, and between two looks at the denied flows.
const ROUNDS_PER_SWEEP: u32 = 5;

/// The thread; dropping this ends it after a last round.
#[derive(Debug)]
pub(super) struct Housekeeper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Housekeeper {
    /// `level`: how severe what is written to the log is at least.
    pub(super) fn start(shared: Arc<Shared>, log: Writer, level: Level) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("housekeeping".to_owned())
            .spawn(move || Rounds { shared, log, level, failing: false, epoch: 0 }.serve(&stopped))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Housekeeper {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

struct Rounds {
    shared: Arc<Shared>,
    log: Writer,
    level: Level,
    failing: bool,
    /// The policy whose rules are in the record.
    epoch: u32,
}

impl Rounds {
    fn serve(&mut self, stopped: &Receiver<()>) {
        for number in (0..ROUNDS_PER_KEEPING).cycle() {
            let last = stopped.recv_timeout(ROUND) != Err(RecvTimeoutError::Timeout);
            let result = self.round(number % ROUNDS_PER_SWEEP == 0 || last);
            let kept = self.keep_hits(number == 0 || last);
            self.report(result.and(kept));
            if last {
                return;
            }
        }
    }

    fn round(&self, sweep: bool) -> Result<(), DataplaneError> {
        if sweep {
            self.log_denied()?;
            let swept = self.shared.dataplane.sweep()?;
            tracing::trace!(swept, "swept idle flows");
        }
        self.log_ended()
    }

    /// Adds up what the rules have done, when it is time, and at once under a new policy: a rule may have a new id.
    fn keep_hits(&mut self, is_time: bool) -> Result<(), DataplaneError> {
        let epoch = self.shared.facts.load().policy.epoch;
        if is_time || epoch != self.epoch {
            self.shared.hits.keep(&self.shared)?;
            self.epoch = epoch;
        }
        Ok(())
    }

    fn log_ended(&self) -> Result<(), DataplaneError> {
        let facts = self.shared.facts.load();
        let clock = Clock::read();
        let mut lines = Vec::new();
        self.shared.dataplane.poll_ended(&mut |event| {
            lines.extend(record::ended(event, &facts.names, &clock).and_then(|record| self.line(&record)));
        })?;
        self.log.send(lines);
        Ok(())
    }

    fn log_denied(&self) -> Result<(), DataplaneError> {
        let facts = self.shared.facts.load();
        let clock = Clock::read();
        let denied = self.shared.dataplane.take_denied()?;
        self.shared.live.denied.add(&denied, clock.monotonic());
        let records = denied.iter().filter_map(|(key, denied)| record::denied(key, denied, &facts.names, &clock));
        self.log.send(records.filter_map(|record| self.line(&record)).collect());
        Ok(())
    }

    /// The line of a record that is severe enough.
    fn line(&self, record: &Record<'_>) -> Option<Vec<u8>> {
        record.level.is_at_least(self.level).then(|| record.to_line()).flatten()
    }

    /// A failure that lasts is reported once.
    fn report(&mut self, result: Result<(), DataplaneError>) {
        match result {
            Err(error) if !self.failing => {
                tracing::error!(%error, "the data plane's flows cannot be read; trying again each second");
                self.failing = true;
            }
            Ok(()) if self.failing => {
                tracing::info!("the data plane's flows can be read again");
                self.failing = false;
            }
            Ok(()) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::fake::FakeDataplane;
    use crate::facts::Facts;
    use crate::flow_log::file::RotatingFile;
    use arc_swap::ArcSwap;
    use fw_common::abi::event::{Denied, DeniedKey, FlowEnd};
    use fw_common::abi::flow::{Flow, flow_flags};

    #[test]
    fn what_has_ended_or_was_denied_is_in_the_log_when_the_agent_stops() {
        let text = written(Level::Info);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("\"verdict\":\"allow\"") && text.contains("\"verdict\":\"drop\""), "{text}");
        assert!(text.lines().all(|line| line.contains("\"level\":\"info\"")), "{text}");
    }

    #[test]
    fn what_is_less_severe_than_the_log_asks_for_is_not_in_it() {
        assert_eq!(written(Level::Notice), "");
    }

    /// What is in a log of a level when the agent stops: of a flow that has ended and of one that was denied.
    fn written(level: Level) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flows.jsonl");
        let writer = Writer::start(RotatingFile::new(path.clone(), 1 << 20, 0)).unwrap();
        let dataplane = FakeDataplane::default();
        let flow = Flow { flags: flow_flags::LOG, ..Flow::default() };
        dataplane.state().ended.push(FlowEnd { flow, family: 4, ..FlowEnd::default() });
        dataplane.state().denied.push((DeniedKey { family: 4, ..DeniedKey::default() }, Denied::default()));
        let shared = Arc::new(Shared {
            dataplane: Arc::new(dataplane),
            facts: ArcSwap::from_pointee(Facts::default()),
            flow_log: writer.counts(),
            fragments: Arc::default(),
            flow_log_file: path.clone(),
            probes: Arc::default(),
            started_at: time::OffsetDateTime::UNIX_EPOCH,
            hits: crate::hits::Hits::default(),
            live: crate::live::Live::default(),
        });
        drop(Housekeeper::start(shared, writer, level).unwrap());
        std::fs::read_to_string(path).unwrap_or_default()
    }
}
