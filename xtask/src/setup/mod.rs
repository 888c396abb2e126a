//! `cargo xtask setup`: installs what this machine lacks, after saying what and why.
//!
//! A survey finds out what is missing for a purpose; only then is anything installed, in the order in which one thing
//! needs the other; and a second survey has the last word.

mod apt;
mod bpffs;
mod components;
mod programs;
mod python;
pub(crate) mod toolchain;
pub(crate) mod tools;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::workspace::Workspace;
use components::Component;
use programs::Program;
use tools::Tool;

/// What set-up is asked for.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only say what is missing; exit with 1 when something is.
    #[arg(long)]
    check: bool,
    /// Only what this purpose needs.
    #[arg(long = "for", value_enum, default_value_t = Purpose::Test)]
    purpose: Purpose,
}

/// What the machine is being set up for. Each purpose includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Purpose {
    /// Building: the eBPF toolchain and its linker.
    Build,
    /// Running the lab, the demo and the benchmarks as well.
    Run,
    /// Testing, with the linters, as well.
    Test,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    if arguments.check {
        let missing = Missing::survey(arguments.purpose);
        if !missing.is_empty() {
            bail!("missing:\n{}", missing.describe());
        }
        let lacking = python::KITS.iter().filter(|kit| arguments.purpose >= Purpose::Test && !kit.is_there(workspace));
        for kit in lacking {
            eprintln!("setup: missing, and tests go on without it:\n{}", kit.description.trim_end());
        }
    } else {
        ensure(workspace, arguments.purpose)?;
    }
    eprintln!("setup: nothing is missing; the eBPF program is compiled by {}", toolchain::find()?);
    Ok(())
}

/// Installs what is missing for the purpose; does nothing, quickly, when nothing is.
pub(crate) fn ensure(workspace: &Workspace, purpose: Purpose) -> Result<()> {
    let missing = Missing::survey(purpose);
    if !missing.is_empty() {
        eprintln!("setup: this machine lacks\n{}", missing.describe());
        missing.install(workspace)?;
        let left = Missing::survey(purpose);
        if !left.is_empty() {
            bail!("set-up could not provide\n{}", left.describe());
        }
    }
    if purpose < Purpose::Test {
        return Ok(());
    }
    python::KITS.iter().try_for_each(|kit| kit.ensure(workspace))
}

/// What a survey found missing.
struct Missing {
    /// Why none of the compilers found can compile the eBPF program.
    toolchain: Option<String>,
    programs: Vec<&'static Program>,
    tools: Vec<&'static Tool>,
    components: Vec<&'static Component>,
    bpffs: bool,
}

impl Missing {
    fn survey(purpose: Purpose) -> Self {
        Self {
            toolchain: toolchain::find().err().map(|error| format!("{error:#}")),
            programs: programs::missing(purpose),
            tools: tools::missing(purpose),
            components: components::missing(purpose),
            bpffs: purpose >= Purpose::Run && !bpffs::is_mounted(),
        }
    }

    fn is_empty(&self) -> bool {
        self.toolchain.is_none()
            && self.programs.is_empty()
            && self.tools.is_empty()
            && self.components.is_empty()
            && !self.bpffs
    }

    /// One line for each missing thing: what, why it is needed, how to get it.
    fn describe(&self) -> String {
        let mut lines = Vec::new();
        lines.extend(self.toolchain.iter().map(|why| format!("a compiler for the eBPF program: {why}")));
        lines.extend(self.programs.iter().map(ToString::to_string));
        lines.extend(self.tools.iter().map(ToString::to_string));
        lines.extend(self.components.iter().map(ToString::to_string));
        if self.bpffs {
            lines.push(bpffs::DESCRIPTION.to_owned());
        }
        lines.iter().map(|line| format!("  - {line}\n")).collect()
    }

    fn install(&self, workspace: &Workspace) -> Result<()> {
        let mut packages: Vec<&str> = Vec::new();
        if self.toolchain.is_some() && !toolchain::install_with_rustup() {
            packages.extend(toolchain::PACKAGES);
        }
        packages.extend(self.programs.iter().map(|program| program.package));
        packages.extend(self.tools.iter().flat_map(|tool| tool.packages));
        apt::install(&packages)?;
        for component in &self.components {
            component.install()?;
        }
        for tool in &self.tools {
            tool.install(workspace)?;
        }
        if self.bpffs {
            bpffs::mount()?;
        }
        Ok(())
    }
}
