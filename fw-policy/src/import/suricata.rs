//! Rules as Suricata writes them (Suricata User Guide, "Rules Format"), as far as they are about addresses and ports.

use std::collections::BTreeMap;
use std::sync::Arc;

use fw_common::abi::policy::Action;

use super::Outcome;
use super::draft::{Draft, Origin};
use super::matching::{Match, addresses, complement, intersection, port_range, ports, protocol};
use crate::set::SetAlgebra;
use crate::set::address::AddressSet;
use crate::set::service::ServiceSet;

/// Options that say nothing about packets, or only which way a flow goes that a rule opens.
const HARMLESS: &[&str] = &["msg", "sid", "rev", "gid", "classtype", "priority", "metadata", "reference", "target"];

/// Protocols of applications that are looked for in TCP only.
const OVER_TCP: &[&str] = &[
    "http", "http1", "http2", "tls", "ssl", "ssh", "ftp", "ftp-data", "smtp", "imap", "pop3", "smb", "rdp", "rfb",
    "modbus", "mqtt",
];

/// What `$NAME` stands for.
#[derive(Default)]
pub(super) struct Variables {
    pub(super) addresses: BTreeMap<String, Vec<String>>,
    pub(super) ports: BTreeMap<String, Vec<String>>,
}

/// A rule in its parts.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    pub(super) action: String,
    pub(super) protocol: String,
    pub(super) source: String,
    pub(super) source_port: String,
    /// Whether it is also about flows the other way.
    pub(super) both_ways: bool,
    pub(super) destination: String,
    pub(super) destination_port: String,
    /// Names and values; a value may be empty.
    pub(super) options: Vec<(String, String)>,
    pub(super) line: Option<u32>,
    pub(super) text: String,
}

/// Takes the rules of a text apart; what is no rule is left out.
pub(super) fn read(text: &str, draft: &mut Draft) -> Vec<Parts> {
    let mut rules = Vec::new();
    for (line, number) in text.lines().zip(1u32..) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match parts(line, number) {
            Some(rule) => rules.push(rule),
            None => {
                let origin = Origin { line: Some(number), text: line.to_owned(), ..origin_of(&Parts::default()) };
                draft.leave_out(&origin, "it is no rule that can be read");
            }
        }
    }
    rules
}

fn parts(line: &str, number: u32) -> Option<Parts> {
    let (header, options) = line.split_once('(')?;
    let options = options.trim_end().strip_suffix(')')?;
    let words = words(header);
    let [action, protocol, source, source_port, direction, destination, destination_port] = words.as_slice() else {
        return None;
    };
    let both_ways = match direction.as_str() {
        "->" => false,
        "<>" => true,
        _ => return None,
    };
    Some(Parts {
        action: action.to_ascii_lowercase(),
        protocol: protocol.to_ascii_lowercase(),
        source: source.clone(),
        source_port: source_port.clone(),
        both_ways,
        destination: destination.clone(),
        destination_port: destination_port.clone(),
        options: options_of(options),
        line: Some(number),
        text: line.to_owned(),
    })
}

