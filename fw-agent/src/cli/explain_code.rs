//! `fwctl explain-code`: what a code means, with a wrong and a right example.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use fw_policy::{Code, Example, ExampleVerdict, Explanation, Part, SourceFile};
use serde_json::{Value, json};

use super::output::{Format, Grid, print};

/// Which code.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The code, such as FW0013; all of them in a line each, without.
    #[arg(value_parser = parse)]
    code: Option<Code>,
}

/// How wide paragraphs are.
const WIDTH: usize = 79;

fn parse(text: &str) -> Result<Code, String> {
    Code::parse(text).ok_or_else(|| "there is no such code; `fwctl explain-code` lists them".to_owned())
}

pub(super) fn run(arguments: &Arguments, output: Format) -> anyhow::Result<ExitCode> {
    match arguments.code {
        Some(code) => explain(&code.explain(), output)?,
        None => list(output)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(output: Format) -> anyhow::Result<()> {
    let answer = json!({
        "schema": "fwctl.codes/1",
        "codes": Code::ALL.iter().map(|code| summary(*code)).collect::<Vec<_>>(),
    });
    if !output.json(&answer, "codes")? {
        let mut grid = Grid::new(&["CODE", "SUMMARY"]);
        Code::ALL.iter().for_each(|code| grid.row([code.to_string(), code.summary().to_owned()]));
        grid.print()?;
    }
    Ok(())
}

fn summary(code: Code) -> Value {
    json!({ "code": code, "severity": code.severity(), "summary": code.summary() })
}

fn explain(explanation: &Explanation, output: Format) -> anyhow::Result<()> {
    let mut answer = summary(explanation.code);
    answer["schema"] = json!("fwctl.explain-code/1");
    let paragraphs = explanation.parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(text.as_str()),
        Part::Example(_) => None,
    });
    answer["explanation"] = json!(paragraphs.collect::<Vec<_>>().join("\n\n"));
    let other = |file: &SourceFile| json!({ "file": file.name, "policy": file.text });
    let example = |example: &Example| {
        json!({
            "verdict": example.verdict,
            "policy": example.shown(),
            "others": example.others.iter().map(other).collect::<Vec<_>>(),
            "agent_toml": example.agent,
        })
    };
    answer["examples"] = explanation.examples().map(example).collect();
    if !output.json(&answer, "")? {
        print(&shown(explanation))?;
    }
    Ok(())
}

/// The explanation for people, without a line break at its end.
fn shown(explanation: &Explanation) -> String {
    let code = explanation.code;
    let title = wrapped(&format!("{code}: {}", code.summary()));
    let parts = explanation.parts.iter().map(|part| match part {
        Part::Text(text) => wrapped(text),
        Part::Example(example) => shown_example(example),
    });
    std::iter::once(title).chain(parts).collect::<Vec<_>>().join("\n\n")
}

fn shown_example(example: &Example) -> String {
    let heading = match example.verdict {
        ExampleVerdict::Wrong => "Wrong",
        ExampleVerdict::Right => "Right",
    };
    let first = std::iter::once((String::new(), example.shown()));
    let others = example.others.iter().map(|file| (format!(", {}", file.name), file.text.clone()));
    let agent = example.agent.iter().map(|text| (", agent.toml".to_owned(), text.clone()));
    let files = first.chain(others).chain(agent).filter(|(_, text)| !text.is_empty());
    let shown = files.map(|(file, text)| {
        let mut shown = format!("{heading}{file}:\n");
        for line in text.trim_end().lines() {
            let indent = if line.is_empty() { "" } else { "    " };
            let _ = write!(shown, "\n{indent}{line}");
        }
        shown
    });
    shown.collect::<Vec<_>>().join("\n\n")
}

/// Breaks a paragraph between words.
fn wrapped(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use fw_policy::{Binding, Options};
    use time::OffsetDateTime;

    use super::*;
    use crate::config::AgentConfig;

    /// The agent refuses these before the compiler sees them, with a code of the file.
    const SEEN_EARLIER: [(Code, Code); 2] =
        [(Code::InterfaceWithoutZone, Code::MissingKey), (Code::ManagementZones, Code::Contradiction)];

    #[test]
    fn examples_with_agent_toml_get_their_code_or_none() {
        let mut tried = 0;
        for code in Code::ALL {
            let explanation = code.explain();
            for example in explanation.examples() {
                let Some(agent) = &example.agent else { continue };
                let config = AgentConfig::parse("agent.toml", agent);
                let file = SourceFile { name: "example.toml".to_owned(), text: example.file() };
                let policy = fw_policy::load(&[file]).unwrap_or_else(|refused| panic!("{code}: {refused}"));
                let found: Vec<Code> = match config {
                    Err(error) => error.findings.iter().map(|finding| finding.code).collect(),
                    Ok(config) => {
                        let binding: Binding = config.binding();
                        let now = OffsetDateTime::UNIX_EPOCH;
                        let compiled = policy.compile_with(&binding, now, &Options::default());
                        compiled.map_or_else(|refused| refused.items.iter().map(|item| item.code).collect(), |_| vec![])
                    }
                };
                let earlier = SEEN_EARLIER.iter().find(|(late, _)| late == code).map_or(*code, |(_, early)| *early);
                let expected = if example.verdict == ExampleVerdict::Wrong { vec![earlier] } else { vec![] };
                assert_eq!(found, expected, "{code} {:?}", example.verdict);
                tried += 1;
            }
        }
        assert_eq!(tried, 14, "seven codes are about agent.toml");
    }

    #[test]
    fn an_explanation_is_shown() {
        insta::assert_snapshot!(shown(&Code::TwoRestZones.explain()));
    }

    #[test]
    fn no_explanation_is_wider_than_a_terminal() {
        for code in Code::ALL {
            for line in shown(&code.explain()).lines().filter(|line| !line.starts_with("    packet = ")) {
                assert!(line.chars().count() <= 80, "{code}: {line}");
            }
        }
    }
}
