//! Rules of other firewalls become policies that are valid and allow nothing that was forbidden.

use std::fmt::Write;

use fw_policy::{Binding, Code, ImportError, ImportFormat, Imported, Outcome, SourceFile, import, load};
use proptest::prelude::*;
use time::macros::datetime;

const INPUTS: [(ImportFormat, &str, &str); 5] = [
    (ImportFormat::IptablesSave, "iptables_save", include_str!("import/iptables-save.txt")),
    (ImportFormat::Nft, "nft", include_str!("import/ruleset.json")),
    (ImportFormat::AwsNetworkFirewall, "suricata", include_str!("import/stateful.rules")),
    (ImportFormat::AwsNetworkFirewall, "rule_group", include_str!("import/rule-group.json")),
    (ImportFormat::AwsSecurityGroups, "security_groups", include_str!("import/security-groups.json")),
];

fn file(text: &str) -> [SourceFile; 1] {
    [SourceFile { name: "imported.toml".into(), text: text.to_owned() }]
}

fn imported(format: ImportFormat, text: &str) -> Imported {
    import(format, text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn what_is_imported_is_a_policy_with_a_report() {
    for (format, name, text) in INPUTS {
        let Imported { policy, rules, notes } = imported(format, text);
        let loaded = load(&file(&policy)).unwrap_or_else(|refused| panic!("{name}: {refused}\n{policy}"));
        loaded
            .compile(&Binding::offline(&loaded), datetime!(2026-07-01 0:00 UTC))
            .unwrap_or_else(|refused| panic!("{refused}"));
        let warnings: Vec<Code> = loaded.warnings().iter().map(|warning| warning.code).collect();
        assert!(warnings.iter().all(|code| *code == Code::ExclusionsOnly), "{name}: {warnings:?}");
        assert_eq!(loaded.rules().len(), rules, "{name}");
        assert_eq!(fw_policy::format(&file(&policy)).unwrap(), std::slice::from_ref(&policy), "{name}");
        let mut shown = policy;
        for note in notes {
            let line = note.line.map_or("-".to_owned(), |line| line.to_string());
            let _ = writeln!(shown, "\n{:?} {line}: {}\n    {}", note.outcome, note.text, note.reason);
        }
        insta::assert_snapshot!(name, shown);
    }
}

/// The action that an imported policy takes on a packet.
fn decision(policy: &str, from: &str, to: &str, src: &str, dst: &str, service: &str) -> String {
    let test = format!(
        "[[test]]\nname = \"t\"\npacket = {{ from = \"{from}\", to = \"{to}\", src = \"{src}\", dst = \"{dst}\", service = \"{service}\" }}\nexpect = \"allow\"\n"
    );
    let loaded = load(&file(&format!("{policy}\n{test}"))).unwrap_or_else(|refused| panic!("{refused}"));
    let compiled = loaded.compile(&Binding::offline(&loaded), datetime!(2026-07-01 0:00 UTC)).expect("it compiles");
    loaded.run_tests(&compiled, datetime!(2026-07-01 0:00 UTC))[0].got.name().to_owned()
}

#[test]
fn iptables_decides_as_before_where_that_can_be_expressed() {
    // Without the set that is not in the input, for which everything would be forbidden.
    let text: String =
        INPUTS[0].2.lines().filter(|line| !line.contains("--match-set")).map(|line| format!("{line}\n")).collect();
    let policy = imported(ImportFormat::IptablesSave, &text).policy;
    let forward =
        |from: &str, to: &str, src: &str, dst: &str, service: &str| decision(&policy, from, to, src, dst, service);
    assert_eq!(forward("eth0", "eth1", "192.168.10.7", "10.2.1.20", "tcp/502"), "allow");
    assert_eq!(forward("eth1", "eth0", "192.168.10.7", "10.2.1.20", "tcp/502"), "reject", "the other way");
    assert_eq!(forward("eth0", "eth1", "192.168.10.8", "10.2.1.21", "udp/6005"), "allow");
    assert_eq!(forward("eth0", "eth1", "192.168.10.9", "10.2.1.21", "udp/6005"), "reject", "excepted");
    assert_eq!(
        forward("eth0", "eth1", "192.168.10.1", "10.2.9.9", "tcp/443"),
        "reject",
        "what web allows stands behind a return"
    );
    assert_eq!(forward("eth0", "eth1", "192.168.10.1", "10.2.9.9", "tcp/23"), "reject");
    assert_eq!(forward("eth1", "eth1", "10.0.0.1", "10.2.9.9", "icmp/8"), "allow");
    assert_eq!(forward("eth1", "eth0", "10.0.0.1", "10.2.9.9", "icmp/8"), "reject");
    assert_eq!(
        forward("eth0", "eth1", "10.0.0.1", "10.2.9.9", "tcp/25"),
        "drop",
        "stricter: without regard to the string"
    );
    assert_eq!(forward("eth0", "eth1", "fd00::1", "fd00::2", "proto/47"), "drop", "iptables is about IPv4 only");
    assert_eq!(forward("eth0", "eth1", "10.0.0.1", "10.2.9.9", "proto/47"), "allow");
    assert_eq!(forward("eth0", "local", "192.168.20.1", "10.2.0.1", "tcp/22"), "allow");
    assert_eq!(forward("eth0", "local", "192.168.21.1", "10.2.0.1", "tcp/22"), "drop");
    assert_eq!(forward("local", "eth0", "10.2.0.1", "192.168.21.1", "tcp/1"), "allow", "the policy of OUTPUT");
}

#[test]
fn nftables_decides_as_before_where_that_can_be_expressed() {
    // Without the dynamic set, for which everything would be forbidden.
    let without = |line: &&str| !line.contains("@banned");
    let text = INPUTS[1].2.lines().filter(without).map(|line| format!("{line}\n")).collect::<String>();
    let policy = imported(ImportFormat::Nft, &text).policy;
    let forward =
        |from: &str, to: &str, src: &str, dst: &str, service: &str| decision(&policy, from, to, src, dst, service);
    assert_eq!(forward("eth0", "eth1", "192.168.10.7", "10.2.1.35", "tcp/502"), "allow");
    assert_eq!(forward("eth0", "eth1", "192.168.10.9", "10.2.1.35", "tcp/502"), "reject");
    assert_eq!(forward("eth0", "eth1", "192.168.10.7", "10.2.1.41", "tcp/502"), "reject");
    assert_eq!(forward("eth0", "eth2", "192.168.10.7", "10.2.1.41", "tcp/80"), "reject", "behind a return");
    assert_eq!(forward("eth0", "eth1", "fd00::1", "fd00::2", "udp/53"), "allow", "inet is both families");
    assert_eq!(forward("eth0", "eth1", "10.0.0.1", "10.0.0.2", "proto/47"), "allow");
    assert_eq!(forward("eth0", "eth1", "fd00::1", "fd00::2", "proto/47"), "reject");
    assert_eq!(
        forward("eth1", "eth2", "10.0.0.1", "10.0.0.2", "udp/5000"),
        "allow",
        "the source port of a test is dynamic"
    );
    assert_eq!(forward("eth0", "local", "10.3.0.5", "10.0.0.2", "tcp/22"), "allow");
    assert_eq!(forward("eth0", "local", "10.3.0.6", "10.0.0.2", "tcp/22"), "drop");
}

#[test]
fn the_order_of_network_firewall_is_that_of_its_options() {
    let text = INPUTS[3].2;
    let shadowed = text.replace("10.1.0.0/16", "10.2.0.0/16").replace("\"22\"", "\"80\"");
    let passes = |text: &str| {
        let policy = imported(ImportFormat::AwsNetworkFirewall, text).policy;
        decision(&policy, "imported", "imported", "192.168.10.1", "10.2.1.20", "tcp/80")
    };
    assert_eq!(passes(&shadowed), "allow", "pass rules are asked first");
    assert_eq!(passes(&shadowed.replace("DEFAULT_ACTION_ORDER", "STRICT_ORDER")), "drop");
}

#[test]
fn between_members_of_security_groups_both_must_allow() {
    let policy = imported(ImportFormat::AwsSecurityGroups, INPUTS[4].2).policy;
    let asks = |src: &str, dst: &str, service: &str| decision(&policy, "imported", "imported", src, dst, service);
    let (web, historian) = ("10.2.2.20", "10.2.1.20");
    assert_eq!(asks("192.168.1.1", web, "tcp/443"), "allow");
    assert_eq!(asks("192.168.1.1", historian, "tcp/443"), "drop");
    assert_eq!(asks("8.8.8.8", web, "icmp/8"), "allow");
    assert_eq!(asks(historian, web, "icmp/8"), "drop", "its own group does not let it out");
    assert_eq!(asks(historian, web, "tcp/8000"), "drop");
    assert_eq!(asks(web, historian, "tcp/9"), "allow", "all of sg-0aaa may go out, and come in there");
    assert_eq!(asks(web, "8.8.8.8", "tcp/9"), "allow");
    assert_eq!(asks(historian, "10.3.0.9", "udp/123"), "allow");
    assert_eq!(asks(historian, "10.3.0.9", "udp/124"), "drop");
}

#[test]
fn members_that_are_not_known_are_nobody_and_what_depends_on_them_is_left_out() {
    let text = INPUTS[4].2.replace("NetworkInterfaces", "Nothing");
    let Imported { policy, notes, .. } = imported(ImportFormat::AwsSecurityGroups, &text);
    let assumed = notes.iter().filter(|note| note.outcome == Outcome::Assumed).count();
    assert_eq!(assumed, 2, "{notes:#?}");
    assert!(
        policy.contains("sg-0bbb = [\"192.0.2.2\", \"2001:db8::2\"]") && !policy.contains("source = [\"0.0.0.0/0\""),
        "{policy}"
    );
    assert_eq!(
        decision(&policy, "imported", "imported", "192.0.2.1", "192.0.2.2", "tcp/9"),
        "allow",
        "once they are written"
    );
}

#[test]
fn every_rule_that_is_left_out_is_in_its_place_with_its_line() {
    let Imported { policy, notes, .. } = imported(ImportFormat::IptablesSave, INPUTS[0].2);
    let left_out: Vec<_> = notes
        .iter()
        .filter(|note| note.outcome == Outcome::LeftOut && !note.reason.contains("does not decide"))
        .collect();
    assert!(left_out.len() > 3, "{notes:#?}");
    for note in left_out {
        let line = note.line.unwrap();
        assert!(policy.contains(&format!("# left out line {line}: ")), "{note:?}\n{policy}");
        assert!(INPUTS[0].2.lines().nth(line as usize - 1).unwrap().contains(note.text.as_str()), "{note:?}");
    }
}

#[test]
fn several_chains_with_a_hook_allow_nothing() {
    let chain = |table: &str, verdict: &str| {
        format!(
        "{{\"chain\": {{\"family\": \"inet\", \"table\": \"{table}\", \"name\": \"f\", \"type\": \"filter\", \"hook\": \"forward\", \"policy\": \"drop\"}}}},
         {{\"rule\": {{\"family\": \"inet\", \"table\": \"{table}\", \"chain\": \"f\", \"handle\": 1, \"expr\": [{{\"{verdict}\": null}}]}}}}"
    )
    };
    let one = imported(ImportFormat::Nft, &format!("{{\"nftables\": [{}]}}", chain("a", "accept")));
    assert!(one.policy.contains("action = \"allow\""));
    let two =
        imported(ImportFormat::Nft, &format!("{{\"nftables\": [{}, {}]}}", chain("a", "accept"), chain("b", "drop")));
    assert!(!two.policy.contains("action = \"allow\""), "{}", two.policy);
}

#[test]
fn what_other_tables_and_hooks_drop_is_dropped_first() {
    let text = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -s 10.6.6.0/24 -j DROP\n-A PREROUTING -p udp -m udp --dport 53 -j NOTRACK\nCOMMIT\n\
                *filter\n:FORWARD DROP [0:0]\n-A FORWARD -i eth0 -o eth1 -j ACCEPT\n-A FORWARD -i eth1 -o eth0 -j ACCEPT\nCOMMIT\n";
    let policy = imported(ImportFormat::IptablesSave, text).policy;
    assert_eq!(decision(&policy, "eth0", "eth1", "10.6.6.6", "10.0.0.1", "tcp/80"), "drop");
    assert_eq!(decision(&policy, "eth0", "eth1", "10.6.7.6", "10.0.0.1", "tcp/80"), "allow");
    let chain = |name: &str, hook: &str, rule: &str| {
        format!(
        "{{\"chain\": {{\"family\": \"ip\", \"table\": \"t\", \"name\": \"{name}\", \"type\": \"filter\", \"hook\": \"{hook}\", \"policy\": \"accept\"}}}},
         {{\"rule\": {{\"family\": \"ip\", \"table\": \"t\", \"chain\": \"{name}\", \"handle\": 1, \"expr\": [{rule}]}}}}"
    )
    };
    let saddr = "{\"match\": {\"op\": \"==\", \"left\": {\"payload\": {\"protocol\": \"ip\", \"field\": \"saddr\"}}, \"right\": \"10.6.6.6\"}}, {\"drop\": null}";
    let from = "{\"match\": {\"op\": \"==\", \"left\": {\"meta\": {\"key\": \"iifname\"}}, \"right\": {\"set\": [\"eth0\", \"eth1\"]}}}, {\"accept\": null}";
    let text = format!("{{\"nftables\": [{}, {}]}}", chain("f", "forward", from), chain("p", "prerouting", saddr));
    let policy = imported(ImportFormat::Nft, &text).policy;
    assert_eq!(decision(&policy, "eth0", "eth1", "10.6.6.6", "10.0.0.1", "tcp/80"), "drop");
    assert_eq!(decision(&policy, "eth0", "eth1", "10.6.7.6", "10.0.0.1", "tcp/80"), "allow");
}

#[test]
fn what_is_something_else_is_refused() {
    for (format, _, _) in INPUTS {
        for text in ["", "nonsense", "{}", "[]", "{\"a\": 1}", "*filter\n-Z\n"] {
            assert!(matches!(import(format, text), Err(ImportError::NotThat(_))), "{format:?} {text}");
        }
    }
    let bomb = "*filter\n:FORWARD DROP\n".to_owned() + &"-A FORWARD -j FORWARD\n".repeat(2);
    assert!(matches!(import(ImportFormat::IptablesSave, &bomb), Err(ImportError::TooMany(_))));
}

/// An input with some of its characters or lines changed.
fn changed() -> impl Strategy<Value = (ImportFormat, String)> {
    let edit = (any::<prop::sample::Index>(), 0usize..12, "[ -~\u{e9}\n]{0,6}");
    (0usize..INPUTS.len(), prop::collection::vec(edit, 1..8)).prop_map(|(input, edits)| {
        let (format, _, text) = INPUTS[input];
        let mut text: Vec<char> = text.chars().collect();
        for (at, removed, inserted) in edits {
            let start = at.index(text.len() + 1);
            let end = (start + removed).min(text.len());
            text.splice(start..end, inserted.chars());
        }
        (format, text.into_iter().collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn garbage_is_refused_and_does_not_panic(text in any::<String>(), format in 0usize..INPUTS.len()) {
        let _ = import(INPUTS[format].0, &text);
    }

    #[test]
    fn what_is_nearly_right_is_refused_or_becomes_a_policy((format, text) in changed()) {
        match import(format, &text) {
            Ok(imported) => prop_assert!(load(&file(&imported.policy)).is_ok()),
            Err(ImportError::Invalid(refused)) => prop_assert!(false, "{refused}"),
            Err(ImportError::NotThat(_) | ImportError::TooMany(_)) => {}
        }
    }
}
