//! The list of all rules in the order in which they are matched, and the defaults behind it.
//!
//! Rules are the same ones in two policies if they are in the same place in memory. Those in front of the first that differs from
//! an earlier list, and those behind the last one, are taken over with what has been made of them.

use std::ops::Range;
use std::sync::Arc;

use fw_common::abi::policy::{Action, MAX_RULES, ZoneDefault, zone};
use fw_common::abi::tables::{DefaultLine, LOG};
use time::OffsetDateTime;

use super::RuleInfo;
use super::clause::{Clause, zone_bits};
use super::infos::RuleInfos;
use super::system_rules;
use super::zones::ZoneIds;
use crate::Code;
use crate::binding::Binding;
use crate::diagnostic::Report;
use crate::level::Level;
use crate::limits::Limits;
use crate::policy::{Mode, Policy, Rule};
use crate::source::Location;
use crate::tables::Column;

/// All rules: those that match are also clauses.
#[derive(Default)]
pub(super) struct RuleList {
    pub(super) infos: RuleInfos,
    pub(super) clauses: Vec<Clause>,
    /// The clauses that an earlier list did not have, if it had the others.
    pub(super) change: Option<Change>,
    /// The rules of the policy.
    rules: Vec<Arc<Rule>>,
    standings: Vec<Standing>,
    places: Vec<Location>,
    /// Position of the first rule of the policy: generated ones stand in front.
    first: u32,
    pub(super) ids: ZoneIds,
    files: Vec<String>,
}

/// Which clauses have taken the place of which. Those in front of them and behind them are the same ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) old: Range<usize>,
    pub(super) new: Range<usize>,
}

/// What an edit elsewhere in a file, or time, changes of a rule.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Standing {
    file: u32,
    line: u32,
    active: bool,
}

impl RuleList {
    /// Lists everything; `last` is an earlier list.
    pub(super) fn new(
        policy: &Policy,
        binding: &Binding,
        ids: ZoneIds,
        now: OffsetDateTime,
        last: Option<Self>,
        report: &mut Report,
    ) -> Self {
        let generated = Generated::new(binding, &ids, report);
        let first = u32::try_from(generated.infos.len()).unwrap_or(u32::MAX);
        let files: Vec<String> = policy.sources.files().map(|(_, file)| file.name.clone()).collect();
        let standings = standings(policy, now);
        let places = policy.rules.iter().map(|rule| rule.at).collect();
        let last = last.filter(|last| last.ids == ids && last.files == files && last.begins_with(&generated));
        let (change, list) = match last {
            Some(last) => (Some(last.change_to(policy, &standings)), last),
            None => (None, Self { clauses: generated.clauses, first, ids, files, ..Self::default() }),
        };
        let replaced = change.clone().unwrap_or(Change { old: 0..0, new: 0..policy.rules.len() });
        let infos = list.infos_of(policy, &generated.infos, &standings, &replaced);
        let mut list = Self { infos, places, ..list };
        let change_of_clauses = list.replace_rules(policy, &standings, replaced);
        list.change = change.map(|_| change_of_clauses);
        list.standings = standings;
        if list.infos.len() > MAX_RULES as usize {
            let message = format!("the policy has {} rules with generated ones and defaults", list.infos.len());
            report.general(Code::TooManyRules, message).help(format!("at most {MAX_RULES} are possible"));
        }
        list
    }

    /// Whether these are the generated rules.
    fn begins_with(&self, generated: &Generated) -> bool {
        let own = self.clauses.partition_point(|clause| clause.rule < self.first);
        self.first as usize == generated.infos.len() && self.clauses[..own] == generated.clauses
    }

