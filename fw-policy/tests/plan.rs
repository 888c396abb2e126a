//! What is planned is what both policies do: in text, in packets, and to what the offline explanation says.

use std::net::IpAddr;

use fw_common::abi::policy::Action;
use fw_common::wire::parse::{Kind, tcp_flag};
use fw_common::wire::{Address, Packet, protocol};
use fw_policy::explain::{Conclusion, Ingress, Question};
use fw_policy::plan::{Change, Plan};
use fw_policy::{Binding, ExamplePacket, Policy, SourceFile, WorkLimits, load};
use proptest::prelude::*;
use time::OffsetDateTime;
use time::macros::datetime;

const NOW: OffsetDateTime = datetime!(2026-07-01 0:00 UTC);

const BASE: &str = r#"
version = 1
[defaults]
action = "drop"
[zones.onprem]
networks = ["192.168.0.0/16", "fd00:0:0:a00::/56"]
[zones.it]
networks = ["10.2.0.0/16", "fd00:0:0:200::/56"]
[zones.rest]
[addresses]
plc = ["192.168.10.0/24"]
[services]
web = ["tcp/80"]
[[rule]]
id = "history"
from = ["onprem"]
to = ["it"]
source = ["@plc"]
services = ["tcp/502"]
action = "allow"
[[rule]]
id = "no-telnet"
from = ["any"]
to = ["any"]
services = ["tcp/23"]
action = "drop"
[[rule]]
id = "web"
from = ["onprem"]
to = ["it"]
services = ["@web"]
action = "allow"
"#;

fn policy(text: &str) -> Policy {
    load(&[SourceFile { name: "a.toml".to_owned(), text: text.to_owned() }])
        .unwrap_or_else(|diagnostics| panic!("{diagnostics}\n{text}"))
}

fn plan_of(old: &Policy, new: &Policy) -> Plan {
    new.plan(&Binding::offline(new), (old, &Binding::offline(old)), NOW, WorkLimits::default())
}

fn plan(old: &str, new: &str) -> Plan {
    plan_of(&policy(old), &policy(new))
}

/// A flip in one line, with its classes.
fn flips(plan: &Plan) -> Vec<String> {
    let lines = plan.flips.iter().flat_map(|flip| {
        let rule = |rule: &Option<String>| rule.clone().unwrap_or_else(|| "-".to_owned());
        let (old, new) = (rule(&flip.old.rule), rule(&flip.new.rule));
        let (was, is) = (flip.old.action, flip.new.action);
        flip.classes.iter().map(move |class| {
            let was_in = class.from_was.as_ref().map(|was| format!("(was {was})")).unwrap_or_default();
            format!(
                "{was} {old} → {is} {new}: {}{was_in} > {}: {} > {}, {} [{}]",
                class.from,
                class.to,
                class.source,
                class.destination,
                class.services,
                class.families.join(" ")
            )
        })
    });
    lines.collect()
}

#[test]
fn the_same_files_in_other_words_change_nothing() {
    let same =
        BASE.replace("[\"tcp/502\"]", "[ 'tcp/502', ] # Modbus").replace("[zones.rest]", "[zones.rest] # all else");
    let plan = plan(BASE, &same);
    assert!(plan.is_empty(), "{plan:?}");
    assert_eq!(plan.handovers, 0);
}

#[test]
fn a_new_port_is_opened_for_the_addresses_of_its_rule() {
    let found = plan(BASE, &BASE.replace("services = [\"tcp/502\"]", "services = [\"tcp/502\", \"tcp/102\"]"));
    assert_eq!(flips(&found), ["drop default → allow history: onprem > it: 192.168.10.0/24 > any, tcp/102 [ipv4]"]);
    let [rule] = found.difference.rules.as_slice() else { panic!("{found:?}") };
    assert_eq!((rule.change, rule.id.as_str(), rule.keys.len()), (Change::Changed, "history", 1));
    assert_eq!((rule.keys[0].key.as_str(), &rule.keys[0].added), ("services", &vec!["\"tcp/102\"".to_owned()]));
    assert_eq!(found.flips[0].new.place.as_deref(), Some("a.toml:14"));
    assert_eq!(found.flips[0].example.to_string(), "onprem 192.168.10.1 > it 10.2.0.1, tcp/102 from port 49152");
}

