//! What the compiler makes of interfaces, generated rules and time.

use std::net::IpAddr;

use fw_common::abi::policy::{Action, zone};
use fw_common::policy::Query;
use fw_policy::{
    Binding, Compiled, InterfaceBinding, ManagementBinding, Options, Policy, ProbeBinding, ProbeService, SourceFile,
    load,
};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

const NOW: OffsetDateTime = datetime!(2026-07-01 0:00 UTC);

const POLICY: &str = r#"
version = 1
[defaults]
action = "drop"
[zones.onprem]
[zones.exposed]
networks = ["10.0.0.0/16"]
[zones.ot]
networks = ["10.1.0.0/16"]
"#;

fn policy(more: &str) -> Policy {
    let file = SourceFile { name: "policy.toml".to_owned(), text: format!("{POLICY}{more}") };
    load(&[file]).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

fn rule(id: &str, keys: &str) -> String {
    format!("[[rule]]\nid = \"{id}\"\nfrom = [\"ot\"]\nto = [\"exposed\"]\n{keys}\n")
}

fn binding() -> Binding {
    let interface = |name: &str, zones: &[&str]| InterfaceBinding {
        name: name.to_owned(),
        zones: zones.iter().map(|zone| (*zone).to_owned()).collect(),
    };
    Binding {
        interfaces: vec![interface("ens6", &["onprem", "exposed"]), interface("ens7", &["ot"]), interface("ens5", &[])],
        management: Some(ManagementBinding {
            slot: 2,
            allow: vec!["tcp/9477 from 10.3.0.0/16".to_owned(), "icmp/echo-request from 0.0.0.0/0".to_owned()],
        }),
        ..Binding::default()
    }
}

fn compile(policy: &Policy, now: OffsetDateTime) -> Compiled {
    policy.compile(&binding(), now).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

/// The rule that decides a packet, and what it does.
fn decide(
    compiled: &Compiled,
    (from_zone, src): (u8, &str),
    (to_zone, dst): (u8, &str),
    (protocol, src_port, dst_port): (u8, u16, u16),
) -> (String, Action) {
    let addr = |text: &str| text.parse::<IpAddr>().unwrap_or_else(|_| panic!("{text} is an address")).into();
    let query = Query { src_addr: addr(src), dst_addr: addr(dst), from_zone, to_zone, protocol, src_port, dst_port };
    let decision = compiled.tables.classify(&query);
    (compiled.rules[decision.rule as usize].id.clone(), decision.action)
}

fn id(compiled: &Compiled, name: &str) -> u8 {
    compiled.zones.iter().find(|zone| zone.name == name).expect("the zone is there").id
}

fn allowed(rule: &str) -> (String, Action) {
    (rule.to_owned(), Action::Allow)
}

fn dropped() -> (String, Action) {
    ("default".to_owned(), Action::Drop)
}

#[test]
fn each_interface_sees_its_own_zones_and_takes_the_rest_as_spoofed() {
    let compiled = compile(&policy(""), NOW);
    let zone_of = |slot, addr: &str| compiled.tables.zone(slot, &addr.parse::<IpAddr>().unwrap().into());
    let (onprem, exposed, ot) = (id(&compiled, "onprem"), id(&compiled, "exposed"), id(&compiled, "ot"));
    assert_eq!(zone_of(0, "10.0.1.1"), exposed);
    assert_eq!(zone_of(0, "172.16.0.1"), onprem, "the rest of the interface");
    assert_eq!(zone_of(0, "fd00::1"), onprem, "the rest in the other family, too");
    assert_eq!(zone_of(0, "10.1.0.1"), zone::NONE, "belongs to another interface");
    assert_eq!(zone_of(1, "10.1.0.1"), ot);
    assert_eq!(zone_of(1, "172.16.0.1"), zone::NONE, "the rest is another interface's");
    assert_eq!(zone_of(2, "172.16.0.1"), zone::MANAGEMENT);
    assert_eq!(zone_of(3, "172.16.0.1"), zone::NONE, "no such slot");
    for slot in 0..3 {
        for addr in
            ["0.0.0.0", "255.255.255.255", "169.254.169.254", "224.0.0.1", "fe80::1", "ff02::1", "fd00:ec2::254"]
        {
            assert_eq!(zone_of(slot, addr), zone::LINK, "{addr} on {slot}");
        }
    }
}

#[test]
fn each_interface_can_have_a_rest_of_its_own() {
    let text = "version = 1\n[defaults]\naction = \"drop\"\n[zones.one]\n[zones.two]\n";
    let policy = load(&[SourceFile { name: "rest.toml".to_owned(), text: text.to_owned() }]).unwrap();
    let compiled = policy.compile(&Binding::offline(&policy), NOW).unwrap();
    let addr = fw_common::wire::Address::v4([172, 16, 0, 1]);
    let seen = [compiled.tables.zone(0, &addr), compiled.tables.zone(1, &addr)];
    assert_eq!(seen, [id(&compiled, "one"), id(&compiled, "two")]);
}

#[test]
fn zones_keep_their_ids_from_policy_to_policy() {
    let before = compile(&policy(""), NOW);
    let after = "version = 1\n[defaults]\naction = \"drop\"\n[zones.new]\nnetworks = [\"10.9.0.0/16\"]\n\
                 [zones.ot]\nnetworks = [\"10.1.0.0/16\"]\n[zones.onprem]\n";
    let after = load(&[SourceFile { name: "after.toml".to_owned(), text: after.to_owned() }]).unwrap();
    let options = Options { previous_zones: before.zones.clone(), ..Options::default() };
    let after = after.compile_with(&Binding::offline(&after), NOW, &options).unwrap();
    for name in ["ot", "onprem"] {
        assert_eq!(id(&after, name), id(&before, name), "{name}");
    }
    assert_eq!(id(&after, "new"), id(&before, "exposed"), "the id that is free");
}

#[test]
fn zones_swap_no_ids_when_the_earlier_list_is_inconsistent() {
    let policy = policy("");
    let mut previous = compile(&policy, NOW).zones;
    previous.iter_mut().for_each(|zone| zone.id = 7);
    let options = Options { previous_zones: previous, ..Options::default() };
    let compiled = policy.compile_with(&binding(), NOW, &options).unwrap();
    let ids: std::collections::BTreeSet<u8> = compiled.zones.iter().map(|zone| zone.id).collect();
    assert_eq!(ids.len(), compiled.zones.len());
}

#[test]
fn the_host_reaches_what_it_needs_under_any_policy() {
    let deny = "[[rule]]\nid = \"deny\"\nfrom = [\"any\", \"local\"]\nto = [\"any\", \"local\"]\naction = \"drop\"\n";
    let compiled = compile(&policy(deny), NOW);
    let ot = id(&compiled, "ot");
    let host = |addr: &'static str| (zone::LOCAL, addr);
    let link = |addr: &'static str| (zone::LINK, addr);
    let management = |addr: &'static str| (zone::MANAGEMENT, addr);
    for (rule, from, to, service) in [
        ("system-dhcp", link("0.0.0.0"), link("255.255.255.255"), (17, 68, 67)),
        ("system-dhcp", host("10.1.1.10"), (ot, "10.1.1.1"), (17, 68, 67)),
        ("system-dhcp", (ot, "10.1.1.1"), host("10.1.1.10"), (17, 67, 68)),
        ("system-dhcpv6", link("fe80::1"), host("fe80::2"), (17, 547, 546)),
        ("system-metadata", host("10.1.1.10"), link("169.254.169.254"), (6, 5000, 80)),
        ("system-metadata", host("fd00::1"), link("fd00:ec2::254"), (6, 5000, 80)),
        ("system-dns", host("10.1.1.10"), link("169.254.169.253"), (17, 5000, 53)),
        ("system-dns", host("10.1.1.10"), link("169.254.169.253"), (6, 5000, 53)),
        ("system-time", host("10.1.1.10"), link("169.254.169.123"), (17, 5000, 123)),
        ("system-management-1", management("10.3.0.9"), host("10.3.1.10"), (6, 5000, 9477)),
        ("system-management-2", management("10.9.0.9"), host("10.3.1.10"), (1, 0, 8 << 8)),
        ("system-management-out", host("10.3.1.10"), management("203.0.113.1"), (6, 5000, 443)),
    ] {
        assert_eq!(decide(&compiled, from, to, service), allowed(rule), "{rule}");
    }
    for (from, to, service) in [
        (link("169.254.169.254"), host("10.1.1.10"), (6, 80, 5000)),
        (host("10.1.1.10"), link("169.254.169.253"), (6, 5000, 80)),
        ((ot, "10.1.0.5"), link("169.254.169.254"), (6, 5000, 80)),
        (management("10.4.0.9"), host("10.3.1.10"), (6, 5000, 9477)),
        (management("10.3.0.9"), host("10.3.1.10"), (6, 5000, 22)),
        (management("10.3.0.9"), (ot, "10.1.0.5"), (6, 5000, 9477)),
        ((ot, "10.1.0.5"), (ot, "10.1.0.6"), (17, 68, 67)),
    ] {
        let (rule, action) = decide(&compiled, from, to, service);
        assert_eq!(action, Action::Drop, "{from:?} to {to:?}: {rule}");
    }
}

#[test]
fn any_is_every_zone_of_the_policy_and_local_is_named_apart() {
    let denied = |zones: &str| {
        let rule = format!("[[rule]]\nid = \"deny\"\nfrom = {zones}\nto = {zones}\naction = \"reject\"\n");
        let compiled = compile(&policy(&rule), NOW);
        let (ot, onprem) = (id(&compiled, "ot"), id(&compiled, "onprem"));
        let decided = |from, to| decide(&compiled, (from, "10.1.0.1"), (to, "10.2.0.1"), (6, 5000, 80)).0 == "deny";
        [decided(ot, onprem), decided(ot, zone::LOCAL), decided(ot, zone::LINK), decided(zone::MANAGEMENT, ot)]
    };
    assert_eq!(denied("[\"any\"]"), [true, false, false, false]);
    assert_eq!(denied("[\"any\", \"local\"]"), [true, true, false, false]);
}

#[test]
fn a_disabled_generated_rule_is_gone() {
    let binding = Binding { disabled_system_rules: ["system-time".to_owned()].into(), ..binding() };
    let compiled = policy("").compile(&binding, NOW).unwrap();
    assert!(compiled.rules.iter().all(|rule| rule.id != "system-time"));
    let time = (zone::LINK, "169.254.169.123");
    assert_eq!(decide(&compiled, (zone::LOCAL, "10.1.1.10"), time, (17, 5000, 123)), dropped());
}

#[test]
fn what_the_host_probes_it_reaches_under_any_policy_and_nothing_else_there() {
    let deny = "[[rule]]\nid = \"deny\"\nfrom = [\"any\", \"local\"]\nto = [\"any\", \"local\"]\naction = \"drop\"\n";
    let probe = |name: &str, target: &str, service| ProbeBinding {
        name: name.to_owned(),
        target: target.parse().unwrap(),
        service,
    };
    let probes = vec![
        probe("gateway", "10.1.0.5", ProbeService::Echo),
        probe("gateway6", "fd00:0:0:100::5", ProbeService::Echo),
        probe("modbus", "10.1.0.6", ProbeService::Tcp(502)),
    ];
    let compiled = policy(deny).compile(&Binding { probes, ..binding() }, NOW).unwrap();
    let ot = id(&compiled, "ot");
    for (rule, from, to, service) in [
        ("system-probe-gateway", "10.1.1.10", "10.1.0.5", (1, 7, 8 << 8)),
        ("system-probe-gateway6", "fd00:0:0:100::1", "fd00:0:0:100::5", (58, 7, 128 << 8)),
        ("system-probe-modbus", "10.1.1.10", "10.1.0.6", (6, 5000, 502)),
    ] {
        assert_eq!(decide(&compiled, (zone::LOCAL, from), (ot, to), service), allowed(rule), "{rule}");
        assert_eq!(decide(&compiled, (ot, to), (zone::LOCAL, from), service).0, "deny", "{rule}");
    }
    for (to, service) in [("10.1.0.6", (1, 7, 8 << 8)), ("10.1.0.5", (6, 5000, 502)), ("10.1.0.6", (6, 5000, 503))] {
        assert_eq!(decide(&compiled, (zone::LOCAL, "10.1.1.10"), (ot, to), service).0, "deny", "{to}");
    }
}

#[test]
fn rules_are_listed_in_the_order_in_which_they_match() {
    let pair = "[[zone_pair]]\nfrom = \"ot\"\nto = \"exposed\"\naction = \"reject\"\n";
    let compiled = compile(&policy(&format!("{}{pair}", rule("r-1", "action = \"allow\""))), NOW);
    let ids: Vec<&str> = compiled.rules.iter().map(|rule| rule.id.as_str()).collect();
    let expected = [
        "system-dhcp",
        "system-dhcpv6",
        "system-neighbour-discovery",
        "system-metadata",
        "system-dns",
        "system-time",
        "system-management-1",
        "system-management-2",
        "system-management-out",
        "r-1",
        "default:ot>exposed",
        "default",
    ];
    assert_eq!(ids, expected);
    assert!(compiled.rules.iter().zip(0..).all(|(rule, position)| rule.ordinal == position));
    let rule = &compiled.rules[9];
    assert_eq!((rule.file.as_str(), rule.line, rule.from.as_str()), ("policy.toml", 10, "ot"));
}

#[test]
fn a_rule_matches_from_its_start_until_before_its_expiry() {
    let policy = policy(&rule("r-1", "action = \"allow\"\nstarts = 2026-08-01\nexpires = 2026-09-01T02:00:00+02:00"));
    let (start, end) = (datetime!(2026-08-01 0:00 UTC), datetime!(2026-09-01 0:00 UTC));
    let before = start - Duration::SECOND;
    let just_before_end = end - Duration::SECOND;
    for (now, active, next) in
        [(before, false, Some(start)), (start, true, Some(end)), (just_before_end, true, Some(end)), (end, false, None)]
    {
        let compiled = compile(&policy, now);
        let (ot, exposed) = (id(&compiled, "ot"), id(&compiled, "exposed"));
        let got = decide(&compiled, (ot, "10.1.0.1"), (exposed, "10.0.0.1"), (6, 5000, 80));
        assert_eq!(got, if active { allowed("r-1") } else { dropped() }, "{now}");
        assert_eq!(compiled.next_change, next, "{now}");
        let info = compiled.rules.iter().find(|rule| rule.id == "r-1").expect("it is listed even while it sleeps");
        assert_eq!(info.active, active, "{now}");
    }
}

#[test]
fn idle_timeouts_and_logging_reach_the_data_plane() {
    let keys = "action = \"allow\"\nidle_timeout = \"2h\"\nlog = true\nservices = [\"tcp/502\"]";
    let compiled = compile(&policy(&rule("r-1", keys)), NOW);
    let query = Query {
        src_addr: fw_common::wire::Address::v4([10, 1, 0, 1]),
        dst_addr: fw_common::wire::Address::v4([10, 0, 0, 1]),
        from_zone: id(&compiled, "ot"),
        to_zone: id(&compiled, "exposed"),
        protocol: 6,
        src_port: 5000,
        dst_port: 502,
    };
    let decision = compiled.tables.classify(&query);
    assert_eq!((decision.action, decision.log, decision.idle_timeout), (Action::Allow, true, 7200));
}

#[test]
fn limits_reach_the_data_plane_and_are_told_apart() {
    let limited = |keys: &str| {
        let keys = format!("action = \"allow\"\nservices = [\"tcp/502\"]\n{keys}");
        compile(&policy(&rule("r-1", &keys)), NOW)
    };
    let rate = limited("rate = { new_flows = \"100/s\", burst = 200, per = \"source\" }");
    let flows = limited("max_flows = { limit = 10 }");
    let text = |compiled: &Compiled| {
        compiled.rules.iter().find(|rule| rule.id == "r-1").map(|rule| rule.limits.to_string()).unwrap()
    };
    assert_eq!(text(&rate), "100/s, burst 200, per source");
    assert_eq!(text(&flows), "10 flows, per rule");
    assert_eq!(text(&limited("rate = { new_flows = \"5/m\" }")), "5/m, burst 5, per rule", "the burst without one");
    assert_ne!(rate.digest, flows.digest);
    assert_ne!(flows.digest, limited("max_flows = { limit = 11 }").digest);
    let is_limited = |compiled: &Compiled| {
        compiled.tables.clauses.iter().any(|clause| clause.flags & fw_common::abi::tables::LIMITED != 0)
    };
    assert!(is_limited(&rate) && is_limited(&flows) && !is_limited(&limited("")));
}

#[test]
fn the_digest_tells_policies_apart() {
    let base = policy(&rule("r-1", "action = \"allow\""));
    let digest = |policy: &Policy| compile(policy, NOW).digest;
    assert_eq!(digest(&base), digest(&base.clone()));
    let mut digests = std::collections::BTreeSet::from([digest(&base)]);
    for changed in [
        rule("r-2", "action = \"allow\""),
        rule("r-1", "action = \"drop\""),
        rule("r-1", "action = \"allow\"\nlog = true"),
        rule("r-1", "action = \"allow\"\nservices = [\"tcp/80\"]"),
        rule("r-1", "action = \"allow\"\nservices = [\"tcp/81\"]"),
        rule("r-1", "action = \"allow\"\nsource = [\"10.1.0.1\"]"),
        rule("r-1", "action = \"allow\"\nsource = [\"10.1.0.2\"]"),
        rule("r-1", "action = \"allow\"\nidle_timeout = \"1h\""),
        format!("{}[zones.more]\nnetworks = [\"10.8.0.0/16\"]\n", rule("r-1", "action = \"allow\"")),
    ] {
        let policy = policy(&changed);
        let binding = Binding::offline(&policy);
        assert!(digests.insert(policy.compile(&binding, NOW).unwrap().digest), "{changed}");
    }
    let other_binding = Binding { management: None, ..binding() };
    let without_management = Binding { interfaces: other_binding.interfaces[..2].to_vec(), ..other_binding };
    assert!(digests.insert(base.compile(&without_management, NOW).unwrap().digest));
    let mut swapped = binding();
    swapped.interfaces.swap(0, 1);
    assert!(digests.insert(base.compile(&swapped, NOW).unwrap().digest));
}

fn test_of_policy(name: &str, expect: &str) -> String {
    format!(
        "[[test]]\nname = \"{name}\"\nexpect = {expect}\n\
         packet = {{ from = \"ot\", to = \"exposed\", src = \"10.1.0.1\", dst = \"10.0.0.1\", service = \"tcp/80\" }}\n"
    )
}

#[test]
fn tests_of_the_policy_see_now_their_own_moment_and_expiries_to_come() {
    let soon = datetime!(2026-07-20 0:00 UTC);
    let text = [
        rule("r-1", "action = \"allow\"\nexpires = 2026-07-20"),
        test_of_policy("now", "\"allow\""),
        test_of_policy("right rule", "\"allow\"\nrule = \"r-1\"\nat = 2026-07-19"),
        test_of_policy("wrong rule", "\"allow\"\nrule = \"default\"\nat = 2026-07-19"),
        test_of_policy("later", "\"drop\"\nat = 2026-07-20"),
    ]
    .concat();
    let policy = policy(&text);
    let compiled = compile(&policy, NOW);
    let results = policy.run_tests(&compiled, NOW);
    let seen: Vec<_> = results.iter().map(|result| (result.name.as_str(), result.at, result.passed)).collect();
    let eve = datetime!(2026-07-19 0:00 UTC);
    let expected = [
        ("now", None, true),
        ("right rule", Some(eve), true),
        ("wrong rule", Some(eve), false),
        ("later", Some(soon), true),
        ("now", Some(soon), false),
    ];
    assert_eq!(seen, expected);
    assert_eq!(results[4].message, "at 2026-07-20T00:00:00Z: expected allow, got drop by `default`");
    assert_eq!((results[0].got_rule.as_str(), results[0].line), ("r-1", 16));

    let long_before = NOW - Duration::days(60);
    assert_eq!(policy.run_tests(&compile(&policy, long_before), long_before).len(), 4, "beyond what is foreseen");
}

#[test]
fn rules_that_observe_one_packet_are_refused_by_their_number_and_not_by_the_memory() {
    let compiled = |observing: usize| {
        let observer = |number: usize| rule(&format!("o-{number}"), "action = \"drop\"\nmode = \"observe\"");
        let rules: String = (0..observing).map(observer).collect();
        policy(&(rules + &rule("decides", "action = \"allow\""))).compile(&binding(), NOW)
    };
    assert!(compiled(4_095).is_ok());
    let refused = compiled(4_096).unwrap_err();
    let [finding] = refused.items.as_slice() else { panic!("{refused}") };
    assert_eq!(finding.code, fw_policy::Code::OverBudget);
    assert_eq!(finding.message, "more than 4096 rules match exactly the same packets, which no table holds");
    assert!(refused.to_string().contains("`o-0` is the first of them"), "{refused}");
}
