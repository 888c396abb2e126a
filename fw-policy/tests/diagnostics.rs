//! Every diagnostic as its reader sees it. Each case names the codes that it must produce, in order, and its text is a
//! snapshot.

#[path = "diagnostics/rendering.rs"]
mod rendering;

use std::collections::BTreeSet;
use std::fmt::Write;

use fw_policy::{
    Binding, Code, Diagnostics, InterfaceBinding, ManagementBinding, Options, Policy, SourceFile, WorkLimits, load,
};
use time::macros::datetime;

/// What a valid file needs beside what a case is about.
const HEAD: &str = "version = 1\n[defaults]\naction = \"drop\"\n";
const ZONES: &str = "[zones.ot]\nnetworks = [\"10.1.0.0/16\"]\n[zones.it]\nnetworks = [\"10.2.0.0/16\"]\n";

/// A rule with the keys of the case behind those that every rule needs.
fn rule(keys: &str) -> String {
    format!("{HEAD}{ZONES}[[rule]]\nid = \"r-1\"\nfrom = [\"ot\"]\nto = [\"it\"]\naction = \"allow\"\n{keys}\n")
}

fn headed(text: &str) -> String {
    format!("{HEAD}{text}\n")
}

fn files(texts: &[&str]) -> Vec<SourceFile> {
    let file = |(number, text): (usize, &&str)| SourceFile { name: format!("{number}.toml"), text: (*text).to_owned() };
    texts.iter().enumerate().map(file).collect()
}

/// Errors and warnings of loading.
fn loaded(texts: &[&str]) -> Diagnostics {
    match load(&files(texts)) {
        Ok(policy) => policy.warning_report(),
        Err(diagnostics) => diagnostics,
    }
}

