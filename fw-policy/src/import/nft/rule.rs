//! The expressions of one rule (libnftables-json(5)).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::{Table, element, of_family, text_of, values};
use crate::import::chains::{ChainRule, Verdict};
use crate::import::draft::{Origin, name};
use crate::import::matching::{
    Match, Packets, addresses, all_of, complement, icmp, intersection, packets, port_range, ports, protocol,
};
use crate::set::SetAlgebra;
use crate::set::address::AddressSet;
use crate::set::icmp as icmp_types;
use crate::set::interval::Family;
use crate::set::service::{PortRange, ServiceSet};

/// Types of ICMPv6 that nftables calls otherwise (icmp6_type_tbl in src/proto.c).
const OWN_TYPES: &[(&str, u8)] = &[
    ("mld-listener-query", 130),
    ("mld-listener-report", 131),
    ("mld-listener-done", 132),
    ("mld-listener-reduction", 132),
    ("nd-router-solicit", 133),
    ("nd-router-advert", 134),
    ("nd-neighbor-solicit", 135),
    ("nd-neighbor-advert", 136),
    ("nd-redirect", 137),
    ("router-renumbering", 138),
    ("ind-neighbor-solicit", 141),
    ("ind-neighbor-advert", 142),
    ("mld2-listener-report", 143),
];

/// What it takes to read a rule.
pub(super) struct Reader<'r> {
    pub(super) sets: &'r BTreeMap<(Table, String), Value>,
    pub(super) table: Table,
    /// Every interface that a rule names.
    pub(super) interfaces: &'r BTreeSet<String>,
}

