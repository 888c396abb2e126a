//! Why a policy is not looked at further, in each form of an answer.

use std::path::Path;
use std::process::ExitCode;

use fw_policy::{Diagnostics, sarif, sarif_of_problem};
use serde_json::{Value, json};

use crate::cli::output::{Format, print, tell};
use crate::cli::{exit, style};
use crate::config::ConfigError;

/// Why.
pub(super) enum Refusal {
    /// A file, or the name of one, is not text.
    NotText(String),
    /// `agent.toml` is invalid.
    Config(ConfigError),
    /// The policy is invalid.
    Policy(Diagnostics),
}

impl Refusal {
    /// Says why: on standard output if that is asked for in a form for scripts, else for people on standard error. The exit code.
    pub(super) fn show(&self, output: Format, command: &str, directory: &Path) -> anyhow::Result<ExitCode> {
        let exit = ExitCode::from(self.exit_code());
        if output == Format::Sarif {
            print(&serde_json::to_string_pretty(&self.sarif(directory))?)?;
            return Ok(exit);
        }
        let mut answer = self.json()?;
        answer["schema"] = json!(format!("fwctl.policy-{command}/1"));
        answer["ok"] = json!(false);
        if !output.json(&answer, "diagnostics")? {
            tell(&self.render())?;
        }
        Ok(exit)
    }

    const fn exit_code(&self) -> u8 {
        match self {
            Self::NotText(_) | Self::Policy(_) => exit::POLICY_INVALID,
            Self::Config(error) => error.exit_code(),
        }
    }

    fn json(&self) -> serde_json::Result<Value> {
        Ok(match self {
            Self::NotText(problem) => json!({"problem": problem}),
            Self::Config(error) => json!({"config": serde_json::to_value(error)?}),
            Self::Policy(diagnostics) => json!({"diagnostics": serde_json::to_value(diagnostics)?}),
        })
    }

    fn sarif(&self, directory: &Path) -> Value {
        match self {
            Self::NotText(problem) => sarif_of_problem(problem, VERSION),
            Self::Config(error) => sarif_of_problem(&error.render(false), VERSION),
            Self::Policy(diagnostics) => sarif(&diagnostics.items, &base(directory), VERSION),
        }
    }

    fn render(&self) -> String {
        match self {
            Self::NotText(problem) => format!("error: {problem}"),
            Self::Config(error) => error.render(style::colors_on_stderr()),
            Self::Policy(diagnostics) => {
                let (color, width) = (style::colors_on_stderr(), style::width_on_stderr());
                format!("{}\n\n{}", diagnostics.render_within(color, width), hint(diagnostics))
            }
        }
    }
}

/// Where to read more about the codes.
fn hint(diagnostics: &Diagnostics) -> String {
    let first = diagnostics.items.first().map_or_else(String::new, |item| item.code.to_string());
    format!("`fwctl explain-code {first}` says more about it, and so for each code.")
}

/// The version of the program.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What stands in front of the names of policy files in the places of SARIF: the directory, as it was given.
pub(super) fn base(directory: &Path) -> String {
    let text = directory.to_string_lossy();
    let text = text.strip_prefix("./").unwrap_or(&text).trim_end_matches('/');
    if matches!(text, "" | ".") { String::new() } else { format!("{text}/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_from_where_the_program_was_run() {
        for (directory, expected) in
            [("policies", "policies/"), ("./policies/", "policies/"), (".", ""), ("./", ""), ("/etc/p", "/etc/p/")]
        {
            assert_eq!(base(Path::new(directory)), expected, "{directory}");
        }
    }
}
