//! `fwctl policy` and `fwctl explain-code`, as others run them: on files, without an agent.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const POLICY: &str = "version = 1\n\n[defaults]\naction = \"drop\"\n\n[zones.a]\n\n[[rule]]\nid = \"r\"\nfrom = [\"a\"]\n\
                      to = [\"a\"]\nservices = [\"tcp/80\"]\naction = \"allow\"\n";

fn directory(files: &[(&str, &str)]) -> io::Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    files.iter().try_for_each(|(name, text)| fs::write(dir.path().join(name), text))?;
    Ok(dir)
}

/// Runs `fwctl` in a directory.
fn fwctl(dir: &Path, arguments: &[&str]) -> io::Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_fwctl")).args(arguments).current_dir(dir).output()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn fmt_names_what_it_would_change_and_then_changes_it_once() -> io::Result<()> {
    let dir = directory(&[("a.toml", POLICY), ("b.toml", "version=1\n# kept\n[addresses]\nx=['10.0.0.1']\n")])?;
    let checked = fwctl(dir.path(), &["policy", "fmt", "--check", "."])?;
    assert_eq!((checked.status.code(), stdout(&checked).as_str()), (Some(1), "./b.toml: not in canonical form\n"));
    let written = fwctl(dir.path(), &["policy", "fmt", ".", "-o", "json"])?;
    assert_eq!((written.status.code(), &json(&written)["files"][0]["file"]), (Some(0), &Value::from("b.toml")));
    assert_eq!(
        fs::read_to_string(dir.path().join("b.toml"))?,
        "version = 1\n\n# kept\n[addresses]\nx = [\"10.0.0.1\"]\n"
    );
    assert_eq!(fs::read_to_string(dir.path().join("a.toml"))?, POLICY);
    let again = fwctl(dir.path(), &["policy", "fmt", "--check", "."])?;
    assert_eq!((again.status.code(), stdout(&again).as_str()), (Some(0), ""));
    Ok(())
}

#[test]
fn fmt_writes_nothing_if_a_file_is_not_toml() -> io::Result<()> {
    let dir = directory(&[("a.toml", "version=1\n"), ("b.toml", "version = [\n")])?;
    let refused = fwctl(dir.path(), &["policy", "fmt", "."])?;
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--> b.toml:1:11"), "{refused:?}");
    assert_eq!(fs::read_to_string(dir.path().join("a.toml"))?, "version=1\n");
    Ok(())
}

#[test]
fn each_command_reads_and_writes_what_is_included() -> io::Result<()> {
    let dir = directory(&[("a.toml", &format!("include = [\"sites/bonn\"]\n{POLICY}"))])?;
    fs::create_dir_all(dir.path().join("sites/bonn"))?;
    let file = dir.path().join("sites/bonn/b.toml");
    let rule = "[[rule]]\nid = \"s\"\nfrom = [\"a\"]\nto = [\"a\"]\nsource=[\"@x\"]\naction = \"drop\"\n";
    fs::write(&file, format!("version = 1\n[addresses]\nx = [\"10.0.0.1\"]\n{rule}"))?;
    let run = |arguments: &[&str]| -> io::Result<Output> {
        let output = fwctl(dir.path(), &[&["policy"], arguments].concat())?;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        Ok(output)
    };
    assert!(stdout(&run(&["fmt", "."])?).contains("./sites/bonn/b.toml: formatted"));
    assert_eq!(stdout(&run(&["rename", "set", "x", "hosts", "."])?), "./sites/bonn/b.toml: `x` is `hosts` now\n");
    let text = fs::read_to_string(&file)?;
    assert!(text.contains("hosts = [\"10.0.0.1\"]") && text.contains("source = [\"@hosts\"]"), "{text}");
    assert_eq!(json(&run(&["stats", ".", "-o", "json"])?)["rules"]["total"], 2);
    let rows = json(&run(&["export", "csv", ".", "-o", "json"])?);
    assert_eq!((&rows["rules"][0]["id"], &rows["rules"][1]["file"]), (&"r".into(), &"sites/bonn/b.toml".into()));
    let packet = ["--from", "a", "--to", "a", "--src", "10.0.0.1", "--dst", "10.0.0.2", "--service", "tcp/81"];
    let explained = stdout(&run(&[&["explain", "."], packet.as_slice()].concat())?);
    assert!(explained.contains("by `s`, sites/bonn/b.toml:6"), "{explained}");
    run(&["test", "."])?;
    let found = json(&run(&["check", ".", "-o", "json"])?);
    assert_eq!(found["ok"], true);
    fs::remove_file(&file)?;
    let refused = fwctl(dir.path(), &["policy", "check", ".", "-o", "json"])?;
    let answer = json(&refused);
    assert_eq!((refused.status.code(), &answer["diagnostics"][0]["code"]), (Some(3), &"FW0024".into()));
    assert_eq!(answer["diagnostics"][0]["text"], "\"sites/bonn\"");
    Ok(())
}

