//! `fwctl policy export`: every rule with its sets worked out, for auditors.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use fw_policy::{AuditRow, Level};
use serde_json::json;
use time::OffsetDateTime;

use super::{Arguments, Checked, compile};
use crate::cli::output::{Format, print};

/// In which form.
#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    /// The form of the table.
    #[arg(value_enum)]
    form: Form,
    #[command(flatten)]
    place: Arguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Values separated by commas (RFC 4180), for spreadsheets.
    Csv,
    /// A table of Markdown, for reviews.
    Markdown,
}

/// The columns of both forms.
const HEADINGS: [&str; 19] = [
    "#",
    "id",
    "description",
    "from",
    "to",
    "source",
    "destination",
    "services",
    "action",
    "mode",
    "log",
    "limits",
    "idle timeout",
    "starts",
    "expires",
    "active",
    "owner",
    "ticket",
    "place",
];

/// How many addresses or services a cell of Markdown has.
const SHOWN: usize = 20;

pub(super) fn run(arguments: &ExportArguments, output: Format) -> anyhow::Result<ExitCode> {
    let Checked { policy, .. } = match compile(&arguments.place, output, "export")? {
        Ok(checked) => checked,
        Err(code) => return Ok(code),
    };
    let rows = policy.audit(OffsetDateTime::now_utc());
    let answer = json!({ "schema": "fwctl.policy-export/1", "rules": rows });
    if !output.json(&answer, "rules")? {
        let text = match arguments.form {
            Form::Csv => csv(&rows),
            Form::Markdown => markdown(&rows),
        };
        print(text.trim_end_matches(['\n', '\r']))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The cells of a row; `list` puts lists together.
fn cells(row: &AuditRow, list: impl Fn(&[String]) -> String) -> [String; HEADINGS.len()] {
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    [
        row.position.to_string(),
        row.id.clone(),
        row.description.clone(),
        list(&row.from),
        list(&row.to),
        list(&row.source),
        list(&row.destination),
        list(&row.services),
        row.action.to_owned(),
        row.mode.to_owned(),
        row.level.map_or("no", Level::name).to_owned(),
        row.limits.clone(),
        row.idle_timeout.map_or_else(String::new, |seconds| format!("{seconds}s")),
        row.starts.clone().unwrap_or_default(),
        row.expires.clone().unwrap_or_default(),
        yes(row.active),
        row.owner.clone(),
        row.ticket.clone(),
        format!("{}:{}", row.file, row.line),
    ]
}

fn csv(rows: &[AuditRow]) -> String {
    let line = |cells: [String; HEADINGS.len()]| cells.map(|cell| csv_cell(&cell)).join(",") + "\r\n";
    let rows = rows.iter().map(|row| line(cells(row, |list| list.join("; "))));
    std::iter::once(line(HEADINGS.map(str::to_owned))).chain(rows).collect()
}

/// Spreadsheets take a cell that begins like a formula for one; an apostrophe in front makes it text.
fn csv_cell(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\n', '\r', '\'']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

fn markdown(rows: &[AuditRow]) -> String {
    let line =
        |cells: [String; HEADINGS.len()]| format!("| {} |\n", cells.map(|cell| markdown_cell(&cell)).join(" | "));
    let list = |list: &[String]| match list.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{} … and {more} more", list[..SHOWN].join(", ")),
        _ => list.join(", "),
    };
    let rows = rows.iter().map(|row| line(cells(row, list)));
    let rule = format!("|{}\n", " --- |".repeat(HEADINGS.len()));
    [line(HEADINGS.map(str::to_owned)), rule].into_iter().chain(rows).collect()
}

/// Nothing in a cell is taken for Markdown, or for the end of the cell.
fn markdown_cell(text: &str) -> String {
    let mut cell = String::new();
    for character in text.chars() {
        match character {
            '\n' | '\r' => cell.push(' '),
            '|' | '\\' | '`' | '*' | '_' | '<' | '[' => cell.extend(['\\', character]),
            other => cell.push(other),
        }
    }
    cell
}

#[cfg(test)]
mod tests {
    use fw_policy::{SourceFile, load};

    use super::*;

    const POLICY: &str = "version = 1
[defaults]
action = \"drop\"
[zones.a]
[zones.b]
networks = [\"10.2.0.0/16\"]
[addresses]
hosts = [\"10.2.0.0/30\", \"!10.2.0.1\", \"@more\"]
more = [\"fd00::/64\"]
[[rule]]
id = \"r_1\"
description = \"=cmd|' /C calc'!A0, \\\"quoted\\\"\"
from = [\"a\", \"local\"]
to = [\"b\"]
source = [\"@hosts\"]
services = [\"tcp/80\", { proto = \"udp\", port = [\"53\"], source_port = [\"1024-65535\"] }]
action = \"allow\"
rate = { new_flows = \"5/m\" }
idle_timeout = \"1h\"
starts = 2026-01-01
expires = 2026-06-01
owner = \"ot\"
ticket = \"SEC-1\"
[[zone_pair]]
from = \"a\"
to = \"b\"
action = \"reject\"
";

    fn rows() -> Vec<AuditRow> {
        let policy = load(&[SourceFile { name: "p.toml".to_owned(), text: POLICY.to_owned() }]).unwrap();
        policy.audit(time::macros::datetime!(2026-07-01 0:00 UTC))
    }

    #[test]
    fn each_rule_and_default_is_a_row_of_csv() {
        insta::assert_snapshot!(csv(&rows()).replace("\r\n", "\n"));
    }

    #[test]
    fn each_rule_and_default_is_a_row_of_markdown() {
        insta::assert_snapshot!(markdown(&rows()));
    }

    #[test]
    fn every_row_of_markdown_has_as_many_cells() {
        for line in markdown(&rows()).lines() {
            assert_eq!(line.replace("\\|", "").matches('|').count(), HEADINGS.len() + 1, "{line}");
        }
    }
}
