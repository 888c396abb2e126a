//! `fw-lab`: the reference topology by hand, the demo and the benchmarks.

mod bench;
mod by_hand;
mod classifier;
mod demo;
mod signals;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fw_testkit::service::Endpoint;

/// The lab of outpost-fw: an Outposts rack made of network name spaces.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Subject,
}

#[derive(Debug, Subcommand)]
enum Subject {
    /// Raises the reference topology and leaves it up.
    Up(by_hand::Up),
    /// Removes a lab; without a name, every lab that `up` left.
    Down(by_hand::Down),
    /// Runs a command in a node of a lab.
    Exec(by_hand::Exec),
    /// Lists the labs.
    List,
    /// Shows the firewall at work: raises a lab, runs the agent, drives traffic, checks every expectation.
    Demo(demo::Demo),
    /// Measures the firewall next to a bare redirect, nftables and plain forwarding.
    Bench(bench::Bench),
    /// Measures what large rule sets cost: to read, compile, load, change and look up.
    Classifier(classifier::Classifier),
    /// Serves in the caller's name space until killed.
    Serve {
        /// What to serve and where, such as `http=[::]:80`, `modbus=[::]:502`, `echo=[::]:5000`.
        #[arg(required = true)]
        endpoints: Vec<Endpoint>,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Subject::Up(arguments) => by_hand::up(&arguments),
        Subject::Down(arguments) => by_hand::down(&arguments),
        Subject::Exec(arguments) => by_hand::exec(&arguments),
        Subject::List => by_hand::list(),
        Subject::Demo(arguments) => demo::run(&arguments),
        Subject::Bench(arguments) => bench::run(&arguments),
        Subject::Classifier(arguments) => classifier::run(&arguments),
        Subject::Serve { endpoints } => serve(&endpoints),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("fw-lab: {error:#}");
        ExitCode::FAILURE
    })
}

fn serve(endpoints: &[Endpoint]) -> anyhow::Result<ExitCode> {
    fw_testkit::service::serve_forever(endpoints)?;
    Ok(ExitCode::SUCCESS)
}