#[test]
fn a_finding_has_all_its_places_in_json_and_in_sarif() -> io::Result<()> {
    let dir = directory(&[])?;
    fs::create_dir(dir.path().join("policies"))?;
    fs::write(dir.path().join("policies/a.toml"), POLICY.replace("services", "sercives"))?;
    let refused = fwctl(dir.path(), &["policy", "check", "policies", "-o", "json"])?;
    assert_eq!(refused.status.code(), Some(3));
    let finding = &json(&refused)["diagnostics"][0];
    let fields = [
        "code",
        "severity",
        "message",
        "file",
        "line",
        "column",
        "end_line",
        "end_column",
        "byte_start",
        "byte_end",
        "help",
    ];
    let missing: Vec<&&str> = fields.iter().filter(|field| finding[**field].is_null()).collect();
    assert!(missing.is_empty(), "{missing:?} in {finding}");
    assert_eq!((&finding["code"], &finding["fix"]["replacement"]), (&"FW0003".into(), &"services".into()));
    let log = json(&fwctl(dir.path(), &["policy", "check", "policies", "-o", "sarif"])?);
    let result = &log["runs"][0]["results"][0];
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!((&result["ruleId"], &place["artifactLocation"]["uri"]), (&"FW0003".into(), &"policies/a.toml".into()));
    assert_eq!((&place["region"]["startLine"], &place["region"]["endColumn"]), (&12.into(), &9.into()));
    Ok(())
}

#[test]
fn sarif_is_for_policy_check_only() -> io::Result<()> {
    let dir = directory(&[("a.toml", POLICY)])?;
    assert_eq!(fwctl(dir.path(), &["policy", "test", ".", "-o", "sarif"])?.status.code(), Some(2));
    let fine = fwctl(dir.path(), &["policy", "check", ".", "--allow", "FW0200", "-o", "sarif"])?;
    assert_eq!((fine.status.code(), json(&fine)["runs"][0]["results"].as_array().map(Vec::len)), (Some(0), Some(0)));
    Ok(())
}

#[test]
fn a_code_is_explained_and_one_that_is_none_is_refused() -> io::Result<()> {
    let dir = directory(&[])?;
    let explained = fwctl(dir.path(), &["explain-code", "fw0013"])?;
    assert!(stdout(&explained).starts_with("FW0013: "), "{explained:?}");
    let explained = json(&fwctl(dir.path(), &["explain-code", "FW0013", "-o", "json"])?);
    assert_eq!(
        (&explained["schema"], &explained["examples"][1]["verdict"]),
        (&"fwctl.explain-code/1".into(), &"right".into())
    );
    assert_eq!(fwctl(dir.path(), &["explain-code", "FW9999"])?.status.code(), Some(2));
    assert!(stdout(&fwctl(dir.path(), &["explain-code"])?).lines().count() > 30);
    Ok(())
}

