//! `fwctl policy import`: rules of another firewall as a policy, with a report of what could not be carried over.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use fw_policy::{ImportError, ImportFormat, Imported, Outcome};
use serde_json::{Value, json};

use super::refusal::Refusal;
use crate::cli::output::{Format, print};
use crate::text;

/// What is imported.
#[derive(Debug, Args)]
pub(crate) struct ImportArguments {
    /// What the file is.
    #[arg(value_enum)]
    from: From,
    /// The file.
    file: PathBuf,
    /// Where the report goes, as JSON if the name ends in `.json`; to standard error without.
    #[arg(long)]
    report: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum From {
    /// What `iptables-save` or `ip6tables-save` prints.
    IptablesSave,
    /// What `nft -j list ruleset` prints.
    Nft,
    /// Suricata rules, or what `aws network-firewall describe-rule-group` answers.
    AwsNetworkFirewall,
    /// What `aws ec2 describe-security-groups` answers.
    AwsSecurityGroups,
}

impl From {
    const fn format(self) -> ImportFormat {
        match self {
            Self::IptablesSave => ImportFormat::IptablesSave,
            Self::Nft => ImportFormat::Nft,
            Self::AwsNetworkFirewall => ImportFormat::AwsNetworkFirewall,
            Self::AwsSecurityGroups => ImportFormat::AwsSecurityGroups,
        }
    }
}

pub(super) fn run(arguments: &ImportArguments, output: Format) -> anyhow::Result<ExitCode> {
    let ImportArguments { from, file, report } = arguments;
    let bytes = fs::read(file).with_context(|| file.display().to_string())?;
    let text = text::decode(bytes).map_err(|place| anyhow!("{}:{place}", file.display()))?;
    let imported = match fw_policy::import(from.format(), &text) {
        Ok(imported) => imported,
        Err(ImportError::Invalid(diagnostics)) => {
            return Refusal::Policy(diagnostics).show(output, "import", file);
        }
        Err(error) => return Err(anyhow!("{}: {error}", file.display())),
    };
    let answer = as_json(&imported);
    if let Some(path) = report {
        write_report(path, &imported, &answer).with_context(|| path.display().to_string())?;
    }
    if !output.json(&answer, "notes")? {
        print(imported.policy.trim_end())?;
        if report.is_none() {
            eprint!("{}", as_text(&imported));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(imported: &Imported) -> Value {
    let Imported { policy, rules, notes } = imported;
    json!({ "schema": "fwctl.policy-import/1", "policy": policy, "rules": rules, "notes": notes })
}

fn write_report(path: &Path, imported: &Imported, answer: &Value) -> anyhow::Result<()> {
    let is_json = path.extension().is_some_and(|extension| extension == "json");
    let report = if is_json { serde_json::to_string_pretty(answer)? + "\n" } else { as_text(imported) };
    Ok(fs::write(path, report)?)
}

fn as_text(imported: &Imported) -> String {
    let mut text = String::new();
    for note in &imported.notes {
        let line = note.line.map_or_else(String::new, |line| format!("line {line}: "));
        let _ = writeln!(text, "{}: {line}{}\n    {}", outcome(note.outcome), note.text, note.reason);
    }
    let count = |wanted: Outcome| imported.notes.iter().filter(|note| note.outcome == wanted).count();
    let _ = writeln!(
        text,
        "{} rules; {} left out, {} stricter, {} implied, {} assumed",
        imported.rules,
        count(Outcome::LeftOut),
        count(Outcome::Stricter),
        count(Outcome::Implied),
        count(Outcome::Assumed)
    );
    text
}

const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::LeftOut => "left out",
        Outcome::Stricter => "stricter",
        Outcome::Implied => "implied",
        Outcome::Assumed => "assumed",
    }
}
