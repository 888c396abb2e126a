//! `docs/a-day.md`, run line by line: the commands of its console blocks print what stands below them, its diffs can be
//! applied to the example policy, and traffic does what the text says of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fw_testkit::lab::{AgentConfig, Node, OT};
use fw_testkit::process;
use fw_testkit::traffic::NumberedStream;
use fw_testkit::wait;

use crate::firewall::{Firewall, both};

const DOCUMENT: &str = include_str!("../../docs/a-day.md");
const INTERVAL: Duration = Duration::from_millis(20);
/// Much longer than the trial of the document lasts.
const PATIENCE: Duration = Duration::from_secs(40);

/// A part of the document that the test acts on.
enum Step<'d> {
    /// A comment for the test.
    Event(&'d str),
    /// A command, and the lines that it prints.
    Command(&'d str, Vec<&'d str>),
    /// A file, and the lines of a diff of it.
    Edit(&'d str, Vec<&'d str>),
}

fn steps() -> Vec<Step<'static>> {
    let mut steps = Vec::new();
    let mut lines = DOCUMENT.lines();
    while let Some(line) = lines.next() {
        if let Some(event) = line.strip_prefix("<!-- test: ") {
            steps.push(Step::Event(event.strip_suffix(" -->").unwrap()));
        } else if let Some(info) = line.strip_prefix("```") {
            let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            match info.split_once(' ') {
                None if info == "console" => commands(&block, &mut steps),
                Some(("diff", file)) => steps.push(Step::Edit(file, block)),
                _ => panic!("a block of an unknown kind: {info}"),
            }
        }
    }
    steps
}

fn commands(block: &[&'static str], steps: &mut Vec<Step<'static>>) {
    for line in block {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step::Command(command, Vec::new())),
            (None, Some(Step::Command(_, printed))) => printed.push(line),
            (None, _) => panic!("a block that begins without a command: {line}"),
        }
    }
}

/// Replaces what a diff has without and with `-` by what it has without and with `+`.
fn edit(file: &Path, diff: &[&str]) {
    let side = |other: char| -> String {
        diff.iter()
            .filter(|line| !line.starts_with(other))
            .map(|line| format!("{}\n", line.get(1..).unwrap_or("")))
            .collect()
    };
    let (old, new) = (side('+'), side('-'));
    let text = fs::read_to_string(file).unwrap();
    assert_eq!(text.matches(&old).count(), 1, "{} has this once:\n{old}", file.display());
    fs::write(file, text.replacen(&old, &new, 1)).unwrap();
}

/// Whether a line is as the document has it, where `…` stands for anything.
fn is_as_written(line: &str, written: &str) -> bool {
    let mut parts = written.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let mut ends_open = false;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        ends_open = part.is_empty();
    }
    ends_open || rest.trim_end().is_empty()
}

/// Whether lines are as the document has them, where a line of `…` stands for any number of lines.
fn are_as_written(lines: &[&str], written: &[&str]) -> bool {
    match (lines, written) {
        ([], []) => true,
        (_, ["…", rest @ ..]) => (0..=lines.len()).any(|left_out| are_as_written(&lines[left_out..], rest)),
        ([line, lines @ ..], [first, rest @ ..]) => is_as_written(line, first) && are_as_written(lines, rest),
        ([], [_, ..]) | ([_, ..], []) => false,
    }
}

#[test]
fn a_line_is_as_written() {
    assert!(is_as_written("revision 2 until 10:00", "revision 2 until …"));
    assert!(is_as_written("took 3 ms  ", "took … ms"));
    assert!(!is_as_written("took 3 ms, and more", "took … ms"));
    assert!(!is_as_written("revision 3", "revision 2"));
    assert!(is_as_written("anything", "…"));
    assert!(are_as_written(&["a", "b", "c", "d"], &["a", "…", "d"]) && are_as_written(&["a"], &["a", "…"]));
    assert!(!are_as_written(&["a", "b"], &["a"]) && !are_as_written(&["a"], &["a", "b"]));
}

/// The firewall with the example policy, taking changes by `fwctl apply` only.
fn with_example_policy() -> Option<Firewall> {
    let mut firewall = Firewall::before_the_agent("max_flows = 65_536")?;
    let policies = firewall.lab.directory().join("policies");
    for entry in fs::read_dir(&policies).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let example = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../policies");
    for entry in fs::read_dir(example).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), policies.join(entry.file_name())).unwrap();
    }
    firewall.agent.configure(&AgentConfig::new(policies)).unwrap();
    let text = fs::read_to_string(firewall.agent.configuration()).unwrap();
    let text = text.replace("source = \"directory\"", "source = \"directory\"\nwatch = false");
    firewall.agent.write_configuration(&text).unwrap();
    firewall.agent.start().unwrap();
    Some(firewall)
}

/// What was run, and how the document says it was.
#[derive(Default)]
struct Transcript {
    actual: String,
    differs: bool,
}

impl Transcript {
    fn note(&mut self, command: &str, printed: &str, written: &[&str]) {
        let lines: Vec<&str> = printed.lines().map(str::trim_end).collect();
        let same = are_as_written(&lines, written);
        let mark = if same { "" } else { "  <-- the document has something else" };
        self.actual += &format!("$ {command}{mark}\n{}\n", lines.join("\n"));
        self.differs |= !same;
    }
}

#[test]
fn the_day_in_the_life_of_a_rule_goes_as_it_is_written() {
    let Some(firewall) = with_example_policy() else { return };
    let directory = firewall.lab.directory();
    let mut streams = Vec::new();
    let mut transcript = Transcript::default();
    let mut exit_code = 0;
    let mut seen = 0;
    for step in steps() {
        match step {
            Step::Event("streams run") => {
                for _ in 0..3 {
                    let stream = NumberedStream::start(firewall.lab.ns(Node::It), both(OT, 5000)[0], INTERVAL);
                    streams.push(stream.unwrap());
                }
                wait_for_answers(&streams);
            }
            Step::Event("streams are cut") => {
                for stream in &streams {
                    let answered = stream.answered();
                    let sent = stream.sent();
                    wait::until_true("datagrams are sent", PATIENCE, || stream.sent() >= sent + 20).unwrap();
                    assert!(stream.answered() <= answered + 1, "the stream goes on");
                }
            }
            Step::Event("streams are answered again") => wait_for_answers(&streams),
            Step::Event(event) => panic!("an unknown event: {event}"),
            Step::Edit(file, diff) => edit(&directory.join(file), &diff),
            Step::Command("echo $?", written) => transcript.note("echo $?", &format!("{exit_code}"), &written),
            Step::Command(command, written) => {
                let arguments: Vec<&str> = command.strip_prefix("fwctl ").unwrap().split(' ').collect();
                let mut fwctl =
                    firewall.lab.command(Node::Fw, &[firewall.agent.fwctl_path().to_str().unwrap()]).unwrap();
                fwctl.current_dir(&directory).arg("--socket").arg(firewall.agent.socket()).args(&arguments);
                let finished = process::run(&mut fwctl).unwrap();
                exit_code = finished.status.code().unwrap();
                transcript.note(command, &(finished.stdout + &finished.stderr), &written);
                seen += 1;
            }
        }
    }
    assert!(seen >= 10, "the document has become short");
    assert!(!transcript.differs, "the document should have:\n{}", transcript.actual);
}

/// Waits until each stream has more answers than it had.
fn wait_for_answers(streams: &[NumberedStream]) {
    for stream in streams {
        let answered = stream.answered();
        wait::until_true("the stream is answered", PATIENCE, || stream.answered() > answered + 5).unwrap();
    }
}
