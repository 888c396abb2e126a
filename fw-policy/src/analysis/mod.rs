//! What a policy means as a whole: rules that never match or are not needed, and what its author may not have meant.
//!
//! Everything here is exact over all fields that rules have: zones, family, addresses, protocol, ports, ICMP type and code. What takes more
//! work than there may be is reported as not analysed, never guessed. How it is done and what each finding means: docs/analysis.md.

mod builder;
mod chain;
mod classes;
mod cover;
mod describe;
mod fed;
mod findings;
mod flips;
mod hidden;
mod invariants;
mod joint;
mod packet;
mod packet_set;
mod ranges;
mod redundant;
mod space;
mod universe;
mod unused;
mod verdicts;

use std::collections::BTreeSet;
use std::sync::Arc;

use time::{Duration, OffsetDateTime};

pub use describe::{Described, PacketClass};
pub(crate) use flips::{Decider, Flip, Flips};
pub(crate) use invariants::{Counterexample, Invariants};
pub use packet::ExamplePacket;
pub use packet_set::PacketSet;
pub use verdicts::{Undecided, Verdict, Verdicts};

use chain::{Chain, Lists};
use cover::Work;
use hidden::Fate;
use redundant::{Candidate, Without};

use crate::binding::Binding;
use crate::compile;
use crate::diagnostic::{Diagnostics, Report};
use crate::policy::Policy;

/// Rules that expire within this time are reported.
const SOON: Duration = Duration::days(30);

/// How much work an analysis may take, in comparisons of a set with a part of another, of which each takes some nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkLimits {
    /// For one rule.
    pub rule: u64,
    /// For all of them together.
    pub all: u64,
}

impl Default for WorkLimits {
    /// A second for one rule and a minute or two for all, about.
    fn default() -> Self {
        Self { rule: 50_000_000, all: 3_000_000_000 }
    }
}

impl WorkLimits {
    /// Does something with the work of one rule.
    fn spend<T>(&mut self, ask: impl FnOnce(&mut Work) -> T) -> T {
        let share = self.all.min(self.rule);
        let mut work = Work(share);
        let answer = ask(&mut work);
        self.all -= share - work.0;
        answer
    }
}

impl Policy {
    /// What the policy's author should look at, for the interfaces of one firewall and a point in time: warnings and notes, which refuse
    /// nothing. The binding is one that the policy compiles with.
    ///
    /// Takes seconds for tens of thousands of rules.
    #[must_use]
    pub fn analyse(&self, binding: &Binding, now: OffsetDateTime) -> Diagnostics {
        self.analyse_within(binding, now, WorkLimits::default())
    }

    /// As [`Policy::analyse`], with other limits of the work. What they do not suffice for is a note.
    #[must_use]
    pub fn analyse_within(&self, binding: &Binding, now: OffsetDateTime, limits: WorkLimits) -> Diagnostics {
        let mut report = Report::new(Arc::clone(&self.sources));
        findings::schedules(self, now, &mut report);
        unused::sets(self, &mut report);
        let generated = compile::generated(self, binding);
        let (widened, fed) = fed::widened(self);
        let (mut chain, _) = Chain::new(&widened, |_| true, &generated, now, []);
        chain.doubt(&fed);
        findings::open_rules(self, &chain, &mut report);
        findings::pairs_without_rules(self, &chain, &mut report);
        for invariant in Invariants::new(self, binding, now).vacuous() {
            findings::vacuous(invariant, &mut report);
        }
        compare_rules(self, &chain, limits, &mut report);
        // Nothing that is reported here refuses a policy.
        let items = report.finish().unwrap_or_else(|diagnostics| diagnostics.items);
        Diagnostics::new(items, Arc::clone(&self.sources))
    }
}

/// Compares each rule with all others.
fn compare_rules(policy: &Policy, chain: &Chain, mut budget: WorkLimits, report: &mut Report) {
    let mut lists = Lists::default();
    let mut needless: BTreeSet<usize> = BTreeSet::new();
    let mut matching = Vec::new();
    let mut skipped: BTreeSet<usize> = BTreeSet::new();
    let is_judged = |entry: &chain::Entry| {
        entry.rule.is_some() && !entry.life.is_over() && entry.life.is_certain() && !entry.cubes.is_empty()
    };
    for (position, entry) in chain.entries.iter().enumerate().filter(|(_, entry)| is_judged(entry)) {
        match budget.spend(|work| hidden::fate(chain, &mut lists, position, work)) {
            Fate::Matches(pair, point) => matching.push((position, (pair, point))),
            Fate::NoPacket => {
                needless.insert(position);
                findings::no_packet(policy, entry, report);
            }
            Fate::Hidden(by) => {
                needless.insert(position);
                findings::hidden(policy, chain, entry, &by, report);
            }
            Fate::TooMuchWork => {
                skipped.insert(position);
            }
        }
    }
    for (position, packet) in matching.into_iter().rev() {
        let entry = &chain.entries[position];
        let candidate = Candidate { chain, entry: position, packet, needless: &needless };
        match budget.spend(|work| candidate.without(&mut lists, work)) {
            Without::Changes => {}
            Without::Same(successors) => {
                needless.insert(position);
                findings::redundant(policy, chain, entry, &successors, report);
            }
            Without::Default => {
                needless.insert(position);
                findings::restates_default(policy, chain, entry, packet.0, report);
            }
            Without::TooMuchWork => {
                skipped.insert(position);
            }
        }
    }
    findings::not_analysed(policy, chain, &skipped, report);
}

#[cfg(test)]
mod tests;
