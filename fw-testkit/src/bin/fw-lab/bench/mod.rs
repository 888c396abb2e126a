//! `fw-lab bench`: what the firewall costs, next to what else could forward, measured in alternation.

mod candidate;
mod measure;
mod redirect;
mod summary;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use fw_testkit::lab::Programs;

use crate::signals;
use candidate::{Candidate, Kind};

#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// Shorter runs: less exact, for a first look.
    #[arg(long)]
    quick: bool,
    /// Only these benchmarks: `iperf3-tcp`.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,
    /// The directory for `summary.json`.
    #[arg(long)]
    output: PathBuf,
    /// The eBPF object; without, the one that the build left in the target directory.
    #[arg(long, env = "OUTPOST_FW_EBPF")]
    object: Option<PathBuf>,
}

/// The benchmarks that there are.
const BENCHMARKS: [&str; 1] = ["iperf3-tcp"];

/// The order of the candidates in every round; ratios are to the first.
const CANDIDATES: [Kind; 2] = [Kind::Redirect, Kind::Firewall];

pub(crate) fn run(arguments: &Bench) -> Result<ExitCode> {
    if let Some(unknown) = arguments.only.iter().find(|name| !BENCHMARKS.contains(&name.as_str())) {
        bail!("there is no benchmark {unknown:?}; there are: {}", BENCHMARKS.join(", "));
    }
    let programs = Programs::find()?;
    let object = match &arguments.object {
        Some(object) => object.clone(),
        None => programs.object(),
    };
    let candidates: Vec<Candidate> =
        CANDIDATES.into_iter().map(|kind| Candidate::raise(kind, &programs, &object)).collect::<Result<_>>()?;
    signals::remove_labs_at_the_end(candidates.iter().map(|candidate| candidate.lab.name().to_owned()).collect())?;
    let results = measure::alternate(&candidates, arguments.quick)?;
    drop(candidates);
    summary::print(&results)?;
    let path = summary::write(&results, &arguments.output).context("write the summary")?;
    println!("\nwritten to {}", path.display());
    Ok(ExitCode::SUCCESS)
}
