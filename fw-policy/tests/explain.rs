//! What is said of a packet is what the tables decide, and each reason is true.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use fw_common::DropReason;
use fw_common::abi::policy::Action;
use fw_common::wire::Packet;
use fw_common::wire::parse::{Kind, tcp_flag};
use fw_policy::explain::{Conclusion, Explanation, Ingress, Question, QuestionError, Stage, service};
use fw_policy::{Binding, Compiled, Field, InterfaceBinding, ManagementBinding, Policy, SourceFile, load};
use proptest::prelude::*;
use time::OffsetDateTime;
use time::macros::datetime;

const NOW: OffsetDateTime = datetime!(2026-07-01 0:00 UTC);

const BASE: &str = r#"
version = 1
[defaults]
action = "drop"
[zones.onprem]
networks = ["192.168.0.0/16"]
[zones.exposed]
[zones.ot]
networks = ["10.1.0.0/16"]
[zones.it]
networks = ["10.2.0.0/16"]
[addresses]
plc = ["192.168.10.0/24", "!192.168.10.9/32"]
[[rule]]
id = "history"
from = ["onprem"]
to = ["it"]
source = ["@plc"]
destination = ["10.2.1.20"]
services = ["tcp/502"]
action = "allow"
[[rule]]
id = "summer"
from = ["onprem"]
to = ["it"]
services = ["tcp/22"]
action = "allow"
starts = 2026-08-01
[[rule]]
id = "web"
from = ["any"]
to = ["it"]
services = ["tcp/80"]
action = "allow"
[[zone_pair]]
from = "onprem"
to = "it"
action = "reject"
"#;

fn loaded(text: &str) -> (Policy, Compiled) {
    let policy = load(&[SourceFile { name: "a.toml".to_owned(), text: text.to_owned() }]);
    let policy = policy.unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    let interface = |name: &str, zones: &[&str]| InterfaceBinding {
        name: name.to_owned(),
        zones: zones.iter().map(|zone| (*zone).to_owned()).collect(),
    };
    let binding = Binding {
        interfaces: vec![
            interface("ens6", &["onprem", "exposed"]),
            interface("ens7", &["ot"]),
            interface("ens8", &["it"]),
        ],
        management: Some(ManagementBinding { slot: 3, allow: vec!["tcp/9477 from 10.3.0.0/16".to_owned()] }),
        ..Binding::default()
    };
    let compiled = policy.compile(&binding, NOW).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    (policy, compiled)
}

fn packet(src: &str, dst: &str, written: &str) -> Packet {
    let (protocol, src_port, dst_port) = service(written, None).expect("a service");
    let [icmp_type, icmp_code] = dst_port.to_be_bytes();
    let (kind, tcp_flags) = match protocol {
        6 => (Kind::Tcp, tcp_flag::SYN),
        17 => (Kind::Udp, 0),
        1 | 58 => (Kind::IcmpQuery, 0),
        _ => (Kind::Other, 0),
    };
    let addr = |text: &str| text.parse::<IpAddr>().expect("an address").into();
    let (src_addr, dst_addr) = (addr(src), addr(dst));
    Packet { src_addr, dst_addr, protocol, kind, tcp_flags, src_port, dst_port, icmp_type, icmp_code, ..Packet::EMPTY }
}

fn question(from: &str, src: &str, dst: &str, written: &str) -> Question {
    let from = Ingress::Zone(from.to_owned());
    Question { from, to: None, packet: packet(src, dst, written), established: false, all: false }
}

fn id(compiled: &Compiled, position: u32) -> &str {
    compiled.rules[position as usize].id.as_str()
}

/// The rules that are listed, with the field and what the rule has there.
fn listed<'c>(compiled: &'c Compiled, explanation: &Explanation) -> Vec<(&'c str, Option<(Field, String)>)> {
    let candidates = explanation.candidates.iter();
    candidates.map(|candidate| (id(compiled, candidate.position), candidate.mismatch.clone())).collect()
}

