//! `fwctl policy plan` on the example policy against an edited copy, as others run it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const POLICIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies");

/// A copy of the example policy with something replaced in its rules.
fn edited(from: &str, to: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for file in fs::read_dir(POLICIES).expect("the example policy") {
        let file = file.expect("a file").path();
        let text = fs::read_to_string(&file).expect("text");
        let name = file.file_name().expect("a name");
        fs::write(directory.path().join(name), text.replace(from, to)).expect("written");
    }
    directory
}

fn plan(new: &Path, old: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fwctl"));
    command.args(["policy", "plan", "--at", "2026-07-01T00:00:00Z"]).arg(new).arg("--against").arg(old).args(options);
    command.output().expect("fwctl runs")
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

#[test]
fn the_exit_code_says_what_a_plan_comes_to() {
    let example = Path::new(POLICIES);
    let nothing = plan(example, example, &[]);
    assert_eq!(code(&nothing), 0, "{nothing:?}");
    let commented = edited("version = 1", "version = 1 # the first");
    assert_eq!(code(&plan(commented.path(), example, &[])), 0);
    let other = edited("iperf3 = [\"tcp/5201\"]", "iperf3 = [\"tcp/5201\", \"udp/5201\"]");
    assert_eq!(code(&plan(other.path(), example, &[])), 10);
    let broken = edited("[\"tcp/5201\"]", "[\"tcp/65536\"]");
    for (new, old) in [(broken.path(), example), (example, broken.path())] {
        let refused = plan(new, old, &[]);
        assert_eq!(code(&refused), 3, "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("65536"));
    }
    let failing = edited("services = [\"@modbus\"]", "services = [\"@web\"]");
    let failed = plan(failing.path(), example, &[]);
    assert_eq!(code(&failed), 4, "{failed:?}");
    assert!(String::from_utf8_lossy(&failed.stdout).contains("Tests of the new policy that fail"));
    assert_eq!(code(&plan(&example.join("nowhere"), example, &[])), 1);
    let mut without_agent = Command::new(env!("CARGO_BIN_EXE_fwctl"));
    without_agent.args(["--socket", "/nonexistent/agent.sock", "policy", "plan", POLICIES]);
    let unreachable = without_agent.output().expect("fwctl runs");
    assert_eq!(code(&unreachable), 1);
    assert!(String::from_utf8_lossy(&unreachable.stderr).contains("is fw-agent running?"));
}

#[test]
fn as_json_it_has_a_schema_and_all_parts() {
    let other = edited("iperf3 = [\"tcp/5201\"]", "iperf3 = [\"tcp/5201\", \"udp/5201\"]");
    let output = plan(other.path(), Path::new(POLICIES), &["-o", "json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&answer["schema"], &answer["changes"], &answer["ok"]),
        (&"fwctl.plan/1".into(), &true.into(), &true.into())
    );
    assert_eq!(answer["against"]["directory"], POLICIES);
    assert_eq!(
        (&answer["definitions"][0]["kind"], &answer["definitions"][0]["name"]),
        (&"service set".into(), &"iperf3".into())
    );
    let flip = &answer["flips"][0];
    assert_eq!((&flip["old"]["action"], &flip["new"]["action"]), (&"drop".into(), &"allow".into()), "{answer}");
    assert_eq!((&flip["new"]["rule"], &flip["example"]["dst_port"]), (&"iperf-onprem".into(), &5201.into()));
    assert_eq!((&answer["live"], &answer["undecided"]), (&Value::Null, &Value::Array(Vec::new())));
    assert!(answer["memory"]["before"].as_u64() > Some(0) && answer["tests"]["passed"].as_u64() > Some(0), "{answer}");
}

#[test]
fn in_lines_each_change_is_one_and_the_last_one_sums_up() {
    let other = edited("iperf3 = [\"tcp/5201\"]", "iperf3 = [\"tcp/5201\", \"udp/5201\"]");
    let output = plan(other.path(), Path::new(POLICIES), &["-o", "jsonl"]);
    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert!(lines.iter().all(|line| line["schema"] == "fwctl.plan/1"));
    let kinds: Vec<&str> = lines.iter().map(|line| line["kind"].as_str().expect("a kind")).collect();
    assert_eq!(kinds, ["definition", "flip", "summary"]);
    assert_eq!(lines[2]["changes"], true);
}

/// A rule that drops what comes from a feed, one for other sources, and a rule that allows the rest.
fn with_feed(url: &str, late: &str) -> tempfile::TempDir {
    let rule = |id: &str, source: &str, action: &str| {
        format!(
            "[[rule]]\nid = \"{id}\"\nfrom = [\"a\"]\nto = [\"b\"]\nsource = [\"{source}\"]\naction = \"{action}\"\n"
        )
    };
    let (block, rest) = (rule("block", "@blocked", "drop"), rule("rest", "0.0.0.0/0", "allow"));
    let late = if late.is_empty() { String::new() } else { rule("late", late, "drop") };
    let text = format!(
        "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n[zones.b]\n[[feed]]\nname = \"blocked\"\nurl = \"{url}\"\n\
         {block}{late}{rest}"
    );
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("a.toml"), text).expect("written");
    directory
}

#[test]
fn feeds_have_the_lists_of_a_directory_and_the_others_are_said_not_to_be_known() {
    let (old, new) = (with_feed("a.txt", ""), with_feed("b.txt", ""));
    let answer = |new: &Path, options: &[&str]| -> Value {
        let output = plan(new, old.path(), &[&["-o", "json"], options].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    };
    let without = answer(new.path(), &[]);
    let known = |answer: &Value| -> Vec<Value> {
        let feeds = answer["feeds"].as_array().unwrap_or_else(|| panic!("{answer}"));
        feeds.iter().map(|feed| serde_json::json!([feed["policy"], feed["url"], feed["entries"]])).collect()
    };
    let expected = serde_json::json!([["old", "a.txt", null], ["new", "b.txt", null]]);
    assert_eq!(Value::from(known(&without)), expected);
    assert_eq!(without["flips"], Value::Array(Vec::new()));
    let said = String::from_utf8(plan(new.path(), old.path(), &[]).stdout).expect("text");
    assert!(said.contains("not known, counted as empty\n  - `blocked`, a.txt\n  + `blocked`, b.txt\n"), "{said}");

    let lists = tempfile::tempdir().expect("a directory");
    fs::write(lists.path().join("blocked.list"), "192.0.2.1\n").expect("written");
    let lists = ["--feeds", lists.path().to_str().expect("a name")];
    let late = with_feed("a.txt", "192.0.2.0/30");
    let with = answer(late.path(), &lists);
    assert_eq!(Value::from(known(&with)), serde_json::json!([["both", "a.txt", 1]]));
    // What the list has was dropped before.
    let shown = &with["flips"][0]["classes"][0]["source"]["shown"];
    assert_eq!(*shown, serde_json::json!(["192.0.2.0", "192.0.2.2/31"]), "{with}");
}
