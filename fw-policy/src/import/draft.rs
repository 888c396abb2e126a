//! A policy in the making, and its text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use fw_common::abi::policy::Action;
use fw_common::wire::protocol;

use super::matching::{Match, Packets, all_of, intersection, opening};
use super::{ImportNote, Outcome};
use crate::set::SetAlgebra;
use crate::set::address::AddressSet;
use crate::set::icmp::{self, Role};
use crate::set::interval::Family;
use crate::set::service::{ALL_PORTS, PortRange, Ports, ServiceSet};

/// The rules so far.
#[derive(Default)]
pub(super) struct Draft {
    /// What the file says of itself, at its top.
    pub(super) about: Vec<String>,
    pub(super) zones: BTreeSet<String>,
    /// Named sets, each with the comment above it.
    pub(super) sets: BTreeMap<String, (String, Vec<String>)>,
    entries: Vec<Entry>,
    ids: BTreeSet<String>,
    pub(super) notes: Vec<ImportNote>,
}

enum Entry {
    Rule(Box<Rule>),
    /// What stands in the place of a rule that was left out.
    Comment(String),
    /// What stands above the next rule.
    Above(String),
}

struct Rule {
    id: String,
    description: String,
    matching: Match,
    /// Elements beside the addresses of the match: named sets, and exceptions.
    named: [Vec<String>; 2],
    action: Action,
}

/// A rule as the other firewall had it.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) line: Option<u32>,
    /// As it was written, or as it is called.
    pub(super) text: String,
    /// What it is to be called here.
    pub(super) id: String,
    pub(super) description: String,
}

impl Draft {
    pub(super) fn note(&mut self, origin: &Origin, outcome: Outcome, reason: impl Into<String>) {
        let (line, text) = (origin.line, one_line(&origin.text));
        self.notes.push(ImportNote { line, outcome, text, reason: reason.into() });
    }

    /// Says of a rule that it is not there, in its place and in the report.
    pub(super) fn leave_out(&mut self, origin: &Origin, reason: impl Into<String>) {
        let reason = reason.into();
        let line = origin.line.map_or_else(String::new, |line| format!(" line {line}"));
        self.entries.push(Entry::Comment(format!("left out{line}: {}: {reason}", one_line(&origin.text))));
        self.note(origin, Outcome::LeftOut, reason);
    }

    /// Adds a rule that allows, if it can be expressed exactly.
    pub(super) fn allow(&mut self, origin: &Origin, matching: &Match) {
        if matching.packets == Packets::Invalid {
            return self.leave_out(origin, "it allows packets that belong to no flow and open none");
        }
        if !matching.unknown.is_empty() {
            return self.leave_out(origin, format!("{} cannot be expressed", matching.unknown.join(", ")));
        }
        if matching.packets == Packets::OfFlows {
            return self.note(
                origin,
                Outcome::Implied,
                "packets of a flow that is allowed pass, and errors about it; helpers do not",
            );
        }
        let services = opening(&matching.services);
        if services.is_empty() && !matching.services.is_empty() {
            return self.note(origin, Outcome::Implied, "ICMP replies and errors pass with their flow");
        }
        self.add(origin, matching, [Vec::new(), Vec::new()], Action::Allow);
    }

    /// Adds a rule that forbids, which forbids more if it cannot be expressed exactly.
    pub(super) fn forbid(&mut self, origin: &Origin, matching: &Match, action: Action) {
        if matching.packets == Packets::Invalid {
            return self.note(origin, Outcome::Implied, "packets that belong to no flow and open none are dropped");
        }
        if matching.packets == Packets::OfFlows {
            self.explain(origin, "packets of flows cannot be forbidden alone: the flow is");
        }
        if !matching.unknown.is_empty() {
            let reason =
                format!("{} cannot be expressed: it forbids without regard to that", matching.unknown.join(", "));
            self.explain(origin, reason);
        }
        if opening(&matching.services).is_empty() && !matching.services.is_empty() {
            return self.note(
                origin,
                Outcome::Assumed,
                "ICMP replies and errors pass with a flow that is allowed, and cannot be forbidden",
            );
        }
        self.add(origin, matching, [Vec::new(), Vec::new()], action);
    }

    /// Says of a rule that it is stricter than it was, above it and in the report.
    fn explain(&mut self, origin: &Origin, reason: impl Into<String>) {
        let reason = reason.into();
        let line = origin.line.map_or_else(String::new, |line| format!(", line {line}"));
        self.entries.push(Entry::Above(format!("stricter{line}: {}: {reason}", one_line(&origin.text))));
        self.note(origin, Outcome::Stricter, reason);
    }