/// The words of a header; brackets hold some together.
fn words(header: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let (mut depth, mut in_word) = (0usize, false);
    for character in header.chars() {
        match character {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if character.is_whitespace() && depth == 0 {
            in_word = false;
        } else if !character.is_whitespace() {
            if !std::mem::replace(&mut in_word, true) {
                words.push(String::new());
            }
            words.last_mut().into_iter().for_each(|word| word.push(character));
        }
    }
    words
}

/// `msg:"a; b"; sid:1; noalert;`
fn options_of(text: &str) -> Vec<(String, String)> {
    let mut options = Vec::new();
    let mut option = String::new();
    let (mut quoted, mut escaped) = (false, false);
    for character in text.chars().chain([';']) {
        match character {
            ';' if !quoted && !escaped => {
                let (name, value) = option.split_once(':').unwrap_or((&option, ""));
                let value = value.trim().trim_matches('"').to_owned();
                if !name.trim().is_empty() {
                    options.push((name.trim().to_ascii_lowercase(), value));
                }
                option.clear();
            }
            other => {
                quoted ^= other == '"' && !escaped;
                option.push(other);
            }
        }
        escaped = character == '\\' && !escaped;
    }
    options
}

/// Adds a rule to a draft: two, if it is about both ways.
pub(super) fn add(rule: &Parts, variables: &Variables, draft: &mut Draft) {
    let origin = origin_of(rule);
    let action = match rule.action.as_str() {
        "pass" => Action::Allow,
        "drop" => Action::Drop,
        "reject" | "rejectsrc" | "rejectdst" | "rejectboth" => Action::Reject,
        other => {
            let reason = format!("`{other}` does not decide, and has nothing like it here");
            return draft.leave_out(&origin, reason);
        }
    };
    let matching = matching(rule, variables);
    if action == Action::Allow && !matching.unknown.is_empty() {
        // Once, also if it is about both ways.
        return draft.allow(&origin, &matching);
    }
    let back = rule.both_ways.then(|| {
        let reversed = Parts {
            source: rule.destination.clone(),
            source_port: rule.destination_port.clone(),
            destination: rule.source.clone(),
            destination_port: rule.source_port.clone(),
            ..rule.clone()
        };
        self::matching(&reversed, variables)
    });
    for matching in std::iter::once(matching).chain(back) {
        match action {
            Action::Allow => draft.allow(&origin, &matching),
            Action::Drop | Action::Reject => draft.forbid(&origin, &matching, action),
        }
    }
}

fn origin_of(rule: &Parts) -> Origin {
    let option = |name: &str| rule.options.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let id = option("sid").map_or_else(|| format!("rule-{}", rule.line.unwrap_or(0)), |sid| format!("sid-{sid}"));
    Origin { line: rule.line, text: rule.text.clone(), id, description: option("msg").unwrap_or_default() }
}

fn matching(rule: &Parts, variables: &Variables) -> Match {
    let mut matching = Match::any();
    let mut unknown = Vec::new();
    let mut take = |what: &str, text: &str, set: Option<AddressSet>| {
        set.unwrap_or_else(|| {
            unknown.push(format!("the {what} `{text}`"));
            AddressSet::everything()
        })
    };
    matching.source = take("source", &rule.source, address_set(&rule.source, &variables.addresses, 0));
    matching.destination =
        take("destination", &rule.destination, address_set(&rule.destination, &variables.addresses, 0));
    match services(rule, variables) {
        Ok(services) => matching.services = Arc::new(services),
        Err(why) => {
            unknown.push(why);
            if OVER_TCP.contains(&rule.protocol.as_str()) {
                matching.services = Arc::new(protocol("tcp").unwrap_or_default());
            }
        }
    }
    for (name, value) in &rule.options {
        let is_harmless = HARMLESS.contains(&name.as_str())
            || name == "flow"
                && matches!(
                    value.replace(' ', "").as_str(),
                    "to_server" | "not_established" | "stateless" | "to_server,not_established"
                );
        if !is_harmless {
            unknown.push(format!("`{name}`"));
        }
    }
    unknown.dedup();
    matching.unknown = unknown;
    matching
}

fn services(rule: &Parts, variables: &Variables) -> Result<ServiceSet, String> {
    let of = match rule.protocol.as_str() {
        "ip" | "any" => ServiceSet::everything(),
        // Suricata means both by it.
        "icmp" => [protocol("icmp"), protocol("icmpv6")]
            .into_iter()
            .flatten()
            .fold(ServiceSet::default(), |both, one| ServiceSet::union([&both, &one].into_iter())),
        "tcp" | "udp" | "sctp" => protocol(&rule.protocol).unwrap_or_default(),
        application => return Err(format!("the protocol `{application}`")),
    };
    let ranges =
        |what: &str, text: &str| port_set(text, &variables.ports, 0).ok_or_else(|| format!("the {what} port `{text}`"));
    let (source, destination) = (ranges("source", &rule.source_port)?, ranges("destination", &rule.destination_port)?);
    let restricted = [(&source, true), (&destination, false)].into_iter().filter_map(|(set, is_source)| {
        let set = set.as_ref()?;
        Some(if is_source { ports(set, &[]) } else { ports(&[], set) })
    });
    let mut services = of;
    for ports in restricted {
        if matches!(rule.protocol.as_str(), "ip" | "any" | "icmp") {
            return Err(format!("ports of `{}`", rule.protocol));
        }
        services = intersection(&services, &ports);
    }
    Ok(services)
}

/// How deeply lists and variables may be nested.
const DEEPEST: usize = 8;

/// Elements of a list in brackets, or one.
fn elements(text: &str) -> Vec<String> {
    let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
        return vec![text.to_owned()];
    };
    let (mut elements, mut depth) = (vec![String::new()], 0usize);
    for character in inner.chars() {
        match character {
            ',' if depth == 0 => {
                elements.push(String::new());
                continue;
            }
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        elements.last_mut().into_iter().for_each(|element| element.push(character));
    }
    elements.iter().map(|element| element.trim().to_owned()).collect()
}

fn address_set(text: &str, variables: &BTreeMap<String, Vec<String>>, depth: usize) -> Option<AddressSet> {
    list(text, variables, depth, &|text| {
        if text.eq_ignore_ascii_case("any") { Some(SetAlgebra::everything()) } else { addresses(text) }
    })
}

/// Ports as services of TCP, to have the algebra of sets; `None` inside for any.
fn port_set(text: &str, variables: &BTreeMap<String, Vec<String>>, depth: usize) -> Option<Option<Vec<(u16, u16)>>> {
    if text.eq_ignore_ascii_case("any") {
        return Some(None);
    }
    let tcp = protocol("tcp")?;
    let one = |text: &str| {
        if text.eq_ignore_ascii_case("any") {
            return Some(tcp.clone());
        }
        Some(intersection(&tcp, &ports(&[], &[port_range(text)?])))
    };
    let set = list(text, variables, depth, &one)?;
    let set = intersection(&tcp, &set);
    let family = set.family(crate::set::interval::Family::V4);
    Some(Some(family.protocols().flat_map(|(_, ports)| ports.iter().map(|ports| ports.destination)).collect()))
}

/// A list with exceptions: what is listed, without what is excepted; all but that if nothing is listed.
fn list<T: SetAlgebra>(
    text: &str,
    variables: &BTreeMap<String, Vec<String>>,
    depth: usize,
    one: &dyn Fn(&str) -> Option<T>,
) -> Option<T> {
    if depth > DEEPEST {
        return None;
    }
    if let Some(excepted) = text.strip_prefix('!') {
        return Some(complement(&list(excepted.trim(), variables, depth + 1, one)?));
    }
    if let Some(name) = text.strip_prefix('$').or_else(|| text.strip_prefix('@')) {
        let values = variables.get(name)?;
        return list(&format!("[{}]", values.join(",")), variables, depth + 1, one);
    }
    if !text.starts_with('[') {
        return one(text);
    }
    let (mut listed, mut excepted) = (Vec::new(), Vec::new());
    for element in elements(text) {
        match element.strip_prefix('!') {
            Some(rest) => excepted.push(list(rest.trim(), variables, depth + 1, one)?),
            None => listed.push(list(&element, variables, depth + 1, one)?),
        }
    }
    let all = if listed.is_empty() { T::everything() } else { T::union(listed.iter()) };
    Some(all.subtract(&T::union(excepted.iter())))
}

/// What is said of both orders of rules.
pub(super) fn note_order(draft: &mut Draft, is_strict: bool, is_known: bool) {
    let origin =
        Origin { line: None, text: "the order of rules".to_owned(), id: String::new(), description: String::new() };
    if !is_known {
        draft.note(
            &origin,
            Outcome::Assumed,
            "rules are taken in the order in which they stand (STRICT_ORDER), which allows less",
        );
    }
    let default = if is_strict {
        "what no rule decides is dropped here, whatever the firewall policy says"
    } else {
        "what no rule decides passes with DEFAULT_ACTION_ORDER, and is dropped here"
    };
    draft.note(&origin, Outcome::Stricter, default);
}
