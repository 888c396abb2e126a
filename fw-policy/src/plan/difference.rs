//! What of a policy's text is another: rules by id, in which keys and at which place, and all other definitions.
//!
//! Only what files say is compared: not comments and formatting, and not the order of the elements of a list, which has no meaning.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use toml::{Table, Value};

use super::order::longest_ascending;
use super::written::{Written, position_in_rule};
use crate::policy::{Placed, Policy};

/// So many elements of a list that have come or gone are named.
const ELEMENTS: usize = 20;

/// What became of a rule or a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It says something else, or has another name.
    Changed,
    /// It says the same at another place.
    Moved,
}

/// What is different between the files of two policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Rules in their new order, and behind them those that are gone.
    pub rules: Vec<RuleChange>,
    /// Zones, sets, defaults, tests and the like, by kind and name.
    pub definitions: Vec<DefinitionChange>,
}

impl Difference {
    /// Whether both files say the same.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.definitions.is_empty()
    }
}

/// A rule that is different.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleChange {
    /// What became of it.
    pub change: Change,
    /// Its id.
    pub id: String,
    /// The id that it had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<String>,
    /// File and line, in the new files unless it is gone.
    pub place: String,
    /// What it does, or did.
    pub action: &'static str,
    /// The keys that are different.
    pub keys: Vec<KeyChange>,
    /// Where it stood and stands, if its order among the others is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
}

/// Where a rule stood and stands: directly behind which one. None: in front of all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// The rule in front of it in the old files.
    pub was_behind: Option<String>,
    /// The rule in front of it in the new files.
    pub is_behind: Option<String>,
}

/// A definition that is different.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DefinitionChange {
    /// What became of it.
    pub change: Change,
    /// What it is: `zone`, `address set`, `service set`, `defaults`, `zone pair`, `test`, `invariant`, or the name of its table.
    pub kind: String,
    /// Its name; empty if there is only one.
    pub name: String,
    /// The keys that are different; a set is one without a name.
    pub keys: Vec<KeyChange>,
}

/// A key that has another value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyChange {
    /// The key.
    pub key: String,
    /// Its old value as it is written; none if it was not there, or is a long list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// Its new value, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
    /// Of lists: elements that have come, the first of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<String>,
    /// Elements that are gone, the first of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// How many more have come or gone.
    #[serde(skip_serializing_if = "is_zero")]
    pub more: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Which rule of the old policy each rule of the new one was, by position.
pub(super) struct Matched {
    pub(super) was: Vec<Option<usize>>,
    gone: Vec<usize>,
}

impl Matched {
    /// The one with the same id, or else the one with the id that it says it had, if no rule has that any more.
    pub(super) fn new(old: &Policy, new: &Policy) -> Self {
        let by_id: BTreeMap<&str, usize> = (0..).zip(&old.rules).map(|(at, rule)| (rule.id.as_str(), at)).collect();
        let ids: BTreeSet<&str> = new.rules.iter().map(|rule| rule.id.as_str()).collect();
        let mut taken: BTreeSet<usize> = BTreeSet::new();
        let was = |rule: &Placed| {
            let renamed = Some(rule.renamed_from.as_str()).filter(|id| !ids.contains(id));
            let found = by_id.get(rule.id.as_str()).or_else(|| by_id.get(renamed?)).copied()?;
            // If two rules say so, the first one was it.
            taken.insert(found).then_some(found)
        };
        let was = new.rules.iter().map(was).collect();
        Self { was, gone: (0..old.rules.len()).filter(|rule| !taken.contains(rule)).collect() }
    }

    /// For each rule that has another id the one that it had.
    pub(super) fn renamed<'p>(&self, old: &'p Policy, new: &'p Policy) -> BTreeMap<&'p str, &'p str> {
        let pairs = new.rules.iter().zip(&self.was).filter_map(|(rule, was)| {
            let before = &old.rules[(*was)?];
            (before.id != rule.id).then_some((rule.id.as_str(), before.id.as_str()))
        });
        pairs.collect()
    }
}

