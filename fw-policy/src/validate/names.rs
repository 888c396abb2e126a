//! Names and ids: what they may consist of, which are reserved, and that each is taken once.

use std::collections::BTreeMap;

use fw_common::abi::policy::MAX_RULE_ID;

use crate::Code;
use crate::diagnostic::Report;
use crate::parse::{Definitions, RuleDefinition};
use crate::source::{Location, Spanned};

/// The longest zone name, in bytes: two of them make the id of a zone pair, `default:FROM>TO`.
const MAX_ZONE_NAME: usize = (MAX_RULE_ID - "default:".len() - ">".len()) / 2;

const RESERVED: &[&str] = &["any", "local", "default", "other"];

/// Checks all names that the files define.
pub(super) fn check(definitions: &Definitions, report: &mut Report) {
    check_kind("zone", MAX_ZONE_NAME, definitions.zones.iter().map(|zone| &zone.name), report);
    let (sets, feeds) =
        (definitions.addresses.iter().map(|set| &set.name), definitions.feeds.iter().map(|feed| &feed.name));
    sets.clone().for_each(|name| check_name("address set", MAX_RULE_ID, name, report));
    feeds.clone().for_each(|name| check_name("feed", MAX_RULE_ID, name, report));
    // `@name` means the one or the other.
    report_duplicates("address set", sets.chain(feeds), report);
    check_kind("service set", MAX_RULE_ID, definitions.services.iter().map(|set| &set.name), report);
    check_rules(&definitions.rules, report);
    // The name of a test is a sentence.
    report_duplicates("test", definitions.tests.iter().map(|test| &test.name), report);
    report_duplicates(
        "invariant",
        definitions.invariants.iter().filter_map(|invariant| invariant.name.as_ref()),
        report,
    );
}

/// Checks the ids of rules.
pub(super) fn check_rules(rules: &[RuleDefinition], report: &mut Report) {
    check_kind("rule", MAX_RULE_ID, rules.iter().filter_map(|rule| rule.id.as_ref()), report);
    let renamed = rules.iter().filter_map(|rule| rule.renamed_from.as_ref());
    renamed.for_each(|old| check_name("rule", MAX_RULE_ID, old, report));
}

fn check_kind<'d>(
    kind: &str,
    longest: usize,
    names: impl Iterator<Item = &'d Spanned<String>> + Clone,
    report: &mut Report,
) {
    for name in names.clone() {
        check_name(kind, longest, name, report);
    }
    report_duplicates(kind, names, report);
}

fn check_name(kind: &str, longest: usize, name: &Spanned<String>, report: &mut Report) {
    if let Some((message, help)) = fault(kind, longest, &name.value) {
        report.at(Code::InvalidName, name.at, message).help_if(help.map(str::to_owned));
    }
}

/// Why a name cannot be one, and what to do about it.
pub(crate) fn name_fault(kind: &str, is_zone: bool, name: &str) -> Option<(String, Option<&'static str>)> {
    fault(kind, if is_zone { MAX_ZONE_NAME } else { MAX_RULE_ID }, name)
}

fn fault(kind: &str, longest: usize, name: &str) -> Option<(String, Option<&'static str>)> {
    let characters = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    if !name.starts_with(|first: char| first.is_ascii_alphanumeric()) || !name.chars().all(characters) {
        let help = "a name starts with a letter or digit and goes on with letters, digits, `.`, `_` and `-`";
        return Some((format!("`{name}` cannot be the name of a {kind}"), Some(help)));
    }
    if RESERVED.contains(&name) || name.starts_with("system-") {
        let help = "`any`, `local`, `default`, `other` and names that start with `system-` have a meaning of their own";
        return Some((format!("`{name}` is reserved"), Some(help)));
    }
    let is_long = name.len() > longest;
    is_long.then(|| (format!("the name of a {kind} has at most {longest} characters, not {}", name.len()), None))
}

fn report_duplicates<'d>(kind: &str, names: impl Iterator<Item = &'d Spanned<String>>, report: &mut Report) {
    let mut first_places: BTreeMap<&str, Location> = BTreeMap::new();
    for name in names {
        match first_places.get(name.value.as_str()) {
            Some(first) => {
                report
                    .at(Code::Duplicate, name.at, format!("the {kind} `{}` is defined twice", name.value))
                    .label("defined again here")
                    .related(*first, "first defined here");
            }
            None => {
                first_places.insert(&name.value, name.at);
            }
        }
    }
}