impl Reader<'_> {
    pub(super) fn rule(&self, rule: &Value, line: Option<u32>) -> ChainRule {
        let (chain, handle) = (text_of(&rule["chain"]), rule["handle"].as_u64().unwrap_or(0));
        let origin = Origin {
            line,
            text: format!("{} {} {chain} handle {handle}", self.table.0, self.table.1),
            id: format!("{chain}-{handle}"),
            description: text_of(&rule["comment"]),
        };
        let mut matching = Match::any();
        let mut verdict = Verdict::Nothing("a rule without a verdict".to_owned());
        for expression in rule["expr"].as_array().into_iter().flatten() {
            self.expression(expression, &mut matching, &mut verdict);
        }
        ChainRule { origin, matching, verdict }
    }

    fn expression(&self, expression: &Value, matching: &mut Match, verdict: &mut Verdict) {
        let Some((kind, inner)) = expression.as_object().and_then(|object| object.iter().next()) else {
            matching.unknown.push("an expression that is no object".to_owned());
            return;
        };
        match kind.as_str() {
            "match" => {
                if self.condition(inner, matching).is_none() {
                    matching.unknown.push(format!("`{}`", shortened(inner)));
                    of_header(inner["left"]["payload"]["protocol"].as_str().unwrap_or_default(), matching);
                }
            }
            "accept" => *verdict = Verdict::Allow,
            "drop" => *verdict = Verdict::Drop,
            "reject" => *verdict = Verdict::Reject,
            "return" => *verdict = Verdict::Return,
            "jump" => *verdict = Verdict::Jump(text_of(&inner["target"])),
            "goto" => *verdict = Verdict::Unknown(format!("chain {}", text_of(&inner["target"]))),
            "counter" | "comment" => {}
            "log" | "notrack" | "mangle" | "set" => {
                if matches!(verdict, Verdict::Nothing(_)) {
                    *verdict = Verdict::Nothing(kind.clone());
                }
            }
            "vmap" if follows_flows(inner) => {
                matching.packets = Packets::OfFlows;
                *verdict = Verdict::Allow;
            }
            "vmap" | "queue" | "snat" | "dnat" | "masquerade" | "redirect" | "tproxy" | "fwd" | "dup" => {
                *verdict = Verdict::Unknown(kind.clone());
            }
            other => matching.unknown.push(format!("`{other}`")),
        }
    }

    /// Takes a condition into a match; `None` if it is not known.
    fn condition(&self, condition: &Value, matching: &mut Match) -> Option<()> {
        let op = condition["op"].as_str()?;
        let left = &condition["left"];
        let is_port = matches!(left["payload"]["field"].as_str(), Some("dport" | "sport"));
        let (negated, right) = match op {
            "==" | "in" => (false, self.right(&condition["right"])?),
            "!=" => (true, self.right(&condition["right"])?),
            other if is_port => (false, vec![compared(other, &condition["right"])?]),
            _ => return None,
        };
        if let Some(payload) = left.get("payload") {
            let (of, field) = (payload["protocol"].as_str()?, payload["field"].as_str()?);
            return payload_condition(of, field, &right, negated, matching);
        }
        let key = left["meta"]["key"].as_str().or_else(|| left["ct"]["key"].as_str())?;
        match key {
            "iifname" | "iif" => self.interfaces(&right, negated, &mut matching.from),
            "oifname" | "oif" => self.interfaces(&right, negated, &mut matching.to),
            "l4proto" => restrict(&union(&right, |value| protocol(&scalar(value)?))?, negated, matching),
            "nfproto" | "protocol" => {
                let family = match right.as_slice() {
                    [one] if *one == "ipv4" || *one == "ip" => Family::V4,
                    [one] if *one == "ipv6" || *one == "ip6" => Family::V6,
                    _ => return None,
                };
                let family = if negated { if family == Family::V4 { Family::V6 } else { Family::V4 } } else { family };
                *matching = matching.and(&of_family(family));
                Some(())
            }
            "state" if !negated => {
                let states: Option<Vec<&str>> = right.iter().map(Value::as_str).collect();
                matching.packets = packets(&states?);
                Some(())
            }
            _ => None,
        }
    }

    /// What a condition compares with: the elements of a set, also of a named one.
    fn right(&self, right: &Value) -> Option<Vec<Value>> {
        if let Some(name) = right.as_str().and_then(|text| text.strip_prefix('@')) {
            let elements = self.sets.get(&(self.table.clone(), name.to_owned()))?;
            return Some(elements.as_array()?.iter().map(element).cloned().collect());
        }
        if let Some(list) = right.as_array() {
            return Some(list.clone());
        }
        Some(values(right).cloned().collect())
    }

    fn interfaces(&self, right: &[Value], negated: bool, zones: &mut Option<BTreeSet<String>>) -> Option<()> {
        let named: Option<BTreeSet<&str>> = right.iter().map(Value::as_str).collect();
        let named = named?;
        if named.iter().any(|interface| interface.ends_with('*')) {
            return None;
        }
        let of: BTreeSet<String> = if negated {
            self.interfaces
                .iter()
                .filter(|known| !named.contains(known.as_str()))
                .map(|known| name(known, 27))
                .collect()
        } else {
            // Packets of the loopback interface are not looked at.
            named.iter().filter(|interface| **interface != "lo").map(|interface| name(interface, 27)).collect()
        };
        *zones = Some(match zones.take() {
            Some(zones) => zones.intersection(&of).cloned().collect(),
            None => of,
        });
        Some(())
    }
}

/// What a condition about a header says in any case: that the packet has it.
fn of_header(header: &str, matching: &mut Match) {
    match header {
        "ip" => *matching = matching.and(&of_family(Family::V4)),
        "ip6" => *matching = matching.and(&of_family(Family::V6)),
        "tcp" | "udp" | "sctp" | "icmp" | "icmpv6" => {
            let _ = protocol(header).and_then(|services| restrict(&services, false, matching));
        }
        _ => {}
    }
}

/// Whether a verdict map does what this firewall does anyway: packets of flows pass, and invalid ones are dropped.
fn follows_flows(map: &Value) -> bool {
    let does = |pair: &Value| {
        let verdict = &pair[1];
        match pair[0].as_str() {
            Some("established" | "related") => verdict.get("accept").is_some(),
            Some("invalid") => verdict.get("drop").is_some(),
            _ => false,
        }
    };
    let pairs = map["data"]["set"].as_array();
    map["key"]["ct"]["key"] == "state" && pairs.is_some_and(|pairs| pairs.iter().all(does))
}

