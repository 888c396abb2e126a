//! `fwctl policy plan`: what would change if these files took the place of the running policy, or of other files.

mod known;
mod text;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::Args;
use fw_policy::plan::{Judge, Plan};
use fw_policy::{Binding, Policy, SourceFile, TestResult, WorkLimits};
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::refusal::Refusal;
use super::{Checked, compile_policy, failure, read};
use crate::api::change::FileText;
use crate::api::client;
use crate::api::request::Request;
use crate::cli::output::{Format, print};
use crate::cli::{exit, explain, style};
use crate::config::AgentConfig;
use crate::plan::basis::Line;
use crate::plan::lists::Lists;
use crate::plan::live::{Live, Tally};
use known::{FeedList, Known};

/// What is compared with what.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The policy directory with the new files.
    directory: PathBuf,
    /// The new files are for the interfaces of this agent.toml; without, for those of the running firewall or, with `--against`, for an
    /// interface of its own for each zone.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Compare with the files in this directory, without the agent.
    #[arg(long, value_name = "DIRECTORY")]
    against: Option<PathBuf>,
    /// Do not look at the flows of the running firewall.
    #[arg(long, conflicts_with = "against")]
    no_flows: bool,
    /// Take the lists of feeds that the running firewall does not have from this directory, NAME.list each; without, these are empty.
    #[arg(long, value_name = "DIRECTORY")]
    feeds: Option<PathBuf>,
    /// The moment, RFC 3339, for rules that start or expire; now without.
    #[arg(long, value_name = "TIME", value_parser = explain::moment)]
    at: Option<OffsetDateTime>,
}

/// What is said.
#[derive(Debug, Serialize)]
struct Answer {
    /// With what the new files were compared.
    against: Against,
    #[serde(flatten)]
    plan: Plan,
    /// Of flows; none without the agent.
    live: Option<Live>,
    /// The feeds of both policies, and whether their lists are known.
    feeds: Vec<FeedList>,
    memory: Memory,
    tests: Tests,
}

impl Answer {
    fn new(against: Against, [old, new]: [&Checked; 2], feeds: Vec<FeedList>, live: Option<Live>) -> Self {
        let plan = new.policy.plan(&new.binding, (&old.policy, &old.binding), new.now, WorkLimits::default());
        let memory = Memory { before: old.compiled.memory.total(), after: new.compiled.memory.total() };
        Self { against, plan, live, feeds, memory, tests: Tests::of(&new.policy.run_tests(&new.compiled, new.now)) }
    }
}

/// What the new files are compared with.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Against {
    /// A revision that is in force.
    Revision(u64),
    /// Other files.
    Directory(PathBuf),
}

/// Kernel memory of the tables, in bytes. While a policy takes another one's place, there are both.
#[derive(Clone, Copy, Debug, Serialize)]
struct Memory {
    before: u64,
    after: u64,
}

/// The new policy's own tests and invariants.
#[derive(Debug, Serialize)]
struct Tests {
    passed: usize,
    failed: Vec<String>,
}

impl Tests {
    fn of(results: &[TestResult]) -> Self {
        let failed: Vec<String> = results.iter().filter(|result| !result.passed).map(failure).collect();
        Self { passed: results.len() - failed.len(), failed }
    }
}

/// An answer, or why there is none and of which directory.
type Outcome<'a> = Result<Answer, (Refusal, &'a Path)>;

pub(super) fn run(arguments: &Arguments, socket: &Path, output: Format) -> anyhow::Result<ExitCode> {
    let now = arguments.at.unwrap_or_else(OffsetDateTime::now_utc);
    match plan(arguments, socket, now)? {
        Ok(answer) => show(&answer, &arguments.directory, output),
        Err((refusal, directory)) => {
            if directory != arguments.directory {
                eprintln!("the files that are compared with, in {}:", directory.display());
            }
            refusal.show(output, "plan", directory)
        }
    }
}

