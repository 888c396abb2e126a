//! The tests that documents and comments name as guards exist.
//!
//! `ARCHITECTURE.md` names the test of each invariant, and a `VERIFIER:` comment the test that fails without its line, as
//! `lab::subject::test` or `prog_run::test`: a function below `tests/lab` or `tests/prog_run`; `lab::subject` alone is a file
//! of tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// The test programs, which are also directories below `tests`.
const PROGRAMS: [&str; 2] = ["lab", "prog_run"];

pub(super) fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let sources = workspace.files("rs")?;
    let defined = sources.iter().filter(|path| path.starts_with("tests"));
    let mut tests = BTreeSet::new();
    for path in defined {
        tests.extend(tests_in(path, &read(workspace, path)?));
    }
    let is_program = |path: &&PathBuf| path.starts_with("fw-ebpf");
    let mut complaints = Vec::new();
    for path in workspace.files("md")?.iter().chain(sources.iter().filter(is_program)) {
        for name in named(&read(workspace, path)?) {
            let (program, function) = (name.split("::").next(), name.rsplit("::").next());
            let known =
                program.zip(function).is_some_and(|(program, function)| tests.contains(&test(program, function)));
            if !known {
                complaints.push(format!("{}: there is no test {name}", path.display()));
            }
        }
    }
    Ok(complaints)
}

fn read(workspace: &Workspace, path: &Path) -> Result<String> {
    fs::read_to_string(workspace.root.join(path)).with_context(|| path.display().to_string())
}

/// The key of a test: its module within the program does not matter.
fn test(program: &str, function: &str) -> String {
    format!("{program}::{function}")
}

/// A source file below `tests/PROGRAM`, and its functions.
fn tests_in(path: &Path, source: &str) -> Vec<String> {
    let program = path.components().nth(1).map(|part| part.as_os_str().to_string_lossy().into_owned());
    let name = |line: &str| line.trim_start().strip_prefix("fn ")?.split('(').next().map(str::to_owned);
    let subject = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let Some(program) = program else { return Vec::new() };
    subject.into_iter().chain(source.lines().filter_map(name)).map(|name| test(&program, &name)).collect()
}

/// The tests that a text names between backticks. A name with a capital letter is a type's.
fn named(text: &str) -> Vec<&str> {
    let is_test = |word: &&str| {
        let path = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == ':';
        word.chars().all(path) && PROGRAMS.iter().any(|program| word.starts_with(&format!("{program}::")))
    };
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).filter(is_test).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_where_they_are_defined_and_where_they_are_named() {
        let source = "#[test]\nfn one_works() {\n    fn inner(x: u8) {}\n}\n";
        assert_eq!(
            tests_in(Path::new("tests/lab/subject.rs"), source),
            ["lab::subject", "lab::one_works", "lab::inner"]
        );
        let text = "| `lab::subject::one_works`, `prog_run::two` | `fw_common::x` lab::unquoted `lab::Lab`\n";
        assert_eq!(named(text), ["lab::subject::one_works", "prog_run::two"]);
    }
}
