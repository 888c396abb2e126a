//! What the probes of the ways decide: whether the firewall is ready, and whether a policy on trial stays.

use super::supervisor::Supervisor;
use crate::change::ledger::Trial;
use crate::change::who::Who;
use crate::change::{Ledger, Moment};
use crate::probe::{Life, Way};

/// What the ways say of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Testimony {
    /// All of them are alive.
    Good,
    /// One is not known to be, which counts when the time is over.
    Open(String),
    /// One has died.
    Bad(String),
}

/// What the witnesses of a trial say. One that is no longer probed is not known, and one that is alive says so only with an answer to a
/// probe that was sent under the policy on trial, and no failure since.
fn testimony(trial: &Trial, ways: &[Way]) -> Testimony {
    let mut said = Testimony::Good;
    for witness in &trial.witnesses {
        match ways.iter().find(|way| way.config.name == *witness) {
            Some(way) if way.life == Life::Alive => match (&way.failure, way.answered) {
                (None, Some(sent)) if sent >= trial.began => {}
                (None, _) => {
                    said = Testimony::Open(format!("probe {witness}: no answer since the policy came into force"))
                }
                (Some(why), _) => said = Testimony::Open(format!("probe {witness}: the last probe failed ({why})")),
            },
            Some(way) if way.life == Life::Dead => return Testimony::Bad(way.reason().unwrap_or_default()),
            Some(way) => said = Testimony::Open(way.reason().unwrap_or_default()),
            None => said = Testimony::Open(format!("probe {witness} is not in agent.toml any more")),
        }
    }
    said
}

impl Supervisor {
    /// Probes what `agent.toml` says.
    pub(super) fn configure_probes(&mut self) {
        self.prober.configure(&self.config.probes);
        self.note_ways();
    }

    /// Names of the ways that are alive.
    pub(super) fn living_ways(&self) -> Vec<String> {
        let ways = self.shared.probes.ways();
        ways.into_iter().filter(|way| way.life == Life::Alive).map(|way| way.config.name).collect()
    }

    /// Follows a way that has another life.
    pub(super) async fn follow_probes(&mut self) {
        self.note_ways();
        self.hear_witnesses().await;
        self.publish();
    }

    fn note_ways(&mut self) {
        let ways = self.shared.probes.ways();
        self.facts.dead_ways = ways.iter().filter(|way| way.config.required).filter_map(Way::reason).collect();
    }

    /// Ends a trial that its witnesses decide: at once if one has died, and for good at its end if all are alive.
    pub(super) async fn hear_witnesses(&mut self) {
        let Some(trial) = self.facts.changes.ledger.trial() else { return };
        let now = Moment::now();
        if trial.witnesses.is_empty() || trial.boot != now.boot {
            return;
        }
        let (is_over, who) = (trial.is_over(&now), Who::agent("probes"));
        let reason = match testimony(trial, &self.shared.probes.ways()) {
            Testimony::Good if is_over => {
                self.confirm_as_seen(&who).await;
                return;
            }
            Testimony::Bad(reason) => reason,
            Testimony::Open(reason) if is_over => reason,
            Testimony::Good | Testimony::Open(_) => return,
        };
        let mut ledger = Ledger::clone(&self.facts.changes.ledger);
        if let Some(way) = ledger.give_up() {
            self.go_back(ledger, way, &who, &reason).await;
        }
    }

    /// A confirmation that cannot be written is none: what was in force before is, as after an operator's that failed.
    async fn confirm_as_seen(&mut self, who: &Who) {
        let (_, problem) = self.confirm(None, who).await;
        let Some(problem) = problem else { return };
        let mut ledger = Ledger::clone(&self.facts.changes.ledger);
        if let Some(way) = ledger.give_up() {
            self.go_back(ledger, way, who, &problem).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AgentConfig;
    use crate::probe::Board;
    use std::time::Duration;

    #[test]
    fn all_witnesses_have_to_be_alive_and_one_that_died_is_enough_to_go_back() {
        let text = "[[interface]]\nname = \"a\"\nzones = [\"x\"]\n[[probe]]\nname = \"a\"\ntarget = \"10.0.0.1\"\nalive_after = 1\ndead_after = 1\n[[probe]]\nname = \"b\"\ntarget = \"10.0.0.2\"\nalive_after = 1\ndead_after = 1\n[[probe]]\nname = \"c\"\ntarget = \"10.0.0.3\"\nalive_after = 1\n";
        let board = Board::default();
        board.configure(&AgentConfig::parse("agent.toml", text).unwrap().probes);
        let said = |witnesses: &[&str]| {
            let witnesses = witnesses.iter().map(|name| (*name).to_owned()).collect();
            let (boot, until_wall) = (String::new(), String::new());
            let trial = Trial { revision: 2, previous: 1, boot, until: 9_000, until_wall, witnesses, began: 1_000 };
            testimony(&trial, &board.ways())
        };
        let open = |why: &str| Testimony::Open(why.to_owned());
        board.note("a", Ok(Duration::ZERO), Duration::ZERO, 999);
        assert_eq!(said(&["a"]), open("probe a: no answer since the policy came into force"));
        board.note("a", Ok(Duration::ZERO), Duration::ZERO, 1_000);
        assert_eq!(said(&["a"]), Testimony::Good);
        assert_eq!(said(&["a", "b"]), open("probe b: 10.0.0.2 has not answered yet"));
        assert!(matches!(said(&["gone"]), Testimony::Open(_)));
        board.note("b", Err("refused".to_owned()), Duration::ZERO, 1_000);
        assert_eq!(said(&["a", "b"]), Testimony::Bad("probe b: 10.0.0.2 does not answer ping (refused)".to_owned()));
        board.note("c", Ok(Duration::ZERO), Duration::ZERO, 2_000);
        board.note("c", Err("late".to_owned()), Duration::ZERO, 3_000);
        assert_eq!(
            said(&["c"]),
            open("probe c: the last probe failed (late)"),
            "it is not dead yet, and not known to be alive"
        );
    }
}
