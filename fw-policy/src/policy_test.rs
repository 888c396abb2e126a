//! Runs the tests that stand in the policy files: on the compiled tables, with the function that the data plane runs.

use std::collections::BTreeMap;

use fw_common::abi::policy::{Action, zone};
use fw_common::policy::Query;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::analysis::{Counterexample, ExamplePacket, Invariants, Undecided, Verdict};
use crate::compile::Compiled;
use crate::diagnostic::Diagnostics;
use crate::invariant::{Invariant, Wants};
use crate::parse::FlowState;
use crate::policy::{Policy, PolicyTest, ZoneSelector};

/// Tests also run for rules that expire within this time, so that an expiry surprises nobody.
const FORESIGHT: Duration = Duration::days(30);

/// What was tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestKind {
    /// `[[test]]`: one packet.
    Test,
    /// `[[invariant]]`: all packets of a set.
    Invariant,
}

/// What became of one test or invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestResult {
    /// Which of the two.
    pub kind: TestKind,
    /// The name of the test.
    pub name: String,
    /// The policy file that it stands in.
    pub file: String,
    /// The line there.
    pub line: u32,
    /// The action that it expects.
    pub expected: Action,
    /// The action of the policy.
    pub got: Action,
    /// The id of the rule, generated rule or default that decided; empty if an invariant holds, or was not decided.
    pub got_rule: String,
    /// The policy file of that rule and the line there; `None` for generated rules.
    pub rule_place: Option<(String, u32)>,
    /// Of an invariant that does not hold: a packet that shows it.
    pub packet: Option<ExamplePacket>,
    /// The point in time that it was judged for, if that is not now.
    pub at: Option<OffsetDateTime>,
    /// Whether the policy does what the test expects.
    pub passed: bool,
    /// What happened, in one sentence.
    pub message: String,
}

impl Policy {
    /// Runs all tests of the policy, and then its invariants. `compiled` is this policy, compiled for `now`.
    ///
    /// A test with `at` is judged for that point in time. The others, and invariants, are judged for now, and again for each
    /// moment of the next 30 days at which a rule expires; of those second runs only failures are in the result.
    ///
    /// An invariant that would take too long to decide has not passed.
    #[must_use]
    pub fn run_tests(&self, compiled: &Compiled, now: OffsetDateTime) -> Vec<TestResult> {
        let mut future = Future { policy: self, compiled, at: BTreeMap::new() };
        let mut results: Vec<TestResult> = Vec::with_capacity(self.tests.len());
        for test in &self.tests {
            let result = match test.moment {
                Some(moment) => future.judge(test, moment),
                None => self.judge(test, compiled),
            };
            results.push(result);
        }
        for moment in self.expiries_soon(now) {
            for test in self.tests.iter().filter(|test| test.moment.is_none()) {
                let result = future.judge(test, moment);
                let fails_now = results.iter().any(|known| known.name == result.name && !known.passed);
                if !result.passed && !fails_now {
                    results.push(result);
                }
            }
        }
        results.extend(self.run_invariants(compiled, now));
        results
    }

    fn run_invariants(&self, compiled: &Compiled, now: OffsetDateTime) -> Vec<TestResult> {
        if self.invariants.is_empty() {
            return Vec::new();
        }
        let mut judged = Invariants::new(self, &compiled.binding, now);
        let found = judged.judge(now);
        let mut results: Vec<TestResult> =
            found.map(|(invariant, found)| self.invariant_result(invariant, found, None, compiled)).collect();
        for moment in self.expiries_soon(now) {
            for (position, (invariant, found)) in judged.judge(moment).enumerate() {
                let result = self.invariant_result(invariant, found, Some(moment), compiled);
                if !result.passed && results[position].passed {
                    results.push(result);
                }
            }
        }
        results
    }

    fn invariant_result(
        &self,
        invariant: &Invariant,
        found: Result<Option<Counterexample>, Undecided>,
        at: Option<OffsetDateTime>,
        compiled: &Compiled,
    ) -> TestResult {
        let (file, line) = self.file_and_line(invariant.at);
        let expected = match invariant.wants {
            Wants::Denied => Action::Drop,
            Wants::Allowed => Action::Allow,
        };
        let result = TestResult {
            kind: TestKind::Invariant,
            name: invariant.name.clone(),
            file: file.to_owned(),
            line,
            expected,
            got: expected,
            got_rule: String::new(),
            rule_place: None,
            packet: None,
            at,
            passed: false,
            message: String::new(),
        };
        let when = at.map(|moment| format!("at {}: ", written(moment))).unwrap_or_default();
        match found {
            Ok(None) => TestResult { passed: true, message: "holds for every packet".to_owned(), ..result },
            Ok(Some((packet, verdict))) => {
                let Verdict { action, rule } = verdict;
                let info = compiled.rules.iter().find(|info| info.id == rule);
                let rule_place = info.filter(|info| info.line > 0).map(|info| (info.file.clone(), info.line));
                let place = rule_place.as_ref().map(|(file, line)| format!(" ({file}:{line})")).unwrap_or_default();
                let message = format!("{when}`{rule}`{place} {} {packet}", verb(action));
                TestResult { got: action, got_rule: rule, rule_place, packet: Some(packet), message, ..result }
            }
            Err(undecided) => {
                let message = format!("{when}{undecided}: divide it into smaller ones");
                TestResult { message, ..result }
            }
        }
    }

