//! Random policies, and what the policy language says of them. `aerleon.rs` says the same in the other language; what that cannot say
//! is in no policy.

use std::fmt::Write as _;

use super::random::Random;

/// The zones, with a network of each family.
pub(crate) const ZONES: [(&str, [&str; 2]); 3] = [
    ("a", ["10.1.0.0/16", "fd00:0:0:100::/56"]),
    ("b", ["10.2.0.0/16", "fd00:0:0:200::/56"]),
    ("c", ["192.168.0.0/24", "fd00:0:0:a00::/64"]),
];

/// Prefixes with the zone that they lie in; for `None`, each zone whose networks of the family begin as the text does.
const PREFIXES: [(&str, Option<usize>); 18] = [
    ("10.1.0.0/16", Some(0)),
    ("10.1.1.0/24", Some(0)),
    ("10.1.1.0/25", Some(0)),
    ("10.1.1.7/32", Some(0)),
    ("10.1.255.255/32", Some(0)),
    ("fd00:0:0:100::/57", Some(0)),
    ("fd00:0:0:101::7/128", Some(0)),
    ("10.2.0.0/17", Some(1)),
    ("10.2.128.0/17", Some(1)),
    ("10.2.3.4/30", Some(1)),
    ("fd00:0:0:200::/56", Some(1)),
    ("fd00:0:0:280::/57", Some(1)),
    ("192.168.0.128/25", Some(2)),
    ("192.168.0.0/32", Some(2)),
    ("fd00:0:0:a00:8000::/65", Some(2)),
    ("fd00:0:0:a00::1/128", Some(2)),
    ("10.0.0.0/8", None),
    ("fd00::/16", None),
];

/// Addresses of each zone: the ends of its prefixes, and some beside them.
const ADDRESSES: [[&[&str]; 2]; 3] = [
    [
        &["10.1.0.0", "10.1.1.0", "10.1.1.7", "10.1.1.8", "10.1.1.127", "10.1.1.128", "10.1.2.0", "10.1.255.255"],
        &["fd00:0:0:100::1", "fd00:0:0:101::7", "fd00:0:0:101::8", "fd00:0:0:17f:ffff::", "fd00:0:0:180::"],
    ],
    [
        &["10.2.0.0", "10.2.3.3", "10.2.3.4", "10.2.3.7", "10.2.3.8", "10.2.127.255", "10.2.128.0"],
        &["fd00:0:0:200::", "fd00:0:0:27f::1", "fd00:0:0:280::", "fd00:0:0:2ff::1"],
    ],
    [
        &["192.168.0.0", "192.168.0.1", "192.168.0.127", "192.168.0.128"],
        &["fd00:0:0:a00::", "fd00:0:0:a00::1", "fd00:0:0:a00:7fff::", "fd00:0:0:a00:8000::"],
    ],
];

/// Ports that meet.
const PORTS: [u16; 8] = [1, 22, 23, 80, 81, 1023, 1024, 65_535];

/// Protocols with the names of both languages, and their numbers.
pub(crate) const WITHOUT_PORTS: [(&str, &str, u8); 2] = [("proto/47", "gre", 47), ("proto/50", "esp", 50)];
pub(crate) const WITH_PORTS: [(&str, u8); 3] = [("tcp", 6), ("udp", 17), ("sctp", 132)];

/// A set of addresses: positions of prefixes, and of sets in front of it.
#[derive(Clone, Debug)]
pub(crate) struct AddressSet {
    pub(crate) prefixes: Vec<usize>,
    pub(crate) sets: Vec<usize>,
}

/// Ports of one protocol, and sets in front of it of the same one.
#[derive(Clone, Debug)]
pub(crate) struct ServiceSet {
    pub(crate) protocol: usize,
    pub(crate) ports: Vec<(u16, u16)>,
    pub(crate) sets: Vec<usize>,
}

#[derive(Clone, Debug)]
pub(crate) enum Service {
    Set(usize),
    /// Every port of the protocol.
    Protocol(usize),
    /// Source and destination ports.
    Table {
        protocol: usize,
        source: (u16, u16),
        destination: (u16, u16),
    },
    Icmp,
    Other(usize),
}

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) id: usize,
    /// `None`: any.
    pub(crate) zones: [Option<Vec<usize>>; 2],
    /// Sets and prefixes of source and destination; `None`: any.
    pub(crate) addresses: [Option<AddressSet>; 2],
    pub(crate) services: Option<Vec<Service>>,
    pub(crate) action: usize,
}

/// The words of both languages.
pub(crate) const ACTIONS: [(&str, &str); 3] = [("allow", "accept"), ("drop", "deny"), ("reject", "reject")];

