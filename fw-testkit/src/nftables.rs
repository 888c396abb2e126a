//! A policy as a ruleset of nftables, so that the kernel's own firewall can be asked what it would do.
//!
//! Zones become bits of the packet's mark: by interface and network, the sender's in the first byte, the receiver's in the second.
//! A rule becomes chains, one for each of its keys and for each set that a key names: an element of a set jumps on to the next key,
//! an exclusion returns. The forward chain drops what connection tracking calls invalid, accepts what belongs to a connection, and
//! asks the rules about the rest, from the first to the last.

use std::fmt::Write as _;

use toml::{Table, Value};

/// An interface, and the zones that it carries.
pub type Interface<'a> = (&'a str, &'a [&'a str]);

/// Why a policy has no translation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not translated: {0}")]
pub struct Untranslated(String);

fn untranslated(what: impl Into<String>) -> Untranslated {
    Untranslated(what.into())
}

/// The ruleset, as `nft -f` reads it. `head`: rules that stand before everything else in the forward chain.
///
/// # Errors
/// The policy uses what this translation does not know: exclusions of sets that have exclusions themselves, and the keys of rules
/// that say more than who may speak to whom.
pub fn ruleset(policy: &str, interfaces: &[Interface<'_>], head: &str) -> Result<String, Untranslated> {
    let root: Table = policy.parse().map_err(|error| untranslated(format!("{error}")))?;
    let zones: Vec<(&String, Option<String>)> = table(&root, "zones")
        .map(|(name, zone)| Ok((name, zone.get("networks").map(networks).transpose()?)))
        .collect::<Result<_, _>>()?;
    let mut writer = Writer { root: &root, zones, chains: String::new(), forward: String::new() };
    writer.sides(interfaces);
    let rules = root.get("rule").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table);
    for (number, rule) in rules.enumerate() {
        writer.rule(number, rule)?;
    }
    let Writer { chains, forward, .. } = writer;
    Ok(format!(
        "table inet second {{\n{chains}chain forward {{\ntype filter hook forward priority 0; policy drop;\n{head}\n\
         ct state invalid drop\nct state established,related accept\n{forward}}}\n}}\n"
    ))
}

fn table<'t>(root: &'t Table, key: &str) -> impl Iterator<Item = (&'t String, &'t Value)> {
    root.get(key).and_then(Value::as_table).into_iter().flatten()
}

fn strings(value: &Value) -> Result<Vec<&str>, Untranslated> {
    let array = value.as_array().ok_or_else(|| untranslated(value.to_string()))?;
    array.iter().map(|one| one.as_str().ok_or_else(|| untranslated(one.to_string()))).collect()
}

/// The networks of a zone.
fn networks(value: &Value) -> Result<String, Untranslated> {
    Ok(strings(value)?.join(","))
}

/// Which header of which end.
#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

impl Side {
    fn of(self, addr: &str) -> String {
        let family = if addr.contains(':') { "ip6" } else { "ip" };
        match self {
            Self::Source => format!("{family} saddr {addr}"),
            Self::Destination => format!("{family} daddr {addr}"),
        }
    }
}

struct Writer<'t> {
    root: &'t Table,
    /// Names and networks; a zone without is the rest of its interface.
    zones: Vec<(&'t String, Option<String>)>,
    chains: String,
    forward: String,
}