fn plan<'a>(arguments: &'a Arguments, socket: &Path, now: OffsetDateTime) -> anyhow::Result<Outcome<'a>> {
    let directory = arguments.directory.as_path();
    let new = match load(directory)? {
        Ok(new) => new,
        Err(refusal) => return Ok(Err((refusal, directory))),
    };
    let binding = match arguments.config.as_deref().map(AgentConfig::load).transpose() {
        Ok(config) => config.map(|config| config.binding()),
        Err(error) => return Ok(Err((Refusal::Config(error), directory))),
    };
    match &arguments.against {
        Some(old_directory) => against_files(arguments, old_directory, new, binding, now),
        None => Ok(against_running(arguments, socket, new, binding, now)?.map_err(|refusal| (refusal, directory))),
    }
}

/// A policy, whose feeds have no lists yet.
fn load(directory: &Path) -> anyhow::Result<Result<Policy, Refusal>> {
    let files = read(directory)?;
    Ok(files.and_then(|files| fw_policy::load(&files).map_err(Refusal::Policy)))
}

/// Compares with the running policy, by the lists that the firewall holds. A feed that it does not have is one of `--feeds`, or empty.
fn against_running(
    arguments: &Arguments,
    socket: &Path,
    mut new: Policy,
    binding: Option<Binding>,
    now: OffsetDateTime,
) -> anyhow::Result<Result<Answer, Refusal>> {
    let request = Request::Basis { flows: !arguments.no_flows };
    let mut lines = client::lines::<Line>(socket, &request)?.peekable();
    let Some(Line::Begin(begin)) = lines.next().transpose()? else { bail!("the agent's answer has no beginning") };
    let mut lists = Lists::default();
    while let Some(line) = lines.next_if(|line| matches!(line, Ok(Line::List(_)))) {
        if let Line::List(piece) = line? {
            lists.add(piece);
        }
    }
    let not_understood = |what: &dyn std::fmt::Display| {
        anyhow!("revision {}, which is in force, is not understood: {what}", begin.revision)
    };
    let file = |file: &FileText| SourceFile { name: file.name.clone(), text: file.text.clone() };
    let files: Vec<SourceFile> = begin.texts.iter().map(file).collect();
    let mut old = fw_policy::load(&files).map_err(|diagnostics| not_understood(&diagnostics))?;
    let held = lists.contents(old.feeds()).map_err(|error| not_understood(&error))?;
    let mut known = Known::running(old.feeds(), &lists, held);
    if let Some(directory) = &arguments.feeds {
        known.read(directory, new.feeds())?;
    }
    let feeds = known.told(old.feeds(), new.feeds());
    [&mut old, &mut new].into_iter().for_each(|policy| _ = policy.fill(known.contents()));
    let old = compile_policy(old, Some(begin.binding.clone()), now);
    let old = old.map_err(|diagnostics| not_understood(&diagnostics))?;
    let new = match compile_policy(new, binding.or(Some(begin.binding)), now) {
        Ok(new) => new,
        Err(diagnostics) => return Ok(Err(Refusal::Policy(diagnostics))),
    };
    let mut tally = Tally::new(Judge::new(&old.compiled, &new.compiled));
    follow(lines, &mut tally)?;
    let live = (!arguments.no_flows).then(|| tally.finish());
    Ok(Ok(Answer::new(Against::Revision(begin.revision), [&old, &new], feeds, live)))
}

