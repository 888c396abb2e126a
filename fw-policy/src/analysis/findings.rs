//! What is found, in words.

use std::collections::BTreeSet;

use fw_common::abi::policy::Action;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::SOON;
use super::chain::{Chain, Entry};
use super::space::{LOCAL, Pair, each_zone};
use crate::Code;
use crate::diagnostic::{Finding, Report};
use crate::invariant::Invariant;
use crate::policy::Policy;
use crate::policy_test::verb;
use crate::set::interval::Family;
use crate::source::Location;

/// So many other places are shown with a finding.
const MOST_PLACES: usize = 8;

fn place(policy: &Policy, entry: &Entry) -> Location {
    entry.rule.and_then(|rule| policy.rules.get(rule)).map_or(policy.defaults.at, |rule| rule.at)
}

/// `a`, `b` and `c`, or how many there are.
fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => format!("`{one}`"),
        [front @ .., last] if names.len() <= MOST_PLACES => {
            let front: Vec<String> = front.iter().map(|name| format!("`{name}`")).collect();
            format!("{} and `{last}`", front.join(", "))
        }
        many => {
            let shown: Vec<String> = many[..MOST_PLACES].iter().map(|name| format!("`{name}`")).collect();
            format!("{} and {} others", shown.join(", "), many.len() - MOST_PLACES)
        }
    }
}

/// Shows where entries stand; generated ones stand nowhere.
fn show<'e>(
    mut finding: Finding<'_>,
    policy: &Policy,
    entries: impl Iterator<Item = &'e Entry>,
    label: impl Fn(&Entry) -> String,
) {
    for entry in entries.filter(|entry| entry.rule.is_some()).take(MOST_PLACES) {
        finding = finding.related(place(policy, entry), label(entry));
    }
}

const WHY_NO_PACKET: &str = "between its zones, no packet that opens a flow has its addresses and services: compare them with the networks \
                             of the zones";

pub(super) fn no_packet(policy: &Policy, entry: &Entry, report: &mut Report) {
    report
        .at(
            Code::NoSuchPacket,
            place(policy, entry),
            format!("rule `{}` never matches: there is no such packet", entry.id),
        )
        .help(WHY_NO_PACKET);
}

pub(super) fn vacuous(invariant: &Invariant, report: &mut Report) {
    report
        .at(
            Code::EmptyInvariant,
            invariant.at,
            format!("`{}` holds of any policy: there is no such packet", invariant.name),
        )
        .help(WHY_NO_PACKET);
}

pub(super) fn hidden(policy: &Policy, chain: &Chain, entry: &Entry, by: &[usize], report: &mut Report) {
    let others: Vec<&Entry> = by.iter().map(|position| &chain.entries[*position]).collect();
    let allows = entry.effect.action == Action::Allow;
    let is_opposed = |other: &&Entry| (other.effect.action == Action::Allow) != allows;
    let opposed: Vec<&str> = others.iter().copied().filter(is_opposed).map(|other| other.id.as_str()).collect();
    let (code, what, done) = match (opposed.is_empty(), allows) {
        (true, _) => (Code::Shadowed, "matches", ""),
        (false, true) => (Code::AllowHidden, "allows anything", "denies"),
        (false, false) => (Code::DenyHidden, "denies anything", "allows"),
    };
    let done = match (opposed.len(), others.len()) {
        (0, _) => String::new(),
        (1, 1) => format!(" and {done} them"),
        (few, all) if few == all => format!(" and {} them", plural(done)),
        (1, _) => format!("; {} {done} some of them", listed(&opposed)),
        (_, _) => format!("; {} {} some of them", listed(&opposed), plural(done)),
    };
    let names: Vec<&str> = others.iter().map(|other| other.id.as_str()).collect();
    let take = if names.len() == 1 { "takes" } else { "together take" };
    let what = if entry.observes { "observes anything" } else { what };
    let message =
        format!("rule `{}` never {what}: in front of it, {} {take} all of its packets{done}", entry.id, listed(&names));
    let finding = report.at(code, place(policy, entry), message);
    let finding = finding.help(if opposed.is_empty() { "remove it" } else { "remove it, or move it to the front" });
    show(finding, policy, others.into_iter(), |other| format!("`{}` {} first", other.id, verb(other.effect.action)))
}

/// "denies" of several.
fn plural(verb: &str) -> &str {
    if verb == "denies" { "deny" } else { "allow" }
}

/// What is said of a rule that is not needed.
const fn changes_nothing(entry: &Entry) -> &'static str {
    if entry.observes { "would change nothing if it were enforced" } else { "changes nothing" }
}

pub(super) fn redundant(policy: &Policy, chain: &Chain, entry: &Entry, successors: &[usize], report: &mut Report) {
    let others: Vec<&Entry> = successors.iter().map(|position| &chain.entries[*position]).collect();
    let names: Vec<&str> = others.iter().map(|other| other.id.as_str()).collect();
    let message =
        format!("rule `{}` {}: without it, {} would decide alike", entry.id, changes_nothing(entry), listed(&names));
    let finding = report.at(Code::Redundant, place(policy, entry), message);
    let finding = finding.help("remove it, unless it is there for its counter");
    show(finding, policy, others.into_iter(), |other| format!("`{}` {} as well", other.id, verb(other.effect.action)))
}

