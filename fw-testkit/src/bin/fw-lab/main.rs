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
    /// Opens flows that die beside flows that live, and says whether collection has left these alone.
    Collection {
        /// Connections that come and go.
        #[arg(long, value_name = "N", default_value_t = 10_000_000)]
        connections: u32,
        /// Flows that live.
        #[arg(long, value_name = "N", default_value_t = 1_000)]
        living: u32,
        /// Size of the table.
        #[arg(long, value_name = "N", default_value_t = 1_048_576)]
        max_flows: u32,
    },
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
        Subject::Collection { connections, living, max_flows } => collect(connections, living, max_flows),
        Subject::Serve { endpoints } => serve(&endpoints),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("fw-lab: {error:#}");
        ExitCode::FAILURE
    })
}

fn collect(connections: u32, living: u32, max_flows: u32) -> anyhow::Result<ExitCode> {
    let survival = fw_testkit::collection::survive(connections, living, max_flows)?;
    println!("{survival:?}");
    Ok(if survival.killed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn serve(endpoints: &[Endpoint]) -> anyhow::Result<ExitCode> {
    fw_testkit::service::serve_forever(endpoints)?;
    Ok(ExitCode::SUCCESS)
}