#[test]
fn each_rule_in_front_says_where_the_packet_and_it_part() {
    let (policy, compiled) = loaded(BASE);
    let explain = |question: &Question| policy.explain(&compiled, question).expect("an answer");
    let explanation = explain(&question("onprem", "192.168.10.9", "10.2.1.20", "tcp/22"));
    let Conclusion::Decided { action: Action::Reject, rule, drop: Some(DropReason::Rejected) } = explanation.conclusion
    else {
        panic!("{explanation:?}")
    };
    assert_eq!(id(&compiled, rule), "default:onprem>it");
    let listed_rules = listed(&compiled, &explanation);
    assert_eq!(
        listed_rules,
        [
            ("history", Some((Field::Source, "192.168.10.0-192.168.10.8, 192.168.10.10-192.168.10.255".to_owned()))),
            ("summer", Some((Field::Schedule, "from 2026-08-01T00:00:00Z".to_owned()))),
            ("web", Some((Field::Service, "tcp/80".to_owned()))),
        ]
    );
    let explanation = explain(&question("onprem", "192.168.10.4", "10.2.1.21", "tcp/502"));
    assert_eq!(listed(&compiled, &explanation)[0], ("history", Some((Field::Destination, "10.2.1.20".to_owned()))));
    // The one that matches is the last; with `all`, those behind it and of other zones are there, too.
    let asked = question("onprem", "192.168.10.4", "10.2.1.20", "tcp/502");
    assert_eq!(listed(&compiled, &explain(&asked)), [("history", None)]);
    let explanation = explain(&Question { all: true, ..asked });
    let everything = listed(&compiled, &explanation);
    assert!(everything.iter().any(|(rule, field)| rule.starts_with("system-") && field.is_some()), "{everything:?}");
    assert_eq!(everything.last().map(|(rule, _)| *rule), Some("web"));
}

#[test]
fn what_never_reaches_the_policy_says_at_which_step_it_ends() {
    let (policy, compiled) = loaded(BASE);
    let ends = |question: Question| {
        let explanation = policy.explain(&compiled, &question).expect("an answer");
        let last = explanation.steps.last().expect("a step").clone();
        assert_eq!(explanation.conclusion, Conclusion::Dropped(last.drop.expect("a reason")), "{explanation:?}");
        assert!(explanation.candidates.is_empty() && explanation.query.is_none());
        (last.stage, last.drop)
    };
    let spoofed = question("ot", "10.2.0.1", "192.168.0.1", "tcp/80");
    assert_eq!(ends(spoofed), (Stage::Source, Some(DropReason::Spoofed)));
    let land = question("ot", "10.1.0.1", "10.1.0.1", "tcp/80");
    assert_eq!(ends(land), (Stage::Addresses, Some(DropReason::Land)));
    let transit = question("management", "10.3.0.1", "10.1.0.1", "tcp/80");
    assert_eq!(ends(transit), (Stage::Destination, Some(DropReason::ManagementTransit)));
    let link = question("ot", "10.1.0.1", "169.254.169.254", "tcp/80");
    assert_eq!(ends(link), (Stage::Destination, Some(DropReason::LinkLocal)));
    let nowhere = Question { to: Some("it".to_owned()), ..question("ot", "10.1.0.1", "10.9.0.1", "tcp/80") };
    assert_eq!(ends(nowhere), (Stage::Destination, Some(DropReason::DestinationZone)));
    let mut segment = question("ot", "10.1.0.1", "10.2.0.1", "tcp/80");
    segment.packet.tcp_flags = tcp_flag::ACK;
    assert_eq!(ends(segment), (Stage::Flow, Some(DropReason::TcpNotSyn)));
}

#[test]
fn an_open_flow_that_the_policy_forbids_ends_as_it_would_when_the_policy_is_applied() {
    let (policy, compiled) = loaded(BASE);
    let conclusion = |written| {
        let established = Question { established: true, ..question("ot", "10.1.0.1", "10.2.0.1", written) };
        policy.explain(&compiled, &established).expect("an answer").conclusion
    };
    assert!(matches!(conclusion("tcp/80"), Conclusion::Decided { action: Action::Allow, drop: None, .. }));
    assert!(matches!(conclusion("tcp/81"), Conclusion::Decided { drop: Some(DropReason::PolicyChanged), .. }));
}

#[test]
fn the_firewall_itself_and_what_it_receives() {
    let (policy, compiled) = loaded(BASE);
    let to_local = |from, src, written| {
        let question = Question { to: Some("local".to_owned()), ..question(from, src, "10.3.1.10", written) };
        match policy.explain(&compiled, &question).expect("an answer").conclusion {
            Conclusion::Decided { action, rule, .. } => (action, id(&compiled, rule).to_owned()),
            other @ (Conclusion::Host | Conclusion::Dropped(_)) => panic!("{other:?}"),
        }
    };
    let (action, rule) = to_local("management", "10.3.0.1", "tcp/9477");
    assert!(action == Action::Allow && rule.starts_with("system-management"), "{rule}");
    assert_eq!(to_local("ot", "10.1.0.1", "tcp/9477"), (Action::Drop, "default".to_owned()));
    let metadata = policy.explain(&compiled, &question("local", "10.1.1.10", "169.254.169.254", "tcp/80"));
    let Conclusion::Decided { action: Action::Allow, rule, .. } = metadata.expect("an answer").conclusion else {
        panic!("the instance's metadata is reached")
    };
    assert_eq!(id(&compiled, rule), "system-metadata");
}

