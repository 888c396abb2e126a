//! The result as `summary.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;

use super::outcome::Outcome;

/// `bench/1`.
#[derive(Serialize)]
struct Summary<'outcomes> {
    schema: &'static str,
    machine: Machine,
    ratios: BTreeMap<&'outcomes str, f64>,
    figures: BTreeMap<&'outcomes str, Figure>,
}

/// Where it was measured.
#[derive(Serialize)]
pub(super) struct Machine {
    kernel: String,
    processor: String,
    processors: usize,
}

#[derive(Serialize)]
struct Figure {
    value: f64,
    unit: &'static str,
}

pub(super) fn write(outcomes: &[Outcome], directory: &Path) -> Result<PathBuf> {
    let ratios = outcomes.iter().flat_map(|outcome| &outcome.ratios);
    let figures = outcomes.iter().flat_map(|outcome| &outcome.figures);
    let summary = Summary {
        schema: "bench/1",
        machine: Machine::this(),
        ratios: ratios.map(|ratio| (ratio.name.as_str(), rounded(ratio.value))).collect(),
        figures: figures
            .map(|figure| (figure.name.as_str(), Figure { value: rounded(figure.value), unit: figure.unit }))
            .collect(),
    };
    let path = directory.join("summary.json");
    fs::write(&path, serde_json::to_string_pretty(&summary)? + "\n")?;
    Ok(path)
}

/// Four significant digits: small ratios keep theirs.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let scale = 10f64.powi(3 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

impl Machine {
    pub(super) fn this() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Self {
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            processor: processor.map(|(_, name)| name.trim().to_owned()).unwrap_or_default(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} × {}, Linux {}", self.processors, self.processor, self.kernel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_digits_are_kept_of_large_and_of_small_numbers() {
        assert!((rounded(0.006_666_66) - 0.006_667).abs() < 1e-12);
        assert!((rounded(123_456.0) - 123_500.0).abs() < 1e-6);
        assert!(rounded(0.0) == 0.0 && rounded(f64::NAN) == 0.0);
    }
}
