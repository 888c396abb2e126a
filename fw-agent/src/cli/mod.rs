//! `fwctl`: one file a command. What is asked for goes to standard output, what went wrong to standard error.

mod apply;
mod capture;
mod drops;
mod explain;
mod explain_code;
mod flows;
mod history;
mod junit;
mod manual;
mod observe;
mod output;
mod policy;
mod reload;
mod rule_hits;
mod rules;
mod status;
pub mod style;
mod zones;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::api::client::{self, ClientError};
use crate::api::request::Request;

use output::Format;

/// Exit codes, as scripts know them.
mod exit {
    pub(super) const USAGE: u8 = 2;
    pub(super) const POLICY_INVALID: u8 = 3;
    pub(super) const TESTS_FAILED: u8 = 4;
    pub(super) const NOT_CONFIRMED: u8 = 5;
    /// Of `policy plan` alone.
    pub(super) const CHANGES: u8 = 10;
}

/// Stateful zone firewall: look at it, and check its policy.
#[derive(Debug, Parser)]
#[command(name = "fwctl", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

/// What every command understands.
#[derive(Debug, Args)]
struct Common {
    /// How the answer looks.
    #[arg(short, long, value_enum, default_value_t = Format::Table, global = true)]
    output: Format,
    /// The agent's socket.
    #[arg(long, default_value = "/run/outpost-fw/agent.sock", global = true)]
    socket: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// How the firewall is.
    Status,
    /// Live flows: list them (also without a command), show the largest, or end some.
    Flows(flows::Arguments),
    /// What happens to flows, as it happens: opened, ended, denied.
    Observe(observe::Arguments),
    /// Packets with what was decided about them, as a pcapng file.
    Capture(capture::Arguments),
    /// Dropped packets by reason.
    Drops(drops::Arguments),
    /// The rules and what they did.
    Rules(rules::Arguments),
    /// The zones and the interfaces that they lie behind.
    Zones,
    /// Make the agent take over changed files.
    Reload,
    /// Apply the policy directory, on trial until it is confirmed if that is asked for.
    Apply(apply::Apply),
    /// Keep the policy that waits for confirmation.
    Confirm(apply::Confirm),
    /// Go back to an earlier policy.
    Rollback(apply::Rollback),
    /// The policies that were applied.
    History,
    /// The files of a policy that was applied.
    Show(history::Show),
    /// Check, explain and compare policy files.
    #[command(subcommand)]
    Policy(policy::Command),
    /// What a code of a message means, with a wrong and a right example.
    ExplainCode(explain_code::Arguments),
    /// A script that completes command lines, for a shell.
    Completions(manual::CompletionsArguments),
    /// Pages of the manual, for fwctl and fw-agent.
    Man(manual::ManArguments),
}

/// Reads the arguments, does what they say, and returns the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(code) => code,
        Err(error) => {
            // The exit code says it where there is no room for words.
            let _not_said = output::tell(&format!("error: {error:#}"));
            match error.downcast_ref() {
                Some(ClientError::Usage(_)) => ExitCode::from(exit::USAGE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    let Common { output, socket } = &cli.common;
    if *output == Format::Sarif && !matches!(&cli.command, Command::Policy(policy::Command::Check(_))) {
        let message = "`-o sarif` is a form of `fwctl policy check`";
        Cli::command().error(ErrorKind::ArgumentConflict, message).exit();
    }
    match &cli.command {
        Command::Status => status::run(socket, *output),
        Command::Flows(arguments) => flows::run(arguments, socket, *output),
        Command::Observe(arguments) => observe::run(arguments, socket, *output),
        Command::Capture(arguments) => capture::run(arguments, socket),
        Command::Drops(arguments) => drops::run(arguments, socket, *output),
        Command::Rules(arguments) => rules::run(arguments, socket, *output),
        Command::Zones => zones::run(socket, *output),
        Command::Reload => reload::run(socket, *output),
        Command::Apply(arguments) => apply::apply(arguments, socket, *output),
        Command::Confirm(arguments) => apply::confirm(arguments, socket, *output),
        Command::Rollback(arguments) => apply::roll_back(arguments, socket, *output),
        Command::History => history::history(socket, *output),
        Command::Show(arguments) => history::show(arguments, socket, *output),
        Command::Policy(command) => policy::run(command, socket, *output),
        Command::ExplainCode(arguments) => explain_code::run(arguments, *output),
        Command::Completions(arguments) => manual::completions(arguments),
        Command::Man(arguments) => manual::man(arguments),
    }
}

/// Asks the agent; the answer is printed as it came, or shown as its type.
fn ask<T: serde::de::DeserializeOwned>(
    socket: &Path,
    request: &Request,
    output: Format,
    rows: &str,
    show: impl FnOnce(T) -> io::Result<()>,
) -> anyhow::Result<ExitCode> {
    let answer = client::ask(socket, request)?;
    if !output.json(&answer, rows)? {
        show(client::typed(answer)?.body)?;
    }
    Ok(ExitCode::SUCCESS)
}