#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) addresses: Vec<AddressSet>,
    pub(crate) services: Vec<ServiceSet>,
    pub(crate) rules: Vec<Rule>,
    /// Zones with what is done between them.
    pub(crate) pairs: Vec<(usize, usize, usize)>,
    pub(crate) default: usize,
}

/// A packet that opens a flow.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) src: &'static str,
    pub(crate) dst: &'static str,
    pub(crate) protocol: u8,
    /// The name that Aerleon has for the protocol.
    pub(crate) name: &'static str,
    /// Source and destination, of a protocol that has them.
    pub(crate) ports: Option<(u16, u16)>,
}

impl Packet {
    pub(crate) fn random(random: &mut Random) -> Self {
        let (from, to, family) = (random.below(3), random.below(3), random.below(2));
        let (src, dst) = (*random.pick(ADDRESSES[from][family]), *random.pick(ADDRESSES[to][family]));
        let (name, protocol) = match random.below(10) {
            0 => [("icmp", 1), ("icmpv6", 58)][family],
            1 => {
                let (_, name, number) = *random.pick(&WITHOUT_PORTS);
                (name, number)
            }
            _ => *random.pick(&WITH_PORTS),
        };
        let has_ports = WITH_PORTS.iter().any(|(_, number)| *number == protocol);
        let ports = has_ports.then(|| (*random.pick(&PORTS), *random.pick(&PORTS)));
        Self { from, to, src, dst, protocol, name, ports }
    }

    pub(crate) fn is_ipv4(&self) -> bool {
        !self.src.contains(':')
    }

    /// The question to the other judge.
    pub(crate) fn question(&self) -> serde_json::Value {
        let mut question = serde_json::json!({ "src": self.src, "dst": self.dst, "proto": self.name });
        if let Some((source, destination)) = self.ports {
            question["sport"] = source.to_string().into();
            question["dport"] = destination.to_string().into();
        }
        question
    }
}

fn range(random: &mut Random) -> (u16, u16) {
    let (one, other) = (*random.pick(&PORTS), *random.pick(&PORTS));
    (one.min(other), one.max(other))
}

impl AddressSet {
    fn random(random: &mut Random, sets: usize) -> Self {
        let prefixes = (0..1 + random.below(3)).map(|_| random.below(PREFIXES.len())).collect();
        let sets = if sets > 0 && random.below(3) == 0 { vec![random.below(sets)] } else { Vec::new() };
        Self { prefixes, sets }
    }

    /// The elements as the policy language has them.
    fn written(&self) -> String {
        let mut prefixes = self.prefixes.clone();
        prefixes.sort_unstable();
        prefixes.dedup();
        let prefixes = prefixes.iter().map(|prefix| format!("\"{}\"", PREFIXES[*prefix].0));
        let sets = self.sets.iter().map(|set| format!("\"@s{set}\""));
        format!("[{}]", prefixes.chain(sets).collect::<Vec<_>>().join(", "))
    }

    /// The prefixes that it has in a zone: those in it, or its own if one holds it.
    pub(crate) fn in_zone(&self, zone: usize, model: &Model) -> Vec<&'static str> {
        let mut found = Vec::new();
        for prefix in &self.prefixes {
            let (text, of) = PREFIXES[*prefix];
            match of {
                Some(of) if of == zone => found.push(text),
                Some(_) => {}
                None => {
                    let start = if text.contains(':') { "fd00:" } else { "10." };
                    found.extend(ZONES[zone].1.into_iter().filter(|network| network.starts_with(start)));
                }
            }
        }
        for set in &self.sets {
            found.extend(model.addresses[*set].in_zone(zone, model));
        }
        found
    }
}

impl ServiceSet {
    fn written(&self) -> String {
        let protocol = WITH_PORTS[self.protocol].0;
        let ports = self.ports.iter().map(|(first, last)| format!("\"{protocol}/{first}-{last}\""));
        let sets = self.sets.iter().map(|set| format!("\"@v{set}\""));
        format!("[{}]", ports.chain(sets).collect::<Vec<_>>().join(", "))
    }
}

impl Rule {
    fn random(random: &mut Random, id: usize, model: &Model) -> Self {
        let zones = |random: &mut Random| {
            (random.below(4) > 0).then(|| {
                let first = random.below(3);
                let second = random.below(3);
                if first == second { vec![first] } else { vec![first, second] }
            })
        };
        let addresses =
            |random: &mut Random| (random.below(2) > 0).then(|| AddressSet::random(random, model.addresses.len()));
        let service = |random: &mut Random| match random.below(6) {
            0 => Service::Protocol(random.below(WITH_PORTS.len())),
            1 => Service::Table {
                protocol: random.below(WITH_PORTS.len()),
                source: range(random),
                destination: range(random),
            },
            2 => Service::Icmp,
            3 => Service::Other(random.below(WITHOUT_PORTS.len())),
            _ => Service::Set(random.below(model.services.len())),
        };
        let services = (random.below(4) > 0).then(|| (0..1 + random.below(3)).map(|_| service(random)).collect());
        Self {
            id,
            zones: [zones(random), zones(random)],
            addresses: [addresses(random), addresses(random)],
            services,
            action: random.below(3),
        }
    }

