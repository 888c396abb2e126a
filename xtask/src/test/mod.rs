//! `cargo xtask test`: every test that this machine can run, lints included.
//!
//! The steps are in [`run`], in order; how they are run and counted is in [`report`].

mod report;
mod tally;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::setup::Purpose;
use crate::workspace::Workspace;
use crate::{build, process, setup, tidy};
use report::Report;

pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode> {
    let mut report = Report::default();
    report.check("set-up", || setup::ensure(workspace, Purpose::Test));
    report.check("layout", || process::run(workspace.cargo("fmt").args(["--all", "--check"])));
    // The agent embeds the object, and does not compile without it.
    let object = report.check("eBPF object", || build::ebpf(workspace));
    report.check("lints", || process::run(&mut clippy(workspace)));
    report.check("lints of the eBPF programs", || process::run(&mut clippy_ebpf(workspace)));
    report.check("benchmark's eBPF object", || build::bench_ebpf(workspace));
    let built = object && report.check("release builds", || build::programs(workspace));
    report.tests("unit and property tests", unit_tests(workspace));
    report.tests("tests of what is asked of AWS", whole_program_tests(workspace, "cloud"));
    report.tests("documentation tests", doc_tests(workspace));
    if built {
        report.check("example policy", || example_policy(workspace));
        report.privileged_tests("program-run tests", whole_program_tests(workspace, "prog_run"));
        report.privileged_tests("lab tests", whole_program_tests(workspace, "lab"));
    } else {
        report.blocked("example policy, program-run tests and lab tests", "the builds");
    }
    report.check("documentation", || process::run(&mut rustdoc(workspace)));
    report.check("licences, bans and sources of dependencies", || dependencies(workspace));
    report.check_or_skip("advisories about dependencies", || advisories(workspace));
    report.check("spelling", || spelling(workspace));
    report.check("tidy", || tidy::check(workspace));
    Ok(if report.close(workspace.ci) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Lints everything that is built for the host.
fn clippy(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo("clippy");
    command.args(["--workspace", "--exclude", "fw-ebpf", "--all-targets", "--", "-D", "warnings"]);
    command
}

/// Lints the eBPF programs as if they were built for the host, because clippy needs a compiled `core`. They use
/// nightly features; they would rebuild every dependency if they were unlocked in the common target directory. Its profile
/// aborts on panic, without which a program without `std` cannot be built for the host.
fn clippy_ebpf(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo("clippy");
    command.args(["--profile", "ebpf", "--package", "fw-ebpf", "--package", "fw-bench-ebpf"]);
    command.args(["--features", "fw-bench-ebpf/programs", "--", "-D", "warnings"]);
    command.env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", workspace.ebpf_target());
    command
}

fn unit_tests(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo("test");
    command.args(["--no-fail-fast", "--workspace", "--exclude", "fw-ebpf", "--exclude", "fw-tests"]);
    command.args(["--lib", "--bins", "--tests"]);
    command
}

fn doc_tests(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo("test");
    command.args(["--no-fail-fast", "--workspace", "--exclude", "fw-ebpf", "--exclude", "fw-tests", "--doc"]);
    command
}

/// One program of the tests of the whole. Each raises a lab, loads the eBPF program or runs a fake of AWS, which two cores carry twice at a
/// time.
fn whole_program_tests(workspace: &Workspace, program: &str) -> Command {
    let mut command = workspace.cargo("test");
    command.args(["--package", "fw-tests", "--test", program]);
    command.env("OUTPOST_FW_BIN_DIR", workspace.programs()).env("RUST_TEST_THREADS", "2");
    command
}

/// The example policy is valid, and its own tests pass.
fn example_policy(workspace: &Workspace) -> Result<()> {
    let fwctl = workspace.programs().join("fwctl");
    for arguments in [["check", "--deny", "warnings"].as_slice(), &["test"]] {
        process::run(Command::new(&fwctl).arg("policy").args(arguments).arg(workspace.policies()))?;
    }
    Ok(())
}

fn rustdoc(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo("doc");
    command.args(["--workspace", "--exclude", "fw-ebpf", "--no-deps", "--document-private-items"]);
    // Private items are documented as well, so links to them lead somewhere.
    command.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links");
    command
}

fn dependencies(workspace: &Workspace) -> Result<()> {
    let mut command = Command::new(found("cargo-deny")?);
    process::run(command.args(["check", "licenses", "bans", "sources"]).current_dir(&workspace.root))
}

/// Compares the dependencies with the advisory database, unless the database can't be fetched.
fn advisories(workspace: &Workspace) -> Result<Option<String>> {
    let mut command = process::bounded(Duration::from_secs(120), found("cargo-deny")?);
    command.args(["check", "advisories"]).current_dir(&workspace.root);
    eprintln!("$ {}", process::describe(&command));
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    if text.contains("failed to fetch advisory database") || output.status.code() == Some(process::OUT_OF_TIME) {
        return Ok(Some("the advisory database cannot be fetched from here".to_owned()));
    }
    eprint!("{text}");
    if !output.status.success() {
        bail!("a dependency has an advisory: {}", output.status);
    }
    Ok(None)
}

fn spelling(workspace: &Workspace) -> Result<()> {
    process::run(Command::new(found("typos")?).current_dir(&workspace.root))
}

fn found(program: &str) -> Result<PathBuf> {
    process::find(program).with_context(|| format!("{program} is missing; run `cargo xtask setup`"))
}