    /// Adds a rule, with elements beside its source and its destination.
    pub(super) fn add(&mut self, origin: &Origin, matching: &Match, named: [Vec<String>; 2], action: Action) {
        let says_nothing = *matching.services != ServiceSet::everything() && services(&matching.services).is_empty();
        if matching.is_nothing() || says_nothing {
            return self.note(origin, Outcome::Implied, "it matches nothing");
        }
        let zones = [&matching.from, &matching.to].into_iter().flatten().flatten();
        self.zones.extend(zones.filter(|zone| *zone != "local").cloned());
        let id = self.free_id(&origin.id);
        let description = one_line(&origin.description);
        self.entries.push(Entry::Rule(Box::new(Rule { id, description, matching: matching.clone(), named, action })));
    }

    /// How many rules and comments there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// An id that no rule has.
    fn free_id(&mut self, wanted: &str) -> String {
        let wanted = name(wanted, 48);
        let numbered = (2..).map(|number| format!("{wanted}.{number}"));
        let free = std::iter::once(wanted.clone()).chain(numbered).find(|id| !self.ids.contains(id));
        let free = free.unwrap_or(wanted);
        self.ids.insert(free.clone());
        free
    }

    pub(super) fn to_toml(&self) -> String {
        let mut text = String::new();
        self.about.iter().for_each(|line| comment(&mut text, line));
        text.push_str("version = 1\n\n[defaults]\naction = \"drop\"\n");
        for zone in &self.zones {
            let _ = writeln!(text, "\n[zones.{}]", quoted(zone));
        }
        if !self.sets.is_empty() {
            text.push_str("\n[addresses]\n");
        }
        for (name, (about, elements)) in &self.sets {
            comment(&mut text, about);
            let _ = writeln!(text, "{} = {}", quoted(name), array(elements.iter().map(|element| quoted(element))));
        }
        let mut is_above = false;
        for entry in &self.entries {
            if !std::mem::replace(&mut is_above, matches!(entry, Entry::Above(_))) {
                text.push('\n');
            }
            match entry {
                Entry::Comment(about) | Entry::Above(about) => comment(&mut text, about),
                Entry::Rule(rule) => rule.write(&mut text),
            }
        }
        text
    }
}

impl Rule {
    fn write(&self, text: &mut String) {
        let Self { id, description, matching, named, action } = self;
        let _ = writeln!(text, "[[rule]]\nid = {}", quoted(id));
        if !description.is_empty() {
            let _ = writeln!(text, "description = {}", quoted(description));
        }
        for (key, zones) in [("from", &matching.from), ("to", &matching.to)] {
            let zones = zones.as_ref().map_or_else(|| vec!["any".to_owned()], |zones| zones.iter().cloned().collect());
            let _ = writeln!(text, "{key} = {}", array(zones.iter().map(|zone| quoted(zone))));
        }
        for ((key, set), named) in
            [("source", &matching.source), ("destination", &matching.destination)].into_iter().zip(named)
        {
            // The other side says of which family the packets are.
            if named.is_empty() && self.is_said_elsewhere(key, set) {
                continue;
            }
            let mut terms = address_elements(set);
            if *set == SetAlgebra::everything() && !named.iter().any(|term| term.starts_with('!')) {
                // Without anything it is everything, and beside a named set it is that set.
                terms.clear();
            }
            let terms: Vec<String> = terms.iter().chain(named).map(|term| quoted(term)).collect();
            if !terms.is_empty() {
                let _ = writeln!(text, "{key} = {}", array(terms.into_iter()));
            }
        }
        if *matching.services != ServiceSet::everything() {
            let _ = writeln!(text, "services = {}", array(services(&matching.services).into_iter()));
        }
        let _ = writeln!(text, "action = \"{}\"", action.name());
    }
}

impl Rule {
    /// Whether a side is all of a family, and the other side is of that family anyway.
    fn is_said_elsewhere(&self, key: &str, set: &AddressSet) -> bool {
        let Match { source, destination, .. } = &self.matching;
        let other = if key == "source" { destination } else { source };
        let families = [(Family::V4, &other.v6), (Family::V6, &other.v4)];
        let is_whole = families.into_iter().any(|(family, rest)| *set == all_of(family) && rest.is_empty());
        // If both are, it is said once.
        is_whole && (key == "destination" || *other != *set)
    }
}