#[test]
fn a_set_opens_what_the_rules_that_name_it_allow() {
    let found = plan(BASE, &BASE.replace("web = [\"tcp/80\"]", "web = [\"tcp/80\", \"tcp/443\"]"));
    assert_eq!(flips(&found), ["drop default → allow web: onprem > it: any > any, tcp/443 [ipv4 ipv6]"]);
    assert!(found.difference.rules.is_empty());
    let [set] = found.difference.definitions.as_slice() else { panic!("{found:?}") };
    assert_eq!((set.kind.as_str(), set.name.as_str(), set.change), ("service set", "web", Change::Changed));
}

#[test]
fn a_rule_that_moves_behind_what_it_overruled_loses_its_packets() {
    let part = |id: &str| {
        let at = BASE.find(&format!("[[rule]]\nid = \"{id}\"")).unwrap();
        let rest = &BASE[at..];
        let end = rest[1..].find("[[rule]]").map_or(rest.len(), |end| end + 1);
        rest[..end].to_owned()
    };
    let everything = "[[rule]]\nid = \"all\"\nfrom = [\"onprem\"]\nto = [\"it\"]\naction = \"allow\"\n";
    let old = format!("{BASE}{everything}");
    let new = format!("{}{everything}{}", BASE.replace(&part("no-telnet"), ""), part("no-telnet"));
    let found = plan(&old, &new);
    assert_eq!(flips(&found), ["drop no-telnet → allow all: onprem > it: any > any, tcp/23 [ipv4 ipv6]"]);
    let [rule] = found.difference.rules.as_slice() else { panic!("{found:?}") };
    assert_eq!((rule.change, rule.id.as_str()), (Change::Moved, "no-telnet"));
    let moved = rule.moved.as_ref().unwrap();
    assert_eq!((moved.was_behind.as_deref(), moved.is_behind.as_deref()), (Some("history"), Some("all")));
}

#[test]
fn rules_come_go_and_get_other_names() {
    let new = BASE.replace("id = \"web\"", "id = \"www\"\nrenamed_from = \"web\"").replace(
        "[[rule]]\nid = \"no-telnet\"\nfrom = [\"any\"]\nto = [\"any\"]\nservices = [\"tcp/23\"]\naction = \"drop\"\n",
        "",
    ) + "[[rule]]\nid = \"dns\"\nfrom = [\"it\"]\nto = [\"rest\"]\nservices = [\"udp/53\"]\naction = \"allow\"\n";
    let found = plan(BASE, &new);
    let rules: Vec<(Change, &str)> =
        found.difference.rules.iter().map(|rule| (rule.change, rule.id.as_str())).collect();
    assert_eq!(rules, [(Change::Changed, "www"), (Change::Added, "dns"), (Change::Removed, "no-telnet")]);
    assert_eq!(found.difference.rules[0].renamed_from.as_deref(), Some("web"));
    assert_eq!(found.difference.rules[0].keys, []);
    assert_eq!(flips(&found), ["drop default → allow dns: it > rest: any > any, udp/53 [ipv4 ipv6]"]);
    // What no-telnet has dropped, the default drops.
    assert_eq!(found.handovers, 1);
}

#[test]
fn another_default_is_another_way_to_deny_what_no_rule_decides() {
    let pair = "[[zone_pair]]\nfrom = \"it\"\nto = \"onprem\"\naction = \"reject\"\n";
    let found = plan(BASE, &format!("{BASE}{pair}"));
    assert_eq!(
        flips(&found),
        ["drop default → reject default:it>onprem: it > onprem: any > any, any but tcp/23 [ipv4 ipv6]"]
    );
    assert_eq!(found.difference.definitions[0].kind, "zone pair");
    assert_eq!(found.difference.definitions[0].name, "default:it>onprem");
}

