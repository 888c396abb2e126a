//! A rule set as policy files.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fw_policy::{Binding, InterfaceBinding, SourceFile};

use super::{ANY_PORT, Family, Prefix, Rule, RuleSet};

/// The zone of all sources, the rest of the first interface.
pub const OUTSIDE: &str = "outside";
/// The zone of all destinations, the rest of the second interface.
pub const INSIDE: &str = "inside";

/// So many rules stand in one file: files have a largest size.
const RULES_A_FILE: usize = 20_000;

impl RuleSet {
    /// The policy: rule `n` has the id `r-n`, and what none matches is dropped.
    #[must_use]
    pub fn files(&self) -> Vec<SourceFile> {
        let chunks = self.rules.chunks(RULES_A_FILE).map(Some).chain(self.rules.is_empty().then_some(None));
        let files = (0..).zip(chunks).map(|(number, chunk): (usize, Option<&[Rule]>)| {
            let mut text = "version = 1\n".to_owned();
            if number == 0 {
                let _ = write!(text, "[defaults]\naction = \"drop\"\n[zones.{OUTSIDE}]\n[zones.{INSIDE}]\n");
            }
            for (position, rule) in (number * RULES_A_FILE..).zip(chunk.unwrap_or_default()) {
                self.write_rule(position, rule, &mut text);
            }
            SourceFile { name: format!("{number:03}.toml"), text }
        });
        files.collect()
    }

    /// Interfaces for [`RuleSet::files`], without generated rules.
    #[must_use]
    pub fn binding() -> Binding {
        let interface = |zone: &str| InterfaceBinding { name: zone.to_owned(), zones: vec![zone.to_owned()] };
        Binding { interfaces: vec![interface(OUTSIDE), interface(INSIDE)], ..Binding::default() }
    }

    /// Writes one rule, as [`RuleSet::files`] does.
    pub fn write_rule(&self, position: usize, rule: &Rule, text: &mut String) {
        let action = if rule.allow { "allow" } else { "drop" };
        let _ = write!(
            text,
            "[[rule]]\nid = \"r-{position}\"\nfrom = [\"{OUTSIDE}\"]\nto = [\"{INSIDE}\"]\naction = \"{action}\"\n"
        );
        for (key, prefix) in [("source", rule.source), ("destination", rule.destination)] {
            if prefix.len > 0 {
                let _ = writeln!(text, "{key} = [\"{}/{}\"]", self.address(prefix.first), prefix.len);
            } else if self.other_family_must_not_match(rule) {
                // A rule that names no address would match the other family, too, which the set does not have.
                let any = if self.family == Family::V4 { "0.0.0.0/0" } else { "::/0" };
                let _ = writeln!(text, "{key} = [\"{any}\"]");
            }
        }
        if let Some(service) = service(rule, self.family) {
            let _ = writeln!(text, "services = [{service}]");
        }
    }

    fn other_family_must_not_match(&self, rule: &Rule) -> bool {
        rule.source.len == 0 && rule.destination.len == 0
    }

    /// A left-aligned address of this family.
    #[must_use]
    pub fn address(&self, first: u128) -> IpAddr {
        match self.family {
            Family::V4 => Ipv4Addr::from_bits(u32::try_from(first >> 96).unwrap_or_default()).into(),
            Family::V6 => Ipv6Addr::from_bits(first).into(),
        }
    }
}

/// The services of a rule, as TOML; none if it matches every one.
fn service(rule: &Rule, family: Family) -> Option<String> {
    let range = |(first, last): (u16, u16)| format!("\"{}-{last}\"", first.max(1));
    let with_ports = match rule.protocol? {
        1 => return Some(if family == Family::V4 { "\"icmp\"" } else { "\"icmpv6\"" }.to_owned()),
        6 => "tcp",
        17 => "udp",
        number => return Some(format!("\"proto/{number}\"")),
    };
    let mut keys = String::new();
    for (key, ports) in [("port", rule.dst_port), ("source_port", rule.src_port)] {
        if ports != ANY_PORT {
            let _ = write!(keys, ", {key} = [{}]", range(ports));
        }
    }
    Some(if keys.is_empty() { format!("\"{with_ports}\"") } else { format!("{{ proto = \"{with_ports}\"{keys} }}") })
}

impl Prefix {
    /// Every address.
    #[must_use]
    pub const fn any() -> Self {
        Self { first: 0, len: 0 }
    }
}
