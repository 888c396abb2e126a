//! `fwctl policy rename`: a name that is used in many places, changed in all of them.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use fw_policy::{RenameError, Renamed};
use serde_json::json;
use time::OffsetDateTime;

use super::refusal::Refusal;
use super::{read, rewrite};
use crate::cli::output::{Format, print, tell};

/// What is renamed, and where.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// What has the name.
    #[arg(value_enum)]
    kind: Kind,
    /// The name that it has.
    old: String,
    /// The name that it gets.
    new: String,
    /// The policy directory.
    directory: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A set of `[addresses]`.
    Set,
    /// A set of `[services]`.
    Service,
    /// A zone; agent.toml names zones, too, and is not changed.
    Zone,
    /// A rule, by its id.
    Rule,
}

impl Kind {
    const fn renamed(self) -> Renamed {
        match self {
            Self::Set => Renamed::Set,
            Self::Service => Renamed::Service,
            Self::Zone => Renamed::Zone,
            Self::Rule => Renamed::Rule,
        }
    }
}

pub(super) fn run(arguments: &Arguments, output: Format) -> anyhow::Result<ExitCode> {
    let Arguments { kind, old, new, directory } = arguments;
    let refused = |refusal: &Refusal| refusal.show(output, "rename", directory);
    let files = match read(directory)? {
        Ok(files) => files,
        Err(refusal) => return refused(&refusal),
    };
    let changed = match fw_policy::rename(&files, kind.renamed(), old, new, OffsetDateTime::now_utc()) {
        Ok(changed) => changed,
        Err(RenameError::Invalid(diagnostics)) => return refused(&Refusal::Policy(diagnostics)),
        Err(error) => return Err(anyhow!(error)),
    };
    rewrite::all(directory, &changed)?;
    let names: Vec<&str> = changed.iter().map(|file| file.name.as_str()).collect();
    let answer = json!({ "schema": "fwctl.policy-rename/1", "ok": true, "old": old, "new": new, "files": names });
    if !output.json(&answer, "")? {
        for name in names {
            print(&format!("{}: `{old}` is `{new}` now", directory.join(name).display()))?;
        }
        if *kind == Kind::Zone {
            tell(&format!("agent.toml names zones, too: write `{new}` for `{old}` in the `zones` of its interfaces"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
