//! The commands that build, test and show the firewall: `cargo xtask help`.
//!
//! One file a subcommand. What several of them need stands beside them: the paths of the work tree ([`workspace`]), and
//! the running of other programs ([`process`]).

mod bench;
mod build;
mod demo;
mod docs;
mod lab;
mod process;
mod setup;
mod soak;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Builds, tests and shows the firewall.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what building and testing need and this machine lacks.
    Setup(setup::Arguments),
    /// Build the eBPF object, and release builds of everything with it embedded.
    Build,
    /// Run every test that this machine can run, lints included.
    Test,
    /// Raise the lab, drive real traffic through the firewall, and check what is allowed and dropped.
    Demo(demo::Arguments),
    /// Measure what packets cost, side by side with a bare redirect, nftables and plain forwarding.
    Bench(bench::Arguments),
    /// Run long what the tests run shortly: oracles, policies under traffic, collection of flows.
    Soak(soak::Arguments),
    /// Raise, remove, or run a command in the reference topology.
    Lab(lab::Arguments),
    /// Write the generated reference documents.
    Docs(docs::Arguments),
    /// Check what the compiler does not: ABI version, generated documents, links, lengths of files.
    Tidy(tidy::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    perform(arguments.command).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn perform(task: Task) -> Result<ExitCode> {
    let workspace = Workspace::locate()?;
    match task {
        Task::Setup(arguments) => setup::run(&workspace, &arguments)?,
        Task::Build => build::run(&workspace)?,
        Task::Test => return test::run(&workspace),
        Task::Demo(arguments) => return demo::run(&workspace, &arguments),
        Task::Bench(arguments) => return bench::run(&workspace, &arguments),
        Task::Soak(arguments) => return soak::run(&workspace, &arguments),
        Task::Lab(arguments) => return lab::run(&workspace, &arguments),
        Task::Docs(arguments) => docs::run(&workspace, &arguments)?,
        Task::Tidy(arguments) => tidy::run(&workspace, &arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}
