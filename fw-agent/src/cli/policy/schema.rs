//! `fwctl policy schema`: the language as a JSON Schema, for editors.

use std::process::ExitCode;

use crate::cli::output::print;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    print(&serde_json::to_string_pretty(&fw_policy::json_schema())?)?;
    Ok(ExitCode::SUCCESS)
}
