//! The options of one rule (iptables(8), iptables-extensions(8)).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::HARMLESS;
use crate::import::chains::Verdict;
use crate::import::draft::name;
use crate::import::matching::{
    Match, Packets, addresses, complement, icmp, intersection, packets, port_range, ports, protocol,
};
use crate::set::interval::Family;
use crate::set::service::{PortRange, ServiceSet};
use crate::set::{SetAlgebra, icmp as icmp_types};

/// A rule that has been read.
pub(super) struct Parsed {
    pub(super) matching: Match,
    pub(super) verdict: Verdict,
    pub(super) comment: String,
    /// Whether it is about the loopback interface.
    pub(super) is_loopback: bool,
}

/// What it takes to read options.
pub(super) struct Options<'o> {
    pub(super) family: Family,
    /// Every interface that a rule names.
    pub(super) interfaces: &'o BTreeSet<String>,
}

impl Options<'_> {
    /// Reads the words behind the chain.
    pub(super) fn read(&self, options: &[String]) -> Parsed {
        let mut parsed = Parsed {
            matching: Match::any(),
            verdict: Verdict::Nothing("a rule without a target".to_owned()),
            comment: String::new(),
            is_loopback: false,
        };
        let mut words = options.iter().map(String::as_str).peekable();
        let (mut negated, mut not_syn, mut states_of) = (false, false, None);
        while let Some(option) = words.next() {
            if option == "!" {
                negated = true;
                continue;
            }
            let mut value = || words.next().unwrap_or_default().to_owned();
            match option {
                // The names of modules say nothing that their options do not.
                "-m" => {
                    value();
                    continue;
                }
                "--comment" => parsed.comment = value(),
                "--syn" => not_syn |= negated,
                "--state" | "--ctstate" => {
                    let value = value();
                    states_of = states(&value, negated);
                    if states_of.is_none() {
                        parsed.matching.unknown.push(format!("`{option} {value}`"));
                    }
                }
                "--reject-with" | "--log-prefix" | "--log-level" | "--nflog-prefix" | "--nflog-group" => {
                    value();
                }
                "-j" => parsed.verdict = verdict(&value()),
                // What comes back from there does not come here.
                "-g" => parsed.verdict = Verdict::Unknown(format!("chain {}", value())),
                "-i" | "-o" => {
                    let interface = value();
                    parsed.is_loopback |= interface == "lo" && !negated;
                    self.interface(option, &interface, negated, &mut parsed.matching);
                }
                _ => {
                    // The values that belong to it: everything up to the next option.
                    let mut values: Vec<String> = Vec::new();
                    while let Some(next) = words.next_if(|next| !next.starts_with('-') && *next != "!") {
                        values.push(next.to_owned());
                    }
                    self.condition(option, &values, negated, &mut parsed.matching);
                }
            }
            negated = false;
        }
        parsed.matching.packets = match (not_syn, states_of) {
            (false, packets) => packets.unwrap_or(Packets::Opening),
            // A flow begins with a SYN alone: what is new and not one, belongs to none.
            (true, Some(Packets::Opening | Packets::Invalid)) => Packets::Invalid,
            (true, Some(Packets::OfFlows) | None) => Packets::OfFlows,
        };
        parsed
    }

    fn interface(&self, option: &str, interface: &str, negated: bool, matching: &mut Match) {
        if interface == "lo" {
            // No packet that is looked at is of the loopback interface, so all are of another one.
            return;
        }
        let zones = if let Some(prefix) = interface.strip_suffix('+') {
            matching.unknown.push(format!("interfaces whose names begin with `{prefix}`"));
            return;
        } else if negated {
            self.interfaces.iter().filter(|known| *known != interface).map(|known| name(known, 27)).collect()
        } else {
            BTreeSet::from([name(interface, 27)])
        };
        *(if option == "-i" { &mut matching.from } else { &mut matching.to }) = Some(zones);
    }

    /// Takes a condition into a match; one that is not known is noted there.
    fn condition(&self, option: &str, values: &[String], negated: bool, matching: &mut Match) {
        let value = values.first().map_or("", String::as_str);
        let known = match option {
            "-s" | "-d" => addresses(value).map(|set| {
                let set = if negated { complement(&set) } else { set };
                let side = if option == "-s" { &mut matching.source } else { &mut matching.destination };
                *side = intersection(side, &set);
            }),
            "-p" if value == "all" => Some(()),
            "-p" => protocol(value).map(|set| restrict(&set, negated, matching)),
            "--dport" | "--dports" | "--destination-port" | "--destination-ports" => {
                port_ranges(value).and_then(|ranges| restrict_ports(&ports(&[], &ranges), negated, matching))
            }
            "--sport" | "--sports" | "--source-port" | "--source-ports" => {
                port_ranges(value).and_then(|ranges| restrict_ports(&ports(&ranges, &[]), negated, matching))
            }
            "--icmp-type" | "--icmpv6-type" => {
                icmp_type(self.family == Family::V6, value).map(|set| restrict(&set, negated, matching))
            }
            // The same as `--syn`: what opens a flow.
            "--tcp-flags" if values.join(" ") == "FIN,SYN,RST,ACK SYN" && !negated => Some(()),
            "--src-range" | "--dst-range" => addresses(value).map(|set| {
                let set = if negated { complement(&set) } else { set };
                let side = if option == "--src-range" { &mut matching.source } else { &mut matching.destination };
                *side = intersection(side, &set);
            }),
            _ => None,
        };
        if known.is_none() {
            let sign = if negated { "! " } else { "" };
            matching.unknown.push(format!("`{sign}{option} {}`", values.join(" ")).replace(" `", "`"));
        }
    }
}

