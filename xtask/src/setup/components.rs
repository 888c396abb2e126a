//! The parts of the host's Rust toolchain that only the tests need.

use std::fmt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Purpose;
use crate::process;

/// A cargo subcommand that comes with the Rust toolchain.
pub(super) struct Component {
    name: &'static str,
    program: &'static str,
    why: &'static str,
}

static COMPONENTS: [Component; 2] = [
    Component { name: "clippy", program: "cargo-clippy", why: "lints the code" },
    Component { name: "rustfmt", program: "cargo-fmt", why: "checks its layout" },
];

/// The components that are absent. Rustup leaves a program of that name even where the component is not installed, so
/// the program is asked for its version.
pub(super) fn missing(purpose: Purpose) -> Vec<&'static Component> {
    if purpose < Purpose::Test {
        return Vec::new();
    }
    COMPONENTS.iter().filter(|component| !component.answers()).collect()
}

impl Component {
    fn answers(&self) -> bool {
        process::find(self.program).is_some_and(|path| process::output(Command::new(path).arg("--version")).is_ok())
    }

    pub(super) fn install(&self) -> Result<()> {
        if process::find("rustup").is_none() {
            bail!("{self}, or the matching package of whoever made this Rust toolchain");
        }
        process::run(process::bounded(Duration::from_secs(180), "rustup").args(["component", "add", self.name]))
            .with_context(|| self.to_string())
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, which {}: `rustup component add {}`", self.name, self.why, self.name)
    }
}