pub(super) fn restates_default(policy: &Policy, chain: &Chain, entry: &Entry, pair: Pair, report: &mut Report) {
    let (effect, id) = chain.default_of(pair);
    let message = format!(
        "rule `{}` {}: behind it no rule decides its packets otherwise, and `{id}` {} as well",
        entry.id,
        changes_nothing(entry),
        verb(effect.action)
    );
    report
        .at(Code::RestatesDefault, place(policy, entry), message)
        .help("remove it, unless it is there for its counter, or to stand against rules that may come behind it");
}

pub(super) fn not_analysed(policy: &Policy, chain: &Chain, skipped: &BTreeSet<usize>, report: &mut Report) {
    let Some(first) = skipped.first().map(|position| &chain.entries[*position]) else { return };
    let names: Vec<&str> = skipped.iter().map(|position| chain.entries[*position].id.as_str()).collect();
    let message = format!("not analysed: {}, because that would take too long", listed(&names));
    report.at(Code::NotAnalysed, place(policy, first), message);
}

/// Rules that have expired or will soon.
pub(super) fn schedules(policy: &Policy, now: OffsetDateTime, report: &mut Report) {
    let horizon = now.checked_add(SOON).unwrap_or(now);
    for rule in &policy.rules {
        let Some(expires) = rule.expires else { continue };
        let written = expires.format(&Rfc3339).unwrap_or_else(|_| expires.to_string());
        if expires <= now {
            report
                .at(Code::Expired, rule.at, format!("rule `{}` has expired at {written}", rule.id))
                .help("remove it, or give it another date");
        } else if expires <= horizon {
            let days = (expires - now).whole_days();
            let message = format!("rule `{}` expires in {days} days, at {written}", rule.id);
            report.at(Code::ExpiresSoon, rule.at, message).help("give it another date if it is still needed");
        }
    }
}

/// Rules that allow everything from one zone to another.
pub(super) fn open_rules(policy: &Policy, chain: &Chain, report: &mut Report) {
    let is_open =
        |entry: &&Entry| entry.effect.action == Action::Allow && !entry.life.is_over() && entry.life.is_certain();
    for entry in chain.entries.iter().filter(is_open) {
        let Some(rule) = entry.rule.and_then(|rule| policy.rules.get(rule)) else { continue };
        let cubes = &chain.cubes[entry.cubes.clone()];
        let Some(pair) = cubes.iter().find_map(|cube| chain.space.is_everything(cube)) else { continue };
        let family = match pair.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        let (from, to) = (chain.space.zone(pair.from), chain.space.zone(pair.to));
        let would = if entry.observes { "would allow " } else { "allows " };
        let message = format!(
            "rule `{}` {would}everything from `{from}` to `{to}` ({family}): every address and service",
            rule.id
        );
        report
            .at(Code::AllowsEverything, rule.at, message)
            .help("name the services that are needed, and the addresses between which they are");
    }
}

/// Pairs of zones for which nothing is written, in one finding.
pub(super) fn pairs_without_rules(policy: &Policy, chain: &Chain, report: &mut Report) {
    let count = u8::try_from(policy.zones.len()).unwrap_or(LOCAL);
    let zones: Vec<u8> = (0..count).chain([LOCAL]).collect();
    let mut known: Vec<u64> = vec![0; usize::from(LOCAL) + 1];
    for entry in chain.entries.iter().filter(|entry| entry.rule.is_some() && !entry.observes && !entry.life.is_over()) {
        for cube in &chain.cubes[entry.cubes.clone()] {
            each_zone(cube.from).for_each(|from| known[usize::from(from)] |= cube.to);
        }
    }
    let names = |from: u8, to: u8| format!("{}>{}", chain.space.zone(from), chain.space.zone(to));
    let mut missing: Vec<String> = Vec::new();
    for from in &zones {
        // What the firewall sends to itself meets no rule.
        let to = zones.iter().filter(|to| (*from, **to) != (LOCAL, LOCAL));
        let without = to.filter(|to| known[usize::from(*from)] & 1 << **to == 0);
        missing.extend(without.filter(|to| chain.is_left_to_default(*from, **to)).map(|to| names(*from, *to)));
    }
    if missing.is_empty() {
        return;
    }
    let shown: Vec<&str> = missing.iter().take(2 * MOST_PLACES).map(String::as_str).collect();
    let more = missing.len() - shown.len();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let pairs = zones.len() * zones.len() - 1;
    let message = format!("{} of {pairs} pairs of zones have neither a rule nor a default of their own", missing.len());
    report
        .at(Code::PairsWithoutRules, policy.defaults.at, message)
        .label("decides for them")
        .help(format!("they are {}{more}; a `[[zone_pair]]` says that this is meant", shown.join(", ")));
}