fn valid(text: &str) -> Policy {
    load(&files(&[text])).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

/// Errors of compiling.
fn compiled(policy: &Policy, binding: &Binding, options: &Options) -> Diagnostics {
    let refused = policy.compile_with(binding, datetime!(2026-07-01 0:00 UTC), options);
    refused.map(|compiled| compiled.digest).expect_err("the case is refused")
}

#[track_caller]
fn check(name: &str, diagnostics: &Diagnostics, expected: &[Code]) -> BTreeSet<Code> {
    let codes: Vec<Code> = diagnostics.items.iter().map(|item| item.code).collect();
    assert_eq!(codes, expected, "{name}:\n{diagnostics}");
    insta::assert_snapshot!(name, diagnostics.render(false));
    codes.into_iter().collect()
}

fn cases_of_text() -> BTreeSet<Code> {
    let mut seen = BTreeSet::new();
    let mut case = |name, texts: &[&str], expected: &[Code]| seen.extend(check(name, &loaded(texts), expected));
    case(
        "syntax",
        &[&headed("[zones.ot\nnetworks = [\"10.1.0.0/16\"]\n[zones.it]\nnetworks = \"")],
        &[Code::Syntax, Code::Syntax],
    );
    case("wrong_type", &[&rule("source = \"10.0.0.1\"\nlog = 1\nservices = [80]")], &[Code::WrongType; 3]);
    case("unknown_key", &[&rule("sorce = [\"10.1.0.1\"]\nzone = 1")], &[Code::UnknownKey; 2]);
    case("missing_key", &[&headed("[[rule]]\nid = \"r-1\"")], &[Code::MissingKey; 3]);
    case("unsupported", &[&rule("destination = [\"aws:tag/x\"]\nsource = [\"fqdn:a.b\"]")], &[Code::Unsupported; 2]);
    case("include", &["version = 1\ninclude = [\"more\", \"../most\"]\n"], &[Code::Include; 2]);
    let feed = |keys: &str| headed(&format!("{ZONES}[[feed]]\nname = \"f\"\n{keys}"));
    case("invalid_url", &[&feed("url = \"http://a.example/b\"")], &[Code::InvalidUrl]);
    case(
        "feed_keys",
        &[&feed("url = \"a\"\nmax_entries = 500001\non_failure = \"empty\"\nsha256 = \"00\"")],
        &[Code::InvalidValue; 3],
    );
    case("feed_age", &[&feed("url = \"a\"\nrefresh = \"1h\"\nmax_age = \"1h\"")], &[Code::Contradiction]);
    case("feed_signature", &[&feed("url = \"a\"\nsignature = \"a.minisig\"")], &[Code::MissingKey]);
    case("feed_and_set", &[&feed("url = \"a\"\n[addresses]\nf = [\"10.0.0.1\"]")], &[Code::Duplicate]);
    case(
        "duplicate_in_files",
        &[&headed(ZONES), "version = 1\n[zones.ot]\nnetworks = [\"10.9.0.0/16\"]\n"],
        &[Code::Duplicate],
    );
    case("duplicate_in_a_table", &[&rule("log = true\nlog = false")], &[Code::Duplicate]);
    case("duplicate_header", &[&headed("[zones.ot]\nnetworks = [\"10.1.0.0/16\"]\n[zones.ot]")], &[Code::Duplicate]);
    case(
        "duplicate_zone_pair",
        &[&headed(&format!("{ZONES}{0}{0}", "[[zone_pair]]\nfrom = \"ot\"\nto = \"it\"\naction = \"drop\"\n"))],
        &[Code::Duplicate],
    );
    case("empty_array", &[&rule("source = []\nservices = []")], &[Code::EmptyArray; 2]);
    case(
        "invalid_name",
        &[&headed(&format!(
            "[zones.any]\n[zones.\"a b\"]\n[[rule]]\nid = \"system-x\"\nfrom = [\"any\"]\nto = [\"any\"]\naction = \"allow\"\n\
             [[rule]]\nid = \"{}\"\nfrom = [\"any\"]\nto = [\"any\"]\naction = \"allow\"\n",
            "x".repeat(64)
        ))],
        &[Code::InvalidName; 4],
    );
    case(
        "version",
        &["version = 2\n[defaults]\naction = \"drop\"\n", "[addresses]\na = [\"10.0.0.1\"]\n"],
        &[Code::Version, Code::Version],
    );
    case("defaults_missing", &["version = 1\n"], &[Code::Defaults]);
    case("defaults_twice", &[HEAD, HEAD], &[Code::Defaults]);
    case("no_files", &[], &[Code::Defaults]);
    case(
        "invalid_value",
        &["version = 1\n[defaults]\naction = \"allow\"\n", &rule("mode = \"strict\"").replace(HEAD, "version = 1\n")],
        &[Code::InvalidValue; 2],
    );
    case(
        "invalid_address",
        &[&rule("source = [\"10.0.0.256\", \"10.0.0.9-10.0.0.1\", \"10.0.0.0/33\", \"any\"]")],
        &[Code::InvalidAddress; 4],
    );
    case("host_bits", &[&rule("source = [\"10.1.2.3/16\", \"!fd00::1/56\"]")], &[Code::HostBits; 2]);
    case(
        "invalid_service",
        &[&rule("services = [\"http\", \"gre\", \"tcp/80-70\", \"icmp/ping\", { proto = \"icmp\", port = [\"x\"] }]")],
        &[Code::InvalidService; 6],
    );
    case(
        "icmp_without_flow",
        &[&rule("services = [\"icmp/3/4\", \"icmpv6/echo-reply\"]")],
        &[Code::IcmpWithoutFlow, Code::IcmpWithoutFlow],
    );
    case(
        "invalid_rate",
        &[&rule("rate = { new_flows = \"100 per second\", burst = 0, per = \"host\" }")],
        &[Code::InvalidRate, Code::InvalidValue, Code::InvalidValue],
    );
    case(
        "invalid_limit",
        &[&rule("rate = \"100/s\"\nmax_flows = { limit = -1, each = \"source\" }")],
        &[Code::WrongType, Code::InvalidValue, Code::UnknownKey],
    );
    case("limit_of_nothing", &[&rule("rate = {}\nmax_flows = {}")], &[Code::MissingKey, Code::MissingKey]);
    case("invalid_duration", &[&rule("idle_timeout = \"1 hour\"")], &[Code::InvalidDuration]);
    case("invalid_date", &[&rule("starts = 2026-12-01T08:00:00")], &[Code::InvalidDate]);
    seen
}

fn cases_of_references() -> BTreeSet<Code> {
    let mut seen = BTreeSet::new();
    let mut case = |name, texts: &[&str], expected: &[Code]| seen.extend(check(name, &loaded(texts), expected));
    case(
        "unknown_zone",
        &[&rule("").replace("from = [\"ot\"]", "from = [\"oz\", \"plant\"]")],
        &[Code::UnknownZone; 2],
    );
    case(
        "unknown_set",
        &[&rule("source = [\"@plcs\"]\nservices = [\"@modbus\"]\n[addresses]\nplc = [\"10.1.0.1\", \"@nowhere\"]")],
        &[Code::UnknownSet; 3],
    );
    let test = |keys: &str| {
        format!(
            "[[test]]\nname = \"t {}\"\npacket = {{ from = \"ot\", to = \"it\", {keys} }}\nexpect = \"allow\"\n",
            keys.len()
        )
    };
    case(
        "unknown_rule",
        &[&rule(&format!("{}rule = \"r-2\"", test("src = \"10.1.0.1\", dst = \"10.2.0.1\", service = \"tcp/80\"")))],
        &[Code::UnknownRule],
    );
    case(
        "set_cycle",
        &[&headed("[addresses]\na = [\"@b\"]\nb = [\"10.0.0.1\", \"@c\"]\nc = [\"!@a\"]")],
        &[Code::SetCycle],
    );
    case(
        "zones_overlap",
        &[
            &headed(ZONES),
            "version = 1\n[zones.all]\nnetworks = [\"10.0.0.0/8\"]\n[zones.same]\nnetworks = [\"10.1.0.0/16\"]\n",
        ],
        &[Code::ZonesOverlap; 3],
    );
    case(
        "zone_reserved",
        &[&headed("[zones.a]\nnetworks = [\"169.254.169.254/32\", \"fe80::/64\"]")],
        &[Code::ZoneReserved, Code::ZoneReserved],
    );
    let many = (0..60).fold(String::new(), |mut text, number| {
        let _ = writeln!(text, "[zones.z{number}]\nnetworks = [\"10.{number}.0.0/16\"]");
        text
    });
    case("too_many_zones", &[&headed(&many)], &[Code::TooManyZones]);
    case("schedule", &[&rule("starts = 2027-01-01\nexpires = 2026-01-01")], &[Code::Schedule]);
    case("schedule_opens", &[&rule("expires = 2026-01-01").replace("\"allow\"", "\"drop\"")], &[Code::Schedule]);
    case(
        "contradiction",
        &[&rule("idle_timeout = \"1h\"\nexpires_opens = true").replace("\"allow\"", "\"reject\"")],
        &[Code::Contradiction, Code::Contradiction],
    );
    case(
        "limits_without_allow",
        &[&rule("rate = { new_flows = \"1/s\" }\nmax_flows = { limit = 1 }").replace("\"allow\"", "\"drop\"")],
        &[Code::Contradiction, Code::Contradiction],
    );
    case(
        "test_packet",
        &[&rule(
            &[
                test("src = \"10.1.0.1\", dst = \"192.168.0.1\", service = \"tcp/80\""),
                test("src = \"10.1.0.1\", dst = \"10.2.0.1\", service = \"tcp\""),
                test("src = \"10.1.0.1\", dst = \"10.2.0.1\", service = \"icmpv6/echo-request\""),
                test("src = \"10.1.0.1\", dst = \"fd00::1\", service = \"udp/1\""),
            ]
            .concat(),
        )],
        &[Code::TestPacket; 4],
    );
    let invariant = |keys: &str| format!("[[invariant]]\n{keys}\n");
    let scope = "from = [\"ot\"], to = [\"it\"]";
    case(
        "invariant",
        &[&headed(&format!(
            "{ZONES}{}",
            [
                invariant("name = \"nothing\""),
                invariant(&format!("deny_all = {{ {scope} }}\nallow_all = {{ {scope} }}")),
                invariant("deny_all = { from = [\"ot\"], services = [\"tcp/0\"], ports = [1] }"),
                invariant("allow_all = { from = [\"oz\"], to = [\"it\"], source = [\"@plc\"] }"),
                invariant(&format!("deny_all = {{ {scope}, except = {{}} }}")),
                invariant(&format!("deny_all = {{ {scope}, except = [1] }}")),
                invariant(&format!("deny_all = {{ {scope}, except = [{{ expect = 1 }}] }}")),
                invariant("name = \"nothing\"\ndeny_all = true"),
                invariant(&format!("name = \"twice\"\ndeny_all = {{ {scope} }}")),
                invariant(&format!("name = \"twice\"\ndeny_all = {{ {scope} }}")),
            ]
            .concat()
        ))],
        &[
            Code::MissingKey,
            Code::Contradiction,
            Code::MissingKey,
            Code::InvalidService,
            Code::UnknownKey,
            Code::UnknownZone,
            Code::UnknownSet,
            Code::MissingKey,
            Code::WrongType,
            Code::UnknownKey,
            Code::WrongType,
            Code::Duplicate,
        ],
    );
    case("exclusions_only", &[&headed("[addresses]\nelsewhere = [\"!10.0.0.0/8\"]")], &[Code::ExclusionsOnly]);
    case(
        "matches_nothing",
        &[&rule(
            "source = [\"10.1.0.1\"]\ndestination = [\"fd00::1\"]\n[addresses]\nnone = [\"10.0.0.1\", \"!10.0.0.0/8\"]",
        )],
        &[Code::MatchesNothing; 2],
    );
    case("listed_twice", &[&rule("services = [\"tcp/80\", \"tcp/80\"]")], &[Code::ListedTwice]);
    seen
}

/// Rules from `ot` to `it`, each with its action and other keys.
fn rules_of(rules: &[(&str, &str)]) -> String {
    let mut text = format!("{HEAD}{ZONES}");
    for (number, (action, keys)) in rules.iter().enumerate() {
        let _ = write!(
            text,
            "[[rule]]\nid = \"r-{number}\"\nfrom = [\"ot\"]\nto = [\"it\"]\naction = \"{action}\"\n{keys}\n"
        );
    }
    text
}

fn cases_of_analysis() -> BTreeSet<Code> {
    let mut seen = BTreeSet::new();
    let mut case = |name, text: &str, limits: WorkLimits, expected: &[Code]| {
        let policy = valid(text);
        let mut found = policy.analyse_within(&Binding::offline(&policy), datetime!(2026-07-01 0:00 UTC), limits);
        // This one is for all of these policies.
        found.items.retain(|item| item.code != Code::PairsWithoutRules || expected.contains(&item.code));
        seen.extend(check(name, &found, expected));
    };
    let limits = WorkLimits::default();
    case(
        "no_such_packet",
        &rules_of(&[
            ("allow", "source = [\"10.9.0.0/16\"]\nservices = [\"tcp/80\"]"),
            ("allow", "services = [\"proto/2\"]"),
        ]),
        limits,
        &[Code::NoSuchPacket; 2],
    );
    case(
        "shadowed",
        &rules_of(&[
            ("allow", "source = [\"10.1.0.0/17\"]\nservices = [\"tcp\"]"),
            ("allow", "destination = [\"10.2.7.0/24\"]\nservices = [\"udp\"]"),
            ("allow", "source = [\"10.1.128.0/17\"]\nservices = [\"tcp/1-5000\"]"),
            ("allow", "destination = [\"10.2.7.7\"]\nservices = [\"tcp/443\", \"udp/443\"]"),
            ("reject", "source = [\"10.1.9.9\"]\nservices = [\"sctp\"]\nlog = false"),
            ("drop", "source = [\"10.1.9.9\"]\nservices = [\"sctp/80\"]\nlog = false"),
        ]),
        limits,
        &[Code::Shadowed; 2],
    );
    case(
        "allow_hidden",
        &rules_of(&[
            ("allow", "source = [\"10.1.1.0/25\"]\nservices = [\"tcp\"]"),
            ("reject", "source = [\"10.1.0.0/16\"]"),
            ("allow", "source = [\"10.1.1.0/24\"]\nservices = [\"tcp/22\"]"),
        ]),
        limits,
        &[Code::AllowHidden],
    );
    case(
        "deny_hidden",
        &rules_of(&[("allow", "services = [\"tcp\"]"), ("drop", "services = [\"tcp/23\"]")]),
        limits,
        &[Code::DenyHidden],
    );
    case(
        "redundant",
        &rules_of(&[
            ("allow", "source = [\"10.1.1.1\"]\nservices = [\"tcp/22\"]"),
            ("drop", "source = [\"10.1.1.1\"]\nservices = [\"udp\"]"),
            ("allow", "source = [\"10.1.1.0/24\"]\nservices = [\"tcp\", \"udp\"]"),
        ]),
        limits,
        &[Code::Redundant],
    );
    case("restates_default", &rules_of(&[("drop", "services = [\"tcp/23\"]")]), limits, &[Code::RestatesDefault]);
    case("allows_everything", &rules_of(&[("allow", "source = [\"10.0.0.0/8\"]")]), limits, &[Code::AllowsEverything]);
    case(
        "expired",
        &rules_of(&[
            ("allow", "services = [\"tcp/22\"]\nexpires = 2026-06-30"),
            ("allow", "services = [\"tcp/22\"]\nexpires = 2026-07-30T12:00:00Z"),
            ("allow", "services = [\"tcp/22\"]"),
        ]),
        limits,
        &[Code::Expired, Code::ExpiresSoon, Code::Redundant],
    );
    case(
        "unused",
        &(rules_of(&[("allow", "services = [\"@web\"]")])
            + "[addresses]\nhosts = [\"10.1.0.1\"]\nall = [\"@hosts\"]\n[services]\nweb = [\"@http\"]\nhttp = [\"tcp/80\"]\nssh = [\"tcp/22\"]\n"),
        limits,
        &[Code::Unused; 3],
    );
    let elsewhere =
        "[[invariant]]\ndeny_all = { from = [\"ot\"], to = [\"it\"], destination = [\"192.168.0.0/16\"] }\n";
    let text = rules_of(&[("allow", "services = [\"tcp/22\"]")]) + elsewhere;
    case("empty_invariant", &text, limits, &[Code::EmptyInvariant]);
    let pairs = "[[zone_pair]]\nfrom = \"it\"\nto = \"ot\"\naction = \"reject\"\n";
    case(
        "pairs_without_rules",
        &(rules_of(&[("allow", "services = [\"tcp/22\"]")]) + pairs),
        limits,
        &[Code::PairsWithoutRules],
    );
    let text = rules_of(&[("allow", "services = [\"tcp/1-9\"]"), ("allow", "services = [\"tcp/5-20\"]")]);
    case("not_analysed", &text, WorkLimits { rule: 3, all: 100 }, &[Code::NotAnalysed]);
    seen
}

fn interface(name: &str, zones: &[&str]) -> InterfaceBinding {
    InterfaceBinding { name: name.to_owned(), zones: zones.iter().map(|zone| (*zone).to_owned()).collect() }
}

fn cases_of_binding() -> BTreeSet<Code> {
    let policy = valid(&headed("[zones.ot]\n[zones.it]\n[zones.lab]\nnetworks = [\"10.9.0.0/16\"]"));
    let binding = Binding {
        interfaces: vec![
            interface("ens6", &["ot", "it"]),
            interface("ens7", &[]),
            interface("ens8", &["labs"]),
            interface("ens5", &["ot"]),
        ],
        management: Some(ManagementBinding {
            slot: 3,
            allow: vec!["tcp/22".to_owned(), "ssh from 10.0.0.0/8".to_owned(), "tcp/22 from 10.0.0.1/8".to_owned()],
        }),
        disabled_system_rules: ["system-dhpc", "system-neighbour-discovery"].map(str::to_owned).into(),
        ..Binding::default()
    };
    check(
        "binding",
        &compiled(&policy, &binding, &Options::default()),
        &[
            Code::InterfaceWithoutZone,
            Code::BindingUnknownZone,
            Code::ManagementZones,
            Code::ManagementAllow,
            Code::ManagementAllow,
            Code::ManagementAllow,
            Code::UnknownSystemRule,
            Code::UnknownSystemRule,
            Code::TwoRestZones,
            Code::ZoneUnbound,
        ],
    )
}

/// A policy with as many rules as `keys` gives.
fn rules(keys: impl Iterator<Item = String>) -> Policy {
    let mut text = headed(ZONES);
    for (number, keys) in keys.enumerate() {
        let _ =
            writeln!(text, "[[rule]]\nid = \"r-{number}\"\nfrom = [\"ot\"]\nto = [\"it\"]\naction = \"allow\"\n{keys}");
    }
    valid(&text)
}

fn cases_of_size() -> BTreeSet<Code> {
    let mut seen = BTreeSet::new();
    let mut case = |name, policy: &Policy, options: &Options, expected| {
        seen.extend(check(name, &compiled(policy, &Binding::offline(policy), options), expected));
    };
    let defaults = Options::default();
    case(
        "too_many_rules",
        &rules((0..fw_common::abi::policy::MAX_RULES).map(|_| String::new())),
        &defaults,
        &[Code::TooManyRules],
    );
    let policy = rules((0..200).map(|number| format!("source = [\"10.1.{number}.0/24\"]\nservices = [\"tcp/80\"]")));
    let small = Options { memory_budget: 64 << 10, ..Options::default() };
    case("over_budget", &policy, &small, &[Code::OverBudget]);
    seen
}

#[test]
fn every_code_has_a_case() {
    let mut seen = cases_of_text();
    seen.extend(cases_of_references());
    seen.extend(cases_of_analysis());
    seen.extend(cases_of_binding());
    seen.extend(cases_of_size());
    let missing: Vec<_> = Code::ALL.iter().filter(|code| !seen.contains(code)).collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
}
