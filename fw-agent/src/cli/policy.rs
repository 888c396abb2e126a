//! `fwctl policy check` and `fwctl policy test`: on files, without the agent and without root.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use fw_policy::{Binding, Compiled, Diagnostics, Policy, TestResult};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::output::{Format, print};
use super::{exit, style};
use crate::config::AgentConfig;
use crate::files::Place;
use crate::metrics::hex;
use crate::policy_set::{self, PolicyError};

/// What to do with a policy.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Read and compile it.
    Check(Arguments),
    /// Run its own tests.
    Test(Arguments),
}

/// Which policy.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The policy directory.
    directory: PathBuf,
    /// Compile for the interfaces of this agent.toml; each zone has an interface of its own without.
    #[arg(long)]
    config: Option<PathBuf>,
}

pub(super) fn run(command: &Command, output: Format) -> anyhow::Result<ExitCode> {
    match command {
        Command::Check(arguments) => check(arguments, output),
        Command::Test(arguments) => test(arguments, output),
    }
}

fn check(arguments: &Arguments, output: Format) -> anyhow::Result<ExitCode> {
    let (policy, compiled) = match compile(arguments, output, "check")? {
        Ok(compiled) => compiled,
        Err(code) => return Ok(code),
    };
    let limited = compiled.rules.iter().filter(|rule| rule.limits.is_some());
    let limits: Vec<_> = limited.map(|rule| json!({"rule": rule.id, "limits": rule.limits.to_string()})).collect();
    let answer = json!({
        "schema": "fwctl.policy-check/1",
        "ok": true,
        "rules": compiled.rules.len(),
        "limits": limits,
        "digest": hex(&compiled.digest),
        "diagnostics": policy.warnings(),
    });
    if !output.json(&answer, "diagnostics")? {
        if !policy.warnings().is_empty() {
            eprintln!("{}\n", policy.warning_report().render(style::colors_on_stderr()));
        }
        for rule in compiled.rules.iter().filter(|rule| rule.limits.is_some()) {
            print(&format!("{}: {}", rule.id, rule.limits))?;
        }
        let rules = compiled.rules.len();
        print(&format!(
            "ok: {rules} rules, {} warnings, digest {}",
            policy.warnings().len(),
            hex(&compiled.digest[..6])
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn test(arguments: &Arguments, output: Format) -> anyhow::Result<ExitCode> {
    let (policy, compiled) = match compile(arguments, output, "test")? {
        Ok(compiled) => compiled,
        Err(code) => return Ok(code),
    };
    let results = policy.run_tests(&compiled, OffsetDateTime::now_utc());
    let failed = results.iter().filter(|result| !result.passed).count();
    let answer = json!({
        "schema": "fwctl.policy-test/1",
        "ok": failed == 0,
        "passed": results.len() - failed,
        "failed": failed,
        "tests": results.iter().map(as_json).collect::<Vec<_>>(),
    });
    if !output.json(&answer, "tests")? {
        results.iter().filter(|result| !result.passed).try_for_each(|result| print(&failure(result)))?;
        print(&format!("{} passed, {failed} failed", results.len() - failed))?;
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::TESTS_FAILED) })
}

/// Reads and compiles; the inner error is the exit code of a policy whose diagnostics have been shown.
fn compile(
    arguments: &Arguments,
    output: Format,
    command: &str,
) -> anyhow::Result<Result<(Policy, Compiled), ExitCode>> {
    let files = match policy_set::read(&arguments.directory, &Place::default()) {
        Ok(files) => files,
        Err(error @ PolicyError::NotText { .. }) => {
            let problem = error.to_string();
            let (listed, text) = (json!({"problem": problem}), format!("error: {problem}"));
            return refused(&listed, &text, (output, command), exit::POLICY_INVALID);
        }
        Err(error) => return Err(error.into()),
    };
    let config = match arguments.config.as_deref().map(AgentConfig::load).transpose() {
        Ok(config) => config,
        Err(error) => {
            let diagnostics = serde_json::to_value(&error).context("diagnostics")?;
            let (listed, text) = (json!({"config": diagnostics}), error.render(style::colors_on_stderr()));
            return refused(&listed, &text, (output, command), error.exit_code());
        }
    };
    let compiled = fw_policy::load(&files).and_then(|policy| {
        let binding = config.map_or_else(|| Binding::offline(&policy), |config| config.binding());
        let compiled = policy.compile(&binding, OffsetDateTime::now_utc())?;
        Ok((policy, compiled))
    });
    match compiled {
        Ok(compiled) => Ok(Ok(compiled)),
        Err(diagnostics) => invalid(&diagnostics, output, command),
    }
}

fn invalid<T>(diagnostics: &Diagnostics, output: Format, command: &str) -> anyhow::Result<Result<T, ExitCode>> {
    let listed = json!({"diagnostics": serde_json::to_value(diagnostics).context("diagnostics")?});
    refused(&listed, &diagnostics.render(style::colors_on_stderr()), (output, command), exit::POLICY_INVALID)
}

/// Shows why: as JSON on standard output if that is asked for, else for people on standard error.
fn refused<T>(
    listed: &Value,
    text: &str,
    (output, command): (Format, &str),
    code: u8,
) -> anyhow::Result<Result<T, ExitCode>> {
    let mut answer = json!({"schema": format!("fwctl.policy-{command}/1"), "ok": false});
    if let (Some(answer), Some(listed)) = (answer.as_object_mut(), listed.as_object()) {
        answer.extend(listed.clone());
    }
    if !output.json(&answer, "diagnostics")? {
        eprintln!("{text}");
    }
    Ok(Err(ExitCode::from(code)))
}

fn as_json(result: &TestResult) -> Value {
    json!({
        "name": result.name,
        "file": result.file,
        "line": result.line,
        "expected": result.expected.name(),
        "got": result.got.name(),
        "rule": result.got_rule,
        "passed": result.passed,
        "message": result.message,
    })
}

fn failure(result: &TestResult) -> String {
    format!("FAILED {}:{} \"{}\": {}", result.file, result.line, result.name, result.message)
}
