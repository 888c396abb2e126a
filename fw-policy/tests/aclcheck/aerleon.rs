//! A policy as Aerleon has it.
//!
//! Aerleon has no zones: a term names addresses instead, those that the zones and the addresses of a rule have in common. They are found
//! without arithmetic, because every prefix lies in one zone or holds whole zones. A term has one protocol, so that a rule is a
//! term for each of its services, all with the same action. What Aerleon or aclcheck cannot say is in no policy; docs/oracle.md lists it.

use std::fmt::Write as _;

use super::model::{ACTIONS, Model, Rule, Service, WITH_PORTS, WITHOUT_PORTS, ZONES};

/// The text of Aerleon's policy and of its definitions, while they are put together.
#[derive(Default)]
struct Aerleon {
    terms: String,
    networks: String,
    services: String,
}

impl Aerleon {
    /// Defines networks under a name.
    fn network(&mut self, name: &str, prefixes: &[&str]) {
        let _ = writeln!(self.networks, "  {name}:\n    values:");
        prefixes.iter().for_each(|prefix| {
            let _ = writeln!(self.networks, "      - address: {prefix}");
        });
    }

    fn ports(&mut self, name: &str, protocol: &str, (first, last): (u16, u16)) {
        let _ = writeln!(self.services, "  {name}:\n    - protocol: {protocol}\n      port: {first}-{last}");
    }

    fn term(&mut self, name: &str, networks: [&str; 2], service: &str, action: usize) {
        let [source, destination] = networks;
        let _ = writeln!(
            self.terms,
            "    - name: {name}\n      source-address: {source}\n      destination-address: {destination}\n{service}      action: {}",
            ACTIONS[action].1
        );
    }

    fn rule(&mut self, rule: &Rule, model: &Model) {
        let mut names = [String::new(), String::new()];
        for (end, name) in names.iter_mut().enumerate() {
            let zones = rule.zones[end].clone().unwrap_or_else(|| (0..ZONES.len()).collect());
            let mut prefixes: Vec<&str> = Vec::new();
            for zone in zones {
                match &rule.addresses[end] {
                    None => prefixes.extend(ZONES[zone].1),
                    Some(addresses) => prefixes.extend(addresses.in_zone(zone, model)),
                }
            }
            // Nothing in common: no packet matches, and there is no term for that.
            if prefixes.is_empty() {
                return;
            }
            *name = format!("R{}E{end}", rule.id);
            self.network(name, &prefixes);
        }
        let networks = [names[0].as_str(), names[1].as_str()];
        let Some(services) = &rule.services else {
            return self.term(&format!("r{}", rule.id), networks, "", rule.action);
        };
        for (number, service) in services.iter().enumerate() {
            let written = match service {
                Service::Set(set) => {
                    let protocol = WITH_PORTS[model.services[*set].protocol].0;
                    format!("      protocol: {protocol}\n      destination-port: V{set}\n")
                }
                Service::Protocol(protocol) => format!("      protocol: {}\n", WITH_PORTS[*protocol].0),
                Service::Table { protocol, source, destination } => {
                    let protocol = WITH_PORTS[*protocol].0;
                    let [from, to] = ["S", "D"].map(|end| format!("R{}T{number}{end}", rule.id));
                    self.ports(&from, protocol, *source);
                    self.ports(&to, protocol, *destination);
                    format!("      protocol: {protocol}\n      source-port: {from}\n      destination-port: {to}\n")
                }
                Service::Icmp => "      protocol: icmp icmpv6\n".to_owned(),
                Service::Other(other) => format!("      protocol: {}\n", WITHOUT_PORTS[*other].1),
            };
            self.term(&format!("r{}-{number}", rule.id), networks, &written, rule.action);
        }
    }
}

impl Model {
    /// Aerleon's policy, and its definitions.
    pub(crate) fn aerleon(&self) -> (String, String) {
        let mut aerleon = Aerleon::default();
        for (number, set) in self.services.iter().enumerate() {
            let _ = writeln!(aerleon.services, "  V{number}:");
            for (first, last) in &set.ports {
                let protocol = WITH_PORTS[set.protocol].0;
                let _ = writeln!(aerleon.services, "    - protocol: {protocol}\n      port: {first}-{last}");
            }
            for inner in &set.sets {
                let _ = writeln!(aerleon.services, "    - name: V{inner}");
            }
        }
        for (zone, [ipv4, ipv6]) in ZONES {
            aerleon.network(&format!("ZONE{zone}").to_uppercase(), &[ipv4, ipv6]);
        }
        self.rules.iter().for_each(|rule| aerleon.rule(rule, self));
        for (from, to, action) in &self.pairs {
            let names = [from, to].map(|zone| format!("ZONE{}", ZONES[*zone].0).to_uppercase());
            let name = format!("default-{}-{}", ZONES[*from].0, ZONES[*to].0);
            aerleon.term(&name, [names[0].as_str(), names[1].as_str()], "", *action);
        }
        let _ = writeln!(aerleon.terms, "    - name: default\n      action: {}", ACTIONS[self.default].1);
        let policy = format!("filters:\n- header:\n    targets:\n      juniper: judged\n  terms:\n{}", aerleon.terms);
        (policy, format!("networks:\n{}services:\n{}", aerleon.networks, aerleon.services))
    }
}

/// The id of what decides, as the policy language has it, for the name of a term.
pub(crate) fn id_of(term: &str) -> String {
    if let Some(pair) = term.strip_prefix("default-") {
        return format!("default:{}", pair.replace('-', ">"));
    }
    term.split('-').next().unwrap_or_default().to_owned()
}
