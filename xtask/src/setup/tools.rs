//! Programs that `cargo install` builds, at the versions that were tried.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::Purpose;
use super::toolchain::LLVM;
use crate::process;
use crate::workspace::Workspace;

/// A program from crates.io.
pub(crate) struct Tool {
    /// Name of the program.
    name: &'static str,
    /// Name of the package on crates.io.
    krate: &'static str,
    /// The version to install. One that is compatible and not older is taken as it is.
    version: Version,
    /// Further arguments of `cargo install`.
    arguments: &'static [&'static str],
    /// Debian packages that building it needs.
    pub(super) packages: &'static [&'static str],
    purpose: Purpose,
    why: &'static str,
}

/// The linker of the eBPF program.
pub(crate) static BPF_LINKER: Tool = Tool {
    name: "bpf-linker",
    krate: "bpf-linker",
    version: Version(0, 13, 0),
    arguments: &["--no-default-features", "--features", "llvm-22"],
    packages: &["llvm-22-dev", "libpolly-22-dev", "zlib1g-dev", "libzstd-dev", "g++"],
    purpose: Purpose::Build,
    why: "links the eBPF program (built in about a minute)",
};

static TOOLS: [&Tool; 3] = [
    &BPF_LINKER,
    &Tool {
        name: "cargo-deny",
        krate: "cargo-deny",
        version: Version(0, 20, 2),
        arguments: &[],
        packages: &[],
        purpose: Purpose::Test,
        why: "checks the licences and origins of dependencies (built in a few minutes)",
    },
    &Tool {
        name: "typos",
        krate: "typos-cli",
        version: Version(1, 52, 0),
        arguments: &[],
        packages: &[],
        purpose: Purpose::Test,
        why: "finds spelling mistakes (built in a few minutes)",
    },
];

/// The tools that are absent, or of an unsuitable version.
pub(super) fn missing(purpose: Purpose) -> Vec<&'static Tool> {
    TOOLS.into_iter().filter(|tool| tool.purpose <= purpose && tool.path().is_none()).collect()
}

impl Tool {
    /// Where the program is, if it is installed in a suitable version.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        let path = process::find(self.name)?;
        let text = process::output(Command::new(&path).arg("--version")).ok()?;
        Version::last_in(&text)?.satisfies(self.version).then_some(path)
    }

    /// Builds and installs it. Cargo's target directory is not used, because nothing else could reuse what is built.
    pub(super) fn install(&self, workspace: &Workspace) -> Result<()> {
        let mut command = workspace.cargo("install");
        command.args([self.krate, "--locked", "--version", &self.version.to_string()]).args(self.arguments);
        command.env_remove("CARGO_TARGET_DIR").env("LLVM_PREFIX", format!("/usr/lib/llvm-{LLVM}"));
        process::run(&mut command).with_context(|| self.to_string())
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, version, why, krate, .. } = self;
        write!(f, "{name} {version}, which {why}: `cargo install {krate} --locked --version {version}")?;
        self.arguments.iter().try_for_each(|argument| write!(f, " {argument}"))?;
        write!(f, "`")?;
        if !self.packages.is_empty() {
            write!(f, " after `apt-get install {}`, with LLVM_PREFIX=/usr/lib/llvm-{LLVM}", self.packages.join(" "))?;
        }
        Ok(())
    }
}

/// A version of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32, pub(crate) u32);

impl Version {
    /// The last word of a text that reads as a version: `bpf-linker 0.13.0`.
    fn last_in(text: &str) -> Option<Self> {
        text.split_whitespace().rev().find_map(Self::parse)
    }

    /// Reads `1.97.0` and `1.97.0-nightly`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(['-', '+']).next()?.split('.').map(str::parse);
        let version = Self(numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        numbers.next().is_none().then_some(version)
    }

    /// Whether this version is not older than `wanted` and compatible with it, by the rules of cargo.
    fn satisfies(self, wanted: Self) -> bool {
        let compatible = if wanted.0 == 0 { (self.0, self.1) == (0, wanted.1) } else { self.0 == wanted.0 };
        compatible && self >= wanted
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_print() {
        assert_eq!(Version::last_in("bpf-linker 0.13.0\n"), Some(Version(0, 13, 0)));
        assert_eq!(Version::last_in("typos-cli 1.52.0"), Some(Version(1, 52, 0)));
        assert_eq!(Version::parse("1.97.0-nightly"), Some(Version(1, 97, 0)));
        assert_eq!(Version::last_in("no version at all"), None);
        assert_eq!(Version::parse("1.2"), None);
    }

    #[test]
    fn a_newer_compatible_version_is_taken_and_any_other_is_not() {
        let wanted = Version(0, 13, 0);
        assert!(Version(0, 13, 4).satisfies(wanted));
        assert!(!Version(0, 14, 0).satisfies(wanted));
        assert!(!Version(0, 12, 9).satisfies(wanted));
        assert!(Version(1, 60, 0).satisfies(Version(1, 52, 0)));
        assert!(!Version(2, 0, 0).satisfies(Version(1, 52, 0)));
    }

    #[test]
    fn the_linker_is_built_with_the_llvm_that_compilers_are_checked_against() {
        assert!(BPF_LINKER.arguments.contains(&format!("llvm-{LLVM}").as_str()));
        assert!(BPF_LINKER.packages.contains(&format!("llvm-{LLVM}-dev").as_str()));
    }

    #[test]
    fn a_missing_tool_says_how_to_get_it() {
        let text = BPF_LINKER.to_string();
        assert!(text.contains("cargo install bpf-linker --locked --version 0.13.0 --no-default-features"), "{text}");
        assert!(text.contains("llvm-22-dev"), "{text}");
    }
}
