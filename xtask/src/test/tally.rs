//! Reads what Rust's test harness prints (`--show-output`) and counts what passed, failed and was skipped.
//!
//! The harness knows no test that finds out while running that it can't run here. Such a test prints `skipped: why` and
//! returns; the harness counts it as passed, and this reader moves it to the skipped ones.

use std::mem;

/// How many tests passed and failed, and which were skipped.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) skipped: Vec<Skip>,
}

/// A test that did not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Skip {
    pub(super) what: String,
    pub(super) why: String,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped.extend(other.skipped);
    }

    /// Number of tests that ran to their end.
    pub(super) fn ran(&self) -> usize {
        self.passed + self.failed
    }
}

/// Which part of the harness's output a line belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    /// One line a test, as they end.
    Progress,
    /// What passed tests printed.
    Successes,
    /// What failed tests printed.
    Failures,
}

/// Reads the output of any number of test programs, line by line.
pub(super) struct Reader {
    tally: Tally,
    section: Section,
    /// The passed test whose output is being read, until it says that it was skipped.
    speaker: Option<String>,
    /// Tests of this program that said so, and that its result will count as passed.
    skipped_itself: usize,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { tally: Tally::default(), section: Section::Progress, speaker: None, skipped_itself: 0 }
    }

    /// Takes the next line in; says whether a person wants to see it.
    pub(super) fn line(&mut self, line: &str) -> bool {
        match line {
            "successes:" => self.section = Section::Successes,
            "failures:" => self.section = Section::Failures,
            _ => return self.content(line),
        }
        self.section == Section::Failures
    }

    fn content(&mut self, line: &str) -> bool {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.section = Section::Progress;
            self.result(result);
            return true;
        }
        match self.section {
            Section::Progress => self.progress(line),
            Section::Successes => self.success(line),
            Section::Failures => true,
        }
    }

    /// `test NAME ... ignored, WHY`, and other progress.
    fn progress(&mut self, line: &str) -> bool {
        if let Some((what, outcome)) = line.strip_prefix("test ").and_then(|test| test.split_once(" ... "))
            && let Some(why) = outcome.strip_prefix("ignored")
        {
            let why = why.trim_start_matches(", ");
            let why = if why.is_empty() { "ignored" } else { why };
            self.tally.skipped.push(Skip { what: what.to_owned(), why: why.to_owned() });
        }
        !line.is_empty() && line != "running 0 tests"
    }

    /// `---- NAME stdout ----`, and what that test printed.
    fn success(&mut self, line: &str) -> bool {
        if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            self.speaker = Some(name.to_owned());
            return false;
        }
        let Some(why) = line.strip_prefix("skipped: ") else { return false };
        let Some(what) = self.speaker.take() else { return false };
        self.skipped_itself += 1;
        self.tally.skipped.push(Skip { what, why: why.to_owned() });
        true
    }

    /// `ok. 3 passed; 0 failed; 1 ignored; …`
    fn result(&mut self, result: &str) {
        let count = |name: &str| {
            let part = result.split([';', '.']).find_map(|part| part.trim().strip_suffix(name))?;
            part.trim().parse::<usize>().ok()
        };
        let passed = count("passed").unwrap_or(0);
        self.tally.passed += passed.saturating_sub(mem::take(&mut self.skipped_itself));
        self.tally.failed += count("failed").unwrap_or(0);
        self.speaker = None;
    }

    pub(super) fn finish(&mut self) -> Tally {
        mem::take(&mut self.tally)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(output: &str) -> (Tally, Vec<&str>) {
        let mut reader = Reader::new();
        let shown = output.lines().filter(|line| reader.line(line)).collect();
        (reader.finish(), shown)
    }

    const TWO_PROGRAMS: &str = "\
running 4 tests
test a ... ok
test b ... ok
test c ... ignored, needs a moon
test d ... FAILED

successes:

---- a stdout ----
chatter
skipped: not root
skipped: not root, said again

---- b stdout ----
chatter

successes:
    a
    b

failures:

---- d stdout ----
skipped: of no account, it failed

failures:
    d

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s

running 1 test
test e ... ok

successes:

successes:
    e

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn counts_are_summed_over_programs_and_a_skipped_test_has_not_passed() {
        let (tally, _) = read(TWO_PROGRAMS);
        let skip = |what: &str, why: &str| Skip { what: what.to_owned(), why: why.to_owned() };
        let skipped = vec![skip("c", "needs a moon"), skip("a", "not root")];
        assert_eq!(tally, Tally { passed: 2, failed: 1, skipped });
    }

    #[test]
    fn what_failed_tests_print_is_shown_and_what_passed_ones_print_is_not() {
        let (_, shown) = read(TWO_PROGRAMS);
        assert!(shown.contains(&"skipped: of no account, it failed"));
        assert!(shown.contains(&"skipped: not root"));
        assert!(!shown.contains(&"chatter"));
    }

    #[test]
    fn the_real_harness_is_understood() {
        // This very program, asked for one test that exists: the format is the harness's own.
        let program = std::env::current_exe().unwrap();
        let name = "test::tally::tests::counts_are_summed_over_programs_and_a_skipped_test_has_not_passed";
        let output = std::process::Command::new(program).args(["--exact", name, "--show-output"]).output().unwrap();
        let (tally, _) = read(std::str::from_utf8(&output.stdout).unwrap());
        assert_eq!(tally, Tally { passed: 1, failed: 0, skipped: Vec::new() });
    }
}
