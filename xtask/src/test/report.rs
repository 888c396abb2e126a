//! Runs the steps of the tests one after the other, goes on after a failure, and sums up.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::tally::{Reader, Skip, Tally};
use crate::process;

/// What one step came to.
struct Step {
    name: &'static str,
    took: Duration,
    tally: Tally,
    privileged: bool,
}

/// The steps so far.
#[derive(Default)]
pub(super) struct Report {
    steps: Vec<Step>,
}

impl Report {
    /// Runs a check that passes or fails as one. Says whether it passed.
    pub(super) fn check(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) -> bool {
        self.step(name, false, |tally| {
            work()?;
            tally.passed += 1;
            Ok(())
        })
    }

    /// Runs a check that may find that it can't run here, and then says why.
    pub(super) fn check_or_skip(&mut self, name: &'static str, work: impl FnOnce() -> Result<Option<String>>) {
        self.step(name, false, |tally| {
            match work()? {
                Some(why) => tally.skipped.push(Skip { what: name.to_owned(), why }),
                None => tally.passed += 1,
            }
            Ok(())
        });
    }

    /// Runs test programs through cargo and counts their tests.
    pub(super) fn tests(&mut self, name: &'static str, command: Command) {
        self.step(name, false, |tally| count_tests(command, tally));
    }

    /// As [`Self::tests`], for tests that need root and a kernel that runs eBPF.
    pub(super) fn privileged_tests(&mut self, name: &'static str, command: Command) {
        self.step(name, true, |tally| count_tests(command, tally));
    }

    /// Notes a failure of a step that can't begin because an earlier one failed.
    pub(super) fn blocked(&mut self, name: &'static str, by: &'static str) {
        self.step(name, true, |_| bail!("not run, because this failed: {by}"));
    }

    fn step(&mut self, name: &'static str, privileged: bool, work: impl FnOnce(&mut Tally) -> Result<()>) -> bool {
        eprintln!("\n=== {name}");
        let began = Instant::now();
        let mut tally = Tally::default();
        if let Err(error) = work(&mut tally) {
            eprintln!("FAILED {name}: {error:#}");
            tally.failed = tally.failed.max(1);
        }
        let passed = tally.failed == 0;
        self.steps.push(Step { name, took: began.elapsed(), tally, privileged });
        passed
    }

    /// Prints every step's time and count, what was skipped and why, and the closing line. Says whether everything
    /// passed; where everything can run (`all_must_run`), at least one privileged test must have run for that.
    pub(super) fn close(mut self, all_must_run: bool) -> bool {
        if all_must_run && self.nothing_privileged_ran() {
            self.check("privileged tests", || bail!("not one of them ran"));
        }
        println!("\n{:>8}  {:>6} {:>6} {:>7}  step", "time", "passed", "failed", "skipped");
        for Step { name, took, tally, .. } in &self.steps {
            let (seconds, skipped) = (took.as_secs_f64(), tally.skipped.len());
            println!("{seconds:>7.1}s  {:>6} {:>6} {skipped:>7}  {name}", tally.passed, tally.failed);
        }
        let mut total = Tally::default();
        self.steps.into_iter().for_each(|step| total.add(step.tally));
        for Skip { what, why } in &total.skipped {
            println!("skipped: {what}: {why}");
        }
        println!("{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped.len());
        total.failed == 0
    }

    fn nothing_privileged_ran(&self) -> bool {
        self.steps.iter().filter(|step| step.privileged).all(|step| step.tally.ran() == 0)
    }
}

/// Runs the test programs, shows their progress, and counts.
fn count_tests(mut command: Command, tally: &mut Tally) -> Result<()> {
    command.args(["--", "--show-output"]);
    eprintln!("$ {}", process::describe(&command));
    let mut child = command.stdout(Stdio::piped()).spawn().context("cargo could not be started")?;
    let stdout = child.stdout.take().context("cargo has no standard output")?;
    let mut reader = Reader::new();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("the tests' output could not be read")?;
        let line = String::from_utf8_lossy(&line);
        if reader.line(&line) {
            println!("{line}");
        }
    }
    let status = child.wait().context("cargo's end could not be awaited")?;
    tally.add(reader.finish());
    if !status.success() {
        bail!("{} tests failed; cargo ended with {status}", tally.failed);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_step_counts_once_even_if_it_counted_no_test() {
        let mut report = Report::default();
        assert!(report.check("good", || Ok(())));
        assert!(!report.check("bad", || bail!("reason")));
        report.check_or_skip("absent", || Ok(Some("no network".to_owned())));
        let counts: Vec<_> =
            report.steps.iter().map(|step| (step.tally.passed, step.tally.failed, step.tally.skipped.len())).collect();
        assert_eq!(counts, [(1, 0, 0), (0, 1, 0), (0, 0, 1)]);
    }

    #[test]
    fn a_privileged_tier_of_skipped_tests_only_is_noticed() {
        let skipped = |tally: &mut Tally| {
            tally.skipped.push(Skip { what: "lab".to_owned(), why: "not root".to_owned() });
            Ok(())
        };
        let mut report = Report::default();
        report.check("unit tests", || Ok(()));
        report.step("lab tests", true, skipped);
        assert!(report.nothing_privileged_ran());
        report.step("program-run tests", true, |tally| {
            tally.passed += 1;
            Ok(())
        });
        assert!(!report.nothing_privileged_ran());
    }
}