#[test]
fn a_zone_is_renamed_in_its_files_only_if_the_name_is_known_and_the_new_one_free() -> io::Result<()> {
    let dir =
        directory(&[("a.toml", POLICY), ("b.toml", "version = 1\n[zones.b]\nnetworks = [\"10.0.0.0/8\"] # b\n")])?;
    let rename = |old: &str, new: &str| fwctl(dir.path(), &["policy", "rename", "zone", old, new, "."]);
    let unknown = rename("c", "d")?;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no zone `c`"), "{unknown:?}");
    assert_eq!(rename("a", "b")?.status.code(), Some(1));
    let renamed = rename("a", "plant")?;
    assert_eq!((renamed.status.code(), stdout(&renamed).as_str()), (Some(0), "./a.toml: `a` is `plant` now\n"));
    assert_eq!(
        fs::read_to_string(dir.path().join("a.toml"))?,
        POLICY.replace("zones.a", "zones.plant").replace("\"a\"", "\"plant\"")
    );
    Ok(())
}

#[test]
fn what_a_policy_is_made_of_is_counted_and_exported() -> io::Result<()> {
    let dir = directory(&[("a.toml", POLICY)])?;
    let stats = json(&fwctl(dir.path(), &["policy", "stats", ".", "-o", "json"])?);
    assert_eq!((&stats["schema"], &stats["rules"]["allow"]), (&"fwctl.policy-stats/1".into(), &1.into()));
    assert_eq!(stats["services"][0], serde_json::json!({"from": "a", "to": "a", "rules": 1, "services": ["tcp/80"]}));
    assert!(stats["memory_total"].as_u64().is_some_and(|bytes| bytes > 4096), "{stats}");
    assert!(stdout(&fwctl(dir.path(), &["policy", "stats", "."])?).starts_with("1 rules: 1 allow"));
    let exported = stdout(&fwctl(dir.path(), &["policy", "export", "csv", "."])?);
    let rows: Vec<&str> = exported.lines().collect();
    assert_eq!((rows.len(), rows[1].split(',').nth(7)), (3, Some("tcp/80")), "{exported}");
    assert!(stdout(&fwctl(dir.path(), &["policy", "export", "markdown", "."])?).contains("| r |  | a | a | any |"));
    Ok(())
}

#[test]
fn rules_of_another_firewall_become_a_policy_with_a_report() -> io::Result<()> {
    let rules = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i eth0 -o eth1 -p tcp -m tcp --dport 80 -j ACCEPT\n\
                 -A FORWARD -m mac --mac-source 00:11:22:33:44:55 -j ACCEPT\nCOMMIT\n";
    let dir = directory(&[("rules.txt", rules)])?;
    let imported = fwctl(dir.path(), &["policy", "import", "iptables-save", "rules.txt"])?;
    assert_eq!(imported.status.code(), Some(0), "{imported:?}");
    let report = String::from_utf8_lossy(&imported.stderr).into_owned();
    assert!(
        report.contains("left out: line 4: -A FORWARD -m mac")
            && report.ends_with("1 rules; 1 left out, 0 stricter, 0 implied, 0 assumed\n"),
        "{report}"
    );
    fs::create_dir(dir.path().join("policies"))?;
    fs::write(dir.path().join("policies/a.toml"), &imported.stdout)?;
    assert_eq!(fwctl(dir.path(), &["policy", "check", "policies"])?.status.code(), Some(0));
    assert_eq!(fwctl(dir.path(), &["policy", "fmt", "--check", "policies"])?.status.code(), Some(0));
    let to_file = fwctl(dir.path(), &["policy", "import", "iptables-save", "rules.txt", "--report", "report.json"])?;
    assert!(to_file.stderr.is_empty(), "{to_file:?}");
    let report: Value = serde_json::from_str(&fs::read_to_string(dir.path().join("report.json"))?)?;
    assert_eq!((&report["rules"], &report["notes"][0]["outcome"]), (&1.into(), &"left-out".into()), "{report}");
    let refused = fwctl(dir.path(), &["policy", "import", "nft", "rules.txt"])?;
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("nft -j list ruleset"), "{refused:?}");
    Ok(())
}