/// The elements of an address set: what it is, or all of a family with what is excepted, whichever is shorter.
fn address_elements(set: &AddressSet) -> Vec<String> {
    let mut elements = Vec::new();
    for family in Family::ALL {
        let all = all_of(family);
        let (listed, excepted) = (intersection(set, &all).terms(), all.subtract(set).terms());
        if excepted.len() < listed.len() {
            elements.extend(all.terms());
            elements.extend(excepted.iter().map(|term| format!("!{term}")));
        } else {
            elements.extend(listed);
        }
    }
    elements
}

/// The elements of `services`.
fn services(set: &ServiceSet) -> Vec<String> {
    let missing = ServiceSet::everything().subtract(set);
    if set.family(Family::V4).protocols().count() > 128 {
        let missing = elements(&missing);
        // A table cannot be excepted.
        if missing.iter().all(|element| element.starts_with('"')) {
            return missing.into_iter().map(|element| element.replacen('"', "\"!", 1)).collect();
        }
    }
    elements(set)
}

fn elements(set: &ServiceSet) -> Vec<String> {
    let mut elements = Vec::new();
    for family in Family::ALL {
        for (number, ports) in set.family(family).protocols() {
            match number {
                protocol::ICMP if family == Family::V4 => elements.extend(icmp_elements(false, ports)),
                protocol::ICMPV6 if family == Family::V6 => elements.extend(icmp_elements(true, ports)),
                // Each of the two exists in its family only.
                protocol::ICMP | protocol::ICMPV6 => {}
                _ if family == Family::V4 => elements.extend(ports.iter().filter_map(|ports| element(number, *ports))),
                _ => {}
            }
        }
    }
    elements
}

fn element(number: u8, ports: Ports) -> Option<String> {
    let name = match number {
        protocol::TCP => "tcp",
        protocol::UDP => "udp",
        protocol::SCTP => "sctp",
        other => return Some(quoted(&format!("proto/{other}"))),
    };
    // No packet that is judged has port 0.
    let range = |(first, last): PortRange| {
        (last > 0).then(|| if first == last { first.to_string() } else { format!("{}-{last}", first.max(1)) })
    };
    if ports.source != ALL_PORTS {
        let source = quoted(&range(ports.source)?);
        let destination = if ports.destination == ALL_PORTS {
            String::new()
        } else {
            format!("port = [{}], ", quoted(&range(ports.destination)?))
        };
        return Some(format!("{{ proto = \"{name}\", {destination}source_port = [{source}] }}"));
    }
    let destination =
        if ports.destination == ALL_PORTS { String::new() } else { format!("/{}", range(ports.destination)?) };
    Some(quoted(&format!("{name}{destination}")))
}

/// The types that open flows; the language has no words for the others.
fn icmp_elements(is_v6: bool, ports: &[Ports]) -> Vec<String> {
    let name = if is_v6 { "icmpv6" } else { "icmp" };
    if ports == [Ports::ALL] {
        return vec![quoted(name)];
    }
    let holds = |value: u16| ports.iter().any(|ports| ports.destination.0 <= value && value <= ports.destination.1);
    let mut elements = Vec::new();
    for kind in (0..=u8::MAX).filter(|kind| icmp::role(is_v6, *kind) == Role::Query) {
        let codes: Vec<u8> = (0..=u8::MAX).filter(|code| holds(u16::from(kind) << 8 | u16::from(*code))).collect();
        if codes.len() == 256 {
            elements.push(quoted(&format!("{name}/{kind}")));
        } else {
            elements.extend(codes.iter().map(|code| quoted(&format!("{name}/{kind}/{code}"))));
        }
    }
    elements
}

fn array(elements: impl Iterator<Item = String>) -> String {
    format!("[{}]", elements.collect::<Vec<_>>().join(", "))
}

/// A string of TOML; there are no control characters in it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn comment(text: &mut String, about: &str) {
    let _ = writeln!(text, "# {}", one_line(about));
}

/// How long texts of the other firewall are in comments and reports, in characters.
const LONGEST: usize = 300;

/// A text without line breaks and other control characters.
fn one_line(text: &str) -> String {
    let printable = |character: char| if character.is_control() { ' ' } else { character };
    let mut line: String = text.chars().take(LONGEST).map(printable).collect();
    if text.chars().nth(LONGEST).is_some() {
        line.push('…');
    }
    line.trim().to_owned()
}

/// A name that the language takes, of at most so many bytes.
pub(super) fn name(text: &str, longest: usize) -> String {
    let allowed =
        |character: char| if character.is_ascii_alphanumeric() || "._-".contains(character) { character } else { '-' };
    let name: String = text.chars().map(allowed).take(longest).collect();
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    let is_reserved = matches!(name.as_str(), "any" | "local" | "default" | "other") || name.starts_with("system-");
    if starts_well && !is_reserved { name } else { format!("x{name}") }
}
