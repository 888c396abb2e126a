//! The result as a table and as `summary.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use super::candidate::Kind;
use super::measure::Measured;

/// `bench/1`.
#[derive(Serialize)]
struct Summary {
    schema: &'static str,
    machine: Machine,
    ratios: BTreeMap<String, f64>,
    figures: BTreeMap<String, Figure>,
}

#[derive(Serialize)]
struct Machine {
    kernel: String,
    processor: String,
    processors: usize,
}

#[derive(Serialize)]
struct Figure {
    value: f64,
    unit: &'static str,
}

/// What the others are compared with.
fn floor(results: &[Measured]) -> Result<&Measured> {
    let floor = results.iter().find(|result| result.kind == Kind::Redirect);
    floor.context("the bare redirect was not measured")
}

pub(super) fn print(results: &[Measured]) -> Result<()> {
    let floor = floor(results)?;
    println!("\niperf3, one TCP connection, MTU 1500, veth pairs, segments as on the wire");
    println!("{:<12} {:>14} {:>14}   rounds (Gbit/s)", "candidate", "median Gbit/s", "to redirect");
    for result in results {
        let rounds: Vec<String> = result.rounds.iter().map(|rate| format!("{:.2}", rate / 1e9)).collect();
        let (name, median, ratio) = (result.kind.name(), result.median(), result.ratio_to(floor));
        println!("{name:<12} {:>14.2} {ratio:>14.2}   {}", median / 1e9, rounds.join(" "));
    }
    Ok(())
}

pub(super) fn write(results: &[Measured], directory: &Path) -> Result<PathBuf> {
    let floor = floor(results)?;
    let compared = results.iter().filter(|result| result.kind != Kind::Redirect);
    let summary = Summary {
        schema: "bench/1",
        machine: machine(),
        ratios: compared
            .map(|result| (format!("iperf3-tcp/{}:redirect", result.kind.name()), round(result.ratio_to(floor))))
            .collect(),
        figures: results
            .iter()
            .map(|result| {
                let figure = Figure { value: round(result.median() / 1e9), unit: "Gbit/s" };
                (format!("iperf3-tcp/{}", result.kind.name()), figure)
            })
            .collect(),
    };
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    let path = directory.join("summary.json");
    fs::write(&path, serde_json::to_string_pretty(&summary)? + "\n")?;
    Ok(path)
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn machine() -> Machine {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    Machine {
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        processor: processor.map(|(_, name)| name.trim().to_owned()).unwrap_or_default(),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
    }
}
