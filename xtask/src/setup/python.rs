//! Programs in Python that nobody here has written and that tests ask for a second opinion: each in an environment of its own
//! below the target directory, with the versions and hashes of its requirements file.
//!
//! They are what may be missing: where the registry of Python packages cannot be reached, the reason is written down for the tests
//! that would have used them, which then say that they were skipped.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::apt;
use crate::process;
use crate::workspace::Workspace;

/// What one environment is made for.
pub(super) struct Kit {
    /// Its name, which is that of its directory.
    name: &'static str,
    /// What is installed, relative to the root of the work tree.
    requirements: &'static str,
    /// What it is and why, for people.
    pub(super) description: &'static str,
}

/// All of them.
pub(super) const KITS: [Kit; 2] = [
    Kit {
        name: "aclcheck",
        requirements: "fw-policy/tests/aclcheck/requirements.txt",
        description: "  - aclcheck, which gives a second opinion about policies: `pip install` into an environment of its own\n",
    },
    Kit {
        name: "boto",
        requirements: "fw-testkit/tests/boto/requirements.txt",
        description: "  - boto3 and moto, which judge the fake of AWS: `pip install` into an environment of their own\n",
    },
];

/// The requirements that an environment was made for, in it.
const MADE_FOR: &str = "made-for.txt";

/// The environment.
struct Environment<'w> {
    workspace: &'w Workspace,
    kit: &'w Kit,
    directory: PathBuf,
}

impl Kit {
    /// Whether it is there, in the versions of the requirements file.
    pub(super) fn is_there(&self, workspace: &Workspace) -> bool {
        Environment::of(workspace, self).is_current()
    }

    /// Makes the environment unless it is there. That it cannot be made is no failure.
    pub(super) fn ensure(&self, workspace: &Workspace) -> Result<()> {
        let environment = Environment::of(workspace, self);
        let why = environment.directory.with_extension("why");
        if environment.is_current() {
            return Ok(());
        }
        eprintln!("setup: this machine lacks\n{}", self.description);
        match environment.make() {
            Ok(()) if why.exists() => fs::remove_file(&why).with_context(|| why.display().to_string()),
            Ok(()) => Ok(()),
            Err(error) => {
                let reason = reason(&error);
                eprintln!("setup: going on without {}: {reason}", self.name);
                fs::write(&why, format!("{reason}\n")).with_context(|| why.display().to_string())
            }
        }
    }
}

impl<'w> Environment<'w> {
    fn of(workspace: &'w Workspace, kit: &'w Kit) -> Self {
        Self { workspace, kit, directory: workspace.target.join(kit.name) }
    }

    fn is_current(&self) -> bool {
        let wanted = fs::read(self.workspace.root.join(self.kit.requirements));
        wanted.is_ok_and(|wanted| fs::read(self.directory.join(MADE_FOR)).is_ok_and(|made| made == wanted))
    }

    fn make(&self) -> Result<()> {
        self.remove()?;
        let made = self.fill();
        if made.is_err() {
            self.remove()?;
        }
        made
    }

    fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| self.directory.display().to_string())
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn fill(&self) -> Result<()> {
        let python = Python::find()?;
        process::output(python.command().args(["-m", "venv"]).arg(&self.directory))?;
        let requirements = self.workspace.root.join(self.kit.requirements);
        let mut pip = process::bounded(Duration::from_secs(300), self.directory.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1"]);
        pip.args(["--require-hashes", "--only-binary", ":all:", "--requirement"]).arg(&requirements);
        process::output(&mut pip)?;
        // Last, so that what is half installed is made anew.
        fs::copy(&requirements, self.directory.join(MADE_FOR)).context(MADE_FOR)?;
        Ok(())
    }
}

/// An interpreter that can make environments.
struct Python(PathBuf);

impl Python {
    /// The one of the search path; Debian has what environments need in a package of its own.
    fn find() -> Result<Self> {
        let usable = || {
            let python = Self(process::find("python3")?);
            process::output(python.command().args(["-c", "import ensurepip, venv"])).is_ok().then_some(python)
        };
        if let Some(python) = usable() {
            return Ok(python);
        }
        apt::install(&["python3-venv"])?;
        usable().context("there is no python3 that can make environments")
    }

    fn command(&self) -> Command {
        Command::new(&self.0)
    }
}

/// What went wrong, in a line: that pip has tried again for the lack of a connection, or else what was said last.
fn reason(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    if text.contains("Retrying (") {
        return "the registry of Python packages cannot be reached".to_owned();
    }
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("for no reason that was given").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(root: &std::path::Path) -> Workspace {
        Workspace { root: root.to_owned(), target: root.join("target"), ci: false }
    }

    #[test]
    fn an_environment_of_other_versions_is_not_the_wanted_one() {
        let [kit, _] = &KITS;
        let root = std::env::temp_dir().join(format!("fw-{}-{}", kit.name, std::process::id()));
        let requirements = root.join(kit.requirements);
        let directory = root.join("target").join(kit.name);
        fs::create_dir_all(requirements.parent().unwrap()).unwrap();
        fs::create_dir_all(&directory).unwrap();
        fs::write(&requirements, "aerleon==1\n").unwrap();
        assert!(!kit.is_there(&workspace(&root)));
        fs::copy(&requirements, directory.join(MADE_FOR)).unwrap();
        assert!(kit.is_there(&workspace(&root)));
        fs::write(&requirements, "aerleon==2\n").unwrap();
        assert!(!kit.is_there(&workspace(&root)));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn the_reason_is_a_missing_connection_or_what_was_said_last() {
        let error =
            anyhow::anyhow!("`pip` failed: exit status: 1\nWARNING: retrying\nERROR: no matching distribution\n");
        assert_eq!(reason(&error), "ERROR: no matching distribution");
        let error = error.context("WARNING: Retrying (Retry(total=0)) after connection broken");
        assert_eq!(reason(&error), "the registry of Python packages cannot be reached");
    }

    #[test]
    fn every_requirement_is_pinned_with_its_hashes() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for (kit, wanted) in KITS.iter().zip(["aerleon==", "boto3=="]) {
            let text = fs::read_to_string(root.join(kit.requirements)).unwrap();
            let requirements: Vec<&str> =
                text.lines().filter(|line| line.starts_with(|c: char| c.is_alphanumeric())).collect();
            assert!(requirements.iter().any(|line| line.starts_with(wanted)), "{requirements:?}");
            assert!(requirements.iter().all(|line| line.contains("==")), "{requirements:?}");
            assert!(text.matches("--hash=sha256:").count() >= requirements.len());
        }
    }
}