#[test]
fn questions_that_name_what_there_is_not_or_that_a_route_decides() {
    let (policy, compiled) = loaded(&BASE.replace("[zones.ot]\nnetworks = [\"10.1.0.0/16\"]", "[zones.ot]"));
    let wrong = |question: &Question| policy.explain(&compiled, question).expect_err("no answer").to_string();
    assert_eq!(
        wrong(&question("of", "10.1.0.1", "10.2.0.1", "tcp/80")),
        "there is no zone `of`; there are onprem, exposed, ot, it, management, local"
    );
    let by_interface =
        Question { from: Ingress::Interface("ens9".to_owned()), ..question("ot", "10.1.0.1", "10.2.0.1", "tcp/80") };
    assert_eq!(wrong(&by_interface), "there is no interface `ens9`; there are ens6, ens7, ens8");
    // Two zones are the rest of their interfaces.
    let ambiguous = question("it", "10.2.0.1", "8.8.8.8", "tcp/80");
    assert_eq!(
        wrong(&ambiguous),
        "the destination may be in `exposed` or `ot`, by where its route leads: say which with --to"
    );
    let said = Question { to: Some("ot".to_owned()), ..ambiguous };
    assert!(policy.explain(&compiled, &said).is_ok());
    assert!(matches!(service("tcp/80-90", None), Err(QuestionError::Service(why)) if why.contains("more than one")));
    assert!(matches!(service("icmp/3/4", None), Err(QuestionError::Service(_))));
}

// Random policies, with each rule's fields known one by one.

/// Zones of [`BASE`] that random rules and packets use, with the second byte of their addresses 10.x.
const ZONES: [(&str, u8); 2] = [("ot", 1), ("it", 2)];

#[derive(Clone, Debug)]
struct Rule {
    from: usize,
    to: usize,
    source: Option<(u8, u8)>,
    destination: Option<(u8, u8)>,
    ports: Option<(u16, u16)>,
    started: bool,
    allow: bool,
    observes: bool,
}

#[derive(Clone, Debug)]
struct Asked {
    from: usize,
    to: usize,
    source: u8,
    destination: u8,
    port: u16,
}

fn rule() -> impl Strategy<Value = Rule> {
    let range = || prop::option::of((0u8..8, 0u8..4).prop_map(|(first, size)| (first, first + size)));
    let ports = prop::option::of((1u16..8, 0u16..3).prop_map(|(first, size)| (first, first + size)));
    let said = (prop::bool::weighted(0.8), any::<bool>(), prop::bool::weighted(0.3));
    (0usize..2, 0usize..2, range(), range(), ports, said).prop_map(
        |(from, to, source, destination, ports, (started, allow, observes))| Rule {
            from,
            to,
            source,
            destination,
            ports,
            started,
            allow,
            observes,
        },
    )
}

fn asked() -> impl Strategy<Value = Asked> {
    (0usize..2, 0usize..2, 0u8..10, 0u8..10, 1u16..10).prop_map(|(from, to, source, destination, port)| Asked {
        from,
        to,
        source,
        destination: destination + 100,
        port,
    })
}

fn text(rules: &[Rule]) -> String {
    let mut text = BASE.split("[[rule]]").next().expect("a head").to_owned();
    for (position, rule) in rules.iter().enumerate() {
        let Rule { from, to, source, destination, ports, started, allow, observes } = rule;
        let action = if *allow { "allow" } else { "drop" };
        let (from, to) = (ZONES[*from], ZONES[*to]);
        let _ = writeln!(text, "[[rule]]\nid = \"r-{position}\"\nfrom = [\"{}\"]\nto = [\"{}\"]", from.0, to.0);
        let _ = writeln!(text, "action = \"{action}\"");
        if let Some((first, last)) = source {
            let _ = writeln!(text, "source = [\"10.{0}.0.{first}-10.{0}.0.{last}\"]", from.1);
        }
        if let Some((first, last)) = destination {
            let (first, last) = (first + 100, last + 100);
            let _ = writeln!(text, "destination = [\"10.{0}.0.{first}-10.{0}.0.{last}\"]", to.1);
        }
        if let Some((first, last)) = ports {
            let _ = writeln!(text, "services = [\"tcp/{first}-{last}\"]");
        }
        if !started {
            let _ = writeln!(text, "starts = 2027-01-01");
        }
        if *observes {
            let _ = writeln!(text, "mode = \"observe\"");
        }
    }
    text
}