#[test]
fn a_network_that_joins_a_zone_is_allowed_what_the_zone_is() {
    let found = plan(BASE, &BASE.replace("[\"10.2.0.0/16\",", "[\"10.2.0.0/16\", \"10.9.0.0/24\","));
    let web = flips(&found).into_iter().find(|flip| flip.contains("→ allow web")).expect("a flip");
    assert_eq!(web, "drop - → allow web: onprem > it: any > any, tcp/80 [ipv4]");
    let flip = found.flips.iter().find(|flip| flip.new.rule.as_deref() == Some("web")).unwrap();
    assert_eq!(flip.classes[0].to_was.as_deref(), Some("(none)"));
    assert!(flip.example.dst_addr.to_string().starts_with("10.9.0."), "{}", flip.example);
}

#[test]
fn what_would_take_too_long_is_said_to_be_undecided() {
    let (old, new) = (policy(BASE), policy(&BASE.replace("tcp/502", "tcp/503")));
    let bindings = [Binding::offline(&old), Binding::offline(&new)];
    let found = new.plan(&bindings[1], (&old, &bindings[0]), NOW, WorkLimits { rule: 1, all: 10 });
    let pairs: Vec<(&str, &str)> = found.undecided.iter().map(|pair| (pair.from.as_str(), pair.to.as_str())).collect();
    assert_eq!(pairs, [("onprem", "it")]);
    assert!(!found.is_empty());
}

#[test]
fn dates_decide_and_those_that_come_are_named() {
    let rule =
        "[[rule]]\nid = \"soon\"\nfrom = [\"it\"]\nto = [\"rest\"]\nservices = [\"udp/53\"]\naction = \"allow\"\n";
    let new = format!("{BASE}{rule}starts = 2026-07-11\nexpires = 2026-07-21\n");
    let found = plan(BASE, &new);
    assert_eq!(flips(&found), [""; 0]);
    let dated: Vec<String> =
        found.dated.iter().map(|dated| format!("{} {} {}", dated.rule, dated.what, dated.at)).collect();
    assert_eq!(dated, ["soon starts 2026-07-11T00:00:00Z", "soon expires 2026-07-21T00:00:00Z"]);
    let later = datetime!(2026-07-12 0:00 UTC);
    let (old, new) = (policy(BASE), policy(&new));
    let found = new.plan(&Binding::offline(&new), (&old, &Binding::offline(&old)), later, WorkLimits::default());
    assert_eq!(flips(&found), ["drop default → allow soon: it > rest: any > any, udp/53 [ipv4 ipv6]"]);
}

#[test]
fn a_long_list_is_told_by_its_first_elements() {
    let list = |count: u32| {
        let prefixes: Vec<String> = (0..count).map(|n| format!("\"192.168.{n}.0/25\"")).collect();
        BASE.replace("[\"192.168.10.0/24\"]", &format!("[{}]", prefixes.join(", ")))
    };
    let found = plan(&list(10), &list(90));
    let class = &found.flips[0].classes[0];
    assert_eq!((class.source.shown.len(), class.source.more), (8, 72));
    let set = &found.difference.definitions[0].keys[0];
    assert_eq!((set.added.len(), set.more, set.new.as_deref()), (20, 60, None));
}