    /// Which rules of the policy have taken the place of which, by position among them.
    fn change_to(&self, policy: &Policy, standings: &[Standing]) -> Change {
        let same = |(old, new): (usize, usize)| {
            Arc::ptr_eq(&self.rules[old], &policy.rules[new].rule)
                && self.standings[old].active == standings[new].active
        };
        let (old, new) = (self.rules.len(), policy.rules.len());
        let front = (0..old.min(new)).take_while(|at| same((*at, *at))).count();
        let behind = (1..=old.min(new) - front).take_while(|back| same((old - back, new - back))).count();
        Change { old: front..old - behind, new: front..new - behind }
    }

    /// What is told of all rules of a policy, of which some are this list's.
    fn infos_of(
        &self,
        policy: &Policy,
        generated: &[RuleInfo],
        standings: &[Standing],
        replaced: &Change,
    ) -> RuleInfos {
        let first = generated.len();
        let defaults = default_infos(policy, first + policy.rules.len());
        let of_the_policy = first..first + policy.rules.len();
        let moved = replaced.old.len() != replaced.new.len();
        let known = |range: Range<usize>| {
            let rules = range.start.checked_sub(first)?..range.end - first;
            let same = rules.end <= replaced.new.start || (!moved && rules.start >= replaced.new.end);
            // There are none for generated rules and defaults.
            let here = self.standings.get(rules.clone())? == standings.get(rules)?;
            (same && here).then(|| self.infos.page(range)).flatten()
        };
        RuleInfos::new(of_the_policy.end + defaults.len(), known, |position| {
            if let Some(info) = generated.get(position) {
                return info.clone();
            }
            match policy.rules.get(position - first).zip(standings.get(position - first)) {
                Some((rule, standing)) => info_of(policy, rule, *standing, position),
                None => defaults[position - of_the_policy.end].clone(),
            }
        })
    }

    /// Replaces rules of the list by those of the policy, with their clauses; which clauses those are.
    fn replace_rules(&mut self, policy: &Policy, standings: &[Standing], Change { old, new }: Change) -> Change {
        let (first, ids) = (self.first, &self.ids);
        let position = |rule: usize| first + u32::try_from(rule).unwrap_or(u32::MAX);
        let clause_from = |rule: usize| self.clauses.partition_point(|clause| clause.rule < position(rule));
        let old_clauses = clause_from(old.start)..clause_from(old.end);
        let active = new.clone().filter(|rule| standings[*rule].active);
        let clauses: Vec<Clause> =
            active.map(|rule| Clause::of_rule(&policy.rules[rule], position(rule), ids)).collect();
        let new_clauses = old_clauses.start..old_clauses.start + clauses.len();
        self.clauses.splice(old_clauses.clone(), clauses);
        if old.len() != new.len() {
            let (old_end, new_end) = (position(old.end), position(new.end));
            let behind = &mut self.clauses[new_clauses.end..];
            behind.iter_mut().for_each(|clause| clause.rule = clause.rule - old_end + new_end);
        }
        self.rules.splice(old, policy.rules[new].iter().map(|rule| Arc::clone(&rule.rule)));
        Change { old: old_clauses, new: new_clauses }
    }

    /// The position of a rule of the policy among all rules.
    pub(super) fn position(&self, rule: usize) -> u32 {
        self.first + u32::try_from(rule).unwrap_or(0)
    }

    /// Where the rule of the policy at a position stands.
    pub(super) fn place(&self, position: u32) -> Option<Location> {
        self.places.get(position.checked_sub(self.first)? as usize).copied()
    }

    /// The table of defaults: that of everything, and over it those of the zone pairs.
    pub(super) fn zone_defaults(&self, policy: &Policy) -> Column<DefaultLine> {
        let default = |rule: u32, action: Action, log: bool| ZoneDefault {
            rule,
            action: action as u8,
            flags: if log { LOG } else { 0 },
            ..ZoneDefault::default()
        };
        let last = u32::try_from(self.infos.len() - 1).unwrap_or(u32::MAX);
        let everything = default(last, policy.defaults.action, policy.defaults.log.is_some());
        let mut table = vec![everything; zone::COUNT * zone::COUNT];
        for (position, pair) in (self.position(policy.rules.len())..).zip(&policy.zone_pairs) {
            // A zone pair names one zone on each side, so each has one bit.
            let (from, to) = (zone_bits(&pair.from, &self.ids), zone_bits(&pair.to, &self.ids));
            let index = from.trailing_zeros() as usize * zone::COUNT + to.trailing_zeros() as usize;
            table[index] = default(position, pair.action, pair.log.is_some());
        }
        table.into_iter().collect()
    }
}