/// Compares the files of two policies.
pub(super) fn between(old: &Policy, new: &Policy, matched: &Matched) -> Difference {
    let (before, after) = (Written::of(old), Written::of(new));
    let kept: Vec<usize> = matched.was.iter().copied().flatten().collect();
    let in_order: BTreeSet<usize> = longest_ascending(&kept).into_iter().map(|position| kept[position]).collect();
    let mut rules = Vec::new();
    for (position, (rule, was)) in new.rules.iter().zip(&matched.was).enumerate() {
        let Some(was) = *was else {
            rules.push(RuleChange { change: Change::Added, ..change_of(new, rule) });
            continue;
        };
        let former = &old.rules[was];
        let keys = match (before.rules.get(&former.id), after.rules.get(&rule.id)) {
            (Some(before), Some(after)) => keys_of_rule(before, after),
            _ => Vec::new(),
        };
        let renamed_from = (former.id != rule.id).then(|| former.id.clone());
        let behind = |policy: &Policy, position: usize| Some(policy.rules[position.checked_sub(1)?].id.clone());
        let moved = (!in_order.contains(&was))
            .then(|| Moved { was_behind: behind(old, was), is_behind: behind(new, position) });
        let change = match (keys.is_empty() && renamed_from.is_none(), &moved) {
            (false, _) => Change::Changed,
            (true, Some(_)) => Change::Moved,
            (true, None) => continue,
        };
        rules.push(RuleChange { change, renamed_from, keys, moved, ..change_of(new, rule) });
    }
    let gone = matched.gone.iter().map(|position| &old.rules[*position]);
    rules.extend(gone.map(|rule| RuleChange { change: Change::Removed, ..change_of(old, rule) }));
    Difference { rules, definitions: definitions(&before.definitions, &after.definitions) }
}

/// A rule of which nothing is said yet.
fn change_of(policy: &Policy, rule: &Placed) -> RuleChange {
    let (file, line) = policy.file_and_line(rule.at);
    RuleChange {
        change: Change::Added,
        id: rule.id.clone(),
        renamed_from: None,
        place: format!("{file}:{line}"),
        action: rule.action.name(),
        keys: Vec::new(),
        moved: None,
    }
}

fn keys_of_rule(before: &Table, after: &Table) -> Vec<KeyChange> {
    let mut keys = keys_of_table(before, after);
    // The one is how it is told which rule this was, and the other says nothing about it.
    keys.retain(|key| key.key != "id" && key.key != "renamed_from");
    keys.sort_by_key(|key| position_in_rule(&key.key));
    keys
}

fn keys_of_table(before: &Table, after: &Table) -> Vec<KeyChange> {
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    keys.into_iter().filter_map(|key| key_change(key, before.get(key), after.get(key))).collect()
}

/// How a value has changed, if it has.
fn key_change(key: &str, old: Option<&Value>, new: Option<&Value>) -> Option<KeyChange> {
    let shown = |value: Option<&Value>| match value {
        Some(Value::Array(elements)) if elements.len() > ELEMENTS => None,
        value => value.map(ToString::to_string),
    };
    let mut change = KeyChange {
        key: key.to_owned(),
        old: shown(old),
        new: shown(new),
        added: Vec::new(),
        removed: Vec::new(),
        more: 0,
    };
    if let (Some(Value::Array(before)), Some(Value::Array(after))) = (old, new) {
        let texts = |elements: &[Value]| elements.iter().map(ToString::to_string).collect::<BTreeSet<String>>();
        let (before, after) = (texts(before), texts(after));
        change.added = after.difference(&before).cloned().collect();
        change.removed = before.difference(&after).cloned().collect();
        if change.added.is_empty() && change.removed.is_empty() {
            return None;
        }
        for elements in [&mut change.added, &mut change.removed] {
            change.more += elements.len().saturating_sub(ELEMENTS);
            elements.truncate(ELEMENTS);
        }
    } else if old == new {
        return None;
    }
    Some(change)
}

fn definitions(
    before: &BTreeMap<(String, String), Value>,
    after: &BTreeMap<(String, String), Value>,
) -> Vec<DefinitionChange> {
    let names: BTreeSet<&(String, String)> = before.keys().chain(after.keys()).collect();
    let change = |known: &(String, String)| {
        let (kind, name) = known.clone();
        let (change, keys) = match (before.get(known), after.get(known)) {
            (None, _) => (Change::Added, Vec::new()),
            (_, None) => (Change::Removed, Vec::new()),
            (Some(Value::Table(before)), Some(Value::Table(after))) => (Change::Changed, keys_of_table(before, after)),
            (before, after) => (Change::Changed, key_change("", before, after).into_iter().collect()),
        };
        (change != Change::Changed || !keys.is_empty()).then_some(DefinitionChange { change, kind, name, keys })
    };
    names.into_iter().filter_map(change).collect()
}
