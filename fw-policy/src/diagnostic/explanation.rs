//! A code at length, as `fwctl explain-code` shows it.
//!
//! In: the text in `codes/`, paragraphs with examples between them. Examples are fenced as in Markdown; behind the fence stand
//! the language (`toml` for policy files, `agent.toml`), the verdict (`wrong` or `right`), and what a test must know that
//! compiles them: `whole` for a policy without the zones of [`Example::PRELUDE`], `file=NAME` for another file of the policy in
//! front of it, `repeat=N` for one that is meant to stand there so many times, with `{n}` for the number, `budget=BYTES` for the memory of its tables, and `work=COMPARISONS` for the
//! analysis of each of its rules.

use super::Code;
use crate::source::SourceFile;

/// What a code means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The code.
    pub code: Code,
    /// Paragraphs and examples, in their order.
    pub parts: Vec<Part>,
}

/// A part of an explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A paragraph, on one line.
    Text(String),
    /// An example.
    Example(Example),
}

/// What an example is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExampleVerdict {
    /// The code is reported, and no other.
    Wrong,
    /// Nothing is reported.
    Right,
}

/// A policy, and what `agent.toml` holds if the code is about that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Whether it is right.
    pub verdict: ExampleVerdict,
    /// The policy file, without [`Example::PRELUDE`]; may be empty.
    pub policy: String,
    /// Its other files, in subdirectories.
    pub others: Vec<SourceFile>,
    /// What matters of `agent.toml`.
    pub agent: Option<String>,
    /// Whether it stands without [`Example::PRELUDE`].
    pub is_whole: bool,
    /// How often the text stands in the policy, with `{n}` for the number.
    pub repeat: u32,
    /// The memory that the tables may take, in bytes, if it is not the default.
    pub memory_budget: Option<u64>,
    /// The comparisons that the analysis of a rule may take, if it is not the default.
    pub rule_work: Option<u64>,
}

impl Example {
    /// What stands in the file in front of each example that is not whole.
    pub const PRELUDE: &'static str = "version = 1\n\
        [defaults]\naction = \"drop\"\n\
        [zones.it]\nnetworks = [\"10.2.0.0/16\", \"fd00:0:0:200::/56\"]\n\
        [zones.ot]\nnetworks = [\"10.1.0.0/16\", \"fd00:0:0:100::/56\"]\n";

    /// The policy file, complete.
    #[must_use]
    pub fn file(&self) -> String {
        let prelude = if self.is_whole { "" } else { Self::PRELUDE };
        let copies = (1..=self.repeat).map(|number| self.policy.replace("{n}", &number.to_string()));
        std::iter::once(prelude.to_owned()).chain(copies).collect()
    }

    /// The files of the policy.
    #[must_use]
    pub fn files(&self) -> Vec<SourceFile> {
        let first = SourceFile { name: "example.toml".to_owned(), text: self.file() };
        std::iter::once(first).chain(self.others.iter().cloned()).collect()
    }

    /// What of the policy is shown: the first copy, and how many more there are.
    #[must_use]
    pub fn shown(&self) -> String {
        let first = self.policy.replace("{n}", "1");
        match self.repeat {
            1 => first,
            copies => format!("{first}# … and so on, {copies} times\n"),
        }
    }
}

impl Explanation {
    /// Reads the text of a code.
    pub(super) fn read(code: Code, text: &str) -> Self {
        let mut parts = Vec::new();
        let mut lines = text.lines();
        let mut paragraph: Vec<&str> = Vec::new();
        while let Some(line) = lines.next() {
            let fence = line.strip_prefix("```");
            if (fence.is_some() || line.is_empty()) && !paragraph.is_empty() {
                parts.push(Part::Text(paragraph.join(" ")));
                paragraph.clear();
            }
            match fence {
                Some(info) => {
                    let inside = lines.by_ref().take_while(|line| *line != "```");
                    add_example(&mut parts, info, inside.map(|line| format!("{line}\n")).collect());
                }
                None if line.is_empty() => {}
                None => paragraph.push(line),
            }
        }
        if !paragraph.is_empty() {
            parts.push(Part::Text(paragraph.join(" ")));
        }
        Self { code, parts }
    }

    /// The examples.
    pub fn examples(&self) -> impl Iterator<Item = &Example> {
        self.parts.iter().filter_map(|part| match part {
            Part::Example(example) => Some(example),
            Part::Text(_) => None,
        })
    }
}

/// Adds an example; an `agent.toml`, and another file of a policy, belongs to the policy in front of it.
fn add_example(parts: &mut Vec<Part>, info: &str, text: String) {
    let words = info.split(' ');
    let number = |key: &str| words.clone().find_map(|word| word.strip_prefix(key)?.parse::<u64>().ok());
    let has = |word: &str| words.clone().any(|known| known == word);
    if has("agent.toml") {
        if let Some(Part::Example(example)) = parts.last_mut() {
            example.agent = Some(text);
        }
        return;
    }
    if let Some(name) = words.clone().find_map(|word| word.strip_prefix("file=")) {
        if let Some(Part::Example(example)) = parts.last_mut() {
            example.others.push(SourceFile { name: name.to_owned(), text });
        }
        return;
    }
    let repeat = number("repeat=").and_then(|repeat| u32::try_from(repeat).ok());
    parts.push(Part::Example(Example {
        verdict: if has("wrong") { ExampleVerdict::Wrong } else { ExampleVerdict::Right },
        policy: text,
        others: Vec::new(),
        agent: None,
        is_whole: has("whole"),
        repeat: repeat.unwrap_or(1),
        memory_budget: number("budget="),
        rule_work: number("work="),
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_paragraphs_and_examples() {
        let text =
            "One\nparagraph.\n\n```toml wrong repeat=2\n[a{n}]\n```\n\n```agent.toml wrong\nx = 1\n```\nThe end.\n";
        let explanation = Explanation::read(Code::Syntax, text);
        let [Part::Text(first), Part::Example(example), Part::Text(last)] = explanation.parts.as_slice() else {
            panic!("three parts: {explanation:?}")
        };
        assert_eq!((first.as_str(), last.as_str()), ("One paragraph.", "The end."));
        assert_eq!((example.verdict, example.agent.as_deref()), (ExampleVerdict::Wrong, Some("x = 1\n")));
        assert!(example.file().ends_with("[a1]\n[a2]\n"), "{}", example.file());
        assert_eq!(example.shown(), "[a1]\n# … and so on, 2 times\n");
    }

    #[test]
    fn each_code_is_explained_with_a_wrong_and_a_right_example() {
        for code in Code::ALL {
            let explanation = code.explain();
            let verdicts: Vec<ExampleVerdict> = explanation.examples().map(|example| example.verdict).collect();
            assert_eq!(verdicts, [ExampleVerdict::Wrong, ExampleVerdict::Right], "{code}");
            assert!(matches!(explanation.parts.first(), Some(Part::Text(_))), "{code}");
        }
    }
}
