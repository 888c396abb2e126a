//! The list of all rules in the order in which they are matched, and the defaults behind it.

use std::sync::Arc;

use fw_common::abi::policy::{Action, MAX_RULES, ZoneDefault, zone};
use fw_common::abi::tables::{DefaultLine, LOG};
use time::OffsetDateTime;

use super::clause::{Clause, zone_bits};
use super::system_rules::{self, SystemRule};
use super::zones::ZoneIds;
use super::{Left, RuleInfo};
use crate::Code;
use crate::binding::Binding;
use crate::diagnostic::Report;
use crate::limits::Limits;
use crate::policy::{Policy, Rule};
use crate::source::Location;
use crate::tables::Column;

/// All rules: those that match are also clauses.
pub(super) struct RuleList {
    pub(super) infos: Arc<[Arc<RuleInfo>]>,
    pub(super) clauses: Vec<Clause>,
    /// Where each rule stands, for messages.
    places: Vec<Option<Location>>,
    /// Position of the default of the first zone pair; the others follow, and then the default of everything.
    first_default: u32,
}

impl RuleList {
    pub(super) fn new(
        policy: &Policy,
        binding: &Binding,
        ids: &ZoneIds,
        now: OffsetDateTime,
        last: Option<&Left>,
        report: &mut Report,
    ) -> Self {
        let mut list = Listing::default();
        for rule in system_rules::generate(binding, ids, report) {
            list.push_system(rule, last.map_or(&[], |last| &last.clauses));
        }
        let known = last.map_or(&[][..], |last| &last.infos);
        for rule in &policy.rules {
            list.push_rule(policy, rule, ids, now, known);
        }
        let first_default = list.next_position();
        list.push_defaults(policy);
        if list.next_position() > MAX_RULES {
            let message = format!("the policy has {} rules with generated ones and defaults", list.infos.len());
            report.general(Code::TooManyRules, message).help(format!("at most {MAX_RULES} are possible"));
        }
        let Listing { infos, clauses, places } = list;
        Self { infos: infos.into(), clauses, places, first_default }
    }

    /// The position of a rule of the policy among all rules.
    pub(super) fn position(&self, policy: &Policy, rule: usize) -> u32 {
        self.first_default - u32::try_from(policy.rules.len() - rule).unwrap_or(0)
    }

    /// Where the rule at a position stands.
    pub(super) fn place(&self, position: u32) -> Option<Location> {
        self.places.get(position as usize).copied().flatten()
    }

    /// The table of defaults: that of everything, and over it those of the zone pairs.
    pub(super) fn zone_defaults(&self, policy: &Policy, ids: &ZoneIds) -> Column<DefaultLine> {
        let default = |rule: u32, action: Action, log: bool| ZoneDefault {
            rule,
            action: action as u8,
            flags: if log { LOG } else { 0 },
            ..ZoneDefault::default()
        };
        let last = u32::try_from(self.infos.len() - 1).unwrap_or(u32::MAX);
        let everything = default(last, policy.defaults.action, policy.defaults.log);
        let mut table = vec![everything; zone::COUNT * zone::COUNT];
        for (position, pair) in (self.first_default..).zip(&policy.zone_pairs) {
            // A zone pair names one zone on each side, so each has one bit.
            let (from, to) = (zone_bits(&pair.from, ids), zone_bits(&pair.to, ids));
            let index = from.trailing_zeros() as usize * zone::COUNT + to.trailing_zeros() as usize;
            table[index] = default(position, pair.action, pair.log);
        }
        table.into_iter().collect()
    }
}

/// All rules while they are listed.
#[derive(Default)]
struct Listing {
    infos: Vec<Arc<RuleInfo>>,
    clauses: Vec<Clause>,
    places: Vec<Option<Location>>,
}

impl Listing {
    fn next_position(&self) -> u32 {
        u32::try_from(self.infos.len()).unwrap_or(u32::MAX)
    }

    fn push(&mut self, info: impl Into<Arc<RuleInfo>>, place: Option<Location>) {
        self.infos.push(info.into());
        self.places.push(place);
    }