impl Writer<'_> {
    /// The chains that mark the zones of both ends, and what is dropped because an end is in none.
    fn sides(&mut self, interfaces: &[Interface<'_>]) {
        for (chain, side, key, shift) in [("from", Side::Source, "iifname", 0), ("to", Side::Destination, "oifname", 8)]
        {
            let _ = writeln!(self.chains, "chain {chain} {{");
            for (interface, carried) in interfaces {
                let is_carried = |name: &String| carried.contains(&name.as_str());
                let mut rest = String::new();
                for (number, (name, networks)) in self.zones.iter().enumerate() {
                    let mark = (number + 1) << shift;
                    match networks {
                        None if is_carried(name) => {
                            let _ = writeln!(rest, "{key} {interface} meta mark set meta mark | {mark:#x} return");
                        }
                        None => {}
                        Some(networks) => {
                            let then = if is_carried(name) {
                                format!("meta mark set meta mark | {mark:#x} ")
                            } else {
                                String::new()
                            };
                            for network in networks.split(',') {
                                let _ = writeln!(self.chains, "{key} {interface} {} {then}return", side.of(network));
                            }
                        }
                    }
                }
                self.chains.push_str(&rest);
            }
            self.chains.push_str("}\n");
        }
        self.forward.push_str("jump from\njump to\nmeta mark & 0xff == 0 drop\nmeta mark & 0xff00 == 0 drop\n");
        for (interface, _) in interfaces {
            let _ = writeln!(self.forward, "iifname {interface} oifname {interface} drop");
        }
    }

    fn rule(&mut self, number: usize, rule: &Table) -> Result<(), Untranslated> {
        const KNOWN: [&str; 8] = ["id", "from", "to", "source", "destination", "services", "action", "mode"];
        if let Some(key) = rule.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(untranslated(key.as_str()));
        }
        if rule.get("mode").and_then(Value::as_str) == Some("observe") {
            // It decides nothing.
            return Ok(());
        }
        let verdict = if rule.get("action").and_then(Value::as_str) == Some("allow") { "accept" } else { "drop" };
        let mut then = verdict.to_owned();
        if let Some(services) = rule.get("services") {
            then = self.set(&format!("r{number}_services"), services, "services", &then, &service)?;
        }
        for (key, side) in [("destination", Side::Destination), ("source", Side::Source)] {
            if let Some(set) = rule.get(key) {
                let literal = |value: &Value| Ok(side.of(value.as_str().ok_or_else(|| untranslated("an address"))?));
                then = self.set(&format!("r{number}_{key}"), set, "addresses", &then, &literal)?;
            }
        }
        let (Some(from), Some(to)) = (self.zone_marks(rule, "from", 0)?, self.zone_marks(rule, "to", 8)?) else {
            // Only about the firewall itself, which nothing is forwarded to.
            return Ok(());
        };
        let _ = writeln!(self.forward, "{from}{to}{then}");
        Ok(())
    }

    /// The zones of a rule's key, as a condition on the mark; nothing for all of them, `None` if none can be met.
    fn zone_marks(&self, rule: &Table, key: &str, shift: usize) -> Result<Option<String>, Untranslated> {
        let names = strings(rule.get(key).ok_or_else(|| untranslated(key))?)?;
        if names.contains(&"any") {
            return Ok(Some(String::new()));
        }
        let number = |name: &&str| self.zones.iter().position(|(zone, _)| zone == name);
        let marks: Vec<String> =
            names.iter().filter_map(number).map(|number| format!("{:#x}", (number + 1) << shift)).collect();
        Ok((!marks.is_empty()).then(|| format!("meta mark & {:#x} {{ {} }} ", 0xff << shift, marks.join(", "))))
    }

    /// A chain that goes on with `then` for what a set has; what leads there.
    fn set(
        &mut self,
        chain: &str,
        set: &Value,
        kind: &str,
        then: &str,
        literal: &dyn Fn(&Value) -> Result<String, Untranslated>,
    ) -> Result<String, Untranslated> {
        let mut lines = String::new();
        let elements = set.as_array().ok_or_else(|| untranslated(set.to_string()))?;
        let excluded = |value: &&Value| value.as_str().is_some_and(|text| text.starts_with('!'));
        for value in elements.iter().filter(excluded).filter_map(Value::as_str) {
            let term = value.trim_start_matches('!');
            match term.strip_prefix('@') {
                None => {
                    let _ = writeln!(lines, "{} return", literal(&Value::from(term))?);
                }
                Some(name) => {
                    for member in self.plain(kind, name)? {
                        let _ = writeln!(lines, "{} return", literal(member)?);
                    }
                }
            }
        }
        for value in elements.iter().filter(|value| !excluded(value)) {
            match value.as_str().and_then(|text| text.strip_prefix('@')) {
                None => {
                    let _ = writeln!(lines, "{} {then}", literal(value)?);
                }
                Some(name) => {
                    let named = self.named(kind, name)?.clone();
                    let then = self.set(&format!("{chain}_{name}"), &named, kind, then, literal)?;
                    let _ = writeln!(lines, "{then}");
                }
            }
        }
        if elements.iter().all(|value| excluded(&value)) {
            let _ = writeln!(lines, "{then}");
        }
        let _ = write!(self.chains, "chain {chain} {{\n{lines}}}\n");
        Ok(format!("jump {chain}"))
    }

    fn named(&self, kind: &str, name: &str) -> Result<&Value, Untranslated> {
        let named = self.root.get(kind).and_then(|sets| sets.get(name));
        named.ok_or_else(|| untranslated(name))
    }

    /// The elements of a set that excludes nothing and names nothing.
    fn plain(&self, kind: &str, name: &str) -> Result<&Vec<Value>, Untranslated> {
        let elements = self.named(kind, name)?.as_array();
        let is_plain = |value: &Value| value.as_str().is_some_and(|text| !text.starts_with(['!', '@']));
        elements.filter(|elements| elements.iter().all(is_plain)).ok_or_else(|| untranslated(format!("!@{name}")))
    }
}