/// Cuts the services of a match with others.
fn restrict(services: &ServiceSet, negated: bool, matching: &mut Match) {
    let complemented;
    let services = if negated {
        complemented = complement(services);
        &complemented
    } else {
        services
    };
    matching.services = Arc::new(intersection(matching.services.as_ref(), services));
}

/// The same with ports; `None` if the protocol has none here.
fn restrict_ports(services: &ServiceSet, negated: bool, matching: &mut Match) -> Option<()> {
    let has_ports = matching.services.subtract(&ports(&[], &[])).is_empty();
    has_ports.then(|| restrict(services, negated, matching))
}

/// What a target does.
fn verdict(target: &str) -> Verdict {
    match target {
        "ACCEPT" => Verdict::Allow,
        "DROP" => Verdict::Drop,
        "REJECT" => Verdict::Reject,
        "RETURN" => Verdict::Return,
        harmless if HARMLESS.contains(&harmless) => Verdict::Nothing(harmless.to_owned()),
        target => Verdict::Jump(target.to_owned()),
    }
}

fn port_ranges(text: &str) -> Option<Vec<PortRange>> {
    text.split(',').map(port_range).collect()
}

/// A type by number or name, with its code.
fn icmp_type(is_v6: bool, text: &str) -> Option<ServiceSet> {
    let (kind, code) = match text.split_once('/') {
        Some((kind, code)) => (kind, Some(code.parse().ok()?)),
        None => (text, None),
    };
    if kind == "any" {
        return protocol(if is_v6 { "icmpv6" } else { "icmp" });
    }
    // ip6tables says `packet-too-big`, iptables `echo-request`: as the language does.
    let number = kind.parse().ok().or_else(|| icmp_types::number(is_v6, kind))?;
    Some(icmp(is_v6, number, code))
}

/// The states of connection tracking.
fn states(text: &str, negated: bool) -> Option<Packets> {
    const ALL: [&str; 5] = ["NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED"];
    let named: Vec<&str> = text.split(',').collect();
    // SNAT and DNAT, which this firewall does not do.
    if !named.iter().all(|state| ALL.contains(state)) {
        return None;
    }
    let meant: Vec<&str> = ALL.into_iter().filter(|state| named.contains(state) != negated).collect();
    Some(packets(&meant))
}

#[cfg(test)]
mod tests {
    use super::super::words;
    use super::*;

    fn parsed(rule: &str) -> Parsed {
        let interfaces = BTreeSet::from(["eth0".to_owned(), "eth1".to_owned()]);
        Options { family: Family::V4, interfaces: &interfaces }.read(&words(rule))
    }

    #[test]
    fn options_are_conditions() {
        let rule = parsed(
            r#"-s 10.0.0.0/8 ! -d 10.1.0.0/16 -i eth0 ! -o eth0 -p tcp -m multiport --dports 80,443:445 -m comment --comment "two \"words\"" -j ACCEPT"#,
        );
        let Match { from, to, source, services, packets, unknown, .. } = &rule.matching;
        assert_eq!(
            (source.terms(), services.terms()),
            (vec!["10.0.0.0/8".to_owned()], vec!["tcp/80".to_owned(), "tcp/443-445".to_owned()])
        );
        assert_eq!(
            (from, to),
            (&Some(BTreeSet::from(["eth0".to_owned()])), &Some(BTreeSet::from(["eth1".to_owned()])))
        );
        assert_eq!((packets, unknown.len(), rule.comment.as_str()), (&Packets::Opening, 0, "two \"words\""));
        assert!(!rule.matching.destination.contains("10.1.0.1".parse().unwrap()));
    }

    #[test]
    fn what_is_not_known_is_named() {
        assert_eq!(parsed("-m string --string x --algo bm -j DROP").matching.unknown, ["`--string x`", "`--algo bm`"]);
        assert_eq!(parsed("-m set ! --match-set bad src -j ACCEPT").matching.unknown, ["`! --match-set bad src`"]);
        assert_eq!(parsed("-i tun+ -j ACCEPT").matching.unknown, ["interfaces whose names begin with `tun`"]);
        assert_eq!(parsed("-p tcp --tcp-flags ALL NONE -j DROP").matching.unknown, ["`--tcp-flags ALL NONE`"]);
        assert_eq!(parsed("-m conntrack --ctstate DNAT -j ACCEPT").matching.unknown, ["`--ctstate DNAT`"]);
    }

    #[test]
    fn states_say_which_packets() {
        let of = |rule: &str| parsed(rule).matching.packets;
        assert_eq!(of("-m state --state NEW"), Packets::Opening);
        assert_eq!(of("-m conntrack --ctstate RELATED,ESTABLISHED"), Packets::OfFlows);
        assert_eq!(of("-m conntrack ! --ctstate INVALID"), Packets::Opening);
        assert_eq!(of("-m conntrack ! --ctstate NEW,INVALID"), Packets::OfFlows);
        assert_eq!(of("-p tcp ! --syn -m state --state NEW"), Packets::Invalid);
        assert_eq!(of("-p tcp -m tcp ! --syn"), Packets::OfFlows);
        assert_eq!(of("-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN"), Packets::Opening);
    }
}
