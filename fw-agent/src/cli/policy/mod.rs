//! `fwctl policy check` and `fwctl policy test`: on files, without the agent and without root.

mod export;
mod fmt;
mod import;
mod refusal;
mod rename;
mod rewrite;
mod schema;
mod stats;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use fw_policy::{Binding, Compiled, Policy, SourceFile, TestResult};
use serde_json::{Value, json};
use time::OffsetDateTime;

use refusal::Refusal;

use super::output::{Format, print};
use super::{exit, style};
use crate::config::AgentConfig;
use crate::metrics::hex;
use crate::policy_set::{self, PolicyError};

/// What to do with a policy.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Read and compile it.
    Check(Arguments),
    /// Run its own tests.
    Test(Arguments),
    /// Put the files into canonical form, or say which ones are not.
    Fmt(fmt::Arguments),
    /// How large it is, who answers for it, and what of it ends soon.
    Stats(Arguments),
    /// Give a set, a zone or a rule another name, in all files.
    Rename(rename::Arguments),
    /// Every rule with its sets worked out, for auditors.
    Export(export::ExportArguments),
    /// Rules of another firewall as a policy, with a report of what could not be carried over.
    Import(import::ImportArguments),
    /// The language as a JSON Schema, which editors complete and check by.
    Schema,
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
        Command::Fmt(arguments) => fmt::run(arguments, output),
        Command::Stats(arguments) => stats::run(arguments, output),
        Command::Rename(arguments) => rename::run(arguments, output),
        Command::Export(arguments) => export::run(arguments, output),
        Command::Import(arguments) => import::run(arguments, output),
        Command::Schema => schema::run(),
    }
}

fn check(arguments: &Arguments, output: Format) -> anyhow::Result<ExitCode> {
    let (policy, compiled) = match compile(arguments, output, "check")? {
        Ok(compiled) => compiled,
        Err(code) => return Ok(code),
    };
    if output == Format::Sarif {
        let log = fw_policy::sarif(policy.warnings(), &refusal::base(&arguments.directory), refusal::VERSION);
        print(&serde_json::to_string_pretty(&log)?)?;
        return Ok(ExitCode::SUCCESS);
    }
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
            let (color, width) = (style::colors_on_stderr(), style::width_on_stderr());
            eprintln!("{}\n", policy.warning_report().render_within(color, width));
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

/// Reads and compiles; the inner error is the exit code of a policy of which it has been said why it is refused.
fn compile(
    arguments: &Arguments,
    output: Format,
    command: &str,
) -> anyhow::Result<Result<(Policy, Compiled), ExitCode>> {
    match try_compile(arguments)? {
        Ok(compiled) => Ok(Ok(compiled)),
        Err(refusal) => {
            refusal.show(output, command, &arguments.directory)?;
            Ok(Err(ExitCode::from(exit::POLICY_INVALID)))
        }
    }
}

/// The files of a policy.
fn read(directory: &Path) -> anyhow::Result<Result<Arc<[SourceFile]>, Refusal>> {
    match policy_set::read(directory) {
        Ok(files) => Ok(Ok(files)),
        Err(error @ PolicyError::NotText { .. }) => Ok(Err(Refusal::NotText(error.to_string()))),
        Err(error) => Err(error.into()),
    }
}

fn try_compile(arguments: &Arguments) -> anyhow::Result<Result<(Policy, Compiled), Refusal>> {
    let files = match read(&arguments.directory)? {
        Ok(files) => files,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let config = match arguments.config.as_deref().map(AgentConfig::load).transpose() {
        Ok(config) => config,
        Err(error) => return Ok(Err(Refusal::Config(error))),
    };
    let compiled = fw_policy::load(&files).and_then(|policy| {
        let binding = config.map_or_else(|| Binding::offline(&policy), |config| config.binding());
        let compiled = policy.compile(&binding, OffsetDateTime::now_utc())?;
        Ok((policy, compiled))
    });
    Ok(compiled.map_err(Refusal::Policy))
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
