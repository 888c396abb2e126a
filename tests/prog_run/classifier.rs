//! The classifier in the kernel with large policies, against plain search.

use fw_agent::dataplane::Dataplane as _;
use fw_policy::{Compiled, SourceFile};
use fw_testkit::classbench::bed::Bed;
use fw_testkit::classbench::{Family, Header, INSIDE, OUTSIDE, RuleSet, Style, Trace, measure};

/// A firewall, or `None`, with a line that says so, if this process may not make one.
fn bed() -> Option<Bed> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: program runs need root");
        return None;
    }
    Some(Bed::new(65_536).unwrap())
}

fn compile(files: &[SourceFile]) -> Compiled {
    measure::Stopwatch::default().compile(files).unwrap_or_else(|errors| panic!("{}", errors.render(false))).0
}

fn policy(more: &str) -> Compiled {
    let head = format!("version = 1\n[defaults]\naction = \"drop\"\n[zones.{OUTSIDE}]\n[zones.{INSIDE}]\n");
    compile(&[SourceFile { name: "test.toml".to_owned(), text: format!("{head}{more}") }])
}

#[test]
fn ten_thousand_rules_of_each_style_decide_as_plain_search() {
    let Some(bed) = bed() else { return };
    for (style, family) in Style::ALL.into_iter().flat_map(|style| [(style, Family::V4), (style, Family::V6)]) {
        let set = RuleSet::generate(style, family, 10_000, 3);
        bed.apply(&compile(&set.files())).unwrap();
        let mut seen = [0, 0];
        for trace in [Trace::Pareto(0.0), Trace::Uniform] {
            for header in set.trace(trace, 600, 5).iter().filter(|header| set.is_routable(header)) {
                let expected = set.first_match(header).is_some_and(|rule| set.rules[rule].allow);
                assert_eq!(bed.allows(&set, header).unwrap(), expected, "{style:?} {family:?} {header:?}");
                seen[usize::from(expected)] += 1;
            }
        }
        assert!(seen[0] > 50 && seen[1] > 50, "{style:?} {family:?}: both verdicts occur: {seen:?}");
    }
}

#[test]
fn the_memory_of_the_tables_is_known_before_they_are_loaded() {
    let Some(bed) = bed() else { return };
    for (style, rules) in [(Style::Acl, 10), (Style::Fw, 3000), (Style::Ipc, 10_000)] {
        let compiled = compile(&RuleSet::generate(style, Family::V4, rules, 1).files());
        bed.apply(&compiled).unwrap();
        let (predicted, taken) = (compiled.memory.total(), bed.dataplane().table_memory().unwrap());
        // Kernels before 6.4 do not say what they take, but count keys that an array does not have: an eighth of the values.
        let difference = predicted.abs_diff(taken);
        assert!(difference * 7 < predicted, "{rules} rules: {predicted} bytes predicted, {taken} taken");
    }
}

/// A header to one port of one host.
fn header(source: u128, protocol: u8, src_port: u16, dst_port: u16) -> Header {
    Header { source: source << 96, destination: u128::from(0x0a01_0101_u32) << 96, protocol, src_port, dst_port }
}

#[test]
fn a_list_of_many_services_is_told_apart_by_service_source_port_and_zone() {
    let Some(bed) = bed() else { return };
    let set = RuleSet { style: Style::Acl, family: Family::V4, rules: Vec::new() };
    let mut rules = String::new();
    let zones = format!("from = [\"{OUTSIDE}\"]\nto = [\"{INSIDE}\"]");
    for number in 0..6000u32 {
        let action = if number % 3 == 0 { "drop" } else { "allow" };
        let service = match number % 2 {
            0 => format!("{{ proto = \"tcp\", port = [\"{}\"] }}", 1000 + number),
            _ => format!("{{ proto = \"udp\", port = [\"7\"], source_port = [\"{}\"] }}", 1000 + number),
        };
        rules.push_str(&format!(
            "[[rule]]\nid = \"r-{number}\"\n{zones}\nservices = [{service}]\naction = \"{action}\"\n"
        ));
        // What only the other direction matches stands between.
        if number % 100 == 0 {
            rules.push_str(&format!(
                "[[rule]]\nid = \"back-{number}\"\nfrom = [\"{INSIDE}\"]\nto = [\"{OUTSIDE}\"]\naction = \"allow\"\n"
            ));
        }
    }
    bed.apply(&policy(&rules)).unwrap();
    for number in (0..6000).step_by(37).chain([5998, 5999, 6000, 6001]) {
        let port = u16::try_from(1000 + number).unwrap();
        let header = if number % 2 == 0 { header(0x0b01_0101, 6, 5, port) } else { header(0x0b01_0101, 17, port, 7) };
        let allowed = number < 6000 && number % 3 != 0;
        assert_eq!(bed.allows(&set, &header).unwrap(), allowed, "rule {number}");
    }
}

/// Prefixes of a list: every fourth /26 from 16.0.0.0 on.
fn listed(count: u32, first: u32) -> Vec<String> {
    (first..first + count).map(|n| format!("{}/26", std::net::Ipv4Addr::from_bits((16 << 24) + (n << 8)))).collect()
}

fn policy_with_list(prefixes: &[String]) -> Compiled {
    policy(&format!(
        "[addresses]\nblocked = [{}]\n[[rule]]\nid = \"blocked\"\nfrom = [\"{OUTSIDE}\"]\nto = [\"{INSIDE}\"]\n\
         source = [\"@blocked\"]\naction = \"drop\"\n[[rule]]\nid = \"rest\"\nfrom = [\"{OUTSIDE}\"]\nto = [\"{INSIDE}\"]\n\
         action = \"allow\"\n",
        prefixes.iter().map(|prefix| format!("\"{prefix}\"")).collect::<Vec<_>>().join(", ")
    ))
}

#[test]
fn half_a_million_prefixes_in_one_rule_are_one_class() {
    let Some(bed) = bed() else { return };
    let set = RuleSet { style: Style::Acl, family: Family::V4, rules: Vec::new() };
    let compiled = policy_with_list(&listed(500_000, 0));
    let pairs = compiled.tables.pairs.iter().flat_map(|bucket| bucket.slots).filter(|slot| slot.destination != 0);
    assert!(pairs.count() < 10, "the list is one class");
    bed.apply(&compiled).unwrap();
    for number in [0u32, 1, 2, 255, 256, 65_535, 65_536, 300_000, 499_998, 499_999, 500_000] {
        for (offset, within) in [(1, true), (63, true), (64, false), (255, false)] {
            let source = u128::from((16 << 24) + (number << 8) + offset);
            let blocked = within && number < 500_000;
            assert_eq!(bed.allows(&set, &header(source, 6, 5, 80)).unwrap(), !blocked, "{number} and {offset}");
        }
    }
    assert!(compiled.memory.total() < 64 << 20, "{:?}", compiled.memory);
    assert_eq!(bed.dataplane().rule_names().unwrap().len(), compiled.rules.len());
}
