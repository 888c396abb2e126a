//! What `nft -j list ruleset` prints (libnftables-json(5)).

mod rule;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::ImportError;
use super::chains::{self, Chains, Hook, Verdict};
use super::draft::{Draft, Origin};
use super::matching::{Match, all_of};
use crate::set::interval::Family;
use rule::Reader;

/// A table, by family and name: chains and sets are its own.
type Table = (String, String);

pub(super) fn read(text: &str) -> Result<Draft, ImportError> {
    let not_that = |why: &str| ImportError::NotThat(format!("this is not what `nft -j list ruleset` prints: {why}"));
    let ruleset: Value = serde_json::from_str(text).map_err(|error| not_that(&error.to_string()))?;
    let objects = ruleset["nftables"].as_array().ok_or_else(|| not_that("there is no list `nftables`"))?;
    let mut draft = Draft::default();
    draft.about.push("Imported from nftables; the report says what could not be carried over.".to_owned());
    draft.about.push("Zones are named after interfaces; agent.toml says which interfaces they are.".to_owned());
    let sets = sets_of(objects);
    let interfaces = interfaces_of(objects);
    let mut tables: BTreeMap<Table, Chains> = BTreeMap::new();
    let mut base_chains: Vec<BaseChain> = Vec::new();
    let mut lines = lines_of_rules(text);
    for object in objects {
        if let Some(chain) = object.get("chain") {
            let table = table_of(chain);
            let name = text_of(&chain["name"]);
            tables.entry(table.clone()).or_default().entry(name.clone()).or_default();
            add_base_chain(chain, table, name, &mut base_chains, &mut draft);
        }
        if let Some(rule) = object.get("rule") {
            let reader = Reader { sets: &sets, table: table_of(rule), interfaces: &interfaces };
            let read = reader.rule(rule, lines.next());
            tables.entry(reader.table).or_default().entry(text_of(&rule["chain"])).or_default().push(read);
        }
    }
    for BaseChain { table, name, hooks, .. } in base_chains.iter().filter(|chain| chain.policy.is_none()) {
        let Some(chains) = tables.get(table) else { continue };
        chains::lay_out_drops(chains, name, hooks, &of_table(table), &mut draft)?;
    }
    for BaseChain { table, name, hooks, policy } in &base_chains {
        let (Some(chains), [hook], Some(policy)) = (tables.get(table), hooks, policy) else { continue };
        let meets = |other: &BaseChain| {
            let same = other.table.0 == table.0 || other.table.0 == "inet" || table.0 == "inet";
            same && other.hooks.contains(hook) && other.policy.is_some()
        };
        let same_hook = base_chains.iter().filter(|other| meets(other)).count();
        let mut context = hook.matching().and(&of_table(table));
        if same_hook > 1 {
            // Each of them must let a packet pass; one list lets pass what any of its rules does.
            context.unknown.push(format!("that {same_hook} chains with the hook of `{name}` must agree"));
        }
        chains::lay_out(chains, name, &context, Some(policy), &mut draft)?;
    }
    Ok(draft)
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn table_of(object: &Value) -> Table {
    (text_of(&object["family"]), text_of(&object["table"]))
}

fn of_family(family: Family) -> Match {
    Match { source: all_of(family), destination: all_of(family), ..Match::any() }
}

/// What a table is about.
fn of_table(table: &Table) -> Match {
    match table.0.as_str() {
        "ip" => of_family(Family::V4),
        "ip6" => of_family(Family::V6),
        _ => Match::any(),
    }
}

/// A chain that packets come to by themselves.
struct BaseChain {
    table: Table,
    name: String,
    /// Where its packets go.
    hooks: &'static [Hook],
    /// What becomes of what no rule decides; `None` if other chains decide then.
    policy: Option<Verdict>,
}

/// Takes a base chain, or says why not.
fn add_base_chain(chain: &Value, table: Table, name: String, base_chains: &mut Vec<BaseChain>, draft: &mut Draft) {
    let Some(hook) = chain["hook"].as_str() else { return };
    let (decides, hooks): (bool, &[Hook]) = match hook {
        "forward" => (true, &[Hook::Forward]),
        "input" => (true, &[Hook::Input]),
        "output" => (true, &[Hook::Output]),
        "prerouting" | "ingress" => (false, &[Hook::Forward, Hook::Input]),
        _ => (false, &[Hook::Forward, Hook::Output]),
    };
    let (kind, is_ip) = (chain["type"].as_str(), matches!(table.0.as_str(), "ip" | "ip6" | "inet" | "netdev"));
    if is_ip && matches!(kind, Some("filter" | "route")) {
        let policy = if chain["policy"] == "drop" { Verdict::Drop } else { Verdict::Allow };
        let policy = (decides && kind == Some("filter")).then_some(policy);
        base_chains.push(BaseChain { table, name, hooks, policy });
        return;
    }
    let origin = Origin {
        line: None,
        text: format!("chain {} {} {name}: {} hook {hook}", table.0, table.1, kind.unwrap_or_default()),
        id: name,
        description: String::new(),
    };
    let reason = if kind == Some("nat") { "addresses are not translated" } else { "it is not about IP packets" };
    draft.leave_out(&origin, reason);
}

/// The elements of named sets.
fn sets_of(objects: &[Value]) -> BTreeMap<(Table, String), Value> {
    // Elements that come and go while packets pass are not those that are listed.
    let changes = |set: &&Value| {
        let flags = set["flags"].as_array().into_iter().flatten();
        set["timeout"].is_number() || flags.into_iter().any(|flag| flag == "dynamic" || flag == "timeout")
    };
    let sets = objects.iter().filter_map(|object| object.get("set")).filter(|set| !changes(set));
    sets.map(|set| ((table_of(set), text_of(&set["name"])), set["elem"].clone())).collect()
}

/// The lines at which rules begin: where their key stands. JSON of one line has only one.
fn lines_of_rules(text: &str) -> std::vec::IntoIter<u32> {
    let mut lines = Vec::new();
    for (line, number) in text.lines().zip(1u32..) {
        let keys = line.match_indices("\"rule\"").filter(|(at, key)| {
            let is_key = line[at + key.len()..].trim_start().starts_with(':');
            is_key && !line[..*at].ends_with('\\')
        });
        lines.extend(keys.map(|_| number));
    }
    lines.into_iter()
}

/// Every interface that a rule names.
fn interfaces_of(objects: &[Value]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rule in objects.iter().filter_map(|object| object.get("rule")) {
        for expression in rule["expr"].as_array().into_iter().flatten() {
            let key = expression["match"]["left"]["meta"]["key"].as_str().unwrap_or_default();
            if matches!(key, "iifname" | "oifname" | "iif" | "oif") {
                found.extend(
                    values(&expression["match"]["right"]).filter_map(|value| value.as_str().map(str::to_owned)),
                );
            }
        }
    }
    found.retain(|interface| interface != "lo" && !interface.ends_with('*'));
    found
}

/// A value, or the elements of a set without a name.
fn values(right: &Value) -> impl Iterator<Item = &Value> {
    let elements = right["set"].as_array().map(Vec::as_slice);
    elements.unwrap_or(std::slice::from_ref(right)).iter().map(element)
}

/// An element, which may have a comment or a time of its own.
fn element(value: &Value) -> &Value {
    if value["elem"].is_object() { &value["elem"]["val"] } else { value }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    #[test]
    fn lines_of_rules_are_those_of_their_keys() {
        let text = "{\"nftables\": [\n{\"rule\": {\"comment\": \"a \\\"rule\\\": b\"}},\n{\n\"rule\" :\n{}}]}";
        assert_eq!(lines_of_rules(text).collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn a_rule_of_the_loopback_interface_matches_nothing() {
        let text = r#"{"nftables": [
            {"chain": {"family": "inet", "table": "t", "name": "input", "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}},
            {"rule": {"family": "inet", "table": "t", "chain": "input", "handle": 4, "expr": [
                {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}}, {"accept": null}]}}
        ]}"#;
        let draft = read(text).unwrap();
        let outcomes: Vec<Outcome> = draft.notes.iter().map(|note| note.outcome).collect();
        assert_eq!((outcomes, draft.len()), (vec![Outcome::Implied], 0));
    }
}