/// The rules that every policy begins with.
struct Generated {
    infos: Vec<RuleInfo>,
    clauses: Vec<Clause>,
}

impl Generated {
    fn new(binding: &Binding, ids: &ZoneIds, report: &mut Report) -> Self {
        let mut generated = Self { infos: Vec::new(), clauses: Vec::new() };
        for (rule, position) in system_rules::generate(binding, ids, report).into_iter().zip(0..) {
            let (from, to) = (rule.from.to_owned(), rule.to.to_owned());
            generated.infos.push(RuleInfo {
                id: rule.id.clone(),
                description: rule.description.clone(),
                from,
                to,
                ..anonymous(position, Action::Allow)
            });
            generated.clauses.extend(rule.clauses(position));
        }
        generated
    }
}

/// Where the rules of a policy stand, and which of them match now.
fn standings(policy: &Policy, now: OffsetDateTime) -> Vec<Standing> {
    let mut lines = policy.sources.lines();
    let standing = |rule: &crate::policy::Placed| Standing {
        file: rule.at.file,
        line: lines.line_of(rule.at),
        active: rule.is_active(now),
    };
    policy.rules.iter().map(standing).collect()
}

fn info_of(policy: &Policy, rule: &Rule, Standing { file, line, active }: Standing, position: usize) -> RuleInfo {
    RuleInfo {
        id: rule.id.clone(),
        renamed_from: rule.renamed_from.clone(),
        ordinal: u32::try_from(position).unwrap_or(u32::MAX),
        action: rule.action,
        mode: rule.mode,
        file: policy.sources.name(file).to_owned(),
        line,
        description: rule.description.clone(),
        from: rule.scope.from.display.clone(),
        to: rule.scope.to.display.clone(),
        log: rule.log,
        limits: rule.limits,
        active,
        owner: rule.owner.clone(),
        ticket: rule.ticket.clone(),
    }
}

/// The defaults: those of zone pairs from a position on, and that of everything.
fn default_infos(policy: &Policy, first: usize) -> Vec<RuleInfo> {
    let mut positions = u32::try_from(first).unwrap_or(u32::MAX)..;
    let mut info = |id: String, action: Action, log: Option<Level>, at: Location| {
        let (file, line) = policy.file_and_line(at);
        RuleInfo {
            id,
            file: file.to_owned(),
            line,
            description: "What no rule has matched".to_owned(),
            from: "any".to_owned(),
            to: "any".to_owned(),
            log,
            ..anonymous(positions.next().unwrap_or(u32::MAX), action)
        }
    };
    let mut infos = Vec::with_capacity(policy.zone_pairs.len() + 1);
    for pair in &policy.zone_pairs {
        let (from, to) = (pair.from.display.clone(), pair.to.display.clone());
        let description = pair.description.clone();
        infos.push(RuleInfo { description, from, to, ..info(pair.id(), pair.action, pair.log, pair.at) });
    }
    let defaults = policy.defaults;
    infos.push(info("default".to_owned(), defaults.action, defaults.log, defaults.at));
    infos
}

/// A rule that stands in no file.
fn anonymous(position: u32, action: Action) -> RuleInfo {
    RuleInfo {
        id: String::new(),
        renamed_from: String::new(),
        ordinal: position,
        action,
        mode: Mode::Enforce,
        file: String::new(),
        line: 0,
        description: String::new(),
        from: String::new(),
        to: String::new(),
        log: None,
        limits: Limits::default(),
        active: true,
        owner: String::new(),
        ticket: String::new(),
    }
}
