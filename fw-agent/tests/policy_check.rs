//! `fwctl policy check` and `fwctl policy test`, as continuous integration runs them.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::process::{Command, Output};

const HEAD: &str = "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n[zones.b]\n";

fn rule(id: &str, services: &str) -> String {
    format!("[[rule]]\nid = \"{id}\"\nfrom = [\"a\"]\nto = [\"b\"]\nservices = [\"{services}\"]\naction = \"allow\"\n")
}

/// A directory with a policy of some rules and whatever else.
fn policy(text: &str) -> io::Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("a.toml"), format!("{HEAD}{text}"))?;
    Ok(dir)
}

fn fwctl(command: &str, directory: &Path, options: &[&str]) -> io::Result<Output> {
    let mut fwctl = Command::new(env!("CARGO_BIN_EXE_fwctl"));
    fwctl.args(["policy", command]).arg(directory).args(options).output()
}

fn said(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or("what is no text")
}

#[test]
fn a_policy_with_warnings_is_refused_if_they_are_denied() -> io::Result<()> {
    let shadowed = policy(&(rule("web", "tcp") + &rule("late", "tcp/80")))?;
    let check = |options: &[&str]| fwctl("check", shadowed.path(), options);
    let found = check(&[])?;
    assert_eq!(found.status.code(), Some(0));
    assert!(said(&found.stderr).contains("warning[FW0111]: rule `late` never matches"), "{}", said(&found.stderr));
    assert!(said(&found.stdout).starts_with("ok: "), "{}", said(&found.stdout));
    let denied = check(&["--deny", "warnings"])?;
    assert_eq!(denied.status.code(), Some(3));
    assert!(said(&denied.stdout).starts_with("refused: "), "{}", said(&denied.stdout));
    for options in [["--deny", "warnings", "--allow", "fw0111"].as_slice(), &["--deny", "warnings", "--no-analysis"]] {
        let allowed = check(options)?;
        assert_eq!(allowed.status.code(), Some(0), "{options:?}");
        assert!(!said(&allowed.stderr).contains("FW0111"), "{options:?}");
    }
    assert_eq!(check(&["--allow", "FW0001"])?.status.code(), Some(2), "an error is none to allow");
    let json = check(&["--deny", "warnings", "-o", "json"])?;
    assert_eq!(json.status.code(), Some(3));
    let answer: serde_json::Value = serde_json::from_slice(&json.stdout)?;
    assert_eq!((&answer["ok"], &answer["diagnostics"][0]["code"]), (&false.into(), &"FW0111".into()));
    assert_eq!(answer["diagnostics"][0]["related"][0]["line"], 6);
    Ok(())
}

#[test]
fn what_the_analysis_finds_is_in_sarif_and_refused_there_too() -> io::Result<()> {
    let shadowed = policy(&(rule("web", "tcp") + &rule("late", "tcp/80")))?;
    let check = |options: &[&str]| -> io::Result<(Option<i32>, String)> {
        let found = fwctl("check", shadowed.path(), &[options, &["-o", "sarif"]].concat())?;
        let log: serde_json::Value = serde_json::from_slice(&found.stdout)?;
        let results = log["runs"][0]["results"].as_array().into_iter().flatten();
        let mut said: Vec<String> =
            results.map(|result| format!("{} {}", result["ruleId"], result["level"]).replace('"', "")).collect();
        said.sort();
        Ok((found.status.code(), said.join(", ")))
    };
    assert_eq!(check(&["--deny", "warnings"])?, (Some(3), "FW0111 warning, FW0200 note".to_owned()));
    assert_eq!(check(&["--deny", "warnings", "--allow", "FW0111"])?, (Some(0), "FW0200 note".to_owned()));
    assert_eq!(check(&["--no-analysis"])?, (Some(0), String::new()));
    Ok(())
}

#[test]
fn notes_are_no_warnings() -> io::Result<()> {
    let clean = policy(&rule("web", "tcp/80"))?;
    let found = fwctl("check", clean.path(), &["--deny", "warnings"])?;
    assert_eq!(found.status.code(), Some(0));
    assert!(said(&found.stderr).contains("note[FW0200]"), "{}", said(&found.stderr));
    Ok(())
}

#[test]
fn people_are_shown_some_of_many_findings_and_scripts_all() -> io::Result<()> {
    let mut text = rule("all-tcp", "tcp");
    for number in 1..=50 {
        let _ = write!(text, "{}", rule(&format!("r-{number}"), &format!("tcp/{number}")));
    }
    let many = policy(&text)?;
    let shown = fwctl("check", many.path(), &[])?;
    let shown = said(&shown.stderr);
    assert_eq!(shown.matches("warning[FW0111]").count(), 20);
    assert!(shown.contains("FW0111: 30 more, which `-o json` shows"), "{shown}");
    let all = fwctl("check", many.path(), &["-o", "jsonl"])?;
    assert_eq!(said(&all.stdout).matches("FW0111").count(), 50);
    Ok(())
}

#[test]
fn an_invariant_that_does_not_hold_fails_and_is_written_for_continuous_integration() -> io::Result<()> {
    let invariant =
        "[[invariant]]\nname = \"no telnet\"\ndeny_all = { from = [\"a\"], to = [\"b\"], services = [\"tcp/23\"] }\n";
    let broken = policy(&(rule("low", "tcp/1-100") + invariant))?;
    let report = broken.path().join("report.xml");
    let junit = ["--junit", report.to_str().unwrap_or_default()];
    let tested = fwctl("test", broken.path(), &junit)?;
    assert_eq!(tested.status.code(), Some(4));
    let expected = "FAILED a.toml:12 \"no telnet\": `low` (a.toml:6) allows a 1.0.0.1 > b 1.0.0.2, tcp/23 from port 49152\n0 passed, 1 failed\n";
    assert_eq!(said(&tested.stdout), expected);
    let document = std::fs::read_to_string(&report)?;
    assert!(document.contains("<testsuite name=\"invariants\" tests=\"1\" failures=\"1\">"), "{document}");
    let json = fwctl("test", broken.path(), &["-o", "json"])?;
    let answer: serde_json::Value = serde_json::from_slice(&json.stdout)?;
    let result = &answer["tests"][0];
    assert_eq!(
        (&result["kind"], &result["rule"], &result["rule_line"]),
        (&"invariant".into(), &"low".into(), &6.into())
    );
    assert_eq!((&result["packet"]["dst_port"], &result["packet"]["to"]), (&23.into(), &"b".into()));
    let holds = policy(&(rule("web", "tcp/80") + invariant))?;
    let tested = fwctl("test", holds.path(), &junit)?;
    assert_eq!((tested.status.code(), said(&tested.stdout)), (Some(0), "1 passed, 0 failed\n"));
    assert!(std::fs::read_to_string(&report)?.contains("failures=\"0\""));
    let nowhere = fwctl("test", holds.path(), &["--junit", "/nowhere/report.xml"])?;
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(said(&nowhere.stderr).contains("/nowhere/report.xml"), "{}", said(&nowhere.stderr));
    Ok(())
}
