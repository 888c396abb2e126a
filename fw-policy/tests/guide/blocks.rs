//! The fenced blocks of `docs/policy.md`. Every one says what it is, and what is not known is refused, so that none is passed over.
//!
//! | information behind the fence | the block is |
//! | --- | --- |
//! | `toml whole` | a policy |
//! | `toml base` | a policy that is right, and what fragments behind it continue |
//! | `toml fragment` | what continues the base |
//! | `toml wrong=CODE` | the same, refused with this code and no other; with `whole` a policy of its own |
//! | `toml file=NAME` | another file of the policy in front of it |
//! | `console` | commands, run where the policy in front of it is the directory `policies`, and what they print |

use fw_policy::SourceFile;

/// The guide.
pub(crate) const GUIDE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/policy.md"));

/// A policy of the guide.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    /// The line of its fence, from 1.
    pub(crate) line: usize,
    /// Its files.
    pub(crate) files: Vec<SourceFile>,
    /// The code that it is refused with; `None` if it is right.
    pub(crate) refused: Option<String>,
    /// Commands that look at it, each with what it prints.
    pub(crate) sessions: Vec<(String, String)>,
}

/// Reads the blocks.
pub(crate) fn examples(guide: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut base = String::new();
    let mut lines = (1..).zip(guide.lines());
    while let Some((line, text)) = lines.next() {
        let Some(information) = text.strip_prefix("```") else { continue };
        let inside = lines.by_ref().map(|(_, text)| text).take_while(|text| *text != "```");
        let content: String = inside.map(|text| format!("{text}\n")).collect();
        let (language, words) = information.split_once(' ').unwrap_or((information, ""));
        let words: Vec<&str> = words.split(' ').collect();
        let refused = words[0].strip_prefix("wrong=").map(str::to_owned);
        let mut example = |text: String| {
            let files = vec![SourceFile { name: "policy.toml".to_owned(), text }];
            examples.push(Example { line, files, refused: refused.clone(), sessions: Vec::new() });
        };
        match (language, words.as_slice()) {
            ("toml", ["base"]) => {
                base.clone_from(&content);
                example(content);
            }
            ("toml", ["whole"]) => example(content),
            ("toml", ["fragment"]) => example(format!("{base}\n{content}")),
            ("toml", [_]) if refused.is_some() => example(format!("{base}\n{content}")),
            ("toml", [_, "whole"]) if refused.is_some() => example(content),
            ("toml", [file]) if file.starts_with("file=") => {
                let name = file["file=".len()..].to_owned();
                let policy = examples.last_mut().unwrap_or_else(|| panic!("line {line}: a file of no policy"));
                policy.files.push(SourceFile { name, text: content });
            }
            ("console", [""]) => {
                let policy = examples.last_mut().unwrap_or_else(|| panic!("line {line}: nothing to look at"));
                policy.sessions.extend(commands(&content));
            }
            _ => panic!("line {line}: what is a block of `{information}`?"),
        }
    }
    examples
}

/// Lines that begin with `$ ` are commands; what follows is printed.
fn commands(content: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in content.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.to_owned(), String::new())),
            (None, Some((_, output))) => {
                output.push_str(line);
                output.push('\n');
            }
            (None, None) => panic!("a session begins with a command: {line}"),
        }
    }
    commands
}