/// The ports that a comparison leaves; the operators of equality are read elsewhere.
fn compared(op: &str, right: &Value) -> Option<Value> {
    let port = right.as_u64().filter(|port| *port <= 65_535)?;
    let (first, last) = match op {
        ">=" => (port, 65_535),
        ">" => (port.checked_add(1)?, 65_535),
        "<=" => (0, port),
        "<" => (0, port.checked_sub(1)?),
        _ => return None,
    };
    Some(serde_json::json!({ "range": [first, last] }))
}

fn payload_condition(of: &str, field: &str, right: &[Value], negated: bool, matching: &mut Match) -> Option<()> {
    match (of, field) {
        ("ip" | "ip6", "saddr" | "daddr") => {
            let set = union(right, address)?;
            let family = if of == "ip" { Family::V4 } else { Family::V6 };
            let set = intersection(&all_of(family), &if negated { complement(&set) } else { set });
            let side = if field == "saddr" { &mut matching.source } else { &mut matching.destination };
            *side = intersection(side, &set);
            Some(())
        }
        ("ip", "protocol") | ("ip6", "nexthdr") => {
            let family = if of == "ip" { Family::V4 } else { Family::V6 };
            *matching = matching.and(&of_family(family));
            restrict(&union(right, |value| protocol(&scalar(value)?))?, negated, matching)
        }
        ("tcp" | "udp" | "sctp" | "th", "dport" | "sport") => {
            let ranges: Option<Vec<PortRange>> = right.iter().map(ports_of).collect();
            let ranges = ranges?;
            let services = if field == "dport" { ports(&[], &ranges) } else { ports(&ranges, &[]) };
            let services = if negated { complement(&services) } else { services };
            let with_ports = ports(&[], &[]);
            let is_wider = !matching.services.subtract(&with_ports).is_empty();
            if of == "th" && is_wider {
                // Also of protocols that have no ports here.
                return None;
            }
            let of = if of == "th" { with_ports } else { protocol(of)? };
            restrict(&intersection(&of, &services), false, matching)
        }
        ("icmp" | "icmpv6", "type") => {
            let is_v6 = of == "icmpv6";
            let kind = |value: &Value| {
                let text = scalar(value)?;
                let named = || OWN_TYPES.iter().find(|(name, _)| is_v6 && *name == text).map(|(_, number)| *number);
                let number = text.parse().ok().or_else(|| icmp_types::number(is_v6, &text)).or_else(named)?;
                Some(icmp(is_v6, number, None))
            };
            let types = union(right, kind)?;
            let types = if negated { complement(&types) } else { types };
            restrict(&intersection(&protocol(of)?, &types), false, matching)
        }
        _ => None,
    }
}

fn restrict(services: &ServiceSet, negated: bool, matching: &mut Match) -> Option<()> {
    let services = if negated { complement(services) } else { services.clone() };
    matching.services = Arc::new(intersection(matching.services.as_ref(), &services));
    Some(())
}

/// The union of what elements are; `None` if one of them is not known, or there is none.
fn union<T: SetAlgebra>(elements: &[Value], read: impl Fn(&Value) -> Option<T>) -> Option<T> {
    let sets: Option<Vec<T>> = elements.iter().map(read).collect();
    Some(T::union(sets?.iter()))
}

/// A string or a number, as text.
fn scalar(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned).or_else(|| value.as_u64().map(|number| number.to_string()))
}

fn address(value: &Value) -> Option<AddressSet> {
    if let Some(prefix) = value.get("prefix") {
        return addresses(&format!("{}/{}", prefix["addr"].as_str()?, prefix["len"].as_u64()?));
    }
    if let Some(range) = value["range"].as_array() {
        let [first, last] = range.as_slice() else { return None };
        return addresses(&format!("{}-{}", first.as_str()?, last.as_str()?));
    }
    addresses(value.as_str()?)
}

fn ports_of(value: &Value) -> Option<PortRange> {
    if let Some(range) = value["range"].as_array() {
        let [first, last] = range.as_slice() else { return None };
        return port_range(&format!("{}-{}", scalar(first)?, scalar(last)?));
    }
    port_range(&scalar(value)?)
}

/// A condition as it is written, not too long.
fn shortened(value: &Value) -> String {
    let text = value.to_string();
    text.chars().take(120).collect()
}