/// A question about an example, as a policy with these zones understands it.
fn question(example: &ExamplePacket) -> Question {
    let ExamplePacket { from, to, src_addr, dst_addr, protocol, src_port, dst_port } = example;
    let [icmp_type, icmp_code] = dst_port.to_be_bytes();
    let is_icmp = matches!(*protocol, protocol::ICMP | protocol::ICMPV6);
    let (kind, tcp_flags) = match *protocol {
        protocol::TCP => (Kind::Tcp, tcp_flag::SYN),
        protocol::UDP => (Kind::Udp, 0),
        protocol::SCTP => (Kind::Sctp, 0),
        protocol::ICMP | protocol::ICMPV6 => (Kind::IcmpQuery, 0),
        _ => (Kind::Other, 0),
    };
    let packet = Packet {
        src_addr: Address::from(*src_addr),
        dst_addr: Address::from(*dst_addr),
        protocol: *protocol,
        kind,
        src_port: *src_port,
        dst_port: *dst_port,
        icmp_type: if is_icmp { icmp_type } else { 0 },
        icmp_code: if is_icmp { icmp_code } else { 0 },
        tcp_flags,
        ..Packet::EMPTY
    };
    Question { from: Ingress::Zone(from.clone()), to: Some(to.clone()), packet, established: true, all: false }
}

/// What a policy is said to do with a packet: the action, and the rule.
fn explained(policy: &Policy, example: &ExamplePacket) -> (String, String) {
    let compiled = policy.compile(&Binding::offline(policy), NOW).expect("it compiles");
    let explanation = policy.explain(&compiled, &question(example)).expect("a question with an answer");
    match explanation.conclusion {
        Conclusion::Decided { action, rule, .. } => {
            (action.name().to_owned(), compiled.rules[rule as usize].id.clone())
        }
        Conclusion::Dropped(reason) => (Action::Drop.name().to_owned(), reason.name().to_owned()),
        Conclusion::Host => ("host".to_owned(), String::new()),
    }
}

fn rules() -> impl Strategy<Value = Vec<String>> {
    let some =
        |words: &'static [&'static str]| prop::sample::subsequence(words, 1..=2).prop_map(|words| format!("{words:?}"));
    let rule = (
        some(&["onprem", "it", "rest", "local"]),
        some(&["onprem", "it", "rest", "local"]),
        some(&["192.168.10.0/24", "192.168.0.0/16", "10.2.0.0/24", "fd00::/8", "9.9.9.9"]),
        some(&["tcp/80", "tcp", "udp/53", "icmp", "proto/47", "sctp/9"]),
        prop::sample::select(vec!["allow", "drop", "reject"]),
    );
    let rule = rule.prop_map(|(from, to, source, services, action)| {
        format!("from = {from}\nto = {to}\nsource = {source}\nservices = {services}\naction = \"{action}\"\n")
    });
    prop::collection::vec(rule, 1..8)
}

fn with_rules(rules: &[String]) -> String {
    let head = &BASE[..BASE.find("[[rule]]").expect("there are rules")];
    let rules = rules.iter().enumerate().map(|(number, rule)| format!("[[rule]]\nid = \"r-{number}\"\n{rule}"));
    head.to_owned() + &rules.collect::<String>()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_policies_explain_each_example_as_the_plan_does(old in rules(), new in rules()) {
        let (old, new) = (policy(&with_rules(&old)), policy(&with_rules(&new)));
        let found = plan_of(&old, &new);
        prop_assert!(found.undecided.is_empty());
        for flip in &found.flips {
            for (policy, by) in [(&old, &flip.old), (&new, &flip.new)] {
                let (action, rule) = explained(policy, &flip.example);
                prop_assert_eq!((action.as_str(), Some(rule)), (by.action, by.rule.clone()), "{}", flip.example);
            }
        }
    }
}

/// The addresses of an example are of one family.
#[test]
fn an_example_is_a_packet() {
    let found = plan(BASE, &BASE.replace("action = \"drop\"\n[zones", "action = \"reject\"\n[zones"));
    assert!(!found.flips.is_empty());
    for flip in &found.flips {
        let ExamplePacket { src_addr, dst_addr, .. } = &flip.example;
        assert_eq!(matches!(src_addr, IpAddr::V4(_)), matches!(dst_addr, IpAddr::V4(_)), "{}", flip.example);
    }
}
