//! The compiler of the eBPF program: which of those on this machine can do it, and how to get one.
//!
//! The eBPF target has no precompiled `core`, so the compiler needs the standard library's sources and a nightly
//! feature of cargo (`-Z build-std`). Rustup's nightly with the component rust-src is the convention. A stable compiler
//! that has the sources beside it does as well, with `RUSTC_BOOTSTRAP=1`: Debian packages such a pair.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::tools::Version;
use crate::process;

/// Major version of the LLVM that bpf-linker is built with. It cannot read what a newer LLVM wrote.
pub(crate) const LLVM: u32 = 22;

/// The oldest compiler that the workspace builds with, without the patch level.
const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

/// The nightly to install: one that was tried. A newer one may have a newer LLVM.
const NIGHTLY: &str = "nightly-2026-05-20";

/// Debian's compiler, cargo and library sources, which belong together.
pub(super) const PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// A compiler that can compile the eBPF program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Toolchain {
    /// Path of the compiler.
    pub(crate) rustc: PathBuf,
    /// Path of the cargo that belongs to it.
    pub(crate) cargo: PathBuf,
    /// Whether nightly features have to be unlocked.
    pub(crate) bootstrap: bool,
    release: String,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.rustc.display(), self.release)
    }
}

/// The first suitable compiler: rustup's nightlies, then the active toolchain, then the distribution's.
pub(crate) fn find() -> Result<Toolchain> {
    let mut refusals = Vec::new();
    for root in candidates() {
        match probe(&root) {
            Ok(toolchain) => return Ok(toolchain),
            Err(reason) => refusals.push(format!("{}: {reason:#}", root.display())),
        }
    }
    bail!(
        "none was found with its library sources and LLVM {LLVM} or older ({}); get one with `rustup toolchain install \
         {NIGHTLY} --profile minimal --component rust-src`, or with `apt-get install {}`",
        refusals.join("; "),
        PACKAGES.join(" ")
    )
}

/// The directories in which a compiler may be, without those that do not exist.
fn candidates() -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> = rustup_nightlies().iter().filter_map(|name| sysroot(Some(name))).collect();
    roots.extend(sysroot(None));
    roots.push(PathBuf::from("/usr"));
    let mut distinct = Vec::new();
    for root in roots {
        if root.join("bin/rustc").exists() && !distinct.contains(&root) {
            distinct.push(root);
        }
    }
    distinct
}

/// Names of the nightlies that rustup has installed.
fn rustup_nightlies() -> Vec<String> {
    let list = process::output(Command::new("rustup").args(["toolchain", "list"])).unwrap_or_default();
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| name.starts_with("nightly")).map(str::to_owned).collect()
}

/// Root directory of a toolchain of rustup, or of the active one.
fn sysroot(rustup_name: Option<&str>) -> Option<PathBuf> {
    let mut command = match rustup_name {
        Some(name) => {
            let mut command = Command::new("rustup");
            command.args(["run", name, "rustc"]);
            command
        }
        None => Command::new("rustc"),
    };
    let root = process::output(command.args(["--print", "sysroot"])).ok()?;
    Some(PathBuf::from(root.trim_end()))
}

/// Whether the compiler in this directory is suitable; the error says why it is not.
fn probe(root: &Path) -> Result<Toolchain> {
    let release = suitable_release(root)?;
    let sources = root.join("lib/rustlib/src/rust/library/core/Cargo.toml");
    ensure!(sources.exists(), "{release} is without the library sources");
    let cargo = root.join("bin/cargo");
    ensure!(cargo.exists(), "{release} is without cargo");
    let bootstrap = !release.contains("nightly") && !release.contains("dev");
    Ok(Toolchain { rustc: root.join("bin/rustc"), cargo, bootstrap, release })
}

/// The release of the compiler in this directory, if it is neither too old nor too new.
fn suitable_release(root: &Path) -> Result<String> {
    let about = process::output(Command::new(root.join("bin/rustc")).arg("-vV").env_remove("LD_LIBRARY_PATH"))?;
    let field = |name: &str| about.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let release = field("release:").context("the compiler does not say its release")?;
    let version = Version::parse(release).with_context(|| format!("the release {release} is no version"))?;
    let oldest = Version::parse(&format!("{OLDEST}.0")).context("the workspace's rust-version is no version")?;
    ensure!(version >= oldest, "{release} is older than {OLDEST}");
    let llvm = field("LLVM version:").and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    let llvm = llvm.context("the compiler does not say its version of LLVM")?;
    ensure!(llvm <= LLVM, "{release} has LLVM {llvm}, which bpf-linker's LLVM {LLVM} cannot read");
    Ok(release.to_owned())
}

/// Tries to get a suitable nightly from rustup, within limits of time: where its server cannot be reached, the
/// distribution's compiler will do. Says whether there is a suitable compiler now.
pub(super) fn install_with_rustup() -> bool {
    if process::find("rustup").is_none() {
        return false;
    }
    // One that lacks nothing but the sources is made whole; that is a small download.
    let lacking = rustup_nightlies()
        .into_iter()
        .find(|name| sysroot(Some(name)).is_some_and(|root| suitable_release(&root).is_ok()));
    let mut command = process::bounded(Duration::from_secs(180), "rustup");
    match &lacking {
        Some(name) => command.args(["component", "add", "rust-src", "--toolchain", name]),
        None => command.args(["toolchain", "install", NIGHTLY, "--profile", "minimal", "--component", "rust-src"]),
    };
    if let Err(error) = process::run(&mut command) {
        eprintln!("setup: {error:#}; falling back to the distribution's compiler");
    }
    find().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// A directory with a compiler that says it is `release` with LLVM `llvm`.
    fn installed(release: &str, llvm: &str, sources: bool) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("bin")).unwrap();
        let script = format!("#!/bin/sh\necho 'release: {release}'\necho 'LLVM version: {llvm}'\n");
        for program in ["rustc", "cargo"] {
            let path = root.path().join("bin").join(program);
            fs::write(&path, &script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        if sources {
            let library = root.path().join("lib/rustlib/src/rust/library/core");
            fs::create_dir_all(&library).unwrap();
            fs::write(library.join("Cargo.toml"), "").unwrap();
        }
        root
    }

    #[test]
    fn a_nightly_with_sources_needs_no_unlocking_and_a_stable_one_does() {
        let nightly = installed("1.97.0-nightly", "22.1.4", true);
        assert!(!probe(nightly.path()).unwrap().bootstrap);
        let stable = installed("1.96.0", "21.1.0", true);
        let toolchain = probe(stable.path()).unwrap();
        assert!(toolchain.bootstrap);
        assert_eq!(toolchain.cargo, stable.path().join("bin/cargo"));
    }

    #[test]
    fn an_unsuitable_compiler_is_refused_with_the_reason() {
        let refusal = |release, llvm, sources| {
            let root = installed(release, llvm, sources);
            format!("{:#}", probe(root.path()).unwrap_err())
        };
        assert_eq!(refusal("1.97.0-nightly", "22.1.4", false), "1.97.0-nightly is without the library sources");
        assert_eq!(
            refusal("1.99.0-nightly", "23.0.0", true),
            "1.99.0-nightly has LLVM 23, which bpf-linker's LLVM 22 cannot read"
        );
        assert_eq!(refusal("1.85.0", "19.1.0", true), "1.85.0 is older than 1.95");
    }
}
