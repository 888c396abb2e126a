//! What is imported from iptables is compared with an interpreter of the rules as they are written: nothing is allowed that was not, and
//! where all can be expressed, the same is.

use std::fmt::Write;

use fw_common::policy::Query;
use fw_policy::{Binding, Compiled, ImportFormat, Outcome, SourceFile, import, load};
use proptest::prelude::*;
use time::macros::datetime;

const INTERFACES: [&str; 2] = ["eth0", "eth1"];
const NETWORKS: [(&str, u8); 4] = [("10.0.0.0/8", 1), ("10.1.0.0/16", 2), ("10.1.1.1/32", 4), ("192.168.0.0/16", 8)];
/// An address of each kind, and the networks above that it is in, as bits.
const ADDRESSES: [(&str, u8); 4] = [("10.9.9.9", 1), ("10.1.2.3", 3), ("10.1.1.1", 7), ("172.16.0.1", 0)];
const PORTS: [u16; 3] = [22, 80, 443];

/// A rule of the generated kind.
#[derive(Clone, Debug)]
struct Rule {
    input: Option<(bool, usize)>,
    source: Option<(bool, usize)>,
    destination: Option<(bool, usize)>,
    port: Option<(bool, usize)>,
    /// A condition that cannot be expressed.
    unknown: bool,
    target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Accept,
    Drop,
    Reject,
    Jump,
    Return,
    Log,
}

#[derive(Clone, Debug)]
struct Ruleset {
    forward: Vec<Rule>,
    user: Vec<Rule>,
    accepts: bool,
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    input: usize,
    source: usize,
    destination: usize,
    port: u16,
    /// What the conditions that cannot be expressed say.
    unknown: bool,
}

impl Rule {
    fn matches(&self, packet: Packet) -> bool {
        let network = |condition: Option<(bool, usize)>, address: usize| {
            condition.is_none_or(|(negated, network)| (ADDRESSES[address].1 & NETWORKS[network].1 != 0) != negated)
        };
        self.input.is_none_or(|(negated, interface)| (interface == packet.input) != negated)
            && network(self.source, packet.source)
            && network(self.destination, packet.destination)
            && self.port.is_none_or(|(negated, port)| (PORTS[port] == packet.port) != negated)
            && (!self.unknown || packet.unknown)
    }

    fn write(&self, chain: &str, text: &mut String) {
        let not = |negated: bool| if negated { "! " } else { "" };
        let _ = write!(text, "-A {chain}");
        for (option, network) in [("-s", self.source), ("-d", self.destination)] {
            if let Some((negated, network)) = network {
                let _ = write!(text, " {}{option} {}", not(negated), NETWORKS[network].0);
            }
        }
        if let Some((negated, interface)) = self.input {
            let _ = write!(text, " {}-i {}", not(negated), INTERFACES[interface]);
        }
        if let Some((negated, port)) = self.port {
            let _ = write!(text, " -p tcp -m tcp {}--dport {}", not(negated), PORTS[port]);
        }
        if self.unknown {
            text.push_str(" -m string --string x --algo bm");
        }
        let target = match self.target {
            Target::Accept => "ACCEPT",
            Target::Drop => "DROP",
            Target::Reject => "REJECT",
            Target::Jump => "user",
            Target::Return => "RETURN",
            Target::Log => "LOG",
        };
        let _ = writeln!(text, " -j {target}");
    }
}

impl Ruleset {
    /// Whether a packet passes, as netfilter would decide.
    fn passes(&self, packet: Packet) -> bool {
        for rule in self.forward.iter().filter(|rule| rule.matches(packet)) {
            match rule.target {
                Target::Accept => return true,
                Target::Drop | Target::Reject => return false,
                Target::Return => return self.accepts,
                Target::Log => {}
                Target::Jump => {
                    if let Some(passes) = self.user(packet) {
                        return passes;
                    }
                }
            }
        }
        self.accepts
    }

    fn user(&self, packet: Packet) -> Option<bool> {
        for rule in self.user.iter().filter(|rule| rule.matches(packet)) {
            match rule.target {
                Target::Accept => return Some(true),
                Target::Drop | Target::Reject => return Some(false),
                Target::Return => return None,
                Target::Jump | Target::Log => {}
            }
        }
        None
    }

