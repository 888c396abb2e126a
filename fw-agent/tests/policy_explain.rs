//! `fwctl policy explain` on the example policy, as others run it.

use std::process::{Command, Output};

fn explain(arguments: &[&str]) -> Output {
    explain_files(concat!(env!("CARGO_MANIFEST_DIR"), "/../policies"), arguments)
}

fn explain_files(policies: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fwctl"));
    command.args(["policy", "explain", policies, "--at", "2026-07-01T00:00:00Z"]).args(arguments);
    command.output().expect("fwctl runs")
}

fn text(arguments: &[&str]) -> String {
    let output = explain(arguments);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_way_of_a_packet_is_told_in_steps() {
    insta::assert_snapshot!(text(&[
        "--from",
        "onprem",
        "--src",
        "192.168.10.4",
        "--dst",
        "10.2.1.20",
        "--service",
        "tcp/22"
    ]));
}

#[test]
fn a_spoofed_packet_gets_no_further() {
    insta::assert_snapshot!(text(&["--from", "ot", "--src", "10.2.1.5", "--dst", "10.1.1.20", "--service", "tcp/502"]));
}

#[test]
fn as_json_it_has_a_schema_and_the_rules() {
    let packet = ["--from", "onprem", "--src", "192.168.10.4", "--dst", "10.2.1.20", "--service", "tcp/22"];
    let answer: serde_json::Value =
        serde_json::from_str(&text(&[&packet[..], &["-o", "json"]].concat())).expect("JSON");
    assert_eq!(answer["schema"], "fwctl.policy-explain/1");
    assert_eq!((&answer["verdict"], &answer["rule"]), (&"drop".into(), &"default".into()), "{answer}");
    let rules = answer["rules"].as_array().expect("a list");
    assert!(!rules.is_empty() && rules.iter().all(|rule| rule["matches"] == false), "{answer}");
    assert_eq!((&rules[0]["rule"], &rules[0]["mismatch"]), (&"plc-historian".into(), &"service".into()), "{answer}");
    let all: serde_json::Value =
        serde_json::from_str(&text(&[&packet[..], &["-o", "json", "--all"]].concat())).expect("JSON");
    assert!(all["rules"].as_array().expect("a list").len() > rules.len());
}

#[test]
fn a_rule_that_observes_says_what_it_would_do() {
    let rule = |id: &str, keys: &str| format!("[[rule]]\nid = \"{id}\"\nfrom = [\"a\"]\nto = [\"b\"]\n{keys}\n");
    let policy = "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\nnetworks = [\"10.1.0.0/16\"]\n[zones.b]\n"
        .to_owned()
        + &rule("watch", "services = [\"tcp\"]\naction = \"reject\"\nmode = \"observe\"")
        + &rule("web", "services = [\"tcp/80\"]\naction = \"allow\"\nlog = \"notice\"")
        + &rule("behind", "action = \"drop\"\nmode = \"observe\"");
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("a.toml"), policy).expect("it is written");
    let directory = directory.path().to_string_lossy();
    let packet = ["--from", "a", "--src", "10.1.0.1", "--dst", "10.2.0.1", "--service", "tcp/80"];
    let said = |more: &[&str]| {
        let output = explain_files(&directory, &[&packet[..], more].concat());
        String::from_utf8(output.stdout).expect("text")
    };
    let text = said(&[]);
    assert!(text.contains("`watch` (a.toml:7) observes: would reject\n"), "{text}");
    assert!(text.contains("verdict     allow by `web`, a.toml:14, logged as notice"), "{text}");
    let answer: serde_json::Value = serde_json::from_str(&said(&["-o", "json"])).expect("JSON");
    assert_eq!(answer["observing"], serde_json::json!([{"rule": "watch", "place": "a.toml:7", "would": "reject"}]));
    assert_eq!((&answer["rule"], &answer["level"]), (&"web".into(), &"notice".into()), "{answer}");
}

#[test]
fn a_question_without_an_answer_is_a_mistake_in_usage() {
    for (arguments, why) in [
        (["--from", "moon", "--src", "10.2.1.5", "--dst", "10.1.1.20", "--service", "tcp/502"], "no zone `moon`"),
        (["--from", "it", "--src", "10.2.1.5", "--dst", "fd00::1", "--service", "tcp/502"], "address families"),
        (["--from", "it", "--src", "10.2.1.5", "--dst", "10.1.1.20", "--service", "tcp"], "more than one packet"),
    ] {
        let output = explain(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(why) && output.stdout.is_empty(), "{said}");
    }
}
