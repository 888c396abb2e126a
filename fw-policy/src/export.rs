//! What a policy decides, in rows for auditors: names are worked out, so that nothing has to be looked up.

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::level::Level;
use crate::policy::{Mode, Policy, Rule, ZonePair};

/// A rule or a default. The order of rows is the order in which they are matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditRow {
    /// From 1.
    pub position: usize,
    /// The id in counters and logs.
    pub id: String,
    /// What it is for.
    pub description: String,
    /// The zones of the source.
    pub from: Vec<String>,
    /// The zones of the destination.
    pub to: Vec<String>,
    /// Source addresses: prefixes and ranges, or `any`.
    pub source: Vec<String>,
    /// Destination addresses.
    pub destination: Vec<String>,
    /// Protocols and ports, or `any`.
    pub services: Vec<String>,
    /// What it does, or would do.
    pub action: &'static str,
    /// Whether it decides: `enforce` or `observe`.
    pub mode: &'static str,
    /// Whether that is logged.
    pub log: bool,
    /// As how severe, if it is.
    pub level: Option<Level>,
    /// How many flows it may open; empty without limits.
    pub limits: String,
    /// In seconds; `None` by protocol and state.
    pub idle_timeout: Option<u32>,
    /// From when it matches.
    pub starts: Option<String>,
    /// From when it does not match any more.
    pub expires: Option<String>,
    /// Whether it matches now.
    pub active: bool,
    /// Who answers for it.
    pub owner: String,
    /// Where it was asked for.
    pub ticket: String,
    /// The policy file.
    pub file: String,
    /// The line there.
    pub line: u32,
}

impl Policy {
    /// All rules, the defaults of zone pairs and the default of everything, as they are matched.
    #[must_use]
    pub fn audit(&self, now: OffsetDateTime) -> Vec<AuditRow> {
        let rules = self.rules.iter().map(|placed| AuditRow {
            position: 0,
            active: placed.is_active(now),
            file: self.file_and_line(placed.at).0.to_owned(),
            line: self.file_and_line(placed.at).1,
            ..of_rule(placed)
        });
        let pairs = self.zone_pairs.iter().map(|pair| self.of_pair(pair));
        let mut rows: Vec<AuditRow> = rules.chain(pairs).chain([self.of_default()]).collect();
        rows.iter_mut().zip(1..).for_each(|(row, position)| row.position = position);
        rows
    }

    fn of_pair(&self, pair: &ZonePair) -> AuditRow {
        let (file, line) = self.file_and_line(pair.at);
        let names = |text: &str| text.split(',').map(str::to_owned).collect();
        AuditRow {
            id: pair.id(),
            description: pair.description.clone(),
            from: names(&pair.from.display),
            to: names(&pair.to.display),
            file: file.to_owned(),
            line,
            ..default_row(pair.action.name(), pair.log)
        }
    }

    fn of_default(&self) -> AuditRow {
        let (file, line) = self.file_and_line(self.defaults.at);
        let row = default_row(self.defaults.action.name(), self.defaults.log);
        AuditRow { id: "default".to_owned(), file: file.to_owned(), line, ..row }
    }
}

fn of_rule(rule: &Rule) -> AuditRow {
    let moment = |at: Option<OffsetDateTime>| at.and_then(|at| at.format(&Rfc3339).ok());
    let names = |text: &str| text.split(',').map(str::to_owned).collect();
    AuditRow {
        id: rule.id.clone(),
        description: rule.description.clone(),
        from: names(&rule.scope.from.display),
        to: names(&rule.scope.to.display),
        source: rule.scope.source.terms(),
        destination: rule.scope.destination.terms(),
        services: rule.scope.services.terms(),
        limits: rule.limits.to_string(),
        idle_timeout: (rule.idle_timeout != 0).then_some(rule.idle_timeout),
        starts: moment(rule.starts),
        expires: moment(rule.expires),
        owner: rule.owner.clone(),
        ticket: rule.ticket.clone(),
        mode: rule.mode.name(),
        ..default_row(rule.action.name(), rule.log)
    }
}

fn default_row(action: &'static str, level: Option<Level>) -> AuditRow {
    let any = || vec!["any".to_owned()];
    AuditRow {
        position: 0,
        id: String::new(),
        description: String::new(),
        from: any(),
        to: any(),
        source: any(),
        destination: any(),
        services: any(),
        action,
        mode: Mode::Enforce.name(),
        log: level.is_some(),
        level,
        limits: String::new(),
        idle_timeout: None,
        starts: None,
        expires: None,
        active: true,
        owner: String::new(),
        ticket: String::new(),
        file: String::new(),
        line: 0,
    }
}
