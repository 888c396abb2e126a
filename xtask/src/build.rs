//! `cargo xtask build`: the eBPF objects, then release builds of everything with the firewall's embedded.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::setup::Purpose;
use crate::setup::toolchain::{self, Toolchain};
use crate::setup::tools::BPF_LINKER;
use crate::workspace::Workspace;
use crate::{process, setup};

/// The packages whose programs are built for release.
const PROGRAMS: [&str; 2] = ["fw-agent", "fw-testkit"];

const EBPF_TARGET: &str = "bpfel-unknown-none";

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    setup::ensure(workspace, Purpose::Build)?;
    ebpf(workspace)?;
    bench_ebpf(workspace)?;
    programs(workspace)?;
    eprintln!("built: the programs are in {}", workspace.programs().display());
    Ok(())
}

/// Builds the eBPF object, and puts it where the agent's build embeds it from.
pub(crate) fn ebpf(workspace: &Workspace) -> Result<()> {
    build_object(workspace, "fw-ebpf", &[], &workspace.ebpf_object())
}

/// Builds the benchmark's eBPF object, which is apart so that the firewall's carries nothing for benchmarks.
pub(crate) fn bench_ebpf(workspace: &Workspace) -> Result<()> {
    build_object(workspace, "fw-bench-ebpf", &["--features", "programs"], &workspace.bench_object())
}

fn build_object(workspace: &Workspace, package: &str, options: &[&str], destination: &Path) -> Result<()> {
    let toolchain = toolchain::find()?;
    let linker = BPF_LINKER.path().context("bpf-linker is missing; run `cargo xtask setup`")?;
    let mut command = ebpf_command(workspace, &toolchain, &linker.to_string_lossy());
    process::run(command.args(["--package", package]).args(options))?;
    let built = workspace.ebpf_target().join(EBPF_TARGET).join("ebpf").join(package);
    let object = fs::read(&built).with_context(|| format!("the build left no {}", built.display()))?;
    // An untouched file spares the agent a new build.
    if fs::read(destination).is_ok_and(|present| present == object) {
        return Ok(());
    }
    fs::create_dir_all(workspace.target.join("ebpf"))?;
    fs::write(destination, object).with_context(|| format!("could not write {}", destination.display()))
}

fn ebpf_command(workspace: &Workspace, toolchain: &Toolchain, linker: &str) -> Command {
    // Kernel 6.1 accepts instructions up to version 3; the debug information becomes the object's BTF.
    let flags = format!(
        "-C linker={linker} -C link-arg=--btf -C link-arg=--disable-expand-memcpy-in-order -C debuginfo=2 -C target-cpu=v3"
    );
    let mut command = Command::new(&toolchain.cargo);
    command.current_dir(&workspace.root);
    command.args(["build", "--profile", "ebpf", "--target", EBPF_TARGET, "-Z", "build-std=core"]);
    command.env("RUSTC", &toolchain.rustc).env("RUSTFLAGS", flags).env("CARGO_TARGET_DIR", workspace.ebpf_target());
    if toolchain.bootstrap {
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    // What the cargo that runs this program has set is about another toolchain.
    for inherited in ["CARGO", "CARGO_ENCODED_RUSTFLAGS", "LD_LIBRARY_PATH", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(inherited);
    }
    command
}

/// Builds the agent, its client and the lab for release.
pub(crate) fn programs(workspace: &Workspace) -> Result<()> {
    let mut command = workspace.cargo("build");
    command.args(["--release", "--bins"]);
    for package in PROGRAMS {
        command.args(["--package", package]);
    }
    process::run(&mut command)
}