    /// `last`: the clauses of an earlier list. What they have alike is shared, so that it is known to be the same.
    fn push_system(&mut self, rule: SystemRule, last: &[Clause]) {
        let ordinal = self.next_position();
        let info = RuleInfo {
            id: rule.id.clone(),
            ordinal,
            action: Action::Allow,
            file: String::new(),
            line: 0,
            description: rule.description.clone(),
            from: rule.from.to_owned(),
            to: rule.to.to_owned(),
            log: false,
            limits: Limits::default(),
            active: true,
            owner: String::new(),
            ticket: String::new(),
        };
        self.push(info, None);
        let known = last.get(self.clauses.len()..).unwrap_or_default().iter().map(Some).chain(std::iter::repeat(None));
        let shared = rule.clauses(ordinal).zip(known).map(|(clause, known)| clause.sharing_with(known));
        self.clauses.extend(shared);
    }

    /// `last`: the rules of an earlier list. What is still right of them is shared.
    fn push_rule(&mut self, policy: &Policy, rule: &Rule, ids: &ZoneIds, now: OffsetDateTime, last: &[Arc<RuleInfo>]) {
        let ordinal = self.next_position();
        let (file, line) = policy.file_and_line(rule.at);
        let active = rule.is_active(now);
        let known = last.get(ordinal as usize).filter(|info| info.tells(rule) && info.is_at(ordinal, file, line));
        let info = match known.filter(|info| info.active == active) {
            Some(info) => Arc::clone(info),
            None => Arc::new(RuleInfo {
                id: rule.id.clone(),
                ordinal,
                action: rule.action,
                file: file.to_owned(),
                line,
                description: rule.description.clone(),
                from: rule.from.display.clone(),
                to: rule.to.display.clone(),
                log: rule.log,
                limits: rule.limits,
                active,
                owner: rule.owner.clone(),
                ticket: rule.ticket.clone(),
            }),
        };
        self.push(info, Some(rule.at));
        if active {
            self.clauses.push(Clause::of_rule(rule, ordinal, ids));
        }
    }

    fn push_defaults(&mut self, policy: &Policy) {
        for pair in &policy.zone_pairs {
            let (from, to) = (&pair.from.display, &pair.to.display);
            let info = self.default_info(policy, pair.id(), pair.action, pair.log, pair.at);
            let info = RuleInfo { description: pair.description.clone(), from: from.clone(), to: to.clone(), ..info };
            self.push(info, Some(pair.at));
        }
        let defaults = policy.defaults;
        let info = self.default_info(policy, "default".to_owned(), defaults.action, defaults.log, defaults.at);
        self.push(info, Some(defaults.at));
    }

    fn default_info(&self, policy: &Policy, id: String, action: Action, log: bool, at: Location) -> RuleInfo {
        let (file, line) = policy.file_and_line(at);
        RuleInfo {
            id,
            ordinal: self.next_position(),
            action,
            file: file.to_owned(),
            line,
            description: "What no rule has matched".to_owned(),
            from: "any".to_owned(),
            to: "any".to_owned(),
            log,
            limits: Limits::default(),
            active: true,
            owner: String::new(),
            ticket: String::new(),
        }
    }
}

impl RuleInfo {
    /// Whether this is what a rule says of itself.
    fn tells(&self, rule: &Rule) -> bool {
        let Self {
            id,
            ordinal: _,
            action,
            file: _,
            line: _,
            description,
            from,
            to,
            log,
            limits,
            active: _,
            owner,
            ticket,
        } = self;
        (*id == rule.id && *description == rule.description && *owner == rule.owner && *ticket == rule.ticket)
            && (*from == rule.from.display && *to == rule.to.display)
            && (*action, *log, *limits) == (rule.action, rule.log, rule.limits)
    }

    fn is_at(&self, ordinal: u32, file: &str, line: u32) -> bool {
        (self.ordinal, self.line) == (ordinal, line) && self.file == file
    }
}