/// The first field of a rule that a packet does not match.
fn first_mismatch(rule: &Rule, asked: &Asked) -> Option<Field> {
    let within = |range: Option<(u8, u8)>, host: u8| range.is_none_or(|(first, last)| first <= host && host <= last);
    let ports = rule.ports.is_none_or(|(first, last)| first <= asked.port && asked.port <= last);
    [
        (Field::FromZone, rule.from == asked.from),
        (Field::ToZone, rule.to == asked.to),
        (Field::Source, within(rule.source, asked.source)),
        (Field::Destination, within(rule.destination, asked.destination - 100)),
        (Field::Service, ports),
        (Field::Schedule, rule.started),
    ]
    .into_iter()
    .find(|(_, matches)| !matches)
    .map(|(field, _)| field)
}

proptest! {
    #[test]
    fn the_verdict_is_that_of_the_tables_and_the_reasons_are_true(
        rules in prop::collection::vec(rule(), 0..12),
        packets in prop::collection::vec(asked(), 20),
    ) {
        let (policy, compiled) = loaded(&text(&rules));
        for asked in packets {
            let (from, to) = (ZONES[asked.from], ZONES[asked.to]);
            let source = Ipv4Addr::new(10, from.1, 0, asked.source).to_string();
            let destination = Ipv4Addr::new(10, to.1, 0, asked.destination).to_string();
            let question = question(from.0, &source, &destination, &format!("tcp/{}", asked.port));
            let explanation = policy.explain(&compiled, &Question { all: true, ..question }).expect("an answer");
            let decision = compiled.tables.classify(&explanation.query.expect("the policy is asked"));
            let Conclusion::Decided { action, rule, drop } = explanation.conclusion else {
                panic!("{explanation:?}")
            };
            prop_assert_eq!((action, rule), (decision.action, decision.rule));
            prop_assert_eq!(drop.is_none(), action == Action::Allow);
            let said: Vec<_> = explanation.candidates.iter().filter_map(|candidate| {
                let number = id(&compiled, candidate.position).strip_prefix("r-")?;
                Some((number.parse::<usize>().expect("a number"), candidate))
            }).collect();
            prop_assert_eq!(said.len(), rules.len());
            for (number, candidate) in said {
                let field = candidate.mismatch.as_ref().map(|(field, _)| *field);
                prop_assert_eq!(field, first_mismatch(&rules[number], &asked), "rule {} of\n{}", number, text(&rules));
            }
            let matching = |rule: &&(usize, &Rule)| first_mismatch(rule.1, &asked).is_none();
            let decides = rules.iter().enumerate().filter(|rule| matching(&rule)).find(|(_, rule)| !rule.observes);
            let first = decides.map(|(number, _)| number);
            let observing = rules.iter().enumerate().take(first.unwrap_or(rules.len()));
            let observing = observing.filter(|rule| matching(&rule)).map(|(number, _)| format!("r-{number}"));
            let said: Vec<&str> = explanation.observing.iter().map(|rule| id(&compiled, *rule)).collect();
            prop_assert_eq!(said, observing.collect::<Vec<String>>());
            let expected = first.map_or_else(|| "default".to_owned(), |number| format!("r-{number}"));
            prop_assert_eq!(id(&compiled, rule), expected.as_str());
        }
    }
}

#[test]
fn a_rule_says_which_id_it_had_and_the_digest_tells() {
    let (_, before) = loaded(BASE);
    let (_, renamed) = loaded(&BASE.replace("id = \"web\"", "id = \"web-2\"\nrenamed_from = \"web\""));
    let rule = renamed.rules.iter().find(|rule| rule.id == "web-2").expect("it is there");
    assert_eq!(rule.renamed_from, "web");
    assert!(before.rules.iter().all(|rule| rule.renamed_from.is_empty()));
    let (_, settled) = loaded(&BASE.replace("id = \"web\"", "id = \"web-2\""));
    assert_ne!(renamed.digest, settled.digest);
    assert_eq!(renamed.tables, settled.tables);
    let reserved = BASE.replace("id = \"web\"", "id = \"web-2\"\nrenamed_from = \"default\"");
    let refused = load(&[SourceFile { name: "a.toml".to_owned(), text: reserved }]).expect_err("no rule has that id");
    assert!(refused.to_string().contains("`default` is reserved"), "{refused}");
}