    fn write(&self) -> String {
        let policy = if self.accepts { "ACCEPT" } else { "DROP" };
        let mut text =
            format!("*filter\n:INPUT DROP [0:0]\n:FORWARD {policy} [0:0]\n:OUTPUT DROP [0:0]\n:user - [0:0]\n");
        // Both interfaces are named, so that both are zones.
        text.push_str(
            "-A INPUT -i eth0 -p tcp -m tcp --dport 1 -j ACCEPT\n-A INPUT -i eth1 -p tcp -m tcp --dport 1 -j ACCEPT\n",
        );
        self.forward.iter().for_each(|rule| rule.write("FORWARD", &mut text));
        self.user.iter().for_each(|rule| rule.write("user", &mut text));
        text + "COMMIT\n"
    }
}

fn rule(targets: Vec<Target>) -> impl Strategy<Value = Rule> {
    let condition = |count: usize| prop::option::weighted(0.4, (prop::bool::weighted(0.3), 0..count));
    let conditions = (condition(2), condition(4), condition(4), condition(3));
    (conditions, prop::bool::weighted(0.15), prop::sample::select(targets)).prop_map(
        |((input, source, destination, port), unknown, target)| Rule {
            input,
            source,
            destination,
            port,
            unknown,
            target,
        },
    )
}

fn ruleset() -> impl Strategy<Value = Ruleset> {
    use Target::{Accept, Drop, Jump, Log, Reject, Return};
    let forward = rule(vec![Accept, Accept, Accept, Drop, Reject, Jump, Return, Log]);
    let user = rule(vec![Accept, Accept, Drop, Return, Log]);
    (prop::collection::vec(forward, 1..8), prop::collection::vec(user, 0..4), any::<bool>())
        .prop_map(|(forward, user, accepts)| Ruleset { forward, user, accepts })
}

fn packets() -> impl Iterator<Item = Packet> {
    let addresses = || 0..ADDRESSES.len();
    (0..2).flat_map(move |input| {
        addresses().flat_map(move |source| {
            addresses().flat_map(move |destination| {
                PORTS.into_iter().flat_map(move |port| {
                    [false, true].map(|unknown| Packet { input, source, destination, port, unknown })
                })
            })
        })
    })
}

fn allows(compiled: &Compiled, packet: Packet) -> bool {
    let zone = |name: &str| compiled.zones.iter().find(|zone| zone.name == name).expect("both are zones").id;
    let address = |index: usize| ADDRESSES[index].0.parse::<std::net::IpAddr>().expect("an address").into();
    let query = Query {
        src_addr: address(packet.source),
        dst_addr: address(packet.destination),
        from_zone: zone(INTERFACES[packet.input]),
        to_zone: zone(INTERFACES[1 - packet.input]),
        protocol: 6,
        src_port: 40_000,
        dst_port: packet.port,
    };
    let decision = compiled.tables.classify(&query);
    decision.action == fw_common::abi::policy::Action::Allow
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nothing_is_allowed_that_was_not(ruleset in ruleset()) {
        let text = ruleset.write();
        let imported = import(ImportFormat::IptablesSave, &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let policy = load(&[SourceFile { name: "p.toml".into(), text: imported.policy.clone() }]).expect("it is valid");
        let compiled = policy.compile(&Binding::offline(&policy), datetime!(2026-07-01 0:00 UTC)).expect("it compiles");
        let log_only = |reason: &str| reason.contains("does not decide");
        let is_exact = imported.notes.iter().all(|note| {
            note.outcome == Outcome::Implied || note.outcome == Outcome::LeftOut && log_only(&note.reason)
        });
        for packet in packets() {
            let (before, after) = (ruleset.passes(packet), allows(&compiled, packet));
            prop_assert!(before || !after, "allowed: {packet:?}\n{text}\n{}", imported.policy);
            prop_assert!(!is_exact || before == after, "differs: {packet:?}\n{text}\n{}", imported.policy);
        }
    }
}