/// Compares with other files, without the agent. Feeds have the lists of `--feeds`, or are empty.
fn against_files<'a>(
    arguments: &'a Arguments,
    old_directory: &'a Path,
    mut new: Policy,
    binding: Option<Binding>,
    now: OffsetDateTime,
) -> anyhow::Result<Outcome<'a>> {
    let mut old = match load(old_directory)? {
        Ok(old) => old,
        Err(refusal) => return Ok(Err((refusal, old_directory))),
    };
    let mut known = Known::default();
    if let Some(directory) = &arguments.feeds {
        known.read(directory, old.feeds())?;
        known.read(directory, new.feeds())?;
    }
    let feeds = known.told(old.feeds(), new.feeds());
    [&mut old, &mut new].into_iter().for_each(|policy| _ = policy.fill(known.contents()));
    let old = match compile_policy(old, binding.clone(), now) {
        Ok(old) => old,
        Err(diagnostics) => return Ok(Err((Refusal::Policy(diagnostics), old_directory))),
    };
    let new = match compile_policy(new, binding, now) {
        Ok(new) => new,
        Err(diagnostics) => return Ok(Err((Refusal::Policy(diagnostics), &arguments.directory))),
    };
    Ok(Ok(Answer::new(Against::Directory(old_directory.to_owned()), [&old, &new], feeds, None)))
}

/// Hands the agent's lines on to be counted, and makes sure that none is missing.
fn follow(lines: impl Iterator<Item = Result<Line, client::ClientError>>, tally: &mut Tally<'_>) -> anyhow::Result<()> {
    let mut counts = (0, 0);
    for line in lines {
        match line? {
            Line::Begin(_) => bail!("the agent's answer begins twice"),
            Line::List(_) => bail!("the agent's answer has a list behind its flows"),
            Line::Flow(flow) => {
                counts.0 += 1;
                tally.flow(flow);
            }
            Line::Denied(denied) => {
                counts.1 += 1;
                tally.denied(denied);
            }
            Line::End { flows, denied } if (flows, denied) == counts => return Ok(()),
            Line::End { flows, denied } => bail!("of {flows} flows and {denied} denied ones came {counts:?}"),
        }
    }
    bail!("the agent's answer broke off behind {} flows", counts.0)
}

fn show(answer: &Answer, directory: &Path, output: Format) -> anyhow::Result<ExitCode> {
    let exit = match () {
        () if !answer.tests.failed.is_empty() => exit::TESTS_FAILED,
        () if answer.plan.is_empty() => 0,
        () => exit::CHANGES,
    };
    match output {
        Format::Table => {
            text::lines(answer, directory, style::colors_on_stdout()).iter().try_for_each(|line| print(line))?
        }
        Format::Jsonl => elements(answer)?.iter().try_for_each(|element| print(&element.to_string()))?,
        Format::Json | Format::Sarif => {
            let mut whole = serde_json::to_value(answer)?;
            whole["schema"] = json!(SCHEMA);
            whole["ok"] = json!(answer.tests.failed.is_empty());
            whole["changes"] = json!(!answer.plan.is_empty());
            output.json(&whole, "")?;
        }
    }
    Ok(ExitCode::from(exit))
}

const SCHEMA: &str = "fwctl.plan/1";

/// What changes, one by one: each says of what kind it is.
fn elements(answer: &Answer) -> anyhow::Result<Vec<Value>> {
    let whole = serde_json::to_value(answer)?;
    let mut elements = Vec::new();
    let lists = [
        ("rule", whole.get("rules")),
        ("definition", whole.get("definitions")),
        ("flip", whole.get("flips")),
        ("undecided", whole.get("undecided")),
        ("dated", whole.get("dated")),
        ("cut", whole.pointer("/live/cut")),
        ("passing", whole.pointer("/live/passing")),
    ];
    for (kind, list) in lists {
        let list = list.and_then(Value::as_array).into_iter().flatten();
        elements.extend(list.map(|element| json!({"schema": SCHEMA, "kind": kind, kind: element})));
    }
    let summary = json!({
        "schema": SCHEMA,
        "kind": "summary",
        "changes": !answer.plan.is_empty(),
        "against": answer.against,
        "feeds": answer.feeds,
        "memory": answer.memory,
        "tests": answer.tests,
        "handovers": answer.plan.handovers,
        "flows": answer.live.as_ref().map(|live| live.flows),
        "unsure": answer.live.as_ref().map(|live| live.unsure),
        "denied": answer.live.as_ref().map(|live| live.denied),
    });
    elements.push(summary);
    Ok(elements)
}
