//! `fwctl policy`: on files, without root and, but for `plan`, without the agent.

mod export;
mod feeds;
mod fmt;
mod import;
mod plan;
mod refusal;
mod rename;
mod rewrite;
mod schema;
mod stats;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use fw_policy::{Binding, Code, Compiled, Diagnostics, Policy, Severity, SourceFile, TestKind, TestResult};
use serde_json::{Value, json};
use time::OffsetDateTime;

use refusal::Refusal;

use super::output::{Format, print, tell};
use super::{exit, explain, junit, style};
use crate::config::AgentConfig;
use crate::files::Place;
use crate::metrics::hex;
use crate::policy_set::{self, PolicyError};

/// What to do with a policy.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Read and compile it, and say what it means as a whole: rules that never match, that are not needed, and more.
    Check(CheckArguments),
    /// Run its own tests and decide its invariants.
    Test(TestArguments),
    /// Say what becomes of one packet, and why each rule in front did not match.
    Explain(explain::Arguments),
    /// Say what would change: rules, packets that are decided otherwise, flows that would be cut.
    Plan(plan::Arguments),
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
    /// Take the lists of feeds from this directory, NAME.list each; without, feeds are empty.
    #[arg(long, value_name = "DIRECTORY")]
    feeds: Option<PathBuf>,
}

/// Which policy, and what is to be said of it.
#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    policy: Arguments,
    /// Do not compare the rules with each other.
    #[arg(long)]
    no_analysis: bool,
    /// Refuse a policy with warnings: exit code 3.
    #[arg(long, value_enum)]
    deny: Option<Denied>,
    /// Warnings that are neither refused nor shown, such as FW0115.
    #[arg(long, value_name = "CODE", value_parser = parse_warning)]
    allow: Vec<Code>,
}

/// Which policy, and where results go.
#[derive(Debug, Args)]
pub(super) struct TestArguments {
    #[command(flatten)]
    policy: Arguments,
    /// Write the results to this file as well, as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// What `--deny` refuses.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Denied {
    Warnings,
}

fn parse_warning(text: &str) -> Result<Code, String> {
    let code = Code::parse(text).ok_or("there is no such code")?;
    if code.severity() == Severity::Error { Err("an error cannot be allowed".to_owned()) } else { Ok(code) }
}

/// Where a policy and its binding are.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) directory: &'a Path,
    pub(super) config: Option<&'a Path>,
    /// Where the lists of its feeds are.
    pub(super) feeds: Option<&'a Path>,
}

impl Arguments {
    fn source(&self) -> Source<'_> {
        Source { directory: &self.directory, config: self.config.as_deref(), feeds: self.feeds.as_deref() }
    }
}

pub(super) fn run(command: &Command, socket: &Path, output: Format) -> anyhow::Result<ExitCode> {
    match command {
        Command::Check(arguments) => check(arguments, output),
        Command::Test(arguments) => test(arguments, output),
        Command::Explain(arguments) => explain::run(arguments, socket, output),
        Command::Plan(arguments) => plan::run(arguments, socket, output),
        Command::Fmt(arguments) => fmt::run(arguments, output),
        Command::Stats(arguments) => stats::run(arguments, output),
        Command::Rename(arguments) => rename::run(arguments, output),
        Command::Export(arguments) => export::run(arguments, output),
        Command::Import(arguments) => import::run(arguments, output),
        Command::Schema => schema::run(),
    }
}

fn check(arguments: &CheckArguments, output: Format) -> anyhow::Result<ExitCode> {
    let Checked { policy, binding, compiled, now } = match compile(&arguments.policy, output, "check")? {
        Ok(checked) => checked,
        Err(code) => return Ok(code),
    };
    let mut found = policy.warning_report();
    if !arguments.no_analysis {
        found = found.with(policy.analyse(&binding, now));
    }
    found.items.retain(|finding| !arguments.allow.contains(&finding.code));
    let warnings = found.items.iter().filter(|finding| finding.severity == Severity::Warning).count();
    let ok = warnings == 0 || arguments.deny.is_none();
    let exit = if ok { ExitCode::SUCCESS } else { ExitCode::from(exit::POLICY_INVALID) };
    if output == Format::Sarif {
        let log = fw_policy::sarif(&found.items, &refusal::base(&arguments.policy.directory), refusal::VERSION);
        print(&serde_json::to_string_pretty(&log)?)?;
        return Ok(exit);
    }
    let limited = compiled.rules.iter().filter(|rule| rule.limits.is_some());
    let limits: Vec<_> = limited.map(|rule| json!({"rule": rule.id, "limits": rule.limits.to_string()})).collect();
    let answer = json!({
        "schema": "fwctl.policy-check/1",
        "ok": ok,
        "rules": compiled.rules.len(),
        "limits": limits,
        "digest": hex(&compiled.digest),
        "diagnostics": found,
    });
    if !output.json(&answer, "diagnostics")? {
        show(found)?;
        for rule in compiled.rules.iter().filter(|rule| rule.limits.is_some()) {
            print(&format!("{}: {}", rule.id, rule.limits))?;
        }
        let rules = compiled.rules.len();
        let verdict = if ok { "ok" } else { "refused" };
        print(&format!("{verdict}: {rules} rules, {warnings} warnings, digest {}", hex(&compiled.digest[..6])))?;
    }
    Ok(exit)
}

