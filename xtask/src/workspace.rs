//! Where things are: the work tree, the target directory, and what the builds leave there.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;

/// The paths that the subcommands share, and how they call cargo.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// Root of the work tree.
    pub(crate) root: PathBuf,
    /// Cargo's target directory.
    pub(crate) target: PathBuf,
    /// Whether this runs under continuous integration (`CI=true`): nothing may then be skipped that matters, and the
    /// lock file may not change.
    pub(crate) ci: bool,
}

impl Workspace {
    /// Asks cargo, which knows every way in which the target directory can be configured.
    pub(crate) fn locate() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent directory")?;
        let mut command = Command::new(cargo_program());
        command.args(["metadata", "--format-version=1", "--no-deps"]).current_dir(root);
        let metadata: serde_json::Value =
            serde_json::from_str(&process::output(&mut command)?).context("cargo metadata did not write JSON")?;
        let target = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
        Ok(Self {
            root: root.to_owned(),
            target: PathBuf::from(target),
            ci: env::var_os("CI").is_some_and(|value| value == "true"),
        })
    }

    /// A command of the cargo that runs this program, in the root of the work tree.
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        let mut command = Command::new(cargo_program());
        command.current_dir(&self.root).arg(subcommand).env("OUTPOST_FW_EBPF", self.ebpf_object());
        if self.ci && matches!(subcommand, "build" | "clippy" | "doc" | "run" | "test") {
            command.arg("--locked");
        }
        command
    }

    /// The eBPF object that the agent embeds.
    pub(crate) fn ebpf_object(&self) -> PathBuf {
        self.target.join("ebpf").join("fw-ebpf.o")
    }

    /// The benchmark's eBPF object.
    pub(crate) fn bench_object(&self) -> PathBuf {
        self.target.join("ebpf").join("fw-bench-ebpf.o")
    }

    /// Where cargo builds the eBPF objects: apart, because other flags in the same directory would rebuild everything.
    pub(crate) fn ebpf_target(&self) -> PathBuf {
        self.target.join("ebpf-build")
    }

    /// Where the release builds of the programs are.
    pub(crate) fn programs(&self) -> PathBuf {
        self.target.join("release")
    }

    /// The example policy, which demo and tests run.
    pub(crate) fn policies(&self) -> PathBuf {
        self.root.join("policies")
    }

    /// Every file of the work tree whose name ends in `.extension`, relative to the root, in byte order. Hidden
    /// directories and target directories are left out.
    pub(crate) fn files(&self, extension: &str) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        collect(&self.root, extension, &self.target, &mut found)?;
        for path in &mut found {
            *path = path.strip_prefix(&self.root).context("a file outside of the work tree")?.to_owned();
        }
        found.sort();
        Ok(found)
    }
}

fn collect(directory: &Path, extension: &str, target: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    for entry in entries {
        let entry = entry.with_context(|| directory.display().to_string())?;
        let (path, name) = (entry.path(), entry.file_name());
        let skipped = name.as_encoded_bytes().starts_with(b".") || name == "target" || path == target;
        let kind = entry.file_type().with_context(|| path.display().to_string())?;
        if kind.is_dir() && !skipped {
            collect(&path, extension, target, found)?;
        } else if kind.is_file() && path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    Ok(())
}

/// Cargo sets `CARGO` for what it runs, to the very program that runs it.
fn cargo_program() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}
