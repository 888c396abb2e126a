//! Rules of AWS Network Firewall: a file of Suricata rules, or what `aws network-firewall describe-rule-group` answers, with rules as a
//! string or as 5-tuples.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ImportError;
use super::draft::{Draft, Origin};
use super::suricata::{self, Parts, Variables};

pub(super) fn read(text: &str) -> Result<Draft, ImportError> {
    let mut draft = Draft::default();
    draft.about.push("Imported from AWS Network Firewall; the report says what could not be carried over.".to_owned());
    draft.about.push("The rules know no zones: split `imported`, and name zones in `from` and `to`.".to_owned());
    draft.zones.insert("imported".to_owned());
    if !text.trim_start().starts_with('{') {
        let rules = suricata::read(text, &mut draft);
        if rules.is_empty() {
            return Err(not_that("there is no rule in it"));
        }
        add_all(&rules, &Variables::default(), true, false, &mut draft);
        return Ok(draft);
    }
    let answer: Value = serde_json::from_str(text).map_err(|error| not_that(&error.to_string()))?;
    let group = if answer["RuleGroup"].is_object() { &answer["RuleGroup"] } else { &answer };
    let source = &group["RulesSource"];
    if !source.is_object() {
        return Err(not_that("there is no `RulesSource`"));
    }
    let is_strict = group["StatefulRuleOptions"]["RuleOrder"] == "STRICT_ORDER";
    let mut rules = Vec::new();
    if let Some(text) = source["RulesString"].as_str() {
        rules.extend(suricata::read(text, &mut draft));
    }
    rules.extend(source["StatefulRules"].as_array().into_iter().flatten().zip(1u32..).map(five_tuple));
    add_all(&rules, &variables(group), is_strict, true, &mut draft);
    leave_out_the_rest(source, &mut draft);
    Ok(draft)
}

fn not_that(why: &str) -> ImportError {
    ImportError::NotThat(format!("these are no rules of AWS Network Firewall: {why}"))
}

/// Adds rules in the order in which they decide.
fn add_all(rules: &[Parts], variables: &Variables, is_strict: bool, is_known: bool, draft: &mut Draft) {
    suricata::note_order(draft, is_strict, is_known);
    let mut rules: Vec<&Parts> = rules.iter().collect();
    if !is_strict {
        // Suricata asks rules by what they do, whatever the order in which they stand.
        let rank = |rule: &&Parts| ["pass", "drop", "reject"].iter().position(|action| rule.action.starts_with(action));
        rules.sort_by_key(|rule| rank(rule).unwrap_or(usize::MAX));
    }
    rules.into_iter().for_each(|rule| suricata::add(rule, variables, draft));
}

/// `RuleVariables`: what `$NAME` stands for.
fn variables(group: &Value) -> Variables {
    let definitions = |kind: &str| -> BTreeMap<String, Vec<String>> {
        let sets = group["RuleVariables"][kind].as_object();
        let strings = |set: &Value| -> Vec<String> {
            set["Definition"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        sets.into_iter().flatten().map(|(name, set)| (name.clone(), strings(set))).collect()
    };
    Variables { addresses: definitions("IPSets"), ports: definitions("PortSets") }
}

/// A rule as a 5-tuple with options.
fn five_tuple((rule, number): (&Value, u32)) -> Parts {
    let header = &rule["Header"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let options = rule["RuleOptions"].as_array().into_iter().flatten().map(|option| {
        let settings = option["Settings"].as_array().into_iter().flatten().filter_map(Value::as_str);
        (
            text(&option["Keyword"]).to_ascii_lowercase(),
            settings.collect::<Vec<_>>().join(",").trim_matches('"').to_owned(),
        )
    });
    Parts {
        action: text(&rule["Action"]).to_ascii_lowercase(),
        protocol: text(&header["Protocol"]).to_ascii_lowercase(),
        source: text(&header["Source"]),
        source_port: text(&header["SourcePort"]),
        both_ways: header["Direction"] == "ANY",
        destination: text(&header["Destination"]),
        destination_port: text(&header["DestinationPort"]),
        options: options.collect(),
        line: None,
        text: format!("stateful rule {number}: {} {}", text(&rule["Action"]), header),
    }
}

/// Lists of domains, and rules that keep no state.
fn leave_out_the_rest(source: &Value, draft: &mut Draft) {
    let origin = |text: String| Origin { line: None, text, id: String::new(), description: String::new() };
    let domains = &source["RulesSourceList"];
    if domains.is_object() {
        let targets = domains["Targets"].as_array().map_or(0, Vec::len);
        let text =
            format!("a list of {targets} domains, {}", domains["GeneratedRulesType"].as_str().unwrap_or("DENYLIST"));
        draft.leave_out(&origin(text), "names of domains are no addresses");
    }
    let stateless = source["StatelessRulesAndCustomActions"]["StatelessRules"].as_array().into_iter().flatten();
    for rule in stateless {
        let actions = &rule["RuleDefinition"]["Actions"];
        let text = format!("stateless rule of priority {}: {actions}", rule["Priority"]);
        draft.leave_out(&origin(text), "every rule keeps state here: write it as one about flows");
    }
}
