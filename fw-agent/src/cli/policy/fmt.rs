//! `fwctl policy fmt`: policy files in canonical form.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use fw_policy::SourceFile;
use serde_json::json;

use super::refusal::Refusal;
use super::{read, rewrite};
use crate::cli::output::{Format, print};

/// Which files, and whether they are written.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The policy directory.
    directory: PathBuf,
    /// Write nothing; name the files that are not in canonical form, and fail if there are any.
    #[arg(long)]
    check: bool,
}

pub(super) fn run(arguments: &Arguments, output: Format) -> anyhow::Result<ExitCode> {
    let Arguments { directory, check } = arguments;
    let changed = match read(directory)?.and_then(|files| changed(&files)) {
        Ok(changed) => changed,
        Err(refusal) => {
            return refusal.show(output, "fmt", directory);
        }
    };
    if !check {
        rewrite::all(directory, &changed)?;
    }
    show(directory, &changed, *check, output)?;
    Ok(if *check && !changed.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The files that are not in canonical form, as they are in it.
fn changed(files: &[SourceFile]) -> Result<Vec<SourceFile>, Refusal> {
    let texts = fw_policy::format(files).map_err(Refusal::Policy)?;
    let renewed = files.iter().zip(texts).filter(|(file, text)| file.text != *text);
    Ok(renewed.map(|(file, text)| SourceFile { name: file.name.clone(), text }).collect())
}

fn show(directory: &Path, changed: &[SourceFile], check: bool, output: Format) -> anyhow::Result<()> {
    let names: Vec<&str> = changed.iter().map(|file| file.name.as_str()).collect();
    let files: Vec<_> = names.iter().map(|name| json!({ "file": name, "written": !check })).collect();
    let answer = json!({ "schema": "fwctl.policy-fmt/1", "ok": !check || changed.is_empty(), "files": files });
    if !output.json(&answer, "files")? {
        let what = if check { "not in canonical form" } else { "formatted" };
        for name in names {
            print(&format!("{}: {what}", directory.join(name).display()))?;
        }
    }
    Ok(())
}