    /// When rules expire in the near future, ascending.
    fn expiries_soon(&self, now: OffsetDateTime) -> Vec<OffsetDateTime> {
        let horizon = now.checked_add(FORESIGHT).unwrap_or(now);
        let expiries = self.rules.iter().filter_map(|rule| rule.expires);
        let mut soon: Vec<OffsetDateTime> = expiries.filter(|at| now < *at && *at <= horizon).collect();
        soon.sort_unstable();
        soon.dedup();
        soon
    }

    fn judge(&self, test: &PolicyTest, compiled: &Compiled) -> TestResult {
        let opening = Query {
            src_addr: test.src_addr.into(),
            dst_addr: test.dst_addr.into(),
            from_zone: self.zone_id(&test.from, compiled),
            to_zone: self.zone_id(&test.to, compiled),
            protocol: test.packet.protocol,
            src_port: test.packet.src_port,
            dst_port: test.packet.dst_port,
        };
        let mut decision = compiled.tables.classify(&opening);
        if test.state == FlowState::Established && decision.action != Action::Allow {
            // The other end may have opened the flow; the service stays that of the flow.
            let answered = Query {
                src_addr: opening.dst_addr,
                dst_addr: opening.src_addr,
                from_zone: opening.to_zone,
                to_zone: opening.from_zone,
                ..opening
            };
            let other = compiled.tables.classify(&answered);
            if other.action == Action::Allow {
                decision = other;
            }
        }
        let got = decision.action;
        let info = compiled.rules.get(decision.rule as usize);
        let got_rule = info.map(|rule| rule.id.clone()).unwrap_or_default();
        let rule_place = info.filter(|rule| rule.line > 0).map(|rule| (rule.file.clone(), rule.line));
        let right_rule = test.expected_rule.as_ref().is_none_or(|expected| *expected == got_rule);
        let (file, line) = self.file_and_line(test.at);
        TestResult {
            kind: TestKind::Test,
            name: test.name.clone(),
            file: file.to_owned(),
            line,
            expected: test.expected_action,
            got,
            passed: got == test.expected_action && right_rule,
            message: message(test, got, &got_rule),
            got_rule,
            rule_place,
            packet: None,
            at: None,
        }
    }

    fn zone_id(&self, selector: &ZoneSelector, compiled: &Compiled) -> u8 {
        if selector.local {
            return zone::LOCAL;
        }
        let name = selector.zones.first().map(|position| self.zones[*position].name.as_str());
        let found = compiled.zones.iter().find(|zone| Some(zone.name.as_str()) == name);
        found.map_or(zone::NONE, |zone| zone.id)
    }
}

/// What an action does, as a verb.
pub(crate) const fn verb(action: Action) -> &'static str {
    match action {
        Action::Allow => "allows",
        Action::Drop => "drops",
        Action::Reject => "rejects",
    }
}

fn message(test: &PolicyTest, got: Action, got_rule: &str) -> String {
    let expected = match &test.expected_rule {
        Some(rule) => format!("{} by `{rule}`", test.expected_action.name()),
        None => test.expected_action.name().to_owned(),
    };
    format!("expected {expected}, got {} by `{got_rule}`", got.name())
}

fn written(moment: OffsetDateTime) -> String {
    // Only years that RFC 3339 does not have fail.
    moment.format(&Rfc3339).unwrap_or_else(|_| moment.to_string())
}

/// The policy at other points in time, compiled when a test first asks.
struct Future<'p> {
    policy: &'p Policy,
    compiled: &'p Compiled,
    at: BTreeMap<OffsetDateTime, Result<Compiled, Diagnostics>>,
}

impl Future<'_> {
    fn judge(&mut self, test: &PolicyTest, moment: OffsetDateTime) -> TestResult {
        let Self { policy, compiled, at } = self;
        let then =
            at.entry(moment).or_insert_with(|| policy.compile_with(&compiled.binding, moment, &compiled.options));
        match then {
            Ok(then) => {
                let result = policy.judge(test, then);
                let message = format!("at {}: {}", written(moment), result.message);
                TestResult { at: Some(moment), message, ..result }
            }
            Err(diagnostics) => {
                let result = policy.judge(test, compiled);
                let message = format!("at {} the policy does not compile: {diagnostics}", written(moment));
                TestResult { at: Some(moment), passed: false, message, ..result }
            }
        }
    }
}