    /// The rule of the policy language.
    fn write(&self, text: &mut String) {
        let zones = |zones: &Option<Vec<usize>>| match zones {
            None => "[\"any\"]".to_owned(),
            Some(zones) => format!(
                "[{}]",
                zones.iter().map(|zone| format!("\"{}\"", ZONES[*zone].0)).collect::<Vec<_>>().join(", ")
            ),
        };
        let _ = writeln!(
            text,
            "[[rule]]\nid = \"r{}\"\nfrom = {}\nto = {}\naction = \"{}\"",
            self.id,
            zones(&self.zones[0]),
            zones(&self.zones[1]),
            ACTIONS[self.action].0
        );
        for (key, addresses) in ["source", "destination"].into_iter().zip(&self.addresses) {
            if let Some(addresses) = addresses {
                let _ = writeln!(text, "{key} = {}", addresses.written());
            }
        }
        if let Some(services) = &self.services {
            let service = |service: &Service| match service {
                Service::Set(set) => format!("\"@v{set}\""),
                Service::Protocol(protocol) => format!("\"{}\"", WITH_PORTS[*protocol].0),
                Service::Table { protocol, source, destination } => format!(
                    "{{ proto = \"{}\", port = [\"{}-{}\"], source_port = [\"{}-{}\"] }}",
                    WITH_PORTS[*protocol].0, destination.0, destination.1, source.0, source.1
                ),
                Service::Icmp => "\"icmp\", \"icmpv6\"".to_owned(),
                Service::Other(other) => format!("\"{}\"", WITHOUT_PORTS[*other].0),
            };
            let _ = writeln!(text, "services = [{}]", services.iter().map(service).collect::<Vec<_>>().join(", "));
        }
    }
}

impl Model {
    pub(crate) fn random(random: &mut Random) -> Self {
        let mut model = Self {
            addresses: Vec::new(),
            services: Vec::new(),
            rules: Vec::new(),
            pairs: Vec::new(),
            default: 1 + random.below(2),
        };
        for position in 0..3 {
            model.addresses.push(AddressSet::random(random, position));
        }
        for position in 0..4 {
            let protocol = random.below(WITH_PORTS.len());
            let same: Vec<usize> = (0..position).filter(|set| model.services[*set].protocol == protocol).collect();
            let sets = if same.is_empty() || random.below(2) == 0 { Vec::new() } else { vec![*random.pick(&same)] };
            let ports = (0..1 + random.below(3)).map(|_| range(random)).collect();
            model.services.push(ServiceSet { protocol, ports, sets });
        }
        for id in 0..1 + random.below(12) {
            let rule = Rule::random(random, id, &model);
            model.rules.push(rule);
        }
        for from in 0..3 {
            for to in 0..3 {
                if random.below(4) == 0 {
                    model.pairs.push((from, to, 1 + random.below(2)));
                }
            }
        }
        model
    }

    /// The policy file.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("version = 1\n[defaults]\naction = \"{}\"\n", ACTIONS[self.default].0);
        for (name, [ipv4, ipv6]) in ZONES {
            let _ = writeln!(text, "[zones.{name}]\nnetworks = [\"{ipv4}\", \"{ipv6}\"]");
        }
        text.push_str("[addresses]\n");
        for (number, set) in self.addresses.iter().enumerate() {
            let _ = writeln!(text, "s{number} = {}", set.written());
        }
        text.push_str("[services]\n");
        for (number, set) in self.services.iter().enumerate() {
            let _ = writeln!(text, "v{number} = {}", set.written());
        }
        self.rules.iter().for_each(|rule| rule.write(&mut text));
        for (from, to, action) in &self.pairs {
            let _ = writeln!(
                text,
                "[[zone_pair]]\nfrom = \"{}\"\nto = \"{}\"\naction = \"{}\"",
                ZONES[*from].0, ZONES[*to].0, ACTIONS[*action].0
            );
        }
        text
    }

    /// The same without one of its rules, for each of them.
    pub(crate) fn smaller(&self) -> impl Iterator<Item = Self> + '_ {
        (0..self.rules.len()).map(|position| {
            let mut smaller = self.clone();
            smaller.rules.remove(position);
            smaller
        })
    }
}