/// So many findings of one code are shown to people; scripts get all of them.
const MOST_SHOWN: usize = 20;

/// Shows findings on standard error.
fn show(mut found: Diagnostics) -> std::io::Result<()> {
    let mut counts: BTreeMap<Code, usize> = BTreeMap::new();
    found.items.retain(|finding| {
        let count = counts.entry(finding.code).or_default();
        *count += 1;
        *count <= MOST_SHOWN
    });
    if !found.items.is_empty() {
        let (color, width) = (style::colors_on_stderr(), style::width_on_stderr());
        tell(&format!("{}\n", found.render_within(color, width)))?;
    }
    for (code, count) in counts.into_iter().filter(|(_, count)| *count > MOST_SHOWN) {
        tell(&format!("{code}: {} more, which `-o json` shows", count - MOST_SHOWN))?;
    }
    Ok(())
}

fn test(arguments: &TestArguments, output: Format) -> anyhow::Result<ExitCode> {
    let Checked { policy, compiled, now, .. } = match compile(&arguments.policy, output, "test")? {
        Ok(checked) => checked,
        Err(code) => return Ok(code),
    };
    let results = policy.run_tests(&compiled, now);
    if let Some(file) = &arguments.junit {
        let document = junit::document(&results).context("JUnit XML")?;
        std::fs::write(file, document).with_context(|| file.display().to_string())?;
    }
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

/// A policy that compiles, and what for.
pub(super) struct Checked {
    pub(super) policy: Policy,
    binding: Binding,
    pub(super) compiled: Compiled,
    now: OffsetDateTime,
}

/// Reads and compiles; the inner error is the exit code of a policy of which it has been said why it is refused.
fn compile(arguments: &Arguments, output: Format, command: &str) -> anyhow::Result<Result<Checked, ExitCode>> {
    compile_at(arguments.source(), OffsetDateTime::now_utc(), output, command)
}

/// The same for a point in time.
pub(super) fn compile_at(
    source: Source<'_>,
    now: OffsetDateTime,
    output: Format,
    command: &str,
) -> anyhow::Result<Result<Checked, ExitCode>> {
    match try_compile(source, now)? {
        Ok(compiled) => Ok(Ok(compiled)),
        Err(refusal) => Ok(Err(refusal.show(output, command, source.directory)?)),
    }
}

/// The files of a policy.
fn read(directory: &Path) -> anyhow::Result<Result<Arc<[SourceFile]>, Refusal>> {
    match policy_set::read(directory, &Place::default()) {
        Ok(files) => Ok(Ok(files)),
        Err(error @ (PolicyError::NotText { .. } | PolicyError::NotNames { .. })) => {
            Ok(Err(Refusal::NotText(error.to_string())))
        }
        Err(PolicyError::Invalid(diagnostics)) => Ok(Err(Refusal::Policy(diagnostics))),
        Err(error) => Err(error.into()),
    }
}

fn try_compile(source: Source<'_>, now: OffsetDateTime) -> anyhow::Result<Result<Checked, Refusal>> {
    let files = match read(source.directory)? {
        Ok(files) => files,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let config = match source.config.map(AgentConfig::load).transpose() {
        Ok(config) => config,
        Err(error) => return Ok(Err(Refusal::Config(error))),
    };
    let mut policy = match fw_policy::load(&files) {
        Ok(policy) => policy,
        Err(diagnostics) => return Ok(Err(Refusal::Policy(diagnostics))),
    };
    if let Some(directory) = source.feeds {
        policy.fill(&feeds::read(directory, policy.feeds())?);
    }
    let binding = config.map(|config| config.binding());
    Ok(compile_policy(policy, binding, now).map_err(Refusal::Policy))
}

/// Compiles a policy for the interfaces of a firewall; each zone has one of its own without.
fn compile_policy(policy: Policy, binding: Option<Binding>, now: OffsetDateTime) -> Result<Checked, Diagnostics> {
    let binding = binding.unwrap_or_else(|| Binding::offline(&policy));
    let compiled = policy.compile(&binding, now)?;
    Ok(Checked { policy, binding, compiled, now })
}

fn as_json(result: &TestResult) -> Value {
    let kind = match result.kind {
        TestKind::Test => "test",
        TestKind::Invariant => "invariant",
    };
    let (rule_file, rule_line) = result.rule_place.clone().unzip();
    json!({
        "kind": kind,
        "name": result.name,
        "file": result.file,
        "line": result.line,
        "expected": result.expected.name(),
        "got": result.got.name(),
        "rule": result.got_rule,
        "rule_file": rule_file,
        "rule_line": rule_line,
        "packet": result.packet,
        "passed": result.passed,
        "message": result.message,
    })
}

fn failure(result: &TestResult) -> String {
    format!("FAILED {}:{} \"{}\": {}", result.file, result.line, result.name, result.message)
}
