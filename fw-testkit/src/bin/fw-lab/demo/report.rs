//! What the demo prints: sections, expectations with what happened, and the closing line.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Instant;

use serde::Serialize;

/// Counts the checks and prints them as they are made.
pub(crate) struct Report {
    start: Instant,
    checks: u32,
    failed: u32,
    abandoned: bool,
    colour: bool,
}

/// The last line under `--json`.
#[derive(Serialize)]
struct Closing {
    schema: &'static str,
    ok: bool,
    checks: u32,
    failed: u32,
    seconds: f64,
}

impl Report {
    pub(crate) fn new() -> Self {
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { start: Instant::now(), checks: 0, failed: 0, abandoned: false, colour }
    }

    pub(crate) fn section(&self, title: &str) {
        println!("\n{}", self.paint("1", title));
    }

    /// One expectation: what was expected, and what happened (`Ok`: as expected).
    pub(crate) fn check(&mut self, expectation: &str, happened: Result<String, String>) {
        self.checks += 1;
        match happened {
            Ok(happened) => println!("  {} {expectation}: {happened}", self.paint("32", "✔")),
            Err(happened) => {
                self.failed += 1;
                println!("  {} {expectation}: {}", self.paint("31", "✘"), self.paint("31", &happened));
            }
        }
    }

    /// Text of another program, indented.
    pub(crate) fn show(&self, title: &str, text: &str) {
        self.section(title);
        text.lines().for_each(|line| println!("  {line}"));
    }

    /// The demo could not go on.
    pub(crate) fn abandon(&mut self, reason: &str) {
        self.abandoned = true;
        eprintln!("fw-lab: the demo could not go on: {reason}");
    }

    /// Prints the closing lines. Success needs that something was checked, and that nothing failed.
    pub(crate) fn close(self, json: bool) -> ExitCode {
        let ok = self.failed == 0 && self.checks > 0 && !self.abandoned;
        let seconds = (self.start.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        let Self { checks, failed, .. } = self;
        println!(
            "\n{checks} expectations checked, {failed} failed, in {seconds} s: {}",
            if ok { "ok" } else { "NOT ok" }
        );
        if json {
            let closing = Closing { schema: "demo/1", ok, checks, failed, seconds };
            println!("{}", serde_json::to_string(&closing).unwrap_or_default());
        }
        if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