/// A service as a condition.
fn service(value: &Value) -> Result<String, Untranslated> {
    let unknown = || untranslated(value.to_string());
    if let Some(table) = value.as_table() {
        let proto = table.get("proto").and_then(Value::as_str).ok_or_else(unknown)?;
        let mut conditions = String::new();
        for (key, field) in [("port", "dport"), ("source_port", "sport")] {
            if let Some(ports) = table.get(key) {
                let _ = write!(conditions, "{proto} {field} {{ {} }} ", strings(ports)?.join(", "));
            }
        }
        return Ok(format!("meta l4proto {proto} {conditions}"));
    }
    let mut parts = value.as_str().ok_or_else(unknown)?.split('/');
    let (name, first, second) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let condition = match (name, first) {
        ("icmp", None) => "meta nfproto ipv4 meta l4proto icmp".to_owned(),
        ("icmpv6", None) => "meta nfproto ipv6 meta l4proto ipv6-icmp".to_owned(),
        ("icmp" | "icmpv6", Some(kind)) => {
            let kind = if kind == "echo-request" { if name == "icmp" { "8" } else { "128" } } else { kind };
            let code = second.map(|code| format!(" {name} code {code}")).unwrap_or_default();
            format!("{name} type {kind}{code}")
        }
        ("proto", Some(number)) => format!("meta l4proto {number}"),
        ("tcp" | "udp" | "sctp", None) => format!("meta l4proto {name}"),
        ("tcp" | "udp" | "sctp", Some(ports)) => format!("{name} dport {ports}"),
        _ => return Err(unknown()),
    };
    Ok(condition)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
version = 1
[zones.a]
networks = ["10.1.0.0/16"]
[zones.b]
[addresses]
some = ["10.1.0.0/24", "!@none"]
none = ["10.1.0.7"]
[[rule]]
id = "r"
from = ["a"]
to = ["any"]
source = ["@some", "fd00::1"]
services = ["tcp/80", "!icmp/8/0"]
action = "allow"
"#;

    #[test]
    fn a_rule_becomes_a_chain_for_each_of_its_keys() {
        let rules = ruleset(POLICY, &[("one", &["a"]), ("two", &["b"])], "").unwrap();
        for line in [
            "iifname one ip saddr 10.1.0.0/16 meta mark set meta mark | 0x1 return",
            "oifname two meta mark set meta mark | 0x200 return",
            "chain r0_services {\nicmp type 8 icmp code 0 return\ntcp dport 80 accept\n}",
            "chain r0_source_some {\nip saddr 10.1.0.7 return\nip saddr 10.1.0.0/24 jump r0_services\n}",
            "chain r0_source {\njump r0_source_some\nip6 saddr fd00::1 jump r0_services\n}",
            "meta mark & 0xff { 0x1 } jump r0_source",
        ] {
            assert!(rules.contains(line), "{line}\n{rules}");
        }
    }

    #[test]
    fn what_has_no_translation_is_refused() {
        let more = |line: &str| POLICY.replace("id = \"r\"\n", &format!("id = \"r\"\n{line}\n"));
        assert_eq!(ruleset(&more("expires = 2027-01-01"), &[], "").unwrap_err().to_string(), "not translated: expires");
        let excludes = POLICY.replace("[\"@some\", \"fd00::1\"]", "[\"10.0.0.0/8\", \"!@some\"]");
        assert!(ruleset(&excludes, &[], "").is_err());
    }
}
