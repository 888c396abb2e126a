//! What the guide shows of `fwctl` is what it prints: the sessions in `docs/policy.md` are run, `…` standing for anything.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

#[path = "../../fw-policy/tests/guide/blocks.rs"]
mod blocks;

use blocks::{Example, GUIDE, examples};

/// Lays the files of a policy out as the directory `policies`.
fn lay_out(example: &Example, directory: &Path) -> io::Result<()> {
    for file in &example.files {
        let path = directory.join("policies").join(&file.name);
        fs::create_dir_all(path.parent().unwrap_or(directory))?;
        fs::write(path, &file.text)?;
    }
    Ok(())
}

/// What a command prints: standard error, then standard output.
fn printed(command: &str, directory: &Path) -> io::Result<String> {
    let arguments = command.strip_prefix("fwctl ").unwrap_or_else(|| panic!("another program: {command}"));
    let mut fwctl = Command::new(env!("CARGO_BIN_EXE_fwctl"));
    let output = fwctl.args(arguments.split(' ')).current_dir(directory).env("NO_COLOR", "1").output()?;
    let text = [output.stderr, output.stdout].concat();
    Ok(String::from_utf8(text).unwrap_or_else(|error| panic!("{command}: {error}")))
}

/// Whether a text is as shown.
fn is_shown(shown: &str, text: &str) -> bool {
    let Some((start, rest)) = shown.split_once('…') else { return shown == text };
    let Some(text) = text.strip_prefix(start) else { return false };
    text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| is_shown(rest, &text[at..]))
}

#[test]
fn what_is_shown_is_printed() -> io::Result<()> {
    let mut commands = 0;
    for example in examples(GUIDE) {
        let directory = tempfile::tempdir()?;
        lay_out(&example, directory.path())?;
        for (command, shown) in &example.sessions {
            let text = printed(command, directory.path())?;
            assert!(is_shown(shown, &text), "docs/policy.md, behind line {}: {command}\n{text}", example.line);
            commands += 1;
        }
    }
    assert!(commands > 4, "{commands}");
    Ok(())
}

#[test]
fn each_policy_is_taken_from_a_directory_or_refused_as_it_says() -> io::Result<()> {
    for example in examples(GUIDE) {
        let directory = tempfile::tempdir()?;
        lay_out(&example, directory.path())?;
        let text = printed("fwctl policy check --no-analysis policies", directory.path())?;
        let expected = example.refused.as_ref().map_or_else(|| "ok: ".to_owned(), |code| format!("error[{code}]: "));
        assert!(text.lines().any(|line| line.starts_with(&expected)), "docs/policy.md:{}: {text}", example.line);
    }
    Ok(())
}

#[test]
fn an_output_that_is_not_shown_is_noticed() {
    assert!(is_shown("ok: …, digest …\n", "ok: 8 rules, digest 00ff\n"));
    for (shown, text) in [("ok\n", "ok"), ("a…c", "a-d"), ("…b", "bc"), ("", "a")] {
        assert!(!is_shown(shown, text), "{shown} is not {text}");
    }
}
