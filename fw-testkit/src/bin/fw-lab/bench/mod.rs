//! `fw-lab bench`: what the firewall costs, next to what else could forward, measured in alternation.
//!
//! A file a subject: benchmarks (`established`, …) say what is measured and which ratios are made of it; `forwarder` holds
//! the candidates; `chain` sends, counts and measures; `catalogue` lists the benchmarks; `table`, `summary` and
//! `plot` show what was found. `docs/benchmarks.md` explains the
//! results.

mod aim;
mod candidate;
mod case;
mod catalogue;
mod chain;
mod collection;
mod concurrent;
mod connections;
mod denied;
mod established;
mod flood;
mod forwarder;
mod iperf3;
mod latency;
mod new;
mod outcome;
mod plot;
mod policy;
mod row;
mod rule_sets;
mod sample;
mod session;
mod setting;
mod sockets;
mod summary;
mod table;
mod telemetry;
mod variants;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use fw_testkit::lab::Programs;

use crate::signals;
use chain::core::Core;
use forwarder::Artifacts;
use session::Session;
use setting::Setting;
use summary::Machine;

#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// Shorter runs: less exact, for a first look.
    #[arg(long)]
    quick: bool,
    /// Only these benchmarks; an unknown name lists them.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,
    /// The directory for `summary.json` and the plots.
    #[arg(long)]
    output: PathBuf,
    /// The benchmark's eBPF object; without, the one that the build left in the target directory.
    #[arg(long, env = "OUTPOST_FW_BENCH_EBPF")]
    object: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Bench) -> Result<ExitCode> {
    let choices = catalogue::choose(&arguments.only)?;
    // Before minutes of measuring, not behind them.
    fs::create_dir_all(&arguments.output).with_context(|| format!("create {}", arguments.output.display()))?;
    let programs = Programs::find()?;
    let object = arguments.object.clone().unwrap_or_else(|| programs.bench_object());
    let session = Session { artifacts: Artifacts { programs, object }, core: Core::pick()?, quick: arguments.quick };
    signals::remove_labs_at_the_end(setting::restore_all)?;
    // Every call that sends packets waits for two grace periods of RCU, and so does much of what raises and removes name spaces.
    // Where the setting cannot be changed, it all takes longer and costs the same.
    let _sooner = Setting::change("/sys/kernel/rcu_expedited", "1", |value| value == "1");
    println!("{}; chains run on processor {}", Machine::this(), session.core.number());
    let start = Instant::now();
    let (mut outcomes, mut times) = (Vec::new(), Vec::new());
    for choice in choices {
        let start = Instant::now();
        let found = choice.run(&session)?;
        times.push((choice.title(), start.elapsed()));
        found.iter().for_each(table::print);
        outcomes.extend(found);
    }
    table::print_ratios(outcomes.iter().flat_map(|outcome| &outcome.ratios));
    table::print_times(&times);
    let path = summary::write(&outcomes, &arguments.output).context("write the summary")?;
    plot::write(&outcomes, &arguments.output).context("draw the plots")?;
    println!("\nwritten to {} after {:.0} s", path.display(), start.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}
