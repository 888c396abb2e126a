//! `[[invariant]]`, and `state` of `[[test]]`: what holds, and the packet that shows what does not.

use fw_common::abi::policy::Action;
use fw_policy::{Binding, LiveSets, Options, Policy, SourceFile, TestKind, TestResult, load};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

const NOW: OffsetDateTime = datetime!(2026-07-01 0:00 UTC);

const POLICY: &str = r#"
version = 1
[defaults]
action = "drop"
[zones.onprem]
networks = ["192.168.0.0/16"]
[zones.it]
networks = ["10.2.0.0/16", "fd00:2::/64"]
[addresses]
plc = ["192.168.10.0/24", "!192.168.10.9"]
[services]
modbus = ["tcp/502"]
[[rule]]
id = "plc"
from = ["onprem"]
to = ["it"]
source = ["@plc"]
services = ["@modbus"]
action = "allow"
[[rule]]
id = "no-telnet"
from = ["any"]
to = ["any"]
services = ["tcp/23"]
action = "reject"
[[rule]]
id = "low-ports"
from = ["it"]
to = ["onprem"]
services = ["tcp/1-100"]
action = "allow"
"#;

fn policy(more: &str) -> Policy {
    let files = [SourceFile { name: "policy.toml".to_owned(), text: format!("{POLICY}{more}") }];
    load(&files).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

fn results(more: &str) -> Vec<TestResult> {
    let policy = policy(more);
    let compiled =
        policy.compile(&Binding::offline(&policy), NOW).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    policy.run_tests(&compiled, NOW)
}

/// Of one invariant: whether it holds, and what is said.
#[track_caller]
fn judged(keys: &str) -> (bool, String) {
    let results = results(&format!("[[invariant]]\n{keys}\n"));
    let [result] = results.as_slice() else { panic!("{results:?}") };
    assert_eq!(result.kind, TestKind::Invariant);
    (result.passed, result.message.clone())
}

#[test]
fn nothing_is_allowed_but_what_is_excepted() {
    let except = "except = { source = [\"@plc\"], services = [\"@modbus\"] }";
    assert_eq!(
        judged(&format!("deny_all = {{ from = [\"onprem\"], to = [\"it\"], {except} }}")),
        (true, "holds for every packet".to_owned())
    );
    assert_eq!(
        judged("deny_all = { from = [\"onprem\"], to = [\"it\"] }"),
        (false, "`plc` (policy.toml:13) allows onprem 192.168.10.1 > it 10.2.0.1, tcp/502 from port 49152".to_owned())
    );
    // A part of what is allowed is not excepted.
    let except = "except = { source = [\"192.168.10.0/25\"], services = [\"@modbus\"] }";
    let (holds, message) = judged(&format!("deny_all = {{ from = [\"onprem\"], to = [\"it\"], {except} }}"));
    assert!(!holds && message.contains("192.168.10.128 >") || message.contains("192.168.10.129 >"), "{message}");
}

#[test]
fn an_invariant_has_the_keys_of_a_rule() {
    let telnet = "from = [\"it\"], to = [\"onprem\"], services = [\"tcp/23\"]";
    assert!(judged(&format!("deny_all = {{ {telnet} }}")).0, "`no-telnet` stands in front of `low-ports`");
    assert!(!judged("deny_all = { from = [\"any\"], to = [\"onprem\"], services = [\"tcp/22-23\"] }").0);
    assert!(judged("deny_all = { from = [\"onprem\"], to = [\"it\"], source = [\"192.168.10.9\"] }").0);
    assert!(
        judged("deny_all = { from = [\"onprem\"], to = [\"it\"], destination = [\"fd00:2::/64\"] }").0,
        "no IPv6 there"
    );
    let several = "except = [{ services = [\"tcp/1-50\"] }, { services = [\"tcp/51-100\"] }]";
    assert!(judged(&format!("deny_all = {{ from = [\"it\"], to = [\"onprem\"], {several} }}")).0);
}

#[test]
fn everything_is_allowed_but_what_is_excepted() {
    let ports = "from = [\"it\"], to = [\"onprem\"], services = [\"tcp/1-100\"]";
    assert!(judged(&format!("allow_all = {{ {ports}, except = {{ services = [\"tcp/23\"] }} }}")).0);
    let (holds, message) = judged(&format!("allow_all = {{ {ports} }}"));
    assert_eq!(
        (holds, message.as_str()),
        (false, "`no-telnet` (policy.toml:20) rejects it 10.2.0.1 > onprem 192.168.0.1, tcp/23 from port 49152")
    );
    let (holds, message) = judged("allow_all = { from = [\"it\"], to = [\"onprem\"], services = [\"udp/53\"] }");
    assert!(!holds && message.starts_with("`default` (policy.toml:3) drops it "), "{message}");
}

#[test]
fn the_result_has_both_places_and_the_packet() {
    let results =
        results("[[invariant]]\nname = \"IT stays out\"\ndeny_all = { from = [\"it\"], to = [\"onprem\"] }\n");
    let [TestResult { name, line, expected, got, got_rule, rule_place, packet, .. }] = results.as_slice() else {
        panic!("{results:?}")
    };
    assert_eq!((name.as_str(), *line), ("IT stays out", 32));
    assert_eq!((*expected, *got, got_rule.as_str()), (Action::Drop, Action::Allow, "low-ports"));
    assert_eq!(rule_place, &Some(("policy.toml".to_owned(), 26)));
    assert!(
        packet.as_ref().is_some_and(|packet| packet.from == "it" && packet.protocol == 6 && packet.dst_port <= 100)
    );
}

#[test]
fn generated_rules_are_rules() {
    let (holds, message) = judged("deny_all = { from = [\"it\"], to = [\"local\"] }");
    assert!(!holds && message.starts_with("`system-dhcp` allows it "), "{message}");
    assert!(judged("deny_all = { from = [\"it\"], to = [\"local\"], services = [\"tcp\", \"icmp\", \"icmpv6\"] }").0);
}

#[test]
fn an_expiry_that_breaks_an_invariant_is_told_before() {
    let rule = |days: i64| {
        let expires = (NOW + Duration::days(days)).date();
        format!(
            "[[rule]]\nid = \"closed\"\nfrom = [\"it\"]\nto = [\"onprem\"]\naction = \"drop\"\nexpires = {expires}\nexpires_opens = true\n\
             [[rule]]\nid = \"open\"\nfrom = [\"it\"]\nto = [\"onprem\"]\nservices = [\"udp\"]\naction = \"allow\"\n\
             [[invariant]]\ndeny_all = {{ from = [\"it\"], to = [\"onprem\"], services = [\"udp\"] }}\n"
        )
    };
    let soon = results(&rule(20));
    assert_eq!(soon.iter().map(|result| result.passed).collect::<Vec<_>>(), [true, false]);
    assert_eq!(soon[1].at, Some(NOW + Duration::days(20)));
    assert!(soon[1].message.starts_with("at 2026-07-21T00:00:00Z: `open` ("), "{}", soon[1].message);
    assert_eq!(results(&rule(40)).len(), 1, "beyond what is foreseen");
}

#[test]
fn a_set_with_other_contents_is_judged_anew() {
    let policy =
        policy("[[invariant]]\ndeny_all = { from = [\"onprem\"], to = [\"it\"], source = [\"192.168.20.0/24\"] }\n");
    let mut live = LiveSets::new(policy, &Binding::offline(&self::policy("")), NOW, &Options::default()).unwrap();
    let passed = |live: &LiveSets| live.policy().run_tests(live.compiled(), NOW).iter().all(|result| result.passed);
    assert!(passed(&live));
    live.replace("plc", [("192.168.20.0".parse().unwrap(), 30)].into_iter()).unwrap();
    assert!(!passed(&live));
    // The sets of an invariant change as well.
    let named = self::policy(
        "[[invariant]]\ndeny_all = { from = [\"onprem\"], to = [\"it\"], except = { source = [\"@plc\"] } }\n",
    );
    let mut live = LiveSets::new(named, &Binding::offline(&self::policy("")), NOW, &Options::default()).unwrap();
    live.replace("plc", [("192.168.20.0".parse().unwrap(), 30)].into_iter()).unwrap();
    assert!(passed(&live));
}

#[test]
fn a_packet_of_an_established_flow_passes_if_either_end_may_have_opened_it() {
    let test = |keys: &str| {
        let packet = "packet = { from = \"it\", to = \"onprem\", src = \"10.2.0.1\", dst = \"192.168.10.1\", service = \"tcp/502\" }";
        let results = results(&format!("[[test]]\nname = \"t\"\n{packet}\n{keys}\n"));
        assert_eq!(results.len(), 1);
        (results[0].passed, results[0].message.clone())
    };
    // The controller has opened it, and is answered.
    assert!(test("state = \"established\"\nexpect = \"allow\"\nrule = \"plc\"").0);
    assert!(test("expect = \"drop\"").0, "but the answer opens nothing");
    assert!(test("state = \"new\"\nexpect = \"drop\"\nrule = \"default\"").0);
    let (passed, message) = test("state = \"established\"\nexpect = \"drop\"");
    assert!(!passed && message == "expected drop, got allow by `plc`", "{message}");
}
